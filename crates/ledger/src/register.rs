//! A register that stands on several stores, by CASPaxos, as state machines without I/O.
//!
//! Source: Denis Rystsov, "CASPaxos: Replicated State Machines without logs" (2018); Gryadka is his
//! implementation. A key is a register. Each of the 2F+1 stores holds a [`struct@Copy`] of it, and is an
//! *acceptor* by its own compare-and-swap alone: whoever proposes reads the copy, computes the next
//! one ([`acceptor`]), and swaps it in at the version read. So the check of a promise and the
//! change that depends on it are one step, and a request that is repeated or late finds another
//! version. An [`Operation`] is one read or write of one key: it says which requests to send
//! ([`Act`]) and is told what came of them ([`Reply`]). Randomness and time are passed in.
//!
//! What goes beyond the paper, each with its reason:
//!
//! - **A quorum is of equal ballots.** If the same accepted ballot stands on a quorum, its value is
//!   chosen, and a read that saw it there is done after one round trip, without a write.
//! - **The next promise rides on the acceptance**, so a proposer that writes a register again needs
//!   one round trip ([`Lease`]).
//! - **Others go first.** Who finds a write under way looks again, and again, before it settles the
//!   register itself ([`Waits`]): else readers stop writers, and many of them everything.
//! - **A proposer is a process**: a name and a random incarnation. Two processes under one name, or
//!   one that was restarted and counts anew, can never use the same ballot.
//! - **A value has its own version**, given when it is first proposed; whoever finishes a half-done
//!   write proposes the same value under a new ballot, and its version stays. A value names its
//!   predecessor, so that a writer can tell what became of a write that another process finished.
//! - **High-water marks.** A copy says of each store which ballot it has acknowledged. A store that
//!   shows less has forgotten what it promised (it was restored, or rolled back) and is
//!   [barred](Act::Bar): a promise that is forgotten is as bad as one that is broken. Only evidence
//!   that is met can be used: it lies on the stores that accepted after the mark. Ballots therefore
//!   begin at the clock ([`Ballots::tick`]), so that what was promised before a restore is low
//!   afterwards also where nobody is left to tell. Nothing depends on the clock as long as no store
//!   forgets.
//! - **Values above a size are blobs**, immutable and named by their hash, put on a quorum of the
//!   stores before any copy names them; copies stay small, and a read moves the value once, not
//!   from each store.
//! - **The set of stores has an epoch**, which stands in every copy ([`StoreSet`]). A store is
//!   replaced in steps (both quorums, for two epochs; every register written again; the new quorum
//!   alone), and who still works with the old set meets the new epoch in the copies. A register that does not
//!   exist yet has no copy to meet it in: before one is made, or said to be missing, the set is
//!   looked up again on a quorum. The register of the set itself is read under sets that are only
//!   heard of, to find out whether they are in force ([`Search`]): a copy of it bears the epoch
//!   under which the set that it has accepted was proposed ([`SET_KEY`]), never that set's own,
//!   or one that was never agreed on would lock out the one that is.
//! - **Registers are never deleted**: a missing copy is one that was never written, or one that was
//!   lost.

pub mod acceptor;
mod ballot;
mod copy;
mod operation;
mod search;
mod store_set;
#[cfg(test)]
mod stores;

pub use ballot::{Ballot, Ballots, InvalidBallot, ProposerId};
pub use copy::{Accepted, Content, Copy, CopyError, State};
pub use operation::{Act, Change, Evidence, Lease, Operation, Outcome, Reply, Request, Waits};
pub use search::Search;
pub use store_set::{SET_KEY, StoreId, StoreSet, StoreSetError};
