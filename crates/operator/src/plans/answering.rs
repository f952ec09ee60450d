//! Each operator that sees a plan: one plan after another, one object after another, one request to
//! the API server at a time. The real work goes on beside it.

use super::PlanCall;
use super::course::{Course, Falling};
use super::trial::{Next, Trial};
use crate::classify::{Refusal, classify};
use crate::io::{ApiAnswer, Level, TopoRequest};
use crate::machine::{Operator, Purpose, Timer};
use crate::topology::TopoCall;
use crate::writer::{Own, Pen, Writer};
use hansa_ledger::plan::{PLAN_FORMAT, Plan, Word, Words};
use hansa_ledger::{OperationId, Swap, keys};
use hansa_model::MemberName;
use std::collections::BTreeMap;

/// How many objects one step looks at.
const OBJECTS_PER_STEP: usize = 8;

/// How often a word is written on whatever stands there.
const TRIES: u32 = 4;

/// Plans that were seen here.
#[derive(Debug, Default)]
pub(super) struct Answering {
    /// Not looked at yet, by slot.
    seen: BTreeMap<u32, Plan>,
    run: Option<Run>,
    says: BTreeMap<u32, Say>,
    /// The last plan of each slot that was looked at.
    last: BTreeMap<u32, (MemberName, OperationId)>,
}

/// The plan that is looked at.
#[derive(Debug)]
struct Run {
    slot: u32,
    plan: Plan,
    words: Vec<Word>,
    falling: Falling,
    /// The request of it is under way.
    trial: Option<Trial>,
}

/// This member's word in a slot.
#[derive(Debug)]
struct Say {
    writer: Writer,
    /// What is to be written next, and how often that was tried.
    unwritten: Option<(Words, u32)>,
    flight: Option<(Words, u32)>,
}

impl Answering {
    pub fn is_idle(&self) -> bool {
        self.seen.is_empty() && self.run.is_none() && self.says.values().all(|say| say.unwritten.is_none())
    }

    /// What was called is not answered any more: it is said again on what stands there.
    pub fn begin_anew(&mut self) {
        for say in self.says.values_mut() {
            say.writer.begin_anew();
            say.unwritten = say.unwritten.take().or(say.flight.take());
        }
    }

    pub fn repeated(&mut self, slot: u32) -> Option<TopoRequest> {
        self.says.get_mut(&slot)?.writer.repeated()
    }
}

impl Operator {
    /// A plan as it stands in its slot.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn plan_seen(&mut self, slot: u32, body: &[u8]) -> Result<(), String> {
        if self.league.is_some() {
            self.plans.answering.seen.insert(slot, Plan::from_slice(body)?);
        }
        Ok(())
    }

    pub(super) fn continue_answering(&mut self) {
        for _ in 0..OBJECTS_PER_STEP {
            if self.plans.answering.run.is_none() {
                let Some((slot, plan)) = self.plans.answering.seen.pop_first() else { return self.say_all() };
                self.begin_plan(slot, plan);
                continue;
            }
            if !self.look_at_next_object() {
                return self.say_all();
            }
        }
        self.say_all();
        self.at(self.now.monotonic_ms, Timer::Continue);
    }

    fn begin_plan(&mut self, slot: u32, plan: Plan) {
        let is_member =
            |name: &MemberName| self.league.as_ref().is_some_and(|league| league.spec.member(name).is_some());
        let known = self.plans.answering.last.get(&slot).is_some_and(|(author, id)| plan.is(author, *id));
        if plan.objects.is_empty() || known || !is_member(&plan.author) || !is_member(&self.config.member) {
            return;
        }
        let message =
            format!("{} asks what would become of {} objects (plan in slot {slot})", plan.author, plan.objects.len());
        self.log(Level::Debug, None, message);
        self.plans.answering.last.insert(slot, (plan.author.clone(), plan.id));
        self.plans.answering.run =
            Some(Run { slot, plan, words: Vec::new(), falling: Falling::default(), trial: None });
    }

    /// Goes on with the plan that is looked at; false when it waits for an answer.
    fn look_at_next_object(&mut self) -> bool {
        let Some(mut run) = self.plans.answering.run.take() else { return false };
        if run.trial.is_some() {
            self.plans.answering.run = Some(run);
            return false;
        }
        let Some(planned) = run.plan.objects.get(run.words.len()) else {
            self.plan_answered(run);
            return true;
        };
        let goes_on = match self.course(&run.plan, planned, &mut run.falling) {
            Course::Said(word) => {
                run.words.push(word);
                true
            }
            Course::Try(trial) => {
                self.api(Purpose::Plan, trial.request());
                run.trial = Some(*trial);
                false
            }
            Course::Waits => false,
        };
        self.plans.answering.run = Some(run);
        goes_on
    }

    /// What the API server answered to a dry run.
    pub(crate) fn trial_answered(&mut self, answer: Result<ApiAnswer, String>) {
        let Some(run) = self.plans.answering.run.as_mut() else { return };
        let Some(trial) = run.trial.take() else { return };
        let outcome = match answer {
            Ok(answer) if answer.status < 300 => serde_json::from_slice(&answer.body)
                .map_err(|error| Refusal::Transient(format!("the answer does not read: {error}"))),
            Ok(answer) => Err(classify(answer.status, &answer.body)),
            Err(reason) => Err(Refusal::Transient(reason)),
        };
        match trial.answered(outcome) {
            Next::Said(word) => run.words.push(word),
            Next::Again(trial) => {
                let request = trial.request();
                run.trial = Some(trial);
                self.api(Purpose::Plan, request);
            }
        }
    }

    /// The whole plan was looked at.
    fn plan_answered(&mut self, run: Run) {
        let Run { slot, plan, words, .. } = run;
        let words = Words { format: PLAN_FORMAT, author: plan.author, id: plan.id, words };
        if words.author == self.config.member {
            return self.words_heard(slot, self.config.member.clone(), words);
        }
        let key = keys::plan_words(slot, &self.config.member);
        let say = self.plans.answering.says.entry(slot);
        let say = say.or_insert_with(|| Say { writer: Writer::new(key), unwritten: None, flight: None });
        say.unwritten = Some((words, 0));
    }

    fn say_all(&mut self) {
        let says = self.plans.answering.says.iter();
        let ready = says.filter(|(_, say)| say.unwritten.is_some() && !say.writer.is_busy());
        let ready: Vec<u32> = ready.map(|(slot, _)| *slot).collect();
        for slot in ready {
            let Some((league, era, operation, nonce)) = self.pen_parts() else { return };
            let member = self.config.member.clone();
            let Some(say) = self.plans.answering.says.get_mut(&slot) else { continue };
            let Some((words, tries)) = say.unwritten.take() else { continue };
            let body = serde_json::to_vec(&words).expect("words always encode into memory");
            let request = say.writer.begin(Pen { league, era, member: &member, operation, nonce }, &body);
            say.flight = Some((words, tries + 1));
            self.call_for_plan(PlanCall::Say(slot), request);
        }
    }

    pub(super) fn words_written(&mut self, slot: u32, swap: Swap) {
        let member = self.config.member.clone();
        let (league, wall_ms) = (self.league.as_ref().map(|league| league.id), self.now.wall_ms);
        let Some(say) = self.plans.answering.says.get_mut(&slot) else { return };
        let settled = say.writer.settle_own(&member, swap, league, wall_ms);
        if let Own::Repeat { reason } = &settled {
            return self.repeat_later(TopoCall::Plan(PlanCall::Say(slot)), reason);
        }
        let flight = say.flight.take();
        match settled {
            Own::Committed | Own::Repeat { .. } => {}
            Own::Foreign(error) => self.misfit(&keys::plan_words(slot, &member), &error),
            // What stood there was about an earlier plan, or is nothing that can be read.
            Own::Found(_) | Own::Unreadable(_) | Own::Gone => {
                let again = flight.filter(|(_, tries)| *tries < TRIES);
                say.unwritten = say.unwritten.take().or(again);
            }
        }
    }
}
