//! The waves of a rollout: a member's output waits until its wave is open, and whoever decides about the object
//! opens it.
//!
//! What opens a wave is what others see of the members before it, so it is a decision: recorded in the page by its
//! appointee, under its term, like a withdrawal. A member that is voted lost holds up nobody, nor does one that is
//! to lose the object: its withdrawal waits for all the others.

use crate::machine::{Agreed, Context, Operator};
use hansa_ledger::Record;
use hansa_ledger::cell::Made;
use hansa_ledger::mutation::Change;
use hansa_model::{FederatedSpec, FederationSpec, MemberName, RecordKey};
use std::collections::BTreeMap;

/// How many members a message names.
const SHOWN: usize = 3;

/// The wave of each of these members, counted from 0; `None`: all at once.
pub(crate) fn waves<'a>(
    league: &FederationSpec,
    spec: &FederatedSpec,
    members: impl IntoIterator<Item = &'a MemberName>,
) -> Option<BTreeMap<MemberName, u32>> {
    let rollout = spec.rollout.as_ref().filter(|rollout| !rollout.waves.is_empty())?;
    Some(hansa_place::waves(league, rollout, members))
}

impl Operator {
    /// Why this member's output is left as it is until its wave is open.
    pub(super) fn awaits_wave(
        &self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        spec: &FederatedSpec,
    ) -> Option<String> {
        let waves = waves(&context.spec, spec, record.placed_members())?;
        let own = *waves.get(&self.config.member)?;
        if own <= record.open_wave() {
            return None;
        }
        let holds_up = self.holding_up(key, &context.spec, record, spec);
        let before = waves.iter().filter(|(member, wave)| **wave < own && holds_up(member));
        let names: Vec<&str> = before.map(|(member, _)| member.as_str()).collect();
        let for_whom = match names.len() {
            0 => "it is about to open".to_owned(),
            number if number > SHOWN => {
                format!("it opens after {} and {} more", names[..SHOWN].join(", "), number - SHOWN)
            }
            _ => format!("it opens after {}", names.join(", ")),
        };
        let last = waves.values().max().copied().unwrap_or_default();
        Some(format!(
            "revision {} comes here in wave {} of {}: {for_whom}; until then the output is left as it is",
            record.revision,
            own + 1,
            last + 1
        ))
    }

    /// Opens the next wave of a record, as its page's appointee, when all before it are done.
    pub(crate) fn process_waves(&mut self, key: &RecordKey, league: &FederationSpec, agreed: Option<Agreed<'_>>) {
        let Some((record, Ok(spec))) = agreed.filter(|(record, _)| record.tombstone.is_none()) else { return };
        let Some(waves) = waves(league, spec, record.placed_members()) else { return };
        let open = record.open_wave();
        let wave = {
            let holds_up = self.holding_up(key, league, record, spec);
            hansa_place::may_open(&waves, open, |member| !holds_up(member))
        };
        if wave > open
            && let Some(under) = self.seat(key)
        {
            let among = waves.into_keys().collect();
            self.mutate(key, Change::Open { of: Made::from(record), wave, among, under });
        }
    }

    /// Which members hold up later waves: those that keep the object, are not voted lost, and have not the revision
    /// or are not well with it.
    fn holding_up<'a>(
        &'a self,
        key: &'a RecordKey,
        league: &FederationSpec,
        record: &'a Record,
        spec: &FederatedSpec,
    ) -> impl Fn(&MemberName) -> bool + 'a {
        let ballots = self.league.as_ref().and_then(|league| league.control.ballots.as_ref());
        // Where a placement is refused, nobody loses the object.
        let wanted = self.placement_of(league, key, spec).ok().map(|placed| placed.members);
        move |member| {
            let keeps = wanted.as_ref().is_none_or(|wanted| wanted.contains(member));
            let is_lost = ballots.is_some_and(|ballots| ballots.lost.contains_key(member));
            keeps && !is_lost && !self.is_well(member, key, record)
        }
    }
}
