//! What is stored: objects as serialized bytes under one global resource version, with a bounded
//! history per resource from which watches, consistent pages and exact reads are served.
//!
//! An object is kept once, as JSON without `kind` and `apiVersion`, so that an answer in any
//! served version is a prefix and a copy. What is asked of every object (labels, owners, whether
//! it is being deleted) lies beside the bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::selector::Labels;

/// `pods`, `deployments.apps`: a resource whatever its version.
pub type ResourceId = Arc<str>;
/// `namespace/name`, or the name alone where there is no namespace: the order of lists.
pub type Key = Arc<str>;

/// The key of an object.
pub fn key(namespace: Option<&str>, name: &str) -> Key {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}").into(),
        None => name.into(),
    }
}

/// One stored state of an object.
#[derive(Debug)]
pub struct Object {
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: u64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `metadata.ownerReferences`.
    pub owners: Vec<Owner>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// The revision of the schema that this state went through; older ones are defaulted and
    /// pruned again when read.
    pub revision: u64,
    body: Bytes,
}

/// An owner reference, as far as garbage collection needs it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Owner {
    /// `apiVersion` of the owner.
    pub api_version: String,
    /// `kind` of the owner.
    pub kind: String,
    /// `name` of the owner.
    pub name: String,
    /// `uid` of the owner.
    pub uid: String,
    /// Whether it manages this object.
    pub controller: bool,
    /// Whether the owner's foreground deletion waits for this object.
    pub block_owner_deletion: bool,
}

#[derive(Deserialize)]
struct Head {
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    uid: String,
    labels: Option<Labels>,
    owner_references: Option<Vec<Owner>>,
    deletion_timestamp: Option<String>,
}

impl Object {
    /// An object of this value, which loses `kind` and `apiVersion`; with `version` 0 its
    /// `metadata.resourceVersion` is left out, as in a dry run of a create.
    pub fn new(mut value: Value, version: u64, revision: u64) -> Self {
        if let Some(object) = value.as_object_mut() {
            object.remove("kind");
            object.remove("apiVersion");
            let metadata = object.entry("metadata").or_insert_with(|| json!({}));
            if version > 0 {
                metadata["resourceVersion"] = json!(version.to_string());
            } else if let Some(metadata) = metadata.as_object_mut() {
                metadata.remove("resourceVersion");
            }
        }
        let metadata = Metadata::deserialize(&value["metadata"]).unwrap_or_default();
        Object::assemble(metadata, version, revision, Bytes::from(value.to_string()))
    }

    /// An object of bytes that were stored before.
    pub fn restore(body: Bytes, version: u64, revision: u64) -> Result<Self, serde_json::Error> {
        let head: Head = serde_json::from_slice(&body)?;
        Ok(Object::assemble(head.metadata, version, revision, body))
    }

    fn assemble(metadata: Metadata, version: u64, revision: u64, body: Bytes) -> Self {
        Object {
            namespace: metadata.namespace.filter(|namespace| !namespace.is_empty()),
            name: metadata.name,
            uid: metadata.uid,
            version,
            labels: metadata.labels.unwrap_or_default(),
            owners: metadata.owner_references.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            revision,
            body,
        }
    }

    /// The key in its collection.
    pub fn key(&self) -> Key {
        key(self.namespace.as_deref(), &self.name)
    }

    /// The JSON without `kind` and `apiVersion`.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The object parsed, without `kind` and `apiVersion`.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).expect("stored bytes are JSON")
    }

    /// The owner that controls it.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    /// The resource version of the change.
    pub version: u64,
    /// Which resource.
    pub resource: ResourceId,
    /// Which object.
    pub key: Key,
    /// The state before; `None` when it was created.
    pub before: Option<Arc<Object>>,
    /// The state after; of a deleted object the last one, at the version of its deletion.
    pub object: Arc<Object>,
    /// Whether the object went.
    pub deleted: bool,
}

/// The objects of one resource and its recent changes.
#[derive(Debug, Default)]
pub struct Collection {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Arc<Change>>,
    /// Changes at or below this version are forgotten.
    floor: u64,
}

/// Everything that is stored.
#[derive(Debug)]
pub struct Store {
    version: u64,
    collections: BTreeMap<ResourceId, Collection>,
    uids: BTreeMap<String, (ResourceId, Key)>,
    dependents: BTreeMap<String, BTreeSet<(ResourceId, Key)>>,
    history: usize,
    /// Of collections that are empty so far.
    floor: u64,
    fresh: Vec<Arc<Change>>,
}

/// A version that history does not reach back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The oldest version that a watch can still start from.
    pub oldest: u64,
}

impl Store {
    /// An empty store that keeps `history` changes per resource.
    pub fn new(history: usize) -> Self {
        Store {
            version: 1,
            collections: BTreeMap::new(),
            uids: BTreeMap::new(),
            dependents: BTreeMap::new(),
            history,
            floor: 0,
            fresh: Vec::new(),
        }
    }

    /// The resource version of the latest change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Puts back what was stored before, without history: watches from older versions are gone.
    pub fn restore(&mut self, version: u64, objects: impl IntoIterator<Item = (ResourceId, Object)>) {
        self.version = self.version.max(version);
        for (resource, object) in objects {
            let key = object.key();
            let object = Arc::new(object);
            self.index(&resource, &key, None, Some(&object));
            self.collections.entry(resource).or_default().objects.insert(key, object);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.floor = self.version;
        for collection in self.collections.values_mut() {
            collection.history.clear();
            collection.floor = self.version;
        }
    }

    fn floor(&self, resource: &str) -> u64 {
        self.collections.get(resource).map_or(self.floor, |collection| collection.floor)
    }

    /// The current state of an object.
    pub fn get(&self, resource: &str, key: &str) -> Option<&Arc<Object>> {
        self.collections.get(resource)?.objects.get(key)
    }

    /// Begins the history of a resource here, if it has none: watches from before are gone.
    pub fn begin(&mut self, resource: &ResourceId) {
        let floor = self.version;
        self.collections.entry(resource.clone()).or_insert_with(|| Collection { floor, ..Collection::default() });
    }

    /// Which object has this uid.
    pub fn by_uid(&self, uid: &str) -> Option<&(ResourceId, Key)> {
        self.uids.get(uid)
    }

    /// The objects that name this uid as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<(ResourceId, Key)> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// The current objects of a resource, in one namespace or all, in the order of lists.
    pub fn list<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let (from, to) = bounds(namespace, None);
        self.collections
            .get(resource)
            .map(|collection| collection.objects.range::<str, _>((as_ref(&from), as_ref(&to))))
            .into_iter()
            .flatten()
            .map(|(_, object)| object)
    }

    /// How many objects a resource has.
    pub fn count(&self, resource: &str) -> usize {
        self.collections.get(resource).map_or(0, |collection| collection.objects.len())
    }

    /// The resources that have objects in this namespace.
    pub fn resources_in(&self, namespace: &str) -> Vec<ResourceId> {
        self.collections
            .keys()
            .filter(|resource| self.list(resource, Some(namespace)).next().is_some())
            .cloned()
            .collect()
    }

    /// The objects as they were at `version`, after the key `after` (exclusive).
    pub fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: Option<&str>,
        version: u64,
    ) -> Result<Vec<Arc<Object>>, Forgotten> {
        if version < self.floor(resource) {
            return Err(Forgotten { oldest: self.floor(resource) });
        }
        let Some(collection) = self.collections.get(resource) else { return Ok(Vec::new()) };
        // What changed since, newest first, so that the oldest state before wins.
        let mut then: BTreeMap<Key, Option<Arc<Object>>> = BTreeMap::new();
        for change in collection.history.iter().rev().take_while(|change| change.version > version) {
            then.insert(change.key.clone(), change.before.clone());
        }
        let (from, to) = bounds(namespace, after);
        let range = (as_ref(&from), as_ref(&to));
        let now = collection.objects.range::<str, _>(range).filter(|(key, _)| !then.contains_key(*key));
        let past = then.range::<str, _>(range).filter_map(|(key, object)| Some((key, object.as_ref()?)));
        let mut merged: Vec<_> = now.chain(past).collect();
        merged.sort_by(|a, b| a.0.cmp(b.0));
        Ok(merged.into_iter().map(|(_, object)| object.clone()).collect())
    }

    /// The changes of a resource after `version`, up to and with `through`.
    pub fn since<'a>(
        &'a self,
        resource: &str,
        version: u64,
        through: u64,
    ) -> Result<impl Iterator<Item = &'a Arc<Change>> + use<'a>, Forgotten> {
        if version < self.floor(resource) {
            return Err(Forgotten { oldest: self.floor(resource) });
        }
        let history = self.collections.get(resource).map(|collection| {
            let start = collection.history.partition_point(|change| change.version <= version);
            collection.history.range(start..)
        });
        Ok(history.into_iter().flatten().take_while(move |change| change.version <= through))
    }

    /// Stores a state of an object, new or changed, at the next version.
    pub fn put(&mut self, resource: &ResourceId, value: Value, revision: u64) -> Arc<Object> {
        self.version += 1;
        let object = Arc::new(Object::new(value, self.version, revision));
        let key = object.key();
        let floor = self.floor;
        let collection =
            self.collections.entry(resource.clone()).or_insert_with(|| Collection { floor, ..Collection::default() });
        let before = collection.objects.insert(key.clone(), object.clone());
        self.index(resource, &key, before.as_ref(), Some(&object));
        self.record(Change {
            version: self.version,
            resource: resource.clone(),
            key,
            before,
            object: object.clone(),
            deleted: false,
        });
        object
    }

    /// Takes an object away at the next version; returns its last state, at that version.
    pub fn remove(&mut self, resource: &ResourceId, key: &Key) -> Option<Arc<Object>> {
        let before = self.collections.get_mut(resource)?.objects.remove(key)?;
        self.version += 1;
        let last = Arc::new(Object::new(before.value(), self.version, before.revision));
        self.index(resource, key, Some(&before), None);
        self.record(Change {
            version: self.version,
            resource: resource.clone(),
            key: key.clone(),
            before: Some(before),
            object: last.clone(),
            deleted: true,
        });
        Some(last)
    }

    /// Forgets the history of every resource up to now, as a compaction does.
    pub fn compact(&mut self) {
        self.forget();
    }

    /// The changes since this was last called.
    pub fn take_fresh(&mut self) -> Vec<Arc<Change>> {
        std::mem::take(&mut self.fresh)
    }

    /// Every object, for a snapshot.
    pub fn all(&self) -> impl Iterator<Item = (&ResourceId, &Arc<Object>)> {
        self.collections
            .iter()
            .flat_map(|(resource, collection)| collection.objects.values().map(move |object| (resource, object)))
    }

    fn record(&mut self, change: Change) {
        let change = Arc::new(change);
        let collection = self.collections.entry(change.resource.clone()).or_default();
        collection.history.push_back(change.clone());
        while collection.history.len() > self.history {
            if let Some(old) = collection.history.pop_front() {
                collection.floor = old.version;
            }
        }
        self.fresh.push(change);
    }

    fn index(&mut self, resource: &ResourceId, key: &Key, before: Option<&Arc<Object>>, after: Option<&Arc<Object>>) {
        if let Some(before) = before {
            if after.is_none_or(|after| after.uid != before.uid) {
                self.uids.remove(&before.uid);
            }
            for owner in &before.owners {
                if let Some(set) = self.dependents.get_mut(&owner.uid) {
                    set.remove(&(resource.clone(), key.clone()));
                    if set.is_empty() {
                        self.dependents.remove(&owner.uid);
                    }
                }
            }
        }
        if let Some(after) = after {
            self.uids.insert(after.uid.clone(), (resource.clone(), key.clone()));
            for owner in &after.owners {
                self.dependents.entry(owner.uid.clone()).or_default().insert((resource.clone(), key.clone()));
            }
        }
    }
}

fn bounds(namespace: Option<&str>, after: Option<&str>) -> (Bound<String>, Bound<String>) {
    let from = match (after, namespace) {
        (Some(after), _) => Bound::Excluded(after.to_string()),
        (None, Some(namespace)) => Bound::Included(format!("{namespace}/")),
        (None, None) => Bound::Unbounded,
    };
    // '0' is the character after '/'.
    let to = namespace.map_or(Bound::Unbounded, |namespace| Bound::Excluded(format!("{namespace}0")));
    (from, to)
}

fn as_ref(bound: &Bound<String>) -> Bound<&str> {
    bound.as_ref().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, name: &str, phase: &str) -> Value {
        json!({"kind": "Pod", "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}")}, "phase": phase})
    }

    fn names(objects: Vec<Arc<Object>>) -> Vec<String> {
        objects.iter().map(|o| format!("{}:{}", o.key(), o.value()["phase"].as_str().unwrap_or_default())).collect()
    }

    #[test]
    fn the_past_can_be_read_until_it_is_forgotten() {
        let mut store = Store::new(3);
        let pods: ResourceId = "pods".into();
        store.put(&pods, pod("a", "1", "x"), 0);
        store.put(&pods, pod("a-b", "1", "x"), 0);
        let then = store.version();
        store.put(&pods, pod("a", "2", "x"), 0);
        store.put(&pods, pod("a", "1", "y"), 0);
        store.remove(&pods, &key(Some("a"), "1"));
        let past = store.list_at("pods", None, None, then).expect("kept");
        assert_eq!(names(past), ["a-b/1:x", "a/1:x"]);
        assert_eq!(names(store.list_at("pods", Some("a"), None, then).expect("kept")), ["a/1:x"]);
        assert_eq!(names(store.list("pods", None).cloned().collect()), ["a-b/1:x", "a/2:x"]);
        let kinds: Vec<bool> = store.since("pods", then, u64::MAX).expect("kept").map(|c| c.deleted).collect();
        assert_eq!(kinds, [false, false, true]);
        store.put(&pods, pod("a", "3", "x"), 0);
        assert_eq!(store.list_at("pods", None, None, then).expect_err("forgotten"), Forgotten { oldest: then + 1 });
        assert!(store.since("pods", then, u64::MAX).is_err());
    }

    #[test]
    fn owners_are_indexed() {
        let mut store = Store::new(10);
        let pods: ResourceId = "pods".into();
        let mut owned = pod("a", "1", "x");
        owned["metadata"]["ownerReferences"] = json!([{"uid": "o", "kind": "ReplicaSet", "controller": true}]);
        store.put(&pods, owned, 0);
        assert_eq!(store.dependents("o").len(), 1);
        store.put(&pods, pod("a", "1", "x"), 0);
        assert!(store.dependents("o").is_empty());
        assert!(store.by_uid("a-1").is_some());
        store.remove(&pods, &key(Some("a"), "1"));
        assert!(store.by_uid("a-1").is_none());
    }
}
