//! The finalizer of federated objects, put on by the API server itself.
//!
//! Without it an operator puts the finalizer on when it sees an object: a write per object, and an
//! object that is deleted before that is homeless instead of ended. Where MutatingAdmissionPolicy is
//! served (KEP-3962; stable since Kubernetes 1.36), the object has it from its first moment. Nothing
//! depends on it: an operator puts on what is missing, as before.

use crate::policy::federated_groups;
use hansa_model::{FINALIZER, FederatedType};
use serde_json::{Value, json};

/// The name of the policy and of its binding.
pub const FINALIZER_POLICY: &str = "hansa-finalizer";

/// The policy and its binding, from the agreed types.
pub fn finalizing(types: &[FederatedType]) -> [Value; 2] {
    let groups = federated_groups(types);
    let metadata = json!({"name": FINALIZER_POLICY, "labels": {"app.kubernetes.io/part-of": "hansa"}});
    let patch = format!(
        "has(object.metadata.finalizers) \
         ? [JSONPatch{{op: 'add', path: '/metadata/finalizers/-', value: '{FINALIZER}'}}] \
         : [JSONPatch{{op: 'add', path: '/metadata/finalizers', value: ['{FINALIZER}']}}]"
    );
    [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                // A convenience: nobody is to be hindered by it.
                "failurePolicy": "Ignore",
                "reinvocationPolicy": "Never",
                "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [{
                    "apiGroups": groups, "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"], "scope": "*",
                }]},
                "matchConditions": [{
                    "name": "without-it",
                    "expression": format!("!has(object.metadata.finalizers) || !('{FINALIZER}' in object.metadata.finalizers)"),
                }],
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": FINALIZER_POLICY},
        }),
    ]
}
