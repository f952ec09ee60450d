//! Endpoints and EndpointSlices of Services.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::queue::{Controllers, Task, in_namespace};
use super::workload::{Pod, controller_reference};
use crate::core::Core;
use crate::core::delete::DeleteOptions;
use crate::core::selector::LabelSelector;
use crate::core::store::{Change, Key, Object};
use crate::core::{strategy, time};
use crate::value;

const SLICES: &str = "endpointslices.discovery.k8s.io";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Services that changed, and the Services that select a pod that changed.
pub(super) fn notice(controllers: &mut Controllers, change: &Arc<Change>) {
    match &*change.resource {
        "services" => {
            let body = change.object.value();
            match value::get(&body, &["spec", "selector"]).filter(|_| !change.deleted) {
                Some(map) => drop(controllers.services.insert(change.key.clone(), LabelSelector::from_map(Some(map)))),
                None => drop(controllers.services.remove(&change.key)),
            }
            controllers.add(Task::Service(change.key.clone()));
        }
        "pods" => {
            let states: Vec<&Arc<Object>> = change.before.iter().chain([&change.object]).collect();
            let concerned: Vec<Key> = in_namespace(&controllers.services, change.object.namespace.as_deref())
                .filter(|(_, selector)| states.iter().any(|state| selector.matches(&state.labels)))
                .map(|(key, _)| key.clone())
                .collect();
            concerned.into_iter().for_each(|key| controllers.add(Task::Service(key)));
        }
        _ => {}
    }
}

/// A port of a Service as a pod has it.
fn resolve(port: &Value, pod: &Value) -> Option<i64> {
    match &port["targetPort"] {
        Value::Number(number) => number.as_i64(),
        Value::String(name) => value::list(pod, &["spec", "containers"])
            .iter()
            .flat_map(|container| value::list(container, &["ports"]))
            .find(|known| known["name"] == name.as_str())
            .and_then(|known| known["containerPort"].as_i64()),
        _ => port["port"].as_i64(),
    }
}

fn target(pod: &Pod) -> Value {
    json!({ "kind": "Pod", "namespace": pod.object.namespace, "name": pod.object.name, "uid": pod.object.uid })
}

impl Core {
    pub(super) fn tend_service(&mut self, key: &Key) {
        // Endpoints and slices go with their Service: the one by its name, the others by their
        // owner.
        let Some(live) = self.store.get("services", key).cloned() else {
            if let (Some(endpoints), Some(resource)) =
                (self.store.get("endpoints", key).cloned(), self.registry.by_id("endpoints").cloned())
            {
                // Nothing is asked for, so nothing can refuse.
                let _ = self.delete_object(&resource, &endpoints, &DeleteOptions::default(), false);
            }
            return;
        };
        let service = live.value();
        let Some(map) = value::get(&service, &["spec", "selector"])
            .filter(|map| map.as_object().is_some_and(|map| !map.is_empty()))
        else {
            return;
        };
        if live.deleting || value::string(&service, &["spec", "type"]) == Some("ExternalName") {
            return;
        }
        let selector = LabelSelector::from_map(Some(map));
        let pods: Vec<Pod> = self
            .store
            .list("pods", live.namespace.as_deref())
            .filter(|pod| selector.matches(&pod.labels))
            .map(|object| Pod { body: object.value(), object: object.clone() })
            .filter(|pod| !strategy::is_finished(&pod.body) && value::string(&pod.body, &["status", "podIP"]).is_some())
            .collect();
        self.write_endpoints(&live, &service, &pods);
        self.write_slice(&live, &service, &pods);
    }

    fn write_endpoints(&mut self, live: &Object, service: &Value, pods: &[Pod]) {
        let patient = value::boolean(service, &["spec", "publishNotReadyAddresses"]) != Some(true);
        let address = |pod: &Pod| json!({ "ip": pod.body["status"]["podIP"], "nodeName": pod.body["spec"]["nodeName"], "targetRef": target(pod) });
        let (ready, unready): (Vec<&Pod>, Vec<&Pod>) =
            pods.iter().filter(|pod| !pod.object.deleting).partition(|pod| pod.is_ready() || !patient);
        let ports: Vec<Value> = pods.first().map(|pod| ports_of(service, &pod.body)).unwrap_or_default();
        let mut subset = json!({});
        for (field, list) in [("addresses", &ready), ("notReadyAddresses", &unready)] {
            if !list.is_empty() {
                subset[field] = list.iter().map(|pod| address(pod)).collect();
            }
        }
        let mut subsets = json!(null);
        if subset.as_object().is_some_and(|fields| !fields.is_empty()) {
            if !ports.is_empty() {
                subset["ports"] = json!(ports);
            }
            subsets = json!([subset]);
        }
        let key = live.key();
        match self.store.get("endpoints", &key).map(|live| live.value()) {
            None => {
                let mut labels = service["metadata"]["labels"].clone();
                if !labels.is_object() {
                    labels = json!({});
                }
                labels["endpoints.kubernetes.io/managed-by"] = json!("endpoint-controller");
                let mut object = json!({
                    "metadata": {
                        "name": live.name, "namespace": live.namespace, "labels": labels,
                        "annotations": { TRIGGER: time::seconds(self.now) },
                    },
                });
                if !subsets.is_null() {
                    object["subsets"] = subsets;
                }
                if let Err(error) = self.make("endpoints", MANAGER, object) {
                    tracing::debug!(%error, "no endpoints");
                }
            }
            Some(current) if current.get("subsets").unwrap_or(&Value::Null) != &subsets => {
                let now = time::seconds(self.now);
                let altered = self.alter("endpoints", &key, None, MANAGER, |object| {
                    value::set(object, &["metadata", "annotations", TRIGGER], json!(now));
                    match subsets {
                        Value::Null => drop(value::remove(object, &["subsets"])),
                        subsets => value::set(object, &["subsets"], subsets),
                    }
                });
                if let Err(error) = altered {
                    tracing::warn!(%error, "endpoints stay as they are");
                }
            }
            Some(_) => {}
        }
    }

    fn write_slice(&mut self, live: &Object, service: &Value, pods: &[Pod]) {
        let early = value::boolean(service, &["spec", "publishNotReadyAddresses"]) == Some(true);
        let endpoints: Vec<Value> = pods
            .iter()
            .map(|pod| {
                let serving = pod.is_ready();
                let conditions = json!({
                    "ready": early || serving && !pod.object.deleting, "serving": serving, "terminating": pod.object.deleting,
                });
                let mut endpoint = json!({
                    "addresses": [pod.body["status"]["podIP"]], "conditions": conditions,
                    "nodeName": pod.body["spec"]["nodeName"], "targetRef": target(pod),
                });
                let node = pod.body["spec"]["nodeName"].as_str().unwrap_or_default();
                let zone = self.store.get("nodes", node).and_then(|node| node.labels.get("topology.kubernetes.io/zone").cloned());
                if let Some(zone) = zone {
                    endpoint["zone"] = json!(zone);
                }
                endpoint
            })
            .collect();
        let endpoints = if endpoints.is_empty() { Value::Null } else { json!(endpoints) };
        let ports = pods.first().map_or(Value::Null, |pod| json!(ports_of(service, &pod.body)));
        let slice = self.owned(SLICES, live).into_iter().find(|slice| slice.labels.contains_key(MANAGED_BY));
        match slice {
            None => {
                let mut labels = service["metadata"]["labels"].clone();
                if !labels.is_object() {
                    labels = json!({});
                }
                labels[MANAGED_BY] = json!("endpointslice-controller.k8s.io");
                labels[SERVICE_NAME] = json!(live.name);
                if value::string(service, &["spec", "clusterIP"]) == Some("None") {
                    labels["service.kubernetes.io/headless"] = json!("");
                }
                let object = json!({
                    "metadata": {
                        "generateName": format!("{}-", live.name), "namespace": live.namespace, "labels": labels,
                        "annotations": { TRIGGER: time::seconds(self.now) },
                        "ownerReferences": [controller_reference("v1", "Service", live)],
                    },
                    "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
                });
                if let Err(error) = self.make(SLICES, MANAGER, object) {
                    tracing::debug!(%error, "no endpoint slice");
                }
            }
            Some(slice) => {
                let body = slice.value();
                if body["endpoints"] == endpoints && body["ports"] == ports {
                    return;
                }
                let now = time::seconds(self.now);
                let altered = self.alter(SLICES, &slice.key(), None, MANAGER, |object| {
                    value::set(object, &["metadata", "annotations", TRIGGER], json!(now));
                    value::set(object, &["endpoints"], endpoints);
                    value::set(object, &["ports"], ports);
                });
                if let Err(error) = altered {
                    tracing::warn!(%error, "an endpoint slice stays as it is");
                }
            }
        }
    }
}

fn ports_of(service: &Value, pod: &Value) -> Vec<Value> {
    value::list(service, &["spec", "ports"])
        .iter()
        .filter_map(|port| {
            let mut entry =
                json!({ "port": resolve(port, pod)?, "protocol": port["protocol"].as_str().unwrap_or("TCP") });
            entry["name"] = json!(port["name"].as_str().unwrap_or_default());
            Some(entry)
        })
        .collect()
}
