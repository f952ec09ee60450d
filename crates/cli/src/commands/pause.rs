//! `hansa pause` and `hansa resume`: leave the outputs of an object, a member or the league as they are.

use super::Outcome;
use crate::cluster::{Body, Cluster, Connection, MANAGER, Verb};
use crate::key::{OptionalObject, Source};
use crate::league::League;
use crate::member;
use crate::print::{self, Output};
use crate::reads::Reads;
use crate::resource::{Resource, key_words};
use anyhow::{Context, bail};
use hansa_model::{MemberName, RecordKey};
use serde_json::{Value, json};

/// Arguments of `hansa pause` and `hansa resume`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    object: OptionalObject,
    /// All outputs of a member. With neither an object nor a member, all outputs of the league.
    #[arg(long, value_name = "MEMBER", conflicts_with = "words")]
    member: Option<MemberName>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Pauses, or resumes.
pub async fn run(arguments: Arguments, paused: bool) -> anyhow::Result<Outcome> {
    let cluster = arguments.connection.cluster().await?;
    let (what, changed) = match (arguments.object.given(), &arguments.member) {
        (Some(object), _) => {
            let key = object.key(Some(Source::Cluster(&cluster))).await?;
            (key_words(&key), pause_object(&cluster, &arguments.connection, &key, paused).await?)
        }
        (None, Some(member)) => {
            let edit = |league: &League| pause_member(&league.list("members"), member, paused);
            (format!("member {member}"), League::edit(&cluster, edit).await?)
        }
        (None, None) => {
            let edit = |league: &League| Ok((league.spec.paused != paused).then(|| json!({"paused": paused})));
            ("the league".to_owned(), League::edit(&cluster, edit).await?)
        }
    };
    let state = if paused { "paused" } else { "resumed" };
    let words = if changed { format!("{what}: {state}") } else { format!("{what}: {state} already") };
    print::done(arguments.output, &json!({"what": what, "paused": paused, "changed": changed}), &words)?;
    Ok(Outcome::Done)
}

/// The members of the spec with one of them paused or resumed; `None` when it is so already.
fn pause_member(members: &[Value], member: &MemberName, paused: bool) -> anyhow::Result<Option<Value>> {
    let mut members = members.to_vec();
    let found = members.iter_mut().find(|entry| entry["name"] == member.as_str());
    let Some(fields) = found.and_then(Value::as_object_mut) else {
        bail!("{member} is no member of the league: `hansa status` lists them");
    };
    if fields.get("paused").and_then(Value::as_bool).unwrap_or(false) == paused {
        return Ok(None);
    }
    if paused {
        fields.insert("paused".to_owned(), true.into());
    } else {
        fields.remove("paused");
    }
    Ok(Some(json!({"members": members})))
}

async fn pause_object(
    cluster: &Cluster,
    connection: &Connection,
    key: &RecordKey,
    paused: bool,
) -> anyhow::Result<bool> {
    let resource = Resource::federated(key);
    let reads = Reads::open(connection).await;
    let record = match &reads {
        Ok(reads) => reads.explain(key).await,
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    let Some(object) = cluster.find(&resource).await? else {
        bail!("{} is not kept in this cluster: {}", key_words(key), homes(&record));
    };
    if let (Ok(record), Some(member)) = (&record, member::at_hand(cluster, reads.as_ref().ok()).await)
        && is_copy(record, &member)
    {
        bail!("this cluster keeps a copy of {} that does not count: {}", key_words(key), homes(&Ok(record.clone())));
    }
    if object["spec"]["paused"].as_bool().unwrap_or(false) == paused {
        return Ok(false);
    }
    let patch = json!({"spec": {"paused": if paused { json!(true) } else { Value::Null }}});
    let query = format!("fieldManager={MANAGER}&fieldValidation=Strict");
    let patched =
        cluster.request(Verb::Patch, &resource, &query, Body::MergePatch(&patch)).await.context("spec.paused")?;
    if patched.object["status"]["agreed"]["differs"] == true {
        print::note(
            print::Tone::Warning,
            "this cluster's object differs from the agreed one: the edit counts only once that is settled (`hansa explain`)",
        );
    }
    Ok(true)
}

/// Whether a member is none of the homes of an object that the league knows.
fn is_copy(record: &Value, member: &MemberName) -> bool {
    let homes = record["homes"].as_array().filter(|homes| !homes.is_empty());
    record["found"] == true && homes.is_some_and(|homes| !homes.iter().any(|home| home == member.as_str()))
}

/// Where an object is at home, as far as the operator could be asked.
fn homes(record: &anyhow::Result<Value>) -> String {
    match record {
        Ok(record) if record["found"] == true => {
            let homes: Vec<&str> = record["homes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            match homes.as_slice() {
                [] => "it is homeless: make a member its home first (`hansa home move`)".to_owned(),
                homes => format!("its home is {}: use the context of that member", homes.join(", ")),
            }
        }
        Ok(_) => "the league knows no such object: `hansa get -A` lists what it knows".to_owned(),
        Err(error) => format!("where its home is cannot be asked ({error:#})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_paused_once_and_the_others_stay_as_they_are() {
        let members = [json!({"name": "aws", "novelty": 1}), json!({"name": "gcp"})];
        let aws: MemberName = "aws".parse().unwrap();
        let paused = pause_member(&members, &aws, true).unwrap().unwrap();
        assert_eq!(paused, json!({"members": [{"name": "aws", "novelty": 1, "paused": true}, {"name": "gcp"}]}));
        let after = paused["members"].as_array().unwrap();
        assert_eq!(pause_member(after, &aws, true).unwrap(), None);
        assert_eq!(pause_member(after, &aws, false).unwrap().unwrap()["members"], json!(members));
        let error = pause_member(&members, &"azure".parse().unwrap(), true).unwrap_err();
        assert!(error.to_string().contains("azure is no member"));
    }

    #[test]
    fn only_a_home_counts() {
        let record = |homes: Value| json!({"found": true, "homes": homes});
        let aws: MemberName = "aws".parse().unwrap();
        assert!(is_copy(&record(json!(["gcp"])), &aws));
        assert!(!is_copy(&record(json!(["gcp", "aws"])), &aws));
        assert!(!is_copy(&record(json!([])), &aws));
        assert!(!is_copy(&json!({"found": false}), &aws));
        assert!(homes(&Ok(record(json!(["gcp"])))).starts_with("its home is gcp"));
        assert!(homes(&Ok(record(json!([])))).contains("homeless"));
    }
}
