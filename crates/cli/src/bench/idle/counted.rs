//! A handle of a topology server that counts bytes by what they are about; requests the handle counts itself.

use async_trait::async_trait;
use hansa_ledger::keys::{self, Key};
use hansa_topo::{Changes, Cursor, Entry, Finding, Operation, Swap, Topo, TopoError, Usage, Version, Versioned};
use std::collections::BTreeMap;
use std::ops::Sub;
use std::sync::{Arc, Mutex, PoisonError};

/// What a key is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Heartbeats and what a member says of itself.
    Cell,
    /// The control document.
    Control,
    /// A page.
    Page,
    /// What a member says of a page's records.
    Status,
    /// Anything else.
    Other,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Cell, Kind::Control, Kind::Page, Kind::Status, Kind::Other];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Cell => "cells",
            Kind::Control => "control document",
            Kind::Page => "pages",
            Kind::Status => "statuses",
            Kind::Other => "others",
        }
    }

    fn of(key: &str) -> Self {
        match keys::parse(key) {
            Key::Cell(_) => Kind::Cell,
            Key::Control => Kind::Control,
            Key::Page(_) => Kind::Page,
            Key::Status(..) => Kind::Status,
            Key::Confirmations(_) | Key::Plan(_) | Key::PlanWords(..) | Key::Other => Kind::Other,
        }
    }
}

/// Bytes of keys and values.
#[derive(Clone, Copy, Default, Debug)]
pub struct Bytes {
    pub read: u64,
    pub written: u64,
}

/// What was spent so far.
#[derive(Clone, Default, Debug)]
pub struct Spent {
    bytes: BTreeMap<Kind, Bytes>,
    requests: BTreeMap<Operation, u64>,
}

impl Spent {
    pub fn kind(&self, kind: Kind) -> Bytes {
        self.bytes.get(&kind).copied().unwrap_or_default()
    }

    pub fn bytes(&self, of: fn(&Bytes) -> u64) -> u64 {
        self.bytes.values().map(of).sum()
    }

    pub fn operation(&self, operation: Operation) -> u64 {
        self.requests.get(&operation).copied().unwrap_or_default()
    }

    pub fn requests(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Adds what another one has spent.
    pub fn add(&mut self, other: &Spent) {
        for (kind, bytes) in &other.bytes {
            let sum = self.bytes.entry(*kind).or_default();
            (sum.read, sum.written) = (sum.read + bytes.read, sum.written + bytes.written);
        }
        for (operation, requests) in &other.requests {
            *self.requests.entry(*operation).or_default() += requests;
        }
    }
}

impl Sub for Spent {
    type Output = Spent;

    fn sub(mut self, before: Spent) -> Spent {
        for (kind, bytes) in &mut self.bytes {
            let then = before.kind(*kind);
            (bytes.read, bytes.written) = (bytes.read - then.read, bytes.written - then.written);
        }
        for (operation, requests) in &mut self.requests {
            *requests -= before.operation(*operation);
        }
        self
    }
}

/// The handle.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Topo>,
    bytes: Mutex<BTreeMap<Kind, Bytes>>,
}

impl Counted {
    pub fn new(inner: Arc<dyn Topo>) -> Self {
        Counted { inner, bytes: Mutex::default() }
    }

    pub fn spent(&self) -> Spent {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let usage = self.inner.usage();
        Spent { bytes, requests: usage.operations.iter().map(|(operation, of)| (*operation, of.requests)).collect() }
    }

    fn read(&self, key: &str, found: Option<&Versioned>) {
        let size = found.map_or(0, |found| key.len() + found.value.len());
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.entry(Kind::of(key)).or_default().read += size as u64;
    }

    fn wrote(&self, key: &str, value: &bytes::Bytes) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.entry(Kind::of(key)).or_default().written += (key.len() + value.len()) as u64;
    }

    fn swapped(&self, key: &str, swap: Swap) -> Swap {
        if let Swap::Mismatch { current } = &swap {
            self.read(key, current.as_ref());
        }
        swap
    }
}

#[async_trait]
impl Topo for Counted {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        let found = self.inner.get(key).await?;
        self.read(key, found.as_ref());
        Ok(found)
    }

    async fn create(&self, key: &str, value: bytes::Bytes) -> Result<Swap, TopoError> {
        self.wrote(key, &value);
        Ok(self.swapped(key, self.inner.create(key, value).await?))
    }

    async fn compare_and_swap(&self, key: &str, expected: &Version, value: bytes::Bytes) -> Result<Swap, TopoError> {
        self.wrote(key, &value);
        Ok(self.swapped(key, self.inner.compare_and_swap(key, expected, value).await?))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        let entries = self.inner.list(prefix).await?;
        entries.iter().for_each(|entry| self.read(&entry.key, Some(&entry.versioned)));
        Ok(entries)
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        let found = self.inner.read_many(keys).await?;
        keys.iter().zip(&found).for_each(|(key, found)| self.read(key, found.as_ref()));
        Ok(found)
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        let changes = self.inner.changes(cursor).await?;
        if let Changes::Keys { keys, .. } = &changes {
            let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            keys.keys().for_each(|key| bytes.entry(Kind::of(key)).or_default().read += key.len() as u64);
        }
        Ok(changes)
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        self.inner.check().await
    }

    fn values_per_read(&self) -> usize {
        self.inner.values_per_read()
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn backend(&self) -> &'static str {
        self.inner.backend()
    }
}
