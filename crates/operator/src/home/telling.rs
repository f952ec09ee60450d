//! When the status of a federated object is written, and from what.

use crate::machine::{Agreed, Context, Object, Operator, Priority, Timer};
use crate::observed::{HomeState, status_hash};
use crate::report::{self, Input};
use crate::upkeep::keep_times;
use hansa_ledger::Record;
use hansa_ledger::cell::RecordStatus;
use hansa_ledger::lives::{self, Standing};
use hansa_ledger::record::Body;
use hansa_model::{Hash, MemberName, RecordKey};
use hansa_place::{Placed, Reason};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// How long a status waits for the members that have not reported on a new revision.
pub(super) const REPORT_PATIENCE_MS: u64 = 20_000;

/// How long it waits at most while the members get on with other objects.
pub(super) const REPORT_LIMIT_MS: u64 = 600_000;

/// How often the status of one object is written at most.
pub(super) const REPORT_INTERVAL_MS: u64 = 500;

/// A status as it would be written now, and what decides when it is.
struct Reckoned {
    status: Value,
    /// Of the status without times.
    hash: Hash,
    /// Nothing more is expected for this revision.
    settled: bool,
    /// The object is on its way to being agreed on.
    moving: bool,
    /// What stands in the way of that may stand for long.
    stuck: bool,
}

impl Operator {
    /// Computes the status of this member's federated object, and wants it written when it differs.
    pub(crate) fn process_report(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        agreed: Option<Agreed<'_>>,
    ) {
        let Some(reckoned) = self.reckon(key, context, object, agreed) else { return };
        let Some(home) = &object.home else { return };
        if reckoned.hash == home.status {
            object.home_work.patience = None;
            return;
        }
        let now = self.now.monotonic_ms;
        let due = if (reckoned.settled && !reckoned.moving) || reckoned.stuck {
            // Once for a new revision, then at most so often.
            object.home_work.patience = None;
            object.home_work.written_ms.saturating_add(if object.home_work.written_ms == 0 {
                0
            } else {
                REPORT_INTERVAL_MS
            })
        } else {
            let about = (agreed.map_or(0, |(record, _)| record.revision.0), home.object.generation);
            let known = object.home_work.patience.filter(|patience| (patience.0, patience.1) == about);
            let (since, until) = known.map_or((now, now + REPORT_PATIENCE_MS), |patience| (patience.2, patience.3));
            // Much may be on its way at once: as long as the members get on, one status at the end
            // serves better than many on the way.
            let getting_on =
                self.has_outputs_under_way() || self.topology.last_status_ms + REPORT_PATIENCE_MS / 2 > now;
            let until = if until <= now && getting_on && now - since < REPORT_LIMIT_MS {
                now + REPORT_PATIENCE_MS / 4
            } else {
                until
            };
            object.home_work.patience = Some((about.0, about.1, since, until));
            until
        };
        if due > now {
            return self.at(due, Timer::Object(key.clone()));
        }
        object.home_work.wanted = true;
        self.want_home_work(key, &object.home_work, Priority::Statuses);
    }

    /// The status that is to be written now, and its hash without times; `None` when it stands already.
    pub(super) fn status_to_write(
        &self,
        key: &RecordKey,
        object: &Object,
        record: Option<&Record>,
    ) -> Option<(Value, Hash)> {
        let context = self.context(key)?;
        let spec = record.map(|record| self.intent_spec(record));
        let Reckoned { mut status, hash, .. } = self.reckon(key, &context, object, record.zip(spec.as_ref()))?;
        let home = object.home.as_ref().filter(|home| home.status != hash)?;
        keep_times(&mut status, &home.conditions.read());
        Some((status, hash))
    }

    /// `None` when nothing is to be said of the object for now.
    fn reckon(
        &self,
        key: &RecordKey,
        context: &Context,
        object: &Object,
        agreed: Option<Agreed<'_>>,
    ) -> Option<Reckoned> {
        let record = agreed.map(|(record, _)| record);
        let unread = self.unread(key);
        let home = object.home.as_ref();
        let home = home.filter(|home| !home.deleting || unread.is_some() || self.removals.held(key).is_some())?;
        if home.source.as_ref().is_some_and(|source| !source.settled) && home.invalid.is_none() && !home.deleting {
            return None;
        }
        let standing = lives::standing(record, &self.config.member, &home.object);
        let mut statuses: BTreeMap<MemberName, RecordStatus> = BTreeMap::new();
        for member in record.iter().flat_map(|record| record.placed.keys()) {
            if let Some(status) = self.status_of(member, key) {
                statuses.insert(member.clone(), status.clone());
            }
        }
        let silent: BTreeSet<MemberName> = record
            .iter()
            .flat_map(|record| record.placed.keys())
            .filter(|member| !self.is_heard(member))
            .cloned()
            .collect();
        let frozen_members: BTreeMap<MemberName, String> = record
            .iter()
            .flat_map(|record| record.placed.keys())
            .filter_map(|member| Some((member.clone(), self.cell_of(member)?.frozen.clone()?)))
            .collect();
        let refused = self.refusal_here(key, context, &standing, record);
        let placement = match (agreed.map(|(_, spec)| spec), &refused) {
            (_, Some(refused)) => Some(Err(refused.clone())),
            (None, None) => None,
            (Some(Err(error)), None) => Some(Err(error.clone())),
            (Some(Ok(spec)), None) => Some(
                self.placement_of(&context.spec, key, spec).and_then(|placed| told_placement(&key.namespace, &placed)),
            ),
        };
        let differences =
            record.map_or_else(Vec::new, |record| differences(home, record, self.intent_text(record).ok().as_deref()));
        let problem = home.source.as_ref().and_then(|source| source.problem.as_deref());
        let trouble = record.and_then(|record| self.sealing_trouble(record));
        let held = self.removals.held(key);
        let frozen = self.frozen_by_topology().or(unread);
        let entry = record.and_then(|record| record.homes.get(&self.config.member).map(|entry| (record, entry)));
        let (stamp, stamp_life) = match entry {
            // One that is ahead of its record keeps it: it would look like an edit.
            Some((record, entry)) => {
                let stamp = Some(entry.revision).max(home.object.stamp_in(record.incarnation));
                (stamp, Some(record.incarnation))
            }
            None => (home.object.stamp, home.object.stamp_life),
        };
        let rejected = record.and_then(|record| self.why_rejected(key, record));
        let input = Input {
            key,
            era: self.league.as_ref().map(|league| league.era).unwrap_or_default(),
            record,
            standing: &standing,
            may_take_home: record
                .is_none_or(|record| lives::may_take_home(record, &self.config.member, home.object.takeover_allowed)),
            stamp,
            stamp_life,
            rejected: rejected.as_deref(),
            invalid: home.invalid.as_deref().or(refused.as_deref()),
            source: problem,
            sealing: trouble.as_deref(),
            differences: &differences,
            topology_away_since_ms: self.topology.down_since_ms,
            frozen: frozen.as_deref(),
            placement,
            held: held.as_deref(),
            silent: &silent,
            frozen_members: &frozen_members,
            statuses: &statuses,
            generation: home.object.generation,
            wall_ms: self.now.wall_ms,
        };
        let report = report::report(&input);
        let moving = matches!(
            standing,
            Standing::Born | Standing::Reborn | Standing::Edited | Standing::Taken | Standing::Converged
        );
        let settled = report.complete
            || !matches!(standing, Standing::InStep)
            || input.invalid.is_some()
            || problem.is_some()
            || held.is_some();
        let stuck =
            input.topology_away_since_ms.is_some() || frozen.is_some() || input.invalid.is_some() || problem.is_some();
        Some(Reckoned { hash: status_hash(&report.status), status: report.status, settled, moving, stuck })
    }
}

/// Where a home's content differs from the agreed one, for people: at most three paths.
pub(super) fn differences(home: &HomeState, record: &Record, agreed: Option<&RawValue>) -> Vec<String> {
    let Some(intent) = &home.intent else { return Vec::new() };
    let (Body::Inline(here), Some(agreed)) = (&intent.body, agreed) else { return Vec::new() };
    if intent.hash == record.intent.hash {
        return Vec::new();
    }
    let parse = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap_or_default();
    let keys = hansa_render::BuiltInKeys::of("", "");
    let changes = hansa_render::diff(&parse(agreed), &parse(here), &keys);
    let mut paths: Vec<String> = changes.into_iter().take(3).map(|change| format!("spec.{}", change.path)).collect();
    if let (Some(source), true) = (&home.source, paths.is_empty()) {
        paths.push(format!("the content of Secret {}", source.name));
    }
    paths
}

/// How many members a placement selects, and what of it selects nobody.
fn told_placement(namespace: &str, placed: &Placed) -> Result<(usize, String), String> {
    let unfederated = placed.reasons.values().find(|reason| **reason == Reason::NamespaceNotFederated);
    if let Some(reason) = unfederated.filter(|_| placed.members.is_empty()) {
        return Err(format!("metadata.namespace: {namespace}: {reason}"));
    }
    let unknown = placed.reasons.iter().find_map(|(name, reason)| match reason {
        Reason::NotAMember { field } => {
            Some(format!("{field}: {name} is no member of the league: correct the name, or let it join"))
        }
        _ => None,
    });
    Ok((placed.members.len(), unknown.unwrap_or_default()))
}
