//! One leader at a time among an operator's replicas: a `coordination.k8s.io` Lease in its cluster.
//!
//! The Lease keeps two processes from doing the same work; it is no fence (see the uid and
//! resourceVersion preconditions of every write). Times of other machines are not compared: a
//! challenger waits until the Lease has not changed for its whole duration on its own clock.

use crate::api_server::call;
use crate::clock;
use bytes::Bytes;
use hansa_operator::{ApiAnswer, ApiRequest, ContentType, Method};
use kube::Client;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// The name of the Lease.
pub const NAME: &str = "hansa-operator";

/// How long a leader that has stopped keeps the others waiting.
const DURATION: Duration = Duration::from_secs(15);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(5);

/// How long a leader goes on that cannot renew it. An API server that is away is no reason to stop: nobody else can take
/// the Lease there either, and the writes fail with it. But another replica may still reach it.
const LONGEST: Duration = Duration::from_secs(300);

/// How long a candidate bears to be forbidden the Lease. An API server that has just started forbids everything that
/// roles allow, until it has read them.
const FORBIDDEN: Duration = Duration::from_secs(30);

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
        let mut unchanged = Unchanged::default();
        let mut forbidden: Option<Instant> = None;
        loop {
            match self.attempt(&mut unchanged).await {
                Ok(true) => return Ok(()),
                Ok(false) => forbidden = None,
                Err((status, why)) => {
                    unchanged = Unchanged::default();
                    forbidden = forbidden.or_else(|| Some(Instant::now())).filter(|_| status == Some(403));
                    if forbidden.is_some_and(|since| since.elapsed() > FORBIDDEN) {
                        return Err(why);
                    }
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes the Lease if it may be taken.
    async fn attempt(&self, unchanged: &mut Unchanged) -> Result<bool, Refused> {
        let found = call(&self.client, &ApiRequest::get(format!("{}/{NAME}", self.path()))).await;
        let answer = found.map_err(|why| (None, why))?;
        if answer.status == 404 {
            return self.make().await.map(|()| true);
        }
        let lease: Value = serde_json::from_slice(&accepted(answer)?).unwrap_or_default();
        let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let stands_since = unchanged.since(&version, Instant::now());
        if !holder.is_empty() && holder != self.identity && stands_since.elapsed() < DURATION {
            return Ok(false);
        }
        let transitions = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0) + 1;
        self.write(transitions, &version).await.map(|()| true)
    }

    /// Renews until leadership is lost; gives why. A Lease that somebody deleted is made anew, unless another replica was
    /// first.
    pub async fn hold(&self) -> String {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RENEWAL).await;
            let found = call(&self.client, &ApiRequest::get(format!("{}/{NAME}", self.path()))).await;
            let answer = match Found::of(&found, &self.identity) {
                Found::Ours { transitions, version } => self.write(transitions, &version).await,
                Found::Nowhere => self.make().await,
                Found::Theirs { holder } => return format!("{holder} holds it now"),
                Found::Unknown { why } => Err((None, why)),
            };
            match answer {
                Ok(()) => renewed = Instant::now(),
                Err((_, why)) if renewed.elapsed() > LONGEST => {
                    return format!("it could not be renewed for {} s: {why}", LONGEST.as_secs());
                }
                Err(_) => {}
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

    async fn make(&self) -> Result<(), Refused> {
        self.send(ApiRequest::write(Method::Post, self.path(), ContentType::Json, &self.body(0, None))).await
    }

    async fn write(&self, transitions: u64, version: &str) -> Result<(), Refused> {
        let body = self.body(transitions, Some(version));
        let path = format!("{}/{NAME}", self.path());
        self.send(ApiRequest::write(Method::Patch, path, ContentType::MergePatch, &body)).await
    }

    async fn send(&self, request: ApiRequest) -> Result<(), Refused> {
        accepted(call(&self.client, &request).await.map_err(|why| (None, why))?).map(drop)
    }
}

/// Since when a candidate sees the Lease stand unchanged. It begins anew when the API server did not answer: its holder
/// could not renew it meanwhile.
#[derive(Default)]
struct Unchanged(Option<(String, Instant)>);

impl Unchanged {
    fn since(&mut self, version: &str, now: Instant) -> Instant {
        match &self.0 {
            Some((seen, since)) if seen == version => *since,
            _ => self.0.insert((version.to_owned(), now)).1,
        }
    }
}

/// Why the API server did not do it: the status, if it answered, and its words.
type Refused = (Option<u16>, String);

/// The body of an answer that is none of refusal.
fn accepted(answer: ApiAnswer) -> Result<Bytes, Refused> {
    if answer.status < 300 {
        return Ok(answer.body);
    }
    Err((Some(answer.status), hansa_operator::feed::message_of(&answer.body)))
}

/// The Lease as its holder finds it.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Ours {
        transitions: u64,
        version: String,
    },
    /// Somebody deleted it.
    Nowhere,
    Theirs {
        holder: String,
    },
    /// The API server did not say.
    Unknown {
        why: String,
    },
}

impl Found {
    fn of(answer: &Result<ApiAnswer, String>, identity: &str) -> Found {
        let answer = match answer {
            Ok(answer) if answer.status == 404 => return Found::Nowhere,
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => return Found::Unknown { why: hansa_operator::feed::message_of(&answer.body) },
            Err(why) => return Found::Unknown { why: why.clone() },
        };
        let lease: Value = match serde_json::from_slice(&answer.body) {
            Ok(lease) => lease,
            Err(error) => return Found::Unknown { why: format!("the Lease does not read: {error}") },
        };
        match lease["spec"]["holderIdentity"].as_str().unwrap_or_default() {
            holder if holder == identity => Found::Ours {
                transitions: lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0),
                version: lease["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned(),
            },
            "" => Found::Theirs { holder: "nobody, for it was given back,".to_owned() },
            holder => Found::Theirs { holder: holder.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &Value) -> Result<ApiAnswer, String> {
        Ok(ApiAnswer { status, body: body.to_string().into() })
    }

    #[test]
    fn a_holder_knows_its_lease_from_one_that_is_gone_or_taken() {
        let of = |holder: &str| json!({"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": holder, "leaseTransitions": 3}});
        let found = |answer| Found::of(&answer, "a");
        assert_eq!(found(answer(200, &of("a"))), Found::Ours { transitions: 3, version: "7".to_owned() });
        assert_eq!(found(answer(404, &json!({"message": "not found"}))), Found::Nowhere);
        assert_eq!(found(answer(200, &of("b"))), Found::Theirs { holder: "b".to_owned() });
        // Not known, hence no reason to stop yet.
        assert_eq!(found(answer(403, &json!({"message": "no"}))), Found::Unknown { why: "no".to_owned() });
        assert_eq!(found(Err("refused".to_owned())), Found::Unknown { why: "refused".to_owned() });
    }

    #[test]
    fn a_candidate_counts_only_while_it_sees_the_lease_unchanged() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut unchanged = Unchanged::default();
        assert_eq!(unchanged.since("7", at(0)), at(0));
        assert_eq!(unchanged.since("7", at(9)), at(0));
        assert_eq!(unchanged.since("8", at(10)), at(10), "it was renewed");
        // The API server was away: whoever holds the Lease could not renew it either.
        unchanged = Unchanged::default();
        assert_eq!(unchanged.since("8", at(60)), at(60));
    }
}
