//! How a key becomes the name of an object, and back.
//!
//! A name must be one that every object store, every proxy before it and every file system below it
//! keeps as it is, and no name may stand in the way of another one (below some stores a name is a
//! file's path, and `a` as a file excludes `a/b`). So letters, digits, `-` and `/` stand for
//! themselves, any other byte is `_` and two hexadecimal digits, a segment that grows beyond
//! [`SEGMENT`] goes on after `_/`, and every name ends in `!`, which no folder's name does.
//!
//! What a key begins with, its name begins with too, so that a list by prefix works.

use crate::key::is_plain;

/// The longest part between two slashes: file systems take 255 bytes, and stores on them may add some
/// of their own.
const SEGMENT: usize = 200;

/// Ends the name of a key.
const END: char = '!';

/// What the names of all keys that begin with `prefix` begin with. The first slash is left out.
pub(super) fn beginning(prefix: &str) -> String {
    let mut name = String::with_capacity(prefix.len() + 8);
    let mut segment = 0;
    for byte in prefix.bytes().skip(1) {
        let width = if is_plain(byte) { 1 } else { 3 };
        if byte == b'/' {
            segment = 0;
        } else if segment + width > SEGMENT {
            name.push_str("_/");
            segment = width;
        } else {
            segment += width;
        }
        if is_plain(byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("_{byte:02X}"));
        }
    }
    name
}

/// The name of a key.
pub(super) fn of_key(key: &str) -> String {
    let mut name = beginning(key);
    name.push(END);
    name
}

/// The key that has this name; `None` when no key has it.
pub(super) fn to_key(name: &str) -> Option<String> {
    let mut rest = name.strip_suffix(END)?.as_bytes();
    let mut key = vec![b'/'];
    loop {
        match rest {
            [] => break,
            [b'_', b'/', tail @ ..] => rest = tail,
            [b'_', high, low, tail @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                key.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
                rest = tail;
            }
            [byte, tail @ ..] if is_plain(*byte) => {
                key.push(*byte);
                rest = tail;
            }
            _ => return None,
        }
    }
    let key = String::from_utf8(key).ok()?;
    // One name a key: any other spelling is a stranger's.
    (of_key(&key) == name).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{MAX_KEY_BYTES, MAX_NAME_BYTES, check_key};
    use proptest::prelude::*;

    #[test]
    fn names_are_readable_and_safe() {
        let cases = [
            ("/v1/control", "v1/control!"),
            ("/v1/pages/7", "v1/pages/7!"),
            ("/v1/types/deployments.apps", "v1/types/deployments_2Eapps!"),
            ("/a_b!/ü", "a_5Fb_21/_C3_BC!"),
        ];
        for (key, name) in cases {
            assert_eq!(of_key(key), name);
            assert_eq!(to_key(name).as_deref(), Some(key));
        }
        for stranger in ["v1/control", "!", "v1//x!", "_41!", "_5f!", "a_", "_!", "ü!", "a_/b!"] {
            let key = to_key(stranger);
            assert!(key.as_deref().is_none_or(|key| check_key("s3", key).is_err()), "{stranger} is {key:?}");
        }
    }

    #[test]
    fn long_segments_are_broken() {
        let key = format!("/{}", "k".repeat(MAX_KEY_BYTES - 1));
        let name = of_key(&key);
        assert!(name.split('/').all(|segment| segment.len() <= SEGMENT + 2), "{name}");
        assert_eq!(to_key(&name), Some(key));
    }

    proptest! {
        #[test]
        fn every_key_has_one_name_and_prefixes_stay(key in "(/[a-zé.\u{10ffff}_!-]{1,90}){1,5}", cut in 0..400_usize) {
            prop_assume!(check_key("s3", &key).is_ok());
            let name = of_key(&key);
            prop_assert_eq!(to_key(&name), Some(key.clone()));
            prop_assert!(name.len() <= MAX_NAME_BYTES + 10);
            prop_assert!(name.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
            let cut = (0..=cut.min(key.len())).rev().find(|at| key.is_char_boundary(*at)).unwrap_or(0);
            prop_assert!(name.starts_with(&beginning(&key[..cut])));
        }
    }
}
