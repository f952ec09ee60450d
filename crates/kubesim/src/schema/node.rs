//! The tree a schema is: nodes in an arena, so that recursive kinds (a CRD's own schema) are finite.

use std::collections::BTreeMap;

use serde_json::Value;

use super::checks::Checks;
use super::hooks::Hook;

/// A node's place in its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// Anything, its shape read off the value: maps are granular, lists atomic (what server-side apply calls deduced).
pub(crate) const DEDUCED: NodeId = NodeId(0);
/// Anything, owned as a whole.
pub(crate) const OPAQUE: NodeId = NodeId(1);

/// What a node's values may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// `x-kubernetes-int-or-string`, or the format of that name.
    IntOrString,
    /// A Kubernetes quantity: a string or a number, kept in its canonical form.
    Quantity,
    /// No type said.
    #[default]
    Any,
}

/// How a list's items are told apart (`x-kubernetes-list-type`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<Box<str>>),
}

/// What an object allows beside its named fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Additional {
    #[default]
    Nothing,
    Anything,
    Each(NodeId),
}

/// How a strategic merge patch treats a list or map (`x-kubernetes-patch-strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct PatchStrategy {
    pub merge: bool,
    pub retain_keys: bool,
}

/// What Go's JSON encoder does with a field that holds its type's zero value.
///
/// A built-in kind passes through Go structs on its way in and out, so that `hostNetwork: false` vanishes and
/// `containers[].resources` appears (see [`Node::always`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Wire {
    /// Stays as it was sent (a pointer, or a schema that no Go struct stands behind); only `null` goes.
    #[default]
    AsSent,
    /// Goes when it is empty, zero, false or "".
    OmitEmpty,
    /// Is always there.
    Always,
}

/// A default that holds while a field beside it has one of some values.
#[derive(Clone, Debug)]
pub(crate) struct Conditional {
    pub field: Box<str>,
    pub when: Box<str>,
    pub is: Vec<Box<str>>,
    pub value: Value,
}

/// One use of a node as a field of an object.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub node: NodeId,
    /// What is filled in.
    pub default: Option<Value>,
    /// What stands for the field when it is a missing key of a list map.
    pub key_default: Option<Value>,
    pub patch: PatchStrategy,
    pub merge_key: Option<Box<str>>,
    pub wire: Wire,
    /// The Go type, which messages about malformed values name.
    pub go_type: Option<Box<str>>,
}

impl Field {
    pub(crate) fn new(node: NodeId) -> Field {
        Field {
            node,
            default: None,
            key_default: None,
            patch: PatchStrategy::default(),
            merge_key: None,
            wire: Wire::AsSent,
            go_type: None,
        }
    }
}

/// One place in a schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// The Go struct's name, of a definition.
    pub name: Option<Box<str>>,
    pub r#type: Type,
    pub nullable: bool,
    pub fields: BTreeMap<Box<str>, Field>,
    pub additional: Additional,
    pub items: Option<NodeId>,
    pub item_default: Option<Value>,
    pub list: ListType,
    pub atomic_map: bool,
    /// `x-kubernetes-preserve-unknown-fields` here: unknown fields are not pruned.
    pub preserve: bool,
    /// The same here or above: server-side apply accepts unknown fields.
    pub lenient: bool,
    pub embedded: bool,
    pub required: Vec<Box<str>>,
    /// Fields that are there even when nothing was sent, and their empty form.
    pub always: Vec<(Box<str>, Value)>,
    pub conditional: Vec<Conditional>,
    /// Defaults deep below, which hold for this definition only: the way to the field, and its value.
    pub deep: Vec<(Vec<Box<str>>, Value)>,
    pub hook: Option<Hook>,
    pub checks: Option<Box<Checks>>,
}

/// All nodes of one or more schemas.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    nodes: Vec<Node>,
}

impl Arena {
    pub(crate) fn new() -> Arena {
        let deduced = Node { additional: Additional::Anything, preserve: true, lenient: true, ..Node::default() };
        let opaque = Node { atomic_map: true, ..deduced.clone() };
        Arena { nodes: vec![deduced, opaque] }
    }

    pub(crate) fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// The node of a field of an object, whether named, additional or deduced; `None` when it is unknown.
    pub(crate) fn child(&self, id: NodeId, name: &str) -> Option<NodeId> {
        let node = self.node(id);
        if let Some(field) = node.fields.get(name) {
            return Some(field.node);
        }
        if id == OPAQUE {
            return Some(OPAQUE);
        }
        match node.additional {
            Additional::Each(each) => Some(each),
            Additional::Anything => Some(DEDUCED),
            // A free-form object: neither fields nor a schema for the rest.
            Additional::Nothing if node.lenient || node.fields.is_empty() => Some(DEDUCED),
            Additional::Nothing => None,
        }
    }

    /// The node of a list's items.
    pub(crate) fn item(&self, id: NodeId) -> NodeId {
        self.node(id).items.unwrap_or(OPAQUE)
    }
}
