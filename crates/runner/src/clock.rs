//! The two clocks and the randomness of a step.

use hansa_operator::Now;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// The times and fresh randomness for one step. The monotonic clock is `CLOCK_BOOTTIME`, which goes
/// on while the machine is suspended: a lease would otherwise outlive its term in a sleeping laptop.
pub fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let monotonic_ms = (boot.tv_sec as u64) * 1_000 + (boot.tv_nsec as u64) / 1_000_000;
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Now { monotonic_ms, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX), entropy: entropy() }
}

/// Fresh randomness for keys, from the operating system.
pub fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Fresh randomness from the operating system.
pub fn entropy() -> u64 {
    getrandom::u64().expect("the operating system gives randomness")
}
