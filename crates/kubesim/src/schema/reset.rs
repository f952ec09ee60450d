//! The fields that a write through one path cannot change, so that nobody comes to own them by it.

use std::sync::Arc;

use super::Schema;
use crate::apply::FieldSet;

/// A path of fields.
type Path<'a> = &'a [&'a str];

/// The fields that each path resets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resets {
    main: Arc<FieldSet>,
    status: Arc<FieldSet>,
    other: Arc<FieldSet>,
}

impl Resets {
    fn new(main: &[Path<'_>], status: &[Path<'_>], other: &[Path<'_>]) -> Resets {
        let set = |paths: &[Path<'_>]| Arc::new(FieldSet::of_fields(paths));
        Resets { main: set(main), status: set(status), other: set(other) }
    }

    /// Those of a built-in kind with a `status` subresource, as its strategies name them.
    pub(crate) fn of_builtin(group: &str, kind: &str) -> Resets {
        let status: &[Path<'_>] = match (group, kind) {
            ("apps", "Deployment") => &[&["spec"], &["metadata", "labels"]],
            ("", "Pod") => &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
            ("certificates.k8s.io", "CertificateSigningRequest") => {
                let approval: &[Path<'_>] = &[&["spec"], &["status", "certificate"]];
                return Resets::new(&[&["spec"], &["status"]], &[&["spec"], &["status", "conditions"]], approval);
            }
            ("" | "apiextensions.k8s.io" | "apps" | "autoscaling" | "batch" | "policy", _)
            | ("networking.k8s.io", "Ingress") => &[&["spec"]],
            _ => &[&["metadata"], &["spec"]],
        };
        let other: &[Path<'_>] = if kind == "Namespace" { &[&["status"]] } else { &[] };
        Resets::new(&[&["status"]], status, other)
    }
}

impl Schema {
    /// What a write to a subresource (or, with an empty name, to the object) resets.
    pub(crate) fn reset_fields(&self, subresource: &str) -> Arc<FieldSet> {
        match subresource {
            "" => self.resets.main.clone(),
            "status" => self.resets.status.clone(),
            "approval" | "finalize" => self.resets.other.clone(),
            _ => Arc::default(),
        }
    }

    /// The same schema for a kind with a `status` subresource.
    #[must_use]
    pub fn with_status_subresource(mut self) -> Schema {
        self.resets = Resets::new(&[&["status"]], &[&["metadata"], &["spec"]], &[]);
        self
    }
}
