//! Records and objects that were restored to an earlier state.

use super::*;

#[test]
fn a_record_that_was_restored_passes_what_was_lost_of_it() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "v1"), "v1", &["a"]).unwrap();
    let life = book.record().unwrap().incarnation;
    let lost = |generation, content, stamp| HomeObject {
        stamp: Some(Revision(stamp)),
        stamp_life: Some(life),
        remembered_stamp: Some(Revision(stamp)),
        ..object("1", generation, content)
    };
    // The home is ahead of the record: it asks, and a word about this revision lets it count.
    assert_eq!(
        standing(book.record(), &member("a"), &lost(7, "v7", 7)),
        Standing::Frozen(Freeze::LedgerBehind { stamp: Revision(7) })
    );
    let taken = HomeObject { take_home: Some(Revision(1)), ..lost(7, "v7", 7) };
    let mut other = Book { page: book.page.clone(), revision: book.revision };
    other.ingest("a", taken, "v7", &["a"]).unwrap();
    assert_eq!(other.record().unwrap().revision, Revision(8));
    // Or it is made equal to what was restored, which passes the lost revisions, too.
    book.ingest("a", lost(8, "v1", 7), "v1", &["a"]).unwrap();
    assert_eq!(book.record().unwrap().revision, Revision(8));
    let after = HomeObject { stamp: Some(Revision(8)), ..lost(8, "v1", 7) };
    assert_eq!(standing(book.record(), &member("a"), &after), Standing::InStep);
    // What a member has counts as well, when the home was not told of it yet.
    let change = Change::Ingest {
        object: HomeObject { stamp: Some(Revision(8)), ..object("1", 9, "v9") },
        intent: intent("a", "v9"),
        sealed: None,
        placed: [member("a")].into(),
        reached: Revision(11),
    };
    book.write("a", change).unwrap();
    assert_eq!(book.record().unwrap().revision, Revision(12));
}

#[test]
fn a_stamp_of_an_earlier_life_says_nothing_of_this_one() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "v1"), "v1", &["a"]).unwrap();
    let earlier = HomeObject { stamp: Some(Revision(4)), stamp_life: Some(Incarnation(0)), ..object("2", 3, "v1") };
    assert_eq!(standing(book.record(), &member("b"), &earlier), Standing::Converged);
    book.ingest("b", earlier.clone(), "v1", &["a", "b"]).unwrap();
    assert_eq!(book.record().unwrap().revision, Revision(1));
    assert_eq!(standing(book.record(), &member("b"), &earlier), Standing::InStep);
}

#[test]
fn a_home_that_was_agreed_in_a_later_life_than_its_restored_record_goes_on_in_that_life() {
    let restored = || {
        let mut book = Book::new();
        book.ingest("a", object("1", 1, "v1"), "v1", &["a", "b"]).unwrap();
        book
    };
    let lost = Incarnation(restored().record().unwrap().incarnation.0 + 9);
    let made_anew =
        |content: &str| HomeObject { stamp: Some(Revision(4)), stamp_life: Some(lost), ..object("2", 1, content) };
    // What differs waits for a word.
    let mut book = restored();
    let behind = Standing::Frozen(Freeze::LedgerBehind { stamp: Revision(4) });
    assert_eq!(book.standing("a", &made_anew("v2")), behind);
    let taken = HomeObject { take_home: Some(Revision(1)), ..made_anew("v2") };
    book.ingest("a", taken, "v2", &["a"]).unwrap();
    let record = book.record().unwrap();
    assert_eq!((record.incarnation, record.revision), (lost, Revision(5)));
    // Whatever stands in the members may be of that life, too.
    assert!(record.placed.values().all(|placed| placed.incarnation == lost));
    // What is equal is agreed already, in a life that is behind: this home says it anew.
    let mut book = restored();
    assert_eq!(book.standing("a", &made_anew("v1")), Standing::Converged);
    book.ingest("a", made_anew("v1"), "v1", &["a", "b"]).unwrap();
    let record = book.record().unwrap();
    assert_eq!((record.incarnation, record.revision), (lost, Revision(5)));
    assert_eq!((&record.intent.author, &record.intent.signature), (&member("a"), &None));
    assert_eq!(book.standing("a", &made_anew("v1")), Standing::InStep);
}

#[test]
fn an_output_that_is_later_than_its_restored_record_is_passed_by_the_word_of_a_home_in_step() {
    let of =
        |life: u64, revision| Some(Box::new(Made { incarnation: Incarnation(life), revision: Revision(revision) }));
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "v1"), "v1", &["a", "b"]).unwrap();
    let life = book.record().unwrap().incarnation.0;
    for (later, passed) in [(of(life, 4), (life, 5)), (of(life + 9, 2), (life + 9, 6))] {
        let asked = HomeObject { later, ..object("1", 1, "v1") };
        assert_eq!(book.standing("a", &asked), Standing::InStep, "it waits for a user's word");
        let said = HomeObject { take_home: Some(book.record().unwrap().revision), ..asked };
        assert_eq!(book.standing("a", &said), Standing::Converged);
        book.ingest("a", said, "v1", &["a", "b"]).unwrap();
        let record = book.record().unwrap();
        assert_eq!((record.incarnation.0, record.revision.0), passed);
    }
}
