//! The league's own store, rolled back or forked; and what a person said about it.
//!
//! Every value that is read is compared with what was seen at its key ([`super::history`]). Reads may be
//! answered out of order, so one that shows an earlier state proves nothing yet: the key is read once
//! more, by a read that begins after the later state was seen, and nothing is written meanwhile. A
//! write that does not find what it was based on needs no such read, for it began later itself.
//!
//! Then everything freezes as it does on another league's store (see [`super::replaced`]), with the key,
//! what was seen and what stands there in every place where people look. It goes on when what was seen
//! stands there again, or when a person raised the era: the control document then stands under a higher
//! one, and everything is read anew. Where the league votes, the proposer judges whether that era was begun
//! by who may ([`hansa_ballot::era`]), and the control document altogether. What this member knows of itself (its cell, what came of its
//! outputs) is newer than anything that was restored, and is written again. What was agreed is taken as
//! it stands, but nothing is removed because it is absent: outputs without a record are strays, and homes
//! that are ahead of their record ask. Revisions go on from the highest that was seen, so that no life of
//! the new history bears the number of one of the lost one.

use super::history::breach;
use super::{TopoCall, Topology};
use crate::io::{Level, TopoAnswer, TopoRequest};
use crate::machine::Operator;
use hansa_ledger::keys::{self, Key};
use hansa_ledger::{Envelope, Page, Swap, Versioned};
use hansa_model::Era;
use std::collections::BTreeMap;

/// How many keys are watched until they are back. When these are, everything is read, and what else went
/// back is noticed then.
const WATCHED: usize = 32;

/// What is doubtful about the store.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// Keys that are read once more, with what was seen before that read began.
    suspects: BTreeMap<String, Envelope>,
    /// Keys that went back, with what was seen there, and the words for people.
    went_back: BTreeMap<String, (Envelope, String)>,
    /// A value of a later era than the control document's: its key, and that era.
    ahead: Option<(String, Era)>,
    /// What was read beside the control document, the last time.
    asked: Vec<String>,
}

impl Doubts {
    /// Whether nothing may be written until a key was read once more.
    pub fn suspects_something(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whether the store is known to be of another history than the one that was seen.
    pub fn is_certain(&self) -> bool {
        !self.went_back.is_empty() || self.ahead.is_some()
    }
}

impl Topology {
    /// What was last seen at a key.
    fn seen(&self, key: &Key, own: &hansa_model::MemberName) -> Option<&Envelope> {
        match key {
            Key::Control => self.control.envelope(),
            Key::Page(number) => self.pages.get(number)?.writer.envelope(),
            Key::Cell(member) if member == own => self.cell.writer.envelope(),
            Key::Cell(member) => self.cells.get(member)?.writer.envelope(),
            Key::Status(member, page) if member == own => self.statuses.get(page)?.writer.envelope(),
            Key::Status(member, page) => self.others.get(&(member.clone(), *page))?.writer.envelope(),
            Key::Confirmations(_) | Key::Plan(_) | Key::PlanWords(..) | Key::Other => None,
        }
    }
}

impl Operator {
    fn seen(&self, key: &str) -> Option<&Envelope> {
        match keys::parse(key) {
            Key::Confirmations(member) => self.confirming.seen(&member, &self.config.member),
            key => self.topology.seen(&key, &self.config.member),
        }
    }

    /// Whether a value that was read is not taken for now: it is of a later era than is known of, or may be of
    /// another history.
    pub(super) fn is_doubtful(&mut self, key: &str, found: &Envelope) -> bool {
        if key == keys::CONTROL && self.is_seated() {
            return false;
        }
        if self.is_of_later_era(key, found) {
            return true;
        }
        let Some(seen) = self.seen(key).filter(|seen| breach(seen, found).is_some()).cloned() else { return false };
        if !self.topology.doubts.suspects.contains_key(key) {
            self.topology.doubts.suspects.insert(key.to_owned(), seen);
            self.topo(TopoCall::Confirm(key.to_owned()), TopoRequest::Read { keys: vec![key.to_owned()] });
        }
        true
    }

    /// A person raised the era, as the control document says; or is about to, while it is not there yet.
    fn is_of_later_era(&mut self, key: &str, found: &Envelope) -> bool {
        if !self.league.as_ref().is_some_and(|league| league.id == found.league && found.era > league.era) {
            return false;
        }
        if key == keys::CONTROL && !self.ballots.recalls() {
            self.era_raised(found.era, "");
        } else {
            self.topology.doubts.ahead.get_or_insert_with(|| (key.to_owned(), found.era));
            self.check_store();
        }
        true
    }

    /// A key was read once more, after what was seen there.
    pub(super) fn confirmed(&mut self, key: &str, value: Option<&Versioned>) {
        let Some(seen) = self.topology.doubts.suspects.remove(key) else { return };
        let Some(value) = value else { return self.check_store() };
        let found = Envelope::open_header(&value.value).ok().map(|(envelope, _)| envelope);
        match found.filter(|found| found.league == seen.league && breach(&seen, found).is_some()) {
            Some(found) => self.went_back(key, seen, &found),
            None => self.absorb(key, value),
        }
    }

    /// Whether a write met a state that cannot follow the one it was based on.
    pub(super) fn met_another_history(&mut self, call: &TopoCall, answer: &TopoAnswer) -> bool {
        let TopoAnswer::Swapped(Swap::Mismatch { current: Some(current) }) = answer else { return false };
        let member = &self.config.member;
        let key = match call {
            TopoCall::Page(number) => keys::page(*number),
            TopoCall::Status(number) => keys::status(member, *number),
            TopoCall::Cell => keys::cell(member),
            TopoCall::Confirmations => keys::confirmations(member),
            TopoCall::Control => keys::CONTROL.to_owned(),
            _ => return false,
        };
        let Ok((found, _)) = Envelope::open_header(&current.value) else { return false };
        if self.is_of_later_era(&key, &found) {
            return true;
        }
        match self.seen(&key).filter(|seen| seen.league == found.league && breach(seen, &found).is_some()).cloned() {
            Some(seen) => {
                self.went_back(&key, seen, &found);
                true
            }
            None => false,
        }
    }

    fn went_back(&mut self, key: &str, seen: Envelope, found: &Envelope) {
        let Some(why) = breach(&seen, found) else { return };
        if self.topology.doubts.went_back.len() >= WATCHED {
            return;
        }
        let words = format!(
            "the topology server was {why}: {key} stands at revision {} in era {}, and revision {} in era {} was seen there; bring back what stood there, or, when this is what is to count, raise the era with `hansa topo raise-era`",
            found.revision, found.era, seen.revision, seen.era
        );
        self.topology.doubts.went_back.insert(key.to_owned(), (seen, words));
        self.check_store();
    }

    /// The keys that are read to see whether the store is as it was, beside the control document.
    pub(super) fn watched(&mut self) -> Vec<String> {
        let doubts = &mut self.topology.doubts;
        doubts.asked = doubts.went_back.keys().cloned().collect();
        doubts.asked.clone()
    }

    /// Why the store is still not to be used, though its control document is this league's, and is of
    /// this era. `values` are those of the keys that were asked for.
    pub(super) fn why_not_ours(&mut self, control: &Envelope, values: &[Option<Versioned>]) -> Option<String> {
        let doubts = &mut self.topology.doubts;
        for (key, value) in std::mem::take(&mut doubts.asked).iter().zip(values) {
            let found = value.as_ref().and_then(|value| Envelope::open_header(&value.value).ok());
            let is_back = |(seen, _): &(Envelope, String)| {
                found.as_ref().is_some_and(|(found, _)| found.league == seen.league && breach(seen, found).is_none())
            };
            if doubts.went_back.get(key).is_some_and(is_back) {
                doubts.went_back.remove(key);
            }
        }
        doubts.ahead.take_if(|(_, era)| *era <= control.era);
        if let Some((key, era)) = &doubts.ahead {
            return Some(format!(
                "the topology server was rolled back: {} stands in era {}, and {key} in era {era}; bring back what stood there, or, when this is what is to count, raise the era with `hansa topo raise-era`",
                keys::CONTROL,
                control.era
            ));
        }
        doubts.went_back.values().next().map(|(_, words)| words.clone())
    }

    /// A person raised the era, in this way: what stands there now counts, whatever was seen before.
    pub(crate) fn era_raised(&mut self, era: Era, how: &str) {
        let Some(league) = &mut self.league else { return };
        let before = std::mem::replace(&mut league.era, era);
        self.log(
            Level::Warning,
            None,
            format!("a person raised the era from {before} to {era}{how}: everything is read anew, nothing is removed because it is absent"),
        );
        self.forget_topo_calls();
        self.forget_unreadable();
        let topology = &mut self.topology;
        topology.doubts = Doubts::default();
        topology.vanished.clear();
        (topology.replaced, topology.distrusted, topology.checking) = (None, None, false);
        (topology.down_since_ms, topology.failures) = (None, 0);
        topology.loaded = false;
        topology.cursor = None;
        topology.control.begin_anew();
        for state in topology.pages.values_mut() {
            state.writer.begin_anew();
            if let Some((_, mutations)) = state.flight.take() {
                // All homes are looked at once everything is read.
                state.want_again(mutations);
            }
            state.fencing = None;
        }
        topology.cell.writer.begin_anew();
        topology.cell.dirty = true;
        for state in topology.statuses.values_mut() {
            state.writer.begin_anew();
            (state.dirty, state.urgent) = (true, true);
        }
        topology.others.values_mut().for_each(|other| other.writer.begin_anew());
        topology.cells.values_mut().for_each(|other| other.writer.begin_anew());
        self.confirming.begin_anew();
        self.plans.begin_anew();
        self.forget_control_flight();
        self.topo(TopoCall::Cursor, TopoRequest::Changes { cursor: None });
    }

    /// Everything was read in the new era: what is not there is gone from the picture, and from nowhere else.
    pub(super) fn settle_in_era(&mut self) {
        // A page without records may still say who decided in it.
        let says = |page: &Page| !page.records.is_empty() || page.header != Page::empty().header;
        let absent = |state: &super::PageState| state.writer.version().is_none() && says(&state.page);
        let unreadable = &self.topology.unreadable;
        let pages = self.topology.pages.iter().filter(|(number, state)| {
            absent(state) && !state.writer.is_busy() && !unreadable.holds(&keys::page(**number))
        });
        let gone: Vec<u32> = pages.map(|(number, _)| *number).collect();
        for number in gone {
            self.turn_page(number, Page::empty());
        }
        let waiting: Vec<_> =
            self.topology.pages.values_mut().flat_map(|state| std::mem::take(&mut state.fences)).collect();
        for key in waiting {
            self.touch(&key);
        }
        self.touch_all();
        self.refresh_members();
        self.flush_cell();
    }
}
