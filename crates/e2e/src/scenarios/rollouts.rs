//! A new revision comes to the members in waves.

use super::scene::Scene;
use crate::objects::{DEPLOYMENTS, deployment, everywhere};
use crate::world::MEMBERS;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// A revision that does not become healthy in the first wave comes no further; the next one comes to all, in order.
pub async fn waves(scene: &Scene) -> Result<()> {
    let image = |output: &Value| output["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let release = |image: &str, cpu: &str| {
        let mut template = deployment("web", image, 1);
        template["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
        let mut spec = everywhere(template);
        spec["rollout"] =
            json!({"waves": [{"members": [MEMBERS[0]]}, {"memberSelector": {"matchLabels": {"cloud": "gcp"}}}]});
        spec
    };
    scene.federate(0, DEPLOYMENTS, "web", &release("web:1", "10m")).await?;
    scene.settled(0, DEPLOYMENTS, "web").await?;

    // No node has as much.
    scene.federate(0, DEPLOYMENTS, "web", &release("web:2", "100000")).await?;
    scene.output_is(0, DEPLOYMENTS, "web", "is tried in the first wave", |output| image(output) == "web:2").await?;
    let waits = |wave: u32, for_whom: &str| format!("in wave {wave} of 3: it opens after {for_whom}");
    let behind = [waits(2, MEMBERS[0]), waits(3, &format!("{}, {}", MEMBERS[0], MEMBERS[1]))];
    let told = |home: &Value| behind.iter().all(|words| home["status"].to_string().contains(words));
    scene.home_is(0, DEPLOYMENTS, "web", "says who waits for whom", told).await?;
    for index in [1, 2] {
        let output = scene.output(index, DEPLOYMENTS, "web").await?.unwrap_or_default();
        ensure!(image(&output) == "web:1", "its wave is not open: {output}");
    }

    let marks = scene.world.mark().await?;
    scene.federate(0, DEPLOYMENTS, "web", &release("web:3", "20m")).await?;
    for index in 0..3 {
        scene.output_is(index, DEPLOYMENTS, "web", "has the next one", |output| image(output) == "web:3").await?;
    }
    scene.settled(0, DEPLOYMENTS, "web").await?;
    scene.no_deletes(&marks).await?;
    let record = scene.world.ask(0, &format!("/read/explain?key=deployments.apps/{}/web", scene.namespace)).await?;
    let rollout = record.unwrap_or_default()["rollout"].clone();
    ensure!(rollout["open"] == 3 && rollout["of"] == 3, "all waves are open: {rollout}");
    Ok(())
}
