//! A topology server that goes back to what it was, and people who say what counts.

use super::{Due, Heal, TopoFate, World};
use crate::judge::Violation;
use crate::reached::Hazard;
use crate::store::Kept;
use hansa_ballot::Control;
use hansa_ledger::{Envelope, keys};
use hansa_model::{Era, MemberName};
use hansa_operator::TopoRequest;
use std::collections::BTreeSet;

/// How the topology server is, beside what it was.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// A backup of it.
    backup: Option<Kept>,
    /// What it was before it went back, and up to which change; nobody has said yet what is to count.
    lost: Option<(Kept, Box<str>)>,
    /// When people have noticed that: some are woken at once, some come in the morning.
    noticed_ms: u64,
    /// The control document of a restore that is under way.
    unfinished: Option<Vec<u8>>,
    /// The voters before it went back.
    voters: Option<BTreeSet<MemberName>>,
}

impl World {
    /// The topology server is backed up; goes back behind everyone's back; is restored under a higher era; or
    /// what is to count is said.
    pub(super) fn history(&mut self) -> Result<(), Violation> {
        if self.history.unfinished.is_some() || self.store.get(keys::CONTROL).is_none() {
            return Ok(());
        }
        if self.history.lost.is_some() {
            return if self.now < self.history.noticed_ms { Ok(()) } else { self.say_what_counts() };
        }
        let Some(backup) = self.history.backup.take() else {
            self.tell("topo", "is backed up");
            self.history.backup = Some(self.store.keep());
            return Ok(());
        };
        self.history.voters = self.voters();
        if self.troubles.chance(500) {
            self.tell("topo", "goes back to its backup, and says nothing of it");
            self.history.lost = Some((self.store.keep(), self.store.cursor()));
            self.history.noticed_ms = self.now + self.troubles.within(1..60_000);
            self.store.go_back(&backup);
            self.judge.reached.count(Hazard::StoreWentBack);
            self.store_is_another();
        } else {
            self.restore_store(&backup);
        }
        Ok(())
    }

    /// A person brings back what stood there, or raises the era.
    pub(crate) fn say_what_counts(&mut self) -> Result<(), Violation> {
        let Some((lost, since)) = self.history.lost.take() else { return Ok(()) };
        if self.troubles.chance(400) {
            self.tell("topo", "what stood there is brought back");
            self.store.go_back(&lost);
            self.store_is_another();
            // What was written meanwhile, by operators that began after it, went back in its turn.
            if self.store.cursor() != since {
                self.raise_era();
            }
        } else {
            self.raise_era();
        }
        self.tell_changes();
        let known = self.history.voters.take();
        self.restart_where_voters_differ(known)
    }

    fn raise_era(&mut self) {
        let Some(found) = self.store.get(keys::CONTROL) else { return };
        let Some((envelope, body)) = self.in_next_era(&found.value) else { return };
        self.tell("topo", format!("a person raises the era to {}", envelope.era));
        let envelope = Envelope { revision: envelope.revision.next(), nonce: self.troubles.next(), ..envelope };
        self.store.put(keys::CONTROL, envelope.seal(&body));
        self.judge.reached.count(Hazard::EraRaised);
        self.store_is_another();
    }

    /// The control document of a value, under the next era.
    fn in_next_era(&self, value: &[u8]) -> Option<(Envelope, Vec<u8>)> {
        let (envelope, body) = Envelope::open(value).ok()?;
        let mut control = Control::from_slice(&body).ok()?;
        let era: Era = self.judge.era().max(envelope.era).next();
        control.ballots = control.ballots.map(|ballots| ballots.in_era(era));
        Some((Envelope { era, ..envelope }, control.to_vec()))
    }

    /// Everything under a higher era; the control document comes last, and a moment later.
    fn restore_store(&mut self, backup: &Kept) {
        let Some(control) = backup.value(keys::CONTROL) else { return };
        let Some((envelope, body)) = self.in_next_era(&control) else { return };
        self.tell("topo", format!("is restored from its backup in era {}", envelope.era));
        self.judge.reached.count(Hazard::StoreRestored);
        self.break_connections();
        self.store.clear();
        for (key, value) in backup.values().filter(|(key, _)| *key != keys::CONTROL) {
            let Ok((found, packed)) = Envelope::open_header(&value) else { continue };
            self.store.put(key, Envelope { era: envelope.era, ..found }.around(packed));
        }
        self.history.unfinished = Some(envelope.seal(&body).to_vec());
        self.store_is_another();
        self.tell_changes();
        let pause = self.troubles.within(1..5_000);
        self.after(pause, Due::Heal(Heal::Control));
    }

    /// What people said to removals may be lost with what it was.
    fn store_is_another(&mut self) {
        self.users.said.clear();
        self.judge.store_is(self.now, &self.store, &mut self.members);
    }

    /// Where another server stands, what is under way to the one before never arrives.
    fn break_connections(&mut self) {
        self.due.retain(|_, due| !matches!(due, Due::Landing { .. }));
        for due in self.due.values_mut() {
            if let Due::Topo(.., request, fate) = due {
                let writes = matches!(request, TopoRequest::Write { .. });
                *fate = if writes { TopoFate::Dropped } else { TopoFate::Refused };
            }
        }
    }

    /// Where other voters count than those that the operators know, a person starts these anew: they say so.
    fn restart_where_voters_differ(&mut self, known: Option<BTreeSet<MemberName>>) -> Result<(), Violation> {
        if self.voters() == known {
            return Ok(());
        }
        for member in 0..self.members.len() {
            if let Some(id) = self.members[member].leader {
                self.kill(id, "is restarted, for other voters count");
            }
            self.heal(Heal::Start(member))?;
        }
        Ok(())
    }

    fn voters(&self) -> Option<BTreeSet<MemberName>> {
        let control = Envelope::open(&self.store.get(keys::CONTROL)?.value).ok()?.1;
        let control = Control::from_slice(&control).ok()?;
        Some(control.ballots?.voters.set.into_keys().collect())
    }

    /// The restore ends.
    pub(super) fn end_restore(&mut self) -> Result<(), Violation> {
        let Some(control) = self.history.unfinished.take() else { return Ok(()) };
        self.tell("topo", "the restore ends with the control document");
        self.store.put(keys::CONTROL, control.into());
        self.store_is_another();
        self.tell_changes();
        let known = self.history.voters.take();
        self.restart_where_voters_differ(known)
    }
}
