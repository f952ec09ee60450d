//! Requests: what users ask of an operator, and what it is about.

use super::replaced::{FEDERATION, settled};
use super::rolled_back::page;
use super::world::World;
use hansa_ledger::{Envelope, Record, Slot};
use hansa_model::Incarnation;
use serde_json::{Value, json};
use std::sync::Arc;

const PATH: &str = "/apis/hansa.dev/v1alpha1/namespaces/shop/requests/one";

/// Asks an operator about the one object.
pub fn ask(world: &mut World, index: usize, action: &str, arguments: Value) {
    let object = json!({"resource": "configmaps", "namespace": "shop", "name": "conf"});
    let spec = json!({"action": action, "object": object, "arguments": arguments});
    let request = json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Request", "metadata": {"name": "one", "namespace": "shop"}, "spec": spec});
    world.put(index, PATH, request);
}

pub fn status(world: &World, index: usize) -> Value {
    world.members[index].objects[PATH]["status"].clone()
}

fn ends(world: &mut World, index: usize) -> Value {
    world.run_until("it is answered", |world| {
        ["Done", "Refused"].map(Value::from).contains(&status(world, index)["phase"])
    });
    status(world, index)
}

fn record(world: &World) -> Record {
    Record::clone(page(world).2.records.values().next().unwrap().record().unwrap())
}

/// Others end the life that stands, and begin another of the same name.
fn is_born_again(world: &mut World) -> Incarnation {
    let (name, envelope, mut page) = page(world);
    let (key, before) =
        page.records.iter().map(|(key, slot)| (key.clone(), slot.record().unwrap().clone())).next().unwrap();
    let life = Incarnation(before.incarnation.0 + 9);
    let born = Record { incarnation: life, ..Record::clone(&before) };
    page.records.insert(key, Slot::Known(Arc::new(born)));
    let envelope = Envelope { revision: envelope.revision.next(), nonce: 9, ..envelope };
    world.put_topo(&name, envelope.seal(&page.to_vec()));
    life
}

/// A league in which nothing goes without a yes, and a Request for the object's end that waits for one.
fn a_delete_that_waits() -> World {
    let mut world = settled();
    let mut federation = world.members[0].objects[FEDERATION].clone();
    federation["spec"]["safety"] = json!({"deletes": {"atLeast": 0, "percent": 0}});
    world.put(0, FEDERATION, federation);
    world.run_to_rest();
    ask(&mut world, 0, "Delete", json!({}));
    world.run_until("it waits for a yes", |world| {
        status(world, 0)["message"].as_str().is_some_and(|message| message.contains("hansa confirm"))
    });
    world
}

#[test]
fn a_request_ends_no_later_life_than_the_one_that_stood_when_it_was_made() {
    for restarts in [false, true] {
        let mut world = a_delete_that_waits();
        assert_eq!(status(&world, 0)["life"], json!(record(&world).incarnation));
        let life = is_born_again(&mut world);
        if restarts {
            world.restart();
        }
        assert_eq!(ends(&mut world, 0)["phase"], "Done");
        world.run_to_rest();
        let stands = record(&world);
        assert_eq!((stands.incarnation, stands.tombstone), (life, None), "restarts: {restarts}");
    }
}

#[test]
fn an_operator_that_is_no_member_carries_out_nothing() {
    let mut world = settled();
    let mut federation = world.members[0].objects[FEDERATION].clone();
    federation["spec"]["members"].as_array_mut().unwrap().retain(|member| member["name"] == "a");
    world.put(0, FEDERATION, federation);
    world.run_to_rest();
    for (action, arguments) in
        [("Delete", json!({})), ("HomeMove", json!({"member": "b"})), ("Output", json!({"member": "a"}))]
    {
        world.remove(1, PATH);
        ask(&mut world, 1, action, arguments);
        let status = ends(&mut world, 1);
        assert_eq!(status["phase"], "Refused");
        assert!(status["message"].as_str().unwrap().contains("spec.members of the league lists no b"), "{status}");
    }
    assert!(record(&world).tombstone.is_none());
}
