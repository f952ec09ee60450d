//! Operators that are killed, cut off from the topology server, and stopped for a while.

use super::scene::{Scene, uid};
use crate::audit::{Write, told};
use crate::client::Resource;
use crate::cluster::Kind;
use crate::objects::{self, CONFIG_MAPS, condition, config, everywhere, federated};
use crate::operator::{Operator, ask};
use crate::wait::{PATIENCE, Seen, eventually, when, within};
use crate::world::MEMBERS;
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const CONF: Resource = CONFIG_MAPS;

/// How many objects there are when an operator is killed in their middle.
const MANY: usize = 500;

/// How many outputs stand, at least, when it is.
const SOME: usize = 50;

/// How many requests an operator has under way at most, by its default.
const UNDER_WAY: usize = 64;

/// How long so many objects may take, on a machine with other things to do.
const LONG: Duration = Duration::from_secs(150);

fn greets(word: &str) -> Value {
    everywhere(config(&[("greeting", word)]))
}

/// The outputs of the scenario in a member, by name.
async fn outputs(scene: &Scene, index: usize) -> Result<BTreeMap<String, Value>> {
    let path = format!("{}?labelSelector=hansa.dev%2Fleague", CONF.collection(&scene.namespace));
    let all = scene.admin(index).list(&path).await?;
    let name = |output: &Value| output["metadata"]["name"].as_str().map(str::to_owned).context("an object has a name");
    all.into_iter().map(|output| Ok((name(&output)?, output))).collect()
}

/// The operator of the home is killed when some of 500 new objects have their outputs there, and
/// starts again: all outputs stand in the end, those that stood were left as they were, and nothing
/// was deleted.
pub async fn killed_in_the_middle(scene: &Scene) -> Result<()> {
    scene.make_namespace(0).await?;
    let marks = scene.world.mark().await?;
    // They are there before it starts, so that it meets all of them at once.
    scene.world.members[0].operator.lock().await.kill();
    stream::iter(0..MANY)
        .map(|number| async move {
            let object = federated(CONF, &scene.namespace, &format!("conf-{number:03}"), &greets("hello"));
            scene.admin(0).create(&CONF.federated_collection(&scene.namespace), &object).await?.ok()
        })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    scene.world.members[0].operator.lock().await.start(&[])?;
    within(LONG, "some outputs stand", async || {
        let count = outputs(scene, 0).await?.len();
        if count < SOME {
            return Ok(Seen::No(format!("{count} outputs")));
        }
        scene.world.members[0].operator.lock().await.kill();
        Ok(Seen::Yes(()))
    })
    .await?;
    let stood = outputs(scene, 0).await?;
    ensure!(stood.len() < MANY, "it was killed in the middle, not after all {MANY}");

    scene.world.members[0].operator.lock().await.start(&[])?;
    for (index, name) in MEMBERS.iter().enumerate() {
        within(LONG, &format!("all outputs stand in {name}"), async || {
            let outputs = outputs(scene, index).await?;
            let greet = outputs.values().filter(|output| output["data"]["greeting"] == "hello").count();
            Ok(if greet == MANY { Seen::Yes(()) } else { Seen::No(format!("{greet} of {MANY}")) })
        })
        .await?;
    }
    scene.world.ready(LONG).await?;
    let now = outputs(scene, 0).await?;
    for (name, before) in &stood {
        let fields = ["uid", "resourceVersion"];
        let same = fields.iter().all(|field| now[name]["metadata"][*field] == before["metadata"][*field]);
        ensure!(same, "{name} stood before the kill, and was changed after it: {before} and {}", now[name]);
    }
    scene.no_deletes(&marks).await?;
    for (index, member) in MEMBERS.iter().enumerate() {
        let mut writes = scene.writes(index, &marks).await?;
        writes.retain(|write| write.resource == "configmaps" && write.succeeded());
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for write in &writes {
            *counts.entry(write.name.as_str()).or_default() += 1;
        }
        ensure!(counts.len() == MANY, "{} outputs were written in {member}", counts.len());
        // The killed one may not have told anybody yet what it had applied, nor heard what became of the
        // requests that were under way: it applies that again, which changes nothing.
        let again: Vec<&str> = counts.iter().filter(|(_, count)| **count > 1).map(|(name, _)| *name).collect();
        let unexpected = again.iter().filter(|name| index > 0 || !stood.contains_key(**name)).count();
        let under_way = if index == 0 { UNDER_WAY } else { 0 };
        ensure!(unexpected <= under_way, "{again:?} were written more than once in {member}");
        ensure!(counts.values().all(|count| *count <= 2), "once before the kill and once after it: {counts:?}");
    }

    // A change costs work for one object, not for all.
    const EDITED: &str = "conf-007";
    let marks = scene.world.mark().await?;
    scene.federate(0, CONF, EDITED, &greets("good day")).await?;
    for index in 0..MEMBERS.len() {
        scene.output_is(index, CONF, EDITED, "follows", |o| o["data"]["greeting"] == "good day").await?;
    }
    scene.settled(0, CONF, EDITED).await?;
    for (index, name) in MEMBERS.iter().enumerate() {
        let writes = scene.writes(index, &marks).await?;
        let others =
            writes.iter().filter(|write| write.name != EDITED && !write.resource.starts_with("events")).count();
        ensure!(others == 0 && writes.len() <= 6, "one object was edited; {name} wrote: {}", told(&writes));
    }
    Ok(())
}

/// Waits until a member's API server shows a member with this state.
async fn member_is(scene: &Scene, index: usize, name: &str, ready: &str, state: &str) -> Result<()> {
    let path = objects::MEMBERS.path("", name);
    eventually(&format!("{} shows {name} as {state}", MEMBERS[index]), async || {
        let member = scene.admin(index).get(&path).await?;
        let (status, reason, _) = condition(&member, "Ready");
        let holds = (status, reason) == (ready, state) && member["status"]["state"] == state;
        Ok(if holds { Seen::Yes(()) } else { Seen::No(member["status"].to_string()) })
    })
    .await
}

/// The topology server is away for a while: what was agreed is kept up, edits and deletions wait and
/// say so, nothing is deleted; when it returns, they land.
pub async fn topology_server_away(scene: &Scene) -> Result<()> {
    for name in ["edited", "doomed"] {
        scene.federate(0, CONF, name, &greets("hello")).await?;
        scene.settled(0, CONF, name).await?;
    }
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    scene.world.set_topo_away(true).await?;
    for (index, name) in MEMBERS.iter().enumerate() {
        eventually(&format!("{name} knows that the topology server is away"), async || {
            let health = scene.world.ask(index, "/read/health").await?.unwrap_or_default();
            let knows = health["topologyAwaySince"].is_string();
            Ok(if knows { Seen::Yes(()) } else { Seen::No(health.to_string()) })
        })
        .await?;
    }
    member_is(scene, 0, MEMBERS[0], "False", "TopologyServerAway").await?;
    member_is(scene, 0, MEMBERS[1], "Unknown", "TopologyServerAway").await?;

    // What was agreed is kept up.
    let path = CONF.path(&scene.namespace, "edited");
    let before = uid(&scene.admin(1).get(&path).await?)?;
    scene.admin(1).delete(&path).await?;
    let again = scene.output_is(1, CONF, "edited", "is made again", |o| o["data"]["greeting"] == "hello").await?;
    ensure!(uid(&again)? != before, "it was gone");
    scene.admin(2).patch(&path, "intruder", &json!({"data": {"greeting": "mine"}})).await?;
    scene.output_is(2, CONF, "edited", "is repaired", |o| o["data"]["greeting"] == "hello").await?;

    // An edit and a deletion wait.
    scene.federate(0, CONF, "edited", &greets("good day")).await?;
    let frozen = scene.condition_is(0, CONF, "edited", "Agreed", "False", "Frozen").await?;
    let (_, _, message) = condition(&frozen, "Agreed");
    ensure!(message.starts_with("frozen since ") && message.contains("topology server"), "{message}");
    scene.admin(0).delete(&CONF.federated(&scene.namespace, "doomed")).await?;
    let doomed = CONF.path(&scene.namespace, "doomed");
    scene.admin(0).patch(&doomed, "intruder", &json!({"data": {"greeting": "mine"}})).await?;
    for index in 0..MEMBERS.len() {
        for name in ["edited", "doomed"] {
            scene.output_is(index, CONF, name, "stands as agreed", |o| o["data"]["greeting"] == "hello").await?;
        }
    }
    let waits = scene.home(0, CONF, "doomed").await?.context("the deleted object waits for its finalizer")?;
    ensure!(waits["metadata"]["deletionTimestamp"].is_string(), "{waits}");
    scene.no_deletes(&marks).await?;

    scene.world.set_topo_away(false).await?;
    for index in 0..MEMBERS.len() {
        scene.output_is(index, CONF, "edited", "follows", |o| o["data"]["greeting"] == "good day").await?;
        scene.output_goes(index, CONF, "doomed").await?;
    }
    scene.home_goes(0, CONF, "doomed").await?;
    scene.settled(0, CONF, "edited").await?;
    for index in 0..MEMBERS.len() {
        member_is(scene, index, MEMBERS[0], "True", "Heartbeat").await?;
    }
    scene.quiet().await
}

/// A member's API server is away for a while: the others go on without it, and show it; when it is back, the
/// operator that waited there catches up, and deletes nothing.
pub async fn api_server_away(scene: &Scene) -> Result<()> {
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    scene.settled(0, CONF, "conf").await?;
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    let away = &scene.world.members[2];
    away.cluster.write().await.kill();
    member_is(scene, 0, MEMBERS[2], "False", "ApiServerAway").await?;
    let metrics = scene.world.ask(2, "/read/metrics").await?.unwrap_or_default();
    ensure!(metrics["apiServerAway"] == 1, "its operator's metric says so: {metrics}");

    scene.federate(0, CONF, "conf", &greets("good day")).await?;
    scene.federate(0, CONF, "born", &greets("good day")).await?;
    for index in [0, 1] {
        for name in ["conf", "born"] {
            scene.output_is(index, CONF, name, "says good day", |o| o["data"]["greeting"] == "good day").await?;
        }
    }
    let home =
        scene.home_is(0, CONF, "conf", "says who has it", |home| home["status"]["summary"]["applied"] == 2).await?;
    ensure!(condition(&home, "Ready").0 == "False", "one has not: {}", home["status"]);

    let mut cluster = away.cluster.write().await;
    cluster.start_again()?;
    cluster.ready().await?;
    drop(cluster);
    for name in ["conf", "born"] {
        scene.output_is(2, CONF, name, "follows", |o| o["data"]["greeting"] == "good day").await?;
        scene.settled(0, CONF, name).await?;
    }
    member_is(scene, 0, MEMBERS[2], "True", "Heartbeat").await?;
    ensure!(!away.operator.lock().await.has_died(), "its operator waited");
    let metrics = scene.world.ask(2, "/read/metrics").await?.unwrap_or_default();
    ensure!(metrics["apiServerAway"] == 0, "its operator's metric says so: {metrics}");
    scene.no_deletes(&marks).await
}

/// Of two replicas one leads, and the other says that it stands by. When the leader ends, or is killed,
/// the other one leads, and writes nothing that was not due.
pub async fn standby(scene: &Scene) -> Result<()> {
    const INDEX: usize = 1;
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    scene.settled(0, CONF, "conf").await?;
    scene.world.members[INDEX].operator.lock().await.kill();
    let mut replicas = [scene.world.replica(INDEX, 1).await, scene.world.replica(INDEX, 2).await];
    // Once it says so, a replica leads and has nothing to do, or stands by.
    let says = async |replica: &Operator, leads: bool| -> Result<()> {
        let wanted = if leads { "ready" } else { "standby" };
        eventually(&format!("a replica is {wanted}"), async || {
            let Some(address) = replica.address() else { return Ok(Seen::No("it does not answer".to_owned())) };
            let told = ask(&address, "/readyz").await;
            let (ready, body) = told.clone().unwrap_or_default();
            if (ready, body.trim()) != (200, wanted) {
                return Ok(Seen::No(format!("{told:?}")));
            }
            let health = ask(&address, "/read/health").await;
            let (status, body) = health.clone().unwrap_or_default();
            let idle = serde_json::from_str::<Value>(&body).is_ok_and(|health| health["idle"] == true);
            let fits = if leads { idle } else { status == 503 && body.contains("ask the leader") };
            Ok(when(fits, || format!("{health:?}")))
        })
        .await
    };
    replicas[0].start(&[])?;
    says(&replicas[0], true).await?;
    replicas[1].start(&[])?;
    says(&replicas[1], false).await?;
    says(&replicas[0], true).await?;

    let marks = scene.world.mark().await?;
    replicas[0].end().await?;
    says(&replicas[1], true).await?;
    let writes = scene.writes(INDEX, &marks).await?;
    ensure!(writes.is_empty(), "nothing changed: {}", told(&writes));
    scene.federate(0, CONF, "conf", &greets("good day")).await?;
    scene.output_is(INDEX, CONF, "conf", "follows", |o| o["data"]["greeting"] == "good day").await?;

    replicas[0].start(&[])?;
    says(&replicas[0], false).await?;
    replicas[1].kill();
    says(&replicas[0], true).await?;
    scene.federate(0, CONF, "conf", &greets("moin")).await?;
    scene.output_is(INDEX, CONF, "conf", "follows", |o| o["data"]["greeting"] == "moin").await?;
    replicas[0].end().await?;
    scene.world.members[INDEX].operator.lock().await.start(&[])?;
    scene.settled(0, CONF, "conf").await?;
    Ok(())
}

/// Another store stands where the topology server stood: nothing is written there and nothing taken
/// away, what was agreed is kept up, and whoever looks is told since when, why, and what to do. When the
/// league's own is back, what waited lands.
pub async fn topology_server_replaced(scene: &Scene) -> Result<()> {
    for name in ["edited", "doomed"] {
        scene.federate(0, CONF, name, &greets("hello")).await?;
        scene.settled(0, CONF, name).await?;
    }
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    scene.world.set_topo_replaced(true).await?;
    for (index, name) in MEMBERS.iter().enumerate() {
        eventually(&format!("{name} knows that it is another store"), async || {
            let health = scene.world.ask(index, "/read/health").await?.unwrap_or_default();
            let frozen = health["frozen"].as_str().is_some_and(|why| why.starts_with("frozen since "));
            let metrics = scene.world.ask(index, "/read/metrics").await?.unwrap_or_default();
            let counted = metrics["topologyReplaced"] == 1;
            Ok(if frozen && counted { Seen::Yes(()) } else { Seen::No(format!("{health} {metrics}")) })
        })
        .await?;
        member_is(scene, index, name, "False", "TopologyServerReplaced").await?;
        let federation = objects::FEDERATIONS.path("", "league");
        eventually(&format!("the Federation says so in {name}"), async || {
            let now = scene.admin(index).get(&federation).await?;
            let (status, reason, message) = condition(&now, "Agreed");
            let says = (status, reason) == ("False", "TopologyServerReplaced") && message.starts_with("frozen since ");
            Ok(if says { Seen::Yes(()) } else { Seen::No(now["status"].to_string()) })
        })
        .await?;
        let about = ("Federation", "league");
        // What stands there now: a file that somebody put in its place, or another cluster of etcd.
        let what = match scene.world.kind {
            Kind::Sim => "restart",
            Kind::Real => "another cluster answers now",
        };
        scene.warned(index, "default", about, "TopologyServerReplaced", &["frozen since ", what]).await?;
    }

    // What was agreed is kept up, and an edit waits.
    let path = CONF.path(&scene.namespace, "edited");
    scene.admin(2).patch(&path, "intruder", &json!({"data": {"greeting": "mine"}})).await?;
    scene.output_is(2, CONF, "edited", "is repaired", |o| o["data"]["greeting"] == "hello").await?;
    scene.federate(0, CONF, "edited", &greets("good day")).await?;
    let frozen = scene.condition_is(0, CONF, "edited", "Agreed", "False", "Frozen").await?;
    let (_, _, message) = condition(&frozen, "Agreed");
    ensure!(message.starts_with("frozen since ") && message.contains("an edit waits"), "{message}");
    scene.admin(0).delete(&CONF.federated(&scene.namespace, "doomed")).await?;
    for index in 0..MEMBERS.len() {
        for name in ["edited", "doomed"] {
            scene.output_is(index, CONF, name, "stands as agreed", |o| o["data"]["greeting"] == "hello").await?;
        }
    }
    scene.no_deletes(&marks).await?;

    scene.world.set_topo_replaced(false).await?;
    for index in 0..MEMBERS.len() {
        scene.output_is(index, CONF, "edited", "follows", |o| o["data"]["greeting"] == "good day").await?;
        scene.output_goes(index, CONF, "doomed").await?;
    }
    scene.home_goes(0, CONF, "doomed").await?;
    scene.settled(0, CONF, "edited").await?;
    for (index, name) in MEMBERS.iter().enumerate() {
        member_is(scene, index, name, "True", "Heartbeat").await?;
        eventually("the Federation is agreed again", async || {
            let now = scene.admin(index).get(&objects::FEDERATIONS.path("", "league")).await?;
            let agreed = condition(&now, "Agreed").0 == "True";
            Ok(if agreed { Seen::Yes(()) } else { Seen::No(now["status"].to_string()) })
        })
        .await?;
    }
    scene.quiet().await
}

/// An operator that was stopped while the others moved on reverts nothing when it returns, and
/// deletes what was asked for meanwhile and nothing else.
pub async fn stale_operator(scene: &Scene) -> Result<()> {
    for name in ["kept", "edited", "deleted", "reborn"] {
        scene.federate(0, CONF, name, &greets("hello")).await?;
        scene.settled(0, CONF, name).await?;
    }
    scene.quiet().await?;
    let kept = scene.output_is(2, CONF, "kept", "stands", |_| true).await?;
    let reborn = scene.output_is(2, CONF, "reborn", "stands", |_| true).await?;
    let stale = 2;
    scene.world.members[stale].operator.lock().await.stop().await?;

    scene.federate(0, CONF, "edited", &greets("good day")).await?;
    scene.federate(0, CONF, "born", &greets("hello")).await?;
    // Neither waits for the one that does not answer.
    scene.delete(0, CONF, "deleted").await?;
    scene.delete(0, CONF, "reborn").await?;
    for index in [0, 1] {
        scene.output_goes(index, CONF, "deleted").await?;
        scene.output_goes(index, CONF, "reborn").await?;
    }
    scene.federate(0, CONF, "reborn", &greets("once more")).await?;
    let mut before = Vec::new();
    for index in [0, 1] {
        scene.output_is(index, CONF, "edited", "follows", |o| o["data"]["greeting"] == "good day").await?;
        scene.output_is(index, CONF, "born", "stands", |_| true).await?;
        scene.output_is(index, CONF, "reborn", "is of its new life", |o| o["data"]["greeting"] == "once more").await?;
        before.push(outputs(scene, index).await?);
    }
    let there = outputs(scene, stale).await?;
    ensure!(there["edited"]["data"]["greeting"] == "hello" && there.contains_key("deleted"), "it is stale: {there:?}");
    let marks = scene.world.mark().await?;

    scene.world.members[stale].operator.lock().await.go_on()?;
    scene.output_is(stale, CONF, "edited", "follows", |o| o["data"]["greeting"] == "good day").await?;
    scene.output_goes(stale, CONF, "deleted").await?;
    let anew = |o: &Value| o["data"]["greeting"] == "once more" && o["metadata"]["uid"] != reborn["metadata"]["uid"];
    scene.output_is(stale, CONF, "reborn", "is of its new life", anew).await?;
    scene.output_is(stale, CONF, "born", "stands", |_| true).await?;
    for name in ["edited", "born", "reborn"] {
        scene.settled(0, CONF, name).await?;
    }
    scene.record_is(0, CONF, "deleted", "is gone", Value::is_null).await?;
    scene.world.ready(PATIENCE).await?;

    for (index, before) in [0, 1].into_iter().zip(before) {
        ensure!(outputs(scene, index).await? == before, "nothing was reverted in {}", MEMBERS[index]);
        let mut writes = scene.writes(index, &marks).await?;
        writes.retain(|write| write.resource == "configmaps");
        ensure!(writes.is_empty(), "outputs in {} are not written: {}", MEMBERS[index], told(&writes));
    }
    let now = scene.output_is(stale, CONF, "kept", "stands", |_| true).await?;
    ensure!(now == kept, "what nobody changed is not touched: {kept} and {now}");
    let mut deletes = scene.writes(stale, &marks).await?;
    deletes.retain(Write::is_delete);
    let deleted: BTreeSet<&str> = deletes.iter().map(|write| write.name.as_str()).collect();
    ensure!(deleted == BTreeSet::from(["deleted", "reborn"]), "only what was asked for: {}", told(&deletes));
    Ok(())
}
