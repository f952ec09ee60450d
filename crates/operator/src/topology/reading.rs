//! Reading from the topology server: the whole picture at the start, then what changes.

use super::{Other, StatusState, TopoCall};
use crate::home::namespaces;
use crate::io::{Level, TopoRequest};
use crate::machine::{Operator, Timer};
use crate::writer::{Writer, open};
use hansa_ballot::Control;
use hansa_ledger::cell::{MemberCell, StatusCell};
use hansa_ledger::keys::{self, Key};
use hansa_ledger::{Envelope, EnvelopeError, Page, Slot, Version, Versioned};
use hansa_model::{MemberName, NamespacePolicy, RecordKey};
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// How long a linearizable read counts for what is done on it.
const FENCE_MS: u64 = 2_000;
/// How many values one read asks for.
const READ_BATCH: usize = 64;

/// How many requests an operator spends in the time of one heartbeat on what is in those of others. With a heartbeat in
/// five seconds that is 0.4 a second; the own heartbeat is 0.2, and looking for changes on an object store 0.25: 0.85 in
/// all, however many members there are.
pub const READS_PER_HEARTBEAT: usize = 2;

impl Operator {
    /// Asks for a linearizable read of a key's page; the key is looked at again afterwards, with
    /// `fenced` set in its work when the read succeeded.
    pub(crate) fn fence(&mut self, key: &RecordKey) {
        if !self.topology.is_believed() || self.unread(key).is_some() {
            // What stands there is not believed, or cannot be read. When it is again, it is looked at anew.
            return;
        }
        let number = key.page(self.pages());
        self.page_state(number).fences.insert(key.clone());
        self.read_for_fences(number);
    }

    /// Reads a page for those that wait for it, unless that is under way; or once this member's own write of
    /// it is settled, where that hides what stands there.
    pub(super) fn read_for_fences(&mut self, number: u32) {
        let now = self.now.monotonic_ms;
        let state = self.page_state(number);
        if state.fences.is_empty() || state.fencing.is_some() || state.writer.has_passed_over() {
            return;
        }
        state.fencing = Some(now);
        self.topo(TopoCall::Fence(number), TopoRequest::Read { keys: vec![keys::page(number)] });
    }

    /// The page of a key was read, linearizably.
    pub(super) fn fenced(&mut self, key: &RecordKey, asked_ms: u64) {
        let incarnation = self.record_in_page(key).map(|record| record.incarnation);
        if let Some(object) = self.objects.get_mut(key) {
            object.output_work.fenced = incarnation.map(|life| (life, asked_ms));
            object.home_work.fenced_ms = Some(asked_ms);
        }
        self.touch(key);
    }

    /// Whether a linearizable read of a key's page that was asked for then still counts: it was a moment ago,
    /// the topology server has answered ever since, and what stands in the page can be read.
    pub(crate) fn is_fresh(&self, key: &RecordKey, asked_ms: Option<u64>) -> bool {
        self.topology.down_since_ms.is_none()
            && self.unread(key).is_none()
            && asked_ms.is_some_and(|asked| self.now.monotonic_ms.saturating_sub(asked) <= FENCE_MS)
    }

    /// A newer state was told of while a write was under way, and passed over: nobody tells of it
    /// again.
    pub(super) fn read_again(&mut self, key: String) {
        self.read_all(&[key]);
    }

    /// What has changed is not known any more: everything is read. Where that goes on, because changes are forgotten faster
    /// than everything is read, it is read less and less often.
    pub(super) fn load_after_reset(&mut self) {
        self.topology.resets += 1;
        match self.topology.resets {
            1 => return self.load(),
            3 => self.log(
                Level::Warning,
                None,
                "the topology server has forgotten what changed, three times in a row before it told of any change: everything is read anew each time",
            ),
            _ => {}
        }
        let at = self.pause(self.topology.resets, 500, 10_000);
        self.at(at, Timer::Topo(TopoCall::Load(self.prefixes())));
    }

    pub(super) fn load(&mut self) {
        let prefixes = self.prefixes();
        let request = TopoRequest::List { prefix: prefixes[0].clone() };
        self.topo(TopoCall::Load(prefixes), request);
    }

    /// What everything is listed by.
    fn prefixes(&self) -> Vec<String> {
        let mut prefixes = [keys::CONTROL, keys::PAGES, keys::MEMBERS].map(str::to_owned).to_vec();
        if self.topology.heartbeats {
            // What was asked and answered while nothing was told.
            prefixes.push(keys::PLANS.to_owned());
        }
        prefixes
    }

    pub(super) fn listed(&mut self, mut rest: Vec<String>, entries: Vec<(String, Versioned)>) {
        let control_is_gone = entries.is_empty() && rest.first().is_some_and(|prefix| prefix == keys::CONTROL);
        for (key, value) in entries {
            self.absorb(&key, &value);
        }
        if self.topology.cursor.is_none() {
            // The era was raised: everything is being asked for anew.
            return;
        }
        if control_is_gone {
            self.check_store();
        }
        rest.remove(0);
        if let Some(prefix) = rest.first().cloned() {
            return self.topo(TopoCall::Load(rest), TopoRequest::List { prefix });
        }
        // It has been loaded before, and the era was raised since.
        let anew = self.topology.heartbeats && !self.topology.loaded;
        if !self.topology.loaded {
            self.topology.loaded = true;
            self.ballots.heard_since_ms = self.hearing_ms();
        }
        // They are waited for already while everything is read once more: another one who waits would be told the same, for
        // ever.
        if !self.awaits_answer(&TopoCall::Changes) {
            self.wait_for_changes();
        }
        self.judge_federations();
        self.claim_seats();
        if !self.topology.heartbeats && self.league.is_some() {
            self.topology.heartbeats = true;
            self.heartbeat();
        }
        self.touch_all();
        // What was asked before anything was known, about what the league does not know either.
        self.continue_all_requests();
        if anew {
            self.settle_in_era();
        }
        self.caught_up();
    }

    /// Reads the whole picture once more, and the changes after it.
    pub(crate) fn read_all_anew(&mut self) {
        self.topo(TopoCall::Cursor, TopoRequest::Changes { cursor: None });
    }

    pub(super) fn wait_for_changes(&mut self) {
        let cursor = self.topology.cursor.clone();
        self.topo(TopoCall::Changes, TopoRequest::Changes { cursor });
    }

    /// Whether a version that was told of is to be read.
    pub(super) fn is_news(&mut self, key: &str, version: &Version) -> bool {
        let seated = self.is_seated();
        let (own, topology) = (&self.config.member, &mut self.topology);
        let writer = match keys::parse(key) {
            // The ballots look at it themselves.
            Key::Control if seated => return false,
            Key::Control => Some(&mut topology.control),
            Key::Page(number) => topology.pages.get_mut(&number).map(|state| &mut state.writer),
            // It is written anew with every heartbeat.
            Key::Cell(member) if member == *own => return false,
            Key::Cell(member) => topology.cells.get_mut(&member).map(|other| &mut other.writer),
            Key::Confirmations(member) => self.confirming.writer_of(own, &member),
            Key::Status(member, page) if member == *own => {
                topology.statuses.get_mut(&page).map(|state| &mut state.writer)
            }
            Key::Status(member, page) => topology.others.get_mut(&(member, page)).map(|other| &mut other.writer),
            Key::Plan(_) => return true,
            Key::PlanWords(slot, member) => return self.awaits_words(slot, &member),
            Key::Other => return false,
        };
        writer.is_none_or(|writer| writer.hears(version))
    }

    /// Whether what was told of is the heartbeat of a member that is heard: so it lives, and what is in it is read in its
    /// turn. In a league of three, of a member that was silent, and of one that has another key by now, it is read at once.
    ///
    /// What a member says of itself (that its share is frozen or goes on, that its API server is away or back, its release,
    /// its keys) is known to N − 1 others so much later than it was told of: ⌈(N − 1) / (2 × [`Config::values_per_read`])⌉
    /// of their heartbeats at most, of five seconds each. That is one on etcd; on object stores 25 s in a league of ten and
    /// 125 s in one of fifty, beside the four seconds until they are told; the member itself writes that its share is frozen at
    /// once, and of its API server with its next heartbeat. Nothing but what people are shown waits for it: who
    /// is heard, votes, the feature level, confirmations and what came of outputs stand elsewhere or are told at once, and what
    /// the breaker remembers (`removals`) its own member reads alone. Keys that the spec lists before they were read here
    /// are refused until they are.
    ///
    /// A quorum tells each store's copy of a heartbeat, within the same four seconds; a promise to a store, or that somebody
    /// finishes a half-done write, looks like one heartbeat more, once. A member that counts as silent is heard again by a
    /// value that is newer than the one known, and by nothing less.
    ///
    /// [`Config::values_per_read`]: crate::Config::values_per_read
    pub(super) fn may_wait(&mut self, key: &str, version: &Version) -> bool {
        let Key::Cell(member) = keys::parse(key) else { return false };
        if member == self.config.member {
            return false;
        }
        // Cells of members that have left stand for ever.
        let listed = |name: &&MemberName| self.league.as_ref().is_some_and(|league| league.spec.member(name).is_some());
        let others = self.topology.cells.keys().filter(listed).count();
        if !self.topology.heartbeats
            || others <= READS_PER_HEARTBEAT
            || !self.is_heard(&member)
            || !self.shows_its_key(&member)
        {
            self.topology.beats.asked.remove(&member);
            return false;
        }
        let now = self.hearing_ms();
        // What is told twice is no other heartbeat.
        let before = self.topology.beats.told.insert(member.clone(), version.clone());
        if let Some(cell) = self.topology.cells.get_mut(&member).filter(|_| before.as_ref() != Some(version)) {
            cell.changed_ms = now;
        }
        // It may have been read already, in its turn.
        if self.is_news(key, version) {
            self.topology.beats.unread.insert(member);
        }
        true
    }

    /// Whether what is known of a member is of the key that it votes with: else it has come anew since, and what is
    /// sealed to it waits for its keys.
    fn shows_its_key(&self, member: &MemberName) -> bool {
        let ballots = self.league.as_ref().and_then(|league| league.control.ballots.as_ref());
        let Some(voter) = ballots.and_then(|ballots| ballots.voters.set.get(member)) else { return true };
        let (key, cell) = (voter.key.to_string(), self.topology.cells.get(member));
        cell.is_none_or(|cell| cell.value.public_keys.contains(&key))
    }

    /// Reads the next few heartbeats of others that were told of.
    pub(super) fn read_beats(&mut self) {
        let few = READS_PER_HEARTBEAT * self.config.values_per_read.clamp(1, READ_BATCH);
        let cells: Vec<String> = self.topology.beats.take(few).iter().map(keys::cell).collect();
        self.read_all(&cells);
    }

    pub(super) fn read_all(&mut self, keys: &[String]) {
        for batch in keys.chunks(READ_BATCH) {
            self.topo(TopoCall::Read(batch.to_vec()), TopoRequest::Read { keys: batch.to_vec() });
        }
    }

    /// Takes a value that was read into the picture.
    pub(super) fn absorb(&mut self, key: &str, value: &Versioned) {
        if self.topology.unreadable.holds(key) {
            // A late answer may show what stood there before, or after.
            return self.read_once_more(key);
        }
        self.take_in(key, value);
    }

    /// The same of a value that could not be read, by a read that began after that.
    pub(super) fn absorb_anew(&mut self, key: &str, value: &Versioned) {
        if self.take_in(key, value) {
            self.can_be_read(key);
        }
    }

    /// Returns whether it can be read.
    fn take_in(&mut self, key: &str, value: &Versioned) -> bool {
        let league = self.league.as_ref().map(|league| league.id);
        let header = Envelope::open_header(&value.value)
            .and_then(|(envelope, _)| league.map_or(Ok(()), |league| envelope.belongs_to(league)).map(|()| envelope));
        if key == keys::CONTROL && self.is_seated() && !matches!(header, Err(EnvelopeError::ForeignLeague { .. })) {
            // The ballots read it themselves.
            self.control_changed(&value.version);
            return true;
        }
        let taken = match header {
            Ok(envelope) if self.is_doubtful(key, &envelope) => return true,
            Ok(_) => open(&value.value, league),
            Err(error) => Err(error),
        };
        let read = match taken {
            Ok((envelope, body)) => self.take_body(key, value, &envelope, &body),
            Err(error) => {
                self.misfit(key, &error);
                return false;
            }
        };
        if let Err(why) = &read {
            self.unreadable(key, why);
        }
        read.is_ok()
    }

    fn take_body(&mut self, key: &str, value: &Versioned, envelope: &Envelope, body: &[u8]) -> Result<(), String> {
        match keys::parse(key) {
            Key::Control => {
                if self.topology.control.would_take(envelope) {
                    let control = Control::from_slice(body).map_err(|error| error.to_string())?;
                    self.topology.control.saw(&value.version, envelope);
                    self.meet_control(envelope.league, envelope.era, control);
                } else {
                    self.topology.control.saw(&value.version, envelope);
                }
            }
            Key::Page(number) => {
                self.topology.vanished.remove(&number);
                let writer = &mut self.page_state(number).writer;
                if !writer.would_take(envelope) {
                    writer.saw(&value.version, envelope);
                    // What could not be read is what was known before, or is older.
                    return Page::from_slice(body).map(drop).map_err(|error| error.to_string());
                }
                let page = Page::from_slice(body).map_err(|error| error.to_string())?;
                let state = self.page_state(number);
                state.writer.saw(&value.version, envelope);
                state.bytes = body.len();
                self.turn_page(number, page);
            }
            Key::Cell(member) if member == self.config.member => {
                let cell = serde_json::from_slice::<MemberCell>(body);
                // Since the first heartbeat, memory is newer than any read.
                let recalls = self.topology.cell.writer.saw(&value.version, envelope) && !self.topology.heartbeats;
                match cell {
                    Ok(cell) if recalls => self.topology.cell.cell.removals = cell.removals,
                    Ok(_) => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
            Key::Cell(member) => return self.cell_seen(key, member, value, envelope, body),
            Key::Confirmations(member) => return self.confirmations_seen(key, member, value, envelope, body),
            Key::Status(member, page) => return self.status_seen(key, member, page, value, envelope, body),
            Key::Plan(slot) => return self.plan_seen(slot, body),
            Key::PlanWords(slot, member) => return self.words_seen(slot, member, body),
            Key::Other => {}
        }
        Ok(())
    }

    /// Puts a newer state of a page into the picture, and marks what changed.
    pub(super) fn turn_page(&mut self, number: u32, page: Page) {
        let state = self.page_state(number);
        let before = std::mem::replace(&mut state.page, page);
        let is_opaque = |key: &RecordKey| matches!(state.page.records.get(key), Some(Slot::Opaque { .. }));
        state.understood.retain(|key, _| is_opaque(key));
        let lost = before.records.iter().filter(|(key, _)| is_opaque(key));
        state.understood.extend(lost.filter_map(|(key, slot)| Some((key.clone(), Arc::clone(slot.record()?)))));
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
        changed.extend(before.records.keys().filter(|key| !state.page.records.contains_key(*key)).cloned());
        self.count_opaque(&before, number);
        let required =
            self.league.as_ref().is_some_and(|league| league.spec.namespaces == NamespacePolicy::RequireFederated);
        for key in changed {
            if required && key.type_name == namespaces() {
                self.touch_namespace(&key.name);
            }
            if let Some(object) = self.objects.get_mut(&key) {
                // A write of this member that has landed may be lost again before its answer is heard.
                object.home_work.fenced_ms = None;
            }
            self.touch(&key);
        }
    }

    /// Where its namespace is federated to bounds where an object may be.
    pub(super) fn touch_namespace(&mut self, namespace: &str) {
        let inside = |key: &&RecordKey| &*key.namespace == namespace;
        let records = self.topology.records().map(|(key, _)| key);
        let keys: Vec<RecordKey> = records.chain(self.objects.keys()).filter(inside).cloned().collect();
        for key in keys {
            self.touch(&key);
        }
    }

    pub(super) fn cell_seen(
        &mut self,
        key: &str,
        member: MemberName,
        value: &Versioned,
        envelope: &Envelope,
        body: &[u8],
    ) -> Result<(), String> {
        let now = self.hearing_ms();
        let beats = &mut self.topology.beats;
        let was_told = beats.asked.remove(&member) || beats.told.get(&member) == Some(&value.version);
        let cell: MemberCell = match serde_json::from_slice(body) {
            Ok(cell) => cell,
            Err(error) => {
                // It lives all the same.
                if let Some(known) =
                    self.topology.cells.get_mut(&member).filter(|known| known.writer.would_take(envelope))
                {
                    known.writer.saw(&value.version, envelope);
                    if !was_told {
                        known.changed_ms = now;
                    }
                }
                return Err(error.to_string());
            }
        };
        let known = self.topology.cells.entry(member).or_insert_with(|| Other {
            writer: Writer::new(key.to_owned()),
            value: cell.clone(),
            changed_ms: now,
        });
        let first = known.writer.version().is_none();
        if known.writer.saw(&value.version, envelope) {
            let thawed = known.value.frozen != cell.frozen;
            let is_news = !known.value.says_the_same(&cell);
            known.value = cell;
            if !was_told {
                known.changed_ms = now;
            }
            if first || is_news {
                self.refresh_members();
            }
            if thawed {
                self.touch_all();
            }
        }
        Ok(())
    }

    pub(super) fn status_seen(
        &mut self,
        key: &str,
        member: MemberName,
        page: u32,
        value: &Versioned,
        envelope: &Envelope,
        body: &[u8],
    ) -> Result<(), String> {
        let cell: StatusCell = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let now = self.now.monotonic_ms;
        if member == self.config.member {
            match self.topology.statuses.entry(page) {
                // What was said before this start.
                Entry::Vacant(vacant) => {
                    let mut writer = Writer::new(key.to_owned());
                    writer.saw(&value.version, envelope);
                    let said: Vec<RecordKey> = cell.records.keys().cloned().collect();
                    vacant.insert(StatusState::new(writer, cell));
                    said.iter().for_each(|key| self.touch(key));
                }
                // Another start of this operator, one that lost the Lease, has written meanwhile, or a
                // restore has: what this one knows is to stand there, and need not be written where it does.
                Entry::Occupied(mut occupied) => {
                    let state = occupied.get_mut();
                    if state.writer.saw(&value.version, envelope) {
                        let differs = state.cell != cell;
                        (state.dirty, state.urgent) = (differs, differs);
                        if differs {
                            self.statuses_are_due();
                        }
                    }
                }
            }
            return Ok(());
        }
        self.topology.last_status_ms = now;
        let known = self.topology.others.entry((member, page)).or_insert_with(|| Other {
            writer: Writer::new(key.to_owned()),
            value: StatusCell::empty(),
            changed_ms: now,
        });
        if !known.writer.saw(&value.version, envelope) {
            return Ok(());
        }
        let before = std::mem::replace(&mut known.value, cell);
        let differs = |key: &&RecordKey| before.records.get(*key) != known.value.records.get(*key);
        let changed: BTreeSet<RecordKey> =
            before.records.keys().chain(known.value.records.keys()).filter(differs).cloned().collect();
        for key in changed {
            self.touch(&key);
        }
        Ok(())
    }
}
