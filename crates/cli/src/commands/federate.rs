//! `hansa federate`: federated objects from plain manifests.

use super::Outcome;
use super::delete::policy;
use crate::cluster::Connection;
use crate::documents::{Document, Files};
use crate::federate::{Federation, Options, federate};
use crate::kinds::{Kinds, builtin, discover};
use crate::print::{self, Format, ManifestOutput, Screen, Table, Tone, count};
use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use hansa_model::selector::{Operator, Requirement};
use hansa_model::{Adoption, DeletionPolicy, LabelSelector, MemberName, Placement, Wave};
use hansa_render::Refusal;

/// Arguments of `hansa federate`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    wanted: Wanted,
    /// Leave out what cannot be federated, and go on with the rest.
    #[arg(long)]
    skip_refused: bool,
    /// Ask no cluster, not even for kinds that are neither built in nor defined in the input.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: ManifestOutput,
}

/// Where objects go, and under which settings.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// The members that have the objects.
    #[arg(long, value_name = "MEMBER", value_delimiter = ',', conflicts_with_all = ["selector", "all"], help_heading = "Placement")]
    members: Vec<MemberName>,
    /// The members with these labels, such as env=prod,tier!=edge or region in (eu,us).
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = selector, conflicts_with = "all", help_heading = "Placement")]
    selector: Option<LabelSelector>,
    /// Every member.
    #[arg(long, help_heading = "Placement")]
    all: bool,
    /// Members that never have them.
    #[arg(long, value_name = "MEMBER", value_delimiter = ',', help_heading = "Placement")]
    exclude: Vec<MemberName>,
    /// Members that get a new revision first; may be repeated, for waves one after the other. Members in none
    /// make a last wave.
    #[arg(long = "wave", value_name = "MEMBER,…", value_parser = wave, help_heading = "Placement")]
    waves: Vec<Wave>,
    /// The namespace of objects that name none.
    #[arg(short, long)]
    namespace: Option<String>,
    /// What to do where an object exists already.
    #[arg(long, value_name = "ADOPTION", value_parser = PossibleValuesParser::new(["IfNoDifference", "Always", "Never"]).map(|text| adoption(&text)))]
    adoption: Option<Adoption>,
    /// What becomes of the outputs when a federated object is deleted.
    #[arg(long, value_name = "POLICY", value_parser = PossibleValuesParser::new(["Delete", "Orphan"]).map(|text| policy(&text)))]
    deletion_policy: Option<DeletionPolicy>,
}

fn wave(text: &str) -> Result<Wave, String> {
    let members = text.split(',').map(str::trim).map(str::parse).collect::<Result<Vec<MemberName>, _>>();
    Ok(Wave { members: Some(members.map_err(|error| error.to_string())?), member_selector: None })
}

fn adoption(text: &str) -> Adoption {
    match text {
        "Always" => Adoption::Always,
        "Never" => Adoption::Never,
        _ => Adoption::IfNoDifference,
    }
}

impl Wanted {
    /// What it comes to.
    ///
    /// # Errors
    /// When it says no place.
    pub fn options(&self) -> anyhow::Result<Options> {
        let selector = if self.all { Some(LabelSelector::default()) } else { self.selector.clone() };
        let members = (!self.members.is_empty()).then(|| self.members.clone());
        if members.is_none() && selector.is_none() {
            bail!("say which members have the objects: --members a,b or --selector KEY=VALUE or --all");
        }
        let placement = Placement { members, member_selector: selector, exclude: self.exclude.clone() };
        hansa_place::validate(&placement)?;
        Ok(Options {
            namespace: self.namespace.clone(),
            placement,
            adoption: self.adoption,
            waves: self.waves.clone(),
            deletion_policy: self.deletion_policy,
        })
    }
}

/// Reads a selector as kubectl writes it.
fn selector(text: &str) -> Result<LabelSelector, String> {
    let mut selector = LabelSelector::default();
    for part in split(text) {
        let part = part.trim();
        let values = |list: &str| -> Option<Vec<String>> {
            let inner = list.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
        };
        let words: Vec<&str> = part.splitn(3, ' ').collect();
        let (key, operator, values) = if let [key, operator @ ("in" | "notin"), list] = words.as_slice() {
            let operator = if *operator == "in" { Operator::In } else { Operator::NotIn };
            (
                *key,
                operator,
                values(list).ok_or_else(|| format!("`{part}`: values in parentheses are expected, such as (a,b)"))?,
            )
        } else if let Some((key, value)) = part.split_once("!=") {
            (key, Operator::NotIn, vec![value.to_owned()])
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (key, Operator::In, vec![value.to_owned()])
        } else if let Some(key) = part.strip_prefix('!') {
            (key, Operator::DoesNotExist, Vec::new())
        } else {
            (part, Operator::Exists, Vec::new())
        };
        if key.is_empty() || key.contains(' ') {
            return Err(format!(
                "`{part}` is no requirement: write KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY"
            ));
        }
        match (operator, values.as_slice()) {
            (Operator::In, [value]) => {
                selector.match_labels.insert(key.to_owned(), value.clone());
            }
            _ => selector.match_expressions.push(Requirement { key: key.to_owned(), operator, values }),
        }
    }
    Ok(selector)
}

/// Splits at the commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Prints the federated objects.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let options = arguments.wanted.options()?;
    let documents = arguments.files.read()?;
    let connection = (!arguments.offline).then_some(&arguments.connection);
    let federation = resolve(&documents, &options, connection).await;
    for (place, refusal) in &federation.refused {
        let tone = if arguments.skip_refused { Tone::Warning } else { Tone::Bad };
        print::note(tone, &format!("refused: {place}: {refusal}"));
    }
    if !federation.refused.is_empty() && !arguments.skip_refused {
        bail!(
            "{} of {} cannot be federated, so nothing is printed: mend them, leave them out, or go on without them by --skip-refused",
            federation.refused.len(),
            count(documents.len(), "object")
        );
    }
    tell(&federation);
    match arguments.output.format {
        Format::Table => print::stdout(&table(&federation).render(&Screen::stdout()))?,
        format => print::manifests(format, &federation.objects())?,
    }
    Ok(Outcome::Done)
}

/// Federates; kinds that are not known are looked up in the cluster, where there is one to ask.
pub async fn resolve(documents: &[Document], options: &Options, connection: Option<&Connection>) -> Federation {
    let mut kinds = Kinds::new(builtin());
    let mut federation = federate(documents, &kinds, options);
    if federation.unknown.is_empty() {
        return federation;
    }
    let asked = match connection {
        None => Err(anyhow::anyhow!("no cluster was asked (--offline)")),
        Some(connection) => discovered(connection).await,
    };
    let failure = match asked {
        Ok(found) => {
            kinds.extend(found);
            federation = federate(documents, &kinds, options);
            "this cluster serves none of that kind".to_owned()
        }
        Err(error) => format!("{error:#}"),
    };
    for ((api_version, kind), places) in std::mem::take(&mut federation.unknown) {
        let message = format!(
            "the plural of {kind} in {api_version} is not known: {failure}; add its CustomResourceDefinition to the input, or name a cluster that serves it (--kubeconfig, --context)"
        );
        for (place, object) in places {
            federation.refused.push((place, Refusal { object, field: "kind".to_owned(), message: message.clone() }));
        }
    }
    // In the order of the input.
    federation.refused.sort_by_key(|(place, _)| documents.iter().position(|document| &document.place == place));
    federation
}

async fn discovered(connection: &Connection) -> anyhow::Result<Vec<crate::kinds::Kind>> {
    let cluster = connection.cluster().await?;
    discover(&cluster).await.context("discovery")
}

/// Tells people what was left out, and what the league needs.
fn tell(federation: &Federation) {
    for one in &federation.federated {
        if !one.stripped.is_empty() {
            let fields: Vec<String> =
                one.stripped.iter().map(|field| format!("{} ({})", field.path, field.why)).collect();
            print::note(Tone::Faint, &format!("{}: left out: {}", one.key, fields.join(", ")));
        }
    }
    let types: Vec<String> = federation.types().iter().map(|(name, version)| format!("{name}/{version}")).collect();
    let objects = count(federation.federated.len(), "object");
    print::note(Tone::Faint, &format!("{objects} federated; the league has to federate {}", types.join(", ")));
    if federation.needs_two_steps() {
        print::note(
            Tone::Faint,
            "custom resources stand beside the definition of their kind: apply twice, the second time when their federated kind is served",
        );
    }
}

fn table(federation: &Federation) -> Table {
    let mut table = Table::new(["TYPE", "VERSION", "NAMESPACE", "NAME", "BESIDE", "LEFT OUT"]);
    for one in &federation.federated {
        let beside = one.beside.as_ref().map_or("", |object| object["kind"].as_str().unwrap_or_default());
        let fields: Vec<&str> = one.stripped.iter().map(|field| field.path.as_str()).collect();
        table.row([
            one.key.type_name.to_string(),
            one.version.clone(),
            one.key.namespace.to_string(),
            one.key.name.to_string(),
            beside.to_owned(),
            fields.join(", "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_written_as_for_kubectl() {
        let read = |text: &str| serde_json::to_value(selector(text).unwrap()).unwrap();
        assert_eq!(read("env=prod,tier==web"), json!({"matchLabels": {"env": "prod", "tier": "web"}}));
        assert_eq!(
            read("env!=dev,region in (eu, us),zone notin (a),gpu,!spot"),
            json!({"matchExpressions": [
                {"key": "env", "operator": "NotIn", "values": ["dev"]},
                {"key": "region", "operator": "In", "values": ["eu", "us"]},
                {"key": "zone", "operator": "NotIn", "values": ["a"]},
                {"key": "gpu", "operator": "Exists"},
                {"key": "spot", "operator": "DoesNotExist"},
            ]})
        );
        for wrong in ["", "=a", "region in eu", "a b", "a=b,"] {
            assert!(selector(wrong).is_err(), "{wrong}");
        }
    }
}
