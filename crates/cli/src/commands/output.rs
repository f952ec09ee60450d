//! `hansa output`: the substitution output of an object for a member.

use super::{Outcome, Patience};
use crate::cluster::{Cluster, Connection};
use crate::key::{ObjectArguments, Source, kind};
use crate::league::League;
use crate::print::{self, Format, ManifestOutput, Screen, Table, Tone};
use crate::reads::Reads;
use crate::rendering::{Life, Rendering, template};
use crate::request;
use crate::resource::Resource;
use anyhow::Context;
use hansa_api::{Action, Arguments as RequestArguments, FederatedStatus};
use hansa_model::{FederatedSpec, MemberName, RecordKey};
use serde_json::Value;

/// Arguments of `hansa output`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    object: ObjectArguments,
    /// The member.
    #[arg(long, value_name = "MEMBER")]
    member: MemberName,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: ManifestOutput,
}

/// Prints an output: computed here where this cluster keeps the agreed object, else asked for.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let cluster = arguments.connection.cluster().await?;
    let key = arguments.object.key(Some(Source::Cluster(&cluster))).await?;
    let output = match computed(&cluster, &key, &arguments.member).await? {
        Some(output) => output,
        None => asked(&cluster, &key, &arguments.member, arguments.patience.timeout).await?,
    };
    if let Ok(reads) = Reads::open(&arguments.connection).await
        && let Ok(record) = reads.explain(&key).await
        && !is_placed(&record, &arguments.member)
    {
        print::note(
            Tone::Warning,
            &format!("{key} is not placed in {}: this is what it would get there", arguments.member),
        );
    }
    match arguments.output.format {
        Format::Table => print::stdout(&fields(&output).render(&Screen::stdout()))?,
        format => print::answer(format, &output, |_| String::new())?,
    }
    Ok(Outcome::Done)
}

fn is_placed(record: &Value, member: &MemberName) -> bool {
    let mut members = record["members"].as_array().into_iter().flatten();
    members.any(|placed| placed["member"] == member.as_str() && placed["placed"] == "placed")
}

/// The output from this cluster's own object, when that is the agreed one.
async fn computed(cluster: &Cluster, key: &RecordKey, member: &MemberName) -> anyhow::Result<Option<Value>> {
    let Some(object) = cluster.find(&Resource::federated(key)).await? else { return Ok(None) };
    let status: FederatedStatus = serde_json::from_value(object["status"].clone()).unwrap_or_default();
    let current =
        status.observed_generation.is_some() && object["metadata"]["generation"].as_i64() == status.observed_generation;
    let Some(agreed) = status.agreed.filter(|agreed| current && !agreed.differs) else { return Ok(None) };
    let spec: FederatedSpec = serde_json::from_value(object["spec"].clone()).with_context(|| format!("{key}: spec"))?;
    let league = League::read(cluster).await?;
    let kind = kind(&key.type_name.to_string(), Some(Source::Cluster(cluster))).await?;
    let rendering = Rendering::of(cluster, &league, &kind).await?;
    let template = template(cluster, key, &spec, &[]).await?;
    let life = Life { incarnation: agreed.incarnation, revision: agreed.revision };
    rendering.output(&league, key, &spec, &template, member, life).map(Some)
}

/// The output from the operator, which knows every record.
pub async fn asked(
    cluster: &Cluster,
    key: &RecordKey,
    member: &MemberName,
    patience: std::time::Duration,
) -> anyhow::Result<Value> {
    let wanted = RequestArguments { member: Some(member.clone()), ..RequestArguments::default() };
    let reply = request::ask(cluster, &request::spec(Action::Output, Some(key), wanted), patience).await?;
    reply.result.with_context(|| format!("the operator gave no output: {}", reply.message))
}

/// Every field with its value.
fn fields(output: &Value) -> Table {
    let mut table = Table::new(["FIELD", "VALUE"]);
    flatten(&mut table, "", output);
    table
}

fn flatten(table: &mut Table, path: &str, value: &Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = if name.contains(['.', '/']) { format!("[{name}]") } else { format!(".{name}") };
                flatten(table, &format!("{path}{name}"), value);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                flatten(table, &format!("{path}[{index}]"), value);
            }
        }
        Value::String(text) => table.row([path.trim_start_matches('.').to_owned(), text.clone()]),
        scalar => table.row([path.trim_start_matches('.').to_owned(), scalar.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn a_table_has_a_line_for_each_field() {
        let output =
            json!({"kind": "ConfigMap", "metadata": {"labels": {"hansa.dev/league": "0"}}, "list": [{"a": 1}, []]});
        expect![[r#"
            FIELD                               VALUE
            kind                                ConfigMap
            list[0].a                           1
            list[1]                             []
            metadata.labels[hansa.dev/league]   0
        "#]]
        .assert_eq(&fields(&output).render(&Screen::PLAIN));
    }
}
