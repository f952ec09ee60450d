//! A real API server takes every generated kind, and these take what the target takes.

mod common;

use common::{ADMIN, ControlPlane};
use hansa_api::target::GenerateError;
use hansa_api::{TargetKind, federated_crd, list_map_keys, manifests};
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
            .kubectl(ADMIN, &["get", "--raw", "/openapi/v3/apis/example.org/v1"], None)
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
        [
            "endpointslices.discovery.k8s.io",
            "events",
            "events.events.k8s.io",
            "leases.coordination.k8s.io",
            "pods",
        ]
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

/// A custom kind that uses what a schema can hold.
fn custom_target() -> Value {
    let schema = json!({
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [{"rule": "has(self.spec)"}],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size", "mode"],
                "x-kubernetes-validations": [{"rule": "self.size < 100 || self.mode == 'Big'"}],
                "properties": {
                    "size": {"type": "integer", "format": "int32", "minimum": 1},
                    "mode": {"type": "string", "enum": ["Small", "Big"], "default": "Small"},
                    "replicas": {"type": "integer", "default": 1},
                    "port": {"x-kubernetes-int-or-string": true},
                    "limit": {
                        "anyOf": [{"type": "integer"}, {"type": "string"}],
                        "pattern": "^[0-9]+(m|Mi|Gi)?$",
                        "x-kubernetes-int-or-string": true,
                    },
                    "anything": {"x-kubernetes-preserve-unknown-fields": true},
                    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "resource": {
                        "type": "object",
                        "x-kubernetes-embedded-resource": true,
                        "x-kubernetes-preserve-unknown-fields": true,
                    },
                    "nothing": {"type": "string", "nullable": true},
                    "choice": {
                        "type": "object",
                        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    },
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                    "listeners": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port", "protocol"],
                        "items": {
                            "type": "object",
                            "required": ["port"],
                            "properties": {
                                "port": {"type": "integer"},
                                "protocol": {"type": "string", "default": "TCP"},
                                "idle": {"type": "string", "default": "10s"},
                            },
                        },
                    },
                },
            },
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
            }],
        },
    })
}

/// Objects that a real API server takes, odd ones on purpose.
fn ordinary_objects() -> Vec<Value> {
    let pod = json!({
        "metadata": {"labels": {"app": "web"}, "creationTimestamp": null},
        "spec": {
            "imagePullSecrets": [{"name": "one"}, {"name": "one"}, {}],
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}, {"ip": "10.0.0.1", "hostnames": ["b"]}],
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}},
            }],
            "initContainers": [{"name": "init", "image": "i"}],
            "containers": [{
                "name": "web",
                "image": "web:1",
                "imagePullPolicy": "",
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}, {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
                "ports": [{"containerPort": 53, "name": "tcp"}, {"containerPort": 53, "protocol": "UDP", "name": "udp"}, {"containerPort": 53, "name": "again"}],
                "resources": {"requests": {"cpu": 0.5, "memory": "64Mi"}, "limits": {"cpu": 2, "memory": 134217728}},
                "readinessProbe": {"httpGet": {"path": "/", "port": "tcp"}},
                "livenessProbe": {"tcpSocket": {"port": 53}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
        },
    });
    let namespaced = |api_version: &str, kind: &str, fields: Value| {
        let mut object = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"note": "n"}, "creationTimestamp": null},
        });
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        object["metadata"]["namespace"] = "shop".into();
        object
    };
    let cluster = |api_version: &str, kind: &str, name: &str, fields: Value| {
        let mut object = namespaced(api_version, kind, fields);
        object["metadata"].as_object_mut().unwrap().remove("namespace");
        object["metadata"]["name"] = name.into();
        object
    };
    let selector = json!({"matchLabels": {"app": "web"}});
    vec![
        namespaced("apps/v1", "Deployment", json!({"spec": {
            "replicas": 2, "selector": selector, "template": pod,
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
        }})),
        namespaced("apps/v1", "StatefulSet", json!({"spec": {
            "serviceName": "web", "selector": selector, "template": pod,
            "volumeClaimTemplates": [{
                "metadata": {"name": "data", "creationTimestamp": null},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        }})),
        namespaced("apps/v1", "DaemonSet", json!({"spec": {"selector": selector, "template": pod}})),
        namespaced("batch/v1", "Job", json!({"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "j", "image": "j"}],
        }}}})),
        namespaced("batch/v1", "CronJob", json!({"spec": {"schedule": "* * * * *", "jobTemplate": {
            "metadata": {"creationTimestamp": null},
            "spec": {"template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "j", "image": "j"}]}}},
        }}})),
        namespaced("v1", "Service", json!({"spec": {
            "selector": {"app": "web"},
            "ports": [{"name": "a", "port": 53, "targetPort": "tcp"}, {"name": "b", "port": 53, "protocol": "UDP"}],
        }})),
        namespaced("networking.k8s.io/v1", "Ingress", json!({"spec": {"rules": [{"http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}},
        }]}}]}})),
        namespaced("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": {
            "podSelector": {},
            "ingress": [{"ports": [{"port": 80}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
        }})),
        namespaced("autoscaling/v2", "HorizontalPodAutoscaler", json!({"spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
        }})),
        namespaced("policy/v1", "PodDisruptionBudget", json!({"spec": {"minAvailable": "50%", "selector": selector}})),
        namespaced("v1", "PersistentVolumeClaim", json!({"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": 1073741824}},
        }})),
        namespaced("v1", "ConfigMap", json!({"data": {"k": "v"}, "binaryData": {"b": "AAEC"}, "immutable": true})),
        namespaced("v1", "ServiceAccount", json!({"secrets": [{"name": "a"}, {"name": "a"}, {}]})),
        namespaced("v1", "LimitRange", json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": 1}}]}})),
        namespaced("v1", "ResourceQuota", json!({"spec": {"hard": {"pods": 10, "requests.cpu": "4"}}})),
        namespaced("rbac.authorization.k8s.io/v1", "Role", json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})),
        namespaced("rbac.authorization.k8s.io/v1", "RoleBinding", json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "web"},
            "subjects": [{"kind": "User", "name": "u"}],
        })),
        namespaced("example.org/v1", "Widget", json!({"spec": {
            "size": 3, "port": "http", "limit": "10Mi", "anything": [1, {"a": null}], "open": {"x": {"y": 1}},
            "resource": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}},
            "nothing": null, "choice": {"a": "1"}, "labels": {"a.b/c": "d"}, "tags": ["a", "b"],
            "listeners": [{"port": 80}, {"port": 80, "protocol": "UDP"}],
        }})),
        cluster("v1", "Namespace", "shop-two", json!({"spec": {}})),
        cluster("rbac.authorization.k8s.io/v1", "ClusterRole", "web", json!({
            "rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
        })),
        cluster("scheduling.k8s.io/v1", "PriorityClass", "web", json!({})),
        cluster("storage.k8s.io/v1", "StorageClass", "web", json!({
            "provisioner": "p", "reclaimPolicy": "", "parameters": {"type": "ssd"},
        })),
        cluster("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "web", json!({"webhooks": [{
            "name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://example.org/"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }]})),
        cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", "gadgets.example.net", json!({"spec": {
            "group": "example.net", "scope": "Cluster",
            "names": {"kind": "Gadget", "plural": "gadgets", "singular": "gadget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {"type": "object", "properties": {"any": {
                    "type": "array", "items": {"type": "string", "maxLength": 5, "default": "x"},
                }}}},
            }}}],
        }})),
    ]
}

/// The federated object with a whole manifest as its template.
fn federate(object: &Value) -> Value {
    let (group, _) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap_or(("core", ""));
    let mut metadata = json!({"name": object["metadata"]["name"]});
    if let Some(namespace) = object["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    json!({
        "apiVersion": format!("{group}.types.hansa.dev/v1alpha1"),
        "kind": format!("Federated{}", object["kind"].as_str().unwrap()),
        "metadata": metadata,
        "spec": {"template": object, "placement": {"memberSelector": {}}},
    })
}

fn takes_what_the_target_takes(plane: &ControlPlane) {
    plane.kubectl(ADMIN, &["create", "namespace", "shop"], None).expect("a namespace");
    let objects = ordinary_objects();
    let strictly = ["apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"];
    // Server-side apply itself refuses equal keys, where a plain write takes them.
    for object in &objects {
        let raw = ["create", "--validate=strict", "--dry-run=server", "-f", "-"];
        plane
            .kubectl(ADMIN, &raw, Some(object))
            .expect(&format!("the target takes {}", object["kind"]));
    }
    let federated: Vec<Value> = objects.iter().map(federate).collect();
    for object in &federated {
        plane
            .kubectl(ADMIN, &strictly, Some(object))
            .expect(&format!("{} takes what its target takes", object["kind"]));
    }
    plane.apply(&federated);
    // What is stored is what was written: nothing defaulted but keys, nothing pruned.
    for sent in &federated {
        let kind = sent["kind"].as_str().unwrap();
        let name = sent["metadata"]["name"].as_str().unwrap();
        let text = plane
            .kubectl(ADMIN, &["get", kind, name, "-n", "shop", "-o", "json"], None)
            .expect(kind);
        let live: Value = serde_json::from_str(&text).unwrap();
        let mut expected = sent["spec"].clone();
        for port in expected
            .pointer_mut(if kind == "FederatedService" { "/template/spec/ports" } else { "/template/spec/listeners" })
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            port.as_object_mut().unwrap().entry("protocol").or_insert("TCP".into());
        }
        assert_eq!(live["spec"], expected, "{kind}");
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
            .kubectl(ADMIN, &["apply", "--server-side", "--dry-run=server", "-f", "-"], Some(taken))
            .expect("what the cases below spoil");
    }
    for (object, words) in [
        (with(&good, "/spec/placement", Value::Null), &["spec.placement", "Required value"][..]),
        (with(&good, "/spec/template", Value::Null), &["spec.template", "Required value"]),
        (
            with(&good, "/spec/placement/members", json!(["a"])),
            &["spec.placement", "remove members or memberSelector"],
        ),
        (with(&good, "/spec/placement/exclude", json!(["No_Name"])), &["spec.placement.exclude[0]", "should match"]),
        (with(&good, "/spec/template/kind", json!("Secret")), &["spec.template.kind", "\"ConfigMap\""]),
        (with(&good, "/spec/template/apiVersion", json!("v2")), &["spec.template.apiVersion", "\"v1\""]),
        (
            with(&good, "/spec/template/metadata/name", json!("other")),
            &["spec.template.metadata.name", "make the two equal"],
        ),
        (with(&good, "/spec/template/metadata/uid", json!("u")), &["unknown field", "spec.template.metadata.uid"]),
        (with(&good, "/spec/template/dta", json!({})), &["unknown field", "spec.template.dta"]),
        (with(&good, "/spec/templateFrom", json!({"secretRef": {"name": "s"}})), &["unknown field", "spec.templateFrom"]),
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
            with(&secret, "/spec/overrides", json!([{"patches": [{"op": "add", "path": "/stringData/password", "value": "x"}]}])),
            &["spec.overrides[0].patches[0].path", "name it in spec.templateFrom.secretRef"],
        ),
    ] {
        let refusal = plane
            .kubectl(ADMIN, &["create", "--validate=strict", "-f", "-"], Some(&object))
            .expect_refusal(&object.to_string());
        for word in words {
            assert!(refusal.contains(word), "{word:?} is missing in: {refusal}");
        }
    }
}

fn scales_and_shows(plane: &ControlPlane) {
    let scale = ["scale", "federateddeployment", "web", "-n", "shop", "--replicas=5"];
    plane.kubectl(ADMIN, &scale, None).expect("kubectl scale");
    let text = plane
        .kubectl(ADMIN, &["get", "fdeploy", "web", "-n", "shop", "-o", "jsonpath={.spec.template.spec.replicas}"], None)
        .expect("the short name");
    assert_eq!(text, "5");
    plane
        .kubectl(ADMIN, &["scale", "federatedconfigmap", "web", "-n", "shop", "--replicas=5"], None)
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
            None,
        )
        .expect("a status");
    let table = plane.kubectl(ADMIN, &["get", "fdeploy", "-n", "shop"], None).expect("a table");
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["NAME", "PLACED", "APPLIED", "READY", "AGREED", "AGE"]);
    assert_eq!(cells[1][..5], ["web", "3", "2", "1", "True"]);
    let all = plane.kubectl(ADMIN, &["get", "federated", "-n", "shop", "-o", "name"], None).expect("the category");
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
        "publicKeys": ["ed25519:AAAA", "x25519:BBBB"],
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
    let table = plane.kubectl(ADMIN, &["get", "members"], None).expect("a table");
    let heading: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["NAME", "READY", "PROVIDER", "REGION", "VERSION", "LAG", "AGE"]);
    plane.kubectl(ADMIN, &["get", "fed"], None).expect("the short name");

    let request = |spec: Value| json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Request", "metadata": {"name": "bad", "namespace": "shop"}, "spec": spec});
    for (object, words) in [
        (federation(json!({"members": [{"name": "a"}, {"name": "a"}]})), "Duplicate value"),
        (federation(json!({"members": [{"name": "A"}]})), "spec.members[0].name"),
        (federation(json!({"members": [{"name": "a", "publicKeys": ["ed25519:AAAA", "ed25519:BBBB"]}]})), "remove the older"),
        (federation(json!({"types": [{"resource": "roles.rbac.authorization.k8s.io", "version": "v1"}]})), "set privileged to true"),
        (federation(json!({"types": [{"resource": "members.hansa.dev", "version": "v1"}]})), "remove the type"),
        (federation(json!({"safety": {"deletes": {"window": "soon"}}})), "spec.safety.deletes.window"),
        (request(json!({"action": "Delete"})), "name it in spec.object"),
        (request(json!({"action": "Confirm"})), "give its hash in spec.arguments.set"),
        (
            request(json!({"action": "Output", "object": {"resource": "configmaps", "namespace": "shop", "name": "c"}})),
            "name the member in spec.arguments.member",
        ),
    ] {
        let mut object = object;
        object["metadata"]["name"] = "bad".into();
        let refusal = plane.kubectl(ADMIN, &["create", "-f", "-"], Some(&object)).expect_refusal(&object.to_string());
        assert!(refusal.contains(words), "{words:?} is missing in: {refusal}");
    }
    let patch = |subresource: &str, patch: Value| {
        plane.kubectl(
            ADMIN,
            &["patch", "request", "move", "-n", "shop", "--type=merge", "-p", &patch.to_string(), subresource],
            None,
        )
    };
    let changed = patch("--subresource=", json!({"spec": {"action": "Delete"}})).expect_refusal("a request never changes");
    assert!(changed.contains("write another one"), "{changed}");
    patch("--subresource=status", json!({"status": {"phase": "Done"}})).expect("an answer");
    let again = patch("--subresource=status", json!({"status": {"phase": "Refused"}})).expect_refusal("a second answer");
    assert!(again.contains("answered once"), "{again}");
}
