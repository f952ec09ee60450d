//! How controllers read and write: through the same way as requests, in the storage version.

use std::sync::Arc;

use serde_json::Value;

use crate::core::Core;
use crate::core::store::{Object, ResourceId};
use crate::core::write::Made;
use crate::core::{ApiError, Target, WriteOptions};

/// The name under which most controllers manage fields.
pub(crate) const MANAGER: &str = "kube-controller-manager";

impl Core {
    /// What a resource and a key name, in the storage version.
    pub(crate) fn target(&self, resource: &str, key: &str, subresource: Option<&str>) -> Option<Target> {
        let found = self.registry.by_id(resource)?.clone();
        let version = found.version(&found.storage).or_else(|| found.versions.first())?.clone();
        let (namespace, name) = match key.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_string()), name),
            None => (None, key),
        };
        Some(Target {
            resource: found,
            version,
            namespace,
            name: Some(name.to_string()),
            subresource: subresource.map(String::from),
        })
    }

    /// Creates an object as a controller.
    pub(crate) fn make(&mut self, resource: &str, manager: &str, object: Value) -> Result<Arc<Object>, ApiError> {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().or(metadata["generateName"].as_str()).unwrap_or_default();
        let key = match metadata["namespace"].as_str() {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_string(),
        };
        let target = self.target(resource, &key, None).ok_or_else(ApiError::no_resource)?;
        let mut options = WriteOptions::of_controller(manager);
        self.create_object(&target, object, &mut options, Made::Update)
    }

    /// Changes an object as a controller; `change` edits the live value. Objects that are gone
    /// are left alone, and so are those that come out as they were.
    pub(crate) fn alter(
        &mut self,
        resource: &str,
        key: &str,
        subresource: Option<&str>,
        manager: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Option<Arc<Object>>, ApiError> {
        let Some(target) = self.target(resource, key, subresource) else { return Ok(None) };
        if self.store.get(resource, key).is_none() {
            return Ok(None);
        }
        let mut options = WriteOptions::of_controller(manager);
        let written = self.update_object(&target, &mut options, Made::Update, false, |live| {
            let mut object = live.cloned().unwrap_or_default();
            change(&mut object);
            Ok(object)
        })?;
        Ok(Some(written.object))
    }

    /// Stores a value as it is: for the parts of an object that only the system writes, such as
    /// finalizers of its own and owner references.
    pub(crate) fn overwrite(&mut self, resource: &ResourceId, mut value: Value, revision: u64) {
        if let Some(found) = self.registry.by_id(resource) {
            found.storage_schema.normalize(&mut value);
        }
        self.store.put(resource, value, revision);
    }
}
