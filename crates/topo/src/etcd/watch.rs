//! Changes, from etcd's watches.
//!
//! A watch stays open between two calls that follow each other, and is taken up again by the cursor
//! it has reached. Its place is always the revision of the last event: revisions are never split
//! between two answers of a watch, and what etcd says of its own revision need not have been told
//! yet.

use super::cluster::{Cluster, Failure, Trouble};
use super::wire::{self, RangeRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use super::{Effect, Etcd, NAME};
use crate::contract::{Changes, Cursor};
use crate::error::{Category, TopoError};
use crate::place;
use crate::usage::Operation;
use hansa_ledger::Version;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;
use tonic::Streaming;

/// How many open watches are kept for those who come again. What they receive meanwhile takes its
/// part of the connection's window, which must stay far below the whole (see `members`).
const KEPT: usize = 4;

/// How often a watch is opened anew within a wait, before the caller is left to wait a little.
const CUTS: u32 = 4;

/// The watches that nobody waits at now.
#[derive(Default)]
pub(super) struct Watches(Mutex<Vec<Watch>>);

struct Watch {
    answers: Streaming<WatchResponse>,
    /// The last revision that was told.
    place: i64,
    /// The cluster's name in cursors.
    store: String,
    /// Calls that fail at the same member.
    troubles: watch::Receiver<u64>,
}

impl Watch {
    /// The next answer; none when there will not be another.
    async fn next(&mut self) -> Result<WatchResponse, String> {
        tokio::select! {
            biased;
            answer = self.answers.message() => match answer {
                Ok(Some(answer)) if answer.canceled && answer.compact_revision == 0 => {
                    Err(answer.cancel_reason)
                }
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => Err("the stream ended".to_owned()),
                Err(status) => Err(status.message().to_owned()),
            },
            _ = self.troubles.changed() => Err("another call failed at the same member".to_owned()),
        }
    }
}

impl Watches {
    fn take(&self, store: &str, place: i64) -> Option<Watch> {
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |watch: &Watch| watch.place == place && watch.store == store;
        watches.iter().position(fits).map(|index| watches.swap_remove(index))
    }

    fn keep(&self, watch: Watch) {
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if watches.len() == KEPT {
            // The one furthest behind is the least likely to be asked for.
            let behind = (0..KEPT).min_by_key(|index| watches[*index].place);
            behind.map(|index| watches.swap_remove(index));
        }
        watches.push(watch);
    }
}

/// A watch in use, which goes back when its user goes away while waiting.
struct Lease<'w> {
    watches: &'w Watches,
    watch: Option<Watch>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            self.watches.keep(watch);
        }
    }
}

pub(super) async fn changes(etcd: &Etcd, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
    let Some(cursor) = cursor else {
        let cursor = now(etcd).await?;
        return Ok(Changes::Keys { cursor, keys: BTreeMap::new() });
    };
    let Some((store, place)) = read(cursor) else {
        return Ok(Changes::Reset { cursor: now(etcd).await? });
    };
    let watch = match etcd.watches.take(store, place) {
        Some(watch) => watch,
        None => match open(etcd, store, place).await? {
            Some(watch) => watch,
            None => return Ok(Changes::Reset { cursor: now(etcd).await? }),
        },
    };
    let mut lease = Lease { watches: &etcd.watches, watch: Some(watch) };
    let mut cuts = 0;
    loop {
        let Some(watch) = lease.watch.as_mut() else {
            match open(etcd, store, place).await? {
                Some(watch) => lease.watch = Some(watch),
                None => return Ok(Changes::Reset { cursor: now(etcd).await? }),
            }
            continue;
        };
        match watch.next().await {
            Ok(answer) if answer.compact_revision > 0 => {
                lease.watch = None;
                return Ok(Changes::Reset { cursor: now(etcd).await? });
            }
            Ok(answer) => {
                let mut keys = BTreeMap::new();
                let mut last = place;
                for stored in answer.events.into_iter().filter_map(|event| event.kv) {
                    last = last.max(stored.mod_revision);
                    let version = Version::new(stored.mod_revision.to_string());
                    // What is no key of ours nobody looks for.
                    keys.extend(etcd.key_of(&stored).map(|key| (key, version)));
                }
                if !keys.is_empty() {
                    watch.place = last;
                    let cursor = place::write(store, last.unsigned_abs());
                    return Ok(Changes::Keys { cursor, keys });
                }
            }
            // Cut off, or sent away: what it has not told, another watch from the same place tells.
            Err(why) => {
                lease.watch = None;
                cuts += 1;
                if cuts > CUTS {
                    let message = "the watch was cut off again and again; look at the network";
                    let error = TopoError::new(Category::Unavailable, NAME, message);
                    return Err(error.caused_by(why));
                }
            }
        }
    }
}

/// The parts of a cursor of ours.
fn read(cursor: &Cursor) -> Option<(&str, i64)> {
    let (store, _) = cursor.as_str().rsplit_once(':')?;
    let place = place::read(cursor, store)?;
    Some((store, i64::try_from(place).ok()?))
}

fn store(cluster_id: u64) -> String {
    format!("{cluster_id:016x}")
}

/// The cluster's name and revision now, by a linearizable read.
async fn current(etcd: &Etcd) -> Result<(String, i64), TopoError> {
    let (key, range_end) = etcd.range("");
    let least = RangeRequest { key, range_end, limit: 1, keys_only: true, ..Default::default() };
    let answer = etcd.range_of(Operation::Changes, &least).await.map_err(Failure::of_read)?;
    let header = answer.header.ok_or_else(super::malformed)?;
    Ok((store(header.cluster_id), header.revision))
}

async fn now(etcd: &Etcd) -> Result<Cursor, TopoError> {
    let (store, revision) = current(etcd).await?;
    Ok(place::write(&store, revision.unsigned_abs()))
}

/// Opens a watch of all that comes after `place` at the first member that does; none where that
/// history is gone, or never was.
async fn open(etcd: &Etcd, name: &str, place: i64) -> Result<Option<Watch>, TopoError> {
    let mut failure = None;
    for member in etcd.cluster.order() {
        match open_at(etcd, &etcd.cluster, member, name, place).await {
            Ok(opened) => return Ok(opened),
            Err(Trouble::Final(Failure::Compacted)) => return Ok(None),
            Err(Trouble::Final(failure)) => return Err(failure.of_read()),
            Err(Trouble::Elsewhere(error) | Trouble::Unknown(error)) => super::cluster::note(&mut failure, error),
        }
    }
    Err(failure.unwrap_or_else(super::cluster::no_members))
}

async fn open_at(
    etcd: &Etcd,
    cluster: &Cluster,
    member: usize,
    name: &str,
    place: i64,
) -> Result<Option<Watch>, Trouble> {
    let (key, range_end) = etcd.range("");
    let create = WatchCreateRequest { key, range_end, start_revision: place.saturating_add(1) };
    let question = WatchRequest { create: Some(create) };
    let troubles = cluster.troubles(member);
    // A token that is too old is told by the watch, not by its stream: log in and ask once more.
    for last_attempt in [false, true] {
        let (answers, first): (Streaming<WatchResponse>, WatchResponse) =
            cluster.stream(Operation::Changes, member, wire::WATCH, &question).await?;
        if first.compact_revision > 0 || first.cancel_reason.contains("compacted") {
            return Ok(None);
        }
        if first.canceled {
            let reason = first.cancel_reason;
            let login = ["invalid auth token", "auth store is old", "user name is empty"];
            if login.iter().any(|words| reason.contains(words)) && !last_attempt {
                cluster.refused_token(Operation::Changes, member).await?;
                continue;
            }
            return Err(refused(&reason).into());
        }
        let header = first.header.ok_or_else(super::malformed)?;
        if store(header.cluster_id) != name {
            return Ok(None);
        }
        // The member may be behind; but if the whole cluster is, it was restored from a backup, and
        // this watch would sleep until the old numbers are reached again.
        if header.revision < place && current(etcd).await?.1 < place {
            return Ok(None);
        }
        return Ok(Some(Watch { answers, place, store: name.to_owned(), troubles: troubles.clone() }));
    }
    Err(refused("the log-in is not accepted").into())
}

fn refused(reason: &str) -> TopoError {
    let message = "the watch was refused; grant the user's role read on the range of the prefix";
    TopoError::new(Category::Unauthorized, NAME, message).caused_by(reason.to_owned())
}

/// The revision up to which history was compacted, when the first revision is known to be.
pub(super) async fn compacted_up_to(etcd: &Etcd) -> Result<Option<i64>, TopoError> {
    let key = etcd.stored_key("/");
    let first = RangeRequest { key: key.clone(), revision: 1, limit: 1, ..Default::default() };
    let read: Result<wire::RangeResponse, _> =
        etcd.cluster.call(Operation::Check, Effect::Reads, wire::RANGE, &first).await;
    match read {
        Ok(_) => return Ok(None),
        Err(Failure::Compacted) => {}
        Err(failure) => return Err(failure.of_read()),
    }
    let create = WatchCreateRequest { key, range_end: bytes::Bytes::new(), start_revision: 1 };
    let question = WatchRequest { create: Some(create) };
    for member in etcd.cluster.order() {
        let opened = etcd.cluster.stream(Operation::Check, member, wire::WATCH, &question).await;
        let Ok((mut answers, mut answer)): Result<(Streaming<WatchResponse>, _), _> = opened else {
            continue;
        };
        while answer.compact_revision == 0 {
            let next = tokio::time::timeout(etcd.cluster.timeout(), answers.message()).await;
            let Ok(Ok(Some(next))) = next else { break };
            answer = next;
        }
        if answer.compact_revision > 0 {
            return Ok(Some(answer.compact_revision));
        }
    }
    let message = "no member told up to which revision its history was compacted";
    Err(TopoError::new(Category::Unavailable, NAME, message))
}
