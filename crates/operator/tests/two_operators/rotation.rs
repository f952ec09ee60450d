//! A member's keys are rotated: in a league of two, each of whom is needed for every decision.

use super::pairs::Pairs;
use super::world::{World, federated};
use hansa_ballot::{Control, Document};
use hansa_ledger::{Envelope, Page, Record};
use serde_json::{Value, json};
use std::sync::Arc;

const LEAGUE: &str = "/apis/hansa.dev/v1alpha1/federations/league";
const REQUEST: &str = "/apis/hansa.dev/v1alpha1/namespaces/hansa-system/requests/rotate";
const HOME: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/conf";
const OUTPUT: &str = "/api/v1/namespaces/shop/configmaps/conf";
const GONE: &str = "/api/v1/namespaces/shop/configmaps/gone";
const SECRET_HOME: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedsecrets/db";
const SECRET: &str = "/api/v1/namespaces/shop/secrets/db";
/// Who rotates: not the spec's home.
const B: usize = 1;

fn spec(word: &str) -> Value {
    json!({"template": {"data": {"greeting": word}}, "placement": {"members": ["a", "b"]}})
}

fn says(word: &'static str) -> impl Fn(&World) -> bool {
    move |world| {
        let there = |member: usize| world.members[member].objects.get(OUTPUT);
        (0..2).all(|member| there(member).is_some_and(|found| found["data"]["greeting"] == word))
    }
}

fn keep(world: &mut World, value: &str) {
    let metadata = json!({"name": "db", "namespace": "shop"});
    world.put(
        0,
        SECRET,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"password": value}}),
    );
}

fn opens(value: &'static str) -> impl Fn(&World) -> bool {
    move |world| world.members[B].objects.get(SECRET).is_some_and(|secret| secret["data"]["password"] == value)
}

fn control(world: &World) -> Control {
    Control::read(&Envelope::open(&world.topo["/v1/control"].1).unwrap().1).unwrap()
}

fn record(world: &World, key: &str) -> Option<Arc<Record>> {
    let key = key.parse().unwrap();
    let pages = world.topo.iter().filter(|(key, _)| key.starts_with("/v1/pages/"));
    let mut records = pages.filter_map(|(_, (_, value))| {
        Page::from_slice(&Envelope::open(value).unwrap().1).unwrap().record(&key).cloned()
    });
    records.next()
}

/// The spec lists these pairs of `b`.
fn list(world: &mut World, pairs: &[u64]) {
    let mut league = world.members[0].objects[LEAGUE].clone();
    league["spec"]["members"][B]["publicKeys"] =
        pairs.iter().flat_map(|pair| Pairs::public("b", *pair)).collect::<Vec<_>>().into();
    world.put(0, LEAGUE, league);
}

fn holds(pairs: Pairs) -> impl Fn(&World) -> bool {
    move |world| world.members[B].pairs == pairs
}

fn voter(world: &World) -> String {
    control(world).ballots().voters.set[&"b".parse().unwrap()].key.to_string()
}

/// A league in which `b` has an object of its own and opens a Secret.
fn settled() -> World {
    let mut world = World::new();
    world.found(&["configmaps", "secrets"]);
    world.run_until("both vote", |world| {
        world.topo.contains_key("/v1/control") && control(world).ballots().voters.set.len() == 2
    });
    world.put(B, HOME, federated("ConfigMap", "conf", spec("hello")));
    world.run_until("it is everywhere", says("hello"));
    keep(&mut world, "MQ==");
    let named = json!({"templateFrom": {"secretRef": {"name": "db"}}, "placement": {"members": ["a", "b"]}});
    world.put(0, SECRET_HOME, federated("Secret", "db", named));
    world.run_until("it is opened", opens("MQ=="));
    world.run_to_rest();
    world
}

fn ask(world: &mut World) {
    let request = json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Request",
        "metadata": {"name": "rotate", "namespace": "hansa-system"}, "spec": {"action": "RotateKeys"}});
    world.put(B, REQUEST, request);
}

fn answer(world: &World) -> &Value {
    &world.members[B].objects[REQUEST]["status"]
}

const BOTH: Pairs = Pairs { in_use: 0, next: Some(1), previous: None };
const DONE: Pairs = Pairs { in_use: 1, next: None, previous: None };

#[test]
fn keys_are_rotated_step_by_step_and_nothing_stands_still() {
    let mut world = settled();
    ask(&mut world);
    world.run_until("the request is answered", |world| answer(world)["phase"] == "Done");
    assert!(holds(BOTH)(&world));
    let both = [Pairs::public("b", 0), Pairs::public("b", 1)].concat();
    assert_eq!(answer(&world)["result"]["publicKeys"], json!(both));
    world.run_to_rest();
    assert_eq!(voter(&world), Pairs::public("b", 0)[0].trim_end_matches('='), "the spec does not list it yet");

    // With both listed it is sealed to the next pair, and the vote is on.
    list(&mut world, &[0, 1]);
    world.run_until("the next pair is in use", |world| world.members[B].pairs.in_use == 1);
    world.run_to_rest();
    assert_eq!(voter(&world), Pairs::public("b", 1)[0].trim_end_matches('='));
    assert_eq!(world.members[B].pairs, Pairs { in_use: 1, next: None, previous: Some((0, false)) }, "it is listed");
    assert_eq!(control(&world).ballots().voters.set.len(), 2);
    assert!(control(&world).ballots().voters.removed.is_empty());

    list(&mut world, &[1]);
    world.run_until("the earlier pair is let go", holds(DONE));
    keep(&mut world, "Mg==");
    world.run_until("what is sealed now opens", opens("Mg=="));
    let home = world.members[B].objects[HOME].clone();
    world.put(B, HOME, json!({"metadata": home["metadata"], "spec": spec("good day"), "status": home["status"]}));
    world.run_until("its word counts", says("good day"));
    world.run_to_rest();
    assert!(!world.notes.iter().any(|note| note.message.contains("it was sealed for another key")));

    // No private key is told: the seeds of both pairs, in the forms in which bytes are shown.
    let told = world.told();
    for pair in 0..2 {
        for bytes in Pairs::private("b", pair) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!told.contains(&hex) && !told.contains(&format!("{bytes:?}")));
        }
    }
}

#[test]
fn keys_that_the_spec_lists_no_more_are_those_that_it_listed_last() {
    let mut world = settled();
    ask(&mut world);
    world.run_until("the request is answered", |world| answer(world)["phase"] == "Done");
    list(&mut world, &[0, 1]);
    world.run_until("the next pair is in use", |world| world.members[B].pairs.in_use == 1);
    world.run_to_rest();
    list(&mut world, &[1]);
    // The other may not have heard yet that the earlier pair is let go.
    world.run_until("the earlier pair is let go", holds(DONE));
    list(&mut world, &[]);
    world.run_to_rest();
    let member = &world.members[1 - B].objects["/apis/hansa.dev/v1alpha1/members/b"];
    assert_eq!(member["status"]["publicKeys"], json!(Pairs::public("b", 1)));
    keep(&mut world, "NA==");
    world.run_until("what is sealed now opens, too", opens("NA=="));
}

#[test]
fn what_the_old_key_signed_is_said_anew_intents_and_ends() {
    let mut world = settled();
    // An end that nobody has carried out when the key changes, for no API server takes the deletion.
    let gone = format!("{}gone", HOME.strip_suffix("conf").unwrap());
    world.put(B, &gone, federated("ConfigMap", "gone", spec("farewell")));
    let everywhere = |world: &World| world.members.iter().all(|member| member.objects.contains_key(GONE));
    world.run_until("it is everywhere", everywhere);
    world.run_to_rest();
    world.failing = Some(GONE);
    // It goes by intent: what it lies in stays.
    world.put(B, "/api/v1/namespaces/shop", json!({}));
    let definition = "federatedconfigmaps.core.types.hansa.dev";
    world.put(B, &format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition}"), json!({}));
    let mut home = world.members[B].objects[&gone].clone();
    home["metadata"]["deletionTimestamp"] = json!("2026-11-15T00:00:00Z");
    world.put(B, &gone, home);
    world.run_until("the end is agreed on", |world| {
        record(world, "configmaps/shop/gone").is_some_and(|record| record.tombstone.is_some())
    });
    let signed = |world: &World, key: &str| {
        let record = record(world, key).unwrap();
        let signatures = record.tombstone.iter().filter_map(|end| end.signature.clone());
        signatures.chain(record.intent.signature.clone()).collect::<Vec<_>>()
    };
    let by = |pair: u64| Pairs::public("b", pair)[0]["ed25519:".len()..][..8].to_owned();
    assert!(signed(&world, "configmaps/shop/gone").iter().all(|signature| signature.starts_with(&by(0))));

    assert_eq!(signed(&world, "configmaps/shop/gone").len(), 2, "its intent and its end");

    ask(&mut world);
    world.run_until("the next pair stands", |world| world.members[B].pairs == BOTH);
    list(&mut world, &[0, 1]);
    world.run_until("its words are said anew, and the earlier signing key is forgotten", |world| {
        world.members[B].pairs.previous == Some((0, false))
    });
    for key in ["configmaps/shop/gone", "configmaps/shop/conf"] {
        assert!(signed(&world, key).iter().all(|signature| signature.starts_with(&by(1))), "{key}");
    }
    assert!(everywhere(&world), "nobody could carry it out yet");
    world.failing = None;
    world.run_until("it is carried out", |world| !world.members.iter().any(|member| member.objects.contains_key(GONE)));
    world.run_to_rest();
    assert!(says("hello")(&world));
}

#[test]
fn a_crash_between_any_two_steps_only_delays() {
    // Where the Secret is not written any more, and the operator starts again and again.
    for stuck in ["Prepare", "Promote", "Forget"] {
        let mut world = settled();
        world.keys_are_stuck = stuck == "Prepare";
        ask(&mut world);
        crash(&mut world, stuck == "Prepare");
        world.run_until("the next pair stands", |world| world.members[B].pairs == BOTH);
        crash(&mut world, false);

        world.keys_are_stuck = stuck == "Promote";
        list(&mut world, &[0, 1]);
        if stuck == "Promote" {
            // It is sealed to the pair that is not in use yet.
            let next = Pairs::public("b", 1).remove(0);
            world.run_until("it is decided", |world| voter(world) == next.trim_end_matches('='));
            keep(&mut world, "MTI=");
            world.run_until("it is opened all the same", opens("MTI="));
        }
        crash(&mut world, stuck == "Promote");
        world.run_until("the next pair is in use", |world| world.members[B].pairs.in_use == 1);
        crash(&mut world, false);

        world.keys_are_stuck = stuck == "Forget";
        list(&mut world, &[1]);
        crash(&mut world, stuck == "Forget");
        world.run_until("the earlier pair is let go", holds(DONE));
        crash(&mut world, false);
        keep(&mut world, "Mg==");
        world.run_until("it votes, and opens what is sealed to it", opens("Mg=="));
        assert_eq!(control(&world).ballots().voters.set.len(), 2);
        assert!(control(&world).ballots().voters.removed.is_empty(), "{stuck}");
    }
}

/// Runs for a while and starts the member's operator anew, some times; then its Secret can be written.
fn crash(world: &mut World, is_stuck: bool) {
    for _ in 0..3 {
        world.run_for(if is_stuck { 12_000 } else { 300 });
        world.restart_one(B);
    }
    world.keys_are_stuck = false;
}
