//! Plans: what somebody wants to know before it is done, and what each member says to it.
//!
//! A plan stands in a slot, `/v1/plans/<slot>`, written by the operator that was asked. Every operator
//! looks at what it would do about each object of it, tries that on its own API server by a strict dry
//! run, and writes its word beside, `/v1/plans/<slot>/<member>`, which nobody else writes. The slots are
//! used again and again, for nothing can be deleted in a topology server: what plans take there is
//! bounded, and large objects stand in the slot itself, not in blobs. A plan without objects is a free slot.
//!
//! Nothing is decided by a plan, and nothing that is agreed changes by one. It expires on the clock of whoever
//! wants the slot next: the worst that a wrong clock does is to end another's plan, whose asker then
//! hears that, or to leave a slot unused.

use crate::cell::known_format;
use crate::envelope::OperationId;
use hansa_model::{Compact, MemberName, RecordKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of plans and of the words about them that this release reads and writes.
pub const PLAN_FORMAT: u32 = 1;

/// How many slots there are.
pub const SLOTS: u32 = 64;

/// How many objects one slot holds.
pub const MAX_OBJECTS: usize = 64;

/// How large the objects of one slot are together, in bytes of JSON: one of that size fits into a
/// value of every topology server, whether it can be packed or not.
pub const MAX_PLAN_BYTES: usize = 1 << 20;

/// How many bytes of changes a member tells of one object, as JSON; those beyond it are counted.
const MAX_CHANGES_BYTES: usize = 4 << 10;

/// The longest sentence in a word, in characters.
const MAX_TEXT: usize = 1_000;

/// The longest value that is told before or after a change, in bytes of JSON.
const MAX_VALUE: usize = 512;

/// How many remarks a word has.
const MAX_NOTES: usize = 8;

/// What is planned, by one operator, in one slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The plan's format.
    #[serde(deserialize_with = "known_format")]
    pub format: u32,
    /// The member whose operator was asked.
    pub author: MemberName,
    /// Which plan of that member's it is; no two have the same.
    pub id: OperationId,
    /// When the slot may be taken for another plan, in milliseconds since the epoch on the author's clock.
    pub expires_ms: u64,
    /// The objects; none: the slot is free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Planned>,
}

/// An object as it is to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Planned {
    /// Its record.
    pub key: RecordKey,
    /// The spec of the federated object.
    pub spec: Compact,
    /// In the place of the content that `spec.templateFrom` names: the same without its values.
    #[serde(default, skip_serializing_if = "Compact::is_null")]
    pub outline: Compact,
}

/// What a member says to a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Words {
    /// The format.
    #[serde(deserialize_with = "known_format")]
    pub format: u32,
    /// Who asked.
    pub author: MemberName,
    /// Which of its plans this is about.
    pub id: OperationId,
    /// About each object, in the order of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
}

/// What a member says about one planned object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Word {
    /// Whether it would be taken there.
    pub verdict: Verdict,
    /// Why, for people; empty when all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What would become of the output; `None`: the member cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// What would change in it. Values of ConfigMaps and Secrets are told by their sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Difference>,
    /// How many more changes there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub untold: u64,
    /// Whether running pods would be replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarts_pods: bool,
    /// What else is worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Whether a planned object would be taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// The API server took it in a dry run, or there is nothing to send.
    Accepted,
    /// It could not be tried; the message says why.
    Untried,
    /// It would be refused.
    Refused,
    /// An object stands there that is somebody else's.
    Conflicting,
    /// It would wait for a person's confirmation.
    Held,
    /// The member does nothing now.
    Frozen,
}

/// What would become of an output.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// It changes.
    Change,
    /// The member gets it.
    Add,
    /// The member loses it.
    Withdraw,
    /// Nothing.
    Keep,
    /// The member has it neither now nor then.
    Absent,
}

/// A change of one field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Difference {
    /// Where.
    pub path: String,
    /// What was there; null: nothing.
    #[serde(default, skip_serializing_if = "Compact::is_null")]
    pub before: Compact,
    /// What is to be there; null: nothing.
    #[serde(default, skip_serializing_if = "Compact::is_null")]
    pub after: Compact,
}

/// What was learned of a plan of one object, by member: what the operator that was asked answers.
pub type Findings = BTreeMap<MemberName, Finding>;

/// What was learned of one member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finding {
    /// Its own word.
    Said(Word),
    /// It did not answer: why, for people.
    Silent(String),
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// When it is none of this format, or larger than any that Hansa writes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, String> {
        let plan: Plan = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match plan.objects.len() {
            0..=MAX_OBJECTS => Ok(plan),
            many => Err(format!("the plan has {many} objects, and no plan has more than {MAX_OBJECTS}")),
        }
    }

    /// Whether another plan may take its slot.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.objects.is_empty() || self.expires_ms <= now_ms
    }

    /// Whether it is this plan.
    pub fn is(&self, author: &MemberName, id: OperationId) -> bool {
        self.author == *author && self.id == id
    }
}

impl Planned {
    /// How many bytes it takes in a slot.
    pub fn bytes(&self) -> usize {
        serde_json::to_vec(self).expect("a planned object always encodes into memory").len()
    }
}

impl Words {
    /// Reads what a member says; what is longer than any word is cut.
    ///
    /// # Errors
    /// When it is none of this format, or about more objects than a plan has.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, String> {
        let mut words: Words = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if words.words.len() > MAX_OBJECTS {
            return Err(format!("it is about {} objects, and no plan has more than {MAX_OBJECTS}", words.words.len()));
        }
        words.words = words.words.into_iter().map(Word::cut).collect();
        Ok(words)
    }
}

impl Word {
    /// A word without anything to compare.
    pub fn plain(verdict: Verdict, message: impl Into<String>) -> Self {
        let message = message.into();
        Word { verdict, message, effect: None, changes: Vec::new(), untold: 0, restarts_pods: false, notes: Vec::new() }
    }

    /// The same within its bounds.
    #[must_use]
    pub fn cut(mut self) -> Self {
        cut(&mut self.message, MAX_TEXT);
        self.notes.truncate(MAX_NOTES);
        self.notes.iter_mut().for_each(|note| cut(note, MAX_TEXT / 4));
        for change in &mut self.changes {
            cut(&mut change.path, MAX_VALUE);
            for value in [&mut change.before, &mut change.after] {
                let text = serde_json::to_string(value).expect("JSON always encodes into memory");
                if text.len() > MAX_VALUE {
                    let begun: String = text.chars().take(MAX_VALUE / 8).collect();
                    *value = Compact::of(&format!("{begun}…").into());
                }
            }
        }
        let mut room = MAX_CHANGES_BYTES;
        let mut told = 0;
        for change in &self.changes {
            let bytes = serde_json::to_vec(change).expect("JSON always encodes into memory").len();
            let Some(left) = room.checked_sub(bytes) else { break };
            room = left;
            told += 1;
        }
        self.untold = self.untold.saturating_add((self.changes.len() - told) as u64);
        self.changes.truncate(told);
        self
    }
}

fn cut(text: &mut String, limit: usize) {
    if let Some((end, _)) = text.char_indices().nth(limit) {
        text.truncate(end);
        text.push('…');
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use hansa_model::Incarnation;
    use proptest::prelude::*;
    use serde_json::json;

    fn id() -> OperationId {
        OperationId { incarnation: Incarnation(7), sequence: 9 }
    }

    fn plan() -> Plan {
        let spec = json!({"template": {"data": {"a": "b"}}, "placement": {"members": ["gcp"]}});
        let secret = json!({"templateFrom": {"secretRef": {"name": "keys"}}, "placement": {}});
        let objects = vec![
            Planned {
                key: "configmaps/shop/a".parse().unwrap(),
                spec: Compact::of(&spec),
                outline: Compact::default(),
            },
            Planned {
                key: "secrets/shop/keys".parse().unwrap(),
                spec: Compact::of(&secret),
                outline: Compact::of(&json!({"type": "Opaque", "data": {"token": ""}})),
            },
        ];
        Plan { format: PLAN_FORMAT, author: "aws".parse().unwrap(), id: id(), expires_ms: 1_000, objects }
    }

    fn word() -> Word {
        let change = |before: &str, after: &str| Difference {
            path: "spec.template.spec.containers[web].image".into(),
            before: Compact::of(&json!(before)),
            after: Compact::of(&json!(after)),
        };
        Word {
            effect: Some(Effect::Change),
            changes: vec![change("web:1", "web:2")],
            restarts_pods: true,
            notes: vec!["takes .spec.replicas back".into()],
            ..Word::plain(Verdict::Accepted, "")
        }
    }

    #[test]
    fn a_slot_is_free_when_its_plan_is_over() {
        let mut plan = plan();
        assert!(!plan.is_over(999) && plan.is_over(1_000));
        plan.objects.clear();
        assert!(plan.is_over(0));
    }

    #[test]
    fn a_plan_of_too_many_objects_is_refused() {
        let mut plan = plan();
        plan.objects = vec![plan.objects[0].clone(); MAX_OBJECTS + 1];
        let error = Plan::from_slice(&serde_json::to_vec(&plan).unwrap()).unwrap_err();
        assert!(error.contains("65 objects"), "{error}");
    }

    proptest! {
        #[test]
        fn a_word_stays_within_its_bounds_whatever_is_in_it(
            message in ".{0,3000}", notes in prop::collection::vec(".{0,600}", 0..20),
            changes in prop::collection::vec((".{0,900}", ".{0,900}"), 0..60),
        ) {
            let count = changes.len() as u64;
            let changes = changes.into_iter().map(|(path, after)| Difference {
                path, before: Compact::default(), after: Compact::of(&json!(after)),
            });
            let said = Word { changes: changes.collect(), notes, ..Word::plain(Verdict::Refused, message) };
            let cut = said.cut();
            prop_assert_eq!(cut.changes.len() as u64 + cut.untold, count);
            prop_assert!(cut.message.chars().count() <= MAX_TEXT + 1 && cut.notes.len() <= MAX_NOTES);
            prop_assert_eq!(cut.clone().cut(), cut);
        }
    }

    /// The persisted formats: what an earlier release wrote has to read for ever.
    #[test]
    fn the_formats_stay() {
        let words = Words { format: PLAN_FORMAT, author: "aws".parse().unwrap(), id: id(), words: vec![word()] };
        let text = serde_json::to_string_pretty(&json!([plan(), words])).unwrap();
        expect![[r#"
            [
              {
                "author": "aws",
                "expiresMs": 1000,
                "format": 1,
                "id": {
                  "incarnation": 7,
                  "sequence": 9
                },
                "objects": [
                  {
                    "key": "configmaps/shop/a",
                    "spec": {
                      "placement": {
                        "members": [
                          "gcp"
                        ]
                      },
                      "template": {
                        "data": {
                          "a": "b"
                        }
                      }
                    }
                  },
                  {
                    "key": "secrets/shop/keys",
                    "outline": {
                      "data": {
                        "token": ""
                      },
                      "type": "Opaque"
                    },
                    "spec": {
                      "placement": {},
                      "templateFrom": {
                        "secretRef": {
                          "name": "keys"
                        }
                      }
                    }
                  }
                ]
              },
              {
                "author": "aws",
                "format": 1,
                "id": {
                  "incarnation": 7,
                  "sequence": 9
                },
                "words": [
                  {
                    "changes": [
                      {
                        "after": "web:2",
                        "before": "web:1",
                        "path": "spec.template.spec.containers[web].image"
                      }
                    ],
                    "effect": "Change",
                    "notes": [
                      "takes .spec.replicas back"
                    ],
                    "restartsPods": true,
                    "verdict": "Accepted"
                  }
                ]
              }
            ]"#]]
        .assert_eq(&text);
        let (again, said): (Plan, Words) = serde_json::from_str(&text).unwrap();
        assert_eq!((again, said), (plan(), words));
    }
}
