//! Requests about a federated object, and their answers.

use super::{HomeCall, HomeWork, Told, home_path, replaced_home};
use crate::classify::{Refusal, classify};
use crate::events::tidings;
use crate::io::{ApiAnswer, ApiRequest, ContentType, Level, Method};
use crate::machine::{Object, Operator, Priority, Purpose, Timer};
use crate::observed::{HomeState, MANAGER};
use hansa_ledger::Record;
use hansa_ledger::cell::Stamped;
use hansa_ledger::lives::{self, Departure, Standing};
use hansa_model::{Compact, FINALIZER, Incarnation, RecordKey, Revision};
use serde_json::{Value, json};

impl Operator {
    pub(super) fn want_home_work(&mut self, key: &RecordKey, work: &HomeWork, priority: Priority) {
        if !work.busy {
            self.want_work(key, work.retry_ms, priority);
        }
    }

    /// The same of what takes away a finalizer, or the object: its page is read before. What is being said of the object
    /// may name it as a home, whatever is read meanwhile: once that is settled, it is looked at anew.
    pub(super) fn want_fenced_home_work(&mut self, key: &RecordKey, work: &HomeWork) {
        if self.home_is_being_said(key) {
            return;
        }
        let waits = work.busy || work.retry_ms > self.now.monotonic_ms;
        if waits || self.config.observe || self.is_fresh(key, work.fenced_ms) {
            self.want_home_work(key, work, Priority::Finalizers);
        } else {
            self.fence(key);
        }
    }

    /// Sends what an object's home side needs next, if it still needs anything.
    pub(crate) fn start_home_work(&mut self, key: &RecordKey, priority: Priority) {
        // What is not known for sure gives and takes no finalizer, and neither makes nor deletes an object.
        let is_unsure = self.unread(key).is_some() && priority == Priority::Finalizers;
        if self.context(key).is_none() || is_unsure {
            return;
        }
        let record = self.record_in_page(key);
        let mut object = self.objects.remove(key).unwrap_or_default();
        if !object.home_work.busy
            && let Some((call, request)) = self.next_home_call(key, &mut object, record.as_deref(), priority)
        {
            let writes =
                !matches!(call, HomeCall::Namespace | HomeCall::Definition | HomeCall::Verify | HomeCall::Recall);
            // An observer writes its own status and nothing else.
            if !writes || !self.config.observe || matches!(call, HomeCall::Report(_)) {
                object.home_work.busy = true;
                self.metrics.home_writes += u64::from(writes);
                self.api(Purpose::Home(key.clone(), call), request);
            }
        }
        self.objects.insert(key.clone(), object);
    }

    pub(super) fn next_home_call(
        &mut self,
        key: &RecordKey,
        object: &mut Object,
        record: Option<&Record>,
        priority: Priority,
    ) -> Option<(HomeCall, ApiRequest)> {
        let member = self.config.member.clone();
        let path = home_path(key);
        let look = |call, path: String| Some((call, ApiRequest { metadata_only: true, ..ApiRequest::get(path) }));
        match (&object.home, priority) {
            (None, Priority::Finalizers) => {
                let record = record?;
                if record.homes.contains_key(&member) {
                    return look(HomeCall::Verify, path);
                }
                if self.words.rejected(key).is_some() {
                    return None;
                }
                let spec = self.intent_text(record).ok()?;
                (record.moving.as_ref() == Some(&member))
                    .then(|| (HomeCall::Create, create(key, &self.kind_of(key), &spec)))
            }
            (Some(home), Priority::Statuses) => {
                if !std::mem::take(&mut object.home_work.wanted) {
                    return None;
                }
                let (status, hash) = self.status_to_write(key, object, record)?;
                object.home_work.tidings = tidings(&home.conditions.read(), &status["conditions"]);
                let told = Told {
                    hash,
                    conditions: Compact::of(&status["conditions"]),
                    stamp: status["agreed"]["revision"].as_u64().map(Revision),
                    stamp_life: status["agreed"]["incarnation"].as_u64().map(Incarnation),
                };
                Some((HomeCall::Report(told), report(key, &self.kind_of(key), home, status)))
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
                let departure = lives::departure(record, &member, &home.object, accident);
                if !matches!(departure, Departure::Nothing | Departure::Done) || !home.has_finalizer {
                    return None;
                }
                self.release(key, home, &mut object.home_work)
            }
            (Some(home), Priority::Finalizers)
                if !object.home_work.vanished && replaced_home(record, &member, &home.object).is_some() =>
            {
                look(HomeCall::Verify, path)
            }
            (Some(home), Priority::Finalizers) => match lives::standing(record, &member, &home.object) {
                Standing::Deleted if self.words.rejected(key).is_some() => None,
                // An end that was agreed may be lost since, with the history that it was agreed in.
                Standing::Deleted if !self.is_read_anew(key, &mut object.home_work) => None,
                Standing::Deleted => {
                    let preconditions = json!({"uid": home.object.uid, "resourceVersion": home.resource_version});
                    let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
                    Some((HomeCall::Delete, ApiRequest::write(Method::Delete, path, ContentType::Json, &body)))
                }
                _ if self.lets_go(home, record) => self.release(key, home, &mut object.home_work),
                _ if !home.has_finalizer => Some((HomeCall::Finalize { on: true }, finalize(&path, home, true))),
                _ if home.is_let_go(record) => Some((HomeCall::Recall, ApiRequest::get(path))),
                _ => None,
            },
            _ => None,
        }
    }

    /// Takes the finalizer off, when the page was read a moment ago.
    fn release(&mut self, key: &RecordKey, home: &HomeState, work: &mut HomeWork) -> Option<(HomeCall, ApiRequest)> {
        self.is_read_anew(key, work).then(|| (HomeCall::Finalize { on: false }, finalize(&home_path(key), home, false)))
    }

    /// Whether the page was read a moment ago, for one call. When it waited in the queue for too long, it is read again.
    fn is_read_anew(&mut self, key: &RecordKey, work: &mut HomeWork) -> bool {
        let is_fresh = self.is_fresh(key, work.fenced_ms.take());
        if !is_fresh {
            self.fence(key);
        }
        is_fresh
    }

    pub(super) fn kind_of(&self, key: &RecordKey) -> String {
        let installed = self.types.get(&key.type_name).and_then(|state| state.installed.as_ref());
        installed.map(|installed| installed.kind.clone()).unwrap_or_default()
    }

    pub(crate) fn home_answered(&mut self, key: &RecordKey, call: HomeCall, answer: Result<ApiAnswer, String>) {
        let now = self.now.monotonic_ms;
        let kind = self.kind_of(key);
        let ended = self.record_in_page(key).filter(|record| record.tombstone.is_some());
        let home_uid = ended.as_ref().and_then(|record| record.homes.get(&self.config.member)).map(|home| &home.uid);
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
        let (mut told, mut recalled) = (None, None);
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
            // It is there, and the feed will show it; or another object is.
            (HomeCall::Verify, Ok(body)) => {
                work.vanished = home_uid.is_some_and(|uid| body["metadata"]["uid"] != *uid);
                work.retry_ms = if work.vanished { now } else { now + 1_000 };
                None
            }
            (HomeCall::Recall, Ok(body)) => {
                recalled = Some(body);
                None
            }
            (HomeCall::Report(report), Ok(body)) => {
                work.written_ms = now;
                if let Some(home) = &mut object.home {
                    home.status = report.hash;
                    let regarding = crate::events::federated(key, &kind, &home.object.uid);
                    told = Some((regarding, std::mem::take(&mut work.tidings)));
                    home.conditions = report.conditions;
                    home.was_written(&body);
                    (home.object.stamp, home.object.stamp_life) = (report.stamp, report.stamp_life);
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
        if let Some(object) = recalled {
            self.home_seen(&key.type_name, &object, false);
        }
        if namespace_missing {
            self.want_namespace(key);
        }
        if let Some((regarding, tidings)) = told {
            self.tell(&regarding, tidings);
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
}

/// The object that a move of the home makes in the new one: the agreed intent, verbatim.
pub(super) fn create(key: &RecordKey, kind: &str, spec: &serde_json::value::RawValue) -> ApiRequest {
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

/// The status alone, in the object that was seen and in no later state of it. A PUT to the status subresource leaves
/// everything else as it stands, and what is not sent is neither decoded nor patched nor sent back: on a real API
/// server that is a good part of what a write of a custom resource costs.
fn report(key: &RecordKey, kind: &str, home: &HomeState, status: Value) -> ApiRequest {
    let mut metadata = json!({
        "name": &*key.name, "uid": home.object.uid, "resourceVersion": home.resource_version,
    });
    if !key.namespace.is_empty() {
        metadata["namespace"] = json!(&*key.namespace);
    }
    let body = json!({
        "apiVersion": format!("{}/v1alpha1", key.type_name.federated_group()),
        "kind": format!("Federated{kind}"),
        "metadata": metadata,
        "status": status,
    });
    let path = format!("{}/status?fieldManager={MANAGER}", home_path(key));
    ApiRequest { metadata_only: true, ..ApiRequest::write(Method::Put, path, ContentType::Json, &body) }
}

pub(super) fn finalize(path: &str, home: &HomeState, on: bool) -> ApiRequest {
    let mut finalizers: Vec<&str> = home.other_finalizers.iter().map(String::as_str).collect();
    if on {
        finalizers.push(FINALIZER);
    }
    // The resourceVersion, for the list is replaced as a whole; the uid, for a name can be reborn.
    let body = json!({"metadata": {"uid": home.object.uid, "resourceVersion": home.resource_version, "finalizers": finalizers}});
    ApiRequest::write(Method::Patch, format!("{path}?fieldManager={MANAGER}"), ContentType::MergePatch, &body)
}
