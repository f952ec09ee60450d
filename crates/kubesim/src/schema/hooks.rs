//! Defaults of built-in kinds that depend on more than one field, each in a few lines.
//!
//! The extraction (`tools/extract-builtins`) finds all other defaults, and fails when it meets one that neither its
//! rules nor this file explains. A hook runs on an object of its definition before the definition's own defaults.

use base64::Engine;
use serde_json::{Map, Value, json};

/// What a hook works on.
type Fields = Map<String, Value>;

/// Fills in what depends on other fields.
pub(crate) type Hook = fn(&mut Fields);

/// The hook of a definition.
pub(crate) fn of_definition(name: &str) -> Option<Hook> {
    Some(match name {
        "io.k8s.api.apps.v1.StatefulSetUpdateStrategy" => stateful_set_strategy,
        "io.k8s.api.apps.v1.StatefulSetSpec" => stateful_set_spec,
        "io.k8s.api.batch.v1.Job" => job,
        "io.k8s.api.core.v1.Container" | "io.k8s.api.core.v1.EphemeralContainer" => {
            |fields| pull_policy(fields, "image", "imagePullPolicy")
        }
        "io.k8s.api.core.v1.ImageVolumeSource" => |fields| pull_policy(fields, "reference", "pullPolicy"),
        "io.k8s.api.core.v1.LimitRangeItem" => limit_range_item,
        "io.k8s.api.core.v1.Namespace" => namespace,
        "io.k8s.api.core.v1.NodeStatus" => |fields| copy_if_missing(fields, "capacity", "allocatable"),
        "io.k8s.api.core.v1.Pod" => pod,
        "io.k8s.api.core.v1.PodSpec" => pod_spec,
        "io.k8s.api.core.v1.PodStatus" => pod_status,
        "io.k8s.api.core.v1.ReplicationController" => replication_controller,
        "io.k8s.api.core.v1.Secret" => secret,
        "io.k8s.api.core.v1.ServicePort" => |fields| copy_if_missing(fields, "port", "targetPort"),
        "io.k8s.api.core.v1.ServiceSpec" => service_spec,
        "io.k8s.api.core.v1.Volume" => volume,
        "io.k8s.api.networking.v1.NetworkPolicySpec" => network_policy,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition" => {
            custom_resource_definition
        }
        _ => return None,
    })
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A field that says nothing: not there, zero or "".
fn missing(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_none_or(super::wire::is_zero)
}

fn fill(fields: &mut Fields, name: &str, value: Value) {
    if missing(fields, name) {
        fields.insert(name.to_owned(), value);
    }
}

fn copy_if_missing(fields: &mut Fields, from: &str, to: &str) {
    if missing(fields, to)
        && let Some(value) = fields.get(from).cloned()
    {
        fields.insert(to.to_owned(), value);
    }
}

fn child<'a>(fields: &'a mut Fields, name: &str) -> Option<&'a mut Fields> {
    fields.get_mut(name)?.as_object_mut()
}

fn children<'a>(fields: &'a mut Fields, name: &str) -> impl Iterator<Item = &'a mut Fields> {
    fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// `rollingUpdate` is made only together with the type.
fn stateful_set_strategy(fields: &mut Fields) {
    if missing(fields, "type") {
        fields.insert("type".to_owned(), "RollingUpdate".into());
        fields.entry("rollingUpdate").or_insert_with(|| json!({}));
    }
    if text(fields, "type") == "RollingUpdate"
        && let Some(rolling) = child(fields, "rollingUpdate")
    {
        rolling.entry("partition").or_insert_with(|| 0.into());
        rolling.entry("maxUnavailable").or_insert_with(|| 1.into());
    }
}

/// Claim templates say what they are.
fn stateful_set_spec(fields: &mut Fields) {
    for claim in children(fields, "volumeClaimTemplates") {
        fill(claim, "apiVersion", "v1".into());
        fill(claim, "kind", "PersistentVolumeClaim".into());
    }
}

/// `stringData` is a way to write `data` without base64; it is never read back.
fn secret(fields: &mut Fields) {
    let Some(Value::Object(plain)) = fields.remove("stringData") else { return };
    let Some(data) = fields.entry("data").or_insert_with(|| json!({})).as_object_mut() else { return };
    for (name, value) in plain {
        let text = value.as_str().unwrap_or_default();
        data.insert(name, base64::engine::general_purpose::STANDARD.encode(text).into());
    }
}

/// One completion unless the parallelism was chosen; the rest of a Job's numbers.
fn job(fields: &mut Fields) {
    let Some(spec) = child(fields, "spec") else { return };
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".to_owned(), 1.into());
    }
    if spec.contains_key("backoffLimitPerIndex") {
        spec.entry("backoffLimit").or_insert_with(|| i32::MAX.into());
    }
    let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    spec.entry("podReplacementPolicy").or_insert_with(|| replacement.into());
    let labels = spec.get("template").and_then(|template| template.pointer("/metadata/labels")).cloned();
    if let Some(labels) = labels
        && let Some(metadata) = child(fields, "metadata")
    {
        fill(metadata, "labels", labels);
    }
}

/// `Always` for the tag `latest`, said or understood.
fn pull_policy(fields: &mut Fields, image: &str, policy: &str) {
    let reference = text(fields, image);
    let name = reference.rsplit('/').next().unwrap_or(reference);
    let (name, digest) = name.split_once('@').unwrap_or((name, ""));
    let latest = match name.rsplit_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !name.is_empty() && digest.is_empty(),
    };
    if latest {
        fill(fields, policy, "Always".into());
    }
}

/// Default limits from the maximum, default requests from those, else from the minimum.
fn limit_range_item(fields: &mut Fields) {
    if text(fields, "type") != "Container" {
        return;
    }
    for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
        let source = fields.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
        if source.is_empty() {
            continue;
        }
        if let Some(target) = fields.entry(to).or_insert_with(|| json!({})).as_object_mut() {
            for (name, value) in source {
                target.entry(name).or_insert(value);
            }
        }
    }
}

/// Every namespace is labelled with its name.
fn namespace(fields: &mut Fields) {
    let Some(metadata) = child(fields, "metadata") else { return };
    let name = text(metadata, "name").to_owned();
    if name.is_empty() {
        return;
    }
    if let Some(labels) = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut() {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

/// What holds for a pod but not for a template: requests follow limits, host ports follow container ports.
fn pod(fields: &mut Fields) {
    let Some(spec) = child(fields, "spec") else { return };
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in children(spec, list) {
            if let Some(resources) = child(container, "resources") {
                requests_follow_limits(resources);
            }
            if host_network {
                children(container, "ports").for_each(|port| copy_if_missing(port, "containerPort", "hostPort"));
            }
        }
    }
}

fn requests_follow_limits(resources: &mut Fields) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if let Some(requests) = resources.entry("requests").or_insert_with(|| json!({})).as_object_mut() {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// `serviceAccount` is another name for `serviceAccountName`, which wins.
fn pod_spec(fields: &mut Fields) {
    copy_if_missing(fields, "serviceAccount", "serviceAccountName");
    if let Some(name) = fields.get("serviceAccountName").cloned() {
        fields.insert("serviceAccount".to_owned(), name);
    }
}

/// `podIP` and the first of `podIPs` are the same; `podIP` wins.
fn pod_status(fields: &mut Fields) {
    let first = fields.get("podIPs").and_then(|ips| ips.pointer("/0/ip")).cloned();
    match (missing(fields, "podIP"), first) {
        (true, Some(first)) => {
            fields.insert("podIP".to_owned(), first);
        }
        (false, first) if first.as_ref() != fields.get("podIP") => {
            let ip = fields.get("podIP").cloned();
            fields.insert("podIPs".to_owned(), json!([{"ip": ip}]));
        }
        _ => {}
    }
}

/// Labels and selector follow the template's labels.
fn replication_controller(fields: &mut Fields) {
    let labels = fields.get("spec").and_then(|spec| spec.pointer("/template/metadata/labels")).cloned();
    let Some(labels) = labels else { return };
    if let Some(spec) = child(fields, "spec") {
        fill(spec, "selector", labels.clone());
    }
    if let Some(metadata) = child(fields, "metadata") {
        fill(metadata, "labels", labels);
    }
}

/// Affinity's settings come and go with it; external addresses have an external traffic policy.
fn service_spec(fields: &mut Fields) {
    match text(fields, "sessionAffinity") {
        "ClientIP" => {
            let timeout =
                fields.get("sessionAffinityConfig").and_then(|config| config.pointer("/clientIP/timeoutSeconds"));
            if timeout.is_none() {
                fields.insert("sessionAffinityConfig".to_owned(), json!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {
            fields.remove("sessionAffinityConfig");
        }
    }
    if matches!(text(fields, "type"), "" | "ClusterIP") && !missing(fields, "externalIPs") {
        fill(fields, "externalTrafficPolicy", "Cluster".into());
    }
}

/// A volume without a source is an empty directory.
fn volume(fields: &mut Fields) {
    if fields.keys().all(|name| name == "name") {
        fields.insert("emptyDir".to_owned(), json!({}));
    }
}

/// Ingress always, egress when there are rules for it.
fn network_policy(fields: &mut Fields) {
    if missing(fields, "policyTypes") {
        let types = if missing(fields, "egress") { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
        fields.insert("policyTypes".to_owned(), types);
    }
}

/// The singular and the list kind follow the kind; the storage version is one that was stored.
fn custom_resource_definition(fields: &mut Fields) {
    let Some(spec) = child(fields, "spec") else { return };
    let storage = spec.get("versions").and_then(Value::as_array).into_iter().flatten();
    let storage =
        storage.filter(|version| version["storage"] == true).filter_map(|version| version.get("name")).next().cloned();
    if let Some(names) = child(spec, "names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            fill(names, "singular", kind.to_lowercase().into());
            fill(names, "listKind", format!("{kind}List").into());
        }
    }
    if let (Some(status), Some(storage)) = (child(fields, "status"), storage) {
        fill(status, "storedVersions", json!([storage]));
    }
}
