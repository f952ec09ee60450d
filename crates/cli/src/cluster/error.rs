//! Requests that an API server refused or did not get.

use super::Verb;
use crate::resource::Resource;
use serde_json::Value;

/// A request without the wanted answer. Its text names the object, the API server's words, and the
/// mend where there is one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct CallError {
    text: String,
    status: Option<u16>,
    message: String,
}

impl CallError {
    /// A request that was not sent, or not answered.
    pub fn unsent(verb: Verb, resource: &Resource, server: &str, reason: String) -> Self {
        let text = format!(
            "{} {resource}: {server} cannot be asked: {reason}: check the cluster's address, and that it runs",
            verb.as_str()
        );
        CallError { text, status: None, message: reason }
    }

    /// A request that was answered with this status and body.
    pub fn refused(verb: Verb, resource: &Resource, server: &str, status: u16, body: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = match answer["message"].as_str() {
            Some(message) => message.to_owned(),
            None => String::from_utf8_lossy(body).trim().chars().take(500).collect(),
        };
        let mend = match status {
            401 => format!(
                ": {server} does not know who you are: check the user of the kubeconfig's context, or log in again"
            ),
            403 if is_by_policy(&message) => String::new(),
            403 => format!(
                ": ask for a role with the verb {} on {}{}",
                verb.as_str(),
                resource.kind_words(),
                place(resource)
            ),
            404 if resource.name().is_empty() || answer["details"]["name"].is_null() => {
                format!(": {server} does not serve {}", resource.kind_words())
            }
            _ => String::new(),
        };
        CallError { text: format!("{} {resource}: {message}{mend}", verb.as_str()), status: Some(status), message }
    }

    /// The API server's own words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The object, or its kind, is not there.
    pub fn is_missing(&self) -> bool {
        self.status == Some(404)
    }

    /// The user may not.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.status, Some(401 | 403))
    }

    /// Somebody else changed the object meanwhile.
    pub fn is_stale(&self) -> bool {
        self.status == Some(409)
    }
}

/// A policy's refusal says itself what is missing.
fn is_by_policy(message: &str) -> bool {
    message.contains("ValidatingAdmissionPolicy") || message.contains("admission webhook")
}

fn place(resource: &Resource) -> String {
    match resource.namespace() {
        "" => " in the whole cluster".to_owned(),
        namespace => format!(" in namespace {namespace}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn check(verb: Verb, status: u16, body: Value, expected: Expect) {
        let resource = Resource::federated(&"deployments.apps/shop/web".parse().unwrap());
        let body = body.to_string();
        expected.assert_eq(&CallError::refused(verb, &resource, "https://c", status, body.as_bytes()).to_string());
    }

    #[test]
    fn refusals_have_the_servers_words_and_the_mend() {
        check(
            Verb::Get,
            403,
            json!({"message": "federateddeployments \"web\" is forbidden: User \"eve\" cannot get it"}),
            expect![[
                r#"get federateddeployments.apps.types.hansa.dev shop/web: federateddeployments "web" is forbidden: User "eve" cannot get it: ask for a role with the verb get on federateddeployments.apps.types.hansa.dev in namespace shop"#
            ]],
        );
        check(
            Verb::Patch,
            403,
            json!({"message": "ValidatingAdmissionPolicy 'hansa-federated' denied request: writing this needs the verb update"}),
            expect![
                "patch federateddeployments.apps.types.hansa.dev shop/web: ValidatingAdmissionPolicy 'hansa-federated' denied request: writing this needs the verb update"
            ],
        );
        check(
            Verb::Get,
            404,
            json!({"message": "federateddeployments \"web\" not found", "details": {"name": "web"}}),
            expect![[
                r#"get federateddeployments.apps.types.hansa.dev shop/web: federateddeployments "web" not found"#
            ]],
        );
        check(
            Verb::Get,
            404,
            json!({"message": "the server could not find the requested resource", "details": {}}),
            expect![
                "get federateddeployments.apps.types.hansa.dev shop/web: the server could not find the requested resource: https://c does not serve federateddeployments.apps.types.hansa.dev"
            ],
        );
    }
}
