//! What goes wrong, as the API says it: every refusal is a `Status` body with a code, a reason,
//! a message and details that clients decide by.

use serde_json::{Map, Value, json};

use crate::schema::FieldError;

/// A refusal. `Display` is its message.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub code: u16,
    /// `reason`; empty where Kubernetes leaves it out.
    pub reason: &'static str,
    /// `message`, for people.
    pub message: String,
    /// `details`, for programs; `None` where Kubernetes leaves it out.
    pub details: Option<Value>,
    /// `metadata.continue`, which an expired list offers for an inconsistent rest.
    pub resume: Option<String>,
    /// A plain-text body (paths that no handler serves) instead of a `Status`.
    pub plain: bool,
}

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Such as `FieldValueInvalid`.
    pub reason: String,
    /// The text without the field.
    pub message: String,
    /// The field's path.
    pub field: String,
}

impl Cause {
    /// A cause; the message is what follows the field in the error's text.
    pub fn new(reason: &str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Cause { reason: reason.to_string(), message: message.into(), field: field.into() }
    }
}

impl From<FieldError> for Cause {
    fn from(error: FieldError) -> Self {
        Cause { reason: error.reason.to_string(), message: error.message, field: error.field }
    }
}

/// `deployments.apps`, or `pods` in the core group.
pub fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_string() } else { format!("{name}.{group}") }
}

fn about(group: &str, kind: &str, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(key.to_string(), json!(value));
        }
    }
    details
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        ApiError { code, reason, message: message.into(), details: None, resume: None, plain: false }
    }

    fn with(mut self, details: impl Into<Value>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// 404: the object is not there.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        ApiError::new(404, "NotFound", format!("{} {name:?} not found", qualified(group, plural)))
            .with(about(group, plural, name))
    }

    /// 404: the group is there, the resource is not.
    pub fn no_resource() -> Self {
        ApiError::new(404, "NotFound", "the server could not find the requested resource").with(json!({}))
    }

    /// 404: no handler has this path.
    pub fn no_page() -> Self {
        ApiError { plain: true, ..ApiError::new(404, "NotFound", "404 page not found\n") }
    }

    /// 405: this verb is not among the resource's.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        ApiError::new(405, "MethodNotAllowed", message).with(json!({}))
    }

    /// 409: create, and it is there.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        ApiError::new(409, "AlreadyExists", format!("{} {name:?} already exists", qualified(group, plural)))
            .with(about(group, plural, name))
    }

    /// 409: the caller's view is out of date.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, plural));
        ApiError::new(409, "Conflict", message).with(about(group, plural, name))
    }

    /// 409 in the words of optimistic concurrency.
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        ApiError::conflict(group, plural, name, why)
    }

    /// 409 of server-side apply: other managers own fields.
    pub fn apply_conflict(message: String, causes: &[Cause]) -> Self {
        ApiError::new(409, "Conflict", message).with(json!({ "causes": causes_json(causes) }))
    }

    /// 422: the object breaks rules of its kind.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for error in &errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let causes: Vec<Cause> = errors.into_iter().map(Cause::from).collect();
        let all = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let mut details = about(group, kind, name);
        details.insert("causes".into(), causes_json(&causes));
        ApiError::new(422, "Invalid", format!("{} {name:?} is invalid: {all}", qualified(group, kind))).with(details)
    }

    /// 422 for a patch that does not fit the object; Kubernetes keeps the reason to itself.
    pub fn unprocessable() -> Self {
        ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request").with(json!({}))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        ApiError::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        ApiError::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403; `name` may be empty.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        let message = match (plural, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{what} is forbidden: {why}"),
            _ => format!("{what} {name:?} is forbidden: {why}"),
        };
        ApiError::new(403, "Forbidden", message).with(about(group, plural, name))
    }

    /// 406: none of the accepted media types can be written.
    pub fn not_acceptable(message: &str) -> Self {
        ApiError::new(406, "NotAcceptable", message)
    }

    /// 415 with the types that would do.
    pub fn unsupported_media_type(message: &str) -> Self {
        ApiError::new(415, "UnsupportedMediaType", message)
    }

    /// 410: history does not reach back that far.
    pub fn expired(message: impl Into<String>) -> Self {
        ApiError::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        ApiError::new(413, "RequestEntityTooLarge", format!("Request entity too large: {}", message.into()))
    }

    /// 429, as an eviction that a disruption budget refuses.
    pub fn too_many_requests(message: &str, cause: Option<Cause>) -> Self {
        let details = match cause {
            Some(cause) => json!({ "causes": causes_json(&[cause]) }),
            None => json!({}),
        };
        ApiError::new(429, "TooManyRequests", message).with(details)
    }

    /// 500 without a reason, which Kubernetes answers for errors that no one classified.
    pub fn unclassified(message: impl Into<String>) -> Self {
        ApiError::new(500, "", message)
    }

    /// 500 `InternalError`.
    pub fn internal(message: &str) -> Self {
        ApiError::new(500, "InternalError", format!("Internal error occurred: {message}"))
            .with(json!({ "causes": [{ "message": message }] }))
    }

    /// 501: a part of Kubernetes that kubesim leaves out, by name.
    pub fn not_implemented(what: &str) -> Self {
        ApiError::new(501, "NotImplemented", format!("kubesim does not implement {what}"))
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        ApiError::new(503, "ServiceUnavailable", message)
    }

    /// 504: a read at a version that does not exist yet.
    pub fn version_too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        ApiError::new(504, "Timeout", message).with(json!({
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1,
        }))
    }

    /// Adds a cause to the details, as a terminating namespace does.
    pub fn because(mut self, cause: Cause) -> Self {
        let details = self.details.get_or_insert_with(|| json!({}));
        details["causes"] = causes_json(&[cause]);
        self
    }

    /// The `Status` body.
    pub fn status(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(resume) = &self.resume {
            metadata.insert("continue".into(), json!(resume));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata,
            "status": "Failure", "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

fn causes_json(causes: &[Cause]) -> Value {
    causes
        .iter()
        .map(|cause| {
            let mut entry = Map::new();
            for (key, value) in [("reason", &cause.reason), ("message", &cause.message), ("field", &cause.field)] {
                if !value.is_empty() {
                    entry.insert(key.into(), json!(value));
                }
            }
            Value::Object(entry)
        })
        .collect()
}
