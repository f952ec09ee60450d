//! A plain HTTPS client: requests exactly as a case words them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;

/// No answer takes longer, watches apart.
const ANSWER: Duration = Duration::from_secs(30);

/// A user without any right; both servers know the name and the token.
pub const STRANGER: (&str, &str) = ("stranger", "token-of-a-stranger");

/// One of the two servers, and how to reach it.
pub struct Target {
    authority: String,
    token: String,
    tls: Arc<rustls::ClientConfig>,
}

/// A connection to it. Each case has its own: a kube-apiserver closes one on which somebody was refused as unknown.
pub struct Connection<'a> {
    target: &'a Target,
    sender: http2::SendRequest<Full<Bytes>>,
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub content_type: Option<String>,
    pub accept: Option<String>,
    pub user: String,
    pub body: Bytes,
}

/// What came back, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Target {
    /// The server of a kubeconfig, its authority trusted and its token used.
    pub fn of(kubeconfig: &str) -> Result<Target> {
        let config: Value = serde_saphyr::from_str(kubeconfig).context("the kubeconfig")?;
        let field = |pointer: &str| {
            let value = config.pointer(pointer).and_then(Value::as_str);
            value.with_context(|| format!("the kubeconfig has no {pointer}"))
        };
        let server = field("/clusters/0/cluster/server")?;
        let authority =
            server.strip_prefix("https://").context("the server is not https")?.trim_end_matches('/').to_owned();
        let data = field("/clusters/0/cluster/certificate-authority-data")?;
        let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data)?;
        let token = field("/users/0/user/token")?.to_owned();

        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Target { authority, token, tls: Arc::new(tls) })
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection<'_>> {
        let opening = async {
            let stream = tokio::net::TcpStream::connect(&self.authority).await?;
            stream.set_nodelay(true)?;
            let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host).to_owned();
            let stream =
                tokio_rustls::TlsConnector::from(self.tls.clone()).connect(ServerName::try_from(host)?, stream).await?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                bail!("it does not speak HTTP/2");
            }
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok(sender)
        };
        let sender = tokio::time::timeout(ANSWER, opening).await.context("no connection in time")?;
        Ok(Connection { target: self, sender: sender.with_context(|| self.authority.clone())? })
    }
}

impl Connection<'_> {
    /// Sends a request; the body of the answer is still to be read.
    pub async fn open(&self, request: &Request) -> Result<http::Response<Incoming>> {
        let mut message = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("https://{}{}", self.target.authority, request.path))
            .header("user-agent", "battery/1.0")
            .header("accept", request.accept.as_deref().unwrap_or("application/json"));
        if let Some(content_type) = &request.content_type {
            message = message.header("content-type", content_type);
        }
        let token = match request.user.as_str() {
            "admin" => Some(self.target.token.as_str()),
            "nobody" => None,
            "impostor" => Some("token-of-an-impostor"),
            name if name == STRANGER.0 => Some(STRANGER.1),
            other => bail!("there is no user {other:?}: admin, {}, impostor or nobody", STRANGER.0),
        };
        if let Some(token) = token {
            message = message.header("authorization", format!("Bearer {token}"));
        }
        let message = message.body(Full::new(request.body.clone()))?;
        let mut sender = if matches!(request.user.as_str(), "nobody" | "impostor") {
            self.target.connect().await?.sender
        } else {
            self.sender.clone()
        };
        tokio::time::timeout(ANSWER, sender.send_request(message))
            .await
            .with_context(|| format!("no answer to {} {} within {ANSWER:?}", request.method, request.path))?
            .with_context(|| format!("{} {}", request.method, request.path))
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: &Request) -> Result<Answer> {
        let (head, body) = self.open(request).await?.into_parts();
        let body = tokio::time::timeout(ANSWER, body.collect())
            .await
            .with_context(|| {
                format!("the answer to {} {} did not end within {ANSWER:?}", request.method, request.path)
            })??
            .to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}
