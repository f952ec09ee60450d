//! The federation spec: founding a league, editing the spec, and following it.

use crate::ballots::wanted::rejection;
use crate::io::Level;
use crate::machine::{FeedId, League, Operator, TypeState};
use crate::topology::TopoCall;
use crate::upkeep::OwnName;
use crate::writer::{Pen, open};
use hansa_ballot::control::SpecCandidate;
use hansa_ballot::{Control, FederationHome, Key, Standing, Voter, Voters};
use hansa_ledger::swap::Settled;
use hansa_ledger::{Swap, keys};
use hansa_model::{Era, FederationSpec, Hash, LeagueId, Member, MemberName, TypeName};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The Federation objects that this member's API server shows.
#[derive(Debug, Default)]
pub(crate) struct Federations {
    seen: BTreeMap<Arc<str>, Seen>,
    /// The control document that is being written, and its league.
    flight: Option<(LeagueId, Control)>,
    /// The control document that the topology server shows, while it is not known whether it is this
    /// member's league, or known that it is not.
    shown: Option<(LeagueId, Era, Control)>,
}

#[derive(Debug)]
struct Seen {
    uid: String,
    generation: u64,
    hash: Hash,
    raw: Arc<RawValue>,
    errors: Vec<String>,
    /// The league that its status names: this member has been in it.
    pinned: Option<LeagueId>,
    /// Hansa made it, after the spec in its home.
    mirror: bool,
    /// Its users want it to become the spec's home.
    takes_home: bool,
}

/// The reasons of conditions that say so: it is not this league's store, or one of another history.
const REPLACED: &str = "TopologyServerReplaced";
const ROLLED_BACK: &str = "TopologyServerRolledBack";

/// How many members that are not ready are named: what the CRD takes.
const MAX_NOT_READY: usize = 256;

/// The label of the Federation that Hansa keeps in members where the spec has not its home.
pub(crate) const MIRROR_LABEL: &str = "hansa.dev/mirror";

impl Operator {
    pub(crate) fn federation_seen(&mut self, object: &Value, listed: bool) {
        let spec = &object["spec"];
        let name: Arc<str> = object["metadata"]["name"].as_str().unwrap_or_default().into();
        let raw = RawValue::from_string(spec.to_string()).expect("JSON is JSON");
        let errors = match self.config.release.read_spec(&raw) {
            Ok(spec) => spec.validate().iter().map(ToString::to_string).collect(),
            Err(error) => vec![format!("Federation spec: {error}")],
        };
        let seen = Seen {
            uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            generation: object["metadata"]["generation"].as_u64().unwrap_or_default(),
            hash: Hash::of(spec),
            raw: Arc::from(raw),
            errors,
            pinned: serde_json::from_value(object["status"]["league"].clone()).ok(),
            mirror: object["metadata"]["labels"][MIRROR_LABEL].is_string(),
            takes_home: object["metadata"]["annotations"][crate::observed::TAKE_HOME].is_string(),
        };
        self.federations.seen.insert(name, seen);
        self.own_seen("federations", object, listed);
        self.judge_federations();
    }

    pub(crate) fn federation_gone(&mut self, name: &Arc<str>) {
        self.federations.seen.remove(name);
        self.own_gone("federations", name);
        self.judge_federations();
    }

    /// Founds the league, or edits its spec, when a Federation object here says so; and keeps the
    /// object's status and the mirror current.
    pub(crate) fn judge_federations(&mut self) {
        // What a Federation says of the members hangs on the keys that are pinned in theirs.
        let synced = self.is_synced(&FeedId::Federation) && self.is_synced(&FeedId::Members);
        if !self.topology.is_loaded() || self.topology.control.is_busy() || !synced {
            return;
        }
        if let Some((league, era, control)) = self.federations.shown.take() {
            return self.meet_control(league, era, control);
        }
        self.show_federations();
        self.ballots.look = true;
    }

    /// Takes the control document that the topology server shows for this member's, unless its
    /// Federation names another league: a topology server that was swapped, or began anew, is no
    /// reason to follow other people's spec, or to found the league once more.
    pub(crate) fn meet_control(&mut self, id: LeagueId, era: Era, control: Control) {
        if !self.is_synced(&FeedId::Federation) {
            self.federations.shown = Some((id, era, control));
            return;
        }
        match self.federations.seen.values().filter_map(|seen| seen.pinned).find(|pinned| *pinned != id) {
            Some(pinned) if self.league.is_none() => {
                let message = format!(
                    "the topology server holds league {}, and this member belongs to league {}: nothing is done here; name this league's own topology server, or another prefix in it",
                    id.label(),
                    pinned.label()
                );
                self.log(Level::Error, None, message);
                self.federations.shown = Some((id, era, control));
                self.show_federations();
            }
            _ => self.turn_control(id, era, control),
        }
    }

    fn show_federations(&mut self) {
        let names: Vec<Arc<str>> = self.federations.seen.keys().cloned().collect();
        let frozen = self.frozen_by_topology();
        let unreadable = self.unreadable_at_a_glance();
        let is_unknown = self.league.is_none() && self.topology.unreadable.holds(keys::CONTROL);
        let mut write = None;
        for name in &names {
            let Some(seen) = self.federations.seen.get(name) else { continue };
            let control = self.league.as_ref().map(|league| &league.control);
            let standing = Control::standing(control, &self.config.member, &seen.uid, seen.generation, seen.hash);
            let home = || FederationHome {
                member: self.config.member.clone(),
                uid: seen.uid.clone(),
                generation: seen.generation,
                hash: seen.hash,
            };
            let mirrored =
                control.filter(|control| seen.mirror && !seen.takes_home && control.home.member != self.config.member);
            let spec = mirrored.map(|control| serde_json::from_str::<Value>(control.spec.get()).unwrap_or_default());
            let shown = self.federations.shown.as_ref().map(|(id, ..)| *id);
            let (agreed, reason, message) = if let Some(why) = &frozen {
                ("False", self.frozen_reason(), why.clone())
            } else if let (true, Some(why)) = (is_unknown, &unreadable) {
                ("False", "Unreadable", why.clone())
            } else if let Some(control) = mirrored {
                ("True", "Mirror", mirror_message(&control.home.member))
            } else if let Some(error) = seen.errors.first() {
                ("False", "Invalid", error.clone())
            } else if let (Some(pinned), None) = (seen.pinned, control) {
                let found = shown.map_or_else(|| "none".to_owned(), |shown| format!("league {}", shown.label()));
                let message = format!(
                    "this member belongs to league {}, and the topology server holds {found}: nothing is done here; bring back this league's topology server, or, to begin anew on purpose, delete this object and make it again",
                    pinned.label()
                );
                ("False", "AnotherLeague", message)
            } else {
                match (standing, control) {
                    (Standing::Founds, _) if let Some(remains) = self.topology.remains() => {
                        ("False", "ControlMissing", remains)
                    }
                    (Standing::Founds, _) if write.is_none() => {
                        write = Some(self.founding(Arc::clone(&seen.raw), home()));
                        ("Unknown", "Founding", "the league is being founded".to_owned())
                    }
                    (Standing::Edited, Some(control)) => self.agreeing(control, seen, home()),
                    (Standing::Mirror | Standing::Foreign, Some(control)) if seen.takes_home => {
                        self.agreeing(control, seen, home())
                    }
                    (Standing::InStep | Standing::Mirror, Some(control)) => {
                        ("True", "Agreed", format!("generation {} of the spec is agreed", control.generation))
                    }
                    (Standing::Stale, Some(control)) => (
                        "False",
                        "Stale",
                        format!(
                            "this object is older than what was agreed from it (generation {}), or was made anew: apply the agreed spec here, and edit from there",
                            control.home.generation
                        ),
                    ),
                    (Standing::Foreign, Some(control)) => (
                        "False",
                        "HomeElsewhere",
                        format!("the league's spec has its home in member {}: edit it there", control.home.member),
                    ),
                    _ => (
                        "False",
                        "AnotherFederation",
                        "one league has one Federation object: delete this one".to_owned(),
                    ),
                }
            };
            let status = self.federation_status(seen.generation, seen.pinned, agreed, reason, &message);
            self.keep_own(OwnName::new("federations", name), spec, Some(status));
        }
        if names.is_empty()
            && let Some(league) = &self.league
        {
            let spec = serde_json::from_str::<Value>(league.control.spec.get()).unwrap_or_default();
            let (agreed, reason, message) = match &frozen {
                Some(why) => ("False", self.frozen_reason(), why.clone()),
                None => ("True", "Mirror", mirror_message(&league.control.home.member)),
            };
            let status = self.federation_status(1, None, agreed, reason, &message);
            self.keep_own(OwnName::new("federations", "league"), Some(spec), Some(status));
        }
        // A league that was founded before leagues voted begins to, by the word of its spec's home.
        if let Some(league) = self.league.as_ref().filter(|league| league.control.ballots.is_none())
            && league.control.home.member == self.config.member
        {
            write = Some((league.id, league.control.voting(self.first_voters(&league.spec))));
        }
        if let Some((league, control)) = write.filter(|_| self.topology.is_writable() && !self.config.observe) {
            self.write_control(league, control);
        }
    }

    /// The reason of conditions that say so.
    pub(crate) fn frozen_reason(&self) -> &'static str {
        if self.is_of_another_history() { ROLLED_BACK } else { REPLACED }
    }

    /// Whether what stands in the topology server is of another history than what was seen there.
    pub(crate) fn is_of_another_history(&self) -> bool {
        self.topology.doubts.is_certain() || (self.topology.replaced.is_none() && self.ballots.see_another_history())
    }

    /// Since when and why everything is frozen, when another store stands where the league's stood.
    pub(crate) fn frozen_by_topology(&self) -> Option<String> {
        let (replaced, distrusted) = (self.topology.replaced.as_ref(), self.topology.distrusted.as_ref());
        // An era that stands there and is not followed comes after whatever it was to mend.
        let why = if self.ballots.refuse_an_era() { distrusted.or(replaced) } else { replaced.or(distrusted) }?;
        let since = crate::report::rfc3339(self.topology.down_since_ms.unwrap_or(self.now.wall_ms));
        Some(format!("frozen since {since}: {why}; what was last agreed is kept up, an edit waits"))
    }

    /// The write of the control document that is under way is given up.
    pub(crate) fn forget_control_flight(&mut self) {
        self.federations.flight = None;
    }

    /// The document that founds a league: its founder is its first voter, and the others join.
    fn founding(&self, raw: Arc<RawValue>, home: FederationHome) -> (LeagueId, Control) {
        let spec = serde_json::from_str::<FederationSpec>(raw.get()).unwrap_or_default();
        let (league, control) = Control::found(raw, home, self.config.pages);
        (league, control.voting(self.first_voters(&spec)))
    }

    fn first_voters(&self, spec: &FederationSpec) -> Voters {
        let key = self.config.signer.public();
        let witness = spec.member(&self.config.member).is_some_and(|member| member.witness);
        let voter = Voter { key, uid: self.config.cluster_uid.clone(), witness };
        let people =
            spec.people.iter().filter_map(|person| Some((person.name.to_string(), person.public_key.parse().ok()?)));
        Voters::found(std::iter::once((self.config.member.clone(), voter)).collect(), people.collect())
    }

    /// The spec that this member's Federation object asks the league to agree on, as a candidate: an edit
    /// in its home, or what its new home is to keep.
    pub(crate) fn spec_to_propose(&self) -> Option<Arc<RawValue>> {
        let league =
            self.league.as_ref().filter(|league| self.is_synced(&FeedId::Federation) && league.frozen.is_none())?;
        let control = &league.control;
        let candidate = |seen: &Seen| {
            let standing = Control::standing(Some(control), &self.config.member, &seen.uid, seen.generation, seen.hash);
            let takes =
                seen.takes_home && matches!(standing, Standing::Mirror | Standing::Foreign) && self.may_take_spec();
            let fits = seen.errors.is_empty() && seen.pinned.is_none_or(|pinned| pinned == league.id);
            let wanted = fits && (standing == Standing::Edited || takes);
            wanted.then(|| spec_candidate(control, seen, &self.config.member))
        };
        self.federations.seen.values().find_map(candidate)
    }

    /// How far an edit of the spec is: who has yet to vote on it, or who refused it and why.
    fn agreeing(&self, control: &Control, seen: &Seen, home: FederationHome) -> (&'static str, &'static str, String) {
        if home.member != control.home.member && !self.may_take_spec() {
            let message = format!(
                "the league's spec has its home in member {}: edit it there, or take it from there once that member is voted lost or spec.homes.takeover is Allowed",
                control.home.member
            );
            return ("False", "HomeElsewhere", message);
        }
        let (key, value) = (Key::spec(), spec_candidate(control, seen, &self.config.member));
        let hash = Hash::of_bytes(value.get().as_bytes());
        let Some(ballots) = &control.ballots else {
            return ("Unknown", "Agreeing", "the league's first ballot is being prepared".to_owned());
        };
        if let Some(reasons) = rejection(ballots, &key, &hash) {
            let reasons: Vec<String> = reasons.iter().map(|(member, why)| format!("{member}: {why}")).collect();
            let message = format!(
                "the league's members voted against it, and generation {} stands ({}): edit it again",
                control.generation,
                reasons.join("; ")
            );
            return ("False", "Rejected", message);
        }
        let mut message = "the edit is being agreed on".to_owned();
        if let Some(missing) = self.missing_votes(&key) {
            message = format!(
                "the edit is being agreed on: {missing} of {} voters have yet to vote, {} make it",
                ballots.voters.set.len(),
                ballots.voters.quorum
            );
        }
        ("Unknown", "Agreeing", message)
    }

    /// The name and uid of the Federation object here.
    pub(crate) fn federation_here(&self) -> Option<(String, String)> {
        self.federations.seen.iter().next().map(|(name, seen)| (name.to_string(), seen.uid.clone()))
    }

    fn federation_status(
        &self,
        observed: u64,
        pinned: Option<LeagueId>,
        agreed: &str,
        reason: &str,
        message: &str,
    ) -> Value {
        let mut status = json!({
            "observedGeneration": observed,
            "conditions": [self.condition("Agreed", agreed, reason, message, observed)],
        });
        let readable = match self.unreadable_at_a_glance() {
            Some(why) => self.condition("Readable", "False", "Unreadable", &why, observed),
            None => {
                self.condition("Readable", "True", "Readable", "what the topology server holds can be read", observed)
            }
        };
        if let Some(conditions) = status["conditions"].as_array_mut() {
            conditions.push(readable);
        }
        if let Some(pinned) = pinned {
            status["league"] = json!(pinned);
        }
        if let Some(league) = &self.league {
            status["league"] = json!(league.id);
            status["generation"] = json!(league.control.generation);
            status["era"] = json!(league.era);
            status["home"] = json!(league.control.home.member);
            let ready = |member: &&Member| self.readiness(&member.name).0 == "True";
            let (well, others): (Vec<_>, Vec<_>) = league.spec.members.iter().partition(ready);
            let mut members = json!({"total": league.spec.members.len(), "ready": well.len()});
            if !others.is_empty() {
                members["notReady"] = others.iter().take(MAX_NOT_READY).map(|member| json!(member.name)).collect();
            }
            status["members"] = members;
        }
        status
    }

    fn write_control(&mut self, league: LeagueId, control: Control) {
        let era = self.league.as_ref().map_or(Era(1), |league| league.era);
        let operation = self.next_operation();
        let nonce = self.random();
        let member = self.config.member.clone();
        let pen = Pen { league, era, member: &member, operation, nonce };
        let request = self.topology.control.begin(pen, &control.to_vec());
        self.federations.flight = Some((league, control));
        self.topo(TopoCall::Control, request);
    }

    pub(crate) fn control_swapped(&mut self, swap: Swap) {
        let member = self.config.member.clone();
        match self.topology.control.settle(&member, swap) {
            Ok(Settled::Repeat { reason }) => self.repeat_later(TopoCall::Control, &reason),
            Ok(Settled::Committed(_)) => {
                if let Some((league, control)) = self.federations.flight.take() {
                    let era = self.league.as_ref().map_or(Era(1), |league| league.era);
                    self.turn_control(league, era, control);
                }
            }
            Ok(Settled::CommittedBefore(current) | Settled::Lost(Some(current))) => {
                self.federations.flight = None;
                let (envelope, body) = match open(&current.value, self.league.as_ref().map(|league| league.id)) {
                    Ok(opened) => opened,
                    Err(error) => return self.misfit(keys::CONTROL, &error),
                };
                match Control::from_slice(&body) {
                    Ok(control) => {
                        let (league, era) = (envelope.league, envelope.era);
                        self.topology.control.adopt(&current.version, envelope);
                        self.meet_control(league, era, control);
                    }
                    // Nothing is written on it.
                    Err(error) => self.unreadable(keys::CONTROL, &error.to_string()),
                }
            }
            Ok(Settled::Lost(None)) => {
                self.check_store();
                self.judge_federations();
            }
            Err(error) => self.misfit(keys::CONTROL, &error),
        }
    }

    pub(crate) fn turn_control(&mut self, id: LeagueId, era: Era, control: Control) {
        let frozen = self.share_is_frozen(&control);
        if let Some(why) = frozen.as_ref().filter(|_| self.league.as_ref().is_none_or(|league| league.frozen != frozen))
        {
            self.log(Level::Warning, None, why.clone());
        }
        let read = self.config.release.read_spec(&control.spec);
        let is_read = read.is_ok();
        let spec = read.unwrap_or_else(|_| {
            self.league.as_ref().map(|league| FederationSpec::clone(&league.spec)).unwrap_or_default()
        });
        if self.league.as_ref().is_none_or(|league| league.control.generation != control.generation) {
            self.log(
                Level::Info,
                None,
                format!("league {}: generation {} of the spec", id.label(), control.generation),
            );
        }
        if is_read && spec.member(&self.config.member).is_none() {
            let message = format!(
                "spec.members: {} is not listed, so this operator does nothing: add it, or start the operator under a listed name",
                self.config.member
            );
            self.log(Level::Warning, None, message);
        }
        // What was set aside before is older, or another league's.
        self.federations.shown = None;
        self.league = Some(League { id, era, control, spec: Arc::new(spec), frozen });
        self.tell_standing();
        self.removals.judge_anew();
        self.turn_types();
        self.start_heartbeats();
        self.refresh_members();
        self.continue_all_requests();
        self.touch_all();
        self.take_seat();
    }

    /// Follows the types of the spec, and no others. A type that is taken out of the spec is left as
    /// it is: nothing is removed because a line is absent.
    fn turn_types(&mut self) {
        let Some(league) = &self.league else { return };
        let wanted: BTreeMap<TypeName, _> =
            league.spec.types.iter().map(|each| (each.resource.clone(), each.clone())).collect();
        let changed: BTreeSet<TypeName> = self
            .types
            .iter()
            .filter(|(name, state)| wanted.get(*name) != Some(&state.federated_type))
            .map(|(name, _)| name.clone())
            .collect();
        for name in changed {
            self.types.remove(&name);
            if crate::sealing::is_sealed_type(&name) {
                self.forget_sources();
            }
            self.unfollow(&FeedId::Homes(name.clone()));
            self.unfollow(&FeedId::Outputs(name));
        }
        for (name, federated_type) in wanted {
            if !self.types.contains_key(&name) {
                let state = TypeState { federated_type, installed: None, failure: None, failures: 0 };
                self.types.insert(name.clone(), state);
                self.install_type(&name);
            }
        }
    }
}

/// A candidate of [`Key::spec`] out of a Federation object.
fn spec_candidate(control: &Control, seen: &Seen, member: &MemberName) -> Arc<RawValue> {
    let home =
        FederationHome { member: member.clone(), uid: seen.uid.clone(), generation: seen.generation, hash: seen.hash };
    let candidate = SpecCandidate { generation: control.generation.next(), home, spec: Arc::clone(&seen.raw) };
    to_raw_value(&candidate).expect("a candidate always encodes into memory").into()
}

fn mirror_message(home: &MemberName) -> String {
    format!("read-only: the spec has its home in member {home}, edit it there")
}
