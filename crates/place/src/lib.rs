//! Scheduling: which members have an object, and why each of the others has not.
//!
//! [`placed`] is the planner, [`check()`] the checker that verifies its answer without sharing its
//! code. Both are functions of the federation spec and the object's placement: every operator
//! computes the same.
//!
//! [`waves()`] is in which order they get a new revision.
//!
//! The meaning of a placement is KubeFed's, except that `members` together with `memberSelector` is
//! refused, and that no namespace is exempt (`default` is an ordinary one).

mod check;
mod placement;
mod selection;
mod waves;

#[cfg(test)]
mod generated;

pub use check::{Scope, Violation, check};
pub use placement::{Placed, PlacementError, Reason, placed, validate, within_namespace};
pub use selection::Mismatch;
pub use waves::{may_open, validate_rollout, waves};
