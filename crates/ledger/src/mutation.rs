//! Changes of a page, as values: judged again on whatever stands there when they are written.
//!
//! A mutation that lost its compare-and-swap is applied to the page that won, so it carries what it
//! was based on and not what it computed; [`apply`] does nothing when its ground is gone.

use crate::cell::Made;
use crate::lives::{self, Departure, HomeObject, Standing};
use crate::page::{Header, Page, Slot};
use crate::record::{FORMAT, Home, Intent, Members, Opened, Placed, PlacedState, Record, Tombstone};
use crate::seal::{Sealed, Wrap};
use hansa_model::{DeletionPolicy, Hash, Incarnation, MemberName, RecordKey, Revision, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One change of one record, wanted by one member.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The record.
    pub key: RecordKey,
    /// The member that writes.
    pub member: MemberName,
    /// What is to change.
    pub change: Change,
}

/// What is to change in a record.
#[derive(Clone, Debug)]
pub enum Change {
    /// A home object was read: it may begin a life, edit, join, or converge.
    Ingest {
        /// The object.
        object: HomeObject,
        /// Its content.
        intent: Intent,
        /// The sealed body, for a Secret.
        sealed: Option<Box<Sealed>>,
        /// The members that its placement computes to; recorded before any of them applies.
        placed: BTreeSet<MemberName>,
        /// The highest revision of this life that a member is known to have: a restored record is
        /// behind it, and its next revision is not.
        reached: Revision,
    },
    /// A home object is being deleted.
    Depart {
        /// The object.
        object: HomeObject,
        /// Its namespace or CRD is being deleted: not by intent.
        accident: bool,
        /// The life that may end with it. What was decided as the going of one home of several must not
        /// end a life because the others have gone meanwhile: an end is asked of the breaker.
        ends: Option<Incarnation>,
        /// What becomes of the outputs when it was the last home.
        policy: DeletionPolicy,
    },
    /// A home in step says what is agreed in its own name: its author's signature does not count any more.
    Vouch {
        /// What is meant.
        of: Made,
        /// The signature that does not count.
        instead_of: Option<String>,
    },
    /// The author of what is agreed, or of its end, says the same once more, for it signs with another key now.
    Resign {
        /// The signatures by the key that it has given up.
        instead_of: BTreeSet<String>,
    },
    /// A home's user says that a life goes on whose end is nobody's word: its signature does not hold.
    Disown {
        /// The life that was to end.
        incarnation: Incarnation,
        /// The signature that does not count.
        instead_of: Option<String>,
    },
    /// A home object is gone without a word (its finalizer was missing or removed by hand).
    Vanished {
        /// The uid of the object that is gone.
        uid: String,
    },
    /// The object is deleted for all, whatever homes it has, on a user's request.
    End {
        /// The life that was meant.
        incarnation: Incarnation,
        /// What becomes of the outputs.
        policy: DeletionPolicy,
    },
    /// These members are given the output, because placement computes to them.
    Place {
        /// What the placement was computed from. Each life counts its revisions anew: a revision alone may be of another.
        of: Made,
        /// The members.
        members: BTreeSet<MemberName>,
    },
    /// These members get a sealed body's key.
    AddWraps {
        /// The digest of the body: another body has another key.
        digest: Hash,
        /// The key, wrapped for each.
        wraps: BTreeMap<MemberName, Wrap>,
    },
    /// These members are to remove their outputs; only by the page's appointee.
    Withdraw {
        /// What was decided on.
        of: Made,
        /// The members.
        members: BTreeSet<MemberName>,
        /// The term under which the appointee decides, and the start of its process.
        under: (Term, Incarnation),
    },
    /// A further wave of this revision is open; only by the page's appointee.
    Open {
        /// What the wave is one of.
        of: Made,
        /// The last wave that is open, counted from 0.
        wave: u32,
        /// The members that had the object when it was decided: whoever was given it since may be in an earlier wave.
        among: BTreeSet<MemberName>,
        /// As of [`Change::Withdraw`].
        under: (Term, Incarnation),
    },
    /// This member's output of this life, or an earlier one, is gone.
    Acknowledge {
        /// The highest life whose output is gone.
        incarnation: Incarnation,
    },
    /// Another member is to become the only home: by a home's own word, which is its consent, or by
    /// that of the new home where the rule allows it. A move to the only home takes one back that is
    /// under way.
    Move {
        /// The life that is meant.
        incarnation: Incarnation,
        /// The new home.
        to: MemberName,
        /// Whether the spec's rule lets the new home take over without consent.
        takeover_allowed: bool,
    },
}

/// Why a mutation changed nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Skipped {
    /// What it wants stands already, or its ground is gone.
    Unneeded,
    /// The object's standing allows no change; it is shown to the user.
    Stands(Standing),
    /// The record is in a format that this release does not understand.
    Opaque,
    /// A higher term stands in the header.
    Fenced {
        /// The term in the header.
        term: Term,
    },
    /// It would end a life, and that was not decided.
    Undecided,
    /// The sealed body is bound to another life than the one that it would stand in: it has to be
    /// sealed again.
    SealedForAnotherLife,
}

/// Applies a mutation to a page that will be written as revision `page_revision`.
///
/// # Errors
/// When nothing changes, with the reason; the page is then untouched.
pub fn apply(page: &mut Page, page_revision: Revision, mutation: &Mutation) -> Result<(), Skipped> {
    let Mutation { key, member, change } = mutation;
    let current = match page.records.get(key) {
        None => None,
        Some(Slot::Known(record)) => Some(Arc::clone(record)),
        Some(Slot::Opaque { .. }) => return Err(Skipped::Opaque),
    };
    if let Change::Ingest { object, intent, sealed, placed, reached } = change {
        let standing = lives::standing(current.as_deref(), member, object);
        let record =
            ingest(current.as_deref(), &standing, page_revision, member, object, intent, sealed, placed, *reached)?;
        page.records.insert(key.clone(), Slot::Known(Arc::new(record)));
        return Ok(());
    }
    let current = current.ok_or(Skipped::Unneeded)?;
    let mut record = Record::clone(&current);
    let changed = match change {
        Change::Ingest { .. } => unreachable!("handled above"),
        Change::Depart { object, accident, ends, policy } => {
            match lives::departure(Some(&record), member, object, *accident) {
                Departure::Nothing | Departure::Done => false,
                Departure::Leave => record.homes.remove(member).is_some(),
                Departure::End if *ends != Some(record.incarnation) => return Err(Skipped::Undecided),
                Departure::End => {
                    record.homes.remove(member);
                    record.tombstone = Some(Tombstone { author: member.clone(), policy: *policy, signature: None });
                    true
                }
            }
        }
        Change::Vouch { of, instead_of } => {
            let says_so = |home: &Home| home.hash == record.intent.hash && home.revision == of.revision;
            let is_meant = Made::from(&record) == *of
                && record.intent.signature == *instead_of
                && record.homes.get(member).is_some_and(says_so);
            if is_meant {
                record.intent.author = member.clone();
                record.intent.signature = None;
            }
            is_meant && record.tombstone.is_none()
        }
        Change::Resign { instead_of } => {
            let stands = |author: &MemberName, signature: &Option<String>| {
                author == member && signature.as_ref().is_some_and(|signature| instead_of.contains(signature))
            };
            let intent = &mut record.intent;
            let of_intent = stands(&intent.author, &intent.signature);
            if of_intent {
                intent.signature = None;
            }
            let end = record.tombstone.as_mut().filter(|end| stands(&end.author, &end.signature));
            let of_end = end.map(|end| end.signature = None).is_some();
            of_intent || of_end
        }
        Change::Disown { incarnation, instead_of } => {
            let is_meant = record.incarnation == *incarnation
                && record.homes.contains_key(member)
                && record.tombstone.as_ref().is_some_and(|tombstone| tombstone.signature == *instead_of);
            if is_meant {
                record.tombstone = None;
            }
            is_meant
        }
        Change::Vanished { uid } => {
            let known = record.homes.get(member).is_some_and(|home| &home.uid == uid);
            known && record.homes.remove(member).is_some()
        }
        Change::End { incarnation, policy } => {
            let ends = record.incarnation == *incarnation && record.tombstone.is_none();
            if ends {
                record.tombstone = Some(Tombstone { author: member.clone(), policy: *policy, signature: None });
            }
            ends
        }
        Change::Place { of, members } => {
            record.tombstone.is_none() && Made::from(&record) == *of && place(&mut record, members)
        }
        Change::AddWraps { digest, wraps } => {
            let alive = record.tombstone.is_none();
            record.sealed.as_mut().is_some_and(|sealed| alive && sealed.digest == *digest && sealed.add_wraps(wraps))
        }
        Change::Withdraw { of, members, under } => {
            let header = decides(page, member, *under)?;
            let changed = record.tombstone.is_none() && Made::from(&record) == *of && withdraw(&mut record, members);
            if changed {
                page.header = header;
            }
            changed
        }
        Change::Open { of, wave, among, under } => {
            let header = decides(page, member, *under)?;
            if !record.placed_members().all(|placed| among.contains(placed)) {
                return Err(Skipped::Undecided);
            }
            let changed = record.tombstone.is_none() && Made::from(&record) == *of && record.open_wave() < *wave;
            if changed {
                record.opened = Some(Box::new(Opened { revision: of.revision, wave: *wave }));
                page.header = header;
            }
            changed
        }
        Change::Acknowledge { incarnation } => acknowledge(&mut record, member, *incarnation),
        Change::Move { incarnation, to, takeover_allowed } => {
            let may =
                record.homes.contains_key(member) || (member == to && (*takeover_allowed || record.is_homeless()));
            let is_only_home = record.homes.len() == 1 && record.homes.contains_key(to);
            let stands = if is_only_home { record.moving.is_none() } else { record.moving.as_ref() == Some(to) };
            let is_meant = record.incarnation == *incarnation && record.tombstone.is_none();
            let changed = may && is_meant && !stands;
            if changed && is_only_home {
                record.moving = None;
            } else if changed && record.homes.contains_key(to) {
                settle_move(&mut record, to);
            } else if changed {
                record.moving = Some(to.clone());
            }
            changed
        }
    };
    if !changed {
        return Err(Skipped::Unneeded);
    }
    if record.is_finished() {
        page.records.remove(key);
    } else {
        page.records.insert(key.clone(), Slot::Known(Arc::new(record)));
    }
    Ok(())
}

/// The page's header under a decision of its appointee.
fn decides(page: &Page, member: &MemberName, (term, start): (Term, Incarnation)) -> Result<Header, Skipped> {
    let header = Header { member: Some(member.clone()), start: Some(start), term };
    if header.may_follow(&page.header) { Ok(header) } else { Err(Skipped::Fenced { term: page.header.term }) }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one mutation, taken apart once")]
fn ingest(
    current: Option<&Record>,
    standing: &Standing,
    page_revision: Revision,
    member: &MemberName,
    object: &HomeObject,
    intent: &Intent,
    sealed: &Option<Box<Sealed>>,
    placed: &BTreeSet<MemberName>,
    reached: Revision,
) -> Result<Record, Skipped> {
    let life = |record: Option<&Record>| object.life(record, page_revision);
    let reached = |record: &Record| {
        let later = object.later.as_ref().filter(|made| made.incarnation == record.incarnation);
        let later = later.map(|made| made.revision);
        reached.max(object.stamp_in(record.incarnation).max(later).unwrap_or_default())
    };
    let bound_to = |incarnation: Incarnation| match sealed {
        Some(sealed) if sealed.incarnation != incarnation => Err(Skipped::SealedForAnotherLife),
        _ => Ok(sealed.clone()),
    };
    let begin = |debts: Option<&Record>| {
        let incarnation = life(debts);
        let mut record = Record {
            format: FORMAT,
            incarnation,
            revision: Revision(1),
            intent: intent.clone(),
            homes: std::iter::once((member.clone(), lives::home_entry(object, Revision(1)))).collect(),
            moving: None,
            former: Default::default(),
            placed: debts.map(owed).unwrap_or_default(),
            tombstone: None,
            opened: None,
            sealed: bound_to(incarnation)?,
        };
        place(&mut record, placed);
        Ok(record)
    };
    match (standing, current) {
        (Standing::Born, _) => begin(None),
        (Standing::Reborn, Some(current)) => begin(Some(current)),
        (Standing::Edited | Standing::Taken, Some(current)) => {
            let mut record = going_on(current, life(Some(current)));
            record.revision = current.revision.max(reached(&record)).next();
            record.opened = None;
            record.intent = intent.clone();
            record.sealed = bound_to(record.incarnation)?;
            if let (Some(sealed), Some(before)) = (&mut record.sealed, &current.sealed)
                && sealed.has_the_body_of(before)
            {
                // Wraps that others added since this one was read.
                let mut wraps = before.wraps.clone();
                wraps.append(&mut sealed.wraps);
                sealed.wraps = wraps;
            }
            record.homes.insert(member.clone(), lives::home_entry(object, record.revision));
            if *standing == Standing::Taken {
                settle_move(&mut record, member);
            }
            place(&mut record, placed);
            Ok(record)
        }
        (Standing::Converged, Some(current)) => {
            let mut record = going_on(current, life(Some(current)));
            if reached(&record) > current.revision || record.incarnation != current.incarnation {
                // What a restored record lost is passed. Nobody has said this revision: this home does.
                record.revision = current.revision.max(reached(&record)).next();
                (record.intent.author, record.intent.signature) = (member.clone(), None);
                record.sealed = bound_to(record.incarnation)?;
                place(&mut record, placed);
            }
            record.homes.insert(member.clone(), lives::home_entry(object, record.revision));
            record.former.remove(member);
            if record.moving.as_ref() == Some(member) {
                settle_move(&mut record, member);
            }
            Ok(record)
        }
        (Standing::InStep, _) => Err(Skipped::Unneeded),
        _ => Err(Skipped::Stands(standing.clone())),
    }
}

/// A record in the life that its home was last agreed in, if it was restored to an earlier one.
fn going_on(record: &Record, life: Incarnation) -> Record {
    let of_life = |placed: &Placed| if placed.incarnation == record.incarnation { life } else { placed.incarnation };
    let placed = record
        .placed
        .iter()
        .map(|(member, placed)| (member.clone(), Placed { incarnation: of_life(placed), ..placed.clone() }));
    Record { incarnation: life, placed: placed.collect(), ..record.clone() }
}

/// Makes a member the only home; the copies of the others stay behind and count no more.
fn settle_move(record: &mut Record, to: &MemberName) {
    record.moving = None;
    record.former.remove(to);
    for (member, home) in std::mem::take(&mut record.homes) {
        if &member == to {
            record.homes.insert(member, home);
        } else {
            record.former.insert(member, home.uid);
        }
    }
}

/// What the members still owe of a life that ended: carried into the next one as withdrawals.
fn owed(record: &Record) -> Members<Placed> {
    let owes = record.placed.iter().filter(|(_, placed)| placed.state != PlacedState::Gone);
    owes.map(|(member, placed)| {
        (member.clone(), Placed { state: PlacedState::Withdrawing, incarnation: placed.incarnation })
    })
    .collect()
}

/// A member that still owes an earlier life replaces that output by the new one, uid by uid: its
/// debt is paid by the applying itself (see the operator's replacement of a foreign incarnation).
fn place(record: &mut Record, members: &BTreeSet<MemberName>) -> bool {
    let mut changed = false;
    for member in members {
        let placed = Placed { state: PlacedState::Placed, incarnation: record.incarnation };
        if record.placed.get(member) != Some(&placed) {
            record.placed.insert(member.clone(), placed);
            changed = true;
        }
    }
    changed
}

fn withdraw(record: &mut Record, members: &BTreeSet<MemberName>) -> bool {
    let mut changed = false;
    for member in members {
        if let Some(placed) = record.placed.get_mut(member)
            && placed.state == PlacedState::Placed
        {
            placed.state = PlacedState::Withdrawing;
            changed = true;
        }
    }
    changed
}

fn acknowledge(record: &mut Record, member: &MemberName, incarnation: Incarnation) -> bool {
    let tombstoned = record.tombstone.is_some();
    match record.placed.get_mut(member) {
        Some(placed)
            if placed.incarnation <= incarnation
                && placed.state != PlacedState::Gone
                && (tombstoned || placed.state == PlacedState::Withdrawing) =>
        {
            placed.state = PlacedState::Gone;
            true
        }
        _ => false,
    }
}
