//! `edit`: one edit, from the home's API server to the output in another member, on an idle system.

use super::lab::{Lab, eventually, read, write};
use super::{Row, quantile, tell};
use anyhow::{Context, Result};
use hansa_operator::{ActId, ApiRequest, ContentType, Event, Method};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

const HOME: &str = "/apis/core.types.hansa.dev/v1alpha1/namespaces/bench/federatedconfigmaps";
const TARGET: &str = "/api/v1/namespaces/bench/configmaps";

/// Times of one edit, in milliseconds since it was sent.
#[derive(Clone, Copy, Debug)]
struct Legs {
    answered: f64,
    agreed: f64,
    applied: f64,
}

pub async fn run(scale: f64) -> Result<Vec<Row>> {
    let rounds = ((200.0 * scale) as usize).max(20);
    let mut lab = Lab::start(2).await?;
    lab.found().await?;
    let (home, other) = (lab.members[0].client.clone(), lab.members[1].client.clone());
    let object = json!({
        "apiVersion": "core.types.hansa.dev/v1alpha1", "kind": "FederatedConfigMap",
        "metadata": {"name": "edit", "namespace": "bench", "finalizers": ["hansa.dev/federated"]},
        "spec": {"template": {"data": {"round": "none"}}, "placement": {"memberSelector": {}}},
    });
    write(&home, Method::Post, HOME, ContentType::Json, &object).await?;
    eventually("the object is there", async || Ok(read(&other, &format!("{TARGET}/edit")).await.is_ok())).await?;
    let floor_object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "direct", "namespace": "bench"}, "data": {"round": "none"}});
    write(&other, Method::Post, TARGET, ContentType::Json, &floor_object).await?;

    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let version = read(&other, &format!("{TARGET}?limit=1")).await?["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or("0")
        .to_owned();
    let request = ApiRequest::get(format!("{TARGET}?watch=true&resourceVersion={version}"));
    let watch = tokio::spawn(hansa_runner::api_server::watch(other.clone(), ActId(0), request, sender));
    let topo = hansa_topo::open(&lab.topo_url, &hansa_topo::Options::default()).await?;

    tell(&format!("{rounds} edits"));
    let mut edits = Vec::new();
    let mut floor = Vec::new();
    for round in 0..rounds {
        lab.idle(0).await?;
        lab.idle(1).await?;
        let value = format!("hansa-{round}");
        let cursor = topo.changes(None).await?.cursor().clone();
        let page = {
            let topo = topo.clone();
            tokio::spawn(async move {
                let mut cursor = cursor;
                loop {
                    let changes = topo.changes(Some(&cursor)).await.ok()?;
                    cursor = changes.cursor().clone();
                    if let hansa_topo::Changes::Keys { keys, .. } = &changes
                        && keys.keys().any(|key| key.starts_with("/v1/pages/"))
                    {
                        return Some(Instant::now());
                    }
                }
            })
        };
        let start = Instant::now();
        let body = json!({"spec": {"template": {"data": {"round": value}}}});
        write(&home, Method::Patch, &format!("{HOME}/edit"), ContentType::MergePatch, &body).await?;
        let answered = start.elapsed();
        let applied = seen(&mut lines, "edit", &value).await?.duration_since(start);
        let agreed = page.await?.context("the page was written")?.duration_since(start);
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        edits.push(Legs { answered: ms(answered), agreed: ms(agreed), applied: ms(applied) });

        let value = format!("direct-{round}");
        let start = Instant::now();
        let body = json!({"data": {"round": value}});
        write(&other, Method::Patch, &format!("{TARGET}/direct"), ContentType::MergePatch, &body).await?;
        floor.push(ms(seen(&mut lines, "direct", &value).await?.duration_since(start)));
    }
    watch.abort();
    let column = |leg: fn(&Legs) -> f64| edits.iter().map(leg).collect::<Vec<_>>();
    let how =
        format!("{rounds} edits on an idle league, etcd as topology server; floor: a direct edit and its watch event");
    let leg = |name: &str, value: f64, how: &str| Row {
        name: name.to_owned(),
        value,
        unit: "ms",
        floor: None,
        how: how.to_owned(),
    };
    Ok(vec![
        Row {
            name: "edit (median)".into(),
            value: quantile(column(|l| l.applied), 0.5),
            unit: "ms",
            floor: Some(quantile(floor.clone(), 0.5)),
            how: how.clone(),
        },
        Row {
            name: "edit (p99)".into(),
            value: quantile(column(|l| l.applied), 0.99),
            unit: "ms",
            floor: Some(quantile(floor, 0.99)),
            how,
        },
        leg(
            "edit: API server",
            quantile(column(|l| l.answered), 0.5),
            "median; the home's API server answers the user",
        ),
        leg(
            "edit: to agreement",
            quantile(column(|l| l.agreed - l.answered), 0.5),
            "median; watch event, ingest, the page's compare-and-swap, told as a change",
        ),
        leg(
            "edit: to output",
            quantile(column(|l| l.applied - l.agreed), 0.5),
            "median; page read, rendered, applied, its watch event",
        ),
    ])
}

/// Waits for the watch event that shows a value.
async fn seen(lines: &mut UnboundedReceiver<Event>, name: &str, value: &str) -> Result<Instant> {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(30), lines.recv())
            .await
            .context("the output did not come")?
            .context("the watch goes on")?;
        if let Event::WatchLine { line, .. } = event {
            let at = Instant::now();
            let event: Value = serde_json::from_slice(&line)?;
            if event["object"]["metadata"]["name"] == name && event["object"]["data"]["round"] == value {
                return Ok(at);
            }
        }
    }
}
