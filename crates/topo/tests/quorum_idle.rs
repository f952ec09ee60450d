//! What an idle league asks of each store of a quorum, counted at the store as an object store counts: a request for
//! each value, and one for each list of names. Time is simulated.

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use hansa_topo::fault::{self, Fault, Faults, Rule};
use hansa_topo::{
    Changes, Cursor, Entry, Finding, Operation, Swap, Topo, TopoError, Usage, Version, Versioned, quorum,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::opened;
use tokio::time::{Instant, sleep, sleep_until};

const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often an object store's handle looks for changes in quiet times.
const LOOK: Duration = Duration::from_secs(4);
/// How long a league comes to rest, and how long it is measured.
const REST: Duration = Duration::from_secs(120);
const MEASURED: Duration = Duration::from_secs(300);

/// What was asked of a store.
#[derive(Default, Debug)]
struct Asked {
    reads: AtomicU64,
    writes: AtomicU64,
    lists: AtomicU64,
}

impl Asked {
    fn take(&self) -> [f64; 3] {
        let each = |count: &AtomicU64| count.swap(0, Ordering::Relaxed) as f64 / MEASURED.as_secs_f64();
        [&self.reads, &self.writes, &self.lists].map(each)
    }
}

/// A store that tells of changes when it is looked for them, as object stores do.
#[derive(Debug)]
struct Store {
    inner: Arc<dyn Topo>,
    asked: Arc<Asked>,
    began: Instant,
    /// When it is looked for changes: each store at another time.
    phase: Duration,
    looked: Mutex<Option<Instant>>,
}

impl Store {
    /// The next time that it is looked for changes.
    async fn look(&self) {
        let since = Instant::now() - self.began + LOOK - self.phase;
        let looks = u32::try_from(since.as_millis() / LOOK.as_millis()).unwrap();
        let next = self.began + LOOK * looks + self.phase;
        sleep_until(next).await;
        if self.looked.lock().unwrap().replace(next) != Some(next) {
            self.asked.lists.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Topo for Store {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        self.asked.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key).await
    }

    async fn create(&self, key: &str, value: Bytes) -> Result<Swap, TopoError> {
        self.asked.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.create(key, value).await
    }

    async fn compare_and_swap(&self, key: &str, expected: &Version, value: Bytes) -> Result<Swap, TopoError> {
        self.asked.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.compare_and_swap(key, expected, value).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        self.asked.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix).await
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        self.asked.reads.fetch_add(keys.len() as u64, Ordering::Relaxed);
        self.inner.read_many(keys).await
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        loop {
            if cursor.is_some() {
                self.look().await;
            }
            if let Some(told) = self.inner.changes(cursor).now_or_never() {
                return told;
            }
        }
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        self.inner.check().await
    }

    fn values_per_read(&self) -> usize {
        1
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn backend(&self) -> &'static str {
        self.inner.backend()
    }
}

fn cell(member: usize) -> String {
    format!("/v1/members/m{member:02}/cell")
}

/// Writes a heartbeat in its turn, for ever.
async fn beat(topo: Arc<dyn Topo>, member: usize, first: Instant) {
    let Swap::Committed(mut version) = topo.create(&cell(member), "0".into()).await.unwrap() else {
        panic!("it exists")
    };
    for number in 1_u32.. {
        sleep_until(first + HEARTBEAT * number).await;
        let outcome = topo.compare_and_swap(&cell(member), &version, number.to_string().into()).await.unwrap();
        let Swap::Committed(next) = outcome else { panic!("{member} writes alone: {outcome:?}") };
        version = next;
    }
}

/// Follows what changes, as an operator does; who is told of is read in turn, two in the time of a heartbeat.
async fn follow(topo: Arc<dyn Topo>, told: Arc<Mutex<BTreeSet<String>>>) {
    let mut cursor = topo.changes(None).await.unwrap().cursor().clone();
    loop {
        let changes = topo.changes(Some(&cursor)).await.unwrap();
        cursor = changes.cursor().clone();
        let Changes::Keys { keys, .. } = changes else { panic!("{changes:?}") };
        told.lock().unwrap().extend(keys.into_keys().filter(|key| *key != cell(0)));
    }
}

async fn read(topo: Arc<dyn Topo>, told: Arc<Mutex<BTreeSet<String>>>) {
    let mut last = String::new();
    loop {
        sleep(HEARTBEAT).await;
        let next: Vec<String> = {
            let mut told = told.lock().unwrap();
            let next: Vec<_> = told.iter().filter(|key| **key > last).chain(told.iter()).take(2).cloned().collect();
            told.retain(|key| !next.contains(key));
            next
        };
        last = next.last().cloned().unwrap_or_default();
        assert!(topo.read_many(&next).await.unwrap().iter().all(Option::is_some));
    }
}

/// The requests a second of one operator at each of three stores, while nothing but heartbeats is written: reads, writes
/// and lists.
async fn idle(members: usize) -> Vec<[f64; 3]> {
    let began = Instant::now();
    let mut asked = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for member in 0..members {
        let mut stores = Vec::new();
        for number in 0..3_u32 {
            let url = format!("memory:idle-{members}-{number}");
            let inner = opened(&url).await.unwrap();
            let phase = Duration::from_millis(500) + LOOK / 3 * number;
            let store = Store { inner, asked: Arc::default(), began, phase, looked: Mutex::default() };
            if member == 0 {
                asked.push(store.asked.clone());
            }
            stores.push((url, Arc::new(store) as Arc<dyn Topo>));
        }
        let topo = quorum::of(stores, &format!("m{member:02}")).unwrap();
        let first = began + HEARTBEAT * u32::try_from(member).unwrap() / u32::try_from(members).unwrap();
        tasks.spawn(beat(topo.clone(), member, first));
        if member == 0 {
            let told = Arc::<Mutex<BTreeSet<String>>>::default();
            tasks.spawn(follow(topo.clone(), told.clone()));
            tasks.spawn(read(topo, told));
        }
    }
    let end = async {
        sleep_until(began + REST).await;
        for asked in &asked {
            asked.take();
        }
        sleep_until(began + REST + MEASURED).await;
        asked.iter().map(|asked| asked.take()).collect()
    };
    tokio::select! {
        measured = end => measured,
        Some(ended) = tasks.join_next() => panic!("{ended:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_operator_asks_each_store_less_than_once_a_second() {
    for members in [3, 10, 50] {
        for (store, asked) in idle(members).await.into_iter().enumerate() {
            // A read of two values and a write in the time of a heartbeat; the rest is looking for changes.
            let told = asked.map(|rate| format!("{rate:.2}"));
            assert_eq!(told, ["0.40", "0.20", "0.25"], "{members} members, store {store}");
        }
    }
}

/// The stores of one quorum as one process reaches them.
async fn reached(run: &str) -> (Arc<dyn Topo>, Vec<Faults>) {
    let (mut stores, mut switches) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let url = format!("memory:idle-{run}-{number}");
        let (store, faults) = fault::wrap(opened(&url).await.unwrap(), 1);
        stores.push((url, store));
        switches.push(faults);
    }
    (quorum::of(stores, "test").unwrap(), switches)
}

/// Until a key is told: its version, and the cursor behind it.
async fn told(topo: &dyn Topo, key: &str, mut cursor: Cursor) -> (Version, Cursor) {
    loop {
        let changes = topo.changes(Some(&cursor)).await.unwrap();
        cursor = changes.cursor().clone();
        let Changes::Keys { mut keys, .. } = changes else { panic!("{changes:?}") };
        if let Some(version) = keys.remove(key) {
            return (version, cursor);
        }
    }
}

/// The first store alone accepts a heartbeat, and its feed tells of it without a read. What is read next is what
/// stands there from then on, whichever stores are asked: nobody finishes that write unheard.
#[tokio::test(start_paused = true)]
async fn who_looks_after_being_told_without_a_read_misses_nothing() {
    for (run, first_is_lost) in [("there", false), ("lost", true)] {
        let (writer, reached_by_writer) = reached(run).await;
        let (follower, reached_by_follower) = reached(run).await;
        let Swap::Committed(mut version) = writer.create("/beat", "0".into()).await.unwrap() else {
            panic!("it exists")
        };
        // Two feeds are a quorum; the third store's would tell of the write's end.
        let away = Rule { operation: Some(Operation::Changes), times: u64::MAX, ..Rule::once(Fault::Unavailable) };
        reached_by_follower[2].add_rule(away);
        let mut cursor = follower.changes(None).await.unwrap().cursor().clone();
        for number in 1..=15 {
            sleep(HEARTBEAT).await;
            let outcome = writer.compare_and_swap("/beat", &version, number.to_string().into()).await.unwrap();
            let Swap::Committed(next) = outcome else { panic!("{outcome:?}") };
            version = next;
            (_, cursor) = told(&*follower, "/beat", cursor).await;
        }
        let before = follower.get("/beat").await.unwrap().unwrap();
        assert_eq!((&before.version, &*before.value), (&version, &b"15"[..]));
        reached_by_writer[1..].iter().for_each(|store| store.set_available(false));
        let outcome = writer.compare_and_swap("/beat", &version, "half".into()).await.unwrap();
        assert!(matches!(outcome, Swap::Indeterminate { .. }), "{outcome:?}");
        let (half, _) = told(&*follower, "/beat", cursor).await;
        assert!(half != version && half.as_str().contains('@'), "{half}");
        reached_by_follower[0].set_available(!first_is_lost);
        let looked = match run {
            "there" => follower.get("/beat").await.unwrap(),
            _ => follower.read_many(&["/beat".to_owned()]).await.unwrap().remove(0),
        };
        let (other, reached_by_other) = reached(run).await;
        reached_by_other[1].set_available(false);
        assert_eq!(other.get("/beat").await.unwrap(), looked, "{run}");
    }
}
