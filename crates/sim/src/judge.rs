//! The judge: the invariants, each written once, checked at every step.
//!
//! It sees everything at once, as nobody in the league can: each write to the topology server, each
//! request of each operator, what each process has read, and what users said. It shares no
//! conclusion with the operator: what may be done is worked out anew from the record, the spec and
//! the users' words.
//!
//! | Module | Invariants |
//! |---|---|
//! | [`pages`] | counters only rise; each member speaks for itself |
//! | [`lives`] | births, edits, ends and withdrawals have their ground |
//! | [`outputs`] | what is applied was agreed; what is deleted has its ground, read a moment ago; cut off, nothing is |
//! | [`homes`] | a status tells the truth; a finalizer goes only after the word is in the topology server |
//! | [`budget`] | the breaker's entry comes before the deed, and the budget holds |
//! | [`rest`] | what stands when all is quiet is what was agreed |

mod budget;
mod homes;
mod lives;
mod outputs;
mod pages;
mod rest;
pub(crate) mod rules;

pub(crate) use pages::spec_of;

use crate::kinds::{About, Kind};
use crate::member::Member;
use crate::process::ProcessId;
use budget::Account;
use hansa_ballot::{Control, Verifier};
use hansa_kubesim::core::http::Response;
use hansa_ledger::breaker::Scope;
use hansa_ledger::cell::{State, StatusCell};
use hansa_ledger::lives::{Duty, duty};
use hansa_ledger::{Page, Record, Versioned};
use hansa_model::{FederatedSpec, FederationSpec, Hash, Incarnation, LeagueId, MemberName, RecordKey, Revision, Term};
use hansa_operator::{ActId, ApiRequest, TopoAnswer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An invariant that broke.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{rule}: {what}")]
pub struct Violation {
    /// The invariant.
    pub rule: &'static str,
    /// What broke it.
    pub what: String,
    /// The object that it is about, if it is about one.
    pub key: Option<RecordKey>,
}

impl Violation {
    /// An invariant that broke at an object.
    pub fn at(rule: &'static str, key: &RecordKey, what: impl Into<String>) -> Self {
        Violation { rule, what: format!("{key}: {}", what.into()), key: Some(key.clone()) }
    }

    /// An invariant that broke.
    pub fn new(rule: &'static str, what: impl Into<String>) -> Self {
        Violation { rule, what: what.into(), key: None }
    }
}

/// What one process has been told by the topology server.
#[derive(Debug, Default)]
struct Knowledge {
    /// Pages as they were read: when, and what stood there.
    pages: BTreeMap<String, (u64, Option<Page>)>,
    /// Reads that are answered and not delivered yet.
    under_way: BTreeMap<ActId, Vec<(String, u64, Option<Page>)>>,
    /// Whether the last word of the topology server was that there is none.
    cut_off: bool,
}

/// A revision that was agreed.
#[derive(Debug)]
struct Agreed {
    spec: Option<FederatedSpec>,
    hash: Hash,
    /// Every member that was placed while it stood.
    placed: BTreeSet<MemberName>,
}

/// What is known of a league from outside.
#[derive(Debug)]
pub struct Judge {
    count: u32,
    league: Option<LeagueId>,
    control: Option<Control>,
    verifier: Verifier,
    /// Who was appointed to each page in each term.
    seats: BTreeMap<(u32, Term), MemberName>,
    /// Every spec that was agreed, in order.
    specs: Vec<FederationSpec>,
    pages: BTreeMap<u32, Page>,
    agreed: BTreeMap<(RecordKey, Incarnation, Revision), Agreed>,
    /// The highest life of each name.
    lives: BTreeMap<RecordKey, Incarnation>,
    statuses: BTreeMap<(MemberName, u32), StatusCell>,
    /// Members that said that they have a revision, and that it is well.
    applied: BTreeSet<(RecordKey, Incarnation, Revision, MemberName)>,
    /// Outputs that stood in a member once, by the hash of what was applied.
    held: BTreeSet<(RecordKey, Incarnation, MemberName, Hash)>,
    /// The highest life of each output whose removal was rightly begun.
    ended: BTreeMap<(MemberName, RecordKey), Incarnation>,
    /// How far into a user's words a home's ingests have come.
    heard: BTreeMap<(RecordKey, MemberName), usize>,
    /// Outputs that a restored API server brought back, or that came late from a process that had
    /// ended or lost its Lease (no API server fences those): strays, which nobody deletes.
    brought_back: BTreeSet<(MemberName, RecordKey)>,
    /// When each member's API server was last restored.
    restored_ms: BTreeMap<MemberName, u64>,
    accounts: BTreeMap<MemberName, Account>,
    /// The sets of removals that people were shown, and what is in them.
    shown: BTreeMap<Hash, BTreeMap<RecordKey, Scope>>,
    /// Whatever people ever confirmed.
    confirmed: BTreeMap<RecordKey, BTreeSet<Scope>>,
    knowledge: BTreeMap<ProcessId, Knowledge>,
    /// Nothing but heartbeats may be written any more.
    silent: bool,
}

impl Judge {
    /// A judge of a league with so many pages.
    pub fn new(count: u32) -> Self {
        Judge {
            count,
            league: None,
            control: None,
            verifier: Verifier::default(),
            seats: BTreeMap::new(),
            specs: Vec::new(),
            pages: BTreeMap::new(),
            agreed: BTreeMap::new(),
            lives: BTreeMap::new(),
            statuses: BTreeMap::new(),
            applied: BTreeSet::new(),
            held: BTreeSet::new(),
            ended: BTreeMap::new(),
            heard: BTreeMap::new(),
            brought_back: BTreeSet::new(),
            restored_ms: BTreeMap::new(),
            accounts: BTreeMap::new(),
            shown: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            knowledge: BTreeMap::new(),
            silent: false,
        }
    }

    /// From now on, whatever is written to the topology server but heartbeats breaks an invariant.
    pub fn only_heartbeats(&mut self) {
        self.silent = true;
    }

    /// The record of a key as it stands.
    pub fn record(&self, key: &RecordKey) -> Option<&Record> {
        self.pages.get(&key.page(self.count))?.record(key).map(|record| &**record)
    }

    /// Whether a member is to have an output.
    pub fn keeps(&self, key: &RecordKey, member: &MemberName) -> bool {
        self.record(key).is_some_and(|record| duty(record, member) == Duty::Keep)
    }

    /// Whether a member reports that something stands in its way.
    pub fn says_conflicting(&self, key: &RecordKey, member: &MemberName) -> bool {
        let status = self.statuses.get(&(member.clone(), key.page(self.count))).and_then(|cell| cell.records.get(key));
        status.is_some_and(|status| status.state == State::Conflicting)
    }

    /// A process is gone, and with it what it knew.
    pub fn forget_process(&mut self, id: ProcessId) {
        self.knowledge.remove(&id);
    }

    /// Values were read for a process; it hears of them later, if at all.
    pub fn read(&mut self, now: u64, id: ProcessId, act: ActId, keys: &[String], values: &[Option<Versioned>]) {
        let read: Vec<_> = keys
            .iter()
            .zip(values)
            .filter(|(key, _)| key.starts_with(hansa_ledger::keys::PAGES))
            .map(|(key, value)| {
                (key.clone(), now, value.as_ref().and_then(|value| pages::open_page(&value.value).ok()))
            })
            .collect();
        self.knowledge.entry(id).or_default().under_way.insert(act, read);
    }

    /// A process hears an answer of the topology server.
    pub fn topo_told(&mut self, id: ProcessId, act: ActId, answer: &TopoAnswer) {
        let knowledge = self.knowledge.entry(id).or_default();
        knowledge.cut_off = matches!(answer, TopoAnswer::Failed { .. } | TopoAnswer::Replaced { .. });
        for (key, at, page) in knowledge.under_way.remove(&act).unwrap_or_default() {
            knowledge.pages.insert(key, (at, page));
        }
    }

    /// An operator sends a write to its own API server.
    ///
    /// # Errors
    /// When it may not.
    pub fn sends(
        &mut self,
        now: u64,
        id: ProcessId,
        member: &mut Member,
        request: &ApiRequest,
    ) -> Result<(), Violation> {
        match About::read(&request.path) {
            About::Output(key) => self.sends_output(now, id, member, &key, request),
            About::Home(key, subresource) => self.sends_home(now, member, &key, &subresource, request),
            About::Ground(what) => {
                Err(Violation::new("Hansa changes no namespace and no CRD", format!("{}: {what}", member.name)))
            }
            About::Homes => self.makes_home(&member.name, request),
            About::Own | About::Namespaces | About::Events => Ok(()),
            About::Other => Err(Violation::new(
                "an operator writes outputs, homes and its own kinds alone",
                format!("{} writes {}", member.name, request.path),
            )),
        }
    }

    /// A write of an operator reaches its API server.
    ///
    /// # Errors
    /// When it would take away what it may not.
    pub fn arrives(&mut self, now: u64, member: &mut Member, request: &ApiRequest) -> Result<(), Violation> {
        match About::read(&request.path) {
            About::Output(key) if request.method == hansa_operator::Method::Delete => {
                self.deletes(now, member, &key, request)
            }
            _ => Ok(()),
        }
    }

    /// An API server has answered a write of an operator; `leads`: of the one that holds the Lease.
    ///
    /// # Errors
    /// When something stands now that must not.
    pub fn served(
        &mut self,
        member: &MemberName,
        leads: bool,
        request: &ApiRequest,
        response: &Response,
    ) -> Result<(), Violation> {
        match About::read(&request.path) {
            About::Output(key) if response.status < 300 => {
                self.served_output(member, leads, &key, request, response.status == 201)
            }
            _ => Ok(()),
        }
    }

    /// A member's API server was put back to a backup: what it holds now was there before.
    pub fn restored(&mut self, now: u64, member: &mut Member) {
        self.restored_ms.insert(member.name.clone(), now);
        for kind in crate::kinds::KINDS {
            let type_name = crate::kinds::type_name(kind.type_name);
            for object in member.all(now, &crate::kinds::outputs_path(&type_name)) {
                if !object["metadata"]["labels"][hansa_render::LEAGUE_LABEL].is_null() {
                    let key = key_of(&type_name, &object);
                    self.brought_back.insert((member.name.clone(), key));
                }
            }
            // A federated object from before its first status bears no mark of having been agreed on.
            // Once its record is gone, nobody can tell it from one that a user has just made.
            for object in member.all(now, &crate::kinds::homes_path(&type_name)) {
                if object["status"]["agreed"]["revision"].is_null() {
                    self.heard.remove(&(key_of(&type_name, &object), member.name.clone()));
                }
            }
        }
    }

    /// A member's wall clock was set.
    pub fn clock_jumped(&mut self, member: &MemberName, jump_ms: i64) {
        self.accounts.entry(member.clone()).or_default().clock_jumped |= jump_ms > 0;
    }

    /// The output of a revision for a member, rendered anew.
    fn render(
        &self,
        key: &RecordKey,
        spec: &FederatedSpec,
        member: &MemberName,
        incarnation: Incarnation,
        revision: Revision,
    ) -> Option<hansa_render::Output> {
        let kind = Kind::of(&key.type_name);
        let identity =
            hansa_render::Identity { api_version: kind.api_version(), kind: kind.kind.to_owned(), key: key.clone() };
        let marks = hansa_render::Marks { league: self.league?, incarnation, revision };
        // Members are told apart by name alone in these overrides, so any spec's entry serves.
        let member = self.specs.iter().rev().find_map(|spec| spec.member(member))?;
        let keys = hansa_render::BuiltInKeys::of(&kind.api_version(), kind.kind);
        hansa_render::output(&identity, spec.template.as_ref()?, &spec.overrides, member, &marks, &keys).ok()
    }
}

fn key_of(type_name: &hansa_model::TypeName, object: &Value) -> RecordKey {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    RecordKey::new(type_name.clone(), &text("namespace"), &text("name"))
}

/// The life that an output was made for.
fn life_of(object: &Value) -> Option<Incarnation> {
    object["metadata"]["annotations"][hansa_render::INCARNATION_ANNOTATION]
        .as_str()
        .and_then(|text| text.parse().ok())
        .map(Incarnation)
}

/// The life and the revision on an output.
fn marks_of(object: &Value) -> Option<(Incarnation, Revision)> {
    let revision = object["metadata"]["annotations"][hansa_render::REVISION_ANNOTATION].as_str()?.parse().ok()?;
    Some((life_of(object)?, Revision(revision)))
}
