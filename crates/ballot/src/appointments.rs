//! Appointments: who decides in a page, who does what only one may do, and under which term.
//!
//! - **Seats** of pages are computed from agreed facts: the voters, who is lost, whom a
//!   quorum suspects. [`plan`] is balanced, sticky and moves as few as it can; every operator computes
//!   the same, and whoever writes next writes it down. A seat that moves gets a new term.
//! - **Claims** are for singletons, what only one does: taken by compare-and-swap under a key, and renewed by
//!   the holder's beats, so that they need no heartbeats of another kind. The holder counts from when it sent its renewal and stops early
//!   ([`Hold`]); a challenger waits longer, on its own clock, without any change ([`Patience`]). No
//!   timestamp of one machine is compared with another's.
//!
//! A lease only shortens an overlap. What keeps two holders apart is the term: it goes into the header
//! of a page with the first decision, and a lower one is refused there.

use crate::key::Key;
use hansa_model::{Incarnation, MemberName, Term};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most pages, as everywhere in a league.
pub const MAX_PAGES: u32 = 65_536;

/// All appointments of a document.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Appointments {
    /// What only one member does at a time, held by claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<Key, Claim>,
    /// The pages, in runs without gap from page 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<Run>,
    /// The last term that was given.
    #[serde(default)]
    pub term: Term,
}

/// Pages that follow each other under one appointee and term.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// How many pages.
    pub count: u32,
    /// Who decides in them, under which term.
    pub seat: Seat,
}

/// Who is appointed, under which term.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seat {
    /// The appointee; `None` while nobody is eligible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberName>,
    /// The term.
    #[serde(default)]
    pub term: Term,
}

/// An appointment by claim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// The start of the holder's process.
    pub incarnation: Incarnation,
    /// The holder; `None` when it has resigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberName>,
    /// The term.
    pub term: Term,
    /// How long a renewal lasts, in milliseconds.
    pub ttl_ms: u64,
}

impl Appointments {
    /// Seats for `pages` pages, with nobody in them.
    pub fn vacant(pages: u32) -> Self {
        let pages = if pages == 0 { Vec::new() } else { vec![Run { count: pages, seat: Seat::default() }] };
        Appointments { pages, ..Appointments::default() }
    }

    /// Who decides in a page.
    pub fn page(&self, number: u32) -> Option<&Seat> {
        let mut first = 0u32;
        for run in &self.pages {
            first = first.checked_add(run.count)?;
            if number < first {
                return Some(&run.seat);
            }
        }
        None
    }

    /// How many pages there are; `None` when there are more than any league has.
    pub fn page_count(&self) -> Option<u32> {
        let count = self.pages.iter().try_fold(0u32, |sum, run| sum.checked_add(run.count))?;
        (count <= MAX_PAGES).then_some(count)
    }

    /// Moves seats to the eligible members as [`plan`] says. Returns how many moved.
    pub fn balance(&mut self, eligible: &BTreeSet<MemberName>) -> usize {
        let pages = self.pages.iter().flat_map(|run| std::iter::repeat_n(run.seat.member.as_ref(), run.count as usize));
        let seats: Vec<Option<&MemberName>> = pages.collect();
        let moves = plan(&seats, eligible);
        if moves.is_empty() {
            return 0;
        }
        self.term = self.term.next();
        let term = self.term;
        let pages = self.pages.iter().flat_map(|run| std::iter::repeat_n(&run.seat, run.count as usize));
        let mut runs: Vec<Run> = Vec::new();
        for (number, seat) in pages.enumerate() {
            let seat = match moves.get(&number) {
                Some(member) => Seat { member: Some(member.clone()), term },
                None => seat.clone(),
            };
            match runs.last_mut() {
                Some(run) if run.seat == seat => run.count += 1,
                _ => runs.push(Run { count: 1, seat }),
            }
        }
        self.pages = runs;
        moves.len()
    }
}

/// Which seats go to whom, so that every seat has an eligible member and no two members differ by more
/// than one seat. A seat moves only when its member is not eligible or has too many; of those who may
/// have one more, the ones that have it already keep it. Nothing moves when nobody is eligible.
pub fn plan(seats: &[Option<&MemberName>], eligible: &BTreeSet<MemberName>) -> BTreeMap<usize, MemberName> {
    if eligible.is_empty() {
        return BTreeMap::new();
    }
    let mut held: BTreeMap<&MemberName, Vec<usize>> = eligible.iter().map(|member| (member, Vec::new())).collect();
    let mut vacant = Vec::new();
    for (number, member) in seats.iter().enumerate() {
        match member.and_then(|member| held.get_mut(member)) {
            Some(seats) => seats.push(number),
            None => vacant.push(number),
        }
    }
    let (share, extra) = (seats.len() / eligible.len(), seats.len() % eligible.len());
    // The one seat more goes to those who hold most, so that the fewest move; by name among equals.
    let mut by_held: Vec<(&MemberName, usize)> = held.iter().map(|(member, seats)| (*member, seats.len())).collect();
    by_held.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let quota: BTreeMap<&MemberName, usize> =
        by_held.iter().enumerate().map(|(rank, (member, _))| (*member, share + usize::from(rank < extra))).collect();
    for (member, seats) in &mut held {
        vacant.extend(seats.split_off(quota[member].min(seats.len())));
    }
    vacant.sort_unstable();
    let room = held.iter().flat_map(|(member, seats)| std::iter::repeat_n(*member, quota[member] - seats.len()));
    vacant.into_iter().zip(room.cloned()).collect()
}

/// By how much two clocks may run apart while a lease lasts, in percent.
const DRIFT_PERCENT: u64 = 2;

/// How long before its end a holder stops, and how long after it a challenger still waits.
fn margin_ms(ttl_ms: u64) -> u64 {
    (ttl_ms / 10).max(1)
}

/// A claim from its holder's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold {
    /// When the last confirmed renewal was sent, on the holder's own clock.
    pub sent_ms: u64,
    /// The term.
    pub term: Term,
    /// How long a renewal lasts.
    pub ttl_ms: u64,
}

impl Hold {
    /// When to renew.
    pub fn renew_at_ms(&self) -> u64 {
        self.sent_ms + self.ttl_ms / 3
    }

    /// When the holder stops unless it has renewed: early.
    pub fn yield_at_ms(&self) -> u64 {
        self.sent_ms + self.ttl_ms - margin_ms(self.ttl_ms)
    }

    /// Whether it holds now.
    pub fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.yield_at_ms()
    }
}

/// A claim from a challenger's side: how long it has been seen without change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Patience {
    seen: Option<(Claim, u64)>,
    since_ms: u64,
}

impl Patience {
    /// Looks at a claim and its holder's beat at `now_ms`, on the challenger's own clock. Returns when
    /// it may be taken over, unless it changes before: now or earlier when nobody holds it.
    pub fn look(&mut self, claim: Option<&Claim>, beat: u64, now_ms: u64) -> u64 {
        let Some(claim) = claim.filter(|claim| claim.member.is_some()) else {
            *self = Patience::default();
            return now_ms;
        };
        if self.seen.as_ref().is_none_or(|(seen, then)| seen != claim || *then != beat) {
            self.seen = Some((claim.clone(), beat));
            self.since_ms = now_ms;
        }
        let ttl = claim.ttl_ms;
        self.since_ms.saturating_add(ttl.saturating_add(ttl.saturating_mul(DRIFT_PERCENT) / 100 + margin_ms(ttl)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: usize) -> MemberName {
        format!("m{number}").parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_plan_is_balanced_and_moves_as_few_as_it_can(
            seats in prop::collection::vec(prop::option::of(0usize..7), 0..80),
            eligible in prop::collection::btree_set(0usize..7, 1..7),
        ) {
            let names: Vec<MemberName> = (0..7).map(name).collect();
            let eligible: BTreeSet<MemberName> = eligible.into_iter().map(name).collect();
            let before: Vec<Option<&MemberName>> = seats.iter().map(|seat| seat.map(|number| &names[number])).collect();
            let moves = plan(&before, &eligible);
            let after: Vec<Option<&MemberName>> =
                before.iter().enumerate().map(|(n, seat)| moves.get(&n).or(*seat)).collect();
            let count = |seats: &[Option<&MemberName>], member| seats.iter().filter(|seat| **seat == Some(member)).count();
            let share = seats.len() / eligible.len();
            for member in &eligible {
                prop_assert!((share..=share + 1).contains(&count(&after, member)));
            }
            prop_assert!(after.iter().all(|seat| seat.is_some_and(|member| eligible.contains(member))));
            // Whoever may have one more is free: the fewest moves keep as many as quotas allow.
            let mut held: Vec<usize> = eligible.iter().map(|member| count(&before, member)).collect();
            held.sort_unstable_by(|a, b| b.cmp(a));
            let extra = seats.len() % eligible.len();
            let kept: usize = held.iter().enumerate().map(|(n, held)| (*held).min(share + usize::from(n < extra))).sum();
            prop_assert_eq!(moves.len(), seats.len() - kept);
            prop_assert!(plan(&after, &eligible).is_empty());
        }
    }

    #[test]
    fn a_silent_members_pages_go_to_the_others_under_a_new_term() {
        let mut appointments = Appointments::vacant(8);
        let all: BTreeSet<MemberName> = (0..3).map(name).collect();
        assert_eq!(appointments.balance(&all), 8);
        let before = appointments.clone();
        assert_eq!(appointments.balance(&all), 0);
        let fewer: BTreeSet<MemberName> = [name(0), name(2)].into();
        assert_eq!(appointments.balance(&fewer), 3);
        for number in 0..8 {
            let (was, is) = (before.page(number).unwrap(), appointments.page(number).unwrap());
            assert_eq!(is.term, if was.member == Some(name(1)) { Term(2) } else { Term(1) });
            assert_eq!(is.member == was.member, is.term == was.term);
        }
        assert_eq!(appointments.page(8), None);
        assert_eq!(appointments.page_count(), Some(8));
        assert_eq!(appointments.balance(&BTreeSet::new()), 0);
    }

    #[test]
    fn a_holder_stops_before_anybody_may_take_over() {
        let claim = Claim { incarnation: Incarnation(1), member: Some(name(1)), term: Term(3), ttl_ms: 5_000 };
        let mut patience = Patience::default();
        // Seen at the earliest possible moment, on clocks that begin elsewhere.
        let may = patience.look(Some(&claim), 7, 1_000);
        let hold = Hold { sent_ms: 0, term: Term(3), ttl_ms: 5_000 };
        assert!(hold.holds(4_499) && !hold.holds(4_500) && hold.renew_at_ms() < 2_000);
        assert_eq!(may, 6_600);
        assert_eq!(patience.look(Some(&claim), 7, 3_000), may);
        assert!(patience.look(Some(&claim), 8, 3_000) > may);
        let resigned = Claim { member: None, ..claim };
        assert_eq!(patience.look(Some(&resigned), 8, 3_500), 3_500);
        assert_eq!(patience.look(None, 0, 4_000), 4_000);
    }
}
