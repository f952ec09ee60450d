//! Members that take nothing: those that are leaving, and witnesses.

use super::pages::brief;
use super::rules::{KEEPS, TAKES_NOTHING};
use super::{Judge, Violation, open_page};
use crate::process::ProcessId;
use hansa_ballot::Control;
use hansa_ledger::keys::{self, Key};
use hansa_ledger::record::{Placed, PlacedState};
use hansa_ledger::{Envelope, Page, Record};
use hansa_model::{Member, MemberName, RecordKey};
use hansa_operator::ActId;
use std::collections::BTreeMap;

/// How long after it was shown a spec an operator may still write what it had concluded before, once the topology
/// server and its API server answer.
const CONCLUDED_MS: u64 = 10_000;

/// Which members take nothing, as a process was shown: since when it knows, and whether what stands there stays.
#[derive(Debug, Default)]
pub(super) struct Takers(BTreeMap<MemberName, (u64, bool)>);

impl Takers {
    /// A control document is shown.
    pub fn shown(&mut self, now: u64, control: &Control) {
        let Ok(spec) = control.spec() else { return };
        let known = std::mem::take(&mut self.0);
        for member in spec.members.iter().filter(|member| member.takes_nothing().is_some()) {
            let keeps = member.leaving.is_some_and(|leaving| leaving.keep_outputs);
            let since = known.get(&member.name).filter(|(_, kept)| *kept == keeps).map_or(now, |(since, _)| *since);
            self.0.insert(member.name.clone(), (since, keeps));
        }
    }

    /// What was concluded earlier could not be written, nor the spec be acted on.
    pub fn hindered(&mut self, now: u64) {
        for (since, _) in self.0.values_mut() {
            *since = now;
        }
    }

    fn takes_nothing(&self, now: u64, member: &MemberName) -> bool {
        self.0.get(member).is_some_and(|(since, _)| now > since + CONCLUDED_MS)
    }

    fn keeps(&self, now: u64, member: &MemberName) -> bool {
        self.0.get(member).is_some_and(|(since, keeps)| *keeps && now > since + CONCLUDED_MS)
    }
}

impl Judge {
    /// A process writes on what stands there: in a page it gives nothing to whom it knows to take nothing.
    ///
    /// # Errors
    /// When it does.
    pub fn gives(&mut self, now: u64, id: ProcessId, act: ActId, key: &str, value: &[u8]) -> Result<(), Violation> {
        let number = match keys::parse(key) {
            Key::Page(number) => number,
            Key::Control if self.watches_members => {
                let control = Envelope::open(value).ok().and_then(|(_, body)| Control::from_slice(&body).ok());
                // It knows what it wrote once it hears that it stands.
                if let (Some(knowledge), Some(control)) = (self.knowledge.get_mut(&id), control) {
                    knowledge.writing.insert(act, control);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let Some(knowledge) = self.knowledge.get(&id).filter(|_| self.watches_members) else { return Ok(()) };
        let Ok(page) = open_page(value) else { return Ok(()) };
        let stands = self.pages.get(&number);
        for (key, slot) in &page.records {
            let Some(record) = slot.record() else { continue };
            let before = stands.and_then(|page: &Page| page.record(key));
            for member in given(before.map(|record| &**record), record) {
                if knowledge.takers.takes_nothing(now, member) {
                    let what = format!("process {} gives it to {member}: {}", id.0, brief(record));
                    return Err(Violation::at(TAKES_NOTHING, key, what));
                }
            }
        }
        Ok(())
    }

    /// An API server does not answer a process.
    pub fn is_not_answered(&mut self, now: u64, id: ProcessId) {
        if let Some(knowledge) = self.knowledge.get_mut(&id) {
            knowledge.takers.hindered(now);
        }
    }

    /// A process deletes an output of a life that goes on.
    pub(super) fn may_take(
        &self,
        now: u64,
        id: ProcessId,
        key: &RecordKey,
        member: &MemberName,
    ) -> Result<(), Violation> {
        match self.knowledge.get(&id) {
            Some(knowledge) if knowledge.takers.keeps(now, member) => {
                Err(Violation::at(KEEPS, key, format!("{member} deletes its output")))
            }
            _ => Ok(()),
        }
    }

    fn entry(&self, member: &MemberName) -> Option<&Member> {
        self.specs.last()?.member(member)
    }

    /// Whether the agreed spec says that a member is leaving.
    pub fn is_leaving(&self, member: &MemberName) -> bool {
        self.entry(member).is_some_and(|entry| entry.leaving.is_some())
    }

    /// Whether a member votes, and may have objects.
    pub fn takes_objects(&self, member: &MemberName) -> bool {
        self.votes(member) && self.entry(member).is_some_and(|entry| entry.takes_nothing().is_none())
    }

    /// Whether a withdrawal from a member takes nothing away: some spec says that what it has stays.
    pub(super) fn may_keep(&self, member: &MemberName) -> bool {
        let keeps = |entry: &Member| entry.leaving.is_some_and(|leaving| leaving.keep_outputs);
        self.specs.iter().any(|spec| spec.member(member).is_some_and(keeps))
    }

    /// Whether some spec says that a member is leaving: whoever acts on it may not have heard of a newer one.
    pub(super) fn may_leave(&self, member: &MemberName) -> bool {
        self.specs.iter().any(|spec| spec.member(member).is_some_and(|entry| entry.leaving.is_some()))
    }

    /// Whether no record needs a member any more.
    pub fn is_empty_of(&self, member: &MemberName) -> bool {
        self.pages.values().flat_map(|page| page.records.values()).filter_map(|slot| slot.record()).all(|record| {
            let owes = record.placed.get(member).is_some_and(|placed| placed.state != PlacedState::Gone);
            !owes && !record.homes.contains_key(member) && record.moving.as_ref() != Some(member)
        })
    }
}

/// The members that a record gives something to that they did not have before. A life that goes on under a later number,
/// because its home was agreed in that one before a restore, takes with it what it has.
fn given<'a>(before: Option<&'a Record>, record: &'a Record) -> impl Iterator<Item = &'a MemberName> {
    let goes_on = before.filter(|before| before.tombstone.is_none()).map(|before| before.incarnation);
    let life_of = move |placed: &Placed| {
        if Some(placed.incarnation) == goes_on { record.incarnation } else { placed.incarnation }
    };
    let places = record.placed.iter().filter(move |(member, placed)| {
        let stood = before.and_then(|before| before.placed.get(*member));
        let stood =
            stood.is_some_and(|stood| stood.state == PlacedState::Placed && life_of(stood) == placed.incarnation);
        placed.state == PlacedState::Placed && !stood
    });
    let homes =
        record.homes.keys().filter(move |member| before.is_none_or(|before| !before.homes.contains_key(*member)));
    places.map(|(member, _)| member).chain(homes)
}
