//! Subjects for the battery, and processes that write.
#![allow(dead_code, reason = "each test program uses its part")]

use async_trait::async_trait;
use hansa_topo::conformance::{self, Subject, Verdict};
use hansa_topo::fault::{self, Chances, Faults};
use hansa_topo::{Options, Swap, Topo, TopoError, open};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub async fn opened(url: &str) -> Result<Arc<dyn Topo>, TopoError> {
    open(url, &Options::default()).await
}

/// Stores of a quorum as they are, and by their URLs behind switches.
pub async fn stores(run: &str, count: usize) -> (Vec<Arc<dyn Topo>>, Vec<(String, Arc<dyn Topo>)>, Vec<Faults>) {
    let (mut direct, mut named, mut switches) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let url = format!("memory:quorum-{run}-{number}");
        let topo = opened(&url).await.unwrap();
        let (faulty, faults) = fault::wrap(topo.clone(), 1);
        direct.push(topo);
        named.push((url, faulty));
        switches.push(faults);
    }
    (direct, named, switches)
}

/// What a key holds.
pub async fn value(topo: &dyn Topo, key: &str) -> Option<String> {
    let found = topo.get(key).await.unwrap();
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

/// A store that was restored from a backup has fewer entries than it acknowledged.
pub async fn restored(run: &str, from: &dyn Topo, without: &str) -> Arc<dyn Topo> {
    let topo = opened(&format!("memory:quorum-{run}-restored")).await.unwrap();
    for entry in from.list("").await.unwrap() {
        if !entry.key.contains(without) {
            topo.create(&entry.key, entry.versioned.value).await.unwrap();
        }
    }
    topo
}

/// Runs the battery and tells everything that did not pass; nothing may be skipped.
pub async fn assert_conforms(subject: &dyn Subject) {
    let reports = conformance::run(subject).await;
    for report in &reports {
        println!("{report}");
    }
    let bad: Vec<_> =
        reports.iter().filter(|report| report.verdict != Verdict::Passed).map(ToString::to_string).collect();
    assert!(reports.len() > 20, "the battery has only {} cases", reports.len());
    assert!(bad.is_empty(), "{} of {} cases:\n{}", bad.len(), reports.len(), bad.join("\n"));
}

/// A URL per space. The stores remember few changes, so that writing makes them forget.
pub struct Remembering<F>(pub F);

#[async_trait]
impl<F: Fn(&str) -> String + Send + Sync> Subject for Remembering<F> {
    async fn client(&self, space: &str) -> Result<Arc<dyn Topo>, TopoError> {
        // One case needs a short memory, another one a memory for all that several writers do.
        let kept = if space == "changes-forgotten" { 32 } else { 65_536 };
        opened(&format!("{}?changes-kept={kept}", self.0(space))).await
    }

    async fn forget_changes(&self, space: &str) -> Result<bool, TopoError> {
        let client = self.client(space).await?;
        for n in 0..40 {
            client.create(&format!("/other/{n}"), "one".into()).await?;
        }
        Ok(true)
    }
}

/// Another subject's clients, each behind a fault decorator with a seed of its own.
pub struct Unreliable<S> {
    pub inner: S,
    pub chances: Chances,
    pub seed: AtomicU64,
    pub faults: Mutex<Vec<Faults>>,
}

impl<S> Unreliable<S> {
    pub fn new(inner: S, chances: Chances, seed: u64) -> Self {
        Unreliable { inner, chances, seed: AtomicU64::new(seed), faults: Mutex::default() }
    }

    /// How often each fault was met by all clients together.
    pub fn met(&self) -> BTreeMap<&'static str, u64> {
        let mut sum = BTreeMap::new();
        for faults in self.faults.lock().unwrap().iter() {
            for (label, count) in faults.met() {
                *sum.entry(label).or_default() += count;
            }
        }
        sum
    }
}

#[async_trait]
impl<S: Subject> Subject for Unreliable<S> {
    async fn client(&self, space: &str) -> Result<Arc<dyn Topo>, TopoError> {
        let inner = self.inner.client(space).await?;
        let (faulty, faults) = fault::wrap(inner, self.seed.fetch_add(1, Ordering::Relaxed));
        faults.set_chances(self.chances);
        self.faults.lock().unwrap().push(faults);
        Ok(faulty)
    }

    async fn forget_changes(&self, space: &str) -> Result<bool, TopoError> {
        self.inner.forget_changes(space).await
    }
}

/// SQLite files below a directory, one per space.
pub fn sqlite_files(directory: PathBuf) -> impl Subject {
    Remembering(move |space: &str| format!("sqlite:{}/{space}.db", directory.display()))
}

/// Servers in memory, one per space; `run` tells apart the runs of one process.
pub fn memory_servers(run: &'static str) -> impl Subject {
    Remembering(move |space: &str| format!("memory:{run}-{space}"))
}

/// The command that starts a `topo-hammer`.
pub fn hammer(arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_topo-hammer"));
    command.args(arguments).kill_on_drop(true);
    command
}

/// As whoever holds a secret in a file keeps it.
pub fn make_private(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A write that must be acknowledged.
pub async fn put(topo: &dyn Topo, key: &str, value: &str) {
    let outcome = match topo.get(key).await.unwrap() {
        None => topo.create(key, value.to_owned().into()).await,
        Some(found) => topo.compare_and_swap(key, &found.version, value.to_owned().into()).await,
    };
    assert!(matches!(outcome, Ok(Swap::Committed(_))), "writing {key} ended as {outcome:?}");
}

/// Ports that are free now, below those that outgoing connections take, so that a member that is
/// restarted finds its own free again.
pub fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    while held.len() < count {
        let random = getrandom::u32().unwrap();
        let port = 20_000 + u16::try_from(random % 10_000).unwrap();
        held.extend(TcpListener::bind(("127.0.0.1", port)).map(|listener| (port, listener)));
    }
    held.into_iter().map(|(port, _)| port).collect()
}

/// A port that is free now.
pub fn free_port() -> u16 {
    free_ports(1)[0]
}
