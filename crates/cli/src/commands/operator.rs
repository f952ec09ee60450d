//! `hansa operator`: runs the operator of a member.

use super::{Outcome, duration};
use crate::cluster;
use crate::print::Screen;
use anyhow::Context;
use hansa_model::MemberName;
use hansa_runner::api_server::one_line;
use hansa_runner::lease::Candidate;
use hansa_runner::{Options, start};
use kube::Client;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What is logged unless $HANSA_LOG says otherwise. The client of the API server logs every connection that fails, without
/// saying to whom or why; the operator says that itself, once.
const LOG: &str = "info,kube_client::client::builder=off";

/// How long giving the Lease back may take before the process ends without.
const RELEASE: Duration = Duration::from_secs(5);

/// Arguments of `hansa operator`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The member that it acts for, as the Federation names it.
    #[arg(long, env = "HANSA_MEMBER", value_name = "NAME")]
    member: MemberName,
    /// The topology server's URL: sqlite:PATH, etcd://HOST:PORT/PREFIX, etcds://…, s3://BUCKET/PREFIX, gs://…, az://… or quorum:URL,URL,URL
    #[arg(long, env = "HANSA_TOPO", hide_env_values = true, value_name = "URL")]
    topo: String,
    /// The kubeconfig of the member; without it, that of $KUBECONFIG, ~/.kube/config, or the pod's own.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The operator's own namespace: for its keys and its Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = hansa_api::SYSTEM_NAMESPACE)]
    namespace: String,
    /// Where to answer health, metrics and questions.
    #[arg(long, env = "HANSA_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Compute and report, and write nothing but the operator's own status.
    #[arg(long, env = "HANSA_OBSERVE")]
    observe: bool,
    /// Act without the Lease: there is no other replica.
    #[arg(long)]
    no_lease: bool,
    /// How often it says that it lives.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, hide_short_help = true)]
    heartbeat: Duration,
    /// How many requests to the API server may be under way.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, hide_short_help = true)]
    max_in_flight: usize,
    /// How the log is written; $HANSA_LOG says how much (info, hansa_runner=debug, …).
    #[arg(long, env = "HANSA_LOG_FORMAT", default_value = "text")]
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

/// Runs until it is told to end, or has to.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let format = arguments.log;
    log(format);
    match (format, operate(arguments).await) {
        // Programs read such a log to its last line, which is why it ended.
        (LogFormat::Json, Err(error)) => {
            tracing::error!("{}", one_line(error.as_ref()));
            Ok(Outcome::Wrong)
        }
        (_, ended) => ended,
    }
}

async fn operate(arguments: Arguments) -> anyhow::Result<Outcome> {
    let config = cluster::config(arguments.kubeconfig.as_deref(), arguments.context.as_deref()).await?;
    let client = Client::try_from(config).context("the member's API server")?;
    let mut topo = hansa_topo::succession::open(&arguments.topo, &hansa_topo::Options::from_env())
        .await
        .map_err(|error| anyhow::anyhow!("--topo (or $HANSA_TOPO): {}", error.chain()))?;
    if let Some(file) = arguments.topo_fault {
        let (faulty, faults) = hansa_topo::fault::wrap(topo, 0);
        faults.away_while_exists(file);
        topo = faulty;
    }
    let identity = identity();
    let candidate = Candidate::new(client.clone(), &arguments.namespace, identity.clone());
    let mut started = start(Options {
        member: arguments.member,
        client,
        topo,
        namespace: arguments.namespace,
        identity,
        listen: arguments.listen,
        observe: arguments.observe,
        max_in_flight: arguments.max_in_flight.max(1),
        heartbeat: arguments.heartbeat,
        lease: !arguments.no_lease,
    })
    .await?;
    if let Some(address) = started.address {
        tracing::info!(%address, "answers questions");
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = &mut started.task => return ended?.map(|()| Outcome::Done),
        _ = terminate.recv() => {}
        ended = tokio::signal::ctrl_c() => ended?,
    }
    tracing::info!("told to end");
    started.task.abort();
    // It ends as cancelled, which is what was asked for.
    let _ = started.task.await;
    if !arguments.no_lease && tokio::time::timeout(RELEASE, candidate.release()).await.is_err() {
        tracing::warn!("the Lease could not be given back in time: it runs out by itself");
    }
    Ok(Outcome::Done)
}

fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("HANSA_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(Screen::stderr().colours);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Who this process is among the replicas. Two pods have the same process ids, and a container that
/// restarts has its pod's name again: only randomness is unique to a start.
fn identity() -> String {
    let host =
        ["POD_NAME", "HOSTNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    format!("{}_{:016x}", host.as_deref().unwrap_or("hansa-operator"), hansa_runner::clock::entropy())
}
