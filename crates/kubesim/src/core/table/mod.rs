//! Tables: the columns that `kubectl get` shows, of built-in kinds and of custom resources.

mod columns;
mod events;
mod kinds;
mod pods;
mod text;

use serde_json::{Value, json};

use super::jsonpath::JsonPath;
use super::registry::{Resource, Version};
use super::time::{self, Millis};
use crate::value;

/// A column: name, type, format, and 1 as priority where only `-o wide` shows it.
pub type Column = (&'static str, &'static str, &'static str, u8);

/// A row.
pub struct Row {
    /// The cells.
    pub cells: Value,
    /// Conditions of the row, which hide finished pods from some lists.
    pub conditions: Option<Value>,
}

/// What a printer of a built-in kind works with.
pub struct Subject<'a> {
    /// The object.
    pub object: &'a Value,
    /// The time that ages are counted to.
    pub now: Millis,
}

impl Subject<'_> {
    fn text(&self, path: &[&str]) -> &str {
        value::string(self.object, path).unwrap_or_default()
    }

    fn number(&self, path: &[&str]) -> i64 {
        value::integer(self.object, path).unwrap_or(0)
    }

    /// A text, or `<none>`.
    fn or_none(&self, path: &[&str]) -> String {
        text::or(self.text(path), "<none>")
    }

    fn age(&self) -> String {
        self.since(&["metadata", "creationTimestamp"])
    }

    /// How long ago a time was.
    fn since(&self, path: &[&str]) -> String {
        since(self.text(path), self.now)
    }
}

/// How long ago a time was, or `<unknown>`.
fn since(at: &str, now: Millis) -> String {
    time::parse(at).map_or_else(|| "<unknown>".to_string(), |at| time::human(now.saturating_sub(at)))
}

/// `columnDefinitions`.
pub fn definitions(resource: &Resource, version: &Version) -> Value {
    let column = |name: &str, kind: &str, format: &str, priority: u8, description: &str| json!({ "name": name, "type": kind, "format": format, "description": description, "priority": priority });
    if let Some(custom) = &version.custom {
        let mut columns = vec![column("Name", "string", "name", 0, "")];
        if custom.columns.is_empty() {
            columns.push(column("Age", "date", "", 0, ""));
        }
        for given in &custom.columns {
            let text = |field: &str| given[field].as_str().unwrap_or_default();
            let priority = u8::try_from(given["priority"].as_i64().unwrap_or(0)).unwrap_or(1);
            columns.push(column(text("name"), text("type"), text("format"), priority, text("description")));
        }
        return json!(columns);
    }
    let columns = columns::columns(resource);
    columns.iter().map(|(name, kind, format, priority)| column(name, kind, format, *priority, "")).collect()
}

/// One row.
pub fn row(resource: &Resource, version: &Version, object: &Value, now: Millis) -> Row {
    if let Some(custom) = &version.custom {
        let mut cells = vec![object["metadata"]["name"].clone()];
        if custom.columns.is_empty() {
            cells
                .push(json!(since(value::string(object, &["metadata", "creationTimestamp"]).unwrap_or_default(), now)));
        }
        cells.extend(custom.columns.iter().map(|column| custom_cell(column, object, now)));
        return Row { cells: json!(cells), conditions: None };
    }
    let subject = Subject { object, now };
    let conditions = (resource.kind == "Pod").then(|| pods::conditions(object)).flatten();
    Row { cells: kinds::cells(resource, &subject), conditions }
}

fn custom_cell(column: &Value, object: &Value, now: Millis) -> Value {
    let path = column["jsonPath"].as_str().unwrap_or_default();
    let found = JsonPath::parse(path).map(|path| path.find(object)).unwrap_or_default();
    let Some(first) = found.first().filter(|value| !value.is_null()) else { return Value::Null };
    match (column["type"].as_str().unwrap_or_default(), first) {
        ("integer", Value::Number(number)) => {
            number.as_i64().or(number.as_f64().map(|n| n as i64)).map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*first).clone(),
        ("date", Value::String(at)) => {
            json!(time::parse(at).map_or_else(|| "<invalid>".to_string(), |at| time::human(now.saturating_sub(at))))
        }
        ("string", Value::String(_)) => (*first).clone(),
        ("string", other) => json!(other.to_string()),
        _ => Value::Null,
    }
}
