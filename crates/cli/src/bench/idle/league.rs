//! Operators in one process on a real topology server.
//!
//! Where the server tells of changes, time is simulated: it jumps to what is due next. A handle of an object store looks
//! for changes by the clock of the machine, and so time passes as it does there.

use super::counted::{Counted, Spent};
use anyhow::{Context, Result, bail, ensure};
use hansa_api::manifests::own_crds;
use hansa_ballot::voters::Voter;
use hansa_ballot::{Control, DEFAULT_PAGES, FederationHome, Signer, Voters};
use hansa_kubesim::core::http::{Reply, Request, User};
use hansa_kubesim::core::{Config as CoreConfig, Core, WatchId};
use hansa_ledger::{Envelope, Swap, keys};
use hansa_model::{Era, Hash, Incarnation, MemberName, SplitMix64};
use hansa_operator::{
    Act, ActId, ApiAnswer, ApiRequest, Config, Event, Method, Now, Operator, PrivateKeys, Question, TopoAnswer,
    TopoRequest,
};
use hansa_runner::topo_calls;
use hansa_topo::{Options, open};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// When simulated time begins, in milliseconds since the epoch.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// How long a real answer may take.
const ANSWER: Duration = Duration::from_secs(60);

/// How often operators that are not at rest are looked at again, in milliseconds.
const LOOK_MS: u64 = 50;

/// How many steps all operators may take at one moment of simulated time.
const STEPS: u32 = 1_000_000;

/// How time passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// It jumps to what is due next once every call is answered and every change told. The topology server counts its
    /// writes, and a version is that number.
    Jumps,
    /// As on the machine, since the first operator was started.
    Passes,
}

/// A topology server.
#[derive(Clone, Debug)]
pub struct Server {
    pub url: String,
    pub options: Options,
    pub clock: Clock,
}

/// An operator with its API server.
struct Node {
    operator: Operator,
    core: Core,
    topo: Arc<Counted>,
    inbox: VecDeque<Event>,
    watches: BTreeMap<ActId, WatchId>,
    /// When it wants to be woken.
    wake: Option<u64>,
    /// When its API server has work of its own.
    tick: Option<u64>,
    /// It waits for changes after this one.
    told: Option<u64>,
    health: Value,
}

/// The league.
pub struct League {
    clock: Clock,
    began: Instant,
    nodes: Vec<Node>,
    now: u64,
    random: SplitMix64,
    /// Calls without an answer, waits for changes apart.
    under_way: usize,
    /// Whether a call may fail: on a real store, while all write one key at once to begin with.
    bears_failures: bool,
    /// The last change that anybody made.
    written: u64,
    answers: mpsc::UnboundedReceiver<(usize, Event)>,
    sender: mpsc::UnboundedSender<(usize, Event)>,
}

impl League {
    /// Founds one of so many operators, who all vote from the beginning, and starts them one after the other within
    /// one heartbeat.
    pub async fn found(operators: usize, server: &Server, heartbeat_ms: u64) -> Result<Self> {
        let (sender, answers) = mpsc::unbounded_channel();
        let handle = || open(&server.url, &server.options);
        let first = handle().await?;
        let mut league = League {
            clock: server.clock,
            began: Instant::now(),
            nodes: Vec::new(),
            now: 0,
            random: SplitMix64(1),
            under_way: 0,
            bears_failures: matches!(server.clock, Clock::Passes),
            written: 0,
            answers,
            sender,
        };
        let mut voters = BTreeMap::new();
        let mut configs = Vec::new();
        for number in 0..operators {
            let name: MemberName = format!("m{number:03}").parse()?;
            let number = number as u64;
            let mut core = Core::new(CoreConfig { seed: number, workloads: false, ..CoreConfig::default() }, EPOCH_MS);
            install(&mut core)?;
            let uid = look(&mut core, "/api/v1/namespaces/kube-system")["metadata"]["uid"].clone();
            let signer = Signer::new(name.clone(), league.bytes());
            let uid = uid.as_str().context("kube-system has a uid")?.to_owned();
            voters.insert(name.clone(), Voter { key: signer.public(), uid: uid.clone(), witness: false });
            let keys = PrivateKeys::new(league.bytes(), league.bytes());
            configs.push((
                core,
                Config {
                    member: name,
                    cluster_uid: uid,
                    kubernetes: "v1.37.2".to_owned(),
                    release: hansa_operator::Release::this(env!("CARGO_PKG_VERSION")),
                    incarnation: Incarnation((EPOCH_MS << 12) | number),
                    public_keys: vec![signer.public().to_string(), keys.public()],
                    signer,
                    namespace: hansa_api::SYSTEM_NAMESPACE.to_owned(),
                    keys,
                    rotation: None,
                    observe: false,
                    max_in_flight: 64,
                    heartbeat_ms,
                    values_per_read: first.values_per_read(),
                    pages: DEFAULT_PAGES,
                },
            ));
        }
        let members: Vec<Value> = voters.keys().map(|name| json!({"name": name})).collect();
        let spec = json!({"members": members});
        let home = FederationHome {
            member: configs[0].1.member.clone(),
            uid: "uid".to_owned(),
            generation: 1,
            hash: Hash::of(&spec),
        };
        let (id, control) = Control::found(to_raw_value(&spec)?.into(), home, DEFAULT_PAGES);
        let control = control.voting(Voters::found(voters, BTreeMap::new()));
        let value = Envelope::first(id, Era(1), 1).seal(&control.to_vec());
        let founded = first.create(keys::CONTROL, value).await?;
        ensure!(matches!(founded, Swap::Committed(_)), "the league is not founded: {founded:?}");
        league.began = Instant::now();
        for (number, (core, config)) in configs.into_iter().enumerate() {
            league.run_until(number as u64 * heartbeat_ms / operators as u64).await?;
            league.nodes.push(Node {
                operator: Operator::new(config),
                core,
                topo: Arc::new(Counted::new(handle().await?)),
                inbox: [Event::Start].into(),
                watches: BTreeMap::new(),
                wake: None,
                tick: Some(league.now),
                told: None,
                health: Value::Null,
            });
        }
        Ok(league)
    }

    /// Lets everything happen that is due until a time.
    pub async fn run_until(&mut self, until: u64) -> Result<()> {
        loop {
            match self.clock {
                Clock::Jumps => self.settle().await?,
                Clock::Passes => self.pass(until).await?,
            }
            let next = self.next(until);
            match self.clock {
                Clock::Jumps => self.now = self.now.max(next.unwrap_or(until)),
                Clock::Passes => self.now = (self.began.elapsed().as_millis() as u64).min(until),
            }
            let now = self.now;
            if next.is_none() && now >= until {
                return Ok(());
            }
            for node in &mut self.nodes {
                if node.wake.is_some_and(|at| at <= now) {
                    node.wake = None;
                    node.inbox.push_back(Event::Wake);
                }
                if node.tick.is_some_and(|at| at <= now) {
                    node.tick = node.core.tick(EPOCH_MS + now).map(|at| at.saturating_sub(EPOCH_MS).max(now + 1));
                    node.poll(now);
                }
            }
        }
    }

    /// When something is due next, no later than a time.
    fn next(&self, until: u64) -> Option<u64> {
        let due = |node: &Node| [node.wake, node.tick].into_iter().flatten().min();
        self.nodes.iter().filter_map(due).min().filter(|next| *next <= until)
    }

    /// Lets operators act on what they heard, and waits for the next answer or the next time that something is due.
    async fn pass(&mut self, until: u64) -> Result<()> {
        self.act(&mut 0)?;
        let due = self.began + Duration::from_millis(self.next(until).unwrap_or(until));
        if let Ok(answer) = tokio::time::timeout_at(due.into(), self.answers.recv()).await {
            let (index, event) = answer.context("it is asked")?;
            self.take(index, event)?;
            self.take_all()?;
        }
        Ok(())
    }

    /// Proves that every operator knows everything and has nothing to do, each at some moment before a time: at any one
    /// moment of a clock that passes, one of many reads heartbeats.
    pub async fn all_come_to_rest(&mut self, until: u64) -> Result<()> {
        let mut busy: Vec<usize> = (0..self.nodes.len()).collect();
        loop {
            let mut still = Vec::new();
            for index in busy {
                self.step(index, Event::Query { query: 0, question: Question::Health })?;
                let health = &self.nodes[index].health;
                if health["ready"] != true || health["idle"] != true {
                    still.push(index);
                }
            }
            let Some(first) = still.first() else { return Ok(()) };
            let health = &self.nodes[*first].health;
            ensure!(self.now < until, "{} operators do not come to rest, the first is {first}: {health}", still.len());
            self.run_until(until.min(self.now + LOOK_MS)).await?;
            busy = still;
        }
    }

    /// From now on each call is to be answered.
    pub fn bear_no_failures(&mut self) {
        self.bears_failures = false;
    }

    /// What all have spent so far.
    pub fn spent(&self) -> Spent {
        let mut sum = Spent::default();
        self.nodes.iter().for_each(|node| sum.add(&node.topo.spent()));
        sum
    }

    /// Lets everything happen that is due now: until every call is answered, and every change told to everybody.
    async fn settle(&mut self) -> Result<()> {
        let mut steps = 0;
        loop {
            self.act(&mut steps)?;
            let untold = |node: &Node| node.told.is_some_and(|told| told < self.written);
            if self.under_way == 0 && !self.nodes.iter().any(untold) {
                return Ok(());
            }
            let answer = tokio::time::timeout(ANSWER, self.answers.recv()).await;
            let (index, event) = answer.context("the topology server does not answer")?.context("it is asked")?;
            self.take(index, event)?;
            self.take_all()?;
        }
    }

    /// Lets operators act on what they heard.
    fn act(&mut self, steps: &mut u32) -> Result<()> {
        for index in 0..self.nodes.len() {
            while let Some(event) = self.nodes[index].inbox.pop_front() {
                *steps += 1;
                ensure!(*steps < STEPS, "operator {index} does not come to rest at {} ms", self.now);
                self.step(index, event)?;
            }
        }
        Ok(())
    }

    fn take_all(&mut self) -> Result<()> {
        while let Ok((index, event)) = self.answers.try_recv() {
            self.take(index, event)?;
        }
        Ok(())
    }

    fn take(&mut self, index: usize, event: Event) -> Result<()> {
        let Event::Topo { answer, .. } = &event else { bail!("a topology server answers with nothing else") };
        let node = &mut self.nodes[index];
        match answer {
            TopoAnswer::Changed { keys, .. } if node.told.is_some() && !keys.is_empty() => node.told = None,
            TopoAnswer::Reset { .. } => node.told = None,
            // The operator asks again; nobody counts the calls of a clock that passes.
            TopoAnswer::Failed { .. } if self.bears_failures => {}
            TopoAnswer::Failed { reason, .. } | TopoAnswer::Replaced { reason } => bail!("operator {index}: {reason}"),
            answer => {
                self.under_way -= 1;
                if let (Clock::Jumps, TopoAnswer::Swapped(Swap::Committed(version))) = (self.clock, answer) {
                    self.written = self.written.max(version.as_str().parse().context("etcd counts")?);
                }
            }
        }
        node.inbox.push_back(event);
        Ok(())
    }

    fn step(&mut self, index: usize, event: Event) -> Result<()> {
        let now = Now { monotonic_ms: self.now, wall_ms: EPOCH_MS + self.now, entropy: self.random.bits() };
        // What the change that it was told of last was.
        let told = match &event {
            Event::Topo { answer: TopoAnswer::Changed { keys, .. }, .. } => {
                keys.values().filter_map(|version| version.as_str().parse().ok()).max()
            }
            _ => None,
        };
        let acts = self.nodes[index].operator.step(event, now);
        for act in acts {
            let node = &mut self.nodes[index];
            match act {
                Act::Api { id, request } => {
                    let answer = match node.core.handle(now.wall_ms, &as_request(&request)) {
                        Reply::Response(response) => Ok(ApiAnswer { status: response.status, body: response.body }),
                        Reply::Watch { .. } => Err("a watch was not expected".to_owned()),
                    };
                    node.inbox.push_back(Event::Api { id, answer });
                    if request.method != Method::Get {
                        node.tick = Some(self.now);
                        node.poll(self.now);
                    }
                }
                Act::Watch { id, request } => match node.core.handle(now.wall_ms, &as_request(&request)) {
                    Reply::Watch { id: watch, .. } => {
                        node.watches.insert(id, watch);
                        node.poll(self.now);
                    }
                    Reply::Response(response) => {
                        let reason = String::from_utf8_lossy(&response.body).into_owned();
                        node.inbox.push_back(Event::WatchClosed { id, status: Some(response.status), reason });
                    }
                },
                Act::CloseWatch { id } => {
                    if let Some(watch) = node.watches.remove(&id) {
                        node.core.close_watch(watch);
                    }
                }
                Act::Topo { id, request } => {
                    match &request {
                        TopoRequest::Changes { cursor: Some(_) } => node.told = Some(told.unwrap_or(self.written)),
                        _ => self.under_way += 1,
                    }
                    let (topo, sender) = (node.topo.clone(), self.sender.clone());
                    tokio::spawn(async move {
                        let answer = topo_calls::call(&*topo, request).await;
                        // Nobody waits for it any more when the bench has ended.
                        let _ = sender.send((index, Event::Topo { id, answer }));
                    });
                }
                Act::WakeAt { monotonic_ms } => node.wake = Some(monotonic_ms.max(self.now + 1)),
                Act::Reply { answer, .. } => node.health = answer,
                Act::ChangeKeys(change) => bail!("nobody asks for other keys here: {change:?}"),
                Act::InstallType { federated_type, .. } => bail!("{} is not federated here", federated_type.resource),
                Act::Log(note) => tracing::debug!(operator = index, "{}", note.message),
            }
        }
        Ok(())
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.random.bits().to_le_bytes()));
        bytes
    }
}

impl Node {
    /// Hears what its watches have to tell.
    fn poll(&mut self, now: u64) {
        let through = self.core.version();
        let mut closed = Vec::new();
        for (act, watch) in &self.watches {
            let poll = self.core.poll_watch(EPOCH_MS + now, *watch, through);
            for line in poll.lines {
                let line = line.slice(..line.len() - usize::from(line.ends_with(b"\n")));
                self.inbox.push_back(Event::WatchLine { id: *act, line });
            }
            if poll.closed {
                let reason = "the watch ended".to_owned();
                self.inbox.push_back(Event::WatchClosed { id: *act, status: None, reason });
                closed.push(*act);
            }
        }
        self.watches.retain(|act, _| !closed.contains(act));
    }
}

/// An operator's request as its API server gets it.
fn as_request(request: &ApiRequest) -> Request {
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    };
    let mut made = Request::new(method, &request.path);
    made.user = User::admin();
    made.accept = Some(request.accept().to_owned());
    if !request.body.is_empty() {
        made.content_type = Some(request.content_type.media_type().to_owned());
        made.body = request.body.clone();
    }
    made
}

/// An object as it stands.
fn look(core: &mut Core, path: &str) -> Value {
    match core.handle(EPOCH_MS, &Request::get(path)) {
        Reply::Response(response) => response.value(),
        Reply::Watch { .. } => Value::Null,
    }
}

/// What an operator's runner makes before it starts.
fn install(core: &mut Core) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": hansa_api::SYSTEM_NAMESPACE}});
    let crds = own_crds().into_iter().map(|crd| ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd));
    for (collection, object) in [("/api/v1/namespaces", namespace)].into_iter().chain(crds) {
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
        match core.handle(EPOCH_MS, &Request::apply(&path, "hansa", true, &object)) {
            Reply::Response(response) if response.status < 300 => {}
            other => bail!("{path}: {other:?}"),
        }
    }
    core.tick(EPOCH_MS);
    Ok(())
}
