//! One file, one engine in a process: two threads and what they share.

use super::file::{self, Identity};
use super::{NAME, reader, table, writer};
use crate::error::{Category, TopoError};
use bytes::Bytes;
use hansa_ledger::{Swap, Version};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use tokio::sync::{oneshot, watch};

/// What both threads and all handles of a file know.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    /// Goes up when something may have been committed, by whomever.
    pub(super) committed: watch::Sender<u64>,
    /// How many wait for commits by other processes.
    pub(super) waiting: AtomicUsize,
    /// How many changes the store remembers.
    pub(super) changes_kept: AtomicUsize,
}

impl Shared {
    pub(super) fn tell(&self) {
        self.committed.send_modify(|count| *count += 1);
    }

    /// Refuses to go on with a file that is no longer the one at the path: what were written to it
    /// would be seen by nobody who comes later.
    pub(super) fn same_file(&self) -> Result<(), TopoError> {
        match file::identity(&self.path) {
            Ok(now) if now == self.identity => Ok(()),
            _ => Err(file::replaced(&self.path)),
        }
    }

    pub(super) fn trouble(&self, error: &rusqlite::Error) -> TopoError {
        file::trouble(&self.path, error)
    }
}

/// The engine of one file.
pub(super) struct Engine {
    shared: Arc<Shared>,
    store: String,
    reads: Sender<reader::Job>,
    writes: Sender<writer::Job>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.shared.path.display())
    }
}

pub(super) fn ended() -> TopoError {
    TopoError::new(Category::Internal, NAME, "the thread of the file has ended; see its panic")
}

impl Engine {
    /// The engine of the file at `path` in this process, started if need be. Blocks.
    pub(super) fn open(path: &Path, changes_kept: Option<usize>) -> Result<Arc<Self>, TopoError> {
        static ENGINES: LazyLock<Mutex<BTreeMap<Identity, Weak<Engine>>>> = LazyLock::new(Mutex::default);
        let path = std::path::absolute(path).map_err(|error| {
            let message = format!("file {}: the path has no absolute form", path.display());
            TopoError::new(Category::Configuration, NAME, message).caused_by(error)
        })?;
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        engines.retain(|_, engine| engine.strong_count() > 0);
        let running = |engines: &BTreeMap<Identity, Weak<Engine>>| {
            let identity = file::identity(&path).ok()?;
            engines.get(&identity).and_then(Weak::upgrade)
        };
        let engine = match running(&engines) {
            Some(engine) => engine,
            None => {
                let engine = Arc::new(Engine::start(path)?);
                engines.insert(engine.shared.identity, Arc::downgrade(&engine));
                engine
            }
        };
        if let Some(kept) = changes_kept {
            engine.shared.changes_kept.store(kept, Ordering::Relaxed);
        }
        Ok(engine)
    }

    fn start(path: PathBuf) -> Result<Self, TopoError> {
        file::make_or_recognise(&path)?;
        let identity = file::identity(&path).map_err(|_| file::replaced(&path))?;
        let connect = || file::connect(&path).map_err(|error| file::trouble(&path, &error));
        let (for_writes, for_reads) = (connect()?, connect()?);
        let store = table::store(&for_reads).map_err(|error| file::trouble(&path, &error))?;
        let shared = Arc::new(Shared {
            path,
            identity,
            committed: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            changes_kept: AtomicUsize::new(crate::CHANGES_KEPT),
        });
        // The connections are open by now: if the file was replaced meanwhile, this one is refused.
        shared.same_file()?;
        let (writes, write_jobs) = channel();
        let (reads, read_jobs) = channel();
        let to_write = shared.clone();
        start_thread("topo-write", move || writer::run(for_writes, &write_jobs, &to_write))?;
        let to_read = shared.clone();
        start_thread("topo-read", move || reader::run(&for_reads, &read_jobs, &to_read))?;
        Ok(Engine { shared, store, reads, writes })
    }

    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The store's name.
    pub(super) fn store(&self) -> &str {
        &self.store
    }

    /// Changes when something may have been committed.
    pub(super) fn committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// Commits by other processes are looked for as long as the answer lives.
    pub(super) fn wait_for_others(&self) -> Waiting {
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        // Wakes the thread, which may be waiting for work only. If it has ended, reads tell.
        let _ = self.reads.send(Box::new(|_| ()));
        Waiting(self.shared.clone())
    }

    /// Runs `work` on the reading thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, TopoError> {
        let (answer, answered) = oneshot::channel();
        let shared = self.shared.clone();
        let job: reader::Job = Box::new(move |connection| {
            let outcome = shared.same_file().and_then(|()| work(connection).map_err(|error| shared.trouble(&error)));
            // Whoever asked may have gone.
            let _ = answer.send(outcome);
        });
        self.reads.send(job).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// One write, on the writing thread.
    pub(super) async fn swap(&self, key: &str, expected: Option<&Version>, value: Bytes) -> Result<Swap, TopoError> {
        let (answer, answered) = oneshot::channel();
        let job = writer::Job { key: key.to_owned(), expected: expected.cloned(), value, answer };
        self.writes.send(job).map_err(|_| ended())?;
        match answered.await {
            Ok(outcome) => outcome,
            // The thread took the job and panicked, before or after the commit.
            Err(_) => Ok(Swap::Indeterminate { reason: ended().to_string() }),
        }
    }
}

/// Somebody waits for commits by other processes.
pub(super) struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), TopoError> {
    match std::thread::Builder::new().name(name.into()).spawn(body) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = "a thread cannot be started; raise the limit of processes";
            Err(TopoError::new(Category::Unavailable, NAME, message).caused_by(error))
        }
    }
}
