//! `$name` in paths and bodies.

use std::collections::BTreeMap;

use serde_json::Value;

/// The values that `$name` stands for.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// What every case has: its namespace, and the paths that lead there.
    pub fn for_namespace(namespace: &str) -> Variables {
        let mut variables = Variables::default();
        variables.set("ns", namespace);
        variables.set("group", &format!("{namespace}.example.com"));
        variables.set("mebibyte", &"x".repeat(1 << 20));
        variables.set("core", &format!("/api/v1/namespaces/{namespace}"));
        for (name, group) in [
            ("apps", "apps/v1"),
            ("batch", "batch/v1"),
            ("networking", "networking.k8s.io/v1"),
            ("policy", "policy/v1"),
            ("rbac", "rbac.authorization.k8s.io/v1"),
            ("autoscaling", "autoscaling/v2"),
        ] {
            variables.set(name, &format!("/apis/{group}/namespaces/{namespace}"));
        }
        variables
    }

    /// Gives a name its value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// The text with every `$name` replaced; an error names the one that has no value.
    pub fn text(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let value = self.0.get(name).ok_or_else(|| format!("${name} has no value here"))?;
            out.push_str(value);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The same for every string and key of a body.
    pub fn value(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, value)| Ok((self.text(key)?, self.value(value)?)))
                    .collect::<Result<_, String>>()?,
            ),
            other => other.clone(),
        })
    }
}

#[test]
fn names_are_replaced_and_unknown_ones_refused() {
    let mut variables = Variables::for_namespace("web");
    variables.set("rv", "17");
    assert_eq!(
        variables.text("$core/pods?resourceVersion=$rv&x=$$y").unwrap(),
        "/api/v1/namespaces/web/pods?resourceVersion=17&x=$y"
    );
    assert_eq!(variables.text("$gone/x").unwrap_err(), "$gone has no value here");
}
