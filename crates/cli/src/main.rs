//! `hansa`: the operator of a member, and the command line of its users.

mod bench;
mod demo;
mod kubesim;
mod operator;

use clap::{Parser, Subcommand};

/// Kubernetes clusters in several clouds as one league of equals.
#[derive(Debug, Parser)]
#[command(name = "hansa", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator of a member.
    Operator(operator::Arguments),
    /// Run an API server for demos and tests.
    Kubesim(kubesim::Arguments),
    /// Watch a league of three members live, in about a minute.
    Demo(demo::Arguments),
    /// Measure, on real parts, against floors taken in the same run.
    Bench(bench::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Operator(arguments) => operator::run(arguments).await,
            Command::Kubesim(arguments) => kubesim::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Bench(arguments) => bench::run(arguments).await,
        }
    })
}
