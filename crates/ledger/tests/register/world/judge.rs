//! What an outsider sees, and which laws it breaks.

use super::*;

impl World {
    pub(super) fn breaks(&mut self, law: &'static str) {
        self.witness.broken.insert(law);
    }

    pub(super) fn witness_ballots(&mut self, me: usize, copy: &Copy) {
        let life = (me, self.clients[me].life);
        if *self.witness.users.entry(copy.promised.clone()).or_insert(life) != life {
            self.breaks(ONE_LIFE);
        }
        if let Some(Accepted { ballot, state }) = &copy.accepted {
            let version = self.witness.values.entry(ballot.clone()).or_insert_with(|| state.version.clone());
            if *version != state.version {
                self.breaks(ONE_VALUE);
            }
        }
    }

    /// Notes what a store has accepted: a value is chosen when a quorum has accepted it under one
    /// ballot, at whatever times. With a changing set, only what is acknowledged is known to be.
    pub(super) fn witness_copy(&mut self, store: usize, copy: &Copy, replaces: bool) {
        let Some(Accepted { ballot, state }) = copy.accepted.as_ref().filter(|_| !replaces) else { return };
        let acceptors = self.witness.acceptors.entry(ballot.clone()).or_default();
        acceptors.insert(store);
        if acceptors.len() > self.stores.len() / 2 {
            self.choose(state);
        }
    }

    fn choose(&mut self, state: &State) {
        let chosen = self.witness.chosen.entry(state.revision).or_insert_with(|| state.clone());
        let same = chosen.version == state.version;
        let before = self.witness.chosen.get(&(state.revision - 1)).map(|before| &before.version);
        if !same || (before.is_some() && before != state.parent.as_ref()) {
            self.breaks(CHAIN);
        }
        if self.witness.lost.contains(&state.version) {
            self.breaks(ACKNOWLEDGED);
        }
        if let Content::Blob { hash, .. } = &state.content {
            let holding = self.stores.iter().filter(|store| store.blobs.contains(hash)).count();
            if holding <= self.stores.len() / 2 {
                self.breaks(BLOBS);
            }
        }
    }

    fn is_chosen(&self, state: &State) -> bool {
        self.witness.chosen.get(&state.revision).is_some_and(|chosen| chosen.version == state.version)
    }

    pub(super) fn judge(&mut self, me: usize, outcome: &Outcome, replaces: bool) {
        let Client { life, begun, floor, .. } = self.clients[me];
        let mine = format!("-{}{life}.{}", ["p", "q", "r"][me], begun - 1);
        let seen = match outcome {
            Outcome::Committed(state) => {
                if replaces {
                    self.choose(state);
                }
                if !self.is_chosen(state) {
                    self.breaks(ACKNOWLEDGED);
                }
                self.witness.acknowledged = self.witness.acknowledged.max(state.revision);
                self.witness.committed += 1;
                return;
            }
            Outcome::Value(state) => state,
            Outcome::Mismatch(state) => {
                let is_mine = |version: &&Version| version.as_str().ends_with(&mine);
                let versions = self.witness.values.values();
                let refused: Vec<Version> = versions.filter(is_mine).cloned().collect();
                if self.witness.chosen.values().any(|chosen| refused.contains(&chosen.version)) {
                    self.breaks(ACKNOWLEDGED);
                }
                self.witness.lost.extend(refused);
                state
            }
            Outcome::Indeterminate | Outcome::Unavailable => return,
        };
        if let Some(state) = seen {
            if replaces {
                self.choose(state);
            }
            if !self.is_chosen(state) {
                self.breaks(FRESH);
            }
            self.witness.acknowledged = self.witness.acknowledged.max(state.revision);
        }
        if seen.as_ref().map_or(0, |state| state.revision) < floor {
            self.breaks(FRESH);
        }
    }
}
