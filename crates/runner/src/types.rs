//! Keeps the generated CRD of every federated type installed, and the policies that gate them.
//!
//! The schema is agreed: the first operator that finds the type writes it to `/v1/types/<type>`, one
//! whose API server is newer replaces it, and every operator installs what stands there, so that no
//! home prunes a field that another one knows.

use crate::api_server::call;
use hansa_api::target::TargetKind;
use hansa_ledger::{Swap, Version, keys};
use hansa_model::{FederatedType, Hash, TypeName};
use hansa_operator::{ApiRequest, ContentType, InstalledType, Method};
use hansa_topo::Topo;
use kube::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const MANAGER: &str = "hansa";

/// The format of an agreed schema that this release reads and writes.
const FORMAT: u32 = 1;

/// How long a CRD may take to be established.
const ESTABLISHING: Duration = Duration::from_secs(20);

/// The agreed schema of a type.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgreedType {
    format: u32,
    /// The minor version of the API server that it was made from.
    minor: u64,
    /// The hash of the CRD.
    hash: Hash,
    crd: Value,
    list_keys: std::collections::BTreeMap<String, Vec<String>>,
    kind: String,
    namespaced: bool,
}

/// Installs types in one member.
#[derive(Clone)]
pub struct Installer {
    /// The member's API server.
    pub client: Client,
    /// The topology server.
    pub topo: Arc<dyn Topo>,
    /// The API server's minor version.
    pub minor: u64,
    /// The user names of the operator, which the policies exempt.
    pub operators: Vec<String>,
    /// Writes nothing: it takes what stands.
    pub observe: bool,
}

impl Installer {
    /// Finds the type, agrees on its schema, and installs its CRD.
    ///
    /// # Errors
    /// Why the type cannot be federated here (yet), with the mend.
    pub async fn install(&self, federated_type: &FederatedType) -> Result<InstalledType, String> {
        let name = &federated_type.resource;
        let target = self.discover(name, &federated_type.version).await?;
        target.federable().map_err(|error| error.to_string())?;
        let agreed = self.agree(&target).await?;
        self.apply_crd(&agreed.crd, agreed.hash).await?;
        Ok(InstalledType { kind: agreed.kind, namespaced: agreed.namespaced, list_keys: agreed.list_keys })
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let answer = call(&self.client, &ApiRequest::get(path)).await?;
        if answer.status != 200 {
            return Err(format!("{path}: {}", hansa_operator::feed::message_of(&answer.body)));
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("{path}: {error}"))
    }

    async fn discover(&self, name: &TypeName, version: &str) -> Result<TargetKind, String> {
        let group = name.group();
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let lacks = |why: &str| {
            format!(
                "spec.types: this member's API server does not serve {name} in version {version}{why}: install its CRD here, or correct name and version"
            )
        };
        let list = self.get(&path).await.map_err(|error| lacks(&format!(" ({})", error.trim_end())))?;
        TargetKind::discovered(&list).into_iter().find(|kind| &kind.name == name).ok_or_else(|| lacks(""))
    }

    async fn agree(&self, target: &TargetKind) -> Result<AgreedType, String> {
        let key = format!("{}{}", keys::TYPES, target.name);
        // A race with another operator is settled in a round or two; the bound is for a broken store.
        for _ in 0..8 {
            let standing = self.topo.get(&key).await.map_err(|error| error.to_string())?;
            let agreed = match &standing {
                Some(standing) => Some(
                    serde_json::from_slice::<AgreedType>(&standing.value)
                        .map_err(|error| format!("{key} in the topology server does not read: {error}"))?,
                ),
                None => None,
            };
            if let Some(agreed) = agreed.filter(|agreed| agreed.minor >= self.minor || agreed.format > FORMAT) {
                return Ok(agreed);
            }
            let fresh = self.generate(target).await?;
            if self.observe {
                return Ok(fresh);
            }
            let bytes = serde_json::to_vec(&fresh).map_err(|error| error.to_string())?.into();
            let expected: Option<Version> = standing.map(|standing| standing.version);
            let swap = match &expected {
                None => self.topo.create(&key, bytes).await,
                Some(version) => self.topo.compare_and_swap(&key, version, bytes).await,
            };
            if let Swap::Committed(_) = swap.map_err(|error| error.to_string())? {
                return Ok(fresh);
            }
        }
        Err(format!("{key}: the topology server settles no write"))
    }

    async fn generate(&self, target: &TargetKind) -> Result<AgreedType, String> {
        let openapi = self.get(&target.openapi_path()).await?;
        let crd = hansa_api::federated::federated_crd(target, &openapi).map_err(|error| error.to_string())?;
        let built_in = !target.name.group().contains('.') || target.name.group().ends_with(".k8s.io");
        let list_keys = if built_in {
            Default::default()
        } else {
            hansa_api::list_keys::list_map_keys(target, &openapi).map_err(|error| error.to_string())?
        };
        Ok(AgreedType {
            format: FORMAT,
            minor: self.minor,
            hash: hansa_api::federated::schema_hash(&crd),
            crd,
            list_keys,
            kind: target.kind.clone(),
            namespaced: target.namespaced,
        })
    }

    /// Installs the CRDs of Hansa's own kinds, as this release has them.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn apply_own_crds(&self) -> Result<(), String> {
        for crd in hansa_api::manifests::own_crds() {
            self.apply_crd(&crd, Hash::of(&crd)).await?;
        }
        Ok(())
    }

    /// Applies a CRD when it is not there as agreed, and waits until it is served.
    async fn apply_crd(&self, crd: &Value, hash: Hash) -> Result<(), String> {
        let name = crd["metadata"]["name"].as_str().ok_or("a CRD has a name")?;
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let mut crd = crd.clone();
        crd["metadata"]["annotations"]["hansa.dev/schema"] = json!(hash);
        let stands = |found: &Value| found["metadata"]["annotations"]["hansa.dev/schema"] == json!(hash);
        let found = self.get(&path).await.ok();
        if self.observe && found.is_none() {
            return Err(format!(
                "CustomResourceDefinition {name}: it is not there, and an operator that only observes makes none: apply `hansa manifests`, or start it without --observe"
            ));
        }
        if !self.observe && !found.as_ref().is_some_and(stands) {
            let request = ApiRequest::write(
                Method::Patch,
                format!("{path}?fieldManager={MANAGER}&force=true"),
                ContentType::Apply,
                &crd,
            );
            let answer = call(&self.client, &request).await?;
            if answer.status >= 300 {
                return Err(format!(
                    "CustomResourceDefinition {name}: {}",
                    hansa_operator::feed::message_of(&answer.body)
                ));
            }
        }
        let established = async {
            loop {
                let found = self.get(&path).await?;
                let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let is = |kind: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == "True");
                let group = found["spec"]["group"].as_str().unwrap_or_default();
                let served = self.get(&format!("/apis/{group}/v1alpha1")).await.is_ok();
                if is("Established") && served {
                    return Ok(());
                }
                if let Some(refused) =
                    conditions.iter().find(|c| c["type"] == "NamesAccepted" && c["status"] == "False")
                {
                    return Err(format!(
                        "CustomResourceDefinition {name}: {}",
                        refused["message"].as_str().unwrap_or_default()
                    ));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(ESTABLISHING, established)
            .await
            .unwrap_or_else(|_| Err(format!("CustomResourceDefinition {name} is not established yet")))
    }

    /// Installs the policies that gate federated objects and requests, made from the agreed types,
    /// and the one that puts the finalizer on.
    ///
    /// # Errors
    /// The API server's words. A server without ValidatingAdmissionPolicy is told of, not stopped at.
    pub async fn apply_policies(&self, types: &[FederatedType]) -> Result<(), String> {
        if self.observe {
            return Ok(());
        }
        for policy in hansa_api::policy::policies(types, &self.operators) {
            if let Err((_, why)) = self.apply_policy(policy).await {
                return Err(why);
            }
        }
        for policy in hansa_api::finalizing::finalizing(types) {
            match self.apply_policy(policy).await {
                Ok(()) => {}
                // Not served before Kubernetes 1.36, or not granted: the operator puts the finalizer on.
                Err((Some(403 | 404 | 501), _)) => return Ok(()),
                Err((_, why)) => return Err(why),
            }
        }
        Ok(())
    }

    async fn apply_policy(&self, mut policy: Value) -> Result<(), (Option<u16>, String)> {
        let plural = match policy["kind"].as_str() {
            Some("ValidatingAdmissionPolicyBinding") => "validatingadmissionpolicybindings",
            Some("MutatingAdmissionPolicy") => "mutatingadmissionpolicies",
            Some("MutatingAdmissionPolicyBinding") => "mutatingadmissionpolicybindings",
            _ => "validatingadmissionpolicies",
        };
        let name = policy["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}/{name}");
        let hash = Hash::of(&policy);
        policy["metadata"]["annotations"]["hansa.dev/content"] = json!(hash);
        let found = self.get(&path).await.ok();
        if found.is_some_and(|found| found["metadata"]["annotations"]["hansa.dev/content"] == json!(hash)) {
            return Ok(());
        }
        let path = format!("{path}?fieldManager={MANAGER}&force=true");
        let request = ApiRequest::write(Method::Patch, path, ContentType::Apply, &policy);
        let answer = call(&self.client, &request).await.map_err(|why| (None, why))?;
        if answer.status >= 300 {
            let why = hansa_operator::feed::message_of(&answer.body);
            return Err((Some(answer.status), format!("{plural} {name}: {why}")));
        }
        Ok(())
    }
}
