//! Whether an applied object fits its schema, in the words of the real server's `structured-merge-diff`.

use serde_json::Value;

use super::element::PathElement;
use super::typed::{Shape, Typed};
use crate::schema::node::{ListType, Node, NodeId, Type};
use crate::value::go_value;

impl Typed<'_> {
    /// Why an applied object does not fit the schema, in the words of the real server; each with its path.
    pub(crate) fn misfits(&self, object: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.misfits_at(self.schema.root, object, "", &mut found);
        found
    }

    fn misfits_at(&self, id: NodeId, value: &Value, path: &str, found: &mut Vec<String>) {
        if value.is_null() {
            return;
        }
        let node = self.schema.arena.node(id);
        let mut wrong = |text: String| {
            found.push(if path.is_empty() { text } else { format!("{path}: {text}") });
        };
        match (self.shape(id, Some(value)), value) {
            (Shape::Map, Value::Object(map)) => {
                for (name, child) in map {
                    let below = format!("{path}.{name}");
                    match self.schema.arena.child(id, name) {
                        Some(node) => self.misfits_at(node, child, &below, found),
                        None => {
                            found.push(format!("{below}: field not declared in schema"));
                            return;
                        }
                    }
                }
            }
            (Shape::Map, other) => wrong(format!("expected map, got &{{{}}}", go_value(other))),
            (Shape::List, Value::Array(items)) => {
                let granular = node.list != ListType::Atomic;
                let mut seen: Vec<PathElement> = Vec::new();
                let each = self.schema.arena.item(id);
                for (index, item) in items.iter().enumerate() {
                    let mut element = PathElement::Index(index);
                    if granular {
                        match PathElement::of_item(&self.schema.arena, id, item) {
                            Ok(one) => element = one,
                            Err(why) => {
                                found.push(format!("{path}: element {index}: {why}"));
                                return;
                            }
                        }
                        if seen.contains(&element) {
                            found.push(format!("{path}: duplicate entries for key {element}"));
                        }
                        seen.push(element.clone());
                    }
                    self.misfits_at(each, item, &format!("{path}{element}"), found);
                }
            }
            (Shape::List, other) => wrong(format!("expected list, got &{{{}}}", go_value(other))),
            (Shape::Scalar, value) => match (node.r#type, value) {
                (Type::Integer | Type::Number, Value::Number(_)) | (Type::Boolean, Value::Bool(_)) => {}
                (Type::String, value) if has_format(node) && !value.is_array() && !value.is_object() => {}
                (Type::String, Value::String(_)) => {}
                (Type::Integer | Type::Number, other) => {
                    wrong(format!("expected numeric (int or float), got {}", go_type(other)));
                }
                (Type::Boolean, other) => wrong(format!("expected boolean, got &{{{}}}", go_value(other))),
                (Type::String, other) if !has_format(node) => {
                    wrong(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_value(other)));
                }
                (_, Value::Array(_) | Value::Object(_)) => {
                    wrong(format!("expected any scalar, got &{{{}}}", go_value(value)));
                }
                _ => {}
            },
        }
    }
}

/// Strings with a format (but `byte`) are any scalar to the typed form.
fn has_format(node: &Node) -> bool {
    node.checks.as_ref().and_then(|checks| checks.format.as_deref()).is_some_and(|format| format != "byte")
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
