//! Strategic merge patches: merge patches that know how lists merge, and have directives.
//!
//! The rules are those of `k8s.io/apimachinery/pkg/util/strategicpatch` and of the design "preserve order in
//! strategic merge patch": the order of a merged list follows `$setElementOrder`, then the patch, then the live list.

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::Schema;
use crate::schema::node::{Additional, NodeId, PatchStrategy};
use crate::value::go_value;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch, by the merge keys that the schema names.
///
/// # Errors
///
/// [`PatchError::Malformed`] for directives that make no sense, [`PatchError::Unmergeable`] for list items without their
/// merge key.
pub fn strategic(schema: &Schema, object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (object, patch) else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    let merged = Merger { schema }.map(original.clone(), patch.clone(), Some(schema.root))?;
    Ok(Value::Object(merged))
}

struct Merger<'a> {
    schema: &'a Schema,
}

/// What the schema says about one field.
#[derive(Clone, Default)]
struct FieldRules {
    node: Option<NodeId>,
    strategy: PatchStrategy,
    merge_key: String,
}

impl Merger<'_> {
    fn rules(&self, id: Option<NodeId>, name: &str) -> FieldRules {
        let Some(id) = id else { return FieldRules::default() };
        let node = self.schema.arena.node(id);
        if let Some(field) = node.fields.get(name) {
            return FieldRules {
                node: Some(field.node),
                strategy: field.patch,
                merge_key: field.merge_key.as_deref().unwrap_or_default().to_owned(),
            };
        }
        match node.additional {
            Additional::Each(each) => FieldRules { node: Some(each), ..FieldRules::default() },
            _ => FieldRules::default(),
        }
    }

    fn map(
        &self,
        mut original: Map<String, Value>,
        mut patch: Map<String, Value>,
        id: Option<NodeId>,
    ) -> Result<Map<String, Value>, PatchError> {
        if let Some(directive) = patch.get(PATCH) {
            return match directive.as_str() {
                Some("replace") => {
                    patch.remove(PATCH);
                    Ok(patch)
                }
                Some("delete") => Ok(Map::new()),
                _ => {
                    let what = directive.clone();
                    let map = Value::Object(patch);
                    Err(PatchError::Unmergeable(format!("unknown patch type: {what} in map: {map}")))
                }
            };
        }
        retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, id)?;
        for (name, value) in patch {
            let (name, deletes) = match name.strip_prefix(DELETE_FROM) {
                Some(list) => (list.to_owned(), true),
                None => (name, false),
            };
            if value.is_null() {
                original.remove(&name);
                continue;
            }
            let rules = self.rules(id, &name);
            let merged = match (original.remove(&name), value) {
                (None, _) if deletes => None,
                (Some(Value::Object(old)), Value::Object(new)) => Some(Value::Object(self.map(old, new, rules.node)?)),
                (Some(Value::Array(old)), Value::Array(new)) if deletes => {
                    Some(Value::Array(old.into_iter().filter(|item| !new.contains(item)).collect()))
                }
                (Some(Value::Array(old)), Value::Array(new)) if rules.strategy.merge => {
                    Some(Value::Array(self.list(old, new, &rules)?))
                }
                (Some(old), _) if deletes => Some(old),
                (Some(Value::Array(_)), Value::Array(new)) => Some(Value::Array(new)),
                (_, new) => without_directives(without_nulls(new)),
            };
            if let Some(merged) = merged {
                original.insert(name, merged);
            }
        }
        Ok(original)
    }

    /// Lists with a `$setElementOrder` beside them: merged here, and taken out of the patch.
    fn ordered_lists(
        &self,
        original: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
        id: Option<NodeId>,
    ) -> Result<(), PatchError> {
        let directives: Vec<String> = patch.keys().filter(|name| name.starts_with(SET_ORDER)).cloned().collect();
        for directive in directives {
            let Some(Value::Array(order)) = patch.remove(&directive) else {
                return Err(malformed("setElementOrder list"));
            };
            let name = directive[SET_ORDER.len()..].to_owned();
            let rules = self.rules(id, &name);
            let old = list_of(original.get(&name))?;
            let new = list_of(patch.get(&name))?;
            check_order(new.as_deref().unwrap_or_default(), &order, &rules.merge_key)?;
            let live = old.clone().unwrap_or_default();
            let merged = match (old, new) {
                (None, None) => continue,
                (Some(old), None) => old,
                (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
                (Some(old), Some(new)) if rules.strategy.merge => self.list(old, new, &rules)?,
                (Some(_), Some(new)) => new,
            };
            patch.remove(&name);
            original.insert(name, Value::Array(sort(merged, &order, &live, &rules.merge_key)?));
        }
        Ok(())
    }

    /// Merges two lists whose strategy is `merge`.
    fn list(&self, original: Vec<Value>, patch: Vec<Value>, rules: &FieldRules) -> Result<Vec<Value>, PatchError> {
        let maps = original.first().or(patch.first()).is_some_and(Value::is_object);
        if !maps {
            let mut merged: Vec<Value> = Vec::new();
            for item in original.iter().chain(&patch) {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            return sort(merged, &patch, &original, "");
        }
        let key = rules.merge_key.as_str();
        if key.is_empty() {
            return Err(PatchError::Unmergeable("cannot merge lists without merge key".to_owned()));
        }
        let (original, patch) = list_directives(original, patch, key)?;
        let live = original.clone();
        let item_node = rules.node.and_then(|list| self.schema.arena.node(list).items);
        let mut merged = original;
        for item in &patch {
            let wanted = key_of(item, key)?;
            let place = merged.iter().position(|one| one.get(key) == Some(wanted));
            match (place, item) {
                (Some(place), Value::Object(new)) => {
                    let old = merged[place].as_object().cloned().unwrap_or_default();
                    merged[place] = Value::Object(self.map(old, new.clone(), item_node)?);
                }
                _ => merged.push(item.clone()),
            }
        }
        // Only now, for a directive within a new item must not hide its key from the ordering.
        let merged = merged.into_iter().filter_map(|item| without_directives(without_nulls(item))).collect();
        sort(merged, &patch, &live, key)
    }
}

/// `$retainKeys`: only the fields it names stay.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = directive else { return Err(malformed("retainKeys")) };
    let retained = |name: &str| keys.iter().any(|key| key == name);
    let stray = patch.iter().any(|(name, value)| {
        !value.is_null() && !name.starts_with(DELETE_FROM) && !name.starts_with(SET_ORDER) && !retained(name)
    });
    if stray {
        return Err(malformed("retainKeys"));
    }
    original.retain(|name, _| retained(name));
    Ok(())
}

/// Items with `$patch` in a list: `delete` takes the item of that key away, `replace` makes the rest the list.
fn list_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::new();
    let mut replace = false;
    for item in patch {
        match item.get(PATCH).map(|directive| directive.as_str().unwrap_or_default()) {
            None => plain.push(item),
            Some("delete") => {
                let wanted = key_of(&item, key)?;
                original.retain(|one| one.get(key) != Some(wanted));
            }
            Some("replace") => replace = true,
            Some("merge") => {
                let text = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Unmergeable(text.to_owned()));
            }
            Some(other) => return Err(PatchError::Unmergeable(format!("unknown patch type: {other} in map: {item}"))),
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

/// The patch's items must come in the order that `$setElementOrder` gives, which names all of them.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        let wanted = identity(item, key)?;
        let mut found = false;
        for one in rest.by_ref() {
            if identity(one, key)? == wanted {
                found = true;
                break;
            }
        }
        if !found {
            return Err(PatchError::Unmergeable(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                Value::Array(patch.to_vec()),
                Value::Array(order.to_vec())
            )));
        }
    }
    Ok(())
}

/// Orders a merged list: what `order` names in its order, the rest in the live order, woven together by the live
/// list where it has both.
fn sort(merged: Vec<Value>, order: &[Value], live: &[Value], key: &str) -> Result<Vec<Value>, PatchError> {
    let place = |list: &[Value], item: &Value| -> Result<Option<usize>, PatchError> {
        let wanted = identity(item, key)?;
        Ok(list.iter().position(|one| identity(one, key).is_ok_and(|found| found == wanted)))
    };
    let mut named = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        match place(order, &item)? {
            Some(position) => named.push((position, item)),
            None => others.push((place(live, &item)?.unwrap_or(usize::MAX), item)),
        }
    }
    named.sort_by_key(|one| one.0);
    others.sort_by_key(|one| one.0);
    let mut named = named.into_iter().map(|one| one.1).peekable();
    let mut others = others.into_iter().map(|one| one.1).peekable();
    let mut sorted = Vec::new();
    loop {
        let take_other = match (others.peek(), named.peek()) {
            (None, None) => return Ok(sorted),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(name)) => {
                matches!((place(live, other)?, place(live, name)?), (Some(other), Some(name)) if other < name)
            }
        };
        sorted.extend(if take_other { others.next() } else { named.next() });
    }
}

/// What an item is told apart by: its merge key's value, or itself in a list of scalars.
fn identity<'a>(item: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    if key.is_empty() { Ok(item) } else { key_of(item, key) }
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    item.get(key).ok_or_else(|| {
        PatchError::Unmergeable(format!("map: {} does not contain declared merge key: {key}", go_value(item)))
    })
}

fn list_of(value: Option<&Value>) -> Result<Option<Vec<Value>>, PatchError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(_) => Err(PatchError::Unmergeable("expected a []interface {}, but received another type".to_owned())),
    }
}

/// The value without anything that has a `$patch`; `None` when that is the value itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let fields = map.into_iter().filter_map(|(name, value)| Some((name, without_directives(value)?)));
            Some(Value::Object(fields.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn malformed(what: &str) -> PatchError {
    PatchError::Malformed(format!("invalid patch format of {what}"))
}
