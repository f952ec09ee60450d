//! The picture's agreed half: loading it, following it, writing to it.

mod answers;
mod hearing;
pub(crate) mod history;
mod reading;
mod replaced;
mod rolled_back;
mod twins;
mod unreadable;
mod writing;

pub use reading::READS_PER_HEARTBEAT;

use crate::draft::is_crowded;
use crate::machine::{Config, Operator};
use crate::writer::Writer;
use hansa_ledger::cell::{CELL_FORMAT, MemberCell, RecordStatus, StatusCell};
use hansa_ledger::keys::{self};
use hansa_ledger::mutation::{Change, Mutation};
use hansa_ledger::{Page, Record, Version};
use hansa_model::{Hash, MemberName, RecordKey, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a call of the topology server is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum TopoCall {
    Cursor,
    Load(Vec<String>),
    Changes,
    Read(Vec<String>),
    Fence(u32),
    Page(u32),
    Status(u32),
    Cell,
    Confirmations,
    Control,
    /// The proposer's call.
    Ballots,
    /// A look at what stands there, in place of the proposer's write: where another history stands, a version may mean
    /// another value.
    Unwritten,
    /// Does the store still hold this league?
    Check,
    /// A key once more, which showed what cannot follow what was seen there.
    Confirm(String),
    /// A key once more, which showed what cannot be read.
    Reread(String),
    Blob(Hash),
    ReadBlob(Hash),
    Plan(crate::plans::PlanCall),
}

impl TopoCall {
    /// Whether it may change something.
    pub(crate) fn writes(&self) -> bool {
        use TopoCall::{Blob, Cell, Confirmations, Control, Page, Plan, Status};
        match self {
            Page(_) | Status(_) | Cell | Confirmations | Control | Blob(_) => true,
            Plan(call) => call.writes(),
            _ => false,
        }
    }
}

/// What is known of the topology server.
#[derive(Debug)]
pub(crate) struct Topology {
    cursor: Option<Box<str>>,
    loaded: bool,
    failures: u32,
    /// How often in a row it knew no more what had changed, when it was asked for changes.
    resets: u32,
    /// Since when it cannot be reached, wall time.
    pub down_since_ms: Option<u64>,
    /// Since when it asks to be called less often, and has answered nothing, on the monotonic clock.
    throttled_since_ms: Option<u64>,
    /// Since when no write has been answered so that it is known what came of it, on the monotonic clock.
    unwritten_since_ms: Option<u64>,
    hearing: hearing::Hearing,
    /// Why what stands there now is not used: it is not this league's store.
    pub replaced: Option<String>,
    /// Why its control document is not followed: it cannot follow the one that was known.
    pub distrusted: Option<String>,
    /// It is being looked at whether it is.
    checking: bool,
    pub doubts: rolled_back::Doubts,
    pub unreadable: unreadable::Unreadable,
    /// Pages that were not found where they had been, and were not seen since.
    vanished: BTreeSet<u32>,
    pub control: Writer,
    pages: BTreeMap<u32, PageState>,
    pub cell: CellState,
    pub statuses: BTreeMap<u32, StatusState>,
    others: BTreeMap<(MemberName, u32), Other<StatusCell>>,
    pub cells: BTreeMap<MemberName, Other<MemberCell>>,
    beats: Beats,
    twins: twins::Twins,
    status_due_ms: Option<u64>,
    /// When another member last said what came of its outputs.
    pub last_status_ms: u64,
    heartbeats: bool,
}

#[derive(Debug)]
struct PageState {
    writer: Writer,
    page: Page,
    /// Of records in it that are not understood, what was last read.
    understood: BTreeMap<RecordKey, Arc<Record>>,
    /// How large the page is, unpacked.
    bytes: usize,
    /// It takes small bodies alone: what was to be written did not fit.
    crowded: bool,
    queue: Vec<Mutation>,
    /// How many writes in a row were lost to others, and until when the next one waits for that.
    losses: u32,
    rests_until_ms: u64,
    /// The page and the mutations of the write under way.
    flight: Option<(Page, Vec<Mutation>)>,
    /// Keys that wait for a linearizable read of the page.
    fences: BTreeSet<RecordKey>,
    /// When that read was asked for: what it shows may be as old as that, however late it is heard.
    fencing: Option<u64>,
}

impl PageState {
    /// Wants a change. A newer word about the same of a record takes the place of what was not sent yet.
    fn want(&mut self, change: Mutation) {
        self.queue.retain(|queued| !replaces(&change, queued));
        self.queue.push(change);
    }

    /// What was sent has changed nothing. It is wanted still, but for what newer words take the place of, and for what
    /// homes said: their objects are looked at anew, for the server may have let the write wait for long.
    fn want_again(&mut self, mut sent: Vec<Mutation>) {
        let is_of_home = |sent: &Mutation| matches!(sent.change, Change::Ingest { .. });
        sent.retain(|old| !is_of_home(old) && !self.queue.iter().any(|new| replaces(new, old)));
        sent.append(&mut self.queue);
        self.queue = sent;
    }
}

fn replaces(new: &Mutation, old: &Mutation) -> bool {
    new.key == old.key && std::mem::discriminant(&new.change) == std::mem::discriminant(&old.change)
}

/// This member's own cell.
#[derive(Debug)]
pub(crate) struct CellState {
    pub writer: Writer,
    pub cell: MemberCell,
    pub dirty: bool,
    /// The last of the breaker's verdicts whose entry is in the write under way.
    flight_serial: u64,
}

/// This member's status of one page.
#[derive(Debug)]
pub(crate) struct StatusState {
    pub writer: Writer,
    pub cell: StatusCell,
    dirty: bool,
    /// What is to be written is a word that others wait for.
    urgent: bool,
}

impl StatusState {
    fn new(writer: Writer, cell: StatusCell) -> Self {
        StatusState { writer, cell, dirty: false, urgent: false }
    }
}

/// Another member's value, with the newest envelope revision seen.
#[derive(Debug)]
pub(crate) struct Other<T> {
    pub writer: Writer,
    pub value: T,
    /// When it was last told of a change, on this operator's own clock of what it can hear.
    pub changed_ms: u64,
}

/// Heartbeats of others that were told of, with the version that was. Being told of is the sign of life; what is in them
/// is read a few at a time, for hardly ever is something else in them, and an object store takes a request for each. The
/// version told need not be that of the value: a quorum tells of a heartbeat without having read it.
#[derive(Debug, Default)]
struct Beats {
    /// Told of last, for each member.
    told: BTreeMap<MemberName, Version>,
    /// Not read since.
    unread: BTreeSet<MemberName>,
    /// Asked for in turn, and not answered yet: that they live was told, and what is read says it no second time.
    asked: BTreeSet<MemberName>,
    /// The last one that was read: the next in order is the next to be.
    last: Option<MemberName>,
}

impl Beats {
    /// The next few to be read, in turn.
    fn take(&mut self, few: usize) -> Vec<MemberName> {
        let after = self.unread.iter().filter(|member| self.last.as_ref().is_none_or(|last| *member > last));
        let before = self.unread.iter().filter(|member| self.last.as_ref().is_some_and(|last| *member <= last));
        let next: Vec<MemberName> = after.chain(before).take(few).cloned().collect();
        for member in &next {
            self.unread.remove(member);
        }
        self.asked.extend(next.iter().cloned());
        self.last = next.last().cloned().or(self.last.take());
        next
    }
}

impl Topology {
    pub fn new(config: &Config) -> Self {
        let cell = MemberCell {
            format: CELL_FORMAT,
            member: config.member.clone(),
            cluster_uid: config.cluster_uid.clone(),
            incarnation: config.incarnation,
            sequence: 0,
            release: config.release.name.clone(),
            kubernetes: config.kubernetes.clone(),
            public_keys: config.shown_keys(),
            api_server_ready: true,
            frozen: None,
            removals: Vec::new(),
        };
        let writer = Writer::new(keys::cell(&config.member));
        Topology {
            cursor: None,
            loaded: false,
            failures: 0,
            resets: 0,
            down_since_ms: None,
            throttled_since_ms: None,
            unwritten_since_ms: None,
            hearing: hearing::Hearing::default(),
            replaced: None,
            distrusted: None,
            checking: false,
            doubts: rolled_back::Doubts::default(),
            unreadable: unreadable::Unreadable::default(),
            vanished: BTreeSet::new(),
            control: Writer::new(keys::CONTROL.to_owned()),
            pages: BTreeMap::new(),
            cell: CellState { writer, cell, dirty: false, flight_serial: 0 },
            statuses: BTreeMap::new(),
            others: BTreeMap::new(),
            cells: BTreeMap::new(),
            beats: Beats::default(),
            twins: twins::Twins::default(),
            status_due_ms: None,
            last_status_ms: 0,
            heartbeats: false,
        }
    }

    /// Whether the whole picture has been read since the start.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether what stands there is taken for this league's, and for what was agreed.
    pub fn is_believed(&self) -> bool {
        self.replaced.is_none() && self.distrusted.is_none()
    }

    /// Whether it may be written to: the whole picture has been read, and it is this league's store as
    /// far as anybody knows.
    pub fn is_writable(&self) -> bool {
        self.loaded && self.is_believed() && !self.checking && !self.doubts.suspects_something()
    }

    /// Why no league may begin here, where no control document stands: what others stand there says that one did. A
    /// server that was restored or damaged in part is no reason to found a league over what is left of another.
    pub fn remains(&self) -> Option<String> {
        let pages = self.pages.values().filter(|state| state.writer.envelope().is_some()).count();
        let own = self.cell.writer.envelope().is_some();
        let members = self.cells.len() + usize::from(own);
        (pages + members > 0).then(|| {
            format!(
                "the topology server holds {pages} pages and {members} members of a league, and no control document: restore a backup, or let `hansa topo rebuild` make it anew from the members; a new league begins in an empty prefix"
            )
        })
    }

    /// Whether the answer to the write of a page is awaited.
    pub fn is_writing_pages(&self) -> bool {
        self.pages.values().any(|page| page.writer.is_busy())
    }

    /// Whether something waits to be written, the heartbeat apart.
    pub fn has_unwritten(&self) -> bool {
        self.pages.values().any(|page| page.writer.is_busy() || !page.queue.is_empty())
            || self.statuses.values().any(|status| status.dirty || status.writer.is_busy())
            || self.control.is_busy()
    }

    /// The records that this member says something of; some of them may be over by now.
    pub fn own_statuses(&self) -> impl Iterator<Item = &RecordKey> {
        self.statuses.values().flat_map(|state| state.cell.records.keys())
    }

    /// Every record that this release understands, or has understood.
    pub fn records(&self) -> impl Iterator<Item = (&RecordKey, &Arc<Record>)> {
        self.pages.values().flat_map(|state| {
            let known = state.page.records.iter().filter_map(|(key, slot)| slot.record().map(|record| (key, record)));
            known.chain(&state.understood)
        })
    }
}

impl Operator {
    pub(crate) fn pages(&self) -> u32 {
        self.league.as_ref().map_or(hansa_ballot::DEFAULT_PAGES, |league| league.control.pages)
    }

    /// The agreed record of a key, as it was last read.
    pub(crate) fn record_in_page(&self, key: &RecordKey) -> Option<Arc<Record>> {
        let state = self.topology.pages.get(&key.page(self.pages()))?;
        state.page.record(key).or_else(|| state.understood.get(key)).cloned()
    }

    /// The term and appointee in the header of a key's page.
    pub(crate) fn header(&self, key: &RecordKey) -> hansa_ledger::page::Header {
        self.topology.pages.get(&key.page(self.pages())).map(|state| state.page.header.clone()).unwrap_or_default()
    }

    /// Under which header each page was decided in last.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &hansa_ledger::page::Header> {
        self.topology.pages.values().map(|state| &state.page.header)
    }

    /// What a member says of a record.
    pub(crate) fn status_of(&self, member: &MemberName, key: &RecordKey) -> Option<&RecordStatus> {
        let page = key.page(self.pages());
        if member == &self.config.member {
            self.topology.statuses.get(&page).and_then(|state| state.cell.records.get(key))
        } else {
            self.topology.others.get(&(member.clone(), page)).and_then(|other| other.value.records.get(key))
        }
    }

    fn page_state(&mut self, number: u32) -> &mut PageState {
        self.topology.pages.entry(number).or_insert_with(|| PageState {
            writer: Writer::new(keys::page(number)),
            page: Page::empty(),
            understood: BTreeMap::new(),
            bytes: 0,
            crowded: false,
            queue: Vec::new(),
            losses: 0,
            rests_until_ms: 0,
            flight: None,
            fences: BTreeSet::new(),
            fencing: None,
        })
    }

    /// Whether a change of this record waits to be written, or is being written.
    pub(crate) fn is_being_changed(&self, key: &RecordKey) -> bool {
        let state = self.topology.pages.get(&key.page(self.pages()));
        let waits = state.is_some_and(|state| state.queue.iter().any(|mutation| mutation.key == *key));
        waits || self.is_being_written(key)
    }

    /// Whether a change of this record is in the write that is under way.
    pub(crate) fn is_being_written(&self, key: &RecordKey) -> bool {
        let state = self.topology.pages.get(&key.page(self.pages()));
        let flight = state.and_then(|state| state.flight.as_ref());
        flight.is_some_and(|(_, mutations)| mutations.iter().any(|mutation| mutation.key == *key))
    }

    /// The revision that a change of this record would be written as, unless another member is first.
    pub(crate) fn expected_page_revision(&self, key: &RecordKey) -> Revision {
        match self.topology.pages.get(&key.page(self.pages())) {
            Some(state) if state.writer.is_busy() => state.writer.next_revision().next(),
            Some(state) => state.writer.next_revision(),
            None => Revision(1),
        }
    }

    /// Whether a key's page has room for small bodies alone.
    pub(crate) fn is_crowded(&self, key: &RecordKey) -> bool {
        self.topology.pages.get(&key.page(self.pages())).is_some_and(|state| state.crowded || is_crowded(state.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::Beats;
    use hansa_model::{MemberName, SplitMix64};
    use std::collections::BTreeMap;

    #[test]
    fn beats_are_read_in_turn() {
        let mut beats = Beats::default();
        let names = ["a", "b", "c", "d", "e"].map(|name| name.parse::<MemberName>().unwrap());
        let mut read = String::new();
        for _ in 0..5 {
            // Everybody has been heard meanwhile.
            beats.unread.extend(names.iter().cloned());
            beats.take(2).iter().for_each(|member| read += &member.to_string());
        }
        assert_eq!(read, "abcdeabcde");
        beats.unread = names[..1].iter().cloned().collect();
        assert_eq!(beats.take(2), names[..1]);
        assert_eq!(beats.take(2), []);
    }

    #[test]
    fn nobody_waits_longer_than_all_others_take() {
        for others in 1..=50_u64 {
            let names: Vec<MemberName> = (0..others).map(|number| format!("m{number}").parse().unwrap()).collect();
            let (mut beats, mut random) = (Beats::default(), SplitMix64(others));
            let mut told = BTreeMap::new();
            for heartbeat in 0..1_000 {
                // Some are heard more often than others, and some not at all for a while.
                for name in names.iter().filter(|_| random.below(3) > 0) {
                    beats.unread.insert(name.clone());
                    told.entry(name.clone()).or_insert(heartbeat);
                }
                for name in beats.take(2) {
                    let waited = heartbeat + 1 - told.remove(&name).expect("nobody is read who was not heard");
                    assert!(waited <= others.div_ceil(2), "{name} waits for {waited} heartbeats among {others}");
                }
            }
        }
    }
}
