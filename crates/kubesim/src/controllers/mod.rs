//! Controllers that make the cluster live: small, deterministic, and with work only for what
//! changed. Each change is turned into tasks; [`Core::tick`] does what is ready or due, and says
//! when it wants to be called again.

mod api;
mod bootstrap;
mod daemonsets;
mod definitions;
mod deployments;
mod endpoints;
mod events;
mod garbage;
mod jobs;
mod kubelet;
mod namespaces;
mod nodes;
mod progress;
mod queue;
mod replicasets;
mod revisions;
pub mod script;
mod statefulsets;
mod status;
mod workload;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::core::store::Change;
use crate::core::time::Millis;

pub(crate) use queue::{Controllers, Task};

/// A simulated node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// Processors, as a quantity.
    pub cpu: String,
    /// Memory, as a quantity.
    pub memory: String,
    /// How many pods fit.
    pub pods: u32,
    /// Labels beside the usual ones.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

impl NodeConfig {
    /// Three nodes of 8 processors and 32 GiB, in three zones.
    pub fn three() -> Vec<Self> {
        (1..=3)
            .map(|number| NodeConfig {
                name: format!("node-{number}"),
                cpu: "8".to_string(),
                memory: "32Gi".to_string(),
                pods: 110,
                labels: [("topology.kubernetes.io/zone".to_string(), format!("zone-{number}"))].into(),
            })
            .collect()
    }
}

/// How many tasks one tick does at most, so that requests are not kept waiting.
const TASKS_PER_TICK: usize = 100;

impl Core {
    /// Turns a change into the tasks it makes.
    pub(crate) fn notify_controllers(&mut self, change: &Arc<Change>) {
        let controllers = &mut self.controllers;
        definitions::notice(controllers, change);
        namespaces::notice(&self.store, controllers, change);
        garbage::notice(&self.store, controllers, change);
        events::notice(controllers, change, self.now);
        if !self.config.workloads {
            return;
        }
        workload::notice(controllers, change);
        daemonsets::notice(&self.store, controllers, change);
        endpoints::notice(controllers, change);
        status::notice(&self.store, controllers, change);
        if !self.config.nodes.is_empty() {
            let pod = (&*change.resource == "pods" && !change.deleted).then(|| change.object.value());
            nodes::notice(controllers, change, pod.as_ref());
            kubelet::notice(&self.store, controllers, change);
        }
    }

    /// Does the work that is ready or due. Returns the time at which there is more, if any; that
    /// is `now` when this call left some for the next.
    pub fn tick(&mut self, now: Millis) -> Option<Millis> {
        self.now = self.now.max(now);
        for _ in 0..TASKS_PER_TICK {
            let Some(task) = self.controllers.next(self.now) else { break };
            self.perform(&task);
            self.observe();
        }
        self.controllers.wake(self.now)
    }

    fn perform(&mut self, task: &Task) {
        match task {
            Task::Definition(key) => self.tend_definition(key),
            Task::Namespace(key) => self.tend_namespace(key),
            Task::Finalize(resource, key) => self.finalize_owner(resource, key),
            Task::Collect(resource, key) => self.collect(resource, key),
            Task::Deployment(key) => self.tend_deployment(key),
            Task::ReplicaSet(key) => self.tend_replica_set(key),
            Task::StatefulSet(key) => self.tend_stateful_set(key),
            Task::DaemonSet(key) => self.tend_daemon_set(key),
            Task::Job(key) => self.tend_job(key),
            Task::Claim(key) => self.tend_claim(key),
            Task::Schedule(key) => self.schedule(key),
            Task::Pod(key) => self.tend_pod(key),
            Task::Service(key) => self.tend_service(key),
            Task::Budget(key) => self.tend_budget(key),
            Task::Autoscaler(key) => self.tend_autoscaler(key),
            Task::Event(key) => self.expire_event(key),
        }
    }
}
