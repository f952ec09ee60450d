//! The federation spec: founding a league, editing the spec, and following it.

use crate::io::Level;
use crate::machine::{FeedId, League, Operator, TypeState};
use crate::topology::TopoCall;
use crate::upkeep::OwnName;
use crate::writer::Pen;
use hansa_ballot::{Control, FederationHome, Standing};
use hansa_ledger::swap::Settled;
use hansa_ledger::{Envelope, Swap, keys};
use hansa_model::{Era, FederationSpec, Hash, LeagueId, Member, MemberName, TypeName};
use serde_json::value::RawValue;
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
        let errors = match serde_json::from_value::<FederationSpec>(spec.clone()) {
            Ok(spec) => spec.validate().iter().map(ToString::to_string).collect(),
            Err(error) => vec![format!("Federation spec: {error}")],
        };
        let name: Arc<str> = object["metadata"]["name"].as_str().unwrap_or_default().into();
        let raw = RawValue::from_string(spec.to_string()).expect("JSON is JSON");
        let seen = Seen {
            uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            generation: object["metadata"]["generation"].as_u64().unwrap_or_default(),
            hash: Hash::of(spec),
            raw: Arc::from(raw),
            errors,
            pinned: serde_json::from_value(object["status"]["league"].clone()).ok(),
            mirror: object["metadata"]["labels"][MIRROR_LABEL].is_string(),
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
    }

    /// Takes the control document that the topology server shows for this member's, unless its
    /// Federation names another league: a topology server that was swapped, or began anew, is no
    /// reason to follow other people's spec, or to found the league once more.
    fn meet_control(&mut self, id: LeagueId, era: Era, control: Control) {
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
            let mirrored = control.filter(|control| seen.mirror && control.home.member != self.config.member);
            let spec = mirrored.map(|control| serde_json::from_str::<Value>(control.spec.get()).unwrap_or_default());
            let shown = self.federations.shown.as_ref().map(|(id, ..)| *id);
            let (agreed, reason, message) = if let Some(why) = &frozen {
                ("False", self.frozen_reason(), why.clone())
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
                    (Standing::Founds, _) if write.is_none() => {
                        write = Some(Control::found(Arc::clone(&seen.raw), home(), self.config.pages));
                        ("Unknown", "Founding", "the league is being founded".to_owned())
                    }
                    (Standing::Edited, Some(control)) if write.is_none() => {
                        let league =
                            self.league.as_ref().map(|league| league.id).expect("a control document has a league");
                        write = Some((league, control.edited(Arc::clone(&seen.raw), home())));
                        ("Unknown", "Agreeing", "the edit is being agreed on".to_owned())
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
        if let Some((league, control)) = write.filter(|_| self.topology.is_writable()) {
            self.write_control(league, control);
        }
    }

    /// The reason of conditions that say so.
    pub(crate) fn frozen_reason(&self) -> &'static str {
        if self.topology.doubts.is_certain() { ROLLED_BACK } else { REPLACED }
    }

    /// Since when and why everything is frozen, when another store stands where the league's stood.
    pub(crate) fn frozen_by_topology(&self) -> Option<String> {
        let why = self.topology.replaced.as_ref()?;
        let since = crate::report::rfc3339(self.topology.down_since_ms.unwrap_or(self.now.wall_ms));
        Some(format!("frozen since {since}: {why}; what was last agreed is kept up, an edit waits"))
    }

    /// The write of the control document that is under way is given up.
    pub(crate) fn forget_control_flight(&mut self) {
        self.federations.flight = None;
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
                let league = self.league.as_ref().map(|league| league.id);
                match (Envelope::open_header(&current.value), self.topology.control.adopt(&current, league)) {
                    (Ok((envelope, _)), Ok(body)) => self.control_seen(&envelope, &body),
                    (Err(error), _) | (_, Err(error)) => self.misfit(keys::CONTROL, &error),
                }
            }
            Ok(Settled::Lost(None)) => {
                self.check_store();
                self.judge_federations();
            }
            Err(error) => self.misfit(keys::CONTROL, &error),
        }
    }

    pub(crate) fn control_seen(&mut self, envelope: &Envelope, body: &[u8]) {
        match Control::from_slice(body) {
            Ok(control) => self.meet_control(envelope.league, envelope.era, control),
            Err(error) => self.log(Level::Error, None, error.to_string()),
        }
    }

    fn turn_control(&mut self, id: LeagueId, era: Era, control: Control) {
        let (spec, frozen) = match control.spec() {
            Ok(spec) => (spec, None),
            Err(error) => {
                let frozen = format!(
                    "the agreed spec holds what this release does not know ({error}): this member's share is frozen until it runs a newer operator"
                );
                self.log(Level::Error, None, frozen.clone());
                let spec = self.league.as_ref().map(|league| FederationSpec::clone(&league.spec)).unwrap_or_default();
                (spec, Some(frozen))
            }
        };
        if self.league.as_ref().is_none_or(|league| league.control.generation != control.generation) {
            self.log(
                Level::Info,
                None,
                format!("league {}: generation {} of the spec", id.label(), control.generation),
            );
        }
        if spec.member(&self.config.member).is_none() {
            let message = format!(
                "spec.members: {} is not listed, so this operator does nothing: add it, or start the operator under a listed name",
                self.config.member
            );
            self.log(Level::Warning, None, message);
        }
        self.league = Some(League { id, era, control, spec: Arc::new(spec), frozen });
        self.removals.judge_anew();
        self.turn_types();
        self.start_heartbeats();
        self.refresh_members();
        self.continue_requests(None);
        self.touch_all();
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

fn mirror_message(home: &MemberName) -> String {
    format!("read-only: the spec has its home in member {home}, edit it there")
}
