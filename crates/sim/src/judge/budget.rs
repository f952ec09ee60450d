//! The breaker, seen from outside: entries before deeds, deeds within the budget.

use super::rules::{BEFORE, WITHIN};
use super::{Judge, Violation};
use hansa_ledger::breaker::Removal;
use hansa_ledger::cell::MemberCell;
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
    /// Whether its wall clock was ever set forward: the window then ends early, as everyone's would.
    pub(super) clock_jumped: bool,
}

impl Judge {
    /// People were shown what waits: a set's hash, and what is in it.
    pub fn shown(&mut self, answer: &Value) {
        for set in answer.as_array().into_iter().flatten() {
            let Ok(hash) = serde_json::from_value::<Hash>(set["set"].clone()) else { continue };
            let keys = serde_json::from_value::<BTreeSet<RecordKey>>(set["objects"].clone());
            self.shown.entry(hash).or_default().extend(keys.unwrap_or_default());
        }
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
        self.decided(member, 1, key)?;
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
        if judged == Some(&life) { Ok(()) } else { self.decided(member, weight, key) }
    }

    /// A member decides on, or carries out, a removal.
    pub(super) fn decided(&mut self, member: &MemberName, weight: u64, key: &RecordKey) -> Result<(), Violation> {
        let confirmed = self.control.as_ref().is_some_and(|control| {
            control.confirmations.keys().any(|set| self.shown.get(set).is_some_and(|keys| keys.contains(key)))
        });
        let account = self.accounts.entry(member.clone()).or_default();
        if confirmed && account.taken + weight > account.entered {
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
