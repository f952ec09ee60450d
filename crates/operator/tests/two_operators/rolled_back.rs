//! The league's own store, rolled back or forked; and what a person says about it.

use super::replaced::{
    CONTROL, FEDERATION, HOME, OUTPUT, agreed, everyone_freezes, everyone_goes_on, greets, says, settled, settled_with,
};
use super::requests::ask;
use super::world::World;
use bytes::Bytes;
use hansa_ballot::{Ballots, Control, Document, Force, Signer};
use hansa_ledger::cell::StatusCell;
use hansa_ledger::page::Slot;
use hansa_ledger::record::Body;
use hansa_ledger::{Envelope, OperationId, Page};
use hansa_model::{Era, Hash, Incarnation, LeagueId, MemberName, Revision};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ROLLED_BACK: &str = "TopologyServerRolledBack";

/// Puts another state of the whole store there, behind everyone's back.
fn put_back(world: &mut World, kept: &BTreeMap<String, (u64, Bytes)>) {
    world.topo.clone_from(kept);
}

/// The control document under a higher era.
fn in_next_era(value: &Bytes) -> (Envelope, Control) {
    let (envelope, body) = Envelope::open(value).unwrap();
    let mut control = Control::from_slice(&body).unwrap();
    control.ballots = control.ballots.map(|ballots| ballots.in_era(envelope.era.next()));
    (Envelope { era: envelope.era.next(), ..envelope }, control)
}

/// The control document under a higher era, with this change, as a person writes it.
fn raise_era_with(world: &mut World, change: impl FnOnce(LeagueId, &mut Ballots)) {
    let (envelope, mut control) = in_next_era(&world.topo[CONTROL].1);
    change(envelope.league, control.ballots_mut());
    let envelope = Envelope { revision: envelope.revision.next(), nonce: 77, ..envelope };
    world.put_topo(CONTROL, envelope.seal(&control.to_vec()));
}

pub fn raise_era(world: &mut World) {
    raise_era_with(world, |_, _| {});
}

/// Everything under a higher era, as a restore writes it: the control document comes last.
fn restore(world: &mut World, kept: &BTreeMap<String, (u64, Bytes)>) {
    world.topo.clear();
    for (key, (_, value)) in kept.iter().filter(|(key, _)| *key != CONTROL) {
        let (envelope, packed) = Envelope::open_header(value).unwrap();
        world.put_topo(key, Envelope { era: envelope.era.next(), ..envelope }.around(packed));
    }
    if let Some((_, control)) = kept.get(CONTROL) {
        let (envelope, control) = in_next_era(control);
        world.put_topo(CONTROL, envelope.seal(&control.to_vec()));
    }
}

/// What a store that is at "hello" was, and a world that is at `words` since.
fn gone_on(words: &[&str]) -> (World, BTreeMap<String, (u64, Bytes)>) {
    go_on(settled(), words)
}

fn go_on(mut world: World, words: &[&str]) -> (World, BTreeMap<String, (u64, Bytes)>) {
    let kept = world.topo.clone();
    for word in words {
        world.put(0, HOME, greets(word));
        world.run_until("the edit is everywhere", |world| says(world, 0, word) && says(world, 1, word));
        world.run_to_rest();
    }
    (world, kept)
}

/// The page of the one record, and where it is.
pub fn page(world: &World) -> (String, Envelope, Page) {
    let pages = world.topo.iter().filter(|(key, _)| key.starts_with("/v1/pages/"));
    let read = pages.map(|(key, (_, value))| {
        let (envelope, body) = Envelope::open(value).unwrap();
        (key.clone(), envelope, Page::from_slice(&body).unwrap())
    });
    read.into_iter().find(|(_, _, page)| !page.records.is_empty()).unwrap()
}

fn revision(world: &World) -> Revision {
    page(world).2.records.values().next().unwrap().record().unwrap().revision
}

#[test]
fn a_store_that_was_rolled_back_freezes_until_it_is_brought_back() {
    let (mut world, kept) = gone_on(&["welcome", "hello"]);
    let newest = world.topo.clone();
    put_back(&mut world, &kept);
    everyone_freezes(&mut world, ROLLED_BACK, "was rolled back: /v1/");
    put_back(&mut world, &newest);
    everyone_goes_on(&mut world);
}

/// What the proposer was about to write when the store went back is not sent to it: in another history the version
/// that it is based on may be that of another value.
#[test]
fn what_the_proposer_was_about_to_write_waits_for_the_stores_own_history() {
    let (mut world, kept) = gone_on(&["welcome", "hello"]);
    let newest = world.topo.clone();
    world.holding = Some("/api/v1/namespaces/hansa-system/configmaps/hansa-ballot-notes");
    let mut edited = world.members[0].objects[FEDERATION].clone();
    edited["spec"]["members"][1]["region"] = json!("elsewhere");
    world.put(0, FEDERATION, edited);
    world.run_for(1_000);
    put_back(&mut world, &kept);
    everyone_freezes(&mut world, ROLLED_BACK, "was rolled back: /v1/");
    world.topo_writes.clear();
    world.let_go();
    world.run_for(30_000);
    assert_eq!(world.topo_writes, Vec::<String>::new());
    put_back(&mut world, &newest);
    everyone_goes_on(&mut world);
    world.run_until("the edit is agreed on", |world| world.members[1].objects[FEDERATION]["status"]["generation"] == 2);
}

/// Who found a page missing in what was rolled back does not hold it for missing once it is there again: it would
/// write over what the others have in it.
#[test]
fn a_page_that_is_back_is_not_written_over() {
    let mut world = settled();
    let (key, ..) = page(&world);
    let mut kept = world.topo.clone();
    kept.remove(&key);
    let mut edited = world.members[0].objects[FEDERATION].clone();
    edited["spec"]["members"][1]["region"] = json!("elsewhere");
    world.put(0, FEDERATION, edited);
    world.run_until("it is agreed", |world| world.members[1].objects[FEDERATION]["status"]["generation"] == 2);
    world.run_to_rest();
    let newest = world.topo.clone();
    put_back(&mut world, &kept);
    world.members[0].stopped = true;
    // The second member's users make a copy of the home, which joins it.
    world.put(1, HOME, greets("hello"));
    world.run_until("it freezes", |world| agreed(world, 1, FEDERATION).0 == ROLLED_BACK);
    world.run_for(20_000);
    put_back(&mut world, &newest);
    // It is told of what somebody has written there since, and reads it before it looks at the store once more.
    let (_, envelope, before) = page(&world);
    let operation = OperationId { incarnation: Incarnation(1), sequence: 1 };
    world.put_topo(&key, envelope.next(99, &"c".parse().unwrap(), operation).seal(&before.to_vec()));
    world.run_until("it goes on", |world| agreed(world, 1, FEDERATION).0 == "Mirror");
    world.members[0].stopped = false;
    world.run_to_rest();
    let (_, _, page) = page(&world);
    let record = page.records.values().next().unwrap().record().unwrap();
    let homes: Vec<&str> = record.homes.keys().map(MemberName::as_str).collect();
    assert_eq!(homes, ["a", "b"]);
}

#[test]
fn one_page_that_was_rolled_back_is_named() {
    let (mut world, kept) = gone_on(&["welcome", "hello"]);
    let (key, envelope, _) = page(&world);
    let older = kept[&key].1.clone();
    let newest = world.topo[&key].clone();
    world.put_topo(&key, older);
    everyone_freezes(&mut world, ROLLED_BACK, &format!("{key} stands at revision"));
    let (_, message) = agreed(&world, 0, FEDERATION);
    assert!(message.contains(&format!("revision {} in era 1 was seen there", envelope.revision)), "{message}");
    world.topo.insert(key, newest);
    everyone_goes_on(&mut world);
}

#[test]
fn another_value_under_the_same_revision_is_a_fork() {
    let mut world = settled();
    let (key, envelope, page) = page(&world);
    let newest = world.topo[&key].clone();
    world.put_topo(&key, Envelope { nonce: envelope.nonce ^ 1, ..envelope }.seal(&page.to_vec()));
    everyone_freezes(&mut world, ROLLED_BACK, "was forked");
    world.topo.insert(key, newest);
    everyone_goes_on(&mut world);
}

#[test]
fn a_later_revision_without_a_write_that_was_seen_is_a_fork() {
    let mut world = settled();
    let (key, mut envelope, page) = page(&world);
    let newest = world.topo[&key].clone();
    envelope.operations.clear();
    let later = Envelope { revision: Revision(envelope.revision.0 + 5), nonce: 9, ..envelope };
    world.put_topo(&key, later.seal(&page.to_vec()));
    everyone_freezes(&mut world, ROLLED_BACK, "without the last write of a that was seen");
    world.topo.insert(key, newest);
    everyone_goes_on(&mut world);
}

#[test]
fn an_answer_that_comes_late_is_no_rollback() {
    let (mut world, kept) = gone_on(&["welcome"]);
    let (key, ..) = page(&world);
    world.late = Some((key.clone(), kept[&key].clone()));
    world.put(0, HOME, greets("good day"));
    world.run_until("the edit lands", |world| says(world, 0, "good day") && says(world, 1, "good day"));
    assert!(world.late.is_none(), "somebody was told an earlier state");
    world.run_to_rest();
    let frozen = world.notes.iter().filter(|note| note.message.contains("frozen"));
    assert_eq!(frozen.count(), 0);
}

#[test]
fn a_raised_era_alone_writes_no_object_again() {
    let (mut world, _) = gone_on(&[]);
    let before = world.topo.clone();
    let writes: Vec<usize> = world.members.iter().map(|member| member.writes.len()).collect();
    raise_era(&mut world);
    world.run_to_rest();
    let changed: Vec<&String> =
        world.topo.iter().filter(|(key, entry)| before.get(*key) != Some(entry)).map(|(key, _)| key).collect();
    assert!(changed.iter().all(|key| **key == CONTROL || key.ends_with("/cell")), "{changed:?}");
    let outputs = world.members.iter().zip(writes).flat_map(|(member, before)| &member.writes[before..]);
    let outputs: Vec<&String> = outputs.filter(|write| write.contains("configmaps/conf")).collect();
    // The era stands in the status of the home.
    assert!(outputs.iter().all(|write| write.ends_with("/status")), "{outputs:?}");
    assert_eq!(world.members[0].objects[FEDERATION]["status"]["era"], 2);
    world.put(0, HOME, greets("good day"));
    everyone_goes_on(&mut world);
    assert_eq!(page(&world).1.era, Era(2));
}

/// The home is ahead of what counts now: it asks, and what the members have stays as it is.
fn asks_and_goes_on(world: &mut World, era: u64) {
    world.run_until("the home asks", |world| agreed(world, 0, HOME).1.contains("take over with"));
    world.run_to_rest();
    let (reason, message) = agreed(world, 0, HOME);
    assert_eq!(reason, "Frozen", "{message}");
    let command = "`kubectl annotate federatedconfigmaps.core.types.hansa.dev conf -n shop hansa.dev/take-home=";
    assert!(message.contains(command), "{message}");
    assert!((0..2).all(|member| says(world, member, "welcome")), "nothing is reverted");
    assert_eq!(world.members[0].objects[FEDERATION]["status"]["era"], era);
    let lost = world.members[0].objects[HOME]["status"]["agreed"]["revision"].as_u64().unwrap();
    let stands = revision(world);
    assert!(stands.0 < lost, "{stands} of {lost}");
    // What this member knows of its output is written again.
    let (key, ..) = page(world);
    let status = format!("/v1/members/b/status/{}", key.strip_prefix("/v1/pages/").unwrap());
    let (envelope, body) = Envelope::open(&world.topo[&status].1).unwrap();
    let cell: StatusCell = serde_json::from_slice(&body).unwrap();
    assert_eq!(cell.records.values().next().unwrap().revision, Revision(lost));
    assert_eq!(envelope.era, Era(era));
    let mut object = world.members[0].objects[HOME].clone();
    object["metadata"]["annotations"] = json!({"hansa.dev/take-home": stands.0.to_string()});
    world.put(0, HOME, object);
    world.run_until("it counts again", |world| agreed(world, 0, HOME).0 == "Agreed");
    world.run_to_rest();
    assert!((0..2).all(|member| says(world, member, "welcome")));
    assert!(revision(world).0 > lost, "no revision is used twice");
    let mut object = world.members[0].objects[HOME].clone();
    object["metadata"]["annotations"] = Value::Null;
    object["spec"] = greets("good day")["spec"].clone();
    world.put(0, HOME, object);
    everyone_goes_on(world);
}

#[test]
fn after_a_rollback_the_era_is_raised_and_homes_that_are_ahead_ask() {
    let (mut world, kept) = gone_on(&["hi", "welcome"]);
    put_back(&mut world, &kept);
    world.run_until("everyone is frozen", |world| {
        (0..2).all(|member| agreed(world, member, FEDERATION).0 == ROLLED_BACK)
    });
    raise_era(&mut world);
    asks_and_goes_on(&mut world, 2);
}

#[test]
fn a_restore_begins_an_era_and_homes_that_are_ahead_ask() {
    let (mut world, kept) = gone_on(&["hi", "welcome"]);
    restore(&mut world, &kept);
    asks_and_goes_on(&mut world, 2);
}

/// Neither the object nor its member knows of the revision that is lost: it is an edit of what stands there.
#[test]
fn an_edit_that_is_lost_before_its_object_was_told_of_it_is_agreed_on_anew_as_it_stands() {
    let elsewhere = |word: &str| {
        let mut home = greets(word);
        home["spec"]["placement"]["members"] = json!(["b"]);
        home
    };
    let mut world = settled();
    world.put(0, HOME, elsewhere("hello"));
    world.run_until("it is in the other member alone", |world| !world.members[0].objects.contains_key(OUTPUT));
    world.run_to_rest();
    let (kept, before) = (world.topo.clone(), revision(&world));
    world.put(0, HOME, elsewhere("good day"));
    world.run_until("it is agreed on", |world| says(world, 1, "good day"));
    assert_eq!(world.members[0].objects[HOME]["status"]["agreed"]["revision"], json!(before), "it is not told yet");
    restore(&mut world, &kept);
    world.run_until("it is agreed on anew", |world| revision(world) > before);
    world.run_to_rest();
    assert_eq!(agreed(&world, 0, HOME).0, "Agreed");
    assert!(says(&world, 1, "good day"));
    let (_, _, page) = page(&world);
    let record = page.records.values().find_map(Slot::record).unwrap();
    let Body::Inline(body) = &record.intent.body else { panic!("it is small") };
    assert_eq!(Hash::of(&serde_json::from_str::<Value>(body.get()).unwrap()), record.intent.hash);
}

#[test]
fn a_restart_on_a_restored_store_reverts_nothing_either() {
    let (mut world, kept) = gone_on(&["hi", "welcome"]);
    restore(&mut world, &kept);
    world.restart();
    world.run_until("the home asks", |world| agreed(world, 0, HOME).1.contains("take over with"));
    world.run_to_rest();
    assert!((0..2).all(|member| says(&world, member, "welcome")), "nothing is reverted");
}

/// Whoever asks for the end after a restore means what there is, though the topology server knows an earlier revision.
#[test]
fn an_end_after_a_restore_takes_outputs_that_are_ahead() {
    let (mut world, kept) = gone_on(&["hi", "welcome"]);
    restore(&mut world, &kept);
    world.run_until("the home asks", |world| agreed(world, 0, HOME).1.contains("take over with"));
    world.run_to_rest();
    ask(&mut world, 0, "Delete", json!({"deletionPolicy": "Delete"}));
    world.run_until("it is gone", |world| (0..2).all(|member| !world.members[member].objects.contains_key(OUTPUT)));
    world.run_to_rest();
    assert!(!world.members[0].objects.contains_key(HOME));
}

/// The object is deleted, and one of its name is made: another life, which the topology server then forgets.
#[test]
fn outputs_of_a_life_that_a_restore_lost_stay_and_go_on_in_it() {
    let (mut world, kept) = gone_on(&[]);
    let first = page(&world).2.records.into_values().next().unwrap().record().unwrap().incarnation;
    ask(&mut world, 0, "Delete", json!({"deletionPolicy": "Delete"}));
    world.run_until("it is gone", |world| (0..2).all(|member| !world.members[member].objects.contains_key(OUTPUT)));
    world.run_to_rest();
    world.remove(0, HOME);
    world.put(0, HOME, greets("anew"));
    world.run_until("another life is everywhere", |world| says(world, 0, "anew") && says(world, 1, "anew"));
    let uids: Vec<Value> =
        world.members.iter().map(|member| member.objects[OUTPUT]["metadata"]["uid"].clone()).collect();
    world.run_to_rest();
    // It was not told yet that it is agreed.
    let mut untold = world.members[0].objects[HOME].clone();
    untold["status"] = Value::Null;
    world.put(0, HOME, untold);

    restore(&mut world, &kept);
    world.restart();
    world.run_until("the members say what they have", |world| {
        world.told().contains("it is left as it is until the object is agreed on again")
    });
    world.run_to_rest();
    assert!(says(&world, 0, "anew") && says(&world, 1, "anew"), "nothing is reverted");
    let mut taken = world.members[0].objects[HOME].clone();
    taken["metadata"]["annotations"] = json!({"hansa.dev/take-home": revision(&world).0.to_string()});
    world.put(0, HOME, taken);
    world.run_to_rest();
    let record = page(&world).2.records.into_values().next().unwrap().record().unwrap().clone();
    assert!(record.incarnation > first, "the life that was lost goes on: {record:?}");
    assert_eq!(agreed(&world, 0, HOME).0, "Agreed");
    world.put(0, HOME, {
        let mut edit = world.members[0].objects[HOME].clone();
        edit["spec"]["template"]["data"]["greeting"] = json!("on");
        edit
    });
    world.run_until("an edit comes everywhere", |world| says(world, 0, "on") && says(world, 1, "on"));
    let now: Vec<Value> =
        world.members.iter().map(|member| member.objects[OUTPUT]["metadata"]["uid"].clone()).collect();
    assert_eq!(now, uids, "no output was made anew");
}

#[test]
fn while_a_restore_is_under_way_nothing_is_written() {
    let (mut world, kept) = gone_on(&["welcome"]);
    let control = kept[CONTROL].clone();
    let mut part = kept.clone();
    part.remove(CONTROL);
    restore(&mut world, &part);
    world.run_until("everyone is frozen", |world| {
        (0..2).all(|member| {
            agreed(world, member, FEDERATION).0 != "Agreed" && agreed(world, member, FEDERATION).0 != "Mirror"
        })
    });
    let standing = world.topo.clone();
    world.run_for(60_000);
    assert_eq!(world.topo, standing, "nothing is written");
    let (envelope, control) = in_next_era(&control.1);
    world.put_topo(CONTROL, envelope.seal(&control.to_vec()));
    world.run_until("the home asks", |world| agreed(world, 0, HOME).1.contains("take over with"));
}

fn ada() -> Signer {
    Signer::new("ada".parse().unwrap(), [7; 32])
}

/// Everyone is frozen, and names the era that is not followed, with these words; nothing is written.
fn everyone_refuses(world: &mut World, word: &str) {
    world.run_until("everyone refuses the era", |world| {
        (0..2).all(|member| {
            let (reason, message) = agreed(world, member, FEDERATION);
            reason == ROLLED_BACK && message.contains("begun by nobody who may") && message.contains(word)
        })
    });
    let standing = world.topo.clone();
    world.run_for(60_000);
    assert_eq!(world.topo, standing, "nothing is written");
    assert!((0..2).all(|member| says(world, member, "welcome")), "what was agreed is kept up");
}

#[test]
fn where_people_have_keys_an_unsigned_era_is_refused_and_a_signed_one_followed() {
    let people = json!([{"name": "ada", "publicKey": ada().public()}]);
    let (mut world, kept) = go_on(settled_with(people), &["hi", "welcome"]);
    put_back(&mut world, &kept);
    raise_era(&mut world);
    everyone_refuses(&mut world, "this league knows the keys of people (ada)");
    raise_era_with(&mut world, |league, ballots| {
        let mut before = ballots.clone();
        before.era = Era(2);
        let force = Force::sign(&ada(), league, Era(3), &before, Default::default()).unwrap();
        *ballots = force.apply(&before, league, &Default::default()).unwrap();
    });
    asks_and_goes_on(&mut world, 3);
    let told = world.notes.iter().filter(|note| note.message.contains("from 1 to 3 (signed by ada)"));
    assert_eq!(told.count(), 2);
}

/// Else a restart would judge an era by a key that was replaced, or by none at all.
#[test]
fn every_voter_notes_whose_word_begins_an_era_when_that_changes() {
    let key = |seed| Signer::new("ada".parse().unwrap(), [seed; 32]).public();
    let mut world = settled_with(json!([{"name": "ada", "publicKey": key(1)}]));
    let noted = |world: &World, member: usize| {
        let objects = &world.members[member].objects;
        let (_, notes) = objects.iter().find(|(path, _)| path.ends_with("/configmaps/hansa-ballot-notes")).unwrap();
        let notes = notes["data"].as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        serde_json::from_str::<Value>(&notes).unwrap()["people"].clone()
    };
    for people in [json!([{"name": "ada", "publicKey": key(2)}]), json!([])] {
        let mut federation = world.members[0].objects[FEDERATION].clone();
        federation["spec"]["people"] = people.clone();
        world.put(0, FEDERATION, federation);
        let known = if people == json!([]) { Value::Null } else { json!({"ada": key(2)}) };
        world.run_until("both have noted it", |world| (0..2).all(|member| noted(world, member) == known));
        world.run_to_rest();
    }
}

/// Whose word begins an era stands in the notes.
#[test]
fn who_has_not_read_its_notes_follows_no_era() {
    let people = json!([{"name": "ada", "publicKey": ada().public()}]);
    let (mut world, kept) = go_on(settled_with(people), &["hi", "welcome"]);
    let notes = (1, "/api/v1/namespaces/hansa-system/configmaps/hansa-ballot-notes");
    world.served.insert(notes, json!({"data": {}}));
    world.restart_one(1);
    world.run_for(10_000);
    put_back(&mut world, &kept);
    raise_era(&mut world);
    world.run_for(60_000);
    let followed = world.notes.iter().find(|note| note.message.contains("raised the era"));
    assert_eq!(followed, None);
    world.served.clear();
    everyone_refuses(&mut world, "this league knows the keys of people (ada)");
}

#[test]
fn an_unsigned_era_that_changes_the_voters_is_refused_and_named() {
    let (mut world, kept) = gone_on(&["hi", "welcome"]);
    put_back(&mut world, &kept);
    raise_era_with(&mut world, |_, ballots| {
        ballots.voters.set.remove(&"b".parse().unwrap());
        ballots.voters.quorum = 1;
    });
    everyone_refuses(&mut world, "it changes the voters (without b)");
    put_back(&mut world, &kept);
    raise_era(&mut world);
    asks_and_goes_on(&mut world, 2);
    let told = world.notes.iter().filter(|note| note.message.contains("from 1 to 2 (unsigned, by whoever"));
    assert_eq!(told.count(), 2);
}
