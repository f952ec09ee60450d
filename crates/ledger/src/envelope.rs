//! The envelope around every value in the topology server.
//!
//! One line of JSON, readable with any tool, then the body as one zstd frame. The header says whose
//! value it is (league), after which restore it was written (era), how often it was (revision), and
//! carries a nonce, because some stores name versions by content and A→B→A would look unchanged.
//! The last operation id of every writer stands in it, so that a writer whose answer was lost can
//! tell whether its write is in what stands there now.

use bytes::Bytes;
use hansa_model::{Era, Incarnation, LeagueId, MAX_COUNT, MemberName, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;

/// The format this release writes; it reads this one only.
pub const FORMAT: u32 = 1;

/// A body is refused beyond this size when it is unpacked: a hostile or broken value must not
/// exhaust an operator's memory. Pages stay under 1 MiB compressed.
pub const MAX_BODY: u64 = 64 << 20;

/// A frame that asks for a larger window is refused: a few bytes could claim all of [`MAX_BODY`] for it. 8 MiB is what
/// RFC 8878 (3.1.1.1.2) asks every decoder to support; Hansa's own frames need half of one.
const MAX_WINDOW_LOG: u32 = 23;

const COMPRESSION_LEVEL: i32 = 1;

/// One write by one process: its incarnation and its own sequence number, in that order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct OperationId {
    /// The start of the process that wrote.
    pub incarnation: Incarnation,
    /// Rises with every write of that process.
    pub sequence: u64,
}

/// What stands around a body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The envelope's own format.
    pub format: u32,
    /// The league that the value belongs to.
    pub league: LeagueId,
    /// Raised only by a person.
    pub era: Era,
    /// Rises by one with every write of this key.
    pub revision: Revision,
    /// Differs between any two writes.
    pub nonce: u64,
    /// The last operation of every writer of this key.
    #[serde(default)]
    pub operations: BTreeMap<MemberName, OperationId>,
}

/// Bytes that are not a value of this league in this format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// No header line, or one that is not an envelope's JSON.
    #[error("the value has no readable envelope ({0}): it was not written by Hansa, or only half of it is there")]
    Header(String),
    /// A format of a newer release.
    #[error("the envelope has format {0}, this release reads format {FORMAT}: run a newer operator")]
    Format(u32),
    /// The value of another league under the same prefix.
    #[error(
        "the value belongs to league {found}, this operator to league {expected}: give each league a topology server or prefix of its own"
    )]
    ForeignLeague {
        /// The league in the envelope.
        found: LeagueId,
        /// The league of the reader.
        expected: LeagueId,
    },
    /// The body does not unpack.
    #[error("the body does not unpack ({0}): the value is damaged")]
    Body(String),
    /// The body is larger than any value Hansa writes.
    #[error("the body unpacks to more than {MAX_BODY} bytes: Hansa writes no such value")]
    TooLarge,
}

impl Envelope {
    /// The envelope of the first value of a key.
    pub fn first(league: LeagueId, era: Era, nonce: u64) -> Self {
        Envelope { format: FORMAT, league, era, revision: Revision(1), nonce, operations: BTreeMap::new() }
    }

    /// The envelope of the write after this one.
    #[must_use]
    pub fn next(&self, nonce: u64, writer: &MemberName, operation: OperationId) -> Self {
        let mut next = self.clone();
        next.revision = self.revision.next();
        next.nonce = nonce;
        next.operations.insert(writer.clone(), operation);
        next
    }

    /// Puts a body into this envelope.
    pub fn seal(&self, body: &[u8]) -> Bytes {
        self.around(&pack(body))
    }

    /// Puts a packed body into this envelope, as [`Envelope::open_header`] left it.
    pub fn around(&self, packed: &[u8]) -> Bytes {
        let mut out = serde_json::to_vec(self).expect("an envelope always encodes into memory");
        out.push(b'\n');
        out.extend_from_slice(packed);
        out.into()
    }

    /// Takes a value apart.
    ///
    /// # Errors
    /// When the bytes are no envelope of this format, or the body is damaged or too large.
    pub fn open(value: &[u8]) -> Result<(Envelope, Vec<u8>), EnvelopeError> {
        let (envelope, packed) = Self::open_header(value)?;
        Ok((envelope, unpack(packed)?))
    }

    /// Reads the header alone, and returns the packed body beside it.
    ///
    /// # Errors
    /// When there is no readable header of this format.
    pub fn open_header(value: &[u8]) -> Result<(Envelope, &[u8]), EnvelopeError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let end = value
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| EnvelopeError::Header("no header line".into()))?;
        let header = &value[..end];
        let format: Format = serde_json::from_slice(header).map_err(|e| EnvelopeError::Header(e.to_string()))?;
        if format.format != FORMAT {
            return Err(EnvelopeError::Format(format.format));
        }
        let envelope: Envelope = serde_json::from_slice(header).map_err(|e| EnvelopeError::Header(e.to_string()))?;
        let counters = [("era", envelope.era.0), ("revision", envelope.revision.0)];
        if let Some((field, found)) = counters.into_iter().find(|(_, found)| *found > MAX_COUNT) {
            return Err(EnvelopeError::Header(format!("{field} is {found}: no league counts that far")));
        }
        Ok((envelope, &value[end + 1..]))
    }

    /// Refuses the value of another league.
    ///
    /// # Errors
    /// When the envelope names another league than `expected`.
    pub fn belongs_to(&self, expected: LeagueId) -> Result<(), EnvelopeError> {
        if self.league == expected {
            Ok(())
        } else {
            Err(EnvelopeError::ForeignLeague { found: self.league, expected })
        }
    }

    /// Whether this write of that writer, or a later one of the same process, is in this value.
    ///
    /// A write by another start of the same member says nothing: a paused twin's write may have been
    /// lost before the new process wrote. It counts as not included, and what is judged again on the
    /// current value does no harm when it was committed after all.
    pub fn includes(&self, writer: &MemberName, operation: OperationId) -> bool {
        self.operations
            .get(writer)
            .is_some_and(|last| last.incarnation == operation.incarnation && last.sequence >= operation.sequence)
    }
}

/// Packs bytes as bodies are packed.
pub fn pack(body: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(body, COMPRESSION_LEVEL).expect("compressing in memory needs no I/O")
}

/// Unpacks bytes.
///
/// # Errors
/// When they are damaged, or unpack to more than [`MAX_BODY`].
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let damaged = |error: std::io::Error| EnvelopeError::Body(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(damaged)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(damaged)?;
    let mut body = Vec::new();
    decoder.take(MAX_BODY + 1).read_to_end(&mut body).map_err(damaged)?;
    if body.len() as u64 > MAX_BODY { Err(EnvelopeError::TooLarge) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_model::Hash;
    use proptest::prelude::*;

    fn league() -> LeagueId {
        LeagueId(Hash::of_bytes(b"first spec"))
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_again(body in prop::collection::vec(any::<u8>(), 0..2000), nonce: u64) {
            let envelope = Envelope::first(league(), Era(1), nonce);
            prop_assert_eq!(Envelope::open(&envelope.seal(&body)).unwrap(), (envelope, body));
        }

        #[test]
        fn hostile_bytes_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::open(&bytes);
        }

        #[test]
        fn a_truncated_value_is_refused(cut in 0usize..100) {
            let sealed = Envelope::first(league(), Era(1), 7).seal(&vec![42; 10_000]);
            let cut = sealed.len() * cut / 100;
            prop_assert!(Envelope::open(&sealed[..cut]).is_err());
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused_and_a_window_is_not_taken_at_its_word() {
        let bomb = pack(&vec![0; MAX_BODY as usize + 1]);
        assert!(bomb.len() < 10_000, "{}", bomb.len());
        assert_eq!(unpack(&bomb).unwrap_err(), EnvelopeError::TooLarge);
        let frame = |window_log| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window_log).unwrap();
            std::io::Write::write_all(&mut encoder, b"small").unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(unpack(&frame(MAX_WINDOW_LOG)).unwrap(), b"small");
        let error = unpack(&frame(27)).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }

    #[test]
    fn a_count_that_nobody_counts_to_is_refused() {
        let mut envelope = Envelope::first(league(), Era(1), 1);
        envelope.revision = Revision(u64::MAX);
        let error = Envelope::open(&envelope.seal(b"")).unwrap_err();
        assert!(error.to_string().contains("revision is 18446744073709551615"), "{error}");
    }

    #[test]
    fn foreign_and_newer_values_are_named() {
        let envelope = Envelope::first(league(), Era(1), 1);
        assert!(envelope.belongs_to(league()).is_ok());
        let other = LeagueId(Hash::of_bytes(b"another"));
        assert!(envelope.belongs_to(other).unwrap_err().to_string().contains("prefix of its own"));
        assert_eq!(Envelope::open(b"{\"format\":9,\"novelty\":1}\n").unwrap_err(), EnvelopeError::Format(9));
    }

    #[test]
    fn a_later_operation_of_the_same_process_includes_the_earlier() {
        let writer: MemberName = "a".parse().unwrap();
        let at = |incarnation, sequence| OperationId { incarnation: Incarnation(incarnation), sequence };
        let envelope = Envelope::first(league(), Era(1), 1).next(2, &writer, at(3, 5));
        assert!(envelope.includes(&writer, at(3, 5)) && envelope.includes(&writer, at(3, 4)));
        assert!(!envelope.includes(&writer, at(3, 6)) && !envelope.includes(&writer, at(2, 1)));
        assert!(!envelope.includes(&"b".parse().unwrap(), at(1, 1)));
        assert_eq!(envelope.revision, Revision(2));
    }
}
