//! A pod's row: its status is told from its containers.

use serde_json::{Value, json};

use super::Subject;
use super::text::or;
use crate::value;

/// The cells of a pod.
pub fn cells(pod: &Subject) -> Value {
    let containers = value::list(pod.object, &["spec", "containers"]);
    let mut total = containers.len();
    let mut ready = 0;
    let sidecars: Vec<&str> = value::list(pod.object, &["spec", "initContainers"])
        .iter()
        .filter(|container| container["restartPolicy"] == json!("Always"))
        .filter_map(|container| container["name"].as_str())
        .collect();
    total += sidecars.len();
    let phase = pod.text(&["status", "phase"]);
    let mut reason = or(pod.text(&["status", "reason"]), phase);
    let mut restarts = Restarts::default();
    let initializing = initialization(pod, &sidecars, &mut reason, &mut ready, &mut restarts);
    let initialized = condition(pod.object, "Initialized");
    if !initializing || initialized {
        restarts =
            Restarts { count: restarts.sidecars, last: restarts.last.filter(|_| restarts.sidecars > 0), ..restarts };
        let mut running = false;
        let mut failure = String::new();
        for status in value::list(pod.object, &["status", "containerStatuses"]).iter().rev() {
            restarts.add(status, false);
            let state = &status["state"];
            if let Some(waiting) = state["waiting"]["reason"].as_str().filter(|reason| !reason.is_empty()) {
                reason = waiting.to_string();
            } else if let Some(ended) = state.get("terminated").filter(|ended| !ended.is_null()) {
                reason = ending(ended);
                if ended["exitCode"].as_i64() != Some(0) {
                    failure.clone_from(&reason);
                }
            } else if status["ready"] == json!(true) && state.get("running").is_some() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" {
            if running && condition(pod.object, "Ready") {
                reason = "Running".to_string();
            } else if !failure.is_empty() {
                reason = failure;
            } else if running {
                reason = "NotReady".to_string();
            }
        }
    }
    let deleting = value::get(pod.object, &["metadata", "deletionTimestamp"]).is_some();
    if deleting && pod.text(&["status", "reason"]) == "NodeLost" {
        reason = "Unknown".to_string();
    } else if deleting && !matches!(phase, "Succeeded" | "Failed") {
        reason = "Terminating".to_string();
    }
    let ip = pod.text(&["status", "podIP"]);
    json!([
        pod.text(&["metadata", "name"]),
        format!("{ready}/{total}"),
        reason,
        restarts.shown(pod),
        pod.age(),
        or(ip, "<none>"),
        pod.or_none(&["spec", "nodeName"]),
        pod.or_none(&["status", "nominatedNodeName"]),
        gates(pod),
    ])
}

/// The conditions of a finished pod's row.
pub fn conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match value::string(pod, &["status", "phase"]) {
        Some("Succeeded") => ("Succeeded", "The pod has completed successfully."),
        Some("Failed") => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{ "type": "Completed", "status": "True", "reason": reason, "message": message }]))
}

#[derive(Default)]
struct Restarts<'a> {
    count: i64,
    sidecars: i64,
    last: Option<&'a str>,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, status: &'a Value, sidecar: bool) {
        let count = status["restartCount"].as_i64().unwrap_or(0);
        self.count += count;
        if sidecar {
            self.sidecars += count;
        }
        let last = value::string(status, &["lastState", "terminated", "finishedAt"]);
        self.last = self.last.max(last);
    }

    fn shown(&self, pod: &Subject) -> String {
        match self.last {
            Some(last) if self.count > 0 => format!("{} ({} ago)", self.count, super::since(last, pod.now)),
            _ => self.count.to_string(),
        }
    }
}

/// Looks at the init containers; says whether they are still at work.
fn initialization<'a>(
    pod: &Subject<'a>,
    sidecars: &[&str],
    reason: &mut String,
    ready: &mut usize,
    restarts: &mut Restarts<'a>,
) -> bool {
    let statuses = value::list(pod.object, &["status", "initContainerStatuses"]);
    for (index, status) in statuses.iter().enumerate() {
        let sidecar = status["name"].as_str().is_some_and(|name| sidecars.contains(&name));
        restarts.add(status, sidecar);
        let state = &status["state"];
        let ended = state.get("terminated").filter(|ended| !ended.is_null());
        if ended.is_some_and(|ended| ended["exitCode"].as_i64() == Some(0)) {
            continue;
        }
        if sidecar && status["started"] == json!(true) {
            *ready += usize::from(status["ready"] == json!(true));
            continue;
        }
        *reason = match (ended, state["waiting"]["reason"].as_str()) {
            (Some(ended), _) => format!("Init:{}", ending(ended)),
            (None, Some(waiting)) if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
            _ => format!("Init:{index}/{}", value::list(pod.object, &["spec", "initContainers"]).len()),
        };
        return true;
    }
    false
}

fn ending(ended: &Value) -> String {
    match (ended["reason"].as_str().unwrap_or_default(), ended["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", ended["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_string(),
    }
}

fn condition(pod: &Value, name: &str) -> bool {
    value::list(pod, &["status", "conditions"])
        .iter()
        .any(|condition| condition["type"] == name && condition["status"] == "True")
}

fn gates(pod: &Subject) -> String {
    let gates = value::list(pod.object, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_string();
    }
    let open = gates
        .iter()
        .filter(|gate| gate["conditionType"].as_str().is_some_and(|name| condition(pod.object, name)))
        .count();
    format!("{open}/{}", gates.len())
}
