//! Eras: begun by a person's signed force, or unsigned where no keys of people are known; and what is
//! not followed.

use crate::support::{
    Table, all_want, answers, config, decide, decide_after, founding, league, name, raw, signer, voters,
};
use expect_test::expect_file;
use hansa_ballot::audit::{Breach, audit};
use hansa_ballot::proposer::{Event, Notes};
use hansa_ballot::voters::Voters;
use hansa_ballot::{Ballots, Document, Epoch, Force, Key, Motion, Proposer, Rule, Verifier};
use hansa_ledger::{Envelope, Version, Versioned};
use hansa_model::{Era, MemberName, Revision};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn set(names: &[&str]) -> BTreeSet<MemberName> {
    names.iter().map(|text| name(text)).collect()
}

fn force(by: &str, era: u64, ballots: &Ballots, discarded: &[&str]) -> Force {
    Force::sign(&signer(by), league(), Era(era), ballots, set(discarded)).unwrap()
}

fn known(table: &Table<Ballots>, number: usize) -> &Ballots {
    table.proposers[number].document().unwrap()
}

/// Voters of a league that knows no keys of people.
fn without_people() -> Ballots {
    Ballots::found(Voters { people: BTreeMap::new(), ..voters(&NAMES) }, 0)
}

/// Puts a document into the store as a person does: under the era that it is of, after `revision`.
fn put(table: &mut Table<Ballots>, revision: Revision, ballots: &Ballots) {
    let (version, value) = table.stored.clone().unwrap();
    let (envelope, _) = Envelope::open(&value).unwrap();
    let envelope = Envelope { era: ballots.era, revision: revision.next(), nonce: 7, ..envelope };
    table.stored = Some((version + 1, envelope.seal(&ballots.to_vec())));
}

fn revision(table: &Table<Ballots>) -> Revision {
    Envelope::open(&table.stored.as_ref().unwrap().1).unwrap().0.revision
}

fn why(known: &Ballots, next: &Ballots) -> String {
    let breaches = audit(known, next, league(), &Verifier::default()).breaches;
    assert!(breaches.iter().all(|breach| matches!(breach, Breach::Unforced { .. })), "{breaches:?}");
    breaches.first().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_person_forces_when_the_quorum_is_lost_and_the_discarded_freeze() {
    let mut table = Table::new(&NAMES, &founding(&NAMES));
    all_want(&mut table, &[0, 1, 2], &Motion::Speak { level: 1 });
    all_want(&mut table, &[0], &decide(key("x"), raw("1"), Rule::Quorum));
    let before = known(&table, 0).clone();
    let verifier = Verifier::default();
    let apply = |force: &Force| force.apply(&before, league(), &verifier);
    let refused = apply(&force("mallory", 2, &before, &["b", "c"])).unwrap_err();
    assert!(refused.contains("mallory is no person whose key this league knows; it knows ada"), "{refused}");
    let forged = Force { discarded: set(&["a"]), ..force("ada", 2, &before, &["b", "c"]) };
    assert!(apply(&forged).unwrap_err().contains("not over this"));
    assert!(apply(&force("ada", 1, &before, &[])).unwrap_err().contains("for era 1, and the document is of era 1"));
    let unknown = Force::sign(&signer("ada"), league(), Era(2), &before, set(&["d"])).unwrap_err();
    assert_eq!(unknown, "d does not vote: name some of a, b, c");
    assert!(Force::sign(&signer("ada"), league(), Era(2), &before, set(&NAMES)).unwrap_err().contains("0 voters"));
    let after = apply(&force("ada", 2, &before, &["b", "c"])).unwrap();
    assert_eq!((after.era, after.voters.quorum, after.open.len()), (Era(2), 1, 0));
    assert_eq!(after.force().unwrap().discarded, set(&["b", "c"]));
    assert_eq!(why(&before, &after), "");
    expect_file!["fixtures/forced-1.json"].assert_eq(&format!("{}\n", String::from_utf8(after.to_vec()).unwrap()));
    let fixture = Ballots::from_slice(include_bytes!("fixtures/forced-1.json")).unwrap();
    assert_eq!(why(&before, &fixture), "");
    // In the store: the one that is left goes on by itself, the others say why they do not.
    let revision = revision(&table);
    put(&mut table, revision, &after);
    table.serve_all();
    assert_eq!(known(&table, 0).decided(&key("x")), Epoch(3));
    table.proposers[1].told();
    all_want(&mut table, &[1], &Motion::Speak { level: 2 });
    assert!(answers(&mut table, 1)[0].contains("does not vote here (Removed"));
}

#[test]
fn where_people_have_keys_only_a_signed_era_is_followed() {
    let before = founding(&NAMES);
    let unsigned = before.in_era(Era(2));
    let refused = why(&before, &unsigned);
    assert!(refused.starts_with("era 2 was begun by nobody who may begin one: nobody signed for it"), "{refused}");
    assert!(refused.contains("keys of people (ada)"), "{refused}");
    let verifier = Verifier::default();
    let signed = force("ada", 2, &before, &[]).apply(&before, league(), &verifier).unwrap();
    assert_eq!(why(&before, &signed), "");
    // The word for one era begins no other, and no other voters.
    let again = Ballots { forced: signed.forced.clone(), ..before.in_era(Era(3)) };
    assert!(why(&before, &again).contains("nobody signed for it"));
    let mut mine = signed.clone();
    mine.forced.as_mut().unwrap().era = Era(3);
    mine.era = Era(3);
    assert!(why(&before, &mine).contains("not signed by ada's key"));
    let mut fewer = signed.clone();
    fewer.voters.set.remove(&name("c"));
    fewer.voters.quorum = 2;
    assert!(matches!(audit(&before, &fewer, league(), &verifier).breaches[..], [Breach::Voters { .. }]));
    // Whoever missed an era follows the later one, and its voters.
    let third = force("ada", 3, &signed, &["c"]).apply(&signed, league(), &verifier).unwrap();
    let fifth = force("ada", 5, &third, &["b"]).apply(&third, league(), &verifier).unwrap();
    assert_eq!((why(&before, &fifth), fifth.voters.set.len()), (String::new(), 1));
    // A document from before a voter joined is what a person may let count, too.
    let mut more = founding(&["a", "b", "c", "d"]);
    more.voters.epoch = Epoch(9);
    assert_eq!(why(&more, &signed), "");
}

#[test]
fn after_a_rollback_an_unsigned_era_of_the_same_voters_is_followed_without_a_restart() {
    let mut table = Table::new(&NAMES, &without_people());
    all_want(&mut table, &[0, 1, 2], &Motion::Speak { level: 1 });
    let (earlier, earlier_revision) = (known(&table, 0).clone(), revision(&table));
    all_want(&mut table, &[0, 1], &decide(key("x"), raw("1"), Rule::Quorum));
    all_want(&mut table, &[0, 1], &decide(key("y"), raw("1"), Rule::Quorum));
    let later = known(&table, 0).clone();
    assert!(later.epoch > earlier.in_era(Era(2)).epoch);
    table.proposers.iter_mut().for_each(|proposer| drop(proposer.told()));
    put(&mut table, earlier_revision, &Ballots { era: Era(1), ..earlier.clone() });
    all_want(&mut table, &[0], &Motion::Speak { level: 2 });
    assert!(answers(&mut table, 0)[0].contains("the topology server was "));
    // What was decided since is gone, and so is who had said it: a person said so.
    put(&mut table, earlier_revision, &earlier.in_era(Era(2)));
    table.serve_all();
    assert!(answers(&mut table, 0).contains(&"Thawed".to_owned()));
    assert_eq!((known(&table, 0).era, known(&table, 0).decided(&key("x"))), (Era(2), Epoch(0)));
    // Numbers of ballots that were voted on in the history that is lost are given again, and are voted on.
    for (nth, value) in ["2", "3", "4"].iter().enumerate() {
        let after = known(&table, 0).decided(&key("x"));
        all_want(&mut table, &[0, 1], &decide_after(after, key("x"), raw(value), Rule::Quorum));
        assert!(known(&table, 0).decided(&key("x")) > after, "the {nth}th is decided");
    }
    assert!(known(&table, 0).epoch >= later.epoch);
    table.serve_all();
    assert_eq!(known(&table, 2).to_vec(), known(&table, 0).to_vec());
}

#[test]
fn an_unsigned_era_that_changes_the_voters_is_refused_and_named() {
    let before = without_people();
    assert_eq!(why(&before, &before.in_era(Era(2))), "");
    let changed = |change: fn(&mut Voters)| {
        let mut next = before.in_era(Era(2));
        change(&mut next.voters);
        why(&before, &next)
    };
    let fewer = changed(|voters| drop(voters.set.remove(&name("c"))));
    assert!(fewer.contains("it changes the voters (without c)"), "{fewer}");
    let more = changed(|voters| drop(voters.set.insert(name("m"), crate::support::voter("m"))));
    assert!(more.contains("(with m)"), "{more}");
    let other = changed(|voters| voters.set.get_mut(&name("c")).unwrap().key = signer("m").public());
    assert!(other.contains("(with another key of c)"), "{other}");
    let people = changed(|voters| {
        voters.people.insert("eve".to_owned(), signer("eve").public());
    });
    assert!(people.contains("(another quorum or other people)"), "{people}");
    // A force by a key that is not known here is no word of a person of this league.
    let eve = Ballots {
        voters: Voters { people: [("eve".to_owned(), signer("eve").public())].into(), ..before.voters.clone() },
        ..before.clone()
    };
    let forced = force("eve", 2, &eve, &["b", "c"]).apply(&eve, league(), &Verifier::default()).unwrap();
    assert!(why(&before, &forced).contains("without b, c"));
    // What the voters themselves decided since is another matter, and so is whom an older document took out.
    let mut table = Table::new(&NAMES, &before);
    all_want(&mut table, &[0, 1, 2], &Motion::Speak { level: 1 });
    let (first, revision) = (known(&table, 0).clone(), revision(&table));
    put(&mut table, revision, &first.in_era(Era(2)));
    let leave = hansa_ballot::membership::Change::Leave { name: name("c"), reason: "it is sold".to_owned() };
    let leave = serde_json::value::to_raw_value(&leave).unwrap().into();
    all_want(&mut table, &[0, 1], &decide(Key::members(), leave, Rule::Quorum));
    assert_eq!(known(&table, 0).voters.set.len(), 2);
    assert_eq!(why(&first, known(&table, 0)), "");
    // Nor do decisions of the new era hide that it began with other voters than are known.
    let mut stale = first.clone();
    stale.voters.set.remove(&name("b"));
    stale.voters.quorum = 2;
    let hidden = why(&stale, known(&table, 0));
    assert!(hidden.contains("it changes the voters") && hidden.contains("restart the operator here"), "{hidden}");
}

#[test]
fn a_restarted_voter_knows_whose_word_it_takes() {
    let before = founding(&NAMES);
    let notes = Notes { era: Era(1), people: before.voters.people.clone(), revision: Revision(4), ..Notes::default() };
    let read = |next: &Ballots, notes: &Notes| {
        let mut proposer =
            Proposer::new(hansa_ballot::proposer::Config { notes: notes.clone(), ..config("a", before.clone()) });
        proposer.step(Event::Wanted, 1, 1);
        let envelope = Envelope { revision: Revision(3), ..Envelope::first(league(), next.era, 5) };
        let value = envelope.seal(&next.write());
        proposer.step(Event::Read(Some(Versioned { version: Version::new("1"), value })), 2, 2);
        proposer.frozen().map(|frozen| (frozen.refused_era(), frozen.to_string()))
    };
    let (era, refused) = read(&before.in_era(Era(2)), &notes).unwrap();
    assert!(era == Some(Era(2)) && refused.contains("nobody signed for it"), "{refused}");
    let signed = force("ada", 2, &before, &["b"]).apply(&before, league(), &Verifier::default()).unwrap();
    assert_eq!(read(&signed, &notes), None);
    assert_eq!(read(&before.in_era(Era(2)), &Notes { people: BTreeMap::new(), ..notes }), None);
}
