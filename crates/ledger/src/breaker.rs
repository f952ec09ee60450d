//! The breaker: how much may be taken away without a person's word.
//!
//! Withdrawals, tombstones, replacements and scale-to-zero share one budget over a window. It is
//! bound to a set and not to a rate: what does not fit waits as a whole, and a confirmation names
//! exactly the set that was shown, or a slow drip would lose everything in a few windows.

use crate::record::Record;
use hansa_model::{DeletionBudget, Hash, Incarnation, MemberName, RecordKey};
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

/// Which of an object's outputs fall: what a person's confirmation is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// The life that is meant.
    pub incarnation: Incarnation,
    /// The members that it goes from, while it lives on in others; `None`: the life ends, everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<BTreeSet<MemberName>>,
}

impl Scope {
    /// The end of a life.
    pub fn end(incarnation: Incarnation) -> Self {
        Scope { incarnation, members: None }
    }

    /// A life's going from some members.
    pub fn withdrawal(incarnation: Incarnation, members: BTreeSet<MemberName>) -> Self {
        Scope { incarnation, members: Some(members) }
    }

    /// What a member's own output falls with: the end of its life, or its withdrawal from that member.
    pub fn output(record: &Record, incarnation: Incarnation, member: &MemberName) -> Self {
        let ended = record.tombstone.is_some() || incarnation < record.incarnation;
        if ended { Self::end(incarnation) } else { Self::withdrawal(incarnation, [member.clone()].into()) }
    }

    /// Whether whoever said yes to this said yes to that, too.
    pub fn covers(&self, other: &Scope) -> bool {
        let everywhere = || self.members.is_none();
        let there = || self.members.as_ref().zip(other.members.as_ref()).is_some_and(|(all, some)| some.is_subset(all));
        self.incarnation == other.incarnation && (everywhere() || there())
    }
}

/// Something that is to be taken away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// What falls.
    pub scope: Scope,
    /// How much that is.
    pub weight: u64,
}

/// Removals by object.
pub type Pendings = BTreeMap<RecordKey, Pending>;

/// What the breaker says of a set of pending removals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// A person said yes to each of these. They cost no budget, for the budget is of what goes without
    /// a person's word.
    pub confirmed: Pendings,
    /// All the others.
    pub others: Pendings,
    /// What becomes of the others.
    pub verdict: Verdict,
}

/// What the breaker says of those removals that nobody confirmed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All of them may go: they fit the budget, or there are none.
    Allowed,
    /// None of them goes until somebody confirms exactly this set.
    Held {
        /// What is to be shown and confirmed.
        set: Set,
        /// The weight of what waits.
        pending: u64,
        /// The weight of what went within the window.
        recent: u64,
        /// What may go within the window.
        limit: u64,
    },
}

/// A set of removals as it is shown to people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Set {
    /// Its name in a confirmation: the hash of what falls, weights apart.
    pub hash: Hash,
    /// What falls.
    pub removals: BTreeMap<RecordKey, Scope>,
}

/// A set is shown, and confirmed, with as many removals as can be written in this many bytes: their
/// confirmation has to fit into one value. More of them wait for the next set.
pub const MAX_SET_BYTES: usize = 768 << 10;

impl Set {
    /// What is shown of pending removals.
    pub fn of(pending: &Pendings) -> Self {
        let mut text = String::new();
        let mut removals = BTreeMap::new();
        for (key, Pending { scope, .. }) in pending {
            let line = line(key, scope);
            if text.len() + line.len() > MAX_SET_BYTES && !removals.is_empty() {
                break;
            }
            text.push_str(&line);
            removals.insert(key.clone(), scope.clone());
        }
        Set { hash: Hash::of_bytes(text.as_bytes()), removals }
    }
}

/// As JSON, for the names of some kinds may hold any sign: no two removals are written alike.
fn line(key: &RecordKey, scope: &Scope) -> String {
    serde_json::to_string(&(key, scope)).expect("a removal always encodes into memory") + "\n"
}

/// How many bytes removals take in the sense of [`MAX_SET_BYTES`].
pub fn written_bytes(removals: &BTreeMap<RecordKey, Scope>) -> usize {
    removals.iter().map(|(key, scope)| line(key, scope).len()).sum()
}

/// Judges a set of pending removals.
///
/// `placed_weight`: the weight of everything placed, what is pending included. `recent`: what went
/// before; entries outside of the window are passed over, and so is a clock that went backwards
/// (an entry from the future counts as recent: a jump must not empty the ledger). `confirmed`: whether
/// a person said yes to a removal. Each is known to be confirmed by itself, whatever else is pending: a
/// member sees a confirmed mass deletion page by page, and among other things of its own.
pub fn judge(
    budget: &DeletionBudget,
    placed_weight: u64,
    recent: &[Removal],
    now_ms: u64,
    pending: &Pendings,
    confirmed: impl Fn(&RecordKey, &Scope) -> bool,
) -> Judgement {
    let window = budget.window_ms().unwrap_or(u64::MAX);
    let recent: u64 = recent
        .iter()
        .filter(|removal| now_ms.saturating_sub(removal.at_ms) < window)
        .map(|removal| removal.weight)
        .sum();
    let limit =
        budget.at_least.max((placed_weight.saturating_add(recent)).saturating_mul(u64::from(budget.percent)) / 100);
    let (confirmed, others): (Pendings, Pendings) =
        pending.clone().into_iter().partition(|(key, removal)| confirmed(key, &removal.scope));
    let wanted: u64 = others.values().map(|removal| removal.weight).sum();
    let verdict = if others.is_empty() || recent.saturating_add(wanted) <= limit {
        Verdict::Allowed
    } else {
        Verdict::Held { set: Set::of(&others), pending: wanted, recent, limit }
    };
    Judgement { confirmed, others, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(index: usize) -> RecordKey {
        format!("configmaps/shop/c{index:04}").parse().unwrap()
    }

    fn ending(life: u64, weight: u64) -> Pending {
        Pending { scope: Scope::end(Incarnation(life)), weight }
    }

    fn pending(count: usize, weight: u64) -> Pendings {
        (0..count).map(|index| (key(index), ending(1, weight))).collect()
    }

    fn members(names: &[&str]) -> BTreeSet<MemberName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn judge_alone(placed: u64, recent: &[Removal], now: u64, pending: &Pendings) -> Verdict {
        judge(&DeletionBudget::default(), placed, recent, now, pending, |_, _| false).verdict
    }

    #[test]
    fn a_normal_delete_of_a_small_application_is_not_stopped() {
        assert_eq!(judge_alone(12, &[], 0, &pending(12, 1)), Verdict::Allowed);
    }

    #[test]
    fn a_mass_deletion_waits_for_exactly_its_set() {
        let all = pending(500, 1);
        let Verdict::Held { set, pending: 500, recent: 0, limit: 100 } = judge_alone(1000, &[], 0, &all) else {
            panic!("held");
        };
        assert_eq!(set.removals.len(), 500);
        let confirmed = |key: &RecordKey, scope: &Scope| set.removals.get(key).is_some_and(|known| known.covers(scope));
        let spent = [Removal { at_ms: 0, weight: 111 }];
        let judge = |pending: &Pendings| judge(&DeletionBudget::default(), 1000, &spent, 0, pending, confirmed);
        let whole = judge(&all);
        assert_eq!((whole.confirmed.len(), whole.verdict), (500, Verdict::Allowed));
        // In parts, and beside others of the member's own.
        let mut part: Pendings = all.clone().into_iter().skip(15).take(40).collect();
        assert_eq!(judge(&part).verdict, Verdict::Allowed);
        part.insert(key(900), ending(1, 1));
        part.insert(key(3), ending(2, 1));
        let mixed = judge(&part);
        assert_eq!(mixed.confirmed.len(), 40, "what was shown goes");
        assert_eq!(
            mixed.others.keys().collect::<Vec<_>>(),
            [&key(3), &key(900)],
            "a later life or another one does not"
        );
        assert!(matches!(mixed.verdict, Verdict::Held { pending: 2, .. }), "{:?}", mixed.verdict);
    }

    #[test]
    fn what_falls_with_an_object_counts() {
        assert_ne!(judge_alone(200, &[], 0, &pending(1, 100)), Verdict::Allowed);
    }

    #[test]
    fn an_end_covers_every_member_and_a_withdrawal_those_that_were_named() {
        let (end, later) = (Scope::end(Incarnation(7)), Scope::end(Incarnation(8)));
        let from = |names: &[&str]| Scope::withdrawal(Incarnation(7), members(names));
        assert!(end.covers(&end) && end.covers(&from(&["a"])) && !end.covers(&later));
        assert!(from(&["a", "b"]).covers(&from(&["b"])));
        assert!(!from(&["a"]).covers(&from(&["a", "b"])) && !from(&["a", "b"]).covers(&end));
    }

    #[test]
    fn a_set_is_shown_within_its_bounds_and_sets_that_differ_have_other_names() {
        let name = "n".repeat(200);
        let many: Pendings = (0..8_000)
            .map(|index| (format!("configmaps/shop/{name}{index:05}").parse().unwrap(), ending(1, 1)))
            .collect();
        let set = Set::of(&many);
        assert!(set.removals.len() < many.len() && written_bytes(&set.removals) <= MAX_SET_BYTES);
        let one = |scope: Scope| Set::of(&[(key(1), Pending { scope, weight: 1 })].into()).hash;
        let scopes = [
            Scope::end(Incarnation(1)),
            Scope::end(Incarnation(11)),
            Scope::withdrawal(Incarnation(1), members(&["a", "b"])),
            Scope::withdrawal(Incarnation(1), members(&["a"])),
            Scope::withdrawal(Incarnation(1), members(&[])),
        ];
        let hashes: BTreeSet<Hash> = scopes.clone().into_iter().map(one).collect();
        assert_eq!(hashes.len(), scopes.len());
    }

    proptest! {
        // However a mass deletion is dripped, no window loses more than the budget.
        #[test]
        fn a_drip_stays_within_the_window(steps in prop::collection::vec((1usize..30, 0u64..300_000), 1..60)) {
            let (mut now, mut placed, mut gone) = (0u64, 1000u64, Vec::<Removal>::new());
            for (count, pause) in steps {
                now += pause;
                let set = pending(count, 1);
                if placed >= count as u64 && judge_alone(placed, &gone, now, &set) == Verdict::Allowed {
                    placed -= count as u64;
                    gone.push(Removal { at_ms: now, weight: count as u64 });
                }
                let lost: u64 = gone.iter().filter(|removal| now - removal.at_ms < 600_000).map(|removal| removal.weight).sum();
                prop_assert!(lost <= 100, "{lost}");
            }
        }

        // Whatever was confirmed, and whatever else is pending: what goes was shown, in that life and those
        // members, or fits the budget.
        #[test]
        fn nothing_goes_that_was_neither_shown_nor_fits(
            shown in prop::collection::btree_map(0usize..20, scope(), 0..20),
            now in prop::collection::btree_map(0usize..20, scope(), 0..20),
            spent in 0u64..30,
        ) {
            let pendings = |all: BTreeMap<usize, Scope>| -> Pendings {
                all.into_iter().map(|(index, scope)| (key(index), Pending { scope, weight: 1 })).collect()
            };
            let shown = Set::of(&pendings(shown));
            let now = pendings(now);
            let budget = DeletionBudget::default();
            let recent = [Removal { at_ms: 0, weight: spent }];
            let confirmed = |key: &RecordKey, scope: &Scope| shown.removals.get(key).is_some_and(|known| known.covers(scope));
            let judgement = judge(&budget, 0, &recent, 0, &now, confirmed);
            for (key, removal) in &judgement.confirmed {
                let known = &shown.removals[key];
                prop_assert_eq!(known.incarnation, removal.scope.incarnation);
                let everyone = members(&["a", "b", "c"]);
                let falls = removal.scope.members.as_ref().unwrap_or(&everyone);
                prop_assert!(known.members.as_ref().is_none_or(|known| falls.is_subset(known)));
            }
            let mut together = judgement.confirmed.clone();
            together.extend(judgement.others.clone());
            prop_assert_eq!(together, now, "each is judged, and none twice");
            let fits = spent + judgement.others.len() as u64 <= budget.at_least;
            prop_assert_eq!(judgement.verdict == Verdict::Allowed, fits || judgement.others.is_empty());
        }
    }

    fn scope() -> impl Strategy<Value = Scope> {
        let some = prop::sample::subsequence(vec!["a", "b", "c"], 1..3);
        (1u64..3, prop::option::of(some))
            .prop_map(|(life, some)| Scope { incarnation: Incarnation(life), members: some.map(|some| members(&some)) })
    }
}
