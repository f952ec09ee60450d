use super::*;
use crate::print::Screen;
use expect_test::{Expect, expect};
use hansa_render::BuiltInKeys;

fn name(text: &str) -> MemberName {
    text.parse().unwrap()
}

fn deployment(image: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": {
        "replicas": replicas, "template": {"spec": {"containers": [{"name": "web", "image": image}]}},
    }})
}

fn plan(kind: &str, key: &str, before: &[(&str, Value)], after: &[(&str, Value)]) -> ObjectPlan {
    let outputs = |list: &[(&str, Value)]| list.iter().map(|(member, output)| (name(member), output.clone())).collect();
    let keys = BuiltInKeys::of("apps/v1", kind);
    ObjectPlan {
        key: key.parse().unwrap(),
        kind: kind.into(),
        revision: (!before.is_empty()).then_some(17),
        spec: Vec::new(),
        members: compare(kind, &outputs(before), &outputs(after), &keys),
        asked: BTreeMap::new(),
        notes: Vec::new(),
        errors: Vec::new(),
    }
}

fn check(objects: Vec<ObjectPlan>, expected: Expect) {
    expected.assert_eq(&show(&Plan::new(objects), &Screen::PLAIN));
}

#[test]
fn an_image_and_a_withdrawal() {
    let mut object = plan(
        "Deployment",
        "deployments.apps/shop/web",
        &[
            ("aws", deployment("web:1", 2)),
            ("azure", deployment("web:1", 2)),
            ("gcp", deployment("web:1", 2)),
            ("onprem", deployment("web:1", 2)),
        ],
        &[
            ("aws", deployment("web:2", 2)),
            ("azure", deployment("web:1", 5)),
            ("gcp", deployment("web:2", 2)),
            ("oci", deployment("web:2", 2)),
        ],
    );
    for (member, standing, message) in [
        ("aws", Standing::Accepted, ""),
        ("azure", Standing::NotTried, "its namespace is made with the first output"),
        ("gcp", Standing::Accepted, ""),
        ("oci", Standing::RenderedOnly, "silent since 2026-01-01T00:00:00Z"),
    ] {
        object.asked.insert(name(member), Asked::plain(standing, message));
    }
    object.asked.get_mut(&name("gcp")).unwrap().notes.push(".spec.replicas is left to \"hpa\"".into());
    object.notes.push("the object here differs from revision 17".into());
    check(
        vec![object],
        expect![[r#"
            FederatedDeployment shop/web (against revision 17)
              aws, gcp: changes Deployment shop/web, and restarts its pods
                spec.template.spec.containers[web].image: web:1 → web:2
              azure: changes Deployment shop/web
                spec.replicas: 2 → 5
              oci: adds Deployment shop/web
              onprem: withdraws Deployment shop/web, once the members that keep it are healthy
              accepted in aws, gcp
              not tried in azure: its namespace is made with the first output
              rendered only: onprem
              rendered only: oci: silent since 2026-01-01T00:00:00Z
              note: in gcp: .spec.replicas is left to "hpa"
              note: the object here differs from revision 17

            Would be: 3 outputs changed, 1 output added, 1 output withdrawn; pods restart in aws (deployments.apps shop/web), gcp (deployments.apps shop/web); rendered only for oci, without its word.
        "#]],
    );
}

#[test]
fn values_are_told_by_their_size() {
    let config = |value: &str| json!({"kind": "ConfigMap", "data": {"motd": value}});
    let object =
        plan("ConfigMap", "configmaps/shop/web", &[("aws", config("hello"))], &[("aws", config("hello, world"))]);
    check(
        vec![object],
        expect![[r#"
            FederatedConfigMap shop/web (against revision 17)
              aws: changes ConfigMap shop/web
                data.motd: "5 bytes" → "12 bytes"
              rendered only: aws

            Would be: 1 output changed.
        "#]],
    );
}

#[test]
fn nothing_new_and_a_refusal() {
    let same = plan(
        "Deployment",
        "deployments.apps/shop/web",
        &[("aws", deployment("web:1", 2))],
        &[("aws", deployment("web:1", 2))],
    );
    let mut refused = plan("Deployment", "deployments.apps/shop/api", &[], &[("aws", deployment("web:1", 2))]);
    refused.errors.push("spec.template.spec.replicas: Invalid value: -1".into());
    check(
        vec![same, refused],
        expect![[r#"
            FederatedDeployment shop/web (against revision 17)
              aws: unchanged
              rendered only: aws

            FederatedDeployment shop/api (new)
              refused: spec.template.spec.replicas: Invalid value: -1
              aws: adds Deployment shop/api
              rendered only: aws

            Would be: 1 output added; 1 object would be refused.
        "#]],
    );
}

#[test]
fn settings_count_as_changes() {
    let spec = |paused: bool| {
        serde_json::from_value::<FederatedSpec>(json!({"template": {}, "placement": {}, "paused": paused})).unwrap()
    };
    let keys = BuiltInKeys::of("v1", "ConfigMap");
    let mut object = plan("ConfigMap", "configmaps/shop/web", &[], &[]);
    assert!(!object.changes());
    object.spec = compare_settings(&spec(false), &spec(true), &keys);
    assert!(object.changes());
    check(
        vec![object],
        expect![[r#"
        FederatedConfigMap shop/web (new)
          spec.paused: false → true

        Would be: settings of 1 object changed.
    "#]],
    );
}
