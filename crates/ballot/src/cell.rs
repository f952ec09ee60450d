//! A voter's cell: what it says of itself and how it votes, written by it alone.
//!
//! A cell stands in the document as `{"body": {…}, "signature": "…"}`. The signature is over the
//! body's bytes as they stand there, so a writer of another release carries them on unchanged, also
//! with fields that it does not know. Incarnation and sequence are the operation that last wrote it:
//! they rise with every write, so that of two cells of one voter the later can be told, and a merge
//! takes it ([`merge`]). A heartbeat does not belong here: a cell changes when its voter has something
//! to say.

use crate::candidate::Vote;
use crate::key::Key;
use crate::rejected::Fault;
use crate::signing::{Signature, Signer, Statement};
use hansa_model::{Era, Hash, Incarnation, LeagueId, MemberName, Term};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The format of cells that this release reads and writes.
pub const CELL_FORMAT: u32 = 1;

/// A cell is refused beyond this size, in bytes.
pub const MAX_CELL: usize = 32 << 10;

/// The longest reason of a vote, in bytes; what is longer is cut.
pub const MAX_REASON: usize = 256;

/// What a voter says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// How often it renewed what it holds, by the appointment's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beats: BTreeMap<Key, Beat>,
    /// The cell's format.
    pub format: u32,
    /// The start of the process that wrote it.
    pub incarnation: Incarnation,
    /// Whose it is.
    pub member: MemberName,
    /// The phases that it has reached, by the barrier's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<Key, Posted>,
    /// Rises with every write of the cell by that process.
    pub sequence: u64,
    /// The highest feature level that it speaks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub speaks: u32,
    /// Members that have been silent for too long on its own clock.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub suspects: BTreeSet<MemberName>,
    /// Its votes on open candidates; those on closed ones go with its next write.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub votes: BTreeMap<Key, Vote>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A renewal of an appointment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// Rises with every renewal.
    pub beat: u64,
    /// The appointment's term.
    pub term: Term,
}

/// A phase that was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Posted {
    /// What the phases are of: the hash of a spec, a plan, a release.
    pub hash: Hash,
    /// The phase; phases begin with 0 and are posted in order.
    pub phase: u32,
}

impl Cell {
    /// A cell that says nothing yet.
    pub fn new(member: MemberName, incarnation: Incarnation) -> Self {
        Cell {
            beats: BTreeMap::new(),
            format: CELL_FORMAT,
            incarnation,
            member,
            phases: BTreeMap::new(),
            sequence: 0,
            speaks: 0,
            suspects: BTreeSet::new(),
            votes: BTreeMap::new(),
        }
    }

    /// The operation that wrote it.
    pub fn counter(&self) -> (Incarnation, u64) {
        (self.incarnation, self.sequence)
    }

    /// Signs the cell.
    pub fn sign(self, signer: &Signer, league: LeagueId, era: Era) -> Slot {
        let body = serde_json::value::to_raw_value(&self).expect("a cell always encodes into memory");
        let signature = signer.sign(&statement(&cell_about(signer.member()), league, era, &self, &body));
        let raw = serde_json::value::to_raw_value(&Signed { body: &body, signature }).expect("a cell encodes");
        Slot { raw: raw.into(), reading: Ok(Arc::new(Reading { body: body.into(), cell: self, signature })) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed<B> {
    body: B,
    signature: Signature,
}

fn statement<'a>(about: &'a str, league: LeagueId, era: Era, cell: &Cell, body: &'a RawValue) -> Statement<'a> {
    Statement { league, era, about, counter: (cell.incarnation.0, cell.sequence), value: body.get().as_bytes() }
}

/// What a member's cell is called where it is signed and reported.
pub fn cell_about(member: &MemberName) -> String {
    format!("cells/{member}")
}

/// A cell as it stands in a document, byte for byte, with what this release reads in it.
#[derive(Clone, Debug)]
pub struct Slot {
    raw: Arc<RawValue>,
    reading: Result<Arc<Reading>, Fault>,
}

#[derive(Debug)]
struct Reading {
    body: Arc<RawValue>,
    cell: Cell,
    signature: Signature,
}

impl Slot {
    /// What it says, whoever signed it.
    ///
    /// # Errors
    /// When this release cannot read it.
    pub fn cell(&self) -> Result<&Cell, &Fault> {
        self.reading.as_ref().map(|reading| &reading.cell)
    }

    /// The statement that its author signed, if it is `member`'s, and the signature.
    pub(crate) fn signed<'a>(
        &'a self,
        about: &'a str,
        league: LeagueId,
        era: Era,
    ) -> Option<(Statement<'a>, Signature)> {
        let reading = self.reading.as_ref().ok()?;
        Some((statement(about, league, era, &reading.cell, &reading.body), reading.signature))
    }

    /// Its bytes.
    pub fn raw(&self) -> &str {
        self.raw.get()
    }

    fn read(raw: Box<RawValue>) -> Self {
        let raw: Arc<RawValue> = raw.into();
        let reading = read(raw.get()).map(Arc::new);
        Slot { raw, reading }
    }
}

fn read(text: &str) -> Result<Reading, Fault> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    if text.len() > MAX_CELL {
        return Err(Fault::TooLarge { bytes: text.len() });
    }
    let malformed = |error: serde_json::Error| Fault::Malformed { error: error.to_string() };
    let signed: Signed<Box<RawValue>> = serde_json::from_str(text).map_err(malformed)?;
    let Format { format } = serde_json::from_str(signed.body.get()).map_err(malformed)?;
    if format != CELL_FORMAT {
        return Err(Fault::UnknownFormat { format });
    }
    let cell = serde_json::from_str(signed.body.get()).map_err(malformed)?;
    Ok(Reading { body: signed.body.into(), cell, signature: signed.signature })
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.raw.get() == other.raw.get()
    }
}

impl Eq for Slot {}

impl Serialize for Slot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Box<RawValue>>::deserialize(deserializer).map(Slot::read)
    }
}

/// Cells by their member.
pub type Cells = BTreeMap<MemberName, Slot>;

/// Takes into `cells` what `others` has that is newer: of each member the cell with the higher
/// counter. The order is total (bytes decide between equal counters, unreadable cells come first), so
/// a merge is idempotent, commutative and associative. It knows no keys: merge what
/// [`crate::decide::verified`] leaves.
pub fn merge(cells: &mut Cells, others: &Cells) {
    for (member, other) in others {
        match cells.get(member) {
            Some(known) if rank(known) >= rank(other) => {}
            _ => {
                cells.insert(member.clone(), other.clone());
            }
        }
    }
}

fn rank(slot: &Slot) -> (Option<(Incarnation, u64)>, &str) {
    (slot.cell().ok().map(Cell::counter), slot.raw())
}
