//! What every topology server answers with: versions, versioned values, and the three outcomes of a
//! compare-and-swap.
//!
//! A write that timed out is neither committed nor lost: it may still land. Re-reading the key does
//! not settle it, for a delayed write can overtake the read; only consuming the expected version, or
//! finding one's own operation id in the stored envelope, does (see [`crate::swap`]).

use bytes::Bytes;
use std::fmt;

/// A version of one key, as the backend numbers it; equal only when no write came between. Opaque:
/// versions are compared for equality and passed back, never ordered or computed with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Box<str>);

impl Version {
    /// Wraps what the backend calls this version (a revision, a sequence number, an ETag).
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Version(text.into())
    }

    /// The backend's own text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value together with the version it was read at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Versioned {
    /// The version to name in the next compare-and-swap.
    pub version: Version,
    /// The stored bytes, unchanged.
    pub value: Bytes,
}

/// How a create or a compare-and-swap ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Swap {
    /// The value is stored, at this version.
    Committed(Version),
    /// The key was not at the expected version, and nothing was written by this call. `current` is
    /// what stands there now; `None`: the key does not exist.
    Mismatch {
        /// What stands at the key now.
        current: Option<Versioned>,
    },
    /// The backend did not say. The write may have happened, may still happen, or may never.
    Indeterminate {
        /// What the backend or the connection said, for people.
        reason: String,
    },
}
