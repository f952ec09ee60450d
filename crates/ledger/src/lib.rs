//! Hansa's ledger: what stands in the topology server, as pure values.
//!
//! Envelopes, pages and records; the lives of a federated object (homes, placed, incarnations,
//! tombstones, debts); the breaker; and the compare-and-swap machine with its three outcomes. No
//! I/O, clock or randomness: times and nonces are passed in.

pub mod store;

pub use store::{Swap, Version, Versioned};
