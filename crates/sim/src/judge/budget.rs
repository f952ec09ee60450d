//! The breaker, seen from outside: entries before deeds, deeds within the budget.

use super::{Judge, Violation};
use hansa_ledger::breaker::Removal;
use hansa_ledger::cell::MemberCell;
use hansa_model::{MemberName, RecordKey};

const BEFORE: &str = "the breaker's entry is durable before the deed";
const WITHIN: &str = "the safety budget holds unless a person confirms";

/// What a member was allowed to take away, and what it took.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// The entries that stood in its cell last.
    entries: Vec<Removal>,
    /// The weight of everything that was ever entered.
    entered: u64,
    /// The weight of everything that it ever took away or decided to.
    taken: u64,
    /// How many entries went over the budget.
    over: usize,
    /// Whether its wall clock was ever set forward: the window then ends early, as everyone's would.
    pub(super) clock_jumped: bool,
}

impl Judge {
    /// A member's cell was written.
    pub(super) fn turn_cell(&mut self, member: &MemberName, cell: &MemberCell) -> Result<String, Violation> {
        let budget = self.specs.iter().map(|spec| spec.safety.deletes.at_least).max().unwrap_or(u64::MAX);
        let window = self.specs.last().and_then(|spec| spec.safety.deletes.window_ms()).unwrap_or(u64::MAX);
        let confirmed = self.control.as_ref().map_or(0, |control| control.confirmations.len());
        let account = self.accounts.entry(member.clone()).or_default();
        let kept = cell.removals.iter().filter(|entry| account.entries.contains(entry)).count();
        let new = &cell.removals[kept.min(cell.removals.len())..];
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
            if recent > budget {
                account.over += 1;
                if account.over > confirmed * 2 {
                    let what = format!(
                        "{member} lets {recent} go within the window, the budget is {budget} and {confirmed} sets are confirmed"
                    );
                    return Err(Violation::new(WITHIN, what));
                }
            }
        }
        account.entries.clone_from(&cell.removals);
        Ok(told)
    }

    /// A member decides on, or carries out, a removal.
    pub(super) fn decided(&mut self, member: &MemberName, weight: u64, key: &RecordKey) -> Result<(), Violation> {
        let account = self.accounts.entry(member.clone()).or_default();
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
