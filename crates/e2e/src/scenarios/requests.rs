//! What users ask of an operator: deleting for all, moving the home, confirming a mass deletion.

use super::scene::{Scene, uid};
use crate::audit::told;
use crate::client::Resource;
use crate::objects::{CONFIG_MAPS, condition, config, everywhere};
use crate::wait::{Seen, eventually};
use crate::world::{MEMBERS, federation_spec};
use anyhow::{Context, Result, ensure};
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

/// A move to a member in which another content stands waits, and says what differs and what to do: that
/// is made equal, or a user lets it count.
pub async fn home_move_differs(scene: &Scene) -> Result<()> {
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    scene.settled(0, CONF, "conf").await?;
    scene.federate(1, CONF, "conf", &greets("moin")).await?;
    scene.condition_is(1, CONF, "conf", "Agreed", "False", "Conflict").await?;
    let all_greet = async |word: &str| -> Result<()> {
        for index in 0..3 {
            scene.output_is(index, CONF, "conf", &format!("says {word}"), |o| o["data"]["greeting"] == word).await?;
        }
        Ok(())
    };
    let asks = async |from: usize, to: usize| -> Result<String> {
        let words = ["spec.template.data.greeting", "hansa.dev/take-home=", MEMBERS[to]];
        let asked = ("HomeMove", json!({"member": MEMBERS[to]}));
        let path = scene.asks_and_waits(from, asked, (CONF, "conf"), &words).await?;
        let waits = scene.condition_is(to, CONF, "conf", "Agreed", "False", "HomeMoving").await?;
        let (_, _, message) = condition(&waits, "Agreed");
        ensure!(words[..2].iter().all(|word| message.contains(word)), "its own object says the same: {message}");
        Ok(path)
    };
    let moves = asks(0, 1).await?;
    all_greet("hello").await?;
    // Meanwhile the old home is the home.
    scene.federate(0, CONF, "conf", &greets("good day")).await?;
    all_greet("good day").await?;
    let agreed = scene.settled(0, CONF, "conf").await?["status"]["agreed"].clone();
    ensure!(agreed["homes"] == json!([MEMBERS[0]]), "{agreed}");

    let annotation = json!({"metadata": {"annotations": {"hansa.dev/take-home": agreed["revision"].to_string()}}});
    scene.admin(1).patch(&CONF.federated(&scene.namespace, "conf"), "user", &annotation).await?;
    let (phase, message) = scene.answered(0, &moves).await?;
    ensure!(phase == "Done" && message.contains(MEMBERS[1]), "{phase}: {message}");
    all_greet("moin").await?;
    scene.condition_is(0, CONF, "conf", "Agreed", "False", "HomeMoved").await?;

    // And back, to the copy that stayed behind.
    let moves = asks(1, 0).await?;
    scene.federate(0, CONF, "conf", &greets("moin")).await?;
    let (phase, message) = scene.answered(1, &moves).await?;
    ensure!(phase == "Done" && message.contains(MEMBERS[0]), "{phase}: {message}");
    let home = scene.settled(0, CONF, "conf").await?;
    ensure!(home["status"]["agreed"]["homes"] == json!([MEMBERS[0]]), "the one home: {}", home["status"]);
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

/// Waits until all the objects of these that were not let go wait in one set, and each of them says so
/// with its hash; gives that set.
async fn shown(scene: &Scene, names: &[String]) -> Result<(String, BTreeSet<String>)> {
    eventually("the deletion waits, and says so", async || {
        let Some((set, waiting)) = held(scene, 0, "End").await? else {
            return Ok(Seen::No("nothing waits".to_owned()));
        };
        for name in names {
            let Some(home) = scene.home(0, CONF, name).await? else { continue };
            let (status, reason, message) = condition(&home, "Agreed");
            let says = (status, reason) == ("False", "Held")
                && message.contains(&format!("hansa confirm {}", &set[..16.min(set.len())]));
            if !says || !waiting.contains(name) {
                return Ok(Seen::No(format!("{set} of {waiting:?}, and {name} says {reason} {message}")));
            }
        }
        Ok(Seen::Yes((set, waiting)))
    })
    .await
}

/// What fits the budget goes without a word, in the home as in the others: a removal that was decided in
/// a member counts once there, and not again when that member carries it out.
pub async fn small_deletion(scene: &Scene) -> Result<()> {
    const COUNT: usize = 12;
    let names: Vec<String> = (0..COUNT).map(|number| format!("conf-{number}")).collect();
    let probes: Vec<String> = (0..MEMBERS.len()).map(|index| format!("probe-{index}")).collect();
    for name in &names {
        scene.federate(0, CONF, name, &greets("hello")).await?;
    }
    for (index, probe) in probes.iter().enumerate() {
        scene.federate(index, CONF, probe, &greets("hello")).await?;
        scene.settled(index, CONF, probe).await?;
    }
    for name in &names {
        scene.settled(0, CONF, name).await?;
    }
    let budget = |at_least: usize| json!({"deletes": {"percent": 0, "atLeast": at_least, "window": "10m"}});
    scene.world.edit_federation(|spec| spec["safety"] = budget(0)).await?;
    scene.quiet().await?;
    // Without a budget, each member says what went there lately, in other scenarios.
    let mut lately = 0;
    for (index, probe) in probes.iter().enumerate() {
        scene.admin(index).delete(&CONF.federated(&scene.namespace, probe)).await?;
        let home = scene.condition_is(index, CONF, probe, "Agreed", "False", "Held").await?;
        let (_, _, message) = condition(&home, "Agreed");
        let after = message.split_once("after ").and_then(|(_, rest)| rest.split_once(" lately"));
        let count: usize = after.context("the message tells what went lately")?.0.parse()?;
        lately = lately.max(count);
    }
    scene.world.edit_federation(|spec| spec["safety"] = budget(lately + probes.len() + COUNT)).await?;
    for (index, probe) in probes.iter().enumerate() {
        scene.home_goes(index, CONF, probe).await?;
    }
    for name in &names {
        scene.admin(0).delete(&CONF.federated(&scene.namespace, name)).await?;
    }
    for name in names.iter().chain(&probes) {
        for index in 0..MEMBERS.len() {
            scene.home_goes(index, CONF, name).await?;
            scene.output_goes(index, CONF, name).await?;
        }
    }
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}

/// A deletion of more than the budget waits as a whole. A confirmation lets go exactly the set that was
/// shown; what has joined it since needs another one. What nobody deleted stays.
pub async fn breaker(scene: &Scene) -> Result<()> {
    const BUDGET: usize = 2;
    let names: Vec<String> = (0..9).map(|number| format!("conf-{number}")).collect();
    let [first @ .., late, kept] = names.as_slice() else { unreachable!("there are nine names") };
    for name in &names {
        scene.federate(0, CONF, name, &greets("hello")).await?;
    }
    for name in &names {
        scene.settled(0, CONF, name).await?;
    }
    let budget = |at_least: usize| json!({"deletes": {"percent": 0, "atLeast": at_least, "window": "2m"}});
    scene.world.edit_federation(|spec| spec["safety"] = budget(BUDGET)).await?;
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    for name in first {
        scene.admin(0).delete(&CONF.federated(&scene.namespace, name)).await?;
    }
    let (before, waiting) = shown(scene, first).await?;
    ensure!(waiting.len() >= first.len() - BUDGET, "no more than the budget went: {waiting:?} wait");

    // The set grows before it is confirmed: what was shown goes, and what has joined it waits, whatever
    // of the budget was spent by then.
    scene.world.edit_federation(|spec| spec["safety"] = budget(0)).await?;
    scene.admin(0).delete(&CONF.federated(&scene.namespace, late)).await?;
    let (now, grown) = shown(scene, &names[..names.len() - 1]).await?;
    ensure!(now != before, "another set has another hash");
    ensure!(grown == waiting.iter().chain([late]).cloned().collect(), "it has grown by one: {grown:?}");
    let (phase, message) = scene.request(0, &json!({"action": "Confirm", "arguments": {"set": before}})).await?;
    ensure!(phase == "Done", "{phase}: {message}");
    let gone = async |names: &[&String]| -> Result<()> {
        for name in names {
            scene.home_goes(0, CONF, name).await?;
            for index in 0..3 {
                scene.output_goes(index, CONF, name).await?;
            }
        }
        Ok(())
    };
    gone(&waiting.iter().collect::<Vec<_>>()).await?;
    scene.quiet().await?;
    let (left, rest) = shown(scene, std::slice::from_ref(late)).await?;
    ensure!(left != now && rest == BTreeSet::from([late.clone()]), "only what was shown has gone: {rest:?} waits");
    for index in 0..3 {
        let stands = |o: &Value| o["metadata"]["deletionTimestamp"].is_null();
        scene.output_is(index, CONF, late, "stands", stands).await?;
    }

    // A word that is given elsewhere counts where the set waits.
    let (phase, message) = scene.request(2, &json!({"action": "Confirm", "arguments": {"set": left}})).await?;
    ensure!(phase == "Done", "{phase}: {message}");
    gone(&[late]).await?;
    for index in 0..3 {
        scene.output_is(index, CONF, kept, "stays", |o| o["metadata"]["deletionTimestamp"].is_null()).await?;
        let mut deletes = scene.writes(index, &marks).await?;
        deletes.retain(|write| write.is_delete() && write.succeeded());
        ensure!(deletes.len() == names.len() - 1, "each went once: {}", told(&deletes));
    }
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}

/// What a person confirmed goes in a member in which other removals wait for a word of their own, and
/// those go on waiting; nor does the confirmation hold for the next life of a name.
pub async fn confirmed_beside_others(scene: &Scene) -> Result<()> {
    const BUSY: usize = 1;
    let others: Vec<String> = (0..5).map(|number| format!("other-{number}")).collect();
    let names: Vec<String> = (0..6).map(|number| format!("conf-{number}")).collect();
    for name in others.iter().chain(&names) {
        scene.federate(0, CONF, name, &greets("hello")).await?;
    }
    for name in others.iter().chain(&names) {
        scene.settled(0, CONF, name).await?;
    }
    // One member hears of a deletion when the budget has become smaller.
    scene.world.members[BUSY].operator.lock().await.kill();
    for name in &others {
        scene.delete(0, CONF, name).await?;
        scene.output_goes(0, CONF, name).await?;
        scene.output_goes(2, CONF, name).await?;
    }
    let budget = json!({"deletes": {"percent": 0, "atLeast": 0, "window": "2m"}});
    scene.world.edit_federation(|spec| spec["safety"] = budget).await?;
    scene.world.members[BUSY].operator.lock().await.start(&[])?;
    let waits = async |names: &[String]| -> Result<String> {
        let wanted: BTreeSet<String> = names.iter().cloned().collect();
        eventually("it waits for a word of its own", async || {
            let set = held(scene, BUSY, "Output").await?;
            let is_it = set.as_ref().is_some_and(|(_, waiting)| *waiting == wanted);
            Ok(if is_it { Seen::Yes(set.unwrap_or_default().0) } else { Seen::No(format!("{set:?} waits")) })
        })
        .await
    };
    let apart = waits(&others).await?;

    for name in &names {
        scene.admin(0).delete(&CONF.federated(&scene.namespace, name)).await?;
    }
    let (set, _) = shown(scene, &names).await?;
    let (phase, message) = scene.request(0, &json!({"action": "Confirm", "arguments": {"set": set}})).await?;
    ensure!(phase == "Done", "{phase}: {message}");
    for name in &names {
        scene.home_goes(0, CONF, name).await?;
        for index in 0..MEMBERS.len() {
            scene.output_goes(index, CONF, name).await?;
        }
    }
    ensure!(waits(&others).await? == apart, "nobody said yes to the others");
    for name in &others {
        scene.output_is(BUSY, CONF, name, "stands", |o| o["metadata"]["deletionTimestamp"].is_null()).await?;
    }

    // A later life of a confirmed name was not shown.
    let reborn = std::slice::from_ref(&names[0]);
    scene.federate(0, CONF, &names[0], &greets("once more")).await?;
    scene.settled(0, CONF, &names[0]).await?;
    scene.admin(0).delete(&CONF.federated(&scene.namespace, &names[0])).await?;
    let (again, _) = shown(scene, reborn).await?;
    for confirmed in [again, apart] {
        let (phase, message) =
            scene.request(BUSY, &json!({"action": "Confirm", "arguments": {"set": confirmed}})).await?;
        ensure!(phase == "Done", "{phase}: {message}");
    }
    for name in others.iter().chain(reborn) {
        scene.home_goes(0, CONF, name).await?;
        for index in 0..MEMBERS.len() {
            scene.output_goes(index, CONF, name).await?;
        }
    }
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}
