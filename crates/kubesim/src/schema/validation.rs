//! Checking an object against its schema, in the words of kube-openapi.

use serde_json::{Map, Value, json};

use super::checks::Checks;
use super::error::{FieldError, Reason, quote};
use super::format;
use super::node::{Additional, Field, ListType, Node, NodeId, Type};
use super::{Origin, Schema};
use crate::value::equal;

impl Schema {
    /// Everything in an object that breaks the schema's rules.
    ///
    /// A built-in object that Go could not decode gives one error of the reason `FieldValueTypeInvalid`, without a
    /// field and with the decoder's text. Of the rest only missing texts and values out of an enumeration are told
    /// here: what more the server asks of a built-in kind is no matter of its schema.
    pub fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut found = Findings::default();
        if self.origin == Origin::Builtin {
            if let Some(message) = self.decode_error(object) {
                let reason = Reason::FieldValueTypeInvalid;
                return vec![FieldError { field: String::new(), reason, message }];
            }
            self.check_builtin(self.root, object, "", &mut found);
            return found.errors;
        }
        self.check(self.root, object, "", &mut found);
        self.check_lists(self.root, object, "", &mut found.errors);
        found.errors
    }

    /// What is wrong with a value of one place of the schema.
    pub(super) fn check_value(&self, id: NodeId, value: &Value) -> Vec<FieldError> {
        let mut found = Findings::default();
        self.check(id, value, "", &mut found);
        found.errors
    }

    fn check(&self, id: NodeId, value: &Value, path: &str, found: &mut Findings) {
        let node = self.arena.node(id);
        if value.is_null() {
            if node.nullable || node.r#type == Type::Any {
                found.matches += 1;
            } else {
                found.wrong_type(path, node.r#type, "null");
            }
            self.check_enumeration(node, value, path, found);
            return;
        }
        if !fits(node.r#type, value, node.checks.as_deref()) {
            found.wrong_type(path, node.r#type, json_type(value));
        } else {
            found.matches += 1;
        }
        if let Some(number) = value.as_f64().filter(|_| node.r#type == Type::Integer) {
            check_integer(node.checks.as_deref(), number, path, found);
        }
        if let Some(checks) = node.checks.as_deref() {
            self.check_junctors(checks, value, path, found);
            match value {
                Value::String(text) => check_string(checks, text, path, found),
                Value::Number(_) => check_number(checks, value, path, found),
                Value::Array(items) => check_size(checks, items, path, found),
                Value::Object(map) => check_property_count(checks, map.len(), path, found),
                _ => {}
            }
        }
        if let (Value::Array(items), Some(each)) = (value, node.items) {
            for (index, item) in items.iter().enumerate() {
                self.check(each, item, &format!("{path}[{index}]"), found);
            }
        }
        self.check_enumeration(node, value, path, found);
        if let Value::Object(map) = value {
            for (name, child) in map {
                let below = match (node.fields.get(name.as_str()), node.additional) {
                    (Some(field), _) => Some(field.node),
                    (None, Additional::Each(each)) => Some(each),
                    _ => None,
                };
                if let Some(below) = below {
                    self.check(below, child, &join(path, name), found);
                }
            }
            if node.embedded {
                check_embedded(map, path, found);
            }
            for name in &node.required {
                if !map.contains_key(&**name) {
                    found.errors.push(FieldError::required(join(path, name), ""));
                }
            }
        }
    }

    /// Required texts and enumerations, outside of what the server itself writes.
    fn check_builtin(&self, id: NodeId, value: &Value, path: &str, found: &mut Findings) {
        let node = self.arena.node(id);
        match value {
            Value::String(text) if !text.is_empty() => self.check_enumeration(node, value, path, found),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.check_builtin(self.arena.item(id), item, &format!("{path}[{index}]"), found);
                }
            }
            Value::Object(map) => {
                for (name, child) in map {
                    if path.is_empty() && matches!(name.as_str(), "metadata" | "status") {
                        continue;
                    }
                    if let Some(below) = self.arena.child(id, name) {
                        self.check_builtin(below, child, &join(path, name), found);
                    }
                }
                // The text of a header or setting may be empty, and so is the core group.
                for name in node.required.iter().filter(|name| !matches!(&***name, "value" | "group")) {
                    let is_text = |field: &Field| self.arena.node(field.node).r#type == Type::String;
                    let missing = map.get(&**name).is_none_or(|child| child.is_null() || child == "");
                    if missing && node.fields.get(name).is_some_and(is_text) {
                        found.errors.push(FieldError::required(join(path, name), ""));
                    }
                }
            }
            _ => {}
        }
    }

    fn check_enumeration(&self, node: &Node, value: &Value, path: &str, found: &mut Findings) {
        let Some(checks) = node.checks.as_deref() else { return };
        if checks.enumeration.is_empty() || checks.enumeration.iter().any(|one| equal(one, value)) {
            return;
        }
        let supported: Vec<String> =
            checks.enumeration.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        found.errors.push(FieldError::not_supported(root(path), value, &supported));
    }

    /// `anyOf`, `oneOf`, `allOf` and `not`; of several alternatives that fail, the one that came furthest is shown.
    fn check_junctors(&self, checks: &Checks, value: &Value, path: &str, found: &mut Findings) {
        let attempt = |id: NodeId| {
            let mut inner = Findings::default();
            self.check(id, value, path, &mut inner);
            inner
        };
        let junction = |text: String| FieldError::invalid("<nil>", &Value::from(""), &text);
        if !checks.any_of.is_empty() {
            let outcomes: Vec<Findings> = checks.any_of.iter().map(|&id| attempt(id)).collect();
            if !outcomes.iter().any(Findings::clean) {
                found.errors.push(junction(format!("{} must validate at least one schema (anyOf)", quote(path))));
                found.merge_best(outcomes);
            }
        }
        if !checks.one_of.is_empty() {
            let outcomes: Vec<Findings> = checks.one_of.iter().map(|&id| attempt(id)).collect();
            let valid = outcomes.iter().filter(|one| one.clean()).count();
            if valid != 1 {
                let count = if valid == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {valid} valid alternatives")
                };
                let text = format!("{} must validate one and only one schema (oneOf). {count}", quote(path));
                found.errors.push(junction(text));
                if valid == 0 {
                    found.merge_best(outcomes);
                }
            }
        }
        if !checks.all_of.is_empty() {
            let outcomes: Vec<Findings> = checks.all_of.iter().map(|&id| attempt(id)).collect();
            let valid = outcomes.iter().filter(|one| one.clean()).count();
            let all = valid == outcomes.len();
            outcomes.into_iter().for_each(|one| found.errors.extend(one.errors));
            if !all {
                let none = if valid == 0 { ". None validated" } else { "" };
                found.errors.push(junction(format!("{} must validate all the schemas (allOf){none}", quote(path))));
            }
        }
        if let Some(not) = checks.not
            && attempt(not).clean()
        {
            found.errors.push(junction(format!("{} must not validate the schema (not)", quote(path))));
        }
    }

    /// Uniqueness within lists that are sets or maps.
    fn check_lists(&self, id: NodeId, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        let node = self.arena.node(id);
        match value {
            Value::Object(map) => {
                for (name, child) in map {
                    let below = match (node.fields.get(name.as_str()), node.additional) {
                        (Some(field), _) => (field.node, join(path, name)),
                        (None, Additional::Each(each)) => (each, format!("{path}[{name}]")),
                        _ => continue,
                    };
                    self.check_lists(below.0, child, &below.1, errors);
                }
            }
            Value::Array(items) => {
                match &node.list {
                    ListType::Atomic => {}
                    ListType::Set => duplicates(items, path, errors),
                    ListType::Map(keys) => check_keys(keys, items, path, errors),
                }
                if let Some(each) = node.items {
                    for (index, item) in items.iter().enumerate() {
                        self.check_lists(each, item, &format!("{path}[{index}]"), errors);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What a walk found: the errors, and how many checks passed (which ranks alternatives).
#[derive(Default)]
struct Findings {
    errors: Vec<FieldError>,
    matches: usize,
}

impl Findings {
    fn clean(&self) -> bool {
        self.errors.is_empty()
    }

    fn wrong_type(&mut self, path: &str, wanted: Type, found: &str) {
        let wanted = type_name(wanted);
        let detail = format!("{path} in body must be of type {wanted}: {}", quote(found));
        self.errors.push(FieldError::type_invalid(root(path), &Value::from(found), &detail));
    }

    fn invalid(&mut self, path: &str, value: &Value, rule: &str) {
        let detail = format!("{path} in body {rule}");
        self.errors.push(FieldError::invalid(root(path), value, &detail));
    }

    fn merge_best(&mut self, outcomes: Vec<Findings>) {
        let mut best: Option<Findings> = None;
        for one in outcomes {
            if best.as_ref().is_none_or(|best| one.matches > best.matches) {
                best = Some(one);
            }
        }
        self.errors.extend(best.into_iter().flat_map(|best| best.errors));
    }
}

/// A path as an error's field: the whole object has none.
fn root(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn type_name(wanted: Type) -> &'static str {
    match wanted {
        Type::Object => "object",
        Type::Array => "array",
        Type::String => "string",
        Type::Integer => "integer",
        Type::Number => "number",
        Type::Boolean => "boolean",
        Type::IntOrString => "integer,string",
        Type::Quantity => "string,number",
        Type::Any => "any",
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fits(wanted: Type, value: &Value, checks: Option<&Checks>) -> bool {
    let whole =
        || value.as_i64().is_some() || value.as_u64().is_some() || value.as_f64().is_some_and(|one| one.fract() == 0.0);
    match wanted {
        Type::Any => true,
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        // A format makes kube-openapi leave the check to the format's own.
        Type::String => value.is_string() || value.is_array() && checks.is_some_and(|one| one.format.is_some()),
        Type::Integer => value.is_number() && whole(),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
        Type::IntOrString => value.is_string() || value.is_number() && whole(),
        Type::Quantity => value.is_string() || value.is_number(),
    }
}

fn check_string(checks: &Checks, text: &str, path: &str, found: &mut Findings) {
    let length = text.chars().count() as u64;
    // Of these three only the first that fails is told.
    if let Some(most) = checks.max_length.filter(|most| length > *most) {
        found.errors.push(FieldError::too_long(root(path), usize::try_from(most).unwrap_or(usize::MAX)));
    } else if let Some(least) = checks.min_length.filter(|least| length < *least) {
        found.invalid(path, &Value::from(text), &format!("should be at least {least} chars long"));
    } else if let Some((pattern, _)) = checks.pattern.as_ref().filter(|(_, regex)| !regex.is_match(text)) {
        found.invalid(path, &Value::from(text), &format!("should match '{pattern}'"));
    }
    if let Some(name) = checks.format.as_deref()
        && !format::fits(name, text)
    {
        let detail = format!("{path} in body must be of type {name}: {}", quote(text));
        found.errors.push(FieldError::type_invalid(root(path), &Value::from(text), &detail));
    }
}

/// A number without a fraction must be one that its format can hold.
fn check_integer(checks: Option<&Checks>, number: f64, path: &str, found: &mut Findings) {
    let format = checks.and_then(|checks| checks.format.as_deref());
    let (fits, name) = match format {
        Some("int32") => (number.abs() <= f64::from(i32::MAX) || number == f64::from(i32::MIN), "with format int32"),
        Some("int64") => (true, "with format int64"),
        _ => (true, "(default format)"),
    };
    if !fits || number.fract() != 0.0 {
        let detail = format!("Checked value must be of type integer {name} in {path}");
        found.errors.push(FieldError::invalid("<nil>", &Value::from(""), &detail));
    }
}

fn check_number(checks: &Checks, value: &Value, path: &str, found: &mut Findings) {
    let Some(number) = value.as_f64() else { return };
    if let Some(factor) = checks.multiple_of {
        // The real server divides integers by the factor's whole part.
        let factor = if value.is_f64() { factor } else { factor.trunc() };
        if factor <= 0.0 {
            let detail = format!("factor MultipleOf declared for {path} must be positive: {factor}");
            found.errors.push(FieldError::invalid(root(path), &json!(0), &detail));
        } else {
            let ratio = if factor < 1.0 { 1.0 / factor * number } else { number / factor };
            if (ratio - ratio.round()).abs() > 1e-9 * ratio.abs().max(1.0) {
                found.invalid(path, value, &format!("should be a multiple of {factor}"));
            }
        }
    }
    if let Some(most) = checks.maximum {
        if checks.exclusive_maximum && number >= most {
            found.invalid(path, value, &format!("should be less than {most}"));
        } else if number > most {
            found.invalid(path, value, &format!("should be less than or equal to {most}"));
        }
    }
    if let Some(least) = checks.minimum {
        if checks.exclusive_minimum && number <= least {
            found.invalid(path, value, &format!("should be greater than {least}"));
        } else if number < least {
            found.invalid(path, value, &format!("should be greater than or equal to {least}"));
        }
    }
}

/// What an object within an object must say (`apiextensions-apiserver`, `schema/objectmeta`).
fn check_embedded(map: &Map<String, Value>, path: &str, found: &mut Findings) {
    for name in ["apiVersion", "kind"] {
        let field = join(path, name);
        match map.get(name) {
            None => found.errors.push(FieldError::required(field, "")),
            Some(Value::String(text)) if text.is_empty() => {
                found.errors.push(FieldError::invalid(field, &json!(""), "must not be empty"));
            }
            Some(Value::String(_)) => {}
            Some(other) => found.errors.push(FieldError::invalid(field, other, "must be a string")),
        }
    }
}

fn check_size(checks: &Checks, items: &[Value], path: &str, found: &mut Findings) {
    let count = items.len() as u64;
    if let Some(least) = checks.min_items
        && count < least
    {
        found.invalid(path, &Value::from(count), &format!("should have at least {least} items"));
    }
    if let Some(most) = checks.max_items
        && count > most
    {
        found.errors.push(FieldError::too_many(root(path), items.len(), usize::try_from(most).unwrap_or(usize::MAX)));
    }
    if checks.unique_items && items.iter().enumerate().any(|(index, item)| items[..index].contains(item)) {
        found.invalid(path, &Value::from(""), "shouldn't contain duplicates");
    }
}

fn check_property_count(checks: &Checks, count: usize, path: &str, found: &mut Findings) {
    if let Some(least) = checks.min_properties
        && (count as u64) < least
    {
        found.invalid(path, &Value::from(count), &format!("should have at least {least} properties"));
    }
    if let Some(most) = checks.max_properties
        && count as u64 > most
    {
        found.errors.push(FieldError::too_many(root(path), count, usize::try_from(most).unwrap_or(usize::MAX)));
    }
}

/// Reports each value that is there a second time, once.
fn duplicates(items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    for (index, item) in items.iter().enumerate() {
        if items[..index].iter().filter(|one| *one == item).count() == 1 {
            errors.push(FieldError::duplicate(format!("{path}[{index}]"), item));
        }
    }
}

/// Reports each set of key fields that is there a second time, once.
fn check_keys(keys: &[Box<str>], items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some((index, item)) = items.iter().enumerate().find(|(_, item)| !item.is_object() && !item.is_null()) {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(format!("{path}[{index}]"), item, detail));
        return;
    }
    let picked: Vec<Value> = items
        .iter()
        .map(|item| {
            let fields = keys.iter().filter_map(|key| Some((key.to_string(), item.get(&**key)?.clone())));
            Value::Object(fields.collect())
        })
        .collect();
    duplicates(&picked, path, errors);
}
