//! Raising the era of a store as it stands, see [`super`].

use super::{BackupError, control_in};
use crate::contract::Topo;
use crate::error::{Category, TopoError};
use hansa_ledger::{Envelope, Swap, keys};
use hansa_model::{Era, LeagueId, Revision};

/// How often a write of unknown fate is repeated.
const ATTEMPTS: u32 = 10;

/// A league whose era was raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raised {
    /// The league.
    pub league: LeagueId,
    /// The era before.
    pub from: Era,
    /// The era now.
    pub to: Era,
    /// The control document's revision now.
    pub revision: Revision,
}

/// Writes the control document again, under the next era or the one that is asked for.
///
/// # Errors
/// When there is no league, the era is not higher, somebody else writes at the same time, or the
/// server fails.
pub async fn raise_era(topo: &dyn Topo, era: Option<Era>) -> Result<Raised, BackupError> {
    let found = topo.get(keys::CONTROL).await?.ok_or(BackupError::NoLeague)?;
    let (envelope, packed) = Envelope::open_header(&found.value).map_err(BackupError::Control)?;
    let (from, to) = (envelope.era, era.unwrap_or(envelope.era.next()));
    if to <= from {
        return Err(BackupError::EraNotHigher { asked: to, standing: from });
    }
    // The writers' operations stay: this write is none of theirs.
    let raised = Envelope { era: to, revision: envelope.revision.next(), nonce: nonce(topo.backend())?, ..envelope };
    let value = control_in(&raised, packed).map_err(BackupError::Control)?;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match topo.compare_and_swap(keys::CONTROL, &found.version, value.clone()).await? {
            Swap::Committed(_) => return Ok(done(&raised, from)),
            Swap::Mismatch { current: Some(current) } if current.value == value => return Ok(done(&raised, from)),
            Swap::Mismatch { .. } => return Err(BackupError::Raced { key: keys::CONTROL.to_owned() }),
            Swap::Indeterminate { reason } => last = reason,
        }
    }
    Err(BackupError::Indeterminate { key: keys::CONTROL.to_owned(), reason: last })
}

fn done(raised: &Envelope, from: Era) -> Raised {
    Raised { league: raised.league, from, to: raised.era, revision: raised.revision }
}

fn nonce(backend: &'static str) -> Result<u64, TopoError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        TopoError::new(Category::Internal, backend, format!("the system gives no randomness: {error}"))
    })?;
    Ok(u64::from_ne_bytes(bytes))
}
