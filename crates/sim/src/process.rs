//! One start of an operator's process.

use hansa_kubesim::core::WatchId;
use hansa_operator::{ActId, Event, Operator};
use std::collections::BTreeMap;

/// Names a process for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProcessId(pub u32);

/// A running, or stopped, operator.
#[derive(Debug)]
pub struct Process {
    /// The member that it runs in, by its place in the world.
    pub member: usize,
    /// The production state machine.
    pub operator: Operator,
    /// The monotonic time at which it wants to be woken.
    pub wake: Option<u64>,
    /// Its open watches.
    pub watches: BTreeMap<ActId, Watching>,
    /// What is under way, in words.
    pub under_way: BTreeMap<ActId, String>,
    /// The events that wait while it is stopped (SIGSTOP); `None` while it runs.
    pub stopped: Option<Vec<Event>>,
    /// Its wait for changes, held open by the topology server: the act and the cursor.
    pub waits: Option<(ActId, Box<str>)>,
}

/// An open watch.
#[derive(Debug)]
pub struct Watching {
    /// The API server's side; `None` until it was answered.
    pub watch: Option<WatchId>,
    /// Whether a poll is under way already.
    pub polling: bool,
    /// Nothing is told before this time: events of one watch keep their order.
    pub told_ms: u64,
    /// The watch lags: nothing is sent before this time.
    pub stalled_until_ms: u64,
    /// When it is polled next though nothing changes: for bookmarks and its end.
    pub wakes_ms: u64,
}

impl Process {
    /// A process that was just started.
    pub fn new(member: usize, operator: Operator) -> Self {
        Process {
            member,
            operator,
            wake: None,
            watches: BTreeMap::new(),
            under_way: BTreeMap::new(),
            stopped: None,
            waits: None,
        }
    }
}
