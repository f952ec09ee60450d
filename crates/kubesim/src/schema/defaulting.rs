//! Filling in what a schema says when nothing is said.

use serde_json::{Map, Value};

use super::node::{Additional, Field, NodeId, Wire};
use super::wire::is_zero;
use super::{Origin, Schema};

impl Schema {
    /// Fills in the defaults of every field that is missing.
    ///
    /// A built-in object is brought into its canonical form first (see [`Schema::normalize`]), for what Go would not
    /// have seen counts as missing.
    pub fn apply_defaults(&self, object: &mut Value) {
        self.normalize(object);
        self.default_node(self.root, object);
        // What was filled in may hold structs of its own.
        self.normalize(object);
    }

    pub(super) fn default_node(&self, id: NodeId, value: &mut Value) {
        let node = self.arena.node(id);
        match value {
            Value::Object(map) => {
                if let Some(hook) = node.hook {
                    hook(map);
                }
                for (name, field) in &node.fields {
                    if let Some(default) = &field.default
                        && self.is_missing(field, map.get(&**name))
                    {
                        map.insert(name.to_string(), default.clone());
                    }
                }
                for rule in &node.conditional {
                    let chosen = map.get(&*rule.when).and_then(Value::as_str).unwrap_or_default();
                    if rule.is.iter().any(|one| **one == *chosen)
                        && self.is_missing(&node.fields[&rule.field], map.get(&*rule.field))
                    {
                        map.insert(rule.field.to_string(), rule.value.clone());
                    }
                }
                for (name, child) in map.iter_mut() {
                    if let Some(field) = node.fields.get(name.as_str()) {
                        self.default_node(field.node, child);
                    } else if let Additional::Each(each) = node.additional {
                        self.default_node(each, child);
                    }
                }
                for (path, default) in &node.deep {
                    fill_deep(map, path, default);
                }
            }
            Value::Array(items) => {
                if let Some(each) = node.items {
                    let nullable = self.arena.node(each).nullable;
                    for item in items {
                        if let Some(default) = node.item_default.as_ref().filter(|_| item.is_null() && !nullable) {
                            *item = default.clone();
                        }
                        self.default_node(each, item);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether a field counts as missing: so do a null where none may be (KEP-575) and, to Go, a zero.
    fn is_missing(&self, field: &Field, found: Option<&Value>) -> bool {
        match found {
            None => true,
            Some(Value::Null) => !self.arena.node(field.node).nullable,
            Some(found) => self.origin == Origin::Builtin && field.wire != Wire::AsSent && is_zero(found),
        }
    }
}

/// Fills in one field far below, if the objects on the way are there.
fn fill_deep(map: &mut Map<String, Value>, path: &[Box<str>], default: &Value) {
    match path {
        [] => {}
        [last] => {
            map.entry(&**last).or_insert_with(|| default.clone());
        }
        [next, rest @ ..] => {
            if let Some(Value::Object(child)) = map.get_mut(&**next) {
                fill_deep(child, rest, default);
            }
        }
    }
}
