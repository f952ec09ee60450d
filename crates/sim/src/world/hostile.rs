//! A hostile hand with the topology server's password: it puts words into others' mouths, past every
//! operator. It holds no key that signs.

use super::World;
use hansa_ledger::record::{Body, Record, Tombstone};
use hansa_ledger::{Envelope, Page, Slot, Swap, keys};
use hansa_model::{DeletionPolicy, Hash};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

impl World {
    /// A record says what nobody said: another content, or its end.
    pub(super) fn forge(&mut self) {
        if !self.judge.signatures_count() {
            return;
        }
        let mut found = Vec::new();
        for (name, value) in self.store.list(keys::PAGES) {
            let Ok((envelope, body)) = Envelope::open(&value.value) else { continue };
            let Ok(page) = Page::from_slice(&body) else { continue };
            for key in page.records.keys() {
                found.push((name.clone(), value.version.clone(), envelope.clone(), page.clone(), key.clone()));
            }
        }
        if found.is_empty() {
            return;
        }
        let (name, version, envelope, mut page, key) = self.troubles.pick(&found).clone();
        let Some(record) = page.record(&key) else { return };
        let mut record = Record::clone(record);
        if record.tombstone.is_some() {
            return;
        }
        let what = if self.troubles.chance(500) { self.forge_intent(&mut record) } else { self.forge_end(&mut record) };
        self.tell("hostile", format!("forges {what} of {key} in {name}"));
        self.judge.forged(&key, &record);
        page.records.insert(key, Slot::Known(Arc::new(record)));
        let (revision, nonce) = (envelope.revision.next(), self.troubles.next());
        let value = Envelope { revision, nonce, ..envelope }.seal(&page.to_vec());
        if let Swap::Committed(_) = self.store.swap(&name, Some(&version), value) {
            self.judge.page_is(&name, page);
            self.tell_changes();
        }
    }

    fn forge_intent(&mut self, record: &mut Record) -> String {
        let Body::Inline(raw) = &record.intent.body else { return "nothing".to_owned() };
        let mut spec: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        spec["template"]["metadata"]["annotations"]["evil"] = json!(self.troubles.next().to_string());
        spec["placement"] = json!({"memberSelector": {}});
        record.intent.hash = Hash::of(&spec);
        let raw = RawValue::from_string(spec.to_string()).expect("JSON is JSON");
        record.intent.body = Body::Inline(Arc::from(raw));
        record.revision = record.revision.next();
        format!("revision {}", record.revision)
    }

    fn forge_end(&mut self, record: &mut Record) -> String {
        let author = record.intent.author.clone();
        // A true signature of the same author, of other words.
        let signature = record.intent.signature.clone();
        record.tombstone = Some(Tombstone { author, policy: DeletionPolicy::Delete, signature });
        "the end".to_owned()
    }
}
