//! Structural schemas from Rust types.
//!
//! A CustomResourceDefinition wants a subset of OpenAPI v3 that states every type once and outside
//! of logical junctors ("Specifying a structural schema" in the Kubernetes documentation). What
//! `schemars` makes of a type is close: references are inlined by it, and the rest is mended here.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Marks a node whose content is kept whatever it is.
pub(crate) const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
/// Says how a list is merged: `atomic`, `set` or `map`.
pub(crate) const LIST_TYPE: &str = "x-kubernetes-list-type";
/// Names the fields that tell the items of a `map` list apart.
pub(crate) const LIST_MAP_KEYS: &str = "x-kubernetes-list-map-keys";
/// Marks a node that is an integer or a string.
pub(crate) const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
/// Rules in the Common Expression Language.
pub(crate) const VALIDATIONS: &str = "x-kubernetes-validations";

/// The structural schema of a type, descriptions included.
pub fn structural_schema<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    convert(generator.into_root_schema_for::<T>().to_value())
}

/// A rule in the Common Expression Language, for `x-kubernetes-validations`.
pub(crate) fn rule(expression: &str, message: &str) -> Value {
    json!({"rule": expression, "message": message})
}

/// Adds a rule to a schema node.
pub(crate) fn add_rule(node: &mut Value, rule: Value) {
    let rules = object(node).entry(VALIDATIONS).or_insert(json!([]));
    rules.as_array_mut().expect("rules are a list").push(rule);
}

/// The node at a path of field names; `[]` steps into the items of a list, `{}` into the values of a
/// map.
///
/// # Panics
/// When there is no such node: paths are literals beside the types that they name.
pub(crate) fn node<'a>(schema: &'a mut Value, path: &[&str]) -> &'a mut Value {
    path.iter().fold(schema, |node, step| {
        let next = match *step {
            "[]" => node.get_mut("items"),
            "{}" => node.get_mut("additionalProperties"),
            field => node.get_mut("properties").and_then(|properties| properties.get_mut(field)),
        };
        next.unwrap_or_else(|| panic!("the schema has no {step} in {path:?}"))
    })
}

/// Adds keywords to a schema node, in place of those that it has.
pub(crate) fn limit(node: &mut Value, keywords: Value) {
    let Value::Object(keywords) = keywords else {
        panic!("keywords are an object");
    };
    object(node).extend(keywords);
}

/// The keywords of a schema node.
pub(crate) fn object(node: &mut Value) -> &mut Map<String, Value> {
    node.as_object_mut().expect("a schema node is an object")
}

fn convert(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else {
        // `true`: any value.
        return json!({PRESERVE: true});
    };
    unwrap_option(&mut schema);
    gather_variants(&mut schema);
    for keyword in ["$schema", "title"] {
        schema.remove(keyword);
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        let only = types.pop().expect("a type besides null");
        assert!(types.is_empty(), "a structural node has one type");
        schema.insert("type".into(), only);
    }
    if schema.remove("uniqueItems") == Some(Value::Bool(true)) {
        schema.entry(LIST_TYPE).or_insert("set".into());
    }
    let unsigned = matches!(schema.get("format"), Some(Value::String(format)) if format.starts_with("uint"));
    if unsigned {
        schema.insert("format".into(), "int64".into());
    }
    match schema.remove("additionalProperties") {
        // Unknown fields are pruned, and refused by strict clients, without being told.
        None | Some(Value::Bool(false)) => {}
        Some(values) => {
            schema.insert("additionalProperties".into(), convert(values));
        }
    }
    if schema.get("default").is_some_and(says_nothing) {
        schema.remove("default");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = reflow(text);
    }
    if let Some(items) = schema.remove("items") {
        schema.insert("items".into(), convert(items));
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            *property = convert(property.take());
        }
    }
    let typed = schema.contains_key("type") || schema.contains_key(INT_OR_STRING);
    if !typed {
        schema.insert(PRESERVE.into(), true.into());
    }
    Value::Object(schema)
}

/// `anyOf: [T, null]` becomes T: what is optional is left out, not null.
fn unwrap_option(schema: &mut Map<String, Value>) {
    let Some(Value::Array(mut branches)) = schema.remove("anyOf") else {
        return;
    };
    branches.retain(|branch| branch.get("type") != Some(&json!("null")));
    let Some(Value::Object(only)) = branches.pop() else {
        panic!("a type in anyOf");
    };
    assert!(branches.is_empty(), "a structural node is one type");
    for (keyword, value) in only {
        // The words at the field come before the words at its type.
        schema.entry(keyword).or_insert(value);
    }
}

/// The variants of an enum, each with its words, become one `enum` and one description.
fn gather_variants(schema: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = schema.remove("oneOf") else {
        return;
    };
    let mut names = Vec::new();
    let mut words = Vec::new();
    for branch in &branches {
        let description = branch.get("description").and_then(Value::as_str);
        let values: Vec<Value> = match (branch.get("const"), branch.get("enum")) {
            (Some(value), _) => vec![value.clone()],
            (None, Some(Value::Array(values))) => values.clone(),
            _ => panic!("only enums without data have a structural schema: {branch}"),
        };
        if let (Some(description), Some(name)) = (description, values[0].as_str()) {
            words.push(format!("{name}: {}", reflow(description)));
        }
        names.extend(values);
    }
    schema.insert("type".into(), "string".into());
    schema.insert("enum".into(), names.into());
    let own = schema.get("description").and_then(Value::as_str).map(reflow);
    let description: Vec<String> = own.into_iter().chain(words).collect();
    if !description.is_empty() {
        schema.insert("description".into(), description.join(" ").into());
    }
}

/// Whether a default is what a missing field means anyway. Such defaults would only add noise to
/// stored objects, and ownership to whoever wrote them.
fn says_nothing(default: &Value) -> bool {
    match default {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
        Value::Bool(true) => false,
    }
}

/// Joins the lines of a docstring; paragraphs stay apart.
fn reflow(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde::{Deserialize, Serialize};
    use std::collections::{BTreeMap, BTreeSet};

    fn check<T: JsonSchema>(expected: Expect) {
        expected.assert_eq(&serde_json::to_string_pretty(&structural_schema::<T>()).unwrap());
    }

    /// A colour.
    #[derive(Serialize, Deserialize, JsonSchema, Default)]
    enum Colour {
        /// As blood.
        #[default]
        Red,
        /// As the
        /// sky.
        Blue,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Sample {
        /// May be missing.
        #[serde(default)]
        colour: Option<Colour>,
        #[serde(default)]
        always: Colour,
        count: u32,
        maybe: Option<i64>,
        #[serde(default)]
        names: BTreeSet<String>,
        labels: BTreeMap<String, String>,
        anything: Option<Value>,
        children: Vec<Leaf>,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Leaf {
        #[serde(default = "ten")]
        percent: u8,
    }

    fn ten() -> u8 {
        10
    }

    #[test]
    fn every_node_has_one_type_and_no_junctor() {
        check::<Sample>(expect![[r#"
            {
              "properties": {
                "always": {
                  "default": "Red",
                  "description": "A colour. Red: As blood. Blue: As the sky.",
                  "enum": [
                    "Red",
                    "Blue"
                  ],
                  "type": "string"
                },
                "anything": {
                  "x-kubernetes-preserve-unknown-fields": true
                },
                "children": {
                  "items": {
                    "properties": {
                      "percent": {
                        "default": 10,
                        "format": "int64",
                        "maximum": 255,
                        "minimum": 0,
                        "type": "integer"
                      }
                    },
                    "type": "object"
                  },
                  "type": "array"
                },
                "colour": {
                  "description": "May be missing. Red: As blood. Blue: As the sky.",
                  "enum": [
                    "Red",
                    "Blue"
                  ],
                  "type": "string"
                },
                "count": {
                  "format": "int64",
                  "minimum": 0,
                  "type": "integer"
                },
                "labels": {
                  "additionalProperties": {
                    "type": "string"
                  },
                  "type": "object"
                },
                "maybe": {
                  "format": "int64",
                  "type": "integer"
                },
                "names": {
                  "items": {
                    "type": "string"
                  },
                  "type": "array",
                  "x-kubernetes-list-type": "set"
                }
              },
              "required": [
                "count",
                "labels",
                "children"
              ],
              "type": "object"
            }"#]]);
    }
}
