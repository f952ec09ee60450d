//! What the members of a league ask of a topology server in a month.
//!
//! - each member writes its heartbeat, and spends [`READS_PER_HEARTBEAT`] requests in the time of one on what is in
//!   those of the others: they bring as many values each as the server gives in one;
//! - an edit writes a page, which every other member reads;
//! - a change of status writes the member's cell, which every other member reads;
//! - on object stores each member lists all keys (a request for each thousand) every four seconds while
//!   nothing happens, and some [`LISTS_FOR_NEWS`] times more for each edit and change of status, as if
//!   each came alone, but never more than four times a second;
//! - each member starts so many times a day, once by default, and reads everything;
//! - a quorum asks each of its stores for the same, and keeps everything in each; it tells of heartbeats without a read,
//!   and brings one value a request. What several members write (edits) is promised in each store before it is written,
//!   and so is two writes.

use super::price::Tariff;
use hansa_operator::READS_PER_HEARTBEAT;
use std::time::Duration;

/// A league, as far as its cost goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct League {
    pub(super) members: u32,
    /// How many members are outside of the server's region.
    pub(super) remote: u32,
    pub(super) objects: u32,
    pub(super) edits_a_day: u32,
    pub(super) status_changes_a_day: u32,
    pub(super) starts_a_day: u32,
    pub(super) heartbeat: Duration,
}

/// What is asked of a server in a month.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Requests {
    pub(super) writes: f64,
    /// Those among the writes whose key several members write.
    pub(super) shared_writes: f64,
    pub(super) lists: f64,
    pub(super) reads: f64,
    /// What members outside of the server's region receive, in GB, the lists apart.
    pub(super) read_gb: f64,
    /// The entries of lists that they receive.
    pub(super) listed_entries: f64,
    pub(super) stored_gb: f64,
}

pub(super) const DAYS: f64 = 30.0;
pub(super) const DAY: f64 = 86_400.0;
/// Pages of a league, unless it was made with another number.
const PAGES: f64 = 256.0;
/// Sizes as they are in the server, compressed; measured on leagues of some thousand Deployments and
/// ConfigMaps.
const OBJECT_BYTES: f64 = 1_000.0;
const STATUS_BYTES: f64 = 100.0;
const CELL_BYTES: f64 = 2_000.0;
/// As its handle says it, whatever its stores are.
const VALUES_PER_READ_OF_QUORUM: f64 = 1.0;
/// So many lists more than in quiet times follow on news: eight each after 1/4, 1/2, 1 and 2 seconds,
/// in the time of seven or eight quiet ones.
const LISTS_FOR_NEWS: f64 = 24.0;

/// Counts a month of a league on a server.
pub(super) fn requests(league: &League, server: &Tariff) -> Requests {
    counted(league, server, server.values_per_read)
}

/// Counts a month of a league on one of the stores of a quorum.
pub(super) fn requests_of_store(league: &League, store: &Tariff) -> Requests {
    let requests = counted(league, store, VALUES_PER_READ_OF_QUORUM);
    Requests { writes: requests.writes + requests.shared_writes, ..requests }
}

/// Counts a month of a league on a server that says it gives so many values in one request.
fn counted(league: &League, server: &Tariff, values_per_read: f64) -> Requests {
    let month = DAYS * DAY;
    let (members, others) = (f64::from(league.members), f64::from(league.members - 1));
    let remote_share = f64::from(league.remote.min(league.members)) / members;
    let keys = PAGES + members * (PAGES + 1.0) + 10.0;
    let heartbeats = members * month / league.heartbeat.as_secs_f64();
    let most_reads = READS_PER_HEARTBEAT as f64;
    let heard = others.min(most_reads * values_per_read);
    // In a small league each is read by itself.
    let hearing = if others <= most_reads { others } else { (heard / server.values_per_read).ceil() };
    let (edits, changes) = (f64::from(league.edits_a_day) * DAYS, f64::from(league.status_changes_a_day) * DAYS);
    let objects = f64::from(league.objects);
    let page = (objects / PAGES * OBJECT_BYTES).max(200.0);
    let status = (objects / PAGES * STATUS_BYTES).max(200.0);
    let loads = members * DAYS * f64::from(league.starts_a_day);
    let looks = (month / 4.0 + (edits + changes) * LISTS_FOR_NEWS).min(month * 4.0);
    let lists_a_look = (keys / 1000.0).ceil();
    // A list that takes more requests is made less often in proportion.
    let lists = if server.entry_bytes > 0.0 { members * looks } else { 0.0 };
    let read_bytes = heartbeats * heard * CELL_BYTES
        + edits * others * page
        + changes * others * status
        + loads * (PAGES * (page + members * status) + members * CELL_BYTES);
    Requests {
        writes: heartbeats + edits + changes,
        shared_writes: edits,
        lists: lists + loads * lists_a_look,
        reads: heartbeats * hearing + (edits + changes) * others + loads * (keys / server.values_per_read).ceil(),
        read_gb: read_bytes * remote_share / 1e9,
        listed_entries: lists * keys / lists_a_look * remote_share,
        stored_gb: (PAGES * (page + status * members) + members * CELL_BYTES) / 1e9,
    }
}

impl Requests {
    pub(super) fn plus(self, other: &Requests) -> Requests {
        Requests {
            writes: self.writes + other.writes,
            shared_writes: self.shared_writes + other.shared_writes,
            lists: self.lists + other.lists,
            reads: self.reads + other.reads,
            read_gb: self.read_gb + other.read_gb,
            listed_entries: self.listed_entries + other.listed_entries,
            stored_gb: self.stored_gb + other.stored_gb,
        }
    }
}
