use super::*;
use crate::generated::any_object;
use expect_test::expect;
use proptest::prelude::*;
use serde_json::json;

fn entry(manager: &str, operation: &str, subresource: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
           "fieldsType": "FieldsV1", "fieldsV1": fields, "subresource": subresource})
}

/// A Deployment as an API server answers: applied by Hansa, scaled by an autoscaler, with a sidecar
/// that a webhook injected and a field that kubectl changed.
fn live() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "finalizers": ["a", "b"],
            "labels": {"app": "web", "app.kubernetes.io/name": "web", "theirs": "x"},
            "managedFields": [
                entry("hansa", "Apply", "", json!({
                    "f:metadata": {"f:labels": {"f:app": {}, "f:app.kubernetes.io/name": {}}, "f:finalizers": {"v:\"b\"": {}}},
                    "f:spec": {
                        "f:replicas": {},
                        "f:selector": {},
                        "f:template": {"f:spec": {
                            "f:containers": {"k:{\"name\":\"web\"}": {
                                ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:securityContext": {},
                                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                            }},
                            "f:tolerations": {},
                            "f:gone": {},
                        }},
                    },
                })),
                entry("hansa", "Apply", "status", json!({"f:status": {"f:x": {}}})),
                entry("hansa", "Update", "", json!({"f:spec": {"f:paused": {}}})),
                entry("kubectl-edit", "Update", "", json!({"f:spec": {"f:template": {"f:spec": {
                    "f:containers": {"k:{\"name\":\"web\"}": {"f:securityContext": {"f:runAsUser": {}}}}, "f:dnsPolicy": {}}}}})),
                entry("kube-controller-manager", "Update", "scale", json!({"f:spec": {"f:replicas": {}}})),
            ],
        },
        "spec": {
            "replicas": 7, "paused": false,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate"},
            "template": {"spec": {
                "dnsPolicy": "Default",
                "containers": [
                    {"name": "mesh", "image": "mesh:1"},
                    {"name": "web", "image": "web:1", "args": ["-a"], "imagePullPolicy": "Always", "securityContext": {"runAsUser": 1},
                     "ports": [{"containerPort": 80, "protocol": "TCP", "name": "theirs"}, {"containerPort": 81, "protocol": "TCP"}]},
                ],
                "tolerations": [{"key": "a"}],
            }},
        },
        "status": {"x": 1},
    })
}

#[test]
fn owned_is_what_we_applied_and_nothing_else() {
    let owned = owned(&live(), "hansa").unwrap();
    expect![[r#"
        {
          "metadata": {
            "finalizers": [
              "b"
            ],
            "labels": {
              "app": "web",
              "app.kubernetes.io/name": "web"
            }
          },
          "spec": {
            "replicas": 7,
            "selector": {
              "matchLabels": {
                "app": "web"
              }
            },
            "template": {
              "spec": {
                "containers": [
                  {
                    "args": [
                      "-a"
                    ],
                    "image": "web:1",
                    "name": "web",
                    "ports": [
                      {
                        "containerPort": 80,
                        "protocol": "TCP"
                      }
                    ],
                    "securityContext": {}
                  }
                ],
                "tolerations": [
                  {
                    "key": "a"
                  }
                ]
              }
            }
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&owned).unwrap());
    assert_eq!(super::owned(&live(), "nobody"), None);
    assert_eq!(super::owned(&json!({}), "hansa"), None);
}

#[test]
fn what_others_do_beside_us_is_no_drift_and_what_they_do_to_us_is() {
    let before = owned(&live(), "hansa");
    let changed = |path: &str, value: Value| {
        let mut live = live();
        *live.pointer_mut(path).unwrap() = value;
        owned(&live, "hansa") != before
    };
    let container = "/spec/template/spec/containers";
    assert!(!changed("/spec/strategy/type", json!("Recreate")));
    assert!(!changed("/metadata/labels/theirs", json!("y")));
    assert!(!changed(&format!("{container}/0/image"), json!("mesh:2")));
    assert!(!changed(&format!("{container}/1/imagePullPolicy"), json!("Never")));
    assert!(!changed(&format!("{container}/1/securityContext/runAsUser"), json!(2)));
    assert!(!changed(&format!("{container}/1/ports/0/name"), json!("http")));
    assert!(!changed("/metadata/finalizers/0", json!("c")));
    assert!(changed(&format!("{container}/1/image"), json!("evil:1")));
    assert!(changed(&format!("{container}/1/args/0"), json!("-b")));
    assert!(changed("/spec/selector/matchLabels/app", json!("other")));
    assert!(changed("/spec/template/spec/tolerations/0/key", json!("b")));
    assert!(changed("/metadata/finalizers/1", json!("c")));
    assert!(changed("/metadata/managedFields/0/fieldsV1/f:spec", json!({})), "ownership lost");
}

#[test]
fn owners_are_named_with_what_they_wrote_through() {
    let names = |path: &str| {
        let owners = owners(&live(), path);
        let words = owners.iter().map(|owner| format!("{} {} {}", owner.manager, owner.operation, owner.subresource));
        words.map(|words| words.trim().to_owned()).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(names(".spec.replicas"), "hansa Apply, kube-controller-manager Update scale");
    assert_eq!(names(".metadata.labels.app.kubernetes.io/name"), "hansa Apply");
    assert_eq!(names(".spec.template.spec.containers[name=\"web\"]"), "hansa Apply");
    assert_eq!(names(".spec.template.spec.containers[name=\"mesh\"].image"), "");
    assert_eq!(names(".spec.template.spec.tolerations[0].key"), "hansa Apply", "in something atomic");
    assert_eq!(names(".metadata.finalizers[=\"b\"]"), "hansa Apply");
    assert_eq!(names(".metadata.finalizers[=\"a\"]"), "");
    assert_eq!(names(".spec.nothing"), "");
}

#[test]
fn a_yielded_field_goes_only_when_somebody_else_has_it() {
    let output =
        || json!({"spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
    let mut released = output();
    let retention = retain(&live(), "hansa", &mut released, ".spec.replicas");
    assert!(matches!(retention, Retention::Released(owners) if owners[0].manager == "kube-controller-manager"));
    assert_eq!(released["spec"].get("replicas"), None);

    let image = ".spec.template.spec.containers[name=\"web\"].image";
    let mut kept = output();
    assert_eq!(retain(&live(), "hansa", &mut kept, image), Retention::Kept);
    assert_eq!(kept["spec"]["template"]["spec"]["containers"][0]["image"], "web:1");

    for nothing in [".spec.strategy", ".spec.gone", ".metadata.name", "nonsense"] {
        let mut same = output();
        assert_eq!(retain(&live(), "hansa", &mut same, nothing), Retention::Unchanged);
        assert_eq!(same, output(), "{nothing}");
    }
}

#[test]
fn a_dropped_path_leaves_no_empty_parents_and_no_identity_goes() {
    let output = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web", "hansa.dev/league": "l"}},
        "spec": {
            "replicas": 3,
            "strategy": {"rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}]}},
        },
    });
    let drop = |path: &str| {
        let mut output = output.clone();
        assert!(drop_path(&mut output, path), "{path}");
        output
    };
    assert_eq!(drop(".spec.replicas")["spec"].get("replicas"), None);
    assert_eq!(drop(".spec.strategy.rollingUpdate.maxSurge")["spec"].get("strategy"), None);
    assert_eq!(drop(".metadata.labels.app")["metadata"]["labels"], json!({"hansa.dev/league": "l"}));
    let container = drop(".spec.template.spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"]");
    assert_eq!(container["spec"]["template"]["spec"]["containers"][0], json!({"name": "web", "image": "web:1"}));
    assert_eq!(drop(".spec.template.spec.containers[name=\"web\"]")["spec"].get("template"), None);

    for kept in [
        "",
        ".kind",
        ".apiVersion",
        ".metadata",
        ".metadata.name",
        ".metadata.labels",
        ".metadata.labels.hansa.dev/league",
        ".spec.template.spec.containers[name=\"other\"].image",
        ".spec.x",
        "spec.replicas",
        ".spec.replicas.x",
    ] {
        let mut same = output.clone();
        assert!(!drop_path(&mut same, kept), "{kept}");
        assert_eq!(same, output, "{kept}");
    }
}

/// A set of fields of `value`, each taken when a flag of `choice` says so.
fn some_fields(value: &Value, choice: &mut impl Iterator<Item = bool>) -> Value {
    let Some(fields) = value.as_object() else {
        return json!({});
    };
    let mut set = Map::new();
    for (name, child) in fields {
        if choice.next().unwrap_or(false) {
            let below = if choice.next().unwrap_or(false) { json!({}) } else { some_fields(child, choice) };
            set.insert(format!("f:{name}"), below);
        }
    }
    set.into()
}

fn is_subset(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|whole| is_subset(value, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            let mut rest = whole.iter();
            part.iter().all(|item| rest.any(|other| is_subset(item, other)))
        }
        (part, whole) => part == whole,
    }
}

proptest! {
    #[test]
    fn owned_is_part_of_the_live_object(spec in any_object(), choice in prop::collection::vec(any::<bool>(), 32)) {
        let set = some_fields(&spec, &mut choice.into_iter());
        let live = json!({"spec": spec, "metadata": {"managedFields": [entry("hansa", "Apply", "", json!({"f:spec": set}))]}});
        let owned = owned(&live, "hansa").unwrap();
        prop_assert!(is_subset(&owned, &live), "{owned} of {live}");
        // Changing the rest changes nothing.
        let mut grown = live.clone();
        grown["other"] = json!(1);
        prop_assert_eq!(super::owned(&grown, "hansa").unwrap(), owned);
    }

    #[test]
    fn what_is_dropped_is_gone_and_the_rest_stays(output in any_object(), fields in prop::collection::vec("[abc]", 1..4)) {
        let path: String = fields.iter().map(|field| format!(".{field}")).collect();
        let mut after = output.clone();
        let dropped = drop_path(&mut after, &path);
        let pointer = path.replace('.', "/");
        prop_assert_eq!(dropped, output.pointer(&pointer).is_some());
        prop_assert!(after.pointer(&pointer).is_none());
        prop_assert!(is_subset(&after, &output));
    }
}
