//! Which stores are a quorum's: how it is formed, what becomes of strangers and of stores that are lost or have forgotten,
//! and how one is replaced.

mod support;

use hansa_topo::fault::{self, Fault, Rule};
use hansa_topo::{Category, Changes, Operation, Options, Severity, quorum};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::{hammer, opened, put, restored, stores, value};
use tokio::io::{AsyncBufReadExt, BufReader};

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

/// Whoever goes on names another store in the place of one.
#[tokio::test]
async fn a_quorum_that_was_half_formed_is_formed_as_it_was_begun() {
    let (direct, named, _) = stores("begun", 4).await;
    assert_eq!(value(&*quorum::of(named[..3].to_vec(), "test").unwrap(), "/a").await, None);
    let mut half = Vec::new();
    for (number, store) in direct[..3].iter().enumerate() {
        let without = if number == 0 { "/nothing" } else { "/q/set" };
        let store = restored(&format!("begun-{number}"), &**store, without).await;
        half.push((format!("memory:quorum-begun-{number}-restored"), store));
    }
    let others = vec![half[0].clone(), half[1].clone(), named[3].clone()];
    put(&*quorum::of(others, "test").unwrap(), "/a", "one").await;
    assert!(direct[3].list("").await.unwrap().is_empty(), "it was not begun with that one");
    assert_eq!(value(&*quorum::of(half.clone(), "test").unwrap(), "/a").await.as_deref(), Some("one"));
    // It is a whole one: a store of it may be replaced.
    let urls: Vec<&str> = half.iter().map(|(url, _)| url.as_str()).collect();
    let url = format!("quorum:{}", urls.join(","));
    let replaced = quorum::replace(&url, urls[2], "memory:quorum-begun-new", &Options::default(), |_| ()).await;
    let after = opened(&replaced.unwrap().to_string()).await.unwrap();
    assert_eq!(value(&*after, "/a").await.as_deref(), Some("one"));
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

/// While the set cannot be written, the process that met it knows; whoever comes later, once it can.
#[tokio::test(start_paused = true)]
async fn that_a_store_has_forgotten_is_written_down_once_it_can_be() {
    let run = "forgot-late";
    let (direct, named, switches) = stores(run, 3).await;
    let topo = quorum::of(named.clone(), "before").unwrap();
    for value in ["zero", "one", "more", "two"] {
        put(&*topo, "/lost", value).await;
    }
    let back = restored(run, &*direct[1], "/lost").await;
    switches[2].add_rule(Rule {
        operation: Some(Operation::CompareAndSwap),
        key_prefix: "/q/set".into(),
        skip: 0,
        times: 6,
        fault: Fault::Unavailable,
    });
    let after = vec![named[0].clone(), (named[1].0.clone(), back), named[2].clone()];
    let topo = quorum::of(after, "after").unwrap();
    assert_eq!(value(&*topo, "/lost").await.as_deref(), Some("two"));
    let is_written_down = async || value(&*direct[2], "/q/set").await.is_some_and(|set| set.contains("barred"));
    assert!(!is_written_down().await);
    let written_down = async {
        while !is_written_down().await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(600), written_down).await.expect("it is tried again");
    assert_eq!(switches[2].met().get("unavailable"), Some(&6));
}

/// Each of its writes may have happened, and none has when it is looked at.
#[tokio::test(start_paused = true)]
async fn a_store_of_whose_writes_nothing_is_known_is_let_alone_between_them() {
    let (_, named, switches) = stores("unknown", 3).await;
    let topo = quorum::of(named, "test").unwrap();
    put(&*topo, "/a", "one").await;
    let fault = Fault::LateWrite(u64::MAX);
    switches[2].add_rule(Rule { operation: None, key_prefix: "/r/".into(), skip: 0, times: u64::MAX, fault });
    put(&*topo, "/a", "two").await;
    // It is brought to where the others are for a quarter of a minute.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let writes = switches[2].met().get("late_write").copied().unwrap_or_default();
    assert!((3..=40).contains(&writes), "{writes} writes");
    assert_eq!(value(&*topo, "/a").await.as_deref(), Some("two"));
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

/// What was made on stores that it does not know of, it would not miss.
#[tokio::test(start_paused = true)]
async fn who_lists_and_is_not_told_whether_the_set_is_another_by_now_is_told_nothing() {
    let (direct, named, switches) = stores("unasked", 3).await;
    let urls: Vec<String> = named.iter().map(|(url, _)| url.clone()).collect();
    let follower = quorum::of(named, "follower").unwrap();
    put(&*follower, "/before", "one").await;
    let new = "memory:quorum-unasked-new".to_owned();
    let url = format!("quorum:{}", urls.join(","));
    quorum::replace(&url, &urls[2], &new, &Options::default(), |_| ()).await.unwrap();
    // Of the stores that the follower knows of, the first one alone has this.
    let (without, away) = fault::wrap(direct[1].clone(), 1);
    let arrived = opened(&new).await.unwrap();
    let there = [(urls[0].clone(), direct[0].clone()), (urls[1].clone(), without), (new, arrived)];
    let writer = quorum::of(there.into(), "writer").unwrap();
    value(&*writer, "/before").await.unwrap();
    away.set_available(false);
    put(&*writer, "/new", "one").await;

    switches[0].set_available(false);
    for switch in &switches {
        switch.add_rule(Rule { key_prefix: "/q/set".into(), times: u64::MAX, ..Rule::once(Fault::Unavailable) });
    }
    let error = follower.list("/n").await.unwrap_err();
    assert_eq!(error.category(), Category::Unavailable, "{error}");
    for switch in &switches {
        switch.calm();
        switch.set_available(true);
    }
    let listed = follower.list("/n").await.unwrap();
    assert_eq!(listed.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["/new"]);
}

/// A folder stands where the file was: it cannot be opened.
fn lose_file(directory: &Path, name: &str) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains(name) {
            // The last handle takes the journal away when it is closed.
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            }
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
        // Nor by a store that counts already, which this URL does not name.
        let three = format!("quorum:{},{},{}", file("a"), file("c"), file("d"));
        let member = quorum::replace(&three, &file("c"), &file("b"), &options, |_| ()).await.unwrap_err();
        assert!(member.to_string().contains("another replacement is under way"), "{member}");
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
