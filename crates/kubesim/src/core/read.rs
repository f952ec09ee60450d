//! Reading: one object, and lists that are consistent over their pages.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Core;
use super::encode::{Encoder, Form, Output};
use super::error::ApiError;
use super::fields;
use super::http::{Request, Response};
use super::registry::Resource;
use super::route::Target;
use super::selector::{FieldSelector, LabelSelector};
use super::store::{self, Object};
use crate::schema::FieldError;

/// What a list or watch selects, and from when.
#[derive(Clone, Debug)]
pub struct Query {
    /// `labelSelector`.
    pub labels: LabelSelector,
    /// `fieldSelector`, with the name of the path if it has one.
    pub fields: FieldSelector,
    /// `resourceVersion`.
    pub version: Option<u64>,
    /// `resourceVersionMatch`.
    pub version_match: Option<String>,
    /// `limit`; 0 is none.
    pub limit: usize,
}

/// Whether an object is selected.
pub fn matches(resource: &Resource, query: &Query, object: &Object) -> bool {
    query.labels.matches(&object.labels)
        && (query.fields.is_empty() || fields::matches(resource, &query.fields, object))
}

impl Query {
    /// Reads and checks the parameters of a list or watch.
    pub fn read(request: &Request, target: &Target) -> Result<Self, ApiError> {
        let labels = LabelSelector::parse(request.parameter("labelSelector").unwrap_or_default())?;
        let mut text = request.parameter("fieldSelector").unwrap_or_default().to_string();
        if let Some(name) = &target.name {
            text = format!("{text},metadata.name={name}");
        }
        let fields = FieldSelector::parse(&text)?;
        fields::check(&target.resource, &target.version, &fields)?;
        check_options(request)?;
        let limit = match request.parameter("limit") {
            Some(text) => text
                .parse::<i64>()
                .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?,
            None => 0,
        };
        let version = match request.parameter("resourceVersion") {
            Some(text) => Some(parse_version(text).map_err(|why| match request.flag("watch") {
                true => ApiError::unclassified(why),
                false => ApiError::bad_request(format!("invalid resource version: {why}")),
            })?),
            None => None,
        };
        Ok(Query {
            labels,
            fields,
            version,
            version_match: request.parameter("resourceVersionMatch").map(String::from),
            limit: usize::try_from(limit).unwrap_or(0),
        })
    }
}

fn parse_version(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
    })
}

/// The combinations that `metav1.ListOptions` forbids.
fn check_options(request: &Request) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let mut forbid = |field: &str, detail: &str| errors.push(FieldError::forbidden(field, detail));
    let version_match = request.parameter("resourceVersionMatch");
    let paging = request.parameter("continue").is_some();
    let sends_initial = request.parameter("sendInitialEvents").is_some();
    let field = "resourceVersionMatch";
    let mut supported: &[&str] = &["Exact", "NotOlderThan", ""];
    if request.flag("watch") {
        supported = &["NotOlderThan"];
        if sends_initial && version_match != Some("NotOlderThan") {
            forbid(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if version_match.is_some() && !sends_initial {
            forbid(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
        }
    } else {
        if version_match.is_some() && request.parameter("resourceVersion").is_none() {
            forbid(field, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if version_match.is_some() && paging {
            forbid(field, "resourceVersionMatch is forbidden when continue is provided");
        }
        if version_match == Some("Exact") && request.parameter("resourceVersion") == Some("0") {
            forbid(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if sends_initial {
            forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
    }
    if let Some(wish) = version_match
        && !supported.contains(&wish)
    {
        errors.push(FieldError::not_supported(field, &json!(wish), supported));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", errors)) }
}

/// Where the next page starts, as kube-apiserver encodes it.
#[derive(Serialize, Deserialize)]
struct Continue {
    v: String,
    rv: i64,
    start: String,
}

const FORGOTTEN_PAGE: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Continue {
    /// The key that the page before ended with. Tokens hold the key relative to the collection
    /// or the namespace, with a zero byte to start after it.
    fn after(&self, namespace: Option<&str>) -> String {
        let start = self.start.trim_start_matches('/').trim_end_matches('\0');
        namespace.map_or_else(|| start.to_string(), |namespace| format!("{namespace}/{start}"))
    }

    fn write(version: i64, key: &str, namespace: Option<&str>) -> String {
        let relative = namespace.and_then(|namespace| key.strip_prefix(namespace)?.strip_prefix('/')).unwrap_or(key);
        let token = Continue { v: "meta.k8s.io/v1".into(), rv: version, start: format!("{relative}\0") };
        URL_SAFE_NO_PAD.encode(json!(token).to_string())
    }

    fn read(text: &str) -> Result<Self, ApiError> {
        let invalid =
            |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| invalid(&error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))
    }
}

impl Core {
    /// `GET` of one object.
    pub(super) fn get(&mut self, request: &Request, target: &Target) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?.including(request.parameter("includeObject"))?;
        if let Some(text) = request.parameter("resourceVersion") {
            let version = parse_version(text).map_err(ApiError::unclassified)?;
            if version > self.store.version() {
                return Err(ApiError::version_too_large(version, self.store.version()));
            }
        }
        let object = self.find(target)?;
        Ok(self.respond(target, output, 200, &object))
    }

    /// The object that a target names.
    pub(super) fn find(&self, target: &Target) -> Result<Arc<Object>, ApiError> {
        let key = store::key(target.namespace.as_deref(), target.name());
        self.store.get(&target.resource.id, &key).cloned().ok_or_else(|| target.not_found())
    }

    /// An answer that is one object.
    pub(super) fn respond(&self, target: &Target, output: Output, status: u16, object: &Object) -> Response {
        let encoder = Encoder { resource: &target.resource, version: &target.version, output, now: self.now };
        let mut out = Vec::with_capacity(object.body().len() + 100);
        encoder.object(object, &mut out);
        output.respond(status, Bytes::from(out))
    }

    /// `GET` of a collection.
    pub(super) fn list(&mut self, request: &Request, target: &Target) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?.including(request.parameter("includeObject"))?;
        let query = Query::read(request, target)?;
        let mut selection = self.select(request, target, &query)?;
        if target.resource.custom && output.form != Form::Table && selection.metadata.get("continue").is_none() {
            // Lists without Go types of their own do not leave empty fields out.
            selection.metadata["continue"] = json!("");
        }
        let objects: Vec<&Object> = selection.objects.iter().map(|object| &**object).collect();
        let encoder = Encoder { resource: &target.resource, version: &target.version, output, now: self.now };
        let mut out = Vec::with_capacity(objects.iter().map(|object| object.body().len() + 1).sum::<usize>() + 200);
        encoder.list(&objects, &selection.metadata, &mut out);
        Ok(output.respond(200, Bytes::from(out)))
    }

    /// The page of objects that a list or a deletion of a collection asks for.
    pub(super) fn select(&self, request: &Request, target: &Target, query: &Query) -> Result<Selection, ApiError> {
        let page = self.page(request, target, query)?;
        let selects = !query.labels.is_empty() || !query.fields.is_empty();
        let mut metadata = json!({ "resourceVersion": page.version.to_string() });
        let mut objects: Vec<Arc<Object>> = Vec::new();
        let mut rest = 0;
        let mut last = None;
        for object in &page.objects {
            if page.limit > 0 && objects.len() == page.limit {
                // With a selector nobody looks further: there may be more, and none of it selected.
                rest += 1;
                if selects {
                    break;
                }
            } else if matches(&target.resource, query, object) {
                last = Some(object.key());
                objects.push(object.clone());
            }
        }
        if let (Some(last), true) = (last, rest > 0) {
            metadata["continue"] = json!(Continue::write(page.version as i64, &last, target.namespace.as_deref()));
            if !selects {
                metadata["remainingItemCount"] = json!(rest);
            }
        }
        Ok(Selection { objects, metadata })
    }

    fn page(&self, request: &Request, target: &Target, query: &Query) -> Result<Page, ApiError> {
        let namespace = target.namespace.as_deref();
        let id = &target.resource.id;
        let current = self.store.version();
        if let Some(token) = request.parameter("continue") {
            let token = Continue::read(token)?;
            if query.version.is_some_and(|version| version > 0) {
                return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
            }
            let after = token.after(namespace);
            // A negative version asks for the inconsistent rest that an expired list offers.
            let version = u64::try_from(token.rv).unwrap_or(current);
            let objects = self.store.list_at(id, namespace, Some(&after), version).map_err(|_| {
                let mut error = ApiError::expired(FORGOTTEN_PAGE);
                error.resume = Some(Continue::write(-1, &after, namespace));
                error
            })?;
            return Ok(Page { objects, version, limit: query.limit });
        }
        let asked = query.version.unwrap_or(0);
        if asked > current {
            return Err(ApiError::version_too_large(asked, current));
        }
        // Before `resourceVersionMatch` was made, a limit asked for exactly this version.
        let exact = query.version_match.as_deref() == Some("Exact")
            || (query.version_match.is_none() && query.limit > 0 && asked > 0);
        let version = if exact { asked } else { current };
        let objects = self
            .store
            .list_at(id, namespace, None, version)
            .map_err(|_| ApiError::expired("The resourceVersion for the provided list is too old."))?;
        // Any version will do for 0, which is answered from a cache that knows no pages.
        let limit = if query.version == Some(0) { 0 } else { query.limit };
        Ok(Page { objects, version, limit })
    }
}

/// Objects, and what the list of them says of itself.
pub(super) struct Selection {
    /// The objects, in the order of lists.
    pub objects: Vec<Arc<Object>>,
    /// The list's metadata.
    pub metadata: Value,
}

struct Page {
    objects: Vec<Arc<Object>>,
    version: u64,
    limit: usize,
}
