//! Raising the era of a store as it stands, see [`super`].

use super::{BackupError, Word, control_in};
use crate::contract::Topo;
use crate::error::{Category, TopoError};
use bytes::Bytes;
use hansa_ballot::Control;
use hansa_ledger::{Envelope, Swap, Version, keys};
use hansa_model::{Era, LeagueId, MemberName, Revision};
use std::collections::BTreeSet;

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

/// An era that is about to begin: what it comes to can be looked at before it is written.
#[derive(Debug)]
pub struct Raise {
    raised: Raised,
    version: Version,
    value: Bytes,
    /// The control document as it stands and as it is to stand, when this release reads its ballots.
    pub documents: Option<(Control, Control)>,
}

impl Raise {
    /// Reads the control document and writes nothing. These voters are discarded, who have to be few enough to leave one.
    ///
    /// # Errors
    /// When there is no league, the era is not higher, or is to be signed for and is not.
    pub async fn prepare(
        topo: &dyn Topo,
        word: Word<'_>,
        discarded: &BTreeSet<MemberName>,
    ) -> Result<Self, BackupError> {
        let found = topo.get(keys::CONTROL).await?.ok_or(BackupError::NoLeague)?;
        let (envelope, packed) = Envelope::open_header(&found.value).map_err(BackupError::Control)?;
        let (league, from, to) = (envelope.league, envelope.era, word.era.unwrap_or(envelope.era.next()));
        if to <= from {
            return Err(BackupError::EraNotHigher { asked: to, standing: from });
        }
        let revision = envelope.revision.next();
        // The writers' operations stay: this write is none of theirs.
        let raised = Envelope { era: to, revision, nonce: nonce(topo.backend())?, ..envelope };
        let (value, documents) = control_in(&raised, packed, word.person, discarded)?;
        Ok(Raise { raised: Raised { league, from, to, revision }, version: found.version, value, documents })
    }

    /// What it is to be.
    pub fn raised(&self) -> Raised {
        self.raised
    }

    /// Writes it, on the control document that it was made from.
    ///
    /// # Errors
    /// When somebody has written that since, or the server fails.
    pub async fn write(self, topo: &dyn Topo) -> Result<Raised, BackupError> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match topo.compare_and_swap(keys::CONTROL, &self.version, self.value.clone()).await? {
                Swap::Committed(_) => return Ok(self.raised),
                Swap::Mismatch { current: Some(current) } if current.value == self.value => return Ok(self.raised),
                Swap::Mismatch { .. } => return Err(BackupError::Raced { key: keys::CONTROL.to_owned() }),
                Swap::Indeterminate { reason } => last = reason,
            }
        }
        Err(BackupError::Indeterminate { key: keys::CONTROL.to_owned(), reason: last })
    }
}

/// Writes the control document again, under a higher era.
///
/// # Errors
/// As [`Raise::prepare`] and [`Raise::write`].
pub async fn raise_era(topo: &dyn Topo, word: Word<'_>) -> Result<Raised, BackupError> {
    Raise::prepare(topo, word, &BTreeSet::new()).await?.write(topo).await
}

fn nonce(backend: &'static str) -> Result<u64, TopoError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        TopoError::new(Category::Internal, backend, format!("the system gives no randomness: {error}"))
    })?;
    Ok(u64::from_ne_bytes(bytes))
}
