//! `Request`: a short-lived command to the operator of a cluster.
//!
//! The API server's proxy strips who asks, so an operator that listens behind it cannot know. A
//! `Request` is therefore written with the user's own rights, and one admission policy asks the
//! authorizer whether the writer holds the verb that the action needs on the object's own kind
//! ([`crate::policy`]). Answers with data go into a Secret beside it; the status carries none.
//!
//! An operator takes the object's key as it is written and never mends it: the policy judged these
//! very words. A namespace before a cluster-scoped kind names nothing.

use crate::conditions::Condition;
use crate::crd::{Column, Definition};
use crate::federation::TYPE_PATTERN;
use crate::structural::{add_rule, limit, node, object, rule, structural_schema};
use hansa_model::{DeletionPolicy, Hash, MemberName, RecordKey, TypeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A command to an operator.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestSpec {
    /// What to do.
    pub action: Action,
    /// The federated object. A confirmation is about the league, a rotation of keys about the member: they name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKey>,
    /// What the action needs to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Arguments>,
}

/// What an operator is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Write the object's tombstone, whichever members are its homes.
    Delete,
    /// Make another member the object's home.
    HomeMove,
    /// Let exactly the set that was shown pass the breaker.
    Confirm,
    /// Show the substitution output for one member.
    Output,
    /// Show why each member has what it has.
    Explain,
    /// Ask every member what it would do if the object were written as it stands in the arguments.
    Plan,
    /// Rotate the keys of this member's operator: make the next ones, and say what the spec is to list.
    RotateKeys,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 7] = [
        Action::Delete,
        Action::HomeMove,
        Action::Confirm,
        Action::Output,
        Action::Explain,
        Action::Plan,
        Action::RotateKeys,
    ];

    /// The name, as it stands in `spec.action`.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Delete => "Delete",
            Action::HomeMove => "HomeMove",
            Action::Confirm => "Confirm",
            Action::Output => "Output",
            Action::Explain => "Explain",
            Action::Plan => "Plan",
            Action::RotateKeys => "RotateKeys",
        }
    }

    /// The verb that whoever asks must hold on the kind of the object, in its namespace; for what is
    /// about the league, on Federations.
    pub fn verb(self) -> &'static str {
        match self {
            Action::Delete => "delete",
            // What is planned is tried with the operators' rights, as what is written is applied with them.
            Action::HomeMove | Action::Confirm | Action::Plan | Action::RotateKeys => "update",
            Action::Output | Action::Explain => "get",
        }
    }

    /// Whether the action is about the league, or this member in it, and no object; it then needs `update` on Federations.
    pub fn is_league_wide(self) -> bool {
        matches!(self, Action::Confirm | Action::RotateKeys)
    }
}

/// Names a federated object by its target.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectKey {
    /// The target's plural and group: `deployments.apps`, `configmaps`.
    pub resource: TypeName,
    /// The namespace; left out for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl ObjectKey {
    /// The key of the object's record.
    pub fn record_key(&self) -> RecordKey {
        RecordKey::new(self.resource.clone(), &self.namespace, &self.name)
    }
}

/// What an action needs to know.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// The new home, or the member whose output is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberName>,
    /// For Confirm: the hash of the set that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Hash>,
    /// For Delete: what becomes of the outputs, in place of the object's own policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// For Plan: what is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanArguments>,
}

/// What is planned of an object.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanArguments {
    /// The spec of the federated object, as it is to be.
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub spec: Value,
    /// The template that the Secret of spec.templateFrom gives, with empty texts in the place of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub outline: Option<Value>,
    /// How long members that run may take to answer; 20 seconds when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: Option<u32>,
}

/// How a request ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestStatus {
    /// Whether it is answered.
    #[serde(default)]
    pub phase: Phase,
    /// The answer in one sentence; for a refusal the object, the field and the mend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
    /// The life of the object that the request is about: the one that stood when it was first looked at. A later
    /// life of the same name is not meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<u64>,
    /// The answer, where it carries no data: names, revisions, reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub result: Option<Value>,
    /// The Secret beside the request that holds an answer with data; it goes with the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub result_secret: Option<String>,
    /// Ready: the request is answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"], "maxItems" = 32))]
    pub conditions: Vec<Condition>,
}

/// Whether a request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not answered yet.
    #[default]
    Pending,
    /// Done; the result says what came of it.
    Done,
    /// Refused; the message says why and what to do.
    Refused,
}

/// The name of the Secret with a request's answer.
///
/// It is made of the request's uid, not its name: whoever writes a request must not choose which
/// Secret an operator writes.
pub fn result_secret_name(request_uid: &str) -> String {
    format!("hansa-request-{request_uid}")
}

/// The parts of `Request` that its CustomResourceDefinition is made of.
pub fn definition() -> Definition {
    let mut spec = structural_schema::<RequestSpec>();
    let league_wide: Vec<String> = Action::ALL
        .iter()
        .filter(|action| action.is_league_wide())
        .map(|action| format!("'{}'", action.as_str()))
        .collect();
    for rule in [
        rule("self == oldSelf", "a request is one command: write another one"),
        rule(
            &format!("has(self.object) != (self.action in [{}])", league_wide.join(", ")),
            "name the object in spec.object; a confirmation is about the league, and names none, nor does a rotation of keys",
        ),
        rule(
            "!(self.action in ['HomeMove', 'Output']) || (has(self.arguments) && has(self.arguments.member))",
            "name the member in spec.arguments.member: the new home, or the member whose output is asked for",
        ),
        rule(
            "self.action != 'Confirm' || (has(self.arguments) && has(self.arguments.set))",
            "a confirmation is bound to the set that was shown: give its hash in spec.arguments.set",
        ),
        rule(
            "(self.action == 'Plan') == (has(self.arguments) && has(self.arguments.plan))",
            "give the object's spec as it is to be in spec.arguments.plan, for a plan and nothing else",
        ),
    ] {
        add_rule(&mut spec, rule);
    }
    limit(node(&mut spec, &["object", "resource"]), json!({"pattern": TYPE_PATTERN}));
    limit(node(&mut spec, &["object", "namespace"]), json!({"pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$"}));
    let mut status = structural_schema::<RequestStatus>();
    object(node(&mut status, &["phase"])).remove("default");
    add_rule(
        node(&mut status, &["phase"]),
        rule("oldSelf == 'Pending' || self == oldSelf", "a request is answered once"),
    );
    Definition {
        group: crate::GROUP.into(),
        kind: "Request".into(),
        plural: "requests".into(),
        short_names: Vec::new(),
        namespaced: true,
        description: "A short-lived command to this cluster's operator. It is removed some time after it is answered."
            .into(),
        spec,
        status,
        rules: Vec::new(),
        columns: vec![
            Column {
                name: "ACTION",
                type_: "string",
                json_path: ".spec.action",
                priority: 0,
                description: "What to do.",
            },
            Column {
                name: "RESOURCE",
                type_: "string",
                json_path: ".spec.object.resource",
                priority: 0,
                description: "The target's plural and group.",
            },
            Column {
                name: "NAME",
                type_: "string",
                json_path: ".spec.object.name",
                priority: 0,
                description: "The object's name.",
            },
            Column {
                name: "PHASE",
                type_: "string",
                json_path: ".status.phase",
                priority: 0,
                description: "Whether it is answered.",
            },
            Column {
                name: "MESSAGE",
                type_: "string",
                json_path: ".status.message",
                priority: 0,
                description: "The answer in one sentence.",
            },
            Column::AGE,
        ],
        scale: None,
        annotations: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_wire() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }

    #[test]
    fn a_request_reads_back_and_names_its_record() {
        let text = json!({
            "action": "HomeMove",
            "object": {"resource": "deployments.apps", "namespace": "shop", "name": "web"},
            "arguments": {"member": "gcp-euw4"},
        });
        let spec: RequestSpec = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), text);
        let key = spec.object.unwrap().record_key();
        assert_eq!(key.to_string(), "deployments.apps/shop/web");
    }

    #[test]
    fn a_cluster_scoped_object_has_no_namespace() {
        let key: ObjectKey = serde_json::from_value(json!({"resource": "namespaces", "name": "shop"})).unwrap();
        assert_eq!(key.record_key().to_string(), "namespaces//shop");
    }
}
