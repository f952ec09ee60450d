//! `etcd://` and `etcds://`: an etcd cluster, version 3.4 or newer.
//!
//! A key's version is its modification revision; a compare-and-swap is one transaction, which gives
//! the current value when it does not match. Reads are linearizable (never `serializable`). A write
//! goes to another member only while it certainly has not reached one; reads go on to the next
//! member. Nothing is sent on a connection before the member has said that it is of the cluster that this
//! handle speaks with ([`mod@line`]). etcd knows no delete here, but administrators do: a deleted key is missing, and its
//! revisions never come back.

mod check;
mod cluster;
mod line;
mod login;
mod meaning;
mod members;
mod watch;
mod wire;

use crate::contract::{Changes, Cursor, Entry, Finding, Topo};
use crate::error::{Category, TopoError};
use crate::front::{Backend, Front};
use crate::open::Options;
use crate::url::EtcdUrl;
use crate::usage::{Meter, Operation};
use async_trait::async_trait;
use bytes::Bytes;
use cluster::{Cluster, Effect, Failure};
use hansa_ledger::{Swap, Version, Versioned};
use std::fmt;
use std::sync::Arc;
use watch::Watches;
use wire::{Compare, KeyValue, RangeRequest, RangeResponse, Request, Response, TxnRequest, TxnResponse};

pub(crate) const NAME: &str = "etcd";

/// A handle to the cluster. Asks nothing yet.
pub(crate) fn open(url: EtcdUrl, options: &Options) -> Result<Arc<dyn Topo>, TopoError> {
    let meter = Arc::new(Meter::default());
    let etcd =
        Etcd { cluster: Cluster::new(&url, options, meter.clone())?, watches: Watches::default(), prefix: url.prefix };
    Ok(Arc::new(Front::new(etcd, meter)))
}

struct Etcd {
    cluster: Cluster,
    watches: Watches,
    prefix: String,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.cluster.addresses().collect();
        write!(f, "etcd://{}{}", addresses.join(","), self.prefix)
    }
}

/// The first page of a list: at most so many values of the largest size.
const FIRST_PAGE: i64 = 32;
/// How large the pages after it should be: enough that round trips do not count, and no more than a
/// server can spare.
const PAGE_BYTES: usize = 4 << 20;
const PAGE_KEYS: i64 = 10_000;
/// How many keys are read in one transaction: etcd's default limit is 128.
const READ_MANY: usize = 64;
/// How often a list begins anew because its revision was compacted under it.
const LIST_ATTEMPTS: u32 = 3;

impl Etcd {
    fn stored_key(&self, key: &str) -> Bytes {
        Bytes::from(format!("{}{key}", self.prefix))
    }

    /// The range of all our keys that begin with `prefix`.
    fn range(&self, prefix: &str) -> (Bytes, Bytes) {
        // Every key begins with a slash, which keeps `/hansa` apart from `/hansa2`.
        let first = self.stored_key(if prefix.is_empty() { "/" } else { prefix });
        let end = after_prefix(&first).unwrap_or_default();
        (first, Bytes::from(end))
    }

    fn key_of(&self, stored: &KeyValue) -> Result<String, TopoError> {
        let key = stored.key.strip_prefix(self.prefix.as_bytes());
        match key.map(|key| std::str::from_utf8(key)) {
            Some(Ok(key)) => Ok(key.to_owned()),
            _ => {
                let text = String::from_utf8_lossy(&stored.key);
                let message = format!("below the prefix is {text:?}, which is no key; remove it");
                Err(TopoError::new(Category::Corrupt, NAME, message))
            }
        }
    }

    async fn range_of(&self, operation: Operation, request: &RangeRequest) -> Result<RangeResponse, Failure> {
        self.cluster.call(operation, Effect::Reads, wire::RANGE, request).await
    }

    async fn page_through(&self, prefix: &str) -> Result<Vec<Entry>, Failure> {
        let (first, end) = self.range(prefix);
        let mut page = RangeRequest { key: first, range_end: end, limit: FIRST_PAGE, ..Default::default() };
        let mut entries = Vec::new();
        let mut bytes = 0;
        loop {
            let answer = self.range_of(Operation::List, &page).await?;
            for stored in &answer.kvs {
                bytes += stored.key.len() + stored.value.len();
                entries.push(Entry { key: self.key_of(stored)?, versioned: versioned(stored) });
            }
            let (true, Some(last)) = (answer.more, answer.kvs.last()) else { return Ok(entries) };
            // All pages are of the first one's revision.
            page.revision = page.revision.max(answer.header.map_or(0, |header| header.revision));
            page.key = [&last.key[..], b"\0"].concat().into();
            let mean = (bytes / entries.len()).max(1);
            page.limit = i64::try_from(PAGE_BYTES / mean).unwrap_or(PAGE_KEYS).clamp(FIRST_PAGE, PAGE_KEYS);
        }
    }
}

fn versioned(stored: &KeyValue) -> Versioned {
    Versioned { version: Version::new(stored.mod_revision.to_string()), value: stored.value.clone() }
}

/// The revision that a version stands for; `None` when no key is ever at it.
fn revision(version: &Version) -> Option<i64> {
    let revision: i64 = version.as_str().parse().ok()?;
    (revision > 0 && revision.to_string() == version.as_str()).then_some(revision)
}

/// The ranges that a transaction read, in order.
fn ranges(answer: TxnResponse) -> impl Iterator<Item = Option<Versioned>> {
    answer.responses.into_iter().map(|response| match response.response {
        Some(Response::Range(range)) => range.kvs.first().map(versioned),
        None => None,
    })
}

/// The first string after all strings that begin with `prefix`; `None` when there is none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn malformed() -> TopoError {
    TopoError::new(Category::Internal, NAME, "the answer lacks a part that it must have")
}

#[async_trait]
impl Backend for Etcd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn values_per_read(&self) -> usize {
        READ_MANY
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        let request = RangeRequest { key: self.stored_key(key), ..Default::default() };
        match self.range_of(Operation::Get, &request).await {
            Ok(answer) => Ok(answer.kvs.first().map(versioned)),
            Err(failure) => Err(failure.of_read().at_key(key)),
        }
    }

    async fn swap(&self, key: &str, expected: Option<&Version>, value: Bytes) -> Result<Swap, TopoError> {
        let Some(expected_revision) = expected.map_or(Some(0), revision) else {
            return Ok(Swap::Mismatch { current: self.get(key).await? });
        };
        let stored_key = self.stored_key(key);
        let compare = Compare {
            result: Compare::EQUAL,
            target: Compare::MOD,
            key: stored_key.clone(),
            mod_revision: Some(expected_revision),
        };
        let put = wire::PutRequest { key: stored_key.clone(), value };
        let get = RangeRequest { key: stored_key, ..Default::default() };
        let transaction = TxnRequest {
            compare: vec![compare],
            success: vec![Request::Put(put).into()],
            failure: vec![Request::Range(get).into()],
        };
        let operation = Operation::of_swap(expected);
        let called: Result<TxnResponse, _> =
            self.cluster.call(operation, Effect::Writes, wire::TXN, &transaction).await;
        match called {
            Ok(answer) if answer.succeeded => match answer.header {
                Some(header) => Ok(Swap::Committed(Version::new(header.revision.to_string()))),
                None => Ok(Swap::Indeterminate { reason: malformed().to_string() }),
            },
            Ok(answer) => {
                let current = ranges(answer).next().ok_or_else(malformed)?;
                Ok(Swap::Mismatch { current })
            }
            Err(Failure::Unknown(error)) => Ok(Swap::Indeterminate { reason: error.chain() }),
            Err(failure) => Err(failure.of_read().at_key(key)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        let mut attempt = 1;
        loop {
            match self.page_through(prefix).await {
                Ok(entries) => return Ok(entries),
                Err(Failure::Compacted) if attempt < LIST_ATTEMPTS => attempt += 1,
                Err(failure) => return Err(failure.of_read().at_key(prefix)),
            }
        }
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_MANY) {
            let gets = keys.iter().map(|key| {
                let get = RangeRequest { key: self.stored_key(key), ..Default::default() };
                Request::Range(get).into()
            });
            let transaction = TxnRequest { success: gets.collect(), ..Default::default() };
            let operation = Operation::ReadMany;
            let answer: TxnResponse =
                self.cluster.call(operation, Effect::Reads, wire::TXN, &transaction).await.map_err(Failure::of_read)?;
            if answer.responses.len() != keys.len() {
                return Err(malformed());
            }
            found.extend(ranges(answer));
        }
        Ok(found)
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        watch::changes(self, cursor).await
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        check::check(self).await
    }
}
