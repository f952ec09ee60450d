//! Federated objects as users write them: template, placement, overrides.

use crate::names::MemberName;
use crate::selector::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The finalizer on federated objects.
pub const FINALIZER: &str = "hansa.dev/federated";

/// The spec of a `Federated<Kind>`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederatedSpec {
    /// The target object without identity; `None` when `templateFrom` names it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Value>,
    /// Where the template is read from, for Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_from: Option<TemplateSource>,
    /// Which members have the object.
    pub placement: Placement,
    /// What differs from the template, and in which members; applied in list order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// What to do where the object exists already.
    #[serde(default)]
    pub adoption: Adoption,
    /// What becomes of the outputs when the federated object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// In which order the members get a new revision; all at once when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// While true, the outputs of this object are left as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// In which order the members get a new revision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollout {
    /// One after the other: a wave opens when the members of all earlier ones have applied the revision and report
    /// it healthy. Members in none of them make a last wave. Until its wave opens, a member's output is
    /// left as it is.
    #[serde(default)]
    #[schemars(extend("maxItems" = 16))]
    pub waves: Vec<Wave>,
}

/// Members that get a new revision together: by name or by label.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// Members by name; refused together with `memberSelector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "set", "maxItems" = 256))]
    pub members: Option<Vec<MemberName>>,
    /// Members by label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_selector: Option<LabelSelector>,
}

/// Where a template is read from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateSource {
    /// A Secret of the same namespace in the home.
    pub secret_ref: SecretReference,
}

/// Names a Secret in the namespace of the object that refers to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretReference {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Which members have the object: by name or by label, less the excluded.
///
/// With neither `members` nor `memberSelector`, no member has it; with an empty selector, all do
/// (KubeFed's meaning of a placement).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// Members by name; refused together with `memberSelector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "set", "maxItems" = 256))]
    pub members: Option<Vec<MemberName>>,
    /// Members by label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_selector: Option<LabelSelector>,
    /// Members that never have it, whatever selects them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set", "maxItems" = 256))]
    pub exclude: Vec<MemberName>,
}

/// A difference from the template in some members.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Override {
    /// Members by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "set", "maxItems" = 256))]
    pub members: Option<Vec<MemberName>>,
    /// Members by label; with `members` too, both must select the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_selector: Option<LabelSelector>,
    /// Merged into the template; lists are merged by their keys, `null` removes a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub merge: Option<Value>,
    /// JSON patch operations (RFC 6902), applied after `merge`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub patches: Vec<JsonPatchOperation>,
}

/// One operation of a JSON patch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonPatchOperation {
    /// What to do; `replace` when it is left out, as in KubeFed.
    #[serde(default)]
    pub op: PatchOp,
    /// The JSON pointer (RFC 6901) of the field.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// The new value, for `add` and `replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    pub value: Option<Value>,
}

/// What a patch operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PatchOp {
    /// Adds or replaces a field, or inserts a list item.
    Add,
    /// Removes a field that exists.
    Remove,
    /// Replaces a field that exists.
    #[default]
    Replace,
}

/// What to do where the target object exists already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Adoption {
    /// It is adopted when applying the output would change nothing in it but Hansa's own marks.
    #[default]
    IfNoDifference,
    /// It is adopted, and changed to the output.
    Always,
    /// It is left alone, and reported.
    Never,
}

/// What becomes of the outputs when the federated object is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are deleted.
    #[default]
    Delete,
    /// They stay, without Hansa's marks and ownership.
    Orphan,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_documented_example_reads_back() {
        let text = json!({
            "template": {"spec": {"replicas": 3}},
            "placement": {"memberSelector": {"matchLabels": {"env": "prod"}}, "exclude": ["azure-sea"]},
            "overrides": [{
                "members": ["gcp-euw4"],
                "merge": {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "eu/web:2"}]}}}},
                "patches": [{"path": "/spec/replicas", "value": 5}],
            }],
            "adoption": "IfNoDifference",
            "deletionPolicy": "Delete",
        });
        let spec: FederatedSpec = serde_json::from_value(text).unwrap();
        assert_eq!(spec.overrides[0].patches[0].op, PatchOp::Replace);
        let again: FederatedSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = serde_json::from_value::<FederatedSpec>(json!({"template": {}, "placement": {"clusters": []}}))
            .unwrap_err();
        assert!(error.to_string().contains("clusters"), "{error}");
    }
}
