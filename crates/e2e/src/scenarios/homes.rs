//! Several homes: agreeing, differing, conflicting, leaving; and a home that comes back from a backup.

use super::scene::{Scene, uid};
use crate::client::Resource;
use crate::objects::{CONFIG_MAPS, condition, config, everywhere};
use crate::world::MEMBERS;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

const CONF: Resource = CONFIG_MAPS;

fn greets(word: &str) -> Value {
    everywhere(config(&[("greeting", word)]))
}

async fn all_greet(scene: &Scene, name: &str, word: &str) -> Result<()> {
    for index in 0..3 {
        scene.output_is(index, CONF, name, &format!("says {word}"), |o| o["data"]["greeting"] == word).await?;
    }
    Ok(())
}

/// Equal content in two members is one object with two homes; an edit in one is agreed and shown as
/// a difference in the other until that follows. It goes when the last home lets it go.
pub async fn two_homes(scene: &Scene) -> Result<()> {
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    scene.settled(0, CONF, "conf").await?;
    scene.federate(1, CONF, "conf", &greets("hello")).await?;
    let both = json!([MEMBERS[0], MEMBERS[1]]);
    for index in [0, 1] {
        scene.home_is(index, CONF, "conf", "has two homes", |home| home["status"]["agreed"]["homes"] == both).await?;
        scene.settled(index, CONF, "conf").await?;
    }

    scene.federate(0, CONF, "conf", &greets("good day")).await?;
    all_greet(scene, "conf", "good day").await?;
    let other = scene.condition_is(1, CONF, "conf", "Agreed", "False", "Differs").await?;
    ensure!(other["status"]["agreed"]["differs"] == true, "{}", other["status"]);
    ensure!(other["spec"]["template"]["data"]["greeting"] == "hello", "a user's spec is never written");

    scene.federate(1, CONF, "conf", &greets("good day")).await?;
    scene
        .home_is(1, CONF, "conf", "is in step again", |home| {
            condition(home, "Agreed").0 == "True" && home["status"]["agreed"]["differs"] == false
        })
        .await?;

    let marks = scene.world.mark().await?;
    scene.delete(0, CONF, "conf").await?;
    scene.record_is(1, CONF, "conf", "has one home left", |record| record["homes"] == json!([MEMBERS[1]])).await?;
    scene.quiet().await?;
    scene.no_deletes(&marks).await?;
    all_greet(scene, "conf", "good day").await?;
    scene.delete(1, CONF, "conf").await?;
    for index in 0..3 {
        scene.output_goes(index, CONF, "conf").await?;
    }
    Ok(())
}

/// An edit that is not based on what was agreed stands aside, with the fields named, until a user
/// takes over.
pub async fn conflict(scene: &Scene) -> Result<()> {
    for index in [0, 1] {
        scene.federate(index, CONF, "conf", &greets("hello")).await?;
        scene.settled(index, CONF, "conf").await?;
    }
    scene.federate(0, CONF, "conf", &greets("good day")).await?;
    scene.condition_is(1, CONF, "conf", "Agreed", "False", "Differs").await?;
    scene.federate(1, CONF, "conf", &greets("moin")).await?;
    let conflicting = scene.condition_is(1, CONF, "conf", "Agreed", "False", "Conflict").await?;
    let (_, _, message) = condition(&conflicting, "Agreed");
    ensure!(message.contains("spec.template.data.greeting"), "the field is named: {message}");
    ensure!(message.contains("hansa.dev/take-home="), "the mend is named: {message}");
    scene.quiet().await?;
    all_greet(scene, "conf", "good day").await?;

    // Its user takes over, from the revision that was agreed.
    let revision = scene.settled(0, CONF, "conf").await?["status"]["agreed"]["revision"].clone();
    let annotation = json!({"metadata": {"annotations": {"hansa.dev/take-home": revision.to_string()}}});
    scene.admin(1).patch(&CONF.federated(&scene.namespace, "conf"), "user", &annotation).await?;
    all_greet(scene, "conf", "moin").await?;
    let taken = scene.settled(1, CONF, "conf").await?;
    ensure!(taken["status"]["agreed"]["homes"] == json!([MEMBERS[1]]), "the one home: {}", taken["status"]);
    scene.condition_is(0, CONF, "conf", "Agreed", "False", "HomeMoved").await?;
    Ok(())
}

/// A federated object of the same name and another content, made in another member, changes nothing.
pub async fn stranger(scene: &Scene) -> Result<()> {
    scene.federate(0, CONF, "conf", &greets("hello")).await?;
    scene.settled(0, CONF, "conf").await?;
    scene.federate(2, CONF, "conf", &greets("moin")).await?;
    scene.condition_is(2, CONF, "conf", "Agreed", "False", "Conflict").await?;
    scene.quiet().await?;
    all_greet(scene, "conf", "hello").await?;
    // Nor does its deletion.
    scene.delete(2, CONF, "conf").await?;
    scene.quiet().await?;
    all_greet(scene, "conf", "hello").await
}

/// A home comes back from a backup: what was edited, made and deleted since is neither reverted nor
/// taken away nor revived.
pub async fn restored_home(scene: &Scene) -> Result<()> {
    scene.federate(0, CONF, "edited", &greets("hello")).await?;
    scene.federate(0, CONF, "deleted", &greets("hello")).await?;
    for name in ["edited", "deleted"] {
        scene.settled(0, CONF, name).await?;
    }
    scene.quiet().await?;
    scene.world.members[0].cluster.write().await.back_up()?;

    scene.federate(0, CONF, "edited", &greets("good day")).await?;
    scene.federate(0, CONF, "made", &greets("good day")).await?;
    for name in ["edited", "made"] {
        scene.settled(0, CONF, name).await?;
    }
    scene.delete(0, CONF, "deleted").await?;
    for index in 0..3 {
        scene.output_goes(index, CONF, "deleted").await?;
        scene.record_is(index, CONF, "deleted", "is gone", |record| record.is_null()).await?;
    }
    let mut before = Vec::new();
    for index in 1..3 {
        let output = scene.output_is(index, CONF, "edited", "stands", |_| true).await?;
        before.push(output["metadata"].clone());
    }
    let marks = scene.world.mark().await?;
    scene.world.members[0].cluster.write().await.restore().await?;
    let since = scene.world.mark().await?;

    // The edited one: frozen, and the agreed version stands, also in the restored member.
    let frozen = scene.condition_is(0, CONF, "edited", "Agreed", "False", "Frozen").await?;
    ensure!(frozen["spec"]["template"]["data"]["greeting"] == "hello", "the backup's content: {frozen}");
    let (_, _, message) = condition(&frozen, "Agreed");
    ensure!(message.contains("restore") && message.contains("spec.template.data.greeting"), "{message}");
    all_greet(scene, "edited", "good day").await?;
    // The one made since: its home is gone without a word, its intent and its outputs stay.
    all_greet(scene, "made", "good day").await?;
    scene.record_is(0, CONF, "made", "is homeless", |record| record["homeless"] == true).await?;
    // The one deleted since: it is not begun anew.
    scene.condition_is(0, CONF, "deleted", "Agreed", "False", "Frozen").await?;
    scene.quiet().await?;
    for index in 0..3 {
        scene.record_is(index, CONF, "deleted", "is not revived", |record| record.is_null()).await?;
    }
    for index in 1..3 {
        let stray = scene.output(index, CONF, "deleted").await?;
        ensure!(stray.is_none(), "the deleted one was not made again: {stray:?}");
        let output = scene.output_is(index, CONF, "edited", "stands", |_| true).await?;
        let fields = ["uid", "resourceVersion"];
        let same = fields.iter().all(|field| output["metadata"][*field] == before[index - 1][*field]);
        ensure!(same, "the other members are not touched: {output}");
        let writes = scene.writes(index, &marks).await?;
        ensure!(writes.is_empty(), "the other members write nothing: {}", crate::audit::told(&writes));
    }
    let mut deletes = scene.writes(0, &since).await?;
    deletes.retain(crate::audit::Write::is_delete);
    ensure!(deletes.is_empty(), "the restored member deletes nothing: {}", crate::audit::told(&deletes));
    ensure!(scene.output(0, CONF, "deleted").await?.is_some(), "the restored output is a stray, and left alone");

    // Made equal, it is in step again.
    scene.federate(0, CONF, "edited", &greets("good day")).await?;
    scene.settled(0, CONF, "edited").await?;
    // And a user says what becomes of the copy that was deleted.
    let output = scene.output_is(0, CONF, "deleted", "stands", |_| true).await?;
    let _ = uid(&output)?;
    scene.delete(0, CONF, "deleted").await?;
    Ok(())
}
