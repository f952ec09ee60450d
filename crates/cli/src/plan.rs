//! What would change where: outputs before and after, compared member by member.

mod show;
#[cfg(test)]
mod tests;

pub use show::show;

use hansa_model::{FederatedSpec, MemberName, RecordKey};
use hansa_render::{Change, ListKeys, diff, diff_for_people, restarts_pods};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What would become of one federated object.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectPlan {
    /// Its record.
    pub key: RecordKey,
    /// The target's kind.
    pub kind: String,
    /// The agreed revision that it is planned against; `None`: it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// What changes in the spec beside template, placement and overrides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spec: Vec<Change>,
    /// By member.
    pub members: BTreeMap<MemberName, MemberPlan>,
    /// What the members said when they were asked; who is not among them was not, and is rendered only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub asked: BTreeMap<MemberName, Asked>,
    /// What is worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it would be refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// What would become of one output.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberPlan {
    /// In one word.
    pub effect: Effect,
    /// What changes in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Whether running pods are replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restarts_pods: bool,
}

/// What would become of an output, in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Effect {
    /// It changes.
    Change,
    /// The member gets it.
    Add,
    /// The member loses it.
    Withdraw,
    /// It is refused there: what stands is left as it is.
    Refuse,
    /// Nothing.
    Keep,
}

/// What a member said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// In one word.
    pub standing: Standing,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What else is worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a member said, in one word; a refusal stands among the errors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Standing {
    /// It would be taken: by a strict dry run, or because nothing is to be sent.
    Accepted,
    /// It could not be tried.
    NotTried,
    /// It would wait for a person's confirmation.
    Held,
    /// The member does nothing now.
    Frozen,
    /// It did not answer: what is shown of it is rendered only.
    RenderedOnly,
}

impl Asked {
    /// Without notes.
    pub fn plain(standing: Standing, message: &str) -> Self {
        Asked { standing, message: message.to_owned(), notes: Vec::new() }
    }
}

impl ObjectPlan {
    /// Whether anything would change.
    pub fn changes(&self) -> bool {
        !self.spec.is_empty()
            || self.members.values().any(|member| !matches!(member.effect, Effect::Keep | Effect::Refuse))
    }

    /// The object is refused as a whole, and nothing comes of it anywhere.
    pub fn refuse(&mut self, error: String) {
        self.errors.push(error);
        self.members.clear();
        self.spec.clear();
    }

    /// A member refuses its output; the others go on.
    pub fn refuse_in(&mut self, member: &MemberName, error: &str) {
        // What was found here, and by the member, too, is told once.
        let refusal = format!("in {member}: {error}");
        if !self.errors.iter().any(|known| known.starts_with(&format!("in {member}: "))) {
            self.errors.push(refusal);
        }
        self.members.insert(member.clone(), MemberPlan::plain(Effect::Refuse));
    }
}

impl MemberPlan {
    fn plain(effect: Effect) -> Self {
        MemberPlan { effect, changes: Vec::new(), restarts_pods: false }
    }
}

/// Compares outputs member by member.
pub fn compare(
    kind: &str,
    before: &BTreeMap<MemberName, Value>,
    after: &BTreeMap<MemberName, Value>,
    keys: &dyn ListKeys,
) -> BTreeMap<MemberName, MemberPlan> {
    let member = |member: &MemberName| match (before.get(member), after.get(member)) {
        (None, Some(_)) => MemberPlan::plain(Effect::Add),
        (Some(_), None) => MemberPlan::plain(Effect::Withdraw),
        (Some(before), Some(after)) => {
            let changes = diff_for_people(kind, before, after, keys);
            let effect = if changes.is_empty() { Effect::Keep } else { Effect::Change };
            MemberPlan { effect, changes, restarts_pods: restarts_pods(kind, before, after) }
        }
        (None, None) => MemberPlan::plain(Effect::Keep),
    };
    before.keys().chain(after.keys()).map(|name| (name.clone(), member(name))).collect()
}

/// What changes in a spec beside what outputs are made of.
pub fn compare_settings(before: &FederatedSpec, after: &FederatedSpec, keys: &dyn ListKeys) -> Vec<Change> {
    let settings = |spec: &FederatedSpec| json!({"spec": {"adoption": spec.adoption, "deletionPolicy": spec.deletion_policy, "paused": spec.paused, "rollout": spec.rollout, "templateFrom": spec.template_from}});
    diff(&settings(before), &settings(after), keys)
}

/// All objects of a plan.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// By object, in the order of the input.
    pub objects: Vec<ObjectPlan>,
    /// In numbers.
    pub summary: Summary,
}

/// A plan in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Outputs that change.
    pub changed: usize,
    /// Outputs that are added.
    pub added: usize,
    /// Outputs that are withdrawn.
    pub withdrawn: usize,
    /// Objects whose own settings change.
    pub settings: usize,
    /// Objects that would be refused.
    pub refused: usize,
    /// The members that did not answer.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub silent: BTreeSet<MemberName>,
    /// The objects whose pods restart, by member.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<MemberName, Vec<RecordKey>>,
}

impl Plan {
    /// A plan of these objects.
    pub fn new(objects: Vec<ObjectPlan>) -> Self {
        let mut summary = Summary::default();
        for object in &objects {
            summary.settings += usize::from(!object.spec.is_empty());
            summary.refused += usize::from(!object.errors.is_empty());
            let silent = object.asked.iter().filter(|(_, asked)| asked.standing == Standing::RenderedOnly);
            summary.silent.extend(silent.map(|(member, _)| member.clone()));
            for (member, plan) in &object.members {
                match plan.effect {
                    Effect::Change => summary.changed += 1,
                    Effect::Add => summary.added += 1,
                    Effect::Withdraw => summary.withdrawn += 1,
                    Effect::Keep | Effect::Refuse => {}
                }
                if plan.restarts_pods {
                    summary.restarts.entry(member.clone()).or_default().push(object.key.clone());
                }
            }
        }
        Plan { objects, summary }
    }

    /// Whether anything would change.
    pub fn changes(&self) -> bool {
        self.objects.iter().any(ObjectPlan::changes)
    }
}
