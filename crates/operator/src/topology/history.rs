//! Whether what stands at a key may follow what was seen there.
//!
//! A store that was rolled back (an etcd snapshot, a SQLite file out of a backup, a disk that went
//! back) shows an earlier state than one that was seen; when others have written on it since, its
//! numbers may even be the same or higher. Three things in the envelope tell: era and revision, which
//! only rise; the nonce, which differs between any two writes; and the last operation of every writer,
//! of which no later state has less.
//!
//! What cannot be noticed so: a state that nobody who runs has seen. An operator's memory of a key goes
//! with its process, so one that starts on a store that was rolled back while it was stopped takes
//! what it finds for what is agreed, without freezing as a whole. What is ahead of it all the same shows
//! object by object: the stamps of its homes (`status.agreed`), and the lives and revisions on its outputs,
//! which ask; and the notes that a voter keeps in its own cluster tell how far the control document was.
//! What is in none of them (a page's header, a removal that was decided and taken back, since what the
//! notes are of) does not show.

use hansa_ledger::Envelope;
use std::fmt;

/// Why what stands there is of another history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Breach {
    /// It is an earlier state.
    RolledBack,
    /// It bears the number that was seen, and is another state.
    Forked,
    /// It bears a later number, and lacks an operation that was seen.
    Lacks {
        /// Whose.
        writer: String,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::RolledBack => f.write_str("rolled back"),
            Breach::Forked => f.write_str("forked, with another value under the same revision"),
            Breach::Lacks { writer } => write!(f, "forked, without the last write of {writer} that was seen"),
        }
    }
}

/// Judges `found`, given that `known` was seen at the same key before the read began that showed
/// `found`. Whatever a higher era brings, a person brought it.
pub(crate) fn breach(known: &Envelope, found: &Envelope) -> Option<Breach> {
    if found.era > known.era {
        return None;
    }
    let (seen, shown) = ((known.era, known.revision), (found.era, found.revision));
    if shown < seen {
        return Some(Breach::RolledBack);
    }
    if shown == seen {
        return (found.nonce != known.nonce).then_some(Breach::Forked);
    }
    // Of another start of the same member nothing can be said: its clock may have gone back.
    let lacks = known.operations.iter().find(|(writer, operation)| match found.operations.get(*writer) {
        None => true,
        Some(later) => later.incarnation == operation.incarnation && later.sequence < operation.sequence,
    });
    lacks.map(|(writer, _)| Breach::Lacks { writer: writer.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_ledger::OperationId;
    use hansa_model::{Era, Hash, Incarnation, LeagueId, Revision};

    fn at(era: u64, revision: u64, nonce: u64) -> Envelope {
        let first = Envelope::first(LeagueId(Hash::of_bytes(b"league")), Era(era), nonce);
        Envelope { revision: Revision(revision), ..first }
    }

    fn by(envelope: Envelope, writer: &str, incarnation: u64, sequence: u64) -> Envelope {
        let operation = OperationId { incarnation: Incarnation(incarnation), sequence };
        let mut next = envelope;
        next.operations.insert(writer.parse().unwrap(), operation);
        next
    }

    #[test]
    fn an_earlier_state_is_a_rollback_and_another_one_of_the_same_number_a_fork() {
        let known = at(2, 7, 70);
        assert_eq!(breach(&known, &known), None);
        assert_eq!(breach(&known, &at(2, 8, 80)), None);
        assert_eq!(breach(&known, &at(2, 6, 60)), Some(Breach::RolledBack));
        assert_eq!(breach(&known, &at(1, 9, 90)), Some(Breach::RolledBack));
        assert_eq!(breach(&known, &at(2, 7, 71)), Some(Breach::Forked));
    }

    #[test]
    fn a_later_state_has_every_operation_that_was_seen() {
        let known = by(by(at(1, 7, 70), "a", 3, 12), "b", 5, 2);
        let found = |a: (u64, u64), b: (u64, u64)| by(by(at(1, 9, 90), "a", a.0, a.1), "b", b.0, b.1);
        assert_eq!(breach(&known, &found((3, 12), (5, 3))), None);
        // Another start of the same member counts anew, whatever its clock says.
        assert_eq!(breach(&known, &found((2, 1), (5, 2))), None);
        assert_eq!(breach(&known, &found((3, 11), (5, 3))), Some(Breach::Lacks { writer: "a".to_owned() }));
        assert_eq!(breach(&known, &by(at(1, 9, 90), "a", 3, 12)), Some(Breach::Lacks { writer: "b".to_owned() }));
    }

    #[test]
    fn a_person_may_go_back_in_a_higher_era() {
        let known = by(at(1, 7, 70), "a", 3, 12);
        assert_eq!(breach(&known, &at(2, 1, 10)), None);
    }
}
