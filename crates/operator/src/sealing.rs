//! Secrets: read where their home is, sealed to those that are to have them, opened by each.
//!
//! A FederatedSecret names a native Secret of its home. The home's operator follows the metadata of
//! its member's Secrets, reads one that is named when it has changed, and lets its content go at once:
//! what stays is the sealed body with the key that it was sealed under, and a digest that only this
//! member can compute. Whether a content is the agreed one is seen by the record's own keyed digest,
//! or by what this home remembers of it, so that a restart writes nothing.
//!
//! What no operator may see in the topology server, no log, status or `Debug` shows either.
//!
//! | Module | Holds |
//! |---|---|
//! | [`cipher`] | the cryptography, as functions |
//! | [`source`] | the Secrets that this home's objects name: reading, comparing, sealing |
//! | [`wraps`] | which key a member has, and the wraps of a body's key |

pub(crate) mod cipher;
mod source;
mod wraps;

use crate::machine::{Context, Operator};
use crate::observed::Live;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cipher::Place;
use hansa_ledger::Record;
use hansa_ledger::seal::{Sealed, SealedBody};
use hansa_model::{FederatedSpec, Hash, MemberName, RecordKey, TypeName};
use serde_json::Value;
use source::Sources;
use std::borrow::Cow;
use std::collections::BTreeMap;
pub(crate) use wraps::Untrusted;

/// What the status of a home says of its own copy.
pub(crate) const THE_SOURCE: &str = "the source: the Secret that users keep here is left as it is";

/// What is known of the Secrets that federated objects name, and of keys.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    sources: Sources,
    /// How many fresh keys were made.
    drawn: u64,
    /// The keys that each member showed first.
    pins: BTreeMap<MemberName, Vec<String>>,
    /// Since when a record lacks a wrap.
    lacking: BTreeMap<RecordKey, u64>,
}

impl Sealing {
    /// Whether no Secret is being read or waits to be.
    pub fn is_idle(&self) -> bool {
        self.sources.is_idle()
    }
}

/// Whether a type is the one whose contents are sealed.
pub(crate) fn is_sealed_type(type_name: &TypeName) -> bool {
    type_name.group().is_empty() && type_name.resource() == "secrets"
}

/// What is wrong with where a spec has its content, with the mend. The generated CRDs refuse the same;
/// here it holds for objects that came by another way, too.
pub(crate) fn misplaced_content(type_name: &TypeName, spec: &FederatedSpec) -> Option<String> {
    if !is_sealed_type(type_name) {
        return spec.template_from.as_ref().map(|_| {
            format!("spec.templateFrom: it is for Secrets alone, and this is one of {type_name}: use spec.template")
        });
    }
    let is_value = |field: &str| ["data", "stringData"].contains(&field);
    // A pointer to the whole document replaces everything, the values too.
    let into_values = |path: &str| is_value(path.split('/').nth(1).unwrap_or("data"));
    let inline = |(index, each): (usize, &hansa_model::Override)| {
        let merged = each.merge.as_ref().and_then(Value::as_object);
        if merged.is_some_and(|merged| merged.keys().any(|field| is_value(field))) {
            return Some(format!("spec.overrides[{index}].merge"));
        }
        let patch = each.patches.iter().position(|patch| into_values(&patch.path))?;
        Some(format!("spec.overrides[{index}].patches[{patch}]"))
    };
    let at = match &spec.template {
        Some(_) => "spec.template".to_owned(),
        None => spec.overrides.iter().enumerate().find_map(inline)?,
    };
    Some(format!(
        "{at}: a Secret's values do not belong here: keep them in a Secret of this namespace and name it in spec.templateFrom.secretRef"
    ))
}

impl Operator {
    /// Whether this member's own Secret is what the record's content is read from: an output would
    /// overwrite it.
    pub(crate) fn is_source(&self, key: &RecordKey, record: &Record, spec: &FederatedSpec) -> bool {
        let named = spec.template_from.as_ref().is_some_and(|from| *from.secret_ref.name == *key.name);
        named && record.sealed.is_some() && record.homes.contains_key(&self.config.member)
    }

    /// The template of a record: the spec's own, or the sealed one, opened.
    ///
    /// # Errors
    /// Why it cannot be had here, with the mend.
    pub(crate) fn template<'a>(
        &self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        spec: &'a FederatedSpec,
    ) -> Result<Cow<'a, Value>, String> {
        if let Some(why) = misplaced_content(&key.type_name, spec) {
            return Err(why);
        }
        let sealed = match (&spec.template, &record.sealed) {
            (Some(template), _) => return Ok(Cow::Borrowed(template)),
            (None, Some(sealed)) => sealed,
            (None, None) => return Err("spec.templateFrom: the record has no sealed content".to_owned()),
        };
        // The life is the record's, whatever the body says of itself.
        let place = Place { league: context.league, key, incarnation: record.incarnation };
        let body_key = self.body_key(place, sealed)?;
        let mend = "change it at its home, and it is sealed anew";
        let body = match &sealed.body {
            SealedBody::Inline(text) => {
                STANDARD.decode(text).map_err(|_| format!("the Secret's content is damaged: {mend}"))?
            }
            SealedBody::Blob(hash) => self.blob(hash)?,
        };
        let opened = body_key
            .open(place, sealed.digest, &body)
            .map_err(|error| format!("the Secret's content does not open here: {error}: {mend}"))?;
        // No word of the parser's: it could cite the content.
        let read = serde_json::from_slice(&opened).map(Cow::Owned);
        read.map_err(|_| format!("the Secret's content does not read: {mend}"))
    }

    /// What this member remembers of a Secret in the topology server is a digest that only it can
    /// compute: an unkeyed one would let others guess at short values.
    pub(crate) fn remembered_hash(&self, type_name: &TypeName, hash: Hash) -> Hash {
        if is_sealed_type(type_name) { self.config.keys.remembered(hash.as_bytes()) } else { hash }
    }

    /// Reduces an output, see [`Live::reduce`].
    pub(crate) fn reduce_live(&self, type_name: &TypeName, kind: &str, object: &Value) -> Live {
        let mut live = Live::reduce(type_name, kind, object);
        live.owned = live.owned.map(|hash| self.remembered_hash(type_name, hash));
        live
    }
}

/// The agreed body of a record that lives.
fn living_body(record: Option<&Record>) -> Option<&Sealed> {
    record.filter(|record| record.tombstone.is_none()).and_then(|record| record.sealed.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn misplaced(type_name: &str, extra: Value) -> Option<String> {
        let mut spec = json!({"placement": {}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        misplaced_content(&type_name.parse().unwrap(), &serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_secrets_values_are_refused_wherever_they_stand() {
        let from = json!({"secretRef": {"name": "db"}});
        for (extra, at) in [
            (json!({"template": {"data": {"a": "aGk="}}}), "spec.template:"),
            (
                json!({"templateFrom": from, "overrides": [{}, {"merge": {"data": {"a": "aGk="}}}]}),
                "spec.overrides[1].merge:",
            ),
            (json!({"templateFrom": from, "overrides": [{"merge": {"stringData": {}}}]}), "spec.overrides[0].merge:"),
            (
                json!({"templateFrom": from, "overrides": [{"patches": [{"path": "/type", "value": "x"}, {"path": "/data/a", "value": "aGk="}]}]}),
                "spec.overrides[0].patches[1]:",
            ),
            (
                json!({"templateFrom": from, "overrides": [{"patches": [{"path": "", "value": {}}]}]}),
                "spec.overrides[0].patches[0]:",
            ),
        ] {
            let why = misplaced("secrets", extra).expect(at);
            assert!(why.starts_with(at) && why.contains("templateFrom.secretRef"), "{why}");
        }
        let harmless = json!([{"merge": {"metadata": {"labels": {"a": "b"}}}, "patches": [{"path": "/metadata/labels/data", "value": "x"}]}]);
        assert_eq!(misplaced("secrets", json!({"templateFrom": from, "overrides": harmless})), None);
        assert_eq!(misplaced("configmaps", json!({"template": {"data": {}}})), None);
        assert!(misplaced("configmaps", json!({"templateFrom": from})).unwrap().contains("spec.templateFrom"));
    }
}
