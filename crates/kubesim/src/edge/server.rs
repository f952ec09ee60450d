//! Connections: TLS, HTTP/1.1 and HTTP/2, and requests into the core's form and back.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::body::Body;
use super::hub::{self, Hub};
use super::{proxy, stream};
use crate::core::error::ApiError;
use crate::core::http::{self, Reply, Request, Response, User};

/// Bodies above this size are not read at all; the core refuses smaller ones by itself.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// Accepts connections until the server stops.
pub async fn accept(listener: TcpListener, tls: Arc<ServerConfig>, hub: Arc<Hub>, mut stopped: watch::Receiver<bool>) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    let stop = stopped.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, acceptor.clone(), hub.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = hub::stop(&mut stopped) => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, hub: Arc<Hub>, stopped: watch::Receiver<bool>) {
    // Small answers go out at once; a socket that refuses works, only slower.
    let _ = socket.set_nodelay(true);
    let secured = match acceptor.accept(socket).await {
        Ok(secured) => secured,
        Err(error) => return tracing::debug!(%error, "no TLS"),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1000);
    let service = service_fn(move |request| {
        let (hub, stopped) = (hub.clone(), stopped.clone());
        async move { Ok::<_, Infallible>(respond(&hub, request, stopped).await) }
    });
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(secured), service).await {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn respond(
    hub: &Arc<Hub>,
    request: hyper::Request<Incoming>,
    stopped: watch::Receiver<bool>,
) -> hyper::Response<Body> {
    let (parts, incoming) = request.into_parts();
    let path = http::decode_path(parts.uri.path());
    let user = match authenticate(hub, &parts.headers, &path) {
        Ok(user) => user,
        Err(error) => return refuse(&error),
    };
    let user = match impersonated(hub, user, &parts.headers) {
        Ok(user) => user,
        Err(error) => return refuse(&error),
    };
    if let Some(call) = proxy::Call::of(&path) {
        let parts = hyper::http::Request::from_parts(parts, incoming);
        return proxy::forward(hub, &user, call, parts).await.unwrap_or_else(|error| refuse(&error));
    }
    let body = match Limited::new(incoming, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return refuse(&ApiError::too_large(format!("limit is {BODY_LIMIT}"))),
    };
    let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(String::from);
    let known = text(header::IF_NONE_MATCH);
    let request = Request {
        method: parts.method.as_str().to_string(),
        path,
        query: http::parse_query(parts.uri.query().unwrap_or_default()),
        content_type: text(header::CONTENT_TYPE),
        accept: accepted(&parts.headers),
        user_agent: text(header::USER_AGENT),
        body,
        user,
    };
    match hub.answer(&request).await {
        Ok(Reply::Response(response)) => whole(response, known.as_deref()),
        Ok(Reply::Watch { id, content_type, warnings }) => {
            let (pieces, incoming) = mpsc::channel(4);
            tokio::spawn(stream::feed(hub.clone(), id, pieces, stopped));
            let response = Response { warnings, ..Response::bytes(200, &content_type, bytes::Bytes::new()) };
            hyper::Response::from_parts(head(&response), Body::Stream(incoming))
        }
        Err(_) => refuse(&ApiError::internal("the data file cannot be written; see the server's log")),
    }
}

/// Several `Accept` headers mean one list.
fn accepted(headers: &HeaderMap) -> Option<String> {
    let all: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// Who a bearer token belongs to. What says nothing of the cluster is open to everyone.
fn authenticate(hub: &Hub, headers: &HeaderMap, path: &str) -> Result<User, ApiError> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|text| text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")));
    match token {
        Some(token) => hub.with_core(|core| core.authenticate(token.trim())).ok_or_else(ApiError::unauthorized),
        None if ["/healthz", "/livez", "/readyz", "/version"].iter().any(|open| path.starts_with(open)) => {
            Ok(User { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] })
        }
        None => Err(ApiError::unauthorized()),
    }
}

/// Who a request is to be taken for, if its user may impersonate others (`kubectl --as`).
fn impersonated(hub: &Hub, user: User, headers: &HeaderMap) -> Result<User, ApiError> {
    let text = |value: &HeaderValue| value.to_str().map(String::from).unwrap_or_default();
    let mut groups: Vec<String> = headers.get_all("impersonate-group").iter().map(text).collect();
    let Some(name) = headers.get("impersonate-user").map(text).filter(|name| !name.is_empty()) else {
        return match groups.is_empty() {
            true => Ok(user),
            false => Err(ApiError::bad_request("requested groups without impersonating a user")),
        };
    };
    hub.with_core(|core| {
        core.may_impersonate(&user, "users", &name)?;
        groups.iter().try_for_each(|group| core.may_impersonate(&user, "groups", group))
    })?;
    groups.push("system:authenticated".to_string());
    Ok(User { name, groups })
}

/// An answer that is a refusal.
pub fn refuse(error: &ApiError) -> hyper::Response<Body> {
    whole(Response::json(error.code, &error.status()), None)
}

fn whole(mut response: Response, known: Option<&str>) -> hyper::Response<Body> {
    let unchanged = match (&response.etag, known) {
        (Some(etag), Some(known)) => known.split(',').any(|one| one.trim().trim_matches('"') == etag),
        _ => false,
    };
    if unchanged {
        response.status = 304;
        response.body.clear();
    }
    let body = std::mem::take(&mut response.body);
    hyper::Response::from_parts(head(&response), Body::whole(body))
}

fn head(response: &Response) -> hyper::http::response::Parts {
    let (mut parts, ()) = hyper::Response::new(()).into_parts();
    parts.status = hyper::StatusCode::from_u16(response.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            parts.headers.append(name, value);
        }
    };
    set(header::CONTENT_TYPE, &response.content_type);
    match &response.etag {
        Some(etag) => {
            set(header::ETAG, &format!("\"{etag}\""));
            set(header::CACHE_CONTROL, "public");
            set(header::VARY, "Accept");
        }
        None => set(header::CACHE_CONTROL, "no-cache, private"),
    }
    if let Some(seconds) = response.retry_after {
        set(header::RETRY_AFTER, &seconds.to_string());
    }
    for warning in &response.warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        set(header::WARNING, &format!("299 - \"{quoted}\""));
    }
    parts
}
