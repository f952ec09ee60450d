//! Requests and watches at the member's own API server.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hansa_operator::{ActId, ApiAnswer, ApiRequest, Event, Method};
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// How long one request may take; watches have no such end.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a watch may be silent: the API server ends each after 290 s, with bookmarks each minute.
const WATCH_SILENCE: Duration = Duration::from_secs(310);

/// How long a watch may take to be answered. Nothing flows before something changes, so the answer's
/// head is all that is waited for.
const WATCH_OPENING: Duration = Duration::from_secs(30);

/// The HTTP request for an act.
///
/// # Errors
/// When the path is no URI: a defect of whoever made it.
pub fn http_request(request: &ApiRequest) -> Result<Request<Body>, http::Error> {
    let method = match request.method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
    };
    let mut builder = Request::builder().method(method).uri(&request.path).header(ACCEPT, request.accept());
    if !request.body.is_empty() {
        builder = builder.header(CONTENT_TYPE, request.content_type.media_type());
    }
    builder.body(Body::from(request.body.to_vec()))
}

/// Carries out one request.
pub async fn call(client: &Client, request: &ApiRequest) -> Result<ApiAnswer, String> {
    let request = http_request(request).map_err(|error| error.to_string())?;
    let exchange = async {
        let response = client.send(request).await.map_err(|error| one_line(&error))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| one_line(&error))?.to_bytes();
        Ok(ApiAnswer { status, body })
    };
    tokio::time::timeout(REQUEST_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())))
}

/// Carries out a watch: each line is sent as an event, the end as the last.
pub async fn watch(client: Client, id: ActId, request: ApiRequest, events: UnboundedSender<Event>) {
    let (status, reason) = match stream_lines(&client, id, &request, &events).await {
        Ok(()) => (None, "the watch ended".to_owned()),
        Err(refused) => refused,
    };
    // Nobody listens any more when the operator has ended.
    let _ = events.send(Event::WatchClosed { id, status, reason });
}

async fn stream_lines(
    client: &Client,
    id: ActId,
    request: &ApiRequest,
    events: &UnboundedSender<Event>,
) -> Result<(), (Option<u16>, String)> {
    let unreachable = |reason: String| (None, reason);
    let request = http_request(request).map_err(|error| unreachable(error.to_string()))?;
    let response = tokio::time::timeout(WATCH_OPENING, client.send(request))
        .await
        .map_err(|_| unreachable("the watch was not answered".to_owned()))?
        .map_err(|error| unreachable(one_line(&error)))?;
    let status = response.status().as_u16();
    if status != 200 {
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        return Err((Some(status), hansa_operator::feed::message_of(&body)));
    }
    let mut frames = response.into_body().into_data_stream();
    let mut buffer = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(WATCH_SILENCE, frames.next()).await {
            Err(_) => return Err(unreachable("the watch fell silent".to_owned())),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(unreachable(one_line(&error))),
            Ok(Some(Ok(frame))) => frame,
        };
        buffer.extend_from_slice(&frame);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Bytes = buffer.split_to(end + 1).freeze().slice(..end);
            if !line.is_empty() && events.send(Event::WatchLine { id, line }).is_err() {
                return Ok(());
            }
        }
    }
}

/// An error with its causes in one line, none told twice.
pub fn one_line(error: &dyn std::error::Error) -> String {
    // What a client's layers are called says nothing to people.
    let mut text = error.to_string().trim_start_matches("ServiceError: ").to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}
