//! What a write takes from whom.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::ManagerContext;
use super::fieldset::FieldSet;
use super::managed::{Manager, Managers, Operation, Owned};
use super::typed::Typed;
use crate::schema::Schema;

/// The most managers with the operation `Update`; beyond, the oldest are merged into one.
const MAX_UPDATE_MANAGERS: usize = 10;
/// The manager that they are merged into.
const ANCIENT_CHANGES: &str = "ancient-changes";

/// What nobody owns: the server writes it.
static SYSTEM_FIELDS: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// A set without what nobody owns.
pub(super) fn without_system_fields(fields: &FieldSet) -> FieldSet {
    fields.difference(&SYSTEM_FIELDS)
}

/// A write: the object before and after.
pub(super) struct Taken<'a> {
    pub old: &'a Value,
    pub new: &'a Value,
}

/// Gives the writer what it changed or added, and takes that from the others.
pub(super) fn take(schema: &Schema, managers: &mut Managers, taken: &Taken<'_>, context: &ManagerContext<'_>) {
    let reset = schema.reset_fields(context.subresource);
    *managers = reconcile(schema, std::mem::take(managers));
    let comparison = Typed::new(schema).compare(taken.old, taken.new).without(&reset);
    let mine = comparison.modified.union(&comparison.added);
    let lost = mine.union(&comparison.removed);
    if lost.is_empty() {
        return;
    }
    for owned in managers.0.values_mut() {
        owned.fields = owned.fields.difference(&lost);
    }
    managers.0.retain(|_, owned| !owned.fields.is_empty());
    let mine = without_system_fields(&mine);
    if mine.is_empty() {
        return;
    }
    let me = Manager::new(Operation::Update, context.manager, context.api_version, context.subresource);
    let owned = managers.0.entry(me).or_insert_with(|| Owned {
        fields: FieldSet::default(),
        api_version: context.api_version.to_owned(),
        time: None,
    });
    owned.fields = owned.fields.union(&mine);
    owned.time = Some(context.time.to_owned());
}

/// Adapts every set to the schema as it is now.
pub(super) fn reconcile(schema: &Schema, managers: Managers) -> Managers {
    let typed = Typed::new(schema);
    let entries = managers.0.into_iter().map(|(manager, owned)| {
        let fields = typed.reconcile(&owned.fields);
        (manager, Owned { fields, ..owned })
    });
    Managers(entries.collect())
}

/// Merges the oldest `Update` entries until there are few enough.
pub(super) fn cap(managers: &mut Managers) {
    let mut updaters: Vec<(Option<String>, Manager)> = managers
        .0
        .iter()
        .filter(|(manager, _)| manager.operation == Operation::Update)
        .map(|(manager, owned)| (owned.time.clone(), manager.clone()))
        .collect();
    let mut count = updaters.len();
    updaters.sort();
    // A bucket comes to be with the second entry of its version.
    let mut first: BTreeMap<String, Manager> = BTreeMap::new();
    for (time, manager) in updaters {
        if count <= MAX_UPDATE_MANAGERS {
            return;
        }
        let Some(owned) = managers.0.get(&manager).cloned() else { continue };
        let Some(oldest) = first.get(&owned.api_version).cloned() else {
            first.insert(owned.api_version.clone(), manager);
            continue;
        };
        let bucket = Manager::new(Operation::Update, ANCIENT_CHANGES, &owned.api_version, "");
        if !managers.0.contains_key(&bucket)
            && let Some(moved) = managers.0.remove(&oldest)
        {
            managers.0.insert(bucket.clone(), moved);
        }
        managers.0.remove(&manager);
        if let Some(merged) = managers.0.get_mut(&bucket) {
            merged.fields = merged.fields.union(&owned.fields);
            merged.time = time;
        }
        count -= 1;
    }
}

/// Whether two objects are the same, their managedFields aside.
pub(super) fn same_but_managers(left: &Value, right: &Value) -> bool {
    let (Value::Object(left), Value::Object(right)) = (left, right) else { return left == right };
    let differs = |name: &String| {
        let (left, right) = (left.get(name), right.get(name));
        if name != "metadata" {
            return left != right;
        }
        let fields = |value: Option<&Value>| {
            let mut fields = value.and_then(Value::as_object).cloned().unwrap_or_default();
            fields.remove("managedFields");
            fields
        };
        fields(left) != fields(right)
    };
    !left.keys().chain(right.keys()).any(differs)
}
