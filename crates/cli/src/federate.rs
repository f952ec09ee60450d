//! From plain manifests to federated objects.
//!
//! A function of the input: which member has what, and whether a type is federated at all, is for the
//! league to say. What must not travel is taken away and told; what cannot be federated is refused,
//! each with the object, the field and the mend.

#[cfg(test)]
mod tests;

use crate::documents::{Document, words};
use crate::kinds::{Kind, Kinds};
use hansa_api::target::PREFIX;
use hansa_model::{Adoption, DeletionPolicy, FINALIZER, Placement, RecordKey, TypeName, Wave};
use hansa_render::{Refusal, Stripped};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What every federated object gets.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The namespace of objects that name none.
    pub namespace: Option<String>,
    /// Which members have the objects.
    pub placement: Placement,
    /// What to do where an object exists already.
    pub adoption: Option<Adoption>,
    /// In which order the members get a new revision; empty: all at once.
    pub waves: Vec<Wave>,
    /// What becomes of the outputs when the federated object is deleted.
    pub deletion_policy: Option<DeletionPolicy>,
}

/// What became of one manifest.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Federated {
    /// The record that it will have.
    pub key: RecordKey,
    /// The version of the target that the template is written in.
    pub version: String,
    /// The federated object.
    pub object: Value,
    /// The plain object that goes beside it: a Secret's values, a Namespace to put the others into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Value>,
    /// What was taken away.
    pub stripped: Vec<Stripped>,
}

/// What became of a whole input.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Federation {
    /// What was federated, in an order in which it can be applied.
    pub federated: Vec<Federated>,
    /// What was refused: where it stands, and why.
    pub refused: Vec<(String, Refusal)>,
    /// Kinds that are not known, as apiVersion and kind: where objects of them stand, and which.
    pub unknown: BTreeMap<(String, String), Vec<(String, String)>>,
}

impl Federation {
    /// The objects to apply, in order.
    pub fn objects(&self) -> Vec<Value> {
        let beside = self.federated.iter().filter_map(|one| one.beside.clone());
        beside.chain(self.federated.iter().map(|one| one.object.clone())).collect()
    }

    /// The types that the league has to federate for these objects, with their versions.
    pub fn types(&self) -> BTreeSet<(TypeName, String)> {
        self.federated.iter().map(|one| (one.key.type_name.clone(), one.version.clone())).collect()
    }

    /// Whether custom resources stand beside the definition of their kind: `kubectl apply` needs two
    /// goes then, for their federated kind exists only once the definition is everywhere.
    pub fn needs_two_steps(&self) -> bool {
        let defined: BTreeSet<&str> = self
            .federated
            .iter()
            .filter(|one| one.key.type_name.resource() == "customresourcedefinitions")
            .map(|one| one.key.name.as_ref())
            .collect();
        self.federated.iter().any(|one| defined.contains(one.key.type_name.to_string().as_str()))
    }
}

/// Federates every document.
pub fn federate(documents: &[Document], kinds: &Kinds, options: &Options) -> Federation {
    let mut kinds = kinds.clone();
    kinds.extend_by_definitions(documents.iter().map(|document| &document.object));
    let mut result = Federation::default();
    let mut places: BTreeMap<RecordKey, &str> = BTreeMap::new();
    for document in documents {
        match one(&document.object, &kinds, options) {
            Ok(Some(federated)) => {
                if let Some(first) = places.insert(federated.key.clone(), &document.place) {
                    let message = format!("this object is in {first} already: keep one of the two");
                    result.refused.push((document.place.clone(), refusal(&document.object, "metadata.name", message)));
                } else {
                    result.federated.push(federated);
                }
            }
            Ok(None) => {
                let text = |field: &str| document.object[field].as_str().unwrap_or_default().to_owned();
                let kind = (text("apiVersion"), text("kind"));
                result.unknown.entry(kind).or_default().push((document.place.clone(), words(&document.object)));
            }
            Err(refusal) => result.refused.push((document.place.clone(), refusal)),
        }
    }
    // What others need comes first; the rest stays in the user's order.
    result.federated.sort_by_key(|one| match one.key.type_name.to_string().as_str() {
        "namespaces" => 0,
        "customresourcedefinitions.apiextensions.k8s.io" => 1,
        _ => 2,
    });
    result
}

fn refusal(object: &Value, field: &str, message: impl Into<String>) -> Refusal {
    Refusal { object: words(object), field: field.to_owned(), message: message.into() }
}

/// One manifest; `None` when its kind is not known.
fn one(object: &Value, kinds: &Kinds, options: &Options) -> Result<Option<Federated>, Refusal> {
    let (template, mut stripped) = hansa_render::strip(object)?;
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Some(known) = kinds.of_object(api_version, kind) else { return Ok(None) };
    let version = api_version.rsplit('/').next().unwrap_or_default();
    if !known.versions.iter().any(|served| served == version) {
        let message = format!(
            "{kind} is not served in `{api_version}` any more: write it in version {}",
            known.versions.first().map_or("", String::as_str)
        );
        return Err(refusal(object, "apiVersion", message));
    }
    hansa_render::federable(&known.type_name)
        .map_err(|refused| refusal(object, "kind", format!("{}: {}", known.type_name, refused.message)))?;
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let stated = metadata["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let namespace = if known.namespaced { stated.or(options.namespace.as_deref()) } else { None };
    if let (false, Some(_)) = (known.namespaced, stated) {
        stripped.push(Stripped {
            path: "metadata.namespace".to_owned(),
            why: format!("{} have no namespace", known.type_name),
        });
    }
    let key = RecordKey::new(known.type_name.clone(), namespace.unwrap_or_default(), name);
    let is_secret = known.type_name.to_string() == "secrets";
    let beside = match known.type_name.to_string().as_str() {
        "secrets" | "namespaces" => Some(plain(object, &template, namespace, is_secret)),
        _ => None,
    };
    let source =
        if is_secret { ("templateFrom", json!({"secretRef": {"name": name}})) } else { ("template", template) };
    let object = wrap(known, namespace, name, source, options);
    Ok(Some(Federated { key, version: version.to_owned(), object, beside, stripped }))
}

/// The federated object around a template.
fn wrap(kind: &Kind, namespace: Option<&str>, name: &str, source: (&str, Value), options: &Options) -> Value {
    let mut spec = Map::new();
    spec.insert(source.0.to_owned(), source.1);
    spec.insert("placement".to_owned(), json!(options.placement));
    if !options.waves.is_empty() {
        spec.insert("rollout".to_owned(), json!({"waves": options.waves}));
    }
    if let Some(adoption) = options.adoption {
        spec.insert("adoption".to_owned(), json!(adoption));
    }
    if let Some(policy) = options.deletion_policy {
        spec.insert("deletionPolicy".to_owned(), json!(policy));
    }
    // With the finalizer from the start, the operator has one write less to make.
    let mut metadata = json!({"name": name, "finalizers": [FINALIZER]});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    json!({
        "apiVersion": format!("{}/{}", kind.type_name.federated_group(), hansa_api::VERSION),
        "kind": format!("{PREFIX}{}", kind.kind),
        "metadata": metadata,
        "spec": spec,
    })
}

/// The plain object that goes beside a federated one, without what belongs to one cluster.
fn plain(object: &Value, template: &Value, namespace: Option<&str>, is_secret: bool) -> Value {
    let mut plain = template.clone();
    for field in ["apiVersion", "kind"] {
        plain[field] = object[field].clone();
    }
    plain["metadata"]["name"] = object["metadata"]["name"].clone();
    if let Some(namespace) = namespace {
        plain["metadata"]["namespace"] = namespace.into();
    }
    // A Namespace's labels and annotations are the federated one's to set; a Secret's stay with it.
    if !is_secret && let Some(fields) = plain["metadata"].as_object_mut() {
        fields.retain(|field, _| field == "name");
    }
    plain
}
