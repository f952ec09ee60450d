//! What operators do to federated objects.

use super::rules::{COPIES, RELEASE, TRUTH, USERS};
use super::{Judge, Violation, intent_of};
use crate::kinds::home_path;
use crate::member::Member;
use crate::process::ProcessId;
use crate::reached::Hazard;
use hansa_ledger::Record;
use hansa_model::{FINALIZER, Hash, Incarnation, MemberName, RecordKey, Revision};
use hansa_operator::{ApiRequest, ContentType, Method};
use serde_json::Value;

impl Judge {
    pub(super) fn sends_home(
        &mut self,
        now: u64,
        id: ProcessId,
        member: &mut Member,
        key: &RecordKey,
        subresource: &str,
        request: &ApiRequest,
    ) -> Result<(), Violation> {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method, request.content_type, subresource) {
            (Method::Put, ContentType::Json, "status") => {
                self.tells_of_hazards(&body["status"]);
                self.is_true(key, &body["status"])
            }
            (Method::Patch, ContentType::MergePatch, "") => {
                self.only_finalizers(&member.name, key, &body)?;
                let kept =
                    body["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|f| f == FINALIZER));
                if kept { Ok(()) } else { self.may_release(now, member, key) }
            }
            (Method::Delete, ..) => {
                super::outputs::is_fenced(&member.name, key, &body)?;
                self.may_delete_home(now, id, &member.name, key, &body["preconditions"]["uid"])
            }
            _ => Err(Violation::at(USERS, key, format!("{} writes it: {:?}", member.name, request.method))),
        }
    }

    /// As far as the operator read a moment ago, its life has ended, or it is no home of it.
    fn may_delete_home(
        &self,
        now: u64,
        id: ProcessId,
        member: &MemberName,
        key: &RecordKey,
        uid: &Value,
    ) -> Result<(), Violation> {
        let read = self.page_read(now, id, member, key, "deletes a home");
        let record = match &read {
            Ok(page) => page.record(key).map(|record| &**record),
            Err(_) => self.record(key),
        };
        let goes_on = |record: &Record| record.tombstone.is_none() || self.is_forged(key, record);
        let is_home = |record: &Record| record.homes.get(member).is_some_and(|home| *uid == *home.uid);
        if record.is_some_and(|record| goes_on(record) && is_home(record)) {
            return Err(Violation::at(COPIES, key, format!("{member} deletes a home")));
        }
        read.map(drop)
    }

    /// A home's object is made anew in the member that becomes the home: the agreed intent, verbatim.
    pub(super) fn makes_home(&self, member: &MemberName, request: &ApiRequest) -> Result<(), Violation> {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let hash = Hash::of(&body["spec"]);
        let text = |field: &str| body["metadata"][field].as_str().unwrap_or_default();
        let path = request.path.split('?').next().unwrap_or_default();
        let agreed = self.agreed.iter().any(|((key, ..), agreed)| {
            let collection = home_path(key).rsplit_once('/').is_some_and(|(collection, _)| collection == path);
            collection && *key.name == *text("name") && agreed.hash == hash
        });
        if agreed {
            return Ok(());
        }
        Err(Violation::new(USERS, format!("{member} makes {path}/{} of what was never agreed", text("name"))))
    }

    fn only_finalizers(&self, member: &MemberName, key: &RecordKey, body: &Value) -> Result<(), Violation> {
        let fields = |value: &Value| -> Vec<String> {
            value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
        };
        let known = ["finalizers", "resourceVersion", "uid"];
        if fields(body) == ["metadata"] && fields(&body["metadata"]).iter().all(|field| known.contains(&field.as_str()))
        {
            return Ok(());
        }
        Err(Violation::at(USERS, key, format!("{member} writes more than its finalizer: {body}")))
    }

    /// The object that goes is no home any more.
    fn may_release(&self, now: u64, member: &mut Member, key: &RecordKey) -> Result<(), Violation> {
        let Some(object) = member.look(now, &home_path(key)) else { return Ok(()) };
        let names =
            |record: &Record| record.homes.get(&member.name).is_some_and(|home| object["metadata"]["uid"] == *home.uid);
        match self.record(key) {
            Some(record) if names(record) => {
                Err(Violation::at(RELEASE, key, format!("{} lets go of an object that is still a home", member.name)))
            }
            _ => Ok(()),
        }
    }

    /// What users are told to decide.
    fn tells_of_hazards(&mut self, status: &Value) {
        let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(agreed) = conditions.iter().find(|condition| condition["type"] == "Agreed") else { return };
        let is_about_the_object = agreed["message"].as_str().is_some_and(|message| message.starts_with("the object"));
        match agreed["reason"].as_str() {
            Some("Frozen") if agreed["message"].as_str().is_some_and(|why| why.contains("does not know")) => {
                self.reached.count(Hazard::HomeAhead);
            }
            Some("Frozen") if is_about_the_object => self.reached.count(Hazard::StaleHome),
            Some("Conflict" | "Differs") => self.reached.count(Hazard::HomesConflict),
            _ => {}
        }
    }

    /// What is said to be propagated stood, once, in every member that was placed.
    fn is_true(&self, key: &RecordKey, status: &Value) -> Result<(), Violation> {
        let condition = |kind: &str| {
            let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
        };
        let agreed = &status["agreed"];
        if !condition("Propagated") || agreed["differs"] != false {
            return Ok(());
        }
        let life = Incarnation(agreed["incarnation"].as_u64().unwrap_or_default());
        let revision = Revision(agreed["revision"].as_u64().unwrap_or_default());
        let Some(known) = self.agreed.get(&(key.clone(), life, revision)) else {
            // What was forged was ended by somebody's word, and it is the end that has come everywhere.
            let has_ended = |record: &Record| record.incarnation == life && record.tombstone.is_some();
            let was_forged = |record: &Record| self.forged_intents.contains(&intent_of(key, record));
            if self.record(key).is_some_and(|record| has_ended(record) && was_forged(record)) {
                return Ok(());
            }
            return Err(Violation::at(TRUTH, key, format!("life {life} revision {revision} was never agreed")));
        };
        if agreed["hash"] != known.hash.to_string() {
            return Err(Violation::at(TRUTH, key, format!("revision {revision} has another hash than is said")));
        }
        let Some(spec) = &known.spec else { return Ok(()) };
        for entry in status["members"].as_array().into_iter().flatten() {
            if entry["state"] == "Withdrawing" {
                continue;
            }
            let Ok(name) = entry["name"].as_str().unwrap_or_default().parse() else { continue };
            let stood = self
                .render(key, spec, &name, life, revision)
                .is_some_and(|output| self.held.contains(&(key.clone(), life, name.clone(), output.hash)));
            if !stood {
                let what = format!("revision {revision} is said to be propagated, and never stood in {name}");
                return Err(Violation::at(TRUTH, key, what));
            }
        }
        Ok(())
    }
}
