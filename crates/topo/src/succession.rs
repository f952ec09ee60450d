//! A handle that goes on with the store which has taken another's place, once a person has said that it counts.
//!
//! A handle speaks with one store for its life, and when another one answers at the same URL (an etcd that was restored
//! from a backup into a new cluster, say) each call ends with [`Category::Replaced`]. That may be the way back, or a
//! mistake: a process that is cut off from the league's own store and reaches another one must not act on it. What tells
//! them apart is the control document. A person who means it raises the era there, and whoever restores with
//! [`crate::backup`] does so; then the handle here turns to that store. Until then it stays with the old one: it goes
//! on by itself when that is back, and says what stands in its place.
//!
//! The call that finds it out still ends with [`Category::Replaced`], for what it was to do belonged to the old store.
//! No number of the old store means anything in the new one: versions bear which store they are of, a cursor of
//! the old one is a reset, and nothing is written before the control document was read there.

use crate::contract::{Changes, Cursor, Entry, Finding, Topo};
use crate::error::{Category, TopoError};
use crate::open::{Options, open_url};
use crate::url::TopoUrl;
use crate::usage::Usage;
use async_trait::async_trait;
use bytes::Bytes;
use hansa_ledger::{Envelope, Swap, Version, Versioned, keys};
use hansa_model::{Era, LeagueId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked at what stands in the store's place.
const LOOK: Duration = Duration::from_secs(1);
/// What stands between the number of a store and its version; no backend's versions have it.
const OF_STORE: char = '~';

/// Opens the topology server at `url` for an operator. See [`mod@crate::succession`].
///
/// # Errors
/// As [`crate::open()`].
pub async fn open(url: &str, options: &Options) -> Result<Arc<dyn Topo>, TopoError> {
    let url: TopoUrl = url
        .parse()
        .map_err(|error: crate::UrlError| TopoError::new(Category::Configuration, "topo", error.to_string()))?;
    let topo = open_url(url.clone(), options).await?;
    let first = Arc::new(Store { topo, number: 0, is_known: AtomicBool::new(true) });
    let state = State { store: first, league: None };
    Ok(Arc::new(Succession { url, options: options.clone(), state: Mutex::new(state), looked: Default::default() }))
}

struct Succession {
    url: TopoUrl,
    options: Options,
    state: Mutex<State>,
    /// When it was last looked at what stands in the store's place, and what that was.
    looked: tokio::sync::Mutex<Option<(Instant, String)>>,
}

struct State {
    store: Arc<Store>,
    /// Which league's control document was read, and its highest era.
    league: Option<(LeagueId, Era)>,
}

/// One store in the line of those that stood at the URL.
struct Store {
    topo: Arc<dyn Topo>,
    number: u64,
    /// Whether the control document was read in it.
    is_known: AtomicBool,
}

impl Store {
    /// A version as it is told.
    fn told(&self, version: Version) -> Version {
        match self.number {
            0 => version,
            number => Version::new(format!("{number}{OF_STORE}{version}")),
        }
    }

    fn versioned(&self, found: Versioned) -> Versioned {
        Versioned { version: self.told(found.version), ..found }
    }

    /// The store's own version; none for one of another store.
    fn own(&self, version: &Version) -> Option<Version> {
        match (self.number, version.as_str().split_once(OF_STORE)) {
            (0, None) => Some(version.clone()),
            (number, Some((of, own))) if of.parse() == Ok(number) => Some(Version::new(own)),
            _ => None,
        }
    }
}

/// What the control document of another store says for those who know a league.
fn judge(known: Option<(LeagueId, Era)>, control: Option<&Versioned>) -> Result<(), String> {
    let Some((league, era)) = known else { return Ok(()) };
    let label = league.label();
    let Some(control) = control else {
        return Err(format!("it holds no league: bring back the one of league {label}, or restore it from a backup"));
    };
    match Envelope::open_header(&control.value) {
        Err(error) => Err(format!("{}: {error}", keys::CONTROL)),
        Ok((found, _)) if found.league != league => Err(format!(
            "it holds league {}, and this is league {label}: bring back this league's own topology server",
            found.league.label()
        )),
        Ok((found, _)) if found.era <= era => Err(format!(
            "it holds league {label} in era {}, and this league is in era {era}: bring back the store that was here, or, when this one is what is to count, raise the era in it with `hansa topo raise-era`",
            found.era
        )),
        Ok(_) => Ok(()),
    }
}

impl Succession {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> Arc<Store> {
        self.state().store.clone()
    }

    /// Takes note of the control document, as it was read in a store.
    fn read(&self, store: &Store, key: &str, value: &Bytes) {
        if key != keys::CONTROL {
            return;
        }
        store.is_known.store(true, Ordering::Release);
        if let Ok((found, _)) = Envelope::open_header(value) {
            let mut state = self.state();
            let known = state.league.filter(|(league, _)| *league == found.league).map(|(_, era)| era);
            state.league = Some((found.league, known.map_or(found.era, |era| era.max(found.era))));
        }
    }

    /// What a call's failure means: where another store stands in the place of the one it was made to, what that is.
    async fn failed(&self, store: &Store, error: TopoError) -> TopoError {
        if error.category() != Category::Replaced {
            return error;
        }
        let mut looked = self.looked.lock().await;
        if self.store().number != store.number {
            return error;
        }
        let again = looked.as_ref().is_none_or(|(at, _)| at.elapsed() >= LOOK);
        if again {
            let found = match self.look(store.number + 1).await {
                Ok(()) => "it is turned to".to_owned(),
                Err(why) => why,
            };
            *looked = Some((Instant::now(), found));
        }
        let found = looked.as_ref().map_or("", |(_, found)| found);
        TopoError::new(Category::Replaced, error.backend(), format!("{}; {found}", error.chain()))
    }

    /// Turns to what stands there now, or says why not.
    async fn look(&self, number: u64) -> Result<(), String> {
        let unread = |error: TopoError| format!("what it holds cannot be read: {}", error.chain());
        let topo = open_url(self.url.clone(), &self.options).await.map_err(unread)?;
        let control = topo.get(keys::CONTROL).await.map_err(unread)?;
        let mut state = self.state();
        judge(state.league, control.as_ref())?;
        tracing::warn!(url = %self.url, "another store stands there, and is used from now on");
        // Where no league is known yet, one may be founded there.
        let is_known = AtomicBool::new(state.league.is_none());
        state.store = Arc::new(Store { topo, number, is_known });
        Ok(())
    }

    /// The store to write to.
    fn writable(&self) -> Result<Arc<Store>, TopoError> {
        let store = self.store();
        if store.is_known.load(Ordering::Acquire) {
            return Ok(store);
        }
        let message = "another store stands there; nothing is written before its control document was read";
        Err(TopoError::new(Category::Replaced, store.topo.backend(), message))
    }

    async fn swapped(
        &self,
        store: &Store,
        key: &str,
        value: &Bytes,
        swap: Result<Swap, TopoError>,
    ) -> Result<Swap, TopoError> {
        Ok(match swap {
            Ok(Swap::Committed(version)) => {
                self.read(store, key, value);
                Swap::Committed(store.told(version))
            }
            Ok(Swap::Mismatch { current: Some(current) }) => {
                self.read(store, key, &current.value);
                Swap::Mismatch { current: Some(store.versioned(current)) }
            }
            Ok(other) => other,
            Err(error) => return Err(self.failed(store, error).await),
        })
    }
}

impl fmt::Debug for Succession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store().topo.fmt(f)
    }
}

#[async_trait]
impl Topo for Succession {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        let store = self.store();
        match store.topo.get(key).await {
            Ok(found) => {
                found.iter().for_each(|found| self.read(&store, key, &found.value));
                Ok(found.map(|found| store.versioned(found)))
            }
            Err(error) => Err(self.failed(&store, error).await),
        }
    }

    async fn create(&self, key: &str, value: Bytes) -> Result<Swap, TopoError> {
        let store = self.writable()?;
        let swap = store.topo.create(key, value.clone()).await;
        self.swapped(&store, key, &value, swap).await
    }

    async fn compare_and_swap(&self, key: &str, expected: &Version, value: Bytes) -> Result<Swap, TopoError> {
        let store = self.writable()?;
        let Some(own) = store.own(expected) else { return Ok(Swap::Mismatch { current: self.get(key).await? }) };
        let swap = store.topo.compare_and_swap(key, &own, value.clone()).await;
        self.swapped(&store, key, &value, swap).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        let store = self.store();
        let entries = match store.topo.list(prefix).await {
            Ok(entries) => entries,
            Err(error) => return Err(self.failed(&store, error).await),
        };
        entries.iter().for_each(|entry| self.read(&store, &entry.key, &entry.versioned.value));
        let told = |entry: Entry| Entry { versioned: store.versioned(entry.versioned), ..entry };
        Ok(entries.into_iter().map(told).collect())
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        let store = self.store();
        let values = match store.topo.read_many(keys).await {
            Ok(values) => values,
            Err(error) => return Err(self.failed(&store, error).await),
        };
        let found = keys.iter().zip(&values).filter_map(|(key, value)| Some((key, value.as_ref()?)));
        found.for_each(|(key, value)| self.read(&store, key, &value.value));
        Ok(values.into_iter().map(|value| value.map(|value| store.versioned(value))).collect())
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        let store = self.store();
        match store.topo.changes(cursor).await {
            Ok(Changes::Keys { cursor, keys }) => {
                let keys = keys.into_iter().map(|(key, version)| (key, store.told(version)));
                Ok(Changes::Keys { cursor, keys: keys.collect::<BTreeMap<_, _>>() })
            }
            Ok(reset) => Ok(reset),
            Err(error) => Err(self.failed(&store, error).await),
        }
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        let store = self.store();
        match store.topo.check().await {
            Ok(findings) => Ok(findings),
            Err(error) => Err(self.failed(&store, error).await),
        }
    }

    fn values_per_read(&self) -> usize {
        self.store().topo.values_per_read()
    }

    fn usage(&self) -> Usage {
        self.store().topo.usage()
    }

    fn backend(&self) -> &'static str {
        self.store().topo.backend()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_model::Hash;

    fn control(league: &[u8], era: u64) -> Versioned {
        let value = Envelope::first(LeagueId(Hash::of_bytes(league)), Era(era), 1).seal(b"{}");
        Versioned { version: Version::new("1"), value }
    }

    #[test]
    fn a_later_era_of_the_league_alone_is_a_persons_word() {
        let known = Some((LeagueId(Hash::of_bytes(b"ours")), Era(2)));
        let why = |control: Option<Versioned>| judge(known, control.as_ref()).expect_err("it is no word");
        assert!(why(None).contains("holds no league"));
        assert!(why(Some(control(b"other", 9))).contains("holds league"));
        for era in [1, 2] {
            assert!(why(Some(control(b"ours", era))).contains("raise-era"), "{era}");
        }
        let torn = Versioned { version: Version::new("1"), value: "torn".into() };
        assert!(why(Some(torn)).contains(keys::CONTROL));
        assert_eq!(judge(known, Some(&control(b"ours", 3))), Ok(()));
        // Who knows no league yet has nothing to lose.
        assert_eq!(judge(None, None), Ok(()));
    }

    #[test]
    fn versions_bear_their_store() {
        let store = |number| {
            let topo = crate::memory::unshared().expect("memory");
            Store { topo, number, is_known: AtomicBool::new(true) }
        };
        let version = Version::new("7");
        for (of, at) in [(0, 0), (1, 1)] {
            assert_eq!(store(at).own(&store(of).told(version.clone())), Some(version.clone()));
        }
        for (of, at) in [(0, 1), (1, 0), (1, 2)] {
            assert_eq!(store(at).own(&store(of).told(version.clone())), None, "{of} at {at}");
        }
    }
}
