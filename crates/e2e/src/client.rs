//! Requests to an API server, as a user of a kubeconfig.

use crate::wait::{LOOK, PATIENCE};
use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// No answer takes longer.
const ANSWER: Duration = Duration::from_secs(30);

/// A kind of object, as paths name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource {
    /// `apps`; empty for the core.
    pub group: &'static str,
    /// `v1`
    pub version: &'static str,
    /// `deployments`
    pub plural: &'static str,
    /// `Deployment`
    pub kind: &'static str,
}

impl Resource {
    /// `apps/v1`
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The type's name in Hansa: `deployments.apps`.
    pub fn type_name(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// The path of the collection in a namespace, or of all with an empty one.
    pub fn collection(&self, namespace: &str) -> String {
        collection(&self.root(), self.plural, namespace)
    }

    /// The path of an object.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(namespace))
    }

    /// The path of the federated objects of this kind.
    pub fn federated_collection(&self, namespace: &str) -> String {
        let group = if self.group.is_empty() { "core" } else { self.group };
        collection(&format!("/apis/{group}.types.hansa.dev/v1alpha1"), &format!("federated{}", self.plural), namespace)
    }

    /// The path of a federated object of this kind.
    pub fn federated(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.federated_collection(namespace))
    }
}

fn collection(root: &str, plural: &str, namespace: &str) -> String {
    if namespace.is_empty() { format!("{root}/{plural}") } else { format!("{root}/namespaces/{namespace}/{plural}") }
}

/// What an API server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; `Null` when it is no JSON.
    pub body: Value,
    /// What was asked.
    pub asked: String,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// When it is a refusal, with the API server's words.
    pub fn ok(self) -> Result<Value> {
        ensure!(self.status < 300, "{} answers {}: {}", self.asked, self.status, self.message());
        Ok(self.body)
    }

    /// The words of a refusal.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// A user of one API server.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
}

impl Api {
    /// The user of a kubeconfig.
    ///
    /// # Errors
    /// When the kubeconfig does not read.
    pub async fn of(kubeconfig: &Path) -> Result<Self> {
        let read = Kubeconfig::read_from(kubeconfig).with_context(|| kubeconfig.display().to_string())?;
        let mut config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        // What is not there yet is asked for again by those who wait for it, and at once.
        config.default_retry = false;
        Ok(Api { client: kube::Client::try_from(config)? })
    }

    /// Sends a request, and sends it again while the API server says that it cannot serve it yet: so
    /// it answers for a moment after a definition was made.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, method: Method, path: &str, media_type: &str, body: Option<&Value>) -> Result<Answer> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.send_once(method.clone(), path, media_type, body).await?;
            if answer.status != 503 || Instant::now() > deadline {
                return Ok(answer);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn send_once(&self, method: Method, path: &str, media_type: &str, body: Option<&Value>) -> Result<Answer> {
        let asked = format!("{method} {path}");
        let exchange = async {
            let body = body.map(Value::to_string).unwrap_or_default();
            let request = http::Request::builder()
                .method(method)
                .uri(path)
                .header("accept", "application/json")
                .header("content-type", media_type)
                .body(Body::from(body.into_bytes()))?;
            let response = self.client.send(request).await?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, bytes))
        };
        let (status, bytes) = tokio::time::timeout(ANSWER, exchange)
            .await
            .with_context(|| format!("{asked}: no answer"))?
            .with_context(|| asked.clone())?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default(), asked })
    }

    /// Reads.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn look(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, "application/json", None).await
    }

    /// Reads what must be there.
    ///
    /// # Errors
    /// When it is not.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.look(path).await?.ok()
    }

    /// Reads what may be there.
    ///
    /// # Errors
    /// When the API server answers neither with it nor with its absence.
    pub async fn find(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.look(path).await?;
        if answer.status == 404 { Ok(None) } else { answer.ok().map(Some) }
    }

    /// The items of a collection.
    ///
    /// # Errors
    /// When the API server does not answer with them.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        Ok(self.get(path).await?["items"].as_array().cloned().unwrap_or_default())
    }

    /// Applies an object (server-side, strictly) as `kubectl apply --server-side` does.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn try_apply(&self, path: &str, object: &Value) -> Result<Answer> {
        let path = with_parameters(path, "fieldManager=user&fieldValidation=Strict&force=true");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", Some(object)).await
    }

    /// Applies an object that must not be refused.
    ///
    /// # Errors
    /// When it is.
    pub async fn apply(&self, path: &str, object: &Value) -> Result<Value> {
        self.try_apply(path, object).await?.ok()
    }

    /// Creates an object in a collection.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn create(&self, collection: &str, object: &Value) -> Result<Answer> {
        let path = with_parameters(collection, "fieldManager=user");
        self.send(Method::POST, &path, "application/json", Some(object)).await
    }

    /// Patches (RFC 7386), as a field manager of this name.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn patch(&self, path: &str, manager: &str, patch: &Value) -> Result<Value> {
        let path = with_parameters(path, &format!("fieldManager={manager}"));
        self.send(Method::PATCH, &path, "application/merge-patch+json", Some(patch)).await?.ok()
    }

    /// Replaces the spec of an object as a whole, whatever else writes to it meanwhile (RFC 6902).
    ///
    /// # Errors
    /// When it is refused.
    pub async fn replace_spec(&self, path: &str, spec: &Value) -> Result<Value> {
        let path = with_parameters(path, "fieldManager=user");
        let patch = json!([{"op": "replace", "path": "/spec", "value": spec}]);
        self.send(Method::PATCH, &path, "application/json-patch+json", Some(&patch)).await?.ok()
    }

    /// Deletes an object in the background.
    ///
    /// # Errors
    /// When it is refused; that it is gone already is no refusal.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        let answer = self.send(Method::DELETE, path, "application/json", Some(&options)).await?;
        if answer.status != 404 {
            answer.ok()?;
        }
        Ok(())
    }
}

fn with_parameters(path: &str, parameters: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}{parameters}")
}
