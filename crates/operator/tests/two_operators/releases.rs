//! Operators of two releases in one league.

use super::replaced::{FEDERATION, HOME, agreed, greets, says, settled_in};
use super::world::World;
use hansa_ballot::{Control, Document};
use hansa_ledger::Envelope;
use hansa_operator::{FEATURE_LEVEL, Release};
use serde_json::json;
use std::collections::BTreeMap;

const CELL_OF_B: &str = "/v1/members/b/cell";

/// The release after this one.
fn next() -> Release {
    Release { level: FEATURE_LEVEL + 1, ..Release::this("1") }
}

/// An earlier one, that knows no people in the spec.
fn without_people() -> Release {
    Release { lacks: ["people".to_owned()].into(), ..Release::this("0-beta") }
}

fn control(world: &World) -> Control {
    Control::read(&Envelope::open(&world.topo["/v1/control"].1).unwrap().1).unwrap()
}

fn level(world: &World) -> u32 {
    control(world).ballots().feature
}

fn is_voter(world: &World, name: &str) -> bool {
    world.topo.contains_key("/v1/control") && control(world).ballots().voters.set.contains_key(&name.parse().unwrap())
}

/// What the Member of `b` says, as `a` shows it.
fn member_b(world: &World) -> String {
    world.members[0].objects["/apis/hansa.dev/v1alpha1/members/b"]["status"]["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Both run the next release, and the league is at its level.
fn upgraded() -> World {
    let mut world = settled_in(World::of([("a", next()), ("b", next())].into()));
    world.run_until("the level has risen", |world| level(world) == FEATURE_LEVEL + 1);
    world.run_to_rest();
    world
}

#[test]
fn the_level_is_the_lowest_that_all_speak_and_rises_when_all_do() {
    let mut world = settled_in(World::of(BTreeMap::new()));
    world.run_until("all speak one level", |world| level(world) == FEATURE_LEVEL);
    world.releases.insert("a", next());
    world.restart_one(0);
    world.run_for(120_000);
    assert_eq!(level(&world), FEATURE_LEVEL);
    // Everything goes on between the two.
    world.put(0, HOME, greets("good day"));
    world.run_until("an edit comes everywhere", |world| (0..2).all(|member| says(world, member, "good day")));
    world.releases.insert("b", next());
    world.restart_one(1);
    world.run_until("the level rises", |world| level(world) == FEATURE_LEVEL + 1);
}

#[test]
fn an_operator_below_the_agreed_level_freezes_its_own_share_by_name() {
    let mut world = upgraded();
    world.releases.remove("b");
    world.restart_one(1);
    let words = format!("agreed on feature level {}", FEATURE_LEVEL + 1);
    world.run_until("others say so", |world| member_b(world).contains(&words));
    world.run_to_rest();
    assert!(member_b(&world).contains("release 0 of b's operator speaks level 1"), "{}", member_b(&world));
    // It says its level in its cell, and decides nowhere.
    let document = control(&world);
    let cell = document.ballots().slot(&"b".parse().unwrap()).unwrap().cell().unwrap().clone();
    assert_eq!(cell.speaks, FEATURE_LEVEL);
    let seats = document.ballots().appointments.pages.iter();
    assert!(seats.clone().all(|run| run.seat.member.as_ref().is_some_and(|member| member.as_str() == "a")));
    // What it has stays, and it writes nothing else.
    world.topo_writes.clear();
    world.members[1].writes.clear();
    world.put(0, HOME, greets("good day"));
    world.run_until("the other goes on", |world| says(world, 0, "good day"));
    world.run_to_rest();
    assert!(says(&world, 1, "hello"), "what stands there is left as it is");
    let by_b = world.topo_writes.iter().filter(|key| key.contains("/members/b/"));
    assert!(by_b.clone().all(|key| key == CELL_OF_B), "{:?}", by_b.collect::<Vec<_>>());
    let outputs = world.members[1].writes.iter().filter(|write| !write.contains("hansa.dev"));
    assert!(outputs.clone().all(|write| write.ends_with("/events")), "{:?}", outputs.collect::<Vec<_>>());
    world.run_until("the home says whom it waits for", |world| {
        let conditions = world.members[0].objects[HOME]["status"]["conditions"].to_string();
        conditions.contains("b: the league has agreed on feature level")
    });
    // It is upgraded, and goes on.
    world.releases.insert("b", next());
    world.restart_one(1);
    world.run_until("it goes on", |world| says(world, 1, "good day"));
    world.run_until("it is well", |world| !member_b(world).contains(&words));
}

#[test]
fn a_newcomer_below_the_agreed_level_is_not_let_in_until_it_is_upgraded() {
    let mut world = World::of([("a", next())].into());
    world.members[1].stopped = true;
    world.found(&["configmaps"]);
    world
        .run_until("the level of the founder holds", |world| is_voter(world, "a") && level(world) == FEATURE_LEVEL + 1);
    world.members[1].stopped = false;
    world.put(0, HOME, greets("hello"));
    world.run_until("it says why it waits", |world| member_b(world).contains("until it runs a release that speaks 2"));
    world.run_for(120_000);
    assert!(!is_voter(&world, "b"));
    world.releases.insert("b", next());
    world.restart_one(1);
    world.run_until("it is let in", |world| is_voter(world, "b"));
    world.run_until("it does its share", |world| says(world, 1, "hello"));
}

fn with_people(world: &World) -> serde_json::Value {
    let mut league = world.members[0].objects[FEDERATION].clone();
    let key = hansa_ballot::Signer::new("ada".parse().unwrap(), [7; 32]).public();
    league["spec"]["people"] = json!([{"name": "ada", "publicKey": key}]);
    league
}

#[test]
fn a_field_that_a_release_does_not_know_is_voted_down_by_it() {
    let mut world = settled_in(World::of([("b", without_people())].into()));
    let generation = control(&world).generation;
    world.put(0, FEDERATION, with_people(&world));
    world.run_until("it is rejected", |world| agreed(world, 0, FEDERATION).0 == "Rejected");
    let (_, message) = agreed(&world, 0, FEDERATION);
    assert!(message.contains("b: it holds what this release does not know (unknown field `people`)"), "{message}");
    assert!(message.contains("let b run a newer operator"), "{message}");
    assert_eq!(control(&world).generation, generation);
}

#[test]
fn who_does_not_know_a_field_of_the_agreed_spec_freezes_its_own_share_by_name() {
    let mut world = settled_in(World::of(BTreeMap::new()));
    world.put(0, FEDERATION, with_people(&world));
    world.run_until("the spec is agreed", |world| !control(world).ballots().voters.people.is_empty());
    world.run_to_rest();
    world.releases.insert("b", without_people());
    world.restart_one(1);
    let words = "does not know (unknown field `people`)";
    world.run_until("others say so", |world| member_b(world).contains(words));
    world.put(0, HOME, greets("good day"));
    world.run_until("the other goes on", |world| says(world, 0, "good day"));
    world.run_to_rest();
    assert!(says(&world, 1, "hello"), "what stands there is left as it is");
    world.releases.remove("b");
    world.restart_one(1);
    world.run_until("it goes on", |world| says(world, 1, "good day"));
}
