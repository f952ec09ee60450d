//! Each operator holds the spec that is proposed against its own cluster.

use super::replaced::{FEDERATION, HOME, agreed, greets, says, settled};
use super::world::World;
use serde_json::{Value, json};

fn of_version(world: &World, version: &str) -> Value {
    let mut league = world.members[0].objects[FEDERATION].clone();
    league["spec"]["types"] = json!([{"resource": "configmaps", "version": version}]);
    league
}

fn serves(names: &[&str]) -> Value {
    let resources: Vec<Value> = names.iter().map(|name| json!({"name": name, "namespaced": true})).collect();
    json!({"kind": "APIResourceList", "resources": resources})
}

#[test]
fn a_version_that_one_cluster_does_not_serve_is_refused_by_it_with_the_mend() {
    let mut world = settled();
    world.served.insert((0, "/api/v2"), serves(&["configmaps"]));
    world.served.insert((1, "/api/v2"), serves(&["secrets"]));
    world.put(0, FEDERATION, of_version(&world, "v2"));
    world.run_until("it is rejected", |world| agreed(world, 0, FEDERATION).0 == "Rejected");
    let (_, message) = agreed(&world, 0, FEDERATION);
    assert!(
        message.contains("b: spec.types[configmaps].version: b has 1 objects of configmaps in version v1"),
        "{message}"
    );
    assert!(message.contains("let b serve v2 first"), "{message}");
    assert!((0..2).all(|member| says(&world, member, "hello")), "what is at work goes on");
    world.put(0, FEDERATION, of_version(&world, "v1"));
    world.run_until("the spec stands", |world| agreed(world, 0, FEDERATION).0 == "Agreed");
    world.put(0, HOME, greets("good day"));
    world.run_until("an edit comes everywhere", |world| (0..2).all(|member| says(world, member, "good day")));
}

#[test]
fn a_version_that_all_clusters_serve_and_a_kind_that_one_lacks_are_agreed_on() {
    let mut world = settled();
    for member in 0..2 {
        world.served.insert((member, "/api/v2"), serves(&["configmaps"]));
    }
    world.put(0, FEDERATION, of_version(&world, "v2"));
    world.run_until("it is agreed", |world| world.members[1].objects[FEDERATION]["status"]["generation"] == 2);
    let mut league = of_version(&world, "v2");
    let widgets = json!({"resource": "widgets.example.org", "version": "v1"});
    league["spec"]["types"].as_array_mut().unwrap().push(widgets);
    world.put(0, FEDERATION, league);
    world.run_until("the new kind is agreed, too", |world| {
        world.members[1].objects[FEDERATION]["status"]["generation"] == 3
    });
}
