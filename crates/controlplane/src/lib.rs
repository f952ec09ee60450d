//! Real etcd, kube-apiserver and kube-controller-manager as processes, for benches and tests.
//!
//! The binaries come from `KUBEBUILDER_ASSETS`, else from the cache that `make control-plane` fills.
//! Everything listens on free ports of the loopback, lives in one temporary folder, and ends with
//! its handle: also when the test panics, and, by the kernel's word (`PR_SET_PDEATHSIG`), when the
//! process is killed.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// The versions that `make control-plane` builds, as they stand in the cache folder's name.
pub const CACHED: &str = "kube-1.37.2-etcd-3.7.3";

/// How long it may take until everything works, on a machine with other things to do.
const READY: Duration = Duration::from_secs(90);

/// A process that ends with its handle; what it prints goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with its output in `folder/NAME.log`.
    ///
    /// # Errors
    /// When the program cannot be started or its log not written.
    pub fn start(program: &Path, name: &str, arguments: &[String], folder: &Path) -> Result<Self> {
        let path = folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
        // `setpriv` sets the death signal without unsafe code in here.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        let child = command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started (setpriv is in util-linux)", program.display()))?;
        Ok(Process { name: name.to_owned(), child, log: path })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last lines that it printed.
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("{}:\n{}", self.name, lines[lines.len().saturating_sub(20)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of the binaries.
///
/// # Errors
/// When they are nowhere, with the mend.
pub fn binaries() -> Result<PathBuf> {
    let complete = |folder: &Path| {
        ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"].iter().all(|name| folder.join(name).is_file())
    };
    if let Some(folder) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
        && complete(&folder)
    {
        return Ok(folder);
    }
    let cache = match (std::env::var_os("HANSA_CACHE"), std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _, _) => PathBuf::from(cache),
        (None, Some(cache), _) => PathBuf::from(cache).join("hansa"),
        (None, None, Some(home)) => PathBuf::from(home).join(".cache/hansa"),
        (None, None, None) => bail!("neither KUBEBUILDER_ASSETS nor HOME says where the control plane is"),
    };
    let folder = cache.join("control-plane").join(CACHED);
    if complete(&folder) {
        return Ok(folder);
    }
    bail!(
        "there is no control plane in {}: run `make control-plane` (once, about 15 minutes), or set KUBEBUILDER_ASSETS",
        folder.display()
    )
}

/// Ports that nobody listens on at the moment.
///
/// # Errors
/// When the loopback gives none.
pub fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let listeners: Vec<TcpListener> =
        (0..COUNT).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<std::io::Result<_>>()?;
    let mut ports = [0; COUNT];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// A real etcd of one node.
#[derive(Debug)]
pub struct Etcd {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The process.
    pub process: Process,
}

impl Etcd {
    /// Starts one in a folder. `durable`: with fsync, as a topology server has it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(folder: &Path, name: &str, durable: bool) -> Result<Self> {
        let [client, peer] = free_ports()?;
        let mut arguments = vec![
            format!("--data-dir={}", folder.join(name).display()),
            format!("--listen-client-urls=http://127.0.0.1:{client}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            "--auto-compaction-mode=revision".to_owned(),
            "--auto-compaction-retention=10000".to_owned(),
        ];
        if !durable {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        let process = Process::start(&binaries()?.join("etcd"), name, &arguments, folder)?;
        Ok(Etcd { address: format!("127.0.0.1:{client}"), process })
    }

    /// Waits until it takes connections.
    ///
    /// # Errors
    /// When it ended, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while tokio::net::TcpStream::connect(&self.address).await.is_err() {
            if !self.process.is_running() || Instant::now() > deadline {
                bail!("etcd does not start: {}", self.process.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// A real kube-apiserver with an etcd of its own.
#[derive(Debug)]
pub struct Cluster {
    /// Its name, as the kubeconfig's context.
    pub name: String,
    /// The kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    /// The API server.
    pub api_server: Process,
    /// Its etcd.
    pub etcd: Etcd,
    /// The controllers, when they were asked for.
    pub controllers: Option<Process>,
}

impl Cluster {
    /// Starts one in a folder of its own below `folder`; [`Cluster::ready`] waits for it.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(folder: &Path, name: &str) -> Result<Self> {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let at = |file: &str| folder.join(file).display().to_string();
        let etcd = Etcd::start(&folder, "etcd", false)?;
        let [secure] = free_ports()?;
        let serving = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        std::fs::write(at("serving.crt"), serving.cert.pem())?;
        std::fs::write(at("serving.key"), serving.signing_key.serialize_pem())?;
        let accounts = rcgen::KeyPair::generate()?;
        std::fs::write(at("accounts.key"), accounts.serialize_pem())?;
        std::fs::write(at("accounts.pub"), accounts.public_key_pem())?;
        std::fs::write(at("tokens.csv"), "token-of-the-admin,admin,admin,system:masters\n")?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {
                "server": format!("https://127.0.0.1:{secure}"),
                "certificate-authority-data": STANDARD.encode(serving.cert.pem()),
            }}],
            "users": [{"name": "admin", "user": {"token": "token-of-the-admin"}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "admin"}}],
        });
        std::fs::write(at("kubeconfig"), kubeconfig.to_string())?;
        let arguments = [
            format!("--etcd-servers=http://{}", etcd.address),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={secure}"),
            format!("--tls-cert-file={}", at("serving.crt")),
            format!("--tls-private-key-file={}", at("serving.key")),
            format!("--token-auth-file={}", at("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", at("accounts.pub")),
            format!("--service-account-signing-key-file={}", at("accounts.key")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        ];
        let api_server = Process::start(&binaries()?.join("kube-apiserver"), "kube-apiserver", &arguments, &folder)?;
        let kubeconfig = folder.join("kubeconfig");
        Ok(Cluster { name: name.to_owned(), kubeconfig, api_server, etcd, controllers: None })
    }

    /// A client with all rights.
    ///
    /// # Errors
    /// When the kubeconfig does not read.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
    }

    /// Waits until the API server is ready.
    ///
    /// # Errors
    /// When it ended, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        let client = self.client().await?;
        loop {
            let request = http::Request::get("/readyz").body(Body::empty())?;
            if let Ok(response) = client.send(request).await {
                let status = response.status();
                let _ = response.into_body().collect().await;
                if status.is_success() {
                    return Ok(());
                }
            }
            if !self.api_server.is_running() || Instant::now() > deadline {
                bail!("the API server of {} does not start: {}", self.name, self.api_server.tail());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Starts the controllers.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start_controllers(&mut self) -> Result<()> {
        let folder = self.kubeconfig.parent().context("the kubeconfig lies in a folder")?;
        let arguments = [
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--service-account-private-key-file={}", folder.join("accounts.key").display()),
            format!("--root-ca-file={}", folder.join("serving.crt").display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ];
        let program = binaries()?.join("kube-controller-manager");
        self.controllers = Some(Process::start(&program, "kube-controller-manager", &arguments, folder)?);
        Ok(())
    }
}
