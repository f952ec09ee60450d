//! The rules of CustomResourceDefinitions.

use serde_json::{Value, json};

use super::super::metadata::{self, Names};
use super::immutable;
use crate::schema::{FieldError, Schema};
use crate::value;

/// Whether any schema has rules in the expression language, which nothing here evaluates.
pub fn has_rules(object: &Value) -> bool {
    fn within(value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.contains_key("x-kubernetes-validations") || fields.values().any(within),
            Value::Array(items) => items.iter().any(within),
            _ => false,
        }
    }
    value::list(object, &["spec", "versions"]).iter().any(within)
}

/// The rules.
pub fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |path: &[&str]| value::string(object, path).unwrap_or_default();
    let (group, plural) = (text(&["spec", "group"]), text(&["spec", "names", "plural"]));
    if text(&["metadata", "name"]) != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &json!(text(&["metadata", "name"])), detail));
    }
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if let Some(problem) = metadata::name_problem(group, Names::Subdomain) {
        errors.push(FieldError::invalid("spec.group", &json!(group), &problem));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", &json!(group), "should be a domain with at least one dot"));
    }
    match text(&["spec", "scope"]) {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Namespaced" | "Cluster" => {}
        other => errors.push(FieldError::not_supported("spec.scope", &json!(other), &["Cluster", "Namespaced"])),
    }
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = text(&["spec", "names", field]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("spec.names.{field}"), ""));
        } else if let Some(problem) = metadata::name_problem(&name.to_lowercase(), Names::Label) {
            errors.push(FieldError::invalid(format!("spec.names.{field}"), &json!(name), &problem));
        }
    }
    if text(&["spec", "names", "kind"]) == text(&["spec", "names", "listKind"])
        && !text(&["spec", "names", "kind"]).is_empty()
    {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid("spec.names.listKind", &json!(text(&["spec", "names", "listKind"])), detail));
    }
    if value::string(object, &["spec", "conversion", "strategy"]) == Some("Webhook") {
        // Kept nowhere: objects would have to pass through a webhook that nothing here calls.
        errors.push(FieldError::not_supported("spec.conversion.strategy", &json!("Webhook"), &["None"]));
    }
    errors.extend(version_errors(object));
    errors
}

fn version_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let versions = value::list(object, &["spec", "versions"]);
    let stored = versions.iter().filter(|version| version["storage"] == json!(true)).count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &json!(versions), detail));
    }
    if value::list(object, &["status", "storedVersions"]).is_empty() {
        let detail = "must have at least one stored version";
        errors.push(FieldError::invalid("status.storedVersions", &Value::Null, detail));
    }
    // A schema that all versions have counts as that of the whole definition.
    let shared = versions.windows(2).all(|pair| pair[0]["schema"] == pair[1]["schema"]);
    for (index, version) in versions.iter().enumerate() {
        let field = format!("spec.versions[{index}]");
        let within = format!("{field}.schema");
        let name = version["name"].as_str().unwrap_or_default();
        if !metadata::is_label(name) {
            let problem = metadata::name_problem(name, Names::Label).unwrap_or_default();
            errors.push(FieldError::invalid(format!("{field}.name"), &json!(name), &problem));
        }
        if versions[..index].iter().any(|other| other["name"] == version["name"]) {
            errors.push(FieldError::duplicate(format!("{field}.name"), &json!(name)));
        }
        match value::get(version, &["schema", "openAPIV3Schema"]) {
            None => errors.push(FieldError::required(format!("{field}.schema.openAPIV3Schema"), "")),
            Some(schema) => {
                for mut error in Schema::from_crd(schema).err().unwrap_or_default() {
                    error.field = format!("{}.{}", if shared { "spec.validation" } else { &within }, error.field);
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
            }
        }
    }
    errors
}

/// What an update may not do.
pub fn changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = Vec::new();
    let established =
        super::pods::condition(old, "Established").is_some_and(|condition| condition["status"] == json!("True"));
    let fixed: &[&[&str]] = match established {
        true => &[&["spec", "group"], &["spec", "scope"], &["spec", "names", "kind"], &["spec", "names", "plural"]],
        false => &[&["spec", "group"]],
    };
    errors.extend(fixed.iter().filter_map(|path| immutable(old, new, path)));
    for stored in value::list(old, &["status", "storedVersions"]) {
        let versions = value::list(new, &["spec", "versions"]);
        if !versions.iter().any(|version| version["name"] == *stored) {
            let detail = format!("must appear in spec.versions: {}", stored.as_str().unwrap_or_default());
            errors.push(FieldError::invalid("status.storedVersions[0]", stored, &detail));
        }
    }
    errors
}
