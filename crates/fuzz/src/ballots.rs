//! What a league agrees with: the control document, its ballots, and what stands in them.

use crate::{same_again, same_json_again};
use hansa_ballot::cell::{MAX_CELL, Slot};
use hansa_ballot::contention::crowded;
use hansa_ballot::control::SpecCandidate;
use hansa_ballot::decide::{settle, tally};
use hansa_ballot::membership::Change;
use hansa_ballot::proposer::Notes;
use hansa_ballot::{
    Ballots, Control, Document, Epoch, FederationHome, Motion, Outcome, Proposer, Signer, Verifier, audit, explain,
};
use hansa_model::{Hash, LeagueId, MemberName};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeSet;

/// The league that the samples are signed for.
fn league() -> LeagueId {
    crowded(1).0
}

pub fn control(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| Control::from_slice(bytes).map_err(|error| error.to_string());
    let control = same_again(bytes, read, Control::to_vec)?;
    let _ = control.spec().map(|spec| spec.validate());
    let edited = control.edited(control.spec.clone(), control.home.clone());
    assert!(edited.generation >= control.generation);
    if control.ballots.is_some() {
        use_document(control);
    }
    Ok(())
}

pub fn controls() -> Vec<Vec<u8>> {
    let spec = json!({"members": [{"name": "aws-use1"}], "paused": true});
    let home = FederationHome {
        member: "aws-use1".parse().expect("a name"),
        uid: "1-2-3".to_owned(),
        generation: 1,
        hash: Hash::of(&spec),
    };
    let (_, control) = Control::found(raw(&spec).into(), home, 256);
    let (_, ballots) = crowded(3);
    let voting = control.voting(ballots.voters.clone());
    let full = Control { ballots: Some(ballots), ..voting.clone() };
    vec![control.to_vec(), voting.to_vec(), full.to_vec()]
}

pub fn ballots(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| Ballots::from_slice(bytes).map_err(|error| error.to_string());
    use_document(same_again(bytes, read, Ballots::to_vec)?);
    Ok(())
}

pub fn all_ballots() -> Vec<Vec<u8>> {
    let (league, open) = crowded(3);
    let mut decided = open.clone();
    for candidate in decided.open.values_mut() {
        candidate.rule = hansa_ballot::Rule::Quorum;
    }
    let mut closed = open.clone();
    // The voters change under it.
    closed.voters.epoch = Epoch(99);
    settle(&mut closed, league, &Verifier::default());
    assert!(closed.refused.values().any(|decision| decision.outcome == Outcome::Superseded));
    let (_, empty) = crowded(1);
    vec![open.to_vec(), decided.to_vec(), closed.to_vec(), empty.to_vec()]
}

/// Everything that is made of a document that was read: it must come to an end, without a panic.
fn use_document<D: Document>(document: D) {
    let verifier = Verifier::default();
    let ballots = document.ballots().clone();
    let counted = tally(&ballots, league(), &verifier);
    for key in ballots.open.keys().chain(ballots.decisions.keys()) {
        if let Some(ballot) = explain::ballot(&ballots, &counted, key) {
            let _ = ballot.to_string();
        }
    }
    let _ = (ballots.appointments.page_count(), ballots.appointments.page(7));
    let mut settled = document.clone();
    settle(&mut settled, league(), &verifier);
    let found = audit::audit(&ballots, settled.ballots(), league(), &verifier);
    let _ = found.breaches.iter().map(ToString::to_string).count();
    let mut twice = settled.clone();
    settle(&mut twice, league(), &verifier);
    assert!(twice.write() == settled.write(), "settling twice is settling once");
    // The first voter of the samples.
    let secret = *Hash::of_bytes(&0u32.to_le_bytes()).as_bytes();
    let signer = Signer::new("member-000".parse().expect("a name"), secret);
    let force = hansa_ballot::Force::sign(&signer, league(), ballots.era.next(), &ballots, BTreeSet::new());
    let _ = force.and_then(|force| force.apply(&ballots, league(), &verifier));
    // A voter that finds it in the store says something on it.
    let mut proposer: Proposer<D> = Proposer::new(hansa_ballot::proposer::Config {
        league: league(),
        signer,
        uid: "uid-0".to_owned(),
        incarnation: hansa_model::Incarnation(1),
        notes: Notes::default(),
        round_trip_ms: 10,
        founding: None,
    });
    proposer.want(Motion::Speak { level: 1 });
    let envelope = hansa_ledger::Envelope::first(league(), ballots.era, 1);
    let found =
        hansa_ledger::Versioned { version: hansa_ledger::Version::new("1"), value: envelope.seal(&document.write()) };
    let mut events = vec![hansa_ballot::proposer::Event::Read(Some(found)), hansa_ballot::proposer::Event::Wanted];
    while let Some(event) = events.pop() {
        proposer.step(event, 1, 1);
    }
}

/// A voter's cell, as it stands in a document.
pub fn cell(bytes: &[u8]) -> Result<(), String> {
    let slot: Slot = same_json_again(bytes)?;
    assert!(slot.cell().is_err() || slot.raw().len() <= MAX_CELL);
    slot.cell().map(drop).map_err(|fault| fault.to_string())
}

pub fn cells() -> Vec<Vec<u8>> {
    let (_, ballots) = crowded(2);
    let raw = ballots.cells.values().map(|slot| slot.raw().as_bytes().to_vec());
    raw.collect()
}

pub fn notes(bytes: &[u8]) -> Result<(), String> {
    same_again(bytes, Notes::from_slice, Notes::to_vec).map(drop)
}

pub fn all_notes() -> Vec<Vec<u8>> {
    let digest = Hash::of_bytes(b"candidate").to_string();
    let full = json!({
        "epoch": 4, "era": 1, "format": 1, "nonce": 77, "revision": 12,
        "open": {"spec": {"digest": digest, "epoch": 5, "verdict": "yes"}, "lost/gcp": {"digest": digest, "epoch": 6}},
    });
    vec![Notes::default().to_vec(), full.to_string().into_bytes()]
}

pub fn spec_candidate(bytes: &[u8]) -> Result<(), String> {
    let candidate: SpecCandidate = same_json_again(bytes)?;
    let _ = serde_json::from_str::<hansa_model::FederationSpec>(candidate.spec.get()).map(|spec| spec.validate());
    Ok(())
}

pub fn spec_candidates() -> Vec<Vec<u8>> {
    let spec = json!({"members": [{"name": "aws-use1"}]});
    let hash = Hash::of(&spec).to_string();
    let candidate = json!({
        "generation": 2, "home": {"member": "aws-use1", "uid": "u", "generation": 3, "hash": hash}, "spec": spec,
    });
    vec![candidate.to_string().into_bytes()]
}

pub fn change(bytes: &[u8]) -> Result<(), String> {
    let change: Change = same_json_again(bytes)?;
    let (_, ballots) = crowded(1);
    let proposer: MemberName = "member-000".parse().expect("a name");
    let applied = change.apply(&ballots.voters, Epoch(u64::MAX), &proposer, league(), &Verifier::default());
    // Whatever it says, what comes of it are voters that may decide.
    applied.map(|voters| assert_eq!(voters.fault(), None))
}

pub fn changes() -> Vec<Vec<u8>> {
    let signer = Signer::new("gcp-euw4".parse().expect("a name"), [3; 32]);
    let consent = hansa_ballot::membership::consent(&signer, league(), "uid", false).to_string();
    let key = signer.public().to_string();
    let changes = [
        json!({"join": {"consent": consent, "name": "gcp-euw4", "user": "ada", "voter": {"key": key, "uid": "uid"}}}),
        json!({"leave": {"name": "member-000", "reason": "sold"}}),
        json!({"rotate": {"consent": consent, "key": key, "name": "member-000"}}),
        json!({"person": {"key": key, "name": "ada"}}),
        json!({"person": {"name": "ada"}}),
    ];
    changes.iter().map(|change| change.to_string().into_bytes()).collect()
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).expect("JSON")
}
