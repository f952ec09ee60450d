//! A real etcd and kube-apiserver on free loopback ports, and kubectl to speak to them.

use hansa_controlplane::{Cluster, Options, User};
use serde_json::Value;
use std::io::Write;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take to come about before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

pub use hansa_controlplane::ADMIN;

/// A control plane without controllers; it goes when this is dropped.
pub struct ControlPlane {
    cluster: Cluster,
    // After the processes that write in it.
    _folder: TempDir,
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
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = Options {
            users: users.iter().map(|user| User::named(user)).collect(),
            // Pods then need no ServiceAccount, whose controllers do not run.
            api_server: vec!["--disable-admission-plugins=ServiceAccount".to_owned()],
            ..Options::default()
        };
        let mut cluster = Cluster::start_with(folder.path(), "real", options).expect("the control plane starts");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(cluster.serves("/api/v1/namespaces/default")).expect("the API server works");
        ControlPlane { cluster, _folder: folder }
    }

    /// Runs kubectl as a user; objects go in on standard input (`-f -`), one document each. (With a
    /// `List`, kubectl would validate by itself, and by other rules than the API server.)
    pub fn kubectl(&self, user: &str, arguments: &[&str], objects: &[Value]) -> Answer {
        let mut child = self
            .cluster
            .kubectl(user)
            .expect("there is a kubectl")
            .args(arguments)
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

/// Between two looks at a state of another process.
#[expect(clippy::disallowed_methods, reason = "another process tells nobody, and these tests have no runtime")]
fn pause() {
    thread::sleep(Duration::from_millis(100));
}
