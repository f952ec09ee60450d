//! kubesim, with a data file.

use super::User;
use crate::client::Api;
use crate::files::{copy, while_stopped};
use anyhow::{Context, Result, bail};
use hansa_controlplane::Process;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How long it may take to start, on a machine with other things to do.
const READY: Duration = Duration::from_secs(30);

/// The name of the cluster in the kubeconfig.
const NAME: &str = "sim";

/// A kubesim.
pub struct Sim {
    binary: PathBuf,
    folder: PathBuf,
    address: IpAddr,
    process: Option<Process>,
}

impl Sim {
    /// Starts one in a folder of its own; `ready` waits for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(binary: &Path, folder: PathBuf) -> Result<Self> {
        Self::start_at(binary, folder, Ipv4Addr::LOCALHOST.into())
    }

    /// The same at an address of this machine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_at(binary: &Path, folder: PathBuf, address: IpAddr) -> Result<Self> {
        std::fs::create_dir_all(folder.join("data"))?;
        let mut sim = Sim { binary: binary.to_owned(), folder, address, process: None };
        sim.start_again()?;
        Ok(sim)
    }

    pub(super) fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder.join(match user {
            User::Admin => "kubeconfig",
            User::Operator => "operator.kubeconfig",
            User::Clerk => "clerk.kubeconfig",
            User::Stranger => "stranger.kubeconfig",
        })
    }

    pub(super) fn start_again(&mut self) -> Result<()> {
        let mut arguments = vec![
            "kubesim".to_owned(),
            format!("--name={NAME}"),
            format!("--address={}", self.address),
            format!("--kubeconfig={}", self.kubeconfig(User::Admin).display()),
            format!("--data={}", self.folder.join("data/file").display()),
        ];
        // Who may do nothing has rules, and none of them.
        let rules = |user: &User| if *user == User::Stranger { "=[]" } else { "" };
        arguments.extend(User::ALL.iter().skip(1).map(|user| format!("--user={}{}", user.name(), rules(user))));
        self.process = Some(Process::start(&self.binary, "kubesim", &arguments, &self.folder)?);
        Ok(())
    }

    pub(super) async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        let path = self.kubeconfig(User::Admin);
        loop {
            if path.exists() && Api::of(&path).await?.look("/readyz").await.is_ok_and(|answer| answer.status == 200) {
                break;
            }
            let runs = self.process.as_mut().is_some_and(Process::is_running);
            if !runs || Instant::now() > deadline {
                bail!("kubesim does not answer: {}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Each user gets a file in which its own context is the current one.
        let kubeconfig: Value = serde_json::from_slice(&std::fs::read(&path)?).context("the kubeconfig is JSON")?;
        for user in User::ALL.iter().skip(1) {
            let mut own = kubeconfig.clone();
            own["current-context"] = json!(format!("{}@{NAME}", user.name()));
            std::fs::write(self.kubeconfig(*user), own.to_string())?;
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    pub(super) fn back_up(&mut self) -> Result<()> {
        let process = self.process.as_ref().context("kubesim runs")?;
        while_stopped(process.id(), || copy(&self.folder.join("data"), &self.folder.join("backup")))
    }

    pub(super) fn restore(&mut self) -> Result<()> {
        self.process = None;
        copy(&self.folder.join("backup"), &self.folder.join("data"))?;
        self.start_again()
    }

    pub(super) async fn audit(&self) -> Result<Value> {
        Api::of(&self.kubeconfig(User::Admin)).await?.get("/kubesim/audit").await
    }

    pub(super) fn last_words(&self) -> String {
        self.process.as_ref().map(Process::tail).unwrap_or_default()
    }
}
