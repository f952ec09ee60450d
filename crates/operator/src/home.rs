//! Federated objects of this member: ingesting them, letting them go, telling their users.

use crate::blobs::Placing;
use crate::classify::{Refusal, classify};
use crate::feed::ObjectName;
use crate::io::{ApiAnswer, ApiRequest, ContentType, Level, Method};
use crate::machine::{Context, Object, Operator, Priority, Purpose, Timer, object_path};
use crate::observed::{FINALIZER, HomeState, MANAGER, status_hash};
use crate::removal::Decision;
use crate::report::{self, Input};
use crate::upkeep::keep_times;
use hansa_ledger::Record;
use hansa_ledger::breaker::Pending;
use hansa_ledger::cell::{RecordStatus, Stamped};
use hansa_ledger::lives::{self, Departure, HomeObject, Standing};
use hansa_ledger::mutation::{Change, Skipped};
use hansa_ledger::record::Body;
use hansa_model::{DeletionPolicy, FederatedSpec, Hash, MemberName, RecordKey, Takeover, TypeName};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How long a status waits for the members that have not reported on a new revision.
const REPORT_PATIENCE_MS: u64 = 20_000;

/// How long it waits at most while the members get on with other objects.
const REPORT_LIMIT_MS: u64 = 600_000;

/// How often the status of one object is written at most.
const REPORT_INTERVAL_MS: u64 = 500;

/// What is asked of the API server about a federated object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HomeCall {
    /// Put the finalizer on, or take it off.
    Finalize { on: bool },
    /// Write the status with this hash (without times).
    Report { hash: Hash },
    /// Is its namespace being deleted?
    Namespace,
    /// Is its CRD being deleted?
    Definition,
    /// It was deleted for all: delete this copy.
    Delete,
    /// It is not shown any more: is it really gone?
    Verify,
    /// The home moves here: make the object from the agreed intent.
    Create,
}

/// Work on a federated object.
#[derive(Debug, Default)]
pub(crate) struct HomeWork {
    busy: bool,
    retry_ms: u64,
    failures: u32,
    /// Whether the object goes with its namespace or its CRD: found out by a linearizable read.
    accident: Option<bool>,
    namespace_stands: bool,
    /// The status to be written.
    wanted: Option<(Value, Hash)>,
    /// The revision and generation that a status waits for, since when, and until when.
    patience: Option<(u64, u64, u64, u64)>,
    written_ms: u64,
    /// The object vanished without our finalizer, and a read said so.
    vanished: bool,
}

impl HomeWork {
    /// Whether a status waits for its time to be written.
    pub fn awaits_report(&self) -> bool {
        self.patience.is_some()
    }

    pub fn is_worth_keeping(&self) -> bool {
        self.busy || self.failures > 0
    }
}

impl Operator {
    pub(crate) fn home_seen(&mut self, type_name: &TypeName, object: &Value) {
        let key = Self::key_of(type_name, &crate::feed::object_name(object));
        let home = HomeState::reduce(type_name, object, &self.config.member);
        if home.source.is_none() {
            self.forget_source(&key);
        }
        let state = self.objects.entry(key.clone()).or_default();
        if state.home.as_ref().is_some_and(|known| known.object.uid != home.object.uid) {
            state.home_work = HomeWork::default();
        }
        state.home_work.vanished = false;
        state.home = Some(home);
        self.touch(&key);
    }

    pub(crate) fn home_gone(&mut self, type_name: &TypeName, name: &ObjectName) {
        let key = Self::key_of(type_name, name);
        if let Some(state) = self.objects.get_mut(&key) {
            state.home = None;
            state.home_work = HomeWork { busy: state.home_work.busy, ..HomeWork::default() };
        }
        self.forget_source(&key);
        self.touch(&key);
    }

    /// What the league agreed that users want, readable.
    pub(crate) fn intent_spec(&self, record: &Record) -> Result<FederatedSpec, String> {
        serde_json::from_str(self.intent_text(record)?.get()).map_err(|error| format!("spec: {error}"))
    }

    /// The members that a spec's placement computes to.
    pub(crate) fn placement_of(&self, context: &Context, spec: &FederatedSpec) -> Result<BTreeSet<MemberName>, String> {
        hansa_place::placed(&context.spec, &spec.placement)
            .map(|placed| placed.members)
            .map_err(|error| error.to_string())
    }

    pub(crate) fn process_home(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        record: Option<&Record>,
    ) {
        let Some(home) = &mut object.home else {
            return self.process_absence(key, object, record);
        };

        let stamped = self.status_of(&self.config.member, key).and_then(|status| status.stamped.clone());
        home.object.remembered_stamp =
            stamped.filter(|stamped| stamped.uid == home.object.uid).map(|stamped| stamped.revision);
        let revision = record.map_or(0, |record| record.revision.0);
        home.object.take_home = home.take_home_from.is_some_and(|from| from.0 == revision);
        home.object.takeover_allowed = context.spec.homes.takeover == Takeover::Allowed;
        if home.deleting {
            return self.process_departure(key, object, record);
        }
        let named = record.is_some_and(|record| {
            record.tombstone.is_none()
                && record.homes.get(&self.config.member).is_some_and(|entry| entry.uid == home.object.uid)
        });
        if named && !home.has_finalizer() {
            self.want_home_work(key, &object.home_work, Priority::Finalizers);
        }
        // A source that is not known yet leaves open what the object stands for.
        if !self.settle_source(key, home, record) {
            return;
        }
        let standing = lives::standing(record, &self.config.member, &home.object);
        match &standing {
            Standing::InStep => {
                home.intent = None;
                if let Some(record) = record {
                    self.remember_source(key, record);
                }
            }
            Standing::Deleted => self.want_home_work(key, &object.home_work, Priority::Finalizers),
            Standing::Born | Standing::Reborn | Standing::Edited | Standing::Taken | Standing::Converged => {
                if home.invalid.is_none() && !self.config.observe {
                    self.ingest(key, context, home, &standing, record);
                }
            }
            Standing::Differs | Standing::Conflicts | Standing::Former | Standing::Frozen(_) => {}
        }
    }

    fn ingest(
        &mut self,
        key: &RecordKey,
        context: &Context,
        home: &mut HomeState,
        standing: &Standing,
        record: Option<&Record>,
    ) {
        if refusal(key, context).is_some() {
            return;
        }
        let Some(mut intent) = home.intent.clone().or_else(|| record.map(|record| record.intent.clone())) else {
            return;
        };
        let spec = match (&intent.body, record) {
            (Body::Inline(raw), _) => serde_json::from_str(raw.get()).map_err(|error| format!("spec: {error}")),
            // The content was let go when it was agreed on: the agreed intent serves.
            (Body::Blob(_), Some(record)) => self.intent_spec(record),
            (Body::Blob(_), None) => return,
        };
        let Ok(spec) = spec else { return };
        if let (Body::Inline(raw), false) = (&intent.body, *standing == Standing::Converged) {
            match self.place_body(key, raw.get().as_bytes(), false) {
                Placing::Inline => {}
                Placing::Blob(hash) => intent.body = Body::Blob(hash),
                Placing::Waits => return,
                Placing::Impossible(why) => {
                    home.invalid = Some(format!("spec.template: {why}"));
                    return;
                }
            }
        }
        // A placement that is refused places nothing, and takes nothing away.
        let placed = self.placement_of(context, &spec).unwrap_or_default();
        let sealed = match &home.source {
            Some(_) => match self.sealed_for(key, context, home, standing, record, &placed) {
                Some(sealed) => Some(sealed),
                None => return,
            },
            None => None,
        };
        let object = home.object.clone();
        intent.hash = object.hash;
        intent.author = self.config.member.clone();
        self.mutate(key, Change::Ingest { object, intent, sealed, placed });
    }

    /// The record names this member as a home, and no object is shown.
    fn process_absence(&mut self, key: &RecordKey, object: &mut Object, record: Option<&Record>) {
        let is_new_home =
            |record: &Record| record.tombstone.is_none() && record.moving.as_ref() == Some(&self.config.member);
        if record.is_some_and(is_new_home) {
            return self.want_home_work(key, &object.home_work, Priority::Finalizers);
        }
        let Some(entry) = record.and_then(|record| record.homes.get(&self.config.member)) else { return };
        if object.home_work.vanished {
            self.mutate(key, Change::Vanished { uid: entry.uid.clone() });
        } else {
            self.want_home_work(key, &object.home_work, Priority::Finalizers);
        }
    }

    fn process_departure(&mut self, key: &RecordKey, object: &mut Object, record: Option<&Record>) {
        let home = object.home.as_ref().expect("a departure has an object");
        if !home.has_finalizer() {
            return;
        }
        let Some(accident) = object.home_work.accident else {
            return self.want_home_work(key, &object.home_work, Priority::Finalizers);
        };
        match lives::departure(record, &self.config.member, &home.object, accident) {
            Departure::Nothing | Departure::Done => self.want_home_work(key, &object.home_work, Priority::Finalizers),
            Departure::Leave => self.depart(key, &home.object.clone(), accident, record),
            Departure::End => {
                let record = record.expect("an end has a record");
                let weight = object.live.as_ref().map_or(1, |live| live.weight);
                let pending = Pending { incarnation: record.incarnation, weight };
                if self.removals.ask(Decision::End, key, pending) {
                    self.depart(key, &home.object.clone(), accident, Some(record));
                }
            }
        }
    }

    fn depart(&mut self, key: &RecordKey, object: &HomeObject, accident: bool, record: Option<&Record>) {
        // What is agreed and cannot be read may have said so.
        let policy = record
            .and_then(|record| self.intent_spec(record).ok())
            .map_or(DeletionPolicy::Orphan, |spec| spec.deletion_policy);
        self.mutate(key, Change::Depart { object: object.clone(), accident, policy });
    }

    pub(crate) fn mutation_skipped(&mut self, key: &RecordKey, why: &Skipped) {
        if *why == Skipped::SealedForAnotherLife {
            return self.touch(key);
        }
        self.log(Level::Debug, Some(key), "nothing to write: the ground of the change is gone or it stands already");
    }

    fn want_home_work(&mut self, key: &RecordKey, work: &HomeWork, priority: Priority) {
        if work.busy {
            return;
        }
        if work.retry_ms > self.now.monotonic_ms {
            self.at(work.retry_ms, Timer::Object(key.clone()));
        } else {
            self.queue.insert((priority, key.clone()));
        }
    }

    /// Sends what an object's home side needs next, if it still needs anything.
    pub(crate) fn start_home_work(&mut self, key: &RecordKey, priority: Priority) {
        if self.context(key).is_none() {
            return;
        }
        let record = self.record_in_page(key);
        let mut object = self.objects.remove(key).unwrap_or_default();
        if !object.home_work.busy
            && let Some((call, request)) = self.next_home_call(key, &mut object, record.as_deref(), priority)
        {
            let writes = !matches!(call, HomeCall::Namespace | HomeCall::Definition | HomeCall::Verify);
            // An observer writes its own status and nothing else.
            if !writes || !self.config.observe || matches!(call, HomeCall::Report { .. }) {
                object.home_work.busy = true;
                self.metrics.home_writes += u64::from(writes);
                self.api(Purpose::Home(key.clone(), call), request);
            }
        }
        self.objects.insert(key.clone(), object);
    }

    fn next_home_call(
        &self,
        key: &RecordKey,
        object: &mut Object,
        record: Option<&Record>,
        priority: Priority,
    ) -> Option<(HomeCall, ApiRequest)> {
        let member = &self.config.member;
        let path = home_path(key);
        let look = |call, path: String| Some((call, ApiRequest { metadata_only: true, ..ApiRequest::get(path) }));
        match (&object.home, priority) {
            (None, Priority::Finalizers) => {
                let record = record?;
                if record.homes.contains_key(member) {
                    return look(HomeCall::Verify, path);
                }
                let spec = self.intent_text(record).ok()?;
                (record.moving.as_ref() == Some(member))
                    .then(|| (HomeCall::Create, create(key, &self.kind_of(key), &spec)))
            }
            (Some(home), Priority::Statuses) => {
                let (status, hash) = object.home_work.wanted.take()?;
                let body = json!([
                    {"op": "test", "path": "/metadata/uid", "value": home.object.uid},
                    {"op": "add", "path": "/status", "value": status},
                ]);
                let path = format!("{path}/status?fieldManager={MANAGER}");
                Some((HomeCall::Report { hash }, ApiRequest::write(Method::Patch, path, ContentType::JsonPatch, &body)))
            }
            (Some(home), Priority::Finalizers) if home.deleting => {
                let Some(accident) = object.home_work.accident else {
                    if key.namespace.is_empty() || object.home_work.namespace_stands {
                        let name = format!("{}.{}", key.type_name.federated_plural(), key.type_name.federated_group());
                        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
                        return look(HomeCall::Definition, path);
                    }
                    return look(HomeCall::Namespace, format!("/api/v1/namespaces/{}", key.namespace));
                };
                let departure = lives::departure(record, member, &home.object, accident);
                let done = matches!(departure, Departure::Nothing | Departure::Done) && home.has_finalizer();
                done.then(|| (HomeCall::Finalize { on: false }, finalize(&path, home, false)))
            }
            (Some(home), Priority::Finalizers) => match lives::standing(record, member, &home.object) {
                Standing::Deleted => {
                    let preconditions = json!({"uid": home.object.uid, "resourceVersion": home.resource_version});
                    let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
                    Some((HomeCall::Delete, ApiRequest::write(Method::Delete, path, ContentType::Json, &body)))
                }
                _ if !home.has_finalizer() => Some((HomeCall::Finalize { on: true }, finalize(&path, home, true))),
                _ => None,
            },
            _ => None,
        }
    }

    fn kind_of(&self, key: &RecordKey) -> String {
        let installed = self.types.get(&key.type_name).and_then(|state| state.installed.as_ref());
        installed.map(|installed| installed.kind.clone()).unwrap_or_default()
    }

    pub(crate) fn home_answered(&mut self, key: &RecordKey, call: HomeCall, answer: Result<ApiAnswer, String>) {
        let now = self.now.monotonic_ms;
        let Some(object) = self.objects.get_mut(key) else { return };
        let work = &mut object.home_work;
        work.busy = false;
        let outcome = match &answer {
            Ok(answer) if answer.status < 300 => Ok(serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()),
            Ok(answer) => Err(classify(answer.status, &answer.body)),
            Err(reason) => Err(Refusal::Transient(reason.clone())),
        };
        let terminating = |body: &Value| body["metadata"]["deletionTimestamp"].is_string();
        let mut stamped = None;
        let mut namespace_missing = false;
        let failure = match (call, outcome) {
            (HomeCall::Namespace, Ok(body)) => {
                work.namespace_stands = !terminating(&body);
                work.accident = terminating(&body).then_some(true);
                None
            }
            (HomeCall::Definition, Ok(body)) => {
                work.accident = Some(terminating(&body));
                None
            }
            // Its ground is gone altogether: surely not meant for the other members.
            (HomeCall::Namespace | HomeCall::Definition, Err(Refusal::Missing | Refusal::NamespaceMissing(_))) => {
                work.accident = Some(true);
                None
            }
            (HomeCall::Verify, Err(Refusal::Missing | Refusal::NamespaceMissing(_))) => {
                work.vanished = true;
                None
            }
            // It is there: the feed will show it.
            (HomeCall::Verify, Ok(_)) => {
                work.retry_ms = now + 1_000;
                None
            }
            (HomeCall::Report { hash }, Ok(body)) => {
                work.written_ms = now;
                if let Some(home) = &mut object.home {
                    home.status = hash;
                    home.conditions = body["status"]["conditions"].clone();
                    home.was_written(&body);
                    home.object.stamp = body["status"]["agreed"]["revision"].as_u64().map(hansa_model::Revision);
                    stamped = home.object.stamp.map(|revision| Stamped { uid: home.object.uid.clone(), revision });
                }
                None
            }
            (call @ (HomeCall::Finalize { .. } | HomeCall::Delete | HomeCall::Create), Ok(body)) => {
                if let (HomeCall::Finalize { .. }, Some(home)) = (call, &mut object.home) {
                    home.was_written(&body);
                }
                // The watch tells; until then the same is not sent again.
                work.retry_ms = now + 1_000;
                None
            }
            (HomeCall::Create, Err(Refusal::NamespaceMissing(_))) => {
                work.retry_ms = now + 1_000;
                namespace_missing = true;
                None
            }
            // Changed or gone meanwhile: the watch tells, and it is judged again.
            (_, Err(Refusal::Missing | Refusal::Stale(_) | Refusal::NamespaceMissing(_))) => {
                work.retry_ms = now + 50;
                None
            }
            // The test of the uid failed: another object has its name.
            (HomeCall::Report { .. }, Err(Refusal::Refused(message))) if message.contains("test") => None,
            (_, Err(refusal)) => Some(refusal.message()),
        };
        match failure {
            None => object.home_work.failures = 0,
            Some(message) => {
                object.home_work.failures += 1;
                let failures = object.home_work.failures;
                self.metrics.failures += 1;
                let until = self.pause(failures, 100, 60_000);
                if let Some(object) = self.objects.get_mut(key) {
                    object.home_work.retry_ms = until;
                }
                if failures == 3 {
                    self.log(Level::Warning, Some(key), format!("the federated object cannot be written: {message}"));
                }
                self.at(until, Timer::Object(key.clone()));
            }
        }
        if namespace_missing {
            self.want_namespace(key);
        }
        if let Some(stamped) = stamped
            && let Some(mut status) = self.status_of(&self.config.member, key).cloned()
            && status.stamped.as_ref() != Some(&stamped)
        {
            status.stamped = Some(stamped);
            self.set_status(key, Some(status));
        }
        self.touch(key);
    }

    /// Gives members the output that placement computes to them; asks the page's appointee's
    /// breaker for what is to be withdrawn.
    pub(crate) fn process_placement(&mut self, key: &RecordKey, context: &Context, record: Option<&Record>) {
        let Some(record) = record.filter(|record| record.tombstone.is_none()) else { return };
        if self.config.observe {
            return;
        }
        let Ok(spec) = self.intent_spec(record) else { return };
        let Ok(wanted) = self.placement_of(context, &spec) else { return };
        let member = &self.config.member;
        let has = |member: &MemberName| record.placed_members().any(|placed| placed == member);
        if wanted.contains(member) && !has(member) && refusal(key, context).is_none() {
            let members = [member.clone()].into();
            self.mutate(key, Change::Place { revision: record.revision, members });
        }
        self.process_withdrawal(key, context, record, &wanted);
    }

    /// Computes the status of this member's federated object, and wants it written when it differs.
    pub(crate) fn process_report(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        record: Option<&Record>,
    ) {
        let Some(home) = object.home.as_ref().filter(|home| !home.deleting || self.removals.held(key).is_some()) else {
            return;
        };
        if home.source.as_ref().is_some_and(|source| !source.settled) && home.invalid.is_none() && !home.deleting {
            return;
        }
        let standing = lives::standing(record, &self.config.member, &home.object);
        let mut statuses: BTreeMap<MemberName, RecordStatus> = BTreeMap::new();
        for member in record.iter().flat_map(|record| record.placed.keys()) {
            if let Some(status) = self.status_of(member, key) {
                statuses.insert(member.clone(), status.clone());
            }
        }
        let silent: BTreeSet<MemberName> = record
            .iter()
            .flat_map(|record| record.placed.keys())
            .filter(|member| !self.is_heard(member))
            .cloned()
            .collect();
        let spec = record.map(|record| self.intent_spec(record));
        let placement = match &spec {
            Some(Ok(spec)) => self.placement_of(context, spec).map(|members| members.len()),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(0),
        };
        let refused = refusal(key, context);
        let placement = match (&placement, &refused) {
            (_, Some(refused)) => Err(refused.as_str()),
            (Ok(count), None) => Ok(*count),
            (Err(error), None) => Err(error.as_str()),
        };
        let differences =
            record.map_or_else(Vec::new, |record| differences(home, record, self.intent_text(record).ok().as_deref()));
        let problem = home.source.as_ref().and_then(|source| source.problem.as_deref());
        let trouble = record.and_then(|record| self.sealing_trouble(record));
        let held = self.removals.held(key);
        let input = Input {
            era: self.league.as_ref().map(|league| league.era).unwrap_or_default(),
            record,
            standing: &standing,
            stamp: record
                .and_then(|record| record.homes.get(&self.config.member))
                .map(|entry| entry.revision)
                .or(home.object.stamp),
            invalid: home.invalid.as_deref().or(refused.as_deref()),
            source: problem,
            sealing: trouble.as_deref(),
            differences: &differences,
            topology_away_since_ms: self.topology.down_since_ms,
            placement,
            held: held.as_deref(),
            silent: &silent,
            statuses: &statuses,
            generation: home.object.generation,
            wall_ms: self.now.wall_ms,
        };
        let mut report = report::report(&input);
        let hash = status_hash(&report.status);
        if hash == home.status {
            object.home_work.patience = None;
            return;
        }
        let now = self.now.monotonic_ms;
        let settled = report.complete
            || !matches!(standing, Standing::InStep)
            || input.invalid.is_some()
            || problem.is_some()
            || held.is_some();
        let moving = matches!(
            standing,
            Standing::Born | Standing::Reborn | Standing::Edited | Standing::Taken | Standing::Converged
        );
        let away = input.topology_away_since_ms.is_some() || input.invalid.is_some() || problem.is_some();
        let due = if (settled && !moving) || away {
            // Once for a new revision, then at most so often.
            object.home_work.patience = None;
            object.home_work.written_ms.saturating_add(if object.home_work.written_ms == 0 {
                0
            } else {
                REPORT_INTERVAL_MS
            })
        } else {
            let about = (record.map_or(0, |record| record.revision.0), home.object.generation);
            let known = object.home_work.patience.filter(|patience| (patience.0, patience.1) == about);
            let (since, until) = known.map_or((now, now + REPORT_PATIENCE_MS), |patience| (patience.2, patience.3));
            // Much may be on its way at once: as long as the members get on, one status at the end
            // serves better than many on the way.
            let getting_on =
                self.has_outputs_under_way() || self.topology.last_status_ms + REPORT_PATIENCE_MS / 2 > now;
            let until = if until <= now && getting_on && now - since < REPORT_LIMIT_MS {
                now + REPORT_PATIENCE_MS / 4
            } else {
                until
            };
            object.home_work.patience = Some((about.0, about.1, since, until));
            until
        };
        if due > now {
            return self.at(due, Timer::Object(key.clone()));
        }
        keep_times(&mut report.status, &home.conditions);
        object.home_work.wanted = Some((report.status, hash));
        self.want_home_work(key, &object.home_work, Priority::Statuses);
    }
}

/// Why an object of this key may not be federated at all, with the mend.
pub(crate) fn refusal(key: &RecordKey, context: &Context) -> Option<String> {
    if context.federated_type.privileged {
        return None;
    }
    let system = key.namespace.starts_with("kube-");
    let powerful = matches!(
        key.type_name.group(),
        "rbac.authorization.k8s.io"
            | "admissionregistration.k8s.io"
            | "policy.networking.k8s.io"
            | "apiregistration.k8s.io"
    );
    let mend =
        format!("say `privileged: true` beside {} in the Federation's spec.types, if this is meant", key.type_name);
    if system {
        Some(format!("metadata.namespace: {} belongs to the cluster itself: {mend}", key.namespace))
    } else if powerful || !context.installed.namespaced && key.type_name.to_string() != "namespaces" {
        Some(format!("{} can change who may do what in a member: {mend}", key.type_name))
    } else {
        None
    }
}

/// Where a home's content differs from the agreed one, for people: at most three paths.
fn differences(home: &HomeState, record: &Record, agreed: Option<&RawValue>) -> Vec<String> {
    let Some(intent) = &home.intent else { return Vec::new() };
    let (Body::Inline(here), Some(agreed)) = (&intent.body, agreed) else { return Vec::new() };
    if intent.hash == record.intent.hash {
        return Vec::new();
    }
    let parse = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap_or_default();
    let keys = hansa_render::BuiltInKeys::of("", "");
    let changes = hansa_render::diff(&parse(agreed), &parse(here), &keys);
    let mut paths: Vec<String> = changes.into_iter().take(3).map(|change| format!("spec.{}", change.path)).collect();
    if let (Some(source), true) = (&home.source, paths.is_empty()) {
        paths.push(format!("the content of Secret {}", source.name));
    }
    paths
}

/// The path of a federated object.
pub(crate) fn home_path(key: &RecordKey) -> String {
    object_path(
        &key.type_name.federated_group(),
        "v1alpha1",
        &key.type_name.federated_plural(),
        &key.namespace,
        &key.name,
    )
}

/// The object that a move of the home makes in the new one: the agreed intent, verbatim.
fn create(key: &RecordKey, kind: &str, spec: &serde_json::value::RawValue) -> ApiRequest {
    let group = key.type_name.federated_group();
    let mut metadata = json!({"name": &*key.name, "finalizers": [FINALIZER]});
    if !key.namespace.is_empty() {
        metadata["namespace"] = json!(&*key.namespace);
    }
    let spec: Value = serde_json::from_str(spec.get()).unwrap_or_default();
    let body = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": format!("Federated{kind}"), "metadata": metadata, "spec": spec});
    let path = home_path(key);
    let collection = path.rsplit_once('/').map_or("", |(collection, _)| collection);
    ApiRequest::write(Method::Post, format!("{collection}?fieldManager={MANAGER}"), ContentType::Json, &body)
}

fn finalize(path: &str, home: &HomeState, on: bool) -> ApiRequest {
    let mut finalizers: Vec<&str> =
        home.finalizers.iter().map(String::as_str).filter(|name| *name != FINALIZER).collect();
    if on {
        finalizers.push(FINALIZER);
    }
    // The resourceVersion, for the list is replaced as a whole; the uid, for a name can be reborn.
    let body = json!({"metadata": {"uid": home.object.uid, "resourceVersion": home.resource_version, "finalizers": finalizers}});
    ApiRequest::write(Method::Patch, format!("{path}?fieldManager={MANAGER}"), ContentType::MergePatch, &body)
}
