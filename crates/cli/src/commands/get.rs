//! `hansa get`: the league's federated objects.

use super::Outcome;
use crate::cluster::Connection;
use crate::key;
use crate::print::{self, Output, Table, Tone};
use crate::reads::{Reads, Selection};
use anyhow::bail;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Arguments of `hansa get`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The type, and the name of an object of it: TYPE, TYPE NAME or TYPE/NAME.
    #[arg(num_args = 0..=2, value_name = "TYPE [NAME]")]
    words: Vec<String>,
    /// In this namespace. Without it, objects of a TYPE are looked for in that of the kubeconfig's
    /// context, and without a TYPE all of them are shown.
    #[arg(short, long)]
    namespace: Option<String>,
    /// In all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Only objects that no member keeps any more: their outputs stay, and nobody can edit them.
    #[arg(long)]
    homeless: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Lists objects.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let reads = Reads::open(&arguments.connection).await?;
    let select = select(&arguments, &reads).await?;
    let rows = reads.objects(&select).await?;
    if rows.is_empty() && !select.name.is_empty() {
        let place =
            if select.namespace.is_empty() { String::new() } else { format!(" in namespace {}", select.namespace) };
        bail!("the league knows no {} {}{place}: `hansa get -A` lists what it knows", select.type_name, select.name);
    }
    if rows.is_empty() && arguments.output.format == print::Format::Table {
        let place = match select.namespace.as_str() {
            "" => "in the league".to_owned(),
            namespace => format!("in namespace {namespace} (-A: in all)"),
        };
        print::note(
            Tone::Plain,
            &format!("no {}federated object {place}", if arguments.homeless { "homeless " } else { "" }),
        );
        return Ok(Outcome::Done);
    }
    print::answer(arguments.output.format, &Value::from(rows.clone()), |screen| {
        let whole = table(&rows, &select, false);
        let fits = screen.width.is_none_or(|width| whole.width() <= usize::from(width));
        if fits { whole.render(screen) } else { table(&rows, &select, true).render(screen) }
    })?;
    Ok(Outcome::Done)
}

/// Which objects are meant.
async fn select(arguments: &Arguments, reads: &Reads) -> anyhow::Result<Selection> {
    let parts: Vec<&str> = arguments.words.iter().flat_map(|word| word.split('/')).collect();
    let (type_word, stated, name) = match parts.as_slice() {
        [] => (None, None, ""),
        [type_word] => (Some(*type_word), None, ""),
        [type_word, name] => (Some(*type_word), None, *name),
        [type_word, namespace, name] => (Some(*type_word), Some(*namespace), *name),
        _ => bail!("`{}` means no objects: write TYPE, TYPE NAME or TYPE/NAME", arguments.words.join(" ")),
    };
    let mut select = Selection { homeless: arguments.homeless, name: name.to_owned(), ..Selection::default() };
    let stated = stated.or(arguments.namespace.as_deref()).map(str::to_owned);
    let Some(type_word) = type_word else {
        select.namespace = stated.unwrap_or_default();
        return Ok(select);
    };
    let kind = key::kind(type_word, Some(reads.source())).await?;
    select.type_name = kind.type_name.to_string();
    let default = || match reads.cluster() {
        // What lost its home is looked for everywhere: nobody remembers where it was.
        Some(cluster) if !arguments.homeless || !name.is_empty() => cluster.namespace.clone(),
        _ => String::new(),
    };
    if kind.namespaced && !arguments.all_namespaces {
        select.namespace = stated.unwrap_or_else(default);
    }
    Ok(select)
}

/// The objects, without the namespace where only one was asked for. `short`: types without their
/// groups, where no other type has the same name.
fn table(rows: &[Value], select: &Selection, short: bool) -> Table {
    let mut table = Table::new(["NAMESPACE", "TYPE", "NAME", "PLACED", "APPLIED", "READY", "HOMES", "TROUBLE"]);
    let types: BTreeSet<&str> = rows.iter().filter_map(|row| row["type"].as_str()).collect();
    let plural = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let is_alone = |name: &str| types.iter().filter(|other| plural(other) == plural(name)).count() == 1;
    for row in rows {
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let members: Vec<&Value> = row["members"].as_array().into_iter().flatten().collect();
        let placed: Vec<&&Value> = members.iter().filter(|member| member["placed"] == "placed").collect();
        let is_applied = |member: &Value| member["state"] == "Applied" && member["revision"] == row["revision"];
        let applied = placed.iter().filter(|member| is_applied(member)).count();
        let is_ready =
            |member: &Value| is_applied(member) && matches!(member["health"].as_str(), Some("Healthy" | "Unknown"));
        let ready = placed.iter().filter(|member| is_ready(member)).count();
        let tone = |number: usize| if number == placed.len() { Tone::Good } else { Tone::Warning };
        let homes: Vec<&str> = row["homes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let homes =
            if row["homeless"] == true { ("none".to_owned(), Tone::Bad) } else { (homes.join(","), Tone::Plain) };
        table.toned([
            (if select.namespace.is_empty() { text("namespace") } else { String::new() }, Tone::Plain),
            (if short && is_alone(&text("type")) { plural(&text("type")) } else { text("type") }, Tone::Plain),
            (text("name"), Tone::Strong),
            (placed.len().to_string(), Tone::Plain),
            (applied.to_string(), tone(applied)),
            (ready.to_string(), tone(ready)),
            homes,
            trouble(row, &members),
        ]);
    }
    table
}

/// What is not as it should be, in a few words.
fn trouble(row: &Value, members: &[&Value]) -> (String, Tone) {
    let mut states: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in members {
        let text = |field: &str| member[field].as_str().unwrap_or_default();
        let name = text("member");
        match (text("placed"), text("state"), text("health")) {
            ("withdrawing", ..) => states.entry("Withdrawing").or_default().push(name),
            ("gone", ..) => {}
            (_, "Applied", "Degraded") => states.entry("Degraded").or_default().push(name),
            (_, "Applied" | "", _) => {}
            (_, state, _) => states.entry(state).or_default().push(name),
        }
    }
    let deleted = (row["deleted"] == true).then(|| "Deleted".to_owned());
    let words = states.iter().map(|(state, names)| format!("{state} in {}", names.join(", ")));
    (deleted.into_iter().chain(words).collect::<Vec<_>>().join("; "), Tone::Bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::Screen;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn a_row_says_how_an_object_is() {
        let member = |name: &str, placed: &str, state: &str, health: &str, revision: u64| json!({"member": name, "placed": placed, "state": state, "health": health, "revision": revision});
        let rows = [
            json!({"type": "deployments.apps", "namespace": "shop", "name": "web", "revision": 3, "homes": ["aws", "gcp"], "homeless": false, "deleted": false,
                   "members": [member("aws", "placed", "Applied", "Healthy", 3), member("gcp", "placed", "Applied", "Progressing", 2), member("azure", "withdrawing", "Applied", "Healthy", 3)]}),
            json!({"type": "configmaps", "namespace": "shop", "name": "web", "revision": 1, "homes": [], "homeless": true, "deleted": false,
                   "members": [member("aws", "placed", "Refused", "Unknown", 1), member("gcp", "placed", "Applied", "Degraded", 1)]}),
        ];
        expect![[r#"
            NAMESPACE   TYPE               NAME   PLACED   APPLIED   READY   HOMES     TROUBLE
            shop        deployments.apps   web    2        1         1       aws,gcp   Withdrawing in azure
            shop        configmaps         web    2        1         0       none      Degraded in gcp; Refused in aws
        "#]]
        .assert_eq(&table(&rows, &Selection::default(), false).render(&Screen::PLAIN));
        let select = Selection { namespace: "shop".into(), ..Selection::default() };
        let short = table(&rows[..1], &select, true).render(&Screen { colours: false, width: Some(60) });
        expect![[r#"
            TYPE         NAME  PLACED  APPLIED  READY  HOMES    TROUBLE
            deployments  web   2       1        1      aws,gcp  Withdrawing in azure
        "#]]
        .assert_eq(&short);
    }
}
