//! The document as others may leave it: unknown fields, hostile bytes, forged and copied words; and the
//! laws of merging and deciding.

use crate::support::{Table, answers, founding, league, name, raw, signer, voter};
use hansa_ballot::audit::audit;
use hansa_ballot::cell::{Cell, Cells, merge};
use hansa_ballot::decide::{certified, decide as decide_all, settle, tally, verified};
use hansa_ballot::motion::{Accept, Answer, Pen, apply};
use hansa_ballot::proposer::Told;
use hansa_ballot::{Ballots, DocumentError, Epoch, Key, Motion, Outcome, Rule, Verdict, Verifier, Vote};
use hansa_model::{Era, Incarnation, LeagueId, Term};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn cell(text: &str, incarnation: u64, sequence: u64, speaks: u32) -> Cell {
    let mut cell = Cell::new(name(text), Incarnation(incarnation));
    (cell.sequence, cell.speaks) = (sequence, speaks);
    cell
}

fn decide(key: &str, value: &str, rule: Rule, accept: Accept) -> Motion {
    Motion::Decide { key: key.parse().unwrap(), after: Epoch(0), value: raw(value), rule, accept }
}

/// A document in which `a` has proposed and `b` has not voted.
fn open() -> Ballots {
    let mut table = Table::new(&["a", "b", "c"], &founding(&["a", "b", "c"]));
    table.proposers[0].want(decide("primary", "1", Rule::Quorum, Accept::Any));
    table.serve(0);
    table.proposers[1].want(Motion::Speak { level: 3 });
    table.serve(1);
    table.proposers[1].document().unwrap().clone()
}

fn faults(ballots: &Ballots) -> Vec<(String, &'static str)> {
    let found = tally(ballots, league(), &Verifier::default()).rejected;
    found.into_iter().map(|rejected| (rejected.what, rejected.why.label())).collect()
}

/// The document with one part of its JSON changed.
fn twisted(ballots: &Ballots, twist: impl FnOnce(&mut Value)) -> Result<Ballots, DocumentError> {
    let mut value: Value = serde_json::from_slice(&ballots.to_vec()).unwrap();
    twist(&mut value);
    Ballots::from_slice(value.to_string().as_bytes())
}

fn cells() -> impl Strategy<Value = Cells> {
    let one = (0u64..3, 0u64..3, 0u32..3);
    prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), one, 0..4).prop_map(|cells| {
        let sign = |(text, (incarnation, sequence, speaks)): (&str, (u64, u64, u32))| {
            (name(text), cell(text, incarnation, sequence, speaks).sign(&signer(text), league(), Era(1)))
        };
        cells.into_iter().map(sign).collect()
    })
}

fn merged(one: &Cells, other: &Cells) -> Cells {
    let mut merged = one.clone();
    merge(&mut merged, other);
    merged
}

proptest! {
    #[test]
    fn a_merge_is_a_semilattice(a in cells(), b in cells(), c in cells()) {
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        // Nothing that was said is lost.
        for (member, slot) in &a {
            let counter = |cells: &Cells| cells[member].cell().unwrap().counter();
            prop_assert!(counter(&merged(&a, &b)) >= slot.cell().unwrap().counter());
        }
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Ballots::from_slice(&bytes);
    }

    #[test]
    fn a_truncated_document_is_refused(cut in 0usize..1000) {
        let body = open().to_vec();
        let cut = body.len() * cut / 1000;
        prop_assert!(Ballots::from_slice(&body[..cut]).is_err());
    }

    #[test]
    fn one_changed_byte_never_counts_as_said(at in 0usize..10_000, to in b' '..b'~') {
        let before = open();
        let mut body = before.to_vec();
        let at = at % body.len();
        prop_assume!(body[at] != to);
        body[at] = to;
        if let Ok(after) = Ballots::from_slice(&body) {
            let verifier = Verifier::default();
            for (member, cell) in tally(&after, league(), &verifier).cells {
                // A cell that still counts says what its author signed.
                prop_assert_eq!(Some(cell), before.slot(member).and_then(|slot| slot.cell().ok()));
            }
        }
    }

    // Three voters vote on three keys in any order: what is decided is decided once, stays, and is
    // certified; settling twice changes nothing.
    #[test]
    fn decided_once_and_for_ever(script in prop::collection::vec((0usize..3, 0usize..3, any::<bool>(), any::<bool>()), 1..16)) {
        let names = ["a", "b", "c"];
        let mut table = Table::new(&names, &founding(&names));
        let mut held: BTreeMap<(Key, Epoch), (Outcome, hansa_model::Hash)> = BTreeMap::new();
        for (who, key, mine, again) in script {
            let key: Key = ["x", "y", "z"][key].parse().unwrap();
            let after = match table.proposers[who].document() {
                Some(known) if again => known.decided(&key),
                _ => Epoch(0),
            };
            let value = raw(&if mine { who.to_string() } else { "9".to_owned() });
            let accept = if mine { Accept::Equal } else { Accept::Any };
            table.proposers[who].want(Motion::Decide { key, after, value, rule: Rule::Quorum, accept });
            table.serve(who);
            let (_, stored) = table.stored.as_ref().unwrap();
            let ballots = Ballots::from_slice(&hansa_ledger::Envelope::open(stored).unwrap().1).unwrap();
            for (key, decision) in ballots.decisions.iter().chain(&ballots.refused) {
                let is = (decision.outcome, decision.hash);
                prop_assert_eq!(*held.entry((key.clone(), decision.epoch)).or_insert(is), is);
                let keys = ballots.voters.set.iter().map(|(name, voter)| (name.clone(), voter.key)).collect();
                let votes = certified(key, decision, &keys, league(), &Verifier::default());
                prop_assert!(votes >= 2 || decision.outcome == Outcome::Superseded);
            }
            for (key, epoch) in held.keys() {
                prop_assert!(ballots.decided(key) >= *epoch, "retracted");
            }
            let mut again = ballots.clone();
            settle(&mut again, league(), &Verifier::default());
            prop_assert_eq!(again.to_vec(), ballots.to_vec());
        }
    }
}

#[test]
fn what_a_release_does_not_know_is_carried_on_byte_for_byte() {
    let mut ballots = open();
    // A newer release of b: a field in its cell, with white space of its own, and one in the document.
    let body = r#"{"format":1, "incarnation":4,"member":"b","novelty":{"z": 1,"a":[ 2 ]},"sequence":9}"#;
    let statement = hansa_ballot::signing::Statement {
        league: league(),
        era: Era(1),
        about: "cells/b",
        counter: (4, 9),
        value: body.as_bytes(),
    };
    let slot = format!(r#"{{"body":{body},"signature":"{}"}}"#, signer("b").sign(&statement));
    ballots.cells.insert(name("b"), serde_json::from_str(&slot).unwrap());
    ballots.others.insert("novelty".to_owned(), raw(r#"{"later": 1.50}"#));
    let text = String::from_utf8(ballots.to_vec()).unwrap();
    let mut table = Table::new(&["c"], &Ballots::from_slice(text.as_bytes()).unwrap());
    table.proposers[0].want(Motion::Speak { level: 1 });
    table.serve(0);
    let after = table.proposers[0].document().unwrap();
    let again = String::from_utf8(after.to_vec()).unwrap();
    assert!(again.contains(&slot) && again.contains(r#""novelty":{"later": 1.50}"#), "{again}");
    // Its signature is valid still.
    assert!(faults(after).is_empty(), "{:?}", faults(after));
    assert_eq!(tally(after, league(), &Verifier::default()).cells[&name("b")].sequence, 9);
}

#[test]
fn what_is_forged_copied_replayed_or_by_strangers_is_ignored_and_named() {
    let ballots = open();
    let slot = |ballots: &Ballots, member: &str| ballots.slot(&name(member)).unwrap().clone();
    let with = |member: &str, slot| {
        let mut ballots = ballots.clone();
        ballots.cells.insert(name(member), slot);
        faults(&ballots)
    };
    assert_eq!(faults(&ballots), []);
    // Signed by another key.
    let forged = cell("c", 1, 1, 9).sign(&signer("mallory"), league(), Era(1));
    assert_eq!(with("c", forged), [("cells/c".to_owned(), "forged")]);
    // A cell under another's name.
    assert_eq!(with("c", slot(&ballots, "b")), [("cells/c".to_owned(), "copied")]);
    // From another era, or another league.
    let mut later = ballots.clone();
    later.era = Era(2);
    assert!(faults(&later).contains(&("cells/b".to_owned(), "replayed")));
    let elsewhere = cell("c", 1, 1, 9).sign(&signer("c"), LeagueId(hansa_model::Hash::of_bytes(b"other")), Era(1));
    assert_eq!(with("c", elsewhere), [("cells/c".to_owned(), "forged")]);
    // Nobody's.
    let stranger = cell("d", 1, 1, 9).sign(&signer("d"), league(), Era(1));
    assert_eq!(with("d", stranger.clone()), [("cells/d".to_owned(), "stranger")]);
    let mut removed = ballots.clone();
    let gone = hansa_ballot::voters::Removed { epoch: Epoch(1), key: voter("d").key, uid: "uid-d".into() };
    removed.voters.removed.insert(name("d"), gone);
    removed.cells.insert(name("d"), stranger);
    assert_eq!(faults(&removed), [("cells/d".to_owned(), "removed")]);
    // A vote that its author did not sign, in a cell that it did: for another candidate, say.
    let mut voting = cell("c", 1, 1, 0);
    let signature = slot(&ballots, "a").cell().unwrap().votes[&"primary".parse::<Key>().unwrap()].signature;
    voting
        .votes
        .insert("primary".parse().unwrap(), Vote { epoch: Epoch(1), reason: None, signature, verdict: Verdict::Yes });
    assert_eq!(with("c", voting.sign(&signer("c"), league(), Era(1))), [("votes/c/primary".to_owned(), "forged")]);
    // A candidate that its proposer has not voted for.
    let mut unsupported = ballots.clone();
    unsupported.cells.remove(&name("a"));
    assert_eq!(faults(&unsupported), [("open/primary".to_owned(), "unsupported")]);
    // None of it takes anything from the others.
    assert_eq!(verified(&unsupported, league(), &Verifier::default()).len(), 1);
}

#[test]
fn hostile_json_is_named() {
    let ballots = open();
    let slot = |text: Value| twisted(&ballots, |value| value["cells"]["c"] = text).map(|twisted| faults(&twisted));
    let signature = "A".repeat(86);
    for (text, label) in [
        (json!(7), "malformed"),
        (json!({"body": {}, "signature": signature}), "malformed"),
        (json!({"body": {"format": 1}, "signature": "short"}), "malformed"),
        (json!({"body": {"format": 9, "novelty": 1}, "signature": signature}), "unknown_format"),
        (json!({"body": {"format": 1, "junk": "x".repeat(40_000)}, "signature": signature}), "too_large"),
    ] {
        assert_eq!(slot(text.clone()).unwrap(), [("cells/c".to_owned(), label)], "{text}");
    }
    let refused = |twist: &dyn Fn(&mut Value)| twisted(&ballots, twist).unwrap_err().to_string();
    for (twist, expected) in [
        (&(|value: &mut Value| value["format"] = json!(9)) as &dyn Fn(&mut Value), "run a newer release"),
        (&|value| value["era"] = Value::Null, "era: "),
        (&|value| value["voters"]["quorum"] = json!(1), "more than half"),
        (&|value| value["voters"]["set"]["b"] = value["voters"]["set"]["a"].clone(), "two voters have one key"),
        (&|value| value["open"]["primary"]["value"] = json!(2), "open.primary.hash is not that of its value"),
        (&|value| value["open"]["primary"]["epoch"] = json!(7), "was not asked"),
        (&|value| value["open"]["Primary"] = value["open"]["primary"].clone(), "not a ballot's key"),
        (&|value| value["open"]["primary"]["novelty"] = json!(1), "unknown field `novelty`"),
        (
            &|value| value["appointments"] = json!({"pages": [{"count": 4_000_000_000u32, "seat": {}}]}),
            "more than any league",
        ),
    ] {
        let error = refused(twist);
        assert!(error.contains(expected), "{error}: {expected}");
    }
    for body in ["", "[]", "{}", r#"{"format":1}"#, "\u{feff}{}"] {
        assert!(Ballots::from_slice(body.as_bytes()).is_err(), "{body}");
    }
    assert!(Ballots::from_slice(&vec![b' '; 9 << 20]).unwrap_err().to_string().contains("more than"));
    // The same name twice.
    let twice = r#"{"format":1,"format":1,"era":1}"#;
    assert!(Ballots::from_slice(twice.as_bytes()).is_err());
}

#[test]
fn a_hundred_cells_stay_small_and_quick() {
    let names: Vec<String> = (0..100).map(|number| format!("member-{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut ballots = founding(&names);
    let voters = ballots.to_vec().len();
    let verifier = Verifier::default();
    // Under `All` it stays open until the last has voted.
    let motion = decide("spec", "1", Rule::All, Accept::Any);
    for text in &names[..99] {
        let signer = signer(text);
        let pen = Pen { signer: &signer, verifier: &verifier, league: league(), incarnation: Incarnation(1) };
        let mut cell = cell(text, 1_764_000_000_000, 41, 3);
        apply(&motion, &mut ballots, &mut cell, &pen).unwrap();
        ballots.cells.insert(name(text), cell.sign(&signer, league(), Era(1)));
    }
    let bytes = serde_json::to_vec(&ballots.cells).unwrap().len();
    println!("99 cells with a vote each: {bytes} bytes, {} a cell; 100 voters: {voters} bytes", bytes / 99);
    assert!(bytes <= 40_000, "{bytes}");
    let timed = |what: &str, run: &mut dyn FnMut()| {
        run();
        let began = std::time::Instant::now();
        (0..20).for_each(|_| run());
        println!("{what}: {} µs", began.elapsed().as_micros() / 20);
    };
    let body = ballots.to_vec();
    timed("read", &mut || drop(Ballots::from_slice(&body).unwrap()));
    timed("write", &mut || drop(ballots.to_vec()));
    timed("merge", &mut || merge(&mut ballots.cells.clone(), &ballots.cells));
    timed("tally", &mut || drop(tally(&ballots, league(), &verifier)));
    let counted = tally(&ballots, league(), &verifier);
    timed("decide", &mut || drop(decide_all(&ballots, &counted)));
    timed("settle", &mut || drop(settle(&mut ballots.clone(), league(), &verifier)));
    timed("audit", &mut || drop(audit(&ballots, &ballots, league(), &verifier)));
    assert_eq!(counted.counts.values().map(|count| count.yes.len()).sum::<usize>(), 99);
}

#[test]
fn answers_tell_what_was_decided_and_why_not() {
    let names = ["a", "b", "c"];
    let mut table = Table::new(&names, &founding(&names));
    table.proposers[0].want(decide("spec", r#"{"replicas":3}"#, Rule::Quorum, Accept::Any));
    table.serve(0);
    for number in [1, 2] {
        let key: Key = "spec".parse().unwrap();
        let reason = Some(format!("{} has no quota", names[number]));
        table.proposers[number].want(Motion::Vote { key, epoch: Epoch(1), verdict: Verdict::No, reason });
        table.serve(number);
    }
    table.serve(0);
    let told = table.proposers[0].told();
    let [Told::Answer(_, Answer::Decided(decision))] = &told[..] else { panic!("{told:?}") };
    assert_eq!((decision.outcome, decision.certificate.len()), (Outcome::Rejected, 2));
    assert_eq!(decision.reasons[&name("b")], "b has no quota");
    // A vote is not changed.
    table.serve(1);
    let key: Key = "spec".parse().unwrap();
    table.proposers[1].want(Motion::Vote { key, epoch: Epoch(1), verdict: Verdict::Yes, reason: None });
    table.serve(1);
    let told = table.proposers[1].told();
    assert!(told.iter().any(|told| matches!(told, Told::Answer(_, Answer::Decided(_)))), "{told:?}");
    assert!(!matches!(faults(table.proposers[1].document().unwrap())[..], [(_, "forged"), ..]));
}

/// Who asks for a change that has to be judged signs nothing of the change that another one has asked for first.
#[test]
fn a_proposal_says_nothing_of_anothers_that_has_to_be_judged() {
    let mut table = Table::new(&["a", "b", "c"], &founding(&["a", "b", "c"]));
    table.proposers[1].want(decide("primary", "2", Rule::Quorum, Accept::Judged));
    table.proposers[0].want(decide("primary", "1", Rule::Quorum, Accept::Any));
    table.serve(0);
    table.serve(1);
    assert_eq!(answers(&mut table, 1), ["a has another candidate of primary open: it is voted on first"]);
    let document = table.proposers[0].document().unwrap();
    let vote = |text: &str| document.cells.get(&name(text)).and_then(|slot| slot.cell().unwrap().votes.values().next());
    assert!(vote("a").is_some() && vote("b").is_none());
    table.proposers[1].want(decide("primary", "1", Rule::Quorum, Accept::Judged));
    table.serve(1);
    assert_eq!(answers(&mut table, 1), ["Adopted"]);
}

/// A call that was dropped may have claimed: whoever asks again gets a term that nobody had.
#[test]
fn an_own_claim_that_is_taken_over_gets_another_term() {
    let mut table = Table::new(&["a"], &founding(&["a"]));
    let claim = |over| Motion::Claim { key: "invoices".parse().unwrap(), over, ttl_ms: 1_000 };
    for (over, told) in [(None, 1), (None, 1), (Some(Term(1)), 2), (Some(Term(1)), 2)] {
        table.proposers[0].want(claim(over));
        table.serve(0);
        assert_eq!(answers(&mut table, 0), [format!("{:?}", Answer::Term(Term(told)))], "over {over:?}");
    }
}
