//! What an operation knows of each store, and how it notices that one has forgotten.

use super::super::ballot::Ballot;
use super::super::copy::Copy;
use super::super::store_set::StoreId;
use super::Evidence;
use crate::store::Version;
use std::collections::BTreeMap;

/// What is known of one store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Seat {
    /// What stands there, as far as told.
    pub(super) known: Option<Known>,
    /// Whether it was told since this attempt began.
    pub(super) fresh: bool,
    /// The request about the copy that is under way.
    pub(super) sent: Option<Sent>,
    /// It cannot be reached in this attempt.
    pub(super) failed: bool,
    /// It has promised a higher ballot than that of this attempt.
    pub(super) conflict: bool,
    /// It has forgotten what it acknowledged.
    pub(super) barred: bool,
    /// The highest ballot that it showed or acknowledged to this process.
    pub(super) least: Option<Ballot>,
    suspicion: Option<Suspicion>,
    pub(super) blob: Errand,
    pub(super) lookup: Errand,
}

/// What stands at a store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Known {
    /// The store's version; `None`: there is no copy.
    pub(super) version: Option<Version>,
    pub(super) copy: Option<Copy>,
}

/// A request about the copy.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Sent {
    Read,
    Write(Copy),
}

/// A request beside those about the copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) enum Errand {
    #[default]
    Idle,
    Sent,
    /// Under way since before it was wanted: the answer will be too old.
    Stale,
    Done,
}

impl Errand {
    /// Wanted from now on.
    pub(super) fn anew(self) -> Self {
        match self {
            Errand::Sent | Errand::Stale => Errand::Stale,
            Errand::Idle | Errand::Done => Errand::Idle,
        }
    }

    /// The answer came.
    pub(super) fn answered(self) -> Self {
        if self == Errand::Stale { Errand::Idle } else { Errand::Done }
    }
}

/// It showed less than it is said to have acknowledged. That may only be because the evidence was
/// read later than its copy, so that it is read once more before it is judged.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Suspicion {
    acknowledged: Ballot,
    witness: Option<StoreId>,
    asked: bool,
}

impl Seat {
    /// Whether what it says may count.
    pub(super) fn counts(&self) -> bool {
        !self.barred && self.suspicion.is_none() && self.known.is_some()
    }

    pub(super) fn promised(&self) -> Option<&Ballot> {
        Some(&self.known.as_ref()?.copy.as_ref()?.promised)
    }

    pub(super) fn accepted(&self) -> Option<&Ballot> {
        self.known.as_ref()?.copy.as_ref()?.accepted_ballot()
    }

    pub(super) fn has_promised(&self, ballot: &Ballot) -> bool {
        self.promised() == Some(ballot)
    }

    pub(super) fn has_accepted(&self, ballot: &Ballot) -> bool {
        self.accepted() == Some(ballot)
    }

    /// The copy with the store's version of it.
    pub(super) fn copy(&self) -> Option<(Version, Copy)> {
        let known = self.known.as_ref()?;
        Some((known.version.clone()?, known.copy.clone()?))
    }

    pub(super) fn is_suspected(&self) -> bool {
        self.suspicion.is_some()
    }

    /// Whether a suspicion waits for another read.
    pub(super) fn must_read_again(&self) -> bool {
        self.suspicion.as_ref().is_some_and(|suspicion| !suspicion.asked)
    }

    /// Notes that the copy is read now.
    pub(super) fn read_again(&mut self) {
        self.sent = Some(Sent::Read);
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.asked = true;
        }
    }

    fn suspect(&mut self, acknowledged: &Ballot, witness: Option<&StoreId>) {
        let told = self.known.is_some() && !self.barred;
        if told && self.suspicion.is_none() && self.promised() < Some(acknowledged) {
            let (acknowledged, witness) = (acknowledged.clone(), witness.cloned());
            self.suspicion = Some(Suspicion { acknowledged, witness, asked: false });
        }
    }

    /// Ends a suspicion by what was read since; gives the evidence if it was right.
    fn judge(&mut self) -> Option<Evidence> {
        let Suspicion { acknowledged, witness, .. } = self.suspicion.take_if(|suspicion| suspicion.asked)?;
        let shown = self.promised().cloned();
        self.barred = shown.as_ref() < Some(&acknowledged);
        self.barred.then_some(Evidence { acknowledged, shown, witness })
    }
}

/// Notes what was found at `store`, and compares it with what it acknowledged. Gives the evidence
/// if it has forgotten; suspicions about it and others may remain.
pub(super) fn learn(
    seats: &mut BTreeMap<StoreId, Seat>,
    store: &StoreId,
    found: Option<(Version, Copy)>,
) -> Option<Evidence> {
    let marks = found.as_ref().map(|(_, copy)| copy.high_water.clone()).unwrap_or_default();
    let seat = seats.get_mut(store)?;
    seat.fresh = true;
    seat.known = Some(match found {
        Some((version, copy)) => Known { version: Some(version), copy: Some(copy) },
        None => Known { version: None, copy: None },
    });
    if let Some(evidence) = seat.judge() {
        return Some(evidence);
    }
    if let Some(least) = seat.least.clone() {
        seat.suspect(&least, None);
    }
    seat.least = seat.least.take().max(seat.promised().cloned());
    for (marked, ballot) in &marks {
        if let Some(other) = seats.get_mut(marked).filter(|_| marked != store) {
            other.suspect(ballot, Some(store));
        }
    }
    let said = |other: &Seat| other.known.as_ref()?.copy.as_ref()?.high_water.get(store).cloned();
    let witnesses = seats.iter().filter(|(other, seat)| *other != store && !seat.barred);
    let highest = witnesses.filter_map(|(other, seat)| Some((said(seat)?, other.clone()))).max();
    if let (Some((ballot, witness)), Some(seat)) = (highest, seats.get_mut(store)) {
        seat.suspect(&ballot, Some(&witness));
    }
    None
}
