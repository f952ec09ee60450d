//! Creating and updating: the one way on which every write goes, whether it comes as a request
//! or from a controller.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Core;
use super::body;
use super::encode::{Encoder, Output};
use super::error::ApiError;
use super::http::{Request, Response};
use super::metadata;
use super::options::{WriteOptions, stamp};
use super::registry::Resource;
use super::route::Target;
use super::store::{self, Object};
use super::strategy::{self, Context};
use super::{convert, time};
use crate::apply::{self, ManagerContext};
use crate::schema::{FieldError, Reason};
use crate::value;

/// What an update came to.
pub struct Written {
    /// The object after it.
    pub object: Arc<Object>,
    /// Whether the update created it.
    pub created: bool,
}

/// How an update's result was made, for the managed fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// By creating or replacing: the manager owns what it changed.
    Update,
    /// By a patch, which differs in how an object that is none is refused.
    Patch,
    /// By server-side apply, or through `scale`, which have set the managed fields themselves.
    Apply,
}

impl Core {
    /// `POST` of an object.
    pub(super) fn post(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let object = body::decode(request, &target.resource.kind)?.into_object(target, options)?;
        let created = self.create_object(target, object, options, Made::Update)?;
        Ok(self.respond(target, output, 201, &created))
    }

    /// `PUT` of an object or its status.
    pub(super) fn put_object(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let object = body::decode(request, &target.resource.kind)?.into_object(target, options)?;
        let given = value::string(&object, &["metadata", "name"]).unwrap_or_default();
        if given != target.name() {
            let message = match given {
                "" => format!(
                    "name must be provided: the name of the object ({given}) does not match the name on the URL ({})",
                    target.name()
                ),
                _ => format!("the name of the object ({given}) does not match the name on the URL ({})", target.name()),
            };
            return Err(ApiError::bad_request(message));
        }
        let may_create = target.subresource.is_none() && strategy::creates_on_update(&target.resource);
        let uid = value::string(&object, &["metadata", "uid"]).filter(|uid| !uid.is_empty()).map(String::from);
        let written = self.update_object(target, options, Made::Update, may_create, |live| {
            precondition(target, live, uid.as_deref())?;
            Ok(object)
        })?;
        Ok(self.respond(target, output, if written.created { 201 } else { 200 }, &written.object))
    }

    /// Stores a new object.
    pub(crate) fn create_object(
        &mut self,
        target: &Target,
        mut object: Value,
        options: &mut WriteOptions,
        made: Made,
    ) -> Result<Arc<Object>, ApiError> {
        let resource = target.resource.clone();
        if resource.custom && resource.terminating {
            let name = value::string(&object, &["metadata", "name"]).unwrap_or_default();
            let why = "create not allowed while custom resource definition is terminating";
            return Err(ApiError::forbidden(&resource.group, &resource.plural, name, why));
        }
        let schema = &target.version.schema;
        if value::string(&object, &["metadata", "resourceVersion"]).is_some_and(|version| !matches!(version, "" | "0"))
        {
            return Err(ApiError::unclassified("resourceVersion should not be set on objects to be created"));
        }
        // What defaults follow from the name comes before a name is generated.
        decodable(target, made, &object)?;
        schema.apply_defaults(&mut object);
        strategy::decode(&resource, &mut object);
        self.name_object(&mut object);
        let structural = schema.validate(&object);
        metadata::start(&mut object, &time::seconds(self.now), self.random.uuid());
        if matches!(made, Made::Update | Made::Patch) {
            let time = stamp(self.now);
            apply::track_update(schema, None, &mut object, &manager_context(target, options, &time));
        }
        let name = value::string(&object, &["metadata", "name"]).unwrap_or_default().to_string();
        self.admit_create(target, &mut object, &name)?;
        let mut context = Context { core: self, target };
        let allocation = strategy::prepare_create(&mut context, &mut object);
        let mut errors = strategy::validate(&context, None, &object);
        add_structural(&mut errors, structural, &resource);
        if errors.is_empty() {
            errors = allocation;
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid(&resource.group, &resource.kind, &name, errors));
        }
        let key = store::key(target.namespace.as_deref(), &name);
        if let Some(existing) = self.store.get(&resource.id, &key) {
            let mut error = ApiError::already_exists(&resource.group, &resource.plural, &name);
            if existing.deleting {
                error.message = format!("object is being deleted: {}", error.message);
            }
            return Err(error);
        }
        strategy::warn(&resource, &object, options);
        let object = self.to_storage(target, object);
        if options.dry_run {
            return Ok(Arc::new(Object::new(object, 0, resource.revision)));
        }
        Ok(self.store.put(&resource.id, object, resource.revision))
    }

    /// Gives an object with `generateName` alone its name.
    fn name_object(&mut self, object: &mut Value) {
        let text =
            |object: &Value, field: &str| value::string(object, &["metadata", field]).unwrap_or_default().to_string();
        let base = text(object, "generateName");
        if base.is_empty() || !text(object, "name").is_empty() {
            return;
        }
        // Five characters follow, and the whole stays a label's length.
        let base: String = base.chars().take(58).collect();
        value::set(object, &["metadata", "name"], json!(format!("{base}{}", self.random.suffix())));
    }

    /// Changes an object. `transform` makes the new object out of the live one, both with kind
    /// and version of the request; `None` stands for an object that is not there.
    pub(crate) fn update_object(
        &mut self,
        target: &Target,
        options: &mut WriteOptions,
        made: Made,
        may_create: bool,
        transform: impl FnOnce(Option<&Value>) -> Result<Value, ApiError>,
    ) -> Result<Written, ApiError> {
        let resource = target.resource.clone();
        let live = match self.find(target) {
            Ok(live) => live,
            Err(error) if !may_create => return Err(error),
            Err(_) => {
                let mut object = transform(None)?;
                if let Some(uid) = value::string(&object, &["metadata", "uid"]).filter(|uid| !uid.is_empty()) {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(ApiError::conflict(&resource.group, &resource.plural, target.name(), &why));
                }
                if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("resourceVersion");
                }
                let object = self.create_object(target, object, options, made)?;
                return Ok(Written { object, created: true });
            }
        };
        let schema = &target.version.schema;
        let encoder = Encoder { resource: &resource, version: &target.version, output: Output::JSON, now: self.now };
        let old = encoder.value(&live);
        let mut new = transform(Some(&old))?;
        self.check_version(target, &live, &new)?;
        decodable(target, made, &new)?;
        schema.apply_defaults(&mut new);
        strategy::decode(&resource, &mut new);
        let mut structural = schema.validate(&new);
        if matches!(made, Made::Update | Made::Patch) {
            let time = stamp(self.now);
            apply::track_update(schema, Some(&old), &mut new, &manager_context(target, options, &time));
        }
        let mut errors = metadata::carry_over(&old, &mut new);
        let mut context = Context { core: self, target };
        strategy::prepare_update(&mut context, &old, &mut new);
        if context.status_write() {
            // What a status write leaves out stands as it stood.
            structural = schema.validate(&new);
        }
        errors.extend(strategy::validate(&context, Some(&old), &new));
        add_structural(&mut errors, structural, &resource);
        if !errors.is_empty() {
            return Err(ApiError::invalid(&resource.group, &resource.kind, target.name(), errors));
        }
        strategy::warn(&resource, &new, options);
        metadata::settle_managed_fields(&old, &mut new);
        let stale = resource.custom && live.revision != resource.revision;
        if value::equal(&old, &new) && !stale {
            return Ok(Written { object: live, created: false });
        }
        let finished = metadata::is_finished(&old, &new);
        let new = self.to_storage(target, new);
        if options.dry_run {
            return Ok(Written { object: Arc::new(Object::new(new, live.version, resource.revision)), created: false });
        }
        if finished {
            // The last finalizer went: the answer is the object as it was written last.
            self.store.remove(&resource.id, &live.key());
            let last = Arc::new(Object::new(new, live.version, resource.revision));
            return Ok(Written { object: last, created: false });
        }
        let object = self.store.put(&resource.id, new, resource.revision);
        Ok(Written { object, created: false })
    }

    /// Optimistic concurrency: the version that the new object names must be the live one.
    fn check_version(&self, target: &Target, live: &Object, new: &Value) -> Result<(), ApiError> {
        let resource = &target.resource;
        match value::string(new, &["metadata", "resourceVersion"]).unwrap_or_default() {
            "" | "0" if strategy::updates_unconditionally(resource) => Ok(()),
            "" | "0" => {
                let error =
                    FieldError::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
                Err(ApiError::invalid(&resource.group, &resource.plural, target.name(), vec![error]))
            }
            version if version == live.version.to_string() => Ok(()),
            _ => Err(ApiError::modified(&resource.group, &resource.plural, target.name())),
        }
    }

    /// An object as it is stored.
    fn to_storage(&self, target: &Target, mut object: Value) -> Value {
        if target.resource.needs_conversion(&target.version.name) {
            convert::to_storage(&target.resource.id, &target.version.name, &mut object);
        }
        object
    }

    /// What admission does to every new object: its namespace must be there and stay.
    fn admit_create(&mut self, target: &Target, object: &mut Value, name: &str) -> Result<(), ApiError> {
        let resource = &target.resource;
        if let Some(namespace) = &target.namespace {
            let Some(live) = self.store.get("namespaces", namespace) else {
                return Err(ApiError::not_found("", "namespaces", namespace));
            };
            if live.deleting {
                return Err(strategy::namespace_terminating(resource, namespace, name));
            }
        }
        strategy::admit_create(&mut Context { core: self, target }, object)
    }
}

/// The context in which managed fields are tracked.
fn manager_context<'a>(target: &'a Target, options: &'a WriteOptions, time: &'a str) -> ManagerContext<'a> {
    let subresource = target.subresource.as_deref().unwrap_or_default();
    ManagerContext { manager: &options.manager, api_version: &target.version.api_version, subresource, time }
}

/// Built-in kinds pass through typed structures: a value of the wrong type is no object of the
/// kind at all, which is refused before anything else is looked at.
fn decodable(target: &Target, made: Made, object: &Value) -> Result<(), ApiError> {
    let kind = &target.resource.kind;
    match target.version.schema.decode_error(object) {
        None => Ok(()),
        Some(why) if made == Made::Patch => Err(undecodable(object, &why)),
        Some(why) => Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {why}",
            target.version.name
        ))),
    }
}

/// Adds the schema's errors to those of the kind's rules, which know better of a field that both
/// complain of. Types of built-in kinds have been looked at before.
fn add_structural(errors: &mut Vec<FieldError>, structural: Vec<FieldError>, resource: &Resource) {
    for error in structural {
        let of_type = !resource.custom && error.reason == Reason::FieldValueTypeInvalid;
        if !of_type && !errors.iter().any(|known| known.field == error.field) {
            errors.push(error);
        }
    }
}

/// 422 for a patched object that is no object of its kind.
pub(super) fn undecodable(object: &Value, why: &str) -> ApiError {
    ApiError::invalid("", "", "", vec![FieldError::invalid("patch", &json!(object.to_string()), why)])
}

/// The precondition on the uid that an object or a patch carries.
pub(super) fn precondition(target: &Target, live: Option<&Value>, uid: Option<&str>) -> Result<(), ApiError> {
    let Some(uid) = uid else { return Ok(()) };
    let actual = live.and_then(|live| value::string(live, &["metadata", "uid"])).unwrap_or_default();
    if uid == actual {
        return Ok(());
    }
    let resource = &target.resource;
    let place = match &target.namespace {
        Some(namespace) => format!("{namespace}/{}", target.name()),
        None => target.name().to_string(),
    };
    let group = if resource.custom { format!("{}/", resource.group) } else { String::new() };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{group}{}/{place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}",
        resource.plural
    );
    Err(ApiError::conflict(&resource.group, &resource.plural, target.name(), &why))
}
