//! A candidate of the spec and what is at work in a cluster.

use super::{League, spec_of};
use crate::ballots::cluster::{AtWork, Cluster};
use hansa_ballot::{Key, Verdict};
use serde_json::{Value, json};

/// A league that has ConfigMaps in version v1, and a candidate that says this of them.
fn types_change(after: Value) -> League {
    let spec = |types: Value| {
        let mut spec = spec_of(&["a", "b", "c"]);
        spec["types"] = json!([types]);
        spec
    };
    let mut league = League::new(&spec(json!({"resource": "configmaps", "version": "v1", "privileged": true})));
    league.edit = Some(league.candidate("a", &spec(after)));
    league.says("a");
    league
}

fn at_work(key: &str) -> Cluster {
    let key: hansa_model::RecordKey = key.parse().unwrap();
    let examples = [(key.namespace.clone(), key.clone())].into();
    let at_work = [(key.type_name, AtWork { namespaced: true, count: 3, examples })].into();
    Cluster { at_work, ..Cluster::default() }
}

#[test]
fn a_version_that_a_cluster_does_not_serve_is_voted_down_where_it_would_stop_what_is_at_work() {
    let mut league = types_change(json!({"resource": "configmaps", "version": "v2", "privileged": true}));
    assert_eq!(league.vote("b", &Key::spec()), Some((Verdict::Yes, None)), "nothing is at work there");
    league.cluster = at_work("configmaps/shop/conf");
    assert_eq!(league.vote("b", &Key::spec()), None, "it asks its API server first");
    let asked = ("configmaps".parse().unwrap(), "v2".to_owned());
    league.cluster.serves.insert(asked.clone(), Some(true));
    assert_eq!(league.vote("b", &Key::spec()), Some((Verdict::Yes, None)));
    league.cluster.serves.insert(asked, Some(false));
    let (verdict, why) = league.vote("b", &Key::spec()).unwrap();
    assert_eq!(verdict, Verdict::No);
    assert_eq!(
        why.unwrap(),
        "spec.types[configmaps].version: b has 3 objects of configmaps in version v1, and its API server does not serve version v2: keep v1, or let b serve v2 first"
    );
}

#[test]
fn a_type_stays_privileged_where_objects_at_work_need_it() {
    let mut league = types_change(json!({"resource": "configmaps", "version": "v1"}));
    league.cluster = at_work("configmaps/shop/conf");
    assert_eq!(league.vote("b", &Key::spec()), Some((Verdict::Yes, None)));
    league.cluster = at_work("configmaps/kube-system/conf");
    let (verdict, why) = league.vote("b", &Key::spec()).unwrap();
    assert_eq!(verdict, Verdict::No);
    let why = why.unwrap();
    assert!(why.contains("b has configmaps/kube-system/conf at work") && why.contains("privileged: true"), "{why}");
}

#[test]
fn a_sealing_key_that_an_operator_has_not_is_voted_down_by_it() {
    let key = |byte: u8| {
        let bytes = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [byte; 32]);
        format!("x25519:{bytes}")
    };
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    let mut spec = spec_of(&["a", "b", "c"]);
    spec["members"][1]["publicKeys"] = json!([key(1)]);
    league.edit = Some(league.candidate("a", &spec));
    league.says("a");
    league.cluster.public_keys = vec![key(1)];
    assert_eq!(league.vote("b", &Key::spec()), Some((Verdict::Yes, None)));
    league.cluster.public_keys = vec![key(2)];
    assert_eq!(league.vote("c", &Key::spec()), Some((Verdict::Yes, None)), "another member cannot know");
    let (verdict, why) = league.vote("b", &Key::spec()).unwrap();
    assert!(verdict == Verdict::No && why.unwrap().contains("could open no Secret: write x25519:"));
}
