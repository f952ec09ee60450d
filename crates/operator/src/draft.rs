//! The next state of a page: what goes into one write of it, and what does not fit.

use crate::blobs::{CROWDED_INLINE_BYTES, MAX_VALUE_BYTES};
use base64::decoded_len_estimate;
use hansa_ledger::envelope::pack;
use hansa_ledger::mutation::{Change, Mutation, Skipped, apply};
use hansa_ledger::page::Slot;
use hansa_ledger::record::Body;
use hansa_ledger::seal::SealedBody;
use hansa_ledger::{Page, Record};
use hansa_model::{RecordKey, Revision};
use std::sync::Arc;

/// A page is written with at most this many bytes, packed.
const PAGE_BYTES: usize = 1 << 20;

/// What an envelope's header may take.
const ENVELOPE_BYTES: usize = 16 << 10;

/// A page as it is to be written.
#[derive(Debug)]
pub(crate) struct Draft {
    pub page: Page,
    pub body: Vec<u8>,
    pub written: Vec<Mutation>,
    pub skipped: Vec<(Mutation, Skipped)>,
    /// Changes whose bodies have to go into blobs first, for the page is full.
    pub crowding: Vec<Mutation>,
}

impl Draft {
    /// Applies changes to a page that will be written as `revision`; `sign` gets each record that they made.
    pub fn of(
        page: &Page,
        revision: Revision,
        changes: Vec<Mutation>,
        sign: impl Fn(&RecordKey, &mut Arc<Record>),
    ) -> Self {
        let draft = Self::with_all(page, revision, changes, &sign);
        if draft.is_within_bounds() {
            return draft;
        }
        // Many new objects at once, for a page that has shown no sign of being full yet.
        let changes = draft.written.into_iter().chain(draft.skipped.into_iter().map(|(change, _)| change));
        let (large, small): (Vec<_>, Vec<_>) = changes.partition(has_large_body);
        Draft { crowding: large, ..Self::with_all(page, revision, small, &sign) }
    }

    fn with_all(
        page: &Page,
        revision: Revision,
        changes: Vec<Mutation>,
        sign: impl Fn(&RecordKey, &mut Arc<Record>),
    ) -> Self {
        let mut draft = Draft {
            page: page.clone(),
            body: Vec::new(),
            written: Vec::new(),
            skipped: Vec::new(),
            crowding: Vec::new(),
        };
        for change in changes {
            match apply(&mut draft.page, revision, &change) {
                Ok(()) => {
                    if let Some(Slot::Known(record)) = draft.page.records.get_mut(&change.key) {
                        sign(&change.key, record);
                    }
                    draft.written.push(change);
                }
                Err(why) => draft.skipped.push((change, why)),
            }
        }
        if !draft.written.is_empty() {
            draft.body = draft.page.to_vec();
        }
        draft
    }

    /// Whether the page stays below the size that it is to have.
    fn is_within_bounds(&self) -> bool {
        self.packs_to(PAGE_BYTES)
    }

    /// Whether a topology server takes it at all: even a page that is full of small records is to
    /// take the end of one of them.
    pub fn fits(&self) -> bool {
        self.packs_to(MAX_VALUE_BYTES - ENVELOPE_BYTES)
    }

    fn packs_to(&self, bytes: usize) -> bool {
        self.body.len() <= bytes || pack(&self.body).len() <= bytes
    }
}

/// Whether a page with this many bytes, unpacked, takes small bodies alone from now on.
pub(crate) fn is_crowded(bytes: usize) -> bool {
    bytes > PAGE_BYTES
}

/// Whether a change brings a body that a crowded page does not take; the measure is that of
/// [`crate::Operator::place_body`], or it would come back unchanged for ever.
fn has_large_body(change: &Mutation) -> bool {
    let Change::Ingest { intent, sealed, .. } = &change.change else { return false };
    let is_large = |raw: &str| raw.len() > CROWDED_INLINE_BYTES && pack(raw.as_bytes()).len() > CROWDED_INLINE_BYTES;
    let intent_is_large = matches!(&intent.body, Body::Inline(raw) if is_large(raw.get()));
    let sealed = sealed.as_ref().map(|sealed| &sealed.body);
    intent_is_large
        || matches!(sealed, Some(SealedBody::Inline(text)) if decoded_len_estimate(text.len()) > CROWDED_INLINE_BYTES + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_ledger::lives::HomeObject;
    use hansa_ledger::record::Intent;
    use hansa_model::Hash;
    use serde_json::value::RawValue;
    use std::sync::Arc;

    /// A change that brings a new object of so many bytes that do not pack.
    fn born(n: usize, bytes: usize) -> Mutation {
        let mut text = String::new();
        while text.len() < bytes {
            text.push_str(&Hash::of_bytes(format!("{n}/{}", text.len()).as_bytes()).to_string());
        }
        text.truncate(bytes);
        let raw = RawValue::from_string(format!("\"{text}\"")).unwrap();
        let hash = Hash::of_bytes(text.as_bytes());
        Mutation {
            key: format!("configmaps/shop/c{n}").parse().unwrap(),
            member: "a".parse().unwrap(),
            change: Change::Ingest {
                object: HomeObject {
                    uid: n.to_string(),
                    generation: 1,
                    hash,
                    stamp: None,
                    stamp_life: None,
                    later: None,
                    remembered_stamp: None,
                    take_home: None,
                    unwritten: false,
                    takeover_allowed: false,
                },
                intent: Intent {
                    hash,
                    author: "a".parse().unwrap(),
                    body: Body::Inline(Arc::from(raw)),
                    signature: None,
                },
                sealed: None,
                placed: Default::default(),
                reached: Revision(0),
            },
        }
    }

    #[test]
    fn what_fits_is_written_as_it_is() {
        let draft = Draft::of(&Page::empty(), Revision(1), (0..40).map(|n| born(n, 16 << 10)).collect(), |_, _| {});
        assert_eq!((draft.written.len(), draft.crowding.len()), (40, 0));
    }

    #[test]
    fn a_page_never_outgrows_its_bound_and_small_changes_go_on() {
        let mut changes: Vec<Mutation> = (0..200).map(|n| born(n, 16 << 10)).collect();
        changes.extend((200..300).map(|n| born(n, 500)));
        let draft = Draft::of(&Page::empty(), Revision(1), changes, |_, _| {});
        assert!(draft.is_within_bounds() && !is_crowded(draft.body.len()));
        assert_eq!((draft.written.len(), draft.crowding.len()), (100, 200));
    }
}
