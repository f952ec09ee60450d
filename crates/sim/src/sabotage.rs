//! Broken variants: what an operator with a defect would do, made by altering its acts and what it
//! hears. They prove that the judge can find such a defect; the production code stays as it is.

use crate::store::Store;
use hansa_ledger::{Swap, Version};
use hansa_operator::{Act, Event, TopoAnswer};

/// A defect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sabotage {
    /// A write whose answer was lost is taken for committed.
    IndeterminateIsCommitted,
}

impl Sabotage {
    /// Every defect, by name.
    pub const ALL: [(&'static str, Sabotage); 1] = [("indeterminate-is-committed", Sabotage::IndeterminateIsCommitted)];

    /// What the operator hears instead.
    pub(crate) fn twist_event(self, event: &mut Event, under_way: &str, store: &Store) {
        let _ = (under_way, store);
        if let (Sabotage::IndeterminateIsCommitted, Event::Topo { answer, .. }) = (self, event)
            && let TopoAnswer::Swapped(Swap::Indeterminate { .. }) = answer
        {
            *answer = TopoAnswer::Swapped(Swap::Committed(Version::new("0")));
        }
    }

    /// What it does instead.
    pub(crate) fn twist_act(self, act: &mut Act) {
        let _ = act;
    }
}
