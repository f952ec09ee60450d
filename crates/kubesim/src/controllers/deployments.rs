//! Deployments: a new ReplicaSet grows while the old ones shrink, within `maxSurge` and
//! `maxUnavailable`. The steps are those of Kubernetes' own controller, because `kubectl rollout`
//! reads their traces: revisions, annotations, conditions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::progress::{Progress, progress_of};
use super::queue::Task;
use super::workload::{controller_reference, scaled, set_counts, set_updated_condition, template_hash};
use crate::core::Core;
use crate::core::delete::DeleteOptions;
use crate::core::selector::LabelSelector;
use crate::core::store::{Key, Object};
use crate::core::strategy::condition;
use crate::value;

const ID: &str = "deployments.apps";
const SETS: &str = "replicasets.apps";
const COMPONENT: &str = "deployment-controller";
const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// A ReplicaSet with its parsed body.
struct Set {
    object: Arc<Object>,
    body: Value,
}

impl Set {
    fn wanted(&self) -> i64 {
        value::integer(&self.body, &["spec", "replicas"]).unwrap_or(1)
    }

    fn status(&self, field: &str) -> i64 {
        value::integer(&self.body, &["status", field]).unwrap_or(0)
    }

    fn revision(&self) -> i64 {
        annotation(&self.body, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    value::string(object, &["metadata", "annotations", name])
}

/// What a Deployment asks for.
struct Plan {
    replicas: i64,
    surge: i64,
    unavailable: i64,
    recreate: bool,
}

impl Plan {
    fn of(deployment: &Value) -> Self {
        let replicas = value::integer(deployment, &["spec", "replicas"]).unwrap_or(1);
        let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
        let recreate = value::string(deployment, &["spec", "strategy", "type"]) == Some("Recreate");
        let surge = scaled(rolling.get("maxSurge"), replicas, true);
        let mut unavailable = scaled(rolling.get("maxUnavailable"), replicas, false);
        if surge == 0 && unavailable == 0 {
            // Rounding down must not stop the rollout.
            unavailable = 1;
        }
        if recreate {
            return Plan { replicas, surge: 0, unavailable: 0, recreate };
        }
        Plan { replicas, surge, unavailable: unavailable.min(replicas), recreate }
    }
}

/// The template without what the controller adds to it.
fn plain_template(body: &Value) -> Value {
    let mut template = body["spec"]["template"].clone();
    value::remove(&mut template, &["metadata", "labels", HASH]);
    value::remove(&mut template, &["metadata", "creationTimestamp"]);
    template
}

impl Core {
    fn sets_of(&self, live: &Object) -> Vec<Set> {
        let mut sets: Vec<Set> =
            self.owned(SETS, live).into_iter().map(|object| Set { body: object.value(), object }).collect();
        sets.sort_by_cached_key(|set| (annotation_time(&set.body), set.object.name.clone()));
        sets
    }

    pub(super) fn tend_deployment(&mut self, key: &Key) {
        let Some(live) = self.store.get(ID, key).cloned().filter(|live| !live.deleting) else { return };
        let deployment = live.value();
        let reference = controller_reference("apps/v1", "Deployment", &live);
        let mut sets = self.sets_of(&live);
        if sets.is_empty() {
            let selector = LabelSelector::from_object(value::get(&deployment, &["spec", "selector"]));
            self.adopt(SETS, &live, &selector, &reference);
            sets = self.sets_of(&live);
        }
        let template = plain_template(&deployment);
        let position = sets.iter().position(|set| value::equal(&plain_template(&set.body), &template));
        let plan = Plan::of(&deployment);
        let paused = value::boolean(&deployment, &["spec", "paused"]) == Some(true);
        if paused {
            self.scale_paused(&live, &plan, &sets, position);
        } else if plan.recreate
            && sets
                .iter()
                .enumerate()
                .any(|(at, set)| Some(at) != position && (set.wanted() > 0 || set.status("replicas") > 0))
        {
            for (at, set) in sets.iter().enumerate() {
                if Some(at) != position {
                    self.scale_set(&live, set, 0, &plan);
                }
            }
        } else {
            match position {
                Some(at) => {
                    self.annotate_newest(&live, &deployment, &sets, at, &plan);
                    self.roll(&live, &plan, &sets, at);
                }
                None => self.create_set(&live, &deployment, &template, &sets, &plan, &reference),
            }
        }
        self.deployment_status(key, &live, &plan, paused);
    }

    fn create_set(
        &mut self,
        live: &Object,
        deployment: &Value,
        template: &Value,
        sets: &[Set],
        plan: &Plan,
        reference: &Value,
    ) {
        let collisions = value::integer(deployment, &["status", "collisionCount"]).unwrap_or(0);
        let hash = template_hash(template, collisions);
        let revision = sets.iter().map(Set::revision).max().unwrap_or(0) + 1;
        let room = plan.replicas + plan.surge - sets.iter().map(Set::wanted).sum::<i64>();
        let replicas = if plan.recreate { plan.replicas } else { room.clamp(0, plan.replicas) };
        let name = format!("{}-{hash}", live.name);
        let mut set = json!({
            "metadata": {
                "name": name, "namespace": live.namespace, "ownerReferences": [reference],
                "labels": template["metadata"]["labels"],
                "annotations": copied_annotations(deployment, revision, plan),
            },
            "spec": {
                "replicas": replicas, "selector": deployment["spec"]["selector"], "template": template,
            },
        });
        if let Some(patience) = value::integer(deployment, &["spec", "minReadySeconds"]).filter(|seconds| *seconds > 0)
        {
            value::set(&mut set, &["spec", "minReadySeconds"], json!(patience));
        }
        for path in [
            vec!["metadata", "labels", HASH],
            vec!["spec", "selector", "matchLabels", HASH],
            vec!["spec", "template", "metadata", "labels", HASH],
        ] {
            value::set(&mut set, &path, json!(hash));
        }
        match self.make(SETS, MANAGER, set) {
            Ok(made) => {
                let message = format!("Created new replica set {name:?}");
                let now = self.now;
                self.set_status(ID, &live.key(), |deployment| {
                    set_updated_condition(deployment, "Progressing", "True", "NewReplicaSetCreated", &message, now);
                    value::set(deployment, &["metadata", "annotations", REVISION], json!(revision.to_string()));
                });
                if replicas > 0 {
                    let message = format!("Scaled up replica set {} from 0 to {replicas}", made.name);
                    self.event(ID, &live.key(), "Normal", "ScalingReplicaSet", &message, COMPONENT);
                }
            }
            Err(error) if error.reason == "AlreadyExists" => {
                // Another template has this hash, or a stranger this name: count it in.
                self.set_status(ID, &live.key(), |deployment| {
                    value::set(deployment, &["status", "collisionCount"], json!(collisions + 1));
                });
            }
            Err(error) => {
                let message = format!("Failed to create new replica set {name:?}: {error}");
                let now = self.now;
                self.set_status(ID, &live.key(), |deployment| {
                    set_updated_condition(deployment, "Progressing", "False", "ReplicaSetCreateError", &message, now);
                });
                self.event(ID, &live.key(), "Warning", "ReplicaSetCreateError", &message, COMPONENT);
                self.controllers.add_at(self.now + 5000, Task::Deployment(live.key()));
            }
        }
    }

    /// Keeps the revision of the newest ReplicaSet above all others, also after a rollback.
    fn annotate_newest(&mut self, live: &Object, deployment: &Value, sets: &[Set], at: usize, plan: &Plan) {
        let newest = &sets[at];
        let others =
            sets.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, set)| set.revision()).max().unwrap_or(0);
        let revision = newest.revision().max(others + 1);
        let mut wanted = copied_annotations(deployment, revision, plan);
        if newest.revision() > 0 && newest.revision() != revision {
            let earlier = annotation(&newest.body, HISTORY).map(|text| format!("{text},")).unwrap_or_default();
            wanted[HISTORY] = json!(format!("{earlier}{}", newest.revision()));
        } else if let Some(history) = annotation(&newest.body, HISTORY) {
            wanted[HISTORY] = json!(history);
        }
        let patience = value::get(deployment, &["spec", "minReadySeconds"]);
        let same = newest.body["metadata"]["annotations"] == wanted
            && value::get(&newest.body, &["spec", "minReadySeconds"]) == patience;
        if !same {
            let patience = patience.cloned();
            let altered = self.alter(SETS, &newest.object.key(), None, MANAGER, |set| {
                value::set(set, &["metadata", "annotations"], wanted);
                match patience {
                    Some(patience) => value::set(set, &["spec", "minReadySeconds"], patience),
                    None => drop(value::remove(set, &["spec", "minReadySeconds"])),
                }
            });
            if let Err(error) = altered {
                tracing::warn!(%error, "a ReplicaSet keeps its annotations");
            }
        }
        if annotation(deployment, REVISION) != Some(revision.to_string().as_str()) {
            let name = newest.object.name.clone();
            let now = self.now;
            self.set_status(ID, &live.key(), |deployment| {
                value::set(deployment, &["metadata", "annotations", REVISION], json!(revision.to_string()));
                set_updated_condition(
                    deployment,
                    "Progressing",
                    "True",
                    "FoundNewReplicaSet",
                    &format!("Found new replica set {name:?}"),
                    now,
                );
            });
        }
    }

    /// One step of a rolling update: the newest up, or the old ones down.
    fn roll(&mut self, live: &Object, plan: &Plan, sets: &[Set], at: usize) {
        let newest = &sets[at];
        let total: i64 = sets.iter().map(Set::wanted).sum();
        if newest.wanted() > plan.replicas {
            return self.scale_set(live, newest, plan.replicas, plan);
        }
        let room = plan.replicas + plan.surge - total;
        let grow = room.min(plan.replicas - newest.wanted());
        if grow > 0 {
            return self.scale_set(live, newest, newest.wanted() + grow, plan);
        }
        let mut old: Vec<&Set> = sets
            .iter()
            .enumerate()
            .filter(|(other, set)| *other != at && set.wanted() > 0)
            .map(|(_, set)| set)
            .collect();
        old.sort_by_key(|set| annotation_time(&set.body));
        let least = plan.replicas - plan.unavailable;
        let missing = newest.wanted() - newest.status("availableReplicas");
        let mut surplus = total - least - missing;
        if old.is_empty() || surplus <= 0 {
            return;
        }
        let mut sizes: Vec<i64> = old.iter().map(|set| set.wanted()).collect();
        // Pods that do not work go first.
        for (set, size) in old.iter().zip(&mut sizes) {
            let broken = (*size - set.status("availableReplicas")).clamp(0, surplus);
            *size -= broken;
            surplus -= broken;
        }
        let available: i64 = sets.iter().map(|set| set.status("availableReplicas")).sum();
        let mut spare = (available - least).max(0);
        for size in &mut sizes {
            let fewer = (*size).min(spare);
            *size -= fewer;
            spare -= fewer;
        }
        for (set, size) in old.iter().zip(sizes) {
            self.scale_set(live, set, size, plan);
        }
    }

    /// A paused Deployment still scales the ReplicaSet that runs.
    fn scale_paused(&mut self, live: &Object, plan: &Plan, sets: &[Set], position: Option<usize>) {
        let active: Vec<&Set> = sets.iter().filter(|set| set.wanted() > 0).collect();
        match (active.as_slice(), position) {
            ([only], _) if only.wanted() != plan.replicas => self.scale_set(live, only, plan.replicas, plan),
            ([], Some(at)) => self.scale_set(live, &sets[at], plan.replicas, plan),
            _ => {}
        }
    }

    fn scale_set(&mut self, live: &Object, set: &Set, size: i64, plan: &Plan) {
        let before = set.wanted();
        if before == size {
            return;
        }
        let (desired, maximum) = (plan.replicas.to_string(), (plan.replicas + plan.surge).to_string());
        let altered = self.alter(SETS, &set.object.key(), None, MANAGER, |set| {
            value::set(set, &["spec", "replicas"], json!(size));
            value::set(set, &["metadata", "annotations", DESIRED], json!(desired));
            value::set(set, &["metadata", "annotations", MAXIMUM], json!(maximum));
        });
        match altered {
            Ok(_) => {
                let way = if size > before { "up" } else { "down" };
                let message = format!("Scaled {way} replica set {} from {before} to {size}", set.object.name);
                self.event(ID, &live.key(), "Normal", "ScalingReplicaSet", &message, COMPONENT);
            }
            Err(error) => tracing::warn!(%error, "a ReplicaSet keeps its size"),
        }
    }

    fn deployment_status(&mut self, key: &Key, live: &Object, plan: &Plan, paused: bool) {
        // Read again: this task may have changed the ReplicaSets.
        let Some(current) = self.store.get(ID, key).cloned() else { return };
        let deployment = current.value();
        let sets = self.sets_of(live);
        let template = plain_template(&deployment);
        let newest = sets.iter().find(|set| value::equal(&plain_template(&set.body), &template));
        let sum = |field: &str| sets.iter().map(|set| set.status(field)).sum::<i64>();
        let available = sum("availableReplicas");
        let updated = newest.map_or(0, |set| set.status("replicas"));
        let (replicas, ready) = (sum("replicas"), sum("readyReplicas"));
        let unavailable = (sets.iter().map(Set::wanted).sum::<i64>() - available).max(0);
        let counts = [
            ("replicas", replicas),
            ("updatedReplicas", updated),
            ("readyReplicas", ready),
            ("availableReplicas", available),
            ("unavailableReplicas", unavailable),
        ];
        let generation = value::integer(&deployment, &["metadata", "generation"]).unwrap_or(0);
        let failure = sets.iter().find_map(|set| condition(&set.body, "ReplicaFailure").cloned());
        let complete =
            updated == plan.replicas && replicas == plan.replicas && available == plan.replicas && newest.is_some();
        let moved = ["updatedReplicas", "readyReplicas", "availableReplicas"]
            .iter()
            .zip([updated, ready, available])
            .any(|(field, now)| now > value::integer(&deployment, &["status", field]).unwrap_or(0));
        let name = newest.map(|set| set.object.name.clone()).unwrap_or_default();
        let now = self.now;
        let progress = progress_of(&deployment, complete, moved, &name, paused, now);
        if let Progress::Waiting(until) = progress {
            self.controllers.add_at(until, Task::Deployment(key.clone()));
        }
        let enough = available >= plan.replicas - plan.unavailable;
        let terminating = sum("terminatingReplicas");
        self.set_status(ID, key, |deployment| {
            set_counts(deployment, &[("terminatingReplicas", terminating)], &counts);
            value::set(deployment, &["status", "observedGeneration"], json!(generation));
            if let Progress::Condition(status, reason, message) = &progress {
                set_updated_condition(deployment, "Progressing", status, reason, message, now);
            }
            let (reason, message) = match enough {
                true => ("MinimumReplicasAvailable", "Deployment has minimum availability."),
                false => ("MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
            };
            set_updated_condition(deployment, "Available", if enough { "True" } else { "False" }, reason, message, now);
            match failure {
                Some(failure) => {
                    let message = failure["message"].as_str().unwrap_or_default();
                    set_updated_condition(deployment, "ReplicaFailure", "True", "FailedCreate", message, now);
                }
                None => {
                    if let Some(list) =
                        value::get_mut(deployment, &["status", "conditions"]).and_then(Value::as_array_mut)
                    {
                        list.retain(|condition| condition["type"] != "ReplicaFailure");
                    }
                }
            }
        });
        if complete && !paused {
            self.forget_old_sets(&deployment, &sets, &name);
        }
    }

    fn forget_old_sets(&mut self, deployment: &Value, sets: &[Set], newest: &str) {
        let limit = value::integer(deployment, &["spec", "revisionHistoryLimit"])
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(10);
        let mut old: Vec<&Set> = sets
            .iter()
            .filter(|set| {
                set.object.name != newest && set.wanted() == 0 && set.status("replicas") == 0 && !set.object.deleting
            })
            .collect();
        old.sort_by_key(|set| set.revision());
        let Some(resource) = self.registry.by_id(SETS).cloned() else { return };
        for set in old.iter().take(old.len().saturating_sub(limit)) {
            let how = DeleteOptions { uid: Some(set.object.uid.clone()), ..DeleteOptions::default() };
            if let Err(error) = self.delete_object(&resource, &set.object, &how, false) {
                tracing::debug!(%error, "an old ReplicaSet stays");
            }
        }
    }
}

fn annotation_time(body: &Value) -> String {
    value::string(body, &["metadata", "creationTimestamp"]).unwrap_or_default().to_string()
}

/// The annotations of a ReplicaSet: those of its Deployment, and the controller's own.
fn copied_annotations(deployment: &Value, revision: i64, plan: &Plan) -> Value {
    let mut annotations = deployment["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|name, _| {
        name != "kubectl.kubernetes.io/last-applied-configuration"
            && name != REVISION
            && name != HISTORY
            && name != "deprecated.deployment.rollback.to"
    });
    annotations.insert(REVISION.into(), json!(revision.to_string()));
    annotations.insert(DESIRED.into(), json!(plan.replicas.to_string()));
    annotations.insert(MAXIMUM.into(), json!((plan.replicas + plan.surge).to_string()));
    Value::Object(annotations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_kubernetes_rounds_them() {
        let plan = |replicas: i64, surge: Value, unavailable: Value| {
            let deployment = json!({"spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}});
            let plan = Plan::of(&deployment);
            (plan.surge, plan.unavailable)
        };
        assert_eq!(plan(4, json!("25%"), json!("25%")), (1, 1));
        assert_eq!(plan(1, json!("25%"), json!("25%")), (1, 0));
        assert_eq!(plan(10, json!(0), json!("5%")), (0, 1));
        assert_eq!(plan(3, json!(2), json!(5)), (2, 3));
    }
}
