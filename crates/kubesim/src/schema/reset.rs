//! The fields that a write through one path cannot change, so that nobody comes to own them by it.

use std::sync::Arc;

use super::Schema;
use crate::apply::FieldSet;

/// The fields that each path resets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resets {
    main: Arc<FieldSet>,
    status: Arc<FieldSet>,
}

impl Resets {
    /// Those of a kind with a `status` subresource.
    pub(crate) fn with_status(status: &[&[&str]]) -> Resets {
        Resets { main: Arc::new(FieldSet::of_fields(&[&["status"]])), status: Arc::new(FieldSet::of_fields(status)) }
    }
}

impl Schema {
    /// What a write to a subresource (or, with an empty name, to the object) resets.
    pub(crate) fn reset_fields(&self, subresource: &str) -> Arc<FieldSet> {
        match subresource {
            "" => self.resets.main.clone(),
            "status" => self.resets.status.clone(),
            _ => Arc::default(),
        }
    }

    /// The same schema for a kind with a `status` subresource.
    #[must_use]
    pub fn with_status_subresource(mut self) -> Schema {
        self.resets = Resets::with_status(&[&["metadata"], &["spec"]]);
        self
    }
}
