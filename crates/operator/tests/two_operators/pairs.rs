//! What a member's Secret of keys holds.

use hansa_ballot::Signer;
use hansa_model::Hash;
use hansa_operator::{KeysChange, PrivateKeys, Rotation};

/// Pairs of keys, by number: a member's first one is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pairs {
    pub in_use: u64,
    pub next: Option<u64>,
    /// The previous one, and whether its public signing key is kept.
    pub previous: Option<(u64, bool)>,
}

pub fn own(name: &str, salt: u64) -> [u8; 32] {
    *Hash::of_bytes(format!("{name}/{salt}").as_bytes()).as_bytes()
}

impl Pairs {
    pub fn signer(name: &str, pair: u64) -> Signer {
        Signer::new(name.parse().unwrap(), Pairs::private(name, pair)[0])
    }

    pub fn sealing(name: &str, pair: u64) -> [u8; 32] {
        Pairs::private(name, pair)[1]
    }

    /// The public keys of a pair, as a spec lists them.
    pub fn public(name: &str, pair: u64) -> Vec<String> {
        let sealing = PrivateKeys::new(Pairs::sealing(name, pair), [0; 32]);
        vec![Pairs::signer(name, pair).public().to_string(), sealing.public()]
    }

    /// The private halves of a pair.
    pub fn private(name: &str, pair: u64) -> [[u8; 32]; 2] {
        [own(name, 1_000 + 2 * pair), own(name, 1_001 + 2 * pair)]
    }

    pub fn rotation(self, name: &str) -> Option<Rotation> {
        let next =
            |pair| Rotation::Next { public_keys: Pairs::public(name, pair), signer: Pairs::signer(name, pair).into() };
        let previous = |(pair, signs): (u64, bool)| Rotation::Previous {
            signing: signs.then(|| Pairs::signer(name, pair).public()),
            sealing: Pairs::public(name, pair).remove(1),
        };
        self.next.map(next).or(self.previous.map(previous))
    }

    pub fn change(&mut self, change: &KeysChange) {
        match (change, self.next, self.previous) {
            (KeysChange::Prepare, None, None) => self.next = Some(self.in_use + 1),
            (KeysChange::Promote { .. }, Some(next), _) => {
                *self = Pairs { in_use: next, next: None, previous: Some((self.in_use, true)) };
            }
            (KeysChange::ForgetSigning, _, Some((pair, _))) => self.previous = Some((pair, false)),
            (KeysChange::ForgetSealing, ..) => self.previous = None,
            _ => {}
        }
    }
}
