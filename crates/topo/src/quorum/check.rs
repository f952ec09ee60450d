//! Looks at the stores of a quorum.

use super::set::View;
use super::store::Store;
use super::{Quorum, keys};
use crate::contract::{Finding, Severity};
use crate::error::TopoError;
use hansa_ledger::register::{Ballot, Copy, Reply, StoreId};
use std::collections::BTreeMap;
use std::sync::Arc;

const STORE: &str = "store";
const REPLACE: &str = "replace it by an empty one with `hansa topo quorum replace`";

impl Quorum {
    pub(super) async fn check(self: &Arc<Self>) -> Result<Vec<Finding>, TopoError> {
        let view = match self.change_set(|_| None).await {
            Ok(view) => view,
            Err(error) => return Ok(self.without_set(&error)),
        };
        // Reading everything also shows what a store has forgotten.
        let surveys = self.surveyed(&view, "/").await?;
        self.states("/").await?;
        self.write_down_barred().await?;
        let view = self.view().await?;
        let mut latest: BTreeMap<&str, &Ballot> = BTreeMap::new();
        let copies =
            |copies: &'_ BTreeMap<String, Reply>| copies.values().filter_map(copy).cloned().collect::<Vec<Copy>>();
        let held: BTreeMap<&StoreId, Vec<Copy>> =
            surveys.iter().map(|(id, survey)| (id, copies(&survey.copies))).collect();
        for copy in held.values().flatten() {
            if let Some(ballot) = copy.accepted_ballot() {
                let newest = latest.entry(&copy.key).or_insert(ballot);
                *newest = (*newest).max(ballot);
            }
        }
        let mut findings = Vec::new();
        for id in view.set.all() {
            let behind = held.get(id).map(|held| {
                let current: BTreeMap<&str, Option<&Ballot>> =
                    held.iter().map(|copy| (&*copy.key, copy.accepted_ballot())).collect();
                latest.iter().filter(|(key, ballot)| current.get(**key).copied().flatten() != Some(**ballot)).count()
            });
            let copies = surveys.get(id).into_iter().flat_map(|survey| &survey.copies);
            let damaged: Vec<&str> =
                copies.filter(|(_, copy)| **copy == Reply::Failed).map(|(key, _)| key.as_str()).collect();
            findings.push(self.store_finding(&view, id, behind, &damaged, latest.len()).await);
        }
        for store in &self.stores {
            if store.id().is_some_and(|id| !view.set.all().contains(id)) {
                let message =
                    format!("{} is not part of this quorum (any more): take it out of the URL", store.location);
                findings.push(Finding { severity: Severity::Warning, subject: STORE, message });
            }
        }
        let up = |id: &StoreId| surveys.contains_key(id) && !view.set.barred.contains_key(id);
        let counting = view.set.stores.keys().filter(|id| up(id)).count();
        findings.insert(0, total(&view, counting));
        Ok(findings)
    }

    fn without_set(&self, error: &TopoError) -> Vec<Finding> {
        let mut findings = vec![Finding { severity: Severity::Problem, subject: "quorum", message: error.chain() }];
        for store in &self.stores {
            let (severity, message) = match store.trouble() {
                Some(trouble) => (Severity::Problem, format!("{}: down ({trouble})", store.location)),
                None => (Severity::Good, format!("{}: up", store.location)),
            };
            findings.push(Finding { severity, subject: STORE, message });
        }
        findings
    }

    async fn store_finding(
        &self,
        view: &View,
        id: &StoreId,
        behind: Option<usize>,
        damaged: &[&str],
        registers: usize,
    ) -> Finding {
        let handle: Option<&Arc<Store>> = view.stores.get(id);
        let place = handle.map_or(view.set.location(id).unwrap_or("?"), |store| &store.location);
        let finding =
            |severity, message: String| Finding { severity, subject: STORE, message: format!("{place}: {message}") };
        let joining = view.set.joining.is_some() && !view.set.stores.contains_key(id);
        if let Some(reason) = view.set.barred.get(id) {
            return finding(Severity::Problem, format!("quarantined: {reason}; {REPLACE}"));
        }
        let Some(store) = handle else {
            // A store that never answered, or has lost its marker, does not say which one it is.
            let unnamed = self.stores.iter().find(|store| store.id().is_none() && store.location == *place);
            let what = match unnamed.map(|store| store.trouble()) {
                Some(Some(trouble)) => format!("down ({trouble}); if it is lost, {REPLACE}"),
                Some(None) => format!("it holds nothing of the quorum: it was emptied; {REPLACE}"),
                None => "part of the quorum, and not in the URL: add it there".to_owned(),
            };
            return finding(Severity::Problem, what);
        };
        let Some(behind) = behind else {
            let why = store.trouble().unwrap_or_else(|| "it did not answer in time".into());
            return finding(Severity::Problem, format!("down ({why}); if it is lost, {REPLACE}"));
        };
        let own = match store.once(|topo| topo.check()).await {
            Ok(own) => own.into_iter().filter(|own| own.severity != Severity::Good).collect(),
            Err(_) => Vec::new(),
        };
        let mut severity = own.iter().map(|own| own.severity).max().unwrap_or(Severity::Good);
        let mut message = match (damaged.first(), behind) {
            (Some(first), _) => {
                severity = Severity::Problem;
                format!(
                    "up, and what it holds is no copy of a register in {} of {registers} places, the first is {first:?}: it does not count there; {REPLACE}",
                    damaged.len()
                )
            }
            (None, 0) => format!("up, with all {registers} registers"),
            (None, _) => {
                severity = severity.max(Severity::Warning);
                format!("up, behind in {behind} of {registers} registers; each catches up when it is written next")
            }
        };
        if joining {
            message.push_str("; on its way in");
        }
        for own in own {
            message.push_str(&format!("; {}: {}", own.subject, own.message));
        }
        finding(severity, message)
    }
}

fn copy(reply: &Reply) -> Option<&Copy> {
    match reply {
        Reply::Copy(Some((_, copy))) if *copy.key != *keys::SET => Some(copy),
        _ => None,
    }
}

fn total(view: &View, counting: usize) -> Finding {
    let all = view.set.stores.len();
    let majority = all / 2 + 1;
    let (severity, rest) = match counting.checked_sub(majority) {
        None => (Severity::Problem, "too few: nothing can be read or written".to_owned()),
        Some(0) => (Severity::Warning, "no further one may be lost".to_owned()),
        Some(spare) => (Severity::Good, format!("{spare} more may be lost")),
    };
    let joining = match view.set.joining {
        Some(_) => "; a store is being replaced, go on with `hansa topo quorum replace`",
        None => "",
    };
    let epoch = view.set.epoch;
    Finding {
        severity,
        subject: "quorum",
        message: format!("{counting} of {all} stores count, {rest} (set of stores: epoch {epoch}{joining})"),
    }
}
