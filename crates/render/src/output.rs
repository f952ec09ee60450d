//! The substitution output: the concrete object for one member.

use crate::list_keys::ListKeys;
use crate::merge::{self, names};
use crate::patch;
use crate::path::join;
use crate::travel::{IDENTITY, INCARNATION_ANNOTATION, LEAGUE_LABEL, Mark, REVISION_ANNOTATION, stays};
use hansa_model::{Hash, Incarnation, LeagueId, Member, Override, RecordKey, Revision};
use serde_json::{Map, Value};

/// Which object the output is: the same in every member, and never changed by a template or an
/// override.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The target's apiVersion: `apps/v1`.
    pub api_version: String,
    /// The target's kind: `Deployment`.
    pub kind: String,
    /// The record's key, with namespace and name.
    pub key: RecordKey,
}

impl Identity {
    /// The object's name.
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// The object's namespace; `None` when its kind is cluster-scoped.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.key.namespace.as_ref()).filter(|namespace| !namespace.is_empty())
    }

    /// The federated object in words: `FederatedDeployment shop/web`.
    pub fn federated(&self) -> String {
        match self.namespace() {
            Some(namespace) => format!("Federated{} {namespace}/{}", self.kind, self.name()),
            None => format!("Federated{} {}", self.kind, self.name()),
        }
    }
}

/// What Hansa writes on an output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marks {
    /// The league.
    pub league: LeagueId,
    /// The life of the federated object.
    pub incarnation: Incarnation,
    /// The record's revision.
    pub revision: Revision,
}

/// The concrete object for one member.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// What is applied.
    pub object: Value,
    /// The hash of the object without the mark of its revision: a revision that changes nothing for
    /// this member keeps the hash, and writes nothing.
    pub hash: Hash,
}

/// A template or an override that gives no output.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{object}: {field}: {message}")]
pub struct RenderError {
    /// The federated object: `FederatedDeployment shop/web`.
    pub object: String,
    /// The field at fault: `spec.overrides[1].patches[0].path`.
    pub field: String,
    /// What is wrong, what stands there, and what to do.
    pub message: String,
}

/// A fault at a field, before the object's name is put to it.
type Fault = (String, String);

/// The output for `member`: the template, less what does not travel, with the overrides that select
/// the member applied in list order, under the given identity and marks.
///
/// # Errors
/// When the template states another identity, or an override that selects the member cannot be
/// applied. Overrides for other members are not looked at, so that they cannot stop this one; see
/// [`validate`].
pub fn output(
    identity: &Identity,
    template: &Value,
    overrides: &[Override],
    member: &Member,
    marks: &Marks,
    keys: &dyn ListKeys,
) -> Result<Output, RenderError> {
    render(identity, template, overrides, member, marks, keys).map_err(|fault| name(identity, fault))
}

/// What is wrong with overrides whatever the member and the template: for the whole object at once,
/// before anything is rendered.
pub fn validate(identity: &Identity, overrides: &[Override]) -> Vec<RenderError> {
    let mut faults = Vec::new();
    for (index, change) in overrides.iter().enumerate() {
        let field = format!("spec.overrides[{index}]");
        faults.extend(check_selection(change, &field).err());
        if let Some(merge) = &change.merge {
            faults.extend(check_merge(identity, merge, &format!("{field}.merge")).err());
        }
        for (index, operation) in change.patches.iter().enumerate() {
            faults.extend(check_patch(operation, &format!("{field}.patches[{index}]")).err());
        }
    }
    faults.into_iter().map(|fault| name(identity, fault)).collect()
}

fn name(identity: &Identity, (field, message): Fault) -> RenderError {
    RenderError { object: identity.federated(), field, message }
}

fn render(
    identity: &Identity,
    template: &Value,
    overrides: &[Override],
    member: &Member,
    marks: &Marks,
    keys: &dyn ListKeys,
) -> Result<Output, Fault> {
    let mut object = travelling(identity, template)?;
    for (index, change) in overrides.iter().enumerate() {
        let field = format!("spec.overrides[{index}]");
        check_selection(change, &field)?;
        if selects(change, member) {
            apply(identity, &mut object, change, &field, keys)?;
        }
    }
    object["apiVersion"] = identity.api_version.clone().into();
    object["kind"] = identity.kind.clone().into();
    // Only labels and annotations travel and can be overridden, both as objects: indexing makes
    // those that an override took away.
    let metadata = &mut object["metadata"];
    metadata["name"] = identity.name().into();
    if let Some(namespace) = identity.namespace() {
        metadata["namespace"] = namespace.into();
    }
    metadata["labels"][LEAGUE_LABEL] = marks.league.label().into();
    metadata["annotations"][INCARNATION_ANNOTATION] = marks.incarnation.to_string().into();
    let hash = Hash::of(&object);
    object["metadata"]["annotations"][REVISION_ANNOTATION] = marks.revision.to_string().into();
    Ok(Output { object, hash })
}

/// The parts of a template that travel, without its identity, which has to be the right one where
/// it is stated. Labels and annotations are there even when empty: the marks will be put there, and
/// an override may add to them.
fn travelling(identity: &Identity, template: &Value) -> Result<Value, Fault> {
    let Value::Object(mut fields) = template.clone() else {
        return Err(no_object(template, "spec.template"));
    };
    fields.remove("status");
    for field in ["apiVersion", "kind"] {
        if let Some(stated) = fields.remove(field) {
            check_identity(identity, field, &stated, "spec.template")?;
        }
    }
    let mut metadata = match fields.remove("metadata") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => return Err(no_object(&other, "spec.template.metadata")),
    };
    for field in IDENTITY {
        if let Some(stated) = metadata.remove(*field) {
            check_identity(identity, field, &stated, "spec.template.metadata")?;
        }
    }
    let mut kept = Map::new();
    for mark in [Mark::Label, Mark::Annotation] {
        let mut marks = match metadata.remove(mark.field()) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(marks)) => marks,
            Some(other) => {
                let path = join("spec.template.metadata", mark.field());
                return Err(no_object(&other, &path));
            }
        };
        marks.retain(|key, value| stays(mark, key, value.as_str()).is_none());
        kept.insert(mark.field().to_owned(), Value::Object(marks));
    }
    fields.insert("metadata".to_owned(), Value::Object(kept));
    Ok(Value::Object(fields))
}

fn no_object(value: &Value, path: &str) -> Fault {
    let message = format!(
        "an object is expected, and this is {}: write fields with their values, or leave it out",
        merge::describe(value)
    );
    (path.to_owned(), message)
}

/// Refuses an identity that is not the output's. Empty is as good as unsaid, as in Kubernetes.
fn check_identity(identity: &Identity, field: &str, stated: &Value, parent: &str) -> Result<(), Fault> {
    let expected = match field {
        "apiVersion" => Some(identity.api_version.as_str()),
        "kind" => Some(identity.kind.as_str()),
        "name" => Some(identity.name()),
        "namespace" => identity.namespace(),
        _ => None,
    };
    let unsaid = stated.is_null() || stated.as_str() == Some("");
    if unsaid || expected.is_some() && stated.as_str() == expected {
        return Ok(());
    }
    let stated = stated.as_str().map_or_else(|| merge::describe(stated), |text| format!("`{text}`"));
    let message = match expected {
        Some(expected) => format!("this is {stated}, but the {field} is `{expected}` in every member: leave it out"),
        None if field == "namespace" => {
            format!("this is {stated}, but a {} has no namespace: leave it out", identity.kind)
        }
        None => format!(
            "the object is named `{}` in every member, so no name can be generated: leave it out",
            identity.name()
        ),
    };
    Err((format!("{parent}.{field}"), message))
}

/// Whether an override is for a member: named and selected, where it says so.
fn selects(change: &Override, member: &Member) -> bool {
    let named = change.members.as_ref().is_none_or(|members| members.contains(&member.name));
    let selected = change.member_selector.as_ref().is_none_or(|selector| selector.matches(&member.labels));
    named && selected
}

fn check_selection(change: &Override, field: &str) -> Result<(), Fault> {
    if change.members.is_none() && change.member_selector.is_none() {
        let message = "the override is for no member: add `members` or `memberSelector` \
                       (`memberSelector: {}` is every member)";
        return Err((field.to_owned(), message.to_owned()));
    }
    Ok(())
}

fn apply(
    identity: &Identity,
    object: &mut Value,
    change: &Override,
    field: &str,
    keys: &dyn ListKeys,
) -> Result<(), Fault> {
    if let Some(merge) = &change.merge {
        let field = format!("{field}.merge");
        let allowed = check_merge(identity, merge, &field)?;
        merge::merge(object, &allowed, keys).map_err(|error| (join(&field, &error.path), error.message))?;
    }
    for (index, operation) in change.patches.iter().enumerate() {
        let field = format!("{field}.patches[{index}]");
        check_patch(operation, &field)?;
        patch::apply(object, operation).map_err(|error| (format!("{field}.{}", error.field), error.message))?;
    }
    Ok(())
}

/// Refuses a merge that touches what an override may not, and gives it without the identity that it
/// may state when it is the right one.
fn check_merge(identity: &Identity, merge: &Value, field: &str) -> Result<Value, Fault> {
    let mut merge = merge.clone();
    let Some(fields) = merge.as_object_mut() else {
        return Err(no_object(&merge, field));
    };
    for name in ["apiVersion", "kind"] {
        if let Some(stated) = fields.remove(name) {
            refuse_removal(&stated, name, field)?;
            check_identity(identity, name, &stated, field)?;
        }
    }
    if fields.contains_key("status") {
        return Err((format!("{field}.status"), STATUS.to_owned()));
    }
    let Some(metadata) = fields.get_mut("metadata") else {
        return Ok(merge);
    };
    let field = format!("{field}.metadata");
    let Some(metadata) = metadata.as_object_mut() else {
        let message = "the object's metadata cannot be replaced: write `metadata: {labels: {…}, annotations: {…}}`";
        return Err((field, message.to_owned()));
    };
    for name in IDENTITY {
        if let Some(stated) = metadata.remove(*name) {
            refuse_removal(&stated, name, &field)?;
            check_identity(identity, name, &stated, &field)?;
        }
    }
    for (name, value) in metadata.iter() {
        let field = format!("{field}.{name}");
        check_metadata(name, Some(value), &field)?;
    }
    Ok(merge)
}

fn refuse_removal(stated: &Value, name: &str, field: &str) -> Result<(), Fault> {
    if stated.is_null() {
        let message = "an override cannot take away which object this is: leave it out";
        return Err((join(field, name), message.to_owned()));
    }
    Ok(())
}

const STATUS: &str = "a status is written by the member that has the object: leave it out";

/// Refuses an operation that touches what an override may not.
fn check_patch(operation: &hansa_model::JsonPatchOperation, field: &str) -> Result<(), Fault> {
    let path = format!("{field}.path");
    let tokens = patch::pointer(&operation.path).map_err(|error| (path.clone(), error.message))?;
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let refuse = |message: &str| Err((path.clone(), format!("`{}`: {message}", operation.path)));
    match tokens.as_slice() {
        [] => Err((path, "the whole object cannot be patched: name the field that is to change".to_owned())),
        ["apiVersion" | "kind", ..] => {
            refuse("an override cannot change which object this is: leave the operation out")
        }
        ["metadata", name, ..] if IDENTITY.contains(name) => {
            refuse("an override cannot change which object this is: leave the operation out")
        }
        ["status", ..] => refuse(STATUS),
        ["metadata"] => {
            refuse("the object's metadata cannot be replaced: use `/metadata/labels` or `/metadata/annotations`")
        }
        ["metadata", name] => check_metadata(name, operation.value.as_ref(), &path),
        ["metadata", name, key, ..] => {
            check_metadata(name, None, &path)?;
            let mark = if *name == "labels" { Mark::Label } else { Mark::Annotation };
            let value = operation.value.as_ref().and_then(Value::as_str);
            check_mark(mark, key, value, &path)
        }
        _ => Ok(()),
    }
}

/// Refuses what does not travel in a field of `metadata`, and in the labels or annotations that it
/// is given.
fn check_metadata(name: &str, value: Option<&Value>, field: &str) -> Result<(), Fault> {
    let mark = match name {
        "labels" => Mark::Label,
        "annotations" => Mark::Annotation,
        _ => {
            let allowed = names(&["labels", "annotations"]);
            let message = format!(
                "`metadata.{name}` belongs to one object in one cluster: of the metadata, only {allowed} can be overridden"
            );
            return Err((field.to_owned(), message));
        }
    };
    match value {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(marks)) => {
            marks.iter().try_for_each(|(key, value)| check_mark(mark, key, value.as_str(), field))
        }
        Some(other) => Err(no_object(other, field)),
    }
}

fn check_mark(mark: Mark, key: &str, value: Option<&str>, field: &str) -> Result<(), Fault> {
    match stays(mark, key, value) {
        None => Ok(()),
        Some(why) => {
            Err((field.to_owned(), format!("`{key}` does not travel to other clusters ({why}): leave it out")))
        }
    }
}

#[cfg(test)]
mod tests;
