//! CustomResourceDefinitions, without sockets.

mod core_support;

use core_support::Cluster;
use hansa_kubesim::core::http::{Reply, Request};
use serde_json::{Value, json};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/shop.example.org/v1/namespaces/default/widgets";

/// A definition with what users put in theirs.
fn definition() -> Value {
    json!({
        "metadata": {"name": "widgets.shop.example.org"},
        "spec": {
            "group": "shop.example.org", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "First", "type": "string", "jsonPath": ".spec.parts[0].name"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {
                        "type": "object", "required": ["colour"],
                        "properties": {
                            "colour": {"type": "string", "enum": ["red", "blue"]},
                            "size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
                            "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                            "port": {"x-kubernetes-int-or-string": true},
                            "parts": {
                                "type": "array", "maxItems": 2,
                                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                                "items": {"type": "object", "required": ["name"], "properties": {
                                    "name": {"type": "string", "pattern": "^[a-z]+$"},
                                    "count": {"type": "integer", "default": 1},
                                }},
                            },
                        },
                    },
                    "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
                }}},
            }],
        },
    })
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "shop.example.org/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

fn with_widgets() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.create(CRDS, &definition());
    cluster
}

/// The fields that a refusal names.
fn fields(status: &Value) -> Vec<&str> {
    status["details"]["causes"].as_array().into_iter().flatten().filter_map(|cause| cause["field"].as_str()).collect()
}

#[test]
fn a_definition_is_accepted_then_established_then_served() {
    let mut cluster = Cluster::new();
    cluster.expect(404, &Request::get(WIDGETS));
    let Reply::Response(made) = cluster.core.handle(cluster.now, &Request::post(CRDS, &definition())) else {
        panic!("a create is no watch")
    };
    assert_eq!(made.status, 201);
    let conditions = |object: &Value| -> Vec<String> {
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| format!("{}={}", one["type"], one["status"]).replace('"', "")).collect()
    };
    assert_eq!(conditions(&made.value()), Vec::<String>::new(), "the controller comes after the answer");
    cluster.settle();
    let live = cluster.get(&format!("{CRDS}/widgets.shop.example.org"));
    assert_eq!(conditions(&live), ["NamesAccepted=True", "Established=True"]);
    assert_eq!(live["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(cluster.get(WIDGETS)["kind"], "WidgetList");
    let served = cluster.get("/apis/shop.example.org/v1");
    assert_eq!(served["resources"][0]["shortNames"], json!(["wd"]));
    let document = cluster.get("/openapi/v3/apis/shop.example.org/v1");
    assert!(document["components"]["schemas"]["org.example.shop.v1.Widget"].is_object(), "{document:#}");
}

#[test]
fn instances_are_defaulted_pruned_and_validated_by_their_structure() {
    let mut cluster = with_widgets();
    let made = cluster.create(
        WIDGETS,
        &widget(
            "a",
            json!({"colour": "red", "odd": 1, "anything": {"odd": 1}, "port": "http", "parts": [{"name": "x", "odd": 1}]}),
        ),
    );
    assert_eq!(
        made["spec"],
        json!({"colour": "red", "size": 3, "anything": {"odd": 1}, "port": "http", "parts": [{"name": "x", "count": 1}]})
    );
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let odd = cluster.expect(400, &Request::post(&strict, &widget("b", json!({"colour": "red", "odd": 1}))));
    assert!(odd["message"].as_str().is_some_and(|text| text.contains(r#"unknown field "spec.odd""#)), "{odd}");
    let wrong = [
        (json!({}), vec!["spec.colour"]),
        (json!({"colour": "green"}), vec!["spec.colour"]),
        (json!({"colour": "red", "size": 10}), vec!["spec.size"]),
        (json!({"colour": "red", "size": "3"}), vec!["spec.size"]),
        (json!({"colour": "red", "port": 1.5}), vec!["spec.port"]),
        (json!({"colour": "red", "parts": [{"name": "UP"}]}), vec!["spec.parts[0].name"]),
        (json!({"colour": "red", "parts": [{"name": "x"}, {"name": "x"}]}), vec!["spec.parts[1]"]),
        (json!({"colour": "red", "parts": [{"name": "x"}, {"name": "y"}, {"name": "z"}]}), vec!["spec.parts"]),
        (json!({"colour": "green", "size": 0}), vec!["spec.colour", "spec.size"]),
    ];
    for (spec, expected) in wrong {
        let refused = cluster.expect(422, &Request::post(WIDGETS, &widget("b", spec.clone())));
        let mut found = fields(&refused);
        found.sort_unstable();
        assert_eq!(found, expected, "{spec}: {refused:#}");
    }
    cluster.expect(404, &Request::get(&format!("{WIDGETS}/b")));
}

#[test]
fn the_status_is_written_apart_and_the_generation_follows_the_specification() {
    let mut cluster = with_widgets();
    let mut object = widget("a", json!({"colour": "red"}));
    object["status"] = json!({"ready": true});
    let made = cluster.create(WIDGETS, &object);
    assert!(made["status"].is_null(), "a status does not come with a create");
    let patch = |path: &str, body: Value| Request::patch(&format!("{WIDGETS}/a{path}"), "merge-patch", &body);
    let status = cluster.expect(200, &patch("/status", json!({"status": {"ready": true}, "spec": {"colour": "blue"}})));
    assert_eq!((&status["spec"]["colour"], &status["status"]["ready"]), (&json!("red"), &json!(true)));
    assert_eq!(status["metadata"]["generation"], 1);
    let changed = cluster.expect(200, &patch("", json!({"spec": {"colour": "blue"}, "status": {"ready": false}})));
    assert_eq!((&changed["spec"]["colour"], &changed["status"]["ready"]), (&json!("blue"), &json!(true)));
    assert_eq!(changed["metadata"]["generation"], 2);
}

#[test]
fn printer_columns_make_the_table() {
    let mut cluster = with_widgets();
    cluster.create(WIDGETS, &widget("a", json!({"colour": "red", "parts": [{"name": "x"}]})));
    cluster.create(WIDGETS, &widget("b", json!({"colour": "red", "size": 7})));
    cluster.pass(90_000);
    let table = Request::get(WIDGETS).accepting("application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = cluster.expect(200, &table);
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["Name", "Size", "First", "Age"]);
    let cells: Vec<&Value> = table["rows"].as_array().into_iter().flatten().map(|row| &row["cells"]).collect();
    assert_eq!(cells, [&json!(["a", 3, "x", "90s"]), &json!(["b", 7, null, "90s"])]);
}

#[test]
fn a_changed_schema_holds_for_what_is_written_next() {
    let mut cluster = with_widgets();
    cluster.create(WIDGETS, &widget("a", json!({"colour": "red", "size": 7})));
    let narrower = json!([
        {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/maximum", "value": 5},
        {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/note", "value": {"type": "string", "default": "none"}},
    ]);
    cluster.expect(200, &Request::patch(&format!("{CRDS}/widgets.shop.example.org"), "json-patch", &narrower));
    let read = cluster.get(&format!("{WIDGETS}/a"));
    assert_eq!(
        (&read["spec"]["size"], &read["spec"]["note"]),
        (&json!(7), &json!("none")),
        "old objects are read with new defaults"
    );
    cluster.expect(422, &Request::post(WIDGETS, &widget("b", json!({"colour": "red", "size": 7}))));
}

#[test]
fn rules_are_kept_and_said_not_to_be_evaluated() {
    let mut cluster = Cluster::new();
    let mut ruled = definition();
    let rules = json!([{"rule": "self.size < 2", "message": "too large"}]);
    ruled["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] =
        rules.clone();
    let answer = cluster.send(&Request::post(CRDS, &ruled));
    assert_eq!(answer.status, 201);
    assert!(answer.warnings.iter().any(|text| text.contains("does not evaluate")), "{:?}", answer.warnings);
    let live = cluster.get(&format!("{CRDS}/widgets.shop.example.org"));
    let kept =
        &live["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"];
    assert_eq!(kept, &rules);
    cluster.create(WIDGETS, &widget("a", json!({"colour": "red", "size": 9})));
}

#[test]
fn a_definition_goes_after_its_instances() {
    let mut cluster = with_widgets();
    cluster.create(WIDGETS, &widget("plain", json!({"colour": "red"})));
    let mut held = widget("held", json!({"colour": "red"}));
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    cluster.create(WIDGETS, &held);
    let watch = cluster.watch(&format!("{WIDGETS}?watch=1&resourceVersion={}", cluster.core.version()));
    cluster.expect(200, &Request::delete(&format!("{CRDS}/widgets.shop.example.org")));
    cluster.expect(404, &Request::get(&format!("{WIDGETS}/plain")));
    let live = cluster.get(&format!("{CRDS}/widgets.shop.example.org"));
    assert!(live["metadata"]["deletionTimestamp"].is_string(), "it waits for what has a finalizer");
    cluster.expect(403, &Request::post(WIDGETS, &widget("late", json!({"colour": "red"}))));
    assert_eq!(cluster.brief(watch), ["MODIFIED held", "DELETED plain"]);
    let release = json!({"metadata": {"finalizers": null}});
    cluster.expect(200, &Request::patch(&format!("{WIDGETS}/held"), "merge-patch", &release));
    cluster.expect(404, &Request::get(&format!("{CRDS}/widgets.shop.example.org")));
    cluster.expect(404, &Request::get(WIDGETS));
    assert!(cluster.core.poll_watch(cluster.now, watch, u64::MAX).closed, "the kind's watches end with it");
    cluster.create(CRDS, &definition());
    assert_eq!(cluster.get(WIDGETS)["items"], json!([]), "a new life begins empty");
}

#[test]
fn openapi_v2_tells_of_custom_kinds_as_long_as_they_are_served() {
    const NAME: &str = "org.example.shop.v1.Widget";
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let mut cluster = Cluster::new();
    assert!(cluster.get("/openapi/v2")["definitions"][NAME].is_null());
    cluster.create(CRDS, &definition());
    let document = cluster.get("/openapi/v2");
    let kind = json!({"group": "shop.example.org", "kind": "Widget", "version": "v1"});
    assert_eq!(document["definitions"][NAME]["x-kubernetes-group-version-kind"], json!([kind]));
    let patch = &document["paths"]["/apis/shop.example.org/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"], kind);
    let parameters = patch["parameters"].as_array().expect("a patch has parameters");
    assert!(parameters.iter().any(|one| one["name"] == "fieldValidation" && one["in"] == "query"), "{patch}");
    assert!(document["definitions"]["io.k8s.api.apps.v1.Deployment"].is_object(), "built-in kinds, too");

    let answer = cluster.send(&Request::get("/openapi/v2").accepting(PROTOBUF));
    assert_eq!(answer.content_type, PROTOBUF.replace('@', "."), "one that is a media type");
    assert!(holds(&answer.body, NAME) && !holds(&answer.body, "\"swagger\""), "it is no JSON");

    cluster.expect(200, &Request::delete(&format!("{CRDS}/widgets.shop.example.org")));
    assert!(cluster.get("/openapi/v2")["definitions"][NAME].is_null());
}
