//! What a member says of itself: its cell, and the propagation status of its outputs, page by page.
//!
//! Each is written by that member alone. What an apply taught stands here (uid, output hash,
//! owned-fields hash), for without it a restarted operator could not be free of writes.

use crate::Record;
use hansa_model::{Compact, Hash, Incarnation, MemberName, RecordKey, Revision};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The format of both kinds of cell that this release reads and writes.
pub const CELL_FORMAT: u32 = 1;

/// Reads the format of a value that this release reads in format 1 alone: fields that it knows could mean something
/// else in another.
pub(crate) fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        CELL_FORMAT => Ok(CELL_FORMAT),
        other => Err(D::Error::custom(format_args!(
            "it has format {other}, this release reads format {CELL_FORMAT}: run a newer operator"
        ))),
    }
}

/// A member's word about itself, renewed with every heartbeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberCell {
    /// The cell's format.
    #[serde(deserialize_with = "known_format")]
    pub format: u32,
    /// The member.
    pub member: MemberName,
    /// The uid of its `kube-system` namespace: which cluster it is.
    pub cluster_uid: String,
    /// This start of its operator.
    pub incarnation: Incarnation,
    /// Rises with every heartbeat of this start.
    pub sequence: u64,
    /// The operator's release.
    pub release: String,
    /// The API server's version.
    pub kubernetes: String,
    /// The operator's keys, `ed25519:…` and `x25519:…`.
    pub public_keys: Vec<String>,
    /// Whether the operator reaches its own API server.
    pub api_server_ready: bool,
    /// Why its operator does nothing, when its share is frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// What was taken away lately, for the breaker.
    #[serde(default)]
    pub removals: Vec<crate::breaker::Removal>,
}

impl MemberCell {
    /// Whether another word of the same member differs from this one in nothing but that it is another heartbeat, and in
    /// what the member remembers for itself alone.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let heartbeat = MemberCell { sequence: self.sequence, removals: self.removals.clone(), ..other.clone() };
        *self == heartbeat
    }

    /// Remembers what another start of the same operator took away, too.
    pub fn remember(&mut self, removals: Vec<crate::breaker::Removal>) {
        for removal in removals {
            if !self.removals.contains(&removal) {
                self.removals.push(removal);
            }
        }
    }
}

/// The propagation status of the records of one page in one member.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusCell {
    /// The cell's format.
    #[serde(deserialize_with = "known_format")]
    pub format: u32,
    /// By record.
    #[serde(default)]
    pub records: BTreeMap<RecordKey, RecordStatus>,
}

/// What came of one record in one member.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordStatus {
    /// The life that this is about.
    pub incarnation: Incarnation,
    /// The revision that was applied, or tried.
    pub revision: Revision,
    /// What came of it.
    pub state: State,
    /// Why, for people; empty when all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What the last apply taught.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputMemory>,
    /// The output's own health.
    #[serde(default)]
    pub health: Health,
    /// What the health says, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub health_message: String,
    /// The counters of the output's status.
    #[serde(default, skip_serializing_if = "Compact::is_null")]
    pub summary: Compact,
    /// What the output here was made from, when that is later than the record: the topology server was
    /// restored, and the next word of a home goes on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later: Option<Box<Made>>,
    /// The revision last stamped on this member's own federated object, and the object's uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamped: Option<Stamped>,
    /// What keeps this member's own federated object from becoming the home that it is to be, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub home: String,
    /// What the Secret that this member's own federated object names held when it was last agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<SourceMemory>>,
}

/// What an output is made from: a life, and a revision of it. Later lives and revisions are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Made {
    /// The life.
    pub incarnation: Incarnation,
    /// The revision in that life.
    pub revision: Revision,
}

impl Made {
    /// What is made from a record as it stands.
    pub fn from(record: &Record) -> Self {
        Made { incarnation: record.incarnation, revision: record.revision }
    }
}

/// What an apply taught: equal memory, equal live object, no request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputMemory {
    /// The uid of the object that was applied to.
    pub uid: String,
    /// The hash of the output that was sent, without the revision's mark.
    pub output: Hash,
    /// The hash of the live object restricted to the fields that Hansa owns in it.
    pub owned: Hash,
    /// Fields of the output that are left to another manager.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yielded: Vec<String>,
}

/// The stamp that a home object was last given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stamped {
    /// The object's uid.
    pub uid: String,
    /// The agreed revision on it.
    pub revision: Revision,
}

/// What a home remembers of a Secret that it ingested, without holding it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceMemory {
    /// A digest of the content, keyed with a key that this member alone has.
    pub content: Hash,
    /// The digest of the sealed body that this content was agreed as.
    pub digest: Hash,
}

/// What came of a record in a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum State {
    /// Nothing has been tried yet.
    #[default]
    Pending,
    /// The output stands as rendered.
    Applied,
    /// Something it needs is not there yet; it is retried.
    Waiting,
    /// The member refused it; it waits for new input.
    Refused,
    /// Another manager holds a field, or the object is somebody else's.
    Conflicting,
    /// It is left as it is on purpose.
    Paused,
    /// It is to go, and a person's confirmation is awaited.
    Held,
    /// It is being removed.
    Removing,
    /// It is gone.
    Removed,
}

/// An output's own health.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum Health {
    /// Nothing is known of it.
    #[default]
    Unknown,
    /// It does what it is for.
    Healthy,
    /// It is on its way.
    Progressing,
    /// It failed.
    Degraded,
}

impl StatusCell {
    /// A cell without records.
    pub fn empty() -> Self {
        StatusCell { format: CELL_FORMAT, records: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_of_a_newer_format_is_named_and_not_guessed_at() {
        let mut cell = serde_json::to_value(StatusCell::empty()).unwrap();
        assert!(serde_json::from_value::<StatusCell>(cell.clone()).is_ok());
        cell["format"] = 2.into();
        let error = serde_json::from_value::<StatusCell>(cell).unwrap_err();
        assert!(error.to_string().contains("it has format 2"), "{error}");
    }
}
