//! Conditions, as the Kubernetes API conventions mean them.
//!
//! Events vanish within the hour; conditions are the record. The time of a condition moves only when
//! its status does, and setting what is already there changes nothing, so that a no-op costs no write.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest message that is kept; the rest is cut off.
pub const MESSAGE_LIMIT: usize = 4096;

/// What a condition of Hansa's own objects is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConditionType {
    /// Everything below holds.
    Ready,
    /// What this home says is what the league agreed on.
    Agreed,
    /// The members that shall have the object are known and recorded.
    Scheduled,
    /// Every placed member has applied this revision.
    Propagated,
    /// Every placed member reports its output healthy.
    Healthy,
}

impl ConditionType {
    /// The types in the order in which they are shown.
    pub const ALL: [ConditionType; 5] = [
        ConditionType::Ready,
        ConditionType::Agreed,
        ConditionType::Scheduled,
        ConditionType::Propagated,
        ConditionType::Healthy,
    ];

    /// The type as it stands in `conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionType::Ready => "Ready",
            ConditionType::Agreed => "Agreed",
            ConditionType::Scheduled => "Scheduled",
            ConditionType::Propagated => "Propagated",
            ConditionType::Healthy => "Healthy",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can tell.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { ConditionStatus::True } else { ConditionStatus::False }
    }
}

/// One condition of an object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about.
    // A text and no enum: another release may know more types.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the object that this was found out about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// When the status changed last (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, in one word for programs.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Why, for people: the object, the field, what is wrong and the mend.
    #[serde(default)]
    #[schemars(length(max = MESSAGE_LIMIT))]
    pub message: String,
}

/// What is found out about a condition, before it is known whether that is a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What the condition is about.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation of the object that was looked at; `None` where there is none.
    pub observed_generation: Option<i64>,
    /// Why, in one word for programs.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

/// Sets a condition at the time `now` (RFC 3339) and says whether anything changed.
///
/// The transition time moves only when the status does. Conditions keep the order in which they were
/// first set; types that this release does not know are left alone.
pub fn set(conditions: &mut Vec<Condition>, finding: Finding, now: &str) -> bool {
    let mut condition = Condition {
        type_: finding.type_.as_str().to_owned(),
        status: finding.status,
        observed_generation: finding.observed_generation,
        last_transition_time: now.to_owned(),
        reason: finding.reason,
        message: shortened(finding.message),
    };
    match conditions.iter_mut().find(|existing| existing.type_ == condition.type_) {
        None => {
            conditions.push(condition);
            true
        }
        Some(existing) => {
            if existing.status == condition.status {
                condition.last_transition_time.clone_from(&existing.last_transition_time);
            }
            let changed = *existing != condition;
            *existing = condition;
            changed
        }
    }
}

/// The condition of this type.
pub fn get(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// Whether the condition of this type is present and holds.
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    get(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// Cuts a message to what the schema allows; `maxLength` counts characters.
fn shortened(message: String) -> String {
    if message.chars().count() <= MESSAGE_LIMIT {
        return message;
    }
    message.chars().take(MESSAGE_LIMIT - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(status: ConditionStatus, reason: &str) -> Finding {
        Finding {
            type_: ConditionType::Agreed,
            status,
            observed_generation: Some(4),
            reason: reason.to_owned(),
            message: "m".to_owned(),
        }
    }

    #[test]
    fn the_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, finding(true.into(), "Converged"), "t1"));
        assert!(!set(&mut conditions, finding(true.into(), "Converged"), "t2"));
        assert_eq!(conditions[0].last_transition_time, "t1");
        assert!(set(&mut conditions, finding(true.into(), "Other"), "t3"));
        assert_eq!(conditions[0].last_transition_time, "t1");
        assert!(is_true(&conditions, ConditionType::Agreed));
        assert!(set(&mut conditions, finding(ConditionStatus::Unknown, "Other"), "t4"));
        assert_eq!(conditions[0].last_transition_time, "t4");
        assert!(!is_true(&conditions, ConditionType::Agreed));
        assert_eq!(conditions.len(), 1);
        assert_eq!(get(&conditions, ConditionType::Ready), None);
    }

    #[test]
    fn conditions_of_other_releases_stay() {
        let mut conditions: Vec<Condition> = serde_json::from_value(serde_json::json!([{
            "type": "Replicated", "status": "True", "lastTransitionTime": "t0", "reason": "R", "message": ""
        }]))
        .unwrap();
        set(&mut conditions, finding(true.into(), "Converged"), "t1");
        let types: Vec<_> = conditions.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, ["Replicated", "Agreed"]);
    }

    #[test]
    fn a_long_message_is_cut_between_characters_and_stays_settled() {
        let mut conditions = Vec::new();
        let long = Finding { message: "é".repeat(MESSAGE_LIMIT + 1), ..finding(true.into(), "Converged") };
        assert!(set(&mut conditions, long.clone(), "t1"));
        assert_eq!(conditions[0].message.chars().count(), MESSAGE_LIMIT);
        assert!(conditions[0].message.ends_with('…'));
        assert!(!set(&mut conditions, long, "t2"));
    }
}
