//! What is to be taken away: collected, judged as a set by the breaker, made durable, and only then
//! done.

use crate::io::Level;
use crate::machine::{Context, Operator, Timer};
use hansa_ledger::Record;
use hansa_ledger::breaker::{Pending, Removal, Verdict, judge};
use hansa_ledger::cell::{Health, State};
use hansa_ledger::mutation::Change;
use hansa_model::{DeletionBudget, Hash, Incarnation, MemberName, RecordKey, Term};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Which set a removal belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Decision {
    /// The last home went by intent: a tombstone for all.
    End,
    /// Placement does not select some members any more; decided by the page's appointee.
    Withdraw,
    /// This member's own output goes.
    Output,
}

/// How long a set that is too large must have stood still before it is shown to people: a mass
/// deletion arrives object by object, and what is shown is what they confirm.
const STILL_MS: u64 = 1_000;

/// How long what was allowed counts as a part of the set that follows it: a member sees a confirmed
/// mass deletion page by page, and its first few fit the budget.
const TOGETHER_MS: u64 = 60_000;

/// How many such parts are remembered.
const MAX_PARTS: usize = 32;

#[derive(Debug, Default)]
struct Set {
    pending: BTreeMap<RecordKey, Pending>,
    approved: BTreeMap<RecordKey, Incarnation>,
    /// What was let go a moment ago, and when; the last first.
    lately: VecDeque<(u64, BTreeMap<RecordKey, Pending>)>,
    /// The set that is too large, since when it is this one, and since when there is one.
    growing: Option<(Hash, u64, u64)>,
    /// The set that is shown, why it waits, and what is in it.
    verdict: Option<(Hash, String, Vec<RecordKey>)>,
    /// Something was put up or taken back since the last judgement.
    changed: bool,
    judged_ms: u64,
}

/// What is to be taken away, by set.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// What this process ended for the league: its own output of it was judged with that, by the
    /// same budget, and is not counted once more.
    decided: BTreeMap<RecordKey, Incarnation>,
    sets: BTreeMap<Decision, Set>,
    /// How many verdicts allowed something so far.
    pub serial: u64,
    /// Approved, and waiting until the breaker's own entry is durable: which verdict it was.
    unpersisted: Vec<(u64, Decision, BTreeMap<RecordKey, Pending>)>,
    /// The pages that this process has claimed with a decision, and under which terms.
    claimed: BTreeMap<u32, Term>,
}

impl Removals {
    /// Whether this removal may be done. If not yet, it is put up for judgement.
    pub fn ask(&mut self, decision: Decision, key: &RecordKey, pending: Pending) -> bool {
        if decision == Decision::Output && self.decided.get(key) == Some(&pending.incarnation) {
            return true;
        }
        let set = self.sets.entry(decision).or_default();
        if set.approved.get(key) == Some(&pending.incarnation) {
            return true;
        }
        let waiting = self.unpersisted.iter().any(|(_, kind, keys)| {
            *kind == decision && keys.get(key).is_some_and(|p| p.incarnation == pending.incarnation)
        });
        if !waiting && set.pending.insert(key.clone(), pending) != Some(pending) {
            set.changed = true;
        }
        false
    }

    /// Takes a removal back: it is done, or not wanted any more.
    pub fn forget(&mut self, decision: Decision, key: &RecordKey) {
        if let Some(set) = self.sets.get_mut(&decision) {
            set.changed |= set.pending.remove(key).is_some();
            set.approved.remove(key);
            if set.pending.is_empty() {
                (set.verdict, set.growing) = (None, None);
            }
        }
    }

    /// Nothing of a set waits any more; it is remembered for what may follow it.
    fn let_go(&mut self, decision: Decision, pending: &BTreeMap<RecordKey, Pending>, now_ms: u64) {
        let set = self.sets.entry(decision).or_default();
        set.pending.clear();
        (set.verdict, set.growing) = (None, None);
        set.lately.push_front((now_ms, pending.clone()));
        set.lately.truncate(MAX_PARTS);
    }

    /// What a set is judged by has changed: the budget, or what people confirmed.
    pub fn judge_anew(&mut self) {
        self.sets.values_mut().for_each(|set| set.changed = true);
    }

    /// Nothing of this member is left to be removed under this key.
    pub fn done(&mut self, key: &RecordKey) {
        self.forget(Decision::Output, key);
        self.decided.remove(key);
    }

    /// Why a removal of this key waits for a person, if it does.
    pub fn held(&self, key: &RecordKey) -> Option<String> {
        self.sets
            .values()
            .find(|set| set.pending.contains_key(key))
            .and_then(|set| set.verdict.as_ref())
            .map(|(_, why, _)| why.clone())
    }

    /// The sets that wait: what they are, their hash, why, and their keys.
    pub fn waiting(&self) -> impl Iterator<Item = (Decision, Hash, &str, Vec<&RecordKey>)> {
        self.sets.iter().filter_map(|(decision, set)| {
            set.verdict.as_ref().map(|(hash, why, keys)| (*decision, *hash, why.as_str(), keys.iter().collect()))
        })
    }
}

impl Operator {
    /// Judges every set that has something pending, once nothing else is left to look at.
    pub(crate) fn judge_removals(&mut self) {
        let nothing = self.removals.sets.values().all(|set| set.pending.is_empty());
        if nothing || self.topology.down_since_ms.is_some() {
            return;
        }
        let Some(league) = self.league.clone() else { return };
        for decision in [Decision::End, Decision::Withdraw, Decision::Output] {
            let now = self.now.monotonic_ms;
            // While nothing changes, only what went before grows old.
            let due = |set: &&mut Set| !set.pending.is_empty() && (set.changed || now >= set.judged_ms + STILL_MS);
            let Some(set) = self.removals.sets.get_mut(&decision).filter(due) else { continue };
            (set.changed, set.judged_ms) = (false, now);
            set.lately.retain(|(at, _)| now.saturating_sub(*at) < TOGETHER_MS);
            let pending = set.pending.clone();
            let lately = set.lately.iter().map(|(_, part)| part);
            let placed = match decision {
                Decision::Output => {
                    self.objects.values().filter_map(|object| object.live.as_ref()).map(|live| live.weight).sum()
                }
                Decision::End | Decision::Withdraw => self.topology.records().count() as u64,
            };
            let recent = &self.topology.cell.cell.removals;
            let (budget, confirmed) = (&league.spec.safety.deletes, league.control.confirmed());
            match judge(budget, placed, recent, self.now.wall_ms, &pending, lately, &confirmed) {
                Verdict::Allowed => self.let_go(decision, pending, budget),
                Verdict::Confirmed => self.let_go_confirmed(decision, pending),
                Verdict::Held { set: hash, pending: weight, recent, limit } => {
                    let (number, set) = (pending.len(), hash.short());
                    let (removals, wait) =
                        if number == 1 { ("removal is", "it waits") } else { ("removals are", "they wait") };
                    let why = format!(
                        "{number} {removals} more than the budget of {limit} (weight {weight}, after {recent} lately): {wait} for `hansa confirm {set}`"
                    );
                    self.hold(decision, hash, why);
                }
            }
        }
    }

    /// What fits the budget goes, once the breaker's entry is durable: a crash in between forgets
    /// nothing.
    fn let_go(&mut self, decision: Decision, pending: BTreeMap<RecordKey, Pending>, budget: &DeletionBudget) {
        let wall = self.now.wall_ms;
        let window = budget.window_ms().unwrap_or(u64::MAX);
        let weight = pending.values().map(|removal| removal.weight).sum();
        let removals = &mut self.topology.cell.cell.removals;
        removals.retain(|removal| wall.saturating_sub(removal.at_ms) < window);
        removals.push(Removal { at_ms: wall, weight });
        self.removals.let_go(decision, &pending, self.now.monotonic_ms);
        self.removals.serial += 1;
        self.removals.unpersisted.push((self.removals.serial, decision, pending));
        self.topology.cell.dirty = true;
        self.flush_cell();
    }

    /// What a person confirmed goes: the confirmation is durable already.
    fn let_go_confirmed(&mut self, decision: Decision, pending: BTreeMap<RecordKey, Pending>) {
        self.log(Level::Warning, None, format!("{} removals were confirmed, and go", pending.len()));
        self.removals.let_go(decision, &pending, self.now.monotonic_ms);
        self.approve(decision, pending);
    }

    /// A set waits for a person. It is shown when it has stood still, for only what is shown can be
    /// confirmed.
    fn hold(&mut self, decision: Decision, hash: Hash, why: String) {
        let now = self.now.monotonic_ms;
        let set = self.removals.sets.entry(decision).or_default();
        let (since, first) = match set.growing {
            Some((known, since, first)) if known == hash => (since, first),
            Some((_, _, first)) => (now, first),
            None => (now, now),
        };
        set.growing = Some((hash, since, first));
        let still = now >= since + STILL_MS || now >= first + 10 * STILL_MS;
        if still && set.verdict.as_ref().map(|(known, ..)| *known) != Some(hash) {
            let keys: Vec<RecordKey> = set.pending.keys().cloned().collect();
            set.verdict = Some((hash, why.clone(), keys.clone()));
            set.growing = Some((hash, since, now));
            self.log(Level::Warning, None, why);
            for key in keys {
                self.touch(&key);
            }
        }
        // The window moves on, too: what is held may fit later.
        self.at(now + STILL_MS, Timer::Continue);
    }

    fn approve(&mut self, decision: Decision, keys: BTreeMap<RecordKey, Pending>) {
        for (key, pending) in keys {
            self.removals.sets.entry(decision).or_default().approved.insert(key.clone(), pending.incarnation);
            if decision == Decision::End {
                self.removals.decided.insert(key.clone(), pending.incarnation);
            }
            self.touch(&key);
        }
    }

    /// The cell with the entries of the verdicts up to this one is durable: what waited may be done.
    pub(crate) fn removals_persisted(&mut self, serial: u64) {
        let (durable, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.removals.unpersisted).into_iter().partition(|(verdict, _, _)| *verdict <= serial);
        self.removals.unpersisted = waiting;
        for (_, decision, keys) in durable {
            self.approve(decision, keys);
        }
    }

    /// Withdraws an object from members that placement does not select any more: only as the page's
    /// appointee, and only when those that stay report this revision healthy. A withdrawal from
    /// everywhere has nobody to wait for; the breaker is its gate.
    pub(crate) fn process_withdrawal(
        &mut self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        wanted: &BTreeSet<MemberName>,
    ) {
        let leaving: BTreeSet<MemberName> =
            record.placed_members().filter(|member| !wanted.contains(*member)).cloned().collect();
        if leaving.is_empty() || self.appointee(context, key).as_ref() != Some(&self.config.member) {
            return self.removals.forget(Decision::Withdraw, key);
        }
        let well = |member: &MemberName| {
            self.status_of(member, key).is_some_and(|status| {
                crate::machine::is_current(status, record)
                    && status.state == State::Applied
                    && matches!(status.health, Health::Healthy | Health::Unknown)
            })
        };
        if !wanted.iter().all(well) {
            return;
        }
        let weight = leaving.len() as u64;
        if self.removals.ask(Decision::Withdraw, key, Pending { incarnation: record.incarnation, weight }) {
            let term = self.term(key);
            self.removals.forget(Decision::Withdraw, key);
            self.mutate(key, Change::Withdraw { revision: record.revision, members: leaving, term });
        }
    }

    /// The term under which this process decides about a key's page. The header names a member, not a
    /// process: a new start takes the next term with its first decision, and keeps it for those that
    /// go with it in one write.
    fn term(&mut self, key: &RecordKey) -> Term {
        let header = self.header(key);
        let mine = header.member.as_ref() == Some(&self.config.member);
        let claimed = self.removals.claimed.entry(key.page(self.pages())).or_default();
        if header.term > *claimed || header.term == *claimed && !mine {
            *claimed = header.term.next();
        }
        *claimed
    }

    /// The member appointed to a key's page. Until appointments are voted, every operator computes
    /// the same one: the highest random weight of (member, page) (Thaler and Ravishankar, 1998).
    pub(crate) fn appointee(&self, context: &Context, key: &RecordKey) -> Option<MemberName> {
        let page = key.page(self.pages());
        let weight = |name: &MemberName| Hash::of_bytes(format!("{name}/{page}").as_bytes());
        context.spec.members.iter().map(|member| &member.name).max_by_key(|name| weight(name)).cloned()
    }
}
