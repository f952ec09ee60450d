//! CustomResourceDefinitions: established when they come, and deleted after their objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::queue::{Controllers, Task};
use crate::core::Core;
use crate::core::crd::{FINALIZER, ID};
use crate::core::delete::DeleteOptions;
use crate::core::store::{Change, Object};
use crate::core::strategy::set_condition;
use crate::value;

/// Definitions that changed, and definitions whose last objects went.
pub(super) fn notice(controllers: &mut Controllers, change: &Arc<Change>) {
    if &*change.resource == ID {
        controllers.add(Task::Definition(change.key.clone()));
    } else if change.deleted && change.resource.contains('.') {
        // Harmless for built-in resources: there is no such definition.
        controllers.add(Task::Definition(change.resource.clone()));
    }
}

impl Core {
    pub(super) fn tend_definition(&mut self, key: &str) {
        let Some(live) = self.store.get(ID, key).cloned() else { return };
        let definition = live.value();
        if live.deleting {
            self.empty_definition(&live, definition);
        } else if let Some(next) = self.establish(&definition) {
            self.write_definition_status(key, &next);
        }
    }

    fn write_definition_status(&mut self, key: &str, next: &Value) {
        let status = next["status"].clone();
        let written = self.alter(ID, key, Some("status"), "kube-apiserver", |definition| {
            value::set(definition, &["status"], status);
        });
        if let Err(error) = written {
            tracing::warn!(%error, definition = key, "a status was refused");
        }
    }

    fn empty_definition(&mut self, live: &Arc<Object>, mut definition: Value) {
        if !value::list(&definition, &["metadata", "finalizers"]).contains(&json!(FINALIZER)) {
            return;
        }
        let id = live.name.clone();
        if let Some(resource) = self.registry.by_id(&id).cloned() {
            let objects: Vec<Arc<Object>> =
                self.store.list(&id, None).filter(|object| !object.deleting).cloned().collect();
            for object in objects {
                // Nothing is asked for, so nothing can refuse.
                let _ = self.delete_object(&resource, &object, &DeleteOptions::default(), false);
            }
        }
        let left = self.store.count(&id);
        let before = definition.clone();
        if left > 0 {
            let message = "CustomResource deletion is in progress";
            set_condition(&mut definition, "Terminating", true, "InstanceDeletionInProgress", message, self.now);
        } else {
            set_condition(
                &mut definition,
                "Terminating",
                false,
                "InstanceDeletionCompleted",
                "removed all instances",
                self.now,
            );
            if let Some(list) =
                value::get_mut(&mut definition, &["metadata", "finalizers"]).and_then(Value::as_array_mut)
            {
                list.retain(|name| *name != json!(FINALIZER));
            }
        }
        if value::list(&definition, &["metadata", "finalizers"]).is_empty() {
            self.store.remove(&ID.into(), &live.key());
        } else if before != definition {
            self.write_definition_status(&live.key(), &definition);
        }
    }
}
