//! Another store where the league's stood.

use super::requests::ask;
use super::world::{World, federated};
use bytes::Bytes;
use hansa_ledger::Envelope;
use hansa_model::{Hash, LeagueId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const HOME: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/conf";
pub const OUTPUT: &str = "/api/v1/namespaces/shop/configmaps/conf";
pub const FEDERATION: &str = "/apis/hansa.dev/v1alpha1/federations/league";
pub const CONTROL: &str = "/v1/control";

pub fn greets(word: &str) -> Value {
    federated(
        "ConfigMap",
        "conf",
        json!({"template": {"data": {"greeting": word}}, "placement": {"members": ["a", "b"]}}),
    )
}

pub fn says(world: &World, member: usize, word: &str) -> bool {
    world.members[member].objects.get(OUTPUT).is_some_and(|found| found["data"]["greeting"] == word)
}

/// The condition `Agreed` of an object: its reason and its message.
pub fn agreed(world: &World, member: usize, path: &str) -> (String, String) {
    let conditions = world.members[member].objects.get(path).map(|object| object["status"]["conditions"].clone());
    let found =
        conditions.as_ref().and_then(Value::as_array).into_iter().flatten().find(|each| each["type"] == "Agreed");
    let text = |field: &str| found.map_or("", |found| found[field].as_str().unwrap_or_default()).to_owned();
    (text("reason"), text("message"))
}

pub fn settled() -> World {
    settled_with(json!([]))
}

/// With these people in the spec.
pub fn settled_with(people: Value) -> World {
    settle_in(World::new(), people)
}

/// In this world.
pub fn settled_in(world: World) -> World {
    settle_in(world, json!([]))
}

fn settle_in(mut world: World, people: Value) -> World {
    world.found_with(&["configmaps"], people);
    world.put(0, HOME, greets("hello"));
    world.run_until("it is everywhere", |world| says(world, 0, "hello") && says(world, 1, "hello"));
    world.run_to_rest();
    world
}

const REPLACED: &str = "TopologyServerReplaced";

/// Everyone says that it is frozen, with these words; an edit waits, and nothing is written.
pub fn everyone_freezes(world: &mut World, because: &str, word: &str) {
    world.run_until("everyone says so", |world| {
        (0..2).all(|member| {
            let (reason, message) = agreed(world, member, FEDERATION);
            reason == because && message.starts_with("frozen since 2023-") && message.contains(word)
        })
    });
    let standing = world.topo.clone();
    world.put(0, HOME, greets("good day"));
    world.run_until("the edit says that it waits", |world| {
        let (reason, message) = agreed(world, 0, HOME);
        reason == "Frozen" && message.contains(word) && message.contains("an edit waits")
    });
    world.run_for(60_000);
    assert_eq!(world.topo, standing, "nothing is written");
    assert!((0..2).all(|member| says(world, member, "hello")), "what was agreed is kept up");
}

pub fn everyone_goes_on(world: &mut World) {
    world.run_until("the edit lands", |world| says(world, 0, "good day") && says(world, 1, "good day"));
    world.run_to_rest();
    assert_eq!((0..2).map(|member| agreed(world, member, FEDERATION).0).collect::<Vec<_>>(), ["Agreed", "Mirror"]);
    assert_eq!(agreed(world, 0, HOME).0, "Agreed");
    assert_eq!((world.waits(0), world.waits(1)), (1, 1), "each waits for changes once");
}

#[test]
fn an_emptied_store_is_not_filled_again() {
    let mut world = settled();
    let kept = std::mem::take(&mut world.topo);
    everyone_freezes(&mut world, REPLACED, "it was emptied or made anew");
    assert!(world.topo.is_empty(), "{:?}", world.topo.keys());
    world.topo = kept;
    everyone_goes_on(&mut world);
}

/// The user's other copy of what was deleted goes when the word is read once more: it may be lost since, with the
/// history that it stood in.
#[test]
fn no_copy_is_deleted_while_nobody_knows_whether_the_end_still_stands() {
    let mut world = settled();
    world.put(1, HOME, greets("hello"));
    world.run_until("both are its homes", |world| agreed(world, 1, HOME).0 == "Agreed");
    world.run_to_rest();
    world.go_away(1);
    ask(&mut world, 0, "Delete", json!({"deletionPolicy": "Delete"}));
    world.run_until("it is deleted for all", |world| !world.members[0].objects.contains_key(OUTPUT));
    world.run_to_rest();
    let kept = std::mem::take(&mut world.topo);
    world.run_until("it is noticed", |world| agreed(world, 0, FEDERATION).0 == REPLACED);
    world.run_for(10_000);
    world.away = None;
    let called = world.topo_calls;
    world.run_for(60_000);
    let stands = &world.members[1].objects[HOME]["metadata"]["deletionTimestamp"];
    assert!(stands.is_null(), "the copy is deleted while the league stands nowhere");
    assert!(world.topo_calls - called <= 120, "two operators call {} times in a minute", world.topo_calls - called);
    world.topo = kept;
    world.run_until("the copy goes, too", |world| !world.members[1].objects.contains_key(HOME));
}

#[test]
fn no_league_is_founded_over_what_is_left_of_another() {
    let before = settled();
    let mut world = World::new();
    let left = before.topo.iter().filter(|(key, _)| key.as_str() != CONTROL);
    left.for_each(|(key, (_, value))| world.put_topo(key, value.clone()));
    let standing = world.topo.clone();
    world.found(&["configmaps"]);
    world.run_until("it says why not", |world| agreed(world, 0, FEDERATION).0 == "ControlMissing");
    assert!(agreed(&world, 0, FEDERATION).1.contains("and 2 members of a league, and no control document"));
    world.run_for(60_000);
    assert_eq!(world.topo, standing, "nothing is written");
}

#[test]
fn another_leagues_store_is_not_written_to() {
    let mut world = settled();
    let kept = world.topo.clone();
    let other = LeagueId(Hash::of_bytes(b"another league"));
    let values: BTreeMap<String, Bytes> = kept.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect();
    for (key, value) in &values {
        let (envelope, body) = Envelope::open(value).unwrap();
        world.put_topo(key, Envelope { league: other, ..envelope }.seal(&body));
    }
    everyone_freezes(&mut world, REPLACED, &format!("holds league {}", other.label()));
    for (key, value) in &values {
        world.put_topo(key, value.clone());
    }
    everyone_goes_on(&mut world);
}

#[test]
fn a_page_alone_that_is_gone_freezes_nothing_else() {
    let mut world = settled();
    let pages: Vec<String> = world.topo.keys().filter(|key| key.starts_with("/v1/pages/")).cloned().collect();
    for page in &pages {
        world.topo.remove(page);
    }
    world.put(0, HOME, greets("good day"));
    // A home that was agreed on before asks, for its record is nowhere.
    world.run_until("the home asks", |world| agreed(world, 0, HOME).1.contains("does not know"));
    world.run_to_rest();
    assert!((0..2).all(|member| says(&world, member, "hello")), "nothing is taken away");
    assert!(world.topo.contains_key(CONTROL));
    assert_eq!(agreed(&world, 0, FEDERATION).0, "Agreed");
}
