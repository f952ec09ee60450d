//! What a store holds of a register, and its bytes.
//!
//! One line of JSON, readable with any tool, then the value itself when it is not a blob.

use super::ballot::Ballot;
use super::store_set::StoreId;
use crate::store::Version;
use bytes::Bytes;
use hansa_model::Hash;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The format this release writes; it reads this one only.
const FORMAT: u32 = 1;

/// One store's copy of a register: the acceptor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Copy {
    /// The register's key. It need not be the key under which the store holds the copy.
    pub key: Arc<str>,
    /// The epoch of the set under which it was last written.
    pub epoch: u64,
    /// No lower ballot is promised or accepted any more.
    pub promised: Ballot,
    /// What was accepted last.
    pub accepted: Option<Accepted>,
    /// The highest ballot that each store has acknowledged, as far as the last proposer knew.
    pub high_water: BTreeMap<StoreId, Ballot>,
}

/// A value with the ballot that it was accepted under.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Accepted {
    /// The ballot.
    pub ballot: Ballot,
    /// The value.
    pub state: State,
}

/// A value of the register.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// How many values the register has had, this one included.
    pub revision: u64,
    /// Given when the value was first proposed; no other value ever has it.
    pub version: Version,
    /// The version of the value before it; `None` for the first.
    pub parent: Option<Version>,
    /// The value's bytes, or which blob they are.
    pub content: Content,
}

/// Where a value's bytes are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// In the copy itself.
    Inline(Bytes),
    /// In the blob of this hash.
    Blob {
        /// BLAKE3 of the bytes.
        hash: Hash,
        /// How many bytes.
        bytes: u64,
    },
}

/// Bytes that are no copy of a register.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CopyError {
    /// No header line, or one that is not a copy's JSON.
    #[error("it is no copy of a register ({0}): it was not written by Hansa, or only half of it is there")]
    Header(String),
    /// A format of a newer release.
    #[error("the copy has format {0}, this release reads format {FORMAT}: run a newer one")]
    Format(u32),
    /// The header names fewer or more bytes than follow.
    #[error("the copy has {found} bytes of value instead of {expected}: it is damaged")]
    Length {
        /// What the header says.
        expected: u64,
        /// What follows it.
        found: u64,
    },
    /// The copy of another register.
    #[error("it is the copy of the register {found:?}, not of {expected:?}: somebody copied keys in the store")]
    Key {
        /// The key that was asked for.
        expected: String,
        /// The key in the copy.
        found: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    key: String,
    epoch: u64,
    promised: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<AcceptedHeader>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    high_water: BTreeMap<StoreId, String>,
}

#[derive(Serialize, Deserialize)]
struct AcceptedHeader {
    ballot: String,
    revision: u64,
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
}

impl Copy {
    /// The bytes to store.
    pub fn encode(&self) -> Bytes {
        let accepted = self.accepted.as_ref().map(|accepted| {
            let state = &accepted.state;
            let (bytes, blob) = match &state.content {
                Content::Inline(value) => (value.len() as u64, None),
                Content::Blob { hash, bytes } => (*bytes, Some(hash.to_string())),
            };
            AcceptedHeader {
                ballot: accepted.ballot.to_string(),
                revision: state.revision,
                version: state.version.to_string(),
                parent: state.parent.as_ref().map(Version::to_string),
                bytes,
                blob,
            }
        });
        let header = Header {
            format: FORMAT,
            key: self.key.to_string(),
            epoch: self.epoch,
            promised: self.promised.to_string(),
            accepted,
            high_water: self.high_water.iter().map(|(store, ballot)| (store.clone(), ballot.to_string())).collect(),
        };
        let mut out = serde_json::to_vec(&header).expect("a copy's header always encodes into memory");
        out.push(b'\n');
        if let Some(Accepted { state: State { content: Content::Inline(value), .. }, .. }) = &self.accepted {
            out.extend_from_slice(value);
        }
        out.into()
    }

    /// Reads what a store holds; an inline value shares the memory of `stored`.
    ///
    /// # Errors
    /// When the bytes are no copy in this format.
    pub fn decode(stored: &Bytes) -> Result<Self, CopyError> {
        let end = stored.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| CopyError::Header("there is no header line".into()))?;
        let wrong = |error: &dyn std::fmt::Display| CopyError::Header(error.to_string());
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(&stored[..end]).map_err(|error| wrong(&error))?;
        if format != FORMAT {
            return Err(CopyError::Format(format));
        }
        let header: Header = serde_json::from_slice(&stored[..end]).map_err(|error| wrong(&error))?;
        let rest = stored.slice(end + 1..);
        let ballot = |text: &str| text.parse::<Ballot>().map_err(|error| wrong(&error));
        let expected = header.accepted.as_ref().filter(|accepted| accepted.blob.is_none()).map_or(0, |a| a.bytes);
        if expected != rest.len() as u64 {
            return Err(CopyError::Length { expected, found: rest.len() as u64 });
        }
        let accepted = match header.accepted {
            None => None,
            Some(accepted) => {
                let content = match accepted.blob {
                    None => Content::Inline(rest),
                    Some(hash) => {
                        Content::Blob { hash: hash.parse().map_err(|error| wrong(&error))?, bytes: accepted.bytes }
                    }
                };
                let state = State {
                    revision: accepted.revision,
                    version: Version::new(accepted.version),
                    parent: accepted.parent.map(Version::new),
                    content,
                };
                Some(Accepted { ballot: ballot(&accepted.ballot)?, state })
            }
        };
        let marks = header.high_water.iter().map(|(store, text)| Ok((store.clone(), ballot(text)?)));
        Ok(Copy {
            key: header.key.as_str().into(),
            epoch: header.epoch,
            promised: ballot(&header.promised)?,
            accepted,
            high_water: marks.collect::<Result<_, _>>()?,
        })
    }

    /// Reads the copy of a given register.
    ///
    /// # Errors
    /// As for [`Copy::decode`], and when it is that of another one.
    pub fn decode_for(key: &str, stored: &Bytes) -> Result<Self, CopyError> {
        let copy = Self::decode(stored)?;
        if *copy.key != *key {
            return Err(CopyError::Key { expected: key.to_owned(), found: copy.key.to_string() });
        }
        Ok(copy)
    }

    /// The ballot of the accepted value.
    pub fn accepted_ballot(&self) -> Option<&Ballot> {
        self.accepted.as_ref().map(|accepted| &accepted.ballot)
    }
}

#[cfg(test)]
mod tests;
