//! When a proposer tries (again): round trips, turns, back-off.

/// The longest wait before a call that failed is made again.
const MAX_BACK_OFF_MS: u64 = 10_000;

/// The longest time for which a change is known of and not read: votes need not come in their slots.
const MAX_HEARING_MS: u64 = 2_000;

#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// A moving average of what a call takes.
    round_trip_ms: u64,
    asked_ms: Option<u64>,
    has_read: bool,
    /// Calls in a row that failed, or were answered with what cannot be used.
    failures: u32,
    /// Races in a row that were lost.
    losses: u32,
    turn: Turn,
}

/// Whether the next write has waited for its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// It has not been tried.
    First,
    /// It waits, or has waited, and knows what stood there before.
    Taken,
    /// It lost to what it could not know, and may go on at once, once.
    Again,
    /// It lost though it knew: it waits.
    Wait,
}

impl Pace {
    pub fn new(round_trip_ms: u64) -> Self {
        let round_trip_ms = round_trip_ms.max(1);
        Pace { round_trip_ms, asked_ms: None, has_read: false, failures: 0, losses: 0, turn: Turn::First }
    }

    pub fn asked(&mut self, now_ms: u64) {
        self.asked_ms = Some(now_ms);
    }

    pub fn answered(&mut self, now_ms: u64) {
        self.has_read = true;
        if let Some(asked) = self.asked_ms.take() {
            let took = now_ms.saturating_sub(asked).max(1);
            self.round_trip_ms = (self.round_trip_ms * 3 + took) / 4;
        }
    }

    /// What was answered can be gone on with.
    pub fn well(&mut self) {
        self.failures = 0;
    }

    pub fn has_read(&self) -> bool {
        self.has_read
    }

    pub fn won(&mut self) {
        (self.losses, self.turn) = (0, Turn::First);
    }

    pub fn lost(&mut self) {
        self.losses += 1;
        self.turn = if self.turn == Turn::Taken { Turn::Again } else { Turn::Wait };
    }

    pub fn turns(&self) -> impl std::fmt::Debug {
        (self.turn, self.has_read)
    }

    /// How long to wait before the next write, when `rank` others go first out of `pending`; `None`: it
    /// is this one's turn. Without a rank, somewhere in a window that doubles with each lost race.
    pub fn wait_ms(&mut self, rank: Option<u64>, entropy: u64) -> Option<u64> {
        let waits = match self.turn {
            Turn::Taken | Turn::Again => false,
            Turn::Wait => true,
            Turn::First => rank.is_some_and(|rank| rank > 0),
        };
        if !waits {
            if self.turn == Turn::Again {
                self.turn = Turn::Wait;
            }
            return None;
        }
        self.turn = Turn::Taken;
        let slot = 2 * self.round_trip_ms;
        Some(match rank {
            Some(rank) => rank * slot + entropy % (self.round_trip_ms / 2 + 1),
            None => entropy % (slot << self.losses.min(6)),
        })
    }

    /// How long to wait before reading what changed, when so many votes are missing: those who give them take
    /// slots, so that all but the last of them take that long.
    pub fn hearing_ms(&self, missing: u64) -> u64 {
        missing.saturating_sub(1).saturating_mul(2 * self.round_trip_ms).min(MAX_HEARING_MS)
    }

    pub fn back_off_ms(&mut self, entropy: u64) -> u64 {
        self.failures += 1;
        let window = (self.round_trip_ms << self.failures.min(10)).min(MAX_BACK_OFF_MS);
        window / 2 + entropy % (window / 2 + 1)
    }
}
