//! Under which keys a store holds what.

use hansa_model::Hash;

/// The store's own name.
pub(super) const STORE: &str = "/q/store";
/// The key of the register that holds the set of stores.
pub(super) const SET: &str = hansa_ledger::register::SET_KEY;

const SET_COPY: &str = "/q/set";
const REGISTERS: &str = "/r";
/// What the keys of all copies of callers' registers begin with.
pub(super) const COPIES: &str = "/r/";
/// Keys up to this length are kept as they are. Shortened ones are longer, so that the two are
/// never alike.
const PLAIN_BYTES: usize = 440;

/// Where a store holds its copy of a register.
pub(super) fn copy(key: &str) -> String {
    if key == SET {
        return SET_COPY.to_owned();
    }
    if key.len() <= PLAIN_BYTES {
        return format!("{REGISTERS}{key}");
    }
    let hash = Hash::of_bytes(key.as_bytes());
    format!("{REGISTERS}{}~{hash}", head(key))
}

/// What the keys of all copies begin with of which the register's key begins with `prefix`.
pub(super) fn copies(prefix: &str) -> String {
    format!("{REGISTERS}{}", head(prefix))
}

/// Whether a store's key is that of a copy of a caller's register.
pub(super) fn is_copy(key: &str) -> bool {
    key.starts_with(COPIES)
}

/// Whether a store's key is that of the copy of the set.
pub(super) fn is_set(key: &str) -> bool {
    key == SET_COPY
}

/// The register's key, where the store's key tells it.
pub(super) fn register(copy: &str) -> Option<&str> {
    copy.strip_prefix(REGISTERS).filter(|key| key.len() <= PLAIN_BYTES)
}

pub(super) fn blob(hash: &Hash) -> String {
    format!("/b/{hash}")
}

fn head(key: &str) -> &str {
    &key[..key.floor_char_boundary(PLAIN_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_KEY_BYTES;

    #[test]
    fn every_key_has_a_place_of_its_own() {
        let longest = format!("/{}", "k".repeat(MAX_KEY_BYTES - 1));
        let wide = format!("/{}", "\u{10ffff}".repeat(127));
        let neighbour = format!("/{}l", "k".repeat(MAX_KEY_BYTES - 2));
        for key in [&longest, &wide, &neighbour] {
            let place = copy(key);
            assert!(place.len() <= MAX_KEY_BYTES && place.starts_with(&copies(key)), "{place}");
            assert_eq!(register(&place), None);
            assert!(is_copy(&place));
            // A plain key that looks like a shortened one is itself too long to be plain.
            assert_ne!(copy(&place[2..]), place);
        }
        assert_ne!(copy(&longest), copy(&neighbour));
        assert_eq!(register(&copy("/v1/control")), Some("/v1/control"));
        assert!(!is_copy(&copy(SET)) && !is_copy(STORE) && !is_copy(&blob(&Hash::of_bytes(b"x"))));
    }
}
