//! Label and field selectors, from query parameters and from `metav1.LabelSelector` objects.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::ApiError;
use super::metadata::{label_key_problem, label_value_problem};

/// An object's labels.
pub type Labels = BTreeMap<String, String>;

/// A conjunction of requirements on labels. Empty matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// A `metav1.LabelSelector` that is absent selects nothing.
    nothing: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Whether these labels meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Reads the `labelSelector` parameter.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut parser = Parser { tokens: lex(text), at: 0 };
        let requirements = parser.requirements().map_err(ApiError::bad_request)?;
        Ok(LabelSelector { requirements, nothing: false })
    }

    /// Reads a `metav1.LabelSelector`; absent selects nothing, `{}` everything. Operators that
    /// do not exist select nothing: validation refused them before.
    pub fn from_object(selector: Option<&Value>) -> Self {
        let Some(selector) = selector.filter(|value| value.is_object()) else {
            return LabelSelector { requirements: Vec::new(), nothing: true };
        };
        let mut result = LabelSelector::from_map(selector.get("matchLabels"));
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_string();
            let values = || strings(&expression["values"]);
            let operator = match expression["operator"].as_str() {
                Some("In") => Operator::In(values()),
                Some("NotIn") => Operator::NotIn(values()),
                Some("Exists") => Operator::Exists,
                Some("DoesNotExist") => Operator::Absent,
                _ => return LabelSelector { requirements: Vec::new(), nothing: true },
            };
            result.requirements.push(Requirement { key, operator });
        }
        result
    }

    /// Reads a plain map, as `Service.spec.selector` is.
    pub fn from_map(map: Option<&Value>) -> Self {
        let requirements = map
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In(vec![value.as_str().unwrap_or_default().to_string()]),
            })
            .collect();
        LabelSelector { requirements, nothing: false }
    }
}

/// The text form of a `metav1.LabelSelector`, which `status.selector` of a scale has.
pub fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values = strings(&expression["values"]);
        values.sort();
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_string(),
            _ => format!("!{key}"),
        });
    }
    parts.sort_by(|a, b| a.trim_start_matches('!').cmp(b.trim_start_matches('!')));
    parts.join(",")
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from).collect()
}

impl Requirement {
    /// Keys and values that no label can have are refused.
    fn check(&self) -> Result<(), String> {
        let refuse = |field: String, value: &str, problem: &str| {
            Err(format!("unable to parse requirement: {field}: Invalid value: {value:?}: {problem}"))
        };
        if let Some(problem) = label_key_problem(&self.key) {
            return refuse("<nil>".to_string(), &self.key, &problem);
        }
        let (Operator::In(values) | Operator::NotIn(values)) = &self.operator else { return Ok(()) };
        for (index, value) in values.iter().enumerate() {
            if let Some(problem) = label_value_problem(value) {
                return refuse(format!("values[{index}][{}]", self.key), value, &problem);
            }
        }
        Ok(())
    }

    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|text| text.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::Greater(bound) => number().is_some_and(|n| n > *bound),
            Operator::Less(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Sign(&'static str),
    End,
}

impl Token {
    fn shown(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Sign(sign) => sign,
            Token::End => "",
        }
    }
}

fn lex(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let sign = ["==", "!=", "=", "!", ",", "(", ")", ">", "<"].into_iter().find(|sign| rest.starts_with(sign));
        let taken = if let Some(sign) = sign {
            tokens.push(Token::Sign(sign));
            sign.len()
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_string()));
            end
        };
        rest = rest[taken..].trim_start();
    }
    tokens.push(Token::End);
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Token {
        self.tokens.get(self.at).cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.peek() == Token::End {
            return Ok(requirements);
        }
        loop {
            if !matches!(self.peek(), Token::Word(_) | Token::Sign("!")) {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", self.peek().shown()));
            }
            let requirement = self.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
            requirement.check()?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Sign(",") => {
                    if self.peek() == Token::End {
                        return Err("found '', expected: identifier after ','".into());
                    }
                }
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.shown())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Token::Sign("!");
        if absent {
            self.at += 1;
        }
        let Token::Word(key) = self.next() else {
            self.at -= 1;
            return Err(format!("found '{}', expected: !, identifier, or 'end of string'", self.peek().shown()));
        };
        if absent {
            return Ok(Requirement { key, operator: Operator::Absent });
        }
        let operator = match self.peek() {
            Token::End | Token::Sign(",") => return Ok(Requirement { key, operator: Operator::Exists }),
            Token::Sign(sign @ ("=" | "==" | "!=" | ">" | "<")) => {
                self.at += 1;
                self.single(sign)?
            }
            Token::Word(word) if word == "in" || word == "notin" => {
                self.at += 1;
                let values = self.set()?;
                if word == "in" { Operator::In(values) } else { Operator::NotIn(values) }
            }
            other => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.shown())),
        };
        Ok(Requirement { key, operator })
    }

    fn single(&mut self, sign: &str) -> Result<Operator, String> {
        let value = match self.peek() {
            Token::Word(word) => {
                self.at += 1;
                word
            }
            Token::End | Token::Sign(",") => String::new(),
            other => return Err(format!("found '{}', expected: identifier", other.shown())),
        };
        let bound = || {
            value
                .parse::<i64>()
                .map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer, not {value:?}"))
        };
        Ok(match sign {
            "!=" => Operator::NotIn(vec![value]),
            ">" => Operator::Greater(bound()?),
            "<" => Operator::Less(bound()?),
            _ => Operator::In(vec![value]),
        })
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        if self.peek() != Token::Sign("(") {
            return Err(format!("found '{}' expected: '('", self.peek().shown()));
        }
        self.at += 1;
        let mut values = vec![String::new()];
        loop {
            match self.next() {
                Token::Word(word) => *values.last_mut().expect("one value at least") = word,
                Token::Sign(",") => values.push(String::new()),
                Token::Sign(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',', or ')'", other.shown())),
            }
        }
    }
}

/// A conjunction of equalities and inequalities on fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Reads the `fieldSelector` parameter; `,`, `=` and `\` in values are escaped with `\`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text, ',') {
            if part.is_empty() {
                continue;
            }
            let invalid = || ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'"));
            let position = part.find('=').ok_or_else(invalid)?;
            let (mut field, mut value) = (&part[..position], &part[position + 1..]);
            let mut equal = true;
            if let Some(shorter) = field.strip_suffix('!') {
                field = shorter;
                equal = false;
            } else if let Some(shorter) = value.strip_prefix('=') {
                value = shorter;
            }
            terms.push(Term { field: field.to_string(), value: unescape(value), equal });
        }
        Ok(FieldSelector { terms })
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The fields that are asked for.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| term.field.as_str())
    }

    /// The value that `field` must have, if there is such a term.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Whether an object with these fields matches; absent fields count as empty.
    pub fn matches(&self, mut field: impl FnMut(&str) -> String) -> bool {
        self.terms.iter().all(|term| (field(&term.field) == term.value) == term.equal)
    }
}

fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut escaped = false;
    for c in text.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn every_operator_selects() {
        let web = labels(&[("app", "web"), ("tier", "2")]);
        for (text, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("app=web,tier==2", true),
            ("app!=web", false),
            ("missing!=web", true),
            ("app in (api, web)", true),
            ("app notin (api,web)", false),
            ("missing notin (a)", true),
            ("tier>1", true),
            ("tier<2", false),
            ("app=", false),
            ("in=web", false),
        ] {
            assert_eq!(LabelSelector::parse(text).expect(text).matches(&web), expected, "{text}");
        }
    }

    #[test]
    fn errors_say_what_was_found() {
        for (text, message) in [
            ("a b c", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a,", "found '', expected: identifier after ','"),
        ] {
            assert_eq!(LabelSelector::parse(text).expect_err(text).message, message);
        }
    }

    #[test]
    fn objects_select_too() {
        let selector =
            json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]});
        assert!(LabelSelector::from_object(Some(&selector)).matches(&labels(&[("app", "web"), ("tier", "2")])));
        assert!(!LabelSelector::from_object(Some(&selector)).matches(&labels(&[("app", "web")])));
        assert!(!LabelSelector::from_object(None).matches(&labels(&[])));
        assert_eq!(selector_text(&selector), "app=web,tier");
    }

    #[test]
    fn fields_are_compared_and_unescaped() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b,status.phase!=Running").expect("parses");
        let fields = |name: &str| if name == "metadata.name" { "a,b".to_string() } else { "Pending".to_string() };
        assert!(selector.matches(fields));
        assert_eq!(selector.exact("metadata.name"), Some("a,b"));
        assert!(FieldSelector::parse("nonsense").is_err());
    }
}
