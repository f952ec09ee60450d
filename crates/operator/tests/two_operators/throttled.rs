//! A topology server that asks to be called less often.

use super::replaced::{FEDERATION, HOME, greets, says, settled};
use super::world::{Throttling, World};
use bytes::Bytes;
use hansa_ledger::Swap;
use hansa_operator::{TopoAnswer, TopoFailure};
use serde_json::Value;

/// Every condition of the league and its members, as both members show them.
fn standing(world: &World) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for member in &world.members {
        let about = |path: &&String| *path == FEDERATION || path.starts_with("/apis/hansa.dev/v1alpha1/members/");
        for path in member.objects.keys().filter(about) {
            let conditions = member.objects[path]["status"]["conditions"].clone();
            for condition in conditions.as_array().into_iter().flatten() {
                let field = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
                all.push((path.clone(), field("type"), format!("{} {}", field("status"), field("reason"))));
            }
        }
    }
    all
}

/// Why the second member says that a member is ready, or not.
pub fn ready(world: &World, member: &str) -> Value {
    let member = &world.members[1].objects[&format!("/apis/hansa.dev/v1alpha1/members/{member}")];
    member["status"]["conditions"][0]["reason"].clone()
}

fn says_away(world: &World) -> bool {
    world.notes.iter().any(|note| note.message.contains("the topology server cannot be used"))
}

#[test]
fn a_call_that_was_turned_away_is_made_when_the_server_wants_it() {
    // Whoever does not write for longer is silent to the others.
    for (call, wait_ms) in [("Changes", 60_000), ("Read", 60_000), ("Write", 8_000)] {
        let mut world = settled();
        let before = standing(&world);
        assert!(before.iter().any(|(path, ..)| path.ends_with("members/b")), "{before:?}");
        world.throttling = Some(Throttling { member: 1, call, retry_after_ms: Some(wait_ms), all: false });
        world.put(0, HOME, greets("good day"));
        world.run_until("the edit is everywhere, and the call was made again", |world| {
            assert_eq!(standing(world), before, "{call}");
            let again = world.throttled.as_ref().is_some_and(|(.., again)| again.is_some());
            again && says(world, 0, "good day") && says(world, 1, "good day")
        });
        let (request, at, again) = world.throttled.clone().unwrap();
        assert!(again.unwrap() >= at + wait_ms, "{request:?} was turned away at {at}, and made again at {again:?}");
        world.run_to_rest();
        assert_eq!(standing(&world), before, "{call}");
        assert!(!says_away(&world), "{call}");
    }
}

#[test]
fn a_server_that_answers_nothing_for_long_is_away() {
    let mut world = settled();
    let before = standing(&world);
    world.throttling = Some(Throttling { member: 1, call: "", retry_after_ms: None, all: true });
    world.run_until("it says so", |world| ready(world, "b") == "TopologyServerAway");
    let told: Vec<&str> = world.notes.iter().map(|note| &*note.message).collect();
    let throttled = told.iter().position(|note| note.contains("asks to be called less often")).unwrap();
    let away = told.iter().position(|note| note.contains("cannot be used")).unwrap();
    assert!(throttled < away, "{told:?}");
    world.throttling = None;
    world.run_until("it goes on", |world| standing(world) == before);
}

/// Who is silent is no less silent because somebody was asked to listen less often.
#[test]
fn silence_is_counted_on_when_it_can_be_heard_again() {
    let mut world = settled();
    world.members[0].stopped = true;
    world.run_for(8_000);
    world.throttling = Some(Throttling { member: 1, call: "", retry_after_ms: None, all: true });
    // What it waits for comes, so that it waits anew.
    world.put_topo("/v1/of/another/release", Bytes::new());
    world.run_for(12_000);
    assert_eq!(ready(&world, "a"), "Heartbeat", "nobody could be heard");
    world.throttling = None;
    let since = world.now_ms();
    world.run_until("it is silent", |world| ready(world, "a") == "Silent");
    let counted = world.now_ms() - since;
    // Three heartbeats and two seconds make a silence, and eight seconds of it had passed.
    assert!(counted < 17_000, "it took {counted} ms, as if it had been heard at the end of the throttling");
}

/// Reads go through, and no write does: a disk is full, or a firewall lets only small requests pass.
#[test]
fn who_can_only_read_is_cut_off_and_says_so_once() {
    let refused =
        TopoAnswer::Failed { reason: "no space left".to_owned(), failure: TopoFailure::Away, retry_after_ms: None };
    let unknown = TopoAnswer::Swapped(Swap::Indeterminate { reason: "the connection broke".to_owned() });
    for answer in [refused, unknown] {
        let mut world = settled();
        let before = standing(&world);
        world.notes.clear();
        world.unwritten = Some((1, answer));
        world.run_until("it says so", |world| ready(world, "b") == "TopologyServerAway");
        world.topo_writes.clear();
        world.run_for(60_000);
        let writes = world.topo_writes.iter().filter(|key| key.contains("members/b")).count();
        assert!((6..=40).contains(&writes), "{writes} writes in a minute");
        let told: Vec<&str> = world.notes.iter().map(|note| &*note.message).collect();
        let count = |what: &str| told.iter().filter(|note| note.contains(what)).count();
        assert_eq!((count("cannot be used"), count("answers again")), (1, 0), "{told:?}");
        world.unwritten = None;
        world.run_until("it goes on", |world| standing(world) == before);
    }
}
