//! A live object's status in a few numbers, and the sum of the members' numbers.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The most numbers that a summary has.
const MOST: usize = 24;

/// Numbers that mean something for one object in one cluster alone.
const NOT_TOLD: &[&str] = &["observedGeneration", "collisionCount"];

/// What counts something, and can be summed: replicas of all sorts and these.
const COUNTERS: &[&str] = &[
    "active",
    "currentHealthy",
    "currentNumberScheduled",
    "desiredHealthy",
    "desiredNumberScheduled",
    "disruptionsAllowed",
    "expectedPods",
    "failed",
    "numberAvailable",
    "numberMisscheduled",
    "numberReady",
    "numberUnavailable",
    "ready",
    "succeeded",
    "terminating",
    "updatedNumberScheduled",
];

/// The integers at the top of `status`: replicas, ready ones, failed ones. Small whatever the kind:
/// it goes into a cell that every change of a member's status rewrites.
pub fn status_summary(live: &Value) -> Value {
    let status = live.get("status").and_then(Value::as_object);
    let mut numbers: Vec<_> = status
        .into_iter()
        .flatten()
        .filter(|(name, value)| value.is_i64() && !NOT_TOLD.contains(&name.as_str()))
        .collect();
    numbers.sort_by_key(|(name, _)| (!is_counter(name), name.as_str()));
    numbers.truncate(MOST);
    let numbers = numbers.into_iter().map(|(name, value)| (name.clone(), value.clone()));
    Value::Object(numbers.collect::<Map<_, _>>())
}

/// The sums of what counts something in the members' summaries. Other numbers (a port, a
/// percentage, a time) have no sum and are left out.
pub fn aggregate<'a>(summaries: impl IntoIterator<Item = &'a Value>) -> Value {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for summary in summaries {
        for (name, value) in summary.as_object().into_iter().flatten() {
            if let (true, Some(number)) = (is_counter(name), value.as_i64()) {
                let sum = sums.entry(name).or_default();
                *sum = sum.saturating_add(number);
            }
        }
    }
    let sums = sums.into_iter().map(|(name, sum)| (name.to_owned(), sum.into()));
    Value::Object(sums.collect::<Map<_, _>>())
}

fn is_counter(name: &str) -> bool {
    name == "replicas" || name.ends_with("Replicas") || COUNTERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_summary_is_the_integers_at_the_top() {
        let live = json!({"status": {
            "observedGeneration": 7, "collisionCount": 1, "replicas": 3, "readyReplicas": 2, "port": 8080,
            "ratio": 0.5, "phase": "Running", "conditions": [{"type": "Available"}], "nested": {"replicas": 9},
        }});
        assert_eq!(status_summary(&live), json!({"replicas": 3, "readyReplicas": 2, "port": 8080}));
        assert_eq!(status_summary(&json!({})), json!({}));
        assert_eq!(status_summary(&json!({"status": null})), json!({}));
    }

    #[test]
    fn a_summary_stays_small_and_keeps_the_counters() {
        let mut status: Map<String, Value> = (0..100).map(|index| (format!("a{index:03}"), index.into())).collect();
        status.insert("readyReplicas".into(), 2.into());
        let summary = status_summary(&json!({"status": status}));
        assert_eq!(summary.as_object().unwrap().len(), MOST);
        assert_eq!(summary["readyReplicas"], 2);
    }

    #[test]
    fn only_what_counts_is_summed() {
        let members = [
            json!({"replicas": 3, "readyReplicas": 2, "port": 8080}),
            json!({"replicas": 5, "port": 8080, "currentCPUUtilizationPercentage": 70}),
            json!({"replicas": i64::MAX}),
            json!({}),
        ];
        assert_eq!(aggregate(&members[..2]), json!({"replicas": 8, "readyReplicas": 2}));
        assert_eq!(aggregate(&members), json!({"replicas": i64::MAX, "readyReplicas": 2}));
        assert_eq!(aggregate(&[]), json!({}));
    }

    proptest! {
        #[test]
        fn the_order_of_members_does_not_count(numbers in prop::collection::vec(0..100i64, 0..6)) {
            let members: Vec<Value> = numbers.iter().map(|number| json!({"ready": number})).collect();
            let reversed: Vec<Value> = members.iter().rev().cloned().collect();
            prop_assert_eq!(aggregate(&members), aggregate(&reversed));
        }
    }
}
