//! JSON, merge and strategic merge patches.

use hansa_kubesim::patch::{self, PatchError};
use hansa_kubesim::schema::{Schema, builtin};
use serde_json::{Value, json};

fn deployment() -> &'static Schema {
    &builtin().kind("apps", "v1", "Deployment").expect("a built-in kind").schema
}

fn pod() -> &'static Schema {
    &builtin().kind("", "v1", "Pod").expect("a built-in kind").schema
}

#[track_caller]
fn strategic(schema: &Schema, object: Value, patch: Value, expected: Value) {
    assert_eq!(patch::strategic(schema, &object, &patch), Ok(expected), "{patch} on {object}");
}

#[test]
fn json_patches_do_all_operations_or_none() {
    let object = json!({"data": {"k": "v"}, "list": [1, 2, 3], "a/b": 1, "m~n": 2});
    for (patch, expected) in [
        (json!([]), object.clone()),
        (
            json!([{"op": "add", "path": "/data/x", "value": 1}]),
            json!({"data": {"k": "v", "x": 1}, "list": [1, 2, 3], "a/b": 1, "m~n": 2}),
        ),
        (
            json!([{"op": "add", "path": "/list/1", "value": 9}, {"op": "add", "path": "/list/-", "value": 8}]),
            json!({"data": {"k": "v"}, "list": [1, 9, 2, 3, 8], "a/b": 1, "m~n": 2}),
        ),
        (
            json!([{"op": "remove", "path": "/a~1b"}, {"op": "remove", "path": "/m~0n"}, {"op": "remove", "path": "/list/-1"}]),
            json!({"data": {"k": "v"}, "list": [1, 2]}),
        ),
        (
            json!([{"op": "replace", "path": "/data/new", "value": "made"}]),
            json!({"data": {"k": "v", "new": "made"}, "list": [1, 2, 3], "a/b": 1, "m~n": 2}),
        ),
        (
            json!([{"op": "copy", "from": "/list/0", "path": "/data/c"}, {"op": "move", "from": "/data/k", "path": "/moved"}]),
            json!({"data": {"c": 1}, "moved": "v", "list": [1, 2, 3], "a/b": 1, "m~n": 2}),
        ),
        (
            json!([{"op": "test", "path": "/list/2", "value": 3.0}, {"op": "test", "path": "/none", "value": null}]),
            object.clone(),
        ),
    ] {
        assert_eq!(patch::json(&object, &patch), Ok(expected), "{patch}");
    }
    for patch in [
        json!([{"op": "remove", "path": "/none"}]),
        json!([{"op": "remove", "path": "/list/3"}]),
        json!([{"op": "add", "path": "/none/x", "value": 1}]),
        json!([{"op": "add", "path": "/list/5", "value": 1}]),
        json!([{"op": "add", "path": "", "value": 1}]),
        json!([{"op": "replace", "path": "/list/x", "value": 1}]),
        json!([{"op": "copy", "from": "/none", "path": "/x"}]),
        json!([{"op": "move", "from": "/none", "path": "/x"}]),
        json!([{"op": "test", "path": "/data/k", "value": "other"}]),
        json!([{"op": "fly", "path": "/data"}]),
        json!([{"op": "add", "value": 1}]),
    ] {
        assert!(matches!(patch::json(&object, &patch), Err(PatchError::Unprocessable(_))), "{patch}");
    }
    let malformed = |patch: Value| patch::json(&object, &patch).expect_err("no patch").to_string();
    assert_eq!(
        malformed(json!({"op": "add"})),
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    );
    assert_eq!(
        malformed(json!(["add"])),
        "error decoding patch: json: cannot unmarshal string into Go value of type handlers.jsonPatchOp"
    );
    let many = Value::from(vec![json!({"op": "test", "path": "/none", "value": null}); 10_001]);
    assert!(matches!(patch::json(&object, &many), Err(PatchError::TooLarge(_))));
}

#[test]
fn merge_patches_follow_rfc_7386() {
    // The cases of the RFC's appendix A.
    for (object, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(patch::merge(&object, &patch), expected, "{patch} on {object}");
    }
}

#[test]
fn strategic_patches_merge_lists_by_their_keys() {
    let containers = |list: Value| json!({"spec": {"template": {"spec": {"containers": list}}}});
    let live = containers(json!([
        {"name": "a", "image": "a:1", "args": ["x"], "env": [{"name": "E", "value": "1"}]},
        {"name": "b", "image": "b:1"}
    ]));
    strategic(
        deployment(),
        live.clone(),
        containers(
            json!([{"name": "b", "image": "b:2"}, {"name": "a", "args": ["y"], "env": [{"name": "F", "value": "2"}]}]),
        ),
        containers(json!([
            {"name": "b", "image": "b:2"},
            {"name": "a", "image": "a:1", "args": ["y"], "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]}
        ])),
    );
    strategic(
        deployment(),
        live.clone(),
        containers(json!([{"name": "a", "$patch": "delete"}, {"name": "c", "image": "c:1"}])),
        containers(json!([{"name": "c", "image": "c:1"}, {"name": "b", "image": "b:1"}])),
    );
    strategic(
        deployment(),
        live.clone(),
        containers(json!([{"$patch": "replace"}, {"name": "c", "image": "c:1"}])),
        containers(json!([{"name": "c", "image": "c:1"}])),
    );
    strategic(
        deployment(),
        live.clone(),
        json!({"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "c:1"}]
        }}}}),
        containers(json!([
            {"name": "c", "image": "c:1"},
            {"name": "b", "image": "b:1"},
            {"name": "a", "image": "a:1", "args": ["x"], "env": [{"name": "E", "value": "1"}]}
        ])),
    );
}

#[test]
fn strategic_patches_know_directives_on_maps() {
    strategic(
        deployment(),
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"spec": {"strategy": {"type": "Recreate"}}}),
    );
    let labelled = |labels: Value| json!({"metadata": {"labels": labels}});
    let live = labelled(json!({"a": "1", "b": "2"}));
    strategic(
        deployment(),
        live.clone(),
        labelled(json!({"a": null, "c": "3"})),
        labelled(json!({"b": "2", "c": "3"})),
    );
    strategic(
        deployment(),
        live.clone(),
        labelled(json!({"$patch": "replace", "c": "3"})),
        labelled(json!({"c": "3"})),
    );
    strategic(deployment(), live, labelled(json!({"$patch": "delete"})), labelled(json!({})));
}

#[test]
fn strategic_patches_merge_and_delete_plain_values() {
    let with = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    strategic(pod(), with(json!(["a/x", "b/y"])), with(json!(["c/z", "a/x"])), with(json!(["c/z", "a/x", "b/y"])));
    strategic(
        pod(),
        with(json!(["a/x", "b/y"])),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/x"]}}),
        with(json!(["b/y"])),
    );
    // A list without a strategy is replaced.
    let tolerations = |list: Value| json!({"spec": {"tolerations": list}});
    strategic(
        pod(),
        tolerations(json!([{"key": "a"}])),
        tolerations(json!([{"key": "b"}])),
        tolerations(json!([{"key": "b"}])),
    );
}

#[test]
fn strategic_patches_that_make_no_sense_are_refused() {
    let containers = |list: Value| json!({"spec": {"containers": list}});
    let live = containers(json!([{"name": "a"}, {"name": "b"}]));
    let refused = |patch: Value| patch::strategic(pod(), &live, &patch).expect_err("no patch for this object");
    assert_eq!(
        refused(containers(json!([{"image": "n:1"}]))),
        PatchError::Unmergeable("map: map[image:n:1] does not contain declared merge key: name".to_owned())
    );
    assert_eq!(refused(json!([1])), PatchError::Malformed("invalid JSON document".to_owned()));
    assert_eq!(
        refused(json!({"spec": {"$retainKeys": ["containers"], "nodeName": "x"}})),
        PatchError::Malformed("invalid patch format of retainKeys".to_owned())
    );
    let disordered = json!({"spec": {
        "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b"}, {"name": "a"}]
    }});
    assert!(matches!(refused(disordered), PatchError::Unmergeable(_)));
    assert!(matches!(refused(json!({"spec": {"$patch": "sideways"}})), PatchError::Unmergeable(_)));
}
