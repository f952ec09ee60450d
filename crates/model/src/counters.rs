//! Five counters with five names, never mixed.
//!
//! A counter is ordered only against its own kind, and across a restore only together with the era:
//! the order is (era, counter).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far anything is counted. What stands beyond was not counted to but written by a hostile hand, or is
/// damaged; whoever reads values of others refuses it, so that there is always a next one.
pub const MAX_COUNT: u64 = 1 << 62;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The counter after this one.
            #[must_use]
            pub fn next(self) -> Self {
                $name(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter! {
    /// Raised only by a person, after a restore or the loss of the topology server.
    Era
}
counter! {
    /// Of an appointment; it stands in a page's header and fences every write to that page.
    Term
}
counter! {
    /// Of a record, a page or the control document.
    Revision
}
counter! {
    /// Of a federation spec.
    Generation
}
counter! {
    /// One life of a federated object between creation and tombstone, or one start of a process.
    Incarnation
}
