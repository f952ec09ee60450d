//! Which set of stores is in force.

use super::operation::Change;
use super::store_set::StoreSet;
use std::sync::Arc;

/// The way from the newest set that any store has heard of to the one that is in force: each set is asked what the
/// register of the set holds under its own quorum, until one says that it is the one.
///
/// That a set confirms itself is enough, although it was proposed under the set before it. Of two sets in a row, a
/// quorum of the later one holds a quorum of the earlier one, or (when a replacement ends) the half of it that also
/// counts in the set before that: see [`StoreSet::settled`].
#[derive(Clone, Debug)]
pub struct Search {
    heard_of: u64,
    set: Arc<StoreSet>,
}

impl Search {
    /// Begins at the newest set that a store has accepted.
    pub fn from(heard_of: StoreSet) -> Self {
        Search { heard_of: heard_of.epoch, set: Arc::new(heard_of) }
    }

    /// Under which set its register is to be asked.
    pub fn set(&self) -> &Arc<StoreSet> {
        &self.set
    }

    /// How it is to be asked.
    pub fn change(&self) -> Change {
        // A set that one store has heard of and no quorum agreed on must not be met again and again.
        if self.set.epoch < self.heard_of { Change::Rewrite } else { Change::Read }
    }

    /// Whether the set that was asked is in force, by what its register holds. Otherwise that is asked next: also one of
    /// the same epoch, when two were proposed at once.
    pub fn found(&mut self, found: StoreSet) -> bool {
        let is_in_force = found == *self.set;
        self.set = Arc::new(found);
        is_in_force
    }
}

#[cfg(test)]
mod tests;
