//! The processes of the demo: three API servers, three operators, all ended at the end.

use super::proof::write;
use crate::print::COLUMNS;
use anyhow::{Context, Result, bail, ensure};
use hansa_api::{OPERATOR as SERVICE, SYSTEM_NAMESPACE};
use hansa_controlplane::{Process, free_ports};
use hansa_kubesim::core::services::ADDRESS;
use hansa_operator::{ContentType, Method};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// The members of the demo's league: name, and where it would be.
pub const MEMBERS: [(&str, &str); 3] = [("aws", "us-east-1"), ("gcp", "europe-west4"), ("azure", "southeastasia")];

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The user that the operators are.
pub const OPERATOR: &str = "hansa";

/// Everything that runs.
pub struct Stage {
    /// The members, in the order of [`MEMBERS`].
    pub members: Vec<Member>,
    /// One kubeconfig with a context for each member.
    pub kubeconfig: PathBuf,
    folder: TempDir,
}

/// One member's processes.
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its API server, while it lives.
    pub api_server: Option<Process>,
    /// Its operator, while it lives.
    pub operator: Option<Process>,
    /// A client with all rights.
    pub client: Client,
    /// Where its operator answers.
    pub port: u16,
}

impl Stage {
    /// Starts the API servers and the operators.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hansa-demo-").tempdir()?;
        let mut servers = Vec::new();
        for (name, _) in MEMBERS {
            servers.push(start_api_server(&folder, name)?);
        }
        let mut contexts = Vec::new();
        let mut members = Vec::new();
        for ((name, _), mut api_server) in MEMBERS.into_iter().zip(servers) {
            let path = folder.path().join(format!("{name}.kubeconfig"));
            let deadline = Instant::now() + PATIENCE;
            while !path.exists() {
                ensure!(
                    api_server.is_running() && Instant::now() < deadline,
                    "the API server of {name} does not start: {}",
                    api_server.tail()
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            contexts.push(serde_json::from_str::<Value>(&std::fs::read_to_string(&path)?)?);
            let [port] = free_ports()?;
            let client = client(&path, name).await?;
            offer(&client, port).await?;
            members.push(Member { name, api_server: Some(api_server), operator: None, client, port });
        }
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, merged(&contexts).to_string())?;
        let mut stage = Stage { members, kubeconfig, folder };
        for index in 0..MEMBERS.len() {
            stage.start_operator(index)?;
        }
        Ok(stage)
    }

    /// Starts a member's API server again, from its data file.
    pub async fn restart_api_server(&mut self, index: usize) -> Result<()> {
        let name = MEMBERS[index].0;
        self.members[index].api_server = Some(start_api_server(&self.folder, name)?);
        let client = self.members[index].client.clone();
        eventually(&format!("the API server of {name} answers"), async || {
            Ok(super::proof::try_get(&client, "/readyz").await.is_some())
        })
        .await
    }

    /// Starts a member's operator.
    pub fn start_operator(&mut self, index: usize) -> Result<()> {
        let program = std::env::current_exe().context("where this program is")?;
        let folder = self.folder.path();
        let member = &mut self.members[index];
        let arguments = [
            "operator".to_owned(),
            format!("--member={}", member.name),
            format!("--topo=sqlite:{}", folder.join("topo.db").display()),
            format!("--kubeconfig={}", folder.join(format!("{}.kubeconfig", member.name)).display()),
            format!("--context={OPERATOR}@{}", member.name),
            format!("--listen=127.0.0.1:{}", member.port),
            format!("--topo-fault={}", self.switch().display()),
            "--no-lease".to_owned(),
        ];
        let member = &mut self.members[index];
        member.operator = Some(Process::start(&program, &format!("operator-{}", member.name), &arguments, folder)?);
        Ok(())
    }

    fn switch(&self) -> PathBuf {
        self.folder.path().join("topo-is-away")
    }

    /// Takes the topology server away from every operator, or gives it back.
    pub fn topo_away(&self, away: bool) -> Result<()> {
        if away {
            std::fs::write(self.switch(), "")?;
        } else {
            std::fs::remove_file(self.switch())?;
        }
        Ok(())
    }

    /// Writes a file for a command to read.
    pub fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Runs this program's own command line; returns its output, no wider than so many columns, and its
    /// exit code.
    pub async fn hansa(&self, arguments: &[&str], columns: Option<usize>) -> Result<(String, i32)> {
        let program = std::env::current_exe().context("where this program is")?;
        let mut command = tokio::process::Command::new(program);
        match columns {
            Some(columns) => command.env(COLUMNS, columns.to_string()),
            None => command.env_remove(COLUMNS),
        };
        let output = command
            .args(arguments)
            .env_remove("HANSA_OPERATOR")
            .env_remove("HANSA_SYSTEM_NAMESPACE")
            .env("KUBECONFIG", &self.kubeconfig)
            .env("NO_COLOR", "1")
            .current_dir(self.folder.path())
            .kill_on_drop(true)
            .output()
            .await?;
        let code = output.status.code().unwrap_or(-1);
        if code != 0 && code != 2 {
            bail!("hansa {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok((String::from_utf8(output.stdout)?, code))
    }

    /// What the processes printed last, for when something went wrong.
    pub fn tails(&self) -> String {
        let operators = self.members.iter().filter_map(|member| member.operator.as_ref());
        operators.map(Process::tail).collect::<Vec<_>>().join("\n\n")
    }
}

fn start_api_server(folder: &TempDir, name: &str) -> Result<Process> {
    let program = std::env::current_exe().context("where this program is")?;
    let at = |file: String| folder.path().join(file).display().to_string();
    let arguments = [
        "kubesim".to_owned(),
        format!("--name={name}"),
        "--port=0".to_owned(),
        format!("--kubeconfig={}", at(format!("{name}.kubeconfig"))),
        format!("--data={}", at(format!("{name}.data"))),
        format!("--user={OPERATOR}"),
    ];
    Process::start(&program, &format!("api-server-{name}"), &arguments, folder.path())
}

/// Puts the operator behind the API server's proxy, where users find it: a kubeconfig is all they need.
async fn offer(client: &Client, port: u16) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}});
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": SYSTEM_NAMESPACE, "annotations": {ADDRESS: format!("127.0.0.1:{port}")}},
        "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    });
    for (path, object) in [
        (format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}"), namespace),
        (format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/services/{SERVICE}"), service),
    ] {
        write(client, Method::Patch, &format!("{path}?fieldManager=demo"), ContentType::Apply, &object).await?;
    }
    Ok(())
}

async fn client(kubeconfig: &std::path::Path, context: &str) -> Result<Client> {
    let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
    // What is not there yet is asked for again by those who wait for it, and at once.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// One kubeconfig out of several, the first one's context current.
fn merged(configs: &[Value]) -> Value {
    let all = |field: &str| {
        configs.iter().flat_map(|config| config[field].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": MEMBERS[0].0,
        "clusters": all("clusters"), "users": all("users"), "contexts": all("contexts"),
    })
}

/// Waits for a state, a bounded time.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "it did not come to pass within {} s that {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
