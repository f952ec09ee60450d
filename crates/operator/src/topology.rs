//! The picture's agreed half: loading it, following it, writing to it.

use crate::draft::{Draft, is_crowded};
use crate::io::{Level, TopoAnswer, TopoRequest};
use crate::machine::{Config, Operator, Timer};
use crate::writer::{Pen, Writer};
use hansa_ledger::cell::{CELL_FORMAT, MemberCell, RecordStatus, StatusCell};
use hansa_ledger::keys::{self, Key};
use hansa_ledger::mutation::{self, Mutation};
use hansa_ledger::swap::Settled;
use hansa_ledger::{Envelope, EnvelopeError, Page, Record, Swap, Versioned};
use hansa_model::{Hash, MemberName, RecordKey, Revision};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long status cells may wait while outputs are still being applied.
const STATUS_DELAY_MS: u64 = 1_000;

/// How many values one read asks for.
const READ_BATCH: usize = 64;

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
    Control,
    Blob(Hash),
    ReadBlob(Hash),
}

/// What is known of the topology server.
#[derive(Debug)]
pub(crate) struct Topology {
    cursor: Option<Box<str>>,
    loaded: bool,
    failures: u32,
    /// Since when it cannot be reached, wall time.
    pub down_since_ms: Option<u64>,
    pub control: Writer,
    pages: BTreeMap<u32, PageState>,
    pub cell: CellState,
    pub statuses: BTreeMap<u32, StatusState>,
    others: BTreeMap<(MemberName, u32), Other<StatusCell>>,
    pub cells: BTreeMap<MemberName, Other<MemberCell>>,
    status_due_ms: Option<u64>,
    /// When another member last said what came of its outputs.
    pub last_status_ms: u64,
    heartbeats: bool,
}

#[derive(Debug)]
struct PageState {
    writer: Writer,
    page: Page,
    /// How large the page is, unpacked.
    bytes: usize,
    /// It takes small bodies alone: what was to be written did not fit.
    crowded: bool,
    queue: Vec<Mutation>,
    /// The page and the mutations of the write under way.
    flight: Option<(Page, Vec<Mutation>)>,
    /// Keys that wait for a linearizable read of the page.
    fences: BTreeSet<RecordKey>,
    fencing: bool,
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
}

/// Another member's value, with the newest envelope revision seen.
#[derive(Debug)]
pub(crate) struct Other<T> {
    pub writer: Writer,
    pub value: T,
    /// When the value last changed, on this operator's own clock.
    pub changed_ms: u64,
}

impl Topology {
    pub fn new(config: &Config) -> Self {
        let cell = MemberCell {
            format: CELL_FORMAT,
            member: config.member.clone(),
            cluster_uid: config.cluster_uid.clone(),
            incarnation: config.incarnation,
            sequence: 0,
            release: config.release.clone(),
            kubernetes: config.kubernetes.clone(),
            public_keys: config.public_keys.clone(),
            api_server_ready: true,
            removals: Vec::new(),
        };
        let writer = Writer::new(keys::cell(&config.member));
        Topology {
            cursor: None,
            loaded: false,
            failures: 0,
            down_since_ms: None,
            control: Writer::new(keys::CONTROL.to_owned()),
            pages: BTreeMap::new(),
            cell: CellState { writer, cell, dirty: false, flight_serial: 0 },
            statuses: BTreeMap::new(),
            others: BTreeMap::new(),
            cells: BTreeMap::new(),
            status_due_ms: None,
            last_status_ms: 0,
            heartbeats: false,
        }
    }

    /// Whether the whole picture has been read since the start.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether something waits to be written, the heartbeat apart.
    pub fn has_unwritten(&self) -> bool {
        self.pages.values().any(|page| page.writer.is_busy() || !page.queue.is_empty())
            || self.statuses.values().any(|status| status.dirty || status.writer.is_busy())
            || self.control.is_busy()
    }

    /// Every record that this release understands.
    pub fn records(&self) -> impl Iterator<Item = (&RecordKey, &Arc<Record>)> {
        self.pages.values().flat_map(|state| {
            state.page.records.iter().filter_map(|(key, slot)| slot.record().map(|record| (key, record)))
        })
    }
}

impl Operator {
    pub(crate) fn pages(&self) -> u32 {
        self.league.as_ref().map_or(hansa_ballot::DEFAULT_PAGES, |league| league.control.pages)
    }

    /// The agreed record of a key.
    pub(crate) fn record_in_page(&self, key: &RecordKey) -> Option<Arc<Record>> {
        self.topology.pages.get(&key.page(self.pages())).and_then(|state| state.page.record(key)).cloned()
    }

    /// The term and appointee in the header of a key's page.
    pub(crate) fn header(&self, key: &RecordKey) -> hansa_ledger::page::Header {
        self.topology.pages.get(&key.page(self.pages())).map(|state| state.page.header.clone()).unwrap_or_default()
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

    /// Says what came of a record here; `None`: nothing any more.
    pub(crate) fn set_status(&mut self, key: &RecordKey, status: Option<RecordStatus>) {
        let page = key.page(self.pages());
        let member = &self.config.member;
        let state = self.topology.statuses.entry(page).or_insert_with(|| StatusState {
            writer: Writer::new(keys::status(member, page)),
            cell: StatusCell::empty(),
            dirty: false,
        });
        let changed = match status {
            Some(status) if state.cell.records.get(key) != Some(&status) => {
                state.cell.records.insert(key.clone(), status);
                true
            }
            Some(_) => false,
            None => state.cell.records.remove(key).is_some(),
        };
        if changed {
            state.dirty = true;
            if self.topology.status_due_ms.is_none() {
                let due = self.now.monotonic_ms + STATUS_DELAY_MS;
                self.topology.status_due_ms = Some(due);
                self.at(due, Timer::Statuses);
            }
        }
    }

    /// Puts a change into its page's next write.
    pub(crate) fn mutate(&mut self, key: &RecordKey, change: mutation::Change) {
        let number = key.page(self.pages());
        let member = self.config.member.clone();
        let state = self.page_state(number);
        // A newer word of the same member about the same record replaces what was not sent yet.
        let same = |queued: &Mutation| {
            queued.key == *key && std::mem::discriminant(&queued.change) == std::mem::discriminant(&change)
        };
        state.queue.retain(|queued| !same(queued));
        state.queue.push(Mutation { key: key.clone(), member, change });
    }

    fn page_state(&mut self, number: u32) -> &mut PageState {
        self.topology.pages.entry(number).or_insert_with(|| PageState {
            writer: Writer::new(keys::page(number)),
            page: Page::empty(),
            bytes: 0,
            crowded: false,
            queue: Vec::new(),
            flight: None,
            fences: BTreeSet::new(),
            fencing: false,
        })
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

    /// Asks for a linearizable read of a key's page; the key is looked at again afterwards, with
    /// [`crate::output::OutputWork::fenced`] set when the read succeeded.
    pub(crate) fn fence(&mut self, key: &RecordKey) {
        let number = key.page(self.pages());
        let state = self.page_state(number);
        state.fences.insert(key.clone());
        if !state.fencing {
            state.fencing = true;
            self.topo(TopoCall::Fence(number), TopoRequest::Read { keys: vec![keys::page(number)] });
        }
    }

    fn pen_parts(&mut self) -> Option<(hansa_model::LeagueId, hansa_model::Era, hansa_ledger::OperationId, u64)> {
        let league = self.league.as_ref()?;
        let (id, era) = (league.id, league.era);
        Some((id, era, self.next_operation(), self.random()))
    }

    /// Sends the next write of every page that has one to send.
    pub(crate) fn flush_pages(&mut self) {
        if !self.topology.loaded {
            return;
        }
        let ready: Vec<u32> = self
            .topology
            .pages
            .iter()
            .filter(|(_, state)| !state.queue.is_empty() && !state.writer.is_busy())
            .map(|(number, _)| *number)
            .collect();
        for number in ready {
            self.flush_page(number);
        }
    }

    fn flush_page(&mut self, number: u32) {
        let Some((league, era, operation, nonce)) = self.pen_parts() else { return };
        let member = self.config.member.clone();
        let state = self.page_state(number);
        let revision = state.writer.next_revision();
        let queue = std::mem::take(&mut state.queue);
        let draft = Draft::of(&state.page, revision, queue);
        if !draft.crowding.is_empty() {
            state.crowded = true;
        }
        if !draft.written.is_empty() && draft.fits() {
            state.bytes = draft.body.len();
            let request = state.writer.begin(Pen { league, era, member: &member, operation, nonce }, &draft.body);
            state.flight = Some((draft.page, draft.written));
            self.topo(TopoCall::Page(number), request);
        } else if !draft.written.is_empty() {
            let records = draft.page.records.len();
            self.log(
                Level::Error,
                None,
                format!(
                    "{} is full with {records} records: nothing more is agreed in it; found a league with more pages",
                    keys::page(number)
                ),
            );
        }
        for mutation in draft.crowding {
            self.touch(&mutation.key);
        }
        for (mutation, why) in draft.skipped {
            self.mutation_skipped(&mutation.key, &why);
        }
    }

    /// Sends every changed status cell, unless outputs are still on their way and it is not urgent.
    pub(crate) fn flush_statuses(&mut self) {
        let urgent = self.topology.status_due_ms.is_some_and(|due| due <= self.now.monotonic_ms);
        if !self.topology.loaded || (self.has_outputs_under_way() && !urgent) {
            return;
        }
        let ready: Vec<u32> = self
            .topology
            .statuses
            .iter()
            .filter(|(_, state)| state.dirty && !state.writer.is_busy())
            .map(|(number, _)| *number)
            .collect();
        self.topology.status_due_ms = None;
        for number in ready {
            let Some((league, era, operation, nonce)) = self.pen_parts() else { return };
            let member = self.config.member.clone();
            let Some(state) = self.topology.statuses.get_mut(&number) else { continue };
            state.dirty = false;
            let body = serde_json::to_vec(&state.cell).expect("a cell always encodes into memory");
            let request = state.writer.begin(Pen { league, era, member: &member, operation, nonce }, &body);
            self.topo(TopoCall::Status(number), request);
        }
    }

    /// Says that this operator lives, and how it is.
    pub(crate) fn heartbeat(&mut self) {
        self.at(self.now.monotonic_ms + self.config.heartbeat_ms, Timer::Heartbeat);
        self.topology.cell.cell.sequence += 1;
        self.topology.cell.cell.api_server_ready = self.api_server_ready();
        self.topology.cell.dirty = true;
        self.flush_cell();
        self.refresh_members();
    }

    pub(crate) fn flush_cell(&mut self) {
        if self.topology.cell.writer.is_busy() || !self.topology.cell.dirty || !self.topology.loaded {
            return;
        }
        let Some((league, era, operation, nonce)) = self.pen_parts() else { return };
        let member = self.config.member.clone();
        let state = &mut self.topology.cell;
        state.dirty = false;
        state.flight_serial = self.removals.serial;
        let body = serde_json::to_vec(&state.cell).expect("a cell always encodes into memory");
        let request = state.writer.begin(Pen { league, era, member: &member, operation, nonce }, &body);
        self.topo(TopoCall::Cell, request);
    }

    // --- answers ---

    pub(crate) fn topo_answered(&mut self, call: TopoCall, answer: TopoAnswer) {
        if let TopoAnswer::Failed { reason } = &answer {
            return self.topo_failed(call, reason);
        }
        if self.topology.down_since_ms.take().is_some() {
            self.log(Level::Info, None, "the topology server answers again");
            self.touch_all();
            self.refresh_members();
        }
        self.topology.failures = 0;
        match (call, answer) {
            (TopoCall::Cursor, TopoAnswer::Changed { cursor, .. } | TopoAnswer::Reset { cursor }) => {
                self.topology.cursor = Some(cursor);
                self.load();
            }
            (TopoCall::Load(rest), TopoAnswer::Listed(entries)) => self.listed(rest, entries),
            (TopoCall::Changes, TopoAnswer::Changed { cursor, keys }) => {
                self.topology.cursor = Some(cursor);
                let wanted: Vec<String> =
                    keys.into_iter().filter(|(key, version)| self.is_news(key, version)).map(|(key, _)| key).collect();
                for batch in wanted.chunks(READ_BATCH) {
                    self.topo(TopoCall::Read(batch.to_vec()), TopoRequest::Read { keys: batch.to_vec() });
                }
                self.wait_for_changes();
            }
            (TopoCall::Changes, TopoAnswer::Reset { cursor }) => {
                self.topology.cursor = Some(cursor);
                self.load();
            }
            (TopoCall::Read(keys), TopoAnswer::Values(values)) => {
                for (key, value) in keys.iter().zip(values) {
                    if let Some(value) = value {
                        self.absorb(key, &value);
                    }
                }
            }
            (TopoCall::Fence(number), TopoAnswer::Values(mut values)) => {
                if let Some(Some(value)) = values.pop() {
                    self.absorb(&keys::page(number), &value);
                }
                let state = self.page_state(number);
                state.fencing = false;
                for key in std::mem::take(&mut state.fences) {
                    self.fenced(&key);
                }
            }
            (TopoCall::Page(number), TopoAnswer::Swapped(swap)) => {
                self.page_swapped(number, swap);
                if self.page_state(number).writer.missed_something() {
                    self.read_again(keys::page(number));
                }
            }
            (TopoCall::Status(number), TopoAnswer::Swapped(swap)) => self.status_swapped(number, swap),
            (TopoCall::Cell, TopoAnswer::Swapped(swap)) => self.cell_swapped(swap),
            (TopoCall::Control, TopoAnswer::Swapped(swap)) => {
                self.control_swapped(swap);
                if self.topology.control.missed_something() {
                    self.read_again(keys::CONTROL.to_owned());
                }
            }
            (TopoCall::Blob(hash), TopoAnswer::Swapped(swap)) => self.blob_swapped(hash, swap),
            (TopoCall::ReadBlob(hash), TopoAnswer::Values(mut values)) => self.blob_read(hash, values.pop().flatten()),
            (call, answer) => {
                let message = format!("the topology server answered {answer:?} to {call:?}");
                self.log(Level::Error, None, message);
            }
        }
    }

    /// A newer state was told of while a write was under way, and passed over: nobody tells of it
    /// again.
    fn read_again(&mut self, key: String) {
        self.topo(TopoCall::Read(vec![key.clone()]), TopoRequest::Read { keys: vec![key] });
    }

    fn topo_failed(&mut self, call: TopoCall, reason: &str) {
        self.topology.failures += 1;
        self.metrics.failures += 1;
        if self.topology.down_since_ms.is_none() {
            self.topology.down_since_ms = Some(self.now.wall_ms);
            self.log(
                Level::Warning,
                None,
                format!("the topology server cannot be used ({reason}): what was last agreed is kept up, nothing is taken away or changed"),
            );
            self.touch_all();
            self.refresh_members();
        }
        let at = self.pause(self.topology.failures, 50, 5_000);
        self.at(at, Timer::Topo(call));
    }

    pub(crate) fn repeat_topo(&mut self, call: TopoCall) {
        let request = match &call {
            TopoCall::Cursor => TopoRequest::Changes { cursor: None },
            TopoCall::Load(rest) => match rest.first() {
                Some(prefix) => TopoRequest::List { prefix: prefix.clone() },
                None => return,
            },
            TopoCall::Changes => TopoRequest::Changes { cursor: self.topology.cursor.clone() },
            TopoCall::Read(keys) => TopoRequest::Read { keys: keys.clone() },
            TopoCall::Fence(number) => TopoRequest::Read { keys: vec![keys::page(*number)] },
            TopoCall::Page(number) => match self.topology.pages.get_mut(number) {
                Some(state) if state.writer.is_busy() => state.writer.send(),
                _ => return,
            },
            TopoCall::Status(number) => match self.topology.statuses.get_mut(number) {
                Some(state) if state.writer.is_busy() => state.writer.send(),
                _ => return,
            },
            TopoCall::Cell if self.topology.cell.writer.is_busy() => self.topology.cell.writer.send(),
            TopoCall::Control if self.topology.control.is_busy() => self.topology.control.send(),
            TopoCall::Blob(hash) => match self.repeat_blob(hash) {
                Some(request) => request,
                None => return,
            },
            TopoCall::ReadBlob(hash) => crate::blobs::read_blob(hash),
            TopoCall::Cell | TopoCall::Control => return,
        };
        self.topo(call, request);
    }

    fn load(&mut self) {
        let prefixes = [keys::CONTROL, keys::PAGES, keys::MEMBERS].map(str::to_owned).to_vec();
        let request = TopoRequest::List { prefix: prefixes[0].clone() };
        self.topo(TopoCall::Load(prefixes), request);
    }

    fn listed(&mut self, mut rest: Vec<String>, entries: Vec<(String, Versioned)>) {
        for (key, value) in entries {
            self.absorb(&key, &value);
        }
        rest.remove(0);
        if let Some(prefix) = rest.first().cloned() {
            return self.topo(TopoCall::Load(rest), TopoRequest::List { prefix });
        }
        self.topology.loaded = true;
        self.wait_for_changes();
        self.judge_federations();
        if !self.topology.heartbeats && self.league.is_some() {
            self.topology.heartbeats = true;
            self.heartbeat();
        }
        self.touch_all();
    }

    fn wait_for_changes(&mut self) {
        let cursor = self.topology.cursor.clone();
        self.topo(TopoCall::Changes, TopoRequest::Changes { cursor });
    }

    fn is_news(&self, key: &str, version: &hansa_ledger::Version) -> bool {
        let known = match keys::parse(key) {
            Key::Control => self.topology.control.version(),
            Key::Page(number) => self.topology.pages.get(&number).and_then(|state| state.writer.version()),
            Key::Cell(member) if member == self.config.member => return false,
            Key::Cell(member) => self.topology.cells.get(&member).and_then(|other| other.writer.version()),
            Key::Status(member, _) if member == self.config.member => return false,
            Key::Status(member, page) => {
                self.topology.others.get(&(member, page)).and_then(|other| other.writer.version())
            }
            Key::Other => return false,
        };
        known != Some(version)
    }

    /// Takes a value that was read into the picture.
    fn absorb(&mut self, key: &str, value: &Versioned) {
        let opened = Envelope::open(&value.value).and_then(|(envelope, body)| match &self.league {
            Some(league) => envelope.belongs_to(league.id).map(|()| (envelope, body)),
            None => Ok((envelope, body)),
        });
        let (envelope, body) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.unreadable(key, &error.to_string()),
        };
        match keys::parse(key) {
            Key::Control if self.topology.control.saw(&value.version, &envelope) => self.control_seen(&envelope, &body),
            Key::Page(number) => {
                let state = self.page_state(number);
                if state.writer.saw(&value.version, &envelope) {
                    self.page_seen(number, &body);
                }
            }
            Key::Cell(member) if member == self.config.member => {
                if self.topology.cell.writer.saw(&value.version, &envelope)
                    && let Ok(cell) = serde_json::from_slice::<MemberCell>(&body)
                {
                    self.topology.cell.cell.removals = cell.removals;
                }
            }
            Key::Cell(member) => self.cell_seen(key, member, value, &envelope, &body),
            Key::Status(member, page) => self.status_seen(key, member, page, value, &envelope, &body),
            _ => {}
        }
    }

    fn unreadable(&mut self, key: &str, why: &str) {
        self.metrics.failures += 1;
        self.log(Level::Error, None, format!("{key} in the topology server: {why}; it is left as it is"));
    }

    fn page_seen(&mut self, number: u32, body: &[u8]) {
        match Page::from_slice(body) {
            Ok(page) => {
                self.page_state(number).bytes = body.len();
                self.turn_page(number, page);
            }
            Err(error) => self.unreadable(&keys::page(number), &error.to_string()),
        }
    }

    /// Puts a newer state of a page into the picture, and marks what changed.
    fn turn_page(&mut self, number: u32, page: Page) {
        let state = self.page_state(number);
        let before = std::mem::replace(&mut state.page, page);
        let mut changed = BTreeSet::new();
        for (key, slot) in &state.page.records {
            let same = match (slot.record(), before.record(key)) {
                (Some(now), Some(then)) => now.says_the_same(then),
                (None, None) => true,
                _ => false,
            };
            if !same {
                changed.insert(key.clone());
            }
        }
        changed.extend(before.records.into_keys().filter(|key| !state.page.records.contains_key(key)));
        for key in changed {
            self.touch(&key);
        }
    }

    fn cell_seen(&mut self, key: &str, member: MemberName, value: &Versioned, envelope: &Envelope, body: &[u8]) {
        let cell: MemberCell = match serde_json::from_slice(body) {
            Ok(cell) => cell,
            Err(error) => return self.unreadable(key, &error.to_string()),
        };
        let now = self.now.monotonic_ms;
        let known = self.topology.cells.entry(member).or_insert_with(|| Other {
            writer: Writer::new(key.to_owned()),
            value: cell.clone(),
            changed_ms: now,
        });
        let first = known.writer.version().is_none();
        if known.writer.saw(&value.version, envelope) {
            known.value = cell;
            known.changed_ms = now;
            if first {
                self.refresh_members();
            }
        }
    }

    fn status_seen(
        &mut self,
        key: &str,
        member: MemberName,
        page: u32,
        value: &Versioned,
        envelope: &Envelope,
        body: &[u8],
    ) {
        let cell: StatusCell = match serde_json::from_slice(body) {
            Ok(cell) => cell,
            Err(error) => return self.unreadable(key, &error.to_string()),
        };
        let now = self.now.monotonic_ms;
        if member == self.config.member {
            // Only what was said before this start: since then, memory is newer than any read.
            if let Entry::Vacant(vacant) = self.topology.statuses.entry(page) {
                let mut writer = Writer::new(key.to_owned());
                writer.saw(&value.version, envelope);
                vacant.insert(StatusState { writer, cell, dirty: false });
            }
            return;
        }
        self.topology.last_status_ms = now;
        let known = self.topology.others.entry((member, page)).or_insert_with(|| Other {
            writer: Writer::new(key.to_owned()),
            value: StatusCell::empty(),
            changed_ms: now,
        });
        if !known.writer.saw(&value.version, envelope) {
            return;
        }
        let before = std::mem::replace(&mut known.value, cell);
        let differs = |key: &&RecordKey| before.records.get(*key) != known.value.records.get(*key);
        let changed: BTreeSet<RecordKey> =
            before.records.keys().chain(known.value.records.keys()).filter(differs).cloned().collect();
        for key in changed {
            self.touch(&key);
        }
    }

    fn page_swapped(&mut self, number: u32, swap: Swap) {
        let member = self.config.member.clone();
        let state = self.page_state(number);
        let settled = state.writer.settle(&member, swap);
        match settled {
            Ok(Settled::Repeat { reason }) => self.repeat_later(TopoCall::Page(number), &reason),
            Ok(Settled::Committed(_)) => {
                let (page, mutations) = state.flight.take().expect("a write under way has its page");
                self.turn_page(number, page);
                for mutation in mutations {
                    self.touch(&mutation.key);
                }
            }
            Ok(Settled::CommittedBefore(current)) => {
                state.flight = None;
                self.adopt_page(number, &current);
            }
            Ok(Settled::Lost(current)) => {
                let (_, mut mutations) = state.flight.take().expect("a write under way has its page");
                mutations.append(&mut state.queue);
                state.queue = mutations;
                match current {
                    Some(current) => self.adopt_page(number, &current),
                    None => self.turn_page(number, Page::empty()),
                }
            }
            Err(error) => self.page_unreadable(number, &error),
        }
    }

    fn page_unreadable(&mut self, number: u32, error: &EnvelopeError) {
        let state = self.page_state(number);
        state.flight = None;
        state.queue.clear();
        self.unreadable(&keys::page(number), &error.to_string());
    }

    fn adopt_page(&mut self, number: u32, current: &Versioned) {
        let league = self.league.as_ref().map(|league| league.id);
        let state = self.page_state(number);
        let foreign = Envelope::open_header(&current.value)
            .and_then(|(envelope, _)| league.map_or(Ok(()), |league| envelope.belongs_to(league)));
        match foreign.and_then(|()| state.writer.adopt(current)) {
            Ok(body) => self.page_seen(number, &body),
            Err(error) => self.page_unreadable(number, &error),
        }
    }

    fn status_swapped(&mut self, number: u32, swap: Swap) {
        let member = self.config.member.clone();
        let Some(state) = self.topology.statuses.get_mut(&number) else { return };
        match state.writer.settle(&member, swap) {
            Ok(Settled::Repeat { reason }) => self.repeat_later(TopoCall::Status(number), &reason),
            Ok(Settled::Committed(_)) => {}
            // Only this member writes it: what stands there is an earlier start's word, or a copy of
            // this one's. Either way what is known now is to stand there.
            Ok(Settled::CommittedBefore(current) | Settled::Lost(Some(current))) => {
                if let Err(error) = state.writer.adopt(&current) {
                    self.unreadable(&keys::status(&member, number), &error.to_string());
                } else {
                    state.dirty = true;
                }
            }
            Ok(Settled::Lost(None)) => state.dirty = true,
            Err(error) => self.unreadable(&keys::status(&member, number), &error.to_string()),
        }
    }

    fn cell_swapped(&mut self, swap: Swap) {
        let member = self.config.member.clone();
        let state = &mut self.topology.cell;
        match state.writer.settle(&member, swap) {
            Ok(Settled::Repeat { reason }) => return self.repeat_later(TopoCall::Cell, &reason),
            Ok(Settled::Committed(_)) => {
                let durable = state.flight_serial;
                self.removals_persisted(durable);
            }
            Ok(Settled::CommittedBefore(current) | Settled::Lost(Some(current))) => {
                state.dirty = true;
                if let Err(error) = state.writer.adopt(&current) {
                    self.topology.cell.dirty = false;
                    self.unreadable(&keys::cell(&member), &error.to_string());
                }
            }
            Ok(Settled::Lost(None)) => state.dirty = true,
            Err(error) => self.unreadable(&keys::cell(&member), &error.to_string()),
        }
        self.flush_cell();
    }

    pub(crate) fn repeat_later(&mut self, call: TopoCall, reason: &str) {
        self.topology.failures += 1;
        self.metrics.failures += 1;
        self.log(Level::Debug, None, format!("{call:?} is repeated as it is: {reason}"));
        let at = self.pause(self.topology.failures, 20, 5_000);
        self.at(at, Timer::Topo(call));
    }

    pub(crate) fn start_heartbeats(&mut self) {
        if self.topology.loaded && !self.topology.heartbeats {
            self.topology.heartbeats = true;
            self.heartbeat();
        }
    }
}
