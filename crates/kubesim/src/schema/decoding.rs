//! What Go's JSON decoder says of a built-in object that does not fit its struct.

use serde_json::Value;

use super::error::quote;
use super::node::{Additional, NodeId, Type};
use super::quantity::Quantity;
use super::wire::canonical_time;
use super::{Origin, Schema};

const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Where the walk is, as the decoder names it.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The struct that holds the field.
    holder: &'a str,
    /// The way to the field, without indices and map keys.
    path: &'a str,
    /// The Go type here.
    go_type: &'a str,
}

impl Schema {
    /// Why a built-in object cannot be decoded, in the words of Go's `encoding/json`; `None` when it can, and for
    /// custom resources, which are not decoded into structs.
    pub fn decode_error(&self, object: &Value) -> Option<String> {
        if self.origin == Origin::Custom {
            return None;
        }
        self.misfit(self.root, object, Place { holder: "", path: "", go_type: "" })
    }

    fn misfit(&self, id: NodeId, value: &Value, place: Place<'_>) -> Option<String> {
        let node = self.arena.node(id);
        match (node.r#type, value) {
            (_, Value::Null) | (Type::Any, _) => None,
            (Type::Object, Value::Object(map)) => map.iter().find_map(|(name, child)| {
                if let Some(field) = node.fields.get(name.as_str()) {
                    let path = if place.path.is_empty() { name.clone() } else { format!("{}.{name}", place.path) };
                    let holder = node.name.as_deref().unwrap_or_default();
                    let go_type = field.go_type.as_deref().unwrap_or_default();
                    return self.misfit(field.node, child, Place { holder, path: &path, go_type });
                }
                let Additional::Each(each) = node.additional else { return None };
                let go_type = place.go_type.split_once(']').map_or("", |(_, value)| value);
                self.misfit(each, child, Place { go_type: go_type.trim_start_matches('*'), ..place })
            }),
            (Type::Array, Value::Array(items)) => {
                let go_type = place.go_type.trim_start_matches("[]").trim_start_matches('*');
                items.iter().find_map(|item| self.misfit(node.items?, item, Place { go_type, ..place }))
            }
            (Type::Quantity, Value::String(text)) => {
                Quantity::parse(text.trim()).is_none().then(|| QUANTITY.to_owned())
            }
            (Type::Quantity, Value::Number(_)) => None,
            (Type::Quantity, _) => Some(QUANTITY.to_owned()),
            (Type::String, Value::String(text)) => {
                let format = node.checks.as_ref().and_then(|checks| checks.format.as_deref());
                malformed_text(format.unwrap_or_default(), text)
            }
            (Type::IntOrString, Value::String(_))
            | (Type::Boolean, Value::Bool(_))
            | (Type::Number, Value::Number(_)) => None,
            (Type::Integer, Value::Number(number)) if number.is_i64() && self.holds(id, number.as_i64()) => None,
            (Type::IntOrString, Value::Number(number)) if number.as_i64().is_some_and(is_int32) => None,
            _ => Some(mismatch(node.r#type, value, place)),
        }
    }

    /// Whether an integer fits the node's width.
    fn holds(&self, id: NodeId, number: Option<i64>) -> bool {
        let format = self.arena.node(id).checks.as_ref().and_then(|checks| checks.format.as_deref());
        format != Some("int32") || number.is_some_and(is_int32)
    }
}

fn is_int32(number: i64) -> bool {
    i32::try_from(number).is_ok()
}

fn mismatch(wanted: Type, value: &Value, place: Place<'_>) -> String {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if matches!(wanted, Type::Integer | Type::IntOrString) => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    let go_type = match wanted {
        Type::IntOrString => "int32",
        // Times are decoded from a string.
        Type::String if place.go_type.ends_with("Time") => "string",
        _ => place.go_type,
    };
    if place.holder.is_empty() {
        return format!("json: cannot unmarshal {found} into Go value of type {go_type}");
    }
    format!("json: cannot unmarshal {found} into Go struct field {}.{} of type {go_type}", place.holder, place.path)
}

/// What is wrong with a string that stands for something else.
fn malformed_text(format: &str, text: &str) -> Option<String> {
    match format {
        "date-time" if !text.is_empty() && canonical_time(text, 0).is_none() => {
            Some(bad_time(text, "2006-01-02T15:04:05Z07:00"))
        }
        "micro-time" if !text.is_empty() => bad_micro_time(text),
        "byte" => bad_base64(text).map(|at| format!("illegal base64 data at input byte {at}")),
        _ => None,
    }
}

fn bad_time(text: &str, layout: &str) -> String {
    format!("parsing time {0} as \"{layout}\": cannot parse {0} as \"2006\"", quote(text))
}

/// A time with a fraction must have all six digits of it.
fn bad_micro_time(text: &str) -> Option<String> {
    let layout = "2006-01-02T15:04:05.000000Z07:00";
    if canonical_time(text, 6).is_none() {
        return Some(bad_time(text, layout));
    }
    let rest = text.get(19..)?;
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (found, wanted) = match digits {
        6 => return None,
        ..6 => (rest, ".000000"),
        _ => (&rest[7..], "Z07:00"),
    };
    let (text, found, wanted) = (quote(text), quote(found), quote(wanted));
    Some(format!("parsing time {text} as \"{layout}\": cannot parse {found} as {wanted}"))
}

/// The first byte that Go's decoder stumbles on.
fn bad_base64(text: &str) -> Option<usize> {
    let bytes: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let digits = bytes
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')))
        .unwrap_or(bytes.len());
    match (digits % 4, &bytes[digits..]) {
        (0, []) | (2, [b'=', b'=']) | (3, [b'=']) => None,
        // The text ends within a group of four.
        (partial, []) => Some(digits - partial),
        (2, [b'=']) => Some(digits + 1),
        // Something follows the padding.
        (2, [b'=', b'=', ..]) => Some(digits + 2),
        (3, [b'=', ..]) => Some(digits + 1),
        _ => Some(digits),
    }
}

#[cfg(test)]
mod tests {
    use super::bad_base64;

    #[test]
    fn base64_is_refused_where_go_refuses_it() {
        for (text, at) in [
            ("YQ==", None),
            ("YWJj", None),
            ("YWI=\n", None),
            ("!!", Some(0)),
            ("Y", Some(0)),
            ("YQ=", Some(3)),
            ("Y===", Some(1)),
            ("YWJjZA", Some(4)),
            ("YWJjYW*j", Some(6)),
            ("YQ==YQ==", Some(4)),
            ("YWI=x", Some(4)),
            ("YQ=x", Some(2)),
            ("====", Some(0)),
        ] {
            assert_eq!(bad_base64(text), at, "{text}");
        }
    }
}
