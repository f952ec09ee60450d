//! What a broken operator hears.

use super::{Sabotage, Sight, endless, with_body, with_spec, with_yes_to_all};
use crate::kinds::{KINDS, type_name};
use bytes::Bytes;
use hansa_ballot::Control;
use hansa_ledger::cell::{Health, State, StatusCell};
use hansa_ledger::keys::{self, Key};
use hansa_ledger::record::{Placed, PlacedState};
use hansa_ledger::{Page, Record, Slot, Swap, Version, Versioned};
use hansa_model::{RecordKey, TypeName};
use hansa_operator::{ApiAnswer, Event, TopoAnswer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Sabotage {
    /// What the operator hears instead. `memory` is what it was last told of each page.
    pub(crate) fn twist_event(
        self,
        event: &mut Event,
        under_way: &str,
        memory: &BTreeMap<String, Versioned>,
        sight: &Sight<'_>,
    ) {
        match event {
            Event::Topo { answer, .. } => self.twist_topo(answer, under_way, memory, sight),
            Event::Api { answer: Ok(answer), .. } => self.twist_answer(answer, under_way, sight),
            Event::WatchLine { line, .. } if self == Sabotage::BelievesRestoredHomes => {
                if let (Some(type_name), Ok(mut told)) = (federated(under_way), serde_json::from_slice::<Value>(line))
                    && made_current(&type_name, &mut told["object"], sight)
                {
                    *line = told.to_string().into();
                }
            }
            _ => {}
        }
    }

    fn twist_topo(
        self,
        answer: &mut TopoAnswer,
        under_way: &str,
        memory: &BTreeMap<String, Versioned>,
        sight: &Sight<'_>,
    ) {
        match answer {
            TopoAnswer::Swapped(Swap::Indeterminate { .. }) if self == Sabotage::IndeterminateIsCommitted => {
                *answer = TopoAnswer::Swapped(Swap::Committed(Version::new("0")));
            }
            TopoAnswer::Failed { .. } if self == Sabotage::CutOffUnnoticed => {
                if let Some(remembered) = under_way.strip_prefix("topo read ").and_then(|key| memory.get(key)) {
                    *answer = TopoAnswer::Values(vec![Some(remembered.clone())]);
                }
            }
            TopoAnswer::Values(values) => {
                let asked = under_way.strip_prefix("topo read ").unwrap_or_default().split(' ');
                for (key, value) in asked.zip(values) {
                    if let Some(found) = value {
                        self.twist_value(key, found, sight);
                    }
                }
            }
            TopoAnswer::Listed(entries) => {
                for (key, value) in entries {
                    self.twist_value(key, value, sight);
                }
            }
            _ => {}
        }
    }

    fn twist_value(self, key: &str, value: &mut Versioned, sight: &Sight<'_>) {
        let twisted = match (self, keys::parse(key)) {
            (Sabotage::AppliesUnplaced | Sabotage::ComputedRemoval | Sabotage::MakesWhatIsGone, Key::Page(_)) => {
                with_body(value, |body| self.twist_page(body, sight))
            }
            (Sabotage::HastyWithdrawal, Key::Status(member, _)) if member != *sight.member => {
                with_body(value, |body| all_is_well(body, sight))
            }
            (Sabotage::ForgetsItsApplies, Key::Status(member, _)) if member == *sight.member => {
                with_body(value, |body| {
                    let mut cell: StatusCell = serde_json::from_slice(body).ok()?;
                    cell.records.values_mut().for_each(|status| status.output = None);
                    serde_json::to_vec(&cell).ok()
                })
            }
            (Sabotage::OneYesForAll, Key::Confirmations(member)) if member != *sight.member => {
                with_body(value, |body| with_yes_to_all(body, sight))
            }
            (Sabotage::EndlessBudget, Key::Control) => with_body(value, |body| {
                let control = Control::from_slice(body).ok()?;
                // The home of the spec would write it back.
                if control.home.member == *sight.member { None } else { with_spec(control, endless) }
            }),
            (Sabotage::KeepsNothing, Key::Control) => with_body(value, |body| {
                with_spec(Control::from_slice(body).ok()?, |spec| {
                    let own = spec.members.iter_mut().find(|member| member.name == *sight.member)?;
                    own.leaving.as_mut()?.keep_outputs = false;
                    Some(())
                })
            }),
            _ => None,
        };
        if let Some(twisted) = twisted {
            *value = twisted;
        }
    }

    fn twist_page(self, body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
        let league = sight.spec()?;
        let mut page = Page::from_slice(body).ok()?;
        for slot in page.records.values_mut() {
            let Slot::Known(record) = slot else { continue };
            let mut twisted = Record::clone(record);
            let incarnation = twisted.incarnation;
            let own = twisted.placed.get(sight.member).map(|placed| placed.state);
            let goes_on = twisted.tombstone.is_none();
            let state = match (self, own) {
                (Sabotage::AppliesUnplaced, None) | (Sabotage::MakesWhatIsGone, Some(PlacedState::Gone)) if goes_on => {
                    PlacedState::Placed
                }
                (Sabotage::ComputedRemoval, Some(PlacedState::Placed)) if !selects(&league, &twisted, sight) => {
                    PlacedState::Withdrawing
                }
                _ => continue,
            };
            twisted.placed.insert(sight.member.clone(), Placed { state, incarnation });
            *slot = Slot::Known(Arc::new(twisted));
        }
        Some(page.to_vec())
    }

    fn twist_answer(self, answer: &mut ApiAnswer, under_way: &str, sight: &Sight<'_>) {
        let Some(path) = under_way.strip_prefix("GET ") else { return };
        let is_homes = KINDS
            .iter()
            .map(|kind| type_name(kind.type_name))
            .find(|name| path.split('?').next().is_some_and(|path| path == crate::kinds::homes_path(name)));
        match (self, is_homes) {
            (Sabotage::BelievesStaleLists, Some(_)) => {
                let mut list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                if let Some(items) = list["items"].as_array_mut() {
                    items.pop();
                }
                answer.body = list.to_string().into();
            }
            // What is not in the list is looked at before it is believed to be gone: this one is not.
            (Sabotage::BelievesStaleLists, None) if path.contains(".types.hansa.dev/") => {
                let missing = json!({"kind": "Status", "code": 404, "details": {"name": "x", "kind": "x"}});
                *answer = ApiAnswer { status: 404, body: Bytes::from(missing.to_string()) };
            }
            (Sabotage::BelievesRestoredHomes, Some(type_name)) => {
                let mut list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                for object in list["items"].as_array_mut().into_iter().flatten() {
                    made_current(&type_name, object, sight);
                }
                answer.body = list.to_string().into();
            }
            _ => {}
        }
    }
}

fn selects(league: &hansa_model::FederationSpec, record: &Record, sight: &Sight<'_>) -> bool {
    let spec = crate::judge::spec_of(record);
    let placed = spec.and_then(|spec| hansa_place::placed(league, &spec.placement).ok());
    placed.is_none_or(|placed| placed.members.contains(sight.member))
}

/// Every record is said to be applied at its newest revision, and healthy.
fn all_is_well(body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
    let mut cell: StatusCell = serde_json::from_slice(body).ok()?;
    for (key, status) in &mut cell.records {
        let Some(record) = sight.record(key) else { continue };
        (status.incarnation, status.revision) = (record.incarnation, record.revision);
        (status.state, status.health) = (State::Applied, Health::Healthy);
    }
    serde_json::to_vec(&cell).ok()
}

fn federated(collection: &str) -> Option<TypeName> {
    KINDS.iter().map(|kind| type_name(kind.type_name)).find(|name| name.federated_plural() == collection)
}

/// Takes off an object what tells that it is older than what was agreed from it.
fn made_current(type_name: &TypeName, object: &mut Value, sight: &Sight<'_>) -> bool {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = RecordKey::new(type_name.clone(), &text("namespace"), &text("name"));
    let uid = text("uid");
    let Some(record) = sight.record(&key) else { return false };
    let Some(home) = record.homes.get(sight.member).filter(|home| home.uid == uid) else { return false };
    let generation = object["metadata"]["generation"].as_u64().unwrap_or_default().max(home.generation);
    object["metadata"]["generation"] = json!(generation);
    object["status"]["agreed"]["revision"] = json!(record.revision);
    true
}
