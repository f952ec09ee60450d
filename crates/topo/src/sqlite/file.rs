//! The file itself: making it, opening it, knowing it again, and never writing over what is not ours.

use super::{NAME, table};
use crate::error::{Category, TopoError};
use crate::place;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which file it is, whatever its name: device and inode.
pub(super) type Identity = (u64, u64);

/// The identity of the file at `path` now.
pub(super) fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn refused(category: Category, path: &Path, message: &str) -> TopoError {
    TopoError::new(category, NAME, format!("file {}: {message}", path.display()))
}

/// Makes the file if there is none, and makes sure that a file that is there is one of ours.
pub(super) fn make_or_recognise(path: &Path) -> Result<(), TopoError> {
    // SQLite would apply the log of a lost database to the new one.
    let log = with_suffix(path, "-wal");
    let log_has_data = fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0);
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if log_has_data {
                let message = format!(
                    "it is missing, but its log {} is there; put the file back beside it, or move \
                     the log away to begin anew",
                    log.display()
                );
                return Err(refused(Category::Corrupt, path, &message));
            }
            make(path)?;
            recognise(path)
        }
        Err(error) => {
            let message = "it cannot be looked at; mend the path or its permissions";
            Err(refused(Category::Configuration, path, message).caused_by(error))
        }
        Ok(metadata) if !metadata.is_file() => {
            Err(refused(Category::Configuration, path, "it is not a file; name another path"))
        }
        Ok(metadata) if metadata.len() == 0 => {
            let message = "it is empty, which a topology server's file never is; restore it from a \
                           backup, or remove it to begin anew";
            Err(refused(Category::Corrupt, path, message))
        }
        Ok(_) => recognise(path),
    }
}

/// Makes the file under another name, complete, and links it into place: nobody ever sees half a
/// file, and a file that somebody else made first stays.
fn make(path: &Path) -> Result<(), TopoError> {
    let failed = |error: io::Error| {
        let message = "it cannot be made; make its directory, or mend its permissions";
        refused(Category::Configuration, path, message).caused_by(error)
    };
    let store = place::new_store_name()
        .map_err(|error| refused(Category::Internal, path, "no random name for it").caused_by(error.to_string()))?;
    let draft = with_suffix(path, &format!("-making-{store}"));
    let made = (|| {
        // Sealed and signed or not: what a league agrees on is its administrators' business.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        fill(&draft, &store)?;
        File::open(&draft).and_then(|file| file.sync_all()).map_err(failed)?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    })();
    for leftover in [draft.clone(), with_suffix(&draft, "-wal"), with_suffix(&draft, "-shm")] {
        if let Err(error) = fs::remove_file(&leftover)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %leftover.display(), %error, "cannot remove a draft");
        }
    }
    made
}

fn fill(draft: &Path, store: &str) -> Result<(), TopoError> {
    let work = || {
        let connection = connect(draft)?;
        // Before there is a log, so that all of it stands in the file itself.
        table::make(&connection, store)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.close().map_err(|(_, error)| error)
    };
    work().map_err(|error| trouble(draft, &error))
}

/// Makes sure that the file is a topology server's, without touching it.
fn recognise(path: &Path) -> Result<(), TopoError> {
    let read = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_handler(Some(busy))?;
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        Ok((pragma("application_id")?, pragma("user_version")?))
    };
    let (application, format) = read().map_err(|error| trouble(path, &error))?;
    if application != table::APPLICATION {
        let message = "it is some other program's SQLite database; name another path";
        return Err(refused(Category::Configuration, path, message));
    }
    if format != table::FORMAT {
        let message = format!(
            "it has the format {format}, and this release knows {}; use the release that made it",
            table::FORMAT
        );
        return Err(refused(Category::Configuration, path, &message));
    }
    Ok(())
}

/// A connection to a file that is there.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(busy))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // The writer does it after its answers are out.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(connection)
}

/// Asks again for a lock that another process holds: a commit takes a few milliseconds, so waiting
/// is short, and bounded at some ten seconds.
#[expect(clippy::disallowed_methods, reason = "a lock of SQLite tells nobody when it is free")]
fn busy(attempt: i32) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    attempt < 9_000
}

/// What an error of SQLite means, and the mend.
pub(super) fn trouble(path: &Path, error: &rusqlite::Error) -> TopoError {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, PermissionDenied, ReadOnly,
        SystemIoFailure,
    };
    let (category, message) = match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => {
            (Category::Unavailable, "another process keeps it locked; look for one that hangs")
        }
        Some(DiskFull) => (Category::Full, "the disk is full; make room"),
        Some(NotADatabase) => (
            Category::Corrupt,
            "it is no topology server's file, or its beginning is damaged; name another path, or \
             restore it from a backup",
        ),
        Some(DatabaseCorrupt) => (Category::Corrupt, "it is damaged or cut short; restore it from a backup"),
        Some(CannotOpen | PermissionDenied | ReadOnly) => (
            Category::Configuration,
            "it, or a file beside it, cannot be opened or written; mend the permissions of the file \
             and its directory",
        ),
        Some(SystemIoFailure) => (Category::Unavailable, "reading or writing it failed; look at the disk"),
        _ => (Category::Internal, "SQLite refused an operation"),
    };
    refused(category, path, message).caused_by(error.to_string())
}

/// The error for a file whose place another one has taken, or none.
pub(super) fn replaced(path: &Path) -> TopoError {
    let message = "it was removed, moved or replaced while in use; put it back, or restart to use \
                   what stands there now";
    refused(Category::Replaced, path, message)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
