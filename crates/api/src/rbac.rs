//! Roles: for the users of federated kinds, and the operator's own, no larger than the types need.

use crate::federation::PRIVILEGED_GROUPS;
use crate::finalizing::FINALIZER_POLICY;
use crate::policy::POLICIES;
use crate::{GROUP, OPERATOR};
use hansa_model::FederatedType;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The ClusterRole of those who may read what the league is, and ask the operator through the API
/// server's proxy: names and states of objects in all namespaces, no contents.
pub const READER: &str = "hansa-reader";

/// The operator's Service and its port, as the API server's proxy names them.
const OPERATOR_AS_PROXIED: &str = "hansa-operator:http";

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// ClusterRoles that add Hansa's kinds to Kubernetes' own view, edit and admin.
///
/// They let a user write a federated object; whether it may be this one, the admission policy asks
/// ([`crate::policy`]). Kinds that can change who may do what are left to admin.
///
/// The league and its operator are no namespace's matter: [`READER`] is a role of its own, which
/// comes with a view of the whole cluster, and which whoever has rights in a namespace alone is given
/// by a ClusterRoleBinding.
pub fn user_roles(types: &[FederatedType]) -> Vec<Value> {
    let reader = vec![
        rule(&[GROUP], &["federations", "members"], &READ),
        named_rule(&[""], &["services/proxy"], &[OPERATOR_AS_PROXIED], &["get"]),
    ];
    let (privileged, ordinary): (Vec<_>, Vec<_>) =
        types.iter().partition(|federated| PRIVILEGED_GROUPS.contains(&federated.resource.group()));
    let mut view = vec![rule(&[GROUP], &["requests"], &READ)];
    view.extend(federated_rules(types, "", &READ));
    let mut edit = vec![rule(&[GROUP], &["requests"], &["create", "delete", "deletecollection"])];
    edit.extend(federated_rules(ordinary.iter().copied(), "", &WRITE));
    edit.extend(federated_rules(ordinary, "scale", &["get", "patch", "update"]));
    let admin: Vec<Value> = federated_rules(privileged, "", &WRITE);
    let mut roles = vec![
        user_role(READER, "view", reader),
        user_role("hansa-view", "view", view),
        user_role("hansa-edit", "edit", edit),
    ];
    if !admin.is_empty() {
        roles.push(user_role("hansa-admin", "admin", admin));
    }
    roles
}

fn user_role(name: &str, to: &str, rules: Vec<Value>) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/part-of": "hansa",
                format!("rbac.authorization.k8s.io/aggregate-to-{to}"): "true",
            },
        },
        "rules": rules,
    })
}

/// The operator's rights in the whole cluster, made from the types.
pub fn operator_cluster_role(types: &[FederatedType]) -> Value {
    let mut rules = vec![
        rule(&[GROUP], &["federations"], &["create", "get", "list", "patch", "update", "watch"]),
        rule(&[GROUP], &["members"], &["create", "delete", "get", "list", "patch", "update", "watch"]),
        rule(&[GROUP], &["requests"], &["delete", "get", "list", "watch"]),
        rule(&[GROUP], &["federations/status", "members/status", "requests/status"], &["get", "patch", "update"]),
    ];
    // `create`: a home that moves here is made from the agreed intent.
    rules.extend(federated_rules(types, "", &["create", "delete", "get", "list", "patch", "update", "watch"]));
    rules.extend(federated_rules(types, "status", &["get", "patch", "update"]));
    let targets =
        by_group(types, |federated| (federated.resource.group().to_owned(), federated.resource.resource().to_owned()));
    for (group, resources) in &targets {
        rules.push(rule(&[group], resources, &["create", "delete", "get", "list", "patch", "update", "watch"]));
    }
    if let Some(resources) = targets.get("rbac.authorization.k8s.io") {
        // Without these an API server lets nobody grant what they do not hold themselves. The
        // policies ask the writer of the federated object for the same.
        for (grant, bindings) in [("escalate", false), ("bind", true)] {
            let roles: BTreeSet<&str> = resources
                .iter()
                .filter(|resource| resource.ends_with("bindings") == bindings)
                .flat_map(|resource| {
                    // A RoleBinding may refer to either.
                    match (resource.starts_with("cluster"), bindings) {
                        (true, _) => &["clusterroles"][..],
                        (false, true) => &["clusterroles", "roles"],
                        (false, false) => &["roles"],
                    }
                })
                .copied()
                .collect();
            if !roles.is_empty() {
                rules.push(rule(&["rbac.authorization.k8s.io"], &roles, &[grant]));
            }
        }
    }
    rules.extend([
        // Missing namespaces are made, none is deleted; kube-system's uid is the cluster's identity.
        rule(&[""], &["namespaces"], &["create", "get", "list", "watch"]),
        rule(&["apiextensions.k8s.io"], &["customresourcedefinitions"], &["create", "get", "list", "patch", "watch"]),
        named_rule(
            &["admissionregistration.k8s.io"],
            &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
            &POLICIES,
            &["get", "patch"],
        ),
        named_rule(
            &["admissionregistration.k8s.io"],
            &["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"],
            &[FINALIZER_POLICY],
            &["get", "patch"],
        ),
        // Answers to requests: written once, and never read.
        rule(&[""], &["secrets"], &["create"]),
        rule(&[""], &["events"], &["create"]),
    ]);
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": OPERATOR, "labels": {"app.kubernetes.io/part-of": "hansa"}},
        "rules": rules,
    })
}

/// The operator's rights in its own namespace: its keys, its notes on ballots, and the leader's Lease.
pub fn operator_role(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {
            "name": OPERATOR,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "hansa"},
        },
        "rules": [
            rule(&[""], &["secrets"], &["create", "get", "list", "patch", "update", "watch"]),
            rule(&[""], &["configmaps"], &["create", "get", "patch"]),
            rule(
                &["coordination.k8s.io"],
                &["leases"],
                &["create", "get", "list", "patch", "update", "watch"],
            ),
        ],
    })
}

/// Binds the operator's ServiceAccount to its ClusterRole and its Role.
pub fn operator_bindings(namespace: &str) -> Vec<Value> {
    let subjects = json!([{"kind": "ServiceAccount", "name": OPERATOR, "namespace": namespace}]);
    let labels = json!({"app.kubernetes.io/part-of": "hansa"});
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": OPERATOR, "labels": labels},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": OPERATOR},
            "subjects": subjects,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": OPERATOR, "namespace": namespace, "labels": labels},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": OPERATOR},
            "subjects": subjects,
        }),
    ]
}

fn by_group<'a>(
    types: impl IntoIterator<Item = &'a FederatedType>,
    name: impl Fn(&FederatedType) -> (String, String),
) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for federated in types {
        let (group, resource) = name(federated);
        groups.entry(group).or_default().insert(resource);
    }
    groups
}

/// One rule per generated group, for the kinds themselves (an empty subresource) or for one of their
/// subresources.
fn federated_rules<'a>(
    types: impl IntoIterator<Item = &'a FederatedType>,
    subresource: &str,
    verbs: &[&str],
) -> Vec<Value> {
    let resource = |federated: &FederatedType| match subresource {
        "" => federated.resource.federated_plural(),
        _ => format!("{}/{subresource}", federated.resource.federated_plural()),
    };
    by_group(types, |federated| (federated.resource.federated_group(), resource(federated)))
        .iter()
        .map(|(group, resources)| rule(&[group], resources, verbs))
        .collect()
}

fn rule<R: Serialize + ?Sized>(groups: &[&str], resources: &R, verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

fn named_rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> Value {
    let mut rule = rule(groups, resources, verbs);
    rule["resourceNames"] = json!(names);
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn types(names: &[&str]) -> Vec<FederatedType> {
        names
            .iter()
            .map(|name| FederatedType { resource: name.parse().unwrap(), version: "v1".into(), privileged: true })
            .collect()
    }

    fn check(role: &Value, expected: Expect) {
        let join = |value: &Value| {
            let items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            items.collect::<Vec<_>>().join(",")
        };
        let mut text = String::new();
        for rule in role["rules"].as_array().unwrap() {
            let names = match rule.get("resourceNames") {
                Some(names) => format!(" named {}", join(names)),
                None => String::new(),
            };
            text.push_str(&format!(
                "[{}] {}{names}: {}\n",
                join(&rule["apiGroups"]),
                join(&rule["resources"]),
                join(&rule["verbs"])
            ));
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn the_operator_has_what_the_types_need() {
        check(
            &operator_cluster_role(&types(&["deployments.apps", "configmaps", "statefulsets.apps"])),
            expect![[r#"
                [hansa.dev] federations: create,get,list,patch,update,watch
                [hansa.dev] members: create,delete,get,list,patch,update,watch
                [hansa.dev] requests: delete,get,list,watch
                [hansa.dev] federations/status,members/status,requests/status: get,patch,update
                [apps.types.hansa.dev] federateddeployments,federatedstatefulsets: create,delete,get,list,patch,update,watch
                [core.types.hansa.dev] federatedconfigmaps: create,delete,get,list,patch,update,watch
                [apps.types.hansa.dev] federateddeployments/status,federatedstatefulsets/status: get,patch,update
                [core.types.hansa.dev] federatedconfigmaps/status: get,patch,update
                [] configmaps: create,delete,get,list,patch,update,watch
                [apps] deployments,statefulsets: create,delete,get,list,patch,update,watch
                [] namespaces: create,get,list,watch
                [apiextensions.k8s.io] customresourcedefinitions: create,get,list,patch,watch
                [admissionregistration.k8s.io] validatingadmissionpolicies,validatingadmissionpolicybindings named hansa-federated,hansa-members,hansa-requests: get,patch
                [admissionregistration.k8s.io] mutatingadmissionpolicies,mutatingadmissionpolicybindings named hansa-finalizer: get,patch
                [] secrets: create
                [] events: create
            "#]],
        );
    }

    #[test]
    fn granting_is_a_right_of_its_own() {
        let grants = |names: &[&str]| -> Vec<String> {
            operator_cluster_role(&types(names))["rules"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|rule| ["escalate", "bind"].iter().any(|grant| rule["verbs"] == json!([grant])))
                .map(|rule| format!("{} {}", rule["verbs"][0].as_str().unwrap(), rule["resources"]))
                .collect()
        };
        assert!(grants(&["deployments.apps"]).is_empty());
        assert_eq!(grants(&["roles.rbac.authorization.k8s.io"]), [r#"escalate ["roles"]"#]);
        assert_eq!(grants(&["rolebindings.rbac.authorization.k8s.io"]), [r#"bind ["clusterroles","roles"]"#]);
        assert_eq!(grants(&["clusterrolebindings.rbac.authorization.k8s.io"]), [r#"bind ["clusterroles"]"#]);
    }

    #[test]
    fn users_get_their_rights_by_aggregation() {
        let roles = user_roles(&types(&["deployments.apps", "roles.rbac.authorization.k8s.io"]));
        let names: Vec<_> = roles.iter().map(|role| role["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["hansa-reader", "hansa-view", "hansa-edit", "hansa-admin"]);
        for (role, to) in roles.iter().zip(["view", "view", "edit", "admin"]) {
            assert_eq!(role["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{to}")], "true");
        }
        check(
            &roles[0],
            expect![[r#"
            [hansa.dev] federations,members: get,list,watch
            [] services/proxy named hansa-operator:http: get
        "#]],
        );
        check(
            &roles[1],
            expect![[r#"
            [hansa.dev] requests: get,list,watch
            [apps.types.hansa.dev] federateddeployments: get,list,watch
            [rbac.authorization.k8s.io.types.hansa.dev] federatedroles: get,list,watch
        "#]],
        );
        check(
            &roles[2],
            expect![[r#"
            [hansa.dev] requests: create,delete,deletecollection
            [apps.types.hansa.dev] federateddeployments: create,delete,deletecollection,patch,update
            [apps.types.hansa.dev] federateddeployments/scale: get,patch,update
        "#]],
        );
        check(
            &roles[3],
            expect![[r#"
            [rbac.authorization.k8s.io.types.hansa.dev] federatedroles: create,delete,deletecollection,patch,update
        "#]],
        );
    }
}
