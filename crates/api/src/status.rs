//! The status of every `Federated<Kind>`: what was agreed, and what came of it where.

use crate::conditions::Condition;
use hansa_model::{Era, Hash, Incarnation, MemberName, Revision};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most members that [`FederatedStatus::members`] and [`Summary::failing`] hold; the unhealthy
/// ones come first.
pub const MEMBERS_SHOWN: usize = 50;

/// What became of a federated object.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederatedStatus {
    /// The generation of this object that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// What this home last brought in: the base that its next edit is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Agreed>,
    /// The members in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// What came of it in each member; the unhealthy ones first, and not all of a large league.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"], "maxItems" = MEMBERS_SHOWN))]
    pub members: Vec<MemberOutcome>,
    /// Ready, Agreed, Scheduled, Propagated and Healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"], "maxItems" = 32))]
    pub conditions: Vec<Condition>,
    /// The target kind's own status, summed over the members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub aggregate: Option<Value>,
}

/// The stamp of a home: what it last brought into the league.
///
/// It stands in the status, which `kubectl replace` keeps and a clone does not carry along.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agreed {
    /// The era that the revision counts in.
    #[serde(default)]
    pub era: Era,
    /// The life of the object that the revision counts in.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// The record's revision.
    pub revision: Revision,
    /// The hash of the intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// The members in which users keep this object.
    #[serde(default)]
    #[schemars(extend("maxItems" = 256))]
    pub homes: Vec<MemberName>,
    /// Whether this object's spec is another one than the league's.
    #[serde(default)]
    pub differs: bool,
}

/// The members in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many members shall have the object.
    pub placed: u32,
    /// How many of them have applied this revision.
    pub applied: u32,
    /// How many of them report their output healthy.
    pub ready: u32,
    /// Members that failed, by name; not all of them when many do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = MEMBERS_SHOWN))]
    pub failing: Vec<MemberName>,
}

/// What came of a federated object in one member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberOutcome {
    /// The member.
    pub name: MemberName,
    /// How far the member is: Waiting, Applied, Refused, Conflict, Withdrawing, Gone and others.
    // A text and no enum: another release may know more states.
    #[schemars(length(min = 1, max = 63))]
    pub state: String,
    /// The health of the output: Healthy, Progressing, Degraded or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub health: Option<String>,
    /// The revision that the member last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Why, in one word for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Why, for people: the object, the field, what is wrong and the mend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Since when it is in this state (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub since: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_documented_status_reads_back() {
        let text = json!({
            "observedGeneration": 4,
            "agreed": {"revision": 17, "homes": ["aws-use1"], "differs": false},
            "summary": {"placed": 3, "applied": 3, "ready": 2, "failing": ["azure-sea"]},
            "members": [{"name": "aws-use1", "state": "Applied"}],
            "conditions": [],
            "aggregate": {"replicas": 9},
            "fieldOfANewerRelease": 1,
        });
        let status: FederatedStatus = serde_json::from_value(text).unwrap();
        assert_eq!(status.agreed.unwrap().revision, Revision(17));
        assert_eq!(status.aggregate, Some(json!({"replicas": 9})));
    }
}
