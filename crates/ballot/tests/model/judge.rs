//! The safety properties, each judged on what is written and on what operators act on.

use crate::sabotage::Sabotage;
use hansa_ballot::{Ballots, Epoch, Key, Outcome, Rule, Verdict};
use hansa_ledger::Envelope;
use hansa_model::{Hash, Incarnation, MemberName, Term};
use std::collections::{BTreeMap, BTreeSet};

pub const ONCE: &str = "one decision per key and epoch";
pub const NEVER_RETRACTED: &str = "no decision is retracted";
pub const CERTIFIED: &str = "every decision has the votes of a quorum";
pub const RISES: &str = "era, epoch, feature level and terms only rise";
pub const KEPT: &str = "no acknowledged word is lost";
pub const OWN: &str = "nobody changes another's cell, but to put back what it said later";
pub const VOTE_STAYS: &str = "a vote is not changed";
pub const TOGETHER: &str = "nobody begins a phase before all finished the last";
pub const MEET: &str = "quorums of consecutive voters meet";
pub const EXPIRED: &str = "an expired incarnation commits nothing";
pub const ONE_TERM: &str = "a term is given once";
pub const ONE_WRITER: &str = "a page has one writer in a term";
pub const LIVE: &str = "without further faults every script ends";

pub const RULES: [&str; 13] = [
    ONCE,
    NEVER_RETRACTED,
    CERTIFIED,
    RISES,
    KEPT,
    OWN,
    VOTE_STAYS,
    TOGETHER,
    MEET,
    EXPIRED,
    ONE_TERM,
    ONE_WRITER,
    LIVE,
];

/// What was seen of a run, whoever forgets it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ghost {
    /// What operators acted on.
    pub acted: BTreeMap<(Key, Epoch), (Outcome, Hash)>,
    /// Who was told which term.
    pub terms: BTreeMap<(Key, u64), usize>,
    /// The phase that each operator has begun.
    pub begun: BTreeMap<usize, u32>,
    /// Who decided last in the page: the term, the operator, and which start of it.
    pub decided: Option<(Term, usize, u64)>,
    /// The rules that were broken.
    pub broken: BTreeSet<&'static str>,
}

impl Ghost {
    fn expect(&mut self, rule: &'static str, holds: bool) {
        if !holds {
            self.broken.insert(rule);
        }
    }

    /// Whether there is nothing more to look for in this run.
    pub fn is_over(&self, sabotage: Option<Sabotage>) -> bool {
        match sabotage {
            None => !self.broken.is_empty(),
            Some(sabotage) => sabotage.breaks().iter().all(|rule| self.broken.contains(rule)),
        }
    }

    /// A start of an operator has decided in the page, under a term.
    pub fn decides(&mut self, term: Term, operator: usize, start: u64) {
        let may =
            self.decided.is_none_or(|(last, by, its)| term > last || (term == last && operator == by && start >= its));
        self.expect(ONE_WRITER, may);
        self.decided = Some((term, operator, start));
    }

    /// An operator acts on a decision.
    pub fn acts(&mut self, key: &Key, epoch: Epoch, outcome: Outcome, hash: Hash) {
        let known = *self.acted.entry((key.clone(), epoch)).or_insert((outcome, hash));
        self.expect(ONCE, known == (outcome, hash));
    }

    /// An operator acts under a term.
    pub fn holds(&mut self, key: &Key, term: Term, operator: usize) {
        let holder = *self.terms.entry((key.clone(), term.0)).or_insert(operator);
        self.expect(ONE_TERM, holder == operator);
    }

    /// An operator begins a phase, while these are at work.
    pub fn begins(&mut self, operator: usize, phase: u32, live: &[usize]) {
        let last = self.begun.entry(operator).or_default();
        *last = phase.max(*last);
        let begun = |other: &usize| self.begun.get(other).copied().unwrap_or_default();
        let together = live.iter().all(|other| begun(other) + 1 >= phase);
        self.expect(TOGETHER, together);
    }

    /// A write is stored on what stood there.
    pub fn stored(&mut self, before: Option<&(Envelope, Ballots)>, after: &(Envelope, Ballots), writer: &MemberName) {
        let empty = Ballots::found(after.1.voters.clone(), 0);
        let (was, is) = (before.map_or(&empty, |(_, ballots)| ballots), &after.1);
        let rises = is.era >= was.era
            && is.epoch >= was.epoch
            && is.feature >= was.feature
            && is.appointments.term >= was.appointments.term;
        self.expect(RISES, rises);
        for (key, decision) in was.decisions.iter().chain(&was.refused) {
            let kept = is.decision(key, Epoch(0));
            let same = |kept: &hansa_ballot::Decision| {
                kept.epoch > decision.epoch || (kept.outcome, kept.hash) == (decision.outcome, decision.hash)
            };
            self.expect(NEVER_RETRACTED, kept.is_some_and(same));
        }
        for (key, decision) in is.decisions.iter().chain(&is.refused) {
            if decision.epoch <= was.decided(key) {
                continue;
            }
            let votes = decision.certificate.keys().filter(|name| was.voters.set.contains_key(*name)).count();
            let all = || {
                was.voters.set.keys().all(|name| was.lost.contains_key(name) || decision.certificate.contains_key(name))
            };
            let enough = match (decision.outcome, decision.rule) {
                (Outcome::Adopted, Rule::Quorum) => votes >= was.voters.quorum as usize,
                (Outcome::Adopted, Rule::All) => votes >= was.voters.quorum as usize && all(),
                (Outcome::Rejected, Rule::Quorum) => was.voters.set.len() - votes < was.voters.quorum as usize,
                (Outcome::Rejected, Rule::All) => votes > 0,
                (Outcome::Superseded, _) => true,
            };
            self.expect(CERTIFIED, enough);
        }
        self.cells(was, is, writer);
        self.expect(MEET, is.voters == was.voters || is.voters.meets(&was.voters));
        for (key, barrier) in &is.barriers {
            let opened = was.barriers.get(key).map_or(0, |barrier| barrier.open) < barrier.open;
            let live = is.voters.set.keys().filter(|name| !is.lost.contains_key(*name) && !suspected(is, name));
            let posted = |name: &MemberName| {
                let cell = is.cells.get(name).and_then(|slot| slot.cell().ok());
                cell.and_then(|cell| cell.phases.get(key)).map(|posted| posted.phase)
            };
            self.expect(
                TOGETHER,
                !opened || live.clone().all(|name| posted(name).is_some_and(|at| at + 1 >= barrier.open)),
            );
        }
        for (key, claim) in &is.appointments.claims {
            let known = was.appointments.claims.get(key);
            let fresh = known.is_none_or(|known| known == claim || known.term < claim.term || claim.member.is_none());
            self.expect(RISES, fresh);
        }
        let incarnation = |envelope: &Envelope| envelope.operations.get(writer).map(|operation| operation.incarnation);
        let earlier = before.and_then(|(envelope, _)| incarnation(envelope)).unwrap_or(Incarnation(0));
        self.expect(EXPIRED, incarnation(&after.0).is_some_and(|now| now >= earlier));
    }

    fn cells(&mut self, was: &Ballots, is: &Ballots, writer: &MemberName) {
        for (member, slot) in &was.cells {
            let Some(now) = is.cells.get(member) else {
                // Gone with its voter, or with its key.
                let gone = is.voters.set.get(member).map(|voter| voter.key)
                    != was.voters.set.get(member).map(|voter| voter.key);
                self.expect(KEPT, gone);
                continue;
            };
            let (Ok(before), Ok(after)) = (slot.cell(), now.cell()) else { continue };
            self.expect(OWN, now == slot || member == writer || after.counter() > before.counter());
            self.expect(KEPT, after.counter() >= before.counter());
            for (key, vote) in &before.votes {
                let changed = after.votes.get(key).filter(|later| later.epoch == vote.epoch);
                let stays =
                    changed.is_none_or(|later| later.verdict == vote.verdict || later.verdict == Verdict::Withdrawn);
                self.expect(VOTE_STAYS, stays);
            }
        }
    }
}

fn suspected(ballots: &Ballots, name: &MemberName) -> bool {
    let cells = ballots.cells.iter().filter(|(by, _)| *by != name).filter_map(|(_, slot)| slot.cell().ok());
    cells.filter(|cell| cell.suspects.contains(name)).count() >= ballots.voters.quorum as usize
}
