//! `hansa join`: the cluster at hand becomes a member of the league on its topology server.
//!
//! Two consents let it in: its operator has asked with its own key, and a user lists it, with that key, where
//! the league's spec is at home. With `--league-context` the command does the second, too; else it prints
//! what is to be listed. What the two mean together, the members vote on.

use super::Outcome;
use crate::cluster::Connection;
use crate::league::League;
use crate::newcomer::{Newcomer, until};
use crate::print::{self, Output, Tone};
use crate::progress::Progress;
use crate::reads::Reads;
use crate::yaml;
use anyhow::{Context, bail};
use hansa_model::MemberName;
use serde_json::{Value, json};

/// Arguments of `hansa join`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The context of the member where the league's spec is at home: the newcomer is listed there.
    #[arg(long, value_name = "NAME")]
    league_context: Option<String>,
    #[command(flatten)]
    newcomer: Newcomer,
    #[command(flatten)]
    output: Output,
}

/// Lists the newcomer, or says how, and waits until it is voted in.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let newcomer = &arguments.newcomer;
    let reads = Reads::open(&newcomer.connection).await?;
    let deadline = newcomer.deadline();
    let said = newcomer.operator(&reads, deadline).await?;
    let member = &said.member;
    if said.health["league"].is_null() {
        bail!(
            "there is no league on the topology server of {member} yet: `hansa init` founds one, or name that of the league"
        );
    }
    let entry = newcomer.entry(&said);
    let mut listed = false;
    if !votes(&reads, &said.member).await? {
        match &arguments.league_context {
            Some(context) => {
                let league =
                    Connection { context: Some(context.clone()), operator: None, ..newcomer.connection.clone() };
                let cluster = league.cluster().await?;
                let edit = |league: &League| list(&league.list("members"), &entry);
                listed = League::edit(&cluster, edit).await.with_context(|| format!("--league-context {context}"))?;
            }
            None => print::note(
                Tone::Plain,
                &format!(
                    "{member} has asked with its own key. A user of the league consents by listing it under spec.members, where the spec is at home (or run this with --league-context):\n{}",
                    yaml::to_string(&json!([entry])).trim_end()
                ),
            ),
        }
    }
    let progress = Progress::spinner(format!("{member} is waited for"));
    until(deadline, async || {
        let (votes, health) = (votes(&reads, member).await?, reads.health().await?);
        if votes && health["ready"] == true {
            return Ok(Ok(()));
        }
        let missing = match health["frozen"].as_str() {
            Some(frozen) => frozen.to_owned(),
            None => format!("{member} is voted in, and its operator is not ready yet"),
        };
        progress.say(missing.clone());
        Ok(Err(missing))
    })
    .await?;
    drop(progress);
    let words = format!("{member} is a member of the league: `hansa status` shows all of them");
    print::done(arguments.output, &json!({"member": member, "entry": entry, "listed": listed}), &words)?;
    Ok(Outcome::Done)
}

/// Whether the newcomer votes, by the word of its operator: under its name, and it is no clone.
async fn votes(reads: &Reads, member: &MemberName) -> anyhow::Result<bool> {
    let ballots = reads.ballots().await?;
    Ok(ballots["voters"][member.as_str()].is_object() && ballots["frozen"].is_null())
}

/// The members of the spec with this one; `None` when it is there already.
fn list(members: &[Value], entry: &Value) -> anyhow::Result<Option<Value>> {
    let mut members = members.to_vec();
    let name = &entry["name"];
    match members.iter_mut().find(|known| known["name"] == *name) {
        None => members.push(entry.clone()),
        Some(known) if !known["leaving"].is_null() => bail!(
            "spec.members lists {} as about to leave: wait until it has left (`hansa leave`), or take `leaving` out there",
            name.as_str().unwrap_or_default()
        ),
        // Listed without keys, the first that asks is let in: with them, this one alone.
        Some(known) if known["publicKeys"].as_array().is_none_or(Vec::is_empty) => {
            known["publicKeys"] = entry["publicKeys"].clone();
        }
        // While its keys are rotated, two pairs of them are listed.
        Some(known) if contains(&known["publicKeys"], &entry["publicKeys"]) => return Ok(None),
        Some(_) => bail!(
            "spec.members lists {} with other keys: is it another cluster's name? If its keys were renewed, write them there: {}",
            name.as_str().unwrap_or_default(),
            entry["publicKeys"]
        ),
    }
    Ok(Some(json!({"members": members})))
}

fn contains(listed: &Value, keys: &Value) -> bool {
    let listed = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    keys.as_array().is_some_and(|keys| keys.iter().all(|key| listed.contains(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_is_listed_once_and_under_its_own_key() {
        let entry = json!({"name": "gcp", "region": "europe-west4", "publicKeys": ["ed25519:A", "x25519:B"]});
        let aws = json!({"name": "aws", "novelty": 1});
        let both = list(std::slice::from_ref(&aws), &entry).unwrap().unwrap()["members"].clone();
        assert_eq!(both, json!([aws, entry]));
        assert_eq!(list(both.as_array().unwrap(), &entry).unwrap(), None);
        let pinned = list(&[json!({"name": "gcp", "labels": {"a": "b"}})], &entry).unwrap().unwrap();
        assert_eq!(pinned["members"][0]["publicKeys"], entry["publicKeys"]);
        assert_eq!(pinned["members"][0]["labels"], json!({"a": "b"}));
        let rotating = json!({"name": "gcp", "publicKeys": ["ed25519:A", "x25519:B", "ed25519:C", "x25519:D"]});
        assert_eq!(list(&[rotating], &entry).unwrap(), None);
        let other = list(&[json!({"name": "gcp", "publicKeys": ["ed25519:C"]})], &entry).unwrap_err().to_string();
        assert!(other.contains("gcp with other keys") && other.contains("ed25519:A"), "{other}");
        let leaving = list(&[json!({"name": "gcp", "leaving": {}})], &entry).unwrap_err().to_string();
        assert!(leaving.contains("about to leave"), "{leaving}");
    }
}
