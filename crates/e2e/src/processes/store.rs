//! What etcd itself says, without Hansa's client of it: who leads, and every value that ever stood under a key.
//!
//! It is asked through the JSON gateway that every node serves beside gRPC; 64-bit numbers come as text there.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// No answer, and no part of one, takes longer.
const ANSWER: Duration = Duration::from_secs(10);

/// A node that leads says so sooner; one that is stopped says nothing.
const SOON: Duration = Duration::from_secs(1);

/// All values of all keys below a prefix, in the order in which they were written.
pub type History = BTreeMap<String, Vec<Vec<u8>>>;

/// A node.
pub struct Gateway {
    client: kube::Client,
    host: String,
}

impl Gateway {
    /// The node that serves clients at `HOST:PORT`.
    ///
    /// # Errors
    /// When that is no address.
    pub fn of(host: &str) -> Result<Self> {
        let mut config = kube::Config::new(format!("http://{host}").parse()?);
        config.default_retry = false;
        Ok(Gateway { client: kube::Client::try_from(config)?, host: host.to_owned() })
    }

    async fn post(&self, path: &str, question: &Value) -> Result<http::Response<Body>> {
        let request = http::Request::post(path).body(Body::from(question.to_string().into_bytes()))?;
        let answer = tokio::time::timeout(ANSWER, self.client.send(request)).await;
        let answer = answer.with_context(|| format!("{}{path}: no answer", self.host))??;
        ensure!(answer.status().is_success(), "{}{path} answers {}", self.host, answer.status());
        Ok(answer)
    }

    async fn ask(&self, path: &str, question: &Value) -> Result<Value> {
        let body = self.post(path, question).await?.into_body();
        let bytes = tokio::time::timeout(ANSWER, body.collect()).await??.to_bytes();
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Whether this node leads, as it sees it itself.
    ///
    /// # Errors
    /// When it does not answer soon.
    pub async fn leads(&self) -> Result<bool> {
        let asked = json!({});
        let status = tokio::time::timeout(SOON, self.ask("/v3/maintenance/status", &asked)).await??;
        Ok(status["leader"].is_string() && status["leader"] == status["header"]["member_id"])
    }

    /// Everything that was ever written below `prefix`, which ends in a slash.
    ///
    /// # Errors
    /// When the node does not answer, or has forgotten a part of it.
    pub async fn history(&self, prefix: &str) -> Result<History> {
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let bounds = |mut of: Value| {
            of["key"] = json!(STANDARD.encode(prefix));
            of["range_end"] = json!(STANDARD.encode(&end));
            of
        };
        let newest = bounds(json!({"limit": 1, "keys_only": true, "sort_order": "DESCEND", "sort_target": "MOD"}));
        let newest = self.ask("/v3/kv/range", &newest).await?;
        let last = number(&newest["kvs"][0]["mod_revision"]).context("nothing stands there")?;
        let watch = json!({"create_request": bounds(json!({"start_revision": "1", "fragment": true}))});
        let mut body = self.post("/v3/watch", &watch).await?.into_body();
        let (mut history, mut unread, mut reached) = (History::new(), Vec::new(), 0);
        while reached < last {
            let frame = tokio::time::timeout(ANSWER, body.frame()).await.context("the history does not go on")?;
            let Some(frame) = frame else { bail!("the history ends at {reached} of {last}") };
            unread.extend_from_slice(frame?.data_ref().map(|data| &data[..]).unwrap_or_default());
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = unread.drain(..=end).collect();
                let told: Value = serde_json::from_slice(&line)?;
                let told = &told["result"];
                ensure!(told["canceled"] != true, "the history is not told: {told}");
                for event in told["events"].as_array().into_iter().flatten() {
                    let stored = &event["kv"];
                    let bytes = |field: &str| STANDARD.decode(stored[field].as_str().unwrap_or_default());
                    let key = String::from_utf8(bytes("key")?)?;
                    ensure!(event["type"].is_null() || event["type"] == "PUT", "{key} was deleted");
                    reached = number(&stored["mod_revision"]).context("an event has a revision")?;
                    history.entry(key).or_default().push(bytes("value")?);
                }
            }
        }
        Ok(history)
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}
