//! Who votes: names, keys, and how many of them make a quorum.

use crate::key::Epoch;
use crate::signing::PublicKey;
use hansa_model::MemberName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most voters that a document takes: the spec's own limit on members.
pub const MAX_VOTERS: usize = 256;

/// The voters of a document. Only a decision of themselves changes them, by one at a time, or the
/// signed force of a person after a quorum is lost for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Voters {
    /// The epoch of the decision that made this set; 0 for the founding one.
    pub epoch: Epoch,
    /// Keys of people who may force after a quorum is lost for good.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<String, PublicKey>,
    /// How many make a decision. The denominator is the whole set: suspected and lost ones count in it.
    pub quorum: u32,
    /// Who was taken out, so that what they still write is named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removed: BTreeMap<MemberName, Removed>,
    /// Who votes.
    pub set: BTreeMap<MemberName, Voter>,
}

/// A voter's identity: the cluster, and the key that its operator signs with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Voter {
    /// The key.
    pub key: PublicKey,
    /// The uid of the cluster's kube-system namespace, or whatever tells one body from its clone.
    pub uid: String,
    /// It votes, and does nothing else: no appointments, no barriers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witness: bool,
}

/// A voter that was taken out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removed {
    /// The epoch of the decision.
    pub epoch: Epoch,
    /// Its key, which joins no more.
    pub key: PublicKey,
    /// Its cluster.
    pub uid: String,
}

/// What a process is to a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "standing", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Place {
    /// It votes.
    Voter,
    /// It was taken out: it freezes.
    Removed {
        /// The epoch of the decision.
        epoch: Epoch,
    },
    /// It has not joined.
    Stranger,
    /// Its name belongs to another cluster: it is a clone, or was restored into another one.
    Clone {
        /// The cluster that has the name.
        uid: String,
    },
    /// Its cluster is known under another key.
    OtherKey {
        /// The key that is known.
        key: PublicKey,
    },
}

/// How many of `voters` make a majority.
pub fn majority(voters: usize) -> u32 {
    u32::try_from(voters / 2 + 1).unwrap_or(u32::MAX)
}

impl Voters {
    /// The founding set, with a majority as quorum.
    pub fn found(set: BTreeMap<MemberName, Voter>, people: BTreeMap<String, PublicKey>) -> Self {
        Voters { epoch: Epoch(0), people, quorum: majority(set.len()), removed: BTreeMap::new(), set }
    }

    /// What is wrong with it, if anything is.
    pub fn fault(&self) -> Option<String> {
        let (quorum, size) = (self.quorum as usize, self.set.len());
        if size == 0 || size > MAX_VOTERS {
            return Some(format!("voters.set has {size} voters: 1 to {MAX_VOTERS} are expected"));
        }
        // Two quorums of one set have to meet.
        if quorum > size || quorum * 2 <= size {
            return Some(format!("voters.quorum is {quorum}, of {size} voters: more than half and at most all"));
        }
        let mut keys: Vec<_> = self.set.values().map(|voter| voter.key).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).any(|pair| pair[0] == pair[1]);
        twice.then(|| "voters.set: two voters have one key: each operator has a key of its own".to_owned())
    }

    /// Whether every quorum of this set meets every quorum of that one.
    pub fn meets(&self, other: &Voters) -> bool {
        let both = self.set.keys().chain(other.set.keys().filter(|name| !self.set.contains_key(*name))).count();
        (self.quorum + other.quorum) as usize > both
    }

    /// What a process with this name, cluster and key is here.
    pub fn place(&self, member: &MemberName, uid: &str, key: &PublicKey) -> Place {
        match (self.set.get(member), self.removed.get(member)) {
            (Some(voter), _) if voter.uid != uid => Place::Clone { uid: voter.uid.clone() },
            (Some(voter), _) if voter.key != *key => Place::OtherKey { key: voter.key },
            (Some(_), _) => Place::Voter,
            (None, Some(removed)) if removed.key == *key => Place::Removed { epoch: removed.epoch },
            (None, _) => match self.removed.values().find(|removed| removed.key == *key) {
                Some(removed) => Place::Removed { epoch: removed.epoch },
                None => Place::Stranger,
            },
        }
    }

    /// The voters that do work, too.
    pub fn workers(&self) -> impl Iterator<Item = &MemberName> {
        self.set.iter().filter(|(_, voter)| !voter.witness).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::Signer;

    fn voter(number: u8) -> Voter {
        let key = Signer::new("x".parse().unwrap(), [number; 32]).public();
        Voter { key, uid: format!("uid-{number}"), witness: false }
    }

    fn voters(names: &[&str]) -> Voters {
        let set = names.iter().map(|name| (name.parse().unwrap(), voter(name.as_bytes()[0]))).collect();
        Voters::found(set, BTreeMap::new())
    }

    #[test]
    fn a_majority_meets_every_majority_of_a_neighbouring_set() {
        for size in 1..20usize {
            let names: Vec<String> = (0..=size).map(|n| format!("{}", (b'a' + n as u8) as char)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert!(voters(&names[..size]).meets(&voters(&names)), "{size}");
        }
        assert!(!voters(&["a", "b", "c"]).meets(&voters(&["a", "b", "c", "d", "e"])));
    }

    #[test]
    fn clones_and_the_removed_are_noticed() {
        let mut voters = voters(&["a", "b"]);
        let place = |voters: &Voters, member: &str, of: u8| {
            voters.place(&member.parse().unwrap(), &voter(of).uid, &voter(of).key)
        };
        assert_eq!(place(&voters, "a", b'a'), Place::Voter);
        assert_eq!(place(&voters, "a", b'b'), Place::Clone { uid: "uid-97".into() });
        assert_eq!(place(&voters, "c", b'c'), Place::Stranger);
        assert_eq!(
            voters.place(&"a".parse().unwrap(), "uid-97", &voter(1).key),
            Place::OtherKey { key: voter(b'a').key }
        );
        let gone = voters.set.remove(&"b".parse::<MemberName>().unwrap()).unwrap();
        voters.removed.insert("b".parse().unwrap(), Removed { epoch: Epoch(4), key: gone.key, uid: gone.uid });
        assert_eq!(place(&voters, "b", b'b'), Place::Removed { epoch: Epoch(4) });
        // Nor under another name.
        assert_eq!(place(&voters, "d", b'b'), Place::Removed { epoch: Epoch(4) });
    }

    #[test]
    fn impossible_quorums_are_named() {
        let mut voters = voters(&["a", "b"]);
        assert_eq!(voters.fault(), None);
        voters.quorum = 1;
        assert!(voters.fault().unwrap().contains("more than half"));
        voters.quorum = 3;
        assert!(voters.fault().unwrap().contains("at most all"));
    }
}
