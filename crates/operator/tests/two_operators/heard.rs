//! Who is heard: being told of a heartbeat is the sign of life, and what is in it is read in turn.

use super::replaced::{CONTROL, FEDERATION, settled};
use super::throttled::ready;
use super::world::World;
use hansa_ledger::{Envelope, keys};
use hansa_model::Revision;
use serde_json::{Value, json};

/// Members that no operator here stands for.
const OTHERS: [&str; 3] = ["c", "d", "e"];

/// They say that they live.
fn beat(world: &mut World, number: u64) {
    let (league, _) = Envelope::open(&world.topo[CONTROL].1).unwrap();
    let (_, cell) = Envelope::open(&world.topo[&keys::cell(&"a".parse().unwrap())].1).unwrap();
    let mut cell: Value = serde_json::from_slice(&cell).unwrap();
    for name in OTHERS {
        (cell["member"], cell["clusterUid"], cell["sequence"]) = (json!(name), json!(name), json!(number));
        let envelope = Envelope { revision: Revision(number), ..Envelope::first(league.league, league.era, number) };
        let value = envelope.seal(&serde_json::to_vec(&cell).unwrap());
        world.put_topo(&keys::cell(&name.parse().unwrap()), value);
    }
}

/// A league of five, of which three beat for a while and then end at once; how long it takes until all of them count as
/// silent, and how often each was taken for silent before.
fn silent_after_ms(tells_unread: bool) -> u64 {
    let mut world = settled();
    let mut federation = world.members[0].objects[FEDERATION].clone();
    let members = federation["spec"]["members"].as_array_mut().unwrap();
    members.extend(OTHERS.map(|name| json!({"name": name, "provider": "p", "region": "r"})));
    world.put(0, FEDERATION, federation);
    beat(&mut world, 1);
    world.run_until("they are known", |world| {
        OTHERS
            .iter()
            .all(|name| world.members[1].objects.contains_key(&format!("/apis/hansa.dev/v1alpha1/members/{name}")))
    });
    world.tells_unread = tells_unread;
    for number in 2..20 {
        beat(&mut world, number);
        world.run_for(5_000);
        if number > 4 {
            OTHERS.iter().for_each(|name| assert_ne!(ready(&world, name), "Silent", "{name} at {number}"));
        }
    }
    let last = world.now_ms();
    world.run_until("they are silent", |world| OTHERS.iter().all(|name| ready(world, name) == "Silent"));
    world.now_ms() - last
}

#[test]
fn what_is_read_in_turn_is_no_second_sign_of_life() {
    for tells_unread in [false, true] {
        let took = silent_after_ms(tells_unread);
        // The last heartbeat was five seconds before. Three and two seconds make a silence; it shows with the next own one.
        assert!((12_000..=17_000).contains(&took), "told unread: {tells_unread}; it took {took} ms");
    }
}
