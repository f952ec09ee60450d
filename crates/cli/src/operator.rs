//! `hansa operator`: runs the operator of a member.

use anyhow::Context;
use hansa_model::MemberName;
use hansa_runner::{Options, start};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Arguments of `hansa operator`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The member that it acts for, as the Federation names it.
    #[arg(long, env = "HANSA_MEMBER")]
    member: MemberName,
    /// The topology server's URL.
    #[arg(long, env = "HANSA_TOPO", hide_env_values = true)]
    topo: String,
    /// The kubeconfig of the member; without it, the one of the pod or of the environment.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long)]
    context: Option<String>,
    /// The operator's own namespace.
    #[arg(long, default_value = "hansa-system")]
    namespace: String,
    /// Where to answer health, metrics and questions.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Compute and report, and write nothing but the operator's own status.
    #[arg(long)]
    observe: bool,
    /// Act without the Lease: there is no other replica.
    #[arg(long)]
    no_lease: bool,
    /// How the log is written.
    #[arg(long, default_value = "text")]
    log: LogFormat,
    /// For tests and demos: the topology server is away for this operator as long as the file exists.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    topo_fault: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("HANSA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match arguments.log {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let options = KubeConfigOptions { context: arguments.context.clone(), ..KubeConfigOptions::default() };
    let config = match &arguments.kubeconfig {
        Some(path) => {
            let read = kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("--kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(read, &options).await?
        }
        None => Config::infer().await?,
    };
    let client = Client::try_from(config)?;
    let mut topo = hansa_topo::open(&arguments.topo, &hansa_topo::Options::from_env()).await?;
    if let Some(file) = arguments.topo_fault {
        let (faulty, faults) = hansa_topo::fault::wrap(topo, 0);
        faults.away_while_exists(file);
        topo = faulty;
    }
    let identity = format!("{}-{}", arguments.member, std::process::id());
    let started = start(Options {
        member: arguments.member,
        client,
        topo,
        namespace: arguments.namespace,
        identity,
        listen: arguments.listen,
        observe: arguments.observe,
        max_in_flight: 64,
        heartbeat: Duration::from_secs(5),
        lease: !arguments.no_lease,
    })
    .await?;
    if let Some(address) = started.address {
        tracing::info!(%address, "answers questions");
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = started.task => ended?,
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
