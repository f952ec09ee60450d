//! What is taken out of the body of a manifest, kind by kind.

use super::{Manifest, is_empty};
use crate::path::{join, segment};
use serde_json::{Map, Value};

/// Takes away what the cluster that an object was exported from had assigned to it.
pub(super) fn strip_assigned(manifest: &Manifest<'_>, template: &mut Value, record: &mut impl FnMut(&str, &str)) {
    const ADDRESS: &str = "the cluster it was exported from assigned it; state it by hand where it was chosen";
    let mut take = |pointer: &str, why: &str| {
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer has a slash");
        let parent = template.pointer_mut(parent).and_then(Value::as_object_mut);
        let taken = parent.and_then(|parent| parent.remove(&field.replace("~1", "/")));
        if taken.is_some_and(|value| !is_empty(&value)) {
            let path = pointer[1..].split('/').fold(String::new(), |path, token| {
                let is_index = token.bytes().all(|byte| byte.is_ascii_digit());
                let token = token.replace("~1", "/");
                join(&path, &if is_index { format!("[{token}]") } else { segment(&token) })
            });
            record(&path, why);
        }
    };
    match (manifest.group, manifest.kind) {
        ("", "Service") => {
            let spec = manifest.fields.get("spec");
            let headless = spec.and_then(|spec| spec.get("clusterIP")) == Some(&Value::from("None"));
            if !headless {
                take("/spec/clusterIP", ADDRESS);
                take("/spec/clusterIPs", ADDRESS);
            }
            take("/spec/ipFamilies", ADDRESS);
            take("/spec/healthCheckNodePort", ADDRESS);
            let ports = spec.and_then(|spec| spec.get("ports")).and_then(Value::as_array);
            for index in 0..ports.map_or(0, Vec::len) {
                take(&format!("/spec/ports/{index}/nodePort"), ADDRESS);
            }
        }
        ("", "PersistentVolumeClaim") => {
            take("/spec/volumeName", "it names a volume of the cluster it was exported from")
        }
        ("", "PersistentVolume") => {
            for field in ["uid", "resourceVersion"] {
                take(&format!("/spec/claimRef/{field}"), "it belongs to a claim in one cluster");
            }
        }
        ("", "ServiceAccount") => take("/secrets", "each member makes its own tokens"),
        ("batch", "Job") if template_is_generated(manifest) => {
            take("/spec/selector", "the API server generates it from a uid");
            for label in
                ["controller-uid", "batch.kubernetes.io~1controller-uid", "job-name", "batch.kubernetes.io~1job-name"]
            {
                take(&format!("/spec/template/metadata/labels/{label}"), "the API server generates it from a uid");
            }
        }
        _ => {}
    }
}

fn template_is_generated(manifest: &Manifest<'_>) -> bool {
    let spec = manifest.fields.get("spec");
    spec.and_then(|spec| spec.get("manualSelector")) != Some(&Value::Bool(true))
}

/// Takes away what tools write into manifests and no template should state.
pub(super) fn strip_nested(manifest: &Manifest<'_>, template: &mut Value, record: &mut impl FnMut(&str, &str)) {
    match (manifest.group, manifest.kind) {
        ("", "Namespace") => {
            let spec = template.get_mut("spec").and_then(Value::as_object_mut);
            if spec.is_some_and(|spec| spec.remove("finalizers").is_some()) {
                record("spec.finalizers", "each API server guards its own namespaces with it");
            }
            if template.get("spec").is_some_and(is_empty) {
                template.as_object_mut().map(|fields| fields.remove("spec"));
            }
        }
        ("apps", "StatefulSet") => {
            let claims = template.pointer_mut("/spec/volumeClaimTemplates");
            let claims = claims.and_then(Value::as_array_mut);
            for (index, claim) in claims.into_iter().flatten().enumerate() {
                let status = claim.as_object_mut().and_then(|claim| claim.remove("status"));
                if status.is_some() {
                    record(&format!("spec.volumeClaimTemplates[{index}].status"), "each member writes its own");
                }
            }
        }
        _ => {}
    }
    if is_typed(manifest.group) && !matches!(manifest.kind, "ConfigMap" | "Secret") {
        drop_nulls(template);
    }
}

/// Whether the kinds of a group are Kubernetes' own Go types, which read `null` as nothing said.
/// (In a CustomResourceDefinition it may be a default value, and in a custom resource anything.)
fn is_typed(group: &str) -> bool {
    matches!(
        group,
        "" | "apps"
            | "autoscaling"
            | "batch"
            | "policy"
            | "networking.k8s.io"
            | "rbac.authorization.k8s.io"
            | "scheduling.k8s.io"
            | "storage.k8s.io"
    )
}

/// Leaves out every field that is `null`: generators write them (`creationTimestamp: null`), native
/// kinds ignore them, and the schema of a federated kind refuses them.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => drop_null_fields(fields),
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn drop_null_fields(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| !value.is_null());
    fields.values_mut().for_each(drop_nulls);
}
