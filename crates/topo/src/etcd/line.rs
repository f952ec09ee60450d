//! A line to a member: one connection, on which the first question is of which cluster the member is.
//!
//! A channel that connects again by itself would send the next write to whatever listens there by then: a cluster that
//! was restored from a backup, say, whose numbers may be the same. So a channel here has one connection in its life; when
//! that has ended, nothing more is sent on it, and the next line asks first.

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};

/// The line of a member, while there is one.
#[derive(Clone)]
pub(super) struct Line {
    /// Tells it from those before it.
    pub(super) number: u64,
    pub(super) channel: Channel,
}

/// Its only connection has ended. Nothing was sent.
#[derive(Debug)]
struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection has ended")
    }
}

impl Error for Ended {}

/// Whether a call was not sent because its line had ended.
pub(super) fn has_ended(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<Ended>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Connects to a member, once.
pub(super) async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Channel, Status> {
    let mut http = HttpConnector::new();
    // TLS comes on top.
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(super::members::KEEP_ALIVE));
    http.set_connect_timeout(Some(timeout));
    endpoint.connect_with_connector(Once(Some(http))).await.map_err(|error| Status::from_error(error.into()))
}

/// Makes the first connection, and no other.
struct Once(Option<HttpConnector>);

impl Service<Uri> for Once {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.0 {
            Some(http) => http.poll_ready(context).map_err(Into::into),
            None => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self.0.take() {
            Some(mut http) => http.call(uri).map(|connected| Ok(connected?)).boxed(),
            None => futures::future::ready(Err(Ended.into())).boxed(),
        }
    }
}
