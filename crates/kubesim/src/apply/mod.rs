//! Who owns which field: server-side apply (KEP-555) and the tracking of other writes.
//!
//! The entry points take and give whole objects with their `metadata.managedFields`. The order of steps is that of
//! the real server's field manager, because it shows: an apply merges, drops what the applier no longer names and
//! nobody else owns, looks for conflicts, and fills in defaults last.

mod element;
mod fieldset;
mod managed;
mod misfits;
mod typed;
mod update;

use std::fmt;

use serde_json::Value;

use crate::schema::Schema;
use crate::value;
use element::PathElement;
pub(crate) use fieldset::FieldSet;
pub use managed::Operation;
use managed::{Manager, Managers, Owned};
use typed::Typed;
use update::{Taken, without_system_fields};

/// The annotation in which `kubectl apply` keeps what it last applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that owns what an object had before its first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The most bytes that all annotations of an object may have.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Who writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct ManagerContext<'a> {
    /// The field manager's name.
    pub manager: &'a str,
    /// The version that the request names.
    pub api_version: &'a str,
    /// The subresource written to; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the write: RFC 3339, UTC, whole seconds.
    pub time: &'a str,
}

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// That manager's name.
    pub manager: String,
    /// How it came to own the field.
    pub operation: Operation,
    /// The field, as a Status cause names it: `.spec.replicas`.
    pub field: String,
    /// The cause's message: `conflict with "kubectl" using apps/v1`.
    pub message: String,
}

/// Why an apply was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// The request makes no sense (kube answers 400).
    BadRequest(String),
    /// The applied object does not fit the schema (kube answers 500 with this text).
    Untyped(String),
    /// Others own fields that would change (kube answers 409 with these causes).
    Conflicts(Vec<Conflict>),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conflicts = match self {
            ApplyError::BadRequest(text) | ApplyError::Untyped(text) => return formatter.write_str(text),
            ApplyError::Conflicts(conflicts) => conflicts,
        };
        if let [only] = &conflicts[..] {
            return write!(formatter, "Apply failed with 1 conflict: {}: {}", only.message, only.field);
        }
        write!(formatter, "Apply failed with {} conflicts: ", conflicts.len())?;
        let mut last = None;
        for (index, conflict) in conflicts.iter().enumerate() {
            if last != Some(&conflict.message) {
                let manager = conflict.message.trim_start_matches("conflict with ");
                write!(formatter, "{}conflicts with {manager}:", if index > 0 { "\n" } else { "" })?;
                last = Some(&conflict.message);
            }
            write!(formatter, "\n- {}", conflict.field)?;
        }
        Ok(())
    }
}

impl std::error::Error for ApplyError {}

/// Applies an object: gives the merged one with its new `metadata.managedFields`, defaults filled in.
///
/// An apply that changes nothing gives the live object back as it is, times included.
///
/// # Errors
///
/// See [`ApplyError`].
pub fn server_side_apply(
    schema: &Schema,
    live: Option<&Value>,
    applied: &Value,
    force: bool,
    context: &ManagerContext<'_>,
) -> Result<Value, ApplyError> {
    let apply = Apply { schema, typed: Typed::new(schema), applied, context };
    apply.check()?;
    let blank = schema.blank();
    let live_object = live.unwrap_or(&blank);
    let mut managers = Managers::of(live_object)
        .ok_or_else(|| ApplyError::BadRequest("failed to decode managed fields".to_owned()))?;
    if managers.is_empty() {
        let first = ManagerContext { manager: BEFORE_FIRST_APPLY, ..*context };
        update::take(schema, &mut managers, &Taken { old: &blank, new: live_object }, &first);
    }
    let (merged, managers) = match apply.run(live_object, managers.clone(), force) {
        Err(ApplyError::Conflicts(conflicts)) if context.manager == "kubectl" => {
            let rest = apply.conflicts_beyond_last_applied(live_object, conflicts);
            if !rest.is_empty() {
                return Err(ApplyError::Conflicts(rest));
            }
            apply.run(live_object, managers, true)?
        }
        outcome => outcome?,
    };
    let mut result = match merged {
        Some(mut merged) => {
            schema.apply_defaults(&mut merged);
            merged
        }
        None => live_object.clone(),
    };
    apply.refresh_last_applied(&mut result);
    managers.write(&mut result);
    Ok(match live {
        Some(live) => keep_times_of_no_change(live, result),
        None => result,
    })
}

/// Brings `metadata.managedFields` of a new object up to date after a create, an update or a patch.
///
/// The new object may carry entries of its own, which then replace the old ones; `[]` and `[{}]` clear them.
pub fn track_update(schema: &Schema, old: Option<&Value>, new: &mut Value, context: &ManagerContext<'_>) {
    let of_old = || old.and_then(Managers::of).unwrap_or_default();
    let mut managers = if !context.subresource.is_empty() {
        of_old()
    } else if is_reset(new) {
        Managers::default()
    } else {
        Managers::of(new).filter(|managers| !managers.is_empty()).unwrap_or_else(of_old)
    };
    // An object whose entries were cleared stays without them until it is applied to.
    if old.is_none() || !managers.is_empty() {
        let blank;
        let old = match old {
            Some(old) => old,
            None => {
                blank = schema.blank();
                &blank
            }
        };
        update::take(schema, &mut managers, &Taken { old, new }, context);
        update::cap(&mut managers);
    }
    managers.write(new);
    if let Some(old) = old {
        *new = keep_times_of_no_change(old, std::mem::take(new));
    }
}

/// Whether an object asks for its entries to be cleared.
fn is_reset(object: &Value) -> bool {
    match value::get(object, &["metadata", "managedFields"]) {
        Some(Value::Array(entries)) => match &entries[..] {
            [] => true,
            [only] => only.as_object().is_some_and(serde_json::Map::is_empty),
            _ => false,
        },
        _ => false,
    }
}

/// The live object when nothing but times would differ, so that nothing is written. Where a new time gives an entry
/// another place in the list, the real server sees a difference, and writes.
fn keep_times_of_no_change(live: &Value, mut result: Value) -> Value {
    let entries = |object: &Value| {
        let mut entries = value::list(object, &["metadata", "managedFields"]).to_vec();
        for entry in &mut entries {
            value::remove(entry, &["time"]);
        }
        entries
    };
    if entries(live) == entries(&result) && update::same_but_managers(live, &result) {
        result = live.clone();
    }
    result
}

/// One apply under way.
struct Apply<'a> {
    schema: &'a Schema,
    typed: Typed<'a>,
    applied: &'a Value,
    context: &'a ManagerContext<'a>,
}

impl Apply<'_> {
    fn check(&self) -> Result<(), ApplyError> {
        let text = |path: &[&str]| value::string(self.applied, path).unwrap_or_default();
        let (group_version, kind) = (text(&["apiVersion"]), text(&["kind"]));
        let slashed = if group_version.contains('/') { group_version.to_owned() } else { format!("/{group_version}") };
        let wanted = self.schema.kind_name();
        if group_version != self.context.api_version || kind.is_empty() || wanted.is_some_and(|wanted| wanted != kind) {
            return Err(ApplyError::BadRequest(format!("invalid object type: {slashed}, Kind={kind}")));
        }
        if value::get(self.applied, &["metadata", "managedFields"]).is_some_and(|found| !found.is_null()) {
            return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
        }
        let misfits = self.typed.misfits(self.applied);
        if misfits.is_empty() {
            return Ok(());
        }
        let why = match &misfits[..] {
            [only] => only.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        Err(ApplyError::Untyped(format!(
            "failed to create typed patch object ({}/{}; {slashed}, Kind={kind}): {why}",
            text(&["metadata", "namespace"]),
            text(&["metadata", "name"]),
        )))
    }

    /// Merges, drops and settles ownership. The object is `None` when it stays as it is.
    fn run(&self, live: &Value, managers: Managers, force: bool) -> Result<(Option<Value>, Managers), ApplyError> {
        let reset = self.schema.reset_fields(self.context.subresource);
        let me =
            Manager::new(Operation::Apply, self.context.manager, self.context.api_version, self.context.subresource);
        let mut managers = update::reconcile(self.schema, managers);
        let merged = self.typed.merge(live, self.applied);
        let fields = self.typed.field_set(self.applied).recursive_difference(&reset);
        let last = managers.0.get(&me).map(|owned| owned.fields.clone()).unwrap_or_default();
        let before = managers.0.get(&me).and_then(|owned| owned.time.clone());
        let api_version = self.context.api_version.to_owned();
        managers.0.insert(me.clone(), Owned { fields, api_version, time: before });
        let merged = self.drop_abandoned(merged, &managers, &me, &last);

        let comparison = self.typed.compare(live, &merged).without(&reset);
        let changed = comparison.modified.union(&comparison.added);
        let mut conflicts = Vec::new();
        for (manager, owned) in &managers.0 {
            if *manager == me {
                continue;
            }
            let contested = owned.fields.intersection(&changed);
            if !contested.is_empty() {
                conflicts.push((manager.clone(), contested));
            }
        }
        if !force && !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(describe(&conflicts)));
        }
        for (manager, contested) in conflicts {
            if let Some(owned) = managers.0.get_mut(&manager) {
                owned.fields = owned.fields.difference(&contested);
            }
        }
        for (_, owned) in managers.0.iter_mut().filter(|(manager, _)| **manager != me) {
            owned.fields = owned.fields.difference(&comparison.removed);
        }
        managers.0.retain(|_, owned| !owned.fields.is_empty());
        let unchanged = update::same_but_managers(live, &merged);
        if let Some(owned) = managers.0.get_mut(&me) {
            owned.fields = without_system_fields(&owned.fields);
            if !unchanged {
                owned.time = Some(self.context.time.to_owned());
            }
        }
        managers.0.retain(|_, owned| !owned.fields.is_empty());
        Ok(((!unchanged).then_some(merged), managers))
    }

    /// Drops what this applier named last time, does not name now, and nobody else owns.
    fn drop_abandoned(&self, merged: Value, managers: &Managers, me: &Manager, last: &FieldSet) -> Value {
        let named_now = managers.0.get(me).is_some_and(|owned| last.is_subset(&owned.fields));
        if named_now {
            return merged;
        }
        let (arena, root) = (&self.schema.arena, Some(self.schema.root));
        let with_parents = |set: &FieldSet| set.with_named_parents(arena, root);
        let set_of = |object: &Value| with_parents(&self.typed.field_set(object));
        let last = with_parents(last);
        let all = set_of(&merged);
        let owned = managers.0.values().fold(FieldSet::default(), |all, owned| all.union(&owned.fields));
        // First everything goes that was named; then comes back what anyone owns, with what it hangs on; then what
        // was never named but stood within an item that goes only in part.
        let bare = self.typed.remove(&merged, &last);
        let kept = set_of(&bare).union(&with_parents(&owned));
        let owned_kept = self.typed.remove(&merged, &all.difference(&kept));
        let gone = all.difference(&set_of(&owned_kept)).intersection(&last);
        self.typed.remove(&merged, &gone)
    }

    /// The conflicts that an upgrade from client-side apply does not excuse: on fields which differ from what
    /// `kubectl` itself last applied.
    fn conflicts_beyond_last_applied(&self, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
        let annotation = value::string(live, &["metadata", "annotations", LAST_APPLIED]).unwrap_or_default();
        let Ok(last) = serde_json::from_str::<Value>(annotation) else { return conflicts };
        if last["apiVersion"] != self.context.api_version || !self.typed.misfits(&last).is_empty() {
            return conflicts;
        }
        let comparison = self.typed.compare(&last, live);
        let excused = self
            .typed
            .field_set(&last)
            .difference(&comparison.modified)
            .difference(&comparison.added)
            .difference(&comparison.removed);
        let excused: Vec<String> = excused.paths().iter().map(|path| show(path)).collect();
        conflicts.into_iter().filter(|conflict| !excused.contains(&conflict.field)).collect()
    }

    /// Keeps `kubectl`'s annotation in step when `kubectl` applies on the server.
    fn refresh_last_applied(&self, result: &mut Value) {
        let annotated =
            value::string(result, &["metadata", "annotations", LAST_APPLIED]).is_some_and(|text| !text.is_empty());
        if self.context.manager != "kubectl" || !annotated {
            return;
        }
        let mut applied = self.applied.clone();
        value::remove(&mut applied, &["metadata", "annotations", LAST_APPLIED]);
        let annotations = value::object_at(result, &["metadata", "annotations"]);
        annotations.insert(LAST_APPLIED.to_owned(), Value::from(format!("{applied}\n")));
        let size: usize = annotations.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
        if size > MAX_ANNOTATIONS {
            annotations.remove(LAST_APPLIED);
        }
    }
}

fn describe(conflicts: &[(Manager, FieldSet)]) -> Vec<Conflict> {
    let mut out = Vec::new();
    for (manager, fields) in conflicts {
        for path in fields.paths() {
            out.push(Conflict {
                manager: manager.name.clone(),
                operation: manager.operation,
                field: show(&path),
                message: format!("conflict with {}", manager.describe()),
            });
        }
    }
    out
}

fn show(path: &[PathElement]) -> String {
    path.iter().map(PathElement::to_string).collect()
}
