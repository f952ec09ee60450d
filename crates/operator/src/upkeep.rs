//! The objects that Hansa keeps for people to read: a `Member` for each member, the mirrored
//! `Federation`, and the status of both. They are compared with what stands before anything is
//! written, so that nothing is written when nothing changes.

use crate::classify::classify;
use crate::events::{Regarding, Tiding, tidings};
use crate::feed::{is_before, is_overtaken};
use crate::io::{ApiAnswer, ApiRequest, ContentType, Level, Method};
use crate::league::MIRROR_LABEL;
use crate::machine::{FeedId, Operator, Purpose};
use crate::observed::{MANAGER, status_hash};
use crate::sealing::Untrusted;
use hansa_ledger::cell::MemberCell;
use hansa_model::{Hash, MemberName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const API_VERSION: &str = "hansa.dev/v1alpha1";

/// How long nothing is written that was just written and is undone already: another replica does that, which does not
/// know yet that it leads no more, and sees it otherwise.
const RIVAL_MS: u64 = 1_000;

/// One of these objects: its plural and name. All of them are cluster-scoped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct OwnName {
    plural: &'static str,
    name: Arc<str>,
}

/// What is being written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UpkeepCall {
    Spec(Hash),
    Status(Hash),
}

/// What is wanted and what stands.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    objects: BTreeMap<OwnName, Own>,
}

#[derive(Debug, Default)]
struct Own {
    wanted_spec: Option<Value>,
    wanted_status: Option<Value>,
    spec: Option<Hash>,
    status: Option<Hash>,
    conditions: Value,
    /// What the status that is being written tells anew, against what stood before it was sent.
    tidings: Vec<Tiding>,
    uid: String,
    /// `metadata.resourceVersion`, of what was seen or of our own write, whichever is later.
    version: String,
    /// The status that was written last, and when.
    written: Option<(Hash, u64)>,
    busy: bool,
    retry_ms: u64,
    failures: u32,
}

impl OwnName {
    pub fn new(plural: &'static str, name: &str) -> Self {
        OwnName { plural, name: name.into() }
    }

    fn path(&self) -> String {
        format!("/apis/{API_VERSION}/{}/{}", self.plural, self.name)
    }

    fn kind(&self) -> &'static str {
        if self.plural == "members" { "Member" } else { "Federation" }
    }
}

impl Operator {
    pub(crate) fn own_seen(&mut self, plural: &'static str, object: &Value, listed: bool) {
        let name = OwnName::new(plural, object["metadata"]["name"].as_str().unwrap_or_default());
        let own = self.upkeep.objects.entry(name.clone()).or_default();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        // The watch may still be telling what was before the answer to our own write.
        if !listed && is_overtaken((text("uid"), text("resourceVersion")), (&own.uid, &own.version)) {
            return;
        }
        text("resourceVersion").clone_into(&mut own.version);
        own.spec = Some(Hash::of(&object["spec"]));
        own.status = Some(status_hash(&object["status"]));
        own.conditions = object["status"]["conditions"].clone();
        text("uid").clone_into(&mut own.uid);
        if plural == "members" {
            self.pins_seen(object);
        }
        self.continue_upkeep(&name);
    }

    pub(crate) fn own_gone(&mut self, plural: &'static str, name: &str) {
        let name = OwnName::new(plural, name);
        if let Some(own) = self.upkeep.objects.get_mut(&name) {
            (own.spec, own.status, own.written) = (None, None, None);
            own.version.clear();
        }
        self.continue_upkeep(&name);
    }

    /// Wants an object to stand like this. Without a spec, the object is a user's: only its status is
    /// written, when it exists.
    pub(crate) fn keep_own(&mut self, name: OwnName, spec: Option<Value>, status: Option<Value>) {
        let own = self.upkeep.objects.entry(name.clone()).or_default();
        own.wanted_spec = spec;
        own.wanted_status = status.map(|mut status| {
            keep_times(&mut status, &own.conditions);
            status
        });
        self.continue_upkeep(&name);
    }

    /// The API server has told all objects of a kind, so it answers: what it did not take a while ago is
    /// tried at once.
    pub(crate) fn retry_upkeep(&mut self, plural: &str) {
        self.upkeep.objects.iter_mut().filter(|(name, _)| name.plural == plural).for_each(|(_, own)| own.retry_ms = 0);
    }

    pub(crate) fn condition(&self, kind: &str, status: &str, reason: &str, message: &str, observed: u64) -> Value {
        let time = crate::report::rfc3339(self.now.wall_ms);
        json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": observed, "lastTransitionTime": time})
    }

    fn continue_upkeep(&mut self, name: &OwnName) {
        let now = self.now.monotonic_ms;
        let Some(own) = self.upkeep.objects.get_mut(name) else { return };
        if own.busy || own.retry_ms > now {
            return;
        }
        let path = name.path();
        if let Some(spec) = &own.wanted_spec
            && own.spec != Some(Hash::of(spec))
        {
            let mut metadata = json!({"name": &*name.name});
            if name.plural == "federations" {
                metadata["labels"] = json!({MIRROR_LABEL: "true"});
            }
            let body = json!({"apiVersion": API_VERSION, "kind": name.kind(), "metadata": metadata, "spec": spec});
            own.busy = true;
            let call = UpkeepCall::Spec(Hash::of(spec));
            let request = ApiRequest::write(
                Method::Patch,
                format!("{path}?fieldManager={MANAGER}&force=true"),
                ContentType::Apply,
                &body,
            );
            return self.api(Purpose::Upkeep(name.clone(), call), request);
        }
        if let Some(status) = &own.wanted_status
            && own.spec.is_some()
            && own.status != Some(status_hash(status))
            && !own.written.is_some_and(|(hash, at)| hash == status_hash(status) && now < at + RIVAL_MS)
        {
            let body = json!([{"op": "add", "path": "/status", "value": status}]);
            let federation = name.plural == "federations";
            own.tidings = if federation { tidings(&own.conditions, &status["conditions"]) } else { Vec::new() };
            own.busy = true;
            own.written = Some((status_hash(status), now));
            let call = UpkeepCall::Status(status_hash(status));
            let request = ApiRequest::write(
                Method::Patch,
                format!("{path}/status?fieldManager={MANAGER}"),
                ContentType::JsonPatch,
                &body,
            );
            self.api(Purpose::Upkeep(name.clone(), call), request);
        }
    }

    pub(crate) fn upkeep_answered(&mut self, name: &OwnName, call: UpkeepCall, answer: Result<ApiAnswer, String>) {
        let Some(own) = self.upkeep.objects.get_mut(name) else { return };
        own.busy = false;
        let answered = answer.is_ok();
        let failure = match answer {
            Ok(answer) if answer.status < 300 => {
                own.failures = 0;
                let written: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let version = written["metadata"]["resourceVersion"].as_str();
                let overtaken = version.is_some_and(|version| is_before(version, &own.version));
                if let Some(version) = version.filter(|_| !overtaken) {
                    version.clone_into(&mut own.version);
                }
                let mut told = Vec::new();
                match call {
                    // Another start of this operator has written since, and the watch has told of it already.
                    _ if overtaken => {}
                    UpkeepCall::Spec(hash) => own.spec = Some(hash),
                    UpkeepCall::Status(hash) => {
                        own.status = Some(hash);
                        told = std::mem::take(&mut own.tidings);
                        let written = own.wanted_status.as_ref().filter(|status| status_hash(status) == hash);
                        if let Some(written) = written {
                            own.conditions = written["conditions"].clone();
                        }
                    }
                }
                let regarding = Regarding {
                    api_version: API_VERSION.to_owned(),
                    kind: name.kind().to_owned(),
                    namespace: String::new(),
                    name: name.name.to_string(),
                    uid: own.uid.clone(),
                };
                self.tell(&regarding, told);
                return self.continue_upkeep(name);
            }
            Ok(answer) => classify(answer.status, &answer.body).message(),
            Err(reason) => reason,
        };
        own.failures += 1;
        let failures = own.failures;
        let until = self.pause(failures, 1_000, 60_000);
        if let Some(own) = self.upkeep.objects.get_mut(name) {
            own.retry_ms = until;
        }
        // That the API server is away is said of it as a whole.
        if failures == 3 && answered {
            self.log(
                Level::Warning,
                None,
                format!("{} {}: its status cannot be written: {failure}", name.kind(), name.name),
            );
        }
    }

    /// Shows every member of the spec as this operator sees it, and then the Federation, whose status
    /// counts them.
    pub(crate) fn refresh_members(&mut self) {
        // Before everything was read, a member would look as if it had never been heard of.
        if !self.topology.is_loaded() || !self.is_synced(&FeedId::Members) {
            return;
        }
        let league = self.league.clone();
        for member in league.iter().flat_map(|league| &league.spec.members) {
            let spec = serde_json::to_value(member).expect("a member always encodes");
            let mut status = self.member_status(&member.name);
            if let Some(keys) = self.pin_keys(&member.name) {
                status["publicKeys"] = json!(keys);
            }
            self.keep_own(OwnName::new("members", member.name.as_str()), Some(spec), Some(status));
        }
        self.judge_federations();
    }

    /// For how long nothing was heard of a member, on this operator's own clock.
    pub(crate) fn silent_ms(&self, member: &MemberName) -> u64 {
        if member == &self.config.member {
            return 0;
        }
        let cell = self.topology.cells.get(member);
        cell.map_or(u64::MAX, |other| self.hearing_ms().saturating_sub(other.changed_ms))
    }

    /// Whether a member's heartbeat is heard.
    pub(crate) fn is_heard(&self, member: &MemberName) -> bool {
        self.silent_ms(member) < self.suspect_after_ms()
    }

    /// What a member says of itself.
    pub(crate) fn cell_of(&self, member: &MemberName) -> Option<&MemberCell> {
        if member == &self.config.member {
            return Some(&self.topology.cell.cell);
        }
        self.topology.cells.get(member).map(|other| &other.value)
    }

    /// Whether a member is well, as the condition Ready has it: status, reason and message.
    pub(crate) fn readiness(&self, member: &MemberName) -> (&'static str, &'static str, String) {
        let own = member == &self.config.member;
        let heard = self.is_heard(member);
        let frozen = self.frozen_by_topology();
        let unreadable = self.unreadable_at_a_glance().filter(|_| own);
        let reachable = own || self.topology.down_since_ms.is_none();
        let ballots = self.league.as_ref().and_then(|league| league.control.ballots.as_ref());
        let lost = ballots.and_then(|ballots| ballots.lost.get(member));
        let votes = ballots.is_none_or(|ballots| ballots.voters.set.contains_key(member));
        let share = if own { self.frozen_share() } else { self.cell_of(member).and_then(|cell| cell.frozen.clone()) };
        match self.cell_of(member) {
            None => {
                ("Unknown", "NeverSeen", "no operator of this member has written to the topology server yet".to_owned())
            }
            Some(_) if !reachable => {
                ("Unknown", "TopologyServerAway", "the topology server cannot be used from here".to_owned())
            }
            Some(_) if lost.is_some() => (
                "False",
                "Lost",
                format!("voted lost by ballot #{}: its homes may be taken over", lost.copied().unwrap_or_default()),
            ),
            // The topology server was away until a moment ago, or this process was stopped.
            Some(_) if !heard && self.silence_ms(member) < self.suspect_after_ms() => (
                "Unknown",
                "Awaited",
                "nobody could be heard here for a while: its next heartbeat is awaited".to_owned(),
            ),
            Some(_) if !heard => ("False", "Silent", "its heartbeat has stopped".to_owned()),
            Some(_) if !votes && share.is_none() => {
                ("False", "NotJoined", "its operator lives, and has not been voted into the league".to_owned())
            }
            // Its own API server takes no such word, or it is not true any more.
            Some(cell) if !own && !cell.api_server_ready => {
                ("False", "ApiServerAway", "its operator does not reach its API server".to_owned())
            }
            Some(_) if own && frozen.is_some() => ("False", self.frozen_reason(), frozen.unwrap_or_default()),
            Some(_) if own && self.topology.down_since_ms.is_some() => (
                "False",
                "TopologyServerAway",
                "the topology server cannot be used: what was last agreed is kept up".to_owned(),
            ),
            Some(_) if share.is_some() => ("False", "Frozen", share.unwrap_or_default()),
            Some(_) if unreadable.is_some() => ("False", "Unreadable", unreadable.unwrap_or_default()),
            Some(_) => match self.trusted_key(member) {
                Err(Untrusted::Differs(why)) => ("False", "KeyDiffers", why),
                _ => ("True", "Heartbeat", "its operator lives".to_owned()),
            },
        }
    }

    fn member_status(&self, member: &MemberName) -> Value {
        let (ready, reason, message) = self.readiness(member);
        let mut status = json!({
            "ready": ready == "True",
            "state": reason,
            "reason": message,
            "lag": lag(self.silent_ms(member), self.suspect_after_ms()),
            "conditions": [self.condition("Ready", ready, reason, &message, 0)],
        });
        if let Some(cell) = self.cell_of(member) {
            status["version"] = json!(cell.kubernetes);
            status["uid"] = json!(cell.cluster_uid);
            // Not which start of the process it is: a restart writes nothing.
            status["operator"] = json!({"release": cell.release});
        }
        status
    }
}

/// The time since the last heartbeat by orders of magnitude: it is written when it changes.
fn lag(silent_ms: u64, suspect_after_ms: u64) -> &'static str {
    match silent_ms {
        u64::MAX => "",
        ms if ms < suspect_after_ms => "0s",
        ms if ms < 60_000 => ">10s",
        ms if ms < 600_000 => ">1m",
        ms if ms < 3_600_000 => ">10m",
        ms if ms < 86_400_000 => ">1h",
        _ => ">1d",
    }
}

/// Keeps the transition times of conditions whose status did not change.
pub(crate) fn keep_times(status: &mut Value, before: &Value) {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        let same = before
            .as_array()
            .into_iter()
            .flatten()
            .find(|old| old["type"] == condition["type"] && old["status"] == condition["status"]);
        if let Some(time) = same.and_then(|old| old["lastTransitionTime"].as_str()) {
            condition["lastTransitionTime"] = json!(time);
        }
    }
}
