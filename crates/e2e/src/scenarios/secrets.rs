//! Secrets: named in their home, sealed to those that are to have them, opened by each; new keys, and
//! members that come later.

use super::scene::Scene;
use crate::objects::{SECRETS, condition};
use crate::wait::{Seen, eventually};
use crate::world::{MEMBERS, federation_spec};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const NAME: &str = "db";

/// Where an operator keeps its keys.
pub(super) const KEYS: &str = "/api/v1/namespaces/hansa-system/secrets/hansa-operator-keys";

/// A federated Secret of this placement that names the native one of the same name.
fn named(placement: Value) -> Value {
    json!({"templateFrom": {"secretRef": {"name": NAME}}, "placement": placement})
}

/// Writes the Secret that users keep in a member.
async fn keep(scene: &Scene, index: usize, password: &str) -> Result<()> {
    scene.make_namespace(index).await?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": NAME, "namespace": scene.namespace},
        "data": {"password": STANDARD.encode(password)},
    });
    scene.admin(index).apply(&SECRETS.path(&scene.namespace, NAME), &secret).await.map(|_| ())
}

async fn opens(scene: &Scene, index: usize, password: &str) -> Result<Value> {
    let wanted = json!(STANDARD.encode(password));
    scene.output_is(index, SECRETS, NAME, &format!("holds {password}"), |o| o["data"]["password"] == wanted).await
}

async fn sealed_to(scene: &Scene, members: &[&str]) -> Result<()> {
    let key = format!("secrets/{}/{NAME}", scene.namespace);
    eventually(&format!("{key} is sealed to {members:?}"), async || {
        let told = scene.world.ask(0, &format!("/read/explain?key={key}")).await?.unwrap_or_default();
        let mut wanted = members.to_vec();
        wanted.sort_unstable();
        Ok(if told["sealedTo"] == json!(wanted) { Seen::Yes(()) } else { Seen::No(told.to_string()) })
    })
    .await
}

/// A Secret reaches the members that it is placed in, and no others; one that is added later has the same
/// content sealed to it; a changed one follows; and its values stand nowhere between.
pub async fn sealed(scene: &Scene) -> Result<()> {
    let passwords = ["correct-horse-battery-staple", "another-horse-and-its-battery"];
    keep(scene, 0, passwords[0]).await?;
    scene.federate(0, SECRETS, NAME, &named(json!({"members": [MEMBERS[0], MEMBERS[1]]}))).await?;
    opens(scene, 1, passwords[0]).await?;
    scene.settled(0, SECRETS, NAME).await?;
    sealed_to(scene, &[MEMBERS[0], MEMBERS[1]]).await?;
    ensure!(scene.output(2, SECRETS, NAME).await?.is_none(), "it is not placed there");

    scene.federate(0, SECRETS, NAME, &named(json!({"memberSelector": {}}))).await?;
    opens(scene, 2, passwords[0]).await?;
    sealed_to(scene, &MEMBERS).await?;

    keep(scene, 0, passwords[1]).await?;
    for index in 1..3 {
        opens(scene, index, passwords[1]).await?;
    }
    scene.settled(0, SECRETS, NAME).await?;
    scene.quiet().await?;

    let mut told = scene.world.topo_text(&format!("{}/", scene.namespace)).await?;
    ensure!(told.contains("\"sealed\""), "the record is among what is searched: {told}");
    for index in 0..3 {
        told.push_str(&scene.log(index).await.join("\n"));
        let namespace = &scene.namespace;
        let collections = [SECRETS.federated_collection(namespace), format!("/api/v1/namespaces/{namespace}/events")];
        for collection in collections {
            scene.admin(index).list(&collection).await?.iter().for_each(|object| told.push_str(&object.to_string()));
        }
    }
    for password in passwords {
        for needle in [password.to_owned(), STANDARD.encode(password)] {
            ensure!(!told.contains(&needle), "{needle} is told");
        }
    }
    scene.delete(0, SECRETS, NAME).await?;
    for index in 1..3 {
        scene.output_goes(index, SECRETS, NAME).await?;
    }
    let kept = scene.output(0, SECRETS, NAME).await?.context("the user's own Secret stays")?;
    ensure!(kept["data"]["password"] == STANDARD.encode(passwords[1]), "as it was");
    Ok(())
}

/// Two homes of a Secret: equal contents are one, seen without opening either; each is its user's own
/// and never written; what one agrees on differs from the other's until that follows.
pub async fn two_homes(scene: &Scene) -> Result<()> {
    let everywhere = named(json!({"memberSelector": {}}));
    for index in [0, 1] {
        keep(scene, index, "the same password").await?;
        scene.federate(index, SECRETS, NAME, &everywhere).await?;
        scene.settled(index, SECRETS, NAME).await?;
    }
    let both = json!([MEMBERS[0], MEMBERS[1]]);
    scene.home_is(0, SECRETS, NAME, "has two homes", |home| home["status"]["agreed"]["homes"] == both).await?;
    opens(scene, 2, "the same password").await?;

    keep(scene, 1, "a newer password").await?;
    opens(scene, 2, "a newer password").await?;
    scene.condition_is(0, SECRETS, NAME, "Agreed", "False", "Differs").await?;
    opens(scene, 0, "the same password").await?;
    keep(scene, 0, "a newer password").await?;
    scene
        .home_is(0, SECRETS, NAME, "is in step again", |home| {
            condition(home, "Agreed").0 == "True" && home["status"]["agreed"]["differs"] == false
        })
        .await?;

    scene.delete(0, SECRETS, NAME).await?;
    scene.record_is(1, SECRETS, NAME, "has one home left", |record| record["homes"] == json!([MEMBERS[1]])).await?;
    scene.quiet().await?;
    opens(scene, 2, "a newer password").await?;
    Ok(())
}

/// A member that placement selects while the home is dead has the content sealed to it by another that
/// holds it.
pub async fn joined_without_home(scene: &Scene) -> Result<()> {
    let gold = |spec: &mut Value, index: usize| spec["members"][index]["labels"]["tier"] = json!("gold");
    scene.world.edit_federation(|spec| gold(spec, 0)).await?;
    keep(scene, 1, "the password").await?;
    let selected = named(json!({"memberSelector": {"matchLabels": {"tier": "gold"}}}));
    scene.federate(1, SECRETS, NAME, &selected).await?;
    scene.settled(1, SECRETS, NAME).await?;
    opens(scene, 0, "the password").await?;
    ensure!(scene.output(2, SECRETS, NAME).await?.is_none(), "it is not placed there yet");

    scene.world.members[1].operator.lock().await.kill();
    scene.world.edit_federation(|spec| gold(spec, 2)).await?;
    opens(scene, 2, "the password").await?;

    scene.world.members[1].operator.lock().await.start(&[])?;
    scene.settled(1, SECRETS, NAME).await?;
    scene.delete(1, SECRETS, NAME).await?;
    scene.record_is(0, SECRETS, NAME, "is gone", Value::is_null).await?;
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}

/// A member's operator comes with other keys than before: nothing is sealed to them until the league's
/// spec says that they are right; then the member opens what it could not.
pub async fn rotated_keys(scene: &Scene) -> Result<()> {
    let keys = scene.admin(2).get(KEYS).await?;
    let first = public_keys(scene, 2).await?;
    keep(scene, 0, "the old password").await?;
    scene.federate(0, SECRETS, NAME, &named(json!({"memberSelector": {}}))).await?;
    opens(scene, 2, "the old password").await?;
    scene.settled(0, SECRETS, NAME).await?;

    make_new_keys(scene, 2).await?;
    keep(scene, 0, "the new password").await?;
    opens(scene, 1, "the new password").await?;
    let field = format!("spec.members[{}].publicKeys", MEMBERS[2]);
    scene
        .home_is(0, SECRETS, NAME, "names the key that differs", |home| home["status"].to_string().contains(&field))
        .await?;
    opens(scene, 2, "the old password").await?;

    let shown = public_keys(scene, 2).await?;
    scene.world.edit_federation(|spec| spec["members"][2]["publicKeys"] = shown).await?;
    opens(scene, 2, "the new password").await?;
    scene.settled(0, SECRETS, NAME).await?;
    scene.delete(0, SECRETS, NAME).await?;
    scene.record_is(0, SECRETS, NAME, "is gone", Value::is_null).await?;

    // The keys that were seen first come back, so that the league is as it was.
    put_back_keys(scene, 2, &keys).await?;
    scene.world.edit_federation(|spec| spec["members"][2]["publicKeys"] = first).await?;
    eventually("the member is taken back under its first key", async || {
        let health = scene.world.ask(2, "/read/health").await?.unwrap_or_default();
        Ok(if health["frozen"].is_null() { Seen::Yes(()) } else { Seen::No(health.to_string()) })
    })
    .await?;
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}

/// A member's keys are rotated in order: it is asked for the next pair, the spec lists both and then the new one
/// alone, and what is sealed to it opens all the time.
pub async fn rotated_in_order(scene: &Scene) -> Result<()> {
    let health = async || Ok::<_, anyhow::Error>(scene.world.ask(2, "/read/health").await?.unwrap_or_default());
    let rotation_is = async |what: &str, is: &dyn Fn(&Value) -> bool| {
        eventually(&format!("the rotation {what}"), async || {
            let now = health().await?;
            let is = now["ready"] == true && now["frozen"].is_null() && is(&now["rotation"]);
            Ok(if is { Seen::Yes(now) } else { Seen::No(now.to_string()) })
        })
        .await
    };
    keep(scene, 0, "the old password").await?;
    scene.federate(0, SECRETS, NAME, &named(json!({"memberSelector": {}}))).await?;
    opens(scene, 2, "the old password").await?;
    let first = health().await?["publicKeys"].clone();

    let (phase, message) = scene.request(2, &json!({"action": "RotateKeys"})).await?;
    ensure!(phase == "Done" && message.contains("publicKeys"), "{phase}: {message}");
    let next = rotation_is("has begun", &|rotation| rotation["next"].is_array()).await?["rotation"]["next"].clone();
    let keys = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let both = [keys(&first), keys(&next)].concat();
    scene.world.edit_federation(|spec| spec["members"][2]["publicKeys"] = both.into()).await?;
    rotation_is("is decided", &|rotation| rotation["previous"].is_array()).await?;
    keep(scene, 0, "the new password").await?;
    opens(scene, 2, "the new password").await?;
    scene.world.edit_federation(|spec| spec["members"][2]["publicKeys"] = next.clone()).await?;
    let health = rotation_is("is over", &Value::is_null).await?;
    ensure!(health["publicKeys"] == next && next != first, "{health}");
    let secret = scene.admin(2).get(KEYS).await?;
    let fields: Vec<&String> = secret["data"].as_object().context("the Secret has data")?.keys().collect();
    ensure!(fields == ["ed25519", "x25519"], "{fields:?}");
    keep(scene, 0, "another password").await?;
    opens(scene, 2, "another password").await?;

    scene.settled(0, SECRETS, NAME).await?;
    scene.delete(0, SECRETS, NAME).await?;
    scene.record_is(0, SECRETS, NAME, "is gone", Value::is_null).await?;
    scene.world.edit_federation(|spec| *spec = federation_spec()).await
}

/// Starts a member's operator without its keys: it makes new ones.
pub(super) async fn make_new_keys(scene: &Scene, index: usize) -> Result<()> {
    scene.world.members[index].operator.lock().await.kill();
    scene.admin(index).delete(KEYS).await?;
    scene.world.members[index].operator.lock().await.start(&[])?;
    Ok(())
}

/// Starts a member's operator with the keys of this Secret.
pub(super) async fn put_back_keys(scene: &Scene, index: usize, keys: &Value) -> Result<()> {
    scene.world.members[index].operator.lock().await.kill();
    let restored = json!({
        "apiVersion": "v1", "kind": "Secret", "type": keys["type"], "data": keys["data"],
        "metadata": {"name": keys["metadata"]["name"], "namespace": keys["metadata"]["namespace"]},
    });
    scene.admin(index).apply(KEYS, &restored).await?;
    scene.world.members[index].operator.lock().await.start(&[])?;
    Ok(())
}

/// The keys that a member's operator shows.
pub(super) async fn public_keys(scene: &Scene, index: usize) -> Result<Value> {
    let members = scene.world.ask(0, "/read/members").await?.context("the operator answers")?;
    Ok(members[index]["cell"]["publicKeys"].clone())
}
