//! What users ask of an operator: deleting for all, moving the home, confirming a mass deletion.

use super::scene::{Scene, uid};
use crate::audit::told;
use crate::client::Resource;
use crate::objects::{CONFIG_MAPS, condition, config, everywhere};
use crate::wait::{Seen, eventually};
use crate::world::{MEMBERS, federation_spec};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CONF: Resource = CONFIG_MAPS;

fn greets(word: &str) -> Value {
    everywhere(config(&[("greeting", word)]))
}

/// A request in any member deletes an object for all, whichever members are its homes.
pub async fn delete(scene: &Scene) -> Result<()> {
    for index in [0, 1] {
        scene.federate(index, CONF, "conf", &greets("hello")).await?;
        scene.settled(index, CONF, "conf").await?;
    }
    let (phase, message) = scene.ask(2, "Delete", CONF, "conf", json!({})).await?;
    ensure!(phase == "Done" && message.contains("deleted for all"), "{phase}: {message}");
    for index in 0..3 {
        scene.output_goes(index, CONF, "conf").await?;
        scene.home_goes(index, CONF, "conf").await?;
        scene.record_is(index, CONF, "conf", "is gone", Value::is_null).await?;
    }
    let (phase, message) = scene.ask(2, "Delete", CONF, "conf", json!({})).await?;
    ensure!(phase == "Refused" && message.contains(&format!("configmaps/{}/conf", scene.namespace)), "{message}");
    Ok(())
}

/// A request in the new home moves it there: the object is made from what is agreed, edits count
/// there, and the copy that stays behind counts no more, nor does its deletion.
pub async fn home_move(scene: &Scene) -> Result<()> {
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    scene.settled(0, CONF, "conf").await?;
    let mut uids = Vec::new();
    for index in 0..3 {
        uids.push(uid(&scene.output_is(index, CONF, "conf", "stands", |_| true).await?)?);
    }
    let (phase, message) = scene.ask(1, "HomeMove", CONF, "conf", json!({"member": MEMBERS[1]})).await?;
    ensure!(phase == "Done" && message.contains(MEMBERS[1]), "{phase}: {message}");
    let moved = scene.settled(1, CONF, "conf").await?;
    ensure!(moved["status"]["agreed"]["homes"] == json!([MEMBERS[1]]), "the one home: {}", moved["status"]);
    ensure!(moved["spec"]["template"]["data"]["greeting"] == "hello", "what was agreed: {moved}");
    let former = scene.condition_is(0, CONF, "conf", "Agreed", "False", "HomeMoved").await?;
    ensure!(condition(&former, "Agreed").2.contains(MEMBERS[1]), "the new home is named: {}", former["status"]);

    scene.federate(1, CONF, "conf", &greets("good day")).await?;
    scene.delete(0, CONF, "conf").await?;
    scene.settled(1, CONF, "conf").await?;
    for (index, before) in uids.iter().enumerate() {
        let output = scene.output_is(index, CONF, "conf", "follows", |o| o["data"]["greeting"] == "good day").await?;
        ensure!(&uid(&output)? == before, "a move recreates nothing");
    }
    let (phase, message) = scene.ask(1, "HomeMove", CONF, "conf", json!({"member": "nowhere"})).await?;
    ensure!(phase == "Refused" && message.contains("nowhere is no member"), "{phase}: {message}");
    Ok(())
}

/// What waits for a confirmation in a member: the hash of the set, and the names of its objects.
async fn held(scene: &Scene, index: usize, decision: &str) -> Result<Option<(String, BTreeSet<String>)>> {
    let sets = scene.world.ask(index, "/read/held").await?.unwrap_or_default();
    let set = sets.as_array().into_iter().flatten().find(|set| set["decision"] == decision);
    Ok(set.map(|set| {
        let names = set["objects"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names = names.filter_map(|key| key.rsplit_once('/')).map(|(_, name)| name.to_owned()).collect();
        (set["set"].as_str().unwrap_or_default().to_owned(), names)
    }))
}

/// A deletion of more than the budget waits as a whole. A confirmation lets go exactly the set that was
/// shown; a set that has grown since needs another one. What nobody deleted stays.
pub async fn breaker(scene: &Scene) -> Result<()> {
    const ALL: usize = 8;
    const BUDGET: usize = 2;
    for number in 0..=ALL {
        scene.federate(0, CONF, &format!("conf-{number}"), &greets("hello")).await?;
    }
    for number in 0..=ALL {
        scene.settled(0, CONF, &format!("conf-{number}")).await?;
    }
    let budget = json!({"deletes": {"percent": 0, "atLeast": BUDGET, "window": "2m"}});
    scene.world.edit_federation(|spec| spec["safety"] = budget).await?;
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    for number in 0..ALL - 1 {
        scene.admin(0).delete(&CONF.federated(&scene.namespace, &format!("conf-{number}"))).await?;
    }
    // What is within the budget may go; the others wait, and say what for.
    let (shown, waiting) = eventually("the deletion waits", async || {
        let found = held(scene, 0, "End").await?;
        let enough = found.as_ref().is_some_and(|(_, names)| names.len() >= ALL - 1 - BUDGET);
        Ok(if enough { Seen::Yes(found.unwrap_or_default()) } else { Seen::No(format!("{found:?}")) })
    })
    .await?;
    let told_of = |name: String, set: String| async move {
        let home = scene.condition_is(0, CONF, &name, "Agreed", "False", "Held").await?;
        let (_, _, message) = condition(&home, "Agreed");
        ensure!(message.contains("hansa confirm") && message.contains(&set[..8]), "{name}: {message}");
        anyhow::Ok(())
    };
    for name in &waiting {
        told_of(name.clone(), shown.clone()).await?;
    }

    // The set grows before it is confirmed: what was shown is not what waits now.
    let late = format!("conf-{}", ALL - 1);
    scene.admin(0).delete(&CONF.federated(&scene.namespace, &late)).await?;
    let grown: BTreeSet<String> = waiting.iter().cloned().chain([late]).collect();
    let now = eventually("the grown set waits, and has another hash", async || {
        let found = held(scene, 0, "End").await?;
        let is_grown = found.as_ref().is_some_and(|(set, names)| *names == grown && *set != shown);
        Ok(if is_grown { Seen::Yes(found.unwrap_or_default().0) } else { Seen::No(format!("{found:?}")) })
    })
    .await?;
    for name in &grown {
        told_of(name.clone(), now.clone()).await?;
    }
    let (phase, message) = scene.request(0, &json!({"action": "Confirm", "arguments": {"set": shown}})).await?;
    ensure!(phase == "Done", "{phase}: {message}");
    scene.quiet().await?;
    ensure!(held(scene, 0, "End").await?.is_some_and(|(set, _)| set == now), "the grown set waits still");
    for name in &grown {
        for index in 0..3 {
            scene.output_is(index, CONF, name, "waits", |_| true).await?;
        }
    }

    let (phase, message) = scene.request(0, &json!({"action": "Confirm", "arguments": {"set": now}})).await?;
    ensure!(phase == "Done", "{phase}: {message}");
    for name in &grown {
        scene.home_goes(0, CONF, name).await?;
        for index in 0..3 {
            scene.output_goes(index, CONF, name).await?;
        }
    }
    let last = format!("conf-{ALL}");
    for index in 0..3 {
        scene.output_is(index, CONF, &last, "stays", |o| o["metadata"]["deletionTimestamp"].is_null()).await?;
        let mut deletes = scene.writes(index, &marks).await?;
        deletes.retain(|write| write.is_delete() && write.succeeded());
        ensure!(deletes.len() == ALL, "each went once: {}", told(&deletes));
    }
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}
