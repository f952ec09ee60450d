//! The set of stores as this process knows it: formed once, loaded, and changed.

use super::drive::{Answers, Driver, GRACE};
use super::store::{Store, accepted_set};
use super::{NAME, Quorum, keys, lock};
use crate::error::{Category, TopoError};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hansa_ledger::Version;
use hansa_ledger::register::{
    Accepted, Ballot, Change, Content, Copy, Evidence, Outcome, ProposerId, Reply, Search, State, StoreId, StoreSet,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A set of stores with the handles to those that this process reaches.
pub(super) struct View {
    pub(super) set: Arc<StoreSet>,
    /// The version of the register that holds the set.
    pub(super) version: Version,
    pub(super) stores: BTreeMap<StoreId, Arc<Store>>,
}

#[derive(Default)]
pub(super) struct Views {
    current: Mutex<Option<Arc<View>>>,
    /// One loads, the others wait for it.
    loading: tokio::sync::Mutex<()>,
    /// Stores that this process has found to forget, until the set says so.
    barred: Mutex<BTreeMap<StoreId, String>>,
    /// When stores were last asked that had not answered before.
    looked: Mutex<Option<Instant>>,
}

/// How often stores are asked that have not answered before.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest pause before it is tried again to write down that a store has forgotten.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a change of the set is tried again when others change it, too.
const ATTEMPTS: usize = 8;

/// Waits for all, or until the answers are enough and a little longer.
pub(super) async fn gather<T>(
    mut asked: FuturesUnordered<impl Future<Output = (usize, Option<T>)>>,
    are_enough: impl Fn(&BTreeMap<usize, T>) -> bool,
    longer: Duration,
) -> BTreeMap<usize, T> {
    let mut answers = BTreeMap::new();
    while let Some((number, answer)) = asked.next().await {
        answers.extend(answer.map(|answer| (number, answer)));
        if are_enough(&answers) {
            break;
        }
    }
    let rest = async {
        while let Some((number, answer)) = asked.next().await {
            answers.extend(answer.map(|answer| (number, answer)));
        }
    };
    let _ = tokio::time::timeout(longer, rest).await;
    answers
}

impl Quorum {
    /// The set of stores, loaded when it is needed first.
    pub(super) async fn view(self: &Arc<Self>) -> Result<Arc<View>, TopoError> {
        let current = lock(&self.view.current).clone();
        let Some(view) = current else { return self.refreshed(0).await };
        let missing: Vec<&StoreId> = view.set.counting().filter(|id| !view.stores.contains_key(*id)).collect();
        // One may have said it while the set was being loaded.
        if missing.iter().any(|id| self.knows(id)) {
            return self.widened(&view);
        }
        if !missing.is_empty() {
            self.look_for_others();
        }
        Ok(view)
    }

    /// The same set, with all stores that have said by now which they are.
    fn widened(&self, view: &View) -> Result<Arc<View>, TopoError> {
        let wider = self.seen(view.set.clone())?;
        Ok(self.adopt(View { version: view.version.clone(), ..wider }))
    }

    /// Asks stores that have not said yet which they are, in the background and not too often.
    fn look_for_others(self: &Arc<Self>) {
        let mut looked = lock(&self.view.looked);
        let nameless: Vec<Arc<Store>> = self.stores.iter().filter(|store| store.id().is_none()).cloned().collect();
        if nameless.is_empty() || looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        looked.replace(Instant::now());
        self.spawn(async move {
            let looks = nameless.iter().map(|store| store.marker());
            futures::future::join_all(looks).await;
        });
    }

    /// The set of stores, of `epoch` or later.
    pub(super) async fn refreshed(self: &Arc<Self>, epoch: u64) -> Result<Arc<View>, TopoError> {
        let _one = self.view.loading.lock().await;
        let current = lock(&self.view.current).clone();
        if let Some(view) = current.filter(|view| view.set.epoch >= epoch) {
            return Ok(view);
        }
        let view = Box::pin(self.load()).await?;
        lock(&self.view.barred).retain(|store, _| !view.set.barred.contains_key(store));
        Ok(self.adopt(view))
    }

    fn adopt(&self, mut view: View) -> Arc<View> {
        let barred = lock(&self.view.barred).clone();
        if barred.keys().any(|store| !view.set.barred.contains_key(store)) {
            let mut set = (*view.set).clone();
            set.barred.extend(barred);
            view.set = Arc::new(set);
        }
        let view = Arc::new(view);
        lock(&self.view.current).replace(view.clone());
        view
    }

    /// Finds the set that is in force, from the newest one that a store has heard of.
    async fn load(self: &Arc<Self>) -> Result<View, TopoError> {
        let majority = self.stores.len() / 2 + 1;
        let mut looks = self.look(majority).await;
        if looks.values().all(Option::is_none) {
            if looks.len() < self.stores.len() {
                looks = self.look(self.stores.len()).await;
            }
            let nothing = looks.values().all(Option::is_none);
            if nothing && looks.len() < self.stores.len() {
                let message = format!(
                    "no store that answers knows of a quorum, and one is formed when all answer; away: {}",
                    self.away()
                );
                return Err(TopoError::new(Category::Unavailable, NAME, message));
            }
            if nothing {
                self.form().await?;
                looks = self.look(majority).await;
            }
        }
        // Of sets of two quorums, that of which more stores are named here: a stranger's word decides nothing.
        let at_hand = |set: &StoreSet| set.all().into_iter().filter(|id| self.knows(id)).count();
        let newest = looks.values().flatten().max_by_key(|set| (set.epoch, at_hand(set)));
        let set = newest.cloned().ok_or_else(|| self.unavailable(keys::SET))?;
        if self.refuse_empty(&set, &looks).is_err() {
            // While the quorum was being formed a store may have been empty that bears its name by now.
            looks = self.look(self.stores.len()).await;
            self.refuse_empty(&set, &looks)?;
        }
        let mut search = Search::from(set);
        for _ in 0..ATTEMPTS {
            let view = self.seen(search.set().clone())?;
            let Some(state) = self.set_register(&view, search.change()).await? else {
                // Whoever formed the quorum was stopped before most stores had it: that very set, whatever is named here.
                if view.set.epoch > 1 {
                    return Err(self.unavailable(keys::SET));
                }
                put_first(&view.set, view.stores.values()).await;
                continue;
            };
            if search.found(decoded(&state)?) {
                return Ok(View { version: state.version, ..view });
            }
        }
        Err(TopoError::new(Category::Unavailable, NAME, "the set of stores changes faster than it can be read"))
    }

    /// Each store's marker, and the set that its copy has accepted.
    async fn look(&self, enough: usize) -> BTreeMap<usize, Option<StoreSet>> {
        let asked = self.stores.iter().enumerate().map(|(number, store)| async move {
            let look = async {
                store.marker().await.ok()?;
                match store.read_copy(keys::SET).await {
                    Reply::Copy(found) => Some(found.and_then(|(_, copy)| accepted_set(&copy))),
                    _ => None,
                }
            };
            (number, look.await)
        });
        gather(asked.collect(), |answers| answers.len() >= enough, GRACE).await
    }

    fn knows(&self, id: &StoreId) -> bool {
        self.stores.iter().any(|store| store.id() == Some(id))
    }

    /// Refuses stores of which too many hold nothing of the quorum, whatever those say that are away.
    fn refuse_empty(&self, set: &StoreSet, looks: &BTreeMap<usize, Option<StoreSet>>) -> Result<(), TopoError> {
        let nameless: Vec<usize> =
            (0..self.stores.len()).filter(|number| self.stores[*number].id().is_none()).collect();
        let (empty, silent): (Vec<usize>, Vec<usize>) =
            nameless.into_iter().partition(|number| looks.contains_key(number));
        let known = set.counting().filter(|id| self.knows(id)).count();
        if empty.is_empty() || known + silent.len() > set.stores.len() / 2 {
            return Ok(());
        }
        let empty: Vec<&str> = empty.into_iter().map(|number| &*self.stores[number].location).collect();
        let members: Vec<&str> = set.stores.values().map(String::as_str).collect();
        let message = format!(
            "nothing of this quorum stands in {}, and its stores are {}; name those",
            empty.join(", "),
            members.join(", ")
        );
        Err(TopoError::new(Category::Configuration, NAME, message))
    }

    /// The set with the stores of this process that are in it.
    fn seen(&self, set: Arc<StoreSet>) -> Result<View, TopoError> {
        let known = self.stores.iter().filter_map(|store| Some((store.id()?.clone(), store.clone())));
        let stores: BTreeMap<_, _> = known.filter(|(id, _)| set.all().contains(id)).collect();
        let strangers: Vec<&str> = self
            .stores
            .iter()
            .filter(|store| store.id().is_some_and(|id| !stores.contains_key(id)))
            .map(|store| store.location.as_str())
            .collect();
        if !strangers.is_empty() && !set.is_quorum(|id| stores.contains_key(id)) {
            let members: Vec<&str> = set.stores.values().map(String::as_str).collect();
            let message = format!(
                "{} is not among the stores of this quorum, which are {}; name those",
                strangers.join(", "),
                members.join(", ")
            );
            return Err(TopoError::new(Category::Configuration, NAME, message));
        }
        Ok(View { set, version: Version::new(""), stores })
    }

    async fn set_register(self: &Arc<Self>, view: &View, change: Change) -> Result<Option<State>, TopoError> {
        let view = View { set: view.set.clone(), version: view.version.clone(), stores: view.stores.clone() };
        let driver = Driver {
            quorum: self.clone(),
            view: Arc::new(view),
            key: keys::SET.into(),
            value: None,
            answers: Answers::new(),
            began: lock(&self.told).begin(),
            refreshes: false,
        };
        match self.carry_out(driver, change).await? {
            Outcome::Value(state) => Ok(state),
            _ => Err(self.unavailable(keys::SET)),
        }
    }

    /// Makes the first set. Whoever does it at the same time does exactly the same: the stores'
    /// names are given once, by create-if-absent, and all else follows from them.
    async fn form(&self) -> Result<(), TopoError> {
        if self.stores.len().is_multiple_of(2) {
            let message = "no store that answers knows of a quorum, so there is none to replace a store of";
            return Err(TopoError::new(Category::Configuration, NAME, message));
        }
        let mut stores = BTreeMap::new();
        for store in &self.stores {
            let marker = store.marked().await?;
            if let Some(other) = stores.insert(marker.store, marker.location) {
                let message =
                    format!("{} and {other} are one and the same store; a quorum needs different ones", store.location);
                return Err(TopoError::new(Category::Configuration, NAME, message));
            }
        }
        put_first(&StoreSet::first(stores), &self.stores).await;
        Ok(())
    }

    /// Lets a store that has forgotten count no more: here at once, everywhere when the set says
    /// so.
    pub(super) fn bar(self: &Arc<Self>, store: &StoreId, key: &str, evidence: &Evidence) {
        let shown = evidence.shown.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let reason = format!(
            "at {key:?} it had acknowledged ballot {}, and now shows {shown}: it was restored or rolled back",
            evidence.acknowledged
        );
        if lock(&self.view.barred).insert(store.clone(), reason.clone()).is_some() {
            return;
        }
        let current = lock(&self.view.current).clone();
        let location = current.as_ref().and_then(|view| view.set.location(store)).unwrap_or_default();
        tracing::error!(store = location, reason, "a store of the quorum has forgotten; it does not count any more");
        if let Some(view) = current {
            let (set, version, stores) = (view.set.clone(), view.version.clone(), view.stores.clone());
            self.adopt(View { set, version, stores });
        }
        // A process that begins anew knows only what is written down. The handle may be let go meanwhile.
        let quorum = Arc::downgrade(self);
        self.spawn(async move {
            let mut pause = LOOK_AGAIN;
            while let Some(quorum) = quorum.upgrade() {
                let Err(error) = quorum.write_down_barred().await else { return };
                tracing::warn!(error = error.chain(), "that a store has forgotten could not be written down yet");
                drop(quorum);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    /// Lets the set say which stores do not count, for all processes.
    pub(super) async fn write_down_barred(self: &Arc<Self>) -> Result<(), TopoError> {
        let barred = lock(&self.view.barred).clone();
        for (store, reason) in barred {
            let barring = |set: &StoreSet| {
                let is_news = set.all().contains(&store) && !set.barred.contains_key(&store);
                is_news.then(|| set.barring(&store, &reason))
            };
            self.change_set(barring).await?;
        }
        Ok(())
    }

    /// Changes the set, unless `change` sees nothing to do. Gives the view of what is in force
    /// then.
    pub(super) async fn change_set(
        self: &Arc<Self>,
        change: impl Fn(&StoreSet) -> Option<StoreSet>,
    ) -> Result<Arc<View>, TopoError> {
        for _ in 0..ATTEMPTS {
            lock(&self.view.current).take();
            let view = self.view().await?;
            let state = self.set_register(&view, Change::Read).await?.ok_or_else(|| self.unavailable(keys::SET))?;
            let set = decoded(&state)?;
            if set.epoch != view.set.epoch {
                continue;
            }
            let Some(next) = change(&set) else { return Ok(view) };
            let write = self.new_write(Some(state.version), &next.encode().into());
            match self.run(keys::SET, write, None).await? {
                Outcome::Committed(_) => return self.refreshed(next.epoch).await,
                Outcome::Unavailable => return Err(self.unavailable(keys::SET)),
                // What stands there by now is looked at anew.
                _ => {}
            }
        }
        Err(TopoError::new(Category::Unavailable, NAME, "others change the set of stores all the time"))
    }
}

/// Puts the first set into stores that hold none.
async fn put_first(set: &StoreSet, stores: impl IntoIterator<Item = &Arc<Store>>) {
    let ballot = Ballot { counter: 1, proposer: ProposerId { incarnation: 0, name: "formation".into() } };
    let state = State {
        revision: 1,
        version: Version::new("1-formation"),
        parent: None,
        content: Content::Inline(set.encode().into()),
    };
    let copy = Copy {
        key: keys::SET.into(),
        epoch: 1,
        promised: ballot.clone(),
        accepted: Some(Accepted { ballot, state }),
        high_water: BTreeMap::new(),
    };
    for store in stores {
        store.write_copy(None, copy.clone()).await;
    }
}

fn decoded(state: &State) -> Result<StoreSet, TopoError> {
    let wrong = |why: String| TopoError::new(Category::Corrupt, NAME, why).at_key(keys::SET);
    match &state.content {
        Content::Inline(value) => StoreSet::decode(value).map_err(|error| wrong(error.to_string())),
        Content::Blob { .. } => Err(wrong("the set of stores is a blob".into())),
    }
}
