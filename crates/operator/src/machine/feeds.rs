//! Feeds: which resources are followed, and where what they tell goes.

use super::{FeedId, Operator, Purpose, Timer, collection};
use crate::feed::{Feed, FeedChange, FeedFault, FeedRequest};
use crate::io::{Act, ActId, InstalledType, Level};
use hansa_model::TypeName;

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
        if let Some(act) = self.watches.remove(id) {
            self.pending.remove(&act);
            self.acts.push(Act::CloseWatch { id: act });
        }
    }

    pub(crate) fn is_synced(&self, id: &FeedId) -> bool {
        self.feeds.get(id).is_some_and(Feed::is_synced)
    }

    /// Whether the member's own API server refuses or cannot be reached.
    pub(crate) fn api_server_ready(&self) -> bool {
        self.feeds.values().any(|feed| !feed.is_failing())
    }

    pub(super) fn continue_feed(&mut self, id: &FeedId) {
        let now = self.now;
        let Some(feed) = self.feeds.get_mut(id) else { return };
        match feed.next(now) {
            FeedRequest::List(request) => self.api(Purpose::FeedList(id.clone()), request),
            FeedRequest::Watch(request) => {
                let act = self.issue(Purpose::FeedWatch(id.clone()));
                self.watches.insert(id.clone(), act);
                self.acts.push(Act::Watch { id: act, request });
            }
            FeedRequest::Wait(until) => self.at(until, Timer::Feed(id.clone())),
        }
    }

    pub(super) fn feed_fault(&mut self, id: &FeedId, fault: &FeedFault) {
        // The first time is often a restart or an expired history; it is news when it goes on.
        if fault.failures == 3 || fault.failures.is_multiple_of(20) {
            let message = format!("cannot follow {id:?}: {} ({} times in a row)", fault.reason, fault.failures);
            self.log(Level::Warning, None, message);
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
                self.pending.remove(&act);
                self.watches.remove(&id);
                self.acts.push(Act::CloseWatch { id: act });
                self.feed_fault(&id, &fault);
                self.continue_feed(&id);
            }
        }
    }

    pub(super) fn watch_closed(&mut self, act: ActId, status: Option<u16>, reason: &str) {
        let Some(Purpose::FeedWatch(id)) = self.pending.remove(&act) else { return };
        self.watches.remove(&id);
        let now = self.now;
        let Some(feed) = self.feeds.get_mut(&id) else { return };
        if let Some(fault) = feed.closed(status, reason, now) {
            self.feed_fault(&id, &fault);
        }
        self.continue_feed(&id);
    }

    pub(super) fn feed_changed(&mut self, id: &FeedId, change: FeedChange) {
        match (id, change) {
            (FeedId::Federation, FeedChange::Object(object) | FeedChange::Listed(object)) => {
                self.federation_seen(&object)
            }
            (FeedId::Federation, FeedChange::Gone((_, name), _)) => self.federation_gone(&name),
            (FeedId::Members, FeedChange::Object(object) | FeedChange::Listed(object)) => {
                self.own_seen("members", &object)
            }
            (FeedId::Members, FeedChange::Gone((_, name), _)) => self.own_gone("members", &name),
            (FeedId::Requests, FeedChange::Object(object) | FeedChange::Listed(object)) => self.request_seen(&object),
            (FeedId::Requests, FeedChange::Gone(name, _)) => self.request_gone(&name),
            (FeedId::Homes(name), FeedChange::Object(object) | FeedChange::Listed(object)) => {
                self.home_seen(name, &object)
            }
            (FeedId::Homes(name), FeedChange::Gone(object, _)) => self.home_gone(name, &object),
            (FeedId::Outputs(name), FeedChange::Object(object)) => self.output_seen(name, &object, false),
            (FeedId::Outputs(name), FeedChange::Listed(object)) => self.output_seen(name, &object, true),
            (FeedId::Outputs(name), FeedChange::Gone(object, _)) => self.output_gone(name, &object),
            (FeedId::Sources, FeedChange::Object(object) | FeedChange::Listed(object)) => self.source_seen(&object),
            (FeedId::Sources, FeedChange::Gone(name, _)) => self.source_gone(&name),
            (FeedId::Sources, FeedChange::Synced) => {}
            (FeedId::Federation, FeedChange::Synced) => self.judge_federations(),
            (FeedId::Members, FeedChange::Synced) => self.refresh_members(),
            (_, FeedChange::Synced) => self.touch_all(),
        }
    }

    pub(super) fn type_installed(&mut self, name: &TypeName, answer: Result<InstalledType, String>) {
        let Some(state) = self.types.get_mut(name) else { return };
        match answer {
            Ok(installed) => {
                state.failures = 0;
                state.failure = None;
                state.installed = Some(installed);
                self.follow_type(name);
                self.touch_all();
            }
            Err(failure) => {
                state.failures += 1;
                let failures = state.failures;
                if state.failure.as_ref() != Some(&failure) {
                    self.log(Level::Warning, None, format!("type {name} cannot be federated here yet: {failure}"));
                }
                if let Some(state) = self.types.get_mut(name) {
                    state.failure = Some(failure);
                }
                let at = self.pause(failures, 500, 60_000);
                self.at(at, Timer::Type(name.clone()));
            }
        }
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
