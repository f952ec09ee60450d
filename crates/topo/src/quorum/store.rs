//! One store of the quorum: opened when it is needed, asked again where that is harmless, and
//! timed.

use super::{NAME, keys, lock};
use crate::contract::{Changes, Cursor, Entry, Topo};
use crate::error::{Category, TopoError};
use crate::url::TopoUrl;
use crate::usage::Usage;
use crate::{Options, place};
use bytes::Bytes;
use hansa_ledger::register::{Accepted, Content, Copy, CopyError, Reply, State, StoreId, StoreSet};
use hansa_ledger::{Swap, Version, Versioned};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// The pauses before a request is repeated that certainly did nothing.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(40)];
/// How long a list may take, in however many requests, each of which has a limit of its own.
const LIST: Duration = Duration::from_secs(300);
/// How often what never changes is put again while its fate is unknown.
const ATTEMPTS: usize = 5;

/// A store, and what this process knows of it.
pub(super) struct Store {
    /// Where it is, for people.
    pub(super) location: String,
    opening: Option<(TopoUrl, Options)>,
    topo: OnceCell<Arc<dyn Topo>>,
    id: OnceLock<StoreId>,
    /// Why it could not be used last, and nothing when it could.
    trouble: Mutex<Option<String>>,
    /// How long its answers take, in microseconds, smoothed.
    latency: AtomicU64,
}

/// What a store says of itself, at [`keys::STORE`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    format: u32,
    /// Its name.
    pub(super) store: StoreId,
    /// Where it was when it became part of the quorum, for people.
    pub(super) location: String,
}

const MARKER_FORMAT: u32 = 1;

impl Store {
    pub(super) fn of(location: String, topo: Arc<dyn Topo>) -> Self {
        Store { topo: OnceCell::new_with(Some(topo)), ..Store::new(location, None) }
    }

    pub(super) fn closed(url: TopoUrl, options: Options) -> Self {
        Store::new(url.to_string(), Some((url, options)))
    }

    fn new(location: String, opening: Option<(TopoUrl, Options)>) -> Self {
        Store {
            location,
            opening,
            topo: OnceCell::new(),
            id: OnceLock::new(),
            trouble: Mutex::default(),
            latency: AtomicU64::new(0),
        }
    }

    /// The store's own name, once it was read.
    pub(super) fn id(&self) -> Option<&StoreId> {
        self.id.get()
    }

    /// Why it could not be used last.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    pub(super) fn latency(&self) -> u64 {
        self.latency.load(Ordering::Relaxed)
    }

    /// What was asked of it so far.
    pub(super) fn usage(&self) -> Usage {
        self.topo.get().map(|topo| topo.usage()).unwrap_or_default()
    }

    async fn topo(&self) -> Result<&Arc<dyn Topo>, TopoError> {
        self.topo
            .get_or_try_init(|| async {
                let Some((url, options)) = &self.opening else {
                    return Err(TopoError::new(Category::Internal, NAME, "a store has neither a handle nor a URL"));
                };
                // Blobs stay for ever, and are no news: a list of them would take longer and longer. A new set of
                // stores is met in the copies where its own is not told.
                Box::pin(crate::open::open_to_follow(url.clone(), options, keys::COPIES)).await
            })
            .await
    }

    /// One request, in time; how long it took is remembered.
    pub(super) async fn once<'s, T, F>(&'s self, request: impl FnOnce(&'s dyn Topo) -> F) -> Result<T, TopoError>
    where
        F: Future<Output = Result<T, TopoError>>,
    {
        let began = Instant::now();
        let outcome = self.within(REQUEST, request).await;
        if outcome.is_ok() {
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            let before = self.latency();
            let smoothed = if before == 0 { took } else { before - before / 4 + took / 4 };
            self.latency.store(smoothed.max(1), Ordering::Relaxed);
        }
        outcome
    }

    /// One request within a limit; what it says of the store is remembered.
    async fn within<'s, T, F>(
        &'s self,
        limit: Duration,
        request: impl FnOnce(&'s dyn Topo) -> F,
    ) -> Result<T, TopoError>
    where
        F: Future<Output = Result<T, TopoError>>,
    {
        let asked = async { request(&**self.topo().await?).await };
        let outcome = match tokio::time::timeout(limit, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TopoError::new(Category::Timeout, NAME, format!("no answer within {limit:?}"))),
        };
        match &outcome {
            Ok(_) => drop(lock(&self.trouble).take()),
            Err(error) => {
                tracing::debug!(store = self.location, error = error.chain(), "a store of the quorum did not answer");
                lock(&self.trouble).replace(error.chain());
            }
        }
        outcome
    }

    /// A request that is made again after an error that may pass; an error means that nothing was
    /// written.
    pub(super) async fn asked<'s, T, F>(&'s self, request: impl Fn(&'s dyn Topo) -> F) -> Result<T, TopoError>
    where
        F: Future<Output = Result<T, TopoError>>,
    {
        repeated(|| self.once(&request)).await
    }

    /// All that stands below a prefix.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        repeated(|| self.within(LIST, |topo| topo.list(prefix))).await
    }

    /// Waits for changes, as long as it takes.
    pub(super) async fn follow(&self, cursor: &Cursor) -> Result<Changes, TopoError> {
        let outcome = async { self.topo().await?.changes(Some(cursor)).await }.await;
        if let Err(error) = &outcome {
            lock(&self.trouble).replace(error.chain());
        }
        outcome
    }

    pub(super) async fn read_copy(&self, key: &str) -> Reply {
        let place = keys::copy(key);
        match self.asked(|topo| topo.get(&place)).await {
            Ok(found) => self.copy(key, found),
            Err(_) => Reply::Failed,
        }
    }

    /// What was found at the place of a register's copy.
    pub(super) fn copy(&self, key: &str, found: Option<Versioned>) -> Reply {
        let Some(found) = found else { return Reply::Copy(None) };
        match Copy::decode_for(key, &found.value) {
            Ok(copy) => Reply::Copy(Some((found.version, copy))),
            Err(error) => {
                self.note_damage(key, &error);
                Reply::Failed
            }
        }
    }

    /// Says that what stands at a register's place is no copy of it.
    pub(super) fn note_damage(&self, key: &str, error: &CopyError) {
        tracing::error!(store = self.location, key, %error, "a store of the quorum holds something unreadable");
        lock(&self.trouble).replace(format!("key {key:?}: {error}"));
    }

    pub(super) async fn write_copy(&self, expected: Option<Version>, copy: Copy) -> Reply {
        let (place, value) = (keys::copy(&copy.key), copy.encode());
        let answer = self.asked(|topo| swap(topo, &place, expected.as_ref(), value.clone())).await;
        match answer {
            Ok(Swap::Committed(version)) => Reply::Written(version),
            Ok(Swap::Mismatch { current }) => self.copy(&copy.key, current),
            Ok(Swap::Indeterminate { .. }) => Reply::Unknown,
            // Dropped in the middle, it may have been received.
            Err(error) if error.category() == Category::Timeout => Reply::Unknown,
            Err(_) => Reply::Failed,
        }
    }

    pub(super) async fn read_set(&self) -> Reply {
        match self.read_copy(keys::SET).await {
            Reply::Copy(found) => Reply::Set(found.and_then(|(_, copy)| accepted_set(&copy)).map(|set| set.epoch)),
            _ => Reply::SetFailed,
        }
    }

    pub(super) async fn put_blob(&self, place: &str, value: &Bytes) -> Reply {
        for _ in 0..ATTEMPTS {
            match self.asked(|topo| topo.create(place, value.clone())).await {
                Ok(Swap::Committed(_)) => return Reply::BlobPut,
                Ok(Swap::Mismatch { current: Some(current) }) if current.value == *value => return Reply::BlobPut,
                Ok(Swap::Mismatch { .. }) => {
                    lock(&self.trouble).replace(format!("the blob {place} is damaged: remove it from the store"));
                    return Reply::BlobFailed;
                }
                Ok(Swap::Indeterminate { .. }) => {}
                Err(_) => return Reply::BlobFailed,
            }
        }
        Reply::BlobFailed
    }

    /// The store's marker, if it has one.
    pub(super) async fn marker(&self) -> Result<Option<Marker>, TopoError> {
        let found = self.asked(|topo| topo.get(keys::STORE)).await?;
        found.map(|found| self.read_marker(&found.value)).transpose()
    }

    fn read_marker(&self, value: &[u8]) -> Result<Marker, TopoError> {
        let wrong = |why: String| {
            let message = format!("{}: {why}; is this the store of a quorum?", self.location);
            TopoError::new(Category::Corrupt, NAME, message).at_key(keys::STORE)
        };
        let marker: Marker = serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
        if marker.format != MARKER_FORMAT {
            return Err(wrong(format!("format {} is of a newer release", marker.format)));
        }
        if *self.id.get_or_init(|| marker.store.clone()) != marker.store {
            let message = format!("{}: another store stands where {} stood", self.location, self.name());
            return Err(TopoError::new(Category::Replaced, NAME, message));
        }
        Ok(marker)
    }

    fn name(&self) -> &str {
        self.id().map_or("?", StoreId::as_str)
    }

    /// Makes the store part of a quorum, if it is not yet.
    pub(super) async fn marked(&self) -> Result<Marker, TopoError> {
        let name = place::new_store_name().map_err(|error| {
            TopoError::new(Category::Internal, NAME, "no random name for a store").caused_by(error.to_string())
        })?;
        let marker = Marker { format: MARKER_FORMAT, store: StoreId::new(name), location: self.location.clone() };
        let value = Bytes::from(serde_json::to_vec(&marker).unwrap_or_default());
        let mut pause = PAUSES[0];
        for _ in 0..ATTEMPTS {
            match self.asked(|topo| topo.create(keys::STORE, value.clone())).await? {
                Swap::Committed(_) => return self.read_marker(&value),
                Swap::Mismatch { current: Some(current) } => return self.read_marker(&current.value),
                Swap::Mismatch { current: None } | Swap::Indeterminate { .. } => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
        }
        let message = format!("{}: whether its name could be written is not known; look at it", self.location);
        Err(TopoError::new(Category::Unavailable, NAME, message).at_key(keys::STORE))
    }
}

/// Asks again after an error that may pass.
async fn repeated<T, F>(attempt: impl Fn() -> F) -> Result<T, TopoError>
where
    F: Future<Output = Result<T, TopoError>>,
{
    for pause in PAUSES {
        match attempt().await {
            Err(error) if error.is_retryable() && error.category() != Category::Timeout => {
                tokio::time::sleep(error.wait().unwrap_or(pause).min(Duration::from_secs(1))).await;
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

pub(super) async fn swap(
    topo: &dyn Topo,
    key: &str,
    expected: Option<&Version>,
    value: Bytes,
) -> Result<Swap, TopoError> {
    match expected {
        None => topo.create(key, value).await,
        Some(version) => topo.compare_and_swap(key, version, value).await,
    }
}

/// The set of stores that a copy of its register has accepted.
pub(super) fn accepted_set(copy: &Copy) -> Option<StoreSet> {
    match copy.accepted.as_ref()? {
        Accepted { state: State { content: Content::Inline(value), .. }, .. } => StoreSet::decode(value).ok(),
        _ => None,
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location)
    }
}
