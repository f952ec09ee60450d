//! `hansa plan`: every member says what it would do, and none does it.

use super::definitions::{WIDGETS, definition, give_back};
use super::scene::Scene;
use crate::client::Resource;
use crate::cluster::User;
use crate::objects::{self, CONFIG_MAPS, DEFINITIONS, config, everywhere, placed};
use crate::wait::{Seen, eventually};
use crate::world::MEMBERS;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Plans objects in a member; gives how `hansa` ended, and what it printed.
async fn plan(scene: &Scene, index: usize, object: &Value, arguments: &[&str]) -> Result<(i32, String)> {
    let kubeconfig = scene.world.members[index].cluster.read().await.kubeconfig(User::Admin);
    let address = scene.world.members[index].operator.lock().await.address().context("the operator answers")?;
    let operator = format!("--operator=http://{address}");
    let arguments = [&["plan", "-f", "-", &operator][..], arguments].concat();
    scene.world.hansa_ended(&kubeconfig, &arguments, &object.to_string()).await
}

async fn output_of(scene: &Scene, index: usize, resource: Resource, name: &str) -> Result<Value> {
    scene.output(index, resource, name).await?.with_context(|| format!("{name} stands in {}", MEMBERS[index]))
}

/// A plan of a kind that one member lacks, asked where the object is not at home: that one refuses, one says
/// what would change, and one whose operator is gone is rendered only. Nothing is changed by it.
pub async fn every_member(scene: &Scene) -> Result<()> {
    let name = format!("{}.{}", WIDGETS.plural, WIDGETS.group);
    let path = DEFINITIONS.federated("", &name);
    let crd = objects::federated(DEFINITIONS, "", &name, &placed(definition(), &MEMBERS[1..]));
    scene.admin(1).apply(&path, &crd).await?;
    let entry = json!({"resource": WIDGETS.type_name(), "version": WIDGETS.version});
    scene.world.edit_federation(|spec| spec["types"].as_array_mut().expect("types are a list").push(entry)).await?;
    let widget = |size: u32| {
        let spec = everywhere(json!({"spec": {"size": size}}));
        objects::federated(WIDGETS, &scene.namespace, "one", &spec)
    };
    scene.make_namespace(2).await?;
    eventually("the federated object is accepted", async || {
        let answer = scene.admin(2).try_apply(&WIDGETS.federated(&scene.namespace, "one"), &widget(1)).await?;
        let accepted = answer.status < 300;
        Ok(if accepted { Seen::Yes(()) } else { Seen::No(format!("{}: {}", answer.status, answer.message())) })
    })
    .await?;
    for index in [1, 2] {
        scene.output_is(index, WIDGETS, "one", "stands", |o| o["spec"]["size"] == 1).await?;
    }
    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    scene.condition_is(2, WIDGETS, "one", "Propagated", "False", "Failing").await?;
    let before = [output_of(scene, 1, WIDGETS, "one").await?, output_of(scene, 2, WIDGETS, "one").await?];

    let marks = scene.world.mark().await?;
    scene.world.members[2].operator.lock().await.kill();
    let (code, told) = plan(scene, 1, &widget(2), &["-o", "json"]).await?;
    let planned: Value = serde_json::from_str(&told).with_context(|| told.clone())?;
    let object = &planned["objects"][0];
    let effects: Vec<&Value> = MEMBERS.iter().map(|member| &object["members"][member]["effect"]).collect();
    ensure!(code == 1 && effects == ["Refuse", "Change", "Change"], "{code}: {planned}");
    let refusal = object["errors"][0].as_str().unwrap_or_default();
    ensure!(refusal.contains(MEMBERS[0]) && refusal.contains(&name), "who and what is named: {planned}");
    let changed = &object["members"][MEMBERS[1]]["changes"][0];
    ensure!(changed["path"] == "spec.size" && changed["after"] == 2, "{planned}");
    ensure!(object["asked"][MEMBERS[1]]["standing"] == "Accepted", "{planned}");
    let silent = &object["asked"][MEMBERS[2]];
    let since = silent["message"].as_str().is_some_and(|message| message.starts_with("silent since "));
    ensure!(silent["standing"] == "RenderedOnly" && since, "{planned}");
    for (index, before) in [1, 2].into_iter().zip(&before) {
        let now = output_of(scene, index, WIDGETS, "one").await?;
        ensure!(now == *before, "a plan changes nothing in {}: {now}", MEMBERS[index]);
    }
    for index in [0, 1] {
        let mut writes = scene.writes(index, &marks).await?;
        writes.retain(|write| !write.dry_run && !["requests.hansa.dev/status", "secrets"].contains(&&*write.resource));
        ensure!(writes.is_empty(), "nothing is written but answers: {}", crate::audit::told(&writes));
    }

    scene.world.members[2].operator.lock().await.start(&[])?;
    eventually("the operator is ready again", async || {
        let health = scene.world.ask(2, "/read/health").await?.unwrap_or_default();
        Ok(if health["ready"] == true { Seen::Yes(()) } else { Seen::No(health.to_string()) })
    })
    .await?;
    let conf = |greeting: &str| {
        objects::federated(CONFIG_MAPS, &scene.namespace, "conf", &everywhere(config(&[("greeting", greeting)])))
    };
    let (code, told) = plan(scene, 2, &conf("hello"), &[]).await?;
    ensure!(code == 0 && told.contains("Nothing would change."), "{code}: {told}");
    let mut all = MEMBERS;
    all.sort_unstable();
    let accepted = format!("accepted in {}", all.join(", "));
    eventually("all are heard again, and accept it", async || {
        let (code, told) = plan(scene, 0, &conf("moin"), &[]).await?;
        Ok(if code == 2 && told.contains(&accepted) { Seen::Yes(()) } else { Seen::No(told) })
    })
    .await?;
    let (code, told) = plan(scene, 0, &conf("moin"), &["--local"]).await?;
    let others = all.into_iter().filter(|member| *member != MEMBERS[0]).collect::<Vec<_>>().join(", ");
    let others = format!("rendered only: {others}");
    ensure!(code == 2 && told.contains(&others), "{code}: {told}");
    let slots = scene.world.topo_command(&["ls", "/v1/plans/"], "").await?;
    ensure!(slots.to_string().contains("/v1/plans/0"), "the same slot was used again: {slots}");
    ensure!(!slots.to_string().contains("/v1/plans/1"), "the same slot was used again: {slots}");

    // Who lacks the kind cannot say that nothing of it stands there: it gets it before all goes.
    scene.admin(1).apply(&path, &objects::federated(DEFINITIONS, "", &name, &everywhere(definition()))).await?;
    scene.output_is(0, WIDGETS, "one", "stands", |o| o["spec"]["size"] == 1).await?;
    scene.delete(2, WIDGETS, "one").await?;
    for index in 0..3 {
        scene.output_goes(index, WIDGETS, "one").await?;
    }
    scene.record_is(0, WIDGETS, "one", "is gone", Value::is_null).await?;
    give_back(scene, 1, &name).await
}
