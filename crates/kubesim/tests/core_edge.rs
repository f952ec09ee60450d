//! The server behind HTTPS, with a real client.

use std::time::Duration;

use hansa_kubesim::edge::{Options, serve};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig: Kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    // What is not there yet is asked for again by those who wait for it, and at once.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "b"}})).expect("a ConfigMap")
}

#[tokio::test]
async fn kube_rs_creates_watches_applies_and_deletes() {
    let running = serve(Options::default()).await.expect("starts");
    let client = client(&running.kubeconfig).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let version = maps.list(&ListParams::default()).await.expect("lists").metadata.resource_version.expect("a version");

    let made = maps.create(&PostParams::default(), &config_map("one")).await.expect("creates");
    assert!(made.metadata.uid.is_some());
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}, "data": {"x": "y"}});
    let applied = maps.patch("two", &PatchParams::apply("tester"), &Patch::Apply(&applied)).await.expect("applies");
    let managers = applied.metadata.managed_fields.expect("managed fields");
    assert_eq!(managers[0].manager.as_deref(), Some("tester"));
    maps.delete("one", &DeleteParams::default()).await.expect("deletes");

    let events = maps.watch(&WatchParams::default().timeout(5), &version).await.expect("watches");
    let mut events = std::pin::pin!(events);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let next = tokio::time::timeout(Duration::from_secs(5), futures::StreamExt::next(&mut events)).await;
        seen.push(match next.expect("in time").expect("goes on").expect("is an event") {
            WatchEvent::Added(map) => format!("added {}", map.metadata.name.unwrap_or_default()),
            WatchEvent::Deleted(map) => format!("deleted {}", map.metadata.name.unwrap_or_default()),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(seen, ["added one", "added two", "deleted one"]);
    running.shutdown().await;
}
