//! The checker: verifies a plan without the planner's code.

use crate::placement::{Placed, Reason};
use hansa_model::{FederationSpec, Member, MemberName, NamespacePolicy, Placement};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// Where the placed object lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope<'a> {
    /// In no namespace.
    Cluster,
    /// In a namespace.
    Namespaced {
        /// The members of that namespace's own federated object; `None` when it has none.
        federated_to: Option<&'a BTreeSet<MemberName>>,
    },
}

/// Something wrong with a plan.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Violation {
    /// The placement is one that has to be refused.
    Meaningless,
    /// It places the object where it may not be.
    Unasked(MemberName),
    /// It leaves out a member that should have the object.
    LeftOut(MemberName),
    /// It gives no reason for a member, or one that says the opposite of what it does.
    Unexplained(MemberName),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Meaningless => {
                f.write_str("the placement names members and has a selector, and was not refused")
            }
            Violation::Unasked(member) => write!(f, "{member} has the object, and may not have it"),
            Violation::LeftOut(member) => write!(f, "{member} has not the object, and should have it"),
            Violation::Unexplained(member) => write!(f, "the reason that is given for {member} is missing or wrong"),
        }
    }
}

/// Verifies which members have an object: everything that is wrong, in the order of the members'
/// names.
///
/// # Errors
/// When the plan is not what spec and placement ask for.
pub fn check(
    spec: &FederationSpec,
    placement: &Placement,
    scope: Scope<'_>,
    placed: &Placed,
) -> Result<(), Vec<Violation>> {
    if placement.members.is_some() && placement.member_selector.is_some() {
        return Err(vec![Violation::Meaningless]);
    }
    let mut names: BTreeSet<&MemberName> = placed.members.iter().chain(placed.reasons.keys()).collect();
    names.extend(spec.members.iter().map(|member| &member.name));
    names.extend(placement.members.iter().flatten().chain(&placement.exclude));
    let violations: Vec<Violation> = names
        .into_iter()
        .filter_map(|name| {
            let asked = spec.member(name).is_some_and(|member| asks_for(placement, member));
            let takes = spec.member(name).is_some_and(|member| member.leaving.is_none() && !member.witness);
            let allowed = asked && takes && may_be_in(spec, scope, name);
            let has = placed.members.contains(name);
            if has && !allowed {
                return Some(Violation::Unasked(name.clone()));
            }
            if allowed && !has {
                return Some(Violation::LeftOut(name.clone()));
            }
            let explained = placed
                .reasons
                .get(name)
                .is_some_and(|reason| explains(reason, placement, spec.member(name), asked, allowed));
            (!explained).then(|| Violation::Unexplained(name.clone()))
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn asks_for(placement: &Placement, member: &Member) -> bool {
    let named = placement.members.as_ref().map(|members| members.contains(&member.name));
    let selected = placement.member_selector.as_ref().map(|selector| selector.matches(&member.labels));
    !placement.exclude.contains(&member.name) && named.or(selected) == Some(true)
}

fn may_be_in(spec: &FederationSpec, scope: Scope<'_>, name: &MemberName) -> bool {
    match (spec.namespaces, scope) {
        (NamespacePolicy::Create, _) | (_, Scope::Cluster) => true,
        (NamespacePolicy::RequireFederated, Scope::Namespaced { federated_to }) => {
            federated_to.is_some_and(|members| members.contains(name))
        }
    }
}

/// Whether a reason is true of a member.
fn explains(reason: &Reason, placement: &Placement, member: Option<&Member>, asked: bool, allowed: bool) -> bool {
    let Some(member) = member else {
        return matches!(reason, Reason::NotAMember { .. });
    };
    let excluded = placement.exclude.contains(&member.name);
    let (by_name, by_label) = (placement.members.is_some(), placement.member_selector.is_some());
    match reason {
        Reason::Named => allowed && by_name,
        Reason::Selected => allowed && by_label,
        Reason::NamespaceNotFederated => asked && !allowed && member.leaving.is_none() && !member.witness,
        Reason::Leaving => asked && member.leaving.is_some() && !member.witness,
        Reason::Witness => asked && member.witness,
        Reason::Excluded => excluded,
        Reason::NotNamed => !asked && !excluded && by_name,
        Reason::NotSelected { .. } => !asked && !excluded && by_label,
        Reason::NothingAsked => !excluded && !by_name && !by_label,
        Reason::NotAMember { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{any_placement, any_spec};
    use crate::placement::{placed, within_namespace};
    use proptest::prelude::*;

    /// Plans that differ from `right` in one member.
    fn wrong_plans(right: &Placed, spec: &FederationSpec) -> Vec<Placed> {
        let mut plans = Vec::new();
        let mut names: Vec<MemberName> = spec.members.iter().map(|member| member.name.clone()).collect();
        names.push("stranger".parse().unwrap());
        for name in names {
            let mut plan = right.clone();
            if !plan.members.remove(&name) {
                plan.members.insert(name.clone());
            }
            plans.push(plan);
            let mut plan = right.clone();
            if plan.reasons.remove(&name).is_some() {
                plans.push(plan.clone());
            }
            plan.reasons.insert(name.clone(), Reason::NotAMember { field: "x".into() });
            if spec.member(&name).is_some() {
                plans.push(plan);
            }
        }
        plans
    }

    proptest! {
        #[test]
        fn the_planner_passes_and_wrong_plans_do_not(
            spec in any_spec(),
            placement in any_placement(),
            namespace in prop::option::of(any_placement()),
            is_namespaced in any::<bool>(),
        ) {
            let Ok(mut plan) = placed(&spec, &placement) else {
                let nothing = Placed::default();
                prop_assert_eq!(check(&spec, &placement, Scope::Cluster, &nothing), Err(vec![Violation::Meaningless]));
                return Ok(());
            };
            let federated_to = namespace.and_then(|namespace| placed(&spec, &namespace).ok()).map(|placed| placed.members);
            let scope = match is_namespaced {
                true => Scope::Namespaced { federated_to: federated_to.as_ref() },
                false => Scope::Cluster,
            };
            if is_namespaced {
                plan = within_namespace(plan, federated_to.as_ref(), spec.namespaces);
            }
            prop_assert_eq!(check(&spec, &placement, scope, &plan), Ok(()));
            for wrong in wrong_plans(&plan, &spec) {
                prop_assert!(check(&spec, &placement, scope, &wrong).is_err(), "{:?}", wrong);
            }
        }
    }
}
