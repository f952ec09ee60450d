//! Health, readiness, metrics, and answers without data, over plain HTTP on one address.
//!
//! Whoever asks cannot be known here (the API server's proxy strips it), so nothing that an object
//! contains is ever answered.

use hansa_model::RecordKey;
use hansa_operator::{Question, Selection};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// A question on its way to the operator, with where the answer goes.
pub type Asked = (Question, oneshot::Sender<Value>);

/// Who has answered the plan of a Request: the path goes on with the Request's uid.
const PLAN: &str = "/read/plan/";

/// What the sockets answer from.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// To the operator's loop; left without an answer while this process does not lead.
    pub questions: mpsc::Sender<Asked>,
    /// What is added to the metrics: text in the Prometheus format.
    pub extra_metrics: fn() -> String,
}

/// Serves until it is dropped.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    endpoints: Endpoints,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let task = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let endpoints = endpoints.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(endpoints.clone(), request));
                // A client that goes away in the middle is its own affair.
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok((bound, task))
}

async fn answer(endpoints: Endpoints, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let query: Vec<(String, String)> = form_urlencoded::parse(query).into_owned().collect();
    let value =
        |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let question = match path.as_str() {
        "/healthz" => return Ok(text(StatusCode::OK, "ok".to_owned())),
        "/readyz" | "/read/health" => Question::Health,
        "/metrics" | "/read/metrics" => Question::Metrics,
        "/read/members" => Question::Members,
        "/read/held" => Question::Held,
        "/read/ballots" => Question::Ballots,
        "/read/objects" => Question::Objects {
            homeless: value("homeless") == "true",
            select: Selection { type_name: value("type"), namespace: value("namespace"), name: value("name") },
        },
        "/read/explain" => match value("key").parse::<RecordKey>() {
            Ok(key) => Question::Explain { key },
            Err(error) => return Ok(text(StatusCode::BAD_REQUEST, format!("key: {error}"))),
        },
        path if path.starts_with(PLAN) => Question::Plan { request: path[PLAN.len()..].to_owned() },
        _ => return Ok(text(StatusCode::NOT_FOUND, format!("there is no {path} here"))),
    };
    let (sender, receiver) = oneshot::channel();
    let answered = match endpoints.questions.send((question, sender)).await {
        Ok(()) => receiver.await.ok(),
        Err(_) => None,
    };
    Ok(match (path.as_str(), answered) {
        // A standby is ready: it can take over.
        ("/readyz", None) => text(StatusCode::OK, "standby".to_owned()),
        ("/readyz", Some(health)) if health["ready"] == true => text(StatusCode::OK, "ready".to_owned()),
        ("/readyz", Some(health)) => text(StatusCode::SERVICE_UNAVAILABLE, health.to_string()),
        ("/metrics", answered) => text(StatusCode::OK, prometheus(answered.as_ref(), &(endpoints.extra_metrics)())),
        (_, None) => text(StatusCode::SERVICE_UNAVAILABLE, "this replica is on standby: ask the leader".to_owned()),
        (_, Some(answer)) => json_answer(&answer),
    })
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body + "\n")));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json_answer(answer: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

/// The operator's counters in the Prometheus text format (OpenMetrics 1.0 names).
fn prometheus(metrics: Option<&Value>, extra: &str) -> String {
    const TEXTS: [(&str, &str, &str, &str); 16] = [
        ("applies", "hansa_outputs_applied_total", "counter", "Outputs applied to the member's API server."),
        ("deletes", "hansa_outputs_deleted_total", "counter", "Outputs deleted from the member's API server."),
        ("homeWrites", "hansa_home_writes_total", "counter", "Finalizers and statuses written on federated objects."),
        ("topoWrites", "hansa_topo_writes_total", "counter", "Values written to the topology server."),
        ("failures", "hansa_failures_total", "counter", "Requests that were refused or failed."),
        ("events", "hansa_events_total", "counter", "Kubernetes Events written."),
        (
            "eventsDropped",
            "hansa_events_dropped_total",
            "counter",
            "Kubernetes Events held back because there were too many at once.",
        ),
        ("strays", "hansa_strays", "gauge", "Objects with the league's label that no record places here."),
        ("homeObjects", "hansa_home_objects", "gauge", "Federated objects of this member."),
        ("records", "hansa_records", "gauge", "Records of the league."),
        ("outputs", "hansa_outputs", "gauge", "Outputs in this member."),
        ("apiServerAway", "hansa_api_server_away", "gauge", "Whether the member's own API server cannot be used."),
        ("topologyAway", "hansa_topology_server_away", "gauge", "Whether the topology server cannot be used."),
        (
            "topologyReplaced",
            "hansa_topology_server_replaced",
            "gauge",
            "Whether another store stands where the league's topology server stood, so that all is frozen.",
        ),
        (
            "topologyRolledBack",
            "hansa_topology_server_rolled_back",
            "gauge",
            "Whether the topology server shows an earlier or another history than was seen, so that all is frozen.",
        ),
        (
            "topologyUnreadable",
            "hansa_topology_server_unreadable",
            "gauge",
            "Values and records in the topology server that this operator cannot read, and leaves as they are.",
        ),
    ];
    let mut out = format!(
        "# HELP hansa_leader Whether this replica acts.\n# TYPE hansa_leader gauge\nhansa_leader {}\n",
        u8::from(metrics.is_some())
    );
    for (field, name, kind, help) in TEXTS {
        let value = metrics.map_or(&json!(0), |metrics| &metrics[field]).as_u64().unwrap_or(0);
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    }
    let rejected = "hansa_ballots_rejected_total";
    out.push_str(&format!(
        "# HELP {rejected} What did not count in the control document, by why and whom it would have spoken for.\n# TYPE {rejected} counter\n"
    ));
    for (why, count) in metrics.and_then(|metrics| metrics["ballotsRejected"].as_object()).into_iter().flatten() {
        for (who, count) in count.as_object().into_iter().flatten() {
            out.push_str(&format!("{rejected}{{why=\"{why}\",who=\"{who}\"}} {count}\n"));
        }
    }
    out.push_str(extra);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_help_and_type() {
        let rejected = json!({"forged": {"gcp-euw4": 2}});
        let text = prometheus(Some(&json!({"applies": 3, "ballotsRejected": rejected})), "");
        assert!(text.contains("hansa_ballots_rejected_total{why=\"forged\",who=\"gcp-euw4\"} 2\n"), "{text}");
        assert!(
            text.contains("hansa_leader 1\n")
                && text.contains("# TYPE hansa_outputs_applied_total counter\nhansa_outputs_applied_total 3\n")
        );
    }
}
