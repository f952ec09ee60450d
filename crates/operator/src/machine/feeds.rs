//! Feeds: which resources are followed, and where what they tell goes.

use super::{FeedId, Operator, Purpose, Timer, TypeState, collection};
use crate::feed::{Feed, FeedChange, FeedFault, FeedRequest, ObjectName};
use crate::io::{Act, ActId, InstalledType, Level};
use hansa_ledger::cell::State;
use hansa_ledger::lives::{Duty, duty};
use hansa_model::{RecordKey, TypeName};
use std::sync::Arc;

/// How long an API server may take until it serves the kind of a new CRD; it is tried again after that.
const SERVED_MS: u64 = 200;

/// How late a tick is when this process was stopped. With the tick, no more than a holder of the Lease keeps it for
/// without renewing it (`hansa-runner`: 15 s, renewed every 5 s).
const ASLEEP_MS: u64 = 4_000;

/// How often this process looks whether it was stopped.
const TICK_MS: u64 = 4_000;

impl Operator {
    pub(crate) fn follow(&mut self, id: FeedId, path: String, selector: Option<String>) {
        if !self.feeds.contains_key(&id) {
            self.feeds.insert(id.clone(), Feed::new(path, selector));
            self.continue_feed(&id);
        }
    }

    pub(crate) fn follow_metadata(&mut self, id: FeedId, path: String) {
        if !self.feeds.contains_key(&id) {
            self.feeds.insert(id.clone(), Feed::of_metadata(path));
            self.continue_feed(&id);
        }
    }

    pub(crate) fn unfollow(&mut self, id: &FeedId) {
        self.feeds.remove(id);
        self.faults.forget(id);
        self.leave_off(id);
    }

    /// Lets go what a feed has under way: what comes of it is not heard.
    fn leave_off(&mut self, id: &FeedId) {
        let Some(act) = self.followed_by.remove(id) else { return };
        if matches!(self.pending.remove(&act), Some(Purpose::FeedWatch(_))) {
            self.acts.push(Act::CloseWatch { id: act });
        }
    }

    pub(crate) fn is_synced(&self, id: &FeedId) -> bool {
        self.feeds.get(id).is_some_and(Feed::is_synced)
    }

    /// Whether the member's own API server answers, and does not refuse everything.
    pub(crate) fn api_server_ready(&self) -> bool {
        self.feeds.values().any(|feed| !feed.is_failing())
    }

    /// Asks for what a feed needs next, unless that is under way: a timer may come from before the feed began anew, and of
    /// two watches of one feed the later one would be told what it has heard from the earlier one.
    pub(super) fn continue_feed(&mut self, id: &FeedId) {
        let now = self.now;
        let Some(feed) = self.feeds.get_mut(id).filter(|_| !self.followed_by.contains_key(id)) else { return };
        let (act, asked) = match feed.next(now) {
            FeedRequest::List(request) => {
                let act = self.issue(Purpose::FeedList(id.clone()));
                (act, Act::Api { id: act, request })
            }
            FeedRequest::Watch(request) => {
                let act = self.issue(Purpose::FeedWatch(id.clone()));
                (act, Act::Watch { id: act, request })
            }
            FeedRequest::Wait(until) => return self.at(until, Timer::Feed(id.clone())),
        };
        self.followed_by.insert(id.clone(), act);
        self.acts.push(asked);
    }

    /// Whether this process was stopped: its tick is overdue.
    pub(super) fn has_slept(&self) -> bool {
        self.tick_ms.is_some_and(|due| self.now.monotonic_ms > due + ASLEEP_MS)
    }

    pub(super) fn tick(&mut self) {
        let due = self.now.monotonic_ms + TICK_MS;
        self.tick_ms = Some(due);
        self.at(due, Timer::Tick);
    }

    /// It was stopped for so long that another may lead meanwhile: what waited to be told, and what was
    /// concluded from it, may be long past. Everything is listed anew before anything is said of objects.
    pub(super) fn look_anew(&mut self) {
        let now = self.now;
        self.log(Level::Warning, None, "this process was stopped for a while: it looks at everything anew");
        let ids: Vec<FeedId> = self.feeds.keys().cloned().collect();
        for id in ids {
            self.leave_off(&id);
            if let Some(feed) = self.feeds.get_mut(&id) {
                feed.begin_anew(now);
            }
            self.continue_feed(&id);
        }
        // Once is enough: the timer itself comes after whatever waited longer.
        self.tick_ms = None;
        self.forget_observations();
    }

    pub(super) fn feed_fault(&mut self, id: &FeedId, fault: &FeedFault) {
        let away = !self.api_server_ready();
        if let Some(message) = self.faults.met(id, fault, away) {
            self.log(Level::Warning, None, message);
        }
        // The federated kind is not served any more: its CRD was deleted, which the league did not ask for.
        if let (FeedId::Homes(name), Some(404)) = (id, fault.status) {
            self.install_again(&name.clone());
        }
    }

    pub(super) fn watch_line(&mut self, act: ActId, line: &[u8]) {
        let Some(Purpose::FeedWatch(id)) = self.pending.get(&act).cloned() else { return };
        let now = self.now;
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        match feed.line(line, now) {
            Ok(Some(change)) => self.feed_changed(&id, change),
            Ok(None) => {}
            Err(fault) => {
                self.leave_off(&id);
                self.feed_fault(&id, &fault);
                self.continue_feed(&id);
            }
        }
    }

    pub(super) fn watch_closed(&mut self, act: ActId, status: Option<u16>, reason: &str) {
        let Some(Purpose::FeedWatch(id)) = self.pending.remove(&act) else { return };
        self.followed_by.remove(&id);
        let now = self.now;
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        if let Some(fault) = feed.closed(status, reason, now) {
            self.feed_fault(&id, &fault);
        }
        self.continue_feed(&id);
    }

    pub(super) fn feed_changed(&mut self, id: &FeedId, change: FeedChange) {
        let listed = matches!(change, FeedChange::Listed(_));
        if change == FeedChange::Synced {
            for message in self.faults.over(id) {
                self.log(Level::Info, None, message);
            }
        }
        match (id, change) {
            (FeedId::Federation, FeedChange::Object(object) | FeedChange::Listed(object)) => {
                self.federation_seen(&object, listed)
            }
            (FeedId::Federation, FeedChange::Gone((_, name), _)) => self.federation_gone(&name),
            (FeedId::Members, FeedChange::Object(object) | FeedChange::Listed(object)) => {
                self.own_seen("members", &object, listed)
            }
            (FeedId::Members, FeedChange::Gone((_, name), _)) => self.own_gone("members", &name),
            (FeedId::Requests, FeedChange::Object(object) | FeedChange::Listed(object)) => self.request_seen(&object),
            (FeedId::Requests, FeedChange::Gone(name, _)) => self.request_gone(&name),
            (FeedId::Homes(name), FeedChange::Object(object) | FeedChange::Listed(object)) => {
                self.home_seen(name, &object, listed)
            }
            (FeedId::Homes(name), FeedChange::Gone(object, _)) => self.home_gone(name, &object),
            (FeedId::Outputs(name), FeedChange::Object(object) | FeedChange::Listed(object)) => {
                self.output_seen(name, &object, listed)
            }
            (FeedId::Outputs(name), FeedChange::Gone(object, _)) => self.output_gone(name, &object),
            (FeedId::Sources, FeedChange::Object(object) | FeedChange::Listed(object)) => self.source_seen(&object),
            (FeedId::Sources, FeedChange::Gone(name, _)) => self.source_gone(&name),
            (FeedId::Sources, FeedChange::Synced) => {}
            (FeedId::Federation, FeedChange::Synced) => {
                self.retry_upkeep("federations");
                self.judge_federations();
            }
            (FeedId::Members, FeedChange::Synced) => {
                self.retry_upkeep("members");
                self.refresh_members();
            }
            (FeedId::Outputs(name), FeedChange::Synced) => {
                self.outputs_listed(name);
                self.touch_all();
            }
            (FeedId::Homes(name), FeedChange::Synced) => {
                self.retry_homes(name);
                self.touch_all();
            }
            (_, FeedChange::Synced) => self.touch_all(),
        }
    }

    /// The whole list was told. What was heard of from an answer alone is no news to the feed when it
    /// goes: whatever does not stand in the list is looked at again.
    fn outputs_listed(&mut self, type_name: &TypeName) {
        let Some(feed) = self.feeds.get(&FeedId::Outputs(type_name.clone())) else { return };
        let unlisted: Vec<ObjectName> = self
            .objects
            .iter()
            .filter(|(key, object)| key.type_name == *type_name && object.live.is_some())
            .map(|(key, _)| (key.namespace.clone(), key.name.clone()))
            .filter(|name| !feed.knows(name))
            .collect();
        for name in unlisted {
            self.output_gone(type_name, &name);
        }
    }

    pub(super) fn type_installed(&mut self, name: &TypeName, answer: Result<InstalledType, String>) {
        let Some(state) = self.types.get_mut(name) else { return };
        match answer {
            Ok(installed) => {
                state.failures = 0;
                state.failure = None;
                state.installed = Some(Arc::new(installed));
                self.follow_type(name);
                self.touch_all();
            }
            Err(failure) => {
                state.failures += 1;
                let failures = state.failures;
                let known = state.failure.replace(failure.clone());
                if known.as_ref() != Some(&failure) {
                    self.log(Level::Warning, None, format!("type {name} cannot be federated here yet: {failure}"));
                    self.touch_type(name);
                }
                let at = self.pause(failures, 500, 60_000);
                self.at_instead(at, Timer::Type(name.clone()));
            }
        }
    }

    /// Tries a type again that could not be installed.
    pub(super) fn retry_type(&mut self, name: &TypeName) {
        if self.types.get(name).is_some_and(|state| state.failure.is_some()) {
            self.install_again(name);
        }
    }

    /// Installs a type, unless that is under way.
    fn install_again(&mut self, name: &TypeName) {
        if !self.pending.values().any(|purpose| matches!(purpose, Purpose::Type(installed) if installed == name)) {
            self.install_type(name);
        }
    }

    /// A CRD has come: it may be what types lacked, as soon as it is served.
    pub(crate) fn retry_types(&mut self) {
        let at = self.now.monotonic_ms + SERVED_MS;
        let mut names = Vec::new();
        for (name, state) in self.types.iter_mut().filter(|(_, state)| state.failure.is_some()) {
            state.failures = 0;
            names.push(name.clone());
        }
        for name in names {
            self.at_instead(at, Timer::Type(name));
        }
    }

    fn touch_type(&mut self, name: &TypeName) {
        let of_type = |(key, _): &(&RecordKey, _)| &key.type_name == name;
        let keys: Vec<RecordKey> = self.topology.records().filter(of_type).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.touch(&key);
        }
    }

    /// An object whose kind this member does not have (yet) says so. What is decided about it for others needs no
    /// kind here.
    pub(super) fn process_without_type(&mut self, key: &RecordKey) {
        self.decide_for_others(key);
        let lacks = |state: &&TypeState| state.installed.is_none();
        let failure = self.types.get(&key.type_name).filter(lacks).and_then(|state| state.failure.clone());
        if let Some(failure) = failure
            && self.topology.is_loaded()
            && self.frozen_share().is_none()
            && let Some(record) = self.record_in_page(key)
            && duty(&record, &self.config.member) == Duty::Keep
        {
            self.say(key, &record, State::Waiting, failure);
        }
    }

    /// Withdraws an object from others, and opens its waves, as its page's appointee: a member that does not reach its API
    /// server, or has lost the kind, holds up nobody. Where its own output is to stay, its own word is missing.
    fn decide_for_others(&mut self, key: &RecordKey) {
        let Some(league) = self.league.as_ref().filter(|league| league.frozen.is_none()) else { return };
        let (league, own) = (Arc::clone(&league.spec), &self.config.member);
        let takes_part = league.member(own).is_some() && self.types.contains_key(&key.type_name);
        if !takes_part || !self.topology.is_loaded() || !self.is_appointed(key) || self.unread(key).is_some() {
            return;
        }
        let Some(record) = self.record_in_page(key).filter(|record| duty(record, own) != Duty::Keep) else { return };
        if !self.has_bodies(key, &record) {
            return;
        }
        let spec = self.answerable(key, &record).and_then(|()| self.intent_spec(&record));
        let agreed = Some((&*record, &spec));
        self.process_placement(key, &league, None, agreed);
        self.process_waves(key, &league, agreed);
    }

    pub(super) fn follow_type(&mut self, name: &TypeName) {
        let Some(league) = &self.league else { return };
        let Some(state) = self.types.get(name) else { return };
        let selector = format!("hansa.dev/league={}", league.id.label());
        let outputs = collection(name.group(), &state.federated_type.version, name.resource());
        let homes = collection(&name.federated_group(), "v1alpha1", &name.federated_plural());
        self.follow(FeedId::Homes(name.clone()), homes, None);
        self.follow(FeedId::Outputs(name.clone()), outputs, Some(selector));
    }
}
