//! The next request about an output.

use super::adoption::comparable_hash;
use super::removing::delete;
use super::{Look, OutputCall};
use crate::io::{ApiRequest, ContentType, Method};
use crate::machine::{Context, Object, Operator, Purpose, object_path};
use crate::observed::MANAGER;
use hansa_ledger::Record;
use hansa_ledger::lives::{Duty, duty};
use hansa_model::{Adoption, DeletionPolicy, FederatedSpec, RecordKey};
use serde_json::{Value, json};

/// A resourceVersion that no object has. An API server does not compare it when an apply creates the object, and
/// refuses it with a conflict when there is one: an apply that only creates, in one request and without a race.
pub(crate) const NO_VERSION: &str = "9223372036854775807";

impl Operator {
    pub(crate) fn output_path(&self, key: &RecordKey, context: &Context) -> String {
        let name = &key.type_name;
        object_path(name.group(), &context.federated_type.version, name.resource(), &key.namespace, &key.name)
    }

    /// Sends what an output needs next, if it still needs anything.
    pub(crate) fn start_output_work(&mut self, key: &RecordKey) {
        let Some(context) = self.context(key) else { return };
        let Some(record) = self.record_in_page(key).filter(|record| self.has_bodies(key, record)) else { return };
        // It was wanted for another word than the one that stands now.
        if self.answerable(key, &record).is_err() {
            return;
        }
        let mut object = self.objects.remove(key).unwrap_or_default();
        if !object.output_work.busy
            && let Some((call, request)) = self.next_output_call(key, &context, &mut object, &record)
        {
            object.output_work.busy = true;
            self.api(Purpose::Output(key.clone(), call), request);
        }
        self.objects.insert(key.clone(), object);
    }

    pub(super) fn next_output_call(
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
                    if self.waits_for_own_change(key) {
                        return None;
                    }
                    let fenced = self.is_fenced(key, &object.output_work, record);
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
                Some(_) if self.waits_for_own_change(key) => None,
                Some(live) => {
                    let fenced = self.is_fenced(key, &object.output_work, record);
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

    pub(super) fn next_apply(
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
        // It was wanted for an earlier revision, or before the pause, and waited in the queue since.
        if self.pause_reason(context, spec).is_some() || self.awaits_wave(key, context, record, spec).is_some() {
            return None;
        }
        let rendered = self.render(key, context, record, spec).ok()?;
        let work = &mut object.output_work;
        if work.migrate.is_some() && object.live.is_some() {
            return Some((OutputCall::Migrate, ApiRequest::get(path)));
        }
        let creates = object.live.is_none() && matches!(work.look, None | Some(Look::Nothing));
        // Of an object that is made anew nobody else holds anything yet.
        if creates {
            work.yielded.clear();
        }
        let mut body = rendered.object;
        for field in &work.yielded {
            hansa_render::drop_path(&mut body, field);
        }
        let incarnation = record.incarnation;
        let apply = |body: &Value, force: bool, parameters: &str| {
            let path = format!("{path}?fieldManager={MANAGER}&force={force}{parameters}");
            ApiRequest::write(Method::Patch, path, ContentType::Apply, body)
        };
        match (&object.live, &work.look) {
            // An upsert must not resurrect what somebody deletes meanwhile: with its uid, it is a
            // conflict instead.
            (Some(live), _) => body["metadata"]["uid"] = json!(live.uid),
            (None, Some(Look::Something)) => return Some((OutputCall::Look, ApiRequest::get(path))),
            (None, Some(Look::Foreign(standing))) if spec.adoption == Adoption::IfNoDifference => {
                let before = comparable_hash(standing);
                return Some((OutputCall::Try { output: rendered.hash, before }, apply(&body, true, "&dryRun=All")));
            }
            (None, Some(Look::Foreign(_) | Look::Adoptable)) => {
                let call = OutputCall::Apply { output: rendered.hash, incarnation, force: true, creates };
                return Some((call, apply(&body, true, "")));
            }
            // It makes the object, or meets whatever has its name as a conflict. Nothing is taken from anyone
            // by force here: who holds fields of it holds them in an object that exists.
            (None, None | Some(Look::Nothing)) => body["metadata"]["resourceVersion"] = json!(NO_VERSION),
        }
        let force = std::mem::take(&mut work.force) || creates;
        Some((OutputCall::Apply { output: rendered.hash, incarnation, force, creates }, apply(&body, force, "")))
    }
}
