//! The API server of the cluster at hand, spoken to with the user's own rights.

mod error;
mod watch;

pub use error::CallError;

use crate::resource::Resource;
use anyhow::{Context, anyhow};
use bytes::Bytes;
use hansa_runner::api_server::one_line;
use http::header::{ACCEPT, CONTENT_TYPE, WARNING};
use http_body_util::BodyExt;
use kube::client::Body as HttpBody;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one request may take; watches have no such end.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The field manager of what users write through this program.
pub const MANAGER: &str = "hansa-cli";

/// Which cluster, and where its operator is found.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Connection {
    /// The kubeconfig; without it, that of $KUBECONFIG, ~/.kube/config, or the pod's own.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// The namespace that the operator runs in.
    #[arg(long, value_name = "NAMESPACE", env = "HANSA_SYSTEM_NAMESPACE", default_value = hansa_api::SYSTEM_NAMESPACE, help_heading = "Cluster")]
    pub system_namespace: String,
    /// Ask the operator at this URL, not through the API server's proxy.
    #[arg(long, value_name = "URL", env = "HANSA_OPERATOR", help_heading = "Cluster")]
    pub operator: Option<String>,
}

impl Connection {
    /// The cluster that it names.
    ///
    /// # Errors
    /// When there is no usable kubeconfig.
    pub async fn cluster(&self) -> anyhow::Result<Cluster> {
        let config = config(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
        let (server, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
        let client = Client::try_from(config).with_context(|| format!("the cluster at {server}"))?;
        Ok(Cluster { client, server, namespace, system_namespace: self.system_namespace.clone() })
    }
}

/// How a cluster is reached, from a kubeconfig or, in a pod, from the pod's own account.
///
/// # Errors
/// When there is none, or it does not read.
pub async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Config> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let named = |context: Option<&str>| context.map_or(String::new(), |name| format!(", context {name}"));
    let mut config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path)
                .with_context(|| format!("--kubeconfig {}: give a kubeconfig that can be read", path.display()))?;
            if let Some(context) = context.filter(|context| !has(&read, context)) {
                return Err(no_context(&format!("--kubeconfig {}", path.display()), &read, context));
            }
            Config::from_custom_kubeconfig(read, &options).await.with_context(|| {
                format!("--kubeconfig {}{}: it names no usable cluster", path.display(), named(context))
            })?
        }
        None => match Config::from_kubeconfig(&options).await {
            Ok(config) => config,
            Err(error) => match (Config::incluster(), context, Kubeconfig::read()) {
                (Ok(config), None, _) => config,
                (_, Some(context), Ok(read)) if !has(&read, context) => {
                    return Err(no_context("$KUBECONFIG or ~/.kube/config", &read, context));
                }
                _ => {
                    return Err(anyhow!(error).context(format!(
                        "no usable kubeconfig{}: name one by --kubeconfig or $KUBECONFIG",
                        named(context)
                    )));
                }
            },
        },
    };
    // Whether a request may be repeated is judged where it is made.
    config.default_retry = false;
    Ok(config)
}

fn has(kubeconfig: &Kubeconfig, context: &str) -> bool {
    kubeconfig.contexts.iter().any(|known| known.name == context)
}

fn no_context(place: &str, kubeconfig: &Kubeconfig, context: &str) -> anyhow::Error {
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|known| known.name.as_str()).collect();
    anyhow!("--context {context}: {place} has no such context, but {}", known.join(", "))
}

/// A cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// The URL of its API server.
    pub server: String,
    /// The namespace of the kubeconfig's context.
    pub namespace: String,
    /// The namespace that the operator runs in.
    pub system_namespace: String,
}

/// What is done to a resource, in the words of roles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// Make an object.
    Create,
    /// Change an object.
    Patch,
    /// Delete an object.
    Delete,
}

impl Verb {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }

    fn method(self) -> http::Method {
        match self {
            Verb::Get | Verb::List | Verb::Watch => http::Method::GET,
            Verb::Create => http::Method::POST,
            Verb::Patch => http::Method::PATCH,
            Verb::Delete => http::Method::DELETE,
        }
    }
}

/// What is sent, and how it is to be read.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Nothing.
    None,
    /// An object.
    Json(&'a Value),
    /// Fields to apply (server-side apply, KEP-555).
    Apply(&'a Value),
    /// A merge patch (RFC 7386).
    MergePatch(&'a Value),
}

impl Body<'_> {
    fn media_type(self) -> Option<&'static str> {
        match self {
            Body::None => None,
            Body::Json(_) => Some("application/json"),
            Body::Apply(_) => Some("application/apply-patch+yaml"),
            Body::MergePatch(_) => Some("application/merge-patch+json"),
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Body::None => Vec::new(),
            Body::Json(value) | Body::Apply(value) | Body::MergePatch(value) => value.to_string().into_bytes(),
        }
    }
}

/// What an API server answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The object.
    pub object: Value,
    /// What it warned of.
    pub warnings: Vec<String>,
}

impl Cluster {
    /// One request.
    ///
    /// # Errors
    /// When it is refused, with the API server's words, or cannot be sent.
    pub async fn request(
        &self,
        verb: Verb,
        resource: &Resource,
        query: &str,
        body: Body<'_>,
    ) -> Result<Answer, CallError> {
        let separator = if query.is_empty() { "" } else { "?" };
        let path = format!("{}{separator}{query}", resource.path());
        let mut request = http::Request::builder().method(verb.method()).uri(path).header(ACCEPT, "application/json");
        if let Some(media_type) = body.media_type() {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let unsent = |reason: String| CallError::unsent(verb, resource, &self.server, reason);
        let request = request.body(HttpBody::from(body.bytes())).map_err(|error| unsent(error.to_string()))?;
        let (status, warnings, bytes) = self.exchange(request).await.map_err(unsent)?;
        if status >= 300 {
            return Err(CallError::refused(verb, resource, &self.server, status, &bytes));
        }
        let object =
            serde_json::from_slice(&bytes).map_err(|error| unsent(format!("the answer does not read: {error}")))?;
        Ok(Answer { object, warnings })
    }

    async fn exchange(&self, request: http::Request<HttpBody>) -> Result<(u16, Vec<String>, Bytes), String> {
        let exchange = async {
            let response = self.client.send(request).await.map_err(|error| one_line(&error))?;
            let status = response.status().as_u16();
            let warnings = response.headers().get_all(WARNING).iter().filter_map(|value| warning(value.to_str().ok()?));
            let warnings = warnings.collect();
            let bytes = response.into_body().collect().await.map_err(|error| one_line(&error))?.to_bytes();
            Ok((status, warnings, bytes))
        };
        let late = |_| Err(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()));
        tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.unwrap_or_else(late)
    }

    /// One object.
    ///
    /// # Errors
    /// As of [`Cluster::request`].
    pub async fn get(&self, resource: &Resource) -> Result<Value, CallError> {
        self.request(Verb::Get, resource, "", Body::None).await.map(|answer| answer.object)
    }

    /// One object; `None` when it is not there, nor its kind.
    ///
    /// # Errors
    /// As of [`Cluster::request`].
    pub async fn find(&self, resource: &Resource) -> Result<Option<Value>, CallError> {
        match self.get(resource).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The objects of a collection.
    ///
    /// # Errors
    /// As of [`Cluster::request`].
    pub async fn list(&self, resource: &Resource) -> Result<Vec<Value>, CallError> {
        let answer = self.request(Verb::List, resource, "", Body::None).await?;
        Ok(match answer.object {
            Value::Object(mut list) => match list.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            _ => Vec::new(),
        })
    }

    /// A path that is no resource: discovery, OpenAPI, the proxy. Answers with status and body.
    ///
    /// # Errors
    /// When nothing is answered.
    pub async fn raw(&self, path: &str, accept: &str) -> anyhow::Result<(u16, Bytes)> {
        let request = http::Request::builder().uri(path).header(ACCEPT, accept).body(HttpBody::empty())?;
        let (status, _, bytes) = self
            .exchange(request)
            .await
            .map_err(|reason| anyhow!("{}: {reason}: check the cluster's address, and that it runs", self.server))?;
        Ok((status, bytes))
    }
}

/// The text of a `Warning` header: `299 - "text"` (RFC 7234, section 5.5).
fn warning(header: &str) -> Option<String> {
    let quoted = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(quoted.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_unquoted() {
        assert_eq!(warning(r#"299 - "unknown field \"spec.x\"""#).as_deref(), Some(r#"unknown field "spec.x""#));
        assert_eq!(warning("nothing"), None);
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let error = config(Some(Path::new("/nonexistent/kubeconfig")), None).await.unwrap_err();
        assert!(format!("{error:#}").starts_with("--kubeconfig /nonexistent/kubeconfig: "), "{error:#}");
    }
}
