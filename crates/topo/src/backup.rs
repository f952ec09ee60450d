//! Backups: everything that a league keeps in its topology server, in one file, and back again.
//!
//! **What a backup is.** Every value below `/v1/`, verbatim with its key (see [`Manifest`]). Operators go on
//! writing while it is read: each page and each cell is as it was at one instant, and all of them are
//! as they were at one and the same instant on memory, SQLite and etcd, whose lists are
//! ([`Topo::list`]); elsewhere two pages may be some seconds apart. The control document is read first
//! and last. It is the last reading that is kept, so that no page in the file is of a term or a
//! generation that the control document beside it does not know yet; and when the era was raised in
//! between, there is no backup.
//!
//! **What restoring does.** A restored store is older than what the operators have seen, so it is
//! written under a higher era ([`restore()`]): a person said that this is what counts now. Nothing is
//! written into a store that holds anything else, and the control document comes last. Before it
//! stands there, operators take the store for one without a league, and write nothing. The bytes
//! follow from the file and the era alone, so that a restore that broke off is simply repeated.
//!
//! Pages go on from revisions that no write since the backup can have reached, so that no life that begins
//! later has the number of one that is lost.
//!
//! **The ballots begin anew.** What voters said was signed in the era before, and about candidates whose
//! end this history may not know: in a higher era the control document has the same voters, decisions
//! and appointments, and no cells and no open candidates. A league that knows keys of people follows
//! only an era that one of them signed for ([`hansa_ballot::era`]). A control document without ballots, or
//! of a format that this release does not read, is carried over as it is.
//!
//! **Raising the era** ([`raise_era`]) is the same word of a person about a store that was put back
//! by other means, such as an etcd snapshot: the control document is written again under a higher
//! era, and nothing else is. With voters that are discarded, because a quorum of them is lost for good,
//! it is a force ([`Raise::prepare`]).

mod file;
mod raise;
pub mod rebuild;
mod restore;

pub use file::{FORMAT, Manifest, Reader};
pub use raise::{Raise, Raised, raise_era};
pub use restore::{Restored, restore};

use crate::contract::Topo;
use crate::error::TopoError;
use bytes::Bytes;
use hansa_ballot::decide::settle;
use hansa_ballot::{Control, Document, Force, Signer, Verifier};
use hansa_ledger::{Envelope, EnvelopeError, keys};
use hansa_model::{Era, LeagueId, MemberName};
use std::collections::BTreeSet;
use std::io::Write;

/// What a league's keys begin with. What `hansa topo check` measures with lies elsewhere.
const ROOT: &str = "/v1/";

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The topology server.
    #[error("{}", .0.chain())]
    Topo(TopoError),
    /// The file cannot be read or written.
    #[error("the backup's file: {0}")]
    File(std::io::Error),
    /// There is nothing to back up, or to raise the era of.
    #[error(
        "the topology server holds no league: {} is missing; look at the URL and its prefix, or found a league with `hansa init`",
        keys::CONTROL
    )]
    NoLeague,
    /// The control document cannot be understood.
    #[error("/v1/control: {0}")]
    Control(EnvelopeError),
    /// The league follows no unsigned era, and its voters are no others without a signature.
    #[error("a person has to sign for the era, and none did: name the file with the key (--key) of {}", if .people.is_empty() { "a person whom spec.people lists" } else { .people })]
    Unsigned {
        /// Whose keys the league knows.
        people: String,
    },
    /// The word of the person does not fit the control document.
    #[error("the era cannot be begun so: {0}")]
    Force(String),
    /// Nobody votes there.
    #[error("/v1/control holds no ballots that this release reads: there are no voters to discard")]
    NoBallots,
    /// A person raised the era, or put another store there, while it was read.
    #[error(
        "the topology server went from league {} in era {} to league {} in era {} while it was read: make the backup again",
        .before.0.label(), .before.1, .after.0.label(), .after.1
    )]
    Turned {
        /// League and era at the first reading.
        before: (LeagueId, Era),
        /// The same at the last.
        after: (LeagueId, Era),
    },
    /// The file is no whole backup.
    #[error("the backup is damaged at byte {at}: {why}; nothing was written, take another one")]
    Damaged {
        /// How far it was read.
        at: u64,
        /// What is wrong there.
        why: String,
    },
    /// A backup of a newer release.
    #[error("the backup has format {0}, this release reads format {FORMAT}: restore it with a newer one")]
    Format(u32),
    /// The store holds another league.
    #[error(
        "the topology server holds league {}, the backup is of league {}: nothing was written; restore it to an empty server, or under another prefix",
        .found.label(), .backup.label()
    )]
    OtherLeague {
        /// The league in the store.
        found: LeagueId,
        /// The league in the file.
        backup: LeagueId,
    },
    /// The store holds something that this restore would not write.
    #[error(
        "the topology server is not empty: {key} holds {found}, the backup is of league {} in era {}; nothing was written; restore it to an empty server, or under another prefix",
        .backup.0.label(), .backup.1
    )]
    NotEmpty {
        /// The first such key.
        key: String,
        /// What stands there, for people.
        found: String,
        /// League and era in the file.
        backup: (LeagueId, Era),
    },
    /// The era that was asked for is not higher.
    #[error("era {asked} is not higher than era {standing}: an era is only raised; ask for {} or later", .standing.next())]
    EraNotHigher {
        /// The era that was asked for.
        asked: Era,
        /// The era that stands.
        standing: Era,
    },
    /// A value was written by somebody else meanwhile.
    #[error(
        "{key} was written by somebody else meanwhile: look what stands there (`hansa topo get {key}`), and decide anew"
    )]
    Raced {
        /// The key.
        key: String,
    },
    /// The fate of a write is unknown, again and again.
    #[error("{key}: it may have been written, or may yet be ({reason}): repeat the command, it goes on from there")]
    Indeterminate {
        /// The key.
        key: String,
        /// What the server said.
        reason: String,
    },
}

impl From<TopoError> for BackupError {
    fn from(error: TopoError) -> Self {
        BackupError::Topo(error)
    }
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Values read or written.
    pub done: u64,
    /// Of so many.
    pub of: u64,
}

/// Reads everything into a file, and says what is in it.
///
/// The list is held in memory, the file is streamed, by calls that block. A value of another league under the same keys is
/// left out and counted.
///
/// # Errors
/// When there is no league, its era is raised meanwhile, or a side fails.
pub async fn backup(
    topo: &dyn Topo,
    out: &mut (dyn Write + Send),
    mut tell: impl FnMut(Progress),
) -> Result<Manifest, BackupError> {
    let (first, _) = control(topo).await?;
    let entries = topo.list(ROOT).await?;
    let mut writer = file::Writer::new(out, &first)?;
    let others: Vec<_> = entries.into_iter().filter(|entry| entry.key != keys::CONTROL).collect();
    let of = others.len() as u64 + 1;
    let mut left_out = 0;
    for (done, entry) in others.into_iter().enumerate() {
        let foreign =
            Envelope::open_header(&entry.versioned.value).is_ok_and(|(found, _)| found.league != first.league);
        if foreign {
            left_out += 1;
        } else {
            writer.entry(&entry.key, &entry.versioned.value)?;
        }
        tell(Progress { done: done as u64 + 1, of });
    }
    let (last, value) = control(topo).await?;
    if (last.league, last.era) != (first.league, first.era) {
        let (before, after) = ((first.league, first.era), (last.league, last.era));
        return Err(BackupError::Turned { before, after });
    }
    writer.entry(keys::CONTROL, &value)?;
    tell(Progress { done: of, of });
    writer.finish(last.revision, left_out)
}

/// The control document: its envelope, and the whole value.
async fn control(topo: &dyn Topo) -> Result<(Envelope, Bytes), BackupError> {
    let found = topo.get(keys::CONTROL).await?.ok_or(BackupError::NoLeague)?;
    let (envelope, _) = Envelope::open_header(&found.value).map_err(BackupError::Control)?;
    Ok((envelope, found.value))
}

/// A person's word that what stands there, or in a file, counts from now on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Word<'a> {
    /// The era that begins; by default the next one.
    pub era: Option<Era>,
    /// The person's key, for a league that knows keys of people: it follows no unsigned era.
    pub person: Option<&'a Signer>,
}

/// A control document in the era of this envelope, see [`self`]; and how it was and is read, when it has ballots.
fn control_in(
    envelope: &Envelope,
    packed: &[u8],
    person: Option<&Signer>,
    discarded: &BTreeSet<MemberName>,
) -> Result<(Bytes, Option<(Control, Control)>), BackupError> {
    let (_, body) = Envelope::open(&envelope.around(packed)).map_err(BackupError::Control)?;
    let before = Control::from_slice(&body).ok().filter(|control| control.ballots.is_some());
    let Some(before) = before else {
        return if discarded.is_empty() { Ok((envelope.around(packed), None)) } else { Err(BackupError::NoBallots) };
    };
    let (ballots, verifier) = (before.ballots(), Verifier::default());
    let next = match person {
        Some(person) => Force::sign(person, envelope.league, envelope.era, ballots, discarded.clone())
            .and_then(|force| force.apply(ballots, envelope.league, &verifier))
            .map_err(BackupError::Force)?,
        None if !ballots.voters.people.is_empty() => {
            let people: Vec<&str> = ballots.voters.people.keys().map(String::as_str).collect();
            return Err(BackupError::Unsigned { people: people.join(", ") });
        }
        None if !discarded.is_empty() => return Err(BackupError::Unsigned { people: String::new() }),
        None => ballots.in_era(envelope.era),
    };
    let mut after = Control { ballots: Some(next), ..before.clone() };
    if !discarded.is_empty() {
        // The discarded ones' pages go to the others, by the write that says so.
        settle(&mut after, envelope.league, &verifier);
    }
    Ok((envelope.seal(&after.to_vec()), Some((before, after))))
}
