//! Field ownership on answers of a real kube-apiserver (1.37.2), recorded in `data/conflict.json`:
//!
//! 1. `output` was applied by `hansa` and answered with `applied`;
//! 2. an autoscaler scaled it through the scale subresource, and `kubectl-edit` changed some of our
//!    fields (one in a set of ports with two keys, one atomic list, one label with dots) and added
//!    some of its own: `live`;
//! 3. applying `output` again without force was refused with `conflict`;
//! 4. applying `yielded` without force was accepted and answered with `after`; a second time it left
//!    the resourceVersion as it was.

use hansa_model::Hash;
use hansa_render::{BuiltInKeys, Retention, comparable, diff, owned, owners, retain};
use serde_json::Value;

fn recorded(part: &str) -> Value {
    let recorded: Value = serde_json::from_str(include_str!("data/conflict.json")).expect("the record is JSON");
    recorded[part].clone()
}

fn causes() -> Vec<(String, String)> {
    let conflict = recorded("conflict");
    let text = |cause: &Value, field: &str| cause[field].as_str().expect("a cause has texts").to_owned();
    let causes = conflict["details"]["causes"].as_array().expect("a conflict has causes");
    causes.iter().map(|cause| (text(cause, "field"), text(cause, "message"))).collect()
}

#[test]
fn every_cause_leads_to_a_field_and_to_the_manager_it_names() {
    assert_eq!(causes().len(), 7);
    for (path, message) in causes() {
        let [owner] = &owners(&recorded("live"), &path)[..] else {
            panic!("{path} has one owner");
        };
        assert!(message.contains(&format!("\"{}\"", owner.manager)), "{path}: {message}");
        let [before] = &owners(&recorded("applied"), &path)[..] else {
            panic!("{path} had one owner");
        };
        assert_eq!((before.manager.as_str(), before.operation.as_str()), ("hansa", "Apply"), "{path}");
    }
}

#[test]
fn what_is_yielded_is_accepted_by_the_server_and_left_alone() {
    let mut output = recorded("output");
    for (path, _) in causes() {
        let retention = retain(&recorded("live"), "hansa", &mut output, &path);
        assert!(matches!(retention, Retention::Released(_)), "{path}: {retention:?}");
    }
    assert_eq!(output, recorded("yielded"));
    let keys = BuiltInKeys::of("apps/v1", "Deployment");
    assert_eq!(diff(&comparable(&recorded("live")), &comparable(&recorded("after")), &keys), []);
}

#[test]
fn fields_that_were_solely_ours_are_kept_not_reset() {
    let mut output = recorded("output");
    output["spec"]["replicas"] = 5.into();
    assert_eq!(retain(&recorded("applied"), "hansa", &mut output, ".spec.replicas"), Retention::Kept);
    assert_eq!(output["spec"]["replicas"], 3);
}

#[test]
fn owned_tells_our_fields_from_defaults_and_from_theirs() {
    let hash = |part: &str| Hash::of(&owned(&recorded(part), "hansa").expect("hansa applied it"));
    assert_ne!(hash("applied"), hash("live"), "kubectl-edit took fields of ours");
    assert_eq!(hash("live"), hash("after"), "what is left of ours did not change");

    let ours = owned(&recorded("after"), "hansa").expect("hansa applied it");
    let mut expected = recorded("yielded");
    for identity in ["apiVersion", "kind"] {
        expected.as_object_mut().expect("an object").remove(identity);
    }
    for identity in ["name", "namespace"] {
        expected["metadata"].as_object_mut().expect("an object").remove(identity);
    }
    // The server's own spelling: a port's default protocol is a key, and quantities are canonical.
    let container = &mut expected["spec"]["template"]["spec"]["containers"][0];
    container["ports"][0]["protocol"] = "TCP".into();
    container["resources"]["requests"]["cpu"] = "500m".into();
    assert_eq!(ours, expected);
}
