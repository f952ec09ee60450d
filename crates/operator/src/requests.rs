//! `Request`s: what users of this member ask of its operator.
//!
//! A Request is written with the user's own rights and gated by a policy of the API server; here it
//! is carried out and answered. Answers with data go into a Secret beside it, which goes with it.

mod asked;
mod plan;

use crate::classify::classify;
use crate::feed::{ObjectName, object_name};
use crate::io::{ApiAnswer, ApiRequest, ContentType, Level, Method};
use crate::machine::{Operator, Purpose, Timer};
use crate::observed::MANAGER;
use crate::removal::Decision;
use crate::rotation;
use asked::Asked;
use hansa_ledger::breaker::{Pending, Scope};
use hansa_ledger::mutation::Change;
use hansa_model::{Hash, Incarnation, RecordKey};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How long a request may wait for others before it says what it waits for.
const PATIENCE_MS: u64 = 30_000;

/// How often it is looked whether a plan can be asked for.
const PLAN_LOOK_MS: u64 = 1_000;

/// How long an answered request is left for its user to read.
const KEPT_MS: u64 = 600_000;

/// A request that is not answered yet.
#[derive(Debug)]
struct Open {
    uid: String,
    asked: Asked,
    since_ms: u64,
    /// An answer is being written.
    busy: bool,
    retry_ms: u64,
    failures: u32,
    /// The life that it is about: the one that stood when it was first looked at.
    life: Option<Incarnation>,
    /// What its status says it waits for.
    told: Option<String>,
}

/// The requests of this member.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    open: BTreeMap<ObjectName, Open>,
    /// What is answered: its uid, and until when it is kept.
    answered: BTreeMap<ObjectName, (String, u64)>,
}

/// What is being written for a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RequestCall {
    /// The Secret with the data; then this status.
    Secret { status: String },
    /// The status.
    Status,
    /// What it waits for, in the status.
    Waits,
    /// It was answered long ago, and goes.
    Remove,
}

/// How a request ends.
enum Answer {
    Wait,
    /// It stays open, and its status says what it waits for.
    Waits(String),
    Done {
        message: String,
        result: Option<Value>,
    },
    Data {
        message: String,
        data: Value,
    },
    Refused(String),
}

impl Requests {
    /// Whether somebody asks for an object's end.
    pub fn want_the_end(&self, key: &RecordKey) -> bool {
        let wants = |open: &Open| matches!(&open.asked, Asked::Delete { key: asked, .. } if asked == key);
        self.open.values().any(wants)
    }

    /// The request with this uid that is not answered yet.
    pub fn named(&self, uid: &str) -> Option<&ObjectName> {
        self.open.iter().find(|(_, open)| open.uid == uid).map(|(name, _)| name)
    }
}

impl Operator {
    pub(crate) fn request_seen(&mut self, object: &Value) {
        let name = object_name(object);
        let phase = object["status"]["phase"].as_str().unwrap_or("Pending");
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        if phase != "Pending" || object["metadata"]["deletionTimestamp"].is_string() {
            self.requests.open.remove(&name);
            self.plan_forgotten(&name);
            return self.keep_answered(name, uid);
        }
        if self.requests.open.get(&name).is_some_and(|open| open.uid == uid) || self.config.observe {
            return;
        }
        let now = self.now.monotonic_ms;
        match Asked::read(&object["spec"]) {
            Ok(asked) => {
                // An earlier start of this operator may have told them already.
                let told = object["status"]["message"].as_str().map(str::to_owned);
                let life = object["status"]["life"].as_u64().map(Incarnation);
                let open = Open { uid, asked, since_ms: now, busy: false, retry_ms: 0, failures: 0, life, told };
                self.requests.open.insert(name.clone(), open);
                self.continue_request(&name);
            }
            Err(message) => self.write_status(&name, &refused(&message)),
        }
    }

    pub(crate) fn request_gone(&mut self, name: &ObjectName) {
        if let Some(key) = self.requests.open.remove(name).and_then(|open| open.asked.key().cloned()) {
            self.touch(&key);
        }
        self.requests.answered.remove(name);
        self.plan_forgotten(name);
        self.confirming.look_again();
    }

    /// An answered request goes in the end, with the Secret that it owns: those who asked may not
    /// have waited for the answer.
    fn keep_answered(&mut self, name: ObjectName, uid: String) {
        if self.config.observe || self.requests.answered.get(&name).is_some_and(|(known, _)| *known == uid) {
            return;
        }
        let until = self.now.monotonic_ms + KEPT_MS;
        self.requests.answered.insert(name.clone(), (uid, until));
        self.at(until, Timer::Request(name));
    }

    fn remove_answered(&mut self, name: &ObjectName) {
        let now = self.now.monotonic_ms;
        let Some((uid, _)) = self.requests.answered.get(name).filter(|(_, until)| *until <= now) else { return };
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
        let request = ApiRequest::write(Method::Delete, path(name), ContentType::Json, &options);
        self.requests.answered.remove(name);
        self.api(Purpose::Request(name.clone(), RequestCall::Remove), request);
    }

    /// Looks at every open request again: what they waited for may be what they are not about.
    pub(crate) fn continue_all_requests(&mut self) {
        let all: Vec<ObjectName> = self.requests.open.keys().cloned().collect();
        for name in all {
            self.continue_request(&name);
        }
    }

    /// Looks at the open requests about an object, or about none, again.
    pub(crate) fn continue_requests(&mut self, key: Option<&RecordKey>) {
        let about: Vec<ObjectName> = self
            .requests
            .open
            .iter()
            .filter(|(_, open)| open.asked.key() == key)
            .map(|(name, _)| name.clone())
            .collect();
        for name in about {
            self.continue_request(&name);
        }
    }

    pub(crate) fn continue_request(&mut self, name: &ObjectName) {
        let now = self.now.monotonic_ms;
        let Some(open) = self.requests.open.get(name) else { return self.remove_answered(name) };
        if open.busy || open.retry_ms > now {
            return;
        }
        let (asked, uid, since, life) = (open.asked.clone(), open.uid.clone(), open.since_ms, open.life);
        let answer = self.obstacle(&asked).unwrap_or_else(|| self.carry_out(name, &asked, life));
        let answer = match answer {
            // A plan has a patience of its own.
            Answer::Wait if matches!(asked, Asked::Plan { .. }) => {
                return self.at(now + PLAN_LOOK_MS, Timer::Request(name.clone()));
            }
            Answer::Wait if now.saturating_sub(since) >= PATIENCE_MS => Answer::Waits(self.waits_for(&asked)),
            Answer::Wait => return self.at(since + PATIENCE_MS, Timer::Request(name.clone())),
            answer => answer,
        };
        let Some(open) = self.requests.open.get_mut(name) else { return };
        if let Answer::Waits(message) = &answer
            && open.told.as_ref() == Some(message)
        {
            return;
        }
        open.busy = true;
        match answer {
            Answer::Wait => {}
            Answer::Waits(message) => {
                let mut status = json!({"phase": "Pending", "message": message});
                if let Some(life) = open.life {
                    // Whoever starts anew takes no later life for the one that was meant.
                    status["life"] = json!(life);
                }
                open.told = Some(message);
                self.send_status(name, &status, RequestCall::Waits);
            }
            Answer::Done { message, result } => {
                let mut status = json!({"phase": "Done", "message": message});
                if let Some(result) = result {
                    status["result"] = result;
                }
                self.write_status(name, &status);
            }
            Answer::Refused(message) => self.write_status(name, &refused(&message)),
            Answer::Data { message, data } => self.write_data(name, &uid, &message, &data),
        }
    }

    /// What keeps this operator from carrying out what is asked. It explains what it knows all the same, and
    /// plans and rotations say themselves what they lack.
    fn obstacle(&self, asked: &Asked) -> Option<Answer> {
        let Some(league) = self.league.as_ref().filter(|_| self.topology.is_loaded()) else {
            return Some(Answer::Wait);
        };
        let own = &self.config.member;
        match asked {
            Asked::Explain { .. } => None,
            _ if league.spec.member(own).is_none() => Some(Answer::Refused(format!(
                "spec.members of the league lists no {own}, so its operator carries out nothing: ask in a member (`hansa status` lists them)"
            ))),
            Asked::Plan { .. } | Asked::RotateKeys => None,
            _ => {
                let frozen = self.frozen_by_topology().or_else(|| league.frozen.clone());
                frozen.or_else(|| self.unread(asked.key()?)).map(Answer::Waits)
            }
        }
    }

    fn carry_out(&mut self, name: &ObjectName, asked: &Asked, life: Option<Incarnation>) -> Answer {
        if let Asked::Plan { wanted } = asked {
            return self.carry_out_plan(name, wanted);
        }
        if *asked == Asked::RotateKeys {
            return match self.rotation_asked() {
                rotation::Asked::Begins => Answer::Wait,
                rotation::Asked::Stands { message, result } => Answer::Done { message, result: Some(result) },
                rotation::Asked::Refused(why) => Answer::Refused(why),
            };
        }
        let record = asked.key().and_then(|key| self.record_in_page(key));
        let Some(key) = asked.key() else {
            let Asked::Confirm { set } = asked else { return Answer::Wait };
            return self.carry_out_confirmation(set);
        };
        if let Some(record) = record.as_ref().filter(|record| asked.is_about_a_life() && record.tombstone.is_some())
            && let Err(why) = self.answerable(key, record)
        {
            // An end that is nobody's word is none.
            return Answer::Waits(why);
        }
        let meant = life.or(record.as_ref().map(|record| record.incarnation));
        let is_over =
            |life| record.as_ref().is_none_or(|record| record.incarnation != life || record.tombstone.is_some());
        if asked.is_about_a_life() && meant.is_some_and(is_over) {
            return self.life_is_over(asked, key);
        }
        let Some(record) = record else {
            let why = self.unread(key);
            let unknown = format!("spec.object: the league knows no {key}: `hansa get` lists what it knows");
            return why.map_or(Answer::Refused(unknown), Answer::Waits);
        };
        if let Some(open) = self.requests.open.get_mut(name).filter(|open| open.asked.is_about_a_life()) {
            open.life = Some(record.incarnation);
        }
        if !self.has_bodies(key, &record) {
            return Answer::Wait;
        }
        match asked {
            Asked::Delete { policy, .. } => {
                let live = self.objects.get(key).and_then(|object| object.live.as_ref());
                let weight = live.map_or(1, |live| live.weight);
                let pending = Pending { scope: Scope::end(record.incarnation), weight };
                if record.tombstone.is_none() && !self.removals.ask(Decision::End, key, pending) {
                    return match self.removals.held(key) {
                        Some(held) => Answer::Waits(format!("{key} waits: {held}")),
                        None => Answer::Wait,
                    };
                }
                let agreed = self.intent_spec(&record).map(|spec| spec.deletion_policy);
                let policy = match (*policy, agreed) {
                    (Some(policy), _) | (None, Ok(policy)) => policy,
                    // What was agreed and cannot be read may have said otherwise.
                    (None, Err(why)) => {
                        return Answer::Refused(format!(
                            "spec.arguments.deletionPolicy: say what becomes of the outputs, for the agreed spec does not: {why}"
                        ));
                    }
                };
                self.mutate(key, Change::End { incarnation: record.incarnation, policy });
                Answer::Wait
            }
            Asked::HomeMove { to, .. } => {
                if record.homes.len() == 1 && record.homes.contains_key(to) && record.moving.is_none() {
                    return Answer::Done { message: format!("the home of {key} is {to}"), result: None };
                }
                let spec = self.league.as_ref().map(|league| league.spec.clone()).unwrap_or_default();
                let why_not = match spec.member(to) {
                    None => Some("no member of the league"),
                    Some(member) => member.takes_nothing(),
                };
                if let Some(why) = why_not {
                    return Answer::Refused(format!(
                        "spec.arguments.member: {to} is {why}: `hansa status` lists the members"
                    ));
                }
                let takeover_allowed = self.may_take_home(&record);
                let own = &self.config.member;
                let may = record.homes.contains_key(own) || (own == to && (takeover_allowed || record.is_homeless()));
                if !may {
                    return Answer::Refused(format!(
                        "the home of {key} is {}: ask there (its consent is needed), or let the spec allow takeovers (homes: {{takeover: Allowed}}) and ask in {to}",
                        crate::report::homes(&record)
                    ));
                }
                if record.moving.as_ref() != Some(to) {
                    self.mutate(
                        key,
                        Change::Move { incarnation: record.incarnation, to: to.clone(), takeover_allowed },
                    );
                }
                self.move_hindrance(key, to).map_or(Answer::Wait, Answer::Waits)
            }
            Asked::Output { member, .. } => {
                let Some(context) = self.context(key) else { return Answer::Wait };
                let own = &self.config.member;
                if let Some(sealed) = &record.sealed
                    && !record.homes.contains_key(own)
                    && !record.placed.contains_key(own)
                {
                    let readers: Vec<_> = sealed.wraps.keys().map(ToString::to_string).collect();
                    return Answer::Refused(format!(
                        "the content of {key} is sealed to the members that keep or have it, and {own} is none of them: ask in {}",
                        readers.join(", ")
                    ));
                }
                let rendered =
                    self.intent_spec(&record).and_then(|spec| self.render_for(key, &context, &record, &spec, member));
                match rendered {
                    Ok(output) => Answer::Data {
                        message: format!("the substitution output of {key} for {member}"),
                        data: output.object,
                    },
                    Err(error) => Answer::Refused(error),
                }
            }
            Asked::Explain { .. } => {
                let result = self.answer(&crate::io::Question::Explain { key: key.clone() });
                Answer::Done { message: format!("why each member has {key}, or has it not"), result: Some(result) }
            }
            Asked::Confirm { .. } | Asked::Plan { .. } | Asked::RotateKeys => Answer::Wait,
        }
    }

    /// The life that a request is about has ended; another of the name is not what was meant.
    fn life_is_over(&mut self, asked: &Asked, key: &RecordKey) -> Answer {
        if let Asked::Delete { .. } = asked {
            self.removals.forget(Decision::End, key);
            return Answer::Done {
                message: format!("{key} is deleted for all: its outputs go as each member hears of it"),
                result: None,
            };
        }
        Answer::Refused(format!(
            "spec.object: the {key} that this was asked about is deleted: ask anew for what has its name now"
        ))
    }

    fn carry_out_confirmation(&mut self, set: &Hash) -> Answer {
        if self.is_confirmed_set(set) {
            let message = format!("the removals of set {} are confirmed, and no others", set.short());
            return Answer::Done { message, result: None };
        }
        self.confirming.look_again();
        Answer::Wait
    }

    /// The sets that people confirm here, and who does.
    pub(crate) fn given_confirmations(&self) -> BTreeMap<Hash, String> {
        let given = self.requests.open.iter().filter_map(|(name, open)| match &open.asked {
            Asked::Confirm { set } => Some((*set, format!("{}: Request {}/{}", self.config.member, name.0, name.1))),
            _ => None,
        });
        given.collect()
    }

    fn waits_for(&self, asked: &Asked) -> String {
        match asked {
            Asked::HomeMove { key, to } if !self.is_heard(to) => format!(
                "{key}: {to} is to become the home, and nothing is heard of its operator (`hansa status`): it makes the object when it runs"
            ),
            Asked::HomeMove { key, to } if self.topology.down_since_ms.is_none() => {
                format!("{key}: {to} is to become the home, and has not made the object yet")
            }
            Asked::Confirm { set } if self.topology.down_since_ms.is_none() => self.awaits(set),
            Asked::RotateKeys => {
                "the next keys are not in this member's Secret of keys yet: the operator's log says why".to_owned()
            }
            _ if self.topology.down_since_ms.is_some() => {
                "the topology server cannot be used: the request is carried out when it returns".to_owned()
            }
            _ => "it is under way".to_owned(),
        }
    }

    fn write_data(&mut self, name: &ObjectName, uid: &str, message: &str, data: &Value) {
        let (namespace, request) = name;
        let secret = format!("hansa-request-{uid}");
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "hansa.dev/answer",
            "metadata": {"name": secret, "namespace": &**namespace, "ownerReferences": [
                {"apiVersion": "hansa.dev/v1alpha1", "kind": "Request", "name": &**request, "uid": uid},
            ]},
            "stringData": {"result": data.to_string()},
        });
        let status = json!({"phase": "Done", "message": message, "resultSecret": secret}).to_string();
        let path = format!("/api/v1/namespaces/{namespace}/secrets?fieldManager={MANAGER}");
        let request = ApiRequest::write(Method::Post, path, ContentType::Json, &body);
        self.api(Purpose::Request(name.clone(), RequestCall::Secret { status }), request);
    }

    fn write_status(&mut self, name: &ObjectName, status: &Value) {
        self.send_status(name, status, RequestCall::Status);
    }

    fn send_status(&mut self, name: &ObjectName, status: &Value, call: RequestCall) {
        let body = json!([{"op": "add", "path": "/status", "value": status}]);
        let path = format!("{}/status?fieldManager={MANAGER}", path(name));
        let request = ApiRequest::write(Method::Patch, path, ContentType::JsonPatch, &body);
        self.api(Purpose::Request(name.clone(), call), request);
    }

    pub(crate) fn request_answered(
        &mut self,
        name: &ObjectName,
        call: &RequestCall,
        answer: Result<ApiAnswer, String>,
    ) {
        let failure = match (call, answer) {
            (RequestCall::Secret { status }, Ok(answer)) if answer.status < 300 || answer.status == 409 => {
                let status: Value = serde_json::from_str(status).unwrap_or_default();
                return self.write_status(name, &status);
            }
            (RequestCall::Status, Ok(answer)) if answer.status < 300 || answer.status == 404 => {
                self.requests.open.remove(name);
                self.confirming.look_again();
                return;
            }
            (RequestCall::Waits, Ok(answer)) if answer.status < 300 => {
                if let Some(open) = self.requests.open.get_mut(name) {
                    open.busy = false;
                }
                return self.continue_request(name);
            }
            // Gone already, or another one has its name: nothing is left to do.
            (RequestCall::Remove, Ok(answer)) if matches!(answer.status, 200..300 | 404 | 409) => return,
            (_, Ok(answer)) => classify(answer.status, &answer.body).message(),
            (_, Err(reason)) => reason,
        };
        self.metrics.failures += 1;
        let Some(open) = self.requests.open.get_mut(name) else { return };
        open.busy = false;
        open.told = None;
        open.failures += 1;
        let failures = open.failures;
        let until = self.pause(failures, 200, 30_000);
        if let Some(open) = self.requests.open.get_mut(name) {
            open.retry_ms = until;
        }
        self.at(until, Timer::Request(name.clone()));
        if failures == 3 {
            self.log(Level::Warning, None, format!("Request {}/{} cannot be answered: {failure}", name.0, name.1));
        }
    }
}

/// The path of a Request.
fn path((namespace, name): &ObjectName) -> String {
    format!("/apis/hansa.dev/v1alpha1/namespaces/{namespace}/requests/{name}")
}

fn refused(message: &str) -> Value {
    json!({"phase": "Refused", "message": message})
}
