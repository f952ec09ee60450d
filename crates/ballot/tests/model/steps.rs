//! What can happen next, and what comes of it.

use crate::operators::has_voted;
use crate::sabotage::Sabotage;
use crate::world::{Faults, League, Operator, State, Step, Stored};
use bytes::Bytes;
use hansa_ballot::proposer::{Act, Event};
use hansa_ballot::{Ballots, Proposer};
use hansa_ledger::Version;
use hansa_model::Hash;
use std::sync::Arc;

impl League {
    /// An operator whose next act is its own affair: it makes notes durable, or wakes. Nobody sees
    /// that, nor does it depend on what others do, so every run in which others go first ends as one in
    /// which it goes first (an ample set of a partial order reduction): nothing but this is tried. It
    /// may crash before, all the same, and it cannot go on like this for ever: notes are made durable when they
    /// promise more, and who has woken does not sleep again.
    pub fn first_to_go_on(&self, state: &State) -> Option<usize> {
        let is_own = |operator: &Arc<Operator>| matches!(operator.pending, Some(Act::Persist(_) | Act::Wake { .. }));
        state.operators.iter().position(is_own)
    }

    /// What can happen to one operator.
    pub fn steps_of(&self, state: &State, number: usize, steps: &mut Vec<Step>) {
        let Faults { answers, crashes, stale, repeats, .. } = state.faults;
        let operator = &state.operators[number];
        let Some(proposer) = &operator.proposer else {
            steps.push(Step::Restarted(number));
            return;
        };
        let is_write = matches!(operator.pending, Some(Act::Write { .. }));
        if operator.pending.is_some() {
            steps.push(Step::Done(number));
        } else if self.is_behind(state, number, proposer) {
            steps.push(Step::Notified(number));
        }
        if is_write && answers > 0 {
            steps.extend([Step::AnswerLost(number), Step::Dropped(number), Step::Late(number)]);
        }
        if is_write && repeats > 0 {
            steps.extend([Step::Repeated(number), Step::Retried(number)]);
        }
        if matches!(operator.pending, Some(Act::Read | Act::Write { .. })) && answers > 0 {
            steps.push(Step::Refused(number));
        }
        if matches!(operator.pending, Some(Act::Read)) && stale > 0 && !state.before.is_empty() {
            steps.push(Step::Stale(number));
        }
        if crashes > 0 && operator.pending.is_some() {
            steps.push(Step::Crashed(number));
            if is_write {
                steps.push(Step::CrashedAfter(number));
            }
        }
    }

    /// All that can happen.
    pub fn all_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for number in 0..state.operators.len() {
            self.steps_of(state, number, steps);
        }
        self.page_steps(state, steps);
        steps.extend((0..state.late.len()).map(Step::Arrives));
        if state.faults.rollbacks > 0 {
            steps.extend((0..state.before.len()).filter(|back| state.before[*back].is_some()).map(Step::RolledBack));
        }
    }

    /// Whether an operator that waits would be told something new.
    fn is_behind(&self, state: &State, number: usize, proposer: &Proposer<Ballots>) -> bool {
        let Some(stored) = &state.stored else { return false };
        let (ballots, member) = (&stored.opened.1, self.scenario.signers[number].member());
        let waits =
            proposer.motions().next().is_some() || ballots.open.keys().any(|key| !has_voted(ballots, member, key));
        if self.sabotage == Some(Sabotage::TellsNobody) {
            return false;
        }
        let heard = state.operators[number].heard.as_ref() == Some(&stored.version);
        waits && !heard && proposer.version() != Some(&stored.version)
    }

    /// Takes a step.
    pub fn take(&self, state: &mut State, step: Step) {
        match step {
            Step::Done(number) => match Arc::make_mut(&mut state.operators[number]).pending.take() {
                Some(Act::Read) => {
                    let found = state.stored.as_ref().map(Stored::versioned);
                    self.step(state, number, Event::Read(found));
                }
                Some(Act::Write { expected, value }) => {
                    if self.sabotage == Some(Sabotage::ActsBeforeItIsConfirmed) {
                        Sabotage::acts(&mut state.ghost, &value);
                    }
                    let answer = self.store(state, number, expected, value);
                    self.step(state, number, Event::Swapped(answer));
                }
                Some(Act::Persist(notes)) => {
                    Arc::make_mut(&mut state.operators[number]).durable = notes;
                    self.step(state, number, Event::Persisted);
                }
                Some(Act::Wake { .. }) => {
                    self.step(state, number, Event::Woke);
                    let sleeps = matches!(state.operators[number].pending, Some(Act::Wake { .. }));
                    assert!(!sleeps, "who has woken does something, or others would never be tried");
                }
                None => {}
            },
            Step::AnswerLost(number) => {
                if let Some((expected, value)) = take_write(state, number) {
                    self.store(state, number, expected, value);
                    self.lost(state, number);
                }
            }
            Step::Dropped(number) => {
                take_write(state, number);
                self.lost(state, number);
            }
            Step::Late(number) => {
                if let Some((expected, value)) = take_write(state, number) {
                    state.late.push((number, expected, value));
                    self.lost(state, number);
                }
            }
            Step::Repeated(number) => {
                state.faults.repeats -= 1;
                if let Some((expected, value)) = take_write(state, number) {
                    state.late.push((number, expected.clone(), value.clone()));
                    let answer = self.store(state, number, expected, value);
                    self.step(state, number, Event::Swapped(answer));
                }
            }
            Step::Retried(number) => {
                state.faults.repeats -= 1;
                if let Some((expected, value)) = take_write(state, number) {
                    self.store(state, number, expected.clone(), value.clone());
                    let answer = self.store(state, number, expected, value);
                    self.step(state, number, Event::Swapped(answer));
                }
            }
            Step::Refused(number) => {
                state.faults.answers -= 1;
                Arc::make_mut(&mut state.operators[number]).pending = None;
                self.step(state, number, Event::Failed);
            }
            Step::Stale(number) => {
                state.faults.stale -= 1;
                Arc::make_mut(&mut state.operators[number]).pending = None;
                let found = state.before.last().and_then(|old| old.as_ref().map(Stored::versioned));
                self.step(state, number, Event::Read(found));
            }
            Step::Notified(number) => {
                let stored = state.stored.as_ref().map(|stored| stored.version.clone());
                Arc::make_mut(&mut state.operators[number]).heard = stored;
                self.step(state, number, Event::Changed);
            }
            Step::Crashed(number) => self.crash(state, number),
            Step::CrashedAfter(number) => {
                if let Some((expected, value)) = take_write(state, number) {
                    self.store(state, number, expected, value);
                }
                self.crash(state, number);
            }
            Step::Restarted(number) => {
                let Operator { incarnation, reached, .. } = *state.operators[number];
                let durable = state.operators[number].durable.clone();
                let started = Operator { reached, ..self.start(number, incarnation + 1, durable) };
                state.operators[number] = Arc::new(started);
                self.begin(state, number);
            }
            Step::Arrives(index) => {
                let (number, mut expected, value) = state.late.remove(index);
                if self.sabotage == Some(Sabotage::TakesLateWrites) {
                    expected = state.stored.as_ref().map(|stored| stored.version.clone());
                }
                self.store(state, number, expected, value);
            }
            Step::RolledBack(back) => {
                state.faults.rollbacks -= 1;
                state.rolled_back = true;
                state.stored = state.before[back].clone();
                state.before.truncate(back);
            }
            Step::Decides(number) => self.decides_in_page(state, number),
            Step::Lands(writer) => self.lands_in_page(state, writer),
        }
    }

    fn crash(&self, state: &mut State, number: usize) {
        state.faults.crashes -= 1;
        let operator = Arc::make_mut(&mut state.operators[number]);
        (operator.proposer, operator.pending, operator.ticket) = (None, None, None);
        operator.digest = Hash::of_bytes(b"down");
    }
}

fn take_write(state: &mut State, number: usize) -> Option<(Option<Version>, Bytes)> {
    match Arc::make_mut(&mut state.operators[number]).pending.take() {
        Some(Act::Write { expected, value }) => Some((expected, value)),
        _ => None,
    }
}
