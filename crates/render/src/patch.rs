//! The `patches` of an override: operations of a JSON patch (RFC 6902) with answers that help.

use crate::merge::{describe, fields_of};
use hansa_model::{JsonPatchOperation, PatchOp};
use serde_json::Value;

/// Why an operation cannot be done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {message}")]
pub struct PatchError {
    /// The field of the operation that is at fault: `path` or `value`.
    pub field: &'static str,
    /// What is wrong, what stands there, and what to do.
    pub message: String,
}

fn at_path<T>(message: String) -> Result<T, PatchError> {
    Err(PatchError { field: "path", message })
}

/// Applies one operation. `target` is unchanged when an error is returned.
///
/// # Errors
/// When the path is no JSON pointer, leads nowhere, or the value is missing.
pub fn apply(target: &mut Value, operation: &JsonPatchOperation) -> Result<(), PatchError> {
    let path = operation.path.as_str();
    let tokens = pointer(path)?;
    let Some((last, parents)) = tokens.split_last() else {
        return at_path("the empty path is the whole object: name the field that is to change".to_owned());
    };
    let value = match (operation.op, &operation.value) {
        (PatchOp::Remove, _) => None,
        (_, Some(value)) => Some(value),
        (op, None) => {
            return Err(PatchError {
                field: "value",
                message: format!("{} at `{path}` needs a value; use `op: remove` to take the field away", word(op)),
            });
        }
    };
    let mut here = target;
    let mut walked = String::new();
    for token in parents {
        here = child(here, token, &walked, operation)?;
        walked = format!("{walked}/{}", escape(token));
    }
    match (here, value) {
        (Value::Object(fields), None) => match fields.remove(last) {
            Some(_) => Ok(()),
            None => at_path(missing_field(operation, last, &walked, fields)),
        },
        (Value::Object(fields), Some(value)) => {
            if operation.op == PatchOp::Replace && !fields.contains_key(last) {
                return at_path(missing_field(operation, last, &walked, fields));
            }
            fields.insert(last.clone(), value.clone());
            Ok(())
        }
        (Value::Array(items), None) => {
            let index = index(last, items.len(), false, &walked, operation)?;
            items.remove(index);
            Ok(())
        }
        (Value::Array(items), Some(value)) => {
            if operation.op == PatchOp::Replace {
                let index = index(last, items.len(), false, &walked, operation)?;
                items[index] = value.clone();
            } else if last == "-" {
                items.push(value.clone());
            } else {
                let index = index(last, items.len(), true, &walked, operation)?;
                items.insert(index, value.clone());
            }
            Ok(())
        }
        (other, _) => at_path(no_children(operation, &walked, other)),
    }
}

/// The reference tokens of a JSON pointer (RFC 6901), unescaped.
///
/// # Errors
/// When the text is no JSON pointer.
pub fn pointer(path: &str) -> Result<Vec<String>, PatchError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = path.strip_prefix('/') else {
        let guess = path.trim_start_matches("$.").trim_start_matches('.').replace(['.', '['], "/").replace(']', "");
        return at_path(format!("`{path}` is not a JSON pointer, which begins with `/`: write `/{guess}` or the like"));
    };
    let unescape = |token: &str| {
        let mut out = String::with_capacity(token.len());
        let mut rest = token.chars();
        while let Some(character) = rest.next() {
            out.push(match character {
                '~' => match rest.next() {
                    Some('0') => '~',
                    Some('1') => '/',
                    _ => {
                        return at_path(format!(
                            "`{path}` has a `~` that is not followed by 0 or 1: write `~0` for `~` and `~1` for `/`"
                        ));
                    }
                },
                other => other,
            });
        }
        Ok(out)
    };
    rest.split('/').map(unescape).collect()
}

fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

fn child<'a>(
    parent: &'a mut Value,
    token: &str,
    walked: &str,
    operation: &JsonPatchOperation,
) -> Result<&'a mut Value, PatchError> {
    let is_missing = match &*parent {
        Value::Object(fields) => !fields.contains_key(token),
        Value::Array(_) => false,
        scalar => return at_path(no_children(operation, walked, scalar)),
    };
    match parent {
        Value::Object(fields) if is_missing => at_path(missing_field(operation, token, walked, fields)),
        Value::Array(items) => {
            let index = index(token, items.len(), false, walked, operation)?;
            Ok(&mut items[index])
        }
        object => Ok(&mut object[token]),
    }
}

/// Reads an index into a list of `length` items; `insert` allows the one behind the last.
fn index(
    token: &str,
    length: usize,
    insert: bool,
    walked: &str,
    operation: &JsonPatchOperation,
) -> Result<usize, PatchError> {
    let canonical = token == "0" || !(token.is_empty() || token.starts_with(['0', '+']));
    let number = canonical.then(|| token.parse::<usize>().ok()).flatten();
    if let Some(index) = number
        && (index < length || insert && index == length)
    {
        return Ok(index);
    }
    let list = match length {
        0 => "is empty".to_owned(),
        1 => "has 1 item".to_owned(),
        _ => format!("has {length} items"),
    };
    let mend = match (insert, length) {
        (true, _) => format!("use an index up to {length}, or `-` for the end"),
        (false, 0) => "use `op: add` with the index `-`".to_owned(),
        (false, 1) => "use the index 0".to_owned(),
        (false, _) => format!("use an index from 0 to {}", length - 1),
    };
    at_path(format!(
        "`{token}` in `{}` is no index into the list at {}, which {list}: {mend}",
        operation.path,
        place(walked)
    ))
}

fn missing_field(
    operation: &JsonPatchOperation,
    token: &str,
    walked: &str,
    fields: &serde_json::Map<String, Value>,
) -> String {
    let is_last = operation.path == format!("{walked}/{}", escape(token));
    let (action, mend) = match (operation.op, is_last) {
        (PatchOp::Replace, true) => ("replace", "correct the path, or use `op: add`"),
        (PatchOp::Remove, true) => ("remove", "correct the path, or leave the operation out"),
        _ => ("go through", "correct the path, or use `merge`, which makes what is missing"),
    };
    format!(
        "there is nothing at `{walked}/{}` to {action}: {} {}; {mend}",
        escape(token),
        place(walked),
        fields_of(fields)
    )
}

fn no_children(operation: &JsonPatchOperation, walked: &str, value: &Value) -> String {
    format!(
        "`{}` leads through {}, which is {} and has no fields: correct the path",
        operation.path,
        place(walked),
        describe(value)
    )
}

fn place(walked: &str) -> String {
    if walked.is_empty() { "the object".to_owned() } else { format!("`{walked}`") }
}

fn word(op: PatchOp) -> &'static str {
    match op {
        PatchOp::Add => "`add`",
        PatchOp::Remove => "`remove`",
        PatchOp::Replace => "`replace`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::any_object;
    use expect_test::expect;
    use proptest::prelude::*;
    use serde_json::json;

    fn operation(op: PatchOp, path: &str, value: Option<Value>) -> JsonPatchOperation {
        JsonPatchOperation { op, path: path.to_owned(), value }
    }

    #[test]
    fn errors_say_what_stands_there_and_what_to_do() {
        let template =
            json!({"spec": {"replicas": 3, "list": [{"a": 1}, {"a": 2}], "one": [1], "none": [], "a/b": {}}});
        let cases = [
            (PatchOp::Replace, "/spec/replcas", Some(json!(5))),
            (PatchOp::Remove, "/spec/replcas", None),
            (PatchOp::Add, "/metadata/labels/x", Some(json!("y"))),
            (PatchOp::Replace, "/spec/list/2", Some(json!(1))),
            (PatchOp::Add, "/spec/list/3", Some(json!(1))),
            (PatchOp::Remove, "/spec/one/01", None),
            (PatchOp::Replace, "/spec/none/0", Some(json!(1))),
            (PatchOp::Replace, "/spec/list/first/a", Some(json!(1))),
            (PatchOp::Replace, "/spec/replicas/max", Some(json!(1))),
            (PatchOp::Remove, "/spec/a~1b/c", None),
            (PatchOp::Replace, "/spec/a~b", Some(json!(1))),
            (PatchOp::Replace, "$.spec.list[0].a", Some(json!(1))),
            (PatchOp::Replace, "", Some(json!({}))),
            (PatchOp::Add, "/spec/x", None),
        ];
        let mut said = String::new();
        for (op, path, value) in cases {
            let mut target = template.clone();
            let error = apply(&mut target, &operation(op, path, value)).unwrap_err();
            assert_eq!(target, template, "{path}");
            said.push_str(&format!("{error}\n"));
        }
        expect![[r#"
            path: there is nothing at `/spec/replcas` to replace: `/spec` has `a/b`, `list`, `none`, `one` and `replicas`; correct the path, or use `op: add`
            path: there is nothing at `/spec/replcas` to remove: `/spec` has `a/b`, `list`, `none`, `one` and `replicas`; correct the path, or leave the operation out
            path: there is nothing at `/metadata` to go through: the object has `spec`; correct the path, or use `merge`, which makes what is missing
            path: `2` in `/spec/list/2` is no index into the list at `/spec/list`, which has 2 items: use an index from 0 to 1
            path: `3` in `/spec/list/3` is no index into the list at `/spec/list`, which has 2 items: use an index up to 2, or `-` for the end
            path: `01` in `/spec/one/01` is no index into the list at `/spec/one`, which has 1 item: use the index 0
            path: `0` in `/spec/none/0` is no index into the list at `/spec/none`, which is empty: use `op: add` with the index `-`
            path: `first` in `/spec/list/first/a` is no index into the list at `/spec/list`, which has 2 items: use an index from 0 to 1
            path: `/spec/replicas/max` leads through `/spec/replicas`, which is a number and has no fields: correct the path
            path: there is nothing at `/spec/a~1b/c` to remove: `/spec/a~1b` has no fields; correct the path, or leave the operation out
            path: `/spec/a~b` has a `~` that is not followed by 0 or 1: write `~0` for `~` and `~1` for `/`
            path: `$.spec.list[0].a` is not a JSON pointer, which begins with `/`: write `/spec/list/0/a` or the like
            path: the empty path is the whole object: name the field that is to change
            value: `add` at `/spec/x` needs a value; use `op: remove` to take the field away
        "#]].assert_eq(&said);
    }

    proptest! {
        /// Where json-patch, another implementation of RFC 6902, succeeds, so do we, and equally;
        /// where it refuses, so do we.
        #[test]
        fn agrees_with_another_implementation(
            target in any_object(),
            op in prop_oneof![Just(PatchOp::Add), Just(PatchOp::Remove), Just(PatchOp::Replace)],
            path in prop::collection::vec("[abc]|[0-3]|-|~0|~1", 1..4),
            value in any_object(),
        ) {
            let path = format!("/{}", path.join("/"));
            let ours_to_do = operation(op, &path, (op != PatchOp::Remove).then_some(value));
            let theirs_to_do: json_patch::PatchOperation =
                serde_json::from_value(serde_json::to_value(&ours_to_do).unwrap()).unwrap();
            let (mut ours, mut theirs) = (target.clone(), target);
            let done = apply(&mut ours, &ours_to_do).is_ok();
            prop_assert_eq!(done, json_patch::patch(&mut theirs, &[theirs_to_do]).is_ok());
            prop_assert_eq!(ours, theirs);
        }
    }
}
