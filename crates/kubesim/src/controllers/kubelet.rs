//! Kubelets that run nothing: a pod on a node starts, becomes ready, fails or ends as its
//! [behaviour](super::script) says.

use std::sync::Arc;

use serde_json::{Value, json};

use super::queue::{Controllers, Task};
use super::script::{Behaviour, CONFIG_MAP};
use crate::core::Core;
use crate::core::delete::DeleteOptions;
use crate::core::store::{Change, Key, Object, Store};
use crate::core::strategy::{condition, is_finished, set_condition};
use crate::core::time::{self, Millis};
use crate::value;

const MANAGER: &str = "kubelet";

/// Pods on nodes that changed, and a changed script, which concerns them all.
pub(super) fn notice(store: &Store, controllers: &mut Controllers, change: &Arc<Change>) {
    if &*change.resource == "pods" {
        if change.deleted {
            controllers.forget_pod(&change.key);
        } else {
            controllers.add(Task::Pod(change.key.clone()));
        }
    } else if &*change.resource == "configmaps" && &*change.key == CONFIG_MAP {
        for pod in store.list("pods", None) {
            controllers.add(Task::Pod(pod.key()));
        }
    }
}

impl Core {
    /// Takes a pod as far as it is by now, and comes back when it goes on.
    pub(super) fn tend_pod(&mut self, key: &Key) {
        let Some(live) = self.store.get("pods", key).cloned() else { return };
        let pod = live.value();
        let node = value::string(&pod, &["spec", "nodeName"]).unwrap_or_default();
        if !self.config.nodes.iter().any(|known| known.name == node) {
            return;
        }
        let behaviour = self.behaviour(&pod, &live.labels);
        if live.deleting {
            self.stop_pod(&live, &behaviour);
            return;
        }
        if is_finished(&pod) {
            return;
        }
        match value::string(&pod, &["status", "phase"]) {
            Some("Running") => self.run_pod(key, &pod, &behaviour),
            _ => self.start_pod(key, &pod, &behaviour),
        }
    }

    fn at(&mut self, at: Millis, key: &Key) -> bool {
        if at > self.now {
            self.controllers.add_at(at, Task::Pod(key.clone()));
            return false;
        }
        true
    }

    /// Ends a pod that is being deleted.
    fn stop_pod(&mut self, live: &Arc<Object>, behaviour: &Behaviour) {
        let pod = live.value();
        let grace = value::integer(&pod, &["metadata", "deletionGracePeriodSeconds"])
            .and_then(|s| u64::try_from(s).ok())
            .unwrap_or(0);
        let until = value::string(&pod, &["metadata", "deletionTimestamp"]).and_then(time::parse).unwrap_or(self.now);
        // The deletion was asked for a grace period before its timestamp, in whole seconds; the
        // marks of time here are finer.
        let key = live.key();
        let asked = *self.controllers.stopping.entry(key.clone()).or_insert(self.now);
        if grace > 0 && !self.at((asked + behaviour.stop_after).min(until.max(asked)), &key) {
            return;
        }
        self.controllers.stopping.remove(&key);
        let Some(resource) = self.registry.by_id("pods").cloned() else { return };
        let how = DeleteOptions { grace: Some(0), uid: Some(live.uid.clone()), ..DeleteOptions::default() };
        if let Err(error) = self.delete_object(&resource, live, &how, false) {
            tracing::debug!(%error, "a pod stays");
        }
    }

    fn start_pod(&mut self, key: &Key, pod: &Value, behaviour: &Behaviour) {
        let began = *self.controllers.starting.entry(key.clone()).or_insert(self.now);
        if let Some(reason) = behaviour.fail.as_deref().filter(|reason| *reason != "CrashLoopBackOff") {
            let waiting = value::list(pod, &["status", "containerStatuses"])
                .iter()
                .any(|status| status["state"]["waiting"]["reason"] == reason);
            if !waiting {
                let reason = reason.to_string();
                self.write_status(key, |pod, now| fill(pod, now, &State::Waiting(&reason), false, 0));
                self.event("pods", key, "Warning", "Failed", &format!("Error: {reason}"), MANAGER);
            }
            return;
        }
        if !self.at(began + behaviour.start_after, key) {
            return;
        }
        self.controllers.starting.remove(key);
        let address = self.pod_address(pod);
        let ready = behaviour.ready && behaviour.ready_after == 0 && behaviour.fail.is_none();
        self.controllers.started.insert(key.clone(), self.now);
        let host = self.host_address(pod);
        self.write_status(key, |pod, now| {
            value::set(pod, &["status", "podIP"], json!(address));
            value::set(pod, &["status", "podIPs"], json!([{ "ip": address }]));
            value::set(pod, &["status", "hostIP"], json!(host));
            value::set(pod, &["status", "hostIPs"], json!([{ "ip": host }]));
            value::set(pod, &["status", "startTime"], json!(time::seconds(now)));
            fill(pod, now, &State::Running, ready, 0);
        });
        for container in value::list(pod, &["spec", "containers"]) {
            let name = container["name"].as_str().unwrap_or_default();
            self.event("pods", key, "Normal", "Started", &format!("Started container {name}"), MANAGER);
        }
    }

    fn run_pod(&mut self, key: &Key, pod: &Value, behaviour: &Behaviour) {
        let started = value::string(pod, &["status", "startTime"]).and_then(time::parse).unwrap_or(self.now);
        // Whole seconds are all that the object says; the rest is remembered while it matters.
        let started = *self.controllers.started.entry(key.clone()).or_insert(started);
        let restarts = value::list(pod, &["status", "containerStatuses"])
            .iter()
            .filter_map(|status| status["restartCount"].as_i64())
            .max()
            .unwrap_or(0);
        let always = matches!(value::string(pod, &["spec", "restartPolicy"]), None | Some("Always"));
        if !always {
            if self.at(started + behaviour.run_for, key) {
                self.controllers.started.remove(key);
                let code = behaviour.exit_code;
                let again = code != 0 && value::string(pod, &["spec", "restartPolicy"]) == Some("OnFailure");
                if again {
                    self.crash_pod(key, restarts);
                } else {
                    self.write_status(key, |pod, now| finish(pod, now, code));
                }
            }
            return;
        }
        let waiting = value::list(pod, &["status", "containerStatuses"])
            .iter()
            .any(|status| status["state"].get("waiting").is_some());
        if behaviour.fail.is_some() {
            self.fail_pod(key, started, waiting, restarts);
            return;
        }
        let ready = condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True");
        let wanted = behaviour.ready && (ready || self.at(started + behaviour.ready_after, key));
        if wanted != ready || waiting {
            self.write_status(key, |pod, now| fill(pod, now, &State::Running, wanted, restarts));
            if !wanted {
                self.event("pods", key, "Warning", "Unhealthy", "Readiness probe failed: the script says so", MANAGER);
            }
        }
    }

    /// Runs for a moment and waits for longer and longer, as a real kubelet backs off.
    fn fail_pod(&mut self, key: &Key, started: Millis, waiting: bool, restarts: i64) {
        if !waiting {
            if self.at(started + 100, key) {
                self.crash_pod(key, restarts);
            }
            return;
        }
        let crashed = *self.controllers.crashed.entry(key.clone()).or_insert(self.now);
        if self.at(crashed + (5000 << restarts.clamp(1, 6)), key) {
            self.controllers.started.insert(key.clone(), self.now);
            self.write_status(key, |pod, now| fill(pod, now, &State::Running, false, restarts));
        }
    }

    fn crash_pod(&mut self, key: &Key, restarts: i64) {
        self.controllers.crashed.insert(key.clone(), self.now);
        self.write_status(key, |pod, now| fill(pod, now, &State::Waiting("CrashLoopBackOff"), false, restarts + 1));
        self.event("pods", key, "Warning", "BackOff", "Back-off restarting failed container", MANAGER);
    }

    fn write_status(&mut self, key: &Key, change: impl FnOnce(&mut Value, Millis)) {
        let now = self.now;
        if let Err(error) = self.alter("pods", key, Some("status"), MANAGER, |pod| change(pod, now)) {
            tracing::warn!(%error, pod = &**key, "a simulated status was refused");
        }
    }

    fn host_address(&self, pod: &Value) -> String {
        let node = value::string(pod, &["spec", "nodeName"]).unwrap_or_default();
        let index = self.config.nodes.iter().position(|known| known.name == node).unwrap_or(0);
        format!("192.168.0.{}", index + 1)
    }

    fn pod_address(&mut self, pod: &Value) -> String {
        let node = value::string(pod, &["spec", "nodeName"]).unwrap_or_default();
        let index = self.config.nodes.iter().position(|known| known.name == node).unwrap_or(0) % 100;
        loop {
            let number = self.random.below(65_000) + 2;
            let address = format!("10.{}.{}.{}", 128 + index, number / 256, number % 256);
            if !self.controllers.usage.has_address(&address) {
                return address;
            }
        }
    }
}

enum State<'a> {
    Waiting(&'a str),
    Running,
}

/// Fills in the status of a pod whose containers wait or run.
fn fill(pod: &mut Value, now: Millis, state: &State, ready: bool, restarts: i64) {
    let running = matches!(state, State::Running);
    let before = value::list(pod, &["status", "containerStatuses"]).to_vec();
    let statuses: Vec<Value> = value::list(pod, &["spec", "containers"])
        .iter()
        .map(|container| {
            let old = before.iter().find(|status| status["name"] == container["name"]);
            let since = old.and_then(|status| value::string(status, &["state", "running", "startedAt"])).map(String::from);
            let state = match state {
                State::Waiting(reason) => json!({ "waiting": { "reason": reason } }),
                State::Running => json!({ "running": { "startedAt": since.unwrap_or_else(|| time::seconds(now)) } }),
            };
            let crashed = json!({ "terminated": { "exitCode": 1, "reason": "Error", "startedAt": time::seconds(now), "finishedAt": time::seconds(now) } });
            let image = container["image"].as_str().unwrap_or_default();
            json!({
                "name": container["name"], "image": image, "imageID": if running { format!("kubesim://{image}") } else { String::new() },
                "ready": ready, "started": running, "restartCount": restarts, "state": state,
                "lastState": if restarts > 0 { crashed } else { json!({}) },
            })
        })
        .collect();
    let names: Vec<&str> = statuses.iter().filter_map(|status| status["name"].as_str()).collect();
    let unready = format!("containers with unready status: [{}]", names.join(" "));
    let started = value::string(pod, &["status", "startTime"]).is_some();
    value::set(pod, &["status", "phase"], json!(if running || started { "Running" } else { "Pending" }));
    for (name, holds) in [("PodReadyToStartContainers", true), ("Initialized", true)] {
        set_condition(pod, name, holds, "", "", now);
    }
    for name in ["Ready", "ContainersReady"] {
        if ready {
            set_condition(pod, name, true, "", "", now);
        } else {
            set_condition(pod, name, false, "ContainersNotReady", &unready, now);
        }
    }
    set_condition(pod, "PodScheduled", true, "", "", now);
    value::set(pod, &["status", "containerStatuses"], json!(statuses));
}

/// Fills in the status of a pod whose containers have ended.
fn finish(pod: &mut Value, now: Millis, code: i64) {
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let condition_reason = if code == 0 { "PodCompleted" } else { "PodFailed" };
    value::set(pod, &["status", "phase"], json!(phase));
    for name in ["Ready", "ContainersReady"] {
        set_condition(pod, name, false, condition_reason, "", now);
    }
    let Some(statuses) = value::get_mut(pod, &["status", "containerStatuses"]).and_then(Value::as_array_mut) else {
        return;
    };
    for status in statuses {
        let began =
            value::string(status, &["state", "running", "startedAt"]).map_or_else(|| time::seconds(now), String::from);
        status["ready"] = json!(false);
        status["started"] = json!(false);
        status["state"] = json!({ "terminated": {
            "exitCode": code, "reason": reason, "startedAt": began, "finishedAt": time::seconds(now),
        } });
    }
}
