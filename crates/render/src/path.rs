//! Paths: as people read them, and as kube-apiserver writes them in the causes of a conflict.

use serde_json::Value;

/// A field's name as the next segment of a path for people: bracketed when it has dots itself.
pub(crate) fn segment(name: &str) -> String {
    if name.contains(['.', '/']) { format!("[{name}]") } else { name.to_owned() }
}

/// Appends a segment (a field's name, or an item in brackets) to a path for people.
pub(crate) fn join(path: &str, segment: &str) -> String {
    if path.is_empty() || segment.starts_with('[') { format!("{path}{segment}") } else { format!("{path}.{segment}") }
}

/// What stands in the brackets of a path of kube-apiserver (`fieldpath.PathElement` of
/// structured-merge-diff).
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Selector {
    /// `[name="web"]`: the item of a keyed list.
    Key(Vec<(String, Value)>),
    /// `[="x"]`: the item of a set.
    Value(Value),
    /// `[3]`: the item of an atomic list.
    Index(usize),
}

/// Reads a selector at the start of `text` and gives what follows it.
pub(crate) fn selector(text: &str) -> Option<(Selector, &str)> {
    let inner = text.strip_prefix('[')?;
    if inner.starts_with(|first: char| first.is_ascii_digit()) {
        let (digits, rest) = inner.split_once(']')?;
        return Some((Selector::Index(digits.parse().ok()?), rest));
    }
    if let Some(inner) = inner.strip_prefix('=') {
        let (value, rest) = scalar(inner)?;
        return Some((Selector::Value(value), rest.strip_prefix(']')?));
    }
    let mut keys = Vec::new();
    let mut rest = inner;
    loop {
        let (name, tail) = rest.split_once('=')?;
        let (value, tail) = scalar(tail)?;
        keys.push((name.to_owned(), value));
        if let Some(tail) = tail.strip_prefix(']') {
            return Some((Selector::Key(keys), tail));
        }
        rest = tail.strip_prefix(',')?;
    }
}

/// Reads a number, a boolean, `null` or a string in Go's quotes, and gives what follows it.
fn scalar(text: &str) -> Option<(Value, &str)> {
    if let Some(inner) = text.strip_prefix('"') {
        let (string, rest) = go_string(inner)?;
        return Some((Value::String(string), rest));
    }
    let end = text.find([',', ']'])?;
    let (word, rest) = text.split_at(end);
    Some((serde_json::from_str(word).ok()?, rest))
}

/// Reads what Go's `%q` wrote, from behind the opening quote to behind the closing one.
fn go_string(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '"' => return Some((out, rest.as_str())),
            '\\' => out.push(match rest.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                escape @ ('x' | 'u' | 'U') => {
                    let digits = match escape {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let hex = rest.as_str().get(..digits)?;
                    rest = rest.as_str()[digits..].chars();
                    char::from_u32(u32::from_str_radix(hex, 16).ok()?)?
                }
                other => other,
            }),
            other => out.push(other),
        }
    }
}

/// A step from a value to one of its children.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Into the field of an object.
    Field(String),
    /// Into the item of a list.
    Item(usize),
}

/// Finds the place that a path of kube-apiserver means in a value: `.spec.replicas`,
/// `.spec.containers[name="web"].image`, `.metadata.labels.app.kubernetes.io/name`.
///
/// The API server does not quote dots inside names, so the value decides where a name ends.
pub(crate) fn locate(value: &Value, path: &str) -> Option<Vec<Step>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    let (step, child, rest) = match value {
        Value::Object(fields) => {
            let text = path.strip_prefix('.')?;
            return fields.iter().find_map(|(name, child)| {
                let rest = text.strip_prefix(name.as_str())?;
                if !(rest.is_empty() || rest.starts_with(['.', '['])) {
                    return None;
                }
                let tail = locate(child, rest)?;
                Some(before(Step::Field(name.clone()), tail))
            });
        }
        Value::Array(items) => {
            let (selector, rest) = selector(path)?;
            let index = match selector {
                Selector::Index(index) => index,
                Selector::Value(wanted) => items.iter().position(|item| *item == wanted)?,
                Selector::Key(keys) => keyed_item(items, &keys)?,
            };
            (Step::Item(index), items.get(index)?, rest)
        }
        _ => return None,
    };
    Some(before(step, locate(child, rest)?))
}

fn before(step: Step, mut tail: Vec<Step>) -> Vec<Step> {
    tail.insert(0, step);
    tail
}

/// The item with these keys. A key that the item leaves out counts as equal (the API server names
/// defaulted keys too), as long as one is stated and no second item fits as well.
fn keyed_item(items: &[Value], keys: &[(String, Value)]) -> Option<usize> {
    let fits = |item: &&Value| {
        let stated = keys.iter().filter_map(|(key, value)| Some((item.get(key)?, value)));
        stated.clone().count() > 0 && { stated }.all(|(has, wanted)| has == wanted)
    };
    let exact = |item: &Value| keys.iter().all(|(key, value)| item.get(key) == Some(value));
    if let Some(index) = items.iter().position(exact) {
        return Some(index);
    }
    let mut candidates = items.iter().enumerate().filter(|(_, item)| fits(item)).map(|(index, _)| index);
    let first = candidates.next()?;
    candidates.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_with_dots_are_found_by_the_value() {
        let value =
            json!({"metadata": {"labels": {"app": "x", "app.kubernetes.io/name": "web", "app.kubernetes.io": "y"}}});
        let at = |path: &str| locate(&value, path).map(|steps| steps.last().cloned());
        let field = |name: &str| Some(Some(Step::Field(name.to_owned())));
        assert_eq!(at(".metadata.labels.app.kubernetes.io/name"), field("app.kubernetes.io/name"));
        assert_eq!(at(".metadata.labels.app"), field("app"));
        assert_eq!(at(".metadata.labels.app.kubernetes.io"), field("app.kubernetes.io"));
        assert_eq!(at(".metadata.labels.ap"), None);
        assert_eq!(at("metadata"), None);
    }

    #[test]
    fn items_are_found_by_key_value_and_index() {
        let value = json!({
            "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 443}],
            "set": ["a", "b\"]"],
            "list": [[1], [2]],
        });
        let item = |path: &str| {
            locate(&value, path).and_then(|steps| match steps.get(1) {
                Some(Step::Item(index)) => Some(*index),
                _ => None,
            })
        };
        assert_eq!(item(".ports[containerPort=80,protocol=\"UDP\"].name"), None, "no name there");
        assert_eq!(item(".ports[containerPort=80,protocol=\"UDP\"]"), Some(1));
        assert_eq!(item(".ports[containerPort=80,protocol=\"TCP\"]"), Some(0));
        assert_eq!(item(".ports[containerPort=443,protocol=\"TCP\"].containerPort"), Some(2));
        assert_eq!(item(".ports[containerPort=8080,protocol=\"TCP\"]"), None);
        assert_eq!(item(".set[=\"b\\\"]\"]"), Some(1));
        assert_eq!(item(".list[1][0]"), Some(1));
        assert_eq!(item(".list[2]"), None);
    }

    #[test]
    fn go_quotes_are_understood_and_nonsense_is_not() {
        let (selector, rest) = selector(r#"[a="\t\x41é\u00e9\"",b=true].x"#).unwrap();
        assert_eq!(selector, Selector::Key(vec![("a".into(), json!("\tAéé\"")), ("b".into(), json!(true))]));
        assert_eq!(rest, ".x");
        for wrong in ["[", "[a", "[a=", "[a=\"", "[a=\"x\"", "[=]", "[1", "[a=\"\\xé\"]", "x"] {
            assert!(super::selector(wrong).is_none(), "{wrong}");
        }
    }
}
