//! Decisions of the appointee: withdrawals and waves, and what of them is too late.

use super::*;

#[test]
fn a_withdrawal_is_fenced_by_the_term_in_the_header() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a", "b", "c"]).unwrap();
    let withdraw = |name: &str, term| Change::Withdraw {
        of: of(1),
        members: [member(name)].into(),
        under: (Term(term), Incarnation(2)),
    };
    book.write("a", withdraw("c", 5)).unwrap();
    // An earlier start of the appointee, which may still run.
    let earlier = Change::Withdraw { of: of(1), members: [member("b")].into(), under: (Term(5), Incarnation(1)) };
    assert_eq!(book.write("a", earlier), Err(Skipped::Fenced { term: Term(5) }));
    assert_eq!(book.write("b", withdraw("b", 4)), Err(Skipped::Fenced { term: Term(5) }));
    assert_eq!(book.write("b", withdraw("b", 5)), Err(Skipped::Fenced { term: Term(5) }));
    let record = book.record().unwrap();
    assert_eq!((duty(record, &member("b")), duty(record, &member("c"))), (Duty::Keep, Duty::Remove));
    // A decision about an older revision is no decision about this one.
    book.ingest("a", object("1", 2, "y"), "y", &["a", "b"]).unwrap();
    assert_eq!(book.write("a", withdraw("b", 6)), Err(Skipped::Unneeded));
}

#[test]
fn what_was_decided_about_one_life_is_not_done_to_the_next() {
    let mut book = Book::new();
    let all = ["a", "b", "c"];
    book.ingest("a", object("1", 1, "x"), "x", &all).unwrap();
    let under = (Term(1), Incarnation(1));
    let decided = [
        Change::Withdraw { of: of(1), members: [member("c")].into(), under },
        Change::Open { of: of(1), wave: 1, among: all.map(member).into(), under },
        Change::Place { of: of(1), members: [member("d")].into() },
        Change::Vouch { of: of(1), instead_of: None },
        Change::Move { incarnation: FIRST, to: member("b"), takeover_allowed: true },
    ];
    // It ends, and the name is born again: with a first revision, too.
    book.depart("a", object("1", 1, "x"), false).unwrap();
    book.ingest("a", object("2", 1, "x"), "x", &all).unwrap();
    let born = book.record().unwrap();
    assert_eq!((born.revision, born.incarnation > FIRST), (Revision(1), true));
    let before = serde_json::to_value(born).unwrap();
    for change in decided {
        assert_eq!(book.write("a", change), Err(Skipped::Unneeded));
    }
    assert_eq!(serde_json::to_value(book.record().unwrap()).unwrap(), before);
}

#[test]
fn a_wave_opens_once_for_one_revision_and_by_the_appointee() {
    let mut book = Book::new();
    book.ingest("a", object("1", 1, "x"), "x", &["a", "b", "c"]).unwrap();
    let open = |revision, wave, term| Change::Open {
        of: of(revision),
        wave,
        among: ["a", "b", "c"].map(member).into(),
        under: (Term(term), Incarnation(1)),
    };
    assert_eq!(book.record().unwrap().open_wave(), 0);
    book.write("a", open(1, 1, 2)).unwrap();
    assert_eq!(book.record().unwrap().open_wave(), 1);
    assert_eq!(book.write("b", open(1, 2, 1)), Err(Skipped::Fenced { term: Term(2) }));
    assert_eq!(book.write("a", open(1, 1, 2)), Err(Skipped::Unneeded), "it is open");
    book.ingest("a", object("1", 2, "y"), "y", &["a", "b", "c"]).unwrap();
    assert_eq!(book.record().unwrap().open_wave(), 0, "a new revision begins in the first wave");
    assert_eq!(book.write("a", open(1, 2, 2)), Err(Skipped::Unneeded), "that was said of an earlier revision");
    book.write("a", open(2, 2, 2)).unwrap();
    assert_eq!(book.record().unwrap().open_wave(), 2);
    book.ingest("a", object("1", 3, "z"), "z", &["a", "b", "c", "d"]).unwrap();
    assert_eq!(book.write("a", open(3, 1, 2)), Err(Skipped::Undecided), "nobody has looked at whether d has it");
}
