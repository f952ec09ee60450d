//! What a new cluster has before anyone asks.

use serde_json::json;

use super::NodeConfig;
use crate::core::Core;
use crate::core::store::{Change, key};
use crate::core::time;

impl Core {
    /// Makes what is missing: namespaces, the Service of the API itself, nodes.
    pub(crate) fn bootstrap(&mut self) {
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            if self.store.get("namespaces", name).is_none() {
                self.furnish("namespaces", json!({ "metadata": { "name": name } }));
            }
        }
        if self.store.get("services", &key(Some("default"), "kubernetes")).is_none() {
            self.furnish(
                "services",
                json!({
                    "metadata": {
                        "name": "kubernetes", "namespace": "default",
                        "labels": { "component": "apiserver", "provider": "kubernetes" },
                    },
                    "spec": {
                        "type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
                        "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": 443 }],
                    },
                }),
            );
        }
        if self.config.workloads {
            for (index, node) in self.config.nodes.clone().iter().enumerate() {
                if self.store.get("nodes", &node.name).is_none() {
                    self.furnish("nodes", self.node(node, index));
                }
            }
        }
    }

    fn furnish(&mut self, resource: &str, object: serde_json::Value) {
        if let Err(error) = self.make(resource, "kube-apiserver", object) {
            tracing::warn!(%error, resource, "a part of the new cluster is missing");
        }
        self.observe();
    }

    fn node(&self, config: &NodeConfig, index: usize) -> serde_json::Value {
        let mut labels = json!({
            "kubernetes.io/hostname": config.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "type": "kubesim",
        });
        for (name, label) in &config.labels {
            labels[name] = json!(label);
        }
        let resources = json!({ "cpu": config.cpu, "memory": config.memory, "pods": config.pods.to_string() });
        let now = time::seconds(self.now);
        json!({
            "metadata": { "name": config.name, "labels": labels },
            "spec": { "podCIDR": format!("10.{}.0.0/16", 128 + index % 100), "providerID": format!("kubesim://{}", config.name) },
            "status": {
                "capacity": resources, "allocatable": resources,
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubesim plays this node",
                    "lastHeartbeatTime": now, "lastTransitionTime": now,
                }],
                "addresses": [
                    { "type": "InternalIP", "address": format!("192.168.0.{}", index + 1) },
                    { "type": "Hostname", "address": config.name },
                ],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
                "nodeInfo": {
                    "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "kubesim",
                    "containerRuntimeVersion": "kubesim://1", "kubeletVersion": "v1.37.2", "kubeProxyVersion": "",
                    "operatingSystem": "linux", "architecture": "amd64",
                },
            },
        })
    }

    /// After a restore: every object is looked at once, as if it had just come.
    pub(crate) fn resume(&mut self) {
        let all: Vec<_> = self.store.all().map(|(resource, object)| (resource.clone(), object.clone())).collect();
        for (resource, object) in all {
            let change = std::sync::Arc::new(Change {
                version: object.version,
                key: object.key(),
                resource,
                before: None,
                object,
                deleted: false,
            });
            self.follow(&change);
        }
    }
}
