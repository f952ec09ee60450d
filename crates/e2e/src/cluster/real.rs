//! kube-apiserver with an etcd of its own and the controllers.

use super::User;
use crate::client::Api;
use crate::files::{copy, while_stopped};
use crate::kubelet::Kubelet;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_controlplane::{Etcd, Process, binaries, free_ports};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How long it may take until everything works, on a machine with other things to do.
const READY: Duration = Duration::from_secs(90);

/// What the audit log is to hold: writes of users that scenarios ask about.
const AUDIT_POLICY: &str = "audit-policy.json";
const AUDIT_LOG: &str = "audit.log";

/// The controllers that scenarios need. The others only take time from them.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,job-controller,\
    namespace-controller,garbage-collector-controller,horizontal-pod-autoscaler-controller,\
    validatingadmissionpolicy-status-controller";

/// A kube-apiserver.
pub struct Real {
    folder: PathBuf,
    port: u16,
    etcd: Option<Etcd>,
    api_server: Option<Process>,
    controllers: Option<Process>,
    kubelet: Option<Kubelet>,
}

impl Real {
    /// Starts one in a folder of its own; `ready` waits for it.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let [port] = free_ports()?;
        let mut real = Real { folder, port, etcd: None, api_server: None, controllers: None, kubelet: None };
        real.write_files()?;
        real.start_again()?;
        Ok(real)
    }

    fn at(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    fn write_files(&self) -> Result<()> {
        let serving = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        std::fs::write(self.at("serving.crt"), serving.cert.pem())?;
        std::fs::write(self.at("serving.key"), serving.signing_key.serialize_pem())?;
        let accounts = rcgen::KeyPair::generate()?;
        std::fs::write(self.at("accounts.key"), accounts.serialize_pem())?;
        std::fs::write(self.at("accounts.pub"), accounts.public_key_pem())?;
        let mut tokens = String::new();
        for user in User::ALL {
            tokens.push_str(&format!("{},{name},{name},\"{}\"\n", user.token(), user.groups(), name = user.name()));
            let kubeconfig = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "real",
                "clusters": [{"name": "real", "cluster": {
                    "server": format!("https://127.0.0.1:{}", self.port),
                    "certificate-authority-data": STANDARD.encode(serving.cert.pem()),
                }}],
                "users": [{"name": "user", "user": {"token": user.token()}}],
                "contexts": [{"name": "real", "context": {"cluster": "real", "user": "user"}}],
            });
            std::fs::write(self.at(user.file()), kubeconfig.to_string())?;
        }
        std::fs::write(self.at("tokens.csv"), tokens)?;
        let users: Vec<&str> = User::ALL.iter().filter(|user| **user != User::Admin).map(|user| user.name()).collect();
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [
                {"level": "None", "verbs": ["get", "list", "watch"]},
                {"level": "Metadata", "users": users},
                {"level": "None"},
            ],
        });
        std::fs::write(self.at(AUDIT_POLICY), policy.to_string())?;
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts what does not run.
    pub(super) fn start_again(&mut self) -> Result<()> {
        if self.etcd.is_none() {
            self.etcd = Some(Etcd::start(&self.folder, "etcd", false)?);
        }
        let etcd = &self.etcd.as_ref().context("it was started above")?.address;
        let arguments = [
            format!("--etcd-servers=http://{etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--tls-cert-file={}", self.at("serving.crt")),
            format!("--tls-private-key-file={}", self.at("serving.key")),
            format!("--token-auth-file={}", self.at("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.at("accounts.pub")),
            format!("--service-account-signing-key-file={}", self.at("accounts.key")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            // Pods then need no ServiceAccount, whose controllers do not run.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--audit-policy-file={}", self.at(AUDIT_POLICY)),
            format!("--audit-log-path={}", self.at(AUDIT_LOG)),
        ];
        let program = binaries()?.join("kube-apiserver");
        self.api_server = Some(Process::start(&program, "kube-apiserver", &arguments, &self.folder)?);
        Ok(())
    }

    pub(super) async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        let api = Api::of(&self.folder.join(User::Admin.file())).await?;
        self.wait_for(&api, "/readyz", deadline).await?;
        self.wait_for(&api, "/api/v1/namespaces/default", deadline).await?;
        if self.controllers.is_none() {
            let arguments = [
                format!("--kubeconfig={}", self.at(User::Admin.file())),
                format!("--controllers={CONTROLLERS}"),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                "--kube-api-qps=500".to_owned(),
                "--kube-api-burst=1000".to_owned(),
                "--horizontal-pod-autoscaler-sync-period=1s".to_owned(),
            ];
            let program = binaries()?.join("kube-controller-manager");
            self.controllers = Some(Process::start(&program, "kube-controller-manager", &arguments, &self.folder)?);
        }
        if self.kubelet.is_none() {
            self.kubelet = Some(Kubelet::start(api));
        }
        Ok(())
    }

    async fn wait_for(&mut self, api: &Api, path: &str, deadline: Instant) -> Result<()> {
        loop {
            if api.look(path).await.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            let runs = self.api_server.as_mut().is_some_and(Process::is_running);
            if !runs || Instant::now() > deadline {
                bail!("the API server does not serve {path}: {}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn kill(&mut self) {
        self.api_server = None;
    }

    /// Takes the state that etcd has on disk.
    pub(super) fn back_up(&mut self) -> Result<()> {
        let etcd = self.etcd.as_ref().context("etcd runs")?;
        while_stopped(etcd.process.id(), || copy(&self.folder.join("etcd"), &self.folder.join("backup")))
    }

    /// Starts with the state of the last backup. The controllers start with it, as they would when a
    /// whole machine is restored: what they had seen is not true any more.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.kubelet = None;
        self.controllers = None;
        self.api_server = None;
        self.etcd = None;
        copy(&self.folder.join("backup"), &self.folder.join("etcd"))?;
        self.start_again()
    }

    pub(super) fn audit(&self) -> Result<String> {
        let path = self.at(AUDIT_LOG);
        std::fs::read_to_string(&path).context(path)
    }

    pub(super) fn last_words(&self) -> String {
        let processes = self.api_server.iter().chain(self.etcd.iter().map(|etcd| &etcd.process));
        processes.chain(&self.controllers).map(Process::tail).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // The last to start ends first, so that none complains about those it needs.
        self.kubelet = None;
        self.controllers = None;
        self.api_server = None;
        self.etcd = None;
    }
}
