//! What goes into and comes out of the state machine: events and acts.
//!
//! Reads, writes, watches and wake-ups are acts; every completion is an event that names its act.
//! The acts are as plain as they can be (an HTTP request to the member's own API server, a call of
//! the topology server), so that whoever carries them out decides nothing.

use bytes::Bytes;
use hansa_ballot::PublicKey;
use hansa_ledger::{Swap, Version, Versioned};
use hansa_model::{FederatedType, RecordKey, Term};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Times and randomness of one step; the machine has no other.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// A clock that never goes backwards and does not stop in suspend (BOOTTIME), in milliseconds.
    pub monotonic_ms: u64,
    /// Milliseconds since the epoch, for what people read and for the breaker's window.
    pub wall_ms: u64,
    /// Fresh randomness.
    pub entropy: u64,
}

/// Names an act until its completion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ActId(pub u64);

/// What is to be carried out.
#[derive(Clone, PartialEq, Debug)]
pub enum Act {
    /// One request to the member's own API server.
    Api {
        /// Named in the [`Event::Api`] that ends it.
        id: ActId,
        /// The request.
        request: ApiRequest,
    },
    /// A watch at the member's own API server: each line is an event, until it closes.
    Watch {
        /// Named in the [`Event::WatchLine`]s and the [`Event::WatchClosed`].
        id: ActId,
        /// The request.
        request: ApiRequest,
    },
    /// Ends a watch; no more events of it are wanted.
    CloseWatch {
        /// The watch.
        id: ActId,
    },
    /// One call of the topology server.
    Topo {
        /// Named in the [`Event::Topo`] that ends it.
        id: ActId,
        /// The call.
        request: TopoRequest,
    },
    /// Finds a type in the member's API server and keeps its generated CRD and policy installed.
    InstallType {
        /// Named in the [`Event::TypeInstalled`] that ends it.
        id: ActId,
        /// The type.
        federated_type: FederatedType,
    },
    /// Changes the member's keys in their Secret, as often as it takes. Nothing is answered: an operator
    /// starts with its keys, so after most changes another start of it takes this one's place.
    ChangeKeys(KeysChange),
    /// An [`Event::Wake`] is wanted at this monotonic time; a later call replaces an earlier one.
    WakeAt {
        /// In milliseconds.
        monotonic_ms: u64,
    },
    /// The answer to an [`Event::Query`].
    Reply {
        /// The query.
        query: u64,
        /// The answer.
        answer: Value,
    },
    /// Something for people to read.
    Log(Note),
}

/// A change of the member's keys in their Secret; one that has happened already changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeysChange {
    /// The next pair is made, beside the one in use.
    Prepare,
    /// The next pair is the one in use from now on. Of the earlier one, its private sealing key stays, and
    /// its public signing key.
    Promote {
        /// The next pair's signing key, which the league voted in.
        key: PublicKey,
    },
    /// What the earlier pair signed has been said anew: its public signing key goes. No other start.
    ForgetSigning,
    /// Nothing is sealed to the earlier pair any more: its private sealing key goes.
    ForgetSealing,
}

/// What happened.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// The process started.
    Start,
    /// The time of the last [`Act::WakeAt`] has come.
    Wake,
    /// A request was answered, or could not be sent or answered.
    Api {
        /// The act.
        id: ActId,
        /// Status and body, or why there is none.
        answer: Result<ApiAnswer, String>,
    },
    /// A line of a watch.
    WatchLine {
        /// The watch.
        id: ActId,
        /// One JSON watch event.
        line: Bytes,
    },
    /// A watch ended, or was never opened.
    WatchClosed {
        /// The watch.
        id: ActId,
        /// The status when it was refused.
        status: Option<u16>,
        /// Why, for people.
        reason: String,
    },
    /// The topology server answered.
    Topo {
        /// The act.
        id: ActId,
        /// The answer.
        answer: TopoAnswer,
    },
    /// A type is installed, or cannot be.
    TypeInstalled {
        /// The act.
        id: ActId,
        /// What was found, or why it cannot be.
        answer: Result<InstalledType, String>,
    },
    /// Somebody asks.
    Query {
        /// Named in the [`Act::Reply`].
        query: u64,
        /// The question.
        question: Question,
    },
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Start => f.write_str("Start"),
            Event::Wake => f.write_str("Wake"),
            Event::Api { id, answer } => f.debug_struct("Api").field("id", id).field("answer", answer).finish(),
            // Not the line, for the object in it may be a Secret.
            Event::WatchLine { id, line } => write!(f, "WatchLine {{ id: {id:?}, line: {} bytes }}", line.len()),
            Event::WatchClosed { id, status, reason } => {
                f.debug_struct("WatchClosed").field("id", id).field("status", status).field("reason", reason).finish()
            }
            Event::Topo { id, answer } => f.debug_struct("Topo").field("id", id).field("answer", answer).finish(),
            Event::TypeInstalled { id, answer } => {
                f.debug_struct("TypeInstalled").field("id", id).field("answer", answer).finish()
            }
            Event::Query { query, question } => {
                f.debug_struct("Query").field("query", query).field("question", question).finish()
            }
        }
    }
}

/// The verb of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Read.
    Get,
    /// Create.
    Post,
    /// Replace what is named by uid and resourceVersion.
    Put,
    /// Patch, in one of the ways of [`ContentType`].
    Patch,
    /// Delete.
    Delete,
}

/// How a body is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentType {
    /// `application/json`
    Json,
    /// `application/apply-patch+yaml`: server-side apply (KEP-555).
    Apply,
    /// `application/merge-patch+json` (RFC 7386).
    MergePatch,
    /// `application/json-patch+json` (RFC 6902).
    JsonPatch,
}

impl ContentType {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Apply => "application/apply-patch+yaml",
            ContentType::MergePatch => "application/merge-patch+json",
            ContentType::JsonPatch => "application/json-patch+json",
        }
    }
}

/// A request to the member's own API server. Its `Debug` shows no body, for that may be a Secret's.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiRequest {
    /// The verb.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub path: String,
    /// How the body is to be read.
    pub content_type: ContentType,
    /// Only metadata is wanted in the answer (`PartialObjectMetadata`).
    pub metadata_only: bool,
    /// The body; empty for a read.
    pub body: Bytes,
}

impl ApiRequest {
    /// A read.
    pub fn get(path: impl Into<String>) -> Self {
        ApiRequest {
            method: Method::Get,
            path: path.into(),
            content_type: ContentType::Json,
            metadata_only: false,
            body: Bytes::new(),
        }
    }

    /// The media types that are wanted in the answer. A page of a list and a single object (or the
    /// objects of a watch) go by different names.
    pub fn accept(&self) -> &'static str {
        let is_list = self.path.contains("?limit=") || self.path.contains("&limit=");
        match (self.metadata_only, is_list) {
            (false, _) => "application/json",
            (true, false) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            (true, true) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        }
    }

    /// A write.
    pub fn write(method: Method, path: impl Into<String>, content_type: ContentType, body: &Value) -> Self {
        let body = serde_json::to_vec(body).expect("JSON always encodes into memory").into();
        ApiRequest { method, path: path.into(), content_type, metadata_only: false, body }
    }
}

/// What the API server answered. Its `Debug` shows no body, for that may be a Secret's.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.metadata_only { " (metadata)" } else { "" };
        let (body, media_type) = (self.body.len(), self.content_type.media_type());
        write!(f, "{:?} {}{kind}", self.method, self.path)?;
        if body > 0 { write!(f, ", {body} bytes of {media_type}") } else { Ok(()) }
    }
}

impl fmt::Debug for ApiAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}, {} bytes", self.status, self.body.len())
    }
}

/// A call of the topology server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopoRequest {
    /// Several values at once.
    Read {
        /// The keys.
        keys: Vec<String>,
    },
    /// Every value under a prefix.
    List {
        /// The prefix.
        prefix: String,
    },
    /// Creates the key (`expected: None`) or compares and swaps it.
    Write {
        /// The key.
        key: String,
        /// The version it must be at.
        expected: Option<Version>,
        /// The new value.
        value: Bytes,
    },
    /// Waits for changes since a cursor; without one, asks for the cursor of now.
    Changes {
        /// Where to go on from.
        cursor: Option<Box<str>>,
    },
}

/// What the topology server answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopoAnswer {
    /// To a read: values in the order of the keys.
    Values(Vec<Option<Versioned>>),
    /// To a list.
    Listed(Vec<(String, Versioned)>),
    /// To a write.
    Swapped(Swap),
    /// To a wait: what was written, with the last version told.
    Changed {
        /// Where to go on from.
        cursor: Box<str>,
        /// The keys.
        keys: BTreeMap<String, Version>,
    },
    /// To a wait: the history since the cursor is gone, list anew and go on from this one.
    Reset {
        /// Where to go on from.
        cursor: Box<str>,
    },
    /// Nothing was read or written: another store stands where the league's stood.
    Replaced {
        /// What is wrong and the mend, for people.
        reason: String,
    },
    /// Nothing was read or written.
    Failed {
        /// Why, for people.
        reason: String,
        /// What kind of failure it is.
        failure: TopoFailure,
        /// How long the server asked to be left alone with this call.
        retry_after_ms: Option<u64>,
    },
}

/// Why a call of the topology server failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopoFailure {
    /// The server cannot be used.
    Away,
    /// The server is there, and asks to be called less often.
    Throttled,
}

/// What a member's API server knows of a federated type, once its generated CRD is installed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstalledType {
    /// The target's kind.
    pub kind: String,
    /// Whether the target lies in namespaces.
    pub namespaced: bool,
    /// The lists of the target that are merged by keys, for kinds that are not built in; by path.
    pub list_keys: BTreeMap<String, Vec<String>>,
}

/// What somebody asks of the picture, all of it without the contents of objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// How the operator itself is: readiness, what is frozen, counters.
    Health,
    /// The counters, for a metrics endpoint.
    Metrics,
    /// The members, as this operator sees them.
    Members,
    /// The federated objects.
    Objects {
        /// Only those that no member keeps.
        homeless: bool,
        /// Only of this type, in this namespace, of this name; empty fields do not select.
        select: Selection,
    },
    /// Why each member has what it has.
    Explain {
        /// The object.
        key: RecordKey,
    },
    /// What waits for a person's confirmation.
    Held,
    /// Who voted what, who is missing, and what it would take.
    Ballots,
    /// Who has answered a plan, and who is waited for.
    Plan {
        /// The uid of the Request that asks for it.
        request: String,
    },
}

/// Which objects are asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// The type, as `plural.group`.
    pub type_name: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// How loud a note is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Every step of an object.
    Debug,
    /// What an administrator wants to see.
    Info,
    /// Something needs attention soon.
    Warning,
    /// Something does not work.
    Error,
}

/// Something for people to read; never the contents of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// How loud.
    pub level: Level,
    /// The object it is about.
    pub key: Option<RecordKey>,
    /// The term in the header of that object's page, as far as it is read here: 0 before.
    pub term: Option<Term>,
    /// What happened.
    pub message: String,
}
