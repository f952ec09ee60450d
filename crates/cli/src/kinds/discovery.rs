//! The kinds that an API server serves, from its aggregated discovery (KEP-3352), which every
//! supported release has.

use super::Kind;
use crate::cluster::Cluster;
use anyhow::{Context, bail};
use hansa_model::TypeName;
use serde_json::Value;
use std::collections::BTreeMap;

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Verbs without which a kind cannot be federated, nor named here.
const NEEDED: [&str; 3] = ["create", "get", "list"];

/// Asks an API server.
///
/// # Errors
/// When it cannot be asked.
pub async fn discover(cluster: &Cluster) -> anyhow::Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for path in ["/api", "/apis"] {
        let (status, body) = cluster.raw(path, ACCEPT).await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status != 200 || answer["kind"] != "APIGroupDiscoveryList" {
            let words = answer["message"].as_str().unwrap_or("no aggregated discovery");
            bail!(
                "{path}: the API server does not tell which kinds it serves ({status}: {words}): Kubernetes 1.30 or newer is needed"
            );
        }
        kinds.extend(read(&answer).with_context(|| format!("{path}: the API server's discovery"))?);
    }
    Ok(kinds)
}

/// The kinds of a discovery document; one that is served in several versions is one kind.
fn read(answer: &Value) -> anyhow::Result<Vec<Kind>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found: BTreeMap<TypeName, usize> = BTreeMap::new();
    let mut kinds: Vec<Kind> = Vec::new();
    for group in list(&answer["items"]) {
        let name = text(&group["metadata"]["name"]);
        for version in list(&group["versions"]) {
            for resource in list(&version["resources"]) {
                let verbs: Vec<String> = list(&resource["verbs"]).iter().map(text).collect();
                if !NEEDED.iter().all(|needed| verbs.iter().any(|verb| verb == needed)) {
                    continue;
                }
                let Ok(type_name) = TypeName::new(&text(&resource["resource"]), &name) else { continue };
                let version = text(&version["version"]);
                if let Some(known) = found.get(&type_name) {
                    kinds[*known].versions.push(version);
                    continue;
                }
                found.insert(type_name.clone(), kinds.len());
                kinds.push(Kind {
                    type_name,
                    versions: vec![version],
                    kind: text(&resource["responseKind"]["kind"]),
                    singular: text(&resource["singularResource"]),
                    short_names: list(&resource["shortNames"]).iter().map(text).collect(),
                    namespaced: resource["scope"] == "Namespaced",
                });
            }
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_of_one_kind_are_one_kind() {
        let autoscaler = |verbs: Value| {
            json!({"resource": "horizontalpodautoscalers", "singularResource": "horizontalpodautoscaler", "scope": "Namespaced",
                   "responseKind": {"group": "", "version": "", "kind": "HorizontalPodAutoscaler"}, "shortNames": ["hpa"], "verbs": verbs})
        };
        let all = json!(["create", "get", "list", "watch"]);
        let kinds = read(&json!({"items": [{"metadata": {"name": "autoscaling"}, "versions": [
            {"version": "v2", "resources": [autoscaler(all.clone()), {"resource": "reviews", "verbs": ["create"]}]},
            {"version": "v1", "resources": [autoscaler(all)]},
        ]}]}))
        .unwrap();
        assert_eq!(kinds.len(), 1);
        assert_eq!(kinds[0].versions, ["v2", "v1"]);
        assert_eq!((kinds[0].kind.as_str(), kinds[0].namespaced), ("HorizontalPodAutoscaler", true));
    }
}
