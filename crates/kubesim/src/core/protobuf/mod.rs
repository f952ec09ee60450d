//! Bodies in protobuf, which Go's typed clients send for built-in kinds. Answers are JSON: those
//! clients name it in `Accept`, too. The one document that they take in no other form is OpenAPI v2
//! ([`openapi`]).
//!
//! How messages are numbered is read from `messages.json.zst`, which `extract.go` makes from the
//! tags of the Go types.

pub mod openapi;
mod wire;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::time;
use wire::{Content, Reader};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

static DATA: &[u8] = include_bytes!("messages.json.zst");

#[derive(Deserialize)]
struct Messages {
    messages: BTreeMap<String, Vec<Field>>,
    kinds: BTreeMap<String, String>,
}

/// Number, JSON name (empty for one whose fields are its holder's), type, flags.
#[derive(Deserialize)]
struct Field(u64, String, String, String);

impl Field {
    fn has(&self, flag: char) -> bool {
        self.3.contains(flag)
    }
}

fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let text = zstd::decode_all(DATA).expect("the embedded message numbers decompress");
        serde_json::from_slice(&text).expect("the embedded message numbers are JSON")
    })
}

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Malformed {
    #[error("it does not begin with k8s\\0")]
    Magic,
    #[error("it ends within a field")]
    Short,
    #[error("field {0} has a wire type that nothing uses")]
    WireType(u64),
    #[error("a field of type {0} has the wrong wire type")]
    Mismatch(String),
    #[error("it is encoded as {0:?}, which nothing here reads")]
    Encoding(String),
    #[error("the kind {0} has no protobuf form")]
    Kind(String),
    #[error("a raw field is not JSON")]
    Raw,
}

/// Decodes a body into the JSON that it stands for.
pub fn decode(bytes: &[u8]) -> Result<Value, ApiError> {
    envelope(bytes).map_err(|error| ApiError::bad_request(format!("the body is no protobuf object: {error}")))
}

fn envelope(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader::new(bytes.strip_prefix(MAGIC).ok_or(Malformed::Magic)?);
    let (mut api_version, mut kind, mut raw): (String, String, &[u8]) = Default::default();
    while let Some((number, content)) = reader.next()? {
        match (number, content) {
            (1, Content::Bytes(of_type)) => {
                let mut reader = Reader::new(of_type);
                while let Some((number, content)) = reader.next()? {
                    match number {
                        1 => api_version = text(&content)?,
                        2 => kind = text(&content)?,
                        _ => {}
                    }
                }
            }
            (2, Content::Bytes(body)) => raw = body,
            (3, content) => {
                let encoding = text(&content)?;
                if !encoding.is_empty() {
                    return Err(Malformed::Encoding(encoding));
                }
            }
            _ => {}
        }
    }
    let known = messages();
    // Every group version knows DeleteOptions.
    let of = if kind == "DeleteOptions" { "meta.k8s.io/v1" } else { &api_version };
    let name =
        known.kinds.get(&format!("{of}/{kind}")).ok_or_else(|| Malformed::Kind(format!("{api_version} {kind}")))?;
    let mut object = message(name, raw)?;
    object.insert("apiVersion".into(), json!(api_version));
    object.insert("kind".into(), json!(kind));
    Ok(Value::Object(object))
}

fn text(content: &Content<'_>) -> Result<String, Malformed> {
    match content {
        Content::Bytes(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        _ => Err(Malformed::Mismatch("string".into())),
    }
}

fn message(name: &str, bytes: &[u8]) -> Result<Map<String, Value>, Malformed> {
    let mut object = Map::new();
    let Some(fields) = messages().messages.get(name) else { return Ok(object) };
    let mut reader = Reader::new(bytes);
    while let Some((number, content)) = reader.next()? {
        // Fields of a newer release are unknown, and left out as an older server does.
        let Some(field) = fields.iter().find(|field| field.0 == number) else { continue };
        if field.1.is_empty() {
            let Content::Bytes(inner) = content else { return Err(Malformed::Mismatch(field.2.clone())) };
            object.extend(message(&field.2, inner)?);
        } else if field.has('m') {
            let (key, value) = entry(&field.2, &content)?;
            if let Some(map) = object.entry(&field.1).or_insert_with(|| json!({})).as_object_mut() {
                map.insert(key, value);
            }
        } else if field.has('r') {
            let value = single(&field.2, &content)?;
            if let Some(list) = object.entry(&field.1).or_insert_with(|| json!([])).as_array_mut() {
                list.push(value);
            }
        } else {
            let value = single(&field.2, &content)?;
            if field.has('p') || !(field.has('o') && is_zero(&value)) {
                object.insert(field.1.clone(), value);
            }
        }
    }
    Ok(object)
}

/// What `omitempty` leaves out. (Empty structures stay: Go writes them.)
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn entry(of: &str, content: &Content<'_>) -> Result<(String, Value), Malformed> {
    let Content::Bytes(bytes) = content else { return Err(Malformed::Mismatch(of.into())) };
    let mut reader = Reader::new(bytes);
    let mut key = String::new();
    // An entry whose value is empty leaves it out.
    let mut value = single(of, &Content::Bytes(&[])).unwrap_or(Value::Null);
    while let Some((number, content)) = reader.next()? {
        match number {
            1 => key = text(&content)?,
            2 => value = single(of, &content)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn single(of: &str, content: &Content<'_>) -> Result<Value, Malformed> {
    let mismatch = || Malformed::Mismatch(of.into());
    match (of, content) {
        ("bool", Content::Number(number)) => return Ok(json!(*number != 0)),
        // Negative numbers are sent as 64 bits, in two's complement.
        ("int", Content::Number(number)) => return Ok(json!(number.cast_signed())),
        ("double", Content::Fixed(bits)) => return Ok(json!(f64::from_bits(*bits))),
        _ => {}
    }
    let Content::Bytes(bytes) = content else { return Err(mismatch()) };
    match of {
        "bool" | "int" | "double" => Err(mismatch()),
        "string" => Ok(json!(String::from_utf8_lossy(bytes))),
        "bytes" => Ok(json!(STANDARD.encode(bytes))),
        "quantity" => first(bytes)
            .and_then(|content| content.map_or(Ok(String::new()), |content| text(&content)))
            .map(Value::from),
        "time" | "microtime" => moment(bytes, of == "microtime"),
        "intorstring" => int_or_string(bytes),
        "raw" => match first(bytes)? {
            Some(Content::Bytes(raw)) if !raw.is_empty() => serde_json::from_slice(raw).map_err(|_| Malformed::Raw),
            _ => Ok(Value::Null),
        },
        "schemaorarray" | "schemaorbool" | "schemaorstrings" => either(of, bytes),
        _ => match of.strip_prefix("items:") {
            Some(inner) => items(inner, bytes),
            None => message(of, bytes).map(Value::Object),
        },
    }
}

/// The content of the message's field 1.
fn first<'a>(bytes: &'a [u8]) -> Result<Option<Content<'a>>, Malformed> {
    let mut reader = Reader::new(bytes);
    while let Some((number, content)) = reader.next()? {
        if number == 1 {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn items(of: &str, bytes: &[u8]) -> Result<Value, Malformed> {
    let mut list = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((_, content)) = reader.next()? {
        list.push(single(of, &content)?);
    }
    Ok(Value::Array(list))
}

/// A time; the zero time, which is an empty message, is null.
fn moment(bytes: &[u8], fine: bool) -> Result<Value, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, content)) = reader.next()? {
        match (number, content) {
            (1, Content::Number(number)) => seconds = number,
            (2, Content::Number(number)) => nanos = number,
            _ => {}
        }
    }
    // Go's zero time lies before 1970.
    if bytes.is_empty() || seconds.cast_signed() < 0 {
        return Ok(Value::Null);
    }
    let whole = time::seconds(seconds.saturating_mul(1000));
    Ok(json!(match fine {
        true => format!("{}.{:06}Z", whole.trim_end_matches('Z'), nanos / 1000),
        false => whole,
    }))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Malformed> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((field, content)) = reader.next()? {
        match (field, &content) {
            (1, Content::Number(kind)) => is_text = *kind == 1,
            (2, Content::Number(value)) => number = value.cast_signed(),
            (3, content) => string = text(content)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(string) } else { json!(number) })
}

/// The choices within JSON schemas.
fn either(of: &str, bytes: &[u8]) -> Result<Value, Malformed> {
    const SCHEMA: &str = "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaProps";
    let mut list = Vec::new();
    let (mut schema, mut allows) = (None, false);
    let mut reader = Reader::new(bytes);
    while let Some((number, content)) = reader.next()? {
        match (of, number, &content) {
            ("schemaorbool", 1, Content::Number(value)) => allows = *value != 0,
            ("schemaorbool", 2, content) | ("schemaorarray" | "schemaorstrings", 1, content) => {
                schema = Some(single(SCHEMA, content)?);
            }
            ("schemaorarray", 2, content) => list.push(single(SCHEMA, content)?),
            ("schemaorstrings", 2, content) => list.push(single("string", content)?),
            _ => {}
        }
    }
    Ok(match (schema, of) {
        (Some(schema), _) => schema,
        (None, "schemaorbool") => json!(allows),
        (None, _) => Value::Array(list),
    })
}

#[cfg(test)]
mod tests;
