//! The thread that reads, and looks for commits by other processes while somebody waits for them.

use super::engine::Shared;
use super::table;
use rusqlite::Connection;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Work for the thread.
pub(super) type Job = Box<dyn FnOnce(&Connection) + Send>;

/// How soon to look again while others are writing: looking costs some microseconds.
const SOONEST: Duration = Duration::from_millis(2);
/// How soon to look again when nobody has written for a while.
const LATEST: Duration = Duration::from_millis(20);

/// Runs until all handles are gone.
pub(super) fn run(connection: &Connection, jobs: &Receiver<Job>, shared: &Shared) {
    let mut seen = None;
    let mut pause = SOONEST;
    let mut look = Instant::now();
    loop {
        let job = if shared.waiting.load(Ordering::SeqCst) == 0 {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(look.saturating_duration_since(Instant::now()))
        };
        match job {
            Ok(job) => job(connection),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        if now < look || shared.waiting.load(Ordering::SeqCst) == 0 {
            continue;
        }
        // An error, too, is told: those who wait read again and meet it themselves.
        let version = match shared.same_file() {
            Ok(()) => table::data_version(connection).ok(),
            Err(_) => None,
        };
        if version.is_none() || version != seen {
            shared.tell();
            seen = version;
            pause = SOONEST;
        } else {
            pause = (pause + pause / 8).min(LATEST);
        }
        look = now + pause;
    }
}
