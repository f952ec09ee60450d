//! By which keys the items of a list are told apart.
//!
//! Kubernetes marks such lists `x-kubernetes-list-type: map` with `x-kubernetes-list-map-keys`
//! (KEP-555). Lists without keys are atomic: an override replaces them as a whole, as server-side
//! apply does. The table of built-in kinds was checked against the OpenAPI documents of Kubernetes
//! 1.37: it holds every list map outside `status` and `ownerReferences`, but for CSINodes and the
//! kinds that are not stable (`scheduling.k8s.io`).

use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Knows the keys of the lists in objects of one kind.
pub trait ListKeys {
    /// The keys of the list at `path`; `None` when the list is atomic or unknown.
    ///
    /// `path` has the names of the fields from the object's root, without the items of the lists on
    /// the way: `["spec", "template", "spec", "containers", "env"]`.
    fn keys(&self, path: &[&str]) -> Option<Vec<String>>;
}

/// Lists by dotted path, with their keys.
type Lists = &'static [(&'static str, &'static [&'static str])];

/// The lists of the built-in kinds; for any other kind, only `status.conditions` is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuiltInKeys {
    pod_spec: &'static [&'static str],
    lists: Lists,
}

/// The lists of a pod's spec.
const POD_SPEC: Lists = &[
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("evictionResponders", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("resourceClaims", &["name"]),
    ("resources.claims", &["name"]),
    ("schedulingGates", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumes", &["name"]),
];

/// The lists of a container, of whichever sort.
const CONTAINER: Lists = &[
    ("env", &["name"]),
    ("ports", &["containerPort", "protocol"]),
    ("resources.claims", &["name"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
];

const WEBHOOKS: Lists = &[("webhooks", &["name"]), ("webhooks.matchConditions", &["name"])];

impl BuiltInKeys {
    /// The lists of a kind by its apiVersion (`apps/v1`, `v1`) and kind.
    pub fn of(api_version: &str, kind: &str) -> Self {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let (pod_spec, lists): (&'static [&'static str], Lists) = match (group, kind) {
            ("", "Pod") => (&["spec"], &[]),
            ("", "PodTemplate") => (&["template", "spec"], &[]),
            ("", "ReplicationController") | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
                (&["spec", "template", "spec"], &[])
            }
            ("batch", "Job") => (&["spec", "template", "spec"], &[("spec.scheduling.resourceClaims", &["name"])]),
            ("batch", "CronJob") => (
                &["spec", "jobTemplate", "spec", "template", "spec"],
                &[("spec.jobTemplate.spec.scheduling.resourceClaims", &["name"])],
            ),
            ("", "Service") => (&[], &[("spec.ports", &["port", "protocol"])]),
            ("", "ServiceAccount") => (&[], &[("secrets", &["name"])]),
            ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
                (&[], WEBHOOKS)
            }
            ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => {
                (&[], &[("spec.matchConditions", &["name"])])
            }
            ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
                (&[], &[("spec.matchConditions", &["name"]), ("spec.variables", &["name"])])
            }
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                (&[], &[("spec.versions.schema.openAPIV3Schema.x-kubernetes-validations", &["rule"])])
            }
            _ => (&[], &[]),
        };
        BuiltInKeys { pod_spec, lists }
    }
}

impl ListKeys for BuiltInKeys {
    fn keys(&self, path: &[&str]) -> Option<Vec<String>> {
        let found = match path {
            ["status", "conditions"] => Some(&["type"][..]),
            _ => match path.strip_prefix(self.pod_spec) {
                Some(rest) if !self.pod_spec.is_empty() => pod_spec_keys(rest),
                _ => None,
            },
        };
        found.or_else(|| look_up(self.lists, path)).map(|keys| keys.iter().map(|key| (*key).to_owned()).collect())
    }
}

fn pod_spec_keys(path: &[&str]) -> Option<&'static [&'static str]> {
    match path {
        ["containers" | "initContainers" | "ephemeralContainers", rest @ ..] if !rest.is_empty() => {
            look_up(CONTAINER, rest)
        }
        _ => look_up(POD_SPEC, path),
    }
}

fn look_up(table: Lists, path: &[&str]) -> Option<&'static [&'static str]> {
    table.iter().find(|(list, _)| list.split('.').eq(path.iter().copied())).map(|(_, keys)| *keys)
}

/// The lists that a kind's schema tells of, by dotted path: `spec.listeners`, or `spec.pools.*.hosts`
/// where a map has any key. For custom resources.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SchemaKeys(pub BTreeMap<String, Vec<String>>);

impl ListKeys for SchemaKeys {
    fn keys(&self, path: &[&str]) -> Option<Vec<String>> {
        match path {
            ["status", "conditions"] => Some(vec!["type".to_owned()]),
            _ => self.0.get(&path.join(".")).or_else(|| self.under_any_key(path)).cloned(),
        }
    }
}

impl SchemaKeys {
    fn under_any_key(&self, path: &[&str]) -> Option<&Vec<String>> {
        let fits = |list: &str| {
            let mut rest = path.iter();
            list.contains('*')
                && list.split('.').all(|name| rest.next().is_some_and(|field| name == "*" || name == *field))
                && rest.next().is_none()
        };
        self.0.iter().find(|(list, _)| fits(list)).map(|(_, keys)| keys)
    }
}

/// What an item has at a key of its list. A missing `protocol` is `TCP`: the one default that a
/// list-map key has in Kubernetes' own kinds, and in the schemas that copy them.
pub(crate) fn key_value<'a>(item: &'a Value, key: &str) -> Option<Cow<'a, Value>> {
    match item.get(key) {
        Some(value) if !value.is_null() => Some(Cow::Borrowed(value)),
        _ if key == "protocol" => Some(Cow::Owned(Value::from("TCP"))),
        _ => None,
    }
}

/// An item's values at all keys of its list; `None` when it is no object or lacks a key.
pub(crate) fn identify<'a>(item: &'a Value, keys: &[String]) -> Option<Vec<Cow<'a, Value>>> {
    item.as_object()?;
    keys.iter().map(|key| key_value(item, key)).collect()
}

/// An item's name for people: `web`, `80/TCP`.
pub(crate) fn label(identity: &[Cow<'_, Value>]) -> String {
    let parts: Vec<String> = identity
        .iter()
        .map(|value| match value.as_ref() {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(api_version: &str, kind: &str, path: &str) -> Option<String> {
        let path: Vec<&str> = path.split('.').collect();
        BuiltInKeys::of(api_version, kind).keys(&path).map(|keys| keys.join("+"))
    }

    #[test]
    fn pod_specs_are_found_in_every_workload() {
        for (api_version, kind, root) in [
            ("v1", "Pod", "spec"),
            ("v1", "PodTemplate", "template.spec"),
            ("v1", "ReplicationController", "spec.template.spec"),
            ("apps/v1", "Deployment", "spec.template.spec"),
            ("apps/v1", "StatefulSet", "spec.template.spec"),
            ("apps/v1", "DaemonSet", "spec.template.spec"),
            ("apps/v1", "ReplicaSet", "spec.template.spec"),
            ("batch/v1", "Job", "spec.template.spec"),
            ("batch/v1", "CronJob", "spec.jobTemplate.spec.template.spec"),
        ] {
            let at = |list: &str| keys(api_version, kind, &format!("{root}.{list}"));
            assert_eq!(at("containers").as_deref(), Some("name"), "{kind}");
            assert_eq!(at("initContainers.env").as_deref(), Some("name"), "{kind}");
            assert_eq!(at("containers.ports").as_deref(), Some("containerPort+protocol"), "{kind}");
            assert_eq!(at("topologySpreadConstraints").as_deref(), Some("topologyKey+whenUnsatisfiable"), "{kind}");
            for atomic in ["tolerations", "containers.args", "containers.envFrom", "volumes.configMap.items"] {
                assert_eq!(at(atomic), None, "{kind} {atomic}");
            }
        }
    }

    #[test]
    fn kinds_are_told_apart_by_group() {
        assert_eq!(keys("v1", "Service", "spec.ports").as_deref(), Some("port+protocol"));
        assert_eq!(keys("serving.knative.dev/v1", "Service", "spec.ports"), None);
        assert_eq!(keys("autoscaling/v2", "HorizontalPodAutoscaler", "spec.metrics"), None);
        assert_eq!(keys("example.org/v1", "Thing", "status.conditions").as_deref(), Some("type"));
    }

    #[test]
    fn a_schema_tells_of_custom_lists() {
        let by_name = vec!["name".to_owned()];
        let lists = ["spec.listeners", "spec.pools.*.hosts"].map(|list| (list.to_owned(), by_name.clone()));
        let schema = SchemaKeys(BTreeMap::from(lists));
        for keyed in [&["spec", "listeners"][..], &["spec", "pools", "a.b", "hosts"]] {
            assert_eq!(schema.keys(keyed), Some(by_name.clone()), "{keyed:?}");
        }
        for atomic in [
            &["spec", "addresses"][..],
            &["spec", "pools", "hosts"],
            &["spec", "pools", "a", "hosts", "b"],
            &["spec", "pools", "a"],
        ] {
            assert_eq!(schema.keys(atomic), None, "{atomic:?}");
        }
    }

    #[test]
    fn a_missing_protocol_is_tcp() {
        let keys = ["containerPort".to_owned(), "protocol".to_owned()];
        let port = json!({"containerPort": 80});
        assert_eq!(label(&identify(&port, &keys).unwrap()), "80/TCP");
        assert!(identify(&json!({"protocol": "UDP"}), &keys).is_none());
        assert!(identify(&json!("80"), &keys).is_none());
    }
}
