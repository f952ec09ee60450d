//! What people confirmed of what the breaker holds back: `/v1/members/<member>/confirmations`, written
//! by that member alone.
//!
//! A set of removals is shown by the member in which it waits, and only that member knows what is in
//! it. A person's yes names the set by its hash. The member that has shown it then writes down what
//! falls, object by object, and every member that is to carry some of it out finds its own part there,
//! whatever else waits in it. A yes that was given in another member stands there, among `asked`,
//! until the one that has shown the set has taken it up.
//!
//! What is done is taken out again, so that the value stays as small as what is under way.

use crate::breaker::{MAX_SET_BYTES, Scope, written_bytes};
use crate::cell::known_format;
use hansa_model::{Hash, RecordKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format that this release reads and writes.
pub const CONFIRMATIONS_FORMAT: u32 = 1;

/// How many yeses to sets of other members may wait to be taken up.
pub const MAX_ASKED: usize = 64;

/// How much may be confirmed and not done yet, as [`written_bytes`] counts: it has to fit into one value.
const MAX_BYTES: usize = MAX_SET_BYTES + (256 << 10);

/// A member's part in what people confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmations {
    /// The value's format.
    #[serde(deserialize_with = "known_format")]
    pub format: u32,
    /// Sets that another member shows, and who said yes to them here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub asked: BTreeMap<Hash, String>,
    /// Sets that this member has shown and a person confirmed, without what is done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<Hash, Confirmed>,
}

/// A set that a person confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmed {
    /// Who, for people.
    pub by: String,
    /// What of the set is still to fall.
    pub removals: BTreeMap<RecordKey, Scope>,
}

impl Confirmations {
    /// Nothing was confirmed.
    pub fn empty() -> Self {
        Confirmations { format: CONFIRMATIONS_FORMAT, asked: BTreeMap::new(), sets: BTreeMap::new() }
    }

    /// Whether a person said yes to this removal.
    pub fn covers(&self, key: &RecordKey, scope: &Scope) -> bool {
        self.sets.values().any(|set| set.removals.get(key).is_some_and(|known| known.covers(scope)))
    }

    /// Whether there is room for so many removals more.
    pub fn has_room_for(&self, removals: &BTreeMap<RecordKey, Scope>) -> bool {
        let taken: usize = self.sets.values().map(|set| written_bytes(&set.removals)).sum();
        taken == 0 || taken + written_bytes(removals) <= MAX_BYTES
    }

    /// Takes out what is done, and the sets of which nothing is left. `keep` says whether a set stays
    /// although nothing is: whoever said yes to it has not heard yet.
    pub fn retain(&mut self, is_open: impl Fn(&RecordKey, &Scope) -> bool, keep: impl Fn(&Hash) -> bool) {
        for set in self.sets.values_mut() {
            set.removals.retain(|key, scope| is_open(key, scope));
        }
        self.sets.retain(|hash, set| !set.removals.is_empty() || keep(hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use hansa_model::Incarnation;

    fn confirmations() -> Confirmations {
        let withdrawal = Scope::withdrawal(Incarnation(9), ["gcp".parse().unwrap()].into());
        let removals = [
            ("configmaps/shop/a".parse().unwrap(), Scope::end(Incarnation(7))),
            ("configmaps/shop/b".parse().unwrap(), withdrawal),
        ];
        let confirmed = Confirmed { by: "aws: Request shop/yes".into(), removals: removals.into() };
        Confirmations {
            format: CONFIRMATIONS_FORMAT,
            asked: [(Hash::of_bytes(b"other"), "aws: Request shop/other".into())].into(),
            sets: [(Hash::of_bytes(b"set"), confirmed)].into(),
        }
    }

    #[test]
    fn what_is_done_goes_and_a_set_with_it() {
        let mut all = confirmations();
        let a: RecordKey = "configmaps/shop/a".parse().unwrap();
        assert!(all.covers(&a, &Scope::end(Incarnation(7))) && !all.covers(&a, &Scope::end(Incarnation(8))));
        all.retain(|key, _| *key != a, |_| false);
        assert!(!all.covers(&a, &Scope::end(Incarnation(7))) && all.sets.len() == 1);
        all.retain(|_, _| false, |_| true);
        assert_eq!(all.sets.len(), 1, "it is still to be heard of");
        all.retain(|_, _| false, |_| false);
        assert!(all.sets.is_empty());
    }

    #[test]
    fn there_is_room_for_one_set_and_not_for_two_of_the_largest() {
        let name = "n".repeat(200);
        let most: BTreeMap<RecordKey, Scope> = (0..3_000)
            .map(|index| (format!("configmaps/shop/{name}{index:05}").parse().unwrap(), Scope::end(Incarnation(1))))
            .collect();
        let mut all = Confirmations::empty();
        assert!(all.has_room_for(&most));
        all.sets.insert(Hash::of_bytes(b"1"), Confirmed { by: String::new(), removals: most.clone() });
        assert!(!all.has_room_for(&most));
    }

    /// The persisted format: what an earlier release wrote has to read for ever.
    #[test]
    fn the_format_stays() {
        let text = serde_json::to_string_pretty(&confirmations()).unwrap();
        expect![[r#"
            {
              "format": 1,
              "asked": {
                "3f796163ebf94718de1cd7582655c012f995c06f1e6970ea2bdc15bcd88a324a": "aws: Request shop/other"
              },
              "sets": {
                "e672e5cd4b1892ec81b2f8b2ef2d451f0a7e3ba808d2211c045432f767de0d2e": {
                  "by": "aws: Request shop/yes",
                  "removals": {
                    "configmaps/shop/a": {
                      "incarnation": 7
                    },
                    "configmaps/shop/b": {
                      "incarnation": 9,
                      "members": [
                        "gcp"
                      ]
                    }
                  }
                }
              }
            }"#]]
        .assert_eq(&text);
        assert_eq!(serde_json::from_str::<Confirmations>(&text).unwrap(), confirmations());
    }
}
