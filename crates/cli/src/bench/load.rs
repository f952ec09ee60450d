//! `load`: ten thousand objects read from a topology server, as a starting operator reads them.
//!
//! These are the control document and the pages: what is agreed. What each member says of it stands in as many status cells
//! again per member, which a start reads, too, one by one on an object store; `hansa topo cost` counts both.

use super::plain::{PlainEtcd, PlainS3, quickest};
use super::propagate::KINDS;
use super::{Row, median, tell};
use anyhow::{Context, Result, ensure};
use hansa_ballot::{Control, DEFAULT_PAGES, FederationHome};
use hansa_controlplane::{Etcd, S3};
use hansa_ledger::record::{Body, FORMAT, Home, Intent, Placed, PlacedState};
use hansa_ledger::{Envelope, Page, Record, Slot, Swap, keys};
use hansa_model::{Era, Hash, Incarnation, LeagueId, RecordKey, Revision, TypeName};
use hansa_topo::url::Secret;
use hansa_topo::{Options, Topo, open};
use serde_json::json;
use serde_json::value::to_raw_value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often everything is read.
const ROUNDS: usize = 5;

/// The most requests that reading ten thousand objects may take.
const MOST_REQUESTS: u64 = 300;

pub async fn run(scale: f64) -> Result<Vec<Row>> {
    let objects = ((10_000.0 * scale) as usize).max(20);
    let folder = tempfile::Builder::new().prefix("hansa-bench-").tempdir()?;
    let mut rows = Vec::new();

    let mut etcd = Etcd::start(folder.path(), "topo", true)?;
    etcd.ready().await?;
    let url = format!("etcd://{}/bench", etcd.address);
    fill(&*open(&url, &Options::default()).await?, objects).await?;
    let loaded = load(&url, &Options::default(), objects).await?;
    let plain = PlainEtcd::connect(&etcd.address).await?;
    let stored = plain.range(b"/bench/", b"/bench0").await?;
    tell("floor: a plain client");
    let mut whole = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        plain.range(b"/bench/", b"/bench0").await?;
        whole.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let keys: Vec<_> = stored.iter().map(|stored| stored.key.clone()).collect();
    let read = |key: bytes::Bytes| {
        let plain = plain.clone();
        async move {
            let found = plain.range(&key, b"").await?;
            Ok(found.first().context("what was written is there")?.value.len())
        }
    };
    let single = quickest(&keys, ROUNDS, read).await?;
    let (floor, best) = if median(whole.clone()) < ms(single.0) {
        (median(whole), "in one request".to_owned())
    } else {
        (ms(single.0), format!("one by one, {} at a time", single.1))
    };
    rows.extend(told("etcd", objects, &loaded, floor, &best));

    match S3::start(folder.path(), "s3") {
        // Which is no reason to measure nothing else.
        Err(error) => tell(&format!("load from S3 is left out: {error:#}")),
        Ok(mut server) => {
            server.ready().await?;
            let url = format!("s3://{}/bench?endpoint={}", S3::BUCKET, server.endpoint);
            let password = Some(Secret::new(S3::SECRET));
            let options = Options { user: Some(S3::USER.into()), password, ..Options::default() };
            fill(&*open(&url, &options).await?, objects).await?;
            let loaded = load(&url, &options, objects).await?;
            tell("floor: a plain client");
            let plain = Arc::new(PlainS3::new(&server)?);
            let names = plain.names().await?;
            let read = |name| {
                let plain = plain.clone();
                async move { plain.size(name).await }
            };
            let (floor, concurrency) = quickest(&names, ROUNDS, read).await?;
            rows.extend(told("S3", objects, &loaded, ms(floor), &format!("one by one, {concurrency} at a time")));
        }
    }
    Ok(rows)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

struct Loaded {
    requests: u64,
    bytes: u64,
    /// Until everything is read, in milliseconds.
    read: f64,
    /// Until every record is understood.
    understood: f64,
}

fn told(store: &str, objects: usize, loaded: &Loaded, floor: f64, best: &str) -> Vec<Row> {
    let kib = loaded.bytes / 1024;
    let how = format!("{objects} records in {DEFAULT_PAGES} pages, {kib} KiB; median of {ROUNDS}");
    let floor_how = format!("floor: the same values read by a plain client, {best}");
    let row = |what: &str, value, unit, floor, how: String| Row {
        name: format!("load ({store}){what}"),
        value,
        unit,
        floor,
        how,
    };
    vec![
        row("", loaded.read, "ms", Some(floor), format!("{how}; {floor_how}")),
        row(
            ": understood",
            loaded.understood,
            "ms",
            Some(floor),
            format!("the same, until every record is in memory; {floor_how}"),
        ),
        row(
            ": requests",
            loaded.requests as f64,
            "requests",
            None,
            format!("{how}; at most {MOST_REQUESTS} are allowed for 10,000"),
        ),
    ]
}

/// Writes a league of so many objects.
async fn fill(topo: &dyn Topo, objects: usize) -> Result<()> {
    tell(&format!("writing {objects} records in {DEFAULT_PAGES} pages to {}", topo.backend()));
    let spec = json!({"members": [{"name": "m1"}, {"name": "m2"}]});
    let home = FederationHome { member: "m1".parse()?, uid: "uid".to_owned(), generation: 1, hash: Hash::of(&spec) };
    let (league, control) = Control::found(to_raw_value(&spec)?.into(), home, DEFAULT_PAGES);
    let envelope = |nonce| Envelope::first(league, Era(1), nonce);
    create(topo, keys::CONTROL, envelope(1).seal(&control.to_vec())).await?;
    let mut pages = vec![Page::empty(); DEFAULT_PAGES as usize];
    for index in 0..objects {
        let (key, record) = record(index)?;
        let page = &mut pages[key.page(DEFAULT_PAGES) as usize];
        page.records.insert(key, Slot::Known(Arc::new(record)));
    }
    for (number, page) in pages.iter().enumerate() {
        let sealed = envelope(number as u64).seal(&page.to_vec());
        create(topo, &keys::page(u32::try_from(number)?), sealed).await?;
    }
    Ok(())
}

async fn create(topo: &dyn Topo, key: &str, value: bytes::Bytes) -> Result<()> {
    let swap = topo.create(key, value).await?;
    ensure!(matches!(swap, Swap::Committed(_)), "{key} could not be made: {swap:?}");
    Ok(())
}

/// One object as it stands in its page: a ConfigMap or a Deployment, in two members.
fn record(index: usize) -> Result<(RecordKey, Record)> {
    let kind = &KINDS[index % KINDS.len()];
    let key = RecordKey::new(TypeName::new(kind.plural, kind.group())?, "bench", &format!("object-{index}"));
    let spec = json!({"template": kind.template(index), "placement": {"memberSelector": {}}});
    let (m1, m2) = ("m1".parse::<hansa_model::MemberName>()?, "m2".parse()?);
    let hash = Hash::of(&spec);
    let uid = format!("00000000-0000-4000-8000-{index:012}");
    let home = Home { uid, generation: 1, hash, revision: Revision(1) };
    let placed = || Placed { state: PlacedState::Placed, incarnation: Incarnation(1) };
    let record = Record {
        format: FORMAT,
        incarnation: Incarnation(1),
        revision: Revision(1),
        intent: Intent { hash, author: m1.clone(), body: Body::Inline(to_raw_value(&spec)?.into()), signature: None },
        homes: [(m1.clone(), home)].into_iter().collect(),
        moving: None,
        former: Default::default(),
        placed: [(m1, placed()), (m2, placed())].into_iter().collect(),
        tombstone: None,
        opened: None,
        sealed: None,
    };
    Ok((key, record))
}

/// Reads all of it with a new handle, several times.
async fn load(url: &str, options: &Options, objects: usize) -> Result<Loaded> {
    let (mut read, mut understood, mut usage) = (Vec::new(), Vec::new(), Default::default());
    for _ in 0..ROUNDS {
        let topo = open(url, options).await?;
        let start = Instant::now();
        let mut entries = Vec::new();
        for prefix in [keys::CONTROL, keys::PAGES] {
            entries.extend(topo.list(prefix).await?);
        }
        read.push(ms(start.elapsed()));
        let mut found = 0;
        let mut league: Option<LeagueId> = None;
        for entry in &entries {
            let (envelope, body) = Envelope::open(&entry.versioned.value)?;
            envelope.belongs_to(*league.get_or_insert(envelope.league))?;
            if entry.key == keys::CONTROL {
                Control::from_slice(&body)?;
            } else {
                found += Page::from_slice(&body)?.records.values().filter(|slot| slot.record().is_some()).count();
            }
        }
        understood.push(ms(start.elapsed()));
        ensure!(found == objects, "{found} of {objects} records were read");
        usage = topo.usage().total();
    }
    Ok(Loaded { requests: usage.requests, bytes: usage.read_bytes, read: median(read), understood: median(understood) })
}
