//! Agreement in three calls, for any program: [`decide`](Agreement::decide),
//! [`appoint`](Agreement::appoint), [`barrier`](Agreement::barrier).
//!
//! Processes that share a topology server, and nothing else, agree through one JSON object in it
//! ([`hansa_ballot`]); there is no leader and no server to run beside the store. Kubernetes is not
//! needed. Every voter has a name and an Ed25519 key; the first to come writes down who votes.
//!
//! ```
//! # use hansa_topo::agree::{Agreement, Options, Rule, Signer, Vote, founders};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let topo = hansa_topo::open("memory:orders", &Default::default()).await?;
//! let me = Signer::new("amsterdam".parse()?, [7; 32]);
//! let options = Options::new("orders", me.clone(), founders([(me.member().clone(), me.public())]));
//! let agreement = Agreement::open(topo, options).await?;
//! let decision = agreement.decide("primary", Vote::value(&"amsterdam")?, Rule::Quorum).await?;
//! assert_eq!(decision.value.unwrap().get(), r#""amsterdam""#);
//! # Ok(())
//! # }
//! ```
//!
//! - **Cancelled** by dropping the future. What was said already stays said.
//! - **Resumed after a crash** by calling again: a vote that was given stands in the object, and what
//!   was decided is answered at once. With [`Options::notes`] a restart also notices a store that was
//!   rolled back, and freezes; without, do not go on after restoring the store from a backup.
//! - **Never silent:** while a call waits, [`Agreement::waiting`] says on whom or on what, and so does
//!   the log, at every change.
//!
//! Runnable examples, each on a store inside the process: `cargo run -p hansa-topo --example decide`,
//! `appoint`, `barrier`.

mod appoint;
mod driver;
mod fence;
mod notes;

pub use appoint::Appointment;
pub use fence::FencedError;
pub use hansa_ballot::{Decision, Outcome, PublicKey, Rule, Signer, Voter, Voters};

use crate::contract::Topo;
use crate::error::TopoError;
use driver::{Command, Driver};
use hansa_ballot::motion::{Accept, Answer};
use hansa_ballot::proposer::Config;
use hansa_ballot::{
    Ballots, Document as _, Epoch, Key, Motion, Proposer, Rejected, Verifier, barriers, decide, explain,
};
use hansa_ledger::Envelope;
use hansa_model::{Hash, Incarnation, LeagueId, MemberName};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How to take part.
#[derive(Clone, Debug)]
pub struct Options {
    /// The key of the object in the topology server.
    pub key: String,
    /// What the object is called by in every signature: equal for all who take part, and another one
    /// for every other object that is signed with the same keys.
    pub league: LeagueId,
    /// This voter's name and key.
    pub signer: Signer,
    /// Tells this voter's body from a clone of it, as a cluster's or a machine's id does.
    pub uid: String,
    /// Who votes, if the object does not exist yet.
    pub founders: Voters,
    /// A file of this voter's own for what it must not forget.
    pub notes: Option<PathBuf>,
    /// A guess of the round trip to the topology server; what is measured replaces it.
    pub round_trip: Duration,
}

impl Options {
    /// Takes part in what is called `name`, among `founders` if it is the first.
    pub fn new(name: &str, signer: Signer, founders: Voters) -> Self {
        let uid = founders.set.get(signer.member()).map(|voter| voter.uid.clone()).unwrap_or_default();
        Options {
            key: "/v1/ballots".to_owned(),
            league: LeagueId(Hash::of_bytes(name.as_bytes())),
            signer,
            uid,
            founders,
            notes: None,
            round_trip: Duration::from_millis(20),
        }
    }
}

/// Voters by name and key, for programs whose voters have no other identity.
pub fn founders(voters: impl IntoIterator<Item = (MemberName, PublicKey)>) -> Voters {
    let voter = |(name, key): (MemberName, PublicKey)| (name, Voter { key, uid: String::new(), witness: false });
    Voters::found(voters.into_iter().map(voter).collect(), BTreeMap::new())
}

/// What a voter says to a question.
#[derive(Clone, Debug)]
pub struct Vote {
    value: Arc<RawValue>,
    accept: Accept,
    after: Epoch,
}

impl Vote {
    /// Proposes this value, if nobody has proposed one, and says yes to that of whoever was first:
    /// what matters is that all hold the same.
    ///
    /// # Errors
    /// When the value does not encode as JSON.
    pub fn value<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Vote { value: to_raw_value(value)?.into(), accept: Accept::Any, after: Epoch(0) })
    }

    /// Says yes to this value only, and no to every other.
    #[must_use]
    pub fn only(self) -> Self {
        Vote { accept: Accept::Equal, ..self }
    }

    /// Asks once more: decisions up to this one do not count.
    #[must_use]
    pub fn after(self, decision: &Decision) -> Self {
        Vote { after: decision.epoch, ..self }
    }
}

/// Why a call ended without what it was for.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// A key, a value or a file is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be, and why.
    #[error("{0}")]
    Refused(String),
    /// The topology server, at the start. Later failures are waited out, and shown in
    /// [`Agreement::waiting`].
    #[error("the topology server")]
    Topo(#[from] TopoError),
    /// The task that drives the agreement has ended.
    #[error("the agreement was closed")]
    Closed,
}

/// One voter's part in an agreement. Clones share it; it ends with the last one.
#[derive(Clone, Debug)]
pub struct Agreement {
    commands: mpsc::UnboundedSender<Command>,
    view: watch::Receiver<View>,
    options: Arc<Options>,
    /// This start of the voter.
    incarnation: Incarnation,
    topo: Arc<dyn Topo>,
    verifier: Verifier,
}

/// What is known, for those who wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    ballots: Option<Arc<Ballots>>,
    /// Why the last call did not happen.
    trouble: Option<String>,
    /// Why nothing is written.
    frozen: Option<String>,
    rejected: Vec<Rejected>,
}

impl Agreement {
    /// Takes part. Must be called within a tokio runtime, in which the agreement is driven until its
    /// last clone is dropped.
    ///
    /// # Errors
    /// When the topology server does not answer, the notes do not read, or the options are wrong.
    pub async fn open(topo: Arc<dyn Topo>, options: Options) -> Result<Self, AgreeError> {
        if let Some(fault) = options.founders.fault() {
            return Err(AgreeError::Invalid(fault));
        }
        let notes = notes::read(options.notes.as_deref()).await.map_err(AgreeError::Invalid)?;
        let verifier = Verifier::default();
        let incarnation = incarnation(&*topo, &options).await?;
        let proposer = Proposer::new(Config {
            league: options.league,
            signer: options.signer.clone(),
            uid: options.uid.clone(),
            incarnation,
            notes,
            round_trip_ms: u64::try_from(options.round_trip.as_millis()).unwrap_or(u64::MAX),
            founding: Some(Ballots::found(options.founders.clone(), 0)),
        })
        .with_verifier(verifier.clone());
        let (commands, received) = mpsc::unbounded_channel();
        let (sender, view) = watch::channel(View::default());
        let options = Arc::new(options);
        tokio::spawn(Driver::new(topo.clone(), options.clone(), proposer, sender).run(received));
        Ok(Agreement { commands, view, options, incarnation, topo, verifier })
    }

    /// Decides a key, once: all who ask get the same answer, also later and after a restart, as long as it
    /// is among the last 512 that were decided. An older one is forgotten, and asked anew. Returns the
    /// decision, adopted or rejected; a rejected one has the reasons of those who were against.
    ///
    /// # Errors
    /// When this process does not vote here, or the value is too large.
    pub async fn decide(&self, key: &str, vote: Vote, rule: Rule) -> Result<Decision, AgreeError> {
        let key = parse(key)?;
        let Vote { value, accept, after } = vote;
        let motion = Motion::Decide { key: key.clone(), after, value, rule, accept };
        match self.settle(&key, motion).await? {
            Answer::Decided(decision) => Ok(*decision),
            other => Err(unexpected(&other)),
        }
    }

    /// Becomes the one that holds `key`, under a term that nobody had before: waits until nobody else
    /// holds it, renews by itself, and stops early when it cannot. `ttl` is how long a renewal lasts; a
    /// holder that ends without a word is followed after a little more than that.
    ///
    /// # Errors
    /// When this process does not vote here.
    pub async fn appoint(&self, key: &str, ttl: Duration) -> Result<Appointment, AgreeError> {
        Appointment::win(self.clone(), parse(key)?, ttl).await
    }

    /// Says that this voter has finished `phase` of `key`, and waits until the next one may begin: when
    /// `count` voters, or (`None`) all that are not voted lost, have finished it. Phases begin with 0, and all
    /// voters give the same count.
    ///
    /// # Errors
    /// When the phases are not taken in order, another count was given before, 64 other barriers are in use
    /// ([`forget`](Agreement::forget) those that are done), or this process does not vote here.
    pub async fn barrier(&self, key: &str, phase: u32, count: Option<u32>) -> Result<(), AgreeError> {
        let key = parse(key)?;
        let hash = Hash::of_bytes(key.as_str().as_bytes());
        match self.settle(&key, Motion::Post { key: key.clone(), hash, phase, needs: count }).await? {
            Answer::Open => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes part in the barrier of `key` no more, after its last phase. Once all who posted in it have
    /// said so it is gone, and its key may be used again.
    ///
    /// # Errors
    /// When this process does not vote here.
    pub async fn forget(&self, key: &str) -> Result<(), AgreeError> {
        let key = parse(key)?;
        match self.settle(&key, Motion::Forget { key: key.clone() }).await? {
            Answer::Said => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// On whom, or on what, something about `key` waits; `None` when nothing is known to.
    pub fn waiting(&self, key: &str) -> Option<String> {
        let key = key.parse().ok()?;
        self.waits(&self.view.borrow(), &key)
    }

    /// The object as it was last read or written.
    pub fn document(&self) -> Option<Arc<Ballots>> {
        self.view.borrow().ballots.clone()
    }

    /// What in it does not count, and why: forged, copied, replayed, or written by who does not vote.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.view.borrow().rejected.clone()
    }

    /// Whether this process votes, as far as is known.
    fn votes(&self) -> bool {
        let (signer, uid) = (&self.options.signer, &self.options.uid);
        let place = self.document().map(|ballots| ballots.voters.place(signer.member(), uid, &signer.public()));
        place.is_none_or(|place| place == hansa_ballot::voters::Place::Voter)
    }

    fn waits(&self, view: &View, key: &Key) -> Option<String> {
        if let Some(trouble) = view.frozen.as_ref().or(view.trouble.as_ref()) {
            return Some(trouble.clone());
        }
        let ballots = view.ballots.as_ref()?;
        let tally = decide::tally(ballots, self.options.league, &self.verifier);
        if let Some(ballot) = explain::ballot(ballots, &tally, key) {
            return Some(ballot.to_string());
        }
        if let Some(barrier) = ballots.barriers.get(key) {
            let live = decide::live(ballots, &tally.cells);
            return barriers::waiting(key, barrier, &tally.cells, &live).map(|waiting| waiting.to_string());
        }
        let claim = ballots.appointments.claims.get(key)?;
        let (holder, term) = (claim.member.as_ref()?, claim.term);
        if holder != self.options.signer.member() {
            return Some(format!("{holder} holds it, under term {term}"));
        }
        // What an earlier start of this voter held, this one does not: that one may still run.
        let earlier = claim.incarnation != self.incarnation;
        earlier.then(|| format!("an earlier start of {holder} holds it, under term {term}, until its lease has ended"))
    }

    /// Hands a motion to the proposer without waiting for its answer.
    fn say(&self, motion: Motion) {
        // A closed agreement says nothing any more.
        let _ = self.commands.send(Command { motion, reply: None });
    }

    /// Hands a motion to the proposer, and waits for its answer, saying on whom.
    async fn settle(&self, key: &Key, motion: Motion) -> Result<Answer, AgreeError> {
        let (reply, mut answer) = oneshot::channel();
        self.commands.send(Command { motion, reply: Some(reply) }).map_err(|_| AgreeError::Closed)?;
        let mut view = self.view.clone();
        let mut waiting = Waiting::default();
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return match answer {
                    Ok(Answer::Refused(why)) => Err(AgreeError::Refused(why)),
                    Ok(answer) => Ok(answer),
                    Err(_) => Err(AgreeError::Closed),
                },
                changed = view.changed() => {
                    changed.map_err(|_| AgreeError::Closed)?;
                    waiting.on(key, self.waits(&view.borrow_and_update(), key));
                }
            }
        }
    }
}

/// What a call waits on, as far as the log says it.
#[derive(Default)]
struct Waiting(Option<String>);

impl Waiting {
    fn on(&mut self, key: &Key, waits: Option<String>) {
        if waits != self.0 {
            if let Some(waits) = &waits {
                tracing::info!(%key, "{waits}");
            }
            self.0 = waits;
        }
    }
}

fn parse(key: &str) -> Result<Key, AgreeError> {
    key.parse().map_err(|error: hansa_ballot::key::InvalidKey| AgreeError::Invalid(error.to_string()))
}

fn unexpected(answer: &Answer) -> AgreeError {
    AgreeError::Refused(format!("the proposer answered {answer:?}, which is not to this"))
}

/// A start of this process that comes after every earlier one, whatever the clock says.
async fn incarnation(topo: &dyn Topo, options: &Options) -> Result<Incarnation, AgreeError> {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
    let found = topo.get(&options.key).await?;
    let earlier = found.and_then(|found| {
        let (envelope, body) = Envelope::open(&found.value).ok()?;
        let ballots = Ballots::read(&body).ok()?;
        let member = options.signer.member();
        let cell = ballots.slot(member).and_then(|slot| Some(slot.cell().ok()?.incarnation));
        let written = envelope.operations.get(member).map(|operation| operation.incarnation);
        cell.max(written)
    });
    Ok(Incarnation(now.max(earlier.map_or(0, |earlier| earlier.0.saturating_add(1)))))
}
