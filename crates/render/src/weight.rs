//! How much falls when an object goes: what the safety budget counts.

use hansa_model::TypeName;
use serde_json::Value;

/// The most that replicas add.
const MOST_BY_REPLICAS: u64 = 50;

/// The weight of an object in the safety budget for deletions.
///
/// | Object | Weight |
/// |---|---|
/// | Namespace, CustomResourceDefinition | 100: everything in them goes too |
/// | PersistentVolume, PersistentVolumeClaim | 5: data may go |
/// | StatefulSet | 5, and 1 for every 10 replicas |
/// | anything else with `spec.replicas` (or a Job's `spec.parallelism`) | 1, and 1 for every 10 replicas |
/// | anything else | 1 |
///
/// Replicas add at most 50.
pub fn weight(type_name: &TypeName, object: &Value) -> u64 {
    let base = match (type_name.group(), type_name.resource()) {
        ("", "namespaces") | ("apiextensions.k8s.io", "customresourcedefinitions") => return 100,
        ("", "persistentvolumes" | "persistentvolumeclaims") => return 5,
        ("apps", "statefulsets") => 5,
        _ => 1,
    };
    let replicas = match (type_name.group(), type_name.resource()) {
        ("batch", "jobs") => "/spec/parallelism",
        _ => "/spec/replicas",
    };
    let replicas = object.pointer(replicas).and_then(Value::as_u64);
    base + (replicas.unwrap_or(0) / 10).min(MOST_BY_REPLICAS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn weighs_by_what_falls_with_it() {
        let weigh = |name: &str, object: Value| weight(&name.parse::<TypeName>().unwrap(), &object);
        assert_eq!(weigh("configmaps", json!({})), 1);
        assert_eq!(weigh("deployments.apps", json!({"spec": {}})), 1);
        assert_eq!(weigh("deployments.apps", json!({"spec": {"replicas": 9}})), 1);
        assert_eq!(weigh("deployments.apps", json!({"spec": {"replicas": 35}})), 4);
        assert_eq!(weigh("deployments.apps", json!({"spec": {"replicas": 1_000_000}})), 51);
        assert_eq!(weigh("statefulsets.apps", json!({"spec": {"replicas": 20}})), 7);
        assert_eq!(weigh("jobs.batch", json!({"spec": {"parallelism": 20}})), 3);
        assert_eq!(weigh("caches.example.org", json!({"spec": {"replicas": 10}})), 2);
        assert_eq!(weigh("persistentvolumeclaims", json!({})), 5);
        assert_eq!(weigh("namespaces", json!({})), 100);
        assert_eq!(weigh("customresourcedefinitions.apiextensions.k8s.io", json!({})), 100);
    }
}
