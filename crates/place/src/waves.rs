//! The waves of a rollout: in which order members get a new revision.
//!
//! Which wave a member is in follows from spec and rollout. That one opens is a decision, made by whoever
//! decides about the object, and recorded; [`may_open`] says which may.

use crate::placement::{PlacementError, refused_selector};
use hansa_model::{FederationSpec, MemberName, Rollout, Wave};
use std::collections::BTreeMap;

/// Refuses a rollout that means nothing, whatever the league.
///
/// # Errors
/// When a wave has both `members` and `memberSelector`, or neither, or a selector whose operator and values do
/// not go together.
pub fn validate_rollout(rollout: &Rollout) -> Result<(), PlacementError> {
    for (index, wave) in rollout.waves.iter().enumerate() {
        let field = format!("spec.rollout.waves[{index}]");
        match (&wave.members, &wave.member_selector) {
            (Some(_), None) => {}
            (None, Some(selector)) => refused_selector(&format!("{field}.memberSelector"), selector)?,
            (Some(_), Some(_)) | (None, None) => {
                let message = "it chooses members by name or by label: give one of members and memberSelector";
                return Err(PlacementError { field, message: message.to_owned() });
            }
        }
    }
    Ok(())
}

/// The wave of each of these members, counted from 0: the first that selects it, else one after all of them.
pub fn waves<'a>(
    spec: &FederationSpec,
    rollout: &Rollout,
    members: impl IntoIterator<Item = &'a MemberName>,
) -> BTreeMap<MemberName, u32> {
    let last = rollout.waves.len();
    let of = |name: &MemberName| rollout.waves.iter().position(|wave| selects(spec, wave, name)).unwrap_or(last);
    members.into_iter().map(|name| (name.clone(), u32::try_from(of(name)).unwrap_or(u32::MAX))).collect()
}

fn selects(spec: &FederationSpec, wave: &Wave, name: &MemberName) -> bool {
    let named = wave.members.as_ref().is_some_and(|members| members.contains(name));
    let labels = spec.member(name).map(|member| &member.labels);
    let selected = wave.member_selector.as_ref().zip(labels).is_some_and(|(selector, labels)| selector.matches(labels));
    named || selected
}

/// The highest wave that may be open, when the waves up to `open` are: each one whose every earlier member is `done`.
pub fn may_open(waves: &BTreeMap<MemberName, u32>, open: u32, done: impl Fn(&MemberName) -> bool) -> u32 {
    let Some(last) = waves.values().copied().max() else { return open };
    // The first that is not done holds up all later ones.
    let held = waves.iter().filter(|(name, _)| !done(name)).map(|(_, wave)| *wave).min();
    open.max(held.unwrap_or(last).min(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn name(text: &str) -> MemberName {
        text.parse().unwrap()
    }

    fn rollout(waves: serde_json::Value) -> Rollout {
        serde_json::from_value(json!({"waves": waves})).unwrap()
    }

    #[test]
    fn a_member_is_in_the_first_wave_that_selects_it() {
        let spec: FederationSpec = serde_json::from_value(json!({"members": [
            {"name": "a", "labels": {"tier": "canary"}}, {"name": "b", "labels": {"tier": "canary"}}, {"name": "c"}, {"name": "d"},
        ]}))
        .unwrap();
        let rollout = rollout(json!([
            {"members": ["b", "stranger"]}, {"memberSelector": {"matchLabels": {"tier": "canary"}}},
        ]));
        let members = ["a", "b", "c"].map(name);
        let expected = [("a", 1), ("b", 0), ("c", 2)].map(|(member, wave)| (name(member), wave)).into();
        assert_eq!(waves(&spec, &rollout, &members), expected);
        assert_eq!(waves(&spec, &Rollout::default(), &members).into_values().max(), Some(0), "all at once");
    }

    #[test]
    fn a_wave_opens_when_all_before_it_are_done() {
        let waves: BTreeMap<_, _> =
            [("a", 0), ("b", 1), ("c", 1), ("d", 3)].map(|(member, wave)| (name(member), wave)).into();
        let open = |open: u32, done: &[&str]| may_open(&waves, open, |member| done.contains(&member.as_str()));
        assert_eq!(open(0, &[]), 0);
        assert_eq!(open(0, &["a"]), 1);
        assert_eq!(open(0, &["b", "c"]), 0, "what others have done early counts later");
        assert_eq!(open(0, &["a", "b"]), 1);
        assert_eq!(open(0, &["a", "b", "c"]), 3, "nobody is in the wave between");
        assert_eq!(open(0, &["a", "b", "c", "d"]), 3);
        assert_eq!(open(1, &[]), 1, "an open one stays open");
        assert_eq!(may_open(&BTreeMap::new(), 2, |_| true), 2);
    }

    #[test]
    fn waves_that_mean_nothing_are_refused() {
        let field = |waves| validate_rollout(&rollout(waves)).unwrap_err().field;
        assert_eq!(field(json!([{"members": ["a"]}, {}])), "spec.rollout.waves[1]");
        assert_eq!(field(json!([{"members": ["a"], "memberSelector": {}}])), "spec.rollout.waves[0]");
        let selector = json!([{"memberSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]);
        assert_eq!(field(selector), "spec.rollout.waves[0].memberSelector.matchExpressions[0].values");
        assert!(validate_rollout(&rollout(json!([{"memberSelector": {}}]))).is_ok());
    }

    proptest! {
        /// Opening is monotone, never passes a member that is not done, and ends with everybody.
        #[test]
        fn no_wave_overtakes(numbers in prop::collection::vec(0u32..5, 1..6), done in prop::collection::vec(any::<bool>(), 6), open in 0u32..5) {
            let waves: BTreeMap<MemberName, u32> =
                numbers.iter().enumerate().map(|(index, wave)| (name(&format!("m{index}")), *wave)).collect();
            let is_done = |member: &MemberName| done[member.as_str()[1..].parse::<usize>().unwrap()];
            let opened = may_open(&waves, open, is_done);
            prop_assert!(opened >= open);
            if opened > open {
                prop_assert!(waves.iter().all(|(member, wave)| *wave >= opened || is_done(member)));
                prop_assert!(waves.values().any(|wave| *wave >= opened));
            }
            prop_assert!(may_open(&waves, open, |_| true) >= *numbers.iter().max().unwrap());
        }
    }
}
