//! The planner: names or a selector, less the excluded, over the members of the league.

use crate::selection::{Mismatch, first_mismatch};
use hansa_model::selector::Operator;
use hansa_model::{FederationSpec, LabelSelector, Member, MemberName, NamespacePolicy, Placement};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which members have an object, and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Placed {
    /// The members that have it.
    pub members: BTreeSet<MemberName>,
    /// Why, or why not: for every member of the league, and for every name that is none's.
    pub reasons: BTreeMap<MemberName, Reason>,
}

/// Why a member has an object, or has it not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(tag = "reason", rename_all_fields = "camelCase")]
pub enum Reason {
    /// `members` names it.
    Named,
    /// `memberSelector` selects it.
    Selected,
    /// `members` does not name it.
    NotNamed,
    /// `memberSelector` does not select it.
    NotSelected {
        /// The first requirement that it fails.
        mismatch: Mismatch,
    },
    /// There is neither `members` nor `memberSelector`.
    NothingAsked,
    /// `exclude` names it.
    Excluded,
    /// It is about to leave the league.
    Leaving,
    /// It votes, and does nothing else.
    Witness,
    /// The placement names it, but the league has no such member.
    NotAMember {
        /// Where the placement names it: `spec.placement.members[2]`.
        field: String,
    },
    /// It would have the object, but its namespace is not federated to it.
    NamespaceNotFederated,
}

impl Reason {
    /// Whether a member with this reason has the object.
    pub fn places(&self) -> bool {
        matches!(self, Reason::Named | Reason::Selected)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Named => f.write_str("named in spec.placement.members"),
            Reason::Selected => f.write_str("selected by spec.placement.memberSelector"),
            Reason::NotNamed => f.write_str("not named in spec.placement.members"),
            Reason::NotSelected { mismatch } => write!(f, "not selected by spec.placement.memberSelector: {mismatch}"),
            Reason::NothingAsked => f.write_str(
                "spec.placement asks for no member: add `members` or `memberSelector` (`{}` is every member)",
            ),
            Reason::Excluded => f.write_str("excluded by spec.placement.exclude"),
            Reason::Leaving => f.write_str(Member::LEAVING),
            Reason::Witness => f.write_str(Member::WITNESS),
            Reason::NotAMember { field } => {
                write!(
                    f,
                    "named in {field}, but the league has no such member: correct the name or let the member join"
                )
            }
            Reason::NamespaceNotFederated => f.write_str(
                "its namespace is not federated to this member, which the Federation's spec requires: \
                 place the FederatedNamespace there too",
            ),
        }
    }
}

/// A placement that means nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {message}")]
pub struct PlacementError {
    /// The field at fault: `spec.placement.memberSelector`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Refuses a placement that means nothing, whatever the league.
///
/// # Errors
/// When it has both `members` and `memberSelector`, or a selector whose operator and values do not
/// go together.
pub fn validate(placement: &Placement) -> Result<(), PlacementError> {
    let Some(selector) = &placement.member_selector else {
        return Ok(());
    };
    let field = "spec.placement.memberSelector";
    if placement.members.is_some() {
        let message = "members are named in spec.placement.members already: keep one of the two";
        return Err(PlacementError { field: field.to_owned(), message: message.to_owned() });
    }
    refused_selector(field, selector)
}

/// Refuses a selector whose operator and values do not go together.
pub(crate) fn refused_selector(field: &str, selector: &LabelSelector) -> Result<(), PlacementError> {
    let error =
        |field: &str, message: &str| Err(PlacementError { field: field.to_owned(), message: message.to_owned() });
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let field = |name: &str| format!("{field}.matchExpressions[{index}].{name}");
        if requirement.key.is_empty() {
            return error(&field("key"), "it is empty: name a label");
        }
        let needs_values = matches!(requirement.operator, Operator::In | Operator::NotIn);
        if needs_values && requirement.values.is_empty() {
            return error(
                &field("values"),
                "`In` and `NotIn` compare with values: add some, or use `Exists` or `DoesNotExist`",
            );
        }
        if !needs_values && !requirement.values.is_empty() {
            return error(
                &field("values"),
                "`Exists` and `DoesNotExist` take no values: leave them out, or use `In` or `NotIn`",
            );
        }
    }
    Ok(())
}

/// Which members have an object with this placement, before its namespace is asked (see
/// [`within_namespace`]).
///
/// A name that no member has is told as [`Reason::NotAMember`] and hinders no other.
///
/// # Errors
/// When the placement means nothing, see [`validate`].
pub fn placed(spec: &FederationSpec, placement: &Placement) -> Result<Placed, PlacementError> {
    validate(placement)?;
    let excluded: BTreeSet<&MemberName> = placement.exclude.iter().collect();
    let rule = match (&placement.members, &placement.member_selector) {
        (Some(names), _) => Rule::Names(names.iter().collect()),
        (None, Some(selector)) => Rule::Selector(selector),
        (None, None) => Rule::Nothing,
    };
    let mut placed = Placed::default();
    for member in &spec.members {
        let reason = match rule.reason(member) {
            _ if excluded.contains(&member.name) => Reason::Excluded,
            reason if reason.places() && member.witness => Reason::Witness,
            reason if reason.places() && member.leaving.is_some() => Reason::Leaving,
            reason => reason,
        };
        if reason.places() {
            placed.members.insert(member.name.clone());
        }
        placed.reasons.insert(member.name.clone(), reason);
    }
    let named = placement.members.iter().flatten().enumerate().map(|(index, name)| ("members", index, name));
    let excluded = placement.exclude.iter().enumerate().map(|(index, name)| ("exclude", index, name));
    for (list, index, name) in named.chain(excluded) {
        // Only names of no member are new here; of two such places the first is told.
        let field = format!("spec.placement.{list}[{index}]");
        placed.reasons.entry(name.clone()).or_insert(Reason::NotAMember { field });
    }
    Ok(placed)
}

/// How a placement chooses among the members that are not excluded.
enum Rule<'a> {
    Names(BTreeSet<&'a MemberName>),
    Selector(&'a LabelSelector),
    Nothing,
}

impl Rule<'_> {
    fn reason(&self, member: &Member) -> Reason {
        match self {
            Rule::Names(names) if names.contains(&member.name) => Reason::Named,
            Rule::Names(_) => Reason::NotNamed,
            Rule::Selector(selector) => match first_mismatch(selector, &member.labels) {
                None => Reason::Selected,
                Some(mismatch) => Reason::NotSelected { mismatch },
            },
            Rule::Nothing => Reason::NothingAsked,
        }
    }
}

/// What is left of the placement of a namespaced object: under
/// [`NamespacePolicy::RequireFederated`], only members that its namespace is federated to.
///
/// `namespace_placed` are the members of the FederatedNamespace of the object's namespace; `None`
/// when there is none. Cluster-scoped objects, namespaces among them, have no namespace to ask.
#[must_use]
pub fn within_namespace(
    placed: Placed,
    namespace_placed: Option<&BTreeSet<MemberName>>,
    policy: NamespacePolicy,
) -> Placed {
    if policy == NamespacePolicy::Create {
        return placed;
    }
    let Placed { members, mut reasons } = placed;
    let (kept, left_out) = members
        .into_iter()
        .partition::<BTreeSet<_>, _>(|name| namespace_placed.is_some_and(|members| members.contains(name)));
    reasons.extend(left_out.into_iter().map(|name| (name, Reason::NamespaceNotFederated)));
    Placed { members: kept, reasons }
}

#[cfg(test)]
mod tests;
