//! Schemas and ownership against what a real kube-apiserver answered (`tools/extract-builtins/record.py`).

use hansa_kubesim::apply::{self, ApplyError, ManagerContext};
use hansa_kubesim::schema::{Kind, Schema, builtin};
use hansa_kubesim::value;
use serde_json::{Value, json};

/// The lines of a recording.
fn recorded(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a recording holds JSON lines")).collect()
}

fn kind_of(object: &Value) -> &'static Kind {
    let api_version = value::string(object, &["apiVersion"]).unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = value::string(object, &["kind"]).unwrap_or_default();
    builtin().kind(group, version, kind).unwrap_or_else(|| panic!("{api_version} {kind} is a built-in kind"))
}

/// What admission and the kinds' strategies fill in, beyond defaults.
fn filled_in_by_others(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => {
            &["/spec/preemptionPolicy", "/spec/priority", "/spec/tolerations", "/status/phase", "/status/qosClass"]
        }
        "DaemonSet" => &["/metadata/annotations"],
        "Job" => &["/metadata/labels", "/spec/selector", "/spec/template/metadata/labels"],
        "Service" => &[
            "/spec/clusterIP",
            "/spec/clusterIPs",
            "/spec/ipFamilies",
            "/spec/ipFamilyPolicy",
            "/spec/ports/0/nodePort",
            "/spec/ports/1/nodePort",
        ],
        "PersistentVolumeClaim" => &["/metadata/finalizers"],
        "PersistentVolume" => &["/metadata/finalizers", "/status/lastPhaseTransitionTime"],
        "Namespace" => &["/spec/finalizers"],
        "Node" => &["/spec/taints"],
        _ => &[],
    }
}

fn without(mut object: Value, pointers: &[&str]) -> Value {
    for pointer in pointers {
        if let Some((parent, last)) = pointer.rsplit_once('/')
            && let Some(Value::Object(map)) = object.pointer_mut(parent)
        {
            map.remove(last);
        }
    }
    object
}

#[test]
fn defaults_are_those_of_the_real_server() {
    for line in recorded(include_str!("shape_recorded/defaults.jsonl")) {
        let kind = kind_of(&line["object"]);
        let mut object = line["object"].clone();
        assert_eq!(kind.schema.prune(&mut object), Vec::<String>::new());
        kind.schema.apply_defaults(&mut object);
        let others = filled_in_by_others(&kind.kind);
        let (ours, real) = (without(object.clone(), others), without(line["answer"].clone(), others));
        assert_eq!(pretty(&ours), pretty(&real), "{} made of {}", kind.kind, line["object"]);
        assert_eq!(kind.schema.validate(&object), [], "{}", kind.kind);

        let mut again = object.clone();
        kind.schema.apply_defaults(&mut again);
        assert_eq!(pretty(&again), pretty(&object), "defaulting a {} twice changes nothing", kind.kind);
    }
}

#[test]
fn malformed_values_are_refused_in_the_words_of_go() {
    for line in recorded(include_str!("shape_recorded/undecodable.jsonl")) {
        let kind = kind_of(&line["object"]);
        let why = kind.schema.decode_error(&line["object"]).unwrap_or_default();
        let message = format!("{0} in version {1:?} cannot be handled as a {0}: {why}", kind.kind, kind.version);
        assert_eq!(line["message"], message, "{}", line["object"]);
    }
}

#[test]
fn custom_resources_are_validated_as_by_the_real_server() {
    let lines = recorded(include_str!("shape_recorded/custom_values.jsonl"));
    let schema = Schema::from_crd(&lines[0]["schema"]).expect("the recording's schema is structural");
    for line in &lines[1..] {
        let mut object = line["object"].clone();
        schema.prune(&mut object);
        schema.apply_defaults(&mut object);
        let mut errors: Vec<String> = schema.validate(&object).iter().map(ToString::to_string).collect();
        errors.sort();
        assert_eq!(json!(errors), line["errors"], "{}", line["object"]);
        if let Some(answer) = line.get("answer") {
            assert_eq!(pretty(&object), pretty(answer));
        }
    }
}

#[test]
fn schemas_are_structural_or_refused_as_by_the_real_server() {
    for line in recorded(include_str!("shape_recorded/schemas.jsonl")) {
        let errors = Schema::from_crd(&line["schema"]).err().unwrap_or_default();
        let mut errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        errors.sort();
        assert_eq!(json!(errors), line["errors"], "{}", line["schema"]);
    }
}

#[test]
fn ownership_is_that_of_the_real_server() {
    let custom = &recorded(include_str!("shape_recorded/custom_values.jsonl"))[0]["schema"];
    let custom = Schema::from_crd(custom).expect("the recording's schema is structural").with_status_subresource();
    let lines = recorded(include_str!("shape_recorded/ownership.jsonl"));
    let mut refused = 0;
    for (index, line) in lines.iter().enumerate() {
        let about = format!("line {}: {} by {}", index + 1, line["how"], line["manager"]);
        let example = if line["live"].is_object() { &line["live"] } else { &line["answer"] };
        let schema = if example["kind"] == "Foo" { &custom } else { &kind_of(example).schema };
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let context = ManagerContext {
            manager: text("manager"),
            api_version: value::string(example, &["apiVersion"]).unwrap_or_default(),
            subresource: text("subresource"),
            time: &time_of(&line["answer"], text("manager")),
        };
        let live = Some(&line["live"]).filter(|live| live.is_object());
        if line["how"] != "apply" {
            let mut object = line["answer"].clone();
            let brought = value::get(&line["body"], &["metadata", "managedFields"]);
            let entries = brought.or_else(|| value::get(live?, &["metadata", "managedFields"]));
            match entries {
                Some(entries) => value::set(&mut object, &["metadata", "managedFields"], entries.clone()),
                None => drop(value::remove(&mut object, &["metadata", "managedFields"])),
            }
            apply::track_update(schema, live, &mut object, &context);
            assert_eq!(pretty(entries_of(&object)), pretty(entries_of(&line["answer"])), "{about}");
            continue;
        }
        match apply::server_side_apply(schema, live, &line["body"], line["force"] == true, &context) {
            Ok(object) => {
                assert!(line["answer"].is_object(), "{about}: the real server refused: {}", line["message"]);
                assert_eq!(pretty(entries_of(&object)), pretty(entries_of(&line["answer"])), "{about}");
                assert_eq!(
                    pretty(&compared(object, text("subresource"))),
                    pretty(&compared(line["answer"].clone(), text("subresource"))),
                    "{about}"
                );
            }
            Err(error) => {
                refused += 1;
                assert_eq!(line["message"], error.to_string(), "{about}");
                if let ApplyError::Conflicts(conflicts) = error {
                    let causes = conflicts.iter().map(|conflict| {
                        json!({"reason": "FieldManagerConflict", "field": conflict.field, "message": conflict.message})
                    });
                    assert_eq!(line["causes"], causes.collect::<Value>(), "{about}");
                }
            }
        }
    }
    assert!(refused > 10, "the recording has refusals too");
}

/// When a manager's entry says that it was written last.
fn time_of(answer: &Value, manager: &str) -> String {
    let entries = value::list(answer, &["metadata", "managedFields"]).iter();
    let times = entries.filter(|entry| entry["manager"] == manager).filter_map(|entry| entry["time"].as_str());
    times.max().unwrap_or("2026-01-01T00:00:00Z").to_owned()
}

fn entries_of(object: &Value) -> &Value {
    value::get(object, &["metadata", "managedFields"]).unwrap_or(&Value::Null)
}

/// The part of an object that an apply makes: not what the server gives it, and of a subresource only that.
fn compared(object: Value, subresource: &str) -> Value {
    if subresource == "status" {
        return object["status"].clone();
    }
    let served = ["uid", "creationTimestamp", "resourceVersion", "generation", "namespace", "managedFields"];
    let served: Vec<String> = served.iter().map(|name| format!("/metadata/{name}")).collect();
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let mut dropped: Vec<&str> = served.iter().map(String::as_str).collect();
    dropped.extend(filled_in_by_others(&kind));
    without(object, &dropped)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("a value is printable")
}
