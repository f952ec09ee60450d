//! `hansa ballot key`: the key of a person whose word counts when no quorum can be had any more.

use crate::commands::Outcome;
use crate::person;
use crate::print::{self, Output};
use hansa_ballot::Signer;
use hansa_model::MemberName;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key, and print what the league's spec lists under people.
    ///
    /// The file is readable by its owner alone. Keep it, and a copy of it, outside the clusters of the
    /// league: whoever has it can say which voters the league goes on with.
    New {
        /// The person's name.
        name: MemberName,
        /// The file to make.
        #[arg(short = 'f', long = "filename", value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Print what the league's spec lists under people for a key.
    Show {
        /// The key's file.
        #[arg(short = 'f', long = "filename", value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

pub(super) fn run(command: Command) -> anyhow::Result<Outcome> {
    let (signer, output) = match command {
        Command::New { name, file, output } => (person::make(name, &file)?, output),
        Command::Show { file, output } => (person::read(&file)?, output),
    };
    print::done(output, &json!({"name": signer.member(), "publicKey": signer.public()}), &listed(&signer))?;
    Ok(Outcome::Done)
}

/// The item of `spec.people`.
fn listed(signer: &Signer) -> String {
    format!("- {{name: {}, publicKey: \"{}\"}}", signer.member(), signer.public())
}
