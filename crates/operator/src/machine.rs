//! The operator, its queues and its dispatch.

mod faults;
mod feeds;
mod parts;

pub(crate) use parts::{Agreed, Context, League, Object, Priority, Purpose, Timer, TypeState};
pub use parts::{Config, FeedId, Metrics};

use crate::feed::{Feed, FeedChange, ObjectName};
use crate::io::{Act, ActId, ApiAnswer, ApiRequest, Event, Level, Note, Now, TopoRequest};
use crate::removal::Removals;
use crate::topology::{TopoCall, Topology};
use hansa_ledger::cell::RecordStatus;
use hansa_ledger::{OperationId, Record};
use hansa_model::{FederatedType, RecordKey, SplitMix64, TypeName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many objects one step looks at; the rest waits for the next.
const OBJECTS_PER_STEP: usize = 256;

/// The operator.
#[derive(Debug)]
pub struct Operator {
    pub(crate) config: Config,
    pub(crate) now: Now,
    acts: Vec<Act>,
    next_act: u64,
    operations: u64,
    random: SplitMix64,
    pending: BTreeMap<ActId, Purpose>,
    timers: BTreeSet<(u64, Timer)>,
    pub(crate) topology: Topology,
    pub(crate) league: Option<League>,
    pub(crate) ballots: crate::ballots::Council,
    pub(crate) types: BTreeMap<TypeName, TypeState>,
    feeds: BTreeMap<FeedId, Feed>,
    faults: faults::Faults,
    /// The list or watch that each feed has under way: never two.
    followed_by: BTreeMap<FeedId, ActId>,
    pub(crate) federations: crate::league::Federations,
    pub(crate) upkeep: crate::upkeep::Upkeep,
    pub(crate) requests: crate::requests::Requests,
    pub(crate) plans: crate::plans::Plans,
    pub(crate) sealing: crate::sealing::Sealing,
    pub(crate) blobs: crate::blobs::Blobs,
    // Boxed: half of the places in a B-tree's nodes are empty.
    pub(crate) objects: BTreeMap<RecordKey, Box<Object>>,
    /// What is to be looked at, and what is to be sent: page by page, for what comes of the records of one
    /// page is written as one value.
    dirty: BTreeSet<(u32, RecordKey)>,
    pub(crate) queue: BTreeSet<(Priority, u32, RecordKey)>,
    pub(crate) in_flight: usize,
    pub(crate) outputs_in_flight: usize,
    pub(crate) namespaces: BTreeMap<Arc<str>, BTreeSet<RecordKey>>,
    pub(crate) removals: Removals,
    pub(crate) confirming: crate::removal::confirming::Confirming,
    pub(crate) words: crate::words::Words,
    pub(crate) rotating: crate::rotation::Rotating,
    pub(crate) events: crate::events::Events,
    pub(crate) metrics: Metrics,
    woken_at: Option<u64>,
    /// When it looks next whether it was stopped.
    tick_ms: Option<u64>,
}

impl Operator {
    /// An operator that has seen nothing yet; it begins with [`Event::Start`].
    pub fn new(config: Config) -> Self {
        let topology = Topology::new(&config);
        let confirming = crate::removal::confirming::Confirming::new(&config);
        Operator {
            config,
            now: Now { monotonic_ms: 0, wall_ms: 0, entropy: 0 },
            acts: Vec::new(),
            next_act: 0,
            operations: 0,
            random: SplitMix64(0),
            pending: BTreeMap::new(),
            timers: BTreeSet::new(),
            topology,
            league: None,
            ballots: crate::ballots::Council::default(),
            types: BTreeMap::new(),
            feeds: BTreeMap::new(),
            faults: faults::Faults::default(),
            followed_by: BTreeMap::new(),
            federations: crate::league::Federations::default(),
            upkeep: crate::upkeep::Upkeep::default(),
            requests: crate::requests::Requests::default(),
            plans: crate::plans::Plans::default(),
            sealing: crate::sealing::Sealing::default(),
            blobs: crate::blobs::Blobs::default(),
            objects: BTreeMap::new(),
            dirty: BTreeSet::new(),
            queue: BTreeSet::new(),
            in_flight: 0,
            outputs_in_flight: 0,
            namespaces: BTreeMap::new(),
            removals: Removals::default(),
            confirming,
            words: crate::words::Words::default(),
            rotating: crate::rotation::Rotating::default(),
            events: crate::events::Events::default(),
            metrics: Metrics::default(),
            woken_at: None,
            tick_ms: None,
        }
    }

    /// Takes one event and says what is to be done. The same events in the same order with the same
    /// times and entropy give the same acts.
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Act> {
        self.now = now;
        self.random.stir(now.entropy);
        if self.has_slept() {
            self.look_anew();
        }
        match event {
            Event::Start => self.start(),
            Event::Wake => self.woken_at = None,
            Event::Api { id, answer } => self.api_answered(id, answer),
            Event::WatchLine { id, line } => self.watch_line(id, &line),
            Event::WatchClosed { id, status, reason } => self.watch_closed(id, status, &reason),
            Event::Topo { id, answer } => {
                if let Some(Purpose::Topo(call)) = self.pending.remove(&id) {
                    self.topo_answered(call, answer);
                }
            }
            Event::TypeInstalled { id, answer } => {
                if let Some(Purpose::Type(name)) = self.pending.remove(&id) {
                    self.type_installed(&name, answer);
                }
            }
            Event::Query { query, question } => {
                let answer = self.answer(&question);
                self.acts.push(Act::Reply { query, answer });
            }
        }
        self.run_timers();
        self.look_at_ballots();
        self.process_dirty();
        if self.dirty.is_empty() {
            self.judge_removals();
            self.flush_pages();
            self.flush_statuses();
            self.flush_confirmations();
        }
        self.drain_queue();
        self.read_sources();
        self.continue_blobs();
        self.continue_plans();
        self.wake_next();
        std::mem::take(&mut self.acts)
    }

    /// What it has counted.
    pub fn metrics(&self) -> Metrics {
        let records = self.topology.records().count() as u64;
        let home_objects = self.objects.values().filter(|object| object.home.is_some()).count() as u64;
        let outputs = self.objects.values().filter(|object| object.live.is_some()).count() as u64;
        Metrics { records, home_objects, outputs, ..self.metrics.clone() }
    }

    /// The types of the agreed spec.
    pub fn types(&self) -> Vec<FederatedType> {
        self.types.values().map(|state| state.federated_type.clone()).collect()
    }

    /// Whether it knows the league's picture and its own cluster, so that it can do its share.
    pub fn is_ready(&self) -> bool {
        self.topology.is_loaded() && self.league.is_some() && self.feeds.values().all(Feed::is_synced)
    }

    /// Whether nothing is left to be done about anything it knows: no write under way or waiting.
    pub fn is_idle(&self) -> bool {
        let waits = |purpose: &Purpose| {
            matches!(purpose, Purpose::FeedWatch(_) | Purpose::Topo(TopoCall::Changes) | Purpose::Topo(TopoCall::Cell))
        };
        self.dirty.is_empty()
            && self.queue.is_empty()
            && self.pending.values().all(waits)
            && !self.topology.has_unwritten()
            && !self.confirming.is_busy()
            && !self.ballots.is_busy()
            && !self.objects.values().any(|object| object.home_work.awaits_report())
            && self.sealing.is_idle()
            && self.blobs.is_idle()
            && self.plans.is_idle()
    }

    fn start(&mut self) {
        self.topo(TopoCall::Cursor, TopoRequest::Changes { cursor: None });
        self.follow(FeedId::Federation, "/apis/hansa.dev/v1alpha1/federations".to_owned(), None);
        self.follow(FeedId::Members, "/apis/hansa.dev/v1alpha1/members".to_owned(), None);
        self.follow(FeedId::Requests, "/apis/hansa.dev/v1alpha1/requests".to_owned(), None);
        self.tick();
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random.bits()
    }

    pub(crate) fn next_operation(&mut self) -> OperationId {
        self.operations += 1;
        OperationId { incarnation: self.config.incarnation, sequence: self.operations }
    }

    fn issue(&mut self, purpose: Purpose) -> ActId {
        self.next_act += 1;
        let id = ActId(self.next_act);
        self.pending.insert(id, purpose);
        id
    }

    pub(crate) fn api(&mut self, purpose: Purpose, request: ApiRequest) {
        if matches!(purpose, Purpose::Output(..) | Purpose::Home(..)) {
            self.in_flight += 1;
        }
        self.outputs_in_flight += usize::from(matches!(purpose, Purpose::Output(..)));
        let id = self.issue(purpose);
        self.acts.push(Act::Api { id, request });
    }

    pub(crate) fn topo(&mut self, call: TopoCall, request: TopoRequest) {
        if matches!(request, TopoRequest::Write { .. }) {
            self.metrics.topo_writes += 1;
        }
        let id = self.issue(Purpose::Topo(call));
        self.acts.push(Act::Topo { id, request });
    }

    pub(crate) fn install_type(&mut self, name: &TypeName) {
        if let Some(state) = self.types.get(name) {
            let federated_type = state.federated_type.clone();
            let id = self.issue(Purpose::Type(name.clone()));
            self.acts.push(Act::InstallType { id, federated_type });
        }
    }

    /// Lets go of every call of the topology server, answered or not: it was about what stood there in
    /// an earlier era. What a hash names is the same in each, and the proposer follows the era itself.
    /// Whether the answer to such a call is waited for, or it is to be made again.
    pub(crate) fn awaits_answer(&self, call: &TopoCall) -> bool {
        self.pending.values().any(|purpose| matches!(purpose, Purpose::Topo(asked) if asked == call))
            || self.timers.iter().any(|(_, timer)| matches!(timer, Timer::Topo(due) if due == call))
    }

    pub(crate) fn forget_topo_calls(&mut self) {
        let stays = |call: &TopoCall| matches!(call, TopoCall::Ballots | TopoCall::Blob(_) | TopoCall::ReadBlob(_));
        self.pending.retain(|_, purpose| !matches!(purpose, Purpose::Topo(call) if !stays(call)));
        self.timers.retain(|(_, timer)| !matches!(timer, Timer::Topo(call) if !stays(call)));
    }

    pub(crate) fn change_keys(&mut self, change: crate::io::KeysChange) {
        self.acts.push(Act::ChangeKeys(change));
    }

    pub(crate) fn log(&mut self, level: Level, key: Option<&RecordKey>, message: impl Into<String>) {
        let term = key.map(|key| self.header(key).term);
        self.acts.push(Act::Log(Note { level, key: key.cloned(), term, message: message.into() }));
    }

    pub(crate) fn at(&mut self, monotonic_ms: u64, timer: Timer) {
        self.timers.insert((monotonic_ms, timer));
    }

    /// The same, in place of any time that was set for it before.
    pub(crate) fn at_instead(&mut self, monotonic_ms: u64, timer: Timer) {
        self.timers.retain(|(_, other)| *other != timer);
        self.at(monotonic_ms, timer);
    }

    pub(crate) fn pause(&mut self, failures: u32, base: u64, limit: u64) -> u64 {
        let entropy = self.random();
        self.now.monotonic_ms + crate::backoff::pause_ms(failures.max(1), base, limit, entropy)
    }

    fn run_timers(&mut self) {
        while let Some((at, _)) = self.timers.first()
            && *at <= self.now.monotonic_ms
        {
            let (_, timer) = self.timers.pop_first().expect("there is a first");
            match timer {
                Timer::Feed(id) => self.continue_feed(&id),
                Timer::Object(key) => self.touch(&key),
                Timer::Type(name) => self.retry_type(&name),
                Timer::Request(name) => self.continue_request(&name),
                Timer::Heartbeat => self.heartbeat(),
                Timer::Topo(call) => self.repeat_topo(call),
                Timer::Ballots => self.ballots_timer(),
                Timer::Notes => self.notes_timer(),
                Timer::Plans => self.judge_plans(),
                Timer::Tick => self.tick(),
                Timer::Statuses | Timer::Continue => {}
            }
        }
    }

    fn wake_next(&mut self) {
        if !self.dirty.is_empty() {
            self.at(self.now.monotonic_ms, Timer::Continue);
        }
        let next = self.timers.first().map(|(at, _)| *at);
        if let Some(at) = next
            && self.woken_at.is_none_or(|woken| at < woken || woken < self.now.monotonic_ms)
        {
            self.woken_at = Some(at);
            self.acts.push(Act::WakeAt { monotonic_ms: at });
        }
    }

    fn api_answered(&mut self, id: ActId, answer: Result<ApiAnswer, String>) {
        let Some(purpose) = self.pending.remove(&id) else { return };
        match purpose {
            Purpose::FeedList(feed_id) => {
                self.followed_by.remove(&feed_id);
                let now = self.now;
                let Some(feed) = self.feeds.get_mut(&feed_id) else { return };
                let answer = answer.as_ref().map(|answer| (answer.status, &*answer.body)).map_err(Clone::clone);
                match feed.listed(answer, now) {
                    Ok(page) => {
                        for item in page.items {
                            match item.read() {
                                Ok(object) => self.feed_changed(&feed_id, FeedChange::Listed(object)),
                                Err(error) => self.log(
                                    Level::Error,
                                    None,
                                    format!("an object of {feed_id} does not read: {error}; it is left as it is"),
                                ),
                            }
                        }
                        for change in page.end {
                            self.feed_changed(&feed_id, change);
                        }
                    }
                    Err(fault) => self.feed_fault(&feed_id, &fault),
                }
                self.continue_feed(&feed_id);
            }
            Purpose::Output(key, call) => {
                self.in_flight -= 1;
                self.outputs_in_flight -= 1;
                self.output_answered(&key, call, answer);
            }
            Purpose::Home(key, call) => {
                self.in_flight -= 1;
                self.home_answered(&key, call, answer);
            }
            Purpose::Request(name, call) => self.request_answered(&name, &call, answer),
            Purpose::Source(key, name) => self.source_answered(&key, &name, answer),
            Purpose::Namespace(namespace) => self.namespace_answered(&namespace, answer),
            Purpose::Upkeep(name, call) => self.upkeep_answered(&name, call, answer),
            Purpose::Event => self.event_answered(&answer),
            Purpose::Notes(call) => self.notes_answered(call, answer),
            Purpose::Plan => self.trial_answered(answer),
            Purpose::Survey(name, version) => self.surveyed(name, version, &answer),
            Purpose::FeedWatch(_) | Purpose::Topo(_) | Purpose::Type(_) => {}
        }
    }

    /// The key of an object of this type.
    pub(crate) fn key_of(type_name: &TypeName, (namespace, name): &ObjectName) -> RecordKey {
        RecordKey { type_name: type_name.clone(), namespace: namespace.clone(), name: name.clone() }
    }

    /// Marks an object to be looked at.
    pub(crate) fn touch(&mut self, key: &RecordKey) {
        self.dirty.insert((key.page(self.pages()), key.clone()));
    }

    /// Marks every object to be looked at: the spec, a type or a feed changed for all of them.
    pub(crate) fn touch_all(&mut self) {
        let pages = self.pages();
        let agreed = self.topology.records().map(|(key, _)| key);
        let keys = self.objects.keys().chain(agreed).chain(self.topology.own_statuses());
        self.dirty.extend(keys.map(|key| (key.page(pages), key.clone())));
    }

    fn process_dirty(&mut self) {
        for _ in 0..OBJECTS_PER_STEP {
            let Some((_, key)) = self.dirty.pop_first() else { return };
            self.process(&key);
        }
    }

    fn process(&mut self, key: &RecordKey) {
        let Some(context) = self.context(key) else { return self.process_without_type(key) };
        let record = self.record_in_page(key);
        if record.is_none() && self.unread(key).is_none() {
            self.words.forget(key);
        }
        // Its body is in a blob that is not at hand: it is looked at again when that has come.
        if record.as_ref().is_some_and(|record| !self.has_bodies(key, record)) {
            return;
        }
        // Read once for all that look at it below.
        let spec = record.as_ref().map(|record| self.answerable(key, record).and_then(|()| self.intent_spec(record)));
        let mut object = self.objects.remove(key).unwrap_or_default();
        if self.unread(key).is_some() {
            self.process_last_read(key, &context, &mut object, record.as_deref().zip(spec.as_ref()));
        } else {
            self.process_agreed(key, &context, &mut object, record.as_deref().zip(spec.as_ref()));
        }
        self.process_report(key, &context, &mut object, record.as_deref().zip(spec.as_ref()));
        if object.is_worth_keeping() {
            self.objects.insert(key.clone(), object);
        }
        self.continue_requests(Some(key));
    }

    fn process_agreed(&mut self, key: &RecordKey, context: &Context, object: &mut Object, agreed: Option<Agreed<'_>>) {
        let record = agreed.map(|(record, _)| record);
        self.process_home(key, context, object, record);
        self.process_wraps(key, context, record);
        self.process_output(key, context, object, agreed);
        self.process_awaited(key, object, record);
        // A withdrawal waits for this member's own output too: what was just learned of that counts.
        self.process_placement(key, &context.spec, Some(context), agreed);
        self.process_waves(key, &context.spec, agreed);
    }

    /// What is known for all objects of a type; `None` while the picture is incomplete: without it
    /// nothing is done.
    pub(crate) fn context(&self, key: &RecordKey) -> Option<Context> {
        let league = self.league.as_ref().filter(|league| league.frozen.is_none())?;
        let state = self.types.get(&key.type_name)?;
        let installed = state.installed.as_ref()?;
        let ready = self.topology.is_loaded()
            && league.spec.member(&self.config.member).is_some()
            && self.is_synced(&FeedId::Homes(key.type_name.clone()))
            && self.is_synced(&FeedId::Outputs(key.type_name.clone()));
        ready.then(|| Context {
            league: league.id,
            spec: Arc::clone(&league.spec),
            generation: league.control.generation,
            federated_type: state.federated_type.clone(),
            installed: Arc::clone(installed),
        })
    }

    /// Queues work on an object, now or when its pause is over.
    pub(crate) fn want_work(&mut self, key: &RecordKey, retry_ms: u64, priority: Priority) {
        if retry_ms > self.now.monotonic_ms {
            self.at(retry_ms, Timer::Object(key.clone()));
        } else {
            self.queue.insert((priority, key.page(self.pages()), key.clone()));
        }
    }

    fn drain_queue(&mut self) {
        while self.in_flight < self.config.max_in_flight {
            let Some((priority, _, key)) = self.queue.pop_first() else { return };
            match priority {
                Priority::Finalizers | Priority::Statuses => self.start_home_work(&key, priority),
                _ => self.start_output_work(&key),
            }
        }
    }
}

/// Whether a record's status is about its present life and revision.
pub(crate) fn is_current(status: &RecordStatus, record: &Record) -> bool {
    status.incarnation == record.incarnation && status.revision == record.revision
}

/// The path of a group and version.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// The path of a collection over all namespaces.
pub(crate) fn collection(group: &str, version: &str, plural: &str) -> String {
    format!("{}/{plural}", group_version(group, version))
}

/// The path of one object.
pub(crate) fn object_path(group: &str, version: &str, plural: &str, namespace: &str, name: &str) -> String {
    let root = group_version(group, version);
    if namespace.is_empty() {
        format!("{root}/{plural}/{name}")
    } else {
        format!("{root}/namespaces/{namespace}/{plural}/{name}")
    }
}
