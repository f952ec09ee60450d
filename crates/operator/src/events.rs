//! Kubernetes Events: what `kubectl describe` tells of an object's troubles.
//!
//! An Event follows a condition that was just written to the object's status and not a thought of
//! this process: a restart tells nothing twice, and what stands in the status is what was told. They
//! are a courtesy: none is repeated when the API server does not take it, and a storm of them is cut
//! off by a token bucket, for events of a whole league have filled an etcd before (the conditions tell
//! each of its objects all the same).

use crate::io::{ApiAnswer, ApiRequest, ContentType, Level, Method};
use crate::machine::{Operator, Purpose};
use crate::report::rfc3339;
use hansa_model::RecordKey;
use serde_json::{Value, json};

/// How many Events may be written at once.
const BURST: u64 = 50;

/// How many more there may be about the league itself: what holds for all of its objects is told about
/// each of them, too, and is not to go under in that.
const RESERVE: u64 = 10;

/// How long one of them takes to be made good.
const REFILL_MS: u64 = 500;

/// What is still to be said, at most: the API server's limit of a message.
const MAX_MESSAGE: usize = 1_000;

/// The token bucket, and whether a refusal was logged.
#[derive(Debug, Default)]
pub(crate) struct Events {
    spent: u64,
    spent_ms: u64,
    complained: bool,
}

/// The object that an Event is about.
#[derive(Clone, Debug)]
pub(crate) struct Regarding {
    pub api_version: String,
    pub kind: String,
    /// Empty for a cluster-scoped object.
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// One thing to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tiding {
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

/// What is to be told when these conditions follow those: each that became false, or false for
/// another reason, and each that is true again. `Ready` repeats one of the others; how healthy an
/// object is changes all the time, and is told when it turns only.
pub(crate) fn tidings(before: &Value, after: &Value) -> Vec<Tiding> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let find = |kind: &Value| {
        let conditions = before.as_array().into_iter().flatten();
        conditions.into_iter().find(|condition| condition["type"] == *kind)
    };
    let tell = |condition: &Value| {
        let known = find(&condition["type"]);
        let was_false = known.is_some_and(|known| known["status"] == "False");
        let same = known.is_some_and(|known| {
            let message = condition["type"] == "Healthy" || known["message"] == condition["message"];
            known["reason"] == condition["reason"] && message
        });
        let (reason, message) = (text(&condition["reason"]), text(&condition["message"]));
        match condition["status"].as_str() {
            Some("False") if !(was_false && same) => Some(Tiding { warning: true, reason, message }),
            Some("True") if was_false => {
                let message = format!("{} again: {message}", text(&condition["type"]));
                Some(Tiding { warning: false, reason, message })
            }
            _ => None,
        }
    };
    let conditions = after.as_array().into_iter().flatten();
    conditions.filter(|condition| condition["type"] != "Ready").filter_map(tell).collect()
}

impl Events {
    /// Takes a token, if fewer than so many are spent.
    fn take(&mut self, now_ms: u64, limit: u64) -> bool {
        let refilled = now_ms.saturating_sub(self.spent_ms) / REFILL_MS;
        if refilled > 0 {
            self.spent = self.spent.saturating_sub(refilled);
            self.spent_ms += refilled * REFILL_MS;
        }
        let left = self.spent < limit;
        self.spent += u64::from(left);
        left
    }
}

impl Operator {
    /// Writes what is to be told of an object.
    pub(crate) fn tell(&mut self, regarding: &Regarding, tidings: Vec<Tiding>) {
        if self.config.observe {
            return;
        }
        let limit = if regarding.kind == "Federation" { BURST + RESERVE } else { BURST };
        for tiding in tidings {
            if !self.events.take(self.now.monotonic_ms, limit) {
                self.metrics.events_dropped += 1;
                continue;
            }
            let (wall_ms, random) = (self.now.wall_ms, self.random());
            let body = event(regarding, &tiding, self.config.member.as_str(), wall_ms, random);
            let namespace = body["metadata"]["namespace"].as_str().unwrap_or_default();
            let path = format!("/api/v1/namespaces/{namespace}/events");
            let request = ApiRequest::write(Method::Post, path, ContentType::Json, &body);
            self.metrics.events += 1;
            self.api(Purpose::Event, request);
        }
    }

    /// What became of an Event; a namespace that is being deleted takes no more.
    pub(crate) fn event_answered(&mut self, answer: &Result<ApiAnswer, String>) {
        if let Ok(answer) = answer
            && matches!(answer.status, 401 | 403)
            && !std::mem::replace(&mut self.events.complained, true)
        {
            let why = crate::feed::message_of(&answer.body);
            self.log(Level::Warning, None, format!("an Event was refused, and later ones may be: {why}"));
        }
    }
}

/// The Regarding of a federated object.
pub(crate) fn federated(key: &RecordKey, kind: &str, uid: &str) -> Regarding {
    Regarding {
        api_version: format!("{}/v1alpha1", key.type_name.federated_group()),
        kind: format!("Federated{kind}"),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        uid: uid.to_owned(),
    }
}

/// The Event, named as client-go names them: after the object and the time, so that each is one.
fn event(regarding: &Regarding, tiding: &Tiding, member: &str, wall_ms: u64, random: u64) -> Value {
    let namespace = if regarding.namespace.is_empty() { "default" } else { &regarding.namespace };
    // The names of objects may be as long as those of Events may be.
    let stem: String = regarding.name.chars().take(220).collect();
    let stem = stem.trim_end_matches(['.', '-']);
    let time = rfc3339(wall_ms);
    let mut involved = json!({
        "apiVersion": regarding.api_version,
        "kind": regarding.kind,
        "name": regarding.name,
        "uid": regarding.uid,
    });
    if !regarding.namespace.is_empty() {
        involved["namespace"] = json!(regarding.namespace);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{stem}.{wall_ms:x}{:04x}", random & 0xffff), "namespace": namespace},
        "involvedObject": involved,
        "type": if tiding.warning { "Warning" } else { "Normal" },
        "reason": tiding.reason,
        "message": tiding.message.chars().take(MAX_MESSAGE).collect::<String>(),
        "source": {"component": "hansa", "host": member},
        "reportingComponent": "hansa.dev/operator",
        "reportingInstance": member,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(all: &[(&str, &str, &str, &str)]) -> Value {
        all.iter()
            .map(|(kind, status, reason, message)| {
                json!({"type": kind, "status": status, "reason": reason, "message": message})
            })
            .collect()
    }

    #[test]
    fn troubles_are_told_when_they_come_change_and_go() {
        let fine =
            conditions(&[("Agreed", "True", "Agreed", "revision 1"), ("Propagated", "Unknown", "Progressing", "")]);
        let refused =
            conditions(&[("Agreed", "True", "Agreed", "revision 1"), ("Propagated", "False", "Failing", "gcp: no")]);
        let otherwise = conditions(&[("Propagated", "False", "Failing", "gcp: still no")]);
        let mended = conditions(&[("Propagated", "True", "Applied", "applied in 2 of 2 members")]);
        let tell = |warning, reason: &str, message: &str| {
            vec![Tiding { warning, reason: reason.to_owned(), message: message.to_owned() }]
        };
        assert_eq!(tidings(&Value::Null, &fine), vec![]);
        assert_eq!(tidings(&fine, &refused), tell(true, "Failing", "gcp: no"));
        assert_eq!(tidings(&refused, &refused), vec![]);
        assert_eq!(tidings(&refused, &otherwise), tell(true, "Failing", "gcp: still no"));
        assert_eq!(tidings(&refused, &mended), tell(false, "Applied", "Propagated again: applied in 2 of 2 members"));
        assert_eq!(tidings(&fine, &mended), vec![]);
    }

    #[test]
    fn health_is_told_when_it_turns_and_the_sum_of_all_never() {
        let before = conditions(&[("Healthy", "False", "Degraded", "1 of 3"), ("Ready", "True", "Ready", "")]);
        let after = conditions(&[("Healthy", "False", "Degraded", "2 of 3"), ("Ready", "False", "Degraded", "2 of 3")]);
        assert_eq!(tidings(&before, &after), vec![]);
    }

    #[test]
    fn a_storm_is_cut_off_and_time_makes_it_good() {
        let mut events = Events::default();
        assert_eq!((0..200).filter(|_| events.take(60_000, BURST)).count() as u64, BURST);
        assert_eq!((0..200).filter(|_| events.take(60_000 + 3 * REFILL_MS, BURST)).count(), 3);
        assert_eq!((0..200).filter(|_| events.take(60_000 + 3 * REFILL_MS, BURST + RESERVE)).count() as u64, RESERVE);
        assert_eq!((0..200).filter(|_| events.take(600_000, BURST)).count() as u64, BURST);
    }

    #[test]
    fn an_event_of_a_cluster_scoped_object_lies_in_default_and_its_name_is_one() {
        let regarding = Regarding {
            api_version: "hansa.dev/v1alpha1".to_owned(),
            kind: "Federation".to_owned(),
            namespace: String::new(),
            name: "x".repeat(253),
            uid: "u".to_owned(),
        };
        let tiding = Tiding { warning: true, reason: "Invalid".to_owned(), message: "m".repeat(5_000) };
        let event = event(&regarding, &tiding, "aws", 1_000_000_000_000, 7);
        assert_eq!(event["metadata"]["namespace"], "default");
        assert!(event["involvedObject"]["namespace"].is_null());
        assert!(event["metadata"]["name"].as_str().unwrap().len() <= 253);
        assert_eq!(event["message"].as_str().unwrap().len(), MAX_MESSAGE);
    }
}
