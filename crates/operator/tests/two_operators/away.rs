//! An API server that is away for a while, and another replica that leads meanwhile.

use super::replaced::{FEDERATION, settled};
use super::world::{World, federated};
use serde_json::{Value, json};

const OWN: &str = "/apis/hansa.dev/v1alpha1/members/b";

/// What a member shows of the second one.
fn shown(world: &World, member: usize) -> &Value {
    &world.members[member].objects[OWN]["status"]
}

#[test]
fn an_api_server_that_is_back_is_not_told_that_it_is_away() {
    let mut world = settled();
    world.go_away(1);
    world.run_until("the other member shows it", |world| shown(world, 0)["state"] == "ApiServerAway");
    world.run_for(20_000);
    world.members[1].writes.clear();
    world.away = None;
    world.run_until("the other member shows that it is back", |world| shown(world, 0)["state"] == "Heartbeat");
    world.run_to_rest();
    assert_eq!(world.members[1].writes, [""; 0]);
    let about = |note: &&str| note.contains("API server") || note.contains("followed");
    let told: Vec<&str> = world.notes.iter().map(|note| &*note.message).filter(about).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("cannot be used (connection refused)") && told[1].contains("answers again"), "{told:?}");
}

#[test]
fn nobody_is_called_silent_who_could_not_be_heard() {
    let mut world = settled();
    world.cut_off(1);
    let of = "/apis/hansa.dev/v1alpha1/members/a";
    let state = |world: &World| world.members[1].objects[of]["status"]["state"].clone();
    world.run_until("the topology server is away", |world| state(world) == "TopologyServerAway");
    world.run_for(60_000);
    world.cut_off = None;
    world.run_until("the other one is heard again", |world| {
        assert_ne!(state(world), "Silent");
        state(world) == "Heartbeat"
    });
    world.members[0].stopped = true;
    world.run_until("it is silent indeed", |world| state(world) == "Silent");
}

/// For some seconds two replicas may hold themselves for the one that leads, and see a member otherwise.
#[test]
fn what_another_replica_undoes_is_not_written_again_and_again() {
    let mut world = settled();
    let ours = shown(&world, 1).clone();
    let mut theirs = world.members[1].objects[OWN].clone();
    theirs["status"]["reason"] = json!("the other one says so");
    let begin = world.now_ms();
    for _ in 0..4 {
        world.put(1, OWN, theirs.clone());
        world.run_until("it says again what it sees", |world| *shown(world, 1) == ours);
    }
    assert!(world.now_ms() - begin >= 3_000, "four times in {} ms", world.now_ms() - begin);
}

/// Of what belongs to the league's store, an operator can be sure only when it has seen its Federation object; what it
/// read before that may be old by the time it is sure.
#[test]
fn a_spec_that_was_read_early_is_not_gone_back_to() {
    const FEDERATIONS: &str = "/apis/hansa.dev/v1alpha1/federations";
    const MEMBERS: &str = "/apis/hansa.dev/v1alpha1/members";
    let mut world = settled();
    let region = |world: &World| world.members[1].objects[FEDERATION]["spec"]["members"][1]["region"].clone();
    world.forbidding = [(1, FEDERATIONS), (1, MEMBERS)].into();
    world.restart_one(1);
    world.run_for(20_000);
    world.forbidding.remove(&(1, FEDERATIONS));
    world.run_for(120_000);
    let mut edited = world.members[0].objects[FEDERATION].clone();
    edited["spec"]["members"][1]["region"] = json!("elsewhere");
    world.put(0, FEDERATION, edited);
    world.run_until("it is agreed", |world| {
        let status = &world.members[0].objects[FEDERATION]["status"];
        status["generation"] == 2
    });
    world.run_for(5_000);
    world.forbidding.clear();
    world.run_until("it is shown", |world| region(world) == "elsewhere");
    world.run_to_rest();
    assert_eq!(region(&world), "elsewhere");
}

/// What a member decides for all stands in the topology server: it needs no kind of its own for that.
#[test]
fn who_has_lost_a_kind_decides_about_its_pages_all_the_same() {
    let (mut world, names) = (World::new(), ["one", "two", "three", "four", "five", "six"]);
    world.found(&["configmaps"]);
    let path = |name: &str| format!("/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/{name}");
    let stand = |world: &World| {
        let output =
            |name: &&&str| world.members[0].objects.contains_key(&format!("/api/v1/namespaces/shop/configmaps/{name}"));
        names.iter().filter(output).count()
    };
    let put = |world: &mut World, placement: &Value| {
        for name in names {
            let spec = json!({"template": {"data": {"greeting": "hello"}}, "placement": placement});
            world.put(0, &path(name), federated("ConfigMap", name, spec));
        }
    };
    put(&mut world, &json!({"members": ["a"]}));
    world.run_until("they stand", |world| stand(world) == names.len());
    world.run_to_rest();
    world.without_types = Some(1);
    world.restart_one(1);
    world.run_to_rest();
    // Half of the pages are the other one's, which has just started.
    put(&mut world, &json!({"memberSelector": {"matchLabels": {"env": "nowhere"}}}));
    world.run_until("they are withdrawn", |world| stand(world) == 0);
}
