//! Writes that a topology server lets wait, and what was so when they were sent.

use super::replaced::{HOME, greets, settled};
use super::rolled_back::page;
use super::world::{Throttling, World};
use hansa_ledger::{Envelope, OperationId, Page};
use hansa_model::{FINALIZER, Incarnation, MemberName};
use serde_json::json;

fn homes(world: &World) -> Vec<String> {
    let (_, _, page) = page(world);
    let record = page.records.values().next().unwrap().record().unwrap();
    record.homes.keys().map(MemberName::to_string).collect()
}

/// Somebody else writes the page, and changes nothing in it.
fn written_by_another(world: &mut World) {
    let (key, envelope, before): (String, Envelope, Page) = page(world);
    let operation = OperationId { incarnation: Incarnation(1), sequence: 1 };
    world.put_topo(&key, envelope.next(99, &"c".parse().unwrap(), operation).seal(&before.to_vec()));
}

#[test]
fn what_a_home_was_to_say_goes_with_its_object() {
    let mut world = settled();
    let call = "Write { key: \"/v1/pages/";
    world.throttling = Some(Throttling { member: 1, call, retry_after_ms: Some(8_000), all: false });
    // The second member's users make a copy of the home, which would join it.
    world.put(1, HOME, greets("hello"));
    world.run_until("the word waits", |world| world.throttled.is_some());
    world.remove(1, HOME);
    written_by_another(&mut world);
    world.run_until("it was sent again, and was lost", |world| {
        assert_eq!(homes(world), ["a"]);
        world.throttled.as_ref().is_some_and(|(.., again)| again.is_some())
    });
    let until = world.now_ms() + 10_000;
    world.run_until("some more time passes", |world| {
        assert_eq!(homes(world), ["a"], "a home that is gone was named");
        world.now_ms() >= until
    });
}

/// The word may be in the topology server already, whatever a read showed before it came there: the finalizer keeps the
/// object until that is known.
#[test]
fn a_finalizer_stays_while_its_object_may_be_named_as_a_home() {
    let mut world = settled();
    let (key, ..) = page(&world);
    world.unanswered = Some(key);
    let mut copy = greets("hello");
    copy["metadata"]["finalizers"] = json!([FINALIZER]);
    world.put(1, HOME, copy);
    world.run_for(1_000);
    world.delete_by_intent(1, HOME);
    world.run_for(5_000);
    let object = world.members[1].objects.get(HOME).expect("the object waits");
    assert_eq!(object["metadata"]["finalizers"], json!([FINALIZER]));
}
