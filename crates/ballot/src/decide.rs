//! From what voters say to what holds: a pure function of the document.
//!
//! [`tally`] verifies and counts; [`decide`] says which candidates are closed and as what; [`settle`]
//! writes it into the document, with what follows from it: the voters, the lost, the feature level, the
//! appointments, the barriers. Every writer settles what it writes, so the compare-and-swap that
//! completes a quorum writes the decision too, and whoever reads the document reads the result.

use crate::barriers;
use crate::candidate::{Candidate, Decision, Outcome, Rule, Verdict, Vote, vote_about, vote_value};
use crate::cell::{Cell, Cells, Slot, cell_about};
use crate::document::{Ballots, Document, MAX_DECISIONS, MAX_LINEAGE};
use crate::key::{Epoch, Key, Subject};
use crate::membership::{Change, closed};
use crate::rejected::{Fault, Rejected};
use crate::signing::{PublicKey, Signature, Statement, Verifier};
use hansa_model::{Era, LeagueId, MemberName};
use std::collections::{BTreeMap, BTreeSet};

/// How many eras back a signature is looked for, to tell a replay from a forgery.
const ERAS_BACK: u64 = 8;

/// What is validly said in a document.
#[derive(Clone, Debug)]
pub struct Tally<'a> {
    /// The cells of voters, each signed by its own.
    pub cells: BTreeMap<&'a MemberName, &'a Cell>,
    /// The votes on each open candidate.
    pub counts: BTreeMap<&'a Key, Count>,
    /// What does not count, and why.
    pub rejected: Vec<Rejected>,
}

/// The valid votes on a candidate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Who said yes.
    pub yes: BTreeMap<MemberName, Signature>,
    /// Who said no, and why.
    pub no: BTreeMap<MemberName, (Signature, Option<String>)>,
    /// Its proposer withdrew it.
    pub withdrawn: Option<Signature>,
    /// Who cannot vote on it.
    pub abstained: BTreeSet<MemberName>,
}

/// Counts the votes of a document.
pub fn tally<'a>(ballots: &'a Ballots, league: LeagueId, verifier: &Verifier) -> Tally<'a> {
    let mut tally = Tally { cells: BTreeMap::new(), counts: BTreeMap::new(), rejected: Vec::new() };
    for (member, slot) in &ballots.cells {
        match judge_cell(ballots, league, verifier, member, slot) {
            Ok(cell) => {
                tally.cells.insert(member, cell);
            }
            Err(why) => {
                tally.rejected.push(Rejected { who: member.clone(), what: cell_about(member), why });
            }
        }
    }
    for (key, candidate) in &ballots.open {
        let mut count = Count::default();
        for (member, cell) in &tally.cells {
            let Some(vote) = cell.votes.get(key).filter(|vote| vote.epoch == candidate.epoch) else { continue };
            let voter = &ballots.voters.set[*member];
            if !is_signed(verifier, league, ballots.era, member, &voter.key, key, candidate, vote) {
                let what = vote_about(member, key);
                tally.rejected.push(Rejected { who: (*member).clone(), what, why: Fault::Forged });
                continue;
            }
            match vote.verdict {
                Verdict::Yes => {
                    count.yes.insert((*member).clone(), vote.signature);
                }
                Verdict::No => {
                    count.no.insert((*member).clone(), (vote.signature, vote.reason.clone()));
                }
                Verdict::Withdrawn if **member == candidate.proposer => count.withdrawn = Some(vote.signature),
                // Nobody else may: it is no vote.
                Verdict::Withdrawn => {}
                Verdict::Abstained => {
                    count.abstained.insert((*member).clone());
                }
            }
        }
        let (yes, abstained) = (&count.yes, &count.abstained);
        let has_voted = yes.contains_key(&candidate.proposer) || abstained.contains(&candidate.proposer);
        if !has_voted && count.withdrawn.is_none() {
            let what = format!("open/{key}");
            tally.rejected.push(Rejected { who: candidate.proposer.clone(), what, why: Fault::Unsupported });
        }
        tally.counts.insert(key, count);
    }
    tally
}

/// The cells that count.
pub fn verified(ballots: &Ballots, league: LeagueId, verifier: &Verifier) -> Cells {
    let cells = ballots.cells.iter();
    let valid = cells.filter(|(member, slot)| judge_cell(ballots, league, verifier, member, slot).is_ok());
    valid.map(|(member, slot)| (member.clone(), slot.clone())).collect()
}

fn judge_cell<'a>(
    ballots: &Ballots,
    league: LeagueId,
    verifier: &Verifier,
    member: &MemberName,
    slot: &'a Slot,
) -> Result<&'a Cell, Fault> {
    let Some(voter) = ballots.voters.set.get(member) else {
        return Err(if ballots.voters.removed.contains_key(member) { Fault::Removed } else { Fault::Stranger });
    };
    let cell = slot.cell().map_err(Clone::clone)?;
    let by = |author: &MemberName, key: &PublicKey, era: Era| {
        let about = cell_about(author);
        slot.signed(&about, league, era)
            .is_some_and(|(statement, signature)| verifier.verify(key, &statement, &signature))
    };
    if by(member, &voter.key, ballots.era) && cell.member == *member {
        return Ok(cell);
    }
    // It does not count; what follows only finds its name.
    if cell.member != *member
        && ballots.voters.set.get(&cell.member).is_some_and(|own| by(&cell.member, &own.key, ballots.era))
    {
        return Err(Fault::Copied { from: cell.member.clone() });
    }
    let mut earlier = (ballots.era.0.saturating_sub(ERAS_BACK)..ballots.era.0).rev().map(Era);
    match earlier.find(|era| by(member, &voter.key, *era)) {
        Some(_) => Err(Fault::Replayed { newer: format!("era {}", ballots.era) }),
        None => Err(Fault::Forged),
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one signed vote, put together once")]
fn is_signed(
    verifier: &Verifier,
    league: LeagueId,
    era: Era,
    member: &MemberName,
    key: &PublicKey,
    about: &Key,
    candidate: &Candidate,
    vote: &Vote,
) -> bool {
    let (about, value) = (vote_about(member, about), vote_value(&candidate.digest(about), vote.verdict));
    let statement = Statement { league, era, about: &about, counter: (0, vote.epoch.0), value: &value };
    verifier.verify(key, &statement, &vote.signature)
}

/// Who is at work: workers that are neither lost nor suspected by a quorum.
pub fn live(ballots: &Ballots, cells: &BTreeMap<&MemberName, &Cell>) -> BTreeSet<MemberName> {
    let suspected = suspected(ballots, cells);
    let workers = ballots.voters.workers();
    workers.filter(|name| !ballots.lost.contains_key(*name) && !suspected.contains(*name)).cloned().collect()
}

/// Whom a quorum suspects, each on its own clock. It releases seats and barriers, and never shrinks
/// the denominator of a quorum.
pub fn suspected(ballots: &Ballots, cells: &BTreeMap<&MemberName, &Cell>) -> BTreeSet<MemberName> {
    let mut by: BTreeMap<&MemberName, u32> = BTreeMap::new();
    for (member, cell) in cells {
        for suspect in cell.suspects.iter().filter(|suspect| suspect != member) {
            *by.entry(suspect).or_default() += 1;
        }
    }
    by.into_iter().filter(|(_, count)| *count >= ballots.voters.quorum).map(|(member, _)| member.clone()).collect()
}

/// The highest feature level that every voter speaks which is not lost; 0 while one has not said. It holds
/// once it is decided, under [`Rule::All`].
pub fn spoken(ballots: &Ballots, cells: &BTreeMap<&MemberName, &Cell>) -> u32 {
    let voters = ballots.voters.set.keys().filter(|name| !ballots.lost.contains_key(*name));
    voters.map(|name| cells.get(name).map_or(0, |cell| cell.speaks)).min().unwrap_or(0)
}

/// Which open candidates are closed, as what, with what certificate.
pub fn decide(ballots: &Ballots, tally: &Tally<'_>) -> Vec<(Key, Decision)> {
    let closings = ballots.open.iter().filter_map(|(key, candidate)| {
        let count = tally.counts.get(key)?;
        verdict(ballots, candidate, count).map(|(outcome, certificate, reasons)| {
            let mut decision = closed(candidate.clone(), outcome, ballots.era);
            (decision.certificate, decision.reasons) = (certificate, reasons);
            (key.clone(), decision)
        })
    });
    closings.collect()
}

type Closing = (Outcome, BTreeMap<MemberName, Signature>, BTreeMap<MemberName, String>);

fn verdict(ballots: &Ballots, candidate: &Candidate, count: &Count) -> Option<Closing> {
    let (voters, quorum) = (&ballots.voters, ballots.voters.quorum as usize);
    if candidate.voters != voters.epoch {
        return Some((Outcome::Superseded, BTreeMap::new(), BTreeMap::new()));
    }
    if let Some(signature) = count.withdrawn {
        let certificate = BTreeMap::from([(candidate.proposer.clone(), signature)]);
        return Some((Outcome::Superseded, certificate, BTreeMap::new()));
    }
    let all_said_yes = || voters.set.keys().all(|name| ballots.lost.contains_key(name) || count.yes.contains_key(name));
    let (all, no, abstained) = (voters.set.len(), count.no.len(), count.abstained.len());
    let (adopted, rejected, stuck) = match candidate.rule {
        Rule::Quorum => (count.yes.len() >= quorum, all - no < quorum, all - no - abstained < quorum),
        Rule::All => (count.yes.len() >= quorum && all_said_yes(), no > 0, abstained > 0),
    };
    if adopted {
        Some((Outcome::Adopted, count.yes.clone(), BTreeMap::new()))
    } else if rejected {
        let certificate = count.no.iter().map(|(name, (signature, _))| (name.clone(), *signature)).collect();
        let reasons = count.no.iter().filter_map(|(name, (_, reason))| Some((name.clone(), reason.clone()?)));
        Some((Outcome::Rejected, certificate, reasons.collect()))
    } else if stuck {
        Some((Outcome::Superseded, BTreeMap::new(), BTreeMap::new()))
    } else {
        None
    }
}

/// Why a candidate may not be opened, or not take effect.
///
/// # Errors
/// When it may not; names the field and the mend.
pub fn judge<D: Document>(
    document: &D,
    key: &Key,
    candidate: &Candidate,
    league: LeagueId,
    verifier: &Verifier,
) -> Result<(), String> {
    let ballots = document.ballots();
    let text = candidate.value.get();
    let wrong = |error: serde_json::Error| format!("the value of {key}: {error}");
    match key.subject() {
        Subject::Members => {
            let change: Change = serde_json::from_str(text).map_err(wrong)?;
            change.apply(&ballots.voters, candidate.epoch, &candidate.proposer, league, verifier)?;
        }
        Subject::Feature => {
            let level: u32 = serde_json::from_str(text).map_err(wrong)?;
            if level <= ballots.feature {
                return Err(format!("the feature level is {} already: it only rises", ballots.feature));
            }
            if candidate.rule != Rule::All {
                return Err("the feature level is what all voters speak: propose it under the rule All".to_owned());
            }
        }
        Subject::Lost(member) => {
            let lost: bool = serde_json::from_str(text).map_err(wrong)?;
            if !ballots.voters.set.contains_key(&member) {
                return Err(format!("{member} does not vote here"));
            }
            if ballots.lost.contains_key(&member) == lost {
                return Err(format!("{member} is {} already", if lost { "lost" } else { "back" }));
            }
        }
        Subject::Other => {}
    }
    document.judge(key, candidate)
}

/// What [`settle`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// What was closed, in the order in which it was.
    pub closed: Vec<(Key, Epoch, Outcome)>,
    /// How many seats moved.
    pub moved: usize,
    /// Whether a barrier opened, was made or collected.
    pub barriers: bool,
}

/// Writes into the document what follows from it. Doing it twice changes nothing more.
pub fn settle<D: Document>(document: &mut D, league: LeagueId, verifier: &Verifier) -> Settled {
    let mut settled = Settled::default();
    loop {
        let ballots = document.ballots();
        let mut closings = decide(ballots, &tally(ballots, league, verifier));
        // What the old voters decided is decided; then the voters change.
        closings.sort_by_key(|(key, _)| matches!(key.subject(), Subject::Members));
        if closings.is_empty() {
            break;
        }
        for (key, decision) in closings {
            settled.closed.push((key.clone(), decision.epoch, decision.outcome));
            close(document, key, decision, league, verifier);
        }
    }
    collect(document.ballots_mut());
    let mut ballots = document.ballots().clone();
    let tally = tally(document.ballots(), league, verifier);
    let live = live(&ballots, &tally.cells);
    // Who has said that its release is below the agreed level decides nothing.
    let is_able =
        |name: &MemberName| tally.cells.get(name).is_none_or(|cell| cell.speaks == 0 || cell.speaks >= ballots.feature);
    let able: BTreeSet<MemberName> = live.iter().filter(|name| is_able(name)).cloned().collect();
    settled.moved = ballots.appointments.balance(&able);
    settled.barriers = barriers::turn(&mut ballots.barriers, &tally.cells, &live);
    if settled.moved > 0 || settled.barriers {
        *document.ballots_mut() = ballots;
    }
    settled
}

fn close<D: Document>(document: &mut D, key: Key, mut decision: Decision, league: LeagueId, verifier: &Verifier) {
    let Some(candidate) = document.ballots_mut().open.remove(&key) else { return };
    if decision.outcome == Outcome::Adopted
        && let Err(why) = judge(document, &key, &candidate, league, verifier)
    {
        // Nobody that keeps the rules opens or votes for it: it was tampered with, or outlived its ground.
        decision = closed(candidate.clone(), Outcome::Superseded, decision.era);
        decision.reasons.insert(candidate.proposer.clone(), why);
    }
    if decision.outcome != Outcome::Adopted {
        document.ballots_mut().refused.insert(key, decision);
        return;
    }
    if !document.adopt(&key, &candidate) {
        decision.value = Some(candidate.value.clone());
    }
    let ballots = document.ballots_mut();
    let text = candidate.value.get();
    match key.subject() {
        Subject::Members => {
            let change = serde_json::from_str::<Change>(text).map_err(|error| error.to_string());
            let next = change.and_then(|change| {
                change
                    .apply(&ballots.voters, candidate.epoch, &candidate.proposer, league, verifier)
                    .map(|next| (change, next))
            });
            if let Ok((change, next)) = next {
                ballots.voters = next;
                ballots.lineage.insert(candidate.epoch, decision.clone());
                match change {
                    Change::Join { name, .. } => {
                        ballots.joins.remove(&name);
                    }
                    Change::Leave { name, .. } => {
                        ballots.cells.remove(&name);
                        ballots.lost.remove(&name);
                    }
                    // It signs its cell anew.
                    Change::Rotate { name, .. } => {
                        ballots.cells.remove(&name);
                    }
                    Change::Person { .. } => {}
                }
            }
        }
        Subject::Feature => ballots.feature = serde_json::from_str(text).unwrap_or(ballots.feature),
        Subject::Lost(member) => match serde_json::from_str(text) {
            Ok(true) => {
                ballots.lost.insert(member, candidate.epoch);
            }
            _ => {
                ballots.lost.remove(&member);
            }
        },
        Subject::Other => {}
    }
    ballots.refused.remove(&key);
    ballots.decisions.insert(key, decision);
}

/// Lets go of what is old, so that the document stays bounded. The epoch of a ballot is never given
/// again, so what was collected cannot be decided a second time.
fn collect(ballots: &mut Ballots) {
    while ballots.lineage.len() > MAX_LINEAGE {
        ballots.lineage.pop_first();
    }
    let mut collected = ballots.collected;
    for (decisions, is_own) in [(&mut ballots.decisions, true), (&mut ballots.refused, false)] {
        while decisions.len() > MAX_DECISIONS {
            let own = |key: &Key| is_own && !matches!(key.subject(), Subject::Other) || *key == Key::spec();
            let oldest = decisions.iter().filter(|(key, _)| !own(key)).min_by_key(|(_, decision)| decision.epoch);
            let Some((key, epoch)) = oldest.map(|(key, decision)| (key.clone(), decision.epoch)) else { break };
            decisions.remove(&key);
            collected = collected.max(epoch);
        }
    }
    ballots.collected = collected;
}

/// How many valid signatures of voters with these `keys` a decision's certificate holds.
pub fn certified(
    key: &Key,
    decision: &Decision,
    keys: &BTreeMap<MemberName, PublicKey>,
    league: LeagueId,
    verifier: &Verifier,
) -> u32 {
    let value = vote_value(&decision.digest(key), decision.certified());
    let valid = decision.certificate.iter().filter(|(member, signature)| {
        let about = vote_about(member, key);
        let statement =
            Statement { league, era: decision.era, about: &about, counter: (0, decision.epoch.0), value: &value };
        keys.get(member).is_some_and(|key| verifier.verify(key, &statement, signature))
    });
    u32::try_from(valid.count()).unwrap_or(u32::MAX)
}
