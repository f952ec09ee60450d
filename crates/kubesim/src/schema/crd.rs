//! Schemas of custom resources: structural checks, and the parts that every object has.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::builtin::{OBJECT_META, builtin};
use super::error::FieldError;
use super::node::{Additional, Arena, Field, Node, NodeId, Type};
use super::parse::Parser;
use super::reset::Resets;
use super::structural;
use super::{Origin, Schema};

impl Schema {
    /// The schema of a custom resource, from `spec.versions[].schema.openAPIV3Schema`.
    ///
    /// # Errors
    ///
    /// What keeps the schema from being structural, or makes one of its defaults no value of it, by the place in it:
    /// `openAPIV3Schema.properties[spec].type`.
    pub fn from_crd(openapi_v3_schema: &Value) -> Result<Schema, Vec<FieldError>> {
        let errors = structural::check(openapi_v3_schema);
        if !errors.is_empty() {
            return Err(errors);
        }
        let (mut arena, definitions) = arena_with_meta();
        let mut parser = Parser { arena: &mut arena, definitions: &definitions, is_builtin: false, errors: Vec::new() };
        let mut root = parser.read(openapi_v3_schema, "openAPIV3Schema", false);
        if !parser.errors.is_empty() {
            return Err(parser.errors);
        }
        add_object_fields(&mut arena, &mut root, definitions[OBJECT_META]);
        let root = arena.add(root);
        for id in 0..root.0 {
            if arena.node(NodeId(id)).embedded {
                let mut node = std::mem::take(arena.node_mut(NodeId(id)));
                add_object_fields(&mut arena, &mut node, definitions[OBJECT_META]);
                *arena.node_mut(NodeId(id)) = node;
            }
        }
        let schema = Schema { arena: Arc::new(arena), root, origin: Origin::Custom, resets: Resets::default() };
        let errors = schema.default_errors(openapi_v3_schema, root, "openAPIV3Schema");
        if errors.is_empty() { Ok(schema) } else { Err(errors) }
    }

    /// What is wrong with the defaults in and below a place: a default must be a value of its schema, and whole.
    fn default_errors(&self, schema: &Value, id: NodeId, path: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
            let mut completed = default.clone();
            self.default_node(id, &mut completed);
            for mut error in self.check_value(id, &completed) {
                let below = std::mem::take(&mut error.field);
                let below = below.trim_start_matches("<nil>");
                let separator = if below.is_empty() || below.starts_with('[') { "" } else { "." };
                error.field = format!("{path}.default{separator}{below}");
                errors.push(error);
            }
            if !self.prune_value(id, &mut completed).is_empty() {
                errors.push(FieldError::invalid(format!("{path}.default"), default, "must not have unknown fields"));
            }
        }
        let node = self.arena.node(id);
        for (name, field) in &node.fields {
            if let Some(property) =
                schema["properties"].get(&**name).filter(|_| !(path == "openAPIV3Schema" && &**name == "metadata"))
            {
                errors.extend(self.default_errors(property, field.node, &format!("{path}.properties[{name}]")));
            }
        }
        if let (Some(items), true) = (node.items, schema["items"].is_object()) {
            errors.extend(self.default_errors(&schema["items"], items, &format!("{path}.items")));
        }
        if let Additional::Each(each) = node.additional {
            let place = format!("{path}.additionalProperties");
            errors.extend(self.default_errors(&schema["additionalProperties"], each, &place));
        }
        errors
    }

    /// The schema of a custom resource whose definition preserves everything.
    pub fn free_form() -> Schema {
        let (mut arena, definitions) = arena_with_meta();
        let mut root = Node {
            r#type: Type::Object,
            additional: Additional::Anything,
            preserve: true,
            lenient: true,
            ..Node::default()
        };
        add_object_fields(&mut arena, &mut root, definitions[OBJECT_META]);
        let root = arena.add(root);
        Schema { arena: Arc::new(arena), root, origin: Origin::Custom, resets: Resets::default() }
    }
}

/// A new arena that holds `ObjectMeta` and what it names.
fn arena_with_meta() -> (Arena, BTreeMap<String, NodeId>) {
    let known = &builtin().definitions;
    let mut arena = Arena::new();
    let mut names = vec![OBJECT_META.to_owned()];
    let mut places = BTreeMap::new();
    while let Some(name) = names.pop() {
        if let Some(schema) = known.get(&name)
            && !places.contains_key(&name)
        {
            places.insert(name, arena.add(Node::default()));
            references(schema, &mut names);
        }
    }
    let mut parser = Parser { arena: &mut arena, definitions: &places, is_builtin: true, errors: Vec::new() };
    for (name, &place) in &places {
        let mut node = parser.read(&known[name], name, false);
        // Metadata passes through Go structs even here.
        let model = builtin().arena.node(builtin().nodes[name]);
        for (name, field) in &mut node.fields {
            field.wire = model.fields[name].wire;
        }
        node.always.clone_from(&model.always);
        *parser.arena.node_mut(place) = node;
    }
    (arena, places)
}

/// Every definition that a schema refers to.
fn references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                names.push(name.to_owned());
            }
            map.values().for_each(|value| references(value, names));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

/// `apiVersion`, `kind` and `metadata`, which need not be said in a schema, and mean the same when they are.
fn add_object_fields(arena: &mut Arena, node: &mut Node, meta: NodeId) {
    for name in ["apiVersion", "kind"] {
        let text = arena.add(Node { r#type: Type::String, ..Node::default() });
        node.fields.entry(name.into()).or_insert_with(|| Field::new(text));
    }
    node.fields.insert("metadata".into(), Field::new(meta));
}
