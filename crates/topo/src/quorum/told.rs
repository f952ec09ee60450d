//! What the followers of changes are told of a register when a copy of it has changed: its version, as it was read
//! last or is read now; or, of a register that changes all the time, that it has changed, without a read.
//!
//! A heartbeat is such a register. That it has changed is all that most want to know, and a request to each store for
//! each heartbeat of a league is more than all else that an operator at rest asks. What is told then is a version that
//! no value has, made of the store and of its version of the copy: so it differs from any that somebody holds, and the
//! same copy is told the same. Each store's copy is told, so that one write may be told as often as there are stores;
//! a promise, and a write that another process finishes, change copies, too.
//!
//! **Nothing is left out all the same.** A copy may be of a write that only its store has accepted so far. Who is told
//! by a read is told of a state that accounts for that copy: the write is in it, or can never be chosen any more. Who
//! is told without one has that state to come: the copy is *owed*, and the next read of the register through this handle
//! accounts for it, or settles the register by a write.

use hansa_ledger::Version;
use hansa_ledger::register::{Operation, State, StoreId};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// For how many registers it is remembered what was read last, and how many may be owed.
const REGISTERS_KEPT: usize = 16_384;
/// A register changes all the time when it has for so long, and was never quiet for so long. No race and no edit takes
/// that long; a heartbeat, of five seconds unless it was set otherwise, is known for one after a minute.
const STEADY: Duration = Duration::from_secs(60);

/// What is told of a changed copy.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Telling {
    /// This version, which no other register or copy has told.
    Version(Version),
    /// What a read says.
    Read,
}

/// A moment in the order of what was told and of when reads began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Moment(u64);

/// What was read and told of registers.
#[derive(Default)]
pub(super) struct Told {
    now: Moment,
    /// What was read last, so that the feeds of several stores about one write need one read together.
    registers: BTreeMap<Arc<str>, Register>,
    steady: BTreeMap<Arc<str>, Steady>,
    /// The stores whose copies were told without a read since the last one that accounts for them, and when.
    owed: BTreeMap<Arc<str>, BTreeMap<StoreId, Moment>>,
}

struct Register {
    version: Version,
    /// The stores' versions of the copies that this version of the register accounts for.
    accounted: BTreeMap<StoreId, Version>,
}

/// Since when a register changes without a pause.
#[derive(Clone, Copy)]
struct Steady {
    since: Instant,
    last: Instant,
}

impl Told {
    /// The moment at which a read begins.
    pub(super) fn begin(&mut self) -> Moment {
        self.now.0 += 1;
        self.now
    }

    /// An operation that began then has found a state.
    pub(super) fn remember(&mut self, key: &Arc<str>, state: &State, operation: &Operation, began: Moment) {
        let accounts = |copy: Option<&State>| {
            copy.is_none_or(|copy| copy.version == state.version || copy.revision < state.revision)
        };
        let accounted = operation.copies().filter(|(_, _, copy)| accounts(*copy));
        let accounted: BTreeMap<_, _> = accounted.map(|(store, version, _)| (store.clone(), version.clone())).collect();
        self.settle(key, |store, told| accounted.contains_key(store) && told < began);
        keep(&mut self.registers, key.clone(), Register { version: state.version.clone(), accounted });
    }

    /// A write that began then has settled a register: what was accepted before is in it, or never will be.
    pub(super) fn settled(&mut self, key: &str, began: Moment) {
        self.settle(key, |_, told| told < began);
    }

    fn settle(&mut self, key: &str, is_settled: impl Fn(&StoreId, Moment) -> bool) {
        if let Some(owed) = self.owed.get_mut(key) {
            owed.retain(|store, told| !is_settled(store, *told));
            if owed.is_empty() {
                self.owed.remove(key);
            }
        }
    }

    /// Whether a copy of the register was told before that moment, and no read since accounts for it.
    pub(super) fn owes(&self, key: &str, before: Moment) -> bool {
        self.owed.get(key).is_some_and(|owed| owed.values().any(|told| *told < before))
    }

    /// The same of any register whose key begins so.
    pub(super) fn owes_below(&self, prefix: &str) -> bool {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        self.owed.range::<str, _>(from).next().is_some_and(|(key, _)| key.starts_with(prefix))
    }

    /// What to tell of a register whose copy at a store has changed.
    pub(super) fn tell(&mut self, key: &str, store: &StoreId, at: &Version, now: Instant) -> Telling {
        let is_steady = self.changes_steadily(key, now);
        let known = self.registers.get(key).filter(|register| register.accounted.get(store) == Some(at));
        if let Some(register) = known {
            return Telling::Version(register.version.clone());
        }
        if !is_steady || (self.owed.len() >= REGISTERS_KEPT && !self.owed.contains_key(key)) {
            return Telling::Read;
        }
        let moment = self.begin();
        self.owed.entry(key.into()).or_default().insert(store.clone(), moment);
        // A register's version names the write, and has no such sign in it.
        Telling::Version(Version::new(format!("{}@{at}", store.as_str())))
    }

    fn changes_steadily(&mut self, key: &str, now: Instant) -> bool {
        let Some(steady) = self.steady.get_mut(key) else {
            keep(&mut self.steady, key.into(), Steady { since: now, last: now });
            return false;
        };
        if now - steady.last > STEADY {
            steady.since = now;
        }
        steady.last = now;
        now - steady.since >= STEADY
    }
}

fn keep<T>(kept: &mut BTreeMap<Arc<str>, T>, key: Arc<str>, value: T) {
    if kept.len() >= REGISTERS_KEPT && !kept.contains_key(&key) {
        kept.pop_first();
    }
    kept.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> StoreId {
        StoreId::new(name)
    }

    #[test]
    fn what_changes_all_the_time_is_told_without_a_read() {
        let (mut told, began) = (Told::default(), Instant::now());
        let mut tell = |second: u64| {
            told.tell("/beat", &store("a"), &Version::new(second.to_string()), began + Duration::from_secs(second))
        };
        for second in (0..60).step_by(5) {
            assert_eq!(tell(second), Telling::Read, "{second}");
        }
        assert_eq!(tell(60), Telling::Version(Version::new("a@60")));
        assert_eq!(tell(120), Telling::Version(Version::new("a@120")));
        // It was quiet.
        assert_eq!(tell(181), Telling::Read);
    }

    #[test]
    fn what_was_told_is_owed_until_a_later_read_accounts_for_it() {
        let (mut told, began) = (Told::default(), Instant::now());
        let at = Version::new("7");
        told.tell("/v1/a", &store("a"), &at, began);
        let before = told.begin();
        told.tell("/v1/a", &store("a"), &at, began + STEADY);
        let after = told.begin();
        assert!(told.owes("/v1/a", after) && !told.owes("/v1/a", before) && !told.owes("/v1/b", after));
        assert!(told.owes_below("/v1/") && !told.owes_below("/v1/b") && !told.owes_below("//"));
        told.settled("/v1/a", before);
        assert!(told.owes("/v1/a", after));
        told.settled("/v1/a", after);
        assert!(!told.owes("/v1/a", after) && !told.owes_below(""));
    }
}
