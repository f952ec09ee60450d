//! Real object stores for tests, each in a directory of its own on a free port of the loopback, behind
//! a proxy that can misbehave.
//!
//! Where they deviate from the clouds:
//!
//! - versitygw (S3) keeps `If-Match` and `If-None-Match` as S3 does, as far as the tests can tell. A read beside a write
//!   may get the ETag of the object before with the content of the object after.
//! - fake-gcs-server (Google) does not know the XML API's way to write an object, which `object_store`
//!   uses, nor its condition `x-goog-if-generation-match`. It does know both in the JSON API, on the
//!   same generations and under the same lock: [`JSON_API`] translates in the proxy. It lists without
//!   pages, asks for no credentials, and says 500 where a bucket is missing.
//! - Azurite (Azure) answers a create of what exists with 409 where Azure says 412 or 409.
#![allow(dead_code, reason = "each test program uses its part")]

use super::certificates::Certificates;
use super::proxy::{Dialect, Proxy};
use async_trait::async_trait;
use hansa_topo::conformance::Subject;
use hansa_topo::url::{Cloud, Secret};
use hansa_topo::{Options, Topo, TopoError, open};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, Response};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const BUCKET: &str = "league";

/// A server's program: HANSA_STORE_SERVERS first, then where `tools/store-servers` puts it.
fn program(name: &str) -> PathBuf {
    let given = std::env::var_os("HANSA_STORE_SERVERS").map(PathBuf::from);
    let named = std::env::var_os("HANSA_CACHE").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("hansa"));
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/hansa"));
    let built = named.or(cache).or(home).map(|cache| cache.join("store-servers"));
    let built = built.into_iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    let mut folders: Vec<_> = built.map(|entry| entry.path()).collect();
    folders.sort();
    let mut candidates = given.into_iter().chain(folders.into_iter().rev()).map(|folder| folder.join(name));
    candidates.find(|path| path.is_file()).unwrap_or_else(|| panic!("there is no {name}: run tools/store-servers"))
}

/// A server with an empty bucket.
pub struct Server {
    pub cloud: Cloud,
    /// Stands before the server; clients of [`Server::url`] go through it.
    pub proxy: Proxy,
    port: u16,
    child: Option<Child>,
    directory: TempDir,
    /// The files of a certificate and its key, to speak TLS (s3, az).
    tls: Option<[String; 2]>,
    /// The battery's clients whose changes are to be forgotten.
    forgetful: Mutex<Vec<Arc<dyn Topo>>>,
}

impl Server {
    pub async fn start(cloud: Cloud) -> Self {
        Server::start_as(cloud, None).await
    }

    /// A server over TLS, to be reached directly (s3, az). An Azurite then takes the tokens of an identity provider, too.
    pub async fn start_with_tls(cloud: Cloud, certificates: &Certificates) -> Self {
        let files = ["server.pem", "server.key"].map(|name| certificates.path(name));
        Server::start_as(cloud, Some(files)).await
    }

    async fn start_as(cloud: Cloud, tls: Option<[String; 2]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = super::support::free_port();
        let dialect = (cloud == Cloud::Gs).then_some(JSON_API);
        let proxy = Proxy::start(port, dialect).await;
        let mut server = Server { cloud, proxy, port, child: None, directory, tls, forgetful: Mutex::default() };
        server.run().await;
        match cloud {
            Cloud::S3 => {}
            Cloud::Gs => server.make_google_bucket().await,
            Cloud::Az => server.make_container().await,
        }
        server
    }

    /// Starts the server, and waits until it accepts connections.
    async fn run(&mut self) {
        let data = self.directory.path().join("data");
        let mut command = match self.cloud {
            Cloud::S3 => {
                std::fs::create_dir_all(data.join(BUCKET)).unwrap();
                let mut command = Command::new(program("versitygw"));
                command.args(["--access", USER, "--secret", PASSWORD, "--quiet", "--keep-alive"]);
                if let Some([certificate, key]) = &self.tls {
                    command.args(["--cert", certificate, "--key", key]);
                }
                command.args(["--port", &format!("127.0.0.1:{}", self.port), "posix"]).arg(&data);
                command
            }
            Cloud::Gs => {
                let mut command = Command::new(program("fake-gcs-server"));
                let public = format!("127.0.0.1:{}", self.proxy.port);
                command.args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-log-level", "error"]);
                command.args(["-port", &self.port.to_string(), "-public-host", &public]);
                command
            }
            Cloud::Az => {
                let mut command = Command::new(program("azurite-blob"));
                command.args(["--blobHost", "127.0.0.1", "--blobPort", &self.port.to_string()]);
                command.args(["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
                if let Some([certificate, key]) = &self.tls {
                    command.args(["--oauth", "basic", "--cert", certificate, "--key", key]);
                }
                command
            }
        };
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
        self.child = Some(command.current_dir(self.directory.path()).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "the server did not start: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn make_google_bucket(&self) {
        let body = format!("{{\"name\":\"{BUCKET}\"}}");
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::post("/storage/v1/b?project=p").header("host", "localhost");
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body))).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        connection.abort();
    }

    /// Only a signed request makes a container, and `object_store` makes none.
    async fn make_container(&self) {
        let script = r#"
            const [port, container, key, scheme] = process.argv.slice(1), crypto = require("crypto");
            // The test's own server, whose certificate its clients check.
            const client = require(scheme), rejectUnauthorized = false;
            const date = new Date().toUTCString(), version = "2021-12-02", path = `/devstoreaccount1/${container}`;
            const text = `PUT${"\n".repeat(12)}x-ms-date:${date}\nx-ms-version:${version}\n` +
                `/devstoreaccount1${path}\nrestype:container`;
            const signature = crypto.createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64");
            const headers = {"x-ms-date": date, "x-ms-version": version, "content-length": 0,
                authorization: `SharedKey devstoreaccount1:${signature}`};
            const request = {host: "127.0.0.1", port, method: "PUT", path: path + "?restype=container", headers,
                rejectUnauthorized};
            client.request(request, answer => process.exit(answer.statusCode === 201 ? 0 : 1)).end();
        "#;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let arguments = ["-e", script, &self.port.to_string(), BUCKET, AZURITE_KEY, scheme];
        let made = Command::new("node").args(arguments).status().await.unwrap();
        assert!(made.success(), "the container could not be made: {made}");
    }

    /// The URL of a space, through the proxy. Ends in options: more may follow an `&`.
    pub fn url(&self, space: &str) -> String {
        self.url_of(BUCKET, space)
    }

    pub fn url_of(&self, bucket: &str, space: &str) -> String {
        let (scheme, endpoint) = (self.cloud.scheme(), format!("http://127.0.0.1:{}", self.proxy.port));
        match self.cloud {
            Cloud::S3 => format!("{scheme}://{bucket}/{space}?endpoint={endpoint}"),
            Cloud::Gs => format!("{scheme}://{bucket}/{space}?endpoint={endpoint}&anonymous=true"),
            Cloud::Az => format!("{scheme}://{bucket}/{space}?endpoint={endpoint}/devstoreaccount1"),
        }
    }

    /// The URL of a space over TLS, not through the proxy (s3, az).
    pub fn direct_url(&self, space: &str) -> String {
        let account = if self.cloud == Cloud::Az { "/devstoreaccount1" } else { "" };
        format!("{}://{BUCKET}/{space}?endpoint=https://127.0.0.1:{}{account}", self.cloud.scheme(), self.port)
    }

    pub fn options(&self) -> Options {
        let (user, password) = match self.cloud {
            Cloud::S3 => (USER, PASSWORD),
            Cloud::Gs => return Options::default(),
            Cloud::Az => ("devstoreaccount1", AZURITE_KEY),
        };
        Options { user: Some(user.into()), password: Some(Secret::new(password)), ..Options::default() }
    }

    pub async fn topo(&self, space: &str) -> Arc<dyn Topo> {
        open(&self.url(space), &self.options()).await.unwrap()
    }
}

pub const USER: &str = "hansa";
pub const PASSWORD: &str = "a long secret";
/// The key that every Azurite has, as its documentation tells.
pub const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

#[async_trait]
impl Subject for Server {
    async fn client(&self, space: &str) -> Result<Arc<dyn Topo>, TopoError> {
        // One case needs a short memory, another one a memory for all that several writers do.
        if space != "changes-forgotten" {
            return open(&self.url(space), &self.options()).await;
        }
        let client = open(&format!("{}&changes-kept=32", self.url(space)), &self.options()).await?;
        self.forgetful.lock().unwrap().push(client.clone());
        Ok(client)
    }

    async fn forget_changes(&self, _space: &str) -> Result<bool, TopoError> {
        // A history is a handle's own.
        let clients = self.forgetful.lock().unwrap().clone();
        for (me, client) in clients.iter().enumerate() {
            for n in 0..40 {
                client.create(&format!("/other/{me}/{n}"), "one".into()).await?;
            }
        }
        Ok(true)
    }
}

/// Google's XML API, where it writes, in the words of its JSON API.
const JSON_API: Dialect = Dialect {
    asked: |request| {
        let generation = request.headers().get("x-goog-if-generation-match").cloned();
        let (Method::PUT, Some(generation)) = (request.method().clone(), generation) else { return request };
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let (bucket, name) = path.split_once('/').unwrap();
        let generation = generation.to_str().unwrap();
        let upload =
            format!("/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}&ifGenerationMatch={generation}");
        let (mut parts, body) = request.into_parts();
        parts.method = Method::POST;
        parts.uri = upload.parse().unwrap();
        Request::from_parts(parts, body)
    },
    answered: |answer| {
        let (mut parts, body) = answer.into_parts();
        if let Ok(object) = serde_json::from_slice::<serde_json::Value>(&body)
            && object["kind"] == "storage#object"
        {
            let header = |field: &str| object[field].as_str().unwrap().to_owned();
            parts.headers.insert("etag", HeaderValue::try_from(format!("\"{}\"", header("etag"))).unwrap());
            parts.headers.insert("x-goog-generation", HeaderValue::try_from(header("generation")).unwrap());
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            return Response::from_parts(parts, Bytes::new());
        }
        Response::from_parts(parts, body)
    },
};
