//! Users: what they write, and the record of it.
//!
//! | Module | Who |
//! |---|---|
//! | [`acts`] | people, in a storm |
//! | [`tools`] | pipelines that apply again, and people who ask for plans |
//! | [`membership`] | administrators of the league |
//! | [`leaving`] | administrators who let a member go in order |
//! | [`closing`] | people, once the storm is over |
//!
//! Each act is an ordinary request to one member's API server. What was asked for is kept beside
//! the world, so that the judge can tell a user's word from a conclusion that nobody drew.

pub(crate) mod acts;
mod closing;
mod leaving;
mod membership;
mod tools;

use crate::random::Random;
use crate::settings::Settings;
use hansa_model::{Hash, MemberName, RecordKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What users have said so far.
#[derive(Debug)]
pub struct Users {
    pub(crate) random: Random,
    /// The objects that there may be.
    pub(crate) keys: Vec<RecordKey>,
    /// Counts the contents.
    edition: u64,
    /// Per object and member: the hashes of the specs that were written there, in order.
    written: BTreeMap<(RecordKey, MemberName), Vec<Hash>>,
    /// The contents that were written, for tools that apply an old one again.
    manifests: BTreeMap<RecordKey, Vec<Value>>,
    /// Federated objects that were deleted by intent: by uid.
    deleted: BTreeSet<String>,
    /// Where objects were deleted by intent.
    deleted_in: BTreeSet<(RecordKey, MemberName)>,
    /// Objects whose deletion for all was asked for.
    ended: BTreeSet<RecordKey>,
    /// Whether somebody asked for a home to be moved, or took it: per object.
    pub(crate) moved: BTreeSet<RecordKey>,
    /// Objects of which an operator has told that their last word is nobody's.
    pub(crate) rejected: BTreeSet<RecordKey>,
    /// The sets of removals that wait for a word.
    pub(crate) held: BTreeSet<String>,
    /// The sets that were confirmed.
    confirmed: BTreeSet<String>,
    /// Those of them of which nothing was lost since.
    pub(crate) said: BTreeSet<String>,
    requests: u64,
    /// What a tool keeps applied: where, and the content once it has one.
    kept: Vec<(usize, RecordKey, Option<Value>)>,
}

impl Users {
    /// Users with their own randomness.
    pub fn new(mut random: Random, settings: &Settings) -> Self {
        let kinds = settings.kinds();
        let mut keys = Vec::new();
        for namespace in &["shop", "bank"][..settings.namespaces] {
            for name in &["a", "b", "c", "d"][..settings.names] {
                let kind = random.pick(kinds);
                keys.push(RecordKey::new(crate::kinds::type_name(kind.type_name), namespace, name));
            }
        }
        Users {
            random,
            keys,
            edition: 0,
            written: BTreeMap::new(),
            manifests: BTreeMap::new(),
            deleted: BTreeSet::new(),
            deleted_in: BTreeSet::new(),
            ended: BTreeSet::new(),
            moved: BTreeSet::new(),
            rejected: BTreeSet::new(),
            held: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            said: BTreeSet::new(),
            requests: 0,
            kept: Vec::new(),
        }
    }

    /// The first word at or after one that is a spec with this hash, of all that was written in a member.
    pub(crate) fn written_from(&self, key: &RecordKey, member: &MemberName, hash: Hash, word: usize) -> Option<usize> {
        let written = self.written.get(&(key.clone(), member.clone()))?;
        (word..written.len()).find(|word| written[*word] == hash)
    }

    /// Whether a federated object was deleted by a user who meant it.
    pub(crate) fn meant_to_delete(&self, uid: &str) -> bool {
        self.deleted.contains(uid)
    }

    /// Whether a user ever deleted the object in a member, and meant it.
    pub(crate) fn has_deleted(&self, key: &RecordKey, member: &MemberName) -> bool {
        self.deleted_in.contains(&(key.clone(), member.clone()))
    }

    /// Whether somebody confirmed a set of removals.
    pub(crate) fn has_confirmed(&self, set: &Hash) -> bool {
        self.confirmed.contains(&set.to_string())
    }

    /// Whether somebody asked for an object's end, by a Request.
    pub(crate) fn asked_for_the_end(&self, key: &RecordKey) -> bool {
        self.ended.contains(key)
    }

    /// Takes an operator's answer to what is held.
    pub(crate) fn answered(&mut self, answer: &Value) {
        for set in answer.as_array().into_iter().flatten() {
            if let Some(hash) = set["set"].as_str() {
                self.held.insert(hash.to_owned());
            }
        }
    }

    fn spoke(&mut self, key: &RecordKey, member: &MemberName, object: &Value) {
        let hash = Hash::of(&object["spec"]);
        self.written.entry((key.clone(), member.clone())).or_default().push(hash);
    }
}
