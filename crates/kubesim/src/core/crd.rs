//! CustomResourceDefinitions become resources: names are accepted, versions served, and objects
//! go with their definition.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Core;
use super::registry::{CustomVersion, Resource, Version, priority};
use super::store::Change;
use super::strategy::set_condition;
use super::time::Millis;
use crate::schema::{Scale, Schema, Subresource, Subresources};
use crate::value;

/// Where definitions are stored.
pub const ID: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// The finalizer that keeps a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

impl Core {
    /// Serves, changes or withdraws the resource of a definition that changed.
    pub(super) fn register_custom(&mut self, change: &Arc<Change>) {
        let definition = change.object.value();
        let text = |path: &[&str]| value::string(&definition, path).unwrap_or_default();
        let (group, plural) = (text(&["spec", "group"]), text(&["spec", "names", "plural"]));
        self.openapi.forget(group);
        if change.deleted {
            self.registry.remove_custom(group, plural);
            return;
        }
        let established = super::strategy::condition(&definition, "Established")
            .is_some_and(|found| found["status"] == json!("True"));
        if established && let Some(resource) = resource_of(&definition) {
            self.store.begin(&resource.id);
            self.registry.set_custom(resource);
        }
    }

    /// The step of the controller that establishes a definition: returns its new status, if it
    /// changes.
    pub(crate) fn establish(&self, definition: &Value) -> Option<Value> {
        let mut next = definition.clone();
        let text = |path: &[&str]| value::string(definition, path).unwrap_or_default();
        let group = text(&["spec", "group"]);
        let own = text(&["metadata", "name"]);
        let names = &definition["spec"]["names"];
        let mut taken: Vec<Value> = Vec::new();
        let mut kinds: Vec<Value> = Vec::new();
        for other in self.store.list(ID, None).filter(|other| other.name != own) {
            let other = other.value();
            let accepted = &other["status"]["acceptedNames"];
            if value::string(&other, &["spec", "group"]) != Some(group) {
                continue;
            }
            taken.extend(value::list(accepted, &["shortNames"]).iter().cloned());
            taken.extend([accepted["plural"].clone(), accepted["singular"].clone()]);
            kinds.extend([accepted["kind"].clone(), accepted["listKind"].clone()]);
        }
        // Each name is accepted by itself; the last that is not gives the reason.
        let mut problem = None;
        let mut accepted = definition["status"]["acceptedNames"].clone();
        for (field, used, reason) in [
            ("plural", &taken, "PluralConflict"),
            ("singular", &taken, "SingularConflict"),
            ("shortNames", &taken, "ShortNamesConflict"),
            ("kind", &kinds, "KindConflict"),
            ("listKind", &kinds, "ListKindConflict"),
        ] {
            let wish = &names[field];
            let clash = match wish {
                Value::Array(list) => list.iter().find(|name| used.contains(name)),
                name => Some(name).filter(|name| !name.is_null() && used.contains(name)),
            };
            match clash {
                Some(name) => problem = Some((reason, format!("{name} is already in use"))),
                None if wish.is_null() => drop(value::remove(&mut accepted, &[field])),
                None => value::set(&mut accepted, &[field], wish.clone()),
            }
        }
        match &names["categories"] {
            Value::Null => drop(value::remove(&mut accepted, &["categories"])),
            categories => value::set(&mut accepted, &["categories"], categories.clone()),
        }
        value::set(&mut next, &["status", "acceptedNames"], accepted);
        match problem {
            Some((reason, message)) => {
                set_condition(&mut next, "NamesAccepted", false, reason, &message, self.now);
                let message = "not all names are accepted";
                set_condition(&mut next, "Established", false, "NotAccepted", message, self.now);
            }
            None => {
                set_condition(&mut next, "NamesAccepted", true, "NoConflicts", "no conflicts found", self.now);
                let message = "the initial names have been accepted";
                set_condition(&mut next, "Established", true, "InitialNamesAccepted", message, self.now);
            }
        }
        let stored =
            value::list(definition, &["spec", "versions"]).iter().find(|version| version["storage"] == json!(true));
        if let Some(name) = stored.map(|version| version["name"].clone()) {
            let versions =
                value::object_at(&mut next, &["status"]).entry("storedVersions").or_insert_with(|| json!([]));
            if let Some(list) = versions.as_array_mut()
                && !list.contains(&name)
            {
                list.push(name);
            }
        }
        (!value::equal(definition, &next)).then_some(next)
    }
}

/// Marks a definition whose deletion begins: its objects come first.
pub fn begin_deletion(definition: &mut Value, now: Millis) {
    if value::get(definition, &["metadata", "deletionTimestamp"]).is_some() {
        return;
    }
    let finalizers = value::object_at(definition, &["metadata"]).entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = finalizers.as_array_mut()
        && !list.contains(&json!(FINALIZER))
    {
        list.push(json!(FINALIZER));
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(definition, "Terminating", true, "InstanceDeletionPending", message, now);
}

/// The resource that a definition describes; `None` for one whose schema is not structural,
/// which validation refused.
fn resource_of(definition: &Value) -> Option<Resource> {
    let spec = &definition["spec"];
    let text = |path: &[&str]| value::string(spec, path).unwrap_or_default().to_string();
    let list =
        |path: &[&str]| value::list(spec, path).iter().filter_map(Value::as_str).map(String::from).collect::<Vec<_>>();
    let group = text(&["group"]);
    let kind = text(&["names", "kind"]);
    let preserve = spec["preserveUnknownFields"] == json!(true);
    let mut versions = Vec::new();
    let mut storage = None;
    for entry in value::list(spec, &["versions"]) {
        let version = version_of(&group, &kind, entry, preserve)?;
        if entry["storage"] == json!(true) {
            storage = Some((version.name.clone(), version.schema.clone()));
        }
        if entry["served"] == json!(true) {
            versions.push(Arc::new(version));
        }
    }
    versions.sort_by_key(|version: &Arc<Version>| priority(&version.name));
    advise(&mut versions, &group, &kind);
    let (storage, storage_schema) = storage?;
    let plural = text(&["names", "plural"]);
    Some(Resource {
        id: super::error::qualified(&group, &plural).into(),
        singular: text(&["names", "singular"]),
        list_kind: text(&["names", "listKind"]),
        short_names: list(&["names", "shortNames"]),
        categories: list(&["names", "categories"]),
        namespaced: text(&["scope"]) == "Namespaced",
        storage,
        versions,
        custom: true,
        definition: value::string(definition, &["metadata", "uid"]).unwrap_or_default().to_owned(),
        revision: value::integer(definition, &["metadata", "generation"])
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0),
        terminating: value::get(definition, &["metadata", "deletionTimestamp"]).is_some(),
        storage_schema,
        group,
        plural,
        kind,
    })
}

/// The warning of a deprecated version that brings none of its own: use the best one that is not
/// deprecated.
fn advise(versions: &mut [Arc<Version>], group: &str, kind: &str) {
    let deprecated = |version: &Version| version.custom.as_ref().is_some_and(|custom| custom.deprecation.is_some());
    let best = versions.iter().find(|version| !deprecated(version)).map(|version| version.name.clone());
    for version in versions.iter_mut() {
        let version = Arc::make_mut(version);
        let Some(custom) = version.custom.as_mut() else { continue };
        if custom.deprecation.as_deref() == Some("") {
            let advice = best.as_ref().map(|best| format!("; use {group}/{best} {kind}")).unwrap_or_default();
            custom.deprecation = Some(format!("{group}/{} {kind} is deprecated{advice}", version.name));
        }
    }
}

fn version_of(group: &str, kind: &str, entry: &Value, preserve: bool) -> Option<Version> {
    let name = entry["name"].as_str()?.to_string();
    let openapi = value::get(entry, &["schema", "openAPIV3Schema"]).cloned().unwrap_or_default();
    let mut schema = match preserve || openapi.is_null() {
        true => Schema::free_form(),
        false => Schema::from_crd(&openapi).ok()?,
    };
    let mut listed = Vec::new();
    let verbs = || ["get", "patch", "update"].map(String::from).to_vec();
    let status = value::get(entry, &["subresources", "status"]).is_some_and(Value::is_object);
    if status {
        schema = schema.with_status_subresource();
        listed.push(Subresource {
            name: "status".into(),
            group: group.into(),
            version: name.clone(),
            kind: kind.into(),
            verbs: verbs(),
        });
    }
    let scale = value::get(entry, &["subresources", "scale"]).filter(|scale| scale.is_object()).map(|scale| {
        let path = |field: &str| scale[field].as_str().unwrap_or_default().to_string();
        let selector = Some(path("labelSelectorPath")).filter(|path| !path.is_empty());
        Scale { spec_path: path("specReplicasPath"), status_path: path("statusReplicasPath"), selector_path: selector }
    });
    if scale.is_some() {
        listed.push(Subresource {
            name: "scale".into(),
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            verbs: verbs(),
        });
    }
    let deprecated = (entry["deprecated"] == json!(true))
        .then(|| entry["deprecationWarning"].as_str().unwrap_or_default().to_string());
    let selectable = value::list(entry, &["selectableFields"])
        .iter()
        .filter_map(|field| Some(field["jsonPath"].as_str()?.trim_start_matches('.').to_string()))
        .collect();
    Some(Version {
        api_version: crate::schema::api_version(group, &name),
        name,
        schema,
        verbs: VERBS.map(String::from).to_vec(),
        subresources: Subresources { status, scale, listed },
        custom: Some(CustomVersion {
            columns: value::list(entry, &["additionalPrinterColumns"]).to_vec(),
            selectable,
            deprecation: deprecated,
            openapi,
        }),
    })
}
