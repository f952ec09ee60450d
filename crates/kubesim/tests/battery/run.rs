//! Runs one case on one server and writes down what it answered.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::case::{Case, Step};
use crate::client::{Answer, Connection, Request, Target};
use crate::compare::holds;
use crate::substitute::Variables;

/// How long controllers may take: a real namespace's deletion waits five seconds by design, and the machine is busy.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long an event may take.
const EVENT: Duration = Duration::from_secs(15);
/// Between two looks of an `UNTIL`.
const LOOK: Duration = Duration::from_millis(100);

/// What one server answered to one case.
#[derive(Debug, Default)]
pub struct Transcript {
    /// One entry a step (one for each element of `each`).
    pub entries: Vec<Entry>,
    /// Why the case could not go on.
    pub fault: Option<String>,
}

impl Transcript {
    /// All of it, to be read by people.
    pub fn as_json(&self) -> Value {
        let entry = |entry: &Entry| json!({"do": entry.action, "answer": entry.answer});
        json!({"steps": self.entries.iter().map(entry).collect::<Vec<_>>(), "fault": self.fault})
    }
}

/// What came of one step.
#[derive(Debug)]
pub struct Entry {
    /// What was done, as the case words it.
    pub action: String,
    /// `{status, headers, body}` or `{events}`.
    pub answer: Value,
    /// What the answer's status should have been, where the case says something else.
    pub unexpected: Option<String>,
    /// Places that are not compared.
    pub ignore: Vec<String>,
    /// The only places that are.
    pub only: Vec<String>,
}

/// Runs a case.
pub async fn run(case: &Case, target: &Target) -> Transcript {
    let mut transcript = Transcript::default();
    let connection = match target.connect().await {
        Ok(connection) => connection,
        Err(error) => {
            transcript.fault = Some(format!("{error:#}"));
            return transcript;
        }
    };
    let variables = Variables::for_namespace(&case.name);
    let mut session = Session { connection, variables, watches: BTreeMap::new() };
    if let Err(error) = session.prepare(case).await {
        transcript.fault = Some(format!("could not be prepared: {error:#}"));
        return transcript;
    }
    for step in &case.steps {
        let once = [String::new()];
        for each in if step.each.is_empty() { &once[..] } else { &step.each[..] } {
            let each = &session.variables.text(each).unwrap_or_else(|_| each.clone());
            session.variables.set("each", each);
            let (answer, fault) = session.step(step).await;
            let action = step.action.replace("$each", each);
            let unexpected = unexpected(step, &answer);
            let (ignore, only) = (step.ignore.clone(), step.only.clone());
            transcript.entries.push(Entry { action, answer, unexpected, ignore, only });
            if let Some(fault) = fault {
                transcript.fault = Some(format!("{fault:#}"));
                return transcript;
            }
        }
    }
    transcript
}

/// A case under way.
struct Session<'a> {
    connection: Connection<'a>,
    variables: Variables,
    watches: BTreeMap<String, Watch>,
}

impl Session<'_> {
    /// Makes the case's namespace, waits until it is furnished, and runs the fixtures.
    async fn prepare(&mut self, case: &Case) -> Result<()> {
        let step = |action: &str, body: Option<Value>| Step {
            action: action.into(),
            body,
            user: "admin".into(),
            ..Step::default()
        };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "$ns"}});
        let furnishing = [
            step("POST /api/v1/namespaces", Some(namespace)),
            step("UNTIL $core/serviceaccounts/default", None),
            step("UNTIL $core/configmaps/kube-root-ca.crt", None),
        ];
        for step in furnishing.iter().chain(&case.prelude) {
            let (answer, fault) = self.step(step).await;
            if let Some(fault) = fault {
                bail!("{}: {fault:#}", step.action);
            }
            if let Some(unexpected) = unexpected(step, &answer) {
                bail!("{}: {unexpected}", step.action);
            }
        }
        Ok(())
    }

    /// Does one step: what was answered, and why the case cannot go on.
    async fn step(&mut self, step: &Step) -> (Value, Option<anyhow::Error>) {
        let mut answer = json!({});
        let result = self.perform(step, &mut answer).await;
        let fault = result.and_then(|()| self.save(step, &answer)).err();
        (answer, fault)
    }

    /// Saves what later steps need.
    fn save(&mut self, step: &Step, answer: &Value) -> Result<()> {
        let whole = answer.get("body").or_else(|| answer.get("events")).unwrap_or(&Value::Null);
        for (name, pointer) in &step.save {
            let value = match whole.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                other => bail!("{name}: nothing to save at {pointer}: {other:?}"),
            };
            self.variables.set(name, &value);
        }
        Ok(())
    }

    async fn perform(&mut self, step: &Step, answer: &mut Value) -> Result<()> {
        let (verb, rest) =
            step.action.split_once(' ').with_context(|| format!("{:?} is not `METHOD path`", step.action))?;
        match verb {
            "EVENTS" => {
                let watch = self.watches.get_mut(rest).with_context(|| format!("no watch is named {rest:?}"))?;
                let wanted = step.matching.as_ref().map(|pattern| self.variables.value(pattern)).transpose();
                let wanted = wanted.map_err(|error| anyhow!(error))?;
                watch.read(step, wanted.as_ref(), answer).await
            }
            "WATCH" => {
                let separator = if rest.contains('?') { '&' } else { '?' };
                let request = self.request(step, "GET", &format!("{rest}{separator}watch=true"))?;
                let (head, body) = self.connection.open(&request).await?.into_parts();
                if head.status.is_success() {
                    *answer = described(head.status.as_u16(), &head.headers, None);
                    let name = step.name.clone().context("a WATCH needs a name")?;
                    self.watches.insert(name, Watch { body, rest: Vec::new() });
                } else {
                    let body = body.collect().await?.to_bytes();
                    *answer = whole(&Answer { status: head.status.as_u16(), headers: head.headers, body });
                }
                Ok(())
            }
            "UNTIL" => {
                let pattern = step.matching.as_ref().map(|pattern| self.variables.value(pattern)).transpose();
                let pattern = pattern.map_err(|error| anyhow!(error))?;
                let request = self.request(step, "GET", rest)?;
                let status = u64::from(step.status.unwrap_or(200));
                let deadline = Instant::now() + PATIENCE;
                loop {
                    *answer = whole(&self.connection.send(&request).await?);
                    let body = answer.get("body").unwrap_or(&Value::Null);
                    let held = pattern.as_ref().is_none_or(|pattern| holds(pattern, body));
                    if held && answer.get("status").and_then(Value::as_u64) == Some(status) {
                        return Ok(());
                    }
                    if Instant::now() >= deadline {
                        bail!("was not seen within {PATIENCE:?}");
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
            _ => {
                *answer = whole(&self.connection.send(&self.request(step, verb, rest)?).await?);
                Ok(())
            }
        }
    }

    /// The request of a step.
    fn request(&self, step: &Step, verb: &str, path: &str) -> Result<Request> {
        let (method, usual) = match verb {
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "JSON" => ("PATCH", "application/json-patch+json"),
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            "STRATEGIC" => ("PATCH", "application/strategic-merge-patch+json"),
            "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS" => (verb, "application/json"),
            other => bail!("{other:?} is not a method"),
        };
        let fault = |error: String| anyhow!(error);
        let body = match (&step.raw, &step.body) {
            (Some(raw), _) => Some(Bytes::from(self.variables.text(raw).map_err(fault)?)),
            (None, Some(body)) => Some(serde_json::to_vec(&self.variables.value(body).map_err(fault)?)?.into()),
            (None, None) => None,
        };
        let content_type = body.as_ref().map(|_| step.content_type.clone().unwrap_or_else(|| usual.to_owned()));
        Ok(Request {
            method: method.to_owned(),
            path: self.variables.text(path).map_err(fault)?,
            content_type,
            accept: step.accept.clone(),
            user: step.user.clone(),
            body: body.unwrap_or_default(),
        })
    }
}

/// How an answer's status is not what the case says.
fn unexpected(step: &Step, answer: &Value) -> Option<String> {
    let status = answer.get("status").and_then(Value::as_u64)?;
    let fits = step.status.map_or((200..300).contains(&status), |wanted| u64::from(wanted) == status);
    let wanted = step.status.map_or("2xx".to_owned(), |status| status.to_string());
    let message = answer.pointer("/body/message").or_else(|| answer.get("body")).unwrap_or(&Value::Null);
    (!fits).then(|| format!("answered {status}, and the case says {wanted}: {message}"))
}

/// A watch that is open.
struct Watch {
    body: Incoming,
    rest: Vec<u8>,
}

impl Watch {
    /// Reads events into the answer, to the count or to the end that the step names.
    async fn read(&mut self, step: &Step, wanted: Option<&Value>, answer: &mut Value) -> Result<()> {
        let mut events: Vec<Value> = Vec::new();
        let mut left = step.count.unwrap_or(1);
        let result = loop {
            if left == 0 && !step.closed {
                break Ok(());
            }
            match tokio::time::timeout(EVENT, self.line()).await {
                Ok(Ok(Some(line))) => {
                    let event = serde_json::from_slice(&line).unwrap_or_else(|_| lossy(&line));
                    if wanted.is_none_or(|wanted| holds(wanted, &event)) {
                        left = left.saturating_sub(1);
                    }
                    events.push(event);
                }
                Ok(Ok(None)) if step.closed => break Ok(()),
                Ok(Ok(None)) => break Err(anyhow!("the server ended the watch")),
                Ok(Err(error)) => break Err(error),
                Err(_) => break Err(anyhow!("no further event within {EVENT:?}")),
            }
        };
        *answer = json!({"events": events});
        result
    }

    /// The next line, or none at the end of the stream.
    async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.drain(..=end).collect::<Vec<u8>>();
                return Ok(Some(line));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                None if self.rest.is_empty() => return Ok(None),
                None => return Ok(Some(std::mem::take(&mut self.rest))),
            }
        }
    }
}

/// A whole answer as an entry.
fn whole(answer: &Answer) -> Value {
    let body = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(_) => lossy(&answer.body),
    };
    described(answer.status, &answer.headers, Some(body))
}

fn lossy(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

/// Status, the headers that mean something to a client, and the body.
fn described(status: u16, headers: &http::HeaderMap, body: Option<Value>) -> Value {
    let mut out = Map::new();
    out.insert("status".into(), status.into());
    for name in ["content-type", "warning", "allow", "retry-after", "www-authenticate", "location"] {
        let values: Vec<Value> = headers.get_all(name).iter().map(|value| lossy(value.as_bytes())).collect();
        if !values.is_empty() {
            out.insert(name.into(), values.into());
        }
    }
    if let Some(body) = body {
        out.insert("body".into(), body);
    }
    Value::Object(out)
}
