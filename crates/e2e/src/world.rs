//! A league: three members with an operator each, and the topology server.

use crate::audit::{Write, told};
use crate::client::Api;
use crate::cluster::{Cluster, Kind, Mark, Real, Sim, User};
use crate::command::{end_of, output_of};
use crate::files::signal;
use crate::kubectl;
use crate::objects::FEDERATIONS;
use crate::operator::{Environment, Operator, Settings, ask};
use crate::wait::{PATIENCE, Seen, eventually, within};
use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use hansa_controlplane::Etcd;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::{Mutex, RwLock};

/// The members' names.
pub const MEMBERS: [&str; 3] = ["aws-use1", "gcp-euw4", "azure-sea"];

/// How long the operators of a new league may take until they are ready, with every type installed.
const FOUNDING: Duration = Duration::from_secs(150);

/// The Federation object; its home is the first member.
pub const FEDERATION: &str = "league";

/// A cluster of the league.
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its API server.
    pub cluster: RwLock<Cluster>,
    /// Its operator.
    pub operator: Mutex<Operator>,
    /// Its administrator.
    pub admin: Api,
}

/// A league.
pub struct World {
    /// Which kind of API server it stands on.
    pub kind: Kind,
    /// Its members, in the order of [`MEMBERS`].
    pub members: Vec<Member>,
    /// The topology server's URL.
    pub topo: String,
    /// What its clients' environment holds for it.
    environment: Environment,
    /// The `hansa` binary.
    pub binary: PathBuf,
    // In this order they end: the topology server after those who use it, the folder last.
    etcd: Option<Mutex<Etcd>>,
    folder: TempDir,
}

/// The spec of the league that scenarios find, and leave.
pub fn federation_spec() -> Value {
    let regions = [("aws", "us-east-1"), ("gcp", "europe-west4"), ("azure", "southeastasia")];
    let members: Vec<Value> = MEMBERS
        .iter()
        .zip(regions)
        .map(|(name, (provider, region))| {
            json!({"name": name, "provider": provider, "region": region, "labels": {"cloud": provider, "env": "prod"}})
        })
        .collect();
    let types: Vec<Value> = [
        ("configmaps", "v1"),
        ("secrets", "v1"),
        ("services", "v1"),
        ("deployments.apps", "v1"),
        ("jobs.batch", "v1"),
    ]
    .iter()
    .map(|(resource, version)| json!({"resource": resource, "version": version}))
    .chain([
        json!({"resource": "namespaces", "version": "v1", "privileged": true}),
        json!({"resource": "customresourcedefinitions.apiextensions.k8s.io", "version": "v1", "privileged": true}),
    ])
    .collect();
    json!({
        "members": members,
        "types": types,
        "homes": {"takeover": "Allowed"},
        // Scenarios run beside each other: what one takes away must not hold up another.
        "safety": {"deletes": {"percent": 100, "atLeast": 100_000, "window": "10m"}},
    })
}

impl World {
    /// Starts a league, and waits until it is ready.
    ///
    /// # Errors
    /// When a process does not start or the operators do not become ready.
    pub async fn start(kind: Kind, binary: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hansa-e2e-").tempdir()?;
        let (etcd, topo) = match kind {
            Kind::Real => {
                let mut etcd = Etcd::start(folder.path(), "topo", false)?;
                etcd.ready().await?;
                let url = format!("etcd://{}/league", etcd.address);
                (Some(etcd), url)
            }
            Kind::Sim => (None, format!("sqlite:{}", folder.path().join("topo.db").display())),
        };
        let mut world = Self::start_on(kind, binary, folder, &topo, Environment::new()).await?;
        world.etcd = etcd.map(Mutex::new);
        Ok(world)
    }

    /// The same on a topology server that runs, with its clients' environment.
    ///
    /// # Errors
    /// When a process does not start or the operators do not become ready.
    pub async fn start_on(
        kind: Kind,
        binary: &Path,
        folder: TempDir,
        topo: &str,
        environment: Environment,
    ) -> Result<Self> {
        let root = folder.path();
        let mut clusters = Vec::new();
        for name in MEMBERS {
            clusters.push(match kind {
                Kind::Real => Cluster::Real(Box::new(Real::start(root, name)?)),
                Kind::Sim => Cluster::Sim(Sim::start(binary, root.join(name))?),
            });
        }
        try_join_all(clusters.iter_mut().map(Cluster::ready)).await?;
        let mut members = Vec::new();
        for (name, cluster) in MEMBERS.into_iter().zip(clusters) {
            let admin = cluster.api(User::Admin).await?;
            grant_rights(&admin).await?;
            // Of kubesim's users, the rights are no part of its objects.
            if kind == Kind::Real {
                install(binary, name, topo, &cluster.kubeconfig(User::Admin), &federation_spec()).await?;
            }
            let settings = Settings::new(binary, name, cluster.kubeconfig(User::Operator), topo, root);
            let operator = Operator::new(Settings { environment: environment.clone(), ..settings });
            members.push(Member { name, cluster: RwLock::new(cluster), operator: Mutex::new(operator), admin });
        }
        let (topo, binary) = (topo.to_owned(), binary.to_owned());
        let world = World { kind, members, topo, environment, binary, etcd: None, folder };
        if let Err(error) = world.found().await {
            bail!("{error:#}\n{}", world.last_words().await);
        }
        Ok(world)
    }

    async fn found(&self) -> Result<()> {
        for member in &self.members {
            member.operator.lock().await.start(&[])?;
        }
        let federation = json!({
            "apiVersion": FEDERATIONS.api_version(), "kind": "Federation",
            "metadata": {"name": FEDERATION}, "spec": federation_spec(),
        });
        let path = FEDERATIONS.path("", FEDERATION);
        let admin = &self.members[0].admin;
        within(FOUNDING, "the Federation is accepted", async || {
            let answer = admin.try_apply(&path, &federation).await?;
            Ok(if answer.status < 300 { Seen::Yes(()) } else { Seen::No(answer.message().to_owned()) })
        })
        .await?;
        self.ready(FOUNDING).await
    }

    /// Waits until every operator that runs knows the agreed spec and has nothing left to do.
    ///
    /// # Errors
    /// When one takes longer, or has ended by itself.
    pub async fn ready(&self, patience: Duration) -> Result<()> {
        for index in 0..self.members.len() {
            self.operator_ready(index, patience).await?;
        }
        Ok(())
    }

    /// Waits until an operator knows the agreed spec and has nothing left to do.
    ///
    /// # Errors
    /// When it takes longer, or has ended by itself.
    pub async fn operator_ready(&self, index: usize, patience: Duration) -> Result<()> {
        let member = &self.members[index];
        within(patience, &format!("the operator of {} is ready and idle", member.name), async || {
            ensure!(!member.operator.lock().await.has_died(), "the operator of {} ended by itself", member.name);
            let Some(health) = self.ask(index, "/read/health").await? else {
                return Ok(Seen::No("it does not answer".to_owned()));
            };
            let installed = |each: &Value| each["installed"] == true;
            let types =
                health["types"].as_array().is_some_and(|types| !types.is_empty() && types.iter().all(installed));
            let fit = health["ready"] == true && health["idle"] == true && types;
            Ok(if fit { Seen::Yes(()) } else { Seen::No(health.to_string()) })
        })
        .await
    }

    /// Asks an operator; `None` while it does not answer.
    ///
    /// # Errors
    /// When what it answers does not read.
    pub async fn ask(&self, index: usize, path: &str) -> Result<Option<Value>> {
        let Some(address) = self.members[index].operator.lock().await.address() else { return Ok(None) };
        match ask(&address, path).await {
            Some((200, body)) => Ok(Some(serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))?)),
            _ => Ok(None),
        }
    }

    /// The Federation's spec in its home.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn federation(&self) -> Result<Value> {
        self.members[0].admin.get(&FEDERATIONS.path("", FEDERATION)).await
    }

    /// Edits the Federation's spec in its home, and waits until every operator that runs follows it.
    ///
    /// # Errors
    /// When the edit is refused or not followed.
    pub async fn edit_federation(&self, edit: impl FnOnce(&mut Value)) -> Result<()> {
        let mut federation = self.federation().await?;
        let before = federation["spec"].clone();
        edit(&mut federation["spec"]);
        if federation["spec"] == before {
            return Ok(());
        }
        if self.kind == Kind::Real && federation["spec"]["types"] != before["types"] {
            // The operators' rights come before the types that need them.
            for member in &self.members {
                let kubeconfig = member.cluster.read().await.kubeconfig(User::Admin);
                install(&self.binary, member.name, &self.topo, &kubeconfig, &federation["spec"]).await?;
            }
        }
        let path = FEDERATIONS.path("", FEDERATION);
        self.members[0].admin.replace_spec(&path, &federation["spec"]).await?;
        let generation = eventually("the edited Federation is agreed", async || {
            let now = self.federation().await?;
            let observed = &now["status"]["observedGeneration"];
            let (status, _, message) = crate::objects::condition(&now, "Agreed");
            let agreed = observed == &now["metadata"]["generation"] && status == "True";
            let instead = || Seen::No(format!("observed {observed}, Agreed={status} {message}"));
            Ok(if agreed { Seen::Yes(now["status"]["generation"].clone()) } else { instead() })
        })
        .await?;
        for (index, name) in MEMBERS.iter().enumerate() {
            if self.members[index].operator.lock().await.is_started() {
                eventually(&format!("{name} follows the edited Federation"), async || {
                    let health = self.ask(index, "/read/health").await?.unwrap_or_default();
                    let follows = health["generation"] == generation;
                    Ok(if follows { Seen::Yes(()) } else { Seen::No(health.to_string()) })
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Takes the topology server away from all, or gives it back: etcd stops in its tracks; a file
    /// cannot be taken away while it is open, so the operators' own switches play it.
    ///
    /// # Errors
    /// When it cannot be stopped or go on.
    pub async fn set_topo_away(&self, away: bool) -> Result<()> {
        if let Some(etcd) = &self.etcd {
            return signal(etcd.lock().await.process.id(), if away { Signal::STOP } else { Signal::CONT });
        }
        for member in &self.members {
            member.operator.lock().await.set_topo_away(away)?;
        }
        Ok(())
    }

    /// Puts another, empty store where the league's topology server stands, or brings that back: etcd
    /// with other data, or another file.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn set_topo_replaced(&self, replaced: bool) -> Result<()> {
        if let Some(etcd) = &self.etcd {
            let mut etcd = etcd.lock().await;
            etcd.replace(self.folder(), if replaced { "another-topo" } else { "topo" })?;
            return etcd.ready().await;
        }
        let (file, aside) = (self.folder().join("topo.db"), self.folder().join("topo.aside"));
        if replaced {
            std::fs::rename(&file, &aside)?;
            std::fs::write(&file, "")?;
        } else if aside.exists() {
            std::fs::rename(&aside, &file)?;
        }
        Ok(())
    }

    /// An operator on the league's topology server under another name, with a kubeconfig of its own; it
    /// does not run yet.
    pub fn another_operator(&self, name: &str, kubeconfig: PathBuf) -> Operator {
        Operator::new(Settings::new(&self.binary, name, kubeconfig, &self.topo, self.folder()))
    }

    /// A further operator of a member, one of replicas of which one leads; it does not run yet.
    pub async fn replica(&self, index: usize, number: u32) -> Operator {
        let member = &self.members[index];
        let kubeconfig = member.cluster.read().await.kubeconfig(User::Operator);
        let settings = Settings::new(&self.binary, member.name, kubeconfig, &self.topo, self.folder());
        let log = self.folder().join(format!("{}-{number}.log", member.name));
        Operator::new(Settings { lease: true, log, ..settings })
    }

    /// Runs `hansa` as a user of a kubeconfig; gives what it prints.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub async fn hansa(&self, kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<String> {
        let command = self.command(kubeconfig, arguments);
        output_of(command, &format!("hansa {}", arguments.join(" ")), input).await
    }

    /// The same for a command that may end otherwise than with 0: its exit code, and what it prints.
    ///
    /// # Errors
    /// When it cannot be started, or is killed.
    pub async fn hansa_ended(&self, kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<(i32, String)> {
        let command = self.command(kubeconfig, arguments);
        let output = end_of(command, &format!("hansa {}", arguments.join(" ")), input).await?;
        let code = output.status.code().context("it was not killed")?;
        Ok((code, String::from_utf8(output.stdout)?))
    }

    fn command(&self, kubeconfig: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("KUBECONFIG", kubeconfig).env("HANSA_TOPO", &self.topo);
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs `hansa topo` on the league's topology server; gives what it answers.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub async fn topo_command(&self, arguments: &[&str], input: &str) -> Result<Value> {
        let arguments = [&["topo"][..], arguments, &["-o", "json"]].concat();
        Ok(serde_json::from_str(&self.hansa(Path::new("/dev/null"), &arguments, input).await?)?)
    }

    /// Everything in the topology server that tells of records whose keys hold this, unpacked.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn topo_text(&self, of: &str) -> Result<String> {
        let listed = self.topo_command(&["ls", "/v1/"], "").await?;
        let mut text = String::new();
        for key in listed.as_array().into_iter().flatten().filter_map(|row| row["key"].as_str()) {
            let value = self.topo_command(&["get", key], "").await?.to_string();
            if value.contains(of) {
                text.push_str(&value);
            }
        }
        Ok(text)
    }

    /// Ends the operator of a member as `kill -9` does, and starts it with further arguments.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart_operator(&self, index: usize, arguments: &[&str]) -> Result<()> {
        let mut operator = self.members[index].operator.lock().await;
        operator.kill();
        operator.start(arguments)
    }

    /// Brings the league back to what scenarios may expect.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn mend(&self) -> Result<()> {
        self.set_topo_away(false).await?;
        self.set_topo_replaced(false).await?;
        for member in &self.members {
            let mut operator = member.operator.lock().await;
            operator.set_topo_away(false)?;
            operator.kill();
            operator.start(&[])?;
        }
        // A type that was left in the spec may keep operators from being ready.
        self.edit_federation(|spec| *spec = federation_spec()).await?;
        self.ready(PATIENCE).await
    }

    /// Whether the league is as scenarios may expect it.
    ///
    /// # Errors
    /// What is not.
    pub async fn is_fit(&self) -> Result<()> {
        for member in &self.members {
            ensure!(member.operator.lock().await.is_started(), "the operator of {} does not run", member.name);
        }
        self.ready(PATIENCE).await?;
        let spec = self.federation().await?["spec"].clone();
        let wanted = federation_spec();
        let changed: Vec<_> =
            ["members", "types", "homes", "safety"].iter().filter(|at| spec[**at] != wanted[**at]).collect();
        ensure!(changed.is_empty(), "the Federation's {changed:?} were left changed: {spec}");
        Ok(())
    }

    /// Now, in every member's audit record.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn mark(&self) -> Result<Vec<Mark>> {
        let mut marks = Vec::new();
        for member in &self.members {
            marks.push(member.cluster.read().await.mark().await?);
        }
        Ok(marks)
    }

    /// What a member's operator wrote to its API server since.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn writes(&self, index: usize, marks: &[Mark]) -> Result<Vec<Write>> {
        self.members[index].cluster.read().await.writes(User::Operator, &marks[index]).await
    }

    /// Proves that no operator wrote anything to its API server since.
    ///
    /// # Errors
    /// When one did, with what.
    pub async fn no_writes(&self, marks: &[Mark]) -> Result<()> {
        for (index, name) in MEMBERS.iter().enumerate() {
            let writes = self.writes(index, marks).await?;
            ensure!(writes.is_empty(), "writes in {name}, and none was due:\n{}", told(&writes));
        }
        Ok(())
    }

    /// What the processes said last.
    pub async fn last_words(&self) -> String {
        let mut words = Vec::new();
        for member in &self.members {
            let lines = member.operator.lock().await.log_since(0);
            words.push(format!("the operator of {}:", member.name));
            words.extend(lines[lines.len().saturating_sub(15)..].iter().cloned());
        }
        words.join("\n")
    }

    /// A folder that ends with the league.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder, for a person to look at.
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

/// Gives a cluster what `hansa manifests` prints: the operator's rights among it, no larger than the
/// types of this spec need.
///
/// # Errors
/// When it cannot be applied.
pub async fn install(binary: &Path, member: &str, topo: &str, kubeconfig: &Path, spec: &Value) -> Result<()> {
    let types = spec["types"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |each: &Value, field: &str| each[field].as_str().unwrap_or_default().to_owned();
    let words: Vec<String> =
        types.iter().map(|each| format!("{}/{}", text(each, "resource"), text(each, "version"))).collect();
    let privileged: Vec<String> =
        types.iter().filter(|each| each["privileged"] == true).map(|each| text(each, "resource")).collect();
    let mut command = Command::new(binary);
    command.args(["manifests", "-o", "json", "--finalizer-policy", "--member", member, "--topo", topo]);
    command.args(["--types", &words.join(",")]);
    if !privileged.is_empty() {
        command.args(["--privileged", &privileged.join(",")]);
    }
    let printed = output_of(command, "hansa manifests", "").await?;
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    kubectl::run(kubeconfig, &apply, &printed).await.map(|_| ())
}

/// Gives the clerk the rights to write federated objects and requests, and no others.
async fn grant_rights(admin: &Api) -> Result<()> {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let groups = ["core", "apps", "batch"].map(|group| format!("{group}.types.hansa.dev"));
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "clerk"},
        "rules": [
            {"apiGroups": groups, "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["hansa.dev"], "resources": ["*"], "verbs": ["*"]},
        ],
    });
    admin.apply(&format!("{RBAC}/clusterroles/clerk"), &role).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "clerk"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "clerk"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": User::Clerk.name()}],
    });
    admin.apply(&format!("{RBAC}/clusterrolebindings/clerk"), &binding).await?;
    Ok(())
}
