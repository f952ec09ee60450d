//! A cluster that is to become a member: how the spec describes it, and what its operator says.

use crate::cluster::Connection;
use crate::commands::duration;
use crate::progress::Progress;
use crate::reads::Reads;
use anyhow::{Context, bail};
use hansa_model::MemberName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often an operator is asked how it is.
const LOOK: Duration = Duration::from_millis(500);

/// The cluster at hand, as a member.
#[derive(Clone, Debug, clap::Args)]
pub struct Newcomer {
    /// The cloud or datacentre operator: aws, gcp, azure, onprem.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The region in the provider's own words.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The zone in the provider's own words.
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// A label that placements may select by; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Where data placed here lies, by law, such as eu.
    #[arg(long, value_name = "PLACE", value_delimiter = ',')]
    residency: Vec<String>,
    /// It votes, and has no objects: so a league of two clusters goes on without one of them.
    #[arg(long)]
    witness: bool,
    /// How long to wait for the operators.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    pub connection: Connection,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected, such as env=prod")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What the operator of the newcomer says of itself.
pub struct Said {
    /// Its member's name.
    pub member: MemberName,
    /// Its public keys, as the spec lists them.
    pub keys: Value,
    /// Its health.
    pub health: Value,
}

impl Newcomer {
    /// When to give up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Its item of `spec.members`.
    pub fn entry(&self, said: &Said) -> Value {
        let mut entry = json!({"name": said.member, "publicKeys": said.keys});
        for (field, value) in [("provider", &self.provider), ("region", &self.region), ("zone", &self.zone)] {
            if let Some(value) = value {
                entry[field] = value.as_str().into();
            }
        }
        if self.witness {
            entry["witness"] = true.into();
        }
        if !self.labels.is_empty() {
            let labels: BTreeMap<&str, &str> =
                self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            entry["labels"] = json!(labels);
        }
        if !self.residency.is_empty() {
            entry["residency"] = json!(self.residency);
        }
        entry
    }

    /// Waits until the operator of the cluster at hand says how it is.
    ///
    /// # Errors
    /// When it cannot be asked in time, or is of another release.
    pub async fn operator(&self, reads: &Reads, deadline: Instant) -> anyhow::Result<Said> {
        let progress = Progress::spinner("the operator is waited for");
        let health = until(deadline, async || match reads.health().await {
            Ok(health) => Ok(Ok(health)),
            Err(error) => {
                progress.say(format!("{error:#}"));
                Ok(Err(format!("{error:#}: install it with `hansa manifests`, or wait until it runs")))
            }
        })
        .await?;
        let member = health["member"].as_str().and_then(|name| name.parse().ok());
        let member = member.context("the operator does not say which member it is: is it of this release?")?;
        let keys = health["publicKeys"].clone();
        if !keys.is_array() {
            bail!("the operator of {member} does not tell its public keys: run this release there, too");
        }
        Ok(Said { member, keys, health })
    }
}

/// Looks until something is found; what is not yet says why.
///
/// # Errors
/// When `look` fails, or the time is up, with what was missing last.
pub async fn until<T>(
    deadline: Instant,
    mut look: impl AsyncFnMut() -> anyhow::Result<Result<T, String>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let missing = match look().await? {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        if Instant::now() + LOOK > deadline {
            bail!("not within {} s: {missing}", start.elapsed().as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        newcomer: Newcomer,
    }

    #[test]
    fn an_entry_says_what_was_given_and_no_more() {
        let said = Said { member: "gcp".parse().unwrap(), keys: json!(["ed25519:AA"]), health: Value::Null };
        let entry = |words: &[&str]| {
            let words = ["hansa"].iter().chain(words);
            Line::parse_from(words).newcomer.entry(&said)
        };
        assert_eq!(entry(&[]), json!({"name": "gcp", "publicKeys": ["ed25519:AA"]}));
        let full =
            entry(&["--provider", "gcp", "--region", "europe-west4", "--label", "env=prod", "--residency", "eu,nl"]);
        assert_eq!(full["labels"], json!({"env": "prod"}));
        assert_eq!(full["residency"], json!(["eu", "nl"]));
        assert_eq!(
            (&full["provider"], &full["region"], &full["zone"]),
            (&json!("gcp"), &json!("europe-west4"), &Value::Null)
        );
        assert!(Line::try_parse_from(["hansa", "--label", "prod"]).is_err());
    }

    #[tokio::test]
    async fn what_was_missing_last_is_told() {
        let missing = until::<()>(Instant::now(), async || Ok(Err("its key".to_owned())));
        let error = missing.await.unwrap_err().to_string();
        assert!(error.starts_with("not within ") && error.ends_with(": its key"), "{error}");
        let found = until(Instant::now(), async || Ok(Ok(7)));
        assert_eq!(found.await.unwrap(), 7);
    }
}
