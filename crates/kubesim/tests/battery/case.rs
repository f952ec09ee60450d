//! What a case says.
//!
//! ```yaml
//! about: What the behaviour is, in one sentence.
//! before: [widgets]                # fixtures from before/, run first and not compared
//! steps:
//! - do: POST $core/configmaps?fieldManager=tester
//!   body: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}
//!   status: 201                    # what both must answer; any 2xx when left out
//!   save: {version: /metadata/resourceVersion}
//! - do: APPLY $core/configmaps/a?fieldManager=one&force=true
//!   body: {…}
//! - do: WATCH $core/configmaps?resourceVersion=$version
//!   name: changes
//! - do: EVENTS changes             # what the watch brings, up to the count or to the first that matches
//!   count: 2
//! - do: UNTIL $apps/deployments/web
//!   match: {status: {observedGeneration: 1}}
//! ```
//!
//! `do` is a method and a path with its query. Beside HTTP's own methods there are `APPLY`, `JSON`, `MERGE` and
//! `STRATEGIC` (a PATCH of that kind), `WATCH` (opens a watch and goes on), `EVENTS` (reads from it) and `UNTIL` (gets
//! again until the answer matches, for what controllers do in their own time; only the last answer is compared).
//!
//! `$name` stands for a saved value or for one of: `$ns` (the case's namespace), `$core`, `$apps`, `$batch`,
//! `$networking`, `$policy`, `$rbac`, `$autoscaling` (the namespace's paths in those groups), `$group` (an API group of
//! the case's own, for custom resources), `$mebibyte` (as much text) and `$each` (see [`Step::each`]). `$$` is a dollar
//! sign.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// One behaviour.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The file's name without its ending; also the case's namespace.
    #[serde(skip)]
    pub name: String,
    /// The behaviour in one sentence.
    pub about: String,
    /// Runs before all others and by itself: it looks at what other cases change for everyone.
    #[serde(default)]
    pub alone: bool,
    /// Fixtures to run first.
    #[serde(default)]
    pub before: Vec<String>,
    /// The steps of those fixtures.
    #[serde(skip)]
    pub prelude: Vec<Step>,
    /// What is done and compared.
    pub steps: Vec<Step>,
}

/// One request, or one look at a watch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Method, path and query.
    #[serde(rename = "do")]
    pub action: String,
    /// The body, sent as JSON.
    pub body: Option<Value>,
    /// The body as it stands, for what is not JSON.
    pub raw: Option<String>,
    /// Content-Type, where it is not the one that goes with the method.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// Accept, where it is not JSON.
    pub accept: Option<String>,
    /// Who asks: `admin`, `stranger` (known, without rights), `impostor` (a wrong token) or `nobody` (none).
    #[serde(default = "admin")]
    pub user: String,
    /// The status that both servers must answer with; any 2xx when left out.
    pub status: Option<u16>,
    /// Values for later steps: variable to JSON pointer into the body.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    /// What an answer or event must hold before an `UNTIL` or `EVENTS` ends, see [`crate::compare::holds`].
    #[serde(rename = "match")]
    pub matching: Option<Value>,
    /// How many events an `EVENTS` reads; together with `match`, the events are counted that match.
    pub count: Option<usize>,
    /// An `EVENTS` reads until the server ends the watch.
    #[serde(default)]
    pub closed: bool,
    /// The name of the watch that a `WATCH` opens.
    pub name: Option<String>,
    /// The step is done once for each of these, as `$each`.
    #[serde(default)]
    pub each: Vec<String>,
    /// Places, as globs over JSON pointers, that are not compared: they differ between runs of the same server.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// The only places that are compared.
    #[serde(default)]
    pub only: Vec<String>,
}

fn admin() -> String {
    "admin".to_owned()
}

/// Reads all cases, in the order of their names.
pub fn load(folder: &Path) -> Result<Vec<Case>, String> {
    let mut fixtures: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for (name, text) in files(&folder.join("before"))? {
        fixtures.insert(name.clone(), parse(&format!("before/{name}.yaml"), &text)?);
    }
    let mut cases = Vec::new();
    for (name, text) in files(&folder.join("cases"))? {
        let mut case: Case = parse(&format!("cases/{name}.yaml"), &text)?;
        for fixture in &case.before {
            let steps = fixtures.get(fixture).ok_or_else(|| {
                format!("cases/{name}.yaml: before names {fixture:?} and there is no before/{fixture}.yaml")
            })?;
            case.prelude.extend(steps.iter().cloned());
        }
        case.name = name;
        cases.push(case);
    }
    Ok(cases)
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    // `y` is a value in cases, as it is for kube-apiserver.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| format!("{name}: {error}"))
}

/// Name and text of every YAML file in a folder, in order.
fn files(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if let (Some(name), Some("yaml")) =
            (path.file_stem().and_then(|name| name.to_str()), path.extension().and_then(|ending| ending.to_str()))
        {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            found.insert(name.to_owned(), text);
        }
    }
    Ok(found)
}
