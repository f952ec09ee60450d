//! The lives of a federated object: what an observed home object means for its record.
//!
//! [`standing`] is the judgement, a pure function of the record, the member, and the object as a
//! consistent read showed it. Hansa never writes a user's spec, so an edit is told from staleness by
//! what the home last ingested: the entry in `homes`, and the stamp on the object itself.

use crate::cell::Made;
use crate::record::{Home, PlacedState, Record};
use hansa_model::{Hash, Incarnation, MemberName, Revision};

/// A `Federated<Kind>` object as its member's API server holds it, reduced to what the judgement needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeObject {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: u64,
    /// The hash of the canonical spec.
    pub hash: Hash,
    /// The revision in `status.agreed`, when the object was stamped before.
    pub stamp: Option<Revision>,
    /// The life of which that is a revision.
    pub stamp_life: Option<Incarnation>,
    /// The latest that a member says its output was made from, where that is later than a record that was
    /// restored.
    pub later: Option<Box<Made>>,
    /// The highest revision that this member's status cell remembers having stamped on this uid.
    pub remembered_stamp: Option<Revision>,
    /// The agreed revision that the object takes the home over from, by the annotation
    /// `hansa.dev/take-home`: it counts while that revision stands, and not for later ones.
    pub take_home: Option<Revision>,
    /// Whether Hansa made it, for a move of the home to its member, and no user has written its content
    /// since.
    pub unwritten: bool,
    /// Whether a takeover is allowed: by the spec's rule, or by the old homes' consent.
    pub takeover_allowed: bool,
}

impl HomeObject {
    /// The revision of this life that it was last agreed on as. Those of other lives are counted anew.
    pub fn stamp_in(&self, life: Incarnation) -> Option<Revision> {
        self.stamp.filter(|_| self.stamp_life == Some(life))
    }

    /// The life in which this object is agreed on next: the record's, or a new one when that has ended or
    /// there is none.
    ///
    /// A page's revision rises with every write of the page for ever, so a life that begins with it can never
    /// be taken for an earlier one, even when the earlier record is long gone. Only a topology server that was
    /// restored is behind what its members saw. The life that the object was last agreed in, or that outputs
    /// were made for, then goes on; or it was an earlier one of those that begin now.
    pub fn life(&self, record: Option<&Record>, page_revision: Revision) -> Incarnation {
        let known = record
            .map(|record| record.incarnation)
            .max(self.stamp_life)
            .max(self.later.as_ref().map(|made| made.incarnation));
        match record {
            Some(record) if record.tombstone.is_none() => record.incarnation.max(known.unwrap_or_default()),
            _ => Incarnation(page_revision.0.max(known.map_or(0, |life| life.next().0))),
        }
    }
}

/// Why an object is frozen: shown to its users, who have to say what is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Freeze {
    /// The object's uid is not the one that was ingested, and its content differs.
    Recreated,
    /// The object's generation or stamp is behind what was ingested: restored from a backup.
    Restored,
    /// The object was made for a move of the home, and the life that was to move has ended: it is no
    /// user's word.
    Unwritten,
    /// The object was agreed on before, at a revision that the topology server does not know.
    LedgerBehind {
        /// The revision on the stamp, or the latest that outputs were made from.
        stamp: Revision,
    },
}

/// What an observed home object means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// There is no such record: the object begins a life.
    Born,
    /// The name had an earlier life that ended: the object begins another.
    Reborn,
    /// The object was deleted elsewhere, and this is the copy that was deleted: it goes too.
    Deleted,
    /// The home's content is the agreed one and the record says so: nothing to write.
    InStep,
    /// The content is the agreed one, and the record is to say so: a new home with equal content,
    /// or one that converged.
    Converged,
    /// The home was in step and its content changed: a new revision.
    Edited,
    /// A user asked that this member become the home, with this content.
    Taken,
    /// Another home was edited since, this one not yet: normal, and shown.
    Differs,
    /// The content is neither the agreed one nor based on it: the agreed version stands.
    Conflicts,
    /// The home was moved to another member; this copy stayed behind and counts no more.
    Former,
    /// The home is to move here, and what stands here is another content: its user has to say which of
    /// the two counts.
    Awaited,
    /// The object may be stale: nothing is concluded from it until a user says so.
    Frozen(Freeze),
}

/// Judges an object that is not being deleted.
pub fn standing(record: Option<&Record>, member: &MemberName, object: &HomeObject) -> Standing {
    // Judged on whatever stands when it is written: what was asked for about an earlier revision is no
    // word about this one.
    let take_home = object.take_home == Some(record.map_or(Revision(0), |record| record.revision));
    let Some(record) = record else {
        return match object.stamp.max(object.remembered_stamp) {
            Some(stamp) if !take_home => Standing::Frozen(Freeze::LedgerBehind { stamp }),
            None if object.unwritten && !take_home => Standing::Frozen(Freeze::Unwritten),
            _ => Standing::Born,
        };
    };
    let home = record.homes.get(member);
    if record.tombstone.is_some() {
        return match home {
            Some(home) if home.uid == object.uid => Standing::Deleted,
            _ if object.stamp.is_some() && !take_home => Standing::Frozen(Freeze::Restored),
            // It differed when the home was to move here, and its user was asked: the end was the answer.
            _ if record.moving.as_ref() == Some(member) && !take_home => Standing::Former,
            _ if object.unwritten && !take_home => Standing::Frozen(Freeze::Unwritten),
            _ => Standing::Reborn,
        };
    }
    let agreed = object.hash == record.intent.hash;
    let taken = take_home && may_take_home(record, member, object.takeover_allowed);
    let Some(home) = home else {
        let awaited = record.moving.as_ref() == Some(member);
        return match () {
            () if !take_home && !awaited && record.former.get(member) == Some(&object.uid) => Standing::Former,
            () if agreed => Standing::Converged,
            () if taken => Standing::Taken,
            () if awaited => Standing::Awaited,
            () if object.stamp.is_some() => Standing::Frozen(Freeze::Restored),
            () => Standing::Conflicts,
        };
    };
    if agreed {
        let current = home.revision == record.revision
            && home.uid == object.uid
            && home.hash == object.hash
            && home.generation <= object.generation
            // A record that is behind its home was restored: it passes what was lost of it.
            && object.stamp_life.is_none_or(|life| life <= record.incarnation)
            // What is later in a member was a home's word, too: it goes by a user's.
            && !(take_home && object.later.as_ref().is_some_and(|made| **made > Made::from(record)))
            && object.stamp_in(record.incarnation).is_none_or(|stamp| stamp <= record.revision);
        return if current { Standing::InStep } else { Standing::Converged };
    }
    if let Some(stamp) = object.stamp
        && (object.stamp_life.unwrap_or(record.incarnation), stamp) > (record.incarnation, record.revision)
    {
        return if taken { Standing::Taken } else { Standing::Frozen(Freeze::LedgerBehind { stamp }) };
    }
    if home.uid != object.uid {
        return if taken { Standing::Taken } else { Standing::Frozen(Freeze::Recreated) };
    }
    if home.generation > object.generation || object.stamp < object.remembered_stamp {
        return if taken { Standing::Taken } else { Standing::Frozen(Freeze::Restored) };
    }
    if object.hash == home.hash {
        return if taken { Standing::Taken } else { Standing::Differs };
    }
    // Outputs were made from a word that the record does not know: whether this content is older or newer than
    // that is its user's to say.
    let behind = object.later.as_ref().filter(|made| ***made > Made::from(record));
    match (behind, home.revision == record.revision) {
        (None, true) => Standing::Edited,
        _ if taken => Standing::Taken,
        (Some(made), true) => Standing::Frozen(Freeze::LedgerBehind { stamp: made.revision }),
        (_, false) => Standing::Conflicts,
    }
}

/// Whether a user's word in a member (`take-home`) lets the content there count, where `takeover_allowed` is what
/// the spec and the state of the homes allow anybody.
pub fn may_take_home(record: &Record, member: &MemberName, takeover_allowed: bool) -> bool {
    let may = match record.homes.contains_key(member) {
        // What has ended was the last word of its homes.
        _ if record.tombstone.is_some() => true,
        // The only home may always speak for itself again: nobody else's word is taken.
        true => record.homes.len() == 1,
        // A move here is the old homes' word that it may.
        false => record.is_homeless() || record.moving.as_ref() == Some(member),
    };
    may || takeover_allowed
}

/// What an object that is being deleted in one of its homes means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// Nothing to write: the record does not name this object as a home. Its finalizer may go.
    Nothing,
    /// The home goes, the intent stays: other homes keep it, or the deletion was not meant for it.
    Leave,
    /// The last home goes by intent: a tombstone is written.
    End,
    /// The tombstone or departure stands already. Its finalizer may go.
    Done,
}

/// Judges an object that is being deleted.
///
/// `accident`: a consistent read showed the namespace or the CRD itself being deleted, so the object
/// goes with it and not by intent. `agreed_to`: what the object held was the agreed content, or an
/// edit of it; a frozen, conflicting or stale copy cannot end the object for all.
pub fn departure(record: Option<&Record>, member: &MemberName, object: &HomeObject, accident: bool) -> Departure {
    let Some(record) = record else {
        return Departure::Nothing;
    };
    let Some(home) = record.homes.get(member) else {
        return if record.tombstone.is_some() { Departure::Done } else { Departure::Nothing };
    };
    if home.uid != object.uid {
        return Departure::Nothing;
    }
    if record.tombstone.is_some() || accident || record.homes.len() > 1 {
        return Departure::Leave;
    }
    match standing(Some(record), member, object) {
        // A restored copy is stale input: its deletion is as doubtful as its content.
        Standing::Frozen(_) => Departure::Leave,
        _ => Departure::End,
    }
}

/// What a member is to do about its output of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// Nothing: the record does not name it.
    None,
    /// Have the output of this life.
    Keep,
    /// Remove the output, and say so.
    Remove,
    /// Said already: the output is gone.
    Done,
}

/// The recorded duty of a member; computed from the record alone, never from absence.
pub fn duty(record: &Record, member: &MemberName) -> Duty {
    match record.placed.get(member).map(|placed| placed.state) {
        None => Duty::None,
        Some(PlacedState::Gone) => Duty::Done,
        Some(PlacedState::Withdrawing) => Duty::Remove,
        Some(PlacedState::Placed) if record.tombstone.is_some() => Duty::Remove,
        Some(PlacedState::Placed) => Duty::Keep,
    }
}

/// The entry that a home gets when its object is ingested at a revision.
pub fn home_entry(object: &HomeObject, revision: Revision) -> Home {
    Home { uid: object.uid.clone(), generation: object.generation, hash: object.hash, revision }
}
