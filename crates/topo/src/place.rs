//! How backends write their cursors: which store, and how far into its history.

use crate::contract::Cursor;

/// The text of a cursor: the store's own name, then a position in its history.
pub(crate) fn write(store: &str, position: u64) -> Cursor {
    Cursor::new(format!("{store}:{position}"))
}

/// The position, when `cursor` is one of `store`'s; `None` for any other text.
pub(crate) fn read(cursor: &Cursor, store: &str) -> Option<u64> {
    let (name, position) = cursor.as_str().rsplit_once(':')?;
    if name == store { position.parse().ok() } else { None }
}

/// A name for a new store that no other store has.
pub(crate) fn new_store_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
