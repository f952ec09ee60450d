//! How the set of voters changes by vote: joins with two consents, leaves, keys.
//!
//! A [`Change`] is the value of a candidate of [`Key::members`](crate::Key::members): voted on under
//! the old voters' quorum, one at a time, and by one voter at a time, so that every quorum of the old
//! set meets every quorum of the new one. A join carries the consent of the operator's key; the other
//! consent, of a user of a member, is that member's candidate. When no quorum can be had any more, a
//! person forces ([`crate::era`]).

use crate::candidate::{Candidate, Decision, Outcome};
use crate::key::Epoch;
use crate::signing::{PublicKey, Signature, Signer, Statement, Verifier};
use crate::voters::{Removed, Voter, Voters, majority};
use hansa_model::{Era, LeagueId, MemberName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many requests to join may wait.
pub const MAX_JOINS: usize = 16;

/// One change of the voters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Change {
    /// A new voter.
    Join {
        /// By the voter's own key.
        consent: Signature,
        /// Its name.
        name: MemberName,
        /// The user of the proposer's cluster who agreed.
        user: String,
        /// Its identity.
        voter: Voter,
    },
    /// A voter goes: by its own wish, or by the others'.
    Leave {
        /// Its name.
        name: MemberName,
        /// Why, for people.
        reason: String,
    },
    /// A voter signs with another key from now on. Only it may propose this, with the old key.
    Rotate {
        /// By the new key.
        consent: Signature,
        /// The new key.
        key: PublicKey,
        /// The voter.
        name: MemberName,
    },
    /// A person's key is added, replaced, or (`None`) taken out.
    Person {
        /// The key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<PublicKey>,
        /// The person's name.
        name: String,
    },
}

/// A request to join, by an operator that is not a voter yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Join {
    /// By the voter's own key.
    pub consent: Signature,
    /// The highest feature level that its release speaks; 0 where it did not say. Not part of the consent: whoever
    /// changes it keeps it out, or lets in who then does nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub speaks: u32,
    /// Its identity.
    pub voter: Voter,
}

fn is_zero(level: &u32) -> bool {
    *level == 0
}

/// The consent of an operator's key to join, or to be used from now on.
pub fn consent(signer: &Signer, league: LeagueId, uid: &str, witness: bool) -> Signature {
    let about = join_about(signer.member());
    signer.sign(&consent_statement(league, &about, uid, witness).statement())
}

struct Consent<'a> {
    league: LeagueId,
    about: &'a str,
    value: Vec<u8>,
}

impl Consent<'_> {
    // Not bound to an era: a person may force while a request waits.
    fn statement(&self) -> Statement<'_> {
        Statement { league: self.league, era: Era(0), about: self.about, counter: (0, 0), value: &self.value }
    }
}

fn consent_statement<'a>(league: LeagueId, about: &'a str, uid: &str, witness: bool) -> Consent<'a> {
    Consent { league, about, value: [uid.as_bytes(), &[0, u8::from(witness)]].concat() }
}

fn join_about(member: &MemberName) -> String {
    format!("joins/{member}")
}

/// Whether `voter`'s key agreed to be `name`.
pub fn consents(verifier: &Verifier, league: LeagueId, name: &MemberName, voter: &Voter, consent: &Signature) -> bool {
    let about = join_about(name);
    verifier.verify(&voter.key, &consent_statement(league, &about, &voter.uid, voter.witness).statement(), consent)
}

impl Change {
    /// The voters after this change, decided at `epoch`, proposed by `proposer`.
    ///
    /// # Errors
    /// When it does not fit them; says why and what to do.
    pub fn apply(
        &self,
        voters: &Voters,
        epoch: Epoch,
        proposer: &MemberName,
        league: LeagueId,
        verifier: &Verifier,
    ) -> Result<Voters, String> {
        let mut next = Voters { epoch, ..voters.clone() };
        match self {
            Change::Join { consent, name, voter, .. } => {
                if voters.set.contains_key(name) {
                    return Err(format!("{name} votes already: choose another name"));
                }
                if voters.set.values().any(|known| known.key == voter.key || known.uid == voter.uid) {
                    return Err(format!(
                        "{name} has the key or the cluster of another voter: it is a clone; give it keys of its own"
                    ));
                }
                if voters.removed.values().any(|removed| removed.key == voter.key) {
                    return Err(format!("{name} has the key of a removed member: make new keys, then join"));
                }
                if !consents(verifier, league, name, voter, consent) {
                    return Err(format!("{name}'s key has not signed its consent: ask to join from its operator"));
                }
                next.removed.remove(name);
                next.set.insert(name.clone(), voter.clone());
            }
            Change::Leave { name, .. } => {
                let gone = next.set.remove(name).ok_or_else(|| format!("{name} does not vote"))?;
                next.removed.insert(name.clone(), Removed { epoch, key: gone.key, uid: gone.uid });
            }
            Change::Rotate { consent, key, name } => {
                let voter = next.set.get_mut(name).ok_or_else(|| format!("{name} does not vote"))?;
                voter.key = *key;
                if proposer != name {
                    return Err(format!("only {name} may rotate its key; others take it out, and it joins again"));
                }
                if !consents(verifier, league, name, voter, consent) {
                    return Err(format!("{name}'s new key has not signed its consent"));
                }
            }
            Change::Person { key, name } => match key {
                Some(key) => {
                    next.people.insert(name.clone(), *key);
                }
                None => {
                    next.people.remove(name).ok_or_else(|| format!("no person {name} has a key here"))?;
                }
            },
        }
        next.quorum = majority(next.set.len());
        if let Some(fault) = next.fault() {
            return Err(fault);
        }
        if !voters.meets(&next) {
            return Err("a quorum of the new voters need not meet one of the old: change one at a time".to_owned());
        }
        Ok(next)
    }
}

/// A decision without certificate, for a candidate that nobody's vote closed.
pub(crate) fn closed(candidate: Candidate, outcome: Outcome, era: Era) -> Decision {
    Decision {
        certificate: BTreeMap::new(),
        epoch: candidate.epoch,
        era,
        hash: candidate.hash,
        outcome,
        proposer: candidate.proposer,
        reasons: BTreeMap::new(),
        rule: candidate.rule,
        value: None,
        voters: candidate.voters,
    }
}
