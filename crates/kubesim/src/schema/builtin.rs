//! The built-in kinds, as extracted from a real kube-apiserver (`tools/extract-builtins`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::Value;

use super::Schema;
use super::hooks;
use super::kind::{Kind, Scale, Subresource, Subresources};
use super::node::{Arena, Conditional, Node, NodeId, OPAQUE, Type, Wire};
use super::parse::Parser;
use super::reset::Resets;

/// The extracted facts, compressed.
static DATA: &[u8] = include_bytes!("../../data/builtin.json.zst");

/// `ObjectMeta`, which every object has.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// All built-in kinds.
#[derive(Debug)]
pub struct Builtin {
    /// The version of Kubernetes the facts come from.
    pub kubernetes: KubernetesVersion,
    /// The groups in the order of discovery, the core group first.
    pub groups: Vec<Group>,
    /// OpenAPI definitions by name, without descriptions.
    pub(crate) definitions: BTreeMap<String, Value>,
    pub(crate) nodes: BTreeMap<String, NodeId>,
    pub(crate) arena: Arc<Arena>,
}

/// The version that a server names at `/version`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesVersion {
    /// `1`.
    pub major: String,
    /// `37`.
    pub minor: String,
    /// `v1.37.2`.
    pub git_version: String,
}

/// One group of built-in kinds.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name; empty for the core group.
    pub name: String,
    /// Its versions, the preferred one first.
    pub versions: Vec<Version>,
}

/// One version of a group.
#[derive(Clone, Debug)]
pub struct Version {
    /// The name, such as `v1`.
    pub name: String,
    /// The kinds in the order of discovery.
    pub kinds: Vec<Kind>,
}

impl Builtin {
    /// The kind that serves a resource.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Kind> {
        self.version(group, version)?.kinds.iter().find(|kind| kind.plural == plural)
    }

    /// A kind by its name.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Kind> {
        self.version(group, version)?.kinds.iter().find(|one| one.kind == kind)
    }

    /// Every kind of every version.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.groups.iter().flat_map(|group| &group.versions).flat_map(|version| &version.kinds)
    }

    /// The schema of any definition, such as `io.k8s.api.autoscaling.v1.Scale`.
    pub fn definition(&self, name: &str) -> Option<Schema> {
        self.nodes.get(name).map(|&root| Schema::builtin(self.arena.clone(), root))
    }

    fn version(&self, group: &str, version: &str) -> Option<&Version> {
        let group = self.groups.iter().find(|one| one.name == group)?;
        group.versions.iter().find(|one| one.name == version)
    }
}

/// The built-in kinds; unpacked at the first call.
pub fn builtin() -> &'static Builtin {
    static BUILTIN: OnceLock<Builtin> = OnceLock::new();
    BUILTIN.get_or_init(|| load(DATA).expect("the embedded facts about built-in kinds are whole"))
}

#[derive(Deserialize)]
struct Data {
    kubernetes: KubernetesVersion,
    groups: Vec<GroupData>,
    definitions: BTreeMap<String, Value>,
    wire: BTreeMap<String, BTreeMap<String, WireData>>,
    types: BTreeMap<String, BTreeMap<String, Box<str>>>,
    defaults: BTreeMap<String, Vec<RuleData>>,
    #[serde(rename = "kindDefaults")]
    kind_defaults: Vec<KindRuleData>,
}

#[derive(Deserialize)]
struct WireData {
    #[serde(default)]
    omit: bool,
    zero: Value,
}

#[derive(Deserialize)]
struct RuleData {
    field: Box<str>,
    value: Value,
    #[serde(default)]
    when: Box<str>,
    #[serde(default)]
    is: Vec<Box<str>>,
}

#[derive(Deserialize)]
struct KindRuleData {
    definition: String,
    path: Vec<Box<str>>,
    value: Value,
}

#[derive(Deserialize)]
struct GroupData {
    name: String,
    versions: Vec<VersionData>,
}

#[derive(Deserialize)]
struct VersionData {
    version: String,
    resources: Vec<ResourceData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceData {
    plural: String,
    singular: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    subresources: Vec<SubresourceData>,
}

#[derive(Deserialize)]
struct SubresourceData {
    name: String,
    group: String,
    version: String,
    kind: String,
    verbs: Vec<String>,
}

/// Why the facts could not be read.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("the facts about built-in kinds cannot be decompressed")]
    Compressed(#[source] std::io::Error),
    #[error("the facts about built-in kinds are not as expected")]
    Json(#[source] serde_json::Error),
}

fn load(packed: &[u8]) -> Result<Builtin, LoadError> {
    let text = zstd::decode_all(packed).map_err(LoadError::Compressed)?;
    let mut data: Data = serde_json::from_slice(&text).map_err(LoadError::Json)?;
    let mut arena = Arena::new();
    let nodes = read_definitions(&mut arena, &data.definitions);
    for (name, &id) in &nodes {
        let rules = data.defaults.remove(name).unwrap_or_default();
        let node = arena.node_mut(id);
        node.name = name.rsplit('.').next().map(Into::into);
        add_behaviour(node, name, data.wire.remove(name).unwrap_or_default(), rules);
        for (field, go_type) in data.types.remove(name).unwrap_or_default() {
            if let Some(field) = node.fields.get_mut(field.as_str()) {
                field.go_type = Some(go_type);
            }
        }
    }
    for rule in data.kind_defaults {
        if let Some(&id) = nodes.get(&rule.definition) {
            arena.node_mut(id).deep.push((rule.path, rule.value));
        }
    }
    let arena = Arc::new(arena);
    let by_kind = index_kinds(&data.definitions);
    let groups = data
        .groups
        .into_iter()
        .map(|group| {
            let versions = group
                .versions
                .into_iter()
                .map(|version| read_version(&group.name, version, &by_kind, &nodes, &arena))
                .collect();
            Group { name: group.name, versions }
        })
        .collect();
    Ok(Builtin { kubernetes: data.kubernetes, groups, definitions: data.definitions, nodes, arena })
}

/// Reads all definitions; each has its place before any is read, for they name each other.
fn read_definitions(arena: &mut Arena, definitions: &BTreeMap<String, Value>) -> BTreeMap<String, NodeId> {
    let mut places = BTreeMap::new();
    for name in definitions.keys() {
        let place = match name.rsplit('.').next() {
            Some("RawExtension") => OPAQUE,
            Some("Quantity") => arena.add(Node { r#type: Type::Quantity, ..Node::default() }),
            Some("IntOrString") => arena.add(Node { r#type: Type::IntOrString, ..Node::default() }),
            _ => arena.add(Node::default()),
        };
        places.insert(name.clone(), place);
    }
    let mut parser = Parser { arena, definitions: &places, is_builtin: true, errors: Vec::new() };
    for (name, schema) in definitions {
        let place = places[name];
        if !matches!(name.rsplit('.').next(), Some("RawExtension" | "Quantity" | "IntOrString")) {
            let mut node = parser.read(schema, name, false);
            if let Some(checks) = node.checks.as_mut().filter(|_| name.ends_with(".MicroTime")) {
                checks.format = Some("micro-time".into());
            }
            *parser.arena.node_mut(place) = node;
        }
    }
    places
}

/// Adds what Go's structs and the server's defaulting functions do to a definition.
fn add_behaviour(node: &mut Node, name: &str, wire: BTreeMap<String, WireData>, rules: Vec<RuleData>) {
    node.hook = hooks::of_definition(name);
    for (field, rule) in wire {
        let Some(known) = node.fields.get_mut(field.as_str()) else { continue };
        if rule.omit {
            known.wire = Wire::OmitEmpty;
        } else {
            known.wire = Wire::Always;
            node.always.push((field.into(), rule.zero));
        }
    }
    for rule in rules {
        let Some(field) = node.fields.get_mut(&rule.field) else { continue };
        if rule.when.is_empty() {
            field.default = Some(rule.value);
        } else {
            let RuleData { field, value, when, is } = rule;
            node.conditional.push(Conditional { field, when, is, value });
        }
    }
}

/// Definition names by group, version and kind.
fn index_kinds(definitions: &BTreeMap<String, Value>) -> BTreeMap<(String, String, String), String> {
    let mut index = BTreeMap::new();
    for (name, schema) in definitions {
        for one in schema["x-kubernetes-group-version-kind"].as_array().map_or(&[][..], Vec::as_slice) {
            let part = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            index.insert((part("group"), part("version"), part("kind")), name.clone());
        }
    }
    index
}

fn read_version(
    group: &str,
    version: VersionData,
    by_kind: &BTreeMap<(String, String, String), String>,
    nodes: &BTreeMap<String, NodeId>,
    arena: &Arc<Arena>,
) -> Version {
    let kinds = version
        .resources
        .into_iter()
        .map(|resource| {
            let key = (group.to_owned(), version.version.clone(), resource.kind.clone());
            let root = by_kind.get(&key).and_then(|name| nodes.get(name)).copied().unwrap_or(OPAQUE);
            let listed: Vec<Subresource> = resource
                .subresources
                .into_iter()
                .map(|one| Subresource {
                    name: one.name,
                    group: one.group,
                    version: one.version,
                    kind: one.kind,
                    verbs: one.verbs,
                })
                .collect();
            let scale = listed.iter().any(|one| one.name == "scale").then(|| Scale {
                spec_path: ".spec.replicas".to_owned(),
                status_path: ".status.replicas".to_owned(),
                selector_path: Some(".spec.selector".to_owned()),
            });
            let status = listed.iter().any(|one| one.name == "status");
            let mut schema = Schema::builtin(arena.clone(), root);
            if status {
                schema.resets = Resets::of_builtin(group, &resource.kind);
            }
            Kind {
                group: group.to_owned(),
                version: version.version.clone(),
                list_kind: format!("{}List", resource.kind),
                kind: resource.kind,
                plural: resource.plural,
                singular: resource.singular,
                short_names: resource.short_names,
                categories: resource.categories,
                namespaced: resource.namespaced,
                verbs: resource.verbs,
                schema,
                subresources: Subresources { status, scale, listed },
            }
        })
        .collect();
    Version { name: version.version, kinds }
}
