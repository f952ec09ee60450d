//! Small helpers on JSON values that the rest of the crate shares: reading and writing by path.

use serde_json::{Map, Value};

/// An object's field map.
pub type Object = Map<String, Value>;

/// The value under the named fields, if every step is an object that has the next.
///
/// ```
/// let object = serde_json::json!({"metadata": {"name": "web"}});
/// assert_eq!(hansa_kubesim::value::get(&object, &["metadata", "name"]).unwrap(), "web");
/// ```
pub fn get<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

/// The same, to change it.
pub fn get_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, name| value.get_mut(name))
}

/// The string under the named fields.
pub fn string<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    get(value, path)?.as_str()
}

/// The integer under the named fields.
pub fn integer(value: &Value, path: &[&str]) -> Option<i64> {
    get(value, path)?.as_i64()
}

/// The boolean under the named fields.
pub fn boolean(value: &Value, path: &[&str]) -> Option<bool> {
    get(value, path)?.as_bool()
}

/// The list under the named fields; empty when there is none.
pub fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    get(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The field map at a path; objects on the way are made where they are missing or are no objects.
pub fn object_at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Object {
    let mut current = value;
    for name in path {
        current = as_object(current).entry(*name).or_insert(Value::Null);
    }
    as_object(current)
}

/// Writes a value at a path, making the objects on the way.
pub fn set(value: &mut Value, path: &[&str], new: Value) {
    if let Some((last, parents)) = path.split_last() {
        object_at(value, parents).insert((*last).to_owned(), new);
    } else {
        *value = new;
    }
}

/// Takes the value at a path away, and returns it.
pub fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    get_mut(value, parents)?.as_object_mut()?.remove(*last)
}

/// The value's field map; a value that is no object becomes an empty one first.
fn as_object(value: &mut Value) -> &mut Object {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// Equality as Kubernetes means it: `1` and `1.0` are one number.
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

/// A value as Go prints it with `%v`.
pub(crate) fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{}", go_value(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}
