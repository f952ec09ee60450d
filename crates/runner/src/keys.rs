//! The operator's keys: made on its first start, kept in a Secret of its own cluster, never logged.

use crate::api_server::call;
use crate::clock::random_bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use hansa_ballot::Signer;
use hansa_model::MemberName;
use hansa_operator::{ApiRequest, ContentType, Method, PrivateKeys};
use kube::Client;
use serde_json::{Value, json};
use std::fmt;
use x25519_dalek::{PublicKey, StaticSecret};

/// The name of the Secret.
pub const SECRET: &str = "hansa-operator-keys";

/// An operator's keys.
#[derive(Clone)]
pub struct Keys {
    /// Signs what the operator writes.
    pub signing: SigningKey,
    /// Opens what is sealed to the member.
    pub sealing: StaticSecret,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.public().join(", "))
    }
}

impl Keys {
    /// New keys from the operating system's randomness.
    pub fn generate() -> Self {
        Keys { signing: SigningKey::from_bytes(&random_bytes()), sealing: StaticSecret::from(random_bytes()) }
    }

    /// The public halves, as they stand in a spec's `publicKeys`.
    pub fn public(&self) -> Vec<String> {
        vec![
            format!("ed25519:{}", STANDARD.encode(self.signing.verifying_key().as_bytes())),
            format!("x25519:{}", STANDARD.encode(PublicKey::from(&self.sealing).as_bytes())),
        ]
    }

    /// The private halves that the operator itself uses, with fresh randomness for what it seals.
    pub fn private(&self) -> PrivateKeys {
        PrivateKeys::new(self.sealing.to_bytes(), random_bytes())
    }

    /// What signs this member's word in ballots.
    pub fn signer(&self, member: MemberName) -> Signer {
        Signer::new(member, self.signing.to_bytes())
    }

    fn to_secret(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "hansa.dev/operator-keys",
            "metadata": {"name": SECRET, "namespace": namespace},
            "data": {
                "ed25519": STANDARD.encode(self.signing.to_bytes()),
                "x25519": STANDARD.encode(self.sealing.to_bytes()),
            },
        })
    }

    fn from_secret(secret: &Value) -> Result<Self, String> {
        let key = |field: &str| -> Result<[u8; 32], String> {
            let wrong = || {
                format!(
                    "Secret {SECRET}: data.{field} is not a base64 key of 32 bytes: restore it, or delete the Secret to make new keys (the member's publicKeys in the spec then have to follow)"
                )
            };
            let text = secret["data"][field].as_str().ok_or_else(wrong)?;
            STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)
        };
        Ok(Keys { signing: SigningKey::from_bytes(&key("ed25519")?), sealing: StaticSecret::from(key("x25519")?) })
    }
}

/// Reads the keys of this cluster's operator, or makes them on its first start.
///
/// # Errors
/// When the Secret cannot be read or written, or does not hold keys.
pub async fn load_or_make(client: &Client, namespace: &str) -> Result<Keys, String> {
    let collection = format!("/api/v1/namespaces/{namespace}/secrets");
    // Twice: the other replica may make them at the same moment.
    for _ in 0..2 {
        let found = call(client, &ApiRequest::get(format!("{collection}/{SECRET}"))).await?;
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

    #[test]
    fn keys_read_back_and_do_not_show() {
        let keys = Keys::generate();
        let again = Keys::from_secret(&keys.to_secret("hansa-system")).unwrap();
        assert_eq!(again.public(), keys.public());
        let secret = STANDARD.encode(keys.signing.to_bytes());
        assert!(!format!("{keys:?}").contains(&secret));
        assert_eq!(keys.public()[1], keys.private().public());
        assert!(Keys::from_secret(&json!({"data": {"ed25519": "AA=="}})).unwrap_err().contains("data.ed25519"));
    }
}
