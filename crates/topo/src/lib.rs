//! Topology servers: the shared, versioned key-value stores through which the operators of a league
//! agree.
//!
//! [`Topo`] is the contract. [`open()`] gives a handle for a URL (see [`url`]): a server inside the
//! process, a SQLite file, etcd, an object store, or a [`quorum`] of others. [`conformance`] is the battery that each of them must pass, and
//! that anyone can run against a server of their own. [`fault`] wraps a handle and makes it fail as
//! real servers do.
//!
//! [`backup`] keeps what a league has agreed on in a file, and brings it back under a higher era.
//!
//! [`succession`] is how an operator opens one: its handle goes on with the store that takes another's place.
//!
//! [`agree`] is for programs that embed it: decide, appoint and barrier on any of these servers.
//!
//! A compare-and-swap ends in one of three ways ([`hansa_ledger::Swap`]), and this crate never hides
//! the third, "it may have happened": nothing here retries a write that may have been received.

pub mod agree;
pub mod backup;
pub mod conformance;
mod contract;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
pub mod fault;
mod front;
mod key;
pub mod memory;
#[cfg(feature = "object-stores")]
mod objects;
mod open;
mod place;
pub mod quorum;
mod sqlite;
pub mod succession;
pub mod url;
mod usage;

pub use contract::{Changes, Cursor, Entry, Finding, Severity, Topo};
pub use error::{Category, TopoError};
pub use hansa_ledger::{Swap, Version, Versioned};
pub use key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
pub use open::{Options, open, open_url};
pub use url::{TopoUrl, UrlError};
pub use usage::{Operation, OperationUsage, Usage};

/// How often an object store is asked for changes when nothing happens; with more than a thousand keys half as often.
pub(crate) const IDLE_LOOK: std::time::Duration = std::time::Duration::from_secs(4);

/// How many changes a store remembers by default. A follower that is further behind lists anew.
pub(crate) const CHANGES_KEPT: usize = 65_536;
