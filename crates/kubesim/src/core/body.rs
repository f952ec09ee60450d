//! Bodies: JSON and YAML into values, with the fields that are given twice, and the agreement of
//! what they say of themselves with the path.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::http::Request;
use super::options::{FieldValidation, WriteOptions, media_type};
use super::protobuf;
use super::route::Target;
use crate::schema::FieldError;
use crate::value;

/// Objects above this size are refused, as kube-apiserver does.
const LIMIT: usize = 3 * 1024 * 1024;

/// A decoded body.
#[derive(Debug, Default)]
pub struct Body {
    /// The value.
    pub value: Value,
    /// Paths of fields that are given twice.
    pub duplicates: Vec<String>,
}

/// Decodes a body whose media type says how; absent means JSON.
pub fn decode(request: &Request, kind: &str) -> Result<Body, ApiError> {
    if request.body.len() > LIMIT {
        return Err(ApiError::too_large(format!("limit is {LIMIT}")));
    }
    match media_type(request.content_type.as_deref().unwrap_or_default()) {
        "" | "application/json" | "*/*" => json(&request.body, kind),
        "application/yaml" => yaml(&request.body),
        protobuf::MEDIA_TYPE => protobuf::decode(&request.body).map(|value| Body { value, duplicates: Vec::new() }),
        _ => Err(ApiError::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// Decodes JSON; `kind` is for the message.
pub fn json(bytes: &[u8], kind: &str) -> Result<Body, ApiError> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Node { path: String::new(), duplicates: &mut duplicates };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value)).map_err(|error| {
        let start = shown(bytes);
        let why = if error.is_eof() { "unexpected end of JSON input".to_string() } else { error.to_string() };
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} ({start})"
        ))
    })?;
    Ok(Body { value, duplicates })
}

/// The start of a body in a message: as text if it looks like JSON, else in hexadecimal digits.
fn shown(bytes: &[u8]) -> String {
    const LENGTH: usize = 30;
    let more = if bytes.len() > LENGTH { " ..." } else { "" };
    let start = &bytes[..bytes.len().min(LENGTH)];
    match bytes.first() {
        None => "<empty>".to_string(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => format!("{}{more}", start.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// Decodes YAML (which JSON is, too).
pub fn yaml(bytes: &[u8]) -> Result<Body, ApiError> {
    if let Ok(body) = json(bytes, "object") {
        return Ok(body);
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))?;
    let value =
        serde_saphyr::from_str(text).map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))?;
    Ok(Body { value, duplicates: Vec::new() })
}

impl Body {
    /// Checks what the object says of itself against the path, fills in what it leaves out, and
    /// deals with fields that are unknown or given twice as the options say.
    pub fn into_object(self, target: &Target, options: &mut WriteOptions) -> Result<Value, ApiError> {
        let mut object = self.value;
        let resource = &target.resource;
        if !object.is_object() {
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): not an object",
                resource.kind
            )));
        }
        fill_type(&mut object, target)?;
        let mut unknown = target.version.schema.prune(&mut object);
        if resource.custom {
            unknown.sort();
        }
        let mut problems: Vec<String> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
        problems.extend(self.duplicates.iter().map(|path| format!("duplicate field {path:?}")));
        match options.validation {
            FieldValidation::Strict if !problems.is_empty() => {
                let strict = format!("strict decoding error: {}", problems.join(", "));
                return Err(ApiError::bad_request(format!(
                    "{} in version {:?} cannot be handled as a {}: {strict}",
                    resource.kind, target.version.name, resource.kind
                )));
            }
            FieldValidation::Warn => problems.into_iter().for_each(|problem| options.warn(problem)),
            _ => {}
        }
        fill_namespace(&mut object, target)?;
        Ok(object)
    }
}

/// Checks `kind` and `apiVersion`, or sets them where they are absent.
pub fn fill_type(object: &mut Value, target: &Target) -> Result<(), ApiError> {
    let resource = &target.resource;
    let expected = resource.api_version(&target.version.name);
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    if !kind.is_empty() && kind != resource.kind {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let group = target.resource.group.split('.').next().unwrap_or_default();
        let internal = if group.is_empty() { "core" } else { group };
        if resource.custom {
            let name = value::string(object, &["metadata", "name"]).unwrap_or_default();
            let error = FieldError::invalid("kind", &Value::String(kind), &format!("must be {}", resource.kind));
            return Err(ApiError::invalid(&resource.group, &resource.kind, name, vec![error]));
        }
        return Err(ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: converting ({version}.{kind}) to ({internal}.{}): unknown conversion",
            resource.kind, resource.kind
        )));
    }
    if !api_version.is_empty() && api_version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    object["kind"] = Value::String(resource.kind.clone());
    object["apiVersion"] = Value::String(expected);
    Ok(())
}

/// Checks `metadata.namespace`, or sets it where it is absent.
pub fn fill_namespace(object: &mut Value, target: &Target) -> Result<(), ApiError> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = Value::Object(Map::new());
    }
    let metadata = object["metadata"].as_object_mut().expect("made an object above");
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    match &target.namespace {
        Some(namespace) if given.is_empty() => {
            metadata.insert("namespace".into(), Value::String(namespace.clone()));
        }
        Some(namespace) if given != namespace => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        None if given.is_empty() => {
            metadata.remove("namespace");
        }
        // Of cluster-scoped objects the namespace is dropped.
        None => {
            metadata.remove("namespace");
        }
        Some(_) => {}
    }
    Ok(())
}

/// Reads any value, noting fields that an object has twice; the last one counts.
struct Node<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // Whole numbers are integers, however they are written.
        Ok(if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
            (value as i64).into()
        } else {
            value.into()
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, items.len());
            match access.next_element_seed(Node { path, duplicates: &mut *self.duplicates })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            let value = access.next_value_seed(Node { path: path.clone(), duplicates: &mut *self.duplicates })?;
            if fields.insert(name, value).is_some() {
                self.duplicates.push(path);
            }
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_given_twice_are_noted() {
        let body = json(br#"{"a": 1, "b": [{"c": 1, "c": 2}], "a": 3}"#, "Thing").expect("JSON");
        assert_eq!(body.duplicates, ["b[0].c", "a"]);
        assert_eq!(body.value, serde_json::json!({"a": 3, "b": [{"c": 2}]}));
    }

    #[test]
    fn yaml_is_read() {
        let body = yaml(b"a: 1\nb:\n- c: x\n").expect("YAML");
        assert_eq!(body.value, serde_json::json!({"a": 1, "b": [{"c": "x"}]}));
        assert!(yaml(b"a: [").is_err());
    }
}
