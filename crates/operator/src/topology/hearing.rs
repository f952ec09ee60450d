//! What of the time this operator could hear the others.
//!
//! While the topology server asks to be called less often, this operator reads nothing, and that is nobody's silence. So
//! how long a member has been silent is counted by a clock that stands still meanwhile.

use crate::machine::Operator;

/// The clock of what can be heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hearing {
    /// For how long it stood still before.
    lost_ms: u64,
    /// From when to when it stands still next, or stood still last.
    pause: (u64, u64),
}

impl Hearing {
    /// What it shows at `now`.
    fn at(&self, now: u64) -> u64 {
        let (from, until) = self.pause;
        now.saturating_sub(self.lost_ms + until.min(now).saturating_sub(from))
    }

    /// Nothing is read from `now` until then.
    pub(super) fn pause(&mut self, now: u64, until: u64) {
        let (before, end) = self.pause;
        if now < end {
            self.pause.1 = end.max(until);
        } else {
            self.lost_ms += end - before;
            self.pause = (now, until.max(now));
        }
    }
}

impl Operator {
    /// Now, by the clock that stands still while nothing can be heard of other members.
    pub(crate) fn hearing_ms(&self) -> u64 {
        self.topology.hearing.at(self.now.monotonic_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::Hearing;

    #[test]
    fn it_stands_still_in_every_pause() {
        let mut hearing = Hearing::default();
        assert_eq!(hearing.at(1_000), 1_000);
        hearing.pause(1_000, 3_000);
        assert_eq!([1_000, 2_000, 3_000, 4_000].map(|now| hearing.at(now)), [1_000, 1_000, 1_000, 2_000]);
        // One that begins within another makes it longer, at most.
        hearing.pause(2_000, 2_500);
        hearing.pause(2_500, 3_500);
        assert_eq!([3_000, 3_500, 4_500].map(|now| hearing.at(now)), [1_000, 1_000, 2_000]);
        hearing.pause(4_500, 5_000);
        assert_eq!([4_500, 5_000, 5_100].map(|now| hearing.at(now)), [2_000, 2_000, 2_100]);
    }
}
