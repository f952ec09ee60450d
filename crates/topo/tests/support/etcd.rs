//! Real etcd servers for tests, each in a directory of its own on free ports of the loopback.
#![allow(dead_code, reason = "each test program uses its part")]

use super::certificates::Certificates;
use prost::Message;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// The etcd binary: KUBEBUILDER_ASSETS first, then where `make control-plane` puts it.
fn binary() -> PathBuf {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let built = cache.or(home).map(|cache| cache.join("hansa/control-plane"));
    let built = built.into_iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    let mut found: Vec<_> = built.map(|entry| entry.path().join("etcd")).collect();
    found.sort();
    let mut candidates = assets.map(|assets| assets.join("etcd")).into_iter().chain(found);
    candidates.find(|path| path.is_file()).expect("there is no etcd: run `make control-plane`")
}

/// A cluster of one or more members.
pub struct Etcd {
    pub members: Vec<Member>,
    directory: TempDir,
    certificates: Option<Certificates>,
}

pub struct Member {
    arguments: Vec<String>,
    pub port: u16,
    log: PathBuf,
    child: Option<Child>,
}

impl Etcd {
    /// Starts a cluster and waits until it answers.
    pub async fn start(count: usize, certificates: Option<Certificates>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports = super::support::free_ports(2 * count);
        let ports: Vec<_> = ports.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let peers = ports.iter().enumerate();
        let peers: Vec<_> = peers.map(|(n, (_, peer))| format!("m{n}=http://127.0.0.1:{peer}")).collect();
        let members = ports.iter().enumerate().map(|(n, (client, peer))| {
            let data = directory.path().join(format!("m{n}"));
            let mut arguments = vec![
                format!("--name=m{n}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={scheme}://127.0.0.1:{client}"),
                format!("--advertise-client-urls={scheme}://127.0.0.1:{client}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-cluster={}", peers.join(",")),
                // Elections within the patience of a test; nothing here outlives a power cut.
                "--heartbeat-interval=50".into(),
                "--election-timeout=500".into(),
                "--unsafe-no-fsync".into(),
            ];
            if let Some(certificates) = &certificates {
                arguments.extend([
                    format!("--cert-file={}", certificates.path("server.pem")),
                    format!("--key-file={}", certificates.path("server.key")),
                    format!("--trusted-ca-file={}", certificates.path("ca.pem")),
                    "--client-cert-auth".into(),
                ]);
            }
            let log = directory.path().join(format!("m{n}.log"));
            Member { arguments, port: *client, log, child: None }
        });
        let mut etcd = Etcd { members: members.collect(), directory, certificates };
        for member in &mut etcd.members {
            member.start();
        }
        for member in 0..count {
            etcd.ready(member).await;
        }
        etcd
    }

    /// Waits until a member answers a linearizable read.
    pub async fn ready(&mut self, member: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        self.members[member].serving(deadline).await;
        let read = RangeRequest { key: b"/ready".to_vec() };
        loop {
            match self.call::<Nothing>(member, "/etcdserverpb.KV/Range", read.clone(), "").await {
                Ok(_) => return,
                // With log-ins required, being refused is an answer, too.
                Err(status) if status.message().contains("user name is empty") => return,
                Err(status) if status.message().contains("permission denied") => return,
                Err(status) => assert!(Instant::now() < deadline, "etcd did not start: {status:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `host:port` of all members.
    pub fn hosts(&self) -> String {
        let hosts = self.members.iter().map(|member| format!("127.0.0.1:{}", member.port));
        hosts.collect::<Vec<_>>().join(",")
    }

    pub fn certificate(&self, name: &str) -> String {
        self.certificates.as_ref().expect("there is no TLS").path(name)
    }

    /// Makes a member anew, with nothing in it.
    pub async fn forget(&mut self, member: usize) {
        self.members[member].kill().await;
        std::fs::remove_dir_all(self.directory.path().join(format!("m{member}"))).unwrap();
        // Another token gives the cluster another id, as a restore from a backup would.
        self.members[member].arguments.push("--initial-cluster-token=another".into());
        self.members[member].start();
        self.ready(member).await;
    }

    /// One call as an administrator; `token` is empty without one.
    pub async fn call<A: Message + Default + 'static>(
        &self,
        member: usize,
        path: &'static str,
        question: impl Message + 'static,
        token: &str,
    ) -> Result<A, tonic::Status> {
        let port = self.members[member].port;
        let mut endpoint = match &self.certificates {
            None => Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap(),
            Some(certificates) => {
                let read = |name: &str| std::fs::read(certificates.path(name)).unwrap();
                let tls = ClientTlsConfig::new()
                    .ca_certificate(Certificate::from_pem(read("ca.pem")))
                    .identity(Identity::from_pem(read("client.pem"), read("client.key")));
                let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap();
                endpoint.tls_config(tls).unwrap()
            }
        };
        endpoint = endpoint.timeout(Duration::from_secs(5));
        let channel = endpoint.connect().await.map_err(|e| tonic::Status::from_error(e.into()))?;
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.map_err(|e| tonic::Status::from_error(e.into()))?;
        let mut request = tonic::Request::new(question);
        if !token.is_empty() {
            request.metadata_mut().insert("token", token.parse().unwrap());
        }
        let codec = tonic_prost::ProstCodec::<_, A>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        Ok(grpc.unary(request, path, codec).await?.into_inner())
    }

    /// Logs in, and gives the token.
    pub async fn log_in(&self, name: &str, password: &str) -> String {
        let question = Named { name: name.into(), password: password.into() };
        let path = "/etcdserverpb.Auth/Authenticate";
        self.call::<Token>(0, path, question, "").await.unwrap().token
    }

    /// Compacts everything up to now.
    pub async fn compact(&self, revision: i64, token: &str) {
        let question = CompactionRequest { revision };
        self.call::<Nothing>(0, "/etcdserverpb.KV/Compact", question, token).await.unwrap();
    }

    /// Makes log-ins required: of `root`, and of `user`, who may use the keys below `prefix`.
    pub async fn require_log_ins(&self, user: &str, password: &str, prefix: &str) {
        let named = |name: &str, password: &str| Named { name: name.into(), password: password.into() };
        for (name, password) in [("root", "root's"), (user, password)] {
            self.call::<Nothing>(0, "/etcdserverpb.Auth/UserAdd", named(name, password), "").await.unwrap();
        }
        self.call::<Nothing>(0, "/etcdserverpb.Auth/RoleAdd", named("root", ""), "").await.unwrap();
        self.call::<Nothing>(0, "/etcdserverpb.Auth/RoleAdd", named("league", ""), "").await.unwrap();
        let grant = Grant {
            name: "league".into(),
            permission: Some(Permission {
                kind: Permission::READWRITE,
                key: format!("{prefix}/").into_bytes(),
                range_end: format!("{prefix}0").into_bytes(),
            }),
        };
        self.call::<Nothing>(0, "/etcdserverpb.Auth/RoleGrantPermission", grant, "").await.unwrap();
        // A grant of a role has the same fields: the user's name, then the role's.
        for (user, role) in [("root", "root"), (user, "league")] {
            self.call::<Nothing>(0, "/etcdserverpb.Auth/UserGrantRole", named(user, role), "").await.unwrap();
        }
        self.call::<Nothing>(0, "/etcdserverpb.Auth/AuthEnable", Nothing {}, "").await.unwrap();
    }
}

impl Member {
    pub fn start(&mut self) {
        let child = Command::new(binary())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&self.log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until it says itself that it serves: whoever else answers at its port is not meant.
    async fn serving(&mut self, deadline: Instant) {
        let child = self.child.as_mut().expect("it was not started");
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            if log.contains("\"serving client traffic") {
                return;
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "etcd did not start:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Stops it in its tracks, as `kill -STOP` does, and waits until all its threads stand.
    pub async fn stop(&self) {
        let id = self.signal("STOP").await;
        let deadline = Instant::now() + Duration::from_secs(10);
        let stands = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            // The state stands behind the name in parentheses.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        while !std::fs::read_dir(format!("/proc/{id}/task")).unwrap().all(stands) {
            assert!(Instant::now() < deadline, "etcd does not stop");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets it go on after [`Member::stop`].
    pub async fn go_on(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) -> u32 {
        let id = self.child.as_ref().and_then(Child::id).expect("it does not run");
        let status = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status();
        assert!(status.await.unwrap().success());
        id
    }
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct CompactionRequest {
    #[prost(int64, tag = "1")]
    revision: i64,
}

/// An empty question, or an answer of which nothing is read.
#[derive(Clone, PartialEq, Message)]
pub struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Message)]
struct Grant {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    permission: Option<Permission>,
}

#[derive(Clone, PartialEq, Message)]
struct Permission {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    range_end: Vec<u8>,
}

impl Permission {
    const READWRITE: i32 = 2;
}

#[derive(Clone, PartialEq, Message)]
struct Token {
    #[prost(string, tag = "2")]
    token: String,
}
