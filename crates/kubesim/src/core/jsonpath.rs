//! The part of JSONPath that printer columns use: fields, indices, `[*]`, filters that compare a
//! field with a literal, and recursive descent.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Descend(String),
    /// A field of an item, a comparison, and what it is compared with; no comparison asks
    /// whether the field is there.
    Filter(Vec<String>, Option<(bool, Value)>),
}

impl JsonPath {
    /// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`; `None` for what it
    /// does not understand.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                let (name, after) = field(after);
                steps.push(Step::Descend(name));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = field(after);
                match name.as_str() {
                    "" => {}
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let end = closing(after)?;
                steps.push(bracket(&after[..end])?);
                rest = &after[end + 1..];
            } else {
                let (name, after) = field(rest);
                if name.is_empty() {
                    return None;
                }
                steps.push(Step::Field(name));
                rest = after;
            }
        }
        Some(JsonPath { steps })
    }

    /// Everything that the path finds.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

/// A field's name, with `\.` for a dot in it, and what follows.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' | '[' if !escaped => return (name, &text[at..]),
            _ => {
                name.push(c);
                escaped = false;
            }
        }
    }
    (name, "")
}

/// Where a bracket closes, quotes skipped.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquote(text) {
        return Some(Step::Field(name));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        for (sign, equal) in [("==", true), ("!=", false)] {
            if let Some((left, right)) = filter.split_once(sign) {
                let right = right.trim();
                let literal = unquote(right).map(Value::String).or_else(|| serde_json::from_str(right).ok())?;
                return Some(Step::Filter(item_path(left)?, Some((equal, literal))));
            }
        }
        return Some(Step::Filter(item_path(filter)?, None));
    }
    text.parse().ok().map(Step::Index)
}

fn unquote(text: &str) -> Option<String> {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).map(String::from)
}

fn item_path(text: &str) -> Option<Vec<String>> {
    let path = text.trim().strip_prefix('@')?;
    Some(path.split('.').filter(|part| !part.is_empty()).map(String::from).collect())
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Step::Index(index), Value::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(0);
                let at = if *index < 0 { length + index } else { *index };
                usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(fields)) => fields.values().collect(),
            (Step::Filter(path, wish), Value::Array(items)) => items
                .iter()
                .filter(|item| {
                    let found = path.iter().try_fold(*item, |value, name| value.get(name));
                    match wish {
                        None => found.is_some(),
                        Some((equal, literal)) => found.is_some_and(|found| (found == literal) == *equal),
                    }
                })
                .collect(),
            (Step::Descend(name), _) => {
                let mut found = Vec::new();
                descend(value, name, &mut found);
                found
            }
            _ => Vec::new(),
        }
    }
}

fn descend<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (field, inner) in fields {
                if field == name {
                    found.push(inner);
                }
                descend(inner, name, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| descend(item, name, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_find_their_values() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}], "n": [1, 2, 3]},
        });
        for (path, expected) in [
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type!='Ready')].status", json!(["False"])),
            (".status.n[-1]", json!([3])),
            (".status.n[*]", json!([1, 2, 3])),
            (r".metadata.annotations.a\.b/c", json!(["x"])),
            (".metadata.annotations['a.b/c']", json!(["x"])),
            ("{..type}", json!(["Ready", "Other"])),
            (".nothing.here", json!([])),
        ] {
            let found = JsonPath::parse(path).expect(path);
            assert_eq!(json!(found.find(&object)), expected, "{path}");
        }
        assert!(JsonPath::parse(".a[?(b)]").is_none());
        assert!(JsonPath::parse(".a[").is_none());
    }
}
