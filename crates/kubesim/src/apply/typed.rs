//! Walks over objects by their schema: field sets, comparison, merge and removal.
//!
//! What is a leaf, and which item of one list answers to which of another, follows `structured-merge-diff`, which is
//! what the real server uses: an atomic list or map is one leaf, a list map goes by its keys, a set by its values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::PathElement;
use super::fieldset::FieldSet;
use crate::schema::Schema;
use crate::schema::node::{DEDUCED, ListType, NodeId, Type};
use crate::value::equal;

/// How a value is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Scalar,
    List,
    Map,
}

/// What changed between two objects.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

impl Comparison {
    /// Without the fields of a set and all below them.
    pub(crate) fn without(self, fields: &FieldSet) -> Comparison {
        if fields.is_empty() {
            return self;
        }
        Comparison {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }

    fn add(&mut self, element: &PathElement, change: Option<Change>, below: Comparison) {
        self.removed.add(element.clone(), change == Some(Change::Removed), below.removed);
        self.modified.add(element.clone(), change == Some(Change::Modified), below.modified);
        self.added.add(element.clone(), change == Some(Change::Added), below.added);
    }
}

/// What happened to the very place that was compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Removed,
    Modified,
    Added,
}

/// A schema with the walks over it.
#[derive(Clone, Copy)]
pub(crate) struct Typed<'a> {
    pub(super) schema: &'a Schema,
    /// `metadata`, within which managedFields is left out of everything here.
    meta: Option<NodeId>,
}

impl<'a> Typed<'a> {
    pub(crate) fn new(schema: &'a Schema) -> Typed<'a> {
        let meta = schema.arena.node(schema.root).fields.get("metadata").map(|field| field.node);
        Typed { schema, meta }
    }

    fn hidden(&self, id: NodeId, name: &str) -> bool {
        name == "managedFields" && Some(id) == self.meta
    }

    pub(super) fn shape(&self, id: NodeId, value: Option<&Value>) -> Shape {
        let node = self.schema.arena.node(id);
        // A custom resource's int-or-string has no type that server-side apply would know.
        let any = node.r#type == Type::Any
            || node.r#type == Type::IntOrString && self.schema.origin == crate::schema::Origin::Custom;
        match node.r#type {
            Type::Object => Shape::Map,
            Type::Array => Shape::List,
            _ if any => match value {
                Some(Value::Array(_)) => Shape::List,
                None | Some(Value::Null | Value::Object(_)) => Shape::Map,
                Some(_) => Shape::Scalar,
            },
            _ => Shape::Scalar,
        }
    }

    fn is_atomic(&self, id: NodeId, shape: Shape) -> bool {
        let node = self.schema.arena.node(id);
        match shape {
            Shape::Scalar => true,
            Shape::List => node.list == ListType::Atomic,
            Shape::Map => node.atomic_map,
        }
    }

    /// The node of a field; an unknown one is taken as it comes.
    fn child(&self, id: NodeId, name: &str) -> NodeId {
        self.schema.arena.child(id, name).unwrap_or(DEDUCED)
    }

    /// The paths that an applied object names.
    pub(crate) fn field_set(&self, object: &Value) -> FieldSet {
        self.set_of(self.schema.root, object).1
    }

    fn set_of(&self, id: NodeId, value: &Value) -> (bool, FieldSet) {
        let shape = self.shape(id, Some(value));
        if self.is_atomic(id, shape) {
            return (true, FieldSet::default());
        }
        let mut set = FieldSet::default();
        match value {
            Value::Object(map) => {
                for (name, child) in map.iter().filter(|(name, _)| !self.hidden(id, name)) {
                    let (leaf, below) = self.set_of(self.child(id, name), child);
                    let named = self.schema.arena.node(id).fields.contains_key(name.as_str());
                    let empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                    set.add(PathElement::Field(name.clone()), leaf || empty || !named, below);
                }
            }
            Value::Array(items) => {
                let each = self.schema.arena.item(id);
                for (element, items) in self.index(id, items) {
                    match items[..] {
                        [item] => {
                            let below = self.set_of(each, item).1;
                            set.add(element, true, below);
                        }
                        _ => set.add(element, true, FieldSet::default()),
                    }
                }
            }
            _ => {}
        }
        (false, set)
    }

    /// A granular list's items by their element; items that have none are left out.
    fn index<'v>(&self, id: NodeId, items: &'v [Value]) -> BTreeMap<PathElement, Vec<&'v Value>> {
        let mut index: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
        for item in items {
            if let Ok(element) = PathElement::of_item(&self.schema.arena, id, item) {
                index.entry(element).or_default().push(item);
            }
        }
        index
    }

    /// What changed from one object to another.
    pub(crate) fn compare(&self, old: &Value, new: &Value) -> Comparison {
        self.changes(self.schema.root, Some(old), Some(new)).1
    }

    fn changes(&self, id: NodeId, old: Option<&Value>, new: Option<&Value>) -> (Option<Change>, Comparison) {
        let shapes = (self.shape(id, old), self.shape(id, new));
        match (old, new) {
            (Some(_), Some(_)) if shapes.0 != shapes.1 => {
                let (first, mut comparison) = self.changes_as(shapes.0, id, old, new);
                let (second, more) = self.changes_as(shapes.1, id, old, new);
                comparison.removed = comparison.removed.union(&more.removed);
                comparison.modified = comparison.modified.union(&more.modified);
                comparison.added = comparison.added.union(&more.added);
                (first.or(second), comparison)
            }
            (_, Some(_)) => self.changes_as(shapes.1, id, old, new),
            _ => self.changes_as(shapes.0, id, old, new),
        }
    }

    fn changes_as(
        &self,
        shape: Shape,
        id: NodeId,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> (Option<Change>, Comparison) {
        let mut found = Comparison::default();
        let own = match (old, new) {
            (None, _) => Some(Change::Added),
            (_, None) => Some(Change::Removed),
            _ => None,
        };
        if self.is_atomic(id, shape) || is_empty(shape, old) && is_empty(shape, new) {
            let differs = || old.zip(new).is_some_and(|(old, new)| !equal(old, new));
            return (own.or_else(|| differs().then_some(Change::Modified)), found);
        }
        match shape {
            Shape::Map => {
                let empty = Map::new();
                let left = old.and_then(Value::as_object).unwrap_or(&empty);
                let right = new.and_then(Value::as_object).unwrap_or(&empty);
                let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(name.as_str())));
                for name in names.filter(|name| !self.hidden(id, name)) {
                    let (old, new) = (left.get(name), right.get(name));
                    // Most fields do not change: an equal pair needs no walk.
                    if old == new {
                        continue;
                    }
                    let (change, below) = self.changes(self.child(id, name), old, new);
                    found.add(&PathElement::Field(name.clone()), change, below);
                }
            }
            _ => {
                self.compare_items(id, items_of(old), items_of(new), &mut found);
            }
        }
        (own, found)
    }

    fn compare_items(&self, id: NodeId, old: &[Value], new: &[Value], found: &mut Comparison) {
        let each = self.schema.arena.item(id);
        let mut index: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (items, is_new) in [(old, false), (new, true)] {
            for item in items {
                if let Ok(element) = PathElement::of_item(&self.schema.arena, id, item) {
                    let entry = index.entry(element).or_default();
                    if is_new { &mut entry.1 } else { &mut entry.0 }.push(item);
                }
            }
        }
        for (element, (old, new)) in index {
            match (&old[..], &new[..]) {
                (old, new) if old.len() <= 1 && new.len() <= 1 => {
                    let (old, new) = (old.first().copied(), new.first().copied());
                    if old != new {
                        let (change, below) = self.changes(each, old, new);
                        found.add(&element, change, below);
                    }
                }
                // Duplicates on both sides are one leaf.
                (old, new) if old.len() > 1 && new.len() > 1 => {
                    if old != new {
                        found.add(&element, Some(Change::Modified), Comparison::default());
                    }
                }
                (old, new) if old.len() > 1 => {
                    if let Some(new) = new.first() {
                        let (change, below) = self.changes(each, None, Some(new));
                        found.add(&element, change, below);
                    }
                    found.add(&element, Some(Change::Removed), Comparison::default());
                }
                (old, _) => {
                    if let Some(old) = old.first() {
                        let (change, below) = self.changes(each, Some(old), None);
                        found.add(&element, change, below);
                    }
                    found.add(&element, Some(Change::Added), Comparison::default());
                }
            }
        }
    }

    /// The live object with everything that the applied one says.
    pub(crate) fn merge(&self, live: &Value, applied: &Value) -> Value {
        self.merged(self.schema.root, Some(live), Some(applied)).unwrap_or_else(|| Value::Object(Map::new()))
    }

    fn merged(&self, id: NodeId, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
        let shape = self.shape(id, applied.or(live));
        if self.is_atomic(id, shape) || is_empty(shape, live) && is_empty(shape, applied) {
            return applied.or(live).cloned();
        }
        if shape == Shape::Map {
            let empty = Map::new();
            let left = live.and_then(Value::as_object).unwrap_or(&empty);
            let right = applied.and_then(Value::as_object).unwrap_or(&empty);
            let mut out = Map::new();
            for (name, live) in left.iter().filter(|(name, _)| !self.hidden(id, name)) {
                // What is not applied stays as it is.
                let merged = match right.get(name) {
                    None => Some(live.clone()),
                    applied => self.merged(self.child(id, name), Some(live), applied),
                };
                if let Some(merged) = merged {
                    out.insert(name.clone(), merged);
                }
            }
            for (name, applied) in right.iter().filter(|(name, _)| !left.contains_key(name.as_str())) {
                out.insert(name.clone(), applied.clone());
            }
            return (!out.is_empty()).then_some(Value::Object(out));
        }
        let out = self.merged_items(id, items_of(live), items_of(applied));
        (!out.is_empty()).then_some(Value::Array(out))
    }

    /// Merges two granular lists. What both have keeps the applied order; what only the live list has stays as near
    /// as it can to where it was.
    fn merged_items(&self, id: NodeId, live: &[Value], applied: &[Value]) -> Vec<Value> {
        let each = self.schema.arena.item(id);
        let element = |item: &Value| PathElement::of_item(&self.schema.arena, id, item).ok();
        let left: Vec<(PathElement, &Value)> = live.iter().filter_map(|item| Some((element(item)?, item))).collect();
        let right: Vec<(PathElement, &Value)> =
            applied.iter().filter_map(|item| Some((element(item)?, item))).collect();
        let left_index = self.index(id, live);
        let right_index: BTreeMap<&PathElement, &Value> =
            right.iter().map(|(element, item)| (element, *item)).collect();
        let mut shared = right.iter().map(|one| &one.0).filter(|one| left_index.contains_key(*one));
        let mut next_shared = shared.next();
        let mut done: BTreeMap<&PathElement, ()> = BTreeMap::new();
        let mut out = Vec::with_capacity(left.len().max(right.len()));
        // A live item that is there twice is replaced, not merged.
        let both = |element: &PathElement, applied: &Value| {
            let live = match left_index.get(element).map(Vec::as_slice) {
                Some([one]) => Some(*one),
                _ => None,
            };
            self.merged(each, live, Some(applied))
        };
        let (mut at_left, mut at_right) = (0, 0);
        while at_left < left.len() || at_right < right.len() {
            if let (Some((element, _)), Some((wanted, applied))) = (left.get(at_left), right.get(at_right)) {
                if element == wanted {
                    done.insert(wanted, ());
                    out.extend(both(wanted, applied));
                    at_left += 1;
                    at_right += 1;
                    next_shared = shared.next();
                    continue;
                }
                if right_index.contains_key(element) && next_shared.is_some_and(|next| next != element) {
                    at_left += 1;
                    continue;
                }
            }
            if let Some((element, item)) = left.get(at_left) {
                if !right_index.contains_key(element) {
                    out.push((*item).clone());
                    at_left += 1;
                    continue;
                }
                if done.contains_key(element) {
                    at_left += 1;
                }
            }
            if let Some((element, applied)) = right.get(at_right) {
                done.insert(element, ());
                out.extend(both(element, applied));
                at_right += 1;
                if next_shared == Some(element) {
                    next_shared = shared.next();
                }
            }
        }
        out
    }

    /// The object without the paths of a set.
    pub(crate) fn remove(&self, object: &Value, set: &FieldSet) -> Value {
        self.without(self.schema.root, object, set)
    }

    fn without(&self, id: NodeId, value: &Value, set: &FieldSet) -> Value {
        let shape = self.shape(id, Some(value));
        match (shape, value) {
            (Shape::Scalar, value) => value.clone(),
            (_, Value::Object(map)) if !map.is_empty() && !self.is_atomic(id, shape) => {
                let mut out = Map::new();
                for (name, child) in map {
                    let (member, below) = set.field(name);
                    if member {
                        continue;
                    }
                    let kept = match below {
                        Some(below) => self.without(self.child(id, name), child, below),
                        None => child.clone(),
                    };
                    out.insert(name.clone(), kept);
                }
                if out.is_empty() { Value::Null } else { Value::Object(out) }
            }
            (_, Value::Array(items)) if !items.is_empty() && !self.is_atomic(id, shape) => {
                let each = self.schema.arena.item(id);
                let mut out = Vec::new();
                for item in items {
                    let Ok(element) = PathElement::of_item(&self.schema.arena, id, item) else { continue };
                    if set.has(&element) {
                        continue;
                    }
                    out.push(match set.below(&element) {
                        Some(below) => self.without(each, item, below),
                        None => item.clone(),
                    });
                }
                if out.is_empty() { Value::Null } else { Value::Array(out) }
            }
            _ => Value::Null,
        }
    }

    /// Adapts an owned set to a schema that changed since: what has become atomic is owned as a whole.
    pub(crate) fn reconcile(&self, set: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        self.reconcile_node(Some(self.schema.root), set, &mut out);
        out
    }

    fn reconcile_node(&self, id: Option<NodeId>, set: &FieldSet, out: &mut FieldSet) {
        for (element, member, below) in set.steps() {
            let child = match (element, id) {
                (PathElement::Field(name), Some(id)) => self.schema.arena.child(id, name),
                (PathElement::Key(_) | PathElement::Value(_), Some(id)) => Some(self.schema.arena.item(id)),
                _ => None,
            };
            let atomic = child.is_some_and(|child| {
                let node = self.schema.arena.node(child);
                match node.r#type {
                    Type::Object => node.atomic_map,
                    Type::Array => node.list == ListType::Atomic,
                    _ => false,
                }
            });
            if atomic && !below.is_empty() {
                out.add(element.clone(), true, FieldSet::default());
            } else {
                let mut inner = FieldSet::default();
                self.reconcile_node(child, below, &mut inner);
                out.add(element.clone(), member, inner);
            }
        }
    }
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_empty(shape: Shape, value: Option<&Value>) -> bool {
    match shape {
        Shape::Map => value.and_then(Value::as_object).is_none_or(Map::is_empty),
        Shape::List => value.and_then(Value::as_array).is_none_or(Vec::is_empty),
        Shape::Scalar => true,
    }
}
