//! What a user wrote, by the API server's own record.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One write request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Who.
    pub user: String,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// `deployments.apps`, `pods/status`.
    pub resource: String,
    /// The namespace, if there is one.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// Whether it was a dry run.
    pub dry_run: bool,
}

impl Write {
    /// Whether it was done, as far as the answer tells.
    pub fn succeeded(&self) -> bool {
        self.code < 300 && !self.dry_run
    }

    /// Whether it takes something away.
    pub fn is_delete(&self) -> bool {
        self.verb.starts_with("delete")
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Write { user, verb, resource, namespace, name, code, .. } = self;
        write!(f, "{user} {verb} {resource} {namespace}/{name} ({code})")
    }
}

/// Writes, one a line, for people.
pub fn told(writes: &[Write]) -> String {
    writes.iter().map(Write::to_string).collect::<Vec<_>>().join("\n")
}

/// An event of a kube-apiserver's audit log (audit.k8s.io/v1), as far as it is read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    #[serde(rename = "requestURI")]
    uri: String,
    object_ref: Option<ObjectReference>,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectReference {
    resource: String,
    subresource: String,
    api_group: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

/// Reads the lines of an audit log. A line that is not complete yet is left out.
pub fn read_log(text: &str) -> Vec<Write> {
    let read = |line: &str| -> Option<Write> {
        let event: Event = serde_json::from_str(line).ok()?;
        let object = event.object_ref.unwrap_or_default();
        let mut resource = object.resource;
        if !object.api_group.is_empty() {
            resource = format!("{resource}.{}", object.api_group);
        }
        if !object.subresource.is_empty() {
            resource = format!("{resource}/{}", object.subresource);
        }
        Some(Write {
            user: event.user.username,
            verb: event.verb,
            resource,
            namespace: object.namespace,
            name: object.name,
            code: event.response_status.map_or(0, |status| status.code),
            dry_run: event.uri.contains("dryRun=All"),
        })
    };
    text.lines().filter_map(read).collect()
}

/// How many writes each user asked for, by kubesim's record.
pub fn totals(record: &Value) -> BTreeMap<String, u64> {
    let is_write = |verb: &str| !matches!(verb, "get" | "list" | "watch");
    let users = record["users"].as_object().into_iter().flatten();
    users
        .map(|(user, of_user)| {
            let verbs = of_user["requests"].as_object().into_iter().flatten();
            let counts = verbs.filter(|(verb, _)| is_write(verb)).flat_map(|(_, counts)| counts.as_object());
            (user.clone(), counts.flat_map(|counts| counts.values()).filter_map(Value::as_u64).sum())
        })
        .collect()
}

/// The writes of a user that kubesim's record still holds, oldest first.
pub fn read_record(record: &Value, user: &str) -> Vec<Write> {
    let read = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        Write {
            user: user.to_owned(),
            // A kube-apiserver's log does not tell an apply from another patch.
            verb: if entry["verb"] == "apply" { "patch".to_owned() } else { text("verb") },
            resource: text("resource"),
            namespace: text("namespace"),
            name: text("name"),
            code: entry["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0),
            dry_run: entry["dryRun"] == true,
        }
    };
    record["users"][user]["recent"].as_array().into_iter().flatten().map(read).collect()
}
