//! How long an operation waits for others, and how often.

use hansa_model::SplitMix64;
use std::time::Duration;

/// The longest first wait after a conflict; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(20);

/// After how many attempts nobody is let go first any more.
pub(super) const POLITE: u32 = 10;

/// How long an operation lets others go first.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Waits {
    /// Spreads the waits of proposers that meet.
    entropy: SplitMix64,
    /// How many looks must find nothing changed before what another proposer has begun is taken for left behind.
    pub(super) patience: u32,
}

impl Waits {
    /// With that patience; the entropy differs with each operation.
    ///
    /// Of many who meet at one register, those who push in where one is at work stop it, and are stopped by the next. With
    /// patience most find that the other has ended, and that nothing is left to do. A look takes a round trip, as each
    /// phase of the other does: two looks are enough, however far the stores are.
    pub fn new(entropy: u64, patience: u32) -> Self {
        Waits { entropy: SplitMix64(entropy), patience }
    }

    /// A time up to a bound that doubles with each attempt.
    pub(super) fn next(&mut self, attempts: u32) -> Duration {
        let bound = u64::try_from(BACK_OFF.as_micros()).unwrap_or(u64::MAX) << attempts.min(6);
        Duration::from_micros(self.entropy.below(bound))
    }
}
