//! The contract: what every topology server promises, and nothing that some cannot keep.

use crate::error::TopoError;
use crate::usage::Usage;
use async_trait::async_trait;
use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use std::collections::BTreeMap;
use std::fmt;

/// A shared, versioned key-value store whose linearizable compare-and-swap is the league's
/// consensus.
///
/// - Reads are linearizable: they show every write that was acknowledged before they began.
/// - A version changes with every write of its key, also one that writes equal bytes, and never
///   comes back, so that A → B → A is seen.
/// - Nothing is ever deleted. (An administrator may delete behind our back: the key is then missing,
///   and its old versions never match again.)
/// - An error is determinate: nothing was written. A write of unknown fate answers
///   [`Swap::Indeterminate`].
/// - Every method may be cancelled by dropping its future; a write cancelled so has an unknown fate.
/// - A handle speaks with one store for its life. When another one takes its place, calls end with
///   [`crate::Category::Replaced`]; one of [`mod@crate::succession`] goes on once a person has said so.
#[async_trait]
pub trait Topo: Send + Sync + fmt::Debug {
    /// The value of `key`; `None` when it does not exist.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError>;

    /// Makes `key`, if it does not exist. Otherwise [`Swap::Mismatch`] with what stands there.
    async fn create(&self, key: &str, value: Bytes) -> Result<Swap, TopoError>;

    /// Replaces the value of `key` if it is at `expected`. A key that does not exist is a mismatch
    /// without a current value, never a creation.
    async fn compare_and_swap(&self, key: &str, expected: &Version, value: Bytes) -> Result<Swap, TopoError>;

    /// All entries whose key begins with `prefix` (empty: all), sorted by key. Each entry is as
    /// fresh as a [`Topo::get`] that began with the call; memory, SQLite and etcd answer from one
    /// instant, other backends need not.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError>;

    /// Several values at once, in the order of `keys`, in as few requests as the backend can.
    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError>;

    /// Waits until a key has changed since `cursor`, and says which. `None` answers at once with a
    /// cursor to go on from.
    ///
    /// This only says where to look: several writes of a key are one entry, and a change may be told
    /// twice. One answer need not tell all that has changed, nor do changes of several keys come in
    /// the order of their writes; but who goes on from its cursor is told the rest. A change is never
    /// left out: what cannot be told any more is a [`Changes::Reset`].
    /// Cancelling loses nothing, for the caller still holds its cursor.
    ///
    /// A quorum does not read what it tells of a key that has been changing for a minute or longer. It tells each store's
    /// copy of a write, and so the write more than once; a promise to a store, or that somebody else's half-done write is
    /// finished, may look like one more write. Who wants to know looks through the handle that told it: another one need
    /// not yet know of a write that is half done.
    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError>;

    /// Looks at the server itself: what is well, what endangers a league, and the mend.
    async fn check(&self) -> Result<Vec<Finding>, TopoError>;

    /// How many values one request of [`Topo::read_many`] brings; 1 where each takes one of its own.
    fn values_per_read(&self) -> usize;

    /// What this handle has asked of the server so far.
    fn usage(&self) -> Usage;

    /// The backend's name, as in its URL scheme.
    fn backend(&self) -> &'static str;
}

/// One entry of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// Its value and version.
    pub versioned: Versioned,
}

/// A place in the history of a store, to ask for what changed since. Opaque; another store's or
/// another time's cursor leads to a [`Changes::Reset`], never to a gap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor(Box<str>);

impl Cursor {
    /// Wraps a backend's text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Cursor(text.into())
    }

    /// The backend's text, for keeping.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What happened since a cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changes {
    /// These keys were written.
    Keys {
        /// Where to go on from.
        cursor: Cursor,
        /// The keys with the last version told, so that whoever holds that version already (its own
        /// write, say) need not read. What was told without a read bears a version that no value has. Empty only in the
        /// answer to "from now".
        keys: BTreeMap<String, Version>,
    },
    /// The history since the cursor is gone: list everything of interest *after* this answer, and go
    /// on from its cursor.
    Reset {
        /// Where to go on from.
        cursor: Cursor,
    },
}

impl Changes {
    /// Where to go on from.
    pub fn cursor(&self) -> &Cursor {
        match self {
            Changes::Keys { cursor, .. } | Changes::Reset { cursor } => cursor,
        }
    }
}

/// One thing that [`Topo::check`] looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// What was found, and the mend where there is one.
    pub message: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Works, but will hurt or could not be found out.
    Warning,
    /// Must be mended before a league stands on it.
    Problem,
}
