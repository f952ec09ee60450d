//! What the API knows of one kind beside its schema: names, verbs, subresources.

use super::Schema;

/// A kind in one version.
#[derive(Clone, Debug)]
pub struct Kind {
    /// The group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind's name, such as `Deployment`.
    pub kind: String,
    /// The kind of a list of these; `DeploymentList`.
    pub list_kind: String,
    /// The resource name in paths.
    pub plural: String,
    /// The name for one.
    pub singular: String,
    /// Short names for the command line.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The verbs that the resource knows.
    pub verbs: Vec<String>,
    /// The structure.
    pub schema: Schema,
    /// What can be reached below an object's path.
    pub subresources: Subresources,
}

/// The subresources of a kind.
#[derive(Clone, Debug, Default)]
pub struct Subresources {
    /// Whether there is a `status` subresource.
    pub status: bool,
    /// The `scale` subresource, and where it finds its numbers.
    pub scale: Option<Scale>,
    /// All of them as discovery lists them, `status` and `scale` included.
    pub listed: Vec<Subresource>,
}

/// One subresource as discovery lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Its name, such as `scale`.
    pub name: String,
    /// The group of what it answers with.
    pub group: String,
    /// The version of that.
    pub version: String,
    /// The kind of that.
    pub kind: String,
    /// The verbs it knows.
    pub verbs: Vec<String>,
}

/// Where the `scale` subresource reads and writes, as dotted paths such as `.spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The wished number of replicas.
    pub spec_path: String,
    /// The observed number.
    pub status_path: String,
    /// The label selector: a string, or (built-in kinds) a selector object or map.
    pub selector_path: Option<String>,
}

impl Kind {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `deployments.apps`, as messages name a resource; the bare plural for the core group.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// The `apiVersion` of a group and version.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
