//! Rules broken on purpose, at the border between an operator and the store. The model has to find each.

use crate::judge::{self, Ghost};
use crate::scenarios::{self, Scenario};
use crate::world::{Faults, open};
use bytes::Bytes;
use hansa_ballot::cell::Cell;
use hansa_ballot::{Ballots, Document, Outcome, Verdict};
use hansa_ledger::Envelope;
use hansa_model::{MemberName, Term};

/// What is done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sabotage {
    /// The store takes the first operator's writes whatever stands there.
    WritesBlindly,
    /// A restarted operator begins without what it made durable.
    ForgetsItsNotes,
    /// What a write decides is acted on when it is sent.
    ActsBeforeItIsConfirmed,
    /// A candidate is adopted with its proposer's vote alone.
    DecidesAlone,
    /// A vote is turned round.
    ChangesItsVote,
    /// A phase is opened when one has posted.
    OpensEarly,
    /// A claim is given its predecessor's term.
    RepeatsATerm,
    /// Two voters are taken out at once.
    TakesOutTwo,
    /// What was decided is taken out again.
    Retracts,
    /// A write puts back what another one had said before.
    PutsBackOldWords,
    /// The store takes a late write whatever stands there.
    TakesLateWrites,
    /// Nobody is told that the key has changed.
    TellsNobody,
    /// Decisions are written into a page whoever decided there.
    SeesNoFence,
    /// An earlier start of an appointee outbids a later one.
    OutbidsItsLaterStart,
}

impl Sabotage {
    pub const ALL: [Sabotage; 14] = [
        Sabotage::WritesBlindly,
        Sabotage::ForgetsItsNotes,
        Sabotage::ActsBeforeItIsConfirmed,
        Sabotage::DecidesAlone,
        Sabotage::ChangesItsVote,
        Sabotage::OpensEarly,
        Sabotage::RepeatsATerm,
        Sabotage::TakesOutTwo,
        Sabotage::Retracts,
        Sabotage::PutsBackOldWords,
        Sabotage::TakesLateWrites,
        Sabotage::TellsNobody,
        Sabotage::SeesNoFence,
        Sabotage::OutbidsItsLaterStart,
    ];

    /// Where it does harm.
    pub fn stage(self) -> (Scenario, Faults) {
        let none = Faults::default();
        match self {
            Sabotage::ForgetsItsNotes => (scenarios::pair(), Faults { crashes: 2, rollbacks: 1, ..none }),
            Sabotage::ActsBeforeItIsConfirmed | Sabotage::ChangesItsVote => (scenarios::withdrawal(), none),
            Sabotage::OpensEarly => (scenarios::phases(), none),
            Sabotage::RepeatsATerm => (scenarios::claims(), Faults { answers: 1, ..none }),
            Sabotage::TakesOutTwo => (scenarios::membership(), none),
            Sabotage::Retracts | Sabotage::PutsBackOldWords => (scenarios::generations(), none),
            Sabotage::TakesLateWrites => (scenarios::pair(), Faults { answers: 1, crashes: 1, ..none }),
            Sabotage::TellsNobody => (scenarios::rivals(), none),
            Sabotage::SeesNoFence => (scenarios::pages(), none),
            Sabotage::OutbidsItsLaterStart => (scenarios::pages(), Faults { crashes: 1, ..none }),
            Sabotage::WritesBlindly | Sabotage::DecidesAlone => (scenarios::rivals(), Faults { answers: 1, ..none }),
        }
    }

    /// The rules that have to be seen broken, in one run.
    pub fn breaks(self) -> &'static [&'static str] {
        match self {
            Sabotage::WritesBlindly => &[judge::KEPT, judge::NEVER_RETRACTED],
            Sabotage::ForgetsItsNotes | Sabotage::ActsBeforeItIsConfirmed => &[judge::ONCE],
            Sabotage::DecidesAlone => &[judge::CERTIFIED],
            Sabotage::ChangesItsVote => &[judge::VOTE_STAYS],
            Sabotage::OpensEarly => &[judge::TOGETHER],
            Sabotage::RepeatsATerm => &[judge::RISES, judge::ONE_TERM],
            Sabotage::TakesOutTwo => &[judge::MEET],
            Sabotage::Retracts => &[judge::NEVER_RETRACTED],
            Sabotage::PutsBackOldWords => &[judge::OWN, judge::KEPT],
            Sabotage::TakesLateWrites => &[judge::EXPIRED],
            Sabotage::TellsNobody => &[judge::LIVE],
            Sabotage::SeesNoFence | Sabotage::OutbidsItsLaterStart => &[judge::ONE_WRITER],
        }
    }

    /// What is acted on when a write is sent.
    pub fn acts(ghost: &mut Ghost, value: &Bytes) {
        let (_, ballots) = open(value);
        for (key, decision) in ballots.decisions.iter().chain(&ballots.refused) {
            ghost.acts(key, decision.epoch, decision.outcome, decision.hash);
        }
    }

    /// What is stored instead of what the operator of this number wrote.
    pub fn writes(self, scenario: &Scenario, number: usize, before: Option<&Ballots>, value: Bytes) -> Bytes {
        let (envelope, mut ballots) = open(&value);
        let signer = &scenario.signers[number];
        let member: &MemberName = signer.member();
        let resigned = |ballots: &mut Ballots, change: &mut dyn FnMut(&mut Cell)| {
            if let Some(mut cell) = ballots.cells.get(member).and_then(|slot| slot.cell().ok().cloned()) {
                change(&mut cell);
                let slot = cell.sign(signer, scenario.league, ballots.era);
                ballots.cells.insert(member.clone(), slot);
            }
        };
        match self {
            Sabotage::DecidesAlone => {
                for (key, candidate) in std::mem::take(&mut ballots.open) {
                    let decision = serde_json::json!({
                        "certificate": {}, "epoch": candidate.epoch, "era": ballots.era, "hash": candidate.hash,
                        "outcome": Outcome::Adopted, "proposer": candidate.proposer, "rule": candidate.rule,
                        "voters": candidate.voters,
                    });
                    ballots.decisions.insert(key, serde_json::from_value(decision).expect("a decision"));
                }
            }
            Sabotage::ChangesItsVote => resigned(&mut ballots, &mut |cell| {
                let known = before.and_then(|before| before.cells.get(member)?.cell().ok());
                if let Some(known) = known {
                    for (key, vote) in &known.votes {
                        let mut turned = vote.clone();
                        turned.verdict = if vote.verdict == Verdict::Yes { Verdict::No } else { Verdict::Yes };
                        cell.votes.insert(key.clone(), turned);
                    }
                }
            }),
            Sabotage::OpensEarly => {
                for barrier in ballots.barriers.values_mut() {
                    barrier.open = barrier.open.max(1);
                }
            }
            Sabotage::RepeatsATerm => {
                for claim in ballots.appointments.claims.values_mut() {
                    claim.term = Term(1);
                }
            }
            Sabotage::TakesOutTwo => {
                if before.is_some_and(|before| before.voters != ballots.voters) {
                    let left = ballots.voters.set.keys().next().expect("somebody is left").clone();
                    ballots.voters.set.retain(|name, _| *name == left);
                    ballots.voters.quorum = 1;
                    ballots.cells.retain(|name, _| *name == left);
                }
            }
            Sabotage::PutsBackOldWords => {
                let others = scenario.signers.iter().filter(|other| other.member() != member);
                for other in others {
                    let Some(mut cell) = ballots.cells.get(other.member()).and_then(|slot| slot.cell().ok().cloned())
                    else {
                        continue;
                    };
                    if cell.sequence > 1 {
                        cell.sequence = 1;
                        let slot = cell.sign(other, scenario.league, ballots.era);
                        ballots.cells.insert(other.member().clone(), slot);
                    }
                }
            }
            Sabotage::Retracts => {
                if before.is_some_and(|before| !before.decisions.is_empty()) {
                    ballots.decisions.clear();
                }
            }
            _ => return value,
        }
        let mut sealed = Envelope::first(envelope.league, envelope.era, envelope.nonce);
        sealed.revision = envelope.revision;
        sealed.operations = envelope.operations;
        sealed.seal(&ballots.write())
    }
}
