//! When a phase has what it needs, and what then follows.

use super::*;

impl Operation {
    /// Ends the phase if it has what it needs, or can never have it. Gives whether there is another
    /// now.
    pub(super) fn end_phase(&mut self, ballots: &mut Ballots, acts: &mut Vec<Act>) -> bool {
        if self.done {
            return false;
        }
        match self.phase.clone() {
            Phase::Reading => {
                if !self.is_quorum(|seat| seat.fresh) {
                    return self.end_without_quorum(acts);
                }
                let settled = self.settled();
                let is_settled = settled.is_some();
                if let Some(current) = settled.filter(|current| self.is_answered_by(current)) {
                    self.answer(current, acts);
                } else if self.change == Change::Read && !self.hurried && self.awaits_copies() {
                    return false;
                } else if self.is_anothers_turn(is_settled, ballots) {
                    self.wait(acts);
                    return false;
                } else {
                    self.prepare(ballots);
                }
            }
            Phase::Preparing(ballot) => {
                if !self.is_quorum(|seat| seat.has_promised(&ballot)) {
                    return self.end_without_quorum(acts);
                }
                return self.promised(ballot, ballots, acts);
            }
            Phase::LookingUp(proposal) => {
                if !self.is_quorum(|seat| seat.lookup == Errand::Done) {
                    return self.end_without_quorum(acts);
                }
                match proposal {
                    Some(proposal) => self.propose(proposal),
                    None => self.end(self.outcome(None), acts),
                }
            }
            Phase::Accepting(proposal) => {
                if !self.is_quorum(|seat| seat.has_accepted(&proposal.ballot)) {
                    return self.end_without_quorum(acts);
                }
                // The phase stays: stores that are late accept it, too.
                self.done = true;
                acts.push(Act::Done(self.outcome(Some(proposal.state))));
                return false;
            }
            Phase::Waiting | Phase::Outdated | Phase::Ended => return false,
        }
        true
    }

    fn is_quorum(&self, has: impl Fn(&Seat) -> bool) -> bool {
        self.set.is_quorum(|store| self.seats.get(store).is_some_and(|seat| seat.counts() && has(seat)))
    }

    pub(super) fn may_reach_quorum(&self, may: impl Fn(&Seat) -> bool) -> bool {
        let open = |seat: &Seat| !seat.failed && !seat.barred && may(seat);
        self.set.is_quorum(|store| self.seats.get(store).is_some_and(open))
    }

    fn awaits_copies(&self) -> bool {
        self.seats.values().any(|seat| seat.sent.is_some() && !seat.fresh && !seat.failed)
    }

    /// Ends the operation if so many stores have failed that no quorum is left.
    fn end_without_quorum(&mut self, acts: &mut Vec<Act>) -> bool {
        let Phase::Accepting(proposal) = &self.phase else {
            if self.may_reach_quorum(|_| true) {
                return false;
            }
            self.end(self.without_quorum(), acts);
            return true;
        };
        // A store that has accepted counts also when it fails afterwards.
        let ballot = proposal.ballot.clone();
        let may = |seat: &Seat| !seat.barred && (!seat.failed || seat.has_accepted(&ballot));
        if self.set.is_quorum(|store| self.seats.get(store).is_some_and(may)) {
            return false;
        }
        self.end(self.without_quorum(), acts);
        true
    }

    pub(super) fn without_quorum(&self) -> Outcome {
        if self.proposed.is_some() { Outcome::Indeterminate } else { Outcome::Unavailable }
    }

    fn end(&mut self, outcome: Outcome, acts: &mut Vec<Act>) {
        self.done = true;
        self.phase = Phase::Ended;
        acts.push(Act::Done(outcome));
    }

    /// The value that a quorum has accepted under one ballot, as told in this attempt; the inner
    /// `None` is a register without a value.
    fn settled(&self) -> Option<Option<State>> {
        self.seats.values().filter(|seat| seat.counts() && seat.fresh).find_map(|one| {
            let same = self.is_quorum(|seat| seat.fresh && seat.accepted() == one.accepted());
            same.then(|| state(one))
        })
    }

    /// Whether that this stands there is all that there is to say.
    fn is_answered_by(&self, current: &Option<State>) -> bool {
        match &self.change {
            Change::Read => true,
            Change::Write { expected, .. } => version(current) != expected.as_ref(),
            Change::Rewrite => false,
        }
    }

    /// Whether another proposer is at work here, as far as this look tells, and gets on or may still.
    fn is_anothers_turn(&mut self, is_settled: bool, ballots: &Ballots) -> bool {
        if !self.waits.is_polite(self.attempts) || self.change == Change::Rewrite {
            return false;
        }
        let fresh = || self.seats.iter().filter(|(_, seat)| seat.counts() && seat.fresh);
        // Whoever writes promises its next ballot along with the value: another's promise is the beginning of a write.
        let begun = |seat: &Seat| match (seat.promised(), seat.accepted()) {
            (Some(promised), accepted) if promised.proposer != *ballots.proposer() => {
                accepted.is_none_or(|accepted| promised.proposer != accepted.proposer)
            }
            _ => false,
        };
        if is_settled && !fresh().any(|(_, seat)| begun(seat)) {
            return false;
        }
        let looked = fresh().map(|(store, seat)| (store.clone(), seat.promised().cloned())).collect();
        self.waits.may_get_on(looked)
    }

    fn prepare(&mut self, ballots: &mut Ballots) {
        let met = self.seats.values().filter_map(Seat::promised).map(|ballot| ballot.counter).max();
        self.phase = Phase::Preparing(ballots.above(met.unwrap_or_default()));
        for seat in self.seats.values_mut() {
            seat.conflict = false;
        }
    }

    /// A quorum has promised `ballot`: the highest accepted value among them is what stands there.
    fn promised(&mut self, ballot: Ballot, ballots: &mut Ballots, acts: &mut Vec<Act>) -> bool {
        let promised = self.seats.iter().filter(|(_, seat)| seat.counts() && seat.has_promised(&ballot));
        let promised: Vec<(&StoreId, &Seat)> = promised.collect();
        let highest = promised.iter().map(|(_, seat)| *seat).max_by_key(|seat| seat.accepted());
        let current = highest.and_then(state);
        let agreed = promised.iter().all(|(_, seat)| seat.accepted() == promised[0].1.accepted());
        let state = match &self.change {
            Change::Write { expected, content, id } if version(&current) == expected.as_ref() => {
                next_state(current.as_ref(), id, content.clone())
            }
            Change::Rewrite if current.is_none() => {
                // The promise itself tells old proposers of the set.
                self.end(Outcome::Value(None), acts);
                return true;
            }
            Change::Read | Change::Write { .. } if agreed => {
                self.answer(current, acts);
                return true;
            }
            _ => match current {
                Some(current) => current,
                // Without an accepted value among them, all agree.
                None => return false,
            },
        };
        let mut high_water: BTreeMap<StoreId, Ballot> = BTreeMap::new();
        let told = promised.iter().filter_map(|(_, seat)| seat.known.as_ref()?.copy.as_ref());
        let told = told.flat_map(|copy| &copy.high_water);
        for (store, mark) in told.chain(promised.iter().map(|(store, _)| (*store, &ballot))) {
            if self.set.all().contains(store) && high_water.get(store) < Some(mark) {
                high_water.insert(store.clone(), mark.clone());
            }
        }
        if let (Change::Rewrite, Content::Blob { hash, .. }) = (&self.change, &state.content) {
            self.want_blob(*hash);
        }
        if self.needs_blob(&state) && !self.is_quorum(|seat| seat.blob == Errand::Done) {
            return self.end_without_quorum(acts);
        }
        let next = ballots.above(ballot.counter);
        let proposal = Proposal { ballot, next, state, high_water };
        if proposal.state.parent.is_none() && self.is_mine(&proposal.state) {
            // The register is made by this. No copy of it tells that the set is an old one: so the
            // set is looked up after the promises, which whoever changes the set finds.
            self.look_up(Some(proposal));
        } else {
            self.propose(proposal);
        }
        true
    }

    fn look_up(&mut self, proposal: Option<Proposal>) {
        self.phase = Phase::LookingUp(proposal);
        for seat in self.seats.values_mut() {
            seat.lookup = seat.lookup.anew();
        }
    }

    /// A value that is written again gets its blob onto a quorum of the present set, too.
    fn want_blob(&mut self, hash: Hash) {
        if self.blob != Some(hash) {
            self.blob = Some(hash);
            // What is under way is of another blob.
            for seat in self.seats.values_mut() {
                seat.blob = seat.blob.anew();
            }
        }
    }

    fn propose(&mut self, proposal: Proposal) {
        if self.is_mine(&proposal.state) {
            self.proposed = Some(proposal.state.clone());
        }
        self.phase = Phase::Accepting(proposal);
    }

    /// What others have proposed has its blob on a quorum already.
    fn needs_blob(&self, state: &State) -> bool {
        matches!(state.content, Content::Blob { .. }) && (self.change == Change::Rewrite || self.is_mine(state))
    }

    fn is_mine(&self, state: &State) -> bool {
        matches!(&self.change, Change::Write { id, .. } if state.version == version_of(state.revision, id))
    }

    /// Ends with what a quorum agrees on. That nothing is there needs a look at the set first: the
    /// register may have been made under a newer one.
    fn answer(&mut self, current: Option<State>, acts: &mut Vec<Act>) {
        if current.is_none() {
            self.look_up(None);
        } else {
            self.end(self.outcome(current), acts);
        }
    }

    /// What it means for this operation that `current` is chosen and stands there.
    fn outcome(&self, current: Option<State>) -> Outcome {
        if !matches!(self.change, Change::Write { .. }) {
            return Outcome::Value(current);
        }
        match (&self.proposed, current) {
            (_, Some(current)) if self.is_mine(&current) => Outcome::Committed(current),
            (None, current) => Outcome::Mismatch(current),
            (Some(mine), Some(current)) if current.parent.as_ref() == Some(&mine.version) => {
                Outcome::Committed(mine.clone())
            }
            // Another value came directly after the expected one, so that this one never can.
            (Some(mine), Some(current)) if current.revision <= mine.revision + 1 => Outcome::Mismatch(Some(current)),
            (Some(_), _) => Outcome::Indeterminate,
        }
    }
}

fn state(seat: &Seat) -> Option<State> {
    let Accepted { state, .. } = seat.known.as_ref()?.copy.as_ref()?.accepted.as_ref()?;
    Some(state.clone())
}

fn version(state: &Option<State>) -> Option<&Version> {
    state.as_ref().map(|state| &state.version)
}

fn version_of(revision: u64, id: &str) -> Version {
    Version::new(format!("{revision}-{id}"))
}

fn next_state(current: Option<&State>, id: &str, content: Content) -> State {
    let revision = current.map_or(0, |current| current.revision) + 1;
    let parent = current.map(|current| current.version.clone());
    State { revision, version: version_of(revision, id), parent, content }
}
