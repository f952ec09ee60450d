//! `idle`: a league of a hundred operators that has nothing to do, for ten minutes of simulated time on a real etcd.
//!
//! The operators are the production state machines, each with an API server of its own (kubesim's core) in this process;
//! time jumps to whatever is due next once every call is answered and every change told. What they ask of the topology
//! server is counted at the trait that they ask it through.

mod counted;
mod league;

use super::{Row, tell};
use anyhow::{Result, ensure};
use counted::{Bytes, Kind};
use hansa_controlplane::Etcd;
use hansa_topo::Operation;
use league::League;

/// The operator's default.
const HEARTBEAT_MS: u64 = 5_000;

/// How long it is measured, in simulated time.
const MEASURED_MS: u64 = 600_000;

/// How long the league may take to come to rest before.
const REST_MS: u64 = 120_000;

pub async fn run(scale: f64) -> Result<Vec<Row>> {
    // In smaller leagues than this, operators read each heartbeat by itself.
    let operators = ((100.0 * scale) as usize).max(6);
    let folder = tempfile::Builder::new().prefix("hansa-bench-").tempdir()?;
    let mut etcd = Etcd::start(folder.path(), "topo", false)?;
    etcd.ready().await?;
    tell(&format!("{operators} operators come to rest on etcd"));
    let mut league = League::found(operators, &format!("etcd://{}/idle", etcd.address), HEARTBEAT_MS).await?;
    league.run_until(REST_MS).await?;
    let before = league.spent();
    tell(&format!("{} simulated minutes", MEASURED_MS / 60_000));
    league.run_until(REST_MS + MEASURED_MS).await?;
    let spent = league.spent() - before;
    league.all_are_at_rest()?;

    let each = |count: u64| count as f64 / operators as f64;
    let seconds = MEASURED_MS as f64 / 1e3;
    let beats = MEASURED_MS as f64 / HEARTBEAT_MS as f64;
    let requests = spent.requests();
    let (read, written) = (spent.bytes(|bytes| bytes.read), spent.bytes(|bytes| bytes.written));
    ensure!(requests > 0 && written > 0, "an operator that is idle says that it lives");
    let by_kind = |of: fn(&Bytes) -> u64| {
        let told = Kind::ALL.map(|kind| format!("{} {:.1}", kind.name(), each(of(&spent.kind(kind))) / 1024.0));
        told.join(", ")
    };
    let kib = |count: u64| each(count) / 1024.0;
    let of = |operation| each(spent.operation(operation));
    let how = format!(
        "each of {operators} operators in {} simulated minutes on etcd, a heartbeat every {} s: {:.0} writes, {:.0} \
         reads, {:.1} watches opened; floor: a write for each heartbeat",
        MEASURED_MS / 60_000,
        HEARTBEAT_MS / 1_000,
        of(Operation::CompareAndSwap) + of(Operation::Create),
        of(Operation::ReadMany) + of(Operation::Get) + of(Operation::List),
        of(Operation::Changes),
    );
    let large = [Kind::Control, Kind::Page].map(|kind| spent.kind(kind));
    let row = |name: &str, value, unit, floor, how: String| Row { name: name.into(), value, unit, floor, how };
    Ok(vec![
        row("idle: requests", each(requests), "requests", Some(beats), how),
        row(
            "idle: request rate",
            each(requests) / seconds,
            "1/s",
            Some(beats / seconds),
            "the same for each second; at most 1 is allowed; floor: the heartbeats alone".to_owned(),
        ),
        row(
            "idle: bytes written",
            kib(written),
            "KiB",
            None,
            format!(
                "of keys and values, each operator in the same time, by what is written, in KiB: {}",
                by_kind(|b| b.written)
            ),
        ),
        row(
            "idle: bytes read",
            kib(read),
            "KiB",
            None,
            format!("the same of what is read: {}", by_kind(|bytes| bytes.read)),
        ),
        row(
            "idle: large objects",
            large.iter().map(|bytes| bytes.written).sum::<u64>() as f64,
            "bytes",
            None,
            "bytes written to the control document and to pages by all of them: heartbeats stay out of them".to_owned(),
        ),
    ])
}
