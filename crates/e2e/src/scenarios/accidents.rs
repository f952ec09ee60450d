//! A namespace or a CRD that is deleted in a home: an accident, not an intent.

use super::scene::{Scene, uid};
use crate::audit::told;
use crate::client::Resource;
use crate::objects::{CONFIG_MAPS, DEFINITIONS, DEPLOYMENTS, NAMESPACES, SERVICES, config, deployment, everywhere};
use crate::wait::{Seen, eventually};
use crate::world::MEMBERS;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// What tells whether an output was touched.
async fn standing(scene: &Scene, index: usize, resource: Resource, name: &str) -> Result<(String, Value)> {
    let output =
        scene.output_is(index, resource, name, "stands", |o| o["metadata"]["deletionTimestamp"].is_null()).await?;
    Ok((uid(&output)?, output["metadata"]["generation"].clone()))
}

/// Says why it has no home, and keeps it in the list of those.
async fn is_homeless(scene: &Scene, resource: Resource, name: &str) -> Result<()> {
    scene.record_is(1, resource, name, "is homeless", |record| record["homeless"] == true).await?;
    let key = format!("{}/{}/{name}", resource.type_name(), scene.namespace);
    let told = scene.world.ask(1, &format!("/read/explain?key={key}")).await?.unwrap_or_default();
    ensure!(told["why"].as_str().is_some_and(|why| why.contains("not a deletion by intent")), "{told}");
    let all = scene.world.ask(1, "/read/objects?homeless=true").await?.unwrap_or_default();
    ensure!(all.as_array().is_some_and(|all| all.iter().any(|record| record["key"] == key)), "{key} is not in {all}");
    Ok(())
}

/// The namespace of a home is deleted: the others keep their outputs, this one gets its copies again,
/// and the intent waits for a home; the same object made anew is the home again.
pub async fn namespace_deleted(scene: &Scene) -> Result<()> {
    let conf = everywhere(config(&[("greeting", "hello")]));
    let all = [(CONFIG_MAPS, "conf"), (DEPLOYMENTS, "web")];
    scene.federate(0, CONFIG_MAPS, "conf", &conf).await?;
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:1", 1))).await?;
    let mut before = Vec::new();
    for (resource, name) in all {
        scene.settled(0, resource, name).await?;
    }
    scene.quiet().await?;
    for (resource, name) in all {
        for index in 0..3 {
            before.push(standing(scene, index, resource, name).await?);
        }
    }
    let marks = scene.world.mark().await?;
    let path = NAMESPACES.path("", &scene.namespace);
    let namespace = uid(&scene.admin(0).get(&path).await?)?;
    scene.admin(0).delete(&path).await?;

    eventually("the namespace is made again", async || {
        let found = scene.admin(0).find(&path).await?.unwrap_or_default();
        let anew = found["metadata"]["uid"].is_string() && found["metadata"]["uid"] != namespace.as_str();
        Ok(if anew { Seen::Yes(()) } else { Seen::No(found["status"].to_string()) })
    })
    .await?;
    for ((resource, name), before) in all.into_iter().zip(before.chunks(3)) {
        scene.output_is(0, resource, name, "comes back", |o| o["metadata"]["uid"] != before[0].0.as_str()).await?;
        is_homeless(scene, resource, name).await?;
        ensure!(scene.home(0, resource, name).await?.is_none(), "{name} went with the namespace");
        for index in 1..3 {
            let now = standing(scene, index, resource, name).await?;
            ensure!(now == before[index], "{name} in {} was not touched", MEMBERS[index]);
        }
    }
    scene.quiet().await?;
    scene.no_deletes(&marks).await?;
    for (index, name) in MEMBERS.iter().enumerate().skip(1) {
        let writes = scene.writes(index, &marks).await?;
        ensure!(writes.is_empty(), "{name} has nothing to write: {}", told(&writes));
    }

    scene.federate(0, CONFIG_MAPS, "conf", &conf).await?;
    let home = scene.settled(0, CONFIG_MAPS, "conf").await?;
    ensure!(home["status"]["agreed"]["homes"] == json!([MEMBERS[0]]), "the home again: {}", home["status"]);
    Ok(())
}

/// The CRD of a federated kind is deleted in a home: every output stays as it is, the intent waits for
/// a home, and the kind is served again.
pub async fn definition_deleted(scene: &Scene) -> Result<()> {
    let template = json!({"spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}});
    let spec = everywhere(template);
    scene.federate(0, SERVICES, "web", &spec).await?;
    scene.settled(0, SERVICES, "web").await?;
    scene.quiet().await?;
    let mut before = Vec::new();
    for index in 0..3 {
        before.push(standing(scene, index, SERVICES, "web").await?);
    }
    let marks = scene.world.mark().await?;
    let path = DEFINITIONS.path("", "federatedservices.core.types.hansa.dev");
    let definition = uid(&scene.admin(0).get(&path).await?)?;
    scene.admin(0).delete(&path).await?;

    eventually("the kind is served again", async || {
        let found = scene.admin(0).find(&path).await?.unwrap_or_default();
        let anew = found["metadata"]["uid"].is_string() && found["metadata"]["uid"] != definition.as_str();
        let served = anew && scene.admin(0).look(&SERVICES.federated_collection("")).await?.status == 200;
        Ok(if served { Seen::Yes(()) } else { Seen::No(found["status"].to_string()) })
    })
    .await?;
    is_homeless(scene, SERVICES, "web").await?;
    scene.quiet().await?;
    scene.no_deletes(&marks).await?;
    for (index, before) in before.iter().enumerate() {
        ensure!(&standing(scene, index, SERVICES, "web").await? == before, "{} was not touched", MEMBERS[index]);
    }
    // Drift is repaired as before, and the same object is the home again.
    let intruder = json!({"spec": {"selector": {"app": "mine"}}});
    scene.admin(0).patch(&SERVICES.path(&scene.namespace, "web"), "intruder", &intruder).await?;
    scene.output_is(0, SERVICES, "web", "is repaired", |o| o["spec"]["selector"]["app"] == "web").await?;
    scene.federate(0, SERVICES, "web", &spec).await?;
    let home = scene.settled(0, SERVICES, "web").await?;
    ensure!(home["status"]["agreed"]["homes"] == json!([MEMBERS[0]]), "the home again: {}", home["status"]);
    Ok(())
}
