//! The breaker: how much may be taken away without a person's word.
//!
//! Withdrawals, tombstones, replacements and scale-to-zero share one budget over a window. It is
//! bound to a set and not to a rate: what does not fit waits as a whole, and a confirmation names
//! exactly the set that was shown, or a slow drip would lose everything in a few windows.

use hansa_model::{DeletionBudget, Hash, Incarnation, RecordKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Something that was taken away, kept for as long as the window.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removal {
    /// When, in milliseconds since the epoch on the member's own clock.
    pub at_ms: u64,
    /// What fell with it.
    pub weight: u64,
}

/// Something that is to be taken away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pending {
    /// The life that is meant.
    pub incarnation: Incarnation,
    /// What falls with it.
    pub weight: u64,
}

/// What the breaker says of a set of pending removals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All of it may go: it fits the budget.
    Allowed,
    /// All of it may go: a person said so. It costs no budget, for the budget is of what goes without
    /// a person's word.
    Confirmed,
    /// Nothing of it goes until somebody confirms exactly this set.
    Held {
        /// The set's hash, to be confirmed.
        set: Hash,
        /// The weight of what waits.
        pending: u64,
        /// The weight of what went within the window.
        recent: u64,
        /// What may go within the window.
        limit: u64,
    },
}

/// The hash that a confirmation of these removals names: of the sorted keys and lives.
pub fn set_hash(pending: &BTreeMap<RecordKey, Pending>) -> Hash {
    let mut text = String::new();
    for (key, removal) in pending {
        text.push_str(&format!("{key}#{}\n", removal.incarnation));
    }
    Hash::of_bytes(text.as_bytes())
}

/// Judges a set of pending removals.
///
/// `placed_weight`: the weight of everything placed, what is pending included. `recent`: what went
/// before; entries outside of the window are passed over, and so is a clock that went backwards
/// (an entry from the future counts as recent: a jump must not empty the ledger). `lately`: the
/// sets of the same kind that were let go a moment ago, the last one first; whoever sees a confirmed set
/// arrive in parts lets the first of them go within the budget, and what follows is the set together
/// with the last few of those.
pub fn judge<'a>(
    budget: &DeletionBudget,
    placed_weight: u64,
    recent: &[Removal],
    now_ms: u64,
    pending: &BTreeMap<RecordKey, Pending>,
    lately: impl IntoIterator<Item = &'a BTreeMap<RecordKey, Pending>>,
    confirmed: &BTreeSet<Hash>,
) -> Verdict {
    let window = budget.window_ms().unwrap_or(u64::MAX);
    let recent: u64 = recent
        .iter()
        .filter(|removal| now_ms.saturating_sub(removal.at_ms) < window)
        .map(|removal| removal.weight)
        .sum();
    let wanted: u64 = pending.values().map(|removal| removal.weight).sum();
    let limit =
        budget.at_least.max((placed_weight.saturating_add(recent)).saturating_mul(u64::from(budget.percent)) / 100);
    let set = set_hash(pending);
    let completes = || {
        let mut together = pending.clone();
        lately.into_iter().any(|part| {
            together.extend(part.clone());
            confirmed.contains(&set_hash(&together))
        })
    };
    if pending.is_empty() || recent.saturating_add(wanted) <= limit {
        Verdict::Allowed
    } else if confirmed.contains(&set) || completes() {
        Verdict::Confirmed
    } else {
        Verdict::Held { set, pending: wanted, recent, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pending(count: usize, weight: u64) -> BTreeMap<RecordKey, Pending> {
        let key = |index: usize| format!("configmaps/shop/c{index:04}").parse().unwrap();
        (0..count).map(|index| (key(index), Pending { incarnation: Incarnation(1), weight })).collect()
    }

    #[test]
    fn a_normal_delete_of_a_small_application_is_not_stopped() {
        assert_eq!(
            judge(&DeletionBudget::default(), 12, &[], 0, &pending(12, 1), &[], &BTreeSet::new()),
            Verdict::Allowed
        );
    }

    #[test]
    fn a_mass_deletion_waits_for_exactly_its_set() {
        let set = pending(500, 1);
        let Verdict::Held { set: hash, pending: 500, recent: 0, limit: 100 } =
            judge(&DeletionBudget::default(), 1000, &[], 0, &set, &[], &BTreeSet::new())
        else {
            panic!("held");
        };
        assert_eq!(judge(&DeletionBudget::default(), 1000, &[], 0, &set, &[], &[hash].into()), Verdict::Confirmed);
        let held = |pending: &BTreeMap<_, _>, lately: &[BTreeMap<_, _>]| {
            let recent = [Removal { at_ms: 0, weight: 99 }];
            let verdict = judge(&DeletionBudget::default(), 1000, &recent, 0, pending, lately, &[hash].into());
            matches!(verdict, Verdict::Held { .. })
        };
        assert!(held(&pending(501, 1), &[]), "one more is another set");
        let mut rest = set.clone();
        let mut take =
            |count: usize| -> BTreeMap<_, _> { std::iter::from_fn(|| rest.pop_first()).take(count).collect() };
        let (first, second) = (take(15), take(40));
        let other = BTreeMap::from([(
            "configmaps/shop/other".parse().unwrap(),
            Pending { incarnation: Incarnation(1), weight: 1 },
        )]);
        assert!(!held(&rest, &[second.clone(), first.clone()]), "what came in parts is the set that was confirmed");
        assert!(!held(&rest, &[second.clone(), first.clone(), other.clone()]), "whatever went before");
        assert!(held(&rest, std::slice::from_ref(&second)), "a part of it is not");
        assert!(held(&rest, &[second, other, first]), "nor is it with another one");
    }

    #[test]
    fn what_falls_with_an_object_counts() {
        assert_ne!(
            judge(&DeletionBudget::default(), 200, &[], 0, &pending(1, 100), &[], &BTreeSet::new()),
            Verdict::Allowed
        );
    }

    proptest! {
        // However a mass deletion is dripped, no window loses more than the budget.
        #[test]
        fn a_drip_stays_within_the_window(steps in prop::collection::vec((1usize..30, 0u64..300_000), 1..60)) {
            let budget = DeletionBudget::default();
            let (mut now, mut placed, mut gone) = (0u64, 1000u64, Vec::<Removal>::new());
            for (count, pause) in steps {
                now += pause;
                let set = pending(count, 1);
                if placed >= count as u64 && judge(&budget, placed, &gone, now, &set, &[], &BTreeSet::new()) == Verdict::Allowed {
                    placed -= count as u64;
                    gone.push(Removal { at_ms: now, weight: count as u64 });
                }
                let lost: u64 = gone.iter().filter(|removal| now - removal.at_ms < 600_000).map(|removal| removal.weight).sum();
                prop_assert!(lost <= 100, "{lost}");
            }
        }
    }
}
