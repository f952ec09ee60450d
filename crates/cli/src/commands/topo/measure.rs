//! Measuring a topology server: the calls that a league makes, on keys of their own below `/check`.

use super::figures::{Figures, Latencies, Race};
use super::plain;
use anyhow::bail;
use hansa_topo::{Category, Changes, Swap, Topo, TopoError, Version};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At most so many calls of each kind…
const CALLS: usize = 100;
/// …and so much time for each.
const TIME: Duration = Duration::from_secs(3);
/// New keys stay for ever.
const CREATES: usize = 10;
/// Each time takes as long as the server needs to tell of a change.
const TOLD: usize = 5;
const VALUE_BYTES: usize = 4_000;

/// Measures through `handles`, of which there are as many as writers in the greatest race. `run` tells
/// apart the keys of one measuring; `progress` is told what is measured next.
pub async fn measure(handles: &[Arc<dyn Topo>], run: u64, progress: impl Fn(&str)) -> anyhow::Result<Figures> {
    let [topo, .., other] = handles else { bail!("two handles are needed") };
    progress("creating keys");
    let mut creates = Vec::new();
    let mut newest = Version::new("");
    for n in 0..CREATES {
        let began = Instant::now();
        newest = committed(topo.create(&key(run, n), value(n as u64)).await)?;
        creates.push(began.elapsed());
    }
    let key = key(run, CREATES - 1);
    progress("reading");
    let mut gets = Vec::new();
    let until = Instant::now() + TIME;
    while gets.len() < CALLS && Instant::now() < until {
        let began = Instant::now();
        topo.get(&key).await.map_err(plain)?;
        gets.push(began.elapsed());
    }
    progress("swapping");
    let mut swaps = Vec::new();
    let began = Instant::now();
    let mut throttled = 0;
    while swaps.len() < CALLS && began.elapsed() < TIME {
        let sent = Instant::now();
        match topo.compare_and_swap(&key, &newest, value(swaps.len() as u64)).await {
            Err(error) if error.category() == Category::Throttled => {
                throttled += 1;
                tokio::time::sleep(pause(&error)).await;
            }
            outcome => {
                newest = committed(outcome)?;
                swaps.push(sent.elapsed());
            }
        }
    }
    let committed = swaps.len() as u64;
    let alone = Race { writers: 1, committed, mismatches: 0, throttled, took: began.elapsed() };
    progress("racing on one key");
    let race = race(handles, &key).await?;
    progress("waiting for changes");
    let told = told(&**topo, &**other, &key).await?;
    let [gets, creates, swaps, told] = [gets, creates, swaps, told].map(Latencies::new);
    Ok(Figures { get: gets, create: creates, swap: swaps, told, races: vec![alone, race] })
}

fn key(run: u64, n: usize) -> String {
    format!("/check/{run:016x}/{n}")
}

fn value(n: u64) -> bytes::Bytes {
    let mut value = n.to_be_bytes().to_vec();
    value.resize(VALUE_BYTES, b'.');
    value.into()
}

fn pause(error: &TopoError) -> Duration {
    error.wait().unwrap_or(Duration::from_millis(100)).min(Duration::from_secs(1))
}

/// The version of a write that nobody else can have disturbed.
fn committed(outcome: Result<Swap, TopoError>) -> anyhow::Result<Version> {
    match outcome.map_err(plain)? {
        Swap::Committed(version) => Ok(version),
        Swap::Indeterminate { reason } => {
            bail!("a write is of unknown fate ({reason}): measure again when the server is well")
        }
        Swap::Mismatch { .. } => bail!("somebody else writes the keys of this measuring; that should not be"),
    }
}

/// Every handle swaps one key as fast as it can.
async fn race(handles: &[Arc<dyn Topo>], key: &str) -> anyhow::Result<Race> {
    let began = Instant::now();
    let writers = handles.iter().cloned().enumerate().map(|(me, topo)| {
        let key = key.to_owned();
        tokio::spawn(async move {
            let mut sum = Race { writers: 1, committed: 0, mismatches: 0, throttled: 0, took: Duration::ZERO };
            let mut standing = None;
            while began.elapsed() < TIME {
                let outcome = match standing.take() {
                    None => topo.get(&key).await.map(|found| found.map(|found| found.version)),
                    Some(version) => match topo.compare_and_swap(&key, &version, value(me as u64)).await {
                        Ok(Swap::Committed(version)) => {
                            sum.committed += 1;
                            Ok(Some(version))
                        }
                        Ok(Swap::Mismatch { current }) => {
                            sum.mismatches += 1;
                            Ok(current.map(|current| current.version))
                        }
                        // Read again: this is no league, nothing hangs on this write's fate.
                        Ok(Swap::Indeterminate { .. }) => Ok(None),
                        Err(error) => Err(error),
                    },
                };
                match outcome {
                    Ok(version) => standing = version,
                    Err(error) if error.is_retryable() => {
                        sum.throttled += u64::from(error.category() == Category::Throttled);
                        tokio::time::sleep(pause(&error)).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(sum)
        })
    });
    let mut sum = Race { writers: handles.len(), committed: 0, mismatches: 0, throttled: 0, took: Duration::ZERO };
    for writer in writers.collect::<Vec<_>>() {
        let one = writer.await?.map_err(plain)?;
        sum.committed += one.committed;
        sum.mismatches += one.mismatches;
        sum.throttled += one.throttled;
    }
    Ok(Race { took: began.elapsed(), ..sum })
}

/// How long it takes until one handle is told what another one has written.
async fn told(follower: &dyn Topo, writer: &dyn Topo, key: &str) -> anyhow::Result<Vec<Duration>> {
    let mut durations = Vec::new();
    let mut cursor = follower.changes(None).await.map_err(plain)?.cursor().clone();
    for n in 0..TOLD {
        let Some(found) = writer.get(key).await.map_err(plain)? else { bail!("{key}: it is gone") };
        let began = Instant::now();
        let written = async {
            let outcome = writer.compare_and_swap(key, &found.version, value(n as u64)).await;
            committed(outcome)
        };
        let following = async {
            loop {
                let changes = follower.changes(Some(&cursor)).await.map_err(plain)?;
                cursor = changes.cursor().clone();
                let is_told = match &changes {
                    Changes::Keys { keys, .. } => keys.get(key).is_some_and(|version| *version != found.version),
                    Changes::Reset { .. } => true,
                };
                if is_told {
                    return anyhow::Ok(());
                }
            }
        };
        futures::future::try_join(written, following).await?;
        durations.push(began.elapsed());
    }
    Ok(durations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_topo::{Options, open};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_figure_is_taken() {
        let mut handles = Vec::new();
        for _ in 0..4 {
            handles.push(open("memory:cli-measure", &Options::default()).await.unwrap());
        }
        let said = std::sync::Mutex::new(0);
        let figures = measure(&handles, 7, |_| *said.lock().unwrap() += 1).await.unwrap();
        let counts = figures.calls().map(|(_, latencies)| latencies.count());
        assert_eq!((counts, *said.lock().unwrap()), ([CALLS, CREATES, CALLS, TOLD], 5));
        let [alone, race] = figures.races[..] else { panic!("{:?}", figures.races) };
        assert_eq!((alone.writers, alone.committed, race.writers), (1, CALLS as u64, 4));
        assert!(race.committed > 0 && race.throttled == 0, "{race:?}");
        // Once more, on keys of its own.
        measure(&handles, 8, |_| ()).await.unwrap();
    }
}
