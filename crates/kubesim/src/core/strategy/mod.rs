//! What built-in kinds do of their own when they are written, beside their schema: what a client
//! may not set, what moves the generation, what follows from other fields, and the rules that
//! OpenAPI does not say. Kubernetes calls this a registry strategy; the names here follow it.

mod admission;
mod data;
mod definitions;
mod lacks;
mod pods;
mod services;
mod status;
mod templates;
mod workloads;

use serde_json::{Value, json};

use super::Core;
use super::error::{ApiError, Cause};
use super::metadata::{self, Names};
use super::registry::Resource;
use super::route::Target;
use crate::schema::FieldError;
use crate::value;

pub use lacks::warn;
pub use pods::{condition, grace_period, is_finished, is_ready, milli, set_condition, set_condition_status};
pub use services::Allocated;

/// What a strategy may look at.
pub struct Context<'a> {
    /// The server, for what depends on other objects.
    pub core: &'a mut Core,
    /// What is written.
    pub target: &'a Target,
}

impl Context<'_> {
    pub(in crate::core) fn status_write(&self) -> bool {
        matches!(self.target.subresource.as_deref(), Some("status" | "approval"))
    }
}

/// Whether a `PUT` of an object that is not there creates it.
pub fn creates_on_update(resource: &Resource) -> bool {
    let known = matches!(
        resource.plural.as_str(),
        "runtimeclasses"
            | "rolebindings"
            | "clusterrolebindings"
            | "roles"
            | "clusterroles"
            | "leases"
            | "leasecandidates"
            | "limitranges"
            | "events"
            | "services"
            | "endpoints"
    );
    known && !resource.custom
}

/// Whether a `PUT` may leave the resource version out.
pub fn updates_unconditionally(resource: &Resource) -> bool {
    let never = matches!(
        resource.plural.as_str(),
        "leases"
            | "leasecandidates"
            | "poddisruptionbudgets"
            | "runtimeclasses"
            | "customresourcedefinitions"
            | "apiservices"
            | "csidrivers"
            | "csinodes"
            | "csistoragecapacities"
            | "volumeattachments"
    );
    !resource.custom && !never && resource.group != "admissionregistration.k8s.io"
}

/// How names of a kind must look.
pub fn names(resource: &Resource) -> Names {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => Names::Label,
        ("", "services") => Names::Service,
        ("rbac.authorization.k8s.io" | "certificates.k8s.io", _) => Names::Segment,
        _ => Names::Subdomain,
    }
}

/// 403 for something new in a namespace that is being deleted.
pub fn namespace_terminating(resource: &Resource, namespace: &str, name: &str) -> ApiError {
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause =
        Cause::new("NamespaceTerminating", "metadata.namespace", format!("namespace {namespace} is being terminated"));
    ApiError::forbidden(&resource.group, &resource.plural, name, &why).because(cause)
}

/// What decoding adds beside the schema's defaults; the writer owns it.
pub fn decode(resource: &Resource, object: &mut Value) {
    if resource.custom {
        return;
    }
    if resource.name() == "daemonsets.apps" {
        workloads::keep_template_generation(object);
    }
}

/// What mutating admission does to a new object.
pub fn admit_create(context: &mut Context, object: &mut Value) -> Result<(), ApiError> {
    if context.target.resource.custom {
        return Ok(());
    }
    match context.target.resource.name().as_str() {
        "pods" => admission::pod(context, object),
        "persistentvolumeclaims" => {
            admission::protect(object, "kubernetes.io/pvc-protection");
            Ok(())
        }
        "persistentvolumes" => {
            admission::protect(object, "kubernetes.io/pv-protection");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Clears and fills what the client does not decide on a new object.
pub fn prepare_create(context: &mut Context, object: &mut Value) -> Vec<FieldError> {
    let resource = context.target.resource.clone();
    if resource.custom {
        if context.target.version.subresources.status {
            value::remove(object, &["status"]);
        }
        value::set(object, &["metadata", "generation"], json!(1));
        return Vec::new();
    }
    status::reset(&resource, object, context.core.now);
    if has_generation(&resource) {
        value::set(object, &["metadata", "generation"], json!(1));
    }
    match resource.name().as_str() {
        "namespaces" => {
            let name = object["metadata"]["name"].clone();
            value::set(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
            let finalizers = value::object_at(object, &["spec"]).entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = finalizers.as_array_mut()
                && !list.contains(&json!("kubernetes"))
            {
                list.push(json!("kubernetes"));
            }
        }
        "services" => return services::allocate(context, None, object),
        "jobs.batch" => workloads::select_own_pods(object),
        _ => {}
    }
    Vec::new()
}

fn rules(resource: &Resource, object: &Value) -> Vec<FieldError> {
    match resource.name().as_str() {
        "namespaces" => metadata::finalizer_errors(object, "spec"),
        "pods" => pods::validate(object),
        "deployments.apps"
        | "replicasets.apps"
        | "statefulsets.apps"
        | "daemonsets.apps"
        | "replicationcontrollers" => workloads::validate(resource, object),
        "jobs.batch" => workloads::validate_job(object),
        "cronjobs.batch" => workloads::validate_cron_job(object),
        "services" => services::validate(object),
        "configmaps" => data::validate_config_map(object),
        "secrets" => data::validate_secret(object),
        "persistentvolumeclaims" => data::validate_claim(object),
        "ingresses.networking.k8s.io" => data::validate_ingress(object),
        "horizontalpodautoscalers.autoscaling" => data::validate_autoscaler(object),
        "poddisruptionbudgets.policy" => data::validate_budget(object),
        "controllerrevisions.apps" => data::validate_revision(object),
        "events" | "events.events.k8s.io" => data::validate_event(object),
        "leases.coordination.k8s.io" => data::validate_lease(object),
        "roles.rbac.authorization.k8s.io" | "clusterroles.rbac.authorization.k8s.io" => data::validate_role(object),
        "customresourcedefinitions.apiextensions.k8s.io" => definitions::validate(object),
        _ => Vec::new(),
    }
}

/// Keeps what this request may not change, and moves the generation where the rest changed.
pub fn prepare_update(context: &mut Context, old: &Value, new: &mut Value) {
    let resource = context.target.resource.clone();
    if resource.custom {
        prepare_custom_update(context, old, new);
        return;
    }
    let name = resource.name();
    if context.target.subresource.as_deref() == Some("finalize") {
        restore(old, new, &["status"]);
        return;
    }
    if context.status_write() {
        let others: Vec<String> = old.as_object().into_iter().flatten().map(|(field, _)| field.clone()).collect();
        let kept: Vec<&str> =
            others.iter().map(String::as_str).filter(|field| !matches!(*field, "status" | "metadata")).collect();
        restore(old, new, &kept);
        if name == "deployments.apps" {
            match value::get(old, &["metadata", "labels"]) {
                Some(labels) => value::set(new, &["metadata", "labels"], labels.clone()),
                None => drop(value::remove(new, &["metadata", "labels"])),
            }
        }
        return;
    }
    if context.target.version.subresources.status {
        restore(old, new, &["status"]);
    }
    match name.as_str() {
        "namespaces" => {
            let finalizers = value::get(old, &["spec", "finalizers"]).cloned().unwrap_or_else(|| json!([]));
            value::set(new, &["spec", "finalizers"], finalizers);
        }
        "services" => {
            // Errors of the allocation are repeated by the validation of the result.
            let _ = services::allocate(context, Some(old), new);
        }
        "daemonsets.apps" => workloads::move_template_generation(old, new),
        "pods" => admission::tolerate(new),
        _ => {}
    }
    if has_generation(&resource) && generation_moves(&name, old, new) {
        let generation = value::integer(old, &["metadata", "generation"]).unwrap_or(0);
        value::set(new, &["metadata", "generation"], json!(generation + 1));
    }
}

fn prepare_custom_update(context: &Context, old: &Value, new: &mut Value) {
    if context.status_write() {
        let status = new.get("status").cloned();
        let managed = value::get(new, &["metadata", "managedFields"]).cloned();
        let mut result = old.clone();
        match status {
            Some(status) => value::set(&mut result, &["status"], status),
            None => drop(value::remove(&mut result, &["status"])),
        }
        if let Some(managed) = managed {
            value::set(&mut result, &["metadata", "managedFields"], managed);
        }
        *new = result;
        return;
    }
    if context.target.version.subresources.status {
        restore(old, new, &["status"]);
    }
    if !same_but_metadata(old, new) {
        let generation = value::integer(old, &["metadata", "generation"]).unwrap_or(0);
        value::set(new, &["metadata", "generation"], json!(generation + 1));
    }
}

fn same_but_metadata(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return old == new };
    old.len() == new.len()
        && old
            .iter()
            .filter(|(field, _)| *field != "metadata")
            .all(|(field, was)| new.get(field).is_some_and(|is| value::equal(was, is)))
}

/// Puts top-level fields back as they were.
fn restore(old: &Value, new: &mut Value, fields: &[&str]) {
    for field in fields {
        match old.get(field) {
            Some(was) => value::set(new, &[field], was.clone()),
            None => drop(value::remove(new, &[field])),
        }
    }
}

/// Whether a built-in kind counts the changes of its specification.
fn has_generation(resource: &Resource) -> bool {
    matches!(
        resource.group.as_str(),
        "apps"
            | "batch"
            | "autoscaling"
            | "policy"
            | "discovery.k8s.io"
            | "networking.k8s.io"
            | "admissionregistration.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
    ) && !matches!(resource.plural.as_str(), "controllerrevisions" | "ipaddresses" | "servicecidrs")
        || matches!(
            resource.name().as_str(),
            "pods" | "podtemplates" | "replicationcontrollers" | "priorityclasses.scheduling.k8s.io"
        )
        || resource.plural == "customresourcedefinitions"
}

fn generation_moves(name: &str, old: &Value, new: &Value) -> bool {
    let changed = |path: &[&str]| match (value::get(old, path), value::get(new, path)) {
        (Some(old), Some(new)) => !value::equal(old, new),
        (None, None) => false,
        _ => true,
    };
    match name {
        // The annotations of a Deployment are copied to its ReplicaSets, so they count.
        "deployments.apps" => changed(&["spec"]) || changed(&["metadata", "annotations"]),
        "endpointslices.discovery.k8s.io" => {
            changed(&["endpoints"]) || changed(&["ports"]) || changed(&["metadata", "labels"])
        }
        "validatingwebhookconfigurations.admissionregistration.k8s.io"
        | "mutatingwebhookconfigurations.admissionregistration.k8s.io" => changed(&["webhooks"]),
        "priorityclasses.scheduling.k8s.io" => false,
        "podtemplates" => changed(&["template"]),
        _ => changed(&["spec"]),
    }
}

/// The rules for an object that is new, or was changed from `old`, beside its schema.
pub fn validate(context: &Context, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let resource = &context.target.resource;
    let mut errors = metadata::validate(new, names(resource));
    if resource.custom {
        return errors;
    }
    if context.status_write() {
        errors.extend(status::validate(resource, new));
        return errors;
    }
    errors.extend(rules(resource, new));
    let Some(old) = old else { return errors };
    errors.extend(match resource.name().as_str() {
        "deployments.apps" | "replicasets.apps" | "daemonsets.apps" => workloads::immutable_selector(old, new),
        "statefulsets.apps" => workloads::stateful_set_changes(old, new),
        "jobs.batch" => workloads::job_changes(old, new),
        "services" => services::changes(old, new),
        "configmaps" => data::config_map_changes(old, new),
        "secrets" => data::secret_changes(old, new),
        "persistentvolumeclaims" => data::claim_changes(old, new),
        "pods" => pods::changes(old, new),
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            data::role_changes(old, new)
        }
        "storageclasses.storage.k8s.io" => data::storage_class_changes(old, new),
        "priorityclasses.scheduling.k8s.io" => data::priority_class_changes(old, new),
        "customresourcedefinitions.apiextensions.k8s.io" => definitions::changes(old, new),
        _ => Vec::new(),
    });
    errors
}

/// A field that may not change once it is set.
fn immutable(old: &Value, new: &Value, path: &[&str]) -> Option<FieldError> {
    let (was, is) = (value::get(old, path), value::get(new, path));
    let same = match (was, is) {
        (Some(was), Some(is)) => value::equal(was, is),
        (was, is) => was == is,
    };
    (!same).then(|| FieldError::invalid(path.join("."), is.unwrap_or(&Value::Null), "field is immutable"))
}
