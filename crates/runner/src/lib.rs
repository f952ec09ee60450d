//! Runs an operator on a real API server, a topology server and a clock.
//!
//! The operator decides; this crate carries out. Each act becomes one call, each completion one
//! event; watches stream in, notes go to the log, and a handful of sockets tell how it is.
//!
//! | Module | Does |
//! |---|---|
//! | [`run`] | the loop between the operator and everything else |
//! | [`api_server`] | requests and watches at the member's own API server |
//! | [`topo_calls`] | calls of the topology server |
//! | [`types`] | keeps the generated CRDs and policies installed |
//! | [`keys`] | the operator's keys, in a Secret of its own cluster |
//! | [`lease`] | one leader at a time among the replicas |
//! | [`endpoints`] | health, readiness, metrics, and answers without data |
//! | [`clock`] | the two clocks and the randomness of a step |

pub mod api_server;
pub mod clock;
pub mod endpoints;
pub mod keys;
pub mod lease;
pub mod run;
pub mod topo_calls;
pub mod types;

pub use run::{Options, Started, start};
