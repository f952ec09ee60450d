//! The service proxy: requests to `.../services/<name>/proxy/...` go on to a local address.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::body::Body;
use super::hub::Hub;
use crate::core::error::ApiError;
use crate::core::http::User;

/// A request through the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    namespace: String,
    secure: bool,
    name: String,
    port: String,
    path: String,
}

impl Call {
    /// Takes a path apart: `/api/v1/namespaces/<ns>/services/[https:]<name>[:<port>]/proxy/...`.
    pub fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/api/v1/namespaces/")?;
        let (namespace, rest) = rest.split_once("/services/")?;
        let (service, rest) = rest.split_once("/proxy")?;
        if namespace.contains('/') || service.contains('/') || !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        let parts: Vec<&str> = service.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme @ ("" | "http" | "https"), name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let path = if rest.is_empty() { "/" } else { rest };
        Some(Call {
            namespace: namespace.to_string(),
            secure: scheme == "https",
            name: name.to_string(),
            port: port.to_string(),
            path: path.to_string(),
        })
    }
}

fn unreachable(why: &str) -> ApiError {
    ApiError::unavailable(format!("error trying to reach service: {why}"))
}

/// Sends a request on and brings the answer back. Who asks is not told: `Authorization` is the
/// API server's, as in Kubernetes.
pub async fn forward(
    hub: &Arc<Hub>,
    user: &User,
    call: Call,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Body>, ApiError> {
    let verb = match request.method().as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => return Err(ApiError::method_not_allowed()),
    };
    let address = hub.with_core(|core| core.proxied_service(user, verb, &call.namespace, &call.name, &call.port))?;
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // The path as it came, so that escapes stay as they are.
    let raw = parts.uri.path().split_once("/proxy").map_or("/", |(_, rest)| if rest.is_empty() { "/" } else { rest });
    parts.uri = format!("{raw}{query}").parse().map_err(|_| ApiError::bad_request("the proxied path is no path"))?;
    parts.version = hyper::Version::HTTP_11;
    for name in [header::AUTHORIZATION, header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING, header::TE] {
        parts.headers.remove(name);
    }
    let host = header::HeaderValue::from_str(&address.to_string()).map_err(|error| unreachable(&error.to_string()))?;
    parts.headers.insert(header::HOST, host);
    let request = hyper::Request::from_parts(parts, body);
    send(address, call.secure, request).await.map_err(|why| unreachable(&why))
}

async fn send(
    address: SocketAddr,
    secure: bool,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Body>, String> {
    let socket = TcpStream::connect(address).await.map_err(|error| format!("dial tcp {address}: {error}"))?;
    let answered = if secure {
        let name = ServerName::IpAddress(address.ip().into());
        let connector = TlsConnector::from(Arc::new(client_tls().map_err(|error| error.to_string())?));
        let stream = connector.connect(name, socket).await.map_err(|error| error.to_string())?;
        exchange(TokioIo::new(stream), request).await
    } else {
        exchange(TokioIo::new(socket), request).await
    };
    answered.map_err(|error| error.to_string())
}

async fn exchange<S>(stream: S, request: hyper::Request<Incoming>) -> hyper::Result<hyper::Response<Body>>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let request = request.map(BodyExt::boxed);
    Ok(sender.send_request(request).await?.map(Body::Proxied))
}

fn client_tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// kube-apiserver does not verify the certificates of proxied services either.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_paths_are_taken_apart() {
        let of = |path: &str| Call::of(path).map(|call| (call.namespace, call.secure, call.name, call.port, call.path));
        let text = String::from;
        assert_eq!(
            of("/api/v1/namespaces/a/services/https:web:api/proxy/x/y"),
            Some((text("a"), true, text("web"), text("api"), text("/x/y")))
        );
        assert_eq!(
            of("/api/v1/namespaces/a/services/web/proxy"),
            Some((text("a"), false, text("web"), text(""), text("/")))
        );
        assert_eq!(of("/api/v1/namespaces/a/services/web"), None);
        assert_eq!(of("/api/v1/namespaces/a/services/web/proxying"), None);
    }
}
