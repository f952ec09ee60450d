//! Two operators, with just as much of an API server and a topology server as they ask for.

use super::pairs::{Pairs, own};
use bytes::Bytes;
use hansa_ledger::{Envelope, Swap, Version, Versioned};
use hansa_model::Incarnation;
use hansa_operator::{
    Act, ActId, ApiAnswer, ApiRequest, Config, ContentType, Event, InstalledType, KeysChange, Method, Note, Now,
    Operator, PrivateKeys, Release, TopoAnswer, TopoFailure, TopoRequest,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many events a league may need to come to rest.
const EVENTS: usize = 20_000;

/// A member.
pub struct Member {
    name: &'static str,
    pub operator: Operator,
    pub objects: BTreeMap<String, Value>,
    watches: BTreeMap<u64, (String, bool, bool)>,
    /// Waits for changes since this place of the history.
    waiting: Vec<(ActId, usize)>,
    wake: Option<u64>,
    events: VecDeque<Event>,
    pub writes: Vec<String>,
    /// What was only tried.
    pub tried: Vec<String>,
    /// Its operator is not running.
    pub stopped: bool,
    /// What its Secret of keys holds.
    pub pairs: Pairs,
}

impl Member {
    fn new(name: &'static str, operator: Operator, objects: BTreeMap<String, Value>, pairs: Pairs) -> Self {
        Member {
            name,
            operator,
            objects,
            watches: BTreeMap::new(),
            waiting: Vec::new(),
            wake: None,
            events: [Event::Start].into(),
            writes: Vec::new(),
            tried: Vec::new(),
            stopped: false,
            pairs,
        }
    }
}

/// Which calls a topology server turns away.
#[derive(Clone, Copy)]
pub struct Throttling {
    pub member: usize,
    /// How the call's `Debug` begins.
    pub call: &'static str,
    pub retry_after_ms: Option<u64>,
    /// Every such call, and not the next alone.
    pub all: bool,
}

/// A league of two.
#[derive(Default)]
pub struct World {
    pub members: Vec<Member>,
    pub topo: BTreeMap<String, (u64, Bytes)>,
    history: Vec<(String, Version)>,
    pub topo_writes: Vec<String>,
    /// How often it was called.
    pub topo_calls: u32,
    /// The API servers fail to write or delete the objects at this path.
    pub failing: Option<&'static str>,
    /// What the next read of this key alone is answered with, as by a read that overtook others.
    pub late: Option<(String, (u64, Bytes))>,
    /// An operator sends one request about objects at a time, from its next start on.
    pub one_at_a_time: bool,
    /// Writes to this path are answered when it is another one.
    pub holding: Option<&'static str>,
    held: Vec<(usize, Event)>,
    /// Writes of this key arrive nowhere, and are never answered.
    pub unanswered: Option<String>,
    /// Writes by this member arrive nowhere, and are answered so.
    pub unwritten: Option<(usize, TopoAnswer)>,
    /// A key whose writes are answered when nothing else is to be heard any more, and that answer.
    pub answered_last: Option<String>,
    held_back: Option<(usize, Event)>,
    /// The API server of this member refuses what is applied at this path.
    pub refusing: Option<(usize, &'static str)>,
    /// The API server of a member forbids to list these.
    pub forbidding: BTreeSet<(usize, &'static str)>,
    /// The API server of this member cannot be reached.
    pub away: Option<usize>,
    /// No type can be installed in this member.
    pub without_types: Option<usize>,
    /// The topology server cannot be reached by this member.
    pub cut_off: Option<usize>,
    /// The operator of this member only observes, from its next start on.
    pub observing: Option<&'static str>,
    /// The topology server asks this member to be called less often: at its next call whose `Debug` begins so.
    pub throttling: Option<Throttling>,
    /// That call with when it was turned away, and when it was made again.
    pub throttled: Option<(TopoRequest, u64, Option<u64>)>,
    /// What each member runs, from its next start on, where it is not this release.
    pub releases: BTreeMap<&'static str, Release>,
    /// What the API server of each member serves, by the path of the group's version.
    pub served: BTreeMap<(usize, &'static str), Value>,
    /// Changes are told with versions that no value has, as by a quorum that has not read what it tells.
    pub tells_unread: bool,
    /// No Secret of keys can be written.
    pub keys_are_stuck: bool,
    /// What the operators log.
    pub notes: Vec<Note>,
    revision: u64,
    now_ms: u64,
    starts: u64,
    /// The `Debug` of everything that went in and out.
    trace: String,
}

/// The collection that an object lies in, over all namespaces.
fn collection(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let namespaced = parts.iter().position(|part| *part == "namespaces").filter(|at| at + 3 < parts.len());
    let kept = parts[..parts.len() - 1].iter().enumerate();
    let outside = |at: usize| namespaced.is_none_or(|from| at != from && at != from + 1);
    kept.filter(|(at, _)| outside(*at)).map(|(_, part)| *part).collect::<Vec<_>>().join("/")
}

fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn ours(object: &Value) -> bool {
    object["metadata"]["labels"]["hansa.dev/league"].is_string()
}

impl World {
    pub fn new() -> Self {
        World::of(BTreeMap::new())
    }

    /// A league in which members run these releases.
    pub fn of(releases: BTreeMap<&'static str, Release>) -> Self {
        let mut world = World { now_ms: 1_000, releases, ..World::default() };
        for name in ["a", "b"] {
            let operator = world.operator(name, Pairs::default());
            world.members.push(Member::new(name, operator, BTreeMap::new(), Pairs::default()));
        }
        world
    }

    fn operator(&mut self, name: &str, pairs: Pairs) -> Operator {
        self.starts += 1;
        let keys = PrivateKeys::new(Pairs::sealing(name, pairs.in_use), own(name, self.starts));
        let beside = pairs.next.or(pairs.previous.map(|(pair, _)| pair));
        Operator::new(Config {
            member: name.parse().unwrap(),
            cluster_uid: name.to_owned(),
            kubernetes: "v1.37.2".to_owned(),
            release: self.releases.get(name).cloned().unwrap_or_else(|| Release::this("0")),
            incarnation: Incarnation(self.starts),
            public_keys: Pairs::public(name, pairs.in_use),
            signer: Pairs::signer(name, pairs.in_use),
            namespace: "hansa-system".to_owned(),
            keys: match beside {
                Some(pair) => keys.beside(Pairs::sealing(name, pair)),
                None => keys,
            },
            rotation: pairs.rotation(name),
            observe: self.observing == Some(name),
            max_in_flight: if self.one_at_a_time { 1 } else { 8 },
            heartbeat_ms: 5_000,
            values_per_read: 1,
            pages: 4,
        })
    }

    /// Another cluster that was made from a member's etcd: it is the same member, as far as it knows.
    pub fn clone_of(&mut self, index: usize) -> usize {
        let Member { name, pairs, .. } = self.members[index];
        let operator = self.operator(name, pairs);
        let objects = self.members[index].objects.clone();
        self.members.push(Member::new(name, operator, objects, pairs));
        self.members.len() - 1
    }

    pub fn restart(&mut self) {
        for index in 0..self.members.len() {
            self.restart_one(index);
        }
        self.topo_writes.clear();
    }

    /// Starts the operator of a member anew; of the earlier start no answer comes any more.
    pub fn restart_one(&mut self, index: usize) {
        let operator = self.operator(self.members[index].name, self.members[index].pairs);
        let member = &mut self.members[index];
        member.operator = operator;
        member.watches.clear();
        (member.waiting, member.wake) = (Vec::new(), None);
        member.events = [Event::Start].into();
        member.writes.clear();
    }

    pub fn put(&mut self, member: usize, path: &str, mut object: Value) -> Value {
        self.revision += 1;
        let member = &mut self.members[member];
        let before = member.objects.get(path);
        let spec_changed = before.is_none_or(|before| before["spec"] != object["spec"]);
        let generation = before.map_or(0, |before| before["metadata"]["generation"].as_u64().unwrap_or(0));
        object["metadata"]["generation"] = json!(generation + u64::from(spec_changed));
        object["metadata"]["uid"] =
            before.map_or(json!(format!("uid-{}", self.revision)), |b| b["metadata"]["uid"].clone());
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        member.objects.insert(path.to_owned(), object.clone());
        let of = collection(path);
        for (id, (watched, labelled, metadata_only)) in &member.watches {
            if *watched == of && (!labelled || ours(&object)) {
                let shown = if *metadata_only { metadata_of(&object) } else { object.clone() };
                let line = json!({"type": "MODIFIED", "object": shown}).to_string();
                member.events.push_back(Event::WatchLine { id: ActId(*id), line: line.into() });
            }
        }
        object
    }

    /// An object goes, and whoever watches is told.
    pub fn remove(&mut self, member: usize, path: &str) {
        self.revision += 1;
        let member = &mut self.members[member];
        let Some(mut object) = member.objects.remove(path) else { return };
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let of = collection(path);
        for (id, _) in member.watches.iter().filter(|(_, (watched, ..))| *watched == of) {
            let line = json!({"type": "DELETED", "object": object}).to_string();
            member.events.push_back(Event::WatchLine { id: ActId(*id), line: line.into() });
        }
    }

    fn api(&mut self, index: usize, request: &ApiRequest) -> ApiAnswer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let member = &mut self.members[index];
        let answer = |status, body: Value| ApiAnswer { status, body: body.to_string().into() };
        let dry_run = query.contains("dryRun=All");
        if dry_run {
            member.tried.push(path.to_owned());
        } else if request.method != Method::Get {
            member.writes.push(format!("{:?} {path}", request.method));
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let standing = member.objects.get(path).cloned();
        if matches!(request.method, Method::Patch | Method::Delete) && self.failing == Some(path) {
            return answer(500, json!({"message": "etcdserver: no space"}));
        }
        if request.content_type == ContentType::Apply && self.refusing == Some((index, path)) {
            return answer(422, json!({"reason": "Invalid", "message": "data: a policy refuses it"}));
        }
        if query.contains("limit=") && self.forbidding.contains(&(index, path)) {
            return answer(403, json!({"reason": "Forbidden", "message": "it may not be listed"}));
        }
        if let Some(served) = self.served.iter().find(|((of, at), _)| *of == index && *at == path) {
            return answer(200, served.1.clone());
        }
        match request.method {
            Method::Patch if dry_run => {
                let standing = standing.unwrap_or_default();
                let creates = body["metadata"]["uid"].is_null();
                let meets =
                    if creates { standing.is_null() } else { body["metadata"]["uid"] == standing["metadata"]["uid"] };
                if meets { answer(200, body) } else { answer(409, json!({"message": "the object exists"})) }
            }
            Method::Get if query.contains("limit=") => {
                let labelled = query.contains("labelSelector");
                let found =
                    member.objects.iter().filter(|(at, object)| collection(at) == path && (!labelled || ours(object)));
                let shown = |object: &Value| if request.metadata_only { metadata_of(object) } else { object.clone() };
                let items: Vec<Value> = found.map(|(_, object)| shown(object)).collect();
                answer(200, json!({"metadata": {"resourceVersion": self.revision.to_string()}, "items": items}))
            }
            Method::Get => match standing {
                Some(object) if request.metadata_only => answer(200, metadata_of(&object)),
                Some(object) => answer(200, object),
                None => answer(404, json!({"message": "not found", "details": {"kind": "things", "name": "x"}})),
            },
            Method::Put => {
                let path = path.strip_suffix("/status").expect("nothing but a status is replaced");
                let mut object = member.objects[path].clone();
                if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
                    return answer(409, json!({"message": "the object has been modified"}));
                }
                object["status"] = body["status"].clone();
                answer(200, metadata_of(&self.put(index, path, object)))
            }
            Method::Patch if path.ends_with("/status") => {
                let path = path.strip_suffix("/status").unwrap();
                let mut object = member.objects[path].clone();
                let patch = body.as_array().unwrap().iter().find(|op| op["path"] == "/status").unwrap();
                object["status"] = patch["value"].clone();
                answer(200, self.put(index, path, object))
            }
            Method::Patch if request.content_type == ContentType::MergePatch => {
                let mut object = standing.unwrap();
                object["metadata"]["finalizers"] = body["metadata"]["finalizers"].clone();
                answer(200, self.put(index, path, object))
            }
            Method::Patch => {
                let mut object = body;
                object["metadata"]["managedFields"] =
                    json!([{"manager": "hansa", "operation": "Apply", "fieldsV1": {"f:data": {}}}]);
                object["status"] = standing.map_or(Value::Null, |standing| standing["status"].clone());
                answer(200, self.put(index, path, object))
            }
            Method::Post if path.ends_with("/secrets") => {
                let at = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                answer(201, self.put(index, &at, body))
            }
            Method::Post if path.ends_with("/events") => answer(201, json!({})),
            Method::Delete => {
                self.remove(index, path);
                answer(200, json!({}))
            }
            Method::Post => panic!("nothing is made here: {request:?}"),
        }
    }

    fn topo(&mut self, index: usize, id: ActId, request: TopoRequest) {
        self.topo_calls += 1;
        let versioned = |(version, value): &(u64, Bytes)| Versioned {
            version: Version::new(version.to_string()),
            value: value.clone(),
        };
        if self.cut_off == Some(index) {
            let (failure, reason) = (TopoFailure::Away, "connection refused".to_owned());
            let answer = TopoAnswer::Failed { reason, failure, retry_after_ms: None };
            return self.members[index].events.push_back(Event::Topo { id, answer });
        }
        if let Some((made, _, again @ None)) = &mut self.throttled
            && *made == request
        {
            *again = Some(self.now_ms);
        }
        let turns_away = |throttling: &mut Throttling| {
            index == throttling.member && format!("{request:?}").starts_with(throttling.call)
        };
        if let Some(throttling) = self.throttling.take_if(turns_away) {
            self.throttling = Some(throttling).filter(|throttling| throttling.all);
            self.throttled = Some((request, self.now_ms, None));
            let (failure, retry_after_ms) = (TopoFailure::Throttled, throttling.retry_after_ms);
            let answer = TopoAnswer::Failed { reason: "SlowDown".to_owned(), failure, retry_after_ms };
            return self.members[index].events.push_back(Event::Topo { id, answer });
        }
        let mut comes_last = false;
        let answer = match request {
            TopoRequest::Read { keys } if self.late.as_ref().is_some_and(|(key, _)| keys.contains(key)) => {
                let (late, entry) = self.late.take().expect("it was there a moment ago");
                let now = |key: &String| self.topo.get(key).map(versioned);
                let shown = |key: &String| if *key == late { Some(versioned(&entry)) } else { now(key) };
                TopoAnswer::Values(keys.iter().map(shown).collect())
            }
            TopoRequest::Read { keys } => {
                TopoAnswer::Values(keys.iter().map(|key| self.topo.get(key).map(versioned)).collect())
            }
            TopoRequest::List { prefix } => {
                let under = self.topo.iter().filter(|(key, _)| key.starts_with(&prefix));
                TopoAnswer::Listed(under.map(|(key, entry)| (key.clone(), versioned(entry))).collect())
            }
            TopoRequest::Changes { cursor: None } => {
                TopoAnswer::Changed { cursor: self.history.len().to_string().into(), keys: BTreeMap::new() }
            }
            TopoRequest::Changes { cursor: Some(cursor) } => {
                self.members[index].waiting.push((id, cursor.parse().unwrap()));
                return self.tell_changes();
            }
            TopoRequest::Write { key, .. } if self.unanswered.as_ref() == Some(&key) => return,
            TopoRequest::Write { key, .. }
                if let Some((_, answer)) = self.unwritten.as_ref().filter(|(of, _)| *of == index) =>
            {
                self.topo_writes.push(key);
                answer.clone()
            }
            TopoRequest::Write { key, expected, value } => {
                comes_last = self.answered_last.as_ref() == Some(&key);
                self.topo_writes.push(key.clone());
                let standing = self.topo.get(&key).map(versioned);
                if standing.as_ref().map(|standing| &standing.version) == expected.as_ref() {
                    self.revision += 1;
                    let version = Version::new(self.revision.to_string());
                    self.topo.insert(key.clone(), (self.revision, value));
                    self.history.push((key, version.clone()));
                    self.tell_changes();
                    TopoAnswer::Swapped(Swap::Committed(version))
                } else {
                    TopoAnswer::Swapped(Swap::Mismatch { current: standing })
                }
            }
        };
        let event = Event::Topo { id, answer };
        match comes_last {
            true => self.held_back = Some((index, event)),
            false => self.members[index].events.push_back(event),
        }
    }

    fn tell_changes(&mut self) {
        let told = |version: &Version| match self.tells_unread {
            true => Version::new(format!("store@{version}")),
            false => version.clone(),
        };
        for member in &mut self.members {
            for (id, since) in member.waiting.extract_if(.., |(_, since)| *since < self.history.len()) {
                let keys = self.history[since..].iter().map(|(key, version)| (key.clone(), told(version))).collect();
                let answer = TopoAnswer::Changed { cursor: self.history.len().to_string().into(), keys };
                member.events.push_back(Event::Topo { id, answer });
            }
        }
    }

    fn carry_out(&mut self, index: usize, act: Act) {
        self.trace += &format!("{act:?}\n");
        let member = &mut self.members[index];
        match act {
            Act::Api { id, .. } if self.away == Some(index) => {
                member.events.push_back(Event::Api { id, answer: Err("connection refused".to_owned()) });
            }
            Act::Watch { id, .. } if self.away == Some(index) => {
                let reason = "connection refused".to_owned();
                member.events.push_back(Event::WatchClosed { id, status: None, reason });
            }
            Act::Api { id, request } => {
                let answer = Event::Api { id, answer: Ok(self.api(index, &request)) };
                let path = request.path.split('?').next();
                if request.method != Method::Get && self.holding.is_some() && path == self.holding {
                    self.held.push((index, answer));
                } else {
                    self.members[index].events.push_back(answer);
                }
            }
            Act::Watch { id, request } => {
                let (path, query) = request.path.split_once('?').unwrap();
                let watch = (path.to_owned(), query.contains("labelSelector"), request.metadata_only);
                member.watches.insert(id.0, watch);
            }
            Act::CloseWatch { id } => {
                member.watches.remove(&id.0);
            }
            Act::Topo { id, request } => self.topo(index, id, request),
            Act::InstallType { id, federated_type } => {
                let kind = if federated_type.resource.resource() == "secrets" { "Secret" } else { "ConfigMap" };
                let found = InstalledType { kind: kind.to_owned(), namespaced: true, list_keys: BTreeMap::new() };
                let lacks = self.without_types == Some(index);
                let answer = if lacks { Err("the API server cannot be reached".to_owned()) } else { Ok(found) };
                member.events.push_back(Event::TypeInstalled { id, answer });
            }
            Act::ChangeKeys(change) => {
                if self.keys_are_stuck {
                    return;
                }
                member.pairs.change(&change);
                if change != KeysChange::ForgetSigning {
                    self.restart_one(index);
                }
            }
            Act::WakeAt { monotonic_ms } => member.wake = Some(monotonic_ms),
            Act::Log(note) => self.notes.push(note),
            Act::Reply { .. } => {}
        }
    }

    /// Runs until the condition holds; time passes when nothing else happens.
    pub fn run_until(&mut self, what: &str, holds: impl Fn(&World) -> bool) {
        for _ in 0..EVENTS {
            if holds(self) {
                return;
            }
            let next = self.members.iter().position(|member| !member.stopped && !member.events.is_empty());
            let (index, event) = match next {
                Some(index) => (index, self.members[index].events.pop_front().unwrap()),
                None if self.held_back.is_some() => self.held_back.take().unwrap(),
                None => {
                    let running = self.members.iter().enumerate().filter(|(_, member)| !member.stopped);
                    let due = running.filter_map(|(index, member)| Some((member.wake?, index)));
                    let (at, index) = due.min().expect("somebody waits for something");
                    self.now_ms = self.now_ms.max(at);
                    self.members[index].wake = None;
                    (index, Event::Wake)
                }
            };
            self.trace += &format!("{event:?}\n");
            let now = Now { monotonic_ms: self.now_ms, wall_ms: 1_700_000_000_000 + self.now_ms, entropy: self.now_ms };
            let starts = self.starts;
            for act in self.members[index].operator.step(event, now) {
                // What an ended start still asked for, nobody does.
                if self.starts == starts {
                    self.carry_out(index, act);
                }
            }
        }
        let tail: Vec<&str> = self.trace.lines().rev().take(40).collect();
        panic!("it did not come to this: {what}; the last of it, backwards:\n{}", tail.join("\n"));
    }

    /// A user deletes a federated ConfigMap, and means it: its namespace and its definition stay.
    pub fn delete_by_intent(&mut self, member: usize, path: &str) {
        self.put(member, "/api/v1/namespaces/shop", json!({}));
        let definition = "federatedconfigmaps.core.types.hansa.dev";
        self.put(member, &format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition}"), json!({}));
        let mut home = self.members[member].objects[path].clone();
        home["metadata"]["deletionTimestamp"] = json!("2026-11-15T00:00:00Z");
        self.put(member, path, home);
    }

    /// The API server of a member goes away.
    pub fn go_away(&mut self, index: usize) {
        self.away = Some(index);
        let member = &mut self.members[index];
        for id in std::mem::take(&mut member.watches).into_keys() {
            let reason = "the watch ended".to_owned();
            member.events.push_back(Event::WatchClosed { id: ActId(id), status: None, reason });
        }
    }

    /// What a member watches, in order: a collection once for each watch.
    pub fn watched(&self, index: usize) -> Vec<String> {
        let mut paths: Vec<String> = self.members[index].watches.values().map(|(path, ..)| path.clone()).collect();
        paths.sort_unstable();
        paths
    }

    /// How often a member waits for changes of the topology server.
    pub fn waits(&self, index: usize) -> usize {
        self.members[index].waiting.len()
    }

    /// A member does not reach the topology server any more.
    pub fn cut_off(&mut self, index: usize) {
        self.cut_off = Some(index);
        for (id, since) in std::mem::take(&mut self.members[index].waiting) {
            self.topo(index, id, TopoRequest::Changes { cursor: Some(since.to_string().into()) });
        }
    }

    /// What was held is answered.
    pub fn let_go(&mut self) {
        self.holding = None;
        for (index, answer) in std::mem::take(&mut self.held) {
            self.members[index].events.push_back(answer);
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Runs for so long.
    pub fn run_for(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        self.run_until("some time passes", |world| world.now_ms >= until);
    }

    /// Runs for a while after which nothing is left to be done.
    pub fn run_to_rest(&mut self) {
        let until = self.now_ms + 60_000;
        self.run_until("rest", |world| {
            world.now_ms >= until
                && world
                    .members
                    .iter()
                    .all(|member| member.stopped || member.operator.is_idle() && member.events.is_empty())
        });
    }

    /// Time passes in which nobody who is stopped notices anything.
    pub fn sleep(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    pub fn found(&mut self, types: &[&str]) {
        self.found_with(types, json!([]));
    }

    /// Founds a league with these people in its spec.
    pub fn found_with(&mut self, types: &[&str], people: Value) {
        let types: Vec<Value> = types.iter().map(|name| json!({"resource": name, "version": "v1"})).collect();
        let mut spec = json!({"members": [{"name": "a", "provider": "p", "region": "r"}, {"name": "b", "provider": "q", "region": "r"}], "types": types});
        if people != json!([]) {
            spec["people"] = people;
        }
        let federation = json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Federation", "metadata": {"name": "league"}, "spec": spec});
        self.put(0, "/apis/hansa.dev/v1alpha1/federations/league", federation);
    }

    /// Puts a value into the topology server, behind everyone's back.
    pub fn put_topo(&mut self, key: &str, value: Bytes) {
        self.revision += 1;
        self.topo.insert(key.to_owned(), (self.revision, value));
        self.history.push((key.to_owned(), Version::new(self.revision.to_string())));
        self.tell_changes();
    }

    /// Everything in the topology server, unpacked, and everything that can be read of a member.
    pub fn told(&self) -> String {
        let mut all = self.trace.clone();
        for (key, (_, value)) in &self.topo {
            let (_, body) = Envelope::open(value).unwrap();
            all += &format!("{key} {} {}\n", String::from_utf8_lossy(value), String::from_utf8_lossy(&body));
        }
        for member in &self.members {
            all += &format!("{:?}\n{:?}\n", member.operator, member.operator.metrics());
            let own = member.objects.iter().filter(|(path, _)| path.contains("hansa.dev"));
            all.extend(own.map(|(_, object)| object.to_string()));
        }
        all
    }
}

/// A federated object.
pub fn federated(kind: &str, name: &str, spec: Value) -> Value {
    let kind = format!("Federated{kind}");
    json!({"apiVersion": "core.types.hansa.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}
