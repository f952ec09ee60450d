//! Reading an object: its content, and the ETag that is this content's.
//!
//! A version says which value stands there, so an answer with the ETag of one write and the content
//! of another must not pass. The clouds answer from one instant. Not every server does: versitygw
//! 1.8 (`GetObject` in `backend/posix/posix.go`) looks the ETag up by the object's path and opens
//! the object then, and a write may come between.
//!
//! Where the ETag is the MD5 sum of the content, as it is at most servers, the answer itself shows
//! that. Where it looks like one and is none, as with S3's SSE-KMS and SSE-C, reading again shows
//! it: neither an ETag nor a stamp ever comes back, so when two readings find the same pair, both
//! parts stood there all the time between the two, together. A store that has shown this once is
//! then taken at its word, as are those whose ETags look like no sum (Azure's).

use super::frame::{self, Stamp};
use super::{Objects, name};
use crate::error::{Category, TopoError};
use crate::usage::Operation;
use hansa_ledger::{Version, Versioned};
use md5::{Digest, Md5};
use object_store::GetOptions;
use std::sync::atomic::Ordering;

/// How many readings may differ from each other. Each needs a write in a short moment of its own.
const READINGS: usize = 5;

/// What an object holds.
pub(super) struct Content {
    pub(super) stamp: Stamp,
    pub(super) versioned: Versioned,
}

/// What one answer says.
struct Reading {
    content: Content,
    /// The object's generation (gs).
    generation: Option<String>,
    /// Whether its ETag looks like the sum of its content, and is another one.
    is_doubtful: bool,
}

impl Objects {
    /// What the object of a key holds; `None` when there is none.
    pub(super) async fn content(&self, operation: Operation, key: &str) -> Result<Option<Content>, TopoError> {
        let mut before: Option<Content> = None;
        for _ in 0..READINGS {
            let Some(reading) = self.reading(operation, key).await.map_err(|error| error.at_key(key))? else {
                return Ok(None);
            };
            let Reading { content, generation, is_doubtful } = reading;
            let pair = (content.stamp, &content.versioned.version);
            let found_again = before.as_ref().is_some_and(|before| (before.stamp, &before.versioned.version) == pair);
            if found_again {
                self.has_other_etags.store(true, Ordering::Relaxed);
            }
            if !is_doubtful || self.has_other_etags.load(Ordering::Relaxed) {
                self.remember(key, &content.versioned.version, generation);
                return Ok(Some(content));
            }
            before = Some(content);
        }
        let message = format!("in {READINGS} readings the ETag was never that of the content; try again");
        Err(self.error(Category::Unavailable, message).at_key(key))
    }

    async fn reading(&self, operation: Operation, key: &str) -> Result<Option<Reading>, TopoError> {
        let path = self.path(&name::of_key(key));
        let read = self.read(operation, |trace| {
            let path = path.clone();
            Box::pin(async move {
                let options = GetOptions { extensions: trace.extensions(), ..GetOptions::default() };
                let found = self.store.get_opts(&path, options).await?;
                let (etag, generation) = (found.meta.e_tag.clone(), found.meta.version.clone());
                Ok((etag, generation, found.bytes().await?))
            })
        });
        let Some((etag, generation, bytes)) = read.await? else { return Ok(None) };
        let version = self.version(etag)?;
        let Some((stamp, value)) = frame::opened(&bytes) else {
            let message = format!("the object {path} was not written by Hansa; restore it from a backup");
            return Err(self.error(Category::Corrupt, message));
        };
        let is_doubtful = is_another_sum(&version, &bytes);
        Ok(Some(Reading {
            content: Content { stamp, versioned: Versioned { version, value } },
            generation,
            is_doubtful,
        }))
    }
}

/// Whether a version looks like an MD5 sum, and is not that of these bytes.
fn is_another_sum(version: &Version, bytes: &[u8]) -> bool {
    let text = version.as_str();
    let sum = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
    sum.is_some_and(|sum| sum != u128::from_be_bytes(Md5::digest(bytes).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_sum_is_compared() {
        // The sums of RFC 1321's test suite.
        let cases = [
            ("d41d8cd98f00b204e9800998ecf8427e", "", false),
            ("900150983cd24fb0d6963f7d28e17f72", "abc", false),
            ("900150983CD24FB0D6963F7D28E17F72", "abc", false),
            ("900150983cd24fb0d6963f7d28e17f72", "abd", true),
            ("00000000000000000000000000000000", "abc", true),
            // Of several parts, Azure's, a sum in base64, another algorithm's.
            ("900150983cd24fb0d6963f7d28e17f72-2", "abd", false),
            ("0x8DC5A1B2C3D4E5F", "abd", false),
            ("kAFQmDzST7DWlj99KOF/cg==", "abd", false),
            ("CRC64NVME-AAAAAAAAAAA=", "abd", false),
        ];
        for (version, bytes, expected) in cases {
            assert_eq!(is_another_sum(&Version::new(version), bytes.as_bytes()), expected, "{version} of {bytes:?}");
        }
    }
}
