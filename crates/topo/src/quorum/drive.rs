//! Carries out what an operation on a register asks for.

use super::set::View;
use super::store::Store;
use super::told::Moment;
use super::{LEASES_KEPT, NAME, Quorum, keys, lock, random};
use crate::error::{Category, TopoError};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hansa_ledger::register::{Act, Change, Operation, Outcome, Reply, Request, State, StoreId, Waits};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a read that no quorum agrees on waits for the other stores, before it settles the
/// register by a write.
pub(super) const GRACE: Duration = Duration::from_millis(100);
/// How long an operation may take, and go on for the stores that are late. A store that is restored
/// from a backup is away for longer, so that no operation spans a restore.
const OPERATION: Duration = Duration::from_secs(15);

/// How many looks find a write of another process where it was, before it is settled here.
const PATIENCE: u32 = 2;

/// How long a store is let alone that takes reads, and of whose writes it is not known what came: once may be chance.
fn pause(unknown: u32) -> Duration {
    if unknown < 2 { Duration::ZERO } else { Duration::from_millis(8 << unknown.min(7)) }
}

/// Answers that are there already: of each store its copy, and the epoch of its set.
pub(super) type Answers = BTreeMap<StoreId, (Reply, Reply)>;

/// One operation under way.
pub(super) struct Driver {
    pub(super) quorum: Arc<Quorum>,
    pub(super) view: Arc<View>,
    pub(super) key: Arc<str>,
    pub(super) value: Option<Bytes>,
    pub(super) answers: Answers,
    /// When it, and the first of its answers, was asked for.
    pub(super) began: Moment,
    /// Whether a newer set of stores is loaded when there is one; not while the set itself is
    /// loaded.
    pub(super) refreshes: bool,
}

/// Since 1970, in milliseconds: what ballots begin at.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

impl Quorum {
    /// Carries out an operation, which goes on for late stores, and also when nobody waits for it
    /// any more.
    pub(super) async fn run(
        self: &Arc<Self>,
        key: &str,
        change: Change,
        value: Option<Bytes>,
    ) -> Result<Outcome, TopoError> {
        let (quorum, view, began) = (self.clone(), self.view().await?, lock(&self.told).begin());
        let answers = Answers::new();
        let driver = Driver { quorum, view, key: key.into(), value, answers, began, refreshes: true };
        self.carry_out(driver, change).await
    }

    pub(super) async fn carry_out(&self, driver: Driver, change: Change) -> Result<Outcome, TopoError> {
        let (key, entropy) = (driver.key.clone(), random()?);
        let (tell, told) = oneshot::channel();
        self.spawn(async move {
            driver.drive(change, entropy, Some(tell)).await;
        });
        told.await
            .map_err(|_| TopoError::new(Category::Internal, NAME, "an operation ended without a word").at_key(&key))
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Reads a register of which some answers are there already; the first of them was asked for when it `began`.
    pub(super) async fn settle(
        self: &Arc<Self>,
        view: &Arc<View>,
        key: &str,
        answers: Answers,
        began: Moment,
    ) -> Result<Option<State>, TopoError> {
        let (quorum, view) = (self.clone(), view.clone());
        let driver = Driver { quorum, view, key: key.into(), value: None, answers, began, refreshes: true };
        match driver.drive(Change::Read, random()?, None).await {
            Outcome::Value(state) => Ok(state),
            _ => Err(self.unavailable(key)),
        }
    }
}

impl Driver {
    /// Until the outcome is known; with somebody to tell, until the last store has answered.
    pub(super) fn drive(
        mut self,
        change: Change,
        entropy: u64,
        tell: Option<oneshot::Sender<Outcome>>,
    ) -> BoxFuture<'static, Outcome> {
        async move {
            let lease = match change {
                Change::Write { .. } => lock(&self.quorum.leases).remove(&self.key),
                Change::Read | Change::Rewrite => None,
            };
            let (mut operation, acts) = {
                let mut ballots = lock(&self.quorum.ballots);
                ballots.tick(now());
                let waits = Waits::new(entropy, PATIENCE);
                Operation::start(self.key.clone(), change, self.view.set.clone(), lease, waits, &mut ballots)
            };
            let mut acts = VecDeque::from(acts);
            let is_told = tell.is_some();
            let mut tell = Some(tell);
            let mut outcome = Outcome::Unavailable;
            let mut running = FuturesUnordered::new();
            // How many writes of each store ended without it being known how.
            let mut unknown: BTreeMap<StoreId, u32> = BTreeMap::new();
            let began = Instant::now();
            let (mut wake, mut hurry, deadline) = (None, Some(began + GRACE), began + OPERATION);
            loop {
                while let Some(act) = acts.pop_front() {
                    match act {
                        Act::Send { store, request } => match self.answered(&store, &request) {
                            Some(reply) => acts.extend(self.reply(&mut operation, &store, reply)),
                            None => {
                                let pause = pause(unknown.get(&store).copied().unwrap_or_default());
                                running.extend(self.request(store, request, pause));
                            }
                        },
                        Act::Wait(pause) => wake = Some(Instant::now() + pause),
                        Act::Bar { store, evidence } => self.quorum.bar(&store, &self.key, &evidence),
                        Act::Refresh { epoch } => match self.refreshed(epoch).await {
                            Some(view) => {
                                self.view = view;
                                self.answers.clear();
                                let set = self.view.set.clone();
                                acts.extend(operation.adopt(set, &mut lock(&self.quorum.ballots)));
                            }
                            None => acts.extend(operation.give_up().map(Act::Done)),
                        },
                        Act::Done(end) => {
                            self.remember(&operation, &end);
                            outcome = end;
                            match tell.take().flatten() {
                                Some(tell) => drop(tell.send(outcome.clone())),
                                None if operation.suspects() => {}
                                None => return outcome,
                            }
                        }
                    }
                }
                if operation.is_done() && (running.is_empty() || (!is_told && !operation.suspects())) {
                    self.renew(&operation);
                    return outcome;
                }
                let alarm = wake.into_iter().chain(hurry).fold(deadline, Instant::min);
                tokio::select! {
                    Some((store, reply)) = running.next(), if !running.is_empty() => {
                        if reply == Reply::Unknown {
                            *unknown.entry(store.clone()).or_default() += 1;
                        }
                        acts.extend(self.reply(&mut operation, &store, reply));
                    }
                    () = tokio::time::sleep_until(alarm) => {
                        if alarm == deadline {
                            if operation.is_done() {
                                return outcome;
                            }
                            acts.extend(operation.give_up().map(Act::Done));
                            running.clear();
                        } else if wake == Some(alarm) {
                            wake = None;
                            acts.extend(operation.wake(&mut lock(&self.quorum.ballots)));
                        } else {
                            hurry = None;
                            acts.extend(operation.hurry(&mut lock(&self.quorum.ballots)));
                        }
                    }
                }
            }
        }
        .boxed()
    }

    fn reply(&self, operation: &mut Operation, store: &StoreId, reply: Reply) -> Vec<Act> {
        let mut ballots = lock(&self.quorum.ballots);
        ballots.tick(now());
        operation.reply(store, reply, &mut ballots)
    }

    /// The answer, where it is there already.
    fn answered(&mut self, store: &StoreId, request: &Request) -> Option<Reply> {
        if !self.view.stores.contains_key(store) {
            return Some(match request {
                Request::Read | Request::Write { .. } => Reply::Failed,
                Request::ReadSet => Reply::SetFailed,
                Request::PutBlob(_) => Reply::BlobFailed,
            });
        }
        let (copy, set) = self.answers.get_mut(store)?;
        match request {
            // Each is as old as the operation, so that it answers the first question alone.
            Request::Read => {
                let answer = std::mem::replace(copy, Reply::Unknown);
                (answer != Reply::Unknown).then_some(answer)
            }
            Request::ReadSet => (*set != Reply::Unknown).then(|| set.clone()),
            Request::Write { .. } | Request::PutBlob(_) => None,
        }
    }

    fn request(&self, id: StoreId, request: Request, pause: Duration) -> Option<BoxFuture<'static, (StoreId, Reply)>> {
        let store: Arc<Store> = self.view.stores.get(&id)?.clone();
        let (quorum, key, value) = (self.quorum.clone(), self.key.clone(), self.value.clone());
        let asked = async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let reply = match request {
                Request::Read => store.read_copy(&key).await,
                Request::Write { expected, copy } => store.write_copy(expected, copy).await,
                Request::ReadSet => store.read_set().await,
                Request::PutBlob(hash) => {
                    let value = match value {
                        Some(value) => Ok(value),
                        None => quorum.blob(&key, &hash).await,
                    };
                    match value {
                        Ok(value) => store.put_blob(&keys::blob(&hash), &value).await,
                        Err(_) => Reply::BlobFailed,
                    }
                }
            };
            (id, reply)
        };
        Some(asked.boxed())
    }

    /// Adds the stores that were late to the lease, if it was not used yet.
    fn renew(&self, operation: &Operation) {
        let mut leases = lock(&self.quorum.leases);
        if let (Some(lease), Some(kept)) = (operation.lease(), leases.get_mut(&self.key))
            && kept.ballot() == lease.ballot()
        {
            *kept = lease;
        }
    }

    async fn refreshed(&self, epoch: u64) -> Option<Arc<View>> {
        if !self.refreshes {
            return None;
        }
        self.quorum.refreshed(epoch).await.ok()
    }

    /// Keeps what the next operations and the followers of changes can use.
    fn remember(&self, operation: &Operation, outcome: &Outcome) {
        if let Some(lease) = operation.lease() {
            let mut leases = lock(&self.quorum.leases);
            if leases.len() >= LEASES_KEPT {
                leases.pop_first();
            }
            leases.insert(self.key.clone(), lease);
        }
        if let Outcome::Committed(state) | Outcome::Value(Some(state)) | Outcome::Mismatch(Some(state)) = outcome {
            lock(&self.quorum.told).remember(&self.key, state, operation, self.began);
        }
    }
}
