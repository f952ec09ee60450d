//! How long an operation waits for others, and how often.

use super::{Ballot, StoreId};
use hansa_model::SplitMix64;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest first wait after a conflict; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(20);

/// After how many attempts nobody is let go first any more.
const POLITE: u32 = 10;

/// How long an operation lets others go first.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Waits {
    /// Spreads the waits of proposers that meet.
    entropy: SplitMix64,
    /// How many looks must find nothing changed before what another proposer has begun is taken for left behind.
    patience: u32,
    /// What copies had promised at the last look, by which nothing was settled.
    looked: BTreeMap<StoreId, Option<Ballot>>,
    /// How many looks since then found the same.
    unmoved: u32,
}

impl Waits {
    /// With that patience; the entropy differs with each operation.
    ///
    /// Of many who meet at one register, those who push in where one is at work stop it, and are stopped by the next. With
    /// patience most find that the other has ended, and that nothing is left to do. A look takes a round trip, as each
    /// phase of the other does: two looks are enough, however far the stores are.
    pub fn new(entropy: u64, patience: u32) -> Self {
        Waits { entropy: SplitMix64(entropy), patience, looked: BTreeMap::new(), unmoved: 0 }
    }

    /// Whether others are let go first at all, after so many attempts.
    pub(super) fn is_polite(&self, attempts: u32) -> bool {
        self.patience > 0 && attempts < POLITE
    }

    /// Whether whoever has begun a write gets on or may still, as far as this look at what copies have promised tells.
    pub(super) fn may_get_on(&mut self, looked: BTreeMap<StoreId, Option<Ballot>>) -> bool {
        let moved = self.looked.is_empty() || looked.iter().any(|(store, now)| self.looked.get(store) != Some(now));
        self.unmoved = if moved { 0 } else { self.unmoved + 1 };
        self.looked = looked;
        self.unmoved < self.patience
    }

    /// A time up to a bound that doubles with each attempt.
    pub(super) fn next(&mut self, attempts: u32) -> Duration {
        let bound = u64::try_from(BACK_OFF.as_micros()).unwrap_or(u64::MAX) << attempts.min(6);
        Duration::from_micros(self.entropy.below(bound))
    }
}
