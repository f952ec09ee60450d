//! `hansa home`: where objects are at home, and moving them.

use super::{Outcome, Patience};
use crate::cluster::Connection;
use crate::key::{ObjectArguments, OptionalObject, Source};
use crate::print::{self, Format, Output, Table, Tone};
use crate::reads::{Reads, Selection};
use crate::request;
use anyhow::bail;
use hansa_api::{Action, Arguments as RequestArguments};
use hansa_model::MemberName;
use serde_json::Value;

/// Arguments of `hansa home`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show which members are the homes of objects.
    List {
        #[command(flatten)]
        object: OptionalObject,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Make another member the home of an object.
    ///
    /// Ask in its home, which consents by that, or in the new one, where the league's spec allows
    /// takeovers (homes: {takeover: Allowed}) or no member is the home.
    Move {
        #[command(flatten)]
        object: ObjectArguments,
        /// The new home.
        #[arg(long, value_name = "MEMBER")]
        to: MemberName,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

/// Lists homes, or moves one.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    match arguments.command {
        Command::List { object, connection, output } => list(&object, &connection, output).await,
        Command::Move { object, to, patience, connection, output } => {
            let cluster = connection.cluster().await?;
            let key = object.key(Some(Source::Cluster(&cluster))).await?;
            let wanted = RequestArguments { member: Some(to), ..RequestArguments::default() };
            let spec = request::spec(Action::HomeMove, Some(&key), wanted);
            let reply = request::ask(&cluster, &spec, patience.timeout).await?;
            reply.tell(output, Some(&key))?;
            Ok(Outcome::Done)
        }
    }
}

async fn list(object: &OptionalObject, connection: &Connection, output: Output) -> anyhow::Result<Outcome> {
    let reads = Reads::open(connection).await?;
    let select = match object.given() {
        None => Selection { namespace: object.namespace.clone().unwrap_or_default(), ..Selection::default() },
        Some(object) => {
            let key = object.key(Some(reads.source())).await?;
            Selection {
                type_name: key.type_name.to_string(),
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                homeless: false,
            }
        }
    };
    let rows: Vec<Value> = reads.objects(&select).await?.into_iter().map(|row| home(&row)).collect();
    if rows.is_empty() && !select.name.is_empty() {
        bail!(
            "the league knows no {} {}/{}: `hansa get -A` lists what it knows",
            select.type_name,
            select.namespace,
            select.name
        );
    }
    if rows.is_empty() && output.format == Format::Table {
        print::note(Tone::Plain, "no federated object");
        return Ok(Outcome::Done);
    }
    print::answer(output.format, &Value::from(rows.clone()), |screen| table(&rows).render(screen))?;
    Ok(Outcome::Done)
}

/// What there is to say of an object's homes.
fn home(row: &Value) -> Value {
    serde_json::json!({"key": row["key"], "homes": row["homes"], "homeless": row["homeless"], "revision": row["revision"]})
}

fn table(rows: &[Value]) -> Table {
    let mut table = Table::new(["OBJECT", "HOMES", "REVISION"]);
    for row in rows {
        let homes: Vec<&str> = row["homes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let homes = if homes.is_empty() { ("none".to_owned(), Tone::Bad) } else { (homes.join(", "), Tone::Plain) };
        let key = row["key"].as_str().unwrap_or_default().to_owned();
        table.toned([(key, Tone::Strong), homes, (row["revision"].to_string(), Tone::Plain)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::Screen;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn objects_with_their_homes() {
        let rows = [
            home(&json!({"key": "configmaps/shop/web", "homes": ["aws", "gcp"], "revision": 2, "members": []})),
            home(&json!({"key": "namespaces//shop", "homes": [], "homeless": true, "revision": 1})),
        ];
        expect![[r#"
            OBJECT                HOMES      REVISION
            configmaps/shop/web   aws, gcp   2
            namespaces//shop      none       1
        "#]]
        .assert_eq(&table(&rows).render(&Screen::PLAIN));
    }
}
