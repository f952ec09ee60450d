//! Events that controllers record, and their end after an hour.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::queue::{Controllers, Task};
use crate::core::Core;
use crate::core::store::{Change, Key};
use crate::core::time::{self, Millis};
use crate::value;

/// How long events stay, as kube-apiserver's `--event-ttl`.
const KEPT: Millis = 3_600_000;

/// Events that came or were counted again.
pub(super) fn notice(controllers: &mut Controllers, change: &Arc<Change>, now: Millis) {
    if &*change.resource == "events" && !change.deleted {
        controllers.add_at(now + KEPT, Task::Event(change.key.clone()));
    }
}

impl Core {
    /// Records an event about an object; the same one again is counted.
    pub(super) fn event(
        &mut self,
        resource: &str,
        key: &str,
        kind: &str,
        reason: &str,
        message: &str,
        component: &str,
    ) {
        let Some(object) = self.store.get(resource, key).cloned() else { return };
        let Some(of) = self.registry.by_id(resource).cloned() else { return };
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_string());
        let now = time::seconds(self.now);
        // The name follows from what is told, so that the same event finds itself again.
        let mut digest: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in object.uid.bytes().chain(reason.bytes()).chain(message.bytes()) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let name = format!("{}.{digest:016x}", object.name);
        let place = format!("{namespace}/{name}");
        if let Some(live) = self.store.get("events", &place).cloned() {
            let mut event = live.value();
            let count = value::integer(&event, &["count"]).unwrap_or(1);
            value::set(&mut event, &["count"], json!(count + 1));
            value::set(&mut event, &["lastTimestamp"], json!(now));
            self.overwrite(&"events".into(), event, 0);
            return;
        }
        let mut regarding = json!({
            "kind": of.kind, "apiVersion": of.api_version(&of.storage), "name": object.name, "uid": object.uid,
            "resourceVersion": object.version.to_string(),
        });
        if let Some(namespace) = &object.namespace {
            regarding["namespace"] = json!(namespace);
        }
        let event: Value = json!({
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": regarding,
            "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now, "eventTime": null,
            "source": { "component": component }, "reportingComponent": component, "reportingInstance": "",
        });
        // Where the namespace is going, nothing is recorded any more.
        if let Err(error) = self.make("events", MANAGER, event) {
            tracing::trace!(%error, "an event is not recorded");
        }
    }

    /// Drops an event whose hour is over.
    pub(super) fn expire_event(&mut self, key: &Key) {
        let Some(live) = self.store.get("events", key).cloned() else { return };
        let event = live.value();
        let told = ["lastTimestamp", "eventTime"].iter().find_map(|field| time::parse(event[field].as_str()?));
        let created = value::string(&event, &["metadata", "creationTimestamp"]).and_then(time::parse);
        if told.max(created).is_none_or(|at| at + KEPT <= self.now + 1000) {
            self.store.remove(&"events".into(), key);
        }
    }
}
