use super::*;
use crate::register::ProposerId;
use crate::register::stores::{Stores, accepted, decoded, id, state};

fn epoch(outcome: Option<Outcome>) -> Option<u64> {
    match outcome? {
        Outcome::Value(Some(state)) => Some(decoded(&state).epoch),
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
    let second = first.replacing(&id("c"), &id("d"), "d");
    let third = second.settled();
    let fourth = third.replaced().unwrap();
    let mut ballots = Ballots::new(ProposerId { incarnation: 2, name: "later".into() });
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
    assert!(
        second.replaced().is_none(),
        "after one set of both, they may still choose without a store of the new ones"
    );
    let ended = stores.run(write(&third, &fourth), &third, &["a", "b", "d"], &mut ballots);
    assert!(matches!(ended, Some(Outcome::Committed(_))), "{ended:?}");
    assert_eq!(epoch(stores.run(Change::Read, &fourth, &["b", "d"], &mut ballots)), Some(4));
}

/// A read that finds a write under way at one of two stores; what the stores hold is told it by `look`.
fn patient_read(stores: &mut Stores, mut look: impl FnMut(usize, &mut Stores)) -> (usize, Option<Outcome>) {
    let first = StoreSet::first(["a", "b", "c"].map(|name| (id(name), name.to_owned())).into());
    let mut ballots = Ballots::new(ProposerId { incarnation: 2, name: "later".into() });
    let waits = Waits::new(1, 2);
    let (operation, acts) = Operation::start(SET_KEY.into(), Change::Read, Arc::new(first), None, waits, &mut ballots);
    let mut looks = 0;
    let outcome = stores.drive(operation, acts, &mut usize::MAX.clone(), &["a", "b"], &mut ballots, |stores| {
        look(looks, stores);
        looks += 1;
    });
    (looks, outcome)
}

fn half_written() -> (Stores, StoreSet) {
    let first = StoreSet::first(["a", "b", "c"].map(|name| (id(name), name.to_owned())).into());
    let next = first.barring(&id("c"), "");
    let mut stores = Stores::default();
    stores.put("a", accepted(&first, 2));
    stores.put("b", accepted(&next, 3));
    (stores, next)
}

#[test]
fn a_read_lets_a_write_that_gets_on_go_first() {
    let (mut stores, next) = half_written();
    let (looks, outcome) = patient_read(&mut stores, |look, stores| {
        // Its other half comes late.
        if look == 1 {
            stores.put("a", accepted(&next, 3));
        }
    });
    assert_eq!((looks, epoch(outcome)), (2, Some(2)));
    assert_eq!(stores.writes(), 0, "a read that finds the write done changes nothing");
}

#[test]
fn a_read_settles_a_write_that_was_left_behind() {
    let (mut stores, _) = half_written();
    let (looks, outcome) = patient_read(&mut stores, |_, _| ());
    assert_eq!((looks, epoch(outcome)), (2, Some(2)), "two looks find it where it was");
    assert!(stores.writes() > 0);
}
