//! `hansa delete`: ends a federated object for all, whichever members are its homes.

use super::{Outcome, Patience};
use crate::cluster::Connection;
use crate::key::{ObjectArguments, Source};
use crate::print::Output;
use crate::request;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hansa_api::{Action, Arguments as RequestArguments};
use hansa_model::DeletionPolicy;

/// Arguments of `hansa delete`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    object: ObjectArguments,
    /// What becomes of the outputs, in place of the object's own spec.deletionPolicy.
    #[arg(long, value_name = "POLICY", value_parser = PossibleValuesParser::new(["Delete", "Orphan"]).map(|text| policy(&text)))]
    deletion_policy: Option<DeletionPolicy>,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// A deletion policy by its name.
pub fn policy(text: &str) -> DeletionPolicy {
    if text == "Orphan" { DeletionPolicy::Orphan } else { DeletionPolicy::Delete }
}

/// Deletes an object.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let cluster = arguments.connection.cluster().await?;
    let key = arguments.object.key(Some(Source::Cluster(&cluster))).await?;
    let wanted = RequestArguments { deletion_policy: arguments.deletion_policy, ..RequestArguments::default() };
    let reply =
        request::ask(&cluster, &request::spec(Action::Delete, Some(&key), wanted), arguments.patience.timeout).await?;
    reply.tell(arguments.output, Some(&key))?;
    Ok(Outcome::Done)
}
