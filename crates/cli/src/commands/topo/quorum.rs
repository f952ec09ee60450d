//! `hansa topo quorum`: changes which stores a quorum is made of.

use super::{Outcome, plain};
use crate::print::{self, Output, Tone};
use crate::progress::Progress;
use hansa_topo::quorum::{self, Progress as Step};
use serde_json::json;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Put another store in the place of one, while the league goes on.
    ///
    /// For a store that is lost, or quarantined because it was restored from a backup. The new one
    /// must be empty. If it is interrupted, the same command goes on. Give the operators the URL
    /// that it ends with; those that still have the old one go on with the stores that both name.
    Replace(Replace),
}

#[derive(Debug, clap::Args)]
pub(super) struct Replace {
    /// The store to take out, as it stands in the URL of the quorum.
    #[arg(long, value_name = "URL")]
    old: String,
    /// The empty store to take in.
    #[arg(long, value_name = "URL")]
    new: String,
    #[command(flatten)]
    output: Output,
}

/// Changes the quorum at `url`.
pub(super) async fn run(url: &str, command: Command) -> anyhow::Result<Outcome> {
    let Command::Replace(Replace { old, new, output }) = command;
    let options = hansa_topo::Options::from_env();
    let mut bar = Progress::spinner("asking the stores");
    let mut rewritten = 0;
    let mut epoch = 0;
    let tell = |step| match step {
        Step::Began { epoch } => bar.say(format!("both stores count (epoch {epoch})")),
        Step::Rewriting { done: 0, of } => bar = Progress::steps(of, "registers written to the new stores"),
        Step::Rewriting { done, .. } => {
            rewritten = done;
            bar.step();
        }
        Step::Ended { epoch: ended } => epoch = ended,
    };
    let next = quorum::replace(url, &old, &new, &options, tell).await.map_err(plain)?;
    drop(bar);
    print::note(
        Tone::Warning,
        "change the operators' --topo (HANSA_TOPO) to the new URL; passwords and options are not shown in it",
    );
    let value = json!({"url": next.to_string(), "epoch": epoch, "registers": rewritten});
    let words = format!("replaced, with {}: {next}", print::count(rewritten, "register"));
    print::done(output, &value, &words)?;
    Ok(Outcome::Done)
}
