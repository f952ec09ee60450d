//! What a voter must not forget, kept in a ConfigMap of its own cluster, beside its keys.
//!
//! A cluster that is restored from a backup brings back older notes with its older objects: then this
//! voter may vote twice on a ballot that was open when the backup was made, once before and once after.
//! It is one voter of a quorum, and its vote stands signed in the decisions' certificates.

use crate::classify::classify;
use crate::io::{ApiAnswer, ApiRequest, ContentType, Level, Method};
use crate::machine::{Operator, Purpose, Timer};
use crate::observed::MANAGER;
use hansa_ballot::proposer::{Event, Notes};
use serde_json::{Value, json};

/// The ConfigMap's name.
const NAME: &str = "hansa-ballot-notes";

/// A call about the notes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotesCall {
    Read,
    Write,
}

/// The notes on their way.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// What is being written.
    flight: Option<ApiRequest>,
    failures: u32,
}

impl Keeping {
    pub fn is_busy(&self) -> bool {
        self.flight.is_some()
    }

    pub fn is_stuck(&self) -> bool {
        self.failures > 0
    }
}

impl Operator {
    pub(super) fn read_notes(&mut self) {
        let path = self.notes_path();
        self.api(Purpose::Notes(NotesCall::Read), ApiRequest::get(path));
    }

    pub(super) fn write_notes(&mut self, notes: &Notes) {
        let text = String::from_utf8(notes.to_vec()).expect("JSON is UTF-8");
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": &*self.config.namespace},
            "data": {"notes": text},
        });
        let path = format!("{}?fieldManager={MANAGER}&force=true", self.notes_path());
        let request = ApiRequest::write(Method::Patch, path, ContentType::Apply, &body);
        self.ballots.notes.flight = Some(request.clone());
        self.api(Purpose::Notes(NotesCall::Write), request);
    }

    pub(crate) fn notes_answered(&mut self, call: NotesCall, answer: Result<ApiAnswer, String>) {
        let outcome = match (call, answer) {
            (NotesCall::Read, Ok(answer)) if answer.status == 404 => Ok(Some(Notes::default())),
            (NotesCall::Read, Ok(answer)) if answer.status < 300 => read(&answer.body).map(Some),
            (NotesCall::Write, Ok(answer)) if answer.status < 300 => Ok(None),
            (_, Ok(answer)) => Err(classify(answer.status, &answer.body).message()),
            (_, Err(reason)) => Err(reason),
        };
        match outcome {
            Ok(found) => {
                let was_stuck = std::mem::take(&mut self.ballots.notes.failures) > 0;
                match found {
                    Some(notes) => self.notes_read(notes),
                    None => {
                        self.ballots.notes.flight = None;
                        self.drive(Event::Persisted);
                    }
                }
                if was_stuck {
                    self.touch_all();
                }
            }
            Err(why) => {
                self.ballots.notes.failures += 1;
                let failures = self.ballots.notes.failures;
                if failures == 3 {
                    let (path, doing) = (self.notes_path(), if call == NotesCall::Read { "read" } else { "written" });
                    self.log(
                        Level::Warning,
                        None,
                        format!("{path} cannot be {doing}, and until then this member does not vote: {why}"),
                    );
                }
                let at = self.pause(failures, 200, 30_000);
                self.at(at, Timer::Notes);
            }
        }
    }

    /// Asks again.
    pub(crate) fn notes_timer(&mut self) {
        match self.ballots.notes.flight.clone() {
            Some(request) => self.api(Purpose::Notes(NotesCall::Write), request),
            None => self.read_notes(),
        }
    }

    fn notes_path(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps/{NAME}", self.config.namespace)
    }
}

fn read(body: &[u8]) -> Result<Notes, String> {
    let object: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match object["data"]["notes"].as_str() {
        Some(text) => Notes::from_slice(text.as_bytes()),
        None => {
            Err("data.notes is missing: restore it, or delete the ConfigMap if this cluster never voted".to_owned())
        }
    }
}
