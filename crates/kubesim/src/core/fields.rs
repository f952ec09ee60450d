//! The fields that a field selector may name, per kind, and their values.

use serde_json::Value;

use super::error::ApiError;
use super::registry::{Resource, Version};
use super::selector::FieldSelector;
use super::store::Object;
use crate::value;

const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// The fields beyond `metadata.name` and `metadata.namespace` that a built-in kind selects by.
fn special(group: &str, plural: &str) -> &'static [&'static str] {
    match (group, plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
            "spec.host",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "replicationcontrollers") => &["status.replicas"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "events") => EVENT,
        ("events.k8s.io", "events") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "source",
            "type",
        ],
        ("batch", "jobs") => &["status.successful"],
        ("certificates.k8s.io", "certificatesigningrequests") => &["spec.signerName"],
        _ => &[],
    }
}

/// Refuses fields that cannot be selected by.
pub fn check(resource: &Resource, version: &Version, selector: &FieldSelector) -> Result<(), ApiError> {
    let special = special(&resource.group, &resource.plural);
    for field in selector.fields() {
        let selectable = match &version.custom {
            Some(custom) => custom.selectable.iter().any(|one| one == field),
            None => special.contains(&field),
        };
        let always = field == "metadata.name" || field == "metadata.namespace";
        if always || selectable {
            continue;
        }
        let message = if version.custom.is_some() || !special.is_empty() {
            format!("field label not supported: {field}")
        } else {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        };
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}

/// Whether an object has the fields asked for.
pub fn matches(resource: &Resource, selector: &FieldSelector, object: &Object) -> bool {
    let mut parsed = None;
    selector.matches(|field| match field {
        "metadata.name" => object.name.clone(),
        "metadata.namespace" => object.namespace.clone().unwrap_or_default(),
        _ => {
            let body = parsed.get_or_insert_with(|| object.value());
            lookup(&resource.plural, body, field)
        }
    })
}

fn lookup(plural: &str, body: &Value, field: &str) -> String {
    let path: Vec<&str> = field.split('.').collect();
    let found = match (plural, field) {
        ("pods", "spec.host") => value::get(body, &["spec", "nodeName"]),
        ("pods", "status.podIPs") => value::get(body, &["status", "podIP"]),
        ("jobs", "status.successful") => value::get(body, &["status", "succeeded"]),
        ("events", "source") => value::get(body, &["source", "component"]).or_else(|| body.get("reportingComponent")),
        // Events are stored in the form of the core group.
        ("events", "reportingController") => body.get("reportingComponent"),
        ("events", _) if path[0] == "regarding" => value::get(body, &["involvedObject", path[1]]),
        _ => value::get(body, &path),
    };
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => match field {
            "spec.unschedulable" | "spec.hostNetwork" => "false".to_string(),
            "status.replicas" | "status.successful" => "0".to_string(),
            _ => String::new(),
        },
        Some(other) => other.to_string(),
    }
}
