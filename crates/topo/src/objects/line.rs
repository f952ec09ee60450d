//! The line to the server: counts every request, and keeps what became of it.
//!
//! `object_store` tells errors apart for its own ends; whether a write may have been received, what
//! exactly the server said and how long it asks to be left alone is seen here, between it and its
//! HTTP client.

use crate::usage::{Meter, Operation};
use async_trait::async_trait;
use http::{Extensions, HeaderMap, StatusCode};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService, ReqwestConnector,
};
use object_store::{Certificate, ClientOptions};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Makes the connections of one handle.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) meter: Arc<Meter>,
    /// Certificates to trust beside those of the operating system.
    pub(super) certificates: Vec<Certificate>,
    pub(super) timeout: Duration,
    /// How the last request for credentials ended.
    pub(super) credentials: Arc<Mutex<Option<StatusCode>>>,
}

/// A server that takes longer to accept a connection does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Servers close connections that are idle, some after 20 seconds; a write that meets that moment is of
/// unknown fate. Heartbeats keep one connection in use.
const IDLE_TIMEOUT: Duration = Duration::from_secs(12);

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl HttpConnector for Line {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // The one provider of cryptography that is built in. Another part of the process may have
        // said so before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Calls have their own time, which ends earlier; this is for what asks for credentials.
        let timeout = self.timeout + Duration::from_secs(1);
        let mut options = options
            .clone()
            .with_timeout(timeout)
            .with_connect_timeout(CONNECT_TIMEOUT.min(self.timeout))
            .with_pool_idle_timeout(IDLE_TIMEOUT);
        for certificate in &self.certificates {
            options = options.with_root_certificate(certificate.clone());
        }
        let client = ReqwestConnector::default().connect(&options)?;
        Ok(HttpClient::new(Observed { client, line: self.clone() }))
    }
}

#[derive(Debug)]
struct Observed {
    client: HttpClient,
    line: Line,
}

#[async_trait]
impl HttpService for Observed {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(trace) = request.extensions().get::<Trace>().cloned() else {
            // Credentials are asked for without a trace.
            let answered = self.client.execute(request).await;
            let status = answered.as_ref().ok().map(HttpResponse::status);
            *self.line.credentials.lock().unwrap_or_else(PoisonError::into_inner) = status;
            return answered;
        };
        self.line.meter.request(trace.0.operation);
        trace.note(Fate::Open);
        match self.client.execute(request).await {
            Ok(answer) => {
                let (parts, body) = answer.into_parts();
                let body = if parts.status.is_success() {
                    trace.note(Fate::Answered(Answer::new(parts.status, &parts.headers, "")));
                    body
                } else {
                    let text = body.bytes().await.unwrap_or_default();
                    let shown = String::from_utf8_lossy(&text);
                    trace.note(Fate::Answered(Answer::new(parts.status, &parts.headers, &shown)));
                    HttpResponseBody::from(text)
                };
                Ok(HttpResponse::from_parts(parts, body))
            }
            Err(error) => {
                if never_sent(&error) {
                    trace.note(Fate::NotSent);
                }
                Err(error)
            }
        }
    }
}

/// Whether no connection came about.
fn never_sent(error: &HttpError) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<reqwest::Error>());
    cause.is_some_and(reqwest::Error::is_connect)
}

/// Goes with a request through `object_store`, and tells what became of it.
#[derive(Clone)]
pub(super) struct Trace(Arc<Told>);

struct Told {
    operation: Operation,
    fate: Mutex<Fate>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It did not come to a request, for want of credentials.
    NoCredentials,
    /// No connection came about.
    NotSent,
    /// It may have been received.
    Open,
    /// The server answered.
    Answered(Answer),
}

impl Trace {
    pub(super) fn new(operation: Operation) -> Self {
        Trace(Arc::new(Told { operation, fate: Mutex::new(Fate::NoCredentials) }))
    }

    /// For the options of a request.
    pub(super) fn extensions(&self) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(self.clone());
        extensions
    }

    pub(super) fn fate(&self) -> Fate {
        self.0.fate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, fate: Fate) {
        *self.0.fate.lock().unwrap_or_else(PoisonError::into_inner) = fate;
    }
}

/// The server's answer, without a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The store's own word for what is wrong; empty where it gave none.
    pub(super) code: String,
    /// Its sentence.
    pub(super) message: String,
    /// How long it asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Answer {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &str) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let element = |name: &str| {
            let (_, rest) = body.split_once(&format!("<{name}>"))?;
            Some(rest.split_once(&format!("</{name}>"))?.0.trim())
        };
        let code = header("x-ms-error-code").or_else(|| element("Code")).unwrap_or_default();
        let message = element("Message").unwrap_or_else(|| if code.is_empty() { body.trim() } else { "" });
        let milliseconds = header("x-ms-retry-after-ms").and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let seconds = || header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        Answer {
            status,
            code: code.to_owned(),
            message: message.lines().next().unwrap_or_default().chars().take(300).collect(),
            retry_after: milliseconds.or_else(seconds),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for part in [&self.code, &self.message] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}
