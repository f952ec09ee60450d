//! The small texts of cells.

use serde_json::Value;

use super::super::selector::selector_text;
use crate::value;

/// A text, or another where it is empty.
pub fn or(text: &str, other: &str) -> String {
    if text.is_empty() { other.to_string() } else { text.to_string() }
}

/// The first few of many, and how many more.
pub fn few(items: &[String], most: usize) -> String {
    match items.len().saturating_sub(most) {
        0 => items.join(","),
        more => format!("{} + {more} more...", items[..most].join(",")),
    }
}

/// `a=b,c=d`, or `<none>`.
pub fn labels(map: Option<&Value>) -> String {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, label)| format!("{key}={}", label.as_str().unwrap_or_default()))
        .collect();
    or(&pairs.join(","), "<none>")
}

/// A label selector, or `<none>`.
pub fn selector(selector: Option<&Value>) -> String {
    or(&selector.map(selector_text).unwrap_or_default(), "<none>")
}

/// Names and images of a template's containers.
pub fn containers(template: &Value) -> (String, String) {
    let of = |field: &str| {
        let texts: Vec<&str> = value::list(template, &["spec", "containers"])
            .iter()
            .filter_map(|container| container[field].as_str())
            .collect();
        texts.join(",")
    };
    (of("name"), of("image"))
}

/// `ReadWriteOnce` and its like, abbreviated.
pub fn access_modes(modes: &[Value]) -> String {
    let short: Vec<&str> = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]
        .into_iter()
        .zip(["RWO", "ROX", "RWX", "RWOP"])
        .filter(|(mode, _)| modes.iter().any(|given| given == mode))
        .map(|(_, short)| short)
        .collect();
    short.join(",")
}

/// The addresses of a load balancer's status.
pub fn load_balancer(object: &Value) -> String {
    let mut addresses: Vec<String> = value::list(object, &["status", "loadBalancer", "ingress"])
        .iter()
        .filter_map(|ingress| ingress["ip"].as_str().or(ingress["hostname"].as_str()))
        .map(String::from)
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses.join(",")
}

/// A quantity, number or text as it stands.
pub fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
