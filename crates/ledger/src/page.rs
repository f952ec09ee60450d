//! Pages: the unit of writing, of appointment, and of fencing.
//!
//! A page is compared and swapped as a whole. An appointee's term goes into the header with its
//! first decision, so a write that was based on an older header cannot land; every other write
//! carries the header on unchanged.

use crate::record::{FORMAT, Record};
use hansa_model::{Incarnation, MAX_COUNT, MemberName, RecordKey, Term};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The page format this release reads and writes.
pub const PAGE_FORMAT: u32 = 1;

/// Records whose keys hash to one number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Page {
    /// The page's format.
    pub format: u32,
    /// Who may decide here, since when.
    pub header: Header,
    /// The records, by key.
    #[serde(default)]
    pub records: BTreeMap<RecordKey, Slot>,
}

/// The fence of a page.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The appointee of the last decision; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberName>,
    /// The start of its process that decided: an earlier one, which may still run, decides no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Incarnation>,
    /// Its term.
    pub term: Term,
}

impl Header {
    /// Whether a decision under this header may follow one under `standing`: a higher term may, or the same
    /// member in the same term, unless a later start of it has decided.
    pub fn may_follow(&self, standing: &Header) -> bool {
        let same = self.term == standing.term && self.member == standing.member && self.start >= standing.start;
        self.term > standing.term || same
    }
}

/// A record, or bytes that this release does not understand and carries on unchanged.
#[derive(Clone, Debug)]
pub enum Slot {
    /// A record of this release's format.
    Known(Arc<Record>),
    /// Anything else, byte for byte, with why it was not understood.
    Opaque {
        /// The bytes as they stand in the page.
        raw: Arc<RawValue>,
        /// What was not understood.
        why: Arc<str>,
    },
}

impl Slot {
    /// The record, when this release understands it.
    pub fn record(&self) -> Option<&Arc<Record>> {
        match self {
            Slot::Known(record) => Some(record),
            Slot::Opaque { .. } => None,
        }
    }
}

impl Serialize for Slot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Slot::Known(record) => record.serialize(serializer),
            Slot::Opaque { raw, .. } => raw.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        Ok(match serde_json::from_str::<Record>(raw.get()) {
            Ok(record) if record.format == FORMAT => Slot::Known(Arc::new(record)),
            Ok(record) => Slot::Opaque { why: format!("record format {}", record.format).into(), raw: raw.into() },
            Err(error) => Slot::Opaque { why: error.to_string().into(), raw: raw.into() },
        })
    }
}

impl Page {
    /// A page without records and without an appointee.
    pub fn empty() -> Self {
        Page { format: PAGE_FORMAT, header: Header::default(), records: BTreeMap::new() }
    }

    /// Reads a page's body.
    ///
    /// # Errors
    /// When the body is no page of this format. A single record that is not understood is no error.
    pub fn from_slice(body: &[u8]) -> Result<Self, serde_json::Error> {
        let page: Page = serde_json::from_slice(body)?;
        let term = page.header.term;
        if term.0 > MAX_COUNT {
            return Err(serde_json::Error::custom(format!("header.term is {term}: no league counts that far")));
        }
        if page.format == PAGE_FORMAT {
            Ok(page)
        } else {
            Err(serde_json::Error::custom(format!(
                "the page has format {}, this release reads format {PAGE_FORMAT}: run a newer operator",
                page.format
            )))
        }
    }

    /// The page's body.
    pub fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a page always encodes into memory")
    }

    /// The record of this key, when there is one and this release understands it.
    pub fn record(&self, key: &RecordKey) -> Option<&Arc<Record>> {
        self.records.get(key).and_then(Slot::record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_not_understood_is_carried_on_byte_for_byte() {
        let strange = r#"{"format":1,"novelty":{"b": 1,"a":[ 2 ]}}"#;
        let text = format!(r#"{{"format":1,"header":{{"term":3}},"records":{{"configmaps/shop/a":{strange}}}}}"#);
        let page = Page::from_slice(text.as_bytes()).unwrap();
        let key: RecordKey = "configmaps/shop/a".parse().unwrap();
        assert!(page.record(&key).is_none());
        let again = String::from_utf8(page.to_vec()).unwrap();
        assert!(again.contains(strange), "{again}");
    }

    #[test]
    fn a_record_with_more_members_than_any_league_has_is_carried_on_unread() {
        let former: Vec<String> =
            (0..=crate::record::MAX_MEMBERS).rev().map(|number| format!(r#""m{number:05}":"uid""#)).collect();
        let hash = "0".repeat(64);
        let intent = format!(r#"{{"hash":"{hash}","author":"a","body":{{"inline":{{}}}}}}"#);
        let text = |former: &[String]| {
            let former = former.join(",");
            let record =
                format!(r#"{{"format":1,"incarnation":1,"revision":1,"intent":{intent},"former":{{{former}}}}}"#);
            format!(r#"{{"format":1,"header":{{"term":3}},"records":{{"configmaps/shop/a":{record}}}}}"#)
        };
        let key: RecordKey = "configmaps/shop/a".parse().unwrap();
        let slot = |text: String| Page::from_slice(text.as_bytes()).unwrap().records[&key].clone();
        assert!(slot(text(&former[1..])).record().is_some());
        assert!(matches!(slot(text(&former)), Slot::Opaque { why, .. } if why.contains("at most 4096 members")));
    }

    #[test]
    fn a_page_of_a_newer_format_is_refused_not_rewritten() {
        let error = Page::from_slice(br#"{"format":2,"header":{"term":0},"records":{}}"#).unwrap_err();
        assert!(error.to_string().contains("newer operator"), "{error}");
    }
}
