//! Nodes without machines: kube-scheduler, and kwok, which plays a node's kubelet.

use crate::{Process, program};
use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::path::Path;

/// What makes pods run that say nothing of where.
#[derive(Debug)]
pub struct Nodes {
    /// kube-scheduler.
    pub scheduler: Process,
    /// kwok, with the stages of `stages.yaml`.
    pub kwok: Process,
}

/// One node has room for everything.
const NODE: &str = "node-1";
/// kwok plays the nodes that carry it.
const ANNOTATION: (&str, &str) = ("kwok.x-k8s.io/node", "fake");

impl Nodes {
    /// Gives the cluster of a client a node, and starts what runs pods on it.
    ///
    /// # Errors
    /// When the node is refused, or a process cannot be started.
    pub(crate) async fn start(folder: &Path, kubeconfig: &Path, client: Client) -> Result<Self> {
        let api: Api<Node> = Api::all(client);
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": NODE, "annotations": {(ANNOTATION.0): ANNOTATION.1}},
        });
        api.patch(NODE, &PatchParams::apply("controlplane").force(), &Patch::Apply(node)).await?;
        // The API server makes every node with the taint `not-ready`, which a controller would take away that
        // may not run here.
        api.patch(NODE, &PatchParams::default(), &Patch::Merge(json!({"spec": {"taints": null}}))).await?;
        let stages = folder.join("stages.yaml");
        std::fs::write(&stages, include_str!("stages.yaml"))?;
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let scheduling = [kubeconfig.clone(), "--leader-elect=false".to_owned(), "--secure-port=0".to_owned()];
        let playing = [
            // What the one who runs the tests has in `~/.kwok` is not looked at.
            format!("KWOK_WORKDIR={}", folder.join("kwok").display()),
            program("kwok")?.display().to_string(),
            kubeconfig,
            format!("--config={}", stages.display()),
            format!("--manage-nodes-with-annotation-selector={}={}", ANNOTATION.0, ANNOTATION.1),
            // Nobody looks at the node's Lease.
            "--node-lease-duration-seconds=0".to_owned(),
        ];
        Ok(Nodes {
            scheduler: Process::start(&program("kube-scheduler")?, "kube-scheduler", &scheduling, folder)?,
            kwok: Process::start(Path::new("env"), "kwok", &playing, folder)?,
        })
    }
}
