//! Whether a Deployment's rollout goes on: its condition `Progressing`, with its deadline.

use serde_json::Value;

use crate::core::strategy::condition;
use crate::core::time;
use crate::value;

/// What the condition `Progressing` of a Deployment is to say.
pub(super) enum Progress {
    /// The condition is to be this.
    Condition(&'static str, &'static str, String),
    /// The condition stays; it may time out then.
    Waiting(time::Millis),
    /// The condition stays.
    Settled,
}

/// What a Deployment's rollout, as it stands now, makes of the condition it had.
pub(super) fn progress_of(
    deployment: &Value,
    complete: bool,
    moved: bool,
    set: &str,
    paused: bool,
    now: time::Millis,
) -> Progress {
    let current = condition(deployment, "Progressing");
    let reason = current.and_then(|condition| condition["reason"].as_str()).unwrap_or_default();
    if paused {
        return match reason {
            "DeploymentPaused" => Progress::Settled,
            _ => Progress::Condition("Unknown", "DeploymentPaused", "Deployment is paused".to_string()),
        };
    }
    if reason == "DeploymentPaused" {
        return Progress::Condition("Unknown", "DeploymentResumed", "Deployment is resumed".to_string());
    }
    if complete {
        let message = format!("ReplicaSet {set:?} has successfully progressed.");
        let same = current.is_some_and(|current| current["message"] == message.as_str());
        return match reason {
            "NewReplicaSetAvailable" if same => Progress::Settled,
            _ => Progress::Condition("True", "NewReplicaSetAvailable", message),
        };
    }
    if moved || reason == "NewReplicaSetAvailable" && set.is_empty() {
        return Progress::Condition("True", "ReplicaSetUpdated", format!("ReplicaSet {set:?} is progressing."));
    }
    if reason == "DeploymentResumed" {
        return Progress::Condition("True", "ReplicaSetUpdated", format!("ReplicaSet {set:?} is progressing."));
    }
    if matches!(reason, "NewReplicaSetAvailable" | "ProgressDeadlineExceeded" | "") {
        return Progress::Settled;
    }
    let deadline = value::integer(deployment, &["spec", "progressDeadlineSeconds"])
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(600);
    let updated =
        current.and_then(|condition| condition["lastUpdateTime"].as_str()).and_then(time::parse).unwrap_or(now);
    let until = updated + deadline * 1000;
    if now >= until {
        return Progress::Condition(
            "False",
            "ProgressDeadlineExceeded",
            format!("ReplicaSet {set:?} has timed out progressing."),
        );
    }
    Progress::Waiting(until)
}
