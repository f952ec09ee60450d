//! A small HTTP proxy on the loopback that passes requests on, and can be told to lose, repeat,
//! answer or swallow the next one: what real servers cannot be made to do.
#![allow(dead_code, reason = "each test program uses its part")]

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Answered = Response<Full<Bytes>>;

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// The proxy answers in the server's place: status, headers, body.
    Answer(u16, Vec<(&'static str, &'static str)>, &'static str),
    /// The server gets it, and its answer is lost.
    LoseAnswer,
    /// The connection ends before the server gets anything.
    LoseRequest,
    /// The server gets it twice, and the second answer comes back.
    Repeat,
    /// The server's answer comes back with this ETag in place of its own.
    Etag(String),
    /// Nobody ever answers, and the server gets nothing.
    Silence,
}

/// Makes a server that speaks another dialect understand a request, and its answer fit.
#[derive(Clone, Copy)]
pub struct Dialect {
    pub asked: fn(Request<Bytes>) -> Request<Bytes>,
    pub answered: fn(Response<Bytes>) -> Response<Bytes>,
}

/// Looks at a request before the server gets it, and may change it; gives status and body where it is turned away.
pub type Guard = Box<dyn Fn(&mut hyper::http::request::Parts) -> Option<(u16, String)> + Send>;

struct Shared {
    port: u16,
    upstream: u16,
    dialect: Option<Dialect>,
    acts: Mutex<VecDeque<(Method, Act)>>,
    seen: Mutex<Vec<String>>,
    guard: Mutex<Option<Guard>>,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(upstream: u16, dialect: Option<Dialect>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared =
            Shared { port, upstream, dialect, acts: Mutex::default(), seen: Mutex::default(), guard: Mutex::default() };
        let shared = Arc::new(shared);
        let state = shared.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| serve(state.clone(), request));
                    // A service that fails ends the connection without an answer.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Proxy { port, shared, serving }
    }

    /// Does `act` with the next request of this method, after those that were said before.
    pub fn next(&self, method: Method, act: Act) {
        self.shared.acts.lock().unwrap().push_back((method, act));
    }

    /// Lets a guard look at every request.
    pub fn guard(&self, guard: Guard) {
        *self.shared.guard.lock().unwrap() = Some(guard);
    }

    /// The requests since this was asked last, as method and path.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answered, Lost> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    shared.seen.lock().unwrap().push(format!("{} {}", parts.method, parts.uri.path()));
    let refused = shared.guard.lock().unwrap().as_ref().and_then(|guard| guard(&mut parts));
    if let Some((status, body)) = refused {
        return Ok(Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap());
    }
    let act = {
        let mut acts = shared.acts.lock().unwrap();
        let position = acts.iter().position(|(method, _)| *method == parts.method);
        position.and_then(|position| acts.remove(position)).map(|(_, act)| act)
    };
    let pass = || async {
        let request = Request::from_parts(parts.clone(), body.clone());
        forward(&shared, request).await
    };
    match act {
        None => pass().await,
        Some(Act::Answer(status, headers, body)) => {
            let mut answer = Response::builder().status(status);
            for (name, value) in headers {
                answer = answer.header(name, value);
            }
            Ok(answer.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
        }
        Some(Act::LoseAnswer) => {
            pass().await?;
            Err(Lost)
        }
        Some(Act::LoseRequest) => Err(Lost),
        Some(Act::Repeat) => {
            pass().await?;
            pass().await
        }
        Some(Act::Etag(etag)) => {
            let mut answer = pass().await?;
            answer.headers_mut().insert(hyper::header::ETAG, format!("\"{etag}\"").try_into().unwrap());
            Ok(answer)
        }
        Some(Act::Silence) => match std::future::pending::<Infallible>().await {},
    }
}

async fn forward(shared: &Shared, request: Request<Bytes>) -> Result<Answered, Lost> {
    let request = match shared.dialect {
        Some(dialect) => {
            let mut request = (dialect.asked)(request);
            // Such a server knows itself by one name alone.
            request.headers_mut().insert(hyper::header::HOST, format!("127.0.0.1:{}", shared.port).parse().unwrap());
            request
        }
        None => request,
    };
    let stream = TcpStream::connect(("127.0.0.1", shared.upstream)).await.map_err(|_| Lost)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Lost)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request.map(Full::new)).await.map_err(|_| Lost)?;
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    connection.abort();
    // The body is whole now, and framed anew.
    parts.headers.remove(hyper::header::TRANSFER_ENCODING);
    parts.headers.remove(hyper::header::CONNECTION);
    let answer = Response::from_parts(parts, body);
    let answer = match shared.dialect {
        Some(dialect) => (dialect.answered)(answer),
        None => answer,
    };
    Ok(answer.map(Full::new))
}

/// A request without an answer.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lost on purpose")
    }
}

impl std::error::Error for Lost {}
