//! What a voter says, and how it votes, in leagues of three.

mod clusters;
mod releases;
mod standing;

use super::cluster::Cluster;
use super::judging::{Views, held_leaves, judge, judge_change};
use super::wanted::{Sight, Topic, wanted};
use crate::release::Release;
use hansa_ballot::control::SpecCandidate;
use hansa_ballot::decide::{settle, tally};
use hansa_ballot::membership::{Change, Join, consent};
use hansa_ballot::motion::{Motion, Pen, apply};
use hansa_ballot::voters::Place;
use hansa_ballot::{Cell, Control, Document, FederationHome, Key, Signer, Verdict, Verifier, Voter, Voters};
use hansa_model::{Era, FederationSpec, Hash, Incarnation, LeagueId, MemberName};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const SUSPECT_MS: u64 = 5_000;
const LOST_MS: u64 = 60_000;

fn name(text: &str) -> MemberName {
    text.parse().unwrap()
}

fn signer(of: &str) -> Signer {
    Signer::new(name(of), *Hash::of_bytes(of.as_bytes()).as_bytes())
}

fn voter(of: &str) -> Voter {
    Voter { key: signer(of).public(), uid: format!("uid-{of}"), witness: false }
}

/// A league of `a`, `b` and `c`, whose spec has its home in `a`.
struct League {
    id: LeagueId,
    control: Control,
    verifier: Verifier,
    /// For how long each has been silent.
    silent: BTreeMap<MemberName, u64>,
    edit: Option<Arc<RawValue>>,
    /// The rotation that each wants.
    rotation: BTreeMap<&'static str, Change>,
    caught_up: bool,
    rests: bool,
    /// What each runs, where it is not this release.
    releases: BTreeMap<&'static str, Release>,
    /// What is at work in each cluster.
    cluster: Cluster,
}

fn spec_of(members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|name| json!({"name": name})).collect();
    json!({"members": members})
}

fn home(of: &str, spec: &Value) -> FederationHome {
    FederationHome { member: name(of), uid: "1".into(), generation: 1, hash: Hash::of(spec) }
}

fn raw(value: &Value) -> Arc<RawValue> {
    to_raw_value(value).unwrap().into()
}

impl League {
    fn new(spec: &Value) -> Self {
        let (id, control) = Control::found(raw(spec), home("a", spec), 8);
        let set = ["a", "b", "c"].into_iter().map(|each| (name(each), voter(each))).collect();
        let control = control.voting(Voters::found(set, BTreeMap::new()));
        let (silent, edit, rotation) = (BTreeMap::new(), None, BTreeMap::new());
        let (verifier, releases) = (Verifier::default(), BTreeMap::new());
        League {
            id,
            control,
            verifier,
            silent,
            edit,
            rotation,
            caught_up: false,
            rests: false,
            releases,
            cluster: Cluster::default(),
        }
    }

    fn candidate(&self, of: &str, spec: &Value) -> Arc<RawValue> {
        let generation = self.control.generation.next();
        to_raw_value(&SpecCandidate { generation, home: home(of, spec), spec: raw(spec) }).unwrap().into()
    }

    fn release(&self, of: &str) -> Release {
        self.releases.get(of).cloned().unwrap_or_else(|| Release::this("0"))
    }

    fn views<'a>(
        &'a self,
        member: &'a MemberName,
        release: &'a Release,
        silent_ms: &'a dyn Fn(&MemberName) -> u64,
    ) -> Views<'a> {
        Views {
            member,
            release,
            cluster: &self.cluster,
            key: signer(member.as_str()).public(),
            silent_ms,
            suspect_after_ms: SUSPECT_MS,
            lost_after_ms: LOST_MS,
        }
    }

    fn with<T>(&self, who: &str, look: impl FnOnce(Views<'_>) -> T) -> T {
        let silent_ms = |member: &MemberName| self.silent.get(member).copied().unwrap_or_default();
        look(self.views(&name(who), &self.release(who), &silent_ms))
    }

    fn wants(&self, who: &str) -> BTreeMap<Topic, Motion> {
        let ballots = self.control.ballots();
        let (signer, uid) = (signer(who), format!("uid-{who}"));
        let place = ballots.voters.place(&name(who), &uid, &signer.public());
        let speaks = self.release(who).level;
        let join = Join { consent: consent(&signer, self.id, &uid, false), speaks, voter: voter(who) };
        let (tally, spec) = (tally(ballots, self.id, &self.verifier), self.control.spec().unwrap_or_default());
        self.with(who, |views| {
            wanted(&Sight {
                control: &self.control,
                spec: &spec,
                tally: &tally,
                place: &place,
                join: &join,
                views,
                edit: self.edit.clone(),
                rotation: self.rotation.get(who).cloned(),
                caught_up: self.caught_up,
                rests: &|_| self.rests,
            })
        })
    }

    fn topics(&self, who: &str) -> Vec<String> {
        let told = |topic: &Topic| match topic {
            Topic::Join => "join".to_owned(),
            Topic::Speak(level) => format!("speaks {level}"),
            Topic::Suspect(members) => format!("suspects {members:?}"),
            Topic::Vote(key, epoch, verdict) => format!("{verdict:?} on {key} #{epoch}"),
            Topic::Decide(key, _) => format!("proposes {key}"),
        };
        self.wants(who).keys().map(told).collect()
    }

    /// `who` says everything that it wants to say, as the proposer does.
    fn says(&mut self, who: &str) {
        let wanted = self.wants(who);
        let signer = signer(who);
        let known = self.control.ballots().slot(&name(who)).and_then(|slot| slot.cell().ok().cloned());
        let mut cell = known.unwrap_or_else(|| Cell::new(name(who), Incarnation(1)));
        let pen = Pen { signer: &signer, verifier: &self.verifier, league: self.id, incarnation: Incarnation(1) };
        for motion in wanted.values() {
            apply(motion, &mut self.control, &mut cell, &pen).unwrap();
        }
        cell.sequence += 1;
        if self.control.ballots().voters.set.contains_key(&name(who)) {
            let slot = cell.sign(&signer, self.id, Era(1));
            self.control.ballots_mut().cells.insert(name(who), slot);
        }
        settle(&mut self.control, self.id, &self.verifier);
    }

    fn all_say(&mut self, rounds: usize) {
        for _ in 0..rounds {
            ["a", "b", "c"].into_iter().for_each(|who| self.says(who));
        }
    }

    fn silence(&mut self, who: &str, ms: u64) {
        self.silent.insert(name(who), ms);
    }

    fn votes(&self) -> Vec<&str> {
        self.control.ballots().voters.set.keys().map(MemberName::as_str).collect()
    }

    fn vote(&self, who: &str, key: &Key) -> Option<(Verdict, Option<String>)> {
        let candidate = &self.control.ballots().open[key];
        self.with(who, |views| judge(&self.control, key, candidate, &views))
    }
}

#[test]
fn all_speak_and_the_level_that_all_speak_is_decided() {
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    assert_eq!(league.topics("a"), ["speaks 1"]);
    league.says("a");
    league.says("b");
    assert_eq!(league.topics("a"), Vec::<String>::new(), "nothing is said twice");
    league.says("c");
    assert_eq!(league.topics("a"), ["proposes feature"]);
    league.all_say(1);
    assert_eq!(league.control.ballots().feature, 1);
    let pages: Vec<_> =
        (0..8).map(|page| league.control.ballots().appointments.page(page).unwrap().member.clone()).collect();
    for who in ["a", "b", "c"] {
        assert!(pages.iter().filter(|member| **member == Some(name(who))).count() >= 2, "{pages:?}");
    }
    assert_eq!(league.topics("b"), Vec::<String>::new());
}

#[test]
fn the_silent_are_suspected_lost_and_taken_back() {
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    league.all_say(2);
    league.silence("c", SUSPECT_MS);
    assert_eq!(league.topics("a"), ["suspects {c}"]);
    league.says("a");
    league.says("b");
    let of_c = |league: &League| {
        (0..8)
            .filter(|page| league.control.ballots().appointments.page(*page).unwrap().member == Some(name("c")))
            .count()
    };
    assert_eq!(of_c(&league), 0, "its pages are with others");
    league.silence("c", LOST_MS);
    assert_eq!(league.topics("a"), ["proposes lost/c"]);
    league.says("a");
    // Who has heard it a moment ago says no, who has not for a while waits, who has not for long says yes.
    let lost = Key::lost(&name("c"));
    for (silent, expected) in [(0, Some(Verdict::No)), (SUSPECT_MS, None), (LOST_MS, Some(Verdict::Yes))] {
        league.silence("c", silent);
        assert_eq!(league.vote("b", &lost).map(|(verdict, _)| verdict), expected, "after {silent} ms");
    }
    league.says("b");
    assert!(league.control.ballots().lost.contains_key(&name("c")));
    // It is back; until it has caught up it asks for nothing, and those that hear it say yes.
    league.silence("c", 0);
    assert!(!league.topics("c").contains(&"proposes lost/c".to_owned()));
    league.caught_up = true;
    assert!(league.topics("c").contains(&"proposes lost/c".to_owned()));
    league.says("c");
    league.says("a");
    assert!(league.control.ballots().lost.is_empty());
}

#[test]
fn what_was_not_adopted_rests() {
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    league.all_say(2);
    league.silence("c", LOST_MS);
    league.says("a");
    league.silence("c", 0);
    league.says("b");
    league.says("c");
    assert!(league.control.ballots().lost.is_empty(), "two heard it");
    league.silence("c", LOST_MS);
    (league.rests, league.edit) = (true, None);
    assert!(!league.topics("b").contains(&"proposes lost/c".to_owned()));
    league.rests = false;
    assert!(league.topics("b").contains(&"proposes lost/c".to_owned()));
}

#[test]
fn who_takes_part_follows_the_spec() {
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    league.all_say(2);
    assert_eq!(league.topics("d"), ["join"]);
    league.says("d");
    assert_eq!(league.topics("d"), Vec::<String>::new(), "it asks once");
    assert_eq!(league.topics("a"), Vec::<String>::new(), "and is not listed");
    league.edit = Some(league.candidate("a", &spec_of(&["a", "b", "c", "d"])));
    league.says("a");
    league.edit = None;
    league.says("b");
    assert_eq!(league.control.generation.0, 2);
    // The home speaks for its users; another one only while the home is not heard.
    assert_eq!((league.topics("a"), league.topics("b")), (vec!["proposes members".to_owned()], Vec::new()));
    league.silence("a", SUSPECT_MS);
    assert!(league.topics("b").contains(&"proposes members".to_owned()));
    league.silence("a", 0);
    league.says("a");
    league.says("b");
    assert_eq!(league.votes(), ["a", "b", "c", "d"]);
    // Taken out of the spec, it is taken out of the voters.
    league.edit = Some(league.candidate("a", &spec_of(&["a", "b", "c"])));
    league.says("a");
    league.edit = None;
    league.says("b");
    league.says("c");
    league.says("a");
    league.says("b");
    league.says("c");
    assert_eq!(league.votes(), ["a", "b", "c"]);
    assert!(league.topics("d").is_empty(), "its key joins no more");
}

#[test]
fn a_witness_joins_as_one_and_stays_one() {
    let mut spec = spec_of(&["a", "b", "c", "d"]);
    spec["members"][3]["witness"] = json!(true);
    let listed: FederationSpec = serde_json::from_value(spec.clone()).unwrap();
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    let join = |witness| Change::Join {
        consent: consent(&signer("d"), league.id, "uid-d", witness),
        name: name("d"),
        user: String::new(),
        voter: Voter { witness, ..voter("d") },
    };
    let judged =
        |witness| league.with("a", |views| judge_change(&listed, league.control.ballots(), &join(witness), &views));
    assert_eq!(judged(true), Ok(()));
    assert!(judged(false).unwrap_err().contains("spec.members[d].witness"));
    // Who votes already is not made one by an edit.
    spec["members"].as_array_mut().unwrap().truncate(3);
    spec["members"][1]["witness"] = json!(true);
    league.all_say(2);
    league.edit = Some(league.candidate("a", &spec));
    league.says("a");
    let (verdict, why) = league.vote("c", &Key::spec()).unwrap();
    assert_eq!(verdict, Verdict::No);
    assert!(why.unwrap().contains("spec.members[b].witness: it votes as no witness"));
}

#[test]
fn nobody_is_taken_out_while_the_others_would_be_too_few_to_decide_anything() {
    let spec = spec_of(&["a", "b", "c"]);
    let mut league = League::new(&spec);
    league.all_say(2);
    league.silent.insert(name("b"), SUSPECT_MS);
    let without = |gone: &str| spec_of(&["a", "b", "c"].into_iter().filter(|each| *each != gone).collect::<Vec<_>>());
    league.edit = Some(league.candidate("a", &without("c")));
    league.says("a");
    let (verdict, why) = league.vote("c", &Key::spec()).unwrap();
    assert_eq!(verdict, Verdict::No);
    assert_eq!(
        why.unwrap(),
        "spec.members: without c the league could decide nothing, for b of its 2 voters would be silent: wait until it is heard, or take it out first"
    );
    // It was agreed on before `b` fell silent: `c` stays until `b` is back.
    let mut league = League::new(&spec);
    league.all_say(2);
    league.control.spec = raw(&without("c"));
    league.silent.insert(name("b"), SUSPECT_MS);
    let members = |league: &League| league.topics("a").into_iter().any(|topic| topic.contains("members"));
    assert!(!members(&league), "{:?}", league.topics("a"));
    let ballots = league.control.ballots.as_ref().unwrap();
    let held = |suspects| held_leaves(&serde_json::from_value(without("c")).unwrap(), ballots, suspects);
    let why = &held(&|member| *member == name("b"))[&name("c")];
    assert!(why.starts_with("without c the league could decide nothing, for b of"), "{why}");
    assert!(held(&|_| false).is_empty());
    league.silent.clear();
    assert!(members(&league), "{:?}", league.topics("a"));
    // Whoever is silent may go.
    let mut league = League::new(&spec);
    league.all_say(2);
    league.control.spec = raw(&without("b"));
    league.silent.insert(name("b"), SUSPECT_MS);
    assert!(members(&league), "{:?}", league.topics("a"));
}

#[test]
fn another_key_in_the_spec_is_another_voter() {
    let mut spec = spec_of(&["a", "b", "c"]);
    let mut league = League::new(&spec);
    league.all_say(2);
    spec["members"][2]["publicKeys"] = json!([signer("other").public()]);
    league.edit = Some(league.candidate("a", &spec));
    league.says("a");
    league.edit = None;
    league.says("b");
    league.says("a");
    league.says("b");
    assert_eq!(league.votes(), ["a", "b"], "its key was replaced");
}

/// A league of three in which `b` has a next key; the spec lists these keys of it.
fn rotating(listed: &[&str]) -> (League, Value) {
    let mut spec = spec_of(&["a", "b", "c"]);
    spec["members"][1]["publicKeys"] = listed.iter().map(|of| json!(signer_of_b(of).public())).collect();
    let mut league = League::new(&spec);
    let next = signer_of_b("next");
    let consent = consent(&next, league.id, "uid-b", false);
    league.rotation.insert("b", Change::Rotate { consent, key: next.public(), name: name("b") });
    league.all_say(2);
    (league, spec)
}

fn signer_of_b(key: &str) -> Signer {
    Signer::new(name("b"), *Hash::of_bytes(key.as_bytes()).as_bytes())
}

#[test]
fn a_key_is_rotated_once_the_spec_lists_the_next_one_beside_it() {
    for listed in [&[][..], &["b"]] {
        let (league, _) = rotating(listed);
        assert_eq!(league.topics("b"), Vec::<String>::new(), "{listed:?}: its users have not consented");
        let spec = league.control.spec().unwrap();
        let judged = |views: Views<'_>| judge_change(&spec, league.control.ballots(), &league.rotation["b"], &views);
        let judged = league.with("a", judged);
        assert!(judged.unwrap_err().starts_with("spec.members[b].publicKeys: it does not list b's next key"));
    }
    let (league, _) = rotating(&["b", "next"]);
    assert_eq!(league.control.ballots().voters.set[&name("b")].key, signer_of_b("next").public());
    assert_eq!(league.votes(), ["a", "b", "c"]);
    for who in ["a", "c"] {
        assert_eq!(league.topics(who), Vec::<String>::new(), "nobody wants it out");
    }
}

#[test]
fn a_rotation_waits_while_the_members_are_voted_on() {
    let (mut league, mut spec) = rotating(&["b"]);
    spec["members"].as_array_mut().unwrap().truncate(2);
    spec["members"][1]["publicKeys"] = json!([signer("b").public(), signer_of_b("next").public()]);
    league.control.spec = raw(&spec);
    league.says("a");
    assert_eq!(league.topics("b"), ["Yes on members #2"], "first `c` goes");
    league.says("b");
    assert_eq!(league.topics("b"), ["proposes members"]);
}

#[test]
fn a_spec_that_was_written_for_another_step_of_a_rotation_is_voted_down() {
    let judged = |league: &mut League, spec: &Value, keys: &[&str]| {
        let mut spec = spec.clone();
        spec["members"][1]["publicKeys"] = keys.iter().map(|of| json!(signer_of_b(of).public())).collect();
        league.edit = Some(league.candidate("a", &spec));
        league.says("a");
        league.vote("c", &Key::spec()).unwrap()
    };
    // The rotation is not decided yet, for nobody has let `b` propose it; or it is.
    let undecided = || {
        let (mut league, spec) = rotating(&["b"]);
        let both = [signer_of_b("b").public(), signer_of_b("next").public()];
        let mut spec = spec;
        spec["members"][1]["publicKeys"] = json!(both);
        league.control.spec = raw(&spec);
        (league, spec)
    };
    let decided = || rotating(&["b", "next"]);
    for (of, keys, verdict) in [
        (undecided(), ["next"], Verdict::No),
        (undecided(), ["b"], Verdict::Yes),
        (undecided(), ["another"], Verdict::Yes),
        (decided(), ["b"], Verdict::No),
        (decided(), ["next"], Verdict::Yes),
    ] {
        let (mut league, spec) = of;
        let (found, why) = judged(&mut league, &spec, &keys);
        assert_eq!(found, verdict, "{keys:?}: {why:?}");
        assert!(found == Verdict::Yes || why.unwrap().contains("which is not listed any more"));
    }
}

#[test]
fn an_edit_is_proposed_once_and_withdrawn_when_it_is_overtaken() {
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    league.all_say(2);
    let edit = |league: &League, label: &str| {
        let mut spec = spec_of(&["a", "b", "c"]);
        spec["members"][0]["labels"] = json!({"edit": label});
        league.candidate("a", &spec)
    };
    league.edit = Some(edit(&league, "one"));
    assert_eq!(league.topics("a"), ["proposes spec"]);
    league.says("a");
    assert_eq!(league.topics("a"), Vec::<String>::new(), "it waits for the others");
    league.edit = Some(edit(&league, "two"));
    assert_eq!(league.topics("a"), ["Withdrawn on spec #2"]);
    league.says("a");
    assert_eq!(league.topics("a"), ["proposes spec"]);
    league.says("a");
    league.says("b");
    assert!(league.control.spec.get().contains("two"));
    // Taken back before anybody has voted: nothing is to be agreed on any more.
    league.edit = Some(edit(&league, "three"));
    league.says("a");
    league.edit = None;
    assert_eq!(league.topics("a"), ["Withdrawn on spec #4"]);
}

#[test]
fn a_spec_is_refused_with_its_reason_and_not_proposed_again() {
    let spec = spec_of(&["a", "b", "c"]);
    let mut league = League::new(&spec);
    league.all_say(2);
    let open = |spec: Value, by: &str| {
        let mut league = League::new(&spec_of(&["a", "b", "c"]));
        league.edit = Some(league.candidate(by, &spec));
        league.says(by);
        league
    };
    let mut unknown = spec.clone();
    unknown["colour"] = json!("red");
    let mut twice = spec.clone();
    twice["members"][1]["name"] = json!("a");
    let mut key = spec.clone();
    key["members"][1]["publicKeys"] = json!([signer("other").public()]);
    for (spec, by, why) in [
        (unknown, "a", "what this release does not know"),
        (twice, "a", "spec.members[1].name"),
        (key, "a", "spec.members[b].publicKeys"),
        (spec.clone(), "c", "the spec has its home in a"),
    ] {
        let league = open(spec, by);
        let (verdict, reason) = league.vote("b", &Key::spec()).unwrap();
        assert!(
            verdict == Verdict::No && reason.as_ref().is_some_and(|reason| reason.contains(why)),
            "{why}: {reason:?}"
        );
    }
    // Its own key, however its base64 ends.
    let mut own = spec.clone();
    own["members"][1]["publicKeys"] = json!([format!("{}=", signer("b").public())]);
    assert_eq!(open(own, "a").vote("b", &Key::spec()), Some((Verdict::Yes, None)));
    // A home that is lost, or a rule that allows it: then another member may be the home.
    let mut league = open(spec.clone(), "c");
    league.control.ballots_mut().lost.insert(name("a"), hansa_ballot::Epoch(1));
    assert_eq!(league.vote("b", &Key::spec()), Some((Verdict::Yes, None)));
    // So may it when the home does not vote any more.
    league.control.ballots_mut().lost.clear();
    league.control.ballots_mut().voters.set.remove(&name("a"));
    assert_eq!(league.vote("b", &Key::spec()), Some((Verdict::Yes, None)));

    let mut unknown = spec;
    unknown["colour"] = json!("red");
    let mut league = open(unknown, "a");
    league.says("b");
    league.says("c");
    assert_eq!(league.control.generation.0, 1, "it was voted down");
    assert!(!league.topics("a").contains(&"proposes spec".to_owned()), "and is not proposed again as it is");
}

#[test]
fn who_has_no_place_says_nothing() {
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    league.control.ballots_mut().voters.set.get_mut(&name("c")).unwrap().uid = "another".into();
    let place = league.control.ballots().voters.place(&name("c"), "uid-c", &signer("c").public());
    assert!(matches!(place, Place::Clone { .. }));
    assert_eq!(league.topics("c"), Vec::<String>::new());
}
