//! The built-in kinds that are served in two forms: events of two groups over one storage, and
//! autoscalers in v1 beside v2. (Custom resources convert by their `apiVersion` alone.)

use serde_json::{Map, Value, json};

use crate::value;

/// Where the objects of a built-in resource are stored.
pub fn storage_id(group: &str, plural: &str) -> String {
    match (group, plural) {
        ("events.k8s.io", "events") => "events".to_string(),
        _ => super::error::qualified(group, plural),
    }
}

/// Whether a built-in resource looks different in this version than in storage.
pub fn converts(group: &str, plural: &str, version: &str) -> bool {
    matches!(
        (group, plural, version),
        ("events.k8s.io", "events", _) | ("autoscaling", "horizontalpodautoscalers", "v1")
    )
}

/// Turns what is stored into the other form.
pub fn from_storage(id: &str, _version: &str, object: &mut Value) {
    match id {
        "events" => rename(object, &EVENTS, false),
        _ => autoscaler_to_v1(object),
    }
}

/// Turns the other form into what is stored.
pub fn to_storage(id: &str, _version: &str, object: &mut Value) {
    match id {
        "events" => rename(object, &EVENTS, true),
        _ => autoscaler_to_v2(object),
    }
}

/// Fields of `events.k8s.io/v1` and what the core group calls them.
const EVENTS: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
];

fn rename(object: &mut Value, names: &[(&str, &str)], forward: bool) {
    let Some(fields) = object.as_object_mut() else { return };
    for (one, other) in names {
        let (from, to) = if forward { (one, other) } else { (other, one) };
        if let Some(value) = fields.remove(*from) {
            fields.insert((*to).to_string(), value);
        }
    }
}

// The annotations in which v1 keeps what it has no fields for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn autoscaler_to_v1(object: &mut Value) {
    let annotate = |object: &mut Value, name: &str, what: Value| {
        value::set(object, &["metadata", "annotations", name], Value::String(what.to_string()));
    };
    if let Some(Value::Array(metrics)) = value::remove(object, &["spec", "metrics"]) {
        let mut others = Vec::new();
        for metric in metrics {
            match value::integer(&metric, &["resource", "target", "averageUtilization"]) {
                Some(percent) if metric["resource"]["name"] == "cpu" => {
                    value::set(object, &["spec", "targetCPUUtilizationPercentage"], json!(percent));
                }
                _ => others.push(metric),
            }
        }
        if !others.is_empty() {
            annotate(object, METRICS, Value::Array(others));
        }
    }
    for (path, annotation) in [
        (["spec", "behavior"], BEHAVIOR),
        (["status", "currentMetrics"], CURRENT),
        (["status", "conditions"], CONDITIONS),
    ] {
        if let Some(what) = value::remove(object, &path).filter(|what| !what.is_null()) {
            annotate(object, annotation, what);
        }
    }
}

fn autoscaler_to_v2(object: &mut Value) {
    let mut metrics = Vec::new();
    if let Some(percent) = value::remove(object, &["spec", "targetCPUUtilizationPercentage"]) {
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}));
    }
    let mut kept = |name: &str| -> Option<Value> {
        let text = value::remove(object, &["metadata", "annotations", name])?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let (others, behavior, current, conditions) = (kept(METRICS), kept(BEHAVIOR), kept(CURRENT), kept(CONDITIONS));
    if let Some(Value::Array(others)) = others {
        metrics.extend(others);
    }
    if !metrics.is_empty() {
        value::set(object, &["spec", "metrics"], Value::Array(metrics));
    }
    for (path, what) in [
        (["spec", "behavior"], behavior),
        (["status", "currentMetrics"], current),
        (["status", "conditions"], conditions),
    ] {
        if let Some(what) = what {
            value::set(object, &path, what);
        }
    }
    if value::get(object, &["metadata", "annotations"]).and_then(Value::as_object).is_some_and(Map::is_empty) {
        value::remove(object, &["metadata", "annotations"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_come_back() {
        let event =
            json!({"metadata": {"name": "a"}, "note": "pulled", "regarding": {"kind": "Pod"}, "deprecatedCount": 2});
        let mut stored = event.clone();
        to_storage("events", "v1", &mut stored);
        assert_eq!(
            stored,
            json!({"metadata": {"name": "a"}, "message": "pulled", "involvedObject": {"kind": "Pod"}, "count": 2})
        );
        from_storage("events", "v1", &mut stored);
        assert_eq!(stored, event);

        let v1 = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}});
        let mut stored = v1.clone();
        to_storage("horizontalpodautoscalers.autoscaling", "v1", &mut stored);
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        from_storage("horizontalpodautoscalers.autoscaling", "v1", &mut stored);
        assert_eq!(stored, v1);
    }
}
