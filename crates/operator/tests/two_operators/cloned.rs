//! A cluster that was made from another one's etcd: with its objects, the uid of its kube-system and its keys.

use super::replaced::{HOME, OUTPUT, greets, says, settled};
use super::world::World;
use serde_json::Value;

/// What a member's own object says of it, as its operator writes it.
fn of_itself(world: &World, index: usize) -> String {
    world.members[index].objects["/apis/hansa.dev/v1alpha1/members/b"]["status"].to_string()
}

fn freezes(world: &World, index: usize) -> bool {
    of_itself(world, index).contains("two clusters have one uid and one pair of keys")
}

#[test]
fn of_two_clusters_that_are_one_member_the_earlier_start_freezes_by_name() {
    let mut world = settled();
    let clone = world.clone_of(1);
    world.run_until("the earlier start freezes", |world| freezes(world, 1));
    world.run_for(60_000);
    assert!(freezes(&world, 1) && !freezes(&world, clone));
    let told = |word: &str| world.notes.iter().filter(|note| note.message.contains(word)).count();
    assert_eq!((told("a later start of b's operator writes"), told("an earlier start of b's operator")), (1, 1));
    // What the league agrees on comes to one of them; what stands in the other is left as it is.
    world.put(0, HOME, greets("good day"));
    world.run_until("it comes to the later one", |world| says(world, clone, "good day") && says(world, 0, "good day"));
    world.run_for(60_000);
    assert!(says(&world, 1, "hello"));
    // Neither disturbs the other: a heartbeat each in five seconds, and what it takes to see the other's.
    world.topo_writes.clear();
    world.run_for(60_000);
    let of_b = world.topo_writes.iter().filter(|key| key.starts_with("/v1/members/b/")).count();
    assert!(of_b <= 48, "{of_b} writes in a minute: {:?}", world.topo_writes);

    // Started anew, it is the later one.
    world.restart_one(1);
    world.run_until("the other one freezes", |world| freezes(world, clone));
    world.run_until("this one goes on", |world| says(world, 1, "good day"));
    // And when one of them is stopped, the other one goes on, whichever it is.
    world.members[1].stopped = true;
    world.run_until("it goes on", |world| !freezes(world, clone));
    world.put(0, HOME, greets("good evening"));
    world.run_until("it has it", |world| says(world, clone, "good evening"));
    assert!(says(&world, 1, "good day") && world.members[1].objects[OUTPUT] != Value::Null);
}
