//! DaemonSets: one pod on every node that admits it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::nodes::admits;
use super::queue::{Controllers, Task};
use super::revisions::Keeper;
use super::workload::{Pod, controller_reference, pod_of, scaled, set_counts};
use crate::core::Core;
use crate::core::store::{Change, Key, Object, Store};
use crate::value;

const ID: &str = "daemonsets.apps";
const COMPONENT: &str = "daemonset-controller";
const HASH: &str = "controller-revision-hash";

/// Nodes that came, went or changed concern every DaemonSet.
pub(super) fn notice(store: &Store, controllers: &mut Controllers, change: &Arc<Change>) {
    if &*change.resource == "nodes" {
        for set in store.list(ID, None) {
            controllers.add(Task::DaemonSet(set.key()));
        }
    }
}

/// The tolerations that every pod of a DaemonSet has.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The node that a pod is on, or is meant for.
fn node_of(pod: &Value) -> Option<&str> {
    let path =
        ["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let meant = || {
        let term = value::list(pod, &path).first()?;
        let field = value::list(term, &["matchFields"]).iter().find(|field| field["key"] == "metadata.name")?;
        value::list(field, &["values"]).first()?.as_str()
    };
    value::string(pod, &["spec", "nodeName"]).filter(|name| !name.is_empty()).or_else(meant)
}

impl Core {
    pub(super) fn tend_daemon_set(&mut self, key: &Key) {
        let Some(live) = self.store.get(ID, key).cloned().filter(|live| !live.deleting) else { return };
        let set = live.value();
        let keeper = Keeper { kind: "DaemonSet", label: HASH, live: &live, body: &set };
        let revisions = self.revisions(&keeper);
        let Some(newest) = revisions.last() else { return };
        let hash = newest.strip_prefix(&format!("{}-", live.name)).unwrap_or(newest).to_string();
        let mut pods: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for pod in self.pods_of(&live) {
            let node = node_of(&pod.body).unwrap_or_default().to_string();
            pods.entry(node).or_default().push(pod);
        }
        let mut spec = set["spec"]["template"]["spec"].clone();
        tolerate(&mut spec);
        let nodes: Vec<Arc<Object>> = self.store.list("nodes", None).cloned().collect();
        let fitting: Vec<String> =
            nodes.iter().filter(|node| admits(&spec, node, &node.value())).map(|node| node.name.clone()).collect();
        for node in &fitting {
            if pods.get(node).is_none_or(|on_node| !on_node.iter().any(|pod| pod.is_active() || pod.object.deleting)) {
                self.create_on(&live, &set, node, &hash);
            }
        }
        for (node, on_node) in &pods {
            let too_many = if fitting.contains(node) { 1 } else { 0 };
            for pod in on_node.iter().filter(|pod| !pod.object.deleting).skip(too_many) {
                self.delete_pod(&pod.object, ID, &live, COMPONENT);
            }
        }
        self.replace_old(&live, &set, &pods, &fitting, &hash);
        self.daemon_set_status(key, &set, &fitting, &hash);
        let used: Vec<String> = pods
            .values()
            .flatten()
            .filter_map(|pod| Some(format!("{}-{}", live.name, pod.object.labels.get(HASH)?)))
            .collect();
        self.forget_revisions(&keeper, &revisions, &used);
    }

    fn create_on(&mut self, live: &Object, set: &Value, node: &str, hash: &str) {
        let reference = controller_reference("apps/v1", "DaemonSet", live);
        let mut pod = pod_of(&set["spec"]["template"], live.namespace.as_deref().unwrap_or_default(), &reference);
        value::set(&mut pod, &["metadata", "generateName"], json!(format!("{}-", live.name)));
        value::set(&mut pod, &["metadata", "labels", HASH], json!(hash));
        let generation =
            set["metadata"]["annotations"]["deprecated.daemonset.template.generation"].as_str().unwrap_or("1");
        value::set(&mut pod, &["metadata", "labels", "pod-template-generation"], json!(generation));
        let term = json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] }]);
        let path = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
        let mut spec = pod["spec"].take();
        value::set(&mut spec, &path, term);
        tolerate(&mut spec);
        pod["spec"] = spec;
        if self.create_pod(pod, ID, live, COMPONENT).is_err() {
            self.controllers.add_at(self.now + 5000, Task::DaemonSet(live.key()));
        }
    }

    /// Deletes pods of an old template, as many as may be missing at once.
    fn replace_old(
        &mut self,
        live: &Object,
        set: &Value,
        pods: &BTreeMap<String, Vec<Pod>>,
        fitting: &[String],
        hash: &str,
    ) {
        if value::string(set, &["spec", "updateStrategy", "type"]) == Some("OnDelete") {
            return;
        }
        let most = scaled(
            value::get(set, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]),
            fitting.len() as i64,
            true,
        )
        .max(1);
        let on = |node: &String| pods.get(node).into_iter().flatten().find(|pod| !pod.object.deleting);
        let missing = fitting.iter().filter(|node| on(node).is_none_or(|pod| !pod.is_ready())).count() as i64;
        let mut room = most - missing;
        for node in fitting {
            let Some(pod) = on(node).filter(|pod| pod.object.labels.get(HASH).map(String::as_str) != Some(hash)) else {
                continue;
            };
            if !pod.is_ready() {
                self.delete_pod(&pod.object, ID, live, COMPONENT);
            } else if room > 0 {
                room -= 1;
                self.delete_pod(&pod.object, ID, live, COMPONENT);
            }
        }
    }

    fn daemon_set_status(&mut self, key: &Key, set: &Value, fitting: &[String], hash: &str) {
        let Some(live) = self.store.get(ID, key).cloned() else { return };
        let now = self.now;
        let patience = value::integer(set, &["spec", "minReadySeconds"]).unwrap_or(0);
        let pods: Vec<Pod> = self.pods_of(&live).into_iter().filter(Pod::is_active).collect();
        let fits = |pod: &Pod| node_of(&pod.body).is_some_and(|node| fitting.iter().any(|name| name == node));
        let count = |test: &dyn Fn(&&Pod) -> bool| pods.iter().filter(test).count() as i64;
        let wanted = fitting.len() as i64;
        let available = count(&|pod| fits(pod) && pod.is_available(patience, now));
        if let Some(at) = pods.iter().filter_map(|pod| pod.available_at(patience)).filter(|at| *at > now).min() {
            self.controllers.add_at(at, Task::DaemonSet(key.clone()));
        }
        let always = [
            ("desiredNumberScheduled", wanted),
            ("currentNumberScheduled", count(&|pod| fits(pod))),
            ("numberMisscheduled", count(&|pod| !fits(pod))),
            ("numberReady", count(&|pod| fits(pod) && pod.is_ready())),
        ];
        let unless_zero = [
            (
                "updatedNumberScheduled",
                count(&|pod| fits(pod) && pod.object.labels.get(HASH).map(String::as_str) == Some(hash)),
            ),
            ("numberAvailable", available),
            ("numberUnavailable", wanted - available),
        ];
        let generation = value::integer(set, &["metadata", "generation"]).unwrap_or(0);
        self.set_status(ID, key, |set| {
            set_counts(set, &always, &unless_zero);
            value::set(set, &["status", "observedGeneration"], json!(generation));
        });
    }
}

fn tolerate(spec: &mut Value) {
    let tolerations = value::object_at(spec, &[]).entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = tolerations.as_array_mut() else { return };
    for (key, effect) in TOLERATED {
        let toleration = json!({ "key": key, "operator": "Exists", "effect": effect });
        if !list.contains(&toleration) {
            list.push(toleration);
        }
    }
}
