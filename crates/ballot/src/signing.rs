//! Signatures: Ed25519 (RFC 8032) over exact bytes with league, era, key, counter and value.
//!
//! A [`Statement`] is what is signed. Its five parts are length-prefixed, so that no two statements
//! have equal bytes; what it is about contains the name of who says it, so a value that is copied to
//! another's place, replayed at another counter, in another era or another league does not verify.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use hansa_model::{Era, Hash, LeagueId, MemberName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Separates these signatures from every other use of the same key.
const CONTEXT: &[u8] = b"hansa.dev 2026-11-29 statement in a ballot";

/// How many verdicts a [`Verifier`] remembers before it begins anew.
const MEMO: usize = 16_384;

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// The league, or whatever the document of a program without Kubernetes is called by.
    pub league: LeagueId,
    /// The era.
    pub era: Era,
    /// What it is about, with the name of who says it: `cells/aws-use1`, `votes/aws-use1/spec`.
    pub about: &'a str,
    /// Rises with every statement about the same: (incarnation, sequence) of a cell, (0, epoch) of a vote.
    pub counter: (u64, u64),
    /// The value, byte for byte.
    pub value: &'a [u8],
}

impl Statement<'_> {
    /// The bytes that are signed.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CONTEXT.len() + self.about.len() + self.value.len() + 80);
        out.extend_from_slice(CONTEXT);
        out.extend_from_slice(self.league.0.as_bytes());
        for number in [self.era.0, self.counter.0, self.counter.1] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for part in [self.about.as_bytes(), self.value] {
            out.extend_from_slice(&(part.len() as u64).to_le_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

/// A public key, written `ed25519:…` (base64 with or without padding), as in a spec's `publicKeys`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// A text that is not a public key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a public key: `ed25519:` and 32 bytes in base64 are expected")]
pub struct InvalidPublicKey(String);

const KEY_PREFIX: &str = "ed25519:";

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let invalid = || InvalidPublicKey(text.chars().take(80).collect());
        let encoded = text.strip_prefix(KEY_PREFIX).ok_or_else(invalid)?;
        let bytes = STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).map_err(|_| invalid())?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| invalid())?;
        // Not every 32 bytes are a point of the curve.
        VerifyingKey::from_bytes(&key).map_err(|_| invalid())?;
        Ok(PublicKey(key))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY_PREFIX}{}", STANDARD_NO_PAD.encode(self.0))
    }
}

/// A signature, written in base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; 64]);

/// A text that is not a signature.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a signature is 64 bytes in base64 without padding")]
pub struct InvalidSignature;

impl FromStr for Signature {
    type Err = InvalidSignature;

    fn from_str(text: &str) -> Result<Self, InvalidSignature> {
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| InvalidSignature)?;
        Ok(Signature(bytes.try_into().map_err(|_| InvalidSignature)?))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD_NO_PAD.encode(self.0))
    }
}

macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = self.to_string();
                f.write_str(&text[..text.len().min(16)])
            }
        }
    };
}

text_serde!(PublicKey);
text_serde!(Signature);

/// The private half of a voter's key. Its `Debug` shows the public half.
#[derive(Clone)]
pub struct Signer {
    member: MemberName,
    key: SigningKey,
}

impl Signer {
    /// `secret` is the Ed25519 secret key of `member`.
    pub fn new(member: MemberName, secret: [u8; 32]) -> Self {
        Signer { member, key: SigningKey::from_bytes(&secret) }
    }

    /// Who signs.
    pub fn member(&self) -> &MemberName {
        &self.member
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    /// Signs a statement.
    pub fn sign(&self, statement: &Statement<'_>) -> Signature {
        Signature(self.key.sign(&statement.to_vec()).to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} {})", self.member, self.public())
    }
}

/// Verifies statements, and remembers what it has verified: an unchanged cell costs a hash, not a
/// scalar multiplication. Clones share the memory, which changes no answer.
#[derive(Clone, Default)]
pub struct Verifier {
    memo: Arc<Mutex<BTreeSet<Hash>>>,
}

impl Verifier {
    /// Signs a statement, and remembers that it is: it need not be verified when it comes back.
    pub fn sign(&self, signer: &Signer, statement: &Statement<'_>) -> Signature {
        let signature = signer.sign(statement);
        self.remember(proof(&signer.public(), &statement.to_vec(), &signature));
        signature
    }

    /// Whether `key` signed exactly this statement.
    pub fn verify(&self, key: &PublicKey, statement: &Statement<'_>, signature: &Signature) -> bool {
        let message = statement.to_vec();
        let proof = proof(key, &message, signature);
        if self.memo().contains(&proof) {
            return true;
        }
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        let valid = VerifyingKey::from_bytes(&key.0).is_ok_and(|key| key.verify_strict(&message, &signature).is_ok());
        if valid {
            self.remember(proof);
        }
        valid
    }

    fn remember(&self, proof: Hash) {
        let mut memo = self.memo();
        if memo.len() >= MEMO {
            memo.clear();
        }
        memo.insert(proof);
    }

    fn memo(&self) -> MutexGuard<'_, BTreeSet<Hash>> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands for a verdict: who is said to have signed what, and how.
fn proof(key: &PublicKey, message: &[u8], signature: &Signature) -> Hash {
    let mut proof = Vec::with_capacity(message.len() + 96);
    proof.extend_from_slice(&key.0);
    proof.extend_from_slice(&signature.0);
    proof.extend_from_slice(message);
    Hash::of_bytes(&proof)
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_statement_counts() {
        let signer = Signer::new("a".parse().unwrap(), [1; 32]);
        let league = |text: &str| LeagueId(Hash::of_bytes(text.as_bytes()));
        let statement = Statement { league: league("l"), era: Era(1), about: "cells/a", counter: (1, 2), value: b"v" };
        let signature = signer.sign(&statement);
        let verifier = Verifier::default();
        let verify = |statement: &Statement<'_>| verifier.verify(&signer.public(), statement, &signature);
        assert!(verify(&statement) && verify(&statement));
        for other in [
            Statement { league: league("m"), ..statement },
            Statement { era: Era(2), ..statement },
            Statement { about: "cells/b", ..statement },
            Statement { counter: (1, 3), ..statement },
            Statement { counter: (2, 2), ..statement },
            Statement { value: b"w", ..statement },
        ] {
            assert!(!verify(&other), "{other:?}");
        }
        let stranger = Signer::new("a".parse().unwrap(), [2; 32]);
        assert!(!verifier.verify(&stranger.public(), &statement, &signature));
    }

    #[test]
    fn what_was_signed_here_is_remembered_and_nothing_else() {
        let signer = Signer::new("a".parse().unwrap(), [1; 32]);
        let said = |value| {
            let league = LeagueId(Hash::of_bytes(b"l"));
            Statement { league, era: Era(1), about: "cells/a", counter: (1, 2), value }
        };
        let verifier = Verifier::default();
        let signature = verifier.sign(&signer, &said(b"v"));
        assert_eq!(signature, signer.sign(&said(b"v")));
        assert_eq!(verifier.memo().len(), 1);
        assert!(verifier.verify(&signer.public(), &said(b"v"), &signature));
        assert_eq!(verifier.memo().len(), 1, "it was known");
        assert!(!verifier.verify(&signer.public(), &said(b"w"), &signature));
        let stranger = Signer::new("a".parse().unwrap(), [2; 32]);
        assert!(!verifier.verify(&stranger.public(), &said(b"v"), &signature));
        assert_eq!(verifier.memo().len(), 1);
    }

    #[test]
    fn keys_and_signatures_read_back_and_secrets_do_not_show() {
        let signer = Signer::new("a".parse().unwrap(), [7; 32]);
        let text = signer.public().to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), signer.public());
        // As the operators' Secrets and the spec write it.
        assert_eq!(format!("{text}=").parse::<PublicKey>().unwrap(), signer.public());
        for wrong in ["", "ed25519:", "x25519:AAAA", "ed25519:AAAA", "ed25519:!"] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
        let statement =
            Statement { league: LeagueId(Hash::of_bytes(b"l")), era: Era(1), about: "x", counter: (0, 0), value: b"" };
        let signature = signer.sign(&statement);
        assert_eq!(signature.to_string().parse::<Signature>().unwrap(), signature);
        assert!("AAAA".parse::<Signature>().is_err());
        assert!(!format!("{signer:?}").contains("[7"));
    }
}
