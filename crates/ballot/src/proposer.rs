//! The proposer: how one voter gets its word into the document, as a machine without I/O.
//!
//! Answers, wake-ups and motions go in by [`Proposer::step`]; calls of the topology server come out. One
//! call is under way at a time. The document is kept from the last answer, and a compare-and-swap that
//! mismatches brings the current one, so that nothing is read twice.
//!
//! - **Three outcomes.** A write of unknown fate is repeated as it was, same bytes on the same version,
//!   until it is settled ([`hansa_ledger::swap`]). Nothing is told before its write is confirmed.
//! - **Contention.** Who lost a race waits, for a time that grows with the number of votes still
//!   pending: somewhere in (0, 2 · round trip · pending). Those who wait for the same candidate take
//!   slots of it, ordered by a hash that all compute, so that few meet again. What wakes writes on what
//!   it knows; a mismatch then costs no more than the read that it replaces, and is followed by one
//!   immediate attempt.
//! - **Hearing.** Who has voted is told of every vote of the others, and reads the document when enough of them may
//!   have voted, in their slots, to close the candidate: with each vote, all would read it all the time.
//! - **Notes.** What this voter has voted, and the newest document that it acted on, are made durable
//!   before the vote is sent or the decision told ([`Act::Persist`]). With them a restarted voter
//!   notices a store that was rolled back or forked, and gives no second vote on a (key, epoch).
//! - **Freezing.** Each document is judged by [`crate::audit`] against the one that was known. On a
//!   breach nothing is written or told until the store shows a document that may follow.

mod interface;
mod knowledge;
mod notes;
mod pace;

pub use interface::{Act, Config, Event, Ticket, Told};
pub use notes::{Noted, Notes};

use crate::candidate::{Verdict, sign_vote};
use crate::cell::Cell;
use crate::decide::{Tally, settle, tally};
use crate::document::Document;
use crate::motion::{Answer, Motion, Pen, Progress, apply, progress, prune};
use crate::rejected::Rejected;
use crate::signing::Verifier;
use bytes::Bytes;
use hansa_ledger::swap::{Settled, settle as settle_swap};
use hansa_ledger::{Envelope, OperationId, Swap, Version, Versioned};
use hansa_model::Hash;
use knowledge::{Known, Trouble};
use pace::Pace;
use std::collections::BTreeMap;

pub use knowledge::Frozen;

#[derive(Clone, Debug)]
struct Flight<D> {
    operation: OperationId,
    expected: Option<Version>,
    envelope: Envelope,
    document: D,
    value: Bytes,
    /// The notes as they were before its votes.
    before: Notes,
    /// An answer to it was lost: it may have been counted by somebody, whatever is shown later.
    ambiguous: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Idle,
    Reading,
    /// Notes are being made durable: for a write, or before something is told.
    Persisting,
    Writing,
    /// A write waits to be repeated as it was.
    Repeating,
    /// It waits for its turn.
    Sleeping,
    /// It waits to read again: the last read failed, or showed what cannot be used.
    Pausing,
}

/// One voter at one document.
#[derive(Clone, Debug)]
pub struct Proposer<D> {
    config: Config<D>,
    verifier: Verifier,
    known: Option<Known<D>>,
    notes: Notes,
    sequence: u64,
    motions: BTreeMap<Ticket, Motion>,
    next_ticket: u64,
    stage: Stage,
    flight: Option<Flight<D>>,
    /// The key was written since it was asked for.
    changed: bool,
    /// What changed is read when it wakes, not before.
    hearing: bool,
    /// It was read for the write that comes next: what changed since, that write will show.
    fresh: bool,
    /// How many reads in a row were answered from before.
    stale_reads: u8,
    frozen: Option<Frozen>,
    rejected: Vec<Rejected>,
    pace: Pace,
    told: Vec<Told>,
}

impl<D: Document> Proposer<D> {
    /// A voter that knows nothing of the document yet. Begin with [`Event::Wanted`].
    pub fn new(config: Config<D>) -> Self {
        Proposer {
            verifier: Verifier::default(),
            known: None,
            notes: config.notes.clone(),
            sequence: 0,
            motions: BTreeMap::new(),
            next_ticket: 0,
            stage: Stage::Idle,
            flight: None,
            changed: false,
            hearing: false,
            fresh: false,
            stale_reads: 0,
            frozen: None,
            rejected: Vec::new(),
            pace: Pace::new(config.round_trip_ms),
            told: Vec::new(),
            config,
        }
    }

    /// Shares what was verified with others: a cache, for many proposers in one process.
    #[must_use]
    pub fn with_verifier(self, verifier: Verifier) -> Self {
        Proposer { verifier, ..self }
    }

    /// Adds a motion; follow with [`Event::Wanted`].
    pub fn want(&mut self, motion: Motion) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.motions.insert(ticket, motion);
        ticket
    }

    /// Drops a motion. What it has said already stays said.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.motions.remove(&ticket);
    }

    /// What was told since the last call.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// The newest document that was read or confirmed.
    pub fn document(&self) -> Option<&D> {
        self.known.as_ref().map(|known| &known.document)
    }

    /// The version of the newest document.
    pub fn version(&self) -> Option<&Version> {
        self.known.as_ref().map(|known| &known.version)
    }

    /// The header of the newest document.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.known.as_ref().map(|known| &known.envelope)
    }

    /// What is validly said in it.
    pub fn tally(&self) -> Option<Tally<'_>> {
        self.document().map(|document| tally(document.ballots(), self.config.league, &self.verifier))
    }

    /// Why nothing is done, if so.
    pub fn frozen(&self) -> Option<&Frozen> {
        self.frozen.as_ref()
    }

    /// What waits for others or for its turn.
    pub fn motions(&self) -> impl Iterator<Item = (Ticket, &Motion)> {
        self.motions.iter().map(|(ticket, motion)| (*ticket, motion))
    }

    /// The verifier, with what it remembers.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether there is nothing to wait for but others.
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// A digest of all that decides what it does next, times apart: equal digests, equal futures.
    pub fn digest(&self) -> Hash {
        let known = self.known.as_ref().map(|known| (&known.version, &known.envelope, &known.body));
        let flight =
            self.flight.as_ref().map(|flight| (&flight.expected, Hash::of_bytes(&flight.value), flight.ambiguous));
        let own = (&self.notes, self.sequence, &self.motions, self.stage, self.changed, self.fresh, self.stale_reads);
        let own = (own, &self.frozen, self.hearing);
        Hash::of_bytes(
            format!("{:?}{known:?}{flight:?}{own:?}{:?}", self.config.incarnation, self.pace.turns()).as_bytes(),
        )
    }

    /// Takes an event; returns what is to be done. `now_ms` is monotonic, `entropy` differs at each call.
    pub fn step(&mut self, event: Event, now_ms: u64, entropy: u64) -> Vec<Act> {
        match event {
            Event::Wanted => {}
            Event::Changed => {
                self.changed = true;
                // Somebody reached the topology server: so may this one.
                if self.stage == Stage::Pausing {
                    self.stage = Stage::Idle;
                }
            }
            Event::Woke => match self.stage {
                Stage::Sleeping | Stage::Pausing => (self.stage, self.fresh) = (Stage::Idle, false),
                Stage::Repeating => return self.send(now_ms),
                Stage::Idle if std::mem::take(&mut self.hearing) && self.changed => return self.ask(now_ms),
                _ => return Vec::new(),
            },
            Event::Failed => match self.stage {
                Stage::Reading | Stage::Writing => return self.failed(now_ms, entropy),
                _ => return Vec::new(),
            },
            Event::Persisted => {
                if self.stage != Stage::Persisting {
                    return Vec::new();
                }
                if self.flight.is_some() {
                    return self.send(now_ms);
                }
                self.stage = Stage::Idle;
            }
            Event::Read(found) => {
                if self.stage != Stage::Reading {
                    return Vec::new();
                }
                self.stage = Stage::Idle;
                self.fresh = true;
                self.pace.answered(now_ms);
                if let Some(acts) = self.read(found, now_ms, entropy) {
                    return acts;
                }
                self.pace.well();
            }
            Event::Swapped(swap) => {
                if self.stage != Stage::Writing {
                    return Vec::new();
                }
                self.fresh = false;
                self.pace.answered(now_ms);
                if let Some(acts) = self.swapped(swap, now_ms, entropy) {
                    return acts;
                }
                self.pace.well();
            }
        }
        self.advance(now_ms, entropy)
    }

    fn failed(&mut self, now_ms: u64, entropy: u64) -> Vec<Act> {
        // A write that did not happen now may have happened at an earlier attempt: it stays as it is. What
        // was to be read is still to be read.
        self.changed |= self.stage == Stage::Reading;
        self.stage = if self.flight.is_some() { Stage::Repeating } else { Stage::Pausing };
        vec![Act::Wake { at_ms: now_ms + self.pace.back_off_ms(entropy) }]
    }

    fn read(&mut self, found: Option<Versioned>, now_ms: u64, entropy: u64) -> Option<Vec<Act>> {
        let trouble = match found {
            Some(found) => self.adopt(&found, false).err(),
            None if self.known.is_some() || !self.notes.know_none() => Some(Trouble::Frozen(Frozen::gone())),
            None => match &self.config.founding {
                Some(_) => None,
                None => Some(Trouble::Later),
            },
        };
        trouble.map(|trouble| self.pause(trouble, now_ms, entropy))
    }

    fn pause(&mut self, trouble: Trouble, now_ms: u64, entropy: u64) -> Vec<Act> {
        if let Trouble::Frozen(frozen) = trouble
            && self.frozen.as_ref() != Some(&frozen)
        {
            self.told.push(Told::Frozen(frozen.clone()));
            self.frozen = Some(frozen);
        }
        self.stage = Stage::Pausing;
        vec![Act::Wake { at_ms: now_ms + self.pace.back_off_ms(entropy) }]
    }

    fn swapped(&mut self, swap: Swap, now_ms: u64, entropy: u64) -> Option<Vec<Act>> {
        let flight = self.flight.as_mut().expect("a write under way has its flight");
        flight.ambiguous |= matches!(swap, Swap::Indeterminate { .. });
        let settled = settle_swap(self.config.signer.member(), flight.operation, swap);
        let (trouble, lost) = match settled {
            Ok(Settled::Repeat { .. }) => {
                self.stage = Stage::Repeating;
                return Some(vec![Act::Wake { at_ms: now_ms + self.pace.back_off_ms(entropy) }]);
            }
            Ok(Settled::Committed(version)) => {
                self.confirm(version);
                (None, false)
            }
            Ok(Settled::CommittedBefore(current)) => {
                self.confirm(current.version.clone());
                (self.adopt(&current, true).err(), false)
            }
            Ok(Settled::Lost(Some(current))) => {
                if !flight.ambiguous {
                    self.notes = flight.before.clone();
                }
                (self.adopt(&current, true).err(), true)
            }
            Ok(Settled::Lost(None)) => (Some(Trouble::Frozen(Frozen::gone())), false),
            Err(error) => (Some(Trouble::Frozen(Frozen::Unreadable { error: error.to_string() })), false),
        };
        self.flight = None;
        self.stage = Stage::Idle;
        if let Some(trouble) = trouble {
            return Some(self.pause(trouble, now_ms, entropy));
        }
        if lost {
            self.pace.lost()
        } else {
            self.pace.won()
        }
        None
    }

    /// Goes on as far as it can without an answer.
    fn advance(&mut self, now_ms: u64, entropy: u64) -> Vec<Act> {
        if self.stage != Stage::Idle {
            return Vec::new();
        }
        let founds = self.config.founding.is_some() && self.notes.know_none() && self.pace.has_read();
        if (self.known.is_none() && !founds) || self.frozen.is_some() {
            return self.ask(now_ms);
        }
        let (done, unsaid) = self.look();
        let decided = |answer: &Answer| matches!(answer, Answer::Decided(_));
        if done.iter().any(|(_, answer)| decided(answer)) && !self.has_noted() {
            return self.note();
        }
        for (ticket, answer) in done {
            self.motions.remove(&ticket);
            self.told.push(Told::Answer(ticket, answer));
        }
        if unsaid.is_empty() {
            self.fresh = false;
            return if self.changed { self.hear(now_ms) } else { Vec::new() };
        }
        self.hearing = false;
        // A write on what is known to be old would only show what a read shows.
        if self.changed && !self.fresh {
            return self.ask(now_ms);
        }
        if let Some(wait_ms) = self.turn(&unsaid, entropy) {
            self.stage = Stage::Sleeping;
            return vec![Act::Wake { at_ms: now_ms + wait_ms }];
        }
        self.propose(&unsaid, now_ms, entropy)
    }

    /// Reads what changed: at once, or, while others have yet to vote one after the other, when they may have.
    fn hear(&mut self, now_ms: u64) -> Vec<Act> {
        if self.hearing {
            return Vec::new();
        }
        match self.pace.hearing_ms(self.missing()) {
            0 => self.ask(now_ms),
            wait_ms => {
                self.hearing = true;
                vec![Act::Wake { at_ms: now_ms + wait_ms }]
            }
        }
    }

    fn ask(&mut self, now_ms: u64) -> Vec<Act> {
        (self.changed, self.hearing) = (false, false);
        self.stage = Stage::Reading;
        self.pace.asked(now_ms);
        vec![Act::Read]
    }

    /// Motions that are done, and those whose part is not said.
    fn look(&self) -> (Vec<(Ticket, Answer)>, Vec<Ticket>) {
        let (mut done, mut unsaid) = (Vec::new(), Vec::new());
        let Some(document) = self.document().or(self.config.founding.as_ref()) else { return (done, unsaid) };
        let cell = self.own_cell();
        for (ticket, motion) in &self.motions {
            let member = self.config.signer.member();
            match progress(motion, document.ballots(), member, self.config.incarnation, cell) {
                Progress::Done(answer) => done.push((*ticket, answer)),
                Progress::Unsaid => unsaid.push(*ticket),
                Progress::Said => {}
            }
        }
        (done, unsaid)
    }

    /// Says what is unsaid, in one write.
    fn propose(&mut self, unsaid: &[Ticket], now_ms: u64, entropy: u64) -> Vec<Act> {
        let league = self.config.league;
        let base = match (&self.known, &self.config.founding) {
            (Some(known), _) => known.document.clone(),
            (None, Some(founding)) => founding.clone(),
            (None, None) => return self.ask(now_ms),
        };
        let (mut document, mut cell) = (base, self.own_cell().cloned());
        let member = self.config.signer.member().clone();
        let place = document.ballots().voters.place(&member, &self.config.uid, &self.config.signer.public());
        let is_voter = place == crate::voters::Place::Voter;
        let mut mine = cell.take().unwrap_or_else(|| Cell::new(member.clone(), self.config.incarnation));
        prune(&mut mine, document.ballots());
        let pen =
            Pen { signer: &self.config.signer, verifier: &self.verifier, league, incarnation: self.config.incarnation };
        let mut refused = Vec::new();
        for ticket in unsaid {
            let motion = &self.motions[ticket];
            let applied = if is_voter || matches!(motion, Motion::Join(_)) {
                apply(motion, &mut document, &mut mine, &pen)
            } else {
                Err(format!("{member} does not vote here ({place:?}): join first"))
            };
            if let Err(why) = applied {
                refused.push((*ticket, why));
            }
        }
        let said = unsaid.len() > refused.len();
        for (ticket, why) in refused {
            self.motions.remove(&ticket);
            self.told.push(Told::Answer(ticket, Answer::Refused(why)));
        }
        if !said {
            return self.advance(now_ms, entropy);
        }
        self.sequence += 1;
        let operation = OperationId { incarnation: self.config.incarnation, sequence: self.sequence };
        if is_voter {
            self.keep_word(&mut mine, &document);
            (mine.incarnation, mine.sequence) = (operation.incarnation, operation.sequence);
            let ballots = document.ballots_mut();
            ballots.cells.insert(member.clone(), mine.clone().sign(&self.config.signer, league, ballots.era));
        }
        let notes = self.notes_before(&document, &mine);
        settle(&mut document, league, &self.verifier);
        let era = document.ballots().era;
        let mut envelope = match &self.known {
            Some(known) => known.envelope.next(entropy, &member, operation),
            None => {
                let mut first = Envelope::first(league, era, entropy);
                first.operations.insert(member, operation);
                first
            }
        };
        envelope.era = era;
        let value = envelope.seal(&document.write());
        let expected = self.known.as_ref().map(|known| known.version.clone());
        let before = self.notes.clone();
        self.flight = Some(Flight { operation, expected, envelope, document, value, before, ambiguous: false });
        if notes.promises_more_than(&self.notes) {
            self.notes = notes;
            self.stage = Stage::Persisting;
            return vec![Act::Persist(self.notes.clone())];
        }
        self.send(now_ms)
    }

    /// A vote that the notes remember is given again as it was, whatever this start would have voted; and
    /// where it was given to another candidate of the same key and epoch, this one gets none.
    fn keep_word(&self, cell: &mut Cell, document: &D) {
        if self.notes.era != document.ballots().era {
            // Votes of another era count for nothing in this one, whose numbers begin where its document stood.
            return;
        }
        for (key, candidate) in &document.ballots().open {
            let (Some(vote), Some(noted)) = (cell.votes.get_mut(key), self.notes.open.get(key)) else { continue };
            let promised = match noted.verdict {
                Some(_) if noted.epoch != candidate.epoch => None,
                Some(_) if noted.digest != candidate.digest(key) => Some(Verdict::Abstained),
                verdict => verdict.filter(|_| vote.verdict != Verdict::Withdrawn),
            };
            if let Some(verdict) = promised.filter(|promised| *promised != vote.verdict) {
                let era = document.ballots().era;
                vote.verdict = verdict;
                vote.signature = sign_vote(&self.config.signer, self.config.league, era, key, candidate, verdict);
            }
        }
    }

    fn send(&mut self, now_ms: u64) -> Vec<Act> {
        let flight = self.flight.as_ref().expect("there is a write to send");
        let act = Act::Write { expected: flight.expected.clone(), value: flight.value.clone() };
        self.stage = Stage::Writing;
        self.pace.asked(now_ms);
        vec![act]
    }
}
