//! Between an operator and its own API server.

use super::{Due, World};
use crate::judge::Violation;
use crate::member::{self, Member};
use crate::process::{ProcessId, Watching};
use crate::reached::Hazard;
use hansa_kubesim::core::http::Reply;
use hansa_kubesim::core::http::Response;
use hansa_operator::{ActId, ApiAnswer, ApiRequest, ContentType, Event, Method};
use serde_json::{Value, json};

/// Whether an operator tells people of a word that is nobody's: it does so at each of its starts, for as long as that
/// stands.
fn tells_of_a_rejected_word(request: &ApiRequest) -> bool {
    let is_event = request.path.split('?').next().is_some_and(|path| path.ends_with("/events"));
    is_event && serde_json::from_slice::<Value>(&request.body).is_ok_and(|event| event["reason"] == "Rejected")
}

impl World {
    pub(super) fn send_api(&mut self, id: ProcessId, act: ActId, request: ApiRequest) -> Result<(), Violation> {
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        let member = process.member;
        let text = describe(&request);
        process.under_way.insert(act, text.clone());
        if request.method != Method::Get {
            self.members[member].writes += u64::from(!tells_of_a_rejected_word(&request));
            let name = self.members[member].name.clone();
            self.tell(&name, format!("→ {text}"));
            let now = self.now;
            self.judge.sends(now, id, &mut self.members[member], &request)?;
        }
        let pause = self.latency();
        self.after(pause, Due::Api(id, act, request));
        Ok(())
    }

    pub(super) fn api_arrives(&mut self, id: ProcessId, act: ActId, request: &ApiRequest) -> Result<(), Violation> {
        let chances = self.settings.chances;
        // A process that has died meanwhile leaves only the request, to whatever member it was.
        let Some(member) = self.member_of(id) else { return Ok(()) };
        let calm = self.calm;
        if self.members[member].down || (!calm && self.random.chance(chances.api_refused)) {
            return self.answer_api(id, act, Err("connection refused".to_owned()));
        }
        if !calm && self.random.chance(chances.api_busy) {
            let status = *self.random.pick(&[429u16, 500, 503, 504]);
            let body = json!({"kind": "Status", "status": "Failure", "message": "the server is busy", "code": status});
            return self.answer_api(id, act, Ok(ApiAnswer { status, body: body.to_string().into() }));
        }
        let now = self.now;
        let here = &mut self.members[member];
        self.judge.arrives(now, here, request)?;
        let here = &mut self.members[member];
        let reply = here.core.handle(Member::time(now), &member::request(request));
        let response = match reply {
            Reply::Response(response) => response,
            Reply::Watch { id, .. } => {
                here.core.close_watch(id);
                return Ok(());
            }
        };
        if request.method != Method::Get {
            let here = &self.members[member];
            if here.leader != Some(id) {
                self.judge.reached.count(Hazard::TwinWrote);
            }
            if let Some(hazard) = refused(request, &response) {
                self.judge.reached.count(hazard);
            }
            self.judge.served(&here.name, here.leader == Some(id), request, &response)?;
            self.after_change(member);
        }
        if !calm && self.random.chance(chances.api_answer_lost) {
            return self.answer_api(id, act, Err("no answer within 60 s".to_owned()));
        }
        self.answer_api(id, act, Ok(ApiAnswer { status: response.status, body: response.body }))
    }

    fn answer_api(&mut self, id: ProcessId, act: ActId, answer: Result<ApiAnswer, String>) -> Result<(), Violation> {
        let pause = self.latency();
        self.after(pause, Due::Event(id, Event::Api { id: act, answer }));
        Ok(())
    }

    pub(super) fn member_of(&self, id: ProcessId) -> Option<usize> {
        self.homes.get(&id).copied()
    }

    // --- watches ---

    pub(super) fn send_watch(&mut self, id: ProcessId, act: ActId, request: ApiRequest) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.under_way.insert(act, collection_of(&request.path));
        let watching = Watching { watch: None, polling: false, told_ms: 0, stalled_until_ms: 0, wakes_ms: 0 };
        process.watches.insert(act, watching);
        let pause = self.latency();
        self.after(pause, Due::Watch(id, act, request));
    }

    pub(super) fn watch_arrives(&mut self, id: ProcessId, act: ActId, request: &ApiRequest) {
        let refused = !self.calm && self.random.chance(self.settings.chances.api_refused);
        let now = self.now;
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(watching) = process.watches.get_mut(&act) else { return };
        let here = &mut self.members[process.member];
        let outcome = if here.down || refused {
            Err((None, "connection refused".to_owned()))
        } else {
            match here.core.handle(Member::time(now), &member::request(request)) {
                Reply::Watch { id, .. } => Ok(id),
                Reply::Response(response) => {
                    if response.status == 404 {
                        self.judge.reached.count(Hazard::KindNotServed);
                    }
                    Err((Some(response.status), hansa_operator::feed::message_of(&response.body)))
                }
            }
        };
        match outcome {
            Ok(watch) => {
                watching.watch = Some(watch);
                watching.polling = true;
                self.after(0, Due::Poll(id, act));
            }
            Err((status, reason)) => {
                process.watches.remove(&act);
                let pause = self.latency();
                self.after(pause, Due::Event(id, Event::WatchClosed { id: act, status, reason }));
            }
        }
    }

    pub(super) fn poll(&mut self, id: ProcessId, act: ActId) {
        let now = self.now;
        let lag = self.latency();
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(watching) = process.watches.get_mut(&act) else { return };
        let Some(watch) = watching.watch else { return };
        if watching.stalled_until_ms > now {
            let until = watching.stalled_until_ms;
            return self.at(until, Due::Poll(id, act));
        }
        watching.polling = false;
        let core = &mut self.members[process.member].core;
        let through = core.version();
        let poll = core.poll_watch(Member::time(now), watch, through);
        // The lines of one watch come one after the other.
        let mut at = watching.told_ms.max(now + lag);
        let mut told = Vec::new();
        for line in poll.lines {
            let line = line.slice(..line.len() - usize::from(line.ends_with(b"\n")));
            told.push((at, Event::WatchLine { id: act, line }));
            at += 1;
        }
        watching.told_ms = at;
        if poll.closed {
            process.watches.remove(&act);
            told.push((at, Event::WatchClosed { id: act, status: None, reason: "the watch ended".to_owned() }));
        } else if let Some(wake) = poll.wake {
            let due = now + wake.saturating_sub(Member::time(now)).max(1);
            if watching.wakes_ms <= now || due < watching.wakes_ms {
                watching.wakes_ms = due;
                self.at(due, Due::Poll(id, act));
            }
        }
        for (at, event) in told {
            self.at(at, Due::Event(id, event));
        }
    }

    pub(super) fn end_watch(&mut self, id: ProcessId, act: ActId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.under_way.remove(&act);
        if let Some(Watching { watch: Some(watch), .. }) = process.watches.remove(&act) {
            self.members[process.member].core.close_watch(watch);
        }
    }

    /// Breaks every watch of a member, as a restart of its API server does.
    pub(crate) fn break_watches(&mut self, member: usize, reason: &str) {
        let mut broken = Vec::new();
        for (id, process) in self.processes.iter_mut().filter(|(_, process)| process.member == member) {
            for (act, watching) in std::mem::take(&mut process.watches) {
                match watching.watch {
                    Some(watch) => {
                        self.members[member].core.close_watch(watch);
                        broken.push((*id, act, watching.told_ms));
                    }
                    None => {
                        process.watches.insert(act, watching);
                    }
                }
            }
        }
        for (id, act, told_ms) in broken {
            let pause = self.latency();
            let event = Event::WatchClosed { id: act, status: None, reason: reason.to_owned() };
            self.at(told_ms.max(self.now + pause), Due::Event(id, event));
        }
    }

    // --- the API server itself ---

    pub(super) fn tick(&mut self, member: usize) {
        let now = self.now;
        let here = &mut self.members[member];
        if here.ticks_ms.is_none_or(|due| due > now) {
            // It was put forward, and has happened.
            return;
        }
        here.ticks_ms = None;
        let next = here.core.tick(Member::time(now));
        self.after_change(member);
        if let Some(next) = next {
            self.tick_at(member, now + next.saturating_sub(Member::time(now)).max(1));
        }
    }

    /// Calls the controllers of an API server at this time, if not before.
    pub(crate) fn tick_at(&mut self, member: usize, at: u64) {
        let here = &mut self.members[member];
        if here.ticks_ms.is_none_or(|due| due > at) {
            here.ticks_ms = Some(at);
            self.at(at, Due::Tick(member));
        }
    }

    /// Wakes the controllers and the watches of an API server that may have changed.
    pub(crate) fn after_change(&mut self, member: usize) {
        let here = &mut self.members[member];
        let touched = here.core.take_touched();
        if touched.is_empty() {
            return;
        }
        let mut polls = Vec::new();
        for (id, process) in self.processes.iter_mut().filter(|(_, process)| process.member == member) {
            for (act, watching) in &mut process.watches {
                let concerned = watching
                    .watch
                    .and_then(|watch| self.members[member].core.watch_resource(watch))
                    .is_some_and(|resource| touched.contains(&resource));
                if concerned && !watching.polling {
                    watching.polling = true;
                    polls.push((*id, *act));
                }
            }
        }
        self.tick_at(member, self.now + 1);
        for (id, act) in polls {
            self.after(1, Due::Poll(id, act));
        }
    }
}

/// Which hazard an API server's refusal shows.
fn refused(request: &ApiRequest, response: &Response) -> Option<Hazard> {
    let answer = response.value();
    let causes = answer["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (response.status, request.method, request.content_type) {
        (404, ..) if answer["details"]["kind"] == "namespaces" => Some(Hazard::NamespaceMissing),
        (409, Method::Delete, _) => Some(Hazard::DeleteMetAnother),
        (409, _, ContentType::Apply) if causes.iter().any(|cause| cause["reason"] == "FieldManagerConflict") => {
            Some(Hazard::FieldHeldByAnother)
        }
        (409, _, ContentType::Apply) => Some(Hazard::ApplyMetAnother),
        _ => None,
    }
}

/// A request in a few words.
fn describe(request: &ApiRequest) -> String {
    let path = request.path.replace("fieldManager=hansa", "");
    let path = path.trim_end_matches(['?', '&']);
    let verb = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    };
    if request.body.is_empty() {
        return format!("{verb} {path}");
    }
    let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let what = match verb {
        "DELETE" => body["preconditions"].take(),
        "PUT" => {
            let conditions = body["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let short: Vec<String> = conditions
                .iter()
                .map(|one| format!("{}={} {}", one["type"], one["status"], one["reason"]).replace('"', ""))
                .collect();
            json!([body["status"]["agreed"], short])
        }
        _ => {
            if let Some(fields) = body.as_object_mut() {
                fields.remove("apiVersion");
                fields.remove("kind");
            }
            body
        }
    };
    let mut text = what.to_string();
    if text.len() > 400 {
        text.truncate((0..=400).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0));
        text.push('…');
    }
    format!("{verb} {path} {text}")
}

fn collection_of(path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// A line of a watch in a few words.
pub(super) fn tell_line(line: &[u8], under_way: &str) -> String {
    let event: Value = serde_json::from_slice(line).unwrap_or_default();
    let metadata = &event["object"]["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match event["type"].as_str() {
        Some("BOOKMARK") => format!("← watch {under_way}: bookmark at {}", text(&metadata["resourceVersion"])),
        Some("ERROR") => format!("← watch {under_way}: {}", text(&event["object"]["message"])),
        kind => format!(
            "← watch {under_way}: {} {}/{} at {}{}",
            kind.unwrap_or_default(),
            text(&metadata["namespace"]),
            text(&metadata["name"]),
            text(&metadata["resourceVersion"]),
            if metadata["deletionTimestamp"].is_string() { ", being deleted" } else { "" }
        ),
    }
}
