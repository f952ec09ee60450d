//! Many values at once: one request to each store, then key by key what a quorum agrees on.

use super::drive::{Answers, GRACE};
use super::set::{View, gather};
use super::told::Moment;
use super::{Quorum, keys, lock};
use crate::contract::Entry;
use crate::error::TopoError;
use futures::{StreamExt, TryStreamExt, stream};
use hansa_ledger::Versioned;
use hansa_ledger::register::{Change, Copy, Outcome, Reply, State, StoreId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How many registers that no quorum agrees on are settled at once.
const AT_ONCE: usize = 16;
/// How long a store may take whose copy a read has to account for, before the register is settled without it.
const LATE: Duration = Duration::from_secs(1);

/// What one store answered: its copies by the registers' keys, and the epoch of its set where it was asked for.
pub(super) struct Survey {
    pub(super) copies: BTreeMap<String, Reply>,
    epoch: Reply,
}

impl Quorum {
    pub(super) async fn list(self: &Arc<Self>, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        let states = self.states(prefix).await?;
        let entries = stream::iter(states).map(|(key, state)| async move {
            let value = self.value(&key, &state.content).await?;
            Ok(Entry { key, versioned: Versioned { version: state.version, value } })
        });
        entries.buffered(AT_ONCE).try_collect().await
    }

    /// What all registers below a prefix hold, sorted by key.
    pub(super) async fn states(self: &Arc<Self>, prefix: &str) -> Result<Vec<(String, State)>, TopoError> {
        let mut view = self.view().await?;
        let (began, surveys) = loop {
            let began = lock(&self.told).begin();
            let surveys = self.surveyed(&view, prefix).await?;
            match newest(&surveys).filter(|epoch| *epoch > view.set.epoch) {
                // A key may have been made on stores that this view does not ask.
                Some(epoch) => view = self.refreshed(epoch).await?,
                None => break (began, surveys),
            }
        };
        let keys: BTreeSet<String> = surveys.values().flat_map(|survey| survey.copies.keys()).cloned().collect();
        let states = stream::iter(keys).map(|key| {
            let answers = answers(&view, &surveys, &key);
            let (quorum, view) = (self.clone(), view.clone());
            async move {
                let state = quorum.settle(&view, &key, answers, began).await?;
                let state = quorum.accounting(&key, state, began).await?;
                Ok::<_, TopoError>(state.map(|state| (key, state)))
            }
        });
        states.buffered(AT_ONCE).try_filter_map(|state| async move { Ok(state) }).try_collect().await
    }

    pub(super) async fn read_many(self: &Arc<Self>, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        let (began, states) = self.states_of(keys).await?;
        let values = stream::iter(keys.iter().cloned().zip(states)).map(|(key, state)| {
            let quorum = self.clone();
            async move {
                let state = quorum.accounting(&key, state, began).await?;
                quorum.versioned(&key, state).await
            }
        });
        values.buffered(AT_ONCE).try_collect().await
    }

    /// What registers hold, in the order of their keys, and when they were asked for.
    pub(super) async fn states_of(
        self: &Arc<Self>,
        keys: &[String],
    ) -> Result<(Moment, Vec<Option<State>>), TopoError> {
        let (view, began) = (self.view().await?, lock(&self.told).begin());
        let places: Vec<String> = keys.iter().map(|key| keys::copy(key)).collect();
        let asked = view.stores.iter().enumerate().map(|(number, (id, store))| {
            let places = &places;
            async move {
                let found = store.asked(|topo| topo.read_many(places)).await.ok();
                let survey = found.map(|found| {
                    let copies = keys.iter().zip(found).map(|(key, found)| (key.clone(), store.copy(key, found)));
                    // Where a register is missing, the operation looks it up: seldom, and after the copies.
                    (id.clone(), Survey { copies: copies.collect(), epoch: Reply::Unknown })
                });
                (number, survey)
            }
        });
        let owes = keys.iter().any(|key| lock(&self.told).owes(key, began));
        let surveys = gather(asked.collect(), |surveys| enough(&view, surveys), patience(owes)).await;
        let surveys: BTreeMap<_, _> = surveys.into_values().collect();
        let states = stream::iter(keys.to_vec()).map(|key| {
            let answers = answers(&view, &surveys, &key);
            let (quorum, view) = (self.clone(), view.clone());
            async move { quorum.settle(&view, &key, answers, began).await }
        });
        Ok((began, states.buffered(AT_ONCE).try_collect().await?))
    }

    /// What a register holds, by a read that accounts for all of its copies that were told without one; `state` is
    /// what a read that `began` then has found.
    pub(super) async fn accounting(
        self: &Arc<Self>,
        key: &str,
        state: Option<State>,
        began: Moment,
    ) -> Result<Option<State>, TopoError> {
        if !lock(&self.told).owes(key, began) {
            return Ok(state);
        }
        // Most likely a write is under way, and ends by itself.
        tokio::time::sleep(GRACE).await;
        let (again, mut states) = self.states_of(&[key.to_owned()]).await?;
        if !lock(&self.told).owes(key, began) {
            return Ok(states.pop().flatten());
        }
        match self.run(key, Change::Rewrite, None).await? {
            Outcome::Value(state) => {
                lock(&self.told).settled(key, again);
                Ok(state)
            }
            _ => Err(self.unavailable(key)),
        }
    }

    /// What the stores hold below a prefix: from a quorum at least.
    pub(super) async fn surveyed(&self, view: &View, prefix: &str) -> Result<BTreeMap<StoreId, Survey>, TopoError> {
        let asked = view.stores.iter().enumerate().map(|(number, (id, store))| async move {
            let place = keys::copies(prefix);
            let listed = store.list(&place).await;
            // After the list, so that a key which is missing there was not made under a newer set
            // before. Who cannot say it does not count: nothing else would tell of such a key.
            let epoch = store.read_set().await;
            let (Ok(listed), Reply::Set(_)) = (listed, &epoch) else { return (number, None) };
            let mut copies = BTreeMap::new();
            for entry in listed {
                let key = match (keys::register(&entry.key), Copy::decode(&entry.versioned.value)) {
                    (Some(key), _) => key.to_owned(),
                    (None, Ok(copy)) => copy.key.to_string(),
                    (None, Err(_)) => continue,
                };
                if key.starts_with(prefix) {
                    let reply = store.copy(&key, Some(entry.versioned));
                    copies.insert(key, reply);
                }
            }
            (number, Some((id.clone(), Survey { copies, epoch })))
        });
        let owes = lock(&self.told).owes_below(prefix);
        let surveys = gather(asked.collect(), |surveys| enough(view, surveys), patience(owes)).await;
        let surveys: BTreeMap<_, _> = surveys.into_values().collect();
        if view.set.is_quorum(|id| surveys.contains_key(id)) { Ok(surveys) } else { Err(self.unavailable(prefix)) }
    }
}

/// How long it is waited for more stores than are enough.
fn patience(owes: bool) -> Duration {
    if owes { LATE } else { GRACE }
}

/// Whether only a little longer is waited for the others: those that have answered are a quorum.
fn enough(view: &View, surveys: &BTreeMap<usize, (StoreId, Survey)>) -> bool {
    view.set.is_quorum(|id| surveys.values().any(|(other, _)| other == id))
}

fn newest(surveys: &BTreeMap<StoreId, Survey>) -> Option<u64> {
    let epochs = surveys.values().filter_map(|survey| match survey.epoch {
        Reply::Set(epoch) => epoch,
        _ => None,
    });
    epochs.max()
}

/// The answers about one register. Who was not heard, or not in time, counts as failed.
fn answers(view: &View, surveys: &BTreeMap<StoreId, Survey>, key: &str) -> Answers {
    let answer = |id: &StoreId| match surveys.get(id) {
        None => (Reply::Failed, Reply::SetFailed),
        Some(survey) => (survey.copies.get(key).cloned().unwrap_or(Reply::Copy(None)), survey.epoch.clone()),
    };
    view.set.counting().map(|id| (id.clone(), answer(id))).collect()
}
