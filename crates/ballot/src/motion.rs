//! What one voter wants said, as values: judged again on whatever document stands there.
//!
//! A motion that lost its compare-and-swap is applied to the document that won, so it carries what is
//! wanted and not what was computed. [`progress`] says how far it is on a document; [`apply`] does its
//! part in the voter's own cell, and opens a candidate or takes a claim where there is none.

use crate::appointments::Claim;
use crate::barriers::{Barrier, MAX_BARRIERS};
use crate::candidate::{Candidate, Decision, MAX_VALUE, Outcome, Rule, Verdict, Vote, sign_vote};
use crate::cell::{Beat, Cell, MAX_REASON, Posted};
use crate::decide::judge;
use crate::document::{Ballots, Document, MAX_OPEN};
use crate::key::{Epoch, Key};
use crate::membership::{Join, MAX_JOINS, consents};
use crate::signing::{Signer, Verifier};
use hansa_model::{Hash, Incarnation, LeagueId, MemberName, Term};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which candidates of others a voter says yes to, when it would have another value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accept {
    /// Any: what matters is that all hold the same.
    Any,
    /// Its own value only: it says no to others.
    Equal,
    /// Its own value only, and it says nothing of others yet: they have to be judged first.
    Judged,
}

/// One thing that a voter wants.
#[derive(Clone, Debug)]
pub enum Motion {
    /// That a key is decided after `after`: the first candidate that is closed later settles it.
    Decide {
        /// The key.
        key: Key,
        /// The epoch of the last decision that does not count; 0 takes what is decided already.
        after: Epoch,
        /// What it proposes, when nobody has proposed yet.
        value: Arc<RawValue>,
        /// What its candidate needs.
        rule: Rule,
        /// What it votes for.
        accept: Accept,
    },
    /// A vote on an open candidate.
    Vote {
        /// The key.
        key: Key,
        /// The candidate's epoch.
        epoch: Epoch,
        /// Yes or no; only the proposer withdraws.
        verdict: Verdict,
        /// Why, for people.
        reason: Option<String>,
    },
    /// The highest feature level that it speaks.
    Speak {
        /// The level.
        level: u32,
    },
    /// Whom it suspects; the whole set.
    Suspect {
        /// The members.
        members: BTreeSet<MemberName>,
    },
    /// It has finished a phase, and wants to know when the next one may begin.
    Post {
        /// The barrier's key.
        key: Key,
        /// What the phases are of.
        hash: Hash,
        /// The phase.
        phase: u32,
        /// How many have to post, the same for all; `None`: every live worker.
        needs: Option<u32>,
    },
    /// It takes part in a barrier no more.
    Forget {
        /// The barrier's key.
        key: Key,
    },
    /// A claim, on the ground that the one which stands there is `over`: nobody's, or too old.
    Claim {
        /// The key.
        key: Key,
        /// The claim that is taken over; `None`: there is none, or nobody holds it.
        over: Option<Term>,
        /// How long a renewal lasts, in milliseconds.
        ttl_ms: u64,
    },
    /// A renewal of a claim.
    Renew {
        /// The key.
        key: Key,
        /// The term.
        term: Term,
        /// Rises with every renewal.
        beat: u64,
    },
    /// The end of a claim, by its holder.
    Resign {
        /// The key.
        key: Key,
        /// The term.
        term: Term,
    },
    /// A request to join, by an operator that does not vote yet.
    Join(Join),
}

/// How far a motion is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Its part is not said yet.
    Unsaid,
    /// Its part is said; it waits for others.
    Said,
    /// It is done.
    Done(Answer),
}

/// What came of a motion.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is said.
    Said,
    /// It is decided.
    Decided(Box<Decision>),
    /// The next phase is open.
    Open,
    /// It holds this term.
    Term(Term),
    /// It cannot be done, and why.
    Refused(String),
}

/// Who speaks.
#[derive(Clone, Debug)]
pub struct Pen<'a> {
    /// The voter's key.
    pub signer: &'a Signer,
    /// Verifies others.
    pub verifier: &'a Verifier,
    /// The league.
    pub league: LeagueId,
    /// The start of this process.
    pub incarnation: Incarnation,
}

/// How far a motion of `member` is on a document, given that its cell there says `cell`.
pub fn progress(
    motion: &Motion,
    ballots: &Ballots,
    member: &MemberName,
    incarnation: Incarnation,
    cell: Option<&Cell>,
) -> Progress {
    let said = |is: bool| if is { Progress::Done(Answer::Said) } else { Progress::Unsaid };
    let refused = |why: String| Progress::Done(Answer::Refused(why));
    match motion {
        // What was superseded is asked again.
        Motion::Decide { key, after, .. } => match (ballots.verdict(key, *after), ballots.open.get(key)) {
            (Some(decision), _) => Progress::Done(Answer::Decided(Box::new(decision.clone()))),
            (None, Some(candidate)) if vote_of(cell, key, candidate.epoch).is_some() => Progress::Said,
            _ => Progress::Unsaid,
        },
        Motion::Vote { key, epoch, verdict, .. } => match (ballots.open.get(key), vote_of(cell, key, *epoch)) {
            (Some(candidate), Some(vote)) if candidate.epoch == *epoch && vote.verdict == *verdict => said(true),
            (Some(candidate), Some(vote)) if candidate.epoch == *epoch && *verdict != Verdict::Withdrawn => refused(
                format!("{member} has voted {:?} on {key} at epoch {epoch}: a vote is not changed", vote.verdict),
            ),
            (Some(candidate), _) if candidate.epoch == *epoch => Progress::Unsaid,
            _ => match ballots.decision(key, Epoch(epoch.0.saturating_sub(1))) {
                Some(decision) if decision.epoch == *epoch => {
                    Progress::Done(Answer::Decided(Box::new(decision.clone())))
                }
                _ => refused(format!("no candidate of {key} is open at epoch {epoch}")),
            },
        },
        Motion::Speak { level } => said(cell.is_some_and(|cell| cell.speaks == *level)),
        Motion::Suspect { members } => said(cell.map_or(members.is_empty(), |cell| cell.suspects == *members)),
        Motion::Post { key, hash, phase, needs } => {
            let posted = cell.and_then(|cell| cell.phases.get(key));
            match (ballots.barriers.get(key), posted) {
                (Some(barrier), _) if barrier.hash != *hash => refused(format!(
                    "the barrier {key} is of {}, not of {}: give the other one a key of its own",
                    barrier.hash, hash
                )),
                (Some(barrier), _) if barrier.needs != *needs => refused(format!(
                    "the barrier {key} opens for {}, not for {}: all have to say the same",
                    openers(barrier.needs),
                    openers(*needs)
                )),
                (Some(barrier), Some(posted)) if posted.phase >= *phase && barrier.open > *phase => {
                    Progress::Done(Answer::Open)
                }
                (_, Some(posted)) if posted.phase >= *phase => Progress::Said,
                (barrier, _) if *phase > barrier.map_or(0, |barrier| barrier.open) => {
                    refused(format!("phase {phase} of {key} has not begun: post the phases in order"))
                }
                _ => Progress::Unsaid,
            }
        }
        Motion::Forget { key } => said(cell.is_none_or(|cell| !cell.phases.contains_key(key))),
        Motion::Claim { key, over, .. } => match ballots.appointments.claims.get(key) {
            // An own claim that is to be taken over is one of a call that nobody waits for: its term is not given twice.
            Some(claim) if Some(claim.term) == *over => Progress::Unsaid,
            Some(claim) if claim.member.as_ref() == Some(member) && claim.incarnation == incarnation => {
                Progress::Done(Answer::Term(claim.term))
            }
            Some(claim) if claim.member.is_some() => refused(format!(
                "{} holds {key} under term {}",
                claim.member.as_ref().map_or("nobody", MemberName::as_str),
                claim.term
            )),
            _ => Progress::Unsaid,
        },
        Motion::Renew { key, term, beat } => {
            let held = Beat { beat: *beat, term: *term };
            match ballots.appointments.claims.get(key) {
                Some(claim) if claim.member.as_ref() == Some(member) && claim.term == *term => {
                    match cell.and_then(|cell| cell.beats.get(key)) {
                        Some(known) if *known == held => Progress::Done(Answer::Term(*term)),
                        _ => Progress::Unsaid,
                    }
                }
                _ => refused(format!("term {term} of {key} is over")),
            }
        }
        Motion::Resign { key, term } => {
            let claim = ballots.appointments.claims.get(key);
            said(claim.is_none_or(|claim| claim.member.as_ref() != Some(member) || claim.term != *term))
        }
        Motion::Join(join) => {
            let waits = ballots.joins.get(member) == Some(join);
            said(waits || ballots.voters.set.get(member) == Some(&join.voter))
        }
    }
}

fn vote_of<'a>(cell: Option<&'a Cell>, key: &Key, epoch: Epoch) -> Option<&'a Vote> {
    cell?.votes.get(key).filter(|vote| vote.epoch == epoch)
}

/// Says a motion's part: in `cell`, which is the voter's own, and in the document's shared parts.
///
/// # Errors
/// When it cannot be said, with the reason and the mend; nothing is changed then.
pub fn apply<D: Document>(motion: &Motion, document: &mut D, cell: &mut Cell, pen: &Pen<'_>) -> Result<(), String> {
    let member = pen.signer.member();
    match motion {
        Motion::Decide { key, value, rule, accept, .. } => match document.ballots().open.get(key) {
            None => open(document, cell, pen, key, value, *rule),
            Some(candidate) => {
                let (mine, theirs) = (value.get(), candidate.value.get());
                if *accept == Accept::Judged && mine != theirs {
                    let proposer = &candidate.proposer;
                    return Err(format!("{proposer} has another candidate of {key} open: it is voted on first"));
                }
                let reason = format!("would have {}", shorten(mine, MAX_REASON / 2));
                let (verdict, reason) = match accept {
                    Accept::Any => (Verdict::Yes, None),
                    _ if mine == theirs => (Verdict::Yes, None),
                    Accept::Equal | Accept::Judged => (Verdict::No, Some(reason)),
                };
                vote(document, cell, pen, key, verdict, reason);
                Ok(())
            }
        },
        Motion::Vote { key, verdict, reason, .. } => {
            if *verdict == Verdict::Withdrawn
                && document.ballots().open.get(key).is_some_and(|open| open.proposer != *member)
            {
                return Err(format!("only its proposer withdraws the candidate of {key}"));
            }
            vote(document, cell, pen, key, *verdict, reason.clone());
            Ok(())
        }
        Motion::Speak { level } => {
            cell.speaks = *level;
            Ok(())
        }
        Motion::Suspect { members } => {
            cell.suspects.clone_from(members);
            Ok(())
        }
        Motion::Post { key, hash, phase, needs } => {
            let barriers = &mut document.ballots_mut().barriers;
            if !barriers.contains_key(key) && barriers.len() >= MAX_BARRIERS {
                return Err(format!(
                    "{MAX_BARRIERS} barriers are in use, and {key} would be one more: one ends when all who posted in \
                     it forget it"
                ));
            }
            barriers.entry(key.clone()).or_insert(Barrier { hash: *hash, needs: *needs, open: 0 });
            cell.phases.insert(key.clone(), Posted { hash: *hash, phase: *phase });
            Ok(())
        }
        Motion::Forget { key } => {
            cell.phases.remove(key);
            Ok(())
        }
        Motion::Claim { key, ttl_ms, .. } => {
            let appointments = &mut document.ballots_mut().appointments;
            appointments.term = appointments.term.next();
            let term = appointments.term;
            let claim = Claim { incarnation: pen.incarnation, member: Some(member.clone()), term, ttl_ms: *ttl_ms };
            appointments.claims.insert(key.clone(), claim);
            cell.beats.insert(key.clone(), Beat { beat: 0, term });
            Ok(())
        }
        Motion::Renew { key, term, beat } => {
            cell.beats.insert(key.clone(), Beat { beat: *beat, term: *term });
            Ok(())
        }
        Motion::Resign { key, .. } => {
            if let Some(claim) = document.ballots_mut().appointments.claims.get_mut(key) {
                claim.member = None;
            }
            cell.beats.remove(key);
            Ok(())
        }
        Motion::Join(join) => {
            if !consents(pen.verifier, pen.league, member, &join.voter, &join.consent) {
                return Err("the request to join is not signed by the key that it names".to_owned());
            }
            let joins = &mut document.ballots_mut().joins;
            if !joins.contains_key(member) && joins.len() >= MAX_JOINS {
                return Err(format!(
                    "{MAX_JOINS} requests to join wait already: let them be agreed to or refused first"
                ));
            }
            joins.insert(member.clone(), join.clone());
            Ok(())
        }
    }
}

/// How many a barrier opens for, in words.
fn openers(needs: Option<u32>) -> String {
    needs.map_or("all that are at work".to_owned(), |needs| format!("{needs} of those that are at work"))
}

fn open<D: Document>(
    document: &mut D,
    cell: &mut Cell,
    pen: &Pen<'_>,
    key: &Key,
    value: &Arc<RawValue>,
    rule: Rule,
) -> Result<(), String> {
    let ballots = document.ballots();
    if *key != Key::spec() && value.get().len() > MAX_VALUE {
        return Err(format!(
            "the value of {key} has {} bytes, more than {MAX_VALUE}: put it elsewhere and decide its hash",
            value.get().len()
        ));
    }
    if ballots.open.len() >= MAX_OPEN {
        return Err(format!("{MAX_OPEN} candidates are open: let some be decided first"));
    }
    let epoch = ballots.epoch.next();
    let candidate = Candidate::new(epoch, pen.signer.member().clone(), rule, Arc::clone(value), ballots.voters.epoch);
    judge(document, key, &candidate, pen.league, pen.verifier)?;
    let ballots = document.ballots_mut();
    ballots.epoch = epoch;
    ballots.open.insert(key.clone(), candidate);
    vote(document, cell, pen, key, Verdict::Yes, None);
    Ok(())
}

fn vote<D: Document>(
    document: &D,
    cell: &mut Cell,
    pen: &Pen<'_>,
    key: &Key,
    verdict: Verdict,
    reason: Option<String>,
) {
    let ballots = document.ballots();
    let Some(candidate) = ballots.open.get(key) else { return };
    let signature = sign_vote(pen.signer, pen.league, ballots.era, key, candidate, verdict);
    let reason = reason.map(|reason| shorten(&reason, MAX_REASON).to_owned());
    cell.votes.insert(key.clone(), Vote { epoch: candidate.epoch, reason, signature, verdict });
}

/// At most `limit` bytes of a text, cut between characters.
fn shorten(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Lets go of votes on candidates that are closed, and of beats of claims that are over.
pub fn prune(cell: &mut Cell, ballots: &Ballots) {
    cell.votes.retain(|key, vote| ballots.open.get(key).is_some_and(|candidate| candidate.epoch == vote.epoch));
    let held = |key: &Key, beat: &mut Beat| {
        ballots
            .appointments
            .claims
            .get(key)
            .is_some_and(|claim| claim.term == beat.term && claim.member.as_ref() == Some(&cell.member))
    };
    let mut beats = std::mem::take(&mut cell.beats);
    beats.retain(held);
    cell.beats = beats;
}

/// Which members a quorum suspects that are not voted lost yet, and of which no ballot is open.
pub fn to_be_voted_lost(ballots: &Ballots, cells: &BTreeMap<&MemberName, &Cell>) -> BTreeSet<MemberName> {
    let mut suspected = crate::decide::suspected(ballots, cells);
    suspected.retain(|member| {
        let is_voter = ballots.voters.set.contains_key(member);
        is_voter && !ballots.lost.contains_key(member) && !ballots.open.contains_key(&Key::lost(member))
    });
    suspected
}

impl Answer {
    /// Whether it is a decision that adopted something.
    pub fn is_adopted(&self) -> bool {
        matches!(self, Answer::Decided(decision) if decision.outcome == Outcome::Adopted)
    }
}
