//! What the demo checks its claims with: the API servers' own objects and request records.

use super::stage::OPERATOR;
pub use crate::lookout::write;
use anyhow::Result;
use hansa_operator::{ApiRequest, ContentType, Method};
use hansa_runner::api_server::call;
use kube::Client;
use serde_json::Value;
use std::collections::BTreeMap;

/// One read; `None` when there is no such thing, or no answer.
pub async fn try_get(client: &Client, path: &str) -> Option<Value> {
    let answer = call(client, &ApiRequest::get(path)).await.ok().filter(|answer| answer.status == 200)?;
    Some(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

/// `kubectl apply --server-side`: documents in their order.
pub async fn apply(client: &Client, yaml: &str) -> Result<usize> {
    let mut count = 0;
    for text in yaml.split("\n---\n").filter(|text| !text.trim().is_empty()) {
        let object: Value = serde_saphyr::from_str(text)?;
        let path = path_of(&object)?;
        write(client, Method::Patch, &format!("{path}?fieldManager=kubectl&force=true"), ContentType::Apply, &object)
            .await?;
        count += 1;
    }
    Ok(count)
}

/// The path of an object, for the kinds that the demo applies.
fn path_of(object: &Value) -> Result<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let plural = match kind.as_str() {
        "Ingress" => "ingresses".to_owned(),
        "FederatedIngress" => "federatedingresses".to_owned(),
        other => format!("{}s", other.to_lowercase()),
    };
    let root = if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
    let name = text(&object["metadata"]["name"]);
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{root}/{plural}/{name}"),
    })
}

/// Names and uids of a collection's objects.
pub async fn uids(client: &Client, path: &str) -> BTreeMap<String, String> {
    let list = try_get(client, path).await.unwrap_or_default();
    let pair = |item: &Value| {
        Some((item["metadata"]["name"].as_str()?.to_owned(), item["metadata"]["uid"].as_str()?.to_owned()))
    };
    list["items"].as_array().into_iter().flatten().filter_map(pair).collect()
}

/// What the API server recorded of the operator: requests that changed something, by verb and resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    changes: BTreeMap<(String, String), u64>,
}

impl Record {
    /// Reads it; the operator's Lease and its heartbeat are not among an API server's changes here.
    pub async fn read(client: &Client) -> Record {
        let audit = try_get(client, "/kubesim/audit").await.unwrap_or_default();
        let mut changes = BTreeMap::new();
        for (verb, resources) in audit["users"][OPERATOR]["changes"].as_object().into_iter().flatten() {
            for (resource, count) in resources.as_object().into_iter().flatten() {
                if let Some(count) = count.as_u64().filter(|_| !resource.starts_with("leases")) {
                    changes.insert((verb.clone(), resource.clone()), count);
                }
            }
        }
        Record { changes }
    }

    /// The changes since an earlier reading, each with its verb and resource.
    pub fn since(&self, earlier: &Record) -> Vec<(u64, String)> {
        let known = |key| earlier.changes.get(key).copied().unwrap_or_default();
        let more = self.changes.iter().map(|(key, count)| (count.saturating_sub(known(key)), key));
        more.filter(|(count, _)| *count > 0)
            .map(|(count, (verb, resource))| (count, format!("{verb} {resource}")))
            .collect()
    }

    /// How many deletes there were since an earlier reading.
    pub fn deletes_since(&self, earlier: &Record) -> u64 {
        self.since(earlier).iter().filter(|(_, what)| what.starts_with("delete")).map(|(count, _)| count).sum()
    }
}
