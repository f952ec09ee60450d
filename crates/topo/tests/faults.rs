//! The fault decorator: it does what it says, and never what the contract forbids.

mod support;

use futures::poll;
use hansa_topo::fault::{Chances, Fault, Faults, Rule, wrap};
use hansa_topo::{Category, Changes, Operation, Swap, Topo, TopoError, Version, memory};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use support::put;

/// A server with one key, directly and behind the decorator.
async fn pair() -> (Arc<dyn Topo>, Arc<dyn Topo>, Faults) {
    let direct = memory::unshared().unwrap();
    put(&*direct, "/a", "one").await;
    let (faulty, faults) = wrap(direct.clone(), 1);
    (direct, faulty, faults)
}

async fn value(topo: &dyn Topo, key: &str) -> Option<String> {
    let found = topo.get(key).await.unwrap();
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

async fn version(topo: &dyn Topo, key: &str) -> Version {
    topo.get(key).await.unwrap().unwrap().version
}

fn indeterminate(outcome: Result<Swap, TopoError>) -> bool {
    matches!(outcome, Ok(Swap::Indeterminate { .. }))
}

#[tokio::test]
async fn without_faults_it_changes_nothing() {
    let (direct, faulty, faults) = pair().await;
    let at = version(&*faulty, "/a").await;
    let outcome = faulty.compare_and_swap("/a", &at, "two".into()).await.unwrap();
    assert!(matches!(outcome, Swap::Committed(_)));
    assert_eq!(faulty.list("").await.unwrap(), direct.list("").await.unwrap());
    assert!(faults.met().is_empty());
    assert_eq!(faulty.usage(), direct.usage());
}

#[tokio::test]
async fn a_switch_takes_the_server_away_and_gives_it_back() {
    let (direct, faulty, faults) = pair().await;
    let cursor = faulty.changes(None).await.unwrap().cursor().clone();
    let mut waiting = pin!(faulty.changes(Some(&cursor)));
    assert!(poll!(&mut waiting).is_pending());
    let calls = direct.usage().total().calls;
    faults.set_available(false);
    // Who waits, and who comes.
    for error in [
        waiting.await.unwrap_err(),
        faulty.get("/a").await.unwrap_err(),
        faulty.list("").await.unwrap_err(),
        faulty.read_many(&["/a".into()]).await.unwrap_err(),
        faulty.create("/b", "one".into()).await.unwrap_err(),
        faulty.changes(None).await.unwrap_err(),
        faulty.check().await.unwrap_err(),
    ] {
        assert_eq!(error.category(), Category::Unavailable, "{error}");
    }
    assert_eq!(direct.usage().total().calls, calls, "calls went through");
    put(&*direct, "/b", "meanwhile").await;
    faults.set_available(true);
    let told = faulty.changes(Some(&cursor)).await.unwrap();
    assert!(matches!(told, Changes::Keys { keys, .. } if keys.contains_key("/b")));
}

#[tokio::test]
async fn a_file_takes_the_server_away_from_another_process() {
    let (_direct, faulty, faults) = pair().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("away");
    faults.away_while_exists(file.clone());
    let cursor = faulty.changes(None).await.unwrap().cursor().clone();
    let mut waiting = pin!(faulty.changes(Some(&cursor)));
    assert!(poll!(&mut waiting).is_pending() && faults.is_available());
    std::fs::write(&file, "").unwrap();
    assert_eq!(waiting.await.unwrap_err().category(), Category::Unavailable);
    assert!(!faults.is_available());
    assert_eq!(faulty.get("/a").await.unwrap_err().category(), Category::Unavailable);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(value(&*faulty, "/a").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn an_outage_meets_slow_calls() {
    let (direct, faulty, faults) = pair().await;
    faults.set_latency(Duration::from_secs(3600)..Duration::from_secs(7200));
    let (mut read, mut write) = (pin!(faulty.get("/a")), pin!(faulty.create("/b", "one".into())));
    assert!(poll!(&mut read).is_pending() && poll!(&mut write).is_pending());
    faults.set_available(false);
    // They were not sent yet.
    assert_eq!(read.await.unwrap_err().category(), Category::Unavailable);
    assert_eq!(write.await.unwrap_err().category(), Category::Unavailable);
    faults.set_available(true);
    faults.calm();
    assert_eq!(value(&*faulty, "/b").await, None);
    assert_eq!(direct.list("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_is_lost_and_the_write_is_not() {
    let (direct, faulty, faults) = pair().await;
    let at = version(&*direct, "/a").await;
    faults.add_rule(Rule::once(Fault::LostAnswer));
    assert!(indeterminate(faulty.compare_and_swap("/a", &at, "two".into()).await));
    assert_eq!(value(&*direct, "/a").await.as_deref(), Some("two"));
    // A mismatch is lost as well.
    faults.add_rule(Rule::once(Fault::LostAnswer));
    assert!(indeterminate(faulty.compare_and_swap("/a", &at, "three".into()).await));
    assert_eq!(value(&*direct, "/a").await.as_deref(), Some("two"));
}

/// The sequence that no re-reading settles: the version stands unchanged, and the write lands later.
#[tokio::test]
async fn a_late_write_lands_after_it_was_looked_for() {
    let (direct, faulty, faults) = pair().await;
    let at = version(&*direct, "/a").await;
    faults.add_rule(Rule::once(Fault::LateWrite(3)));
    assert!(indeterminate(faulty.compare_and_swap("/a", &at, "late".into()).await));
    for _ in 0..2 {
        assert_eq!(version(&*faulty, "/a").await, at);
    }
    assert_eq!(value(&*faulty, "/a").await.as_deref(), Some("late"));
    // Whoever consumes the version first has settled it.
    let at = version(&*direct, "/a").await;
    faults.add_rule(Rule::once(Fault::LateWrite(1000)));
    assert!(indeterminate(faulty.compare_and_swap("/a", &at, "later".into()).await));
    let consumed = faulty.compare_and_swap("/a", &at, "settled".into()).await.unwrap();
    assert!(matches!(consumed, Swap::Committed(_)));
    faults.land_late_writes();
    assert_eq!(value(&*faulty, "/a").await.as_deref(), Some("settled"));
}

#[tokio::test]
async fn a_rival_makes_a_real_mismatch() {
    let (direct, faulty, faults) = pair().await;
    let at = version(&*direct, "/a").await;
    faults.add_rule(Rule { times: 2, ..Rule::once(Fault::Rival) });
    let outcome = faulty.compare_and_swap("/a", &at, "two".into()).await.unwrap();
    let Swap::Mismatch { current: Some(current) } = outcome else { panic!("{outcome:?}") };
    assert_eq!((current.value.as_ref(), current.version != at), (&b"one"[..], true));
    assert_eq!(direct.get("/a").await.unwrap(), Some(current));
    // Of a missing key a rival has nothing to write.
    let outcome = faulty.compare_and_swap("/x", &at, "two".into()).await.unwrap();
    assert_eq!(outcome, Swap::Mismatch { current: None });
}

#[tokio::test]
async fn errors_of_each_kind_are_injected() {
    let (direct, faulty, faults) = pair().await;
    let wait = Duration::from_secs(7);
    let operation = Some(Operation::Get);
    for fault in [Fault::Unavailable, Fault::Throttled(wait), Fault::Stale] {
        faults.add_rule(Rule { operation, ..Rule::once(fault) });
    }
    // None of them meets another operation.
    put(&*direct, "/b", "one").await;
    faulty.list("").await.unwrap();
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(faulty.get("/a").await.unwrap_err());
    }
    let categories: Vec<_> = errors.iter().map(TopoError::category).collect();
    assert_eq!(categories, [Category::Unavailable, Category::Throttled, Category::Stale]);
    assert_eq!(errors[1].wait(), Some(wait));
    assert!(errors.iter().all(|error| error.is_retryable() && error.key() == Some("/a")));
    assert_eq!(value(&*faulty, "/a").await.as_deref(), Some("one"));
}

#[tokio::test]
async fn rules_meet_the_keys_and_calls_they_name() {
    let (_direct, faulty, faults) = pair().await;
    faults.add_rule(Rule { key_prefix: "/a".into(), skip: 1, times: 2, ..Rule::once(Fault::Unavailable) });
    let mut failed = Vec::new();
    for key in ["/a", "/b", "/a", "/b", "/a/b", "/a"] {
        failed.push(faulty.get(key).await.is_err());
    }
    assert_eq!(failed, [false, false, true, false, true, false]);
    assert_eq!(faults.met(), [("unavailable", 2)].into());
}

#[tokio::test]
async fn changes_are_reset_and_repeated() {
    let (direct, faulty, faults) = pair().await;
    let mut cursor = faulty.changes(None).await.unwrap().cursor().clone();
    put(&*direct, "/b", "one").await;
    cursor = faulty.changes(Some(&cursor)).await.unwrap().cursor().clone();
    put(&*direct, "/c", "one").await;
    faults.add_rule(Rule::once(Fault::Repeated));
    let told = faulty.changes(Some(&cursor)).await.unwrap();
    let Changes::Keys { keys, .. } = &told else { panic!("{told:?}") };
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["/b", "/c"]);
    faults.add_rule(Rule::once(Fault::Reset));
    let told = faulty.changes(Some(told.cursor())).await.unwrap();
    assert!(matches!(told, Changes::Reset { .. }), "{told:?}");
    put(&*direct, "/d", "one").await;
    let told = faulty.changes(Some(told.cursor())).await.unwrap();
    assert!(matches!(told, Changes::Keys { keys, .. } if keys.contains_key("/d")));
}

#[tokio::test]
async fn a_seed_decides_what_happens() {
    async fn story(seed: u64) -> Vec<String> {
        let (faulty, faults) = wrap(memory::unshared().unwrap(), seed);
        faults.set_chances(Chances {
            unavailable: 100,
            stale: 100,
            lost_answer: 200,
            late_write: 200,
            ..Chances::default()
        });
        let mut story = Vec::new();
        for n in 0..60 {
            let key = format!("/{}", n % 7);
            story.push(format!("{:?}", faulty.create(&key, "one".into()).await));
            story.push(format!("{:?}", faulty.get(&key).await));
        }
        story.push(format!("{:?}", faults.met()));
        story
    }
    let first = story(7).await;
    assert_eq!(first, story(7).await);
    assert_ne!(first, story(8).await);
}
