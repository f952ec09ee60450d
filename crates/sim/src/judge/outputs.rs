//! What operators do to outputs.

use super::rules::{AGREED, CUT_OFF, FENCED, FORGED, GROUND, OURS, OWED};
use super::{Judge, Violation, life_of, marks_of};
use crate::kinds::{About, output_path};
use crate::member::Member;
use crate::process::ProcessId;
use crate::reached::Hazard;
use hansa_ledger::keys;
use hansa_ledger::lives::{Duty, duty};
use hansa_ledger::record::PlacedState;
use hansa_ledger::{Page, Record};
use hansa_model::{Incarnation, MemberName, RecordKey};
use hansa_operator::{ApiRequest, ContentType, Method};
use hansa_render::{LEAGUE_LABEL, weight};
use serde_json::Value;

/// How old the read may be that a deletion rests on. Calls take up to eight seconds in a storm.
const FRESH_MS: u64 = 10_000;

/// What the operator itself must not forget.
const NOTES: &str = "configmaps/hansa-system/hansa-ballot-notes";

/// Where an operator keeps what it must not forget.
pub(crate) fn notes() -> RecordKey {
    NOTES.parse().expect("the name is a key")
}

/// Whether it is what the operator itself must not forget.
pub(super) fn is_note(about: &About) -> bool {
    matches!(about, About::Output(key) if key.to_string() == NOTES)
}

impl Judge {
    pub(super) fn sends_output(
        &mut self,
        now: u64,
        id: ProcessId,
        member: &mut Member,
        key: &RecordKey,
        request: &ApiRequest,
    ) -> Result<(), Violation> {
        if key.to_string() == NOTES {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method, request.content_type) {
            (Method::Patch, ContentType::Apply) if !request.path.contains("dryRun") => {
                if self.knowledge.get(&id).is_some_and(|knowledge| knowledge.cut_off) {
                    self.reached.count(Hazard::AppliedCutOff);
                }
                self.may_apply(&member.name, key, &body)
            }
            // Hansa's marks are taken off.
            (Method::Patch, ContentType::JsonPatch) if body[1]["path"] == "/metadata/labels" => {
                if self.is_leaving(&member.name) {
                    self.reached.count(Hazard::OutputsKept);
                }
                self.may_remove(now, id, member, key, None)
            }
            (Method::Delete, _) => {
                is_fenced(&member.name, key, &body)?;
                let uid = body["preconditions"]["uid"].as_str().unwrap_or_default().to_owned();
                self.may_remove(now, id, member, key, Some(&uid))
            }
            _ => Ok(()),
        }
    }

    fn may_apply(&self, member: &MemberName, key: &RecordKey, body: &Value) -> Result<(), Violation> {
        let Some((life, revision)) = marks_of(body) else {
            return Err(Violation::at(AGREED, key, "an output without marks is applied"));
        };
        let entry = (key.clone(), life, revision);
        if self.all_agreed(&entry).next().is_none() {
            return Err(Violation::at(AGREED, key, format!("{member} applies life {life} revision {revision}")));
        }
        let Some(agreed) = self.all_agreed(&entry).find(|agreed| agreed.placed.contains(member)) else {
            let what = format!("{member} applies life {life} revision {revision}, and was never placed in it");
            return Err(Violation::at(AGREED, key, what));
        };
        self.is_in_open_wave(key, (life, revision), agreed.spec.as_ref(), member)
    }

    fn may_remove(
        &mut self,
        now: u64,
        id: ProcessId,
        member: &mut Member,
        key: &RecordKey,
        uid: Option<&str>,
    ) -> Result<(), Violation> {
        let name = member.name.clone();
        // Marks are taken off by a read and a patch: the read is what rests on the page.
        let deletes = uid.is_some();
        let what = "removes its output";
        let page = match deletes {
            true => self.page_read(now, id, &name, key, what)?,
            false => self.page_known(id, &name, key, what)?.1,
        };
        let Some(record) = page.record(key) else {
            return Err(Violation::at(GROUND, key, format!("{name} removes its output, and there is no record")));
        };
        let withdraws = record
            .placed
            .get(&name)
            .is_some_and(|placed| placed.state != PlacedState::Placed || placed.incarnation < record.incarnation);
        if !withdraws && record.tombstone.is_some() && self.is_forged(key, record) {
            return Err(Violation::at(FORGED, key, format!("{name} removes its output because of a forged end")));
        }
        let keeps = duty(record, &name) == Duty::Keep;
        if deletes && !keeps && record.tombstone.is_none() {
            self.may_take(now, id, key, &name)?;
        }
        let live = member.look(now, &output_path(key));
        let life =
            live.filter(|live| uid.is_none_or(|uid| live["metadata"]["uid"] == *uid)).and_then(|live| life_of(&live));
        match granted(record, &name) {
            Some(granted) if life.is_none_or(|life| life <= granted) => {
                let ended = self.ended.entry((name, key.clone())).or_default();
                *ended = (*ended).max(granted);
                Ok(())
            }
            Some(granted) => {
                let what = format!("{name} removes life {life:?}, and only life {granted} has ended");
                Err(Violation::at(GROUND, key, what))
            }
            None => Err(Violation::at(GROUND, key, format!("{name} removes what it is to keep"))),
        }
    }

    /// A key's page as a process knows it, and when it was read.
    fn page_known(
        &self,
        id: ProcessId,
        member: &MemberName,
        key: &RecordKey,
        what: &str,
    ) -> Result<(u64, &Page), Violation> {
        let known = self.knowledge.get(&id).and_then(|known| known.pages.get(&keys::page(key.page(self.count))));
        let found = known.and_then(|(at, page)| Some((*at, page.as_ref()?)));
        found.ok_or_else(|| Violation::at(GROUND, key, format!("{member} {what}, and has never read its page")))
    }

    /// What a deletion rests on: a key's page, read a moment ago, by a process that is not cut off.
    pub(super) fn page_read(
        &self,
        now: u64,
        id: ProcessId,
        member: &MemberName,
        key: &RecordKey,
        what: &str,
    ) -> Result<&Page, Violation> {
        if self.knowledge.get(&id).is_some_and(|knowledge| knowledge.cut_off) {
            return Err(Violation::at(CUT_OFF, key, format!("{member} {what}")));
        }
        let (at, page) = self.page_known(id, member, key, what)?;
        if now - at > FRESH_MS {
            return Err(Violation::at(GROUND, key, format!("{member} {what} by what it read {} ms ago", now - at)));
        }
        Ok(page)
    }

    /// A deletion reaches the API server: it meets what stands there now.
    pub(super) fn deletes(
        &mut self,
        now: u64,
        member: &mut Member,
        key: &RecordKey,
        request: &ApiRequest,
    ) -> Result<(), Violation> {
        let Some(live) = member.look(now, &output_path(key)) else { return Ok(()) };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let wanted = &body["preconditions"];
        let meets = |field: &str| wanted[field].is_null() || wanted[field] == live["metadata"][field];
        if !meets("uid") || !meets("resourceVersion") || live["metadata"]["deletionTimestamp"].is_string() {
            return Ok(());
        }
        let name = member.name.clone();
        if live["metadata"]["labels"][LEAGUE_LABEL].is_null() {
            return Err(Violation::at(OURS, key, format!("{name} deletes an object that is not Hansa's")));
        }
        // The record may have changed since the deletion was sent, but a life that has ended stays ended.
        let Some(life) = life_of(&live) else { return Ok(()) };
        let ended = self.ended.get(&(name.clone(), key.clone())).copied().unwrap_or_default();
        if life > ended {
            let what = format!("{name} deletes life {life}, and only life {ended} was to be removed there");
            return Err(Violation::at(OURS, key, what));
        }
        self.deleted(&name, key, life, weight(&key.type_name, &live))
    }

    pub(super) fn served_output(
        &mut self,
        member: &MemberName,
        leads: bool,
        key: &RecordKey,
        request: &ApiRequest,
        made: bool,
    ) -> Result<(), Violation> {
        if request.content_type != ContentType::Apply || request.path.contains("dryRun") {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let Some((life, revision)) = marks_of(&body) else { return Ok(()) };
        let owed = self
            .record(key)
            .and_then(|record| record.placed.get(member))
            .is_some_and(|placed| placed.state != PlacedState::Gone && placed.incarnation >= life);
        // One that lost the Lease may make an output again by what it knew, or put its marks back on one; also while the
        // leader's word that it is gone is under way.
        if !leads || (!owed && made) {
            if leads && !self.went_back {
                let what = format!("{member} makes life {life}, and has said that it is gone");
                return Err(Violation::at(OWED, key, what));
            }
            self.reached.count(Hazard::StrayStood);
            self.brought_back.insert((member.clone(), key.clone()));
        }
        let entry = (key.clone(), life, revision);
        let specs = self.all_agreed(&entry).filter_map(|agreed| agreed.spec.as_ref());
        let outputs: Vec<_> =
            specs.filter_map(|spec| self.render(key, spec, member, life, revision)).map(|output| output.hash).collect();
        self.held.extend(outputs.into_iter().map(|hash| (key.clone(), life, member.clone(), hash)));
        Ok(())
    }
}

/// A deletion names the object that was seen, in the state in which it was seen.
pub(super) fn is_fenced(member: &MemberName, key: &RecordKey, body: &Value) -> Result<(), Violation> {
    let named = |field: &str| body["preconditions"][field].as_str().is_some_and(|value| !value.is_empty());
    if named("uid") && named("resourceVersion") {
        Ok(())
    } else {
        Err(Violation::at(FENCED, key, format!("{member} deletes by name: {}", body["preconditions"])))
    }
}

/// The highest life whose output a member is to remove.
fn granted(record: &Record, member: &MemberName) -> Option<Incarnation> {
    match duty(record, member) {
        Duty::Remove => record.placed.get(member).map(|placed| placed.incarnation),
        // An earlier life's output makes way for this one's.
        Duty::Keep => Some(Incarnation(record.incarnation.0.saturating_sub(1))),
        Duty::None | Duty::Done => None,
    }
}
