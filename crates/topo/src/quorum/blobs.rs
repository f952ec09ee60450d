//! Large values: read from the nearest store that has them, and kept for a while, for they never
//! change.

use super::{NAME, Quorum, keys, lock};
use crate::error::{Category, TopoError};
use bytes::Bytes;
use hansa_ledger::register::Content;
use hansa_model::Hash;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// How many bytes of blobs are kept.
const BYTES_KEPT: usize = 64 << 20;

/// The blobs that were read or written last.
#[derive(Default)]
pub(super) struct Cache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    blobs: BTreeMap<Hash, Bytes>,
    order: VecDeque<Hash>,
    bytes: usize,
}

impl Cache {
    fn get(&self, hash: &Hash) -> Option<Bytes> {
        lock(&self.0).blobs.get(hash).cloned()
    }

    fn keep(&self, hash: Hash, value: &Bytes) {
        let mut kept = lock(&self.0);
        if kept.blobs.insert(hash, value.clone()).is_none() {
            kept.order.push_back(hash);
            kept.bytes += value.len();
        }
        while kept.bytes > BYTES_KEPT {
            let Some(oldest) = kept.order.pop_front() else { return };
            if let Some(gone) = kept.blobs.remove(&oldest) {
                kept.bytes -= gone.len();
            }
        }
    }
}

impl Quorum {
    /// The bytes of a value.
    pub(super) async fn value(&self, key: &str, content: &Content) -> Result<Bytes, TopoError> {
        match content {
            Content::Inline(value) => Ok(value.clone()),
            Content::Blob { hash, .. } => self.blob(key, hash).await,
        }
    }

    /// The bytes of a blob, from the store that answers soonest and has them; one that did not answer last is asked last.
    pub(super) async fn blob(&self, key: &str, hash: &Hash) -> Result<Bytes, TopoError> {
        if let Some(value) = self.blobs.get(hash) {
            return Ok(value);
        }
        let mut stores = self.stores.clone();
        stores.sort_by_key(|store| (store.trouble().is_some(), store.latency()));
        let mut all_answered = true;
        for store in stores {
            match store.asked(|topo| async move { topo.get(&keys::blob(hash)).await }).await {
                Ok(Some(found)) if Hash::of_bytes(&found.value) == *hash => {
                    self.blobs.keep(*hash, &found.value);
                    return Ok(found.value);
                }
                Ok(Some(_)) => tracing::error!(store = store.location, %hash, "a blob is damaged"),
                Ok(None) => {}
                Err(_) => all_answered = false,
            }
        }
        if !all_answered {
            let message = format!("the value is in the blob {hash}, and no store that answers has it");
            return Err(TopoError::new(Category::Unavailable, NAME, message).at_key(key));
        }
        let message = format!("the value is in the blob {hash}, which no store has: more stores were lost than may be");
        Err(TopoError::new(Category::Corrupt, NAME, message).at_key(key))
    }
}
