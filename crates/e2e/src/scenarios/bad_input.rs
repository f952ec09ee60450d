//! Bad input: it fails alone, with a message that names the object's field and the mend, and everything
//! else goes on.

use super::scene::Scene;
use crate::client::Resource;
use crate::cluster::{Cluster, Kind, Sim, User};
use crate::objects::{
    CONFIG_MAPS, DEPLOYMENTS, FEDERATIONS, SERVICES, condition, config, deployment, everywhere, federated, placed,
};
use crate::wait::{Seen, eventually};
use crate::world::{MEMBERS, federation_spec};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Something good beside the bad still goes its way, end to end.
async fn others_go_on(scene: &Scene, name: &str) -> Result<()> {
    scene.federate(0, CONFIG_MAPS, name, &everywhere(config(&[("greeting", "hello")]))).await?;
    scene.settled(0, CONFIG_MAPS, name).await?;
    Ok(())
}

/// A condition and an event say what is wrong in words that hold all of these.
async fn says(
    scene: &Scene,
    resource: Resource,
    name: &str,
    about: (&str, &str, &str),
    words: &[&str],
) -> Result<Value> {
    let home = scene.condition_is(0, resource, name, about.0, about.1, about.2).await?;
    let (_, _, message) = condition(&home, about.0);
    let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
    ensure!(missing.is_empty(), "{missing:?} is missing in: {message}");
    let kind = format!("Federated{}", resource.kind);
    scene.warned(0, &scene.namespace, (&kind, name), about.2, words).await?;
    Ok(home)
}

const FAILING: (&str, &str, &str) = ("Propagated", "False", "Failing");

/// A template that the targets refuse, an override for one of them that cannot be made, and a name that
/// the kind does not allow.
pub async fn refused_objects(scene: &Scene) -> Result<()> {
    let mut template = deployment("web", "web:1", 1);
    template["spec"]["selector"]["matchLabels"]["app"] = json!("another");
    scene.federate(0, DEPLOYMENTS, "refused", &everywhere(template)).await?;

    let mut spec = everywhere(config(&[("greeting", "hello")]));
    spec["overrides"] = json!([{
        "members": [MEMBERS[1]], "patches": [{"op": "replace", "path": "/data/farewell", "value": "bye"}],
    }]);
    scene.federate(0, CONFIG_MAPS, "override", &spec).await?;

    let long = "n".repeat(70);
    let service = json!({"spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}});
    scene.federate(0, SERVICES, &long, &placed(service, &[MEMBERS[0], MEMBERS[1]])).await?;

    let refused = says(scene, DEPLOYMENTS, "refused", FAILING, &[MEMBERS[0], "selector"]).await?;
    ensure!(refused["status"]["summary"]["failing"].as_array().is_some_and(|all| all.len() == 3), "{refused}");
    let home = says(scene, CONFIG_MAPS, "override", FAILING, &[MEMBERS[1], "/data/farewell", "overrides[0]"]).await?;
    ensure!(home["status"]["summary"]["failing"] == json!([MEMBERS[1]]), "that member alone: {}", home["status"]);
    for index in [0, 2] {
        scene.output_is(index, CONFIG_MAPS, "override", "stands", |o| o["data"]["greeting"] == "hello").await?;
    }
    says(scene, SERVICES, &long, FAILING, &["metadata.name", "63"]).await?;
    others_go_on(scene, "good").await?;

    // Mended, each goes its way.
    scene.federate(0, DEPLOYMENTS, "refused", &everywhere(deployment("web", "web:1", 1))).await?;
    scene.settled(0, DEPLOYMENTS, "refused").await?;
    scene
        .federate(0, CONFIG_MAPS, "override", &everywhere(config(&[("greeting", "hello"), ("farewell", "x")])))
        .await?;
    scene.settled(0, CONFIG_MAPS, "override").await?;
    // What was never applied anywhere leaves nothing behind.
    scene.delete(0, SERVICES, &long).await?;
    scene.record_is(0, SERVICES, &long, "is gone", Value::is_null).await?;
    Ok(())
}

/// A spec that contradicts itself, and a placement that names nobody.
pub async fn contradictions(scene: &Scene) -> Result<()> {
    let mut spec = placed(config(&[("greeting", "hello")]), &[MEMBERS[0]]);
    spec["placement"]["memberSelector"] = json!({});
    scene.make_namespace(0).await?;
    let object = federated(CONFIG_MAPS, &scene.namespace, "both", &spec);
    let answer = scene.admin(0).try_apply(&CONFIG_MAPS.federated(&scene.namespace, "both"), &object).await?;
    if answer.status < 300 {
        says(scene, CONFIG_MAPS, "both", ("Scheduled", "False", "Refused"), &["members", "memberSelector"]).await?;
    } else {
        let message = answer.message();
        ensure!(answer.status == 422 && message.contains("members") && message.contains("memberSelector"), "{message}");
    }
    scene.federate(0, CONFIG_MAPS, "nobody", &placed(config(&[("greeting", "hello")]), &[])).await?;
    says(scene, CONFIG_MAPS, "nobody", ("Scheduled", "False", "NoMember"), &["spec.placement"]).await?;
    others_go_on(scene, "good").await
}

/// A federated object in a namespace of the cluster itself: refused by the policy where the API server
/// evaluates it, else by the operator, and never applied.
pub async fn system_namespace(scene: &Scene) -> Result<()> {
    let name = "e2e-system-namespace";
    let object = federated(CONFIG_MAPS, "kube-system", name, &everywhere(config(&[("greeting", "hello")])));
    let path = CONFIG_MAPS.federated("kube-system", name);
    let answer = scene.admin(0).try_apply(&path, &object).await?;
    match scene.world.kind {
        Kind::Real => {
            let message = answer.message();
            ensure!(
                answer.status == 403 && message.contains("kube-system") && message.contains("privileged"),
                "{message}"
            );
        }
        Kind::Sim => {
            answer.ok()?;
            eventually("the condition says why", async || {
                let home = scene.admin(0).get(&path).await?;
                let (status, reason, message) = condition(&home, "Agreed");
                let words = ["metadata.namespace", "kube-system", "privileged: true"];
                let says = (status, reason) == ("False", "Invalid") && words.iter().all(|word| message.contains(word));
                Ok(if says { Seen::Yes(()) } else { Seen::No(home["status"].to_string()) })
            })
            .await?;
            let words = ["metadata.namespace", "privileged: true"];
            scene.warned(0, "kube-system", ("FederatedConfigMap", name), "Invalid", &words).await?;
        }
    }
    others_go_on(scene, "good").await?;
    for index in 0..3 {
        let found = scene.admin(index).find(&CONFIG_MAPS.path("kube-system", name)).await?;
        ensure!(found.is_none(), "nothing is applied there: {found:?}");
    }
    scene.admin(0).delete(&path).await?;
    eventually("it goes without a trace", async || {
        let found = scene.admin(0).find(&path).await?;
        Ok(found.map_or(Seen::Yes(()), |found| Seen::No(found.to_string())))
    })
    .await
}

/// A Federation whose members clash is not agreed on; a second one founds no second league; and the
/// league goes on with what was agreed.
pub async fn clashing_federations(scene: &Scene) -> Result<()> {
    let path = FEDERATIONS.path("", "league");
    let mut clashing = federation_spec();
    clashing["members"][1]["publicKeys"] = json!(["ed25519:AAAA"]);
    clashing["members"][2]["publicKeys"] = json!(["ed25519:AAAA"]);
    scene.admin(0).patch(&path, "user", &json!({"spec": clashing})).await?;
    let is = |federation: &Value, reason: &str, words: &[&str]| {
        let (status, found, message) = condition(federation, "Agreed");
        (status, found) == ("False", reason) && words.iter().all(|word| message.contains(word))
    };
    eventually("the clash is named", async || {
        let now = scene.world.federation().await?;
        let named = is(&now, "Invalid", &["spec.members[2].publicKeys", "spec.members[1]"]);
        Ok(if named { Seen::Yes(()) } else { Seen::No(now["status"].to_string()) })
    })
    .await?;
    let words = ["spec.members[2].publicKeys", "each operator has keys of its own"];
    scene.warned(0, "default", ("Federation", "league"), "Invalid", &words).await?;
    others_go_on(scene, "good").await?;

    // Two leagues cannot share a topology server: the one that came first stands.
    let another = json!({
        "apiVersion": FEDERATIONS.api_version(), "kind": "Federation", "metadata": {"name": "another"},
        "spec": {"members": [{"name": "elsewhere"}]},
    });
    let another_path = FEDERATIONS.path("", "another");
    scene.admin(1).apply(&another_path, &another).await?;
    eventually("the second Federation is refused", async || {
        let now = scene.admin(1).get(&another_path).await?;
        let named = is(&now, "HomeElsewhere", &[MEMBERS[0], "edit it there"]);
        Ok(if named { Seen::Yes(()) } else { Seen::No(now["status"].to_string()) })
    })
    .await?;
    scene.warned(1, "default", ("Federation", "another"), "HomeElsewhere", &[MEMBERS[0]]).await?;
    others_go_on(scene, "better").await?;
    scene.admin(1).delete(&another_path).await?;
    scene.admin(0).replace_spec(&path, &federation_spec()).await?;
    eventually("the mended spec is agreed", async || {
        let now = scene.world.federation().await?;
        let agreed = now["status"]["observedGeneration"] == now["metadata"]["generation"]
            && condition(&now, "Agreed").0 == "True";
        Ok(if agreed { Seen::Yes(()) } else { Seen::No(now["status"].to_string()) })
    })
    .await
}

/// An operator whose kubeconfig has no rights says which it lacks, waits, and disturbs nobody.
pub async fn kubeconfig_without_rights(scene: &Scene) -> Result<()> {
    let kubeconfig = scene.world.members[2].cluster.read().await.kubeconfig(User::Stranger);
    let mut operator = scene.world.another_operator("stranger", kubeconfig);
    operator.start(&[])?;
    eventually("it says what it may not", async || {
        ensure!(!operator.has_died(), "it waits for its rights, and does not end: {:?}", operator.log_since(0));
        let log = operator.log_since(0);
        let says = log.iter().any(|line| line.contains("kube-system") && line.contains("forbidden"));
        Ok(if says { Seen::Yes(()) } else { Seen::No(log.join("\n")) })
    })
    .await?;
    others_go_on(scene, "good").await
}

/// Another cluster founds a league of its own on this league's topology server: that is refused, with
/// what stands there, its operator does nothing, and the league goes on.
pub async fn second_league(scene: &Scene) -> Result<()> {
    const NAME: &str = "elsewhere";
    let agreed = |health: Option<Value>| health.map(|health| (health["league"].clone(), health["generation"].clone()));
    let before = agreed(scene.world.ask(1, "/read/health").await?);
    ensure!(before.is_some(), "the league stands");
    let mut cluster = Cluster::Sim(Sim::start(&scene.world.binary, scene.world.folder().join(NAME))?);
    cluster.ready().await?;
    let admin = cluster.api(User::Admin).await?;
    let mut operator = scene.world.another_operator(NAME, cluster.kubeconfig(User::Operator));
    operator.start(&[])?;
    let federation = json!({
        "apiVersion": FEDERATIONS.api_version(), "kind": "Federation", "metadata": {"name": "mine"},
        "spec": {"members": [{"name": NAME}], "types": [{"resource": "configmaps", "version": "v1"}]},
    });
    let path = FEDERATIONS.path("", "mine");
    eventually("the kind is served there", async || {
        let answer = admin.try_apply(&path, &federation).await?;
        Ok(if answer.status < 300 { Seen::Yes(()) } else { Seen::No(answer.message().to_owned()) })
    })
    .await?;
    eventually("the second league is refused", async || {
        let now = admin.get(&path).await?;
        let (status, reason, message) = condition(&now, "Agreed");
        let refused = (status, reason) == ("False", "HomeElsewhere") && message.contains(MEMBERS[0]);
        Ok(if refused { Seen::Yes(()) } else { Seen::No(now["status"].to_string()) })
    })
    .await?;
    let log = operator.log_since(0);
    let says = log.iter().any(|line| line.contains("spec.members: elsewhere is not listed"));
    ensure!(says, "its operator says that it does nothing, and why: {}", log.join("\n"));
    others_go_on(scene, "good").await?;
    let found = admin.find(&CONFIG_MAPS.path(&scene.namespace, "good")).await?;
    ensure!(found.is_none(), "nothing of the league gets there: {found:?}");
    let now = agreed(scene.world.ask(1, "/read/health").await?);
    ensure!(now == before, "the league and its spec stand: {before:?} and {now:?}");
    Ok(())
}
