//! What a process is told, in words.

use hansa_operator::Event;
use serde_json::Value;

/// Whether a watch cannot go on where it was.
pub(super) fn is_expired(event: &Event) -> bool {
    match event {
        Event::WatchLine { line, .. } => {
            let told = serde_json::from_slice::<Value>(line).unwrap_or_default();
            told["type"] == "ERROR" && told["object"]["code"] == 410
        }
        Event::WatchClosed { status, .. } => *status == Some(410),
        _ => false,
    }
}

pub(super) fn tell_event(event: &Event, under_way: &str) -> Option<String> {
    match event {
        Event::Start | Event::Wake | Event::Query { .. } => None,
        Event::Api { answer: Ok(answer), .. } if answer.status < 300 => {
            Some(format!("← {} {under_way}", answer.status))
        }
        Event::Api { answer: Ok(answer), .. } => {
            Some(format!("← {} {under_way}: {}", answer.status, hansa_operator::feed::message_of(&answer.body)))
        }
        Event::Api { answer: Err(error), .. } => Some(format!("← {under_way}: {error}")),
        Event::WatchLine { line, .. } => Some(super::api::tell_line(line, under_way)),
        Event::WatchClosed { status, reason, .. } => Some(format!(
            "← watch {under_way} closed: {reason}{}",
            status.map_or_else(String::new, |s| format!(" ({s})"))
        )),
        Event::Topo { answer, .. } => Some(format!("← {under_way}: {}", super::topo::tell_answer(answer))),
        Event::TypeInstalled { answer, .. } => Some(match answer {
            Ok(installed) => format!("← Federated{} is installed", installed.kind),
            Err(error) => format!("← the type is not installed: {error}"),
        }),
    }
}
