//! `hansa keys rotate`: another pair of keys for the member at hand, in order.
//!
//! The order is that of [`hansa_operator::rotation`]: the operator makes the next pair, the spec lists it beside the one in
//! use, the members vote, the spec lists the new pair alone, the operator lets go of the earlier one. The command does what is a
//! user's part of it, in the cluster at hand and in the spec's home, and waits for the rest; where that home is not
//! at hand it prints what is to be listed. It sees from the operator how far it is, and may be interrupted and repeated.

use super::{Outcome, duration};
use crate::cluster::{Cluster, Connection};
use crate::league::League;
use crate::newcomer::until;
use crate::print::{self, Output, Tone};
use crate::progress::Progress;
use crate::reads::Reads;
use crate::{request, yaml};
use anyhow::{Context, bail};
use hansa_api::{Action, Arguments as RequestArguments};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Arguments of `hansa keys`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Give the member at hand another pair of keys, while it goes on voting and opening what is sealed to it.
    ///
    /// The spec is to list the next keys beside those in use, and then the next ones alone: both are
    /// written there when its home is at hand, and printed otherwise.
    Rotate {
        /// The context of the member where the league's spec is at home, when that is another one.
        #[arg(long, value_name = "NAME")]
        league_context: Option<String>,
        /// How long to wait for the members.
        #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
        timeout: Duration,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

/// Rotates the keys.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let Command::Rotate { league_context, timeout, connection, output } = arguments.command;
    let deadline = Instant::now() + timeout;
    let (cluster, reads) = (connection.cluster().await?, Reads::open(&connection).await?);
    if Pairs::of(&reads.health().await?)?.beside.is_none() {
        let spec = request::spec(Action::RotateKeys, None, RequestArguments::default());
        let reply = request::ask(&cluster, &spec, timeout).await?;
        if reply.waits {
            bail!("{}: the request stays, repeat this when that is mended", reply.message);
        }
    }
    let consents = match &league_context {
        Some(context) => {
            let league = Connection { context: Some(context.clone()), operator: None, ..connection.clone() };
            Some(league.cluster().await.with_context(|| format!("--league-context {context}"))?)
        }
        None => League::read(&cluster).await?.elsewhere().is_none().then_some(cluster),
    };
    let progress = Progress::spinner("the operator is waited for");
    let mut listed = None;
    let pairs = until(deadline, async || {
        // It starts anew between two steps.
        let pairs = match reads.health().await {
            Ok(health) => Pairs::of(&health)?,
            Err(error) => return Ok(Err(format!("the operator is waited for: {error:#}"))),
        };
        let Some(beside) = &pairs.beside else { return Ok(Ok(pairs)) };
        let wanted = pairs.to_list();
        if listed.as_ref() != Some(&wanted) {
            consent(consents.as_ref(), &pairs, &wanted).await?;
            listed = Some(wanted);
        }
        let missing = pairs.missing(beside);
        progress.say(missing.clone());
        Ok(Err(missing))
    })
    .await
    .context("the rotation has begun, and goes on when this is repeated")?;
    drop(progress);
    let words = format!(
        "the keys of {} are rotated: {} are in use, and the earlier ones are gone",
        pairs.member,
        pairs.in_use.join(" and ")
    );
    print::done(output, &json!({"member": pairs.member, "publicKeys": pairs.in_use}), &words)?;
    Ok(Outcome::Done)
}

/// The keys of a member, by its operator's word.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pairs {
    member: String,
    in_use: Vec<String>,
    beside: Option<Beside>,
}

/// The pair that stands beside the one in use.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Beside {
    Next(Vec<String>),
    Previous,
}

impl Pairs {
    fn of(health: &Value) -> anyhow::Result<Self> {
        let keys = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).ok();
        let rotation = &health["rotation"];
        let member = health["member"].as_str().map(str::to_owned).zip(keys(&health["publicKeys"]));
        let Some((member, in_use)) = member.filter(|_| health.get("rotation").is_some()) else {
            bail!("the operator does not tell its keys: run this release there, too");
        };
        let previous = rotation["previous"].is_array().then_some(Beside::Previous);
        Ok(Pairs { member, in_use, beside: keys(&rotation["next"]).map(Beside::Next).or(previous) })
    }

    /// What the spec is to list of the member at this step.
    fn to_list(&self) -> Vec<String> {
        match &self.beside {
            Some(Beside::Next(next)) => [self.in_use.as_slice(), next.as_slice()].concat(),
            _ => self.in_use.clone(),
        }
    }

    fn missing(&self, beside: &Beside) -> String {
        let member = &self.member;
        match beside {
            Beside::Next(_) => {
                format!(
                    "the members vote on {member}'s next key once the spec lists it (`hansa ballot explain members`)"
                )
            }
            Beside::Previous => format!(
                "{member} has its new keys, and keeps the earlier ones until the spec lists them no more and every Secret is sealed anew"
            ),
        }
    }
}

/// Lists these keys in the spec, or says that they are to be listed.
async fn consent(home: Option<&Cluster>, pairs: &Pairs, wanted: &[String]) -> anyhow::Result<()> {
    let member = &pairs.member;
    let Some(home) = home else {
        let entry = yaml::to_string(&json!([{"name": member, "publicKeys": wanted}]));
        let words = format!(
            "Let spec.members of the Federation list these keys of {member}, and no others, where the spec is at home (or run this with --league-context):\n{}",
            entry.trim_end()
        );
        print::note(Tone::Plain, &words);
        return Ok(());
    };
    let edit = |league: &League| list(league.list("members"), pairs, wanted);
    if League::edit(home, edit).await? {
        print::note(Tone::Faint, &format!("spec.members[{member}].publicKeys: {}", wanted.join(", ")));
    }
    Ok(())
}

/// The members of the spec with these keys of one; `None` when they are listed already.
fn list(mut members: Vec<Value>, pairs: &Pairs, wanted: &[String]) -> anyhow::Result<Option<Value>> {
    let name = &pairs.member;
    let Some(entry) = members.iter_mut().find(|entry| entry["name"] == **name) else {
        bail!("spec.members does not list {name}: it is no member of the league");
    };
    let listed: Vec<&str> = entry["publicKeys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // The base64 of a key may end in `=` or not.
    let is = |one: &str, other: &str| one.trim_end_matches('=') == other.trim_end_matches('=');
    if listed.len() == wanted.len() && listed.iter().zip(wanted).all(|(listed, wanted)| is(listed, wanted)) {
        return Ok(None);
    }
    if !listed.is_empty() && !listed.iter().any(|listed| pairs.in_use.iter().any(|key| is(key, listed))) {
        bail!(
            "spec.members lists {name} with other keys than its operator has: is it another cluster's name? If its keys were renewed, write them there: {}",
            pairs.in_use.join(", ")
        );
    }
    entry["publicKeys"] = json!(wanted);
    Ok(Some(json!({"members": members})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(rotation: &Value) -> Value {
        json!({"member": "gcp", "publicKeys": ["ed25519:A=", "x25519:B="], "rotation": rotation})
    }

    #[test]
    fn the_spec_lists_both_pairs_and_then_the_one_in_use() {
        let next = Pairs::of(&health(&json!({"next": ["ed25519:C=", "x25519:D="]}))).unwrap();
        let both = ["ed25519:A=", "x25519:B=", "ed25519:C=", "x25519:D="];
        assert_eq!(next.to_list(), both);
        for rotation in [json!({"previous": ["x25519:Z="]}), Value::Null] {
            assert_eq!(Pairs::of(&health(&rotation)).unwrap().to_list(), both[..2], "{rotation}");
        }
        let unknown = json!({"member": "gcp", "publicKeys": []});
        assert!(Pairs::of(&unknown).unwrap_err().to_string().contains("run this release there"));

        let members =
            |keys: &[&str]| vec![json!({"name": "aws"}), json!({"name": "gcp", "publicKeys": keys, "novelty": 1})];
        let wanted = next.to_list();
        for listed in [&[][..], &["ed25519:A"], &both[..2]] {
            let edited = list(members(listed), &next, &wanted).unwrap().unwrap();
            assert_eq!(edited["members"], json!(members(&both)), "{listed:?}");
        }
        assert_eq!(list(members(&["ed25519:A", "x25519:B", "ed25519:C", "x25519:D"]), &next, &wanted).unwrap(), None);
        let other = list(members(&["ed25519:Q"]), &next, &wanted).unwrap_err().to_string();
        assert!(other.contains("gcp with other keys") && other.contains("ed25519:A="), "{other}");
        assert!(list(vec![], &next, &wanted).unwrap_err().to_string().contains("no member"));
    }
}
