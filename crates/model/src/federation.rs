//! The federation spec: the one giant spec that every operator holds identically.

use crate::names::{MemberName, TypeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Every member and everything all are responsible for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederationSpec {
    /// The clusters of the league.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"], "maxItems" = 256))]
    pub members: Vec<Member>,
    /// The kinds that may be federated.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["resource"], "maxItems" = 512))]
    pub types: Vec<FederatedType>,
    /// What happens to a namespace that a member lacks.
    #[serde(default)]
    pub namespaces: NamespacePolicy,
    /// Who may become a home.
    #[serde(default)]
    pub homes: Homes,
    /// What may be taken away without a person's word.
    #[serde(default)]
    pub safety: Safety,
    /// People who may force the league on when a quorum of its operators is lost for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"], "maxItems" = 64))]
    pub people: Vec<Person>,
    /// While true, no operator changes an output anywhere in the league.
    #[serde(default)]
    pub paused: bool,
}

/// A person whose word counts when no quorum can be had any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Person {
    /// The person's name, a DNS label.
    pub name: MemberName,
    /// The public half of the person's key, `ed25519:…` (base64).
    pub public_key: String,
}

/// A cluster of the league.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// The member's name, unique in the league.
    pub name: MemberName,
    /// The cloud or datacentre operator: `aws`, `gcp`, `azure`, `onprem`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// The region in the provider's own words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The zone in the provider's own words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Labels that selectors see.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where data placed here lies, by law: `us`, `eu`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub residency: BTreeSet<String>,
    /// The operator's keys, `ed25519:…` and `x25519:…` (base64); what is missing is pinned at first sight. While the keys
    /// are rotated, the next pair stands after the one in use (`hansa keys rotate`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<String>,
    /// While true, this member's operator changes no output.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Set while the member is about to leave: nothing is placed here any more, and other members may
    /// take over what is at home here. `hansa leave` sets it, and takes the member out in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
    /// Whether it votes, and does nothing else: nothing is placed or at home here, and it decides about no
    /// page. So a league of two clusters goes on without one of them. Said before it joins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witness: bool,
}

impl Member {
    /// What a member is that is about to leave.
    pub const LEAVING: &str = "about to leave the league (Federation spec.members[].leaving)";
    /// What a witness is.
    pub const WITNESS: &str = "a witness, which votes and has no objects (Federation spec.members[].witness)";

    /// Why nothing is placed here, nor becomes a home here, whatever users say; `None`: it may.
    pub fn takes_nothing(&self) -> Option<&'static str> {
        match self {
            Member { witness: true, .. } => Some(Member::WITNESS),
            Member { leaving: Some(_), .. } => Some(Member::LEAVING),
            _ => None,
        }
    }
}

/// How a member leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaving {
    /// Whether what stands here stays as ordinary objects, without Hansa's marks; else it goes by the
    /// `deletionPolicy` of each federated object.
    #[serde(default)]
    pub keep_outputs: bool,
}

/// A kind that may be federated, with its version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederatedType {
    /// The target's plural and group: `deployments.apps`, `configmaps`.
    pub resource: TypeName,
    /// The target's version: `v1`.
    pub version: String,
    /// An explicit yes to a kind that can change who may do what: cluster-scoped kinds, RBAC,
    /// webhooks, policies, and objects in `kube-*` namespaces.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
}

/// What happens to a namespace that a member lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum NamespacePolicy {
    /// It is made when an output needs it.
    #[default]
    Create,
    /// The namespace itself must be federated to the member; until then outputs wait.
    RequireFederated,
}

/// Who may become a home.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Homes {
    /// Whether another member may become the home of an object without the old home's consent.
    #[serde(default)]
    pub takeover: Takeover,
}

/// Whether a home may be taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Takeover {
    /// The old home has to agree, or to be voted lost.
    #[default]
    Consent,
    /// A user's request in the new home is enough.
    Allowed,
}

/// What may be taken away without a person's word.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Safety {
    /// The budget that withdrawals, tombstones, replacements and scale-to-zero share.
    #[serde(default)]
    pub deletes: DeletionBudget,
}

/// How much may go in a window; over it, everything waits for a confirmation of exactly that set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeletionBudget {
    /// The share of a member's placed weight, in percent.
    #[serde(default = "DeletionBudget::default_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: u32,
    /// A weight that may always go, however few objects there are.
    #[serde(default = "DeletionBudget::default_at_least")]
    pub at_least: u64,
    /// The window, as a Go duration of whole units: `10m`, `1h`, `90s`.
    #[serde(default = "DeletionBudget::default_window")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub window: String,
}

impl DeletionBudget {
    fn default_percent() -> u32 {
        10
    }

    fn default_at_least() -> u64 {
        20
    }

    fn default_window() -> String {
        "10m".to_owned()
    }

    /// The window in milliseconds; `None` when the text is not a duration of whole hours, minutes
    /// and seconds.
    pub fn window_ms(&self) -> Option<u64> {
        parse_duration_ms(&self.window)
    }
}

impl Default for DeletionBudget {
    fn default() -> Self {
        DeletionBudget {
            percent: Self::default_percent(),
            at_least: Self::default_at_least(),
            window: Self::default_window(),
        }
    }
}

/// Reads a Go duration of whole hours, minutes and seconds, in milliseconds.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit = match tail.as_bytes().first()? {
            b'h' => 3_600_000,
            b'm' => 60_000,
            b's' => 1_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = &tail[1..];
    }
    Some(total)
}

/// Groups whose kinds can change who may do what, namespaced ones included.
///
/// Federating one of them needs `privileged: true`, as every cluster-scoped kind does.
pub const PRIVILEGED_GROUPS: [&str; 5] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "policy.networking.k8s.io",
    "rbac.authorization.k8s.io",
];

impl FederatedType {
    /// Why an object of this type may not be federated in this namespace (empty for a cluster-scoped
    /// kind), with field and mend; `None` when it may.
    pub fn refusal(&self, namespace: &str, namespaced: bool) -> Option<String> {
        let name = &self.resource;
        let mend = format!("say `privileged: true` beside {name} in the Federation's spec.types, if this is meant");
        let is_powerful = !namespaced || PRIVILEGED_GROUPS.contains(&name.group());
        match self.privileged {
            true => None,
            false if namespace.starts_with("kube-") => {
                Some(format!("metadata.namespace: {namespace} belongs to the cluster itself: {mend}"))
            }
            false if is_powerful => Some(format!("{name} can change who may do what in a member: {mend}")),
            false => None,
        }
    }
}

/// What is wrong with a federation spec, each with the field and the mend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Federation {field}: {message}")]
pub struct SpecError {
    /// The field's path: `spec.members[2].name`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl FederationSpec {
    /// Everything that is wrong with this spec beyond its shape; empty when it may be agreed on.
    pub fn validate(&self) -> Vec<SpecError> {
        let mut errors = Vec::new();
        let mut error = |field: String, message: String| errors.push(SpecError { field, message });
        let mut names = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for (index, member) in self.members.iter().enumerate() {
            if let Some(first) = names.insert(&member.name, index) {
                error(
                    format!("spec.members[{index}].name"),
                    format!(
                        "`{}` is the name of spec.members[{first}] too: give each member a name of its own",
                        member.name
                    ),
                );
            }
            for key in &member.public_keys {
                if let Some(first) = keys.insert(key, index) {
                    error(
                        format!("spec.members[{index}].publicKeys"),
                        format!(
                            "the key is that of spec.members[{first}] too: each operator has keys of its own, copy this one's from its log or cell"
                        ),
                    );
                }
            }
        }
        if !self.members.is_empty() && self.members.iter().all(|member| member.takes_nothing().is_some()) {
            error(
                "spec.members".to_owned(),
                "every member is a witness or about to leave: one has to be neither; to end a league, delete what is federated".to_owned(),
            );
        }
        let mut people = BTreeMap::new();
        for (index, person) in self.people.iter().enumerate() {
            if let Some(first) = people.insert(&person.name, index) {
                error(
                    format!("spec.people[{index}].name"),
                    format!("`{}` is listed in spec.people[{first}] too: give each person one key", person.name),
                );
            }
            if let Some(first) = keys.get(&person.public_key) {
                error(
                    format!("spec.people[{index}].publicKey"),
                    format!("the key is that of spec.members[{first}] too: a person's key is not an operator's"),
                );
            }
        }
        let mut types = BTreeMap::new();
        for (index, federated_type) in self.types.iter().enumerate() {
            if let Some(first) = types.insert(&federated_type.resource, index) {
                error(
                    format!("spec.types[{index}].resource"),
                    format!(
                        "`{}` is listed in spec.types[{first}] too: a type is federated in one version",
                        federated_type.resource
                    ),
                );
            }
        }
        if self.safety.deletes.window_ms().is_none() {
            error(
                "spec.safety.deletes.window".to_owned(),
                format!(
                    "`{}` is not a duration: write hours, minutes and seconds, such as `10m`",
                    self.safety.deletes.window
                ),
            );
        }
        if self.safety.deletes.percent > 100 {
            error(
                "spec.safety.deletes.percent".to_owned(),
                format!("{} is more than 100", self.safety.deletes.percent),
            );
        }
        errors
    }

    /// The member of this name.
    pub fn member(&self, name: &MemberName) -> Option<&Member> {
        self.members.iter().find(|member| &member.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_spec_has_the_documented_defaults() {
        let spec: FederationSpec = serde_json::from_value(json!({})).unwrap();
        assert_eq!(spec.safety.deletes, DeletionBudget { percent: 10, at_least: 20, window: "10m".into() });
        assert_eq!(spec.safety.deletes.window_ms(), Some(600_000));
        assert_eq!((spec.namespaces, spec.homes.takeover), (NamespacePolicy::Create, Takeover::Consent));
        assert!(spec.validate().is_empty());
    }

    #[test]
    fn what_needs_a_yes_is_refused_with_the_mend() {
        let refusal = |resource: &str, namespace: &str, namespaced, privileged| {
            let federated = FederatedType { resource: resource.parse().unwrap(), version: "v1".into(), privileged };
            federated.refusal(namespace, namespaced).unwrap_or_default()
        };
        assert_eq!(refusal("configmaps", "shop", true, false), "");
        let system = refusal("configmaps", "kube-system", true, false);
        assert!(system.starts_with("metadata.namespace: kube-system belongs to the cluster itself: say"), "{system}");
        assert!(refusal("namespaces", "", false, false).starts_with("namespaces can change who may do what"));
        assert!(refusal("roles.rbac.authorization.k8s.io", "shop", true, false).contains("`privileged: true`"));
        assert_eq!(refusal("configmaps", "kube-system", true, true), "");
    }

    #[test]
    fn clashes_are_named_with_field_and_mend() {
        let spec: FederationSpec = serde_json::from_value(json!({
            "members": [{"name": "a", "publicKeys": ["ed25519:k"]}, {"name": "b"}, {"name": "a", "publicKeys": ["ed25519:k"]}],
            "types": [{"resource": "configmaps", "version": "v1"}, {"resource": "configmaps", "version": "v2"}],
            "safety": {"deletes": {"window": "soon"}},
        }))
        .unwrap();
        let fields: Vec<_> = spec.validate().into_iter().map(|error| error.field).collect();
        assert_eq!(
            fields,
            [
                "spec.members[2].name",
                "spec.members[2].publicKeys",
                "spec.types[1].resource",
                "spec.safety.deletes.window"
            ]
        );
    }

    #[test]
    fn a_field_of_a_newer_release_is_refused_not_dropped() {
        assert!(serde_json::from_value::<FederationSpec>(json!({"novelty": 1})).is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration_ms("1h30m5s"), Some(5_405_000));
        for wrong in ["", "10", "m", "10x", "-5s", "99999999999999999999h"] {
            assert_eq!(parse_duration_ms(wrong), None, "{wrong}");
        }
    }
}
