//! `hansa wait`: until a federated object is as it should be.

use super::{Outcome, duration};
use crate::cluster::Connection;
use crate::key::{ObjectArguments, Source};
use crate::league::condition;
use crate::print::{self, Output};
use crate::progress::Progress;
use crate::resource::{Resource, key_words};
use anyhow::bail;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Arguments of `hansa wait`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    object: ObjectArguments,
    /// What for: Ready, Agreed, Scheduled, Propagated or Healthy (or Ready=False and the like), or
    /// deleted: this cluster's object is gone.
    #[arg(long = "for", value_name = "STATE", default_value = "Ready", value_parser = wanted)]
    wanted: Wanted,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Wanted {
    Condition { kind: &'static str, status: &'static str },
    Deleted,
}

fn wanted(text: &str) -> Result<Wanted, String> {
    const KINDS: [&str; 5] = ["Ready", "Agreed", "Scheduled", "Propagated", "Healthy"];
    const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
    if text.eq_ignore_ascii_case("deleted") || text.eq_ignore_ascii_case("delete") {
        return Ok(Wanted::Deleted);
    }
    // kubectl's way to say it.
    let text = text.strip_prefix("condition=").unwrap_or(text);
    let (kind, status) = text.split_once('=').unwrap_or((text, "True"));
    let find = |known: &[&'static str], word: &str| known.iter().find(|one| one.eq_ignore_ascii_case(word)).copied();
    match (find(&KINDS, kind), find(&STATUSES, status)) {
        (Some(kind), Some(status)) => Ok(Wanted::Condition { kind, status }),
        (None, _) => Err(format!("there is no state `{kind}`: {} or deleted is expected", KINDS.join(", "))),
        (_, None) => Err(format!("a condition is {}, and not `{status}`", STATUSES.join(", "))),
    }
}

/// How an object stands to what is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Standing {
    Met,
    /// Not yet, and how it is.
    Waiting(String),
    /// There is no such object.
    Missing,
}

fn judge(object: Option<&Value>, wanted: &Wanted) -> Standing {
    let (object, kind, status) = match (object, wanted) {
        (None, Wanted::Deleted) => return Standing::Met,
        (None, Wanted::Condition { .. }) => return Standing::Missing,
        (Some(object), Wanted::Deleted) => {
            let agreed = condition(object, "Agreed");
            let words = match (object["metadata"]["deletionTimestamp"].is_string(), agreed["reason"].as_str()) {
                (_, Some("Held")) => agreed["message"].as_str().unwrap_or_default().to_owned(),
                (true, _) => "it is being deleted".to_owned(),
                (false, _) => "it is there, and nobody deletes it".to_owned(),
            };
            return Standing::Waiting(words);
        }
        (Some(object), Wanted::Condition { kind, status }) => (object, *kind, *status),
    };
    let found = condition(object, kind);
    let generation = &object["metadata"]["generation"];
    // A condition about an older spec says nothing of this one.
    let observed = [&object["status"]["observedGeneration"], &found["observedGeneration"]];
    if found.is_null() || observed.iter().any(|observed| *observed != generation) {
        return Standing::Waiting("its operator has not judged this generation yet".to_owned());
    }
    if found["status"] == status {
        return Standing::Met;
    }
    let text = |field: &str| found[field].as_str().unwrap_or_default();
    let message = if text("message").is_empty() { String::new() } else { format!(": {}", text("message")) };
    Standing::Waiting(format!("{kind} is {} ({}){message}", text("status"), text("reason")))
}

/// Waits.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let cluster = arguments.connection.cluster().await?;
    let key = arguments.object.key(Some(Source::Cluster(&cluster))).await?;
    let what = key_words(&key);
    let progress = Progress::spinner(format!("{what}: waiting"));
    let mut last = String::new();
    let mut seen = false;
    let watched = |object: Option<&Value>| match judge(object, &arguments.wanted) {
        Standing::Met => Some(true),
        Standing::Missing => Some(false),
        Standing::Waiting(words) => {
            seen = true;
            progress.say(format!("{what}: {words}"));
            last = words;
            None
        }
    };
    let ended = cluster.until(&Resource::federated(&key), Instant::now() + arguments.timeout, watched).await?;
    drop(progress);
    match (ended, &arguments.wanted) {
        (Some(true), Wanted::Deleted) => {
            let words = format!("{what} is gone from this cluster");
            print::done(arguments.output, &json!({"object": key, "state": "deleted"}), &words)?;
        }
        (Some(true), Wanted::Condition { kind, status }) => {
            let state = json!({"object": key, "state": format!("{kind}={status}")});
            print::done(arguments.output, &state, &format!("{what}: {kind} is {status}"))?;
        }
        (Some(false), _) if seen => bail!("{what} was deleted while it was waited for"),
        (Some(false), _) => bail!("{what} is not kept in this cluster: `hansa home list` tells where"),
        (None, _) => bail!("{what}: not within {} s: {last}", arguments.timeout.as_secs()),
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(generation: u64, observed: u64, status: &str) -> Value {
        json!({"metadata": {"generation": generation}, "status": {"observedGeneration": observed, "conditions": [
            {"type": "Ready", "status": status, "reason": "Why", "message": "because", "observedGeneration": observed},
        ]}})
    }

    #[test]
    fn only_a_condition_of_this_generation_counts() {
        let ready = wanted("ready").unwrap();
        assert_eq!(judge(Some(&object(2, 2, "True")), &ready), Standing::Met);
        assert!(
            matches!(judge(Some(&object(3, 2, "True")), &ready), Standing::Waiting(words) if words.contains("not judged"))
        );
        assert_eq!(
            judge(Some(&object(2, 2, "False")), &ready),
            Standing::Waiting("Ready is False (Why): because".into())
        );
        assert_eq!(judge(Some(&object(2, 2, "False")), &wanted("condition=Ready=false").unwrap()), Standing::Met);
        assert_eq!(judge(None, &ready), Standing::Missing);
    }

    #[test]
    fn deleted_is_gone_and_a_held_deletion_says_why() {
        let held = json!({"metadata": {"deletionTimestamp": "now"}, "status": {"conditions": [
            {"type": "Agreed", "status": "False", "reason": "Held", "message": "500 removals"},
        ]}});
        assert_eq!(judge(None, &Wanted::Deleted), Standing::Met);
        assert_eq!(judge(Some(&held), &wanted("deleted").unwrap()), Standing::Waiting("500 removals".into()));
    }

    #[test]
    fn other_words_are_refused() {
        assert!(wanted("Happy").unwrap_err().contains("there is no state `Happy`"));
        assert!(wanted("Ready=Maybe").unwrap_err().contains("not `Maybe`"));
    }
}
