//! What the generated kinds are tried with.

use hansa_api::TargetKind;
use serde_json::{Value, json};

/// A custom kind that uses what a schema can hold.
pub fn custom_target() -> Value {
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

/// A kind whose schema is larger than what an API server keeps.
pub fn enormous_target() -> (TargetKind, Value) {
    let fields: Value =
        (0..30_000).map(|index| (format!("field{index}"), json!({"type": "string", "maxLength": 10}))).collect();
    let openapi = json!({"components": {"schemas": {"org.example.v1.Enormous": {
        "type": "object",
        "x-kubernetes-group-version-kind": [{"group": "example.org", "version": "v1", "kind": "Enormous"}],
        "properties": {"spec": {"type": "object", "properties": fields}},
    }}}});
    let target = TargetKind {
        name: "enormous.example.org".parse().unwrap(),
        version: "v1".into(),
        kind: "Enormous".into(),
        namespaced: true,
        scale: false,
        short_names: Vec::new(),
    };
    (target, openapi)
}

/// Objects that a real API server takes, odd ones on purpose.
pub fn ordinary_objects() -> Vec<Value> {
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
        namespaced(
            "apps/v1",
            "Deployment",
            json!({"spec": {
                "replicas": 2, "selector": selector, "template": pod,
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            }}),
        ),
        namespaced(
            "apps/v1",
            "StatefulSet",
            json!({"spec": {
                "serviceName": "web", "selector": selector, "template": pod,
                "volumeClaimTemplates": [{
                    "metadata": {"name": "data", "creationTimestamp": null},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }],
            }}),
        ),
        namespaced("apps/v1", "DaemonSet", json!({"spec": {"selector": selector, "template": pod}})),
        namespaced(
            "batch/v1",
            "Job",
            json!({"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "j", "image": "j"}],
            }}}}),
        ),
        namespaced(
            "batch/v1",
            "CronJob",
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {
                "metadata": {"creationTimestamp": null},
                "spec": {"template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "j", "image": "j"}]}}},
            }}}),
        ),
        namespaced(
            "v1",
            "Service",
            json!({"spec": {
                "selector": {"app": "web"},
                "ports": [{"name": "a", "port": 53, "targetPort": "tcp"}, {"name": "b", "port": 53, "protocol": "UDP"}],
            }}),
        ),
        namespaced(
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"rules": [{"http": {"paths": [{
                "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}},
            }]}}]}}),
        ),
        namespaced(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {
                "podSelector": {},
                "ingress": [{"ports": [{"port": 80}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
            }}),
        ),
        namespaced(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 3,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
            }}),
        ),
        namespaced("policy/v1", "PodDisruptionBudget", json!({"spec": {"minAvailable": "50%", "selector": selector}})),
        namespaced(
            "v1",
            "PersistentVolumeClaim",
            json!({"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": 1073741824}},
            }}),
        ),
        namespaced("v1", "ConfigMap", json!({"data": {"k": "v"}, "binaryData": {"b": "AAEC"}, "immutable": true})),
        namespaced("v1", "ServiceAccount", json!({"secrets": [{"name": "a"}, {"name": "a"}, {}]})),
        namespaced("v1", "LimitRange", json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": 1}}]}})),
        namespaced("v1", "ResourceQuota", json!({"spec": {"hard": {"pods": 10, "requests.cpu": "4"}}})),
        namespaced(
            "rbac.authorization.k8s.io/v1",
            "Role",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        namespaced(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "web"},
                "subjects": [{"kind": "User", "name": "u"}],
            }),
        ),
        namespaced(
            "example.org/v1",
            "Widget",
            json!({"spec": {
                "size": 3, "port": "http", "limit": "10Mi", "anything": [1, {"a": null}], "open": {"x": {"y": 1}},
                "resource": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}},
                "nothing": null, "choice": {"a": "1"}, "labels": {"a.b/c": "d"}, "tags": ["a", "b"],
                "listeners": [{"port": 80}, {"port": 80, "protocol": "UDP"}],
            }}),
        ),
        cluster("v1", "Namespace", "shop-two", json!({"spec": {}})),
        cluster(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "web",
            json!({
                "rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}],
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
            }),
        ),
        cluster("scheduling.k8s.io/v1", "PriorityClass", "web", json!({})),
        cluster(
            "storage.k8s.io/v1",
            "StorageClass",
            "web",
            json!({
                "provisioner": "p", "reclaimPolicy": "", "parameters": {"type": "ssd"},
            }),
        ),
        cluster(
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            "web",
            json!({"webhooks": [{
                "name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://example.org/"},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }]}),
        ),
        cluster(
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicy",
            "web",
            json!({"spec": {
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
                "variables": [{"name": "a", "expression": "true"}, {"name": "a", "expression": "true"}],
                "validations": [{"expression": "true"}],
            }}),
        ),
        cluster(
            "flowcontrol.apiserver.k8s.io/v1",
            "FlowSchema",
            "web",
            json!({"spec": {
                "matchingPrecedence": 100, "priorityLevelConfiguration": {"name": "exempt"},
                "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}], "nonResourceRules": [{"verbs": ["get", "get"], "nonResourceURLs": ["/a", "/a"]}]}],
            }}),
        ),
        cluster(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "gadgets.example.net",
            json!({"spec": {
                "group": "example.net", "scope": "Cluster",
                "names": {"kind": "Gadget", "plural": "gadgets", "singular": "gadget"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": {"any": {
                        "type": "array", "items": {"type": "string", "maxLength": 5, "default": "x"},
                    }}}},
                }}}],
            }}),
        ),
    ]
}

/// The federated object with a whole manifest as its template.
pub fn federate(object: &Value) -> Value {
    let (group, _) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap_or(("core", ""));
    let mut metadata = json!({"name": object["metadata"]["name"]});
    if let Some(namespace) = object["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    json!({
        "apiVersion": format!("{group}.types.hansa.dev/v1alpha1"),
        "kind": format!("Federated{}", object["kind"].as_str().unwrap()),
        "metadata": metadata,
        "spec": {
            "template": object,
            "placement": {"memberSelector": {}},
            "overrides": [{
                "members": ["gcp-euw4"],
                "merge": {"metadata": {"annotations": {"gone": null}}},
                "patches": [{"path": "/metadata/labels/app", "value": null}, {"op": "add", "path": "/x", "value": [1, {}]}],
            }],
        },
    })
}
