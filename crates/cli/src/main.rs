//! `hansa`: the operator of a member, and the command line of its users.
//!
//! It works the same as a plugin of kubectl, under the name `kubectl-hansa`.
//!
//! | Exit code | Means |
//! |---|---|
//! | 0 | done; of `plan`: nothing would change |
//! | 1 | an error, or something was found wrong |
//! | 2 | of `plan`: something would change |

mod bench;
mod cluster;
mod commands;
mod demo;
mod documents;
mod federate;
mod key;
mod kinds;
mod league;
mod lookout;
mod member;
mod newcomer;
mod person;
mod plan;
mod print;
mod progress;
mod reads;
mod rendering;
mod request;
mod resource;
mod yaml;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use commands::{
    Outcome, ballot, completion, confirm, delete, explain, get, home, init, join, keys, kubesim, leave, manifests,
    operator, output, pause, status, topo, types, wait,
};
use hansa_runner::api_server::one_line;
use print::Tone;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// An operator reads thousands of objects as trees and keeps little of them: with glibc's allocator, that is a
/// third of its CPU time, and what was freed stays with the process (see `hansa bench footprint`).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Kubernetes clusters in several clouds as one league of equals.
#[derive(Debug, Parser)]
#[command(
    name = "hansa",
    version,
    max_term_width = 100,
    after_help = "Ends with 0 when all is done, 1 on an error or something wrong, and 2 when a plan would change something."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show federated objects.
    Get(get::Arguments),
    /// Show the league: its members, its types, and what waits for a person.
    Status(status::Arguments),
    /// Make federated objects from plain manifests, Helm's or kustomize's output.
    Federate(commands::federate::Arguments),
    /// Show what would change where; ends with 2 when something would.
    Plan(commands::plan::Arguments),
    /// Show why each member has what it has.
    Explain(explain::Arguments),
    /// Show the substitution output of an object for a member.
    Output(output::Arguments),
    /// Show the homes of objects, and move them.
    Home(home::Arguments),
    /// Show what the members vote on: who voted what, who is missing, what it would take.
    Ballot(ballot::Arguments),
    /// Delete a federated object for all, whichever members are its homes.
    Delete(delete::Arguments),
    /// Let exactly the removals go that were shown.
    Confirm(confirm::Arguments),
    /// Leave the outputs of an object, of a member or of the league as they are.
    Pause(pause::Arguments),
    /// Keep the outputs of an object, of a member or of the league up again.
    Resume(pause::Arguments),
    /// Wait until a federated object is as it should be.
    Wait(wait::Arguments),
    /// Show and choose which kinds the league federates.
    Type(types::Arguments),
    /// Found a league, with the cluster at hand as its only member.
    Init(init::Arguments),
    /// Let the cluster at hand become a member of the league.
    Join(join::Arguments),
    /// Take a member out of the league, in order: its homes, its outputs, its vote.
    Leave(leave::Arguments),
    /// Rotate the keys of a member.
    Keys(keys::Arguments),
    /// Print everything that one member needs, to apply.
    Manifests(manifests::Arguments),
    /// Run the operator of a member.
    Operator(operator::Arguments),
    /// Look into a topology server.
    Topo(topo::Arguments),
    /// Watch a league of three members live, in about a minute.
    Demo(demo::Arguments),
    /// Measure, on real parts, against floors taken in the same run.
    Bench(bench::Arguments),
    /// Run an API server for demos and tests.
    Kubesim(kubesim::Arguments),
    /// Print a shell's completion script.
    Completion(completion::Arguments),
}

fn main() -> ExitCode {
    let program = std::env::args_os().next();
    let mut command = Arguments::command();
    let name = program.as_deref().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    let is_plugin = name.is_some_and(|name| name.starts_with("kubectl-hansa"));
    if is_plugin {
        command = command.bin_name("kubectl hansa");
    }
    let parsed = command.clone().try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap's own code for a wrong usage is 2, which `plan` gives another meaning.
            let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // There is nowhere to tell that the output is closed.
            let _ = error.print();
            return if shown { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let ended = runtime.block_on(run(arguments.command, command, if is_plugin { "kubectl-hansa" } else { "hansa" }));
    // What still runs ends with the process; a blocked thread must not hold it up.
    runtime.shutdown_background();
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Wrong) => ExitCode::FAILURE,
        Ok(Outcome::WouldChange) => ExitCode::from(2),
        Err(error) => fail(&error),
    }
}

async fn run(command: Command, described: clap::Command, name: &str) -> anyhow::Result<Outcome> {
    let done = |()| Outcome::Done;
    match command {
        Command::Get(arguments) => get::run(arguments).await,
        Command::Status(arguments) => status::run(arguments).await,
        Command::Federate(arguments) => commands::federate::run(arguments).await,
        Command::Plan(arguments) => commands::plan::run(arguments).await,
        Command::Explain(arguments) => explain::run(arguments).await,
        Command::Output(arguments) => output::run(arguments).await,
        Command::Home(arguments) => home::run(arguments).await,
        Command::Ballot(arguments) => ballot::run(arguments).await,
        Command::Delete(arguments) => delete::run(arguments).await,
        Command::Confirm(arguments) => confirm::run(arguments).await,
        Command::Pause(arguments) => pause::run(arguments, true).await,
        Command::Resume(arguments) => pause::run(arguments, false).await,
        Command::Wait(arguments) => wait::run(arguments).await,
        Command::Type(arguments) => types::run(arguments).await,
        Command::Init(arguments) => init::run(arguments).await,
        Command::Join(arguments) => join::run(arguments).await,
        Command::Leave(arguments) => leave::run(arguments).await,
        Command::Keys(arguments) => keys::run(arguments).await,
        Command::Manifests(arguments) => manifests::run(arguments),
        Command::Operator(arguments) => operator::run(arguments).await,
        Command::Topo(arguments) => topo::run(arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await.map(done),
        Command::Bench(arguments) => bench::run(arguments).await.map(done),
        Command::Kubesim(arguments) => kubesim::run(arguments).await,
        Command::Completion(arguments) => completion::run(&arguments, described, name),
    }
}

/// Tells people what went wrong. A reader that has gone (`| head`) is no failure.
fn fail(error: &anyhow::Error) -> ExitCode {
    let gone = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(gone)) {
        return ExitCode::SUCCESS;
    }
    print::note(Tone::Bad, &format!("error: {}", one_line(error.as_ref())));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("inner").context("outer: inner").context("outermost");
        assert_eq!(one_line(error.as_ref()), "outermost: outer: inner");
        let result: anyhow::Result<()> = Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("writing");
        assert_eq!(fail(&result.unwrap_err()), ExitCode::SUCCESS);
    }
}
