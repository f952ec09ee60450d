//! What the server serves: the aggregated discovery documents and the older ones.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Core;
use super::error::ApiError;
use super::http::{Request, Response};
use super::registry::{Resource, Version};
use super::route::Discovery;
use crate::schema;

/// `/version`: the release whose behaviour this server follows.
pub fn version() -> Value {
    let of = &schema::builtin().kubernetes;
    let before = of.minor.parse::<u32>().map_or_else(|_| of.minor.clone(), |minor| minor.saturating_sub(1).to_string());
    json!({
        "major": of.major, "minor": of.minor, "emulationMajor": of.major, "emulationMinor": of.minor,
        "minCompatibilityMajor": of.major, "minCompatibilityMinor": before, "gitVersion": format!("{}+kubesim", of.git_version),
        "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether a client asks for the aggregated form before the old one.
fn wants_aggregated(request: &Request) -> bool {
    let accept = request.accept.as_deref().unwrap_or_default();
    accept.split(',').map(|clause| clause.replace(' ', "")).any(|clause| {
        let has = |part: &str| clause.split(';').any(|given| given == part);
        clause.starts_with("application/json;")
            && has("as=APIGroupDiscoveryList")
            && has("v=v2")
            && has("g=apidiscovery.k8s.io")
    })
}

/// A short text that changes when the bytes do.
pub fn etag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("{:016X}", hasher.finish())
}

impl Core {
    /// Answers a discovery request.
    pub(super) fn discover(&self, request: &Request, which: &Discovery) -> Result<Response, ApiError> {
        let document = match which {
            Discovery::Core if wants_aggregated(request) => return Ok(aggregated(&self.aggregate(&[String::new()]))),
            Discovery::Groups if wants_aggregated(request) => {
                return Ok(aggregated(&self.aggregate(&self.registry.groups())));
            }
            Discovery::Core => json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": self.config.address }],
            }),
            Discovery::Groups => {
                let groups: Vec<Value> = self.registry.groups().iter().map(|group| self.group(group)).collect();
                json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
            }
            Discovery::Group(name) => {
                if name.is_empty() || self.registry.versions(name).is_empty() {
                    return Err(ApiError::no_page());
                }
                let mut group = self.group(name);
                group["kind"] = json!("APIGroup");
                group["apiVersion"] = json!("v1");
                group
            }
            Discovery::Version(group, version) => {
                if !self.registry.has_version(group, version) {
                    return Err(ApiError::no_page());
                }
                self.resource_list(group, version)
            }
        };
        Ok(Response::json(200, &document))
    }

    fn group(&self, name: &str) -> Value {
        let versions: Vec<Value> = self
            .registry
            .versions(name)
            .iter()
            .map(|version| json!({ "groupVersion": schema::api_version(name, version), "version": version }))
            .collect();
        json!({ "name": name, "preferredVersion": versions.first(), "versions": versions })
    }

    fn served<'a>(&'a self, group: &str, version: &'a str) -> impl Iterator<Item = (&'a Resource, &'a Version)> {
        self.registry.in_group(group).filter_map(move |resource| Some((&**resource, &**resource.version(version)?)))
    }

    fn resource_list(&self, group: &str, version: &str) -> Value {
        let mut resources = Vec::new();
        for (resource, version) in self.served(group, version) {
            let mut entry = json!({
                "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": version.verbs,
            });
            add_names(&mut entry, resource);
            if version.verbs.iter().any(|verb| verb == "list") {
                entry["storageVersionHash"] = json!(etag(format!("{}/{}", resource.id, resource.storage).as_bytes()));
            }
            resources.push(entry);
            for subresource in &version.subresources.listed {
                let mut entry = json!({
                    "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "",
                    "namespaced": resource.namespaced, "kind": subresource.kind, "verbs": subresource.verbs,
                });
                let foreign =
                    (subresource.group.as_str(), subresource.version.as_str()) != (group, version.name.as_str());
                if foreign && !subresource.version.is_empty() {
                    entry["group"] = json!(subresource.group);
                    entry["version"] = json!(subresource.version);
                }
                resources.push(entry);
            }
        }
        let mut list = json!({
            "kind": "APIResourceList", "groupVersion": schema::api_version(group, version), "resources": resources,
        });
        // The list of the core group has always been without.
        if !group.is_empty() {
            list["apiVersion"] = json!("v1");
        }
        list
    }

    fn aggregate(&self, groups: &[String]) -> Value {
        let items: Vec<Value> = groups
            .iter()
            .map(|group| {
                let versions: Vec<Value> = self
                    .registry
                    .versions(group)
                    .iter()
                    .map(|version| {
                        let resources: Vec<Value> = self
                            .served(group, version)
                            .map(|(resource, version)| aggregated_resource(resource, version))
                            .collect();
                        json!({ "version": version, "resources": resources, "freshness": "Current" })
                    })
                    .collect();
                let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
                json!({ "metadata": metadata, "versions": versions })
            })
            .collect();
        json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
    }
}

fn aggregated(document: &Value) -> Response {
    let body = Bytes::from(document.to_string());
    let etag = Some(etag(&body));
    Response { etag, ..Response::bytes(200, AGGREGATED, body) }
}

fn add_names(entry: &mut Value, resource: &Resource) {
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
}

fn aggregated_resource(resource: &Resource, version: &Version) -> Value {
    let own = |kind: &str| match resource.custom {
        true => json!({ "group": resource.group, "version": version.name, "kind": kind }),
        // Left empty, they are those of the document.
        false => json!({ "group": "", "version": "", "kind": kind }),
    };
    let mut entry = Map::new();
    entry.insert("resource".into(), json!(resource.plural));
    entry.insert("responseKind".into(), own(&resource.kind));
    entry.insert("scope".into(), json!(if resource.namespaced { "Namespaced" } else { "Cluster" }));
    entry.insert("singularResource".into(), json!(resource.singular));
    entry.insert("verbs".into(), json!(version.verbs));
    let mut entry = Value::Object(entry);
    add_names(&mut entry, resource);
    let subresources: Vec<Value> = version
        .subresources
        .listed
        .iter()
        .map(|subresource| {
            let here = (&subresource.group, &subresource.version) == (&resource.group, &version.name);
            let kind = match here || subresource.version.is_empty() {
                true => own(&subresource.kind),
                false => {
                    json!({ "group": subresource.group, "version": subresource.version, "kind": subresource.kind })
                }
            };
            json!({ "subresource": subresource.name, "responseKind": kind, "verbs": subresource.verbs })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}
