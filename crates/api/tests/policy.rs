//! A real API server judges who may write federated objects, members and requests, and puts the
//! finalizer on federated objects.

mod common;

use common::{ADMIN, Answer, ControlPlane};
use hansa_api::finalizing::finalizing;
use hansa_api::{Options, TargetKind, federated_crd, manifests, policy};
use hansa_model::{FINALIZER, FederatedType};
use serde_json::{Value, json};

/// May write federated objects in `shop`, and their targets.
const WRITER: &str = "writer";
/// May write federated objects in `shop`, and no targets.
const OUTSIDER: &str = "outsider";
/// May write one named ConfigMap, and read one named Secret.
const CLERK: &str = "clerk";
/// May create ConfigMaps, and change none.
const MAKER: &str = "maker";
const OPERATOR: &str = "system:serviceaccount:hansa-system:hansa-operator";

const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";

fn types() -> Vec<FederatedType> {
    [
        ("configmaps", false),
        ("secrets", false),
        ("namespaces", false),
        ("deployments.apps", false),
        ("roles.rbac.authorization.k8s.io", true),
        ("rolebindings.rbac.authorization.k8s.io", false),
        ("clusterroles.rbac.authorization.k8s.io", true),
        ("clusterrolebindings.rbac.authorization.k8s.io", true),
    ]
    .into_iter()
    .map(|(resource, privileged)| FederatedType {
        resource: resource.parse().unwrap(),
        version: "v1".into(),
        privileged,
    })
    .collect()
}

/// Installs what a member needs, with the generated kinds of the types.
fn install(plane: &ControlPlane) {
    let mut options = Options::new("aws-use1".parse().unwrap(), "etcd://topo", "hansa:1");
    options.types = types();
    plane.apply(&manifests(&options));
    let crds: Vec<Value> = ["/api/v1", "/apis/apps/v1", "/apis/rbac.authorization.k8s.io/v1"]
        .iter()
        .flat_map(|path| TargetKind::discovered(&plane.get(path)))
        .filter(|target| types().iter().any(|federated| federated.resource == target.name))
        .map(|target| federated_crd(&target, &plane.get(&target.openapi_path())).unwrap())
        .collect();
    assert_eq!(crds.len(), types().len());
    plane.apply(&crds);
    plane.wait_for_crds();
}

fn grant(user: &str, rules: Value) -> [Value; 2] {
    let metadata = json!({"name": format!("grant-{user}"), "namespace": "shop"});
    [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("grant-{user}")},
            "subjects": [{"kind": "User", "name": user}],
        }),
    ]
}

fn bind(user: &str, role: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": format!("{role}-{user}"), "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    })
}

/// The rights of the users: all write federated objects by the roles that aggregate to edit.
fn rights() -> Vec<Value> {
    let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update"];
    let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})];
    for user in [WRITER, OUTSIDER, CLERK, MAKER] {
        objects.extend(["hansa-view", "hansa-edit", "hansa-admin"].map(|role| bind(user, role, "shop")));
    }
    objects.push(bind(WRITER, "hansa-edit", "kube-system"));
    objects.extend(grant(
        WRITER,
        json!([
            {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": all},
            {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": all},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": all},
        ]),
    ));
    objects.extend(grant(MAKER, json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}])));
    objects.extend(grant(
        CLERK,
        json!([
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["web"], "verbs": ["get", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": all},
        ]),
    ));
    objects
}

fn federated(group: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": format!("{group}.types.hansa.dev/v1alpha1"), "kind": kind,
        "metadata": {"name": name},
        "spec": {"placement": {"members": ["aws-use1"]}},
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

fn config_map(namespace: &str, name: &str) -> Value {
    federated("core", "FederatedConfigMap", namespace, name, json!({"template": {"data": {"k": "v"}}}))
}

fn secret(from: &str) -> Value {
    federated("core", "FederatedSecret", "shop", "copy", json!({"templateFrom": {"secretRef": {"name": from}}}))
}

const RBAC: &str = "rbac.authorization.k8s.io";

#[test]
fn the_writer_must_hold_the_verb_on_the_target() {
    let plane = ControlPlane::start(&[WRITER, OUTSIDER, CLERK, MAKER, OPERATOR]);
    install(&plane);
    plane.apply(&rights());
    let create = |user: &str, object: &Value| {
        plane.kubectl(user, &["create", "--dry-run=server", "-f", "-"], std::slice::from_ref(object))
    };
    plane.wait_until("the policies are in force", |_| {
        let refused = |object: &Value| create(OUTSIDER, object).stderr.contains("ask for a role");
        refused(&config_map("shop", "new"))
            && refused(&request("Delete", "configmaps", "shop", "web", json!({})))
            && create(ADMIN, &member()).stderr.contains("by the operator alone")
    });

    let allowed = |answer: Answer, what: &str| {
        answer.expect(what);
    };
    let denied = |answer: Answer, policy: &str, words: &str| {
        let refusal = answer.expect_refusal(words);
        for word in [policy, words] {
            assert!(refusal.contains(word), "{word:?} is missing in: {refusal}");
        }
    };
    let federated_policy = policy::FEDERATED_POLICY;

    // Creating.
    allowed(create(WRITER, &config_map("shop", "new")), "the writer may write ConfigMaps");
    denied(
        create(OUTSIDER, &config_map("shop", "new")),
        federated_policy,
        "needs the verb create on configmaps in namespace shop",
    );
    denied(
        create(CLERK, &config_map("shop", "web")),
        federated_policy,
        "needs the verb create on configmaps in namespace shop",
    );

    // Changing and deleting what stands.
    plane.apply(&[
        config_map("shop", "web"),
        config_map("shop", "other"),
        federated(
            "apps",
            "FederatedDeployment",
            "shop",
            "web",
            json!({"template": {"spec": {
                "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            }}}),
        ),
    ]);
    let change = |user: &str, name: &str| {
        let patch = r#"{"spec": {"paused": true}}"#;
        plane.kubectl(
            user,
            &["patch", "federatedconfigmap", name, "-n", "shop", "--dry-run=server", "--type=merge", "-p", patch],
            &[],
        )
    };
    let delete = |user: &str, name: &str| {
        plane.kubectl(user, &["delete", "federatedconfigmap", name, "-n", "shop", "--dry-run=server"], &[])
    };
    allowed(change(WRITER, "web"), "the writer may change ConfigMaps");
    allowed(change(CLERK, "web"), "the clerk may patch this ConfigMap");
    denied(change(CLERK, "other"), federated_policy, "needs the verb update or patch on configmaps in namespace shop");
    denied(change(OUTSIDER, "web"), federated_policy, "needs the verb update or patch on configmaps");
    allowed(delete(WRITER, "web"), "the writer may delete ConfigMaps");
    denied(delete(CLERK, "web"), federated_policy, "needs the verb delete on configmaps in namespace shop");
    let collection = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps";
    denied(
        plane.kubectl(CLERK, &["delete", "--raw", collection], &[]),
        federated_policy,
        "needs the verb delete on configmaps",
    );

    // The scale subresource is a verb of its own.
    let scale =
        |user: &str| plane.kubectl(user, &["scale", "federateddeployment", "web", "-n", "shop", "--replicas=3"], &[]);
    allowed(scale(WRITER), "the writer may scale Deployments");
    denied(scale(CLERK), federated_policy, "on deployments.apps (scale) in namespace shop");

    // What needs a yes in the spec, whoever asks.
    denied(
        create(ADMIN, &config_map("kube-system", "new")),
        federated_policy,
        "namespace kube-system belongs to Kubernetes",
    );
    denied(
        create(ADMIN, &federated("core", "FederatedNamespace", "", "shop", json!({"template": {}}))),
        federated_policy,
        "namespaces is cluster-scoped",
    );
    let binding = json!({"template": {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "r"}}});
    denied(
        create(ADMIN, &federated(RBAC, "FederatedRoleBinding", "shop", "r", binding)),
        federated_policy,
        "rolebindings.rbac.authorization.k8s.io can change who may do what",
    );
    let rules = json!({"template": {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}});
    let role = federated(RBAC, "FederatedRole", "shop", "r", rules.clone());
    allowed(create(ADMIN, &role), "the spec says yes to Roles");
    denied(create(WRITER, &role), federated_policy, "needs the verb escalate on roles in namespace shop");
    allowed(
        create(ADMIN, &federated(RBAC, "FederatedClusterRole", "", "r", rules)),
        "the spec says yes to ClusterRoles",
    );

    let mut binder = federated(RBAC, "FederatedClusterRoleBinding", "", "r", json!({"template": {}}));
    binder["spec"]["template"] = json!({"roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"}});
    allowed(create(ADMIN, &binder), "the administrator may bind");

    // Taking over an object changes it.
    let mut adopting = config_map("shop", "new");
    adopting["spec"]["adoption"] = "Always".into();
    allowed(create(WRITER, &adopting), "the writer may change ConfigMaps");
    denied(create(MAKER, &adopting), federated_policy, "needs the verb update or patch on configmaps");
    adopting["spec"]["adoption"] = "IfNoDifference".into();
    allowed(create(MAKER, &adopting), "who may create may create");

    // A Secret is read with the writer's rights.
    allowed(create(WRITER, &secret("any")), "the writer may read Secrets");
    allowed(create(CLERK, &secret("mine")), "the clerk may read this Secret");
    denied(create(CLERK, &secret("theirs")), federated_policy, "the verb get on the Secret theirs in namespace shop");

    let mut elsewhere = config_map("shop", "new");
    elsewhere["spec"]["template"]["metadata"] = json!({"namespace": "other"});
    denied(create(WRITER, &elsewhere), federated_policy, "spec.template.metadata.namespace");
    elsewhere["spec"]["template"]["metadata"] = json!({"namespace": "shop"});
    allowed(create(WRITER, &elsewhere), "the namespace agrees");

    // Kubernetes' own controllers clean up: a namespace that goes takes its objects along.
    plane
        .kubectl(ADMIN, &["delete", "--raw", &format!("{collection}?dryRun=All"), "--as", NAMESPACE_CONTROLLER], &[])
        .expect("the namespace controller");

    requests(create);
    operator(&plane, create);
}

fn request(action: &str, resource: &str, namespace: &str, name: &str, arguments: Value) -> Value {
    let mut object = json!({"resource": resource, "name": name});
    if !namespace.is_empty() {
        object["namespace"] = namespace.into();
    }
    json!({
        "apiVersion": "hansa.dev/v1alpha1", "kind": "Request",
        "metadata": {"name": "ask", "namespace": "shop"},
        "spec": {"action": action, "object": object, "arguments": arguments},
    })
}

fn member() -> Value {
    json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Member", "metadata": {"name": "m"}, "spec": {"name": "m"}})
}

fn requests(create: impl Fn(&str, &Value) -> Answer) {
    let to = json!({"member": "gcp-euw4"});
    for (action, resource, verb) in [
        ("Delete", "configmaps", "delete"),
        ("HomeMove", "deployments.apps", "update"),
        ("Output", "secrets", "get"),
        ("Explain", "configmaps", "get"),
    ] {
        let object = request(action, resource, "shop", "web", to.clone());
        create(WRITER, &object).expect(action);
        let refusal = create(OUTSIDER, &object).expect_refusal(action);
        let words = format!("{action} needs the verb {verb} on {resource} web in namespace shop");
        assert!(refusal.contains(&words), "{words:?} is missing in: {refusal}");
    }
    let planned = json!({"plan": {"spec": {"template": {"data": {"a": "b"}}, "placement": {}}, "timeoutSeconds": 5}});
    create(WRITER, &request("Plan", "configmaps", "shop", "web", planned.clone())).expect("Plan");
    let refusal = create(CLERK, &request("Plan", "configmaps", "shop", "web", planned.clone())).expect_refusal("Plan");
    assert!(refusal.contains("Plan needs the verb update on configmaps web in namespace shop"), "{refusal}");
    create(WRITER, &request("Plan", "configmaps", "shop", "web", to.clone())).expect_refusal("nothing is planned");
    create(WRITER, &request("Delete", "configmaps", "shop", "web", planned)).expect_refusal("a plan of a deletion");
    create(CLERK, &request("Explain", "configmaps", "shop", "web", json!({}))).expect("this ConfigMap");
    create(CLERK, &request("Explain", "configmaps", "shop", "other", json!({}))).expect_refusal("no other");
    // The rights that count are those where the object is, not where the request is.
    create(WRITER, &request("Delete", "configmaps", "bank", "web", json!({}))).expect_refusal("another namespace");
    create(WRITER, &request("Delete", "configmaps", "", "web", json!({})))
        .expect_refusal("no namespace is all of them");
    create(WRITER, &request("Delete", "pods/exec", "shop", "web", json!({}))).expect_refusal("a type");

    let mut confirmation = request("Confirm", "configmaps", "shop", "web", json!({"set": "0".repeat(64)}));
    let refusal = create(ADMIN, &confirmation).expect_refusal("a set is not one object's");
    assert!(refusal.contains("a confirmation is about the league, and names none"), "{refusal}");
    confirmation["spec"].as_object_mut().unwrap().remove("object");
    create(ADMIN, &confirmation).expect("the administrator may confirm");
    let refusal = create(WRITER, &confirmation).expect_refusal("a namespace's writer confirms nothing");
    assert!(refusal.contains("Confirm needs the verb update on federations.hansa.dev"), "{refusal}");
    let mut rotation = request("RotateKeys", "configmaps", "shop", "web", json!({}));
    create(ADMIN, &rotation).expect_refusal("keys are not one object's");
    rotation["spec"].as_object_mut().unwrap().remove("object");
    create(ADMIN, &rotation).expect("the administrator may rotate the keys");
    let refusal = create(WRITER, &rotation).expect_refusal("a namespace's writer rotates nothing");
    assert!(refusal.contains("RotateKeys needs the verb update on federations.hansa.dev"), "{refusal}");
}

/// The operator may do its work, is asked nothing by the policies, and may do no more.
fn operator(plane: &ControlPlane, create: impl Fn(&str, &Value) -> Answer) {
    create(OPERATOR, &member()).expect("the operator writes members");
    let finalizer = r#"{"metadata": {"finalizers": ["hansa.dev/federated"]}}"#;
    let patch = |subresource: &str, patch: &str| {
        plane.kubectl(
            OPERATOR,
            &["patch", "federatedconfigmap", "web", "-n", "shop", "--type=merge", "-p", patch, subresource],
            &[],
        )
    };
    patch("--subresource=", finalizer).expect("a finalizer");
    patch("--subresource=status", r#"{"status": {"summary": {"placed": 1, "applied": 1, "ready": 1}}}"#)
        .expect("a status");
    plane
        .kubectl(
            ADMIN,
            &[
                "patch",
                "federatedconfigmap",
                "web",
                "-n",
                "shop",
                "--type=json",
                "-p",
                r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#,
            ],
            &[],
        )
        .expect("the finalizer is taken away again");
    for (verb, resource, namespace, may) in [
        ("create", "configmaps", "shop", true),
        ("patch", "deployments.apps", "shop", true),
        ("delete", "secrets", "shop", true),
        ("escalate", "roles.rbac.authorization.k8s.io", "shop", true),
        ("bind", "clusterroles.rbac.authorization.k8s.io", "shop", true),
        ("create", "namespaces", "", true),
        ("delete", "namespaces", "", true),
        ("create", "customresourcedefinitions.apiextensions.k8s.io", "", true),
        ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io/hansa-federated", "", true),
        ("update", "leases.coordination.k8s.io", "hansa-system", true),
        // A home that moves here is made by its operator.
        ("create", "federatedconfigmaps.core.types.hansa.dev", "shop", true),
        ("update", "requests.hansa.dev", "shop", false),
        ("patch", "statefulsets.apps", "shop", false),
        ("get", "pods", "shop", false),
        ("update", "leases.coordination.k8s.io", "shop", false),
        ("delete", "customresourcedefinitions.apiextensions.k8s.io", "", false),
        ("create", "validatingadmissionpolicies.admissionregistration.k8s.io", "", false),
        ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io/another", "", false),
        ("patch", "nodes", "", false),
    ] {
        let mut arguments = vec!["auth", "can-i", verb, resource];
        if !namespace.is_empty() {
            arguments.extend(["-n", namespace]);
        }
        let answer = plane.kubectl(OPERATOR, &arguments, &[]);
        assert_eq!(answer.ok, may, "{verb} {resource}: {}{}", answer.stdout, answer.stderr);
    }
}

fn with_finalizers(name: &str, finalizers: &[&str]) -> Value {
    json!({
        "apiVersion": "core.types.hansa.dev/v1alpha1", "kind": "FederatedConfigMap",
        "metadata": {"name": name, "namespace": "default", "finalizers": finalizers},
        "spec": {"template": {"data": {"k": "v"}}, "placement": {"memberSelector": {}}},
    })
}

#[test]
fn federated_objects_have_the_finalizer_from_the_start() {
    let plane = ControlPlane::start(&[]);
    let types = [FederatedType { resource: "configmaps".parse().unwrap(), version: "v1".into(), privileged: false }];
    plane.apply(&finalizing(&types));
    let target =
        TargetKind::discovered(&plane.get("/api/v1")).into_iter().find(|target| target.name == types[0].resource);
    let target = target.expect("ConfigMaps are served");
    plane.apply(&[federated_crd(&target, &plane.get(&target.openapi_path())).unwrap()]);
    plane.wait_for_crds();
    let finalizers = |answer: &str| serde_json::from_str::<Value>(answer).unwrap()["metadata"]["finalizers"].clone();
    let made = |command: &[&str], object: Value| {
        let arguments = [command, &["-o", "json", "-f", "-"]].concat();
        finalizers(&plane.kubectl(ADMIN, &arguments, &[object]).expect("it is made"))
    };
    let dry: &[&str] = &["create", "--dry-run=server"];
    let first = [dry, &["-o", "json", "-f", "-"]].concat();
    plane.wait_until("the policy is in force", |plane| {
        let answer = plane.kubectl(ADMIN, &first, &[with_finalizers("first", &[])]);
        answer.ok && finalizers(&answer.stdout) == json!([FINALIZER])
    });

    assert_eq!(made(&["create"], with_finalizers("created", &[])), json!([FINALIZER]));
    assert_eq!(
        made(&["create"], with_finalizers("with-another", &["example.org/x"])),
        json!(["example.org/x", FINALIZER])
    );
    assert_eq!(made(&["create"], with_finalizers("with-it", &[FINALIZER])), json!([FINALIZER]));
    // Who applies does not own what the policy added, so the next apply does not take it away.
    for _ in 0..2 {
        assert_eq!(made(&["apply", "--server-side"], with_finalizers("applied", &[])), json!([FINALIZER]));
    }
    // Taken off, it stays off: it is put on at creation alone.
    let patch =
        ["patch", "federatedconfigmap", "created", "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#];
    let answer = plane.kubectl(ADMIN, &[patch.as_slice(), &["-o", "json"]].concat(), &[]).expect("it is patched");
    assert_eq!(finalizers(&answer), Value::Null);
}
