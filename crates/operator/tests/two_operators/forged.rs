//! Somebody who can write to the topology server puts words into others' mouths.

use super::requests::{ask, status};
use super::world::{World, federated};
use hansa_ledger::page::Slot;
use hansa_ledger::record::{Body, Record, Tombstone};
use hansa_ledger::{Envelope, Page};
use hansa_model::{DeletionPolicy, Hash, RecordKey, Revision};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

const HOME: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/conf";
const OUTPUT: &str = "/api/v1/namespaces/shop/configmaps/conf";

fn spec(word: &str) -> Value {
    json!({"template": {"data": {"greeting": word}}, "placement": {"members": ["a", "b"]}})
}

fn says(world: &World, word: &str) -> bool {
    let there = |member: usize| world.members[member].objects.get(OUTPUT);
    (0..2).all(|member| there(member).is_some_and(|found| found["data"]["greeting"] == word))
}

fn settled() -> World {
    let mut world = World::new();
    world.found(&["configmaps"]);
    world.put(0, HOME, federated("ConfigMap", "conf", spec("hello")));
    world.run_until("it is everywhere", |world| says(world, "hello"));
    world.run_to_rest();
    world
}

/// Writes the page of the record anew, as somebody who is no operator.
fn meddle(world: &mut World, change: impl Fn(&mut Record)) {
    let key: RecordKey = "configmaps/shop/conf".parse().unwrap();
    let pages: Vec<_> = world.topo.iter().filter(|(key, _)| key.starts_with("/v1/pages/")).collect();
    let (name, envelope, mut page) = pages
        .into_iter()
        .map(|(name, (_, value))| (name.clone(), Envelope::open(value).unwrap()))
        .map(|(name, (envelope, body))| (name, envelope, Page::from_slice(&body).unwrap()))
        .find(|(.., page)| page.record(&key).is_some())
        .unwrap();
    let mut record = Record::clone(page.record(&key).unwrap());
    change(&mut record);
    page.records.insert(key, Slot::Known(Arc::new(record)));
    let forged = Envelope { revision: Revision(envelope.revision.0 + 1), ..envelope };
    world.put_topo(&name, forged.seal(&page.to_vec()));
}

fn rejected(world: &mut World, word: &str) {
    named(world, word);
    world.run_to_rest();
}

fn named(world: &mut World, word: &str) {
    world.run_until("it is named", |world| {
        let named =
            |note: &&hansa_operator::Note| note.message.contains(word) && note.message.contains("nothing is done");
        world.notes.iter().filter(named).count() >= 2
    });
}

fn forge_end(world: &mut World) {
    meddle(world, |record| {
        let author = record.intent.author.clone();
        // The intent's own signature, copied.
        let signature = record.intent.signature.clone();
        record.tombstone = Some(Tombstone { author, policy: DeletionPolicy::Delete, signature });
    });
    rejected(world, "ends/a/configmaps/shop/conf");
}

/// Whether an end stands in the record.
fn ends(world: &World) -> bool {
    let pages = world.topo.iter().filter(|(key, _)| key.starts_with("/v1/pages/"));
    let mut records = pages.filter_map(|(_, (_, value))| {
        let page = Page::from_slice(&Envelope::open(value).unwrap().1).unwrap();
        page.record(&"configmaps/shop/conf".parse().unwrap()).cloned()
    });
    records.any(|record| record.tombstone.is_some())
}

#[test]
fn a_forged_intent_is_applied_nowhere_and_the_home_has_the_last_word() {
    let mut world = settled();
    forge_intent(&mut world);
    rejected(&mut world, "intents/a/configmaps/shop/conf");
    assert!(says(&world, "hello"), "what was applied stays");
    let mut home = world.members[0].objects[HOME].clone();
    home["spec"] = spec("good day");
    home["metadata"]["annotations"]["hansa.dev/take-home"] = json!("2");
    world.put(0, HOME, home);
    world.run_until("the home is heard", |world| says(world, "good day"));
}

/// A user of the other member keeps an object that is equal to what was forged.
#[test]
fn what_was_forged_is_applied_once_a_user_says_so() {
    let mut world = settled();
    forge_intent(&mut world);
    rejected(&mut world, "intents/a/configmaps/shop/conf");
    let mut home = world.put(1, HOME, federated("ConfigMap", "conf", spec("evil")));
    world.run_to_rest();
    assert!(says(&world, "hello"), "it is equal by chance, for all that is known");
    home["metadata"]["annotations"]["hansa.dev/take-home"] = json!("2");
    world.put(1, HOME, home);
    world.run_until("the user is heard", |world| says(world, "evil"));
}

/// Somebody writes a revision that a home never said.
fn forge_intent(world: &mut World) {
    meddle(world, |record| {
        let raw = RawValue::from_string(spec("evil").to_string()).unwrap();
        record.intent.hash = Hash::of(&spec("evil"));
        record.intent.body = Body::Inline(Arc::from(raw));
        record.revision = Revision(record.revision.0 + 1);
    });
}

/// The apply of an agreed revision waits in the queue, and finds another word when its turn comes.
#[test]
fn what_waited_in_the_queue_is_looked_at_before_it_is_sent() {
    let mut world = waiting_in_the_queue(settled());
    forge_intent(&mut world);
    named(&mut world, "intents/a/configmaps/shop/conf");
    world.let_go();
    world.run_to_rest();
    assert!(says(&world, "hello"));
}

/// The same, when a pause has begun meanwhile.
#[test]
fn what_waited_in_the_queue_is_not_applied_in_a_pause() {
    let mut world = waiting_in_the_queue(settled());
    let mut home = world.members[0].objects[HOME].clone();
    home["spec"]["paused"] = json!(true);
    world.put(0, HOME, home.clone());
    world.run_for(1_000);
    world.let_go();
    world.run_to_rest();
    assert!(says(&world, "hello"));
    home["spec"]["paused"] = json!(false);
    world.put(0, HOME, home);
    world.run_until("it goes on", |world| says(world, "good day"));
}

/// An edit is agreed on, and its apply waits while another object's is under way.
fn waiting_in_the_queue(mut world: World) -> World {
    const OTHER: &str = "/api/v1/namespaces/shop/configmaps/aside";
    world.one_at_a_time = true;
    world.restart();
    world.run_to_rest();
    world.holding = Some(OTHER);
    let aside = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/aside";
    world.put(0, aside, federated("ConfigMap", "aside", spec("aside")));
    world.run_until("both are busy", |world| (0..2).all(|member| world.members[member].objects.contains_key(OTHER)));
    let mut home = world.members[0].objects[HOME].clone();
    home["spec"] = spec("good day");
    world.put(0, HOME, home);
    world.run_for(1_000);
    world
}

#[test]
fn a_forged_end_takes_nothing_away_and_a_home_says_that_the_life_goes_on() {
    let mut world = settled();
    forge_end(&mut world);
    assert!(says(&world, "hello"), "nothing is taken away");
    let mut home = world.members[0].objects[HOME].clone();
    let condition = home["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Agreed");
    assert_eq!(condition.unwrap()["reason"], "Rejected", "{}", home["status"]);
    assert_eq!(home["status"]["agreed"]["revision"], 1, "it was agreed on as that");
    home["metadata"]["annotations"]["hansa.dev/take-home"] = json!("1");
    world.put(0, HOME, home.clone());
    world.run_until("no end stands", |world| !ends(world));
    home["metadata"]["annotations"] = Value::Null;
    home["spec"] = spec("good day");
    world.put(0, HOME, home);
    world.run_until("the home is heard", |world| says(world, "good day"));
}

/// Its output is gone since the placement moved, which is no end.
#[test]
fn a_home_without_an_output_goes_by_no_forged_end() {
    let mut world = settled();
    let mut home = world.members[0].objects[HOME].clone();
    home["spec"]["placement"] = json!({"members": ["b"]});
    world.put(0, HOME, home);
    world.run_until("its output is gone", |world| !world.members[0].objects.contains_key(OUTPUT));
    world.run_to_rest();
    forge_end(&mut world);
    ask(&mut world, 1, "Delete", json!({}));
    world.run_to_rest();
    assert!(world.members[0].objects.contains_key(HOME), "a user's object stays");
    let said = status(&world, 1);
    assert!(said["phase"] == "Pending" && said["message"].as_str().unwrap().contains("forged"), "{said}");
}

#[test]
fn what_a_user_deletes_ends_by_that_word_and_not_by_a_forged_one() {
    let mut world = settled();
    forge_end(&mut world);
    world.delete_by_intent(0, HOME);
    world.run_until("it is nowhere", |world| !(0..2).any(|member| world.members[member].objects.contains_key(OUTPUT)));
}

#[test]
fn what_was_agreed_before_words_were_signed_is_said_by_its_home() {
    let mut world = settled();
    meddle(&mut world, |record| record.intent.signature = None);
    world.run_until("the home has signed it", |world| {
        world.topo.iter().filter(|(key, _)| key.starts_with("/v1/pages/")).any(|(_, (_, value))| {
            let page = Page::from_slice(&Envelope::open(value).unwrap().1).unwrap();
            page.record(&"configmaps/shop/conf".parse().unwrap())
                .is_some_and(|record| record.intent.signature.is_some())
        })
    });
    world.run_to_rest();
    assert!(says(&world, "hello"));
}

#[test]
fn whose_word_it_takes_is_said_to_who_may_not_take_over() {
    let mut world = settled();
    let agreed = |world: &World| {
        let object = world.members[1].objects.get(HOME)?;
        let conditions = object["status"]["conditions"].as_array()?;
        let found = conditions.iter().find(|one| one["type"] == "Agreed")?;
        Some((found["reason"].as_str()?.to_owned(), found["message"].as_str()?.to_owned()))
    };
    let mut other = federated("ConfigMap", "conf", spec("moin"));
    other["metadata"]["annotations"]["hansa.dev/take-home"] = json!("1");
    world.put(1, HOME, other);
    // The rule is the league's: without another word in its spec, a home's consent is needed.
    world.run_until("it conflicts", |world| agreed(world).is_some_and(|(reason, _)| reason == "Conflict"));
    world.run_to_rest();
    let (_, message) = agreed(&world).unwrap();
    assert!(message.contains("ask for the home in a: its consent is needed"), "{message}");
    assert!(!message.contains("take-home"), "what would change nothing is not advised: {message}");
    assert!(says(&world, "hello"));

    forge_intent(&mut world);
    world.run_until("it is nobody's word", |world| agreed(world).is_some_and(|(reason, _)| reason == "Rejected"));
    let (_, message) = agreed(&world).unwrap();
    assert!(message.contains("let a home (a) say anew what is meant"), "{message}");
}
