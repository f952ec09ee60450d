//! ReplicaSets: as many pods as they ask for.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::queue::Task;
use super::workload::{Pod, controller_reference, pod_of, set_counts};
use crate::core::Core;
use crate::core::selector::LabelSelector;
use crate::core::store::Key;
use crate::core::strategy::set_condition;
use crate::value;

const ID: &str = "replicasets.apps";
const COMPONENT: &str = "replicaset-controller";
/// How many pods are made or deleted at once; the next round follows from their changes.
const BURST: usize = 500;

impl Core {
    pub(super) fn tend_replica_set(&mut self, key: &Key) {
        let Some(live) = self.store.get(ID, key).cloned() else { return };
        let set = live.value();
        let selector = LabelSelector::from_object(value::get(&set, &["spec", "selector"]));
        let reference = controller_reference("apps/v1", "ReplicaSet", &live);
        if !live.deleting && self.pods_of(&live).is_empty() {
            self.adopt("pods", &live, &selector, &reference);
        }
        self.release(&live, &selector);
        let pods = self.pods_of(&live);
        let (active, rest): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(Pod::is_active);
        let wanted = usize::try_from(value::integer(&set, &["spec", "replicas"]).unwrap_or(1)).unwrap_or(0);
        let mut failure = None;
        if !live.deleting {
            for _ in 0..wanted.saturating_sub(active.len()).min(BURST) {
                let mut pod =
                    pod_of(&set["spec"]["template"], live.namespace.as_deref().unwrap_or_default(), &reference);
                value::set(&mut pod, &["metadata", "generateName"], json!(format!("{}-", live.name)));
                if let Err(error) = self.create_pod(pod, ID, &live, COMPONENT) {
                    // The others would be refused for the same reason; try again by and by.
                    failure = Some(error.to_string());
                    self.controllers.add_at(self.now + 5000, Task::ReplicaSet(key.clone()));
                    break;
                }
            }
            let mut ranked: Vec<&Pod> = active.iter().collect();
            ranked.sort_by_cached_key(|pod| rank(pod));
            for pod in ranked.iter().take(active.len().saturating_sub(wanted).min(BURST)) {
                self.delete_pod(&pod.object, ID, &live, COMPONENT);
            }
        }
        self.replica_set_status(key, &set, &active, &rest, failure);
    }

    fn replica_set_status(&mut self, key: &Key, set: &Value, active: &[Pod], rest: &[Pod], failure: Option<String>) {
        let now = self.now;
        let patience = value::integer(set, &["spec", "minReadySeconds"]).unwrap_or(0);
        let template = LabelSelector::from_map(value::get(set, &["spec", "template", "metadata", "labels"]));
        let count = |test: &dyn Fn(&&Pod) -> bool| active.iter().filter(test).count() as i64;
        let counts = [
            ("fullyLabeledReplicas", count(&|pod| template.matches(&pod.object.labels))),
            ("readyReplicas", count(&|pod| pod.is_ready())),
            ("availableReplicas", count(&|pod| pod.is_available(patience, now))),
        ];
        let terminating = rest.iter().filter(|pod| pod.object.deleting).count() as i64;
        let generation = value::integer(set, &["metadata", "generation"]).unwrap_or(0);
        let soon = active.iter().filter_map(|pod| pod.available_at(patience)).filter(|at| *at > now).min();
        if let Some(at) = soon {
            self.controllers.add_at(at, Task::ReplicaSet(key.clone()));
        }
        let replicas = active.len() as i64;
        self.set_status(ID, key, |set| {
            set_counts(set, &[("replicas", replicas), ("terminatingReplicas", terminating)], &counts);
            value::set(set, &["status", "observedGeneration"], json!(generation));
            match failure {
                Some(message) => set_condition(set, "ReplicaFailure", true, "FailedCreate", &message, now),
                None => {
                    if let Some(list) = value::get_mut(set, &["status", "conditions"]).and_then(Value::as_array_mut) {
                        list.retain(|condition| condition["type"] != "ReplicaFailure");
                        if list.is_empty() {
                            value::remove(set, &["status", "conditions"]);
                        }
                    }
                }
            }
        });
    }
}

/// Which pod goes first: without a node, pending, not ready, the youngest.
fn rank(pod: &Pod) -> (bool, bool, bool, Reverse<String>, String) {
    let assigned = !value::string(&pod.body, &["spec", "nodeName"]).unwrap_or_default().is_empty();
    let running = value::string(&pod.body, &["status", "phase"]) == Some("Running");
    let created = value::string(&pod.body, &["metadata", "creationTimestamp"]).unwrap_or_default();
    (assigned, running, pod.is_ready(), Reverse(created.to_string()), pod.object.name.clone())
}
