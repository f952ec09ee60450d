//! `hansa completion`: a shell's completion script.

use super::Outcome;
use crate::print;
use clap::Command;
use clap_complete::{Shell, generate};

/// Arguments of `hansa completion`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script for a shell to load.
pub fn run(arguments: &Arguments, mut command: Command, name: &str) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut command, name, &mut script);
    print::stdout(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
