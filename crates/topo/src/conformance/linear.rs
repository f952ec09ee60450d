//! Histories of concurrent clients of one key, and whether they are linearizable.
//!
//! The search is Wing and Gong's (Testing and Verifying Concurrent Objects, 1993) with Lowe's memory
//! of what was tried (Testing for Linearizability, 2017): some order of the operations must exist in
//! which each gives the answer that a register would give, and in which none stands before one that
//! had ended when it began. An operation of unknown fate may stand anywhere after its beginning, or
//! nowhere.

use crate::contract::Topo;
use hansa_ledger::{Swap, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a client did, and what it was told. Each write has a value of its own, so that a value stands
/// for its version, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A read told this value.
    Read(Option<u32>),
    /// A write was committed.
    Committed {
        /// What it was to replace; none: a create.
        expected: Option<u32>,
        /// What stands there now.
        new: u32,
    },
    /// A write was refused.
    Mismatch {
        /// What it was to replace.
        expected: Option<u32>,
        /// What stands there instead.
        current: Option<u32>,
    },
    /// A write of unknown fate.
    Unknown {
        /// What it was to replace.
        expected: Option<u32>,
        /// What it was to put there.
        new: u32,
    },
}

/// An operation in its history. Moments are numbered in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Who.
    pub client: usize,
    /// The moment before it was asked.
    pub begun: u64,
    /// The moment after it was answered.
    pub ended: u64,
    /// What, and the answer.
    pub operation: Operation,
}

impl Operation {
    /// The register's value afterwards, when it answers so at `state`.
    fn after(self, state: Option<u32>) -> Option<Option<u32>> {
        match self {
            Operation::Read(told) => (told == state).then_some(state),
            Operation::Committed { expected, new } | Operation::Unknown { expected, new } => {
                (expected == state).then_some(Some(new))
            }
            Operation::Mismatch { expected, current } => (current == state && expected != state).then_some(state),
        }
    }
}

/// Why a history is not linearizable: the longest order that could be found, and what cannot follow.
#[derive(Debug)]
pub struct NotLinearizable {
    /// The longest order.
    pub ordered: Vec<Event>,
    /// Some of the others.
    pub stuck: Vec<Event>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} from {} to {}: {:?}", self.client, self.begun, self.ended, self.operation)
    }
}

impl fmt::Display for NotLinearizable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "after {} operations none can follow; the last of them:", self.ordered.len())?;
        for event in self.ordered.iter().rev().take(5).rev() {
            writeln!(f, "  {event}")?;
        }
        writeln!(f, "could not follow:")?;
        self.stuck.iter().try_for_each(|event| writeln!(f, "  {event}"))
    }
}

/// Finds an order, or says why there is none.
///
/// # Errors
/// When there is none.
pub fn check(history: &[Event]) -> Result<(), NotLinearizable> {
    let mut events = history.to_vec();
    events.sort_by_key(|event| event.begun);
    let certain = |event: &Event| !matches!(event.operation, Operation::Unknown { .. });
    let all_certain = events.iter().filter(|event| certain(event)).count();
    // Depth first: the order so far, the set of what is in it, and where to go on at each depth.
    let mut order: Vec<usize> = Vec::new();
    let mut states = vec![None];
    let mut taken = vec![false; events.len()];
    let mut tried = BTreeSet::new();
    let mut next = vec![0];
    let mut longest = Vec::new();
    let mut placed = 0;
    loop {
        if placed == all_certain {
            return Ok(());
        }
        let state = states.last().copied().flatten();
        // What ends first must not stand behind what begins later.
        let open = |at: usize| if certain(&events[at]) { events[at].ended } else { u64::MAX };
        let limit = (0..events.len()).filter(|at| !taken[*at]).map(open).min().unwrap_or(u64::MAX);
        let from = next.last().copied().unwrap_or_default();
        let mut found = None;
        for at in from..events.len() {
            if events[at].begun > limit {
                break;
            }
            if taken[at] {
                continue;
            }
            if let Some(after) = events[at].operation.after(state) {
                taken[at] = true;
                if tried.insert((bits(&taken), after)) {
                    found = Some((at, after));
                    break;
                }
                taken[at] = false;
            }
        }
        match found {
            Some((at, after)) => {
                if let Some(next) = next.last_mut() {
                    *next = at + 1;
                }
                order.push(at);
                states.push(after);
                next.push(0);
                placed += usize::from(certain(&events[at]));
                if order.len() > longest.len() {
                    longest.clone_from(&order);
                }
            }
            None => {
                let Some(at) = order.pop() else {
                    let ordered: Vec<_> = longest.iter().map(|at| events[*at]).collect();
                    let rest = (0..events.len()).filter(|at| !longest.contains(at)).map(|at| events[at]);
                    return Err(NotLinearizable { ordered, stuck: rest.take(8).collect() });
                };
                taken[at] = false;
                states.pop();
                next.pop();
                placed -= usize::from(certain(&events[at]));
            }
        }
    }
}

fn bits(taken: &[bool]) -> Vec<u64> {
    let word = |chunk: &[bool]| chunk.iter().enumerate().fold(0, |word, (n, bit)| word | u64::from(*bit) << n);
    taken.chunks(64).map(word).collect()
}

/// Lets each handle read and write `key` so many times, all at once; gives what happened.
pub async fn record(handles: &[Arc<dyn Topo>], key: &str, rounds: u32) -> Vec<Event> {
    record_while(handles, key, Duration::ZERO, move |round| round < rounds).await
}

/// The same with a pause after each operation, as long as the rounds are to go on.
pub async fn record_while(
    handles: &[Arc<dyn Topo>],
    key: &str,
    pause: Duration,
    goes_on: impl Fn(u32) -> bool + Clone + Send + 'static,
) -> Vec<Event> {
    let clock = Arc::new(AtomicU64::new(1));
    let clients = handles.iter().cloned().zip(0..).map(|(topo, number)| {
        let client =
            Client { number, topo, key: key.to_owned(), clock: clock.clone(), values: BTreeMap::new(), newest: None };
        tokio::spawn(client.run(pause, goes_on.clone()))
    });
    let mut history = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        history.extend(client.await.expect("a client does not panic"));
    }
    history
}

struct Client {
    number: u32,
    topo: Arc<dyn Topo>,
    key: String,
    clock: Arc<AtomicU64>,
    /// The versions seen so far with their values.
    values: BTreeMap<Version, u32>,
    /// The newest of them.
    newest: Option<Version>,
}

impl Client {
    fn moment(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    async fn run(mut self, pause: Duration, goes_on: impl Fn(u32) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut round = 0;
        while goes_on(round) {
            let begun = self.moment();
            // An error is determinate: nothing happened.
            if let Some(operation) = self.one(round).await {
                events.push(Event { client: self.number as usize, begun, ended: self.moment(), operation });
            }
            round += 1;
            match pause {
                Duration::ZERO => tokio::task::yield_now().await,
                pause => tokio::time::sleep(pause).await,
            }
        }
        events
    }

    /// Reads, writes on what is newest, and now and then a create, or a write on something old.
    async fn one(&mut self, round: u32) -> Option<Operation> {
        if round.is_multiple_of(3) {
            let found = self.topo.get(&self.key).await.ok()?;
            return Some(Operation::Read(found.and_then(|found| self.saw(found.version, &found.value))));
        }
        let new = self.number * 100_000 + round;
        let expected = match (round + self.number) % 7 {
            3 => None,
            5 => self.values.keys().min().cloned(),
            _ => self.newest.clone(),
        };
        let swap = match &expected {
            None => self.topo.create(&self.key, new.to_string().into()).await,
            Some(version) => self.topo.compare_and_swap(&self.key, version, new.to_string().into()).await,
        };
        let expected = expected.map(|version| self.values[&version]);
        Some(match swap.ok()? {
            Swap::Committed(version) => {
                self.values.insert(version.clone(), new);
                self.newest = Some(version);
                Operation::Committed { expected, new }
            }
            Swap::Mismatch { current } => {
                let current = current.and_then(|current| self.saw(current.version, &current.value));
                Operation::Mismatch { expected, current }
            }
            Swap::Indeterminate { .. } => Operation::Unknown { expected, new },
        })
    }

    /// Remembers a version; gives its value.
    fn saw(&mut self, version: Version, value: &[u8]) -> Option<u32> {
        let value = std::str::from_utf8(value).ok()?.parse().ok()?;
        self.values.insert(version.clone(), value);
        self.newest = Some(version);
        Some(value)
    }
}
