//! Whose key is trusted, and the wraps of a body's key for those that are to open it.

use super::cipher::{BodyKey, Place, fingerprint, sealing_key};
use super::living_body;
use crate::machine::{Context, FeedId, Operator, Timer};
use hansa_ledger::Record;
use hansa_ledger::mutation::Change;
use hansa_ledger::seal::{Sealed, Wrap};
use hansa_model::{MemberName, RecordKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use x25519_dalek::PublicKey;
use zeroize::Zeroizing;

/// How long the next of those that hold a body's key waits for the one before it to wrap it.
const WRAP_PATIENCE_MS: u64 = 5_000;

/// Why a member's key is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Untrusted {
    /// It has shown none yet.
    Unknown,
    /// It differs from what is agreed on, or from what was seen first.
    Differs(String),
}

impl Operator {
    pub(super) fn fresh_key(&mut self) -> Zeroizing<[u8; 32]> {
        self.sealing.drawn += 1;
        self.config.keys.fresh(self.config.incarnation, self.sealing.drawn, self.now.entropy)
    }

    /// Wraps a body's key for those of the members whose keys are trusted.
    pub(super) fn wrap_for(
        &mut self,
        place: Place<'_>,
        body_key: &BodyKey,
        members: &BTreeSet<MemberName>,
    ) -> BTreeMap<MemberName, Wrap> {
        let mut wraps = BTreeMap::new();
        for member in members {
            let Ok(to) = self.trusted_key(member) else { continue };
            let ephemeral = self.fresh_key();
            if let Ok(wrap) = body_key.wrap(place, member, &to, &ephemeral) {
                wraps.insert(member.clone(), wrap);
            }
        }
        wraps
    }

    /// The key of an agreed body, out of this member's own wrap.
    pub(super) fn body_key(&self, place: Place<'_>, sealed: &Sealed) -> Result<BodyKey, String> {
        let member = &self.config.member;
        let Some(wrap) = sealed.wraps.get(member) else {
            return Err(format!(
                "the Secret's content is not sealed to {member} yet: a home, or another member that has it, adds that; if this lasts, compare this operator's key {} with spec.members[{member}].publicKeys of the Federation and with `kubectl get member {member} -o yaml` in a home",
                self.config.keys.public()
            ));
        };
        BodyKey::unwrap(&self.config.keys, place, member, wrap).map_err(|error| {
            let key = self.config.keys.public();
            let other = if self.config.keys.are_meant_by(wrap) {
                ""
            } else {
                " (it was sealed for another key than this operator has now)"
            };
            format!(
                "the Secret's content does not open here: {error}{other}; write this operator's key {key} into spec.members[{member}].publicKeys of the Federation, or change the Secret at its home, and it is sealed anew"
            )
        })
    }

    /// Wraps a body's key for recipients that lack it: a home does, else the next of those that hold it.
    pub(crate) fn process_wraps(&mut self, key: &RecordKey, context: &Context, record: Option<&Record>) {
        let (Some(record), Some(sealed)) = (record, living_body(record)) else {
            self.sealing.lacking.remove(key);
            return;
        };
        let member = self.config.member.clone();
        let homes = record.homes.keys().chain(&record.moving);
        let lacking: BTreeSet<MemberName> = homes
            .chain(record.placed_members())
            .filter(|recipient| self.lacks_wrap(context, sealed, recipient) && self.trusted_key(recipient).is_ok())
            .cloned()
            .collect();
        let holds = |holder: &&MemberName| sealed.wraps.contains_key(*holder);
        let mut holders: Vec<&MemberName> = record.homes.keys().filter(holds).collect();
        let placed = record.placed_members().filter(holds).filter(|holder| !record.homes.contains_key(*holder));
        holders.extend(placed);
        let rank = holders.iter().position(|holder| **holder == member);
        let Some(rank) = rank.filter(|_| !lacking.is_empty() && !self.config.observe) else {
            self.sealing.lacking.remove(key);
            return;
        };
        let since = *self.sealing.lacking.entry(key.clone()).or_insert(self.now.monotonic_ms);
        let due = since + rank as u64 * WRAP_PATIENCE_MS;
        if due > self.now.monotonic_ms {
            return self.at(due, Timer::Object(key.clone()));
        }
        let place = Place { league: context.league, key, incarnation: sealed.incarnation };
        if self.is_being_written(key) {
            return;
        }
        let Ok(body_key) = self.body_key(place, sealed) else { return };
        let wraps = self.wrap_for(place, &body_key, &lacking);
        if !wraps.is_empty() {
            self.mutate(key, Change::AddWraps { digest: sealed.digest, wraps });
        }
    }

    /// Whether a recipient has no wrap, or one for another key than the league agrees on. A key that
    /// was only seen replaces nothing: two operators may have seen different ones.
    fn lacks_wrap(&self, context: &Context, sealed: &Sealed, recipient: &MemberName) -> bool {
        let agreed = context.spec.member(recipient).and_then(|member| sealing_key(&member.public_keys));
        match (sealed.wraps.get(recipient), agreed) {
            (None, _) => true,
            (Some(wrap), Some((_, agreed))) => wrap.to != fingerprint(&agreed),
            (Some(_), None) => false,
        }
    }

    /// Whether the spec lists a sealing key of this member, or the content of a record that lives is sealed to it.
    pub(crate) fn is_sealed_to(&self, key: &str) -> bool {
        let own = &self.config.member;
        let Some((_, public)) = sealing_key(&[key.to_owned()]) else { return false };
        let to = fingerprint(&public);
        let listed = self.league.as_ref().and_then(|league| league.spec.member(own));
        listed.is_some_and(|listed| listed.public_keys.iter().any(|listed| listed == key))
            || self.topology.records().any(|(_, record)| {
                living_body(Some(record)).and_then(|sealed| sealed.wraps.get(own)).is_some_and(|wrap| wrap.to == to)
            })
    }

    /// Why the key of a recipient is refused, for people.
    pub(crate) fn sealing_trouble(&self, record: &Record) -> Option<String> {
        let sealed = living_body(Some(record))?;
        let recipients = record.homes.keys().chain(record.placed_members());
        recipients.filter(|member| !sealed.wraps.contains_key(*member)).find_map(|member| {
            match self.trusted_key(member) {
                Err(Untrusted::Differs(why)) => Some(why),
                _ => None,
            }
        })
    }

    /// The key to seal to a member with: the spec's, else the one that was seen first. A key that
    /// differs from it is refused, whichever of the two is right.
    pub(crate) fn trusted_key(&self, member: &MemberName) -> Result<PublicKey, Untrusted> {
        let own = member == &self.config.member;
        let shown = if own {
            self.config.shown_keys()
        } else {
            self.topology.cells.get(member).map(|cell| cell.value.public_keys.clone()).unwrap_or_default()
        };
        let is_shown = |text: &str| shown.iter().any(|shown| shown == text);
        let other = sealing_key(&shown).map(|(shown, _)| shown);
        let agreed = self.league.as_ref().and_then(|league| league.spec.member(member));
        let agreed = agreed.and_then(|member| sealing_key(&member.public_keys));
        let pinned = self.sealing.pins.get(member).filter(|_| !own).and_then(|keys| sealing_key(keys));
        match (agreed, pinned, other) {
            (Some((text, _)), _, Some(shown)) if !is_shown(text) => Err(Untrusted::Differs(format!(
                "{member}: its operator's key is {shown}, and spec.members[{member}].publicKeys of the Federation says {text}: nothing is sealed to it until one of the two is corrected"
            ))),
            (Some((_, key)), ..) => Ok(key),
            (None, Some((text, _)), Some(shown)) if !is_shown(text) => Err(Untrusted::Differs(format!(
                "{member}: its operator's key is {shown}, and was {text} when it was seen first: nothing is sealed to it until spec.members[{member}].publicKeys of the Federation says which is right"
            ))),
            (None, Some((_, key)), _) => Ok(key),
            (None, None, _) if own => {
                sealing_key(&self.config.public_keys).map(|(_, key)| key).ok_or(Untrusted::Unknown)
            }
            (None, None, _) => Err(Untrusted::Unknown),
        }
    }

    /// What a `Member` object here says was seen first.
    pub(crate) fn pins_seen(&mut self, member: &Value) {
        let Some(name) = member["metadata"]["name"].as_str().and_then(|name| name.parse::<MemberName>().ok()) else {
            return;
        };
        let keys: Vec<String> = serde_json::from_value(member["status"]["publicKeys"].clone()).unwrap_or_default();
        if sealing_key(&keys).is_some() {
            self.sealing.pins.entry(name).or_insert(keys);
        }
    }

    /// The keys that are pinned for a member: those that the spec lists, where it shows them, or else those in use
    /// when it was seen first. During a rotation it shows others beside them.
    pub(crate) fn pin_keys(&mut self, member: &MemberName) -> Option<Vec<String>> {
        // What was seen by an earlier start stands in the Member objects: they come first.
        if !self.is_synced(&FeedId::Members) {
            return self.sealing.pins.get(member).cloned();
        }
        let shown = if member == &self.config.member {
            Some(&self.config.public_keys)
        } else {
            self.topology.cells.get(member).map(|cell| &cell.value.public_keys)
        };
        let listed = self.league.as_ref().and_then(|league| league.spec.member(member));
        let listed = listed.map(|listed| listed.public_keys.as_slice()).unwrap_or_default();
        let pinned = self.sealing.pins.get(member);
        let Some(shown) = shown.filter(|shown| sealing_key(shown).is_some()) else { return pinned.cloned() };
        let is_shown = |(text, _): (&str, _)| shown.iter().any(|shown| shown == text);
        let in_use = &shown[..shown.len().min(2)];
        let right: Vec<String> = match sealing_key(listed).is_some_and(is_shown) {
            true => {
                let kind = |key: &str| key.split(':').next().unwrap_or_default().to_owned();
                let unlisted = in_use.iter().filter(|key| listed.iter().all(|listed| kind(listed) != kind(key)));
                listed.iter().chain(unlisted).cloned().collect()
            }
            false if pinned.is_none() => in_use.to_vec(),
            false => return pinned.cloned(),
        };
        if pinned != Some(&right) {
            self.sealing.pins.insert(member.clone(), right);
            self.touch_sealed();
        }
        self.sealing.pins.get(member).cloned()
    }

    /// Looks at every record with sealed content again: a key became known.
    fn touch_sealed(&mut self) {
        let keys: Vec<RecordKey> =
            self.topology.records().filter(|(_, record)| record.sealed.is_some()).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.touch(&key);
        }
    }
}
