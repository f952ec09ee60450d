//! OpenAPI v3 schemas, as JSON, into nodes.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::checks::Checks;
use super::error::FieldError;
use super::node::{Additional, Arena, Field, ListType, Node, NodeId, PatchStrategy, Type};

/// Reads schemas into an arena; definitions are resolved by name.
pub(crate) struct Parser<'a> {
    pub arena: &'a mut Arena,
    /// Where `$ref`s lead.
    pub definitions: &'a BTreeMap<String, NodeId>,
    /// Whether this is a built-in kind: an object without properties is a free-form one, and the defaults that OpenAPI
    /// names are not those that the server fills in.
    pub is_builtin: bool,
    /// What could not be read, by the place in the schema.
    pub errors: Vec<FieldError>,
}

impl Parser<'_> {
    /// Reads one schema; `lenient` when one above it preserves unknown fields.
    pub(crate) fn node(&mut self, schema: &Value, path: &str, lenient: bool) -> NodeId {
        if let Some(name) = schema["$ref"].as_str() {
            return self.reference(schema, name, path);
        }
        let node = self.read(schema, path, lenient);
        self.arena.add(node)
    }

    /// A reference; an override of the map type beside it gives the node a copy of its own.
    fn reference(&mut self, schema: &Value, name: &str, path: &str) -> NodeId {
        let Some(&target) = self.definitions.get(name) else {
            self.errors.push(FieldError::invalid(path, &Value::from(name), "no definition of this name"));
            return super::node::OPAQUE;
        };
        if schema["x-kubernetes-map-type"] == "atomic" {
            let copy = Node { atomic_map: true, ..self.arena.node(target).clone() };
            return self.arena.add(copy);
        }
        target
    }

    /// Reads a schema into a node that is not yet in the arena (its children are).
    pub(crate) fn read(&mut self, schema: &Value, path: &str, lenient: bool) -> Node {
        let preserve = schema["x-kubernetes-preserve-unknown-fields"] == true;
        let lenient = lenient || preserve;
        let mut node = Node {
            r#type: value_type(schema),
            nullable: schema["nullable"] == true,
            preserve,
            lenient,
            embedded: schema["x-kubernetes-embedded-resource"] == true,
            atomic_map: schema["x-kubernetes-map-type"] == "atomic",
            list: list_type(schema),
            required: names(&schema["required"]),
            ..Node::default()
        };
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                let child = format!("{path}.properties[{name}]");
                let field = self.field(property, &child, lenient);
                node.fields.insert(name.as_str().into(), field);
            }
        }
        node.additional = match &schema["additionalProperties"] {
            Value::Bool(true) => Additional::Anything,
            each @ Value::Object(_) => {
                Additional::Each(self.node(each, &format!("{path}.additionalProperties"), lenient))
            }
            _ => Additional::Nothing,
        };
        if schema["items"].is_object() {
            node.items = Some(self.node(&schema["items"], &format!("{path}.items"), lenient));
            node.item_default = schema["items"].get("default").cloned();
        }
        let shapeless = node.fields.is_empty() && node.additional == Additional::Nothing;
        if self.is_builtin && shapeless && matches!(node.r#type, Type::Object | Type::Any) {
            node.preserve = true;
        }
        let checks = self.checks(schema, path, lenient);
        if !checks.is_empty() {
            node.checks = Some(Box::new(checks));
        }
        node
    }

    /// One property: its node and what belongs to this use of it.
    fn field(&mut self, property: &Value, path: &str, lenient: bool) -> Field {
        let mut field = Field::new(self.node(property, path, lenient));
        field.key_default = property.get("default").cloned();
        if !self.is_builtin {
            field.default = field.key_default.clone();
        }
        if let Some(strategy) = property["x-kubernetes-patch-strategy"].as_str() {
            field.patch = PatchStrategy {
                merge: strategy.split(',').any(|one| one == "merge"),
                retain_keys: strategy.split(',').any(|one| one == "retainKeys"),
            };
        }
        field.merge_key = property["x-kubernetes-patch-merge-key"].as_str().map(Into::into);
        field
    }

    fn checks(&mut self, schema: &Value, path: &str, lenient: bool) -> Checks {
        let pattern = schema["pattern"].as_str().and_then(|text| match Regex::new(text) {
            Ok(regex) => Some((text.into(), regex)),
            Err(error) => {
                let detail = format!("must be a valid regular expression, but isn't: {error}");
                self.errors.push(FieldError::invalid(format!("{path}.pattern"), &schema["pattern"], &detail));
                None
            }
        });
        Checks {
            enumeration: schema["enum"].as_array().cloned().unwrap_or_default(),
            format: schema["format"].as_str().map(Into::into),
            pattern,
            min_length: schema["minLength"].as_u64(),
            max_length: schema["maxLength"].as_u64(),
            minimum: schema["minimum"].as_f64(),
            maximum: schema["maximum"].as_f64(),
            exclusive_minimum: schema["exclusiveMinimum"] == true,
            exclusive_maximum: schema["exclusiveMaximum"] == true,
            multiple_of: schema["multipleOf"].as_f64(),
            min_items: schema["minItems"].as_u64(),
            max_items: schema["maxItems"].as_u64(),
            unique_items: schema["uniqueItems"] == true,
            min_properties: schema["minProperties"].as_u64(),
            max_properties: schema["maxProperties"].as_u64(),
            all_of: self.junctor(schema, "allOf", path, lenient),
            any_of: self.junctor(schema, "anyOf", path, lenient),
            one_of: self.junctor(schema, "oneOf", path, lenient),
            not: schema["not"].is_object().then(|| self.node(&schema["not"], &format!("{path}.not"), lenient)),
        }
    }

    fn junctor(&mut self, schema: &Value, name: &str, path: &str, lenient: bool) -> Vec<NodeId> {
        let alternatives = schema[name].as_array().map_or(&[][..], Vec::as_slice);
        alternatives
            .iter()
            .enumerate()
            .map(|(index, one)| self.node(one, &format!("{path}.{name}[{index}]"), lenient))
            .collect()
    }
}

fn value_type(schema: &Value) -> Type {
    if schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string" {
        return Type::IntOrString;
    }
    match schema["type"].as_str() {
        Some("object") => Type::Object,
        Some("array") => Type::Array,
        Some("string") => Type::String,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        _ => Type::Any,
    }
}

fn list_type(schema: &Value) -> ListType {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(names(&schema["x-kubernetes-list-map-keys"])),
        _ => ListType::Atomic,
    }
}

fn names(list: &Value) -> Vec<Box<str>> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(Value::as_str).map(Into::into).collect()
}
