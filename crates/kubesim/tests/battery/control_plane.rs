//! The real control plane: etcd, kube-apiserver and kube-controller-manager, for the time of one test.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use serde_json::json;

use crate::client::{Request, STRANGER, Target};

/// How long it may take until the API server and the controllers work, on a machine with other things to do.
const READY: Duration = Duration::from_secs(90);
/// The addresses of Services; kubesim's own.
const SERVICE_RANGE: &str = "10.96.0.0/16";
const TOKEN: &str = "token-of-the-admin";

/// The processes; dropping it ends them.
pub struct ControlPlane {
    binaries: PathBuf,
    folder: tempfile::TempDir,
    kubeconfig: String,
    processes: std::sync::Mutex<Vec<(&'static str, Child)>>,
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver; [`ControlPlane::ready`] waits for them.
    pub fn start() -> Result<ControlPlane> {
        let binaries = binaries()?;
        let folder = tempfile::Builder::new().prefix("battery-").tempdir()?;
        let root = folder.path().to_owned();
        let at = |name: &str| root.join(name).display().to_string();
        let [client, peer, secure] = free_ports()?;

        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let serving = rcgen::generate_simple_self_signed(names)?;
        std::fs::write(at("serving.crt"), serving.cert.pem())?;
        std::fs::write(at("serving.key"), serving.signing_key.serialize_pem())?;
        let accounts = rcgen::KeyPair::generate()?;
        std::fs::write(at("accounts.key"), accounts.serialize_pem())?;
        std::fs::write(at("accounts.pub"), accounts.public_key_pem())?;
        let (stranger, token) = STRANGER;
        std::fs::write(
            at("tokens.csv"),
            format!("{TOKEN},admin,admin,system:masters\n{token},{stranger},{stranger}\n"),
        )?;
        let authority = base64::engine::general_purpose::STANDARD.encode(serving.cert.pem());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "real",
            "clusters": [{"name": "real", "cluster": {
                "server": format!("https://127.0.0.1:{secure}"), "certificate-authority-data": authority}}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
        });
        let kubeconfig = kubeconfig.to_string();
        std::fs::write(at("kubeconfig"), &kubeconfig)?;
        let control_plane = ControlPlane { binaries, folder, kubeconfig, processes: Default::default() };

        control_plane.spawn(
            "etcd",
            &[
                format!("--data-dir={}", at("etcd")),
                format!("--listen-client-urls=http://127.0.0.1:{client}"),
                format!("--advertise-client-urls=http://127.0.0.1:{client}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
                format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
                "--unsafe-no-fsync".to_owned(),
            ],
        )?;
        control_plane.spawn(
            "kube-apiserver",
            &[
                format!("--etcd-servers=http://127.0.0.1:{client}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={secure}"),
                format!("--tls-cert-file={}", at("serving.crt")),
                format!("--tls-private-key-file={}", at("serving.key")),
                format!("--token-auth-file={}", at("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", at("accounts.pub")),
                format!("--service-account-signing-key-file={}", at("accounts.key")),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            ],
        )?;
        Ok(control_plane)
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// Waits for the API server, starts the controllers and waits for those.
    pub async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY;
        self.wait(deadline, "/readyz").await?;
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        self.spawn(
            "kube-controller-manager",
            &[
                format!("--kubeconfig={}", at("kubeconfig")),
                format!("--service-account-private-key-file={}", at("accounts.key")),
                format!("--root-ca-file={}", at("serving.crt")),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                "--kube-api-qps=500".to_owned(),
                "--kube-api-burst=1000".to_owned(),
            ],
        )?;
        self.wait(deadline, "/api/v1/namespaces/default/serviceaccounts/default").await?;
        Ok(())
    }

    /// Asks until the answer is 200.
    async fn wait(&self, deadline: Instant, path: &str) -> Result<()> {
        let target = Target::of(&self.kubeconfig)?;
        loop {
            let outcome = async {
                let connection = target.connect().await?;
                let request =
                    Request { method: "GET".into(), path: path.into(), user: "admin".into(), ..Request::default() };
                let answer = connection.send(&request).await?;
                if answer.status != 200 {
                    bail!("{path} answers {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                }
                Ok(())
            };
            let error = match outcome.await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(name) = self.ended() {
                bail!("{name} ended by itself:\n{}", self.log(name));
            }
            if Instant::now() >= deadline {
                let log = self.log("kube-apiserver");
                return Err(error).with_context(|| format!("the control plane is not ready after {READY:?}:\n{log}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts one of the binaries with its output in a file.
    fn spawn(&self, name: &'static str, arguments: &[String]) -> Result<()> {
        let log = File::create(self.folder.path().join(format!("{name}.log")))?;
        let child = ends_with_us(&self.binaries.join(name))
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.binaries.join(name).display()))?;
        self.processes.lock().expect("no thread panicked with it").push((name, child));
        Ok(())
    }

    /// A process that has ended, if one has.
    fn ended(&self) -> Option<&'static str> {
        let mut processes = self.processes.lock().expect("no thread panicked with it");
        processes.iter_mut().find_map(|(name, child)| child.try_wait().ok().flatten().map(|_| *name))
    }

    /// The last lines that a process wrote.
    fn log(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let processes = std::mem::take(self.processes.get_mut().expect("no thread panicked with it"));
        // The last to start ends first, so that none complains about those it needs. Nothing is worth a slow end.
        for (_, mut child) in processes.into_iter().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A command whose process ends when the thread that started it does, where the system can see to that: a test that
/// is killed drops nothing.
fn ends_with_us(program: &Path) -> Command {
    let tied = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).output();
    if tied.is_ok_and(|output| output.status.success()) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Three ports that were free a moment ago.
fn free_ports() -> Result<[u16; 3]> {
    let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

/// The folder with the binaries. That it is missing is a failure: a battery that compares nothing proves nothing.
fn binaries() -> Result<PathBuf> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/control-plane");
    let output = Command::new(&tool).arg("--find").output().with_context(|| tool.display().to_string())?;
    if !output.status.success() {
        bail!(
            "the real control plane is missing, run `make control-plane` first ({})",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
