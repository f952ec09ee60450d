//! The health of what runs pods.

use super::{Health, Live, degraded, progressing};
use serde_json::Value;

/// Progressing when fewer than desired are there: "2 of 3 replicas are available".
fn short_of(count: i64, desired: i64, what: &str) -> Option<Health> {
    (count < desired).then(|| progressing(format!("{count} of {desired} {what}")))
}

/// Progressing while replicas are there that should not be.
fn surplus(count: i64, wanted: i64) -> Option<Health> {
    let surplus = count - wanted;
    (surplus > 0).then(|| progressing(format!("old replicas that are still to go: {surplus}")))
}

/// The controller's own complaint that it cannot make pods: quota, Pod Security, a webhook.
fn replica_failure(live: Live<'_>) -> Option<Health> {
    let condition = live.condition("ReplicaFailure")?;
    condition.is("True").then(|| degraded(condition.words()))
}

/// What no controller has looked at yet; all of these kinds say what they have seen.
fn unseen(live: Live<'_>) -> Option<Health> {
    if live.at("/status/observedGeneration").is_none() {
        return Some(progressing("its controller has not looked at it yet"));
    }
    live.stale()
}

/// The first thing that speaks against health.
fn first(objections: impl IntoIterator<Item = Option<Health>>) -> Health {
    let objection = objections.into_iter().flatten().next();
    objection.unwrap_or(Health::Healthy)
}

pub(super) fn deployment(live: Live<'_>) -> Health {
    if let Some(unseen) = unseen(live) {
        return unseen;
    }
    if let Some(condition) = live.condition("Progressing")
        && condition.is("False")
        && condition.reason == "ProgressDeadlineExceeded"
    {
        // The pods' own complaint tells more than the deadline.
        return replica_failure(live).unwrap_or_else(|| degraded(condition.words()));
    }
    let desired = live.desired("/spec/replicas");
    let updated = live.count("/status/updatedReplicas");
    let paused = live.flag("/spec/paused") && updated < desired;
    first([
        replica_failure(live),
        paused.then(|| progressing(format!("its rollout is paused at {updated} of {desired} replicas"))),
        short_of(updated, desired, "replicas are updated"),
        surplus(live.count("/status/replicas"), updated),
        short_of(live.count("/status/availableReplicas"), desired, "replicas are available"),
    ])
}

pub(super) fn stateful_set(live: Live<'_>) -> Health {
    let desired = live.desired("/spec/replicas");
    let partition = live.count("/spec/updateStrategy/rollingUpdate/partition");
    let to_update = match live.text("/spec/updateStrategy/type") {
        "OnDelete" => 0,
        // Pods below the partition stay as they are on purpose.
        _ => (desired - partition).max(0),
    };
    let (current, update) = (live.text("/status/currentRevision"), live.text("/status/updateRevision"));
    // While the two revisions are equal, older API servers leave updatedReplicas out.
    let updated = match current == update {
        true => to_update,
        false => live.count("/status/updatedReplicas"),
    };
    first([
        unseen(live),
        short_of(live.count("/status/readyReplicas"), desired, "replicas are ready"),
        short_of(updated, to_update, "replicas are updated"),
        surplus(live.count("/status/replicas"), desired),
    ])
}

pub(super) fn daemon_set(live: Live<'_>) -> Health {
    let desired = live.count("/status/desiredNumberScheduled");
    let to_update = match live.text("/spec/updateStrategy/type") {
        "OnDelete" => 0,
        _ => desired,
    };
    first([
        unseen(live),
        short_of(live.count("/status/updatedNumberScheduled"), to_update, "nodes have the updated pod"),
        short_of(live.count("/status/numberAvailable"), desired, "nodes have an available pod"),
    ])
}

pub(super) fn replica_set(live: Live<'_>) -> Health {
    let desired = live.desired("/spec/replicas");
    first([
        unseen(live),
        replica_failure(live),
        short_of(live.count("/status/availableReplicas"), desired, "replicas are available"),
        surplus(live.count("/status/replicas"), desired),
    ])
}

pub(super) fn job(live: Live<'_>) -> Health {
    for name in ["Failed", "FailureTarget"] {
        if let Some(condition) = live.condition(name)
            && condition.is("True")
        {
            return degraded(condition.words());
        }
    }
    if let Some(condition) = live.condition("Complete")
        && condition.is("True")
    {
        return Health::Healthy;
    }
    if live.flag("/spec/suspend") {
        return progressing("it is suspended");
    }
    let succeeded = live.count("/status/succeeded");
    match live.at("/spec/completions").and_then(Value::as_i64) {
        Some(wanted) => progressing(format!("{succeeded} of {wanted} completions")),
        None => progressing("it is running"),
    }
}

/// Why a container that waits will not start by itself.
const STUCK: &[&str] = &[
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

pub(super) fn pod(live: Live<'_>) -> Health {
    match live.text("/status/phase") {
        "Succeeded" => return Health::Healthy,
        "Failed" => {
            let words = [live.text("/status/reason"), live.text("/status/message")];
            let words: Vec<_> = words.into_iter().filter(|text| !text.is_empty()).collect();
            return match words.as_slice() {
                [] => degraded("it failed"),
                words => degraded(words.join(": ")),
            };
        }
        _ => {}
    }
    for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        for container in live.at(list).and_then(Value::as_array).into_iter().flatten() {
            let waiting = Live(container);
            let reason = waiting.text("/state/waiting/reason");
            if STUCK.contains(&reason) {
                return degraded(format!("container {}: {reason}", waiting.text("/name")));
            }
        }
    }
    if let Some(condition) = live.condition("PodScheduled")
        && condition.is("False")
    {
        return progressing(condition.words());
    }
    match live.condition("Ready") {
        Some(condition) if condition.is("True") => Health::Healthy,
        Some(condition) => progressing(format!("it is not ready ({})", condition.words())),
        None => progressing("it is not ready"),
    }
}
