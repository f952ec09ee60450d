//! `quorum:STORE,STORE,STORE`: a topology server made of 2F+1 others, best in different clouds.
//! There is no server to run, and F of the stores may be lost.
//!
//! Each key is a register on all stores ([`hansa_ledger::register`], which is also what the model
//! checker explores); this module carries out what the register's operations ask for.
//!
//! **What stands in a store.**
//!
//! | Key in the store | Holds |
//! |---|---|
//! | `/q/store` | the store's own name and place, written once |
//! | `/q/set` | its copy of the register that holds the set of stores |
//! | `/r` + key | its copy of the register of that key ([`keys`]: long keys are shortened) |
//! | `/b/` + hash | a blob |
//!
//! **Small values stand in the copies, large ones are blobs.** Up to [`INLINE_BYTES`] a value is
//! written inline: a write is one round trip instead of two, and what is written often (heartbeats,
//! cells) leaves nothing behind. Above, a blob is put on a quorum first: a promise would otherwise
//! write the value again, and a read move it from each store. No store has a delete, so each
//! version of a large value stays; a blob is named by its hash, so equal ones are one.
//!
//! **Lists.** Each entry is as fresh as a get that began with the list, and no key is left out that
//! was written before; a list is no snapshot. It is the union of the lists of a quorum, key by key
//! the value that a quorum agrees on; where they do not agree, the register is read by itself.
//!
//! **Changes** are those of the stores' own feeds, merged. A feed only says where to look: what is
//! told is read from the register, in a way that counts the copy of the store whose feed it was, so
//! that a write which that store was the first to accept is told or is no more. As long as a quorum
//! of the feeds in a cursor goes on, nothing is left out; else the answer is a reset. A register that
//! changes all the time, as a heartbeat does, is told without a read ([`told`]): in a league of fifty
//! an operator would else ask each store ten times a second for what it seldom wants to know.
//!
//! **Stores that forget** (restored from a backup, rolled back) are noticed by what other stores
//! know of them, do not count from then on, and are named by [`Topo::check`]. [`replace()`] puts
//! another store in their place while the league goes on.

mod blobs;
mod check;
mod drive;
mod feed;
mod keys;
mod lists;
mod replace;
mod set;
mod store;
mod told;

pub use replace::{Progress, replace};

use crate::contract::{Changes, Cursor, Entry, Finding, Topo};
use crate::error::{Category, TopoError};
use crate::front::{Backend, Front};
use crate::usage::Usage;
use async_trait::async_trait;
use bytes::Bytes;
use hansa_ledger::register::{Ballots, Change, Content, Lease, Outcome, ProposerId, State};
use hansa_ledger::{Swap, Version, Versioned};
use hansa_model::Hash;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Store;
use tokio::task::JoinSet;

pub(crate) const NAME: &str = "quorum";

/// Larger values are blobs. At 16 KiB a copy is still far below what moves in one round trip's time
/// between clouds, and a heartbeat, a cell or a small page is below it; a template above it is a
/// blob of the ledger already.
pub const INLINE_BYTES: usize = 16 * 1024;

/// How many leases are kept; the oldest in key order go first. A lost lease costs its register a
/// round trip.
const LEASES_KEPT: usize = 4096;

/// A topology server made of `stores`, each with its place for people to read. `name` is that of
/// the member or process, for people who look into a store.
///
/// # Errors
/// When there is no odd number of stores above one, or no randomness.
pub fn of(stores: Vec<(String, Arc<dyn Topo>)>, name: &str) -> Result<Arc<dyn Topo>, TopoError> {
    let stores = stores.into_iter().map(|(location, topo)| Store::of(location, topo)).collect();
    Ok(handle(Quorum::new(stores, name)?))
}

/// Opens the stores when they are needed.
pub(crate) fn open(urls: Vec<crate::TopoUrl>, options: &crate::Options) -> Result<Arc<dyn Topo>, TopoError> {
    Ok(handle(closed(urls, options)?))
}

fn closed(urls: Vec<crate::TopoUrl>, options: &crate::Options) -> Result<Arc<Quorum>, TopoError> {
    let stores = urls.into_iter().map(|url| Store::closed(url, options.clone())).collect();
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    Quorum::new(stores, if host.is_empty() { "hansa" } else { &host })
}

fn handle(quorum: Arc<Quorum>) -> Arc<dyn Topo> {
    Arc::new(Front::new(Handle(quorum), Arc::default()))
}

/// What all operations of one handle share.
struct Quorum {
    stores: Vec<Arc<Store>>,
    ballots: Mutex<Ballots>,
    view: set::Views,
    leases: Mutex<BTreeMap<Arc<str>, Lease>>,
    blobs: blobs::Cache,
    told: Mutex<told::Told>,
    /// The number of the last write; with the incarnation it names a write.
    writes: AtomicU64,
    /// Operations under way: they go on when nobody waits for them, so that slow stores catch up.
    tasks: Mutex<JoinSet<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept here is replaced as a whole, so that a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random() -> Result<u64, TopoError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        TopoError::new(Category::Internal, NAME, "the operating system gives no randomness")
            .caused_by(error.to_string())
    })?;
    Ok(u64::from_ne_bytes(bytes))
}

impl Quorum {
    fn new(stores: Vec<Store>, name: &str) -> Result<Arc<Self>, TopoError> {
        if stores.len() < 3 || stores.len().is_multiple_of(2) {
            let message =
                format!("{} stores make no quorum; use 3, 5 or 7, so that 1, 2 or 3 may be lost", stores.len());
            return Err(TopoError::new(Category::Configuration, NAME, message));
        }
        let proposer = ProposerId { incarnation: random()?, name: name.into() };
        Ok(Arc::new(Quorum::with(stores.into_iter().map(Arc::new).collect(), Ballots::new(proposer))))
    }

    fn with(stores: Vec<Arc<Store>>, ballots: Ballots) -> Self {
        Quorum {
            stores,
            ballots: Mutex::new(ballots),
            view: set::Views::default(),
            leases: Mutex::default(),
            blobs: blobs::Cache::default(),
            told: Mutex::default(),
            writes: AtomicU64::new(0),
            tasks: Mutex::new(JoinSet::new()),
        }
    }

    /// The same quorum, not used yet, with one more store at hand.
    fn joined_by(self: Arc<Self>, store: Store) -> Arc<Self> {
        let stores = self.stores.iter().cloned().chain([Arc::new(store)]).collect();
        Arc::new(Quorum::with(stores, lock(&self.ballots).clone()))
    }

    /// The value of a register, for callers.
    async fn versioned(&self, key: &str, state: Option<State>) -> Result<Option<Versioned>, TopoError> {
        let Some(state) = state else { return Ok(None) };
        let value = self.value(key, &state.content).await?;
        Ok(Some(Versioned { version: state.version, value }))
    }

    async fn read(self: &Arc<Self>, key: &str) -> Result<Option<State>, TopoError> {
        let began = lock(&self.told).begin();
        if lock(&self.told).owes(key, began) {
            let (began, mut states) = self.states_of(&[key.to_owned()]).await?;
            return self.accounting(key, states.pop().flatten(), began).await;
        }
        match self.run(key, Change::Read, None).await? {
            Outcome::Value(state) => Ok(state),
            _ => Err(self.unavailable(key)),
        }
    }

    /// An id that no other write has, and the place of the value.
    fn new_write(&self, expected: Option<Version>, value: &Bytes) -> Change {
        let number = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let incarnation = lock(&self.ballots).proposer().incarnation;
        let content = if value.len() <= INLINE_BYTES {
            Content::Inline(value.clone())
        } else {
            Content::Blob { hash: Hash::of_bytes(value), bytes: value.len() as u64 }
        };
        Change::Write { expected, content, id: format!("{incarnation:016x}.{number}").into() }
    }

    /// The stores that could not be used last, each with the reason.
    fn away(&self) -> String {
        let away = self.stores.iter().filter_map(|store| Some(format!("{}: {}", store.location, store.trouble()?)));
        away.collect::<Vec<_>>().join("; ")
    }

    fn unavailable(&self, key: &str) -> TopoError {
        let away = self.away();
        let quorum = self.stores.len() / 2 + 1;
        let message = if away.is_empty() {
            "the stores answer too slowly, or others write there all the time: no quorum of them agreed in time"
                .to_owned()
        } else {
            format!("fewer than {quorum} of the {} stores answered ({away})", self.stores.len())
        };
        TopoError::new(Category::Unavailable, NAME, message).at_key(key)
    }
}

impl fmt::Debug for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quorum").field("stores", &self.stores).finish_non_exhaustive()
    }
}

/// The backend: a handle that shares its quorum with the operations under way.
#[derive(Debug)]
struct Handle(Arc<Quorum>);

#[async_trait]
impl Backend for Handle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn values_per_read(&self) -> usize {
        1
    }

    /// The requests are those that went to the stores, by what was asked of them.
    fn usage(&self, mut own: Usage) -> Usage {
        for (operation, of_store) in self.0.stores.iter().flat_map(|store| store.usage().operations) {
            own.operations.entry(operation).or_default().requests += of_store.requests;
        }
        own
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        let state = self.0.read(key).await?;
        self.0.versioned(key, state).await
    }

    async fn swap(&self, key: &str, expected: Option<&Version>, value: Bytes) -> Result<Swap, TopoError> {
        let change = self.0.new_write(expected.cloned(), &value);
        let began = lock(&self.0.told).begin();
        match self.0.run(key, change, Some(value)).await? {
            Outcome::Committed(state) => Ok(Swap::Committed(state.version)),
            Outcome::Mismatch(current) => {
                let current = self.0.accounting(key, current, began).await?;
                let current = self.0.versioned(key, current).await?;
                Ok(Swap::Mismatch { current })
            }
            Outcome::Indeterminate => {
                let reason = format!("too few stores said whether they accepted it: {}", self.0.unavailable(key));
                Ok(Swap::Indeterminate { reason })
            }
            Outcome::Unavailable | Outcome::Value(_) => Err(self.0.unavailable(key)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        self.0.list(prefix).await
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        self.0.read_many(keys).await
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        self.0.changes(cursor).await
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        self.0.check().await
    }
}
