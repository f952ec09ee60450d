//! `Federation`: the one giant spec of a league, and what this member knows of it.

use crate::conditions::Condition;
use crate::crd::{Column, Definition};
use crate::structural::{add_rule, limit, node, rule, structural_schema};
use hansa_model::{Era, FederationSpec, Generation, Hash, MemberName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What an operator says about its league, in its own cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederationStatus {
    /// The generation of this object that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// The league's id: the hash of its first spec, pinned in every member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub league: Option<Hash>,
    /// The generation of the spec that the league agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The era: raised by a person, after a restore or the loss of the topology server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    /// The member that the spec is written in; everywhere else this object is a mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<MemberName>,
    /// The members in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<MembersSummary>,
    /// Agreed: whether this object is what the league agreed on. Readable: whether this member's operator can read all
    /// that the topology server holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"], "maxItems" = 32))]
    pub conditions: Vec<Condition>,
}

/// The members of a league in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembersSummary {
    /// How many members the spec names.
    pub total: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// The others by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 256))]
    pub not_ready: Vec<MemberName>,
}

pub use hansa_model::federation::PRIVILEGED_GROUPS;

/// The name of a type: its plural, and its group behind a dot.
pub(crate) const TYPE_PATTERN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// The parts of `Federation` that its CustomResourceDefinition is made of.
pub fn definition() -> Definition {
    let mut spec = structural_schema::<FederationSpec>();
    bound(&mut spec);
    let types = node(&mut spec, &["types", "[]"]);
    let listed = PRIVILEGED_GROUPS.iter().map(|group| format!("'{group}'")).collect::<Vec<_>>().join(", ");
    add_rule(
        types,
        rule(
            &format!(
                "(has(self.privileged) && self.privileged) || ![{listed}].exists(group, self.resource.endsWith('.' + group))"
            ),
            "this kind can change who may do what in every member: set privileged to true if that is wanted, else remove the type",
        ),
    );
    add_rule(
        types,
        rule(
            "self.resource != 'hansa.dev' && !self.resource.endsWith('.hansa.dev')",
            "Hansa's own kinds are not federated: remove the type",
        ),
    );
    add_rule(
        node(&mut spec, &["members", "[]", "publicKeys"]),
        rule(
            "self.filter(key, key.startsWith('ed25519:')).size() <= 2 && self.filter(key, key.startsWith('x25519:')).size() <= 2",
            "an operator has one ed25519 and one x25519 key, and the next one of each during a rotation: remove the oldest",
        ),
    );
    Definition {
        group: crate::GROUP.into(),
        kind: "Federation".into(),
        plural: "federations".into(),
        short_names: vec!["fed".into()],
        namespaced: false,
        description:
            "The league as one spec: every member and everything all are responsible for. It is written in one \
            member and mirrored in the others."
                .into(),
        spec,
        status: structural_schema::<FederationStatus>(),
        rules: Vec::new(),
        columns: vec![
            Column {
                name: "LEAGUE",
                type_: "string",
                json_path: ".status.league",
                priority: 1,
                description: "The league's id.",
            },
            Column {
                name: "HOME",
                type_: "string",
                json_path: ".status.home",
                priority: 0,
                description: "The member that the spec is written in.",
            },
            Column {
                name: "MEMBERS",
                type_: "integer",
                json_path: ".status.members.total",
                priority: 0,
                description: "How many members the spec names.",
            },
            Column {
                name: "READY",
                type_: "integer",
                json_path: ".status.members.ready",
                priority: 0,
                description: "How many of them are ready.",
            },
            Column {
                name: "GENERATION",
                type_: "integer",
                json_path: ".status.generation",
                priority: 0,
                description: "The generation of the spec that the league agreed on.",
            },
            Column {
                name: "AGREED",
                type_: "string",
                json_path: ".status.conditions[?(@.type==\"Agreed\")].status",
                priority: 0,
                description: "Whether this object is what the league agreed on.",
            },
            Column::AGE,
        ],
        scale: None,
        annotations: Default::default(),
    }
}

/// Limits that keep the cost of the rules countable, and keys in their one form.
fn bound(spec: &mut Value) {
    bound_member(node(spec, &["members", "[]"]));
    limit(node(spec, &["types", "[]", "resource"]), json!({"pattern": TYPE_PATTERN}));
    limit(node(spec, &["types", "[]", "version"]), json!({"maxLength": 63, "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}));
    limit(node(spec, &["safety", "deletes", "window"]), json!({"minLength": 2, "maxLength": 32}));
}

/// Limits of one member, in the Federation and in its own object.
pub(crate) fn bound_member(member: &mut Value) {
    for field in ["provider", "region", "zone"] {
        limit(node(member, &[field]), json!({"maxLength": 63}));
    }
    // A label's value has at most 63 characters, as everywhere in Kubernetes.
    limit(node(member, &["labels"]), json!({"maxProperties": 128}));
    limit(node(member, &["labels", "{}"]), json!({"maxLength": 63}));
    limit(node(member, &["residency"]), json!({"maxItems": 32}));
    limit(node(member, &["residency", "[]"]), json!({"minLength": 1, "maxLength": 63}));
    limit(node(member, &["publicKeys"]), json!({"maxItems": 4}));
    limit(
        node(member, &["publicKeys", "[]"]),
        json!({"maxLength": 128, "pattern": "^(ed25519|x25519):[A-Za-z0-9+/]+=*$"}),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structural::VALIDATIONS;

    #[test]
    fn the_spec_keeps_its_meaningful_defaults_and_no_others() {
        let spec = definition().spec;
        let at = |pointer: &str| spec.pointer(pointer).cloned();
        assert_eq!(at("/properties/namespaces/default"), Some(json!("Create")));
        assert_eq!(at("/properties/safety/properties/deletes/properties/window/default"), Some(json!("10m")));
        assert_eq!(at("/properties/members/default"), None);
        assert_eq!(at("/properties/paused/default"), None);
    }

    #[test]
    fn rules_stand_where_they_apply() {
        let spec = definition().spec;
        for pointer in ["/properties/types/items", "/properties/members/items/properties/publicKeys"] {
            assert!(spec.pointer(pointer).unwrap()[VALIDATIONS].is_array(), "{pointer}");
        }
    }
}
