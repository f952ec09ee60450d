//! How answers are written: whole objects, `PartialObjectMetadata` or `Table`, as JSON or YAML.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::convert;
use super::error::ApiError;
use super::http::Response;
use super::registry::{Resource, Version};
use super::store::Object;
use super::table;
use super::time::Millis;

/// What of an object is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All of it.
    Object,
    /// `PartialObjectMetadata`.
    Partial,
    /// Rows of a `Table`.
    Table,
}

/// What the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// What of an object is answered.
    pub form: Form,
    /// YAML instead of JSON.
    pub yaml: bool,
    /// `includeObject` of a table.
    pub include: Include,
}

/// What comes with each row of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// The metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    None,
}

impl Output {
    /// JSON of whole objects.
    pub const JSON: Output = Output { form: Form::Object, yaml: false, include: Include::Metadata };

    /// The first of the accepted media types that can be written. Protobuf cannot, and clients
    /// that ask for it name JSON beside it.
    pub fn negotiate(accept: Option<&str>) -> Result<Output, ApiError> {
        let Some(accept) = accept.map(str::trim).filter(|accept| !accept.is_empty()) else { return Ok(Output::JSON) };
        let mut known = false;
        for clause in accept.split(',') {
            let mut parts = clause.split(';').map(str::trim);
            let yaml = match parts.next().unwrap_or_default() {
                "*/*" | "application/*" | "application/json" => false,
                "application/yaml" => true,
                _ => continue,
            };
            known = true;
            let (mut form, mut group, mut version) = ("", "meta.k8s.io", "v1");
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("as", value)) => form = value,
                    Some(("g", value)) => group = value,
                    Some(("v", value)) => version = value,
                    _ => {}
                }
            }
            let form = match form {
                "" => Form::Object,
                "PartialObjectMetadata" | "PartialObjectMetadataList" => Form::Partial,
                "Table" => Form::Table,
                _ => continue,
            };
            if group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1") {
                return Ok(Output { form, yaml, ..Output::JSON });
            }
        }
        if known {
            return Err(ApiError::not_acceptable(
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ));
        }
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let mut error = ApiError::not_acceptable(message);
        error.details = Some(json!({}));
        Err(error)
    }

    /// Reads `includeObject` of a table request.
    pub fn including(mut self, parameter: Option<&str>) -> Result<Self, ApiError> {
        self.include = match (self.form, parameter) {
            (Form::Table, Some("Object")) => Include::Object,
            (Form::Table, Some("None")) => Include::None,
            (Form::Table, Some(other)) if other != "Metadata" => {
                return Err(ApiError::bad_request(format!(
                    "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
                )));
            }
            _ => Include::Metadata,
        };
        Ok(self)
    }

    /// An answer of this JSON.
    pub fn respond(&self, status: u16, json: Bytes) -> Response {
        if !self.yaml {
            return Response::bytes(status, "application/json", json);
        }
        let value: Value = serde_json::from_slice(&json).unwrap_or(Value::Null);
        match serde_saphyr::to_string(&value) {
            Ok(text) => Response::bytes(status, "application/yaml", Bytes::from(text)),
            Err(error) => Response::json(500, &ApiError::internal(&error.to_string()).status()),
        }
    }
}

/// A view of one resource in one version: writes its objects.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// Whose objects.
    pub resource: &'a Resource,
    /// In which version.
    pub version: &'a Version,
    /// How.
    pub output: Output,
    /// The time that ages are counted to.
    pub now: Millis,
}

impl Encoder<'_> {
    /// The object's JSON without `kind` and `apiVersion`, in this version.
    fn body(&self, object: &Object) -> Bytes {
        if self.resource.needs_conversion(&self.version.name) {
            let mut value = object.value();
            convert::from_storage(&self.resource.id, &self.version.name, &mut value);
            return Bytes::from(value.to_string());
        }
        if self.resource.custom
            && (object.revision != self.resource.revision || self.version.name != self.resource.storage)
        {
            return Bytes::from(self.resource.refresh(object, self.version).to_string());
        }
        object.body().clone()
    }

    /// The object as a value with `kind` and `apiVersion`, in this version.
    pub fn value(&self, object: &Object) -> Value {
        let mut value: Value = serde_json::from_slice(&self.body(object)).expect("stored bytes are JSON");
        value["kind"] = json!(self.resource.kind);
        value["apiVersion"] = json!(self.api_version());
        value
    }

    fn api_version(&self) -> String {
        self.resource.api_version(&self.version.name)
    }

    fn prefixed(&self, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"kind":""#);
        out.extend_from_slice(self.resource.kind.as_bytes());
        out.extend_from_slice(br#"","apiVersion":""#);
        out.extend_from_slice(self.api_version().as_bytes());
        out.extend_from_slice(br#"","#);
        out.extend_from_slice(&body[1..]);
    }

    /// Appends one object in the form asked for; tables as a whole table of one row.
    pub fn object(&self, object: &Object, out: &mut Vec<u8>) {
        match self.output.form {
            Form::Object => self.prefixed(&self.body(object), out),
            Form::Partial => partial(object, out),
            Form::Table => self.table(&[object], &json!({ "resourceVersion": object.version.to_string() }), true, out),
        }
    }

    /// Appends a list; `metadata` is the list's.
    pub fn list(&self, objects: &[&Object], metadata: &Value, out: &mut Vec<u8>) {
        let (kind, api_version) = match self.output.form {
            Form::Table => return self.table(objects, metadata, true, out),
            Form::Partial => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_string()),
            Form::Object => (self.resource.list_kind.as_str(), self.api_version()),
        };
        out.extend_from_slice(
            format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#).as_bytes(),
        );
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match self.output.form {
                Form::Partial => partial(object, out),
                // Lists of built-in kinds leave the type to the list; custom resources repeat it.
                _ if self.resource.custom => self.prefixed(&self.body(object), out),
                _ => out.extend_from_slice(&self.body(object)),
            }
        }
        out.extend_from_slice(b"]}");
    }

    /// Appends a table; later events of a watch leave the column definitions out.
    pub fn table(&self, objects: &[&Object], metadata: &Value, columns: bool, out: &mut Vec<u8>) {
        let definitions = if columns { table::definitions(self.resource, self.version) } else { Value::Null };
        out.extend_from_slice(
            format!(r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{metadata},"columnDefinitions":{definitions},"rows":["#).as_bytes(),
        );
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let body = self.body(object);
            let value: Value = serde_json::from_slice(&body).expect("stored bytes are JSON");
            let row = table::row(self.resource, self.version, &value, self.now);
            out.extend_from_slice(format!(r#"{{"cells":{}"#, row.cells).as_bytes());
            if let Some(conditions) = row.conditions {
                out.extend_from_slice(format!(r#","conditions":{conditions}"#).as_bytes());
            }
            out.extend_from_slice(br#","object":"#);
            match self.output.include {
                Include::Metadata => partial(object, out),
                Include::Object => self.prefixed(&body, out),
                Include::None => out.extend_from_slice(b"null"),
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
}

/// Appends an object's metadata alone, copied from its bytes.
fn partial(object: &Object, out: &mut Vec<u8>) {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let head: Metadata = serde_json::from_slice(object.body()).expect("stored bytes are JSON with metadata");
    out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#);
    out.extend_from_slice(head.metadata.get().as_bytes());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writable_type_is_taken() {
        let form = |accept: &str| Output::negotiate(Some(accept)).map(|output| (output.form, output.yaml));
        assert_eq!(form("application/vnd.kubernetes.protobuf, */*"), Ok((Form::Object, false)));
        assert_eq!(form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Ok((Form::Table, false)));
        assert_eq!(form("application/yaml"), Ok((Form::Object, true)));
        assert_eq!(form("application/json;as=Nothing;g=meta.k8s.io;v=v1,application/json"), Ok((Form::Object, false)));
        assert_eq!(form("text/html").map_err(|error| error.code), Err(406));
    }
}
