//! Where requests, watches, controllers and the data file meet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use super::data::DataFile;
use crate::core::http::{Reply, Request};
use crate::core::store::ResourceId;
use crate::core::time::Millis;
use crate::core::{Core, Poll, Record, WatchId};

/// The time of day.
pub fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

/// What one use of the core changed, on its way to the data file.
struct Batch {
    version: u64,
    touched: BTreeSet<ResourceId>,
    records: Vec<Record>,
}

/// The versions up to which everything is on disk, and who waits for them.
struct Durable {
    version: watch::Sender<u64>,
    topics: Mutex<BTreeMap<ResourceId, watch::Sender<u64>>>,
}

/// The data file cannot be written any more.
#[derive(Clone, Copy, Debug)]
pub struct Failed;

/// Shared by all tasks of a server.
pub struct Hub {
    core: Mutex<Core>,
    durable: Arc<Durable>,
    changed: Notify,
    writer: Mutex<Option<Writer>>,
}

struct Writer {
    batches: mpsc::Sender<Batch>,
    thread: JoinHandle<()>,
}

/// A panic while the mutex was held is a bug in one request; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Durable {
    /// Everything up to this version may be told.
    fn publish(&self, version: u64, touched: &BTreeSet<ResourceId>) {
        self.version.send_if_modified(|current| {
            let moved = version > *current;
            *current = version.max(*current);
            moved
        });
        let topics = lock(&self.topics);
        for resource in touched {
            if let Some(topic) = topics.get(resource) {
                topic.send_replace(version);
            }
        }
    }
}

impl Hub {
    /// A hub over a core; with a file, its thread starts here.
    pub fn new(mut core: Core, file: Option<DataFile>) -> Self {
        let durable = Arc::new(Durable { version: watch::Sender::new(0), topics: Mutex::default() });
        let first = take(&mut core);
        let writer = file.map(|file| {
            let (batches, incoming) = mpsc::channel();
            let published = durable.clone();
            let thread = std::thread::spawn(move || write_batches(file, &incoming, &published));
            Writer { batches, thread }
        });
        if first.records.is_empty() {
            durable.publish(first.version, &first.touched);
        } else if let Some(writer) = &writer {
            // The thread has just started and listens.
            let _ = writer.batches.send(first);
        }
        Hub { core: Mutex::new(core), durable, changed: Notify::new(), writer: Mutex::new(writer) }
    }

    /// Uses the core, and passes on what changed.
    pub fn with_core<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = lock(&self.core);
        let before = core.version();
        let result = act(&mut core);
        let batch = take(&mut core);
        if batch.version != before {
            self.changed.notify_one();
        }
        // Still under the lock, so that batches keep the order of versions.
        self.pass_on(batch);
        result
    }

    fn pass_on(&self, batch: Batch) {
        match &*lock(&self.writer) {
            // What others changed may still be on its way to the disk.
            Some(_) if batch.records.is_empty() => {}
            Some(writer) => {
                // A thread that has ended left its failure in the durable version.
                let _ = writer.batches.send(batch);
            }
            None => self.durable.publish(batch.version, &batch.touched),
        }
    }

    /// Answers a request, once what the answer tells of is on disk.
    pub async fn answer(&self, request: &Request) -> Result<Reply, Failed> {
        let (reply, version) = self.with_core(|core| {
            let reply = core.handle(wall_clock(), request);
            (reply, core.version())
        });
        self.settled(version).await?;
        Ok(reply)
    }

    async fn settled(&self, version: u64) -> Result<(), Failed> {
        let mut durable = self.durable.version.subscribe();
        let reached = durable.wait_for(|current| *current >= version).await.map_err(|_| Failed)?;
        if *reached == u64::MAX && version != u64::MAX { Err(Failed) } else { Ok(()) }
    }

    /// The events of a watch that may be told.
    pub fn poll(&self, id: WatchId) -> Poll {
        let through = *self.durable.version.borrow();
        lock(&self.core).poll_watch(wall_clock(), id, through)
    }

    /// Ends a watch.
    pub fn close_watch(&self, id: WatchId) {
        lock(&self.core).close_watch(id);
    }

    /// Moves whenever something of the watch's resource may be told.
    pub fn topic(&self, id: WatchId) -> Option<watch::Receiver<u64>> {
        let resource = lock(&self.core).watch_resource(id)?;
        let mut topics = lock(&self.durable.topics);
        Some(topics.entry(resource).or_insert_with(|| watch::Sender::new(0)).subscribe())
    }

    /// Writes out what is left and closes the file.
    pub async fn close(&self) {
        let Some(writer) = lock(&self.writer).take() else { return };
        drop(writer.batches);
        // Joining waits for the disk; it is done where waiting is allowed.
        let _ = tokio::task::spawn_blocking(move || writer.thread.join()).await;
    }
}

fn take(core: &mut Core) -> Batch {
    Batch { version: core.version(), touched: core.take_touched(), records: core.take_journal() }
}

/// Writes whatever has come together, again and again, until the hub is closed.
fn write_batches(mut file: DataFile, incoming: &mpsc::Receiver<Batch>, durable: &Durable) {
    while let Ok(first) = incoming.recv() {
        let mut all = first;
        while let Ok(next) = incoming.try_recv() {
            all.version = all.version.max(next.version);
            all.touched.extend(next.touched);
            all.records.extend(next.records);
        }
        if let Err(error) = file.write(&all.records) {
            tracing::error!(%error, "the data file cannot be written; this server answers nothing more");
            durable.version.send_replace(u64::MAX);
            return;
        }
        durable.publish(all.version, &all.touched);
    }
}

/// Waits until the server stops.
pub async fn stop(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Lets the controllers work: after each change, and when something comes due.
pub async fn tick(hub: Arc<Hub>, mut stopped: watch::Receiver<bool>) {
    loop {
        let now = wall_clock();
        let wake = hub.with_core(|core| core.tick(now));
        let pause = wake.map_or(Duration::from_secs(3600), |at| Duration::from_millis(at.saturating_sub(wall_clock())));
        if pause.is_zero() {
            // Work is left; requests get their turn first.
            tokio::task::yield_now().await;
            if *stopped.borrow() {
                return;
            }
            continue;
        }
        tokio::select! {
            () = hub.changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop(&mut stopped) => return,
        }
    }
}
