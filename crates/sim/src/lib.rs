//! Whole leagues in a seeded world without sockets: the production operators, their API servers,
//! the topology server between them, users, and everything that goes wrong.
//!
//! ```text
//! seed ─▶ settings ─▶ world: users ─▶ API servers ◀─▶ operators ◀─▶ topology server
//!                       │       storm: crashes, lost answers, late writes, clocks, restores
//!                       └─▶ judge: every invariant at every step ─▶ story
//! ```
//!
//! All randomness comes from the seed and all time is virtual, so that a seed is a whole story that
//! happens the same way every time. [`run()`] tells one: a storm, then calm in which everything must
//! come to what was agreed, then a restart of everyone that must write nothing.
//!
//! What is simulated is what ships: [`hansa_operator::Operator`], its records and pages, and the
//! API server of `hansa-kubesim`. Only the arms are this crate's own: what carries out acts, and
//! what breaks.

mod clock;
mod install;
mod judge;
mod kinds;
mod member;
mod process;
mod random;
mod reached;
mod run;
mod sabotage;
mod settings;
mod store;
mod story;
mod users;
mod world;

pub use judge::Violation;
pub use reached::{Hazard, Reached};
pub use run::{Outcome, run};
pub use sabotage::Sabotage;
pub use settings::Settings;
pub use story::Story;
