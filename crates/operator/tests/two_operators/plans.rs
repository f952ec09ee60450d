//! Plans: what each member would do, without anything being done.

use super::replaced::{FEDERATION, agreed};
use super::rolled_back::raise_era;
use super::world::{World, federated};
use hansa_ledger::plan::{Effect, Finding, Findings, Plan, Verdict, Word};
use hansa_ledger::{Envelope, keys};
use serde_json::{Value, json};

const HOME: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/conf";
const OUTPUT: &str = "/api/v1/namespaces/shop/configmaps/conf";
const REQUESTS: &str = "/apis/hansa.dev/v1alpha1/namespaces/shop/requests";

fn spec(greeting: &str, members: &[&str]) -> Value {
    json!({"template": {"data": {"greeting": greeting}}, "placement": {"members": members}})
}

fn league(types: &[&str]) -> World {
    let mut world = World::new();
    world.found(types);
    world.put(0, HOME, federated("ConfigMap", "conf", spec("hello", &["a", "b"])));
    world.run_until("both have it", |world| world.members.iter().all(|member| member.objects.contains_key(OUTPUT)));
    world.run_to_rest();
    for member in &mut world.members {
        member.writes.clear();
    }
    world.topo_writes.clear();
    world
}

/// Asks an operator for the plan of an object; the name is that of the Request.
fn ask(world: &mut World, index: usize, name: &str, (resource, object): (&str, &str), plan: Value) {
    let object = json!({"resource": resource, "namespace": "shop", "name": object});
    let spec = json!({"action": "Plan", "object": object, "arguments": {"plan": plan}});
    let request = json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Request", "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    world.put(index, &format!("{REQUESTS}/{name}"), request);
}

fn answer(world: &mut World, index: usize, name: &str) -> Value {
    let path = format!("{REQUESTS}/{name}");
    world.run_until("the plan is answered", |world| {
        let phase = &world.members[index].objects[&path]["status"]["phase"];
        phase == "Done" || phase == "Refused"
    });
    world.members[index].objects[&path]["status"].clone()
}

fn findings(world: &mut World, index: usize, name: &str) -> Findings {
    let status = answer(world, index, name);
    let secret = format!("/api/v1/namespaces/shop/secrets/{}", status["resultSecret"].as_str().expect("it has data"));
    let result = &world.members[index].objects[&secret]["stringData"]["result"];
    serde_json::from_str(result.as_str().unwrap()).unwrap()
}

fn word<'a>(findings: &'a Findings, member: &str) -> &'a Word {
    match &findings[&member.parse().unwrap()] {
        Finding::Said(word) => word,
        Finding::Silent(why) => panic!("{member} is silent: {why}"),
    }
}

fn outputs(world: &World) -> Vec<Value> {
    world.members.iter().map(|member| member.objects[OUTPUT].clone()).collect()
}

/// Who asked for a plan makes its place free again once it is answered or late, but not in a store that went back since.
#[test]
fn on_a_store_that_went_back_no_plan_makes_its_place_free() {
    let mut world = league(&["configmaps"]);
    let kept = world.topo.clone();
    world.put(0, HOME, federated("ConfigMap", "conf", spec("welcome", &["a", "b"])));
    world.run_until("it is everywhere", |world| {
        world.members.iter().all(|member| member.objects[OUTPUT]["data"]["greeting"] == "welcome")
    });
    world.run_to_rest();
    // The second member does not answer.
    world.members[1].stopped = true;
    ask(&mut world, 0, "edit", ("configmaps", "conf"), json!({"spec": spec("moin", &["a", "b"])}));
    world.run_until("the plan stands", |world| world.topo.contains_key(&keys::plan(0)));
    world.run_for(1_000);
    let (newest, standing) = (world.topo.clone(), world.topo[&keys::plan(0)].clone());
    world.topo.clone_from(&kept);
    world.topo.insert(keys::plan(0), standing.clone());
    world.run_until("it freezes", |world| agreed(world, 0, FEDERATION).0 == "TopologyServerRolledBack");
    world.run_for(120_000);
    assert_eq!(world.topo[&keys::plan(0)], standing);
    world.topo.clone_from(&newest);
    world.members[1].stopped = false;
    world.run_until("its place is free", |world| world.topo[&keys::plan(0)] != standing);
}

/// Members answer a plan before the one who wrote it hears that it stands.
#[test]
fn who_answers_before_the_plan_is_known_to_stand_is_heard() {
    let mut world = league(&["configmaps"]);
    world.answered_last = Some(keys::plan(0));
    let plan = json!({"spec": spec("moin", &["a", "b"])});
    ask(&mut world, 0, "edit", ("configmaps", "conf"), plan);
    let findings = findings(&mut world, 0, "edit");
    assert_eq!(["a", "b"].map(|member| word(&findings, member).verdict), [Verdict::Accepted; 2]);
}

#[test]
fn each_member_says_what_it_would_do_and_nothing_is_done() {
    let mut world = league(&["configmaps"]);
    let before = outputs(&world);
    world.refusing = Some((0, OUTPUT));
    // Asked where the home is not.
    ask(&mut world, 1, "plan", ("configmaps", "conf"), json!({"spec": spec("moin", &["a", "b"])}));
    let found = findings(&mut world, 1, "plan");
    let (a, b) = (word(&found, "a"), word(&found, "b"));
    assert_eq!((a.verdict, a.effect), (Verdict::Refused, Some(Effect::Change)));
    assert!(a.message.contains("a policy refuses it"), "{a:?}");
    assert_eq!((b.verdict, b.effect), (Verdict::Accepted, Some(Effect::Change)));
    assert_eq!(b.changes[0].path, "data.greeting");
    assert!(!serde_json::to_string(b).unwrap().contains("moin"), "values are told by their sizes: {b:?}");
    world.run_to_rest();

    assert_eq!(outputs(&world), before);
    assert!(world.members.iter().all(|member| member.tried == [OUTPUT]), "each tried it once");
    assert_eq!(world.members[0].writes, Vec::<String>::new());
    assert!(world.members[1].writes.iter().all(|write| write.contains("/requests/") || write.ends_with("/secrets")));
    let beside = |key: &&String| !key.ends_with("/cell");
    let written: Vec<&String> = world.topo_writes.iter().filter(beside).collect();
    assert_eq!(written, ["/v1/plans/0", "/v1/plans/0/a", "/v1/plans/0"], "asked, answered, and given back");
    let (_, body) = Envelope::open(&world.topo[&keys::plan(0)].1).unwrap();
    assert!(Plan::from_slice(&body).unwrap().objects.is_empty(), "the slot is free again");
}

#[test]
fn a_withdrawal_an_addition_and_no_change_are_told_apart() {
    let mut world = league(&["configmaps"]);
    ask(&mut world, 0, "same", ("configmaps", "conf"), json!({"spec": spec("hello", &["a", "b"])}));
    ask(&mut world, 0, "less", ("configmaps", "conf"), json!({"spec": spec("hello", &["b"])}));
    ask(&mut world, 0, "new", ("configmaps", "new"), json!({"spec": spec("hello", &["b"])}));
    let effects = |world: &mut World, name: &str| {
        let found = findings(world, 0, name);
        ["a", "b"].map(|member| (word(&found, member).verdict, word(&found, member).effect.unwrap()))
    };
    let kept = (Verdict::Accepted, Effect::Keep);
    assert_eq!(effects(&mut world, "same"), [kept, kept]);
    assert_eq!(effects(&mut world, "less"), [(Verdict::Accepted, Effect::Withdraw), kept]);
    assert_eq!(effects(&mut world, "new"), [(Verdict::Accepted, Effect::Absent), (Verdict::Accepted, Effect::Add)]);
    world.run_to_rest();
    // What was asked while the first was on its way went together.
    let slots = world.topo_writes.iter().filter(|key| **key == "/v1/plans/0" || **key == "/v1/plans/1").count();
    assert!(slots <= 4, "{:?}", world.topo_writes);
    assert_eq!(world.members[1].tried, ["/api/v1/namespaces/shop/configmaps/new"], "what stays is not tried");
}

#[test]
fn what_cannot_be_is_refused_by_each_and_names_the_field() {
    let mut world = league(&["configmaps"]);
    for (name, resource, spec, words) in [
        ("field", "configmaps", json!({"placements": {}}), "unknown field `placements`"),
        ("type", "widgets.example.org", spec("hello", &["b"]), "not among the types"),
        (
            "both",
            "configmaps",
            json!({"template": {}, "placement": {"members": ["b"], "memberSelector": {}}}),
            "spec.placement",
        ),
        (
            "override",
            "configmaps",
            json!({"template": {}, "placement": {"members": ["b"]}, "overrides": [
                {"members": ["b"], "patches": [{"op": "replace", "path": "/data/a", "value": "b"}]}]}),
            "spec.overrides[0].patches[0].path",
        ),
    ] {
        ask(&mut world, 0, name, (resource, "new"), json!({"spec": spec}));
        let found = findings(&mut world, 0, name);
        let said = word(&found, "b");
        assert_eq!(said.verdict, Verdict::Refused, "{said:?}");
        assert!(said.message.contains(words), "{said:?}");
    }
    assert!(world.members.iter().all(|member| member.tried.is_empty()));
}

#[test]
fn who_is_silent_is_named_and_not_waited_for_longer_than_that() {
    let mut world = league(&["configmaps"]);
    world.members[1].stopped = true;
    ask(&mut world, 0, "soon", ("configmaps", "conf"), json!({"spec": spec("moin", &["a", "b"]), "timeoutSeconds": 3}));
    let why = |found: &Findings| match &found[&"b".parse().unwrap()] {
        Finding::Silent(why) => why.clone(),
        Finding::Said(word) => panic!("{word:?}"),
    };
    let found = findings(&mut world, 0, "soon");
    assert!(why(&found).contains("has not answered within 3 s"), "{}", why(&found));
    assert_eq!(word(&found, "a").verdict, Verdict::Accepted);
    world.run_for(30_000);
    ask(
        &mut world,
        0,
        "late",
        ("configmaps", "conf"),
        json!({"spec": spec("moin", &["a", "b"]), "timeoutSeconds": 600}),
    );
    let found = findings(&mut world, 0, "late");
    assert!(why(&found).starts_with("silent since 2023-"), "{}", why(&found));
    // It runs again, and goes on from where it was: it is too late for those plans.
    world.members[1].stopped = false;
    world.run_for(10_000);
    assert!(world.members[1].tried.is_empty());
    ask(&mut world, 0, "again", ("configmaps", "conf"), json!({"spec": spec("moin", &["a", "b"])}));
    let found = findings(&mut world, 0, "again");
    assert_eq!(word(&found, "b").verdict, Verdict::Accepted);
}

/// Calls of the era before are not answered any more: what one of them was to do is done by another.
#[test]
fn a_plan_that_is_on_its_way_when_an_era_begins_is_asked_in_that_era() {
    let mut world = league(&["configmaps"]);
    world.run_to_rest();
    world.unanswered = Some(keys::plan(0));
    ask(&mut world, 0, "plan", ("configmaps", "conf"), json!({"spec": spec("moin", &["a", "b"])}));
    world.run_for(1_000);
    assert!(!world.topo.contains_key(&keys::plan(0)));
    world.unanswered = Some(keys::plan_words(0, &"b".parse().unwrap()));
    raise_era(&mut world);
    world.run_until("it is asked", |world| world.topo.contains_key(&keys::plan(0)));
    world.run_for(1_000);
    world.unanswered = None;
    raise_era(&mut world);
    let found = findings(&mut world, 0, "plan");
    assert_eq!(word(&found, "b").verdict, Verdict::Accepted);
}

#[test]
fn an_observer_says_what_it_would_do_if_it_did_anything() {
    let mut world = league(&["configmaps"]);
    world.observing = Some("b");
    world.restart();
    world.run_to_rest();
    ask(&mut world, 0, "plan", ("configmaps", "conf"), json!({"spec": spec("moin", &["a", "b"])}));
    let found = findings(&mut world, 0, "plan");
    let said = word(&found, "b");
    assert_eq!((said.verdict, said.effect), (Verdict::Accepted, Some(Effect::Change)));
    assert!(said.notes[0].contains("only observes"), "{said:?}");
    assert!(world.members[1].writes.is_empty(), "{:?}", world.members[1].writes);
}

#[test]
fn a_secret_is_planned_by_its_outline() {
    let mut world = league(&["configmaps", "secrets"]);
    let spec = json!({"templateFrom": {"secretRef": {"name": "source"}}, "placement": {"members": ["a", "b"]}});
    let outline = json!({"type": "Opaque", "data": {"token": ""}});
    ask(&mut world, 0, "plan", ("secrets", "keys"), json!({"spec": spec, "outline": outline}));
    let found = findings(&mut world, 0, "plan");
    for member in ["a", "b"] {
        let said = word(&found, member);
        assert_eq!((said.verdict, said.effect), (Verdict::Accepted, Some(Effect::Add)), "{said:?}");
    }
    let values = json!({"type": "Opaque", "data": {"token": "c2VjcmV0"}});
    ask(&mut world, 0, "values", ("secrets", "keys"), json!({"spec": spec, "outline": values}));
    let refusal = answer(&mut world, 0, "values")["message"].clone();
    assert!(refusal.as_str().unwrap().contains("values of a Secret go into no plan"), "{refusal}");
    let inline = json!({"template": {"data": {"token": "YQ=="}}, "placement": {}});
    ask(&mut world, 0, "inline", ("secrets", "keys"), json!({"spec": inline}));
    let refusal = answer(&mut world, 0, "inline")["message"].clone();
    assert!(refusal.as_str().unwrap().starts_with("spec.arguments.plan: spec.template"), "{refusal}");
    let bodies = world.topo.values().map(|(_, value)| Envelope::open(value).unwrap().1);
    let told: String = bodies.map(|body| String::from_utf8_lossy(&body).into_owned()).collect();
    assert!(!told.contains("YQ==") && !told.contains("c2VjcmV0"));
}

#[test]
fn a_plan_that_is_none_or_too_large_is_refused_with_the_mend() {
    let mut world = league(&["configmaps"]);
    ask(&mut world, 0, "none", ("configmaps", "conf"), json!({}));
    assert!(answer(&mut world, 0, "none")["message"].as_str().unwrap().starts_with("spec.arguments.plan.spec: "));
    let large = json!({"template": {"data": {"a": "a".repeat(1 << 20)}}, "placement": {}});
    ask(&mut world, 0, "large", ("configmaps", "conf"), json!({"spec": large}));
    assert!(answer(&mut world, 0, "large")["message"].as_str().unwrap().contains("--local"));
    assert!(!world.topo_writes.iter().any(|key| key.starts_with(keys::PLANS)));
}

#[test]
fn what_does_not_read_in_a_slot_is_passed_over_and_left_as_it_is() {
    let mut world = league(&["configmaps"]);
    let (envelope, _) = Envelope::open(&world.topo["/v1/control"].1).unwrap();
    let foreign = envelope.seal(br#"{"format": 9, "novelty": true}"#);
    world.put_topo(&keys::plan(0), foreign.clone());
    world.put_topo(&keys::plan(1), bytes::Bytes::from_static(b"no envelope"));
    ask(&mut world, 0, "plan", ("configmaps", "conf"), json!({"spec": spec("moin", &["a", "b"])}));
    // Nor does what is said beside it by somebody who knows nothing of the plan.
    world.put_topo(&keys::plan_words(2, &"b".parse().unwrap()), envelope.seal(b"{"));
    let found = findings(&mut world, 0, "plan");
    assert_eq!(word(&found, "b").verdict, Verdict::Accepted);
    assert_eq!(world.topo[&keys::plan(0)].1, foreign);
    assert!(world.topo_writes.iter().any(|key| *key == keys::plan(2)));
}
