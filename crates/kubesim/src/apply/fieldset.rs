//! Sets of field paths: the algebra of ownership.

use serde_json::{Map, Value};

use super::element::PathElement;
use crate::schema::node::{Arena, NodeId};

/// A set of paths, as a tree. A path may be a member, have members below it, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// Sorted by element; every entry is a member or has members below.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    element: PathElement,
    member: bool,
    below: FieldSet,
}

impl FieldSet {
    /// A set of paths of plain fields.
    pub(crate) fn of_fields(paths: &[&[&str]]) -> FieldSet {
        let mut set = FieldSet::default();
        for path in paths {
            let mut current = &mut set;
            for (depth, name) in path.iter().enumerate() {
                let entry = current.entry(PathElement::Field((*name).to_owned()));
                entry.member |= depth + 1 == path.len();
                current = &mut entry.below;
            }
        }
        set
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds one step with all that is below it; nothing when neither is a member.
    pub(crate) fn add(&mut self, element: PathElement, member: bool, below: FieldSet) {
        if !member && below.is_empty() {
            return;
        }
        match self.find(&element) {
            Ok(place) => {
                let entry = &mut self.entries[place];
                entry.member |= member;
                if entry.below.is_empty() {
                    entry.below = below;
                } else if !below.is_empty() {
                    entry.below = entry.below.union(&below);
                }
            }
            Err(place) => self.entries.insert(place, Entry { element, member, below }),
        }
    }

    /// Whether a single step is a member.
    pub(crate) fn has(&self, element: &PathElement) -> bool {
        self.find(element).is_ok_and(|place| self.entries[place].member)
    }

    /// What is below a step.
    pub(crate) fn below(&self, element: &PathElement) -> Option<&FieldSet> {
        let place = self.find(element).ok()?;
        Some(&self.entries[place].below).filter(|below| !below.is_empty())
    }

    /// Both for a field's name, without making an element of it.
    pub(crate) fn field(&self, name: &str) -> (bool, Option<&FieldSet>) {
        let found = self.entries.binary_search_by(|entry| match &entry.element {
            PathElement::Field(one) => one.as_str().cmp(name),
            _ => std::cmp::Ordering::Greater,
        });
        match found {
            Ok(place) => {
                let entry = &self.entries[place];
                (entry.member, Some(&entry.below).filter(|below| !below.is_empty()))
            }
            Err(_) => (false, None),
        }
    }

    /// The steps with whether each is a member, and what is below.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&PathElement, bool, &FieldSet)> {
        self.entries.iter().map(|entry| (&entry.element, entry.member, &entry.below))
    }

    fn find(&self, element: &PathElement) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.element.cmp(element))
    }

    fn entry(&mut self, element: PathElement) -> &mut Entry {
        let place = match self.find(&element) {
            Ok(place) => place,
            Err(place) => {
                self.entries.insert(place, Entry { element, member: false, below: FieldSet::default() });
                place
            }
        };
        &mut self.entries[place]
    }

    /// Paths in either.
    pub(crate) fn union(&self, other: &FieldSet) -> FieldSet {
        if other.is_empty() {
            return self.clone();
        }
        let mut entries = Vec::with_capacity(self.entries.len().max(other.entries.len()));
        for pair in pairs(&self.entries, &other.entries) {
            entries.push(match pair {
                (Some(left), Some(right)) => Entry {
                    element: left.element.clone(),
                    member: left.member || right.member,
                    below: left.below.union(&right.below),
                },
                (Some(one), None) | (None, Some(one)) => one.clone(),
                (None, None) => continue,
            });
        }
        FieldSet { entries }
    }

    /// Paths in both.
    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |left, right| {
            let right = right?;
            Some((left.member && right.member, left.below.intersection(&right.below)))
        })
    }

    /// Paths in this one that are not in the other; a parent's removal leaves its children.
    pub(crate) fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |left, right| {
            Some(match right {
                None => (left.member, left.below.clone()),
                Some(right) => (left.member && !right.member, left.below.difference(&right.below)),
            })
        })
    }

    /// Paths in this one that are neither in the other nor below a path of it.
    pub(crate) fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        if other.is_empty() {
            return self.clone();
        }
        self.combine(other, |left, right| match right {
            None => Some((left.member, left.below.clone())),
            Some(right) if right.member => None,
            Some(right) => Some((left.member, left.below.recursive_difference(&right.below))),
        })
    }

    fn combine(&self, other: &FieldSet, rule: impl Fn(&Entry, Option<&Entry>) -> Option<(bool, FieldSet)>) -> FieldSet {
        let mut entries = Vec::new();
        for pair in pairs(&self.entries, &other.entries) {
            let (Some(left), right) = pair else { continue };
            if let Some((member, below)) = rule(left, right)
                && (member || !below.is_empty())
            {
                entries.push(Entry { element: left.element.clone(), member, below });
            }
        }
        FieldSet { entries }
    }

    /// Whether every path of this one is in the other.
    pub(crate) fn is_subset(&self, other: &FieldSet) -> bool {
        self.difference(other).is_empty()
    }

    /// The set with every named field on the way to a member made a member itself.
    pub(crate) fn with_named_parents(&self, arena: &Arena, node: Option<NodeId>) -> FieldSet {
        let entries = self
            .entries
            .iter()
            .map(|entry| {
                let (named, child) = match (&entry.element, node) {
                    (PathElement::Field(name), Some(id)) => {
                        (arena.node(id).fields.contains_key(name.as_str()), arena.child(id, name))
                    }
                    (PathElement::Key(_), Some(id)) => (false, Some(arena.item(id))),
                    _ => (false, None),
                };
                Entry {
                    element: entry.element.clone(),
                    member: entry.member || named && !entry.below.is_empty(),
                    below: entry.below.with_named_parents(arena, child),
                }
            })
            .collect();
        FieldSet { entries }
    }

    /// Every member as a path, parents before children, a level's members before what is below them.
    pub(crate) fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Vec<PathElement>, out: &mut Vec<Vec<PathElement>>) {
        for entry in self.entries.iter().filter(|entry| entry.member) {
            prefix.push(entry.element.clone());
            out.push(prefix.clone());
            prefix.pop();
        }
        for entry in &self.entries {
            prefix.push(entry.element.clone());
            entry.below.collect(prefix, out);
            prefix.pop();
        }
    }

    /// The form of `fieldsV1`.
    pub(crate) fn encode(&self) -> Value {
        let mut map = Map::new();
        for entry in &self.entries {
            let mut below = entry.below.encode();
            if entry.member
                && !entry.below.is_empty()
                && let Value::Object(fields) = &mut below
            {
                fields.insert(".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(entry.element.encode(), below);
        }
        Value::Object(map)
    }

    /// Reads that form; `None` when it is not that.
    pub(crate) fn decode(value: &Value) -> Option<FieldSet> {
        let map = value.as_object()?;
        let mut entries = Vec::with_capacity(map.len());
        for (text, value) in map {
            if text == "." {
                continue;
            }
            let below = FieldSet::decode(value)?;
            let member = below.is_empty() || value.get(".").is_some();
            entries.push(Entry { element: PathElement::decode(text)?, member, below });
        }
        entries.sort_by(|left, right| left.element.cmp(&right.element));
        Some(FieldSet { entries })
    }
}

/// Walks two sorted lists side by side.
fn pairs<'a>(left: &'a [Entry], right: &'a [Entry]) -> impl Iterator<Item = (Option<&'a Entry>, Option<&'a Entry>)> {
    let mut left = left.iter().peekable();
    let mut right = right.iter().peekable();
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (None, None) => None,
        (Some(one), Some(other)) => Some(match one.element.cmp(&other.element) {
            std::cmp::Ordering::Less => (left.next(), None),
            std::cmp::Ordering::Greater => (None, right.next()),
            std::cmp::Ordering::Equal => (left.next(), right.next()),
        }),
        (Some(_), None) => Some((left.next(), None)),
        (None, Some(_)) => Some((None, right.next())),
    })
}
