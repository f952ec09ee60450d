//! The core behind HTTPS: sockets, certificates, a kubeconfig, durability, the clock.
//!
//! One mutex holds the [`Core`]; every request takes it for the microseconds of its work. What a
//! request changed goes, in order, to the thread that writes the data file, and no answer and no
//! event leaves before what it tells of is on disk. Writes of many requests share one `fsync`.
//!
//! ```no_run
//! # async fn example() -> Result<(), hansa_kubesim::edge::EdgeError> {
//! use hansa_kubesim::edge::{Options, serve};
//! let running = serve(Options { kubeconfig: Some("member.kubeconfig".into()), ..Options::default() }).await?;
//! println!("https://{}", running.address);
//! running.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod body;
mod certificates;
mod data;
mod hub;
mod kubeconfig;
mod proxy;
mod server;
mod stream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::core::access::Rule;
use crate::core::http::User;
use crate::core::{Config, Core};
use certificates::Authority;
use data::{DataFile, Fault};
use hub::Hub;

/// Someone who may come with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name: in rules, in the audit record, in the kubeconfig.
    pub name: String,
    /// The bearer token; a random one if `None`.
    pub token: Option<String>,
    /// What the user may do; `None` for everything.
    pub rules: Option<Vec<Rule>>,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of cluster and context in the kubeconfig.
    pub name: String,
    /// Where to listen: the loopback, unless clients come from another network namespace.
    pub address: IpAddr,
    /// The port; 0 for the one that the data file remembers, or any that is free.
    pub port: u16,
    /// Where to write a kubeconfig once the server is ready.
    pub kubeconfig: Option<PathBuf>,
    /// The file that keeps everything; without one, all is gone at the end.
    pub data: Option<PathBuf>,
    /// Users beside `admin`.
    pub accounts: Vec<Account>,
    /// The core's settings. Address and certificate authority are filled in.
    pub core: Config,
    /// What uids and names follow from; random if `None`.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "kubesim".to_string(),
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            kubeconfig: None,
            data: None,
            accounts: Vec::new(),
            core: Config::default(),
            seed: None,
        }
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The port is taken or forbidden.
    #[error("cannot listen on {address}; give another --port, or 0 for a free one, and an --address of this machine")]
    Listen {
        /// The address and the port.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The data file cannot be used.
    #[error("cannot use the data file {}; is another server using it?", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The data file is not whole, or holds what is no object.
    #[error("the data file {} is damaged; restore it from a copy, or move it away to begin anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The data file is of another release.
    #[error("the data file {} has format {format}, which this release does not know; use the newer release that wrote it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the file says.
        format: String,
    },
    /// The kubeconfig cannot be written.
    #[error("cannot write the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificates cannot be made.
    #[error("cannot make certificates")]
    Certificates(#[source] rcgen::Error),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

impl EdgeError {
    fn of_file(path: &Path, fault: Fault) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let path = path.to_owned();
        match fault {
            Fault::Sqlite(source) if matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) => {
                EdgeError::Damaged { path, source: source.into() }
            }
            Fault::Sqlite(source) => EdgeError::Data { path, source },
            Fault::Pages(why) => EdgeError::Damaged { path, source: why.into() },
            Fault::Format(format) => EdgeError::Format { path, format },
        }
    }
}

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The kubeconfig's text, with `admin` as the current user.
    pub kubeconfig: String,
    /// The certificate authority, PEM.
    pub certificate_authority: String,
    /// The token of `admin`.
    pub admin_token: String,
    hub: Arc<Hub>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Looks at the core, or changes it, between requests.
    pub fn with_core<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        self.hub.with_core(act)
    }

    /// Ends all connections and closes the data file. What was answered is kept.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            // A task that panicked has ended, too.
            let _ = task.await;
        }
        self.hub.close().await;
    }
}

/// Starts a server; returns when it answers and the kubeconfig is written.
///
/// # Errors
///
/// See [`EdgeError`].
pub async fn serve(options: Options) -> Result<Running, EdgeError> {
    let (file, memory) = match &options.data {
        Some(path) => {
            let file = DataFile::open(path).map_err(|fault| EdgeError::of_file(path, fault))?;
            let memory = file.memory().map_err(|error| EdgeError::of_file(path, Fault::Sqlite(error)))?;
            (Some(file), memory)
        }
        None => (None, data::Memory::default()),
    };
    let authority = Authority::new(memory.authority.clone(), options.address).map_err(EdgeError::Certificates)?;
    let admin_token = memory.admin_token.clone().unwrap_or_else(random_token);
    let wished = SocketAddr::new(options.address, options.port);
    let listener = listen(wished, memory.port).await?;
    let address = listener.local_addr().map_err(|source| EdgeError::Listen { address: wished, source })?;

    let mut config = options.core.clone();
    config.seed = options.seed.unwrap_or_else(|| getrandom::u64().unwrap_or(config.seed));
    config.address = address.to_string();
    config.certificate_authority = authority.pem.clone();
    config.journal = file.is_some();
    config.access.add_token(&admin_token, User::admin());
    let mut users = vec![("admin".to_string(), admin_token.clone())];
    for account in &options.accounts {
        let token = token_of(account, file.as_ref(), options.data.as_deref())?;
        let mut user = User::named(&account.name);
        match &account.rules {
            Some(rules) => config.access.set(&account.name, rules.clone()),
            None => user.groups.insert(0, "system:masters".to_string()),
        }
        config.access.add_token(&token, user);
        users.push((account.name.clone(), token));
    }
    let core = Core::restore(config, hub::wall_clock(), memory.snapshot).map_err(|source| EdgeError::Damaged {
        path: options.data.clone().unwrap_or_default(),
        source: source.into(),
    })?;
    if let (Some(file), Some(path)) = (&file, &options.data) {
        file.remember(&authority, &admin_token, address.port())
            .map_err(|source| EdgeError::Data { path: path.clone(), source })?;
    }
    let tls = authority.server().map_err(EdgeError::Tls)?;
    let hub = Arc::new(Hub::new(core, file));
    let (stop, stopped) = watch::channel(false);
    let tasks = vec![
        tokio::spawn(server::accept(listener, tls, hub.clone(), stopped.clone())),
        tokio::spawn(hub::tick(hub.clone(), stopped)),
    ];
    let kubeconfig = kubeconfig::text(&options.name, &address, &authority.pem, &users);
    if let Some(path) = &options.kubeconfig {
        kubeconfig::write(path, &kubeconfig).map_err(|source| EdgeError::Kubeconfig { path: path.clone(), source })?;
    }
    Ok(Running { address, kubeconfig, certificate_authority: authority.pem, admin_token, hub, stop, tasks })
}

/// The token that was given, or that the user's clients know from before, or a new one.
fn token_of(account: &Account, file: Option<&DataFile>, path: Option<&Path>) -> Result<String, EdgeError> {
    let of_data = |source| EdgeError::Data { path: path.map(PathBuf::from).unwrap_or_default(), source };
    let known = file.map_or(Ok(None), |file| file.token(&account.name)).map_err(of_data)?;
    let token = account.token.clone().or(known).unwrap_or_else(random_token);
    if let Some(file) = file {
        file.remember_token(&account.name, &token).map_err(of_data)?;
    }
    Ok(token)
}

/// Listens on the wished port, or on the one that clients know from before, or on any.
async fn listen(wished: SocketAddr, before: Option<u16>) -> Result<TcpListener, EdgeError> {
    if let Some(known) = before.filter(|_| wished.port() == 0)
        && let Ok(listener) = TcpListener::bind((wished.ip(), known)).await
    {
        return Ok(listener);
    }
    TcpListener::bind(wished).await.map_err(|source| EdgeError::Listen { address: wished, source })
}

fn random_token() -> String {
    let mut bytes = [0; 24];
    // Without a source of randomness the time has to do: this server is for demos and tests alone.
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..8].copy_from_slice(&hub::wall_clock().to_le_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
