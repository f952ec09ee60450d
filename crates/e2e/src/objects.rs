//! The objects that scenarios are about.

use crate::client::Resource;
use serde_json::{Value, json};

/// ConfigMaps.
pub const CONFIG_MAPS: Resource = Resource { group: "", version: "v1", plural: "configmaps", kind: "ConfigMap" };
/// Secrets.
pub const SECRETS: Resource = Resource { group: "", version: "v1", plural: "secrets", kind: "Secret" };
/// Services.
pub const SERVICES: Resource = Resource { group: "", version: "v1", plural: "services", kind: "Service" };
/// Namespaces.
pub const NAMESPACES: Resource = Resource { group: "", version: "v1", plural: "namespaces", kind: "Namespace" };
/// Pods.
pub const PODS: Resource = Resource { group: "", version: "v1", plural: "pods", kind: "Pod" };
/// Deployments.
pub const DEPLOYMENTS: Resource = Resource { group: "apps", version: "v1", plural: "deployments", kind: "Deployment" };
/// ReplicaSets.
pub const REPLICA_SETS: Resource = Resource { group: "apps", version: "v1", plural: "replicasets", kind: "ReplicaSet" };
/// Jobs.
pub const JOBS: Resource = Resource { group: "batch", version: "v1", plural: "jobs", kind: "Job" };
/// CustomResourceDefinitions.
pub const DEFINITIONS: Resource = Resource {
    group: "apiextensions.k8s.io",
    version: "v1",
    plural: "customresourcedefinitions",
    kind: "CustomResourceDefinition",
};
/// The Federation.
pub const FEDERATIONS: Resource =
    Resource { group: "hansa.dev", version: "v1alpha1", plural: "federations", kind: "Federation" };
/// Members.
pub const MEMBERS: Resource = Resource { group: "hansa.dev", version: "v1alpha1", plural: "members", kind: "Member" };
/// Requests.
pub const REQUESTS: Resource =
    Resource { group: "hansa.dev", version: "v1alpha1", plural: "requests", kind: "Request" };

/// The annotation that keeps a pod from becoming ready: kubesim's, and a stage of kwok's looks at it.
pub const READY: &str = "kubesim.hansa.dev/ready";

/// The template of a ConfigMap with these entries.
pub fn config(entries: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({"data": data})
}

/// The template of a Deployment of one container with this name.
pub fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

/// A spec with this template in every member.
pub fn everywhere(template: Value) -> Value {
    json!({"template": template, "placement": {"memberSelector": {}}})
}

/// A spec with this template in these members.
pub fn placed(template: Value, members: &[&str]) -> Value {
    json!({"template": template, "placement": {"members": members}})
}

/// A whole federated object.
pub fn federated(resource: Resource, namespace: &str, name: &str, spec: &Value) -> Value {
    let group = if resource.group.is_empty() { "core" } else { resource.group };
    let mut metadata = json!({"name": name});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    json!({
        "apiVersion": format!("{group}.types.hansa.dev/v1alpha1"),
        "kind": format!("Federated{}", resource.kind),
        "metadata": metadata,
        "spec": spec,
    })
}

/// A whole object of the kind itself, from a template.
pub fn plain(resource: Resource, namespace: &str, name: &str, template: &Value) -> Value {
    let mut object = template.clone();
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    object["metadata"]["name"] = json!(name);
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// The condition of a type in an object's status: its status, reason and message.
pub fn condition<'a>(object: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let found = object["status"]["conditions"].as_array().into_iter().flatten().find(|each| each["type"] == kind);
    let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default();
    (text("status"), text("reason"), text("message"))
}
