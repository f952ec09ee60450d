//! The lives of a federated object: each hazard as a case, with the invariants as properties beside them.

use hansa_ledger::cell::Made;
use hansa_ledger::lives::{Duty, Freeze, HomeObject, Standing, duty, standing};
use hansa_ledger::mutation::{Change, Mutation, Skipped, apply};
use hansa_ledger::record::{Body, Intent};
use hansa_ledger::{Page, Record};
use hansa_model::{DeletionPolicy, Hash, Incarnation, MemberName, RecordKey, Revision, Term};

mod appointee;
mod invariants;
mod restored;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn member(name: &str) -> MemberName {
    name.parse().unwrap()
}

fn key() -> RecordKey {
    "configmaps/shop/app".parse().unwrap()
}

fn object(uid: &str, generation: u64, content: &str) -> HomeObject {
    HomeObject {
        uid: uid.into(),
        generation,
        hash: Hash::of_bytes(content.as_bytes()),
        stamp: None,
        stamp_life: None,
        later: None,
        remembered_stamp: None,
        take_home: None,
        unwritten: false,
        takeover_allowed: false,
    }
}

fn intent(author: &str, content: &str) -> Intent {
    let raw = serde_json::value::to_raw_value(&serde_json::json!({ "content": content })).unwrap();
    Intent {
        hash: Hash::of_bytes(content.as_bytes()),
        author: member(author),
        body: Body::Inline(raw.into()),
        signature: None,
    }
}

/// The first life in a new book.
const FIRST: Incarnation = Incarnation(2);

fn of(revision: u64) -> Made {
    Made { incarnation: FIRST, revision: Revision(revision) }
}

/// A page with its revision, as the topology server would number it.
struct Book {
    page: Page,
    revision: Revision,
}

impl Book {
    fn new() -> Self {
        Book { page: Page::empty(), revision: Revision(1) }
    }

    fn write(&mut self, name: &str, change: Change) -> Result<(), Skipped> {
        let mutation = Mutation { key: key(), member: member(name), change };
        let result = apply(&mut self.page, self.revision.next(), &mutation);
        if result.is_ok() {
            self.revision = self.revision.next();
        }
        result
    }

    fn ingest(&mut self, name: &str, object: HomeObject, content: &str, placed: &[&str]) -> Result<(), Skipped> {
        let placed = placed.iter().map(|name| member(name)).collect();
        self.write(
            name,
            Change::Ingest { object, intent: intent(name, content), sealed: None, placed, reached: Revision(0) },
        )
    }

    fn depart(&mut self, name: &str, object: HomeObject, accident: bool) -> Result<(), Skipped> {
        let ends = self.record().map(|record| record.incarnation);
        self.write(name, Change::Depart { object, accident, ends, policy: DeletionPolicy::Delete })
    }

    fn acknowledge(&mut self, name: &str) -> Result<(), Skipped> {
        let incarnation = self.record().map_or(Incarnation(u64::MAX), |record| record.incarnation);
        self.write(name, Change::Acknowledge { incarnation })
    }

    fn record(&self) -> Option<&Record> {
        self.page.record(&key()).map(|record| &**record)
    }

    fn standing(&self, name: &str, object: &HomeObject) -> Standing {
        standing(self.record(), &member(name), object)
    }
}

#[test]
fn an_edit_counts_when_the_home_was_in_step() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a", "b"]).unwrap();
    book.ingest("a", object("1", 2, "y"), "y", &["a", "b"]).unwrap();
    let record = book.record().unwrap();
    assert_eq!((record.revision, record.intent.hash), (Revision(2), Hash::of_bytes(b"y")));
    assert_eq!(book.standing("a", &object("1", 2, "y")), Standing::InStep);
}

#[test]
fn a_home_that_is_to_move_onto_another_content_waits_for_a_users_word() {
    let moves = |to: &str| Change::Move { incarnation: FIRST, to: member(to), takeover_allowed: false };
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a", "b"]).unwrap();
    let other = object("2", 1, "z");
    assert_eq!(book.standing("b", &other), Standing::Conflicts);
    book.write("a", moves("b")).unwrap();
    assert_eq!(book.standing("b", &other), Standing::Awaited);
    assert_eq!(book.ingest("b", other.clone(), "z", &["a"]), Err(Skipped::Stands(Standing::Awaited)));
    // The old home may take the move back.
    book.write("a", moves("a")).unwrap();
    assert_eq!(book.write("a", moves("a")), Err(Skipped::Unneeded));
    assert_eq!(book.standing("b", &other), Standing::Conflicts);
    book.write("a", moves("b")).unwrap();
    // The move is its consent: what stands there may count, by a user's word and no rule of the spec.
    let taken = HomeObject { take_home: Some(Revision(1)), ..other };
    assert_eq!(book.standing("b", &taken), Standing::Taken);
    book.ingest("b", taken, "z", &["a"]).unwrap();
    let record = book.record().unwrap();
    assert_eq!((record.homes.keys().next(), record.homes.len()), (Some(&member("b")), 1));
    assert_eq!(record.intent.hash, Hash::of_bytes(b"z"));
    // And back, to the copy that had stayed behind: it is the home again when it is equal.
    assert_eq!(book.standing("a", &object("1", 1, "x")), Standing::Former);
    book.write("b", moves("a")).unwrap();
    assert_eq!(book.standing("a", &object("1", 1, "x")), Standing::Awaited);
    book.ingest("a", object("1", 2, "z"), "z", &["a"]).unwrap();
    let record = book.record().unwrap();
    assert_eq!(record.homes.keys().collect::<Vec<_>>(), [&member("a")]);
    assert!(record.moving.is_none() && record.former.contains_key(&member("b")));
}

#[test]
fn equal_content_from_two_homes_converges_and_an_edit_leaves_the_other_differing() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a"]).unwrap();
    book.ingest("b", object("2", 1, "x"), "x", &["a"]).unwrap();
    assert_eq!(book.record().unwrap().homes.len(), 2);
    book.ingest("a", object("1", 2, "y"), "y", &["a"]).unwrap();
    assert_eq!(book.standing("b", &object("2", 1, "x")), Standing::Differs);
    // b's GitOps follows to the same content: it converges. Had it gone elsewhere: a conflict, and
    // the agreed version stands.
    assert_eq!(book.standing("b", &object("2", 2, "z")), Standing::Conflicts);
    assert_eq!(book.ingest("b", object("2", 2, "z"), "z", &["a"]), Err(Skipped::Stands(Standing::Conflicts)));
    book.ingest("b", object("2", 3, "y"), "y", &["a"]).unwrap();
    assert_eq!(book.standing("b", &object("2", 3, "y")), Standing::InStep);
    assert_eq!(book.record().unwrap().revision, Revision(2));
}

#[test]
fn stale_input_freezes_and_is_never_an_edit() {
    let mut book = Book::new();
    book.ingest("a", object("1", 3, "x"), "x", &["a"]).unwrap();
    book.ingest("a", object("1", 4, "y"), "y", &["a"]).unwrap();
    assert_eq!(book.standing("a", &object("1", 3, "x")), Standing::Frozen(Freeze::Restored));
    assert_eq!(book.standing("a", &object("9", 1, "x")), Standing::Frozen(Freeze::Recreated));
    // A stamp that was given and is now lower or missing.
    let mut unstamped = object("1", 5, "z");
    unstamped.remembered_stamp = Some(Revision(2));
    assert_eq!(book.standing("a", &unstamped), Standing::Frozen(Freeze::Restored));
    // The topology server was rolled back behind the object's stamp.
    let mut ahead = object("1", 5, "z");
    ahead.stamp = Some(Revision(9));
    assert_eq!(book.standing("a", &ahead), Standing::Frozen(Freeze::LedgerBehind { stamp: Revision(9) }));
    // The topology server lost the record altogether.
    let empty = Book::new();
    assert_eq!(empty.standing("a", &ahead), Standing::Frozen(Freeze::LedgerBehind { stamp: Revision(9) }));
    // A person's word ends it.
    let mut asked = object("9", 1, "x");
    asked.take_home = Some(book.record().unwrap().revision);
    assert_eq!(book.standing("a", &asked), Standing::Taken);
    // And so does content that is the agreed one again.
    assert_eq!(book.standing("a", &object("9", 1, "y")), Standing::Converged);
}

#[test]
fn what_is_taken_over_from_an_earlier_revision_counts_for_no_later_one() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a"]).unwrap();
    let mut asks = object("1", 2, "y");
    asks.take_home = Some(book.record().unwrap().revision);
    book.ingest("a", object("1", 3, "z"), "z", &["a"]).unwrap();
    // A process that was stopped in between writes what it knew, on what stands by now.
    assert_eq!(book.standing("a", &asks), Standing::Frozen(Freeze::Restored));
    asks.generation = 4;
    asks.take_home = Some(book.record().unwrap().revision);
    assert_eq!(book.standing("a", &asks), Standing::Edited);
}

#[test]
fn taking_a_home_needs_the_rule_or_a_homeless_object() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a"]).unwrap();
    let mut asks = object("2", 1, "z");
    asks.take_home = Some(book.record().unwrap().revision);
    assert_eq!(book.standing("b", &asks), Standing::Conflicts);
    asks.takeover_allowed = true;
    book.ingest("b", asks.clone(), "z", &["a"]).unwrap();
    assert_eq!(book.record().unwrap().homes.keys().map(MemberName::as_str).collect::<Vec<_>>(), ["b"]);
    // The old home comes back, stale: it reverts nothing, and its deletion deletes nothing.
    let mut back = object("1", 1, "x");
    back.stamp = Some(Revision(1));
    assert_eq!(book.standing("a", &back), Standing::Former);
    assert_eq!(book.depart("a", back.clone(), false), Err(Skipped::Unneeded));
    assert!(book.record().unwrap().tombstone.is_none());
    // Even with the agreed content it does not become a home again by itself; a user may say so.
    back.hash = Hash::of_bytes(b"z");
    assert_eq!(book.standing("a", &back), Standing::Former);
    back.take_home = Some(book.record().unwrap().revision);
    assert_eq!(book.standing("a", &back), Standing::Converged);
}

#[test]
fn a_move_needs_consent_or_the_rule_and_ends_with_one_home() {
    let moves = |to: &str, takeover_allowed| Change::Move { incarnation: FIRST, to: member(to), takeover_allowed };
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a"]).unwrap();
    assert_eq!(book.write("b", moves("b", false)), Err(Skipped::Unneeded), "nobody consented");
    assert_eq!(book.write("c", moves("b", true)), Err(Skipped::Unneeded), "a third member has no say");
    book.write("a", moves("b", false)).unwrap();
    assert!(
        book.record().unwrap().homes.contains_key(&member("a")),
        "the old home stays until the new one has the object"
    );
    book.ingest("b", object("2", 1, "x"), "x", &["a"]).unwrap();
    let record = book.record().unwrap();
    assert_eq!(record.homes.keys().map(MemberName::as_str).collect::<Vec<_>>(), ["b"]);
    assert_eq!((record.moving.as_ref(), record.revision), (None, Revision(1)));
    assert_eq!(book.standing("a", &object("1", 1, "x")), Standing::Former);
    // Without the old home's consent, where the rule allows it.
    book.write("c", moves("c", true)).unwrap();
    book.ingest("c", object("3", 1, "x"), "x", &["a"]).unwrap();
    assert_eq!(book.record().unwrap().homes.len(), 1);
}

#[test]
fn what_was_made_for_a_move_begins_no_life_without_a_users_word() {
    let mut book = Book::new();
    let made = HomeObject { unwritten: true, ..object("2", 1, "x") };
    book.ingest("a", object("1", 1, "x"), "x", &["a", "b"]).unwrap();
    book.write("a", Change::Move { incarnation: FIRST, to: member("b"), takeover_allowed: false }).unwrap();
    assert_eq!(book.standing("b", &made), Standing::Converged);
    // It is deleted while the object for the new home is on its way.
    book.depart("a", object("1", 1, "x"), false).unwrap();
    assert_eq!(book.standing("b", &made), Standing::Former);
    book.acknowledge("a").unwrap();
    book.acknowledge("b").unwrap();
    assert!(book.record().is_none());
    assert_eq!(book.standing("b", &made), Standing::Frozen(Freeze::Unwritten));
    let asks = HomeObject { take_home: Some(Revision(0)), ..made };
    assert_eq!(book.standing("b", &asks), Standing::Born);
    assert_eq!(book.standing("b", &HomeObject { unwritten: false, take_home: None, ..asks }), Standing::Born);
}

#[test]
fn deleting_in_one_of_several_homes_takes_that_home_away() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a", "c"]).unwrap();
    book.ingest("b", object("2", 1, "x"), "x", &["a", "c"]).unwrap();
    book.depart("a", object("1", 1, "x"), false).unwrap();
    assert!(book.record().unwrap().tombstone.is_none());
    book.depart("b", object("2", 1, "x"), false).unwrap();
    let record = book.record().unwrap();
    assert!(record.tombstone.is_some());
    assert_eq!(duty(record, &member("a")), Duty::Remove);
    assert_eq!(duty(record, &member("b")), Duty::None);
    book.acknowledge("a").unwrap();
    assert!(book.record().is_some(), "the tombstone stays until every placed member has said so");
    book.acknowledge("c").unwrap();
    assert!(book.record().is_none());
}

#[test]
fn what_was_decided_as_the_going_of_one_home_ends_no_life() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a", "c"]).unwrap();
    book.ingest("b", object("2", 1, "x"), "x", &["a", "c"]).unwrap();
    let life = book.record().unwrap().incarnation;
    let depart = |uid: &str, ends| Change::Depart {
        object: object(uid, 1, "x"),
        accident: false,
        ends,
        policy: DeletionPolicy::Delete,
    };
    // Both homes are deleted at once; each decides on a page in which the other still stands.
    book.write("a", depart("1", None)).unwrap();
    assert_eq!(book.write("b", depart("2", None)), Err(Skipped::Undecided));
    assert_eq!(book.write("b", depart("2", Some(Incarnation(life.0 - 1)))), Err(Skipped::Undecided));
    assert!(book.record().unwrap().tombstone.is_none());
    book.write("b", depart("2", Some(life))).unwrap();
    assert!(book.record().unwrap().tombstone.is_some());
}

#[test]
fn a_namespace_that_goes_is_an_accident_not_an_intent() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a", "b"]).unwrap();
    book.depart("a", object("1", 1, "x"), true).unwrap();
    let record = book.record().unwrap();
    assert!(record.is_homeless());
    assert_eq!(duty(record, &member("a")), Duty::Keep);
    // Created again with the same content it is the home again; with another it has to ask.
    assert_eq!(book.standing("a", &object("7", 1, "z")), Standing::Conflicts);
    book.ingest("a", object("7", 1, "x"), "x", &["a", "b"]).unwrap();
    assert!(!book.record().unwrap().is_homeless());
}

#[test]
fn a_reborn_name_is_a_new_life_and_carries_the_debts_of_the_old() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a", "b"]).unwrap();
    let first = book.record().unwrap().incarnation;
    book.depart("a", object("1", 1, "x"), false).unwrap();
    book.ingest("a", object("2", 1, "y"), "y", &["a"]).unwrap();
    let record = book.record().unwrap();
    assert!(record.incarnation > first);
    assert_eq!(record.revision, Revision(1));
    assert_eq!((duty(record, &member("a")), duty(record, &member("b"))), (Duty::Keep, Duty::Remove));
    assert_eq!(record.placed[&member("b")].incarnation, first);
    book.acknowledge("b").unwrap();
    assert_eq!(duty(book.record().unwrap(), &member("b")), Duty::Done);
}

#[test]
fn a_deletion_elsewhere_takes_the_copy_that_was_meant_and_no_other() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a"]).unwrap();
    let incarnation = book.record().unwrap().incarnation;
    book.write("b", Change::End { incarnation, policy: DeletionPolicy::Delete }).unwrap();
    assert_eq!(book.standing("a", &object("1", 1, "x")), Standing::Deleted);
    assert_eq!(book.standing("a", &object("2", 1, "x")), Standing::Reborn);
    let mut stale = object("2", 1, "x");
    stale.stamp = Some(Revision(1));
    assert_eq!(book.standing("a", &stale), Standing::Frozen(Freeze::Restored));
}
