//! Hansa's ledger: what stands in the topology server, as pure values.
//!
//! [`envelope`]s, [`page`]s and [`record`]s; the [`lives`] of a federated object (homes, placed,
//! incarnations, tombstones, debts) and the [`mutation`]s between them; the [`breaker`] and what people
//! [confirmed](confirmation); the members' own [`cell`]s; [`plan`]s and what members say to them; and
//! [`swap`], the compare-and-swap machine with its three outcomes. No I/O, clock or randomness: times
//! and nonces are passed in.

pub mod breaker;
pub mod cell;
pub mod confirmation;
pub mod envelope;
pub mod keys;
pub mod lives;
pub mod mutation;
pub mod page;
pub mod plan;
pub mod record;
pub mod register;
pub mod seal;
pub mod store;
pub mod swap;

pub use envelope::{Envelope, EnvelopeError, OperationId};
pub use page::{Page, Slot};
pub use record::Record;
pub use store::{Swap, Version, Versioned};
