//! `Request`s: what an operator is asked to do, with the user's own rights.
//!
//! A Request is made, watched until it is answered, and deleted again, with the Secret that holds an
//! answer with data.

use crate::cluster::{Body, Cluster, MANAGER, Verb};
use crate::print::{self, Output};
use crate::progress::Progress;
use crate::resource::{Resource, key_words};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_api::{Action, Arguments, ObjectKey, Phase, RequestSpec, RequestStatus};
use hansa_model::RecordKey;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// The key of the answer in its Secret.
const ANSWER: &str = "result";

/// What an operator answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// In one sentence.
    pub message: String,
    /// What it found: from the status, or from the Secret beside the Request.
    pub result: Option<Value>,
    /// It is not carried out yet: the Request stays, and the message says what it waits for.
    pub waits: bool,
}

impl Reply {
    /// Tells it: in one sentence, or as a value with the object that it is about.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn tell(&self, output: Output, key: Option<&RecordKey>) -> anyhow::Result<()> {
        let mut value = json!({"message": self.message});
        if let Some(key) = key {
            value["object"] = json!(key);
        }
        if let Some(result) = &self.result {
            value["result"] = result.clone();
        }
        print::done(output, &value, &self.message)
    }
}

/// An action as it is typed.
fn command(action: Action) -> &'static str {
    match action {
        Action::Delete => "delete",
        Action::HomeMove => "home move",
        Action::Confirm => "confirm",
        Action::Output => "output",
        Action::Explain => "explain",
        Action::Plan => "plan",
        Action::RotateKeys => "keys rotate",
    }
}

/// What an action is about: an object, or the league.
pub fn spec(action: Action, key: Option<&RecordKey>, arguments: Arguments) -> RequestSpec {
    let object = key.map(|key| ObjectKey {
        resource: key.type_name.clone(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
    });
    let arguments = (arguments != Arguments::default()).then_some(arguments);
    RequestSpec { action, object, arguments }
}

/// Asks the cluster's operator, and waits for its answer.
///
/// # Errors
/// When the user may not ask, the operator refuses, or does not answer in time.
pub async fn ask(cluster: &Cluster, spec: &RequestSpec, patience: Duration) -> anyhow::Result<Reply> {
    let _progress = Progress::spinner(format!("{}: the operator is asked", words(spec)));
    exchange(cluster, spec, patience, |_| ()).await
}

fn words(spec: &RequestSpec) -> String {
    match &spec.object {
        Some(object) => format!("{} {}", command(spec.action), key_words(&object.record_key())),
        None => command(spec.action).to_owned(),
    }
}

/// The same without a word; `made` is told the uid of the Request.
///
/// # Errors
/// When the user may not ask, the operator refuses, or does not answer in time.
pub async fn exchange(
    cluster: &Cluster,
    spec: &RequestSpec,
    patience: Duration,
    made: impl FnOnce(&str),
) -> anyhow::Result<Reply> {
    let what = words(spec);
    // Beside the object, so that the rights in its namespace are enough; what is about no namespace
    // goes to the operator's own.
    let namespace = match &spec.object {
        Some(object) if !object.namespace.is_empty() => object.namespace.clone(),
        _ => cluster.system_namespace.clone(),
    };
    let collection = Resource::own("requests").in_namespace(&namespace);
    let body = json!({
        "apiVersion": format!("{}/{}", hansa_api::GROUP, hansa_api::VERSION),
        "kind": "Request",
        "metadata": {"generateName": format!("{}-", spec.action.as_str().to_ascii_lowercase()), "namespace": namespace},
        "spec": spec,
    });
    let object = cluster
        .request(Verb::Create, &collection, &format!("fieldManager={MANAGER}"), Body::Json(&body))
        .await
        .context(what.clone())?
        .object;
    let request = collection.named(object["metadata"]["name"].as_str().unwrap_or_default());
    let uid = &object["metadata"]["uid"];
    made(uid.as_str().unwrap_or_default());
    let answered = tokio::select! {
        answered = answer(cluster, &request, patience) => answered,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; the request is withdrawn, and may have been carried out")),
    };
    if let Ok(Reply { waits: true, .. }) = &answered {
        return answered;
    }
    let withdrawal = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
    // The operator removes answered requests in the end: a failure here is not the user's concern.
    let _ = cluster.request(Verb::Delete, &request, "", Body::Json(&withdrawal)).await;
    answered.context(what)
}

async fn answer(cluster: &Cluster, request: &Resource, patience: Duration) -> anyhow::Result<Reply> {
    let judge = |object: Option<&Value>| match object {
        None => Some(None),
        Some(object) => {
            let status: RequestStatus = serde_json::from_value(object["status"].clone()).unwrap_or_default();
            // What waits for something says so, and is carried out when that has come.
            (status.phase != Phase::Pending || status.message.is_some()).then_some(Some(status))
        }
    };
    let status = match cluster.until(request, Instant::now() + patience, judge).await? {
        Some(Some(status)) => status,
        Some(None) => bail!("somebody deleted {request} before it was answered"),
        None => bail!(
            "the operator of this cluster has not answered within {} s: is it running (`hansa status`)? The request is withdrawn",
            patience.as_secs()
        ),
    };
    let message = status.message.unwrap_or_default();
    if status.phase == Phase::Refused {
        bail!("refused: {message}");
    }
    let result = match &status.result_secret {
        Some(name) => Some(secret(cluster, request.namespace(), name).await?),
        None => status.result,
    };
    Ok(Reply { message, result, waits: status.phase == Phase::Pending })
}

async fn secret(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Value> {
    let resource = Resource::new("", "v1", "secrets").in_namespace(namespace).named(name);
    let secret = cluster.get(&resource).await?;
    let encoded = secret["data"][ANSWER].as_str().with_context(|| format!("{resource}: data.{ANSWER} is missing"))?;
    let bytes = STANDARD.decode(encoded).with_context(|| format!("{resource}: data.{ANSWER}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{resource}: data.{ANSWER}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_it_is_about() {
        let key: RecordKey = "deployments.apps/shop/web".parse().unwrap();
        let arguments = Arguments { member: Some("gcp".parse().unwrap()), ..Arguments::default() };
        assert_eq!(
            serde_json::to_value(spec(Action::HomeMove, Some(&key), arguments)).unwrap(),
            json!({
                "action": "HomeMove",
                "object": {"resource": "deployments.apps", "namespace": "shop", "name": "web"},
                "arguments": {"member": "gcp"},
            })
        );
        let namespace = spec(Action::Delete, Some(&"namespaces//shop".parse().unwrap()), Arguments::default());
        assert_eq!(
            serde_json::to_value(namespace).unwrap()["object"],
            json!({"resource": "namespaces", "name": "shop"})
        );
    }
}
