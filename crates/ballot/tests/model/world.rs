//! The world of the model: operators, one register with its faults, and every step that can be next.

use crate::judge::{self, Ghost};
use crate::operators::has_voted;
use crate::sabotage::Sabotage;
use crate::scenarios::Scenario;
use bytes::Bytes;
use hansa_ballot::proposer::{Act, Event, Notes, Ticket};
use hansa_ballot::{Ballots, Document, Outcome, Proposer, Verifier};
use hansa_ledger::{Envelope, Swap, Version, Versioned};
use hansa_model::{Hash, MemberName};
use stateright::{Model, Property};
use std::hash::{Hash as StdHash, Hasher};
use std::sync::Arc;

/// How many faults of each kind a run may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Faults {
    /// Answers lost, writes dropped or late.
    pub answers: u8,
    /// Processes that end, at any step.
    pub crashes: u8,
    /// Reads that are answered from before.
    pub stale: u8,
    /// Times that the store goes back.
    pub rollbacks: u8,
}

/// Interesting ends that have to be reached, so that the model shows something.
pub const REACHED: [&str; 4] = ["adopted", "rejected", "superseded", "frozen"];

pub struct League {
    pub scenario: Scenario,
    pub faults: Faults,
    pub sabotage: Option<Sabotage>,
    pub verifier: Verifier,
}

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The act of an operator that is under way is done, and answered.
    Done(usize),
    /// Its write is stored, the answer lost.
    AnswerLost(usize),
    /// Its write is lost.
    Dropped(usize),
    /// Its write will arrive later; the answer is lost.
    Late(usize),
    /// Its call does not happen, and it is told so.
    Refused(usize),
    /// Its read shows what stood there before.
    Stale(usize),
    /// It hears that the key has changed.
    Notified(usize),
    /// It ends; its write, if one is under way, is not stored.
    Crashed(usize),
    /// It ends, and its write is stored.
    CrashedAfter(usize),
    /// It begins again.
    Restarted(usize),
    /// A late write arrives.
    Arrives(usize),
    /// The store shows what stood there this many writes ago.
    RolledBack(usize),
}

#[derive(Clone, Debug)]
pub struct Operator {
    pub proposer: Option<Proposer<Ballots>>,
    pub pending: Option<Act>,
    pub durable: Notes,
    pub incarnation: u64,
    /// How many goals of its script it has reached.
    pub reached: usize,
    /// The last change that it was told of; each is told once.
    pub heard: Option<Version>,
    /// What its goal is called by at its proposer.
    pub ticket: Option<Ticket>,
    /// The digest of the proposer, kept: it is asked for often.
    pub digest: Hash,
}

/// What stands in the store.
#[derive(Clone, Debug)]
pub struct Stored {
    version: Version,
    value: Bytes,
    opened: Arc<(Envelope, Ballots)>,
    digest: Hash,
}

impl Stored {
    fn new(version: Version, value: Bytes) -> Self {
        let (opened, digest) = (Arc::new(open(&value)), Hash::of_bytes(&value));
        Stored { version, value, opened, digest }
    }

    fn versioned(&self) -> Versioned {
        Versioned { version: self.version.clone(), value: self.value.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct State {
    pub operators: Vec<Arc<Operator>>,
    pub stored: Option<Stored>,
    pub before: Vec<Option<Stored>>,
    late: Vec<(usize, Option<Version>, Bytes)>,
    faults: Faults,
    pub ghost: Ghost,
    pub rolled_back: bool,
    versions: u64,
    digest: u64,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl StdHash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest.hash(hasher);
    }
}

impl State {
    fn seal(mut self) -> Self {
        let mut out = format!("{:?}{:?}{}/{}", self.faults, self.ghost, self.rolled_back, self.versions);
        for (number, expected, value) in &self.late {
            out.push_str(&format!("{number}{expected:?}{:?}", Hash::of_bytes(value)));
        }
        for stored in std::iter::once(&self.stored).chain(&self.before) {
            out.push_str(&format!("{:?}", stored.as_ref().map(|stored| (&stored.version, stored.digest))));
        }
        for operator in &self.operators {
            let pending = match &operator.pending {
                Some(Act::Wake { .. }) => "wake".to_owned(),
                Some(Act::Write { expected, value }) => format!("{expected:?}{:?}", Hash::of_bytes(value)),
                other => format!("{other:?}"),
            };
            let Operator { durable, incarnation, reached, heard, digest, .. } = &**operator;
            out.push_str(&format!("{digest:?}{pending}{durable:?}{incarnation}{reached}{heard:?}"));
        }
        let digest = Hash::of_bytes(out.as_bytes());
        self.digest = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight bytes"));
        self
    }

    /// Who is at work as far as the stored document knows.
    pub fn live(&self, league: &League) -> Vec<usize> {
        let Some(ballots) = self.ballots() else { return (0..self.operators.len()).collect() };
        let tally = hansa_ballot::decide::tally(ballots, league.scenario.league, &league.verifier);
        let live = hansa_ballot::decide::live(ballots, &tally.cells);
        (0..self.operators.len()).filter(|number| live.contains(league.scenario.signers[*number].member())).collect()
    }

    fn ballots(&self) -> Option<&Ballots> {
        self.stored.as_ref().map(|stored| &stored.opened.1)
    }
}

pub fn open(value: &Bytes) -> (Envelope, Ballots) {
    let (envelope, body) = Envelope::open(value).expect("operators write envelopes");
    (envelope, Ballots::read(&body).expect("operators write ballots"))
}

impl League {
    pub fn new(scenario: Scenario, faults: Faults, sabotage: Option<Sabotage>) -> Self {
        League { scenario, faults, sabotage, verifier: Verifier::default() }
    }

    /// Whether this model is to reach an end.
    pub fn expects(&self, reached: &str) -> bool {
        self.scenario.reaches.contains(&reached) || (reached == "frozen" && self.faults.rollbacks > 0)
    }

    /// Stores a write if it names what stands there. The answer that its writer would get.
    fn store(&self, state: &mut State, number: usize, expected: Option<Version>, value: Bytes) -> Swap {
        let current = state.stored.clone();
        let blind = self.sabotage == Some(Sabotage::WritesBlindly) && number == 0;
        if expected.as_ref() != current.as_ref().map(|current| &current.version) && !blind {
            return Swap::Mismatch { current: current.as_ref().map(Stored::versioned) };
        }
        let before = current.as_ref().map(|current| &*current.opened);
        let value = match self.sabotage {
            Some(sabotage) => sabotage.writes(&self.scenario, number, before.map(|(_, ballots)| ballots), value),
            None => value,
        };
        // A version never comes back, as the contract of every store says, also after a restore: a handle
        // notices a store that was replaced.
        state.versions += 1;
        let version = Version::new(state.versions.to_string());
        let writer: &MemberName = self.scenario.signers[number].member();
        let stored = Stored::new(version.clone(), value);
        state.ghost.stored(before, &stored.opened, writer);
        state.before.push(state.stored.replace(stored));
        if state.before.len() > 2 {
            state.before.remove(0);
        }
        if self.faults.rollbacks == 0 && self.faults.stale == 0 {
            state.before.clear();
        }
        Swap::Committed(version)
    }

    fn lost(&self, state: &mut State, number: usize) {
        state.faults.answers -= 1;
        self.step(state, number, Event::Swapped(Swap::Indeterminate { reason: "reset".into() }));
    }
}

impl Model for League {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let operators =
            (0..self.scenario.signers.len()).map(|number| Arc::new(self.start(number, 1, Notes::default())));
        let founded = self.scenario.founded.then(|| {
            let envelope = Envelope::first(self.scenario.league, self.scenario.founding.era, 1);
            Stored::new(Version::new("1"), envelope.seal(&self.scenario.founding.write()))
        });
        let mut state = State {
            operators: operators.collect(),
            stored: founded,
            before: Vec::new(),
            late: Vec::new(),
            faults: self.faults,
            ghost: Ghost::default(),
            rolled_back: false,
            versions: 1,
            digest: 0,
        };
        for number in 0..state.operators.len() {
            self.begin(&mut state, number);
        }
        vec![state.seal()]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.ghost.broken.is_some() {
            return;
        }
        let Faults { answers, crashes, stale, rollbacks } = state.faults;
        for (number, operator) in state.operators.iter().enumerate() {
            let Some(proposer) = &operator.proposer else {
                steps.push(Step::Restarted(number));
                continue;
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
        steps.extend((0..state.late.len()).map(Step::Arrives));
        if rollbacks > 0 {
            steps.extend((0..state.before.len()).filter(|back| state.before[*back].is_some()).map(Step::RolledBack));
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        self.take(&mut state, step);
        Some(state.seal())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! always {
            ($($rule:ident),*) => {
                vec![$(Property::always(judge::$rule, |_: &League, state: &State| state.ghost.broken != Some(judge::$rule))),*]
            };
        }
        let mut properties =
            always!(ONCE, NEVER_RETRACTED, CERTIFIED, RISES, KEPT, OWN, VOTE_STAYS, TOGETHER, MEET, EXPIRED, ONE_TERM);
        properties.push(Property::always(judge::LIVE, |league: &League, state: &State| league.ends(state)));
        properties.push(Property::sometimes("adopted", |_, state: &State| closed(state, Outcome::Adopted)));
        properties.push(Property::sometimes("rejected", |_, state: &State| closed(state, Outcome::Rejected)));
        properties.push(Property::sometimes("superseded", |_, state: &State| closed(state, Outcome::Superseded)));
        properties.push(Property::sometimes("frozen", |_, state: &State| {
            state.operators.iter().any(|operator| operator.proposer.as_ref().is_some_and(|one| one.frozen().is_some()))
        }));
        properties
    }
}

fn closed(state: &State, outcome: Outcome) -> bool {
    let Some(ballots) = state.ballots() else { return false };
    ballots.decisions.values().chain(ballots.refused.values()).any(|decision| decision.outcome == outcome)
}

impl League {
    /// Whether an operator that waits would be told something new.
    fn is_behind(&self, state: &State, number: usize, proposer: &Proposer<Ballots>) -> bool {
        let Some(stored) = &state.stored else { return false };
        let (ballots, member) = (&stored.opened.1, self.scenario.signers[number].member());
        let waits =
            proposer.motions().next().is_some() || ballots.open.keys().any(|key| !has_voted(ballots, member, key));
        let heard = state.operators[number].heard.as_ref() == Some(&stored.version);
        waits && !heard && proposer.version() != Some(&stored.version)
    }

    fn take(&self, state: &mut State, step: Step) {
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
                Some(Act::Wake { .. }) => self.step(state, number, Event::Woke),
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
                let (number, expected, value) = state.late.remove(index);
                self.store(state, number, expected, value);
            }
            Step::RolledBack(back) => {
                state.faults.rollbacks -= 1;
                state.rolled_back = true;
                state.stored = state.before[back].clone();
                state.before.truncate(back);
            }
        }
    }

    fn crash(&self, state: &mut State, number: usize) {
        state.faults.crashes -= 1;
        let operator = Arc::make_mut(&mut state.operators[number]);
        (operator.proposer, operator.pending, operator.ticket) = (None, None, None);
        operator.digest = Hash::of_bytes(b"down");
    }

    /// Whether all scripts end when everybody goes on in turn, without further faults. Asked of one
    /// state in 16: it walks a whole run. After a rollback, freezing is the end; and a store that answers a
    /// read from before has told of a change that the read did not show, which is the end of its promises.
    fn ends(&self, state: &State) -> bool {
        let is_stale = state.faults.stale < self.faults.stale;
        if state.rolled_back || is_stale || state.ghost.broken.is_some() || !state.digest.is_multiple_of(16) {
            return true;
        }
        let mut state = state.clone();
        for _ in 0..400 {
            let mut steps = Vec::new();
            state.faults = Faults { answers: 0, crashes: 0, stale: 0, rollbacks: 0 };
            self.actions(&state, &mut steps);
            if steps.is_empty() {
                break;
            }
            for step in steps {
                let still = match step {
                    Step::Done(number) => state.operators[number].pending.is_some(),
                    Step::Arrives(index) => index < state.late.len(),
                    _ => true,
                };
                if still {
                    self.take(&mut state, step);
                }
            }
        }
        let scripts = state.operators.iter().zip(&self.scenario.scripts);
        scripts.into_iter().all(|(operator, script)| operator.reached >= script.len())
    }
}

fn take_write(state: &mut State, number: usize) -> Option<(Option<Version>, Bytes)> {
    match Arc::make_mut(&mut state.operators[number]).pending.take() {
        Some(Act::Write { expected, value }) => Some((expected, value)),
        _ => None,
    }
}
