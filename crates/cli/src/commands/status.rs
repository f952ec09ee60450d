//! `hansa status`: the league, its members, its types, and what waits for a person.

use super::Outcome;
use crate::cluster::Connection;
use crate::league::condition;
use crate::print::{self, Output, Screen, Table, Tone, count};
use crate::reads::Reads;
use crate::resource::Resource;
use serde_json::{Value, json};
use std::fmt::Write;

/// Arguments of `hansa status`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Shows the league as the operator of this cluster sees it.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let reads = Reads::open(&arguments.connection).await?;
    let mut status = json!({
        "operator": reads.health().await?,
        "members": reads.members().await?,
        "held": reads.held().await?,
        "counters": reads.metrics().await?,
    });
    // Who may not read it, or asks an operator alone, is told the rest.
    if let Some(cluster) = reads.cluster()
        && let Ok(federations) = cluster.list(&Resource::own("federations")).await
    {
        status["federations"] = federations.iter().map(federation).collect();
    }
    print::answer(arguments.output.format, &status, |screen| show(&status, screen))?;
    Ok(Outcome::Done)
}

/// What there is to say of a `Federation` of this cluster.
fn federation(object: &Value) -> Value {
    let agreed = condition(object, "Agreed");
    json!({
        "name": object["metadata"]["name"], "agreed": agreed["status"] == "True",
        "reason": agreed["reason"], "message": agreed["message"],
    })
}

fn show(status: &Value, screen: &Screen) -> String {
    let operator = &status["operator"];
    let counters = &status["counters"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    let mut line = |name: &str, tone: Tone, value: String| {
        out.push_str(&print::entry(screen, name, 16, tone, &value));
    };
    match operator["league"].as_str() {
        Some(league) => {
            line(
                "League",
                Tone::Strong,
                format!("{}, generation {} of its spec", &league[..league.len().min(16)], operator["generation"]),
            );
        }
        None => line("League", Tone::Bad, "none yet: apply a Federation in one member".to_owned()),
    }
    for federation in status["federations"].as_array().into_iter().flatten().filter(|one| one["agreed"] == false) {
        line(
            "Federation",
            Tone::Bad,
            format!("{} is not agreed on: {}", text(&federation["name"]), text(&federation["message"])),
        );
    }
    let is_member = |entry: &Value| entry["member"]["name"] == operator["member"];
    match status["members"].as_array().is_none_or(|all| all.is_empty() || all.iter().any(is_member)) {
        true => line("Asked in", Tone::Plain, text(&operator["member"])),
        false => line(
            "Asked in",
            Tone::Bad,
            format!(
                "{}, which is no member of the league: add it to spec.members of the Federation, or give it a topology server of its own",
                text(&operator["member"])
            ),
        ),
    }
    let (ready, tone) =
        if operator["ready"] == true { ("ready", Tone::Good) } else { ("not ready yet", Tone::Warning) };
    let idle = if operator["idle"] == true { ", nothing under way" } else { ", at work" };
    line("Operator", tone, format!("{ready}{idle}"));
    if operator["paused"] == true {
        line("Paused", Tone::Warning, "spec.paused: all outputs are left as they are (`hansa resume`)".to_owned());
    }
    if let Some(frozen) = operator["frozen"].as_str() {
        line("Frozen", Tone::Bad, frozen.to_owned());
    }
    for entry in operator["unreadable"].as_array().into_iter().flatten() {
        let record = entry["record"].as_str().map(|record| format!("the record of {record} in ")).unwrap_or_default();
        line("Unreadable", Tone::Bad, format!("{record}{}: {}", text(&entry["key"]), text(&entry["why"])));
    }
    if operator["rotation"].is_object() {
        line("Keys", Tone::Warning, "are being rotated: `hansa keys rotate` says what is missing".to_owned());
    }
    match operator["topologyAwaySince"].as_str() {
        Some(since) => line(
            "Topology server",
            Tone::Bad,
            format!("away since {since}: what was last agreed is kept up, edits wait"),
        ),
        None => line("Topology server", Tone::Good, "reached".to_owned()),
    }
    if operator["apiServerReady"] == false {
        line("API server", Tone::Bad, "cannot be used".to_owned());
    }
    // What is wrong in the member at hand was said above.
    for entry in status["members"].as_array().into_iter().flatten() {
        let (member, is_well) = (&entry["member"]["name"], entry["state"].as_str().is_none_or(|state| state == WELL));
        if *member != operator["member"] && !is_well {
            line("Member", Tone::Bad, format!("{}: {}", text(member), text(&entry["why"])));
        }
    }
    let number = |field: &str| counters[field].as_u64().unwrap_or(0);
    line(
        "Objects",
        Tone::Plain,
        format!(
            "{} in the league, {} at home here, {} here",
            number("records"),
            number("homeObjects"),
            count(number("outputs") as usize, "output")
        ),
    );
    let strays = number("strays");
    if strays > 0 {
        line(
            "Strays",
            Tone::Warning,
            format!(
                "{} with the league's label that no record places here: left alone",
                count(strays as usize, "object")
            ),
        );
    }
    out.push('\n');
    out.push_str(&members(status).render(screen));
    out.push('\n');
    out.push_str(&types(operator).render(screen));
    let held = held(status);
    if !held.is_empty() {
        let _ = writeln!(out, "\n{}", screen.paint(Tone::Warning, "Waiting for `hansa confirm`:"));
        out.push_str(&held.render(screen));
    }
    out
}

/// The state of a member where nothing is wrong.
const WELL: &str = "Heartbeat";

fn members(status: &Value) -> Table {
    let mut table = Table::new(["MEMBER", "STATE", "PROVIDER", "REGION", "ZONE", "KUBERNETES", "RELEASE", "HEARD"]);
    for entry in status["members"].as_array().into_iter().flatten() {
        let (member, cell) = (&entry["member"], &entry["cell"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let own = member["name"] == status["operator"]["member"];
        let silent = entry["silentMs"].as_u64();
        // The words of `kubectl get members -o wide`, where something is wrong.
        let (state, tone) = match entry["state"].as_str() {
            Some(reason) if reason != WELL => (reason, Tone::Bad),
            _ if member["leaving"].is_object() => ("leaving", Tone::Warning),
            _ if member["paused"] == true => ("paused", Tone::Warning),
            _ if member["witness"] == true => ("witness", Tone::Good),
            _ => ("active", Tone::Good),
        };
        let heard = match silent {
            _ if own => "here".to_owned(),
            Some(silent) => format!("{} ago", span(silent)),
            None => String::new(),
        };
        table.toned([
            (text(&member["name"]), Tone::Strong),
            (state.to_owned(), tone),
            (text(&member["provider"]), Tone::Plain),
            (text(&member["region"]), Tone::Plain),
            (text(&member["zone"]), Tone::Plain),
            (text(&cell["kubernetes"]), Tone::Plain),
            (text(&cell["release"]), Tone::Plain),
            (heard, Tone::Plain),
        ]);
    }
    table
}

fn types(operator: &Value) -> Table {
    let mut table = Table::new(["TYPE", "VERSION", "HERE", "FAILURE"]);
    for entry in operator["types"].as_array().into_iter().flatten() {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let installed = entry["installed"] == true;
        table.toned([
            (text("type"), Tone::Plain),
            (text("version"), Tone::Plain),
            (
                if installed { "installed" } else { "not yet" }.to_owned(),
                if installed { Tone::Good } else { Tone::Warning },
            ),
            (text("failure"), Tone::Bad),
        ]);
    }
    table
}

fn held(status: &Value) -> Table {
    let mut table = Table::new(["SET", "WHAT", "OBJECTS", "WHY"]);
    for entry in status["held"].as_array().into_iter().flatten() {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let what = match entry["decision"].as_str() {
            Some("End") => "deletions for all",
            Some("Withdraw") => "withdrawals",
            Some("Output") => "outputs of this member",
            other => other.unwrap_or_default(),
        };
        let objects = entry["objects"].as_array().map_or(0, Vec::len);
        table.row([text("set").chars().take(16).collect(), what.to_owned(), objects.to_string(), text("why")]);
    }
    table
}

/// A time in its largest unit.
fn span(milliseconds: u64) -> String {
    match milliseconds / 1_000 {
        seconds if seconds < 120 => format!("{seconds}s"),
        seconds if seconds < 7_200 => format!("{}m", seconds / 60),
        seconds if seconds < 172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_league_on_one_screen() {
        let cell = json!({"kubernetes": "v1.37.2", "release": "0.1.0", "apiServerReady": true});
        let status = json!({
            "operator": {"member": "aws", "ready": true, "idle": false, "league": "0123456789abcdef0123456789abcdef", "generation": 3, "frozen": null,
                         "topologyAwaySince": "2026-11-22T18:00:00Z", "apiServerReady": true,
                         "rotation": {"previous": ["x25519:AAAA"]},
                         "unreadable": [{"key": "/v1/pages/3", "why": "the page has format 2, this release reads format 1: run a newer operator", "since": "2026-11-22T17:00:00Z"}],
                         "types": [{"type": "configmaps", "version": "v1", "installed": true, "failure": null},
                                   {"type": "widgets.example.org", "version": "v1", "installed": false, "failure": "no such kind"}]},
            "members": [
                {"member": {"name": "aws", "provider": "aws", "region": "us-east-1"}, "state": "TopologyServerAway", "why": "the topology server cannot be used", "cell": cell, "silentMs": null},
                {"member": {"name": "gcp", "provider": "gcp", "region": "europe-west4"}, "state": "Silent", "why": "its heartbeat has stopped", "cell": cell, "silentMs": 200_000},
                {"member": {"name": "azure", "provider": "azure", "region": "southeastasia"}, "state": "NeverSeen", "why": "no operator of this member has written yet", "cell": null, "silentMs": null},
                {"member": {"name": "onprem", "leaving": {}}, "state": "Heartbeat", "why": "its operator lives", "cell": cell, "silentMs": 1_000},
            ],
            "federations": [{"name": "league", "agreed": false, "reason": "Invalid", "message": "spec.members[1].name: `aws` is the name of spec.members[0] too"}],
            "held": [{"decision": "End", "set": "fedcba9876543210fedcba9876543210", "why": "500 removals are more than the budget", "objects": ["a", "b"]}],
            "counters": {"records": 3, "homeObjects": 1, "outputs": 1, "strays": 2},
        });
        expect![[r#"
            League          0123456789abcdef, generation 3 of its spec
            Federation      league is not agreed on: spec.members[1].name: `aws` is the name of spec.members[0] too
            Asked in        aws
            Operator        ready, at work
            Unreadable      /v1/pages/3: the page has format 2, this release reads format 1: run a newer operator
            Keys            are being rotated: `hansa keys rotate` says what is missing
            Topology server away since 2026-11-22T18:00:00Z: what was last agreed is kept up, edits wait
            Member          gcp: its heartbeat has stopped
            Member          azure: no operator of this member has written yet
            Objects         3 in the league, 1 at home here, 1 output here
            Strays          2 objects with the league's label that no record places here: left alone

            MEMBER   STATE                PROVIDER   REGION          KUBERNETES   RELEASE   HEARD
            aws      TopologyServerAway   aws        us-east-1       v1.37.2      0.1.0     here
            gcp      Silent               gcp        europe-west4    v1.37.2      0.1.0     3m ago
            azure    NeverSeen            azure      southeastasia
            onprem   leaving                                         v1.37.2      0.1.0     1s ago

            TYPE                  VERSION   HERE        FAILURE
            configmaps            v1        installed
            widgets.example.org   v1        not yet     no such kind

            Waiting for `hansa confirm`:
            SET                WHAT                OBJECTS   WHY
            fedcba9876543210   deletions for all   2         500 removals are more than the budget
        "#]]
        .assert_eq(&show(&status, &Screen::PLAIN));
    }
}
