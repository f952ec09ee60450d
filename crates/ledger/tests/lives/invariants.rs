//! Whatever happens to an object, the invariants hold.

use super::*;
use hansa_ledger::record::PlacedState;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Event {
    Edit { name: usize, content: u8 },
    Stale { name: usize, back: usize },
    Delete { name: usize, accident: bool },
    Recreate { name: usize, content: u8 },
    Acknowledge { name: usize },
    Withdraw { target: usize, term: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let name = 0usize..3;
    prop_oneof![
        3 => (name.clone(), 0u8..3).prop_map(|(name, content)| Event::Edit { name, content }),
        2 => (name.clone(), 1usize..4).prop_map(|(name, back)| Event::Stale { name, back }),
        2 => (name.clone(), any::<bool>()).prop_map(|(name, accident)| Event::Delete { name, accident }),
        2 => (name.clone(), 0u8..3).prop_map(|(name, content)| Event::Recreate { name, content }),
        2 => name.clone().prop_map(|name| Event::Acknowledge { name }),
        1 => (name, 1u64..4).prop_map(|(target, term)| Event::Withdraw { target, term }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_invariants_hold(events in prop::collection::vec(event(), 1..60)) {
        let mut book = Book::new();
        // Per member: every object it ever showed, newest last.
        let mut seen: Vec<Vec<(HomeObject, String)>> = vec![Vec::new(); 3];
        let mut uids = 0;
        let content_text = |content: u8| format!("content {content}");
        for event in events {
            let before = book.record().cloned();
            let mut removing = BTreeSet::new();
            match event.clone() {
                Event::Edit { name, content } => {
                    let Some((last, _)) = seen[name].last().cloned() else { continue };
                    let text = content_text(content);
                    let next = object(&last.uid, last.generation + 1, &text);
                    seen[name].push((next.clone(), text.clone()));
                    let _ = book.ingest(NAMES[name], next, &text, &["a", "b"]);
                }
                Event::Recreate { name, content } => {
                    uids += 1;
                    let text = content_text(content);
                    let next = object(&format!("uid-{uids}"), 1, &text);
                    seen[name].push((next.clone(), text.clone()));
                    let _ = book.ingest(NAMES[name], next, &text, &["b", "c"]);
                }
                Event::Stale { name, back } => {
                    let history = &seen[name];
                    let Some((old, text)) = history.len().checked_sub(back + 1).map(|at| history[at].clone()) else { continue };
                    let (newest, _) = history.last().unwrap();
                    let stale = newest.uid != old.uid || newest.generation > old.generation;
                    let result = book.ingest(NAMES[name], old.clone(), &text, &["a", "b", "c"]);
                    if let (true, Ok(()), Some(before), Some(after)) = (stale, result, &before, book.record())
                        && before.homes.contains_key(&member(NAMES[name])) && before.tombstone.is_none()
                        && before.homes[&member(NAMES[name])].uid == newest.uid
                        && before.homes[&member(NAMES[name])].generation == newest.generation
                    {
                        prop_assert_eq!(before.intent.hash, after.intent.hash, "stale input was taken for an edit");
                    }
                }
                Event::Delete { name, accident } => {
                    let Some((last, _)) = seen[name].last().cloned() else { continue };
                    let _ = book.depart(NAMES[name], last, accident);
                    if accident && let (Some(before), Some(after)) = (&before, book.record()) {
                        prop_assert_eq!(before.tombstone.is_some(), after.tombstone.is_some());
                    }
                }
                Event::Acknowledge { name } => {
                    let _ = book.acknowledge(NAMES[name]);
                }
                Event::Withdraw { target, term } => {
                    removing.insert(member(NAMES[target]));
                    let of = before.as_ref().map_or(of(1), Made::from);
                    let members = removing.clone();
                    let _ = book.write("a", Change::Withdraw { of, members, under: (Term(term), Incarnation(1)) });
                }
            }
            let (Some(before), Some(after)) = (&before, book.record()) else { continue };
            prop_assert!(after.incarnation >= before.incarnation);
            if after.incarnation == before.incarnation {
                prop_assert!(after.revision >= before.revision);
                prop_assert!(before.tombstone.is_none() || after.tombstone.is_some(), "a tombstone was taken back");
                for (name, placed) in &before.placed {
                    prop_assert!(after.placed.contains_key(name), "a debt was forgotten");
                    let taken_away = placed.state == PlacedState::Placed && after.placed[name].state != PlacedState::Placed;
                    prop_assert!(!taken_away || removing.contains(name) || after.tombstone.is_some(), "{:?} took away", event);
                }
            } else {
                for (name, placed) in before.placed.iter().filter(|(_, placed)| placed.state != PlacedState::Gone) {
                    let debt = &after.placed[name];
                    prop_assert!(debt.state == PlacedState::Placed || debt.incarnation == placed.incarnation);
                }
            }
        }
    }
}
