//! Garbage collection: dependents follow their owners, or precede them, or stay behind.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::MANAGER;
use super::queue::{Controllers, Task};
use crate::core::Core;
use crate::core::delete::{DeleteOptions, Propagation};
use crate::core::store::{Change, Key, Object, Owner, ResourceId, Store};
use crate::value;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Owners that went, dependents that came, and owners that wait for dependents.
pub(super) fn notice(store: &Store, controllers: &mut Controllers, change: &Arc<Change>) {
    if change.deleted {
        for (resource, key) in store.dependents(&change.object.uid) {
            controllers.add(Task::Collect(resource, key));
        }
        for owner in &change.object.owners {
            if let Some((resource, key)) = store.by_uid(&owner.uid) {
                controllers.add(Task::Finalize(resource.clone(), key.clone()));
            }
        }
        return;
    }
    let before = change.before.as_ref();
    if !change.object.owners.is_empty() && before.is_none_or(|before| before.owners != change.object.owners) {
        controllers.add(Task::Collect(change.resource.clone(), change.key.clone()));
    }
    if change.object.deleting {
        controllers.add(Task::Finalize(change.resource.clone(), change.key.clone()));
    }
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    value::list(object, &["metadata", "finalizers"]).iter().any(|finalizer| finalizer == name)
}

impl Core {
    /// Orphans or deletes the dependents of an object that is being deleted.
    pub(super) fn finalize_owner(&mut self, resource: &ResourceId, key: &Key) {
        let Some(owner) = self.store.get(resource, key).cloned().filter(|owner| owner.deleting) else { return };
        let value = owner.value();
        if has_finalizer(&value, ORPHAN) {
            for (resource, key) in self.store.dependents(&owner.uid) {
                self.drop_owners(&resource, &key, |reference| reference.uid == owner.uid);
            }
            self.drop_finalizer(resource, &owner, ORPHAN);
        } else if has_finalizer(&value, FOREGROUND) {
            let dependents = self.store.dependents(&owner.uid);
            let blocking = dependents.iter().any(|(resource, key)| {
                self.store.get(resource, key).is_some_and(|dependent| {
                    dependent
                        .owners
                        .iter()
                        .any(|reference| reference.uid == owner.uid && reference.block_owner_deletion)
                })
            });
            for (resource, key) in dependents {
                self.controllers.add(Task::Collect(resource, key));
            }
            if !blocking {
                self.drop_finalizer(resource, &owner, FOREGROUND);
            }
        }
    }

    /// Deletes an object if none of its owners is left, or all that are left wait for it.
    pub(super) fn collect(&mut self, resource: &ResourceId, key: &Key) {
        let Some(object) = self.store.get(resource, key).cloned() else { return };
        if object.owners.is_empty() || object.deleting {
            return;
        }
        let state = |core: &Core, owner: &Owner| core.owner_state(&object, owner);
        let states: Vec<OwnerState> = object.owners.iter().map(|owner| state(self, owner)).collect();
        let waiting = states.contains(&OwnerState::Waiting);
        if states.contains(&OwnerState::There) {
            if states.iter().any(|state| *state != OwnerState::There) {
                let gone: Vec<String> = object
                    .owners
                    .iter()
                    .zip(&states)
                    .filter(|(_, state)| **state != OwnerState::There)
                    .map(|(owner, _)| owner.uid.clone())
                    .collect();
                self.drop_owners(resource, key, |owner| gone.contains(&owner.uid));
            }
            return;
        }
        let Some(found) = self.registry.by_id(resource).cloned() else { return };
        let foreground = waiting && !self.store.dependents(&object.uid).is_empty();
        let propagation = if foreground { Propagation::Foreground } else { Propagation::Background };
        let how =
            DeleteOptions { propagation: Some(propagation), uid: Some(object.uid.clone()), ..DeleteOptions::default() };
        if let Err(error) = self.delete_object(&found, &object, &how, false) {
            tracing::debug!(%error, resource = &**resource, key = &**key, "not collected");
        }
    }

    /// A cluster-scoped object cannot have an owner in a namespace, nor can an owner be in
    /// another namespace; such references count as gone.
    fn owner_state(&self, object: &Object, owner: &Owner) -> OwnerState {
        let live = self.store.by_uid(&owner.uid).and_then(|(resource, key)| self.store.get(resource, key));
        match live {
            Some(live) if live.namespace.is_none() || live.namespace == object.namespace => {
                let waits = live.deleting && has_finalizer(&live.value(), FOREGROUND);
                if waits { OwnerState::Waiting } else { OwnerState::There }
            }
            _ => OwnerState::Gone,
        }
    }

    fn drop_owners(&mut self, resource: &ResourceId, key: &Key, gone: impl Fn(&Owner) -> bool) {
        let Some(object) = self.store.get(resource, key).cloned() else { return };
        let kept: Vec<Value> = value::list(&object.value(), &["metadata", "ownerReferences"])
            .iter()
            .zip(&object.owners)
            .filter(|(_, owner)| !gone(owner))
            .map(|(reference, _)| reference.clone())
            .collect();
        let set = |value: &mut Value| {
            if kept.is_empty() {
                value::remove(value, &["metadata", "ownerReferences"]);
            } else {
                value::set(value, &["metadata", "ownerReferences"], json!(kept));
            }
        };
        if self.alter(resource, key, None, MANAGER, set).is_err() {
            // An object that its own rules refuse by now loses its owner all the same.
            let mut value = object.value();
            set(&mut value);
            self.overwrite(resource, value, object.revision);
        }
    }

    /// Takes a finalizer away, and the object with it when it was the last.
    pub(super) fn drop_finalizer(&mut self, resource: &ResourceId, object: &Arc<Object>, name: &str) {
        let mut value = object.value();
        let Some(list) = value::get_mut(&mut value, &["metadata", "finalizers"]).and_then(Value::as_array_mut) else {
            return;
        };
        list.retain(|finalizer| finalizer != name);
        let last = list.is_empty();
        if last {
            value::remove(&mut value, &["metadata", "finalizers"]);
        }
        let namespace_left = &**resource == "namespaces" && !value::list(&value, &["spec", "finalizers"]).is_empty();
        let grace = value::integer(&value, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        if last && !namespace_left && grace == 0 {
            self.store.remove(resource, &object.key());
        } else {
            self.overwrite(resource, value, object.revision);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnerState {
    There,
    Waiting,
    Gone,
}
