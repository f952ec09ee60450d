//! One read or write of one register: the proposer.
//!
//! It goes through phases: *reading* (what do the copies say; often that is the answer),
//! *preparing* (a quorum promises a ballot), *accepting* (a quorum accepts a value), with *looking
//! up* the set of stores where a register is made or said to be missing, and *waiting* after
//! another proposer came in between. In each phase a store is asked for what its copy still lacks,
//! one request at a time, and a phase ends when a quorum has it. A store that answers late is still
//! brought to where the others are.

mod seat;
mod waits;

use super::acceptor::{Proposal, Refusal, accept, promise};
use super::ballot::{Ballot, Ballots};
use super::copy::{Accepted, Content, Copy, State};
use super::store_set::{SET_KEY, StoreId, StoreSet};
use crate::store::Version;
use hansa_model::Hash;
use seat::{Errand, Known, Seat, Sent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
pub use waits::Waits;

/// What an operation is to do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// Say what the register holds.
    Read,
    /// Replace what it holds, if that is at `expected`.
    Write {
        /// The version that must stand there; `None`: the register must not hold anything.
        expected: Option<Version>,
        /// The value to write.
        content: Content,
        /// Names this write: no other write of any process has the same.
        id: Box<str>,
    },
    /// Write what it holds again, under the present set of stores.
    Rewrite,
}

/// What to send to a store about the register.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// Read the copy.
    Read,
    /// Put this copy there, if the store's version is still `expected`.
    Write {
        /// The store's version; `None`: no copy must be there.
        expected: Option<Version>,
        /// The next copy.
        copy: Copy,
    },
    /// Read the epoch of the set of stores, from the store's copy of the set's own register.
    ReadSet,
    /// Make sure that the blob of this hash is there.
    PutBlob(Hash),
}

/// What a store answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Reply {
    /// This copy stands there, at the store's version: to a read, and to a write that found another
    /// version.
    Copy(Option<(Version, Copy)>),
    /// The copy was written; this is the store's version of it.
    Written(Version),
    /// The write may have happened, or may yet.
    Unknown,
    /// The epoch of the set, as the store's copy has it accepted; `None`: it has none.
    Set(Option<u64>),
    /// The set could not be read.
    SetFailed,
    /// The blob is there.
    BlobPut,
    /// The blob could not be put there.
    BlobFailed,
    /// The copy could not be read, or was certainly not written.
    Failed,
}

/// What is to be done now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Send a request; [`Operation::reply`] wants the answer, whenever it comes.
    Send {
        /// To whom.
        store: StoreId,
        /// What.
        request: Request,
    },
    /// Another proposer was in the way: call [`Operation::wake`] after this time.
    Wait(Duration),
    /// A store has forgotten what it acknowledged: no operation may count it any more.
    Bar {
        /// Which.
        store: StoreId,
        /// How that shows.
        evidence: Evidence,
    },
    /// There is a set of stores of this epoch or a later one: load it, and call
    /// [`Operation::adopt`].
    Refresh {
        /// The epoch that was met.
        epoch: u64,
    },
    /// This is the end of it. Answers that still come may be told, so that slow stores catch up.
    Done(Outcome),
}

/// How a store is known to have forgotten.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Evidence {
    /// What the store had acknowledged.
    pub acknowledged: Ballot,
    /// What it has promised now; `None`: it has no copy at all.
    pub shown: Option<Ballot>,
    /// Which store's copy says so; `None`: this process was answered so itself.
    pub witness: Option<StoreId>,
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// The register holds this; `None`: it was never written.
    Value(Option<State>),
    /// The value was written.
    Committed(State),
    /// It was not written and never will be; the register holds this.
    Mismatch(Option<State>),
    /// It may have been written, or may yet be.
    Indeterminate,
    /// No quorum of the stores answered, and nothing was written.
    Unavailable,
}

/// A promise that came with an acceptance: the next write by the same process needs no preparing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lease {
    epoch: u64,
    ballot: Ballot,
    state: State,
    copies: BTreeMap<StoreId, (Version, Copy)>,
}

impl Lease {
    /// The ballot that is promised.
    pub fn ballot(&self) -> &Ballot {
        &self.ballot
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    Reading,
    Preparing(Ballot),
    /// Whether the set is still the one that this operation knows; then the proposal, or the answer
    /// that nothing is there.
    LookingUp(Option<Proposal>),
    Accepting(Proposal),
    /// Another proposer was in the way.
    Waiting,
    /// The set of stores has changed.
    Outdated,
    Ended,
}

/// One read or write of one register. It can be told answers in any order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Operation {
    key: Arc<str>,
    change: Change,
    set: Arc<StoreSet>,
    phase: Phase,
    seats: BTreeMap<StoreId, Seat>,
    /// The value of this write, once a store may have been asked to accept it.
    proposed: Option<State>,
    /// The blob that has to be on a quorum before the value is proposed.
    blob: Option<Hash>,
    hurried: bool,
    attempts: u32,
    waits: Waits,
    done: bool,
}

impl Operation {
    /// Begins. The lease is used if it fits.
    pub fn start(
        key: Arc<str>,
        change: Change,
        set: Arc<StoreSet>,
        lease: Option<Lease>,
        waits: Waits,
        ballots: &mut Ballots,
    ) -> (Self, Vec<Act>) {
        let seats = set.counting().map(|store| (store.clone(), Seat::default())).collect();
        let blob = match &change {
            Change::Write { content: Content::Blob { hash, .. }, .. } => Some(*hash),
            _ => None,
        };
        let mut operation = Operation {
            key,
            change,
            set,
            phase: Phase::Reading,
            seats,
            proposed: None,
            blob,
            hurried: false,
            attempts: 0,
            waits,
            done: false,
        };
        if let Some(lease) = lease {
            operation.use_lease(lease);
        }
        let acts = operation.go_on(ballots);
        (operation, acts)
    }

    fn use_lease(&mut self, lease: Lease) {
        let expects =
            |version: &Version| matches!(&self.change, Change::Write { expected: Some(at), .. } if at == version);
        if lease.epoch != self.set.epoch || !expects(&lease.state.version) {
            return;
        }
        for (store, (version, copy)) in lease.copies {
            if let Some(seat) = self.seats.get_mut(&store) {
                seat.least = Some(copy.promised.clone());
                seat.known = Some(Known { version: Some(version), copy: Some(copy) });
            }
        }
        self.phase = Phase::Preparing(lease.ballot);
    }

    /// Tells what a store answered.
    pub fn reply(&mut self, store: &StoreId, reply: Reply, ballots: &mut Ballots) -> Vec<Act> {
        let mut acts = Vec::new();
        let Some(seat) = self.seats.get_mut(store) else { return acts };
        match reply {
            Reply::Copy(found) => {
                seat.sent = None;
                self.learn(store, found, &mut acts);
            }
            Reply::Written(version) => {
                if let Some(Sent::Write(copy)) = seat.sent.take() {
                    seat.least = Some(copy.promised.clone());
                    seat.known = Some(Known { version: Some(version), copy: Some(copy) });
                }
            }
            Reply::Unknown => {
                // Read again: what stands there then tells, or is written anew at the version it
                // has.
                seat.sent = None;
                seat.known = None;
            }
            Reply::Set(epoch) => {
                seat.lookup = seat.lookup.answered();
                if let Some(epoch) = epoch.filter(|epoch| *epoch > self.set.epoch) {
                    self.outdated(epoch, &mut acts);
                }
            }
            Reply::SetFailed => (seat.lookup, seat.failed) = (Errand::Idle, true),
            Reply::BlobPut => seat.blob = seat.blob.answered(),
            Reply::BlobFailed => (seat.blob, seat.failed) = (Errand::Idle, true),
            Reply::Failed => {
                seat.sent = None;
                seat.failed = true;
            }
        }
        acts.extend(self.go_on(ballots));
        acts
    }

    /// Waits no longer for stores that may make a read simpler.
    pub fn hurry(&mut self, ballots: &mut Ballots) -> Vec<Act> {
        self.hurried = true;
        self.go_on(ballots)
    }

    /// Goes on after an [`Act::Wait`].
    pub fn wake(&mut self, ballots: &mut Ballots) -> Vec<Act> {
        if self.phase == Phase::Waiting {
            self.read_again();
        }
        self.go_on(ballots)
    }

    /// Goes on with another set of stores, after an [`Act::Refresh`].
    pub fn adopt(&mut self, set: Arc<StoreSet>, ballots: &mut Ballots) -> Vec<Act> {
        if self.done {
            return Vec::new();
        }
        let mut before = std::mem::take(&mut self.seats);
        let seats = set.counting().map(|store| (store.clone(), before.remove(store).unwrap_or_default()));
        self.seats = seats.collect();
        self.set = set;
        self.read_again();
        self.go_on(ballots)
    }

    /// Ends what takes too long.
    pub fn give_up(&mut self) -> Option<Outcome> {
        if std::mem::replace(&mut self.done, true) {
            return None;
        }
        self.phase = Phase::Ended;
        Some(self.without_quorum())
    }

    /// Whether the outcome is known.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it waits to be told if a store has forgotten.
    pub fn suspects(&self) -> bool {
        self.seats.values().any(|seat| seat.is_suspected() && !seat.failed)
    }

    /// What the next write of this register by the same process may begin with.
    pub fn lease(&self) -> Option<Lease> {
        let Phase::Accepting(proposal) = &self.phase else { return None };
        let accepted = self.seats.iter().filter(|(_, seat)| seat.has_accepted(&proposal.ballot));
        let copies: BTreeMap<_, _> = accepted.filter_map(|(store, seat)| Some((store.clone(), seat.copy()?))).collect();
        let ballot = proposal.next.clone();
        self.set.is_quorum(|store| copies.contains_key(store)).then(|| Lease {
            epoch: self.set.epoch,
            ballot,
            state: proposal.state.clone(),
            copies,
        })
    }

    /// The copies as far as they were told: the store, its version, and the value that it has
    /// accepted.
    pub fn copies(&self) -> impl Iterator<Item = (&StoreId, &Version, Option<&State>)> {
        self.seats.iter().filter_map(|(store, seat)| {
            let known = seat.known.as_ref()?;
            let accepted = known.copy.as_ref()?.accepted.as_ref();
            Some((store, known.version.as_ref()?, accepted.map(|accepted| &accepted.state)))
        })
    }

    fn learn(&mut self, store: &StoreId, found: Option<(Version, Copy)>, acts: &mut Vec<Act>) {
        if let Some(epoch) = found.as_ref().map(|(_, copy)| copy.epoch).filter(|epoch| *epoch > self.set.epoch) {
            self.outdated(epoch, acts);
        }
        let forgot = seat::learn(&mut self.seats, store, found);
        if let Some(evidence) = forgot {
            acts.push(Act::Bar { store: store.clone(), evidence });
            // Promises that were counted together with its own are void.
            if !self.done && !matches!(self.phase, Phase::Outdated | Phase::Waiting) {
                self.read_again();
            }
        }
    }

    fn outdated(&mut self, epoch: u64, acts: &mut Vec<Act>) {
        if !self.done && self.phase != Phase::Outdated {
            self.phase = Phase::Outdated;
            acts.push(Act::Refresh { epoch });
        }
    }

    fn read_again(&mut self) {
        self.phase = Phase::Reading;
        for seat in self.seats.values_mut() {
            (seat.fresh, seat.failed, seat.conflict) = (false, false, false);
        }
    }

    /// Ends phases that have what they need, then asks each store for what it lacks.
    fn go_on(&mut self, ballots: &mut Ballots) -> Vec<Act> {
        let mut acts = Vec::new();
        loop {
            while self.end_phase(ballots, &mut acts) {}
            let phase = self.phase.clone();
            let stores: Vec<StoreId> = self.seats.keys().cloned().collect();
            for store in stores {
                self.ask(&store, &mut acts);
            }
            if phase == self.phase && !self.is_hindered() {
                return acts;
            }
            self.yield_to_others(&mut acts);
        }
    }

    /// Whether rivals have taken so many stores that no quorum is left for this round.
    fn is_hindered(&self) -> bool {
        let open = matches!(self.phase, Phase::Preparing(_) | Phase::Accepting(_)) && !self.done;
        open && self.seats.values().any(|seat| seat.conflict) && !self.may_reach_quorum(|seat| !seat.conflict)
    }

    fn yield_to_others(&mut self, acts: &mut Vec<Act>) {
        if self.is_hindered() {
            self.wait(acts);
        }
    }

    fn wait(&mut self, acts: &mut Vec<Act>) {
        self.attempts += 1;
        self.phase = Phase::Waiting;
        acts.push(Act::Wait(self.waits.next(self.attempts)));
    }

    fn ask(&mut self, store: &StoreId, acts: &mut Vec<Act>) {
        let Some(seat) = self.seats.get_mut(store) else { return };
        if seat.failed || seat.barred {
            return;
        }
        let mut send = |request| acts.push(Act::Send { store: store.clone(), request });
        if let (Some(hash), Phase::Preparing(_), Errand::Idle) = (self.blob, &self.phase, seat.blob) {
            seat.blob = Errand::Sent;
            send(Request::PutBlob(hash));
        }
        if matches!(self.phase, Phase::LookingUp(_)) && seat.lookup == Errand::Idle {
            seat.lookup = Errand::Sent;
            send(Request::ReadSet);
        }
        if seat.sent.is_some() {
            return;
        }
        let must_read = seat.must_read_again();
        let wanted = match &self.phase {
            Phase::Reading if !seat.fresh => None,
            Phase::Preparing(_) | Phase::Accepting(_) if seat.known.is_none() => None,
            _ if must_read => None,
            Phase::Preparing(ballot) if !seat.has_promised(ballot) => {
                let copy = seat.known.as_ref().and_then(|known| known.copy.as_ref());
                let promised = promise(&self.key, copy, ballot, self.set.epoch);
                // What was heard of is not known to be in force.
                let epoch = copy.map_or(0, |copy| copy.epoch);
                Some(promised.map(|copy| if &*self.key == SET_KEY { Copy { epoch, ..copy } } else { copy }))
            }
            Phase::Accepting(proposal) if !seat.has_accepted(&proposal.ballot) => {
                let copy = seat.known.as_ref().and_then(|known| known.copy.as_ref());
                let accepted = accept(&self.key, copy, proposal, self.set.epoch);
                let least = copy.map_or(0, |copy| copy.epoch);
                let epoch = proposed_under(&self.key, &proposal.state).map_or(self.set.epoch, |epoch| epoch.max(least));
                Some(accepted.map(|copy| Copy { epoch, ..copy }))
            }
            _ => return,
        };
        match wanted {
            None => {
                seat.read_again();
                send(Request::Read);
            }
            Some(Ok(copy)) => {
                seat.sent = Some(Sent::Write(copy.clone()));
                let expected = seat.known.as_ref().and_then(|known| known.version.clone());
                send(Request::Write { expected, copy });
            }
            Some(Err(Refusal::Promised(_))) => seat.conflict = true,
            Some(Err(Refusal::Epoch(epoch))) => self.outdated(epoch, acts),
        }
    }
}

/// The epoch of the set under which a set of stores is proposed first, in the register of the set.
///
/// That one is in force; the set that is proposed may never be, and a copy that bore its epoch would lock out the one that
/// is. The epoch before is enough: a set that is in force stands on a quorum that refuses who knows neither it nor the one
/// before. The quorums of three sets in a row need not intersect, those of two do.
fn proposed_under(key: &str, state: &State) -> Option<u64> {
    match &state.content {
        Content::Inline(value) if key == SET_KEY => StoreSet::decode(value).ok().map(|set| set.epoch.saturating_sub(1)),
        _ => None,
    }
}

mod phases;

#[cfg(test)]
mod tests;
