//! Changes, merged from the feeds of the stores.

use super::drive::{Answers, GRACE};
use super::set::{View, gather};
use super::store::Store;
use super::told::Telling;
use super::{Quorum, keys, lock};
use crate::contract::{Changes, Cursor};
use crate::error::TopoError;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use hansa_ledger::Version;
use hansa_ledger::register::{Change, Copy, Outcome, Reply, State, StoreId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The pause before a feed that has failed is followed again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many registers are read at once.
const AT_ONCE: usize = 8;

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

/// Why it could not be told what has changed at a store.
enum Untold {
    /// The store did not answer. Its changes wait until it is back, as if its feed had failed.
    Store,
    /// No quorum answered.
    Quorum(TopoError),
}

impl From<TopoError> for Untold {
    fn from(error: TopoError) -> Self {
        Untold::Quorum(error)
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
            let now = store.asked(|topo| topo.changes(None)).await;
            (number, now.ok().map(|now| (id.clone(), now.cursor().as_str().to_owned())))
        });
        let feeds: BTreeMap<_, _> =
            gather(asked.collect(), |feeds| feeds.len() == view.stores.len(), GRACE).await.into_values().collect();
        if view.set.is_quorum(|id| feeds.contains_key(id)) {
            Ok(Place { epoch: view.set.epoch, feeds })
        } else {
            Err(self.unavailable("/"))
        }
    }

    async fn follow(self: &Arc<Self>, view: &Arc<View>, mut place: Place) -> Result<Changes, TopoError> {
        let feed = |id: &StoreId, cursor: &str, pause: Duration| -> Option<Feed> {
            let (id, cursor) = (id.clone(), Cursor::new(cursor));
            let store: Arc<Store> = view.stores.get(&id)?.clone();
            let followed = async move {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                let changes = store.follow(&cursor).await;
                (id, changes)
            };
            Some(followed.boxed())
        };
        let feeds = place.feeds.iter().filter_map(|(id, cursor)| feed(id, cursor, Duration::ZERO));
        let mut feeds: FuturesUnordered<Feed> = feeds.collect();
        let mut failed: BTreeMap<StoreId, u32> = BTreeMap::new();
        while let Some((id, changes)) = feeds.next().await {
            let told = match changes {
                Ok(Changes::Keys { cursor, keys }) => {
                    if keys.keys().any(|key| keys::is_set(key)) && self.reloaded().await?.set.epoch != place.epoch {
                        return self.reset(&*self.view().await?).await;
                    }
                    match self.tell(view, &id, keys).await {
                        Ok(told) => Some((cursor, told)),
                        // It told of a change, maybe from memory, and is away by now: the others go on without it.
                        Err(Untold::Store) => None,
                        Err(Untold::Quorum(error)) => return Err(error),
                    }
                }
                Ok(Changes::Reset { .. }) => return self.reset(view).await,
                Err(_) => None,
            };
            let Some((next, told)) = told else {
                *failed.entry(id.clone()).or_default() += 1;
                // Once may be chance; a feed that fails again is away until it is back.
                let away = |id: &StoreId| failed.get(id).is_some_and(|times| *times > 1);
                if !view.set.is_quorum(|id| place.feeds.contains_key(id) && !away(id)) {
                    return self.reset(view).await;
                }
                let pause = if away(&id) { PAUSE } else { PAUSE / 50 };
                feeds.extend(place.feeds.get(&id).and_then(|cursor| feed(&id, cursor, pause)));
                continue;
            };
            failed.remove(&id);
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
    ) -> Result<BTreeMap<String, Version>, Untold> {
        let copies = changed.into_iter().filter(|(place, _)| keys::is_copy(place));
        let told = stream::iter(copies).map(|(place, at)| {
            let (quorum, view, store) = (self.clone(), view.clone(), store.clone());
            async move { quorum.tell_one(&view, &store, &place, &at).await }
        });
        told.buffer_unordered(AT_ONCE).try_filter_map(|told| async move { Ok(told) }).try_collect().await
    }

    /// The version of a register whose copy at `store` has changed. What is read accounts for that copy: a
    /// value that this store has accepted is told, or can never be chosen any more.
    async fn tell_one(
        self: &Arc<Self>,
        view: &Arc<View>,
        store: &StoreId,
        place: &str,
        at: &Version,
    ) -> Result<Option<(String, Version)>, Untold> {
        if let Some(key) = keys::register(place)
            && let Telling::Version(version) = lock(&self.told).tell(key, store, at, Instant::now())
        {
            return Ok(Some((key.to_owned(), version)));
        }
        let Some(handle) = view.stores.get(store) else { return Ok(None) };
        let began = lock(&self.told).begin();
        let found = handle.asked(|topo| topo.get(place)).await.map_err(|_| Untold::Store)?;
        let Some(found) = found else { return Ok(None) };
        let copy = match Copy::decode(&found.value) {
            Ok(copy) => copy,
            Err(error) => {
                handle.note_damage(place, &error);
                // Of a long key, the copy alone says which it is.
                let Some(key) = keys::register(place) else { return Ok(None) };
                // What the others hold counts. Where they hold nothing readable either, this says so.
                let answers = Answers::from([(store.clone(), (Reply::Failed, Reply::Unknown))]);
                let state = self.settle(view, key, answers, began).await?;
                return Ok(state.map(|state| (key.to_owned(), state.version)));
            }
        };
        let key = copy.key.to_string();
        // A promise alone changes nothing, and may be all there is.
        let Some(accepted) = copy.accepted.clone() else { return Ok(None) };
        let answers = Answers::from([(store.clone(), (Reply::Copy(Some((found.version, copy))), Reply::Unknown))]);
        let state = self.settle(view, &key, answers, began).await?;
        let accounts =
            |state: &State| state.version == accepted.state.version || state.revision > accepted.state.revision;
        let state = match state.filter(accounts) {
            Some(state) => state,
            None => match self.run(&key, Change::Rewrite, None).await? {
                Outcome::Value(Some(state)) => state,
                Outcome::Value(None) => return Ok(None),
                _ => return Err(self.unavailable(&key).into()),
            },
        };
        Ok(Some((key, state.version)))
    }

    async fn reloaded(self: &Arc<Self>) -> Result<Arc<View>, TopoError> {
        self.change_set(|_| None).await
    }
}
