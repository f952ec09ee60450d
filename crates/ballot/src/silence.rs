//! After how long a silence a member is suspected, and voted lost: the pace that operators keep, and that
//! people are told. In milliseconds.

/// How often an operator says that it lives, unless it is told otherwise.
pub const HEARTBEAT_MS: u64 = 5_000;

/// The silence after which others suspect a member: three heartbeats, and a little for a slow write. Its
/// pages go to others as soon as a quorum does.
pub fn suspect_after_ms(heartbeat_ms: u64) -> u64 {
    heartbeat_ms.saturating_mul(3).saturating_add(2_000)
}

/// The silence after which others vote that a member is lost: much longer, for an upgrade or a restart of
/// its cluster is no loss.
pub fn lost_after_ms(heartbeat_ms: u64) -> u64 {
    suspect_after_ms(heartbeat_ms).saturating_mul(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_pages_for_people_say() {
        assert_eq!((suspect_after_ms(HEARTBEAT_MS), lost_after_ms(HEARTBEAT_MS)), (17_000, 204_000));
    }
}
