//! Voters that tests have in common.

use hansa_ballot::motion::{Accept, Answer};
use hansa_ballot::proposer::{Act, Config, Event, Notes, Told};
use hansa_ballot::{Ballots, Document, Epoch, Key, Motion, Proposer, Rule, Signer, Verifier, Voter, Voters};
use hansa_ledger::{Swap, Version, Versioned};
use hansa_model::{Hash, Incarnation, LeagueId, MemberName};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn league() -> LeagueId {
    LeagueId(Hash::of_bytes(b"test"))
}

pub fn name(text: &str) -> MemberName {
    text.parse().expect("a DNS label")
}

pub fn signer(text: &str) -> Signer {
    Signer::new(name(text), *Hash::of_bytes(text.as_bytes()).as_bytes())
}

pub fn voter(text: &str) -> Voter {
    Voter { key: signer(text).public(), uid: format!("uid-{text}"), witness: false }
}

pub fn voters(names: &[&str]) -> Voters {
    let people = BTreeMap::from([("ada".to_owned(), signer("ada").public())]);
    Voters::found(names.iter().map(|text| (name(text), voter(text))).collect(), people)
}

pub fn founding(names: &[&str]) -> Ballots {
    Ballots::found(voters(names), 0)
}

pub fn raw(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON").into()
}

pub fn config<D>(text: &str, founding: D) -> Config<D> {
    Config {
        league: league(),
        signer: signer(text),
        uid: format!("uid-{text}"),
        incarnation: Incarnation(1),
        notes: Notes::default(),
        round_trip_ms: 10,
        founding: Some(founding),
    }
}

pub fn decide(key: Key, value: Arc<RawValue>, rule: Rule) -> Motion {
    decide_after(Epoch(0), key, value, rule)
}

pub fn decide_after(after: Epoch, key: Key, value: Arc<RawValue>, rule: Rule) -> Motion {
    Motion::Decide { key, after, value, rule, accept: Accept::Equal }
}

pub fn answers<D: Document>(table: &mut Table<D>, number: usize) -> Vec<String> {
    let told = table.proposers[number].told().into_iter();
    let text = |told| match told {
        Told::Answer(_, Answer::Decided(decision)) => format!("{:?}", decision.outcome),
        Told::Answer(_, Answer::Refused(why)) => why,
        Told::Answer(_, other) => format!("{other:?}"),
        Told::Frozen(frozen) => frozen.to_string(),
        other => format!("{other:?}"),
    };
    told.map(text).collect()
}

/// Lets these voters want the same, and serves all.
pub fn all_want<D: Document>(table: &mut Table<D>, who: &[usize], motion: &Motion) {
    for number in who {
        table.proposers[*number].want(motion.clone());
    }
    table.serve_all();
}

/// A register that never fails, and proposers that are served in turn.
pub struct Table<D> {
    pub stored: Option<(u64, bytes::Bytes)>,
    pub proposers: Vec<Proposer<D>>,
}

impl<D: Document> Table<D> {
    pub fn new(names: &[&str], founding: &D) -> Self {
        let verifier = Verifier::default();
        let seat = |text: &&str| Proposer::new(config(text, founding.clone())).with_verifier(verifier.clone());
        Table { stored: None, proposers: names.iter().map(seat).collect() }
    }

    /// Serves one proposer until it waits for others.
    pub fn serve(&mut self, number: usize) {
        let mut events = vec![Event::Woke, Event::Changed];
        let mut steps = 0u64;
        while let Some(event) = events.pop() {
            steps += 1;
            assert!(steps < 200, "a proposer that is served alone ends");
            for act in self.proposers[number].step(event, steps, steps * 7 + number as u64) {
                events.push(match act {
                    Act::Read => Event::Read(self.versioned()),
                    Act::Persist(_) => Event::Persisted,
                    Act::Wake { .. } if self.proposers[number].frozen().is_some() => return,
                    Act::Wake { .. } => Event::Woke,
                    Act::Write { expected, value } => Event::Swapped(self.swap(expected, value)),
                });
            }
        }
    }

    /// Serves all, until nothing is left to do.
    pub fn serve_all(&mut self) {
        for _ in 0..3 {
            (0..self.proposers.len()).for_each(|number| self.serve(number));
        }
    }

    fn versioned(&self) -> Option<Versioned> {
        let stored = self.stored.as_ref()?;
        Some(Versioned { version: Version::new(stored.0.to_string()), value: stored.1.clone() })
    }

    fn swap(&mut self, expected: Option<Version>, value: bytes::Bytes) -> Swap {
        let current = self.versioned();
        if expected.as_ref() != current.as_ref().map(|current| &current.version) {
            return Swap::Mismatch { current };
        }
        let version = self.stored.as_ref().map_or(1, |(version, _)| version + 1);
        self.stored = Some((version, value));
        Swap::Committed(Version::new(version.to_string()))
    }
}
