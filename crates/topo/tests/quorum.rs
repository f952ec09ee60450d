//! A quorum of stores against the battery, with stores that are dead, slow and unreliable, and
//! through what only it can meet: a store that was restored, one that is replaced, stores that do
//! not belong together.

mod support;

use async_trait::async_trait;
use hansa_topo::conformance::Subject;
use hansa_topo::fault::{self, Chances, Fault, Faults, Rule};
use hansa_topo::{Category, Changes, Operation, Options, Severity, Swap, Topo, TopoError, quorum};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{assert_conforms, hammer, opened, put};
use tokio::io::{AsyncBufReadExt, BufReader};

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
async fn stores(run: &str, count: usize) -> (Vec<Arc<dyn Topo>>, Vec<(String, Arc<dyn Topo>)>, Vec<Faults>) {
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

async fn value(topo: &dyn Topo, key: &str) -> Option<String> {
    let found = topo.get(key).await.unwrap();
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

#[tokio::test]
async fn one_of_three_may_be_lost_and_two_may_not() {
    let (_, named, switches) = stores("lost", 3).await;
    let topo = quorum::of(named, "test").unwrap();
    put(&*topo, "/a", "one").await;
    switches[0].set_available(false);
    assert_eq!(value(&*topo, "/a").await.as_deref(), Some("one"));
    put(&*topo, "/a", "two").await;
    switches[1].set_available(false);
    let error = topo.get("/a").await.unwrap_err();
    assert_eq!(error.category(), Category::Unavailable);
    assert!(
        error.to_string().contains("memory:quorum-lost-0") && error.to_string().contains("memory:quorum-lost-1"),
        "{error}"
    );
    // The one that missed a write and the one that comes back agree again.
    switches[0].set_available(true);
    assert_eq!(value(&*topo, "/a").await.as_deref(), Some("two"));
}

#[tokio::test]
async fn a_quorum_is_formed_when_all_stores_are_there() {
    let (_, named, switches) = stores("formed", 3).await;
    let topo = quorum::of(named, "test").unwrap();
    switches[2].set_available(false);
    let error = topo.get("/a").await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("memory:quorum-formed-2"), "{error}");
    switches[2].set_available(true);
    assert_eq!(value(&*topo, "/a").await, None);
}

/// Whoever formed it was stopped when one store alone held the set, which answers later than the others.
#[tokio::test]
async fn a_quorum_that_was_half_formed_is_formed() {
    let (direct, named, _) = stores("half", 3).await;
    assert_eq!(value(&*quorum::of(named.clone(), "test").unwrap(), "/a").await, None);
    for first in 0..3 {
        let mut half = Vec::new();
        for (number, (location, _)) in named.iter().enumerate() {
            let without = if number == first { "/nothing" } else { "/q/set" };
            let store = restored(&format!("half-{first}-{number}"), &*direct[number], without).await;
            let (store, faults) = fault::wrap(store, 1);
            if number == first {
                faults.set_latency(Duration::from_millis(300)..Duration::from_millis(301));
            }
            half.push((location.clone(), store));
        }
        let topo = quorum::of(half, "test").unwrap();
        put(&*topo, "/a", "one").await;
        assert_eq!(value(&*topo, "/a").await.as_deref(), Some("one"));
    }
}

#[tokio::test]
async fn a_store_of_no_quorum_is_not_replaced() {
    let [a, b, c, new] = ["a", "b", "c", "new"].map(|name| format!("memory:quorum-unformed-{name}"));
    let error = quorum::replace(&format!("quorum:{a},{b},{c}"), &c, &new, &Options::default(), |_| ()).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no store that answers knows of a quorum"), "{error}");
    for url in [a, new] {
        assert!(opened(&url).await.unwrap().list("").await.unwrap().is_empty(), "{url}");
    }
}

/// Wherever in the URL the stranger stands, the two that belong together are used, and it is named.
#[tokio::test]
async fn a_stranger_among_the_stores_is_not_used_and_is_named() {
    let (_, first, _) = stores("first", 3).await;
    let (_, second, _) = stores("second", 3).await;
    put(&*quorum::of(first.clone(), "test").unwrap(), "/a", "of the first").await;
    put(&*quorum::of(second.clone(), "test").unwrap(), "/a", "of the second").await;
    for position in 0..3 {
        let mut mixed = second.clone();
        mixed[position] = first[position].clone();
        let topo = quorum::of(mixed, "test").unwrap();
        assert_eq!(value(&*topo, "/a").await.as_deref(), Some("of the second"), "{position}");
        let findings = topo.check().await.unwrap();
        let about = |store: &(String, _)| {
            let found = findings.iter().find(|finding| finding.message.starts_with(&store.0));
            found.unwrap_or_else(|| panic!("{} is not named: {findings:#?}", store.0)).clone()
        };
        let stranger = about(&first[position]);
        assert_eq!(stranger.severity, Severity::Warning, "{findings:#?}");
        assert!(stranger.message.contains("not part of this quorum"), "{findings:#?}");
        let missing = about(&second[position]);
        assert!(missing.message.contains("not in the URL"), "{findings:#?}");
    }
}

#[tokio::test]
async fn stores_of_which_no_majority_belongs_together_are_refused() {
    let (_, first, _) = stores("minority-first", 3).await;
    let (_, second, _) = stores("minority-second", 3).await;
    let (_, third, _) = stores("minority-third", 3).await;
    for named in [&first, &second, &third] {
        put(&*quorum::of(named.clone(), "test").unwrap(), "/a", "one").await;
    }
    let strangers = vec![first[0].clone(), second[1].clone(), third[2].clone()];
    let error = quorum::of(strangers, "test").unwrap().get("/a").await.unwrap_err();
    assert_eq!(error.category(), Category::Configuration, "{error}");
    assert!(error.to_string().contains("is not among the stores of this quorum"), "{error}");
    // One store of a quorum and two that hold nothing are neither that quorum nor a new one.
    let (direct, empty, _) = stores("minority-empty", 2).await;
    let mixed = vec![first[0].clone(), empty[0].clone(), empty[1].clone()];
    let error = quorum::of(mixed, "test").unwrap().get("/a").await.unwrap_err();
    assert_eq!(error.category(), Category::Configuration, "{error}");
    for (name, _) in &empty {
        assert!(error.to_string().contains(name), "{error}");
    }
    for store in direct {
        assert_eq!(store.list("").await.unwrap().len(), 0, "something was written to a stranger");
    }
}

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

/// A store that was restored from a backup has fewer entries than it acknowledged.
async fn restored(run: &str, from: &dyn Topo, without: &str) -> Arc<dyn Topo> {
    let topo = opened(&format!("memory:quorum-{run}-restored")).await.unwrap();
    for entry in from.list("").await.unwrap() {
        if !entry.key.contains(without) {
            topo.create(&entry.key, entry.versioned.value).await.unwrap();
        }
    }
    topo
}

#[tokio::test]
async fn a_store_that_forgets_is_quarantined() {
    let run = "forgets";
    let (direct, named, _) = stores(run, 3).await;
    let locations: Vec<String> = named.iter().map(|(location, _)| location.clone()).collect();
    let topo = quorum::of(named.clone(), "before").unwrap();
    put(&*topo, "/kept", "one").await;
    for value in ["zero", "one", "more", "two"] {
        put(&*topo, "/lost", value).await;
    }
    let back = restored(run, &*direct[1], "/lost").await;
    let after = vec![named[0].clone(), (locations[1].clone(), back.clone()), named[2].clone()];
    let topo = quorum::of(after, "after").unwrap();
    let findings = topo.check().await.unwrap();
    let about = findings.iter().find(|finding| finding.message.starts_with(&locations[1])).unwrap();
    assert_eq!(about.severity, Severity::Problem, "{findings:#?}");
    assert!(about.message.contains("quarantined") && about.message.contains("/lost"), "{findings:#?}");
    assert_eq!(value(&*topo, "/lost").await.as_deref(), Some("two"));
    put(&*topo, "/lost", "three").await;
    assert!(back.get("/r/lost").await.unwrap().is_none(), "it was counted again");
}

#[tokio::test]
async fn a_store_is_replaced_while_another_process_writes() {
    let run = "replaced";
    let (_, named, _) = stores(run, 3).await;
    let url = format!("quorum:{}", named.iter().map(|(url, _)| url.as_str()).collect::<Vec<_>>().join(","));
    let writer = quorum::of(named, "writer").unwrap();
    for number in 0..20 {
        put(&*writer, &format!("/k/{number}"), "one").await;
    }
    put(&*writer, "/large", &"l".repeat(quorum::INLINE_BYTES + 1)).await;
    let cursor = writer.changes(None).await.unwrap().cursor().clone();
    let new = format!("memory:quorum-{run}-new");
    let writing = async {
        for number in 0..200 {
            put(&*writer, &format!("/k/{}", number % 40), &number.to_string()).await;
            tokio::task::yield_now().await;
        }
    };
    let mut seen = Vec::new();
    let options = Options::default();
    let old = format!("memory:quorum-{run}-2");
    let replacing = quorum::replace(&url, &old, &new, &options, |progress| seen.push(progress));
    let ((), replaced) = futures::join!(writing, replacing);
    let next = replaced.unwrap().to_string();
    assert_eq!(next, url.replace(&old, &new));
    assert!(
        matches!(seen[..], [quorum::Progress::Began { epoch: 3 }, .., quorum::Progress::Ended { epoch: 4 }]),
        "{seen:?}"
    );
    // Who goes on with the old URL is told once to look anew, and goes on.
    assert!(matches!(writer.changes(Some(&cursor)).await.unwrap(), Changes::Reset { .. }));
    put(&*writer, "/k/0", "after").await;
    // The new stores have everything, whichever of them is lost; nobody needs the old one.
    let names: Vec<String> = next.trim_start_matches("quorum:").split(',').map(str::to_owned).collect();
    for lost in 0..3 {
        let (mut stores, mut switches) = (Vec::new(), Vec::new());
        for name in &names {
            let (topo, faults) = fault::wrap(opened(name).await.unwrap(), 1);
            stores.push((name.clone(), topo));
            switches.push(faults);
        }
        switches[lost].set_available(false);
        let reader = quorum::of(stores, "reader").unwrap();
        assert_eq!(value(&*reader, "/k/0").await.as_deref(), Some("after"));
        for number in 1..40 {
            assert_eq!(value(&*reader, &format!("/k/{number}")).await, Some((160 + number).to_string()));
        }
        assert_eq!(value(&*reader, "/large").await.map(|value| value.len()), Some(quorum::INLINE_BYTES + 1));
    }
    let findings = opened(&next).await.unwrap().check().await.unwrap();
    assert!(findings[0].message.contains("3 of 3") && findings[0].message.contains("epoch 4"), "{findings:#?}");
}

/// A folder stands where the file was: it cannot be opened.
fn lose_file(directory: &Path, name: &str) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains(name) {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::create_dir(directory.join(name)).unwrap();
}

#[tokio::test]
async fn a_lost_store_is_replaced_and_the_command_may_be_repeated() {
    let run = "gone";
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("sqlite:{}/{run}-{name}.db", directory.path().display());
    let url = format!("quorum:{},{},{}", file("a"), file("b"), file("c"));
    put(&*opened(&url).await.unwrap(), "/a", "one").await;
    lose_file(directory.path(), &format!("{run}-c.db"));
    let options = Options::default();
    let next = quorum::replace(&url, &file("c"), &file("d"), &options, |_| ()).await.unwrap().to_string();
    assert_eq!(value(&*opened(&next).await.unwrap(), "/a").await.as_deref(), Some("one"));
    let again = quorum::replace(&url, &file("c"), &file("d"), &options, |_| ()).await.unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");
}

/// Everything that was written to the quorum of [`interrupted`] stands on the stores of `url`, whichever is lost.
async fn assert_whole(url: &str) {
    let names: Vec<&str> = url.trim_start_matches("quorum:").split(',').collect();
    for lost in 0..3 {
        let (mut stores, mut switches) = (Vec::new(), Vec::new());
        for name in &names {
            let (topo, faults) = fault::wrap(opened(name).await.unwrap(), 1);
            stores.push(((*name).to_owned(), topo));
            switches.push(faults);
        }
        switches[lost].set_available(false);
        let reader = quorum::of(stores, "reader").unwrap();
        assert_eq!(value(&*reader, "/k/0").await.as_deref(), Some("between"), "without {}", names[lost]);
        for number in 1..12 {
            assert_eq!(value(&*reader, &format!("/k/{number}")).await, Some(number.to_string()));
        }
        assert_eq!(value(&*reader, "/large").await.map(|value| value.len()), Some(quorum::INLINE_BYTES + 1));
    }
}

/// A process that replaces a store is killed in `step`; the league goes on, and whoever does it again ends it.
async fn interrupted(step: &str, old_is_lost: bool) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("sqlite:{}/{name}.db", directory.path().display());
    let url = format!("quorum:{},{},{}", file("a"), file("b"), file("c"));
    let before = opened(&url).await.unwrap();
    for number in 0..12 {
        put(&*before, &format!("/k/{number}"), &number.to_string()).await;
    }
    put(&*before, "/large", &"l".repeat(quorum::INLINE_BYTES + 1)).await;
    drop(before);
    if old_is_lost {
        lose_file(directory.path(), "c.db");
    }
    let mut child = hammer(&["replace", &url, &file("c"), &file("d"), step]).stdout(Stdio::piped()).spawn().unwrap();
    let mut steps = BufReader::new(child.stdout.take().unwrap()).lines();
    while steps.next_line().await.unwrap().expect("it does not end before that step") != step {}
    child.kill().await.unwrap();
    // Nobody waits for whoever was killed.
    let topo = opened(&url).await.unwrap();
    put(&*topo, "/k/0", "between").await;
    let options = Options::default();
    if step != "ended" {
        let findings = topo.check().await.unwrap();
        assert!(findings[0].message.contains("a store is being replaced"), "{findings:#?}");
        let other = quorum::replace(&url, &file("c"), &file("e"), &options, |_| ()).await.unwrap_err();
        assert!(other.to_string().contains("another replacement is under way"), "{other}");
    }
    let again = quorum::replace(&url, &file("c"), &file("d"), &options, |_| ()).await;
    let next = format!("quorum:{},{},{}", file("a"), file("b"), file("d"));
    match again {
        Ok(url) => assert_eq!((url.to_string(), step == "ended"), (next.clone(), false)),
        Err(error) => assert!(step == "ended" && error.to_string().contains("already"), "{error}"),
    }
    assert_whole(&next).await;
    let findings = opened(&next).await.unwrap().check().await.unwrap();
    let total = &findings[0].message;
    assert!(
        total.contains("3 of 3") && total.contains("epoch 4") && !total.contains("being replaced"),
        "{findings:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_was_killed_is_done_again() {
    for step in ["began", "0", "7", "13", "ended"] {
        for old_is_lost in [false, true] {
            println!("killed in step {step}, the old store is lost: {old_is_lost}");
            interrupted(step, old_is_lost).await;
        }
    }
}
