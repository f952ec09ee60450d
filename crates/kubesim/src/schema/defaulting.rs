//! Filling in what a schema says when nothing is said.

use serde_json::Value;

use super::Schema;
use super::node::{Additional, NodeId};

impl Schema {
    /// Fills in the defaults of every field that is missing.
    pub fn apply_defaults(&self, object: &mut Value) {
        self.default_node(self.root, object);
    }

    fn default_node(&self, id: NodeId, value: &mut Value) {
        let node = self.arena.node(id);
        match value {
            Value::Object(map) => {
                for (name, field) in &node.fields {
                    if let Some(default) = &field.default {
                        let nullable = self.arena.node(field.node).nullable;
                        // A null where none may be counts as missing (KEP-575).
                        if map.get(&**name).is_none_or(|found| found.is_null() && !nullable) {
                            map.insert(name.to_string(), default.clone());
                        }
                    }
                    if let Some(child) = map.get_mut(&**name) {
                        self.default_node(field.node, child);
                    }
                }
                if let Additional::Each(each) = node.additional {
                    for (name, child) in map.iter_mut() {
                        if !node.fields.contains_key(name.as_str()) {
                            self.default_node(each, child);
                        }
                    }
                }
            }
            Value::Array(items) => {
                if let Some(each) = node.items {
                    for item in items {
                        if item.is_null() && !self.arena.node(each).nullable {
                            if let Some(default) = &node.item_default {
                                *item = default.clone();
                            }
                        }
                        self.default_node(each, item);
                    }
                }
            }
            _ => {}
        }
    }
}
