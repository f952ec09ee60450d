//! The league's ballots: what operators could see differently is settled in the control document.
//!
//! [`hansa_ballot::Proposer`] gets this member's word into the document; this room says which word.
//!
//! | Module | Holds |
//! |---|---|
//! | [`wanted`] | what a voter has to say, a pure function of what it sees |
//! | [`judging`] | how it votes on what others propose, a pure function |
//! | `cluster` | what a candidate of the spec comes to in this cluster, a pure function |
//! | `driving` | the proposer's calls and their answers; the document turned into the picture |
//! | `notes` | what a voter must not forget, kept in a ConfigMap of its own cluster |
//! | `standing` | whether this cluster votes here, waits to be let in, was taken out, or is a clone |
//!
//! | Settled | Proposed by | Voted on by each operator |
//! |---|---|---|
//! | a new generation of the spec | its home | against its own release and cluster |
//! | a new voter | the spec's home, once the spec lists it and its key has asked | by spec and key |
//! | a voter goes | the same, once the spec does not list it any more | by spec |
//! | a voter signs with its next key | itself, once the spec lists that key | by spec ([`crate::rotation`]) |
//! | a member is lost, or is back | whoever has not heard it for long; itself | on its own clock |
//! | the feature level | anybody, once all speak it | by its release |
//! | seats of pages | nobody: they are computed from the above, in the same write | |
//!
//! A spec is acted on once the notes say which document it came from: a topology server that is rolled
//! back while this operator is away is noticed when it returns.

mod cluster;
mod driving;
pub(crate) mod judging;
mod notes;
mod standing;
#[cfg(test)]
mod tests;
pub(crate) mod wanted;

use hansa_ballot::audit::Breach;
use hansa_ballot::membership::Join;
use hansa_ballot::proposer::{Frozen, Ticket};
use hansa_ballot::{Control, Key, Proposer, Rejected, Voters};
use hansa_ledger::Version;
use hansa_model::TypeName;
use std::collections::{BTreeMap, BTreeSet};
use wanted::Topic;

pub(crate) use notes::NotesCall;

/// So many names of whom nothing counts are counted apart, and all the others as one.
const MAX_NAMES_COUNTED: usize = 100;
const OTHER_NAMES: &str = "(others)";

/// How long a proposal that was not adopted rests before it is made again.
const RETRY_MS: u64 = 30_000;

/// This member's voice in the ballots.
#[derive(Debug, Default)]
pub(crate) struct Council {
    stage: Stage,
    proposer: Option<Proposer<Control>>,
    /// Its request to join, signed once.
    join: Option<Join>,
    /// What waits in the proposer, by what it is about.
    pending: BTreeMap<Topic, Ticket>,
    /// What is said, or cannot be said, in the document that the picture holds.
    answered: BTreeSet<Topic>,
    /// When this operator last proposed something, on its own clock.
    proposed: BTreeMap<Key, u64>,
    /// The version of the document that the picture holds.
    turned: Option<Version>,
    /// When the read of the control document that is under way was asked for, on this operator's own clock.
    asked_ms: Option<u64>,
    /// The same of the last one that was answered.
    read_ms: Option<u64>,
    /// Such an answer has come, and what waited for it was not looked at since.
    is_read_anew: bool,
    /// A newer generation of the spec, or a later era, stands than the one in the picture, and is not noted yet.
    behind: bool,
    /// What does not count in the document.
    rejected: Vec<Rejected>,
    /// How often something did not count, by why and who it would have spoken for.
    rejections: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Something is to be looked at, before this step ends.
    pub look: bool,
    /// The time of the proposer's last wish to be woken.
    wakes_ms: Option<u64>,
    notes: notes::Keeping,
    /// What the API server serves of types that are being voted on; `None` while it is asked.
    serves: BTreeMap<(TypeName, String), Option<bool>>,
    /// Everything is read once more, since others have voted this member lost.
    catching_up: CatchingUp,
    /// When the last heartbeat was due.
    pub beaten_ms: Option<u64>,
    /// Since when the topology server has been answering without a break, on this operator's own clock of what it can
    /// hear.
    pub heard_since_ms: u64,
}

/// How far the voice is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    /// No league that votes is known.
    #[default]
    Away,
    /// The notes of earlier starts are being read.
    Recalling,
    /// It takes part.
    Sitting,
}

/// How far a member that was voted lost is with catching up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum CatchingUp {
    /// It is not lost, as far as it knows.
    #[default]
    Not,
    /// It reads everything once more.
    Reading,
    /// It knows what the others know, and asks to be taken back.
    Done,
}

impl Council {
    /// Something does not count. Whoever writes there chooses the names, so only so many are counted apart.
    pub fn count_rejection(&mut self, rejected: &Rejected) {
        let by_name = self.rejections.entry(rejected.why.label()).or_default();
        let is_known = by_name.len() < MAX_NAMES_COUNTED || by_name.contains_key(rejected.who.as_str());
        let who = if is_known { rejected.who.to_string() } else { OTHER_NAMES.to_owned() };
        *by_name.entry(who).or_default() += 1;
    }

    /// Whether the notes of earlier starts are not read yet: without them it is not known whose word begins an era.
    pub fn recalls(&self) -> bool {
        self.stage == Stage::Recalling
    }

    /// Whether a newer generation of the spec may stand than the one that this member acts on: while its API
    /// server does not take the notes, it does not follow the control document, and that may take long.
    pub fn is_behind(&self) -> bool {
        self.behind || self.notes.is_stuck()
    }

    /// Whether the picture holds the document as it stood at this time or later, on this operator's own clock.
    pub fn knows_since(&self, since_ms: u64) -> bool {
        let version = self.proposer.as_ref().and_then(Proposer::version);
        version.is_some() && version == self.turned.as_ref() && self.read_ms.is_some_and(|read| read >= since_ms)
    }

    /// How often something did not count, by why.
    pub fn rejections(&self) -> &BTreeMap<&'static str, BTreeMap<String, u64>> {
        &self.rejections
    }

    /// Who votes by the newest document that may be followed.
    pub fn newest_voters(&self) -> Option<&Voters> {
        let proposer = self.proposer.as_ref().filter(|proposer| proposer.frozen().is_none())?;
        Some(&proposer.document()?.ballots.as_ref()?.voters)
    }

    /// Whether the control document that stands there cannot follow the one that was known.
    pub fn see_another_history(&self) -> bool {
        let frozen = self.proposer.as_ref().and_then(Proposer::frozen);
        matches!(frozen, Some(Frozen::Breached { breaches }) if !breaches.contains(&Breach::Gone))
    }

    /// Whether an era stands there that is not followed.
    pub fn refuse_an_era(&self) -> bool {
        let frozen = self.proposer.as_ref().and_then(Proposer::frozen);
        frozen.is_some_and(|frozen| frozen.refused_era().is_some())
    }

    /// Whether something is on its way that this member has begun.
    pub fn is_busy(&self) -> bool {
        self.recalls() || self.notes.is_busy() || self.proposer.as_ref().is_some_and(|proposer| !proposer.is_idle())
    }
}
