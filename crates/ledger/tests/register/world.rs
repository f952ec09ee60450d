//! The world around the operations: stores, network, clients, faults, and what must hold.

use bytes::Bytes;
use hansa_ledger::Version;
use hansa_ledger::register::{
    Accepted, Act, Ballot, Ballots, Change, Content, Copy, Lease, Operation, Outcome, ProposerId, Reply, Request,
    State, StoreId, StoreSet, Waits,
};
use hansa_model::Hash;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What one client does, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Write on top of what it read or wrote last.
    Write,
    Read,
    /// Install the set in which the last store makes room for a new one.
    BeginReplacement,
    /// Install the same set once more.
    SettleReplacement,
    /// Write the register again, if any store that is asked has a copy.
    Rescan,
    /// Install the set with the new store alone.
    EndReplacement,
}

/// How many of each fault may happen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Faults {
    /// The write happens, its answer is lost.
    pub lost_answers: u8,
    /// The client is told nothing; the write may come later, or never.
    pub late_writes: u8,
    /// The write arrives twice, the second time later.
    pub repeated: u8,
    /// A store refuses a request.
    pub failures: u8,
    /// A client's process ends, and starts anew.
    pub crashes: u8,
}

/// A rule that is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sabotage {
    /// Copies carry no high-water marks.
    HighWater,
    /// Ballots do not begin at the clock.
    Clock,
    /// A restarted proposer has the id that it had before.
    Incarnation,
    /// A store accepts without comparing what the proposal was computed from: the promise is not
    /// checked again.
    Recheck,
    /// The blob is on one store when all are said to have it.
    BlobQuorum,
    /// Nobody looks whether the set has changed before a register is made.
    LookUp,
}

/// What a store may be restored to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Backup {
    /// Nothing: the other stores have marks of what it loses.
    Empty,
    /// What it held after the prologue: nobody has marks of what it promised since.
    Prologue,
}

/// What is explored.
#[derive(Clone, Debug)]
pub struct Setting {
    pub scripts: Vec<Vec<Step>>,
    pub faults: Faults,
    pub sabotage: Option<Sabotage>,
    /// Values are blobs.
    pub blobs: bool,
    /// How often each client writes again what came in another's way.
    pub tries: u8,
    /// How often a client goes on after it gave way, all together.
    pub wakes: u8,
    /// How many looks find another at work, before a client pushes in.
    pub patience: u32,
    /// The first client's first step is done, and all know of it.
    pub prologue: bool,
    /// The first store has a backup: from before the prologue, or from after it.
    pub backup: Option<Backup>,
    /// Who cannot reach which store.
    pub unreachable: Vec<(usize, usize)>,
    pub stores: usize,
}

/// Who sends what to whom; `late` when nobody waits for it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    client: usize,
    life: u8,
    operation: u8,
    store: usize,
    kind: u8,
    late: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Store {
    copies: BTreeMap<Arc<str>, (u64, Copy)>,
    blobs: BTreeSet<Hash>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Client {
    life: u8,
    ballots: Ballots,
    script: VecDeque<Step>,
    operation: Option<(Step, Operation)>,
    /// How many operations this life has begun.
    begun: u8,
    tries: u8,
    /// Whether it waits to be let go on.
    paused: bool,
    hurried: bool,
    waiting: bool,
    refreshing: bool,
    known: Option<Version>,
    lease: Option<Lease>,
    set: Arc<StoreSet>,
    /// The highest revision that was acknowledged when the operation began.
    floor: u64,
}

/// What an outsider has seen.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Witness {
    /// The value that each ballot was used for.
    values: BTreeMap<Ballot, Version>,
    /// The stores that have accepted under a ballot.
    acceptors: BTreeMap<Ballot, BTreeSet<usize>>,
    /// Which life of which client used a ballot.
    users: BTreeMap<Ballot, (usize, u8)>,
    /// What a quorum has accepted, or was acknowledged as such, by revision.
    chosen: BTreeMap<u64, State>,
    acknowledged: u64,
    /// Writes that were said not to have happened.
    lost: BTreeSet<Version>,
    committed: u8,
    barred: bool,
    broken: BTreeSet<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    stores: Vec<Store>,
    clients: Vec<Client>,
    network: BTreeMap<Address, Request>,
    faults: Faults,
    wakes: u8,
    in_prologue: bool,
    backup: Option<Store>,
    /// The sets of stores that were installed.
    sets: Vec<Arc<StoreSet>>,
    witness: Witness,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    Deliver(Address),
    LoseAnswer(Address),
    Delay(Address),
    Repeat(Address),
    Fail(Address),
    Start(usize),
    Wake(usize),
    Hurry(usize),
    Refresh(usize),
    Crash(usize),
    Restore,
}

mod events;
mod explore;
mod judge;

pub use explore::story;

const ONE_VALUE: &str = "a ballot is used for one value";
const ONE_LIFE: &str = "a ballot is used in one life of one proposer";
const CHAIN: &str = "chosen values form one chain, and none is lost";
const ACKNOWLEDGED: &str = "what is acknowledged is chosen, and what is refused never is";
const FRESH: &str = "what is read was chosen, and is not older than what was acknowledged before";
const BLOBS: &str = "the blob of a chosen value is on a quorum";
const ENDS: &str = "once faults stop, every operation can end";
pub const LAWS: [&str; 7] = [ONE_VALUE, ONE_LIFE, CHAIN, ACKNOWLEDGED, FRESH, BLOBS, ENDS];

const WRITTEN: &str = "a write is committed";
const ALL_WRITTEN: &str = "every write is committed";
const BARRED: &str = "a store is barred";
pub const REACHED: [&str; 3] = [WRITTEN, ALL_WRITTEN, BARRED];

const KEY: &str = "/k";
const SET: &str = "set";

fn store_id(number: usize) -> StoreId {
    StoreId::new(["a", "b", "c", "d"][number])
}

fn store_number(store: &StoreId) -> usize {
    usize::from(store.as_str().as_bytes()[0] - b'a')
}

fn proposer(client: usize, life: u8) -> ProposerId {
    ProposerId { incarnation: u64::from(life), name: ["p", "q", "r"][client].into() }
}

fn kind(request: &Request) -> u8 {
    match request {
        Request::Read => 0,
        Request::Write { .. } => 1,
        Request::ReadSet => 2,
        Request::PutBlob(_) => 3,
    }
}

impl Setting {
    pub fn new(scripts: Vec<Vec<Step>>) -> Self {
        Setting {
            scripts,
            faults: Faults::default(),
            sabotage: None,
            blobs: false,
            tries: 0,
            wakes: 1,
            patience: 0,
            prologue: false,
            backup: None,
            unreachable: Vec::new(),
            stores: 3,
        }
    }

    fn is_broken(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    fn replaces(&self) -> bool {
        self.scripts.iter().flatten().any(|step| *step == Step::BeginReplacement)
    }

    pub fn expects(&self, reached: &str) -> bool {
        match reached {
            BARRED => self.backup == Some(Backup::Empty),
            ALL_WRITTEN => self.tries > 0,
            _ => true,
        }
    }

    fn first_set(&self) -> Arc<StoreSet> {
        Arc::new(StoreSet::first((0..self.stores).map(|n| (store_id(n), String::new())).collect()))
    }

    /// Starts what the client does next.
    fn next_step(&self, world: &mut World, me: usize) {
        let client = &mut world.clients[me];
        client.operation = None;
        let Some(step) = client.script.pop_front() else { return };
        let set = client.set.clone();
        let id = format!("{}{}.{}", ["p", "q", "r"][me], client.life, client.begun);
        let change = match step {
            Step::Read => Change::Read,
            Step::Rescan => Change::Rewrite,
            Step::Write => {
                let content = if self.blobs {
                    Content::Blob { hash: Hash::of_bytes(id.as_bytes()), bytes: 1 }
                } else {
                    Content::Inline(Bytes::new())
                };
                Change::Write { expected: client.known.clone(), content, id: id.into() }
            }
            Step::BeginReplacement | Step::SettleReplacement | Step::EndReplacement => {
                let next = match step {
                    Step::BeginReplacement => set.replacing(&store_id(2), &store_id(3), ""),
                    Step::SettleReplacement => set.settled(),
                    _ => set.replaced().expect("it is settled"),
                };
                let content = Content::Inline(next.encode().into());
                Change::Write { expected: client.known.clone(), content, id: id.into() }
            }
        };
        let key = match step {
            Step::BeginReplacement | Step::SettleReplacement | Step::EndReplacement => SET,
            _ => KEY,
        };
        if step == Step::Rescan && (0..2).all(|store| !world.stores[store].copies.contains_key(KEY)) {
            return self.next_step(world, me);
        }
        client.begun += 1;
        client.floor = world.witness.acknowledged;
        (client.waiting, client.refreshing, client.hurried) = (false, false, false);
        let lease = client.lease.take();
        let (operation, acts) =
            Operation::start(key.into(), change, set, lease, Waits::new(0, self.patience), &mut client.ballots);
        client.operation = Some((step, operation));
        self.act(world, me, acts);
    }

    fn act(&self, world: &mut World, me: usize, acts: Vec<Act>) {
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                Act::Send { store, request } => {
                    let number = store_number(&store);
                    if !world.in_prologue && self.unreachable.contains(&(me, number)) {
                        let reply = match request {
                            Request::Read | Request::Write { .. } => Reply::Failed,
                            Request::ReadSet => Reply::SetFailed,
                            Request::PutBlob(_) => Reply::BlobFailed,
                        };
                        acts.extend(world.told(me, number, reply));
                        continue;
                    }
                    if self.is_broken(Sabotage::LookUp) && request == Request::ReadSet {
                        acts.extend(world.told(me, number, Reply::Set(Some(1))));
                        continue;
                    }
                    if let Request::Write { copy, .. } = &request {
                        world.witness_ballots(me, copy);
                    }
                    if self.is_at_once(world, me, &request) {
                        let reply = self.serve(world, me, number, &request);
                        acts.extend(world.told(me, number, reply));
                        continue;
                    }
                    let Client { life, begun, .. } = world.clients[me];
                    let kind = kind(&request);
                    let address = Address { client: me, life, operation: begun, store: number, kind, late: false };
                    world.network.insert(address, request);
                }
                Act::Wait(_) => world.clients[me].waiting = true,
                Act::Refresh { .. } => world.clients[me].refreshing = true,
                Act::Bar { .. } => world.witness.barred = true,
                Act::Done(outcome) => {
                    self.end(world, me, outcome);
                    // The rest belongs to an operation that is over.
                    return;
                }
            }
        }
    }

    /// What a writer reads before it writes is a hint: the compare-and-swap tells whether it still
    /// holds. So it is read when it is sent, which spares most of the states. What a reader reads,
    /// and what is looked up about the set, may take its time. The set changes in one step.
    fn is_at_once(&self, world: &World, me: usize, request: &Request) -> bool {
        let step = world.clients[me].operation.as_ref().map(|(step, _)| *step);
        match request {
            _ if matches!(step, Some(Step::BeginReplacement | Step::SettleReplacement | Step::EndReplacement)) => true,
            Request::Read => step != Some(Step::Read),
            Request::ReadSet => !self.replaces(),
            Request::PutBlob(_) | Request::Write { .. } => false,
        }
    }

    fn end(&self, world: &mut World, me: usize, outcome: Outcome) {
        let client = &mut world.clients[me];
        let Some((step, operation)) = client.operation.take() else { return };
        if matches!(step, Step::BeginReplacement | Step::SettleReplacement | Step::EndReplacement) {
            if let Outcome::Committed(state) = outcome {
                let Content::Inline(bytes) = &state.content else { return };
                let set = Arc::new(StoreSet::decode(bytes).unwrap());
                client.set = set.clone();
                client.known = Some(state.version.clone());
                world.sets.push(set);
            } else {
                client.script.clear();
            }
            world.clients[me].paused = true;
            return;
        }
        world.judge(me, &outcome, self.replaces());
        let client = &mut world.clients[me];
        match outcome {
            Outcome::Committed(state) => {
                client.known = Some(state.version);
                client.lease = operation.lease();
            }
            Outcome::Mismatch(current) => {
                client.known = current.map(|current| current.version);
                if client.tries > 0 {
                    client.tries -= 1;
                    client.script.push_front(step);
                }
            }
            Outcome::Value(Some(state)) => client.known = Some(state.version),
            Outcome::Value(None) => {}
            Outcome::Indeterminate | Outcome::Unavailable => {}
        }
        self.next_step(world, me);
    }

    /// What a store does with a request.
    fn serve(&self, world: &mut World, me: usize, number: usize, request: &Request) -> Reply {
        let key: Arc<str> = match request {
            Request::ReadSet => SET.into(),
            Request::Write { copy, .. } => copy.key.clone(),
            _ => world.clients[me].key(),
        };
        let store = &mut world.stores[number];
        let seen = |stored: &(u64, Copy)| {
            let mut copy = stored.1.clone();
            if self.is_broken(Sabotage::HighWater) {
                copy.high_water.clear();
            }
            (Version::new(stored.0.to_string()), copy)
        };
        let standing = store.copies.get(&key);
        match request {
            Request::Read => Reply::Copy(standing.map(seen)),
            Request::Write { expected, copy } => {
                let at = standing.map(|(version, _)| Version::new(version.to_string()));
                let accepts = copy.accepted.as_ref().is_some_and(|a| a.ballot.proposer == copy.promised.proposer);
                let blind = self.is_broken(Sabotage::Recheck)
                    && accepts
                    && copy.accepted != standing.and_then(|(_, copy)| copy.accepted.clone());
                if at != *expected && !blind {
                    return Reply::Copy(standing.map(seen));
                }
                let version = standing.map_or(0, |(version, _)| *version) + 1;
                store.copies.insert(key, (version, copy.clone()));
                world.witness_copy(number, copy, self.replaces());
                Reply::Written(Version::new(version.to_string()))
            }
            Request::ReadSet => Reply::Set(standing.and_then(|(_, copy)| {
                let Accepted { state: State { content: Content::Inline(bytes), .. }, .. } = copy.accepted.as_ref()?
                else {
                    return None;
                };
                Some(StoreSet::decode(bytes).unwrap().epoch)
            })),
            Request::PutBlob(hash) => {
                if number == 0 || !self.is_broken(Sabotage::BlobQuorum) {
                    store.blobs.insert(*hash);
                }
                Reply::BlobPut
            }
        }
    }

    fn tell(&self, world: &mut World, address: &Address, reply: Reply) {
        if world.waits_for(address) {
            let acts = world.told(address.client, address.store, reply);
            self.act(world, address.client, acts);
        }
    }
}

impl Client {
    fn key(&self) -> Arc<str> {
        match &self.operation {
            Some((Step::BeginReplacement | Step::SettleReplacement | Step::EndReplacement, _)) => SET.into(),
            _ => KEY.into(),
        }
    }
}

impl World {
    fn told(&mut self, me: usize, store: usize, reply: Reply) -> Vec<Act> {
        let Client { operation, ballots, .. } = &mut self.clients[me];
        operation.as_mut().map(|(_, operation)| operation.reply(&store_id(store), reply, ballots)).unwrap_or_default()
    }

    /// Drops what nobody waits for and what can change nothing any more.
    fn prune(&mut self) {
        let mut network = std::mem::take(&mut self.network);
        network.retain(|address, request| self.waits_for(address) || self.may_change(address, request));
        self.network = network;
    }

    fn may_change(&self, address: &Address, request: &Request) -> bool {
        let Request::Write { expected, copy } = request else { return false };
        let standing = self.stores[address.store].copies.get(&copy.key);
        standing.map(|(version, _)| Version::new(version.to_string())) == *expected
    }

    fn waits_for(&self, address: &Address) -> bool {
        let client = &self.clients[address.client];
        !address.late && client.life == address.life && client.begun == address.operation && client.operation.is_some()
    }
}
