//! A core with a clock that tests move, and the answers they expect of it.
#![allow(dead_code, reason = "each test file uses a part")]

use hansa_kubesim::core::http::{Reply, Request, Response};
use hansa_kubesim::core::{Config, Core, WatchId};
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z.
pub const START: u64 = 1_767_225_600_000;

/// A core and its clock.
pub struct Cluster {
    /// The server.
    pub core: Core,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Cluster {
    /// A new cluster whose own work is done.
    pub fn new() -> Self {
        Cluster::with(Config::default())
    }

    /// The same with settings.
    pub fn with(config: Config) -> Self {
        let mut cluster = Cluster { core: Core::new(config, START), now: START };
        cluster.settle();
        cluster
    }

    /// Does all work that is ready now.
    pub fn settle(&mut self) {
        while self.core.tick(self.now).is_some_and(|at| at <= self.now) {}
    }

    /// Moves the clock, doing what comes due on the way.
    pub fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while let Some(at) = self.core.tick(self.now).filter(|at| *at <= end) {
            self.now = at.max(self.now);
        }
        self.now = end;
        self.settle();
    }

    /// The answer to a request; the cluster's own work is done after it.
    pub fn send(&mut self, request: &Request) -> Response {
        match self.core.handle(self.now, request) {
            Reply::Response(response) => {
                self.settle();
                response
            }
            Reply::Watch { .. } => panic!("{} {} answered with a watch", request.method, request.target()),
        }
    }

    /// The body of an answer with this status.
    pub fn expect(&mut self, status: u16, request: &Request) -> Value {
        let response = self.send(request);
        let body = response.value();
        assert_eq!(response.status, status, "{} {}: {body:#}", request.method, request.target());
        body
    }

    /// `GET` that succeeds.
    pub fn get(&mut self, target: &str) -> Value {
        self.expect(200, &Request::get(target))
    }

    /// `POST` that creates.
    pub fn create(&mut self, target: &str, body: &Value) -> Value {
        self.expect(201, &Request::post(target, body))
    }

    /// A ConfigMap in `default`.
    pub fn config_map(&mut self, name: &str, data: &Value) -> Value {
        self.create("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": name}, "data": data}))
    }

    /// Opens a watch.
    pub fn watch(&mut self, target: &str) -> WatchId {
        match self.core.handle(self.now, &Request::get(target)) {
            Reply::Watch { id, .. } => id,
            Reply::Response(response) => panic!("{target}: {}", response.value()),
        }
    }

    /// The events of a watch since the last poll.
    pub fn poll(&mut self, id: WatchId) -> Vec<Value> {
        let through = self.core.version();
        let lines = self.core.poll_watch(self.now, id, through).lines;
        lines.iter().map(|line| serde_json::from_slice(line).expect("events are JSON")).collect()
    }

    /// The events as `TYPE name`.
    pub fn brief(&mut self, id: WatchId) -> Vec<String> {
        let events = self.poll(id);
        let text = |event: &Value| {
            let object = &event["object"];
            let name = object["metadata"]["name"].as_str().or(object["reason"].as_str()).unwrap_or_default();
            format!("{} {name}", event["type"].as_str().unwrap_or_default()).trim().to_string()
        };
        events.iter().map(text).collect()
    }
}

/// The names of a list's items.
pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}
