//! OpenAPI v2 as the protobuf that Go's clients ask for: the messages of gnostic's
//! `openapiv2/OpenAPIv2.proto`, as far as documents here have fields for them.

use serde_json::Value;

use super::wire::Writer;

/// The media type.
pub const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// As clients ask for it; no answer may name it so, for it is no media type by RFC 2045.
pub const ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// A message of the format.
#[derive(Clone, Copy)]
enum Message {
    Document,
    Info,
    PathItem,
    Operation,
    Body,
    Query,
    Path,
    Response,
    Schema,
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Texts,
    Flag,
    Integer,
    Float,
    /// Any value: its text as YAML, which JSON is.
    Any,
    Anys,
    /// A list of texts, within a message of their own; one may stand alone.
    Types,
    /// A message, within others whose one field has these numbers.
    One(&'static [u64], Message),
    Many(Message),
    /// Names with a message each: pairs in a field of this number of a message, the message of a pair
    /// within others.
    Named(u64, &'static [u64], Message),
    Parameters,
    /// A schema, or whether there may be more properties at all.
    SchemaOrFlag,
}

use Form::{Any, Anys, Flag, Float, Integer, Many, Named, One, Parameters, SchemaOrFlag, Text, Texts, Types};

type Fields = &'static [(&'static str, u64, Form)];

impl Message {
    /// Its fields by their names in JSON.
    fn fields(self) -> Fields {
        match self {
            Message::Document => &[
                ("swagger", 1, Text),
                ("info", 2, One(&[], Message::Info)),
                ("paths", 8, Named(2, &[], Message::PathItem)),
                ("definitions", 9, Named(1, &[], Message::Schema)),
            ],
            Message::Info => &[("title", 1, Text), ("version", 2, Text)],
            Message::PathItem => &[
                ("get", 2, One(&[], Message::Operation)),
                ("put", 3, One(&[], Message::Operation)),
                ("post", 4, One(&[], Message::Operation)),
                ("delete", 5, One(&[], Message::Operation)),
                ("patch", 8, One(&[], Message::Operation)),
                ("parameters", 9, Parameters),
            ],
            Message::Operation => &[
                ("produces", 6, Texts),
                ("consumes", 7, Texts),
                ("parameters", 8, Parameters),
                ("responses", 9, Named(1, &[1], Message::Response)),
            ],
            Message::Body => {
                &[("name", 2, Text), ("in", 3, Text), ("required", 4, Flag), ("schema", 5, One(&[], Message::Schema))]
            }
            Message::Query => {
                &[("in", 2, Text), ("name", 4, Text), ("type", 6, Text), ("format", 7, Text), ("uniqueItems", 20, Flag)]
            }
            Message::Path => &[("required", 1, Flag), ("in", 2, Text), ("name", 4, Text), ("type", 5, Text)],
            Message::Response => &[("description", 1, Text), ("schema", 2, One(&[1], Message::Schema))],
            Message::Schema => &[
                ("$ref", 1, Text),
                ("format", 2, Text),
                ("title", 3, Text),
                ("description", 4, Text),
                ("default", 5, Any),
                ("multipleOf", 6, Float),
                ("maximum", 7, Float),
                ("exclusiveMaximum", 8, Flag),
                ("minimum", 9, Float),
                ("exclusiveMinimum", 10, Flag),
                ("maxLength", 11, Integer),
                ("minLength", 12, Integer),
                ("pattern", 13, Text),
                ("maxItems", 14, Integer),
                ("minItems", 15, Integer),
                ("uniqueItems", 16, Flag),
                ("maxProperties", 17, Integer),
                ("minProperties", 18, Integer),
                ("required", 19, Texts),
                ("enum", 20, Anys),
                ("additionalProperties", 21, SchemaOrFlag),
                ("type", 22, Types),
                ("items", 23, One(&[1], Message::Schema)),
                ("allOf", 24, Many(Message::Schema)),
                ("properties", 25, Named(1, &[], Message::Schema)),
                ("example", 30, Any),
            ],
        }
    }

    /// Where extensions go (`x-…`).
    fn extensions(self) -> Option<u64> {
        match self {
            Message::Operation => Some(13),
            Message::Schema => Some(31),
            _ => None,
        }
    }
}

/// Encodes a document of OpenAPI v2.
pub fn encode(document: &Value) -> Vec<u8> {
    message(Message::Document, document)
}

fn message(kind: Message, value: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    for (name, number, form) in kind.fields() {
        if let Some(value) = value.get(*name) {
            field(&mut out, *number, *form, value);
        }
    }
    if let Some(number) = kind.extensions() {
        let extensions = value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
        for (name, value) in extensions {
            out.bytes(number, &pair(name, &any(value)));
        }
    }
    out.done()
}

fn field(out: &mut Writer, number: u64, form: Form, value: &Value) {
    let each = || value.as_array().into_iter().flatten();
    match form {
        Text => out.bytes(number, value.as_str().unwrap_or_default().as_bytes()),
        Texts => each().filter_map(Value::as_str).for_each(|text| out.bytes(number, text.as_bytes())),
        Flag => out.number(number, u64::from(value == true)),
        Integer => out.number(number, value.as_i64().unwrap_or_default().cast_unsigned()),
        Float => out.fixed(number, value.as_f64().unwrap_or_default().to_bits()),
        Any => out.bytes(number, &any(value)),
        Anys => each().for_each(|value| out.bytes(number, &any(value))),
        Types => {
            let mut types = Writer::default();
            let texts = value.as_str().into_iter().chain(each().filter_map(Value::as_str));
            texts.for_each(|text| types.bytes(1, text.as_bytes()));
            out.bytes(number, &types.done());
        }
        One(within, kind) => out.bytes(number, &wrapped(within, message(kind, value))),
        Many(kind) => each().for_each(|value| out.bytes(number, &message(kind, value))),
        Named(inner, within, kind) => {
            let mut pairs = Writer::default();
            for (name, value) in value.as_object().into_iter().flatten() {
                pairs.bytes(inner, &pair(name, &wrapped(within, message(kind, value))));
            }
            out.bytes(number, &pairs.done());
        }
        Parameters => each().for_each(|value| out.bytes(number, &parameter(value))),
        SchemaOrFlag => {
            let mut either = Writer::default();
            match value.as_bool() {
                Some(flag) => either.number(2, u64::from(flag)),
                None => either.bytes(1, &message(Message::Schema, value)),
            }
            out.bytes(number, &either.done());
        }
    }
}

/// A parameter by where it stands: of a body (1), or another (2), which is of the query (3) or the path (4).
fn parameter(value: &Value) -> Vec<u8> {
    let (within, kind): (&[u64], _) = match value["in"].as_str() {
        Some("body") => (&[1, 1], Message::Body),
        Some("path") => (&[1, 2, 4], Message::Path),
        _ => (&[1, 2, 3], Message::Query),
    };
    wrapped(within, message(kind, value))
}

fn any(value: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(2, value.to_string().as_bytes());
    out.done()
}

fn pair(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(1, name.as_bytes());
    out.bytes(2, value);
    out.done()
}

fn wrapped(within: &[u64], mut bytes: Vec<u8>) -> Vec<u8> {
    for number in within.iter().rev() {
        let mut out = Writer::default();
        out.bytes(*number, &bytes);
        bytes = out.done();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::protobuf::wire::{Content, Reader};
    use serde_json::json;

    /// The bytes in a field of fields.
    fn at<'a>(mut bytes: &'a [u8], path: &[u64]) -> &'a [u8] {
        for wanted in path {
            let mut reader = Reader::new(bytes);
            bytes = loop {
                match reader.next() {
                    Ok(Some((number, Content::Bytes(found)))) if number == *wanted => break found,
                    Ok(Some(_)) => {}
                    end => panic!("no field {wanted} in {path:?}: {end:?}"),
                }
            };
        }
        bytes
    }

    #[test]
    fn fields_stand_where_the_messages_have_them() {
        let document = json!({
            "swagger": "2.0",
            "paths": {"/api": {"patch": {
                "parameters": [{"name": "fieldValidation", "in": "query", "type": "string", "uniqueItems": true}],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/A"}}},
                "x-kubernetes-group-version-kind": {"kind": "A"},
            }}},
            "definitions": {"A": {"type": "object", "properties": {"list": {
                "type": "array", "items": {"type": "string"}, "maximum": 1.5, "minLength": 300,
            }}}},
        });
        let bytes = encode(&document);
        assert_eq!(at(&bytes, &[1]), b"2.0");
        assert_eq!(at(&bytes, &[8, 2, 1]), b"/api");
        let patch = [8, 2, 2, 8];
        let below = |rest: &[u64]| [&patch[..], rest].concat();
        assert_eq!(at(&bytes, &below(&[8, 1, 2, 3, 4])), b"fieldValidation");
        assert_eq!(at(&bytes, &below(&[9, 1, 2, 1, 2, 1, 1])), b"#/definitions/A");
        assert_eq!(at(&bytes, &below(&[13, 2, 2])), br#"{"kind":"A"}"#);
        assert_eq!(at(&bytes, &[9, 1, 2, 22, 1]), b"object");
        let list = at(&bytes, &[9, 1, 2, 25, 1, 2]);
        assert_eq!(at(list, &[23, 1, 22, 1]), b"string");
        let mut reader = Reader::new(list);
        assert_eq!(reader.next(), Ok(Some((7, Content::Fixed(1.5f64.to_bits())))));
        assert_eq!(reader.next(), Ok(Some((12, Content::Number(300)))));
    }
}
