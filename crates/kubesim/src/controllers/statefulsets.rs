//! StatefulSets: numbered pods, made and replaced one after the other.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::queue::Task;
use super::revisions::Keeper;
use super::workload::{Pod, controller_reference, pod_of, set_counts};
use crate::core::Core;
use crate::core::selector::LabelSelector;
use crate::core::store::{Key, Object};
use crate::value;

const ID: &str = "statefulsets.apps";
const COMPONENT: &str = "statefulset-controller";
const HASH: &str = "controller-revision-hash";

impl Core {
    pub(super) fn tend_stateful_set(&mut self, key: &Key) {
        let Some(live) = self.store.get(ID, key).cloned().filter(|live| !live.deleting) else { return };
        let set = live.value();
        let keeper = Keeper { kind: "StatefulSet", label: "controller.kubernetes.io/hash", live: &live, body: &set };
        let revisions = self.revisions(&keeper);
        let Some(update) = revisions.last().cloned() else { return };
        let current = value::string(&set, &["status", "currentRevision"])
            .filter(|current| revisions.iter().any(|known| known == current))
            .unwrap_or(&update)
            .to_string();
        let selector = LabelSelector::from_object(value::get(&set, &["spec", "selector"]));
        self.release(&live, &selector);
        let mut pods: BTreeMap<i64, Pod> =
            self.pods_of(&live).into_iter().filter_map(|pod| Some((ordinal(&pod.object.name)?, pod))).collect();
        let first = value::integer(&set, &["spec", "ordinals", "start"]).unwrap_or(0);
        let wanted = first..first + value::integer(&set, &["spec", "replicas"]).unwrap_or(1);
        let parallel = value::string(&set, &["spec", "podManagementPolicy"]) == Some("Parallel");
        let partition = value::integer(&set, &["spec", "updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0);
        let revision_of = |number: i64| if number - first < partition { &current } else { &update };
        self.order(&live, &set, &mut pods, wanted.clone(), parallel, &|number| revision_of(number).clone());
        self.stateful_set_status(key, &set, &pods, wanted, &current, &update);
        let used: Vec<String> =
            pods.values().filter_map(|pod| pod.object.labels.get(HASH).cloned()).chain([current]).collect();
        self.forget_revisions(&keeper, &revisions, &used);
    }

    /// The next steps: missing pods up to the first that is not ready, then pods that are too
    /// many from the end, then pods of an old revision from the end.
    fn order(
        &mut self,
        live: &Object,
        set: &Value,
        pods: &mut BTreeMap<i64, Pod>,
        wanted: std::ops::Range<i64>,
        parallel: bool,
        revision: &dyn Fn(i64) -> String,
    ) {
        let patience = value::integer(set, &["spec", "minReadySeconds"]).unwrap_or(0);
        for number in wanted.clone() {
            match pods.get(&number) {
                None => {
                    // A pod below the partition is made as it was before the update.
                    self.create_numbered(live, set, number, &revision(number));
                    if !parallel {
                        return;
                    }
                }
                Some(pod) if pod.object.deleting && !parallel => return,
                Some(pod) if !pod.object.deleting && !pod.is_active() => {
                    let object = pod.object.clone();
                    self.delete_pod(&object, ID, live, COMPONENT);
                    return;
                }
                Some(pod) if !parallel && !pod.is_available(patience, self.now) => {
                    if let Some(at) = pod.available_at(patience).filter(|at| *at > self.now) {
                        self.controllers.add_at(at, Task::StatefulSet(live.key()));
                    }
                    return;
                }
                Some(_) => {}
            }
        }
        let surplus: Vec<i64> = pods.keys().rev().filter(|number| !wanted.contains(number)).copied().collect();
        for number in surplus {
            let pod = &pods[&number];
            if pod.object.deleting && parallel {
                continue;
            }
            if !pod.object.deleting {
                let object = pod.object.clone();
                self.delete_pod(&object, ID, live, COMPONENT);
            }
            if !parallel {
                return;
            }
        }
        if value::string(set, &["spec", "updateStrategy", "type"]) == Some("OnDelete") {
            return;
        }
        for number in wanted.rev() {
            let Some(pod) = pods.get(&number) else { return };
            let object = pod.object.clone();
            if object.labels.get(HASH) != Some(&revision(number)) && !object.deleting {
                return self.delete_pod(&object, ID, live, COMPONENT);
            }
            // One pod at a time: the next waits until this one is back.
            if !pod.is_available(patience, self.now) {
                return;
            }
        }
    }

    fn create_numbered(&mut self, live: &Object, set: &Value, number: i64, revision: &str) {
        let namespace = live.namespace.clone().unwrap_or_default();
        let stored =
            self.store.get("controllerrevisions.apps", &format!("{namespace}/{revision}")).map(|stored| stored.value());
        let template = stored.as_ref().map_or(&set["spec"]["template"], |stored| &stored["data"]["spec"]["template"]);
        let reference = controller_reference("apps/v1", "StatefulSet", live);
        let mut pod = pod_of(template, &namespace, &reference);
        let name = format!("{}-{number}", live.name);
        value::set(&mut pod, &["metadata", "name"], json!(name));
        value::set(&mut pod, &["metadata", "generateName"], json!(format!("{}-", live.name)));
        for (label, text) in [
            (HASH, revision),
            ("statefulset.kubernetes.io/pod-name", name.as_str()),
            ("apps.kubernetes.io/pod-index", &number.to_string()),
        ] {
            value::set(&mut pod, &["metadata", "labels", label], json!(text));
        }
        value::set(&mut pod, &["spec", "hostname"], json!(name));
        if let Some(service) = value::string(set, &["spec", "serviceName"]).filter(|service| !service.is_empty()) {
            value::set(&mut pod, &["spec", "subdomain"], json!(service));
        }
        self.claim_volumes(live, set, &mut pod, number);
        if self.create_pod(pod, ID, live, COMPONENT).is_err() {
            self.controllers.add_at(self.now + 5000, Task::StatefulSet(live.key()));
        }
    }

    /// Makes the claims of a numbered pod, and mounts them in place of the templates' names.
    fn claim_volumes(&mut self, live: &Object, set: &Value, pod: &mut Value, number: i64) {
        let mut volumes = value::list(pod, &["spec", "volumes"]).to_vec();
        for template in value::list(set, &["spec", "volumeClaimTemplates"]) {
            let volume = template["metadata"]["name"].as_str().unwrap_or_default();
            let claim = format!("{volume}-{}-{number}", live.name);
            let namespace = live.namespace.clone().unwrap_or_default();
            if self.store.get("persistentvolumeclaims", &format!("{namespace}/{claim}")).is_none() {
                let mut object = json!({ "metadata": template["metadata"], "spec": template["spec"] });
                value::set(&mut object, &["metadata", "name"], json!(claim));
                value::set(&mut object, &["metadata", "namespace"], json!(namespace));
                for (label, text) in set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten() {
                    value::set(&mut object, &["metadata", "labels", label], text.clone());
                }
                match self.make("persistentvolumeclaims", MANAGER, object) {
                    Ok(_) => {
                        let message = format!(
                            "Create Claim {claim} Pod {}-{number} in StatefulSet {} success",
                            live.name, live.name
                        );
                        self.event(ID, &live.key(), "Normal", "SuccessfulCreate", &message, COMPONENT);
                    }
                    Err(error) => tracing::warn!(%error, "a claim is missing"),
                }
            }
            volumes.retain(|existing| existing["name"] != volume);
            volumes.insert(0, json!({ "name": volume, "persistentVolumeClaim": { "claimName": claim } }));
        }
        if !volumes.is_empty() {
            value::set(pod, &["spec", "volumes"], json!(volumes));
        }
    }

    fn stateful_set_status(
        &mut self,
        key: &Key,
        set: &Value,
        pods: &BTreeMap<i64, Pod>,
        wanted: std::ops::Range<i64>,
        current: &str,
        update: &str,
    ) {
        let now = self.now;
        let patience = value::integer(set, &["spec", "minReadySeconds"]).unwrap_or(0);
        let count = |test: &dyn Fn(&&Pod) -> bool| pods.values().filter(test).count() as i64;
        let of = |revision: &str| {
            count(&|pod| !pod.object.deleting && pod.object.labels.get(HASH).is_some_and(|hash| hash == revision))
        };
        let available = count(&|pod| !pod.object.deleting && pod.is_available(patience, now));
        let ready = count(&|pod| !pod.object.deleting && pod.is_ready());
        let replicas = pods.len() as i64;
        let (updated, mut older) = (of(update), of(current));
        let size = wanted.end - wanted.start;
        let mut current = current.to_string();
        // An update is complete when every pod has it and is ready.
        if updated == size && replicas == size && ready == size {
            current = update.to_string();
            older = updated;
        }
        let generation = value::integer(set, &["metadata", "generation"]).unwrap_or(0);
        let counts = [("currentReplicas", older), ("updatedReplicas", updated), ("readyReplicas", ready)];
        self.set_status(ID, key, |set| {
            set_counts(set, &[("replicas", replicas), ("availableReplicas", available)], &counts);
            let collisions = value::integer(set, &["status", "collisionCount"]).unwrap_or(0);
            value::set(set, &["status", "collisionCount"], json!(collisions));
            value::set(set, &["status", "observedGeneration"], json!(generation));
            value::set(set, &["status", "currentRevision"], json!(current));
            value::set(set, &["status", "updateRevision"], json!(update));
        });
    }
}

fn ordinal(name: &str) -> Option<i64> {
    name.rsplit_once('-')?.1.parse().ok()
}
