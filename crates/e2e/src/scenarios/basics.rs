//! Create, edit, override, move, delete; and a restart that writes nothing.

use super::scene::{Scene, uid};
use crate::objects::{CONFIG_MAPS, DEPLOYMENTS, READY, config, deployment, everywhere, placed};
use crate::wait::PATIENCE;
use crate::world::MEMBERS;
use anyhow::{Result, ensure};
use serde_json::json;

/// An object made in one member stands in all; an edit reaches all and recreates nothing; deleting
/// it takes all of it away.
pub async fn create_edit_delete(scene: &Scene) -> Result<()> {
    let spec = everywhere(config(&[("greeting", "hello")]));
    scene.federate(0, CONFIG_MAPS, "conf", &spec).await?;
    let mut uids = Vec::new();
    for index in 0..3 {
        let output =
            scene.output_is(index, CONFIG_MAPS, "conf", "greets", |o| o["data"]["greeting"] == "hello").await?;
        ensure!(output["metadata"].get("ownerReferences").is_none(), "an output has no owner");
        uids.push(uid(&output)?);
    }
    let home = scene.settled(0, CONFIG_MAPS, "conf").await?;
    ensure!(home["status"]["agreed"]["homes"] == json!([MEMBERS[0]]), "one home: {}", home["status"]);
    ensure!(home["status"]["summary"]["applied"] == 3, "applied in three: {}", home["status"]);

    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "good day")]))).await?;
    for (index, before) in uids.iter().enumerate() {
        let output =
            scene.output_is(index, CONFIG_MAPS, "conf", "follows", |o| o["data"]["greeting"] == "good day").await?;
        ensure!(&uid(&output)? == before, "an edit recreates nothing");
    }
    let home = scene.settled(0, CONFIG_MAPS, "conf").await?;
    ensure!(home["status"]["agreed"]["revision"] == 2, "one edit is one revision: {}", home["status"]);

    scene.delete(0, CONFIG_MAPS, "conf").await?;
    for index in 0..3 {
        scene.output_goes(index, CONFIG_MAPS, "conf").await?;
    }
    for index in 0..3 {
        // Every member that was placed has said so: nothing is left of it.
        scene.record_is(index, CONFIG_MAPS, "conf", "is gone", |record| record.is_null()).await?;
    }
    Ok(())
}

/// What differs in a member is merged by the lists' keys, and patched.
pub async fn overrides(scene: &Scene) -> Result<()> {
    let mut spec = placed(deployment("web", "web:1", 1), &[MEMBERS[0], MEMBERS[1]]);
    spec["overrides"] = json!([{
        "members": [MEMBERS[1]],
        "merge": {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "eu/web:1"}]}}}},
        "patches": [{"path": "/spec/replicas", "value": 2}],
    }]);
    scene.federate(0, DEPLOYMENTS, "web", &spec).await?;
    let container = |output: &serde_json::Value| output["spec"]["template"]["spec"]["containers"][0].clone();
    let here = scene.output_is(0, DEPLOYMENTS, "web", "stands", |output| output["spec"]["replicas"] == 1).await?;
    ensure!(container(&here)["image"] == "web:1", "{here}");
    let there = scene.output_is(1, DEPLOYMENTS, "web", "stands", |output| output["spec"]["replicas"] == 2).await?;
    ensure!(container(&there)["image"] == "eu/web:1", "{there}");
    ensure!(container(&there)["ports"][0]["containerPort"] == 80, "the rest of the container stays: {there}");
    let home = scene.settled(0, DEPLOYMENTS, "web").await?;
    ensure!(home["status"]["aggregate"]["readyReplicas"] == 3, "statuses are summed: {}", home["status"]);
    ensure!(scene.output(2, DEPLOYMENTS, "web").await?.is_none(), "only where it is placed");
    Ok(())
}

/// A changed placement adds first, and takes away only when the new one is healthy.
pub async fn placement_moves(scene: &Scene) -> Result<()> {
    let template = |ready: &str| {
        let mut template = deployment("web", "web:1", 1);
        template["spec"]["template"]["metadata"]["annotations"] = json!({READY: ready});
        template
    };
    scene.federate(0, DEPLOYMENTS, "web", &placed(template("true"), &[MEMBERS[0]])).await?;
    scene.settled(0, DEPLOYMENTS, "web").await?;

    // In the new member it does not become healthy: the old one keeps it.
    let mut spec = placed(template("true"), &[MEMBERS[1]]);
    spec["overrides"] = json!([{"members": [MEMBERS[1]], "merge": template("false")}]);
    let marks = scene.world.mark().await?;
    scene.federate(0, DEPLOYMENTS, "web", &spec).await?;
    scene.output_is(1, DEPLOYMENTS, "web", "stands", |output| output["status"]["observedGeneration"] == 1).await?;
    scene
        .record_is(0, DEPLOYMENTS, "web", "has both members, one of them waiting", |record| {
            let of = |name: &str| {
                record["members"].as_array().and_then(|all| all.iter().find(|m| m["member"] == name).cloned())
            };
            let is = |name: &str, health: &str| {
                of(name).is_some_and(|m| m["placed"] == "placed" && m["state"] == "Applied" && m["health"] == health)
            };
            is(MEMBERS[0], "Healthy") && is(MEMBERS[1], "Progressing")
        })
        .await?;
    scene.quiet().await?;
    scene.no_deletes(&marks).await?;
    ensure!(scene.output(0, DEPLOYMENTS, "web").await?.is_some(), "the healthy one stays while the new one is not");

    // Now it does: the old one goes.
    scene.federate(0, DEPLOYMENTS, "web", &placed(template("true"), &[MEMBERS[1]])).await?;
    scene.output_goes(0, DEPLOYMENTS, "web").await?;
    let left = json!({"placed": 1, "applied": 1, "ready": 1, "failing": []});
    scene.home_is(0, DEPLOYMENTS, "web", "has one member left", |home| home["status"]["summary"] == left).await?;
    ensure!(scene.output(1, DEPLOYMENTS, "web").await?.is_some(), "the new one stays");
    Ok(())
}

/// All operators are killed and start again: nothing is written.
pub async fn restart_writes_nothing(scene: &Scene) -> Result<()> {
    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.federate(1, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:1", 1))).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    scene.settled(1, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    for member in &scene.world.members {
        let mut operator = member.operator.lock().await;
        operator.kill();
        operator.start(&[])?;
    }
    scene.world.ready(PATIENCE).await?;
    scene.world.no_writes(&marks).await
}
