//! The `scale` subresource: `autoscaling/v1` Scale over whatever fields the kind counts in.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Core;
use super::body;
use super::encode::{Encoder, Output};
use super::error::ApiError;
use super::http::{Request, Response};
use super::options::WriteOptions;
use super::patch::Kind;
use super::route::Target;
use super::selector::selector_text;
use super::store::Object;
use super::write::Made;
use crate::patch;
use crate::schema::{FieldError, Scale};
use crate::value;

fn path(dotted: &str) -> Vec<&str> {
    dotted.split('.').filter(|part| !part.is_empty()).collect()
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
        "status": { "replicas": value::integer(body, &path(&paths.status_path)).unwrap_or(0) },
    });
    if let Some(namespace) = &object.namespace {
        scale["metadata"]["namespace"] = json!(namespace);
    }
    if let Some(replicas) = value::integer(body, &path(&paths.spec_path)).filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = json!(replicas);
    }
    if let Some(selector) = paths.selector_path.as_deref().and_then(|dotted| value::get(body, &path(dotted))) {
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
        let now = scale_of(target, &live, &encoder.value(&live))?;
        let wished = match request.method.as_str() {
            "PATCH" => {
                let patch = body::yaml(&request.body)?.value;
                match Kind::of(request, target.resource.custom)? {
                    Kind::Json => patch::json(&now, &patch).map_err(|_| ApiError::unprocessable())?,
                    Kind::Apply => return Err(ApiError::not_implemented("server-side apply of a scale")),
                    _ => patch::merge(&now, &patch),
                }
            }
            _ => body::decode(request, "Scale")?.value,
        };
        let version = value::string(&wished, &["metadata", "resourceVersion"]).unwrap_or_default().to_string();
        let replicas = value::integer(&wished, &["spec", "replicas"]).unwrap_or(0);
        if replicas < 0 {
            let error = FieldError::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
            return Err(ApiError::invalid("autoscaling", "Scale", target.name(), vec![error]));
        }
        let whole = Target { subresource: None, ..target.clone() };
        let spec_path = paths(target)?.spec_path.clone();
        // The managed fields name the subresource; the object that is written is the whole one.
        let written = self.update_object(&whole, options, Made::ByScale, false, |live| {
            let mut object = live.cloned().unwrap_or_default();
            value::set(&mut object, &path(&spec_path), json!(replicas));
            value::set(&mut object, &["metadata", "resourceVersion"], json!(version));
            if version.is_empty() {
                let current =
                    live.and_then(|live| value::string(live, &["metadata", "resourceVersion"])).unwrap_or_default();
                value::set(&mut object, &["metadata", "resourceVersion"], json!(current));
            }
            Ok(object)
        })?;
        let object: Arc<Object> = written.object;
        self.scale_answer(target, output, &object)
    }
}
