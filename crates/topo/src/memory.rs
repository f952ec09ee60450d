//! `memory:NAME`: a topology server inside this process, shared by name, gone with the process.

use crate::contract::{Changes, Cursor, Entry, Finding, Severity, Topo};
use crate::error::{Category, TopoError};
use crate::front::{Backend, Front};
use crate::place;
use crate::usage::{Meter, Operation};
use async_trait::async_trait;
use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

pub(crate) const NAME: &str = "memory";

/// A handle to a server of its own, which ends with its last handle.
pub fn unshared() -> Result<Arc<dyn Topo>, TopoError> {
    Ok(handle(Arc::new(Server::new()?)))
}

/// A handle to the server called `name` in this process; it lives as long as the process.
pub(crate) fn shared(name: &str, changes_kept: Option<usize>) -> Result<Arc<dyn Topo>, TopoError> {
    static SERVERS: LazyLock<Mutex<BTreeMap<String, Arc<Server>>>> = LazyLock::new(Mutex::default);
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let server = match servers.get(name) {
        Some(server) => server.clone(),
        None => {
            let server = Arc::new(Server::new()?);
            servers.insert(name.to_owned(), server.clone());
            server
        }
    };
    if let Some(kept) = changes_kept {
        server.state().changes_kept = kept;
    }
    Ok(handle(server))
}

fn handle(server: Arc<Server>) -> Arc<dyn Topo> {
    let meter = Arc::new(Meter::default());
    let memory = Memory { server, meter: meter.clone() };
    Arc::new(Front::new(memory, meter))
}

#[derive(Debug)]
struct Memory {
    server: Arc<Server>,
    meter: Arc<Meter>,
}

#[derive(Debug)]
struct Server {
    /// Tells this server's cursors from those of others.
    name: String,
    state: Mutex<State>,
    /// The number of the last change, for those who wait.
    moved: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    entries: BTreeMap<String, (u64, Bytes)>,
    /// The number of the last change; versions are such numbers, so none is used twice.
    sequence: u64,
    /// The keys of the last changes; the last one has the number `sequence`.
    changed: VecDeque<Box<str>>,
    changes_kept: usize,
}

impl Server {
    fn new() -> Result<Self, TopoError> {
        let name = place::new_store_name().map_err(|error| {
            TopoError::new(Category::Internal, NAME, "no random name for a new store").caused_by(error.to_string())
        })?;
        Ok(Server {
            name,
            state: Mutex::new(State {
                entries: BTreeMap::new(),
                sequence: 0,
                changed: VecDeque::new(),
                changes_kept: crate::CHANGES_KEPT,
            }),
            moved: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made by infallible steps, so that a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn versioned(stored: &(u64, Bytes)) -> Versioned {
    Versioned { version: Version::new(stored.0.to_string()), value: stored.1.clone() }
}

impl State {
    fn get(&self, key: &str) -> Option<Versioned> {
        self.entries.get(key).map(versioned)
    }

    fn swap(&mut self, key: &str, expected: Option<&Version>, value: Bytes) -> Swap {
        let current = self.get(key);
        if current.as_ref().map(|found| &found.version) != expected {
            return Swap::Mismatch { current };
        }
        self.sequence += 1;
        self.entries.insert(key.to_owned(), (self.sequence, value));
        self.changed.push_back(key.into());
        while self.changed.len() > self.changes_kept {
            self.changed.pop_front();
        }
        Swap::Committed(Version::new(self.sequence.to_string()))
    }

    /// The keys changed after change number `after`; `None` when that cannot be told any more.
    fn since(&self, after: u64) -> Option<BTreeMap<String, Version>> {
        let count = usize::try_from(self.sequence.checked_sub(after)?).ok()?;
        let first = self.changed.len().checked_sub(count)?;
        let numbered = self.changed.range(first..).zip(after + 1..);
        Some(numbered.map(|(key, number)| (key.to_string(), Version::new(number.to_string()))).collect())
    }
}

#[async_trait]
impl Backend for Memory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn values_per_read(&self) -> usize {
        usize::MAX
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        self.meter.request(Operation::Get);
        Ok(self.server.state().get(key))
    }

    async fn swap(&self, key: &str, expected: Option<&Version>, value: Bytes) -> Result<Swap, TopoError> {
        self.meter.request(Operation::of_swap(expected));
        let mut state = self.server.state();
        let outcome = state.swap(key, expected, value);
        if let Swap::Committed(_) = outcome {
            // Told under the lock: the numbers reach those who wait in order.
            self.server.moved.send_replace(state.sequence);
        }
        Ok(outcome)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        self.meter.request(Operation::List);
        let state = self.server.state();
        let below = state
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        Ok(below.map(|(key, stored)| Entry { key: key.clone(), versioned: versioned(stored) }).collect())
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        self.meter.request(Operation::ReadMany);
        let state = self.server.state();
        Ok(keys.iter().map(|key| state.get(key)).collect())
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        self.meter.request(Operation::Changes);
        let mut moved = self.server.moved.subscribe();
        let after = cursor.map(|cursor| place::read(cursor, &self.server.name));
        loop {
            moved.borrow_and_update();
            {
                let state = self.server.state();
                let now = place::write(&self.server.name, state.sequence);
                match after {
                    None => return Ok(Changes::Keys { cursor: now, keys: BTreeMap::new() }),
                    Some(after) => match after.and_then(|after| state.since(after)) {
                        None => return Ok(Changes::Reset { cursor: now }),
                        Some(keys) if keys.is_empty() => {}
                        Some(keys) => return Ok(Changes::Keys { cursor: now, keys }),
                    },
                }
            }
            if moved.changed().await.is_err() {
                let message = "the server inside this process has ended";
                return Err(TopoError::new(Category::Internal, NAME, message));
            }
        }
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        self.meter.request(Operation::Check);
        Ok(vec![Finding {
            severity: Severity::Problem,
            subject: "durability",
            message: "everything is gone when this process ends; use it for trials only".into(),
        }])
    }
}
