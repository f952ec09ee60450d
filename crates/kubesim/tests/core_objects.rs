//! Creating, reading, changing and deleting objects, without sockets.

mod core_support;

use core_support::Cluster;
use hansa_kubesim::core::http::Request;
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn a_new_cluster_has_its_namespaces_and_what_furnishes_them() {
    let mut cluster = Cluster::new();
    let list = cluster.get("/api/v1/namespaces");
    let names: Vec<&str> =
        list["items"].as_array().expect("items").iter().filter_map(|n| n["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    cluster.get("/api/v1/namespaces/kube-public/serviceaccounts/default");
    cluster.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt");
    assert_eq!(cluster.get("/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"], "10.96.0.1");
}

#[test]
fn an_object_lives_from_create_to_delete() {
    let mut cluster = Cluster::new();
    let made = cluster.config_map("a", &json!({"x": "1"}));
    assert_eq!(made["kind"], "ConfigMap");
    let uid = made["metadata"]["uid"].clone();
    let again = cluster.expect(409, &Request::post(MAPS, &json!({"metadata": {"name": "a"}})));
    assert_eq!(
        (again["reason"].as_str(), again["message"].as_str()),
        (Some("AlreadyExists"), Some("configmaps \"a\" already exists"))
    );

    let mut changed = made.clone();
    changed["data"]["x"] = json!("2");
    let changed = cluster.expect(200, &Request::put(&format!("{MAPS}/a"), &changed));
    assert_ne!(changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let stale = cluster.expect(409, &Request::put(&format!("{MAPS}/a"), &made));
    assert_eq!(stale["reason"], "Conflict");

    let same = cluster.expect(200, &Request::put(&format!("{MAPS}/a"), &changed));
    assert_eq!(same, changed, "an update that changes nothing keeps everything");

    let gone = cluster.expect(200, &Request::delete(&format!("{MAPS}/a")));
    assert_eq!((gone["status"].as_str(), &gone["details"]["uid"]), (Some("Success"), &uid));
    cluster.expect(404, &Request::get(&format!("{MAPS}/a")));
}
