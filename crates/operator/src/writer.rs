//! One key of the topology server that this member writes: its version as last seen, and the one
//! write that may be under way. What is wanted meanwhile waits and goes with the next write (group
//! commit only while a write is in flight).

use crate::io::TopoRequest;
use bytes::Bytes;
use hansa_ledger::envelope::unpack;
use hansa_ledger::swap::{Settled, settle};
use hansa_ledger::{Envelope, EnvelopeError, OperationId, Swap, Version};
use hansa_model::{Era, LeagueId, MemberName, Revision};

/// A key and what is known of it.
#[derive(Debug)]
pub struct Writer {
    key: String,
    version: Option<Version>,
    envelope: Option<Envelope>,
    flight: Option<Flight>,
    /// The newest state that was read and passed over while a write was under way.
    passed_over: Option<(Era, Revision)>,
    /// The highest revision of an era that is past: later ones go on from there.
    floor: Revision,
    /// The version that was last told of while a write was under way.
    heard: Option<Version>,
}

#[derive(Debug)]
struct Flight {
    operation: OperationId,
    /// What the write was based on: each repetition names it again, whatever was read meanwhile.
    expected: Option<Version>,
    envelope: Envelope,
    value: Bytes,
    attempts: u32,
}

/// Who writes, under what.
#[derive(Clone, Copy, Debug)]
pub struct Pen<'a> {
    /// The league.
    pub league: LeagueId,
    /// The era.
    pub era: Era,
    /// The member.
    pub member: &'a MemberName,
    /// This write's id.
    pub operation: OperationId,
    /// Differs between any two writes.
    pub nonce: u64,
}

impl Writer {
    /// A key of which nothing is known: it does not exist.
    pub fn new(key: String) -> Self {
        Writer { key, version: None, envelope: None, flight: None, passed_over: None, floor: Revision(0), heard: None }
    }

    /// Forgets what was seen, but for how far it had come: a person said that what stands there now
    /// counts. The write under way is given up; what it was to say is judged again on what stands there,
    /// which does no harm should it land after all.
    pub fn begin_anew(&mut self) {
        let seen = [Some(self.next_revision()), self.passed_over.map(|(_, revision)| revision), Some(self.floor)];
        self.floor = seen.into_iter().flatten().max().unwrap_or_default();
        (self.version, self.envelope, self.flight) = (None, None, None);
        (self.passed_over, self.heard) = (None, None);
    }

    /// The envelope last seen.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.envelope.as_ref()
    }

    /// Whether a write is under way.
    pub fn is_busy(&self) -> bool {
        self.flight.is_some()
    }

    /// How often the write under way was sent.
    pub fn attempts(&self) -> u32 {
        self.flight.as_ref().map_or(0, |flight| flight.attempts)
    }

    /// The version last seen.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// The revision last seen; 0 when the key does not exist.
    pub fn revision(&self) -> Revision {
        self.envelope.as_ref().map_or(Revision(0), |envelope| envelope.revision)
    }

    /// The revision that the write under way, or the next one, carries.
    pub fn next_revision(&self) -> Revision {
        self.flight.as_ref().map_or_else(|| self.revision().max(self.floor).next(), |flight| flight.envelope.revision)
    }

    fn known(&self) -> (Era, Revision) {
        self.envelope.as_ref().map_or((Era(0), Revision(0)), |envelope| (envelope.era, envelope.revision))
    }

    /// Takes note of a value that was read. Returns whether it is newer than what was known: reads
    /// may be answered out of order. While a write is under way, its own answer tells what stands
    /// there: the value is passed over.
    pub fn saw(&mut self, version: &Version, envelope: &Envelope) -> bool {
        let seen = (envelope.era, envelope.revision);
        if self.is_busy() {
            self.passed_over = self.passed_over.max(Some(seen));
            return false;
        }
        let newer = seen > self.known();
        if newer {
            self.version = Some(version.clone());
            self.envelope = Some(envelope.clone());
        }
        newer
    }

    /// Whether a value that was read is to be looked into: it is newer than what is known, and no write is
    /// under way.
    pub fn would_take(&self, envelope: &Envelope) -> bool {
        !self.is_busy() && (envelope.era, envelope.revision) > self.known()
    }

    /// Whether a newer state than the one known was read while a write is under way: its answer tells what
    /// stands there.
    pub fn has_passed_over(&self) -> bool {
        self.passed_over > Some(self.known())
    }

    /// Takes note that this version stands there. Returns whether it is to be read: not while a write is
    /// under way, for most likely it is that write, and otherwise its answer tells.
    pub fn hears(&mut self, version: &Version) -> bool {
        if self.is_busy() {
            self.heard = Some(version.clone());
            return false;
        }
        self.version.as_ref() != Some(version)
    }

    /// Whether another state than the one known was told of or passed over during the last write, and is
    /// to be read again. Asked once the write is settled.
    pub fn missed_something(&mut self) -> bool {
        if self.is_busy() {
            return false;
        }
        let heard = self.heard.take().is_some_and(|heard| self.version.as_ref() != Some(&heard));
        self.passed_over.take() > Some(self.known()) || heard
    }

    /// Begins a write of `body` on what was last seen.
    pub fn begin(&mut self, pen: Pen<'_>, body: &[u8]) -> TopoRequest {
        debug_assert!(self.flight.is_none(), "{}: one write at a time", self.key);
        let revision = self.next_revision();
        let mut envelope = match &self.envelope {
            Some(envelope) => envelope.next(pen.nonce, pen.member, pen.operation),
            None => {
                let mut first = Envelope::first(pen.league, pen.era, pen.nonce);
                first.operations.insert(pen.member.clone(), pen.operation);
                first
            }
        };
        // An era is never lowered.
        envelope.era = envelope.era.max(pen.era);
        envelope.revision = revision;
        let value = envelope.seal(body);
        let expected = self.version.clone();
        self.flight = Some(Flight { operation: pen.operation, expected, envelope, value, attempts: 0 });
        self.send()
    }

    /// The write under way as it is sent again; none when nothing is under way.
    pub fn repeated(&mut self) -> Option<TopoRequest> {
        self.is_busy().then(|| self.send())
    }

    /// Sends the write under way (again), as it is.
    fn send(&mut self) -> TopoRequest {
        let flight = self.flight.as_mut().expect("there is a write to send");
        flight.attempts += 1;
        TopoRequest::Write { key: self.key.clone(), expected: flight.expected.clone(), value: flight.value.clone() }
    }

    /// Settles an answer to the write under way; the flight ends unless it has to be repeated.
    ///
    /// # Errors
    /// When what stands at the key is not readable: the flight ends, and nothing may be written.
    pub fn settle(&mut self, member: &MemberName, answer: Swap) -> Result<Settled, EnvelopeError> {
        let flight = self.flight.as_ref().expect("there is a write to settle");
        match settle(member, flight.operation, answer) {
            Ok(Settled::Repeat { reason }) => Ok(Settled::Repeat { reason }),
            Ok(Settled::Committed(version)) => {
                self.version = Some(version.clone());
                self.envelope = self.flight.take().map(|flight| flight.envelope);
                Ok(Settled::Committed(version))
            }
            Ok(Settled::Lost(None)) => {
                // The key is gone from under us (nobody deletes in Hansa): begin anew at the next write.
                self.flight = None;
                self.version = None;
                Ok(Settled::Lost(None))
            }
            other => {
                self.flight = None;
                other
            }
        }
    }

    /// Takes note of the value that a lost or an earlier committed write met, and that was read: what is
    /// taken note of may be written over.
    pub fn adopt(&mut self, version: &Version, envelope: Envelope) {
        self.version = Some(version.clone());
        self.envelope = Some(envelope);
    }

    /// Settles an answer to the write of a key that this member alone writes. What cannot be read there is
    /// written over by the next write: it is this member's own memory, and nobody else keeps it up.
    ///
    /// Its revision goes on above the one that stands there. Where that is unknown, above the clock: no key is
    /// written once in a millisecond, and others would take a lower one for a topology server that was rolled back.
    pub fn settle_own(&mut self, member: &MemberName, answer: Swap, league: Option<LeagueId>, wall_ms: u64) -> Own {
        let standing = match &answer {
            Swap::Mismatch { current } => current.clone(),
            Swap::Committed(_) | Swap::Indeterminate { .. } => None,
        };
        let error = match self.settle(member, answer) {
            Ok(Settled::Repeat { reason }) => return Own::Repeat { reason },
            Ok(Settled::Committed(_)) => return Own::Committed,
            Ok(Settled::Lost(None)) => return Own::Gone,
            Ok(Settled::CommittedBefore(current) | Settled::Lost(Some(current))) => {
                match open(&current.value, league) {
                    Ok((envelope, body)) => {
                        self.adopt(&current.version, envelope);
                        return Own::Found(body);
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if matches!(error, EnvelopeError::ForeignLeague { .. }) {
            return Own::Foreign(error);
        }
        if let Some(standing) = standing {
            match Envelope::open_header(&standing.value) {
                Ok((envelope, _)) => self.envelope = Some(envelope),
                Err(_) => self.floor = self.floor.max(Revision(wall_ms)),
            }
            self.version = Some(standing.version);
        }
        Own::Unreadable(error)
    }
}

/// How a write of a key ended that this member alone writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Own {
    /// Nothing can be concluded: it is sent again as it is.
    Repeat {
        /// What the store said.
        reason: String,
    },
    /// It is stored.
    Committed,
    /// This body stands there: another start's, or that of an earlier attempt.
    Found(Vec<u8>),
    /// What stands there cannot be read, and the next write takes its place.
    Unreadable(EnvelopeError),
    /// What stands there is another league's, and stays.
    Foreign(EnvelopeError),
    /// The key is gone.
    Gone,
}

/// Takes a value of this league apart.
///
/// # Errors
/// When it is no readable envelope, or that of another league.
pub fn open(value: &[u8], league: Option<LeagueId>) -> Result<(Envelope, Vec<u8>), EnvelopeError> {
    let (envelope, packed) = Envelope::open_header(value)?;
    league.map_or(Ok(()), |league| envelope.belongs_to(league))?;
    Ok((envelope, unpack(packed)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_model::{Hash, Incarnation};

    #[test]
    fn a_repetition_names_what_it_was_based_on_whatever_is_read_meanwhile() {
        let member: MemberName = "a".parse().unwrap();
        let league = LeagueId(Hash::of_bytes(b"l"));
        let operation = |sequence| OperationId { incarnation: Incarnation(1), sequence };
        let pen =
            |sequence| Pen { league, era: Era(1), member: &member, operation: operation(sequence), nonce: sequence };
        let mut writer = Writer::new("/v1/pages/1".to_owned());
        let first = writer.begin(pen(1), b"one");
        let TopoRequest::Write { value, expected: None, .. } = &first else { panic!("creates") };
        let (envelope, _) = Envelope::open(value).unwrap();
        // The write has landed, its answer is lost, somebody has written on it, and that is read.
        let later = envelope.next(9, &"b".parse().unwrap(), operation(7));
        assert!(!writer.saw(&Version::new("2"), &later));
        assert_eq!(
            writer.settle(&member, Swap::Indeterminate { reason: "lost".into() }).unwrap(),
            Settled::Repeat { reason: "lost".into() }
        );
        assert_eq!(writer.send(), first);
        assert!(!writer.missed_something());
        assert_eq!(
            writer.settle(&member, Swap::Committed(Version::new("1"))).unwrap(),
            Settled::Committed(Version::new("1"))
        );
        assert!(writer.missed_something());
        assert!(!writer.missed_something());
        assert!(writer.saw(&Version::new("2"), &later));
    }

    #[test]
    fn what_cannot_be_read_of_its_own_is_written_over_above_its_revision() {
        let member: MemberName = "a".parse().unwrap();
        let league = LeagueId(Hash::of_bytes(b"l"));
        let operation = OperationId { incarnation: Incarnation(2), sequence: 1 };
        let standing = Envelope { revision: Revision(40), ..Envelope::first(league, Era(1), 5) };
        let cut = {
            let sealed = standing.seal(&[7; 500]);
            sealed.slice(..sealed.len() - 4)
        };
        let newer = bytes::Bytes::from_static(b"{\"format\":9}\n");
        for (value, revision) in [(cut, Revision(41)), (newer, Revision(1_001))] {
            let mut writer = Writer::new("/v1/members/a/cell".to_owned());
            let pen = Pen { league, era: Era(1), member: &member, operation, nonce: 1 };
            writer.begin(pen, b"one");
            let current = Some(hansa_ledger::Versioned { version: Version::new("7"), value });
            let settled = writer.settle_own(&member, Swap::Mismatch { current }, Some(league), 1_000);
            assert!(matches!(settled, Own::Unreadable(_)), "{settled:?}");
            let TopoRequest::Write { value, expected, .. } = writer.begin(pen, b"one") else { panic!("writes") };
            assert_eq!(expected, Some(Version::new("7")));
            assert_eq!(Envelope::open(&value).unwrap().0.revision, revision);
        }
    }

    #[test]
    fn what_is_another_leagues_is_not_written_over() {
        let member: MemberName = "a".parse().unwrap();
        let (league, other) = (LeagueId(Hash::of_bytes(b"l")), LeagueId(Hash::of_bytes(b"m")));
        let operation = OperationId { incarnation: Incarnation(2), sequence: 1 };
        let mut writer = Writer::new("/v1/members/a/cell".to_owned());
        writer.begin(Pen { league, era: Era(1), member: &member, operation, nonce: 1 }, b"one");
        let value = Envelope::first(other, Era(1), 5).seal(b"two");
        let current = Some(hansa_ledger::Versioned { version: Version::new("7"), value });
        let settled = writer.settle_own(&member, Swap::Mismatch { current }, Some(league), 1_000);
        assert!(matches!(settled, Own::Foreign(_)) && writer.version().is_none(), "{settled:?}");
    }
}
