//! The ledger's rule for a write of unknown fate, on servers that lose answers and deliver late:
//! every operation is applied exactly once.

mod support;

use futures::future::join_all;
use hansa_ledger::swap::{Settled, settle};
use hansa_ledger::{Envelope, OperationId, Versioned};
use hansa_model::{Era, Hash, Incarnation, LeagueId, MemberName};
use hansa_topo::fault::{Chances, wrap};
use hansa_topo::{Topo, TopoError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::opened;

const KEY: &str = "/v1/pages/7";
const WRITERS: u8 = 4;
const OPERATIONS: u8 = 25;

/// Calls until the server answers at all.
async fn persistently<T, F: Future<Output = Result<T, TopoError>>>(call: impl Fn() -> F) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Appends this writer's operations to the one value, each until it is settled as committed.
async fn append(topo: &dyn Topo, me: u8, nonces: &AtomicU64) {
    let name: MemberName = format!("member-{me}").parse().unwrap();
    for number in 1..=OPERATIONS {
        let operation = OperationId { incarnation: Incarnation(1), sequence: number.into() };
        let mut found: Option<Versioned> = persistently(|| topo.get(KEY)).await;
        'committed: loop {
            let nonce = nonces.fetch_add(1, Ordering::Relaxed);
            let (envelope, mut body) = match &found {
                None => (Envelope::first(LeagueId(Hash::of_bytes(b"league")), Era(1), nonce), Vec::new()),
                Some(found) => Envelope::open(&found.value).unwrap(),
            };
            body.extend([me, number]);
            let bytes = envelope.next(nonce, &name, operation).seal(&body);
            found = loop {
                let answer = persistently(|| async {
                    match &found {
                        None => topo.create(KEY, bytes.clone()).await,
                        Some(found) => topo.compare_and_swap(KEY, &found.version, bytes.clone()).await,
                    }
                });
                match settle(&name, operation, answer.await).unwrap() {
                    Settled::Committed(_) | Settled::CommittedBefore(_) => break 'committed,
                    Settled::Lost(current) => break current,
                    Settled::Repeat { .. } => tokio::task::yield_now().await,
                }
            };
        }
    }
}

async fn assert_exactly_once(server: Arc<dyn Topo>, seed: u64) {
    let chances =
        Chances { unavailable: 50, stale: 50, lost_answer: 150, late_write: 150, rival: 50, ..Chances::default() };
    let writers: Vec<_> = (0..WRITERS).map(|me| (me, wrap(server.clone(), seed + u64::from(me)))).collect();
    for (_, (_, faults)) in &writers {
        faults.set_chances(chances);
        // So that they come in each other's way.
        faults.set_latency(Duration::ZERO..Duration::from_micros(500));
    }
    let nonces = AtomicU64::new(1);
    join_all(writers.iter().map(|(me, (topo, _))| append(&**topo, *me, &nonces))).await;
    let met = |fault| writers.iter().any(|(_, (_, faults))| faults.met().contains_key(fault));
    assert!(["lost_answer", "late_write", "rival"].into_iter().all(met), "not every fault was met");
    // What is still under way lands now, and must not matter.
    for (_, (topo, faults)) in &writers {
        faults.calm();
        faults.land_late_writes();
        topo.get(KEY).await.unwrap();
    }
    let (_, body) = Envelope::open(&server.get(KEY).await.unwrap().unwrap().value).unwrap();
    let mut applied: Vec<_> = body.chunks(2).map(|entry| (entry[0], entry[1])).collect();
    applied.sort_unstable();
    let all = (0..WRITERS).flat_map(|me| (1..=OPERATIONS).map(move |number| (me, number)));
    assert_eq!(applied, all.collect::<Vec<_>>());
}

#[tokio::test]
async fn each_operation_is_applied_once_in_memory() {
    for seed in 0..5 {
        assert_exactly_once(hansa_topo::memory::unshared().unwrap(), seed * 100).await;
    }
}

#[tokio::test]
async fn each_operation_is_applied_once_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/topo.db", directory.path().display());
    assert_exactly_once(opened(&url).await.unwrap(), 7).await;
}
