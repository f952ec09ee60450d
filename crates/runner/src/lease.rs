//! One leader at a time among an operator's replicas: a `coordination.k8s.io` Lease in its cluster.
//!
//! The Lease keeps two processes from doing the same work; it is no fence (see the uid and
//! resourceVersion preconditions of every write). Times of other machines are not compared: a
//! challenger waits until the Lease has not changed for its whole duration on its own clock.

use crate::api_server::call;
use crate::clock;
use hansa_operator::{ApiRequest, ContentType, Method};
use kube::Client;
use serde_json::{Value, json};
use std::time::Duration;

/// The name of the Lease.
pub const NAME: &str = "hansa-operator";

/// How long a leader that has stopped keeps the others waiting.
const DURATION: Duration = Duration::from_secs(15);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(5);

/// A place in the line for leadership.
pub struct Candidate {
    client: Client,
    namespace: String,
    identity: String,
}

impl Candidate {
    /// A candidate of this identity, unique to the process.
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Candidate { client, namespace: namespace.to_owned(), identity }
    }

    fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    fn body(&self, transitions: u64, resource_version: Option<&str>) -> Value {
        let time = hansa_operator::report::rfc3339(clock::now().wall_ms).replace('Z', ".000000Z");
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": NAME, "namespace": self.namespace, "resourceVersion": resource_version},
            "spec": {
                "holderIdentity": self.identity, "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": time, "renewTime": time, "leaseTransitions": transitions,
            },
        })
    }

    /// Waits until this process leads.
    ///
    /// # Errors
    /// When the API server refuses the Lease for good (no rights).
    pub async fn acquire(&self) -> Result<(), String> {
        let mut watched: Option<(String, tokio::time::Instant)> = None;
        loop {
            let found = call(&self.client, &ApiRequest::get(format!("{}/{NAME}", self.path()))).await;
            match found {
                Ok(answer) if answer.status == 404 => {
                    let request = ApiRequest::write(Method::Post, self.path(), ContentType::Json, &self.body(0, None));
                    let made = call(&self.client, &request).await;
                    match made {
                        Ok(made) if made.status < 300 => return Ok(()),
                        Ok(made) if made.status == 403 => return Err(hansa_operator::feed::message_of(&made.body)),
                        _ => {}
                    }
                }
                Ok(answer) if answer.status == 200 => {
                    let lease: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
                    let since = match &watched {
                        Some((seen, since)) if *seen == version => *since,
                        _ => tokio::time::Instant::now(),
                    };
                    watched = Some((version.clone(), since));
                    if holder.is_empty() || holder == self.identity || since.elapsed() >= DURATION {
                        let transitions = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0) + 1;
                        if self.write(transitions, &version).await.is_some() {
                            return Ok(());
                        }
                    }
                }
                Ok(answer) if answer.status == 403 => return Err(hansa_operator::feed::message_of(&answer.body)),
                _ => {}
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Renews until leadership is lost: another holder took it, or it could not be renewed in time.
    pub async fn hold(&self) {
        let mut renewed = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(RENEWAL).await;
            let found = call(&self.client, &ApiRequest::get(format!("{}/{NAME}", self.path()))).await;
            if let Ok(answer) = found
                && answer.status == 200
            {
                let lease: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                if lease["spec"]["holderIdentity"] != json!(self.identity) {
                    return;
                }
                let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                let transitions = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0);
                if self.write(transitions, &version).await.is_some() {
                    renewed = tokio::time::Instant::now();
                }
            }
            // An unreachable API server is no reason to stop: nobody else can take the Lease there
            // either, and the writes fail with it. A process that slept past its duration does stop.
            if renewed.elapsed() > DURATION * 20 {
                return;
            }
        }
    }

    /// Lets the next one lead at once.
    pub async fn release(&self) {
        let found = call(&self.client, &ApiRequest::get(format!("{}/{NAME}", self.path()))).await;
        if let Ok(answer) = found
            && let Ok(lease) = serde_json::from_slice::<Value>(&answer.body)
            && lease["spec"]["holderIdentity"] == json!(self.identity)
        {
            let body = json!({"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": {"holderIdentity": ""}});
            let path = format!("{}/{NAME}", self.path());
            // Best effort: the Lease runs out by itself.
            let _ = call(&self.client, &ApiRequest::write(Method::Patch, path, ContentType::MergePatch, &body)).await;
        }
    }

    async fn write(&self, transitions: u64, version: &str) -> Option<()> {
        let body = self.body(transitions, Some(version));
        let path = format!("{}/{NAME}", self.path());
        let answer =
            call(&self.client, &ApiRequest::write(Method::Patch, path, ContentType::MergePatch, &body)).await.ok()?;
        (answer.status < 300).then_some(())
    }
}
