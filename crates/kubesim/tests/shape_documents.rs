//! The facts about built-in kinds, and the OpenAPI documents made of them.

use std::collections::BTreeSet;

use hansa_kubesim::schema::openapi::{CustomKind, builtin_document, custom_document};
use hansa_kubesim::schema::{Schema, builtin};
use serde_json::{Value, json};

#[test]
fn every_kind_that_applications_use_is_known() {
    for (group, kind, plural, short, namespaced) in [
        ("", "Pod", "pods", "po", true),
        ("", "Service", "services", "svc", true),
        ("", "Namespace", "namespaces", "ns", false),
        ("apps", "Deployment", "deployments", "deploy", true),
        ("apps", "StatefulSet", "statefulsets", "sts", true),
        ("batch", "CronJob", "cronjobs", "cj", true),
        ("networking.k8s.io", "Ingress", "ingresses", "ing", true),
        ("policy", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", true),
        ("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "crd", false),
    ] {
        let found = builtin().resource(group, "v1", plural).unwrap_or_else(|| panic!("{plural} is served"));
        assert_eq!((found.kind.as_str(), found.namespaced), (kind, namespaced));
        assert!(found.short_names.iter().any(|name| name == short), "{plural}: {:?}", found.short_names);
        assert!(found.verbs.iter().any(|verb| verb == "watch"), "{plural}");
    }
    let deployment = builtin().kind("apps", "v1", "Deployment").expect("a built-in kind");
    assert_eq!(
        (deployment.api_version().as_str(), deployment.group_resource().as_str()),
        ("apps/v1", "deployments.apps")
    );
    assert!(deployment.subresources.status);
    let scale = deployment.subresources.scale.as_ref().expect("Deployments scale");
    assert_eq!((scale.spec_path.as_str(), scale.status_path.as_str()), (".spec.replicas", ".status.replicas"));
    assert!(builtin().definition("io.k8s.api.autoscaling.v1.Scale").is_some());
}

/// Every reference within a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|child| references(child, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[track_caller]
fn assert_whole(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let name = reference.strip_prefix("#/components/schemas/").expect("references lead to schemas");
        assert!(document["components"]["schemas"][name].is_object(), "{name} is part of the document");
    }
}

#[test]
fn built_in_documents_are_whole_and_tell_clients_what_they_ask() {
    for group in &builtin().groups {
        for version in &group.versions {
            let document = builtin_document(&group.name, &version.name).expect("every served version has a document");
            assert_whole(&document);
            for kind in &version.kinds {
                let known = document["components"]["schemas"].as_object().expect("schemas").values().any(|schema| {
                    let kinds = schema["x-kubernetes-group-version-kind"].as_array();
                    kinds.is_some_and(|kinds| {
                        kinds.iter().any(|one| one["kind"] == kind.kind && one["version"] == version.name)
                    })
                });
                assert!(known, "{} {}", version.name, kind.kind);
            }
        }
    }
    assert_eq!(builtin_document("none", "v1"), None);

    let apps = builtin_document("apps", "v1").expect("a served version");
    // What kubectl looks for: whether a patch knows fieldValidation, the kind of a path, merge keys.
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(patch["parameters"].as_array().expect("parameters").iter().any(|one| one["name"] == "fieldValidation"));
    let list = &apps["paths"]["/apis/apps/v1/deployments"]["get"];
    assert_eq!(list["x-kubernetes-action"], "list");
    let spec = &apps["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(spec["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(spec["x-kubernetes-list-map-keys"], json!(["name"]));
}

#[test]
fn custom_documents_hold_the_definitions_schema_and_what_every_object_has() {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "description": "What is wished.", "properties": {"size": {"type": "integer"}}},
        "inner": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }});
    let kind = CustomKind {
        kind: "Widget",
        list_kind: "WidgetList",
        plural: "widgets",
        namespaced: true,
        schema: &schema,
        status: true,
        scale: false,
    };
    let document = custom_document("example.com", "v1", &[kind]);
    assert_whole(&document);
    let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["description"], "What is wished.");
    assert!(
        widget["properties"]["metadata"]["allOf"][0]["$ref"].as_str().expect("a reference").ends_with("ObjectMeta")
    );
    assert_eq!(widget["properties"]["inner"]["properties"]["kind"], json!({"type": "string"}));
    let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    assert_eq!(
        paths,
        [
            "/apis/example.com/v1/namespaces/{namespace}/widgets",
            "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}",
            "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/status",
            "/apis/example.com/v1/widgets",
        ]
    );
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
}

#[test]
fn pruning_names_what_it_drops() {
    let deployment = &builtin().kind("apps", "v1", "Deployment").expect("a built-in kind").schema;
    let mut object =
        json!({"spec": {"odd": 1, "template": {"spec": {"containers": [{"name": "a", "imag": "b"}]}}}, "top": {}});
    let mut dropped = deployment.prune(&mut object);
    dropped.sort();
    assert_eq!(dropped, ["spec.odd", "spec.template.spec.containers[0].imag", "top"]);
    assert_eq!(object, json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}}));

    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "object"}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }}}});
    let schema = Schema::from_crd(&schema).expect("a structural schema");
    let mut object = json!({
        "apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x", "odd": 1},
        "spec": {"free": {"any": 1, "known": {"gone": 1}}, "map": {"k": {"a": "b", "gone": 1}}, "none": null},
    });
    let mut dropped = schema.prune(&mut object);
    dropped.sort();
    assert_eq!(dropped, ["metadata.odd", "spec.free.known.gone", "spec.map.k.gone", "spec.none"]);
    assert_eq!(object["spec"], json!({"free": {"any": 1, "known": {}}, "map": {"k": {"a": "b"}}}));

    let mut anything = json!({"metadata": {"name": "x"}, "a": {"b": [1.0, 2.5]}});
    assert_eq!(Schema::free_form().prune(&mut anything), Vec::<String>::new());
    assert_eq!(anything, json!({"metadata": {"name": "x"}, "a": {"b": [1, 2.5]}}));
}
