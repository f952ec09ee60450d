//! `sqlite:PATH`: a topology server in one file, shared by the processes of one host.
//!
//! The file is a SQLite database in WAL mode with `synchronous=FULL`: what was acknowledged is on the
//! disk. Each process has one engine per file: a thread that writes (writes that are waiting
//! together are committed together), and a thread that reads and, while somebody waits for changes,
//! looks every few milliseconds whether another process has committed. Nothing blocks an async
//! thread.
//!
//! SQLite ties a file's locks to the process: closing any other descriptor of the file drops them
//! (sqlite.org, "How To Corrupt An SQLite Database File"). Hence this crate never opens the file but
//! through SQLite, and never twice in a process but through the one engine.

mod engine;
mod file;
mod reader;
mod table;
mod writer;

use crate::contract::{Changes, Cursor, Entry, Finding, Severity, Topo};
use crate::error::{Category, TopoError};
use crate::front::{Backend, Front};
use crate::place;
use crate::usage::{Meter, Operation};
use async_trait::async_trait;
use bytes::Bytes;
use engine::Engine;
use hansa_ledger::{Swap, Version, Versioned};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) const NAME: &str = "sqlite";

/// A handle to the store in the file at `path`, which is made if it does not exist.
pub(crate) async fn open(path: PathBuf, changes_kept: Option<usize>) -> Result<Arc<dyn Topo>, TopoError> {
    let opened = tokio::task::spawn_blocking(move || Engine::open(&path, changes_kept)).await;
    let engine = opened.unwrap_or_else(|panic| {
        let message = "opening the file ended in a panic";
        Err(TopoError::new(Category::Internal, NAME, message).caused_by(panic))
    })?;
    let meter = Arc::new(Meter::default());
    let sqlite = Sqlite { engine, meter: meter.clone() };
    Ok(Arc::new(Front::new(sqlite, meter)))
}

#[derive(Debug)]
struct Sqlite {
    engine: Arc<Engine>,
    meter: Arc<Meter>,
}

#[async_trait]
impl Backend for Sqlite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn values_per_read(&self) -> usize {
        usize::MAX
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        self.meter.request(Operation::Get);
        let wanted = key.to_owned();
        let read = self.engine.read(move |connection| table::get(connection, &wanted));
        read.await.map_err(|error| error.at_key(key))
    }

    async fn swap(&self, key: &str, expected: Option<&Version>, value: Bytes) -> Result<Swap, TopoError> {
        self.meter.request(Operation::of_swap(expected));
        self.engine.swap(key, expected, value).await.map_err(|error| error.at_key(key))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        self.meter.request(Operation::List);
        let wanted = prefix.to_owned();
        let read = self.engine.read(move |connection| table::list(connection, &wanted));
        read.await.map_err(|error| error.at_key(prefix))
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        self.meter.request(Operation::ReadMany);
        let wanted = keys.to_vec();
        self.engine
            .read(move |connection| {
                // One transaction, so that all are of one instant.
                let snapshot = connection.unchecked_transaction()?;
                wanted.iter().map(|key| table::get(&snapshot, key)).collect()
            })
            .await
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        self.meter.request(Operation::Changes);
        let store = self.engine.store();
        let after = cursor.map(|cursor| place::read(cursor, store));
        let mut committed = self.engine.committed();
        // Waiting is announced before the first read, so that no commit falls between the two.
        let _waiting = cursor.map(|_| self.engine.wait_for_others());
        loop {
            committed.borrow_and_update();
            // No store has had so many changes: only the last one's number is wanted.
            let number = after.flatten().unwrap_or(u64::MAX);
            let read = self.engine.read(move |connection| table::since(connection, number));
            let history = read.await?;
            let now = place::write(store, history.last);
            match after {
                None => return Ok(Changes::Keys { cursor: now, keys: BTreeMap::new() }),
                Some(None) => return Ok(Changes::Reset { cursor: now }),
                Some(Some(_)) => match history.keys {
                    None => return Ok(Changes::Reset { cursor: now }),
                    Some(keys) if keys.is_empty() => {}
                    Some(keys) => return Ok(Changes::Keys { cursor: now, keys }),
                },
            }
            if committed.changed().await.is_err() {
                return Err(engine::ended());
            }
        }
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        self.meter.request(Operation::Check);
        let path = self.engine.path().display().to_string();
        let damage = self.engine.read(table::damage).await?;
        let file = match damage {
            None => Finding { severity: Severity::Good, subject: "file", message: format!("{path} is undamaged") },
            Some(damage) => Finding {
                severity: Severity::Problem,
                subject: "file",
                message: format!("{path} is damaged: {damage}; restore it from a backup"),
            },
        };
        let reach = Finding {
            severity: Severity::Warning,
            subject: "reach",
            message: "a file serves the processes of one host only, and is lost with its disk; for \
                      members on several hosts use etcd"
                .into(),
        };
        Ok(vec![file, reach])
    }
}
