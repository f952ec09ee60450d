//! Stores for tests of the set's register: an operation after the other, each carried out in one go.

use super::{
    Accepted, Act, Ballot, Ballots, Change, Content, Copy, Operation, Outcome, ProposerId, Reply, Request, Waits,
};
use super::{SET_KEY, State, StoreId, StoreSet};
use crate::store::Version;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) fn id(name: &str) -> StoreId {
    StoreId::new(name)
}

/// The first writing of a set, under a ballot of an earlier process.
pub(super) fn accepted(set: &StoreSet, counter: u64) -> Copy {
    let ballot = Ballot { counter, proposer: ProposerId { incarnation: 1, name: "earlier".into() } };
    Copy {
        key: SET_KEY.into(),
        epoch: 1,
        promised: ballot.clone(),
        accepted: Some(Accepted { ballot, state: state(set) }),
        high_water: BTreeMap::new(),
    }
}

pub(super) fn state(set: &StoreSet) -> State {
    let version = Version::new(format!("{}-set", set.epoch));
    let parent = (set.epoch > 1).then(|| Version::new(format!("{}-set", set.epoch - 1)));
    State { revision: set.epoch, version, parent, content: Content::Inline(set.encode().into()) }
}

pub(super) fn decoded(state: &State) -> StoreSet {
    let Content::Inline(value) = &state.content else { panic!("a set is no blob") };
    StoreSet::decode(value).unwrap()
}

/// What stands in each store, with the store's version.
#[derive(Default)]
pub(super) struct Stores {
    standing: BTreeMap<StoreId, (u64, Option<Copy>)>,
    /// How many writes were accepted.
    writes: usize,
    /// What was sent by processes that are stopped, and may arrive.
    late: Vec<(StoreId, Request)>,
}

impl Stores {
    pub(super) fn put(&mut self, store: &str, copy: Copy) {
        let (version, standing) = self.standing.entry(id(store)).or_default();
        (*version, *standing) = (*version + 1, Some(copy));
    }

    /// The set that a store's copy has accepted.
    pub(super) fn accepted_set(&self, store: &str) -> Option<StoreSet> {
        let copy = self.standing.get(&id(store))?.1.as_ref()?;
        copy.accepted.as_ref().map(|accepted| decoded(&accepted.state))
    }

    /// Lets one of the requests arrive that were sent by processes that are stopped.
    pub(super) fn let_arrive(&mut self, number: usize) {
        if number < self.late.len() {
            let (store, request) = self.late.swap_remove(number);
            self.answer(&store, &request);
        }
    }

    fn standing(&self, store: &StoreId) -> Reply {
        let standing = self.standing.get(store).cloned().unwrap_or_default();
        Reply::Copy(standing.1.map(|copy| (Version::new(standing.0.to_string()), copy)))
    }

    pub(super) fn writes(&self) -> usize {
        self.writes
    }

    pub(super) fn answer(&mut self, store: &StoreId, request: &Request) -> Reply {
        match request {
            Request::Read => self.standing(store),
            Request::Write { expected, copy } => {
                let (version, standing) = self.standing.entry(store.clone()).or_default();
                let found = standing.is_some().then(|| Version::new(version.to_string()));
                if found != *expected {
                    return self.standing(store);
                }
                (*version, *standing) = (*version + 1, Some(copy.clone()));
                self.writes += 1;
                Reply::Written(Version::new(version.to_string()))
            }
            Request::ReadSet => Reply::Set(None),
            Request::PutBlob(_) => Reply::BlobPut,
        }
    }

    /// Carries an operation on the set's register out with the stores that are up; `None` when it meets a newer set.
    pub(super) fn run(
        &mut self,
        change: Change,
        set: &StoreSet,
        up: &[&str],
        ballots: &mut Ballots,
    ) -> Option<Outcome> {
        self.run_for(&mut usize::MAX.clone(), change, set, up, ballots)
    }

    /// The same by a process that is stopped after so many writes: `None` then, too.
    pub(super) fn run_for(
        &mut self,
        writes: &mut usize,
        change: Change,
        set: &StoreSet,
        up: &[&str],
        ballots: &mut Ballots,
    ) -> Option<Outcome> {
        let (operation, acts) =
            Operation::start(SET_KEY.into(), change, Arc::new(set.clone()), None, Waits::new(1, 0), ballots);
        self.drive(operation, acts, writes, up, ballots, |_| ())
    }

    /// Carries out what has begun; `wait` is told of each wait, and may change what stands.
    pub(super) fn drive(
        &mut self,
        mut operation: Operation,
        acts: Vec<Act>,
        writes: &mut usize,
        up: &[&str],
        ballots: &mut Ballots,
        mut wait: impl FnMut(&mut Self),
    ) -> Option<Outcome> {
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            acts.extend(match act {
                Act::Send { store, .. } if !up.contains(&store.as_str()) => {
                    operation.reply(&store, Reply::Failed, ballots)
                }
                Act::Send { store, request } => {
                    if let Request::Write { .. } = request {
                        if *writes == 0 {
                            self.late.push((store, request));
                            self.late.extend(sent(acts));
                            return None;
                        }
                        *writes -= 1;
                    }
                    let reply = self.answer(&store, &request);
                    operation.reply(&store, reply, ballots)
                }
                Act::Wait(_) => {
                    wait(self);
                    operation.wake(ballots)
                }
                Act::Refresh { .. } => return None,
                Act::Done(outcome) => return Some(outcome),
                Act::Bar { .. } => Vec::new(),
            });
        }
        None
    }
}

fn sent(acts: VecDeque<Act>) -> impl Iterator<Item = (StoreId, Request)> {
    acts.into_iter().filter_map(|act| match act {
        Act::Send { store, request } => Some((store, request)),
        _ => None,
    })
}
