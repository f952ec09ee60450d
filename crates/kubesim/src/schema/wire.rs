//! What a trip through Go's structs does to a built-in object.
//!
//! A real API server decodes built-in kinds into structs and encodes them again, so a null and an empty list vanish, a
//! plain struct is always there, and a quantity or a time comes out in its one canonical form. Clients see this, and
//! so does the ownership of fields.

use serde_json::{Map, Value};

use super::node::{Additional, Node, NodeId, Type, Wire};
use super::quantity::Quantity;
use super::{Origin, Schema};

impl Schema {
    /// Brings a built-in object into the form in which the server keeps it; of a custom one, only the metadata.
    pub fn normalize(&self, object: &mut Value) {
        if self.origin == Origin::Builtin {
            self.normalize_node(self.root, object);
        } else if let Some(field) = self.arena.node(self.root).fields.get("metadata")
            && let Some(metadata) = object.get_mut("metadata")
        {
            self.normalize_node(field.node, metadata);
        }
    }

    /// The object that a create starts from: what is always there, empty.
    pub(crate) fn blank(&self) -> Value {
        let mut blank = Value::Object(Map::new());
        self.normalize(&mut blank);
        blank
    }

    fn normalize_node(&self, id: NodeId, value: &mut Value) {
        let node = self.arena.node(id);
        match value {
            Value::Object(map) if !node.fields.is_empty() => self.normalize_struct(node, map),
            Value::Object(map) => {
                if let Additional::Each(each) = node.additional {
                    map.values_mut().for_each(|child| self.normalize_node(each, child));
                }
            }
            Value::Array(items) => {
                if let Some(each) = node.items {
                    items.iter_mut().for_each(|item| self.normalize_node(each, item));
                }
            }
            scalar => {
                if let Some(canonical) = canonical(node, scalar) {
                    *scalar = canonical;
                }
            }
        }
    }

    fn normalize_struct(&self, node: &Node, map: &mut Map<String, Value>) {
        map.retain(|name, child| {
            let Some(field) = node.fields.get(name.as_str()) else { return true };
            if !child.is_null() {
                self.normalize_node(field.node, child);
            }
            // Empty managedFields ask for the entries to be cleared (see `apply::track_update`).
            let asks = name == "managedFields" && child.is_array();
            let vanishes = field.wire == Wire::OmitEmpty && is_zero(child) && !asks;
            !(child.is_null() || vanishes)
        });
        for (name, zero) in &node.always {
            match map.get(&**name) {
                None => {
                    map.insert(name.to_string(), zero.clone());
                }
                // Storage does not tell an empty list from none.
                Some(found) if zero.is_null() && is_zero(found) => {
                    map.insert(name.to_string(), Value::Null);
                }
                Some(_) => {}
            }
        }
    }
}

/// Whether Go would leave the value out under `omitempty` or `omitzero`.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// The one form of a quantity or a time, when the value is not in it.
fn canonical(node: &Node, value: &Value) -> Option<Value> {
    if node.r#type == Type::Quantity {
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let canonical = Value::from(Quantity::parse(&text)?.to_string());
        return (canonical != *value).then_some(canonical);
    }
    let text = value.as_str()?;
    let format = node.checks.as_ref()?.format.as_deref()?;
    let digits = match format {
        "date-time" => 0,
        "micro-time" => 6,
        _ => return None,
    };
    canonical_time(text, digits).map(Value::from).filter(|canonical| canonical != value)
}

/// An RFC 3339 time in UTC with so many digits after the second.
pub(super) fn canonical_time(text: &str, digits: usize) -> Option<String> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let hours: i64 = zone.get(1..3)?.parse().ok()?;
            let minutes: i64 = zone.get(4..6)?.parse().ok()?;
            sign * (hours * 60 + minutes)
        }
    };
    let minutes = days_from_civil(year, month, day) * 1440 + hour * 60 + minute - offset;
    let (year, month, day) = civil_from_days(minutes.div_euclid(1440));
    let of_day = minutes.rem_euclid(1440);
    let mut out = format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{second:02}", of_day / 60, of_day % 60);
    if digits > 0 {
        out.push('.');
        out.push_str(&format!("{fraction:0<digits$}")[..digits]);
    }
    out.push('Z');
    Some(out)
}

/// Days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The reverse.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::canonical_time;

    #[test]
    fn times_come_out_in_utc() {
        for (text, seconds, micros) in [
            ("2024-02-29T23:30:00Z", "2024-02-29T23:30:00Z", "2024-02-29T23:30:00.000000Z"),
            ("2024-02-29T23:30:00.25-01:00", "2024-03-01T00:30:00Z", "2024-03-01T00:30:00.250000Z"),
            ("2023-01-01T01:00:00.1234567+02:30", "2022-12-31T22:30:00Z", "2022-12-31T22:30:00.123456Z"),
        ] {
            assert_eq!(canonical_time(text, 0).as_deref(), Some(seconds));
            assert_eq!(canonical_time(text, 6).as_deref(), Some(micros));
        }
        assert_eq!(canonical_time("yesterday", 0), None);
    }
}
