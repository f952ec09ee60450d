//! Changes, merged from the feeds of the stores.

use super::drive::Answers;
use super::set::{View, gather};
use super::store::Store;
use super::{NAME, Quorum, keys};
use crate::contract::{Changes, Cursor};
use crate::error::TopoError;
use crate::usage::Operation as Call;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use hansa_ledger::Version;
use hansa_ledger::register::{Change, Operation, Outcome, Reply, State, StoreId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The pause before a feed that has failed is followed again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many registers are read at once.
const AT_ONCE: usize = 8;
/// For how many registers it is remembered what was read last.
const REGISTERS_KEPT: usize = 16_384;

/// A place in the feeds of the stores, as a cursor says it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Place {
    epoch: u64,
    feeds: BTreeMap<StoreId, String>,
}

impl Place {
    fn read(cursor: &Cursor) -> Option<Self> {
        serde_json::from_str(cursor.as_str()).ok()
    }

    fn write(&self) -> Cursor {
        Cursor::new(serde_json::to_string(self).unwrap_or_default())
    }
}

/// What was read of registers last, so that the feeds of several stores about one write need one
/// read together.
#[derive(Default)]
pub(super) struct Told(BTreeMap<Arc<str>, Register>);

struct Register {
    version: Version,
    /// The stores' versions of the copies that this version of the register accounts for.
    accounted: BTreeMap<StoreId, Version>,
}

impl Told {
    pub(super) fn remember(&mut self, key: &Arc<str>, state: &State, operation: &Operation) {
        let accounts = |copy: Option<&State>| {
            copy.is_none_or(|copy| copy.version == state.version || copy.revision < state.revision)
        };
        let accounted = operation.copies().filter(|(_, _, copy)| accounts(*copy));
        let accounted = accounted.map(|(store, version, _)| (store.clone(), version.clone())).collect();
        if self.0.len() >= REGISTERS_KEPT {
            self.0.pop_first();
        }
        self.0.insert(key.clone(), Register { version: state.version.clone(), accounted });
    }

    fn version(&self, key: &str, store: &StoreId, at: &Version) -> Option<Version> {
        let register = self.0.get(key)?;
        (register.accounted.get(store) == Some(at)).then(|| register.version.clone())
    }
}

type Feed = BoxFuture<'static, (StoreId, Result<Changes, TopoError>)>;

impl Quorum {
    pub(super) async fn changes(self: &Arc<Self>, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        let view = self.view().await?;
        let Some(cursor) = cursor else {
            let cursor = self.now(&view).await?.write();
            return Ok(Changes::Keys { cursor, keys: BTreeMap::new() });
        };
        match Place::read(cursor) {
            Some(place) if place.epoch == view.set.epoch && view.set.is_quorum(|id| place.feeds.contains_key(id)) => {
                self.follow(&view, place).await
            }
            _ => self.reset(&view).await,
        }
    }

    async fn reset(&self, view: &View) -> Result<Changes, TopoError> {
        Ok(Changes::Reset { cursor: self.now(view).await?.write() })
    }

    /// The end of the feeds of all stores that answer, a quorum at least.
    async fn now(&self, view: &View) -> Result<Place, TopoError> {
        let asked = view.stores.iter().enumerate().map(|(number, (id, store))| async move {
            self.meter.request(Call::Changes);
            let now = store.asked(|topo| topo.changes(None)).await;
            (number, now.ok().map(|now| (id.clone(), now.cursor().as_str().to_owned())))
        });
        let feeds: BTreeMap<_, _> = gather(asked.collect(), view.stores.len()).await.into_values().collect();
        if view.set.is_quorum(|id| feeds.contains_key(id)) {
            Ok(Place { epoch: view.set.epoch, feeds })
        } else {
            Err(self.unavailable("/"))
        }
    }

    async fn follow(self: &Arc<Self>, view: &Arc<View>, mut place: Place) -> Result<Changes, TopoError> {
        let feed = |id: &StoreId, cursor: &str, pause: Duration| -> Option<Feed> {
            let (id, cursor, quorum) = (id.clone(), Cursor::new(cursor), self.clone());
            let store: Arc<Store> = view.stores.get(&id)?.clone();
            let followed = async move {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                let changes = store.follow(&cursor, &quorum.meter).await;
                (id, changes)
            };
            Some(followed.boxed())
        };
        let feeds = place.feeds.iter().filter_map(|(id, cursor)| feed(id, cursor, Duration::ZERO));
        let mut feeds: FuturesUnordered<Feed> = feeds.collect();
        let mut failed: BTreeMap<StoreId, u32> = BTreeMap::new();
        while let Some((id, changes)) = feeds.next().await {
            let (next, keys) = match changes {
                Ok(Changes::Keys { cursor, keys }) => (cursor, keys),
                Ok(Changes::Reset { .. }) => return self.reset(view).await,
                Err(_) => {
                    *failed.entry(id.clone()).or_default() += 1;
                    // Once may be chance; a feed that fails again is away until it is back.
                    let away = |id: &StoreId| failed.get(id).is_some_and(|times| *times > 1);
                    if !view.set.is_quorum(|id| place.feeds.contains_key(id) && !away(id)) {
                        return self.reset(view).await;
                    }
                    let pause = if away(&id) { PAUSE } else { PAUSE / 50 };
                    feeds.extend(place.feeds.get(&id).and_then(|cursor| feed(&id, cursor, pause)));
                    continue;
                }
            };
            failed.remove(&id);
            if keys.keys().any(|key| keys::is_set(key)) && self.reloaded().await?.set.epoch != place.epoch {
                return self.reset(&*self.view().await?).await;
            }
            let told = self.tell(view, &id, keys).await?;
            place.feeds.insert(id.clone(), next.as_str().to_owned());
            if !told.is_empty() {
                return Ok(Changes::Keys { cursor: place.write(), keys: told });
            }
            feeds.extend(feed(&id, next.as_str(), Duration::ZERO));
        }
        Err(self.unavailable("/"))
    }

    /// The versions of the registers whose copies at `store` have changed.
    async fn tell(
        self: &Arc<Self>,
        view: &Arc<View>,
        store: &StoreId,
        changed: BTreeMap<String, Version>,
    ) -> Result<BTreeMap<String, Version>, TopoError> {
        let copies = changed.into_iter().filter(|(place, _)| keys::is_copy(place));
        let told = stream::iter(copies).map(|(place, at)| {
            let (quorum, view, store) = (self.clone(), view.clone(), store.clone());
            async move { quorum.tell_one(&view, &store, &place, &at).await }
        });
        told.buffer_unordered(AT_ONCE).try_filter_map(|told| async move { Ok(told) }).try_collect().await
    }

    /// The version of a register whose copy at `store` has changed. It accounts for that copy: a
    /// value that this store has accepted is told, or can never be chosen any more.
    async fn tell_one(
        self: &Arc<Self>,
        view: &Arc<View>,
        store: &StoreId,
        place: &str,
        at: &Version,
    ) -> Result<Option<(String, Version)>, TopoError> {
        let known = keys::register(place).and_then(|key| {
            let version = super::lock(&self.told).version(key, store, at)?;
            Some((key.to_owned(), version))
        });
        if known.is_some() {
            return Ok(known);
        }
        let Some(handle) = view.stores.get(store) else { return Ok(None) };
        self.meter.request(Call::Changes);
        let Some(found) = handle.asked(|topo| topo.get(place)).await? else { return Ok(None) };
        let copy = hansa_ledger::register::Copy::decode(&found.value).map_err(|error| {
            let message = format!("{}, {place}: {error}", handle.location);
            TopoError::new(crate::Category::Corrupt, NAME, message)
        })?;
        let key = copy.key.to_string();
        // A promise alone changes nothing, and may be all there is.
        let Some(accepted) = copy.accepted.clone() else { return Ok(None) };
        let answers = Answers::from([(store.clone(), (Reply::Copy(Some((found.version, copy))), Reply::Unknown))]);
        let state = self.settle(view, &key, answers, Call::Changes).await?;
        let accounts =
            |state: &State| state.version == accepted.state.version || state.revision > accepted.state.revision;
        let state = match state.filter(accounts) {
            Some(state) => state,
            None => match self.run(&key, Change::Rewrite, None, Call::Changes).await? {
                Outcome::Value(Some(state)) => state,
                Outcome::Value(None) => return Ok(None),
                _ => return Err(self.unavailable(&key)),
            },
        };
        Ok(Some((key, state.version)))
    }

    async fn reloaded(self: &Arc<Self>) -> Result<Arc<View>, TopoError> {
        self.change_set(|_| None).await
    }
}
