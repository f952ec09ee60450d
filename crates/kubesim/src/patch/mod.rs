//! The three kinds of patches that are not server-side apply: JSON patch, merge patch, strategic merge patch.

mod json;
mod strategic;

use serde_json::{Map, Value};

pub use json::json;
pub use strategic::strategic;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is not well formed (answered with 400 and this text).
    #[error("{0}")]
    Malformed(String),
    /// The patch has too many operations (answered with 413).
    #[error("{0}")]
    TooLarge(String),
    /// The patch does not fit the object (answered with 422, as kube does without the text).
    #[error("{0}")]
    Unprocessable(String),
    /// The patch lacks what a merge by key needs (answered with 500 and this text, as kube does).
    #[error("{0}")]
    Unmergeable(String),
}

/// Applies a merge patch (RFC 7386).
pub fn merge(object: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut merged = object.as_object().cloned().unwrap_or_else(Map::new);
    for (name, change) in changes {
        if change.is_null() {
            merged.remove(name);
        } else {
            let below = merge(merged.get(name).unwrap_or(&Value::Null), change);
            merged.insert(name.clone(), below);
        }
    }
    Value::Object(merged)
}
