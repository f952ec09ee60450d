//! The sealed body of a Secret, as it stands in a record. Making and opening it is the operator's.

use hansa_model::{Hash, MemberName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A body encrypted once, and its key wrapped for each recipient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sealed {
    /// A digest of the plaintext, keyed with the body's key: holders of the key see equality without
    /// decrypting, others cannot guess at it.
    pub digest: Hash,
    /// The encrypted body (ChaCha20-Poly1305), base64.
    pub body: String,
    /// The body's key, wrapped for each recipient (X25519), base64.
    pub wraps: BTreeMap<MemberName, String>,
}
