//! `hansa ballot`: who voted what, who is missing, and what it would take; and the word of a person, where
//! nobody can vote any more.

mod force;
mod key;

use super::Outcome;
use crate::cluster::Connection;
use crate::print::{self, Format, Output, Screen, Table, Tone};
use crate::reads::Reads;
use crate::yaml;
use anyhow::bail;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// How often a watch looks.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `hansa ballot`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List what is being voted on and what was decided.
    Ls {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Show who votes, how each voter is, and what does not count in the control document.
    Show {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Explain one ballot: who voted what and why, who is missing, and what it would take.
    Explain {
        /// What the ballot is about: `spec`, `members`, `feature`, `lost/gcp-euw4`.
        key: String,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Tell each vote and each decision as it comes, until Ctrl-C.
    ///
    /// It goes on when the operator is away for a while, and says so; what was decided meanwhile is told then.
    /// As JSON and YAML each change is a document of its own, as it comes.
    Watch {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Let the league go on without members that are lost for good, when those that are left make no quorum.
    ///
    /// Shows what the league looks like afterwards, and does it with --yes, or when the league's label is
    /// typed. It speaks to the topology server directly. Nothing is deleted: the discarded members' outputs
    /// stay, what they were the home of is without one, and on return they freeze.
    Force(force::Arguments),
    /// Make and show the key of a person who may force.
    #[command(subcommand)]
    Key(key::Command),
}

/// Shows the league's ballots as the operator of this cluster reads them.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    match arguments.command {
        Command::Ls { connection, output } => {
            let ballots = ballots(&Reads::open(&connection).await?).await?;
            let rows = rows(&ballots);
            if rows.is_empty() && output.format == Format::Table {
                print::note(Tone::Plain, "nothing has been voted on yet");
                return Ok(Outcome::Done);
            }
            print::answer(output.format, &Value::from(rows.clone()), |screen| table(&rows).render(screen))?;
        }
        Command::Show { connection, output } => {
            let ballots = ballots(&Reads::open(&connection).await?).await?;
            print::answer(output.format, &ballots, |screen| show(&ballots, screen))?;
        }
        Command::Explain { key, connection, output } => {
            let ballots = ballots(&Reads::open(&connection).await?).await?;
            let found = find(&ballots, &key);
            if found.is_null() {
                bail!("there is no ballot about {key}: `hansa ballot ls` lists them");
            }
            print::answer(output.format, found, |screen| explain(found, &ballots, screen))?;
        }
        Command::Watch { connection, output } => watch(&Reads::open(&connection).await?, output.format).await?,
        Command::Force(arguments) => return force::run(arguments).await,
        Command::Key(command) => return key::run(command),
    }
    Ok(Outcome::Done)
}

async fn ballots(reads: &Reads) -> anyhow::Result<Value> {
    let ballots = reads.ballots().await?;
    if ballots.is_null() {
        bail!("this operator has not read the league's ballots yet: `hansa status` says how it is");
    }
    Ok(ballots)
}

fn list<'a>(ballots: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    ballots[field].as_array().into_iter().flatten()
}

/// The open ballot of a key, or the last decision on it.
fn find<'a>(ballots: &'a Value, key: &str) -> &'a Value {
    let of_key = |ballot: &&Value| ballot["key"] == key;
    list(ballots, "open").find(of_key).or_else(|| list(ballots, "decided").find(of_key)).unwrap_or(&Value::Null)
}

fn is_open(ballot: &Value) -> bool {
    ballot["outcome"].is_null()
}

fn rows(ballots: &Value) -> Vec<Value> {
    list(ballots, "open").chain(list(ballots, "decided")).cloned().collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The names in a list, or the names of an object's fields.
fn names(value: &Value) -> String {
    let names: Vec<String> = match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        _ => value.as_array().into_iter().flatten().map(text).collect(),
    };
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn state(ballot: &Value) -> (String, Tone) {
    match ballot["outcome"].as_str() {
        None => ("open".to_owned(), Tone::Warning),
        Some("adopted") => ("adopted".to_owned(), Tone::Good),
        Some("rejected") => ("rejected".to_owned(), Tone::Bad),
        Some(other) => (other.to_owned(), Tone::Plain),
    }
}

fn table(rows: &[Value]) -> Table {
    let mut table = Table::new(["BALLOT", "ABOUT", "STATE", "PROPOSED BY", "YES", "NO", "MISSING"]);
    for ballot in rows {
        let rejected = ballot["outcome"] == "rejected";
        let (yes, no) = match is_open(ballot) {
            true => (names(&ballot["yes"]), names(&ballot["no"])),
            // Whose votes made the decision.
            false if rejected => ("-".to_owned(), names(&ballot["certificate"])),
            false => (names(&ballot["certificate"]), "-".to_owned()),
        };
        let missing = if is_open(ballot) { names(&ballot["missing"]) } else { "-".to_owned() };
        table.toned([
            (format!("#{}", ballot["epoch"]), Tone::Plain),
            (text(&ballot["key"]), Tone::Strong),
            state(ballot),
            (text(&ballot["proposer"]), Tone::Plain),
            (yes, Tone::Plain),
            (no, Tone::Plain),
            (missing, Tone::Plain),
        ]);
    }
    table
}

/// The level that is agreed, who is below it, and who keeps it from rising.
fn feature_level(ballots: &Value) -> (Tone, String) {
    let agreed = ballots["feature"].as_u64().unwrap_or_default();
    let voters = ballots["voters"].as_object().into_iter().flatten().filter(|(_, voter)| voter["state"] != "lost");
    let speaks = |voter: &Value| voter["speaks"].as_u64().unwrap_or_default();
    let highest = voters.clone().map(|(_, voter)| speaks(voter)).max().unwrap_or_default();
    let below = |level: u64| {
        let below = voters.clone().filter(move |(_, voter)| (1..level).contains(&speaks(voter)));
        below.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (short, waiting) = (below(agreed), below(highest));
    if !short.is_empty() {
        let words = format!("{agreed}; {short} frozen below it: run a newer operator there");
        return (Tone::Bad, words);
    }
    if highest > agreed && !waiting.is_empty() {
        return (Tone::Warning, format!("{agreed}; {highest} once {waiting} run a newer operator"));
    }
    (Tone::Plain, agreed.to_string())
}

fn show(ballots: &Value, screen: &Screen) -> String {
    let mut out = String::new();
    let mut line = |name: &str, tone: Tone, value: String| out.push_str(&print::entry(screen, name, 16, tone, &value));
    line("Asked in", Tone::Plain, text(&ballots["member"]));
    line("Spec", Tone::Plain, format!("generation {}, at home in {}", ballots["generation"], text(&ballots["home"])));
    let voters = ballots["voters"].as_object().map_or(0, serde_json::Map::len);
    line("Quorum", Tone::Strong, format!("{} of {voters} voters", ballots["quorum"]));
    line("Era", Tone::Plain, format!("{}{}, ballot #{}", ballots["era"], began(&ballots["began"]), ballots["epoch"]));
    let (tone, level) = feature_level(ballots);
    line("Feature level", tone, level);
    if let Some(frozen) = ballots["frozen"].as_str() {
        line("Frozen", Tone::Bad, frozen.to_owned());
    }
    for (member, why) in ballots["held"].as_object().into_iter().flatten() {
        line("Not voted out", Tone::Warning, format!("{member}: {}", text(why)));
    }
    if list(ballots, "joins").next().is_some() {
        let message = format!("{}: list them under spec.members of the Federation", names(&ballots["joins"]));
        line("Ask to join", Tone::Warning, message);
    }
    out.push('\n');
    let mut table = Table::new(["VOTER", "STATE", "SUSPECTED BY", "PAGES", "SPEAKS", "HEARD"]);
    for (name, voter) in ballots["voters"].as_object().into_iter().flatten() {
        let tone = if voter["state"] == "live" { Tone::Good } else { Tone::Bad };
        let witness = if voter["witness"] == true { " (witness)" } else { "" };
        let heard = match ballots["silentMs"][name].as_u64() {
            _ if ballots["member"] == **name => "here".to_owned(),
            Some(ms) => format!("{} s ago", ms / 1_000),
            None => "never".to_owned(),
        };
        table.toned([
            (name.clone(), Tone::Strong),
            (format!("{}{witness}", text(&voter["state"])), tone),
            (names(&voter["suspectedBy"]), Tone::Plain),
            (voter["pages"].to_string(), Tone::Plain),
            (voter["speaks"].to_string(), Tone::Plain),
            (heard, Tone::Plain),
        ]);
    }
    out.push_str(&table.render(screen));
    let mut rejected = Table::new(["DOES NOT COUNT", "WRITTEN FOR", "WHY"]);
    for entry in list(ballots, "rejected") {
        rejected.toned([
            (text(&entry["what"]), Tone::Strong),
            (text(&entry["who"]), Tone::Plain),
            (text(&entry["why"]), Tone::Bad),
        ]);
    }
    if !rejected.is_empty() {
        let _ = write!(out, "\n{}", rejected.render(screen));
    }
    out
}

/// How the era began, when it is not the first.
fn began(began: &Value) -> String {
    if began.is_null() {
        return String::new();
    }
    let by = began["by"].as_str().map_or_else(|| "unsigned".to_owned(), |by| format!("signed by {by}"));
    let without = began["discarded"].as_array().map(|_| format!(", without {}", names(&began["discarded"])));
    format!(" ({by}{})", without.unwrap_or_default())
}

fn explain(ballot: &Value, ballots: &Value, screen: &Screen) -> String {
    let mut out = String::new();
    let mut line = |name: &str, tone: Tone, value: String| out.push_str(&print::entry(screen, name, 12, tone, &value));
    let (state, tone) = state(ballot);
    line("About", Tone::Strong, format!("{}, ballot #{}", text(&ballot["key"]), ballot["epoch"]));
    line("State", tone, state);
    line("Proposed by", Tone::Plain, text(&ballot["proposer"]));
    if let Some(value) = ballot["value"].as_str() {
        line("Value", Tone::Plain, value.to_owned());
    }
    if !is_open(ballot) {
        line("Decided by", Tone::Plain, names(&ballot["certificate"]));
        for (member, why) in ballot["reasons"].as_object().into_iter().flatten() {
            line("No", Tone::Bad, format!("{member}: {}", text(why)));
        }
        return out;
    }
    line("Yes", Tone::Good, names(&ballot["yes"]));
    for (member, why) in ballot["no"].as_object().into_iter().flatten() {
        line("No", Tone::Bad, if why.is_null() { member.clone() } else { format!("{member}: {}", text(why)) });
    }
    for (member, state) in ballot["missing"].as_object().into_iter().flatten() {
        let heard = ballots["silentMs"][member].as_u64().filter(|ms| *ms > 20_000);
        let heard = heard.map(|ms| format!(", not heard for {} s", ms / 1_000)).unwrap_or_default();
        line("Missing", Tone::Warning, format!("{member} ({}{heard})", text(state)));
    }
    let takes = &ballot["takes"];
    let needs = match takes["yes"].as_u64() {
        Some(yes) => format!("{yes} more yes adopt it, {} more no reject it", takes["no"]),
        None => format!("it cannot be adopted any more; {} more no reject it", takes["no"]),
    };
    line("It takes", Tone::Strong, needs);
    out
}

/// Tells what is new, line by line. Who cannot be asked at the first look is a failure; later ones are
/// waited out.
async fn watch(reads: &Reads, format: Format) -> anyhow::Result<()> {
    let mut before = Value::Null;
    let mut away = false;
    loop {
        match ballots(reads).await {
            Ok(now) => {
                if std::mem::take(&mut away) {
                    print::note(Tone::Good, "the operator answers again");
                }
                for event in news(&before, &now) {
                    print::stdout(&told(&event, format))?;
                }
                before = now;
            }
            Err(error) if before.is_null() => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    print::note(Tone::Warning, &format!("the operator cannot be asked, and is asked again: {error:#}"));
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An event as it is printed.
fn told(event: &Value, format: Format) -> String {
    match format {
        Format::Table => format!("{}\n", line(event)),
        Format::Json => format!("{event}\n"),
        Format::Yaml => format!("---\n{}", yaml::to_string(event)),
    }
}

/// An event in words.
fn line(event: &Value) -> String {
    let member = || text(&event["member"]);
    let about = || format!("#{} {}", event["ballot"], text(&event["about"]));
    let why = || event["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    match event["event"].as_str() {
        Some("proposed") => format!("{}: {} proposes {}", about(), member(), text(&event["value"])),
        Some("voted") => format!("{}: {} votes {}{}", about(), member(), text(&event["vote"]), why()),
        Some("decided") => format!("{}: {} by {}", about(), text(&event["outcome"]), names(&event["certificate"])),
        _ => format!("{} is {}", member(), text(&event["state"])),
    }
}

/// What happened between two looks; at the first look, what is open.
fn news(before: &Value, now: &Value) -> Vec<Value> {
    let mut events = Vec::new();
    for ballot in list(now, "open") {
        let known = list(before, "open").find(|known| known["epoch"] == ballot["epoch"]).unwrap_or(&Value::Null);
        let (epoch, about) = (&ballot["epoch"], &ballot["key"]);
        let event =
            |kind: &str, member: &Value| json!({"event": kind, "ballot": epoch, "about": about, "member": member});
        if known.is_null() {
            let mut proposed = event("proposed", &ballot["proposer"]);
            proposed["value"] = ballot["value"].clone();
            events.push(proposed);
        }
        let mut vote = |vote: &str, member: &Value, reason: &Value| {
            let mut voted = event("voted", member);
            voted["vote"] = vote.into();
            if !reason.is_null() {
                voted["reason"] = reason.clone();
            }
            events.push(voted);
        };
        let said = |name: &Value| known["yes"].as_array().is_some_and(|yes| yes.contains(name));
        for name in list(ballot, "yes").filter(|name| !said(name)) {
            vote("yes", name, &Value::Null);
        }
        for (name, why) in ballot["no"].as_object().into_iter().flatten() {
            if known["no"].get(name).is_none() {
                vote("no", &json!(name), why);
            }
        }
    }
    let mut decided: Vec<&Value> = list(now, "decided")
        .filter(|ballot| {
            !before.is_null() && ballot["epoch"].as_u64() > before["epoch"].as_u64()
                || list(before, "open").any(|open| open["epoch"] == ballot["epoch"])
        })
        .collect();
    decided.reverse();
    events.extend(decided.into_iter().map(|ballot| {
        json!({
            "event": "decided", "ballot": ballot["epoch"], "about": ballot["key"], "outcome": ballot["outcome"],
            "certificate": ballot["certificate"],
        })
    }));
    for (name, voter) in now["voters"].as_object().into_iter().flatten() {
        let known = &before["voters"][name]["state"];
        if !before.is_null() && *known != voter["state"] {
            events.push(json!({"event": "state", "member": name, "state": voter["state"]}));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn league() -> Value {
        json!({
            "member": "aws", "generation": 3, "home": "aws", "era": 1, "epoch": 7, "quorum": 2, "feature": 1,
            "frozen": null, "joins": ["edge"], "held": {"onprem": "without onprem the league could decide nothing"},
            "silentMs": {"aws": 0, "azure": 95000, "gcp": 1200},
            "voters": {
                "aws": {"state": "live", "witness": false, "suspectedBy": [], "speaks": 1, "pages": 128},
                "azure": {"state": "suspected", "witness": false, "suspectedBy": ["aws", "gcp"], "speaks": 1, "pages": 0},
                "gcp": {"state": "live", "witness": false, "suspectedBy": [], "speaks": 1, "pages": 128},
            },
            "open": [{
                "key": "spec", "epoch": 7, "proposer": "aws", "rule": "quorum", "value": "{\"generation\":4…",
                "yes": ["aws"], "no": {}, "abstained": [], "missing": {"azure": "suspected", "gcp": "live"},
                "takes": {"yes": 1, "no": 2, "of": ["azure", "gcp"]},
            }],
            "decided": [{
                "key": "lost/azure", "epoch": 6, "proposer": "gcp", "outcome": "rejected", "certificate": ["aws", "gcp"],
                "reasons": {"aws": "aws hears it"},
            }],
            "rejected": [{"who": "mallory", "what": "cells/mallory", "why": "stranger"}],
        })
    }

    #[test]
    fn who_is_below_the_level_or_keeps_it_from_rising_is_named() {
        let level = |agreed: u64, speaks: [u64; 3]| {
            let voter = |level: u64| json!({"state": "live", "speaks": level});
            let voters = json!({"a": voter(speaks[0]), "b": voter(speaks[1]), "c": voter(speaks[2])});
            feature_level(&json!({"feature": agreed, "voters": voters})).1
        };
        assert_eq!(level(1, [1, 1, 1]), "1");
        assert_eq!(level(1, [2, 1, 2]), "1; 2 once b run a newer operator");
        assert_eq!(level(2, [2, 1, 2]), "2; b frozen below it: run a newer operator there");
        assert_eq!(level(0, [1, 0, 1]), "0");
    }

    #[test]
    fn ballots_as_a_table() {
        expect![[r#"
            BALLOT   ABOUT        STATE      PROPOSED BY   YES   NO         MISSING
            #7       spec         open       aws           aws   -          azure, gcp
            #6       lost/azure   rejected   gcp           -     aws, gcp   -
        "#]]
        .assert_eq(&table(&rows(&league())).render(&Screen::PLAIN));
    }

    #[test]
    fn voters_and_what_does_not_count() {
        expect![[r#"
            Asked in        aws
            Spec            generation 3, at home in aws
            Quorum          2 of 3 voters
            Era             1, ballot #7
            Feature level   1
            Not voted out   onprem: without onprem the league could decide nothing
            Ask to join     edge: list them under spec.members of the Federation

            VOTER   STATE       SUSPECTED BY   PAGES   SPEAKS   HEARD
            aws     live        -              128     1        here
            azure   suspected   aws, gcp       0       1        95 s ago
            gcp     live        -              128     1        1 s ago

            DOES NOT COUNT   WRITTEN FOR   WHY
            cells/mallory    mallory       stranger
        "#]]
        .assert_eq(&show(&league(), &Screen::PLAIN));
    }

    #[test]
    fn how_an_era_began() {
        let shown = |value: Value| began(&value);
        assert_eq!(shown(Value::Null), "");
        assert_eq!(shown(json!({"by": null})), " (unsigned)");
        assert_eq!(shown(json!({"by": "ada", "discarded": ["gcp", "azure"]})), " (signed by ada, without gcp, azure)");
    }

    #[test]
    fn what_a_ballot_takes() {
        let league = league();
        expect![[r#"
            About       spec, ballot #7
            State       open
            Proposed by aws
            Value       {"generation":4…
            Yes         aws
            Missing     azure (suspected, not heard for 95 s)
            Missing     gcp (live)
            It takes    1 more yes adopt it, 2 more no reject it
        "#]]
        .assert_eq(&explain(find(&league, "spec"), &league, &Screen::PLAIN));
        expect![[r#"
            About       lost/azure, ballot #6
            State       rejected
            Proposed by gcp
            Decided by  aws, gcp
            No          aws: aws hears it
        "#]]
        .assert_eq(&explain(find(&league, "lost/azure"), &league, &Screen::PLAIN));
        assert!(find(&league, "feature").is_null());
    }

    #[test]
    fn news_are_told_once() {
        let (before, mut now) = (league(), league());
        let lines = |before: &Value, now: &Value| news(before, now).iter().map(line).collect::<Vec<_>>();
        assert_eq!(lines(&before, &now), Vec::<String>::new());
        now["open"] = json!([]);
        now["decided"]
            .as_array_mut()
            .unwrap()
            .insert(0, json!({"key": "spec", "epoch": 7, "outcome": "adopted", "certificate": ["aws", "gcp"]}));
        now["voters"]["azure"]["state"] = json!("live");
        assert_eq!(lines(&before, &now), ["#7 spec: adopted by aws, gcp", "azure is live"]);
        assert_eq!(
            lines(&Value::Null, &before),
            ["#7 spec: aws proposes {\"generation\":4…", "#7 spec: aws votes yes"]
        );
        now["open"] = json!([{"key": "spec", "epoch": 8, "proposer": "gcp", "value": "1", "yes": ["gcp"], "no": {"aws": "too new"}}]);
        let told: String = news(&before, &now).iter().map(|event| told(event, Format::Json)).collect();
        expect![[r#"
            {"about":"spec","ballot":8,"event":"proposed","member":"gcp","value":"1"}
            {"about":"spec","ballot":8,"event":"voted","member":"gcp","vote":"yes"}
            {"about":"spec","ballot":8,"event":"voted","member":"aws","reason":"too new","vote":"no"}
            {"about":"spec","ballot":7,"certificate":["aws","gcp"],"event":"decided","outcome":"adopted"}
            {"event":"state","member":"azure","state":"live"}
        "#]]
        .assert_eq(&told);
    }
}
