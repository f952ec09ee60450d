//! Objects that stand already where an output is to be, and the tools that made them.

use super::{Look, OutputWork};
use crate::observed::MANAGER;
use hansa_model::{Adoption, Hash};
use hansa_render::BuiltInKeys;
use serde_json::{Value, json};

/// The field managers of tools that wrote manifests before Hansa did.
pub(super) const EARLIER_TOOLS: [&str; 8] = [
    "kubectl-client-side-apply",
    "kubectl",
    "kubectl-create",
    "helm",
    "Helm",
    "kustomize-controller",
    "argocd-controller",
    "before-first-apply",
];

/// Why nothing is adopted here.
pub(crate) const NEVER_ADOPTED: &str = "spec.adoption is Never, and an object of this name that Hansa did not make exists here: delete it, or choose another adoption";

/// Why a foreign object is not adopted, if it is not.
pub(super) fn bar(work: &OutputWork, adoption: Adoption, output: Hash) -> Option<String> {
    let Some(Look::Foreign(standing)) = &work.look else { return None };
    match (adoption, &work.barred) {
        (Adoption::Never, _) => Some(NEVER_ADOPTED.to_owned()),
        (Adoption::IfNoDifference, Some(barred)) => {
            let (tried, before, message) = &**barred;
            (*tried == output && *before == comparable_hash(standing)).then(|| message.clone())
        }
        _ => None,
    }
}

/// What adopting a foreign object would change in it, and the mend. `standing`: as [`hansa_render::comparable`] leaves it.
pub(crate) fn difference(kind: &str, standing: &Value, tried: &Value) -> String {
    let tried = hansa_render::comparable(tried);
    let changes = hansa_render::diff_for_people(kind, standing, &tried, &BuiltInKeys::of("", kind));
    let paths: Vec<_> =
        changes.iter().filter(|change| !is_mark(&change.path)).take(5).map(|change| change.path.clone()).collect();
    format!(
        "an object of this name that Hansa did not make exists here, and adopting it would change {}: make the template equal, or set spec.adoption to Always",
        paths.join(", ")
    )
}

fn is_mark(path: &str) -> bool {
    path.starts_with("metadata.labels") || path.starts_with("metadata.annotations")
}

/// An object without what adopting it would change anyway: Hansa's marks, and the API server's own.
pub(crate) fn comparable_hash(object: &Value) -> Hash {
    let mut object = hansa_render::comparable(object);
    for (field, marks) in [
        ("labels", [hansa_render::LEAGUE_LABEL].as_slice()),
        ("annotations", [hansa_render::INCARNATION_ANNOTATION, hansa_render::REVISION_ANNOTATION].as_slice()),
    ] {
        if let Some(map) = object["metadata"].get_mut(field).and_then(Value::as_object_mut) {
            marks.iter().for_each(|mark| {
                map.remove(*mark);
            });
            if map.is_empty() {
                object["metadata"].as_object_mut().expect("metadata is an object").remove(field);
            }
        }
    }
    Hash::of(&object)
}

/// Takes from the earlier tools' entries what Hansa's own entry holds too: a field that the template
/// drops later would linger if they still owned it. What only they own stays theirs. `None` when
/// there is nothing to take.
pub(super) fn migration(object: &Value) -> Option<Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let is_ours =
        |entry: &&Value| entry["manager"] == MANAGER && entry["operation"] == "Apply" && entry["subresource"].is_null();
    let ours = &entries.iter().find(is_ours)?["fieldsV1"];
    let mut changed = false;
    let mut kept = Vec::new();
    for entry in entries {
        let earlier = entry["subresource"].is_null() && EARLIER_TOOLS.iter().any(|tool| entry["manager"] == *tool);
        let mut entry = entry.clone();
        if earlier {
            changed |= subtract(&mut entry["fieldsV1"], ours);
            if entry["fieldsV1"].as_object().is_none_or(serde_json::Map::is_empty) {
                continue;
            }
        }
        kept.push(entry);
    }
    changed.then(|| {
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/metadata/managedFields", "value": kept},
        ])
    })
}

/// Removes from a field set what another one holds too. Returns whether anything went.
pub(super) fn subtract(fields: &mut Value, others: &Value) -> bool {
    let (Some(map), Some(others)) = (fields.as_object_mut(), others.as_object()) else { return false };
    let mut changed = false;
    map.retain(|name, inner| {
        let Some(other) = others.get(name) else { return true };
        let leaf = inner.as_object().is_none_or(serde_json::Map::is_empty);
        if leaf {
            changed = true;
            return false;
        }
        changed |= subtract(inner, other);
        !inner.as_object().is_none_or(serde_json::Map::is_empty)
    });
    changed
}
