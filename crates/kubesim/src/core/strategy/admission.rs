//! What kube-apiserver's default admission plugins do to new objects.

use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::store;
use super::Context;
use crate::value;

/// `ServiceAccount`, `DefaultTolerationSeconds` and `Priority`.
pub fn pod(context: &mut Context, object: &mut Value) -> Result<(), ApiError> {
    let namespace = context.target.namespace.clone().unwrap_or_default();
    let name = value::string(object, &["metadata", "name"]).unwrap_or_default().to_string();
    let account = match value::string(object, &["spec", "serviceAccountName"]).filter(|name| !name.is_empty()) {
        Some(name) => name.to_string(),
        None => "default".to_string(),
    };
    let live = context.core.store.get("serviceaccounts", &store::key(Some(&namespace), &account)).cloned();
    let Some(live) = live else {
        let why =
            format!("error looking up service account {namespace}/{account}: serviceaccount {account:?} not found");
        return Err(ApiError::forbidden("", "pods", &name, &why));
    };
    let spec = value::object_at(object, &["spec"]);
    spec.insert("serviceAccountName".into(), json!(account));
    spec.insert("serviceAccount".into(), json!(account));
    let mounts = spec
        .get("automountServiceAccountToken")
        .or(live.value().get("automountServiceAccountToken"))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if mounts {
        mount_token(context, object);
    }
    tolerate(object);
    prioritize(context, object)
}

fn mount_token(context: &mut Context, object: &mut Value) {
    const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let volume = format!("kube-api-access-{}", context.core.random.suffix());
    let mut used = false;
    for kind in ["initContainers", "containers"] {
        let Some(containers) = value::get_mut(object, &["spec", kind]).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            if value::list(container, &["volumeMounts"]).iter().any(|mount| mount["mountPath"] == PATH) {
                continue;
            }
            let Some(fields) = container.as_object_mut() else { continue };
            if let Some(mounts) = fields.entry("volumeMounts").or_insert_with(|| json!([])).as_array_mut() {
                mounts.push(json!({ "name": volume, "readOnly": true, "mountPath": PATH }));
                used = true;
            }
        }
    }
    if !used {
        return;
    }
    let volumes = value::object_at(object, &["spec"]).entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!({ "name": volume, "projected": { "defaultMode": 420, "sources": [
            { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
        ] } }));
    }
}

/// `DefaultTolerationSeconds`, which looks at updates, too.
pub fn tolerate(object: &mut Value) {
    let tolerations = value::object_at(object, &["spec"]).entry("tolerations").or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|toleration| {
            let named = toleration["key"].as_str().unwrap_or_default();
            let effect = toleration["effect"].as_str().unwrap_or_default();
            (named.is_empty() || named == key) && (effect.is_empty() || effect == "NoExecute")
        });
        if !tolerated {
            tolerations
                .push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
        }
    }
}

fn prioritize(context: &mut Context, object: &mut Value) -> Result<(), ApiError> {
    let class = value::string(object, &["spec", "priorityClassName"]).unwrap_or_default().to_string();
    let (mut priority, mut policy) = (json!(0), json!("PreemptLowerPriority"));
    if !class.is_empty() {
        let live = context.core.store.get("priorityclasses.scheduling.k8s.io", &class).map(|class| class.value());
        match (live, class.as_str()) {
            (Some(live), _) => {
                priority = live["value"].clone();
                policy = live.get("preemptionPolicy").cloned().unwrap_or(policy);
            }
            (None, "system-cluster-critical") => priority = json!(2_000_000_000),
            (None, "system-node-critical") => priority = json!(2_000_001_000),
            (None, _) => {
                let name = value::string(object, &["metadata", "name"]).unwrap_or_default();
                let why = format!("no PriorityClass with name {class} was found");
                return Err(ApiError::forbidden("", "pods", name, &why));
            }
        }
    }
    let spec = value::object_at(object, &["spec"]);
    spec.insert("priority".into(), priority);
    spec.entry("preemptionPolicy").or_insert(policy);
    Ok(())
}

/// `StorageObjectInUseProtection`.
pub fn protect(object: &mut Value, finalizer: &str) {
    let finalizers = value::object_at(object, &["metadata"]).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = finalizers.as_array_mut()
        && !list.contains(&json!(finalizer))
    {
        list.push(json!(finalizer));
    }
}
