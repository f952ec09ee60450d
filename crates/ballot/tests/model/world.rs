//! The world of the model: operators, one register with its faults, and every step that can be next.

use crate::judge::{self, Ghost};
use crate::liveness::Ended;
use crate::pages::PageWorld;
use crate::sabotage::Sabotage;
use crate::scenarios::Scenario;
use bytes::Bytes;
use hansa_ballot::proposer::{Act, Event, Notes, Ticket};
use hansa_ballot::{Ballots, Document, Outcome, Proposer, Verifier};
use hansa_ledger::{Envelope, Swap, Version, Versioned};
use hansa_model::{Hash, MemberName};
use stateright::{Model, Property};
use std::fmt;
use std::hash::{Hash as StdHash, Hasher};
use std::sync::Arc;

/// How many faults of each kind a run may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Faults {
    /// Answers lost, writes dropped or late.
    pub answers: u8,
    /// Processes that end, at any step.
    pub crashes: u8,
    /// Reads that are answered from before.
    pub stale: u8,
    /// Times that the store goes back.
    pub rollbacks: u8,
    /// Writes that arrive twice.
    pub repeats: u8,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { answers, crashes, stale, rollbacks, repeats } = self;
        let counts = [
            (answers, "lost answer"),
            (crashes, "crash"),
            (stale, "stale read"),
            (rollbacks, "rollback"),
            (repeats, "repeated write"),
        ];
        let counts = counts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

/// Interesting ends that have to be reached, so that the model shows something.
pub const REACHED: [&str; 5] = ["adopted", "rejected", "superseded", "frozen", "refused in a page"];

pub struct League {
    pub scenario: Scenario,
    pub faults: Faults,
    pub sabotage: Option<Sabotage>,
    pub verifier: Verifier,
    pub ended: Ended,
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
    /// Its write is stored and answered, and the same arrives once more later.
    Repeated(usize),
    /// Its write arrives twice at once, and the second is what is answered.
    Retried(usize),
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
    /// It decides in the page that it takes itself to be appointed to.
    Decides(usize),
    /// A decision of this writer comes to the page.
    Lands(usize),
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
    pub version: Version,
    pub value: Bytes,
    pub opened: Arc<(Envelope, Ballots)>,
    digest: Hash,
}

impl Stored {
    pub fn new(version: Version, value: Bytes) -> Self {
        let (opened, digest) = (Arc::new(open(&value)), Hash::of_bytes(&value));
        Stored { version, value, opened, digest }
    }

    pub fn versioned(&self) -> Versioned {
        Versioned { version: self.version.clone(), value: self.value.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct State {
    pub operators: Vec<Arc<Operator>>,
    pub stored: Option<Stored>,
    pub before: Vec<Option<Stored>>,
    pub late: Vec<(usize, Option<Version>, Bytes)>,
    pub faults: Faults,
    pub page: PageWorld,
    pub ghost: Ghost,
    pub rolled_back: bool,
    pub versions: u64,
    pub digest: u64,
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
    /// The same, with its digest.
    pub fn seal(mut self) -> Self {
        let own = (&self.faults, &self.ghost, &self.page, self.rolled_back, self.versions);
        let mut out = format!("{own:?}");
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

    pub fn ballots(&self) -> Option<&Ballots> {
        self.stored.as_ref().map(|stored| &stored.opened.1)
    }
}

pub fn open(value: &Bytes) -> (Envelope, Ballots) {
    let (envelope, body) = Envelope::open(value).expect("operators write envelopes");
    (envelope, Ballots::read(&body).expect("operators write ballots"))
}

impl League {
    pub fn new(scenario: Scenario, faults: Faults, sabotage: Option<Sabotage>) -> Self {
        League { scenario, faults, sabotage, verifier: Verifier::default(), ended: Ended::default() }
    }

    /// Whether this model is to reach an end.
    pub fn expects(&self, reached: &str) -> bool {
        self.scenario.reaches.contains(&reached) || (reached == "frozen" && self.faults.rollbacks > 0)
    }

    /// Stores a write if it names what stands there. The answer that its writer would get.
    pub fn store(&self, state: &mut State, number: usize, expected: Option<Version>, value: Bytes) -> Swap {
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

    pub fn lost(&self, state: &mut State, number: usize) {
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
            page: PageWorld::new(&self.scenario),
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
        if state.ghost.is_over(self.sabotage) {
            return;
        }
        match self.first_to_go_on(state) {
            Some(number) => self.steps_of(state, number, steps),
            None => self.all_steps(state, steps),
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
                vec![$(Property::always(judge::$rule, |_: &League, state: &State| !state.ghost.broken.contains(judge::$rule))),*]
            };
        }
        let mut properties = always!(
            ONCE,
            NEVER_RETRACTED,
            CERTIFIED,
            RISES,
            KEPT,
            OWN,
            VOTE_STAYS,
            TOGETHER,
            MEET,
            EXPIRED,
            ONE_TERM,
            ONE_WRITER
        );
        properties.push(Property::always(judge::LIVE, |league: &League, state: &State| {
            !state.ghost.broken.is_empty() || league.ends(state)
        }));
        properties.push(Property::sometimes("adopted", |_, state: &State| closed(state, Outcome::Adopted)));
        properties.push(Property::sometimes("rejected", |_, state: &State| closed(state, Outcome::Rejected)));
        properties.push(Property::sometimes("superseded", |_, state: &State| closed(state, Outcome::Superseded)));
        properties.push(Property::sometimes("refused in a page", |_, state: &State| state.page.refused));
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
