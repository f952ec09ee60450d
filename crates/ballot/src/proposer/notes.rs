//! What a voter makes durable, in its own place, before it votes and before it acts on a decision.

use crate::candidate::Verdict;
use crate::key::{Epoch, Key};
use crate::signing::PublicKey;
use hansa_model::{Era, Hash, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of notes that this release reads and writes.
pub const NOTES_FORMAT: u32 = 1;

/// What a voter must not forget.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notes {
    /// The highest epoch in the document that the revision names.
    pub epoch: Epoch,
    /// The era of the document.
    pub era: Era,
    /// The notes' format.
    pub format: u32,
    /// The nonce of the document that the revision names.
    pub nonce: u64,
    /// The open candidates, and how it voted on them.
    pub open: BTreeMap<Key, Noted>,
    /// The people whose word begins an era.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<String, PublicKey>,
    /// The revision of the newest document that it voted on or acted on; 0: of none.
    pub revision: Revision,
}

/// An open candidate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Noted {
    /// The digest of all that a vote on it is about.
    pub digest: Hash,
    /// Its epoch.
    pub epoch: Epoch,
    /// The vote on it, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

impl Default for Notes {
    fn default() -> Self {
        Notes {
            epoch: Epoch(0),
            era: Era(0),
            format: NOTES_FORMAT,
            nonce: 0,
            open: BTreeMap::new(),
            people: BTreeMap::new(),
            revision: Revision(0),
        }
    }
}

impl Notes {
    /// Reads notes.
    ///
    /// # Errors
    /// When they are malformed or of another format: a voter without its notes does not vote.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, String> {
        let notes: Notes = serde_json::from_slice(bytes)
            .map_err(|error| format!("the notes of this voter do not read ({error}): restore them"))?;
        if notes.format != NOTES_FORMAT {
            return Err(format!("the notes have format {}, this release reads {NOTES_FORMAT}", notes.format));
        }
        Ok(notes)
    }

    /// The notes' bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("notes always encode into memory")
    }

    /// Whether it has neither voted nor acted on any document that stood in the topology server. What it
    /// may have promised to one that it tried to make binds all the same.
    pub fn know_none(&self) -> bool {
        self.revision == Revision(0)
    }

    /// These, with the promises of earlier ones that may still bind: a vote under a (key, epoch) that is
    /// not decided here, and that these know no other vote of.
    pub(super) fn keeping(mut self, earlier: &Notes) -> Self {
        let voted = earlier.open.iter().filter(|(_, noted)| noted.verdict.is_some());
        for (key, noted) in voted {
            let binds = match self.open.get(key) {
                Some(known) => known.epoch == noted.epoch && known.verdict.is_none(),
                None => noted.epoch > self.epoch,
            };
            if binds && self.era == earlier.era {
                self.open.insert(key.clone(), *noted);
            }
        }
        self
    }

    /// Whether these hold a vote that those do not.
    pub(super) fn promises_more_than(&self, other: &Notes) -> bool {
        let mut voted = self.open.iter().filter(|(_, noted)| noted.verdict.is_some());
        voted.any(|(key, noted)| other.open.get(key) != Some(noted))
    }
}
