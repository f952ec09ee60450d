//! Answers to questions, without the contents of objects.

use crate::io::{Question, Selection};
use crate::machine::Operator;
use crate::report::rfc3339;
use hansa_ledger::Record;
use hansa_ledger::lives::{Duty, duty};
use hansa_ledger::record::PlacedState;
use hansa_model::RecordKey;
use serde_json::{Value, json};

impl Operator {
    pub(crate) fn answer(&mut self, question: &Question) -> Value {
        match question {
            Question::Health => self.health(),
            Question::Metrics => {
                let metrics = self.metrics();
                json!({
                    "applies": metrics.applies, "deletes": metrics.deletes, "homeWrites": metrics.home_writes,
                    "topoWrites": metrics.topo_writes, "events": metrics.events, "eventsDropped": metrics.events_dropped, "failures": metrics.failures, "strays": self.strays().len(),
                    "apiServerAway": u64::from(!self.api_server_ready()),
                    "topologyAway": u64::from(self.topology.down_since_ms.is_some()),
                    "topologyReplaced": u64::from(!self.topology.is_believed()),
                    "topologyRolledBack": u64::from(self.is_of_another_history()),
                    "topologyUnreadable": self.count_unreadable(),
                    "ballotsRejected": self.ballots.rejections(),
                    "homeObjects": metrics.home_objects, "records": metrics.records, "outputs": metrics.outputs,
                })
            }
            Question::Members => self.members(),
            Question::Objects { homeless, select } => self.list_objects(*homeless, select),
            Question::Explain { key } => self.explain(key),
            Question::Held => self.waiting_removals(),
            Question::Ballots => self.ballots_at_a_glance(),
            Question::Plan { request } => self.plan_progress(request),
        }
    }

    fn health(&self) -> Value {
        let league = self.league.as_ref();
        let types: Vec<Value> = self
            .types
            .iter()
            .map(|(name, state)| {
                let installed = state.installed.as_ref();
                json!({
                    "type": name, "version": state.federated_type.version, "installed": installed.is_some(),
                    "kind": installed.map(|kind| &kind.kind), "namespaced": installed.map(|kind| kind.namespaced),
                    "failure": state.failure,
                })
            })
            .collect();
        json!({
            "member": self.config.member,
            "publicKeys": self.config.public_keys,
            "rotation": self.rotation_at_a_glance(),
            "ready": self.is_ready(),
            "idle": self.is_idle(),
            "league": league.map(|league| league.id),
            "generation": league.map(|league| league.control.generation),
            "paused": league.is_some_and(|league| league.spec.paused),
            "frozen": self.frozen_share().or_else(|| self.frozen_by_topology()),
            "unreadable": self.unreadable_values(),
            "topologyAwaySince": self.topology.down_since_ms.map(rfc3339),
            "apiServerReady": self.api_server_ready(),
            "types": types,
        })
    }

    fn members(&self) -> Value {
        let Some(league) = &self.league else { return json!([]) };
        let member = |member: &hansa_model::Member| {
            let cell = self.cell_of(&member.name);
            let silent =
                self.topology.cells.get(&member.name).map(|other| self.hearing_ms().saturating_sub(other.changed_ms));
            let (_, state, why) = self.readiness(&member.name);
            json!({"member": member, "state": state, "why": why, "cell": cell.map(|cell| json!({
                "kubernetes": cell.kubernetes, "release": cell.release, "clusterUid": cell.cluster_uid,
                "incarnation": cell.incarnation, "sequence": cell.sequence, "apiServerReady": cell.api_server_ready,
                "publicKeys": cell.public_keys,
            })), "silentMs": silent})
        };
        league.spec.members.iter().map(member).collect()
    }

    /// Objects of ours that no record places here: reported, never deleted.
    pub(crate) fn strays(&self) -> Vec<&RecordKey> {
        self.objects.keys().filter(|key| self.is_stray(key)).collect()
    }

    fn is_stray(&self, key: &RecordKey) -> bool {
        let is_owed = |record: &Record| matches!(duty(record, &self.config.member), Duty::Keep | Duty::Remove);
        self.objects.get(key).is_some_and(|object| object.live.as_ref().is_some_and(|live| !live.deleting))
            && !self.record_in_page(key).is_some_and(|record| is_owed(&record))
            && self.unread(key).is_none()
    }

    fn list_objects(&self, homeless: bool, select: &Selection) -> Value {
        let selects = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let rows = self.topology.records().filter(|(key, record)| {
            (!homeless || record.is_homeless() || self.homes_left(record))
                && selects(&select.type_name, &key.type_name.to_string())
                && selects(&select.namespace, &key.namespace)
                && selects(&select.name, &key.name)
        });
        rows.map(|(key, record)| self.row(key, record)).collect()
    }

    fn row(&self, key: &RecordKey, record: &Record) -> Value {
        let members: Vec<Value> = record
            .placed
            .iter()
            .map(|(member, placed)| {
                let status = self.status_of(member, key).filter(|status| status.incarnation == record.incarnation);
                json!({
                    "member": member, "placed": placed.state,
                    "state": status.map(|status| status.state), "revision": status.map(|status| status.revision),
                    "health": status.map(|status| status.health),
                    "message": status.map(|status| if status.message.is_empty() { &status.health_message } else { &status.message }),
                })
            })
            .collect();
        json!({
            "key": key, "type": key.type_name, "namespace": &*key.namespace, "name": &*key.name,
            "incarnation": record.incarnation, "revision": record.revision,
            "homes": record.homes.keys().collect::<Vec<_>>(), "homeless": record.is_homeless() || self.homes_left(record),
            "deleted": record.tombstone.is_some(), "members": members,
        })
    }

    fn explain(&self, key: &RecordKey) -> Value {
        let Some(record) = self.record_in_page(key) else {
            let live = self.objects.get(key).is_some_and(|object| object.live.is_some());
            let why = match (self.unread(key), live) {
                (Some(why), _) => why,
                (None, true) => "it stands here with the league's label and no record: a stray, left alone".to_owned(),
                (None, false) => "the league knows no such object: `hansa get -A` lists what it knows".to_owned(),
            };
            return json!({"key": key, "found": false, "why": why});
        };
        let mut answer = self.row(key, &record);
        answer["found"] = json!(true);
        if let Some(why) = self.unread(key) {
            answer["unread"] = json!(why);
        }
        answer["page"] = json!(key.page(self.pages()));
        answer["header"] = json!(self.header(key));
        answer["author"] = json!(record.intent.author);
        answer["tombstone"] = json!(record.tombstone);
        if let Some(sealed) = &record.sealed {
            answer["sealedTo"] = json!(sealed.wraps.keys().collect::<Vec<_>>());
        }
        if self.is_stray(key) {
            answer["why"] = json!(
                "an object with the league's label stands here that this record does not place here: a stray, left alone"
            );
        }
        if self.homes_left(&record) {
            answer["why"] = json!(
                "none of its homes is in a member that votes in the league any more: any member may become its home (`hansa home move`, or the annotation hansa.dev/take-home); the outputs stay"
            );
        }
        if record.is_homeless() {
            answer["why"] = json!(
                "no member keeps the federated object any more: its last home went with its namespace or CRD, or without its finalizer, which is not a deletion by intent; the outputs stay"
            );
        }
        if let Some(held) = self.removals.held(key) {
            answer["held"] = json!(held);
        }
        let spec = self.intent_spec(&record);
        answer["paused"] = json!(spec.as_ref().is_ok_and(|spec| spec.paused));
        let waves = spec.as_ref().ok().zip(self.league.as_ref());
        let waves =
            waves.and_then(|(spec, league)| crate::output::waves::waves(&league.spec, spec, record.placed_members()));
        if let Some(waves) = waves {
            let last = waves.values().max().copied().unwrap_or_default();
            let numbers: serde_json::Map<_, _> =
                waves.iter().map(|(member, wave)| (member.to_string(), json!(wave + 1))).collect();
            answer["rollout"] = json!({"open": record.open_wave().min(last) + 1, "of": last + 1, "waves": numbers});
        }
        let reasons = spec.map_err(|error| json!(error)).and_then(|spec| {
            let league = self.league.as_ref().ok_or_else(|| json!("there is no league yet"))?;
            let placed = self.placement_of(&league.spec, key, &spec).map_err(|error| json!(error))?;
            Ok(placed
                .reasons
                .iter()
                .map(|(member, reason)| (member.to_string(), json!(reason.to_string())))
                .collect::<serde_json::Map<_, _>>())
        });
        answer["placement"] = reasons.map_or_else(|error| error, Value::Object);
        answer["withdrawing"] = record
            .placed
            .iter()
            .filter(|(_, placed)| placed.state == PlacedState::Withdrawing)
            .map(|(member, _)| json!(member))
            .collect();
        answer
    }

    fn waiting_removals(&self) -> Value {
        self.removals
            .waiting()
            .map(|(decision, set, why)| {
                let objects: Vec<&RecordKey> = set.removals.keys().collect();
                json!({
                    "decision": format!("{decision:?}"), "set": set.hash, "why": why,
                    "objects": objects, "removals": set.removals,
                })
            })
            .collect()
    }
}
