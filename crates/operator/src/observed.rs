//! Objects as they are kept in memory: reduced on arrival, their bodies let go.

use crate::feed::{is_before, is_overtaken};
use crate::sealing::{is_sealed_type, misplaced_content};
use hansa_ledger::Record;
use hansa_ledger::cell::Health;
use hansa_ledger::lives::HomeObject;
use hansa_ledger::record::{Body, Intent};
use hansa_model::{Compact, FINALIZER, FederatedSpec, Hash, Incarnation, MemberName, RecordKey, Revision, TypeName};
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Hansa's field manager for outputs (see KEP-555).
pub const MANAGER: &str = "hansa";

/// The annotation by which a user makes this object the home: its value is the agreed revision that
/// is taken over from, so that it does not go on counting for later ones.
pub const TAKE_HOME: &str = "hansa.dev/take-home";

/// The command by which a user says that a federated object takes over from this revision.
pub(crate) fn take_home(key: &RecordKey, revision: Revision) -> String {
    let (plural, group) = (key.type_name.federated_plural(), key.type_name.federated_group());
    let namespace = if key.namespace.is_empty() { String::new() } else { format!(" -n {}", key.namespace) };
    format!("`kubectl annotate {plural}.{group} {}{namespace} {TAKE_HOME}={revision}`", key.name)
}

/// A `Federated<Kind>` object of this member.
#[derive(Clone, Debug)]
pub struct HomeState {
    /// What the judgement of its standing needs.
    pub object: HomeObject,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Whether Hansa's finalizer is on it.
    pub has_finalizer: bool,
    /// The finalizers of others.
    pub other_finalizers: Vec<String>,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// Its content, kept until it is the agreed one.
    pub intent: Option<Box<Intent>>,
    /// What is wrong with its spec, when it does not read.
    pub invalid: Option<String>,
    /// The Secret that its content is read from.
    pub source: Option<Box<SourceReference>>,
    /// The hash of its status without times, as it stands.
    pub status: Hash,
    /// Its conditions, for their transition times.
    pub conditions: Compact,
}

/// The Secret that a federated object names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceReference {
    /// The Secret's name.
    pub name: Arc<str>,
    /// The hash of the canonical spec; the object's own also covers what the Secret holds.
    pub spec: Hash,
    /// Whether it is known what the Secret holds.
    pub settled: bool,
    /// What stands in the way of agreeing on it, with the mend.
    pub problem: Option<String>,
}

impl HomeState {
    /// Whether its content was let go when it was agreed on, and is none that is agreed now: in a topology server that
    /// went back, it has to be read once more.
    pub fn is_let_go(&self, record: Option<&Record>) -> bool {
        self.intent.is_none() && record.is_none_or(|record| record.intent.hash != self.object.hash)
    }

    /// Reduces an object; `remembered_stamp` is what this member's status cell remembers for its uid.
    pub fn reduce(type_name: &TypeName, object: &Value, author: &MemberName) -> Self {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spec = &object["spec"];
        let hash = Hash::of(spec);
        let raw = RawValue::from_string(spec.to_string()).expect("JSON is JSON");
        let intent = Intent { hash, author: author.clone(), body: Body::Inline(Arc::from(raw)), signature: None };
        let read = FederatedSpec::deserialize_checked(spec);
        let invalid = match &read {
            Ok(read) => misplaced_content(type_name, read),
            Err(why) => Some(why.clone()),
        };
        // A Secret's values that were written where they do not belong are not kept, either.
        let kept = (invalid.is_none() || !is_sealed_type(type_name)).then(|| Box::new(intent));
        let reference = read.ok().and_then(|read| read.template_from).filter(|_| invalid.is_none());
        let source = reference.map(|from| {
            Box::new(SourceReference { name: from.secret_ref.name.into(), spec: hash, settled: false, problem: None })
        });
        let status = &object["status"];
        let (has_finalizer, other_finalizers) = finalizers(object);
        HomeState {
            object: HomeObject {
                uid: text(&metadata["uid"]),
                generation: metadata["generation"].as_u64().unwrap_or_default(),
                hash,
                stamp: status["agreed"]["revision"].as_u64().map(Revision),
                stamp_life: status["agreed"]["incarnation"].as_u64().map(Incarnation),
                later: None,
                remembered_stamp: None,
                take_home: metadata["annotations"][TAKE_HOME].as_str().and_then(|text| text.parse().ok()).map(Revision),
                unwritten: is_unwritten(object),
                takeover_allowed: false,
            },
            resource_version: text(&metadata["resourceVersion"]),
            has_finalizer,
            other_finalizers,
            deleting: metadata["deletionTimestamp"].is_string(),
            intent: kept,
            invalid,
            source,
            status: status_hash(status),
            conditions: Compact::of(&status["conditions"]),
        }
    }

    /// Whether the same object is known in a later state already, see [`is_overtaken`].
    pub fn is_overtaken_by(&self, known: &HomeState) -> bool {
        let (shown, known_uid) = (&self.object.uid, &known.object.uid);
        is_overtaken((shown, &self.resource_version), (known_uid, &known.resource_version))
    }

    /// Takes note of the answer to a write of this member's own: the next write must not conflict with
    /// it while the watch is still on its way.
    pub fn was_written(&mut self, answer: &Value) {
        if let Some(version) = answer["metadata"]["resourceVersion"].as_str()
            && !is_before(version, &self.resource_version)
        {
            version.clone_into(&mut self.resource_version);
            (self.has_finalizer, self.other_finalizers) = finalizers(answer);
        }
    }
}

/// Whether Hansa itself made the object, and nobody else has written its spec since.
fn is_unwritten(object: &Value) -> bool {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut writers = entries.filter(|entry| !entry["fieldsV1"]["f:spec"].is_null()).map(|entry| &entry["manager"]);
    writers.next().is_some_and(|manager| manager == MANAGER) && writers.all(|manager| manager == MANAGER)
}

/// Whether Hansa's finalizer is on an object, and those of others.
fn finalizers(object: &Value) -> (bool, Vec<String>) {
    let names = object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let (ours, others): (Vec<&str>, Vec<&str>) = names.partition(|name| *name == FINALIZER);
    (!ours.is_empty(), others.into_iter().map(str::to_owned).collect())
}

/// Reads and checks a spec beyond its schema.
trait DeserializeChecked: Sized {
    fn deserialize_checked(spec: &Value) -> Result<Self, String>;
}

impl DeserializeChecked for FederatedSpec {
    fn deserialize_checked(spec: &Value) -> Result<Self, String> {
        let read: FederatedSpec = serde::Deserialize::deserialize(spec).map_err(|error| format!("spec: {error}"))?;
        match (&read.template, &read.template_from) {
            (None, None) => Err("spec.template: it is required (or spec.templateFrom, for a Secret)".to_owned()),
            (Some(_), Some(_)) => Err("spec.templateFrom: it excludes spec.template, keep one of them".to_owned()),
            _ => {
                let waves = read.rollout.as_ref().map_or(Ok(()), hansa_place::validate_rollout);
                waves.map_err(|error| error.to_string()).map(|()| read)
            }
        }
    }
}

/// The hash of a status without the times in its conditions.
pub fn status_hash(status: &Value) -> Hash {
    let mut status = status.clone();
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if let Some(fields) = condition.as_object_mut() {
            fields.remove("lastTransitionTime");
        }
    }
    Hash::of(&status)
}

/// An output as it stands in this member.
#[derive(Clone, PartialEq, Debug)]
pub struct Live {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// The life that it was made for; `None` when the mark is missing.
    pub incarnation: Option<Incarnation>,
    /// The revision that it was last applied as, or an earlier one that came to the same.
    pub revision: Revision,
    /// The hash of the fields that Hansa owns in it; `None` when it owns none.
    pub owned: Option<Hash>,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// Whether it has run to its end (a Job that vanishes then is no drift).
    pub finished: bool,
    /// Its own health.
    pub health: Health,
    /// What the health says.
    pub health_message: String,
    /// The counters of its status.
    pub summary: Compact,
    /// What falls with it.
    pub weight: u64,
}

impl Live {
    /// Whether the same object is known in a later state already, see [`is_overtaken`].
    pub fn is_overtaken_by(&self, known: &Live) -> bool {
        is_overtaken((&self.uid, &self.resource_version), (&known.uid, &known.resource_version))
    }

    /// Takes the object that an answer showed, unless the watch was faster and told a later state.
    pub fn answered(known: &mut Option<Live>, shown: Live) {
        if !known.as_ref().is_some_and(|known| shown.is_overtaken_by(known)) {
            *known = Some(shown);
        }
    }

    /// Reduces an object of this type and kind.
    pub fn reduce(type_name: &TypeName, kind: &str, object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (health, health_message) = match hansa_render::health(type_name.group(), kind, object) {
            hansa_render::Health::Healthy => (Health::Healthy, String::new()),
            hansa_render::Health::Progressing(message) => (Health::Progressing, message),
            hansa_render::Health::Degraded(message) => (Health::Degraded, message),
            hansa_render::Health::Unknown => (Health::Unknown, String::new()),
        };
        let ended = |condition: &Value| {
            (condition["type"] == "Complete" || condition["type"] == "Failed") && condition["status"] == "True"
        };
        Live {
            uid: text(&metadata["uid"]),
            resource_version: text(&metadata["resourceVersion"]),
            incarnation: metadata["annotations"][hansa_render::INCARNATION_ANNOTATION]
                .as_str()
                .and_then(|text| text.parse().ok())
                .map(Incarnation),
            revision: metadata["annotations"][hansa_render::REVISION_ANNOTATION]
                .as_str()
                .and_then(|text| text.parse().ok())
                .map_or(Revision(0), Revision),
            owned: hansa_render::owned(object, MANAGER).map(|owned| Hash::of(&owned)),
            deleting: metadata["deletionTimestamp"].is_string(),
            finished: kind == "Job"
                && object["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(ended)),
            health,
            health_message,
            summary: Compact::of(&hansa_render::status_summary(object)),
            weight: hansa_render::weight(type_name, object),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(uid: &str, version: &str) -> Live {
        let object = json!({"metadata": {"name": "settings", "uid": uid, "resourceVersion": version}});
        Live::reduce(&"configmaps".parse().expect("a type"), "ConfigMap", &object)
    }

    #[test]
    fn an_answer_that_the_watch_overtook_is_not_believed() {
        let mut known = Some(shown("a", "12"));
        Live::answered(&mut known, shown("a", "9"));
        assert_eq!(known, Some(shown("a", "12")));
        Live::answered(&mut known, shown("a", "13"));
        assert_eq!(known, Some(shown("a", "13")));
    }

    #[test]
    fn another_object_of_the_same_name_is_believed_whatever_its_version() {
        let mut known = Some(shown("a", "12"));
        Live::answered(&mut known, shown("b", "9"));
        assert_eq!(known, Some(shown("b", "9")));
        assert!(
            !shown("a", "opaque").is_overtaken_by(&shown("a", "other")),
            "what does not compare is taken as it comes"
        );
    }
}
