//! Nodes: what fits on them, and which pod goes where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::queue::{Controllers, Task};
use crate::core::Core;
use crate::core::store::{Change, Key, Object};
use crate::core::strategy::{is_finished, milli, set_condition};
use crate::value;

/// What a pod asks for, or a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    cpu: i128,
    memory: i128,
    pods: i128,
}

/// What the pods on each node ask for together.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    nodes: BTreeMap<String, Amount>,
    pods: BTreeMap<Key, (String, Amount)>,
    addresses: BTreeSet<String>,
}

impl Usage {
    /// Takes note of a pod's state; says whether room became free.
    fn follow(&mut self, key: &Key, pod: Option<&Value>) -> bool {
        let node = pod.filter(|pod| !is_finished(pod)).and_then(|pod| value::string(pod, &["spec", "nodeName"]));
        let next = match (node, pod) {
            (Some(node), Some(pod)) if !node.is_empty() => Some((node.to_string(), request(pod))),
            _ => None,
        };
        let before = self.pods.get(key).cloned();
        if before == next {
            return false;
        }
        if let Some((node, amount)) = &before
            && let Some(used) = self.nodes.get_mut(node)
        {
            *used = Amount { cpu: used.cpu - amount.cpu, memory: used.memory - amount.memory, pods: used.pods - 1 };
        }
        match next {
            Some((node, amount)) => {
                let used = self.nodes.entry(node.clone()).or_default();
                *used = Amount { cpu: used.cpu + amount.cpu, memory: used.memory + amount.memory, pods: used.pods + 1 };
                self.pods.insert(key.clone(), (node, amount));
            }
            None => drop(self.pods.remove(key)),
        }
        before.is_some()
    }

    /// Whether a pod has this address.
    pub fn has_address(&self, address: &str) -> bool {
        self.addresses.contains(address)
    }
}

/// What a pod asks for: its containers together, or its largest init container.
fn request(pod: &Value) -> Amount {
    let of = |container: &Value, name: &str| {
        value::get(container, &["resources", "requests", name]).and_then(milli).unwrap_or(0)
    };
    let mut total = Amount { pods: 1, ..Amount::default() };
    for container in value::list(pod, &["spec", "containers"]) {
        total.cpu += of(container, "cpu");
        total.memory += of(container, "memory");
    }
    for container in value::list(pod, &["spec", "initContainers"]) {
        total.cpu = total.cpu.max(of(container, "cpu"));
        total.memory = total.memory.max(of(container, "memory"));
    }
    total
}

/// Pods that came, moved or went, and nodes that changed.
pub(super) fn notice(controllers: &mut Controllers, change: &Arc<Change>, pod: Option<&Value>) {
    let mut room = false;
    match &*change.resource {
        "pods" => {
            room = controllers.usage.follow(&change.key, pod);
            if let Some(before) = change.before.as_ref().filter(|_| change.deleted)
                && let Some(address) = value::string(&before.value(), &["status", "podIP"])
            {
                controllers.usage.addresses.remove(address);
            }
            if let Some(address) = pod.and_then(|pod| value::string(pod, &["status", "podIP"])) {
                controllers.usage.addresses.insert(address.to_string());
            }
            let waits = pod.is_some_and(|pod| {
                value::string(pod, &["spec", "nodeName"]).unwrap_or_default().is_empty() && !is_finished(pod)
            });
            if !waits || change.object.deleting {
                controllers.pending.remove(&change.key);
            } else if change.before.is_none() {
                controllers.add(Task::Schedule(change.key.clone()));
            }
        }
        "nodes" => room = true,
        _ => {}
    }
    if room {
        for key in controllers.pending.clone() {
            controllers.add(Task::Schedule(key));
        }
    }
}

/// Whether a node's taints keep a pod away, from the tolerations in its specification.
fn tolerates(spec: &Value, node: &Value) -> bool {
    value::list(node, &["spec", "taints"]).iter().filter(|taint| taint["effect"] != "PreferNoSchedule").all(|taint| {
        value::list(spec, &["tolerations"]).iter().any(|toleration| {
            let text = |field: &str| toleration[field].as_str().unwrap_or_default();
            let effect = text("effect").is_empty() || toleration["effect"] == taint["effect"];
            let key = text("key").is_empty() && text("operator") == "Exists" || toleration["key"] == taint["key"];
            let same = text("value") == taint["value"].as_str().unwrap_or_default();
            effect && key && (text("operator") == "Exists" || same)
        })
    })
}

/// Whether labels meet the expressions of a node selector term.
fn meets(expressions: &[Value], field: impl Fn(&str) -> Option<String>) -> bool {
    expressions.iter().all(|expression| {
        let have = field(expression["key"].as_str().unwrap_or_default());
        let among =
            || have.as_ref().is_some_and(|have| value::list(expression, &["values"]).iter().any(|one| one == have));
        match expression["operator"].as_str().unwrap_or_default() {
            "In" => among(),
            "NotIn" => !among(),
            "Exists" => have.is_some(),
            "DoesNotExist" => have.is_none(),
            _ => false,
        }
    })
}

/// Whether a pod may run on a node, room aside.
pub(super) fn admits(spec: &Value, node: &Object, body: &Value) -> bool {
    let selected = spec.get("nodeSelector").and_then(Value::as_object).is_none_or(|wanted| {
        wanted.iter().all(|(key, label)| node.labels.get(key).map(String::as_str) == label.as_str())
    });
    let path = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let terms = value::list(spec, &path);
    let affine = terms.is_empty()
        || terms.iter().any(|term| {
            meets(value::list(term, &["matchExpressions"]), |key| node.labels.get(key).cloned())
                && meets(value::list(term, &["matchFields"]), |key| (key == "metadata.name").then(|| node.name.clone()))
        });
    selected && affine && tolerates(spec, body)
}

impl Core {
    /// Binds a pod to the node that is least used among those that fit, or says why none does.
    pub(super) fn schedule(&mut self, key: &Key) {
        let Some(live) = self.store.get("pods", key).cloned().filter(|live| !live.deleting) else { return };
        let pod = live.value();
        let spec = &pod["spec"];
        let bound = !value::string(spec, &["nodeName"]).unwrap_or_default().is_empty();
        let foreign = !matches!(value::string(spec, &["schedulerName"]), None | Some("default-scheduler"));
        if bound || foreign || is_finished(&pod) || !value::list(spec, &["schedulingGates"]).is_empty() {
            return;
        }
        let wish = request(&pod);
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        let mut best: Option<(i128, i128, String)> = None;
        let nodes: Vec<Arc<Object>> = self.store.list("nodes", None).cloned().collect();
        for node in &nodes {
            let body = node.value();
            let ready = value::list(&body, &["status", "conditions"])
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            let have = |name: &str| value::get(&body, &["status", "allocatable", name]).and_then(milli).unwrap_or(0);
            let used = self.controllers.usage.nodes.get(&node.name).copied().unwrap_or_default();
            let reason = if value::boolean(&body, &["spec", "unschedulable"]) == Some(true) {
                "node(s) were unschedulable"
            } else if !ready {
                "node(s) were not ready"
            } else if !admits(spec, node, &body) {
                "node(s) didn't match Pod's node affinity/selector or had untolerated taints"
            } else if (used.pods + 1) * 1000 > have("pods") {
                "Too many pods"
            } else if used.cpu + wish.cpu > have("cpu") {
                "Insufficient cpu"
            } else if used.memory + wish.memory > have("memory") {
                "Insufficient memory"
            } else {
                let share = used.cpu * 1000 / have("cpu").max(1);
                let rank = (used.pods, share, node.name.clone());
                if best.as_ref().is_none_or(|best| rank < *best) {
                    best = Some(rank);
                }
                continue;
            };
            *reasons.entry(reason).or_default() += 1;
        }
        match best {
            Some((_, _, node)) => {
                let mut bound = pod.clone();
                value::set(&mut bound, &["spec", "nodeName"], json!(node));
                set_condition(&mut bound, "PodScheduled", true, "", "", self.now);
                self.overwrite(&"pods".into(), bound, live.revision);
                let message = format!("Successfully assigned {key} to {node}");
                self.event("pods", key, "Normal", "Scheduled", &message, "default-scheduler");
            }
            None => {
                let parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
                let message = format!("0/{} nodes are available: {}.", nodes.len(), parts.join(", "));
                self.controllers.pending.insert(key.clone());
                let mut told = pod.clone();
                set_condition(&mut told, "PodScheduled", false, "Unschedulable", &message, self.now);
                if told != pod {
                    self.overwrite(&"pods".into(), told, live.revision);
                    self.event("pods", key, "Warning", "FailedScheduling", &message, "default-scheduler");
                }
            }
        }
    }
}
