//! A kind's OpenAPI v3 schema, as an API server publishes it, made into the structural schema of a
//! template.
//!
//! A template is not yet an object: overrides still change it, and each target's strict dry run has
//! the last word. So the shape is kept, and what would refuse or change a template that the target
//! takes is dropped:
//!
//! - Defaults would be written into the user's object and take ownership there, most of them empty
//!   values. Only those that a list-map key needs stay (a Service port's `protocol: TCP`).
//! - A required field that has a default is never missing in the target, and not required here either.
//! - A quantity is a string or a number, which no structural type says: it is left untyped.
//! - Some lists that are maps or sets to server-side apply still take items with equal keys. They
//!   become atomic here, or a Deployment with two `env` entries of one name would be refused.
//! - Enums of built-in kinds know no empty text, which the target takes for its default.
//! - A schema that refers to itself (CustomResourceDefinition) is opaque.
//! - Rules in the Common Expression Language are dropped: they are the target's to judge, and their
//!   cost would count against the generated kind's limit.

use crate::structural::{INT_OR_STRING, LIST_MAP_KEYS, LIST_TYPE, PRESERVE};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The Go packages whose types have schemas of their own in the documents. What a
/// CustomResourceDefinition publishes has none: it is inlined.
const GO_PACKAGES: [&str; 4] =
    ["io.k8s.api.", "io.k8s.apiextensions-apiserver.", "io.k8s.apimachinery.", "io.k8s.kube-aggregator."];

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

/// Lists that are maps by their schema and still take items with equal keys, by type and field.
///
/// Tried on Kubernetes 1.37, list by list; the other list maps refuse equal keys themselves.
const DUPLICATES_TAKEN: [(&str, &str); 8] = [
    ("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec", "variables"),
    ("io.k8s.api.core.v1.Container", "env"),
    ("io.k8s.api.core.v1.Container", "ports"),
    ("io.k8s.api.core.v1.EphemeralContainer", "env"),
    ("io.k8s.api.core.v1.EphemeralContainer", "ports"),
    ("io.k8s.api.core.v1.PodSpec", "hostAliases"),
    ("io.k8s.api.core.v1.PodSpec", "imagePullSecrets"),
    ("io.k8s.api.core.v1.ServiceAccount", "secrets"),
];

/// Keywords that say something about a value, not about its shape.
const VALUE_KEYWORDS: [&str; 14] = [
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
];

/// The schemas of one OpenAPI v3 document.
pub(crate) struct Document<'a> {
    schemas: BTreeMap<&'a str, &'a Value>,
}

/// A reference to a schema that the document lacks.
#[derive(Debug)]
pub(crate) struct BrokenReference(pub String);

impl<'a> Document<'a> {
    pub(crate) fn new(openapi: &'a Value) -> Self {
        let schemas = openapi["components"]["schemas"].as_object();
        Document { schemas: schemas.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)).collect() }
    }

    /// The name and schema of a kind.
    pub(crate) fn kind(&self, group: &str, version: &str, kind: &str) -> Option<(&'a str, &'a Value)> {
        let marked = |schema: &Value| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|marks| {
                marks.iter().any(|mark| mark["group"] == group && mark["version"] == version && mark["kind"] == kind)
            })
        };
        self.schemas.iter().find(|(_, schema)| marked(schema)).map(|(name, schema)| (*name, *schema))
    }

    /// The name and schema that a node refers to, itself or by the `allOf` that lets a description
    /// stand beside a reference.
    pub(crate) fn referred(&self, node: &'a Value) -> Result<Option<(&'a str, &'a Value)>, BrokenReference> {
        let direct = node.get("$ref");
        let wrapped = || match node.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([only]) => only.get("$ref"),
            _ => None,
        };
        let Some(reference) = direct.or_else(wrapped).and_then(Value::as_str) else {
            return Ok(None);
        };
        let name = reference.rsplit('/').next().unwrap_or(reference);
        match self.schemas.get_key_value(name) {
            Some((name, schema)) => Ok(Some((*name, *schema))),
            None => Err(BrokenReference(reference.to_owned())),
        }
    }

    /// Whether a schema can be reached from itself.
    fn is_recursive(&self, name: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<&Value> = self.schemas.get(name).copied().into_iter().collect();
        while let Some(node) = waiting.pop() {
            match node {
                Value::Object(fields) => {
                    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                        let target = reference.rsplit('/').next().unwrap_or(reference);
                        if target == name {
                            return true;
                        }
                        if seen.insert(target) {
                            waiting.extend(self.schemas.get(target).copied());
                        }
                    }
                    waiting.extend(fields.values());
                }
                Value::Array(items) => waiting.extend(items),
                _ => {}
            }
        }
        false
    }

    /// The structural schema of a kind's template: the kind without identity and status.
    pub(crate) fn template(
        &self,
        api_version: &str,
        kind: &str,
        name: &'a str,
        schema: &'a Value,
    ) -> Result<Value, BrokenReference> {
        let mut template = self.convert(Some(name), schema)?;
        let keywords = template.as_object_mut().expect("a converted node");
        keywords.insert("type".into(), "object".into());
        let properties = keywords
            .entry("properties")
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .expect("properties are an object");
        properties.remove("status");
        properties.insert("apiVersion".into(), json!({"type": "string", "enum": [api_version]}));
        properties.insert("kind".into(), json!({"type": "string", "enum": [kind]}));
        properties.insert("metadata".into(), embedded_metadata(false));
        let identity = ["apiVersion", "kind", "metadata", "status"];
        if let Some(Value::Array(required)) = keywords.get_mut("required") {
            required.retain(|field| !identity.iter().any(|known| field == known));
            if required.is_empty() {
                keywords.remove("required");
            }
        }
        Ok(template)
    }

    /// Converts a node; `owner` names the Go type or kind that it is a part of.
    fn convert(&self, owner: Option<&str>, node: &'a Value) -> Result<Value, BrokenReference> {
        if let Some((name, schema)) = self.referred(node)? {
            return match name {
                OBJECT_META => Ok(embedded_metadata(true)),
                RAW_EXTENSION => Ok(json!({"type": "object", PRESERVE: true})),
                _ if self.is_recursive(name) => Ok(opaque(schema)),
                _ => self.convert(Some(name), schema),
            };
        }
        let built_in = owner.is_some_and(is_go_type);
        if node["format"] == "int-or-string" || node[INT_OR_STRING] == true {
            let mut converted = Map::from_iter([(INT_OR_STRING.to_owned(), true.into())]);
            keep(node, &mut converted, &["nullable", "pattern", "maxLength"]);
            return Ok(converted.into());
        }
        let Some(type_) = node["type"].as_str() else {
            // Quantities (a string or a number), arbitrary JSON, and what the document leaves open.
            return Ok(opaque(node));
        };
        let mut converted = Map::from_iter([("type".to_owned(), type_.into())]);
        keep(node, &mut converted, &["nullable"]);
        for keyword in VALUE_KEYWORDS {
            let number = matches!(type_, "integer" | "number");
            let dropped = built_in && (keyword == "enum" || (keyword == "format" && number));
            if !dropped {
                keep(node, &mut converted, &[keyword]);
            }
        }
        match type_ {
            "array" => self.convert_list(owner, node, &mut converted)?,
            "object" => self.convert_object(owner, node, &mut converted)?,
            _ => {}
        }
        Ok(converted.into())
    }

    fn convert_object(
        &self,
        owner: Option<&str>,
        node: &'a Value,
        converted: &mut Map<String, Value>,
    ) -> Result<(), BrokenReference> {
        keep(node, converted, &[PRESERVE, "x-kubernetes-map-type"]);
        let embedded = node["x-kubernetes-embedded-resource"] == true;
        if embedded {
            keep(node, converted, &["x-kubernetes-embedded-resource"]);
        }
        match node.get("additionalProperties") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => {
                converted.insert(PRESERVE.into(), true.into());
            }
            Some(values) => {
                converted.insert("additionalProperties".into(), self.convert(owner, values)?);
            }
        }
        let Some(properties) = node["properties"].as_object() else {
            return Ok(());
        };
        let mut kept = Map::new();
        for (field, property) in properties {
            // An embedded resource has its identity without being told, and may not tell otherwise.
            if embedded && ["apiVersion", "kind", "metadata"].contains(&field.as_str()) {
                continue;
            }
            let mut value = self.convert(owner, property)?;
            if owner.is_some_and(|owner| DUPLICATES_TAKEN.contains(&(owner, field))) {
                make_atomic(&mut value);
            }
            kept.insert(field.clone(), value);
        }
        let needed = |field: &&str| kept.contains_key(*field) && properties[*field].get("default").is_none();
        let required: Vec<&str> = texts(&node["required"]).filter(needed).collect();
        if !required.is_empty() {
            converted.insert("required".into(), required.into());
        }
        if !kept.is_empty() {
            converted.insert("properties".into(), kept.into());
        }
        Ok(())
    }

    fn convert_list(
        &self,
        owner: Option<&str>,
        node: &'a Value,
        converted: &mut Map<String, Value>,
    ) -> Result<(), BrokenReference> {
        let Some(source) = node.get("items") else {
            converted.insert("items".into(), json!({PRESERVE: true}));
            return Ok(());
        };
        let mut items = self.convert(owner, source)?;
        match node[LIST_TYPE].as_str() {
            // Most sets of the built-in kinds take an item twice.
            Some("set") if !owner.is_some_and(is_go_type) && is_scalar(&items) => {
                keep(node, converted, &[LIST_TYPE]);
            }
            Some("map") => {
                let keys: Vec<&str> = texts(&node[LIST_MAP_KEYS]).collect();
                let declared = self.referred(source)?.map_or(source, |(_, schema)| schema);
                if require_keys(&mut items, declared, &keys) {
                    keep(node, converted, &[LIST_TYPE, LIST_MAP_KEYS]);
                }
            }
            _ => {}
        }
        converted.insert("items".into(), items);
        Ok(())
    }
}

/// Whether a schema is that of a Go type, and so of a built-in kind.
fn is_go_type(name: &str) -> bool {
    GO_PACKAGES.iter().any(|package| name.starts_with(package))
}

/// Sees to it that every item has its keys: a key is required or has a default. Says whether that
/// could be done; else the list is atomic.
fn require_keys(items: &mut Value, declared: &Value, keys: &[&str]) -> bool {
    let mut defaults = Vec::new();
    let mut required = Vec::new();
    for key in keys {
        match declared["properties"][*key].get("default") {
            _ if !is_scalar(&items["properties"][*key]) => return false,
            Some(default) if !is_zero(default) => defaults.push((*key, default.clone())),
            _ if texts(&declared["required"]).any(|field| field == *key) => required.push(*key),
            _ => return false,
        }
    }
    for (key, default) in defaults {
        items["properties"][key]["default"] = default;
    }
    if !required.is_empty() {
        let listed = items
            .as_object_mut()
            .expect("items with properties are an object")
            .entry("required")
            .or_insert_with(|| json!([]))
            .as_array_mut()
            .expect("required is a list");
        for key in required {
            if !listed.iter().any(|field| field == key) {
                listed.push(key.into());
            }
        }
        listed.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    true
}

/// The texts of a list.
fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a converted node holds a single value.
fn is_scalar(node: &Value) -> bool {
    matches!(node["type"].as_str(), Some("string" | "integer" | "number" | "boolean"))
}

/// Whether a default is the zero value that Go gives every field.
fn is_zero(default: &Value) -> bool {
    match default {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) => false,
    }
}

/// Takes the keys from a list, and the default that was there for them.
fn make_atomic(list: &mut Value) {
    let Some(keywords) = list.as_object_mut() else {
        return;
    };
    keywords.remove(LIST_TYPE);
    let keys = keywords.remove(LIST_MAP_KEYS);
    for key in keys.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let property = key
            .as_str()
            .and_then(|key| keywords.get_mut("items")?.get_mut("properties")?.get_mut(key))
            .and_then(Value::as_object_mut);
        if let Some(property) = property {
            property.remove("default");
        }
    }
}

/// A node whose content is anything that its type allows.
fn opaque(node: &Value) -> Value {
    match node["type"].as_str() {
        Some("object") => json!({"type": "object", PRESERVE: true}),
        _ => json!({PRESERVE: true, "nullable": true}),
    }
}

fn keep(from: &Value, to: &mut Map<String, Value>, keywords: &[&str]) {
    for keyword in keywords {
        if let Some(value) = from.get(*keyword) {
            to.insert((*keyword).to_owned(), value.clone());
        }
    }
}

/// The metadata of a template: what travels, and the identity that is tolerated when it agrees.
///
/// `creationTimestamp: null` is what Go programs write into every manifest that they make.
fn embedded_metadata(nested: bool) -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let mut metadata = json!({
        "type": "object",
        "properties": {
            "annotations": texts,
            "creationTimestamp": {"type": "string", "nullable": true},
            "labels": texts,
            "name": {"type": "string", "maxLength": 253},
            "namespace": {"type": "string", "maxLength": 63},
        },
    });
    if nested {
        metadata["properties"]["finalizers"] = json!({"type": "array", "items": {"type": "string"}});
    }
    metadata
}

#[cfg(test)]
mod tests;
