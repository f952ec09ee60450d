//! What is kept and does nothing here, told at every write that holds it.

use serde_json::Value;

use super::super::options::WriteOptions;
use super::super::registry::Resource;
use super::{definitions, services};
use crate::value;

/// Kinds that are kept and of which nothing becomes here, with what somebody might have waited for.
const KEPT: [(&str, &str); 11] = [
    ("apiservices.apiregistration.k8s.io", "forwards no requests to them"),
    ("certificatesigningrequests.certificates.k8s.io", "signs nothing"),
    ("cronjobs.batch", "does not run them"),
    ("flowschemas.flowcontrol.apiserver.k8s.io", "does not evaluate them"),
    ("limitranges", "does not enforce them"),
    ("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", "does not evaluate them"),
    ("replicationcontrollers", "does not run their pods"),
    ("resourceclaims.resource.k8s.io", "allocates nothing to them"),
    ("resourceclaimtemplates.resource.k8s.io", "makes no claims of them"),
    ("resourcequotas", "does not enforce them"),
    ("storageversionmigrations.storagemigration.k8s.io", "does not migrate"),
];

/// Warns where something is kept but does nothing here.
pub fn warn(resource: &Resource, object: &Value, options: &mut WriteOptions) {
    if resource.custom {
        return;
    }
    match resource.group.as_str() {
        "" if resource.plural == "services" && services::has_idle_name(object) => {
            options.warn(r#"spec.externalName is ignored when spec.type is not "ExternalName""#);
        }
        "admissionregistration.k8s.io" => {
            options.warn(format!("kubesim keeps {} and does not evaluate them", resource.name()));
        }
        "apiextensions.k8s.io" if definitions::has_rules(object) => {
            options.warn("kubesim keeps x-kubernetes-validations and does not evaluate them");
        }
        "rbac.authorization.k8s.io" => {
            options.warn(format!("kubesim keeps {} and does not evaluate them", resource.name()));
        }
        _ => {
            let name = resource.name();
            if let Some((_, lack)) = KEPT.iter().find(|(kept, _)| *kept == name) {
                options.warn(format!("kubesim keeps {name} and {lack}"));
            }
        }
    }
    for path in idle_fields(&resource.name(), object) {
        options.warn(format!("kubesim keeps {path} and does not act on it"));
    }
}

/// Fields that change what becomes of an object on a real cluster, and nothing here.
fn idle_fields(resource: &str, object: &Value) -> Vec<String> {
    let mut fields = Vec::new();
    let mut idle = |path: &[&str], holds: &dyn Fn(&Value) -> bool| {
        if value::get(object, path).is_some_and(holds) {
            fields.push(path.join("."));
        }
    };
    let set = |found: &Value| !found.is_null();
    let says = |word: &'static str| move |found: &Value| found == word;
    let spec: &[&str] = match resource {
        "pods" => &["spec"],
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps" | "jobs.batch" => {
            &["spec", "template", "spec"]
        }
        _ => return fields,
    };
    match resource {
        "jobs.batch" => {
            idle(&["spec", "completionMode"], &says("Indexed"));
            for field in
                ["activeDeadlineSeconds", "backoffLimitPerIndex", "managedBy", "podFailurePolicy", "successPolicy"]
            {
                idle(&["spec", field], &set);
            }
        }
        "statefulsets.apps" => {
            for when in ["whenDeleted", "whenScaled"] {
                idle(&["spec", "persistentVolumeClaimRetentionPolicy", when], &says("Delete"));
            }
        }
        _ => {}
    }
    let below = |path: &[&'static str]| [spec, path].concat();
    for kind in ["podAffinity", "podAntiAffinity"] {
        idle(&below(&["affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"]), &set);
    }
    let strict = |list: &Value| {
        list.as_array().into_iter().flatten().any(|constraint| constraint["whenUnsatisfiable"] == "DoNotSchedule")
    };
    idle(&below(&["topologySpreadConstraints"]), &strict);
    fields
}
