//! What is special about pods.

use serde_json::{Value, json};

use super::super::time::{self, Millis};
use super::templates;
use crate::schema::{FieldError, Quantity};
use crate::value;

/// A quantity in thousandths.
pub fn milli(value: &Value) -> Option<i128> {
    Some(Quantity::parse(value.as_str()?)?.milli())
}

/// `status.qosClass`.
pub fn quality_of_service(object: &Value) -> &'static str {
    let mut guaranteed = true;
    let mut any = false;
    for kind in ["initContainers", "containers"] {
        for container in value::list(object, &["spec", kind]) {
            let amount = |what: &str, name: &str| value::get(container, &["resources", what, name]).and_then(milli);
            for name in ["cpu", "memory"] {
                let (request, limit) = (amount("requests", name), amount("limits", name));
                any |= request.is_some_and(|amount| amount > 0) || limit.is_some_and(|amount| amount > 0);
                guaranteed &= limit.is_some() && request.or(limit) == limit;
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The rules for pods.
pub fn validate(object: &Value) -> Vec<FieldError> {
    templates::validate(&object["spec"], "spec", &[])
}

const CHANGES: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What an update of a pod may not do.
pub fn changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        for kind in ["initContainers", "containers"] {
            for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
                value::remove(container, &["image"]);
            }
        }
        for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
            value::remove(&mut spec, &[field]);
        }
        spec
    };
    let tolerations = value::list(new, &["spec", "tolerations"]);
    let kept = value::list(old, &["spec", "tolerations"]).iter().all(|toleration| tolerations.contains(toleration));
    match value::equal(&fixed(old), &fixed(new)) && kept {
        true => Vec::new(),
        false => vec![FieldError::forbidden("spec", CHANGES)],
    }
}

/// The grace period that a deletion without one gets.
pub fn grace_period(object: &Value) -> i64 {
    let unscheduled = value::string(object, &["spec", "nodeName"]).unwrap_or_default().is_empty();
    let finished = matches!(value::string(object, &["status", "phase"]), Some("Succeeded" | "Failed"));
    match unscheduled || finished {
        true => 0,
        false => value::integer(object, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30),
    }
}

/// Whether the pod has ended, for good or ill.
pub fn is_finished(object: &Value) -> bool {
    matches!(value::string(object, &["status", "phase"]), Some("Succeeded" | "Failed"))
}

/// Whether the condition `Ready` is true.
pub fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|condition| condition["status"] == json!("True"))
}

/// A condition of the status.
pub fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    value::list(object, &["status", "conditions"]).iter().find(|condition| condition["type"] == json!(name))
}

/// Sets a condition to true or false; its transition time moves only with its status. Empty
/// texts are left out.
pub fn set_condition(object: &mut Value, name: &str, holds: bool, reason: &str, message: &str, now: Millis) {
    set_condition_status(object, name, if holds { "True" } else { "False" }, reason, message, now);
}

/// The same with any status.
pub fn set_condition_status(object: &mut Value, name: &str, status: &str, reason: &str, message: &str, now: Millis) {
    let before = condition(object, name).filter(|before| before["status"] == json!(status));
    let since = before.map_or_else(|| json!(time::seconds(now)), |before| before["lastTransitionTime"].clone());
    let mut next = json!({ "type": name, "status": status, "lastTransitionTime": since });
    for (field, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            next[field] = json!(text);
        }
    }
    let conditions = value::object_at(object, &["status"]).entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    match list.iter_mut().find(|condition| condition["type"] == json!(name)) {
        Some(place) => *place = next,
        None => list.push(next),
    }
}
