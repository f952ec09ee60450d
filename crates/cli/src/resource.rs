//! Where an object stands in an API server: its path, and its words in messages.

use hansa_model::{RecordKey, TypeName};
use std::fmt;

/// A resource of an API server: a collection, or one object of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    group: String,
    version: String,
    plural: String,
    namespace: String,
    name: String,
}

impl Resource {
    /// A collection over all namespaces, or of a cluster-scoped kind.
    pub fn new(group: &str, version: &str, plural: &str) -> Self {
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            namespace: String::new(),
            name: String::new(),
        }
    }

    /// One of Hansa's own kinds: `federations`, `members`, `requests`.
    pub fn own(plural: &str) -> Self {
        Resource::new(hansa_api::GROUP, hansa_api::VERSION, plural)
    }

    /// The federated object of a record.
    pub fn federated(key: &RecordKey) -> Self {
        let name = &key.type_name;
        Resource::new(&name.federated_group(), hansa_api::VERSION, &name.federated_plural())
            .in_namespace(&key.namespace)
            .named(&key.name)
    }

    /// The target object of a record, in the version of its type.
    pub fn target(key: &RecordKey, version: &str) -> Self {
        Resource::new(key.type_name.group(), version, key.type_name.resource())
            .in_namespace(&key.namespace)
            .named(&key.name)
    }

    /// In this namespace; an empty one stands for a cluster-scoped kind.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// One object.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The collection that the object is of.
    #[must_use]
    pub fn collection(&self) -> Self {
        Resource { name: String::new(), ..self.clone() }
    }

    /// The object's name; empty for a collection.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace; empty for a cluster-scoped kind.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `deployments.apps`: what a role names.
    pub fn kind_words(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Path and nothing else.
    pub fn path(&self) -> String {
        let mut path = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if !self.namespace.is_empty() {
            path.push_str(&format!("/namespaces/{}", encode(&self.namespace)));
        }
        path.push_str(&format!("/{}", self.plural));
        if !self.name.is_empty() {
            path.push_str(&format!("/{}", encode(&self.name)));
        }
        path
    }
}

/// As messages name it: `federateddeployments.apps.types.hansa.dev shop/web`.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind_words())?;
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => Ok(()),
            ("", name) => write!(f, " {name}"),
            (namespace, "") => write!(f, " in namespace {namespace}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

/// A record as people read it: `deployments.apps shop/web`.
pub fn key_words(key: &RecordKey) -> String {
    match key.namespace.as_ref() {
        "" => format!("{} {}", key.type_name, key.name),
        namespace => format!("{} {namespace}/{}", key.type_name, key.name),
    }
}

/// Percent-encodes what may not stand in a path's segment or a query's value (RFC 3986).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The type that a federated resource stands for: `federateddeployments` of `apps.types.hansa.dev`.
pub fn type_of_federated(plural: &str, group: &str) -> Option<TypeName> {
    let resource = plural.strip_prefix("federated").filter(|resource| !resource.is_empty())?;
    let group = group.strip_suffix(hansa_api::target::GROUP_SUFFIX)?;
    TypeName::new(resource, if group == "core" { "" } else { group }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_words() {
        let key: RecordKey = "deployments.apps/shop/web".parse().unwrap();
        let federated = Resource::federated(&key);
        assert_eq!(federated.path(), "/apis/apps.types.hansa.dev/v1alpha1/namespaces/shop/federateddeployments/web");
        assert_eq!(federated.to_string(), "federateddeployments.apps.types.hansa.dev shop/web");
        let target = Resource::target(&"namespaces//shop".parse().unwrap(), "v1");
        assert_eq!(
            (target.path().as_str(), target.to_string().as_str()),
            ("/api/v1/namespaces/shop", "namespaces shop")
        );
        assert_eq!(target.collection().path(), "/api/v1/namespaces");
        assert_eq!(Resource::own("members").kind_words(), "members.hansa.dev");
    }

    #[test]
    fn names_cannot_leave_their_segment() {
        let role = Resource::new("", "v1", "services").in_namespace("a").named("system:x/../y");
        assert_eq!(role.path(), "/api/v1/namespaces/a/services/system%3Ax%2F..%2Fy");
    }

    #[test]
    fn federated_resources_name_their_type() {
        let of = |plural: &str, group: &str| type_of_federated(plural, group).map(|name| name.to_string());
        assert_eq!(of("federateddeployments", "apps.types.hansa.dev").as_deref(), Some("deployments.apps"));
        assert_eq!(of("federatedsecrets", "core.types.hansa.dev").as_deref(), Some("secrets"));
        assert_eq!(of("federatedsecrets", "apps"), None);
        assert_eq!(of("deployments", "apps.types.hansa.dev"), None);
    }
}
