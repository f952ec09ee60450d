//! Who owns which field of a live object, by its `managedFields` (KEP-555), and what follows for the
//! next apply.
//!
//! Most of what other federations call retention falls out of server-side apply: a field that the
//! output does not state (a Service's clusterIP, a PVC's volumeName, an injected sidecar) is nobody's
//! business here. What is left is the field that the output states and that was yielded to another
//! manager: [`retain`].

use crate::path::{Step, locate};
use serde_json::{Map, Value};

/// Who set a field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// The field manager: `kube-controller-manager`.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The subresource it wrote through: `scale`; empty for the object itself.
    pub subresource: String,
}

impl Owner {
    /// Whether this is the manager's own server-side apply of the object.
    fn applies_as(&self, manager: &str) -> bool {
        self.manager == manager && self.operation == "Apply" && self.subresource.is_empty()
    }
}

/// One entry of `managedFields`.
struct Entry<'a> {
    owner: Owner,
    fields: &'a Map<String, Value>,
}

fn entries(live: &Value) -> impl Iterator<Item = Entry<'_>> {
    let entries = live.pointer("/metadata/managedFields");
    let entries = entries.and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| {
        let text = |field: &str| {
            let value = entry.get(field).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        Some(Entry {
            owner: Owner { manager: text("manager"), operation: text("operation"), subresource: text("subresource") },
            fields: entry.get("fieldsV1")?.as_object()?,
        })
    })
}

/// The live object restricted to the fields that `manager` owns by server-side apply; `None` when it
/// owns none.
///
/// Its hash changes when one of these fields changes, goes, or passes to another manager, and when
/// their list items change places; what others own or the server defaults does not touch it.
pub fn owned(live: &Value, manager: &str) -> Option<Value> {
    let (own, others): (Vec<_>, Vec<_>) = entries(live).partition(|entry| entry.owner.applies_as(manager));
    let own = own.first()?;
    let others: Vec<_> = others.iter().map(|entry| entry.fields).collect();
    Some(restrict(live, own.fields, &others))
}

/// A value restricted to a set of fields. `others` are the other managers' sets at the same place.
fn restrict(live: &Value, set: &Map<String, Value>, others: &[&Map<String, Value>]) -> Value {
    let is_leaf = set.is_empty();
    match live {
        // An owned leaf is either atomic, and ours as a whole, or was applied empty. In an atomic
        // value nobody can own a part.
        Value::Object(_) | Value::Array(_) if is_leaf && !others.iter().any(|set| has_parts(set)) => live.clone(),
        Value::Object(fields) => Value::Object(
            set.iter()
                .filter_map(|(element, below)| {
                    let name = element.strip_prefix("f:")?;
                    let child = restrict(fields.get(name)?, below.as_object()?, &step(others, element));
                    Some((name.to_owned(), child))
                })
                .collect(),
        ),
        Value::Array(items) => {
            let mut kept: Vec<(usize, Value)> = Vec::new();
            for (element, below) in set {
                let Some(below) = below.as_object() else {
                    continue;
                };
                let others = step(others, element);
                let selected = Element::read(element);
                for (index, item) in items.iter().enumerate() {
                    if !selected.selects(index, item) {
                        continue;
                    }
                    let mut part = restrict(item, below, &others);
                    if let (Element::Key(keys), Some(part)) = (&selected, part.as_object_mut()) {
                        // Without its keys nobody could tell which item it is.
                        part.extend(keys.clone());
                    }
                    kept.push((index, part));
                }
            }
            kept.sort_by_key(|(index, _)| *index);
            Value::Array(kept.into_iter().map(|(_, part)| part).collect())
        }
        scalar => scalar.clone(),
    }
}

fn has_parts(set: &Map<String, Value>) -> bool {
    set.keys().any(|element| element != ".")
}

fn step<'a>(sets: &[&'a Map<String, Value>], element: &str) -> Vec<&'a Map<String, Value>> {
    sets.iter().filter_map(|set| set.get(element)?.as_object()).collect()
}

/// An element of FieldsV1 that selects items of a list.
enum Element {
    /// `k:{"name":"web"}`.
    Key(Map<String, Value>),
    /// `v:"x"`.
    Value(Value),
    /// `i:3`.
    Index(usize),
    /// `.`, `f:…`, or nothing known: no item of a list.
    NoItem,
}

impl Element {
    fn read(element: &str) -> Self {
        let (sort, rest) = element.split_at(element.len().min(2));
        let read = match sort {
            "k:" => serde_json::from_str(rest).ok().map(Element::Key),
            "v:" => serde_json::from_str(rest).ok().map(Element::Value),
            "i:" => rest.parse().ok().map(Element::Index),
            _ => None,
        };
        read.unwrap_or(Element::NoItem)
    }

    fn selects(&self, index: usize, item: &Value) -> bool {
        match self {
            Element::Key(keys) => keys.iter().all(|(key, value)| item.get(key) == Some(value)),
            Element::Value(value) => item == value,
            Element::Index(wanted) => *wanted == index,
            Element::NoItem => false,
        }
    }
}

/// Everyone who owns the field at a path of a conflict's cause: `.spec.replicas`. Empty when the
/// live object has no such field, or nobody owns it.
pub fn owners(live: &Value, path: &str) -> Vec<Owner> {
    let Some(steps) = locate(live, path) else {
        return Vec::new();
    };
    entries(live).filter(|entry| contains(entry.fields, live, &steps)).map(|entry| entry.owner).collect()
}

fn contains(set: &Map<String, Value>, value: &Value, steps: &[Step]) -> bool {
    // The end of the owner's path is the field itself, or something atomic that the field is in.
    if set.is_empty() {
        return true;
    }
    let Some((first, rest)) = steps.split_first() else {
        return set.contains_key(".");
    };
    let (below, child) = match first {
        Step::Field(name) => (set.get(&format!("f:{name}")), value.get(name)),
        Step::Item(index) => {
            let item = value.get(index);
            let selects = |element: &str| item.is_some_and(|item| Element::read(element).selects(*index, item));
            let found = set.iter().find(|(element, _)| selects(element));
            (found.map(|(_, below)| below), item)
        }
    };
    match (below.and_then(Value::as_object), child) {
        (Some(below), Some(child)) => contains(below, child, rest),
        _ => false,
    }
}

/// What [`retain`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Retention {
    /// The field was taken out of the output: these own it, and applying without it leaves it to them.
    Released(Vec<Owner>),
    /// Nobody else owns the field. The output now states the live value: without it the API server
    /// would reset the field (replicas to 1).
    Kept,
    /// There was nothing to do: the output or the live object has no such field, or it may not be yielded.
    Unchanged,
}

/// Leaves a yielded field to the live object, so that the next apply by `manager` neither fights for
/// it nor resets it. `path` is that of a conflict's cause.
pub fn retain(live: &Value, manager: &str, output: &mut Value, path: &str) -> Retention {
    let (Some(there), Some(here)) = (locate(live, path), locate(output, path)) else {
        return Retention::Unchanged;
    };
    if is_fixed(&here) {
        return Retention::Unchanged;
    }
    let others: Vec<Owner> = owners(live, path).into_iter().filter(|owner| !owner.applies_as(manager)).collect();
    if others.is_empty() {
        let value = value_at(live, &there).cloned();
        if let (Some(value), Some(place)) = (value, place_at(output, &here)) {
            *place = value;
        }
        return Retention::Kept;
    }
    remove(output, &here);
    Retention::Released(others)
}

/// Takes the field at a path of a conflict's cause out of an output, with what becomes empty by
/// that. False when there is no such field, or it may not be given up: what the object is, and
/// Hansa's own marks.
pub fn drop_path(output: &mut Value, path: &str) -> bool {
    match locate(output, path) {
        Some(steps) if !is_fixed(&steps) => {
            remove(output, &steps);
            true
        }
        _ => false,
    }
}

/// Whether an output without this field would no longer be the output of this object.
fn is_fixed(steps: &[Step]) -> bool {
    let names: Vec<&str> = steps
        .iter()
        .map(|step| match step {
            Step::Field(name) => name.as_str(),
            Step::Item(_) => "",
        })
        .collect();
    match names.as_slice() {
        [] | ["apiVersion" | "kind" | "metadata"] => true,
        ["metadata", "name" | "namespace" | "labels" | "annotations"] => true,
        ["metadata", "labels" | "annotations", key] => key.starts_with("hansa.dev/"),
        _ => false,
    }
}

fn value_at<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Item(index) => value.get(index),
    })
}

fn place_at<'a>(value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get_mut(name),
        Step::Item(index) => value.get_mut(index),
    })
}

/// Removes what the steps lead to, and every parent that this leaves empty: an empty object in an
/// apply is a claim to the object itself.
fn remove(value: &mut Value, steps: &[Step]) {
    let Some((first, rest)) = steps.split_first() else {
        return;
    };
    let is_empty = |child: &Value| match child {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let goes = |child: &mut Value| {
        remove(child, rest);
        rest.is_empty() || is_empty(child)
    };
    match first {
        Step::Field(name) => {
            if let Some(fields) = value.as_object_mut()
                && fields.get_mut(name).is_some_and(goes)
            {
                fields.remove(name);
            }
        }
        Step::Item(index) => {
            if let Some(items) = value.as_array_mut()
                && items.get_mut(*index).is_some_and(goes)
            {
                items.remove(*index);
            }
        }
    }
}

#[cfg(test)]
mod tests;
