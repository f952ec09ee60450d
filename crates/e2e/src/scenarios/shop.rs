//! A whole application, as the demo has it, through the commands that users type: to all members, its
//! home lost, taken over, and back.

use super::scene::{Scene, uid};
use crate::client::Resource;
use crate::cluster::User;
use crate::kubectl::kubectl;
use crate::objects::{CONFIG_MAPS, DEFINITIONS, DEPLOYMENTS, PODS, SECRETS, SERVICES, condition};
use crate::wait::{Seen, eventually};
use crate::world::{MEMBERS, federation_spec};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SHOP: &str = include_str!("../../../cli/demo/shop.yaml");
const COUPON: &str = include_str!("../../../cli/demo/coupon.yaml");

const STATEFUL_SETS: Resource = Resource { group: "apps", version: "v1", plural: "statefulsets", kind: "StatefulSet" };
const INGRESSES: Resource =
    Resource { group: "networking.k8s.io", version: "v1", plural: "ingresses", kind: "Ingress" };
const AUTOSCALERS: Resource = Resource {
    group: "autoscaling",
    version: "v2",
    plural: "horizontalpodautoscalers",
    kind: "HorizontalPodAutoscaler",
};
const BUDGETS: Resource =
    Resource { group: "policy", version: "v1", plural: "poddisruptionbudgets", kind: "PodDisruptionBudget" };
const COUPONS: Resource = Resource { group: "shop.example.com", version: "v1", plural: "coupons", kind: "Coupon" };

/// The types that the league does not federate otherwise.
const TYPES: [Resource; 5] = [STATEFUL_SETS, INGRESSES, AUTOSCALERS, BUDGETS, COUPONS];

/// What each member is to have. In the end all of it goes again, in this order.
const PARTS: [(Resource, &str); 10] = [
    (COUPONS, "spring"),
    (CONFIG_MAPS, "settings"),
    (SECRETS, "database"),
    (SERVICES, "web"),
    (SERVICES, "cart"),
    (STATEFUL_SETS, "cart"),
    (INGRESSES, "web"),
    (AUTOSCALERS, "web"),
    (BUDGETS, "web"),
    (DEPLOYMENTS, "web"),
];

const DEFINITION: &str = "coupons.shop.example.com";

/// `hansa federate -f - --all | kubectl apply --server-side -f -` in the first member, again and again
/// until all kinds are served there.
async fn federate(scene: &Scene, manifests: &str) -> Result<()> {
    let kubeconfig = scene.world.members[0].cluster.read().await.kubeconfig(User::Admin);
    eventually("the application is applied", async || {
        let federated =
            match scene.world.hansa(&kubeconfig, &["federate", "-f", "-", "--all", "-o", "json"], manifests).await {
                Ok(federated) => serde_json::from_str(&federated)?,
                Err(error) => return Ok(Seen::No(format!("{error:#}"))),
            };
        Ok(match kubectl(scene, 0, &["apply", "--server-side", "-f", "-"], Some(&federated)).await {
            Ok(_) => Seen::Yes(()),
            Err(error) => Seen::No(format!("{error:#}")),
        })
    })
    .await
}

/// The pods of the StatefulSet, which nobody edits: names and uids.
async fn pods(scene: &Scene, index: usize) -> Result<BTreeMap<String, String>> {
    let all =
        scene.admin(index).list(&format!("{}?labelSelector=app%3Dcart", PODS.collection(&scene.namespace))).await?;
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned).context("a pod has a name");
    all.iter().map(|pod| Ok((name(pod)?, uid(pod)?))).collect()
}

async fn runs(scene: &Scene, index: usize, replicas: u64) -> Result<()> {
    let ready = |wanted: u64| move |o: &Value| o["status"]["readyReplicas"] == wanted;
    scene.output_is(index, DEPLOYMENTS, "web", "runs", ready(replicas)).await?;
    scene.output_is(index, STATEFUL_SETS, "cart", "runs", ready(2)).await?;
    Ok(())
}

/// What `kubectl get` shows of the league in any member, and of the federated objects in their home.
async fn shown(scene: &Scene) -> Result<()> {
    for index in 0..3 {
        let members = kubectl(scene, index, &["get", "members"], None).await?;
        let mut lines = members.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let header = lines.next().unwrap_or_default();
        ensure!(header == ["NAME", "READY", "PROVIDER", "REGION", "VERSION", "LAG", "AGE"], "{members}");
        ensure!(lines.all(|line| line.get(1) == Some(&"true")) && members.lines().count() == 4, "{members}");
    }
    let all = kubectl(scene, 0, &["get", "federated", "--namespace", &scene.namespace, "-o", "name"], None).await?;
    for (resource, name) in PARTS {
        let group = if resource.group.is_empty() { "core" } else { resource.group };
        let wanted = format!("federated{}.{group}.types.hansa.dev/{name}", resource.kind.to_lowercase());
        ensure!(all.lines().any(|line| line == wanted), "{wanted} is not among {all}");
    }
    Ok(())
}

/// An application of ten kinds goes to one member and runs in all; then its home dies, API server and
/// operator: another member takes an object over and edits it; the dead one returns, stale, catches up,
/// and nothing is reverted, deleted or restarted.
pub async fn shop(scene: &Scene) -> Result<()> {
    ensure!(scene.namespace == "shop", "the manifests have this namespace");
    scene
        .world
        .edit_federation(|spec| {
            let added = TYPES.map(|one| json!({"resource": one.type_name(), "version": one.version}));
            spec["types"].as_array_mut().into_iter().for_each(|types| types.extend(added.clone()));
        })
        .await?;
    scene.make_namespace(0).await?;
    federate(scene, SHOP).await?;
    federate(scene, COUPON).await?;
    for index in 0..3 {
        for (resource, name) in PARTS {
            scene.output_is(index, resource, name, "stands", |_| true).await?;
        }
        runs(scene, index, 2).await?;
    }
    for (resource, name) in PARTS {
        // Nothing serves the Ingress here, nor measures pods for the autoscaler: they do not become healthy.
        let propagated = |home: &Value| condition(home, "Propagated").0 == "True";
        scene.home_is(0, resource, name, "is propagated", propagated).await?;
    }
    scene.quiet().await?;
    shown(scene).await?;
    let before = pods(scene, 0).await?;
    ensure!(before.len() == 2, "{before:?}");
    let marks = scene.world.mark().await?;

    let home = &scene.world.members[0];
    home.operator.lock().await.kill();
    home.cluster.write().await.kill();
    let (phase, message) = scene.ask(1, "HomeMove", DEPLOYMENTS, "web", json!({"member": MEMBERS[1]})).await?;
    ensure!(phase == "Done", "{phase}: {message}");
    let path = DEPLOYMENTS.federated(&scene.namespace, "web");
    let edit = json!({"spec": {"template": {"spec": {"replicas": 3}}}});
    eventually("the object is at home in the other member", async || {
        let found = scene.admin(1).find(&path).await?;
        Ok(if found.is_some() { Seen::Yes(()) } else { Seen::No("it is not there".to_owned()) })
    })
    .await?;
    scene.admin(1).patch(&path, "user", &edit).await?;
    for index in [1, 2] {
        runs(scene, index, 3).await?;
    }

    let mut cluster = home.cluster.write().await;
    cluster.start_again()?;
    cluster.ready().await?;
    drop(cluster);
    home.operator.lock().await.start(&[])?;
    runs(scene, 0, 3).await?;
    scene.condition_is(0, DEPLOYMENTS, "web", "Agreed", "False", "HomeMoved").await?;
    scene.settled(1, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    for index in 0..3 {
        scene.output_is(index, DEPLOYMENTS, "web", "was not reverted", |o| o["spec"]["replicas"] == 3).await?;
    }
    ensure!(pods(scene, 0).await? == before, "pods that nobody edited are the same as before");
    scene.no_deletes(&marks).await?;

    for (resource, name) in PARTS {
        scene.delete(0, resource, name).await?;
        if resource == DEPLOYMENTS {
            scene.delete(1, resource, name).await?;
        }
        for index in 0..3 {
            // The Secret that the federated one names is the user's own.
            if resource != SECRETS || index != 0 {
                scene.output_goes(index, resource, name).await?;
            }
            scene.record_is(index, resource, name, "is gone", Value::is_null).await?;
        }
    }
    scene.admin(0).delete(&DEFINITIONS.federated("", DEFINITION)).await?;
    for index in 0..3 {
        eventually("the application's own kind goes", async || {
            let found = scene.admin(index).find(&DEFINITIONS.path("", DEFINITION)).await?;
            Ok(found.map_or(Seen::Yes(()), |found| Seen::No(found["status"].to_string())))
        })
        .await?;
    }
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}
