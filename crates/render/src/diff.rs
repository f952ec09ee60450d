//! What differs between two objects, path by path, list items matched by their keys.

use crate::list_keys::{ListKeys, identify, label};
use crate::path::{join, segment};
use crate::travel::{INCARNATION_ANNOTATION, LEAGUE_LABEL, REVISION_ANNOTATION};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// One difference.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Change {
    /// Where: `spec.template.spec.containers[web].image`; empty for the whole object.
    pub path: String,
    /// What was there; `None`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there now; `None`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Everything that differs, in the order of the paths; empty exactly when the two are equal.
pub fn diff(before: &Value, after: &Value, keys: &dyn ListKeys) -> Vec<Change> {
    let mut walk = Walk { keys, fields: Vec::new(), changes: Vec::new() };
    walk.values("", Some(before), Some(after));
    walk.changes
}

struct Walk<'a> {
    keys: &'a dyn ListKeys,
    fields: Vec<&'a str>,
    changes: Vec<Change>,
}

impl<'a> Walk<'a> {
    fn change(&mut self, path: &str, before: Option<Value>, after: Option<Value>) {
        self.changes.push(Change { path: path.to_owned(), before, after });
    }

    fn values(&mut self, path: &str, before: Option<&'a Value>, after: Option<&'a Value>) {
        match (before, after) {
            (before, after) if before == after => {}
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                let names: BTreeSet<&'a String> = before.keys().chain(after.keys()).collect();
                for name in names {
                    self.fields.push(name);
                    let path = join(path, &segment(name));
                    self.values(&path, before.get(name), after.get(name));
                    self.fields.pop();
                }
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                self.lists(path, before, after);
            }
            (before, after) => self.change(path, before.cloned(), after.cloned()),
        }
    }

    fn lists(&mut self, path: &str, before: &'a [Value], after: &'a [Value]) {
        if let Some(keys) = self.keys.keys(&self.fields)
            && let (Some(before), Some(after)) = (labelled(before, &keys), labelled(after, &keys))
        {
            return self.keyed_lists(path, &before, &after);
        }
        let is_container = |item: &Value| item.is_object() || item.is_array();
        if !before.iter().chain(after).all(is_container) {
            // Scalars are read best side by side: `[a, b] → [a, c]`.
            return self.change(path, Some(before.into()), Some(after.into()));
        }
        for index in 0..before.len().max(after.len()) {
            let path = join(path, &format!("[{index}]"));
            self.values(&path, before.get(index), after.get(index));
        }
    }

    fn keyed_lists(&mut self, path: &str, before: &[(String, &'a Value)], after: &[(String, &'a Value)]) {
        let find = |list: &[(String, &'a Value)], wanted: &str| {
            let found = list.iter().find(|(label, _)| label == wanted);
            found.map(|(_, item)| *item)
        };
        for (label, item) in before {
            let path = join(path, &format!("[{label}]"));
            self.values(&path, Some(item), find(after, label));
        }
        for (label, item) in after {
            if find(before, label).is_none() {
                let path = join(path, &format!("[{label}]"));
                self.values(&path, None, Some(item));
            }
        }
        let common = |list: &[(String, &'a Value)], other: &[(String, &'a Value)]| {
            let labels = list.iter().map(|(label, _)| label.clone());
            labels.filter(|label| find(other, label).is_some()).collect::<Vec<_>>()
        };
        let (before, after) = (common(before, after), common(after, before));
        if before != after {
            self.change(path, Some(before.into()), Some(after.into()));
        }
    }
}

/// The items with their names; `None` when some have none, or two have the same.
fn labelled<'a>(items: &'a [Value], keys: &[String]) -> Option<Vec<(String, &'a Value)>> {
    let labelled: Option<Vec<_>> = items.iter().map(|item| Some((label(&identify(item, keys)?), item))).collect();
    labelled.filter(|items| {
        let names: BTreeSet<_> = items.iter().map(|(label, _)| label).collect();
        names.len() == items.len()
    })
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the object" } else { &self.path };
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{path}: {} → {}", short(before), short(after)),
            (None, Some(after)) => write!(f, "{path}: added {}", short(after)),
            (Some(before), None) => write!(f, "{path}: removed {}", short(before)),
            (None, None) => write!(f, "{path}: unchanged"),
        }
    }
}

/// A value in one line of bounded length.
fn short(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = match value {
        Value::String(text) if !text.is_empty() && !text.contains(char::is_whitespace) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The object without what the server keeps about it and without Hansa's marks: what is left is what
/// users and controllers want of it. An adoption that leaves this unchanged changes nothing.
pub fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    let Some(fields) = object.as_object_mut() else {
        return object;
    };
    fields.remove("status");
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else {
        return object;
    };
    for field in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"] {
        metadata.remove(field);
    }
    for (field, marks) in
        [("labels", &[LEAGUE_LABEL][..]), ("annotations", &[INCARNATION_ANNOTATION, REVISION_ANNOTATION][..])]
    {
        let Some(values) = metadata.get_mut(field).and_then(Value::as_object_mut) else {
            continue;
        };
        for mark in marks {
            values.remove(*mark);
        }
        if values.is_empty() {
            metadata.remove(field);
        }
    }
    object
}

/// [`diff`] of what is [`comparable`], fit to be shown, logged and put into events: of the values in
/// Secrets and ConfigMaps, by the target's `kind`, only the keys and sizes are told.
pub fn diff_for_people(kind: &str, before: &Value, after: &Value, keys: &dyn ListKeys) -> Vec<Change> {
    let mut changes = diff(&comparable(before), &comparable(after), keys);
    if !matches!(kind, "Secret" | "ConfigMap") {
        return changes;
    }
    for change in &mut changes {
        let hidden = |value: &Option<Value>| {
            let value = value.as_ref()?;
            Some(hide(kind, &change.path, value))
        };
        let (before, after) = (hidden(&change.before), hidden(&change.after));
        let looks_equal = before == after;
        (change.before, change.after) = (before, after);
        if let (true, Some(Value::String(size))) = (looks_equal, &mut change.after) {
            size.push_str(", changed");
        }
    }
    changes
}

/// A value of a Secret or a ConfigMap with the sizes of its texts instead of the texts. What is not
/// known to be harmless is hidden; annotations are not, for tools keep whole objects in them.
fn hide(kind: &str, path: &str, value: &Value) -> Value {
    let harmless =
        matches!(path, "apiVersion" | "kind" | "type" | "immutable" | "metadata.name" | "metadata.namespace");
    if harmless || path.starts_with("metadata.labels") {
        return value.clone();
    }
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), hide(kind, &join(path, &segment(key)), value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| hide(kind, path, item)).collect(),
        Value::String(text) => {
            let field = path.split(['.', '[']).next().unwrap_or_default();
            let is_base64 = match kind {
                "Secret" => field == "data",
                _ => field == "binaryData",
            };
            let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
            let size = match is_base64 {
                true => (text.len() / 4 * 3).saturating_sub(padding),
                false => text.len(),
            };
            let unit = if size == 1 { "byte" } else { "bytes" };
            format!("{size} {unit}").into()
        }
        Value::Null => Value::Null,
        Value::Bool(_) | Value::Number(_) => "hidden".into(),
    }
}

/// Whether the change from `before` to `after` replaces running pods, judged by the pod template.
///
/// Compare like with like: two outputs, or two answers of an API server (which have its defaults).
/// Strategies that wait for somebody (`OnDelete`, a paused Deployment) restart nothing by themselves.
/// A Job's template is immutable; a difference there means that its pods must be made anew.
pub fn restarts_pods(kind: &str, before: &Value, after: &Value) -> bool {
    let waits = match kind {
        "Deployment" => after.pointer("/spec/paused") == Some(&Value::Bool(true)),
        "StatefulSet" | "DaemonSet" => after.pointer("/spec/updateStrategy/type") == Some(&Value::from("OnDelete")),
        "Job" => false,
        _ => return false,
    };
    !waits && before.pointer("/spec/template") != after.pointer("/spec/template")
}

#[cfg(test)]
mod tests;
