//! A JSON value kept as its canonical text: as a tree it would take many times the memory, and
//! thousands of small ones are most of what an operator remembers.

use crate::canonical;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// A value, small in memory; read as a tree where it is used. Encodes as the value itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Compact(Option<Box<str>>);

impl Compact {
    /// Keeps a value; `null` takes no memory at all.
    pub fn of(value: &Value) -> Self {
        let text = || String::from_utf8(canonical::to_vec(value)).expect("JSON is UTF-8");
        Compact((!value.is_null()).then(|| text().into_boxed_str()))
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }

    /// The value.
    pub fn read(&self) -> Value {
        self.0.as_ref().map_or(Value::Null, |text| serde_json::from_str(text).expect("it was made from JSON"))
    }
}

impl Serialize for Compact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            None => serializer.serialize_unit(),
            Some(text) => serde_json::from_str::<&RawValue>(text).expect("it was made from JSON").serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Compact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Compact::of(&Value::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_encodes_as_the_value_and_reads_back() {
        for value in [json!(null), json!({"b": 1, "a": [true, "x"]}), json!("text"), json!({})] {
            let compact = Compact::of(&value);
            let text = serde_json::to_string(&json!({"field": value})).unwrap();
            #[derive(Serialize, Deserialize)]
            struct Holder {
                field: Compact,
            }
            let holder: Holder = serde_json::from_str(&text).unwrap();
            assert_eq!((&holder.field, compact.read(), compact.is_null()), (&compact, value.clone(), value.is_null()));
            assert_eq!(
                serde_json::from_str::<Value>(&serde_json::to_string(&holder).unwrap()).unwrap()["field"],
                value
            );
        }
    }
}
