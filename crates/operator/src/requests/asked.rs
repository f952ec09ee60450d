//! What a Request asks, read from the object.

use crate::plans::Wanted;
use hansa_model::{DeletionPolicy, Hash, MemberName, RecordKey};
use serde_json::Value;
use std::sync::Arc;

/// What is asked, read from the object.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Asked {
    Delete { key: RecordKey, policy: Option<DeletionPolicy> },
    HomeMove { key: RecordKey, to: MemberName },
    Confirm { set: Hash },
    Output { key: RecordKey, member: MemberName },
    Explain { key: RecordKey },
    Plan { wanted: Arc<Wanted> },
    RotateKeys,
}

impl Asked {
    pub fn read(spec: &Value) -> Result<Self, String> {
        let object = &spec["object"];
        let arguments = &spec["arguments"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = || -> Result<RecordKey, String> {
            let type_name =
                text(&object["resource"]).parse().map_err(|error| format!("spec.object.resource: {error}"))?;
            let name = text(&object["name"]);
            if name.is_empty() {
                return Err("spec.object.name: the name of the federated object is missing".to_owned());
            }
            Ok(RecordKey::new(type_name, &text(&object["namespace"]), &name))
        };
        let member = || text(&arguments["member"]).parse().map_err(|error| format!("spec.arguments.member: {error}"));
        match spec["action"].as_str().unwrap_or_default() {
            "Delete" => {
                let policy = &arguments["deletionPolicy"];
                let policy = if policy.is_null() {
                    None
                } else {
                    Some(
                        serde_json::from_value(policy.clone())
                            .map_err(|error| format!("spec.arguments.deletionPolicy: {error}"))?,
                    )
                };
                Ok(Asked::Delete { key: key()?, policy })
            }
            "HomeMove" => Ok(Asked::HomeMove { key: key()?, to: member()? }),
            // Who may write one object may not let a whole set go.
            "Confirm" if !object.is_null() => {
                Err("spec.object: a confirmation is about the league, and names no object".to_owned())
            }
            "Confirm" => Ok(Asked::Confirm {
                set: text(&arguments["set"]).parse().map_err(|error| format!("spec.arguments.set: {error}"))?,
            }),
            "RotateKeys" if !object.is_null() => {
                Err("spec.object: the keys are this member's, and a rotation names no object".to_owned())
            }
            "RotateKeys" => Ok(Asked::RotateKeys),
            "Output" => Ok(Asked::Output { key: key()?, member: member()? }),
            "Explain" => Ok(Asked::Explain { key: key()? }),
            "Plan" => Ok(Asked::Plan { wanted: Wanted::read(key()?, &arguments["plan"])?.into() }),
            other => Err(format!("spec.action: this release does not know `{other}`")),
        }
    }

    pub fn key(&self) -> Option<&RecordKey> {
        match self {
            Asked::Delete { key, .. }
            | Asked::HomeMove { key, .. }
            | Asked::Output { key, .. }
            | Asked::Explain { key } => Some(key),
            Asked::Plan { wanted } => Some(&wanted.planned.key),
            Asked::Confirm { .. } | Asked::RotateKeys => None,
        }
    }

    /// Whether it changes what becomes of the life that stands when it is asked, and of no other.
    pub fn is_about_a_life(&self) -> bool {
        matches!(self, Asked::Delete { .. } | Asked::HomeMove { .. })
    }
}
