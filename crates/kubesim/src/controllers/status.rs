//! Kinds that only tell a status here: disruption budgets, autoscalers (which do not scale) and
//! claims (which are bound to volumes that hold nothing).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::queue::{Controllers, Task, in_namespace};
use super::workload::{Pod, scaled};
use crate::core::selector::LabelSelector;
use crate::core::store::{Change, Key, Store};
use crate::core::strategy::set_condition;
use crate::core::{ApiError, Core, time};
use crate::value;

const BUDGETS: &str = "poddisruptionbudgets.policy";
const AUTOSCALERS: &str = "horizontalpodautoscalers.autoscaling";
const CLAIMS: &str = "persistentvolumeclaims";
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// What changed, and what the change counts in.
pub(super) fn notice(store: &Store, controllers: &mut Controllers, change: &Arc<Change>) {
    let namespace = change.object.namespace.as_deref();
    match &*change.resource {
        BUDGETS => {
            let body = change.object.value();
            let selector = LabelSelector::from_object(value::get(&body, &["spec", "selector"]));
            match change.deleted {
                true => drop(controllers.budgets.remove(&change.key)),
                false => drop(controllers.budgets.insert(change.key.clone(), selector)),
            }
            controllers.add(Task::Budget(change.key.clone()));
        }
        AUTOSCALERS => {
            let body = change.object.value();
            let text =
                |field: &str| value::string(&body, &["spec", "scaleTargetRef", field]).unwrap_or_default().to_string();
            match change.deleted {
                true => drop(controllers.autoscalers.remove(&change.key)),
                false => drop(controllers.autoscalers.insert(change.key.clone(), (text("kind"), text("name")))),
            }
            controllers.add(Task::Autoscaler(change.key.clone()));
        }
        CLAIMS => controllers.add(Task::Claim(change.key.clone())),
        "pods" => {
            let states: Vec<_> = change.before.iter().chain([&change.object]).collect();
            let concerned: Vec<Key> = in_namespace(&controllers.budgets, namespace)
                .filter(|(_, selector)| states.iter().any(|state| selector.matches(&state.labels)))
                .map(|(key, _)| key.clone())
                .collect();
            concerned.into_iter().for_each(|key| controllers.add(Task::Budget(key)));
            if change.deleted {
                // A claim that waits for its last pod may go now.
                for claim in store.list(CLAIMS, namespace).filter(|claim| claim.deleting) {
                    controllers.add(Task::Claim(claim.key()));
                }
            }
        }
        "deployments.apps" | "statefulsets.apps" | "replicasets.apps" => {
            let kind = match &*change.resource {
                "deployments.apps" => "Deployment",
                "statefulsets.apps" => "StatefulSet",
                _ => "ReplicaSet",
            };
            let concerned: Vec<Key> = in_namespace(&controllers.autoscalers, namespace)
                .filter(|(_, (of, name))| of == kind && *name == change.object.name)
                .map(|(key, _)| key.clone())
                .collect();
            concerned.into_iter().for_each(|key| controllers.add(Task::Autoscaler(key)));
        }
        _ => {}
    }
}

impl Core {
    pub(super) fn tend_budget(&mut self, key: &Key) {
        let Some(live) = self.store.get(BUDGETS, key).cloned().filter(|live| !live.deleting) else { return };
        let budget = live.value();
        let selector = LabelSelector::from_object(value::get(&budget, &["spec", "selector"]));
        let pods: Vec<Pod> = self
            .store
            .list("pods", live.namespace.as_deref())
            .filter(|pod| selector.matches(&pod.labels))
            .map(|object| Pod { body: object.value(), object: object.clone() })
            .collect();
        let least = value::get(&budget, &["spec", "minAvailable"]);
        let most = value::get(&budget, &["spec", "maxUnavailable"]);
        let absolute = matches!(least, Some(Value::Number(_)));
        let active = pods.iter().filter(|pod| pod.is_active()).count() as i64;
        let expected = if absolute { active } else { self.expected_pods(&pods) };
        let desired = match (least, most) {
            (Some(least), _) => scaled(Some(least), expected, true),
            (None, Some(most)) => (expected - scaled(Some(most), expected, true)).max(0),
            (None, None) => 1,
        };
        // A pod whose eviction was granted counts as gone until it is.
        let granted: BTreeMap<String, Value> = value::get(&budget, &["status", "disruptedPods"])
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(name, _)| pods.iter().any(|pod| pod.object.name == **name && !pod.object.deleting))
            .map(|(name, at)| (name.clone(), at.clone()))
            .collect();
        let healthy = pods
            .iter()
            .filter(|pod| pod.is_active() && pod.is_ready() && !granted.contains_key(&pod.object.name))
            .count() as i64;
        let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
        let generation = value::integer(&budget, &["metadata", "generation"]).unwrap_or(0);
        let now = self.now;
        self.set_status(BUDGETS, key, |budget| {
            for (field, count) in [
                ("expectedPods", expected),
                ("desiredHealthy", desired),
                ("currentHealthy", healthy),
                ("disruptionsAllowed", allowed),
                ("observedGeneration", generation),
            ] {
                value::set(budget, &["status", field], json!(count));
            }
            match granted.is_empty() {
                true => drop(value::remove(budget, &["status", "disruptedPods"])),
                false => value::set(budget, &["status", "disruptedPods"], json!(granted)),
            }
            let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
            set_condition(budget, "DisruptionAllowed", allowed > 0, reason, "", now);
            let conditions = value::get_mut(budget, &["status", "conditions"]).and_then(Value::as_array_mut);
            for condition in conditions.into_iter().flatten() {
                condition["message"] = json!("");
                condition["observedGeneration"] = json!(generation);
            }
        });
    }

    /// How many pods the controllers of these pods ask for together.
    fn expected_pods(&self, pods: &[Pod]) -> i64 {
        let mut owners: BTreeMap<String, i64> = BTreeMap::new();
        let mut alone = 0;
        for pod in pods {
            let owner = pod
                .object
                .controller()
                .and_then(|owner| self.store.by_uid(&owner.uid))
                .and_then(|(id, key)| self.store.get(id, key));
            match owner {
                Some(mut owner) => {
                    // Of a ReplicaSet that a Deployment rolls, the Deployment says how many.
                    if let Some(above) = owner
                        .controller()
                        .and_then(|above| self.store.by_uid(&above.uid))
                        .and_then(|(id, key)| self.store.get(id, key))
                    {
                        owner = above;
                    }
                    let wanted = value::integer(&owner.value(), &["spec", "replicas"]).unwrap_or(1);
                    owners.insert(owner.uid.clone(), wanted);
                }
                None => alone += 1,
            }
        }
        alone + owners.values().sum::<i64>()
    }

    pub(super) fn tend_autoscaler(&mut self, key: &Key) {
        let Some(live) = self.store.get(AUTOSCALERS, key).cloned().filter(|live| !live.deleting) else { return };
        let autoscaler = live.value();
        let reference = |field: &str| {
            value::string(&autoscaler, &["spec", "scaleTargetRef", field]).unwrap_or_default().to_string()
        };
        let resource = self.registry.by_kind(&reference("apiVersion"), &reference("kind")).cloned();
        let missing = match &resource {
            Some(resource) => ApiError::not_found(&resource.group, &resource.plural, &reference("name")).message,
            None => format!("no matches for kind {:?} in group {:?}", reference("kind"), reference("apiVersion")),
        };
        let place = format!("{}/{}", live.namespace.as_deref().unwrap_or_default(), reference("name"));
        let target =
            resource.and_then(|resource| self.store.get(&resource.id, &place).cloned()).map(|target| target.value());
        let now = self.now;
        let generation = value::integer(&autoscaler, &["metadata", "generation"]).unwrap_or(0);
        self.set_status(AUTOSCALERS, key, |autoscaler| match target {
            Some(target) => {
                value::set(autoscaler, &["status", "observedGeneration"], json!(generation));
                let replicas = value::integer(&target, &["spec", "replicas"]).unwrap_or(1);
                value::set(autoscaler, &["status", "currentReplicas"], json!(replicas));
                let message = "the HPA controller was able to get the target's current scale";
                set_condition(autoscaler, "AbleToScale", true, "SucceededGetScale", message, now);
                let message = "kubesim measures nothing, so it does not scale";
                set_condition(autoscaler, "ScalingActive", false, "FailedGetResourceMetric", message, now);
            }
            None => {
                let message = format!("the HPA controller was unable to get the target's current scale: {missing}");
                set_condition(autoscaler, "AbleToScale", false, "FailedGetScale", &message, now);
            }
        });
    }

    /// Binds a claim to a volume of its size, and lets a deleted claim go with its last pod.
    pub(super) fn tend_claim(&mut self, key: &Key) {
        let Some(live) = self.store.get(CLAIMS, key).cloned() else { return };
        let claim = live.value();
        if live.deleting {
            let used = self.store.list("pods", live.namespace.as_deref()).any(|pod| {
                let volumes = pod.value();
                value::list(&volumes, &["spec", "volumes"])
                    .iter()
                    .any(|volume| volume["persistentVolumeClaim"]["claimName"] == live.name.as_str())
            });
            if !used {
                self.drop_finalizer(&CLAIMS.into(), &live, PROTECTION);
                if let Some(volume) = value::string(&claim, &["spec", "volumeName"])
                    .and_then(|name| self.store.get("persistentvolumes", name).cloned())
                {
                    self.store.remove(&"persistentvolumes".into(), &volume.key());
                }
            }
            return;
        }
        if self.config.nodes.is_empty() || value::string(&claim, &["spec", "volumeName"]).is_some() {
            return;
        }
        let name = format!("pvc-{}", live.uid);
        let size = claim["spec"]["resources"]["requests"]["storage"].clone();
        let volume = json!({
            "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": "kubesim.hansa.dev" } },
            "spec": {
                "capacity": { "storage": size }, "accessModes": claim["spec"]["accessModes"], "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": claim["spec"].get("storageClassName").cloned().unwrap_or_else(|| json!("")),
                "hostPath": { "path": format!("/kubesim/{name}") },
                "claimRef": { "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": live.namespace, "name": live.name, "uid": live.uid },
            },
        });
        if let Err(error) = self.make("persistentvolumes", MANAGER, volume) {
            tracing::warn!(%error, "no volume");
            return;
        }
        let at = time::seconds(self.now);
        self.set_status("persistentvolumes", &name, |volume| {
            value::set(volume, &["status"], json!({ "phase": "Bound", "lastPhaseTransitionTime": at }));
        });
        let bound =
            self.alter(CLAIMS, key, None, MANAGER, |claim| value::set(claim, &["spec", "volumeName"], json!(name)));
        if let Err(error) = bound {
            tracing::warn!(%error, "a claim stays unbound");
        }
        self.set_status(CLAIMS, key, |claim| {
            let modes = claim["spec"]["accessModes"].clone();
            value::set(
                claim,
                &["status"],
                json!({ "phase": "Bound", "accessModes": modes, "capacity": { "storage": size } }),
            );
        });
    }
}
