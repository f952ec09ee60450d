//! The `scale` subresource: `autoscaling/v1` Scale over whatever fields the kind counts in.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Core;
use super::body;
use super::encode::{Encoder, Output};
use super::error::ApiError;
use super::http::{Request, Response};
use super::options::{FieldValidation, WriteOptions, stamp};
use super::patch::{Kind, refused};
use super::route::Target;
use super::selector::selector_text;
use super::store::Object;
use super::write::{Made, precondition, undecodable};
use crate::apply::{self, ManagerContext};
use crate::patch;
use crate::schema::{self, FieldError, Scale};
use crate::value;

const API_VERSION: &str = "autoscaling/v1";
const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";

fn dotted(path: &str) -> Vec<&str> {
    path.split('.').filter(|part| !part.is_empty()).collect()
}

fn paths(target: &Target) -> Result<&Scale, ApiError> {
    target.version.subresources.scale.as_ref().ok_or_else(ApiError::no_resource)
}

/// The Scale of an object.
fn scale_of(target: &Target, object: &Object, body: &Value) -> Result<Value, ApiError> {
    let paths = paths(target)?;
    let metadata = &body["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": { "name": object.name, "uid": object.uid, "resourceVersion": object.version.to_string(), "creationTimestamp": metadata["creationTimestamp"] },
        "spec": {},
        "status": { "replicas": value::integer(body, &dotted(&paths.status_path)).unwrap_or(0) },
    });
    if let Some(namespace) = &object.namespace {
        scale["metadata"]["namespace"] = json!(namespace);
    }
    if let Some(replicas) = value::integer(body, &dotted(&paths.spec_path)).filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = json!(replicas);
    }
    if let Some(selector) = paths.selector_path.as_deref().and_then(|path| value::get(body, &dotted(path))) {
        let text = match selector {
            Value::String(text) => text.clone(),
            // A plain map, as ReplicationControllers have, is `matchLabels` alone.
            object if object.get("matchLabels").is_none() && object.get("matchExpressions").is_none() => {
                selector_text(&json!({ "matchLabels": object }))
            }
            object => selector_text(object),
        };
        if !text.is_empty() {
            scale["status"]["selector"] = json!(text);
        }
    }
    Ok(scale)
}

impl Core {
    fn scale_answer(&self, target: &Target, output: Output, object: &Object) -> Result<Response, ApiError> {
        let encoder = Encoder { resource: &target.resource, version: &target.version, output, now: self.now };
        let scale = scale_of(target, object, &encoder.value(object))?;
        Ok(output.respond(200, Bytes::from(scale.to_string())))
    }

    /// `GET` of a scale.
    pub(super) fn get_scale(&mut self, request: &Request, target: &Target) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let object = self.find(target)?;
        self.scale_answer(target, output, &object)
    }

    /// `PUT` or `PATCH` of a scale.
    pub(super) fn put_scale(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let live = self.find(target)?;
        let encoder = Encoder { resource: &target.resource, version: &target.version, output, now: self.now };
        let parent = encoder.value(&live);
        let path = paths(target)?.spec_path.clone();
        let owners = value::list(&parent, &["metadata", "managedFields"]);
        let mut before = scale_of(target, &live, &parent)?;
        value::set(&mut before, &["metadata", "managedFields"], json!(to_scale(owners, &path)));
        let time = stamp(self.now);
        let context =
            ManagerContext { manager: &options.manager, api_version: API_VERSION, subresource: "scale", time: &time };
        let schema = schema::builtin().definition(DEFINITION).ok_or_else(ApiError::no_resource)?;
        let (mut duplicates, mut warnings) = (Vec::new(), Vec::new());
        let mut read = |body: body::Body| {
            duplicates = body.duplicates;
            body.value
        };
        let mut wished = match request.method.as_str() {
            "PATCH" => match Kind::of(request, target.resource.custom)? {
                Kind::Apply => {
                    let applied = read(body::yaml(&request.body)?);
                    apply::server_side_apply(&schema, Some(&before), &applied, options.force, &context)
                        .map_err(refused)?
                }
                Kind::Json => {
                    let patch = read(body::json(&request.body, "Scale")?);
                    patch::json(&before, &patch).map_err(|_| ApiError::unprocessable())?
                }
                _ => patch::merge(&before, &read(body::json(&request.body, "Scale")?)),
            },
            _ => read(body::decode(request, "Scale")?),
        };
        let given = wished.clone();
        let unknown = schema.prune(&mut wished);
        let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
        let problems: Vec<String> =
            duplicates.iter().map(|path| format!("duplicate field {path:?}")).chain(unknown).collect();
        match options.validation {
            FieldValidation::Strict if !problems.is_empty() => {
                let strict = format!("strict decoding error: {}", problems.join(", "));
                return Err(match request.method.as_str() {
                    "PATCH" => undecodable(&given, &strict),
                    _ => {
                        ApiError::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {strict}"))
                    }
                });
            }
            FieldValidation::Warn => warnings = problems,
            _ => {}
        }
        if let Some(why) = schema.decode_error(&wished) {
            return Err(ApiError::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {why}")));
        }
        let applied = super::options::is_apply(request);
        if !applied {
            apply::track_update(&schema, Some(&before), &mut wished, &context);
        }
        let name = value::string(&wished, &["metadata", "name"]).unwrap_or_default();
        if name != target.name() {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name()
            )));
        }
        let uid = value::string(&wished, &["metadata", "uid"]).filter(|uid| !uid.is_empty()).map(String::from);
        precondition(target, Some(&parent), uid.as_deref())?;
        let replicas = value::integer(&wished, &["spec", "replicas"]).unwrap_or(0);
        if replicas < 0 {
            let resource = &target.resource;
            let (group, kind, error) = match resource.custom {
                true => {
                    let error = FieldError::invalid(path, &json!(replicas), "should be a non-negative integer");
                    (resource.group.as_str(), resource.kind.as_str(), error)
                }
                false => {
                    let detail = "must be greater than or equal to 0";
                    ("autoscaling", "Scale", FieldError::invalid("spec.replicas", &json!(replicas), detail))
                }
            };
            return Err(ApiError::invalid(group, kind, target.name(), vec![error]));
        }
        let version = value::string(&wished, &["metadata", "resourceVersion"]).unwrap_or_default().to_string();
        let entries =
            to_parent(owners, value::list(&wished, &["metadata", "managedFields"]), &path, &target.version.api_version);
        // The object that is written is the whole one.
        let whole = Target { subresource: None, ..target.clone() };
        let written = self.update_object(&whole, options, Made::Apply, false, |live| {
            let mut object = live.cloned().unwrap_or_default();
            value::set(&mut object, &dotted(&path), json!(replicas));
            if !version.is_empty() {
                value::set(&mut object, &["metadata", "resourceVersion"], json!(version));
            }
            value::set(&mut object, &["metadata", "managedFields"], json!(entries));
            Ok(object)
        })?;
        warnings.into_iter().for_each(|warning| options.warn(warning));
        self.scale_answer(target, output, &written.object)
    }
}

/// Who an entry of managed fields belongs to: appliers are one whatever the version.
fn identity(entry: &Value) -> (String, String, String, String) {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_string();
    let version = if text("operation") == "Apply" { String::new() } else { text("apiVersion") };
    (text("manager"), text("operation"), text("subresource"), version)
}

fn field_path(path: &str) -> Vec<String> {
    dotted(path).iter().map(|part| format!("f:{part}")).collect()
}

fn owns(entry: &Value, path: &str) -> bool {
    field_path(path).iter().try_fold(&entry["fieldsV1"], |set, part| set.get(part)).is_some()
}

/// The entries that own the number of replicas, as those of the scale.
fn to_scale(entries: &[Value], path: &str) -> Vec<Value> {
    let owners = entries.iter().filter(|entry| owns(entry, path));
    owners
        .map(|entry| {
            let mut entry = entry.clone();
            entry["apiVersion"] = json!(API_VERSION);
            entry["fieldsV1"] = json!({ "f:spec": { "f:replicas": {} } });
            entry
        })
        .collect()
}

/// The object's entries after those of its scale have changed (`scalehandler.go` of
/// apimachinery): who lost the number in the scale loses it here, who won it gets an entry.
fn to_parent(parent: &[Value], scale: &[Value], path: &str, api_version: &str) -> Vec<Value> {
    let mut rest: Vec<&Value> = scale.iter().collect();
    let mut entries = Vec::new();
    for entry in parent {
        if !owns(entry, path) {
            entries.push(entry.clone());
            continue;
        }
        let mut as_scale = entry.clone();
        as_scale["apiVersion"] = json!(API_VERSION);
        match rest.iter().position(|other| identity(other) == identity(&as_scale)) {
            Some(at) => {
                rest.remove(at);
                entries.push(entry.clone());
            }
            None => {
                let mut entry = entry.clone();
                release(&mut entry["fieldsV1"], &field_path(path));
                if entry["fieldsV1"].as_object().is_some_and(|set| !set.is_empty()) {
                    entries.push(entry);
                }
            }
        }
    }
    for entry in rest.into_iter().filter(|entry| owns(entry, ".spec.replicas")) {
        let mut entry = entry.clone();
        entry["apiVersion"] = json!(api_version);
        let set = field_path(path).iter().rev().fold(json!({}), |inner, part| json!({ part: inner }));
        entry["fieldsV1"] = set;
        value::remove(&mut entry, &["time"]);
        entries.push(entry);
    }
    entries.sort_by_cached_key(|entry| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_string();
        (text("operation"), text("time"), text("manager"), text("apiVersion"), text("subresource"))
    });
    entries
}

/// Takes a path out of a set, with what becomes empty by it.
fn release(set: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some(fields) = set.as_object_mut() else { return };
    if rest.is_empty() {
        fields.remove(first);
        return;
    }
    if let Some(inner) = fields.get_mut(first) {
        release(inner, rest);
        if inner.as_object().is_some_and(serde_json::Map::is_empty) {
            fields.remove(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wins_the_number_in_the_scale_owns_it_in_the_object() {
        let entry = |manager: &str, operation: &str, subresource: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "subresource": subresource, "fieldsV1": fields});
        let parent = [
            entry("kubectl", "Apply", "", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})),
            entry("other", "Update", "", json!({"f:spec": {"f:replicas": {}}})),
        ];
        assert_eq!(to_scale(&parent, ".spec.replicas").len(), 2);
        let mut won = entry("autoscaler", "Update", "scale", json!({"f:spec": {"f:replicas": {}}}));
        won["apiVersion"] = json!(API_VERSION);
        assert_eq!(
            to_parent(&parent, &[won], ".spec.replicas", "apps/v1"),
            [
                entry("kubectl", "Apply", "", json!({"f:spec": {"f:paused": {}}})),
                entry("autoscaler", "Update", "scale", json!({"f:spec": {"f:replicas": {}}})),
            ]
        );
    }
}
