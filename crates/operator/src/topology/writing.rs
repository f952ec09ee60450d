//! Writing to the topology server: pages, status cells, the heartbeat.

use super::{StatusState, TopoCall};
use crate::draft::Draft;
use crate::io::Level;
use crate::machine::{Operator, Timer};
use crate::words::{Said, sign};
use crate::writer::{Own, Pen, Writer, open};
use hansa_ledger::cell::{MemberCell, RecordStatus, StatusCell};
use hansa_ledger::keys::{self};
use hansa_ledger::mutation::{self, Mutation};
use hansa_ledger::swap::Settled;
use hansa_ledger::{Page, Swap, Versioned};
use hansa_model::RecordKey;

/// How long status cells may wait for what comes next.
pub(super) const STATUS_DELAY_MS: u64 = 1_000;

/// Who has lost a page rests for less than two of these, and for up to twice as long with each loss more in a row, up to a
/// second and a bit.
const LOST_MS: u64 = 5;

impl Operator {
    /// Says what came of a record here; `None`: nothing any more.
    pub(crate) fn set_status(&mut self, key: &RecordKey, status: Option<RecordStatus>) {
        let page = key.page(self.pages());
        let member = &self.config.member;
        let unsaid = || StatusState::new(Writer::new(keys::status(member, page)), StatusCell::empty());
        let state = self.topology.statuses.entry(page).or_insert_with(unsaid);
        let known = state.cell.records.get(key);
        let (changed, urgent) = match &status {
            Some(status) => (known != Some(status), !known.is_some_and(|known| says_the_same(known, status))),
            None => (known.is_some(), true),
        };
        if changed {
            match status {
                Some(status) => state.cell.records.insert(key.clone(), status),
                None => state.cell.records.remove(key),
            };
            state.dirty = true;
            state.urgent |= urgent;
            self.statuses_are_due();
        }
    }

    pub(super) fn statuses_are_due(&mut self) {
        if self.topology.status_due_ms.is_none() {
            let due = self.now.monotonic_ms + STATUS_DELAY_MS;
            self.topology.status_due_ms = Some(due);
            self.at(due, Timer::Statuses);
        }
    }

    /// Drops changes that wait to be written and rest on what this member's API server showed.
    pub(crate) fn forget_observations(&mut self) {
        use mutation::Change::{Acknowledge, Depart, Disown, Ingest, Vanished};
        let rests = |mutation: &Mutation| {
            matches!(
                mutation.change,
                Ingest { .. } | Depart { .. } | Vanished { .. } | Disown { .. } | Acknowledge { .. }
            )
        };
        for state in self.topology.pages.values_mut() {
            state.queue.retain(|mutation| !rests(mutation));
            if let Some((_, mutations)) = &mut state.flight {
                // Whether they were written shows in the page; they are not written once more. Nor is what homes said,
                // and until that is settled it keeps their finalizers.
                mutations.retain(|mutation| matches!(mutation.change, Ingest { .. }) || !rests(mutation));
            }
        }
    }

    /// Puts a change into its page's next write. Nothing is wanted of a record that cannot be read: when it
    /// can be, it is looked at anew.
    pub(crate) fn mutate(&mut self, key: &RecordKey, change: mutation::Change) {
        if self.unread(key).is_some() {
            return;
        }
        let number = key.page(self.pages());
        let member = self.config.member.clone();
        self.page_state(number).want(Mutation { key: key.clone(), member, change });
    }

    /// Drops what a home is to say and was not sent yet.
    pub(crate) fn unsay_home(&mut self, key: &RecordKey) {
        let number = key.page(self.pages());
        if let Some(state) = self.topology.pages.get_mut(&number) {
            state.queue.retain(|queued| !says_home(queued, key));
        }
    }

    /// Whether a write is under way that says what a home is to say.
    pub(crate) fn home_is_being_said(&self, key: &RecordKey) -> bool {
        let flight = self.topology.pages.get(&key.page(self.pages())).and_then(|state| state.flight.as_ref());
        flight.is_some_and(|(_, sent)| sent.iter().any(|sent| says_home(sent, key)))
    }

    pub(crate) fn pen_parts(
        &mut self,
    ) -> Option<(hansa_model::LeagueId, hansa_model::Era, hansa_ledger::OperationId, u64)> {
        let league = self.league.as_ref()?;
        let (id, era) = (league.id, league.era);
        Some((id, era, self.next_operation(), self.random()))
    }

    /// Sends the next write of every page that has one to send.
    pub(crate) fn flush_pages(&mut self) {
        if !self.topology.is_writable() || self.frozen_share().is_some() || self.has_given_up_its_key() {
            return;
        }
        let ready: Vec<u32> = self
            .topology
            .pages
            .iter()
            .filter(|(_, state)| !state.queue.is_empty() && !state.writer.is_busy())
            .map(|(number, _)| *number)
            .filter(|number| !self.topology.unreadable.holds(&keys::page(*number)))
            .collect();
        for number in ready {
            let until = self.page_state(number).rests_until_ms;
            if until > self.now.monotonic_ms {
                self.at(until, Timer::Continue);
            } else {
                self.flush_page(number);
            }
        }
    }

    pub(super) fn flush_page(&mut self, number: u32) {
        let Some((league, era, operation, nonce)) = self.pen_parts() else { return };
        let (member, signer) = (self.config.member.clone(), self.config.signer.clone());
        let (said, verifier) = (Said { league, era }, self.words.verifier());
        let state = self.page_state(number);
        let revision = state.writer.next_revision();
        let queue = std::mem::take(&mut state.queue);
        let draft = Draft::of(&state.page, revision, queue, |key, record| sign(key, record, &signer, said, &verifier));
        if !draft.crowding.is_empty() {
            state.crowded = true;
        }
        if !draft.written.is_empty() && draft.fits() {
            state.bytes = draft.body.len();
            let request = state.writer.begin(Pen { league, era, member: &member, operation, nonce }, &draft.body);
            state.flight = Some((draft.page, draft.written));
            self.topo(TopoCall::Page(number), request);
        } else if !draft.written.is_empty() {
            let records = draft.page.records.len();
            self.log(
                Level::Error,
                None,
                format!(
                    "{} is full with {records} records: nothing more is agreed in it; found a league with more pages",
                    keys::page(number)
                ),
            );
        }
        for mutation in draft.crowding {
            self.touch(&mutation.key);
        }
        for (mutation, why) in draft.skipped {
            self.mutation_skipped(&mutation.key, &why);
        }
    }

    /// Sends every changed status cell, unless more is to come: outputs are still on their way, or nothing
    /// that others wait for has changed. Nothing waits for longer than [`STATUS_DELAY_MS`].
    pub(crate) fn flush_statuses(&mut self) {
        let due = self.topology.status_due_ms.is_some_and(|due| due <= self.now.monotonic_ms);
        // Where a later start of this member says how its outputs are, two that each put their own word in place of the
        // other's would never end.
        if !self.topology.is_writable() || (self.has_outputs_under_way() && !due) || self.later_start().is_some() {
            return;
        }
        let unwritten = self.topology.statuses.iter().filter(|(_, state)| state.dirty);
        let (busy, ready): (Vec<_>, Vec<_>) = unwritten.partition(|(_, state)| state.writer.is_busy());
        if !due && !ready.iter().any(|(_, state)| state.urgent) {
            return;
        }
        let ready: Vec<u32> = ready.into_iter().map(|(number, _)| *number).collect();
        // What cannot be written yet stays due.
        if busy.is_empty() {
            self.topology.status_due_ms = None;
        }
        for number in ready {
            let Some((league, era, operation, nonce)) = self.pen_parts() else { return };
            let member = self.config.member.clone();
            let Some(state) = self.topology.statuses.get_mut(&number) else { continue };
            (state.dirty, state.urgent) = (false, false);
            let body = serde_json::to_vec(&state.cell).expect("a cell always encodes into memory");
            let request = state.writer.begin(Pen { league, era, member: &member, operation, nonce }, &body);
            self.topo(TopoCall::Status(number), request);
        }
    }

    /// Says that this operator lives, and how it is.
    pub(crate) fn heartbeat(&mut self) {
        self.at(self.now.monotonic_ms + self.config.heartbeat_ms, Timer::Heartbeat);
        self.notice_pause();
        self.forget_later_start();
        self.topology.cell.cell.sequence += 1;
        self.topology.cell.cell.frozen = self.frozen_share();
        self.topology.cell.cell.api_server_ready = self.api_server_ready();
        self.topology.cell.dirty = true;
        self.flush_cell();
        self.read_beats();
        self.confirming.collect();
        self.refresh_members();
        self.tend_rotation();
        self.ballots.look = true;
    }

    /// Says at once whether its share is frozen: others tell their users why it does nothing.
    pub(crate) fn tell_standing(&mut self) {
        let frozen = self.frozen_share();
        if self.topology.heartbeats && self.topology.cell.cell.frozen != frozen {
            self.topology.cell.cell.frozen = frozen;
            self.topology.cell.dirty = true;
            self.flush_cell();
        }
    }

    pub(crate) fn flush_cell(&mut self) {
        if self.topology.cell.writer.is_busy() || !self.topology.cell.dirty || !self.topology.is_writable() {
            return;
        }
        let Some((league, era, operation, nonce)) = self.pen_parts() else { return };
        let member = self.config.member.clone();
        let state = &mut self.topology.cell;
        state.dirty = false;
        state.flight_serial = self.removals.serial;
        let body = serde_json::to_vec(&state.cell).expect("a cell always encodes into memory");
        let request = state.writer.begin(Pen { league, era, member: &member, operation, nonce }, &body);
        self.topo(TopoCall::Cell, request);
    }

    pub(super) fn page_swapped(&mut self, number: u32, swap: Swap) {
        let member = self.config.member.clone();
        let state = self.page_state(number);
        let settled = state.writer.settle(&member, swap);
        // Whatever comes of it: what waits for that is looked at anew.
        let sent = state.flight.iter().flat_map(|(_, sent)| sent);
        let touched: Vec<RecordKey> = sent.map(|sent| sent.key.clone()).collect();
        match settled {
            Ok(Settled::Repeat { reason }) => return self.repeat_later(TopoCall::Page(number), &reason),
            Ok(Settled::Committed(_)) => {
                state.losses = 0;
                let (page, _) = state.flight.take().expect("a write under way has its page");
                self.turn_page(number, page);
            }
            Ok(Settled::CommittedBefore(current)) => {
                state.flight = None;
                self.adopt_page(number, &current);
            }
            Ok(Settled::Lost(current)) => {
                let (_, sent) = state.flight.take().expect("a write under way has its page");
                state.want_again(sent);
                self.rest_after_loss(number);
                match current {
                    Some(current) => self.adopt_page(number, &current),
                    None => {
                        self.topology.vanished.insert(number);
                        self.check_store();
                    }
                }
            }
            Err(error) => {
                state.flight = None;
                self.misfit(&keys::page(number), &error);
            }
        }
        touched.iter().for_each(|key| self.touch(key));
    }

    /// Who has lost a page to others lets some of them go first: if all wrote again at once, all but one would lose again,
    /// and N that say something in one page would take N² / 2 writes.
    fn rest_after_loss(&mut self, number: u32) {
        let (entropy, now) = (self.random(), self.now.monotonic_ms);
        let state = self.page_state(number);
        state.losses += 1;
        state.rests_until_ms = now + entropy % (LOST_MS << state.losses.min(8));
    }

    /// Takes what a write met for what stands there. What cannot be read is not written over.
    fn adopt_page(&mut self, number: u32, current: &Versioned) {
        self.topology.vanished.remove(&number);
        let league = self.league.as_ref().map(|league| league.id);
        let (envelope, body) = match open(&current.value, league) {
            Ok(opened) => opened,
            Err(error) => return self.misfit(&keys::page(number), &error),
        };
        match Page::from_slice(&body) {
            Ok(page) => {
                let state = self.page_state(number);
                state.writer.adopt(&current.version, envelope);
                state.bytes = body.len();
                self.turn_page(number, page);
            }
            Err(error) => self.unreadable(&keys::page(number), &error.to_string()),
        }
    }

    pub(super) fn status_swapped(&mut self, number: u32, swap: Swap) {
        let member = self.config.member.clone();
        let (league, wall_ms) = (self.league.as_ref().map(|league| league.id), self.now.wall_ms);
        let key = keys::status(&member, number);
        let Some(state) = self.topology.statuses.get_mut(&number) else { return };
        let settled = state.writer.settle_own(&member, swap, league, wall_ms);
        // Only this member writes it: what stands there is the word of another of its starts, or a
        // copy of this one's. Either way what is known now is to stand there.
        let is_unsaid = !matches!(settled, Own::Repeat { .. } | Own::Committed);
        state.dirty |= is_unsaid;
        state.urgent |= is_unsaid;
        match settled {
            Own::Repeat { reason } => self.repeat_later(TopoCall::Status(number), &reason),
            Own::Committed => self.can_be_read(&key),
            Own::Found(_) => {}
            Own::Unreadable(error) | Own::Foreign(error) => self.misfit(&key, &error),
            Own::Gone => self.check_store(),
        }
    }

    pub(super) fn cell_swapped(&mut self, swap: Swap) {
        let member = self.config.member.clone();
        let (league, wall_ms) = (self.league.as_ref().map(|league| league.id), self.now.wall_ms);
        let key = keys::cell(&member);
        let state = &mut self.topology.cell;
        let settled = state.writer.settle_own(&member, swap, league, wall_ms);
        // What is another league's stays until the store is known to be this one's: the next heartbeat tries again.
        state.dirty |= !matches!(settled, Own::Repeat { .. } | Own::Committed | Own::Foreign(_));
        match settled {
            Own::Repeat { reason } => return self.repeat_later(TopoCall::Cell, &reason),
            Own::Committed => {
                let durable = state.flight_serial;
                self.removals_persisted(durable);
                self.can_be_read(&key);
                self.own_cell_is_written();
            }
            Own::Found(body) => {
                match serde_json::from_slice::<MemberCell>(&body) {
                    Ok(standing) => self.cell_overtaken(standing.removals),
                    Err(error) => {
                        self.cell_overtaken(Vec::new());
                        self.unreadable(&key, &error.to_string());
                    }
                }
                self.own_cell_is_anothers();
            }
            Own::Unreadable(error) => {
                self.cell_overtaken(Vec::new());
                self.misfit(&key, &error);
            }
            Own::Foreign(error) => self.misfit(&key, &error),
            Own::Gone => self.check_store(),
        }
        self.flush_cell();
    }

    pub(crate) fn start_heartbeats(&mut self) {
        if self.topology.loaded && !self.topology.heartbeats {
            self.topology.heartbeats = true;
            self.heartbeat();
        }
    }
}

/// Whether a change is what the home of a record is to say.
fn says_home(change: &Mutation, key: &RecordKey) -> bool {
    change.key == *key && matches!(change.change, mutation::Change::Ingest { .. })
}

/// Whether two states of a record differ in nothing but what the member's own users were told: that it
/// remembers for itself alone.
fn says_the_same(one: &RecordStatus, other: &RecordStatus) -> bool {
    *one == RecordStatus { stamped: one.stamped.clone(), ..other.clone() }
}
