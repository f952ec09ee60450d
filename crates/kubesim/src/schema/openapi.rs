//! The OpenAPI v3 documents that a server offers: `kubectl explain` reads the schemas, `kubectl apply` the merge keys
//! and whether a patch knows `fieldValidation`.

pub mod v2;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::builtin::{Builtin, OBJECT_META, builtin};
use super::kind::Kind;

const SCHEMAS: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// What a document tells of one custom kind.
#[derive(Clone, Copy, Debug)]
pub struct CustomKind<'a> {
    /// The kind's name.
    pub kind: &'a str,
    /// The kind of a list.
    pub list_kind: &'a str,
    /// The resource name in paths.
    pub plural: &'a str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// `openAPIV3Schema`; null when the definition has none.
    pub schema: &'a Value,
    /// Whether there is a `status` subresource.
    pub status: bool,
    /// Whether there is a `scale` subresource.
    pub scale: bool,
}

/// The document of a group and version of built-in kinds; `None` when there is none.
pub fn builtin_document(group: &str, version: &str) -> Option<Value> {
    let known = builtin();
    let version_facts =
        known.groups.iter().find(|one| one.name == group)?.versions.iter().find(|one| one.name == version)?;
    let mut document = Document::new(known, group, version, "Kubernetes", &known.kubernetes.git_version);
    for kind in &version_facts.kinds {
        document.add_builtin(kind);
    }
    Some(document.finish())
}

/// The document of a group and version of custom kinds.
pub fn custom_document(group: &str, version: &str, kinds: &[CustomKind<'_>]) -> Value {
    let mut document = Document::new(builtin(), group, version, "Kubernetes CRD Swagger", "v0.1.0");
    for kind in kinds {
        document.add_custom(kind);
    }
    document.finish()
}

/// The verbs of a resource whose every verb is offered.
const ALL_VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

struct Document<'a> {
    known: &'a Builtin,
    group: &'a str,
    version: &'a str,
    info: Value,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    /// Definitions still to be added, by name.
    wanted: BTreeSet<String>,
}

/// What an operation is about.
struct Subject<'a> {
    kind: Value,
    schema: Option<&'a str>,
    custom: bool,
}

impl<'a> Document<'a> {
    fn new(known: &'a Builtin, group: &'a str, version: &'a str, title: &str, title_version: &str) -> Document<'a> {
        let wanted = ["DeleteOptions", "Patch", "Status"].map(|name| format!("{META}{name}"));
        let info = json!({"title": title, "version": title_version});
        Document { known, group, version, info, paths: Map::new(), schemas: Map::new(), wanted: wanted.into() }
    }

    fn add_builtin(&mut self, kind: &Kind) {
        let key =
            |one: &Value| (one["group"] == kind.group && one["version"] == kind.version).then(|| one["kind"].clone());
        let mut name = None;
        for (definition, schema) in &self.known.definitions {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array().map_or(&[][..], Vec::as_slice);
            for found in kinds.iter().filter_map(key) {
                if found == kind.kind {
                    name = Some(definition.clone());
                } else if found != kind.list_kind {
                    continue;
                }
                self.wanted.insert(definition.clone());
            }
        }
        let subject = Subject { kind: self.named(&kind.kind), schema: name.as_deref(), custom: false };
        let verbs: Vec<&str> = kind.verbs.iter().map(String::as_str).collect();
        self.add_resource(&kind.plural, kind.namespaced, &verbs, &subject);
        for one in &kind.subresources.listed {
            let answer = json!({"group": one.group, "version": one.version, "kind": one.kind});
            let path = format!("{}/{{name}}/{}", self.base(&kind.plural, kind.namespaced), one.name);
            let verbs: Vec<&str> = one.verbs.iter().map(String::as_str).collect();
            let subject =
                Subject { kind: answer, schema: subject.schema.filter(|_| one.kind == kind.kind), custom: false };
            self.add_path(path, &verbs, &subject, true);
        }
    }

    fn add_custom(&mut self, kind: &CustomKind<'_>) {
        let mut host: Vec<&str> = self.group.split('.').collect();
        host.reverse();
        let name = format!("{}.{}.{}", host.join("."), self.version, kind.kind);
        let list = format!("{}.{}.{}", host.join("."), self.version, kind.list_kind);
        let mut schema = if kind.schema.is_object() { kind.schema.clone() } else { json!({"type": "object"}) };
        self.complete(&mut schema);
        schema["x-kubernetes-group-version-kind"] = json!([self.named(kind.kind)]);
        self.schemas.insert(name.clone(), schema);
        let items = json!({
            "type": "object",
            "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "items": {"type": "array", "items": {"$ref": format!("{SCHEMAS}{name}")}},
                "kind": {"type": "string"},
                "metadata": {"allOf": [{"$ref": format!("{SCHEMAS}{META}ListMeta")}]},
            },
            "x-kubernetes-group-version-kind": [self.named(kind.list_kind)],
        });
        self.schemas.insert(list, items);
        self.wanted.insert(format!("{META}ListMeta"));
        let subject = Subject { kind: self.named(kind.kind), schema: Some(&name), custom: true };
        self.add_resource(kind.plural, kind.namespaced, &ALL_VERBS, &subject);
        for (offered, subresource) in [(kind.status, "status"), (kind.scale, "scale")] {
            if offered {
                let path = format!("{}/{{name}}/{subresource}", self.base(kind.plural, kind.namespaced));
                self.add_path(path, &["get", "patch", "update"], &subject, true);
            }
        }
    }

    /// Adds what every object has, here and wherever an object is embedded.
    fn complete(&mut self, schema: &mut Value) {
        fn embedded(schema: &mut Value) {
            if let Some(map) = schema.as_object_mut() {
                map.values_mut().for_each(embedded);
            }
            if schema["x-kubernetes-embedded-resource"] == true {
                add_object_fields(schema);
            }
        }
        embedded(schema);
        add_object_fields(schema);
        self.wanted.insert(OBJECT_META.to_owned());
    }

    fn named(&self, kind: &str) -> Value {
        json!({"group": self.group, "version": self.version, "kind": kind})
    }

    /// The path of a resource's collection.
    fn base(&self, plural: &str, namespaced: bool) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let within = if namespaced { "/namespaces/{namespace}" } else { "" };
        format!("{root}/{}{within}/{plural}", self.version)
    }

    fn add_resource(&mut self, plural: &str, namespaced: bool, verbs: &[&str], subject: &Subject<'_>) {
        let collection = self.base(plural, namespaced);
        if namespaced && verbs.contains(&"list") {
            self.add_path(self.base(plural, false), &["list"], subject, false);
        }
        self.add_path(format!("{collection}/{{name}}"), verbs, subject, true);
        self.add_path(collection, verbs, subject, false);
    }

    /// Adds one path: that of an object, or that of a collection.
    fn add_path(&mut self, path: String, verbs: &[&str], subject: &Subject<'_>, of_object: bool) {
        let mut operations = Map::new();
        for &verb in verbs {
            let (method, action) = match (verb, of_object) {
                ("get", true) => ("get", "get"),
                ("update", true) => ("put", "put"),
                ("patch", true) => ("patch", "patch"),
                ("delete", true) => ("delete", "delete"),
                ("list", false) => ("get", "list"),
                ("create", false) => ("post", "post"),
                ("create", true) if path.matches('/').count() > 6 => ("post", "connect"),
                ("deletecollection", false) => ("delete", "deletecollection"),
                _ => continue,
            };
            operations.insert(method.to_owned(), operation(method, action, subject));
        }
        let in_path = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
        let parameters: Vec<Value> = ["name", "namespace"]
            .into_iter()
            .filter(|name| path.contains(&format!("{{{name}}}")))
            .map(in_path)
            .collect();
        if !parameters.is_empty() {
            operations.insert("parameters".to_owned(), parameters.into());
        }
        self.paths.insert(path, Value::Object(operations));
    }

    fn finish(mut self) -> Value {
        while let Some(name) = self.wanted.pop_first() {
            if self.schemas.contains_key(&name) {
                continue;
            }
            if let Some(schema) = self.known.definitions.get(&name) {
                let schema = spelled_out(schema, &mut self.wanted);
                self.schemas.insert(name, schema);
            }
        }
        json!({"openapi": "3.0.0", "info": self.info, "paths": self.paths, "components": {"schemas": self.schemas}})
    }
}

fn operation(method: &str, action: &str, subject: &Subject<'_>) -> Value {
    let names: &[&str] = match (method, action) {
        ("patch", _) => &["dryRun", "fieldManager", "fieldValidation", "force"],
        ("post" | "put", _) => &["dryRun", "fieldManager", "fieldValidation"],
        ("delete", _) => &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"],
        ("get", "list") => &["continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "watch"],
        _ => &["resourceVersion"],
    };
    let parameter = |name: &&str| {
        let kind = match *name {
            "force" | "orphanDependents" | "watch" => "boolean",
            "gracePeriodSeconds" | "limit" => "integer",
            _ => "string",
        };
        json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
    };
    let mut out = json!({
        "parameters": names.iter().map(parameter).collect::<Vec<_>>(),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": subject.kind,
    });
    let content = |types: &[&str], schema: &str| {
        let reference = json!({"schema": {"$ref": format!("{SCHEMAS}{schema}")}});
        Value::Object(types.iter().map(|one| ((*one).to_owned(), reference.clone())).collect())
    };
    let both = ["application/json", "application/yaml"];
    let object = subject.schema.map(|schema| content(&both, schema));
    out["responses"] = json!({"200": {"description": "OK"}});
    if let Some(object) = object.clone().filter(|_| action != "list") {
        out["responses"]["200"]["content"] = object;
    }
    let body = match method {
        "patch" => {
            let mut types =
                vec!["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
            if !subject.custom {
                types.push("application/strategic-merge-patch+json");
            }
            Some(content(&types, &format!("{META}Patch")))
        }
        "delete" => Some(content(&both, &format!("{META}DeleteOptions"))),
        "post" | "put" => object,
        _ => None,
    };
    if let Some(body) = body {
        out["requestBody"] = json!({"content": body});
    }
    out
}

fn add_object_fields(schema: &mut Value) {
    schema["properties"]["apiVersion"] = json!({"type": "string"});
    schema["properties"]["kind"] = json!({"type": "string"});
    schema["properties"]["metadata"] = json!({"allOf": [{"$ref": format!("{SCHEMAS}{OBJECT_META}")}]});
}

/// A stored definition with its references as OpenAPI writes them; notes what it refers to.
fn spelled_out(schema: &Value, wanted: &mut BTreeSet<String>) -> Value {
    match schema {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                if key == "$ref"
                    && let Some(name) = value.as_str()
                {
                    wanted.insert(name.to_owned());
                    let reference = json!({"$ref": format!("{SCHEMAS}{name}")});
                    if map.len() == 1 {
                        return reference;
                    }
                    out.insert("allOf".to_owned(), json!([reference]));
                } else {
                    out.insert(key.clone(), spelled_out(value, wanted));
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(|item| spelled_out(item, wanted)).collect(),
        other => other.clone(),
    }
}
