//! The reference page of a kind, from the very schema that API servers enforce.

use crate::crd::Definition;
use crate::structural::{INT_OR_STRING, LIST_MAP_KEYS, PRESERVE, VALIDATIONS};
use crate::target::TargetKind;
use crate::{VERSION, federated, federation, member, request};
use serde_json::{Value, json};
use std::fmt::Write;

/// Every page: its file name and its text in Markdown.
pub fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("federation.md", page(&federation::definition())),
        ("member.md", page(&member::definition())),
        ("request.md", page(&request::definition())),
        ("federated.md", federated_page()),
    ]
}

/// One page for every generated kind: they differ in the template alone.
fn federated_page() -> String {
    let target = TargetKind {
        name: "deployments.apps".parse().expect("a type"),
        version: "v1".into(),
        kind: "Deployment".into(),
        namespaced: true,
        scale: true,
        short_names: vec!["deploy".into()],
    };
    let template = json!({
        "type": "object",
        PRESERVE: true,
        "properties": {"spec": {"type": "object", PRESERVE: true, "properties": {"replicas": {"type": "integer"}}}},
    });
    let mut definition = federated::definition(&target, template);
    // What a Deployment's spec holds is told by `kubectl explain deployment.spec`.
    definition.spec["properties"]["template"].as_object_mut().expect("a schema node is an object").remove("properties");
    let mut text = page(&definition);
    text.push_str(
        "\n## Other kinds\n\n\
         Every federated type has a kind of its own that is made in the same way: `Federated` before the target's kind, \
         `federated` before its plural, `f` before its short names, and the group of the target (`core` for the core \
         group) before `.types.hansa.dev`. The template has the target's schema, without defaults, status and the \
         target's own rules. A kind without `spec.replicas` has no scale subresource. No kind has a label selector \
         there: an autoscaler that attached to a federated object would count the pods of one cluster.\n\n\
         A `FederatedSecret` has no template. It has `spec.templateFrom.secretRef.name`, the name of a Secret in its \
         own namespace, and neither its template nor its overrides may hold values.\n",
    );
    text
}

/// The reference page of a kind.
pub fn page(definition: &Definition) -> String {
    let mut text = String::new();
    let scope = if definition.namespaced { "namespaced" } else { "cluster-scoped" };
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line("<!-- Generated from the types in crates/api. Do not edit: UPDATE_DOCS=1 cargo test -p hansa-api --test docs -->".into());
    line(format!("# {}\n", definition.kind));
    line(format!("{}\n", definition.description));
    line(format!(
        "`apiVersion: {}/{VERSION}`, {scope}, `kubectl get {}`{}\n",
        definition.group,
        definition.plural,
        match definition.short_names.as_slice() {
            [] => String::new(),
            names => format!(" (short: `{}`)", names.join("`, `")),
        },
    ));
    line("## Columns\n".into());
    line("| Column | What it tells | |\n|---|---|---|".into());
    for column in &definition.columns {
        let wide = if column.priority > 0 { "with `-o wide`" } else { "" };
        line(format!("| {} | {} | {wide} |", column.name, column.description));
    }
    for (part, schema) in [("spec", &definition.spec), ("status", &definition.status)] {
        line(format!("\n## {part}\n"));
        line("| Field | Type | Meaning |\n|---|---|---|".into());
        let mut rows = Vec::new();
        fields(part, schema, &mut rows);
        rows.into_iter().for_each(&mut line);
    }
    let mut rules = Vec::new();
    let whole = json!({
        VALIDATIONS: definition.rules,
        "properties": {"spec": definition.spec, "status": definition.status},
    });
    gather_rules("", &whole, &mut rules);
    if !rules.is_empty() {
        line("\n## Rules\n".into());
        rules.into_iter().for_each(&mut line);
    }
    text
}

fn fields(path: &str, schema: &Value, rows: &mut Vec<String>) {
    let required =
        |field: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == field));
    for (field, node) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{field}");
        let mut meaning = node["description"].as_str().unwrap_or_default().replace("\n\n", " ");
        let mut notes = Vec::new();
        if required(field) {
            notes.push("required".to_owned());
        }
        notes.extend(constraints(node));
        if !notes.is_empty() {
            let _ = write!(meaning, " *({})*", notes.join("; "));
        }
        rows.push(format!("| `{path}` | {} | {} |", type_name(node), escape(meaning.trim())));
        descend(&path, node, rows);
    }
}

fn descend(path: &str, node: &Value, rows: &mut Vec<String>) {
    fields(path, node, rows);
    if let Some(items) = node.get("items") {
        descend(&format!("{path}[]"), items, rows);
    }
    if let Some(values) = node.get("additionalProperties") {
        descend(&format!("{path}.*"), values, rows);
    }
}

fn type_name(node: &Value) -> String {
    if node[INT_OR_STRING] == true {
        return "integer or string".into();
    }
    match node["type"].as_str() {
        Some("array") => format!("list of {}", type_name(&node["items"])),
        Some("object") => match node.get("additionalProperties") {
            Some(values) => format!("map to {}", type_name(values)),
            None => "object".into(),
        },
        Some(name) => match node["format"].as_str() {
            Some("date-time") => "time".into(),
            _ => name.to_owned(),
        },
        None => "anything".into(),
    }
}

fn constraints(node: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(values) = node["enum"].as_array() {
        let values: Vec<String> = values.iter().map(plain).collect();
        notes.push(format!("one of {}", values.join(", ")));
    }
    if let Some(default) = node.get("default").filter(|default| !default.is_object()) {
        notes.push(format!("default {}", plain(default)));
    }
    if let Some(keys) = node[LIST_MAP_KEYS].as_array() {
        let keys: Vec<String> = keys.iter().map(plain).collect();
        notes.push(format!("unique by {}", keys.join(" and ")));
    }
    for (keyword, words) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("maxLength", "characters: at most"),
        ("maxItems", "items: at most"),
        ("maxProperties", "entries: at most"),
        ("pattern", "pattern"),
    ] {
        if let Some(value) = node.get(keyword) {
            notes.push(format!("{words} {}", plain(value)));
        }
    }
    notes
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    }
}

fn gather_rules(path: &str, node: &Value, lines: &mut Vec<String>) {
    for rule in node[VALIDATIONS].as_array().into_iter().flatten() {
        let place = if path.is_empty() { "the object" } else { path };
        lines.push(format!(
            "- `{place}`: {}.\n  `{}`",
            rule["message"].as_str().unwrap_or_default(),
            rule["rule"].as_str().unwrap_or_default()
        ));
    }
    for (field, property) in node["properties"].as_object().into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        gather_rules(&format!("{path}{dot}{field}"), property, lines);
    }
    if let Some(items) = node.get("items") {
        gather_rules(&format!("{path}[]"), items, lines);
    }
}

/// A table's cell must not end early.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}
