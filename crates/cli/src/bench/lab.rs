//! The parts that a bench runs on: API servers, a topology server, operators.

use super::tell;
use crate::lookout::ask;
pub use crate::lookout::write;
use anyhow::{Context, Result, bail, ensure};
use hansa_controlplane::{Cluster, Etcd, Process, free_ports};
use hansa_operator::{ApiRequest, ContentType, Method};
use hansa_runner::api_server::call;
use kube::Client;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// A league on real parts.
pub struct Lab {
    /// The members.
    pub members: Vec<Member>,
    /// The topology server's URL.
    pub topo_url: String,
    topo: Etcd,
    folder: TempDir,
}

/// One member.
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its API server.
    pub cluster: Cluster,
    /// A client of it.
    pub client: Client,
    /// Where its operator answers.
    port: u16,
    /// Its operator, while it runs.
    pub operator: Option<Process>,
}

impl Lab {
    /// Starts the API servers and the topology server, and no operator.
    pub async fn start(members: usize) -> Result<Self> {
        tell(&format!("starting {members} kube-apiservers and an etcd"));
        let folder = tempfile::Builder::new().prefix("hansa-bench-").tempdir()?;
        let mut topo = Etcd::start(folder.path(), "topo", true)?;
        let mut clusters = Vec::new();
        for index in 0..members {
            clusters.push(Cluster::start(folder.path(), &format!("m{}", index + 1))?);
        }
        topo.ready().await?;
        let mut started = Vec::new();
        for mut cluster in clusters {
            cluster.ready().await?;
            let [port] = free_ports()?;
            let client = cluster.client().await?;
            started.push(Member { name: cluster.name.clone(), cluster, client, port, operator: None });
        }
        let topo_url = format!("etcd://{}/bench", topo.address);
        Ok(Lab { members: started, topo_url, topo, folder })
    }

    /// Starts the operator of a member.
    pub fn start_operator(&mut self, index: usize) -> Result<()> {
        let program = std::env::current_exe().context("where this program is")?;
        let member = &mut self.members[index];
        let arguments = [
            "operator".to_owned(),
            format!("--member={}", member.name),
            format!("--topo={}", self.topo_url),
            format!("--kubeconfig={}", member.cluster.kubeconfig.display()),
            format!("--listen=127.0.0.1:{}", member.port),
            "--no-lease".to_owned(),
        ];
        member.operator =
            Some(Process::start(&program, &format!("operator-{}", member.name), &arguments, self.folder.path())?);
        Ok(())
    }

    /// Ends the operator of a member.
    pub fn stop_operator(&mut self, index: usize) {
        self.members[index].operator = None;
    }

    /// Founds a league of all members with ConfigMaps and Deployments, operators running.
    pub async fn found(&mut self) -> Result<()> {
        tell("founding the league");
        for index in 0..self.members.len() {
            self.start_operator(index)?;
        }
        let members: Vec<Value> = self.members.iter().map(|member| json!({"name": member.name})).collect();
        let types =
            json!([{"resource": "configmaps", "version": "v1"}, {"resource": "deployments.apps", "version": "v1"}]);
        federate(&self.members[0].client, &json!({"members": members, "types": types})).await?;
        for index in 0..self.members.len() {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
            write(&self.members[index].client, Method::Post, "/api/v1/namespaces", ContentType::Json, &namespace)
                .await?;
            self.ready(index).await?;
        }
        Ok(())
    }

    /// Waits until a member's operator knows everything and has nothing to do.
    pub async fn idle(&mut self, index: usize) -> Result<()> {
        let member = &mut self.members[index];
        says(member.operator.as_mut().context("the operator was started")?, member.port, "idle").await
    }

    /// Waits until a member's operator knows everything.
    pub async fn ready(&mut self, index: usize) -> Result<()> {
        let member = &mut self.members[index];
        ready(member.operator.as_mut().context("the operator was started")?, member.port, 2).await
    }

    /// The operator's counters.
    pub async fn metrics(&self, index: usize) -> Result<Value> {
        ask(self.members[index].port, "/read/metrics").await
    }

    /// The process id of the topology server.
    pub fn topo_process(&self) -> u32 {
        self.topo.process.id()
    }
}

/// Waits until an operator knows everything, with so many types installed.
pub async fn ready(operator: &mut Process, port: u16, types: usize) -> Result<()> {
    says(operator, port, "ready").await?;
    let installed = |health: &Value| {
        let told = health["types"].as_array().map(Vec::as_slice).unwrap_or_default();
        told.len() == types && told.iter().all(|each| each["installed"] == true)
    };
    eventually("the types are installed", async || {
        Ok(ask(port, "/read/health").await.is_ok_and(|health| installed(&health)))
    })
    .await
}

/// Waits until an operator is ready, and says this of itself.
async fn says(operator: &mut Process, port: u16, field: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(health) = ask(port, "/read/health").await
            && health["ready"] == true
            && health[field] == true
        {
            return Ok(());
        }
        if !operator.is_running() || Instant::now() > deadline {
            bail!("the operator is not {field}: {}", operator.tail());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for a state.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "it did not come to pass in time that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// One read that has to succeed.
pub async fn read(client: &Client, path: &str) -> Result<Value> {
    let answer = call(client, &ApiRequest::get(path)).await.map_err(anyhow::Error::msg)?;
    ensure!(answer.status < 300, "{path}: {}", String::from_utf8_lossy(&answer.body));
    Ok(serde_json::from_slice(&answer.body)?)
}

/// Requests that an API server has served about the kinds that matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// All of them.
    pub all: u64,
    /// Those that write.
    pub writes: u64,
    /// Those of the writes that are about federated objects.
    pub federated: u64,
}

impl std::ops::Sub for Served {
    type Output = Served;

    fn sub(self, before: Served) -> Served {
        Served {
            all: self.all - before.all,
            writes: self.writes - before.writes,
            federated: self.federated - before.federated,
        }
    }
}

/// How many requests the API server has served, by its own counters.
pub async fn requests(client: &Client) -> Result<Served> {
    let answer = call(client, &ApiRequest::get("/metrics")).await.map_err(anyhow::Error::msg)?;
    let text = String::from_utf8_lossy(&answer.body);
    let kinds = [
        "configmaps",
        "deployments",
        "federatedconfigmaps",
        "federateddeployments",
        "federations",
        "members",
        "requests",
        "namespaces",
        "secrets",
        "customresourcedefinitions",
    ];
    let mut served = Served::default();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |name: &str| {
            line.split_once(&format!("{name}=\""))
                .and_then(|(_, rest)| rest.split_once('"'))
                .map_or("", |(value, _)| value)
        };
        let resource = label("resource");
        if !kinds.contains(&resource) {
            continue;
        }
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()).unwrap_or(0.0) as u64;
        let writes = if matches!(label("verb"), "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE") { count } else { 0 };
        served.all += count;
        served.writes += writes;
        served.federated += if matches!(resource, "federatedconfigmaps" | "federateddeployments") { writes } else { 0 };
    }
    Ok(served)
}

/// What a process has used: CPU seconds, and resident memory in MiB, now and at most.
pub fn usage(process: u32) -> Result<(f64, f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a stat line names the program")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // utime and stime are fields 14 and 15 of proc(5), in ticks of 10 ms on Linux.
    let ticks: u64 = fields.get(11..13).unwrap_or_default().iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    Ok((ticks as f64 / 100.0, mib("VmRSS:"), mib("VmHWM:")))
}

/// Applies a Federation with this spec, as soon as its kind is served.
pub async fn federate(client: &Client, spec: &Value) -> Result<()> {
    let federation = json!({
        "apiVersion": "hansa.dev/v1alpha1", "kind": "Federation", "metadata": {"name": "league"}, "spec": spec,
    });
    eventually("the Federation is taken", async || {
        let path = "/apis/hansa.dev/v1alpha1/federations/league?fieldManager=bench";
        let request = ApiRequest::write(Method::Patch, path, ContentType::Apply, &federation);
        Ok(call(client, &request).await.is_ok_and(|answer| answer.status < 300))
    })
    .await
}
