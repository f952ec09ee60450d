//! Namespaces that outputs need.

use crate::classify::classify;
use crate::io::{ApiAnswer, ApiRequest, ContentType, Method};
use crate::machine::{Operator, Purpose, Timer};
use crate::observed::MANAGER;
use hansa_ledger::cell::State;
use hansa_ledger::lives::{Duty, duty};
use hansa_model::{NamespacePolicy, RecordKey};
use serde_json::json;
use std::sync::Arc;

impl Operator {
    /// Makes the namespace of an object if the league wants that; false when somebody else has to.
    pub(crate) fn want_namespace(&mut self, key: &RecordKey) -> bool {
        let create = self.league.as_ref().is_some_and(|league| league.spec.namespaces == NamespacePolicy::Create);
        if !create || key.namespace.is_empty() || key.namespace.starts_with("kube-") {
            let at = self.now.monotonic_ms + 30_000;
            self.at(at, Timer::Object(key.clone()));
            return false;
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
        true
    }

    /// A federated namespace stands here: what waits for it need not wait any longer.
    pub(super) fn namespace_came(&mut self, namespace: &str) {
        let inside = self.objects.iter_mut().filter(|(key, _)| &*key.namespace == namespace);
        let mut keys = Vec::new();
        for (key, object) in inside {
            object.output_work.retry_ms = 0;
            keys.push(key.clone());
        }
        for key in keys {
            self.touch(&key);
        }
    }

    pub(crate) fn namespace_answered(&mut self, namespace: &Arc<str>, answer: Result<ApiAnswer, String>) {
        let waiting = self.namespaces.remove(namespace).unwrap_or_default();
        let refusal = match answer {
            // 409: somebody else made it meanwhile.
            Ok(answer) if answer.status < 300 || answer.status == 409 => None,
            Ok(answer) => Some(classify(answer.status, &answer.body).message()),
            Err(reason) => Some(reason),
        };
        let until = if refusal.is_none() { 0 } else { self.pause(3, 500, 10_000) };
        for key in waiting {
            if let Some(object) = self.objects.get_mut(&key) {
                object.output_work.retry_ms = until;
            }
            if let Some(refusal) = &refusal {
                self.at(until, Timer::Object(key.clone()));
                if let Some(record) = self.record_in_page(&key)
                    && duty(&record, &self.config.member) == Duty::Keep
                {
                    let message = format!("its namespace {namespace} cannot be made here: {refusal}");
                    self.say(&key, &record, State::Waiting, message);
                }
            }
            self.touch(&key);
        }
    }
}
