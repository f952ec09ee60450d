//! `metadata.managedFields`: who owns which fields.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fieldset::FieldSet;
use crate::value;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// The name in an entry.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// What tells one entry from another.
///
/// An applier is one manager whatever version it applies with, so its `api_version` is empty here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub name: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
}

impl Manager {
    pub(crate) fn new(operation: Operation, name: &str, api_version: &str, subresource: &str) -> Manager {
        Manager {
            name: if name.is_empty() { "unknown" } else { name }.to_owned(),
            operation,
            api_version: if operation == Operation::Apply { "" } else { api_version }.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// How a conflict names it.
    pub(crate) fn describe(&self) -> String {
        let mut out = Value::from(self.name.as_str()).to_string();
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", Value::from(self.subresource.as_str())));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owned {
    pub fields: FieldSet,
    pub api_version: String,
    /// RFC 3339 in UTC, whole seconds: in this form the order of texts is the order of times.
    pub time: Option<String>,
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Managers(pub BTreeMap<Manager, Owned>);

impl Managers {
    /// Reads an object's entries; `None` when one of them is not well formed.
    pub(crate) fn of(object: &Value) -> Option<Managers> {
        let mut managers = BTreeMap::new();
        for entry in value::list(object, &["metadata", "managedFields"]) {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() || text("fieldsType") != "FieldsV1" {
                return None;
            }
            let fields = match entry.get("fieldsV1") {
                None | Some(Value::Null) => FieldSet::default(),
                Some(fields) => FieldSet::decode(fields)?,
            };
            // Not `Manager::new`: an entry without a name stays without one.
            let manager = Manager {
                name: text("manager").to_owned(),
                operation,
                api_version: if operation == Operation::Apply { "" } else { api_version }.to_owned(),
                subresource: text("subresource").to_owned(),
            };
            let time = entry["time"].as_str().map(str::to_owned);
            managers.insert(manager, Owned { fields, api_version: api_version.to_owned(), time });
        }
        Some(Managers(managers))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the entries into an object, in the order of the real server.
    pub(crate) fn write(&self, object: &mut Value) {
        if self.is_empty() {
            value::remove(object, &["metadata", "managedFields"]);
            return;
        }
        let mut entries: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        entries.sort_by(|left, right| order(*left, *right));
        let entries = entries.into_iter().map(|(manager, owned)| encode(manager, owned)).collect();
        value::set(object, &["metadata", "managedFields"], Value::Array(entries));
    }
}

/// Appliers first, then by time, then by name.
fn order(left: (&Manager, &Owned), right: (&Manager, &Owned)) -> Ordering {
    left.0
        .operation
        .cmp(&right.0.operation)
        .then_with(|| left.1.time.cmp(&right.1.time))
        .then_with(|| left.0.name.cmp(&right.0.name))
        .then_with(|| left.1.api_version.cmp(&right.1.api_version))
        .then_with(|| left.0.subresource.cmp(&right.0.subresource))
}

fn encode(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| entry.insert(name.to_owned(), value);
    if !manager.name.is_empty() {
        put("manager", manager.name.as_str().into());
    }
    put("operation", manager.operation.as_str().into());
    put("apiVersion", owned.api_version.as_str().into());
    if let Some(time) = &owned.time {
        put("time", time.as_str().into());
    }
    put("fieldsType", "FieldsV1".into());
    put("fieldsV1", owned.fields.encode());
    if !manager.subresource.is_empty() {
        put("subresource", manager.subresource.as_str().into());
    }
    Value::Object(entry)
}
