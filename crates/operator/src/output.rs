//! Outputs of this member: applied, repaired, yielded, removed.
//!
//! Nothing is sent when nothing changes: the hash of the output, the object's uid, and the hash of
//! the fields that Hansa owns in the live object are remembered from the answer to the last apply.
//! A desired object is never compared with a live one, for defaulting and webhooks would make them
//! differ for ever.

mod adoption;
mod answers;
mod behind;
mod namespaces;
mod removing;
mod rendering;
mod rivals;
mod sending;
pub(crate) mod waves;

use self::adoption::bar;
pub(crate) use self::adoption::{NEVER_ADOPTED, comparable_hash, difference};
pub(crate) use self::rendering::{identity, list_keys, substitute};
pub(crate) use self::rivals::is_yielded;
pub(crate) use self::sending::NO_VERSION;
use crate::feed::ObjectName;
use crate::io::InstalledType;
use crate::machine::{Agreed, Context, Object, Operator, Priority, Timer};
use hansa_ledger::Record;
use hansa_ledger::cell::{Made, OutputMemory, RecordStatus, State};
use hansa_ledger::lives::{Duty, duty};
use hansa_model::{Compact, FederatedSpec, Generation, Hash, Incarnation, RecordKey, Revision, TypeName};
use serde_json::Value;
use std::sync::Arc;

/// How often a foreign object that is not adopted is looked at.
const FOREIGN_LOOK_MS: u64 = 10_000;

/// What is asked of the API server about an output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum OutputCall {
    /// What stands there, where the first apply met something, or after a removal?
    Look,
    /// Would applying change anything? The answer is compared with `before`.
    Try { output: Hash, before: Hash },
    /// Apply; `force` takes fields back from their rivals, `creates` meets an object that exists as a conflict.
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
    refused: Option<Box<(Hash, String)>>,
    /// The output that would change the foreign object of this content, and what it would change.
    barred: Option<Box<(Hash, Hash, String)>>,
    /// When a foreign object was last looked at: nothing tells when it changes or goes.
    looked_ms: u64,
    /// What a look showed, until the feed or an apply says more.
    look: Option<Look>,
    /// The output that was last rendered for it, by its hash.
    rendered: Option<Rendered>,
    /// The next apply takes fields back.
    force: bool,
    /// Fields that are left to another manager.
    yielded: Vec<String>,
    /// The life whose removal a linearizable read of the page has confirmed, and when. Each request
    /// to remove uses it up.
    pub(crate) fenced: Option<(Incarnation, u64)>,
    /// Taking fields back from a rival, again and again: how often, and when last.
    fights: (u32, u64),
    /// The earlier tools' ownership is still to be taken over; what the apply taught is remembered
    /// when that is done, so that whoever starts anew in between applies and takes over again.
    migrate: Option<Box<OutputMemory>>,
    /// The watch told that the object is gone while a request about it was under way: what the answer
    /// shows may be what is gone.
    gone_meanwhile: bool,
}

/// The hash of an output, and what it was rendered from. Much happens to an object that changes none
/// of it.
#[derive(Debug)]
struct Rendered {
    installed: Arc<InstalledType>,
    generation: Generation,
    incarnation: Incarnation,
    revision: Revision,
    intent: Hash,
    output: Hash,
}

/// What stands where an output is to be.
enum Look {
    Nothing,
    /// Something that kept an output from being made.
    Something,
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
            Look::Something => "Something",
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
        self.queue.first().is_some_and(|(priority, ..)| *priority < Priority::Removals) || self.outputs_in_flight > 0
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

    pub(crate) fn process_output(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        agreed: Option<Agreed<'_>>,
    ) {
        let Some((record, spec)) = agreed else {
            self.removals.done(key);
            return self.set_status(key, None);
        };
        let duty = duty(record, &self.config.member);
        // An end is of the restored history, for no ended life goes on: it is somebody's word about the name.
        if record.tombstone.is_none()
            && matches!(duty, Duty::Keep | Duty::Remove)
            && let Some(ahead) = self.ahead(key, object, record)
        {
            return self.leave_behind(key, object, record, ahead);
        }
        match duty {
            Duty::None => {
                self.removals.done(key);
                // What a home that has no output was told is remembered all the same.
                let told = |status: &&RecordStatus| {
                    status.stamped.is_some() || status.source.is_some() || !status.home.is_empty()
                };
                let status = self.status_of(&self.config.member, key).filter(told).cloned();
                let kept = status.map(|status| RecordStatus {
                    stamped: status.stamped,
                    source: status.source,
                    home: status.home,
                    ..fresh(record)
                });
                let kept = kept.or_else(|| object.home.is_some().then(|| fresh(record)));
                self.set_status(key, kept);
            }
            Duty::Done => {
                self.removals.done(key);
                let mut status = self.base_status(key, record);
                status.state = State::Removed;
                status.output = None;
                self.set_status(key, Some(status));
            }
            Duty::Keep => self.process_keep(key, context, object, (record, spec)),
            Duty::Remove if self.words.rejected(key).is_some() => {
                let why = spec.as_ref().err().cloned().unwrap_or_default();
                self.say(key, record, State::Refused, why);
            }
            Duty::Remove => {
                let policy = self.removal_policy(key, record);
                self.process_remove(key, object, record, policy);
            }
        }
    }

    /// An output is kept up as its record was last read, and nothing else is concluded from that.
    pub(crate) fn process_last_read(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        agreed: Option<Agreed<'_>>,
    ) {
        self.removals.rest(key);
        object.output_work.fenced = None;
        let Some((record, spec)) = agreed else { return };
        if duty(record, &self.config.member) == Duty::Keep && self.ahead(key, object, record).is_none() {
            self.process_keep(key, context, object, (record, spec));
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

    pub(crate) fn say(&mut self, key: &RecordKey, record: &Record, state: State, message: impl Into<String>) {
        let message = message.into();
        let base = self.base_status(key, record);
        let status = RecordStatus { state, message, revision: record.revision, later: None, ..base };
        self.set_status(key, Some(status));
    }

    fn process_keep(&mut self, key: &RecordKey, context: &Context, object: &mut Object, (record, spec): Agreed<'_>) {
        self.removals_unwanted(key, object, record);
        let spec = match spec {
            Ok(spec) => spec,
            Err(error) => return self.say(key, record, State::Refused, error),
        };
        if self.is_source(key, record, spec) {
            return self.say(key, record, State::Applied, crate::sealing::THE_SOURCE);
        }
        let output = match self.output_hash(key, context, &mut object.output_work, record, spec) {
            Ok(output) => output,
            Err((state, error)) => return self.say(key, record, state, error),
        };
        let memory = self.base_status(key, record).output;
        if let Some(live) = &object.live {
            match live.incarnation {
                Some(incarnation) if incarnation < record.incarnation => {
                    let falls = (incarnation, live.weight);
                    return self.process_replacement(key, object, record, falls);
                }
                Some(incarnation) if incarnation > record.incarnation => {
                    return self.say_of_later_life(key, record, Made { incarnation, revision: live.revision });
                }
                _ => {}
            }
            let in_step = memory.as_ref().is_some_and(|memory| {
                memory.uid == live.uid && memory.output == output && Some(memory.owned) == live.owned
            });
            if in_step && object.output_work.migrate.is_none() {
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
        } else if memory.as_ref().is_some_and(|memory| memory.output == output) && self.is_finished(key) {
            return self.applied(key, object, record);
        }
        if let Some(why) = self.pause_reason(context, spec) {
            return self.say(key, record, State::Paused, why);
        }
        if let Some(why) = self.awaits_wave(key, context, record, spec) {
            return self.say(key, record, State::Waiting, why);
        }
        if let Some(refused) = &object.output_work.refused
            && refused.0 == output
        {
            return self.say(key, record, State::Refused, refused.1.clone());
        }
        if let Some(message) = bar(&object.output_work, spec.adoption, output) {
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

    fn is_finished(&self, key: &RecordKey) -> bool {
        // A Job's summary counts its completions; one that ran to its end and was cleaned up
        // (ttlSecondsAfterFinished) is no drift.
        let status = self.status_of(&self.config.member, key);
        key.type_name.resource() == "jobs"
            && status.is_some_and(|status| status.health != hansa_ledger::cell::Health::Progressing)
    }

    /// Why outputs are left as they are.
    pub(crate) fn pause_reason(&self, context: &Context, spec: &FederatedSpec) -> Option<&'static str> {
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
        if !work.busy {
            self.want_work(key, work.retry_ms, priority);
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
        summary: Compact::default(),
        later: None,
        stamped: None,
        source: None,
        home: String::new(),
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
