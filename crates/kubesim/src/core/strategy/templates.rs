//! The rules of a pod's specification, in pods and in templates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::metadata::{self, Names};
use super::pods::milli;
use crate::schema::FieldError;
use crate::value;

/// Checks a pod specification at `path`. `claims` are volumes that come from elsewhere, as those of
/// a StatefulSet's claim templates do.
pub fn validate(spec: &Value, path: &str, claims: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut volumes = volumes(spec, path, &mut errors);
    volumes.extend(claims.iter().map(|name| name.to_string()));
    if value::list(spec, &["containers"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut names = BTreeSet::new();
    for kind in ["initContainers", "containers"] {
        for (index, container) in value::list(spec, &[kind]).iter().enumerate() {
            let path = format!("{path}.{kind}[{index}]");
            check_container(container, &path, &volumes, &mut errors);
            let name = container["name"].as_str().unwrap_or_default();
            if !name.is_empty() && !names.insert(name.to_string()) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &json!(name)));
            }
        }
    }
    let restart = spec["restartPolicy"].as_str().unwrap_or("Always");
    let policies = ["Always", "OnFailure", "Never"];
    if !policies.contains(&restart) {
        errors.push(FieldError::not_supported(format!("{path}.restartPolicy"), &json!(restart), &policies));
    }
    errors
}

fn volumes(spec: &Value, path: &str, errors: &mut Vec<FieldError>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, volume) in value::list(spec, &["volumes"]).iter().enumerate() {
        let field = format!("{path}.volumes[{index}]");
        let name = volume["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if let Some(problem) = metadata::name_problem(name, Names::Label) {
            errors.push(FieldError::invalid(format!("{field}.name"), &json!(name), &problem));
        } else if !names.insert(name.to_string()) {
            errors.push(FieldError::duplicate(format!("{field}.name"), &json!(name)));
        }
        if volume.as_object().is_some_and(|fields| fields.len() < 2) {
            errors.push(FieldError::required(field, "must specify a volume type"));
        }
    }
    names
}

fn check_container(container: &Value, path: &str, volumes: &BTreeSet<String>, errors: &mut Vec<FieldError>) {
    let name = container["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else if let Some(problem) = metadata::name_problem(name, Names::Label) {
        errors.push(FieldError::invalid(format!("{path}.name"), &json!(name), &problem));
    }
    let image = container["image"].as_str().unwrap_or_default();
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            format!("{path}.image"),
            &json!(image),
            "must not have leading or trailing whitespace",
        ));
    }
    for (index, port) in value::list(container, &["ports"]).iter().enumerate() {
        let field = format!("{path}.ports[{index}].containerPort");
        match port["containerPort"].as_i64() {
            None | Some(0) => errors.push(FieldError::required(field, "")),
            Some(1..=65_535) => {}
            Some(other) => {
                errors.push(FieldError::invalid(field, &json!(other), "must be between 1 and 65535, inclusive"))
            }
        }
    }
    for (index, mount) in value::list(container, &["volumeMounts"]).iter().enumerate() {
        let field = format!("{path}.volumeMounts[{index}]");
        let volume = mount["name"].as_str().unwrap_or_default();
        if volume.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if !volumes.contains(volume) {
            errors.push(FieldError::not_found(format!("{field}.name"), &json!(volume)));
        }
        if mount["mountPath"].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(format!("{field}.mountPath"), ""));
        }
    }
    for (name, limit) in
        value::get(container, &["resources", "limits"]).and_then(Value::as_object).into_iter().flatten()
    {
        let request = value::get(container, &["resources", "requests", name]);
        if let (Some(request), Some(most)) = (request.and_then(milli), milli(limit))
            && request > most
        {
            let shown = value::get(container, &["resources", "requests", name]).cloned().unwrap_or_default();
            let detail =
                format!("must be less than or equal to {name} limit of {}", limit.as_str().unwrap_or_default());
            errors.push(FieldError::invalid(format!("{path}.resources.requests"), &shown, &detail));
        }
    }
    for (index, variable) in value::list(container, &["env"]).iter().enumerate() {
        if variable["name"].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(format!("{path}.env[{index}].name"), ""));
        }
    }
}
