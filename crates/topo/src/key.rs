//! Which keys and values every backend can hold, checked before a backend sees them.
//!
//! The limits are the narrowest of all backends, so that a league that works on one of them works on
//! each of them, and can be moved.

use crate::error::{Category, TopoError};

/// The largest value: etcd takes requests up to 1.5 MiB by default, and key, compare and framing
/// need their room.
pub const MAX_VALUE_BYTES: usize = 1_310_720;

/// The longest key: object stores allow 1,024 bytes, of which a prefix takes its part.
pub const MAX_KEY_BYTES: usize = 512;

/// The longest key as object stores name it, where each byte other than a letter, a digit, `-` and
/// `/` takes three.
pub(crate) const MAX_NAME_BYTES: usize = 768;

/// Whether object stores, their proxies and file systems below them all keep this byte as it is.
pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'/'
}

/// Refuses what is not a key: `/`-separated segments, each one non-empty and neither `.` nor `..`
/// (object stores and their proxies normalise those away), no control characters.
pub(crate) fn check_key(backend: &'static str, key: &str) -> Result<(), TopoError> {
    let wrong = |what: &str| {
        let mend = "; a key is like /v1/pages/7";
        Err(TopoError::new(Category::InvalidKey, backend, format!("{what}{mend}")).at_key(key))
    };
    if key.len() > MAX_KEY_BYTES {
        return wrong(&format!("the key has {} bytes, more than {MAX_KEY_BYTES}", key.len()));
    }
    let name_bytes: usize = key.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
    if name_bytes > MAX_NAME_BYTES {
        return wrong(&format!(
            "with three bytes for each that is no letter, digit, - or / the key has {name_bytes}, more than \
             {MAX_NAME_BYTES}"
        ));
    }
    let Some(path) = key.strip_prefix('/') else {
        return wrong("the key does not begin with /");
    };
    if let Some(segment) = path.split('/').find(|s| matches!(*s, "" | "." | "..")) {
        return wrong(&format!("the key has the segment {segment:?}"));
    }
    if key.chars().any(char::is_control) {
        return wrong("the key has a control character");
    }
    Ok(())
}

/// Refuses what cannot be the beginning of a key. The empty prefix means every key.
pub(crate) fn check_prefix(backend: &'static str, prefix: &str) -> Result<(), TopoError> {
    if prefix.is_empty() || prefix.starts_with('/') {
        return Ok(());
    }
    let message = "the prefix does not begin with /, so no key begins with it";
    Err(TopoError::new(Category::InvalidKey, backend, message).at_key(prefix))
}

/// Refuses a value above [`MAX_VALUE_BYTES`].
pub(crate) fn check_value(backend: &'static str, key: &str, value: &[u8]) -> Result<(), TopoError> {
    if value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    let message = format!(
        "the value has {} bytes, more than the {MAX_VALUE_BYTES} that every backend takes; \
         split it, or put its large parts into blobs",
        value.len()
    );
    Err(TopoError::new(Category::TooLarge, backend, message).at_key(key))
}
