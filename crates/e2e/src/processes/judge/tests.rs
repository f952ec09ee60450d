use super::*;
use hansa_ballot::appointments::{Run, Seat};
use hansa_ballot::{Ballots, FederationHome, Signer};
use hansa_ledger::OperationId;
use hansa_ledger::page::Header;
use hansa_ledger::record::{Body, FORMAT, Intent};
use hansa_ledger::{Record, Slot};
use hansa_model::{Era, LeagueId};
use hansa_topo::agree::founders;
use serde_json::json;
use serde_json::value::to_raw_value;
use std::sync::Arc;

fn name(text: &str) -> MemberName {
    text.parse().unwrap()
}

fn key() -> RecordKey {
    "configmaps/shop/conf".parse().unwrap()
}

fn hash(revision: u64) -> Hash {
    Hash::of(&json!(revision))
}

/// A page with a record at this revision, decided in by `member` in this term.
fn page(member: &str, term: u64, revision: u64) -> Page {
    let intent = Intent {
        hash: hash(revision),
        author: name("a"),
        body: Body::Inline(to_raw_value(&json!({})).unwrap().into()),
        signature: None,
    };
    let record = Record {
        format: FORMAT,
        incarnation: Incarnation(1),
        revision: Revision(revision),
        intent,
        homes: Default::default(),
        moving: None,
        former: Default::default(),
        placed: Default::default(),
        tombstone: None,
        opened: None,
        sealed: None,
    };
    let header = Header { member: Some(name(member)), start: Some(Incarnation(1)), term: Term(term) };
    Page { header, records: [(key(), Slot::Known(Arc::new(record)))].into(), ..Page::empty() }
}

/// A history in which `a` was appointed to the only page in term 1 and `b` in term 2, and these wrote these pages.
fn history(pages: &[(&str, Page)]) -> History {
    let league = LeagueId(Hash::of(&json!("league")));
    let spec = to_raw_value(&json!({})).unwrap();
    let home = FederationHome { member: name("a"), uid: "uid".to_owned(), generation: 1, hash: league.0 };
    let (_, control) = Control::found(spec.into(), home, 1);
    let voters =
        founders(["a", "b"].map(|voter| (name(voter), Signer::new(name(voter), [voter.as_bytes()[0]; 32]).public())));
    let envelope = |revision, writer: &str| {
        let operation = OperationId { incarnation: Incarnation(1), sequence: revision };
        let mut envelope = Envelope::first(league, Era(1), revision);
        envelope.revision = Revision(revision);
        envelope.operations.insert(name(writer), operation);
        envelope
    };
    let appointed = |member: &str, term: u64| {
        let mut ballots = Ballots::found(voters.clone(), 1);
        ballots.appointments.pages =
            vec![Run { count: 1, seat: Seat { member: Some(name(member)), term: Term(term) } }];
        let mut control = control.voting(voters.clone());
        control.ballots = Some(ballots);
        envelope(term, "a").seal(&control.to_vec()).to_vec()
    };
    let control = vec![appointed("a", 1), appointed("b", 2)];
    let mut last = BTreeMap::new();
    let mut values = Vec::new();
    for (revision, (writer, page)) in (1..).zip(pages) {
        last.insert(name(writer), OperationId { incarnation: Incarnation(1), sequence: revision });
        let envelope = Envelope { operations: last.clone(), ..envelope(revision, writer) };
        values.push(envelope.seal(&page.to_vec()).to_vec());
    }
    [(format!("/league{}", keys::CONTROL), control), (format!("/league{}", keys::page(0)), values)].into()
}

fn judged(pages: &[(&str, Page)]) -> Result<Looked, String> {
    let edit = Edit { key: key(), incarnation: Incarnation(1), revision: Revision(2), hash: hash(2) };
    judge(&history(pages), "/league", &[edit]).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_history_as_it_should_be_holds() {
    let looked =
        judged(&[("a", page("a", 1, 1)), ("a", page("a", 1, 2)), ("b", page("b", 2, 2)), ("a", page("b", 2, 3))]);
    assert_eq!(looked, Ok(Looked { values: 6, pages: 4, terms: 1, edits: 1 }));
}

#[test]
fn two_writers_of_one_page_are_found() {
    let first = || ("a", page("a", 1, 2));
    let found = judged(&[first(), ("b", page("b", 1, 2))]).unwrap_err();
    assert!(found.contains("page 0 at revision 2") && found.contains("follows"), "{found}");
    // A deposed one that decides on.
    let found = judged(&[first(), ("b", page("b", 2, 2)), ("a", page("a", 1, 2))]).unwrap_err();
    assert!(found.contains("page 0 at revision 3"), "{found}");
    // A term that nobody gave.
    let found = judged(&[first(), ("a", page("a", 3, 2))]).unwrap_err();
    assert!(found.contains("never appointed for term 3"), "{found}");
    // A word in another one's name.
    let found = judged(&[first(), ("a", page("b", 2, 2))]).unwrap_err();
    assert!(found.contains("a wrote a decision of b"), "{found}");
}

#[test]
fn a_lost_edit_is_found() {
    let found = judged(&[("a", page("a", 1, 1)), ("a", page("a", 1, 3))]).unwrap_err();
    assert!(found.contains("never stood in its page"), "{found}");
    let found = judged(&[("a", page("a", 1, 2)), ("a", page("a", 1, 1))]).unwrap_err();
    assert!(found.contains("was followed by"), "{found}");
    let empty = Page { records: BTreeMap::new(), ..page("a", 1, 2) };
    let found = judged(&[("a", page("a", 1, 2)), ("a", empty)]).unwrap_err();
    assert!(found.contains("and is gone"), "{found}");
}

#[test]
fn a_revision_that_is_given_twice_is_found() {
    let mut history = history(&[("a", page("a", 1, 2)), ("a", page("a", 1, 3))]);
    let pages = history.get_mut("/league/v1/pages/0").unwrap();
    pages.push(pages[1].clone());
    let found = judge(&history, "/league", &[]).unwrap_err().to_string();
    assert!(found.contains("revision 2 of era 1 was followed by 2 of 1"), "{found}");
}
