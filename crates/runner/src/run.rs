//! The loop between the operator and everything else.

use crate::endpoints::{Asked, Endpoints};
use crate::keys::{self, Keys};
use crate::lease::Candidate;
use crate::types::Installer;
use crate::{api_server, clock, endpoints, topo_calls};
use anyhow::{Context, anyhow, bail};
use hansa_ballot::DEFAULT_PAGES;
use hansa_model::{Incarnation, MemberName, RecordKey};
use hansa_operator::{
    Act, ActId, ApiRequest, Config, ContentType, Event, KeysChange, Level, Method, Note, Operator, Release,
};
use hansa_topo::Topo;
use kube::Client;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

/// How many events are taken before the acts that they led to are carried out.
const BATCH: usize = 512;

/// How long to wait before the keys are written again.
const KEYS_PAUSE: Duration = Duration::from_secs(1);

/// What an operator needs to run.
#[derive(Clone)]
pub struct Options {
    /// The member it acts for.
    pub member: MemberName,
    /// Its own API server.
    pub client: Client,
    /// The league's topology server.
    pub topo: Arc<dyn Topo>,
    /// Its own namespace: for its keys and its Lease.
    pub namespace: String,
    /// Who it is among the replicas; unique to the process.
    pub identity: String,
    /// Where to answer health, metrics and questions; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Computes and reports, and writes nothing but its own status.
    pub observe: bool,
    /// How many requests to the API server may be under way.
    pub max_in_flight: usize,
    /// How often it says that it lives.
    pub heartbeat: Duration,
    /// Whether to wait for the Lease; a single process without replicas need not.
    pub lease: bool,
}

/// An operator that runs.
#[derive(Debug)]
pub struct Started {
    /// Where it answers.
    pub address: Option<SocketAddr>,
    /// Ends when the operator ends: on an error, or when leadership is lost.
    pub task: JoinHandle<anyhow::Result<()>>,
}

/// Starts an operator.
///
/// # Errors
/// When its API server cannot be asked who it is, its keys cannot be had, or its address is taken.
pub async fn start(options: Options) -> anyhow::Result<Started> {
    let (asks, questions) = mpsc::channel::<Asked>(64);
    let mut address = None;
    let mut server = None;
    if let Some(listen) = options.listen {
        let endpoints = Endpoints { questions: asks, extra_metrics: String::new };
        let (bound, task) =
            endpoints::serve(listen, endpoints).await.with_context(|| format!("listening on {listen}"))?;
        (address, server) = (Some(bound), Some(task));
    }
    let task = tokio::spawn(async move {
        let result = lead(options, questions).await;
        if let Some(server) = server {
            server.abort();
        }
        result
    });
    Ok(Started { address, task })
}

async fn lead(options: Options, mut questions: mpsc::Receiver<Asked>) -> anyhow::Result<()> {
    let candidate = Candidate::new(options.client.clone(), &options.namespace, options.identity.clone());
    let begun = async {
        let identity = identify(&options.client).await?;
        make_namespace(&options.client, &options.namespace).await?;
        if options.lease {
            tracing::info!(member = %options.member, "waiting for the Lease");
            let acquired = candidate.acquire().await;
            acquired.map_err(|error| anyhow!("the Lease {}/{}: {error}", options.namespace, crate::lease::NAME))?;
        }
        anyhow::Ok(identity)
    };
    // Whoever asks meanwhile is told that this process does not lead: also when its API server is away for long.
    let identity = tokio::select! {
        begun = begun => begun?,
        never = stand_by(&mut questions) => match never {},
    };
    tracing::info!(member = %options.member, cluster = %identity.cluster_uid, kubernetes = %identity.kubernetes, "the operator starts");
    let lease = options.lease;
    let running = async {
        loop {
            // Once it leads: another replica may have changed them before.
            let keys = keys::load_or_make(&options.client, &options.namespace).await.map_err(|error| anyhow!(error))?;
            operate(&options, &identity, &keys, &mut questions).await?;
            tracing::info!(member = %options.member, "the operator's keys have changed: it starts anew with them");
        }
    };
    if !lease {
        return running.await;
    }
    tokio::select! {
        ended = running => {
            candidate.release().await;
            ended
        }
        why = candidate.hold() => bail!("the Lease {}/{} is lost: {why}", options.namespace, crate::lease::NAME),
    }
}

/// Leaves every question without an answer, by which the endpoints know a standby.
async fn stand_by(questions: &mut mpsc::Receiver<Asked>) -> Infallible {
    while questions.recv().await.is_some() {}
    std::future::pending().await
}

struct Identity {
    cluster_uid: String,
    kubernetes: String,
    minor: u64,
    /// The name under which the API server knows this operator.
    user: Option<String>,
}

/// Asks the API server who it is, until it answers.
async fn identify(client: &Client) -> anyhow::Result<Identity> {
    let mut told = String::new();
    loop {
        match try_identify(client).await {
            Ok(identity) => return Ok(identity),
            Err(error) => {
                // What is wrong once it answers is other than that it did not.
                if told != error {
                    tracing::warn!("the member's API server cannot be used yet: {error}");
                    told = error;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

async fn try_identify(client: &Client) -> Result<Identity, String> {
    let get = async |path: &str| -> Result<Value, String> {
        let answer = api_server::call(client, &ApiRequest::get(path)).await?;
        if answer.status != 200 {
            return Err(format!("{path}: {}", hansa_operator::feed::message_of(&answer.body)));
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("{path}: {error}"))
    };
    let version = get("/version").await?;
    let system = get("/api/v1/namespaces/kube-system").await?;
    let minor: String =
        version["minor"].as_str().unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    Ok(Identity {
        cluster_uid: system["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        kubernetes: version["gitVersion"].as_str().unwrap_or_default().to_owned(),
        minor: minor.parse().unwrap_or(0),
        user: own_user(client).await,
    })
}

/// Asks under which name this operator is known (KEP-3325): the policies exempt it by that name. An
/// API server that does not tell leaves the ServiceAccount's.
async fn own_user(client: &Client) -> Option<String> {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer =
        api_server::call(client, &ApiRequest::write(Method::Post, path, ContentType::Json, &body)).await.ok()?;
    let review: Value = serde_json::from_slice(&answer.body).ok()?;
    review["status"]["userInfo"]["username"].as_str().map(str::to_owned)
}

async fn make_namespace(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let found = api_server::call(client, &ApiRequest::get(format!("/api/v1/namespaces/{namespace}"))).await;
    if found.as_ref().is_ok_and(|found| found.status == 404) {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let request = ApiRequest::write(Method::Post, "/api/v1/namespaces", ContentType::Json, &body);
        let made = api_server::call(client, &request).await.map_err(|error| anyhow!(error))?;
        if made.status >= 300 && made.status != 409 {
            bail!("namespace {namespace} cannot be made: {}", hansa_operator::feed::message_of(&made.body));
        }
    }
    Ok(())
}

/// Drives one operator until its process ends.
struct Driver {
    operator: Operator,
    client: Client,
    topo: Arc<dyn Topo>,
    installer: Installer,
    member: MemberName,
    namespace: String,
    keys_changed: mpsc::Sender<()>,
    events: mpsc::UnboundedSender<Event>,
    watches: BTreeMap<ActId, AbortHandle>,
    wake: Option<u64>,
    replies: BTreeMap<u64, oneshot::Sender<Value>>,
    asked: u64,
    policies: Option<Vec<hansa_model::FederatedType>>,
}

/// Runs one start of the operator, until its keys have changed.
async fn operate(
    options: &Options,
    identity: &Identity,
    keys: &Keys,
    questions: &mut mpsc::Receiver<Asked>,
) -> anyhow::Result<()> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let (changed, mut keys_changed) = mpsc::channel(1);
    let now = clock::now();
    let config = Config {
        member: options.member.clone(),
        cluster_uid: identity.cluster_uid.clone(),
        kubernetes: identity.kubernetes.clone(),
        release: Release::this(env!("CARGO_PKG_VERSION")),
        // Unique to this start: the time, and enough randomness for two starts in one millisecond.
        incarnation: Incarnation((now.wall_ms << 12) | (now.entropy & 0xfff)),
        public_keys: keys.in_use.public(),
        signer: keys.in_use.signer(options.member.clone()),
        namespace: options.namespace.clone(),
        keys: keys.private(),
        rotation: keys.rotation(&options.member),
        observe: options.observe,
        max_in_flight: options.max_in_flight,
        heartbeat_ms: options.heartbeat.as_millis() as u64,
        values_per_read: options.topo.values_per_read(),
        pages: DEFAULT_PAGES,
    };
    let installer = Installer {
        client: options.client.clone(),
        topo: Arc::clone(&options.topo),
        minor: identity.minor,
        operators: [hansa_api::policy::operator_user(&options.namespace)]
            .into_iter()
            .chain(identity.user.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        observe: options.observe,
    };
    installer.apply_own_crds().await.map_err(|error| anyhow!(error))?;
    let mut driver = Driver {
        operator: Operator::new(config),
        client: options.client.clone(),
        topo: Arc::clone(&options.topo),
        installer,
        member: options.member.clone(),
        namespace: options.namespace.clone(),
        keys_changed: changed,
        events: sender,
        watches: BTreeMap::new(),
        wake: None,
        replies: BTreeMap::new(),
        asked: 0,
        policies: None,
    };
    driver.take(Event::Start);
    loop {
        let pause = driver.wake.map(|at| Duration::from_millis(at.saturating_sub(clock::now().monotonic_ms)));
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    driver.take(event);
                    for _ in 0..BATCH {
                        match events.try_recv() {
                            Ok(event) => driver.take(event),
                            Err(_) => break,
                        }
                    }
                }
                None => bail!("the operator's events have ended"),
            },
            Some(()) = keys_changed.recv() => return Ok(()),
            Some((question, reply)) = questions.recv() => {
                driver.asked += 1;
                let query = driver.asked;
                driver.replies.insert(query, reply);
                driver.take(Event::Query { query, question });
            }
            () = tokio::time::sleep(pause.unwrap_or(Duration::from_secs(3600))), if driver.wake.is_some() => {
                driver.wake = None;
                driver.take(Event::Wake);
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The next start opens its own.
        self.watches.values().for_each(AbortHandle::abort);
    }
}

impl Driver {
    fn take(&mut self, event: Event) {
        for act in self.operator.step(event, clock::now()) {
            self.carry_out(act);
        }
    }

    fn carry_out(&mut self, act: Act) {
        match act {
            Act::Api { id, request } => {
                let (client, events) = (self.client.clone(), self.events.clone());
                tokio::spawn(async move {
                    let answer = api_server::call(&client, &request).await;
                    // Nobody listens any more when the operator has ended.
                    let _ = events.send(Event::Api { id, answer });
                });
            }
            Act::Watch { id, request } => {
                let task = tokio::spawn(api_server::watch(self.client.clone(), id, request, self.events.clone()));
                self.watches.insert(id, task.abort_handle());
                self.watches.retain(|_, watch| !watch.is_finished());
            }
            Act::CloseWatch { id } => {
                if let Some(watch) = self.watches.remove(&id) {
                    watch.abort();
                }
                // A type that left the spec is not followed any more.
                self.apply_policies();
            }
            Act::Topo { id, request } => {
                let (topo, events) = (Arc::clone(&self.topo), self.events.clone());
                tokio::spawn(async move {
                    let answer = topo_calls::call(&*topo, request).await;
                    let _ = events.send(Event::Topo { id, answer });
                });
            }
            Act::InstallType { id, federated_type } => {
                let (installer, events) = (self.installer.clone(), self.events.clone());
                self.apply_policies();
                tokio::spawn(async move {
                    let answer = installer.install(&federated_type).await;
                    let _ = events.send(Event::TypeInstalled { id, answer });
                });
            }
            Act::ChangeKeys(change) => self.change_keys(change),
            Act::WakeAt { monotonic_ms } => self.wake = Some(monotonic_ms),
            Act::Reply { query, answer } => {
                if let Some(reply) = self.replies.remove(&query) {
                    // Whoever asked may have gone.
                    let _ = reply.send(answer);
                }
            }
            Act::Log(note) => self.log(&note),
        }
    }

    /// Brings the admission policies up to the agreed types, when those have changed.
    fn apply_policies(&mut self) {
        let types = self.operator.types();
        if self.policies.as_ref() == Some(&types) {
            return;
        }
        self.policies = Some(types.clone());
        let installer = self.installer.clone();
        let member = self.member.clone();
        tokio::spawn(async move {
            if let Err(error) = installer.apply_policies(&types).await {
                tracing::warn!(member = %member, "the admission policies are not installed, the operator's own checks stand alone: {error}");
            }
        });
    }

    /// Changes the keys in their Secret, however long its API server does not take it.
    fn change_keys(&self, change: KeysChange) {
        let (client, namespace, member) = (self.client.clone(), self.namespace.clone(), self.member.clone());
        let keys_changed = self.keys_changed.clone();
        tokio::spawn(async move {
            let mut failures = 0;
            while let Err(error) = keys::change(&client, &namespace, &change).await {
                failures += 1;
                if failures == 3 {
                    tracing::warn!(member = %member, "the operator's keys cannot be changed, it is tried again: {error}");
                }
                tokio::time::sleep(KEYS_PAUSE).await;
                if keys_changed.is_closed() {
                    return;
                }
            }
            // What is only forgotten here is not in use: no other start for that.
            if change != KeysChange::ForgetSigning {
                let _ = keys_changed.send(()).await;
            }
        });
    }

    fn log(&self, note: &Note) {
        let member = self.member.as_str();
        // Fields without a value are left out.
        let object = note.key.as_ref().map(RecordKey::to_string);
        let (object, term) = (object.as_deref(), note.term.map(|term| term.0));
        match note.level {
            Level::Debug => tracing::debug!(member, object, term, "{}", note.message),
            Level::Info => tracing::info!(member, object, term, "{}", note.message),
            Level::Warning => tracing::warn!(member, object, term, "{}", note.message),
            Level::Error => tracing::error!(member, object, term, "{}", note.message),
        }
    }
}
