//! What a ballot is about, and its number.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The number of a ballot in its document: every candidate that is opened takes the next one, so a
/// pair of key and epoch is never asked twice, even when its decision was collected long ago.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Epoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The longest key, in bytes.
pub const MAX_KEY: usize = 128;

/// What a ballot, an appointment or a barrier is about: `spec`, `lost/gcp-euw4`, `primary/orders`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// A text that is not a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is not a ballot's key: parts of a-z, 0-9, `-`, `_` and `.` are expected, joined by `/`, at most {MAX_KEY} bytes"
)]
pub struct InvalidKey(String);

impl Key {
    /// The federation spec.
    pub fn spec() -> Self {
        Key("spec".into())
    }

    /// Who votes: joins, leaves, keys.
    pub fn members() -> Self {
        Key(MEMBERS.into())
    }

    /// The feature level.
    pub fn feature() -> Self {
        Key(FEATURE.into())
    }

    /// Whether a member is lost.
    pub fn lost(member: &hansa_model::MemberName) -> Self {
        Key(format!("{LOST}{member}").into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the document itself does when a candidate of this key is adopted.
    pub(crate) fn subject(&self) -> Subject {
        match &*self.0 {
            MEMBERS => Subject::Members,
            FEATURE => Subject::Feature,
            text => match text.strip_prefix(LOST).and_then(|member| member.parse().ok()) {
                Some(member) => Subject::Lost(member),
                None => Subject::Other,
            },
        }
    }
}

const MEMBERS: &str = "members";
const FEATURE: &str = "feature";
const LOST: &str = "lost/";

/// Keys whose decisions change the document itself.
pub(crate) enum Subject {
    Members,
    Feature,
    Lost(hansa_model::MemberName),
    Other,
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        };
        if text.len() <= MAX_KEY && text.split('/').all(part) {
            Ok(Key(text.into()))
        } else {
            Err(InvalidKey(text.chars().take(MAX_KEY).collect()))
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_where_they_are_made() {
        for fine in ["spec", "lost/gcp-euw4", "primary/orders.v2/eu_1"] {
            assert_eq!(fine.parse::<Key>().unwrap().as_str(), fine);
        }
        for wrong in ["", "/", "a//b", "Spec", "a b", &"x".repeat(129)] {
            assert!(wrong.parse::<Key>().is_err(), "{wrong}");
        }
    }
}
