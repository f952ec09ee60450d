//! What an API server's refusal means: to be tried again, to wait for new input, or a rival to name.

use crate::feed::message_of;
use serde_json::Value;

/// A rival of one field, out of the causes of a conflict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rival {
    /// The field: `.spec.replicas`.
    pub field: String,
    /// Who holds it, in the API server's words: `"kubectl-edit" using apps/v1`.
    pub manager: String,
}

/// What a refusal means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Other managers hold fields (server-side apply without force).
    Rivals(Vec<Rival>),
    /// The object is not the one that was meant: gone, made anew, or changed since.
    Stale(String),
    /// The namespace does not exist.
    NamespaceMissing(String),
    /// Something it needs is not there yet, or is going: the kind, a webhook's server, the namespace.
    NotYet(String),
    /// Forbidden: rights or a quota may change, so it is tried again, rarely.
    Forbidden(String),
    /// The object itself is refused: only new input helps.
    Refused(String),
    /// The object does not exist.
    Missing,
    /// Overloaded, restarting, or unreachable.
    Transient(String),
}

impl Refusal {
    /// The API server's words.
    pub fn message(&self) -> String {
        match self {
            Refusal::Rivals(rivals) => {
                let named: Vec<_> =
                    rivals.iter().map(|rival| format!("{} is held by {}", rival.field, rival.manager)).collect();
                named.join("; ")
            }
            Refusal::Missing => "the object does not exist".to_owned(),
            Refusal::Stale(message)
            | Refusal::NamespaceMissing(message)
            | Refusal::NotYet(message)
            | Refusal::Forbidden(message)
            | Refusal::Refused(message)
            | Refusal::Transient(message) => message.clone(),
        }
    }
}

/// Reads a status and body that are not a success.
pub fn classify(status: u16, body: &[u8]) -> Refusal {
    let message = message_of(body);
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let reason = parsed["reason"].as_str().unwrap_or_default();
    let causes = parsed["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    match status {
        404 if parsed["details"]["kind"] == "namespaces" || message.starts_with("namespaces \"") => {
            Refusal::NamespaceMissing(message)
        }
        // A missing resource has no details of an object: the kind itself is not served (yet).
        404 if parsed["details"]["name"].is_null() => Refusal::NotYet(message),
        404 => Refusal::Missing,
        409 if causes.iter().any(|cause| cause["reason"] == "FieldManagerConflict") => Refusal::Rivals(
            causes
                .iter()
                .map(|cause| {
                    let text = cause["message"].as_str().unwrap_or_default();
                    let manager = text.strip_prefix("conflict with ").unwrap_or(text).to_owned();
                    Rival { field: cause["field"].as_str().unwrap_or_default().to_owned(), manager }
                })
                .collect(),
        ),
        409 => Refusal::Stale(message),
        403 if causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating") => Refusal::NotYet(message),
        403 | 401 => Refusal::Forbidden(message),
        // The API server answers a body that does not fit the schema with status 500 on an apply.
        500 if message.contains("failed to create typed patch object") => Refusal::Refused(message),
        500 if message.contains("failed calling webhook") => Refusal::NotYet(message),
        // An apply that names the uid of an object in whose place another one stands by now.
        422 if causes.iter().any(|cause| cause["field"] == "metadata.uid") => Refusal::Stale(message),
        400 | 405 | 406 | 413 | 415 | 422 => Refusal::Refused(message),
        _ if reason == "Invalid" => Refusal::Refused(message),
        _ => Refusal::Transient(if message.is_empty() { format!("status {status}") } else { message }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(status: u16, body: Value) -> Refusal {
        classify(status, body.to_string().as_bytes())
    }

    #[test]
    fn rivals_are_named_with_their_fields() {
        let body = json!({"reason": "Conflict", "message": "Apply failed with 1 conflict", "details": {"causes": [
            {"reason": "FieldManagerConflict", "field": ".spec.replicas", "message": "conflict with \"hpa\" with subresource \"scale\" using apps/v1"}]}});
        let Refusal::Rivals(rivals) = of(409, body) else { panic!("rivals") };
        assert_eq!(
            (rivals[0].field.as_str(), rivals[0].manager.as_str()),
            (".spec.replicas", "\"hpa\" with subresource \"scale\" using apps/v1")
        );
    }

    #[test]
    fn not_there_yet_waits_and_refused_waits_for_new_input() {
        let missing =
            json!({"message": "namespaces \"shop\" not found", "details": {"kind": "namespaces", "name": "shop"}});
        assert!(matches!(of(404, missing), Refusal::NamespaceMissing(_)));
        assert!(matches!(
            of(404, json!({"message": "the server could not find the requested resource", "details": {}})),
            Refusal::NotYet(_)
        ));
        assert_eq!(
            of(404, json!({"message": "configmaps \"a\" not found", "details": {"kind": "configmaps", "name": "a"}})),
            Refusal::Missing
        );
        assert!(matches!(of(422, json!({"reason": "Invalid"})), Refusal::Refused(_)));
        let other_uid = json!({"reason": "Invalid", "details": {"causes": [{"field": "metadata.uid"}]}});
        assert!(matches!(of(422, other_uid), Refusal::Stale(_)), "another object stands there: it is looked at");
        assert!(matches!(
            of(
                500,
                json!({"message": "failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .spec.x: field not declared"})
            ),
            Refusal::Refused(_)
        ));
        assert!(matches!(
            of(500, json!({"message": "Internal error occurred: failed calling webhook \"w\""})),
            Refusal::NotYet(_)
        ));
        assert!(matches!(
            of(403, json!({"details": {"causes": [{"reason": "NamespaceTerminating"}]}})),
            Refusal::NotYet(_)
        ));
        assert!(matches!(of(403, json!({"message": "exceeded quota"})), Refusal::Forbidden(_)));
        assert!(matches!(of(503, json!({})), Refusal::Transient(_)));
        assert!(matches!(
            of(409, json!({"message": "Precondition failed: UID in precondition: 1, UID in object meta: 2"})),
            Refusal::Stale(_)
        ));
    }
}
