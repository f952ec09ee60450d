//! What the API server answered about an output.

use super::adoption::{comparable_hash, difference, migration};
use super::removing::orphaning;
use super::{Look, OutputCall};
use crate::classify::{Refusal, classify};
use crate::io::{ApiAnswer, ApiRequest, ContentType, Level, Method};
use crate::machine::{Object, Operator, Purpose, Timer, object_path};
use crate::observed::{Live, MANAGER};
use hansa_ledger::Record;
use hansa_ledger::cell::{OutputMemory, State};
use hansa_ledger::lives::{Duty, duty};
use hansa_model::{Hash, RecordKey};
use serde_json::Value;

impl Operator {
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

    pub(super) fn output_succeeded(
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
                    let message = difference(kind, &standing, body);
                    work.barred = Some(Box::new((output, before, message)));
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
                    let first = status.output.as_ref().is_none_or(|known| known.uid != memory.uid);
                    if first && migration(body).is_some() {
                        work.migrate = Some(Box::new(memory));
                        return;
                    }
                    status.output = Some(memory);
                    self.set_status(key, Some(status));
                }
                if key.type_name.group() == "apiextensions.k8s.io" {
                    self.retry_types();
                }
                if key.type_name == crate::home::namespaces() {
                    self.namespace_came(&key.name);
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
                        Live::answered(&mut object.live, self.reduce_live(&key.type_name, kind, body));
                        let learned = work.migrate.take().map(|learned| *learned);
                        self.relearn(key, object, record, learned);
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
                // The object was read meanwhile: what it rests on may have been taken back.
                Some(_) if self.topology.down_since_ms.is_some() || !self.is_to_remove(record) => {
                    Live::answered(&mut object.live, self.reduce_live(&key.type_name, kind, body));
                }
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

    fn is_to_remove(&self, record: Option<&Record>) -> bool {
        record.is_some_and(|record| duty(record, &self.config.member) == Duty::Remove)
    }

    /// What the apply taught, with what Hansa owns after the migration of field managers.
    fn relearn(&mut self, key: &RecordKey, object: &Object, record: Option<&Record>, learned: Option<OutputMemory>) {
        if let (Some(record), Some(live), Some(mut memory)) = (record, &object.live, learned)
            && let Some(owned) = live.owned
        {
            let mut status = self.base_status(key, record);
            memory.owned = owned;
            status.output = Some(memory);
            self.set_status(key, Some(status));
        }
    }

    pub(super) fn output_refused(
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
                // What Hansa makes in the next moment is not worth a word.
                if !self.want_namespace(key)
                    && let Some(record) = record
                {
                    self.say(key, record, State::Waiting, message);
                }
                return;
            }
            Refusal::Rivals(rivals) => return self.meet_rivals(key, rivals, object, record),
            // Another object has the name, or it changed: look again.
            Refusal::Stale(_) => {
                if matches!(call, OutputCall::Apply { creates: true, .. }) {
                    // Unless the feed was faster and told what it is.
                    work.look = object.live.is_none().then_some(Look::Something);
                    return;
                }
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
                    work.refused = Some(Box::new((output, message.clone())));
                    if let Some(record) = record {
                        self.say(key, record, State::Refused, message.clone());
                    }
                    return self.log(Level::Warning, Some(key), format!("refused: {message}"));
                }
            }
            // It may have been made all the same: look again.
            Refusal::Transient(_) if object.live.is_none() => work.look = None,
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
}
