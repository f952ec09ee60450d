//! What is to be taken away: collected, judged as a set by the breaker, made durable, and only then
//! done. What people say to a set that waits is in [`confirming`].

pub(crate) mod confirming;

use crate::io::Level;
use crate::machine::{Operator, Timer};
use hansa_ledger::Record;
use hansa_ledger::breaker::{Judgement, Pending, Pendings, Removal, Scope, Set, Verdict, judge};
use hansa_ledger::cell::{Health, Made, State};
use hansa_ledger::mutation::Change;
use hansa_model::{DeletionBudget, Hash, Incarnation, MemberName, RecordKey, Term};
use std::collections::{BTreeMap, BTreeSet};

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

/// The weight of what was taken away and is not known any more: beyond every budget.
const UNKNOWN: u64 = 1 << 40;

/// What waits under one decision, and what of it may be done.
#[derive(Debug, Default)]
struct Queue {
    pending: Pendings,
    approved: BTreeMap<RecordKey, Scope>,
    /// The set that is too large, since when it is this one, and since when there is one.
    growing: Option<(Hash, u64, u64)>,
    /// The set that is shown, and why it waits.
    shown: Option<(Set, String)>,
    /// Something was put up or taken back since the last judgement.
    changed: bool,
    judged_ms: u64,
}

/// What is to be taken away, by set.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// The start under which this process decides in pages, since it has read them.
    claimed: Option<Incarnation>,
    /// Pages in which a later start of this member decides, and that it was said.
    yielded: BTreeSet<u32>,
    /// What this process ended for the league: its own output of it was judged with that, by the
    /// same budget, and is not counted once more.
    decided: BTreeMap<RecordKey, Incarnation>,
    queues: BTreeMap<Decision, Queue>,
    /// How many verdicts allowed something so far.
    pub serial: u64,
    /// Approved, and waiting until the breaker's own entry is durable: which verdict it was.
    unpersisted: Vec<(u64, Decision, Pendings)>,
}

impl Removals {
    /// Whether this removal may be done. If not yet, it is put up for judgement.
    pub fn ask(&mut self, decision: Decision, key: &RecordKey, pending: Pending) -> bool {
        if decision == Decision::Output && self.decided.get(key) == Some(&pending.scope.incarnation) {
            return true;
        }
        let queue = self.queues.entry(decision).or_default();
        if queue.approved.get(key).is_some_and(|approved| approved.covers(&pending.scope)) {
            return true;
        }
        let waiting = self.unpersisted.iter().any(|(_, kind, removals)| {
            *kind == decision && removals.get(key).is_some_and(|known| known.scope == pending.scope)
        });
        if !waiting && queue.pending.get(key) != Some(&pending) {
            queue.pending.insert(key.clone(), pending);
            queue.changed = true;
        }
        false
    }

    /// Takes a removal back: it is done, or not wanted any more.
    pub fn forget(&mut self, decision: Decision, key: &RecordKey) {
        if let Some(queue) = self.queues.get_mut(&decision) {
            queue.changed |= queue.pending.remove(key).is_some();
            queue.approved.remove(key);
            if queue.pending.is_empty() {
                (queue.shown, queue.growing) = (None, None);
            }
        }
    }

    /// These wait no more.
    fn let_go(&mut self, decision: Decision, removals: &Pendings) {
        let queue = self.queues.entry(decision).or_default();
        queue.pending.retain(|key, _| !removals.contains_key(key));
        (queue.shown, queue.growing) = (None, None);
    }

    /// Whether a removal is put up, or approved and not done yet.
    fn is_under_way(&self, key: &RecordKey) -> bool {
        self.queues.values().any(|queue| queue.pending.contains_key(key) || queue.approved.contains_key(key))
    }

    /// What a set is judged by has changed: the budget, or what people confirmed.
    pub fn judge_anew(&mut self) {
        self.queues.values_mut().for_each(|queue| queue.changed = true);
    }

    /// Nothing is taken away under this key for now: it is asked for anew when its record can be read.
    pub fn rest(&mut self, key: &RecordKey) {
        for decision in [Decision::End, Decision::Withdraw, Decision::Output] {
            self.forget(decision, key);
        }
    }

    /// Nothing of this member is left to be removed under this key.
    pub fn done(&mut self, key: &RecordKey) {
        self.forget(Decision::Output, key);
        self.decided.remove(key);
    }

    /// What was let go and is not durable yet is judged once more, and its entries are taken out: another
    /// start of this operator has let something go meanwhile, each within the budget that it saw.
    fn take_back(&mut self, entries: &mut Vec<Removal>) {
        for (_, decision, pendings) in std::mem::take(&mut self.unpersisted) {
            let weight: u64 = pendings.values().map(|pending| pending.weight).sum();
            if let Some(at) = entries.iter().rposition(|entry| entry.weight == weight) {
                entries.remove(at);
            }
            let queue = self.queues.entry(decision).or_default();
            queue.pending.extend(pendings);
            queue.changed = true;
        }
    }

    /// Why a removal of this key waits for a person, if it does.
    pub fn held(&self, key: &RecordKey) -> Option<String> {
        let queue = self.queues.values().find(|queue| queue.pending.contains_key(key))?;
        queue.shown.as_ref().map(|(_, why)| why.clone())
    }

    /// The sets that wait: what they are, what is in them, and why.
    pub fn waiting(&self) -> impl Iterator<Item = (Decision, &Set, &str)> {
        self.queues
            .iter()
            .filter_map(|(decision, queue)| queue.shown.as_ref().map(|(set, why)| (*decision, set, why.as_str())))
    }
}

impl Operator {
    /// Judges every set that has something pending, once nothing else is left to look at.
    pub(crate) fn judge_removals(&mut self) {
        let nothing = self.removals.queues.values().all(|queue| queue.pending.is_empty());
        if nothing || self.topology.down_since_ms.is_some() {
            return;
        }
        let Some(league) = self.league.clone() else { return };
        for decision in [Decision::End, Decision::Withdraw, Decision::Output] {
            let now = self.now.monotonic_ms;
            // While nothing changes, only what went before grows old.
            let due =
                |queue: &&mut Queue| !queue.pending.is_empty() && (queue.changed || now >= queue.judged_ms + STILL_MS);
            let Some(queue) = self.removals.queues.get_mut(&decision).filter(due) else { continue };
            (queue.changed, queue.judged_ms) = (false, now);
            let pending = queue.pending.clone();
            let budget = &league.spec.safety.deletes;
            let judgement = self.judge_pending(decision, budget, &pending);
            if !judgement.confirmed.is_empty() {
                self.let_go_confirmed(decision, judgement.confirmed);
            }
            match judgement.verdict {
                Verdict::Allowed if judgement.others.is_empty() => {}
                Verdict::Allowed => self.let_go(decision, judgement.others, budget),
                Verdict::Held { set, pending: weight, recent, limit } => {
                    let number = judgement.others.len();
                    let part = match set.removals.len() {
                        shown if shown < number => format!(", which names the first {shown}"),
                        _ => String::new(),
                    };
                    let excess = excess(number, limit, weight, recent);
                    let wait = if number == 1 { "it waits" } else { "they wait" };
                    let why = format!("{excess}: {wait} for `hansa confirm {}`{part}", set.hash.short());
                    self.hold(decision, set, why);
                }
            }
        }
    }

    /// What was taken away lately is not known: for one window, nothing goes without a person's word.
    pub(crate) fn doubt_the_budget(&mut self) {
        let removals = &mut self.topology.cell.cell.removals;
        removals.retain(|removal| removal.weight < UNKNOWN);
        removals.push(Removal { at_ms: self.now.wall_ms, weight: UNKNOWN });
        self.removals.judge_anew();
    }

    /// What the breaker says of removals under a decision.
    fn judge_pending(&self, decision: Decision, budget: &DeletionBudget, pending: &Pendings) -> Judgement {
        let placed = match decision {
            Decision::Output => {
                self.objects.values().filter_map(|object| object.live.as_ref()).map(|live| live.weight).sum()
            }
            Decision::End | Decision::Withdraw => self.topology.records().count() as u64,
        };
        let recent = &self.topology.cell.cell.removals;
        let confirmed = |key: &RecordKey, scope: &Scope| self.is_confirmed(key, scope);
        judge(budget, placed, recent, self.now.wall_ms, pending, confirmed)
    }

    /// Why these removals would wait for a person, were they put up now beside those that are.
    pub(crate) fn would_be_held(&self, decision: Decision, planned: &Pendings) -> Option<String> {
        let budget = &self.league.as_ref()?.spec.safety.deletes;
        let mut pending = self.removals.queues.get(&decision).map(|queue| queue.pending.clone()).unwrap_or_default();
        pending.extend(planned.clone());
        let judgement = self.judge_pending(decision, budget, &pending);
        let Verdict::Held { pending: weight, recent, limit, .. } = judgement.verdict else { return None };
        Some(excess(judgement.others.len(), limit, weight, recent))
    }

    /// What fits the budget goes, once the breaker's entry is durable: a crash in between forgets
    /// nothing.
    fn let_go(&mut self, decision: Decision, pending: Pendings, budget: &DeletionBudget) {
        let wall = self.now.wall_ms;
        let window = budget.window_ms().unwrap_or(u64::MAX);
        let weight = pending.values().map(|removal| removal.weight).sum();
        let removals = &mut self.topology.cell.cell.removals;
        removals.retain(|removal| wall.saturating_sub(removal.at_ms) < window);
        removals.push(Removal { at_ms: wall, weight });
        self.removals.let_go(decision, &pending);
        self.removals.serial += 1;
        self.removals.unpersisted.push((self.removals.serial, decision, pending));
        self.topology.cell.dirty = true;
        self.flush_cell();
    }

    /// What a person confirmed goes: the confirmation is durable already.
    fn let_go_confirmed(&mut self, decision: Decision, pending: Pendings) {
        self.log(Level::Warning, None, format!("confirmed, and may go: {} removals", pending.len()));
        self.removals.let_go(decision, &pending);
        self.approve(decision, pending);
    }

    /// A set waits for a person. It is shown when it has stood still, for only what is shown can be
    /// confirmed.
    fn hold(&mut self, decision: Decision, set: Set, why: String) {
        let now = self.now.monotonic_ms;
        let queue = self.removals.queues.entry(decision).or_default();
        let (since, first) = match queue.growing {
            Some((known, since, first)) if known == set.hash => (since, first),
            Some((_, _, first)) => (now, first),
            None => (now, now),
        };
        queue.growing = Some((set.hash, since, first));
        let still = now >= since + STILL_MS || now >= first + 10 * STILL_MS;
        if still && queue.shown.as_ref().map(|(known, _)| known.hash) != Some(set.hash) {
            queue.growing = Some((set.hash, since, now));
            queue.shown = Some((set.clone(), why.clone()));
            let keys: Vec<RecordKey> = queue.pending.keys().cloned().collect();
            self.confirming.show(set);
            self.log(Level::Warning, None, why);
            for key in keys {
                self.touch(&key);
            }
        }
        // The window moves on, too: what is held may fit later.
        self.at(now + STILL_MS, Timer::Continue);
    }

    fn approve(&mut self, decision: Decision, removals: Pendings) {
        for (key, Pending { scope, .. }) in removals {
            if decision == Decision::End {
                self.removals.decided.insert(key.clone(), scope.incarnation);
            }
            self.removals.queues.entry(decision).or_default().approved.insert(key.clone(), scope);
            self.touch(&key);
        }
    }

    /// Another start of this operator wrote this cell: what that took away counts, before anything else goes.
    pub(crate) fn cell_overtaken(&mut self, standing: Vec<Removal>) {
        self.removals.take_back(&mut self.topology.cell.cell.removals);
        self.topology.cell.cell.remember(standing);
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

    /// Whether a member says that it has applied the present revision, and that its output is not unhealthy.
    pub(crate) fn is_well(&self, member: &MemberName, key: &RecordKey, record: &Record) -> bool {
        self.status_of(member, key).is_some_and(|status| {
            crate::machine::is_current(status, record)
                && status.state == State::Applied
                && matches!(status.health, Health::Healthy | Health::Unknown)
        })
    }

    /// Withdraws an object from members that placement does not select any more: only as the page's
    /// appointee, and only when those that stay report this revision healthy. A withdrawal from
    /// everywhere has nobody to wait for; the breaker is its gate.
    pub(crate) fn process_withdrawal(&mut self, key: &RecordKey, record: &Record, wanted: &BTreeSet<MemberName>) {
        let leaving: BTreeSet<MemberName> =
            record.placed_members().filter(|member| !wanted.contains(*member)).cloned().collect();
        let Some(under) = self.seat(key).filter(|_| !leaving.is_empty()) else {
            return self.removals.forget(Decision::Withdraw, key);
        };
        if !wanted.iter().all(|member| self.is_well(member, key, record)) {
            return;
        }
        // Where a member leaves the league and keeps what it has, nothing is taken away.
        let weight = leaving.iter().filter(|member| !self.keeps_outputs(member)).count() as u64;
        let scope = Scope::withdrawal(record.incarnation, leaving.clone());
        if weight == 0 || self.removals.ask(Decision::Withdraw, key, Pending { scope, weight }) {
            self.removals.forget(Decision::Withdraw, key);
            self.mutate(key, Change::Withdraw { of: Made::from(record), members: leaving, under });
        }
    }

    /// Whether this member decides about the records of a key's page.
    pub(crate) fn is_appointed(&self, key: &RecordKey) -> bool {
        let ballots = self.league.as_ref().and_then(|league| league.control.ballots.as_ref());
        let seat = ballots.and_then(|ballots| ballots.appointments.page(key.page(self.pages())));
        seat.is_some_and(|seat| seat.member.as_ref() == Some(&self.config.member))
    }

    /// Every page was read for the first time: where a start that stands there looks later than this one, the clock
    /// was set back in between, and this one goes on from there.
    pub(crate) fn claim_seats(&mut self) {
        let own = self.headers().filter(|header| header.member.as_ref() == Some(&self.config.member));
        let latest = own.filter_map(|header| header.start).max();
        let after = latest.map_or(self.config.incarnation, Incarnation::next);
        self.removals.claimed.get_or_insert(after.max(self.config.incarnation));
    }

    /// The seat of a key's page, when this member has it: the term under which it decides there, and the start of
    /// this process. None where a start decides that looks later than this one, which has read everything: that is
    /// one that began since, and two would decide in one term.
    pub(crate) fn seat(&mut self, key: &RecordKey) -> Option<(Term, Incarnation)> {
        let page = key.page(self.pages());
        let ballots = self.league.as_ref()?.control.ballots.as_ref()?;
        let seat = ballots.appointments.page(page)?;
        let term = (seat.member.as_ref() == Some(&self.config.member)).then_some(seat.term)?;
        let (claimed, header) = (self.removals.claimed?, self.header(key));
        let is_yielded = header.term == term && header.start.is_some_and(|start| start > claimed);
        if is_yielded && self.removals.yielded.insert(page) {
            let message = format!(
                "a later start of this member decides in page {page}: this one decides nothing there; if no other runs, restart the operator here"
            );
            self.log(Level::Warning, None, message);
        }
        (!is_yielded).then_some((term, claimed))
    }
}

/// By how much removals are more than the budget, for people.
fn excess(number: usize, limit: u64, weight: u64, recent: u64) -> String {
    let removals = if number == 1 { "removal is" } else { "removals are" };
    if recent >= UNKNOWN {
        return format!(
            "{number} {removals} not let go by themselves for now, for what this member took away lately is not known: its cell in the topology server could not be read"
        );
    }
    format!("{number} {removals} more than the budget of {limit} (weight {weight}, after {recent} lately)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_start_let_go_is_counted_before_anything_goes() {
        let key: RecordKey = "configmaps/shop/a".parse().unwrap();
        let pending = Pending { scope: Scope::end(Incarnation(1)), weight: 3 };
        let pendings: Pendings = [(key.clone(), pending.clone())].into();
        let mut removals = Removals { serial: 1, ..Removals::default() };
        removals.unpersisted.push((1, Decision::Output, pendings.clone()));
        let durable = Removal { at_ms: 10, weight: 3 };
        let mut entries = vec![durable.clone(), Removal { at_ms: 20, weight: 3 }];
        removals.take_back(&mut entries);
        assert_eq!(entries, [durable]);
        let queue = &removals.queues[&Decision::Output];
        assert!(queue.changed && queue.pending == pendings);
        // It waits for the breaker as before.
        assert!(!removals.ask(Decision::Output, &key, pending));
    }
}
