//! Waiting for states, never for a time.

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::time::Instant;

/// How long a state may take to come, on a machine with other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look.
pub const LOOK: Duration = Duration::from_millis(40);

/// What a look at a state found.
pub enum Seen<T> {
    /// It has come.
    Yes(T),
    /// Not yet, and how it is instead.
    No(String),
}

/// `Yes` when it holds, else how it is instead.
pub fn when(holds: bool, otherwise: impl FnOnce() -> String) -> Seen<()> {
    if holds { Seen::Yes(()) } else { Seen::No(otherwise()) }
}

/// Looks until the state has come.
///
/// # Errors
/// When it does not come in time, with what the last look saw; or when a look fails for good.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<Seen<T>>) -> Result<T> {
    within(PATIENCE, what, look).await
}

/// The same, with a time of one's own.
///
/// # Errors
/// As [`eventually`].
pub async fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<Seen<T>>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let instead = match look().await? {
            Seen::Yes(found) => return Ok(found),
            Seen::No(instead) => instead,
        };
        if Instant::now() > deadline {
            bail!("{what}: not within {} s; last seen: {instead}", patience.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}
