//! A league of five on an etcd of three nodes: every operator and every node a process in a network namespace of its
//! own, and a kubesim for each operator.

use super::judge::Edit;
use super::network::{Network, Node};
use super::store::Gateway;
use crate::client::Api;
use crate::cluster::{Cluster, Sim, User};
use crate::objects::{CONFIG_MAPS, FEDERATIONS, NAMESPACES, condition, config, everywhere, federated};
use crate::operator::{Operator, Settings, ask};
use crate::wait::{Seen, eventually, when, within};
use anyhow::{Context, Result, bail, ensure};
use hansa_ballot::Control;
use hansa_controlplane::{EtcdCluster, Seat};
use hansa_ledger::{Envelope, keys};
use hansa_model::{MemberName, RecordKey};
use hansa_topo::{Options, Topo};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The members.
pub const MEMBERS: [&str; 5] = ["aws-use1", "azure-sea", "edge-lon", "gcp-euw4", "onprem-fra"];

/// How many nodes etcd has.
pub const NODES: usize = 3;

/// The node of etcd whose disk is small.
pub const SMALL: usize = 2;

/// With it a member that says nothing for five seconds is suspected: three heartbeats and two seconds.
const HEARTBEAT: [&str; 2] = ["--heartbeat", "1s"];

/// How long the operators of a new league may take.
const FOUNDING: Duration = Duration::from_secs(150);

/// How long anything may take to go on after a fault, on a machine with other things to do. What it takes is printed.
pub const GOES_ON: Duration = Duration::from_secs(40);

/// Where users keep what they make.
pub const NAMESPACE: &str = "processes";

/// The prefix of the league's keys in etcd.
pub const PREFIX: &str = "/league";

/// A cluster of the league.
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// The address of its operator.
    pub address: Ipv4Addr,
    /// Its operator.
    pub operator: Operator,
    /// Its administrator.
    pub admin: Api,
    _cluster: Cluster,
}

/// The league.
pub struct League {
    /// Its network.
    pub network: Network,
    /// Its members, in the order of [`MEMBERS`].
    pub members: Vec<Member>,
    /// Its topology server.
    pub etcd: EtcdCluster,
    /// This process's own handle to it.
    pub topo: Arc<dyn Topo>,
    /// How many objects were made to see that everything goes on.
    probes: usize,
    folder: TempDir,
}

impl League {
    /// Starts everything, and waits until all five vote and are appointed.
    ///
    /// # Errors
    /// When a process cannot be started, or the operators do not become ready.
    pub async fn start(binary: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hansa-processes-").tempdir()?;
        let root = folder.path();
        let etcd_names = (0..NODES).map(|number| format!("etcd-{number}"));
        let names: Vec<String> = MEMBERS.iter().map(|name| (*name).to_owned()).chain(etcd_names).collect();
        let network = Network::of(&names).await?;
        let (places, nodes) = network.nodes.split_at(MEMBERS.len());
        let seat = |node: &Node| Seat {
            client: format!("{}:2379", node.address),
            peer: format!("{}:2380", node.address),
            namespace: Some(node.namespace.clone()),
            data: root.join("data").join(&node.name),
        };
        // etcd makes a log of 64 MiB before it needs it, twice.
        super::network::mount_small(&root.join("data").join(&nodes[SMALL].name), 192).await?;
        let mut etcd = EtcdCluster::start_at(root, nodes.iter().map(seat).collect())?;
        let url = format!("etcd://{}{PREFIX}", etcd.hosts());
        let mut clusters = Vec::new();
        for place in places {
            clusters.push(Cluster::Sim(Sim::start_at(binary, root.join(&place.name), place.router.into())?));
        }
        etcd.ready().await?;
        let mut members = Vec::new();
        for ((name, place), mut cluster) in MEMBERS.into_iter().zip(places).zip(clusters) {
            cluster.ready().await?;
            let admin = cluster.api(User::Admin).await?;
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
            admin.create(&NAMESPACES.collection(""), &namespace).await?.ok()?;
            let kubeconfig = cluster.kubeconfig(User::Operator);
            let settings = Settings {
                listen: place.address.into(),
                namespace: Some(place.namespace.clone()),
                ..Settings::new(binary, name, kubeconfig, &url, root)
            };
            let mut operator = Operator::new(settings);
            operator.start(&HEARTBEAT)?;
            members.push(Member { name, address: place.address, operator, admin, _cluster: cluster });
        }
        let topo = hansa_topo::open(&url, &Options::default()).await?;
        let mut league = League { network, members, etcd, topo, probes: 0, folder };
        if let Err(error) = league.found().await {
            bail!("{error:#}\n{}", league.last_words());
        }
        Ok(league)
    }

    async fn found(&mut self) -> Result<()> {
        let members: Vec<Value> = MEMBERS.iter().map(|name| json!({"name": name})).collect();
        let spec = json!({
            "members": members,
            "types": [{"resource": "configmaps", "version": "v1"}],
            // What is taken away here is not what these tests are about.
            "safety": {"deletes": {"percent": 100, "atLeast": 100_000, "window": "10m"}},
        });
        let federation = federated_federation(&spec);
        let admin = &self.members[0].admin;
        within(FOUNDING, "the Federation is accepted", async || {
            let answer = admin.try_apply(&FEDERATIONS.path("", "league"), &federation).await?;
            Ok(if answer.status < 300 { Seen::Yes(()) } else { Seen::No(answer.message().to_owned()) })
        })
        .await?;
        let all: Vec<usize> = (0..MEMBERS.len()).collect();
        self.seated(0, &all, FOUNDING).await?;
        for index in all {
            let what = format!("the operator of {} is ready", MEMBERS[index]);
            within(FOUNDING, &what, async || {
                let health = self.health(index).await;
                Ok(when(health["ready"] == true && health["idle"] == true, || health.to_string()))
            })
            .await?;
        }
        Ok(())
    }

    /// What an operator says of itself; `Null` while it does not answer.
    pub async fn health(&self, index: usize) -> Value {
        self.ask(index, "/read/health").await
    }

    async fn ask(&self, index: usize, path: &str) -> Value {
        let Some(address) = self.members[index].operator.address() else { return Value::Null };
        match ask(&address, path).await {
            Some((200, body)) => serde_json::from_str(&body).unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// Waits until, as one operator reads it, these members and no others decide in pages.
    ///
    /// # Errors
    /// When that takes longer.
    pub async fn seated(&self, reader: usize, members: &[usize], patience: Duration) -> Result<()> {
        let what = format!("{} reads that {members:?} share the pages", MEMBERS[reader]);
        within(patience, &what, async || {
            let ballots = self.ask(reader, "/read/ballots").await;
            let pages = |index: usize| ballots["voters"][MEMBERS[index]]["pages"].as_u64().unwrap_or_default();
            let share = 256 / members.len() as u64;
            let fits = |index: usize| if members.contains(&index) { pages(index) >= share } else { pages(index) == 0 };
            let told: Vec<u64> = (0..MEMBERS.len()).map(pages).collect();
            Ok(when((0..MEMBERS.len()).all(fits), || format!("pages {told:?}")))
        })
        .await
    }

    /// Waits until an operator knows that it cannot reach the topology server, or that it can again.
    ///
    /// # Errors
    /// When that takes longer than [`GOES_ON`].
    pub async fn knows_topo_away(&self, index: usize, away: bool) -> Result<()> {
        let what =
            format!("{} knows that the topology server is {}", MEMBERS[index], if away { "away" } else { "back" });
        within(GOES_ON, &what, async || {
            let health = self.health(index).await;
            let knows = health.is_object() && health["topologyAwaySince"].is_string() == away;
            Ok(when(knows, || health.to_string()))
        })
        .await
    }

    /// A ConfigMap that nobody has used, in a page in which a member decides now.
    ///
    /// # Errors
    /// When the topology server does not answer, or appoints that member to nothing for [`GOES_ON`].
    pub async fn name_in_page_of(&mut self, member: usize) -> Result<String> {
        let topo = self.topo.clone();
        let what = format!("{} decides in a page", MEMBERS[member]);
        let member: MemberName = MEMBERS[member].parse()?;
        within(GOES_ON, &what, async || {
            let stored = topo.get(keys::CONTROL).await?.context("there is a control document")?;
            let control = Control::from_slice(&Envelope::open(&stored.value)?.1)?;
            let ballots = control.ballots.context("the league votes")?;
            let seat = |page| ballots.appointments.page(page).and_then(|seat| seat.member.as_ref());
            // More names than it takes to meet a page of a fifth of them.
            for _ in 0..10 * control.pages {
                let name = self.probe();
                if seat(record_key(&name)?.page(control.pages)) == Some(&member) {
                    return Ok(Seen::Yes(name));
                }
            }
            Ok(Seen::No("it was suspected a moment ago, or is not back yet".to_owned()))
        })
        .await
    }

    fn probe(&mut self) -> String {
        self.probes += 1;
        format!("probe-{}", self.probes)
    }

    /// Proves that everything goes on among these members: a new object of the first of them is agreed on and stands in
    /// all. Says how long that took since.
    ///
    /// # Errors
    /// When that takes longer than [`GOES_ON`].
    pub async fn goes_on(&mut self, members: &[usize], since: Instant) -> Result<Duration> {
        let name = self.probe();
        let home = members[0];
        self.write(home, &name, &everywhere(config(&[("word", "hello")]))).await?;
        for index in members {
            self.output_is(*index, &name, Some("hello")).await?;
        }
        self.agreed(home, &name).await?;
        Ok(since.elapsed())
    }

    /// Writes a federated object in a member.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn write(&self, home: usize, name: &str, spec: &Value) -> Result<()> {
        let object = federated(CONFIG_MAPS, NAMESPACE, name, spec);
        self.members[home].admin.apply(&CONFIG_MAPS.federated(NAMESPACE, name), &object).await.map(|_| ())
    }

    /// Waits until a member has an output with this word, or none.
    ///
    /// # Errors
    /// When that takes longer than [`GOES_ON`].
    pub async fn output_is(&self, index: usize, name: &str, word: Option<&str>) -> Result<()> {
        let what = format!("{name} in {} is {word:?}", MEMBERS[index]);
        within(GOES_ON, &what, async || {
            let output = self.members[index].admin.find(&CONFIG_MAPS.path(NAMESPACE, name)).await?;
            let found = output.as_ref().and_then(|output| output["data"]["word"].as_str());
            Ok(when(found == word, || format!("{found:?}")))
        })
        .await
    }

    /// Waits until a federated object says that what it holds now is agreed; gives what it says.
    ///
    /// # Errors
    /// When that takes longer than [`GOES_ON`].
    pub async fn agreed(&self, home: usize, name: &str) -> Result<Edit> {
        let admin = &self.members[home].admin;
        within(GOES_ON, &format!("{name} is agreed"), async || agreed(admin, name).await).await
    }

    /// The node of etcd that leads.
    ///
    /// # Errors
    /// When none does for a while.
    pub async fn leader(&self) -> Result<usize> {
        eventually("etcd has a leader", async || {
            for (index, node) in self.etcd.nodes.iter().enumerate() {
                if Gateway::of(&node.seat.client)?.leads().await.unwrap_or(false) {
                    return Ok(Seen::Yes(index));
                }
            }
            Ok(Seen::No("none says so".to_owned()))
        })
        .await
    }

    /// The addresses of nodes of etcd.
    pub fn etcd_addresses(&self, nodes: &[usize]) -> Vec<Ipv4Addr> {
        nodes.iter().map(|node| self.network.nodes[MEMBERS.len() + node].address).collect()
    }

    /// Starts an operator.
    ///
    /// # Errors
    /// When it runs, or cannot be started.
    pub fn start_operator(&mut self, index: usize) -> Result<()> {
        self.members[index].operator.start(&HEARTBEAT)
    }

    /// Where the data of a node of etcd is.
    pub fn data(&self, node: usize) -> PathBuf {
        self.etcd.nodes[node].seat.data.clone()
    }

    /// Proves that no operator ended by itself.
    ///
    /// # Errors
    /// When one has.
    pub fn all_run(&mut self) -> Result<()> {
        for member in &mut self.members {
            ensure!(!member.operator.has_died(), "the operator of {} ended by itself", member.name);
        }
        Ok(())
    }

    /// What the processes said last.
    pub fn last_words(&mut self) -> String {
        let mut words = Vec::new();
        for member in &self.members {
            let lines = member.operator.log_since(0);
            words.push(format!("the operator of {}:", member.name));
            words.extend(lines[lines.len().saturating_sub(15)..].iter().cloned());
        }
        for node in &mut self.etcd.nodes {
            words.extend(node.process().map(|process| process.tail()));
        }
        words.join("\n")
    }

    /// Keeps the folder, for a person to look at.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }
}

/// Whether a federated object says that what it holds now is agreed, and as what.
pub async fn agreed(admin: &Api, name: &str) -> Result<Seen<Edit>> {
    let home = admin.get(&CONFIG_MAPS.federated(NAMESPACE, name)).await?;
    let status = &home["status"];
    let is_current = status["observedGeneration"] == home["metadata"]["generation"];
    if !is_current || condition(&home, "Agreed").0 != "True" {
        return Ok(Seen::No(status.to_string()));
    }
    let field = |field: &str| status["agreed"][field].clone();
    Ok(Seen::Yes(Edit {
        key: record_key(name)?,
        incarnation: serde_json::from_value(field("incarnation"))?,
        revision: serde_json::from_value(field("revision"))?,
        hash: serde_json::from_value(field("hash"))?,
    }))
}

fn record_key(name: &str) -> Result<RecordKey> {
    Ok(format!("configmaps/{NAMESPACE}/{name}").parse()?)
}

fn federated_federation(spec: &Value) -> Value {
    json!({
        "apiVersion": FEDERATIONS.api_version(), "kind": "Federation", "metadata": {"name": "league"}, "spec": spec,
    })
}
