//! `hansa type`: which kinds the league federates.

use super::Outcome;
use crate::cluster::{Cluster, Connection};
use crate::key::{self, Source};
use crate::kinds::Kind;
use crate::league::League;
use crate::print::{self, Output, Table, Tone, count};
use crate::reads::{Reads, Selection};
use anyhow::{Context, bail};
use hansa_api::federation::PRIVILEGED_GROUPS;
use hansa_model::{FederatedType, TypeName};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many objects a refusal names.
const SHOWN: usize = 5;

/// Arguments of `hansa type`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the federated types.
    List {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Federate a kind, built in or defined by a CustomResourceDefinition.
    ///
    /// Ask in the member that the league's spec is at home in.
    Enable {
        /// The kind: its plural and group, such as deployments.apps, or any word that kubectl takes.
        #[arg(value_name = "TYPE")]
        type_word: String,
        /// The version to federate it in; without it, the one that the cluster prefers.
        #[arg(long)]
        version: Option<String>,
        /// Say yes to a kind that can change who may do what: cluster-scoped kinds, RBAC, webhooks,
        /// policies, and objects in kube-* namespaces.
        #[arg(long)]
        privileged: bool,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Stop to federate a kind; refused while there are federated objects of it.
    Disable {
        /// The kind.
        #[arg(value_name = "TYPE")]
        type_word: String,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

/// Lists types, or edits the league's spec.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    match arguments.command {
        Command::List { connection, output } => list(&connection, output).await,
        Command::Enable { type_word, version, privileged, connection, output } => {
            let cluster = connection.cluster().await?;
            let kind = served(&type_word, &cluster).await?;
            let wanted = wanted(&kind, version, privileged)?;
            let edit = |league: &League| enable(&league.list("types"), &wanted);
            let changed = League::edit(&cluster, edit).await?;
            let name = &wanted.resource;
            let words = match changed {
                true => format!(
                    "{name}/{} is federated: the members install Federated{} (`hansa type list`)",
                    wanted.version, kind.kind
                ),
                false => format!("{name}/{} is federated already", wanted.version),
            };
            let value = json!({"type": name, "version": wanted.version, "federated": true, "changed": changed});
            print::done(output, &value, &words)?;
            Ok(Outcome::Done)
        }
        Command::Disable { type_word, connection, output } => {
            let cluster = connection.cluster().await?;
            let name = listed(&type_word, &League::read(&cluster).await?, &cluster).await?;
            let select = Selection { type_name: name.to_string(), ..Selection::default() };
            let objects = Reads::open(&connection).await?.objects(&select).await?;
            if !objects.is_empty() {
                bail!("{}", in_use(&name, &objects));
            }
            let edit = |league: &League| Ok(disable(&league.list("types"), &name));
            let changed = League::edit(&cluster, edit).await?;
            let words = format!("{name} is not federated any more; its generated kind is left where it is");
            print::done(output, &json!({"type": name, "federated": false, "changed": changed}), &words)?;
            Ok(Outcome::Done)
        }
    }
}

/// The kind, with the versions that the cluster really serves.
async fn served(word: &str, cluster: &Cluster) -> anyhow::Result<Kind> {
    let meant = key::kind(word, Some(Source::Cluster(cluster))).await?;
    let served = crate::kinds::discover(cluster).await?;
    served.into_iter().find(|kind| kind.type_name == meant.type_name).with_context(|| {
        format!("this cluster does not serve {}: install its CustomResourceDefinition here first", meant.type_name)
    })
}

fn wanted(kind: &Kind, version: Option<String>, privileged: bool) -> anyhow::Result<FederatedType> {
    let name = &kind.type_name;
    if let Some(reason) = hansa_api::target::never_federated(name) {
        bail!("{name} cannot be federated: {reason}");
    }
    hansa_render::federable(name)?;
    let version = match version {
        None => kind.versions.first().cloned().with_context(|| format!("{name} is served in no version"))?,
        Some(version) if kind.versions.contains(&version) => version,
        Some(version) => bail!("--version {version}: this cluster serves {name} in {}", kind.versions.join(", ")),
    };
    let powerful = !kind.namespaced || PRIVILEGED_GROUPS.contains(&name.group());
    if powerful && !privileged {
        let why = if kind.namespaced { "can change who may do what" } else { "is cluster-scoped" };
        bail!("{name} {why} in every member: add --privileged if that is wanted");
    }
    Ok(FederatedType { resource: name.clone(), version, privileged })
}

/// The types of the spec with this one; `None` when it is there already.
fn enable(types: &[Value], wanted: &FederatedType) -> anyhow::Result<Option<Value>> {
    let mut types = types.to_vec();
    let wanted_value = json!(wanted);
    match types.iter_mut().find(|entry| entry["resource"] == wanted.resource.to_string()) {
        None => types.push(wanted_value),
        Some(entry) => {
            let privileged = entry["privileged"] == true;
            if entry["version"] == wanted.version && (privileged || !wanted.privileged) {
                return Ok(None);
            }
            entry["version"] = wanted.version.clone().into();
            if wanted.privileged {
                entry["privileged"] = true.into();
            }
        }
    }
    Ok(Some(json!({"types": types})))
}

/// The types of the spec without this one; `None` when it is not among them.
fn disable(types: &[Value], name: &TypeName) -> Option<Value> {
    let kept: Vec<&Value> = types.iter().filter(|entry| entry["resource"] != name.to_string()).collect();
    (kept.len() < types.len()).then(|| json!({"types": kept}))
}

/// The type of the spec that a word means. Its kind need not be served any more.
async fn listed(word: &str, league: &League, cluster: &Cluster) -> anyhow::Result<TypeName> {
    let is_listed = |name: &TypeName| league.spec.types.iter().any(|federated| &federated.resource == name);
    let name = match word.parse::<TypeName>() {
        Ok(name) if is_listed(&name) => name,
        _ => key::kind(word, Some(Source::Cluster(cluster))).await?.type_name,
    };
    if !is_listed(&name) {
        bail!("{name} is not federated: `hansa type list` shows what is");
    }
    Ok(name)
}

fn in_use(name: &TypeName, objects: &[Value]) -> String {
    let keys: Vec<&str> = objects.iter().filter_map(|object| object["key"].as_str()).take(SHOWN).collect();
    let more = if objects.len() > keys.len() { ", …" } else { "" };
    format!(
        "{name} is in use by {}: {}{more}: delete them first (`hansa delete`), or their outputs would be left to themselves",
        count(objects.len(), "federated object"),
        keys.join(", ")
    )
}

async fn list(connection: &Connection, output: Output) -> anyhow::Result<Outcome> {
    let reads = Reads::open(connection).await?;
    let health = reads.health().await?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for object in reads.objects(&Selection::default()).await? {
        *counts.entry(object["type"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let types: Vec<Value> = health["types"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let mut entry = entry.clone();
            entry["objects"] = counts.get(entry["type"].as_str().unwrap_or_default()).copied().unwrap_or(0).into();
            entry
        })
        .collect();
    print::answer(output.format, &Value::from(types.clone()), |screen| table(&types).render(screen))?;
    Ok(Outcome::Done)
}

fn table(types: &[Value]) -> Table {
    let mut table = Table::new(["TYPE", "VERSION", "OBJECTS", "HERE", "FAILURE"]);
    for entry in types {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let here = if entry["installed"] == true { ("installed", Tone::Good) } else { ("not yet", Tone::Warning) };
        table.toned([
            (text("type"), Tone::Strong),
            (text("version"), Tone::Plain),
            (entry["objects"].to_string(), Tone::Plain),
            (here.0.to_owned(), here.1),
            (text("failure"), Tone::Bad),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{Kinds, builtin};

    fn want(word: &str, version: Option<&str>, privileged: bool) -> Result<FederatedType, String> {
        let kinds = Kinds::new(builtin());
        let kind = kinds.of_word(word).unwrap().unwrap();
        wanted(kind, version.map(str::to_owned), privileged).map_err(|error| error.to_string())
    }

    #[test]
    fn a_type_is_checked_before_it_is_written() {
        assert_eq!(want("hpa", None, false).unwrap().version, "v2");
        assert_eq!(want("hpa", Some("v1"), false).unwrap().version, "v1");
        for (word, version, expected) in [
            ("hpa", Some("v3"), "--version v3: this cluster serves horizontalpodautoscalers.autoscaling in v2, v1"),
            ("pods", None, "pods cannot be federated: pods are made by the cluster that runs them"),
            (
                "clusterroles",
                None,
                "clusterroles.rbac.authorization.k8s.io is cluster-scoped in every member: add --privileged",
            ),
            (
                "roles",
                None,
                "roles.rbac.authorization.k8s.io can change who may do what in every member: add --privileged",
            ),
        ] {
            let error = want(word, version, false).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(want("ns", None, true).unwrap().privileged);
    }

    #[test]
    fn the_list_is_edited_and_nothing_else_lost() {
        let types = [json!({"resource": "configmaps", "version": "v1", "novelty": 1})];
        let deployments = want("deploy", None, false).unwrap();
        let edited = enable(&types, &deployments).unwrap().unwrap();
        assert_eq!(
            edited,
            json!({"types": [{"resource": "configmaps", "version": "v1", "novelty": 1}, {"resource": "deployments.apps", "version": "v1"}]})
        );
        let types = edited["types"].as_array().unwrap();
        assert_eq!(enable(types, &deployments).unwrap(), None);
        assert_eq!(disable(types, &deployments.resource).unwrap()["types"].as_array().unwrap().len(), 1);
        assert_eq!(disable(types, &"secrets".parse().unwrap()), None);
    }

    #[test]
    fn a_type_in_use_names_its_objects() {
        let objects: Vec<Value> = (0..7).map(|index| json!({"key": format!("configmaps/shop/c{index}")})).collect();
        let text = in_use(&"configmaps".parse().unwrap(), &objects);
        assert!(text.starts_with("configmaps is in use by 7 federated objects: configmaps/shop/c0, "), "{text}");
        assert!(text.contains("c4, …: delete them first"), "{text}");
    }
}
