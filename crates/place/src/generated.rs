//! Generated specs and placements for property tests.

use hansa_model::{FederationSpec, MemberName, Placement};
use proptest::prelude::*;
use serde_json::{Value, json};

fn any_labels() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("env|tier", "[xy]", 0..3).prop_map(|labels| json!(labels))
}

/// A league of members from `a` to `e`.
pub fn any_spec() -> impl Strategy<Value = FederationSpec> {
    // One in a few is about to leave, or a witness.
    let leaving = prop::option::weighted(0.2, any::<bool>());
    let witness = prop::bool::weighted(0.2);
    let members = prop::collection::btree_map("[a-e]", (any_labels(), leaving, witness), 0..5);
    let policy = prop_oneof![Just("Create"), Just("RequireFederated")];
    (members, policy).prop_map(|(members, policy)| {
        let member = |(name, (labels, leaving, witness)): (&String, &(_, Option<bool>, bool))| {
            let mut member = json!({"name": name, "labels": labels, "witness": witness});
            if let Some(keep) = leaving {
                member["leaving"] = json!({"keepOutputs": keep});
            }
            member
        };
        let members: Vec<_> = members.iter().map(member).collect();
        serde_json::from_value(json!({"members": members, "namespaces": policy})).unwrap()
    })
}

fn any_names() -> impl Strategy<Value = Vec<MemberName>> {
    prop::collection::vec("[a-f]".prop_map(|name| name.parse().unwrap()), 0..4)
}

fn any_selector() -> impl Strategy<Value = Value> {
    let requirement =
        ("env|tier|zone", prop_oneof![Just("In"), Just("NotIn"), Just("Exists"), Just("DoesNotExist")], "[xy]")
            .prop_map(|(key, operator, value)| match operator {
                "In" | "NotIn" => json!({"key": key, "operator": operator, "values": [value]}),
                _ => json!({"key": key, "operator": operator}),
            });
    (any_labels(), prop::collection::vec(requirement, 0..2))
        .prop_map(|(labels, expressions)| json!({"matchLabels": labels, "matchExpressions": expressions}))
}

/// A placement, one in a few of them meaningless.
pub fn any_placement() -> impl Strategy<Value = Placement> {
    (prop::option::of(any_names()), prop::option::of(any_selector()), any_names()).prop_map(
        |(members, selector, exclude)| {
            let selector = selector.map(|selector| serde_json::from_value(selector).unwrap());
            Placement { members, member_selector: selector, exclude }
        },
    )
}
