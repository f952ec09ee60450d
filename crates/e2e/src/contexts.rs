//! How users reach several clusters: one kubeconfig with a context for each, and the operators behind the API
//! servers' proxies.

use crate::client::Api;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;

/// A kubeconfig that is being put together from others.
#[derive(Debug, Default)]
pub struct Contexts {
    clusters: Vec<Value>,
    users: Vec<Value>,
    contexts: Vec<Value>,
}

impl Contexts {
    /// Adds a context of another kubeconfig under a name: its current one, or that of `user`.
    ///
    /// # Errors
    /// When the file does not read, or has no such context.
    pub fn add(&mut self, name: &str, file: &Path, user: Option<&str>) -> Result<()> {
        let config: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let current = config["current-context"].as_str().context("a kubeconfig has a context")?;
        let wanted = user.map_or_else(|| current.to_owned(), |user| format!("{user}@{current}"));
        let named = |list: &str, name: &Value| {
            config[list].as_array().into_iter().flatten().find(|entry| entry["name"] == *name).cloned()
        };
        let found = named("contexts", &json!(wanted)).with_context(|| format!("no context {wanted} in {config}"))?;
        let user = named("users", &found["context"]["user"]).context("the context has a user")?;
        self.clusters.push(json!({"name": name, "cluster": config["clusters"][0]["cluster"]}));
        self.users.push(json!({"name": name, "user": user["user"]}));
        self.contexts.push(json!({"name": name, "context": {"cluster": name, "user": name}}));
        Ok(())
    }

    /// The kubeconfig, with this context as the current one.
    pub fn kubeconfig(&self, current: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": current,
            "clusters": self.clusters, "users": self.users, "contexts": self.contexts,
        })
    }
}

/// Puts an operator that listens at `address` behind its API server's proxy, where users find it: on kubesim,
/// which has no pods that listen.
///
/// # Errors
/// When the API server refuses.
pub async fn offer(admin: &Api, address: &str) -> Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "hansa-operator", "namespace": "hansa-system", "annotations": {"kubesim.hansa.dev/address": address}},
        "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    });
    admin.apply("/api/v1/namespaces/hansa-system/services/hansa-operator", &service).await.map(|_| ())
}
