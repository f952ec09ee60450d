//! The `merge` of an override: objects field by field, lists by their keys.
//!
//! It is a JSON merge patch (RFC 7386) whose keyed lists are merged item by item, as a strategic
//! merge does: an item with known keys is merged into its namesake or appended, and
//! `{"name": "x", "$patch": "delete"}` removes one. Lists without keys are replaced. Unlike either
//! ancestor it refuses to remove what is not there: in an override that is a typing mistake.

use crate::list_keys::{ListKeys, identify, key_value, label};
use crate::path::{join, segment};
use serde_json::{Map, Value};

/// Why a merge cannot be done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct MergeError {
    /// The path inside the merged value: `spec.template.spec.containers[0].image`.
    pub path: String,
    /// What is wrong, what stands there, and what to do.
    pub message: String,
}

/// What strategic merge patches also know, and an override does not.
const DIRECTIVES: &[&str] = &["$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/"];

/// Merges `change` into `target`, which is left half-changed when an error is returned.
///
/// # Errors
/// When something is removed that is not there, when an item lacks its list's keys or two share
/// them, when an object meets a list, or for a directive that is not known.
pub fn merge(target: &mut Value, change: &Value, keys: &dyn ListKeys) -> Result<(), MergeError> {
    let mut walk = Walk { keys, fields: Vec::new(), path: String::new() };
    walk.value(target, change)
}

/// The place in the two values that the merge has come to.
struct Walk<'a> {
    keys: &'a dyn ListKeys,
    /// The names of the fields, without list items: what [`ListKeys`] is asked with.
    fields: Vec<&'a str>,
    /// The path for people, with list items.
    path: String,
}

impl<'a> Walk<'a> {
    fn error<T>(&self, message: String) -> Result<T, MergeError> {
        Err(MergeError { path: self.path.clone(), message })
    }

    /// Runs `step` one level deeper, at `segment` of the path.
    fn at<T>(&mut self, segment: &str, step: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.path.clone();
        self.path = join(&outer, segment);
        let result = step(self);
        self.path = outer;
        result
    }

    fn value(&mut self, target: &mut Value, change: &'a Value) -> Result<(), MergeError> {
        match change {
            Value::Object(fields) => {
                match target {
                    Value::Object(_) => {}
                    Value::Array(_) => {
                        return self
                            .error(format!("an object cannot be merged into {}: write a list", describe(target)));
                    }
                    _ => *target = Value::Object(Map::new()),
                }
                let target = target.as_object_mut().expect("made an object above");
                self.object(target, fields)
            }
            Value::Array(items) => {
                if target.is_object() {
                    return self.error(format!("a list cannot be merged into {}: write an object", describe(target)));
                }
                match self.keys.keys(&self.fields) {
                    Some(keys) => self.keyed_list(target, items, &keys),
                    None => self.atomic_list(target, items),
                }
            }
            scalar => {
                *target = scalar.clone();
                Ok(())
            }
        }
    }

    fn object(&mut self, target: &mut Map<String, Value>, change: &'a Map<String, Value>) -> Result<(), MergeError> {
        for (name, change) in change {
            self.at(&segment(name), |walk| {
                if name == "$patch" || DIRECTIVES.iter().any(|known| name.starts_with(known)) {
                    return walk.error(
                        "this directive is not understood here: only `$patch: delete` is, in an item of a \
                         list that is merged by keys; remove a field with `null`, do the rest with `patches`"
                            .to_owned(),
                    );
                }
                if change.is_null() {
                    return match target.remove(name) {
                        Some(_) => Ok(()),
                        None => walk.error(format!(
                            "`null` removes a field, but there is no `{name}` here (the object {}): correct the name or leave it out",
                            fields_of(target)
                        )),
                    };
                }
                walk.fields.push(name);
                let result = walk.value(target.entry(name.as_str()).or_insert(Value::Null), change);
                walk.fields.pop();
                result
            })?;
        }
        Ok(())
    }

    fn atomic_list(&mut self, target: &mut Value, items: &'a [Value]) -> Result<(), MergeError> {
        for (index, item) in items.iter().enumerate() {
            if item.get("$patch").is_some() {
                return self.at(&format!("[{index}]"), |walk| {
                    walk.error(
                        "this list is not merged by keys but replaced as a whole: write the whole list, \
                         or remove the item with `patches`"
                            .to_owned(),
                    )
                });
            }
        }
        *target = Value::Array(items.to_vec());
        Ok(())
    }

    fn keyed_list(&mut self, target: &mut Value, items: &'a [Value], keys: &[String]) -> Result<(), MergeError> {
        if !target.is_array() {
            *target = Value::Array(Vec::new());
        }
        let list = target.as_array_mut().expect("made a list above");
        let mut seen = Vec::new();
        for (index, item) in items.iter().enumerate() {
            self.at(&format!("[{index}]"), |walk| {
                let Some(identity) = identify(item, keys) else {
                    let missing = keys.iter().find(|key| key_value(item, key).is_none());
                    return walk.error(match missing {
                        Some(key) if item.is_object() => {
                            format!("the item has no `{key}`, and this list is merged by {}: add it", names(keys))
                        }
                        _ => format!("an object with {} is expected, and this is {}", names(keys), describe(item)),
                    });
                };
                if let Some(first) = seen.iter().position(|other| *other == identity) {
                    return walk
                        .error(format!("item [{first}] of this list is `{}` too: join the two", label(&identity)));
                }
                let result = walk.item(list, item, keys, &label(&identity), |other| {
                    identify(other, keys).as_ref() == Some(&identity)
                });
                seen.push(identity);
                result
            })?;
        }
        Ok(())
    }

    fn item(
        &mut self,
        list: &mut Vec<Value>,
        item: &'a Value,
        keys: &[String],
        label: &str,
        is_namesake: impl Fn(&Value) -> bool,
    ) -> Result<(), MergeError> {
        let mut namesakes = (0..list.len()).filter(|index| is_namesake(&list[*index]));
        let place = namesakes.next();
        if namesakes.next().is_some() {
            return self
                .error(format!("the template has more than one item `{label}`: use `patches` with the item's index"));
        }
        drop(namesakes);
        let fields = item.as_object().expect("an item with keys is an object");
        let Some(directive) = fields.get("$patch") else {
            let place = place.unwrap_or_else(|| {
                list.push(Value::Object(Map::new()));
                list.len() - 1
            });
            let target = list[place].as_object_mut().expect("an item with keys is an object");
            return self.object(target, fields);
        };
        if directive != "delete" {
            return self.error(format!(
                "`$patch: {}` is not understood: `delete` removes the item",
                directive.as_str().unwrap_or("…")
            ));
        }
        if let Some(extra) = fields.keys().find(|field| *field != "$patch" && !keys.contains(field)) {
            return self.error(format!("the item `{label}` is removed, so `{extra}` has no effect: leave it out"));
        }
        match place {
            Some(place) => {
                list.remove(place);
                Ok(())
            }
            None => {
                let there: Vec<String> =
                    list.iter().filter_map(|other| Some(crate::list_keys::label(&identify(other, keys)?))).collect();
                self.error(format!(
                    "there is no item `{label}` to remove: {}; correct {} or leave the item out",
                    if there.is_empty() {
                        "the list is empty".to_owned()
                    } else {
                        format!("the list has {}", names(&there))
                    },
                    names(keys)
                ))
            }
        }
    }
}

/// What a value is, without showing it: it may be a secret.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(items) => match items.len() {
            0 => "an empty list".to_owned(),
            1 => "a list of 1 item".to_owned(),
            count => format!("a list of {count} items"),
        },
        Value::Object(fields) => format!("an object that {}", fields_of(fields)),
    }
}

/// The names of an object's fields, for people: "has `a` and `b`".
pub(crate) fn fields_of(fields: &Map<String, Value>) -> String {
    let mut sorted: Vec<&String> = fields.keys().collect();
    sorted.sort();
    if sorted.is_empty() { "has no fields".to_owned() } else { format!("has {}", names(&sorted)) }
}

/// Names joined for people, at most eight of them.
pub(crate) fn names<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect();
    let rest = names.len().saturating_sub(SHOWN);
    match shown.split_last() {
        _ if rest > 0 => format!("{} and {rest} more", shown.join(", ")),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}
