//! A league's whole course with real proposers: founding, specs, joins, leaves, lost members, keys;
//! what is shown of it; and the fixture of every persisted format.

use crate::support::{
    Table, all_want, answers, config, decide, decide_after, founding, league, name, raw, signer, voter, voters,
};
use expect_test::{expect, expect_file};
use hansa_ballot::cell::Cell;
use hansa_ballot::control::SpecCandidate;
use hansa_ballot::decide::{spoken, tally};
use hansa_ballot::explain::{self, overview};
use hansa_ballot::membership::{Change, Join, consent};
use hansa_ballot::motion::to_be_voted_lost;
use hansa_ballot::proposer::{Frozen, Notes};
use hansa_ballot::voters::Place;
use hansa_ballot::{
    Ballots, Control, DEFAULT_PAGES, Document, Epoch, FederationHome, Key, Motion, Outcome, Proposer, Rule, Verdict,
    Verifier, audit,
};
use hansa_ledger::Envelope;
use hansa_model::{Era, Generation, Hash, Term};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn json<T: Serialize>(value: &T) -> Arc<RawValue> {
    to_raw_value(value).unwrap().into()
}

fn home(generation: u64, spec: &str) -> FederationHome {
    let hash = Hash::of(&serde_json::from_str(spec).unwrap());
    FederationHome { member: name("a"), uid: "1".into(), generation, hash }
}

fn spec_candidate(generation: u64, spec: &str) -> SpecCandidate {
    SpecCandidate { generation: Generation(generation), home: home(generation + 2, spec), spec: raw(spec) }
}

#[test]
fn a_league_of_today_reads_and_begins_to_vote() {
    let today = include_bytes!("fixtures/control-1.json");
    let control = Control::from_slice(today).unwrap();
    assert_eq!((control.pages, control.generation), (8, Generation(3)));
    assert!(control.spec().unwrap().paused);
    // What does not vote yet is written as it was.
    assert_eq!(String::from_utf8(control.to_vec()).unwrap(), String::from_utf8_lossy(today).trim_end());
    assert!(<Control as Document>::read(today).unwrap_err().to_string().contains("does not vote yet"));

    let mut table = Table::new(&NAMES, &control.voting(voters(&NAMES)));
    let spec = r#"{"paused":false}"#;
    let motion = decide(Key::spec(), json(&spec_candidate(4, spec)), Rule::Quorum);
    all_want(&mut table, &[0, 1], &motion);
    let adopted = table.proposers[1].document().unwrap();
    assert_eq!((adopted.generation, adopted.spec.get(), adopted.home.generation), (Generation(4), spec, 6));
    let decision = adopted.ballots().decision(&Key::spec(), Epoch(0)).unwrap();
    assert_eq!((decision.outcome, decision.value.is_none()), (Outcome::Adopted, true));
    // Every page has an appointee.
    assert_eq!(adopted.ballots().appointments.page(7).unwrap().term, Term(1));
    assert_eq!(Control::from_slice(&adopted.to_vec()).unwrap().to_vec(), adopted.to_vec());
}

#[test]
fn a_spec_that_is_not_the_next_one_is_not_even_opened() {
    let control = Control::found(raw("{}"), home(1, "{}"), DEFAULT_PAGES).1.voting(voters(&NAMES));
    let mut table = Table::new(&NAMES, &control);
    let mut wrong = spec_candidate(2, r#"{"paused":true}"#);
    wrong.home.hash = Hash::of_bytes(b"other");
    for (candidate, expected) in [(spec_candidate(9, "{}"), "the next one is 2"), (wrong, "home.hash is not that")] {
        all_want(&mut table, &[0], &decide(Key::spec(), json(&candidate), Rule::Quorum));
        let told = answers(&mut table, 0);
        assert!(told[0].contains(expected), "{told:?}");
    }
}

#[test]
fn the_formats_stay() {
    let mut control = Control::found(raw("{}"), home(1, "{}"), 8).1;
    control = control.voting(voters(&NAMES));
    let mut table = Table::new(&NAMES, &control);
    let spec = r#"{"paused":true}"#;
    all_want(&mut table, &[0, 1], &decide(Key::spec(), json(&spec_candidate(2, spec)), Rule::Quorum));
    let hash = Hash::of_bytes(b"plan");
    let key: Key = "rollout".parse().unwrap();
    all_want(&mut table, &[0, 1, 2], &Motion::Post { key, hash, phase: 0, needs: None });
    all_want(&mut table, &[2], &Motion::Claim { key: "dns".parse().unwrap(), over: None, ttl_ms: 5_000 });
    all_want(&mut table, &[0, 1], &Motion::Suspect { members: [name("c")].into() });
    all_want(&mut table, &[0], &decide(Key::lost(&name("c")), raw("true"), Rule::Quorum));
    let document = table.proposers[0].document().unwrap();
    expect_file!["fixtures/control-2.json"].assert_eq(&format!("{}\n", String::from_utf8(document.to_vec()).unwrap()));
    let fixture = Control::from_slice(include_bytes!("fixtures/control-2.json")).unwrap();
    assert_eq!(fixture.ballots().open.len(), 1);
    assert!(tally(fixture.ballots(), league(), &Verifier::default()).rejected.is_empty());
    let notes = hansa_ballot::proposer::Noted { digest: hash, epoch: Epoch(4), verdict: Some(Verdict::Yes) };
    let notes = Notes { epoch: Epoch(3), era: Era(1), open: [(Key::spec(), notes)].into(), ..Notes::default() };
    expect_file!["fixtures/notes-1.json"].assert_eq(&format!("{}\n", String::from_utf8(notes.to_vec()).unwrap()));
    assert_eq!(Notes::from_slice(include_bytes!("fixtures/notes-1.json")).unwrap(), notes);
    assert!(Notes::from_slice(br#"{"format":9}"#).is_err());
}

#[test]
fn joins_take_two_consents_and_leaves_name_the_removed() {
    let mut table = Table::new(&["a", "b", "c", "d"], &founding(&NAMES));
    let consents = consent(&signer("d"), league(), "uid-d", false);
    let join = Join { consent: consents, speaks: 1, voter: voter("d") };
    all_want(&mut table, &[3], &Motion::Speak { level: 1 });
    assert!(answers(&mut table, 3)[0].contains("join first"));
    all_want(&mut table, &[3], &Motion::Join(join.clone()));
    assert!(table.proposers[0].document().unwrap().joins.contains_key(&name("d")));
    // Nobody joins without the consent of its key.
    let change = |consent| Change::Join { consent, name: name("d"), user: "ada".into(), voter: voter("d") };
    let forged = consent(&signer("mallory"), league(), "uid-d", false);
    all_want(&mut table, &[0], &decide(Key::members(), json(&change(forged)), Rule::Quorum));
    assert!(answers(&mut table, 0).concat().contains("has not signed its consent"));
    all_want(&mut table, &[0, 1], &decide(Key::members(), json(&change(join.consent)), Rule::Quorum));
    assert_eq!(answers(&mut table, 0), ["Adopted"]);
    all_want(&mut table, &[3], &Motion::Speak { level: 1 });
    let joined = table.proposers[3].document().unwrap();
    assert_eq!((joined.voters.set.len(), joined.voters.quorum, joined.joins.len()), (4, 3, 0));
    assert!(joined.cells.contains_key(&name("d")));
    // The clone of a cluster does not join.
    let mut clone = voter("e");
    clone.uid = "uid-a".into();
    let cloned = Change::Join { consent: join.consent, name: name("e"), user: "ada".into(), voter: clone };
    all_want(&mut table, &[0], &decide_after(Epoch(1), Key::members(), json(&cloned), Rule::Quorum));
    assert!(answers(&mut table, 0).concat().contains("it is a clone"));
    let leave = Change::Leave { name: name("d"), reason: "sold".into() };
    let leave = decide_after(Epoch(1), Key::members(), json(&leave), Rule::Quorum);
    all_want(&mut table, &[0, 1, 2], &leave);
    let left = table.proposers[0].document().unwrap();
    assert_eq!((left.voters.set.len(), left.lineage.len()), (3, 2));
    let voter = voter("d");
    assert!(matches!(left.voters.place(&name("d"), &voter.uid, &voter.key), Place::Removed { .. }));
    // What it still writes is named, and whoever missed both changes can follow them.
    let mut written = left.clone();
    let cell = Cell::new(name("d"), hansa_model::Incarnation(9)).sign(&signer("d"), league(), Era(1));
    written.cells.insert(name("d"), cell);
    let named = tally(&written, league(), &Verifier::default()).rejected;
    assert_eq!(named[0].to_string(), "cells/d: written by a removed member: it joins again, or stops");
    let found = audit::audit(&founding(&NAMES), &written, league(), &Verifier::default());
    assert_eq!(found.breaches, []);
    let mut tampered = written.clone();
    tampered.voters.set.remove(&name("c"));
    let found = audit::audit(&founding(&NAMES), &tampered, league(), &Verifier::default());
    assert!(found.breaches[0].to_string().contains("do not follow"), "{found:?}");
}

#[test]
fn keys_rotate_by_their_holder_alone() {
    let mut table = Table::new(&NAMES, &founding(&NAMES));
    let fresh = hansa_ballot::Signer::new(name("b"), [9; 32]);
    let key = fresh.public();
    let rotate = Change::Rotate { consent: consent(&fresh, league(), "uid-b", false), key, name: name("b") };
    all_want(&mut table, &[0], &decide(Key::members(), json(&rotate), Rule::Quorum));
    assert!(answers(&mut table, 0).concat().contains("only b may rotate its key"));
    all_want(&mut table, &[1], &Motion::Speak { level: 1 });
    all_want(&mut table, &[1, 2], &decide(Key::members(), json(&rotate), Rule::Quorum));
    let told = [answers(&mut table, 1), answers(&mut table, 2), answers(&mut table, 0)];
    let rotated = table.proposers[0].document().unwrap().clone();
    assert_eq!(rotated.voters.set[&name("b")].key, key, "{told:?}");
    assert_eq!(rotated.voters.set[&name("b")].key, key);
    assert_eq!(rotated.voters.place(&name("b"), "uid-b", &voter("b").key), Place::OtherKey { key });
    assert!(!rotated.cells.contains_key(&name("b")));
    let mut again = config("b", founding(&NAMES));
    (again.signer, again.incarnation) = (fresh, hansa_model::Incarnation(2));
    table.proposers[1] = Proposer::new(again);
    all_want(&mut table, &[1], &Motion::Speak { level: 2 });
    assert_eq!(tally(table.proposers[1].document().unwrap(), league(), &Verifier::default()).rejected, []);
}

#[test]
fn a_lost_member_releases_its_seats_and_returns_by_a_vote() {
    let mut founding = founding(&NAMES);
    founding.appointments = hansa_ballot::appointments::Appointments::vacant(9);
    let mut table = Table::new(&NAMES, &founding);
    all_want(&mut table, &[0, 1, 2], &Motion::Speak { level: 2 });
    let pages = |table: &Table<Ballots>| {
        let seats = &table.proposers[0].document().unwrap().appointments;
        (0..9).filter(|page| seats.page(*page).unwrap().member == Some(name("c"))).count()
    };
    assert_eq!(pages(&table), 3);
    // One suspicion is no quorum; two take its seats, and call for the vote.
    all_want(&mut table, &[0], &Motion::Suspect { members: [name("c")].into() });
    assert_eq!(pages(&table), 3);
    all_want(&mut table, &[1], &Motion::Suspect { members: [name("c")].into() });
    table.serve_all();
    table.proposers[0].want(Motion::Speak { level: 2 });
    assert_eq!(pages(&table), 0);
    let document = table.proposers[0].document().unwrap();
    let cells = tally(document, league(), &Verifier::default()).cells;
    assert_eq!(to_be_voted_lost(document, &cells), [name("c")].into());
    let lost = Key::lost(&name("c"));
    all_want(&mut table, &[0, 1], &decide(lost.clone(), raw("true"), Rule::Quorum));
    assert_eq!(table.proposers[0].document().unwrap().lost.len(), 1);
    // The denominator stays: two of three decide, one alone does not.
    all_want(&mut table, &[0], &decide("x".parse().unwrap(), raw("1"), Rule::Quorum));
    assert!(table.proposers[0].document().unwrap().decision(&"x".parse().unwrap(), Epoch(0)).is_none());
    // The level is what all speak that are not lost.
    let document = table.proposers[0].document().unwrap();
    assert_eq!(spoken(document, &tally(document, league(), &Verifier::default()).cells), 2);
    all_want(&mut table, &[0, 1], &decide(Key::feature(), raw("2"), Rule::All));
    assert_eq!(table.proposers[0].document().unwrap().feature, 2);
    let back = |epoch| decide_after(epoch, lost.clone(), raw("false"), Rule::Quorum);
    let last = table.proposers[0].document().unwrap().decided(&lost);
    all_want(&mut table, &[0, 1], &Motion::Suspect { members: Default::default() });
    all_want(&mut table, &[1, 2], &back(last));
    assert_eq!((table.proposers[2].document().unwrap().lost.len(), pages(&table)), (0, 3));
}

#[test]
fn a_store_that_went_back_freezes_whoever_saw_more() {
    let mut table = Table::new(&NAMES, &founding(&NAMES));
    all_want(&mut table, &[0], &Motion::Speak { level: 1 });
    let earlier = table.stored.clone();
    all_want(&mut table, &[0, 1], &decide("x".parse().unwrap(), raw("1"), Rule::Quorum));
    let later = table.stored.clone();
    table.stored = earlier;
    table.proposers[0].told();
    all_want(&mut table, &[0], &Motion::Speak { level: 5 });
    let told = answers(&mut table, 0);
    assert!(told[0].contains("the topology server was rolled back: the revision is 1, and 3 was seen"), "{told:?}");
    assert!(matches!(table.proposers[0].frozen(), Some(Frozen::Breached { .. })));
    // It goes on where it was, once the store shows that again.
    table.stored = later;
    table.serve(0);
    assert!(answers(&mut table, 0).contains(&"Thawed".to_owned()));
    assert_eq!(table.proposers[0].frozen(), None);
}

#[test]
fn a_spec_that_nobody_voted_for_freezes_whoever_reads_it() {
    let control = Control::found(raw("{}"), home(1, "{}"), 8).1.voting(voters(&NAMES));
    let rewrite = |stored: &(u64, bytes::Bytes), change: &dyn Fn(&mut Control)| {
        let (envelope, body) = Envelope::open(&stored.1).unwrap();
        let mut document = Control::from_slice(&body).unwrap();
        change(&mut document);
        let revision = envelope.revision.next();
        Some((stored.0 + 1, Envelope { revision, nonce: 77, ..envelope }.seal(&document.to_vec())))
    };
    let why = |table: &mut Table<Control>, number: usize| {
        all_want(table, &[number], &Motion::Speak { level: 5 });
        table.proposers[number].frozen().map(ToString::to_string).unwrap_or_default()
    };
    // Whoever has read it before notices that it changed without a vote, before any was taken.
    for (change, words) in [
        (
            &(|control: &mut Control| control.spec = raw(r#"{"paused":true}"#)) as &dyn Fn(&mut Control),
            "changed without a vote",
        ),
        (&|control: &mut Control| control.home.member = name("b"), "changed without a vote"),
        (&|control: &mut Control| control.pages = 4, "it names 4 pages, and had 8"),
    ] {
        let mut table = Table::new(&NAMES, &control);
        all_want(&mut table, &[0], &Motion::Speak { level: 1 });
        let honest = table.stored.clone().unwrap();
        table.stored = rewrite(&honest, change);
        let told = why(&mut table, 0);
        assert!(told.contains(words), "{told}");
        table.stored = Some(honest.clone());
        assert_eq!(why(&mut table, 0), "");
    }
    let mut table = Table::new(&NAMES, &control);
    // Once one was voted on, it shows to everybody, also to who has read nothing yet.
    let spec = r#"{"paused":false}"#;
    all_want(&mut table, &[0, 1], &decide(Key::spec(), json(&spec_candidate(2, spec)), Rule::Quorum));
    let adopted = table.stored.clone().unwrap();
    let mut late = Table::new(&NAMES, &control);
    late.stored = Some(adopted.clone());
    assert_eq!(why(&mut late, 2), "");
    let mut deceived = Table::new(&NAMES, &control);
    deceived.stored = rewrite(&adopted, &|control| control.spec = raw(r#"{"paused":true}"#));
    let told = why(&mut deceived, 2);
    assert!(told.contains("not what was decided by ballot #1"), "{told}");
}

#[test]
fn who_voted_what_who_is_missing_and_what_it_would_take() {
    let names = ["a", "b", "c", "d", "e"];
    let mut table = Table::new(&names, &founding(&names));
    all_want(&mut table, &[0], &decide("primary/orders".parse().unwrap(), raw(r#""a""#), Rule::Quorum));
    let first = table.proposers[0].document().unwrap().clone();
    let no = Motion::Vote {
        key: "primary/orders".parse().unwrap(),
        epoch: Epoch(1),
        verdict: Verdict::No,
        reason: Some("a is in maintenance".into()),
    };
    all_want(&mut table, &[1], &no);
    all_want(&mut table, &[2], &Motion::Suspect { members: [name("e")].into() });
    all_want(&mut table, &[0, 1, 2], &decide("x".parse().unwrap(), raw("1"), Rule::Quorum));
    let document = table.proposers[0].document().unwrap();
    let tally = tally(document, league(), &Verifier::default());
    let ballot = explain::ballot(document, &tally, &"primary/orders".parse().unwrap()).unwrap();
    expect![[r#"
        primary/orders #1: a proposes "a"
          yes      a
          no       b: a is in maintenance
          missing  c
          missing  d
          missing  e
          adopted with 2 more yes of c, d, e; rejected with 2 more no"#]]
    .assert_eq(&ballot.to_string());
    expect![[r#"
        {
          "key": "primary/orders",
          "epoch": 1,
          "proposer": "a",
          "rule": "quorum",
          "value": "\"a\"",
          "hash": "15fcee7b0cf1930d6680776da48bae1bffd899f81477de98036543e750fc8f49",
          "yes": [
            "a"
          ],
          "no": {
            "b": "a is in maintenance"
          },
          "abstained": [],
          "missing": {
            "c": "live",
            "d": "live",
            "e": "live"
          },
          "takes": {
            "yes": 2,
            "no": 2,
            "of": [
              "c",
              "d",
              "e"
            ]
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&ballot).unwrap());
    expect![[r#"
        x #2: a votes yes
        primary/orders #1: b votes no: a is in maintenance
        x #2: b votes yes
        x #2: c votes yes
        c suspects e
        x #2: adopted"#]]
    .assert_eq(&explain::news(&first, document, league(), &Verifier::default()).join("\n"));
    let overview = overview(document, league(), &Verifier::default());
    expect![[r#"
        {"era":1,"epoch":2,"feature":0,"quorum":3,"votersEpoch":0,"voters":{"a":{"state":"live","witness":false,"suspectedBy":[],"speaks":0,"pages":0},
        "b":{"state":"live","witness":false,"suspectedBy":[],"speaks":0,"pages":0},
        "c":{"state":"live","witness":false,"suspectedBy":[],"speaks":0,"pages":0},
        "d":{"state":"live","witness":false,"suspectedBy":[],"speaks":0,"pages":0},
        "e":{"state":"live","witness":false,"suspectedBy":["c"],"speaks":0,"pages":0}},
        "open":[{"key":"primary/orders","epoch":1,"proposer":"a","rule":"quorum","value":"\"a\"","hash":"15fcee7b0cf1930d6680776da48bae1bffd899f81477de98036543e750fc8f49","yes":["a"],"no":{"b":"a is in maintenance"},
        "abstained":[],"missing":{"c":"live","d":"live","e":"live"},
        "takes":{"yes":2,"no":2,"of":["c","d","e"]}}],"decided":[{"key":"x","epoch":2,"era":1,"outcome":"adopted","proposer":"a","value":"1","certificate":["a","b","c"]}],"barriers":{},
        "joins":[],"rejected":[]}"#]].assert_eq(&serde_json::to_string(&overview).unwrap().replace("},", "},\n"));
}
