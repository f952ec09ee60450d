//! Template substitution: template + overrides → the concrete object for one member, and everything
//! that is known about concrete objects without asking an API server.
//!
//! | Module | Answers |
//! |---|---|
//! | [`output`](mod@output) | what is applied in one member? |
//! | [`merge`](mod@merge), [`patch`](mod@patch), [`list_keys`](mod@list_keys) | how does an override change a template? |
//! | [`travel`](mod@travel) | which parts of an object's metadata may leave the cluster that wrote them? |
//! | [`strip`](mod@strip) | which template does a plain manifest give, and can it be federated at all? |
//! | [`owned`](mod@owned) | which of the live fields are ours, whose are the others, what is given up and what kept? |
//! | [`diff`](mod@diff) | what changes, in words that people may read; which pods restart? |
//! | [`health`](mod@health), [`status`](mod@status) | how is the live object, in one word and in a few numbers? |
//! | [`weight`](mod@weight) | how much falls when the object goes? |
//!
//! Everything is a function of its arguments: the same input gives the same output in every
//! operator. Nothing here decides; it tells the planner and the executor what an object is.

pub mod diff;
pub mod health;
pub mod list_keys;
pub mod merge;
pub mod output;
pub mod owned;
pub mod patch;
mod path;
pub mod status;
pub mod strip;
pub mod travel;
pub mod weight;

#[cfg(test)]
mod generated;

pub use diff::{Change, comparable, diff, diff_for_people, restarts_pods};
pub use health::{Health, health};
pub use list_keys::{BuiltInKeys, ListKeys, SchemaKeys};
pub use output::{Identity, Marks, Output, RenderError, output, validate};
pub use owned::{Owner, Retention, drop_path, owned, owners, retain};
pub use status::{aggregate, status_summary};
pub use strip::{Refusal, Stripped, federable, strip};
pub use travel::{INCARNATION_ANNOTATION, LEAGUE_LABEL, REVISION_ANNOTATION};
pub use weight::weight;
