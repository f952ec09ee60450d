//! Owners, finalizers and namespaces, without sockets.

mod core_support;

use core_support::{Cluster, names as names_of};
use hansa_kubesim::core::http::Request;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A ConfigMap that another one owns.
fn owned(cluster: &mut Cluster, name: &str, owner: &Value, blocks: bool) -> Value {
    let reference = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": blocks,
    });
    cluster.create(MAPS, &json!({"metadata": {"name": name, "ownerReferences": [reference]}}))
}

fn delete(cluster: &mut Cluster, name: &str, policy: &str) -> Value {
    let options = json!({"propagationPolicy": policy});
    cluster.expect(200, &Request::delete(&format!("{MAPS}/{name}")).body("application/json", &options))
}

fn names(cluster: &mut Cluster) -> Vec<String> {
    let mut names = names_of(&cluster.get(MAPS));
    names.retain(|name| name != "kube-root-ca.crt");
    names
}

#[test]
fn dependents_go_after_their_owner_before_it_or_not_at_all() {
    let mut cluster = Cluster::new();
    for (policy, left) in [("Background", vec![]), ("Foreground", vec![]), ("Orphan", vec!["child", "grandchild"])] {
        let owner = cluster.config_map("owner", &json!({}));
        let child = owned(&mut cluster, "child", &owner, true);
        owned(&mut cluster, "grandchild", &child, true);
        let watch = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={}", cluster.core.version()));
        delete(&mut cluster, "owner", policy);
        assert_eq!(names(&mut cluster), left, "{policy}");
        let events = cluster.brief(watch);
        let gone = |name: &str| events.iter().position(|event| *event == format!("DELETED {name}"));
        match policy {
            "Background" => assert!(gone("owner") < gone("child") && gone("child") < gone("grandchild"), "{events:?}"),
            "Foreground" => assert!(gone("grandchild") < gone("child") && gone("child") < gone("owner"), "{events:?}"),
            _ => {
                let kept = cluster.get(&format!("{MAPS}/child"));
                assert!(kept["metadata"]["ownerReferences"].is_null(), "an orphan names no owner");
            }
        }
    }
}

#[test]
fn an_owner_waits_in_the_foreground_for_a_dependent_that_something_holds() {
    let mut cluster = Cluster::new();
    let owner = cluster.config_map("owner", &json!({}));
    owned(&mut cluster, "free", &owner, false);
    let held = owned(&mut cluster, "held", &owner, true);
    let mut held = held.clone();
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    cluster.expect(200, &Request::put(&format!("{MAPS}/held"), &held));
    delete(&mut cluster, "owner", "Foreground");
    assert_eq!(names(&mut cluster), ["held", "owner"]);
    assert_eq!(cluster.get(&format!("{MAPS}/owner"))["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let release = json!({"metadata": {"finalizers": null}});
    cluster.expect(200, &Request::patch(&format!("{MAPS}/held"), "merge-patch", &release));
    assert_eq!(names(&mut cluster), Vec::<String>::new());
}

#[test]
fn one_owner_of_several_is_enough_and_an_owner_of_another_life_is_none() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.config_map("one", &json!({})), cluster.config_map("two", &json!({})));
    let reference = |owner: &Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]});
    let owners = json!([reference(&one), reference(&two)]);
    cluster.create(MAPS, &json!({"metadata": {"name": "shared", "ownerReferences": owners}}));
    delete(&mut cluster, "one", "Background");
    let shared = cluster.get(&format!("{MAPS}/shared"));
    assert_eq!(shared["metadata"]["ownerReferences"], json!([reference(&two)]), "the one that is gone is taken out");
    delete(&mut cluster, "two", "Background");
    assert_eq!(names(&mut cluster), Vec::<String>::new());
    cluster.config_map("one", &json!({}));
    cluster.create(MAPS, &json!({"metadata": {"name": "stray", "ownerReferences": [reference(&one)]}}));
    assert_eq!(names(&mut cluster), ["one"], "the owner's name lives again, its uid does not");
}

#[test]
fn finalizers_hold_an_object_and_only_shrink_then() {
    let mut cluster = Cluster::new();
    let finalizers = json!(["example.org/a", "example.org/b"]);
    cluster.create(MAPS, &json!({"metadata": {"name": "held", "finalizers": finalizers}}));
    let first = cluster.expect(200, &Request::delete(&format!("{MAPS}/held")));
    cluster.pass(5_000);
    let again = cluster.expect(200, &Request::delete(&format!("{MAPS}/held")));
    assert_eq!(first["metadata"]["deletionTimestamp"], again["metadata"]["deletionTimestamp"], "deleted once");
    let set = |finalizers: Value| {
        Request::patch(&format!("{MAPS}/held"), "merge-patch", &json!({"metadata": {"finalizers": finalizers}}))
    };
    cluster.expect(422, &set(json!(["example.org/a", "example.org/b", "example.org/c"])));
    let fewer = cluster.expect(200, &set(json!(["example.org/b"])));
    assert_eq!(fewer["metadata"]["finalizers"], json!(["example.org/b"]));
    let exists = cluster.expect(409, &Request::post(MAPS, &json!({"metadata": {"name": "held"}})));
    assert!(exists["message"].as_str().is_some_and(|text| text.contains("being deleted")), "{exists}");
    cluster.expect(200, &set(Value::Null));
    let reborn = cluster.create(MAPS, &json!({"metadata": {"name": "held"}}));
    assert_ne!(reborn["metadata"]["uid"], first["metadata"]["uid"]);
}

#[test]
fn a_namespace_goes_when_all_in_it_has_gone() {
    let mut cluster = Cluster::new();
    let shop = "/api/v1/namespaces/shop";
    cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}}));
    cluster.create(&format!("{shop}/secrets"), &json!({"metadata": {"name": "plain"}}));
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.org/hold"]}});
    cluster.create(&format!("{shop}/configmaps"), &held);
    cluster.create("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "plain"}}));
    cluster.expect(200, &Request::delete(shop));
    cluster.expect(404, &Request::get(&format!("{shop}/secrets/plain")));
    cluster.get("/api/v1/namespaces/default/secrets/plain");
    let live = cluster.get(shop);
    assert_eq!(
        (&live["status"]["phase"], &live["spec"]["finalizers"]),
        (&json!("Terminating"), &json!(["kubernetes"]))
    );
    let remaining = live["status"]["conditions"].as_array().into_iter().flatten();
    let told: Vec<&str> =
        remaining.filter(|one| one["status"] == "True").filter_map(|one| one["type"].as_str()).collect();
    assert!(told.contains(&"NamespaceContentRemaining") && told.contains(&"NamespaceFinalizersRemaining"), "{live:#}");
    let late =
        cluster.expect(403, &Request::post(&format!("{shop}/configmaps"), &json!({"metadata": {"name": "late"}})));
    assert_eq!(late["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let release = json!({"metadata": {"finalizers": null}});
    cluster.expect(200, &Request::patch(&format!("{shop}/configmaps/held"), "merge-patch", &release));
    cluster.expect(404, &Request::get(shop));
    cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}}));
    assert_eq!(names_of(&cluster.get(&format!("{shop}/configmaps"))), ["kube-root-ca.crt"]);
}
