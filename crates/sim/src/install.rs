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

/// The annotation by which a CRD that stands already is known.
const SCHEMA: &str = "hansa.dev/schema";

/// A CRD as it is applied, with the hash of its content on it. It is the same in every world.
#[derive(Debug)]
struct Definition {
    crd: Value,
    hash: Value,
}

impl Definition {
    fn of(crd: &Value) -> Self {
        let (mut crd, hash) = (crd.clone(), json!(Hash::of(crd)));
        crd["metadata"]["annotations"][SCHEMA] = hash.clone();
        Definition { crd, hash }
    }
}

static OWN: LazyLock<Vec<Definition>> = LazyLock::new(|| own_crds().iter().map(Definition::of).collect());

static GENERATED: LazyLock<Mutex<BTreeMap<String, Arc<Definition>>>> = LazyLock::new(Mutex::default);

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
    OWN.iter().try_for_each(|definition| apply(member, now, definition))
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
    let definition = match generated {
        Some(definition) => definition,
        None => {
            let openapi = builtin_document(group, version).ok_or_else(|| format!("{name}: no OpenAPI document"))?;
            let crd = federated_crd(&target, &openapi).map_err(|error| error.to_string())?;
            let definition = Arc::new(Definition::of(&crd));
            GENERATED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), Arc::clone(&definition));
            definition
        }
    };
    apply(member, now, &definition)?;
    Ok(InstalledType { kind: target.kind, namespaced: target.namespaced, list_keys: BTreeMap::new() })
}

fn apply(member: &mut Member, now: u64, definition: &Definition) -> Result<(), String> {
    let Definition { crd, hash } = definition;
    let name = crd["metadata"]["name"].as_str().unwrap_or_default();
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    let stands = |found: &Value| found["metadata"]["annotations"][SCHEMA] == *hash;
    if !member.look_at_metadata(now, &path).as_ref().is_some_and(stands) {
        let response = member.ask(now, &Request::apply(&path, "hansa", true, crd));
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
