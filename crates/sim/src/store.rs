//! The topology server of a simulated league: the contract of `topo`, without I/O.
//!
//! Versions are numbers of changes, so that none is used twice; `changes` tells keys since a cursor,
//! or Reset when the history does not reach back that far.

use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use std::collections::{BTreeMap, VecDeque};

/// A versioned key-value store.
#[derive(Debug, Default)]
pub struct Store {
    entries: BTreeMap<String, (u64, Bytes)>,
    /// The number of the last change.
    sequence: u64,
    /// The keys of the last changes; the last one has the number `sequence`.
    changed: VecDeque<String>,
}

/// What a store held at some time.
#[derive(Clone, Debug)]
pub struct Kept(BTreeMap<String, (u64, Bytes)>);

impl Kept {
    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<Bytes> {
        self.0.get(key).map(|(_, value)| value.clone())
    }

    /// All values by key.
    pub fn values(&self) -> impl Iterator<Item = (&str, Bytes)> {
        self.0.iter().map(|(key, (_, value))| (key.as_str(), value.clone()))
    }
}

fn versioned((version, value): &(u64, Bytes)) -> Versioned {
    Versioned { version: Version::new(version.to_string()), value: value.clone() }
}

impl Store {
    /// What stands at a key.
    pub fn get(&self, key: &str) -> Option<Versioned> {
        self.entries.get(key).map(versioned)
    }

    /// Everything under a prefix.
    pub fn list(&self, prefix: &str) -> Vec<(String, Versioned)> {
        let below = self.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        below.map(|(key, entry)| (key.clone(), versioned(entry))).collect()
    }

    /// Creates a key (`expected: None`) or compares and swaps it.
    pub fn swap(&mut self, key: &str, expected: Option<&Version>, value: Bytes) -> Swap {
        let current = self.get(key);
        if current.as_ref().map(|found| &found.version) != expected {
            return Swap::Mismatch { current };
        }
        self.sequence += 1;
        self.entries.insert(key.to_owned(), (self.sequence, value));
        self.changed.push_back(key.to_owned());
        Swap::Committed(Version::new(self.sequence.to_string()))
    }

    /// Where `changes` goes on from now.
    pub fn cursor(&self) -> Box<str> {
        self.sequence.to_string().into()
    }

    /// What changed since a cursor; `None` when that cannot be told any more.
    pub fn since(&self, cursor: &str) -> Option<BTreeMap<String, Version>> {
        let after: u64 = cursor.parse().ok()?;
        let count = usize::try_from(self.sequence.checked_sub(after)?).ok()?;
        let first = self.changed.len().checked_sub(count)?;
        let numbered = self.changed.range(first..).zip(after + 1..);
        Some(numbered.map(|(key, number)| (key.clone(), Version::new(number.to_string()))).collect())
    }

    /// Everything as it stands.
    pub fn keep(&self) -> Kept {
        Kept(self.entries.clone())
    }

    /// Everything is as it was, and who waits for changes hears nothing of it. No number is used twice: a
    /// backend whose numbers go back notices that itself.
    pub fn go_back(&mut self, kept: &Kept) {
        self.entries.clone_from(&kept.0);
    }

    /// A person writes a value, whatever stands there.
    pub fn put(&mut self, key: &str, value: Bytes) {
        self.sequence += 1;
        self.entries.insert(key.to_owned(), (self.sequence, value));
        self.changed.push_back(key.to_owned());
    }

    /// Nothing stands there any more, and every cursor is too old.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.sequence += 1;
        self.forget();
    }

    /// Forgets the history: every cursor before now is too old.
    pub fn forget(&mut self) {
        self.changed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_contract() {
        let mut store = Store::default();
        let start = store.cursor();
        let Swap::Committed(first) = store.swap("/a", None, Bytes::from_static(b"1")) else { panic!("created") };
        assert!(matches!(store.swap("/a", None, Bytes::from_static(b"2")), Swap::Mismatch { current: Some(_) }));
        let Swap::Committed(second) = store.swap("/a", Some(&first), Bytes::from_static(b"1")) else {
            panic!("swapped")
        };
        // The same bytes again are another version, and the first is consumed.
        assert_ne!(first, second);
        assert!(matches!(store.swap("/a", Some(&first), Bytes::new()), Swap::Mismatch { .. }));
        store.swap("/b", None, Bytes::new());
        assert_eq!(store.since(&start).unwrap().keys().collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(store.since(&start).unwrap()["/a"], second);
        assert_eq!(store.list("/b").len(), 1);
        let now = store.cursor();
        store.forget();
        assert_eq!(store.since(&start), None);
        assert_eq!(store.since(&now), Some(BTreeMap::new()));
    }
}
