//! Histories of concurrent clients of one key, and whether they are linearizable.
//!
//! The search is Wing and Gong's (Testing and Verifying Concurrent Objects, 1993) with Lowe's memory
//! of what was tried (Testing for Linearizability, 2017): some order of the operations must exist in
//! which each gives the answer that a register would give, and in which none stands before one that
//! had ended when it began. An operation of unknown fate may stand anywhere after its beginning, or
//! nowhere.

use hansa_topo::{Swap, Topo, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a client did, and what it was told. Each write has a value of its own, so that a value stands
/// for its version, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A read told this value.
    Read(Option<u32>),
    /// A write of `new` over `expected` (none: a create) was committed.
    Committed { expected: Option<u32>, new: u32 },
    /// A write over `expected` was refused, for this value stands there.
    Mismatch { expected: Option<u32>, current: Option<u32> },
    /// A write of unknown fate.
    Unknown { expected: Option<u32>, new: u32 },
}

/// An operation in its history. Moments are numbered in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub client: usize,
    pub begun: u64,
    pub ended: u64,
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
    pub ordered: Vec<Event>,
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
        let state = *states.last().unwrap();
        // What ends first must not stand behind what begins later.
        let open = |at: usize| if certain(&events[at]) { events[at].ended } else { u64::MAX };
        let limit = (0..events.len()).filter(|at| !taken[*at]).map(open).min().unwrap_or(u64::MAX);
        let from = *next.last().unwrap();
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
                *next.last_mut().unwrap() = at + 1;
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
    let clock = Arc::new(AtomicU64::new(1));
    let clients = handles.iter().cloned().enumerate().map(|(client, topo)| {
        let (clock, key) = (clock.clone(), key.to_owned());
        tokio::spawn(async move { Client { client, topo, key, clock }.run(rounds).await })
    });
    let mut history = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        history.extend(client.await.unwrap());
    }
    history
}

struct Client {
    client: usize,
    topo: Arc<dyn Topo>,
    key: String,
    clock: Arc<AtomicU64>,
}

impl Client {
    fn moment(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    async fn run(self, rounds: u32) -> Vec<Event> {
        let mut events = Vec::new();
        // The versions seen so far with their values, and the newest of them.
        let mut values: BTreeMap<Version, u32> = BTreeMap::new();
        let mut newest: Option<Version> = None;
        for round in 0..rounds {
            let new = u32::try_from(self.client).unwrap() * 100_000 + round;
            let begun = self.moment();
            // Reads, writes on what is newest, and now and then a create, or a write on something old.
            let expected = match (round + new / 100_000) % 7 {
                3 => None,
                5 => values.keys().min().cloned(),
                _ => newest.clone(),
            };
            let told = |values: &BTreeMap<Version, u32>, version: &Option<Version>| {
                version.as_ref().map(|version| values[version])
            };
            let read = |value: &[u8]| std::str::from_utf8(value).unwrap().parse::<u32>().unwrap();
            let operation = if round % 3 == 0 {
                let Ok(found) = self.topo.get(&self.key).await else { continue };
                let value = found.as_ref().map(|found| read(&found.value));
                if let Some(found) = found {
                    values.insert(found.version.clone(), read(&found.value));
                    newest = Some(found.version);
                }
                Operation::Read(value)
            } else {
                let value = new.to_string().into();
                let swap = match &expected {
                    None => self.topo.create(&self.key, value).await,
                    Some(version) => self.topo.compare_and_swap(&self.key, version, value).await,
                };
                let expected = told(&values, &expected);
                match swap {
                    Ok(Swap::Committed(version)) => {
                        values.insert(version.clone(), new);
                        newest = Some(version);
                        Operation::Committed { expected, new }
                    }
                    Ok(Swap::Mismatch { current }) => {
                        let value = current.as_ref().map(|current| read(&current.value));
                        if let Some(current) = current {
                            values.insert(current.version.clone(), read(&current.value));
                            newest = Some(current.version);
                        }
                        Operation::Mismatch { expected, current: value }
                    }
                    Ok(Swap::Indeterminate { .. }) => Operation::Unknown { expected, new },
                    // An error is determinate: nothing happened.
                    Err(_) => continue,
                }
            };
            events.push(Event { client: self.client, begun, ended: self.moment(), operation });
            tokio::task::yield_now().await;
        }
        events
    }
}
