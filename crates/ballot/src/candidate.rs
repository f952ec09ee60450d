//! Candidates, the votes on them, and what became of them.
//!
//! There is one open candidate per key, made by compare-and-swap: whoever is first. It is voted on
//! with yes or no, so that no set of votes can hang for ever between two values, and closed as adopted,
//! rejected or superseded. What it is closed as is a [`Decision`], with its certificate: the signed
//! votes that made it. A later candidate of the same key has a later epoch.

use crate::key::{Epoch, Key};
use crate::signing::{Signature, Signer, Statement};
use hansa_model::{Era, Hash, LeagueId, MemberName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest value of a candidate, in bytes; [`Key::spec`] apart, whose value is the giant spec.
pub const MAX_VALUE: usize = 4 << 10;

/// What a candidate needs to be adopted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The yes of a quorum. Rejected when so many said no that a quorum cannot be reached.
    Quorum,
    /// The yes of every voter that is not lost, and of a quorum at least. Rejected by one no.
    All,
}

impl Rule {
    fn label(self) -> &'static [u8] {
        match self {
            Rule::Quorum => b"quorum",
            Rule::All => b"all",
        }
    }
}

/// What is voted on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    /// Its number.
    pub epoch: Epoch,
    /// The hash of the value's bytes.
    pub hash: Hash,
    /// Who made it.
    pub proposer: MemberName,
    /// What it needs.
    pub rule: Rule,
    /// The value, verbatim.
    pub value: Arc<RawValue>,
    /// The epoch of the voters that it was made under; under others it is superseded.
    pub voters: Epoch,
}

/// A voter's word on a candidate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    /// The candidate's epoch.
    pub epoch: Epoch,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Over league, era, voter, key, epoch, candidate and verdict: it stands alone in a certificate.
    pub signature: Signature,
    /// The word.
    pub verdict: Verdict,
}

/// Yes or no. A voter never changes it, but for a proposer, who may withdraw its own candidate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// For it.
    Yes,
    /// Against it.
    No,
    /// Its proposer wants it no more.
    Withdrawn,
    /// It cannot vote: what it said to another candidate under this key and epoch may have been
    /// counted in a history that the topology server has lost.
    Abstained,
}

impl Verdict {
    fn label(self) -> &'static [u8] {
        match self {
            Verdict::Yes => b"yes",
            Verdict::No => b"no",
            Verdict::Withdrawn => b"withdrawn",
            Verdict::Abstained => b"abstained",
        }
    }
}

/// How a candidate was closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It holds.
    Adopted,
    /// It was voted down.
    Rejected,
    /// It was withdrawn, or the voters or the era changed under it, or too many abstained. Asked again,
    /// it is another candidate.
    Superseded,
}

/// What became of a candidate. Written once per key and epoch, and never changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// The signatures of the votes that made it: yes for adopted, no for rejected, the proposer's
    /// for withdrawn; empty when voters or era changed.
    pub certificate: BTreeMap<MemberName, Signature>,
    /// The candidate's epoch.
    pub epoch: Epoch,
    /// The era that its votes were given in.
    pub era: Era,
    /// The hash of the value's bytes.
    pub hash: Hash,
    /// How it was closed.
    pub outcome: Outcome,
    /// Who made the candidate.
    pub proposer: MemberName,
    /// Why it was voted down, by whoever gave a reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<MemberName, String>,
    /// What it needed.
    pub rule: Rule,
    /// The value, unless the document keeps it elsewhere, as an adopted spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Arc<RawValue>>,
    /// The epoch of the voters.
    pub voters: Epoch,
}

impl Candidate {
    /// A candidate of `value` under these voters.
    pub fn new(epoch: Epoch, proposer: MemberName, rule: Rule, value: Arc<RawValue>, voters: Epoch) -> Self {
        let hash = Hash::of_bytes(value.get().as_bytes());
        Candidate { epoch, hash, proposer, rule, value, voters }
    }

    /// The digest of everything that a vote is about.
    pub fn digest(&self, key: &Key) -> Hash {
        digest(key, self.epoch, &self.hash, &self.proposer, self.rule, self.voters)
    }
}

impl Decision {
    /// The digest of the candidate that it closed.
    pub fn digest(&self, key: &Key) -> Hash {
        digest(key, self.epoch, &self.hash, &self.proposer, self.rule, self.voters)
    }

    /// The verdict whose signatures stand in its certificate.
    pub fn certified(&self) -> Verdict {
        match self.outcome {
            Outcome::Adopted => Verdict::Yes,
            Outcome::Rejected => Verdict::No,
            Outcome::Superseded => Verdict::Withdrawn,
        }
    }
}

fn digest(key: &Key, epoch: Epoch, hash: &Hash, proposer: &MemberName, rule: Rule, voters: Epoch) -> Hash {
    let mut out = Vec::with_capacity(256);
    for number in [epoch.0, voters.0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for part in [key.as_str().as_bytes(), hash.as_bytes(), proposer.as_str().as_bytes(), rule.label()] {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    Hash::of_bytes(&out)
}

/// What a vote is called where it is signed and reported.
pub fn vote_about(voter: &MemberName, key: &Key) -> String {
    format!("votes/{voter}/{key}")
}

/// The bytes of a vote that are signed.
pub(crate) fn vote_value(digest: &Hash, verdict: Verdict) -> Vec<u8> {
    [digest.as_bytes().as_slice(), verdict.label()].concat()
}

/// Signs a vote.
pub(crate) fn sign_vote(
    signer: &Signer,
    league: LeagueId,
    era: Era,
    key: &Key,
    candidate: &Candidate,
    verdict: Verdict,
) -> Signature {
    let (about, value) = (vote_about(signer.member(), key), vote_value(&candidate.digest(key), verdict));
    signer.sign(&Statement { league, era, about: &about, counter: (0, candidate.epoch.0), value: &value })
}
