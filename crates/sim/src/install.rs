//! What an operator's runner does for it: Hansa's own CRDs at the start, and the generated CRD of
//! each federated type, made by the production code from the API server's own discovery and OpenAPI
//! document.

use crate::member::Member;
use hansa_api::federated::federated_crd;
use hansa_api::manifests::own_crds;
use hansa_api::target::TargetKind;
use hansa_kubesim::core::http::Request;
use hansa_kubesim::schema::openapi::builtin_document;
use hansa_model::{FederatedType, Hash};
use hansa_operator::InstalledType;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Generated CRDs are the same in every world.
static GENERATED: LazyLock<Mutex<BTreeMap<String, Arc<Value>>>> = LazyLock::new(Mutex::default);

/// Makes the operator's own namespace and installs Hansa's own kinds.
///
/// # Errors
/// The API server's words.
pub fn own_kinds(member: &mut Member, now: u64) -> Result<(), String> {
    let path = "/api/v1/namespaces/hansa-system";
    if member.look(now, path).is_none() {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hansa-system"}});
        let response = member.ask(now, &Request::apply(path, "hansa", true, &body));
        if response.status >= 300 {
            return Err(format!("namespace hansa-system: {}", response.value()["message"]));
        }
    }
    own_crds().iter().try_for_each(|crd| apply(member, now, crd))
}

/// Installs the generated kind of a federated type.
///
/// # Errors
/// Why the type cannot be federated here.
pub fn install(member: &mut Member, now: u64, federated_type: &FederatedType) -> Result<InstalledType, String> {
    let name = &federated_type.resource;
    let (group, version) = (name.group(), &federated_type.version);
    let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let list = member.look(now, &path).ok_or_else(|| format!("{path} is not served"))?;
    let target = TargetKind::discovered(&list)
        .into_iter()
        .find(|kind| &kind.name == name)
        .ok_or_else(|| format!("{name} is not served"))?;
    let generated = GENERATED.lock().unwrap_or_else(PoisonError::into_inner).get(&name.to_string()).cloned();
    let crd = match generated {
        Some(crd) => crd,
        None => {
            let openapi = builtin_document(group, version).ok_or_else(|| format!("{name}: no OpenAPI document"))?;
            let crd = Arc::new(federated_crd(&target, &openapi).map_err(|error| error.to_string())?);
            GENERATED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), Arc::clone(&crd));
            crd
        }
    };
    apply(member, now, &crd)?;
    Ok(InstalledType { kind: target.kind, namespaced: target.namespaced, list_keys: BTreeMap::new() })
}

fn apply(member: &mut Member, now: u64, crd: &Value) -> Result<(), String> {
    let name = crd["metadata"]["name"].as_str().unwrap_or_default();
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    let hash = Hash::of(crd);
    let stands = |found: &Value| found["metadata"]["annotations"]["hansa.dev/schema"] == json!(hash);
    if !member.look(now, &path).as_ref().is_some_and(stands) {
        let mut crd = crd.clone();
        crd["metadata"]["annotations"]["hansa.dev/schema"] = json!(hash);
        let response = member.ask(now, &Request::apply(&path, "hansa", true, &crd));
        if response.status >= 300 {
            return Err(format!("CustomResourceDefinition {name}: {}", response.value()["message"]));
        }
    }
    member.core.tick(Member::time(now));
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    match member.look(now, &format!("/apis/{group}/v1alpha1")) {
        Some(_) => Ok(()),
        None => Err(format!("CustomResourceDefinition {name} is not established yet")),
    }
}
