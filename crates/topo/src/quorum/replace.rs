//! Puts another store in the place of one, while the league goes on.
//!
//! First the set gets a new epoch in which a quorum is one of the old stores and one of the new, and
//! then one more of the same ([`StoreSet::settled`] says why). Then every register is written again,
//! which puts it on a quorum of the new stores, and tells whoever still works with the old set that
//! there is a newer one. Then the new stores stand alone. Each step may be repeated: who was
//! interrupted begins again.

use super::{NAME, Quorum, Store, closed, keys};
use crate::error::{Category, TopoError};
use crate::url::TopoUrl;
use crate::{Options, UrlError};
use futures::{StreamExt, stream};
use hansa_ledger::register::{Change, Outcome, StoreId, StoreSet};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many registers are written again at once.
const AT_ONCE: usize = 8;

/// How far a replacement has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The set in which both stores count is in force, at this epoch.
    Began {
        /// The epoch.
        epoch: u64,
    },
    /// Registers are written again.
    Rewriting {
        /// How many are done.
        done: usize,
        /// How many there are.
        of: usize,
    },
    /// The set without the old store is in force, at this epoch.
    Ended {
        /// The epoch.
        epoch: u64,
    },
}

/// Replaces the store `old` of the quorum at `url` by `new`, which must be empty. Gives the URL to
/// use from now on.
///
/// # Errors
/// When the URLs do not fit each other, when `new` is in use, or when no quorum answers; the same
/// call goes on later.
pub async fn replace(
    url: &str,
    old: &str,
    new: &str,
    options: &Options,
    mut progress: impl FnMut(Progress),
) -> Result<TopoUrl, TopoError> {
    let (url, old, new) = (parsed(url)?, parsed(old)?, parsed(new)?);
    let TopoUrl::Quorum { stores } = url else {
        return Err(wrong(format!("{url} is no quorum: write quorum:STORE,STORE,STORE")));
    };
    if !stores.contains(&old) {
        let names: Vec<String> = stores.iter().map(TopoUrl::to_string).collect();
        return Err(wrong(format!("{old} is not among the stores of the quorum, which are {}", names.join(", "))));
    }
    if stores.contains(&new) {
        let message =
            format!("{new} is a store of the quorum already: replace by an empty one, elsewhere or under another name");
        return Err(wrong(message));
    }
    let quorum = closed(stores.clone(), options)?.joined_by(Store::closed(new.clone(), options.clone()));
    let arriving = quorum.stores.last().cloned().ok_or_else(|| wrong("there are no stores".to_owned()))?;
    let place = stores.iter().position(|store| *store == old).unwrap_or_default();
    quorum.replace(place, &arriving, &mut progress).await?;
    let stores = stores.into_iter().map(|store| if store == old { new.clone() } else { store }).collect();
    Ok(TopoUrl::Quorum { stores })
}

fn parsed(url: &str) -> Result<TopoUrl, TopoError> {
    url.parse().map_err(|error: UrlError| wrong(error.to_string()))
}

fn wrong(message: String) -> TopoError {
    TopoError::new(Category::Configuration, NAME, message)
}

impl Quorum {
    async fn replace(
        self: &Arc<Self>,
        leaving: usize,
        arriving: &Store,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), TopoError> {
        let view = self.view().await?;
        let new = match arriving.marker().await? {
            Some(marker) => marker.store,
            None => arriving.marked().await?.store,
        };
        match &view.set.joining {
            Some(_) if view.set.awaits(&new) => {}
            Some(_) => {
                return Err(wrong(
                    "another replacement is under way: end that first, with the same stores as before".into(),
                ));
            }
            None if view.set.stores.contains_key(&new) => {
                return Err(wrong(format!("{} is a store of the quorum already", arriving.location)));
            }
            None => {
                if !arriving.list(keys::COPIES).await?.is_empty() {
                    return Err(wrong(format!("{} holds registers already: give an empty store", arriving.location)));
                }
                let old = self.leaving(&view.set, leaving)?;
                let replacing =
                    |set: &StoreSet| set.joining.is_none().then(|| set.replacing(&old, &new, &arriving.location));
                self.change_set(replacing).await?;
            }
        }
        // Others may be at the same replacement, and have ended it or begun another one.
        let settled = self.change_set(|set| (set.awaits(&new) && !set.settled).then(|| set.settled())).await?;
        progress(Progress::Began { epoch: settled.set.epoch });
        self.rewrite_all(progress).await?;
        let ended = self.change_set(|set| set.replaced().filter(|_| set.awaits(&new))).await?;
        progress(Progress::Ended { epoch: ended.set.epoch });
        Ok(())
    }

    /// The name of the store that leaves. One that is lost cannot say it: then it is the one that
    /// no other store is.
    fn leaving(&self, set: &StoreSet, number: usize) -> Result<StoreId, TopoError> {
        let store = &self.stores[number];
        if let Some(id) = store.id().filter(|id| set.stores.contains_key(*id)) {
            return Ok(id.clone());
        }
        let present: BTreeSet<&StoreId> =
            self.stores.iter().filter(|other| !Arc::ptr_eq(other, store)).filter_map(|other| other.id()).collect();
        let missing: Vec<&StoreId> = set.stores.keys().filter(|id| !present.contains(*id)).collect();
        let named = missing.iter().find(|id| set.location(id) == Some(&store.location));
        match (named, &missing[..]) {
            (Some(id), _) => Ok((*id).clone()),
            (None, [id]) => Ok((*id).clone()),
            _ => Err(wrong(format!("which store {} was cannot be told while others are away, too", store.location))),
        }
    }

    async fn rewrite_all(self: &Arc<Self>, progress: &mut impl FnMut(Progress)) -> Result<(), TopoError> {
        let view = self.view().await?;
        let surveys = self.surveyed(&view, "/").await?;
        let keys: BTreeSet<String> = surveys.into_values().flat_map(|survey| survey.copies.into_keys()).collect();
        let of = keys.len();
        progress(Progress::Rewriting { done: 0, of });
        let mut rewrites = stream::iter(keys)
            .map(|key| async move {
                match self.run(&key, Change::Rewrite, None).await? {
                    Outcome::Value(_) => Ok(()),
                    _ => Err(self.unavailable(&key)),
                }
            })
            .buffer_unordered(AT_ONCE);
        let mut done = 0;
        while let Some(rewritten) = rewrites.next().await {
            rewritten?;
            done += 1;
            progress(Progress::Rewriting { done, of });
        }
        Ok(())
    }
}
