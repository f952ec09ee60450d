//! `PATCH`: JSON patch, merge patch, strategic merge patch and server-side apply.

use serde_json::{Value, json};

use super::Core;
use super::body;
use super::encode::Output;
use super::error::{ApiError, Cause};
use super::http::{Request, Response};
use super::options::{FieldValidation, WriteOptions, media_type, stamp};
use super::route::Target;
use super::write::{Made, undecodable};
use crate::apply::{self, ApplyError};
use crate::patch::{self, PatchError};
use crate::value;

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Kind {
    /// By media type; custom resources know no strategic patches.
    pub fn of(request: &Request, custom: bool) -> Result<Kind, ApiError> {
        match media_type(request.content_type.as_deref().unwrap_or_default()) {
            "application/json-patch+json" => Ok(Kind::Json),
            "application/merge-patch+json" => Ok(Kind::Merge),
            "application/strategic-merge-patch+json" if !custom => Ok(Kind::Strategic),
            "application/apply-patch+yaml" => Ok(Kind::Apply),
            _ if custom => Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            _ => {
                let mut error = ApiError::unsupported_media_type("415: Unsupported Media Type");
                error.details = Some(json!({}));
                Err(error)
            }
        }
    }
}

impl Core {
    /// `PATCH` of an object or its status.
    pub(super) fn patch_object(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let written = match Kind::of(request, target.resource.custom)? {
            Kind::Apply => {
                let applied = decode_apply(request, options)?;
                let time = stamp(self.now);
                let may_create = target.subresource.is_none();
                let manager = options.manager.clone();
                let context = apply::ManagerContext {
                    manager: &manager,
                    api_version: &target.version.api_version,
                    subresource: target.subresource.as_deref().unwrap_or_default(),
                    time: &time,
                };
                let force = options.force;
                self.update_object(target, options, Made::Apply, may_create, |live| {
                    let merged = apply::server_side_apply(&target.version.schema, live, &applied, force, &context)
                        .map_err(refused)?;
                    named_as_the_path(target, merged)
                })?
            }
            kind => {
                let body = decode_patch(request, kind)?;
                let mut problems: Vec<String> =
                    body.duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
                let validation = options.validation;
                let mut warnings = Vec::new();
                let written = self.update_object(target, options, Made::Patch, false, |live| {
                    let live = live.unwrap_or(&Value::Null);
                    let mut patched = match kind {
                        Kind::Json => patch::json(live, &body.value),
                        Kind::Strategic => patch::strategic(&target.version.schema, live, &body.value),
                        _ => Ok(patch::merge(live, &body.value)),
                    }
                    .map_err(unpatchable)?;
                    if patched["kind"] != live["kind"] || patched["apiVersion"] != live["apiVersion"] {
                        let why = format!("the object is a {} of {}", live["kind"], live["apiVersion"]);
                        return Err(undecodable(&patched, &why));
                    }
                    let before = patched.clone();
                    problems.extend(
                        target.version.schema.prune(&mut patched).iter().map(|path| format!("unknown field {path:?}")),
                    );
                    match validation {
                        FieldValidation::Strict if !problems.is_empty() => {
                            return Err(undecodable(
                                &before,
                                &format!("strict decoding error: {}", problems.join(", ")),
                            ));
                        }
                        FieldValidation::Warn => warnings = problems,
                        _ => {}
                    }
                    named_as_the_path(target, patched)
                })?;
                warnings.into_iter().for_each(|warning| options.warn(warning));
                written
            }
        };
        Ok(self.respond(target, output, if written.created { 201 } else { 200 }, &written.object))
    }
}

fn decode_patch(request: &Request, kind: Kind) -> Result<body::Body, ApiError> {
    let wrong = |error: ApiError| {
        let why = match kind {
            Kind::Json | Kind::Merge => "invalid JSON patch".to_string(),
            _ => error.message,
        };
        ApiError::bad_request(why)
    };
    body::json(&request.body, "patch").map_err(wrong)
}

fn decode_apply(request: &Request, options: &mut WriteOptions) -> Result<Value, ApiError> {
    let body = body::yaml(&request.body).map_err(|error| {
        let why = error.message.trim_start_matches("error decoding YAML: ").to_string();
        ApiError::bad_request(format!("error decoding patch: error converting YAML to JSON: yaml: {why}"))
    })?;
    let problems: Vec<String> = body.duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    match options.validation {
        FieldValidation::Strict if !problems.is_empty() => {
            return Err(ApiError::bad_request(format!("error strict decoding patch: {}", problems.join(", "))));
        }
        FieldValidation::Warn => problems.into_iter().for_each(|problem| options.warn(problem)),
        _ => {}
    }
    Ok(body.value)
}

fn named_as_the_path(target: &Target, mut object: Value) -> Result<Value, ApiError> {
    let name = value::string(&object, &["metadata", "name"]).unwrap_or_default();
    if name != target.name() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name()
        )));
    }
    if let Some(namespace) = &target.namespace {
        let given = value::string(&object, &["metadata", "namespace"]).unwrap_or_default();
        if given.is_empty() {
            value::set(&mut object, &["metadata", "namespace"], json!(namespace));
        } else if given != namespace {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(object)
}

pub(super) fn refused(error: ApplyError) -> ApiError {
    let message = error.to_string();
    match error {
        ApplyError::BadRequest(_) => ApiError::bad_request(message),
        ApplyError::Untyped(_) => ApiError::unclassified(message),
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Cause> = conflicts
                .into_iter()
                .map(|conflict| Cause::new("FieldManagerConflict", conflict.field, conflict.message))
                .collect();
            ApiError::apply_conflict(message, &causes)
        }
    }
}

fn unpatchable(error: PatchError) -> ApiError {
    match error {
        PatchError::Malformed(why) => ApiError::bad_request(why),
        PatchError::TooLarge(why) => ApiError::too_large(why),
        PatchError::Unmergeable(why) => ApiError::unclassified(why),
        PatchError::Unprocessable(why) => {
            tracing::debug!(why, "a patch does not fit");
            ApiError::unprocessable()
        }
    }
}
