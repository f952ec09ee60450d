//! ControllerRevisions: the templates that StatefulSets and DaemonSets have had.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::workload::{controller_reference, template_hash};
use crate::core::Core;
use crate::core::delete::DeleteOptions;
use crate::core::store::Object;
use crate::value;

const ID: &str = "controllerrevisions.apps";

/// A kind that keeps its templates.
pub(super) struct Keeper<'a> {
    /// Its kind.
    pub kind: &'static str,
    /// The label that holds the hash.
    pub label: &'static str,
    /// The object.
    pub live: &'a Object,
    /// The object's body.
    pub body: &'a Value,
}

impl Core {
    /// The names of all revisions in their order, the one of the current template last; it is
    /// made if it is missing, and moved to the end if an older one has come back.
    pub(super) fn revisions(&mut self, keeper: &Keeper) -> Vec<String> {
        let mut template = keeper.body["spec"]["template"].clone();
        value::remove(&mut template, &["metadata", "creationTimestamp"]);
        let hash = template_hash(&template, value::integer(keeper.body, &["status", "collisionCount"]).unwrap_or(0));
        template["$patch"] = json!("replace");
        let data = json!({ "spec": { "template": template } });
        let mut known: Vec<(i64, Arc<Object>, Value)> = self
            .owned(ID, keeper.live)
            .into_iter()
            .map(|object| {
                let body = object.value();
                (value::integer(&body, &["revision"]).unwrap_or(0), object, body)
            })
            .collect();
        known.sort_by_key(|(revision, object, _)| (*revision, object.name.clone()));
        let last = known.last().map_or(0, |(revision, ..)| *revision);
        let found = known.iter().position(|(_, _, body)| value::equal(&body["data"], &data));
        let mut names: Vec<String> = known.iter().map(|(_, object, _)| object.name.clone()).collect();
        match found {
            Some(at) if known[at].0 == last => {}
            Some(at) => {
                let (_, object, mut body) = known.swap_remove(at);
                value::set(&mut body, &["revision"], json!(last + 1));
                self.overwrite(&ID.into(), body, 0);
                names.retain(|name| *name != object.name);
                names.push(object.name.clone());
            }
            None => {
                let name = format!("{}-{hash}", keeper.live.name);
                let mut labels = template["metadata"]["labels"].clone();
                if !labels.is_object() {
                    labels = json!({});
                }
                labels[keeper.label] = json!(hash);
                let revision = json!({
                    "metadata": {
                        "name": name, "namespace": keeper.live.namespace, "labels": labels,
                        "ownerReferences": [controller_reference("apps/v1", keeper.kind, keeper.live)],
                    },
                    "data": data, "revision": last + 1,
                });
                match self.make(ID, MANAGER, revision) {
                    Ok(_) => names.push(name),
                    Err(error) => tracing::warn!(%error, "a revision is missing"),
                }
            }
        }
        names
    }

    /// Drops revisions beyond the limit, the oldest first, unless pods still have them.
    pub(super) fn forget_revisions(&mut self, keeper: &Keeper, names: &[String], used: &[String]) {
        let limit = value::integer(keeper.body, &["spec", "revisionHistoryLimit"])
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(10);
        let idle: Vec<&String> =
            names[..names.len().saturating_sub(1)].iter().filter(|name| !used.contains(name)).collect();
        let Some(resource) = self.registry.by_id(ID).cloned() else { return };
        let namespace = keeper.live.namespace.as_deref().unwrap_or_default();
        for name in idle.iter().take(idle.len().saturating_sub(limit)) {
            let Some(object) = self.store.get(ID, &format!("{namespace}/{name}")).cloned() else { continue };
            if let Err(error) = self.delete_object(&resource, &object, &DeleteOptions::default(), false) {
                tracing::debug!(%error, "an old revision stays");
            }
        }
    }
}
