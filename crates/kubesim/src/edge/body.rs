//! The bodies that the server sends: whole, or as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::Full;
use tokio::sync::mpsc;

/// A response body.
pub enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// Piece by piece, until the sender is gone.
    Stream(mpsc::Receiver<Bytes>),
    /// What another server sends.
    Proxied(hyper::body::Incoming),
}

impl Body {
    /// A whole body.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Body::Whole(Full::new(bytes.into()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Body::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never: Infallible| match never {}),
            Body::Stream(pieces) => pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
            Body::Proxied(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(body) => body.is_end_stream(),
            Body::Stream(_) => false,
            Body::Proxied(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Whole(body) => body.size_hint(),
            Body::Stream(_) => http_body::SizeHint::default(),
            Body::Proxied(body) => body.size_hint(),
        }
    }
}
