//! The rules of `metadata` that hold for every kind.

use serde_json::{Value, json};

use crate::schema::FieldError;
use crate::value;

/// How a kind's names must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// RFC 1123 subdomains: most kinds.
    Subdomain,
    /// RFC 1123 labels: namespaces.
    Label,
    /// The same with words of their own: Services.
    Service,
    /// Anything that can be one segment of a path: RBAC.
    Segment,
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// All annotations of an object together, as kube-apiserver limits them.
const ANNOTATIONS: usize = 256 * 1024;

/// Whether a text is an RFC 1123 label.
pub fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_qualified_part(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && ends(text.chars().next())
        && ends(text.chars().last())
}

/// What is wrong with the key of a label, if anything.
pub fn label_key_problem(key: &str) -> Option<String> {
    let problems = qualified_problems(key);
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// What is wrong with the value of a label, if anything.
pub fn label_value_problem(label: &str) -> Option<String> {
    if label.len() > 63 {
        return Some("must be no more than 63 bytes".to_string());
    }
    (!label.is_empty() && !is_qualified_part(label)).then(|| LABEL_VALUE.to_string())
}

/// What is wrong with the key of an annotation, if anything: one text for all.
fn annotation_problem(key: &str) -> Option<String> {
    if qualified_problems(key).is_empty() {
        return None;
    }
    let detail = NAME_PART.replace("name part must consist", "a valid label key must consist");
    Some(format!("{detail} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"))
}

/// What is wrong with a name, if anything.
pub fn name_problem(name: &str, names: Names) -> Option<String> {
    let longest = match names {
        Names::Subdomain => 253,
        Names::Label | Names::Service => 63,
        Names::Segment => usize::MAX,
    };
    if name.len() > longest {
        let unit = if names == Names::Service { "characters" } else { "bytes" };
        return Some(format!("must be no more than {longest} {unit}"));
    }
    match names {
        Names::Label | Names::Service if name.contains('.') => Some("must not contain dots".to_string()),
        Names::Subdomain => (!is_subdomain(name)).then(|| SUBDOMAIN.to_string()),
        Names::Label | Names::Service => (!is_label(name)).then(|| LABEL.to_string()),
        Names::Segment => segment_problem(name),
    }
}

fn segment_problem(name: &str) -> Option<String> {
    match name {
        "." | ".." => Some(format!("may not be '{name}'")),
        _ => ["/", "%"].iter().find(|part| name.contains(**part)).map(|part| format!("may not contain '{part}'")),
    }
}

/// What is wrong with a label key, annotation key or finalizer, if anything.
fn qualified_problems(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let (prefix, part) = match name.split_once('/') {
        Some((prefix, part)) => (Some(prefix), part),
        None => (None, name),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            problems.push("prefix part must be non-empty".to_string());
        } else if !is_subdomain(prefix) {
            problems.push(format!("prefix part {SUBDOMAIN}"));
        }
    }
    if part.is_empty() {
        problems.push("name part must be non-empty".to_string());
    } else if part.len() > 63 {
        problems.push("name part must be no more than 63 bytes".to_string());
    }
    if !is_qualified_part(part) {
        problems.push(NAME_PART.to_string());
    }
    problems
}

/// Fills in what the system sets on a new object.
pub fn start(object: &mut Value, now: &str, uid: String) {
    let metadata = value::object_at(object, &["metadata"]);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        metadata.remove(field);
    }
    metadata.insert("creationTimestamp".into(), json!(now));
    metadata.insert("uid".into(), json!(uid));
    drop_empty(object);
}

/// Drops the empty lists and maps of metadata, which Go leaves out when it writes them.
pub fn drop_empty(object: &mut Value) {
    let metadata = value::object_at(object, &["metadata"]);
    for field in ["labels", "annotations", "finalizers", "ownerReferences", "managedFields", "generateName", "selfLink"]
    {
        let empty = match metadata.get(field) {
            Some(Value::Null) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(fields)) => fields.is_empty(),
            Some(Value::String(text)) => text.is_empty(),
            _ => false,
        };
        if empty {
            metadata.remove(field);
        }
    }
}

/// Keeps what an update may not change, and says what it tried to.
pub fn carry_over(old: &Value, new: &mut Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    drop_empty(new);
    let before = &old["metadata"];
    let metadata = value::object_at(new, &["metadata"]);
    for field in ["name", "namespace", "uid"] {
        let (was, is) = (before.get(field), metadata.get(field));
        match is.filter(|is| !is.is_null() && **is != json!("")) {
            Some(is) if Some(is) != was => {
                errors.push(FieldError::invalid(format!("metadata.{field}"), is, "field is immutable"))
            }
            Some(_) => {}
            None => {
                if let Some(was) = was {
                    metadata.insert(field.into(), was.clone());
                }
            }
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if let Some(is) = metadata.get(field).filter(|is| !is.is_null() && before.get(field).is_none()) {
            errors.push(FieldError::invalid(format!("metadata.{field}"), is, "field is immutable"));
        }
    }
    let kept = [
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "selfLink",
    ];
    for field in kept {
        match before.get(field) {
            Some(was) => metadata.insert(field.into(), was.clone()),
            None => metadata.remove(field),
        };
    }
    errors.extend(new_finalizers(old, new));
    errors
}

fn new_finalizers(old: &Value, new: &Value) -> Option<FieldError> {
    value::get(old, &["metadata", "deletionTimestamp"])?;
    let before = value::list(old, &["metadata", "finalizers"]);
    let added: Vec<String> = value::list(new, &["metadata", "finalizers"])
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .filter_map(Value::as_str)
        .map(|finalizer| format!("{finalizer:?}"))
        .collect();
    if added.is_empty() {
        return None;
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    Some(FieldError::forbidden("metadata.finalizers", &detail))
}

/// The checks of `metadata` at every write.
pub fn validate(object: &Value, names: Names) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |field: &str| value::string(object, &["metadata", field]).unwrap_or_default();
    let (name, base) = (text("name"), text("generateName"));
    // What follows a name to be completed may mend its end.
    let complete = match base.strip_suffix('-') {
        Some(start) if !start.is_empty() => format!("{start}a"),
        _ => base.to_string(),
    };
    if let Some(problem) = Some(&complete).filter(|base| !base.is_empty()).and_then(|base| name_problem(base, names)) {
        errors.push(FieldError::invalid("metadata.generateName", &json!(base), &problem));
    }
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else if let Some(problem) = name_problem(name, names) {
        errors.push(FieldError::invalid("metadata.name", &json!(name), &problem));
    }
    let empty = serde_json::Map::new();
    let map = |field: &str| value::get(object, &["metadata", field]).and_then(Value::as_object).unwrap_or(&empty);
    for (key, label) in map("labels") {
        for problem in qualified_problems(key) {
            errors.push(FieldError::invalid("metadata.labels", &json!(key), &problem));
        }
        let label = label.as_str().unwrap_or_default();
        if label.len() > 63 {
            errors.push(FieldError::invalid("metadata.labels", &json!(label), "must be no more than 63 bytes"));
        }
        if !label.is_empty() && !is_qualified_part(label) {
            errors.push(FieldError::invalid("metadata.labels", &json!(label), LABEL_VALUE));
        }
    }
    let mut size = 0;
    for (key, annotation) in map("annotations") {
        if let Some(problem) = annotation_problem(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &json!(key), &problem));
        }
        size += key.len() + annotation.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS));
    }
    errors.extend(owner_errors(object));
    errors.extend(finalizer_errors(object, "metadata"));
    errors
}

/// What is wrong with the finalizers in `metadata`, or of a namespace in `spec`.
pub fn finalizer_errors(object: &Value, place: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, finalizer) in value::list(object, &[place, "finalizers"]).iter().enumerate() {
        let Some(finalizer) = finalizer.as_str() else { continue };
        for problem in qualified_problems(finalizer) {
            errors.push(FieldError::invalid(format!("{place}.finalizers"), &json!(finalizer), &problem));
        }
        let known = matches!(finalizer, "orphan" | "foregroundDeletion" | "kubernetes");
        if !finalizer.contains('/') && !known {
            errors.push(FieldError::invalid(
                format!("{place}.finalizers[{index}]"),
                &json!(finalizer),
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    errors
}

fn owner_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for (index, owner) in value::list(object, &["metadata", "ownerReferences"]).iter().enumerate() {
        let path = format!("metadata.ownerReferences[{index}]");
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let version = text("apiVersion");
        let parts = version.split('/').count();
        if version.is_empty() {
            errors.push(FieldError::required(format!("{path}.apiVersion"), "must not be empty"));
        } else if parts > 2 || version.ends_with('/') {
            let detail = "must be <group>/<version> or <version>";
            errors.push(FieldError::invalid(format!("{path}.apiVersion"), &json!(version), detail));
        }
        if (version, text("kind")) == ("v1", "Event") {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(&path, owner, detail));
        }
        for field in ["kind", "name", "uid"] {
            if text(field).is_empty() {
                errors.push(FieldError::required(format!("{path}.{field}"), "must not be empty"));
            }
        }
        if owner["controller"] == json!(true) {
            if let Some(first) = &controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}/{}",
                    text("kind"),
                    text("name")
                );
                errors.push(FieldError::invalid("metadata.ownerReferences", &json!(owner.to_string()), &detail));
            }
            controller.get_or_insert_with(|| format!("{}/{}", text("kind"), text("name")));
        }
    }
    errors
}

/// Whether an update makes a deletion complete: it was asked for, its grace period is over, and
/// no finalizer is left.
pub fn is_finished(old: &Value, new: &Value) -> bool {
    value::get(old, &["metadata", "deletionTimestamp"]).is_some()
        && value::integer(old, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
        && value::list(new, &["metadata", "finalizers"]).is_empty()
        // Namespaces have finalizers of their own kind beside the common ones.
        && (new["kind"] != json!("Namespace") || value::list(new, &["spec", "finalizers"]).is_empty())
}

/// Managed fields that differ in their times alone do not make a write.
pub fn settle_managed_fields(old: &Value, new: &mut Value) {
    let timeless = |object: &Value| -> Vec<Value> {
        let entries = value::list(object, &["metadata", "managedFields"]);
        entries
            .iter()
            .map(|entry| {
                let mut entry = entry.clone();
                value::remove(&mut entry, &["time"]);
                entry
            })
            .collect()
    };
    if timeless(old) != timeless(new) || !equal_beside_managed_fields(old, new) {
        return;
    }
    match value::get(old, &["metadata", "managedFields"]) {
        Some(fields) => value::set(new, &["metadata", "managedFields"], fields.clone()),
        None => {
            value::remove(new, &["metadata", "managedFields"]);
        }
    }
}

fn equal_beside_managed_fields(old: &Value, new: &Value) -> bool {
    fn same(old: &Value, new: &Value, except: &str) -> bool {
        let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return value::equal(old, new) };
        let count = |fields: &serde_json::Map<String, Value>| fields.keys().filter(|name| *name != except).count();
        count(old) == count(new)
            && old
                .iter()
                .filter(|(name, _)| *name != except)
                .all(|(name, was)| new.get(name).is_some_and(|is| value::equal(was, is)))
    }
    same(old, new, "metadata") && same(&old["metadata"], &new["metadata"], "managedFields")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(|error| error.to_string().chars().take(55).collect()).collect()
    }

    #[test]
    fn names_labels_and_owners_are_checked() {
        let good = json!({"metadata": {"name": "a.b-1", "labels": {"x.io/y": "Z_1"}, "annotations": {"Some/Thing": "x"}, "finalizers": ["a.io/b"]}});
        assert_eq!(validate(&good, Names::Subdomain), []);
        let bad = json!({"metadata": {
            "name": "A", "labels": {"x/": "-"}, "finalizers": ["thing"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": ""}],
        }});
        assert_eq!(
            texts(&validate(&bad, Names::Subdomain)),
            [
                "metadata.name: Invalid value: \"A\": a lowercase RFC 1123",
                "metadata.labels: Invalid value: \"x/\": name part must be",
                "metadata.labels: Invalid value: \"x/\": name part must co",
                "metadata.labels: Invalid value: \"-\": a valid label must",
                "metadata.ownerReferences[0].uid: Required value: must n",
                "metadata.finalizers[0]: Invalid value: \"thing\": name is",
            ]
        );
        assert!(name_problem("system:node", Names::Segment).is_none());
        assert!(name_problem("a/b", Names::Segment).is_some());
    }

    #[test]
    fn an_update_keeps_what_it_may_not_change() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3, "deletionTimestamp": "d", "finalizers": ["a/b"]}});
        let mut new = json!({"metadata": {"name": "a", "generation": 9, "finalizers": ["a/b", "c/d"]}});
        let errors = carry_over(&old, &mut new);
        assert_eq!(texts(&errors).len(), 1, "{errors:?}");
        assert_eq!(new["metadata"]["generation"], 3);
        assert_eq!(new["metadata"]["uid"], "u");
        assert_eq!(new["metadata"]["deletionTimestamp"], "d");
    }
}
