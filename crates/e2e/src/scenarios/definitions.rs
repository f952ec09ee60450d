//! Kinds of one's own: a CRD that comes after its objects, and is missing in some members.

use super::scene::Scene;
use crate::client::Resource;
use crate::objects::{self, CONFIG_MAPS, DEFINITIONS, condition, config, everywhere, placed};
use crate::wait::{Seen, eventually};
use crate::world::{MEMBERS, federation_spec};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// The kind of the scenario.
pub(super) const WIDGETS: Resource =
    Resource { group: "e2e.example.org", version: "v1", plural: "widgets", kind: "Widget" };

/// The CRD of widgets, as the template of a federated object.
pub(super) fn definition() -> Value {
    let spec = json!({"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    json!({"spec": {
        "group": WIDGETS.group,
        "scope": "Namespaced",
        "names": {"plural": WIDGETS.plural, "singular": "widget", "kind": WIDGETS.kind, "listKind": "WidgetList"},
        "versions": [{"name": WIDGETS.version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
    }})
}

/// An object of a federated type exists before its CRD does in some members: it stands where the CRD
/// stands, the others say what they lack, everything else goes on; and when the CRD comes, federated
/// too, it heals.
pub async fn missing_in_members(scene: &Scene) -> Result<()> {
    let name = format!("{}.{}", WIDGETS.plural, WIDGETS.group);
    let crd = |spec: &Value| objects::federated(DEFINITIONS, "", &name, spec);
    let path = DEFINITIONS.federated("", &name);
    scene.admin(0).apply(&path, &crd(&placed(definition(), &[MEMBERS[0]]))).await?;
    let entry = json!({"resource": WIDGETS.type_name(), "version": WIDGETS.version});
    scene
        .world
        .edit_federation(|spec| {
            if let Some(types) = spec["types"].as_array_mut() {
                types.push(entry);
            }
        })
        .await?;
    let size = |size: u32| everywhere(json!({"spec": {"size": size}}));
    // Its federated kind is served as soon as the type is installed in its home.
    scene.make_namespace(0).await?;
    let widget = objects::federated(WIDGETS, &scene.namespace, "one", &size(1));
    eventually("the federated object is accepted", async || {
        let answer = scene.admin(0).try_apply(&WIDGETS.federated(&scene.namespace, "one"), &widget).await?;
        Ok(if answer.status < 300 {
            Seen::Yes(())
        } else {
            Seen::No(format!("{}: {}", answer.status, answer.message()))
        })
    })
    .await?;
    scene.output_is(0, WIDGETS, "one", "stands where its CRD does", |o| o["spec"]["size"] == 1).await?;
    let home = scene.condition_is(0, WIDGETS, "one", "Propagated", "False", "Failing").await?;
    let (_, _, message) = condition(&home, "Propagated");
    ensure!(message.contains(MEMBERS[1]) || message.contains(MEMBERS[2]), "the member is named: {message}");
    ensure!(message.contains(&name) && message.contains("install"), "type and mend are named: {message}");
    let failing = home["status"]["summary"]["failing"].as_array().map_or(0, Vec::len);
    ensure!(failing == 2, "both say so: {}", home["status"]);
    scene.warned(0, &scene.namespace, ("FederatedWidget", "one"), "Failing", &[&name, "install"]).await?;
    // Everything else goes on, there too.
    scene.federate(0, CONFIG_MAPS, "conf", &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;

    scene.admin(0).apply(&path, &crd(&everywhere(definition()))).await?;
    for index in 0..3 {
        scene.output_is(index, WIDGETS, "one", "stands", |o| o["spec"]["size"] == 1).await?;
    }
    scene.federate(0, WIDGETS, "one", &size(2)).await?;
    for index in 0..3 {
        scene.output_is(index, WIDGETS, "one", "follows", |o| o["spec"]["size"] == 2).await?;
    }
    scene.settled(0, WIDGETS, "one").await?;
    // What the CRD's schema refuses is refused in the home already: the federated kind has that schema.
    let wrong = objects::federated(WIDGETS, &scene.namespace, "two", &size(0));
    let answer = scene.admin(0).try_apply(&WIDGETS.federated(&scene.namespace, "two"), &wrong).await?;
    ensure!(answer.status == 422 && answer.message().contains("spec.template.spec.size"), "{}", answer.message());

    scene.delete(0, WIDGETS, "one").await?;
    for index in 0..3 {
        scene.output_goes(index, WIDGETS, "one").await?;
        scene.record_is(index, WIDGETS, "one", "is gone", Value::is_null).await?;
    }
    give_back(scene, 0, &name).await
}

/// Takes the league's spec back to what it was, and lets the CRD of this name go from everywhere, as it is
/// deleted in its home.
pub(super) async fn give_back(scene: &Scene, home: usize, name: &str) -> Result<()> {
    scene.world.edit_federation(|spec| *spec = federation_spec()).await?;
    scene.admin(home).delete(&DEFINITIONS.federated("", name)).await?;
    for index in 0..3 {
        eventually("the CRD goes", async || {
            let found = scene.admin(index).find(&DEFINITIONS.path("", name)).await?;
            Ok(found.map_or(Seen::Yes(()), |found| Seen::No(found["status"].to_string())))
        })
        .await?;
    }
    Ok(())
}
