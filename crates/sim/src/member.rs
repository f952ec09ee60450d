//! One cluster: its API server, its clocks, and how it is reached.

use crate::clock::{Clock, EPOCH_MS};
use crate::process::ProcessId;
use hansa_ballot::Signer;
use hansa_kubesim::controllers::NodeConfig;
use hansa_kubesim::core::http::{Reply, Request, Response, User};
use hansa_kubesim::core::{Config, Core, Snapshot};
use hansa_model::MemberName;
use hansa_operator::{ApiRequest, Method, PrivateKeys};
use serde_json::Value;
use std::collections::BTreeMap;

/// How an API server is asked for the metadata alone.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Whether calls of a member reach the topology server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// There and back.
    Both,
    /// Calls arrive, answers do not.
    OneWay,
    /// What is asked is answered, and no write gets through.
    ReadOnly,
    /// Nothing arrives.
    Neither,
}

/// What an operator asks of people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// To be started anew, when what it was shown is to count.
    Restart,
    /// That it begins with a fresh memory.
    Forget,
    /// New keys, when its member is to come back.
    Renew,
}

/// A cluster.
pub struct Member {
    /// Its name in the league.
    pub name: MemberName,
    /// Its machines' clocks.
    pub clock: Clock,
    /// Its operator's keys, kept in a Secret of its own.
    pub keys: PrivateKeys,
    /// Its operator's key for ballots.
    pub signer: Signer,
    /// Keys that it had before, as its users keep a copy of each Secret of keys.
    pub former: Vec<(PrivateKeys, Signer)>,
    /// Its API server.
    pub core: Core,
    /// Whether its API server is down.
    pub down: bool,
    /// Whether the topology server can be reached from here.
    pub reach: Reach,
    /// The process that holds the Lease.
    pub leader: Option<ProcessId>,
    /// When the controllers of the API server are called next.
    pub ticks_ms: Option<u64>,
    /// What its operator asks of people.
    pub asks: Option<Ask>,
    /// A backup of its API server.
    pub backup: Option<Snapshot>,
    /// How many writes its operator has sent to the API server, and how many of its writes to the
    /// topology server were committed, heartbeats apart.
    pub writes: u64,
}

/// How a core is made. Workloads live on one node, where there are any.
pub fn config(seed: u64, workloads: bool) -> Config {
    let node = NodeConfig {
        name: "node".to_owned(),
        cpu: "64".to_owned(),
        memory: "64Gi".to_owned(),
        pods: 200,
        labels: BTreeMap::new(),
    };
    let nodes = if workloads { vec![node] } else { Vec::new() };
    Config { seed, history: 300, audited_writes: 0, nodes, workloads, ..Config::default() }
}

impl Member {
    /// The API server's own clock; its machine is well kept.
    pub fn time(now: u64) -> u64 {
        EPOCH_MS + now
    }

    /// Carries out a request that is no watch.
    pub fn ask(&mut self, now: u64, request: &Request) -> Response {
        match self.core.handle(Self::time(now), request) {
            Reply::Response(response) => response,
            Reply::Watch { id, .. } => {
                self.core.close_watch(id);
                Response::text(500, "a watch was not expected")
            }
        }
    }

    /// An object as it stands, whoever may see it.
    pub fn look(&mut self, now: u64, path: &str) -> Option<Value> {
        let response = self.ask(now, &Request::get(path));
        (response.status == 200).then(|| response.value())
    }

    /// What is said of an object, without its content.
    pub fn look_at_metadata(&mut self, now: u64, path: &str) -> Option<Value> {
        let mut request = Request::get(path);
        request.accept = Some(METADATA.to_owned());
        let response = self.ask(now, &request);
        (response.status == 200).then(|| response.value())
    }

    /// All objects of a collection.
    pub fn all(&mut self, now: u64, path: &str) -> Vec<Value> {
        let found = self.look(now, path).unwrap_or_default();
        found["items"].as_array().cloned().unwrap_or_default()
    }
}

/// An operator's request as the API server gets it.
pub fn request(request: &ApiRequest) -> Request {
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    };
    let mut made = Request::new(method, &request.path);
    made.user = User { name: "hansa-operator".to_owned(), ..User::admin() };
    made.user_agent = Some("hansa".to_owned());
    if request.metadata_only {
        made.accept = Some(METADATA.to_owned());
    }
    if !request.body.is_empty() {
        made.content_type = Some(request.content_type.media_type().to_owned());
        made.body = request.body.clone();
    }
    made
}
