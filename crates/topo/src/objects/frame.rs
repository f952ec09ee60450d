//! What an object holds: a mark, a stamp that no other write has, and the value.
//!
//! An S3 ETag is a checksum of the content. With the stamp in the content it differs from write to
//! write, also for equal values (A → B → A), and a writer that is told that its condition did not hold
//! knows its own write again where somebody between repeated it.

use bytes::Bytes;
use object_store::PutPayload;

/// The format, before everything else.
const MARK: &[u8; 4] = b"hso1";
/// Mark and stamp.
const HEAD: usize = 20;

/// Different for each write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp([u8; 16]);

impl Stamp {
    /// A new one.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Stamp(bytes))
    }
}

/// An object's content.
pub(super) fn framed(stamp: Stamp, value: Bytes) -> PutPayload {
    let head: Bytes = [&MARK[..], &stamp.0].concat().into();
    PutPayload::from_iter([head, value])
}

/// The parts of an object's content; `None` when it is not of this format.
pub(super) fn opened(content: &Bytes) -> Option<(Stamp, Bytes)> {
    let stamp = content.strip_prefix(MARK)?.first_chunk()?;
    Some((Stamp(*stamp), content.slice(HEAD..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_with_its_stamp() {
        let stamp = Stamp::new().unwrap();
        for value in [&b""[..], b"one", b"hso1hso1hso1hso1hso1hso1"] {
            let content: Bytes = framed(stamp, value.into()).into();
            assert_eq!(opened(&content), Some((stamp, value.into())));
        }
        assert_ne!(Stamp::new().unwrap(), stamp);
        for stranger in [&b""[..], b"{\"a\": 1}", b"hso1", b"hso1 12345678901234", b"hso2 1234567890123456"] {
            assert_eq!(opened(&stranger.into()), None);
        }
    }
}
