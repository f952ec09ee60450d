//! Bodies that lie apart from their records in the topology server.

use super::scene::Scene;
use crate::objects::{CONFIG_MAPS, condition, config, everywhere};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A text that does not pack to less than a record may hold.
fn large(salt: u64) -> String {
    // A linear congruential generator (Knuth, MMIX): what it gives need only be long and without order.
    let mut state = salt;
    (0..40_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + (state >> 57) as u8 % 94)
        })
        .collect()
}

async fn blobs(scene: &Scene) -> Result<BTreeSet<String>> {
    let listed = scene.world.topo_command(&["ls", "/v1/blobs/"], "").await?;
    let keys = listed.as_array().into_iter().flatten().filter_map(|row| row["key"].as_str());
    Ok(keys.map(str::to_owned).collect())
}

/// A large object arrives whole. When its blob is damaged in the topology server, the members that need
/// it say so and keep what they have, everything else goes on, and an edit mends it.
pub async fn damaged(scene: &Scene) -> Result<()> {
    let before = blobs(scene).await?;
    let spec = |salt: u64| everywhere(config(&[("large", &large(salt))]));
    let holds = |salt: u64| move |output: &Value| output["data"]["large"] == large(salt);
    scene.federate(0, CONFIG_MAPS, "large", &spec(1)).await?;
    for index in 0..3 {
        scene.output_is(index, CONFIG_MAPS, "large", "arrives whole", holds(1)).await?;
    }
    scene.settled(0, CONFIG_MAPS, "large").await?;
    let after = blobs(scene).await?;
    let new: Vec<&String> = after.difference(&before).collect();
    let [blob] = new.as_slice() else { anyhow::bail!("one blob is written for it: {new:?}") };

    let standing = scene.world.topo_command(&["get", blob], "").await?;
    let version = standing["version"].as_str().context("a value has a version")?;
    let damage = r#"{"data": {"large": "not what the name of this blob says"}}"#;
    scene.world.topo_command(&["put", blob, "--force", "--expect", version, "-f", "-"], damage).await?;
    // An operator that starts does not remember it.
    scene.world.restart_operator(1, &[]).await?;
    scene.world.operator_ready(1, crate::wait::PATIENCE).await?;
    scene.admin(1).delete(&CONFIG_MAPS.path(&scene.namespace, "large")).await?;
    let home = scene.condition_is(0, CONFIG_MAPS, "large", "Propagated", "False", "Failing").await?;
    let (_, _, message) = condition(&home, "Propagated");
    ensure!(message.contains(blob.as_str()) && message.contains("edit"), "the blob and the mend are named: {message}");
    ensure!(home["status"]["summary"]["failing"] == json!([scene.world.members[1].name]), "{}", home["status"]);

    scene.federate(0, CONFIG_MAPS, "small", &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.settled(0, CONFIG_MAPS, "small").await?;
    scene.output_is(2, CONFIG_MAPS, "large", "is kept", holds(1)).await?;

    scene.federate(0, CONFIG_MAPS, "large", &spec(2)).await?;
    for index in 0..3 {
        scene.output_is(index, CONFIG_MAPS, "large", "arrives whole", holds(2)).await?;
    }
    scene.settled(0, CONFIG_MAPS, "large").await?;
    Ok(())
}
