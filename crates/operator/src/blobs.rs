//! Large bodies: written to `/v1/blobs/<hash>` before the record that names them, read when they are
//! needed, kept in a bounded cache.
//!
//! A blob is immutable and named by the hash of what it holds, so that writing it twice is writing
//! it once, and whoever reads it can tell whether it is whole. An object whose body is not at hand is
//! not looked at until it is: nothing is concluded from half a picture.

use crate::io::{Level, TopoRequest};
use crate::machine::{Operator, Timer};
use crate::topology::TopoCall;
use bytes::Bytes;
use hansa_ledger::envelope::pack;
use hansa_ledger::lives::{Duty, duty};
use hansa_ledger::record::Body;
use hansa_ledger::seal::SealedBody;
use hansa_ledger::{Envelope, Record, Swap, Versioned, keys};
use hansa_model::{Era, Hash, RecordKey};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The largest value that every topology server takes.
pub const MAX_VALUE_BYTES: usize = 1_310_720;

/// A body that packs to more than this lies in a blob.
pub(crate) const INLINE_BYTES: usize = 16 * 1024;

/// The same, for a page that is nearly full of small bodies.
pub(crate) const CROWDED_INLINE_BYTES: usize = 1024;

/// How many bytes of blobs are kept, as they stand in the topology server.
const CACHE_BYTES: usize = 32 << 20;

/// How many blobs may be on their way to the topology server.
const WRITES: usize = 32;

/// How many blobs may be on their way from there. While this many objects wait for a request no
/// more are read: what was read for them would be let go before they are sent.
const READS: usize = 8;

/// How long a blob that is missing or damaged is taken to be so.
const DAMAGE_MS: u64 = 30_000;

/// The blobs that this operator knows of.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    /// Known to stand in the topology server, in this era.
    written: BTreeSet<Hash>,
    era: Era,
    writes: BTreeMap<Hash, Write>,
    /// Objects that wait for a place among the writes.
    waiting: BTreeSet<RecordKey>,
    cache: Cache,
    wanted: BTreeMap<Hash, BTreeSet<RecordKey>>,
    reads: BTreeMap<Hash, BTreeSet<RecordKey>>,
    damaged: BTreeMap<Hash, (String, u64)>,
}

#[derive(Debug)]
struct Write {
    value: Bytes,
    keys: BTreeSet<RecordKey>,
}

/// Where a body is to lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Placing {
    /// In the record.
    Inline,
    /// In this blob, which is there.
    Blob(Hash),
    /// In a blob that is being written; the object is looked at again when it is there.
    Waits,
    /// Nowhere: why, with the mend.
    Impossible(String),
}

/// Values by their use: the least recently used go first.
#[derive(Debug, Default)]
struct Cache {
    values: BTreeMap<Hash, (Bytes, u64)>,
    uses: BTreeMap<u64, Hash>,
    clock: u64,
    bytes: usize,
}

impl Cache {
    fn get(&self, hash: &Hash) -> Option<&Bytes> {
        self.values.get(hash).map(|(value, _)| value)
    }

    fn touch(&mut self, hash: &Hash) -> bool {
        let Some((_, used)) = self.values.get_mut(hash) else { return false };
        self.clock += 1;
        self.uses.remove(used);
        *used = self.clock;
        self.uses.insert(self.clock, *hash);
        true
    }

    fn insert(&mut self, hash: Hash, value: Bytes) {
        self.remove(&hash);
        self.clock += 1;
        self.bytes += value.len();
        self.uses.insert(self.clock, hash);
        self.values.insert(hash, (value, self.clock));
        // The newest stays, whatever its size: it is about to be used.
        while self.bytes > CACHE_BYTES && self.values.len() > 1 {
            let (_, oldest) = self.uses.pop_first().expect("every value has a use");
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, hash: &Hash) {
        if let Some((value, used)) = self.values.remove(hash) {
            self.bytes -= value.len();
            self.uses.remove(&used);
        }
    }
}

impl Blobs {
    /// Whether nothing is under way or waits.
    pub fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.wanted.is_empty() && self.reads.is_empty()
    }
}

impl Operator {
    /// Where the body of an object is to lie; begins to write it when it is a blob's.
    pub(crate) fn place_body(&mut self, key: &RecordKey, body: &[u8], is_packed: bool) -> Placing {
        let limit = if self.is_crowded(key) { CROWDED_INLINE_BYTES } else { INLINE_BYTES };
        if body.len() <= limit {
            return Placing::Inline;
        }
        let Some((league, era)) = self.league.as_ref().map(|league| (league.id, league.era)) else {
            return Placing::Waits;
        };
        if self.blobs.era != era {
            // After a restore of the topology server it may lack what stood there before.
            self.blobs.written.clear();
            self.blobs.era = era;
        }
        let hash = Hash::of_bytes(body);
        if !self.topology.is_writable() {
            // Everything is looked at again when it is.
            return Placing::Waits;
        }
        if self.blobs.written.contains(&hash) {
            return Placing::Blob(hash);
        }
        if let Some((why, until)) = self.blobs.damaged.get(&hash)
            && *until > self.now.monotonic_ms
        {
            let (why, until) = (why.clone(), *until);
            self.at(until, Timer::Object(key.clone()));
            return Placing::Impossible(why);
        }
        if let Some(write) = self.blobs.writes.get_mut(&hash) {
            write.keys.insert(key.clone());
            return Placing::Waits;
        }
        if !is_packed && pack(body).len() <= limit {
            return Placing::Inline;
        }
        let value = Envelope::first(league, era, self.random()).seal(body);
        if value.len() > MAX_VALUE_BYTES {
            return Placing::Impossible(format!(
                "it has {} bytes when it is packed, and a topology server takes at most {MAX_VALUE_BYTES}: split the object, or keep large data in an image or a volume",
                value.len()
            ));
        }
        if self.blobs.writes.len() >= WRITES {
            self.blobs.waiting.insert(key.clone());
            return Placing::Waits;
        }
        self.blobs.writes.insert(hash, Write { value: value.clone(), keys: [key.clone()].into() });
        let request = TopoRequest::Write { key: keys::blob(&hash), expected: None, value };
        self.topo(TopoCall::Blob(hash), request);
        Placing::Waits
    }

    pub(crate) fn repeat_blob(&self, hash: &Hash) -> Option<TopoRequest> {
        let value = self.blobs.writes.get(hash)?.value.clone();
        Some(TopoRequest::Write { key: keys::blob(hash), expected: None, value })
    }

    pub(crate) fn blob_swapped(&mut self, hash: Hash, swap: Swap) {
        let standing = match swap {
            Swap::Committed(_) => self.blobs.writes.get(&hash).map(|write| write.value.clone()),
            // Existing is fine, when it is what its name says.
            Swap::Mismatch { current: Some(current) } => Some(current.value),
            Swap::Mismatch { current: None } => {
                return self.repeat_later(TopoCall::Blob(hash), "it neither is nor is not there");
            }
            Swap::Indeterminate { reason } => return self.repeat_later(TopoCall::Blob(hash), &reason),
        };
        let Some(write) = self.blobs.writes.remove(&hash) else { return };
        match standing.ok_or_else(String::new).and_then(|value| self.check_blob(&hash, &value).map(|()| value)) {
            Ok(value) => {
                self.blobs.written.insert(hash);
                self.blobs.damaged.remove(&hash);
                self.blobs.cache.insert(hash, value);
            }
            Err(why) => self.damaged(hash, why),
        }
        for key in write.keys {
            self.touch(&key);
        }
    }

    /// Whether the bodies that the work on a record needs are at hand. If not, they are asked for, and
    /// the object is looked at again when they have come. What cannot be had is an error of whoever
    /// uses it.
    pub(crate) fn has_bodies(&mut self, key: &RecordKey, record: &Record) -> bool {
        let mut needed = Vec::new();
        if let Body::Blob(hash) = &record.intent.body {
            needed.push(*hash);
        }
        if let Some(sealed) = &record.sealed
            && let SealedBody::Blob(hash) = &sealed.body
            && sealed.wraps.contains_key(&self.config.member)
            && duty(record, &self.config.member) == Duty::Keep
        {
            needed.push(*hash);
        }
        let mut at_hand = true;
        for hash in needed {
            if self.blobs.cache.touch(&hash) {
                continue;
            }
            match self.blobs.damaged.get(&hash) {
                Some((_, until)) if *until > self.now.monotonic_ms => {
                    let until = *until;
                    self.at(until, Timer::Object(key.clone()));
                    continue;
                }
                _ => {}
            }
            at_hand = false;
            let waiting = match self.blobs.reads.get_mut(&hash) {
                Some(under_way) => under_way,
                None => self.blobs.wanted.entry(hash).or_default(),
            };
            waiting.insert(key.clone());
        }
        at_hand
    }

    /// Goes on with what waits for a place: blobs to be read, and objects whose blobs are to be written.
    pub(crate) fn continue_blobs(&mut self) {
        for _ in self.blobs.writes.len()..WRITES {
            let Some(key) = self.blobs.waiting.pop_first() else { break };
            self.touch(&key);
        }
        while self.topology.is_loaded()
            && self.queue.len() < READS
            && self.blobs.reads.len() < READS
            && let Some((hash, keys)) = self.blobs.wanted.pop_first()
        {
            self.blobs.reads.insert(hash, keys);
            self.topo(TopoCall::ReadBlob(hash), read_blob(&hash));
        }
    }

    pub(crate) fn blob_read(&mut self, hash: Hash, value: Option<Versioned>) {
        let keys = self.blobs.reads.remove(&hash).unwrap_or_default();
        let found = value.ok_or_else(|| {
            format!(
                "{} is missing in the topology server, and a record names it: edit the federated object, and its home writes it anew",
                keys::blob(&hash)
            )
        });
        match found.and_then(|found| self.check_blob(&hash, &found.value).map(|()| found.value)) {
            Ok(value) => {
                self.blobs.damaged.remove(&hash);
                self.blobs.cache.insert(hash, value);
            }
            Err(why) => self.damaged(hash, why),
        }
        for key in keys {
            self.touch(&key);
        }
    }

    fn check_blob(&self, hash: &Hash, value: &[u8]) -> Result<(), String> {
        let name = keys::blob(hash);
        let mend = "edit the federated object, and its home writes another";
        let league = self.league.as_ref().map(|league| league.id);
        let opened = Envelope::open(value).and_then(|(envelope, body)| match league {
            Some(league) => envelope.belongs_to(league).map(|()| body),
            None => Ok(body),
        });
        match opened {
            Ok(body) if Hash::of_bytes(&body) == *hash => Ok(()),
            Ok(_) => Err(format!(
                "{name} in the topology server does not hold what its name says (`hansa topo get {name}` shows it): {mend}"
            )),
            Err(error) => Err(format!("{name} in the topology server: {error}; {mend}")),
        }
    }

    fn damaged(&mut self, hash: Hash, why: String) {
        self.metrics.failures += 1;
        if self.blobs.damaged.get(&hash).is_none_or(|(known, _)| *known != why) {
            self.log(Level::Error, None, why.clone());
        }
        let until = self.now.monotonic_ms + DAMAGE_MS;
        self.blobs.damaged.insert(hash, (why, until));
    }

    /// The body of a blob that is at hand.
    pub(crate) fn blob(&self, hash: &Hash) -> Result<Vec<u8>, String> {
        match (self.blobs.cache.get(hash), self.blobs.damaged.get(hash)) {
            (Some(value), _) => Envelope::open(value).map(|(_, body)| body).map_err(|error| error.to_string()),
            (None, Some((why, _))) => Err(why.clone()),
            (None, None) => Err(format!("{} is still being read from the topology server", keys::blob(hash))),
        }
    }

    /// The agreed spec of a record, as its author wrote it.
    pub(crate) fn intent_text(&self, record: &Record) -> Result<Arc<RawValue>, String> {
        match &record.intent.body {
            Body::Inline(raw) => Ok(Arc::clone(raw)),
            Body::Blob(hash) => {
                let text = String::from_utf8(self.blob(hash)?).map_err(|error| format!("spec: {error}"))?;
                RawValue::from_string(text).map(Arc::from).map_err(|error| format!("spec: {error}"))
            }
        }
    }
}

/// The request for one blob: a value each, for a few of the largest would not fit into one answer.
pub(crate) fn read_blob(hash: &Hash) -> TopoRequest {
    TopoRequest::Read { keys: vec![keys::blob(hash)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(n: usize) -> Hash {
        Hash::of_bytes(&n.to_le_bytes())
    }

    proptest! {
        #[test]
        fn the_cache_stays_within_its_bounds_and_counts_right(
            steps in prop::collection::vec((0usize..12, 0usize..20 << 20, any::<bool>()), 1..60),
        ) {
            let mut cache = Cache::default();
            for (n, size, insert) in steps {
                if insert {
                    cache.insert(hash(n), Bytes::from(vec![0; size]));
                    prop_assert!(cache.get(&hash(n)).is_some());
                } else {
                    cache.touch(&hash(n));
                }
                let counted: usize = cache.values.values().map(|(value, _)| value.len()).sum();
                prop_assert_eq!(counted, cache.bytes);
                prop_assert_eq!(cache.uses.len(), cache.values.len());
                prop_assert!(cache.bytes <= CACHE_BYTES || cache.values.len() == 1);
            }
        }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = Cache::default();
        let third = || Bytes::from(vec![0; CACHE_BYTES / 3]);
        for n in 0..3 {
            cache.insert(hash(n), third());
        }
        assert!(cache.touch(&hash(0)));
        cache.insert(hash(3), third());
        assert!(cache.get(&hash(1)).is_none() && cache.get(&hash(0)).is_some());
    }
}
