//! How an era begins: a person says that what stands in the topology server is what counts from now on.
//!
//! That word is needed after the store was restored or went back, and when a quorum is lost for good
//! and nothing can be agreed on any more. [`Ballots::in_era`] is what becomes of the ballots then.
//! Whose word it takes:
//!
//! | The league knows | An era is followed |
//! |---|---|
//! | keys of people ([`Voters::people`]) | when one of them signed a [`Force`] for it |
//! | none | unsigned, when its voters are those that were known: whoever administers the store could do as much without it |
//!
//! A force carries the voters that it leaves, under its signature: whoever has missed earlier changes or
//! eras, or knows of voters that a restored document does not know yet, can follow it all the same.
//! What does not fit is a [`Breach::Unforced`](crate::audit::Breach::Unforced), and freezes by name.

use crate::candidate::Outcome;
use crate::document::Ballots;
use crate::membership::closed;
use crate::signing::{PublicKey, Signature, Signer, Statement, Verifier};
use crate::voters::{Removed, Voters, majority};
use hansa_model::{Era, LeagueId, MemberName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A person's signed word that an era begins, and with which voters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Force {
    /// Whose key signed.
    pub by: String,
    /// Who is taken out of the voters, because a quorum was lost for good; on return they freeze.
    pub discarded: BTreeSet<MemberName>,
    /// The era that begins.
    pub era: Era,
    /// By the person's key, over league, era, who is discarded, and the voters.
    pub signature: Signature,
    /// The voters that the era begins with.
    pub voters: Voters,
}

/// What is signed beside league and era, as canonical JSON.
#[derive(Serialize)]
struct Signed<'a> {
    discarded: &'a BTreeSet<MemberName>,
    voters: &'a Voters,
}

impl Signed<'_> {
    fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and keys always encode into memory")
    }
}

fn statement(league: LeagueId, era: Era, value: &[u8]) -> Statement<'_> {
    Statement { league, era, about: "force", counter: (0, 0), value }
}

impl Ballots {
    /// These ballots as they begin another era: the same voters, decisions and appointments, and no
    /// cells and no open candidates, for what was said in them was signed in the era before, and each
    /// voter says its own anew. No number of a candidate is given twice.
    #[must_use]
    pub fn in_era(&self, era: Era) -> Ballots {
        let mut next = self.clone();
        for (key, candidate) in std::mem::take(&mut next.open) {
            next.refused.insert(key, closed(candidate, Outcome::Superseded, self.era));
        }
        next.epoch = self.epoch.next();
        next.era = era;
        next.cells.clear();
        next.lineage.clear();
        next
    }

    /// The force under which the present era began, when a person signed one.
    pub fn force(&self) -> Option<&Force> {
        self.forced.as_ref().filter(|force| force.era == self.era)
    }
}

impl Force {
    /// Signs that `era` begins with the voters of this document but for the discarded ones.
    ///
    /// # Errors
    /// When one of them does not vote, or nobody is left; says what to do.
    pub fn sign(
        person: &Signer,
        league: LeagueId,
        era: Era,
        ballots: &Ballots,
        discarded: BTreeSet<MemberName>,
    ) -> Result<Self, String> {
        let voters = without(ballots, &discarded)?;
        let value = Signed { discarded: &discarded, voters: &voters }.to_vec();
        let signature = person.sign(&statement(league, era, &value));
        Ok(Force { by: person.member().to_string(), discarded, era, signature, voters })
    }

    /// The document of the new era.
    ///
    /// # Errors
    /// When it is not signed by a person whose key these ballots know, or is not for them: the era is not higher,
    /// the voters have changed since it was signed. Says what to do.
    pub fn apply(&self, ballots: &Ballots, league: LeagueId, verifier: &Verifier) -> Result<Ballots, String> {
        if self.era <= ballots.era {
            return Err(format!(
                "it is for era {}, and the document is of era {}: sign it anew",
                self.era, ballots.era
            ));
        }
        self.verify(&ballots.voters.people, league, verifier)?;
        if self.voters != without(ballots, &self.discarded)? {
            return Err("the voters have changed since it was signed: sign it anew".to_owned());
        }
        let mut next = ballots.in_era(self.era);
        next.voters = self.voters.clone();
        next.lost.retain(|name, _| next.voters.set.contains_key(name));
        next.forced = Some(self.clone());
        Ok(next)
    }

    /// Whether one of these people signed exactly this.
    ///
    /// # Errors
    /// When nobody did, or it contradicts itself.
    pub fn verify(
        &self,
        people: &BTreeMap<String, PublicKey>,
        league: LeagueId,
        verifier: &Verifier,
    ) -> Result<(), String> {
        let key = people.get(&self.by).ok_or_else(|| {
            let known = if people.is_empty() { "nobody's".to_owned() } else { names(people.keys()) };
            format!("{} is no person whose key this league knows; it knows {known}", self.by)
        })?;
        let value = Signed { discarded: &self.discarded, voters: &self.voters }.to_vec();
        if !verifier.verify(key, &statement(league, self.era, &value), &self.signature) {
            return Err(format!("it is not signed by {}'s key, or not over this", self.by));
        }
        self.voters.fault().map_or(Ok(()), Err)
    }
}

/// The voters of a document but for some, as a force at its next epoch leaves them.
fn without(ballots: &Ballots, discarded: &BTreeSet<MemberName>) -> Result<Voters, String> {
    let epoch = ballots.epoch.next();
    let mut next = Voters { epoch, ..ballots.voters.clone() };
    for name in discarded {
        let gone = next
            .set
            .remove(name)
            .ok_or_else(|| format!("{name} does not vote: name some of {}", names(ballots.voters.set.keys())))?;
        next.removed.insert(name.clone(), Removed { epoch, key: gone.key, uid: gone.uid });
    }
    next.quorum = majority(next.set.len());
    next.fault().map_or(Ok(next), Err)
}

/// Names for people.
pub(crate) fn names(names: impl Iterator<Item = impl ToString>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}
