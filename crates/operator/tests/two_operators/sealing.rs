//! Secrets and large bodies between two operators.

use super::world::{World, federated};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_model::Hash;
use serde_json::{Value, json};

const NATIVE: &str = "/api/v1/namespaces/shop/secrets/db";
const FEDERATED: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedsecrets/db";

fn secret(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": "db", "namespace": "shop"},
        "data": {"password": STANDARD.encode(value)}})
}

fn holds(member: usize, value: &str) -> impl Fn(&World) -> bool {
    let value = json!(STANDARD.encode(value));
    move |world| world.members[member].objects.get(NATIVE).is_some_and(|secret| secret["data"]["password"] == value)
}

#[test]
fn a_secret_travels_sealed_and_a_restart_writes_nothing() {
    let mut world = World::new();
    world.found(&["secrets"]);
    let spec = json!({"templateFrom": {"secretRef": {"name": "db"}}, "placement": {"members": ["a", "b"]}});
    world.put(0, FEDERATED, federated("Secret", "db", spec));
    let agreed = |world: &World| world.members[0].objects[FEDERATED]["status"]["conditions"][1].clone();
    world.run_until("the missing Secret is named", |world| agreed(world)["reason"] == "SourceUnavailable");
    assert!(agreed(&world)["message"].as_str().unwrap().contains("there is no Secret shop/db"));

    let values = ["correct-horse-battery", "staple-and-some-more-text"];
    for value in values {
        world.put(0, NATIVE, secret(value));
        world.run_until("the other member has it", holds(1, value));
    }
    world.run_to_rest();
    assert!(!world.members[0].writes.iter().any(|write| write.ends_with(NATIVE)), "the source is never written");
    assert_eq!(agreed(&world)["status"], "True");

    let told = world.told();
    assert!(told.contains("sealed") && told.contains("WatchLine"), "there is something to search");
    for value in values {
        // A few characters of the value, and of its base64 wherever it begins.
        let encoded: Vec<String> = (0..3).map(|skip| STANDARD.encode(&value[skip..])[..16].to_owned()).collect();
        for needle in [value.to_owned()].into_iter().chain(encoded) {
            assert!(!told.contains(&needle), "{needle} is told");
        }
    }

    world.restart();
    world.run_to_rest();
    let writes: Vec<&String> = world.members.iter().flat_map(|member| &member.writes).collect();
    assert!(writes.is_empty(), "{writes:?}");
    let topo: Vec<&String> = world.topo_writes.iter().filter(|key| !key.ends_with("/cell")).collect();
    assert!(topo.is_empty(), "{topo:?}");
}

#[test]
fn a_large_body_lies_in_a_blob_and_arrives_whole() {
    let mut world = World::new();
    world.found(&["configmaps"]);
    let large: String = (0..600).map(|n: u32| Hash::of_bytes(&n.to_le_bytes()).to_string()).collect();
    let spec = json!({"template": {"data": {"large": large}}, "placement": {"members": ["b"]}});
    let path = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/large";
    world.put(0, path, federated("ConfigMap", "large", spec));
    let output = "/api/v1/namespaces/shop/configmaps/large";
    world.run_until("the other member has it", |world| {
        world.members[1].objects.get(output).is_some_and(|found| found["data"]["large"] == json!(large))
    });
    world.run_to_rest();
    let blobs: Vec<&String> = world.topo.keys().filter(|key| key.starts_with("/v1/blobs/")).collect();
    assert_eq!(blobs.len(), 1, "{blobs:?}");
    let pages = world.topo.iter().filter(|(key, _)| key.starts_with("/v1/pages/"));
    assert!(pages.map(|(_, (_, value))| value.len()).all(|bytes| bytes < 4_096));
    let blob = world.topo_writes.iter().position(|key| key.starts_with("/v1/blobs/"));
    let page = world.topo_writes.iter().position(|key| key.starts_with("/v1/pages/"));
    assert!(blob < page, "the blob stands before a record names it");

    world.restart();
    world.run_to_rest();
    let writes: Vec<&String> = world.members.iter().flat_map(|member| &member.writes).collect();
    assert!(writes.is_empty(), "{writes:?}");
}
