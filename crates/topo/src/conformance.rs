//! The battery that every topology server must pass, for tests and for anyone's own server.
//!
//! A [`Subject`] gives clients of empty spaces; [`run`] tries every [`cases`] on spaces of its own
//! and reports. Nothing is deleted afterwards, for the contract has no delete.
//!
//! The cases also hold for a server whose answers get lost ([`crate::fault`]): they write through a
//! client that tries again what may be tried again, and calls a write of unknown fate
//! committed or not only when its expected version has been consumed.

mod changes;
mod client;
pub mod linear;
mod lists;
mod races;
mod values;

use crate::contract::Topo;
use crate::error::TopoError;
use async_trait::async_trait;
use client::Client;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the battery is run on.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A client of the space called `space`, which holds nothing when it is named first. Two clients
    /// of one space are two handles to the same store. The name is a word of lower-case letters and
    /// hyphens.
    async fn client(&self, space: &str) -> Result<Arc<dyn Topo>, TopoError>;

    /// Makes the store forget its history up to now, without touching the keys below `/case`; for
    /// instance by compaction, or by writing more than it remembers. Gives `false` if that cannot be
    /// done here, and the case that needs it is skipped.
    async fn forget_changes(&self, space: &str) -> Result<bool, TopoError>;
}

/// One promise of the contract, and how it is tried.
pub struct Case {
    /// A short name.
    pub name: &'static str,
    /// What is promised.
    pub promise: &'static str,
    body: Body,
}

type Body = for<'t> fn(&'t Trial<'t>) -> BoxFuture<'t, Result<Verdict, Failure>>;

impl Case {
    const fn new(name: &'static str, promise: &'static str, body: Body) -> Self {
        Case { name, promise, body }
    }
}

/// How a case ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The promise held.
    Passed,
    /// The promise was broken, in this way.
    Failed(String),
    /// The promise could not be tried, for this reason.
    Skipped(String),
}

/// The end of one case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseReport {
    /// The case's name.
    pub name: &'static str,
    /// What is promised.
    pub promise: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// Why a case failed.
pub(crate) struct Failure(String);

impl From<TopoError> for Failure {
    fn from(error: TopoError) -> Self {
        Failure(error.chain())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure(text)
    }
}

/// Ends a case as failed unless something holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::conformance::Failure::from(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// What a case works with.
pub(crate) struct Trial<'s> {
    subject: &'s dyn Subject,
    space: &'static str,
}

impl Trial<'_> {
    async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.subject.client(self.space).await?))
    }

    async fn clients(&self, count: usize) -> Result<Vec<Client>, Failure> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(self.client().await?);
        }
        Ok(clients)
    }
}

/// How long a case may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every case, in the order in which they are best read.
pub fn cases() -> Vec<Case> {
    let groups = [values::CASES, lists::CASES, races::CASES, changes::CASES];
    groups.into_iter().flatten().map(|case| Case { ..*case }).collect()
}

/// Runs every case on `subject`, one after the other.
pub async fn run(subject: &dyn Subject) -> Vec<CaseReport> {
    let mut reports = Vec::new();
    for case in cases() {
        reports.push(run_case(&case, subject).await);
    }
    reports
}

/// Runs one case.
pub async fn run_case(case: &Case, subject: &dyn Subject) -> CaseReport {
    let began = Instant::now();
    let trial = Trial { subject, space: case.name };
    let verdict = match tokio::time::timeout(PATIENCE, (case.body)(&trial)).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(Failure(why))) => Verdict::Failed(why),
        Err(_) => Verdict::Failed(format!("it was not through after {PATIENCE:?}")),
    };
    CaseReport { name: case.name, promise: case.promise, verdict, took: began.elapsed() }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CaseReport { name, promise, verdict, took } = self;
        match verdict {
            Verdict::Passed => write!(f, "passed   {name} ({took:.0?}): {promise}"),
            Verdict::Failed(why) => write!(f, "FAILED   {name}: {promise}; but {why}"),
            Verdict::Skipped(why) => write!(f, "skipped  {name}: {promise}; {why}"),
        }
    }
}
