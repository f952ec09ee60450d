//! The breaker, seen from outside: entries before deeds, deeds within the budget.

use super::rules::{BEFORE, CONFIRMS, WITHIN};
use super::{Judge, Violation};
use crate::reached::Hazard;
use crate::users::Users;
use hansa_ledger::breaker::{Removal, Scope};
use hansa_ledger::cell::MemberCell;
use hansa_ledger::confirmation::Confirmations;
use hansa_model::{Hash, Incarnation, MemberName, RecordKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a member was allowed to take away, and what it took.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The entries that stood in its cell last.
    entries: Vec<Removal>,
    /// The weight of everything that was ever entered.
    entered: u64,
    /// The weight of everything that it ever took away or decided to.
    taken: u64,
    /// The lives that it ended for the league: its own output of them was judged with that.
    ended: BTreeMap<RecordKey, Incarnation>,
    /// The lives whose output it has deleted. A process that lost the Lease may make one again by what it
    /// knew: that it goes once more is no other removal.
    deleted: BTreeSet<(RecordKey, Incarnation)>,
    /// What it decided on: in a topology server that went back it may be decided once more, and falls once.
    settled: BTreeSet<(RecordKey, Scope)>,
    /// The start of its operator that entered something last.
    entered_by: Option<Incarnation>,
    /// Whether its wall clock was ever set forward: the window then ends early, as everyone's would.
    pub(super) clock_jumped: bool,
}

impl Judge {
    /// People were shown what waits: a set's hash, and what is in it.
    pub fn shown(&mut self, answer: &Value) {
        for set in answer.as_array().into_iter().flatten() {
            let Ok(hash) = serde_json::from_value::<Hash>(set["set"].clone()) else { continue };
            let removals = serde_json::from_value::<BTreeMap<RecordKey, Scope>>(set["removals"].clone());
            self.shown.insert(hash, removals.unwrap_or_default());
            self.reached.count(Hazard::RemovalsHeld);
        }
    }

    /// A member's part in what people confirmed was written.
    pub(super) fn turn_confirmations(
        &mut self,
        member: &MemberName,
        written: &Confirmations,
        users: &Users,
    ) -> Result<String, Violation> {
        for hash in written.sets.keys().chain(written.asked.keys()) {
            if !users.has_confirmed(hash) {
                return Err(Violation::new(CONFIRMS, format!("{member} says that set {hash} was confirmed")));
            }
        }
        let mut told = String::new();
        for (hash, set) in &written.sets {
            for (key, scope) in &set.removals {
                if self.shown.get(hash).and_then(|shown| shown.get(key)) != Some(scope) {
                    let what =
                        format!("{member} says that {scope:?} was confirmed with set {hash}, which does not hold it");
                    return Err(Violation::at(CONFIRMS, key, what));
                }
                self.confirmed.entry(key.clone()).or_default().insert(scope.clone());
            }
            told.push_str(&format!(" | confirmed {}: {}", hash.short(), set.removals.len()));
        }
        Ok(told)
    }

    /// A member's cell was written.
    pub(super) fn turn_cell(&mut self, member: &MemberName, cell: &MemberCell) -> Result<String, Violation> {
        let budget = self.specs.iter().map(|spec| spec.safety.deletes.at_least).max().unwrap_or(u64::MAX);
        let window = self.specs.last().and_then(|spec| spec.safety.deletes.window_ms()).unwrap_or(u64::MAX);
        let account = self.accounts.entry(member.clone()).or_default();
        // Two entries may be equal.
        let mut known = account.entries.clone();
        let is_new = |entry: &&Removal| match known.iter().position(|other| other == *entry) {
            Some(at) => {
                known.swap_remove(at);
                false
            }
            None => true,
        };
        let new: Vec<&Removal> = cell.removals.iter().filter(is_new).collect();
        let mut told = String::new();
        if !new.is_empty() && account.entered_by.replace(cell.incarnation).is_some_and(|by| by != cell.incarnation) {
            let at_ms = new.iter().map(|entry| entry.at_ms).max().unwrap_or_default();
            if account.entries.iter().any(|entry| at_ms.saturating_sub(entry.at_ms) < window) {
                self.reached.count(Hazard::BudgetOfTwoStarts);
            }
        }
        for entry in new {
            account.entered += entry.weight;
            told.push_str(&format!(" | may take away {}", entry.weight));
            let recent: u64 = cell
                .removals
                .iter()
                .filter(|other| entry.at_ms.saturating_sub(other.at_ms) < window)
                .map(|other| other.weight)
                .sum();
            // These leagues are too small for the percentage to count.
            // What a person confirmed has no entry.
            if recent > budget {
                let what = format!("{member} lets {recent} go within the window, and the budget is {budget}");
                return Err(Violation::new(WITHIN, what));
            }
        }
        account.entries.clone_from(&cell.removals);
        Ok(told)
    }

    /// A member ends a life for the league.
    pub(super) fn ended(&mut self, member: &MemberName, key: &RecordKey, life: Incarnation) -> Result<(), Violation> {
        self.decided(member, 1, key, &[Scope::end(life)])?;
        self.accounts.entry(member.clone()).or_default().ended.insert(key.clone(), life);
        Ok(())
    }

    /// A member deletes its output of a life.
    pub(super) fn deleted(
        &mut self,
        member: &MemberName,
        key: &RecordKey,
        life: Incarnation,
        weight: u64,
    ) -> Result<(), Violation> {
        let judged = self.accounts.get(member).and_then(|account| account.ended.get(key));
        // With a life goes what stands there of an earlier one.
        if judged.is_some_and(|ended| *ended >= life) {
            return Ok(());
        }
        let account = self.accounts.entry(member.clone()).or_default();
        if !account.deleted.insert((key.clone(), life)) {
            return Ok(());
        }
        // Whichever it was let go with. What is owed may be a later life's, beside which an earlier one's still stands.
        let owed = self.record(key).and_then(|record| record.placed.get(member)).map(|placed| placed.incarnation);
        let lives = std::iter::once(life).chain(owed.filter(|owed| *owed > life));
        let scopes: Vec<Scope> = lives
            .flat_map(|life| [Scope::end(life), Scope::withdrawal(life, BTreeSet::from([member.clone()]))])
            .collect();
        self.decided(member, weight, key, &scopes)
    }

    /// A member decides on, or carries out, a removal that may go under one of these scopes.
    pub(super) fn decided(
        &mut self,
        member: &MemberName,
        weight: u64,
        key: &RecordKey,
        scopes: &[Scope],
    ) -> Result<(), Violation> {
        let confirmed = self.confirmed.get(key).into_iter().flatten();
        // What a person confirmed has no entry.
        if confirmed.into_iter().any(|known| scopes.iter().any(|scope| known.covers(scope))) {
            return Ok(());
        }
        let account = self.accounts.entry(member.clone()).or_default();
        let mut first = true;
        for scope in scopes {
            first &= account.settled.insert((key.clone(), scope.clone()));
        }
        if self.went_back && !first {
            return Ok(());
        }
        account.taken += weight;
        if account.taken > account.entered {
            let what = format!(
                "{member} has taken away {} in all, and its cell was ever given only {}",
                account.taken, account.entered
            );
            return Err(Violation::at(BEFORE, key, what));
        }
        Ok(())
    }
}
