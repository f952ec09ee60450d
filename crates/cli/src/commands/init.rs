//! `hansa init`: a league begins, with the cluster at hand as its only member.

use super::Outcome;
use super::manifests::types;
use crate::cluster::{Body, MANAGER, Verb};
use crate::league::condition;
use crate::newcomer::Newcomer;
use crate::print::{self, Output};
use crate::progress::Progress;
use crate::reads::Reads;
use crate::resource::Resource;
use anyhow::bail;
use hansa_model::TypeName;
use serde_json::json;

/// Arguments of `hansa init`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The name of the Federation.
    #[arg(default_value = "league")]
    name: String,
    /// The types to federate, such as configmaps,deployments.apps or widgets.example.org/v1: those that the
    /// manifests were made for.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Those of the types that may change who may do what.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    privileged: Vec<TypeName>,
    #[command(flatten)]
    newcomer: Newcomer,
    #[command(flatten)]
    output: Output,
}

/// Founds a league, or waits for one whose Federation stands here already.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let Arguments { name, newcomer, .. } = &arguments;
    let types = types(&arguments.types, &arguments.privileged)?;
    let (cluster, reads) = (newcomer.connection.cluster().await?, Reads::open(&newcomer.connection).await?);
    let deadline = newcomer.deadline();
    let said = newcomer.operator(&reads, deadline).await?;
    let member = &said.member;
    let federation = Resource::own("federations").named(name);
    // Interrupted, it is simply repeated.
    if cluster.find(&federation).await?.is_none() {
        if let Some(league) = said.health["league"].as_str() {
            bail!(
                "the topology server of {member} holds a league already ({league}): `hansa join` takes this cluster into it, or name another topology server or prefix"
            );
        }
        let object = json!({
            "apiVersion": format!("{}/{}", hansa_api::GROUP, hansa_api::VERSION),
            "kind": "Federation",
            "metadata": {"name": name},
            "spec": {"members": [newcomer.entry(&said)], "types": types},
        });
        let query = format!("fieldManager={MANAGER}&fieldValidation=Strict");
        cluster.request(Verb::Create, &federation.collection(), &query, Body::Json(&object)).await?;
    }
    let progress = Progress::spinner(format!("Federation {name}: its operator is waited for"));
    let mut last = "its operator has not looked at it yet".to_owned();
    let agreed = cluster
        .until(&federation, deadline, |object| {
            let agreed = condition(object?, "Agreed");
            let text = |field: &str| agreed[field].as_str().unwrap_or_default();
            if !agreed.is_null() {
                last = format!("Agreed is {} ({}): {}", text("status"), text("reason"), text("message"));
                progress.say(format!("Federation {name}: {last}"));
            }
            match (text("status"), text("reason")) {
                ("True", "Mirror") => Some(Err(text("message").to_owned())),
                ("True", _) => Some(Ok(object?["status"]["league"].clone())),
                _ => None,
            }
        })
        .await?;
    drop(progress);
    match agreed {
        Some(Ok(league)) => {
            let words = format!(
                "the league of Federation {name} is founded, {member} is its only member: `hansa join` takes further clusters in"
            );
            print::done(arguments.output, &json!({"federation": name, "league": league, "member": member}), &words)?;
            Ok(Outcome::Done)
        }
        Some(Err(mirror)) => bail!("Federation {name} is that of a league which this cluster is in already: {mirror}"),
        None => bail!("Federation {name} is not agreed on: {last}"),
    }
}
