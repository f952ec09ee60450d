use super::*;
use crate::register::ProposerId;
use std::collections::VecDeque;

fn id(name: &str) -> StoreId {
    StoreId::new(name)
}

fn ballot(counter: u64) -> Ballot {
    Ballot { counter, proposer: ProposerId { incarnation: 1, name: "earlier".into() } }
}

/// What stands in each store, with the store's version.
#[derive(Default)]
struct Stores(BTreeMap<StoreId, (u64, Option<Copy>)>);

impl Stores {
    fn put(&mut self, store: &str, copy: Copy) {
        let (version, standing) = self.0.entry(id(store)).or_default();
        (*version, *standing) = (*version + 1, Some(copy));
    }

    fn standing(&self, store: &StoreId) -> Reply {
        let standing = self.0.get(store).cloned().unwrap_or_default();
        Reply::Copy(standing.1.map(|copy| (Version::new(standing.0.to_string()), copy)))
    }

    fn answer(&mut self, store: &StoreId, request: &Request) -> Reply {
        match request {
            Request::Read => self.standing(store),
            Request::Write { expected, copy } => {
                let (version, standing) = self.0.entry(store.clone()).or_default();
                let found = standing.is_some().then(|| Version::new(version.to_string()));
                if found != *expected {
                    return self.standing(store);
                }
                (*version, *standing) = (*version + 1, Some(copy.clone()));
                Reply::Written(Version::new(version.to_string()))
            }
            Request::ReadSet => Reply::Set(None),
            Request::PutBlob(_) => Reply::BlobPut,
        }
    }

    /// Carries an operation on the set's register out with the stores that are up; `None` when it meets a newer set.
    fn run(&mut self, change: Change, set: &StoreSet, up: &[&str], ballots: &mut Ballots) -> Option<Outcome> {
        let (mut operation, acts) = Operation::start(SET_KEY.into(), change, Arc::new(set.clone()), None, 1, ballots);
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            acts.extend(match act {
                Act::Send { store, request } => {
                    let reply =
                        if up.contains(&store.as_str()) { self.answer(&store, &request) } else { Reply::Failed };
                    operation.reply(&store, reply, ballots)
                }
                Act::Wait(_) => operation.wake(ballots),
                Act::Refresh { .. } => return None,
                Act::Done(outcome) => return Some(outcome),
                Act::Bar { .. } => Vec::new(),
            });
        }
        None
    }
}

fn state(set: &StoreSet) -> State {
    let version = Version::new(format!("{}-set", set.epoch));
    let parent = (set.epoch > 1).then(|| Version::new(format!("{}-set", set.epoch - 1)));
    State { revision: set.epoch, version, parent, content: Content::Inline(set.encode().into()) }
}

fn accepted(set: &StoreSet, counter: u64) -> Copy {
    Copy {
        key: SET_KEY.into(),
        epoch: 1,
        promised: ballot(counter),
        accepted: Some(Accepted { ballot: ballot(counter), state: state(set) }),
        high_water: BTreeMap::new(),
    }
}

fn epoch(outcome: Option<Outcome>) -> Option<u64> {
    match outcome? {
        Outcome::Value(Some(State { content: Content::Inline(value), .. })) => {
            StoreSet::decode(&value).ok().map(|set| set.epoch)
        }
        other => panic!("{other:?}"),
    }
}

/// Whoever was to put `d` in the place of `c` was stopped when one store had accepted that.
#[test]
fn a_set_that_was_never_agreed_on_does_not_lock_out_the_one_in_force() {
    let first = StoreSet::first(["a", "b", "c"].map(|name| (id(name), name.to_owned())).into());
    let next = first.replacing(&id("c"), &id("d"), "d");
    let mut ballots = Ballots::new(ProposerId { incarnation: 2, name: "later".into() });
    for up in [&["a", "b", "d"][..], &["a", "b", "c"], &["b", "c", "d"], &["a", "b", "c", "d"]] {
        let mut stores = Stores::default();
        stores.put("a", accepted(&first, 2));
        // It missed a write, so that no two copies are alike.
        stores.put("b", accepted(&first, 1));
        stores.put("c", accepted(&next, 3));
        // Who hears of it from `c` looks whether it is in force, by what is up then.
        let heard = stores.run(Change::Read, &next, up, &mut ballots);
        let in_force = epoch(heard).unwrap();
        // What it found is written again under its own quorum, and found there from then on.
        let set = if in_force == 1 { &first } else { &next };
        let all = ["a", "b", "c", "d"];
        let met = stores.run(Change::Rewrite, set, &all, &mut ballots);
        assert_eq!(met.map(|outcome| epoch(Some(outcome))), Some(Some(in_force)), "{up:?}");
        assert_eq!(epoch(stores.run(Change::Read, set, &all, &mut ballots)), Some(in_force), "{up:?}");
    }
}

/// Who slept through two changes of the set cannot choose anything any more where the third is in force.
#[test]
fn who_knows_a_set_of_long_ago_is_refused() {
    let first = StoreSet::first(["a", "b", "c"].map(|name| (id(name), name.to_owned())).into());
    let (second, mut ballots) =
        (first.replacing(&id("c"), &id("d"), "d"), Ballots::new(ProposerId { incarnation: 2, name: "later".into() }));
    let third = second.replaced();
    let mut stores = Stores::default();
    for store in ["a", "b", "c"] {
        stores.put(store, accepted(&first, 1));
    }
    let write = |from: &StoreSet, to: &StoreSet| Change::Write {
        expected: Some(state(from).version),
        content: Content::Inline(to.encode().into()),
        id: "set".into(),
    };
    let all = ["a", "b", "c", "d"];
    assert!(matches!(stores.run(write(&first, &second), &first, &all, &mut ballots), Some(Outcome::Committed(_))));
    assert_eq!(epoch(stores.run(Change::Read, &second, &all, &mut ballots)), Some(2));
    // The third stands on as few as may choose it.
    assert!(matches!(
        stores.run(write(&second, &third), &second, &["b", "c", "d"], &mut ballots),
        Some(Outcome::Committed(_))
    ));
    for up in [["a", "b"], ["a", "c"], ["b", "c"]] {
        assert_eq!(stores.run(Change::Rewrite, &first, &up, &mut ballots), None, "{up:?}");
    }
    assert_eq!(epoch(stores.run(Change::Read, &third, &["a", "b", "d"], &mut ballots)), Some(3));
}
