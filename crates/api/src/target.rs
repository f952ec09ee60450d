//! The kinds that can be federated, and those that cannot, each with the mend.

use crate::openapi::{BrokenReference, Document};
use hansa_model::TypeName;
use serde_json::Value;

/// Names of Kubernetes objects' kinds and plurals are DNS labels.
const NAME_LIMIT: usize = 63;

/// What the generated names put before the target's.
pub const PREFIX: &str = "Federated";

/// What the groups of generated kinds end with.
pub const GROUP_SUFFIX: &str = ".types.hansa.dev";

/// A kind that an API server serves, as its discovery describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetKind {
    /// The plural and the group.
    pub name: TypeName,
    /// The version that is federated.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// Whether objects lie in namespaces.
    pub namespaced: bool,
    /// Whether the kind has a scale subresource.
    pub scale: bool,
    /// The kind's own short names.
    pub short_names: Vec<String>,
}

/// Why there is no `Federated<Kind>` for a kind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GenerateError {
    /// The kind is never federated.
    #[error("{name} cannot be federated: {reason}")]
    NotFederated {
        /// The kind's plural and group.
        name: TypeName,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A generated name would be too long.
    #[error(
        "{name} cannot be federated: the generated {what} `{generated}` has {} characters and Kubernetes allows {NAME_LIMIT}; \
         give the CustomResourceDefinition a shorter {what}",
        generated.len()
    )]
    NameTooLong {
        /// The kind's plural and group.
        name: TypeName,
        /// Which name it is: plural or kind.
        what: &'static str,
        /// The generated name.
        generated: String,
    },
    /// The OpenAPI document does not describe the kind.
    #[error(
        "{name} cannot be federated in version {version}: the API server's OpenAPI document has no schema for kind {kind}; \
         check that its CustomResourceDefinition is established and serves this version (kubectl get --raw {path})"
    )]
    NoSchema {
        /// The kind's plural and group.
        name: TypeName,
        /// The version that was asked for.
        version: String,
        /// The kind.
        kind: String,
        /// Where the document stands.
        path: String,
    },
    /// The schema refers to one that is not in the document.
    #[error("{name} cannot be federated: its schema refers to `{reference}`, which the OpenAPI document lacks")]
    BrokenReference {
        /// The kind's plural and group.
        name: TypeName,
        /// The reference.
        reference: String,
    },
}

impl TargetKind {
    /// The apiVersion of the kind: `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        match self.name.group() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Where an API server has the OpenAPI v3 document of the kind.
    pub fn openapi_path(&self) -> String {
        match self.name.group() {
            "" => format!("/openapi/v3/api/{}", self.version),
            group => format!("/openapi/v3/apis/{group}/{}", self.version),
        }
    }

    /// The generated kind: `FederatedDeployment`.
    pub fn federated_kind(&self) -> String {
        format!("{PREFIX}{}", self.kind)
    }

    /// Short names of the generated kind: the target's with an f before them, but for those that
    /// would shadow a name of Hansa's own or of Kubernetes'.
    pub fn federated_short_names(&self) -> Vec<String> {
        // Other federated kinds never clash: within one group the target's names are unique already.
        const TAKEN: [&str; 2] = ["fed", "flowschemas"];
        self.short_names
            .iter()
            .map(|name| format!("f{name}"))
            .filter(|name| !TAKEN.contains(&name.as_str()) && name.len() <= NAME_LIMIT)
            .collect()
    }

    /// Checks that the kind can be federated.
    ///
    /// # Errors
    /// When it is one of Hansa's own, one that makes no sense in two clusters, or has too long a name.
    pub fn federable(&self) -> Result<(), GenerateError> {
        if let Some(reason) = never_federated(&self.name) {
            return Err(GenerateError::NotFederated { name: self.name.clone(), reason });
        }
        let too_long = |what, generated: String, limit: usize| {
            (generated.len() > limit).then(|| GenerateError::NameTooLong { name: self.name.clone(), what, generated })
        };
        let list_kind = format!("{}List", self.federated_kind());
        too_long("plural", self.name.federated_plural(), NAME_LIMIT)
            .or_else(|| too_long("kind", list_kind, NAME_LIMIT))
            .map_or(Ok(()), Err)
    }

    /// The name and schema of the kind in the OpenAPI document of its group and version.
    pub(crate) fn schema_in<'a>(&self, document: &Document<'a>) -> Result<(&'a str, &'a Value), GenerateError> {
        document.kind(self.name.group(), &self.version, &self.kind).ok_or_else(|| GenerateError::NoSchema {
            name: self.name.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            path: self.openapi_path(),
        })
    }

    pub(crate) fn broken(&self, reference: BrokenReference) -> GenerateError {
        GenerateError::BrokenReference { name: self.name.clone(), reference: reference.0 }
    }

    /// The kinds of one version of a group that a client could keep objects of, from an
    /// `APIResourceList` (`/api/v1`, `/apis/apps/v1`).
    ///
    /// Kinds that cannot be written, read and watched (reviews, bindings) are left out; whether the
    /// others can be federated is for [`Self::federable`] to say.
    pub fn discovered(resource_list: &Value) -> Vec<TargetKind> {
        const NEEDED: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];
        let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let group_version = text(resource_list, "groupVersion");
        let (group, version) = group_version.split_once('/').unwrap_or(("", &group_version));
        let resources = resource_list["resources"].as_array().map_or(&[][..], Vec::as_slice);
        let scaled = |plural: &str| {
            let scale = format!("{plural}/scale");
            resources.iter().any(|resource| resource["name"] == *scale)
        };
        let strings = |value: &Value| -> Vec<String> {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        resources
            .iter()
            .filter(|resource| {
                let verbs = strings(&resource["verbs"]);
                NEEDED.iter().all(|verb| verbs.iter().any(|has| has == verb))
            })
            .filter_map(|resource| {
                let plural = text(resource, "name");
                Some(TargetKind {
                    // Subresources have a slash in their name, and are not types.
                    name: TypeName::new(&plural, group).ok()?,
                    version: version.to_owned(),
                    kind: text(resource, "kind"),
                    namespaced: resource["namespaced"] == true,
                    scale: scaled(&plural),
                    short_names: strings(&resource["shortNames"]),
                })
            })
            .collect()
    }
}

/// Why a type is never federated, and what to do instead; `None` when nothing speaks against it.
pub fn never_federated(name: &TypeName) -> Option<&'static str> {
    let group = name.group();
    if group == crate::GROUP || group.ends_with(".hansa.dev") {
        return Some(
            "it is one of Hansa's own kinds, which operators keep in step themselves; federate the target kind",
        );
    }
    match (name.resource(), group) {
        ("pods", "") => Some(
            "pods are made by the cluster that runs them; federate the Deployment, StatefulSet, DaemonSet or Job that makes them",
        ),
        ("events", "" | "events.k8s.io") => Some("events tell what happened in one cluster; read them there"),
        ("leases", "coordination.k8s.io") => {
            Some("a lease is held in one cluster; a copy elsewhere would fence nothing")
        }
        ("endpointslices", "discovery.k8s.io") => {
            Some("endpoint slices name the pods of one cluster; federate the Service")
        }
        (_, "authentication.k8s.io" | "authorization.k8s.io") => {
            Some("it is a question to one API server, not an object that is kept")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(name: &str, kind: &str) -> TargetKind {
        TargetKind {
            name: name.parse().unwrap(),
            version: "v1".into(),
            kind: kind.into(),
            namespaced: true,
            scale: false,
            short_names: vec!["deploy".into(), "ed".into()],
        }
    }

    #[test]
    fn refusals_name_the_type_and_the_mend() {
        for (name, kind, mend) in [
            ("pods", "Pod", "federate the Deployment"),
            ("events", "Event", "read them there"),
            ("events.events.k8s.io", "Event", "read them there"),
            ("leases.coordination.k8s.io", "Lease", "fence nothing"),
            ("endpointslices.discovery.k8s.io", "EndpointSlice", "federate the Service"),
            ("federations.hansa.dev", "Federation", "federate the target kind"),
            ("federateddeployments.apps.types.hansa.dev", "FederatedDeployment", "federate the target kind"),
        ] {
            let message = target(name, kind).federable().unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(mend), "{message}");
        }
        assert_eq!(target("pods.metrics.k8s.io", "PodMetrics").federable(), Ok(()));
    }

    #[test]
    fn long_names_are_refused_at_their_limit() {
        let fits = format!("{}.example.org", "p".repeat(54));
        assert_eq!(target(&fits, "P").federable(), Ok(()));
        let long = format!("{}.example.org", "p".repeat(55));
        let message = target(&long, "P").federable().unwrap_err().to_string();
        assert!(message.contains("shorter plural") && message.contains("has 64 characters"), "{message}");
        let message = target("ps.example.org", &"K".repeat(51)).federable().unwrap_err().to_string();
        assert!(message.contains("shorter kind"), "{message}");
    }

    #[test]
    fn short_names_shadow_nothing() {
        assert_eq!(target("deployments.apps", "Deployment").federated_short_names(), ["fdeploy"]);
    }

    #[test]
    fn discovery_gives_the_kinds_that_can_be_kept() {
        let all = json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
        let list = json!({"groupVersion": "apps/v1", "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": true, "verbs": all, "shortNames": ["deploy"]},
            {"name": "deployments/scale", "kind": "Scale", "namespaced": true, "verbs": ["get", "patch", "update"]},
            {"name": "reviews", "kind": "Review", "namespaced": false, "verbs": ["create"]},
        ]});
        let found = TargetKind::discovered(&list);
        assert_eq!(found.len(), 1);
        let deployment = &found[0];
        assert!(deployment.scale && deployment.namespaced);
        assert_eq!(deployment.api_version(), "apps/v1");
        assert_eq!(deployment.openapi_path(), "/openapi/v3/apis/apps/v1");
        assert_eq!(deployment.federated_kind(), "FederatedDeployment");
    }
}
