//! Back-off: exponential, bounded, jittered by the entropy of the step.

/// The pause after the `failures`-th failure in a row (1 is the first), in milliseconds: doubling
/// from `base` up to `limit`, of which the upper half is drawn by `entropy`, so that many operators
/// that failed together do not return together.
pub fn pause_ms(failures: u32, base: u64, limit: u64, entropy: u64) -> u64 {
    let full = base.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(limit);
    full / 2 + entropy % (full / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::pause_ms;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_within_its_bounds(failures in 1u32..1000, entropy: u64) {
            let pause = pause_ms(failures, 50, 30_000, entropy);
            prop_assert!((25..=30_000).contains(&pause));
        }
    }

    #[test]
    fn doubles_until_the_limit() {
        let longest = |failures| pause_ms(failures, 100, 1_000, u64::MAX / 3 * 2);
        assert!(longest(1) <= 100 && longest(2) > 100 / 2 && longest(10) >= 500);
    }
}
