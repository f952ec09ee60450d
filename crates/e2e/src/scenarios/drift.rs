//! Others who write to outputs: what is repaired, what is left to them, what is not fought over.

use super::scene::{Scene, uid};
use crate::objects::{CONFIG_MAPS, DEPLOYMENTS, config, deployment, everywhere, placed};
use crate::wait::{Seen, eventually};
use crate::world::MEMBERS;
use anyhow::{Result, ensure};
use serde_json::json;
use std::rc::Rc;

/// A changed, a stripped and a deleted output are repaired; what others add is theirs.
pub async fn repaired(scene: &Scene) -> Result<()> {
    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    let path = CONFIG_MAPS.path(&scene.namespace, "conf");
    let admin = scene.admin(1);
    let before = uid(&admin.get(&path).await?)?;

    admin.patch(&path, "intruder", &json!({"data": {"greeting": "mine", "added": "by another"}})).await?;
    let repaired = scene.output_is(1, CONFIG_MAPS, "conf", "is repaired", |o| o["data"]["greeting"] == "hello").await?;
    ensure!(repaired["data"]["added"] == "by another", "what another adds stays: {repaired}");
    ensure!(uid(&repaired)? == before, "a repair recreates nothing");

    // Without the label it is not shown to the operator any more.
    admin.patch(&path, "intruder", &json!({"metadata": {"labels": {"hansa.dev/league": null}}})).await?;
    let labelled = |o: &serde_json::Value| o["metadata"]["labels"]["hansa.dev/league"].is_string();
    let repaired = scene.output_is(1, CONFIG_MAPS, "conf", "has its mark again", labelled).await?;
    ensure!(uid(&repaired)? == before, "a mark that comes back recreates nothing");

    admin.delete(&path).await?;
    let again = scene.output_is(1, CONFIG_MAPS, "conf", "is made again", |o| o["data"]["greeting"] == "hello").await?;
    ensure!(uid(&again)? != before, "it was gone");
    scene.quiet().await
}

/// What others put beside Hansa's fields costs no write.
pub async fn others_fields(scene: &Scene) -> Result<()> {
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:1", 1))).await?;
    scene.settled(0, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    let path = DEPLOYMENTS.path(&scene.namespace, "web");
    let added = json!({
        "metadata": {"annotations": {"team": "shop"}},
        "spec": {"minReadySeconds": 1, "template": {"spec": {"terminationGracePeriodSeconds": 7}}},
    });
    scene.admin(1).patch(&path, "team-tool", &added).await?;
    scene.output_is(1, DEPLOYMENTS, "web", "is rolled out", |o| o["status"]["observedGeneration"] == 2).await?;
    scene.quiet().await?;
    // An edit goes through all the same, and leaves it there.
    let writes = scene.writes(1, &marks).await?;
    ensure!(writes.is_empty(), "nothing of Hansa's changed: {}", crate::audit::told(&writes));
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:2", 1))).await?;
    let edited = scene
        .output_is(1, DEPLOYMENTS, "web", "runs web:2", |o| {
            o["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
        })
        .await?;
    ensure!(edited["spec"]["minReadySeconds"] == 1 && edited["metadata"]["annotations"]["team"] == "shop", "{edited}");
    Ok(())
}

/// A rival that comes back every time is named, and met less and less often; when it stops, the
/// agreed content stands again.
pub async fn fight(scene: &Scene) -> Result<()> {
    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    let path = CONFIG_MAPS.path(&scene.namespace, "conf");
    let fights = Rc::new(std::cell::Cell::new(true));
    let rival = {
        let (api, path, fights) = (scene.admin(1).clone(), path.clone(), Rc::clone(&fights));
        tokio::task::spawn_local(async move {
            while fights.get() {
                if let Ok(now) = api.get(&path).await
                    && now["data"]["greeting"] != "mine"
                {
                    // It may lose a race, and comes back.
                    let _ = api.patch(&path, "gitops-tool", &json!({"data": {"greeting": "mine"}})).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
    };
    let named = eventually("the rival is named", async || {
        let home = scene.home(0, CONFIG_MAPS, "conf").await?.unwrap_or_default();
        let members = home["status"]["members"].as_array().cloned().unwrap_or_default();
        let there = members.into_iter().find(|member| member["name"] == crate::world::MEMBERS[1]).unwrap_or_default();
        let named =
            there["state"] == "Conflicting" && there["message"].as_str().is_some_and(|m| m.contains("gitops-tool"));
        Ok(if named { Seen::Yes(there["message"].clone()) } else { Seen::No(there.to_string()) })
    })
    .await;
    fights.set(false);
    rival.await?;
    let named = named?;
    ensure!(named.as_str().is_some_and(|message| message.contains(".data.greeting")), "the field is named: {named}");
    let writes = scene.writes(1, &marks).await?;
    ensure!(writes.len() <= 16, "it is met less and less often: {}", crate::audit::told(&writes));
    scene.output_is(1, CONFIG_MAPS, "conf", "says hello again", |o| o["data"]["greeting"] == "hello").await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    Ok(())
}

/// An object with the league's label that no record places here is reported, never deleted.
pub async fn strays(scene: &Scene) -> Result<()> {
    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    let output = scene.output_is(1, CONFIG_MAPS, "conf", "stands", |_| true).await?;
    // One has no record, and the record of the other places it elsewhere.
    let alone = placed(config(&[("greeting", "hello")]), &[MEMBERS[0]]);
    scene.federate(0, CONFIG_MAPS, "elsewhere", &alone).await?;
    scene.settled(0, CONFIG_MAPS, "elsewhere").await?;
    let strays = ["stray", "elsewhere"];
    for name in strays {
        let stray = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name, "namespace": scene.namespace,
                "labels": output["metadata"]["labels"], "annotations": output["metadata"]["annotations"],
            },
            "data": {"greeting": "who am I"},
        });
        scene.admin(1).create(&CONFIG_MAPS.collection(&scene.namespace), &stray).await?.ok()?;
        let key = format!("/read/explain?key=configmaps/{}/{name}", scene.namespace);
        eventually("the stray is told of", async || {
            let told = scene.world.ask(1, &key).await?.unwrap_or_default();
            let stray = told["why"].as_str().is_some_and(|why| why.contains("stray"));
            Ok(if stray { Seen::Yes(()) } else { Seen::No(told.to_string()) })
        })
        .await?;
    }
    let metrics = scene.world.ask(1, "/read/metrics").await?.unwrap_or_default();
    ensure!(metrics["strays"].as_u64().is_some_and(|strays| strays > 1), "they are counted: {metrics}");
    scene.quiet().await?;
    for name in strays {
        let now = scene.output_is(1, CONFIG_MAPS, name, "stands", |_| true).await?;
        ensure!(
            now["data"]["greeting"] == "who am I" && now["metadata"]["deletionTimestamp"].is_null(),
            "left alone: {now}"
        );
    }
    // They go with this scenario, or would stay for every other one.
    for name in strays {
        scene.admin(1).delete(&CONFIG_MAPS.path(&scene.namespace, name)).await?;
    }
    Ok(())
}
