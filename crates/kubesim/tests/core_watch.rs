//! Watches and pages, without sockets.

mod core_support;

use core_support::{Cluster, names as names_of};
use hansa_kubesim::core::Config;
use hansa_kubesim::core::http::Request;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

/// A cluster with the namespace `shop` and nothing in it but what furnishes it.
fn shop(history: usize) -> Cluster {
    let mut cluster = Cluster::with(Config { history, workloads: false, ..Config::default() });
    cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}}));
    cluster
}

fn labelled(cluster: &mut Cluster, name: &str, tier: &str) -> Value {
    cluster.create(MAPS, &json!({"metadata": {"name": name, "labels": {"tier": tier}}, "data": {"k": "1"}}))
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
}

#[test]
fn an_object_that_a_selector_loses_is_deleted_for_its_watch_and_added_when_it_comes_back() {
    let mut cluster = shop(100);
    labelled(&mut cluster, "a", "front");
    labelled(&mut cluster, "b", "back");
    let watch = cluster.watch(&format!("{MAPS}?watch=1&labelSelector=tier%3Dfront"));
    assert_eq!(cluster.brief(watch), ["ADDED a"]);
    let moved = |tier: &str| {
        Request::patch(&format!("{MAPS}/a"), "merge-patch", &json!({"metadata": {"labels": {"tier": tier}}}))
    };
    let after = cluster.expect(200, &moved("back"));
    let events = cluster.poll(watch);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["type"], "DELETED");
    assert_eq!(events[0]["object"]["metadata"]["labels"]["tier"], "front", "the state that was selected");
    assert_eq!(version(&events[0]["object"]), version(&after), "at the version of the change");
    cluster.expect(200, &Request::patch(&format!("{MAPS}/a"), "merge-patch", &json!({"data": {"k": "2"}})));
    assert_eq!(cluster.brief(watch), Vec::<String>::new(), "what is not selected is nobody's event");
    cluster.expect(200, &moved("front"));
    cluster.expect(200, &Request::delete(&format!("{MAPS}/b")));
    cluster.expect(200, &Request::delete(&format!("{MAPS}/a")));
    assert_eq!(cluster.brief(watch), ["ADDED a", "DELETED a"]);
}

#[test]
fn a_watch_by_name_sees_one_object_and_only_changes() {
    let mut cluster = shop(100);
    let made = labelled(&mut cluster, "a", "x");
    let watch =
        cluster.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da&resourceVersion={}", version(&made)));
    labelled(&mut cluster, "b", "x");
    let same = cluster.expect(200, &Request::patch(&format!("{MAPS}/a"), "merge-patch", &json!({"data": {"k": "1"}})));
    assert_eq!(version(&same), version(&made), "a patch that changes nothing is no change");
    assert_eq!(cluster.brief(watch), Vec::<String>::new());
    cluster.expect(200, &Request::patch(&format!("{MAPS}/a"), "merge-patch", &json!({"data": {"k": "2"}})));
    assert_eq!(cluster.brief(watch), ["MODIFIED a"]);
}

#[test]
fn bookmarks_come_when_nothing_else_does_and_name_the_latest_version() {
    let mut cluster = shop(100);
    let watch =
        cluster.watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={}", cluster.core.version()));
    cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "elsewhere"}}));
    assert!(cluster.poll(watch).is_empty());
    cluster.pass(61_000);
    let events = cluster.poll(watch);
    assert_eq!(events.iter().map(|event| event["type"].as_str().unwrap_or_default()).collect::<Vec<_>>(), ["BOOKMARK"]);
    assert_eq!(version(&events[0]["object"]), cluster.core.version(), "changes elsewhere move a bookmark too");
    let plain = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={}", cluster.core.version()));
    cluster.pass(61_000);
    assert!(cluster.poll(plain).is_empty(), "who did not ask gets none");
}

#[test]
fn a_streamed_list_ends_with_its_bookmark_and_goes_on_with_changes() {
    let mut cluster = shop(100);
    labelled(&mut cluster, "a", "x");
    let target =
        format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let watch = cluster.watch(&target);
    labelled(&mut cluster, "b", "x");
    let events = cluster.poll(watch);
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(kinds, ["ADDED", "ADDED", "BOOKMARK", "ADDED"], "{events:#?}");
    assert_eq!(events[2]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(events[3]["object"]["metadata"]["name"], "b");
    cluster.pass(61_000);
    let later = cluster.poll(watch);
    assert_eq!(later.len(), 1);
    assert!(later[0]["object"]["metadata"]["annotations"].is_null(), "only the first marks the end of the list");
}

#[test]
fn what_history_no_longer_reaches_is_gone_for_watches_and_pages() {
    let mut cluster = shop(3);
    let early = version(&labelled(&mut cluster, "a", "x"));
    let slow = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={early}"));
    for number in 0..6 {
        labelled(&mut cluster, &format!("m{number}"), "x");
    }
    let events = cluster.poll(slow);
    assert_eq!((events.len(), &events[0]["type"], &events[0]["object"]["code"]), (1, &json!("ERROR"), &json!(410)));
    assert_eq!(events[0]["object"]["reason"], "Expired");
    assert!(cluster.core.poll_watch(cluster.now, slow, u64::MAX).closed, "the stream ends with it");
    let late = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={early}"));
    assert_eq!(cluster.brief(late), ["ERROR Expired"]);

    let first = cluster.get(&format!("{MAPS}?limit=2"));
    let token = first["metadata"]["continue"].as_str().expect("more").to_owned();
    for number in 0..6 {
        cluster.expect(200, &Request::delete(&format!("{MAPS}/m{number}")));
    }
    let gone = cluster.expect(410, &Request::get(&format!("{MAPS}?limit=2&continue={token}")));
    assert_eq!(gone["reason"], "Expired");
    let rest = gone["metadata"]["continue"].as_str().expect("a way to go on without one state").to_owned();
    cluster.get(&format!("{MAPS}?limit=2&continue={rest}"));
}

#[test]
fn a_list_in_pages_is_one_state_whatever_changes_meanwhile() {
    let mut cluster = shop(100);
    for number in 0..7 {
        labelled(&mut cluster, &format!("m{number}"), if number % 2 == 0 { "even" } else { "odd" });
    }
    let first = cluster.get(&format!("{MAPS}?limit=3&labelSelector=tier"));
    let at = version(&first);
    assert_eq!(names_of(&first), ["m0", "m1", "m2"]);
    cluster.expect(200, &Request::delete(&format!("{MAPS}/m4")));
    cluster.expect(200, &Request::patch(&format!("{MAPS}/m5"), "merge-patch", &json!({"data": {"k": "new"}})));
    labelled(&mut cluster, "m3a", "odd");
    let mut seen = Vec::new();
    let mut token = first["metadata"]["continue"].as_str().map(str::to_owned);
    while let Some(text) = token {
        let page = cluster.get(&format!("{MAPS}?limit=3&labelSelector=tier&continue={text}"));
        assert_eq!(version(&page), at, "every page is of the first one's version");
        assert!(page["items"].as_array().is_some_and(|items| items.len() <= 3));
        let fifth = page["items"].as_array().into_iter().flatten().find(|item| item["metadata"]["name"] == "m5");
        assert!(fifth.is_none_or(|item| item["data"]["k"] == "1"), "as it was then");
        seen.extend(names_of(&page));
        token = page["metadata"]["continue"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    }
    assert_eq!(seen, ["m3", "m4", "m5", "m6"]);
    let whole = cluster.get(&format!("{MAPS}?limit=3"));
    assert_eq!(
        whole["metadata"]["remainingItemCount"], 5,
        "seven, one more, one less, and the certificate, less three"
    );
}

#[test]
fn a_compaction_ends_old_watches_and_keeps_new_ones() {
    let mut cluster = shop(100);
    let early = version(&labelled(&mut cluster, "a", "x"));
    labelled(&mut cluster, "b", "x");
    let open = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={early}"));
    assert_eq!(cluster.brief(open), ["ADDED b"]);
    cluster.core.compact();
    labelled(&mut cluster, "c", "x");
    assert_eq!(cluster.brief(open), ["ADDED c"], "a watch that keeps up notices nothing");
    let old = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={early}"));
    assert_eq!(cluster.brief(old), ["ERROR Expired"]);
}

#[test]
fn a_watch_ends_with_its_time() {
    let mut cluster = shop(100);
    let short = cluster.watch(&format!("{MAPS}?watch=1&timeoutSeconds=5&resourceVersion={}", cluster.core.version()));
    cluster.pass(4_000);
    assert!(!cluster.core.poll_watch(cluster.now, short, u64::MAX).closed);
    cluster.pass(2_000);
    assert!(cluster.core.poll_watch(cluster.now, short, u64::MAX).closed);
    assert_eq!(cluster.core.watches(), 0);
}
