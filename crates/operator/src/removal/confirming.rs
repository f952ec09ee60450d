//! What people say to removals that wait, see [`hansa_ledger::confirmation`].
//!
//! A yes that is given here to a set that waits here is written down with what is in the set; one to a
//! set of another member is passed on. What stands in the topology server counts, and nothing before
//! it does.

use crate::machine::{Config, FeedId, Operator};
use crate::topology::{Other, TopoCall};
use crate::writer::{Own, Pen, Writer};
use hansa_ledger::breaker::{Scope, Set};
use hansa_ledger::cell::State;
use hansa_ledger::confirmation::{CONFIRMATIONS_FORMAT, Confirmations, Confirmed, MAX_ASKED};
use hansa_ledger::record::PlacedState;
use hansa_ledger::{Envelope, Record, Swap, Versioned, keys};
use hansa_model::{Hash, MemberName, RecordKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many sets are remembered after they were shown: whoever confirms one may have looked at it a
/// while ago, and others have joined those that wait since.
const REMEMBERED: usize = 16;

/// What was shown here, and what people confirmed here and elsewhere.
#[derive(Debug)]
pub(crate) struct Confirming {
    writer: Writer,
    /// This member's own part, as it stands in the topology server.
    own: Confirmations,
    /// The same, as it is being written.
    flight: Option<Confirmations>,
    others: BTreeMap<MemberName, Other<Confirmations>>,
    /// The sets that were shown here, the last first.
    shown: VecDeque<Set>,
    /// Something may have to be written.
    dirty: bool,
    /// It is time to take out what is done.
    collect: bool,
}

impl Confirming {
    pub fn new(config: &Config) -> Self {
        Confirming {
            writer: Writer::new(keys::confirmations(&config.member)),
            own: Confirmations::empty(),
            flight: None,
            others: BTreeMap::new(),
            shown: VecDeque::new(),
            dirty: false,
            collect: false,
        }
    }

    pub fn is_busy(&self) -> bool {
        self.writer.is_busy()
    }

    /// What is known of a member's part.
    pub fn writer_of(&mut self, own: &MemberName, member: &MemberName) -> Option<&mut Writer> {
        if member == own {
            return Some(&mut self.writer);
        }
        self.others.get_mut(member).map(|other| &mut other.writer)
    }

    /// Whether a state of this member's own part was passed over, and is to be read.
    pub fn missed_something(&mut self) -> bool {
        self.writer.missed_something()
    }

    /// What was last seen of a member's part.
    pub fn seen(&self, member: &MemberName, own: &MemberName) -> Option<&Envelope> {
        if member == own { self.writer.envelope() } else { self.others.get(member)?.writer.envelope() }
    }

    /// What stands in the topology server counts anew.
    pub fn begin_anew(&mut self) {
        self.writer.begin_anew();
        self.flight = None;
        self.others.values_mut().for_each(|other| other.writer.begin_anew());
        self.dirty = true;
    }

    /// The write under way, as it is sent again.
    pub fn repeated(&mut self) -> Option<crate::io::TopoRequest> {
        self.writer.repeated()
    }

    /// People are shown a set.
    pub fn show(&mut self, set: Set) {
        self.shown.retain(|known| known.hash != set.hash);
        self.shown.push_front(set);
        self.shown.truncate(REMEMBERED);
        self.dirty = true;
    }

    /// Somebody said yes, or took that back.
    pub fn look_again(&mut self) {
        self.dirty = true;
    }

    /// It is time to take out what is done.
    pub fn collect(&mut self) {
        self.collect = !self.own.sets.is_empty();
    }

    fn has_shown(&self, set: &Hash) -> bool {
        self.shown.iter().any(|known| known.hash == *set)
    }
}

impl Operator {
    /// The confirmations of all members of the league.
    fn confirmations(&self) -> impl Iterator<Item = &Confirmations> {
        let is_member =
            |name: &MemberName| self.league.as_ref().is_some_and(|league| league.spec.member(name).is_some());
        let others = self.confirming.others.iter().filter(move |(name, _)| is_member(name));
        others.map(|(_, other)| &other.value).chain([&self.confirming.own])
    }

    /// Whether a person said yes to a removal.
    pub(crate) fn is_confirmed(&self, key: &RecordKey, scope: &Scope) -> bool {
        self.confirmations().any(|confirmations| confirmations.covers(key, scope))
    }

    /// Whether a set stands among what was confirmed.
    pub(crate) fn is_confirmed_set(&self, set: &Hash) -> bool {
        self.confirmations().any(|confirmations| confirmations.sets.contains_key(set))
    }

    /// What a yes to a set waits for, for people.
    pub(crate) fn awaits(&self, set: &Hash) -> String {
        if self.confirming.has_shown(set) {
            "as many confirmed removals as can be written down are still under way: it goes on when some of them are done"
                .to_owned()
        } else {
            format!("no member shows set {} now: `hansa status` in each member tells what waits there", set.short())
        }
    }

    /// What is to stand as this member's own part.
    fn wanted_confirmations(&self) -> Confirmations {
        let confirming = &self.confirming;
        let mut wanted = confirming.own.clone();
        let given = self.given_confirmations();
        let passed_on = self.confirmations().flat_map(|confirmations| confirmations.asked.clone());
        let given_anywhere: BTreeMap<Hash, String> = passed_on.chain(given.clone()).collect();
        for (hash, by) in given_anywhere {
            if wanted.sets.contains_key(&hash) {
                continue;
            }
            let shown = confirming.shown.iter().find(|set| set.hash == hash);
            if let Some(set) = shown.filter(|set| wanted.has_room_for(&set.removals)) {
                wanted.sets.insert(hash, Confirmed { by, removals: set.removals.clone() });
            }
        }
        let elsewhere = given.into_iter().filter(|(hash, _)| {
            !confirming.has_shown(hash) && !wanted.sets.contains_key(hash) && !self.is_confirmed_set(hash)
        });
        wanted.asked = elsewhere.take(MAX_ASKED).collect();
        wanted
    }

    /// Writes this member's own part when it is to be another one, once nothing else is left to look at.
    pub(crate) fn flush_confirmations(&mut self) {
        let confirming = &self.confirming;
        let is_told = confirming.dirty || confirming.collect;
        let rests = !is_told || confirming.is_busy() || self.config.observe || self.frozen_share().is_some();
        // What people say here is known when the Requests are.
        if rests || !self.topology.is_writable() || !self.is_synced(&FeedId::Requests) {
            return;
        }
        let mut wanted = self.wanted_confirmations();
        if std::mem::take(&mut self.confirming.collect) {
            self.take_out_what_is_done(&mut wanted);
        }
        self.confirming.dirty = false;
        if wanted == self.confirming.own {
            return;
        }
        let Some((league, era, operation, nonce)) = self.pen_parts() else { return };
        let member = self.config.member.clone();
        let body = serde_json::to_vec(&wanted).expect("confirmations always encode into memory");
        let request = self.confirming.writer.begin(Pen { league, era, member: &member, operation, nonce }, &body);
        self.confirming.flight = Some(wanted);
        self.topo(TopoCall::Confirmations, request);
    }

    pub(crate) fn confirmations_swapped(&mut self, swap: Swap) {
        let member = self.config.member.clone();
        let (league, wall_ms) = (self.league.as_ref().map(|league| league.id), self.now.wall_ms);
        let key = keys::confirmations(&member);
        match self.confirming.writer.settle_own(&member, swap, league, wall_ms) {
            Own::Repeat { reason } => return self.repeat_later(TopoCall::Confirmations, &reason),
            Own::Committed => {
                if let Some(written) = self.confirming.flight.take() {
                    self.confirming.own = written;
                }
                self.can_be_read(&key);
            }
            // An earlier start's word, or an earlier copy of this one's.
            Own::Found(body) => match read_confirmations(&body) {
                Ok(standing) => self.confirming.own = standing,
                // Nobody says yes any more to what a person confirmed there: people are asked anew.
                Err(error) => self.unreadable(&key, &error),
            },
            Own::Unreadable(error) => self.misfit(&key, &error),
            Own::Foreign(error) => return self.misfit(&key, &error),
            Own::Gone => {
                self.confirming.own = Confirmations::empty();
                self.check_store();
            }
        }
        self.confirmations_turned();
    }

    fn confirmations_turned(&mut self) {
        self.confirming.dirty = true;
        self.removals.judge_anew();
        self.continue_requests(None);
    }

    pub(crate) fn confirmations_seen(
        &mut self,
        key: &str,
        member: MemberName,
        value: &Versioned,
        envelope: &Envelope,
        body: &[u8],
    ) -> Result<(), String> {
        let read = read_confirmations(body)?;
        let confirming = &mut self.confirming;
        if member == self.config.member {
            if confirming.writer.saw(&value.version, envelope) {
                confirming.own = read;
                self.confirmations_turned();
            }
            return Ok(());
        }
        let known = confirming.others.entry(member).or_insert_with(|| Other {
            writer: Writer::new(key.to_owned()),
            value: Confirmations::empty(),
            changed_ms: self.now.monotonic_ms,
        });
        if known.writer.saw(&value.version, envelope) {
            known.value = read;
            self.confirmations_turned();
        }
        Ok(())
    }

    fn take_out_what_is_done(&self, wanted: &mut Confirmations) {
        if self.topology.down_since_ms.is_some() {
            return;
        }
        let given = self.given_confirmations();
        let is_asked = |set: &Hash| {
            given.contains_key(set) || self.confirming.others.values().any(|other| other.value.asked.contains_key(set))
        };
        wanted.retain(|key, scope| self.is_to_fall(key, scope), is_asked);
    }

    /// Whether something of what was confirmed is still to fall somewhere.
    fn is_to_fall(&self, key: &RecordKey, scope: &Scope) -> bool {
        let Some(record) = self.record_in_page(key) else {
            return self.is_being_changed(key) || self.unread(key).is_some();
        };
        let is_unread = self.unread(key).or_else(|| self.unread_namespace(key)).is_some();
        let unsure = is_unread || self.context(key).is_none() || self.is_being_changed(key);
        if unsure || record.incarnation < scope.incarnation {
            return true;
        }
        if record.incarnation > scope.incarnation {
            return record.placed.iter().any(|(member, placed)| {
                let owes = placed.incarnation == scope.incarnation && placed.state != PlacedState::Gone;
                // It has the later life's output once it says so: until then its own of this one may stand.
                let replaced = self
                    .status_of(member, key)
                    .is_some_and(|status| status.incarnation > scope.incarnation && status.state != State::Held);
                owes || (placed.state == PlacedState::Placed && !replaced)
            });
        }
        let withdrawn = |members: &BTreeSet<MemberName>| {
            let withdraws =
                |member| record.placed.get(member).is_some_and(|placed| placed.state == PlacedState::Withdrawing);
            members.iter().any(withdraws)
        };
        record.tombstone.is_some()
            || scope.members.as_ref().is_some_and(|members| withdrawn(members) || self.leaves(key, &record, members))
            || self.removals.is_under_way(key)
    }

    /// Whether placement does not select some of these members that are placed: their withdrawal is to come,
    /// also where it is not asked for yet because those that stay are not well.
    fn leaves(&self, key: &RecordKey, record: &Record, members: &BTreeSet<MemberName>) -> bool {
        let (Some(context), Ok(spec)) = (self.context(key), self.intent_spec(record)) else { return true };
        let placed = |member: &&MemberName| record.placed_members().any(|placed| placed == *member);
        let Ok(wanted) = self.placement_of(&context.spec, key, &spec) else { return false };
        members.iter().filter(placed).any(|member| !wanted.members.contains(member))
    }
}

fn read_confirmations(body: &[u8]) -> Result<Confirmations, String> {
    let read: Confirmations = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match read.format {
        CONFIRMATIONS_FORMAT => Ok(read),
        other => Err(format!(
            "the confirmations have format {other}, this release reads format {CONFIRMATIONS_FORMAT}: run a newer operator"
        )),
    }
}
