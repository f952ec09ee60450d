//! `/openapi/v3`: the index with a hash per document, and the documents, made when first asked
//! for and kept until the resources of their group change; and `/openapi/v2`, all of them in one.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Core;
use super::discovery::etag;
use super::error::ApiError;
use super::http::{Request, Response};
use super::protobuf::openapi::{ASKED, MEDIA_TYPE, encode};
use super::registry::Registry;
use crate::schema::builtin;
use crate::schema::openapi::{CustomKind, builtin_document, custom_document, v2};

/// The documents that have been made.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// Those of v3, by group and version.
    made: BTreeMap<(String, String), Bytes>,
    /// That of v2, in JSON and in protobuf.
    v2: Option<(Bytes, Bytes)>,
}

impl Documents {
    /// Forgets what is said of a group.
    pub fn forget(&mut self, group: &str) {
        self.made.retain(|(of, _), _| of != group);
        self.v2 = None;
    }
}

/// `api/v1` or `apis/<group>/<version>`.
fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

impl Core {
    /// Answers a request below `/openapi/v3`.
    pub(super) fn openapi(&mut self, path: &str) -> Result<Response, ApiError> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            [] => Ok(self.openapi_index()),
            ["api", version] => self.openapi_document("", version),
            ["apis", group, version] => self.openapi_document(group, version),
            _ => Err(ApiError::no_page()),
        }
    }

    fn openapi_index(&self) -> Response {
        let mut paths = Map::new();
        let groups = self.registry.groups();
        for group in std::iter::once(String::new()).chain(groups) {
            for version in self.registry.versions(&group) {
                let path = path_of(&group, &version);
                let hash = self.openapi_hash(&group, &version);
                paths.insert(path.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }));
            }
        }
        Response::json(200, &json!({ "paths": paths }))
    }

    /// Changes when the document does, and costs less: built-in documents never change, custom
    /// ones with the generations of their definitions.
    fn openapi_hash(&self, group: &str, version: &str) -> String {
        let mut text = path_of(group, version);
        for resource in self.registry.in_group(group).filter(|resource| resource.custom) {
            text.push_str(&format!(";{}={}/{}", resource.plural, resource.definition, resource.revision));
        }
        etag(text.as_bytes())
    }

    fn openapi_document(&mut self, group: &str, version: &str) -> Result<Response, ApiError> {
        if !self.registry.has_version(group, version) {
            return Err(ApiError::no_page());
        }
        let hash = self.openapi_hash(group, version);
        let place = (group.to_string(), version.to_string());
        let body = match self.openapi.made.get(&place) {
            Some(body) => body.clone(),
            None => {
                let body = Bytes::from(document(&self.registry, group, version).to_string());
                self.openapi.made.insert(place, body.clone());
                body
            }
        };
        Ok(Response { etag: Some(hash), ..Response::bytes(200, "application/json", body) })
    }

    /// Answers a request for `/openapi/v2`.
    pub(super) fn openapi_v2(&mut self, request: &Request) -> Result<Response, ApiError> {
        let registry = &self.registry;
        let (text, binary) = self.openapi.v2.get_or_insert_with(|| {
            let groups = std::iter::once(String::new()).chain(registry.groups());
            let documents: Vec<Value> = groups
                .flat_map(|group| registry.versions(&group).into_iter().map(move |version| (group.clone(), version)))
                .map(|(group, version)| document(registry, &group, &version))
                .collect();
            let whole = v2::document(&documents, &builtin().kubernetes.git_version);
            (Bytes::from(whole.to_string()), Bytes::from(encode(&whole)))
        });
        let accept = request.accept.as_deref().unwrap_or_default();
        let (media_type, body) = match accept.contains(ASKED) || accept.contains(MEDIA_TYPE) {
            true => (MEDIA_TYPE, binary),
            false => ("application/json", text),
        };
        Ok(Response { etag: Some(etag(body)), ..Response::bytes(200, media_type, body.clone()) })
    }
}

fn document(registry: &Registry, group: &str, version: &str) -> Value {
    builtin_document(group, version).unwrap_or_else(|| custom(registry, group, version))
}

fn custom(registry: &Registry, group: &str, version: &str) -> Value {
    let resources: Vec<_> =
        registry.in_group(group).filter_map(|resource| Some((resource, resource.version(version)?))).collect();
    let kinds: Vec<CustomKind<'_>> = resources
        .iter()
        .filter_map(|(resource, version)| {
            Some(CustomKind {
                kind: &resource.kind,
                list_kind: &resource.list_kind,
                plural: &resource.plural,
                namespaced: resource.namespaced,
                schema: &version.custom.as_ref()?.openapi,
                status: version.subresources.status,
                scale: version.subresources.scale.is_some(),
            })
        })
        .collect();
    custom_document(group, version, &kinds)
}
