//! From a plain manifest to a template: what must not travel is taken away and told, what cannot be
//! federated is refused with a way out.

mod nested;
#[cfg(test)]
mod tests;

use crate::travel::{IDENTITY, Mark, stays};
use hansa_model::{TypeName, canonical};
use nested::{strip_assigned, strip_nested};
use serde::Serialize;
use serde_json::{Map, Value};

/// Something that was taken away.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stripped {
    /// Where it was: `metadata.ownerReferences`.
    pub path: String,
    /// Why it does not travel.
    pub why: String,
}

/// A manifest or a type that cannot be federated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{object}: {field}: {message}")]
pub struct Refusal {
    /// The object, `Pod shop/web`, or the type, `pods`.
    pub object: String,
    /// The field at fault: `metadata.name`.
    pub field: String,
    /// Why, and what to do instead.
    pub message: String,
}

/// Kinds that mean something in one cluster alone: group, plural, kind, and what to do instead.
const BOUND_TO_A_CLUSTER: &[(&str, &str, &str, &str)] = &[
    (
        "",
        "pods",
        "Pod",
        "pods run where a workload of their member puts them: federate the Deployment, StatefulSet, DaemonSet or Job",
    ),
    ("", "events", "Event", "events tell what happened in one cluster: leave them out"),
    ("events.k8s.io", "events", "Event", "events tell what happened in one cluster: leave them out"),
    ("coordination.k8s.io", "leases", "Lease", "a lease is held by a process of one cluster: leave it out"),
    (
        "discovery.k8s.io",
        "endpointslices",
        "EndpointSlice",
        "each member makes the slices of its own Services: federate the Service",
    ),
];

const OWN_KIND: &str = "Hansa's own kinds are not federated again: leave it out";

/// The longest name of a resource, a kind and a label of a CRD's name.
const LONGEST_LABEL: usize = 63;

/// Above this an API server's store refuses the federated object (etcd's default limit is 1.5 MiB,
/// and the wrapping, status and managed fields need some of it).
const LARGEST_TEMPLATE: usize = 1_400_000;

/// The API server's limit for all values of a ConfigMap or Secret together.
const LARGEST_DATA: usize = 1 << 20;

fn is_own(group: &str) -> bool {
    group == "hansa.dev" || group.ends_with(".hansa.dev")
}

/// Whether objects of a type can be federated at all.
///
/// # Errors
/// For Hansa's own kinds, for kinds that are bound to one cluster, and when the generated CRD's name
/// would be too long.
pub fn federable(type_name: &TypeName) -> Result<(), Refusal> {
    let refuse = |message: &str| {
        Err(Refusal { object: format!("type {type_name}"), field: "resource".to_owned(), message: message.to_owned() })
    };
    let (group, resource) = (type_name.group(), type_name.resource());
    if is_own(group) {
        return refuse(OWN_KIND);
    }
    let bound = BOUND_TO_A_CLUSTER.iter().find(|(of, plural, ..)| (*of, *plural) == (group, resource));
    if let Some((.., mend)) = bound {
        return refuse(mend);
    }
    let plural = type_name.federated_plural();
    if plural.len() > LONGEST_LABEL {
        return refuse(&format!(
            "the generated plural `{plural}` has {} characters, and an API server takes at most {LONGEST_LABEL}: \
             federate the objects that this kind is made of, or give the kind a shorter plural",
            plural.len()
        ));
    }
    let crd = format!("{plural}.{}", type_name.federated_group());
    if crd.len() > 253 {
        return refuse(&format!(
            "the generated CRD's name `{crd}` has {} characters, and an API server takes at most 253: \
             federate the objects that this kind is made of, or give the group a shorter name",
            crd.len()
        ));
    }
    Ok(())
}

/// The template that a plain manifest gives, without its identity, and what was taken away.
///
/// An object that was exported from a cluster (it has a uid or a resourceVersion) also loses what
/// that cluster assigned to it: addresses, node ports, volume names, a Job's selector.
///
/// # Errors
/// When the object cannot be federated: it is no object, has no name, is bound to one cluster, is
/// made by a controller, or is too large.
pub fn strip(object: &Value) -> Result<(Value, Vec<Stripped>), Refusal> {
    let manifest = Manifest::read(object)?;
    manifest.check()?;
    let mut template = manifest.fields.clone();
    let mut stripped = Vec::new();
    let mut record = |path: &str, why: &str| {
        stripped.push(Stripped { path: path.to_owned(), why: why.to_owned() });
    };
    template.remove("apiVersion");
    template.remove("kind");
    if template.remove("status").is_some_and(|status| !is_empty(&status)) {
        record("status", "each member writes its own");
    }
    let metadata = strip_metadata(manifest.metadata, &mut record);
    template.remove("metadata");
    let mut template = Value::Object(template);
    if manifest.is_exported() {
        strip_assigned(&manifest, &mut template, &mut record);
    }
    strip_nested(&manifest, &mut template, &mut record);
    if !metadata.is_empty() {
        template["metadata"] = Value::Object(metadata);
    }
    manifest.check_size(&template)?;
    Ok((template, stripped))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A manifest with the parts that every check needs.
struct Manifest<'a> {
    fields: &'a Map<String, Value>,
    metadata: &'a Map<String, Value>,
    group: &'a str,
    kind: &'a str,
    name: &'a str,
    /// The object in words.
    object: String,
}

impl<'a> Manifest<'a> {
    fn read(object: &'a Value) -> Result<Self, Refusal> {
        let text = |path: &str| {
            let value = object.pointer(path).and_then(Value::as_str);
            value.unwrap_or_default()
        };
        let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let words = match (kind, text("/metadata/namespace"), name) {
            ("", ..) => "manifest".to_owned(),
            (kind, _, "") => kind.to_owned(),
            (kind, "", name) => format!("{kind} {name}"),
            (kind, namespace, name) => format!("{kind} {namespace}/{name}"),
        };
        let refuse = |field: &str, message: &str| {
            Err(Refusal { object: words.clone(), field: field.to_owned(), message: message.to_owned() })
        };
        if object.get("items").is_some_and(Value::is_array) && kind.ends_with("List") {
            return refuse("kind", "this is a list of objects: give its items one by one");
        }
        for (field, value) in [("apiVersion", api_version), ("kind", kind)] {
            if value.is_empty() {
                return refuse(field, "it is missing, and without it this is no Kubernetes object: add it");
            }
        }
        if name.is_empty() {
            return match text("/metadata/generateName") {
                "" => refuse("metadata.name", "it is missing: give the object a name"),
                _ => {
                    refuse("metadata.generateName", "each member would generate another name: give the object a `name`")
                }
            };
        }
        let metadata = object.get("metadata").and_then(Value::as_object);
        let (Some(fields), Some(metadata)) = (object.as_object(), metadata) else {
            unreachable!("a value with a name has fields and metadata");
        };
        Ok(Manifest {
            fields,
            metadata,
            group: api_version.split_once('/').map_or("", |(group, _)| group),
            kind,
            name,
            object: words,
        })
    }

    fn refuse(&self, field: &str, message: &str) -> Result<(), Refusal> {
        Err(Refusal { object: self.object.clone(), field: field.to_owned(), message: message.to_owned() })
    }

    fn check(&self) -> Result<(), Refusal> {
        if is_own(self.group) {
            return self.refuse("apiVersion", OWN_KIND);
        }
        let bound = BOUND_TO_A_CLUSTER.iter().find(|(group, _, kind, _)| (*group, *kind) == (self.group, self.kind));
        if let Some((.., mend)) = bound {
            return self.refuse("kind", mend);
        }
        if "Federated".len() + self.kind.len() > LONGEST_LABEL {
            return self.refuse(
                "kind",
                &format!(
                    "the generated kind `Federated{}` would have more than {LONGEST_LABEL} characters: \
                     federate the objects that this kind is made of",
                    self.kind
                ),
            );
        }
        self.check_name()?;
        self.check_maker()
    }

    fn check_name(&self) -> Result<(), Refusal> {
        // The limits that the API server has for names of these kinds, so that the federated object
        // is not taken at home and refused in every member.
        let (longest, why) = match (self.group, self.kind) {
            ("", "Namespace" | "Service") => (63, "is a DNS label"),
            ("batch", "CronJob") => (52, "is a prefix of its Jobs' names"),
            _ => (253, "is a DNS subdomain"),
        };
        if self.name.len() > longest {
            return self.refuse(
                "metadata.name",
                &format!(
                    "it has {} characters, and the name of a {} {why} of at most {longest}: shorten it",
                    self.name.len(),
                    self.kind
                ),
            );
        }
        Ok(())
    }

    /// Refuses what every member makes by itself.
    fn check_maker(&self) -> Result<(), Refusal> {
        let owners = self.metadata.get("ownerReferences").and_then(Value::as_array);
        let controller = owners.into_iter().flatten().find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
        if let Some(owner) = controller {
            let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or("…");
            return self.refuse(
                "metadata.ownerReferences",
                &format!(
                    "{} `{}` makes and controls this object: federate that, and each member makes its own",
                    text("kind"),
                    text("name")
                ),
            );
        }
        let secret_type = self.fields.get("type").and_then(Value::as_str);
        match (self.group, self.kind, self.name, secret_type) {
            ("", "Secret", _, Some("kubernetes.io/service-account-token")) => self.refuse(
                "type",
                "the token is good in one cluster alone: federate the ServiceAccount, and each member makes its own",
            ),
            ("", "Secret", _, Some("helm.sh/release.v1")) => {
                self.refuse("type", "it is Helm's own record of a release: federate what `helm template` prints")
            }
            ("", "ConfigMap", "kube-root-ca.crt", _) => self.refuse(
                "metadata.name",
                "each member makes its own, with the certificate of its own API server: leave it out",
            ),
            ("", "Service", "kubernetes", _)
                if self.metadata.get("namespace").and_then(Value::as_str) == Some("default") =>
            {
                self.refuse("metadata.name", "it is the API server of its own cluster: leave it out")
            }
            _ => Ok(()),
        }
    }

    fn check_size(&self, template: &Value) -> Result<(), Refusal> {
        if self.group.is_empty() && matches!(self.kind, "ConfigMap" | "Secret") {
            let mut values: Vec<(String, usize)> = Vec::new();
            for field in ["data", "stringData", "binaryData"] {
                let entries = template.get(field).and_then(Value::as_object);
                for (key, value) in entries.into_iter().flatten() {
                    let size = value.as_str().map_or(0, str::len);
                    let is_base64 = field == "binaryData" || (field, self.kind) == ("data", "Secret");
                    let size = if is_base64 { size / 4 * 3 } else { size };
                    values.push((format!("{field}[{key}]"), size));
                }
            }
            let total: usize = values.iter().map(|(_, size)| size).sum();
            let largest = values.iter().max_by_key(|(_, size)| *size);
            if let (true, Some((field, size))) = (total > LARGEST_DATA, largest) {
                return self.refuse(
                    field,
                    &format!(
                        "it has {size} bytes of {total}, and an API server takes at most {LARGEST_DATA} in a {}: \
                         split the object, or keep large files in an image or a volume",
                        self.kind
                    ),
                );
            }
        }
        let size = canonical::to_vec(template).len();
        if size > LARGEST_TEMPLATE {
            return self.refuse(
                "spec",
                &format!(
                    "the object has {size} bytes, and at most {LARGEST_TEMPLATE} fit into an API server's store \
                     with what is put around it: split it"
                ),
            );
        }
        Ok(())
    }

    fn is_exported(&self) -> bool {
        ["uid", "resourceVersion"].iter().any(|field| self.metadata.get(*field).is_some_and(|value| !is_empty(value)))
    }
}

/// The labels and annotations that travel.
fn strip_metadata(metadata: &Map<String, Value>, record: &mut impl FnMut(&str, &str)) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, value) in metadata {
        let mark = match name.as_str() {
            "labels" => Mark::Label,
            "annotations" => Mark::Annotation,
            name if IDENTITY.contains(&name) => continue,
            name => {
                if !is_empty(value) {
                    record(&format!("metadata.{name}"), "it belongs to one object in one cluster");
                }
                continue;
            }
        };
        let mut marks = Map::new();
        for (key, value) in value.as_object().into_iter().flatten() {
            match stays(mark, key, value.as_str()) {
                Some(why) => record(&format!("metadata.{name}[{key}]"), why),
                None => {
                    marks.insert(key.clone(), value.clone());
                }
            }
        }
        if !marks.is_empty() {
            kept.insert(name.clone(), Value::Object(marks));
        }
    }
    kept
}
