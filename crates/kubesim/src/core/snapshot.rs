//! What makes a core last: a journal of changes for a log or a database, and whole snapshots,
//! from which a restore is also the restore from a backup.

use bytes::Bytes;

use super::audit::{Audit, Write};
use super::random::Random;
use super::store::{Change, Object, ResourceId};
use super::time::Millis;
use super::{Config, Core};

/// Something to make durable.
#[derive(Clone, Debug)]
pub enum Record {
    /// An object has this state.
    Put {
        /// Its resource.
        resource: ResourceId,
        /// `namespace/name` or `name`.
        key: String,
        /// The resource version.
        version: u64,
        /// The revision of the schema it went through.
        revision: u64,
        /// The JSON, without `kind` and `apiVersion`.
        body: Bytes,
    },
    /// An object is gone.
    Remove {
        /// Its resource.
        resource: ResourceId,
        /// `namespace/name` or `name`.
        key: String,
        /// The resource version of its deletion.
        version: u64,
    },
    /// A write request was answered.
    Write(Box<Write>),
}

impl Record {
    pub(super) fn of(change: &Change) -> Self {
        let resource = change.resource.clone();
        let key = change.key.to_string();
        match change.deleted {
            true => Record::Remove { resource, key, version: change.version },
            false => Record::Put {
                resource,
                key,
                version: change.version,
                revision: change.object.revision,
                body: change.object.body().clone(),
            },
        }
    }
}

/// Everything that a core keeps.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The latest resource version.
    pub version: u64,
    /// Resource, schema revision, object version and bytes of every object.
    pub objects: Vec<(ResourceId, u64, u64, Bytes)>,
    /// The audit record.
    pub audit: Audit,
}

/// Why a snapshot cannot be restored.
#[derive(Debug, thiserror::Error)]
#[error("a stored object of {resource} is not JSON with metadata; the data is damaged, restore it from a copy")]
pub struct Damaged {
    resource: String,
    #[source]
    source: serde_json::Error,
}

impl Core {
    /// All that is kept, as of now.
    pub fn snapshot(&self) -> Snapshot {
        let objects = self
            .store
            .all()
            .map(|(resource, object)| (resource.clone(), object.revision, object.version, object.body().clone()))
            .collect();
        Snapshot { version: self.store.version(), objects, audit: self.audit.clone() }
    }

    /// A core that goes on from a snapshot; an empty one makes a new cluster.
    ///
    /// # Errors
    ///
    /// When an object's bytes are no JSON.
    pub fn restore(config: Config, now: Millis, snapshot: Snapshot) -> Result<Self, Damaged> {
        if snapshot.objects.is_empty() {
            let mut core = Core::new(config, now);
            core.audit.users = snapshot.audit.users;
            return Ok(core);
        }
        let mut core = Core::empty(config, now);
        // A seed that was given again must not give the uids again that are in the snapshot.
        core.random = Random::new(core.random.bits() ^ snapshot.version);
        core.audit.users = snapshot.audit.users;
        let mut objects = Vec::with_capacity(snapshot.objects.len());
        for (resource, revision, version, body) in snapshot.objects {
            let object = Object::restore(body, version, revision)
                .map_err(|source| Damaged { resource: resource.to_string(), source })?;
            objects.push((resource, object));
        }
        core.store.restore(snapshot.version, objects);
        core.resume();
        core.bootstrap();
        core.observe();
        Ok(core)
    }
}
