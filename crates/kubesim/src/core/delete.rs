//! Deleting: preconditions, grace, finalizers and what becomes of dependents.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Core;
use super::body;
use super::encode::{Encoder, Output};
use super::error::ApiError;
use super::http::{Request, Response};
use super::options::{WriteOptions, media_type};
use super::read::Query;
use super::registry::Resource;
use super::route::Target;
use super::store::Object;
use super::{crd, strategy, time};
use crate::schema::FieldError;
use crate::value;

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How something is deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds that a pod gets to end.
    pub grace: Option<i64>,
    /// What becomes of dependents, if said.
    pub propagation: Option<Propagation>,
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The resource version that it must have.
    pub version: Option<String>,
}

/// What a deletion came to.
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Object>),
    /// It waits for finalizers, or for its grace period.
    Waiting(Arc<Object>),
}

impl DeleteOptions {
    /// Reads the body, or the query where there is none.
    fn read(request: &Request, options: &mut WriteOptions) -> Result<Self, ApiError> {
        let mut given = json!({});
        if !request.body.is_empty() {
            let kind = media_type(request.content_type.as_deref().unwrap_or_default());
            if !kind.is_empty() || !request.body.is_empty() {
                given = body::decode(request, "DeleteOptions")?.value;
            }
        } else {
            for field in ["propagationPolicy", "dryRun"] {
                if let Some(text) = request.parameter(field) {
                    given[field] = json!(text);
                }
            }
            if let Some(text) = request.parameter("gracePeriodSeconds") {
                let wrong = |_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
                given["gracePeriodSeconds"] = json!(text.parse::<i64>().map_err(wrong)?);
            }
            if request.parameter("orphanDependents").is_some() {
                given["orphanDependents"] = json!(request.flag("orphanDependents"));
            }
        }
        let mut errors = Vec::new();
        let orphan = given["orphanDependents"].as_bool();
        let policy = given["propagationPolicy"].as_str().filter(|policy| !policy.is_empty());
        if let (Some(policy), Some(_)) = (policy, orphan) {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", &json!(policy), detail));
        }
        let propagation = match policy {
            None => orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background }),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported("propagationPolicy", &json!(other), &supported));
                None
            }
        };
        let dry_run = value::list(&given, &["dryRun"]);
        if dry_run.iter().any(|wish| wish != "All") {
            errors.push(FieldError::not_supported("dryRun", &json!(dry_run), &["All"]));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", errors));
        }
        options.dry_run |= !dry_run.is_empty();
        let text = |path: &[&str]| value::string(&given, path).map(String::from);
        Ok(DeleteOptions {
            grace: given["gracePeriodSeconds"].as_i64().map(|seconds| if seconds < 0 { 1 } else { seconds }),
            propagation,
            uid: text(&["preconditions", "uid"]),
            version: text(&["preconditions", "resourceVersion"]),
        })
    }

    /// Checks the preconditions, in the words of kube-apiserver.
    fn check(&self, resource: &Resource, live: &Object) -> Result<(), ApiError> {
        let refuse = |why: String| Err(ApiError::conflict(&resource.group, &resource.kind, &live.name, &why));
        if let Some(uid) = self.uid.as_ref().filter(|uid| **uid != live.uid) {
            return refuse(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                live.uid
            ));
        }
        let current = live.version.to_string();
        if let Some(version) = self.version.as_ref().filter(|version| **version != current) {
            return refuse(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({current}). The object might have been modified"
            ));
        }
        Ok(())
    }
}

impl Core {
    /// `DELETE` of an object.
    pub(super) fn delete(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let how = DeleteOptions::read(request, options)?;
        let live = self.find(target)?;
        if &*target.resource.id == "namespaces" && matches!(target.name(), "default" | "kube-system" | "kube-public") {
            return Err(ApiError::forbidden("", "namespaces", target.name(), "this namespace may not be deleted"));
        }
        let resource = &target.resource;
        Ok(match self.delete_object(resource, &live, &how, options.dry_run)? {
            Deleted::Waiting(object) => self.respond(target, output, 200, &object),
            Deleted::Gone(object) if returns_deleted(resource) => self.respond(target, output, 200, &object),
            Deleted::Gone(object) => {
                let mut details = json!({ "name": object.name, "kind": resource.plural, "uid": object.uid });
                if !resource.group.is_empty() {
                    details["group"] = json!(resource.group);
                }
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                });
                output.respond(200, Bytes::from(status.to_string()))
            }
        })
    }

    /// `DELETE` of a collection: every object that is selected, each by itself.
    pub(super) fn delete_collection(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let how = DeleteOptions::read(request, options)?;
        let query = Query::read(request, target)?;
        let selection = self.select(request, target, &query)?;
        let mut answered = Vec::new();
        for object in selection.objects {
            match self.delete_object(&target.resource, &object, &how, options.dry_run) {
                Ok(_) => answered.push(object),
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let encoder = Encoder { resource: &target.resource, version: &target.version, output, now: self.now };
        let mut out = Vec::new();
        let objects: Vec<&Object> = answered.iter().map(|object| &**object).collect();
        encoder.list(&objects, &selection.metadata, &mut out);
        Ok(output.respond(200, Bytes::from(out)))
    }

    /// Deletes an object: at once, or by marking it for those who have to act before.
    pub(crate) fn delete_object(
        &mut self,
        resource: &Resource,
        live: &Arc<Object>,
        how: &DeleteOptions,
        dry_run: bool,
    ) -> Result<Deleted, ApiError> {
        how.check(resource, live)?;
        let before = live.value();
        let mut object = before.clone();
        set_finalizers(&mut object, resource, how);
        let waits = match &*resource.id {
            "namespaces" => {
                let waits = !value::list(&object, &["spec", "finalizers"]).is_empty();
                if waits {
                    value::set(&mut object, &["status", "phase"], json!("Terminating"));
                }
                waits
            }
            "pods" => match pod_grace(&mut object, how, self.now) {
                Grace::Unchanged => return Ok(Deleted::Waiting(live.clone())),
                Grace::Started => true,
                Grace::Over => false,
            },
            crd::ID => {
                crd::begin_deletion(&mut object, self.now);
                false
            }
            _ => false,
        };
        let finalizing = !value::list(&object, &["metadata", "finalizers"]).is_empty();
        if !waits && !finalizing {
            if dry_run {
                return Ok(Deleted::Gone(Arc::new(Object::new(object, live.version, live.revision))));
            }
            if before != object {
                // Pods are marked before they go, and watchers see it.
                self.store.put(&resource.id, object, live.revision);
            }
            let gone = self.store.remove(&resource.id, &live.key()).unwrap_or_else(|| live.clone());
            return Ok(Deleted::Gone(gone));
        }
        mark(&mut object, self.now, &resource.id);
        if value::equal(&before, &object) {
            return Ok(Deleted::Waiting(live.clone()));
        }
        if dry_run {
            return Ok(Deleted::Waiting(Arc::new(Object::new(object, live.version, live.revision))));
        }
        Ok(Deleted::Waiting(self.store.put(&resource.id, object, live.revision)))
    }
}

/// Whether the answer to a completed deletion is the object instead of a `Status`.
fn returns_deleted(resource: &Resource) -> bool {
    let returned = matches!(
        resource.name().as_str(),
        "pods"
            | "services"
            | "serviceaccounts"
            | "resourcequotas"
            | "persistentvolumes"
            | "persistentvolumeclaims"
            | "podtemplates"
            | "namespaces"
            | "storageclasses.storage.k8s.io"
            | "csidrivers.storage.k8s.io"
            | "csinodes.storage.k8s.io"
            | "volumeattachments.storage.k8s.io"
            | "volumeattributesclasses.storage.k8s.io"
    );
    !resource.custom && (returned || resource.group == "resource.k8s.io")
}

/// Adds or takes away the finalizers by which the garbage collector acts first.
fn set_finalizers(object: &mut Value, resource: &Resource, how: &DeleteOptions) {
    if &*resource.id == "events" {
        return;
    }
    let current = value::list(object, &["metadata", "finalizers"]).to_vec();
    let has = |name: &str| current.contains(&json!(name));
    let orphans_by_default = matches!(&*resource.id, "jobs.batch" | "replicationcontrollers");
    let (orphan, foreground) = match how.propagation {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Foreground) => (false, true),
        Some(Propagation::Background) => (false, false),
        // An earlier choice stands, then the kind's custom.
        None if has("orphan") => (true, false),
        None if has("foregroundDeletion") => (false, true),
        None => (orphans_by_default, false),
    };
    let mut finalizers: Vec<Value> = current
        .iter()
        .filter(|name| **name != json!("orphan") && **name != json!("foregroundDeletion"))
        .cloned()
        .collect();
    if orphan {
        finalizers.push(json!("orphan"));
    }
    if foreground {
        finalizers.push(json!("foregroundDeletion"));
    }
    let same = finalizers.len() == current.len() && finalizers.iter().all(|name| current.contains(name));
    if same {
        return;
    }
    let metadata = value::object_at(object, &["metadata"]);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), Value::Array(finalizers));
    }
}

enum Grace {
    /// The pod ends already, and goes on doing so.
    Unchanged,
    /// The pod has some time left.
    Started,
    /// There is nothing to wait for.
    Over,
}

fn pod_grace(object: &mut Value, how: &DeleteOptions, now: time::Millis) -> Grace {
    let deleting = value::get(object, &["metadata", "deletionTimestamp"]).is_some();
    if deleting {
        let left = value::integer(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        if left == 0 {
            return Grace::Over;
        }
        let Some(wish) = how.grace.filter(|wish| *wish < left) else { return Grace::Unchanged };
        set_grace(object, wish, now);
        return if wish == 0 { Grace::Over } else { Grace::Started };
    }
    let wish = how.grace.unwrap_or_else(|| strategy::grace_period(object));
    let wish = if strategy::grace_period(object) == 0 { 0 } else { wish };
    set_grace(object, wish, now);
    bump_generation(object);
    if wish == 0 { Grace::Over } else { Grace::Started }
}

fn set_grace(object: &mut Value, seconds: i64, now: time::Millis) {
    let until = now + u64::try_from(seconds).unwrap_or(0) * 1000;
    value::set(object, &["metadata", "deletionTimestamp"], json!(time::seconds(until)));
    value::set(object, &["metadata", "deletionGracePeriodSeconds"], json!(seconds));
}

fn bump_generation(object: &mut Value) {
    if let Some(generation) = value::integer(object, &["metadata", "generation"]).filter(|generation| *generation > 0) {
        value::set(object, &["metadata", "generation"], json!(generation + 1));
    }
}

/// Marks an object as being deleted from now on.
fn mark(object: &mut Value, now: time::Millis, resource: &str) {
    if value::get(object, &["metadata", "deletionTimestamp"]).is_some() {
        return;
    }
    bump_generation(object);
    value::set(object, &["metadata", "deletionTimestamp"], json!(time::seconds(now)));
    // A namespace is kept by its own kind of finalizer and gets no grace period.
    if resource != "namespaces" {
        value::set(object, &["metadata", "deletionGracePeriodSeconds"], json!(0));
    }
}
