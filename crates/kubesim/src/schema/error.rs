//! Errors of one field, worded as Kubernetes words them (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::fmt;

use serde_json::Value;

/// What is wrong with a field; the names are the `reason` of a Status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A value is missing.
    FieldValueRequired,
    /// A value breaks a rule.
    FieldValueInvalid,
    /// A value has the wrong JSON type.
    FieldValueTypeInvalid,
    /// A value is not one of those allowed.
    FieldValueNotSupported,
    /// A value that must be unique is there twice.
    FieldValueDuplicate,
    /// A value may not be set here.
    FieldValueForbidden,
    /// A string is too long.
    FieldValueTooLong,
    /// A list has too many items.
    FieldValueTooMany,
    /// Something named was not found.
    FieldValueNotFound,
}

impl Reason {
    /// The words that open the message.
    fn opening(self) -> &'static str {
        match self {
            Reason::FieldValueRequired => "Required value",
            Reason::FieldValueInvalid | Reason::FieldValueTypeInvalid => "Invalid value",
            Reason::FieldValueNotSupported => "Unsupported value",
            Reason::FieldValueDuplicate => "Duplicate value",
            Reason::FieldValueForbidden => "Forbidden",
            Reason::FieldValueTooLong => "Too long",
            Reason::FieldValueTooMany => "Too many",
            Reason::FieldValueNotFound => "Not found",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// One field that is wrong.
///
/// `Display` is kube's line (`spec.replicas: Invalid value: -1: must be …`); [`FieldError::message`] is the same
/// without the field, as a Status cause carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path, such as `spec.containers[0].image`; empty when the error is about no one field.
    pub field: String,
    /// What is wrong.
    pub reason: Reason,
    /// The cause's message.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(formatter, "{}: ", self.field)?;
        }
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for FieldError {}

impl FieldError {
    fn new(field: impl Into<String>, reason: Reason, value: Option<String>, detail: &str) -> FieldError {
        let mut message = reason.opening().to_owned();
        if let Some(value) = value {
            message.push_str(": ");
            message.push_str(&value);
        }
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        FieldError { field: field.into(), reason, message }
    }

    /// A value is missing.
    pub fn required(field: impl Into<String>, detail: &str) -> FieldError {
        FieldError::new(field, Reason::FieldValueRequired, None, detail)
    }

    /// A value breaks a rule.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> FieldError {
        FieldError::new(field, Reason::FieldValueInvalid, Some(render(value)), detail)
    }

    /// A value has the wrong type.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> FieldError {
        FieldError::new(field, Reason::FieldValueTypeInvalid, Some(render(value)), detail)
    }

    /// A value is not one of those allowed.
    pub fn not_supported<S: AsRef<str>>(field: impl Into<String>, value: &Value, supported: &[S]) -> FieldError {
        let quoted: Vec<String> = supported.iter().map(|one| quote(one.as_ref())).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        FieldError::new(field, Reason::FieldValueNotSupported, Some(render(value)), &detail)
    }

    /// A value is there twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> FieldError {
        FieldError::new(field, Reason::FieldValueDuplicate, Some(render(value)), "")
    }

    /// A value may not be set.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> FieldError {
        FieldError::new(field, Reason::FieldValueForbidden, None, detail)
    }

    /// Something named does not exist.
    pub fn not_found(field: impl Into<String>, value: &Value) -> FieldError {
        FieldError::new(field, Reason::FieldValueNotFound, Some(render(value)), "")
    }

    /// A string has more bytes than allowed.
    pub fn too_long(field: impl Into<String>, most: usize) -> FieldError {
        let detail = format!("may not be more than {most} byte{}", if most == 1 { "" } else { "s" });
        FieldError::new(field, Reason::FieldValueTooLong, None, &detail)
    }

    /// A list has more items than allowed.
    pub fn too_many(field: impl Into<String>, actual: usize, most: usize) -> FieldError {
        let detail = format!("must have at most {most} item{}", if most == 1 { "" } else { "s" });
        FieldError::new(field, Reason::FieldValueTooMany, Some(actual.to_string()), &detail)
    }
}

/// A string as Go's `%q` writes it, for all strings that occur in practice.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A value as it appears within a message: strings quoted, the rest as compact JSON.
fn render(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => other.to_string(),
    }
}
