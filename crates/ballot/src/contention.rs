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
use hansa_ledger::{Envelope, Swap, Version, Versioned};
use hansa_model::{Hash, Incarnation, LeagueId, MemberName, SplitMix64};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one decision cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Calls of the topology server, by all voters together, until the decision is stored and every voter's own
    /// attempt has ended. Who voted before it was stored has not heard of it by then.
    pub calls: u32,
    /// When the decision was stored, in milliseconds since all began.
    pub decided_ms: u64,
    /// When the last of those attempts ended.
    pub completion_ms: u64,
    /// Calls until every voter knows the decision, when the topology server tells all of them at each write
    /// that the document changed, and they read it to see how.
    pub calls_until_known: u32,
    /// When the last voter knows it then.
    pub known_ms: u64,
}

/// Lets `voters` voters, who all hold the newest document, decide one key at the same moment, over a
/// topology server with this round trip (± 5 %). The same seed gives the same answer.
///
/// # Panics
/// When `voters` is 0 or more than a document takes.
pub fn calls_per_decision(voters: u32, round_trip_ms: u64, seed: u64) -> Cost {
    let alone = decide(voters, round_trip_ms, seed, false);
    let told = decide(voters, round_trip_ms, seed, true);
    Cost {
        calls: alone.calls,
        decided_ms: alone.decided_ms,
        completion_ms: alone.completion_ms,
        calls_until_known: told.calls,
        known_ms: told.completion_ms,
    }
}

/// One decision, in a world in which changes are told, or not.
struct Course {
    calls: u32,
    decided_ms: u64,
    completion_ms: u64,
}

fn decide(voters: u32, round_trip_ms: u64, seed: u64, tells: bool) -> Course {
    let mut world = World::new(voters, round_trip_ms, seed);
    world.read();
    (world.calls, world.tells) = (0, tells);
    world.decide()
}

/// A document in which all of these voters have a cell and all but the last have voted on one open
/// candidate, and the league that its signatures are of: what merge and decide are measured on.
///
/// # Panics
/// When `voters` is 0 or more than a document takes.
pub fn crowded(voters: u32) -> (LeagueId, Ballots) {
    let mut world = World::new(voters, 50, 1);
    world.read();
    let last = world.proposers.len() - 1;
    world.proposers[last].want(Motion::Speak { level: 1 });
    world.step(last, Event::Wanted);
    world.run(|_, _| false);
    world.ask(last, Rule::All);
    world.run(|_, _| false);
    let (_, value) = world.stored.expect("a document was made");
    let (_, body) = Envelope::open(&value).expect("a proposer writes what it reads");
    (league(), Ballots::from_slice(&body).expect("a proposer writes what it reads"))
}

fn league() -> LeagueId {
    LeagueId(Hash::of_bytes(b"contention"))
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
    random: SplitMix64,
    calls: u32,
    /// Whether the topology server tells of changes.
    tells: bool,
    /// Whose call is under way, and which version they were told of since it began.
    under_way: BTreeMap<usize, Option<Version>>,
    events: BTreeMap<(u64, u64), (usize, Item)>,
    sequence: u64,
    decided_ms: Option<u64>,
}

enum Item {
    /// A call arrives at the topology server.
    Arrives(Act),
    /// An event reaches its proposer.
    Reaches(Event),
    /// Its proposer is told that somebody wrote this version.
    Told(Version),
}

impl World {
    fn new(voters: u32, round_trip_ms: u64, seed: u64) -> Self {
        let identities: Vec<(Signer, Voter)> = (0..voters).map(identity).collect();
        let set = identities.iter().map(|(signer, voter)| (signer.member().clone(), voter.clone())).collect();
        let founding = Ballots::found(Voters::found(set, BTreeMap::new()), 0);
        let verifier = Verifier::default();
        let proposers = identities.into_iter().map(|(signer, voter)| {
            let config = Config {
                league: league(),
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
            random: SplitMix64(seed),
            calls: 0,
            tells: false,
            under_way: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            decided_ms: None,
        }
    }

    fn at(&mut self, at_ms: u64, proposer: usize, item: Item) {
        self.sequence += 1;
        self.events.insert((at_ms, self.sequence), (proposer, item));
    }

    fn one_way_ms(&mut self) -> u64 {
        let spread = self.round_trip_ms / 20;
        self.round_trip_ms / 2 - spread / 2 + self.random.below(spread + 1)
    }

    fn step(&mut self, proposer: usize, event: Event) {
        let entropy = self.random.bits();
        for act in self.proposers[proposer].step(event, self.now_ms, entropy) {
            match act {
                Act::Persist(_) => self.at(self.now_ms, proposer, Item::Reaches(Event::Persisted)),
                Act::Wake { at_ms } => self.at(at_ms, proposer, Item::Reaches(Event::Woke)),
                call => {
                    self.calls += 1;
                    self.under_way.insert(proposer, None);
                    let arrives = self.now_ms + self.one_way_ms();
                    self.at(arrives, proposer, Item::Arrives(call));
                }
            }
        }
    }

    /// As whoever drives a proposer does: what it knows already is no news.
    fn tell(&mut self, proposer: usize, version: &Version) {
        if self.proposers[proposer].version() != Some(version) {
            self.step(proposer, Event::Changed);
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
                    if let (true, Event::Swapped(Swap::Committed(version))) = (self.tells, &answer) {
                        for other in (0..self.proposers.len()).filter(|other| *other != proposer) {
                            let reaches = at_ms + self.one_way_ms();
                            self.at(reaches, other, Item::Told(version.clone()));
                        }
                    }
                    let reaches = at_ms + self.one_way_ms();
                    self.at(reaches, proposer, Item::Reaches(answer));
                }
                // Whether it is news is known when the call that is under way is answered.
                Item::Told(version) => match self.under_way.get_mut(&proposer) {
                    Some(told) => *told = Some(version),
                    None => self.tell(proposer, &version),
                },
                Item::Reaches(event) => {
                    let is_answer = matches!(event, Event::Read(_) | Event::Swapped(_));
                    let told = if is_answer { self.under_way.remove(&proposer).flatten() } else { None };
                    self.step(proposer, event);
                    if let Some(version) = told {
                        self.tell(proposer, &version);
                    }
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

    /// The first `count` voters want one key decided, at the same moment.
    fn ask(&mut self, count: usize, rule: Rule) {
        let value: Arc<RawValue> = RawValue::from_string(r#""yes""#.to_owned()).expect("JSON").into();
        let key: crate::Key = "decision".parse().expect("a key");
        for proposer in 0..count {
            let (key, value) = (key.clone(), Arc::clone(&value));
            self.proposers[proposer].want(Motion::Decide { key, after: Epoch(0), value, rule, accept: Accept::Any });
            self.step(proposer, Event::Wanted);
        }
    }

    fn decide(&mut self) -> Course {
        let begun_ms = self.now_ms;
        self.ask(self.proposers.len(), Rule::Quorum);
        let mut completion_ms = begun_ms;
        self.run(|world, proposer| {
            for told in world.proposers[proposer].told() {
                if let Told::Answer(_, Answer::Decided(_)) = told {
                    completion_ms = world.now_ms;
                    world.decided_ms.get_or_insert(world.now_ms);
                }
            }
            false
        });
        Course {
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
        for (voters, most, most_until_known) in [(1, 1, 1), (2, 3, 4), (3, 5, 7), (10, 23, 30), (50, 130, 165)] {
            let costs: Vec<Cost> = (0..20).map(|seed| calls_per_decision(voters, 50, seed)).collect();
            let mean = |of: fn(&Cost) -> u64| costs.iter().map(of).sum::<u64>() as f64 / costs.len() as f64;
            let calls = mean(|cost| cost.calls.into());
            let until_known = mean(|cost| cost.calls_until_known.into());
            println!(
                "{voters} voters: {calls:.1} calls (at most {}), decided after {:.0} ms, completed after {:.0} ms; \
                 {until_known:.1} calls until all know, after {:.0} ms",
                costs.iter().map(|cost| cost.calls).max().unwrap_or_default(),
                mean(|cost| cost.decided_ms),
                mean(|cost| cost.completion_ms),
                mean(|cost| cost.known_ms),
            );
            assert!(calls <= f64::from(most), "{voters} voters: {calls} calls, {most} are allowed");
            assert!(until_known <= f64::from(most_until_known), "{voters} voters: {until_known} calls until all know");
        }
        assert_eq!(calls_per_decision(10, 50, 7), calls_per_decision(10, 50, 7));
    }

    #[test]
    fn a_crowded_document_lacks_one_vote() {
        let (league, ballots) = crowded(20);
        let verifier = Verifier::default();
        let tally = crate::decide::tally(&ballots, league, &verifier);
        assert!(tally.rejected.is_empty(), "{:?}", tally.rejected);
        assert_eq!((tally.cells.len(), ballots.open.len()), (20, 1));
        assert!(tally.counts.values().all(|count| count.yes.len() == 19));
        assert!(crate::decide::decide(&ballots, &tally).is_empty());
    }
}
