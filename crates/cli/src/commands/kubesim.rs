//! `hansa kubesim`: an API server for demos and tests.

use super::Outcome;
use crate::print;
use anyhow::Context;
use hansa_kubesim::core::Config;
use hansa_kubesim::core::access::Rule;
use hansa_kubesim::edge::{Account, Options, serve};
use std::net::IpAddr;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `hansa kubesim`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1", hide_short_help = true)]
    address: IpAddr,
    /// The port; 0 for the one that the data file remembers, else for any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where to write a kubeconfig, once requests are answered.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The file that keeps everything, and survives kill -9; without one, all is gone at the end.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The name of cluster and context in the kubeconfig.
    #[arg(long, default_value = "kubesim")]
    name: String,
    /// A user beside admin, with a context USER@NAME; may be repeated. NAME may do everything;
    /// NAME=[{"verbs": ["get"], "groups": [""], "resources": ["pods"], "namespaces": ["shop"]}] what
    /// the rules allow.
    #[arg(long = "user", value_name = "USER", value_parser = account)]
    users: Vec<Account>,
    /// Run no pods: Deployments and their like are kept, and nothing becomes of them.
    #[arg(long)]
    no_workloads: bool,
}

fn account(text: &str) -> Result<Account, String> {
    let (name, rules) = match text.split_once('=') {
        None => (text, None),
        Some((name, rules)) => {
            let rules: Vec<Rule> = serde_json::from_str(rules).map_err(|error| {
                format!("the rules do not read ({error}): write a list of {{verbs, groups, resources, namespaces}}")
            })?;
            (name, Some(rules))
        }
    };
    if name.is_empty() {
        return Err("the user has no name: write NAME or NAME=RULES".to_owned());
    }
    Ok(Account { name: name.to_owned(), token: None, rules })
}

/// Runs until it is told to end.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let running = serve(Options {
        name: arguments.name,
        address: arguments.address,
        port: arguments.port,
        kubeconfig: arguments.kubeconfig,
        data: arguments.data,
        accounts: arguments.users,
        core: Config { workloads: !arguments.no_workloads, ..Config::default() },
        ..Options::default()
    })
    .await
    .context("kubesim cannot start")?;
    print::stdout(&format!("https://{}\n", running.address))?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        ended = tokio::signal::ctrl_c() => ended?,
    }
    running.shutdown().await;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_rules_or_everything() {
        assert_eq!(account("eve").unwrap().rules, None);
        let bob = account(r#"bob=[{"verbs": ["get"], "groups": [""], "resources": ["pods"]}]"#).unwrap();
        assert_eq!((bob.name.as_str(), bob.rules.unwrap()[0].verbs.as_slice()), ("bob", &["get".to_owned()][..]));
        assert!(account("bob=[{\"verb\": 1}]").unwrap_err().contains("the rules do not read"));
        assert!(account("=[]").is_err());
    }
}
