//! A quorum of stores against the battery, with stores that are dead, slow and unreliable, and what
//! it does with values and changes.

mod support;

use async_trait::async_trait;
use hansa_topo::conformance::Subject;
use hansa_topo::fault::{self, Chances, Fault, Faults, Rule};
use hansa_topo::{Changes, Operation, Swap, Topo, TopoError, quorum};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{assert_conforms, opened, put, stores, value};

/// How a store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Good,
    Dead,
    Slow,
    /// Answers get lost, writes come late, calls fail.
    Unreliable,
}

const TROUBLE: Chances = Chances {
    unavailable: 60,
    throttled: 60,
    stale: 60,
    lost_answer: 200,
    late_write: 200,
    rival: 0,
    reset: 0,
    repeated: 0,
};

/// Quorums, one per space, whose stores are opened by URL.
struct Quorums<F> {
    url: F,
    kinds: Vec<Kind>,
    seed: AtomicU64,
    formed: Mutex<BTreeSet<String>>,
}

impl<F: Fn(&str, usize) -> String + Send + Sync> Quorums<F> {
    fn new(kinds: &[Kind], url: F) -> Self {
        Quorums { url, kinds: kinds.to_vec(), seed: AtomicU64::new(1), formed: Mutex::default() }
    }

    async fn open(&self, space: &str) -> Result<(Arc<dyn Topo>, Vec<Faults>), TopoError> {
        let kept = if space == "changes-forgotten" { 32 } else { 65_536 };
        let (mut stores, mut all_faults) = (Vec::new(), Vec::new());
        for number in 0..self.kinds.len() {
            let url = (self.url)(space, number);
            let topo = opened(&format!("{url}?changes-kept={kept}")).await?;
            let (topo, faults) = fault::wrap(topo, self.seed.fetch_add(1, Ordering::Relaxed));
            stores.push((url, topo));
            all_faults.push(faults);
        }
        Ok((quorum::of(stores, "test")?, all_faults))
    }
}

#[async_trait]
impl<F: Fn(&str, usize) -> String + Send + Sync> Subject for Quorums<F> {
    async fn client(&self, space: &str) -> Result<Arc<dyn Topo>, TopoError> {
        let (topo, faults) = self.open(space).await?;
        // A quorum is formed when all its stores are there.
        if self.formed.lock().unwrap().insert(space.to_owned()) {
            topo.get("/none").await?;
        }
        for (kind, faults) in self.kinds.iter().zip(faults) {
            match kind {
                Kind::Good => {}
                Kind::Dead => faults.set_available(false),
                Kind::Slow => faults.set_latency(Duration::from_millis(2)..Duration::from_millis(8)),
                Kind::Unreliable => faults.set_chances(TROUBLE),
            }
        }
        Ok(topo)
    }

    async fn forget_changes(&self, space: &str) -> Result<bool, TopoError> {
        let (client, _) = self.open(space).await?;
        for n in 0..40 {
            client.create(&format!("/other/{n}"), "one".into()).await?;
        }
        Ok(true)
    }
}

fn in_memory(run: &'static str, kinds: &[Kind]) -> impl Subject {
    Quorums::new(kinds, move |space, number| format!("memory:quorum-{run}-{space}-{number}"))
}

use Kind::{Dead, Good, Slow, Unreliable};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_in_memory_conform() {
    assert_conforms(&in_memory("plain", &[Good, Good, Good])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_files_conform() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    let files = Quorums::new(&[Good, Good, Good], move |space, number| format!("sqlite:{path}/{space}-{number}.db"));
    assert_conforms(&files).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_dead_store_it_conforms() {
    assert_conforms(&in_memory("dead", &[Good, Dead, Good])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_slow_store_it_conforms() {
    assert_conforms(&in_memory("slow", &[Good, Good, Slow])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_unreliable_store_it_conforms() {
    assert_conforms(&in_memory("unreliable", &[Unreliable, Good, Good])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_stores_in_every_state_conform() {
    assert_conforms(&in_memory("mixed", &[Dead, Slow, Unreliable, Good, Good])).await;
}

/// Stores in memory that can be taken away.
#[tokio::test]
async fn a_large_value_is_a_blob_on_a_quorum_and_a_small_one_is_not() {
    let (direct, named, switches) = stores("blobs", 3).await;
    let topo = quorum::of(named, "test").unwrap();
    put(&*topo, "/small", &"s".repeat(quorum::INLINE_BYTES)).await;
    put(&*topo, "/large", &"l".repeat(quorum::INLINE_BYTES + 1)).await;
    let mut holding = 0;
    for store in &direct {
        holding += store.list("/b/").await.unwrap().len();
        for entry in store.list("/r/large").await.unwrap() {
            assert!(entry.versioned.value.len() < 2048);
        }
    }
    assert!((2..=3).contains(&holding), "{holding} blobs");
    // Whichever store is lost, both can be read, also by a process that has not written them.
    for lost in 0..3 {
        let (_, named, switches) = stores("blobs", 3).await;
        let topo = quorum::of(named, "reader").unwrap();
        switches[lost].set_available(false);
        assert_eq!(value(&*topo, "/large").await.map(|value| value.len()), Some(quorum::INLINE_BYTES + 1));
        assert_eq!(value(&*topo, "/small").await.map(|value| value.len()), Some(quorum::INLINE_BYTES));
    }
    drop(switches);
}

#[tokio::test]
async fn one_process_writes_again_in_one_round_trip() {
    let (direct, named, _) = stores("lease", 3).await;
    let topo = quorum::of(named, "test").unwrap();
    let Swap::Committed(mut version) = topo.create("/a", "0".into()).await.unwrap() else { panic!("not created") };
    let calls = || direct.iter().map(|store| store.usage().total().calls).sum::<u64>();
    for round in 1..=5 {
        // What the write before left for the third store is done when the store has been asked
        // thrice.
        let before = calls();
        let outcome = topo.compare_and_swap("/a", &version, round.to_string().into()).await.unwrap();
        let Swap::Committed(next) = outcome else { panic!("{outcome:?}") };
        version = next;
        assert!(calls() - before <= 4, "round {round} took {} calls", calls() - before);
    }
}

/// A store tells what it holds. What it has missed others tell, later: nothing is left out, and
/// nothing promises an order.
#[tokio::test]
async fn what_one_store_has_missed_is_told_by_another() {
    let (_, named, switches) = stores("missed", 3).await;
    let topo = quorum::of(named, "test").unwrap();
    let mut cursor = topo.changes(None).await.unwrap().cursor().clone();
    // Without the last store the first one must have the second key before its write is acknowledged.
    for (switch, key) in [(&switches[0], "/r/first"), (&switches[2], "/r/second")] {
        switch.add_rule(Rule { key_prefix: key.into(), times: u64::MAX, ..Rule::once(Fault::Unavailable) });
    }
    put(&*topo, "/first", "one").await;
    put(&*topo, "/second", "one").await;
    // The feeds of the other two fail once, so that the first one's is heard alone.
    for switch in &switches[1..] {
        switch.add_rule(Rule { operation: Some(Operation::Changes), ..Rule::once(Fault::Unavailable) });
    }
    let mut told = Vec::new();
    for _ in 0..2 {
        let changes = topo.changes(Some(&cursor)).await.unwrap();
        let Changes::Keys { cursor: next, keys } = changes else { panic!("{changes:?}") };
        told.push(keys.into_keys().collect::<Vec<_>>());
        cursor = next;
    }
    assert_eq!(told[0], ["/second"]);
    assert!(told[1].contains(&"/first".to_owned()), "{told:?}");
}

/// An object store's feed tells from memory what a list has shown, also when the store is away by then.
#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_once_it_told_of_a_change_holds_nobody_up() {
    let (direct, named, switches) = stores("told", 3).await;
    let writer = quorum::of((0..).map(|n| format!("memory:{n}")).zip(direct).collect(), "writer").unwrap();
    let follower = quorum::of(named, "follower").unwrap();
    put(&*writer, "/before", "one").await;
    let mut cursor = follower.changes(None).await.unwrap().cursor().clone();
    let away = Rule { operation: Some(Operation::Get), times: u64::MAX, ..Rule::once(Fault::Unavailable) };
    switches[0].add_rule(away);
    // The first store's feed is heard alone at first.
    for switch in &switches[1..] {
        switch.add_rule(Rule { operation: Some(Operation::Changes), ..Rule::once(Fault::Unavailable) });
    }
    for key in ["/one", "/two"] {
        put(&*writer, key, "new").await;
        let mut told = BTreeSet::new();
        while !told.contains(key) {
            let changes = follower.changes(Some(&cursor)).await.unwrap();
            cursor = changes.cursor().clone();
            let Changes::Keys { keys, .. } = changes else { panic!("{changes:?}") };
            told.extend(keys.into_keys());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_copy_at_one_store_holds_nobody_up() {
    let (direct, named, switches) = stores("damaged", 3).await;
    let topo = quorum::of(named, "test").unwrap();
    put(&*topo, "/a", "one").await;
    let mut cursor = topo.changes(None).await.unwrap().cursor().clone();
    let copy = direct[0].get("/r/a").await.unwrap().unwrap();
    direct[0].compare_and_swap("/r/a", &copy.version, "damaged".into()).await.unwrap();
    // The first store's feed is heard alone at first.
    for switch in &switches[1..] {
        switch.add_rule(Rule { operation: Some(Operation::Changes), ..Rule::once(Fault::Unavailable) });
    }
    put(&*topo, "/a", "two").await;
    put(&*topo, "/b", "one").await;
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        let changes = topo.changes(Some(&cursor)).await.unwrap();
        cursor = changes.cursor().clone();
        let Changes::Keys { keys, .. } = changes else { panic!("{changes:?}") };
        told.extend(keys.into_keys());
    }
    assert_eq!(value(&*topo, "/a").await.as_deref(), Some("two"));
    let found = topo.check().await.unwrap();
    assert!(found.iter().any(|finding| format!("{finding:?}").contains("no copy of a register")), "{found:?}");
}
