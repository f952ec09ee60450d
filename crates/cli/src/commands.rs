//! The commands, one module each: what they take, what they do, what they print.

pub mod ballot;
pub mod completion;
pub mod confirm;
pub mod delete;
pub mod explain;
pub mod federate;
pub mod get;
pub mod home;
pub mod init;
pub mod join;
pub mod keys;
pub mod kubesim;
pub mod leave;
pub mod manifests;
pub mod operator;
pub mod output;
pub mod pause;
pub mod plan;
pub mod status;
pub mod topo;
pub mod types;
pub mod wait;

/// How a command ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did what it was asked.
    Done,
    /// It found something wrong, and has said so.
    Wrong,
    /// `plan`, `ballot force`: something would change, and was only shown.
    WouldChange,
}

/// How long a request to an operator may take.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Patience {
    /// How long to wait for the operator's answer.
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration)]
    pub timeout: std::time::Duration,
}

/// Reads a duration of whole hours, minutes and seconds, such as `90s` or `1h30m`.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    hansa_model::federation::parse_duration_ms(text)
        .map(std::time::Duration::from_millis)
        .ok_or_else(|| "hours, minutes and seconds are expected, such as 90s or 1h30m".to_owned())
}
