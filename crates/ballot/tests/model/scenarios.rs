//! What the operators of each model want, in order.

use hansa_ballot::membership::Change;
use hansa_ballot::motion::Accept;
use hansa_ballot::{Ballots, Epoch, Key, Motion, Rule, Signer, Verdict, Voter, Voters};
use hansa_model::{Hash, LeagueId, MemberName, Term};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub struct Scenario {
    pub name: &'static str,
    pub league: LeagueId,
    pub signers: Vec<Signer>,
    pub founding: Ballots,
    /// The document stands already; else the operators race to make it, too.
    pub founded: bool,
    pub scripts: Vec<Vec<Goal>>,
    pub reaches: &'static [&'static str],
    /// How many decisions are begun in a page beside the ballots; 0: there is no page.
    pub decisions: u8,
}

/// One thing that an operator wants; when it is reached, the next begins.
#[derive(Clone, Debug)]
pub enum Goal {
    /// That the key is decided once more, with its value where it proposes.
    Decide { key: Key, value: Arc<RawValue>, rule: Rule, accept: Accept, again: bool },
    /// That a candidate stands; its own, when it is first.
    Propose { key: Key, value: Arc<RawValue> },
    /// That its own candidate is withdrawn, if it is still open.
    Withdraw { key: Key },
    /// That the phase is done by all.
    Phase { key: Key, phase: u32 },
    /// That it holds the key, or somebody else does.
    Claim { key: Key },
    /// That it holds it no more.
    Resign { key: Key },
    /// That these are suspected.
    Suspect { members: BTreeSet<MemberName> },
}

impl Goal {
    pub fn key(&self) -> &Key {
        match self {
            Goal::Decide { key, .. }
            | Goal::Propose { key, .. }
            | Goal::Withdraw { key }
            | Goal::Phase { key, .. }
            | Goal::Claim { key }
            | Goal::Resign { key } => key,
            Goal::Suspect { .. } => unreachable!("it has no answer with a key"),
        }
    }

    /// Whether a word that is said, or refused, is all there is to it.
    pub fn is_said(&self) -> bool {
        !matches!(self, Goal::Phase { .. })
    }

    pub fn motion(&self, known: Option<&Ballots>) -> Motion {
        match self.clone() {
            Goal::Decide { key, value, rule, accept, again } => {
                let last = known.map_or(Epoch(0), |known| known.decided(&key));
                Motion::Decide { key, after: if again { last } else { Epoch(0) }, value, rule, accept }
            }
            Goal::Propose { key, value } => {
                Motion::Decide { key, after: Epoch(0), value, rule: Rule::Quorum, accept: Accept::Any }
            }
            Goal::Withdraw { key } => {
                let epoch = known.and_then(|known| known.open.get(&key)).map_or(Epoch(0), |candidate| candidate.epoch);
                Motion::Vote { key, epoch, verdict: Verdict::Withdrawn, reason: None }
            }
            Goal::Phase { key, phase } => Motion::Post { key, hash: Hash::of_bytes(b"release"), phase, needs: None },
            Goal::Claim { key } => Motion::Claim { key, over: None, ttl_ms: 1_000 },
            Goal::Resign { key } => {
                let claim = known.and_then(|known| known.appointments.claims.get(&key));
                let term = claim.map_or(Term(0), |claim| claim.term);
                Motion::Resign { key, term }
            }
            Goal::Suspect { members } => Motion::Suspect { members },
        }
    }
}

fn name(number: usize) -> MemberName {
    ["a", "b", "c", "d"][number].parse().expect("a DNS label")
}

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

fn raw(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON").into()
}

fn decide(of: &str, value: &str, accept: Accept) -> Goal {
    Goal::Decide { key: key(of), value: raw(value), rule: Rule::Quorum, accept, again: false }
}

fn scenario(name_: &'static str, scripts: Vec<Vec<Goal>>, reaches: &'static [&'static str]) -> Scenario {
    let signers: Vec<Signer> =
        (0..scripts.len()).map(|number| Signer::new(name(number), [number as u8 + 1; 32])).collect();
    let voter = |(number, signer): (usize, &Signer)| {
        let voter = Voter { key: signer.public(), uid: format!("uid-{number}"), witness: false };
        (signer.member().clone(), voter)
    };
    let set = signers.iter().enumerate().map(voter).collect();
    let founding = Ballots::found(Voters::found(set, BTreeMap::new()), 0);
    Scenario {
        name: name_,
        league: LeagueId(Hash::of_bytes(b"model")),
        signers,
        founding,
        founded: true,
        scripts,
        reaches,
        decisions: 0,
    }
}

/// Each of three has a value of its own, and takes that of whoever is first.
pub fn rivals() -> Scenario {
    let script = |value: &str| vec![decide("primary", value, Accept::Any)];
    let founding = scenario("rivals", vec![script("1"), script("2"), script("3")], &["adopted"]);
    Scenario { founded: false, ..founding }
}

/// Two with a quorum of two, each with a value of its own: the smallest league in which a lost history
/// could be contradicted.
pub fn pair() -> Scenario {
    let script = |value: &str| vec![decide("primary", value, Accept::Any)];
    scenario("pair", vec![script("1"), script("2")], &["adopted"])
}

/// Candidates of one key after each other, of the next generation each; one operator is against the last.
fn generations_of(name: &'static str, operators: usize, generations: usize) -> Scenario {
    let next = |value: String, accept, last: bool| Goal::Decide {
        key: key("spec"),
        value: raw(&value),
        rule: if last { Rule::All } else { Rule::Quorum },
        accept,
        again: true,
    };
    let script = |number: usize| {
        let is_against = |generation: usize| generation == generations && number + 1 == operators;
        let goal = |generation: usize| match is_against(generation) {
            false => next(generation.to_string(), Accept::Any, generation == generations),
            true => next(format!("{generation}0"), Accept::Equal, true),
        };
        (1..=generations).map(goal).collect()
    };
    let scripts = (0..operators).map(script).collect();
    scenario(name, scripts, &["adopted", "rejected"])
}

/// Two operators, three generations.
pub fn generations() -> Scenario {
    generations_of("generations", 2, 3)
}

/// Three operators, two generations.
pub fn generations_of_three() -> Scenario {
    generations_of("generations of three", 3, 2)
}

/// One proposes and withdraws, while another votes, and asks again.
pub fn withdrawal() -> Scenario {
    let proposes = vec![
        Goal::Propose { key: key("primary"), value: raw("1") },
        Goal::Withdraw { key: key("primary") },
        decide("primary", "3", Accept::Any),
    ];
    scenario("withdrawal", vec![proposes, vec![decide("primary", "2", Accept::Any)]], &["adopted", "superseded"])
}

/// Three become two, by the votes of the three, while they decide something else.
pub fn membership() -> Scenario {
    let leave = to_raw_value(&Change::Leave { name: name(2), reason: "moved".into() }).expect("JSON");
    let change = Goal::Decide {
        key: Key::members(),
        value: leave.into(),
        rule: Rule::Quorum,
        accept: Accept::Any,
        again: false,
    };
    let scripts = vec![vec![change.clone(), decide("primary", "1", Accept::Any)], vec![change], Vec::new()];
    scenario("membership", scripts, &["adopted"])
}

/// Two phases of three operators, one of which is suspected by the others and never posts.
pub fn phases() -> Scenario {
    let phase = |phase| Goal::Phase { key: key("rollout"), phase };
    let suspects = || Goal::Suspect { members: [name(2)].into() };
    let script = || vec![suspects(), phase(0), phase(1)];
    scenario("phases", vec![script(), script(), Vec::new()], &[])
}

/// Two take the same appointment in turn.
pub fn claims() -> Scenario {
    let turn = || vec![Goal::Claim { key: key("dns") }, Goal::Resign { key: key("dns") }];
    let script = || [turn(), turn()].concat();
    scenario("claims", vec![script(), turn()], &[])
}

/// The first is suspected by the others and comes back, while all decide in the one page when they take
/// themselves to be its appointee.
pub fn pages() -> Scenario {
    let suspects = |members: BTreeSet<MemberName>| Goal::Suspect { members };
    let script = || vec![suspects([name(0)].into()), suspects(BTreeSet::new())];
    let mut pages = scenario("pages", vec![Vec::new(), script(), script()], &["refused in a page"]);
    pages.founding = Ballots::found(pages.founding.voters.clone(), 1);
    Scenario { decisions: 3, ..pages }
}
