use super::*;
use hansa_ballot::Voter;
use hansa_ledger::record::{FORMAT, Intent, Tombstone};
use hansa_model::{Hash, Incarnation, Revision};
use serde_json::value::RawValue;

fn name(text: &str) -> MemberName {
    text.parse().unwrap()
}

fn key() -> RecordKey {
    "configmaps/shop/app".parse().unwrap()
}

fn signer(of: &str) -> Signer {
    Signer::new(name(of), *Hash::of_bytes(of.as_bytes()).as_bytes())
}

fn voters(names: &[&str]) -> Voters {
    let voter = |of: &&str| Voter { key: signer(of).public(), uid: format!("uid-{of}"), witness: false };
    Voters::found(names.iter().map(|of| (name(of), voter(of))).collect(), BTreeMap::new())
}

fn said(era: u64) -> Said {
    Said { league: LeagueId(Hash::of_bytes(b"league")), era: Era(era) }
}

fn record(author: &str, text: &str) -> Arc<Record> {
    let raw = RawValue::from_string(format!("{{\"template\":\"{text}\"}}")).unwrap();
    Arc::new(Record {
        format: FORMAT,
        incarnation: Incarnation(3),
        revision: Revision(2),
        intent: Intent {
            hash: Hash::of_bytes(text.as_bytes()),
            author: name(author),
            body: Body::Inline(Arc::from(raw)),
            signature: None,
        },
        homes: Default::default(),
        moving: None,
        former: Default::default(),
        placed: Default::default(),
        tombstone: None,
        opened: None,
        sealed: None,
    })
}

fn signed(author: &str) -> Arc<Record> {
    let mut record = record(author, "x");
    sign(&key(), &mut record, &signer(author), said(1), &Verifier::default());
    record
}

fn judged(record: &Record, voters: &Voters, said: Said) -> Result<(), Fault> {
    verify(&key(), record, voters, said, &Verifier::default()).map_err(|rejected| rejected.why)
}

#[test]
fn a_word_is_its_authors_and_nobody_elses() {
    let league = voters(&["a", "b"]);
    assert_eq!(judged(&signed("a"), &league, said(1)), Ok(()));
    assert_eq!(judged(&record("a", "x"), &league, said(1)), Err(Fault::Forged), "it is not signed");
    let mut of_b = record("a", "x");
    sign(&key(), &mut of_b, &signer("b"), said(1), &Verifier::default());
    assert!(of_b.intent.signature.is_none(), "b signs nothing in the name of a");
    let copied = |change: fn(&mut Record)| {
        let mut record = Record::clone(&signed("a"));
        change(&mut record);
        judged(&record, &league, said(1))
    };
    assert_eq!(copied(|record| record.intent.author = name("b")), Err(Fault::Forged));
    assert_eq!(copied(|record| record.intent.hash = Hash::of_bytes(b"y")), Err(Fault::Forged));
    assert_eq!(copied(|record| record.revision = Revision(3)), Err(Fault::Forged));
    assert_eq!(copied(|record| record.incarnation = Incarnation(4)), Err(Fault::Forged));
    let other_body = |record: &mut Record| {
        let raw = RawValue::from_string("{\"template\":\"y\"}".to_owned()).unwrap();
        record.intent.body = Body::Inline(Arc::from(raw));
    };
    assert_eq!(copied(other_body), Err(Fault::Forged));
    let garbled = |record: &mut Record| record.intent.signature = Some("no signature at all".to_owned());
    assert_eq!(copied(garbled), Err(Fault::Forged));
}

#[test]
fn an_end_is_signed_apart_from_the_intent() {
    let league = voters(&["a", "b"]);
    let mut ended = Record::clone(&signed("a"));
    ended.tombstone = Some(Tombstone { author: name("b"), policy: DeletionPolicy::Delete, signature: None });
    assert_eq!(judged(&ended, &league, said(1)), Err(Fault::Forged), "the intent's signature ends nothing");
    let mut ended = Arc::new(ended);
    sign(&key(), &mut ended, &signer("b"), said(1), &Verifier::default());
    assert_eq!(judged(&ended, &league, said(1)), Ok(()));
    let mut other = Record::clone(&ended);
    other.tombstone.as_mut().unwrap().policy = DeletionPolicy::Orphan;
    assert_eq!(judged(&other, &league, said(1)), Err(Fault::Forged));
}

#[test]
fn who_has_left_or_was_never_there_says_nothing() {
    assert_eq!(judged(&signed("a"), &voters(&["b"]), said(1)), Err(Fault::Stranger));
    let mut league = voters(&["b"]);
    let removed =
        hansa_ballot::voters::Removed { epoch: Default::default(), key: signer("a").public(), uid: "uid-a".into() };
    league.removed.insert(name("a"), removed);
    assert_eq!(judged(&signed("a"), &league, said(1)), Err(Fault::Removed));
}

#[test]
fn a_word_outlives_a_raise_of_the_era_and_comes_from_none_to_come() {
    let league = voters(&["a"]);
    assert_eq!(judged(&signed("a"), &league, said(3)), Ok(()));
    let mut later = record("a", "x");
    sign(&key(), &mut later, &signer("a"), said(4), &Verifier::default());
    assert_eq!(judged(&later, &league, said(3)), Err(Fault::Forged));
}

#[test]
fn what_an_author_said_by_an_earlier_key_is_found_and_nobody_elses() {
    let (first, next) = (signer("a"), Signer::new(name("a"), [9; 32]));
    let verifier = Verifier::default();
    let mut ended = Record::clone(&signed("a"));
    ended.tombstone = Some(Tombstone { author: name("a"), policy: DeletionPolicy::Delete, signature: None });
    let mut ended = Arc::new(ended);
    sign(&key(), &mut ended, &first, said(2), &verifier);
    let by = |record: &Record, author: &str, signer: &Signer| {
        said_by(&key(), record, (&name(author), &signer.public()), said(2), &verifier).count()
    };
    assert_eq!(by(&ended, "a", &first), 2, "its intent, of an earlier era, and its end");
    assert_eq!(by(&ended, "a", &next), 0);
    assert_eq!(by(&ended, "b", &first), 0);
    let mut forged = Record::clone(&ended);
    forged.tombstone.as_mut().unwrap().policy = DeletionPolicy::Orphan;
    assert_eq!(by(&forged, "a", &first), 1, "an end that it never said is not found");
}

#[test]
fn a_signature_names_its_key() {
    let (record, league) = (signed("a"), voters(&["a", "b"]));
    assert!(Word::intent(&key(), &record).names_key_of(&league));
    let mut rotated = league.clone();
    rotated.set.get_mut(&name("a")).unwrap().key = signer("other").public();
    assert!(!Word::intent(&key(), &record).names_key_of(&rotated));
    assert!(!Word::intent(&key(), &record).names_key_of(&voters(&["b"])));
}
