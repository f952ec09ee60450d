//! Barriers: all finish one phase before anyone begins the next.
//!
//! A voter posts in its cell which phase of what (a hash) it has finished. Phase n + 1 opens when every
//! live worker has posted n or more for that hash: live is who is not lost and not suspected by a
//! quorum. That it opened is written in the same compare-and-swap as the post that opened it, and is
//! never taken back: a member that returns finds out how far the others are.

use crate::cell::Cell;
use crate::key::Key;
use hansa_model::{Hash, MemberName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most barriers at a time.
pub const MAX_BARRIERS: usize = 64;

/// How far the phases of a key are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Barrier {
    /// What the phases are of; fixed by the first post.
    pub hash: Hash,
    /// How many have to post; `None`: every live worker. Fixed by the first post.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<u32>,
    /// The highest phase that may be begun.
    pub open: u32,
}

/// Why the next phase of a barrier has not begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Live workers that have not finished the phase, with what they posted last.
    pub on: BTreeMap<MemberName, Option<u32>>,
    /// Those that posted something else under this key.
    pub elsewhere: BTreeSet<MemberName>,
    /// How many more posts it takes.
    pub missing: u32,
}

/// Who keeps phase `open + 1` of this barrier shut; `None` when it may open.
pub fn waiting(
    key: &Key,
    barrier: &Barrier,
    cells: &BTreeMap<&MemberName, &Cell>,
    live: &BTreeSet<MemberName>,
) -> Option<Waiting> {
    let (mut on, mut elsewhere, mut there) = (BTreeMap::new(), BTreeSet::new(), 0);
    for member in live {
        match cells.get(member).and_then(|cell| cell.phases.get(key)) {
            Some(posted) if posted.hash != barrier.hash => {
                elsewhere.insert(member.clone());
            }
            Some(posted) if posted.phase >= barrier.open => there += 1,
            posted => {
                on.insert(member.clone(), posted.map(|posted| posted.phase));
            }
        }
    }
    let needed = barrier.needs.unwrap_or(u32::try_from(live.len()).unwrap_or(u32::MAX));
    // Nobody there is no consent of all.
    let missing = needed.max(1).saturating_sub(there);
    (missing > 0).then_some(Waiting { on, elsewhere, missing })
}

/// Opens what may open, makes barriers that were posted to first, and collects those that no cell
/// names any more.
pub(crate) fn turn(
    barriers: &mut BTreeMap<Key, Barrier>,
    cells: &BTreeMap<&MemberName, &Cell>,
    live: &BTreeSet<MemberName>,
) -> bool {
    let before = barriers.clone();
    let named: BTreeSet<&Key> = cells.values().flat_map(|cell| cell.phases.keys()).collect();
    barriers.retain(|key, _| named.contains(key));
    for (key, barrier) in barriers.iter_mut() {
        while barrier.open < u32::MAX && waiting(key, barrier, cells, live).is_none() {
            barrier.open += 1;
        }
    }
    *barriers != before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Posted;
    use hansa_model::Incarnation;

    #[test]
    fn a_phase_opens_when_every_live_worker_has_posted() {
        let key: Key = "rollout".parse().unwrap();
        let hash = Hash::of_bytes(b"spec");
        let cell = |name: &str, posted: Option<(Hash, u32)>| {
            let mut cell = Cell::new(name.parse().unwrap(), Incarnation(1));
            cell.phases.extend(posted.map(|(hash, phase)| (key.clone(), Posted { hash, phase })));
            cell
        };
        let check = |posts: &[Option<(Hash, u32)>], live: &[&str], needs, open| {
            let cells: Vec<Cell> = ["a", "b", "c"].iter().zip(posts).map(|(name, post)| cell(name, *post)).collect();
            let cells = cells.iter().map(|cell| (&cell.member, cell)).collect();
            let live = live.iter().map(|name| name.parse().unwrap()).collect();
            let mut barriers = BTreeMap::from([(key.clone(), Barrier { hash, needs, open })]);
            let waiting = waiting(&key, &barriers[&key], &cells, &live);
            turn(&mut barriers, &cells, &live);
            (barriers.get(&key).map(|barrier| barrier.open), waiting)
        };
        let all = ["a", "b", "c"];
        let (open, waits) = check(&[Some((hash, 0)), Some((hash, 1)), None], &all, None, 0);
        assert_eq!((open, waits.unwrap().on), (Some(0), [("c".parse().unwrap(), None)].into()));
        assert_eq!(check(&[Some((hash, 0)), Some((hash, 1)), Some((hash, 0))], &all, None, 0).0, Some(1));
        // A lost member is not waited for, and what is open stays open when it returns.
        assert_eq!(check(&[Some((hash, 0)), Some((hash, 1)), None], &all[..2], None, 0).0, Some(1));
        assert_eq!(check(&[Some((hash, 0)), Some((hash, 1)), None], &all, None, 1).0, Some(1));
        // Another hash is not this one.
        let other = Hash::of_bytes(b"other");
        let (open, waits) = check(&[Some((hash, 0)), Some((hash, 0)), Some((other, 9))], &all, None, 0);
        assert_eq!((open, waits.unwrap().elsewhere), (Some(0), ["c".parse().unwrap()].into()));
        assert_eq!(check(&[Some((hash, 3)), Some((hash, 2)), None], &all, Some(2), 0).0, Some(3));
        assert_eq!(check(&[None, None, None], &all, None, 5).0, None);
    }
}
