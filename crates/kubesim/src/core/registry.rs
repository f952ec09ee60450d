//! Which resources there are: the built-in ones and those of established
//! CustomResourceDefinitions, by group, version and plural.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::convert;
use super::store::{Object, ResourceId};
use crate::schema::{self, Schema, Subresources};

/// A resource with all its versions.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Where its objects are stored; two groups may share objects, as those of events do.
    pub id: ResourceId,
    /// API group.
    pub group: String,
    /// Name in paths.
    pub plural: String,
    /// Name for one.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Kind of a list.
    pub list_kind: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The version whose schema stored objects have.
    pub storage: String,
    /// The served versions, the preferred one first.
    pub versions: Vec<Arc<Version>>,
    /// Whether a CustomResourceDefinition made it.
    pub custom: bool,
    /// The uid of that definition: one that is made anew begins with the same generation.
    pub definition: String,
    /// The generation of that definition.
    pub revision: u64,
    /// Whether the definition is being deleted, so that nothing new may be made.
    pub terminating: bool,
    /// The schema of the storage version, served or not.
    pub storage_schema: Schema,
}

/// One version of a resource.
#[derive(Clone, Debug)]
pub struct Version {
    /// Such as `v1`.
    pub name: String,
    /// Such as `apps/v1`.
    pub api_version: String,
    /// The structure.
    pub schema: Schema,
    /// Verbs of the resource itself.
    pub verbs: Vec<String>,
    /// Subresources.
    pub subresources: Subresources,
    /// What a custom definition says beyond the schema.
    pub custom: Option<CustomVersion>,
}

/// What a CustomResourceDefinition says of a version.
#[derive(Clone, Debug, Default)]
pub struct CustomVersion {
    /// `additionalPrinterColumns`.
    pub columns: Vec<Value>,
    /// `selectableFields`, as `spec.color`.
    pub selectable: Vec<String>,
    /// The warning of a deprecated version.
    pub deprecation: Option<String>,
    /// `schema.openAPIV3Schema` as given.
    pub openapi: Value,
}

impl Resource {
    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self, version: &str) -> String {
        schema::api_version(&self.group, version)
    }

    /// `deployments.apps`.
    pub fn name(&self) -> String {
        super::error::qualified(&self.group, &self.plural)
    }

    /// A served version.
    pub fn version(&self, name: &str) -> Option<&Arc<Version>> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// What a client of this version is warned of.
    pub fn warning(&self, version: &Version) -> Option<String> {
        match (&version.custom, self.id.as_ref()) {
            (Some(custom), _) => custom.deprecation.clone(),
            (None, "endpoints") => {
                Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_string())
            }
            _ => None,
        }
    }

    /// Whether objects look different in this version than in storage.
    pub fn needs_conversion(&self, version: &str) -> bool {
        !self.custom && convert::converts(&self.group, &self.plural, version)
    }

    /// An object that was stored under an older schema or another version, as a version of now
    /// would have it.
    pub fn refresh(&self, object: &Object, version: &Version) -> Value {
        let schema = if version.name == self.storage { &self.storage_schema } else { &version.schema };
        let mut value = object.value();
        schema.prune(&mut value);
        schema.apply_defaults(&mut value);
        value
    }
}

/// All resources.
#[derive(Clone, Debug)]
pub struct Registry {
    resources: BTreeMap<(String, String), Arc<Resource>>,
    builtin: BTreeMap<String, Vec<String>>,
}

impl Registry {
    /// The built-in resources.
    pub fn builtin() -> Self {
        let mut registry = Registry { resources: BTreeMap::new(), builtin: BTreeMap::new() };
        for group in &schema::builtin().groups {
            let names = group.versions.iter().map(|version| version.name.clone()).collect();
            registry.builtin.insert(group.name.clone(), names);
            for version in &group.versions {
                for kind in &version.kinds {
                    registry.add_builtin(kind);
                }
            }
        }
        registry
    }

    fn add_builtin(&mut self, kind: &schema::Kind) {
        let version = Arc::new(Version {
            name: kind.version.clone(),
            api_version: kind.api_version(),
            schema: kind.schema.clone(),
            verbs: kind.verbs.clone(),
            subresources: kind.subresources.clone(),
            custom: None,
        });
        let place = (kind.group.clone(), kind.plural.clone());
        if let Some(resource) = self.resources.get_mut(&place) {
            Arc::make_mut(resource).versions.push(version);
            return;
        }
        let resource = Resource {
            id: convert::storage_id(&kind.group, &kind.plural).into(),
            group: kind.group.clone(),
            plural: kind.plural.clone(),
            singular: kind.singular.clone(),
            kind: kind.kind.clone(),
            list_kind: kind.list_kind.clone(),
            short_names: kind.short_names.clone(),
            categories: kind.categories.clone(),
            namespaced: kind.namespaced,
            storage: kind.version.clone(),
            versions: vec![version],
            custom: false,
            definition: String::new(),
            revision: 0,
            terminating: false,
            storage_schema: kind.schema.clone(),
        };
        self.resources.insert(place, Arc::new(resource));
    }

    /// Adds or replaces the resource of a CustomResourceDefinition.
    pub fn set_custom(&mut self, resource: Resource) {
        self.resources.insert((resource.group.clone(), resource.plural.clone()), Arc::new(resource));
    }

    /// Takes the resource of a CustomResourceDefinition away.
    pub fn remove_custom(&mut self, group: &str, plural: &str) {
        let place = (group.to_string(), plural.to_string());
        if self.resources.get(&place).is_some_and(|resource| resource.custom) {
            self.resources.remove(&place);
        }
    }

    /// The resource and version of a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<(Arc<Resource>, Arc<Version>)> {
        let resource = self.get(group, plural)?;
        let version = resource.version(version)?;
        Some((resource.clone(), version.clone()))
    }

    /// A resource by group and plural.
    pub fn get(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_string(), plural.to_string()))
    }

    /// A resource by its kind, as owner references and scale targets name it.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.in_group(group).find(|resource| resource.kind == kind && resource.version(version).is_some())
    }

    /// The resource whose objects lie under this id, in the group that stores them.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Resource>> {
        let (plural, group) = id.split_once('.').unwrap_or((id, ""));
        self.get(group, plural)
    }

    /// The resources of a group.
    pub fn in_group<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a Arc<Resource>> + use<'a> {
        let from = (group.to_string(), String::new());
        let group = group.to_string();
        self.resources.range(from..).take_while(move |((of, _), _)| *of == group).map(|(_, resource)| resource)
    }

    /// Whether the group is built in.
    pub fn is_builtin_group(&self, group: &str) -> bool {
        self.builtin.contains_key(group)
    }

    /// The groups but the core one: built-in ones in their order, then custom ones by name.
    pub fn groups(&self) -> Vec<String> {
        let builtin = schema::builtin().groups.iter().map(|group| group.name.clone()).filter(|name| !name.is_empty());
        let mut custom: Vec<String> = self
            .resources
            .keys()
            .map(|(group, _)| group.clone())
            .filter(|group| !self.is_builtin_group(group))
            .collect();
        custom.dedup();
        builtin.chain(custom).collect()
    }

    /// The versions of a group, the preferred one first.
    pub fn versions(&self, group: &str) -> Vec<String> {
        let mut versions = self.builtin.get(group).cloned().unwrap_or_default();
        let mut custom: Vec<String> = self
            .in_group(group)
            .filter(|resource| resource.custom)
            .flat_map(|resource| resource.versions.iter().map(|version| version.name.clone()))
            .filter(|version| !versions.contains(version))
            .collect();
        custom.sort_by_key(|version| priority(version));
        custom.dedup();
        versions.extend(custom);
        versions
    }

    /// Whether a group is served in this version.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.builtin.get(group).is_some_and(|versions| versions.iter().any(|name| name == version))
            || self.in_group(group).any(|resource| resource.version(version).is_some())
    }
}

/// Sorts version names as Kubernetes prefers them: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`,
/// then anything else by name.
pub fn priority(version: &str) -> (u8, std::cmp::Reverse<u64>, std::cmp::Reverse<u64>, String) {
    use std::cmp::Reverse;
    let other = (3, Reverse(0), Reverse(0), version.to_string());
    let Some(rest) = version.strip_prefix('v') else { return other };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..end].parse::<u64>() else { return other };
    let (class, minor) = match &rest[end..] {
        "" => (0, Some(0)),
        tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
            (Some(minor), _) => (1, minor.parse().ok()),
            (_, Some(minor)) => (2, minor.parse().ok()),
            _ => (3, None),
        },
    };
    match minor {
        Some(minor) => (class, Reverse(major), Reverse(minor), String::new()),
        None => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_by_stability() {
        let mut versions = ["foo1", "v1alpha1", "v1", "v11alpha2", "v2", "v12beta1", "v10beta3", "v3beta1"];
        versions.sort_by_key(|version| priority(version));
        assert_eq!(versions, ["v2", "v1", "v12beta1", "v10beta3", "v3beta1", "v11alpha2", "v1alpha1", "foo1"]);
    }

    #[test]
    fn built_in_resources_are_found() {
        let registry = Registry::builtin();
        let (resource, version) = registry.find("apps", "v1", "deployments").expect("deployments");
        assert_eq!((resource.kind.as_str(), version.subresources.status), ("Deployment", true));
        assert!(registry.find("apps", "v1", "nothing").is_none());
        assert!(registry.by_kind("v1", "Pod").is_some());
    }
}
