//! Rollouts in waves: one opens after all before it, and no revision comes before its wave.

use super::rules::WAVES;
use super::{Judge, Violation, spec_of};
use crate::reached::Hazard;
use hansa_ledger::{Page, Record};
use hansa_model::{FederatedSpec, Incarnation, MemberName, RecordKey, Revision};

impl Judge {
    /// Whether a write opens a wave of a record; judged, if it does.
    pub(super) fn opens(
        &mut self,
        name: &MemberName,
        key: &RecordKey,
        (old, old_page): (Option<&Record>, &Page),
        (new, new_page): (&Record, &Page),
    ) -> Result<bool, Violation> {
        let same = |old: &&Record| (old.incarnation, old.revision) == (new.incarnation, new.revision);
        let old = old.filter(same);
        if new.open_wave() <= old.map_or(0, Record::open_wave) {
            return Ok(false);
        }
        self.decides(WAVES, name, key, old_page, new_page)?;
        let spec = spec_of(new).ok_or_else(|| Violation::at(WAVES, key, "the intent does not read"))?;
        let lost = self.control.iter().flat_map(|control| &control.ballots).flat_map(|ballots| ballots.lost.keys());
        let lost: Vec<&MemberName> = lost.collect();
        // Who is given the object by the same write was not there when it was decided.
        let placed: Vec<&MemberName> = new
            .placed_members()
            .filter(|member| old.is_none_or(|old| old.placed_members().any(|known| known == *member)))
            .collect();
        let has = |member: &MemberName| lost.contains(&member) || self.has_revision(name, key, new, &spec, member);
        // The decider may not have heard of the newest spec; it must have heard of one.
        let waits = |league: &hansa_model::FederationSpec| {
            let waves = hansa_place::waves(league, spec.rollout.as_ref()?, placed.iter().copied());
            // Who is to lose the object holds up nobody.
            let wanted = hansa_place::placed(league, &spec.placement).ok().map(|placed| placed.members);
            let keeps = |member: &MemberName| wanted.as_ref().is_none_or(|wanted| wanted.contains(member));
            let holds_up =
                |(member, wave): &(MemberName, u32)| *wave < new.open_wave() && keeps(member) && !has(member);
            waves.into_iter().find(holds_up).map(|(member, _)| member)
        };
        if spec.rollout.is_none() || self.specs.iter().all(|league| waits(league).is_some()) {
            let for_whom = self.specs.last().and_then(waits);
            let what = format!(
                "{name} opens wave {} of revision {} before {for_whom:?} has it",
                new.open_wave(),
                new.revision
            );
            return Err(Violation::at(WAVES, key, what));
        }
        self.reached.count(Hazard::WaveOpened);
        Ok(true)
    }

    /// A revision is applied in a member: its wave is open.
    pub(super) fn is_in_open_wave(
        &self,
        key: &RecordKey,
        (life, revision): (Incarnation, Revision),
        spec: Option<&FederatedSpec>,
        member: &MemberName,
    ) -> Result<(), Violation> {
        let rollout = spec.and_then(|spec| spec.rollout.as_ref()).filter(|rollout| !rollout.waves.is_empty());
        // What was opened may be lost with what the topology server was.
        let Some(rollout) = rollout.filter(|_| !self.went_back) else { return Ok(()) };
        let open = self.opened.get(&(key.clone(), life, revision)).copied().unwrap_or_default();
        let is_open = self
            .specs
            .iter()
            .any(|league| hansa_place::waves(league, rollout, [member]).get(member).is_none_or(|wave| *wave <= open));
        if is_open {
            return Ok(());
        }
        let what = format!("{member} applies life {life} revision {revision}, of which only wave {open} is open");
        Err(Violation::at(WAVES, key, what))
    }

    /// Whether the rollout of a record waits for somebody who cannot do its share.
    pub(super) fn waits_in_waves(&self, record: &Record, dead: Option<&MemberName>) -> bool {
        in_waves(record)
            && (dead.is_some_and(|dead| record.placed_members().any(|member| member == dead)) || self.pauses(None))
    }
}

/// Whether a record's members follow in waves.
pub(super) fn in_waves(record: &Record) -> bool {
    spec_of(record).and_then(|spec| spec.rollout).is_some_and(|rollout| !rollout.waves.is_empty())
}
