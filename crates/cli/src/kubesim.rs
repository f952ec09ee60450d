//! `hansa kubesim`: an API server for demos and tests.

use anyhow::Context;
use hansa_kubesim::edge::{Account, Options, serve};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `hansa kubesim`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The name of the cluster and of the context in the kubeconfig.
    #[arg(long, default_value = "kubesim")]
    name: String,
    /// The port on 127.0.0.1; 0 takes a free one, the same again when there is a data file.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where to write a kubeconfig, once requests are answered.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The file that keeps everything, also over `kill -9`; without it, all is gone at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A user beside `admin`, with all rights and a context `USER@NAME`; may be repeated.
    #[arg(long = "user")]
    users: Vec<String>,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let accounts = arguments.users.into_iter().map(|name| Account { name, token: None, rules: None }).collect();
    let options = Options {
        name: arguments.name,
        port: arguments.port,
        kubeconfig: arguments.kubeconfig,
        data: arguments.data,
        accounts,
        ..Options::default()
    };
    let running = serve(options).await.context("kubesim cannot start")?;
    println!("https://{}", running.address);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    running.shutdown().await;
    Ok(())
}
