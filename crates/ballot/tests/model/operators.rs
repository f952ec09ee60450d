//! The operators of the model: their processes, their scripts, and what they act on.

use crate::sabotage::Sabotage;
use crate::scenarios::Goal;
use crate::world::{League, Operator, State};
use hansa_ballot::motion::Answer;
use hansa_ballot::proposer::{Config, Event, Notes, Told};
use hansa_ballot::{Ballots, Epoch, Key, Motion, Proposer, Verdict};
use hansa_model::{Incarnation, MemberName};
use std::sync::Arc;

impl League {
    pub fn start(&self, number: usize, incarnation: u64, durable: Notes) -> Operator {
        let blank = self.sabotage == Some(Sabotage::ForgetsItsNotes);
        let config = Config {
            league: self.scenario.league,
            signer: self.scenario.signers[number].clone(),
            uid: format!("uid-{number}"),
            incarnation: Incarnation(incarnation),
            notes: if blank { Notes::default() } else { durable.clone() },
            round_trip_ms: 1,
            founding: Some(self.scenario.founding.clone()),
        };
        let proposer = Proposer::new(config).with_verifier(self.verifier.clone());
        let digest = proposer.digest();
        Operator {
            proposer: Some(proposer),
            pending: None,
            durable,
            incarnation,
            reached: 0,
            heard: None,
            ticket: None,
            digest,
        }
    }

    /// Begins an operator's script, or the next goal of it.
    pub fn begin(&self, state: &mut State, number: usize) {
        let operator = Arc::make_mut(&mut state.operators[number]);
        self.want(operator, number);
        self.step(state, number, Event::Wanted);
    }

    fn want(&self, operator: &mut Operator, number: usize) {
        let goal = self.scenario.scripts[number].get(operator.reached);
        if let (Some(goal), Some(proposer)) = (goal, &mut operator.proposer) {
            operator.ticket = Some(proposer.want(goal.motion(proposer.document())));
            operator.digest = proposer.digest();
        }
    }

    /// Gives an event to an operator, and takes note of what it says.
    pub fn step(&self, state: &mut State, number: usize, event: Event) {
        let operator = Arc::make_mut(&mut state.operators[number]);
        let Some(proposer) = &mut operator.proposer else { return };
        let entropy = u64::from_le_bytes(operator.digest.as_bytes()[..8].try_into().expect("eight bytes"));
        let mut acts = proposer.step(event, 0, entropy);
        assert!(acts.len() <= 1, "one act at a time: {acts:?}");
        operator.pending = acts.pop();
        operator.digest = proposer.digest();
        let told = proposer.told();
        for told in told {
            self.told(state, number, told);
        }
        self.proposed(state, number);
        self.attend(state, number);
    }

    /// Who has nothing more to want still votes, for whatever is open.
    fn attend(&self, state: &mut State, number: usize) {
        let operator = Arc::make_mut(&mut state.operators[number]);
        let Some(proposer) = &mut operator.proposer else { return };
        let member = self.scenario.signers[number].member();
        let is_done = operator.reached >= self.scenario.scripts[number].len();
        if !is_done || operator.pending.is_some() || proposer.motions().next().is_some() {
            return;
        }
        let Some(known) = proposer.document() else { return };
        let unvoted = known.open.iter().find(|(key, _)| !has_voted(known, member, key));
        if let Some((key, candidate)) = unvoted {
            let (key, epoch) = (key.clone(), candidate.epoch);
            proposer.want(Motion::Vote { key, epoch, verdict: Verdict::Yes, reason: None });
            self.step(state, number, Event::Wanted);
        }
    }

    /// Goes on from a goal that is reached when its candidate stands.
    fn proposed(&self, state: &mut State, number: usize) {
        let operator = Arc::make_mut(&mut state.operators[number]);
        let Some(Goal::Propose { key, .. }) = self.scenario.scripts[number].get(operator.reached) else { return };
        let Some(proposer) = &mut operator.proposer else { return };
        let stands =
            proposer.document().is_some_and(|known| known.open.contains_key(key) || known.decided(key) > Epoch(0));
        if stands && let Some(ticket) = operator.ticket.take() {
            proposer.cancel(ticket);
            operator.reached += 1;
            self.want(operator, number);
            if operator.pending.is_none() {
                self.step(state, number, Event::Wanted);
            }
        }
    }

    fn told(&self, state: &mut State, number: usize, told: Told) {
        let Told::Answer(_, answer) = told else { return };
        let script = &self.scenario.scripts[number];
        let reached = state.operators[number].reached;
        let goal = script.get(reached);
        let done = match (&answer, goal) {
            (Answer::Decided(decision), Some(goal)) => {
                state.ghost.acts(goal.key(), decision.epoch, decision.outcome, decision.hash);
                true
            }
            (Answer::Open, Some(Goal::Phase { phase, .. })) => {
                let live = state.live(self);
                state.ghost.begins(number, phase + 1, &live);
                true
            }
            (Answer::Term(term), Some(goal)) => {
                state.ghost.holds(goal.key(), *term, number);
                true
            }
            (Answer::Said | Answer::Refused(_), Some(goal)) => goal.is_said(),
            _ => false,
        };
        if done {
            let operator = Arc::make_mut(&mut state.operators[number]);
            operator.reached = reached + 1;
            self.want(operator, number);
            if operator.pending.is_none() {
                self.step(state, number, Event::Wanted);
            }
        }
    }
}

pub fn has_voted(ballots: &Ballots, member: &MemberName, key: &Key) -> bool {
    let cell = ballots.cells.get(member).and_then(|slot| slot.cell().ok());
    let vote = cell.and_then(|cell| cell.votes.get(key));
    !ballots.voters.set.contains_key(member)
        || vote.is_some_and(|vote| ballots.open.get(key).is_some_and(|open| open.epoch == vote.epoch))
}
