//! Records: a federated object's intent, decisions and lives.

use hansa_model::{DeletionPolicy, Hash, Incarnation, MemberName, Revision};
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The record format this release reads and writes. A record of any other format, or with a field
/// that this release does not know, is carried on unchanged (see [`crate::page::Slot`]).
pub const FORMAT: u32 = 1;

/// A few members, in their order: a sorted list, for the node of a B-tree has room for eleven, and a league
/// has thousands of records with one or two in each of these.
pub type Members<T> = litemap::LiteMap<MemberName, T>;

/// How many members a record may name in one place, many times what a league has: a sorted list is filled
/// in quadratic time by whoever writes it in the wrong order.
pub const MAX_MEMBERS: usize = 4_096;

fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Members<T>, D::Error> {
    struct Few<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = Members<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_MEMBERS} members, by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
            let mut members = Members::new();
            while let Some((member, value)) = map.next_entry()? {
                if members.len() == MAX_MEMBERS {
                    return Err(A::Error::invalid_length(MAX_MEMBERS + 1, &self));
                }
                members.insert(member, value);
            }
            Ok(members)
        }

        /// How a map of this kind is written when it is empty.
        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Members<T>, A::Error> {
            match sequence.next_element::<IgnoredAny>()? {
                None => Ok(Members::new()),
                Some(_) => Err(A::Error::invalid_type(Unexpected::Seq, &self)),
            }
        }
    }

    deserializer.deserialize_any(Few(PhantomData))
}

/// Everything the league has agreed about one federated object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// The record's format.
    pub format: u32,
    /// This life of the object; rises with every rebirth of the name.
    pub incarnation: Incarnation,
    /// Rises with every agreed change of the intent within this life.
    pub revision: Revision,
    /// What users want.
    pub intent: Intent,
    /// The members in which users keep the object; empty: homeless, the intent stays.
    #[serde(default, deserialize_with = "few")]
    pub homes: Members<Home>,
    /// The member that is to become the only home, until it has the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<MemberName>,
    /// Homes that the object was moved away from, with the uid of the copy that stayed behind: it
    /// does not become a home again by itself.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "Members::is_empty")]
    pub former: Members<String>,
    /// Every member that was ever given the object in this life, or still owes the end of an earlier one.
    #[serde(default, deserialize_with = "few")]
    pub placed: Members<Placed>,
    /// Present when the object is deleted; it stays until every member that was ever placed has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstone: Option<Tombstone>,
    /// The last wave of the rollout of a revision that is open, when it is not the first; by the page's appointee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Box<Opened>>,
    /// The sealed body of a Secret, whose intent holds only the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Box<crate::seal::Sealed>>,
}

/// How far the rollout of a revision has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opened {
    /// The revision.
    pub revision: Revision,
    /// The last wave that is open, counted from 0.
    pub wave: u32,
}

/// What users want, kept verbatim so that it can be signed and carried on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// The hash of the canonical spec, and of the sealed body's digest where there is one.
    pub hash: Hash,
    /// The member that wrote this revision.
    pub author: MemberName,
    /// The spec of the `Federated<Kind>`.
    pub body: Body,
    /// The author's signature over league, era, key, incarnation, revision and body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Where an intent's bytes are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    /// In the record.
    Inline(Arc<RawValue>),
    /// In `/v1/blobs/<hash>`, immutable.
    Blob(Hash),
}

/// What a home was seen to hold when it was last ingested.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Home {
    /// The object's uid: another one is another object.
    pub uid: String,
    /// The object's generation: a lower one is a restored object.
    pub generation: u64,
    /// The content's hash.
    pub hash: Hash,
    /// The agreed revision that this content is, or was based on.
    pub revision: Revision,
}

/// A member's part in a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placed {
    /// Where it stands.
    pub state: PlacedState,
    /// The life of the object that this is about; lower than the record's for a debt of an earlier life.
    pub incarnation: Incarnation,
}

/// Where a member stands with an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlacedState {
    /// It has, or is to have, the output.
    Placed,
    /// It is to remove its output and to say so.
    Withdrawing,
    /// It has said that its output is gone.
    Gone,
}

/// The end of an object's life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tombstone {
    /// The member in which the object was deleted.
    pub author: MemberName,
    /// What becomes of the outputs.
    pub policy: DeletionPolicy,
    /// The author's signature over league, era, key and incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl Record {
    /// Whether nobody owes anything any more, so that a tombstoned record may leave its page.
    pub fn is_finished(&self) -> bool {
        self.tombstone.is_some()
            && self.homes.is_empty()
            && self.placed.values().all(|placed| placed.state == PlacedState::Gone)
    }

    /// Whether the intent stands though no member keeps the object.
    pub fn is_homeless(&self) -> bool {
        self.tombstone.is_none() && self.homes.is_empty()
    }

    /// The members that have, or are to have, the output of this life.
    pub fn placed_members(&self) -> impl Iterator<Item = &MemberName> {
        self.placed.iter().filter(|(_, placed)| placed.state == PlacedState::Placed).map(|(member, _)| member)
    }

    /// The last wave of the present revision that is open, counted from 0.
    pub fn open_wave(&self) -> u32 {
        self.opened.as_ref().filter(|opened| opened.revision == self.revision).map_or(0, |opened| opened.wave)
    }

    /// Whether two states of one record say the same. Equal hashes stand for equal intents.
    pub fn says_the_same(&self, other: &Record) -> bool {
        self.incarnation == other.incarnation
            && self.revision == other.revision
            && self.intent.hash == other.intent.hash
            && self.intent.author == other.intent.author
            && self.intent.signature == other.intent.signature
            && self.homes == other.homes
            && self.moving == other.moving
            && self.former == other.former
            && self.placed == other.placed
            && self.tombstone == other.tombstone
            && self.opened == other.opened
            && self.sealed == other.sealed
    }
}
