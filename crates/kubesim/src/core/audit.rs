//! What each user asked for: counts by verb and resource, and the recent writes with what they
//! changed. This is the server's own record, for proofs that do not trust the client.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// One request that wanted to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    /// When, RFC 3339.
    pub time: String,
    /// Who.
    pub user: String,
    /// `create`, `update`, `patch`, `apply`, `delete` or `deletecollection`.
    pub verb: String,
    /// `deployments.apps`, `pods/status`.
    pub resource: String,
    /// The namespace, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name; of a create that failed it may be missing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object's uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Its resource version before; empty when it did not exist.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version_before: String,
    /// Its resource version after; empty when it is gone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version_after: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// Whether anything stored changed.
    pub changed: bool,
    /// Whether it was a dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// One user's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserRecord {
    /// Requests by verb, then by resource.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// Write requests that changed something, by verb, then by resource.
    pub changes: BTreeMap<String, BTreeMap<String, u64>>,
    /// The latest write requests, oldest first.
    pub recent: VecDeque<Write>,
}

/// The record of all users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// By user name.
    pub users: BTreeMap<String, UserRecord>,
    #[serde(skip)]
    limit: usize,
}

impl Audit {
    /// An empty record that keeps this many recent writes per user.
    pub fn new(limit: usize) -> Self {
        Audit { users: BTreeMap::new(), limit }
    }

    /// Counts a request.
    pub fn count(&mut self, user: &str, verb: &str, resource: &str) {
        let record = self.users.entry(user.to_string()).or_default();
        *record.requests.entry(verb.to_string()).or_default().entry(resource.to_string()).or_default() += 1;
    }

    /// Records a write that has been counted.
    pub fn write(&mut self, write: Write) {
        let record = self.users.entry(write.user.clone()).or_default();
        if write.changed {
            *record.changes.entry(write.verb.clone()).or_default().entry(write.resource.clone()).or_default() += 1;
        }
        record.recent.push_back(write);
        while record.recent.len() > self.limit {
            record.recent.pop_front();
        }
    }

    /// How many of a user's requests with one of these verbs changed something.
    pub fn changed(&self, user: &str, verbs: &[&str]) -> u64 {
        let Some(record) = self.users.get(user) else { return 0 };
        record
            .changes
            .iter()
            .filter(|(verb, _)| verbs.contains(&verb.as_str()))
            .flat_map(|(_, counts)| counts.values())
            .sum()
    }
}
