//! Outputs of this member: applied, repaired, yielded, removed.
//!
//! Nothing is sent when nothing changes: the hash of the output, the object's uid, and the hash of
//! the fields that Hansa owns in the live object are remembered from the answer to the last apply.
//! A desired object is never compared with a live one, for defaulting and webhooks would make them
//! differ for ever.

use crate::classify::{Refusal, Rival, classify};
use crate::feed::ObjectName;
use crate::io::{ApiAnswer, ApiRequest, ContentType, Level, Method};
use crate::machine::{Context, Object, Operator, Priority, Purpose, Timer, object_path};
use crate::observed::{Live, MANAGER};
use crate::removal::Decision;
use hansa_ledger::Record;
use hansa_ledger::breaker::Pending;
use hansa_ledger::cell::{OutputMemory, RecordStatus, State};
use hansa_ledger::lives::{Duty, duty};
use hansa_ledger::mutation::Change;
use hansa_model::{
    Adoption, DeletionPolicy, FederatedSpec, Hash, Incarnation, MemberName, NamespacePolicy, RecordKey, TypeName,
};
use hansa_render::{BuiltInKeys, Identity, ListKeys, Marks, SchemaKeys};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often a foreign object that is not adopted is looked at.
const FOREIGN_LOOK_MS: u64 = 10_000;

/// How long the read before a deletion counts.
const FENCE_MS: u64 = 2_000;

/// What is asked of the API server about an output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum OutputCall {
    /// What stands there before the first apply, or after a removal?
    Look,
    /// Would applying change anything? The answer is compared with `before`.
    Try { output: Hash, before: Hash },
    /// Apply; `force` takes fields back from their rivals.
    Apply { output: Hash, incarnation: Incarnation, force: bool, creates: bool },
    /// Take what is Hansa's from the field managers of earlier tools.
    Migrate,
    /// Delete.
    Delete,
    /// Take Hansa's marks and ownership off, and leave the rest.
    Orphan,
}

/// Work on an output.
#[derive(Debug, Default)]
pub(crate) struct OutputWork {
    busy: bool,
    retry_ms: u64,
    failures: u32,
    /// The refused output, and the API server's words: only another one is tried.
    refused: Option<(Hash, String)>,
    /// The output that would change the foreign object of this content, and what it would change.
    barred: Option<(Hash, Hash, String)>,
    /// When a foreign object was last looked at: nothing tells when it changes or goes.
    looked_ms: u64,
    /// What a look showed, until the feed or an apply says more.
    look: Option<Look>,
    /// The next apply takes fields back.
    force: bool,
    /// Fields that are left to another manager.
    yielded: Vec<String>,
    /// The life whose removal a linearizable read of the page has confirmed, and when. Each request
    /// to remove uses it up.
    fenced: Option<(Incarnation, u64)>,
    /// Taking fields back from a rival, again and again: how often, and when last.
    fights: (u32, u64),
    /// The earlier tools' ownership is still to be taken over.
    migrate: bool,
    /// The watch told that the object is gone while a request about it was under way: what the answer
    /// shows may be what is gone.
    gone_meanwhile: bool,
}

/// What stands where an output is to be.
enum Look {
    Nothing,
    /// An object that Hansa did not make, whole.
    Foreign(Box<Value>),
    /// It may be adopted.
    Adoptable,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not what stands in it: it may be a Secret.
        f.write_str(match self {
            Look::Nothing => "Nothing",
            Look::Foreign(_) => "Foreign",
            Look::Adoptable => "Adoptable",
        })
    }
}

impl OutputWork {
    pub fn is_worth_keeping(&self) -> bool {
        self.busy || self.refused.is_some() || self.look.is_some() || self.failures > 0
    }
}

impl Operator {
    pub(crate) fn has_outputs_under_way(&self) -> bool {
        self.queue.first().is_some_and(|(priority, _)| *priority < Priority::Removals) || self.outputs_in_flight > 0
    }

    /// An output as a feed tells it. A watch may still be telling what was before the answer to our
    /// own write; a list is believed even so, for an API server may have been restored.
    pub(crate) fn output_seen(&mut self, type_name: &TypeName, object: &Value, listed: bool) {
        let Some(kind) = self.types.get(type_name).and_then(|state| state.installed.as_ref()).map(|t| t.kind.clone())
        else {
            return;
        };
        let key = Self::key_of(type_name, &crate::feed::object_name(object));
        let live = self.reduce_live(type_name, &kind, object);
        let state = self.objects.entry(key.clone()).or_default();
        let overtaken = !listed && state.live.as_ref().is_some_and(|known| live.is_overtaken_by(known));
        if !overtaken && state.live.as_ref() != Some(&live) {
            state.live = Some(live);
            state.output_work.look = None;
            self.touch(&key);
        }
    }

    pub(crate) fn output_gone(&mut self, type_name: &TypeName, name: &ObjectName) {
        let key = Self::key_of(type_name, name);
        if let Some(state) = self.objects.get_mut(&key) {
            state.live = None;
            state.output_work.look = None;
            state.output_work.retry_ms = 0;
            state.output_work.gone_meanwhile = state.output_work.busy;
        }
        self.touch(&key);
    }

    /// The concrete object for this member.
    pub(crate) fn render(
        &self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        spec: &FederatedSpec,
    ) -> Result<hansa_render::Output, String> {
        self.render_for(key, context, record, spec, &self.config.member)
    }

    /// The concrete object for a member.
    pub(crate) fn render_for(
        &self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        spec: &FederatedSpec,
        member: &MemberName,
    ) -> Result<hansa_render::Output, String> {
        let template = self.template(key, context, record, spec)?;
        self.render_template(key, context, record, spec, &template, member)
    }

    /// The concrete object that a template gives for a member.
    fn render_template(
        &self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        spec: &FederatedSpec,
        template: &Value,
        member: &MemberName,
    ) -> Result<hansa_render::Output, String> {
        let group = key.type_name.group();
        let version = &context.federated_type.version;
        let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        let identity =
            Identity { api_version: api_version.clone(), kind: context.installed.kind.clone(), key: key.clone() };
        let member = context.spec.member(member).ok_or_else(|| format!("{member} is no member of the league"))?;
        let marks = Marks { league: context.league, incarnation: record.incarnation, revision: record.revision };
        let built_in = BuiltInKeys::of(&api_version, &context.installed.kind);
        let schema = SchemaKeys(context.installed.list_keys.clone());
        let keys: &dyn ListKeys = if context.installed.list_keys.is_empty() { &built_in } else { &schema };
        let mut output = hansa_render::output(&identity, template, &spec.overrides, member, &marks, keys)
            .map_err(|error| error.to_string())?;
        output.hash = self.remembered_hash(&key.type_name, output.hash);
        Ok(output)
    }

    pub(crate) fn process_output(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        record: Option<&Record>,
    ) {
        let Some(record) = record else {
            self.removals.forget(Decision::Output, key);
            return self.set_status(key, None);
        };
        match duty(record, &self.config.member) {
            Duty::None => {
                self.removals.forget(Decision::Output, key);
                // What a home that has no output was told is remembered all the same.
                let told = |status: &&RecordStatus| status.stamped.is_some() || status.source.is_some();
                let status = self.status_of(&self.config.member, key).filter(told).cloned();
                let kept = status.map(|status| RecordStatus {
                    stamped: status.stamped,
                    source: status.source,
                    ..fresh(record)
                });
                let kept = kept.or_else(|| object.home.is_some().then(|| fresh(record)));
                self.set_status(key, kept);
            }
            Duty::Done => {
                self.removals.forget(Decision::Output, key);
                let mut status = self.base_status(key, record);
                status.state = State::Removed;
                status.output = None;
                self.set_status(key, Some(status));
            }
            Duty::Keep => self.process_keep(key, context, object, record),
            Duty::Remove => {
                let policy = self.removal_policy(key, record);
                self.process_remove(key, object, record, policy);
            }
        }
    }

    /// What becomes of this member's output when it is to go.
    fn removal_policy(&self, key: &RecordKey, record: &Record) -> DeletionPolicy {
        match (&record.tombstone, self.intent_spec(record)) {
            (Some(tombstone), _) => tombstone.policy,
            // What users keep here as the source of the object's content is not taken from them.
            (None, Ok(spec)) if self.is_source(key, record, &spec) => DeletionPolicy::Orphan,
            (None, Ok(spec)) => spec.deletion_policy,
            (None, Err(_)) => DeletionPolicy::Orphan,
        }
    }

    /// What this member said last about a record, brought to its present life.
    pub(crate) fn base_status(&self, key: &RecordKey, record: &Record) -> RecordStatus {
        match self.status_of(&self.config.member, key) {
            Some(status) if status.incarnation == record.incarnation => status.clone(),
            Some(status) => RecordStatus { stamped: status.stamped.clone(), ..fresh(record) },
            None => fresh(record),
        }
    }

    fn say(&mut self, key: &RecordKey, record: &Record, state: State, message: impl Into<String>) {
        let mut status = self.base_status(key, record);
        status.state = state;
        status.message = message.into();
        status.revision = record.revision;
        self.set_status(key, Some(status));
    }

    fn process_keep(&mut self, key: &RecordKey, context: &Context, object: &mut Object, record: &Record) {
        self.removals_unwanted(key, object, record);
        let spec = match self.intent_spec(record) {
            Ok(spec) => spec,
            Err(error) => return self.say(key, record, State::Refused, error),
        };
        if self.is_source(key, record, &spec) {
            return self.say(key, record, State::Applied, crate::sealing::THE_SOURCE);
        }
        let template = match self.template(key, context, record, &spec) {
            Ok(template) => template,
            // What is sealed and does not open may open yet; what stands here is left as it is.
            Err(error) if record.sealed.is_some() => return self.say(key, record, State::Waiting, error),
            Err(error) => return self.say(key, record, State::Refused, error),
        };
        let rendered = match self.render_template(key, context, record, &spec, &template, &self.config.member) {
            Ok(rendered) => rendered,
            Err(error) => return self.say(key, record, State::Refused, error),
        };
        let memory = self.base_status(key, record).output;
        if let Some(live) = &object.live {
            match live.incarnation {
                Some(incarnation) if incarnation < record.incarnation => {
                    let live_weight = live.weight;
                    return self.process_replacement(key, object, record, live_weight);
                }
                Some(incarnation) if incarnation > record.incarnation => {
                    let message = format!(
                        "the object here was made for life {incarnation}, the record is of life {}: the record is older, nothing is done",
                        record.incarnation
                    );
                    return self.say(key, record, State::Conflicting, message);
                }
                _ => {}
            }
            let in_step = memory.as_ref().is_some_and(|memory| {
                memory.uid == live.uid && memory.output == rendered.hash && Some(memory.owned) == live.owned
            });
            if in_step && !object.output_work.migrate {
                return self.applied(key, object, record);
            }
            if live.deleting {
                return self.say(
                    key,
                    record,
                    State::Waiting,
                    "the object is being deleted by somebody else: it is made again when it is gone",
                );
            }
        } else if memory.as_ref().is_some_and(|memory| memory.output == rendered.hash) && self.is_finished(key) {
            return self.applied(key, object, record);
        }
        if let Some(why) = self.pause_reason(context, &spec) {
            return self.say(key, record, State::Paused, why);
        }
        if let Some((output, message)) = &object.output_work.refused
            && *output == rendered.hash
        {
            return self.say(key, record, State::Refused, message.clone());
        }
        if let Some(message) = bar(&object.output_work, spec.adoption, rendered.hash) {
            let due = object.output_work.looked_ms + FOREIGN_LOOK_MS;
            if due > self.now.monotonic_ms {
                self.at(due, Timer::Object(key.clone()));
                return self.say(key, record, State::Conflicting, message);
            }
            object.output_work.look = None;
        }
        if self.base_status(key, record).state == State::Pending {
            self.say(key, record, State::Pending, "");
        }
        self.want_output_work(key, &object.output_work, class(key, &context.installed.kind));
    }

    /// A removal that was asked for in an earlier state of the record is not wanted any more.
    fn removals_unwanted(&mut self, key: &RecordKey, object: &mut Object, record: &Record) {
        let replaces =
            object.live.as_ref().and_then(|live| live.incarnation).is_some_and(|life| life < record.incarnation);
        if !replaces {
            self.removals.forget(Decision::Output, key);
            object.output_work.fenced = None;
        }
    }

    fn is_finished(&self, key: &RecordKey) -> bool {
        // A Job's summary counts its completions; one that ran to its end and was cleaned up
        // (ttlSecondsAfterFinished) is no drift.
        let status = self.status_of(&self.config.member, key);
        key.type_name.resource() == "jobs"
            && status.is_some_and(|status| status.health != hansa_ledger::cell::Health::Progressing)
    }

    /// Why outputs are left as they are.
    fn pause_reason(&self, context: &Context, spec: &FederatedSpec) -> Option<&'static str> {
        match () {
            () if self.config.observe => Some("the operator only observes (--observe)"),
            () if context.spec.paused => Some("the league is paused (Federation spec.paused)"),
            () if context.spec.member(&self.config.member).is_some_and(|member| member.paused) => {
                Some("the member is paused (Federation spec.members[].paused)")
            }
            () if spec.paused => Some("the object is paused (spec.paused)"),
            () => None,
        }
    }

    fn applied(&mut self, key: &RecordKey, object: &mut Object, record: &Record) {
        object.output_work.failures = 0;
        object.output_work.refused = None;
        let mut status = self.base_status(key, record);
        status.state = State::Applied;
        status.revision = record.revision;
        status.message.clear();
        if let Some(live) = &object.live {
            status.health = live.health;
            status.health_message.clone_from(&live.health_message);
            status.summary.clone_from(&live.summary);
        }
        self.set_status(key, Some(status));
    }

    fn want_output_work(&mut self, key: &RecordKey, work: &OutputWork, priority: Priority) {
        if work.busy {
            return;
        }
        if work.retry_ms > self.now.monotonic_ms {
            self.at(work.retry_ms, Timer::Object(key.clone()));
        } else {
            self.queue.insert((priority, key.clone()));
        }
    }

    // --- removal ---

    fn process_replacement(&mut self, key: &RecordKey, object: &mut Object, record: &Record, weight: u64) {
        // The name was born again while an output of its earlier life still stands here.
        let pending = Pending { incarnation: record.incarnation, weight };
        if !self.removals.ask(Decision::Output, key, pending) {
            let held = self.removals.held(key).unwrap_or_default();
            return self.say(key, record, State::Held, held);
        }
        self.proceed_to_remove(key, object, record);
    }

    fn process_remove(&mut self, key: &RecordKey, object: &mut Object, record: &Record, policy: DeletionPolicy) {
        let owed = record.placed.get(&self.config.member).map_or(record.incarnation, |placed| placed.incarnation);
        match (&object.live, &object.output_work.look) {
            (None, Some(Look::Nothing | Look::Foreign(_) | Look::Adoptable)) => {
                // Gone, or not ours: nothing of this life stands here any more.
                self.removals.forget(Decision::Output, key);
                self.say(key, record, State::Removing, "");
                self.mutate(key, Change::Acknowledge { incarnation: owed });
            }
            (None, None) => self.want_output_work(key, &object.output_work, Priority::Removals),
            (Some(live), _) if live.incarnation.is_some_and(|life| life > owed) => {
                self.say(
                    key,
                    record,
                    State::Conflicting,
                    "the object here is of a later life than the one that ended: nothing is done",
                );
            }
            (Some(live), _) => {
                let weight = if policy == DeletionPolicy::Orphan { 0 } else { live.weight };
                if weight > 0 && !self.removals.ask(Decision::Output, key, Pending { incarnation: owed, weight }) {
                    let held = self.removals.held(key).unwrap_or_default();
                    return self.say(key, record, State::Held, held);
                }
                self.say(key, record, State::Removing, "");
                self.proceed_to_remove(key, object, record);
            }
        }
    }

    fn proceed_to_remove(&mut self, key: &RecordKey, object: &mut Object, record: &Record) {
        let work = &object.output_work;
        if self.config.observe || work.busy || object.live.as_ref().is_some_and(|live| live.deleting) {
            return;
        }
        // A linearizable read of the page comes before every deletion: what was read once may have
        // been taken back, and an operator that is cut off deletes nothing.
        if !self.is_fenced(&object.output_work, record) {
            object.output_work.fenced = None;
            if object.output_work.retry_ms <= self.now.monotonic_ms {
                return self.fence(key);
            }
        }
        self.want_output_work(key, &object.output_work, Priority::Removals);
    }

    /// Whether the page was read a moment ago, and the topology server has answered ever since.
    fn is_fenced(&self, work: &OutputWork, record: &Record) -> bool {
        self.topology.down_since_ms.is_none()
            && work.fenced.is_some_and(|(life, at)| {
                life == record.incarnation && self.now.monotonic_ms.saturating_sub(at) <= FENCE_MS
            })
    }

    /// The page was read, linearizably.
    pub(crate) fn fenced(&mut self, key: &RecordKey) {
        let incarnation = self.record_in_page(key).map(|record| record.incarnation);
        if let Some(object) = self.objects.get_mut(key) {
            object.output_work.fenced = incarnation.map(|life| (life, self.now.monotonic_ms));
        }
        self.touch(key);
    }

    // --- requests ---

    fn output_path(&self, key: &RecordKey, context: &Context) -> String {
        let name = &key.type_name;
        object_path(name.group(), &context.federated_type.version, name.resource(), &key.namespace, &key.name)
    }

    /// Sends what an output needs next, if it still needs anything.
    pub(crate) fn start_output_work(&mut self, key: &RecordKey) {
        let Some(context) = self.context(key) else { return };
        let Some(record) = self.record_in_page(key).filter(|record| self.has_bodies(key, record)) else { return };
        let mut object = self.objects.remove(key).unwrap_or_default();
        if !object.output_work.busy
            && let Some((call, request)) = self.next_output_call(key, &context, &mut object, &record)
        {
            object.output_work.busy = true;
            self.api(Purpose::Output(key.clone(), call), request);
        }
        self.objects.insert(key.clone(), object);
    }

    fn next_output_call(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        record: &Record,
    ) -> Option<(OutputCall, ApiRequest)> {
        let path = self.output_path(key, context);
        let spec = self.intent_spec(record).ok();
        match duty(record, &self.config.member) {
            Duty::Keep => {
                let spec = spec?;
                let replaced =
                    object.live.as_ref().filter(|live| live.incarnation.is_some_and(|life| life < record.incarnation));
                if let Some(live) = replaced {
                    let fenced = self.is_fenced(&object.output_work, record);
                    object.output_work.fenced = None;
                    if !fenced {
                        // It waited in the queue for too long.
                        self.fence(key);
                        return None;
                    }
                    return Some((OutputCall::Delete, delete(&path, live)));
                }
                self.next_apply(key, context, object, record, &spec, &path)
            }
            Duty::Remove => match &object.live {
                None => Some((OutputCall::Look, ApiRequest::get(path))),
                Some(live) => {
                    let fenced = self.is_fenced(&object.output_work, record);
                    object.output_work.fenced = None;
                    if !fenced {
                        self.fence(key);
                        return None;
                    }
                    match self.removal_policy(key, record) {
                        DeletionPolicy::Delete => Some((OutputCall::Delete, delete(&path, live))),
                        // The whole object is needed to take the marks and the ownership off.
                        DeletionPolicy::Orphan => Some((OutputCall::Orphan, ApiRequest::get(path))),
                    }
                }
            },
            Duty::None | Duty::Done => None,
        }
    }

    fn next_apply(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        record: &Record,
        spec: &FederatedSpec,
        path: &str,
    ) -> Option<(OutputCall, ApiRequest)> {
        if self.is_source(key, record, spec) {
            return None;
        }
        let rendered = self.render(key, context, record, spec).ok()?;
        let work = &mut object.output_work;
        if work.migrate && object.live.is_some() {
            return Some((OutputCall::Migrate, ApiRequest::get(path)));
        }
        let mut body = rendered.object;
        for field in &work.yielded {
            hansa_render::drop_path(&mut body, field);
        }
        let creates = object.live.is_none();
        let incarnation = record.incarnation;
        let apply = |body: &Value, force: bool, parameters: &str| {
            let path = format!("{path}?fieldManager={MANAGER}&force={force}{parameters}");
            ApiRequest::write(Method::Patch, path, ContentType::Apply, body)
        };
        match (&object.live, &work.look) {
            // An upsert must not resurrect what somebody deletes meanwhile: with its uid, it is a
            // conflict instead.
            (Some(live), _) => body["metadata"]["uid"] = json!(live.uid),
            (None, None) => return Some((OutputCall::Look, ApiRequest::get(path))),
            (None, Some(Look::Foreign(standing))) if spec.adoption == Adoption::IfNoDifference => {
                let before = comparable_hash(standing);
                return Some((OutputCall::Try { output: rendered.hash, before }, apply(&body, true, "&dryRun=All")));
            }
            (None, Some(Look::Foreign(_) | Look::Adoptable)) => {
                work.migrate = true;
                let call = OutputCall::Apply { output: rendered.hash, incarnation, force: true, creates };
                return Some((call, apply(&body, true, "")));
            }
            (None, Some(Look::Nothing)) => {}
        }
        let force = std::mem::take(&mut work.force);
        Some((OutputCall::Apply { output: rendered.hash, incarnation, force, creates }, apply(&body, force, "")))
    }

    // --- answers ---

    pub(crate) fn output_answered(&mut self, key: &RecordKey, call: OutputCall, answer: Result<ApiAnswer, String>) {
        let Some(mut object) = self.objects.remove(key) else { return };
        object.output_work.busy = false;
        let record = self.record_in_page(key);
        let kind = self
            .types
            .get(&key.type_name)
            .and_then(|state| state.installed.as_ref())
            .map(|found| found.kind.clone())
            .unwrap_or_default();
        let outcome = match answer {
            Ok(answer) if answer.status < 300 => match serde_json::from_slice::<Value>(&answer.body) {
                Ok(body) => Ok(body),
                Err(error) => Err(Refusal::Transient(format!("the answer does not read: {error}"))),
            },
            Ok(answer) => Err(classify(answer.status, &answer.body)),
            Err(reason) => Err(Refusal::Transient(reason)),
        };
        match outcome {
            Ok(body) => self.output_succeeded(key, &kind, call, &body, &mut object, record.as_deref()),
            Err(refusal) => self.output_refused(key, call, &refusal, &mut object, record.as_deref()),
        }
        if !object.output_work.busy && std::mem::take(&mut object.output_work.gone_meanwhile) {
            object.live = None;
            object.output_work.look = None;
        }
        self.objects.insert(key.clone(), object);
        self.touch(key);
    }

    fn output_succeeded(
        &mut self,
        key: &RecordKey,
        kind: &str,
        call: OutputCall,
        body: &Value,
        object: &mut Object,
        record: Option<&Record>,
    ) {
        let work = &mut object.output_work;
        work.failures = 0;
        work.retry_ms = 0;
        match call {
            OutputCall::Look => {
                let label = self.league.as_ref().map(|league| league.id.label());
                let ours = body["metadata"]["labels"][hansa_render::LEAGUE_LABEL].as_str() == label.as_deref();
                if ours {
                    // The feed will show it; until then it is known from here.
                    Live::answered(&mut object.live, self.reduce_live(&key.type_name, kind, body));
                    work.look = None;
                } else {
                    work.look = Some(Look::Foreign(Box::new(body.clone())));
                    work.looked_ms = self.now.monotonic_ms;
                }
            }
            OutputCall::Try { output, before } => {
                if comparable_hash(body) == before {
                    work.look = Some(Look::Adoptable);
                } else {
                    let standing = match &work.look {
                        Some(Look::Foreign(standing)) => hansa_render::comparable(standing),
                        _ => Value::Null,
                    };
                    let changes = hansa_render::diff_for_people(
                        kind,
                        &standing,
                        &hansa_render::comparable(body),
                        &BuiltInKeys::of("", kind),
                    );
                    let paths: Vec<_> = changes
                        .iter()
                        .filter(|change| !is_mark(&change.path))
                        .take(5)
                        .map(|change| change.path.clone())
                        .collect();
                    let message = format!(
                        "an object of this name that Hansa did not make exists here, and adopting it would change {}: make the template equal, or set spec.adoption to Always",
                        paths.join(", ")
                    );
                    work.barred = Some((output, before, message));
                }
            }
            OutputCall::Apply { output, incarnation, .. } => {
                self.metrics.applies += 1;
                let live = self.reduce_live(&key.type_name, kind, body);
                work.look = None;
                work.refused = None;
                let owned = live.owned.unwrap_or_else(|| Hash::of(&Value::Null));
                let memory = OutputMemory { uid: live.uid.clone(), output, owned, yielded: work.yielded.clone() };
                Live::answered(&mut object.live, live);
                if let Some(record) = record.filter(|record| record.incarnation == incarnation) {
                    let mut status = self.base_status(key, record);
                    status.output = Some(memory);
                    self.set_status(key, Some(status));
                }
            }
            OutputCall::Migrate => {
                let request = migration(body).map(|patch| {
                    let path = self
                        .types
                        .get(&key.type_name)
                        .map(|state| state.federated_type.version.clone())
                        .unwrap_or_default();
                    let name = &key.type_name;
                    let path = object_path(name.group(), &path, name.resource(), &key.namespace, &key.name);
                    ApiRequest::write(
                        Method::Patch,
                        format!("{path}?fieldManager={MANAGER}"),
                        ContentType::JsonPatch,
                        &patch,
                    )
                });
                match request {
                    Some(request) => {
                        work.busy = true;
                        self.api(Purpose::Output(key.clone(), OutputCall::Migrate), request);
                    }
                    // Nothing is left with the earlier tools (the answer to the patch ends here too).
                    None => {
                        work.migrate = false;
                        Live::answered(&mut object.live, self.reduce_live(&key.type_name, kind, body));
                        self.relearn(key, object, record);
                    }
                }
            }
            OutputCall::Delete => {
                self.metrics.deletes += 1;
                // Background deletion: the watch tells when it is gone.
                work.look = None;
                work.retry_ms = self.now.monotonic_ms + 1_000;
            }
            OutputCall::Orphan => match orphaning(body) {
                Some(patch) => {
                    let version = self
                        .types
                        .get(&key.type_name)
                        .map(|state| state.federated_type.version.clone())
                        .unwrap_or_default();
                    let name = &key.type_name;
                    let path = object_path(name.group(), &version, name.resource(), &key.namespace, &key.name);
                    work.busy = true;
                    let request = ApiRequest::write(
                        Method::Patch,
                        format!("{path}?fieldManager={MANAGER}"),
                        ContentType::JsonPatch,
                        &patch,
                    );
                    self.api(Purpose::Output(key.clone(), OutputCall::Orphan), request);
                }
                None => {
                    object.live = None;
                    work.look = Some(Look::Foreign(Box::new(Value::Null)));
                }
            },
        }
    }

    /// What Hansa owns changed by a migration of field managers, not by drift.
    fn relearn(&mut self, key: &RecordKey, object: &Object, record: Option<&Record>) {
        if let (Some(record), Some(live)) = (record, &object.live)
            && let Some(owned) = live.owned
        {
            let mut status = self.base_status(key, record);
            if let Some(memory) = &mut status.output {
                memory.owned = owned;
            }
            self.set_status(key, Some(status));
        }
    }

    fn output_refused(
        &mut self,
        key: &RecordKey,
        call: OutputCall,
        refusal: &Refusal,
        object: &mut Object,
        record: Option<&Record>,
    ) {
        let now = self.now.monotonic_ms;
        let message = refusal.message();
        let work = &mut object.output_work;
        let removing = record.is_none_or(|record| duty(record, &self.config.member) != Duty::Keep);
        match refusal {
            Refusal::Missing => {
                object.live = None;
                work.look = Some(Look::Nothing);
                work.failures = 0;
                return;
            }
            Refusal::NamespaceMissing(_) if removing || call == OutputCall::Look => {
                object.live = None;
                work.look = Some(Look::Nothing);
                return;
            }
            Refusal::NamespaceMissing(_) => {
                work.retry_ms = now + 30_000;
                if let Some(record) = record {
                    self.say(key, record, State::Waiting, message);
                }
                return self.want_namespace(key);
            }
            Refusal::Rivals(rivals) => return self.meet_rivals(key, rivals, object, record),
            // Another object has the name, or it changed: look again.
            Refusal::Stale(_) => {
                if call != OutputCall::Delete {
                    object.live = None;
                }
                work.look = None;
                work.retry_ms = now + 20;
                self.at(now + 20, Timer::Object(key.clone()));
                return;
            }
            Refusal::Refused(_) => {
                self.metrics.failures += 1;
                if let OutputCall::Apply { output, .. } | OutputCall::Try { output, .. } = call {
                    work.refused = Some((output, message.clone()));
                    if let Some(record) = record {
                        self.say(key, record, State::Refused, message.clone());
                    }
                    return self.log(Level::Warning, Some(key), format!("refused: {message}"));
                }
            }
            Refusal::NotYet(_) | Refusal::Forbidden(_) | Refusal::Transient(_) => {}
        }
        self.metrics.failures += 1;
        work.failures += 1;
        let failures = work.failures;
        let (base, limit) = match refusal {
            Refusal::Forbidden(_) => (5_000, 300_000),
            Refusal::NotYet(_) => (200, 30_000),
            _ => (100, 60_000),
        };
        let until = self.pause(failures, base, limit);
        object.output_work.retry_ms = until;
        self.at(until, Timer::Object(key.clone()));
        if let Some(record) = record {
            let state = if matches!(refusal, Refusal::Forbidden(_)) { State::Refused } else { State::Waiting };
            // A hiccup is not worth a write; what lasts is.
            if failures >= 2 || !matches!(refusal, Refusal::Transient(_)) {
                self.say(key, record, state, message.clone());
            }
        }
        if failures == 3 {
            self.log(Level::Warning, Some(key), message);
        }
    }

    /// Fields are held by others: each is taken back, or left to them.
    fn meet_rivals(&mut self, key: &RecordKey, rivals: &[Rival], object: &mut Object, record: Option<&Record>) {
        let now = self.now.monotonic_ms;
        let work = &mut object.output_work;
        let yielded: BTreeSet<&str> =
            rivals.iter().filter(|rival| is_yielded(rival)).map(|rival| rival.field.as_str()).collect();
        for field in &yielded {
            if !work.yielded.iter().any(|known| known == field) {
                work.yielded.push((*field).to_owned());
            }
        }
        let taken: Vec<&Rival> = rivals.iter().filter(|rival| !yielded.contains(rival.field.as_str())).collect();
        if taken.is_empty() {
            return;
        }
        work.force = true;
        let quiet = now.saturating_sub(work.fights.1) > 600_000;
        work.fights = (if quiet { 1 } else { work.fights.0 + 1 }, now);
        let fights = work.fights.0;
        // A rival that comes back every time is named, and met less and less often.
        if fights > 3 {
            let named: Vec<_> = taken.iter().map(|rival| format!("{} ({})", rival.field, rival.manager)).collect();
            let message = format!(
                "taken back {fights} times from a rival manager: {}: make one of the two let go",
                named.join(", ")
            );
            let until = self.pause(fights - 3, 5_000, 300_000);
            object.output_work.retry_ms = until;
            self.at(until, Timer::Object(key.clone()));
            if let Some(record) = record {
                self.say(key, record, State::Conflicting, message.clone());
            }
            self.log(Level::Warning, Some(key), message);
        }
    }

    // --- namespaces ---

    pub(crate) fn want_namespace(&mut self, key: &RecordKey) {
        let create = self.league.as_ref().is_some_and(|league| league.spec.namespaces == NamespacePolicy::Create);
        if !create || key.namespace.is_empty() || key.namespace.starts_with("kube-") {
            let at = self.now.monotonic_ms + 30_000;
            return self.at(at, Timer::Object(key.clone()));
        }
        let waiting = self.namespaces.entry(key.namespace.clone()).or_default();
        let first = waiting.is_empty();
        waiting.insert(key.clone());
        if first {
            let league = self.league.as_ref().map(|league| league.id.label()).unwrap_or_default();
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": &*key.namespace, "annotations": {"hansa.dev/made-by": league}}});
            let path = format!("/api/v1/namespaces?fieldManager={MANAGER}");
            let request = ApiRequest::write(Method::Post, path, ContentType::Json, &body);
            self.api(Purpose::Namespace(key.namespace.clone()), request);
        }
    }

    pub(crate) fn namespace_answered(&mut self, namespace: &Arc<str>, answer: Result<ApiAnswer, String>) {
        let waiting = self.namespaces.remove(namespace).unwrap_or_default();
        // 409: somebody else made it meanwhile.
        let there = answer.as_ref().is_ok_and(|answer| answer.status < 300 || answer.status == 409);
        let until = if there { 0 } else { self.pause(3, 500, 10_000) };
        for key in waiting {
            if let Some(object) = self.objects.get_mut(&key) {
                object.output_work.retry_ms = until;
            }
            self.touch(&key);
        }
    }
}

fn fresh(record: &Record) -> RecordStatus {
    RecordStatus {
        incarnation: record.incarnation,
        revision: record.revision,
        state: State::Pending,
        message: String::new(),
        output: None,
        health: hansa_ledger::cell::Health::Unknown,
        health_message: String::new(),
        summary: Value::Null,
        stamped: None,
        source: None,
    }
}

/// Order: namespaces → CRDs → configuration → workloads → custom resources.
fn class(key: &RecordKey, kind: &str) -> Priority {
    match (key.type_name.group(), kind) {
        ("", "Namespace") => Priority::Namespaces,
        ("apiextensions.k8s.io", _) => Priority::Definitions,
        ("" | "rbac.authorization.k8s.io" | "networking.k8s.io" | "policy" | "storage.k8s.io", _) => {
            Priority::Configuration
        }
        ("apps" | "batch" | "autoscaling", _) => Priority::Workloads,
        _ => Priority::Custom,
    }
}

/// Why a foreign object is not adopted, if it is not.
fn bar(work: &OutputWork, adoption: Adoption, output: Hash) -> Option<String> {
    let Some(Look::Foreign(standing)) = &work.look else { return None };
    match (adoption, &work.barred) {
        (Adoption::Never, _) => Some("spec.adoption is Never, and an object of this name that Hansa did not make exists here: delete it, or choose another adoption".to_owned()),
        (Adoption::IfNoDifference, Some((tried, before, message)))
            if *tried == output && *before == comparable_hash(standing) =>
        {
            Some(message.clone())
        }
        _ => None,
    }
}

/// The scale is left to an autoscaler, and taken back from people who scale by hand.
fn is_yielded(rival: &Rival) -> bool {
    let by_hand = rival.manager.starts_with("\"kubectl") || rival.manager.starts_with("kubectl");
    rival.field == ".spec.replicas" && !by_hand
}

fn is_mark(path: &str) -> bool {
    path.starts_with("metadata.labels") || path.starts_with("metadata.annotations")
}

/// An object without what adopting it would change anyway: Hansa's marks, and the API server's own.
fn comparable_hash(object: &Value) -> Hash {
    let mut object = hansa_render::comparable(object);
    for (field, marks) in [
        ("labels", [hansa_render::LEAGUE_LABEL].as_slice()),
        ("annotations", [hansa_render::INCARNATION_ANNOTATION, hansa_render::REVISION_ANNOTATION].as_slice()),
    ] {
        if let Some(map) = object["metadata"].get_mut(field).and_then(Value::as_object_mut) {
            marks.iter().for_each(|mark| {
                map.remove(*mark);
            });
            if map.is_empty() {
                object["metadata"].as_object_mut().expect("metadata is an object").remove(field);
            }
        }
    }
    Hash::of(&object)
}

fn delete(path: &str, live: &Live) -> ApiRequest {
    let body = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": live.uid, "resourceVersion": live.resource_version},
    });
    ApiRequest::write(Method::Delete, path, ContentType::Json, &body)
}

/// The field managers of tools that wrote manifests before Hansa did.
const EARLIER_TOOLS: [&str; 8] = [
    "kubectl-client-side-apply",
    "kubectl",
    "kubectl-create",
    "helm",
    "Helm",
    "kustomize-controller",
    "argocd-controller",
    "before-first-apply",
];

/// Takes from the earlier tools' entries what Hansa's own entry holds too: a field that the template
/// drops later would linger if they still owned it. What only they own stays theirs. `None` when
/// there is nothing to take.
fn migration(object: &Value) -> Option<Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let is_ours =
        |entry: &&Value| entry["manager"] == MANAGER && entry["operation"] == "Apply" && entry["subresource"].is_null();
    let ours = &entries.iter().find(is_ours)?["fieldsV1"];
    let mut changed = false;
    let mut kept = Vec::new();
    for entry in entries {
        let earlier = entry["subresource"].is_null() && EARLIER_TOOLS.iter().any(|tool| entry["manager"] == *tool);
        let mut entry = entry.clone();
        if earlier {
            changed |= subtract(&mut entry["fieldsV1"], ours);
            if entry["fieldsV1"].as_object().is_none_or(serde_json::Map::is_empty) {
                continue;
            }
        }
        kept.push(entry);
    }
    changed.then(|| {
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/metadata/managedFields", "value": kept},
        ])
    })
}

/// Removes from a field set what another one holds too. Returns whether anything went.
fn subtract(fields: &mut Value, others: &Value) -> bool {
    let (Some(map), Some(others)) = (fields.as_object_mut(), others.as_object()) else { return false };
    let mut changed = false;
    map.retain(|name, inner| {
        let Some(other) = others.get(name) else { return true };
        let leaf = inner.as_object().is_none_or(serde_json::Map::is_empty);
        if leaf {
            changed = true;
            return false;
        }
        changed |= subtract(inner, other);
        !inner.as_object().is_none_or(serde_json::Map::is_empty)
    });
    changed
}

/// Takes Hansa's marks and ownership off an object, and leaves everything else. `None` when there is
/// nothing of Hansa's on it.
fn orphaning(object: &Value) -> Option<Value> {
    let metadata = &object["metadata"];
    metadata["labels"][hansa_render::LEAGUE_LABEL].as_str()?;
    let mut labels = metadata["labels"].clone();
    let mut annotations = metadata["annotations"].clone();
    if let Some(labels) = labels.as_object_mut() {
        labels.remove(hansa_render::LEAGUE_LABEL);
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(hansa_render::INCARNATION_ANNOTATION);
        annotations.remove(hansa_render::REVISION_ANNOTATION);
    }
    let managers: Vec<&Value> = metadata["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] != MANAGER)
        .collect();
    // An empty list would mean "take this as the first": one empty entry clears it (KEP-555).
    let managers = if managers.is_empty() { json!([{}]) } else { json!(managers) };
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}),
        json!({"op": "replace", "path": "/metadata/labels", "value": labels}),
        json!({"op": "add", "path": "/metadata/managedFields", "value": managers}),
    ];
    if annotations.is_object() {
        patch.push(json!({"op": "replace", "path": "/metadata/annotations", "value": annotations}));
    }
    Some(Value::from(patch))
}
