//! `ballot-calls-N` and `merge`, `decide` in microseconds: what agreement costs without a network.

use super::{Row, median, tell};
use anyhow::{Result, ensure};
use hansa_ballot::cell::merge;
use hansa_ballot::contention::{Cost, calls_per_decision, crowded};
use hansa_ballot::decide::{decide, tally, verified};
use hansa_ballot::{Ballots, Verifier};
use std::hint::black_box;
use std::time::Instant;

const ROUND_TRIP_MS: u64 = 50;

/// Calls for one decision of so many voters, and the most that are allowed.
pub fn calls(voters: u32, most: u32, scale: f64) -> Vec<Row> {
    let seeds = ((20.0 * scale) as u64).max(3);
    tell(&format!("{seeds} simulated decisions of {voters} voters"));
    let costs: Vec<Cost> = (0..seeds).map(|seed| calls_per_decision(voters, ROUND_TRIP_MS, seed)).collect();
    let mean = |of: fn(&Cost) -> u64| costs.iter().map(of).sum::<u64>() as f64 / seeds as f64;
    let name = format!("ballot-calls-{voters}");
    let how = format!(
        "mean of {seeds} seeds, simulated time: {voters} voters decide one key at the same moment at a round trip of \
         {ROUND_TRIP_MS} ms; calls until it is stored and nobody has a call to make; at most {most} are allowed; \
         floor: a quorum's writes, one after the other"
    );
    let quorum = f64::from(voters / 2 + 1);
    let row = |what: &str, value: f64, unit, floor, how: &str| Row {
        name: format!("{name}{what}"),
        value,
        unit,
        floor: Some(floor),
        how: how.to_owned(),
    };
    let quorum_s = quorum * ROUND_TRIP_MS as f64 / 1e3;
    let known = "the same, with the reads of those who had voted before, when changes tell them to look; \
                 floor: one call of each voter";
    vec![
        row("", mean(|cost| cost.calls.into()), "calls", quorum, &how),
        row(": completion", mean(|cost| cost.completion_ms) / 1e3, "s", quorum_s, "simulated time, as above"),
        row(": until all know", mean(|cost| cost.calls_until_known.into()), "calls", f64::from(voters), known),
    ]
}

/// Merge and decide at 100 operators, on this machine's processor.
pub fn pure(scale: f64) -> Result<Vec<Row>> {
    const VOTERS: u32 = 100;
    let rounds = ((1_000.0 * scale) as usize).max(20);
    tell(&format!("{rounds} merges and decisions of a document with {VOTERS} cells"));
    let (league, ballots) = crowded(VOTERS);
    let bytes = ballots.to_vec();
    let verifier = Verifier::default();
    let cells = verified(&ballots, league, &verifier);
    ensure!(cells.len() == VOTERS as usize, "{} of {VOTERS} cells are valid", cells.len());
    let read = time(rounds, || black_box(Ballots::from_slice(black_box(&bytes))).is_ok());
    let written = time(rounds, || !black_box(ballots.to_vec()).is_empty());
    let merged = time(rounds, || {
        let mut merged = cells.clone();
        merge(&mut merged, black_box(&cells));
        merged.len() == cells.len()
    });
    let decided = time(rounds, || decide(&ballots, &tally(black_box(&ballots), league, &verifier)).is_empty());
    let cold = time(rounds.min(20), || tally(black_box(&ballots), league, &Verifier::default()).rejected.is_empty());
    let size = bytes.len() / 1024;
    let row = |name: &str, value, floor, how: String| Row { name: name.into(), value, unit: "µs", floor, how };
    let votes = VOTERS - 1;
    Ok(vec![
        row(
            "merge (100 operators)",
            merged,
            Some(written),
            format!("median of {rounds}: two sets of {VOTERS} cells; floor: writing the same document, {size} KiB"),
        ),
        row(
            "decide (100 operators)",
            decided,
            Some(read),
            format!(
                "median of {rounds}: counting {VOTERS} cells and {votes} votes, all seen before; floor: reading the \
                 same document, {size} KiB"
            ),
        ),
        row(
            "decide (100 operators), unseen",
            cold,
            None,
            format!("the same with {VOTERS} cells and {votes} votes whose signatures were not verified before"),
        ),
    ])
}

/// The median time of something that must come out as it should, in microseconds.
fn time(rounds: usize, mut what: impl FnMut() -> bool) -> f64 {
    let took = (0..rounds).map(|_| {
        let start = Instant::now();
        assert!(what(), "what is measured came out otherwise");
        start.elapsed().as_secs_f64() * 1e6
    });
    median(took.collect())
}
