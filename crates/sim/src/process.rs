//! One start of an operator's process.

use hansa_kubesim::core::WatchId;
use hansa_ledger::{Versioned, keys};
use hansa_operator::{ActId, Event, Operator, TopoAnswer};
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
    /// Since when it is stopped.
    pub stopped_ms: Option<u64>,
    /// What it was last told of each page, for a broken variant that trusts its memory.
    pub told: BTreeMap<String, Versioned>,
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
            stopped_ms: None,
            told: BTreeMap::new(),
            waits: None,
        }
    }

    /// Keeps what it is told of pages in answer to `under_way`.
    pub fn remember(&mut self, event: &Event, under_way: &str) {
        let Event::Topo { answer, .. } = event else { return };
        let told: Vec<(String, Versioned)> = match answer {
            TopoAnswer::Values(values) => {
                let asked = under_way.strip_prefix("topo read ").unwrap_or_default().split(' ');
                asked.zip(values).filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
            }
            TopoAnswer::Listed(entries) => entries.clone(),
            // What it wrote itself is newer than what it was told.
            TopoAnswer::Swapped(_) => {
                let written = under_way.split(' ').nth(2).unwrap_or_default();
                self.told.remove(written);
                return;
            }
            _ => return,
        };
        self.told.extend(told.into_iter().filter(|(key, _)| key.starts_with(keys::PAGES)));
    }
}
