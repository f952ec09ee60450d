//! The checker: whether a document that was read may follow the one that was known.
//!
//! It shares no code with what decides: it looks at two documents and at signatures. What it finds in a
//! single cell is named and mended (the newer signed cell is known); what it finds in the shared parts
//! is a [`Breach`], and freezes: the store was rolled back, forked, or written to by somebody who does
//! not keep the rules. Only a person goes on from there.

use crate::candidate::{Decision, Outcome, Rule};
use crate::cell::{Cell, Cells, cell_about};
use crate::decide::{certified, tally, verified};
use crate::document::Ballots;
use crate::era::names;
use crate::key::{Epoch, Key};
use crate::membership::Change;
use crate::rejected::{Fault, Rejected};
use crate::signing::{PublicKey, Verifier};
use crate::voters::Voters;
use hansa_model::{Era, LeagueId, MemberName};
use serde::Serialize;
use std::collections::BTreeMap;

/// Why a document cannot follow the one that was known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, thiserror::Error)]
#[serde(tag = "breach", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Breach {
    /// A counter is lower than it was.
    #[error(
        "the topology server was rolled back: {what} is {found}, and {known} was seen: restore it, or let a person raise the era"
    )]
    RolledBack {
        /// Which counter.
        what: &'static str,
        /// What the document says.
        found: u64,
        /// What was seen.
        known: u64,
    },
    /// The same revision with other content.
    #[error("the topology server was forked at revision {revision}: the same revision was seen with other content")]
    Forked {
        /// The revision.
        revision: u64,
    },
    /// The value is gone.
    #[error("the topology server was re-initialised: there is no document any more")]
    Gone,
    /// A decision is missing, or another one stands in its place.
    #[error("the decision on {key} at epoch {epoch} was {}: no decision is taken back", if *changed { "changed" } else { "taken out" })]
    Retracted {
        /// The key.
        key: Key,
        /// The epoch.
        epoch: Epoch,
        /// Another decision has its epoch.
        changed: bool,
    },
    /// A candidate has an epoch that was given to another one, or was closed.
    #[error("the candidate of {key} has epoch {epoch}, which was given to another: the topology server was forked")]
    Reopened {
        /// The key.
        key: Key,
        /// The epoch.
        epoch: Epoch,
    },
    /// A decision without the votes that it needs.
    #[error("the decision on {key} at epoch {epoch} has {valid} valid signatures of the {needed} it needs")]
    Uncertified {
        /// The key.
        key: Key,
        /// The epoch.
        epoch: Epoch,
        /// How many valid signatures there are.
        valid: u32,
        /// How many it needs.
        needed: u32,
    },
    /// The voters are not what their decisions made of them.
    #[error("the voters do not follow from those that were known by decisions: {why}")]
    Voters {
        /// What does not fit.
        why: String,
    },
    /// What the document holds beside its ballots is not what was decided.
    #[error("the document was altered: {what}; restore it, or let a person raise the era")]
    Altered {
        /// What does not follow.
        what: String,
    },
    /// An era that nobody began who may: see [`crate::era`].
    #[error("era {era} was begun by nobody who may begin one: {why}")]
    Unforced {
        /// The era.
        era: Era,
        /// What is wrong.
        why: String,
    },
}

/// What an audit found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Why nothing may be done on the document.
    pub breaches: Vec<Breach>,
    /// Cells that are older than what is known of them, or missing.
    pub rejected: Vec<Rejected>,
    /// The newer cells, to be put back.
    pub newer: Cells,
}

/// Judges `next`, given that `known` was seen before.
pub fn audit(known: &Ballots, next: &Ballots, league: LeagueId, verifier: &Verifier) -> Audit {
    let mut audit = Audit::default();
    if next.era < known.era {
        audit.breaches.push(Breach::RolledBack { what: "the era", found: next.era.0, known: known.era.0 });
        return audit;
    }
    // What a person lets count counts, whatever was seen before.
    let begins = next.era > known.era;
    if !begins {
        audit.breaches = lost(known, next);
    }
    let start = if begins { beginning(known, next, league, verifier) } else { Ok(known.voters.clone()) };
    let voters = match start.and_then(|start| walk(start, next, league, verifier)) {
        Ok(voters) => voters,
        // Decisions of the new era do not hide that it began with other voters.
        Err(Breach::Voters { .. } | Breach::Uncertified { .. }) if begins && known.voters.people.is_empty() => {
            let why = differs(&known.voters, &next.voters);
            audit.breaches.push(Breach::Unforced { era: next.era, why });
            return audit;
        }
        Err(found) => {
            audit.breaches.push(found);
            return audit;
        }
    };
    for (key, decision) in next.decisions.iter().chain(&next.refused) {
        if !begins && decision.epoch <= known.decided(key) {
            continue;
        }
        // Of voters that came and went unseen nothing can be said; the chain of their decisions held.
        let Some(voters) = voters.get(&decision.voters) else { continue };
        if let Some((valid, needed)) = lacks(key, decision, voters, league, verifier) {
            let (key, epoch) = (key.clone(), decision.epoch);
            audit.breaches.push(Breach::Uncertified { key, epoch, valid, needed });
        }
    }
    if !begins {
        judge_cells(known, next, league, verifier, &mut audit);
    }
    audit
}

/// What was known of the same era, and is not as it was.
fn lost(known: &Ballots, next: &Ballots) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |breach| breaches.push(breach);
    if next.epoch < known.epoch {
        breach(Breach::RolledBack { what: "the epoch", found: next.epoch.0, known: known.epoch.0 });
    }
    if next.feature < known.feature {
        let (found, known) = (next.feature.into(), known.feature.into());
        breach(Breach::RolledBack { what: "the feature level", found, known });
    }
    for (key, decision) in known.decisions.iter().chain(&known.refused) {
        let (key, epoch) = (key.clone(), decision.epoch);
        let kept = next.decisions.get(&key).into_iter().chain(next.refused.get(&key));
        let same = kept.clone().find(|kept| kept.epoch == epoch);
        match same {
            Some(same) if !is_same(&key, same, decision) => breach(Breach::Retracted { key, epoch, changed: true }),
            Some(_) => {}
            None if kept.clone().any(|kept| kept.epoch > epoch) || epoch <= next.collected => {}
            None => breach(Breach::Retracted { key, epoch, changed: false }),
        }
    }
    for (key, candidate) in next.open.iter().filter(|(_, candidate)| candidate.epoch <= known.epoch) {
        // Every epoch is given once, so this candidate was open already, or it is of another history.
        if known.open.get(key).is_none_or(|open| open.digest(key) != candidate.digest(key)) {
            breach(Breach::Reopened { key: key.clone(), epoch: candidate.epoch });
        }
    }
    breaches
}

/// The voters that a later era begins with, when somebody began it who may.
fn beginning(known: &Ballots, next: &Ballots, league: LeagueId, verifier: &Verifier) -> Result<Voters, Breach> {
    let unforced = |why: String| Breach::Unforced { era: next.era, why };
    signed(&known.voters.people, next, league, verifier).map_err(unforced)?;
    if let Some(force) = next.force().filter(|_| !known.voters.people.is_empty()) {
        return Ok(force.voters.clone());
    }
    // Unsigned: nobody but the voters themselves, by decisions since, may have changed who votes. Which
    // epoch their set had, and whom it had taken out, are those of the document that was restored.
    let epoch = next.lineage.values().next().map_or(next.voters.epoch, |first| first.voters);
    let removed = next.voters.removed.iter().filter(|(_, gone)| gone.epoch <= epoch);
    let removed = removed.map(|(name, gone)| (name.clone(), gone.clone())).collect();
    let start = Voters { epoch, removed, ..known.voters.clone() };
    let same = start == next.voters || !next.lineage.is_empty();
    if same { Ok(start) } else { Err(unforced(differs(&known.voters, &next.voters))) }
}

/// Whether a document's era was signed for by one of these people; it need not be when there are none.
///
/// # Errors
/// When it was not; says by whom it could be.
pub fn signed(
    people: &BTreeMap<String, PublicKey>,
    next: &Ballots,
    league: LeagueId,
    verifier: &Verifier,
) -> Result<(), String> {
    if people.is_empty() {
        return Ok(());
    }
    let force = next.force().ok_or_else(|| {
        format!(
            "nobody signed for it, and this league knows the keys of people ({}): one of them signs by `hansa topo raise-era --key`, or `hansa ballot force` when a quorum is lost",
            names(people.keys())
        )
    })?;
    force.verify(people, league, verifier)
}

fn differs(known: &Voters, next: &Voters) -> String {
    let (before, after) = (keys(known), keys(next));
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let new = after.keys().filter(|name| !before.contains_key(*name));
    let other = after.iter().filter(|(name, key)| before.get(*name).is_some_and(|known| known != *key));
    let parts =
        [("without", names(gone)), ("with", names(new)), ("with another key of", names(other.map(|(name, _)| name)))];
    let parts: Vec<String> =
        parts.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what} {names}")).collect();
    let what = if parts.is_empty() { "another quorum or other people".to_owned() } else { parts.join(", ") };
    format!(
        "nobody signed for it, and it changes the voters ({what}): bring back a document with those that were known, or, when these are to count, restart the operator here"
    )
}

fn is_same(key: &Key, one: &Decision, other: &Decision) -> bool {
    one.digest(key) == other.digest(key) && one.outcome == other.outcome && one.era == other.era
}

fn keys(voters: &Voters) -> BTreeMap<MemberName, PublicKey> {
    voters.set.iter().map(|(name, voter)| (name.clone(), voter.key)).collect()
}

/// The valid signatures and the needed ones, when a decision has too few.
fn lacks(key: &Key, decision: &Decision, voters: &Voters, league: LeagueId, verifier: &Verifier) -> Option<(u32, u32)> {
    let all = u32::try_from(voters.set.len()).unwrap_or(u32::MAX);
    let needed = match (decision.outcome, decision.rule) {
        // Under `All`, too: who was lost when it was decided is not known any more.
        (Outcome::Adopted, _) => voters.quorum,
        (Outcome::Rejected, Rule::Quorum) => all - voters.quorum + 1,
        (Outcome::Rejected, Rule::All) => 1,
        (Outcome::Superseded, _) => 0,
    };
    let valid = certified(key, decision, &keys(voters), league, verifier);
    (valid < needed).then_some((valid, needed))
}

/// The sets of voters from `start` to that of `next`, by epoch, each made by a decision of the one before.
fn walk(
    start: Voters,
    next: &Ballots,
    league: LeagueId,
    verifier: &Verifier,
) -> Result<BTreeMap<Epoch, Voters>, Breach> {
    let first = start.epoch;
    let mut now = start.clone();
    let mut sets = BTreeMap::from([(first, start)]);
    let wrong = |why: String| Breach::Voters { why };
    for (epoch, decision) in next.lineage.iter().filter(|(epoch, _)| **epoch > first) {
        if decision.voters != now.epoch {
            return Err(wrong(format!(
                "the change of epoch {epoch} was decided by the voters of epoch {}, and those of {} are known: too much was missed; let a person check, and begin with a fresh memory",
                decision.voters, now.epoch
            )));
        }
        if let Some((valid, needed)) = lacks(&Key::members(), decision, &now, league, verifier) {
            return Err(Breach::Uncertified { key: Key::members(), epoch: *epoch, valid, needed });
        }
        let change =
            decision.value.as_ref().ok_or_else(|| wrong(format!("the change of epoch {epoch} has no value")))?;
        if decision.hash != hansa_model::Hash::of_bytes(change.get().as_bytes()) {
            return Err(wrong(format!("the change of epoch {epoch} is not the one that was voted on")));
        }
        let change: Change = serde_json::from_str(change.get()).map_err(|error| wrong(error.to_string()))?;
        now = change.apply(&now, *epoch, &decision.proposer, league, verifier).map_err(wrong)?;
        sets.insert(*epoch, now.clone());
    }
    if now != next.voters {
        return Err(wrong(format!("the set of epoch {} is another one than its decisions made", next.voters.epoch)));
    }
    Ok(sets)
}

/// A cell that was replaced by an older one, or taken out, is named, and its newer form kept.
fn judge_cells(known: &Ballots, next: &Ballots, league: LeagueId, verifier: &Verifier, audit: &mut Audit) {
    // Only what the voters of `next` would still accept; a key that was rotated begins anew.
    let mut still = known.clone();
    still.voters = next.voters.clone();
    let valid = verified(next, league, verifier);
    // Why what stands there in its place does not count; nothing may stand there.
    let faults = tally(next, league, verifier).rejected;
    let instead = |member: &MemberName| faults.iter().find(|fault| fault.what == cell_about(member));
    for (member, slot) in verified(&still, league, verifier) {
        let newer = slot.cell().ok().map(Cell::counter);
        let found = valid.get(&member).and_then(|found| found.cell().ok().map(|cell| (cell.counter(), found)));
        let why = match found {
            Some((counter, found)) if Some(counter) == newer && *found != slot => Fault::Equivocated,
            Some((counter, _)) if Some(counter) >= newer => continue,
            found => {
                let (incarnation, sequence) = newer.unwrap_or_default();
                let replayed = Fault::Replayed { newer: format!("operation {incarnation}/{sequence}") };
                let invalid = instead(&member).filter(|_| found.is_none());
                invalid.map_or(replayed, |fault| fault.why.clone())
            }
        };
        if why != Fault::Equivocated {
            audit.newer.insert(member.clone(), slot);
        }
        audit.rejected.push(Rejected { what: cell_about(&member), who: member, why });
    }
}
