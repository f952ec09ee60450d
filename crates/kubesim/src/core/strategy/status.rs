//! The status that a new object starts with, whatever the client sent.

use serde_json::{Value, json};

use super::super::registry::Resource;
use super::super::time::{self, Millis};
use super::pods;
use crate::schema::FieldError;
use crate::value;

/// Sets the first status of a built-in kind; kinds without one are left alone.
pub fn reset(resource: &Resource, object: &mut Value, now: Millis) {
    let status = match resource.name().as_str() {
        "deployments.apps"
        | "jobs.batch"
        | "cronjobs.batch"
        | "validatingadmissionpolicies.admissionregistration.k8s.io" => json!({}),
        "statefulsets.apps" => json!({ "replicas": 0, "availableReplicas": 0 }),
        "replicasets.apps" | "replicationcontrollers" => json!({ "replicas": 0 }),
        "daemonsets.apps" => json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        }),
        "pods" => json!({ "phase": "Pending", "qosClass": pods::quality_of_service(object) }),
        "services" | "ingresses.networking.k8s.io" => json!({ "loadBalancer": {} }),
        "horizontalpodautoscalers.autoscaling" => json!({ "desiredReplicas": 0, "currentMetrics": null }),
        "poddisruptionbudgets.policy" => json!({
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
        }),
        "namespaces" => json!({ "phase": "Active" }),
        "persistentvolumeclaims" => json!({ "phase": "Pending" }),
        "persistentvolumes" => json!({ "phase": "Pending", "lastPhaseTransitionTime": time::seconds(now) }),
        "customresourcedefinitions.apiextensions.k8s.io" => {
            let stored =
                value::list(object, &["spec", "versions"]).iter().find(|version| version["storage"] == json!(true));
            let stored = stored.map(|version| version["name"].clone()).into_iter().collect::<Vec<_>>();
            json!({ "conditions": null, "acceptedNames": { "plural": "", "kind": "" }, "storedVersions": stored })
        }
        "resourcequotas" | "certificatesigningrequests.certificates.k8s.io" | "apiservices.apiregistration.k8s.io" => {
            json!({})
        }
        _ => return,
    };
    value::set(object, &["status"], status);
}

/// The rules of a status.
pub fn validate(resource: &Resource, object: &Value) -> Vec<FieldError> {
    match resource.name().as_str() {
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" => counts(object),
        "services" | "ingresses.networking.k8s.io" => addresses(object),
        _ => Vec::new(),
    }
}

/// Counts are not negative, and none is above the number of replicas.
fn counts(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let count = |field: &str| value::integer(object, &["status", field]).unwrap_or(0);
    let fields = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"];
    for field in fields {
        if count(field) < 0 {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("status.{field}"), &json!(count(field)), detail));
        }
    }
    for field in &fields[1..4] {
        if count(field) > count("replicas") {
            let detail = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(format!("status.{field}"), &json!(count(field)), detail));
        }
    }
    errors
}

fn addresses(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, ingress) in value::list(object, &["status", "loadBalancer", "ingress"]).iter().enumerate() {
        let address = ingress["ip"].as_str().unwrap_or_default();
        if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid(
                format!("status.loadBalancer.ingress[{index}].ip"),
                &json!(address),
                detail,
            ));
        }
    }
    errors
}
