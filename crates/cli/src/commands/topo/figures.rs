//! How fast a topology server was found to be.

use serde_json::{Value, json};
use std::time::Duration;

/// The durations of calls of one kind, in order of length.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Takes the durations in any order.
    pub fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Latencies(durations)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that this share of the calls did not exceed; none of no calls.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied()
    }
}

/// Swaps of one key by some writers at once.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Race {
    /// How many wrote.
    pub writers: usize,
    /// How many swaps were committed.
    pub committed: u64,
    /// How many found another's version.
    pub mismatches: u64,
    /// How many times the server asked to be called less often.
    pub throttled: u64,
    /// How long it took.
    pub took: Duration,
}

impl Race {
    /// Committed swaps a second.
    pub fn rate(&self) -> f64 {
        self.committed as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// All that was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Figures {
    /// Reads of one value.
    pub get: Latencies,
    /// New keys.
    pub create: Latencies,
    /// Swaps by a single writer.
    pub swap: Latencies,
    /// From a write to its being told at another handle.
    pub told: Latencies,
    /// Swaps a second, by number of writers.
    pub races: Vec<Race>,
}

impl Figures {
    /// The kinds of calls by name.
    pub fn calls(&self) -> [(&'static str, &Latencies); 4] {
        [("get", &self.get), ("create", &self.create), ("compare-and-swap", &self.swap), ("told", &self.told)]
    }

    /// As data; durations in milliseconds.
    pub fn to_json(&self) -> Value {
        let milliseconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64() * 1000.0);
        let calls = self.calls().map(|(name, latencies)| {
            json!({
                "name": name, "count": latencies.count(),
                "p50": milliseconds(latencies.quantile(0.5)), "p99": milliseconds(latencies.quantile(0.99)),
            })
        });
        let races = self.races.iter().map(|race| {
            json!({
                "writers": race.writers, "committedPerSecond": race.rate(), "committed": race.committed,
                "mismatches": race.mismatches, "throttled": race.throttled,
            })
        });
        json!({"calls": calls, "swaps": races.collect::<Vec<_>>()})
    }
}

/// A duration as people read it, with two digits.
pub fn shown(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    match milliseconds {
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 10_000.0 => format!("{:.1} s", ms / 1000.0),
        ms => format!("{:.0} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let of = |count: u64| Latencies::new((1..=count).rev().map(Duration::from_millis).collect());
        let at = |latencies: &Latencies, share| latencies.quantile(share).map(|duration| duration.as_millis());
        assert_eq!((at(&of(0), 0.5), at(&of(1), 0.5), at(&of(1), 0.99)), (None, Some(1), Some(1)));
        assert_eq!((at(&of(100), 0.5), at(&of(100), 0.99), at(&of(7), 1.0)), (Some(50), Some(99), Some(7)));
    }

    #[test]
    fn durations_have_two_digits() {
        let durations = [120, 4_321, 56_789, 1_234_567, 65_000_000].map(Duration::from_micros);
        assert_eq!(durations.map(shown), ["0.12 ms", "4.3 ms", "57 ms", "1.2 s", "65 s"]);
    }
}
