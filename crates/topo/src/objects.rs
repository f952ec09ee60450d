//! `s3://`, `gs://` and `az://`: a prefix in a bucket of an object store.
//!
//! Each key is an object ([`name`]) that holds the value behind a stamp ([`frame`]), so that its ETag,
//! which is its version here, never comes back. A compare-and-swap is a conditional write: `If-Match`
//! and `If-None-Match` at S3 and Azure; at Google the object's generation, which stands for the ETag
//! that the value was read with. All three promise that reads and lists are linearizable; that an answer's ETag and content
//! belong together is looked at where it can be seen ([`mod@content`]).
//!
//! No request is repeated by `object_store` (its retry is off) and no write by this module: one whose
//! answer is lost is [`Swap::Indeterminate`]. Should a proxy between repeat a write, the second copy
//! meets the first one's version and is refused; the stamp tells that what stands there is our own.
//! ([`mod@line`] sees every request and [`mod@meaning`] says what an answer means.)
//!
//! A list is a request for each thousand names and one for each value; following changes is one
//! list of names after the other ([`feed`]).

mod ask;
mod check;
mod clouds;
mod content;
mod federated;
mod feed;
mod follow;
mod frame;
mod line;
mod meaning;
mod name;

use crate::contract::{Changes, Cursor, Entry, Finding, Topo};
use crate::error::{Category, TopoError};
use crate::front::{Backend, Front};
use crate::open::Options;
use crate::place;
use crate::url::{Cloud, ObjectsUrl};
use crate::usage::{Meter, Operation};
use ask::Failure;
use async_trait::async_trait;
use bytes::Bytes;
use clouds::Store;
use feed::Feed;
use frame::Stamp;
use futures::{StreamExt, TryStreamExt, stream};
use hansa_ledger::{Swap, Version, Versioned};
use line::{Answer, Line};
use meaning::{Meaning, meaning};
use object_store::list::{PaginatedListOptions, PaginatedListResult};
use object_store::path::Path;
use object_store::{PutMode, PutOptions, UpdateVersion};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A handle to the store, which tells of changes below `follows`. Asks nothing yet.
pub(crate) fn open(url: ObjectsUrl, options: &Options, follows: &'static str) -> Result<Arc<dyn Topo>, TopoError> {
    let meter = Arc::new(Meter::default());
    let certificates = match url.ca.as_ref().or(options.ca.as_ref()) {
        Some(file) => clouds::certificates(url.cloud, file)?,
        None => Vec::new(),
    };
    let credentials = Arc::new(Mutex::new(None));
    let line = Line { meter: meter.clone(), certificates, timeout: url.timeout, credentials: credentials.clone() };
    let history = place::new_store_name().map_err(|error| no_randomness(url.cloud, error))?;
    let objects = Objects {
        store: clouds::store(&url, options, line)?,
        credentials,
        generations: Mutex::default(),
        has_other_etags: AtomicBool::new(false),
        history,
        follows,
        feed: Mutex::new(Feed::new(url.changes_kept.unwrap_or(crate::CHANGES_KEPT))),
        moved: watch::Sender::new(()),
        turn: tokio::sync::Mutex::default(),
        started: Instant::now(),
        url,
    };
    Ok(Arc::new(Front::new(objects, meter)))
}

struct Objects {
    url: ObjectsUrl,
    store: Arc<dyn Store>,
    /// How the last request for credentials ended.
    credentials: Arc<Mutex<Option<http::StatusCode>>>,
    /// The versions of keys as last seen, with the generation that each stands for (gs).
    generations: Mutex<BTreeMap<String, (Version, String)>>,
    /// Whether an ETag that looked like the sum of its content was found to be none ([`content`]).
    has_other_etags: AtomicBool,
    /// The name of this handle's history in cursors.
    history: String,
    /// What the keys begin with whose changes are told.
    follows: &'static str,
    feed: Mutex<Feed>,
    /// Moves when the feed does.
    moved: watch::Sender<()>,
    /// Held by the one who lists for all who wait.
    turn: tokio::sync::Mutex<()>,
    started: Instant,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// How many values are read at once.
const READS: usize = 32;
/// How long a list may take whose values a server gives less fast than they are asked for.
const LIST: Duration = Duration::from_secs(300);
/// How long a value of a list waits where the server asks to be let alone, and does not say how long.
const LET_ALONE: Duration = Duration::from_secs(1);
/// An object in a list.
struct Listed {
    /// Its key, or its name where that is none of ours.
    key: Result<String, String>,
    version: Version,
}

impl Objects {
    fn path(&self, name: &str) -> Path {
        // Names are made of what needs no encoding.
        Path::from(format!("{}/{name}", self.url.prefix))
    }

    async fn current(&self, operation: Operation, key: &str) -> Result<Option<Versioned>, TopoError> {
        Ok(self.content(operation, key).await?.map(|content| content.versioned))
    }

    /// The version that an ETag is. Lists and answers differ in quotes.
    fn version(&self, etag: Option<String>) -> Result<Version, TopoError> {
        let etag = etag.unwrap_or_default();
        let bare = etag.trim_matches('"');
        if is_etag(bare) {
            return Ok(Version::new(bare));
        }
        let message = format!("the server gives the ETag {etag:?}, which no condition can name; use another server");
        Err(self.error(Category::Configuration, message))
    }

    fn remember(&self, key: &str, version: &Version, generation: Option<String>) {
        if let (Cloud::Gs, Some(generation)) = (self.url.cloud, generation) {
            let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
            generations.insert(key.to_owned(), (version.clone(), generation));
        }
    }

    /// The condition that the key is at this version; what stands there, when it certainly is not.
    async fn condition(
        &self,
        operation: Operation,
        key: &str,
        expected: &Version,
    ) -> Result<Result<UpdateVersion, Option<Versioned>>, TopoError> {
        if !is_etag(expected.as_str()) {
            return Ok(Err(self.current(operation, key).await?));
        }
        if self.url.cloud != Cloud::Gs {
            return Ok(Ok(UpdateVersion { e_tag: Some(format!("\"{expected}\"")), version: None }));
        }
        let known = |objects: &Objects| {
            let generations = objects.generations.lock().unwrap_or_else(PoisonError::into_inner);
            generations.get(key).filter(|(version, _)| version == expected).map(|(_, generation)| generation.clone())
        };
        if let Some(generation) = known(self) {
            return Ok(Ok(UpdateVersion { e_tag: None, version: Some(generation) }));
        }
        // The version is another handle's, or an old one.
        let current = self.current(operation, key).await?;
        Ok(known(self).map(|generation| UpdateVersion { e_tag: None, version: Some(generation) }).ok_or(current))
    }

    /// After an answer that the condition does not hold: what stands there instead.
    async fn settle(
        &self,
        operation: Operation,
        key: &str,
        expected: Option<&Version>,
        stamp: Stamp,
        answer: &Answer,
    ) -> Result<Swap, TopoError> {
        let found = match self.content(operation, key).await {
            Ok(found) => found,
            // Not written, most likely; but whether it was our own write that stands in our way
            // remains to be seen.
            Err(error) => return Ok(Swap::Indeterminate { reason: error.chain() }),
        };
        let under_way = || {
            let message = "another write of this key is under way; nothing was written";
            Err(self.refused(answer, Category::Unavailable, message).at_key(key))
        };
        match (found, expected) {
            // Somebody between has sent our write twice.
            (Some(found), _) if found.stamp == stamp => {
                self.wrote(key, &found.versioned.version);
                Ok(Swap::Committed(found.versioned.version))
            }
            (Some(found), Some(expected)) if found.versioned.version == *expected => under_way(),
            (None, None) => under_way(),
            (found, _) => Ok(Swap::Mismatch { current: found.map(|found| found.versioned) }),
        }
    }

    /// The names and versions of all objects whose key begins with `prefix`; `page` is called for
    /// each request.
    async fn names(
        &self,
        operation: Operation,
        prefix: &str,
        mut page: impl FnMut() + Send,
    ) -> Result<Vec<Listed>, TopoError> {
        let root = format!("{}/", self.url.prefix);
        let beginning = format!("{root}{}", name::beginning(prefix));
        let mut listed = Vec::new();
        let mut token: Option<String> = None;
        loop {
            page();
            let answer = self.page(operation, &beginning, token, None).await?;
            for object in answer.result.objects {
                let name = object.location.as_ref();
                let key = name.strip_prefix(&root).and_then(name::to_key);
                listed.push(Listed { key: key.ok_or_else(|| name.to_owned()), version: self.version(object.e_tag)? });
            }
            token = answer.page_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(listed);
            }
        }
    }

    /// One page of names that begin so: at most a thousand, or `most`.
    async fn page(
        &self,
        operation: Operation,
        beginning: &str,
        token: Option<String>,
        most: Option<usize>,
    ) -> Result<PaginatedListResult, TopoError> {
        let read = self.read(operation, |trace| {
            let (beginning, page_token) = (beginning.to_owned(), token.clone());
            Box::pin(async move {
                let extensions = trace.extensions();
                let options = PaginatedListOptions { page_token, max_keys: most, extensions, ..Default::default() };
                self.store.list_paginated(Some(&beginning), options).await
            })
        });
        let missing = || self.error(Category::Configuration, "there is no list; look at the bucket and at endpoint=");
        read.await?.ok_or_else(missing)
    }

    /// The values of keys, in their order. A list is of thousands: were it given up where a few of them are refused for the
    /// moment, and begun anew, it would never end on a server that refuses a few of a thousand.
    async fn values(
        &self,
        operation: Operation,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Versioned>)>, TopoError> {
        let end = Instant::now() + if operation == Operation::List { LIST } else { Duration::ZERO };
        let reads = keys.into_iter().map(|key| async move {
            loop {
                match self.current(operation, &key).await {
                    Ok(found) => return Ok((key, found)),
                    Err(error) => {
                        let until = Instant::now() + error.wait().unwrap_or(LET_ALONE);
                        if error.category() != Category::Throttled || until > end {
                            return Err(error);
                        }
                        tokio::time::sleep_until(until).await;
                    }
                }
            }
        });
        stream::iter(reads).buffered(READS).try_collect().await
    }
}

/// Whether a text can be an ETag that a condition can name. Weak ones (`W/"…"`) cannot.
fn is_etag(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:+/=".contains(c);
    !text.is_empty() && text.len() <= 200 && text.chars().all(plain)
}

fn no_randomness(cloud: Cloud, error: getrandom::Error) -> TopoError {
    let message = "the operating system gives no random bytes";
    TopoError::new(Category::Internal, cloud.scheme(), message).caused_by(error.to_string())
}

#[async_trait]
impl Backend for Objects {
    fn name(&self) -> &'static str {
        self.url.cloud.scheme()
    }

    fn values_per_read(&self) -> usize {
        1
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, TopoError> {
        self.current(Operation::Get, key).await
    }

    async fn swap(&self, key: &str, expected: Option<&Version>, value: Bytes) -> Result<Swap, TopoError> {
        let operation = Operation::of_swap(expected);
        let mode = match expected {
            None => PutMode::Create,
            Some(expected) => match self.condition(operation, key, expected).await? {
                Ok(condition) => PutMode::Update(condition),
                Err(current) => return Ok(Swap::Mismatch { current }),
            },
        };
        let stamp = Stamp::new().map_err(|error| no_randomness(self.url.cloud, error))?;
        let path = self.path(&name::of_key(key));
        let asked = self.ask(operation, |trace| {
            let options = PutOptions { mode, extensions: trace.extensions(), ..PutOptions::default() };
            Box::pin(async move { self.store.put_opts(&path, frame::framed(stamp, value), options).await })
        });
        let answer = match asked.await {
            Ok(written) => {
                return Ok(match self.version(written.e_tag) {
                    Ok(version) => {
                        self.remember(key, &version, written.version);
                        self.wrote(key, &version);
                        Swap::Committed(version)
                    }
                    Err(error) => Swap::Indeterminate { reason: error.chain() },
                });
            }
            Err(Failure::NotSent(error)) => return Err(error.at_key(key)),
            Err(Failure::Open(error)) => return Ok(Swap::Indeterminate { reason: error.chain() }),
            Err(Failure::Answered(answer)) => answer,
        };
        match (meaning(&answer), expected) {
            (Meaning::Condition, _) | (Meaning::Missing, Some(_)) => {
                self.settle(operation, key, expected, stamp, &answer).await
            }
            (Meaning::Missing, None) => {
                let mend = "there is no place for a new object; look at the bucket or container, and at endpoint=";
                Err(self.refused(&answer, Category::Configuration, mend).at_key(key))
            }
            (Meaning::Refused(category, mend), _) => Err(self.refused(&answer, category, mend).at_key(key)),
            (Meaning::Unknown(category, mend), _) => {
                Ok(Swap::Indeterminate { reason: self.refused(&answer, category, mend).chain() })
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, TopoError> {
        let listed = self.names(Operation::List, prefix, || {}).await.map_err(|error| error.at_key(prefix))?;
        let keys = listed.into_iter().map(|listed| {
            listed.key.map_err(|name| {
                let message = format!("below the prefix is the object {name:?}, which is no key; remove it");
                self.error(Category::Corrupt, message)
            })
        });
        let mut keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        keys.sort_unstable();
        let found = self.values(Operation::List, keys).await?;
        // What an administrator has deleted meanwhile is missing.
        Ok(found.into_iter().filter_map(|(key, found)| Some(Entry { key, versioned: found? })).collect())
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, TopoError> {
        let found = self.values(Operation::ReadMany, keys.to_vec()).await?;
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }

    async fn changes(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        self.follow(cursor).await
    }

    async fn check(&self) -> Result<Vec<Finding>, TopoError> {
        check::check(self).await
    }
}
