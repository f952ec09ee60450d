use super::*;
use crate::documents::parse;
use crate::kinds::builtin;
use crate::yaml;
use expect_test::{Expect, expect};

fn options() -> Options {
    Options {
        namespace: Some("shop".into()),
        placement: Placement { members: Some(vec!["aws".parse().unwrap()]), ..Placement::default() },
        ..Options::default()
    }
}

fn federated(text: &str) -> Federation {
    federate(&parse("app.yaml", text).unwrap(), &Kinds::new(builtin()), &options())
}

fn types_words(federation: &Federation) -> Vec<String> {
    federation.types().iter().map(|(name, version)| format!("{name}/{version}")).collect()
}

fn check(text: &str, expected: Expect) {
    let federation = federated(text);
    let mut out = yaml::documents(&federation.objects());
    for one in &federation.federated {
        for stripped in &one.stripped {
            out.push_str(&format!("# {}: {}: {}\n", one.key, stripped.path, stripped.why));
        }
    }
    for (place, refusal) in &federation.refused {
        out.push_str(&format!("# refused ({place}): {refusal}\n"));
    }
    for ((api_version, kind), documents) in &federation.unknown {
        for (place, words) in documents {
            out.push_str(&format!("# unknown: {api_version} {kind}: {words} ({place})\n"));
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn a_deployment_is_wrapped_and_stripped() {
    check(
        "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web, app.kubernetes.io/managed-by: Helm}
  creationTimestamp: null
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, creationTimestamp: null}
    spec: {containers: [{name: web, image: 'shop/web:1'}]}
status: {replicas: 2}
",
        expect![[r#"
            apiVersion: apps.types.hansa.dev/v1alpha1
            kind: FederatedDeployment
            metadata:
              finalizers:
              - hansa.dev/federated
              name: web
              namespace: shop
            spec:
              placement:
                members:
                - aws
              template:
                metadata:
                  labels:
                    app: web
                spec:
                  replicas: 2
                  selector:
                    matchLabels:
                      app: web
                  template:
                    metadata:
                      labels:
                        app: web
                    spec:
                      containers:
                      - image: shop/web:1
                        name: web
            # deployments.apps/shop/web: status: each member writes its own
            # deployments.apps/shop/web: metadata.labels[app.kubernetes.io/managed-by]: Helm's claim to the object
        "#]],
    );
}

#[test]
fn a_secrets_values_stay_out_of_the_federated_object() {
    check(
        "
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: bank, uid: u, labels: {app: bank}}
type: Opaque
stringData: {password: hunter2}
",
        expect![[r#"
            apiVersion: v1
            kind: Secret
            metadata:
              labels:
                app: bank
              name: keys
              namespace: bank
            stringData:
              password: hunter2
            type: Opaque
            ---
            apiVersion: core.types.hansa.dev/v1alpha1
            kind: FederatedSecret
            metadata:
              finalizers:
              - hansa.dev/federated
              name: keys
              namespace: bank
            spec:
              placement:
                members:
                - aws
              templateFrom:
                secretRef:
                  name: keys
            # secrets/bank/keys: metadata.uid: it belongs to one object in one cluster
        "#]],
    );
}

#[test]
fn a_namespace_comes_first_and_stands_beside_its_federated_one() {
    check(
        "
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {x: z}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, namespace: nonsense, labels: {team: shop}}
",
        expect![[r#"
            apiVersion: v1
            kind: Namespace
            metadata:
              name: shop
            ---
            apiVersion: core.types.hansa.dev/v1alpha1
            kind: FederatedNamespace
            metadata:
              finalizers:
              - hansa.dev/federated
              name: shop
            spec:
              placement:
                members:
                - aws
              template:
                metadata:
                  labels:
                    team: shop
            ---
            apiVersion: core.types.hansa.dev/v1alpha1
            kind: FederatedConfigMap
            metadata:
              finalizers:
              - hansa.dev/federated
              name: a
              namespace: shop
            spec:
              placement:
                members:
                - aws
              template:
                data:
                  x: z
            # namespaces//shop: metadata.namespace: namespaces have no namespace
        "#]],
    );
}

#[test]
fn what_cannot_be_federated_is_refused_by_name_and_the_rest_goes_on() {
    check(
        "
{apiVersion: v1, kind: Pod, metadata: {name: web-1}}
---
{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, metadata: {name: web}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {generateName: a-}}
---
{apiVersion: apps.types.hansa.dev/v1alpha1, kind: FederatedDeployment, metadata: {name: web}}
---
{apiVersion: example.org/v1, kind: Gadget, metadata: {name: g}}
",
        expect![[r#"
            apiVersion: core.types.hansa.dev/v1alpha1
            kind: FederatedConfigMap
            metadata:
              finalizers:
              - hansa.dev/federated
              name: a
              namespace: shop
            spec:
              placement:
                members:
                - aws
              template: {}
            # refused (app.yaml, document 1): Pod web-1: kind: pods run where a workload of their member puts them: federate the Deployment, StatefulSet, DaemonSet or Job
            # refused (app.yaml, document 2): PodDisruptionBudget web: apiVersion: PodDisruptionBudget is not served in `policy/v1beta1` any more: write it in version v1
            # refused (app.yaml, document 4): ConfigMap shop/a: metadata.name: this object is in app.yaml, document 3 already: keep one of the two
            # refused (app.yaml, document 5): ConfigMap: metadata.generateName: each member would generate another name: give the object a `name`
            # refused (app.yaml, document 6): FederatedDeployment web: apiVersion: Hansa's own kinds are not federated again: leave it out
            # unknown: example.org/v1 Gadget: Gadget g (app.yaml, document 7)
        "#]],
    );
}

#[test]
fn a_config_map_of_three_mebibytes_is_refused_with_the_mend() {
    let text =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata:\n  blob: {}\n", "x".repeat(3 << 20));
    let federation = federated(&text);
    assert!(federation.federated.is_empty());
    let refusal = federation.refused[0].1.to_string();
    for words in ["ConfigMap big", "data[blob]", "3145728 bytes", "split the object"] {
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn custom_resources_are_known_by_the_definition_beside_them() {
    let definition = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions: [{name: v1, served: true, storage: true}]
";
    let federation =
        federated(&format!("{{apiVersion: example.org/v1, kind: Widget, metadata: {{name: w}}}}\n---\n{definition}"));
    let keys: Vec<String> = federation.federated.iter().map(|one| one.key.to_string()).collect();
    assert_eq!(
        keys,
        ["customresourcedefinitions.apiextensions.k8s.io//widgets.example.org", "widgets.example.org/shop/w"]
    );
    assert_eq!(
        types_words(&federation),
        ["customresourcedefinitions.apiextensions.k8s.io/v1", "widgets.example.org/v1"]
    );
    assert!(federation.needs_two_steps());
    assert!(!federated(definition).needs_two_steps());
}

#[test]
fn what_is_asked_for_goes_into_every_object() {
    let options = Options {
        placement: Placement {
            member_selector: serde_json::from_value(json!({"matchLabels": {"env": "prod"}})).unwrap(),
            exclude: vec!["azure".parse().unwrap()],
            ..Placement::default()
        },
        adoption: Some(Adoption::Always),
        waves: vec![hansa_model::Wave { members: Some(vec!["aws".parse().unwrap()]), member_selector: None }],
        deletion_policy: Some(DeletionPolicy::Orphan),
        namespace: None,
    };
    let documents = parse("-", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}").unwrap();
    let federation = federate(&documents, &Kinds::new(builtin()), &options);
    let object = &federation.federated[0].object;
    assert_eq!(object["metadata"].get("namespace"), None);
    assert_eq!(
        object["spec"],
        json!({
            "template": {}, "adoption": "Always", "deletionPolicy": "Orphan",
            "rollout": {"waves": [{"members": ["aws"]}]},
            "placement": {"memberSelector": {"matchLabels": {"env": "prod"}}, "exclude": ["azure"]},
        })
    );
}
