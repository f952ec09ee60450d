use super::*;
use crate::generated::{any_containers, any_deployment, any_object};
use crate::list_keys::BuiltInKeys;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

fn identity() -> Identity {
    Identity {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        key: "deployments.apps/shop/web".parse().unwrap(),
    }
}

fn member(name: &str) -> Member {
    let region = name.split('-').next().unwrap();
    serde_json::from_value(json!({"name": name, "labels": {"cloud": region}})).unwrap()
}

fn marks(revision: u64) -> Marks {
    Marks { league: LeagueId(Hash::of_bytes(b"league")), incarnation: Incarnation(1), revision: Revision(revision) }
}

fn overrides(value: Value) -> Vec<Override> {
    serde_json::from_value(value).unwrap()
}

fn keys() -> BuiltInKeys {
    BuiltInKeys::of("apps/v1", "Deployment")
}

fn render_for(name: &str, template: &Value, changes: Value) -> Result<Output, RenderError> {
    output(&identity(), template, &overrides(changes), &member(name), &marks(7), &keys())
}

fn template() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "labels": {"app": "web", "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": "web", "owner": "team-a"},
            "uid": "u", "resourceVersion": "5", "finalizers": ["x"], "ownerReferences": [{"uid": "o"}],
        },
        "spec": {
            "replicas": 3,
            "template": {"spec": {"containers": [
                {"name": "web", "image": "web:1", "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]},
                {"name": "log", "image": "log:1", "args": ["-v", "-x"]},
            ]}},
        },
        "status": {"replicas": 9},
    })
}

#[test]
fn an_output_is_the_template_with_overrides_identity_and_marks() {
    let changes = json!([
        {
            "members": ["gcp-euw4"],
            "merge": {
                "metadata": {"annotations": {"owner": null, "site": "eu"}},
                "spec": {"template": {"spec": {"containers": [
                    {"name": "log", "$patch": "delete"},
                    {"name": "web", "image": "eu/web:2", "ports": [{"containerPort": 53, "name": "dns-tcp"}]},
                    {"name": "mesh", "image": "mesh:1"},
                ]}}},
            },
            "patches": [{"path": "/spec/replicas", "value": 5}, {"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}],
        },
        {"memberSelector": {"matchLabels": {"cloud": "aws"}}, "patches": [{"path": "/spec/replicas", "value": 99}]},
        {"memberSelector": {}, "merge": {"spec": {"paused": true}}},
    ]);
    let output = render_for("gcp-euw4", &template(), changes).unwrap();
    expect![[r#"
        {
          "apiVersion": "apps/v1",
          "kind": "Deployment",
          "metadata": {
            "annotations": {
              "hansa.dev/incarnation": "1",
              "hansa.dev/revision": "7",
              "site": "eu"
            },
            "labels": {
              "a/b": "c",
              "app": "web",
              "hansa.dev/league": "f0fe98f0671b0ec1"
            },
            "name": "web",
            "namespace": "shop"
          },
          "spec": {
            "paused": true,
            "replicas": 5,
            "template": {
              "spec": {
                "containers": [
                  {
                    "image": "eu/web:2",
                    "name": "web",
                    "ports": [
                      {
                        "containerPort": 53,
                        "protocol": "UDP"
                      },
                      {
                        "containerPort": 53,
                        "name": "dns-tcp"
                      }
                    ]
                  },
                  {
                    "image": "mesh:1",
                    "name": "mesh"
                  }
                ]
              }
            }
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&output.object).unwrap());
}

#[test]
fn overrides_apply_in_list_order() {
    let change = |value: u64| json!({"memberSelector": {}, "patches": [{"path": "/spec/replicas", "value": value}]});
    let replicas = |changes: Value| render_for("a", &template(), changes).unwrap().object["spec"]["replicas"].clone();
    assert_eq!(replicas(json!([change(4), change(5)])), 5);
    assert_eq!(replicas(json!([change(5), change(4)])), 4);
}

#[test]
fn a_new_revision_keeps_the_hash_and_a_new_life_does_not() {
    let render = |marks: &Marks| output(&identity(), &template(), &[], &member("a"), marks, &keys()).unwrap();
    let (first, second) = (render(&marks(7)), render(&marks(8)));
    assert_eq!(first.hash, second.hash);
    assert_ne!(first.object, second.object);
    let reborn = Marks { incarnation: Incarnation(2), ..marks(7) };
    assert_ne!(first.hash, render(&reborn).hash);
}

#[test]
fn a_cluster_scoped_object_has_no_namespace() {
    let identity = Identity {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        key: "namespaces//shop".parse().unwrap(),
    };
    let keys = BuiltInKeys::of("v1", "Namespace");
    let render = |template: Value| output(&identity, &template, &[], &member("a"), &marks(1), &keys);
    assert_eq!(render(json!({})).unwrap().object["metadata"].get("namespace"), None);
    let error = render(json!({"metadata": {"namespace": "shop"}})).unwrap_err();
    expect!["FederatedNamespace shop: spec.template.metadata.namespace: this is `shop`, but a Namespace has no namespace: leave it out"]
        .assert_eq(&error.to_string());
}

/// Every refusal, in words, one a line.
fn refusals(cases: Vec<(Value, Value)>, expected: Expect) {
    let mut said = String::new();
    for (template, changes) in cases {
        let error = render_for("gcp-euw4", &template, changes).unwrap_err();
        said.push_str(&format!("{}: {}\n", error.field, error.message));
    }
    expected.assert_eq(&said);
}

#[test]
fn a_template_states_its_own_identity_or_none() {
    let cases = [
        json!({"apiVersion": "apps/v1beta1"}),
        json!({"kind": "StatefulSet"}),
        json!({"metadata": {"name": "other"}}),
        json!({"metadata": {"namespace": 7}}),
        json!({"metadata": {"generateName": "web-"}}),
        json!("web"),
        json!({"metadata": []}),
        json!({"metadata": {"labels": "a=b"}}),
    ];
    refusals(
        cases.map(|template| (template, json!([]))).to_vec(),
        expect![[r#"
        spec.template.apiVersion: this is `apps/v1beta1`, but the apiVersion is `apps/v1` in every member: leave it out
        spec.template.kind: this is `StatefulSet`, but the kind is `Deployment` in every member: leave it out
        spec.template.metadata.name: this is `other`, but the name is `web` in every member: leave it out
        spec.template.metadata.namespace: this is a number, but the namespace is `shop` in every member: leave it out
        spec.template.metadata.generateName: the object is named `web` in every member, so no name can be generated: leave it out
        spec.template: an object is expected, and this is a string: write fields with their values, or leave it out
        spec.template.metadata: an object is expected, and this is an empty list: write fields with their values, or leave it out
        spec.template.metadata.labels: an object is expected, and this is a string: write fields with their values, or leave it out
    "#]],
    );
    for tolerated in [
        json!({"apiVersion": "", "metadata": {"name": "web", "namespace": "shop", "generateName": ""}}),
        json!({"kind": "Deployment", "metadata": {"namespace": null, "labels": null}}),
        json!({"metadata": null}),
    ] {
        render_for("gcp-euw4", &tolerated, json!([])).unwrap();
    }
}

#[test]
fn overrides_cannot_touch_what_the_object_is() {
    let change = |change: Value| {
        let mut change = change;
        change["members"] = json!(["gcp-euw4"]);
        (template(), json!([{"members": ["other"]}, change]))
    };
    let patch = |path: &str| change(json!({"patches": [{"op": "add", "path": path, "value": "x"}]}));
    refusals(
        vec![
            patch("/metadata/name"),
            patch("/metadata/namespace"),
            patch("/metadata/generateName"),
            patch("/kind"),
            patch("/apiVersion"),
            patch("/metadata"),
            patch("/metadata/finalizers/-"),
            patch("/metadata/labels"),
            patch("/metadata/labels/hansa.dev~1league"),
            patch("/status/replicas"),
            patch(""),
            change(json!({"merge": {"metadata": {"name": "other"}}})),
            change(json!({"merge": {"kind": null}})),
            change(json!({"merge": {"metadata": {"ownerReferences": []}}})),
            change(json!({"merge": {"metadata": {"annotations": {"hansa.dev/revision": "1"}}}})),
            change(json!({"merge": {"metadata": {"labels": ["a"]}}})),
            change(json!({"merge": {"metadata": null}})),
            change(json!({"merge": {"status": {}}})),
            change(json!({"merge": [1]})),
        ],
        expect![[r#"
            spec.overrides[1].patches[0].path: `/metadata/name`: an override cannot change which object this is: leave the operation out
            spec.overrides[1].patches[0].path: `/metadata/namespace`: an override cannot change which object this is: leave the operation out
            spec.overrides[1].patches[0].path: `/metadata/generateName`: an override cannot change which object this is: leave the operation out
            spec.overrides[1].patches[0].path: `/kind`: an override cannot change which object this is: leave the operation out
            spec.overrides[1].patches[0].path: `/apiVersion`: an override cannot change which object this is: leave the operation out
            spec.overrides[1].patches[0].path: `/metadata`: the object's metadata cannot be replaced: use `/metadata/labels` or `/metadata/annotations`
            spec.overrides[1].patches[0].path: `metadata.finalizers` belongs to one object in one cluster: of the metadata, only `labels` and `annotations` can be overridden
            spec.overrides[1].patches[0].path: an object is expected, and this is a string: write fields with their values, or leave it out
            spec.overrides[1].patches[0].path: `hansa.dev/league` does not travel to other clusters (Hansa sets its marks itself): leave it out
            spec.overrides[1].patches[0].path: `/status/replicas`: a status is written by the member that has the object: leave it out
            spec.overrides[1].patches[0].path: the whole object cannot be patched: name the field that is to change
            spec.overrides[1].merge.metadata.name: this is `other`, but the name is `web` in every member: leave it out
            spec.overrides[1].merge.kind: an override cannot take away which object this is: leave it out
            spec.overrides[1].merge.metadata.ownerReferences: `metadata.ownerReferences` belongs to one object in one cluster: of the metadata, only `labels` and `annotations` can be overridden
            spec.overrides[1].merge.metadata.annotations: `hansa.dev/revision` does not travel to other clusters (Hansa sets its marks itself): leave it out
            spec.overrides[1].merge.metadata.labels: an object is expected, and this is a list of 1 item: write fields with their values, or leave it out
            spec.overrides[1].merge.metadata: the object's metadata cannot be replaced: write `metadata: {labels: {…}, annotations: {…}}`
            spec.overrides[1].merge.status: a status is written by the member that has the object: leave it out
            spec.overrides[1].merge: an object is expected, and this is a list of 1 item: write fields with their values, or leave it out
        "#]],
    );
    let stated = json!({"merge": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}});
    let (template, changes) = change(stated);
    render_for("gcp-euw4", &template, changes).unwrap();
}

#[test]
fn errors_name_override_and_path_and_what_stands_there() {
    let change = |change: Value| (template(), json!([{"memberSelector": {}, "merge": change}]));
    let containers = |items: Value| change(json!({"spec": {"template": {"spec": {"containers": items}}}}));
    refusals(
        vec![
            (template(), json!([{"merge": {}}])),
            (template(), json!([{"memberSelector": {}, "patches": [{"path": "/spec/paused", "value": true}]}])),
            (template(), json!([{"memberSelector": {}, "patches": [{"path": "/spec/replicas"}]}])),
            change(json!({"spec": {"paused": null}})),
            change(json!({"metadata": {"labels": {"app.kubernetes.io/name": null}}})),
            containers(json!([{"name": "sidecar", "$patch": "delete"}])),
            containers(json!([{"name": "web", "$patch": "delete", "image": "x"}])),
            containers(json!([{"name": "web", "$patch": "replace"}])),
            containers(json!([{"name": "web"}, {"name": "log"}, {"name": "web"}])),
            containers(json!([{"image": "web:2"}])),
            containers(json!(["web"])),
            containers(json!({"name": "web"})),
            containers(json!([{"name": "web", "ports": [{"protocol": "TCP"}]}])),
            containers(json!([{"name": "log", "args": [{"$patch": "delete"}]}])),
            containers(json!([{"name": "log", "$retainKeys": ["image"]}])),
            change(json!({"spec": {"$patch": "replace"}})),
            change(json!({"spec": {"template": [1]}})),
        ],
        expect![[r#"
            spec.overrides[0]: the override is for no member: add `members` or `memberSelector` (`memberSelector: {}` is every member)
            spec.overrides[0].patches[0].path: there is nothing at `/spec/paused` to replace: `/spec` has `replicas` and `template`; correct the path, or use `op: add`
            spec.overrides[0].patches[0].value: `replace` at `/spec/replicas` needs a value; use `op: remove` to take the field away
            spec.overrides[0].merge.spec.paused: `null` removes a field, but there is no `paused` here (the object has `replicas` and `template`): correct the name or leave it out
            spec.overrides[0].merge.metadata.labels[app.kubernetes.io/name]: `null` removes a field, but there is no `app.kubernetes.io/name` here (the object has `app`): correct the name or leave it out
            spec.overrides[0].merge.spec.template.spec.containers[0]: there is no item `sidecar` to remove: the list has `web` and `log`; correct `name` or leave the item out
            spec.overrides[0].merge.spec.template.spec.containers[0]: the item `web` is removed, so `image` has no effect: leave it out
            spec.overrides[0].merge.spec.template.spec.containers[0]: `$patch: replace` is not understood: `delete` removes the item
            spec.overrides[0].merge.spec.template.spec.containers[2]: item [0] of this list is `web` too: join the two
            spec.overrides[0].merge.spec.template.spec.containers[0]: the item has no `name`, and this list is merged by `name`: add it
            spec.overrides[0].merge.spec.template.spec.containers[0]: an object with `name` is expected, and this is a string
            spec.overrides[0].merge.spec.template.spec.containers: an object cannot be merged into a list of 2 items: write a list
            spec.overrides[0].merge.spec.template.spec.containers[0].ports[0]: the item has no `containerPort`, and this list is merged by `containerPort` and `protocol`: add it
            spec.overrides[0].merge.spec.template.spec.containers[0].args[0]: this list is not merged by keys but replaced as a whole: write the whole list, or remove the item with `patches`
            spec.overrides[0].merge.spec.template.spec.containers[0].$retainKeys: this directive is not understood here: only `$patch: delete` is, in an item of a list that is merged by keys; remove a field with `null`, do the rest with `patches`
            spec.overrides[0].merge.spec.$patch: this directive is not understood here: only `$patch: delete` is, in an item of a list that is merged by keys; remove a field with `null`, do the rest with `patches`
            spec.overrides[0].merge.spec.template: a list cannot be merged into an object that has `spec`: write an object
        "#]],
    );
}

#[test]
fn a_template_with_two_items_of_one_name_is_not_guessed_at() {
    let environment = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    let template = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "env": environment}]}}}});
    let merge = |name: &str| {
        let containers = json!([{"name": "web", "env": [{"name": name, "value": "3"}]}]);
        json!([{"memberSelector": {}, "merge": {"spec": {"template": {"spec": {"containers": containers}}}}}])
    };
    refusals(
        vec![(template.clone(), merge("A"))],
        expect![[r#"
        spec.overrides[0].merge.spec.template.spec.containers[0].env[0]: the template has more than one item `A`: use `patches` with the item's index
    "#]],
    );
    render_for("a", &template, merge("B")).unwrap();
}

#[test]
fn errors_show_no_values() {
    let template = json!({"data": {"password": "hunter2"}, "spec": "hunter2"});
    for change in [
        json!({"merge": {"data": {"password": {"x": null}}}}),
        json!({"patches": [{"path": "/data/password/x", "value": "hunter2"}]}),
        json!({"patches": [{"path": "/data/nothing", "value": "hunter2"}]}),
        json!({"patches": [{"op": "remove", "path": "/spec/0"}]}),
    ] {
        let mut change = change;
        change["memberSelector"] = json!({});
        let error = render_for("a", &template, json!([change])).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn overrides_for_other_members_stop_nobody_but_are_told() {
    let changes = json!([
        {"members": ["b"], "patches": [{"path": "metadata.name", "value": "x"}, {"path": "/kind", "value": "x"}]},
        {"members": ["a"], "merge": {"metadata": {"name": "x"}}},
        {"merge": {}},
    ]);
    let fields: Vec<_> = validate(&identity(), &overrides(changes)).into_iter().map(|error| error.field).collect();
    assert_eq!(
        fields,
        [
            "spec.overrides[0].patches[0].path",
            "spec.overrides[0].patches[1].path",
            "spec.overrides[1].merge.metadata.name",
            "spec.overrides[2]",
        ]
    );
    let broken_for_b = json!([{"members": ["b"], "patches": [{"path": "/kind", "value": "x"}]}]);
    render_for("a", &template(), broken_for_b.clone()).unwrap();
    render_for("b", &template(), broken_for_b).unwrap_err();
}

fn merge_containers(containers: &Value) -> Value {
    json!([{"memberSelector": {}, "merge": {"spec": {"template": {"spec": {"containers": containers}}}}}])
}

proptest! {
    #[test]
    fn identity_and_marks_never_change(template in any_object(), merge in any_object(), paths in prop::collection::vec("/(metadata|kind|spec)(/(name|labels|a))?", 0..3)) {
        let patches: Vec<Value> = paths.iter().map(|path| json!({"op": "add", "path": path, "value": {"x": "y"}})).collect();
        let changes = json!([{"memberSelector": {}, "merge": merge, "patches": patches}]);
        if let Ok(output) = render_for("a", &template, changes) {
            let object = output.object;
            prop_assert_eq!(&object["apiVersion"], "apps/v1");
            prop_assert_eq!(&object["kind"], "Deployment");
            prop_assert_eq!(&object["metadata"]["name"], "web");
            prop_assert_eq!(&object["metadata"]["namespace"], "shop");
            prop_assert_eq!(&object["metadata"]["labels"][LEAGUE_LABEL], &marks(7).league.label());
            prop_assert_eq!(&object["metadata"]["annotations"][INCARNATION_ANNOTATION], "1");
            prop_assert_eq!(&object["metadata"]["annotations"][REVISION_ANNOTATION], "7");
            prop_assert_eq!(object["metadata"].as_object().unwrap().len(), 4);
        }
    }

    /// `hansa output` of one member, given back as a template, gives the same output.
    #[test]
    fn an_output_is_a_template_of_itself(template in any_deployment(), containers in any_containers()) {
        let first = render_for("a", &template, merge_containers(&containers)).unwrap();
        let again = render_for("a", &first.object, json!([])).unwrap();
        prop_assert_eq!(first, again);
    }

    #[test]
    fn merging_twice_is_merging_once(template in any_deployment(), containers in any_containers()) {
        let once = merge_containers(&containers);
        let twice = Value::from([once[0].clone(), once[0].clone()].to_vec());
        prop_assert_eq!(render_for("a", &template, once).unwrap(), render_for("a", &template, twice).unwrap());
    }

    /// Overrides of different containers may change places, but for the order of what both append.
    #[test]
    fn overrides_of_different_items_commute(template in any_deployment(), containers in any_containers()) {
        let there: Vec<&Value> = template["spec"]["template"]["spec"]["containers"].as_array().unwrap().iter().map(|item| &item["name"]).collect();
        let known: Vec<Value> = containers.as_array().unwrap().iter().filter(|item| there.contains(&&item["name"])).cloned().collect();
        let mut changes: Vec<Value> = known.iter().map(|item| merge_containers(&json!([item]))[0].clone()).collect();
        let forwards = render_for("a", &template, changes.clone().into()).unwrap();
        changes.reverse();
        prop_assert_eq!(forwards, render_for("a", &template, changes.into()).unwrap());
    }

    #[test]
    fn merged_items_are_there_and_the_others_unchanged(template in any_deployment(), containers in any_containers()) {
        let output = render_for("a", &template, merge_containers(&containers)).unwrap().object;
        let list = |value: &Value| value["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
        let (before, after) = (list(&template), list(&output));
        let named = |list: &[Value], name: &Value| list.iter().find(|item| item["name"] == *name).cloned();
        for change in containers.as_array().unwrap() {
            prop_assert_eq!(&named(&after, &change["name"]).unwrap()["image"], &change["image"]);
        }
        for item in &before {
            if named(containers.as_array().unwrap(), &item["name"]).is_none() {
                prop_assert_eq!(named(&after, &item["name"]), Some(item.clone()));
            }
        }
    }

    #[test]
    fn the_order_of_fields_does_not_count(template in any_deployment()) {
        let text = serde_json::to_string(&template).unwrap();
        let mut reversed = serde_json::Map::new();
        for (key, value) in template.as_object().unwrap().iter().rev() {
            reversed.insert(key.clone(), value.clone());
        }
        let first = render_for("a", &serde_json::from_str(&text).unwrap(), json!([])).unwrap();
        let second = render_for("a", &Value::Object(reversed), json!([])).unwrap();
        prop_assert_eq!(first.hash, second.hash);
    }
}
