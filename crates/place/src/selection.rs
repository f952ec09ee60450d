//! Which requirement of a selector a member's labels fail.

use hansa_model::LabelSelector;
use hansa_model::selector::{Operator, Requirement};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A requirement that a member's labels do not satisfy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mismatch {
    /// The requirement in words: `env=prod`, `tier notin (db, cache)`.
    pub requirement: String,
    /// The member's own value of the label; `None` when it has no such label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has: Option<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.has {
            Some(value) => write!(f, "`{}` is wanted, and the label is `{value}`", self.requirement),
            None => write!(f, "`{}` is wanted, and there is no such label", self.requirement),
        }
    }
}

/// The first requirement that these labels fail, `matchLabels` before `matchExpressions`; `None`
/// when they satisfy all.
pub(crate) fn first_mismatch(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Option<Mismatch> {
    let mismatch = |key: &String, requirement: String| Mismatch { requirement, has: labels.get(key).cloned() };
    let by_label = selector
        .match_labels
        .iter()
        .find(|(key, value)| labels.get(*key) != Some(value))
        .map(|(key, value)| mismatch(key, format!("{key}={value}")));
    by_label.or_else(|| {
        let failed = selector.match_expressions.iter().find(|requirement| !satisfied(requirement, labels))?;
        Some(mismatch(&failed.key, words(failed)))
    })
}

fn satisfied(requirement: &Requirement, labels: &BTreeMap<String, String>) -> bool {
    match (requirement.operator, labels.get(&requirement.key)) {
        (Operator::In, Some(value)) => requirement.values.contains(value),
        (Operator::NotIn, Some(value)) => !requirement.values.contains(value),
        (Operator::In | Operator::Exists, None) | (Operator::DoesNotExist, Some(_)) => false,
        (Operator::NotIn | Operator::DoesNotExist, None) | (Operator::Exists, Some(_)) => true,
    }
}

/// A requirement as `kubectl` writes selectors.
fn words(requirement: &Requirement) -> String {
    let Requirement { key, operator, values } = requirement;
    match operator {
        Operator::In => format!("{key} in ({})", values.join(", ")),
        Operator::NotIn => format!("{key} notin ({})", values.join(", ")),
        Operator::Exists => key.clone(),
        Operator::DoesNotExist => format!("!{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_failed_requirement_is_told_in_words() {
        let labels = BTreeMap::from([("env".to_owned(), "dev".to_owned()), ("tier".to_owned(), "db".to_owned())]);
        let told = |selector: Value| {
            let selector: LabelSelector = serde_json::from_value(selector).unwrap();
            first_mismatch(&selector, &labels).map_or_else(String::new, |mismatch| mismatch.to_string())
        };
        let expression = |key: &str, operator: &str, values: &[&str]| {
            told(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        assert_eq!(told(json!({})), "");
        assert_eq!(told(json!({"matchLabels": {"env": "dev"}})), "");
        assert_eq!(told(json!({"matchLabels": {"env": "prod"}})), "`env=prod` is wanted, and the label is `dev`");
        assert_eq!(told(json!({"matchLabels": {"zone": "a"}})), "`zone=a` is wanted, and there is no such label");
        assert_eq!(
            expression("env", "In", &["prod", "test"]),
            "`env in (prod, test)` is wanted, and the label is `dev`"
        );
        assert_eq!(expression("tier", "NotIn", &["db"]), "`tier notin (db)` is wanted, and the label is `db`");
        assert_eq!(expression("zone", "Exists", &[]), "`zone` is wanted, and there is no such label");
        assert_eq!(expression("env", "DoesNotExist", &[]), "`!env` is wanted, and the label is `dev`");
        assert_eq!(expression("zone", "NotIn", &["a"]), "");
    }
}
