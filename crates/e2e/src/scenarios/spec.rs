//! The Federation's spec: a relabelled member, pauses, required namespaces; and operators that only
//! observe.

use super::scene::{Scene, uid};
use crate::audit::told;
use crate::client::Resource;
use crate::objects::{CONFIG_MAPS, NAMESPACES, condition, config, everywhere, placed};
use crate::wait::PATIENCE;
use crate::world::{MEMBERS, federation_spec};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

const CONF: Resource = CONFIG_MAPS;

fn greets(word: &str) -> Value {
    everywhere(config(&[("greeting", word)]))
}

/// What a member says of its output, in a record.
fn state<'a>(record: &'a Value, member: &str) -> &'a Value {
    let all = record["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|each| each["member"] == member).map_or(&Value::Null, |found| &found["state"])
}

/// A member that placement does not select any more, because its labels changed, keeps its output until
/// that is decided: where the budget holds it back, nothing goes, and nothing was written when the
/// labels are as they were.
pub async fn relabelled(scene: &Scene) -> Result<()> {
    let mut spec = greets("hello");
    spec["placement"] = json!({"memberSelector": {"matchLabels": {"env": "prod"}}});
    scene.federate(0, CONF, "conf", &spec).await?;
    scene.settled(0, CONF, "conf").await?;
    scene.quiet().await?;
    let before = scene.output_is(2, CONF, "conf", "stands", |_| true).await?;
    let marks = scene.world.mark().await?;
    let relabel = |spec: &mut Value, env: &str| spec["members"][2]["labels"]["env"] = json!(env);
    let none = json!({"deletes": {"percent": 0, "atLeast": 0, "window": "10m"}});
    scene
        .world
        .edit_federation(|spec| {
            relabel(spec, "test");
            spec["safety"] = none;
        })
        .await?;
    scene
        .home_is(0, CONF, "conf", "is to be in two members", |home| {
            condition(home, "Scheduled").2.contains("2 members")
        })
        .await?;
    scene.quiet().await?;
    scene.record_is(0, CONF, "conf", "is placed in three", |record| state(record, MEMBERS[2]) == "Applied").await?;
    // Drift there is repaired as before.
    let path = CONF.path(&scene.namespace, "conf");
    scene.admin(2).patch(&path, "intruder", &json!({"data": {"greeting": "mine"}})).await?;
    scene.output_is(2, CONF, "conf", "is repaired", |o| o["data"]["greeting"] == "hello").await?;

    scene.world.edit_federation(|spec| relabel(spec, "prod")).await?;
    scene.settled(0, CONF, "conf").await?;
    scene.quiet().await?;
    scene.no_deletes(&marks).await?;
    let now = scene.output_is(2, CONF, "conf", "stands", |_| true).await?;
    ensure!(uid(&now)? == uid(&before)?, "it never went: {now}");

    // Within the budget the withdrawal is decided, when those that stay are well.
    scene
        .world
        .edit_federation(|spec| {
            *spec = federation_spec();
            relabel(spec, "test");
        })
        .await?;
    scene.output_goes(2, CONF, "conf").await?;
    for index in 0..2 {
        scene.output_is(index, CONF, "conf", "stays", |o| o["data"]["greeting"] == "hello").await?;
    }
    scene.world.edit_federation(|spec| *spec = federation_spec()).await?;
    scene.output_is(2, CONF, "conf", "is back", |o| o["data"]["greeting"] == "hello").await?;
    Ok(())
}

/// Paused for all, in one member, or for one object: edits are agreed on, outputs are left as they are
/// and say why; afterwards they follow.
pub async fn paused(scene: &Scene) -> Result<()> {
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    scene.settled(0, CONF, "conf").await?;
    let path = CONF.path(&scene.namespace, "conf");
    let holds = async |marks: &[crate::cluster::Mark], paused: &[usize], why: &str, word: &str| -> Result<()> {
        for (index, name) in MEMBERS.iter().enumerate() {
            let wanted = if paused.contains(&index) { "Paused" } else { "Applied" };
            let what = format!("is {wanted} in {name}");
            let record = scene.record_is(0, CONF, "conf", &what, |record| state(record, name) == wanted).await?;
            if paused.contains(&index) {
                ensure!(record.to_string().contains(why), "{why} is named: {record}");
                scene.output_is(index, CONF, "conf", "is left alone", |o| o["data"]["greeting"] == word).await?;
                let mut writes = scene.writes(index, marks).await?;
                writes.retain(|write| write.resource == "configmaps");
                ensure!(writes.is_empty(), "it is paused: {}", told(&writes));
            }
        }
        Ok(())
    };
    let resumed = async |word: &str| -> Result<()> {
        for index in 0..3 {
            scene.output_is(index, CONF, "conf", "follows", |o| o["data"]["greeting"] == word).await?;
        }
        scene.settled(0, CONF, "conf").await.map(|_| ())
    };

    scene.world.edit_federation(|spec| spec["paused"] = json!(true)).await?;
    let marks = scene.world.mark().await?;
    scene.admin(1).patch(&path, "intruder", &json!({"data": {"greeting": "hello", "greeting2": "mine"}})).await?;
    scene.federate(0, CONF, "conf", &greets("good day")).await?;
    holds(&marks, &[0, 1, 2], "Federation spec.paused", "hello").await?;
    scene.world.edit_federation(|spec| *spec = federation_spec()).await?;
    resumed("good day").await?;

    scene.world.edit_federation(|spec| spec["members"][2]["paused"] = json!(true)).await?;
    let marks = scene.world.mark().await?;
    scene.federate(0, CONF, "conf", &greets("moin")).await?;
    holds(&marks, &[2], "spec.members[].paused", "good day").await?;
    scene.world.edit_federation(|spec| *spec = federation_spec()).await?;
    resumed("moin").await?;

    let marks = scene.world.mark().await?;
    let mut spec = greets("good night");
    spec["paused"] = json!(true);
    scene.federate(0, CONF, "conf", &spec).await?;
    holds(&marks, &[0, 1, 2], "spec.paused", "moin").await?;
    scene.federate(0, CONF, "conf", &greets("good night")).await?;
    resumed("good night").await
}

/// An operator that only observes follows what is agreed, says what it would do, and writes nothing but
/// what it says.
pub async fn observed(scene: &Scene) -> Result<()> {
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    scene.federate(1, CONF, "own", &greets("hello")).await?;
    scene.settled(0, CONF, "conf").await?;
    scene.settled(1, CONF, "own").await?;
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    scene.world.restart_operator(1, &["--observe"]).await?;
    scene.world.operator_ready(1, PATIENCE).await?;
    scene.federate(0, CONF, "conf", &greets("good day")).await?;
    scene.federate(1, CONF, "own", &greets("good day")).await?;
    scene.federate(1, CONF, "new", &greets("hello")).await?;
    for index in [0, 2] {
        scene.output_is(index, CONF, "conf", "follows", |o| o["data"]["greeting"] == "good day").await?;
    }
    let record = scene
        .record_is(0, CONF, "conf", "is not applied by the observer", |record| state(record, MEMBERS[1]) == "Paused")
        .await?;
    ensure!(record.to_string().contains("--observe"), "the reason is named: {record}");
    scene.admin(1).delete(&CONF.federated(&scene.namespace, "own")).await?;
    scene.output_is(1, CONF, "conf", "is as it was", |o| o["data"]["greeting"] == "hello").await?;
    scene.output_is(1, CONF, "own", "is as it was", |o| o["data"]["greeting"] == "hello").await?;
    let mut writes = scene.world.writes(1, &marks).await?;
    writes.retain(|write| !write.resource.contains("/status"));
    writes.retain(|write| !write.resource.starts_with("members."));
    ensure!(writes.is_empty(), "it writes nothing but what it says: {}", told(&writes));

    let before = scene.world.mark().await?;
    scene.world.restart_operator(1, &[]).await?;
    scene.output_is(1, CONF, "conf", "follows", |o| o["data"]["greeting"] == "good day").await?;
    for index in 0..3 {
        scene.output_goes(index, CONF, "own").await?;
        scene.output_is(index, CONF, "new", "stands", |_| true).await?;
    }
    scene.settled(0, CONF, "conf").await?;
    ensure!(!scene.writes(1, &before).await?.is_empty(), "the audit record tells what it writes");
    Ok(())
}

/// Where namespaces have to be federated, none is made: an object is where its namespace is, and says
/// so while that is nowhere.
pub async fn required_namespaces(scene: &Scene) -> Result<()> {
    scene.world.edit_federation(|spec| spec["namespaces"] = json!("RequireFederated")).await?;
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    let home = scene.condition_is(0, CONF, "conf", "Scheduled", "False", "Refused").await?;
    let (_, _, message) = condition(&home, "Scheduled");
    ensure!(message.contains(&scene.namespace) && message.contains("FederatedNamespace"), "{message}");
    scene.quiet().await?;
    for index in 0..3 {
        ensure!(scene.output(index, CONF, "conf").await?.is_none(), "it stands nowhere yet");
    }
    for (index, name) in MEMBERS.iter().enumerate().skip(1) {
        let found = scene.admin(index).find(&NAMESPACES.path("", &scene.namespace)).await?;
        ensure!(found.is_none(), "{name} has made no namespace: {found:?}");
    }
    // The namespace is a federated object as any other.
    let path = NAMESPACES.federated("", &scene.namespace);
    let federate = async |spec: Value| {
        let object = crate::objects::federated(NAMESPACES, "", &scene.namespace, &spec);
        scene.admin(0).apply(&path, &object).await
    };
    federate(placed(json!({}), &[MEMBERS[0], MEMBERS[1]])).await?;
    for index in 0..2 {
        scene.output_is(index, CONF, "conf", "stands", |o| o["data"]["greeting"] == "hello").await?;
    }
    let two = |home: &Value| home["status"]["summary"]["applied"] == 2 && condition(home, "Ready").0 == "True";
    scene.home_is(0, CONF, "conf", "is in two members", two).await?;
    ensure!(scene.output(2, CONF, "conf").await?.is_none(), "its namespace bounds where it is");
    federate(everywhere(json!({}))).await?;
    scene.output_is(2, CONF, "conf", "stands", |o| o["data"]["greeting"] == "hello").await?;
    scene.settled(0, CONF, "conf").await?;
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}
