//! Generated values for property tests.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn any_leaf() -> impl Strategy<Value = Value> {
    prop_oneof![any::<bool>().prop_map(Value::from), (0..3i64).prop_map(Value::from), "[xyz]?".prop_map(Value::from),]
}

/// A small object whose fields are named `a`, `b`, `c` (so that two of them meet), with lists.
pub fn any_object() -> impl Strategy<Value = Value> {
    let value = any_leaf().prop_recursive(3, 24, 3, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from), fields(inner),]
    });
    fields(value)
}

fn fields(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abc]", value, 0..3)
        .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

/// Containers with names from `a` to `d`, each name once, with environment and ports.
pub fn any_containers() -> impl Strategy<Value = Value> {
    let environment = prop::collection::btree_map("[A-C]", "[xyz]", 0..3)
        .prop_map(|map| Value::from_iter(map.into_iter().map(|(name, value)| json!({"name": name, "value": value}))));
    let ports = prop::collection::btree_set((80..83u16, any::<bool>()), 0..3).prop_map(|set| {
        Value::from_iter(set.into_iter().map(|(port, udp)| match udp {
            true => json!({"containerPort": port, "protocol": "UDP"}),
            false => json!({"containerPort": port}),
        }))
    });
    let container = ("[ij]:[12]", environment, ports)
        .prop_map(|(image, env, ports)| json!({"image": image, "env": env, "ports": ports}));
    prop::collection::btree_map("[a-d]", container, 0..4)
        .prop_map(|map| map.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|containers| {
            Value::from_iter(containers.into_iter().map(|(name, mut container)| {
                container["name"] = name.into();
                container
            }))
        })
}

/// The template of a Deployment.
pub fn any_deployment() -> impl Strategy<Value = Value> {
    (0..4u64, any_containers(), prop::collection::btree_map("[kl]", "[xyz]", 0..2)).prop_map(
        |(replicas, containers, labels)| {
            json!({
                "metadata": {"labels": labels},
                "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}},
            })
        },
    )
}
