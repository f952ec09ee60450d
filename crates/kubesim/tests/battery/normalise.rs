//! Placeholders for what no two servers share.
//!
//! A placeholder is named after the place where its value first appears in the transcript of the case, as in
//! `<uid @2/body/metadata/uid>`. So equal values keep being equal and different ones different, and one value more on
//! one side does not rename the others.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Puts placeholders into the answers of one side of one case.
pub fn normalise(steps: &[Value]) -> Vec<Value> {
    let mut seen = Seen::default();
    for (number, step) in steps.iter().enumerate() {
        seen.collect(step, &format!("{}", number + 1));
    }
    // Longest first: a generated name can contain a hash that is replaced on its own elsewhere.
    let mut texts: Vec<(String, String)> = seen.texts.iter().map(|(from, to)| (from.clone(), to.clone())).collect();
    texts.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
    let rewrite = Rewrite { seen: &seen, texts };
    steps.iter().map(|step| rewrite.value(None, step)).collect()
}

/// What was found, each with its placeholder.
#[derive(Default)]
struct Seen {
    /// Generated names, hashes and addresses: replaced wherever they stand, within longer strings as well.
    texts: BTreeMap<String, String>,
    /// uids: recognised by their form.
    uids: BTreeMap<String, String>,
    /// Versions of objects.
    versions: BTreeMap<String, String>,
    /// Ports that the server chose.
    ports: BTreeMap<u64, String>,
}

impl Seen {
    fn collect(&mut self, value: &Value, at: &str) {
        match value {
            Value::String(text) => {
                for (start, end) in uids(text) {
                    let uid = text[start..end].to_owned();
                    self.uids.entry(uid).or_insert_with(|| format!("<uid @{at}>"));
                }
            }
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    self.collect(item, &format!("{at}/{number}"));
                }
            }
            Value::Object(fields) => {
                self.metadata(fields, at);
                for (key, value) in fields {
                    let here = format!("{at}/{key}");
                    self.field(key, value, &here);
                    self.collect(value, &here);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Looks at an object's metadata: the version and a generated name.
    fn metadata(&mut self, fields: &Map<String, Value>, at: &str) {
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let Some(name) = text("name") else { return };
        if let Some(prefix) = text("generateName")
            && let Some(suffix) = name.strip_prefix(prefix)
            && suffix.len() == 5
        {
            self.texts.entry(name.to_owned()).or_insert_with(|| format!("<generated @{at}/name>"));
        }
        if let Some(version) = text("resourceVersion").filter(|version| !version.is_empty()) {
            let place = || format!("<version @{at}/resourceVersion>");
            self.versions.entry(version.to_owned()).or_insert_with(place);
        }
    }

    fn field(&mut self, key: &str, value: &Value, at: &str) {
        match value {
            Value::String(text) => match key {
                "pod-template-hash" | "controller-revision-hash" | "currentRevision" | "updateRevision" => {
                    self.texts.entry(text.clone()).or_insert_with(|| format!("<hash @{at}>"));
                }
                "clusterIP" | "podIP" | "hostIP" if !matches!(text.as_str(), "" | "None") => {
                    self.texts.entry(text.clone()).or_insert_with(|| format!("<address @{at}>"));
                }
                "name" if text.len() == "kube-api-access-".len() + 5 && text.starts_with("kube-api-access-") => {
                    self.texts.entry(text.clone()).or_insert_with(|| format!("<kube-api-access-? @{at}>"));
                }
                _ => {}
            },
            Value::Number(number) if matches!(key, "nodePort" | "healthCheckNodePort") => {
                if let Some(port) = number.as_u64().filter(|port| (30000..=32767).contains(port)) {
                    self.ports.entry(port).or_insert_with(|| format!("<port @{at}>"));
                    // As the tables write it.
                    self.texts.entry(format!(":{port}/")).or_insert_with(|| format!(":<port @{at}>/"));
                }
            }
            _ => {}
        }
    }
}

/// The second walk, which replaces.
struct Rewrite<'a> {
    seen: &'a Seen,
    texts: Vec<(String, String)>,
}

impl Rewrite<'_> {
    fn value(&self, key: Option<&str>, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.string(key, text)),
            Value::Number(number) => {
                let port = number.as_u64().filter(|_| matches!(key, Some("nodePort" | "healthCheckNodePort")));
                match port.and_then(|port| self.seen.ports.get(&port)) {
                    Some(placeholder) => Value::String(placeholder.clone()),
                    None => value.clone(),
                }
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(key, item)).collect()),
            Value::Object(fields) => {
                let mut fields: Map<String, Value> =
                    fields.iter().map(|(key, value)| (self.text(key), self.value(Some(key), value))).collect();
                if fields.contains_key("resourceVersion") && !fields.contains_key("name") {
                    // A list's, or a bookmark's: it moves with everything that happens on the server.
                    fields.insert("resourceVersion".to_owned(), "<version>".into());
                }
                ages(&mut fields);
                causes(&mut fields);
                unordered(&mut fields);
                Value::Object(fields)
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    fn string(&self, key: Option<&str>, text: &str) -> String {
        match key {
            Some("resourceVersion") if text.bytes().all(|byte| byte.is_ascii_digit()) && !matches!(text, "" | "0") => {
                self.seen.versions.get(text).cloned().unwrap_or_else(|| "<version>".to_owned())
            }
            Some("continue") if !text.is_empty() => "<continue>".to_owned(),
            Some("token") if !text.is_empty() => "<token>".to_owned(),
            Some("ca.crt") => "<certificate authority>".to_owned(),
            _ => self.text(text),
        }
    }

    fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let uid = rest.get(..36).and_then(|uid| self.seen.uids.get_key_value(uid));
            // A placeholder is never looked at again.
            let known =
                uid.or_else(|| self.texts.iter().find(|(from, _)| rest.starts_with(from)).map(|(from, to)| (from, to)));
            if let Some((from, to)) = known {
                out.push_str(to);
                at += from.len();
            } else {
                let next = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..next]);
                at += next;
            }
        }
        versions_in_messages(&times(&out))
    }
}

/// Where uids stand in a text.
fn uids(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(35)).filter_map(move |start| {
        let candidate = &bytes[start..start + 36];
        let fits = candidate.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        });
        fits.then_some((start, start + 36))
    })
}

/// Replaces times of this run; what lies before 2020 was written by the case.
fn times(text: &str) -> String {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let fits = bytes.len() - at > FORM.len()
            && FORM.iter().zip(&bytes[at..]).all(|(form, byte)| match form {
                b'0' => byte.is_ascii_digit(),
                other => other == byte,
            });
        if fits && &bytes[at..at + 4] >= b"2020".as_slice() {
            let mut end = at + FORM.len();
            let fraction = bytes[end] == b'.';
            while end < bytes.len() && (bytes[end] == b'.' || bytes[end].is_ascii_digit()) {
                end += 1;
            }
            out.push_str(if fraction { "<time.fraction>" } else { "<time>" });
            at = end;
        } else {
            let next = text[at..].chars().next().map_or(1, char::len_utf8);
            out.push_str(&text[at..at + next]);
            at += next;
        }
    }
    out
}

/// Replaces the versions that a few messages name, and those in messages that quote a whole object.
fn versions_in_messages(text: &str) -> String {
    let named = ["resource version: ", "ResourceVersion in record", "resourceVersion\\\""];
    if !named.iter().any(|start| text.contains(start)) {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        out.push_str(&rest[..start]);
        // One digit alone is what the case itself asked for.
        out.push_str(if digits > 1 { "<number>" } else { &rest[start..start + digits] });
        rest = &rest[start + digits..];
    }
    out.push_str(rest);
    out
}

/// In a `Table`, the columns that count the time since something happened. A watch names its columns only once; in its
/// later tables every cell that looks like a time counts.
fn ages(fields: &mut Map<String, Value>) {
    if fields.get("kind").and_then(Value::as_str) != Some("Table") {
        return;
    }
    let counting = |column: &Value| {
        matches!(column.get("name").and_then(Value::as_str), Some("Age" | "Last Seen" | "First Seen" | "Duration"))
    };
    let columns = fields.get("columnDefinitions").and_then(Value::as_array);
    let places: Option<Vec<bool>> = columns.map(|columns| columns.iter().map(counting).collect());
    for row in fields.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        let cells = row.get_mut("cells").and_then(Value::as_array_mut).into_iter().flatten();
        for (number, cell) in cells.enumerate() {
            let counts = places.as_ref().is_none_or(|places| places.get(number).copied().unwrap_or(false));
            let Value::String(text) = &cell else { continue };
            let age = text.bytes().all(|byte| byte.is_ascii_digit() || b"smhd".contains(&byte));
            if counts && age && text.starts_with(|c: char| c.is_ascii_digit()) {
                *cell = "<age>".into();
            }
        }
    }
}

/// Several causes: a real server collects the faults of a schema, and the conflicts of several managers, in the order
/// of a hash map. They are put in order, and a message that strings faults together is cut short.
fn causes(fields: &mut Map<String, Value>) {
    let causes = fields.get_mut("details").and_then(|details| details.get_mut("causes")?.as_array_mut());
    let Some(causes) = causes.filter(|causes| causes.len() > 1) else { return };
    let text = |cause: &Value, key: &str| cause.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    causes.sort_by_key(|cause| (text(cause, "field"), text(cause, "reason"), text(cause, "message")));
    if let Some(Value::String(message)) = fields.get_mut("message")
        && let Some(start) = message.find("is invalid: [")
    {
        message.replace_range(start.., "is invalid: [<the causes>]");
    }
}

/// Conditions are a map in the form of a list, in the order in which controllers came to write them; so are
/// managedFields, in the order of the seconds in which their managers wrote.
fn unordered(fields: &mut Map<String, Value>) {
    for (list, keys) in
        [("conditions", &["type"][..]), ("managedFields", &["operation", "manager", "apiVersion", "subresource"])]
    {
        if let Some(items) = fields.get_mut(list).and_then(Value::as_array_mut) {
            let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            items.sort_by_key(|item| keys.iter().map(|key| text(item, key)).collect::<Vec<_>>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FIRST: &str = "0b4f7d0e-8f0a-4a52-9a41-0123456789ab";
    const SECOND: &str = "1b4f7d0e-8f0a-4a52-9a41-0123456789ab";

    #[test]
    fn equal_values_stay_equal_and_different_ones_different() {
        let steps = [
            json!({"body": {"metadata": {"name": "a", "uid": FIRST, "resourceVersion": "10"}}}),
            json!({"body": {"metadata": {"name": "b", "uid": SECOND, "resourceVersion": "11"}, "of": FIRST}}),
            json!({"body": {"metadata": {"name": "a", "uid": FIRST, "resourceVersion": "10"},
                "message": format!("uid {SECOND} is not {FIRST}")}}),
        ];
        let out = normalise(&steps);
        assert_eq!(out[0]["body"]["metadata"]["uid"], "<uid @1/body/metadata/uid>");
        assert_eq!(out[1]["body"]["of"], out[0]["body"]["metadata"]["uid"]);
        assert_ne!(out[1]["body"]["metadata"]["uid"], out[0]["body"]["metadata"]["uid"]);
        assert_eq!(out[2]["body"]["metadata"]["resourceVersion"], "<version @1/body/metadata/resourceVersion>");
        assert_eq!(out[1]["body"]["metadata"]["resourceVersion"], "<version @2/body/metadata/resourceVersion>");
        assert_eq!(out[2]["body"]["message"], "uid <uid @2/body/metadata/uid> is not <uid @1/body/metadata/uid>");
    }

    #[test]
    fn times_of_this_run_go_and_those_of_the_case_stay() {
        assert_eq!(times("at 2026-11-22T17:00:00Z, ok"), "at <time>Z, ok");
        assert_eq!(times("2026-11-22T17:00:00.123456Z"), "<time.fraction>Z");
        assert_eq!(times("2001-01-01T00:00:00Z"), "2001-01-01T00:00:00Z");
    }

    #[test]
    fn generated_names_and_hashes_are_replaced_inside_longer_texts() {
        let steps = [json!({"body": {
            "metadata": {"name": "web-bcd-x2x2x", "generateName": "web-bcd-", "labels": {"pod-template-hash": "bcd"}},
            "message": "Created pod: web-bcd-x2x2x of web-bcd",
        }})];
        let out = normalise(&steps);
        assert_eq!(
            out[0]["body"]["message"],
            "Created pod: <generated @1/body/metadata/name> of web-<hash @1/body/metadata/labels/pod-template-hash>"
        );
    }

    #[test]
    fn list_versions_ages_and_ports_say_nothing() {
        let steps = [json!({"body": {
            "kind": "Table",
            "metadata": {"resourceVersion": "99", "continue": "abc"},
            "columnDefinitions": [{"name": "Name"}, {"name": "Age"}],
            "rows": [{"cells": ["web", "3s"]}, {"cells": ["3s", "<unknown>"]}],
            "ports": [{"nodePort": 30001}, {"nodePort": 30001}, {"nodePort": 80}],
        }})];
        let out = normalise(&steps);
        assert_eq!(out[0]["body"]["metadata"], json!({"resourceVersion": "<version>", "continue": "<continue>"}));
        assert_eq!(out[0]["body"]["rows"], json!([{"cells": ["web", "<age>"]}, {"cells": ["3s", "<unknown>"]}]));
        assert_eq!(out[0]["body"]["ports"][1]["nodePort"], "<port @1/body/ports/0/nodePort>");
        assert_eq!(out[0]["body"]["ports"][2]["nodePort"], 80);
    }

    #[test]
    fn several_causes_are_put_in_order() {
        let causes = |first: &str, second: &str| {
            json!({"body": {
                "message": format!("Widget \"a\" is invalid: [{first}: bad, {second}: bad]"),
                "details": {"causes": [{"field": first, "message": "bad"}, {"field": second, "message": "bad"}]},
            }})
        };
        assert_eq!(normalise(&[causes("a", "b")]), normalise(&[causes("b", "a")]));
        assert_ne!(normalise(&[causes("a", "b")]), normalise(&[causes("a", "c")]));
    }
}
