use super::*;
use expect_test::{Expect, expect};

/// A document with one kind, whose spec has these properties.
fn document(owner: &str, properties: Value) -> Value {
    json!({"components": {"schemas": {
        "kind": {
            "type": "object",
            "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "K"}],
            "required": ["spec", "metadata", "status"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"$ref": format!("#/components/schemas/{OBJECT_META}")},
                "spec": {"allOf": [{"$ref": format!("#/components/schemas/{owner}")}], "description": "words", "default": {}},
                "status": {"type": "object"},
            },
        },
        owner: {"type": "object", "properties": properties},
        "Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        "Leaf": {"type": "object", "required": ["name", "kind"], "properties": {
            "name": {"type": "string", "default": ""},
            "kind": {"type": "string"},
            "protocol": {"type": "string", "default": "TCP"},
            "idle": {"type": "string", "default": "10s"},
        }},
        "Tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "Tree"}}}},
        OBJECT_META: {"type": "object"},
    }}})
}

fn spec_of(owner: &str, properties: Value) -> Value {
    let openapi = document(owner, properties);
    let document = Document::new(&openapi);
    let (name, schema) = document.kind("g", "v1", "K").expect("the kind");
    let template = document.template("g/v1", "K", name, schema).expect("a template");
    assert_eq!(template.get("required"), None, "identity and status are not required, and spec has a default");
    template["properties"]["spec"]["properties"].clone()
}

fn check(owner: &str, properties: Value, expected: Expect) {
    let mut text = String::new();
    for (field, node) in spec_of(owner, properties).as_object().expect("properties") {
        text.push_str(&format!("{field}: {node}\n"));
    }
    expected.assert_eq(&text);
}

#[test]
fn shapes_stay_and_defaults_go() {
    check(
        "org.example.Spec",
        json!({
            "percent": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "amount": {"allOf": [{"$ref": "#/components/schemas/Quantity"}], "description": "words"},
            "mode": {"type": "string", "enum": ["A", "B"], "default": "A", "x-kubernetes-validations": [{"rule": "true"}]},
            "count": {"type": "integer", "format": "int32", "minimum": 1},
            "tree": {"$ref": "#/components/schemas/Tree"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "open": {"type": "object", "additionalProperties": true},
            "raw": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
                    "required": ["kind"], "properties": {"kind": {"type": "string"}, "data": {"type": "string"}}},
            "pod": {"type": "object", "properties": {"metadata": {"$ref": OBJECT_META}}},
            "choice": {"type": "object", "oneOf": [{"required": ["a"]}], "properties": {"a": {"type": "boolean", "nullable": true}}},
        }),
        expect![[r#"
            amount: {"nullable":true,"x-kubernetes-preserve-unknown-fields":true}
            choice: {"properties":{"a":{"nullable":true,"type":"boolean"}},"type":"object"}
            count: {"format":"int32","minimum":1,"type":"integer"}
            labels: {"additionalProperties":{"type":"string"},"type":"object"}
            mode: {"enum":["A","B"],"type":"string"}
            open: {"type":"object","x-kubernetes-preserve-unknown-fields":true}
            percent: {"x-kubernetes-int-or-string":true}
            pod: {"properties":{"metadata":{"properties":{"annotations":{"additionalProperties":{"type":"string"},"type":"object"},"creationTimestamp":{"nullable":true,"type":"string"},"finalizers":{"items":{"type":"string"},"type":"array"},"labels":{"additionalProperties":{"type":"string"},"type":"object"},"name":{"maxLength":253,"type":"string"},"namespace":{"maxLength":63,"type":"string"}},"type":"object"}},"type":"object"}
            raw: {"properties":{"data":{"type":"string"}},"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}
            tree: {"type":"object","x-kubernetes-preserve-unknown-fields":true}
        "#]],
    );
}

#[test]
fn lists_keep_their_keys_where_every_item_has_them() {
    let leaves = |keys: Value| json!({"type": "array", "items": {"$ref": "Leaf"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys});
    check(
        "org.example.Spec",
        json!({
            "byName": leaves(json!(["name"])),
            "byProtocol": leaves(json!(["kind", "protocol"])),
            "byNothing": leaves(json!(["missing"])),
            "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "quantities": {"type": "array", "items": {"$ref": "Quantity"}, "x-kubernetes-list-type": "set"},
            "untyped": {"type": "array"},
        }),
        expect![[r#"
            byName: {"items":{"properties":{"idle":{"type":"string"},"kind":{"type":"string"},"name":{"type":"string"},"protocol":{"type":"string"}},"required":["kind","name"],"type":"object"},"type":"array","x-kubernetes-list-map-keys":["name"],"x-kubernetes-list-type":"map"}
            byNothing: {"items":{"properties":{"idle":{"type":"string"},"kind":{"type":"string"},"name":{"type":"string"},"protocol":{"type":"string"}},"required":["kind"],"type":"object"},"type":"array"}
            byProtocol: {"items":{"properties":{"idle":{"type":"string"},"kind":{"type":"string"},"name":{"type":"string"},"protocol":{"default":"TCP","type":"string"}},"required":["kind"],"type":"object"},"type":"array","x-kubernetes-list-map-keys":["kind","protocol"],"x-kubernetes-list-type":"map"}
            quantities: {"items":{"nullable":true,"x-kubernetes-preserve-unknown-fields":true},"type":"array"}
            set: {"items":{"type":"string"},"type":"array","x-kubernetes-list-type":"set"}
            untyped: {"items":{"x-kubernetes-preserve-unknown-fields":true},"type":"array"}
        "#]],
    );
}

#[test]
fn built_in_lists_take_equal_keys_where_kubernetes_does() {
    let ports = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "items": {
        "type": "object", "required": ["containerPort"],
        "properties": {"containerPort": {"type": "integer", "format": "int32", "default": 0}, "protocol": {"type": "string", "default": "TCP", "enum": ["TCP", "UDP"]}},
    }});
    check(
        "io.k8s.api.core.v1.Container",
        json!({
            "ports": ports,
            "others": ports,
            "values": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        }),
        expect![[r#"
            others: {"items":{"properties":{"containerPort":{"type":"integer"},"protocol":{"default":"TCP","type":"string"}},"required":["containerPort"],"type":"object"},"type":"array","x-kubernetes-list-map-keys":["containerPort","protocol"],"x-kubernetes-list-type":"map"}
            ports: {"items":{"properties":{"containerPort":{"type":"integer"},"protocol":{"type":"string"}},"required":["containerPort"],"type":"object"},"type":"array"}
            values: {"items":{"type":"string"},"type":"array"}
        "#]],
    );
}

#[test]
fn a_reference_into_nothing_is_named() {
    let openapi = document("org.example.Spec", json!({"a": {"$ref": "#/components/schemas/Missing"}}));
    let document = Document::new(&openapi);
    let (name, schema) = document.kind("g", "v1", "K").expect("the kind");
    let broken = document.template("g/v1", "K", name, schema).expect_err("a broken reference");
    assert_eq!(broken.0, "#/components/schemas/Missing");
    assert!(document.kind("g", "v2", "K").is_none());
}
