//! The thread that writes: one connection, and one commit for all writes that are waiting together.

use super::engine::Shared;
use super::table;
use crate::error::TopoError;
use bytes::Bytes;
use hansa_ledger::{Swap, Version};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use tokio::sync::oneshot;

/// One write.
pub(super) struct Job {
    pub(super) key: String,
    pub(super) expected: Option<Version>,
    pub(super) value: Bytes,
    pub(super) answer: oneshot::Sender<Result<Swap, TopoError>>,
}

/// How many writes share a commit at most.
const BATCH_JOBS: usize = 64;
/// How many bytes share a commit at most; one more write may stand above it.
const BATCH_BYTES: usize = 4 << 20;
/// How many bytes may gather in the log before they are moved into the file.
const LOG_BYTES: usize = 4 << 20;
/// What a write costs in the log beside its value: some pages of 4 KiB of tables and index.
const WRITE_OVERHEAD: usize = 5 * 4096;

/// Runs until all handles are gone.
pub(super) fn run(mut connection: Connection, jobs: &Receiver<Job>, shared: &Shared) {
    let mut logged = 0;
    while let Ok(first) = jobs.recv() {
        let mut bytes = first.value.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_JOBS && bytes < BATCH_BYTES {
            let Ok(job) = jobs.try_recv() else { break };
            bytes += job.value.len();
            batch.push(job);
        }
        logged += bytes + batch.len() * WRITE_OVERHEAD;
        let outcomes = commit(&mut connection, &batch, shared);
        for (job, outcome) in batch.into_iter().zip(outcomes) {
            // Whoever asked may have gone.
            let _ = job.answer.send(outcome);
        }
        if logged >= LOG_BYTES {
            logged = 0;
            checkpoint(&connection);
        }
    }
}

/// Writes a batch in one transaction; the outcomes stand in its order.
fn commit(connection: &mut Connection, batch: &[Job], shared: &Shared) -> Vec<Result<Swap, TopoError>> {
    let failed = |trouble: &dyn Fn() -> TopoError| batch.iter().map(|_| Err(trouble())).collect();
    if shared.same_file().is_err() {
        return failed(&|| super::file::replaced(&shared.path));
    }
    let kept = shared.changes_kept.load(Ordering::Relaxed);
    let (transaction, outcomes) = match write(connection, batch, kept) {
        Ok(written) => written,
        // Nothing was committed: the transaction was rolled back when it was dropped.
        Err(error) => return failed(&|| shared.trouble(&error)),
    };
    match transaction.commit() {
        Ok(()) => {
            if outcomes.iter().any(|outcome| matches!(outcome, Swap::Committed(_))) {
                shared.tell();
            }
            outcomes.into_iter().map(Ok).collect()
        }
        Err(error) if nothing_committed(&error) => failed(&|| shared.trouble(&error)),
        Err(error) => {
            // The frame that commits may stand in the log, though nobody sees it yet: the next
            // process that recovers the log would find it.
            let reason = format!("{}: {error}", shared.trouble(&error));
            outcomes
                .into_iter()
                .map(|outcome| match outcome {
                    Swap::Committed(_) => Ok(Swap::Indeterminate { reason: reason.clone() }),
                    read => Ok(read),
                })
                .collect()
        }
    }
}

/// Writes a batch, uncommitted.
fn write<'c>(
    connection: &'c mut Connection,
    batch: &[Job],
    changes_kept: usize,
) -> rusqlite::Result<(Transaction<'c>, Vec<Swap>)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut numbers: Option<RangeInclusive<i64>> = None;
    for job in batch {
        let outcome = table::swap(&transaction, &job.key, job.expected.as_ref(), &job.value)?;
        if let Swap::Committed(_) = outcome {
            let number = transaction.last_insert_rowid();
            let first = numbers.map_or(number, |numbers| *numbers.start());
            numbers = Some(first..=number);
        }
        outcomes.push(outcome);
    }
    if let Some(numbers) = numbers {
        forget(&transaction, numbers, changes_kept)?;
    }
    Ok((transaction, outcomes))
}

/// Whether a failed commit has certainly not happened: for want of a lock, or because the frame
/// that commits, which is the last one of a transaction, found no room on the disk.
fn nothing_committed(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull))
}

/// Forgets old changes, now and then only: it costs a page of the log.
fn forget(transaction: &Connection, numbers: RangeInclusive<i64>, kept: usize) -> rusqlite::Result<()> {
    let kept = i64::try_from(kept).unwrap_or(i64::MAX);
    let step = (kept / 16).clamp(1, 1024);
    if (numbers.start() - 1) / step != numbers.end() / step {
        table::forget(transaction, *numbers.end(), kept)?;
    }
    Ok(())
}

/// Moves the log into the file, as far as readers allow. Nobody waits for it, and what fails here is
/// done by a later one.
fn checkpoint(connection: &Connection) {
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = moved {
        tracing::debug!(%error, "the log of the topology server's file was not moved into it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Category;
    use crate::sqlite::file;
    use std::sync::atomic::AtomicUsize;

    fn jobs(sizes: &[usize]) -> Vec<Job> {
        let job = |(n, size): (usize, &usize)| Job {
            key: format!("/{n}"),
            expected: None,
            value: vec![1; *size].into(),
            answer: oneshot::channel().0,
        };
        sizes.iter().enumerate().map(job).collect()
    }

    #[test]
    fn a_batch_that_finds_no_room_is_not_written_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("topo.db");
        file::make_or_recognise(&path).unwrap();
        let mut connection = file::connect(&path).unwrap();
        let shared = Shared {
            identity: file::identity(&path).unwrap(),
            path,
            committed: tokio::sync::watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            changes_kept: AtomicUsize::new(10),
        };
        connection.pragma_update(None, "max_page_count", 50).unwrap();
        let batch = jobs(&[1_000, 1_000_000, 1_000]);
        let outcomes = commit(&mut connection, &batch, &shared);
        assert_eq!(outcomes.len(), 3);
        for outcome in outcomes {
            assert_eq!(outcome.unwrap_err().category(), Category::Full);
        }
        assert!(table::list(&connection, "").unwrap().is_empty());
        assert!(!shared.committed.subscribe().has_changed().unwrap());
        // With room again, the same batch is written.
        connection.pragma_update(None, "max_page_count", 5_000).unwrap();
        let outcomes = commit(&mut connection, &batch, &shared);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Swap::Committed(_)))));
        assert_eq!(table::list(&connection, "").unwrap().len(), 3);
    }

    #[test]
    fn old_changes_are_forgotten_and_the_newest_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("topo.db");
        file::make_or_recognise(&path).unwrap();
        let mut connection = file::connect(&path).unwrap();
        for kept in [1_000, 20, 1] {
            for _ in 0..100 {
                let current = table::get(&connection, "/a").unwrap();
                let mut batch = jobs(&[1, 2, 3]);
                for job in &mut batch {
                    job.key = "/a".into();
                }
                batch[0].expected = current.map(|current| current.version);
                let (transaction, outcomes) = write(&mut connection, &batch, kept).unwrap();
                transaction.commit().unwrap();
                assert!(matches!(outcomes[0], Swap::Committed(_)), "{outcomes:?}");
            }
            let last = table::since(&connection, u64::MAX).unwrap().last;
            let told = |back: u64| table::since(&connection, last - back).unwrap().keys.is_some();
            let kept = kept as u64;
            assert!(told(0) && told(kept.min(last)), "of {last} changes {kept} were to be kept");
            let spared = kept + kept / 16 + 1;
            assert!(spared >= last || !told(spared), "of {last} changes more than {kept} are kept");
        }
    }
}
