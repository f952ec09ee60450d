//! By which keys the lists of a kind are merged, from its OpenAPI document.
//!
//! Overrides merge lists by their keys. For built-in kinds the keys are known; for custom resources
//! the schema tells them. Here they are as the target has them: a list that is atomic in the generated
//! kind (see [`crate::openapi`]) is merged by its keys all the same.

use crate::openapi::{BrokenReference, Document};
use crate::structural::{LIST_MAP_KEYS, LIST_TYPE};
use crate::target::{GenerateError, TargetKind};
use serde_json::Value;
use std::collections::BTreeMap;

/// The keys of every list map in the kind's template.
///
/// A path has the names of the fields from the object's root joined by dots, without the items of the
/// lists on the way: `spec.template.spec.containers.env`. Any key of a map is `*`. Status and
/// metadata are left out, for a template has neither; a schema that refers to itself is followed once.
///
/// # Errors
/// When the document does not describe the kind.
pub fn list_map_keys(target: &TargetKind, openapi: &Value) -> Result<BTreeMap<String, Vec<String>>, GenerateError> {
    let document = Document::new(openapi);
    let (name, schema) = target.schema_in(&document)?;
    let mut walk = Walk { document: &document, path: Vec::new(), inside: vec![name], found: BTreeMap::new() };
    walk.visit(schema).map_err(|broken| target.broken(broken))?;
    Ok(walk.found)
}

struct Walk<'a, 'd> {
    document: &'d Document<'a>,
    path: Vec<&'a str>,
    inside: Vec<&'a str>,
    found: BTreeMap<String, Vec<String>>,
}

impl<'a> Walk<'a, '_> {
    fn visit(&mut self, node: &'a Value) -> Result<(), BrokenReference> {
        if let Some((name, schema)) = self.document.referred(node)? {
            if !self.inside.contains(&name) {
                self.inside.push(name);
                self.visit(schema)?;
                self.inside.pop();
            }
            return Ok(());
        }
        if node[LIST_TYPE] == "map" {
            let keys = node[LIST_MAP_KEYS].as_array().into_iter().flatten();
            self.found.insert(self.path.join("."), keys.filter_map(|key| key.as_str().map(str::to_owned)).collect());
        }
        if let Some(items) = node.get("items") {
            self.visit(items)?;
        }
        if let Some(values @ Value::Object(_)) = node.get("additionalProperties") {
            self.step("*", values)?;
        }
        for (field, property) in node["properties"].as_object().into_iter().flatten() {
            let own_part = !self.path.is_empty() || !["metadata", "status"].contains(&field.as_str());
            if own_part {
                self.step(field, property)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, field: &'a str, node: &'a Value) -> Result<(), BrokenReference> {
        self.path.push(field);
        let done = self.visit(node);
        self.path.pop();
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_found_behind_references_lists_and_maps() {
        let list = |keys: Value, items: Value| json!({"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys});
        let openapi = json!({"components": {"schemas": {
            "org.example.v1.Gateway": {
                "type": "object",
                "x-kubernetes-group-version-kind": [{"group": "example.org", "version": "v1", "kind": "Gateway"}],
                "properties": {
                    "metadata": {"properties": {"ownerReferences": list(json!(["uid"]), json!({}))}},
                    "status": {"properties": {"conditions": list(json!(["type"]), json!({}))}},
                    "spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}]},
                },
            },
            "Spec": {"type": "object", "properties": {
                "listeners": list(json!(["name"]), json!({"type": "object", "properties": {
                    "ports": list(json!(["port", "protocol"]), json!({"type": "object"})),
                    "again": {"$ref": "#/components/schemas/Spec"},
                }})),
                "pools": {"type": "object", "additionalProperties": {"type": "object", "properties": {
                    "hosts": list(json!(["ip"]), json!({"type": "object"})),
                }}},
            }},
        }}});
        let target = TargetKind {
            name: "gateways.example.org".parse().unwrap(),
            version: "v1".into(),
            kind: "Gateway".into(),
            namespaced: true,
            scale: false,
            short_names: vec![],
        };
        let found = list_map_keys(&target, &openapi).unwrap();
        let found: Vec<String> = found.iter().map(|(path, keys)| format!("{path} by {}", keys.join("+"))).collect();
        assert_eq!(
            found,
            ["spec.listeners by name", "spec.listeners.ports by port+protocol", "spec.pools.*.hosts by ip",]
        );
    }
}
