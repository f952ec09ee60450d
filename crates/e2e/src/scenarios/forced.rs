//! A league that has lost its quorum for good, and goes on by the word of a person.

use super::ballots::{all_vote, ballots_are, federation_says, pages, share_is_frozen};
use super::scene::Scene;
use super::secrets::{KEYS, make_new_keys, public_keys, put_back_keys};
use crate::objects::{CONFIG_MAPS, FEDERATIONS, config, everywhere, federated};
use crate::wait::{Seen, eventually};
use crate::world::{FEDERATION, MEMBERS, federation_spec};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// Runs `hansa ballot`; gives what it answers.
async fn ballot(scene: &Scene, arguments: &[&str]) -> Result<Value> {
    let arguments = [&["ballot"][..], arguments, &["-o", "json"]].concat();
    Ok(serde_json::from_str(&scene.world.hansa(Path::new("/dev/null"), &arguments, "").await?)?)
}

async fn control(scene: &Scene) -> Result<Value> {
    Ok(scene.world.topo_command(&["get", "/v1/control"], "").await?["body"]["ballots"].clone())
}

/// The discarded members come back with new keys, as the spec lists them; then each has its first ones back, so that
/// the league is as it was. One at a time: a voter that is known under another key is no voter.
async fn come_back(scene: &Scene, kept: &[(usize, Value, Value)]) -> Result<()> {
    for (index, ..) in kept {
        make_new_keys(scene, *index).await?;
        share_is_frozen(scene, *index, None).await?;
    }
    for (index, keys, first) in kept {
        put_back_keys(scene, *index, keys).await?;
        scene
            .world
            .edit_federation(|spec| {
                *spec = federation_spec();
                spec["members"][*index]["publicKeys"] = first.clone();
            })
            .await?;
        share_is_frozen(scene, *index, None).await?;
    }
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}

/// Two of three are lost for good, and nothing can be agreed on any more. A person is shown what a force
/// comes to, and signs it: the one that is left goes on alone, what stands in the others is left as it
/// is, and what had its home there can be taken over. One that comes back, restarted or never stopped,
/// freezes and says why.
pub async fn forced(scene: &Scene) -> Result<()> {
    let file = scene.world.folder().join("ada.key");
    let key = file.to_str().context("the folder's name is text")?;
    let public = ballot(scene, &["key", "new", "ada", "-f", key]).await?["publicKey"].clone();
    ensure!(ballot(scene, &["key", "show", "-f", key]).await?["publicKey"] == public, "the key reads back");
    scene
        .world
        .edit_federation(|spec| {
            spec["people"] = json!([{"name": "ada", "publicKey": public}]);
            spec["homes"] = json!({"takeover": "Consent"});
        })
        .await?;
    eventually("the voters know the person's key", async || {
        let people = control(scene).await?["voters"]["people"].clone();
        Ok(if people["ada"] == public { Seen::Yes(()) } else { Seen::No(people.to_string()) })
    })
    .await?;
    let mut kept = Vec::new();
    for index in [1, 2] {
        kept.push((index, scene.admin(index).get(KEYS).await?, public_keys(scene, index).await?));
    }
    let greets = |word: &str| everywhere(config(&[("greeting", word)]));
    scene.federate(1, CONFIG_MAPS, "conf", &greets("hello")).await?;
    scene.settled(1, CONFIG_MAPS, "conf").await?;
    let marks = scene.world.mark().await?;

    scene.world.members[1].operator.lock().await.stop().await?;
    scene.world.members[2].operator.lock().await.kill();
    let mut spec = scene.world.federation().await?["spec"].clone();
    spec["members"][0]["labels"]["tier"] = json!("gold");
    scene.admin(0).replace_spec(&FEDERATIONS.path("", FEDERATION), &spec).await?;
    federation_says(scene, "Agreeing", &[MEMBERS[1], MEMBERS[2]]).await?;

    let force = ["force", "--key", key, "--discard", MEMBERS[1], "--discard", MEMBERS[2]];
    let shown = ballot(scene, &force).await;
    let told = shown.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(told.contains("nothing was done"), "it is only shown: {told}");
    let era = control(scene).await?["era"].as_u64().context("the control document has an era")?;
    let done = ballot(scene, &[&force[..], &["--yes"]].concat()).await?;
    ensure!(done["voters"]["after"] == json!({"set": [MEMBERS[0]], "quorum": 1}), "who is left: {done}");
    ensure!(done["pages"]["after"] == json!({MEMBERS[0]: 256}), "whose pages: {done}");
    let record = format!("configmaps/{}/conf", scene.namespace);
    let lose = &done["objects"]["loseTheirHome"];
    ensure!(
        lose.as_array().is_some_and(|all| all.iter().any(|one| one["key"] == *record)),
        "{record} is without a home: {done}"
    );

    let alone = |ballots: &Value| {
        ballots["era"] == era + 1
            && ballots["began"]["by"] == "ada"
            && ballots["quorum"] == 1
            && pages(ballots) == [256, 0, 0]
    };
    ballots_are(scene, 0, "it decides alone", alone).await?;
    federation_says(scene, "Agreed", &[]).await?;
    // Its home speaks no more: another member takes it, though the spec asks for consent.
    let listed = scene.world.ask(0, "/read/objects?homeless=true").await?.unwrap_or_default();
    let row = listed.as_array().into_iter().flatten().find(|row| row["key"] == *record);
    let revision = row.context("the object is listed as homeless")?["revision"].clone();
    scene.make_namespace(0).await?;
    let mut object = federated(CONFIG_MAPS, &scene.namespace, "conf", &greets("good day"));
    object["metadata"]["annotations"] = json!({"hansa.dev/take-home": revision.to_string()});
    scene.admin(0).apply(&CONFIG_MAPS.federated(&scene.namespace, "conf"), &object).await?;
    scene.output_is(0, CONFIG_MAPS, "conf", "follows", |o| o["data"]["greeting"] == "good day").await?;

    scene.world.members[1].operator.lock().await.go_on()?;
    scene.world.members[2].operator.lock().await.start(&[])?;
    for index in [1, 2] {
        share_is_frozen(scene, index, Some("was discarded by ada")).await?;
        scene.output_is(index, CONFIG_MAPS, "conf", "is left as it is", |o| o["data"]["greeting"] == "hello").await?;
    }
    ensure!(control(scene).await?["voters"]["set"].as_object().is_some_and(|set| set.len() == 1), "one votes");
    scene.no_deletes(&marks).await?;

    come_back(scene, &kept).await?;
    ballots_are(scene, 0, "all vote again", all_vote).await.map(|_| ())
}
