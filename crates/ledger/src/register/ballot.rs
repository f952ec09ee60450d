//! Ballots: the order in which proposers may propose.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One start of a process that proposes. The name is for people; the incarnation is random, so that
/// no two starts are alike whatever they are called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposerId {
    /// Random, at each start of the process.
    pub incarnation: u64,
    /// The member's or the process's name.
    pub name: Arc<str>,
}

/// A ballot: a number, made unique by who uses it. Each is used for one value at most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Compared first.
    pub counter: u64,
    /// Who proposes under it.
    pub proposer: ProposerId,
}

/// The ballots of one proposer: each is higher than all before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ballots {
    proposer: ProposerId,
    last: u64,
}

impl Ballots {
    /// Those of a process that has just started.
    pub fn new(proposer: ProposerId) -> Self {
        Ballots { proposer, last: 0 }
    }

    /// Whose they are.
    pub fn proposer(&self) -> &ProposerId {
        &self.proposer
    }

    /// Says what time it is, in milliseconds since 1970: the ballots to come are higher than that.
    /// A clock that is wrong does no harm, it only makes numbers larger.
    pub fn tick(&mut self, now: u64) {
        self.last = self.last.max(now);
    }

    /// A ballot that was not used yet, higher than `counter`.
    pub fn above(&mut self, counter: u64) -> Ballot {
        self.last = self.last.max(counter).saturating_add(1);
        Ballot { counter: self.last, proposer: self.proposer.clone() }
    }
}

/// A text that is no ballot.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no ballot; one reads COUNTER.INCARNATION.NAME")]
pub struct InvalidBallot(String);

impl FromStr for Ballot {
    type Err = InvalidBallot;

    fn from_str(text: &str) -> Result<Self, InvalidBallot> {
        let parse = || {
            let (counter, rest) = text.split_once('.')?;
            let (incarnation, name) = rest.split_once('.')?;
            let incarnation = u64::from_str_radix(incarnation, 16).ok()?;
            Some(Ballot { counter: counter.parse().ok()?, proposer: ProposerId { incarnation, name: name.into() } })
        };
        parse().ok_or_else(|| InvalidBallot(text.to_owned()))
    }
}

impl fmt::Display for ProposerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.incarnation, self.name)
    }
}

impl fmt::Debug for ProposerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{:x}", self.name, self.incarnation)
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.counter, self.proposer)
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:?}", self.counter, self.proposer)
    }
}
