//! What a broken operator does.

use super::{Sabotage, Sight, endless, with_body, with_spec, with_yes_to_all};
use crate::kinds::{About, KINDS, home_path, output_path, type_name};
use hansa_ballot::Control;
use hansa_ledger::cell::MemberCell;
use hansa_ledger::keys::{self, Key};
use hansa_ledger::record::{Opened, Placed, PlacedState, Tombstone};
use hansa_ledger::{Envelope, Page, Record, Slot, Version, Versioned};
use hansa_model::{DeletionPolicy, FINALIZER, MemberName, RecordKey};
use hansa_operator::{Act, ActId, ApiAnswer, ApiRequest, ContentType, Event, Method, TopoAnswer, TopoRequest};
use serde_json::{Value, json};
use std::sync::Arc;

/// The answers to what a sound operator never asked for go to nobody.
const NOBODY: ActId = ActId(u64::MAX);

impl Sabotage {
    /// What the operator does instead.
    pub(crate) fn twist_act(self, act: &mut Act, sight: &Sight<'_>) {
        match act {
            Act::Topo { request: TopoRequest::Write { key, expected, value }, .. } => match (self, keys::parse(key)) {
                (Sabotage::LostUpdate, _) => *expected = sight.store.get(key).map(|found| found.version),
                (Sabotage::SpeaksForOthers, Key::Status(_, page)) => {
                    let others = sight.spec().map(|spec| spec.members).unwrap_or_default();
                    if let Some(other) = others.iter().find(|other| other.name != *sight.member) {
                        *key = keys::status(&other.name, page);
                        *expected = sight.store.get(key).map(|found| found.version);
                    }
                }
                (Sabotage::LosesNobody, Key::Control) => {
                    if loses_somebody(value, sight).unwrap_or_default() {
                        *expected = None;
                    }
                }
                (_, parsed) => {
                    let written = Versioned { version: Version::new("0"), value: value.clone() };
                    if let Some(twisted) = with_body(&written, |body| self.body_of(&parsed, body, sight)) {
                        *value = twisted.value;
                    }
                }
            },
            Act::Api { request, .. } => self.twist_request(request, sight),
            _ => {}
        }
    }

    /// What it writes at a key instead; `None` when it writes what a sound one does.
    fn body_of(self, key: &Key, body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
        match (self, key) {
            (Sabotage::ForgetsDebts, Key::Page(_)) => without_ended(body, sight),
            (Sabotage::ConfirmsMore, Key::Confirmations(_)) => with_yes_to_all(body, sight),
            (Sabotage::GivesToLeavers, Key::Page(_)) => with_leavers(body, sight),
            (
                Sabotage::SaysGoneAtOnce | Sabotage::EndsByItself | Sabotage::OpensAllWaves | Sabotage::SeatsItself,
                Key::Page(_),
            ) => self.turned(body, sight),
            (Sabotage::WritesTheSpec, Key::Control) => with_another_spec(body, sight),
            // What it believes of the spec, it does not write.
            (Sabotage::EndlessBudget | Sabotage::KeepsNothing, Key::Control) => with_true_spec(body, sight),
            (Sabotage::UncountedRemovals, Key::Cell(_)) => without_removals(body),
            _ => None,
        }
    }

    fn twist_request(self, request: &mut ApiRequest, sight: &Sight<'_>) {
        let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (self, request.method, About::read(&request.path)) {
            (Sabotage::CarriesOutPlans, Method::Patch, About::Output(_)) => {
                request.path = request.path.replace("&dryRun=All", "");
                return;
            }
            (Sabotage::AppliesNothing | Sabotage::StallsWithTheDead, Method::Patch, About::Output(_))
                if request.content_type == ContentType::Apply
                    && (self == Sabotage::AppliesNothing || sight.somebody_is_away()) =>
            {
                *request = ApiRequest::get("/apis/nothing.hansa.dev/v1/waits");
                return;
            }
            (Sabotage::DeletesByName, Method::Delete, _) => {
                body["preconditions"] = Value::Null;
            }
            (Sabotage::WritesUsersSpecs, Method::Patch, About::Home(..))
                if request.content_type == ContentType::MergePatch =>
            {
                body["spec"]["paused"] = json!(false);
            }
            _ => return,
        }
        request.body = body.to_string().into();
    }

    /// Whether the operator answers a call from memory: the read before a removal. `cause` is what the
    /// event answered by which it was asked for; what it reads because it was told of a change is no
    /// such read.
    pub(crate) fn answers_itself(self, act: &Act, cause: &str) -> Option<(ActId, String)> {
        let Act::Topo { id, request: TopoRequest::Read { keys } } = act else { return None };
        let told = cause.starts_with("topo changes") || cause.starts_with("topo swap /v1/pages/");
        match keys.as_slice() {
            [key] if self == Sabotage::UnfencedRemoval && key.starts_with(keys::PAGES) && !told => {
                Some((*id, key.clone()))
            }
            _ => None,
        }
    }

    /// What it makes of a page that it writes.
    fn turned(self, body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
        let mut page = Page::from_slice(body).ok()?;
        let own = sight.member;
        if self == Sabotage::SeatsItself {
            page.header.member = Some(own.clone());
            return Some(page.to_vec());
        }
        for slot in page.records.values_mut() {
            let Slot::Known(record) = slot else { continue };
            let mut twisted = Record::clone(record);
            match self {
                Sabotage::SaysGoneAtOnce => {
                    let placed = twisted.placed.get_mut(own).filter(|placed| placed.state == PlacedState::Withdrawing);
                    let Some(placed) = placed else { continue };
                    placed.state = PlacedState::Gone;
                }
                Sabotage::EndsByItself if twisted.tombstone.is_none() && twisted.homes.contains_key(own) => {
                    let (author, policy) = (own.clone(), DeletionPolicy::Delete);
                    twisted.tombstone = Some(Tombstone { author, policy, signature: None });
                }
                Sabotage::OpensAllWaves => {
                    twisted.opened = Some(Box::new(Opened { revision: twisted.revision, wave: u32::MAX }));
                }
                _ => continue,
            }
            *slot = Slot::Known(Arc::new(twisted));
        }
        Some(page.to_vec())
    }

    /// What it does besides, when it hears of an object or of a page.
    pub(crate) fn does_besides(self, event: &Event, under_way: &str, sight: &Sight<'_>) -> Option<Act> {
        let line = match event {
            Event::Topo { answer: TopoAnswer::Values(values), .. } if self == Sabotage::BelievesEveryEnd => {
                return ended(values, sight);
            }
            Event::Api { answer: Ok(answer), .. } if self == Sabotage::ClearsTheWay => {
                return out_of_the_way(answer, under_way.strip_prefix("GET ")?);
            }
            // Whoever is frozen asks for the control document, and for nothing else.
            Event::Topo { answer: TopoAnswer::Values(_), .. }
                if self == Sabotage::WritesThoughFrozen && under_way.contains(keys::CONTROL) =>
            {
                return written_again(&keys::cell(sight.member), sight);
            }
            Event::WatchLine { line, .. } => line,
            _ => return None,
        };
        let told: Value = serde_json::from_slice(line).ok()?;
        if told["type"] == "DELETED" || told["type"] == "BOOKMARK" {
            return None;
        }
        let metadata = &told["object"]["metadata"];
        let key = |collection: fn(&hansa_model::TypeName) -> String| {
            let types = KINDS.iter().map(|kind| type_name(kind.type_name));
            let type_name = types.into_iter().find(|name| collection(name) == under_way)?;
            let text = |field: &str| metadata[field].as_str().unwrap_or_default();
            Some(RecordKey::new(type_name, text("namespace"), text("name")))
        };
        let seen = json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]});
        let request = match self {
            Sabotage::DeletesStrays => {
                let key = key(|name| name.resource().to_owned())?;
                let ours = metadata["labels"][hansa_render::LEAGUE_LABEL].is_string();
                let is_given = |placed: &Placed| placed.state != PlacedState::Gone;
                let record = sight.record(&key);
                if !ours || record.is_some_and(|record| record.placed.get(sight.member).is_some_and(is_given)) {
                    return None;
                }
                deletion(output_path(&key), metadata)
            }
            Sabotage::FinalizerFirst => {
                let key = key(hansa_model::TypeName::federated_plural)?;
                let finalizers: Vec<&str> =
                    metadata["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                if metadata["deletionTimestamp"].is_null() || !finalizers.contains(&FINALIZER) {
                    return None;
                }
                let mut kept = seen.clone();
                kept["finalizers"] = json!(finalizers.iter().filter(|name| **name != FINALIZER).collect::<Vec<_>>());
                ApiRequest::write(Method::Patch, home_path(&key), ContentType::MergePatch, &json!({"metadata": kept}))
            }
            Sabotage::DeletesHomes => {
                let key = key(hansa_model::TypeName::federated_plural)?;
                let record = sight.record(&key).filter(|record| record.tombstone.is_none())?;
                record.homes.get(sight.member).filter(|home| metadata["uid"] == *home.uid)?;
                deletion(home_path(&key), metadata)
            }
            // It changes nothing, and is a write all the same.
            Sabotage::ActsThoughRemoved => {
                let key = key(hansa_model::TypeName::federated_plural)?;
                let mut kept = seen.clone();
                kept["finalizers"] = metadata["finalizers"].clone();
                kept["finalizers"].as_array()?.iter().find(|name| **name == FINALIZER)?;
                ApiRequest::write(Method::Patch, home_path(&key), ContentType::MergePatch, &json!({"metadata": kept}))
            }
            _ => return None,
        };
        Some(Act::Api { id: NOBODY, request })
    }
}

/// The marks of an output are taken off because its record says that it has ended; its API server refuses it, for the
/// object is of another version.
fn ended(values: &[Option<Versioned>], sight: &Sight<'_>) -> Option<Act> {
    let pages = values.iter().flatten();
    let pages = pages.filter_map(|found| Page::from_slice(&Envelope::open(&found.value).ok()?.1).ok());
    let key = pages.flat_map(|page| page.records).find_map(|(key, slot)| {
        let placed = slot.record().filter(|record| record.tombstone.is_some())?.placed.get(sight.member)?;
        (placed.state == PlacedState::Placed).then_some(key)
    })?;
    let patch = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": "0"},
        {"op": "replace", "path": "/metadata/labels", "value": {}},
    ]);
    let request = ApiRequest::write(Method::Patch, output_path(&key), ContentType::JsonPatch, &patch);
    Some(Act::Api { id: NOBODY, request })
}

/// Whether a control document that is to be written tells of a loss that the one in the topology server does not.
fn loses_somebody(value: &[u8], sight: &Sight<'_>) -> Option<bool> {
    let written = Control::from_slice(&Envelope::open(value).ok()?.1).ok()?.ballots?;
    let stands = sight.control()?.ballots?;
    Some(written.lost.keys().any(|name| !stands.lost.contains_key(name)))
}

/// A control document with another generation of the spec than was decided on.
fn with_another_spec(body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
    let mut control = Control::from_slice(body).ok()?;
    control.generation = sight.control()?.generation.next();
    with_spec(control, endless)
}

/// The page without what ended in an earlier write.
fn without_ended(body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
    let mut page = Page::from_slice(body).ok()?;
    let has_ended = |key: &RecordKey| sight.record(key).is_some_and(|record| record.tombstone.is_some());
    page.records
        .retain(|key, slot| !matches!(slot, Slot::Known(record) if record.tombstone.is_some()) || !has_ended(key));
    Some(page.to_vec())
}

/// The page with every new revision placed on those that take nothing, too.
fn with_leavers(body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
    let mut page = Page::from_slice(body).ok()?;
    let spec = sight.spec()?;
    let leavers: Vec<&MemberName> =
        spec.members.iter().filter(|member| member.takes_nothing().is_some()).map(|member| &member.name).collect();
    for (key, slot) in &mut page.records {
        let Slot::Known(record) = slot else { continue };
        let stands = sight.record(key).map(|stands| (stands.incarnation, stands.revision));
        if record.tombstone.is_some() || stands == Some((record.incarnation, record.revision)) {
            continue;
        }
        let mut twisted = Record::clone(record);
        for leaver in &leavers {
            let placed = Placed { state: PlacedState::Placed, incarnation: twisted.incarnation };
            twisted.placed.insert((*leaver).clone(), placed);
        }
        *slot = Slot::Known(Arc::new(twisted));
    }
    Some(page.to_vec())
}

fn without_removals(body: &[u8]) -> Option<Vec<u8>> {
    let mut cell: MemberCell = serde_json::from_slice(body).ok()?;
    cell.removals.clear();
    serde_json::to_vec(&cell).ok()
}

/// A control document with the spec that stands in the topology server, unless it brings a newer one.
fn with_true_spec(body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
    let mut control = Control::from_slice(body).ok()?;
    let found = sight.store.get(keys::CONTROL)?;
    let (_, stands) = Envelope::open(&found.value).ok()?;
    let stands = Control::from_slice(&stands).ok()?;
    if stands.generation != control.generation {
        return None;
    }
    control.spec = stands.spec;
    Some(control.to_vec())
}

/// The same written once more.
fn written_again(key: &str, sight: &Sight<'_>) -> Option<Act> {
    let found = sight.store.get(key)?;
    let (envelope, body) = Envelope::open(&found.value).ok()?;
    let operation = *envelope.operations.get(sight.member)?;
    let value = envelope.next(envelope.nonce.wrapping_add(1), sight.member, operation).seal(&body);
    let request = TopoRequest::Write { key: key.to_owned(), expected: Some(found.version), value };
    Some(Act::Topo { id: NOBODY, request })
}

/// A deletion of an object in the state that was seen.
fn deletion(path: String, metadata: &Value) -> ApiRequest {
    let seen = json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]});
    let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": seen});
    ApiRequest::write(Method::Delete, path, ContentType::Json, &body)
}

/// A deletion of what stands at the path of an output, and bears none of Hansa's marks.
fn out_of_the_way(answer: &ApiAnswer, path: &str) -> Option<Act> {
    let About::Output(key) = About::read(path) else { return None };
    let found: Value = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)?;
    let metadata = &found["metadata"];
    if !metadata["labels"][hansa_render::LEAGUE_LABEL].is_null() {
        return None;
    }
    Some(Act::Api { id: NOBODY, request: deletion(output_path(&key), metadata) })
}
