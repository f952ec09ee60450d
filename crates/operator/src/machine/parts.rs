//! What an operator is made of: what it is told, what it counts, and what is under way in it.

use crate::feed::ObjectName;
use crate::io::InstalledType;
use crate::observed::{HomeState, Live};
use crate::output::OutputCall;
use crate::topology::TopoCall;
use hansa_ballot::{Control, Signer};
use hansa_ledger::Record;
use hansa_model::{
    Era, FederatedSpec, FederatedType, FederationSpec, Generation, Incarnation, LeagueId, MemberName, RecordKey,
    TypeName,
};
use std::sync::Arc;

/// What an operator is told when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The member it acts for.
    pub member: MemberName,
    /// The uid of the member's `kube-system` namespace.
    pub cluster_uid: String,
    /// The API server's version.
    pub kubernetes: String,
    /// The operator's release.
    pub release: crate::release::Release,
    /// This start of the process; no two starts share one.
    pub incarnation: Incarnation,
    /// Its public keys.
    pub public_keys: Vec<String>,
    /// The private half of the first of them: it signs what this member says in ballots.
    pub signer: Signer,
    /// The operator's own namespace in its cluster: for what it must not forget.
    pub namespace: String,
    /// The private half of them that opens what is sealed to the member.
    pub keys: crate::sealing::cipher::PrivateKeys,
    /// The other pair in the member's Secret, while its keys are rotated.
    pub rotation: Option<crate::rotation::Rotation>,
    /// Computes and reports, and writes nothing but its own status.
    pub observe: bool,
    /// How many requests to the API server may be under way.
    pub max_in_flight: usize,
    /// How often it says that it lives, in milliseconds.
    pub heartbeat_ms: u64,
    /// How many values one request of the topology server brings; 1 where each takes one of its own.
    pub values_per_read: usize,
    /// How many pages a league gets that this operator founds.
    pub pages: u32,
}

/// What an operator counts, for metrics and benches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metrics {
    /// Outputs applied, by whether the API server said so.
    pub applies: u64,
    /// Outputs deleted.
    pub deletes: u64,
    /// Statuses and finalizers written on federated objects.
    pub home_writes: u64,
    /// Values written to the topology server.
    pub topo_writes: u64,
    /// Requests refused or failed.
    pub failures: u64,
    /// Kubernetes Events written.
    pub events: u64,
    /// Kubernetes Events held back because there were too many at once.
    pub events_dropped: u64,
    /// Objects with our label that no record places here.
    pub strays: u64,
    /// Federated objects of this member.
    pub home_objects: u64,
    /// Records known.
    pub records: u64,
    /// Outputs of this member.
    pub outputs: u64,
}

/// Which resource a feed follows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FeedId {
    /// `Federation`.
    Federation,
    /// `Member`.
    Members,
    /// `Request`.
    Requests,
    /// `Federated<Kind>` of this type.
    Homes(TypeName),
    /// Outputs of this type, by the league's label.
    Outputs(TypeName),
    /// The metadata of this member's Secrets, for those that federated objects name.
    Sources,
}

/// What an act that is under way is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    FeedList(FeedId),
    FeedWatch(FeedId),
    Topo(TopoCall),
    Type(TypeName),
    Output(RecordKey, OutputCall),
    Home(RecordKey, crate::home::HomeCall),
    Source(RecordKey, ObjectName),
    Namespace(Arc<str>),
    Upkeep(crate::upkeep::OwnName, crate::upkeep::UpkeepCall),
    Request(ObjectName, crate::requests::RequestCall),
    Event,
    Notes(crate::ballots::NotesCall),
    Plan,
    /// Is this type served in this version?
    Survey(TypeName, String),
}

/// Why to look at the clock.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    Feed(FeedId),
    Object(RecordKey),
    Type(TypeName),
    Request(ObjectName),
    Heartbeat,
    Topo(TopoCall),
    Ballots,
    Notes,
    Plans,
    Statuses,
    Tick,
    Continue,
}

/// The league, once it is known.
#[derive(Clone, Debug)]
pub(crate) struct League {
    pub id: LeagueId,
    pub era: Era,
    pub control: Control,
    pub spec: Arc<FederationSpec>,
    /// Why this member's share is frozen: it does not vote here, or does not know what was agreed.
    pub frozen: Option<String>,
}

/// A federated type in this member.
#[derive(Clone, Debug)]
pub(crate) struct TypeState {
    pub federated_type: FederatedType,
    pub installed: Option<Arc<InstalledType>>,
    pub failure: Option<String>,
    pub failures: u32,
}

/// One federated object: what this member's API server shows of it, and the work on it.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub home: Option<HomeState>,
    pub home_work: crate::home::HomeWork,
    pub live: Option<Live>,
    pub output_work: crate::output::OutputWork,
}

/// Work that waits for a place among the requests under way, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Priority {
    Namespaces,
    Definitions,
    Configuration,
    Workloads,
    Custom,
    Removals,
    Finalizers,
    Statuses,
}

/// A record, and its spec as it reads.
pub(crate) type Agreed<'a> = (&'a Record, &'a Result<FederatedSpec, String>);

/// What is known for all objects of one type.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub league: LeagueId,
    pub spec: Arc<FederationSpec>,
    pub generation: Generation,
    pub federated_type: FederatedType,
    pub installed: Arc<InstalledType>,
}

impl Object {
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.home.is_some()
            || self.live.is_some()
            || self.output_work.is_worth_keeping()
            || self.home_work.is_worth_keeping()
    }
}
