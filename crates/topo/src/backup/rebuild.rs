//! A backup from what the members' own API servers show, when the topology server is lost and there is no other.
//!
//! Homes bear stamps (`status.agreed`: life, revision, whose homes), outputs bear the life that they were made for,
//! and each cluster shows the league's spec and the members' keys. That is enough for records that every operator
//! takes for older than what it has seen, and goes on from ([`super::restore()`] writes them under a higher era). It
//! is not enough to delete anything: ends of lives that were under way are not known any more, and an output
//! without a record is a stray, which is reported and left alone.
//!
//! | Not known any more | What becomes of it |
//! |---|---|
//! | an edit that was not agreed on yet, or was agreed on and stamped nowhere | the home's present content counts, as a new revision |
//! | an object that no member keeps (homeless) | its outputs stay, as strays |
//! | an object whose agreed content stands in no home that was read | the same, and its copies ask |
//! | a deletion that was under way | the same |
//! | the sealed content of a Secret | its home seals it anew, as a new revision |
//! | open ballots, decisions, who was voted out | voted on again as the spec says |
//!
//! [`rebuild`] is a function of its inputs.

use super::file::{Manifest, Writer};
use super::{BackupError, ROOT};
use hansa_ballot::control::{DEFAULT_PAGES, FederationHome};
use hansa_ballot::{Control, PublicKey, Voter, Voters};
use hansa_ledger::envelope::pack;
use hansa_ledger::record::{Body, FORMAT, Home, Intent, Members, Placed, PlacedState};
use hansa_ledger::{Envelope, Page, Record, Slot, keys};
use hansa_model::{Era, FederationSpec, Generation, Hash, Incarnation, LeagueId, MemberName, RecordKey, Revision};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

/// An intent that is larger than this when it is packed lies in a blob, as operators keep it.
const INLINE_BYTES: usize = 16 * 1_024;

/// What one member's API server shows.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The member.
    pub member: MemberName,
    /// Its Federation.
    pub federation: Federation,
    /// Uid and public keys of each member, as this one knows them.
    pub members: BTreeMap<MemberName, Known>,
    /// Its federated objects.
    pub objects: Vec<Object>,
    /// The life that each output with the league's label was made for.
    pub outputs: BTreeMap<RecordKey, Incarnation>,
}

/// The Federation of a member: the spec's home, or its mirror.
#[derive(Clone, PartialEq, Debug)]
pub struct Federation {
    /// `status.league`.
    pub league: LeagueId,
    /// `status.era`.
    pub era: Era,
    /// `status.generation`.
    pub generation: Generation,
    /// `status.home`.
    pub home: MemberName,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub object_generation: u64,
    /// `spec`.
    pub spec: Value,
}

/// A member's identity.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// The uid of its `kube-system` namespace.
    pub uid: String,
    /// Its public keys, `ed25519:…` among them.
    pub keys: Vec<String>,
}

/// A federated object.
#[derive(Clone, PartialEq, Debug)]
pub struct Object {
    /// Which record it stands for.
    pub key: RecordKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: u64,
    /// `spec`.
    pub spec: Value,
    /// `status.agreed`; `None`: it was not agreed on yet.
    pub stamp: Option<Stamp>,
}

/// What a home was last agreed on as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The life.
    pub incarnation: Incarnation,
    /// The revision.
    pub revision: Revision,
    /// The hash of the agreed intent.
    pub hash: Option<Hash>,
    /// The homes.
    pub homes: BTreeSet<MemberName>,
    /// Whether the object held something else than what was agreed.
    pub differs: bool,
}

/// Why nothing can be rebuilt.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is nothing to begin with.
    #[error("no member's API server was read: name a context for each")]
    Nothing,
    /// Two members of different leagues.
    #[error("{one} is of league {}, {other} of league {}: name members of one league", .leagues.0.label(), .leagues.1.label())]
    OtherLeague {
        /// A member.
        one: MemberName,
        /// Another.
        other: MemberName,
        /// Their leagues.
        leagues: (LeagueId, LeagueId),
    },
    /// A member is read twice.
    #[error("{0} was read twice: name each member's context once")]
    Twice(MemberName),
    /// The spec names members that were not read.
    #[error(
        "{} was not read: what stands there is not known, and would be a stray; name its context, or go on without it (--without)", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Missing(BTreeSet<MemberName>),
    /// The spec cannot be used.
    #[error("the Federation's spec in {member} does not read: {why}")]
    Spec {
        /// Where it stands.
        member: MemberName,
        /// What is wrong.
        why: String,
    },
    /// A member's key is not known.
    #[error(
        "the key of {0} is not known in any member that was read: read {0} itself, or take it out of the spec first"
    )]
    Keyless(MemberName),
}

/// What is to be known of a rebuilt league before it counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// How many records there are.
    pub records: u64,
    /// Objects whose present content counts as a new revision: it is not the one that was agreed on.
    pub edited: BTreeSet<RecordKey>,
    /// Outputs that no record speaks of, by member: they are left alone.
    pub strays: BTreeMap<MemberName, BTreeSet<RecordKey>>,
    /// Objects whose agreed content stands in no home that was read: they ask.
    pub unknown: BTreeSet<RecordKey>,
}

/// A league from its members' objects.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// The league.
    pub league: LeagueId,
    /// The highest era that was seen: it is restored under a later one.
    pub era: Era,
    /// What is to be known of it.
    pub findings: Findings,
    control: Control,
    pages: BTreeMap<u32, Page>,
    blobs: BTreeMap<Hash, String>,
    /// Above every life that was seen: a life begins with its page's revision.
    revision: Revision,
}

impl Rebuilt {
    /// Writes it as a backup.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, out: &mut (dyn Write + Send)) -> Result<Manifest, BackupError> {
        let envelope = |key: &str, revision: Revision| {
            let nonce = u64::from_le_bytes(Hash::of_bytes(key.as_bytes()).as_bytes()[..8].try_into().expect("8 bytes"));
            Envelope { revision, ..Envelope::first(self.league, self.era, nonce) }
        };
        let control = envelope(keys::CONTROL, Revision(1));
        let mut writer = Writer::new(out, &control)?;
        let pages = self.pages.iter().map(|(number, page)| (keys::page(*number), self.revision, page.to_vec()));
        let blobs = self.blobs.iter().map(|(hash, text)| (keys::blob(hash), Revision(1), text.clone().into_bytes()));
        let mut values: Vec<_> = blobs.chain(pages).collect();
        values.sort_by(|one, other| one.0.cmp(&other.0));
        for (key, revision, body) in values {
            debug_assert!(key.starts_with(ROOT));
            writer.entry(&key, &envelope(&key, revision).seal(&body))?;
        }
        writer.entry(keys::CONTROL, &control.seal(&self.control.to_vec()))?;
        writer.finish(Revision(1), 0)
    }
}

/// Makes what a topology server would hold from what the members show. `waived`: members that a person goes on without.
///
/// # Errors
/// When the members do not fit together, or one is missing that is not waived.
pub fn rebuild(reports: &[Report], waived: &BTreeSet<MemberName>) -> Result<Rebuilt, RebuildError> {
    let first = reports.first().ok_or(RebuildError::Nothing)?;
    let league = first.federation.league;
    let mut read = BTreeSet::new();
    for report in reports {
        if report.federation.league != league {
            let (one, other) = (first.member.clone(), report.member.clone());
            return Err(RebuildError::OtherLeague { one, other, leagues: (league, report.federation.league) });
        }
        if !read.insert(report.member.clone()) {
            return Err(RebuildError::Twice(report.member.clone()));
        }
    }
    // The spec's home speaks for itself; where it was not read, the newest mirror does, and is the home from then on.
    let is_home = |report: &&Report| report.member == report.federation.home;
    let newest = |report: &&Report| report.federation.generation;
    let home = reports.iter().filter(is_home).max_by_key(newest).or_else(|| reports.iter().rev().max_by_key(newest));
    let home = home.unwrap_or(first);
    let spec: FederationSpec = serde_json::from_value(home.federation.spec.clone())
        .map_err(|error| RebuildError::Spec { member: home.member.clone(), why: error.to_string() })?;
    let names = spec.members.iter().map(|member| &member.name);
    let missing: BTreeSet<MemberName> =
        names.filter(|name| !read.contains(*name) && !waived.contains(*name)).cloned().collect();
    if !missing.is_empty() {
        return Err(RebuildError::Missing(missing));
    }
    let control = Control {
        generation: reports.iter().map(|report| report.federation.generation).max().unwrap_or_default(),
        ..control_of(home, &spec, reports)?
    };
    let mut rebuilt = Rebuilt {
        league,
        era: reports.iter().map(|report| report.federation.era).max().unwrap_or_default(),
        findings: Findings::default(),
        control,
        pages: BTreeMap::new(),
        blobs: BTreeMap::new(),
        revision: Revision(1),
    };
    rebuilt.add_records(reports);
    Ok(rebuilt)
}

fn control_of(home: &Report, spec: &FederationSpec, reports: &[Report]) -> Result<Control, RebuildError> {
    let mut voters = BTreeMap::new();
    for member in &spec.members {
        let name = &member.name;
        // What a cluster says of itself comes before what others say of it.
        let own = reports.iter().filter(|report| report.member == *name);
        let known = own.chain(reports).filter_map(|report| report.members.get(name));
        let found =
            known.filter_map(|known| Some((known, signing_key(&known.keys)?))).find(|(known, _)| !known.uid.is_empty());
        let (known, key) = found.ok_or_else(|| RebuildError::Keyless(name.clone()))?;
        voters.insert(name.clone(), Voter { key, uid: known.uid.clone(), witness: member.witness });
    }
    let people =
        spec.people.iter().filter_map(|person| Some((person.name.to_string(), person.public_key.parse().ok()?)));
    let federation = &home.federation;
    let raw = raw(&federation.spec);
    let object = FederationHome {
        member: home.member.clone(),
        uid: federation.uid.clone(),
        generation: federation.object_generation,
        hash: Hash::of(&federation.spec),
    };
    let (_, control) = Control::found(raw, object, DEFAULT_PAGES);
    Ok(control.voting(Voters::found(voters, people.collect())))
}

fn signing_key(keys: &[String]) -> Option<PublicKey> {
    keys.iter().find_map(|key| key.parse().ok())
}

fn raw(value: &Value) -> Arc<RawValue> {
    RawValue::from_string(value.to_string()).expect("JSON is JSON").into()
}

/// An object in one of its homes, or what looks like one.
struct Copy<'a> {
    member: &'a MemberName,
    object: &'a Object,
    stamp: &'a Stamp,
}

impl Copy<'_> {
    fn is_home(&self) -> bool {
        self.stamp.homes.contains(self.member)
    }

    fn hash(&self) -> Hash {
        Hash::of(&self.object.spec)
    }

    /// Whether it holds exactly what was agreed. Of a Secret nobody can tell without opening it.
    fn is_agreed(&self) -> bool {
        self.stamp.hash == Some(self.hash())
    }
}

impl Rebuilt {
    fn add_records(&mut self, reports: &[Report]) {
        let mut copies: BTreeMap<&RecordKey, Vec<Copy<'_>>> = BTreeMap::new();
        for Report { member, objects, outputs, .. } in reports {
            for object in objects {
                let Some(stamp) = &object.stamp else { continue };
                self.revision = self.revision.max(Revision(stamp.incarnation.0));
                copies.entry(&object.key).or_default().push(Copy { member, object, stamp });
            }
            let highest = outputs.values().max().map_or(0, |life| life.0);
            self.revision = self.revision.max(Revision(highest));
        }
        for (key, copies) in copies {
            match self.record(key, &copies, reports) {
                Some(record) => {
                    self.findings.records += 1;
                    let page = self.pages.entry(key.page(self.control.pages)).or_insert_with(Page::empty);
                    page.records.insert(key.clone(), Slot::Known(Arc::new(record)));
                }
                None => {
                    self.findings.unknown.insert(key.clone());
                }
            }
        }
        for Report { member, outputs, .. } in reports {
            let known =
                |key: &RecordKey| self.pages.get(&key.page(self.control.pages)).and_then(|page| page.record(key));
            let stray =
                |(key, life): &(&RecordKey, &Incarnation)| known(key).is_none_or(|record| record.incarnation < **life);
            let strays: BTreeSet<RecordKey> = outputs.iter().filter(stray).map(|(key, _)| key.clone()).collect();
            if !strays.is_empty() {
                self.findings.strays.insert(member.clone(), strays);
            }
        }
    }

    /// The record of an object: of its latest life, as it was last agreed on.
    fn record(&mut self, key: &RecordKey, copies: &[Copy<'_>], reports: &[Report]) -> Option<Record> {
        let life = copies.iter().map(|copy| copy.stamp.incarnation).max()?;
        let of_life = || copies.iter().filter(|copy| copy.stamp.incarnation == life);
        let latest = of_life().map(|copy| copy.stamp.revision).max()?;
        let current =
            || of_life().filter(|copy| copy.stamp.revision == latest && copy.is_home() && !copy.stamp.differs);
        let chosen = current().find(|copy| copy.is_agreed()).or_else(|| current().next())?;
        // The source of a Secret is sealed by its home alone: with this hash, that takes its object for edited.
        let sealed = !chosen.object.spec["templateFrom"].is_null();
        let edited = !sealed && !chosen.is_agreed();
        if edited {
            self.findings.edited.insert(key.clone());
        }
        let revision = if edited { latest.next() } else { latest };
        let hash = chosen.hash();
        let text = raw(&chosen.object.spec);
        let body = match pack(text.get().as_bytes()).len() > INLINE_BYTES {
            false => Body::Inline(text),
            true => {
                let hash = Hash::of_bytes(text.get().as_bytes());
                self.blobs.insert(hash, text.get().to_owned());
                Body::Blob(hash)
            }
        };
        let (mut homes, mut former) = (Members::new(), Members::new());
        for copy in of_life() {
            let (member, object) = (copy.member.clone(), copy.object);
            if chosen.stamp.homes.contains(copy.member) {
                let revision = if copy.hash() == hash { revision } else { copy.stamp.revision };
                let home = Home { uid: object.uid.clone(), generation: object.generation, hash: copy.hash(), revision };
                homes.insert(member, home);
            } else {
                former.insert(member, object.uid.clone());
            }
        }
        let has = |report: &&Report| report.outputs.get(key) == Some(&life);
        let placed = Placed { state: PlacedState::Placed, incarnation: life };
        Some(Record {
            format: FORMAT,
            incarnation: life,
            revision,
            intent: Intent { hash, author: chosen.member.clone(), body, signature: None },
            homes,
            moving: None,
            former,
            placed: reports.iter().filter(has).map(|report| (report.member.clone(), placed.clone())).collect(),
            tombstone: None,
            opened: None,
            sealed: None,
        })
    }
}

#[cfg(test)]
mod tests;
