//! `hansa ballot force`: a league goes on that has lost its quorum for good, by the word of a person.
//!
//! It asks no operator, for those that are left cannot agree on anything: it reads the control document
//! and the pages in the topology server, shows what the league looks like afterwards, and writes the
//! control document alone, on exactly the one that was shown.

use crate::commands::Outcome;
use crate::person;
use crate::print::{self, Format, Output, Screen, Table, Tone};
use anyhow::Context;
use hansa_ballot::{Ballots, Control, Document};
use hansa_ledger::{Envelope, Page, Record, keys};
use hansa_model::MemberName;
use hansa_topo::Topo;
use hansa_topo::backup::{Raise, Raised, Word};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::{BufRead, IsTerminal, Write as _};
use std::path::PathBuf;

/// How many objects without a home are named.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The topology server's URL, as the operators have it.
    #[arg(long, env = "HANSA_TOPO", hide_env_values = true, value_name = "URL")]
    topo: String,
    /// The file with the key of a person whom the league's spec lists (`hansa ballot key new`).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A member that is lost for good; repeat it for each.
    #[arg(long, value_name = "MEMBER", required = true)]
    discard: Vec<MemberName>,
    /// Yes, do what is shown.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let Arguments { topo: url, key, discard, yes, output } = arguments;
    let person = person::read(&key)?;
    super::super::topo::exists(&url)?;
    let topo = hansa_topo::open(&url, &hansa_topo::Options::from_env()).await.map_err(super::super::topo::plain)?;
    let discarded: BTreeSet<MemberName> = discard.into_iter().collect();
    let word = Word { era: None, person: Some(&person) };
    let raise = Raise::prepare(&*topo, word, &discarded).await?;
    let (before, after) = raise.documents.as_ref().with_context(|| {
        format!("{url}: its control document holds no ballots, so nobody votes there and nobody can be discarded")
    })?;
    let records = records(&*topo).await?;
    let mut plan = plan(raise.raised(), before, after, &discarded, &records);
    plan["by"] = json!(person.member());
    let is_table = output.format == Format::Table;
    if is_table {
        print::stdout(&show(&plan, &Screen::stdout()))?;
    }
    let confirmed = yes || (is_table && typed(&raise.raised().league.label())?);
    plan["done"] = json!(confirmed);
    if !confirmed {
        print::note(Tone::Warning, "nothing was done: look at it, then add --yes");
    } else {
        raise.write(&*topo).await?;
    }
    if !is_table {
        print::answer(output.format, &plan, |_| String::new())?;
    } else if confirmed {
        print::stdout(&format!(
            "era {} has begun: whoever is left goes on by itself (`hansa ballot show`), and a discarded member that comes back freezes and says why\n",
            plan["era"]["to"]
        ))?;
    }
    Ok(if confirmed { Outcome::Done } else { Outcome::WouldChange })
}

/// Asks for the league's label, where somebody can type it.
fn typed(label: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    print::note(Tone::Strong, &format!("type {label} to do this, anything else leaves all as it is:"));
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == label)
}

/// What is known of the records: those that read, and how many pages or records do not.
struct Records {
    known: BTreeMap<String, Record>,
    unreadable: usize,
}

async fn records(topo: &dyn Topo) -> anyhow::Result<Records> {
    let mut records = Records { known: BTreeMap::new(), unreadable: 0 };
    for entry in topo.list(keys::PAGES).await.map_err(super::super::topo::plain)? {
        let opened = Envelope::open(&entry.versioned.value).map_err(|error| error.to_string());
        let Ok(page) = opened.and_then(|(_, body)| Page::from_slice(&body).map_err(|error| error.to_string())) else {
            records.unreadable += 1;
            continue;
        };
        for (key, slot) in &page.records {
            match slot.record() {
                Some(record) if record.tombstone.is_none() => {
                    records.known.insert(key.to_string(), Record::clone(record));
                }
                Some(_) => {}
                None => records.unreadable += 1,
            }
        }
    }
    Ok(records)
}

fn seats(ballots: &Ballots) -> BTreeMap<String, u32> {
    let mut seats = BTreeMap::new();
    for run in &ballots.appointments.pages {
        let name = run.seat.member.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
        *seats.entry(name).or_default() += run.count;
    }
    seats
}

/// What the league looks like afterwards.
fn plan(
    raised: Raised,
    before: &Control,
    after: &Control,
    discarded: &BTreeSet<MemberName>,
    records: &Records,
) -> Value {
    let (old, new) = (before.ballots(), after.ballots());
    let votes = |home: &MemberName| new.voters.set.contains_key(home);
    let lose_home: Vec<Value> = records
        .known
        .iter()
        .filter(|(_, record)| !record.homes.is_empty() && !record.homes.keys().any(votes))
        .map(|(key, record)| json!({"key": key, "homes": record.homes.keys().collect::<Vec<_>>()}))
        .collect();
    let stay = |name: &MemberName| records.known.values().filter(|record| record.placed.contains_key(name)).count();
    let voters = |ballots: &Ballots| json!({"set": ballots.voters.set.keys().collect::<Vec<_>>(), "quorum": ballots.voters.quorum});
    let moved = (0..before.pages).filter(|page| {
        old.appointments.page(*page).map(|seat| &seat.member) != new.appointments.page(*page).map(|seat| &seat.member)
    });
    json!({
        "league": raised.league, "label": raised.league.label(),
        "era": {"from": raised.from, "to": raised.to},
        "voters": {"before": voters(old), "after": voters(new)},
        "discarded": discarded,
        "isQuorum": new.voters.set.len() >= old.voters.quorum as usize,
        "open": old.open.keys().collect::<Vec<_>>(),
        "pages": {"moved": moved.count(), "before": seats(old), "after": seats(new)},
        "spec": {"home": before.home.member, "isDiscarded": discarded.contains(&before.home.member)},
        "objects": {
            "known": records.known.len(), "unreadable": records.unreadable,
            "loseTheirHome": lose_home,
            "outputsLeft": discarded.iter().map(|name| (name.to_string(), json!(stay(name)))).collect::<serde_json::Map<_, _>>(),
        },
    })
}

fn names(value: &Value) -> String {
    let names: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

fn count(value: &Value, thing: &str) -> String {
    print::count(value.as_u64().unwrap_or_default() as usize, thing)
}

fn show(plan: &Value, screen: &Screen) -> String {
    let mut out = String::new();
    let mut line = |name: &str, tone: Tone, value: String| out.push_str(&print::entry(screen, name, 16, tone, &value));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    line("League", Tone::Plain, text(&plan["label"]));
    line(
        "Era",
        Tone::Strong,
        format!("{} → {}, signed by {}", plan["era"]["from"], plan["era"]["to"], text(&plan["by"])),
    );
    line("Discarded", Tone::Bad, names(&plan["discarded"]));
    let (before, after) = (&plan["voters"]["before"], &plan["voters"]["after"]);
    let of = |voters: &Value| voters["set"].as_array().map_or(0, Vec::len);
    line("Voters", Tone::Strong, format!("{} (of {})", names(&after["set"]), names(&before["set"])));
    line(
        "Majority",
        Tone::Strong,
        format!("{} of {} (was {} of {})", after["quorum"], of(after), before["quorum"], of(before)),
    );
    if plan["isQuorum"] == true {
        line("Needed?", Tone::Warning, "whoever is left makes a quorum without a force, if they live: take the others out of spec.members of the Federation instead".to_owned());
    }
    let open: Vec<String> = plan["open"].as_array().into_iter().flatten().map(text).collect();
    if !open.is_empty() {
        line("Ballots", Tone::Plain, format!("closed undecided, to be proposed anew: {}", open.join(", ")));
    }
    let spec = &plan["spec"];
    if spec["isDiscarded"] == true {
        line(
            "Spec",
            Tone::Warning,
            format!(
                "stays as agreed; its home {} is discarded: annotate the Federation of another member with hansa.dev/take-home to edit it there",
                text(&spec["home"])
            ),
        );
    } else {
        line("Spec", Tone::Plain, format!("stays as agreed, at home in {}", text(&spec["home"])));
    }
    let objects = &plan["objects"];
    let lose = objects["loseTheirHome"].as_array().cloned().unwrap_or_default();
    line(
        "Objects",
        Tone::Plain,
        format!(
            "{} stay as agreed, nothing is deleted; {} of them without a home: any member may become it",
            objects["known"],
            lose.len()
        ),
    );
    if objects["unreadable"].as_u64().unwrap_or_default() > 0 {
        line("Not read", Tone::Warning, format!("{}, which stay as they are", count(&objects["unreadable"], "part")));
    }
    out.push('\n');
    let mut table = Table::new(["MEMBER", "VOTES", "PAGES", "OUTPUTS THERE"]);
    for name in before["set"].as_array().into_iter().flatten().map(text) {
        let stays = after["set"].as_array().is_some_and(|set| set.iter().any(|voter| *voter == *name));
        let pages = |when: &str| plan["pages"][when][&name].as_u64().unwrap_or_default();
        let outputs = match objects["outputsLeft"][&name].as_u64() {
            Some(0) => "none".to_owned(),
            Some(left) => format!("{left}, left untouched"),
            None => "kept up".to_owned(),
        };
        let (word, tone) = if stays { ("yes", Tone::Good) } else { ("no, discarded", Tone::Bad) };
        table.toned([
            (name.clone(), Tone::Strong),
            (word.to_owned(), tone),
            (format!("{} → {}", pages("before"), pages("after")), Tone::Plain),
            (outputs, Tone::Plain),
        ]);
    }
    out.push_str(&table.render(screen));
    for lost in lose.iter().take(SHOWN) {
        let _ = writeln!(out, "without a home: {} (was {})", text(&lost["key"]), names(&lost["homes"]));
    }
    if lose.len() > SHOWN {
        let _ = writeln!(out, "and {} more", lose.len() - SHOWN);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn what_a_force_comes_to() {
        let lost: Vec<Value> = (0..22)
            .map(|number| json!({"key": format!("configmaps/shop/conf-{number:02}"), "homes": ["gcp-euw4"]}))
            .collect();
        let plan = json!({
            "label": "a1b2c3d4", "by": "ada", "era": {"from": 1, "to": 2}, "discarded": ["azure-sea", "gcp-euw4"],
            "voters": {
                "before": {"set": ["aws-use1", "azure-sea", "gcp-euw4"], "quorum": 2},
                "after": {"set": ["aws-use1"], "quorum": 1},
            },
            "isQuorum": false, "open": ["spec"],
            "pages": {
                "moved": 170, "before": {"aws-use1": 86, "azure-sea": 85, "gcp-euw4": 85}, "after": {"aws-use1": 256},
            },
            "spec": {"home": "gcp-euw4", "isDiscarded": true},
            "objects": {
                "known": 40, "unreadable": 1, "loseTheirHome": lost, "outputsLeft": {"azure-sea": 0, "gcp-euw4": 31},
            },
        });
        expect![[r#"
            League          a1b2c3d4
            Era             1 → 2, signed by ada
            Discarded       azure-sea, gcp-euw4
            Voters          aws-use1 (of aws-use1, azure-sea, gcp-euw4)
            Majority        1 of 1 (was 2 of 3)
            Ballots         closed undecided, to be proposed anew: spec
            Spec            stays as agreed; its home gcp-euw4 is discarded: annotate the Federation of another member with hansa.dev/take-home to edit it there
            Objects         40 stay as agreed, nothing is deleted; 22 of them without a home: any member may become it
            Not read        1 part, which stay as they are

            MEMBER      VOTES           PAGES      OUTPUTS THERE
            aws-use1    yes             86 → 256   kept up
            azure-sea   no, discarded   85 → 0     none
            gcp-euw4    no, discarded   85 → 0     31, left untouched
            without a home: configmaps/shop/conf-00 (was gcp-euw4)
            without a home: configmaps/shop/conf-01 (was gcp-euw4)
            without a home: configmaps/shop/conf-02 (was gcp-euw4)
            without a home: configmaps/shop/conf-03 (was gcp-euw4)
            without a home: configmaps/shop/conf-04 (was gcp-euw4)
            without a home: configmaps/shop/conf-05 (was gcp-euw4)
            without a home: configmaps/shop/conf-06 (was gcp-euw4)
            without a home: configmaps/shop/conf-07 (was gcp-euw4)
            without a home: configmaps/shop/conf-08 (was gcp-euw4)
            without a home: configmaps/shop/conf-09 (was gcp-euw4)
            without a home: configmaps/shop/conf-10 (was gcp-euw4)
            without a home: configmaps/shop/conf-11 (was gcp-euw4)
            without a home: configmaps/shop/conf-12 (was gcp-euw4)
            without a home: configmaps/shop/conf-13 (was gcp-euw4)
            without a home: configmaps/shop/conf-14 (was gcp-euw4)
            without a home: configmaps/shop/conf-15 (was gcp-euw4)
            without a home: configmaps/shop/conf-16 (was gcp-euw4)
            without a home: configmaps/shop/conf-17 (was gcp-euw4)
            without a home: configmaps/shop/conf-18 (was gcp-euw4)
            without a home: configmaps/shop/conf-19 (was gcp-euw4)
            and 2 more

        "#]].assert_eq(&show(&plan, &Screen::PLAIN));
    }
}
