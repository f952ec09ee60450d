//! The clocks of one machine, which nobody else shares.

/// Some day in November 2026, when every story begins.
pub const EPOCH_MS: u64 = 1_795_000_000_000;

/// How a machine's clocks run beside the true time of the world.
#[derive(Clone, Debug)]
pub struct Clock {
    /// How long the machine had been up when the story began.
    pub uptime_ms: u64,
    /// How much faster (or slower) its crystal is, in parts per million.
    pub drift_ppm: i64,
    /// How far its wall clock is off.
    pub wall_offset_ms: i64,
}

impl Clock {
    fn drifted(&self, true_ms: u64) -> u64 {
        let drift = true_ms as i64 * self.drift_ppm / 1_000_000;
        true_ms.saturating_add_signed(drift)
    }

    /// The clock that never goes backwards.
    pub fn monotonic(&self, true_ms: u64) -> u64 {
        self.uptime_ms + self.drifted(true_ms)
    }

    /// The clock that people set.
    pub fn wall(&self, true_ms: u64) -> u64 {
        (EPOCH_MS + self.drifted(true_ms)).saturating_add_signed(self.wall_offset_ms)
    }

    /// The true time, from `now` on, at which the monotonic clock has reached a value.
    pub fn when(&self, monotonic_ms: u64, now: u64) -> u64 {
        let pause = monotonic_ms.saturating_sub(self.monotonic(now));
        let mut at = now + (pause as i64 - pause as i64 * self.drift_ppm / 1_000_000).max(0) as u64;
        while self.monotonic(at) < monotonic_ms {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_is_never_early_and_hardly_late() {
        for drift_ppm in [-20_000, 0, 20_000] {
            let clock = Clock { uptime_ms: 77, drift_ppm, wall_offset_ms: -5 };
            for (now, pause) in [(0, 0), (10, 1), (1_000_000, 60_000), (123_456, 999)] {
                let wanted = clock.monotonic(now) + pause;
                let at = clock.when(wanted, now);
                assert!(clock.monotonic(at) >= wanted && clock.monotonic(at) <= wanted + pause / 500 + 2);
            }
        }
    }
}
