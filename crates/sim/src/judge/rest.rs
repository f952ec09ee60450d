//! What stands when all is quiet.

use super::waves::in_waves;
use super::{Judge, key_of, life_of, marks_of};
use crate::kinds::{KINDS, homes_path, output_path, outputs_path, type_name};
use crate::member::Member;
use hansa_ballot::{Ballots, PublicKey};
use hansa_ledger::Record;
use hansa_ledger::lives::{Duty, duty};
use hansa_ledger::record::{Placed, PlacedState};
use hansa_model::{Hash, MemberName, RecordKey, Takeover};
use hansa_render::LEAGUE_LABEL;
use serde_json::Value;
use std::collections::BTreeSet;

impl Judge {
    /// Why the league is not at rest in these members: the first difference between what was agreed
    /// and what stands. `dead` is a member that cannot do its share; it is left out of account.
    pub fn unrest(&self, now: u64, members: &mut [Member], dead: Option<usize>) -> Option<String> {
        if let Some(member) = members.iter().find(|member| self.votes(&member.name) != self.lists(&member.name))
            && dead.is_none()
        {
            let listed = self.lists(&member.name);
            return Some(format!("{}: listed in the spec: {listed}, and a vote: {}", member.name, !listed));
        }
        if let Some(member) = members.iter().find(|member| dead.is_none() && self.is_lost(&member.name)) {
            return Some(format!("{} is voted lost", member.name));
        }
        let dead_name = dead.map(|member| members[member].name.clone());
        let records: Vec<(RecordKey, Record)> = self
            .pages
            .values()
            .flat_map(|page| &page.records)
            .filter_map(|(key, slot)| Some((key.clone(), Record::clone(slot.record()?))))
            .collect();
        let held_up = self.held_up(now, &records, members);
        for (key, record) in &records {
            if let Some(why) = self.undecided(record, dead_name.as_ref()) {
                return Some(format!("{key}: {why}: {}", super::pages::brief(record)));
            }
            let waits = self.waits_in_waves(record, dead_name.as_ref())
                || self.waits_for_a_word(key, record, dead_name.as_ref())
                || held_up.contains(key);
            for (index, member) in members.iter_mut().enumerate() {
                if waits || Some(index) == dead || !self.lists(&member.name) {
                    continue;
                }
                // Without the dead one's vote it may be that a member never joins.
                if dead.is_some() && !self.votes(&member.name) {
                    continue;
                }
                if let Some(why) = self.misplaced(now, key, record, member) {
                    return Some(format!("{key} in {}: {why}: {}", member.name, super::pages::brief(record)));
                }
            }
        }
        for (index, member) in members.iter_mut().enumerate() {
            let takes_part = self.lists(&member.name) && (dead.is_none() || self.votes(&member.name));
            if Some(index) == dead || !takes_part {
                continue;
            }
            let why = frozen(now, member)
                .or_else(|| self.stray(now, member))
                .or_else(|| self.untrue(now, member, dead_name.as_ref(), &held_up));
            if let Some(why) = why {
                return Some(format!("in {}: {why}", member.name));
            }
        }
        None
    }

    /// Whether the agreed spec lists a member. What others were is left as it stands, and they are waited for
    /// by nobody.
    pub fn lists(&self, member: &MemberName) -> bool {
        self.specs.last().is_none_or(|spec| spec.member(member).is_some())
    }

    fn ballots(&self) -> Option<&Ballots> {
        self.control.as_ref()?.ballots.as_ref()
    }

    /// Whether a member has a vote, and so takes part in the league.
    pub fn votes(&self, member: &MemberName) -> bool {
        self.ballots().is_none_or(|ballots| ballots.voters.set.contains_key(member))
    }

    /// Whether the others have voted that a member is lost.
    pub fn is_lost(&self, member: &MemberName) -> bool {
        self.ballots().is_some_and(|ballots| ballots.lost.contains_key(member))
    }

    /// The key that a member votes with.
    pub fn voter_key(&self, member: &MemberName) -> Option<PublicKey> {
        self.ballots()?.voters.set.get(member).map(|voter| voter.key)
    }

    /// Whether those who vote make a quorum without this member.
    pub fn may_lose(&self, member: &MemberName) -> bool {
        self.ballots().is_some_and(|ballots| {
            let others = ballots.voters.set.keys().filter(|name| *name != member);
            others.count() >= ballots.voters.quorum as usize
        })
    }

    /// What is still to be decided or acknowledged about a record.
    fn undecided(&self, record: &Record, dead: Option<&MemberName>) -> Option<String> {
        let waits_for_the_dead = dead.is_some_and(|dead| {
            record.placed.contains_key(dead) || record.homes.contains_key(dead) || record.moving.as_ref() == Some(dead)
        });
        if waits_for_the_dead {
            return None;
        }
        let owes = |(member, placed): (&MemberName, &Placed)| placed.state != PlacedState::Gone && self.lists(member);
        if record.tombstone.is_some() {
            let is_owed = record.placed.iter().any(owes) || record.homes.keys().any(|member| self.lists(member));
            if !is_owed {
                return None;
            }
            return Some(format!("its life {} has ended, and its record stays", record.incarnation));
        }
        let league = self.specs.last()?;
        let stays = |member: &MemberName| league.member(member).is_none_or(|entry| entry.takes_nothing().is_none());
        if let Some(home) = record.homes.keys().find(|home| !stays(home)).filter(|_| dead.is_none()) {
            return Some(format!("{home} is a home, and takes nothing"));
        }
        let spec = super::pages::spec_of(record)?;
        let placed: BTreeSet<MemberName> = record.placed_members().cloned().collect();
        // A placement that is refused places nothing, and takes nothing away.
        let wanted =
            hansa_place::placed(league, &spec.placement).map_or_else(|_| placed.clone(), |placed| placed.members);
        // Who decides on withdrawals may be the dead one; and members that leave a paused object as it
        // is do not report its newest revision, for which a withdrawal waits.
        let ok = if dead.is_some() || spec.paused || self.pauses(None) {
            placed.is_superset(&wanted)
        } else {
            placed == wanted
        };
        if !ok {
            return Some(format!("placement selects {wanted:?}, and {placed:?} are placed"));
        }
        None.or_else(|| {
            let waiting = record
                .placed
                .iter()
                .find(|(member, placed)| placed.state == PlacedState::Withdrawing && self.lists(member));
            waiting.map(|(member, _)| format!("{member} is withdrawing"))
        })
        .filter(|_| dead.is_none())
    }

    /// Whether what stands is nobody's word, and only the dead may say anew what is meant.
    fn waits_for_a_word(&self, key: &RecordKey, record: &Record, dead: Option<&MemberName>) -> bool {
        let consent = self.specs.last().is_some_and(|league| league.homes.takeover == Takeover::Consent);
        consent
            && dead.is_some()
            && self.is_forged(key, record)
            && !record.is_homeless()
            && record.homes.keys().all(|home| Some(home) == dead)
    }

    /// Whether an output is ahead of what was restored: it stays, and its member says so until a user writes the object
    /// again.
    fn is_ahead(&self, live: &Value, record: &Record) -> bool {
        self.went_back && marks_of(live) > Some((record.incarnation, record.revision))
    }

    /// Objects whose waves wait for a member whose output is ahead.
    fn held_up(&self, now: u64, records: &[(RecordKey, Record)], members: &mut [Member]) -> BTreeSet<RecordKey> {
        let mut held_up = BTreeSet::new();
        for (key, record) in records.iter().filter(|(_, record)| self.went_back && in_waves(record)) {
            let path = output_path(key);
            let mut keepers = members.iter_mut().filter(|member| duty(record, &member.name) == Duty::Keep);
            if keepers.any(|member| member.look(now, &path).is_some_and(|live| self.is_ahead(&live, record))) {
                held_up.insert(key.clone());
            }
        }
        held_up
    }

    /// Whether the agreed spec pauses a member, or any: its home may be frozen (restored from a backup),
    /// so that no user could end it.
    pub(super) fn pauses(&self, member: Option<&MemberName>) -> bool {
        self.specs.last().is_some_and(|league| {
            let is_meant = |name: &MemberName| member.is_none_or(|member| member == name);
            league.paused || league.members.iter().any(|entry| entry.paused && is_meant(&entry.name))
        })
    }

    /// What is wrong with a record's output in a member.
    fn misplaced(&self, now: u64, key: &RecordKey, record: &Record, member: &mut Member) -> Option<String> {
        if duty(record, &member.name) != Duty::Keep {
            return None;
        }
        let spec = super::pages::spec_of(record)?;
        // What users paused is left as it is. (A home that they could unpause it in may be gone.)
        if spec.paused || self.pauses(Some(&member.name)) {
            return None;
        }
        let mut output = self.render(key, &spec, &member.name, record.incarnation, record.revision)?;
        let Some(live) = member.look(now, &output_path(key)) else {
            return Some("its output is missing".to_owned());
        };
        if self.is_ahead(&live, record) {
            return None;
        }
        if life_of(&live) != Some(record.incarnation) {
            return Some(format!("its output is of life {:?}, not {}", life_of(&live), record.incarnation));
        }
        if is_scaled_by_another(&live)
            && let Some(spec) = output.object["spec"].as_object_mut()
        {
            spec.remove("replicas");
        }
        if let Some(path) = difference(&output.object, &live, "") {
            return Some(format!("its output differs from what is rendered at {path}"));
        }
        let owned = hansa_render::owned(&live, "hansa").unwrap_or_default();
        surplus(&owned, &output.object, "").map(|path| format!("its output holds more than what is rendered at {path}"))
    }

    /// An output that nobody is to have there.
    fn stray(&self, now: u64, member: &mut Member) -> Option<String> {
        for kind in KINDS {
            let type_name = type_name(kind.type_name);
            for object in member.all(now, &outputs_path(&type_name)) {
                let key = key_of(&type_name, &object);
                let ours = !object["metadata"]["labels"][LEAGUE_LABEL].is_null();
                let back = self.brought_back.contains(&(member.name.clone(), key.clone()));
                if ours && !self.keeps(&key, &member.name) && !back {
                    return Some(format!("{key} stands, of life {:?}, and is not to", life_of(&object)));
                }
            }
        }
        None
    }

    /// A federated object whose status says what is not so.
    fn untrue(
        &self,
        now: u64,
        member: &mut Member,
        dead: Option<&MemberName>,
        held_up: &BTreeSet<RecordKey>,
    ) -> Option<String> {
        for kind in KINDS {
            let type_name = type_name(kind.type_name);
            for object in member.all(now, &homes_path(&type_name)) {
                let key = key_of(&type_name, &object);
                let condition = |kind: &str| {
                    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let found = all.iter().find(|condition| condition["type"] == kind);
                    found.map(|condition| condition["status"] == "True")
                };
                if !object["metadata"]["deletionTimestamp"].is_null() {
                    return Some(format!("{key} is still being deleted"));
                }
                let record = self.record(&key);
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
                let home = record.and_then(|record| record.homes.get(&member.name)).filter(|home| home.uid == uid);
                let equal = record.is_some_and(|record| record.intent.hash == Hash::of(&object["spec"]));
                let agreed = home.is_some() && equal;
                if condition("Agreed") != Some(agreed) {
                    return Some(format!(
                        "{key} says Agreed={:?}: a home: {}, content as agreed: {equal}",
                        condition("Agreed"),
                        home.is_some()
                    ));
                }
                if dead.is_some() {
                    continue;
                }
                let spec = record.and_then(super::pages::spec_of);
                let placement = spec.as_ref().and_then(|spec| {
                    Some(
                        hansa_place::placed(self.specs.last()?, &spec.placement)
                            .map(|placed| !placed.members.is_empty()),
                    )
                });
                if agreed && placement.is_some_and(|placed| condition("Scheduled") != Some(placed == Ok(true))) {
                    return Some(format!("{key} says Scheduled={:?}, and is not", condition("Scheduled")));
                }
                if spec.is_some_and(|spec| spec.paused) || self.pauses(None) || held_up.contains(&key) {
                    continue;
                }
                let whole = object["status"]["observedGeneration"] == object["metadata"]["generation"];
                if agreed && (condition("Propagated") != Some(true) || !whole) {
                    return Some(format!(
                        "{key} does not say that it is propagated: {}",
                        object["status"]["conditions"]
                    ));
                }
                let revision = record.map(|record| record.revision.0);
                if agreed && object["status"]["agreed"]["revision"].as_u64() != revision {
                    return Some(format!(
                        "{key} says {}, and revision {revision:?} stands",
                        object["status"]["agreed"]
                    ));
                }
            }
        }
        None
    }
}

/// Whether the scale is left to another manager: one that is not a person's tool holds it, and Hansa
/// does not.
fn is_scaled_by_another(live: &Value) -> bool {
    let holders: Vec<&str> = live["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["fieldsV1"]["f:spec"]["f:replicas"].is_object())
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    !holders.is_empty() && holders.iter().all(|holder| *holder != "hansa" && !holder.starts_with("kubectl"))
}

/// Where the rendered object is not in the live one.
fn difference(wanted: &Value, live: &Value, path: &str) -> Option<String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            // A revision that changes nothing here is not written.
            if name == hansa_render::REVISION_ANNOTATION {
                return None;
            }
            match live.get(name) {
                Some(found) => difference(value, found, &path),
                None => Some(path),
            }
        }),
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            wanted.iter().zip(live).find_map(|(wanted, live)| difference(wanted, live, &format!("{path}[]")))
        }
        _ => (wanted != live).then(|| path.to_owned()),
    }
}

/// Where Hansa owns something that is not rendered.
fn surplus(owned: &Value, wanted: &Value, path: &str) -> Option<String> {
    match (owned, wanted) {
        (Value::Object(owned), Value::Object(wanted)) => owned.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match wanted.get(name) {
                Some(found) => surplus(value, found, &path),
                None => Some(path),
            }
        }),
        _ => None,
    }
}

/// What a member says of itself that takes no part yet, as while it hears a later start of its own operator.
fn frozen(now: u64, member: &mut Member) -> Option<String> {
    let members = member.all(now, "/apis/hansa.dev/v1alpha1/members");
    let own = members.iter().find(|object| object["metadata"]["name"] == member.name.as_str())?;
    let ready = own["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")?;
    (ready["reason"] == "Frozen").then(|| format!("its share is frozen: {}", ready["message"]))
}
