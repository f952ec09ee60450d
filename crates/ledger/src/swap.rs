//! The compare-and-swap machine: how one write is settled whatever the store answers.
//!
//! "Not committed" may be concluded only after the expected version has been consumed. A write whose
//! answer was lost is therefore repeated as it was: same bytes, same expected version, same
//! operation id. If the repetition commits, the version is consumed and a late first copy can only
//! mismatch; if it mismatches, what stands there either includes the operation, and the write was
//! committed, or does not, and never will.

use crate::envelope::{Envelope, EnvelopeError, OperationId};
use crate::store::{Swap, Version, Versioned};
use hansa_model::MemberName;

/// What is known of a write after an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settled {
    /// It is stored, at this version.
    Committed(Version),
    /// It was stored by an earlier attempt; this stands there now, maybe with later writes on it.
    CommittedBefore(Versioned),
    /// It is not stored and never will be; this stands there now.
    Lost(Option<Versioned>),
    /// Nothing can be concluded: repeat the same bytes at the same expected version.
    Repeat {
        /// What the store said.
        reason: String,
    },
}

/// Concludes from one answer to a write by `writer` under `operation`.
///
/// # Errors
/// When the value that stands there is not a readable envelope: nothing may be concluded from it,
/// and nothing be written over it.
pub fn settle(writer: &MemberName, operation: OperationId, answer: Swap) -> Result<Settled, EnvelopeError> {
    Ok(match answer {
        Swap::Committed(version) => Settled::Committed(version),
        Swap::Indeterminate { reason } => Settled::Repeat { reason },
        Swap::Mismatch { current: None } => Settled::Lost(None),
        Swap::Mismatch { current: Some(current) } => {
            let (envelope, _) = Envelope::open_header(&current.value)?;
            if envelope.includes(writer, operation) {
                Settled::CommittedBefore(current)
            } else {
                Settled::Lost(Some(current))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hansa_model::{Era, Hash, Incarnation, LeagueId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A register that may lose answers and deliver writes late.
    struct Register {
        stored: Option<(u64, Bytes)>,
        late: Vec<(Option<u64>, Bytes)>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Answered,
        AnswerLost,
        Late,
        Dropped,
    }

    impl Register {
        fn write(&mut self, expected: Option<u64>, value: Bytes) -> Result<u64, Option<Versioned>> {
            if self.stored.as_ref().map(|(version, _)| *version) != expected {
                return Err(self
                    .stored
                    .clone()
                    .map(|(version, value)| Versioned { version: Version::new(version.to_string()), value }));
            }
            let version = expected.unwrap_or(0) + 1;
            self.stored = Some((version, value));
            Ok(version)
        }

        fn swap(&mut self, expected: Option<u64>, value: Bytes, fate: Fate) -> Swap {
            let lost = || Swap::Indeterminate { reason: "connection reset".into() };
            match fate {
                Fate::Answered => match self.write(expected, value) {
                    Ok(version) => Swap::Committed(Version::new(version.to_string())),
                    Err(current) => Swap::Mismatch { current },
                },
                Fate::AnswerLost => {
                    let _ = self.write(expected, value);
                    lost()
                }
                Fate::Late => {
                    self.late.push((expected, value));
                    lost()
                }
                Fate::Dropped => lost(),
            }
        }

        fn deliver_late(&mut self) {
            for (expected, value) in std::mem::take(&mut self.late) {
                let _ = self.write(expected, value);
            }
        }
    }

    fn fate() -> impl Strategy<Value = (usize, Fate, bool)> {
        let fate = prop_oneof![Just(Fate::Answered), Just(Fate::AnswerLost), Just(Fate::Late), Just(Fate::Dropped)];
        (0usize..3, fate, any::<bool>())
    }

    proptest! {
        // Three writers add entries to one value under every mix of lost, late and dropped writes:
        // each entry is applied exactly once, and no writer concludes wrongly.
        #[test]
        fn every_concluded_write_is_applied_exactly_once(script in prop::collection::vec(fate(), 1..80)) {
            let league = LeagueId(Hash::of_bytes(b"l"));
            let names: Vec<MemberName> = ["a", "b", "c"].iter().map(|name| name.parse().unwrap()).collect();
            let mut register = Register { stored: None, late: Vec::new() };
            // Per writer: its next sequence number and the write it has not settled yet.
            let mut sequence = [0u64; 3];
            let mut open: [Option<(Option<u64>, Bytes)>; 3] = [None, None, None];
            let mut concluded: BTreeMap<(usize, u64), bool> = BTreeMap::new();
            let mut nonce = 0;
            let rest = (0..3).flat_map(|writer| [(writer, Fate::Answered, true), (writer, Fate::Answered, true)]);
            for (writer, fate, deliver) in script.into_iter().chain(rest) {
                let operation = |sequence| OperationId { incarnation: Incarnation(1), sequence };
                let (expected, value) = open[writer].clone().unwrap_or_else(|| {
                    sequence[writer] += 1;
                    nonce += 1;
                    let (expected, envelope, mut body) = match &register.stored {
                        None => (None, Envelope::first(league, Era(1), nonce), Vec::new()),
                        Some((version, value)) => {
                            let (envelope, body) = Envelope::open(value).unwrap();
                            (Some(*version), envelope, body)
                        }
                    };
                    body.extend_from_slice(&[writer as u8, sequence[writer] as u8]);
                    let envelope = envelope.next(nonce, &names[writer], operation(sequence[writer]));
                    (expected, envelope.seal(&body))
                });
                let answer = register.swap(expected, value.clone(), fate);
                match settle(&names[writer], operation(sequence[writer]), answer).unwrap() {
                    Settled::Committed(_) | Settled::CommittedBefore(_) => {
                        concluded.insert((writer, sequence[writer]), true);
                        open[writer] = None;
                    }
                    Settled::Lost(_) => {
                        concluded.insert((writer, sequence[writer]), false);
                        open[writer] = None;
                    }
                    Settled::Repeat { .. } => open[writer] = Some((expected, value)),
                }
                if deliver {
                    register.deliver_late();
                }
            }
            register.deliver_late();
            let body = register.stored.map(|(_, value)| Envelope::open(&value).unwrap().1).unwrap_or_default();
            for ((writer, sequence), committed) in concluded {
                let times = body.chunks(2).filter(|entry| *entry == [writer as u8, sequence as u8]).count();
                prop_assert_eq!(times, usize::from(committed), "writer {} operation {}", writer, sequence);
            }
        }
    }
}
