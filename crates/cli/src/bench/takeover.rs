//! `takeover`: an operator is killed; its pages are appointed to others, who decide in them what is due.
//!
//! Operators, API servers (kubesim, for the point is the agreement) and an etcd of three nodes with fsync are processes
//! of their own.

use super::lab::{eventually, federate, ready, write};
use super::{Row, median, quantile, tell};
use anyhow::{Context, Result, ensure};
use hansa_ballot::Control;
use hansa_controlplane::{EtcdCluster, Process, free_ports};
use hansa_ledger::{Envelope, keys};
use hansa_model::{MemberName, RecordKey};
use hansa_operator::{ApiRequest, ContentType, Method};
use hansa_runner::api_server::call;
use hansa_topo::{Changes, Topo};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The members. Three of five are a quorum when one is killed.
const MEMBERS: [&str; 5] = ["m1", "m2", "m3", "m4", "m5"];

/// The one that is killed.
const VICTIM: usize = 4;

/// With it a member that says nothing for [`TERM`] is suspected: three heartbeats and two seconds.
const HEARTBEAT: Duration = Duration::from_secs(1);

const TERM: Duration = Duration::from_secs(5);

/// What a takeover may take.
const MOST: Duration = Duration::from_secs(8);

/// How often the last state is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// How long a takeover may be waited for.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(scale: f64) -> Result<Vec<Row>> {
    let rounds = ((5.0 * scale).round() as usize).max(1);
    tell("starting five kubesims, their operators and an etcd of three nodes");
    let mut town = Town::start().await?;
    town.found().await?;
    let (mut appointed, mut decided) = (Vec::new(), Vec::new());
    let mut pages = 0;
    for round in 0..rounds {
        tell(&format!("takeover {} of {rounds}", round + 1));
        let taken = town.take_over(round).await?;
        pages = taken.pages;
        appointed.push(taken.appointed.as_secs_f64());
        decided.push(taken.decided.as_secs_f64());
    }
    let consists = format!(
        "up to {} s of silence are over when it is killed, {} s make it suspected by each, looked at with each heartbeat \
         ({} s), and a quorum's cells move its pages",
        HEARTBEAT.as_secs(),
        TERM.as_secs(),
        HEARTBEAT.as_secs(),
    );
    let how = format!(
        "median of {rounds}: kill -9 of one of five operators on an etcd of three nodes, until each of its {pages} pages \
         names another member; {consists}; at most {} s are allowed; floor: the term alone",
        MOST.as_secs()
    );
    let row = |name: &str, value, how: &str| Row {
        name: name.into(),
        value,
        unit: "s",
        floor: Some(TERM.as_secs_f64()),
        how: how.into(),
    };
    Ok(vec![
        row("takeover", median(appointed.clone()), &how),
        row("takeover (worst)", quantile(appointed, 1.0), "the longest of them"),
        row(
            "takeover: decided",
            median(decided),
            "median; until a withdrawal that was due in one of the pages is decided: until the output is gone",
        ),
    ])
}

struct Member {
    name: MemberName,
    kubeconfig: PathBuf,
    client: Client,
    port: u16,
    operator: Option<Process>,
    _kubesim: Process,
}

struct Town {
    members: Vec<Member>,
    topo: Arc<dyn Topo>,
    url: String,
    folder: tempfile::TempDir,
    _etcd: EtcdCluster,
}

/// What a takeover took since the kill.
struct Taken {
    pages: usize,
    appointed: Duration,
    decided: Duration,
}

impl Town {
    async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hansa-bench-").tempdir()?;
        let mut etcd = EtcdCluster::start(folder.path())?;
        let program = std::env::current_exe().context("where this program is")?;
        let mut started = Vec::new();
        for name in MEMBERS {
            let kubeconfig = folder.path().join(format!("{name}.kubeconfig"));
            let arguments =
                ["kubesim".to_owned(), "--no-workloads".to_owned(), format!("--kubeconfig={}", kubeconfig.display())];
            started.push((name, Process::start(&program, name, &arguments, folder.path())?, kubeconfig));
        }
        let mut members = Vec::new();
        for (name, kubesim, kubeconfig) in started {
            eventually("kubesim serves", async || Ok(kubeconfig.exists())).await?;
            let [port] = free_ports()?;
            let client = client(&kubeconfig).await?;
            members.push(Member { name: name.parse()?, kubeconfig, client, port, operator: None, _kubesim: kubesim });
        }
        etcd.ready().await?;
        let url = format!("etcd://{}/bench", etcd.hosts());
        let topo = hansa_topo::open(&url, &hansa_topo::Options::default()).await?;
        Ok(Town { members, topo, url, folder, _etcd: etcd })
    }

    fn start_operator(&mut self, index: usize) -> Result<()> {
        let program = std::env::current_exe().context("where this program is")?;
        let member = &mut self.members[index];
        let arguments = [
            "operator".to_owned(),
            format!("--member={}", member.name),
            format!("--topo={}", self.url),
            format!("--kubeconfig={}", member.kubeconfig.display()),
            format!("--listen=127.0.0.1:{}", member.port),
            format!("--heartbeat={}s", HEARTBEAT.as_secs()),
            "--no-lease".to_owned(),
        ];
        let name = format!("operator-{}", member.name);
        member.operator = Some(Process::start(&program, &name, &arguments, self.folder.path())?);
        Ok(())
    }

    async fn found(&mut self) -> Result<()> {
        for index in 0..MEMBERS.len() {
            self.start_operator(index)?;
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
            let path = "/api/v1/namespaces";
            write(&self.members[index].client, Method::Post, path, ContentType::Json, &namespace).await?;
        }
        let members: Vec<Value> = MEMBERS.iter().map(|name| json!({"name": name})).collect();
        let spec = json!({"members": members, "types": [{"resource": "configmaps", "version": "v1"}]});
        federate(&self.members[0].client, &spec).await?;
        self.all_share().await
    }

    /// Waits until all are ready, and share the pages.
    async fn all_share(&mut self) -> Result<()> {
        for member in &mut self.members {
            let operator = member.operator.as_mut().context("the operator was started")?;
            ready(operator, member.port, 1).await?;
        }
        let share = 256 / MEMBERS.len();
        eventually("all members share the pages", async || {
            let control = self.control().await?;
            Ok(self.members.iter().all(|member| held(&control, &member.name) >= share))
        })
        .await
    }

    async fn control(&self) -> Result<Control> {
        let stored = self.topo.get(keys::CONTROL).await?.context("the league is founded")?;
        Ok(Control::from_slice(&Envelope::open(&stored.value)?.1)?)
    }

    /// A name that nobody has used, of an object in a page of the victim.
    async fn name_in_page_of_victim(&self, round: usize) -> Result<String> {
        let control = self.control().await?;
        let ballots = control.ballots.as_ref().context("the league votes")?;
        let lies = |name: &String| {
            let key: Option<RecordKey> = format!("configmaps/bench/{name}").parse().ok();
            let seat = key.and_then(|key| ballots.appointments.page(key.page(control.pages)));
            seat.and_then(|seat| seat.member.as_ref()) == Some(&self.members[VICTIM].name)
        };
        (0..).map(|number| format!("due-{round}-{number}")).find(lies).context("numbers do not end")
    }

    /// Kills the victim, sees what becomes of its pages, and starts it again.
    async fn take_over(&mut self, round: usize) -> Result<Taken> {
        let name = self.name_in_page_of_victim(round).await?;
        let (home, other) = (self.members[0].client.clone(), self.members[1].client.clone());
        let path = format!(
            "/apis/core.types.hansa.dev/v1alpha1/namespaces/bench/federatedconfigmaps/{name}?fieldManager=bench"
        );
        let object = |members: &[&str]| {
            json!({
                "apiVersion": "core.types.hansa.dev/v1alpha1", "kind": "FederatedConfigMap",
                "metadata": {"name": name, "namespace": "bench"},
                "spec": {"template": {"data": {"round": round.to_string()}}, "placement": {"members": members}},
            })
        };
        let output = format!("/api/v1/namespaces/bench/configmaps/{name}");
        write(&home, Method::Patch, &path, ContentType::Apply, &object(&MEMBERS[..2])).await?;
        eventually("the object stands in both", async || {
            Ok(stands(&other, &output).await && stands(&home, &output).await)
        })
        .await?;
        for member in &mut self.members {
            let operator = member.operator.as_mut().context("the operator was started")?;
            ready(operator, member.port, 1).await?;
        }
        let victim = self.members[VICTIM].name.clone();
        let pages = held(&self.control().await?, &victim);
        ensure!(pages > 0, "the victim holds pages");
        let mut cursor = self.topo.changes(None).await?.cursor().clone();

        let killed = Instant::now();
        self.members[VICTIM].operator = None;
        write(&home, Method::Patch, &path, ContentType::Apply, &object(&MEMBERS[..1])).await?;
        let appointed = async {
            loop {
                let changes = self.topo.changes(Some(&cursor)).await?;
                cursor = changes.cursor().clone();
                let tells = !matches!(&changes, Changes::Keys { keys, .. } if !keys.contains_key(keys::CONTROL));
                if tells && held(&self.control().await?, &victim) == 0 {
                    return anyhow::Ok(killed.elapsed());
                }
            }
        };
        let decided = async {
            while stands(&other, &output).await {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(killed.elapsed())
        };
        let both = tokio::time::timeout(PATIENCE, async { tokio::try_join!(appointed, decided) });
        let (appointed, decided) = both.await.context("the pages are not taken over")??;
        self.start_operator(VICTIM)?;
        self.all_share().await?;
        Ok(Taken { pages, appointed, decided })
    }
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Whether an API server has an object.
async fn stands(client: &Client, path: &str) -> bool {
    call(client, &ApiRequest::get(path)).await.is_ok_and(|answer| answer.status == 200)
}

/// How many pages a member is appointed to.
fn held(control: &Control, member: &MemberName) -> usize {
    let runs = control.ballots.iter().flat_map(|ballots| &ballots.appointments.pages);
    let own = runs.filter(|run| run.seat.member.as_ref() == Some(member));
    own.map(|run| run.count as usize).sum()
}
