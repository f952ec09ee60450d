//! A real API server takes every generated kind, and these take what the target takes.

#[path = "../common/mod.rs"]
mod common;
mod objects;

use common::{ADMIN, ControlPlane};
use hansa_api::target::GenerateError;
use hansa_api::{TargetKind, federated_crd, list_map_keys, manifests};
use objects::{custom_target, enormous_target, federate, ordinary_objects};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The targets that a server offers in their preferred versions, each with the document of its
/// group and version.
fn targets(plane: &ControlPlane) -> Vec<(TargetKind, Value)> {
    let mut paths = vec![("/api/v1".to_owned(), "/openapi/v3/api/v1".to_owned())];
    let groups = plane.get("/apis");
    for group in groups["groups"].as_array().unwrap() {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
        paths.push((format!("/apis/{version}"), format!("/openapi/v3/apis/{version}")));
    }
    let mut targets = Vec::new();
    for (resources, document) in paths {
        let found = TargetKind::discovered(&plane.get(&resources));
        if found.is_empty() {
            continue;
        }
        let openapi = plane.get(&document);
        for target in found {
            assert_eq!(target.openapi_path(), document);
            targets.push((target, openapi.clone()));
        }
    }
    targets
}

#[test]
fn a_real_api_server_takes_every_generated_kind() {
    let plane = ControlPlane::start(&[]);
    plane.apply(&[custom_target()]);
    plane.wait_for_crds();
    plane.wait_until("the custom kind is published", |plane| {
        plane
            .kubectl(ADMIN, &["get", "--raw", "/openapi/v3/apis/example.org/v1"], &[])
            .stdout
            .contains("org.example.v1.Widget")
    });

    let targets = targets(&plane);
    let mut crds = BTreeMap::new();
    let mut refused = Vec::new();
    for (target, openapi) in &targets {
        match federated_crd(target, openapi) {
            Ok(crd) => {
                crds.insert(target.name.to_string(), crd);
            }
            Err(GenerateError::NotFederated { name, .. }) => refused.push(name.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    refused.sort();
    assert_eq!(
        refused,
        ["endpointslices.discovery.k8s.io", "events", "events.events.k8s.io", "leases.coordination.k8s.io", "pods",]
    );
    for expected in [
        "configmaps",
        "cronjobs.batch",
        "customresourcedefinitions.apiextensions.k8s.io",
        "daemonsets.apps",
        "deployments.apps",
        "horizontalpodautoscalers.autoscaling",
        "ingresses.networking.k8s.io",
        "jobs.batch",
        "namespaces",
        "networkpolicies.networking.k8s.io",
        "persistentvolumeclaims",
        "poddisruptionbudgets.policy",
        "roles.rbac.authorization.k8s.io",
        "secrets",
        "services",
        "statefulsets.apps",
        "widgets.example.org",
    ] {
        assert!(crds.contains_key(expected), "{expected} is not generated");
    }
    let size = |name: &str| crds[name].to_string().len();
    assert!(size("deployments.apps") < 72_000, "{}", size("deployments.apps"));
    for name in crds.keys() {
        // `kubectl apply` without --server-side keeps a copy in an annotation of 256 KiB at most.
        assert!(size(name) < 200_000, "{name}: {}", size(name));
    }

    let (target, openapi) = enormous_target();
    crds.insert(target.name.to_string(), federated_crd(&target, &openapi).unwrap());
    let all: Vec<Value> = crds.values().cloned().chain(manifests::own_crds()).collect();
    plane.apply(&all);
    plane.wait_for_crds();
    let stored = plane.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
    let stored: BTreeMap<&str, &Value> = stored["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|crd| (crd["metadata"]["name"].as_str().unwrap(), crd))
        .collect();
    for sent in &all {
        let name = sent["metadata"]["name"].as_str().unwrap();
        let live = stored[name];
        let version = "/spec/versions/0";
        for part in ["schema", "subresources", "additionalPrinterColumns"] {
            let pointer = format!("{version}/{part}");
            assert_eq!(live.pointer(&pointer), sent.pointer(&pointer), "{name}: something was dropped or added");
        }
        assert_eq!(live["spec"]["names"], sent["spec"]["names"], "{name}");
        for condition in live["status"]["conditions"].as_array().unwrap() {
            let good = ["Established", "NamesAccepted"].iter().any(|type_| condition["type"] == *type_);
            assert!(good && condition["status"] == "True", "{name}: {condition}");
        }
    }

    takes_what_the_target_takes(&plane);
    refuses_with_the_mend(&plane);
    scales_and_shows(&plane);
    own_kinds(&plane);

    let keys = |name: &str| {
        let (target, openapi) = targets.iter().find(|(target, _)| target.name.to_string() == name).unwrap();
        list_map_keys(target, openapi).unwrap()
    };
    let deployment = keys("deployments.apps");
    assert_eq!(deployment["spec.template.spec.containers.env"], ["name"]);
    assert_eq!(deployment["spec.template.spec.containers.ports"], ["containerPort", "protocol"]);
    let widget = keys("widgets.example.org");
    assert_eq!(widget["spec.listeners"], ["port", "protocol"]);
}

fn takes_what_the_target_takes(plane: &ControlPlane) {
    plane.kubectl(ADMIN, &["create", "namespace", "shop"], &[]).expect("a namespace");
    let objects = ordinary_objects();
    // A plain write: server-side apply refuses equal keys in the target as well.
    plane
        .kubectl(ADMIN, &["create", "--validate=strict", "--dry-run=server", "-f", "-"], &objects)
        .expect("the targets take the objects");
    let federated: Vec<Value> = objects.iter().map(federate).collect();
    plane.apply(&federated);

    // What is stored is what was written: nothing defaulted but keys, nothing pruned.
    let text = plane.kubectl(ADMIN, &["get", "federated", "-n", "shop", "-o", "json"], &[]).expect("the category");
    let stored: Value = serde_json::from_str(&text).unwrap();
    let stored: BTreeMap<&str, &Value> =
        stored["items"].as_array().unwrap().iter().map(|item| (item["kind"].as_str().unwrap(), item)).collect();
    for sent in &federated {
        let kind = sent["kind"].as_str().unwrap();
        let mut expected = sent["spec"].clone();
        let ports = match kind {
            "FederatedService" => "/template/spec/ports",
            _ => "/template/spec/listeners",
        };
        for port in expected.pointer_mut(ports).and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().unwrap().entry("protocol").or_insert("TCP".into());
        }
        assert_eq!(stored[kind]["spec"], expected, "{kind}");
    }
}

fn refuses_with_the_mend(plane: &ControlPlane) {
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad", "namespace": "shop"}, "data": {"k": "v"}});
    let good = federate(&config_map);
    let secret = json!({
        "apiVersion": "core.types.hansa.dev/v1alpha1", "kind": "FederatedSecret",
        "metadata": {"name": "bad", "namespace": "shop"},
        "spec": {"templateFrom": {"secretRef": {"name": "s"}}, "placement": {"members": ["a"]}},
    });
    let deployment = federate(&ordinary_objects()[0]);
    let with = |object: &Value, pointer: &str, value: Value| {
        let mut object = object.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Value::Null => parent.remove(field),
            value => parent.insert(field.to_owned(), value),
        };
        object
    };
    for taken in [&good, &secret, &deployment] {
        plane
            .kubectl(ADMIN, &["apply", "--server-side", "--dry-run=server", "-f", "-"], std::slice::from_ref(taken))
            .expect("what the cases below spoil");
    }
    for (object, words) in [
        (with(&good, "/spec/placement", Value::Null), &["spec.placement", "Required value"][..]),
        (with(&good, "/spec/template", Value::Null), &["spec.template", "Required value"]),
        (with(&good, "/spec/placement/members", json!(["a"])), &["spec.placement", "remove members or memberSelector"]),
        (with(&good, "/spec/placement/exclude", json!(["No_Name"])), &["spec.placement.exclude[0]", "should match"]),
        (with(&good, "/spec/template/kind", json!("Secret")), &["spec.template.kind", "\"ConfigMap\""]),
        (with(&good, "/spec/template/apiVersion", json!("v2")), &["spec.template.apiVersion", "\"v1\""]),
        (
            with(&good, "/spec/template/metadata/name", json!("other")),
            &["spec.template.metadata.name", "make the two equal"],
        ),
        (with(&good, "/spec/template/metadata/uid", json!("u")), &["unknown field", "spec.template.metadata.uid"]),
        (with(&good, "/spec/template/dta", json!({})), &["unknown field", "spec.template.dta"]),
        (
            with(&good, "/spec/templateFrom", json!({"secretRef": {"name": "s"}})),
            &["unknown field", "spec.templateFrom"],
        ),
        (with(&good, "/spec/adoption", json!("Sometimes")), &["spec.adoption", "\"IfNoDifference\""]),
        (
            with(&good, "/spec/overrides", json!([{"patches": [{"op": "move", "path": "/data"}]}])),
            &["spec.overrides[0].patches[0].op", "\"replace\""],
        ),
        (
            with(&deployment, "/spec/template/spec/selector", Value::Null),
            &["spec.template.spec.selector", "Required value"],
        ),
        (
            with(&deployment, "/spec/template/spec/replicas", json!("two")),
            &["spec.template.spec.replicas", "must be of type integer"],
        ),
        (with(&secret, "/spec/templateFrom", Value::Null), &["spec", "name it in spec.templateFrom.secretRef"]),
        (
            with(&secret, "/spec/template", json!({"stringData": {"password": "hunter2"}})),
            &["spec", "name it in spec.templateFrom.secretRef"],
        ),
        (
            with(&secret, "/spec/overrides", json!([{"merge": {"data": {"password": "aHVudGVyMg=="}}}])),
            &["spec.overrides[0].merge", "name it in spec.templateFrom.secretRef"],
        ),
        (
            with(
                &secret,
                "/spec/overrides",
                json!([{"patches": [{"op": "add", "path": "/stringData/password", "value": "x"}]}]),
            ),
            &["spec.overrides[0].patches[0].path", "name it in spec.templateFrom.secretRef"],
        ),
    ] {
        let refusal = plane
            .kubectl(ADMIN, &["create", "--validate=strict", "-f", "-"], std::slice::from_ref(&object))
            .expect_refusal(&object.to_string());
        for word in words {
            assert!(refusal.contains(word), "{word:?} is missing in: {refusal}");
        }
    }
}

fn scales_and_shows(plane: &ControlPlane) {
    let scale = ["scale", "federateddeployment", "web", "-n", "shop", "--replicas=5"];
    plane.kubectl(ADMIN, &scale, &[]).expect("kubectl scale");
    let text = plane
        .kubectl(ADMIN, &["get", "fdeploy", "web", "-n", "shop", "-o", "jsonpath={.spec.template.spec.replicas}"], &[])
        .expect("the short name");
    assert_eq!(text, "5");
    plane
        .kubectl(ADMIN, &["scale", "federatedconfigmap", "web", "-n", "shop", "--replicas=5"], &[])
        .expect_refusal("a kind without replicas has no scale");

    let status = json!({"status": {
        "observedGeneration": 2,
        "agreed": {"era": 0, "incarnation": 1, "revision": 17, "homes": ["aws-use1"], "differs": false},
        "summary": {"placed": 3, "applied": 2, "ready": 1, "failing": ["azure-sea"]},
        "members": [{"name": "azure-sea", "state": "Refused", "message": "spec.x: no"}],
        "conditions": [{"type": "Agreed", "status": "True", "reason": "Converged", "message": "", "lastTransitionTime": "2026-11-22T17:00:00Z"}],
        "aggregate": {"replicas": 9, "anything": {"at": "all"}},
    }})
    .to_string();
    plane
        .kubectl(
            ADMIN,
            &["patch", "fdeploy", "web", "-n", "shop", "--subresource=status", "--type=merge", "-p", &status],
            &[],
        )
        .expect("a status");
    let table = plane.kubectl(ADMIN, &["get", "fdeploy", "-n", "shop"], &[]).expect("a table");
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["NAME", "PLACED", "APPLIED", "READY", "AGREED", "AGE"]);
    assert_eq!(cells[1][..5], ["web", "3", "2", "1", "True"]);
    let all = plane.kubectl(ADMIN, &["get", "federated", "-n", "shop", "-o", "name"], &[]).expect("the category");
    assert!(all.contains("federateddeployment.apps.types.hansa.dev/web"), "{all}");
    let live = plane.get("/apis/apps.types.hansa.dev/v1alpha1/namespaces/shop/federateddeployments/web");
    assert_eq!(live["status"]["aggregate"]["anything"]["at"], "all");
    let scale = plane.get("/apis/apps.types.hansa.dev/v1alpha1/namespaces/shop/federateddeployments/web/scale");
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(5), &json!(9)));
    assert_eq!(scale["status"].get("selector"), None, "an autoscaler must find no selector");
}

fn own_kinds(plane: &ControlPlane) {
    let federation = |spec: Value| json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Federation", "metadata": {"name": "league"}, "spec": spec});
    let member = json!({
        "name": "aws-use1", "provider": "aws", "region": "us-east-1", "labels": {"env": "prod"}, "residency": ["us"],
        "publicKeys": ["ed25519:AAAA", "x25519:BBBB", "ed25519:CCCC", "x25519:DDDD"],
    });
    plane.apply(&[
        federation(json!({
            "members": [member],
            "types": [{"resource": "deployments.apps", "version": "v1"}, {"resource": "roles.rbac.authorization.k8s.io", "version": "v1", "privileged": true}],
            "namespaces": "Create", "homes": {"takeover": "Consent"},
            "safety": {"deletes": {"percent": 10, "atLeast": 20, "window": "10m"}}, "paused": false,
        })),
        json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Member", "metadata": {"name": "aws-use1"}, "spec": member}),
        json!({
            "apiVersion": "hansa.dev/v1alpha1", "kind": "Request", "metadata": {"name": "move", "namespace": "shop"},
            "spec": {
                "action": "HomeMove", "arguments": {"member": "aws-use1"},
                "object": {"resource": "deployments.apps", "namespace": "shop", "name": "web"},
            },
        }),
    ]);
    let table = plane.kubectl(ADMIN, &["get", "members"], &[]).expect("a table");
    let heading: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["NAME", "READY", "PROVIDER", "REGION", "VERSION", "LAG", "AGE"]);
    plane.kubectl(ADMIN, &["get", "fed"], &[]).expect("the short name");

    let request = |spec: Value| json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Request", "metadata": {"name": "bad", "namespace": "shop"}, "spec": spec});
    for (object, words) in [
        (federation(json!({"members": [{"name": "a"}, {"name": "a"}]})), "Duplicate value"),
        (federation(json!({"members": [{"name": "A"}]})), "spec.members[0].name"),
        (
            federation(json!({"members": [{"name": "a", "publicKeys": ["ed25519:AA", "ed25519:BB", "ed25519:CC"]}]})),
            "remove the oldest",
        ),
        (
            federation(json!({"types": [{"resource": "roles.rbac.authorization.k8s.io", "version": "v1"}]})),
            "set privileged to true",
        ),
        (federation(json!({"types": [{"resource": "members.hansa.dev", "version": "v1"}]})), "remove the type"),
        (federation(json!({"safety": {"deletes": {"window": "soon"}}})), "spec.safety.deletes.window"),
        (request(json!({"action": "Delete"})), "name the object in spec.object"),
        (
            request(json!({
                "action": "Confirm", "arguments": {"set": "0".repeat(64)},
                "object": {"resource": "configmaps", "namespace": "shop", "name": "c"},
            })),
            "a confirmation is about the league",
        ),
        (request(json!({"action": "Confirm"})), "give its hash in spec.arguments.set"),
        (
            request(
                json!({"action": "Output", "object": {"resource": "configmaps", "namespace": "shop", "name": "c"}}),
            ),
            "name the member in spec.arguments.member",
        ),
    ] {
        let mut object = object;
        object["metadata"]["name"] = "bad".into();
        let refusal = plane
            .kubectl(ADMIN, &["create", "-f", "-"], std::slice::from_ref(&object))
            .expect_refusal(&object.to_string());
        assert!(refusal.contains(words), "{words:?} is missing in: {refusal}");
    }
    let patch = |subresource: &str, patch: Value| {
        plane.kubectl(
            ADMIN,
            &["patch", "request", "move", "-n", "shop", "--type=merge", "-p", &patch.to_string(), subresource],
            &[],
        )
    };
    let changed =
        patch("--subresource=", json!({"spec": {"action": "Delete"}})).expect_refusal("a request never changes");
    assert!(changed.contains("write another one"), "{changed}");
    patch("--subresource=status", json!({"status": {"phase": "Done"}})).expect("an answer");
    let again =
        patch("--subresource=status", json!({"status": {"phase": "Refused"}})).expect_refusal("a second answer");
    assert!(again.contains("answered once"), "{again}");
}
