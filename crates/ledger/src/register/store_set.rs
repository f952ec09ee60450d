//! Which stores hold the registers, and which of them together are a quorum.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A store's own name: random, written into it when it becomes part of a quorum.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(Arc<str>);

impl StoreId {
    /// Wraps a name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        StoreId(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of the register that holds the set of stores. No caller's key is like it, for those begin with `/`.
pub const SET_KEY: &str = "set";

/// The stores at one epoch. It is itself the value of a register on them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StoreSet {
    /// The format of this value.
    format: u32,
    /// Rises by one with every change of the set.
    pub epoch: u64,
    /// The stores, an odd number, with where they are, for people.
    pub stores: BTreeMap<StoreId, String>,
    /// While a store is replaced: the stores as they will be. A quorum is then one of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<BTreeMap<StoreId, String>>,
    /// While a store is replaced: whether a quorum was one of both in the set before this one, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
    /// Stores that do not count, with the reason: they have lost what they had acknowledged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub barred: BTreeMap<StoreId, String>,
}

/// Why something is no set of stores.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreSetError {
    /// It does not decode.
    #[error("the set of stores does not decode ({0}): the value is damaged")]
    Damaged(String),
    /// A format of a newer release.
    #[error("the set of stores has format {0}, this release reads format {FORMAT}: run a newer one")]
    Format(u32),
}

const FORMAT: u32 = 1;

impl StoreSet {
    /// The first set.
    pub fn first(stores: BTreeMap<StoreId, String>) -> Self {
        StoreSet { format: FORMAT, epoch: 1, stores, joining: None, settled: false, barred: BTreeMap::new() }
    }

    /// The set in which `old` is on its way out and `new` on its way in.
    #[must_use]
    pub fn replacing(&self, old: &StoreId, new: &StoreId, location: &str) -> Self {
        let mut joining = self.stores.clone();
        joining.remove(old);
        joining.insert(new.clone(), location.to_owned());
        StoreSet { epoch: self.epoch + 1, joining: Some(joining), settled: false, ..self.clone() }
    }

    /// The same set once more, while a store is replaced.
    ///
    /// A set is found by asking its own quorum ([`super::Search`]), and proposed under the one before it. Where a
    /// quorum of the new stores alone is asked, all who may still write the register must write to a quorum of those,
    /// too. Whoever knows the set from before the replacement does not; but once this set is in force, copies on a
    /// quorum of the old stores bear the epoch of the set that began it, and refuse them. So the new stores stand
    /// alone after two sets of both, never after one.
    #[must_use]
    pub fn settled(&self) -> Self {
        StoreSet { epoch: self.epoch + 1, settled: self.joining.is_some(), ..self.clone() }
    }

    /// The set after a replacement; `None` when none is under way, or not for two sets yet ([`StoreSet::settled`]).
    pub fn replaced(&self) -> Option<Self> {
        let stores = self.joining.clone().filter(|_| self.settled)?;
        let mut barred = self.barred.clone();
        barred.retain(|store, _| stores.contains_key(store));
        Some(StoreSet { format: FORMAT, epoch: self.epoch + 1, stores, joining: None, settled: false, barred })
    }

    /// Whether `store` is the one on its way in.
    pub fn awaits(&self, store: &StoreId) -> bool {
        self.joining.as_ref().is_some_and(|joining| joining.contains_key(store)) && !self.stores.contains_key(store)
    }

    /// The set in which `store` does not count.
    #[must_use]
    pub fn barring(&self, store: &StoreId, reason: &str) -> Self {
        let mut next = StoreSet { epoch: self.epoch + 1, ..self.clone() };
        next.barred.insert(store.clone(), reason.to_owned());
        next
    }

    /// Every store that holds copies, barred ones included.
    pub fn all(&self) -> BTreeSet<&StoreId> {
        self.stores.keys().chain(self.joining.iter().flat_map(BTreeMap::keys)).collect()
    }

    /// Every store that counts.
    pub fn counting(&self) -> impl Iterator<Item = &StoreId> {
        self.all().into_iter().filter(|store| !self.barred.contains_key(*store))
    }

    /// Where a store is, for people.
    pub fn location(&self, store: &StoreId) -> Option<&str> {
        let joining = self.joining.as_ref().and_then(|joining| joining.get(store));
        self.stores.get(store).or(joining).map(String::as_str)
    }

    /// Whether the stores of which `holds` is true are a quorum: a majority of the set and, while a
    /// store is replaced, a majority of the set to come, too. Barred stores do not count, and lower
    /// no majority.
    pub fn is_quorum(&self, holds: impl Fn(&StoreId) -> bool) -> bool {
        let majority = |stores: &BTreeMap<StoreId, String>| {
            let count = stores.keys().filter(|store| !self.barred.contains_key(*store) && holds(store)).count();
            count > stores.len() / 2
        };
        majority(&self.stores) && self.joining.as_ref().is_none_or(majority)
    }

    /// The value of the register.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a set of stores always encodes into memory")
    }

    /// Reads the value of the register.
    ///
    /// # Errors
    /// When the bytes are no set of stores in this format.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreSetError> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let damaged = |error: serde_json::Error| StoreSetError::Damaged(error.to_string());
        let Header { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(StoreSetError::Format(format));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}
