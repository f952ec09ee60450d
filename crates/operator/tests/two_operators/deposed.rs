//! A process that was stopped for long, lost the Lease, and goes on for a moment: what it may not do,
//! and what the one that leads makes good.

use super::world::{World, federated};
use hansa_ledger::{Envelope, Page};
use hansa_model::{Incarnation, RecordKey, Revision};
use serde_json::json;

const HOME: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/conf";
const OUTPUT: &str = "/api/v1/namespaces/shop/configmaps/conf";
const PAGE: &str = "/v1/pages/";

fn written_later(envelope: &Envelope, by: u64, body: &[u8]) -> bytes::Bytes {
    Envelope { revision: Revision(envelope.revision.0 + by), ..envelope.clone() }.seal(body)
}

/// A league with an object whose home is in the one member, and whose output is in the other.
fn with_home() -> World {
    let mut world = World::new();
    world.found(&["configmaps"]);
    let spec = json!({"template": {"data": {"greeting": "hello"}}, "placement": {"members": ["b"]}});
    world.put(0, HOME, federated("ConfigMap", "conf", spec));
    world
}

#[test]
fn an_operator_that_missed_a_record_reads_it_before_it_lets_the_home_go() {
    let mut world = with_home();
    let key = RecordKey { type_name: "configmaps".parse().unwrap(), namespace: "shop".into(), name: "conf".into() };
    let page = |world: &World| {
        let pages = world.topo.iter().filter(|(key, _)| key.starts_with(PAGE));
        let opened = pages.map(|(name, (_, value))| (name.clone(), Envelope::open(value).unwrap()));
        opened.map(|(name, (envelope, body))| (name, envelope, Page::from_slice(&body).unwrap())).next()
    };
    world.run_until("it has a record", |world| page(world).is_some_and(|(_, _, page)| page.record(&key).is_some()));
    world.run_to_rest();
    let (name, envelope, with_record) = page(&world).unwrap();

    // What the operators know of: a page without the record. What stands there: the record again.
    world.put_topo(&name, written_later(&envelope, 1, &Page::empty().to_vec()));
    world.run_to_rest();
    let unheard_of = written_later(&envelope, 2, &with_record.to_vec());
    world.topo.insert(name, (u64::MAX, unheard_of));

    let mut home = world.members[0].objects[HOME].clone();
    assert_eq!(home["metadata"]["finalizers"], json!(["hansa.dev/federated"]));
    home["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.put(0, HOME, home);
    world.run_until("the finalizer is off", |world| {
        world.members[0].objects[HOME]["metadata"]["finalizers"] == json!([])
    });
    let (_, _, page) = page(&world).unwrap();
    assert!(page.record(&key).unwrap().homes.is_empty(), "the record says first that it is no home any more");
}

#[test]
fn what_an_earlier_process_says_of_outputs_is_said_anew() {
    let mut world = with_home();
    let statuses = |world: &World| -> Vec<(String, Envelope, Vec<u8>)> {
        let cells = world.topo.iter().filter(|(key, _)| key.starts_with("/v1/members/b/status/"));
        let opened = cells.map(|(name, (_, value))| (name.clone(), Envelope::open(value).unwrap()));
        opened.map(|(name, (envelope, body))| (name, envelope, body)).collect()
    };
    world.run_until("b has applied it", |world| {
        statuses(world).iter().any(|(.., body)| String::from_utf8_lossy(body).contains("Applied"))
    });
    world.run_to_rest();
    let (name, envelope, said) = statuses(&world).pop().unwrap();

    let earlier = String::from_utf8(said.clone()).unwrap().replace("Applied", "Conflicting");
    world.put_topo(&name, written_later(&envelope, 1, earlier.as_bytes()));
    world.run_until("it is said anew", |world| statuses(world).pop().unwrap().2 == said);
}

#[test]
fn what_waited_to_be_told_while_a_process_was_stopped_begins_no_life() {
    let mut world = with_home();
    world.run_until("b has it", |world| world.members[1].objects.contains_key(OUTPUT));
    world.run_to_rest();
    let conf = world.members[0].objects[HOME].clone();
    let late = HOME.replace("conf", "late");
    let mut object = federated("ConfigMap", "late", conf["spec"].clone());
    world.members[0].stopped = true;
    object = world.put(0, &late, object);
    assert!(object["metadata"]["uid"].is_string());
    // Another process led meanwhile: what was made was heard, and has ended.
    world.members[0].objects.remove(&late);
    world.sleep(20_000);
    world.members[0].stopped = false;
    world.run_until("it has looked anew", |world| {
        world.notes.iter().any(|note| note.message.contains("was stopped for a while"))
    });
    world.run_to_rest();
    let pages = world.topo.iter().filter(|(key, _)| key.starts_with(PAGE));
    let records: Vec<RecordKey> = pages
        .flat_map(|(_, (_, value))| Page::from_slice(&Envelope::open(value).unwrap().1).unwrap().records.into_keys())
        .collect();
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(!world.members[1].objects.contains_key(&OUTPUT.replace("conf", "late")));
}

/// A feed that waits to ask again has a timer, which a process that was stopped finds overdue when it asks anew anyway.
#[test]
fn a_process_that_was_stopped_while_its_api_server_was_away_watches_each_resource_once() {
    let mut world = with_home();
    world.run_to_rest();
    let watched = world.watched(1);
    world.go_away(1);
    world.run_until("its feeds wait to ask again", |world| {
        world.notes.iter().any(|note| note.message.contains("connection refused"))
    });
    world.members[1].stopped = true;
    world.away = None;
    world.sleep(20_000);
    world.members[1].stopped = false;
    world.run_until("it has looked anew", |world| {
        world.notes.iter().any(|note| note.message.contains("was stopped for a while"))
    });
    world.run_to_rest();
    assert_eq!(world.watched(1), watched);
}

/// Two processes of one member that both decided would be two writers of a page in one term.
#[test]
fn an_earlier_start_decides_nothing_where_a_later_one_does_and_a_clock_that_was_set_back_is_gone_on_from() {
    let mut world = World::new();
    world.found(&["configmaps"]);
    let spec =
        |members: &[&str]| json!({"template": {"data": {"greeting": "hello"}}, "placement": {"members": members}});
    let places = |world: &mut World, members: &[&str]| {
        let mut home =
            world.members[0].objects.get(HOME).cloned().unwrap_or_else(|| federated("ConfigMap", "conf", json!({})));
        home["spec"] = spec(members);
        world.put(0, HOME, home);
    };
    let page = |world: &World| {
        let pages = world.topo.iter().filter(|(key, _)| key.starts_with(PAGE));
        let opened = pages.map(|(name, (_, value))| (name.clone(), Envelope::open(value).unwrap()));
        let mut read = opened.map(|(name, (envelope, body))| (name, envelope, Page::from_slice(&body).unwrap()));
        read.find(|(.., page)| !page.records.is_empty()).unwrap()
    };
    let has = |world: &World, member: usize| world.members[member].objects.contains_key(OUTPUT);
    places(&mut world, &["a", "b"]);
    world.run_until("both have it", |world| has(world, 0) && has(world, 1));
    world.run_to_rest();
    places(&mut world, &["a"]);
    world.run_until("it is withdrawn from b", |world| !has(world, 1));
    world.run_to_rest();
    let (name, envelope, mut marked) = page(&world);
    let decides = marked.header.member.clone().unwrap();
    let later = Incarnation(u64::MAX >> 8);
    marked.header.start = Some(later);
    world.put_topo(&name, written_later(&envelope, 1, &marked.to_vec()));
    places(&mut world, &["a", "b"]);
    world.run_until("both have it again", |world| has(world, 0) && has(world, 1));
    places(&mut world, &["a"]);
    world.run_to_rest();
    assert!(has(&world, 1), "a later start decides there");
    assert!(world.notes.iter().any(|note| note.message.contains("a later start of this member decides in page")));
    assert_eq!(page(&world).2.header.start, Some(later));
    world.restart_one(if decides.as_str() == "a" { 0 } else { 1 });
    world.run_until("its next start decides", |world| !has(world, 1));
    assert!(page(&world).2.header.start > Some(later));
}
