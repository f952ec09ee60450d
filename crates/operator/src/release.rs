//! What this release of the operator knows: operators of two releases are at work in one league while it is upgraded.
//!
//! | | Rule |
//! |---|---|
//! | announced | each voter says in its cell which feature level it speaks |
//! | agreed | the lowest that all voters announce which are not lost; it rises by a vote of all, and never falls |
//! | written | nothing that a release below the agreed level would misread: new formats and fields come with a level |
//! | below it | a downgrade, an old program that is restored: that operator says its level in its cell, why it is frozen in its member's cell, and nothing else; its seats go to others, and its share is as it was |
//! | joining | a newcomer says its level with its request, and below the agreed one it is not let in |
//! | the spec | a field that a release does not know is voted down by it; where a quorum agreed all the same, it freezes its own share |

use hansa_model::FederationSpec;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// The highest feature level that this release speaks.
pub const FEATURE_LEVEL: u32 = 1;

/// A release, as an operator is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// Its name, for people.
    pub name: String,
    /// The highest feature level that it speaks.
    pub level: u32,
    /// Fields of the federation spec that it does not know, at the top of it. None in the release that is built from this
    /// source: with some, it stands for an earlier one.
    pub lacks: BTreeSet<String>,
}

impl Release {
    /// The release that is built from this source.
    pub fn this(name: impl Into<String>) -> Self {
        Release { name: name.into(), level: FEATURE_LEVEL, lacks: BTreeSet::new() }
    }

    /// Reads a federation spec.
    ///
    /// # Errors
    /// When it holds what this release does not know.
    pub(crate) fn read_spec(&self, spec: &RawValue) -> Result<FederationSpec, String> {
        if !self.lacks.is_empty() {
            let fields: Value = serde_json::from_str(spec.get()).map_err(|error| error.to_string())?;
            if let Some(field) = self.lacks.iter().find(|field| !fields[field.as_str()].is_null()) {
                return Err(format!("unknown field `{field}`"));
            }
        }
        serde_json::from_str(spec.get()).map_err(|error| error.to_string())
    }

    /// Why nothing is done at the feature level that the league has agreed on, with the mend.
    pub(crate) fn falls_short(&self, member: &str, agreed: u32) -> Option<String> {
        (agreed > self.level).then(|| {
            format!(
                "the league has agreed on feature level {agreed}, and release {} of {member}'s operator speaks level {}: this member's share is frozen until it runs a release that speaks {agreed}",
                self.name, self.level
            )
        })
    }
}
