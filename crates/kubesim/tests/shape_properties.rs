//! Properties of patches and of server-side apply that hold for every object.

use std::collections::BTreeMap;

use hansa_kubesim::apply::{ManagerContext, server_side_apply, track_update};
use hansa_kubesim::patch;
use hansa_kubesim::schema::{Schema, builtin};
use hansa_kubesim::value;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn schema() -> &'static Schema {
    &builtin().kind("apps", "v1", "Deployment").expect("a built-in kind").schema
}

fn context(manager: &str) -> ManagerContext<'_> {
    ManagerContext { manager, api_version: "apps/v1", subresource: "", time: "2026-01-01T00:00:00Z" }
}

fn apply(live: Option<&Value>, applied: &Value, manager: &str) -> Value {
    server_side_apply(schema(), live, applied, true, &context(manager)).expect("a forced apply of a typed object")
}

/// An object that somebody owns already: one that nobody owns is taken over by its first applier.
fn base() -> Value {
    let object =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 3}});
    apply(None, &object, "base")
}

/// JSON values of any shape, without nulls (which mean removal in patches).
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0i64..4).prop_map(Value::from),
        "[a-c]".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(object_of),
        ]
    })
}

fn object_of(fields: BTreeMap<String, Value>) -> Value {
    Value::Object(fields.into_iter().collect())
}

/// The merge patch that leads from one object to another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (from, to) else { return to.clone() };
    let removed = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = new.iter().filter(|(name, value)| old.get(*name) != Some(*value)).map(|(name, value)| {
        let change = match (old.get(name), value) {
            (Some(old @ Value::Object(_)), Value::Object(_)) => difference(old, value),
            _ => value.clone(),
        };
        (name.clone(), change)
    });
    Value::Object(removed.chain(changed).collect())
}

/// An image, environment variables and arguments.
type Container = (String, BTreeMap<String, String>, Vec<String>);

/// The fields that one applier may name; the prefix keeps the names of two appliers apart.
#[derive(Clone, Debug)]
struct Wish {
    labels: BTreeMap<String, String>,
    containers: BTreeMap<String, Container>,
    finalizers: Vec<String>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let texts = || proptest::collection::btree_map("[a-c]", "[x-z]", 0..3);
    let container = ("[x-z]", texts(), proptest::collection::vec("[x-z]", 0..3));
    (
        texts(),
        proptest::collection::btree_map("[a-c]", container, 0..3),
        proptest::sample::subsequence(vec!["a", "b", "c"], 0..3),
    )
        .prop_map(|(labels, containers, finalizers)| Wish {
            labels,
            containers,
            finalizers: finalizers.into_iter().map(|name| format!("{name}/f")).collect(),
        })
}

impl Wish {
    fn object(&self, prefix: &str) -> Value {
        let named = |name: &String| format!("{prefix}{name}");
        let labels: Map<String, Value> =
            self.labels.iter().map(|(name, value)| (named(name), value.as_str().into())).collect();
        let containers: Vec<Value> = self
            .containers
            .iter()
            .map(|(name, (image, env, args))| {
                let env: Vec<Value> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                json!({"name": named(name), "image": image, "env": env, "args": args})
            })
            .collect();
        let finalizers: Vec<Value> = self.finalizers.iter().map(|one| format!("{prefix}{one}").into()).collect();
        // An empty map or list would name the field itself, which two appliers then share.
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        if !labels.is_empty() {
            value::set(&mut object, &["metadata", "labels"], labels.into());
        }
        if !finalizers.is_empty() {
            value::set(&mut object, &["metadata", "finalizers"], finalizers.into());
        }
        if !containers.is_empty() {
            value::set(&mut object, &["spec", "template", "spec", "containers"], containers.into());
        }
        object
    }
}

/// An object without the order of its keyed lists and sets, and of its managers.
fn unordered(mut object: Value) -> Value {
    for path in
        [&["metadata", "managedFields"][..], &["metadata", "finalizers"], &["spec", "template", "spec", "containers"]]
    {
        if let Some(Value::Array(items)) = value::get_mut(&mut object, path) {
            items.sort_by_key(Value::to_string);
        }
    }
    object
}

fn entry<'a>(object: &'a Value, manager: &str) -> Option<&'a Value> {
    value::list(object, &["metadata", "managedFields"]).iter().find(|entry| entry["manager"] == manager)
}

proptest! {
    // A failing case is printed; a file of them would lie in the source tree.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_patch_leads_to_what_it_was_made_for(from in any_value(), to in any_value()) {
        prop_assert_eq!(patch::merge(&from, &difference(&from, &to)), to);
    }

    #[test]
    fn a_json_patch_of_replaced_fields_leads_to_the_same(from in any_value(), to in any_value()) {
        if let (Value::Object(old), Value::Object(new)) = (&from, &to) {
            let removals = old.keys().filter(|name| !new.contains_key(*name)).map(|name| json!({"op": "remove", "path": format!("/{name}")}));
            let additions = new.iter().map(|(name, value)| json!({"op": "add", "path": format!("/{name}"), "value": value}));
            prop_assert_eq!(patch::json(&from, &removals.chain(additions).collect()), Ok(to));
        }
    }

    #[test]
    fn applying_the_same_twice_changes_nothing(first in wish(), second in wish()) {
        let live = apply(Some(&base()), &first.object(""), "one");
        let once = apply(Some(&live), &second.object(""), "two");
        let later = ManagerContext { time: "2027-01-01T00:00:00Z", ..context("two") };
        let twice = server_side_apply(schema(), Some(&once), &second.object(""), false, &later);
        prop_assert_eq!(twice, Ok(once));
    }

    #[test]
    fn appliers_that_name_different_fields_commute(first in wish(), second in wish()) {
        let (first, second) = (first.object("p"), second.object("q"));
        let one_two = apply(Some(&apply(Some(&base()), &first, "one")), &second, "two");
        let two_one = apply(Some(&apply(Some(&base()), &second, "two")), &first, "one");
        prop_assert_eq!(unordered(one_two), unordered(two_one));
    }

    #[test]
    fn what_an_applier_alone_named_goes_when_it_names_it_no_more(first in wish(), second in wish(), other in wish()) {
        let other = other.object("q");
        let alone = apply(Some(&base()), &other, "other");
        let with = apply(Some(&alone), &first.object("p"), "one");
        let changed = apply(Some(&with), &second.object("p"), "one");
        let directly = apply(Some(&alone), &second.object("p"), "one");
        prop_assert_eq!(unordered(changed), unordered(directly));
    }

    #[test]
    fn an_apply_that_names_nothing_takes_everything_back(first in wish(), other in wish()) {
        let other = other.object("q");
        let alone = apply(Some(&base()), &other, "other");
        let with = apply(Some(&alone), &first.object("p"), "one");
        let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        prop_assert_eq!(unordered(apply(Some(&with), &nothing, "one")), unordered(alone));
    }

    #[test]
    fn an_update_owns_what_it_changes_and_nothing_when_it_changes_nothing(first in wish(), second in wish()) {
        let live = apply(Some(&base()), &first.object(""), "one");
        let mut same = live.clone();
        track_update(schema(), Some(&live), &mut same, &context("editor"));
        prop_assert_eq!(&same, &live);

        let mut edited = patch::merge(&live, &json!({"metadata": {"labels": second.labels}}));
        schema().normalize(&mut edited);
        track_update(schema(), Some(&live), &mut edited, &context("editor"));
        let changed = second.labels.iter().any(|(name, value)| first.labels.get(name) != Some(value));
        prop_assert_eq!(entry(&edited, "editor").is_some(), changed);
        // The applier now conflicts on exactly what was changed under it.
        let taken = second.labels.iter().filter(|(name, value)| first.labels.get(*name).is_some_and(|mine| mine != *value)).count();
        let again = server_side_apply(schema(), Some(&edited), &first.object(""), false, &context("one"));
        match again {
            Ok(_) => prop_assert_eq!(taken, 0),
            Err(hansa_kubesim::apply::ApplyError::Conflicts(conflicts)) => prop_assert_eq!(conflicts.len(), taken),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn defaulting_and_normalizing_settle_at_once(wish in wish()) {
        let mut object = wish.object("");
        schema().apply_defaults(&mut object);
        let mut again = object.clone();
        schema().apply_defaults(&mut again);
        prop_assert_eq!(&again, &object);
        schema().normalize(&mut again);
        prop_assert_eq!(&again, &object);
    }
}
