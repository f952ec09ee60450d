//! Makes pods ready where no scheduler and no kubelet runs, so that workloads become healthy.
//!
//! It understands one of kubesim's annotations on pods, so that one scenario does for both:
//! `kubesim.hansa.dev/ready: "false"` keeps a pod from becoming ready.

use crate::client::Api;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The annotation that keeps a pod from becoming ready.
pub const READY: &str = "kubesim.hansa.dev/ready";

const PODS: &str = "/api/v1/pods";

/// Runs until it is dropped.
pub struct Kubelet(JoinHandle<()>);

impl Kubelet {
    /// Looks after the pods of a cluster.
    pub fn start(api: Api) -> Self {
        Kubelet(tokio::task::spawn_local(async move {
            loop {
                // Its API server may be away for a while, on purpose.
                let _ = follow(&api).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn follow(api: &Api) -> anyhow::Result<()> {
    let list = api.get(PODS).await?;
    for pod in list["items"].as_array().into_iter().flatten() {
        look_after(api, pod).await;
    }
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let path = format!("{PODS}?watch=true&resourceVersion={version}");
    api.watch(&path, async |event| {
        if event["type"] == "ADDED" || event["type"] == "MODIFIED" {
            look_after(api, &event["object"]).await;
        }
        event["type"] != "ERROR"
    })
    .await
}

async fn look_after(api: &Api, pod: &Value) {
    let metadata = &pod["metadata"];
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    let ends = pod["spec"]["restartPolicy"] != "Always";
    let wanted = if ends { "Succeeded" } else { "Running" };
    let kept_back = metadata["annotations"][READY] == "false";
    if phase == wanted || kept_back || metadata["deletionTimestamp"].is_string() {
        return;
    }
    let (Some(namespace), Some(name)) = (metadata["namespace"].as_str(), metadata["name"].as_str()) else { return };
    let ready = if ends { "False" } else { "True" };
    let status = json!({"status": {"phase": wanted, "conditions": [{"type": "Ready", "status": ready}]}});
    // The pod may be gone, or changed: its next event comes by here too.
    let _ = api.patch(&format!("/api/v1/namespaces/{namespace}/pods/{name}/status"), "kubelet", &status).await;
}
