//! What the cluster's operator tells everyone who may reach it: no contents of objects.

use crate::cluster::{Cluster, Connection};
use crate::key::Source;
use crate::kinds::Kind;
use crate::resource::encode;
use anyhow::{Context, anyhow, bail};
use hansa_api::OPERATOR;
use hansa_api::rbac::READER;
use hansa_model::RecordKey;
use hansa_runner::api_server::one_line;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::{Client, Config};
use serde_json::Value;
use std::time::Duration;

/// The name of the port of the operator's Service.
const PORT: &str = "http";

/// How often a standby is passed over. The API server's proxy chooses among the replicas by chance;
/// with two of them, one in a million tries ends without the leader.
const TRIES: u32 = 20;

/// How long an operator may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The way to an operator's answers.
#[derive(Clone)]
pub enum Reads {
    /// Through the API server's proxy.
    Proxy(Cluster),
    /// To the operator itself.
    Direct {
        /// Speaks with it.
        client: Client,
        /// Its URL.
        url: String,
    },
}

/// Which objects are asked for; empty fields do not select.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// The type.
    pub type_name: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Only those that no member keeps.
    pub homeless: bool,
}

impl Selection {
    fn query(&self) -> String {
        let fields = [("type", &self.type_name), ("namespace", &self.namespace), ("name", &self.name)];
        let mut query: Vec<String> = fields
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        if self.homeless {
            query.push("homeless=true".to_owned());
        }
        query.join("&")
    }
}

impl Reads {
    /// The way that the user chose.
    ///
    /// # Errors
    /// When there is no usable kubeconfig, or the URL is none.
    pub async fn open(connection: &Connection) -> anyhow::Result<Self> {
        match &connection.operator {
            None => Ok(Reads::Proxy(connection.cluster().await?)),
            Some(url) => {
                let parsed: http::Uri = url
                    .parse()
                    .ok()
                    .filter(|uri: &http::Uri| uri.scheme().is_some() && uri.host().is_some())
                    .with_context(|| format!("--operator {url}: a URL is expected, such as http://127.0.0.1:10250"))?;
                let mut config = Config::new(parsed);
                config.default_retry = false;
                Ok(Reads::Direct { client: Client::try_from(config)?, url: url.clone() })
            }
        }
    }

    /// The cluster that is asked through; `None` when the operator is asked itself.
    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Reads::Proxy(cluster) => Some(cluster),
            Reads::Direct { .. } => None,
        }
    }

    /// How the operator is.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn health(&self) -> anyhow::Result<Value> {
        self.ask("health", "").await
    }

    /// Its counters.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn metrics(&self) -> anyhow::Result<Value> {
        self.ask("metrics", "").await
    }

    /// The members as it sees them.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn members(&self) -> anyhow::Result<Vec<Value>> {
        self.ask("members", "").await.map(items)
    }

    /// What waits for a confirmation.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn held(&self) -> anyhow::Result<Vec<Value>> {
        self.ask("held", "").await.map(items)
    }

    /// The league's ballots at a glance; null before the operator has read them.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn ballots(&self) -> anyhow::Result<Value> {
        self.ask("ballots", "").await
    }

    /// The federated objects, by namespace, type and name.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn objects(&self, select: &Selection) -> anyhow::Result<Vec<Value>> {
        let mut objects = self.ask("objects", &select.query()).await.map(items)?;
        let key =
            |row: &Value| ["namespace", "type", "name"].map(|field| row[field].as_str().unwrap_or_default().to_owned());
        objects.sort_by_cached_key(key);
        Ok(objects)
    }

    /// The kinds of the federated types that are installed, as the operator knows them.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn kinds(&self) -> anyhow::Result<Vec<Kind>> {
        let health = self.health().await?;
        let kind = |entry: &Value| {
            let kind = entry["kind"].as_str()?;
            Some(Kind {
                type_name: entry["type"].as_str()?.parse().ok()?,
                versions: vec![entry["version"].as_str()?.to_owned()],
                kind: kind.to_owned(),
                singular: kind.to_ascii_lowercase(),
                short_names: Vec::new(),
                namespaced: entry["namespaced"].as_bool()?,
            })
        };
        Ok(health["types"].as_array().into_iter().flatten().filter_map(kind).collect())
    }

    /// Who knows the kinds that are not built in.
    pub fn source(&self) -> Source<'_> {
        match self {
            Reads::Proxy(cluster) => Source::Cluster(cluster),
            Reads::Direct { .. } => Source::Operator(self),
        }
    }

    /// Why each member has an object.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn explain(&self, key: &RecordKey) -> anyhow::Result<Value> {
        self.ask("explain", &format!("key={}", encode(&key.to_string()))).await
    }

    /// The members whose word about a plan is waited for; `request`: the uid of the Request for it.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn plan_awaits(&self, request: &str) -> anyhow::Result<Vec<String>> {
        let progress = self.ask(&format!("plan/{}", encode(request)), "").await?;
        let members = progress["members"].as_object().into_iter().flatten();
        Ok(members.filter(|(_, state)| *state == "Awaited").map(|(member, _)| member.clone()).collect())
    }

    async fn ask(&self, what: &str, query: &str) -> anyhow::Result<Value> {
        let separator = if query.is_empty() { "" } else { "?" };
        let path = format!("/read/{what}{separator}{query}");
        for _ in 0..TRIES {
            let (status, body) = match self {
                Reads::Proxy(cluster) => {
                    let prefix = proxy_path(&cluster.system_namespace);
                    cluster.raw(&format!("{prefix}{path}"), "application/json").await?
                }
                Reads::Direct { client, url } => direct(client, &path).await.map_err(|reason| {
                    anyhow!("--operator {url}: {reason}: check the address, and that the operator runs")
                })?,
            };
            if status == 200 {
                return serde_json::from_slice(&body).with_context(|| format!("the operator's answer to {path}"));
            }
            let words = message(&body);
            let is_standby = status == 503 && words.contains("standby");
            if !is_standby {
                bail!("{}", self.explain_status(&path, status, &words));
            }
        }
        bail!("no replica of the operator leads: the Lease is waited for, try again in a while")
    }

    fn explain_status(&self, path: &str, status: u16, words: &str) -> String {
        let Reads::Proxy(cluster) = self else {
            return format!("the operator answers {status} to {path}: {words}");
        };
        let namespace = &cluster.system_namespace;
        let service = format!("Service {namespace}/{OPERATOR}");
        match status {
            401 => format!("the API server does not know who you are: {words}: log in again"),
            403 => format!(
                "{words}: the operator is asked through the API server's proxy, so ask for the ClusterRole {READER} (the verb get on services/proxy in namespace {namespace}), or use --operator URL"
            ),
            404 if words.contains("services") => format!(
                "{words}: the operator is asked through the {service}: install it (`hansa manifests`), say where it is (--system-namespace), or use --operator URL"
            ),
            502..=504 => format!("{service}: {words}: is the operator running in this cluster?"),
            _ => format!("{service} answers {status} to {path}: {words}"),
        }
    }
}

/// Where the API server's proxy has the operator.
fn proxy_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{}/services/{OPERATOR}:{PORT}/proxy", encode(namespace))
}

async fn direct(client: &Client, path: &str) -> Result<(u16, bytes::Bytes), String> {
    let request = http::Request::builder().uri(path).body(Body::empty()).map_err(|error| error.to_string())?;
    let exchange = async {
        let response = client.send(request).await.map_err(|error| one_line(&error))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| one_line(&error))?.to_bytes();
        Ok((status, body))
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
}

/// The words of an answer: of an API server's `Status`, or plain text.
fn message(body: &[u8]) -> String {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    match status["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).trim().chars().take(500).collect(),
    }
}

fn items(answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_api::manifests::{Options, manifests};

    #[test]
    fn the_proxys_path_names_the_service_of_the_manifests() {
        let options = Options::new("a".parse().unwrap(), "etcd://topo:2379/hansa", "hansa:1");
        let objects = manifests(&options);
        let service = objects.iter().find(|object| object["kind"] == "Service").unwrap();
        assert_eq!(service["metadata"]["name"], OPERATOR);
        assert_eq!(service["spec"]["ports"][0]["name"], PORT);
        assert_eq!(proxy_path("hansa-system"), "/api/v1/namespaces/hansa-system/services/hansa-operator:http/proxy");
    }

    #[test]
    fn selections_are_encoded() {
        let selection = Selection {
            type_name: "deployments.apps".into(),
            name: "a&b".into(),
            homeless: true,
            ..Selection::default()
        };
        assert_eq!(selection.query(), "type=deployments.apps&name=a%26b&homeless=true");
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_named() {
        let connection = Connection { operator: Some("nonsense".into()), ..Connection::default() };
        let error = Reads::open(&connection).await.err().unwrap();
        assert!(error.to_string().starts_with("--operator nonsense: "), "{error}");
    }
}
