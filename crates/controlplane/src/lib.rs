//! Real etcd, kube-apiserver and kube-controller-manager as processes, for benches and tests; with a
//! node that runs pods, too ([`Cluster::start_nodes`]); and an object store ([`S3`]).
//!
//! The binaries come from `KUBEBUILDER_ASSETS`, else from the cache that `make control-plane` fills.
//! Everything listens on free ports of the loopback, lives in one temporary folder, and ends with
//! its handle: also when the test panics, and, by the kernel's word (`PR_SET_PDEATHSIG`), when the
//! process is killed.

mod etcd;
mod nodes;
mod objects;

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
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

pub use etcd::{Etcd, EtcdCluster, EtcdNode, Seat};
pub use nodes::Nodes;
pub use objects::S3;

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
        Self::start_within(None, program, name, arguments, folder)
    }

    /// The same in a network namespace, which a file names.
    ///
    /// # Errors
    /// When the program cannot be started or its log not written.
    pub fn start_within(
        namespace: Option<&Path>,
        program: &Path,
        name: &str,
        arguments: &[String],
        folder: &Path,
    ) -> Result<Self> {
        let path = folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
        let mut command = command_within(namespace);
        let child = command
            .arg(program)
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

/// The beginning of a command that ends with this process and runs in a network namespace: the program and its
/// arguments follow.
pub fn command_within(namespace: Option<&Path>) -> Command {
    // Both set what they are to set without unsafe code in here, and become the program themselves.
    let mut command = match namespace {
        None => Command::new("setpriv"),
        Some(path) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", path.display())).args(["--", "setpriv"]);
            command
        }
    };
    command.args(["--pdeathsig", "KILL", "--"]);
    command
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
    if let Some(folder) = given()
        && complete(&folder)
    {
        return Ok(folder);
    }
    let folder = built()?;
    if complete(&folder) {
        return Ok(folder);
    }
    bail!(
        "there is no control plane in {}: run `make control-plane` (once, about 20 minutes), or set KUBEBUILDER_ASSETS",
        folder.display()
    )
}

/// A program that few folders of a control plane hold: where it is lacking, it is the project's own build.
fn program(name: &str) -> Result<PathBuf> {
    let built = built()?;
    let found = given().into_iter().chain([built.clone()]).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("there is no {name} in {}: run `make control-plane`", built.display()))
}

fn given() -> Option<PathBuf> {
    std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
}

/// Where `make control-plane` builds.
fn built() -> Result<PathBuf> {
    let cache = cache().context("neither KUBEBUILDER_ASSETS nor HOME says where the control plane is")?;
    Ok(cache.join("control-plane").join(CACHED))
}

/// Where the project's own builds of other people's programs are kept.
fn cache() -> Option<PathBuf> {
    match (std::env::var_os("HANSA_CACHE"), std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _, _) => Some(PathBuf::from(cache)),
        (None, Some(cache), _) => Some(PathBuf::from(cache).join("hansa")),
        (None, None, Some(home)) => Some(PathBuf::from(home).join(".cache/hansa")),
        (None, None, None) => None,
    }
}

/// Where the ports of what is started begin, and how many there are: below those that the kernel
/// gives to outgoing connections (Linux: from 32768), one of which could take a port between its
/// choice and the start of the process that it is for.
const PORTS: (u32, u32) = (20_000, 10_000);

/// Ports that nobody listens on at the moment, and that this process has not given out lately.
///
/// # Errors
/// When the loopback gives none.
pub fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let (first, count) = PORTS;
    // Processes side by side begin far from each other.
    let begin = std::process::id().wrapping_mul(997);
    let mut candidates = (0..count).map(|_| begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count);
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let mut free = candidates.by_ref().filter_map(|offset| u16::try_from(first + offset).ok()).filter(is_free);
        *port = free.next().context("no port of the loopback is free")?;
    }
    Ok(ports)
}

/// Waits until a process takes connections at an address.
async fn connects(process: &mut Process, address: &str) -> Result<()> {
    let deadline = Instant::now() + READY;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if !process.is_running() || Instant::now() > deadline {
            bail!("it does not start: {}", process.tail());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Someone whom the API server knows by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The bearer token.
    pub token: String,
    /// `system:masters` may do everything; without groups a user may do what RBAC objects say.
    pub groups: Vec<String>,
}

impl User {
    /// A user of that name with the token `token-of-NAME` and no rights.
    pub fn named(name: &str) -> Self {
        User { name: name.to_owned(), token: format!("token-of-{name}"), groups: Vec::new() }
    }

    /// The administrator whom every cluster has.
    fn admin() -> Self {
        User { token: "token-of-the-admin".to_owned(), groups: vec!["system:masters".to_owned()], ..User::named(ADMIN) }
    }
}

/// The name of the user who may do everything.
pub const ADMIN: &str = "admin";

/// What a cluster has beside the usual.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Users beside [`ADMIN`], with a kubeconfig each ([`Cluster::kubeconfig_of`]).
    pub users: Vec<User>,
    /// Arguments for kube-apiserver, after the usual ones.
    pub api_server: Vec<String>,
    /// Arguments for kube-controller-manager, after the usual ones.
    pub controllers: Vec<String>,
}

/// A real kube-apiserver with an etcd of its own.
#[derive(Debug)]
pub struct Cluster {
    /// Its name, as the kubeconfig's context.
    pub name: String,
    /// The kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    // The processes in the order in which they end, so that none complains about those it needs.
    /// What runs pods, when it was asked for.
    pub nodes: Option<Nodes>,
    /// The controllers, when they were asked for.
    pub controllers: Option<Process>,
    /// The API server.
    pub api_server: Process,
    /// Its etcd.
    pub etcd: Etcd,
    folder: PathBuf,
    port: u16,
    options: Options,
}

impl Cluster {
    /// Starts one in a folder of its own below `folder`; [`Cluster::ready`] waits for it.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(folder: &Path, name: &str) -> Result<Self> {
        Cluster::start_with(folder, name, Options::default())
    }

    /// The same with users and arguments of one's own.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start_with(folder: &Path, name: &str, options: Options) -> Result<Self> {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let [port] = free_ports()?;
        write_files(&folder, name, port, &options)?;
        let etcd = Etcd::start(&folder, "etcd", false)?;
        let api_server = start_api_server(&folder, port, &etcd, &options)?;
        let kubeconfig = kubeconfig_of(&folder, ADMIN);
        Ok(Cluster {
            name: name.to_owned(),
            kubeconfig,
            nodes: None,
            controllers: None,
            api_server,
            etcd,
            folder,
            port,
            options,
        })
    }

    /// Where its files are: logs (`NAME.log`), keys, etcd's data (`etcd`).
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kubeconfig of a user.
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        kubeconfig_of(&self.folder, user)
    }

    /// `kubectl` as a user, with its caches in the cluster's folder.
    ///
    /// # Errors
    /// When the binaries are nowhere.
    pub fn kubectl(&self, user: &str) -> Result<Command> {
        kubectl(&self.kubeconfig_of(user), &self.folder)
    }

    /// Ends the API server at once, as `kill -9` does.
    pub fn kill_api_server(&mut self) {
        self.api_server.kill();
    }

    /// Starts etcd and the API server again where they do not run: on the same port for clients,
    /// with what etcd's folder holds now.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        if !self.etcd.process.is_running() {
            self.etcd = Etcd::start(&self.folder, "etcd", false)?;
            // An API server keeps to the etcd that it was started with.
            self.api_server.kill();
        }
        if !self.api_server.is_running() {
            self.api_server = start_api_server(&self.folder, self.port, &self.etcd, &self.options)?;
        }
        Ok(())
    }

    /// A client with all rights.
    ///
    /// # Errors
    /// When the kubeconfig does not read.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // Who waits for a server asks again by themselves, and at once.
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// Waits until the API server is ready.
    ///
    /// # Errors
    /// When it ended, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        self.serves("/readyz").await
    }

    /// Waits until the API server answers a path well: one of an object that others make, too.
    ///
    /// # Errors
    /// When a process ended, or it takes too long.
    pub async fn serves(&mut self, path: &str) -> Result<()> {
        let deadline = Instant::now() + READY;
        let client = self.client().await?;
        loop {
            let request = http::Request::get(path).body(Body::empty())?;
            if let Ok(response) = client.send(request).await {
                let status = response.status();
                let _ = response.into_body().collect().await;
                if status.is_success() {
                    return Ok(());
                }
            }
            let late = Instant::now() > deadline;
            let others = self.nodes.iter_mut().flat_map(|nodes| [&mut nodes.scheduler, &mut nodes.kwok]);
            let processes = [&mut self.etcd.process, &mut self.api_server].into_iter();
            for process in processes.chain(&mut self.controllers).chain(others) {
                if late || !process.is_running() {
                    let why = if late { "in time" } else { "and a process ended" };
                    bail!("the API server of {} does not serve {path} {why}: {}", self.name, process.tail());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the controllers.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start_controllers(&mut self) -> Result<()> {
        let at = |file: &str| self.folder.join(file).display().to_string();
        let mut arguments = vec![
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--service-account-private-key-file={}", at("accounts.key")),
            format!("--root-ca-file={}", at("serving.crt")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ];
        arguments.extend_from_slice(&self.options.controllers);
        let program = binaries()?.join("kube-controller-manager");
        self.controllers = Some(Process::start(&program, "kube-controller-manager", &arguments, &self.folder)?);
        Ok(())
    }

    /// Makes a node and starts what runs pods on it: kube-scheduler and kwok. The API server must be
    /// ready.
    ///
    /// # Errors
    /// When the node is refused, or a process cannot be started.
    pub async fn start_nodes(&mut self) -> Result<()> {
        self.nodes = Some(Nodes::start(&self.folder, &self.kubeconfig, self.client().await?).await?);
        Ok(())
    }
}

/// `kubectl` with a kubeconfig, its caches in a folder.
///
/// # Errors
/// When the binaries are nowhere.
pub fn kubectl(kubeconfig: &Path, folder: &Path) -> Result<Command> {
    let mut command = Command::new(binaries()?.join("kubectl"));
    command.arg("--kubeconfig").arg(kubeconfig).arg("--cache-dir").arg(folder.join("kubectl-cache"));
    // What the one who runs the tests prefers is not looked at.
    command.env("KUBERC", "off").env_remove("KUBECONFIG");
    Ok(command)
}

fn kubeconfig_of(folder: &Path, user: &str) -> PathBuf {
    if user == ADMIN { folder.join("kubeconfig") } else { folder.join(format!("kubeconfig-{user}")) }
}

/// Keys, certificates, tokens and kubeconfigs.
fn write_files(folder: &Path, name: &str, port: u16, options: &Options) -> Result<()> {
    let serving = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    std::fs::write(folder.join("serving.crt"), serving.cert.pem())?;
    std::fs::write(folder.join("serving.key"), serving.signing_key.serialize_pem())?;
    let accounts = rcgen::KeyPair::generate()?;
    std::fs::write(folder.join("accounts.key"), accounts.serialize_pem())?;
    std::fs::write(folder.join("accounts.pub"), accounts.public_key_pem())?;
    let mut tokens = String::new();
    for user in std::iter::once(&User::admin()).chain(&options.users) {
        let User { name: user_name, token, groups } = user;
        // An empty fourth column would be a group without a name.
        let groups = if groups.is_empty() { String::new() } else { format!(",\"{}\"", groups.join(",")) };
        tokens.push_str(&format!("{token},{user_name},{user_name}{groups}\n"));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": STANDARD.encode(serving.cert.pem()),
            }}],
            "users": [{"name": user_name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user_name}}],
        });
        std::fs::write(kubeconfig_of(folder, user_name), kubeconfig.to_string())?;
    }
    std::fs::write(folder.join("tokens.csv"), tokens)?;
    Ok(())
}

fn start_api_server(folder: &Path, port: u16, etcd: &Etcd, options: &Options) -> Result<Process> {
    let at = |file: &str| folder.join(file).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://{}", etcd.address),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", at("serving.crt")),
        format!("--tls-private-key-file={}", at("serving.key")),
        format!("--token-auth-file={}", at("tokens.csv")),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", at("accounts.pub")),
        format!("--service-account-signing-key-file={}", at("accounts.key")),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
    ];
    arguments.extend_from_slice(&options.api_server);
    Process::start(&binaries()?.join("kube-apiserver"), "kube-apiserver", &arguments, folder)
}
