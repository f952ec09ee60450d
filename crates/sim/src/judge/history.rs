//! What stands in the topology server, beside what stood there.

use super::rules::FREEZES;
use super::{Agreed, Judge, Violation, key_of, life_of};
use crate::kinds::{About, KINDS, outputs_path, type_name};
use crate::member::Member;
use crate::process::ProcessId;
use crate::reached::Hazard;
use crate::store::Store;
use hansa_ballot::Control;
use hansa_ledger::cell::StatusCell;
use hansa_ledger::keys::{self, Key};
use hansa_ledger::record::Placed;
use hansa_ledger::{Envelope, Page, Record};
use hansa_model::{Era, Incarnation, RecordKey, Revision};
use hansa_operator::{ApiRequest, Method};
use std::collections::{BTreeMap, BTreeSet};

/// How long an operator may take until it is certain, once the topology server answers: it reads once more, and looks at
/// the control document.
const CERTAIN_MS: u64 = 15_000;

/// What a process was shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    newest: BTreeMap<String, (u64, Envelope)>,
    /// Keys that went back, each by a read that began after the newer state was shown.
    back: BTreeSet<String>,
    /// Since when there are such keys.
    since_ms: Option<u64>,
}

impl Seen {
    /// A key is shown by a read that was answered at `read_ms`.
    pub fn shown(
        &mut self,
        now: u64,
        read_ms: u64,
        key: String,
        envelope: Envelope,
        went_back: bool,
    ) -> Option<Hazard> {
        let Some((told_ms, known)) = self.newest.get(&key) else {
            self.newest.insert(key, (now, envelope));
            return None;
        };
        if envelope.era > known.era {
            // A person said what counts.
            *self = Seen::default();
            self.newest.insert(key, (now, envelope));
            return None;
        }
        let (shows, knows) = ((envelope.era, envelope.revision), (known.era, known.revision));
        if shows < knows || (shows == knows && envelope.nonce != known.nonce) {
            if !went_back {
                return Some(Hazard::AnswerOutOfOrder);
            }
            if read_ms > *told_ms {
                self.back.insert(key);
                self.since_ms.get_or_insert(now);
                return Some(Hazard::HistoryDoubted);
            }
            return None;
        }
        self.forget(&key);
        self.newest.insert(key, (now, envelope));
        None
    }

    /// Nothing is known of a key any more: what stands there next is taken for its beginning.
    pub fn forget(&mut self, key: &str) {
        self.newest.remove(key);
        self.back.remove(key);
        if self.back.is_empty() {
            self.since_ms = None;
        }
    }

    /// The topology server does not answer: it cannot be read once more.
    pub fn hindered(&mut self, now: u64) {
        self.since_ms = self.since_ms.map(|_| now);
    }

    fn is_certain(&self, now: u64) -> bool {
        self.since_ms.is_some_and(|since| now > since + CERTAIN_MS)
    }
}

impl Judge {
    /// The highest era that a person began.
    pub fn era(&self) -> Era {
        self.era
    }

    /// The topology server holds this now, by no operator's doing.
    pub fn store_is(&mut self, now: u64, store: &Store, members: &mut [Member]) {
        self.went_back = true;
        self.pages.clear();
        self.statuses.clear();
        self.seats.clear();
        for (key, value) in store.list("/v1/") {
            let Ok((envelope, body)) = Envelope::open(&value.value) else { continue };
            self.era = self.era.max(envelope.era);
            match keys::parse(&key) {
                Key::Page(number) => {
                    let Ok(page) = Page::from_slice(&body) else { continue };
                    self.found_again(&page);
                    self.pages.insert(number, page);
                }
                Key::Status(member, page) => {
                    let Ok(cell) = serde_json::from_slice::<StatusCell>(&body) else { continue };
                    self.statuses.insert((member, page), cell);
                }
                Key::Control => {
                    let Ok(control) = Control::from_slice(&body) else { continue };
                    if let Ok(spec) = control.spec()
                        && self.control.as_ref().is_none_or(|known| known.generation != control.generation)
                    {
                        self.specs.push(spec);
                    }
                    // Nothing is known of these terms any more, so nothing contradicts it.
                    let _ = control.ballots.as_ref().map(|ballots| self.take_seats(ballots));
                    self.control = Some(control);
                }
                _ => {}
            }
        }
        for member in members {
            for kind in KINDS {
                let type_name = type_name(kind.type_name);
                for object in member.all(now, &outputs_path(&type_name)) {
                    let key = key_of(&type_name, &object);
                    let ours = !object["metadata"]["labels"][hansa_render::LEAGUE_LABEL].is_null();
                    let lost = self.record(&key).is_none_or(|record| life_of(&object) > Some(record.incarnation));
                    if ours && (lost || !self.keeps(&key, &member.name)) {
                        self.brought_back.insert((member.name.clone(), key));
                    }
                }
            }
        }
    }

    /// Where the topology server went back, a life that was lost goes on: the record that stands for it, if it
    /// may.
    pub(super) fn resumed(&mut self, key: &RecordKey, old: &Record, new: &Record) -> Option<Record> {
        let is_known = self.lives.get(key).is_some_and(|known| new.incarnation <= *known);
        let goes_on = is_known && new.incarnation > old.incarnation && old.tombstone.is_none();
        if !self.went_back || !goes_on || new.revision <= old.revision {
            return None;
        }
        // What was lost of it counts no more.
        let lost = |life: Incarnation, revision: Revision| life == new.incarnation && revision >= new.revision;
        self.lose(key, lost);
        let mut old = old.clone();
        let owed =
            |placed: &Placed| if placed.incarnation == old.incarnation { new.incarnation } else { placed.incarnation };
        let placed = old
            .placed
            .iter()
            .map(|(member, placed)| (member.clone(), Placed { incarnation: owed(placed), ..placed.clone() }));
        old.placed = placed.collect();
        old.incarnation = new.incarnation;
        Some(old)
    }

    /// What was agreed in a history that is lost is no more: who was cut off meanwhile goes on with it all the same.
    pub(super) fn lose(&mut self, key: &RecordKey, is_lost: impl Fn(Incarnation, Revision) -> bool) {
        let (lost, kept) = std::mem::take(&mut self.agreed)
            .into_iter()
            .partition(|((name, life, revision), _)| name == key && is_lost(*life, *revision));
        self.agreed = kept;
        self.lost.extend::<BTreeMap<_, _>>(lost);
    }

    /// What was lost and stands again, for a history was brought back, is what is agreed.
    fn found_again(&mut self, page: &Page) {
        for (key, record) in page.records.iter().filter_map(|(key, slot)| Some((key, slot.record()?))) {
            let entry = (key.clone(), record.incarnation, record.revision);
            let is_it = |(known, agreed): &(_, Agreed)| *known == entry && agreed.hash == record.intent.hash;
            if self.agreed.get(&entry).is_some_and(|agreed| agreed.hash == record.intent.hash) {
                continue;
            }
            if let Some(position) = self.lost.iter().position(is_it) {
                let (_, agreed) = self.lost.swap_remove(position);
                let other = self.agreed.insert(entry.clone(), agreed);
                self.lost.extend(other.map(|other| (entry, other)));
            }
        }
    }

    /// What was ever agreed as this revision of this life, in whatever history.
    pub(super) fn all_agreed(&self, entry: &(RecordKey, Incarnation, Revision)) -> impl Iterator<Item = &Agreed> {
        let lost = self.lost.iter().filter(move |(known, _)| known == entry).map(|(_, agreed)| agreed);
        self.agreed.get(entry).into_iter().chain(lost)
    }

    /// Whether a member says that what it has of a record is later than the record.
    pub fn stands_later(&self, key: &RecordKey) -> bool {
        let mut said = self.statuses.values().filter_map(|cell| cell.records.get(key));
        said.any(|status| status.later.is_some())
    }

    /// A process that saw the topology server go back takes nothing away.
    pub(super) fn is_thawed(
        &self,
        now: u64,
        id: ProcessId,
        request: &ApiRequest,
        about: &About,
    ) -> Result<(), Violation> {
        let is_certain = self.knowledge.get(&id).is_some_and(|knowledge| knowledge.seen.is_certain(now));
        match about {
            About::Output(key) if is_certain && request.method == Method::Delete => {
                Err(Violation::at(FREEZES, key, "its output is removed"))
            }
            _ => Ok(()),
        }
    }

    /// A process writes to the topology server.
    ///
    /// # Errors
    /// When it saw that go back.
    pub fn writes(&self, now: u64, id: ProcessId, key: &str) -> Result<(), Violation> {
        let seen = self.knowledge.get(&id).map(|knowledge| &knowledge.seen);
        match seen.filter(|seen| seen.is_certain(now)).and_then(|seen| seen.back.first()) {
            Some(back) => Err(Violation::new(FREEZES, format!("process {} writes {key}, and {back} went back", id.0))),
            None => Ok(()),
        }
    }
}
