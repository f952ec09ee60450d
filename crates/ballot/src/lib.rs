//! Agreement by ballots in one JSON object.
//!
//! Operators that cannot see each other's clusters share one versioned value in a topology server.
//! Each writes its own [`cell`] in it, by fetch, change and compare-and-swap, without locks; whoever
//! reads the object can tell the result. The linearizable compare-and-swap is the consensus; the
//! signed votes are the evidence.
//!
//! # The document
//!
//! [`Ballots`] is the agreement alone, for a program of any kind; [`Control`] is a league's control
//! document, with the federation spec around it. In either:
//!
//! | Part | Module | Written by |
//! |---|---|---|
//! | voters `{epoch, quorum, set}`, removed ones, people's keys | [`voters`], [`membership`] | a decision |
//! | one cell per voter | [`cell`] | that voter only |
//! | one open candidate per key | [`candidate`] | whoever is first, by compare-and-swap |
//! | decisions, each with its certificate | [`candidate`], [`mod@decide`] | the write that completes the quorum |
//! | appointments with terms | [`appointments`] | computed from the agreed facts; claims by compare-and-swap |
//! | barriers | [`barriers`] | the write that completes the phase |
//! | the era, the last force | [`era`] | a person |
//!
//! After which [`silence`] a member is suspected, and voted lost, is the same for all.
//!
//! # From document to decision
//!
//! 1. [`Ballots::from_slice`] reads the bytes; what it does not know, it carries on byte for byte.
//! 2. [`decide::tally`] counts what is validly signed, and names the rest ([`Rejected`]).
//! 3. [`decide::decide`] is a pure function of document and tally; [`decide::settle`] writes what it
//!    says into the document, in the same compare-and-swap that completed the quorum.
//! 4. [`mod@audit`] judges, without the code above, whether a document that was read may follow the one
//!    that was known: a store that was rolled back, forked or tampered with is named, and freezes.
//! 5. [`proposer`] drives all of it as a machine without I/O: answers and wake-ups in, calls out.
//! 6. [`explain`] says who voted what, who is missing, and what it would take.
//!
//! Counters: the five of `hansa-model`, and the [`Epoch`], the number of a ballot in its document. No
//! I/O, clock or randomness: times and entropy are passed in.

pub mod appointments;
pub mod audit;
pub mod barriers;
pub mod candidate;
pub mod cell;
pub mod contention;
pub mod control;
pub mod decide;
pub mod document;
pub mod era;
pub mod explain;
pub mod key;
pub mod membership;
pub mod motion;
pub mod proposer;
pub mod rejected;
pub mod signing;
pub mod silence;
pub mod voters;

pub use candidate::{Candidate, Decision, Outcome, Rule, Verdict, Vote};
pub use cell::Cell;
pub use control::{Control, ControlError, DEFAULT_PAGES, FORMAT, FederationHome, Standing};
pub use document::{Ballots, Document, DocumentError};
pub use era::Force;
pub use key::{Epoch, Key};
pub use motion::Motion;
pub use proposer::Proposer;
pub use rejected::{Fault, Rejected};
pub use signing::{PublicKey, Signature, Signer, Verifier};
pub use voters::{Voter, Voters};
