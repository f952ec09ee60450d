//! The API server without sockets, clock or randomness of its own: requests go in with the time
//! at which they come, answers come out, and the same calls with the same seed give the same
//! answers.
//!
//! A request takes this way: [`route`] finds the resource in the [`registry`], [`access`] says
//! whether the user may, then [`read`], [`watch`], [`mod@write`], [`patch`] or [`delete`] do the
//! work on the [`store`]. What a kind does of its own at a write (defaults that depend on other
//! fields, generation, immutable fields) is in [`strategy`]. Every change is observed once, by
//! the journal that makes it durable and by the [`crate::controllers`], which run in
//! [`Core::tick`] and have work only for what changed.

pub mod access;
pub mod audit;
mod body;
mod convert;
pub(crate) mod crd;
pub(crate) mod delete;
mod discovery;
mod encode;
pub mod error;
mod eviction;
mod fields;
pub mod http;
mod jsonpath;
mod metadata;
mod openapi;
mod options;
mod patch;
mod protobuf;
pub mod random;
mod read;
mod registry;
mod reviews;
mod route;
mod scale;
pub mod selector;
pub mod services;
mod snapshot;
pub mod store;
pub(crate) mod strategy;
mod table;
pub mod time;
mod watch;
pub(crate) mod write;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::controllers::{Controllers, NodeConfig};
use access::{Access, Attributes};
use audit::{Audit, Write};
use http::{Reply, Request, Response};
use random::Random;
use registry::Registry;
use route::Route;
use store::{Change, ResourceId, Store};
use time::Millis;

pub(crate) use error::ApiError;
pub(crate) use options::WriteOptions;
pub(crate) use route::Target;
pub use services::ADDRESS;
pub use snapshot::{Damaged, Record, Snapshot};
pub use watch::{Poll, WatchId};

/// How a core is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// What uids, generated names and watch timeouts follow from.
    pub seed: u64,
    /// How many changes per resource are kept for watches and old reads.
    pub history: usize,
    /// How many write requests the audit record keeps per user.
    pub audited_writes: usize,
    /// Whether changes are recorded for [`Core::take_journal`].
    pub journal: bool,
    /// The nodes that pods run on.
    pub nodes: Vec<NodeConfig>,
    /// Whether workloads live: with false, no controller but those of the API itself
    /// (CustomResourceDefinitions, namespaces, garbage collection) does anything.
    pub workloads: bool,
    /// Who may do what; the group `system:masters` may do everything.
    pub access: Access,
    /// Where the server is reached: in `/api` and the Endpoints of `kubernetes`.
    pub address: String,
    /// The certificate authority that goes into every namespace as `kube-root-ca.crt`.
    pub certificate_authority: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 1,
            history: 4096,
            audited_writes: 4000,
            journal: false,
            nodes: NodeConfig::three(),
            workloads: true,
            access: Access::default(),
            address: "127.0.0.1:6443".to_string(),
            certificate_authority: String::new(),
        }
    }
}

/// An API server. See the module's description.
pub struct Core {
    pub(crate) config: Config,
    /// The time of the call in progress.
    pub(crate) now: Millis,
    pub(crate) random: Random,
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) controllers: Controllers,
    /// The addresses and ports that Services hold.
    services: strategy::Allocated,
    watchers: watch::Watchers,
    next_watch: u64,
    audit: Audit,
    journal: Vec<Record>,
    touched: BTreeSet<ResourceId>,
    openapi: openapi::Documents,
}

impl Core {
    /// A new cluster at this time: its namespaces and nodes are there, nothing else.
    pub fn new(config: Config, now: Millis) -> Self {
        let mut core = Core::empty(config, now);
        core.bootstrap();
        core.observe();
        core
    }

    fn empty(config: Config, now: Millis) -> Self {
        Core {
            now,
            random: Random::new(config.seed),
            registry: Registry::builtin(),
            store: Store::new(config.history),
            controllers: Controllers::default(),
            services: strategy::Allocated::default(),
            watchers: watch::Watchers::new(),
            next_watch: 0,
            audit: Audit::new(config.audited_writes),
            journal: Vec::new(),
            touched: BTreeSet::new(),
            openapi: openapi::Documents::default(),
            config,
        }
    }

    /// Answers a request that comes at this time.
    pub fn handle(&mut self, now: Millis, request: &Request) -> Reply {
        self.now = self.now.max(now);
        let reply = self.dispatch(request).unwrap_or_else(|error| Reply::Response(refusal(request, &error)));
        self.observe();
        reply
    }

    /// The version of the latest change.
    pub fn version(&self) -> u64 {
        self.store.version()
    }

    /// The record of what each user asked for.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The records of changes since this was last called, in their order; empty unless
    /// [`Config::journal`] is set.
    pub fn take_journal(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.journal)
    }

    /// The resources that changed since this was last called, for an edge that wakes watches.
    pub fn take_touched(&mut self) -> BTreeSet<ResourceId> {
        std::mem::take(&mut self.touched)
    }

    /// Forgets history up to now: watches and pages from older versions answer 410, as after an
    /// etcd compaction.
    pub fn compact(&mut self) {
        self.store.compact();
    }

    /// Tells journal, edge and controllers what changed.
    pub(crate) fn observe(&mut self) {
        for change in self.store.take_fresh() {
            self.touched.insert(change.resource.clone());
            if self.config.journal {
                self.journal.push(Record::of(&change));
            }
            self.follow(&change);
        }
    }

    /// Keeps registry, addresses and controllers in step with a change.
    pub(crate) fn follow(&mut self, change: &Arc<Change>) {
        match &*change.resource {
            crd::ID => self.register_custom(change),
            "services" => {
                let after = (!change.deleted).then(|| change.object.value());
                self.services.follow(change.before.as_ref().map(|before| before.value()).as_ref(), after.as_ref());
            }
            _ => {}
        }
        self.notify_controllers(change);
    }

    fn dispatch(&mut self, request: &Request) -> Result<Reply, ApiError> {
        let target = match route::route(&self.registry, request) {
            Ok(Route::Resource(target)) => target,
            Ok(Route::OldWatch(target)) if request.method == "GET" => return self.old_watch(request, &target),
            Ok(_) if request.method != "GET" => return Err(ApiError::method_not_allowed()),
            Ok(other) => return self.document(request, other).map(Reply::Response),
            Err(error) => {
                // Who may not is not told what there is.
                match route::wanted(request) {
                    Some(parts) => {
                        let verb = plain_verb(request, parts.name.is_some()).unwrap_or_default();
                        self.config.access.check(&request.user, &parts.attributes(verb))?;
                    }
                    None => self.check_path(request)?,
                }
                return Err(error);
            }
        };
        let verb = verb(request, &target)?;
        let subresource = target.subresource.as_deref().unwrap_or_default();
        let wish = Attributes {
            verb,
            group: &target.resource.group,
            resource: &target.resource.plural,
            subresource: subresource.split('/').next().unwrap_or_default(),
            namespace: target.namespace.as_deref().unwrap_or_default(),
            name: target.name(),
        };
        let allowed = match reviews::is_open(&target) {
            true => Ok(()),
            false => self.config.access.check(&request.user, &wish),
        };
        let shown = match wish.subresource {
            "" => target.resource.name(),
            subresource => format!("{}/{subresource}", target.resource.name()),
        };
        let recorded = if verb == "patch" && options::is_apply(request) { "apply" } else { verb };
        self.audit.count(&request.user.name, recorded, &shown);
        let warning = target.resource.warning(&target.version);
        if matches!(verb, "get" | "list" | "watch") {
            allowed?;
            return self.read(request, &target, verb).map(|reply| reply.warning(warning));
        }
        let write = self.begin_write(request, &target, recorded, shown);
        let result = allowed.and_then(|()| self.change(request, &target, verb));
        self.end_write(&target, write, &result);
        result.map(|response| Reply::Response(response).warning(warning))
    }

    fn read(&mut self, request: &Request, target: &Target, verb: &str) -> Result<Reply, ApiError> {
        match (target.subresource.as_deref(), verb) {
            (None, "watch") => self.watch(request, target),
            (None, "list") => self.list(request, target).map(Reply::Response),
            (None | Some("status"), _) => self.get(request, target).map(Reply::Response),
            (Some("scale"), _) => self.get_scale(request, target).map(Reply::Response),
            (Some(other), _) => Err(ApiError::not_implemented(&format!("reading {}/{other}", target.resource.name()))),
        }
    }

    fn change(&mut self, request: &Request, target: &Target, verb: &str) -> Result<Response, ApiError> {
        let mut options = WriteOptions::read(request, verb)?;
        let mut response = match (target.subresource.as_deref(), verb) {
            (None, "create") if reviews::is_review(target) => self.review(request, target, &mut options),
            (None, "create") => self.post(request, target, &mut options),
            (None | Some("status" | "approval" | "finalize"), "update") => {
                self.put_object(request, target, &mut options)
            }
            (None | Some("status" | "approval"), "patch") => self.patch_object(request, target, &mut options),
            (None, "delete") => self.delete(request, target, &mut options),
            (None, "deletecollection") => self.delete_collection(request, target, &mut options),
            (Some("scale"), "update" | "patch") => self.put_scale(request, target, &mut options),
            (Some("eviction"), "create") => self.evict(request, target, &mut options),
            (Some("binding"), "create") => self.bind(request, target, &mut options),
            (Some(other), _) => {
                Err(ApiError::not_implemented(&format!("{verb} of {}/{other}", target.resource.name())))
            }
            _ => Err(ApiError::method_not_allowed()),
        }?;
        response.warnings.append(&mut options.warnings);
        Ok(response)
    }

    /// Paths that are no resources are for those who may do everything, discovery aside.
    fn check_path(&self, request: &Request) -> Result<(), ApiError> {
        if self.config.access.rules(&request.user).is_none() {
            return Ok(());
        }
        let verb = request.method.to_lowercase();
        let why = format!("User {:?} cannot {verb} path {:?}", request.user.name, request.path);
        Err(ApiError::forbidden("", "", "", &why))
    }

    /// `/api/v1/watch/...`, as watches were asked for before the parameter.
    fn old_watch(&mut self, request: &Request, target: &Target) -> Result<Reply, ApiError> {
        let wish = Attributes {
            verb: "watch",
            group: &target.resource.group,
            resource: &target.resource.plural,
            subresource: "",
            namespace: target.namespace.as_deref().unwrap_or_default(),
            name: target.name(),
        };
        self.config.access.check(&request.user, &wish)?;
        self.audit.count(&request.user.name, "watch", &target.resource.name());
        let mut request = request.clone();
        request.query.push(("watch".to_string(), "true".to_string()));
        self.watch(&request, target)
    }

    fn document(&mut self, request: &Request, route: Route) -> Result<Response, ApiError> {
        match route {
            Route::Discovery(which) => self.discover(request, &which),
            Route::OpenApiV2 => self.openapi_v2(request),
            Route::OpenApi(path) => self.openapi(&path),
            Route::Health => Ok(Response::text(200, "ok")),
            Route::Version => Ok(Response::json(200, &discovery::version())),
            Route::Audit => {
                self.check_path(request)?;
                Ok(Response::json(200, &json!(self.audit)))
            }
            Route::Resource(_) | Route::OldWatch(_) => Err(ApiError::no_page()),
        }
    }

    fn begin_write(&self, request: &Request, target: &Target, verb: &str, resource: String) -> Write {
        let live = target.name.is_some().then(|| self.find(target).ok()).flatten();
        Write {
            time: time::micros(self.now),
            user: request.user.name.clone(),
            verb: verb.to_string(),
            resource,
            namespace: target.namespace.clone().unwrap_or_default(),
            name: target.name.clone().unwrap_or_default(),
            uid: live.as_ref().map(|object| object.uid.clone()).unwrap_or_default(),
            version_before: live.map(|object| object.version.to_string()).unwrap_or_default(),
            dry_run: request.parameter("dryRun").is_some(),
            version_after: self.store.version().to_string(),
            ..Write::default()
        }
    }

    fn end_write(&mut self, target: &Target, mut write: Write, result: &Result<Response, ApiError>) {
        write.changed = write.version_after != self.store.version().to_string();
        write.version_after.clear();
        match result {
            Ok(response) => {
                write.code = response.status;
                // A create names its object only in the answer.
                if write.name.is_empty() && write.verb == "create" {
                    let answer = response.value();
                    write.name = answer["metadata"]["name"].as_str().unwrap_or_default().to_string();
                }
            }
            Err(error) => write.code = error.code,
        }
        let named = Target { name: Some(write.name.clone()), ..target.clone() };
        if let Ok(object) = self.find(&named) {
            write.uid = object.uid.clone();
            write.version_after = object.version.to_string();
        }
        if self.config.journal {
            self.observe();
            self.journal.push(Record::Write(Box::new(write.clone())));
        }
        self.audit.write(write);
    }
}

/// The verb that a request's method and target make.
fn verb(request: &Request, target: &Target) -> Result<&'static str, ApiError> {
    let verb = match plain_verb(request, target.name.is_some()) {
        Some(verb) => verb,
        None => return Err(ApiError::method_not_allowed()),
    };
    let everywhere = target.resource.namespaced && target.namespace.is_none();
    let knows = |verbs: &[String]| verbs.iter().any(|known| known == verb);
    let known = match &target.subresource {
        None if verb == "create" && target.name.is_some() => false,
        None if everywhere && !matches!(verb, "list" | "watch") => false,
        None => knows(&target.version.verbs),
        Some(path) => {
            let name = path.split('/').next().unwrap_or_default();
            let listed = target.version.subresources.listed.iter().find(|listed| listed.name == name);
            match listed {
                Some(listed) => listed.verbs.is_empty() || knows(&listed.verbs),
                None => return Err(ApiError::no_resource()),
            }
        }
    };
    if known { Ok(verb) } else { Err(ApiError::method_not_allowed()) }
}

/// The verb that a method makes on an object or a collection.
fn plain_verb(request: &Request, named: bool) -> Option<&'static str> {
    let watching = request.flag("watch") && request.query.iter().any(|(key, _)| key == "watch");
    Some(match (request.method.as_str(), named) {
        // A watch of one name is asked for by a field selector; on a path with a name the parameter means nothing.
        ("GET", true) => "get",
        ("GET", false) if watching => "watch",
        ("GET", false) => "list",
        ("POST", _) => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => return None,
    })
}

/// The answer to a request that was refused.
fn refusal(request: &Request, error: &ApiError) -> Response {
    if error.plain {
        return Response::text(error.code, &error.message);
    }
    tracing::debug!(
        method = request.method,
        target = request.target(),
        code = error.code,
        message = error.message,
        "refused"
    );
    let status = error.status();
    let retry_after = status["details"]["retryAfterSeconds"].as_u64();
    Response { retry_after, ..Response::json(error.code, &status) }
}
