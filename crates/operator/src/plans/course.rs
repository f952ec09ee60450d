//! What this member would do about a planned object, as far as its picture says: before its API
//! server is asked, and often instead.
//!
//! Placement, rendering, comparison and the breaker's judgement are those of the real thing; here
//! they are asked with the planned spec in the place of the agreed one.

use super::trial::{Setting, Trial};
use crate::machine::{Context, Operator, is_current};
use crate::output::waves::waves;
use crate::output::{identity, list_keys, substitute};
use crate::removal::Decision;
use crate::sealing::{THE_SOURCE, is_sealed_type, misplaced_content};
use hansa_ledger::Record;
use hansa_ledger::breaker::{Pending, Pendings, Scope};
use hansa_ledger::cell::State;
use hansa_ledger::plan::{Difference, Effect, Plan, Planned, Verdict, Word};
use hansa_ledger::record::PlacedState;
use hansa_model::{
    Compact, DeletionPolicy, FederatedSpec, FederationSpec, Incarnation, MemberName, NamespacePolicy, RecordKey,
    Revision,
};
use hansa_render::{Marks, diff_for_people, restarts_pods};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How it goes on with a planned object.
#[derive(Debug)]
pub(super) enum Course {
    /// There is nothing to ask.
    Said(Word),
    /// The API server is asked.
    Try(Box<Trial>),
    /// Something that is agreed is still being read.
    Waits,
}

/// What would fall with the objects of a plan that were looked at already: the breaker judges them together.
#[derive(Debug, Default)]
pub(super) struct Falling {
    outputs: Pendings,
    withdrawals: Pendings,
}

fn said(verdict: Verdict, message: impl Into<String>) -> Course {
    Course::Said(Word::plain(verdict, message).cut())
}

impl Operator {
    /// What this member would do about an object of a plan.
    pub(super) fn course(&mut self, plan: &Plan, planned: &Planned, falling: &mut Falling) -> Course {
        let frozen = self.frozen_share().or_else(|| self.frozen_by_topology());
        if let Some(why) = frozen.or_else(|| self.unread(&planned.key)) {
            return said(Verdict::Frozen, why);
        }
        let Some(league) = self.league.as_ref().map(|league| Arc::clone(&league.spec)) else { return Course::Waits };
        let (key, own) = (&planned.key, self.config.member.clone());
        let spec: FederatedSpec = match serde_json::from_value(planned.spec.read()) {
            Ok(spec) => spec,
            Err(error) => return said(Verdict::Refused, format!("spec: {error}")),
        };
        let placed = match self.placement_of(&league, key, &spec) {
            Ok(placed) => placed,
            Err(why) => return said(Verdict::Refused, why),
        };
        let record = self.record_in_page(key).filter(|record| record.tombstone.is_none());
        if record.as_ref().is_some_and(|record| !self.has_bodies(key, record)) {
            return Course::Waits;
        }
        let is_placed =
            |record: &Arc<Record>| record.placed.get(&own).is_some_and(|placed| placed.state == PlacedState::Placed);
        let mut notes: Vec<String> = Vec::new();
        if let Some(record) = &record {
            notes.extend(self.withdrawal_note(key, record, &placed.members, falling));
        }
        let standing = record.filter(is_placed);
        let course = match standing {
            standing if placed.members.contains(&own) => {
                let context = match self.planned_context(key) {
                    Ok(context) => context,
                    Err(word) => return Course::Said(word.cut()),
                };
                let paused = self.pause_reason(&context, &spec);
                notes.extend(paused.map(|why| format!("{why}: what stands is left as it is")));
                notes.extend(wave_note(&league, &spec, &placed.members, &own));
                self.planned_output(plan, planned, &spec, &context, standing.as_ref())
            }
            Some(record) => Ok(Course::Said(self.planned_withdrawal(key, &record, falling))),
            None => {
                let why = placed.reasons.get(&own).map(ToString::to_string).unwrap_or_default();
                Ok(Course::Said(Word { effect: Some(Effect::Absent), ..Word::plain(Verdict::Accepted, why) }))
            }
        };
        match course {
            Ok(Course::Said(mut word)) => {
                word.notes.extend(notes);
                Course::Said(word.cut())
            }
            Ok(Course::Try(mut trial)) => {
                trial.word.notes.extend(notes);
                Course::Try(trial)
            }
            Ok(Course::Waits) => Course::Waits,
            Err(why) => said(Verdict::Refused, why),
        }
    }

    /// What is known of a planned object's type here, or why there is nothing to know.
    fn planned_context(&self, key: &RecordKey) -> Result<Context, Word> {
        let Some(state) = self.types.get(&key.type_name) else {
            let why = format!("{} are not among the types of the Federation: `hansa type enable`", key.type_name);
            return Err(Word::plain(Verdict::Refused, why));
        };
        match (&state.installed, &state.failure) {
            (None, Some(why)) => return Err(Word::plain(Verdict::Refused, why.as_str())),
            (None, None) => return Err(Word::plain(Verdict::Untried, "the operator is still looking for the kind")),
            (Some(_), _) => {}
        }
        let reads = "the operator is still reading what stands in its cluster";
        self.context(key).ok_or_else(|| Word::plain(Verdict::Untried, reads))
    }

    /// The output that this member would have.
    fn planned_output(
        &self,
        plan: &Plan,
        planned: &Planned,
        spec: &FederatedSpec,
        context: &Context,
        record: Option<&Arc<Record>>,
    ) -> Result<Course, String> {
        let (key, own) = (&planned.key, &self.config.member);
        let refusal = context.federated_type.refusal(&key.namespace, context.installed.namespaced);
        if let Some(why) = refusal.or_else(|| misplaced_content(&key.type_name, spec)) {
            return Err(why);
        }
        if let Some(error) = hansa_render::validate(&identity(key, context), &spec.overrides).first() {
            return Err(format!("{}: {}", error.field, error.message));
        }
        let sealed = is_sealed_type(&key.type_name);
        let is_source = match record {
            Some(record) => self.is_source(key, record, spec),
            None => {
                let named = spec.template_from.as_ref().is_some_and(|from| *from.secret_ref.name == *key.name);
                named && plan.author == *own
            }
        };
        if is_source {
            let word = Word { effect: Some(Effect::Keep), ..Word::plain(Verdict::Accepted, THE_SOURCE) };
            return Ok(Course::Said(word));
        }
        let template = match &spec.template {
            Some(template) => template.clone(),
            None if planned.outline.is_null() => {
                return Ok(said(Verdict::Untried, "the plan says nothing of what spec.templateFrom names"));
            }
            None => planned.outline.read(),
        };
        let (incarnation, revision) =
            record.map_or((Incarnation(0), Revision(0)), |record| (record.incarnation, record.revision));
        let marks = Marks { league: context.league, incarnation, revision };
        let after = substitute(key, context, marks, spec, &template, own)?.object;
        let before = record.filter(|_| !sealed).and_then(|record| {
            let agreed = self.intent_spec(record).ok()?;
            self.render(key, context, record, &agreed).ok().map(|output| output.object)
        });
        let mut word = compared(key, context, before.as_ref(), &after);
        word.effect = match record {
            None => Some(Effect::Add),
            // Which values change, nobody can tell who has an outline.
            Some(_) if before.is_none() => None,
            Some(_) => word.effect,
        };
        if let Some(record) = record
            && word.effect == Some(Effect::Keep)
            && let Some(word) = self.present_state(key, record, &word)
        {
            return Ok(Course::Said(word));
        }
        let live = self.objects.get(key).and_then(|object| object.live.as_ref());
        if let Some(live) = live
            && record.is_some_and(|record| live.incarnation.is_some_and(|life| life > record.incarnation))
        {
            let message = "an object of a later life stands here: nothing is done about it";
            return Ok(Course::Said(Word { verdict: Verdict::Conflicting, message: message.to_owned(), ..word }));
        }
        if sealed && live.is_some() {
            let message = "what stands is not tried, for a Secret's values are in no plan";
            return Ok(Course::Said(Word { verdict: Verdict::Untried, message: message.to_owned(), ..word }));
        }
        let setting = Setting {
            path: self.output_path(key, context),
            kind: context.installed.kind.clone(),
            standing: live.map(|live| live.uid.clone()),
            label: context.league.label(),
            adoption: spec.adoption,
            outlined: sealed,
            makes_namespace: context.spec.namespaces == NamespacePolicy::Create && !key.namespace.starts_with("kube-"),
        };
        Ok(Course::Try(Box::new(Trial::new(setting, after, word))))
    }

    /// What is to be said of an output that stays as it is: what came of it is known.
    fn present_state(&self, key: &RecordKey, record: &Record, word: &Word) -> Option<Word> {
        let status = self.status_of(&self.config.member, key).filter(|status| is_current(status, record))?;
        let verdict = match status.state {
            State::Applied | State::Paused => Verdict::Accepted,
            State::Waiting => Verdict::Untried,
            State::Refused => Verdict::Refused,
            State::Conflicting => Verdict::Conflicting,
            State::Pending | State::Held | State::Removing | State::Removed => return None,
        };
        Some(Word { verdict, message: status.message.clone(), ..word.clone() })
    }

    /// The member would lose its output: the breaker of this member has its word.
    fn planned_withdrawal(&self, key: &RecordKey, record: &Record, falling: &mut Falling) -> Word {
        let live = self.objects.get(key).and_then(|object| object.live.as_ref());
        let policy = self.removal_policy(key, record);
        let mut word = Word { effect: Some(Effect::Withdraw), ..Word::plain(Verdict::Accepted, "") };
        let Some(live) = live.filter(|_| policy == DeletionPolicy::Delete) else { return word };
        let scope = Scope::output(record, record.incarnation, &self.config.member);
        falling.outputs.insert(key.clone(), Pending { scope, weight: live.weight });
        if let Some(held) = self.would_be_held(Decision::Output, &falling.outputs) {
            (word.verdict, word.message) = (Verdict::Held, format!("{held}: it would wait for `hansa confirm`"));
        }
        word
    }

    /// What the breaker of the one who decides about the page says of members that would lose the object.
    fn withdrawal_note(
        &self,
        key: &RecordKey,
        record: &Record,
        wanted: &BTreeSet<MemberName>,
        falling: &mut Falling,
    ) -> Option<String> {
        let leaving: BTreeSet<MemberName> =
            record.placed_members().filter(|member| !wanted.contains(*member)).cloned().collect();
        if leaving.is_empty() || !self.is_appointed(key) {
            return None;
        }
        let names: Vec<String> = leaving.iter().map(ToString::to_string).collect();
        let weight = leaving.iter().filter(|member| !self.keeps_outputs(member)).count() as u64;
        let scope = Scope::withdrawal(record.incarnation, leaving);
        falling.withdrawals.insert(key.clone(), Pending { scope, weight });
        let held = self.would_be_held(Decision::Withdraw, &falling.withdrawals)?;
        Some(format!(
            "the withdrawal from {} is decided here, and would wait for `hansa confirm`: {held}",
            names.join(", ")
        ))
    }
}

/// That the change comes here later than elsewhere.
fn wave_note(
    league: &FederationSpec,
    spec: &FederatedSpec,
    placed: &BTreeSet<MemberName>,
    own: &MemberName,
) -> Option<String> {
    let waves = waves(league, spec, placed)?;
    let wave = waves.get(own).copied().filter(|wave| *wave > 0)?;
    let last = waves.values().max().copied().unwrap_or_default();
    Some(format!(
        "wave {} of {}: it comes here when the members of all earlier ones are well with it",
        wave + 1,
        last + 1
    ))
}

/// What changes between two outputs.
fn compared(key: &RecordKey, context: &Context, before: Option<&Value>, after: &Value) -> Word {
    let mut word = Word::plain(Verdict::Accepted, "");
    let Some(before) = before else { return word };
    let identity = identity(key, context);
    let changes = diff_for_people(&identity.kind, before, after, &*list_keys(&identity, context));
    word.effect = Some(if changes.is_empty() { Effect::Keep } else { Effect::Change });
    word.restarts_pods = restarts_pods(&identity.kind, before, after);
    let told = |value: Option<Value>| Compact::of(&value.unwrap_or_default());
    let difference = |change: hansa_render::Change| Difference {
        path: change.path,
        before: told(change.before),
        after: told(change.after),
    };
    word.changes = changes.into_iter().map(difference).collect();
    word
}
