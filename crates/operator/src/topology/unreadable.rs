//! Values that cannot be read: of a newer format, cut, or larger than any that Hansa writes.
//!
//! What many write (a page, the control document before it is known) is left as it stands, until it can
//! be read or a person has replaced it: nothing is written there, no fence is satisfied by it, nothing is
//! taken away or let go on its ground, and nothing is taken for absent because it is not seen in it. What
//! was last read of it goes on being kept up, as when the topology server is away, and no other page waits.
//! A single record that is not understood is to its own object what a page is to all of its objects.
//!
//! What one member writes alone (its cell, its status cells, its confirmations, its word about a plan) is
//! that member's memory. Nobody else would mend it, and a heartbeat that stops is taken for the member's
//! end: so the next write of its only writer takes its place ([`crate::writer::Writer::settle_own`]). What was lost with
//! it is judged with care: a breaker that does not know what it let go counts its budget as used up for one
//! window, and people are asked anew for what they had confirmed.
//!
//! A read may be answered late. So what is seen is read once more by a read that began afterwards, and what
//! that shows counts.

use super::TopoCall;
use crate::home::namespaces;
use crate::io::{Level, TopoRequest};
use crate::machine::{Operator, Timer};
use crate::report::rfc3339;
use hansa_ledger::keys::{self, Key};
use hansa_ledger::{EnvelopeError, Page, Slot, Versioned};
use hansa_model::{NamespacePolicy, RecordKey};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How often a value that cannot be read is looked at again: a person may put another one there by ways that
/// nobody is told of.
const LOOK_MS: u64 = 30_000;

/// How many values are named in answers to people.
const MAX_SHOWN: usize = 20;

/// What to do about it, for people.
const MEND: &str = "where the format is newer, run that release of the operator; else bring back what stood there, or restore a backup (`hansa topo restore`)";

/// What cannot be read, by key.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    values: BTreeMap<String, Illegible>,
    /// How many records are not understood, in pages that are.
    pub records: usize,
}

#[derive(Debug)]
struct Illegible {
    why: String,
    since_ms: u64,
    /// It is being read once more.
    asked: bool,
    /// It was seen since that read began: what it shows does not count.
    seen_since: bool,
    /// It is to be looked at again after a while.
    due: bool,
}

impl Unreadable {
    /// Whether a key is known to hold what cannot be read.
    pub fn holds(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    fn page(&self, number: u32) -> Option<&Illegible> {
        if self.values.is_empty() { None } else { self.values.get(&keys::page(number)) }
    }
}

impl Operator {
    /// A value that is not this league's, or not readable.
    pub(crate) fn misfit(&mut self, key: &str, error: &EnvelopeError) {
        self.unreadable(key, &error.to_string());
        if matches!(error, EnvelopeError::ForeignLeague { .. }) {
            self.check_store();
        }
    }

    /// What stands at a key cannot be read.
    pub(crate) fn unreadable(&mut self, key: &str, why: &str) {
        let since_ms = self.now.wall_ms;
        let known = self.topology.unreadable.values.get_mut(key);
        let is_new = known.as_ref().is_none_or(|known| known.why != why);
        match known {
            Some(known) => {
                known.seen_since = true;
                why.clone_into(&mut known.why);
            }
            None => {
                let illegible =
                    Illegible { why: why.to_owned(), since_ms, asked: false, seen_since: false, due: false };
                self.topology.unreadable.values.insert(key.to_owned(), illegible);
                self.read_once_more(key);
            }
        }
        if let Key::Page(number) = keys::parse(key) {
            let state = self.page_state(number);
            state.queue.clear();
            state.fences.clear();
            self.topology.vanished.remove(&number);
        }
        if !is_new {
            return;
        }
        self.metrics.failures += 1;
        let what = match keys::parse(key) {
            Key::Page(_) | Key::Control | Key::Plan(_) => "it is left as it is",
            _ if self.writes_alone(key) => "its next write here takes its place",
            _ => "what was last read of it is kept",
        };
        self.log(Level::Error, None, format!("{key} in the topology server cannot be read: {why}; {what}"));
        match keys::parse(key) {
            Key::Page(number) => self.touch_page(number),
            Key::Cell(member) if member == self.config.member => self.doubt_the_budget(),
            _ => {}
        }
        self.refresh_members();
    }

    /// Whether what stands at a key is this member's own memory.
    fn writes_alone(&self, key: &str) -> bool {
        let own = &self.config.member;
        match keys::parse(key) {
            Key::Cell(member) | Key::Status(member, _) | Key::Confirmations(member) | Key::PlanWords(_, member) => {
                member == *own
            }
            Key::Control | Key::Page(_) | Key::Plan(_) | Key::Other => false,
        }
    }

    /// What stands at a key can be read, as was seen by a read that began after all that could not; or this
    /// member has written there.
    pub(crate) fn can_be_read(&mut self, key: &str) {
        if self.topology.unreadable.values.remove(key).is_none() {
            return;
        }
        self.log(Level::Info, None, format!("{key} in the topology server can be read again"));
        if let Key::Page(number) = keys::parse(key) {
            self.touch_page(number);
        }
        self.refresh_members();
    }

    /// Reads what is in doubt once more.
    pub(super) fn read_once_more(&mut self, key: &str) {
        let Some(known) = self.topology.unreadable.values.get_mut(key).filter(|known| !known.asked) else { return };
        (known.asked, known.seen_since) = (true, false);
        self.topo(TopoCall::Reread(key.to_owned()), TopoRequest::Read { keys: vec![key.to_owned()] });
    }

    /// The time to do so has come, or the read has failed.
    pub(super) fn look_once_more(&mut self, key: &str) {
        if let Some(known) = self.topology.unreadable.values.get_mut(key) {
            (known.asked, known.due) = (false, false);
            self.read_once_more(key);
        }
    }

    /// It was read once more.
    pub(super) fn reread(&mut self, key: &str, value: Option<&Versioned>) {
        let Some(known) = self.topology.unreadable.values.get_mut(key) else { return };
        known.asked = false;
        if known.seen_since {
            return self.read_once_more(key);
        }
        match value {
            Some(value) => self.absorb_anew(key, value),
            // Nobody deletes in Hansa, so somebody else did.
            None => {
                self.can_be_read(key);
                if let Key::Page(number) = keys::parse(key) {
                    self.topology.vanished.insert(number);
                }
                self.check_store();
            }
        }
        let due_ms = self.now.monotonic_ms + LOOK_MS;
        if let Some(known) = self.topology.unreadable.values.get_mut(key).filter(|known| !known.due) {
            known.due = true;
            self.at(due_ms, Timer::Topo(TopoCall::Reread(key.to_owned())));
        }
    }

    /// In another era, and in another store, everything is read anew.
    pub(super) fn forget_unreadable(&mut self) {
        self.topology.unreadable.values.clear();
    }

    /// Why nothing is known for sure of the record of a key: it lies in a page that cannot be read, or is not
    /// understood itself.
    pub(crate) fn unread(&self, key: &RecordKey) -> Option<String> {
        let number = key.page(self.pages());
        if let Some(page) = self.topology.unreadable.page(number) {
            let since = rfc3339(page.since_ms);
            return Some(format!(
                "frozen since {since}: {} in the topology server, in which its record lies, cannot be read ({}); what was last agreed is kept up, an edit waits; {MEND}",
                keys::page(number),
                page.why
            ));
        }
        let state = self.topology.pages.get(&number).filter(|_| self.topology.unreadable.records > 0)?;
        let Slot::Opaque { why, .. } = state.page.records.get(key)? else { return None };
        Some(format!(
            "frozen: the record of {key} in {} in the topology server is not understood ({why}); what was last agreed is kept up, an edit waits; {MEND}",
            keys::page(number)
        ))
    }

    /// Whether nothing can be concluded from what is not seen in the pages.
    pub(crate) fn has_unread_records(&self) -> bool {
        let is_page = |key: &String| matches!(keys::parse(key), Key::Page(_));
        self.topology.unreadable.records > 0 || self.topology.unreadable.values.keys().any(is_page)
    }

    /// Why it is not known in which members the objects of a namespace may be.
    pub(crate) fn unread_namespace(&self, key: &RecordKey) -> Option<String> {
        let required =
            self.league.as_ref().is_some_and(|league| league.spec.namespaces == NamespacePolicy::RequireFederated);
        if !required || key.namespace.is_empty() {
            return None;
        }
        let name = RecordKey { type_name: namespaces(), namespace: "".into(), name: key.namespace.clone() };
        self.unread(&name).map(|why| format!("metadata.namespace: {}: {why}", key.namespace))
    }

    fn touch_page(&mut self, number: u32) {
        let pages = self.pages();
        let agreed = self.topology.records().map(|(key, _)| key);
        let all = self.objects.keys().chain(agreed).chain(self.topology.own_statuses());
        let keys: Vec<RecordKey> = all.filter(|key| key.page(pages) == number).cloned().collect();
        let namespaces: Vec<RecordKey> = keys.iter().filter(|key| key.type_name == namespaces()).cloned().collect();
        for key in keys {
            self.touch(&key);
        }
        for key in namespaces {
            self.touch_namespace(&key.name);
        }
    }

    /// What cannot be read, in one sentence for people; `None` when all can.
    pub(crate) fn unreadable_at_a_glance(&self) -> Option<String> {
        let Unreadable { values, records } = &self.topology.unreadable;
        if let Some((key, first)) = values.iter().find(|(key, _)| !self.writes_alone(key)) {
            let others = values.keys().filter(|key| !self.writes_alone(key)).count() - 1;
            let more = if others > 0 { format!(", and {others} more values") } else { String::new() };
            let why = &first.why;
            return Some(format!(
                "{key} in the topology server cannot be read ({why}){more}: what is in it is left as it is, and what was last agreed is kept up; {MEND}"
            ));
        }
        let (number, key, why) = self.opaque_records().next()?;
        let more = if *records > 1 { format!(", and {} more", records - 1) } else { String::new() };
        Some(format!(
            "the record of {key} in {} in the topology server is not understood ({why}){more}: it is left as it is, and what was last agreed is kept up; {MEND}",
            keys::page(number)
        ))
    }

    /// The records that are not understood, each with its page and why.
    fn opaque_records(&self) -> impl Iterator<Item = (u32, &RecordKey, &str)> {
        let pages = self.topology.pages.iter().filter(|_| self.topology.unreadable.records > 0);
        pages.flat_map(|(number, state)| {
            state.page.records.iter().filter_map(|(key, slot)| match slot {
                Slot::Opaque { why, .. } => Some((*number, key, &**why)),
                Slot::Known(_) => None,
            })
        })
    }

    /// The same, one by one, pages first.
    pub(crate) fn unreadable_values(&self) -> Value {
        let is_page = |(key, _): &(&String, &Illegible)| matches!(keys::parse(key), Key::Page(_));
        let (pages, others): (Vec<_>, Vec<_>) = self.topology.unreadable.values.iter().partition(is_page);
        let values = pages.into_iter().chain(others);
        let values = values.map(|(key, known)| json!({"key": key, "why": known.why, "since": rfc3339(known.since_ms)}));
        let records = self.opaque_records();
        let records = records.map(|(number, key, why)| json!({"key": keys::page(number), "record": key, "why": why}));
        values.chain(records).take(MAX_SHOWN).collect()
    }

    /// How many values and records cannot be read.
    pub(crate) fn count_unreadable(&self) -> u64 {
        (self.topology.unreadable.values.len() + self.topology.unreadable.records) as u64
    }

    /// Counts the records that are not understood, when a page has turned.
    pub(super) fn count_opaque(&mut self, before: &Page, number: u32) {
        let opaque = |page: &Page| page.records.values().filter(|slot| slot.record().is_none()).count();
        let known = self.topology.unreadable.records;
        let records = known + opaque(&self.page_state(number).page) - opaque(before);
        self.topology.unreadable.records = records;
        if (records == 0) != (known == 0) {
            self.refresh_members();
        }
    }
}
