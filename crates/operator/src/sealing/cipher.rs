//! The cryptography of sealed templates, as functions of their inputs.
//!
//! - A body is packed, then encrypted with ChaCha20-Poly1305 (RFC 8439) under a key that encrypts
//!   nothing else, hence with a nonce of zeros. Its associated data name the league, the record and the
//!   life: it cannot be moved.
//! - The key is wrapped for a member as in ECIES: X25519 (RFC 7748) between a fresh ephemeral key and
//!   the member's static one, a key derived from the shared secret and both public keys (BLAKE3's
//!   derive_key), ChaCha20-Poly1305 over the body's key, bound to the same place and to the recipient.
//! - The digest is BLAKE3, keyed with a key derived from the body's. It is checked after opening, for
//!   ChaCha20-Poly1305 alone does not bind a ciphertext to one key (Len, Grubbs and Ristenpart, 2021).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hansa_ledger::envelope::{pack, unpack};
use hansa_ledger::seal::Wrap;
use hansa_model::{Hash, Incarnation, LeagueId, MemberName, RecordKey};
use std::fmt;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

const BODY_CONTEXT: &str = "hansa.dev 2026-11-22 body of a sealed template";
const DIGEST_CONTEXT: &str = "hansa.dev 2026-11-22 digest of a sealed template";
const WRAP_CONTEXT: &str = "hansa.dev 2026-11-22 wrap of a sealed template's key";
const MEMORY_CONTEXT: &str = "hansa.dev 2026-11-22 what a member remembers of secrets";
const FRESH_CONTEXT: &str = "hansa.dev 2026-11-22 fresh keys of an operator";

/// How a public key is written in a spec's `publicKeys`.
const X25519_PREFIX: &str = "x25519:";

/// The private half of an operator's keys. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct PrivateKeys {
    sealing: StaticSecret,
    /// Opens what is sealed to the member's other pair, during a rotation.
    beside: Option<StaticSecret>,
    seed: Zeroizing<[u8; 32]>,
}

impl PrivateKeys {
    /// `sealing` opens what is sealed to the member (X25519). `seed` is fresh randomness of this start
    /// of the process, from the operating system: what keys are made from, together with a counter
    /// and the entropy of the step.
    pub fn new(sealing: [u8; 32], seed: [u8; 32]) -> Self {
        PrivateKeys { sealing: StaticSecret::from(sealing), beside: None, seed: Zeroizing::new(seed) }
    }

    /// The same, and what is sealed to this key opens, too.
    #[must_use]
    pub fn beside(self, sealing: [u8; 32]) -> Self {
        PrivateKeys { beside: Some(StaticSecret::from(sealing)), ..self }
    }

    /// The private half that a wrap was made for; the one in use where it is none of these.
    fn opening(&self, wrap: &Wrap) -> &StaticSecret {
        let fits = |key: &&StaticSecret| fingerprint(&PublicKey::from(*key)) == wrap.to;
        self.beside.iter().find(fits).unwrap_or(&self.sealing)
    }

    /// Whether a wrap was made for one of these keys.
    pub(crate) fn are_meant_by(&self, wrap: &Wrap) -> bool {
        fingerprint(&PublicKey::from(self.opening(wrap))) == wrap.to
    }

    /// The public half, as it stands in a spec's `publicKeys`.
    pub fn public(&self) -> String {
        format!("{X25519_PREFIX}{}", STANDARD.encode(PublicKey::from(&self.sealing).as_bytes()))
    }

    /// A key that no other call gives: the counter differs within a process, the seed and the
    /// incarnation between processes, the entropy between two copies of one process's memory.
    pub(crate) fn fresh(&self, incarnation: Incarnation, counter: u64, entropy: u64) -> Zeroizing<[u8; 32]> {
        let mut input = Zeroizing::new(Vec::with_capacity(56));
        input.extend_from_slice(&*self.seed);
        for number in [incarnation.0, counter, entropy] {
            input.extend_from_slice(&number.to_le_bytes());
        }
        Zeroizing::new(blake3::derive_key(FRESH_CONTEXT, &input))
    }

    /// A digest that only this member can compute: what it remembers in the topology server about
    /// contents that nobody else may guess at.
    pub(crate) fn remembered(&self, bytes: &[u8]) -> Hash {
        let key = Zeroizing::new(blake3::derive_key(MEMORY_CONTEXT, self.sealing.as_bytes()));
        Hash::keyed(&key, bytes)
    }
}

impl fmt::Debug for PrivateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeys(…)")
    }
}

/// What a sealed body is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub league: LeagueId,
    pub key: &'a RecordKey,
    pub incarnation: Incarnation,
}

impl Place<'_> {
    // None of the parts can hold a line break, so no two places are written alike.
    fn associated_data(&self, what: &str) -> Vec<u8> {
        format!("hansa.dev/sealed/1\n{}\n{}\n{}\n{what}", self.league, self.key, self.incarnation).into_bytes()
    }
}

/// Why something that was sealed does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unopened {
    /// The bytes are not what they should be.
    #[error("it is damaged")]
    Damaged,
    /// The key, or what it is bound to, is another one.
    #[error("it was sealed for another key, object or league, or was tampered with")]
    Refused,
}

/// The key of one body.
#[derive(Clone)]
pub(crate) struct BodyKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for BodyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyKey(…)")
    }
}

impl BodyKey {
    /// A key of fresh bytes.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        BodyKey(bytes)
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        let key = Zeroizing::new(blake3::derive_key(BODY_CONTEXT, &*self.0));
        ChaCha20Poly1305::new((&*key).into())
    }

    /// The digest of a plaintext under this key.
    pub fn digest(&self, plaintext: &[u8]) -> Hash {
        let key = Zeroizing::new(blake3::derive_key(DIGEST_CONTEXT, &*self.0));
        Hash::keyed(&key, plaintext)
    }

    /// Encrypts the one body of this key.
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8]) -> Vec<u8> {
        let packed = Zeroizing::new(pack(plaintext));
        let payload = Payload { msg: &packed, aad: &place.associated_data("body") };
        self.cipher().encrypt(&Nonce::default(), payload).expect("a body is far below the cipher's limit of 256 GiB")
    }

    /// Opens the body of this key.
    pub fn open(&self, place: Place<'_>, digest: Hash, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let payload = Payload { msg: body, aad: &place.associated_data("body") };
        let packed = self.cipher().decrypt(&Nonce::default(), payload).map_err(|_| Unopened::Refused)?;
        let plaintext = Zeroizing::new(unpack(&Zeroizing::new(packed)).map_err(|_| Unopened::Damaged)?);
        if self.digest(&plaintext) == digest { Ok(plaintext) } else { Err(Unopened::Refused) }
    }

    /// Wraps this key for a member. `ephemeral` is used for this wrap alone.
    pub fn wrap(
        &self,
        place: Place<'_>,
        member: &MemberName,
        to: &PublicKey,
        ephemeral: &Zeroizing<[u8; 32]>,
    ) -> Result<Wrap, Unopened> {
        let ephemeral = StaticSecret::from(**ephemeral);
        let public = PublicKey::from(&ephemeral);
        let cipher = wrapping_cipher(&ephemeral, to, &public, to)?;
        let aad = place.associated_data(&format!("key for {member}"));
        let wrapped = cipher
            .encrypt(&Nonce::default(), Payload { msg: &*self.0, aad: &aad })
            .expect("32 bytes are below the cipher's limit");
        let mut bytes = public.as_bytes().to_vec();
        bytes.extend_from_slice(&wrapped);
        Ok(Wrap { to: fingerprint(to), key: STANDARD.encode(bytes) })
    }

    /// Opens a wrap with the member's own key.
    pub fn unwrap(keys: &PrivateKeys, place: Place<'_>, member: &MemberName, wrap: &Wrap) -> Result<Self, Unopened> {
        let bytes = STANDARD.decode(&wrap.key).map_err(|_| Unopened::Damaged)?;
        let (public, wrapped) = bytes.split_first_chunk::<32>().ok_or(Unopened::Damaged)?;
        let public = PublicKey::from(*public);
        let own = keys.opening(wrap);
        let cipher = wrapping_cipher(own, &public, &public, &PublicKey::from(own))?;
        let aad = place.associated_data(&format!("key for {member}"));
        let opened = cipher
            .decrypt(&Nonce::default(), Payload { msg: wrapped, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| Unopened::Refused)?;
        let key = opened.as_slice().try_into().map_err(|_| Unopened::Damaged)?;
        Ok(BodyKey(Zeroizing::new(key)))
    }
}

/// The cipher between a private and a public key; the same from both sides.
fn wrapping_cipher(
    private: &StaticSecret,
    other: &PublicKey,
    ephemeral: &PublicKey,
    recipient: &PublicKey,
) -> Result<ChaCha20Poly1305, Unopened> {
    let shared = private.diffie_hellman(other);
    // A public key of low order would make the secret known to all.
    if !shared.was_contributory() {
        return Err(Unopened::Refused);
    }
    let mut input = Zeroizing::new(shared.to_bytes().to_vec());
    input.extend_from_slice(ephemeral.as_bytes());
    input.extend_from_slice(recipient.as_bytes());
    let key = Zeroizing::new(blake3::derive_key(WRAP_CONTEXT, &input));
    Ok(ChaCha20Poly1305::new((&*key).into()))
}

/// The X25519 key among a member's public keys, as text and as key; `None` when there is none that reads. Of
/// two, the last: during a rotation the next pair is listed after the one in use, and its member has both.
pub(crate) fn sealing_key(public_keys: &[String]) -> Option<(&str, PublicKey)> {
    public_keys.iter().rev().find_map(|text| {
        let bytes: [u8; 32] = STANDARD.decode(text.strip_prefix(X25519_PREFIX)?).ok()?.try_into().ok()?;
        Some((text.as_str(), PublicKey::from(bytes)))
    })
}

/// What stands in a wrap for the key that it was made for.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    Hash::of_bytes(key.as_bytes()).short()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(seed: u8) -> PrivateKeys {
        PrivateKeys::new([seed; 32], [seed ^ 0x5a; 32])
    }

    fn public(keys: &PrivateKeys) -> PublicKey {
        sealing_key(&[keys.public()]).unwrap().1
    }

    fn member(name: &str) -> MemberName {
        name.parse().unwrap()
    }

    fn record(name: &str) -> RecordKey {
        format!("secrets/shop/{name}").parse().unwrap()
    }

    fn league(text: &str) -> LeagueId {
        LeagueId(Hash::of_bytes(text.as_bytes()))
    }

    fn fresh(n: u64) -> Zeroizing<[u8; 32]> {
        keys(9).fresh(Incarnation(1), n, 0)
    }

    fn place(key: &RecordKey) -> Place<'_> {
        Place { league: league("l"), key, incarnation: Incarnation(4) }
    }

    #[test]
    fn a_member_opens_what_is_sealed_to_either_of_its_pairs() {
        let (league, key) = (LeagueId(Hash::of_bytes(b"league")), "secrets/shop/db".parse().unwrap());
        let place = Place { league, key: &key, incarnation: Incarnation(1) };
        let member: MemberName = "a".parse().unwrap();
        let body_key = BodyKey::new(Zeroizing::new([9; 32]));
        let wrap_for = |seed: u8| {
            let to = sealing_key(&[keys(seed).public()]).unwrap().1;
            body_key.wrap(place, &member, &to, &Zeroizing::new([7; 32])).unwrap()
        };
        let both = keys(1).beside([2; 32]);
        assert_eq!(both.public(), keys(1).public());
        for seed in [1, 2] {
            assert!(both.are_meant_by(&wrap_for(seed)));
            assert_eq!(*BodyKey::unwrap(&both, place, &member, &wrap_for(seed)).unwrap().0, [9; 32]);
        }
        assert!(!both.are_meant_by(&wrap_for(3)));
        assert_eq!(BodyKey::unwrap(&both, place, &member, &wrap_for(3)).err(), Some(Unopened::Refused));
        // Of two that are listed, the later one is sealed to.
        let listed = [keys(1).public(), "ed25519:AAAA".into(), keys(2).public()];
        assert_eq!(sealing_key(&listed).unwrap().0, listed[2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_recipient_opens_what_was_sealed_and_nobody_else_does(
            plaintext in prop::collection::vec(any::<u8>(), 0..3000), seed in 1u8..120,
        ) {
            let (key, recipient, stranger) = (record("db"), keys(seed), keys(seed + 120));
            let body_key = BodyKey::new(fresh(u64::from(seed)));
            let body = body_key.seal(place(&key), &plaintext);
            let digest = body_key.digest(&plaintext);
            let wrap = body_key.wrap(place(&key), &member("a"), &public(&recipient), &fresh(1000)).unwrap();
            let opened = BodyKey::unwrap(&recipient, place(&key), &member("a"), &wrap).unwrap();
            prop_assert_eq!(&*opened.open(place(&key), digest, &body).unwrap(), &plaintext);
            prop_assert!(BodyKey::unwrap(&stranger, place(&key), &member("a"), &wrap).is_err());
            // A wrap is of no use under another member's name, either.
            prop_assert!(BodyKey::unwrap(&recipient, place(&key), &member("b"), &wrap).is_err());
        }

        #[test]
        fn whatever_byte_is_changed_nothing_opens(at in 0usize..1000, flip in 1u8..=255) {
            let key = record("db");
            let body_key = BodyKey::new(fresh(1));
            let mut body = body_key.seal(place(&key), b"the plaintext of the Secret");
            let digest = body_key.digest(b"the plaintext of the Secret");
            let length = body.len();
            body[at % length] ^= flip;
            prop_assert!(body_key.open(place(&key), digest, &body).is_err());
            let wrap = body_key.wrap(place(&key), &member("a"), &public(&keys(1)), &fresh(2)).unwrap();
            let mut bytes = STANDARD.decode(&wrap.key).unwrap();
            let length = bytes.len();
            bytes[at % length] ^= flip;
            // Bit 255 of a point is ignored (RFC 7748, 5), so the derived key has to notice it.
            let tampered = Wrap { key: STANDARD.encode(bytes), ..wrap };
            prop_assert!(BodyKey::unwrap(&keys(1), place(&key), &member("a"), &tampered).is_err());
        }
    }

    #[test]
    fn a_body_opens_in_its_own_place_alone() {
        let (db, other) = (record("db"), record("other"));
        let body_key = BodyKey::new(fresh(1));
        let sealed_at = place(&db);
        let (body, digest) = (body_key.seal(sealed_at, b"text"), body_key.digest(b"text"));
        let wrap = body_key.wrap(sealed_at, &member("a"), &public(&keys(1)), &fresh(2)).unwrap();
        for elsewhere in [
            Place { key: &other, ..sealed_at },
            Place { league: league("another"), ..sealed_at },
            Place { incarnation: Incarnation(5), ..sealed_at },
        ] {
            assert_eq!(body_key.open(elsewhere, digest, &body).unwrap_err(), Unopened::Refused);
            assert!(BodyKey::unwrap(&keys(1), elsewhere, &member("a"), &wrap).is_err());
        }
        assert!(body_key.open(sealed_at, digest, &body).is_ok());
        assert!(body_key.open(sealed_at, body_key.digest(b"else"), &body).is_err());
    }

    #[test]
    fn a_public_key_of_low_order_is_refused() {
        let zero = PublicKey::from([0; 32]);
        assert!(BodyKey::new(fresh(1)).wrap(place(&record("db")), &member("a"), &zero, &fresh(2)).is_err());
    }

    #[test]
    fn fresh_keys_differ_and_digests_are_keyed() {
        let keys = keys(3);
        let all = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)];
        let drawn: std::collections::BTreeSet<[u8; 32]> = all
            .iter()
            .map(|(incarnation, counter, entropy)| *keys.fresh(Incarnation(*incarnation), *counter, *entropy))
            .collect();
        assert_eq!(drawn.len(), all.len());
        let (one, two) = (BodyKey::new(fresh(1)), BodyKey::new(fresh(2)));
        assert_ne!(one.digest(b"hunter2"), two.digest(b"hunter2"));
        assert_ne!(one.digest(b"hunter2"), Hash::of_bytes(b"hunter2"));
        assert_ne!(keys.remembered(b"hunter2"), super::tests::keys(4).remembered(b"hunter2"));
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = PrivateKeys::new([0xab; 32], [0xcd; 32]);
        let shown = format!("{keys:?} {:?}", BodyKey::new(Zeroizing::new([0xef; 32])));
        assert_eq!(shown, "PrivateKeys(…) BodyKey(…)");
    }

    #[test]
    fn what_is_no_key_is_not_taken_for_one() {
        assert!(sealing_key(&["ed25519:AAAA".into(), "x25519:AAAA".into(), "x25519:?".into()]).is_none());
    }
}
