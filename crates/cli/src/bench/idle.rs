//! `idle`: leagues that have nothing to do, on a real etcd and on a real S3 server (versitygw).
//!
//! The operators are the production state machines, each with an API server of its own (kubesim's core) in this process.
//! On etcd a hundred of them spend ten minutes of simulated time, on S3 ten and fifty of them a minute of the machine's,
//! and so do ten and fifty on a quorum of three prefixes of that server. What they ask of the topology server is counted
//! at the trait that they ask it through, of a quorum at each of its stores.

mod counted;
mod league;

use super::{Report, Row, tell};
use anyhow::{Result, ensure};
use counted::{Bytes, Kind, Spent};
use hansa_controlplane::{Etcd, S3};
use hansa_topo::url::Secret;
use hansa_topo::{Operation, Options};
use league::{Clock, League, Server};
use std::path::Path;

/// The operator's default.
const HEARTBEAT_MS: u64 = 5_000;

/// For how long something is measured, and how long at least it comes to rest before.
struct Times {
    rest_ms: u64,
    measured_ms: u64,
}

/// On etcd, in simulated time.
const SIMULATED: Times = Times { rest_ms: 120_000, measured_ms: 600_000 };

/// On S3, in the machine's time. A handle takes half a minute to know heartbeats for what they are, and as long to look for
/// changes as seldom as it does in quiet times; and fifty who begin at once on a quorum need longer to say all that they
/// have to say, on a slow machine.
const REAL: Times = Times { rest_ms: 75_000, measured_ms: 60_000 };

/// For how long nobody writes a large object at rest.
const QUIET_MS: u64 = 30_000;

/// How long a league may take to come to rest.
const LONGEST_REST_MS: u64 = 600_000;

pub async fn run(scale: f64, report: &mut Report) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("hansa-bench-").tempdir()?;
    on_s3(scale, folder.path(), report).await?;
    report.add(on_etcd(scale, folder.path()).await?);
    Ok(())
}

async fn on_etcd(scale: f64, folder: &Path) -> Result<Vec<Row>> {
    // In smaller leagues than this, operators read each heartbeat by itself.
    let operators = ((100.0 * scale) as usize).max(6);
    let mut etcd = Etcd::start(folder, "topo", false)?;
    etcd.ready().await?;
    let url = format!("etcd://{}/idle", etcd.address);
    let server = Server { url, options: Options::default(), clock: Clock::Jumps };
    let spent = spend(operators, &server, "etcd", &SIMULATED).await?;
    told("idle", operators, 1, "simulated seconds on etcd", &SIMULATED, &spent)
}

async fn on_s3(scale: f64, folder: &Path, report: &mut Report) -> Result<()> {
    let mut server = match S3::start(folder, "s3") {
        Ok(server) => server,
        // Which is no reason to measure nothing else.
        Err(error) => {
            tell(&format!("idle on S3 is left out: {error:#}"));
            return Ok(());
        }
    };
    server.ready().await?;
    let on = |url: String| Server {
        url,
        options: Options { user: Some(S3::USER.into()), password: Some(Secret::new(S3::SECRET)), ..Options::default() },
        clock: Clock::Passes,
    };
    let store = |prefix: &str| format!("s3://{}/{prefix}?endpoint={}", S3::BUCKET, server.endpoint);
    let measured = |operators: usize, stores: usize| {
        let (name, url) = match stores {
            1 => ("S3", store(&format!("idle-{operators}"))),
            _ => {
                let stores: Vec<_> =
                    (0..stores).map(|number| store(&format!("idle-{operators}-of-{number}"))).collect();
                ("quorum of S3", format!("quorum:{}", stores.join(",")))
            }
        };
        let server = on(url);
        // A thread each: while one league is made, the other's time passes, too.
        let measured = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let spent = runtime.block_on(spend(operators, &server, name, &REAL))?;
            let (name, on) = (format!("idle ({name}, {operators})"), format!("seconds on {name} (versitygw)"));
            told(&name, operators, stores, &on, &REAL, &spent)
        });
        async { measured.await? }
    };
    let (small, large) = (10, (50.0 * scale) as usize);
    for stores in [1, 3] {
        let others = async { if large > small { measured(large, stores).await } else { Ok(Vec::new()) } };
        let (of_small, of_large) = futures::try_join!(measured(small, stores), others)?;
        report.add(of_small);
        report.add(of_large);
    }
    Ok(())
}

/// What a league's operators spend together while they are at rest.
async fn spend(operators: usize, server: &Server, name: &str, times: &Times) -> Result<Spent> {
    tell(&format!("{operators} operators come to rest on {name}"));
    let mut league = League::found(operators, server, HEARTBEAT_MS).await?;
    let rested_ms = come_to_rest(&mut league, times).await?;
    league.bear_no_failures();
    let before = league.spent();
    tell(&format!(
        "{operators} operators on {name} are at rest after {} s, and measured for {} s",
        rested_ms / 1_000,
        times.measured_ms / 1_000
    ));
    let mut measured_ms = 0;
    while measured_ms < times.measured_ms {
        measured_ms = times.measured_ms.min(measured_ms + 60_000);
        league.run_until(rested_ms + measured_ms).await?;
        tell(&format!("{operators} operators on {name}: {} of {} s", measured_ms / 1_000, times.measured_ms / 1_000));
    }
    let spent = league.spent() - before;
    league.all_come_to_rest(rested_ms + times.measured_ms + HEARTBEAT_MS).await?;
    Ok(spent)
}

/// Lets a league do what it has to do, and gives how long that took.
async fn come_to_rest(league: &mut League, times: &Times) -> Result<u64> {
    let mut rested_ms = times.rest_ms;
    league.run_until(rested_ms - QUIET_MS).await?;
    let mut written = written_to_large_objects(&league.spent());
    loop {
        league.run_until(rested_ms).await?;
        let now = written_to_large_objects(&league.spent());
        if now == written {
            return Ok(rested_ms);
        }
        ensure!(rested_ms < LONGEST_REST_MS, "the control document or pages are written after {rested_ms} ms, still");
        (written, rested_ms) = (now, rested_ms + QUIET_MS);
    }
}

fn written_to_large_objects(spent: &Spent) -> u64 {
    [Kind::Control, Kind::Page].map(|kind| spent.kind(kind).written).iter().sum()
}

fn told(
    name: &str,
    operators: usize,
    stores: usize,
    seconds_on: &str,
    times: &Times,
    spent: &Spent,
) -> Result<Vec<Row>> {
    let each = |count: u64| count as f64 / operators as f64;
    let at_each_store = |requests: u64| each(requests) / stores as f64;
    let seconds = times.measured_ms as f64 / 1e3;
    let beats = times.measured_ms as f64 / HEARTBEAT_MS as f64;
    let requests = spent.requests();
    let (read, written) = (spent.bytes(|bytes| bytes.read), spent.bytes(|bytes| bytes.written));
    ensure!(requests > 0 && written > 0, "an operator that is idle says that it lives");
    let by_kind = |of: fn(&Bytes) -> u64| {
        let told = Kind::ALL.map(|kind| format!("{} {:.1}", kind.name(), each(of(&spent.kind(kind))) / 1024.0));
        told.join(", ")
    };
    let kib = |count: u64| each(count) / 1024.0;
    let of = |operation| at_each_store(spent.operation(operation));
    let at = if stores == 1 { String::new() } else { format!(", at each of {stores} stores") };
    let how = format!(
        "each of {operators} operators in {seconds} {seconds_on}{at}, a heartbeat every {} s: {:.0} writes, {:.0} reads, \
         {:.1} watches opened or lists of names; floor: a write for each heartbeat",
        HEARTBEAT_MS / 1_000,
        of(Operation::CompareAndSwap) + of(Operation::Create),
        of(Operation::ReadMany) + of(Operation::Get) + of(Operation::List),
        of(Operation::Changes),
    );
    let row =
        |what: &str, value, unit, floor, how: String| Row { name: format!("{name}: {what}"), value, unit, floor, how };
    Ok(vec![
        row("requests", at_each_store(requests), "requests", Some(beats), how),
        row(
            "request rate",
            at_each_store(requests) / seconds,
            "1/s",
            Some(beats / seconds),
            "the same for each second; at most 1 is allowed; floor: the heartbeats alone".to_owned(),
        ),
        row(
            "bytes written",
            kib(written),
            "KiB",
            None,
            format!(
                "of keys and values, each operator in the same time, by what is written, in KiB: {}",
                by_kind(|b| b.written)
            ),
        ),
        row("bytes read", kib(read), "KiB", None, format!("the same of what is read: {}", by_kind(|bytes| bytes.read))),
        row(
            "large objects",
            written_to_large_objects(spent) as f64,
            "bytes",
            None,
            "bytes written to the control document and to pages by all of them: heartbeats stay out of them".to_owned(),
        ),
    ])
}
