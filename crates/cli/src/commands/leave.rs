//! `hansa leave`: a member goes, in order, and nothing is lost.
//!
//! | Step | Done by |
//! |---|---|
//! | the spec says that the member is about to leave: nothing is placed there any more | this command's edit, voted on |
//! | what is at home there alone gets its home in the member at hand | a Request for each object, with the user's own rights |
//! | what stands there goes, or stays as ordinary objects (`--keep-outputs`) | the operators, within the budget for removals |
//! | the spec lists the member no more, and it is voted out | this command's edit, voted on |
//!
//! Each step is looked for before it is done, so an interrupted one is simply repeated. Of a member that was voted lost
//! and does not come back (`--lost`) nothing is waited for: its operator alone could say that its outputs are gone.

use super::{Outcome, duration};
use crate::cluster::{Cluster, Connection};
use crate::league::League;
use crate::member;
use crate::newcomer::until;
use crate::print::{self, Output, Tone, count};
use crate::progress::Progress;
use crate::reads::{Reads, Selection};
use crate::request;
use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use hansa_api::{Action, Arguments as RequestArguments};
use hansa_model::{MemberName, RecordKey};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// How many homes move at a time.
const MOVES: usize = 8;
/// How long one move may take.
const MOVE_PATIENCE: Duration = Duration::from_secs(60);
/// How many objects a message names.
const SHOWN: usize = 5;

/// Arguments of `hansa leave`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The member that is to go. Ask in the member where the league's spec is at home: what is at home in
    /// the one that goes, and nowhere else, gets its home there.
    member: MemberName,
    /// Leave what stands in the member as ordinary objects, without Hansa's marks.
    #[arg(long)]
    keep_outputs: bool,
    /// The member is voted lost, and does not come back: what stands there is left as it is, and is not waited for.
    #[arg(long)]
    lost: bool,
    /// How long to wait until it has left.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Lets a member leave, step by step.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let Arguments { member, lost, .. } = &arguments;
    let deadline = Instant::now() + arguments.timeout;
    let (cluster, reads) = (arguments.connection.cluster().await?, Reads::open(&arguments.connection).await?);
    let here = member::at_hand(&cluster, Some(&reads)).await;
    let here = here.with_context(|| {
        format!(
            "which member the cluster at {} is cannot be told: start its operator, or name another cluster with --context",
            cluster.server
        )
    })?;
    if here == *member {
        bail!(
            "{member} is the member at hand: ask in one that stays, where the league's spec is at home; if that is {member}, let another take it first (`hansa status`)"
        );
    }
    // Nobody is there to take them away.
    let keep_outputs = arguments.keep_outputs || *lost;
    let edit = |league: &League| mark(&league.list("members"), member, keep_outputs);
    let listed = League::read(&cluster).await?.spec.member(member).is_some();
    let ballots = reads.ballots().await?;
    let rows = reads.objects(&Selection::default()).await?;
    let (moved, secrets) = (at_home(&rows, member), secrets(&rows, member));
    let done = |moved: usize| {
        let value = json!({"member": member, "homesMoved": moved, "to": here, "secretsToRotate": secrets});
        print::done(arguments.output, &value, &farewell(member, &here, *lost, moved, &secrets))
    };
    if !listed && !is_voter(&ballots, member) {
        // An earlier call may have ended before it could say so.
        if !secrets.is_empty() {
            done(0)?;
            return Ok(Outcome::Done);
        }
        bail!("{member} is no member of the league: it has left, or never was one; `hansa status` lists them");
    }
    if *lost && !is_lost(&ballots, member) {
        bail!(
            "--lost: {member} is not voted lost (`hansa ballot show`), so its operator may take away itself what stands there: leave it out, or repeat this when it is"
        );
    }
    if listed {
        League::edit(&cluster, edit).await?;
        move_homes(&cluster, &reads, member, &here, deadline).await?;
        empty(&reads, member, *lost, deadline).await?;
        League::edit(&cluster, |league| Ok(unlist(&league.list("members"), member))).await?;
    }
    let progress = Progress::spinner(format!("{member} is voted out"));
    until(deadline, async || {
        let ballots = reads.ballots().await?;
        Ok(match ballots["held"][member.as_str()].as_str() {
            _ if !is_voter(&ballots, member) => Ok(()),
            Some(why) => Err(format!("{member} is not voted out yet: {why}")),
            None => Err(format!("{member} is not voted out yet: `hansa ballot ls`")),
        })
    })
    .await?;
    drop(progress);
    done(moved.len())?;
    Ok(Outcome::Done)
}

/// Whether a member votes, by the word of the operator at hand.
fn is_voter(ballots: &Value, member: &MemberName) -> bool {
    ballots["voters"][member.as_str()].is_object()
}

/// Whether the others have voted a member lost.
fn is_lost(ballots: &Value, member: &MemberName) -> bool {
    ballots["voters"][member.as_str()]["state"] == "lost"
}

fn farewell(member: &MemberName, here: &MemberName, lost: bool, moved: usize, secrets: &[RecordKey]) -> String {
    let mut words = format!("{member} has left the league");
    if lost {
        words.push_str("; what stands there is left as it is");
    }
    if moved > 0 {
        words.push_str(&format!("; the home of {} moved to {here}", count(moved, "object")));
    }
    if secrets.is_empty() {
        words.push_str(". No Secret was shared with it.");
    } else {
        let names: Vec<String> = secrets.iter().map(|key| format!("  {}/{}", key.namespace, key.name)).collect();
        words.push_str(&format!(
            ".\nIt could read these Secrets, and still can where it kept a copy. Rotate them:\n{}",
            names.join("\n")
        ));
    }
    words.push_str(&format!(
        "\nTake its access to the topology server away, and remove its operator there: `hansa manifests --member {member} … | kubectl delete -f -`."
    ));
    words
}

/// The members of the spec with one of them about to leave; `None` when it is so already.
fn mark(members: &[Value], member: &MemberName, keep_outputs: bool) -> anyhow::Result<Option<Value>> {
    let mut members = members.to_vec();
    let stays = members.iter().any(|entry| entry["name"] != member.as_str() && entry["leaving"].is_null());
    let Some(entry) = members.iter_mut().find(|entry| entry["name"] == member.as_str()) else {
        bail!("{member} is no member of the league: `hansa status` lists them");
    };
    if !stays {
        bail!("{member} is the last member that stays: delete what is federated, and take the operator away");
    }
    let leaving = if keep_outputs { json!({"keepOutputs": true}) } else { json!({}) };
    let known = &entry["leaving"];
    if !known.is_null() && (known["keepOutputs"] == true) == keep_outputs {
        return Ok(None);
    }
    entry["leaving"] = leaving;
    Ok(Some(json!({"members": members})))
}

/// The members of the spec without this one; `None` when it is not there.
fn unlist(members: &[Value], member: &MemberName) -> Option<Value> {
    let left: Vec<&Value> = members.iter().filter(|entry| entry["name"] != member.as_str()).collect();
    (left.len() < members.len()).then(|| json!({"members": left}))
}

fn key(row: &Value) -> Option<RecordKey> {
    row["key"].as_str()?.parse().ok()
}

/// The objects whose only home is in this member.
fn at_home(rows: &[Value], member: &MemberName) -> Vec<RecordKey> {
    let alone = |row: &&Value| row["homes"] == json!([member]) && row["deleted"] != true;
    rows.iter().filter(alone).filter_map(key).collect()
}

/// The Secrets that were ever sealed to this member: it kept or had them.
fn secrets(rows: &[Value], member: &MemberName) -> Vec<RecordKey> {
    let entries = |row: &Value| row["members"].as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
    let shared = |row: &&Value| {
        let kept = row["homes"].as_array().into_iter().flatten().any(|home| home == member.as_str());
        row["type"] == "secrets" && (kept || entries(row).iter().any(|entry| entry["member"] == member.as_str()))
    };
    rows.iter().filter(shared).filter_map(key).collect()
}

/// What still ties a member to the league, for people; `None`: nothing. One that is lost is tied by what nobody else
/// keeps, and by what is to stand there: that it is not to any more needs no word of its own.
fn ties(rows: &[Value], member: &MemberName, lost: bool) -> Option<String> {
    let is_home = |row: &&Value| row["homes"].as_array().into_iter().flatten().any(|home| home == member.as_str());
    let homes = if lost { at_home(rows, member).len() } else { rows.iter().filter(is_home).count() };
    let stands = |placed: &Value| if lost { placed == "placed" } else { placed != "gone" };
    let mut outputs = 0;
    let mut why = None;
    for entry in rows.iter().flat_map(|row| row["members"].as_array().into_iter().flatten()) {
        if entry["member"] == member.as_str() && stands(&entry["placed"]) {
            outputs += 1;
            why = why.or(entry["message"].as_str().filter(|message| !message.is_empty()));
        }
    }
    if homes + outputs == 0 {
        return None;
    }
    let why = why.map_or_else(String::new, |why| format!(" (one says: {why})"));
    let (homes, outputs) = (count(homes, "home"), count(outputs, "output"));
    Some(format!(
        "{homes} and {outputs} are left in {member}{why}; what waits for a yes, `hansa status` shows in each member"
    ))
}

/// Makes the member at hand the home of everything whose only home goes.
async fn move_homes(
    cluster: &Cluster,
    reads: &Reads,
    member: &MemberName,
    here: &MemberName,
    deadline: Instant,
) -> anyhow::Result<()> {
    // The operator has to know first that the member's word is not needed.
    until(deadline, async || {
        let members = reads.members().await?;
        let entry = members.iter().map(|entry| &entry["member"]).find(|entry| entry["name"] == member.as_str());
        let knows = entry.is_some_and(|entry| !entry["leaving"].is_null());
        Ok(if knows {
            Ok(())
        } else {
            Err("the members have not agreed yet that it leaves: `hansa ballot explain spec`".to_owned())
        })
    })
    .await?;
    let keys = at_home(&reads.objects(&Selection::default()).await?, member);
    if keys.is_empty() {
        return Ok(());
    }
    let progress = Progress::steps(keys.len(), format!("homes move from {member} to {here}"));
    let moves = stream::iter(keys).map(|key| {
        let progress = &progress;
        async move {
            let wanted = RequestArguments { member: Some(here.clone()), ..RequestArguments::default() };
            let spec = request::spec(Action::HomeMove, Some(&key), wanted);
            let reply = request::exchange(cluster, &spec, MOVE_PATIENCE, |_| ()).await;
            progress.step();
            match reply {
                Ok(reply) if reply.waits => Some(reply.message),
                Ok(_) => None,
                Err(error) => Some(format!("{key}: {error:#}")),
            }
        }
    });
    let failed: Vec<String> = moves.buffer_unordered(MOVES).filter_map(async |failed| failed).collect().await;
    drop(progress);
    for why in failed.iter().take(SHOWN) {
        print::note(Tone::Warning, why);
    }
    if failed.len() > SHOWN {
        print::note(Tone::Warning, &format!("and {} more", failed.len() - SHOWN));
    }
    Ok(())
}

/// Waits until nothing ties the member to the league any more.
async fn empty(reads: &Reads, member: &MemberName, lost: bool, deadline: Instant) -> anyhow::Result<()> {
    let progress = Progress::spinner(format!("{member} is emptied"));
    let mut told = std::collections::BTreeSet::new();
    until(deadline, async || {
        for held in reads.held().await? {
            let set = held["set"].as_str().unwrap_or_default().to_owned();
            if told.insert(set.clone()) {
                let why = held["why"].as_str().unwrap_or_default();
                print::note(Tone::Warning, &format!("{why}: `hansa confirm {set}`"));
            }
        }
        let health = reads.health().await?;
        if let Some(unread) = unread_page(&health) {
            return Ok(Err(unread));
        }
        let Some(ties) = ties(&reads.objects(&Selection::default()).await?, member, lost) else { return Ok(Ok(())) };
        progress.say(ties.clone());
        let next = match !lost && is_lost(&reads.ballots().await?, member) {
            true => format!(
                "{member} is voted lost: if it does not come back, `hansa leave {member} --lost` goes on without it"
            ),
            false => format!("`hansa leave {member}` goes on from here"),
        };
        Ok(Err(format!("{ties}; {next}")))
    })
    .await
}

/// What keeps one from telling whether a member is empty: the operator at hand cannot read everything.
fn unread_page(health: &Value) -> Option<String> {
    let entries = health["unreadable"].as_array()?;
    let page = entries.iter().find(|entry| entry["key"].as_str().is_some_and(|key| key.starts_with("/v1/pages/")))?;
    let text = |field: &str| page[field].as_str().unwrap_or_default().to_owned();
    Some(format!(
        "what stands in {} cannot be read ({}), so nobody can tell what ties the member: `hansa status`",
        text("key"),
        text("why")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MemberName {
        text.parse().unwrap()
    }

    #[test]
    fn a_member_is_marked_once_and_the_last_one_stays() {
        let members = [json!({"name": "aws", "novelty": 1}), json!({"name": "gcp"})];
        let marked = mark(&members, &name("gcp"), false).unwrap().unwrap();
        assert_eq!(marked["members"][1], json!({"name": "gcp", "leaving": {}}));
        assert_eq!(marked["members"][0], members[0]);
        let marked = marked["members"].as_array().unwrap();
        assert_eq!(mark(marked, &name("gcp"), false).unwrap(), None);
        assert_eq!(
            mark(marked, &name("gcp"), true).unwrap().unwrap()["members"][1]["leaving"],
            json!({"keepOutputs": true})
        );
        assert!(mark(marked, &name("aws"), false).unwrap_err().to_string().contains("the last member that stays"));
        assert!(mark(&members, &name("azure"), false).unwrap_err().to_string().contains("no member"));
        assert_eq!(unlist(marked, &name("gcp")), Some(json!({"members": [members[0]]})));
        assert_eq!(unlist(&members, &name("azure")), None);
    }

    #[test]
    fn a_member_is_not_taken_for_empty_while_a_page_cannot_be_read() {
        let health =
            json!({"unreadable": [{"key": "/v1/members/b/cell", "why": "cut"}, {"key": "/v1/pages/3", "why": "cut"}]});
        assert!(unread_page(&health).unwrap().contains("/v1/pages/3 cannot be read (cut)"));
        assert_eq!(unread_page(&json!({"unreadable": [{"key": "/v1/members/b/cell", "why": "cut"}]})), None);
        assert_eq!(unread_page(&json!({})), None);
    }

    #[test]
    fn what_ties_a_member_is_counted_and_told() {
        let row = |key: &str, homes: Value, placed: Value| {
            let type_name = key.split('/').next().unwrap_or_default();
            json!({"key": key, "type": type_name, "homes": homes, "deleted": false, "members": placed})
        };
        let placed =
            |member: &str, state: &str, message: &str| json!({"member": member, "placed": state, "message": message});
        let rows = [
            row("configmaps/shop/alone", json!(["gcp"]), json!([placed("gcp", "placed", "")])),
            row("configmaps/shop/both", json!(["aws", "gcp"]), json!([placed("aws", "placed", "")])),
            row("secrets/shop/token", json!(["aws"]), json!([placed("gcp", "gone", "")])),
            row("secrets/shop/other", json!(["aws"]), json!([placed("aws", "placed", "")])),
        ];
        let gcp = name("gcp");
        assert_eq!(at_home(&rows, &gcp), ["configmaps/shop/alone".parse().unwrap()]);
        assert_eq!(secrets(&rows, &gcp), ["secrets/shop/token".parse().unwrap()]);
        assert!(ties(&rows, &gcp, false).unwrap().starts_with("2 homes and 1 output are left in gcp; "));
        let waits = [row("configmaps/shop/x", json!(["aws"]), json!([placed("gcp", "withdrawing", "it is held")]))];
        assert!(ties(&waits, &gcp, false).unwrap().contains("(one says: it is held)"));
        assert_eq!(ties(&rows[2..], &gcp, false), None);
        // Without a word of its own: what it alone keeps, and what is still to stand there.
        assert!(ties(&rows, &gcp, true).unwrap().starts_with("1 home and 1 output are left in gcp; "));
        assert_eq!(ties(&waits, &gcp, true), None);
    }

    #[test]
    fn a_farewell_names_what_to_rotate() {
        let (gcp, aws) = (name("gcp"), name("aws"));
        let words = farewell(&gcp, &aws, false, 2, &["secrets/shop/token".parse().unwrap()]);
        assert!(words.contains("Rotate them:\n  shop/token"), "{words}");
        assert!(words.contains("; the home of 2 objects moved to aws."), "{words}");
        assert!(farewell(&gcp, &aws, false, 0, &[]).contains("No Secret was shared with it."));
        let words = farewell(&gcp, &aws, true, 0, &[]);
        assert!(words.starts_with("gcp has left the league; what stands there is left as it is."), "{words}");
    }
}
