//! What a decision costs when everybody votes at once: real proposers over a register with a round
//! trip, simulated from a seed.

use crate::candidate::Rule;
use crate::document::Ballots;
use crate::key::Epoch;
use crate::motion::{Accept, Answer, Motion};
use crate::proposer::{Act, Config, Event, Notes, Proposer, Told};
use crate::signing::{Signer, Verifier};
use crate::voters::{Voter, Voters};
use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use hansa_model::{Hash, Incarnation, LeagueId, MemberName};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one decision cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Calls of the topology server, by all voters together, until each of them knows the decision.
    pub calls: u32,
    /// When the decision was stored, in milliseconds since all began.
    pub decided_ms: u64,
    /// When the last voter knew it.
    pub completion_ms: u64,
}

/// Lets `voters` voters, who all hold the newest document, decide one key at the same moment, over a
/// topology server with this round trip (± 5 %). The same seed gives the same answer.
///
/// # Panics
/// When `voters` is 0 or more than a document takes.
pub fn calls_per_decision(voters: u32, round_trip_ms: u64, seed: u64) -> Cost {
    let mut world = World::new(voters, round_trip_ms, seed);
    world.read();
    world.calls = 0;
    world.decide()
}

/// The name, the secret key and the identity of a simulated voter.
fn identity(number: u32) -> (Signer, Voter) {
    let name: MemberName = format!("member-{number:03}").parse().expect("a DNS label");
    let signer = Signer::new(name, *Hash::of_bytes(&number.to_le_bytes()).as_bytes());
    let voter = Voter { key: signer.public(), uid: format!("uid-{number}"), witness: false };
    (signer, voter)
}

struct World {
    proposers: Vec<Proposer<Ballots>>,
    stored: Option<(u64, Bytes)>,
    now_ms: u64,
    round_trip_ms: u64,
    state: u64,
    calls: u32,
    events: BTreeMap<(u64, u64), (usize, Item)>,
    sequence: u64,
    decided_ms: Option<u64>,
}

enum Item {
    /// A call arrives at the topology server.
    Arrives(Act),
    /// An event reaches its proposer.
    Reaches(Event),
}

impl World {
    fn new(voters: u32, round_trip_ms: u64, seed: u64) -> Self {
        let identities: Vec<(Signer, Voter)> = (0..voters).map(identity).collect();
        let set = identities.iter().map(|(signer, voter)| (signer.member().clone(), voter.clone())).collect();
        let founding = Ballots::found(Voters::found(set, BTreeMap::new()), 0);
        let verifier = Verifier::default();
        let proposers = identities.into_iter().map(|(signer, voter)| {
            let config = Config {
                league: LeagueId(Hash::of_bytes(b"contention")),
                signer,
                uid: voter.uid,
                incarnation: Incarnation(1),
                notes: Notes::default(),
                round_trip_ms,
                founding: Some(founding.clone()),
            };
            Proposer::new(config).with_verifier(verifier.clone())
        });
        World {
            proposers: proposers.collect(),
            stored: None,
            now_ms: 0,
            round_trip_ms,
            state: seed,
            calls: 0,
            events: BTreeMap::new(),
            sequence: 0,
            decided_ms: None,
        }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn at(&mut self, at_ms: u64, proposer: usize, item: Item) {
        self.sequence += 1;
        self.events.insert((at_ms, self.sequence), (proposer, item));
    }

    fn one_way_ms(&mut self) -> u64 {
        let spread = self.round_trip_ms / 20;
        self.round_trip_ms / 2 - spread / 2 + self.random() % (spread + 1)
    }

    fn step(&mut self, proposer: usize, event: Event) {
        let entropy = self.random();
        for act in self.proposers[proposer].step(event, self.now_ms, entropy) {
            match act {
                Act::Persist(_) => self.at(self.now_ms, proposer, Item::Reaches(Event::Persisted)),
                Act::Wake { at_ms } => self.at(at_ms, proposer, Item::Reaches(Event::Woke)),
                call => {
                    self.calls += 1;
                    let arrives = self.now_ms + self.one_way_ms();
                    self.at(arrives, proposer, Item::Arrives(call));
                }
            }
        }
    }

    fn serve(&mut self, call: Act) -> Event {
        let current = || {
            let stored = self.stored.as_ref();
            stored
                .map(|(version, value)| Versioned { version: Version::new(version.to_string()), value: value.clone() })
        };
        match call {
            Act::Write { expected, value } if expected == current().map(|current| current.version) => {
                let version = self.stored.as_ref().map_or(1, |(version, _)| version + 1);
                self.stored = Some((version, value));
                Event::Swapped(Swap::Committed(Version::new(version.to_string())))
            }
            Act::Write { .. } => Event::Swapped(Swap::Mismatch { current: current() }),
            _ => Event::Read(current()),
        }
    }

    /// Runs until `done` of the events that reached a proposer says so, or nothing is left to happen.
    fn run(&mut self, mut done: impl FnMut(&mut Self, usize) -> bool) {
        while let Some(((at_ms, _), (proposer, item))) = self.events.pop_first() {
            self.now_ms = at_ms;
            match item {
                Item::Arrives(call) => {
                    let answer = self.serve(call);
                    let reaches = at_ms + self.one_way_ms();
                    self.at(reaches, proposer, Item::Reaches(answer));
                }
                Item::Reaches(event) => {
                    self.step(proposer, event);
                    if done(self, proposer) {
                        return;
                    }
                }
            }
        }
    }

    /// Makes the document, and lets everybody read it.
    fn read(&mut self) {
        self.proposers[0].want(Motion::Speak { level: 1 });
        self.step(0, Event::Wanted);
        self.run(|_, _| false);
        for proposer in 1..self.proposers.len() {
            self.step(proposer, Event::Wanted);
        }
        self.run(|_, _| false);
    }

    fn decide(&mut self) -> Cost {
        let value: Arc<RawValue> = RawValue::from_string(r#""yes""#.to_owned()).expect("JSON").into();
        let key: crate::Key = "decision".parse().expect("a key");
        let begun_ms = self.now_ms;
        for proposer in 0..self.proposers.len() {
            let (key, value) = (key.clone(), Arc::clone(&value));
            let motion = Motion::Decide { key, after: Epoch(0), value, rule: Rule::Quorum, accept: Accept::Any };
            self.proposers[proposer].want(motion);
            self.step(proposer, Event::Wanted);
        }
        let mut waiting = self.proposers.len();
        let mut completion_ms = begun_ms;
        self.run(|world, proposer| {
            for told in world.proposers[proposer].told() {
                if let Told::Answer(_, Answer::Decided(_)) = told {
                    waiting -= 1;
                    completion_ms = world.now_ms;
                    world.decided_ms.get_or_insert(world.now_ms);
                }
            }
            false
        });
        // Who voted early hears of the decision from the topology server's changes, which cost no call
        // for each of them; who has not, by its own attempt.
        Cost {
            calls: self.calls,
            decided_ms: self.decided_ms.unwrap_or(self.now_ms) - begun_ms,
            completion_ms: completion_ms - begun_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_costs_few_calls_however_many_vote_at_once() {
        for (voters, most) in [(1, 1), (2, 3), (3, 5), (10, 23), (50, 130)] {
            let costs: Vec<Cost> = (0..20).map(|seed| calls_per_decision(voters, 50, seed)).collect();
            let mean = |of: fn(&Cost) -> u64| costs.iter().map(of).sum::<u64>() as f64 / costs.len() as f64;
            let calls = mean(|cost| cost.calls.into());
            println!(
                "{voters} voters: {calls:.1} calls (at most {}), decided after {:.0} ms, known to all after {:.0} ms",
                costs.iter().map(|cost| cost.calls).max().unwrap_or_default(),
                mean(|cost| cost.decided_ms),
                mean(|cost| cost.completion_ms),
            );
            assert!(calls <= f64::from(most), "{voters} voters: {calls} calls, {most} are allowed");
        }
        assert_eq!(calls_per_decision(10, 50, 7), calls_per_decision(10, 50, 7));
    }
}
