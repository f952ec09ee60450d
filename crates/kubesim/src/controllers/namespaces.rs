//! Namespaces: furnished when they come, emptied when they go.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::queue::{Controllers, Task};
use crate::core::Core;
use crate::core::delete::DeleteOptions;
use crate::core::store::{Change, Object, Store, key};
use crate::core::strategy::set_condition;
use crate::value;

const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Namespaces that changed, what furnishes them, and what leaves one that is being emptied.
pub(super) fn notice(store: &Store, controllers: &mut Controllers, change: &Arc<Change>) {
    if &*change.resource == "namespaces" {
        if !change.deleted {
            controllers.add(Task::Namespace(change.key.clone()));
        }
        return;
    }
    let Some(namespace) = &change.object.namespace else { return };
    let furniture = matches!(
        (&*change.resource, change.object.name.as_str()),
        ("serviceaccounts", "default") | ("configmaps", ROOT_CA)
    );
    let emptying = change.deleted && store.get("namespaces", namespace).is_some_and(|live| live.deleting);
    if furniture || emptying {
        controllers.add(Task::Namespace(namespace.as_str().into()));
    }
}

impl Core {
    pub(super) fn tend_namespace(&mut self, name: &str) {
        let Some(live) = self.store.get("namespaces", name).cloned() else { return };
        if live.deleting {
            self.empty_namespace(&live);
        } else {
            self.furnish_namespace(name);
        }
    }

    fn furnish_namespace(&mut self, name: &str) {
        if self.store.get("serviceaccounts", &key(Some(name), "default")).is_none() {
            let account = json!({ "metadata": { "name": "default", "namespace": name } });
            if let Err(error) = self.make("serviceaccounts", MANAGER, account) {
                tracing::debug!(%error, "no default service account");
            }
        }
        let authority = self.config.certificate_authority.clone();
        let place = key(Some(name), ROOT_CA);
        match self.store.get("configmaps", &place).map(|live| live.value()) {
            None => {
                let map = json!({
                    "metadata": { "name": ROOT_CA, "namespace": name, "annotations": { "kubernetes.io/description": ROOT_CA_DESCRIPTION } },
                    "data": { "ca.crt": authority },
                });
                if let Err(error) = self.make("configmaps", MANAGER, map) {
                    tracing::debug!(%error, "no root certificate");
                }
            }
            Some(live) if live["data"] != json!({ "ca.crt": authority }) => {
                let altered = self.alter("configmaps", &place, None, MANAGER, |map| {
                    value::set(map, &["data"], json!({ "ca.crt": authority }));
                });
                if let Err(error) = altered {
                    tracing::debug!(%error, "the root certificate stays as it is");
                }
            }
            Some(_) => {}
        }
    }

    fn empty_namespace(&mut self, live: &Arc<Object>) {
        let name = live.name.as_str();
        for id in self.store.resources_in(name) {
            let Some(resource) = self.registry.by_id(&id).cloned() else { continue };
            let objects: Vec<Arc<Object>> =
                self.store.list(&id, Some(name)).filter(|object| !object.deleting).cloned().collect();
            for object in objects {
                // Nothing is asked for, so nothing can refuse.
                let _ = self.delete_object(&resource, &object, &DeleteOptions::default(), false);
            }
        }
        let mut left: BTreeMap<String, usize> = BTreeMap::new();
        let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
        for id in self.store.resources_in(name) {
            for object in self.store.list(&id, Some(name)) {
                *left.entry(resource_text(&id)).or_default() += 1;
                for finalizer in
                    value::list(&object.value(), &["metadata", "finalizers"]).iter().filter_map(Value::as_str)
                {
                    *finalizers.entry(finalizer.to_string()).or_default() += 1;
                }
            }
        }
        let mut namespace = live.value();
        let before = namespace.clone();
        self.describe_emptying(&mut namespace, &left, &finalizers);
        if before != namespace {
            let status = namespace["status"].clone();
            self.set_status("namespaces", name, |namespace| value::set(namespace, &["status"], status));
        }
        if !left.is_empty() {
            return;
        }
        let Some(live) = self.store.get("namespaces", name).cloned() else { return };
        let mut namespace = live.value();
        let mut finalizers = value::list(&namespace, &["spec", "finalizers"]).to_vec();
        finalizers.retain(|finalizer| finalizer != "kubernetes");
        let kept = !value::list(&namespace, &["metadata", "finalizers"]).is_empty() || !finalizers.is_empty();
        match finalizers.is_empty() {
            true => drop(value::remove(&mut namespace, &["spec", "finalizers"])),
            false => value::set(&mut namespace, &["spec", "finalizers"], json!(finalizers)),
        }
        if !kept {
            self.store.remove(&"namespaces".into(), &live.key());
        } else if namespace != live.value() {
            self.overwrite(&"namespaces".into(), namespace, 0);
        }
    }

    fn describe_emptying(
        &self,
        namespace: &mut Value,
        left: &BTreeMap<String, usize>,
        finalizers: &BTreeMap<String, usize>,
    ) {
        let now = self.now;
        let text = |counts: &BTreeMap<String, usize>, word: &str| {
            let parts: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name}{word} {count} resource instances")).collect();
            parts.join(", ")
        };
        for (name, reason, message) in [
            ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            (
                "NamespaceDeletionContentFailure",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ] {
            set_condition(namespace, name, false, reason, message, now);
        }
        if left.is_empty() {
            set_condition(
                namespace,
                "NamespaceContentRemaining",
                false,
                "ContentRemoved",
                "All content successfully removed",
                now,
            );
        } else {
            let message = format!("Some resources are remaining: {}", text(left, " has"));
            set_condition(namespace, "NamespaceContentRemaining", true, "SomeResourcesRemain", &message, now);
        }
        if finalizers.is_empty() {
            let message = "All content-preserving finalizers finished";
            set_condition(namespace, "NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", message, now);
        } else {
            let message =
                format!("Some content in the namespace has finalizers remaining: {}", text(finalizers, " in"));
            set_condition(namespace, "NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", &message, now);
        }
    }
}

/// `configmaps.`, as messages of the namespace controller name a resource of the core group.
fn resource_text(id: &str) -> String {
    if id.contains('.') { id.to_string() } else { format!("{id}.") }
}
