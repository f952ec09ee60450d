//! Taking outputs away: the breaker and a linearizable read before each, then by uid and resourceVersion.

use super::{Look, OutputWork};
use crate::io::{ApiRequest, ContentType, Method};
use crate::machine::{Object, Operator, Priority, Timer};
use crate::observed::{Live, MANAGER};
use crate::removal::Decision;
use hansa_ledger::Record;
use hansa_ledger::breaker::{Pending, Scope};
use hansa_ledger::cell::State;
use hansa_ledger::mutation::Change;
use hansa_model::{DeletionPolicy, Incarnation, RecordKey};
use serde_json::{Value, json};

/// How long a removal waits at least for a change of the record that this member writes itself.
const OWN_CHANGE_MS: u64 = 100;

impl Operator {
    /// What becomes of this member's output when it is to go.
    pub(crate) fn removal_policy(&self, key: &RecordKey, record: &Record) -> DeletionPolicy {
        match (&record.tombstone, self.intent_spec(record)) {
            (Some(tombstone), _) => tombstone.policy,
            // What users keep here as the source of the object's content is not taken from them.
            (None, Ok(spec)) if self.is_source(key, record, &spec) => DeletionPolicy::Orphan,
            (None, Ok(_)) if self.keeps_outputs(&self.config.member) => DeletionPolicy::Orphan,
            (None, Ok(spec)) => spec.deletion_policy,
            (None, Err(_)) => DeletionPolicy::Orphan,
        }
    }

    /// A removal that was asked for in an earlier state of the record is not wanted any more.
    pub(super) fn removals_unwanted(&mut self, key: &RecordKey, object: &mut Object, record: &Record) {
        let replaces =
            object.live.as_ref().and_then(|live| live.incarnation).is_some_and(|life| life < record.incarnation);
        if !replaces {
            self.removals.forget(Decision::Output, key);
            object.output_work.fenced = None;
        }
    }

    pub(super) fn process_replacement(
        &mut self,
        key: &RecordKey,
        object: &mut Object,
        record: &Record,
        (life, weight): (Incarnation, u64),
    ) {
        if let Some(why) = self.unread(key) {
            return self.say(key, record, State::Waiting, why);
        }
        // The name was born again while an output of its earlier life still stands here.
        let pending = Pending { scope: Scope::end(life), weight };
        if !self.removals.ask(Decision::Output, key, pending) {
            let held = self.removals.held(key).unwrap_or_default();
            return self.say(key, record, State::Held, held);
        }
        self.proceed_to_remove(key, object, record);
    }

    pub(super) fn process_remove(
        &mut self,
        key: &RecordKey,
        object: &mut Object,
        record: &Record,
        policy: DeletionPolicy,
    ) {
        let owed = record.placed.get(&self.config.member).map_or(record.incarnation, |placed| placed.incarnation);
        match (&object.live, &object.output_work.look) {
            // What is under way may still make it.
            (None, _) if object.output_work.busy => {}
            (None, Some(Look::Nothing | Look::Foreign(_) | Look::Adoptable)) => {
                // Gone, or not ours: nothing of this life stands here any more.
                self.removals.forget(Decision::Output, key);
                self.say(key, record, State::Removing, "");
                self.mutate(key, Change::Acknowledge { incarnation: owed });
            }
            (None, None | Some(Look::Something)) => {
                self.want_output_work(key, &object.output_work, Priority::Removals);
            }
            (Some(live), _) if live.incarnation.is_some_and(|life| life > owed) => {
                if object.output_work.busy {
                    return;
                }
                // What was owed is gone, for another has its name: of a life that a restored topology server lost.
                self.removals.forget(Decision::Output, key);
                let message =
                    "an object of a later life has its name, which the topology server does not know: it stays";
                self.say(key, record, State::Removing, message);
                self.mutate(key, Change::Acknowledge { incarnation: owed });
            }
            (Some(live), _) => {
                let weight = if policy == DeletionPolicy::Orphan { 0 } else { live.weight };
                let scope = Scope::output(record, owed, &self.config.member);
                if weight > 0 && !self.removals.ask(Decision::Output, key, Pending { scope, weight }) {
                    let held = self.removals.held(key).unwrap_or_default();
                    return self.say(key, record, State::Held, held);
                }
                self.say(key, record, State::Removing, "");
                self.proceed_to_remove(key, object, record);
            }
        }
    }

    pub(super) fn proceed_to_remove(&mut self, key: &RecordKey, object: &mut Object, record: &Record) {
        let work = &object.output_work;
        if self.config.observe || work.busy || object.live.as_ref().is_some_and(|live| live.deleting) {
            return;
        }
        if self.waits_for_own_change(key) {
            return;
        }
        // A linearizable read of the page comes before every deletion: what was read once may have
        // been taken back, and an operator that is cut off deletes nothing.
        if !self.is_fenced(key, &object.output_work, record) {
            object.output_work.fenced = None;
            if object.output_work.retry_ms <= self.now.monotonic_ms {
                return self.fence(key);
            }
        }
        self.want_output_work(key, &object.output_work, Priority::Removals);
    }

    /// Whether what this member writes of the record itself may give back what is about to be taken away;
    /// it is looked at again a moment later.
    pub(super) fn waits_for_own_change(&mut self, key: &RecordKey) -> bool {
        let waits = self.is_being_changed(key);
        if waits && self.topology.down_since_ms.is_none() {
            self.at(self.now.monotonic_ms + OWN_CHANGE_MS, Timer::Object(key.clone()));
        }
        waits
    }

    /// Whether the page was read a moment ago, and the topology server has answered ever since.
    pub(super) fn is_fenced(&self, key: &RecordKey, work: &OutputWork, record: &Record) -> bool {
        work.fenced.is_some_and(|(life, asked_ms)| life == record.incarnation && self.is_fresh(key, Some(asked_ms)))
    }
}

pub(super) fn delete(path: &str, live: &Live) -> ApiRequest {
    let body = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": live.uid, "resourceVersion": live.resource_version},
    });
    ApiRequest::write(Method::Delete, path, ContentType::Json, &body)
}

/// Takes Hansa's marks and ownership off an object, and leaves everything else. `None` when there is
/// nothing of Hansa's on it.
pub(super) fn orphaning(object: &Value) -> Option<Value> {
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
