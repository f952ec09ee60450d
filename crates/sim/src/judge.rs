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
//! | [`history`] | whoever saw the topology server go back changes nothing until a person says what counts |
//! | [`members`] | who is leaving, or is a witness, is given nothing |
//! | [`waves`] | a wave opens after all before it, and no revision comes before its wave |
//! | [`budget`] | the breaker's entry comes before the deed, and the budget holds |
//! | [`rest`] | what stands when all is quiet is what was agreed |

mod budget;
mod history;
mod homes;
mod lives;
mod members;
mod outputs;
mod pages;
mod rest;
pub(crate) mod rules;
mod waves;

pub(crate) use outputs::notes;
pub(crate) use pages::{open_page, spec_of};

use crate::kinds::{About, Kind};
use crate::member::Member;
use crate::process::ProcessId;
use crate::reached::{Hazard, Reached};
use budget::Account;
use hansa_ballot::{Control, PublicKey, Verifier};
use hansa_kubesim::core::http::Response;
use hansa_ledger::breaker::Scope;
use hansa_ledger::cell::{State, StatusCell};
use hansa_ledger::lives::{Duty, duty};
use hansa_ledger::{Envelope, Page, Record, Swap, Versioned, keys};
use hansa_model::{
    Era, FederatedSpec, FederationSpec, Hash, Incarnation, LeagueId, MemberName, RecordKey, Revision, Term,
};
use hansa_operator::{ActId, ApiRequest, TopoAnswer, TopoFailure};
use rules::REMOVED;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How long who was taken out may take until it acts on it.
const REMOVED_MS: u64 = 10_000;

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
    /// Headers of what such reads show: when they were read.
    headers: BTreeMap<ActId, (u64, Vec<(String, Envelope)>)>,
    /// Control documents that it has sent, and not heard of: kept only where members may take nothing.
    writing: BTreeMap<ActId, Control>,
    /// Whether the last word of the topology server was that there is none.
    cut_off: bool,
    /// What it was shown of each key, and what of that went back since.
    seen: history::Seen,
    /// Whether it was shown that signatures count: kept only where words may be forged.
    signs: bool,
    /// Which members take nothing, as far as it was shown.
    takers: members::Takers,
    /// When it was shown that its member was taken out of the league.
    removed_ms: Option<u64>,
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
    /// The last era that was shown to a member while its key voted.
    voted: BTreeMap<PublicKey, Era>,
    verifier: Verifier,
    /// Who was appointed to each page in each term.
    seats: BTreeMap<(u32, Term), MemberName>,
    /// Every spec that was agreed, in order.
    specs: Vec<FederationSpec>,
    pages: BTreeMap<u32, Page>,
    agreed: BTreeMap<(RecordKey, Incarnation, Revision), Agreed>,
    /// What was agreed and is lost, with the topology server's history.
    lost: Vec<((RecordKey, Incarnation, Revision), Agreed)>,
    /// The last wave of each revision that was opened.
    opened: BTreeMap<(RecordKey, Incarnation, Revision), u32>,
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
    /// The highest era that a person began.
    era: Era,
    /// Whether what processes are shown is kept: only where the topology server may go back.
    pub(crate) keeps_history: bool,
    /// Whether words may be forged.
    pub(crate) watches_words: bool,
    /// Whether what processes know of members that take nothing is kept: only where there may be such.
    pub(crate) watches_members: bool,
    /// Whether what members know of who votes is kept: only where some are taken out.
    pub(crate) watches_voters: bool,
    /// Whether the topology server ever was put back: what was agreed and is lost may stand in members.
    went_back: bool,
    /// What a hostile hand wrote in somebody's name: intents, and ends. In a topology server that went back, another
    /// intent may come to bear the number of a forged one.
    forged_intents: BTreeSet<(RecordKey, Incarnation, Revision, Hash)>,
    forged_ends: BTreeSet<(RecordKey, Incarnation, Option<String>)>,
    /// Nothing but heartbeats may be written any more.
    silent: bool,
    /// Outputs that somebody else wrote to, or made: by uid, and which hazard that is.
    touched: BTreeMap<String, Hazard>,
    /// Which hazards were met.
    pub(crate) reached: Reached,
}

impl Judge {
    /// A judge of a league with so many pages.
    pub fn new(count: u32) -> Self {
        Judge {
            count,
            league: None,
            control: None,
            voted: BTreeMap::new(),
            verifier: Verifier::default(),
            seats: BTreeMap::new(),
            specs: Vec::new(),
            pages: BTreeMap::new(),
            agreed: BTreeMap::new(),
            lost: Vec::new(),
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
            era: Era(1),
            keeps_history: false,
            watches_words: false,
            watches_members: false,
            watches_voters: false,
            opened: BTreeMap::new(),
            went_back: false,
            forged_intents: BTreeSet::new(),
            forged_ends: BTreeSet::new(),
            silent: false,
            touched: BTreeMap::new(),
            reached: Reached::default(),
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

    /// Whether this key is one of a member that was taken out of the league.
    pub fn was_removed(&self, key: &PublicKey) -> bool {
        self.control.as_ref().is_some_and(|control| is_removed(control, key))
    }

    /// Whether all voters have agreed that unsigned words are nobody's, and every process was shown that.
    pub fn signatures_count(&self) -> bool {
        self.control.as_ref().is_some_and(signs) && self.knowledge.values().all(|knowledge| knowledge.signs)
    }

    /// A hostile hand made a record say this.
    pub fn forged(&mut self, key: &RecordKey, record: &Record) {
        match end_of(key, record) {
            Some(end) => self.forged_ends.insert(end),
            None => self.forged_intents.insert(intent_of(key, record)),
        };
    }

    /// Whether what a record says last is nobody's word.
    pub fn is_forged(&self, key: &RecordKey, record: &Record) -> bool {
        match end_of(key, record) {
            Some(end) => self.forged_ends.contains(&end),
            None => self.forged_intents.contains(&intent_of(key, record)),
        }
    }

    /// A page as it stands by no operator's doing.
    pub fn page_is(&mut self, key: &str, page: Page) {
        if let keys::Key::Page(number) = keys::parse(key) {
            self.pages.insert(number, page);
        }
    }

    /// Whether a member reports that something stands in its way.
    pub fn says_conflicting(&self, key: &RecordKey, member: &MemberName) -> bool {
        let status = self.statuses.get(&(member.clone(), key.page(self.count))).and_then(|cell| cell.records.get(key));
        status.is_some_and(|status| status.state == State::Conflicting)
    }

    /// Whether a member asks that a home says anew what is meant: the word that stands is nobody's that counts.
    pub fn is_asked_for_anew(&self, key: &RecordKey) -> bool {
        let Some(record) = self.record(key) else { return false };
        self.statuses.iter().filter(|((member, _), _)| self.votes(member)).any(|(_, cell)| {
            cell.records.get(key).is_some_and(|status| {
                let current = (status.incarnation, status.revision) == (record.incarnation, record.revision);
                current && status.state == State::Refused && status.message.contains("say anew what is meant")
            })
        })
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
            .filter(|(key, _)| is_page(key))
            .map(|(key, value)| {
                (key.clone(), now, value.as_ref().and_then(|value| pages::open_page(&value.value).ok()))
            })
            .collect();
        let opened = keys.iter().zip(values).filter_map(|(key, value)| {
            let (envelope, _) = Envelope::open_header(&value.as_ref()?.value).ok()?;
            Some((key.clone(), envelope))
        });
        // A page that is not there begins anew, where the rest may be as it was: what it lacks is asked for object by object.
        let missing = keys.iter().zip(values).filter(|(key, value)| is_page(key) && value.is_none());
        let knowledge = self.knowledge.entry(id).or_default();
        missing.for_each(|(key, _)| knowledge.seen.forget(key));
        if self.keeps_history {
            knowledge.headers.insert(act, (now, opened.collect()));
        }
        knowledge.under_way.insert(act, read);
    }

    /// A write of a process met nothing at its key.
    pub fn met_nothing(&mut self, id: ProcessId, key: &str) {
        if let Some(knowledge) = self.knowledge.get_mut(&id).filter(|_| is_page(key)) {
            knowledge.seen.forget(key);
        }
    }

    /// A process that was stopped goes on: it could look at nothing meanwhile.
    pub fn goes_on(&mut self, now: u64, id: ProcessId) {
        if let Some(knowledge) = self.knowledge.get_mut(&id) {
            knowledge.takers.hindered(now);
            knowledge.seen.hindered(now);
        }
    }

    /// A process hears an answer of the topology server.
    pub fn topo_told(&mut self, now: u64, id: ProcessId, act: ActId, answer: &TopoAnswer, key: &PublicKey) {
        let was_removed = self.was_removed(key);
        let knowledge = self.knowledge.entry(id).or_default();
        let away = matches!(answer, TopoAnswer::Failed { failure: TopoFailure::Away, .. });
        knowledge.cut_off = away || matches!(answer, TopoAnswer::Replaced { .. });
        let is_unknown = matches!(answer, TopoAnswer::Swapped(Swap::Indeterminate { .. }));
        if is_unknown || matches!(answer, TopoAnswer::Failed { .. } | TopoAnswer::Replaced { .. }) {
            knowledge.takers.hindered(now);
            knowledge.seen.hindered(now);
        }
        if let Some((at, headers)) = knowledge.headers.remove(&act) {
            for (key, envelope) in headers {
                if let Some(hazard) = knowledge.seen.shown(now, at, key, envelope, self.went_back) {
                    self.reached.count(hazard);
                }
            }
        }
        let is_news = self.watches_members || self.watches_voters || (self.watches_words && !knowledge.signs);
        let written =
            knowledge.writing.remove(&act).filter(|_| matches!(answer, TopoAnswer::Swapped(Swap::Committed(_))));
        if let Some(control) = written.or_else(|| is_news.then(|| shows_control(answer)).flatten()) {
            knowledge.takers.shown(now, &control);
            knowledge.signs = signs(&control);
            let era = control.ballots.as_ref().map(|ballots| ballots.era);
            if votes(&control, key) {
                self.voted.extend(era.map(|era| (*key, era)));
            } else if was_removed && is_removed(&control, key) && self.voted.get(key).copied() == era {
                // An era that nobody signed, and in which other voters count than those that it knew, it does not follow:
                // it is taken out by those with whom it voted.
                knowledge.removed_ms.get_or_insert(now);
            }
        }
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
        let about = About::read(&request.path);
        let removed_ms = self.knowledge.get(&id).and_then(|knowledge| knowledge.removed_ms);
        // The word is acted on once it is noted, on an API server that may be slow.
        if removed_ms.is_some_and(|since| now > since + REMOVED_MS)
            && matches!(about, About::Output(_) | About::Home(..) | About::Homes)
            && !outputs::is_note(&about)
        {
            let what = format!("{} sends {:?} {}", member.name, request.method, request.path);
            return Err(Violation::new(REMOVED, what));
        }
        self.is_thawed(now, id, request, &about)?;
        match about {
            About::Output(key) => self.sends_output(now, id, member, &key, request),
            About::Home(key, subresource) => self.sends_home(now, id, member, &key, &subresource, request),
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
                let uid = response.value()["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                if let Some(hazard) = self.touched.remove(&uid) {
                    self.reached.count(hazard);
                }
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
                    if !self.keeps(&key, &member.name) {
                        self.reached.count(Hazard::StrayStood);
                    }
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

    /// Somebody else wrote to an output, or made what stands where one is to be.
    pub fn touched(&mut self, hazard: Hazard, object: &Value) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        self.touched.insert(uid, hazard);
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

/// Whether a key is that of a voter.
fn votes(control: &Control, key: &PublicKey) -> bool {
    control.ballots.as_ref().is_some_and(|ballots| ballots.voters.set.values().any(|voter| voter.key == *key))
}

fn is_page(key: &str) -> bool {
    key.starts_with(keys::PAGES)
}

/// The control document that an answer shows.
fn shows_control(answer: &TopoAnswer) -> Option<Control> {
    let read = |value: &Versioned| Control::from_slice(&Envelope::open(&value.value).ok()?.1).ok();
    match answer {
        TopoAnswer::Listed(entries) => {
            entries.iter().find(|(key, _)| key == keys::CONTROL).and_then(|(_, value)| read(value))
        }
        TopoAnswer::Values(values) => values.iter().flatten().find_map(read),
        TopoAnswer::Swapped(Swap::Mismatch { current }) => current.as_ref().and_then(read),
        _ => None,
    }
}

/// Whether all voters have agreed that unsigned words are nobody's.
fn signs(control: &Control) -> bool {
    control.ballots.as_ref().is_some_and(|ballots| ballots.feature >= 1)
}

/// Whether a key is that of a member that was taken out.
fn is_removed(control: &Control, key: &PublicKey) -> bool {
    let voters = control.ballots.as_ref().map(|ballots| &ballots.voters);
    voters.is_some_and(|voters| voters.removed.values().any(|removed| removed.key == *key) && !votes(control, key))
}

/// What tells an intent from every other of the object, whichever history it is of.
fn intent_of(key: &RecordKey, record: &Record) -> (RecordKey, Incarnation, Revision, Hash) {
    (key.clone(), record.incarnation, record.revision, record.intent.hash)
}

/// What tells the end of a life from every other end of it.
fn end_of(key: &RecordKey, record: &Record) -> Option<(RecordKey, Incarnation, Option<String>)> {
    record.tombstone.as_ref().map(|tombstone| (key.clone(), record.incarnation, tombstone.signature.clone()))
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
