//! The data file: one SQLite database that holds the latest state of every object, who wrote
//! what, and what makes a restarted server the same for its clients.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::certificates::{Authority, Known};
use crate::core::audit::{Audit, UserRecord, Write};
use crate::core::{Record, Snapshot};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS objects (
        resource TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (resource, key)
    );
    CREATE TABLE IF NOT EXISTS counts (
        user TEXT NOT NULL, verb TEXT NOT NULL, resource TEXT NOT NULL, requests INTEGER NOT NULL, changes INTEGER NOT NULL,
        PRIMARY KEY (user, verb, resource)
    );
    CREATE TABLE IF NOT EXISTS writes (number INTEGER PRIMARY KEY, user TEXT NOT NULL, entry TEXT NOT NULL);
";

/// How many write requests are kept when the file is opened.
const KEPT_WRITES: i64 = 5000;

/// The format of the file, for readers to come.
const FORMAT: &str = "1";

/// Why a file cannot be opened.
#[derive(Debug)]
pub enum Fault {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// Its pages do not fit together; SQLite's words.
    Pages(String),
    /// Another format than [`FORMAT`].
    Format(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sqlite(error)
    }
}

/// An open data file.
pub struct DataFile {
    connection: Connection,
}

/// What a file remembers.
#[derive(Default)]
pub struct Memory {
    /// The objects and the audit record.
    pub snapshot: Snapshot,
    /// The certificate authority that clients know.
    pub authority: Option<Known>,
    /// The token of `admin`.
    pub admin_token: Option<String>,
    /// The port that clients know.
    pub port: Option<u16>,
}

impl DataFile {
    /// Opens or makes the file, for this process alone.
    ///
    /// # Errors
    ///
    /// When the file is in use, damaged, or of a newer format.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // A folder that cannot be made shows when the file is opened.
            let _ = std::fs::create_dir_all(folder);
        }
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // What a crash left half-written at the end of the log, SQLite drops: nobody was told of it.
        // Anything else that is not whole must show now, not as an object that is silently missing.
        let fault: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if fault != "ok" {
            return Err(Fault::Pages(fault));
        }
        connection.execute_batch(SCHEMA)?;
        let oldest: i64 = connection.query_row("SELECT COALESCE(MAX(number), 0) FROM writes", [], |row| row.get(0))?;
        connection.execute("DELETE FROM writes WHERE number <= ?", [oldest - KEPT_WRITES])?;
        let file = DataFile { connection };
        match file.meta("format")? {
            Some(format) if format != FORMAT => Err(Fault::Format(format)),
            _ => Ok(file),
        }
    }

    fn meta(&self, name: &str) -> rusqlite::Result<Option<String>> {
        self.connection.query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0)).optional()
    }

    /// Reads everything.
    pub fn memory(&self) -> rusqlite::Result<Memory> {
        let authority = match (self.meta("authority")?, self.meta("authority-key")?) {
            (Some(pem), Some(key)) => Some(Known { pem, key }),
            _ => None,
        };
        let mut statement =
            self.connection.prepare("SELECT resource, revision, version, body FROM objects ORDER BY resource, key")?;
        let rows = statement.query_map([], |row| {
            let resource: String = row.get(0)?;
            let body: Vec<u8> = row.get(3)?;
            let number = |index: usize| row.get::<_, i64>(index).map(|n| u64::try_from(n).unwrap_or(0));
            Ok((resource.into(), number(1)?, number(2)?, body.into()))
        })?;
        let snapshot = Snapshot {
            objects: rows.collect::<rusqlite::Result<_>>()?,
            version: self.meta("version")?.and_then(|text| text.parse().ok()).unwrap_or(0),
            audit: self.audit()?,
        };
        let port = self.meta("port")?.and_then(|text| text.parse().ok());
        Ok(Memory { snapshot, authority, admin_token: self.meta("admin-token")?, port })
    }

    fn audit(&self) -> rusqlite::Result<Audit> {
        let mut audit = Audit::default();
        let mut statement = self.connection.prepare("SELECT user, verb, resource, requests, changes FROM counts")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (user, verb, resource): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let record: &mut UserRecord = audit.users.entry(user).or_default();
            let (requests, changes): (i64, i64) = (row.get(3)?, row.get(4)?);
            for (counts, number) in [(&mut record.requests, requests), (&mut record.changes, changes)] {
                if let Some(number) = u64::try_from(number).ok().filter(|number| *number > 0) {
                    counts.entry(verb.clone()).or_default().insert(resource.clone(), number);
                }
            }
        }
        let mut statement = self.connection.prepare("SELECT user, entry FROM writes ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (user, entry): (String, String) = (row.get(0)?, row.get(1)?);
            // An entry of another release that reads otherwise is left out of the recent ones;
            // the counts have it.
            if let Ok(write) = serde_json::from_str::<Write>(&entry) {
                audit.users.entry(user).or_default().recent.push_back(write);
            }
        }
        Ok(audit)
    }

    /// Keeps what makes a restarted server the same for its clients.
    pub fn remember(&self, authority: &Authority, admin_token: &str, port: u16) -> rusqlite::Result<()> {
        let port = port.to_string();
        for (name, value) in [
            ("format", FORMAT),
            ("authority", authority.pem.as_str()),
            ("authority-key", authority.key.as_str()),
            ("admin-token", admin_token),
            ("port", port.as_str()),
        ] {
            set_meta(&self.connection, name, value)?;
        }
        Ok(())
    }

    /// The token of a user as it was before.
    pub fn token(&self, user: &str) -> rusqlite::Result<Option<String>> {
        self.meta(&format!("token/{user}"))
    }

    /// Keeps a user's token: clients that have it go on with it.
    pub fn remember_token(&self, user: &str, token: &str) -> rusqlite::Result<()> {
        set_meta(&self.connection, &format!("token/{user}"), token)
    }

    /// Writes records in one transaction, with one `fsync`.
    pub fn write(&mut self, records: &[Record]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let mut latest = 0;
        for record in records {
            match record {
                Record::Put { resource, key, version, revision, body } => {
                    latest = latest.max(*version);
                    let (version, revision) = (sql(*version), sql(*revision));
                    transaction
                        .prepare_cached(
                            "INSERT INTO objects (resource, key, version, revision, body) VALUES (?, ?, ?, ?, ?)
                             ON CONFLICT (resource, key) DO UPDATE SET version = excluded.version,
                             revision = excluded.revision, body = excluded.body",
                        )?
                        .execute(params![&**resource, key, version, revision, &body[..]])?;
                }
                Record::Remove { resource, key, version } => {
                    latest = latest.max(*version);
                    transaction
                        .prepare_cached("DELETE FROM objects WHERE resource = ? AND key = ?")?
                        .execute(params![&**resource, key])?;
                }
                Record::Write(write) => {
                    transaction
                        .prepare_cached(
                            "INSERT INTO counts (user, verb, resource, requests, changes) VALUES (?, ?, ?, 1, ?)
                             ON CONFLICT (user, verb, resource) DO UPDATE SET requests = requests + 1,
                             changes = changes + excluded.changes",
                        )?
                        .execute(params![write.user, write.verb, write.resource, i64::from(write.changed)])?;
                    let entry = serde_json::to_string(write).unwrap_or_default();
                    transaction
                        .prepare_cached("INSERT INTO writes (user, entry) VALUES (?, ?)")?
                        .execute(params![write.user, entry])?;
                }
            }
        }
        if latest > 0 {
            set_meta(&transaction, "version", &latest.to_string())?;
        }
        transaction.commit()
    }
}

fn set_meta(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute([name, value])
        .map(drop)
}

fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
