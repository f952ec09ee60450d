//! `Member`: a member of the league as this cluster's operator sees it, for reading.

use crate::conditions::Condition;
use crate::crd::{Column, Definition};
use crate::federation::bound_member;
use crate::structural::{rule, structural_schema};
use hansa_model::Member;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known about a member.
///
/// It is written when a state changes, or when the lag changes by an order of magnitude; the heartbeat
/// itself stays in the topology server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Whether its operator is heard of, and acts.
    #[serde(default)]
    pub ready: bool,
    /// The version of the member's Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub version: Option<String>,
    /// How long nothing was heard of its operator, by orders of magnitude: 0s, >10s, >1m, >10m, >1h or >1d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub lag: Option<String>,
    /// What was found, as the reason of Ready: Heartbeat (it is well), NeverSeen, NotJoined, Awaited, Silent, Lost, Frozen, KeyDiffers,
    /// Unreadable, ApiServerAway, TopologyServerAway, TopologyServerReplaced or TopologyServerRolledBack.
    // A text and no enum: another release may know more states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub state: Option<String>,
    /// Since when it is in this state (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
    /// Why it is in this state, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub reason: Option<String>,
    /// The uid of the member's `kube-system` namespace: with its key, its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub uid: Option<String>,
    /// The operator's keys as this cluster saw them first, or as the spec lists them, `ed25519:…` and `x25519:…`: where it names none,
    /// nothing is sealed to another key than this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 128)))]
    pub public_keys: Vec<String>,
    /// The operator that runs there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorStatus>,
    /// Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"], "maxItems" = 32))]
    pub conditions: Vec<Condition>,
}

/// The operator of a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperatorStatus {
    /// Its release.
    #[schemars(length(max = 63))]
    pub release: String,
}

/// The parts of `Member` that its CustomResourceDefinition is made of.
pub fn definition() -> Definition {
    let mut spec = structural_schema::<Member>();
    bound_member(&mut spec);
    Definition {
        group: crate::GROUP.into(),
        kind: "Member".into(),
        plural: "members".into(),
        short_names: Vec::new(),
        namespaced: false,
        description:
            "A member of the league as this cluster's operator sees it. Read-only: members are written in the \
            Federation."
                .into(),
        spec,
        status: structural_schema::<MemberStatus>(),
        rules: vec![rule(
            "self.spec.name == self.metadata.name",
            "metadata.name and spec.name are the member's name, and equal",
        )],
        columns: vec![
            Column {
                name: "READY",
                type_: "boolean",
                json_path: ".status.ready",
                priority: 0,
                description: "Whether its operator is heard of, and acts.",
            },
            Column {
                name: "PROVIDER",
                type_: "string",
                json_path: ".spec.provider",
                priority: 0,
                description: "The cloud or datacentre operator.",
            },
            Column {
                name: "REGION",
                type_: "string",
                json_path: ".spec.region",
                priority: 0,
                description: "The region in the provider's own words.",
            },
            Column {
                name: "VERSION",
                type_: "string",
                json_path: ".status.version",
                priority: 0,
                description: "The version of the member's Kubernetes.",
            },
            Column {
                name: "LAG",
                type_: "string",
                json_path: ".status.lag",
                priority: 0,
                description: "How long nothing was heard of its operator.",
            },
            Column::AGE,
            Column {
                name: "STATE",
                type_: "string",
                json_path: ".status.state",
                priority: 1,
                description: "What was found of the member.",
            },
            Column {
                name: "REASON",
                type_: "string",
                json_path: ".status.reason",
                priority: 1,
                description: "Why it is in this state.",
            },
        ],
        scale: None,
        annotations: Default::default(),
    }
}
