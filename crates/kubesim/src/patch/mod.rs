//! The three kinds of patches that are not server-side apply: JSON patch, merge patch, strategic merge patch.

mod strategic;

use serde_json::Value;

pub use strategic::strategic;

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is not well formed (kube answers 400).
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object (kube answers 422).
    #[error("{0}")]
    Unprocessable(String),
}

/// The most operations a JSON patch may have (`--max-json-patch-operations` has the same default).
const MAX_OPERATIONS: usize = 10_000;

/// Applies a JSON patch (RFC 6902).
///
/// # Errors
///
/// [`PatchError::Malformed`] for what is no patch, [`PatchError::Unprocessable`] for an operation that fails.
pub fn json(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    if operations.0.len() > MAX_OPERATIONS {
        return Err(PatchError::Malformed(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.0.len()
        )));
    }
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &operations).map_err(|error| PatchError::Unprocessable(error.to_string()))?;
    Ok(patched)
}

/// Applies a merge patch (RFC 7386).
pub fn merge(object: &Value, patch: &Value) -> Value {
    let mut patched = object.clone();
    json_patch::merge(&mut patched, patch);
    patched
}
