//! The tables, and every statement on them.
//!
//! `entries` holds the values. `changes` numbers the writes: the number of a key's last write is its
//! version, so a version is used once. Numbers have no gaps (a write that is rolled back takes its
//! number with it), the newest row is never removed, old rows are.

use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

use crate::contract::Entry;

/// Marks a file as ours (`PRAGMA application_id`): "HSTP".
pub(super) const APPLICATION: i32 = 0x4853_5450;
/// The format of the tables (`PRAGMA user_version`).
pub(super) const FORMAT: i32 = 1;

/// Makes the tables in an empty database, for a store whose name is hexadecimal.
pub(super) fn make(connection: &Connection, store: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN;
         PRAGMA application_id = {APPLICATION};
         PRAGMA user_version = {FORMAT};
         CREATE TABLE store (name TEXT NOT NULL);
         CREATE TABLE entries (key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, value BLOB NOT NULL);
         CREATE TABLE changes (number INTEGER PRIMARY KEY, key TEXT NOT NULL);
         INSERT INTO store (name) VALUES ('{store}');
         COMMIT;"
    ))
}

/// The store's name.
pub(super) fn store(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT name FROM store", [], |row| row.get(0))
}

fn version(number: i64) -> Version {
    Version::new(number.to_string())
}

fn versioned(row: &Row<'_>, version_at: usize) -> rusqlite::Result<Versioned> {
    let value: Vec<u8> = row.get(version_at + 1)?;
    Ok(Versioned { version: version(row.get(version_at)?), value: Bytes::from(value) })
}

pub(super) fn get(connection: &Connection, key: &str) -> rusqlite::Result<Option<Versioned>> {
    let mut statement = connection.prepare_cached("SELECT version, value FROM entries WHERE key = ?1")?;
    statement.query_row([key], |row| versioned(row, 0)).optional()
}

pub(super) fn list(connection: &Connection, prefix: &str) -> rusqlite::Result<Vec<Entry>> {
    // The first key behind those with the prefix need not be text; hence the end is found by looking.
    let mut statement =
        connection.prepare_cached("SELECT key, version, value FROM entries WHERE key >= ?1 ORDER BY key")?;
    let mut rows = statement.query([prefix])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break;
        }
        entries.push(Entry { key, versioned: versioned(row, 1)? });
    }
    Ok(entries)
}

/// What [`since`] found.
pub(super) struct History {
    /// The number of the last change.
    pub(super) last: u64,
    /// The keys changed since; `None` when that cannot be told any more.
    pub(super) keys: Option<BTreeMap<String, Version>>,
}

/// What was changed after change number `after`.
pub(super) fn since(connection: &Connection, after: u64) -> rusqlite::Result<History> {
    let snapshot = connection.unchecked_transaction()?;
    let (first, last): (i64, i64) = snapshot
        .prepare_cached(
            "SELECT (SELECT coalesce(min(number), 1) FROM changes),
                    (SELECT coalesce(max(number), 0) FROM changes)",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let known = i64::try_from(after).is_ok_and(|after| first - 1 <= after && after <= last);
    let keys = if known {
        let mut statement =
            snapshot.prepare_cached("SELECT key, number FROM changes WHERE number > ?1 ORDER BY number")?;
        let rows = statement.query_map([after as i64], |row| Ok((row.get(0)?, version(row.get(1)?))));
        Some(rows?.collect::<rusqlite::Result<_>>()?)
    } else {
        None
    };
    Ok(History { last: last.unsigned_abs(), keys })
}

/// One create (`expected` is `None`) or compare-and-swap inside a transaction. `Committed` holds if
/// the transaction does.
pub(super) fn swap(
    transaction: &Connection,
    key: &str,
    expected: Option<&Version>,
    value: &[u8],
) -> rusqlite::Result<Swap> {
    let current: Option<i64> = transaction
        .prepare_cached("SELECT version FROM entries WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    if current.map(version).as_ref() != expected {
        return Ok(Swap::Mismatch { current: get(transaction, key)? });
    }
    transaction.prepare_cached("INSERT INTO changes (key) VALUES (?1)")?.execute([key])?;
    let number = transaction.last_insert_rowid();
    let statement = match current {
        None => "INSERT INTO entries (key, version, value) VALUES (?1, ?2, ?3)",
        Some(_) => "UPDATE entries SET version = ?2, value = ?3 WHERE key = ?1",
    };
    transaction.prepare_cached(statement)?.execute(params![key, number, value])?;
    Ok(Swap::Committed(version(number)))
}

/// Forgets all but the last `kept` changes, when `last` is the number of the last one.
pub(super) fn forget(transaction: &Connection, last: i64, kept: i64) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM changes WHERE number <= ?1")?.execute([last.saturating_sub(kept)])?;
    Ok(())
}

/// SQLite's own count of commits by others, as this connection sees them.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// What SQLite finds wrong with the file as a whole, if anything.
pub(super) fn damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}
