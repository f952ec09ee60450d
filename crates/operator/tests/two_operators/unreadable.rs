//! Values in the topology server that cannot be read.

use super::replaced::{CONTROL, FEDERATION, HOME, OUTPUT, agreed, greets, says, settled};
use super::requests::{ask, status};
use super::rolled_back::page;
use super::world::{World, federated};
use bytes::Bytes;
use hansa_ledger::page::{Page, Slot};
use hansa_ledger::{Envelope, keys};
use hansa_model::{RecordKey, Revision};
use serde_json::{Value, json};

const OTHER_HOME: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/twin";
const OTHER_OUTPUT: &str = "/api/v1/namespaces/shop/configmaps/twin";

/// How a value can be damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    /// Only half of it is there.
    Cut,
    /// It has a later format.
    Newer,
    /// Its envelope has.
    NewerEnvelope,
    /// Its body is no JSON of a page.
    Strange,
}

const ALL: [Damage; 4] = [Damage::Cut, Damage::Newer, Damage::NewerEnvelope, Damage::Strange];

/// The value as somebody else wrote it after this one.
fn damaged(value: &Bytes, damage: Damage) -> Bytes {
    let (envelope, body) = Envelope::open(value).unwrap();
    let next = Envelope { revision: Revision(envelope.revision.0 + 1), nonce: 4711, ..envelope };
    let mut newer: Value = serde_json::from_slice(&body).unwrap();
    newer["format"] = json!(2);
    newer["novelty"] = json!("what is not to be lost");
    match damage {
        Damage::Cut => {
            let sealed = next.seal(&body);
            sealed.slice(..sealed.len() - 9)
        }
        Damage::Newer => next.seal(newer.to_string().as_bytes()),
        Damage::NewerEnvelope => {
            let mut header = serde_json::to_value(&next).unwrap();
            header["format"] = json!(2);
            format!("{header}\nwhatever").into()
        }
        Damage::Strange => next.seal(b"[]"),
    }
}

/// Another object, in another page than the first.
fn other(word: &str) -> Value {
    let spec = json!({"template": {"data": {"greeting": word}}, "placement": {"members": ["a", "b"]}});
    federated("ConfigMap", "twin", spec)
}

fn other_says(world: &World, word: &str) -> bool {
    (0..2).all(|member| {
        world.members[member].objects.get(OTHER_OUTPUT).is_some_and(|found| found["data"]["greeting"] == word)
    })
}

/// A league with two objects, in two pages; and the page of the first.
fn two_pages() -> (World, String) {
    let mut world = settled();
    let (number, ..) = page(&world);
    let other_page = "configmaps/shop/twin".parse::<RecordKey>().unwrap().page(4);
    assert_ne!(number, keys::page(other_page));
    world.put(0, OTHER_HOME, other("hello"));
    world.run_until("the other is everywhere", |world| other_says(world, "hello"));
    world.run_to_rest();
    (world, number)
}

/// The condition of this type.
fn condition(world: &World, member: usize, path: &str, kind: &str) -> (String, String, String) {
    let conditions = world.members[member].objects[path]["status"]["conditions"].clone();
    let found = conditions.as_array().unwrap().iter().find(|condition| condition["type"] == kind).unwrap().clone();
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// The home is frozen and names the page and the mend; so do the members and the Federation.
fn everyone_names(world: &mut World, key: &str) {
    world.run_until("the home is frozen", |world| {
        let (reason, message) = agreed(world, 0, HOME);
        reason == "Frozen" && message.contains(key) && message.contains("hansa topo restore")
    });
    world.run_to_rest();
    for (member, name) in ["a", "b"].into_iter().enumerate() {
        let (status, reason, message) = condition(world, member, FEDERATION, "Readable");
        assert!(status == "False" && reason == "Unreadable" && message.contains(key), "{message}");
        let own = format!("/apis/hansa.dev/v1alpha1/members/{name}");
        let (_, reason, message) = condition(world, member, &own, "Ready");
        assert!(reason == "Unreadable" && message.contains(key), "{message}");
    }
}

#[test]
fn a_page_that_cannot_be_read_is_left_as_it_is_until_it_can_be() {
    for damage in ALL {
        for restarts in [false, true] {
            let (mut world, key) = two_pages();
            let kept = world.topo[&key].1.clone();
            let strange = damaged(&kept, damage);
            world.put_topo(&key, strange.clone());
            if restarts {
                world.restart();
            }
            everyone_names(&mut world, &key);
            // An edit waits, and so does a takeover.
            world.put(0, HOME, greets("good day"));
            world.run_to_rest();
            let mut taken = world.members[0].objects[HOME].clone();
            taken["metadata"]["annotations"] = json!({"hansa.dev/take-home": "0"});
            world.put(0, HOME, taken.clone());
            world.run_to_rest();
            // An object that is made meanwhile in the same page waits, too, and other pages go on.
            world.put(0, OTHER_HOME, other("welcome"));
            world.run_until("the other page goes on", |world| other_says(world, "welcome"));
            world.run_to_rest();
            assert_eq!(world.topo[&key].1, strange, "{damage:?}");
            assert_eq!(agreed(&world, 0, HOME).0, "Frozen");
            assert!((0..2).all(|member| says(&world, member, "hello")), "what was agreed stays");
            assert_eq!(agreed(&world, 0, FEDERATION).0, "Agreed");

            // It can be read again: by a later release's operator, or a person who put it back.
            let (envelope, body) = Envelope::open(&kept).unwrap();
            let next = Envelope { revision: Revision(envelope.revision.0 + 2), nonce: 4712, ..envelope };
            taken["metadata"]["annotations"] = Value::Null;
            world.put(0, HOME, taken);
            world.put_topo(&key, next.seal(&body));
            world.run_until("the edit lands", |world| (0..2).all(|member| says(world, member, "good day")));
            world.run_to_rest();
            assert_eq!(agreed(&world, 0, HOME).0, "Agreed");
            assert_eq!(condition(&world, 0, FEDERATION, "Readable").0, "True");
        }
    }
}

#[test]
fn what_was_seen_last_may_stand_there_again() {
    let (mut world, key) = two_pages();
    let kept = world.topo[&key].1.clone();
    for damage in ALL {
        world.put_topo(&key, damaged(&kept, damage));
        everyone_names(&mut world, &key);
        world.put_topo(&key, kept.clone());
        world.run_until("it is agreed again", |world| agreed(world, 0, HOME).0 == "Agreed");
        world.run_to_rest();
        assert_eq!(agreed(&world, 0, FEDERATION).0, "Agreed");
    }
}

/// Nobody is told when a person puts a value back behind the store's back.
#[test]
fn what_is_put_back_in_silence_is_found() {
    let (mut world, key) = two_pages();
    let kept = world.topo[&key].clone();
    world.put_topo(&key, damaged(&kept.1, Damage::Cut));
    everyone_names(&mut world, &key);
    world.topo.insert(key, kept);
    world.run_until("it is agreed again", |world| agreed(world, 0, HOME).0 == "Agreed");
}

#[test]
fn an_answer_that_comes_late_freezes_nothing_for_long() {
    let (mut world, key) = two_pages();
    let kept = world.topo[&key].1.clone();
    let late = damaged(&kept, Damage::Cut);
    let (envelope, body) = Envelope::open(&kept).unwrap();
    let next = Envelope { revision: Revision(envelope.revision.0 + 2), nonce: 4712, ..envelope };
    world.late = Some((key.clone(), (0, late)));
    world.put_topo(&key, next.seal(&body));
    world.run_until("it was told", |world| world.late.is_none());
    world.put(0, HOME, greets("good day"));
    world.run_until("the edit lands", |world| (0..2).all(|member| says(world, member, "good day")));
    world.run_to_rest();
    assert_eq!(condition(&world, 0, FEDERATION, "Readable").0, "True");
}

#[test]
fn what_was_last_read_is_kept_up() {
    let (mut world, key) = two_pages();
    world.put_topo(&key, damaged(&world.topo[&key].1, Damage::Newer));
    everyone_names(&mut world, &key);
    let mut meddled = world.members[1].objects[OUTPUT].clone();
    meddled["data"]["greeting"] = json!("somebody else's");
    meddled["metadata"]["managedFields"] =
        json!([{"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:data": {}}}]);
    world.put(1, OUTPUT, meddled);
    world.run_until("it is repaired", |world| says(world, 1, "hello"));
    world.remove(1, OUTPUT);
    world.run_until("it is made again", |world| says(world, 1, "hello"));
}

/// The page told of an end, the deletion waited for its fence, and then the page could not be read.
#[test]
fn nothing_is_taken_away_on_a_page_that_cannot_be_read() {
    for restarts in [false, true] {
        let (mut world, key) = two_pages();
        let kept = world.topo[&key].1.clone();
        world.members[1].stopped = true;
        ask(&mut world, 0, "Delete", json!({"deletionPolicy": "Delete"}));
        world.run_until("the end is agreed", |world| {
            page_at(world, &key).records.values().any(|slot| slot.record().unwrap().tombstone.is_some())
        });
        let ended = world.topo[&key].1.clone();
        // It hears of the end, and what it reads to be sure cannot be read.
        world.late = Some((key.clone(), (1, ended.clone())));
        world.put_topo(&key, damaged(&ended, Damage::Cut));
        world.members[1].stopped = false;
        if restarts {
            world.restart_one(1);
        }
        world.run_to_rest();
        world.run_for(60_000);
        assert!(says(&world, 1, "hello"), "nothing is taken away");
        let (envelope, body) = Envelope::open(&ended).unwrap();
        let revision = Revision(envelope.revision.0 + 2);
        world.put_topo(&key, Envelope { revision, nonce: 4712, ..envelope }.seal(&body));
        world.run_until("it goes", |world| !world.members[1].objects.contains_key(OUTPUT));
        drop(kept);
    }
}

fn page_at(world: &World, key: &str) -> Page {
    Page::from_slice(&Envelope::open(&world.topo[key].1).unwrap().1).unwrap()
}

#[test]
fn a_user_who_deletes_meanwhile_is_heard_when_it_can_be_read() {
    for restarts in [false, true] {
        let (mut world, key) = two_pages();
        let kept = world.topo[&key].1.clone();
        world.put_topo(&key, damaged(&kept, Damage::Newer));
        if restarts {
            world.restart();
        }
        everyone_names(&mut world, &key);
        world.delete_by_intent(0, HOME);
        world.run_for(60_000);
        let home = &world.members[0].objects[HOME];
        assert_eq!(home["metadata"]["finalizers"], json!(["hansa.dev/federated"]), "the word of the user waits");
        assert!((0..2).all(|member| says(&world, member, "hello")));
        world.put_topo(&key, kept);
        world.run_until("it is gone everywhere", |world| {
            (0..2).all(|member| !world.members[member].objects.contains_key(OUTPUT))
        });
    }
}

#[test]
fn requests_about_what_cannot_be_read_wait() {
    let (mut world, key) = two_pages();
    let kept = world.topo[&key].1.clone();
    world.put_topo(&key, damaged(&kept, Damage::Newer));
    world.restart();
    everyone_names(&mut world, &key);
    ask(&mut world, 0, "Delete", json!({"deletionPolicy": "Delete"}));
    world.run_to_rest();
    let said = status(&world, 0);
    assert!(said["phase"] == "Pending" && said["message"].as_str().unwrap().contains(&key), "{said}");
    world.put_topo(&key, kept);
    world.run_until("it is carried out", |world| status(world, 0)["phase"] == "Done");
}

/// A newer release wrote one record as this one does not know it.
#[test]
fn a_record_that_is_not_understood_freezes_its_own_object_alone() {
    for restarts in [false, true] {
        let (mut world, key) = two_pages();
        let (envelope, body) = Envelope::open(&world.topo[&key].1).unwrap();
        let mut newer: Value = serde_json::from_slice(&body).unwrap();
        newer["records"]["configmaps/shop/conf"]["format"] = json!(2);
        newer["records"]["configmaps/shop/conf"]["novelty"] = json!(true);
        let next = Envelope { revision: Revision(envelope.revision.0 + 1), nonce: 4711, ..envelope.clone() };
        let strange = next.seal(newer.to_string().as_bytes());
        world.put_topo(&key, strange.clone());
        if restarts {
            world.restart();
        }
        everyone_names(&mut world, &key);
        world.put(0, HOME, greets("good day"));
        world.run_to_rest();
        assert!(agreed(&world, 0, HOME).1.contains("the record of configmaps/shop/conf"));
        world.put(0, OTHER_HOME, other("welcome"));
        world.run_until("the other page goes on", |world| other_says(world, "welcome"));
        world.run_to_rest();
        assert_eq!(world.topo[&key].1, strange);
        assert!((0..2).all(|member| says(&world, member, "hello")));
        let next = Envelope { revision: Revision(envelope.revision.0 + 2), nonce: 4712, ..envelope };
        world.put_topo(&key, next.seal(&body));
        world.run_until("the edit lands", |world| (0..2).all(|member| says(world, member, "good day")));
    }
}

#[test]
fn a_members_own_memory_is_written_over_and_its_breaker_is_careful() {
    for damage in ALL {
        let (mut world, _) = two_pages();
        world.members[1].stopped = true;
        let own: Vec<String> = world.topo.keys().filter(|key| key.starts_with("/v1/members/b/")).cloned().collect();
        assert!(own.len() >= 3, "{own:?}");
        for key in &own {
            world.put_topo(key, damaged(&world.topo[key].1, damage));
        }
        world.members[1].stopped = false;
        world.restart_one(1);
        let is_well = |world: &World, key: &String| {
            let opened = Envelope::open(&world.topo[key].1).ok();
            opened
                .is_some_and(|(_, body)| serde_json::from_slice::<Value>(&body).is_ok_and(|value| value["format"] == 1))
        };
        world.run_until("it says anew how it is", |world| own.iter().all(|key| is_well(world, key)));
        world.run_to_rest();
        assert_eq!(condition(&world, 0, FEDERATION, "Readable").0, "True", "{damage:?}");
        assert_eq!(agreed(&world, 0, FEDERATION).0, "Agreed", "nobody takes it for a rollback: {damage:?}");
        // What it took away before is not known.
        ask(&mut world, 1, "Delete", json!({"deletionPolicy": "Delete"}));
        world.run_until("it waits for a person", |world| {
            status(world, 1)["message"].as_str().is_some_and(|message| message.contains("could not be read"))
        });
        world.run_for(600_000);
        world.run_until("the window is over", |world| status(world, 1)["phase"] == "Done");
    }
}

#[test]
fn the_control_document_is_never_founded_over() {
    for damage in ALL {
        let (mut world, _) = two_pages();
        let kept = world.topo[CONTROL].1.clone();
        let strange = damaged(&kept, damage);
        world.put_topo(CONTROL, strange.clone());
        // A Federation that knows of no league yet.
        let mut league = world.members[0].objects[FEDERATION].clone();
        league["status"] = Value::Null;
        world.put(0, FEDERATION, league);
        world.restart();
        world.run_until("it is named", |world| agreed(world, 0, FEDERATION).0 == "Unreadable");
        world.run_to_rest();
        assert!(agreed(&world, 0, FEDERATION).1.contains(CONTROL));
        assert_eq!(world.topo[CONTROL].1, strange, "{damage:?}");
        world.put_topo(CONTROL, kept);
        world.put(0, HOME, greets("good day"));
        world.run_until("the league goes on", |world| (0..2).all(|member| says(world, member, "good day")));
    }
}

#[test]
fn a_page_in_a_new_era_that_cannot_be_read_is_not_taken_for_absent() {
    let (mut world, key) = two_pages();
    let (envelope, body) = Envelope::open(&world.topo[&key].1).unwrap();
    let strange = Envelope { era: envelope.era.next(), ..envelope }.seal(&body);
    world.put_topo(&key, strange.slice(..strange.len() - 5));
    super::rolled_back::raise_era(&mut world);
    everyone_names(&mut world, &key);
    assert!((0..2).all(|member| says(&world, member, "hello")));
    let page = Page::from_slice(&body).unwrap();
    assert!(page.records.values().all(|slot| matches!(slot, Slot::Known(_))));
}
