//! Structural schemas: what a kind's objects look like.
//!
//! A [`Schema`] is a tree of nodes made from OpenAPI v3, whether of a built-in kind ([`builtin()`]) or of a
//! CustomResourceDefinition ([`Schema::from_crd`]). It knows how to default, prune and validate an object, and is
//! what [`crate::apply`] and [`crate::patch`] walk to learn how lists merge.

mod builtin;
mod checks;
mod crd;
mod decoding;
mod defaulting;
mod error;
mod format;
mod hooks;
mod kind;
pub(crate) mod node;
pub mod openapi;
mod parse;
mod pruning;
mod quantity;
mod reset;
mod structural;
mod validation;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use builtin::{Builtin, Group, KubernetesVersion, Version, builtin};
pub use error::{FieldError, Reason};
pub use kind::{Kind, Scale, Subresource, Subresources, api_version};

pub use quantity::Quantity;

use node::{Arena, NodeId};
use reset::Resets;

/// The structure of a kind's objects. Cheap to clone.
#[derive(Clone)]
pub struct Schema {
    pub(crate) arena: Arc<Arena>,
    pub(crate) root: NodeId,
    pub(crate) origin: Origin,
    resets: Resets,
}

/// Where a schema comes from; a few rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Objects pass through Go structs.
    Builtin,
    /// Objects are JSON throughout.
    Custom,
}

impl Schema {
    fn builtin(arena: Arc<Arena>, root: NodeId) -> Schema {
        Schema { arena, root, origin: Origin::Builtin, resets: Resets::default() }
    }
}

impl Schema {
    /// The kind's name, where the schema knows it: of built-in kinds.
    pub(crate) fn kind_name(&self) -> Option<&str> {
        self.arena.node(self.root).name.as_deref()
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Schema({:?}, {:?})", self.origin, self.root)
    }
}
