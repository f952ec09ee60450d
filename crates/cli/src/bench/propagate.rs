//! `propagate`, `restart`, `footprint`: thousands of objects through two starting operators, and an
//! operator restarted with all of them.

use super::lab::{Lab, eventually, read, requests, usage, write};
use super::{Row, tell};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use hansa_operator::{ContentType, Method};
use kube::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub const KINDS: [Kind; 2] = [
    Kind {
        plural: "configmaps",
        root: "/api/v1",
        federated_root: "/apis/core.types.hansa.dev/v1alpha1",
        federated_kind: "FederatedConfigMap",
        api_version: "v1",
        kind: "ConfigMap",
    },
    Kind {
        plural: "deployments",
        root: "/apis/apps/v1",
        federated_root: "/apis/apps.types.hansa.dev/v1alpha1",
        federated_kind: "FederatedDeployment",
        api_version: "apps/v1",
        kind: "Deployment",
    },
];

/// A kind of which there are many.
pub struct Kind {
    /// As in the API server's paths.
    pub plural: &'static str,
    root: &'static str,
    federated_root: &'static str,
    federated_kind: &'static str,
    api_version: &'static str,
    kind: &'static str,
}

impl Kind {
    /// The group of the target kind; empty for the core group.
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// What the `index`th of them holds.
    pub fn template(&self, index: usize) -> Value {
        let labels = json!({"app": format!("app-{index}"), "team": "bench"});
        match self.kind {
            "ConfigMap" => {
                json!({"metadata": {"labels": labels}, "data": {"settings.yaml": format!("index: {index}\n").repeat(16)}})
            }
            _ => json!({"metadata": {"labels": labels}, "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": format!("app-{index}")}},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{
                    "name": "web", "image": format!("registry.example/web:{index}"),
                    "ports": [{"containerPort": 8080, "name": "http"}],
                    "env": [{"name": "INDEX", "value": index.to_string()}, {"name": "MODE", "value": "bench"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                }]}},
            }}),
        }
    }

    fn federated(&self, index: usize) -> Value {
        json!({
            "apiVersion": self.federated_root.trim_start_matches("/apis/"), "kind": self.federated_kind,
            "metadata": {"name": format!("object-{index}"), "namespace": "bench"},
            "spec": {"template": self.template(index), "placement": {"memberSelector": {}}},
        })
    }

    fn plain(&self, namespace: &str, index: usize) -> Value {
        let mut object = self.template(index);
        object["apiVersion"] = json!(self.api_version);
        object["kind"] = json!(self.kind);
        object["metadata"]["name"] = json!(format!("object-{index}"));
        object["metadata"]["namespace"] = json!(namespace);
        object
    }
}

/// Which figures are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// `propagate-outputs` and `propagate-closed`.
    pub propagate: bool,
    /// `restart`.
    pub restart: bool,
    /// `footprint`.
    pub footprint: bool,
}

impl Wanted {
    /// Whether there is anything to do.
    pub fn any(self) -> bool {
        self.propagate || self.restart || self.footprint
    }
}

pub async fn run(scale: f64, wanted: Wanted) -> Result<Vec<Row>> {
    let each = ((5_000.0 * scale) as usize).max(10);
    let objects = each * KINDS.len();
    let mut lab = Lab::start(2).await?;
    lab.found().await?;
    lab.stop_operator(0);
    lab.stop_operator(1);
    let clients: Vec<Client> = lab.members.iter().map(|member| member.client.clone()).collect();
    let mut rows = Vec::new();

    tell(&format!("creating {objects} federated objects in one home"));
    for kind in &KINDS {
        let path = format!("{}/namespaces/bench/federated{}?fieldManager=bench", kind.federated_root, kind.plural);
        // A definition is established a moment before every part of the API server serves its kind.
        eventually(&format!("{} can be written", kind.federated_kind), async || {
            let (dry, body) = (format!("{path}&dryRun=All"), kind.federated(0));
            Ok(write(&clients[0], Method::Post, &dry, ContentType::Json, &body).await.is_ok())
        })
        .await?;
        let writes = stream::iter(0..each).map(|index| {
            let (client, path) = (&clients[0], &path);
            async move { write(client, Method::Post, path, ContentType::Json, &kind.federated(index)).await }
        });
        writes.buffer_unordered(16).try_for_each(|_| async { Ok(()) }).await?;
    }

    let concurrency = best_concurrency(&clients, each.min(300)).await?;
    let floor = plain_writes(&clients, "floor", 0..each, concurrency).await?;
    tell(&format!("floor: {} plain applies in {:.1} s at concurrency {concurrency}", objects * 2, floor.as_secs_f64()));

    let mut before = Vec::new();
    for client in &clients {
        before.push(requests(client).await?);
    }
    tell("starting the operators");
    let start = Instant::now();
    lab.start_operator(0)?;
    lab.start_operator(1)?;
    let mut told = Instant::now();
    let outputs = loop {
        let mut present = 0;
        for client in &clients {
            for kind in &KINDS {
                present += count(client, &format!("{}/namespaces/bench/{}", kind.root, kind.plural)).await?;
            }
        }
        if present == objects * 2 {
            break start.elapsed();
        }
        if told.elapsed() > Duration::from_secs(5) {
            tell(&format!("{present} of {} outputs", objects * 2));
            told = Instant::now();
        }
        ensure!(start.elapsed() < Duration::from_secs(1_800), "only {present} of {} outputs came", objects * 2);
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let closed = loop {
        lab.idle(0).await?;
        lab.idle(1).await?;
        let at = start.elapsed();
        if all_closed(&clients[0]).await? {
            break at;
        }
        ensure!(start.elapsed() < Duration::from_secs(1_800), "not every loop closed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let (mut written, mut federated) = (0, 0);
    for (client, before) in clients.iter().zip(&before) {
        let served = requests(client).await? - *before;
        (written, federated) = (written + served.writes, federated + served.federated);
    }
    tell(&format!(
        "outputs after {:.1} s, closed after {:.1} s, {written} writes, {federated} of them to federated objects",
        outputs.as_secs_f64(),
        closed.as_secs_f64()
    ));
    if wanted.propagate {
        let how = format!(
            "{objects} federated objects, {} outputs in two members; floor: the same applies by a plain client, {concurrency} at a time",
            objects * 2
        );
        rows.push(Row {
            name: "propagate-outputs".into(),
            value: outputs.as_secs_f64(),
            unit: "s",
            floor: Some(floor.as_secs_f64()),
            how: how.clone(),
        });
        rows.push(Row {
            name: "propagate-closed".into(),
            value: closed.as_secs_f64(),
            unit: "s",
            floor: Some(floor.as_secs_f64()),
            how,
        });
    }
    if wanted.propagate {
        let mut cpu = 0.0;
        for member in &lab.members {
            cpu += usage(member.operator.as_ref().context("the operator runs")?.id())?.0;
        }
        rows.push(Row {
            name: "propagate: operators' CPU".into(),
            value: cpu * 1_000.0 / objects as f64,
            unit: "ms/object",
            floor: None,
            how: "CPU time of both operators from their start until the loop was closed".into(),
        });
    }
    if wanted.footprint {
        rows.extend(footprint(&lab, objects).await?);
    }
    if wanted.restart {
        rows.extend(restart(&mut lab, objects).await?);
    }
    if wanted.propagate {
        // Last, for it changes the objects.
        tell("floor: as many writes as Hansa made");
        // Operators would write their statuses again over those of the floor.
        lab.stop_operator(0);
        lab.stop_operator(1);
        let same = as_many_writes(&clients, each, federated, concurrency).await?;
        let how = format!(
            "{written} writes to the API servers by Hansa; floor: {} applies and {federated} statuses of federated objects by a plain client",
            objects * 2
        );
        rows.push(Row {
            name: "propagate-closed, per write".into(),
            value: closed.as_secs_f64(),
            unit: "s",
            floor: Some(same.as_secs_f64()),
            how,
        });
    }
    Ok(rows)
}

/// Plain server-side applies of every object to both members.
async fn plain_writes(
    clients: &[Client],
    namespace: &str,
    range: std::ops::Range<usize>,
    concurrency: usize,
) -> Result<Duration> {
    for client in clients {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        write(client, Method::Post, "/api/v1/namespaces", ContentType::Json, &body).await?;
    }
    let start = Instant::now();
    let work = KINDS
        .iter()
        .flat_map(|kind| range.clone().flat_map(move |index| clients.iter().map(move |client| (kind, index, client))));
    stream::iter(work)
        .map(|(kind, index, client)| async move {
            let path =
                format!("{}/namespaces/{namespace}/{}/object-{index}?fieldManager=plain", kind.root, kind.plural);
            write(client, Method::Patch, &path, ContentType::Apply, &kind.plain(namespace, index)).await
        })
        .buffer_unordered(concurrency)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(start.elapsed())
}

/// The concurrency at which a plain client is quickest here.
async fn best_concurrency(clients: &[Client], each: usize) -> Result<usize> {
    let mut best = (Duration::MAX, 0);
    for concurrency in [8, 16, 32, 64] {
        let took = plain_writes(clients, &format!("try-{concurrency}"), 0..each, concurrency).await?;
        best = best.min((took, concurrency));
    }
    Ok(best.1)
}

/// As many writes as Hansa made, by a plain client: the applies to both members, and as many statuses of
/// federated objects as Hansa wrote there. What is written is read beforehand, untimed.
async fn as_many_writes(clients: &[Client], each: usize, federated: u64, concurrency: usize) -> Result<Duration> {
    let home = &clients[0];
    let mut statuses = Vec::new();
    for kind in &KINDS {
        let collection = format!("{}/namespaces/bench/federated{}", kind.federated_root, kind.plural);
        for index in 0..each {
            let path = format!("{collection}/object-{index}");
            let mut object = read(home, &path).await?;
            let generation = object["status"]["observedGeneration"].as_u64().unwrap_or(1);
            object["status"]["observedGeneration"] = json!(generation + 1);
            let metadata = &object["metadata"];
            let body = json!({
                "apiVersion": object["apiVersion"],
                "kind": object["kind"],
                "metadata": {
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "resourceVersion": metadata["resourceVersion"],
                },
                "status": object["status"],
            });
            statuses.push((format!("{path}/status"), body));
        }
    }
    let applies = plain_writes(clients, "floor-closed", 0..each, concurrency).await?;
    let start = Instant::now();
    stream::iter(statuses.iter().take(federated as usize))
        .map(|(path, body)| write(home, Method::Put, path, ContentType::Json, body))
        .buffer_unordered(concurrency)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(applies + start.elapsed())
}

/// How many objects a collection has, from the head of a list.
async fn count(client: &Client, path: &str) -> Result<usize> {
    let list = read(client, &format!("{path}?limit=1")).await?;
    let first = list["items"].as_array().map_or(0, Vec::len);
    Ok(first + list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0) as usize)
}

/// Whether every federated object says that it is applied everywhere.
async fn all_closed(home: &Client) -> Result<bool> {
    for kind in &KINDS {
        let mut resume = String::new();
        loop {
            let path = format!("{}/namespaces/bench/federated{}?limit=500{resume}", kind.federated_root, kind.plural);
            let list = read(home, &path).await?;
            let applied = |object: &Value| {
                object["status"]["summary"]["applied"] == 2 && object["status"]["agreed"]["revision"] == 1
            };
            if !list["items"].as_array().is_some_and(|items| items.iter().all(applied)) {
                return Ok(false);
            }
            match list["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => resume = format!("&continue={}", hansa_operator::feed::percent_encode(token)),
                None => break,
            }
        }
    }
    Ok(true)
}

async fn footprint(lab: &Lab, objects: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for member in &lab.members {
        let process = member.operator.as_ref().context("the operator runs")?.id();
        let (_, now, most) = usage(process)?;
        let how = format!(
            "resident memory of {}'s operator with {objects} federated objects, after they were propagated; at most {most:.0} MiB",
            member.name
        );
        rows.push(Row { name: format!("footprint ({})", member.name), value: now, unit: "MiB", floor: None, how });
    }
    let topo = hansa_topo::open(&lab.topo_url, &hansa_topo::Options::default()).await?;
    let entries = topo.list("/v1/").await?;
    let bytes: usize = entries.iter().map(|entry| entry.key.len() + entry.versioned.value.len()).sum();
    let how =
        format!("{} keys, {bytes} bytes in the topology server (its process {})", entries.len(), lab.topo_process());
    rows.push(Row {
        name: "footprint: topo bytes".into(),
        value: bytes as f64 / objects as f64,
        unit: "B/object",
        floor: None,
        how,
    });
    let mut writes = 0;
    for index in 0..lab.members.len() {
        writes += lab.metrics(index).await?["topoWrites"].as_u64().unwrap_or(0);
    }
    let how = format!("{writes} writes to the topology server by all operators since their start");
    rows.push(Row {
        name: "footprint: topo writes".into(),
        value: writes as f64 / objects as f64,
        unit: "per object",
        floor: None,
        how,
    });
    Ok(rows)
}

async fn restart(lab: &mut Lab, objects: usize) -> Result<Vec<Row>> {
    tell("restarting an operator");
    let client = lab.members[0].client.clone();
    lab.idle(0).await?;
    lab.stop_operator(0);
    let before = requests(&client).await?;
    let start = Instant::now();
    lab.start_operator(0)?;
    lab.idle(0).await?;
    let took = start.elapsed();
    let process = lab.members[0].operator.as_ref().context("the operator runs")?.id();
    let (cpu, _, _) = usage(process)?;
    // Idle has to last: whatever the start left for later would show.
    let settled = Instant::now();
    eventually("ten seconds pass", async || Ok(settled.elapsed() > Duration::from_secs(10))).await?;
    lab.idle(0).await?;
    let served = requests(&client).await? - before;
    let how =
        format!("the home's operator restarted with {objects} federated objects; from the API server's own counters");
    Ok(vec![
        Row {
            name: "restart: writes".into(),
            value: served.writes as f64,
            unit: "writes",
            floor: None,
            how: how.clone(),
        },
        Row {
            name: "restart: requests".into(),
            value: served.all as f64,
            unit: "requests",
            floor: None,
            how: how.clone(),
        },
        Row { name: "restart: CPU".into(), value: cpu, unit: "s", floor: None, how: how.clone() },
        Row { name: "restart: until idle".into(), value: took.as_secs_f64(), unit: "s", floor: None, how },
    ])
}
