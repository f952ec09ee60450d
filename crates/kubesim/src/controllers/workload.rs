//! What the controllers of pods share: owned objects, pods out of templates, names, counts.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::queue::{Controllers, Task};
use crate::core::random::safe_encode;
use crate::core::selector::LabelSelector;
use crate::core::store::{Change, Key, Object};
use crate::core::strategy::{condition, is_finished, is_ready, set_condition_status};
use crate::core::time::{self, Millis};
use crate::core::{ApiError, Core};
use crate::value;

/// The task that looks after what this owner reference points at.
fn tender(namespace: &str, kind: &str, name: &str) -> Option<Task> {
    let key: Key = format!("{namespace}/{name}").into();
    Some(match kind {
        "Deployment" => Task::Deployment(key),
        "ReplicaSet" => Task::ReplicaSet(key),
        "StatefulSet" => Task::StatefulSet(key),
        "DaemonSet" => Task::DaemonSet(key),
        "Job" => Task::Job(key),
        _ => return None,
    })
}

/// Workloads that changed, and the owners of what changed.
pub(super) fn notice(controllers: &mut Controllers, change: &Arc<Change>) {
    let object = &change.object;
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let own = match &*change.resource {
        "deployments.apps" => Some("Deployment"),
        "replicasets.apps" => Some("ReplicaSet"),
        "statefulsets.apps" => Some("StatefulSet"),
        "daemonsets.apps" => Some("DaemonSet"),
        "jobs.batch" => Some("Job"),
        _ => None,
    };
    if let Some(kind) = own.filter(|_| !change.deleted) {
        controllers.add_some(tender(namespace, kind, &object.name));
    }
    if matches!(&*change.resource, "pods" | "replicasets.apps") {
        let before = change.before.as_ref().and_then(|before| before.controller().cloned());
        for owner in object.controller().cloned().into_iter().chain(before) {
            controllers.add_some(tender(namespace, &owner.kind, &owner.name));
        }
    }
}

/// A pod with its parsed body.
pub(super) struct Pod {
    pub object: Arc<Object>,
    pub body: Value,
}

impl Pod {
    /// Neither ended nor about to.
    pub fn is_active(&self) -> bool {
        !self.object.deleting && !is_finished(&self.body)
    }

    /// Ready, and so for this long.
    pub fn is_available(&self, seconds: i64, now: Millis) -> bool {
        is_ready(&self.body) && self.available_at(seconds).is_some_and(|at| at <= now)
    }

    /// When it is available if it stays ready.
    pub fn available_at(&self, seconds: i64) -> Option<Millis> {
        let ready = condition(&self.body, "Ready").filter(|ready| ready["status"] == "True")?;
        let since = ready["lastTransitionTime"].as_str().and_then(time::parse)?;
        Some(since + u64::try_from(seconds).unwrap_or(0) * 1000)
    }

    pub fn is_ready(&self) -> bool {
        is_ready(&self.body)
    }
}

/// A reference by which a controller owns what it makes.
pub(super) fn controller_reference(api_version: &str, kind: &str, owner: &Object) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": owner.name, "uid": owner.uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// A short text that follows from a template, as `pod-template-hash` does.
pub(super) fn template_hash(template: &Value, collisions: i64) -> String {
    let mut digest: u32 = 0x811c_9dc5;
    let text = template.to_string();
    let more = if collisions > 0 { collisions.to_string() } else { String::new() };
    for byte in text.bytes().chain(more.bytes()) {
        digest = (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    safe_encode(&digest.to_string())
}

/// A number, or a percentage of a whole; rounded up or down.
pub(super) fn scaled(amount: Option<&Value>, whole: i64, up: bool) -> i64 {
    match amount {
        Some(Value::Number(number)) => number.as_i64().unwrap_or(0),
        Some(Value::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent * whole;
            if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) }
        }
        _ => 0,
    }
}

/// A pod out of a template.
pub(super) fn pod_of(template: &Value, namespace: &str, owner: &Value) -> Value {
    let mut pod =
        json!({ "metadata": template.get("metadata").cloned().unwrap_or_else(|| json!({})), "spec": template["spec"] });
    value::remove(&mut pod, &["metadata", "creationTimestamp"]);
    value::remove(&mut pod, &["metadata", "name"]);
    value::set(&mut pod, &["metadata", "namespace"], json!(namespace));
    value::set(&mut pod, &["metadata", "ownerReferences"], json!([owner]));
    pod
}

/// Sets a condition that has a time of its last update, as Deployments have.
pub(super) fn set_updated_condition(
    object: &mut Value,
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Millis,
) {
    let old = condition(object, name).cloned();
    set_condition_status(object, name, status, reason, message, now);
    let unchanged =
        old.as_ref().is_some_and(|old| old["reason"] == reason && old["message"] == message && old["status"] == status);
    let at = match (&old, unchanged) {
        (Some(old), true) => old["lastUpdateTime"].clone(),
        _ => json!(time::seconds(now)),
    };
    let conditions = value::get_mut(object, &["status", "conditions"]).and_then(Value::as_array_mut);
    if let Some(found) = conditions.and_then(|list| list.iter_mut().find(|condition| condition["type"] == name)) {
        found["lastUpdateTime"] = at;
    }
}

/// Writes counts into a status; those that Go leaves out when zero are left out.
pub(super) fn set_counts(object: &mut Value, always: &[(&str, i64)], unless_zero: &[(&str, i64)]) {
    let status = value::object_at(object, &["status"]);
    for (name, count) in always {
        status.insert((*name).to_string(), json!(count));
    }
    for (name, count) in unless_zero {
        if *count == 0 {
            status.remove(*name);
        } else {
            status.insert((*name).to_string(), json!(count));
        }
    }
}

impl Core {
    /// The pods that an owner controls.
    pub(super) fn pods_of(&self, owner: &Object) -> Vec<Pod> {
        self.owned("pods", owner).into_iter().map(|object| Pod { body: object.value(), object }).collect()
    }

    /// The objects of a resource that an owner controls, in the order of their names.
    pub(super) fn owned(&self, resource: &str, owner: &Object) -> Vec<Arc<Object>> {
        self.store
            .dependents(&owner.uid)
            .into_iter()
            .filter(|(of, _)| &**of == resource)
            .filter_map(|(of, key)| self.store.get(&of, &key).cloned())
            .filter(|object| object.controller().is_some_and(|controller| controller.uid == owner.uid))
            .collect()
    }

    /// Lets pods go whose labels an owner does not select any more.
    pub(super) fn release(&mut self, owner: &Object, selector: &LabelSelector) {
        for pod in self.owned("pods", owner) {
            if selector.matches(&pod.labels) || pod.deleting {
                continue;
            }
            let released = self.alter("pods", &pod.key(), None, MANAGER, |pod| {
                let mut owners = value::list(pod, &["metadata", "ownerReferences"]).to_vec();
                owners.retain(|reference| reference["uid"] != owner.uid.as_str());
                match owners.is_empty() {
                    true => drop(value::remove(pod, &["metadata", "ownerReferences"])),
                    false => value::set(pod, &["metadata", "ownerReferences"], json!(owners)),
                }
            });
            if let Err(error) = released {
                tracing::warn!(%error, pod = pod.name, "a pod is not released");
            }
        }
    }

    /// Takes over objects that match and have no controller, as after an orphaning deletion.
    pub(super) fn adopt(&mut self, resource: &str, owner: &Object, selector: &LabelSelector, reference: &Value) {
        let strays: Vec<Arc<Object>> = self
            .store
            .list(resource, owner.namespace.as_deref())
            .filter(|object| !object.deleting && object.controller().is_none() && selector.matches(&object.labels))
            .cloned()
            .collect();
        for stray in strays {
            let mut object = stray.value();
            let mut owners = value::list(&object, &["metadata", "ownerReferences"]).to_vec();
            owners.push(reference.clone());
            value::set(&mut object, &["metadata", "ownerReferences"], json!(owners));
            self.overwrite(&resource.into(), object, stray.revision);
        }
    }

    /// Creates a pod; says in an event and returns why if it is refused.
    pub(super) fn create_pod(
        &mut self,
        pod: Value,
        resource: &str,
        owner: &Object,
        component: &str,
    ) -> Result<(), ApiError> {
        let key = owner.key();
        match self.make("pods", MANAGER, pod) {
            Ok(made) => {
                let message = format!("Created pod: {}", made.name);
                self.event(resource, &key, "Normal", "SuccessfulCreate", &message, component);
                Ok(())
            }
            Err(error) => {
                let message = format!("Error creating: {error}");
                self.event(resource, &key, "Warning", "FailedCreate", &message, component);
                Err(error)
            }
        }
    }

    /// Deletes a pod that is too many.
    pub(super) fn delete_pod(&mut self, pod: &Arc<Object>, resource: &str, owner: &Object, component: &str) {
        let Some(pods) = self.registry.by_id("pods").cloned() else { return };
        let how = crate::core::delete::DeleteOptions { uid: Some(pod.uid.clone()), ..Default::default() };
        if self.delete_object(&pods, pod, &how, false).is_ok() {
            let message = format!("Deleted pod: {}", pod.name);
            self.event(resource, &owner.key(), "Normal", "SuccessfulDelete", &message, component);
        }
    }

    /// Writes a status, logging what should not happen.
    pub(super) fn set_status(&mut self, resource: &str, key: &str, change: impl FnOnce(&mut Value)) {
        if let Err(error) = self.alter(resource, key, Some("status"), MANAGER, change) {
            tracing::warn!(%error, resource, key, "a status was refused");
        }
    }
}
