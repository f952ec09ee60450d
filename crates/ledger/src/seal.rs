//! The sealed body of a Secret, as it stands in a record. Making and opening it is the operator's.
//!
//! The body is encrypted once, under a key of its own; that key is wrapped for each member that is
//! to have it. A new recipient adds a wrap and leaves the body as it is; a changed Secret is a new
//! body under a new key, wrapped for those that are recipients then and no others.

use hansa_model::{Hash, Incarnation, MemberName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A body encrypted once, and its key wrapped for each recipient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sealed {
    /// The life of the object that the body is bound to, as it is to its league and key: it opens in
    /// no other.
    pub incarnation: Incarnation,
    /// A digest of the plaintext, keyed with the body's key: holders of the key see equality without
    /// decrypting, others cannot guess at it.
    pub digest: Hash,
    /// The encrypted body (ChaCha20-Poly1305).
    pub body: SealedBody,
    /// The body's key, wrapped for each recipient.
    pub wraps: BTreeMap<MemberName, Wrap>,
}

/// Where an encrypted body is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SealedBody {
    /// In the record, base64.
    Inline(String),
    /// In `/v1/blobs/<hash>`, immutable.
    Blob(Hash),
}

/// A body's key, encrypted to one member (X25519 with an ephemeral key, ChaCha20-Poly1305).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wrap {
    /// The fingerprint of the public key that it is wrapped for: when the league agrees on another
    /// key for the member, the wrap is seen to be of no use to it.
    pub to: String,
    /// The ephemeral public key and the encrypted key, base64.
    pub key: String,
}

impl Sealed {
    /// Adds wraps, and replaces those that were made for another key of their member. Returns
    /// whether anything changed.
    pub fn add_wraps(&mut self, wraps: &BTreeMap<MemberName, Wrap>) -> bool {
        let mut changed = false;
        for (member, wrap) in wraps {
            if self.wraps.get(member).is_none_or(|standing| standing.to != wrap.to) {
                self.wraps.insert(member.clone(), wrap.clone());
                changed = true;
            }
        }
        changed
    }

    /// Whether another one holds the same body: then its wraps are of use here too.
    pub fn has_the_body_of(&self, other: &Sealed) -> bool {
        self.incarnation == other.incarnation && self.digest == other.digest && self.body == other.body
    }
}

/// The hash of an intent whose content is sealed: of its canonical spec and of the body's digest.
pub fn intent_hash(spec: &Hash, digest: &Hash) -> Hash {
    let mut bytes = b"sealed:".to_vec();
    bytes.extend_from_slice(spec.as_bytes());
    bytes.extend_from_slice(digest.as_bytes());
    Hash::of_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn wrap(to: &str) -> Wrap {
        Wrap { to: to.into(), key: "AAAA".into() }
    }

    fn sealed() -> Sealed {
        Sealed {
            incarnation: Incarnation(7),
            digest: Hash::of_bytes(b"d"),
            body: SealedBody::Inline("Zm9v".into()),
            wraps: [("a".parse().unwrap(), wrap("k1"))].into(),
        }
    }

    #[test]
    fn a_wrap_is_added_once_and_replaced_when_the_key_is_another() {
        let mut sealed = sealed();
        let b: MemberName = "b".parse().unwrap();
        let wraps = |to: &str| BTreeMap::from([(b.clone(), wrap(to))]);
        assert!(sealed.add_wraps(&wraps("k2")));
        assert!(!sealed.add_wraps(&wraps("k2")));
        assert!(sealed.add_wraps(&wraps("k3")));
        assert_eq!(sealed.wraps.len(), 2);
    }

    #[test]
    fn an_intent_is_another_one_when_either_part_is() {
        let hash = |text: &str| Hash::of_bytes(text.as_bytes());
        let both = intent_hash(&hash("spec"), &hash("digest"));
        assert_ne!(both, intent_hash(&hash("spec"), &hash("other")));
        assert_ne!(both, intent_hash(&hash("other"), &hash("digest")));
        assert_ne!(both, intent_hash(&hash("digest"), &hash("spec")));
    }

    /// The persisted format: what an earlier release wrote has to read for ever.
    #[test]
    fn the_format_stays() {
        let text = serde_json::to_string_pretty(&sealed()).unwrap();
        expect![[r#"
            {
              "incarnation": 7,
              "digest": "d5ede538f628f687e5e0422c7755b503653de2dcd7053ca8791afa5d4787d843",
              "body": {
                "inline": "Zm9v"
              },
              "wraps": {
                "a": {
                  "to": "k1",
                  "key": "AAAA"
                }
              }
            }"#]]
        .assert_eq(&text);
        assert_eq!(serde_json::from_str::<Sealed>(&text).unwrap(), sealed());
        let blob = r#"{"blob":"eabb70a19d8f2b31fa4b2f8b1ec5ff13e9bf2eb27ee69c2fbd1fb6d6cba1e19e"}"#;
        assert!(matches!(serde_json::from_str(blob), Ok(SealedBody::Blob(_))));
    }
}
