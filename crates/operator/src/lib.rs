//! The operator as a state machine: `step(event, now) → acts`.
//!
//! It holds the picture (the control document and the pages from the topology server, the members'
//! cells, and what its own API server shows), and does one loop over it, object by object:
//!
//! ```text
//! federated object ─▶ intent ─▶ page ─▶ share ─▶ output ─▶ status cell ─▶ federated object's status
//! ```
//!
//! No I/O, clock or randomness of its own: every completion is an event, reads and wake-ups are
//! acts, and back-off, paging, retries and in-flight limits live in here, so that what is simulated
//! is what ships. Bounded work per step: what is left over asks for another wake-up.
//!
//! | Module | Holds |
//! |---|---|
//! | [`io`] | events and acts |
//! | [`machine`] | the operator, its queues and its dispatch |
//! | `topology` | the picture's agreed half: loading, following, writing |
//! | `league` | the federation spec and the league's founding |
//! | `ballots` | what operators could see differently: the spec, who votes, who is lost, who decides where |
//! | `home` | federated objects of this member: ingest, finalizers, statuses |
//! | `output` | outputs of this member: apply, repair, yield, remove |
//! | `upkeep` | the objects that Hansa keeps for people to read: `Member`s, the mirrored `Federation` |
//! | `removal` | what is to be taken away: the breaker before each |
//! | `words` | intents and ends, signed by who heard them; nothing is done on one that is nobody's |
//! | [`release`] | what this release knows, and what it does beside others in one league |
//! | [`rotation`] | another pair of keys for this member, step by step |
//! | `sealing` | Secrets: read at home, sealed, opened by those that are to have them |
//! | `blobs`, `draft` | bodies that are too large for a page; what goes into one write of it |
//! | [`report`] | the status of a federated object, a pure function |
//! | `requests` | what users ask of this operator by `Request` objects |
//! | `plans` | what every member would do, asked before it is done |
//! | `events` | Kubernetes Events about the objects of people |
//! | `answer` | answers to questions |
//! | [`feed`], [`writer`], [`classify`], [`backoff`], [`observed`] | the parts they are made of |

mod answer;
pub mod backoff;
mod ballots;
mod blobs;
pub mod classify;
mod draft;
mod events;
pub mod feed;
mod home;
pub mod io;
mod league;
pub mod machine;
pub mod observed;
mod output;
mod plans;
pub mod release;
mod removal;
pub mod report;
mod requests;
pub mod rotation;
mod sealing;
mod topology;
mod upkeep;
mod words;
pub mod writer;

pub use blobs::MAX_VALUE_BYTES;
pub use io::{
    Act, ActId, ApiAnswer, ApiRequest, ContentType, Event, InstalledType, KeysChange, Level, Method, Note, Now,
    Question, Selection, TopoAnswer, TopoFailure, TopoRequest,
};
pub use machine::{Config, Metrics, Operator};
pub use release::{FEATURE_LEVEL, Release};
pub use rotation::Rotation;
pub use sealing::cipher::PrivateKeys;
pub use topology::READS_PER_HEARTBEAT;
