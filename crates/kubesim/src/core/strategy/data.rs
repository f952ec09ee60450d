//! The rules of kinds that hold data or settings: configuration, claims, ingresses, autoscalers,
//! budgets, roles.

use serde_json::{Value, json};

use super::immutable;
use crate::schema::FieldError;
use crate::value;

const ONE_MEBIBYTE: usize = 1_048_576;

fn key_errors(object: &Value, field: &str) -> (Vec<FieldError>, usize) {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, content) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
        let valid = key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !valid || key.is_empty() {
            errors.push(FieldError::invalid(
                format!("{field}[{key}]"),
                &json!(key),
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            ));
        }
        size += content.as_str().map_or(0, str::len);
    }
    (errors, size)
}

/// ConfigMaps: keys and size.
pub fn validate_config_map(object: &Value) -> Vec<FieldError> {
    let (mut errors, plain) = key_errors(object, "data");
    let (more, binary) = key_errors(object, "binaryData");
    errors.extend(more);
    for key in object.get("binaryData").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key) {
        if value::get(object, &["data", key]).is_some() {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(format!("data[{key}]"), &json!(key), detail));
        }
    }
    if plain + binary * 3 / 4 > ONE_MEBIBYTE {
        errors.push(FieldError::too_long("[]", ONE_MEBIBYTE));
    }
    errors
}

/// Secrets: keys, size, and what well-known types need.
pub fn validate_secret(object: &Value) -> Vec<FieldError> {
    let (mut errors, size) = key_errors(object, "data");
    if size * 3 / 4 > ONE_MEBIBYTE {
        errors.push(FieldError::too_long("data", ONE_MEBIBYTE));
    }
    let needed: &[&str] = match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if value::get(object, &["data", key]).is_none() {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    }
    errors
}

fn frozen(old: &Value, new: &Value, fields: &[&str]) -> Vec<FieldError> {
    if old["immutable"] != json!(true) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let detail = "field is immutable when `immutable` is set";
    if new["immutable"] != json!(true) {
        errors.push(FieldError::forbidden("immutable", detail));
    }
    for field in fields {
        if old.get(field) != new.get(field) {
            errors.push(FieldError::forbidden(*field, detail));
        }
    }
    errors
}

/// What an update of a ConfigMap may not do.
pub fn config_map_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    frozen(old, new, &["data", "binaryData"])
}

/// What an update of a Secret may not do.
pub fn secret_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = immutable(old, new, &["type"]).into_iter().collect();
    errors.extend(frozen(old, new, &["data"]));
    errors
}

/// PersistentVolumeClaims.
pub fn validate_claim(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if value::list(object, &["spec", "accessModes"]).is_empty() {
        errors.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
    }
    if value::get(object, &["spec", "resources", "requests", "storage"]).is_none() {
        errors.push(FieldError::required("spec.resources[storage]", ""));
    }
    errors
}

/// What an update of a PersistentVolumeClaim may not do.
pub fn claim_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let fixed = |object: &Value| {
        let mut spec = object["spec"].clone();
        value::remove(&mut spec, &["resources"]);
        value::remove(&mut spec, &["volumeAttributesClassName"]);
        // Binding sets the volume's name once.
        if value::string(old, &["spec", "volumeName"]).is_none() {
            value::remove(&mut spec, &["volumeName"]);
        }
        spec
    };
    if value::equal(&fixed(old), &fixed(new)) {
        return Vec::new();
    }
    let detail =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    vec![FieldError::forbidden("spec", detail)]
}

/// Ingresses.
pub fn validate_ingress(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rules = value::list(object, &["spec", "rules"]);
    if rules.is_empty() && value::get(object, &["spec", "defaultBackend"]).is_none() {
        errors.push(FieldError::invalid("spec", &Value::Null, "either `defaultBackend` or `rules` must be specified"));
    }
    for (at, rule) in rules.iter().enumerate() {
        for (number, path) in value::list(rule, &["http", "paths"]).iter().enumerate() {
            let field = format!("spec.rules[{at}].http.paths[{number}]");
            let kind = path["pathType"].as_str();
            match kind {
                None => errors.push(FieldError::required(format!("{field}.pathType"), "pathType must be specified")),
                Some("Exact" | "Prefix") => {
                    let text = path["path"].as_str().unwrap_or_default();
                    if !text.starts_with('/') {
                        errors.push(FieldError::invalid(
                            format!("{field}.path"),
                            &json!(text),
                            "must be an absolute path",
                        ));
                    }
                }
                Some("ImplementationSpecific") => {}
                Some(other) => {
                    let supported = ["Exact", "ImplementationSpecific", "Prefix"];
                    errors.push(FieldError::not_supported(format!("{field}.pathType"), &json!(other), &supported));
                }
            }
        }
    }
    errors
}

/// HorizontalPodAutoscalers.
pub fn validate_autoscaler(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let most = value::integer(object, &["spec", "maxReplicas"]).unwrap_or(0);
    let least = value::integer(object, &["spec", "minReplicas"]);
    if let Some(least) = least.filter(|least| *least < 1) {
        errors.push(FieldError::invalid("spec.minReplicas", &json!(least), "must be greater than or equal to 1"));
    }
    if most < 1 {
        errors.push(FieldError::invalid("spec.maxReplicas", &json!(most), "must be greater than 0"));
    }
    if least.is_some_and(|least| most < least) {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            &json!(most),
            "must be greater than or equal to `minReplicas`",
        ));
    }
    let version = value::string(object, &["spec", "scaleTargetRef", "apiVersion"]).unwrap_or_default();
    if version.is_empty() {
        let detail = "apiVersion must specify API group";
        errors.push(FieldError::invalid("spec.scaleTargetRef.apiVersion", &json!(""), detail));
    }
    for field in ["kind", "name"] {
        if value::string(object, &["spec", "scaleTargetRef", field]).unwrap_or_default().is_empty() {
            errors.push(FieldError::required(format!("spec.scaleTargetRef.{field}"), ""));
        }
    }
    errors
}

/// PodDisruptionBudgets.
pub fn validate_budget(object: &Value) -> Vec<FieldError> {
    let both = value::get(object, &["spec", "minAvailable"]).is_some()
        && value::get(object, &["spec", "maxUnavailable"]).is_some();
    match both {
        true => {
            vec![FieldError::invalid("spec", &object["spec"], "minAvailable and maxUnavailable cannot be both set")]
        }
        false => Vec::new(),
    }
}

/// What an update of a RoleBinding may not do.
pub fn role_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    if old["roleRef"] == new["roleRef"] {
        return Vec::new();
    }
    vec![FieldError::invalid("roleRef", &new["roleRef"], "field is immutable")]
}

/// What an update of a StorageClass may not do.
pub fn storage_class_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        if old.get(field) != new.get(field) {
            errors.push(FieldError::forbidden(field, &format!("updates to {field} are forbidden.")));
        }
    }
    errors
}

/// What an update of a PriorityClass may not do.
pub fn priority_class_changes(old: &Value, new: &Value) -> Vec<FieldError> {
    ["value", "preemptionPolicy"]
        .into_iter()
        .filter(|field| old.get(field) != new.get(field))
        .map(|field| FieldError::forbidden(field, "may not be changed in an update."))
        .collect()
}

/// A ControllerRevision holds something.
pub fn validate_revision(object: &Value) -> Vec<FieldError> {
    match object.get("data") {
        None | Some(Value::Null) => vec![FieldError::required("data", "data is mandatory")],
        Some(_) => Vec::new(),
    }
}

/// Events are where what they are about is.
pub fn validate_event(object: &Value) -> Vec<FieldError> {
    let namespace = value::string(object, &["metadata", "namespace"]).unwrap_or_default();
    for field in ["involvedObject", "regarding"] {
        let of = value::string(object, &[field, "namespace"]).unwrap_or_default();
        let cluster = of.is_empty() && matches!(namespace, "default" | "kube-system");
        if object.get(field).is_some() && of != namespace && !cluster {
            return vec![FieldError::invalid("involvedObject.namespace", &json!(of), "does not match event.namespace")];
        }
    }
    Vec::new()
}

/// Leases.
pub fn validate_lease(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(seconds) = value::integer(object, &["spec", "leaseDurationSeconds"]).filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid("spec.leaseDurationSeconds", &json!(seconds), "must be greater than 0"));
    }
    if let Some(count) = value::integer(object, &["spec", "leaseTransitions"]).filter(|count| *count < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.leaseTransitions", &json!(count), detail));
    }
    errors
}

/// Roles name verbs, and groups with resources or paths.
pub fn validate_role(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in value::list(object, &["rules"]).iter().enumerate() {
        let empty = |field: &str| value::list(rule, &[field]).is_empty();
        let path = format!("rules[{index}]");
        if empty("verbs") {
            errors.push(FieldError::required(format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        if !empty("nonResourceURLs") {
            continue;
        }
        if empty("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(format!("{path}.apiGroups"), detail));
        }
        if empty("resources") {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(format!("{path}.resources"), detail));
        }
    }
    errors
}
