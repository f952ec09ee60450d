//! The cells of events.

use serde_json::{Value, json};

use super::{Subject, since, text};

/// Events are read in either of their forms.
pub fn cells(it: &Subject, name: &str) -> Value {
    let either = |one: &str, other: &str| text::or(it.text(&[one]), it.text(&[other]));
    let about = if it.object.get("involvedObject").is_some() { "involvedObject" } else { "regarding" };
    let first = either("firstTimestamp", "deprecatedFirstTimestamp");
    let first = since(&text::or(&first, it.text(&["eventTime"])), it.now);
    let last = either("lastTimestamp", "deprecatedLastTimestamp");
    let mut last = if last.is_empty() { first.clone() } else { since(&last, it.now) };
    let mut count = it.number(&["count"]).max(it.number(&["deprecatedCount"])).max(1);
    if it.object.get("series").is_some_and(Value::is_object) {
        last = it.since(&["series", "lastObservedTime"]);
        count = it.number(&["series", "count"]);
    }
    let kind = it.text(&[about, "kind"]).to_lowercase();
    let target = match it.text(&[about, "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = text::or(it.text(&["source", "component"]), &either("reportingComponent", "reportingController"));
    let instance = text::or(it.text(&["source", "host"]), it.text(&["reportingInstance"]));
    let source = if instance.is_empty() { component } else { format!("{component}, {instance}") };
    let message = either("message", "note");
    json!([
        last,
        it.text(&["type"]),
        it.text(&["reason"]),
        target,
        it.text(&[about, "fieldPath"]),
        source,
        message.trim(),
        first,
        count,
        name
    ])
}
