//! The operator's keys: made on its first start, kept in a Secret of its own cluster, never logged.
//!
//! | Field of the Secret | Holds (base64) | Stands |
//! |---|---|---|
//! | `ed25519`, `x25519` | the private halves of the pair in use | always |
//! | `next-ed25519`, `next-x25519` | the private halves of the next pair | from a user's wish to rotate until the league has decided |
//! | `previous-x25519` | the private sealing key that was in use before | until nothing is sealed to it any more |
//! | `previous-ed25519-public` | the public signing key that was in use before | until what it signed is said anew |
//!
//! [`Keys::changed`] says what a step of a rotation makes of them ([`hansa_operator::rotation`]); each step is one write
//! of the Secret as a whole, based on what was read.

use crate::api_server::call;
use crate::clock::random_bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use hansa_ballot::{PublicKey as VoterKey, Signer};
use hansa_model::MemberName;
use hansa_operator::{ApiRequest, ContentType, KeysChange, Method, PrivateKeys, Rotation};
use kube::Client;
use serde_json::{Map, Value, json};
use std::fmt;
use x25519_dalek::{PublicKey, StaticSecret};

/// The name of the Secret.
pub const SECRET: &str = "hansa-operator-keys";

/// A pair of keys.
#[derive(Clone)]
pub struct Pair {
    /// Signs what the operator writes.
    pub signing: SigningKey,
    /// Opens what is sealed to the member.
    pub sealing: StaticSecret,
}

/// An operator's keys.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The pair in use.
    pub in_use: Pair,
    /// Another one, while they are rotated.
    pub beside: Option<Beside>,
}

/// What stands beside the pair in use.
#[derive(Clone)]
pub enum Beside {
    /// The next pair.
    Next(Box<Pair>),
    /// What is left of the previous one.
    Previous {
        /// Its public signing key.
        signing: Option<VoterKey>,
        /// Its private sealing key.
        sealing: StaticSecret,
    },
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({})", self.public().join(", "))
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Beside::Next(pair) => write!(f, "Next({pair:?})"),
            Beside::Previous { sealing, .. } => write!(f, "Previous({})", sealing_text(sealing)),
        }
    }
}

fn sealing_text(sealing: &StaticSecret) -> String {
    format!("x25519:{}", STANDARD.encode(PublicKey::from(sealing).as_bytes()))
}

impl Pair {
    /// New keys from the operating system's randomness.
    pub fn generate() -> Self {
        Pair { signing: SigningKey::from_bytes(&random_bytes()), sealing: StaticSecret::from(random_bytes()) }
    }

    /// The public halves, as they stand in a spec's `publicKeys`.
    pub fn public(&self) -> Vec<String> {
        let signing = format!("ed25519:{}", STANDARD.encode(self.signing.verifying_key().as_bytes()));
        vec![signing, sealing_text(&self.sealing)]
    }

    /// What signs the member's word with this pair.
    pub fn signer(&self, member: MemberName) -> Signer {
        Signer::new(member, self.signing.to_bytes())
    }

    /// The signing key, as ballots name it.
    fn voter_key(&self) -> VoterKey {
        self.public()[0].parse().expect("a verifying key is a point of the curve")
    }
}

impl Keys {
    /// New keys from the operating system's randomness.
    pub fn generate() -> Self {
        Keys { in_use: Pair::generate(), beside: None }
    }

    /// The private halves that the operator itself uses, with fresh randomness for what it seals.
    pub fn private(&self) -> PrivateKeys {
        let keys = PrivateKeys::new(self.in_use.sealing.to_bytes(), random_bytes());
        match &self.beside {
            None => keys,
            Some(Beside::Next(pair)) => keys.beside(pair.sealing.to_bytes()),
            Some(Beside::Previous { sealing, .. }) => keys.beside(sealing.to_bytes()),
        }
    }

    /// What the operator is to know of the pair beside the one in use.
    pub fn rotation(&self, member: &MemberName) -> Option<Rotation> {
        self.beside.as_ref().map(|beside| match beside {
            Beside::Next(pair) => {
                Rotation::Next { public_keys: pair.public(), signer: pair.signer(member.clone()).into() }
            }
            Beside::Previous { signing, sealing } => {
                Rotation::Previous { signing: *signing, sealing: sealing_text(sealing) }
            }
        })
    }

    /// The keys after a change; `None` when it has happened already, or has no ground.
    ///
    /// # Errors
    /// When the league voted for a key that is not here.
    pub fn changed(&self, change: &KeysChange) -> Result<Option<Self>, String> {
        let Keys { in_use, beside } = self;
        let after = |in_use: &Pair, beside| Ok(Some(Keys { in_use: in_use.clone(), beside }));
        match (change, beside) {
            (KeysChange::Prepare, None) => after(in_use, Some(Beside::Next(Pair::generate().into()))),
            (KeysChange::Promote { key }, Some(Beside::Next(next))) if next.voter_key() == *key => {
                let (signing, sealing) = (Some(in_use.voter_key()), in_use.sealing.clone());
                after(next, Some(Beside::Previous { signing, sealing }))
            }
            (KeysChange::Promote { key }, _) if in_use.voter_key() != *key => Err(format!(
                "Secret {SECRET}: the league voted for the key {key}, which is not in it: restore it, or delete the Secret to make new keys (the member's publicKeys in the spec then have to follow)"
            )),
            (KeysChange::ForgetSigning, Some(Beside::Previous { signing: Some(_), sealing })) => {
                after(in_use, Some(Beside::Previous { signing: None, sealing: sealing.clone() }))
            }
            (KeysChange::ForgetSealing, Some(Beside::Previous { .. })) => after(in_use, None),
            _ => Ok(None),
        }
    }

    /// The fields of the Secret.
    fn data(&self) -> Map<String, Value> {
        let mut data = Map::new();
        let mut put = |field: &str, bytes: &[u8]| data.insert(field.to_owned(), STANDARD.encode(bytes).into());
        put("ed25519", &self.in_use.signing.to_bytes());
        put("x25519", &self.in_use.sealing.to_bytes());
        match &self.beside {
            None => {}
            Some(Beside::Next(pair)) => {
                put("next-ed25519", &pair.signing.to_bytes());
                put("next-x25519", &pair.sealing.to_bytes());
            }
            Some(Beside::Previous { signing, sealing }) => {
                put("previous-x25519", &sealing.to_bytes());
                if let Some(signing) = signing {
                    put("previous-ed25519-public", signing.to_string().as_bytes());
                }
            }
        }
        data
    }

    fn to_secret(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "hansa.dev/operator-keys",
            "metadata": {"name": SECRET, "namespace": namespace},
            "data": self.data(),
        })
    }

    fn from_secret(secret: &Value) -> Result<Self, String> {
        let bytes = |field: &str| secret["data"][field].as_str().and_then(|text| STANDARD.decode(text).ok());
        let key = |field: &str| -> Result<[u8; 32], String> {
            bytes(field).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
                format!(
                    "Secret {SECRET}: data.{field} is not a base64 key of 32 bytes: restore it, or delete the Secret to make new keys (the member's publicKeys in the spec then have to follow)"
                )
            })
        };
        let pair = |signing: &str, sealing: &str| -> Result<Pair, String> {
            Ok(Pair { signing: SigningKey::from_bytes(&key(signing)?), sealing: StaticSecret::from(key(sealing)?) })
        };
        let holds = |field: &str| !secret["data"][field].is_null();
        let beside = if holds("next-ed25519") || holds("next-x25519") {
            Some(Beside::Next(pair("next-ed25519", "next-x25519")?.into()))
        } else if holds("previous-x25519") {
            let field = "previous-ed25519-public";
            let read = |bytes: Vec<u8>| String::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
            let signing = match holds(field) {
                true => Some(bytes(field).and_then(read).ok_or_else(|| {
                    format!("Secret {SECRET}: data.{field} is not a public key: restore it, or take it out")
                })?),
                false => None,
            };
            Some(Beside::Previous { signing, sealing: StaticSecret::from(key("previous-x25519")?) })
        } else {
            None
        };
        Ok(Keys { in_use: pair("ed25519", "x25519")?, beside })
    }
}

fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{SECRET}")
}

/// Makes a change of the keys in the Secret.
///
/// # Errors
/// When the Secret cannot be read or written, somebody else wrote it meanwhile, or it does not hold what is to
/// change. Trying again does no harm.
pub async fn change(client: &Client, namespace: &str, change: &KeysChange) -> Result<(), String> {
    let told = |body: &[u8]| format!("Secret {namespace}/{SECRET}: {}", hansa_operator::feed::message_of(body));
    let found = call(client, &ApiRequest::get(path(namespace))).await?;
    if found.status != 200 {
        return Err(told(&found.body));
    }
    let mut secret: Value = serde_json::from_slice(&found.body).map_err(|error| format!("Secret {SECRET}: {error}"))?;
    let Some(keys) = Keys::from_secret(&secret)?.changed(change)? else { return Ok(()) };
    secret["data"] = keys.data().into();
    // With the resourceVersion that was read.
    let written = call(client, &ApiRequest::write(Method::Put, path(namespace), ContentType::Json, &secret)).await?;
    if written.status < 300 { Ok(()) } else { Err(told(&written.body)) }
}

/// Reads the keys of this cluster's operator, or makes them on its first start.
///
/// # Errors
/// When the Secret cannot be read or written, or does not hold keys.
pub async fn load_or_make(client: &Client, namespace: &str) -> Result<Keys, String> {
    let collection = format!("/api/v1/namespaces/{namespace}/secrets");
    // Twice: the other replica may make them at the same moment.
    for _ in 0..2 {
        let found = call(client, &ApiRequest::get(path(namespace))).await?;
        match found.status {
            200 => {
                let secret =
                    serde_json::from_slice(&found.body).map_err(|error| format!("Secret {SECRET}: {error}"))?;
                return Keys::from_secret(&secret);
            }
            404 => {}
            _ => return Err(format!("Secret {namespace}/{SECRET}: {}", hansa_operator::feed::message_of(&found.body))),
        }
        let keys = Keys::generate();
        let request =
            ApiRequest::write(Method::Post, collection.clone(), ContentType::Json, &keys.to_secret(namespace));
        let made = call(client, &request).await?;
        match made.status {
            200 | 201 => return Ok(keys),
            409 => {}
            _ => {
                return Err(format!(
                    "Secret {namespace}/{SECRET} cannot be made: {}",
                    hansa_operator::feed::message_of(&made.body)
                ));
            }
        }
    }
    Err(format!("Secret {namespace}/{SECRET} is made and deleted at the same time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(keys: &Keys) -> Keys {
        Keys::from_secret(&keys.to_secret("hansa-system")).unwrap()
    }

    fn changed(keys: &Keys, change: &KeysChange) -> Keys {
        let after = keys.changed(change).unwrap().expect("it changes something");
        // Whoever reads the Secret finds the same, and asks for the same once more in vain.
        assert_eq!(stored(&after).data(), after.data());
        assert!(after.changed(change).unwrap().is_none(), "{change:?}");
        after
    }

    #[test]
    fn keys_read_back_and_do_not_show() {
        let keys = changed(&Keys::generate(), &KeysChange::Prepare);
        let Some(Beside::Next(next)) = &keys.beside else { panic!("{keys:?}") };
        let (shown, rotation) = (format!("{keys:?}"), format!("{:?}", keys.rotation(&"a".parse().unwrap())));
        for secret in keys.data().values().filter_map(Value::as_str) {
            assert!(!shown.contains(secret) && !rotation.contains(secret));
        }
        assert!(shown.contains(&keys.in_use.public()[1]) && shown.contains(&next.public()[1]), "{shown}");
        assert_eq!(keys.in_use.public()[1], keys.private().public());
        for (field, value) in [("ed25519", "AA=="), ("next-x25519", "AA=="), ("next-ed25519", "?")] {
            let mut secret = keys.to_secret("hansa-system");
            secret["data"][field] = value.into();
            assert!(Keys::from_secret(&secret).unwrap_err().contains(&format!("data.{field} is not")), "{field}");
        }
    }

    #[test]
    fn a_pair_becomes_the_next_one_and_the_earlier_one_goes_piece_by_piece() {
        let first = Keys::generate();
        for nothing in [KeysChange::ForgetSigning, KeysChange::ForgetSealing] {
            assert!(first.changed(&nothing).unwrap().is_none());
        }
        let both = changed(&first, &KeysChange::Prepare);
        assert_eq!(both.in_use.public(), first.in_use.public());
        let Some(Beside::Next(next)) = &both.beside else { panic!("{both:?}") };
        let strange = KeysChange::Promote { key: Pair::generate().voter_key() };
        assert!(both.changed(&strange).unwrap_err().contains("which is not in it"));

        let promoted = changed(&both, &KeysChange::Promote { key: next.voter_key() });
        assert_eq!(promoted.in_use.public(), next.public());
        let Some(Beside::Previous { signing, sealing }) = &promoted.beside else { panic!("{promoted:?}") };
        assert_eq!(*signing, Some(first.in_use.voter_key()));
        assert_eq!(sealing.to_bytes(), first.in_use.sealing.to_bytes());
        let old = STANDARD.encode(first.in_use.signing.to_bytes());
        assert!(!promoted.data().values().any(|value| *value == old), "the old signing key is gone");
        // A rotation at a time.
        assert!(promoted.changed(&KeysChange::Prepare).unwrap().is_none());

        let said = changed(&promoted, &KeysChange::ForgetSigning);
        assert!(matches!(said.beside, Some(Beside::Previous { signing: None, .. })));
        assert!(changed(&said, &KeysChange::ForgetSealing).beside.is_none());
        assert!(changed(&promoted, &KeysChange::ForgetSealing).beside.is_none());
    }
}
