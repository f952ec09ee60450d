use super::*;
use crate::generated::{any_deployment, any_object};
use crate::list_keys::BuiltInKeys;
use expect_test::expect;
use proptest::prelude::*;
use serde_json::json;

fn keys() -> BuiltInKeys {
    BuiltInKeys::of("apps/v1", "Deployment")
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{change}\n")).collect()
}

#[test]
fn changes_are_told_by_path_and_items_by_name() {
    let pod = |containers: Value, tolerations: Value| json!({"containers": containers, "tolerations": tolerations});
    let before = json!({
        "metadata": {"labels": {"app.kubernetes.io/name": "web", "tier": "front"}},
        "spec": {"replicas": 3, "template": {"spec": pod(
            json!([
                {"name": "web", "image": "web:1", "args": ["-a", "-b"], "ports": [{"containerPort": 80}]},
                {"name": "log", "image": "log:1"},
                {"name": "old", "image": "old:1"},
            ]),
            json!([{"key": "a"}, {"key": "b"}]),
        )}},
    });
    let after = json!({
        "metadata": {"labels": {"app.kubernetes.io/name": "shop web"}},
        "spec": {"replicas": 5, "template": {"spec": pod(
            json!([
                {"name": "mesh", "image": "mesh:1"},
                {"name": "log", "image": "log:1"},
                {"name": "web", "image": "web:2", "args": ["-a", "-c"], "ports": [{"containerPort": 80, "protocol": "UDP"}]},
            ]),
            json!([{"key": "a"}, {"key": "c"}, {"key": "d"}]),
        )}, "paused": true},
    });
    expect![[r#"
        metadata.labels[app.kubernetes.io/name]: web → "shop web"
        metadata.labels.tier: removed front
        spec.paused: added true
        spec.replicas: 3 → 5
        spec.template.spec.containers[web].args: ["-a","-b"] → ["-a","-c"]
        spec.template.spec.containers[web].image: web:1 → web:2
        spec.template.spec.containers[web].ports[80/TCP]: removed {"containerPort":80}
        spec.template.spec.containers[web].ports[80/UDP]: added {"containerPort":80,"protocol":"UDP"}
        spec.template.spec.containers[old]: removed {"image":"old:1","name":"old"}
        spec.template.spec.containers[mesh]: added {"image":"mesh:1","name":"mesh"}
        spec.template.spec.containers: ["web","log"] → ["log","web"]
        spec.template.spec.tolerations[1].key: b → c
        spec.template.spec.tolerations[2]: added {"key":"d"}
    "#]]
    .assert_eq(&lines(&diff(&before, &after, &keys())));
}

#[test]
fn values_of_secrets_and_config_maps_stay_hidden() {
    let secret = |data: Value| {
        json!({"kind": "Secret", "type": "Opaque", "data": data, "metadata": {
            "labels": {"app": "x"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"stringData\":{\"password\":\"hunter2\"}}"},
        }})
    };
    let before = secret(json!({"password": "aHVudGVyMg==", "token": "aHVudGVyMg==", "old": "aHVudGVyMg=="}));
    let after = secret(json!({"password": "aHVudGVyMw==", "token": "aHVudGVyMg==", "new": "aA=="}));
    let keys = BuiltInKeys::of("v1", "Secret");
    expect![[r#"
        data.new: added "1 byte"
        data.old: removed "7 bytes"
        data.password: "7 bytes" → "7 bytes, changed"
    "#]]
    .assert_eq(&lines(&diff_for_people("Secret", &before, &after, &keys)));
    expect![[r#"
        data: added {"new":"1 byte","password":"7 bytes","token":"7 bytes"}
        kind: added Secret
        metadata: added {"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"37 bytes"},"labels":{"app":"x"}}
        type: added Opaque
    "#]].assert_eq(&lines(&diff_for_people("Secret", &json!({}), &after, &keys)));
    let said = lines(&diff_for_people("Secret", &Value::Null, &after, &keys));
    for hidden in ["aHVudGVyM", "hunter2"] {
        assert!(!said.contains(hidden), "{said}");
    }
    let map = |value: &str| json!({"data": {"app.conf": value}, "immutable": false});
    expect![[r#"
        data[app.conf]: "3 bytes" → "7 bytes"
    "#]]
    .assert_eq(&lines(&diff_for_people("ConfigMap", &map("a=1"), &map("a=2\nb=3"), &keys)));
}

#[test]
fn the_books_of_the_server_and_our_marks_are_no_difference() {
    let plain = json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"replicas": 3}});
    let marked = json!({
        "metadata": {
            "name": "web", "uid": "u", "resourceVersion": "1", "generation": 4, "creationTimestamp": "t", "managedFields": [],
            "labels": {"app": "web", LEAGUE_LABEL: "l"},
            "annotations": {INCARNATION_ANNOTATION: "1", REVISION_ANNOTATION: "9"},
        },
        "spec": {"replicas": 3},
        "status": {"replicas": 3},
    });
    assert_eq!(comparable(&marked), plain);
    assert_eq!(diff_for_people("Deployment", &plain, &marked, &keys()), []);
}

#[test]
fn pods_restart_when_their_template_differs_and_nobody_is_waited_for() {
    let deployment = |image: &str, replicas: u64, paused: bool| json!({"spec": {"replicas": replicas, "paused": paused, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
    let restarts = |after: &Value| restarts_pods("Deployment", &deployment("web:1", 3, false), after);
    assert!(restarts(&deployment("web:2", 3, false)));
    assert!(!restarts(&deployment("web:1", 5, false)));
    assert!(!restarts(&deployment("web:2", 3, true)));

    let daemon = |image: &str, strategy: &str| json!({"spec": {"updateStrategy": {"type": strategy}, "template": {"spec": {"containers": [{"image": image}]}}}});
    for kind in ["StatefulSet", "DaemonSet"] {
        assert!(restarts_pods(kind, &daemon("a", "RollingUpdate"), &daemon("b", "RollingUpdate")));
        assert!(!restarts_pods(kind, &daemon("a", "OnDelete"), &daemon("b", "OnDelete")));
    }
    assert!(!restarts_pods("CronJob", &daemon("a", ""), &daemon("b", "")));
}

#[test]
fn long_values_are_cut() {
    let change = diff(&json!("é".repeat(500)), &json!("x"), &keys());
    assert!(change[0].to_string().chars().count() < 160, "{}", change[0]);
}

/// Every change of a diff, by its before or its after, put into words.
fn touched(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.path.as_str()).collect()
}

proptest! {
    #[test]
    fn only_equal_objects_have_no_difference(before in any_object(), after in any_object()) {
        prop_assert_eq!(diff(&before, &after, &keys()).is_empty(), before == after);
        prop_assert!(diff(&before, &before, &keys()).is_empty());
    }

    #[test]
    fn so_it_is_with_keyed_lists(before in any_deployment(), after in any_deployment()) {
        prop_assert_eq!(diff(&before, &after, &keys()).is_empty(), before == after);
    }

    #[test]
    fn backwards_it_is_the_same_the_other_way_round(before in any_deployment(), after in any_deployment()) {
        let mut forwards = diff(&before, &after, &keys());
        let mut backwards = diff(&after, &before, &keys());
        for change in &mut backwards {
            std::mem::swap(&mut change.before, &mut change.after);
        }
        forwards.sort_by(|a, b| a.path.cmp(&b.path));
        backwards.sort_by(|a, b| a.path.cmp(&b.path));
        prop_assert_eq!(forwards, backwards);
    }

    /// With items added or removed elsewhere, one container's change stays one change at its path.
    #[test]
    fn a_change_of_one_item_is_told_at_its_name(before in any_deployment(), index in any::<prop::sample::Index>()) {
        let containers = before["spec"]["template"]["spec"]["containers"].as_array().unwrap();
        prop_assume!(!containers.is_empty());
        let index = index.index(containers.len());
        let name = containers[index]["name"].as_str().unwrap();
        let mut after = before.clone();
        after["spec"]["template"]["spec"]["containers"][index]["image"] = json!("new:1");
        let changes = diff(&before, &after, &keys());
        let path = format!("spec.template.spec.containers[{name}].image");
        prop_assert_eq!(touched(&changes), vec![path.as_str()]);
    }
}
