//! Dropping fields that a schema does not know.

use serde_json::Value;

use super::node::{Additional, Node, NodeId};
use super::{Origin, Schema};

impl Schema {
    /// Drops the fields that the schema does not name; gives their paths, as kube's messages say them.
    ///
    /// Of a custom resource the nulls go too where none may be and nothing is to be filled in for them, as they would
    /// in a Go struct; and numbers without a fraction become integers, as Go writes them.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        if self.origin == Origin::Custom {
            whole_numbers(object);
        }
        self.prune_node(self.root, object, &mut String::new(), &mut dropped);
        dropped
    }

    /// The same for a value of one place of the schema.
    pub(super) fn prune_value(&self, id: NodeId, value: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        self.prune_node(id, value, &mut String::new(), &mut dropped);
        dropped
    }

    fn prune_node(&self, id: NodeId, value: &mut Value, path: &mut String, dropped: &mut Vec<String>) {
        let node = self.arena.node(id);
        let length = path.len();
        match value {
            Value::Object(map) => {
                let keeps_all = node.preserve || node.additional != Additional::Nothing;
                let unknown: Vec<String> = if keeps_all {
                    Vec::new()
                } else {
                    map.keys().filter(|name| !node.fields.contains_key(name.as_str())).cloned().collect()
                };
                for name in unknown {
                    map.remove(&name);
                    push_field(path, &name);
                    dropped.push(path.clone());
                    path.truncate(length);
                }
                if self.origin == Origin::Custom {
                    map.retain(|name, child| !(child.is_null() && self.refuses_null(node, name)));
                }
                for (name, child) in map.iter_mut() {
                    let below = match node.fields.get(name.as_str()) {
                        Some(field) => field.node,
                        None => match node.additional {
                            Additional::Each(each) => each,
                            _ => continue,
                        },
                    };
                    push_field(path, name);
                    self.prune_node(below, child, path, dropped);
                    path.truncate(length);
                }
            }
            Value::Array(items) => {
                if let Some(each) = node.items {
                    for (index, item) in items.iter_mut().enumerate() {
                        path.push_str(&format!("[{index}]"));
                        self.prune_node(each, item, path, dropped);
                        path.truncate(length);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Schema {
    fn refuses_null(&self, node: &Node, name: &str) -> bool {
        match (node.fields.get(name), node.additional) {
            (Some(field), _) => field.default.is_none() && !self.arena.node(field.node).nullable,
            (None, Additional::Each(each)) => !self.arena.node(each).nullable,
            _ => false,
        }
    }
}

/// Writes `1.0` as `1`.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Number(number) => {
            // Within what both forms hold exactly.
            let whole = number.as_f64().filter(|one| number.is_f64() && one.fract() == 0.0 && one.abs() < 1e15);
            if let Some(whole) = whole {
                *value = Value::from(whole as i64);
            }
        }
        _ => {}
    }
}

/// Adds `.name` (or `name`, at the start) to a path.
pub(crate) fn push_field(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}
