//! kube-apiserver with an etcd of its own, the controllers, and a node that kwok plays.

use super::User;
use crate::files::{copy, while_stopped};
use anyhow::{Context, Result};
use hansa_controlplane::{Cluster, Options, Process};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What the audit log is to hold: writes of users that scenarios ask about.
const AUDIT_POLICY: &str = "audit-policy.json";
const AUDIT_LOG: &str = "audit.log";

/// The controllers that scenarios need. The others only take time from them.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,job-controller,\
    namespace-controller,garbage-collector-controller,horizontal-pod-autoscaler-controller,\
    validatingadmissionpolicy-status-controller";

/// A kube-apiserver.
pub struct Real {
    cluster: Cluster,
}

impl Real {
    /// Starts one in a folder of its own below `folder`; `ready` waits for it.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(folder: &Path, name: &str) -> Result<Self> {
        let own = folder.join(name);
        std::fs::create_dir_all(&own)?;
        let users = User::ALL.into_iter().filter(|user| *user != User::Admin);
        let names: Vec<&str> = users.clone().map(User::name).collect();
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [
                {"level": "None", "verbs": ["get", "list", "watch"]},
                {"level": "Metadata", "users": names},
                {"level": "None"},
            ],
        });
        std::fs::write(own.join(AUDIT_POLICY), policy.to_string())?;
        let options = Options {
            users: users.map(User::known).collect(),
            api_server: vec![
                // Pods then need no ServiceAccount, whose controllers do not run.
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                format!("--audit-policy-file={}", own.join(AUDIT_POLICY).display()),
                format!("--audit-log-path={}", own.join(AUDIT_LOG).display()),
            ],
            controllers: vec![
                format!("--controllers={CONTROLLERS}"),
                "--horizontal-pod-autoscaler-sync-period=1s".to_owned(),
            ],
        };
        Ok(Real { cluster: Cluster::start_with(folder, name, options)? })
    }

    pub(super) fn folder(&self) -> &Path {
        self.cluster.folder()
    }

    pub(super) fn kubeconfig(&self, user: User) -> PathBuf {
        self.cluster.kubeconfig_of(user.name())
    }

    /// Starts what does not run.
    pub(super) fn start_again(&mut self) -> Result<()> {
        self.cluster.start_again()
    }

    pub(super) async fn ready(&mut self) -> Result<()> {
        self.cluster.ready().await?;
        self.cluster.serves("/api/v1/namespaces/default").await?;
        if self.cluster.controllers.is_none() {
            self.cluster.start_controllers()?;
        }
        if self.cluster.nodes.is_none() {
            self.cluster.start_nodes().await?;
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) {
        self.cluster.kill_api_server();
    }

    /// Takes the state that etcd has on disk.
    pub(super) fn back_up(&mut self) -> Result<()> {
        let folder = self.folder();
        while_stopped(self.cluster.etcd.process.id(), || copy(&folder.join("etcd"), &folder.join("backup")))
    }

    /// Starts with the state of the last backup. The controllers and the node start with it, as they would
    /// when a whole machine is restored: what they had seen is not true any more.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.cluster.nodes = None;
        self.cluster.controllers = None;
        self.cluster.kill_api_server();
        self.cluster.etcd.process.kill();
        copy(&self.folder().join("backup"), &self.folder().join("etcd"))?;
        self.start_again()
    }

    pub(super) fn audit(&self) -> Result<String> {
        let path = self.folder().join(AUDIT_LOG);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    pub(super) fn last_words(&self) -> String {
        let Cluster { api_server, etcd, controllers, nodes, .. } = &self.cluster;
        let nodes = nodes.iter().flat_map(|nodes| [&nodes.scheduler, &nodes.kwok]);
        let processes = [api_server, &etcd.process].into_iter().chain(controllers).chain(nodes);
        processes.map(Process::tail).collect::<Vec<_>>().join("\n")
    }
}
