//! What a pod's identity rests on in each cloud, as stubs on the loopback that speak the real protocols; a forward proxy.

use super::certificates::Certificates;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Gives out tokens, of which only the newest holds.
#[derive(Default)]
pub struct Issuer {
    issued: AtomicU64,
    closed: AtomicBool,
}

impl Issuer {
    /// The next token, unless it gives none any more.
    pub fn issue(&self) -> Option<String> {
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        Some(format!("token-{}", self.issued.fetch_add(1, Ordering::SeqCst) + 1))
    }

    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }

    /// Whether this is the newest token, and holds.
    pub fn holds(&self, token: &str) -> bool {
        !self.closed.load(Ordering::SeqCst) && token == format!("token-{}", self.issued())
    }

    /// Nothing that was given out holds any more, and nothing more is given out.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

type Answer = dyn Fn(&Request<Bytes>) -> (u16, String) + Send + Sync;

/// A server that answers by a function.
pub struct Stub {
    pub port: u16,
    serving: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stub {
    pub async fn start(
        certificates: Option<&Certificates>,
        answer: impl Fn(&Request<Bytes>) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = certificates.map(acceptor);
        let answer: Arc<Answer> = Arc::new(answer);
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer) = (tls.clone(), answer.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Stub { port, serving }
    }
}

fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    // The one provider of cryptography that is built in; another test may have said so.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let chain = CertificateDer::pem_file_iter(certificates.path("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answer: Arc<Answer>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let (status, body) = answer(&Request::from_parts(parts, body));
            let answer = Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap();
            Ok::<_, Infallible>(answer)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The fields of a form, or of a query.
pub fn fields(text: &str) -> std::collections::BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// A forward proxy (RFC 9110, 9.3.6 and 3.7) that asks for a user and a password, and alone knows where `store.internal`
/// and what is below it are: here.
pub struct ForwardProxy {
    pub port: u16,
    pub tunnels: Arc<AtomicU64>,
    pub forwarded: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ForwardProxy {
    /// `credentials` are those of the header `Proxy-Authorization`, in base64.
    pub async fn start(credentials: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts: [Arc<AtomicU64>; 2] = Default::default();
        let [tunnels, forwarded] = counts.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let counts = counts.clone();
                connections.spawn(async move {
                    let _ = relay(stream, credentials, counts).await;
                });
            }
        });
        ForwardProxy { port, tunnels, forwarded, serving }
    }
}

async fn relay(stream: TcpStream, credentials: &str, [tunnels, forwarded]: [Arc<AtomicU64>; 2]) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let (mut head, mut authorized) = (Vec::new(), false);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        let is_word = line.to_ascii_lowercase().starts_with("proxy-authorization:");
        authorized |= is_word && line.contains(credentials);
        if !is_word {
            lines.push(line);
        }
    }
    if !authorized {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refusal).await;
    }
    let mut words = lines[0].split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let authority = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let Some((_, port)) = authority.split_once("store.internal:") else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
    };
    let mut server = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
    if method == "CONNECT" {
        tunnels.fetch_add(1, Ordering::SeqCst);
        client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
    } else {
        forwarded.fetch_add(1, Ordering::SeqCst);
        // One request for each connection: the next may go to another server.
        let path = &target["http://".len() + authority.len()..];
        head.extend(format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n").bytes());
        let kept = lines[1..].iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        head.extend(kept.flat_map(|line| line.bytes()));
        head.extend(b"\r\n");
        server.write_all(&head).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
