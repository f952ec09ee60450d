//! The parameters of a write: dry run, field manager, field validation, force.

use serde_json::json;

use super::error::ApiError;
use super::http::Request;
use super::time::{self, Millis};
use crate::schema::FieldError;

/// What happens to fields that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped silently.
    Ignore,
    /// Dropped with a warning.
    Warn,
    /// Refused.
    Strict,
}

/// How a write is done, and what it wants to warn of.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// The field manager.
    pub manager: String,
    /// `dryRun=All`.
    pub dry_run: bool,
    /// `fieldValidation`.
    pub validation: FieldValidation,
    /// `force`, of an apply.
    pub force: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// Whether a request is a server-side apply.
pub fn is_apply(request: &Request) -> bool {
    request.content_type.as_deref().is_some_and(|kind| media_type(kind).starts_with("application/apply-patch"))
}

/// A media type without its parameters.
pub fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

impl WriteOptions {
    /// Reads and checks the parameters.
    pub fn read(request: &Request, verb: &str) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let dry_run = request.parameter("dryRun");
        if let Some(other) = dry_run.filter(|value| *value != "All") {
            errors.push(FieldError::not_supported("dryRun", &json!([other]), &["All"]));
        }
        let validation = match request.parameter("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                errors.push(FieldError::not_supported(
                    "fieldValidation",
                    &json!(other),
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        let given = request.parameter("fieldManager");
        if given.is_some_and(|manager| manager.len() > 128) {
            errors.push(FieldError::too_long("fieldManager", 128));
        }
        if let Some((at, bad)) = given.and_then(|manager| manager.char_indices().find(|(_, c)| c.is_control())) {
            let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(bad));
            errors.push(FieldError::invalid("fieldManager", &json!(given), &detail));
        }
        let apply = is_apply(request);
        let forced = request.query.iter().any(|(key, _)| key == "force");
        if verb == "patch" && apply && given.is_none() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if verb == "patch" && !apply && forced {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        if !errors.is_empty() {
            let kind = match verb {
                "create" => "CreateOptions",
                "update" => "UpdateOptions",
                "patch" => "PatchOptions",
                _ => "DeleteOptions",
            };
            return Err(ApiError::invalid("meta.k8s.io", kind, "", errors));
        }
        Ok(WriteOptions {
            manager: given.map_or_else(|| from_user_agent(request.user_agent.as_deref()), String::from),
            dry_run: dry_run.is_some(),
            validation,
            force: request.flag("force"),
            warnings: Vec::new(),
        })
    }

    /// The options of a write that a part of the cluster itself makes.
    pub fn of_controller(manager: &str) -> Self {
        WriteOptions {
            manager: manager.to_string(),
            dry_run: false,
            validation: FieldValidation::Ignore,
            force: true,
            warnings: Vec::new(),
        }
    }

    /// Adds a warning once.
    pub fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }
}

/// The manager of a client that names none: the program's name in its user agent.
fn from_user_agent(user_agent: Option<&str>) -> String {
    let name = user_agent.and_then(|agent| agent.split('/').next()).unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    if name.is_empty() { "unknown".to_string() } else { name }
}

/// The time of a write as managed fields have it.
pub fn stamp(now: Millis) -> String {
    time::seconds(now)
}
