//! `hansa explain`: why each member has what it has.

use super::Outcome;
use crate::cluster::Connection;
use crate::key::ObjectArguments;
use crate::print::{self, Format, Output, Screen, Table, Tone};
use crate::reads::Reads;
use serde_json::Value;

/// Arguments of `hansa explain`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    object: ObjectArguments,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Explains an object. It ends as wrong when the league knows no such object.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let reads = Reads::open(&arguments.connection).await?;
    let key = arguments.object.key(Some(reads.source())).await?;
    let answer = reads.explain(&key).await?;
    if answer["found"] != true && arguments.output.format == Format::Table {
        anyhow::bail!("{key}: {}", answer["why"].as_str().unwrap_or("the league knows no such object"));
    }
    print::answer(arguments.output.format, &answer, |screen| explanation(&answer, screen))?;
    Ok(if answer["found"] == true { Outcome::Done } else { Outcome::Wrong })
}

fn explanation(answer: &Value, screen: &Screen) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = |value: &Value| -> String {
        let names: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.join(", ")
    };
    let mut out = String::new();
    let mut line = |name: &str, tone: Tone, value: String| {
        if !value.is_empty() {
            out.push_str(&print::entry(screen, name, 12, tone, &value));
        }
    };
    line("Object", Tone::Strong, text(&answer["key"]));
    let author = answer["author"].as_str().map_or(String::new(), |author| format!(", written in {author}"));
    line("Revision", Tone::Plain, format!("{} of life {}{author}", answer["revision"], answer["incarnation"]));
    let homes = names(&answer["homes"]);
    match homes.as_str() {
        "" => line("Homes", Tone::Bad, "none".to_owned()),
        homes => line("Homes", Tone::Plain, homes.to_owned()),
    }
    let header = &answer["header"];
    let decider = match header["member"].as_str() {
        Some(member) => format!("{}, decided by {member} in term {}", answer["page"], header["term"]),
        None => format!("{}, nothing decided yet", answer["page"]),
    };
    line("Page", Tone::Plain, decider);
    if let Some(author) = answer["tombstone"]["author"].as_str() {
        let policy = text(&answer["tombstone"]["policy"]);
        line("Deleted", Tone::Bad, format!("in {author}, outputs: {policy}"));
    }
    line("Why", Tone::Warning, text(&answer["why"]));
    if answer["paused"] == true {
        line("Paused", Tone::Warning, "spec.paused: outputs are left as they are (`hansa resume`)".to_owned());
    }
    line("Rollout", Tone::Plain, rollout(&answer["rollout"]));
    line("Held", Tone::Warning, text(&answer["held"]));
    line("Withdrawing", Tone::Warning, names(&answer["withdrawing"]));
    if let Some(refused) = answer["placement"].as_str() {
        line("Placement", Tone::Bad, refused.to_owned());
    }
    out.push('\n');
    out.push_str(&members(answer).render(screen));
    let messages = messages(answer);
    if !messages.is_empty() {
        out.push('\n');
    }
    for (message, members) in messages {
        out.push_str(&print::entry(screen, "", 0, Tone::Plain, &format!("{}: {message}", members.join(", "))));
    }
    out
}

/// How far a rollout in waves has come.
fn rollout(rollout: &Value) -> String {
    let Some(last) = rollout["of"].as_u64() else { return String::new() };
    let waves = (1..=last).map(|wave| {
        let members = rollout["waves"].as_object().into_iter().flatten().filter(|(_, number)| **number == wave);
        members.map(|(member, _)| member.as_str()).collect::<Vec<_>>().join(", ")
    });
    let waves: Vec<String> = waves.filter(|members| !members.is_empty()).collect();
    format!("wave {} of {last} is open ({})", rollout["open"], waves.join(" → "))
}

/// What members say, each thing once.
fn messages(answer: &Value) -> Vec<(&str, Vec<&str>)> {
    let mut messages: Vec<(&str, Vec<&str>)> = Vec::new();
    for member in answer["members"].as_array().into_iter().flatten() {
        let text = |field: &str| member[field].as_str().unwrap_or_default();
        match messages.iter_mut().find(|(message, _)| *message == text("message")) {
            Some((_, members)) => members.push(text("member")),
            None => messages.push((text("message"), vec![text("member")])),
        }
    }
    messages.retain(|(message, _)| !message.is_empty());
    messages
}

/// Every member, with what it has and why.
fn members(answer: &Value) -> Table {
    let mut table = Table::new(["MEMBER", "PLACEMENT", "RECORD", "STATE", "REVISION", "HEALTH"]);
    let found: Vec<&Value> = answer["members"].as_array().into_iter().flatten().collect();
    let of = |name: &str| found.iter().find(|member| member["member"] == name).copied();
    let reasons = answer["placement"].as_object();
    let mut names: Vec<&str> = found.iter().filter_map(|member| member["member"].as_str()).collect();
    names.extend(reasons.into_iter().flatten().map(|(name, _)| name.as_str()));
    names.sort_unstable();
    names.dedup();
    for name in names {
        let member = of(name).unwrap_or(&Value::Null);
        let text = |field: &str| member[field].as_str().unwrap_or_default().to_owned();
        let reason = reasons.and_then(|reasons| reasons.get(name)).and_then(Value::as_str).unwrap_or_default();
        let revision = member["revision"].as_u64().map_or(String::new(), |revision| revision.to_string());
        table.toned([
            (name.to_owned(), Tone::Strong),
            (reason.to_owned(), Tone::Plain),
            (text("placed"), Tone::Plain),
            (text("state"), state_tone(&text("state"))),
            (revision, Tone::Plain),
            (text("health"), health_tone(&text("health"))),
        ]);
    }
    table
}

fn state_tone(state: &str) -> Tone {
    match state {
        "Applied" => Tone::Good,
        "Refused" | "Conflicting" => Tone::Bad,
        "Removed" => Tone::Faint,
        _ => Tone::Warning,
    }
}

fn health_tone(health: &str) -> Tone {
    match health {
        "Healthy" => Tone::Good,
        "Degraded" => Tone::Bad,
        "Progressing" => Tone::Warning,
        _ => Tone::Faint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn every_member_has_its_reason() {
        let answer = json!({
            "key": "deployments.apps/shop/web", "found": true, "revision": 3, "incarnation": 1, "author": "aws", "homes": [], "homeless": true,
            "page": 111, "header": {"member": "gcp", "term": 2}, "tombstone": null, "why": "no member keeps the federated object any more",
            "placement": {"aws": "named in spec.placement.members", "azure": "not named in spec.placement.members"}, "withdrawing": ["gcp"],
            "members": [
                {"member": "aws", "placed": "placed", "state": "Refused", "revision": 3, "health": "Unknown", "message": "spec.replicas: Invalid value"},
                {"member": "gcp", "placed": "withdrawing", "state": "Applied", "revision": 2, "health": "Healthy", "message": ""},
            ],
        });
        expect![[r#"
            Object      deployments.apps/shop/web
            Revision    3 of life 1, written in aws
            Homes       none
            Page        111, decided by gcp in term 2
            Why         no member keeps the federated object any more
            Withdrawing gcp

            MEMBER   PLACEMENT                             RECORD        STATE     REVISION   HEALTH
            aws      named in spec.placement.members       placed        Refused   3          Unknown
            azure    not named in spec.placement.members
            gcp                                            withdrawing   Applied   2          Healthy

            aws: spec.replicas: Invalid value
        "#]]
        .assert_eq(&explanation(&answer, &Screen::PLAIN));
    }
}
