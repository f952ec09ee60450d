//! Watches: a cursor in the history of one resource with what to select and how to write it.
//! Nothing is buffered per watch: a poll reads what came since, so that a write costs the same
//! however many watch, and a watch that falls behind the history ends with 410.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::Core;
use super::encode::{Encoder, Form, Output};
use super::error::ApiError;
use super::http::{Reply, Request};
use super::read::{Query, matches};
use super::route::Target;
use super::store::{Change, Object, ResourceId};
use super::time::Millis;

/// Names a watch of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(super) u64);

/// What a poll found.
#[derive(Clone, Debug, Default)]
pub struct Poll {
    /// Events, each one line with its line end.
    pub lines: Vec<Bytes>,
    /// Whether the stream ends here.
    pub closed: bool,
    /// When to poll again though nothing changes: for bookmarks and the timeout.
    pub wake: Option<Millis>,
}

/// How often bookmarks come when nothing else does.
const BOOKMARK_EVERY: Millis = 60_000;

pub(super) struct Watcher {
    target: Target,
    query: Query,
    output: Output,
    cursor: u64,
    /// Lines that are ready: the initial events.
    ready: Vec<Bytes>,
    bookmarks: Option<Millis>,
    deadline: Millis,
    /// Whether the next bookmark is the first after the initial events.
    initial_bookmark: bool,
    /// Whether a table's column definitions have been sent.
    columns_sent: bool,
    closed: bool,
}

impl Core {
    /// Opens a watch.
    pub(super) fn watch(&mut self, request: &Request, target: &Target) -> Result<Reply, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?.including(request.parameter("includeObject"))?;
        let query = Query::read(request, target)?;
        let bookmarks = request.flag("allowWatchBookmarks");
        let asked = query.version;
        let current = self.store.version();
        let timeout = self.watch_timeout(request)?;
        let initial = match request.parameter("sendInitialEvents") {
            Some(_) => request.flag("sendInitialEvents"),
            None => asked.is_none_or(|version| version == 0),
        };
        let marked = request.flag("sendInitialEvents");
        let mut watcher = Watcher {
            target: target.clone(),
            cursor: current,
            ready: Vec::new(),
            bookmarks: bookmarks.then_some(self.now + BOOKMARK_EVERY),
            deadline: self.now + timeout,
            initial_bookmark: initial && !marked,
            columns_sent: false,
            closed: false,
            query,
            output,
        };
        match asked {
            Some(version) if initial && version > current => return Err(ApiError::version_too_large(version, current)),
            // Whether history reaches back that far shows at the first poll, as an ERROR event. A
            // version of the future waits for its time, as in etcd.
            Some(version) if !initial && version > 0 => watcher.cursor = version,
            _ => {}
        }
        if initial {
            let namespace = target.namespace.as_deref();
            let objects: Vec<Arc<Object>> = self.store.list(&target.resource.id, namespace).cloned().collect();
            for object in objects {
                if matches(&target.resource, &watcher.query, &object) {
                    let line = watcher.line("ADDED", &object, self.now);
                    watcher.ready.push(line);
                }
            }
            if marked && bookmarks {
                watcher.ready.push(watcher.bookmark(current, true));
            }
        }
        self.next_watch += 1;
        let id = WatchId(self.next_watch);
        let content_type = match output.yaml {
            true => "application/yaml;stream=watch",
            false => "application/json",
        };
        self.watchers.insert(id, watcher);
        Ok(Reply::Watch { id, content_type: content_type.to_string(), warnings: Vec::new() })
    }

    fn watch_timeout(&mut self, request: &Request) -> Result<Millis, ApiError> {
        let text = request.parameter("timeoutSeconds").unwrap_or("0");
        let seconds: i64 = text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?;
        Ok(match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => seconds * 1000,
            // kube-apiserver ends watches after 30 to 60 minutes, so that not all end at once.
            _ => 1_800_000 + self.random.below(1_800_000),
        })
    }

    /// The events of a watch since the last poll, up to and with the version `through`.
    pub fn poll_watch(&mut self, now: Millis, id: WatchId, through: u64) -> Poll {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return Poll { closed: true, ..Poll::default() };
        };
        let mut lines = std::mem::take(&mut watcher.ready);
        // The resource as it is now: a changed schema shows, a deleted one ends the watch.
        match self.registry.find(
            &watcher.target.resource.group,
            &watcher.target.version.name,
            &watcher.target.resource.plural,
        ) {
            Some((resource, version)) => {
                watcher.target.resource = resource;
                watcher.target.version = version;
            }
            None => watcher.closed = true,
        }
        match self.store.since(&watcher.target.resource.id, watcher.cursor, through) {
            Ok(changes) => {
                let changes: Vec<Arc<Change>> = changes.cloned().collect();
                for change in changes {
                    watcher.cursor = change.version;
                    if let Some(line) = watcher.event(&change, now) {
                        lines.push(line);
                    }
                }
                watcher.cursor = watcher.cursor.max(through.min(self.store.version()));
            }
            Err(forgotten) => {
                let message = format!("too old resource version: {} ({})", watcher.cursor, forgotten.oldest);
                let status = ApiError::expired(message).status();
                lines.push(Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status}))));
                watcher.closed = true;
            }
        }
        let ending = now >= watcher.deadline || watcher.closed;
        if let Some(due) = watcher.bookmarks
            && !watcher.closed
            && (now >= due || ending)
        {
            let initial = std::mem::take(&mut watcher.initial_bookmark);
            lines.push(watcher.bookmark(watcher.cursor, initial));
            watcher.bookmarks = Some(now + BOOKMARK_EVERY);
        }
        let wake = Some(watcher.bookmarks.map_or(watcher.deadline, |due| due.min(watcher.deadline)));
        if ending {
            self.watchers.remove(&id);
        }
        Poll { lines, closed: ending, wake }
    }

    /// Which resource a watch looks at, for an edge that wakes only those concerned.
    pub fn watch_resource(&self, id: WatchId) -> Option<ResourceId> {
        Some(self.watchers.get(&id)?.target.resource.id.clone())
    }

    /// Ends a watch, as a client does that goes away.
    pub fn close_watch(&mut self, id: WatchId) {
        self.watchers.remove(&id);
    }

    /// The watches that are open.
    pub fn watches(&self) -> usize {
        self.watchers.len()
    }
}

/// The open watches.
pub(super) type Watchers = BTreeMap<WatchId, Watcher>;

impl Watcher {
    /// What a change is to this watch: an object that comes to match is added, one that no
    /// longer does is deleted, with the state it had when it matched.
    fn event(&mut self, change: &Change, now: Millis) -> Option<Bytes> {
        if self
            .target
            .namespace
            .as_deref()
            .is_some_and(|namespace| change.object.namespace.as_deref() != Some(namespace))
        {
            return None;
        }
        let resource = self.target.resource.clone();
        let before = change.before.as_ref().is_some_and(|object| matches(&resource, &self.query, object));
        let after = !change.deleted && matches(&resource, &self.query, &change.object);
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(self.line("ADDED", &change.object, now)),
            (true, true) => Some(self.line("MODIFIED", &change.object, now)),
            (true, false) if change.deleted => Some(self.line("DELETED", &change.object, now)),
            (true, false) => {
                let before = change.before.as_ref()?;
                let last = Object::new(before.value(), change.version, before.revision);
                Some(self.line("DELETED", &last, now))
            }
        }
    }

    fn line(&mut self, kind: &str, object: &Object, now: Millis) -> Bytes {
        let encoder =
            Encoder { resource: &self.target.resource, version: &self.target.version, output: self.output, now };
        let mut out = format!(r#"{{"type":"{kind}","object":"#).into_bytes();
        if self.output.form == Form::Table {
            encoder.table(
                &[object],
                &json!({ "resourceVersion": object.version.to_string() }),
                !self.columns_sent,
                &mut out,
            );
            self.columns_sent = true;
        } else {
            encoder.object(object, &mut out);
        }
        out.extend_from_slice(b"}\n");
        Bytes::from(out)
    }

    fn bookmark(&self, version: u64, initial_events_end: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if initial_events_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = match self.output.form {
            Form::Object => {
                let resource = &self.target.resource;
                json!({"kind": resource.kind, "apiVersion": resource.api_version(&self.target.version.name), "metadata": metadata})
            }
            Form::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": { "resourceVersion": version.to_string() },
                "columnDefinitions": null,
                "rows": [{ "cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata} }],
            }),
        };
        Bytes::from(format!("{}\n", json!({ "type": "BOOKMARK", "object": object })))
    }
}
