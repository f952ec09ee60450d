//! What goes into a proposer, and what comes out of it.

use super::{Frozen, Notes};
use crate::motion::Answer;
use crate::rejected::Rejected;
use crate::signing::Signer;
use bytes::Bytes;
use hansa_ledger::{Swap, Version, Versioned};
use hansa_model::{Incarnation, LeagueId};

/// What a proposer has to know of itself.
#[derive(Clone, Debug)]
pub struct Config<D> {
    /// The league, or what else the document is called by.
    pub league: LeagueId,
    /// The voter's key.
    pub signer: Signer,
    /// The body that the voter is in: the uid of kube-system.
    pub uid: String,
    /// The start of this process: higher than that of every earlier one of this voter.
    pub incarnation: Incarnation,
    /// What was made durable before this start.
    pub notes: Notes,
    /// A guess of the round trip to the topology server; what is measured replaces it.
    pub round_trip_ms: u64,
    /// The document to begin with when there is none; `None` waits for another to begin.
    pub founding: Option<D>,
}

/// What a motion is called by until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The process begins, or motions were added.
    Wanted,
    /// The time of [`Act::Wake`] has come.
    Woke,
    /// The key was written by somebody.
    Changed,
    /// A read was answered; `None`: there is no such key.
    Read(Option<Versioned>),
    /// A write was answered.
    Swapped(Swap),
    /// A call did not happen: nothing was read or written.
    Failed,
    /// The notes are durable.
    Persisted,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Read the key, linearizably.
    Read,
    /// Create the key (`expected` is `None`), or compare and swap it.
    Write {
        /// The version that is expected.
        expected: Option<Version>,
        /// The bytes.
        value: Bytes,
    },
    /// Make the notes durable; nothing else is done before [`Event::Persisted`].
    Persist(Notes),
    /// Come back at this time with [`Event::Woke`]; replaces an earlier wish.
    Wake {
        /// When, on the clock that is passed in.
        at_ms: u64,
    },
}

/// What a proposer has to say.
#[derive(Clone, Debug)]
pub enum Told {
    /// A motion is done; its ticket is no more.
    Answer(Ticket, Answer),
    /// What does not count in the document, and why; told when it changes.
    Rejected(Vec<Rejected>),
    /// Nothing is written or told until the store shows a document that may follow.
    Frozen(Frozen),
    /// It goes on.
    Thawed,
}
