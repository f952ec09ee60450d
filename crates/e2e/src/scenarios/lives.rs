//! Lives of objects: a name that is born again, a Job that has run, a field that cannot change.

use super::scene::{Scene, uid};
use crate::audit::told;
use crate::objects::{CONFIG_MAPS, DEPLOYMENTS, JOBS, READY, condition, config, deployment, everywhere};
use crate::world::MEMBERS;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// An object that is deleted and made anew under its name begins another life: with outputs of its
/// own, which no word about the earlier life can take away.
pub async fn reborn_name(scene: &Scene) -> Result<()> {
    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "hello")]))).await?;
    let first = scene.settled(0, CONFIG_MAPS, "conf").await?;
    let before = uid(&scene.output_is(1, CONFIG_MAPS, "conf", "stands", |_| true).await?)?;
    scene.delete(0, CONFIG_MAPS, "conf").await?;
    // At once, while the members still remove the first one; and in another home.
    scene.federate(1, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "once more")]))).await?;
    for index in 0..3 {
        let anew = |o: &Value| o["data"]["greeting"] == "once more" && o["metadata"]["uid"] != before.as_str();
        scene.output_is(index, CONFIG_MAPS, "conf", "is of its new life", anew).await?;
    }
    let second = scene.settled(1, CONFIG_MAPS, "conf").await?;
    let life = |home: &Value| home["status"]["agreed"]["incarnation"].as_u64().unwrap_or_default();
    ensure!(life(&second) > life(&first), "a later life: {} after {}", second["status"], first["status"]);
    let marks = scene.world.mark().await?;
    scene.quiet().await?;
    scene.no_deletes(&marks).await
}

/// The template of a Job; its pods end unless they are kept from it.
fn job(ends: bool) -> Value {
    let mut template = json!({"spec": {"template": {
        "metadata": {"annotations": {READY: "true"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "job:1"}]},
    }}});
    if !ends {
        template["spec"]["template"]["metadata"]["annotations"] = json!({READY: "false"});
        template["spec"]["suspend"] = json!(true);
    }
    template
}

/// A Job that has run to its end and vanishes is not made again; one that has not, is.
pub async fn finished_job(scene: &Scene) -> Result<()> {
    scene.federate(0, JOBS, "done", &everywhere(job(true))).await?;
    scene.federate(0, JOBS, "open", &everywhere(job(false))).await?;
    for index in 0..3 {
        let complete = |o: &Value| condition(o, "Complete").0 == "True";
        scene.output_is(index, JOBS, "done", "is complete", complete).await?;
        scene.output_is(index, JOBS, "open", "stands", |_| true).await?;
    }
    scene.settled(0, JOBS, "done").await?;
    scene.quiet().await?;
    let marks = scene.world.mark().await?;
    let before = uid(&scene.output_is(1, JOBS, "open", "stands", |_| true).await?)?;
    scene.admin(1).delete(&JOBS.path(&scene.namespace, "done")).await?;
    scene.output_goes(1, JOBS, "done").await?;
    // The same watch tells of this one later: when it is made again, the other would have been.
    scene.admin(1).delete(&JOBS.path(&scene.namespace, "open")).await?;
    scene.output_is(1, JOBS, "open", "is made again", |o| o["metadata"]["uid"] != before.as_str()).await?;
    scene.quiet().await?;
    ensure!(scene.output(1, JOBS, "done").await?.is_none(), "a Job that has run is not run again");
    let mut writes = scene.writes(1, &marks).await?;
    writes.retain(|write| write.name == "done" && write.resource == "jobs.batch");
    ensure!(writes.is_empty(), "nothing is written about it: {}", told(&writes));
    scene.settled(0, JOBS, "done").await?;
    Ok(())
}

/// A field that cannot change is refused and reported: nothing is made anew unasked, the object that
/// stands goes on, and so does everything else.
pub async fn immutable_field(scene: &Scene) -> Result<()> {
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:1", 1))).await?;
    scene.settled(0, DEPLOYMENTS, "web").await?;
    let mut before = Vec::new();
    for index in 0..3 {
        before.push(uid(&scene.output_is(index, DEPLOYMENTS, "web", "stands", |_| true).await?)?);
    }
    let marks = scene.world.mark().await?;
    let mut changed = deployment("web", "web:2", 1);
    changed["spec"]["selector"]["matchLabels"]["tier"] = json!("front");
    changed["spec"]["template"]["metadata"]["labels"]["tier"] = json!("front");
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(changed)).await?;
    let home = scene.condition_is(0, DEPLOYMENTS, "web", "Propagated", "False", "Failing").await?;
    let (_, _, message) = condition(&home, "Propagated");
    ensure!(message.contains("spec.selector") && message.contains("immutable"), "the field is named: {message}");
    ensure!(
        home["status"]["summary"]["failing"]
            == json!(MEMBERS.map(str::to_owned).into_iter().collect::<std::collections::BTreeSet<_>>()),
        "{}",
        home["status"]
    );
    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    scene.quiet().await?;
    scene.no_deletes(&marks).await?;
    let image = |o: &Value| o["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    for (index, before) in before.iter().enumerate() {
        let now = scene.output_is(index, DEPLOYMENTS, "web", "stands", |_| true).await?;
        ensure!(&uid(&now)? == before && image(&now) == "web:1", "it goes on as it was: {now}");
        let running = now["status"]["readyReplicas"] == 1;
        ensure!(running, "its pods run: {}", now["status"]);
    }

    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:2", 1))).await?;
    for (index, before) in before.iter().enumerate() {
        let now = scene.output_is(index, DEPLOYMENTS, "web", "runs web:2", |o| image(o) == "web:2").await?;
        ensure!(&uid(&now)? == before, "nothing was made anew");
    }
    scene.settled(0, DEPLOYMENTS, "web").await?;
    Ok(())
}
