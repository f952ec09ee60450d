//! `hansa topo rebuild`: a backup from what the members' API servers show.

use super::Outcome;
use super::backup::NewFile;
use crate::cluster::{Body, CallError, Cluster, Connection, Verb};
use crate::member;
use crate::print::{self, Output, Screen, Table, Tone, count};
use crate::progress::Progress;
use crate::resource::{Resource, encode};
use anyhow::{Context, bail};
use hansa_api::SYSTEM_NAMESPACE;
use hansa_model::{Era, FederatedType, FederationSpec, Generation, Incarnation, LeagueId, MemberName, RecordKey};
use hansa_render::{INCARNATION_ANNOTATION, LEAGUE_LABEL};
use hansa_topo::backup::rebuild::{Federation, Findings, Known, Object, Report, Stamp, rebuild};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How many objects of one sort are shown.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to make.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
    /// The kubeconfig; without it, that of $KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "FILE", help_heading = "Clusters")]
    kubeconfig: Option<PathBuf>,
    /// A context for each member of the league.
    #[arg(long = "context", value_name = "NAME", required = true, help_heading = "Clusters")]
    contexts: Vec<String>,
    /// A member that cannot be read: what stands there has no record, and is left alone.
    #[arg(long, value_name = "MEMBER", help_heading = "Clusters")]
    without: Vec<MemberName>,
    #[command(flatten)]
    output: Output,
}

/// Reads every member, and writes the file.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let mut file = NewFile::begin(&arguments.file)?;
    let progress = Progress::steps(arguments.contexts.len(), "members are read");
    let mut reports = Vec::new();
    for context in &arguments.contexts {
        progress.say(format!("context {context} is read"));
        let connection = Connection {
            kubeconfig: arguments.kubeconfig.clone(),
            context: Some(context.clone()),
            system_namespace: SYSTEM_NAMESPACE.to_owned(),
            operator: None,
        };
        let cluster = connection.cluster().await?;
        reports.push(report(&cluster).await.with_context(|| format!("--context {context}"))?);
        progress.step();
    }
    drop(progress);
    let rebuilt = rebuild(&reports, &arguments.without.iter().cloned().collect())?;
    let manifest = rebuilt.write(&mut file.out)?;
    file.keep()?;
    let (label, era) = (rebuilt.league.label(), rebuilt.era);
    let value = json!({"file": arguments.file, "manifest": manifest, "findings": rebuilt.findings});
    let file = arguments.file.display();
    print::answer(arguments.output.format, &value, |screen| {
        format!(
            "league {label} is rebuilt from {} as of era {era}: {}\n{}next: look at it, then `hansa topo restore URL -f {file}` writes it into an empty topology server, under a higher era\n",
            count(reports.len(), "member"),
            count(rebuilt.findings.records as usize, "record"),
            told(&rebuilt.findings, screen)
        )
    })?;
    Ok(Outcome::Done)
}

/// What is to be known before it counts.
fn told(findings: &Findings, screen: &Screen) -> String {
    let mut table = Table::new(["OBJECT", "MEMBER", "WHAT BECOMES OF IT"]);
    let (mut shown, mut all) = (0, 0);
    let mut row = |key: &RecordKey, member: &str, tone: Tone, what: &str| {
        all += 1;
        if shown < SHOWN {
            shown += 1;
            table.toned([(key.to_string(), Tone::Strong), (member.to_owned(), Tone::Plain), (what.to_owned(), tone)]);
        }
    };
    for key in &findings.unknown {
        row(key, "", Tone::Bad, "what was agreed stands in no home that was read: its copies ask, its outputs stay");
    }
    for (member, keys) in &findings.strays {
        for key in keys.iter().filter(|key| !findings.unknown.contains(*key)) {
            row(key, member.as_str(), Tone::Warning, "no home speaks for it: it stays, as a stray");
        }
    }
    for key in &findings.edited {
        row(key, "", Tone::Plain, "its home holds a newer content: that counts");
    }
    let more = if all > shown { format!("and {} more (-o json has all)\n", all - shown) } else { String::new() };
    if table.is_empty() { String::new() } else { format!("\n{}{more}\n", table.render(screen)) }
}

/// What a member shows.
async fn report(cluster: &Cluster) -> anyhow::Result<Report> {
    let member = member::at_hand(cluster, None).await;
    let member = member.context("its Members do not say which of them it is: start its operator there, or name another context, or do without it (--without)")?;
    let federations = cluster.list(&Resource::own("federations")).await?;
    let Some(object) = federations.iter().find(|object| object["status"]["league"].is_string()) else {
        bail!("it has no Federation that was ever agreed on: name another context, or do without it (--without)");
    };
    let federation = federation(object)?;
    let spec: FederationSpec = serde_json::from_value(object["spec"].clone()).context("Federation: spec")?;
    let members = cluster.list(&Resource::own("members")).await?;
    let members =
        members.iter().filter_map(|object| Some((object["metadata"]["name"].as_str()?.parse().ok()?, known(object))));
    let (mut objects, mut outputs) = (Vec::new(), BTreeMap::new());
    for one in &spec.types {
        let name = &one.resource;
        let federated = Resource::new(&name.federated_group(), hansa_api::VERSION, &name.federated_plural());
        for object in listed(cluster, &federated, "").await? {
            objects.push(home(one, &object).with_context(|| format!("{federated} {}", object["metadata"]["name"]))?);
        }
        let query = format!("labelSelector={}", encode(&format!("{LEAGUE_LABEL}={}", federation.league.label())));
        for object in listed(cluster, &Resource::new(name.group(), &one.version, name.resource()), &query).await? {
            let life = object["metadata"]["annotations"][INCARNATION_ANNOTATION].as_str();
            if let Some(life) = life.and_then(|text| text.parse().ok()) {
                outputs.insert(key(one, &object), Incarnation(life));
            }
        }
    }
    Ok(Report { member, federation, members: members.collect(), objects, outputs })
}

/// The objects of a collection; none where the kind is not served.
async fn listed(cluster: &Cluster, resource: &Resource, query: &str) -> Result<Vec<Value>, CallError> {
    match cluster.request(Verb::List, resource, query, Body::None).await {
        Ok(mut answer) => Ok(answer.object["items"].as_array_mut().map(std::mem::take).unwrap_or_default()),
        Err(error) if error.is_missing() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn key(of: &FederatedType, object: &Value) -> RecordKey {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    RecordKey::new(of.resource.clone(), text("namespace"), text("name"))
}

fn federation(object: &Value) -> anyhow::Result<Federation> {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    let league: LeagueId = serde_json::from_value(status["league"].clone()).context("Federation: status.league")?;
    let home = status["home"].as_str().and_then(|name| name.parse().ok());
    Ok(Federation {
        league,
        era: Era(status["era"].as_u64().unwrap_or(1)),
        generation: Generation(status["generation"].as_u64().unwrap_or(1)),
        home: home.context("Federation: status.home: it was not agreed on yet")?,
        uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
        object_generation: metadata["generation"].as_u64().unwrap_or_default(),
        spec: object["spec"].clone(),
    })
}

fn known(object: &Value) -> Known {
    let status = &object["status"];
    let keys = status["publicKeys"].as_array().into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned));
    Known { uid: status["uid"].as_str().unwrap_or_default().to_owned(), keys: keys.collect() }
}

fn home(of: &FederatedType, object: &Value) -> anyhow::Result<Object> {
    let (metadata, agreed) = (&object["metadata"], &object["status"]["agreed"]);
    let stamp =
        match serde_json::from_value::<Option<hansa_api::status::Agreed>>(agreed.clone()).context("status.agreed")? {
            Some(agreed) => Some(Stamp {
                incarnation: agreed.incarnation,
                revision: agreed.revision,
                hash: agreed.hash,
                homes: agreed.homes.into_iter().collect(),
                differs: agreed.differs,
            }),
            None => None,
        };
    Ok(Object {
        key: key(of, object),
        uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
        generation: metadata["generation"].as_u64().unwrap_or_default(),
        spec: object["spec"].clone(),
        stamp,
    })
}
