//! The one OpenAPI v2 document of all groups and versions, made from those of v3.
//!
//! `kubectl` still reads it: to validate a `kind: List` before it sends the items, to merge custom
//! objects, and where a document of v3 that it has read is older than a kind that it meets.

use serde_json::{Map, Value, json};

const V3: &str = "#/components/schemas/";
const V2: &str = "#/definitions/";

/// The document that says what these documents of v3 say.
pub fn document<'a>(documents: impl IntoIterator<Item = &'a Value>, version: &str) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for document in documents {
        for (path, item) in object(&document["paths"]) {
            paths.insert(path.clone(), path_item(item));
        }
        for (name, schema) in object(&document["components"]["schemas"]) {
            definitions.insert(name.clone(), schema_of(schema));
        }
    }
    json!({
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": version},
        "paths": paths, "definitions": definitions,
    })
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn path_item(item: &Value) -> Value {
    let told = object(item).map(|(method, told)| {
        let told = if method == "parameters" { parameters(told).into() } else { operation(told) };
        (method.clone(), told)
    });
    Value::Object(told.collect())
}

fn operation(operation: &Value) -> Value {
    let mut out: Map<String, Value> = object(operation)
        .filter(|(key, _)| key.starts_with("x-"))
        .map(|(key, told)| (key.clone(), told.clone()))
        .collect();
    let mut parameters = parameters(&operation["parameters"]);
    let media_types = |content: &Value| object(content).map(|(name, _)| json!(name)).collect::<Vec<_>>();
    let schema = |content: &Value| object(content).next().map(|(_, told)| schema_of(&told["schema"]));
    let body = &operation["requestBody"]["content"];
    if let Some(schema) = schema(body) {
        parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
        out.insert("consumes".to_owned(), media_types(body).into());
    }
    let responses = object(&operation["responses"]).map(|(code, response)| {
        let mut told = json!({"description": response["description"]});
        if let Some(schema) = schema(&response["content"]) {
            told["schema"] = schema;
        }
        (code.clone(), told)
    });
    out.insert("responses".to_owned(), Value::Object(responses.collect()));
    let answer = media_types(&operation["responses"]["200"]["content"]);
    if !answer.is_empty() {
        out.insert("produces".to_owned(), answer.into());
    }
    out.insert("parameters".to_owned(), parameters.into());
    Value::Object(out)
}

/// In v2 the schema of a parameter that is no body stands in the parameter.
fn parameters(parameters: &Value) -> Vec<Value> {
    let told = parameters.as_array().into_iter().flatten().map(|parameter| {
        let mut flat = parameter.clone();
        flat["schema"].take();
        let own = object(&flat).filter(|(key, _)| *key != "schema").chain(object(&parameter["schema"]));
        Value::Object(own.map(|(key, told)| (key.clone(), told.clone())).collect())
    });
    told.collect()
}

/// A schema without what v2 does not know: a value may then be more than v2 says, never less.
fn schema_of(schema: &Value) -> Value {
    let reference = schema["$ref"].as_str().or_else(|| match schema["allOf"].as_array().map(Vec::as_slice) {
        Some([only]) => only["$ref"].as_str(),
        _ => None,
    });
    if let Some(name) = reference.and_then(|reference| reference.strip_prefix(V3)) {
        return json!({"$ref": format!("{V2}{name}")});
    }
    let mut out = Map::new();
    for (key, told) in object(schema) {
        let told = match key.as_str() {
            // A parser of v2 takes these for something else, or refuses them.
            "oneOf" | "anyOf" | "allOf" | "not" | "nullable" => continue,
            "items" | "additionalProperties" if told.is_object() => schema_of(told),
            "properties" => {
                Value::Object(object(told).map(|(name, property)| (name.clone(), schema_of(property))).collect())
            }
            _ => told.clone(),
        };
        out.insert(key.clone(), told);
    }
    let is = |key: &str| schema[key] == true;
    if is("x-kubernetes-preserve-unknown-fields") || is("x-kubernetes-int-or-string") {
        out.retain(|key, _| key.starts_with("x-") || ["default", "description"].contains(&key.as_str()));
    } else if !out.contains_key("type") && schema["oneOf"].as_array().is_some_and(|all| all.iter().any(is_text)) {
        // IntOrString and Quantity: v2 has them as text, and every reader of it knows that numbers are meant, too.
        out.insert("type".to_owned(), json!("string"));
    } else if schema["type"] == "array" && !out.contains_key("items") {
        // An array of anything has no form that every reader takes.
        out.remove("type");
    }
    Value::Object(out)
}

fn is_text(schema: &Value) -> bool {
    schema["type"] == "string"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v2_does_not_know_says_less() {
        let schema = json!({
            "type": "object", "nullable": true, "required": ["a"],
            "properties": {
                "a": {"allOf": [{"$ref": "#/components/schemas/io.k8s.A"}], "default": {}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"b": {}}},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "size": {"oneOf": [{"type": "string"}, {"type": "number"}]},
                "list": {"type": "array"},
            },
        });
        let said = json!({
            "type": "object", "required": ["a"],
            "properties": {
                "a": {"$ref": "#/definitions/io.k8s.A"},
                "free": {"x-kubernetes-preserve-unknown-fields": true},
                "port": {"x-kubernetes-int-or-string": true},
                "size": {"type": "string"},
                "list": {},
            },
        });
        assert_eq!(schema_of(&schema), said);
    }

    #[test]
    fn a_patch_has_its_parameters_flat_and_its_body_beside_them() {
        let patch = json!({
            "parameters": [{"name": "force", "in": "query", "schema": {"type": "boolean", "uniqueItems": true}}],
            "requestBody": {"content": {"application/merge-patch+json": {"schema": {"$ref": "#/components/schemas/P"}}}},
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
        });
        let said = json!({
            "parameters": [
                {"name": "force", "in": "query", "type": "boolean", "uniqueItems": true},
                {"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/P"}},
            ],
            "consumes": ["application/merge-patch+json"],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
        });
        assert_eq!(operation(&patch), said);
    }
}
