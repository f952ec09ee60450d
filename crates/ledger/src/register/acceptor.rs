//! What an acceptor does, as functions from its copy to the next.
//!
//! Whoever proposes computes these and lets the store compare and swap, so that they hold only if
//! the copy is still the one that they were computed from.

use super::ballot::Ballot;
use super::copy::{Accepted, Copy, State};
use super::store_set::StoreId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a proposer wants accepted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proposal {
    /// The ballot that a quorum has promised.
    pub ballot: Ballot,
    /// The proposer's next ballot, promised along with the acceptance.
    pub next: Ballot,
    /// The value.
    pub state: State,
    /// What each store is known to have acknowledged.
    pub high_water: BTreeMap<StoreId, Ballot>,
}

/// Why a copy does not change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It has promised a higher ballot.
    Promised(Ballot),
    /// It was written under a newer set of stores.
    Epoch(u64),
}

/// The copy that has promised `ballot`. `copy` is what stands there, if anything does.
///
/// # Errors
/// When a higher ballot is promised already, or the copy knows a newer set than that of `epoch`.
pub fn promise(key: &Arc<str>, copy: Option<&Copy>, ballot: &Ballot, epoch: u64) -> Result<Copy, Refusal> {
    let Some(copy) = copy else {
        let (promised, high_water) = (ballot.clone(), BTreeMap::new());
        return Ok(Copy { key: key.clone(), epoch, promised, accepted: None, high_water });
    };
    check(copy, ballot, epoch)?;
    Ok(Copy { epoch, promised: ballot.clone(), ..copy.clone() })
}

/// The copy that has accepted `proposal`; it may be one that has not promised its ballot before.
///
/// # Errors
/// As for [`promise`].
pub fn accept(key: &Arc<str>, copy: Option<&Copy>, proposal: &Proposal, epoch: u64) -> Result<Copy, Refusal> {
    if let Some(copy) = copy {
        check(copy, &proposal.ballot, epoch)?;
    }
    let Proposal { ballot, next, state, high_water } = proposal.clone();
    let accepted = Some(Accepted { ballot, state });
    Ok(Copy { key: key.clone(), epoch, promised: next, accepted, high_water })
}

fn check(copy: &Copy, ballot: &Ballot, epoch: u64) -> Result<(), Refusal> {
    if copy.epoch > epoch {
        return Err(Refusal::Epoch(copy.epoch));
    }
    if copy.promised > *ballot {
        return Err(Refusal::Promised(copy.promised.clone()));
    }
    Ok(())
}
