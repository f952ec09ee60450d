//! What is special about the kinds that make pods.

use serde_json::{Value, json};

use super::super::registry::Resource;
use super::super::selector::{LabelSelector, Labels};
use super::{immutable, templates};
use crate::schema::FieldError;
use crate::value;

fn template_labels(object: &Value) -> Labels {
    let labels = value::get(object, &["spec", "template", "metadata", "labels"]).and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .map(|(key, label)| (key.clone(), label.as_str().unwrap_or_default().to_string()))
        .collect()
}

/// Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers.
pub fn validate(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(replicas) = value::integer(object, &["spec", "replicas"]).filter(|replicas| *replicas < 0) {
        errors.push(FieldError::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0"));
    }
    let selector = value::get(object, &["spec", "selector"]);
    let map_selector = resource.plural == "replicationcontrollers";
    let empty = selector.and_then(Value::as_object).is_none_or(|fields| {
        let none = |name: &str| {
            fields.get(name).is_none_or(|part| {
                part.as_object().is_none_or(|m| m.is_empty()) && part.as_array().is_none_or(|l| l.is_empty())
            })
        };
        if map_selector { fields.is_empty() } else { none("matchLabels") && none("matchExpressions") }
    });
    let selector = selector.filter(|selector| !selector.is_null());
    match selector {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) if empty => {
            let detail = match resource.plural.as_str() {
                "replicasets" => "empty selector is invalid for deployment".to_string(),
                _ => format!("empty selector is invalid for {}", resource.singular),
            };
            errors.push(FieldError::invalid("spec.selector", selector, &detail));
        }
        Some(_) => {}
    }
    let labels = template_labels(object);
    let matches = match selector {
        // Selects nothing, so not the template either.
        None => false,
        Some(_) if empty => true,
        Some(_) if map_selector => LabelSelector::from_map(selector).matches(&labels),
        Some(_) => LabelSelector::from_object(selector).matches(&labels),
    };
    if !matches {
        let shown = if labels.is_empty() { Value::Null } else { json!(labels) };
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", &shown, detail));
    }
    let claims: Vec<&str> = value::list(object, &["spec", "volumeClaimTemplates"])
        .iter()
        .filter_map(|claim| value::string(claim, &["metadata", "name"]))
        .collect();
    errors.extend(templates::validate(&object["spec"]["template"]["spec"], "spec.template.spec", &claims));
    let restart = value::string(object, &["spec", "template", "spec", "restartPolicy"]).unwrap_or("Always");
    if matches!(restart, "OnFailure" | "Never") {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", &json!(restart), &["Always"]));
    }
    if resource.plural == "deployments" {
        errors.extend(strategy_errors(object));
    }
    errors
}

fn strategy_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rolling = value::get(object, &["spec", "strategy", "rollingUpdate"]);
    let kind = value::string(object, &["spec", "strategy", "type"]).unwrap_or("RollingUpdate");
    match (kind, rolling) {
        ("Recreate", Some(rolling)) if !rolling.is_null() => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden("spec.strategy.rollingUpdate", detail));
        }
        ("RollingUpdate", Some(rolling)) => {
            let zero =
                |name: &str| matches!(rolling.get(name), Some(amount) if *amount == json!(0) || *amount == json!("0%"));
            if zero("maxSurge") && zero("maxUnavailable") {
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(
                    "spec.strategy.rollingUpdate.maxUnavailable",
                    &rolling["maxUnavailable"],
                    detail,
                ));
            }
        }
        ("RollingUpdate" | "Recreate", _) => {}
        (other, _) => {
            errors.push(FieldError::not_supported("spec.strategy.type", &json!(other), &["Recreate", "RollingUpdate"]));
        }
    }
    errors
}

/// A selector that was set stays.
pub fn immutable_selector(old: &Value, new: &Value) -> Vec<FieldError> {
    immutable(old, new, &["spec", "selector"]).into_iter().collect()
}

const STATEFUL_SET: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

/// What an update of a StatefulSet may not do.
pub fn stateful_set_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        for field in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            value::remove(&mut spec, &[field]);
        }
        spec
    };
    let named: Vec<FieldError> = ["serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates"]
        .iter()
        .filter_map(|field| immutable(old, new, &["spec", field]))
        .collect();
    if named.is_empty() && !value::equal(&fixed(old), &fixed(new)) {
        return vec![FieldError::forbidden("spec", STATEFUL_SET)];
    }
    named
}

/// Jobs.
pub fn validate_job(object: &Value) -> Vec<FieldError> {
    job_errors(&object["spec"], "spec")
}

fn job_errors(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["parallelism", "completions", "backoffLimit"] {
        if let Some(number) = spec[field].as_i64().filter(|number| *number < 0) {
            errors.push(FieldError::invalid(
                format!("{path}.{field}"),
                &json!(number),
                "must be greater than or equal to 0",
            ));
        }
    }
    errors.extend(templates::validate(&spec["template"]["spec"], &format!("{path}.template.spec"), &[]));
    let restart = value::string(spec, &["template", "spec", "restartPolicy"]).unwrap_or("Always");
    if restart == "Always" {
        let field = format!("{path}.template.spec.restartPolicy");
        errors.push(FieldError::required(field, "valid values: \"OnFailure\", \"Never\""));
    } else if !matches!(restart, "OnFailure" | "Never") {
        let detail = json!(restart);
        errors.push(FieldError::not_supported(
            format!("{path}.template.spec.restartPolicy"),
            &detail,
            &["OnFailure", "Never"],
        ));
    }
    errors
}

/// CronJobs.
pub fn validate_cron_job(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let schedule = value::string(object, &["spec", "schedule"]).unwrap_or_default();
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if !schedule.starts_with('@') && fields.len() != 5 {
        let detail = format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" "));
        errors.push(FieldError::invalid("spec.schedule", &json!(schedule), &detail));
    }
    errors.extend(job_errors(&object["spec"]["jobTemplate"]["spec"], "spec.jobTemplate.spec"));
    errors
}

/// What an update of a Job may not do.
pub fn job_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut fields =
        vec!["selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"];
    // The template of a suspended job that has not started may still be adapted.
    if value::boolean(old, &["spec", "suspend"]) == Some(true) && value::get(old, &["status", "startTime"]).is_none() {
        fields.retain(|field| *field != "template");
    }
    if value::string(new, &["spec", "completionMode"]) != Some("Indexed") {
        fields.push("completions");
    }
    fields.iter().filter_map(|field| immutable(old, new, &["spec", field])).collect()
}

/// Gives a Job the selector and labels by which it finds its own pods.
pub fn select_own_pods(object: &mut Value) {
    if value::boolean(object, &["spec", "manualSelector"]) == Some(true) {
        return;
    }
    let uid = object["metadata"]["uid"].clone();
    let name = object["metadata"]["name"].clone();
    for path in [vec!["spec", "template", "metadata", "labels"], vec!["metadata", "labels"]] {
        for (key, label) in [
            ("batch.kubernetes.io/controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", &uid),
            ("job-name", &name),
        ] {
            // The Job's own labels are those of its template, where it has none.
            let mut at = path.clone();
            at.push(key);
            value::set(object, &at, label.clone());
        }
    }
    value::set(object, &["spec", "selector", "matchLabels", "batch.kubernetes.io/controller-uid"], uid);
}

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The number of a DaemonSet's template, which `apps/v1` keeps in an annotation.
pub fn keep_template_generation(object: &mut Value) {
    let path = ["metadata", "annotations", TEMPLATE_GENERATION];
    if value::string(object, &path).and_then(|text| text.parse::<i64>().ok()).is_none_or(|number| number < 1) {
        value::set(object, &path, json!("1"));
    }
}

/// Moves that number when the template changes.
pub fn move_template_generation(old: &Value, new: &mut Value) {
    let path = ["metadata", "annotations", TEMPLATE_GENERATION];
    let number = value::string(old, &path).and_then(|text| text.parse::<i64>().ok()).unwrap_or(1);
    let moved = !value::equal(&old["spec"]["template"], &new["spec"]["template"]);
    value::set(new, &path, json!((number + i64::from(moved)).to_string()));
}
