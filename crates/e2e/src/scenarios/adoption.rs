//! Objects that stood before Hansa came: adopted without a restart, refused with paths, left alone,
//! and let go again.

use super::scene::{Scene, uid};
use crate::kubectl::kubectl;
use crate::objects::{CONFIG_MAPS, DEPLOYMENTS, PODS, REPLICA_SETS, condition, config, deployment, placed, plain};
use crate::world::MEMBERS;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn uids(objects: &[Value]) -> Result<BTreeSet<String>> {
    objects.iter().map(uid).collect()
}

/// A running Deployment made by `kubectl apply` is adopted: its template, ReplicaSet and pods stay as
/// they are; what the template drops later goes.
pub async fn running_deployment(scene: &Scene) -> Result<()> {
    let mut template = deployment("web", "web:1", 2);
    template["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    template["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(5);
    let mut before = Vec::new();
    for index in [0, 1] {
        scene.make_namespace(index).await?;
        let object = plain(DEPLOYMENTS, &scene.namespace, "web", &template);
        kubectl(scene, index, &["apply", "-f", "-"], Some(&object)).await?;
        let running = scene.output_is(index, DEPLOYMENTS, "web", "runs", |o| o["status"]["readyReplicas"] == 2).await?;
        let sets = scene.admin(index).list(&REPLICA_SETS.collection(&scene.namespace)).await?;
        let pods = scene.admin(index).list(&PODS.collection(&scene.namespace)).await?;
        before.push((running, uids(&sets)?, uids(&pods)?));
    }
    let members = [MEMBERS[0], MEMBERS[1]];
    scene.federate(0, DEPLOYMENTS, "web", &placed(template.clone(), &members)).await?;
    scene.settled(0, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    for (index, (running, sets, pods)) in before.iter().enumerate() {
        let adopted = scene
            .output_is(index, DEPLOYMENTS, "web", "is adopted", |o| {
                o["metadata"]["labels"]["hansa.dev/league"].is_string()
            })
            .await?;
        ensure!(uid(&adopted)? == uid(running)?, "it is the same object");
        ensure!(
            adopted["spec"] == running["spec"],
            "nothing in it changed: {} and {}",
            adopted["spec"],
            running["spec"]
        );
        let now = scene.admin(index).list(&REPLICA_SETS.collection(&scene.namespace)).await?;
        ensure!(&uids(&now)? == sets, "the ReplicaSets are the same");
        let now = scene.admin(index).list(&PODS.collection(&scene.namespace)).await?;
        ensure!(&uids(&now)? == pods, "no pod was restarted");
    }

    // What only the earlier tool owned would linger: it owns nothing of the template any more.
    let container = &mut template["spec"]["template"]["spec"]["containers"][0];
    container["env"] = json!([{"name": "A", "value": "1"}]);
    template["spec"]["template"]["spec"].as_object_mut().map(|spec| spec.remove("terminationGracePeriodSeconds"));
    scene.federate(0, DEPLOYMENTS, "web", &placed(template, &members)).await?;
    for index in [0, 1] {
        scene
            .output_is(index, DEPLOYMENTS, "web", "has lost what was dropped", |o| {
                let pod = &o["spec"]["template"]["spec"];
                pod["containers"][0]["env"] == json!([{"name": "A", "value": "1"}])
                    && pod["terminationGracePeriodSeconds"] == 30
            })
            .await?;
    }
    scene.settled(0, DEPLOYMENTS, "web").await?;
    Ok(())
}

/// What differs is not adopted unasked: the fields are named, and `Always` takes it over.
pub async fn differing(scene: &Scene) -> Result<()> {
    scene.make_namespace(1).await?;
    let object = plain(CONFIG_MAPS, &scene.namespace, "conf", &config(&[("greeting", "mine"), ("extra", "stays")]));
    kubectl(scene, 1, &["apply", "-f", "-"], Some(&object)).await?;
    let before = scene.output_is(1, CONFIG_MAPS, "conf", "stands", |_| true).await?;
    let mut spec = placed(config(&[("greeting", "hello")]), &[MEMBERS[0], MEMBERS[1]]);
    scene.federate(0, CONFIG_MAPS, "conf", &spec).await?;
    let home = scene.condition_is(0, CONFIG_MAPS, "conf", "Propagated", "False", "Failing").await?;
    let (_, _, message) = condition(&home, "Propagated");
    ensure!(message.contains(MEMBERS[1]) && message.contains("data.greeting"), "member and field are named: {message}");
    ensure!(message.contains("spec.adoption"), "the mend is named: {message}");
    let now = scene.output_is(1, CONFIG_MAPS, "conf", "stands", |_| true).await?;
    ensure!(now["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"], "it was not touched: {now}");
    scene.output_is(0, CONFIG_MAPS, "conf", "stands where nothing stood", |o| o["data"]["greeting"] == "hello").await?;

    spec["adoption"] = json!("Always");
    scene.federate(0, CONFIG_MAPS, "conf", &spec).await?;
    let adopted = scene.output_is(1, CONFIG_MAPS, "conf", "is adopted", |o| o["data"]["greeting"] == "hello").await?;
    ensure!(uid(&adopted)? == uid(&before)?, "it is the same object");
    ensure!(adopted["data"]["extra"] == "stays", "what another tool added stays its own: {adopted}");
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    Ok(())
}

/// `Never` leaves it alone and says so; when it is gone, the output takes its place. Let go with
/// `Orphan`, the output stays without any mark.
pub async fn never_and_orphan(scene: &Scene) -> Result<()> {
    scene.make_namespace(1).await?;
    let object = plain(CONFIG_MAPS, &scene.namespace, "conf", &config(&[("greeting", "hello")]));
    kubectl(scene, 1, &["apply", "-f", "-"], Some(&object)).await?;
    let mut spec = placed(config(&[("greeting", "hello")]), &[MEMBERS[1]]);
    spec["adoption"] = json!("Never");
    spec["deletionPolicy"] = json!("Orphan");
    scene.federate(0, CONFIG_MAPS, "conf", &spec).await?;
    let home = scene.condition_is(0, CONFIG_MAPS, "conf", "Propagated", "False", "Failing").await?;
    ensure!(condition(&home, "Propagated").2.contains("Never"), "the rule is named: {}", home["status"]);
    let now = scene.output_is(1, CONFIG_MAPS, "conf", "stands", |_| true).await?;
    ensure!(now["metadata"]["labels"].is_null(), "it was not touched: {now}");

    scene.admin(1).delete(&CONFIG_MAPS.path(&scene.namespace, "conf")).await?;
    let labelled = |o: &Value| o["metadata"]["labels"]["hansa.dev/league"].is_string();
    let made = scene.output_is(1, CONFIG_MAPS, "conf", "is Hansa's", labelled).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;

    scene.delete(0, CONFIG_MAPS, "conf").await?;
    scene.record_is(0, CONFIG_MAPS, "conf", "is gone", Value::is_null).await?;
    let left = scene.output_is(1, CONFIG_MAPS, "conf", "is let go", |o| !labelled(o)).await?;
    ensure!(uid(&left)? == uid(&made)? && left["data"]["greeting"] == "hello", "it stays as it was: {left}");
    let managers = left["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    ensure!(managers.iter().all(|entry| entry["manager"] != "hansa"), "no field is Hansa's: {managers:?}");
    ensure!(
        left["metadata"]["annotations"].as_object().is_none_or(|all| all.keys().all(|key| !key.contains("hansa.dev"))),
        "{left}"
    );
    Ok(())
}
