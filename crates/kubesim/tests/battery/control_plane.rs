//! The real control plane: etcd, kube-apiserver and kube-controller-manager, for the time of one test.

use anyhow::Result;
use hansa_controlplane::{Cluster, Options, User};

use crate::client::STRANGER;

/// The processes and their folder; dropping it ends them.
pub struct ControlPlane {
    cluster: Cluster,
    kubeconfig: String,
    // After the processes that write in it.
    _folder: tempfile::TempDir,
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver; [`ControlPlane::ready`] waits for them.
    pub fn start() -> Result<ControlPlane> {
        let folder = tempfile::Builder::new().prefix("battery-").tempdir()?;
        let (name, token) = STRANGER;
        let options =
            Options { users: vec![User { token: token.to_owned(), ..User::named(name) }], ..Options::default() };
        let cluster = Cluster::start_with(folder.path(), "real", options)?;
        let kubeconfig = std::fs::read_to_string(&cluster.kubeconfig)?;
        Ok(ControlPlane { cluster, kubeconfig, _folder: folder })
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// Waits for the API server, starts the controllers and waits for those.
    pub async fn ready(&mut self) -> Result<()> {
        self.cluster.ready().await?;
        self.cluster.start_controllers()?;
        self.cluster.serves("/api/v1/namespaces/default/serviceaccounts/default").await
    }
}
