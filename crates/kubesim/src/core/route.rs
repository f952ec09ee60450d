//! What a path names.

use std::sync::Arc;

use super::access::Attributes;
use super::error::ApiError;
use super::http::Request;
use super::registry::{Registry, Resource, Version};

/// An object, a collection or a subresource, found in the registry.
#[derive(Clone, Debug)]
pub struct Target {
    /// The resource.
    pub resource: Arc<Resource>,
    /// The version that the request speaks.
    pub version: Arc<Version>,
    /// The namespace, if the path has one.
    pub namespace: Option<String>,
    /// The object's name, if the path has one.
    pub name: Option<String>,
    /// `status`, `scale`, ...; with what follows it.
    pub subresource: Option<String>,
}

impl Target {
    /// The name of the object; paths without one were refused before.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// 404 for the object this names.
    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.group, &self.resource.plural, self.name())
    }
}

/// What a path asks for.
#[derive(Clone, Debug)]
pub enum Route {
    /// Something of a resource.
    Resource(Target),
    /// A watch by its path.
    OldWatch(Target),
    /// `/api`, `/apis`.
    Discovery(Discovery),
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3` and below: what follows it.
    OpenApi(String),
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/version`.
    Version,
    /// `/kubesim/audit`.
    Audit,
}

/// The discovery documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// `/api`.
    Core,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1` (group ``) or `/apis/<group>/<version>`.
    Version(String, String),
}

/// The parts of a resource path, before the registry is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, if any.
    pub namespace: Option<String>,
    /// Resource (plural).
    pub plural: String,
    /// Name, if any.
    pub name: Option<String>,
    /// Subresource with all that follows.
    pub subresource: Option<String>,
}

impl Parts {
    /// What someone wants who asks for this.
    pub fn attributes<'a>(&'a self, verb: &'a str) -> Attributes<'a> {
        let subresource = self.subresource.as_deref().unwrap_or_default();
        Attributes {
            verb,
            group: &self.group,
            resource: &self.plural,
            subresource: subresource.split('/').next().unwrap_or_default(),
            namespace: self.namespace.as_deref().unwrap_or_default(),
            name: self.name.as_deref().unwrap_or_default(),
        }
    }
}

/// Takes a path under a group version apart, as kube-apiserver's request info does.
pub fn parts(group: &str, version: &str, segments: &[&str]) -> Option<Parts> {
    let mut parts = Parts { group: group.to_string(), version: version.to_string(), ..Parts::default() };
    let rest = match segments {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !matches!(rest[0], "status" | "finalize") => {
            parts.namespace = Some(namespace.to_string());
            rest
        }
        all => all,
    };
    let (plural, rest) = rest.split_first()?;
    parts.plural = plural.to_string();
    if let Some((name, rest)) = rest.split_first() {
        parts.name = Some(name.to_string());
        if !rest.is_empty() {
            parts.subresource = Some(rest.join("/"));
        }
    }
    Some(parts)
}

/// The parts of a request's path, if it is that of a resource, known or not.
pub fn wanted(request: &Request) -> Option<Parts> {
    let segments: Vec<&str> = request.path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["api", version, rest @ ..] => parts("", version, rest),
        ["apis", group, version, rest @ ..] => parts(group, version, rest),
        _ => None,
    }
}

/// Finds what a request's path asks for.
pub fn route(registry: &Registry, request: &Request) -> Result<Route, ApiError> {
    let path = request.path.as_str();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api"] => return Ok(Route::Discovery(Discovery::Core)),
        ["apis"] => return Ok(Route::Discovery(Discovery::Groups)),
        ["apis", group] => return Ok(Route::Discovery(Discovery::Group(group.to_string()))),
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        ["openapi", "v3"] => return Ok(Route::OpenApi(String::new())),
        ["openapi", "v3", rest @ ..] => return Ok(Route::OpenApi(rest.join("/"))),
        ["openapi", "v2"] => return Ok(Route::OpenApiV2),
        ["healthz" | "livez" | "readyz", ..] => return Ok(Route::Health),
        ["version"] => return Ok(Route::Version),
        ["kubesim", "audit"] => return Ok(Route::Audit),
        _ => return Err(ApiError::no_page()),
    };
    if rest.is_empty() {
        return Ok(Route::Discovery(Discovery::Version(group.to_string(), version.to_string())));
    }
    if !registry.has_version(group, version) {
        return Err(if registry.is_builtin_group(group) { ApiError::no_resource() } else { ApiError::no_page() });
    }
    let (old_watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let missing = || if registry.is_builtin_group(group) { ApiError::no_resource() } else { ApiError::no_page() };
    let parts = parts(group, version, rest).ok_or_else(missing)?;
    let (resource, version) = registry.find(group, version, &parts.plural).ok_or_else(missing)?;
    let scoped = match (resource.namespaced, &parts.namespace) {
        (true, None) => parts.name.is_none(),
        (true, Some(_)) | (false, None) => true,
        (false, Some(_)) => false,
    };
    if !scoped {
        return Err(missing());
    }
    let Parts { namespace, name, subresource, .. } = parts;
    let target = Target { resource, version, namespace, name, subresource };
    Ok(if old_watch { Route::OldWatch(target) } else { Route::Resource(target) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_both_a_prefix_and_a_resource() {
        let of = |path: &str| parts("", "v1", &path.split('/').collect::<Vec<_>>()).expect("a resource");
        let plain = Parts { version: "v1".into(), ..Parts::default() };
        assert_eq!(of("namespaces/a"), Parts { plural: "namespaces".into(), name: Some("a".into()), ..plain.clone() });
        assert_eq!(
            of("namespaces/a/finalize"),
            Parts {
                plural: "namespaces".into(),
                name: Some("a".into()),
                subresource: Some("finalize".into()),
                ..plain.clone()
            }
        );
        assert_eq!(
            of("namespaces/a/services/b/proxy/x/y"),
            Parts {
                namespace: Some("a".into()),
                plural: "services".into(),
                name: Some("b".into()),
                subresource: Some("proxy/x/y".into()),
                ..plain
            }
        );
    }
}
