//! The handle that fails.

use super::Faults;
use super::plan::{Fault, LateWrite};
use crate::contract::{Changes, Cursor, Entry, Finding, Topo};
use crate::error::{Category, TopoError};
use crate::usage::{Operation, Usage};
use async_trait::async_trait;
use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct Faulty {
    inner: Arc<dyn Topo>,
    faults: Faults,
    /// The last answer about changes: from which cursor to which, so that it can be told again.
    told: Mutex<Option<(Cursor, Cursor)>>,
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} with faults", self.inner)
    }
}

impl Faulty {
    pub(super) fn new(inner: Arc<dyn Topo>, faults: Faults) -> Self {
        Faulty { inner, faults, told: Mutex::new(None) }
    }

    fn error(&self, category: Category, key: &str, message: &str) -> TopoError {
        let error = TopoError::new(category, self.inner.backend(), message);
        if key.is_empty() { error } else { error.at_key(key) }
    }

    fn away(&self, key: &str) -> TopoError {
        self.error(Category::Unavailable, key, "the server was taken away by the fault decorator")
    }

    /// What happens before a call is sent; gives the fault that is left for the call itself.
    async fn before(&self, operation: Operation, key: &str) -> Result<Option<Fault>, TopoError> {
        if !self.faults.is_available() {
            return Err(self.away(key));
        }
        let verdict = self.faults.judge(operation, key);
        for LateWrite { key, expected, value } in verdict.landing {
            // Nobody waits for its outcome any more.
            let _ = self.send(&key, expected.as_ref(), value).await;
        }
        if !verdict.latency.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(verdict.latency) => {}
                () = self.faults.0.switch.off() => return Err(self.away(key)),
            }
        }
        match verdict.fault {
            Some(Fault::Unavailable) => Err(self.error(Category::Unavailable, key, "an outage was injected")),
            Some(Fault::Throttled(wait)) => {
                Err(self.error(Category::Throttled, key, "throttling was injected").retry_after(wait))
            }
            Some(Fault::Stale) => Err(self.error(Category::Stale, key, "a stale read was injected")),
            fault => Ok(fault),
        }
    }

    /// A read, which ends when the server goes away.
    async fn read<T>(
        &self,
        operation: Operation,
        key: &str,
        read: impl Future<Output = Result<T, TopoError>> + Send,
    ) -> Result<T, TopoError> {
        self.before(operation, key).await?;
        tokio::select! {
            biased;
            () = self.faults.0.switch.off() => Err(self.away(key)),
            outcome = read => outcome,
        }
    }

    async fn send(&self, key: &str, expected: Option<&Version>, value: Bytes) -> Result<Swap, TopoError> {
        match expected {
            None => self.inner.create(key, value).await,
            Some(expected) => self.inner.compare_and_swap(key, expected, value).await,
        }
    }

    async fn swap(
        &self,
        operation: Operation,
        key: &str,
        expected: Option<&Version>,
        value: Bytes,
    ) -> Result<Swap, TopoError> {
        let unknown = |reason: &str| Ok(Swap::Indeterminate { reason: reason.to_owned() });
        let fault = self.before(operation, key).await?;
        if let Some(Fault::LateWrite(calls)) = fault {
            let write = LateWrite { key: key.to_owned(), expected: expected.cloned(), value };
            self.faults.plan().delay(write, calls);
            return unknown("a late write was injected");
        }
        if fault == Some(Fault::Rival)
            && let Some(current) = self.inner.get(key).await?
        {
            self.inner.compare_and_swap(key, &current.version, current.value).await?;
        }
        let outcome = tokio::select! {
            biased;
            () = self.faults.0.switch.off() => return unknown("the server was taken away"),
            outcome = self.send(key, expected, value) => outcome,
        };
        match fault {
            Some(Fault::LostAnswer) => unknown("the loss of an answer was injected"),
            _ => outcome,
        }
    }

    async fn altered_changes(&self, fault: Option<Fault>, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        match fault {
            Some(Fault::Reset) if cursor.is_some() => {
                let now = self.inner.changes(None).await?;
                Ok(Changes::Reset { cursor: now.cursor().clone() })
            }
            Some(Fault::Repeated) => {
                let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match told {
                    Some((from, to)) if cursor == Some(&to) => self.inner.changes(Some(&from)).await,
                    _ => self.inner.changes(cursor).await,
                }
            }
            _ => self.inner.changes(cursor).await,
        }
    }
}

#[async_trait]
impl Topo for Faulty {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        self.read(Operation::Get, key, self.inner.get(key)).await
    }

    async fn create(&self, key: &str, value: Bytes) -> Result<Swap, TopoError> {
        self.swap(Operation::Create, key, None, value).await
    }

    async fn compare_and_swap(&self, key: &str, expected: &Version, value: Bytes) -> Result<Swap, TopoError> {
        self.swap(Operation::CompareAndSwap, key, Some(expected), value).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        self.read(Operation::List, prefix, self.inner.list(prefix)).await
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        self.read(Operation::ReadMany, "", self.inner.read_many(keys)).await
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        let fault = self.before(Operation::Changes, "").await?;
        let outcome = tokio::select! {
            biased;
            () = self.faults.0.switch.off() => Err(self.away("")),
            outcome = self.altered_changes(fault, cursor) => outcome,
        };
        if let (Some(from), Ok(changes)) = (cursor, &outcome) {
            let told = (from.clone(), changes.cursor().clone());
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        }
        outcome
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        self.read(Operation::Check, "", self.inner.check()).await
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
