//! The league votes: on its spec, on who takes part, on who decides for whom.

use super::scene::Scene;
use super::secrets::{KEYS, make_new_keys, public_keys, put_back_keys};
use crate::objects::{CONFIG_MAPS, FEDERATIONS, condition, config, everywhere};
use crate::operator::ask;
use crate::wait::{Seen, eventually};
use crate::world::{FEDERATION, MEMBERS, federation_spec};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// Keys that no operator here has (RFC 8032, section 7.1, tests 1 and 2).
const OTHERS_KEYS: [&str; 2] =
    ["ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "ed25519:PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="];

/// Waits until the ballots are as wanted, as one operator reads them.
pub(super) async fn ballots_are(
    scene: &Scene,
    index: usize,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    eventually(&format!("{} reads that {what}", MEMBERS[index]), async || {
        let ballots = scene.world.ask(index, "/read/ballots").await?.unwrap_or_default();
        Ok(if wanted(&ballots) { Seen::Yes(ballots) } else { Seen::No(ballots.to_string()) })
    })
    .await
}

/// How many pages each member is appointed to.
pub(super) fn pages(ballots: &Value) -> Vec<u64> {
    MEMBERS.iter().map(|name| ballots["voters"][name]["pages"].as_u64().unwrap_or_default()).collect()
}

pub(super) fn all_vote(ballots: &Value) -> bool {
    let states = MEMBERS.iter().map(|name| &ballots["voters"][name]["state"]);
    let pages = pages(ballots);
    states.into_iter().all(|state| state == "live")
        && pages.iter().sum::<u64>() == 256
        && pages.iter().all(|n| *n >= 85)
}

/// Waits until this member's Federation says so.
pub(super) async fn federation_says(scene: &Scene, reason: &str, words: &[&str]) -> Result<()> {
    eventually(&format!("the Federation says {reason}"), async || {
        let now = scene.world.federation().await?;
        let (_, found, message) = condition(&now, "Agreed");
        let is_about_this = now["status"]["observedGeneration"] == now["metadata"]["generation"];
        let says = is_about_this && found == reason && words.iter().all(|word| message.contains(word));
        Ok(if says { Seen::Yes(()) } else { Seen::No(now["status"].to_string()) })
    })
    .await
}

/// Waits until a member's share is frozen, with this word, or is not.
pub(super) async fn share_is_frozen(scene: &Scene, index: usize, word: Option<&str>) -> Result<()> {
    eventually(&format!("{} is frozen: {word:?}", MEMBERS[index]), async || {
        let health = scene.world.ask(index, "/read/health").await?.unwrap_or_default();
        let is = match word {
            Some(word) => health["frozen"].as_str().is_some_and(|why| why.contains(word)),
            None => health["frozen"].is_null() && health["ready"] == true,
        };
        Ok(if is { Seen::Yes(()) } else { Seen::No(health.to_string()) })
    })
    .await
}

/// An edit of the spec holds when a quorum has said yes, and not before: two that refuse it stand in a
/// condition and in an event with their reasons, two that are away are named, and what was agreed stands.
pub async fn spec_by_vote(scene: &Scene) -> Result<()> {
    for index in 0..MEMBERS.len() {
        ballots_are(scene, index, "all vote", all_vote).await?;
    }
    let path = FEDERATIONS.path("", FEDERATION);
    let agreed = scene.world.federation().await?["status"]["generation"].clone();
    let mut refused = federation_spec();
    for (index, key) in OTHERS_KEYS.iter().enumerate() {
        refused["members"][index + 1]["publicKeys"] = json!([key]);
    }
    scene.admin(0).replace_spec(&path, &refused).await?;
    let field = format!("{0}: spec.members[{0}].publicKeys", MEMBERS[1]);
    federation_says(scene, "Rejected", &[&field, MEMBERS[2], "edit it again"]).await?;
    let told = ballots_are(scene, 0, "it is voted down", |ballots| {
        ballots["decided"].as_array().is_some_and(|all| all.iter().any(|one| one["outcome"] == "rejected"))
    })
    .await?;
    ensure!(told["generation"] == agreed, "the agreed spec stands: {told}");
    scene.world.edit_federation(|spec| *spec = federation_spec()).await?;

    for index in [1, 2] {
        scene.world.members[index].operator.lock().await.kill();
    }
    let agreed = scene.world.federation().await?["status"]["generation"].clone();
    let mut spec = federation_spec();
    spec["members"][0]["labels"]["tier"] = json!("gold");
    scene.admin(0).replace_spec(&path, &spec).await?;
    federation_says(scene, "Agreeing", &[MEMBERS[1], MEMBERS[2]]).await?;
    let open =
        ballots_are(scene, 0, "one more yes adopts it", |ballots| ballots["open"][0]["takes"]["yes"] == 1).await?;
    ensure!(open["generation"] == agreed && open["open"][0]["yes"] == json!([MEMBERS[0]]), "it is open: {open}");
    scene.world.members[1].operator.lock().await.start(&[])?;
    federation_says(scene, "Agreed", &[]).await?;
    scene.world.members[2].operator.lock().await.start(&[])?;
    ballots_are(scene, 2, "all vote", all_vote).await?;
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}

/// Somebody who may write to the topology server, and has nobody's key, lets a member that is away suspect another
/// one: that does not count, and stands by name in an event, in a metric and in `hansa ballot show`, until
/// the member itself says what it says.
pub async fn forged_cell(scene: &Scene) -> Result<()> {
    ballots_are(scene, 0, "all vote", all_vote).await?;
    scene.world.members[2].operator.lock().await.kill();
    // Whoever writes at the same time is first: then it is forged once more.
    eventually("the forgery stands", async || {
        let standing = scene.world.topo_command(&["get", "/v1/control"], "").await?;
        let version = standing["version"].as_str().context("a value has a version")?;
        let mut control = standing["body"].clone();
        let cell = &mut control["ballots"]["cells"][MEMBERS[2]]["body"];
        cell["sequence"] = json!(cell["sequence"].as_u64().unwrap_or_default() + 100);
        cell["suspects"] = json!([MEMBERS[1]]);
        let put = ["put", "/v1/control", "--force", "--expect", version, "-f", "-"];
        let put = scene.world.topo_command(&put, &control.to_string()).await;
        Ok(if put.is_ok() { Seen::Yes(()) } else { Seen::No(standing["version"].to_string()) })
    })
    .await?;
    let cell = format!("cells/{}", MEMBERS[2]);
    scene.warned(0, "default", ("Federation", FEDERATION), "Rejected", &[&cell, "does not count"]).await?;
    let address = scene.world.members[0].operator.lock().await.address().context("the operator answers")?;
    let (_, metrics) = ask(&address, "/metrics").await.context("it has metrics")?;
    let counted = format!(r#"hansa_ballots_rejected_total{{why="forged",who="{}"}} "#, MEMBERS[2]);
    ensure!(metrics.lines().any(|line| line.starts_with(&counted)), "{counted} is counted: {metrics}");
    let url = format!("http://{address}");
    let shown = scene.world.hansa(Path::new("/dev/null"), &["ballot", "show", "--operator", &url], "").await?;
    let table = shown.split_once("DOES NOT COUNT").map(|(_, table)| table).unwrap_or_default();
    ensure!(table.contains(&cell) && table.contains("forged"), "it is shown: {shown}");
    let told = ballots_are(scene, 0, "nobody is suspected by it", |ballots| !ballots["rejected"][0].is_null()).await?;
    ensure!(told["voters"][MEMBERS[1]]["suspectedBy"] == json!([]), "a forgery suspects nobody: {told}");

    scene.world.members[2].operator.lock().await.start(&[])?;
    ballots_are(scene, 0, "all vote", |ballots| all_vote(ballots) && ballots["rejected"] == json!([])).await.map(|_| ())
}

/// The pages of a member that two others do not hear go to them, and come back with it.
pub async fn silent_member(scene: &Scene) -> Result<()> {
    ballots_are(scene, 0, "all vote", all_vote).await?;
    scene.world.members[2].operator.lock().await.kill();
    let moved =
        |ballots: &Value| ballots["voters"][MEMBERS[2]]["state"] == "suspected" && pages(ballots) == [128, 128, 0];
    for index in [0, 1] {
        ballots_are(scene, index, "the pages of the silent member moved", moved).await?;
    }
    // What it would have had to decide is decided: a withdrawal.
    let mut spec = everywhere(config(&[("greeting", "hello")]));
    spec["placement"] = json!({"members": MEMBERS[..2]});
    scene.federate(0, CONFIG_MAPS, "conf", &spec).await?;
    scene.output_is(1, CONFIG_MAPS, "conf", "stands", |_| true).await?;
    spec["placement"] = json!({"members": MEMBERS[..1]});
    scene.federate(0, CONFIG_MAPS, "conf", &spec).await?;
    scene.output_goes(1, CONFIG_MAPS, "conf").await?;
    scene.world.members[2].operator.lock().await.start(&[])?;
    ballots_are(scene, 0, "all vote again", all_vote).await.map(|_| ())
}

/// A member that the spec does not list any more is voted out: what stands in it is left as it is, and
/// its operator says so and does nothing. With other keys, and listed again, it is voted in.
pub async fn left_and_joined(scene: &Scene) -> Result<()> {
    let keys = scene.admin(2).get(KEYS).await?;
    let first = public_keys(scene, 2).await?;
    let greets = |word: &str| everywhere(config(&[("greeting", word)]));
    scene.federate(0, CONFIG_MAPS, "conf", &greets("hello")).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    let marks = scene.world.mark().await?;
    scene
        .world
        .edit_federation(|spec| {
            spec["members"].as_array_mut().expect("members are a list").truncate(2);
        })
        .await?;
    let is_out = |ballots: &Value| ballots["voters"].as_object().is_some_and(|voters| voters.len() == 2);
    ballots_are(scene, 0, "two vote", |ballots| is_out(ballots) && ballots["quorum"] == 2).await?;
    let frozen = async |word: Option<&str>| share_is_frozen(scene, 2, word).await;
    frozen(Some("was taken out of the league")).await?;
    scene.federate(0, CONFIG_MAPS, "conf", &greets("good day")).await?;
    scene.output_is(1, CONFIG_MAPS, "conf", "follows", |o| o["data"]["greeting"] == "good day").await?;
    scene.output_is(2, CONFIG_MAPS, "conf", "is left as it is", |o| o["data"]["greeting"] == "hello").await?;
    scene.no_deletes(&marks).await?;

    // The key of a member that was taken out joins no more; another one does, when users list it.
    let with = async |wanted: Value| -> Result<()> {
        scene
            .world
            .edit_federation(|spec| {
                *spec = federation_spec();
                spec["members"][2]["publicKeys"] = wanted;
            })
            .await
    };
    make_new_keys(scene, 2).await?;
    let asks = format!("{} has asked to join", MEMBERS[2]);
    frozen(Some(&asks)).await?;
    with(json!([])).await?;
    frozen(None).await?;
    scene.output_is(2, CONFIG_MAPS, "conf", "follows", |o| o["data"]["greeting"] == "good day").await?;

    // The keys that were seen first come back, so that the league is as it was.
    put_back_keys(scene, 2, &keys).await?;
    with(first).await?;
    frozen(None).await?;
    scene.world.edit_federation(|spec| *spec = federation_spec()).await?;
    ballots_are(scene, 0, "all vote again", all_vote).await.map(|_| ())
}
