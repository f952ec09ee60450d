//! `hansa plan`: what would change where, before anything is applied.
//!
//! Outputs are rendered by the code that operators render them with, and the federated object is tried
//! in the member at hand, with the user's own rights. Then every member is asked what it would do: by
//! its operator's judgement, and a strict dry run on its own API server. Where that cannot be asked, or
//! is not to be (`--local`), the output is tried in the member at hand alone.

mod dry_run;
mod members;

use super::federate::{Wanted, resolve};
use super::{Outcome, duration};
use crate::cluster::{Cluster, Connection};
use crate::documents::{Document, Files, words};
use crate::kinds::{Kind, Kinds, builtin, discover};
use crate::league::League;
use crate::member;
use crate::plan::{ObjectPlan, Plan, compare, compare_settings, show};
use crate::print::{self, Output, Tone, count};
use crate::progress::Progress;
use crate::reads::Reads;
use crate::rendering::{Life, Rendering, template};
use crate::resource::{Resource, type_of_federated};
use anyhow::{Context, bail};
use dry_run::DryRuns;
use hansa_api::RequestSpec;
use hansa_api::target::{GROUP_SUFFIX, PREFIX};
use hansa_model::{FederatedSpec, MemberName, RecordKey};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Arguments of `hansa plan`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    /// The manifests are plain: federate them first, as `hansa federate` does.
    #[arg(long)]
    federate: bool,
    #[command(flatten)]
    wanted: Wanted,
    /// Ask no operator: try in this cluster alone, with the rights at hand; the others are rendered only.
    #[arg(long)]
    local: bool,
    /// How long the members that run may take to answer.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Plans. It ends with 2 when something would change, and with 1 when something would be refused.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let cluster = arguments.connection.cluster().await?;
    let documents = federated(&arguments).await?;
    let league = League::read(&cluster).await?;
    let planner = Planner::new(cluster, league, &arguments.connection, arguments.timeout, &documents).await?;
    let progress = Progress::steps(documents.len(), "planning");
    let mut drafts = Vec::new();
    for document in &documents {
        progress.say(format!("planning {}", words(&document.object)));
        drafts.extend(planner.plan(document).await?);
        progress.step();
    }
    drop(progress);
    let objects = planner.tried(drafts, !arguments.local).await;
    let plan = Plan::new(objects);
    print::answer(arguments.output.format, &json!(plan), |screen| show(&plan, screen))?;
    match plan.summary.refused {
        0 if plan.changes() => Ok(Outcome::WouldChange),
        0 => Ok(Outcome::Done),
        refused => bail!("{} would be refused", count(refused, "object")),
    }
}

/// The federated objects of the input, with what stands beside them.
async fn federated(arguments: &Arguments) -> anyhow::Result<Vec<Document>> {
    let documents = arguments.files.read()?;
    if !arguments.federate {
        return Ok(documents);
    }
    let federation = resolve(&documents, &arguments.wanted.options()?, Some(&arguments.connection)).await;
    if !federation.refused.is_empty() {
        for (place, refusal) in &federation.refused {
            print::note(Tone::Bad, &format!("refused: {place}: {refusal}"));
        }
        bail!("{} cannot be federated", count(federation.refused.len(), "object"));
    }
    let objects = federation.objects().into_iter();
    Ok(objects.map(|object| Document { place: words(&object), object }).collect())
}

/// What was rendered here of an object, and how it is tried.
struct Draft {
    plan: ObjectPlan,
    /// `None`: it is refused before any member is asked.
    trial: Option<Trial>,
}

struct Trial {
    rendering: Rendering,
    /// The output for the member at hand.
    output: Option<Value>,
    request: RequestSpec,
}

impl From<ObjectPlan> for Draft {
    fn from(plan: ObjectPlan) -> Self {
        Draft { plan, trial: None }
    }
}

/// What plans need, asked once.
struct Planner {
    cluster: Cluster,
    league: League,
    reads: anyhow::Result<Reads>,
    kinds: Kinds,
    secrets: Vec<Value>,
    namespaces: BTreeSet<String>,
    dry_runs: DryRuns,
    timeout: Duration,
}

impl Planner {
    async fn new(
        cluster: Cluster,
        league: League,
        connection: &Connection,
        timeout: Duration,
        documents: &[Document],
    ) -> anyhow::Result<Self> {
        let mut kinds = Kinds::new(builtin());
        let is_known = |document: &Document| target(&document.object, &kinds).is_some();
        if !documents.iter().all(is_known) {
            kinds.extend(discover(&cluster).await?);
        }
        let reads = Reads::open(connection).await;
        let member = member::at_hand(&cluster, reads.as_ref().ok()).await;
        let of_kind = |kind: &str| {
            documents
                .iter()
                .map(|document| &document.object)
                .filter(|object| object["kind"] == *kind && object["apiVersion"] == "v1")
                .cloned()
                .collect()
        };
        let made: Vec<Value> = of_kind("Namespace");
        let namespaces = made.iter().filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned));
        Ok(Planner {
            dry_runs: DryRuns::new(cluster.clone(), member),
            secrets: of_kind("Secret"),
            namespaces: namespaces.collect(),
            cluster,
            league,
            reads,
            kinds,
            timeout,
        })
    }

    /// The plan of one document; `None` for a plain object that only stands beside a federated one.
    async fn plan(&self, document: &Document) -> anyhow::Result<Option<Draft>> {
        let object = &document.object;
        let Some(kind) = target(object, &self.kinds) else {
            let is_beside =
                object["apiVersion"] == "v1" && matches!(object["kind"].as_str(), Some("Secret" | "Namespace"));
            if is_beside {
                return Ok(None);
            }
            bail!(
                "{}: {}: kind: a Federated<Kind> of the league is expected: add --federate for plain manifests, or enable the type (`hansa type enable`)",
                document.place,
                words(object)
            );
        };
        let key = self.key(object, &kind).with_context(|| document.place.clone())?;
        let mut plan = ObjectPlan {
            key: key.clone(),
            kind: kind.kind.clone(),
            revision: None,
            spec: Vec::new(),
            members: BTreeMap::new(),
            asked: BTreeMap::new(),
            notes: Vec::new(),
            errors: Vec::new(),
        };
        let spec: FederatedSpec = match serde_json::from_value(object["spec"].clone()) {
            Ok(spec) => spec,
            Err(error) => {
                plan.errors.push(format!("spec: {error}"));
                return Ok(Some(plan.into()));
            }
        };
        let rendering = match Rendering::of(&self.cluster, &self.league, &kind).await {
            Ok(rendering) => rendering,
            Err(error) => {
                plan.errors.push(format!("{error:#}"));
                return Ok(Some(plan.into()));
            }
        };
        plan.errors.extend(rendering.federated_type.refusal(&key.namespace, kind.namespaced));
        let record = self.record(&key, &mut plan).await;
        let mut before = self.before(&key, &rendering, &mut plan, &spec, record.as_ref()).await?;
        let After { outputs: mut after, failures, template } = self.after(&key, &rendering, &mut plan, &spec).await;
        for home in self.sources(&key, &spec, record.as_ref()) {
            if before.remove(&home).is_some() | after.remove(&home).is_some() {
                plan.notes.push(format!("in {home}, the Secret that users keep is the source, and is left as it is"));
            }
        }
        if !plan.errors.is_empty() {
            plan.spec.clear();
            return Ok(Some(plan.into()));
        }
        plan.members = compare(&kind.kind, &before, &after, rendering.keys());
        for (member, error) in &failures {
            plan.refuse_in(member, error);
        }
        if spec.paused {
            plan.notes.push("spec.paused: outputs are left as they are until it is resumed".to_owned());
        }
        let is_made = self.namespaces.contains(&*key.namespace);
        self.dry_runs.try_federated(&mut plan, object, is_made).await;
        if plan.members.is_empty() {
            return Ok(Some(plan.into()));
        }
        let output = self.dry_runs.member().and_then(|member| after.remove(member));
        let request = members::spec(&key, object, &spec, template.as_ref(), self.timeout);
        Ok(Some(Draft { plan, trial: Some(Trial { rendering, output, request }) }))
    }

    /// Tries what was rendered: in every member, or in the one at hand.
    async fn tried(&self, mut drafts: Vec<Draft>, everywhere: bool) -> Vec<ObjectPlan> {
        let trials = || drafts.iter().filter_map(|draft| draft.trial.as_ref());
        let answers = if everywhere {
            let requests: Vec<&RequestSpec> = trials().map(|trial| &trial.request).collect();
            members::ask(&self.cluster, self.reads.as_ref().ok(), &requests, self.timeout).await
        } else {
            Vec::new()
        };
        let mut told = BTreeSet::new();
        let mut answers = answers.into_iter();
        for draft in &mut drafts {
            let Some(trial) = &draft.trial else { continue };
            match answers.next() {
                Some(Ok(findings)) => members::take(&mut draft.plan, &findings),
                Some(Err(error)) => {
                    let words = format!("the members were not asked: {error:#}");
                    if told.insert(words.clone()) {
                        print::note(Tone::Warning, &words);
                    }
                    self.dry_runs.try_output(&mut draft.plan, &trial.rendering, trial.output.as_ref()).await;
                }
                None => self.dry_runs.try_output(&mut draft.plan, &trial.rendering, trial.output.as_ref()).await,
            }
        }
        drafts.into_iter().map(|draft| draft.plan).collect()
    }

    fn key(&self, object: &Value, kind: &Kind) -> anyhow::Result<RecordKey> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&object["metadata"]["name"]);
        if name.is_empty() {
            bail!("{}: metadata.name: it is missing", words(object));
        }
        let namespace = match (kind.namespaced, text(&object["metadata"]["namespace"])) {
            (false, _) => String::new(),
            (true, stated) if stated.is_empty() => self.cluster.namespace.clone(),
            (true, stated) => stated,
        };
        Ok(RecordKey::new(kind.type_name.clone(), &namespace, &name))
    }

    /// What the league has recorded of an object, as far as the operator can be asked.
    async fn record(&self, key: &RecordKey, plan: &mut ObjectPlan) -> Option<Value> {
        let asked = match &self.reads {
            Ok(reads) => reads.explain(key).await,
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        match asked {
            Ok(record) => {
                let record = Some(record).filter(|record| record["found"] == true && record["deleted"] != true);
                plan.revision = record.as_ref().and_then(|record| record["revision"].as_u64());
                record
            }
            Err(error) => {
                plan.notes.push(format!(
                    "the league's record cannot be asked for, so only this cluster's object counts: {error:#}"
                ));
                None
            }
        }
    }

    /// The members whose own Secret is what the object is made of: its homes get no output.
    fn sources(&self, key: &RecordKey, spec: &FederatedSpec, record: Option<&Value>) -> BTreeSet<MemberName> {
        let named = spec.template_from.as_ref().is_some_and(|source| *source.secret_ref.name == *key.name);
        match record {
            _ if !named => BTreeSet::new(),
            Some(record) => names(&record["homes"]).collect(),
            None => self.dry_runs.member().cloned().into_iter().collect(),
        }
    }

    /// The outputs as they are agreed now.
    async fn before(
        &self,
        key: &RecordKey,
        rendering: &Rendering,
        plan: &mut ObjectPlan,
        wanted: &FederatedSpec,
        record: Option<&Value>,
    ) -> anyhow::Result<BTreeMap<MemberName, Value>> {
        let mut outputs = BTreeMap::new();
        let Some(object) = self.cluster.find(&Resource::federated(key)).await? else {
            let Some(record) = record else { return Ok(outputs) };
            // Its homes are elsewhere: what it is there, the operator says.
            let homes: Vec<&str> = record["homes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            plan.notes.push(match homes.as_slice() {
                [] => "it has no home: applied here as it was agreed, this cluster becomes its home; with another content it waits for that (`hansa home move`)".to_owned(),
                homes => format!("it is at home in {}, and not here: applied here it conflicts, unless it is equal or this cluster becomes its home (`hansa home move`)", homes.join(", ")),
            });
            for member in placed(record) {
                match super::output::asked(&self.cluster, key, &member, self.timeout).await {
                    Ok(output) => outputs.insert(member, output),
                    Err(error) => {
                        plan.notes.push(format!("the present output of {member} is not known: {error:#}"));
                        None
                    }
                };
            }
            return Ok(outputs);
        };
        plan.revision = plan.revision.or_else(|| object["status"]["agreed"]["revision"].as_u64());
        if object["status"]["agreed"]["differs"] == true {
            plan.notes.push(
                "this cluster's object differs from the agreed one, and is what the plan starts from (`hansa explain`)"
                    .to_owned(),
            );
        }
        let spec: FederatedSpec =
            serde_json::from_value(object["spec"].clone()).with_context(|| format!("{key} as it stands: spec"))?;
        plan.spec = compare_settings(&spec, wanted, rendering.keys());
        let template = match template(&self.cluster, key, &spec, &[]).await {
            Ok(template) => template,
            Err(error) => {
                plan.notes.push(format!("the present template cannot be read: {error:#}"));
                return Ok(outputs);
            }
        };
        // What is placed is recorded; before the first agreement, what placement computes.
        let members = match record {
            Some(record) => placed(record),
            None => {
                hansa_place::placed(&self.league.spec, &spec.placement).map(|placed| placed.members).unwrap_or_default()
            }
        };
        for member in members {
            if let Ok(output) = rendering.output(&self.league, key, &spec, &template, &member, Life::default()) {
                outputs.insert(member, output);
            }
        }
        Ok(outputs)
    }

    /// The outputs as the input wants them.
    async fn after(
        &self,
        key: &RecordKey,
        rendering: &Rendering,
        plan: &mut ObjectPlan,
        spec: &FederatedSpec,
    ) -> After {
        let mut after = After::default();
        plan.errors.extend(
            hansa_render::validate(&rendering.identity(key), &spec.overrides)
                .iter()
                .map(|error| format!("{}: {}", error.field, error.message)),
        );
        let placed = match hansa_place::placed(&self.league.spec, &spec.placement) {
            Ok(placed) => placed,
            Err(error) => {
                plan.errors.push(error.to_string());
                return after;
            }
        };
        for (member, reason) in &placed.reasons {
            if let hansa_place::Reason::NotAMember { .. } = reason {
                plan.notes.push(format!("{member}: {reason}"));
            }
        }
        if placed.members.is_empty() {
            plan.notes.push("spec.placement selects no member of the league".to_owned());
        }
        let template = match template(&self.cluster, key, spec, &self.secrets).await {
            Ok(template) => template,
            Err(error) => {
                plan.errors.push(format!("{error:#}"));
                return after;
            }
        };
        for member in placed.members {
            match rendering.output(&self.league, key, spec, &template, &member, Life::default()) {
                Ok(output) => {
                    after.outputs.insert(member, output);
                }
                Err(error) => {
                    after.failures.insert(member, format!("{error:#}"));
                }
            }
        }
        after.template = Some(template);
        after
    }
}

/// What is to be.
#[derive(Default)]
struct After {
    outputs: BTreeMap<MemberName, Value>,
    /// Why a member gets none.
    failures: BTreeMap<MemberName, String>,
    template: Option<Value>,
}

/// The members of a list of names.
fn names(list: &Value) -> impl Iterator<Item = MemberName> {
    list.as_array().into_iter().flatten().filter_map(|name| name.as_str()?.parse().ok())
}

/// The members that a record has placed.
fn placed(record: &Value) -> BTreeSet<MemberName> {
    let members = record["members"].as_array().into_iter().flatten();
    members
        .filter(|member| member["placed"] == "placed")
        .filter_map(|member| member["member"].as_str()?.parse().ok())
        .collect()
}

/// The kind that a federated object is of; `None` when it is none of a known kind.
fn target(object: &Value, kinds: &Kinds) -> Option<Kind> {
    let (group, _) = object["apiVersion"].as_str()?.split_once('/')?;
    let kind = object["kind"].as_str()?.strip_prefix(PREFIX)?;
    let group = match group.strip_suffix(GROUP_SUFFIX)? {
        "core" => "",
        group => group,
    };
    if let Some(found) = kinds.of_object(&format!("{group}/"), kind) {
        return Some(found.clone());
    }
    // A cluster serves the federated kind also where the target's own is not installed.
    let federated = kinds.of_object(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
    let type_name = type_of_federated(federated.type_name.resource(), federated.type_name.group())?;
    Some(Kind { type_name, kind: kind.to_owned(), ..federated.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_federated_object_names_its_target() {
        let kinds = Kinds::new(builtin());
        let of = |api_version: &str, kind: &str| {
            target(&json!({"apiVersion": api_version, "kind": kind}), &kinds).map(|kind| kind.type_name.to_string())
        };
        assert_eq!(of("apps.types.hansa.dev/v1alpha1", "FederatedDeployment").as_deref(), Some("deployments.apps"));
        assert_eq!(of("core.types.hansa.dev/v1alpha1", "FederatedConfigMap").as_deref(), Some("configmaps"));
        assert_eq!(of("example.org.types.hansa.dev/v1alpha1", "FederatedWidget"), None);
        assert_eq!(of("apps/v1", "Deployment"), None);
    }

    #[test]
    fn only_what_is_placed_counts() {
        let record = json!({"members": [{"member": "a", "placed": "placed"}, {"member": "b", "placed": "gone"}, {"member": "c", "placed": "withdrawing"}]});
        assert_eq!(placed(&record), ["a".parse().unwrap()].into());
    }
}
