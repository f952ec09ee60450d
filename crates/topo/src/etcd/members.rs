//! The members of the cluster as the URL names them: how to connect to them, and TLS.

use super::NAME;
use super::line::Line;
use crate::error::{Category, TopoError};
use crate::open::Options;
use crate::url::EtcdUrl;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// One member.
pub(super) struct Member {
    /// `host:port`
    pub(super) address: String,
    pub(super) endpoint: Endpoint,
    /// How long it may take to accept a connection.
    pub(super) patience: Duration,
    /// None before the first call, and after one that failed with it.
    pub(super) line: Mutex<Option<Line>>,
    /// How many lines there were.
    pub(super) lines: AtomicU64,
    /// Counts the calls that failed here.
    pub(super) troubles: watch::Sender<u64>,
}

/// A member that takes longer to accept a connection is given up for the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// etcd closes connections that ask more often than every five seconds whether it is still there.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Values are pages of up to a megabyte: with HTTP/2's 64 KiB windows each would take many round
/// trips. A watch that nobody reads for a while can hold its stream's window, so the connection's is
/// much larger.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// All members. None is connected yet.
pub(super) fn members(url: &EtcdUrl, options: &Options) -> Result<Vec<Member>, TopoError> {
    let tls = if url.tls { Some(tls(url, options)?) } else { None };
    url.endpoints
        .iter()
        .map(|address| {
            let wrong = |error: tonic::transport::Error| {
                let message = format!("{address}: no connection can be made with these settings");
                TopoError::new(Category::Configuration, NAME, message).caused_by(error)
            };
            let scheme = if url.tls { "https" } else { "http" };
            let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
                .map_err(wrong)?
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(url.timeout)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            if let Some(tls) = &tls {
                endpoint = endpoint.tls_config(tls.clone()).map_err(wrong)?;
            }
            Ok(Member {
                address: address.clone(),
                endpoint,
                patience: CONNECT_TIMEOUT.min(url.timeout),
                line: Mutex::default(),
                lines: AtomicU64::new(0),
                troubles: watch::Sender::new(0),
            })
        })
        .collect()
}

fn tls(url: &EtcdUrl, options: &Options) -> Result<ClientTlsConfig, TopoError> {
    let mut tls = ClientTlsConfig::new().timeout(CONNECT_TIMEOUT.min(url.timeout));
    tls = match url.ca.as_ref().or(options.ca.as_ref()) {
        Some(file) => tls.ca_certificate(Certificate::from_pem(pem(file, "CERTIFICATE")?)),
        None => tls.with_native_roots(),
    };
    let cert = url.cert.as_ref().or(options.cert.as_ref());
    let key = url.key.as_ref().or(options.key.as_ref());
    tls = match (cert, key) {
        (Some(cert), Some(key)) => {
            let cert = pem(cert, "CERTIFICATE")?;
            if let Ok(metadata) = std::fs::metadata(key) {
                crate::open::check_private(NAME, key, &metadata)?;
            }
            tls.identity(Identity::from_pem(cert, pem(key, "PRIVATE KEY")?))
        }
        (None, None) => tls,
        _ => {
            let message = "a client certificate needs its key, and a key its certificate; give both";
            return Err(TopoError::new(Category::Configuration, NAME, message));
        }
    };
    Ok(match &url.server_name {
        Some(name) => tls.domain_name(name),
        None => tls,
    })
}

/// Reads a PEM file that has a block whose title ends in `title`.
fn pem(file: &PathBuf, title: &str) -> Result<Vec<u8>, TopoError> {
    let wrong = |what: &str| {
        let message = format!("file {}: {what}", file.display());
        TopoError::new(Category::Configuration, NAME, message)
    };
    let text = std::fs::read(file)
        .map_err(|error| wrong("it cannot be read; mend the path or its permissions").caused_by(error))?;
    if String::from_utf8_lossy(&text).contains(&format!("{title}-----")) {
        Ok(text)
    } else {
        Err(wrong(&format!("it has no {title} in PEM form; name another file")))
    }
}
