//! What stands before every backend: the checks of keys and values, and the counters.

use crate::contract::{Changes, Cursor, Entry, Finding, Topo};
use crate::error::TopoError;
use crate::key::{check_key, check_prefix, check_value};
use crate::usage::{Meter, Operation, Usage};
use async_trait::async_trait;
use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use std::fmt;
use std::sync::Arc;

/// A backend behind its [`Front`]: keys and values are checked already.
#[async_trait]
pub(crate) trait Backend: Send + Sync + fmt::Debug {
    fn name(&self) -> &'static str;
    fn values_per_read(&self) -> usize;
    /// What was asked so far; `own` is what was counted before and below this backend.
    fn usage(&self, own: Usage) -> Usage {
        own
    }
    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError>;
    /// A create (`expected` is `None`) or a compare-and-swap.
    async fn swap(&self, key: &str, expected: Option<&Version>, value: Bytes) -> Result<Swap, TopoError>;
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError>;
    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError>;
    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError>;
    async fn check(&self) -> Result<Vec<Finding>, TopoError>;
}

/// A [`Topo`] made of a backend.
pub(crate) struct Front<B> {
    backend: B,
    meter: Arc<Meter>,
}

impl<B: Backend> Front<B> {
    pub(crate) fn new(backend: B, meter: Arc<Meter>) -> Self {
        Front { backend, meter }
    }

    async fn swap(
        &self,
        operation: Operation,
        key: &str,
        expected: Option<&Version>,
        value: Bytes,
    ) -> Result<Swap, TopoError> {
        self.meter.call(operation);
        let outcome = async {
            check_key(self.backend.name(), key)?;
            check_value(self.backend.name(), key, &value)?;
            self.meter.written(operation, key.len() + value.len());
            self.backend.swap(key, expected, value).await
        };
        let outcome = self.noted(operation, outcome.await)?;
        match &outcome {
            Swap::Committed(_) => {}
            Swap::Mismatch { current } => {
                self.meter.mismatch(operation);
                self.meter.read(operation, size(current));
            }
            Swap::Indeterminate { .. } => self.meter.indeterminate(operation),
        }
        Ok(outcome)
    }

    fn noted<T>(&self, operation: Operation, outcome: Result<T, TopoError>) -> Result<T, TopoError> {
        outcome.inspect_err(|_| self.meter.error(operation))
    }
}

fn size(versioned: &Option<Versioned>) -> usize {
    versioned.as_ref().map_or(0, |found| found.value.len())
}

impl<B: Backend> fmt::Debug for Front<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.backend.fmt(f)
    }
}

#[async_trait]
impl<B: Backend> Topo for Front<B> {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        self.meter.call(Operation::Get);
        let outcome = async {
            check_key(self.backend.name(), key)?;
            self.backend.get(key).await
        };
        let found = self.noted(Operation::Get, outcome.await)?;
        self.meter.read(Operation::Get, size(&found));
        Ok(found)
    }

    async fn create(&self, key: &str, value: Bytes) -> Result<Swap, TopoError> {
        self.swap(Operation::Create, key, None, value).await
    }

    async fn compare_and_swap(&self, key: &str, expected: &Version, value: Bytes) -> Result<Swap, TopoError> {
        self.swap(Operation::CompareAndSwap, key, Some(expected), value).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        self.meter.call(Operation::List);
        let outcome = async {
            check_prefix(self.backend.name(), prefix)?;
            self.backend.list(prefix).await
        };
        let entries = self.noted(Operation::List, outcome.await)?;
        let bytes = |entry: &Entry| entry.key.len() + entry.versioned.value.len();
        self.meter.read(Operation::List, entries.iter().map(bytes).sum());
        Ok(entries)
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        self.meter.call(Operation::ReadMany);
        let outcome = async {
            for key in keys {
                check_key(self.backend.name(), key)?;
            }
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            self.backend.read_many(keys).await
        };
        let found = self.noted(Operation::ReadMany, outcome.await)?;
        self.meter.read(Operation::ReadMany, found.iter().map(size).sum());
        Ok(found)
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        self.meter.call(Operation::Changes);
        let changes = self.noted(Operation::Changes, self.backend.changes(cursor).await)?;
        if let Changes::Keys { keys, .. } = &changes {
            let bytes = keys.keys().map(String::len).sum();
            self.meter.read(Operation::Changes, bytes);
        }
        Ok(changes)
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        self.meter.call(Operation::Check);
        self.noted(Operation::Check, self.backend.check().await)
    }

    fn values_per_read(&self) -> usize {
        self.backend.values_per_read()
    }

    fn usage(&self) -> Usage {
        self.backend.usage(self.meter.usage())
    }

    fn backend(&self) -> &'static str {
        self.backend.name()
    }
}
