//! How a live object is, in one word, as the member that has it judges.
//!
//! Workloads are judged as `kubectl rollout status` does, other kinds by their own conditions, custom
//! resources by the conventions of kstatus (sigs.k8s.io/cli-utils): `observedGeneration`, `Ready`,
//! `Available`, `Reconciling`, `Stalled`.

mod workload;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// How an object is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(tag = "state", content = "message")]
pub enum Health {
    /// It does what it should.
    Healthy,
    /// It is on its way, and this is what it waits for.
    Progressing(String),
    /// It will not get there by itself, for this reason.
    Degraded(String),
    /// Nothing in the object tells: a custom resource without conditions.
    Unknown,
}

impl Health {
    /// Whether nothing speaks against the object: it is healthy, or nothing in it could tell (where
    /// kstatus too takes it as current).
    pub fn is_ready(&self) -> bool {
        matches!(self, Health::Healthy | Health::Unknown)
    }

    /// What it waits for, or why it failed.
    pub fn message(&self) -> Option<&str> {
        match self {
            Health::Progressing(message) | Health::Degraded(message) => Some(message),
            Health::Healthy | Health::Unknown => None,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Healthy => f.write_str("Healthy"),
            Health::Progressing(message) => write!(f, "Progressing: {message}"),
            Health::Degraded(message) => write!(f, "Degraded: {message}"),
            Health::Unknown => f.write_str("Unknown"),
        }
    }
}

fn progressing(message: impl Into<String>) -> Health {
    Health::Progressing(message.into())
}

fn degraded(message: impl Into<String>) -> Health {
    Health::Degraded(message.into())
}

/// The health of a live object. Its group and kind are given, for the items of a list do not state
/// them.
pub fn health(group: &str, kind: &str, live: &Value) -> Health {
    let live = Live(live);
    if live.at("/metadata/deletionTimestamp").is_some() {
        return progressing("it is being deleted");
    }
    match (group, kind) {
        ("apps", "Deployment") => workload::deployment(live),
        ("apps", "StatefulSet") => workload::stateful_set(live),
        ("apps", "DaemonSet") => workload::daemon_set(live),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workload::replica_set(live),
        ("batch", "Job") => workload::job(live),
        ("", "Pod") => workload::pod(live),
        ("", "Service") => service(live),
        ("networking.k8s.io", "Ingress") => ingress(live),
        ("", "PersistentVolumeClaim") => claim(live),
        ("", "PersistentVolume") => volume(live),
        ("", "Namespace") => match live.text("/status/phase") {
            "Terminating" => progressing("it is being deleted"),
            _ => Health::Healthy,
        },
        ("policy", "PodDisruptionBudget") => disruption_budget(live),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(live),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(live),
        (group, _) if is_built_in(group) => live.stale().unwrap_or(Health::Healthy),
        _ => custom(live),
    }
}

/// Whether a group holds kinds of Kubernetes itself; their objects are well when they exist.
fn is_built_in(group: &str) -> bool {
    matches!(group, "" | "apps" | "autoscaling" | "batch" | "policy")
        || matches!(
            group,
            "admissionregistration.k8s.io"
                | "apiregistration.k8s.io"
                | "certificates.k8s.io"
                | "coordination.k8s.io"
                | "discovery.k8s.io"
                | "flowcontrol.apiserver.k8s.io"
                | "networking.k8s.io"
                | "node.k8s.io"
                | "rbac.authorization.k8s.io"
                | "resource.k8s.io"
                | "scheduling.k8s.io"
                | "storage.k8s.io"
        )
}

/// A live object, with what every judgement reads.
#[derive(Clone, Copy)]
struct Live<'a>(&'a Value);

impl<'a> Live<'a> {
    fn at(self, pointer: &str) -> Option<&'a Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    fn text(self, pointer: &str) -> &'a str {
        let value = self.at(pointer).and_then(Value::as_str);
        value.unwrap_or_default()
    }

    fn flag(self, pointer: &str) -> bool {
        self.at(pointer) == Some(&Value::Bool(true))
    }

    fn count(self, pointer: &str) -> i64 {
        self.at(pointer).and_then(Value::as_i64).unwrap_or(0)
    }

    /// A desired number, which the API server defaults to 1.
    fn desired(self, pointer: &str) -> i64 {
        self.at(pointer).and_then(Value::as_i64).unwrap_or(1)
    }

    /// The condition of a type.
    fn condition(self, wanted: &str) -> Option<Condition<'a>> {
        let conditions = self.at("/status/conditions").and_then(Value::as_array);
        let text = |condition: &'a Value, field: &str| {
            let value = condition.get(field).and_then(Value::as_str);
            value.unwrap_or_default()
        };
        conditions.into_iter().flatten().find(|condition| text(condition, "type") == wanted).map(|condition| {
            Condition {
                status: text(condition, "status"),
                reason: text(condition, "reason"),
                message: text(condition, "message"),
            }
        })
    }

    /// Progressing when the controller has not seen the latest spec. A kind whose controller does
    /// not say what it has seen is taken as seen.
    fn stale(self) -> Option<Health> {
        let generation = self.count("/metadata/generation");
        let observed = self.at("/status/observedGeneration").and_then(Value::as_i64)?;
        (observed < generation)
            .then(|| progressing(format!("its controller has seen generation {observed} of {generation}")))
    }
}

/// A condition of `status.conditions`.
#[derive(Clone, Copy)]
struct Condition<'a> {
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Condition<'_> {
    fn is(self, status: &str) -> bool {
        self.status == status
    }

    /// Reason and message in one line.
    fn words(self) -> String {
        match (self.reason, self.message) {
            ("", "") => "no reason is given".to_owned(),
            ("", message) => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

fn service(live: Live<'_>) -> Health {
    let has_address = live
        .at("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .is_some_and(|addresses| !addresses.is_empty());
    if live.text("/spec/type") == "LoadBalancer" && !has_address {
        return progressing("its load balancer has no address yet");
    }
    Health::Healthy
}

fn ingress(live: Live<'_>) -> Health {
    let addresses = live.at("/status/loadBalancer/ingress").and_then(Value::as_array);
    if addresses.is_none_or(Vec::is_empty) {
        return progressing("no ingress controller has given it an address yet");
    }
    Health::Healthy
}

fn claim(live: Live<'_>) -> Health {
    match live.text("/status/phase") {
        "Bound" => Health::Healthy,
        "Lost" => degraded("its volume is lost"),
        _ => progressing("it is not bound to a volume yet"),
    }
}

fn volume(live: Live<'_>) -> Health {
    match live.text("/status/phase") {
        "Available" | "Bound" => Health::Healthy,
        "Failed" => match live.text("/status/message") {
            "" => degraded("it could not be reclaimed"),
            message => degraded(message),
        },
        "Released" => degraded("its claim is gone, and it is not reclaimed"),
        _ => progressing("it is not available yet"),
    }
}

fn disruption_budget(live: Live<'_>) -> Health {
    if let Some(stale) = live.stale() {
        return stale;
    }
    if let Some(condition) = live.condition("DisruptionAllowed")
        && condition.is("False")
        && condition.reason == "SyncFailed"
    {
        return degraded(condition.words());
    }
    let (healthy, desired) = (live.count("/status/currentHealthy"), live.count("/status/desiredHealthy"));
    if healthy < desired {
        return progressing(format!("{healthy} of {desired} pods are healthy"));
    }
    Health::Healthy
}

fn autoscaler(live: Live<'_>) -> Health {
    if live.at("/status/conditions").is_none() {
        return progressing("its controller has not looked at it yet");
    }
    for (name, harmless) in [("AbleToScale", ""), ("ScalingActive", "ScalingDisabled")] {
        if let Some(condition) = live.condition(name)
            && condition.is("False")
            && condition.reason != harmless
        {
            return degraded(condition.words());
        }
    }
    Health::Healthy
}

fn definition(live: Live<'_>) -> Health {
    if let Some(condition) = live.condition("NamesAccepted")
        && condition.is("False")
    {
        return degraded(condition.words());
    }
    match live.condition("Established") {
        Some(condition) if condition.is("True") => Health::Healthy,
        _ => progressing("the API server does not serve it yet"),
    }
}

fn custom(live: Live<'_>) -> Health {
    if let Some(stale) = live.stale() {
        return stale;
    }
    for name in ["Stalled", "Degraded"] {
        if let Some(condition) = live.condition(name)
            && condition.is("True")
        {
            return degraded(condition.words());
        }
    }
    if let Some(condition) = live.condition("Reconciling")
        && condition.is("True")
    {
        return progressing(format!("it is reconciling ({})", condition.words()));
    }
    let mut told = false;
    for name in ["Ready", "Available"] {
        if let Some(condition) = live.condition(name) {
            if !condition.is("True") {
                return progressing(format!("it is not {name} ({})", condition.words()));
            }
            told = true;
        }
    }
    if told { Health::Healthy } else { Health::Unknown }
}
