//! Who may write federated objects: ValidatingAdmissionPolicies that ask the authorizer.
//!
//! An operator applies a template with its own rights, in every member. Whoever writes a federated
//! object must therefore hold the same verb on the target kind in that namespace, or federation would
//! be a way around RBAC. The policies are evaluated inside the API server; they need no webhook and
//! no operator that runs. They are made from the agreed types, and operators check the same again.
//!
//! A policy has to stand before the kinds that it guards: install it first, then the
//! CustomResourceDefinition of a new type.

use crate::federation::PRIVILEGED_GROUPS;
use crate::request::Action;
use crate::target::{GROUP_SUFFIX, PREFIX};
use crate::{GROUP, OPERATOR};
use hansa_model::FederatedType;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The policy about every `Federated<Kind>`.
pub const FEDERATED_POLICY: &str = "hansa-federated";
/// The policy about `Request`.
pub const REQUEST_POLICY: &str = "hansa-requests";
/// The policy about `Member`.
pub const MEMBER_POLICY: &str = "hansa-members";

/// The names of every policy, and of the binding of each.
pub const POLICIES: [&str; 3] = [FEDERATED_POLICY, MEMBER_POLICY, REQUEST_POLICY];

/// The user name of the operator whose ServiceAccount lies in a namespace.
pub fn operator_user(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:{OPERATOR}")
}

/// The policies and their bindings, from the agreed types.
///
/// `operators` are the user names that no rule holds for: the operator itself, which checks on its
/// own what it writes.
pub fn policies(types: &[FederatedType], operators: &[String]) -> Vec<Value> {
    [federated_policy(types, operators), member_policy(operators), request_policy(operators)]
        .into_iter()
        .flat_map(|policy| {
            let binding = json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": policy["metadata"]["name"], "labels": policy["metadata"]["labels"]},
                "spec": {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]},
            });
            [policy, binding]
        })
        .collect()
}

/// The groups of the types' federated kinds. There is always one, for a policy without any is refused.
pub(crate) fn federated_groups(types: &[FederatedType]) -> BTreeSet<String> {
    let groups = types.iter().map(|federated| federated.resource.federated_group());
    groups.chain([format!("core{GROUP_SUFFIX}")]).collect()
}

fn federated_policy(types: &[FederatedType], operators: &[String]) -> Value {
    let groups = federated_groups(types);
    let privileged: BTreeSet<String> =
        types.iter().filter(|federated| federated.privileged).map(|federated| federated.resource.to_string()).collect();
    let variables = [
        (
            "group",
            format!(
                "request.resource.group == 'core{GROUP_SUFFIX}' ? '' : \
                 request.resource.group.substring(0, request.resource.group.size() - {})",
                GROUP_SUFFIX.len()
            ),
        ),
        (
            "resource",
            format!("request.resource.resource.substring({})", PREFIX.len()),
        ),
        (
            "type",
            "variables.group == '' ? variables.resource : variables.resource + '.' + variables.group".into(),
        ),
        ("targetNamespace", "has(request.namespace) ? request.namespace : ''".into()),
        ("where", "variables.targetNamespace == '' ? 'in the whole cluster' : 'in namespace ' + variables.targetNamespace".into()),
        ("scaling", "has(request.subResource) && request.subResource == 'scale'".into()),
        ("deleting", "request.operation == 'DELETE'".into()),
        // Whoever may not write a kind (any more) can still let a deleted object go.
        (
            "going",
            "variables.deleting || has(object.metadata.deletionTimestamp)".into(),
        ),
        ("privileged", format!("variables.type in {}", texts(&privileged))),
        // An admission request does not tell an update from a patch.
        (
            "verbs",
            "variables.deleting ? ['delete'] : request.operation == 'CREATE' ? ['create'] : ['update', 'patch']".into(),
        ),
        ("kind", "authorizer.group(variables.group).resource(variables.resource).namespace(variables.targetNamespace)".into()),
        (
            "allowed",
            "request.operation == 'CREATE' ? variables.kind.check('create').allowed() : \
             variables.scaling ? variables.verbs.exists(verb, variables.kind.subresource('scale').name(oldObject.metadata.name).check(verb).allowed()) : \
             variables.verbs.exists(verb, variables.kind.name(oldObject.metadata.name).check(verb).allowed())"
                .into(),
        ),
        // Granting more than one has is a verb of its own, which the target's API server would ask
        // the operator for, not the writer.
        (
            "grant",
            "variables.group != 'rbac.authorization.k8s.io' ? '' : variables.resource.endsWith('bindings') ? 'bind' : 'escalate'".into(),
        ),
        (
            "granted",
            "{'roles': ['roles'], 'clusterroles': ['clusterroles'], 'rolebindings': ['clusterroles', 'roles'], \
             'clusterrolebindings': ['clusterroles']}[variables.resource]"
                .into(),
        ),
    ];
    let validations = json!([
        {
            "expression": "variables.allowed",
            "messageExpression": "'writing this needs the verb ' + variables.verbs.join(' or ') + ' on ' + variables.type + \
                (variables.scaling ? ' (scale)' : '') + ' ' + variables.where + ': ask for a role that has it'",
            "reason": "Forbidden",
        },
        {
            "expression": "variables.scaling || variables.going || variables.privileged || variables.targetNamespace != ''",
            "messageExpression": "variables.type + ' is cluster-scoped: its entry in the types of the Federation has to say privileged: true'",
            "reason": "Forbidden",
        },
        {
            "expression": format!(
                "variables.scaling || variables.going || variables.privileged || !(variables.group in {})",
                texts(PRIVILEGED_GROUPS)
            ),
            "messageExpression": "variables.type + ' can change who may do what: its entry in the types of the Federation has to say privileged: true'",
            "reason": "Forbidden",
        },
        {
            "expression": "variables.going || variables.privileged || !variables.targetNamespace.startsWith('kube-')",
            "messageExpression": "'namespace ' + variables.targetNamespace + ' belongs to Kubernetes: use another one, or have the entry of ' + variables.type + \
                ' in the types of the Federation say privileged: true'",
            "reason": "Forbidden",
        },
        {
            "expression": "variables.scaling || variables.going || variables.grant == '' || \
                variables.granted.all(roles, authorizer.group(variables.group).resource(roles).namespace(variables.targetNamespace).check(variables.grant).allowed())",
            "messageExpression": "'writing this grants rights in other members, and needs the verb ' + variables.grant + ' on ' + \
                variables.granted.join(' and ') + ' ' + variables.where",
            "reason": "Forbidden",
        },
        // Taking over what stands changes it: the right to create is not enough.
        {
            "expression": "request.operation != 'CREATE' || !has(object.spec.adoption) || object.spec.adoption != 'Always' || \
                ['update', 'patch'].exists(verb, variables.kind.name(object.metadata.name).check(verb).allowed())",
            "messageExpression": "'spec.adoption: Always may change an object that exists, and needs the verb update or patch on ' + variables.type + ' ' + variables.where",
            "reason": "Forbidden",
        },
        {
            "expression": "variables.scaling || variables.going || !has(object.spec.templateFrom) || \
                authorizer.group('').resource('secrets').namespace(variables.targetNamespace).name(object.spec.templateFrom.secretRef.name).check('get').allowed()",
            "messageExpression": "'spec.templateFrom.secretRef needs the verb get on the Secret ' + object.spec.templateFrom.secretRef.name + ' ' + variables.where",
            "reason": "Forbidden",
        },
        {
            "expression": "variables.scaling || variables.going || !has(object.spec.template) || !has(object.spec.template.metadata) || \
                !has(object.spec.template.metadata.namespace) || object.spec.template.metadata.namespace == variables.targetNamespace",
            "message": "spec.template.metadata.namespace: the target lies in the namespace of the federated object; make the two equal, or leave this one out",
            "reason": "Invalid",
        },
    ]);
    policy(
        FEDERATED_POLICY,
        &json!([
            resource_rule(json!(groups), "*", &["CREATE", "UPDATE", "DELETE"]),
            resource_rule(json!(groups), "*/scale", &["UPDATE"]),
        ]),
        operators,
        &variables,
        &validations,
    )
}

fn member_policy(operators: &[String]) -> Value {
    policy(
        MEMBER_POLICY,
        &json!([resource_rule(json!([GROUP]), "members", &["CREATE", "UPDATE"])]),
        operators,
        &[],
        &json!([{
            "expression": "false",
            "message": "members are written by the operator alone: change spec.members of the Federation instead",
            "reason": "Forbidden",
        }]),
    )
}

fn request_policy(operators: &[String]) -> Value {
    let verbs: Vec<String> =
        Action::ALL.iter().map(|action| format!("'{}': '{}'", action.as_str(), action.verb())).collect();
    let variables = [
        ("verb", format!("{{{}}}[object.spec.action]", verbs.join(", "))),
        ("one", "has(object.spec.object)".into()),
        ("type", "variables.one ? object.spec.object.resource : ''".into()),
        (
            "resource",
            "variables.type.contains('.') ? variables.type.substring(0, variables.type.indexOf('.')) : variables.type"
                .into(),
        ),
        (
            "group",
            "variables.type.contains('.') ? variables.type.substring(variables.type.indexOf('.') + 1) : ''".into(),
        ),
        (
            "targetNamespace",
            "variables.one && has(object.spec.object.namespace) ? object.spec.object.namespace : ''".into(),
        ),
        (
            "allowed",
            format!(
                "variables.one ? \
                 authorizer.group(variables.group).resource(variables.resource).namespace(variables.targetNamespace)\
                 .name(object.spec.object.name).check(variables.verb).allowed() : \
                 authorizer.group('{GROUP}').resource('federations').check('update').allowed()"
            ),
        ),
    ];
    policy(
        REQUEST_POLICY,
        // The spec of a request never changes: nothing else has to be judged.
        &json!([resource_rule(json!([GROUP]), "requests", &["CREATE"])]),
        operators,
        &variables,
        &json!([{
            "expression": "variables.allowed",
            "messageExpression": format!(
                "object.spec.action + ' needs the verb ' + (variables.one ? variables.verb + ' on ' + variables.type + ' ' + object.spec.object.name + \
                 (variables.targetNamespace == '' ? '' : ' in namespace ' + variables.targetNamespace) : 'update on federations.{GROUP}') + ': ask for a role that has it'"
            ),
            "reason": "Forbidden",
        }]),
    )
}

fn resource_rule(groups: Value, resources: &str, operations: &[&str]) -> Value {
    json!({
        "apiGroups": groups,
        "apiVersions": ["*"],
        "operations": operations,
        "resources": [resources],
        "scope": "*",
    })
}

fn policy(name: &str, rules: &Value, operators: &[String], variables: &[(&str, String)], validations: &Value) -> Value {
    let variables: Vec<Value> =
        variables.iter().map(|(name, expression)| json!({"name": name, "expression": expression})).collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "hansa"}},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": rules},
            "matchConditions": [{
                "name": "not-the-operator",
                "expression": format!("!(request.userInfo.username in {})", texts(operators)),
            }],
            "variables": variables,
            "validations": validations,
        },
    })
}

/// A list of texts in the Common Expression Language.
fn texts<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| format!("'{}'", item.as_ref().replace('\\', "\\\\").replace('\'', "\\'")))
        .collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn federated_type(resource: &str, privileged: bool) -> FederatedType {
        FederatedType { resource: resource.parse().unwrap(), version: "v1".into(), privileged }
    }

    #[test]
    fn groups_and_privileges_follow_the_types() {
        let types =
            [federated_type("deployments.apps", false), federated_type("roles.rbac.authorization.k8s.io", true)];
        let policies = policies(&types, &[operator_user("hansa-system")]);
        assert_eq!(policies.len(), 2 * POLICIES.len());
        let spec = &policies[0]["spec"];
        assert_eq!(
            spec["matchConstraints"]["resourceRules"][0]["apiGroups"],
            json!(["apps.types.hansa.dev", "core.types.hansa.dev", "rbac.authorization.k8s.io.types.hansa.dev"])
        );
        let privileged =
            spec["variables"].as_array().unwrap().iter().find(|variable| variable["name"] == "privileged").unwrap();
        assert_eq!(privileged["expression"], "variables.type in ['roles.rbac.authorization.k8s.io']");
        assert_eq!(
            spec["matchConditions"][0]["expression"],
            "!(request.userInfo.username in ['system:serviceaccount:hansa-system:hansa-operator'])"
        );
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(texts(["a'] || true || ['"]), r"['a\'] || true || [\'']");
        assert_eq!(texts([r"a\"]), r"['a\\']");
    }

    #[test]
    fn every_action_has_a_verb_in_the_policy() {
        let policy = request_policy(&[]);
        let verb = policy["spec"]["variables"][0]["expression"].as_str().unwrap();
        for action in Action::ALL {
            assert!(verb.contains(&format!("'{}': '", action.as_str())), "{verb}");
        }
    }
}
