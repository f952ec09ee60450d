//! A real etcd and kube-apiserver on free loopback ports, and kubectl to speak to them.

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take to come about before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The user who may do everything.
pub const ADMIN: &str = "admin";

/// Ends the process it holds.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control plane without controllers; it goes when this is dropped.
pub struct ControlPlane {
    // In the order in which they end.
    _api_server: Process,
    _etcd: Process,
    folder: TempDir,
    assets: PathBuf,
    server: String,
}

/// What kubectl said.
#[derive(Debug)]
pub struct Answer {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// What stands on standard output.
    ///
    /// # Panics
    /// When kubectl failed.
    #[track_caller]
    pub fn expect(self, what: &str) -> String {
        assert!(self.ok, "{what}: {}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The refusal.
    ///
    /// # Panics
    /// When kubectl succeeded.
    #[track_caller]
    pub fn expect_refusal(self, what: &str) -> String {
        assert!(!self.ok, "{what}: it was taken: {}", self.stdout);
        self.stderr
    }
}

impl ControlPlane {
    /// Starts one whose API server knows these users, beside [`ADMIN`], and no rights of theirs.
    pub fn start(users: &[&str]) -> Self {
        let assets = assets();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let here = folder.path();
        let [client, peer, secure] = free_ports();
        let log = |name: &str| here.join(format!("{name}.log"));

        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let etcd = spawn(
            &assets.join("etcd"),
            &log("etcd"),
            &[
                format!("--data-dir={}", here.join("etcd").display()),
                "--unsafe-no-fsync".into(),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
            ],
        );

        let key = here.join("service-account.key");
        let public_key = here.join("service-account.pub");
        let pair = rcgen::KeyPair::generate().expect("a key");
        fs::write(&key, pair.serialize_pem()).expect("the key is written");
        fs::write(&public_key, pair.public_key_pem()).expect("the public key is written");
        let tokens = here.join("tokens.csv");
        let mut lines = format!("{ADMIN},{ADMIN},{ADMIN},\"system:masters\"\n");
        for user in users {
            lines.push_str(&format!("{user},{user},{user}\n"));
        }
        fs::write(&tokens, lines).expect("the tokens are written");
        let api_server = spawn(
            &assets.join("kube-apiserver"),
            &log("kube-apiserver"),
            &[
                format!("--etcd-servers={client}"),
                "--bind-address=127.0.0.1".into(),
                format!("--secure-port={secure}"),
                format!("--cert-dir={}", here.join("certificates").display()),
                format!("--token-auth-file={}", tokens.display()),
                "--authorization-mode=RBAC".into(),
                "--service-cluster-ip-range=10.96.0.0/16".into(),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                format!("--service-account-key-file={}", public_key.display()),
                format!("--service-account-signing-key-file={}", key.display()),
                "--disable-admission-plugins=ServiceAccount".into(),
            ],
        );
        let mut plane = ControlPlane {
            _api_server: api_server,
            _etcd: etcd,
            server: format!("https://127.0.0.1:{secure}"),
            assets,
            folder,
        };
        plane.wait_until_ready();
        plane
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = self.kubectl(ADMIN, &["get", "--raw", "/readyz"], &[]);
            if ready.ok && self.kubectl(ADMIN, &["get", "namespace", "default"], &[]).ok {
                return;
            }
            let ended = self._api_server.0.try_wait().expect("its state").is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.path().join("kube-apiserver.log")).unwrap_or_default();
                let tail = log.lines().rev().take(20).collect::<Vec<_>>();
                panic!(
                    "kube-apiserver is not ready: {}\n{}",
                    ready.stderr,
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            pause();
        }
    }

    /// Runs kubectl as a user; objects go in on standard input (`-f -`), one document each. (With a
    /// `List`, kubectl would validate by itself, and by other rules than the API server.)
    pub fn kubectl(&self, user: &str, arguments: &[&str], objects: &[Value]) -> Answer {
        let mut child = Command::new(self.assets.join("kubectl"))
            .args(["--server", &self.server, "--token", user])
            .arg("--insecure-skip-tls-verify")
            .arg("--cache-dir")
            .arg(self.folder.path().join("discovery"))
            .args(arguments)
            .env("KUBECONFIG", self.folder.path().join("no-kubeconfig"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        for object in objects {
            // kubectl may refuse its arguments and be gone before it reads this.
            let _ = writeln!(stdin, "{object}");
        }
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().expect("kubectl ends");
        Answer {
            ok: status.success(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// What a path of the API serves.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let text = self.kubectl(ADMIN, &["get", "--raw", path], &[]).expect(path);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Applies objects as the administrator, server-side and strictly.
    #[track_caller]
    pub fn apply(&self, objects: &[Value]) {
        self.kubectl(ADMIN, &["apply", "--server-side", "--validate=strict", "-f", "-"], objects)
            .expect("the objects are applied");
    }

    /// Waits until every CustomResourceDefinition is established.
    #[track_caller]
    pub fn wait_for_crds(&self) {
        self.kubectl(ADMIN, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=120s"], &[])
            .expect("the kinds are established");
    }

    /// Waits until something holds.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            pause();
        }
    }
}

/// The folder with the binaries: KUBEBUILDER_ASSETS first, the project's own build second.
fn assets() -> PathBuf {
    let complete = |folder: &Path| ["etcd", "kube-apiserver", "kubectl"].iter().all(|name| folder.join(name).is_file());
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    if let Some(folder) = variable("KUBEBUILDER_ASSETS").filter(|folder| complete(folder)) {
        return folder;
    }
    let cache = variable("HANSA_CACHE").or_else(|| {
        variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .map(|cache| cache.join("hansa"))
    });
    let builds = cache
        .and_then(|cache| fs::read_dir(cache.join("control-plane")).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()));
    builds
        .filter(|folder| complete(folder))
        .max()
        .expect("a real control plane: run tools/control-plane, or set KUBEBUILDER_ASSETS")
}

fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("its address").port())
}

fn spawn(program: &Path, log: &Path, arguments: &[String]) -> Process {
    let out = fs::File::create(log).expect("a log");
    let err = out.try_clone().expect("the same log");
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    Process(child)
}

/// Between two looks at a state of another process.
#[expect(clippy::disallowed_methods, reason = "another process tells nobody, and these tests have no runtime")]
fn pause() {
    thread::sleep(Duration::from_millis(100));
}
