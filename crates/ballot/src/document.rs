//! The document: agreement in one JSON object, and how it is read and written.
//!
//! The JSON is canonical (keys sorted, no white space), so that equal documents have equal bytes, and
//! readable with any tool. Fields of a newer release are carried on byte for byte; what they mean is
//! used only once the feature level that all voters speak is decided.

use crate::appointments::Appointments;
use crate::barriers::{Barrier, MAX_BARRIERS};
use crate::candidate::{Candidate, Decision, Outcome};
use crate::cell::{Cells, Slot};
use crate::era::Force;
use crate::key::{Epoch, Key};
use crate::membership::{Join, MAX_JOINS};
use crate::voters::{MAX_VOTERS, Voters};
use hansa_model::{Era, MAX_COUNT, MemberName};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The format this release reads and writes.
pub const BALLOTS_FORMAT: u32 = 1;

/// How many candidates may be open at a time.
pub const MAX_OPEN: usize = 64;

/// How many decisions are kept; the oldest go first, but for those of the document's own keys.
pub const MAX_DECISIONS: usize = 512;

/// How many decisions on the voters are kept, so that who was away can follow them.
pub const MAX_LINEAGE: usize = 32;

/// A document is refused beyond this size, in bytes.
pub const MAX_DOCUMENT: usize = 8 << 20;

/// The agreement of a set of voters.
#[derive(Clone, Debug)]
pub struct Ballots {
    /// Who decides what, under which term.
    pub appointments: Appointments,
    /// How far phases are.
    pub barriers: BTreeMap<Key, Barrier>,
    /// What each voter says.
    pub cells: Cells,
    /// All decisions up to this epoch may have been collected.
    pub collected: Epoch,
    /// What each key was last decided to be: adopted.
    pub decisions: BTreeMap<Key, Decision>,
    /// The epoch of the last candidate, whatever its key.
    pub epoch: Epoch,
    /// The era.
    pub era: Era,
    /// The feature level that all voters speak.
    pub feature: u32,
    /// The last force by a person.
    pub forced: Option<Force>,
    /// Requests to join.
    pub joins: BTreeMap<MemberName, Join>,
    /// The last decisions on the voters, by epoch.
    pub lineage: BTreeMap<Epoch, Decision>,
    /// Voters that were voted lost, with the epoch of the decision.
    pub lost: BTreeMap<MemberName, Epoch>,
    /// The open candidates.
    pub open: BTreeMap<Key, Candidate>,
    /// The last candidate of each key that was closed otherwise, until a later one is adopted.
    pub refused: BTreeMap<Key, Decision>,
    /// Who votes.
    pub voters: Voters,
    /// Fields of a newer release.
    pub others: BTreeMap<String, Arc<RawValue>>,
}

/// A document that this release cannot use. Nothing is concluded from it, and nothing written over it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are no document.
    #[error("the ballots do not read ({0}): nothing is done until they do")]
    Malformed(String),
    /// A newer release wrote it.
    #[error("the ballots have format {0}, this release reads format {BALLOTS_FORMAT}: run a newer release")]
    Format(u32),
    /// More than Hansa writes.
    #[error("{field} has {found}, more than {limit}: Hansa writes no such document")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// What was found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A part contradicts itself.
    #[error("the ballots are inconsistent: {0}")]
    Inconsistent(String),
}

/// Something that holds ballots, as bytes in a topology server.
pub trait Document: Clone + fmt::Debug {
    /// Reads the bytes.
    ///
    /// # Errors
    /// When this release cannot use them, with the mend.
    fn read(body: &[u8]) -> Result<Self, DocumentError>;

    /// Writes the bytes.
    fn write(&self) -> Vec<u8>;

    /// Its ballots.
    fn ballots(&self) -> &Ballots;

    /// Its ballots, for changing.
    fn ballots_mut(&mut self) -> &mut Ballots;

    /// Whether a candidate may be opened or adopted; the reason why not names the field and the mend.
    ///
    /// # Errors
    /// When it may not.
    fn judge(&self, _key: &Key, _candidate: &Candidate) -> Result<(), String> {
        Ok(())
    }

    /// Takes an adopted candidate's value. Returns whether the document keeps it, so that the decision
    /// need not.
    fn adopt(&mut self, _key: &Key, _candidate: &Candidate) -> bool {
        false
    }

    /// What of it, beside the ballots, does not follow from their decisions. `known`: an earlier state of the
    /// same era, for what no decision speaks of.
    fn fault(&self, _known: Option<&Self>) -> Option<String> {
        None
    }
}

impl Document for Ballots {
    fn read(body: &[u8]) -> Result<Self, DocumentError> {
        Ballots::from_slice(body)
    }

    fn write(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn ballots(&self) -> &Ballots {
        self
    }

    fn ballots_mut(&mut self) -> &mut Ballots {
        self
    }
}

impl Ballots {
    /// A document in which nothing has been said yet, with seats for `pages` pages.
    pub fn found(voters: Voters, pages: u32) -> Self {
        Ballots {
            appointments: Appointments::vacant(pages),
            barriers: BTreeMap::new(),
            cells: BTreeMap::new(),
            collected: Epoch(0),
            decisions: BTreeMap::new(),
            epoch: Epoch(0),
            era: Era(1),
            feature: 0,
            forced: None,
            joins: BTreeMap::new(),
            lineage: BTreeMap::new(),
            lost: BTreeMap::new(),
            open: BTreeMap::new(),
            refused: BTreeMap::new(),
            voters,
            others: BTreeMap::new(),
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When the bytes are malformed, of another format, larger than Hansa writes, or contradict
    /// themselves. A single cell that is not understood is no error.
    pub fn from_slice(body: &[u8]) -> Result<Self, DocumentError> {
        if body.len() > MAX_DOCUMENT {
            return Err(DocumentError::TooLarge { field: "the document", found: body.len(), limit: MAX_DOCUMENT });
        }
        let raw = serde_json::from_slice(body).map_err(|error| DocumentError::Malformed(error.to_string()))?;
        Self::from_fields(raw)
    }

    fn from_fields(mut raw: BTreeMap<String, Box<RawValue>>) -> Result<Self, DocumentError> {
        let format: u32 = required(&mut raw, "format")?;
        if format != BALLOTS_FORMAT {
            return Err(DocumentError::Format(format));
        }
        let ballots = Ballots {
            appointments: optional(&mut raw, "appointments")?,
            barriers: optional(&mut raw, "barriers")?,
            cells: optional(&mut raw, "cells")?,
            collected: optional(&mut raw, "collected")?,
            decisions: optional(&mut raw, "decisions")?,
            epoch: optional(&mut raw, "epoch")?,
            era: required(&mut raw, "era")?,
            feature: optional(&mut raw, "feature")?,
            forced: optional(&mut raw, "forced")?,
            joins: optional(&mut raw, "joins")?,
            lineage: optional(&mut raw, "lineage")?,
            lost: optional(&mut raw, "lost")?,
            open: optional(&mut raw, "open")?,
            refused: optional(&mut raw, "refused")?,
            voters: required(&mut raw, "voters")?,
            others: raw.into_iter().map(|(name, value)| (name, value.into())).collect(),
        };
        ballots.check()?;
        Ok(ballots)
    }

    fn check(&self) -> Result<(), DocumentError> {
        let sizes = [
            // Cells of the removed stand beside those of the voters until somebody collects them.
            ("cells", self.cells.len(), 2 * MAX_VOTERS),
            ("open", self.open.len(), MAX_OPEN),
            ("decisions", self.decisions.len(), MAX_DECISIONS),
            ("refused", self.refused.len(), MAX_DECISIONS),
            ("joins", self.joins.len(), MAX_JOINS),
            ("lineage", self.lineage.len(), MAX_LINEAGE),
            ("barriers", self.barriers.len(), MAX_BARRIERS),
        ];
        if let Some((field, found, limit)) = sizes.into_iter().find(|(_, found, limit)| found > limit) {
            return Err(DocumentError::TooLarge { field, found, limit });
        }
        let wrong = |what: String| Err(DocumentError::Inconsistent(what));
        let counters = [("epoch", self.epoch.0), ("era", self.era.0), ("appointments.term", self.appointments.term.0)];
        if let Some((field, found)) = counters.into_iter().find(|(_, found)| *found > MAX_COUNT) {
            return wrong(format!("{field} is {found}: no league counts that far"));
        }
        if let Some(fault) = self.voters.fault() {
            return wrong(fault);
        }
        if self.appointments.page_count().is_none() {
            return wrong("appointments.pages are more than any league has".to_owned());
        }
        for (key, candidate) in &self.open {
            if candidate.epoch > self.epoch || self.decided(key) >= candidate.epoch {
                return wrong(format!("open.{key} has epoch {}, which was not asked or is decided", candidate.epoch));
            }
            if candidate.hash != hansa_model::Hash::of_bytes(candidate.value.get().as_bytes()) {
                return wrong(format!("open.{key}.hash is not that of its value"));
            }
        }
        let of_another = |(_, decision): &(&Key, &Decision)| {
            let hash = decision.value.as_ref().map(|value| hansa_model::Hash::of_bytes(value.get().as_bytes()));
            hash.is_some_and(|hash| hash != decision.hash)
        };
        if let Some((key, _)) = self.decisions.iter().chain(&self.refused).find(of_another) {
            return wrong(format!("decisions.{key}.hash is not that of its value"));
        }
        let late = self.decisions.iter().chain(&self.refused).find(|(_, decision)| decision.epoch > self.epoch);
        late.map_or(Ok(()), |(key, decision)| {
            wrong(format!("decisions.{key} has epoch {}, which was not asked", decision.epoch))
        })
    }

    /// The document's bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a document always encodes into memory")
    }

    /// The key's last decision, adopted or not, with a later epoch than `after`.
    pub fn decision(&self, key: &Key, after: Epoch) -> Option<&Decision> {
        let last = self.decisions.get(key).into_iter().chain(self.refused.get(key));
        last.max_by_key(|decision| decision.epoch).filter(|decision| decision.epoch > after)
    }

    /// The key's last decision that was voted, adopted or rejected, with a later epoch than `after`.
    pub fn verdict(&self, key: &Key, after: Epoch) -> Option<&Decision> {
        let rejected = self.refused.get(key).filter(|decision| decision.outcome == Outcome::Rejected);
        let last = self.decisions.get(key).into_iter().chain(rejected);
        last.max_by_key(|decision| decision.epoch).filter(|decision| decision.epoch > after)
    }

    /// The epoch of the key's last decision, adopted or not; 0 when there is none.
    pub fn decided(&self, key: &Key) -> Epoch {
        self.decision(key, Epoch(0)).map_or(Epoch(0), |decision| decision.epoch)
    }

    /// What a member's cell holds, whoever signed it.
    pub fn slot(&self, member: &MemberName) -> Option<&Slot> {
        self.cells.get(member)
    }
}

type Fields = BTreeMap<String, Box<RawValue>>;

fn parse<T: for<'de> Deserialize<'de>>(name: &str, raw: &RawValue) -> Result<T, DocumentError> {
    serde_json::from_str(raw.get()).map_err(|error| DocumentError::Malformed(format!("{name}: {error}")))
}

fn optional<T: Default + for<'de> Deserialize<'de>>(fields: &mut Fields, name: &str) -> Result<T, DocumentError> {
    fields.remove(name).map_or_else(|| Ok(T::default()), |raw| parse(name, &raw))
}

fn required<T: for<'de> Deserialize<'de>>(fields: &mut Fields, name: &str) -> Result<T, DocumentError> {
    let missing = || DocumentError::Malformed(format!("the field {name} is missing"));
    parse(name, &fields.remove(name).ok_or_else(missing)?)
}

impl Serialize for Ballots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields: BTreeMap<&str, Arc<RawValue>> =
            self.others.iter().map(|(name, raw)| (name.as_str(), Arc::clone(raw))).collect();
        let mut put = |name, value: Option<serde_json::Result<Box<RawValue>>>| {
            if let Some(raw) = value {
                fields.insert(name, raw.map_err(serde::ser::Error::custom)?.into());
            }
            Ok(())
        };
        /// What is as in a new document is left out, so that the document stays readable.
        fn unless<T: Serialize>(is_default: bool, value: &T) -> Option<serde_json::Result<Box<RawValue>>> {
            (!is_default).then(|| to_raw_value(value))
        }
        put("appointments", unless(self.appointments == Appointments::default(), &self.appointments))?;
        put("barriers", unless(self.barriers.is_empty(), &self.barriers))?;
        put("cells", unless(self.cells.is_empty(), &self.cells))?;
        put("collected", unless(self.collected == Epoch(0), &self.collected))?;
        put("decisions", unless(self.decisions.is_empty(), &self.decisions))?;
        put("epoch", unless(self.epoch == Epoch(0), &self.epoch))?;
        put("era", Some(to_raw_value(&self.era)))?;
        put("feature", unless(self.feature == 0, &self.feature))?;
        put("forced", unless(self.forced.is_none(), &self.forced))?;
        put("format", Some(to_raw_value(&BALLOTS_FORMAT)))?;
        put("joins", unless(self.joins.is_empty(), &self.joins))?;
        put("lineage", unless(self.lineage.is_empty(), &self.lineage))?;
        put("lost", unless(self.lost.is_empty(), &self.lost))?;
        put("open", unless(self.open.is_empty(), &self.open))?;
        put("refused", unless(self.refused.is_empty(), &self.refused))?;
        put("voters", Some(to_raw_value(&self.voters)))?;
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ballots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Fields::deserialize(deserializer)?;
        Ballots::from_fields(raw).map_err(D::Error::custom)
    }
}
