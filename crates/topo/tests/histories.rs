//! Histories of concurrent clients on every backend are linearizable; and the checker that says so
//! finds the faults of registers that are broken on purpose.

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/etcd.rs"]
mod etcd_servers;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/stores.rs"]
mod stores;
mod support;

use async_trait::async_trait;
use bytes::Bytes;
use hansa_topo::conformance::linear::{Event, Operation, check, record};
use hansa_topo::fault::{self, Chances, Faults};
use hansa_topo::url::Cloud;
use hansa_topo::{
    Changes, Cursor, Entry, Finding, Options, Swap, Topo, TopoError, Usage, Version, Versioned, open, quorum,
};
use std::sync::{Arc, Mutex};
use stores::Server;
use support::opened;

const CLIENTS: usize = 6;

/// Several histories on keys of their own, each linearizable and with every kind of answer in it.
async fn assert_linearizable(handles: Vec<Arc<dyn Topo>>, histories: u32, rounds: u32) {
    let mut kinds = [0; 4];
    for n in 0..histories {
        let history = record(&handles, &format!("/register/{n}"), rounds).await;
        for event in &history {
            kinds[match event.operation {
                Operation::Read(_) => 0,
                Operation::Committed { .. } => 1,
                Operation::Mismatch { .. } => 2,
                Operation::Unknown { .. } => 3,
            }] += 1;
        }
        if let Err(error) = check(&history) {
            panic!("history {n}: {error}");
        }
    }
    println!("reads, committed, mismatches, unknown: {kinds:?}");
    assert!(kinds[..3].iter().all(|count| *count > 0), "{kinds:?}");
}

async fn handles(url: &str) -> Vec<Arc<dyn Topo>> {
    let mut handles = Vec::new();
    for _ in 0..CLIENTS {
        handles.push(opened(url).await.unwrap());
    }
    handles
}

/// Each handle behind faults of its own: lost answers and writes that land late.
fn unreliable(handles: Vec<Arc<dyn Topo>>) -> Vec<Arc<dyn Topo>> {
    let chances = Chances { lost_answer: 150, late_write: 150, unavailable: 50, ..Chances::default() };
    let wrap = |(seed, handle)| {
        let (faulty, faults) = fault::wrap(handle, seed);
        faults.set_chances(chances);
        faulty
    };
    (1..).zip(handles).map(wrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_is_linearizable() {
    assert_linearizable(handles("memory:histories").await, 20, 60).await;
    assert_linearizable(unreliable(handles("memory:histories-faults").await), 20, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_is_linearizable() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/topo.db", directory.path().display());
    assert_linearizable(handles(&url).await, 4, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn etcd_is_linearizable() {
    let etcd = etcd_servers::Etcd::start(1, None).await;
    assert_linearizable(handles(&format!("etcd://{}/hansa", etcd.hosts())).await, 6, 40).await;
    assert_linearizable(unreliable(handles(&format!("etcd://{}/faults", etcd.hosts())).await), 6, 40).await;
}

async fn store_is_linearizable(cloud: Cloud) {
    let server = Server::start(cloud).await;
    let mut handles = Vec::new();
    for _ in 0..CLIENTS {
        handles.push(server.topo("histories").await);
    }
    assert_linearizable(handles.clone(), 5, 30).await;
    let faulty = unreliable(handles);
    let history = record(&faulty, "/faults", 40).await;
    check(&history).unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_is_linearizable() {
    store_is_linearizable(Cloud::S3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gs_is_linearizable() {
    store_is_linearizable(Cloud::Gs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn az_is_linearizable() {
    store_is_linearizable(Cloud::Az).await;
}

/// Quorums of a file, an etcd and a bucket, one for each client; every client's etcd fails by chances of its own.
async fn quorums(urls: &[(String, Options)], chances: Chances) -> (Vec<Arc<dyn Topo>>, Vec<Faults>) {
    let (mut handles, mut all_faults) = (Vec::new(), Vec::new());
    for client in 0..CLIENTS {
        let (mut stores, mut switches) = (Vec::new(), Vec::new());
        for ((url, options), seed) in urls.iter().zip(10 * client as u64..) {
            let (store, faults) = fault::wrap(open(url, options).await.unwrap(), seed);
            stores.push((url.clone(), store));
            switches.push(faults);
        }
        let topo = quorum::of(stores, &format!("client-{client}")).unwrap();
        // Formed when all are there.
        assert!(topo.get("/none").await.unwrap().is_none());
        let faults = switches.swap_remove(1);
        faults.set_chances(chances);
        all_faults.push(faults);
        handles.push(topo);
    }
    (handles, all_faults)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn quorum_is_linearizable() {
    let directory = tempfile::tempdir().unwrap();
    let etcd = etcd_servers::Etcd::start(1, None).await;
    let bucket = Server::start(Cloud::S3).await;
    let urls = |space: &str| {
        let file = format!("sqlite:{}/{space}.db", directory.path().display());
        let etcd = format!("etcd://{}/{space}", etcd.hosts());
        [(file, Options::default()), (etcd, Options::default()), (bucket.url(space), bucket.options())]
    };
    let (handles, _) = quorums(&urls("plain"), Chances::default()).await;
    assert_linearizable(handles, 4, 30).await;
    let chances = Chances { unavailable: 200, throttled: 100, lost_answer: 150, late_write: 150, ..Chances::default() };
    let (handles, all_faults) = quorums(&urls("unreliable"), chances).await;
    assert_linearizable(handles, 4, 30).await;
    for faults in all_faults {
        assert_eq!(faults.met().len(), 4, "{:?}", faults.met());
    }
}

/// What a register may be broken in.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Defect {
    None,
    /// Conditions are ignored: the last writer wins.
    NoConditions,
    /// Every third read tells what stood there before.
    StaleReads,
    /// Every fourth write is acknowledged and not made.
    LostWrites,
    /// Every fourth write is made and told to be refused, with what stood there before.
    FalseMismatch,
}

/// A register for one key, broken as said.
#[derive(Debug)]
struct Broken {
    defect: Defect,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    versions: u64,
    now: Option<Versioned>,
    before: Option<Versioned>,
}

impl Broken {
    fn swap(&self, expected: Option<&Version>, value: Bytes) -> Swap {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        let matches = state.now.as_ref().map(|now| &now.version) == expected;
        let fourth = state.calls.is_multiple_of(4);
        if !matches && self.defect != Defect::NoConditions {
            return Swap::Mismatch { current: state.now.clone() };
        }
        state.versions += 1;
        let version = Version::new(state.versions.to_string());
        if self.defect == Defect::LostWrites && fourth {
            return Swap::Committed(version);
        }
        let before = state.now.replace(Versioned { version: version.clone(), value });
        state.before = before.clone();
        if self.defect == Defect::FalseMismatch && fourth {
            return Swap::Mismatch { current: before };
        }
        Swap::Committed(version)
    }
}

#[async_trait]
impl Topo for Broken {
    async fn get(&self, _key: &str) -> Result<Option<Versioned>, TopoError> {
        let mut state = self.state.lock().unwrap();
        state.calls += 1;
        let stale = self.defect == Defect::StaleReads && state.calls.is_multiple_of(3);
        Ok(if stale { state.before.clone() } else { state.now.clone() })
    }

    async fn create(&self, _key: &str, value: Bytes) -> Result<Swap, TopoError> {
        Ok(self.swap(None, value))
    }

    async fn compare_and_swap(&self, _key: &str, expected: &Version, value: Bytes) -> Result<Swap, TopoError> {
        Ok(self.swap(Some(expected), value))
    }

    async fn list(&self, _prefix: &str) -> Result<Vec<Entry>, TopoError> {
        Ok(Vec::new())
    }

    async fn read_many(&self, _keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        Ok(Vec::new())
    }

    async fn changes(&self, _cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        std::future::pending().await
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        Ok(Vec::new())
    }

    fn values_per_read(&self) -> usize {
        1
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn backend(&self) -> &'static str {
        "broken"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn broken_registers_are_found() {
    use Defect::*;
    for defect in [None, NoConditions, StaleReads, LostWrites, FalseMismatch] {
        let register: Arc<dyn Topo> = Arc::new(Broken { defect, state: Mutex::default() });
        let history = record(&vec![register; CLIENTS], "/register", 40).await;
        let outcome = check(&history);
        assert_eq!(outcome.is_ok(), defect == None, "{defect:?}: {outcome:?}");
    }
}

/// A history written by hand: client, beginning, end, operation.
fn history(events: &[(usize, u64, u64, Operation)]) -> Vec<Event> {
    events
        .iter()
        .map(|(client, begun, ended, operation)| Event {
            client: *client,
            begun: *begun,
            ended: *ended,
            operation: *operation,
        })
        .collect()
}

#[test]
fn histories_by_hand() {
    use Operation::*;
    let create = |new| Committed { expected: None, new };
    let over = |expected, new| Committed { expected: Some(expected), new };
    let good: [&[(usize, u64, u64, Operation)]; 5] = [
        &[],
        &[(0, 1, 2, create(1)), (1, 3, 4, Read(Some(1)))],
        // A read beside a write may tell what is before or after it.
        &[(0, 1, 4, create(1)), (1, 2, 3, Read(None)), (2, 2, 3, Read(Some(1)))],
        // A write of unknown fate lands late, or never.
        &[(0, 1, 2, Unknown { expected: None, new: 1 }), (1, 3, 4, Read(None)), (1, 5, 6, Read(Some(1)))],
        &[(0, 1, 2, Unknown { expected: None, new: 1 }), (1, 3, 4, create(2)), (1, 5, 6, Read(Some(2)))],
    ];
    for events in good {
        assert!(check(&history(events)).is_ok(), "{events:?}");
    }
    let bad: [&[(usize, u64, u64, Operation)]; 6] = [
        // A read that began after the write ended.
        &[(0, 1, 2, create(1)), (1, 3, 4, Read(None))],
        // Two creates.
        &[(0, 1, 4, create(1)), (1, 2, 3, create(2))],
        // Two writes over one value.
        &[(0, 1, 2, create(1)), (1, 3, 5, over(1, 2)), (2, 4, 6, over(1, 3))],
        // What was read is gone again.
        &[(0, 1, 9, create(1)), (1, 2, 3, Read(Some(1))), (2, 4, 5, Read(None))],
        // Refused, and what it expects stands there.
        &[(0, 1, 2, create(1)), (1, 3, 4, Mismatch { expected: Some(1), current: Some(1) })],
        // A write of unknown fate that is read, gone, and read again.
        &[(0, 1, 2, Unknown { expected: None, new: 1 }), (1, 3, 4, Read(Some(1))), (1, 5, 6, Read(None))],
    ];
    for events in bad {
        assert!(check(&history(events)).is_err(), "{events:?}");
    }
}
