//! JSON patches (RFC 6902), with the leniences of the library that the real server uses: a `replace` creates, an index
//! may count from the end, a `test` for null passes where there is nothing.

use serde_json::{Map, Value};

use super::PatchError;

/// The most operations a JSON patch may have, as in the real server.
const MAX_OPERATIONS: usize = 10_000;

/// Applies a JSON patch.
///
/// # Errors
///
/// [`PatchError::Malformed`] for what is no patch, [`PatchError::Unprocessable`] for an operation that fails.
pub fn json(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        return Err(no_patch(patch, "[]handlers.jsonPatchOp"));
    };
    if let Some(stray) = operations.iter().find(|operation| !operation.is_object()) {
        return Err(no_patch(stray, "handlers.jsonPatchOp"));
    }
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut patched = object.clone();
    for operation in operations {
        apply(&mut patched, operation).map_err(PatchError::Unprocessable)?;
    }
    Ok(patched)
}

fn no_patch(found: &Value, wanted: &str) -> PatchError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    PatchError::Malformed(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"
    ))
}

fn apply(document: &mut Value, operation: &Value) -> Result<(), String> {
    let text = |name: &str| operation[name].as_str().ok_or(format!("operation missing {name} field"));
    let value = || operation.get("value").cloned().unwrap_or_default();
    match operation["op"].as_str().unwrap_or("unknown") {
        "add" => add(document, text("path")?, value()),
        "remove" => remove(document, text("path")?).map(|_| ()),
        "replace" => replace(document, text("path")?, value()),
        "move" => {
            let moved = remove(document, text("from")?)?;
            add(document, text("path")?, moved)
        }
        "copy" => {
            let from = text("from")?;
            let copied = get(document, from).cloned().ok_or(format!("missing from path: {from}"))?;
            add(document, text("path")?, copied)
        }
        "test" => {
            let path = text("path")?;
            let found = if path.is_empty() { Some(&*document) } else { get(document, path) };
            let equal = found.map_or(value().is_null(), |found| crate::value::equal(found, &value()));
            if equal { Ok(()) } else { Err(format!("testing value {path} failed")) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

/// A place within a document: what holds it, and its key there.
enum Place<'a> {
    Object(&'a mut Map<String, Value>, String),
    List(&'a mut Vec<Value>, String),
}

fn place<'a>(document: &'a mut Value, path: &str) -> Result<Place<'a>, String> {
    let missing = || format!("doc is missing path: {path:?}");
    let mut keys: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let last = keys.pop().ok_or_else(missing)?;
    let mut current = document;
    for key in &keys {
        current = step(current, key).ok_or_else(missing)?;
    }
    match current {
        Value::Object(map) => Ok(Place::Object(map, last)),
        Value::Array(items) => Ok(Place::List(items, last)),
        _ => Err(missing()),
    }
}

fn step<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(map) => map.get_mut(key).filter(|child| !child.is_null()),
        Value::Array(items) => index(key, items.len()).and_then(|at| items.get_mut(at)),
        _ => None,
    }
}

fn get<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('/').skip(1).map(decode).peekable();
    keys.peek()?;
    keys.try_fold(document, |value, key| match value {
        Value::Object(map) => map.get(&key),
        Value::Array(items) => items.get(index(&key, items.len())?),
        _ => None,
    })
}

/// The position that a key means in a list of so many items; a negative one counts from the end.
fn index(key: &str, length: usize) -> Option<usize> {
    let at: i64 = key.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    usize::try_from(if at < 0 { at + length } else { at }).ok()
}

fn decode(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

fn no_index(key: &str) -> String {
    format!("Unable to access invalid index: {key}")
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    match place(document, path)? {
        Place::Object(map, key) => {
            map.insert(key, value);
        }
        Place::List(items, key) if key == "-" => items.push(value),
        Place::List(items, key) => {
            let at = index(&key, items.len() + 1).filter(|at| *at <= items.len()).ok_or_else(|| no_index(&key))?;
            items.insert(at, value);
        }
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, String> {
    match place(document, path)? {
        Place::Object(map, key) => map.remove(&key).ok_or(format!("Unable to remove nonexistent key: {key}")),
        Place::List(items, key) => {
            let at = index(&key, items.len()).filter(|at| *at < items.len()).ok_or_else(|| no_index(&key))?;
            Ok(items.remove(at))
        }
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    match place(document, path)? {
        Place::Object(map, key) => {
            map.insert(key, value);
        }
        Place::List(items, key) => {
            let item = index(&key, items.len()).and_then(|at| items.get_mut(at)).ok_or_else(|| no_index(&key))?;
            *item = value;
        }
    }
    Ok(())
}
