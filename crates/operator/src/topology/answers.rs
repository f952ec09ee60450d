//! What the topology server answered, and what is asked again when it does not.

use super::TopoCall;
use crate::io::{Level, TopoAnswer, TopoFailure, TopoRequest};
use crate::machine::{Operator, Timer};
use hansa_ballot::proposer::Event as Heard;
use hansa_ledger::keys::{self};
use hansa_ledger::{Envelope, Swap};

/// A server that asks to be left alone for longer is called after this time all the same: an answer from a proxy in
/// between must not end what an operator does.
const LONGEST_REST_MS: u64 = 60_000;

impl Operator {
    pub(crate) fn topo_answered(&mut self, call: TopoCall, answer: TopoAnswer) {
        match &answer {
            TopoAnswer::Failed { reason, failure, retry_after_ms } => {
                return self.topo_failed(call, reason, *failure, retry_after_ms.unwrap_or(0));
            }
            // Before the league is known, nothing can be told apart.
            TopoAnswer::Replaced { reason } if self.league.is_none() => {
                return self.topo_failed(call, reason, TopoFailure::Away, 0);
            }
            TopoAnswer::Replaced { reason } => {
                self.store_is_not_ours(reason.clone());
                if call != TopoCall::Check {
                    self.check_store();
                }
                return self.call_again(call);
            }
            _ => {}
        }
        if let (TopoCall::Check, TopoAnswer::Values(values)) = (&call, &answer) {
            return self.store_checked(values);
        }
        // Whatever another store says is no word of this league's; a write that has landed has landed.
        let committed = matches!(answer, TopoAnswer::Swapped(Swap::Committed(_)));
        if self.topology.replaced.is_some() && !committed && !self.tells_of_later_era(&call, &answer) {
            return self.call_again(call);
        }
        if matches!(answer, TopoAnswer::Swapped(Swap::Committed(_) | Swap::Mismatch { .. })) {
            self.topology.unwritten_since_ms = None;
        }
        // A write of which nobody knows what came of it is no answer, and who can only read is as cut off as who can do
        // neither: what it does, the others do not learn.
        let is_unknown = matches!(answer, TopoAnswer::Swapped(Swap::Indeterminate { .. }));
        if !is_unknown && self.topology.unwritten_since_ms.is_none() {
            if self.topology.is_believed() && self.topology.down_since_ms.take().is_some() {
                self.ballots.heard_since_ms = self.hearing_ms();
                self.log(Level::Info, None, "the topology server answers again");
                self.touch_all();
                self.refresh_members();
            }
            self.topology.failures = 0;
            self.topology.throttled_since_ms = None;
        }
        if self.met_another_history(&call, &answer) {
            return self.call_again(call);
        }
        match (call, answer) {
            (TopoCall::Confirm(key), TopoAnswer::Values(values)) => {
                self.confirmed(&key, values.first().and_then(Option::as_ref));
            }
            (TopoCall::Reread(key), TopoAnswer::Values(values)) => {
                self.reread(&key, values.first().and_then(Option::as_ref));
            }
            (TopoCall::Cursor, TopoAnswer::Changed { cursor, .. } | TopoAnswer::Reset { cursor }) => {
                self.topology.cursor = Some(cursor);
                self.load();
            }
            (TopoCall::Load(rest), TopoAnswer::Listed(entries)) => self.listed(rest, entries),
            (TopoCall::Changes, TopoAnswer::Changed { cursor, keys }) => {
                self.topology.resets = 0;
                self.topology.cursor = Some(cursor);
                let control = keys.get(keys::CONTROL).filter(|_| self.is_seated()).cloned();
                let wanted: Vec<String> = keys
                    .into_iter()
                    .filter(|(key, version)| !self.may_wait(key, version) && self.is_news(key, version))
                    .map(|(key, _)| key)
                    .collect();
                self.read_all(&wanted);
                self.wait_for_changes();
                if let Some(version) = control {
                    self.control_changed(&version);
                }
            }
            (TopoCall::Changes, TopoAnswer::Reset { cursor }) => {
                self.topology.cursor = Some(cursor);
                self.load_after_reset();
            }
            (TopoCall::Read(keys), TopoAnswer::Values(values)) => {
                for (key, value) in keys.iter().zip(values) {
                    if let Some(value) = value {
                        self.absorb(key, &value);
                    }
                }
            }
            (TopoCall::Fence(number), TopoAnswer::Values(mut values)) => {
                let found = values.pop().flatten();
                if let Some(value) = &found {
                    self.absorb(&keys::page(number), value);
                }
                let state = self.page_state(number);
                let asked_ms = state.fencing.take().unwrap_or_default();
                if state.writer.has_passed_over() {
                    // The picture is older than what was read: it is read once more when it can be taken.
                    return;
                }
                let fences = std::mem::take(&mut state.fences);
                if found.is_none() && state.writer.version().is_some() {
                    // The page was there: what is read where it is not allows no removal.
                    self.topology.vanished.insert(number);
                    self.check_store();
                }
                for key in fences {
                    if self.topology.is_writable() && self.unread(&key).is_none() {
                        self.fenced(&key, asked_ms);
                    } else {
                        self.touch(&key);
                    }
                }
            }
            (TopoCall::Page(number), TopoAnswer::Swapped(swap)) => {
                self.page_swapped(number, swap);
                if self.page_state(number).writer.missed_something() {
                    self.read_again(keys::page(number));
                }
                self.read_for_fences(number);
            }
            (TopoCall::Status(number), TopoAnswer::Swapped(swap)) => {
                self.status_swapped(number, swap);
                if self.topology.statuses.get_mut(&number).is_some_and(|state| state.writer.missed_something()) {
                    self.read_again(keys::status(&self.config.member, number));
                }
            }
            (TopoCall::Cell, TopoAnswer::Swapped(swap)) => self.cell_swapped(swap),
            (TopoCall::Confirmations, TopoAnswer::Swapped(swap)) => {
                self.confirmations_swapped(swap);
                if self.confirming.missed_something() {
                    self.read_again(keys::confirmations(&self.config.member));
                }
            }
            (TopoCall::Control, TopoAnswer::Swapped(swap)) => {
                self.control_swapped(swap);
                if self.topology.control.missed_something() {
                    self.read_again(keys::CONTROL.to_owned());
                }
            }
            (TopoCall::Ballots, TopoAnswer::Values(mut values)) => {
                let found = values.pop().flatten();
                if found.is_none() {
                    self.check_store();
                }
                self.control_was_read();
                self.drive(Heard::Read(found));
            }
            // When the league's own store is back, the write goes as it was.
            (TopoCall::Unwritten, answer) if !self.tells_of_later_era(&TopoCall::Unwritten, &answer) => {
                self.drive(Heard::Failed);
            }
            (TopoCall::Unwritten, TopoAnswer::Values(mut values)) => {
                self.drive(Heard::Swapped(Swap::Mismatch { current: values.pop().flatten() }));
            }
            (TopoCall::Ballots, TopoAnswer::Swapped(swap)) => {
                if matches!(swap, Swap::Mismatch { current: None }) {
                    self.check_store();
                }
                self.drive(Heard::Swapped(swap));
            }
            (TopoCall::Blob(hash), TopoAnswer::Swapped(swap)) => self.blob_swapped(hash, swap),
            (TopoCall::Plan(call), answer) => self.plan_called(call, answer),
            (TopoCall::ReadBlob(hash), TopoAnswer::Values(mut values)) => self.blob_read(hash, values.pop().flatten()),
            (call, answer) => {
                let message = format!("the topology server answered {answer:?} to {call:?}");
                self.log(Level::Error, None, message);
            }
        }
    }

    /// Whether the proposer is shown this league's control document under a later era: whether that is followed, it judges.
    fn tells_of_later_era(&self, call: &TopoCall, answer: &TopoAnswer) -> bool {
        let found = match answer {
            TopoAnswer::Values(values) => values.last().and_then(Option::as_ref),
            TopoAnswer::Swapped(Swap::Mismatch { current }) => current.as_ref(),
            _ => None,
        };
        let is_the_proposers = matches!(call, TopoCall::Ballots | TopoCall::Unwritten);
        let Some((found, league)) = found.zip(self.league.as_ref()).filter(|_| is_the_proposers) else { return false };
        Envelope::open_header(&found.value)
            .is_ok_and(|(envelope, _)| envelope.league == league.id && envelope.era > league.era)
    }

    pub(super) fn topo_failed(&mut self, call: TopoCall, reason: &str, failure: TopoFailure, wait_ms: u64) {
        self.topology.failures += 1;
        self.metrics.failures += 1;
        if call.writes() {
            self.topology.unwritten_since_ms.get_or_insert(self.now.monotonic_ms);
        }
        if !(failure == TopoFailure::Throttled && self.bears_throttling(reason)) {
            self.topology_is_away(reason);
        }
        let hears = matches!(call, TopoCall::Changes | TopoCall::Read(_));
        let next = self.call_later(call, wait_ms.min(LONGEST_REST_MS));
        if hears && failure == TopoFailure::Throttled {
            self.topology.hearing.pause(self.now.monotonic_ms, next);
        }
    }

    fn topology_is_away(&mut self, reason: &str) {
        if self.topology.down_since_ms.is_some() {
            return;
        }
        self.topology.down_since_ms = Some(self.now.wall_ms);
        self.log(
            Level::Warning,
            None,
            format!("the topology server cannot be used ({reason}): what was last agreed is kept up, nothing is taken away or changed"),
        );
        self.touch_all();
        self.refresh_members();
    }

    /// Whether a server that asks to be called less often still counts as there: it has answered something since the
    /// others began to wait for this member's heartbeat.
    fn bears_throttling(&mut self, reason: &str) -> bool {
        let now = self.now.monotonic_ms;
        if self.topology.throttled_since_ms.is_none() {
            self.topology.throttled_since_ms = Some(now);
            self.log(Level::Info, None, format!("the topology server asks to be called less often ({reason})"));
        }
        let since = self.topology.throttled_since_ms.unwrap_or(now);
        now.saturating_sub(since) < self.suspect_after_ms()
    }

    /// Makes a call again whose answer is of no use here; less and less often, for it may take a person hours to bring
    /// back what stood there.
    pub(crate) fn call_again(&mut self, call: TopoCall) {
        self.topology.failures += 1;
        self.call_later(call, 0);
    }

    /// Makes a call again, no earlier than in `wait_ms`. Gives when.
    fn call_later(&mut self, call: TopoCall, wait_ms: u64) -> u64 {
        let asked = self.now.monotonic_ms + wait_ms;
        if matches!(call, TopoCall::Ballots | TopoCall::Unwritten) {
            // The proposer has its own patience, which begins when the server may be called again.
            if wait_ms == 0 {
                self.drive(Heard::Failed);
            } else {
                self.at(asked, Timer::Topo(call));
            }
            return asked;
        }
        let at = self.pause(self.topology.failures.max(1), 50, 5_000).max(asked);
        self.at(at, Timer::Topo(call));
        at
    }

    pub(crate) fn repeat_topo(&mut self, call: TopoCall) {
        if matches!(call, TopoCall::Ballots | TopoCall::Unwritten) {
            return self.drive(Heard::Failed);
        }
        // Where another history stands, a version may mean another value.
        if !self.topology.is_believed() && call.writes() {
            return self.call_again(call);
        }
        let request = match &call {
            TopoCall::Cursor => Some(TopoRequest::Changes { cursor: None }),
            TopoCall::Load(rest) => rest.first().map(|prefix| TopoRequest::List { prefix: prefix.clone() }),
            TopoCall::Changes => Some(TopoRequest::Changes { cursor: self.topology.cursor.clone() }),
            TopoCall::Read(keys) => Some(TopoRequest::Read { keys: keys.clone() }),
            TopoCall::Confirm(key) => Some(TopoRequest::Read { keys: vec![key.clone()] }),
            TopoCall::Reread(key) => return self.look_once_more(key),
            TopoCall::Fence(number) => {
                let now = self.now.monotonic_ms;
                self.page_state(*number).fencing = Some(now);
                Some(TopoRequest::Read { keys: vec![keys::page(*number)] })
            }
            TopoCall::Page(number) => self.topology.pages.get_mut(number).and_then(|state| state.writer.repeated()),
            TopoCall::Status(number) => {
                self.topology.statuses.get_mut(number).and_then(|state| state.writer.repeated())
            }
            TopoCall::Cell => self.topology.cell.writer.repeated(),
            TopoCall::Confirmations => self.confirming.repeated(),
            TopoCall::Control => self.topology.control.repeated(),
            TopoCall::Blob(hash) => self.repeat_blob(hash),
            TopoCall::ReadBlob(hash) => Some(crate::blobs::read_blob(hash)),
            TopoCall::Plan(call) => self.repeated_plan_call(*call),
            TopoCall::Check => return self.ask_for_control(),
            TopoCall::Ballots | TopoCall::Unwritten => None,
        };
        let Some(request) = request else {
            // It was given up, and nothing is left that an answer could come to.
            if call.writes() {
                self.topology.unwritten_since_ms = None;
            }
            return;
        };
        self.topo(call, request);
    }

    /// Repeats a write as it is, of which nobody knows what came of it.
    pub(crate) fn repeat_later(&mut self, call: TopoCall, reason: &str) {
        self.topology.failures += 1;
        self.metrics.failures += 1;
        self.log(Level::Debug, None, format!("{call:?} is repeated as it is: {reason}"));
        let now = self.now.monotonic_ms;
        let since = *self.topology.unwritten_since_ms.get_or_insert(now);
        if now - since >= self.suspect_after_ms() {
            self.topology_is_away(reason);
        }
        let at = self.pause(self.topology.failures, 20, 5_000);
        self.at(at, Timer::Topo(call));
    }
}
