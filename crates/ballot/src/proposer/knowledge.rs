//! What a proposer knows of the document, and whether what it is shown may follow that.

use super::Act;
use super::{Noted, Notes, Proposer, Stage, Ticket, Told};
use crate::audit::{Breach, audit, signed};
use crate::candidate::{Rule, Verdict};
use crate::cell::{Cell, Slot, merge};
use crate::decide::{tally, verified};
use crate::document::Document;
use crate::key::Key;
use crate::motion::Motion;
use crate::rejected::Rejected;
use hansa_ledger::{Envelope, Version, Versioned};
use hansa_model::{Era, Hash, MemberName, Revision};
use serde::Serialize;
use std::fmt;

/// So many reads in a row may show what stood there before; more of them are a store that went back.
const STALE_READS: u8 = 2;

/// The newest document, as it was read or confirmed.
#[derive(Clone, Debug)]
pub(super) struct Known<D> {
    pub version: Version,
    pub envelope: Envelope,
    pub document: D,
    /// The digest of its bytes.
    pub body: Hash,
}

/// Why a proposer does nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "frozen", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Frozen {
    /// What stands there is not readable, or another league's.
    Unreadable {
        /// What is wrong, and the mend.
        error: String,
    },
    /// What stands there cannot follow what was known.
    Breached {
        /// Everything that was found.
        breaches: Vec<Breach>,
    },
    /// A later start of this voter has written: this process has no say any more.
    Overtaken,
}

impl Frozen {
    pub(super) fn gone() -> Self {
        Frozen::Breached { breaches: vec![Breach::Gone] }
    }

    /// The era that stands there and is not followed.
    pub fn refused_era(&self) -> Option<Era> {
        let Frozen::Breached { breaches } = self else { return None };
        breaches.iter().find_map(|breach| match breach {
            Breach::Unforced { era, .. } => Some(*era),
            _ => None,
        })
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frozen::Unreadable { error } => f.write_str(error),
            Frozen::Breached { breaches } => {
                let texts: Vec<String> = breaches.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join("; "))
            }
            Frozen::Overtaken => {
                f.write_str("a later start of this voter has written: two processes must not run as one voter")
            }
        }
    }
}

/// Why a value was not adopted.
pub(super) enum Trouble {
    Frozen(Frozen),
    /// Nothing is wrong, and nothing can be done yet.
    Later,
}

impl<D: Document> Proposer<D> {
    /// This voter's own cell in the newest document, when it is validly signed.
    pub(super) fn own_cell(&self) -> Option<&Cell> {
        let (member, key) = (self.config.signer.member(), self.config.signer.public());
        let ballots = self.known.as_ref()?.document.ballots();
        if ballots.voters.set.get(member)?.key != key {
            return None;
        }
        let slot = ballots.cells.get(member)?;
        let about = crate::cell::cell_about(member);
        let (statement, signature) = slot.signed(&about, self.config.league, ballots.era)?;
        let valid = self.verifier.verify(&key, &statement, &signature);
        slot.cell().ok().filter(|cell| valid && cell.member == *member)
    }

    /// Takes what a read or a lost write (`is_swap`) showed, if it may follow what is known.
    pub(super) fn adopt(&mut self, current: &Versioned, is_swap: bool) -> Result<(), Trouble> {
        let unreadable = |error: String| Trouble::Frozen(Frozen::Unreadable { error });
        let (envelope, body) = Envelope::open(&current.value).map_err(|error| unreadable(error.to_string()))?;
        envelope.belongs_to(self.config.league).map_err(|error| unreadable(error.to_string()))?;
        let mut document = D::read(&body).map_err(|error| unreadable(error.to_string()))?;
        if envelope.era != document.ballots().era {
            let (outer, inner) = (envelope.era, document.ballots().era);
            return Err(unreadable(format!("the envelope is of era {outer}, the ballots in it of era {inner}")));
        }
        let mut rejected = match &self.known {
            Some(known) => {
                let (seen, shown) = (position(&known.envelope), position(&envelope));
                // A read may be answered from before, once or twice; the answer to a write never is.
                if shown < seen && !is_swap && self.stale_reads < STALE_READS {
                    self.stale_reads += 1;
                    self.changed = true;
                    return Err(Trouble::Later);
                }
                breach_of(seen, known.envelope.nonce, shown, envelope.nonce)?;
                let same_era = known.document.ballots().era == document.ballots().era;
                unaltered(&document, Some(&known.document).filter(|_| same_era))?;
                self.follow(&mut document)?
            }
            None => {
                let seen = (self.notes.era, self.notes.revision);
                breach_of(seen, self.notes.nonce, position(&envelope), envelope.nonce)?;
                self.recall(&document)?;
                unaltered(&document, None)?;
                Vec::new()
            }
        };
        let found = tally(document.ballots(), self.config.league, &self.verifier).rejected;
        rejected.extend(found);
        rejected.sort();
        rejected.dedup();
        if rejected != self.rejected {
            self.rejected.clone_from(&rejected);
            self.told.push(Told::Rejected(rejected));
        }
        let body = Hash::of_bytes(&body);
        self.known = Some(Known { version: current.version.clone(), envelope, document, body });
        let mine = (self.config.incarnation, self.sequence);
        if self.own_cell().is_some_and(|cell| cell.counter() > mine) {
            return Err(Trouble::Frozen(Frozen::Overtaken));
        }
        self.stale_reads = 0;
        if self.frozen.take().is_some() {
            self.told.push(Told::Thawed);
        }
        Ok(())
    }

    fn follow(&self, document: &mut D) -> Result<Vec<Rejected>, Trouble> {
        let Some(known) = &self.known else { return Ok(Vec::new()) };
        let league = self.config.league;
        let found = audit(known.document.ballots(), document.ballots(), league, &self.verifier);
        if !found.breaches.is_empty() {
            return Err(Trouble::Frozen(Frozen::Breached { breaches: found.breaches }));
        }
        if !found.newer.is_empty() {
            let mut cells = verified(document.ballots(), league, &self.verifier);
            merge(&mut cells, &found.newer);
            document.ballots_mut().cells.extend(cells);
        }
        Ok(found.rejected)
    }

    /// Whether the first document of this start may follow what its notes remember.
    fn recall(&self, document: &D) -> Result<(), Trouble> {
        let ballots = document.ballots();
        if ballots.era > self.notes.era {
            let era = ballots.era;
            return signed(&self.notes.people, ballots, self.config.league, &self.verifier)
                .map_err(|why| Trouble::Frozen(Frozen::Breached { breaches: vec![Breach::Unforced { era, why }] }));
        }
        let mut breaches = Vec::new();
        for (key, candidate) in ballots.open.iter().filter(|(_, candidate)| candidate.epoch <= self.notes.epoch) {
            // What it voted on itself it may have opened, and lost the race: then it abstains.
            let fits = |noted: &Noted| noted.digest == candidate.digest(key) || noted.verdict.is_some();
            if !self.notes.open.get(key).is_some_and(fits) {
                breaches.push(Breach::Reopened { key: key.clone(), epoch: candidate.epoch });
            }
        }
        if breaches.is_empty() { Ok(()) } else { Err(Trouble::Frozen(Frozen::Breached { breaches })) }
    }

    /// The write under way is stored at this version.
    pub(super) fn confirm(&mut self, version: Version) {
        if let Some(flight) = self.flight.take() {
            let body = Hash::of_bytes(&flight.value);
            self.known = Some(Known { version, envelope: flight.envelope, document: flight.document, body });
        }
    }

    /// Whether the notes are of the newest document.
    pub fn has_noted(&self) -> bool {
        self.known.as_ref().is_none_or(|known| {
            (self.notes.era, self.notes.revision, self.notes.nonce)
                == (known.envelope.era, known.envelope.revision, known.envelope.nonce)
        })
    }

    /// Whether the notes hold whose word begins an era, as the newest document has it: a restart judges by them.
    pub fn has_noted_people(&self) -> bool {
        let noted = |document: &D| !self.notes.know_none() && self.notes.people == document.ballots().voters.people;
        self.document().is_none_or(noted)
    }

    /// Makes the newest document durable as what this voter acts on, when it is about to act on it without
    /// having had a say in it. Nothing is to be done while something is under way: ask again afterwards.
    pub fn note_now(&mut self) -> Vec<Act> {
        if self.stage == Stage::Idle && !self.has_noted() { self.note() } else { Vec::new() }
    }

    /// Makes the newest document durable as what this voter acts on.
    pub(super) fn note(&mut self) -> Vec<Act> {
        let Some(known) = &self.known else { return Vec::new() };
        let empty = Cell::new(self.config.signer.member().clone(), self.config.incarnation);
        let cell = self.own_cell().unwrap_or(&empty);
        let notes = notes_of(&known.envelope, &known.document, cell);
        self.notes = notes.keeping(&self.notes);
        self.stage = Stage::Persisting;
        vec![Act::Persist(self.notes.clone())]
    }

    /// What has to be durable before `document` may be sent, in which this voter says `cell`: its votes,
    /// and how far the document is that it was made from.
    pub(super) fn notes_before(&self, document: &D, cell: &Cell) -> Notes {
        let mut notes = notes_of(&Envelope::first(self.config.league, document.ballots().era, 0), document, cell);
        (notes.epoch, notes.revision, notes.nonce) = match &self.known {
            Some(known) => (known.document.ballots().epoch, known.envelope.revision, known.envelope.nonce),
            None => Default::default(),
        };
        notes.keeping(&self.notes)
    }

    /// How long this one waits, when others have something to say to the same.
    pub(super) fn turn(&mut self, unsaid: &[Ticket], entropy: u64) -> Option<u64> {
        let rank = self.rank(unsaid);
        self.pace.wait_ms(rank, entropy)
    }

    /// How many others go first, of those that have not voted on what is to be voted on.
    fn rank(&self, unsaid: &[Ticket]) -> Option<u64> {
        let ballots = self.known.as_ref()?.document.ballots();
        let keys = unsaid.iter().filter_map(|ticket| match self.motions.get(ticket)? {
            Motion::Decide { key, .. } | Motion::Vote { key, .. } => Some(key),
            _ => None,
        });
        let (key, candidate) = keys.filter_map(|key| Some((key, ballots.open.get(key)?))).next()?;
        let has_voted = |member: &MemberName| {
            let cell = ballots.cells.get(member).and_then(|slot| slot.cell().ok());
            cell.is_some_and(|cell| cell.votes.get(key).is_some_and(|vote| vote.epoch == candidate.epoch))
        };
        let place = |member: &MemberName| order(key, candidate.epoch.0, member);
        let mine = place(self.config.signer.member());
        let before = ballots.voters.set.keys().filter(|member| place(member) < mine && !has_voted(member));
        Some(before.count() as u64)
    }

    /// How many votes are missing, at least, until one of the candidates is adopted that all that is wanted waits
    /// for; 0 when something else is waited for.
    pub(super) fn missing(&self) -> u64 {
        let Some(ballots) = self.known.as_ref().map(|known| known.document.ballots()) else { return 0 };
        let missing = self.motions.values().map(|motion| {
            let (Motion::Decide { key, .. } | Motion::Vote { key, .. }) = motion else { return 0 };
            let Some(candidate) = ballots.open.get(key) else { return 0 };
            let says_yes = |slot: &&Slot| {
                let vote = slot.cell().ok().and_then(|cell| cell.votes.get(key));
                vote.is_some_and(|vote| vote.epoch == candidate.epoch && vote.verdict == Verdict::Yes)
            };
            let needed = match candidate.rule {
                Rule::Quorum => ballots.voters.quorum as usize,
                Rule::All => ballots.voters.set.len().saturating_sub(ballots.lost.len()),
            };
            needed.saturating_sub(ballots.cells.values().filter(says_yes).count()) as u64
        });
        missing.min().unwrap_or(0)
    }
}

/// An order of voters that all compute, another one for each ballot.
fn order(key: &Key, epoch: u64, member: &MemberName) -> Hash {
    Hash::of_bytes(format!("{epoch}/{key}/{member}").as_bytes())
}

fn position(envelope: &Envelope) -> (Era, Revision) {
    (envelope.era, envelope.revision)
}

fn breach_of(seen: (Era, Revision), nonce: u64, shown: (Era, Revision), shown_nonce: u64) -> Result<(), Trouble> {
    let breach = if shown < seen {
        let (known, found) = (seen.1.0, shown.1.0);
        Breach::RolledBack { what: "the revision", found, known }
    } else if shown == seen && nonce != shown_nonce {
        Breach::Forked { revision: seen.1.0 }
    } else {
        return Ok(());
    };
    Err(Trouble::Frozen(Frozen::Breached { breaches: vec![breach] }))
}

fn notes_of<D: Document>(envelope: &Envelope, document: &D, cell: &Cell) -> Notes {
    let ballots = document.ballots();
    let open = ballots.open.iter().map(|(key, candidate)| {
        let vote = cell.votes.get(key).filter(|vote| vote.epoch == candidate.epoch);
        let verdict = vote.map(|vote| vote.verdict);
        (key.clone(), Noted { digest: candidate.digest(key), epoch: candidate.epoch, verdict })
    });
    Notes {
        epoch: ballots.epoch,
        era: envelope.era,
        nonce: envelope.nonce,
        open: open.collect(),
        people: ballots.voters.people.clone(),
        revision: envelope.revision,
        ..Notes::default()
    }
}

/// What is voted on holds as it was voted on, byte for byte.
fn unaltered<D: Document>(document: &D, known: Option<&D>) -> Result<(), Trouble> {
    let breach = |what| Trouble::Frozen(Frozen::Breached { breaches: vec![Breach::Altered { what }] });
    document.fault(known).map_or(Ok(()), |what| Err(breach(what)))
}
