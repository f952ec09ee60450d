//! The native Secrets that this member's federated objects name: when they are read, what is known of
//! them without holding them, and the bodies that are sealed from them.

use super::cipher::{BodyKey, Place};
use super::living_body;
use super::wraps::Untrusted;
use crate::blobs::Placing;
use crate::classify::{Refusal, classify};
use crate::feed::{ObjectName, object_name};
use crate::io::{ApiAnswer, ApiRequest, Level};
use crate::machine::{Context, FeedId, Operator, Purpose, Timer, object_path};
use crate::observed::HomeState;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hansa_ledger::Record;
use hansa_ledger::cell::SourceMemory;
use hansa_ledger::lives::{HomeObject, Standing};
use hansa_ledger::seal::{Sealed, SealedBody, intent_hash};
use hansa_model::{Hash, Incarnation, MemberName, RecordKey, Revision, canonical};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

/// How many Secrets may be on their way from the API server.
const READS: usize = 16;

/// The Secrets that are named.
#[derive(Debug, Default)]
pub(super) struct Sources {
    by_key: BTreeMap<RecordKey, Source>,
    /// Which federated objects name a Secret.
    named: BTreeMap<ObjectName, BTreeSet<RecordKey>>,
    /// Objects whose Secret is to be read as soon as there is a place for it.
    queue: BTreeSet<RecordKey>,
    reading: usize,
}

/// A Secret that one federated object names.
#[derive(Debug)]
struct Source {
    name: ObjectName,
    content: Content,
    /// The agreed body that the content was compared with, and whether there was a wrap for this
    /// member.
    compared: Option<(Hash, bool)>,
    /// It is to be read.
    due: bool,
    reading: bool,
    /// What the feed told while it was being read: a version, or that it is gone.
    told: Option<Option<String>>,
    /// The next read is to seal, whatever is known.
    seal: bool,
    version: Option<String>,
    failures: u32,
    retry_ms: u64,
}

/// What is known of a Secret's content.
#[derive(Debug)]
enum Content {
    /// Not read yet.
    Unread,
    /// There is no such Secret.
    Missing,
    /// It cannot be federated, or not be read: why.
    Refused(String),
    Read {
        /// What this member knows it by.
        mark: Hash,
        /// The digest that it was, or is to be, agreed as.
        digest: Hash,
        /// The body that is to be agreed on.
        fresh: Option<Fresh>,
    },
}

/// A body that is sealed and not agreed on yet.
#[derive(Debug)]
struct Fresh {
    incarnation: Incarnation,
    key: BodyKey,
    body: Bytes,
}

impl Sources {
    /// Whether none is being read or waits to be.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.reading == 0
    }

    fn named(&self, name: &ObjectName) -> Vec<RecordKey> {
        self.named.get(name).into_iter().flatten().cloned().collect()
    }

    fn insert(&mut self, key: &RecordKey, name: ObjectName) {
        self.remove(key);
        self.named.entry(name.clone()).or_default().insert(key.clone());
        let source = Source {
            name,
            content: Content::Unread,
            compared: None,
            due: true,
            reading: false,
            told: None,
            seal: false,
            version: None,
            failures: 0,
            retry_ms: 0,
        };
        self.by_key.insert(key.clone(), source);
    }

    fn remove(&mut self, key: &RecordKey) {
        self.queue.remove(key);
        let Some(source) = self.by_key.remove(key) else { return };
        if let Some(keys) = self.named.get_mut(&source.name) {
            keys.remove(key);
            if keys.is_empty() {
                self.named.remove(&source.name);
            }
        }
    }
}

impl Source {
    /// Judges whether the content is to be looked at again, and returns the digest that it goes by,
    /// with what stands in the way of agreeing on it.
    fn settle(&mut self, agreed: Option<&Sealed>, member: &MemberName) -> (Option<Hash>, Option<String>) {
        let (namespace, name) = &self.name;
        // Without its Secret, an object stands for what was last agreed.
        let last = agreed.map(|sealed| sealed.digest);
        match &mut self.content {
            Content::Unread => (None, None),
            Content::Missing => {
                let problem = format!(
                    "spec.templateFrom.secretRef.name: there is no Secret {namespace}/{name} in this member: make it, or name another one; what was last agreed stands"
                );
                (last, Some(problem))
            }
            Content::Refused(why) => (last, Some(why.clone())),
            Content::Read { digest, fresh, .. } => {
                if last == Some(*digest) {
                    *fresh = None;
                } else if let Some(agreed) = agreed {
                    // Another content was agreed on, or its key came to this member: it may be this
                    // very content, which only a look at the Secret can tell.
                    let standing = (agreed.digest, agreed.wraps.contains_key(member));
                    self.due |= self.compared != Some(standing);
                }
                (Some(*digest), None)
            }
        }
    }
}

impl Operator {
    /// Brings a home object's hash up to what the Secret holds that it names. Returns whether that is
    /// known; until then nothing is concluded from the object.
    pub(crate) fn settle_source(&mut self, key: &RecordKey, home: &mut HomeState, record: Option<&Record>) -> bool {
        let Some(reference) = &mut home.source else { return true };
        self.follow_metadata(FeedId::Sources, "/api/v1/secrets".to_owned());
        let name = (Arc::clone(&key.namespace), Arc::clone(&reference.name));
        let sources = &mut self.sealing.sources;
        if sources.by_key.get(key).is_none_or(|source| source.name != name) {
            sources.insert(key, name);
        }
        let source = sources.by_key.get_mut(key).expect("it stands there now");
        let (digest, problem) = source.settle(living_body(record), &self.config.member);
        reference.problem = problem;
        reference.settled = !matches!(source.content, Content::Unread);
        if let Some(digest) = digest {
            home.object.hash = intent_hash(&reference.spec, &digest);
            if let Some(intent) = &mut home.intent {
                intent.hash = home.object.hash;
            }
        }
        let settled = reference.settled;
        self.want_source(key);
        settled
    }

    /// Keeps, with what this member says of a record, what the agreed content is known by.
    pub(crate) fn remember_source(&mut self, key: &RecordKey, record: &Record) {
        let source = self.sealing.sources.by_key.get(key);
        let Some(Content::Read { mark, digest, .. }) = source.map(|source| &source.content) else { return };
        let memory = Box::new(SourceMemory { content: *mark, digest: *digest });
        if living_body(Some(record)).is_none_or(|sealed| sealed.digest != memory.digest) {
            return;
        }
        let mut status = self.base_status(key, record);
        if status.source.as_ref() != Some(&memory) {
            status.source = Some(memory);
            self.set_status(key, Some(status));
        }
    }

    /// Puts a Secret that is to be read among those that wait for a place.
    fn want_source(&mut self, key: &RecordKey) {
        let source = self.sealing.sources.by_key.get(key);
        let Some(source) = source.filter(|source| source.due && !source.reading) else { return };
        if source.retry_ms > self.now.monotonic_ms {
            let at = source.retry_ms;
            return self.at(at, Timer::Object(key.clone()));
        }
        self.sealing.sources.queue.insert(key.clone());
    }

    /// Reads Secrets that are to be read, as many as may be under way.
    pub(crate) fn read_sources(&mut self) {
        while self.sealing.sources.reading < READS
            && let Some(key) = self.sealing.sources.queue.pop_first()
        {
            let Some(source) = self.sealing.sources.by_key.get_mut(&key).filter(|source| !source.reading) else {
                continue;
            };
            source.reading = true;
            source.due = false;
            source.told = None;
            let path = object_path("", "v1", "secrets", &source.name.0, &source.name.1);
            let name = source.name.clone();
            self.sealing.sources.reading += 1;
            self.api(Purpose::Source(key, name), ApiRequest::get(path));
        }
    }

    /// The metadata of a Secret of this member, as the feed tells it.
    pub(crate) fn source_seen(&mut self, object: &Value) {
        let version = object["metadata"]["resourceVersion"].as_str();
        for key in self.sealing.sources.named(&object_name(object)) {
            let Some(source) = self.sealing.sources.by_key.get_mut(&key) else { continue };
            if source.reading {
                source.told = Some(version.map(str::to_owned));
            } else if source.version.as_deref() != version {
                source.due = true;
                source.retry_ms = 0;
                self.want_source(&key);
            }
        }
    }

    pub(crate) fn source_gone(&mut self, name: &ObjectName) {
        for key in self.sealing.sources.named(name) {
            if let Some(source) = self.sealing.sources.by_key.get_mut(&key) {
                source.told = source.reading.then_some(None);
                source.version = None;
                source.content = Content::Missing;
            }
            self.touch(&key);
        }
    }

    /// A federated object is gone: its Secret is of no interest any more.
    pub(crate) fn forget_source(&mut self, key: &RecordKey) {
        self.sealing.sources.remove(key);
    }

    /// Secrets are not followed any more, so what is known of them is not kept current.
    pub(crate) fn forget_sources(&mut self) {
        self.unfollow(&FeedId::Sources);
        let keys: Vec<RecordKey> = self.sealing.sources.by_key.keys().cloned().collect();
        for key in keys {
            self.sealing.sources.remove(&key);
        }
    }

    pub(crate) fn source_answered(&mut self, key: &RecordKey, name: &ObjectName, answer: Result<ApiAnswer, String>) {
        self.sealing.sources.reading -= 1;
        let outcome = match &answer {
            // No word of the parser's: it could cite the content.
            Ok(answer) if answer.status == 200 => serde_json::from_slice::<Value>(&answer.body)
                .map_err(|_| Refusal::Transient("the answer does not read".to_owned())),
            Ok(answer) => Err(classify(answer.status, &answer.body)),
            Err(reason) => Err(Refusal::Transient(reason.clone())),
        };
        // It may have been let go meanwhile, and another one be named.
        let source = self.sealing.sources.by_key.get_mut(key);
        let Some(source) = source.filter(|source| source.reading && source.name == *name) else { return };
        source.reading = false;
        match outcome {
            Ok(object) => {
                source.version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
                source.answered();
                self.take_source(key, &object);
            }
            Err(Refusal::Missing | Refusal::NamespaceMissing(_)) => {
                source.version = None;
                source.content = Content::Missing;
                source.answered();
            }
            Err(refusal) => self.source_refused(key, &refusal),
        }
        self.want_source(key);
        self.touch(key);
    }

    fn source_refused(&mut self, key: &RecordKey, refusal: &Refusal) {
        self.metrics.failures += 1;
        let Some(source) = self.sealing.sources.by_key.get_mut(key) else { return };
        source.due = true;
        source.failures += 1;
        let (failures, message) = (source.failures, refusal.message());
        let (namespace, name) = &source.name;
        let forbidden = matches!(refusal, Refusal::Forbidden(_));
        if forbidden && matches!(source.content, Content::Unread | Content::Refused(_)) {
            source.content = Content::Refused(format!(
                "spec.templateFrom.secretRef.name: the operator may not read Secret {namespace}/{name} ({message}): give it the roles of `hansa manifests`"
            ));
        }
        let what = format!("Secret {namespace}/{name} cannot be read: {message}");
        let until = self.pause(failures, if forbidden { 2_000 } else { 100 }, 60_000);
        if let Some(source) = self.sealing.sources.by_key.get_mut(key) {
            source.retry_ms = until;
        }
        if failures == 3 {
            self.log(Level::Warning, Some(key), what);
        }
    }

    /// Compares a Secret with what was agreed, and seals it when it is another content.
    fn take_source(&mut self, key: &RecordKey, object: &Value) {
        let Some(context) = self.context(key) else {
            // The picture went incomplete meanwhile: it is read again when it is whole.
            if let Some(source) = self.sealing.sources.by_key.get_mut(key) {
                source.content = Content::Unread;
                source.due = true;
            }
            return;
        };
        let record = self.record_in_page(key);
        let content = match hansa_render::strip(object) {
            Err(refusal) => Content::Refused(format!("spec.templateFrom.secretRef.name: {refusal}")),
            Ok((template, _)) => {
                let plaintext = Zeroizing::new(canonical::to_vec(&template));
                self.read_content(key, &context, record.as_deref(), &plaintext)
            }
        };
        let agreed = living_body(record.as_deref());
        let compared = agreed.map(|sealed| (sealed.digest, sealed.wraps.contains_key(&self.config.member)));
        if let Some(source) = self.sealing.sources.by_key.get_mut(key) {
            source.seal = false;
            source.compared = compared;
            source.content = content;
        }
    }

    fn read_content(
        &mut self,
        key: &RecordKey,
        context: &Context,
        record: Option<&Record>,
        plaintext: &[u8],
    ) -> Content {
        let mark = self.config.keys.remembered(plaintext);
        if let Some((digest, fresh)) = self.recognise(key, context, record, mark, plaintext) {
            return Content::Read { mark, digest, fresh };
        }
        let home = self.objects.get(key).and_then(|object| object.home.as_ref()).map(|home| &home.object);
        let incarnation = self.life_to_seal_for(key, record, home);
        let body_key = BodyKey::new(self.fresh_key());
        let body = body_key.seal(Place { league: context.league, key, incarnation }, plaintext).into();
        let digest = body_key.digest(plaintext);
        Content::Read { mark, digest, fresh: Some(Fresh { incarnation, key: body_key, body }) }
    }

    /// The digest by which a content is known already, with the body that waits for agreement, if any.
    fn recognise(
        &mut self,
        key: &RecordKey,
        context: &Context,
        record: Option<&Record>,
        mark: Hash,
        plaintext: &[u8],
    ) -> Option<(Hash, Option<Fresh>)> {
        let source = self.sealing.sources.by_key.get_mut(key)?;
        if source.seal {
            return None;
        }
        let before = std::mem::replace(&mut source.content, Content::Unread);
        let memory = record.and_then(|record| self.base_status(key, record).source);
        let memory = memory.filter(|memory| memory.content == mark);
        if let Some(agreed) = living_body(record) {
            if memory.as_ref().is_some_and(|memory| memory.digest == agreed.digest) {
                return Some((agreed.digest, None));
            }
            let place = Place { league: context.league, key, incarnation: agreed.incarnation };
            let opened = self.body_key(place, agreed);
            if opened.is_ok_and(|body_key| body_key.digest(plaintext) == agreed.digest) {
                return Some((agreed.digest, None));
            }
        }
        match before {
            Content::Read { mark: known, digest, fresh } if known == mark => Some((digest, fresh)),
            _ => memory.map(|memory| (memory.digest, None)),
        }
    }

    /// The life that an object sealed now would stand in.
    fn life_to_seal_for(&self, key: &RecordKey, record: Option<&Record>, home: Option<&HomeObject>) -> Incarnation {
        let page_revision = self.expected_page_revision(key);
        home.map_or_else(Incarnation::default, |home| home.life(record, page_revision))
    }

    /// The sealed content that a home object is to be agreed on with. `None`: not yet, and it is looked
    /// at again; or not at all, and the object says why.
    pub(crate) fn sealed_for(
        &mut self,
        key: &RecordKey,
        context: &Context,
        home: &mut HomeState,
        standing: &Standing,
        record: Option<&Record>,
        placed: &BTreeSet<MemberName>,
    ) -> Option<Sealed> {
        // A change is on its way already: what becomes of it is seen when it is settled.
        if self.is_being_written(key) {
            return None;
        }
        let agreed = living_body(record);
        // A body is bound to its life: where a restored record goes on in a later one, it is sealed anew.
        let goes_on = record.is_none_or(|record| home.object.life(Some(record), Revision(0)) == record.incarnation);
        let agreed = agreed.filter(|_| goes_on);
        if *standing == Standing::Converged && goes_on {
            return agreed.cloned();
        }
        let stands = match (&self.sealing.sources.by_key.get(key)?.content, agreed) {
            (Content::Unread, _) | (Content::Missing | Content::Refused(_), None) => return None,
            (Content::Missing | Content::Refused(_), Some(_)) => agreed,
            (Content::Read { digest, .. }, agreed) => agreed.filter(|agreed| agreed.digest == *digest),
        };
        let (mut sealed, body_key) = match stands {
            Some(agreed) => {
                let place = Place { league: context.league, key, incarnation: agreed.incarnation };
                // Without the key no wrap is added here: another member that holds it does.
                let Ok(body_key) = self.body_key(place, agreed) else { return Some(agreed.clone()) };
                (agreed.clone(), body_key)
            }
            None => self.fresh_body(key, home, record)?,
        };
        let recipients = recipients(&self.config.member, standing, record, placed);
        let lacking = recipients.into_iter().filter(|member| !sealed.wraps.contains_key(member)).collect();
        let place = Place { league: context.league, key, incarnation: sealed.incarnation };
        sealed.wraps.append(&mut self.wrap_for(place, &body_key, &lacking));
        Some(sealed)
    }

    fn fresh_body(
        &mut self,
        key: &RecordKey,
        home: &mut HomeState,
        record: Option<&Record>,
    ) -> Option<(Sealed, BodyKey)> {
        let incarnation = self.life_to_seal_for(key, record, Some(&home.object));
        let source = self.sealing.sources.by_key.get_mut(key)?;
        let (digest, body, body_key) = match &source.content {
            Content::Read { digest, fresh: Some(fresh), .. } if fresh.incarnation == incarnation => {
                (*digest, fresh.body.clone(), fresh.key.clone())
            }
            // It was sealed for another life, or was agreed on before: it is sealed anew.
            _ => {
                source.seal = true;
                source.due = true;
                self.want_source(key);
                return None;
            }
        };
        let reference = home.source.as_mut()?;
        // What this operator could not open itself it would seal anew at every start.
        if let Err(Untrusted::Differs(why)) = self.trusted_key(&self.config.member) {
            reference.problem = Some(why);
            return None;
        }
        let body = match self.place_body(key, &body, true) {
            Placing::Inline => SealedBody::Inline(STANDARD.encode(&body)),
            Placing::Blob(hash) => SealedBody::Blob(hash),
            Placing::Waits => return None,
            Placing::Impossible(why) => {
                let problem = format!("spec.templateFrom.secretRef.name: Secret {}: {why}", reference.name);
                reference.problem = Some(problem);
                return None;
            }
        };
        Some((Sealed { incarnation, digest, body, wraps: BTreeMap::new() }, body_key))
    }
}

impl Source {
    /// An answer has come. What the feed told meanwhile may be newer than it.
    fn answered(&mut self) {
        self.failures = 0;
        self.due = self.told.take().is_some_and(|told| told != self.version);
    }
}

/// Who is to open a content that a home agrees on.
fn recipients(
    member: &MemberName,
    standing: &Standing,
    record: Option<&Record>,
    placed: &BTreeSet<MemberName>,
) -> BTreeSet<MemberName> {
    let mut recipients = placed.clone();
    recipients.insert(member.clone());
    match (standing, record) {
        (Standing::Edited, Some(record)) => {
            recipients.extend(record.homes.keys().chain(&record.moving).chain(record.placed_members()).cloned());
        }
        (Standing::Taken, Some(record)) => recipients.extend(record.placed_members().cloned()),
        _ => {}
    }
    recipients
}
