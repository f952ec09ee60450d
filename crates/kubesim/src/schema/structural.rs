//! What a schema of a CustomResourceDefinition must be: structural (KEP-1050), so that every field has one type and
//! unknown ones can be told.

use serde_json::{Map, Value, json};

use super::error::FieldError;

/// Where a schema stands; what a missing type is called depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Keywords of JSON Schema that Kubernetes does not take.
const UNSUPPORTED: [&str; 6] = ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// Keywords that only the structure itself may have, not an alternative within it, and how the refusal puts it.
const STRUCTURE_ONLY: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// Everything that keeps a schema from being one, by the place in it.
pub(crate) fn check(schema: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_node(schema, Level::Root, "openAPIV3Schema", &mut errors);
    check_covered(schema, schema, "openAPIV3Schema", "openAPIV3Schema", &mut errors);
    errors.sort_by_key(ToString::to_string);
    errors.dedup();
    errors
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema[name].as_str().unwrap_or_default()
}

fn is_set(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn alternatives<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema[name].as_array().map_or(&[], Vec::as_slice)
}

fn check_node(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    check_type(schema, level, path, errors);
    check_keywords(schema, path, errors);
    check_list(schema, path, errors);
    check_alternatives(schema, path, errors);
    check_rules(schema, path, errors);
    if text(schema, "type") == "array" && schema["items"].is_null() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    match &schema["items"] {
        Value::Null => {}
        Value::Array(_) => {
            let detail = "items must be a schema object and not an array";
            errors.push(FieldError::forbidden(format!("{path}.items"), detail));
        }
        items => check_node(items, Level::Item, &format!("{path}.items"), errors),
    }
    for (name, property) in properties(schema) {
        let child = format!("{path}.properties[{name}]");
        if name == "metadata" && (level == Level::Root || is_set(schema, "x-kubernetes-embedded-resource")) {
            check_metadata(property, level, &child, errors);
        } else {
            check_node(property, Level::Field, &child, errors);
        }
    }
    check_additional(schema, level, path, errors);
}

fn check_type(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let field = || format!("{path}.type");
    let found = text(schema, "type");
    let typeless = is_set(schema, "x-kubernetes-int-or-string")
        || is_set(schema, "x-kubernetes-preserve-unknown-fields")
        || schema["$ref"].is_string();
    let mut must_be = |wanted: &str, why: &str| {
        let detail = format!("must be {wanted} {why}");
        errors.push(match found {
            "" => FieldError::required(field(), &detail),
            _ => FieldError::invalid(field(), &schema["type"], &detail),
        });
    };
    if is_set(schema, "x-kubernetes-embedded-resource") && found != "object" {
        must_be("object", "if x-kubernetes-embedded-resource is true");
    } else if found.is_empty() && !typeless {
        let place = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        errors.push(FieldError::required(field(), &format!("must not be empty {place}")));
    } else if level == Level::Root && !found.is_empty() && found != "object" {
        must_be("object", "at the root");
    }
    if !matches!(found, "" | "array" | "boolean" | "integer" | "number" | "object" | "string") {
        if found == "null" {
            errors.push(FieldError::forbidden(field(), "type cannot be set to null, use nullable as an alternative"));
        }
        let supported = ["array", "boolean", "integer", "number", "object", "string"];
        errors.push(FieldError::not_supported(field(), &schema["type"], &supported));
    }
    let map_type = text(schema, "x-kubernetes-map-type");
    if !map_type.is_empty() {
        if found != "object" {
            let detail = "must be object if x-kubernetes-map-type is specified";
            errors.push(match found {
                "" => FieldError::required(field(), detail),
                _ => FieldError::invalid(field(), &schema["type"], detail),
            });
        }
        if !matches!(map_type, "atomic" | "granular") {
            let supported = ["atomic", "granular"];
            errors.push(FieldError::not_supported(
                format!("{path}.x-kubernetes-map-type"),
                &json!(map_type),
                &supported,
            ));
        }
    }
}

fn check_keywords(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for name in UNSUPPORTED {
        if schema.get(name).is_some_and(|value| !value.is_null()) {
            errors.push(FieldError::forbidden(format!("{path}.{name}"), &format!("{name} is not supported")));
        }
    }
    if is_set(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), detail));
    }
    let preserve = "x-kubernetes-preserve-unknown-fields";
    if schema[preserve] == false {
        errors.push(FieldError::invalid(format!("{path}.{preserve}"), &json!(false), "must be true or undefined"));
    }
    if is_set(schema, "x-kubernetes-int-or-string") {
        for name in [preserve, "x-kubernetes-embedded-resource"].into_iter().filter(|name| is_set(schema, name)) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(format!("{path}.{name}"), &json!(true), detail));
        }
    }
    let bare = schema["properties"].as_object().is_none_or(Map::is_empty);
    if is_set(schema, "x-kubernetes-embedded-resource") && !is_set(schema, preserve) && bare {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(format!("{path}.properties"), detail));
    }
}

fn check_additional(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let additional = &schema["additionalProperties"];
    if additional.is_null() {
        return;
    }
    let field = format!("{path}.additionalProperties");
    if level == Level::Root {
        errors.push(FieldError::forbidden(&*field, "must not be used at the root"));
    }
    if is_set(schema, "x-kubernetes-embedded-resource") {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&*field, detail));
    }
    let named = schema["properties"].as_object().is_some_and(|fields| !fields.is_empty());
    if named && (additional.is_object() || *additional == false) {
        errors.push(FieldError::forbidden(&*field, "additionalProperties and properties are mutual exclusive"));
    }
    if additional.is_object() {
        check_node(additional, Level::Field, &field, errors);
    }
}

/// Metadata is what it is; of the root's, only `name` and `generateName` may be restricted.
fn check_metadata(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    if text(schema, "type") != "object" {
        errors.push(FieldError::invalid(format!("{path}.type"), &json!(text(schema, "type")), "must be object"));
    }
    let foreign = |name: &String| !matches!(name.as_str(), "type" | "properties" | "description");
    let restricts_more = schema.as_object().is_some_and(|fields| fields.keys().any(foreign))
        || properties(schema).any(|(name, _)| !matches!(name.as_str(), "name" | "generateName"));
    if level == Level::Root && restricts_more {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(path, detail));
    }
}

fn check_list(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let list_type = text(schema, "x-kubernetes-list-type");
    let keys: Vec<&str> = alternatives(schema, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str).collect();
    let (list_field, keys_field) =
        (format!("{path}.x-kubernetes-list-type"), format!("{path}.x-kubernetes-list-map-keys"));
    if !keys.is_empty() && list_type != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list_type {
            "" => FieldError::required(&*list_field, detail),
            _ => FieldError::invalid(&*list_field, &json!(list_type), detail),
        });
    }
    if list_type.is_empty() {
        return;
    }
    if !matches!(list_type, "atomic" | "set" | "map") {
        errors.push(FieldError::not_supported(&*list_field, &json!(list_type), &["atomic", "set", "map"]));
    }
    if text(schema, "type") != "array" {
        let detail = "must be array if x-kubernetes-list-type is specified";
        errors.push(match text(schema, "type") {
            "" => FieldError::required(format!("{path}.type"), detail),
            found => FieldError::invalid(format!("{path}.type"), &json!(found), detail),
        });
    }
    let items = &schema["items"];
    if matches!(list_type, "set" | "map") && is_set(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(format!("{path}.items.nullable"), &detail));
    }
    if list_type == "set" {
        let (name, fits) = match text(items, "type") {
            "array" => ("x-kubernetes-list-type", matches!(text(items, "x-kubernetes-list-type"), "" | "atomic")),
            "object" => ("x-kubernetes-map-type", text(items, "x-kubernetes-map-type") == "atomic"),
            _ => ("", true),
        };
        if !fits {
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            errors.push(FieldError::invalid(format!("{path}.items.{name}"), &items[name], detail));
        }
    }
    if list_type == "map" {
        check_map_keys(items, &keys, path, &keys_field, errors);
    }
}

fn check_map_keys(items: &Value, keys: &[&str], path: &str, keys_field: &str, errors: &mut Vec<FieldError>) {
    if keys.is_empty() {
        errors.push(FieldError::required(keys_field, "must not be empty if x-kubernetes-list-type is map"));
    }
    if items.is_null() {
        errors
            .push(FieldError::required(format!("{path}.items"), "must have a schema if x-kubernetes-list-type is map"));
        return;
    }
    if text(items, "type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(format!("{path}.items.type"), &json!(text(items, "type")), detail));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        let field = format!("{path}.items.properties[{key}]");
        let property = &items["properties"][*key];
        if property.is_null() {
            errors.push(FieldError::invalid(keys_field, &json!(keys), "entries must all be names of item properties"));
            continue;
        }
        if matches!(text(property, "type"), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(format!("{field}.type"), &items["type"], detail));
        }
        if !alternatives(items, "required").contains(&json!(key)) && property.get("default").is_none() {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(format!("{field}.default"), detail));
        }
        if is_set(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(format!("{field}.nullable"), detail));
        }
        if keys[..index].contains(key) {
            errors.push(FieldError::invalid(keys_field, &json!(keys), "must not contain duplicate entries"));
        }
    }
}

/// `x-kubernetes-validations` are kept, not evaluated; their form is checked all the same.
fn check_rules(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (index, rule) in alternatives(schema, "x-kubernetes-validations").iter().enumerate() {
        let field = format!("{path}.x-kubernetes-validations[{index}]");
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if expression.is_empty() {
            errors.push(FieldError::required(format!("{field}.rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(
                format!("{field}.message"),
                &json!(message),
                "must be non-empty if specified",
            ));
        } else if message.trim().contains('\n') {
            errors.push(FieldError::invalid(
                format!("{field}.message"),
                &json!(message),
                "must not contain line breaks",
            ));
        } else if expression.contains('\n') && message.is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(format!("{field}.message"), detail));
        }
        let reasons = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
        if rule["reason"].as_str().is_some_and(|reason| !reasons.contains(&reason)) {
            errors.push(FieldError::not_supported(format!("{field}.reason"), &rule["reason"], &reasons));
        }
    }
}

/// Alternatives constrain values; they cannot add structure.
fn check_alternatives(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    // The one pattern that may name types: an integer or a string.
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let int_or_string = is_set(schema, "x-kubernetes-int-or-string");
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && int_or_string && schema["anyOf"] == either {
            continue;
        }
        for (index, one) in alternatives(schema, name).iter().enumerate() {
            let field = format!("{path}.{name}[{index}]");
            if name == "allOf" && index == 0 && int_or_string && one["anyOf"] == either {
                continue;
            }
            check_alternative(one, &field, errors);
        }
    }
    if schema["not"].is_object() {
        check_alternative(&schema["not"], &format!("{path}.not"), errors);
    }
}

fn check_alternative(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (name, detail) in STRUCTURE_ONLY {
        let said = match &schema[name] {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        };
        if said {
            errors.push(FieldError::forbidden(format!("{path}.{name}"), detail));
        }
    }
    check_alternatives(schema, path, errors);
    if schema["items"].is_object() {
        check_alternative(&schema["items"], &format!("{path}.items"), errors);
    }
    for (name, property) in properties(schema) {
        let field = format!("{path}.properties[{name}]");
        if name == "metadata" {
            errors.push(FieldError::forbidden(&*field, "must not be specified in a nested context"));
        }
        check_alternative(property, &field, errors);
    }
}

/// Whatever the root's alternatives constrain must stand in the structure too. `nested` is the part of an alternative
/// that speaks of the same place as `structure`; at the start both are the schema itself.
fn check_covered(structure: &Value, nested: &Value, path: &str, nested_path: &str, errors: &mut Vec<FieldError>) {
    let mut descend = |name: String, one: &Value| {
        let field = format!("{nested_path}.{name}");
        let mut cover = |known: Option<&Value>, part: &Value, name: &str| {
            let (place, here) = (format!("{path}.{name}"), format!("{field}.{name}"));
            match known {
                Some(known) => check_covered(known, part, &place, &here, errors),
                None => errors.push(FieldError::required(place, &format!("because it is defined in {here}"))),
            }
        };
        for (name, property) in properties(one) {
            cover(structure["properties"].get(name), property, &format!("properties[{name}]"));
        }
        if one["items"].is_object() {
            cover(structure.get("items"), &one["items"], "items");
        }
        check_covered(structure, one, path, &field, errors);
    };
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, one) in alternatives(nested, name).iter().enumerate() {
            descend(format!("{name}[{index}]"), one);
        }
    }
    if nested["not"].is_object() {
        descend("not".to_owned(), &nested["not"]);
    }
}
