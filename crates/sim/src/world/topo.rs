//! Between an operator and the topology server.

use super::{Due, World};
use crate::judge::Violation;
use crate::member::Reach;
use crate::process::ProcessId;
use crate::reached::Hazard;
use bytes::Bytes;
use hansa_ledger::keys::{self, Key};
use hansa_ledger::{Swap, Version};
use hansa_operator::{ActId, Event, TopoAnswer, TopoFailure, TopoRequest};
use std::collections::BTreeMap;

/// What becomes of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TopoFate {
    /// It arrives, and is answered.
    Answered,
    /// The answer is lost.
    AnswerLost,
    /// The answer is lost, and the call arrives so much later.
    Late(u64),
    /// It never arrives.
    Dropped,
    /// The connection is refused: its sender knows that nothing happened.
    Refused,
    /// The server asks to be called less often, and for how long, if it says so.
    Throttled(Option<u64>),
    /// What was told before is told again.
    Repeated,
}

impl World {
    pub(super) fn send_topo(&mut self, id: ProcessId, act: ActId, request: TopoRequest) -> Result<(), Violation> {
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        let text = describe(&request);
        process.under_way.insert(act, text.clone());
        let name = self.members[process.member].name.clone();
        if let TopoRequest::Write { key, expected, value } = &request {
            self.tell(&name, format!("→ {text}"));
            self.judge.writes(self.now, id, key)?;
            // What is based on another state than stands there changes nothing.
            if self.store.get(key).map(|found| found.version) == *expected {
                self.judge.gives(self.now, id, act, key, value)?;
            }
        }
        let fate = self.topo_fate(&request);
        let pause = self.latency() + self.store_delay();
        self.after(pause, Due::Topo(id, act, request, fate));
        Ok(())
    }

    fn topo_fate(&mut self, request: &TopoRequest) -> TopoFate {
        if self.calm {
            return TopoFate::Answered;
        }
        let throttled =
            self.weather.as_ref().filter(|weather| weather.until_ms > self.now).map(|weather| weather.throttled);
        if throttled.is_some_and(|permille| self.troubles.chance(permille)) {
            return TopoFate::Throttled(*self.troubles.pick(&[None, Some(1_000), Some(20_000)]));
        }
        let chances = self.settings.chances;
        let writes = matches!(request, TopoRequest::Write { .. });
        let changes = matches!(request, TopoRequest::Changes { .. });
        let late = self.random.within(50..40_000);
        let table = [
            (chances.topo_refused, TopoFate::Refused),
            (if writes { chances.topo_answer_lost } else { 0 }, TopoFate::AnswerLost),
            (if writes { chances.topo_late } else { 0 }, TopoFate::Late(late)),
            (if writes { chances.topo_dropped } else { 0 }, TopoFate::Dropped),
            (if changes { chances.topo_repeated } else { 0 }, TopoFate::Repeated),
        ];
        table.into_iter().find(|(chance, _)| self.random.chance(*chance)).map_or(TopoFate::Answered, |(_, fate)| fate)
    }

    pub(super) fn topo_arrives(
        &mut self,
        id: ProcessId,
        act: ActId,
        request: TopoRequest,
        fate: TopoFate,
    ) -> Result<(), Violation> {
        let Some(member) = self.member_of(id) else { return Ok(()) };
        let fate = match (self.members[member].reach, fate) {
            (Reach::Neither, _) => TopoFate::Refused,
            (Reach::ReadOnly, _) if matches!(request, TopoRequest::Write { .. }) => TopoFate::Refused,
            (Reach::OneWay, TopoFate::Answered | TopoFate::Repeated) => TopoFate::AnswerLost,
            (_, fate) => fate,
        };
        match request {
            TopoRequest::Write { key, expected, value } => {
                if self.members[member].leader != Some(id) && matches!(keys::parse(&key), Key::Status(..)) {
                    self.judge.reached.count(Hazard::TwinSpoke);
                }
                let indeterminate =
                    || TopoAnswer::Swapped(Swap::Indeterminate { reason: "connection reset".to_owned() });
                let answer = match fate {
                    TopoFate::Refused | TopoFate::Throttled(_) => failed(fate),
                    TopoFate::Dropped => indeterminate(),
                    TopoFate::Late(pause) => {
                        self.after(pause, Due::Landing { writer: member, key, expected, value });
                        indeterminate()
                    }
                    TopoFate::AnswerLost => {
                        self.write(member, &key, expected.as_ref(), value)?;
                        indeterminate()
                    }
                    TopoFate::Answered | TopoFate::Repeated => {
                        let swap = self.write(member, &key, expected.as_ref(), value)?;
                        if matches!(swap, Swap::Mismatch { current: None }) {
                            self.judge.met_nothing(id, &key);
                        }
                        TopoAnswer::Swapped(swap)
                    }
                };
                self.answer_topo(id, act, answer);
            }
            TopoRequest::Read { keys } => {
                let answer = match fate {
                    TopoFate::Answered | TopoFate::Repeated => {
                        let values: Vec<_> = keys.iter().map(|key| self.store.get(key)).collect();
                        self.judge.read(self.now, id, act, &keys, &values);
                        TopoAnswer::Values(values)
                    }
                    _ => failed(fate),
                };
                self.answer_topo(id, act, answer);
            }
            TopoRequest::List { prefix } => {
                let answer = match fate {
                    TopoFate::Answered | TopoFate::Repeated => {
                        let entries = self.store.list(&prefix);
                        let (keys, values): (Vec<_>, Vec<_>) =
                            entries.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).unzip();
                        self.judge.read(self.now, id, act, &keys, &values);
                        TopoAnswer::Listed(entries)
                    }
                    _ => failed(fate),
                };
                self.answer_topo(id, act, answer);
            }
            TopoRequest::Changes { cursor } => {
                let answer = match (fate, cursor) {
                    (TopoFate::Answered | TopoFate::Repeated, None) => {
                        TopoAnswer::Changed { cursor: self.store.cursor(), keys: BTreeMap::new() }
                    }
                    (TopoFate::Answered | TopoFate::Repeated, Some(cursor)) if self.settings.gather_ms > 0 => {
                        if let Some(process) = self.processes.get_mut(&id) {
                            process.waits = Some((act, cursor));
                        }
                        self.tell_changes();
                        return Ok(());
                    }
                    (TopoFate::Answered | TopoFate::Repeated, Some(cursor)) => {
                        let back = if fate == TopoFate::Repeated { self.random.below(8) } else { 0 };
                        match self.changes_since(&cursor, back) {
                            Some(answer) => answer,
                            None => {
                                if let Some(process) = self.processes.get_mut(&id) {
                                    process.waits = Some((act, cursor));
                                }
                                return Ok(());
                            }
                        }
                    }
                    _ => failed(fate),
                };
                self.answer_topo(id, act, answer);
            }
        }
        Ok(())
    }

    /// `None`: nothing yet.
    fn changes_since(&self, cursor: &str, back: u64) -> Option<TopoAnswer> {
        let from = cursor.parse::<u64>().unwrap_or_default().saturating_sub(back).to_string();
        match self.store.since(&from).or_else(|| self.store.since(cursor)) {
            None => Some(TopoAnswer::Reset { cursor: self.store.cursor() }),
            Some(keys) if keys.is_empty() => None,
            Some(keys) => Some(TopoAnswer::Changed { cursor: self.store.cursor(), keys }),
        }
    }

    /// How much longer a call or its answer takes while the topology server is slow.
    fn store_delay(&mut self) -> u64 {
        let slow = self.weather.as_ref().filter(|weather| weather.until_ms > self.now && !self.calm);
        slow.map_or(0, |weather| self.troubles.below(weather.slow_ms))
    }

    fn answer_topo(&mut self, id: ProcessId, act: ActId, answer: TopoAnswer) {
        let pause = self.latency() + self.store_delay();
        self.after(pause, Due::Event(id, Event::Topo { id: act, answer }));
    }

    pub(super) fn write(
        &mut self,
        writer: usize,
        key: &str,
        expected: Option<&Version>,
        value: Bytes,
    ) -> Result<Swap, Violation> {
        let before = self.store.get(key);
        let swap = self.store.swap(key, expected, value.clone());
        if let Swap::Committed(version) = &swap {
            let here = &mut self.members[writer];
            let name = here.name.clone();
            here.writes += u64::from(!matches!(keys::parse(key), Key::Cell(_)));
            let told = self.judge.committed(self.now, here, key, before.as_ref(), &value, &self.users)?;
            self.tell("topo", format!("{name} writes {key} at {version}{told}"));
            self.tell_changes();
        } else if let (Some(current), Key::Page(_)) = (before, keys::parse(key)) {
            let header = |value: &[u8]| crate::judge::open_page(value).ok().map(|page| page.header);
            if let (Some(stands), Some(written)) = (header(&current.value), header(&value))
                && written.term < stands.term
                && written.member.as_ref() == Some(&self.members[writer].name)
            {
                self.judge.reached.count(Hazard::TermOvertaken);
            }
        }
        Ok(swap)
    }

    pub(super) fn land(
        &mut self,
        writer: usize,
        key: &str,
        expected: Option<&Version>,
        value: Bytes,
    ) -> Result<(), Violation> {
        match self.write(writer, key, expected, value)? {
            Swap::Committed(_) => {
                self.judge.reached.count(Hazard::WriteLandedLate);
                self.tell("topo", "(that write came late)");
            }
            _ => self.tell("topo", format!("a late write of {key} finds another version")),
        }
        Ok(())
    }

    /// Answers the waits for changes that have something to tell, now or when the next are gathered.
    pub(crate) fn tell_changes(&mut self) {
        match self.settings.gather_ms {
            0 => self.tell_gathered(),
            _ if self.gathering => {}
            pause => {
                self.gathering = true;
                self.after(pause, Due::Gathered);
            }
        }
    }

    pub(super) fn tell_gathered(&mut self) {
        self.gathering = false;
        let waiting: Vec<ProcessId> =
            self.processes.iter().filter(|(_, process)| process.waits.is_some()).map(|(id, _)| *id).collect();
        for id in waiting {
            let process = self.processes.get_mut(&id).expect("it waits");
            let reach = self.members[process.member].reach;
            let Some((act, cursor)) = process.waits.clone() else { continue };
            if !matches!(reach, Reach::Both | Reach::ReadOnly) {
                continue;
            }
            if let Some(answer) = self.changes_since(&cursor, 0) {
                self.processes.get_mut(&id).expect("it waits").waits = None;
                self.answer_topo(id, act, answer);
            }
        }
    }

    /// The waits of a member that was cut off fail.
    pub(crate) fn break_waits(&mut self, member: usize) {
        let mut broken = Vec::new();
        for (id, process) in self.processes.iter_mut().filter(|(_, process)| process.member == member) {
            broken.extend(process.waits.take().map(|(act, _)| (*id, act)));
        }
        for (id, act) in broken {
            let pause = self.random.within(1..5_000);
            let answer = failed(TopoFate::Dropped);
            self.after(pause, Due::Event(id, Event::Topo { id: act, answer }));
        }
    }
}

/// The answer to a call that did nothing.
fn failed(fate: TopoFate) -> TopoAnswer {
    let (failure, retry_after_ms) = match fate {
        TopoFate::Throttled(retry_after_ms) => (TopoFailure::Throttled, retry_after_ms),
        _ => (TopoFailure::Away, None),
    };
    let reason = match failure {
        TopoFailure::Throttled => "slow down",
        TopoFailure::Away => "the connection was refused or broke",
    };
    TopoAnswer::Failed { reason: reason.to_owned(), failure, retry_after_ms }
}

fn describe(request: &TopoRequest) -> String {
    match request {
        TopoRequest::Read { keys } => format!("topo read {}", keys.join(" ")),
        TopoRequest::List { prefix } => format!("topo list {prefix}"),
        TopoRequest::Write { key, expected: Some(version), .. } => format!("topo swap {key} at {version}"),
        TopoRequest::Write { key, expected: None, .. } => format!("topo create {key}"),
        TopoRequest::Changes { cursor } => format!("topo changes since {}", cursor.as_deref().unwrap_or("now")),
    }
}

pub(super) fn tell_answer(answer: &TopoAnswer) -> String {
    match answer {
        TopoAnswer::Values(values) => {
            let versions: Vec<String> = values
                .iter()
                .map(|value| value.as_ref().map_or_else(|| "-".to_owned(), |value| value.version.to_string()))
                .collect();
            format!("values at {}", versions.join(" "))
        }
        TopoAnswer::Listed(entries) => format!("{} values", entries.len()),
        TopoAnswer::Swapped(Swap::Committed(version)) => format!("committed {version}"),
        TopoAnswer::Swapped(Swap::Mismatch { current }) => {
            let version = current.as_ref().map_or_else(|| "nothing".to_owned(), |current| current.version.to_string());
            format!("mismatch, {version} stands there")
        }
        TopoAnswer::Swapped(Swap::Indeterminate { reason }) => format!("indeterminate: {reason}"),
        TopoAnswer::Changed { keys, cursor } => format!("{} keys changed until {cursor}", keys.len()),
        TopoAnswer::Reset { cursor } => format!("reset to {cursor}"),
        TopoAnswer::Replaced { reason } => format!("replaced: {reason}"),
        TopoAnswer::Failed { reason, .. } => format!("failed: {reason}"),
    }
}
