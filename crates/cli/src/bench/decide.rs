//! `decide`: what one decision costs on etcd, against a raw compare-and-swap of the same bytes.

use super::plain::PlainEtcd;
use super::{Row, median, quantile, tell};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hansa_controlplane::Etcd;
use hansa_topo::agree::{Agreement, Decision, Options, Outcome, Rule, Signer, Vote, founders};
use hansa_topo::{Operation, Topo, open};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub async fn run(scale: f64) -> Result<Vec<Row>> {
    let rounds = ((300.0 * scale) as usize).max(20);
    let folder = tempfile::Builder::new().prefix("hansa-bench-").tempdir()?;
    let mut etcd = Etcd::start(folder.path(), "topo", true)?;
    etcd.ready().await?;
    let plain = PlainEtcd::connect(&etcd.address).await?;
    tell(&format!("{rounds} decisions of two voters on etcd"));
    let without = measure(&etcd, &plain, "plain", None, rounds).await?;
    let notes = folder.path().join("notes.json");
    let with = measure(&etcd, &plain, "noted", Some(notes), rounds).await?;
    let how = format!(
        "{rounds} decisions on a real etcd with fsync, {} bytes each: the call of the voter whose vote completes the \
         quorum; {:.2} requests each; floor: a raw compare-and-swap of the same bytes, in turn with it",
        without.bytes, without.requests
    );
    let row = |name: &str, value, floor, how: &str| Row {
        name: name.into(),
        value,
        unit: "ms",
        floor: Some(floor),
        how: how.into(),
    };
    let noted = "the same with notes in a file, which are made durable twice: before the vote is sent and before the \
                 decision is told";
    Ok(vec![
        row("decide (median)", median(without.decided.clone()), median(without.raw.clone()), &how),
        row("decide (p99)", quantile(without.decided.clone(), 0.99), quantile(without.raw.clone(), 0.99), &how),
        row(
            "decide: known to the other",
            median(without.known),
            median(without.raw),
            "median; until the voter that had voted before knows the decision: told of the change, it reads",
        ),
        row("decide, with notes (median)", median(with.decided), median(with.raw), noted),
    ])
}

/// Times in milliseconds.
struct Measured {
    decided: Vec<f64>,
    known: Vec<f64>,
    raw: Vec<f64>,
    /// Of the last value.
    bytes: usize,
    /// Of the deciding voter, for each decision, but for waiting for changes.
    requests: f64,
}

async fn measure(
    etcd: &Etcd,
    plain: &PlainEtcd,
    space: &str,
    notes: Option<PathBuf>,
    rounds: usize,
) -> Result<Measured> {
    let url = format!("etcd://{}/{space}", etcd.address);
    let signers = ["one", "two"].map(|name| Signer::new(name.parse().expect("a name"), [name.as_bytes()[0]; 32]));
    let voters = founders(signers.iter().map(|signer| (signer.member().clone(), signer.public())));
    let join = async |signer: &Signer, notes: Option<PathBuf>| -> Result<(Arc<dyn Topo>, Agreement)> {
        let topo = open(&url, &hansa_topo::Options::default()).await?;
        let options = Options { notes, ..Options::new("bench", signer.clone(), voters.clone()) };
        Ok((topo.clone(), Agreement::open(topo, options).await?))
    };
    let (_, first) = join(&signers[0], None).await?;
    let (topo, last) = join(&signers[1], notes).await?;
    let raw_key = format!("/{space}-raw");
    let mut measured = Measured { decided: Vec::new(), known: Vec::new(), raw: Vec::new(), bytes: 0, requests: 0.0 };
    let (mut before, mut revision): (Option<Decision>, i64) = (None, 0);
    let mut asked = 0;
    for round in 0..rounds {
        let vote = || -> Result<Vote> {
            let vote = Vote::value(&round)?;
            Ok(before.as_ref().map_or(vote.clone(), |before| vote.after(before)))
        };
        // It waits for the other one's vote, on a task of its own.
        let (other, opening) = (first.clone(), vote()?);
        let hears = tokio::spawn(async move { (other.decide("key", opening, Rule::Quorum).await, Instant::now()) });
        let epoch = before.as_ref().map_or(0, |before| before.epoch.0);
        shows(&last, epoch).await?;
        let counted = requests(&*topo);
        let start = Instant::now();
        let decision = last.decide("key", vote()?, Rule::Quorum).await?;
        measured.decided.push(ms(start.elapsed()));
        asked += requests(&*topo) - counted;
        ensure!(decision.outcome == Outcome::Adopted, "{decision:?}");
        let (heard, at) = hears.await?;
        ensure!(heard?.epoch == decision.epoch, "both know the same decision");
        measured.known.push(ms(at.duration_since(start)));
        before = Some(decision);

        let stored = plain.range(format!("/{space}/v1/ballots").as_bytes(), b"").await?;
        let value: Bytes = stored.first().context("the ballots are stored")?.value.clone();
        measured.bytes = value.len();
        let start = Instant::now();
        revision = plain.swap(&raw_key, revision, value).await?;
        measured.raw.push(ms(start.elapsed()));
    }
    measured.requests = asked as f64 / rounds as f64;
    Ok(measured)
}

/// Waits until a voter has heard that the key is asked anew.
async fn shows(agreement: &Agreement, decided: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if agreement.document().is_some_and(|ballots| ballots.open.values().any(|open| open.epoch.0 > decided)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "a voter did not hear of the other's vote");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn requests(topo: &dyn Topo) -> u64 {
    let usage = topo.usage();
    usage.total().requests - usage.of(Operation::Changes).requests
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
