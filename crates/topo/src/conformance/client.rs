//! A client that the cases can rely on, also where answers get lost.

use super::{Failure, ensure};
use crate::contract::{Changes, Cursor, Entry, Topo};
use crate::error::TopoError;
use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A handle that tries again. Only errors come out that trying again does not mend.
#[derive(Clone)]
pub(super) struct Client(Arc<dyn Topo>);

/// How many times a retryable error or an unknown fate is met before it counts as permanent.
const ATTEMPTS: u32 = 60;

/// Waits a little, longer each time, so that a server that asks to be left alone is.
async fn pause(attempt: u32, asked: Option<Duration>) {
    let own = Duration::from_millis(u64::from(attempt.min(20)) * 5);
    tokio::time::sleep(asked.unwrap_or(own).min(Duration::from_secs(1))).await;
}

macro_rules! persistently {
    ($call:expr) => {{
        let mut attempt = 0;
        loop {
            match $call.await {
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    pause(attempt, error.wait()).await;
                }
                outcome => break outcome,
            }
            attempt += 1;
        }
    }};
}

impl Client {
    pub(super) fn new(topo: Arc<dyn Topo>) -> Self {
        Client(topo)
    }

    /// The handle underneath.
    pub(super) fn topo(&self) -> &dyn Topo {
        &*self.0
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        persistently!(self.0.get(key))
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        persistently!(self.0.list(prefix))
    }

    pub(super) async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        persistently!(self.0.read_many(keys))
    }

    pub(super) async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        persistently!(self.0.changes(cursor))
    }

    /// A create (`expected` is `None`) or compare-and-swap whose fate is known: an unknown one is
    /// tried again until its expected version is consumed, and has committed if then its value
    /// stands there. Right only where no two clients write equal values to a key.
    pub(super) async fn swap(
        &self,
        key: &str,
        expected: Option<&Version>,
        value: impl Into<Bytes>,
    ) -> Result<Swap, TopoError> {
        let value = value.into();
        let mut unknown = false;
        let mut attempt = 0;
        loop {
            let outcome = match expected {
                None => self.0.create(key, value.clone()).await,
                Some(version) => self.0.compare_and_swap(key, version, value.clone()).await,
            };
            match outcome {
                Ok(Swap::Indeterminate { .. }) if attempt < ATTEMPTS => {
                    unknown = true;
                    pause(attempt, None).await;
                }
                Ok(Swap::Mismatch { current: Some(current) }) if unknown && current.value == value => {
                    return Ok(Swap::Committed(current.version));
                }
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    pause(attempt, error.wait()).await;
                }
                outcome => return outcome,
            }
            attempt += 1;
        }
    }

    /// A create that must succeed.
    pub(super) async fn created(&self, key: &str, value: impl Into<Bytes>) -> Result<Version, Failure> {
        committed(key, self.swap(key, None, value).await?)
    }

    /// A compare-and-swap that must succeed.
    pub(super) async fn updated(
        &self,
        key: &str,
        expected: &Version,
        value: impl Into<Bytes>,
    ) -> Result<Version, Failure> {
        committed(key, self.swap(key, Some(expected), value).await?)
    }

    /// A write that must find another version; gives what stands there.
    pub(super) async fn mismatched(
        &self,
        key: &str,
        expected: Option<&Version>,
        value: &'static str,
    ) -> Result<Option<Versioned>, Failure> {
        match self.swap(key, expected, value).await? {
            Swap::Mismatch { current } => Ok(current),
            other => Err(format!("writing {key} ended as {other:?} instead of a mismatch").into()),
        }
    }

    /// What stands at a key that must exist.
    pub(super) async fn there(&self, key: &str) -> Result<Versioned, Failure> {
        match self.get(key).await? {
            Some(found) => Ok(found),
            None => Err(format!("{key} is missing").into()),
        }
    }

    /// A cursor for now.
    pub(super) async fn now(&self) -> Result<Cursor, Failure> {
        match self.changes(None).await? {
            Changes::Keys { cursor, keys } => {
                ensure!(keys.is_empty(), "asked from now, it told {keys:?}");
                Ok(cursor)
            }
            Changes::Reset { .. } => Err("asked from now, it reset".to_owned().into()),
        }
    }

    /// Follows the changes from `cursor` until `enough` of what was told so far; after a reset, all
    /// that exists counts as told. Gives where to go on from.
    pub(super) async fn follow(
        &self,
        mut cursor: Cursor,
        told: &mut BTreeMap<String, Version>,
        enough: impl Fn(&BTreeMap<String, Version>) -> bool,
    ) -> Result<Cursor, Failure> {
        while !enough(told) {
            match self.changes(Some(&cursor)).await? {
                Changes::Keys { cursor: next, keys } => {
                    ensure!(!keys.is_empty(), "a wait ended without a change");
                    told.extend(keys);
                    cursor = next;
                }
                Changes::Reset { cursor: next } => {
                    let all = self.list("").await?;
                    told.extend(all.into_iter().map(|entry| (entry.key, entry.versioned.version)));
                    cursor = next;
                }
            }
        }
        Ok(cursor)
    }
}

fn committed(key: &str, outcome: Swap) -> Result<Version, Failure> {
    match outcome {
        Swap::Committed(version) => Ok(version),
        other => Err(format!("writing {key} ended as {other:?} instead of committed").into()),
    }
}
