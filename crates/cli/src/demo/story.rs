//! The story, a step each: what is done, and what is claimed and checked.

use super::proof::{Record, apply, try_get, uids, write};
use super::screen::Screen;
use super::stage::{self, MEMBERS, Stage, eventually};
use crate::lookout::ask;
use anyhow::{Context, Result};
use hansa_operator::{ApiRequest, ContentType, Method};
use hansa_runner::api_server::call;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const FEDERATION: &str = include_str!("../../demo/federation.yaml");
const SHOP: &str = include_str!("../../demo/shop.yaml");
const COUPON: &str = include_str!("../../demo/coupon.yaml");

const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const FEDERATED_WEB: &str = "/apis/apps.types.hansa.dev/v1alpha1/namespaces/shop/federateddeployments/web";
const PODS: &str = "/api/v1/namespaces/shop/pods";

/// The collections of the shop, as each member is to have them: path and how many.
const SHOP_PARTS: [(&str, &str, usize); 9] = [
    ("ConfigMap", "/api/v1/namespaces/shop/configmaps/settings", 1),
    ("Secret", "/api/v1/namespaces/shop/secrets/database", 1),
    ("Service", "/api/v1/namespaces/shop/services/web", 1),
    ("Deployment", WEB, 1),
    ("StatefulSet", "/apis/apps/v1/namespaces/shop/statefulsets/cart", 1),
    ("Ingress", "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/web", 1),
    ("HorizontalPodAutoscaler", "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web", 1),
    ("PodDisruptionBudget", "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web", 1),
    ("CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/coupons.shop.example.com", 1),
];

const COUPON_PATH: &str = "/apis/shop.example.com/v1/namespaces/shop/coupons/spring";

/// Tells all of it.
pub async fn tell(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    opening(stage, screen).await?;
    screen.let_read().await;
    application(stage, screen).await?;
    screen.let_read().await;
    image_change(stage, screen).await?;
    screen.let_read().await;
    let before = crash(stage, screen).await?;
    screen.let_read().await;
    comeback(stage, screen, &before).await?;
    screen.let_read().await;
    accident(stage, screen).await?;
    screen.let_read().await;
    without_topo(stage, screen).await?;
    screen.let_read().await;
    silent_restart(stage, screen).await?;
    screen.step("Done");
    screen.say("Three clusters, no hub: every one of them could be written to, and none was needed.");
    Ok(())
}

async fn opening(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.step("A league of three members, each an API server and an operator of its own");
    for (member, (_, region)) in stage.members.iter().zip(MEMBERS) {
        let pid =
            |process: &Option<hansa_controlplane::Process>| process.as_ref().map_or(0, hansa_controlplane::Process::id);
        screen.say(&format!(
            "{:6} {:16} API server {:>7}   operator {:>7}",
            member.name,
            region,
            pid(&member.api_server),
            pid(&member.operator)
        ));
    }
    screen.say("topology server: one SQLite file");
    let client = stage.members[0].client.clone();
    eventually("the operator has installed its kinds", async || {
        Ok(try_get(&client, "/apis/hansa.dev/v1alpha1/federations").await.is_some())
    })
    .await?;
    screen.command("kubectl --context aws apply --server-side -f federation.yaml");
    apply(&client, FEDERATION).await?;
    for member in &stage.members {
        // All types but that of the custom resource, whose definition comes with the application.
        eventually("the generated kinds are served", async || {
            let crds = try_get(&member.client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
                .await
                .unwrap_or_default();
            let generated =
                |crd: &Value| crd["spec"]["group"].as_str().is_some_and(|group| group.ends_with(".types.hansa.dev"));
            Ok(crds["items"].as_array().is_some_and(|items| items.iter().filter(|crd| generated(crd)).count() == 9))
        })
        .await?;
    }
    let mut ready = 0;
    for member in &stage.members {
        eventually("the members see each other", async || {
            let members = try_get(&member.client, "/apis/hansa.dev/v1alpha1/members").await.unwrap_or_default();
            Ok(members["items"]
                .as_array()
                .is_some_and(|items| items.len() == 3 && items.iter().all(|item| item["status"]["ready"] == true)))
        })
        .await?;
        ready += 1;
    }
    screen.claim(ready == 3, "each of the three members lists all three as ready");
    Ok(())
}

/// a. A real application goes to one member and runs on all three.
async fn application(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.step("a. A real application, written to one member, runs on all three");
    let aws = stage.members[0].client.clone();
    let path = stage.file("shop.yaml", SHOP)?;
    screen.command("hansa federate -f shop.yaml --all | kubectl --context aws apply --server-side -f -");
    let (federated, _) = stage.hansa(&["federate", "-f", &path.display().to_string(), "--all"], None).await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    write(
        &aws,
        Method::Patch,
        "/api/v1/namespaces/shop?fieldManager=kubectl&force=true",
        ContentType::Apply,
        &namespace,
    )
    .await?;
    let count = apply(&aws, &federated).await?;
    screen.say(&format!("{count} objects applied in aws"));
    for member in &stage.members {
        for (kind, path, _) in SHOP_PARTS {
            eventually(&format!("{} has the {kind}", member.name), async || {
                Ok(try_get(&member.client, path).await.is_some())
            })
            .await?;
        }
    }
    screen.claim(true, &format!("{} kinds of objects stand in each of aws, gcp and azure", SHOP_PARTS.len()));
    for member in &stage.members {
        eventually(&format!("the pods of {} run", member.name), async || {
            let web = try_get(&member.client, WEB).await.unwrap_or_default();
            let cart = try_get(&member.client, SHOP_PARTS[4].1).await.unwrap_or_default();
            Ok(web["status"]["readyReplicas"] == 2 && cart["status"]["readyReplicas"] == 2)
        })
        .await?;
    }
    screen.claim(true, "4 pods are ready in each member, as its own API server says");
    let plain = "correct-horse-battery-staple";
    let federated = try_get(&aws, "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedsecrets/database")
        .await
        .unwrap_or_default();
    screen.claim(
        federated["spec"]["templateFrom"].is_object() && !federated.to_string().contains(plain),
        "the federated Secret holds a reference and no value",
    );

    let path = stage.file("coupon.yaml", COUPON)?;
    screen.command("hansa federate -f coupon.yaml --all | kubectl --context aws apply --server-side -f -");
    eventually("the custom resource's own kind is served", async || {
        Ok(try_get(&aws, "/apis/example.com.types.hansa.dev").await.is_some()
            || try_get(&aws, "/apis/shop.example.com.types.hansa.dev/v1alpha1").await.is_some())
    })
    .await?;
    let (federated, _) = stage.hansa(&["federate", "-f", &path.display().to_string(), "--all"], None).await?;
    apply(&aws, &federated).await?;
    for member in &stage.members {
        eventually(&format!("{} has the coupon", member.name), async || {
            Ok(try_get(&member.client, COUPON_PATH).await.is_some())
        })
        .await?;
    }
    screen.claim(true, "an object of the application's own CRD followed its definition to all three");
    Ok(())
}

/// b. An image changes: planned, applied, and the loop closes.
async fn image_change(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.step("b. An image changes: what will happen, and how long each stage takes");
    let aws = stage.members[0].client.clone();
    let mut planned = try_get(&aws, FEDERATED_WEB).await.context("the federated Deployment stands in aws")?;
    planned["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!("registry.example/shop/web:1.1");
    let text = json!({"apiVersion": planned["apiVersion"], "kind": planned["kind"], "metadata": {"name": "web", "namespace": "shop"}, "spec": planned["spec"]});
    let path = stage.file("web.json", &text.to_string())?;
    screen.command("hansa plan -f web.json");
    let (plan, code) = stage.hansa(&["plan", "-f", &path.display().to_string()], screen.columns()).await?;
    screen.say(plan.trim_end());
    screen.claim(code == 2, "the plan says by its exit code (2) that something would change");
    let named = MEMBERS.iter().all(|(name, _)| plan.contains(name))
        && plan.contains("web:1.1")
        && plan.to_lowercase().contains("restart");
    screen.claim(named, "the plan names each member, the image, and the pods that restart");

    screen.command("kubectl --context aws -n shop patch federateddeployment web --type merge -p '{…image: web:1.1…}'");
    let start = Instant::now();
    let patch = json!({"spec": {"template": {"spec": {"template": {"spec": {"containers": planned["spec"]["template"]["spec"]["template"]["spec"]["containers"]}}}}}});
    write(&aws, Method::Patch, FEDERATED_WEB, ContentType::MergePatch, &patch).await?;
    let answered = start.elapsed();
    let mut stages = vec![("aws answers the user".to_owned(), answered)];
    let mut waiting: Vec<_> = stage.members.iter().map(|member| (member.name, member.client.clone())).collect();
    let deadline = Instant::now() + stage::PATIENCE;
    while !waiting.is_empty() && Instant::now() < deadline {
        let mut left = Vec::new();
        for (name, client) in waiting {
            let live = try_get(&client, WEB).await.unwrap_or_default();
            if live["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/shop/web:1.1" {
                stages.push((format!("the output in {name}"), start.elapsed()));
            } else {
                left.push((name, client));
            }
        }
        waiting = left;
    }
    eventually("the loop closes", async || {
        let object = try_get(&aws, FEDERATED_WEB).await.unwrap_or_default();
        Ok(object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && object["status"]["summary"]["applied"] == 3)
    })
    .await?;
    stages.push(("the status back in aws".to_owned(), start.elapsed()));
    for (what, at) in &stages {
        screen.say(&format!("{:>8.1} ms  {what}", at.as_secs_f64() * 1e3));
    }
    screen
        .claim(waiting.is_empty(), "the new image stands in all three API servers, and the status says so in the home");
    for member in &stage.members {
        eventually(&format!("{} has rolled out", member.name), async || {
            let live = try_get(&member.client, WEB).await.unwrap_or_default();
            Ok(live["status"]["updatedReplicas"] == 2
                && live["status"]["readyReplicas"] == 2
                && live["status"]["replicas"] == 2)
        })
        .await?;
    }
    screen.claim(true, "the pods were rolled over in each member");
    Ok(())
}

/// c. The home dies; another member takes the object over and edits it.
async fn crash(stage: &mut Stage, screen: &mut Screen) -> Result<BTreeMap<String, String>> {
    screen.step("c. The home's API server and operator are killed; the league goes on");
    let aws = stage.members[0].client.clone();
    // The pods that the rollout replaced are still ending for a moment.
    eventually("aws has its four pods and no others", async || {
        let list = try_get(&aws, PODS).await.unwrap_or_default();
        let stays = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null();
        Ok(list["items"].as_array().is_some_and(|pods| pods.len() == 4 && pods.iter().all(stays)))
    })
    .await?;
    let pods = uids(&aws, PODS).await;
    for process in [stage.members[0].operator.take(), stage.members[0].api_server.take()] {
        let mut process = process.context("the home runs")?;
        screen.command(&format!("kill -9 {}", process.id()));
        process.kill();
    }
    let gcp = stage.members[1].client.clone();
    screen.command("hansa home move deployments.apps/shop/web --to gcp --context gcp");
    let (moved, _) = stage
        .hansa(&["home", "move", "deployments.apps/shop/web", "--to", "gcp", "--context", "gcp"], screen.columns())
        .await?;
    screen.say(moved.trim_end());
    eventually("gcp has the federated Deployment", async || Ok(try_get(&gcp, FEDERATED_WEB).await.is_some())).await?;
    screen.command("kubectl --context gcp -n shop patch federateddeployment web --type merge -p '{…replicas: 3…}'");
    write(
        &gcp,
        Method::Patch,
        FEDERATED_WEB,
        ContentType::MergePatch,
        &json!({"spec": {"template": {"spec": {"replicas": 3}}}}),
    )
    .await?;
    for member in &stage.members[1..] {
        eventually(&format!("the edit reaches {}", member.name), async || {
            Ok(try_get(&member.client, WEB).await.unwrap_or_default()["spec"]["replicas"] == 3)
        })
        .await?;
    }
    screen.claim(true, "with its home dead, the object was taken over in gcp, and the edit reached gcp and azure");
    Ok(pods)
}

/// d. The dead one returns, stale.
async fn comeback(stage: &mut Stage, screen: &mut Screen, pods: &BTreeMap<String, String>) -> Result<()> {
    screen.step("d. The dead member returns, stale: it catches up and reverts nothing");
    let mut before = Vec::new();
    for member in &stage.members[1..] {
        before.push(Record::read(&member.client).await);
    }
    screen.command("(the API server of aws and its operator start again)");
    stage.restart_api_server(0).await?;
    let own = Record::read(&stage.members[0].client).await;
    stage.start_operator(0)?;
    let aws = stage.members[0].client.clone();
    eventually("aws catches up", async || Ok(try_get(&aws, WEB).await.unwrap_or_default()["spec"]["replicas"] == 3))
        .await?;
    eventually("aws says that its copy is no home any more", async || {
        let object = try_get(&aws, FEDERATED_WEB).await.unwrap_or_default();
        Ok(object["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["type"] == "Agreed" && c["reason"] == "HomeMoved")))
    })
    .await?;
    screen.claim(true, "aws has the third replica that was decided while it was dead");
    let mut reverted = false;
    for member in &stage.members {
        reverted |= try_get(&member.client, WEB).await.unwrap_or_default()["spec"]["replicas"] != 3;
    }
    screen.claim(!reverted, "its old copy reverted nothing: 3 replicas everywhere");
    let now = uids(&aws, PODS).await;
    let kept = pods.iter().filter(|(name, uid)| now.get(*name) == Some(*uid)).count();
    screen.claim(kept == pods.len(), &format!("{kept} of {} pods in aws kept their uids", pods.len()));
    let mut deletes = Record::read(&aws).await.deletes_since(&own);
    for (member, before) in stage.members[1..].iter().zip(&before) {
        deletes += Record::read(&member.client).await.deletes_since(before);
    }
    screen.claim(
        deletes == 0,
        &format!("deletes by the operators since its return = {deletes}, by the API servers' records"),
    );
    Ok(())
}

/// e. A namespace is deleted in a home: an accident, not an intent.
async fn accident(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.step("e. Somebody deletes the namespace in a home: an accident, not an intent");
    let aws = stage.members[0].client.clone();
    const SETTINGS: &str = "/api/v1/namespaces/shop/configmaps/settings";
    let uid = |object: Option<Value>| object.and_then(|object| object["metadata"]["uid"].as_str().map(str::to_owned));
    let old = uid(try_get(&aws, SETTINGS).await);
    let mut others = Vec::new();
    for member in &stage.members[1..] {
        others.push(uid(try_get(&member.client, SETTINGS).await));
    }
    screen.command("kubectl --context aws delete namespace shop");
    let request = ApiRequest::write(Method::Delete, "/api/v1/namespaces/shop", ContentType::Json, &json!({}));
    call(&aws, &request).await.map_err(anyhow::Error::msg)?;
    eventually("aws has its copies again", async || {
        let now = uid(try_get(&aws, SETTINGS).await);
        let web = try_get(&aws, WEB).await.unwrap_or_default();
        Ok(now.is_some()
            && now != old
            && web["status"]["readyReplicas"].as_u64().unwrap_or(0) >= 2
            && web["metadata"]["deletionTimestamp"].is_null())
    })
    .await?;
    screen.claim(true, "aws got its copies again: new objects, the same content");
    let mut kept = 0;
    for (member, before) in stage.members[1..].iter().zip(&others) {
        kept += usize::from(uid(try_get(&member.client, SETTINGS).await) == *before);
    }
    screen.claim(kept == 2, "gcp and azure kept theirs: the same uids as before");
    screen.command("hansa get --homeless -n shop --context gcp");
    let (homeless, _) = stage.hansa(&["get", "--homeless", "-n", "shop", "--context", "gcp"], screen.columns()).await?;
    screen.say(homeless.trim_end());
    screen.claim(homeless.contains("settings"), "what lost its home is listed");
    screen.command("hansa explain configmaps/shop/settings --context gcp");
    let (explained, _) =
        stage.hansa(&["explain", "configmaps/shop/settings", "--context", "gcp"], screen.columns()).await?;
    screen.say(explained.trim_end());
    screen.claim(explained.contains("namespace"), "and why");
    Ok(())
}

/// f. The topology server is taken away.
async fn without_topo(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.step("f. The topology server is taken away from every operator");
    let gcp = stage.members[1].client.clone();
    let azure = stage.members[2].client.clone();
    screen.command("touch topo-is-away     # the fault switch of each operator");
    stage.topo_away(true)?;
    let condition = |object: &Value| {
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter()
            .find(|condition| condition["type"] == "Agreed")
            .and_then(|condition| condition["message"].as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    eventually("the outage is noticed", async || {
        Ok(condition(&try_get(&gcp, FEDERATED_WEB).await.unwrap_or_default()).contains("frozen since"))
    })
    .await?;
    let old = try_get(&azure, WEB).await.unwrap_or_default()["metadata"]["uid"].clone();
    screen.command("kubectl --context azure -n shop delete deployment web");
    call(&azure, &ApiRequest::write(Method::Delete, WEB, ContentType::Json, &json!({})))
        .await
        .map_err(anyhow::Error::msg)?;
    eventually("the Deployment is repaired", async || {
        let live = try_get(&azure, WEB).await.unwrap_or_default();
        Ok(live["metadata"]["uid"].is_string() && live["metadata"]["uid"] != old)
    })
    .await?;
    screen.claim(true, "what was last agreed is kept up: the Deployment that was deleted by hand stands again");
    screen.command("kubectl --context gcp -n shop patch federateddeployment web --type merge -p '{…replicas: 4…}'");
    write(
        &gcp,
        Method::Patch,
        FEDERATED_WEB,
        ContentType::MergePatch,
        &json!({"spec": {"template": {"spec": {"replicas": 4}}}}),
    )
    .await?;
    eventually("the edit is seen to wait", async || {
        let object = try_get(&gcp, FEDERATED_WEB).await.unwrap_or_default();
        Ok(object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && condition(&object).contains("frozen since"))
    })
    .await?;
    let object = try_get(&gcp, FEDERATED_WEB).await.unwrap_or_default();
    screen.say(&format!("Agreed=False: {}", condition(&object)));
    let waits = try_get(&azure, WEB).await.unwrap_or_default()["spec"]["replicas"] == 3;
    screen.claim(waits, "an edit waits, and its object says since when it is frozen");
    screen.command("rm topo-is-away");
    stage.topo_away(false)?;
    for member in &stage.members {
        eventually(&format!("the edit lands in {}", member.name), async || {
            Ok(try_get(&member.client, WEB).await.unwrap_or_default()["spec"]["replicas"] == 4)
        })
        .await?;
    }
    screen.claim(true, "the topology server returned, and the edit landed in all three");
    Ok(())
}

/// g. All operators restart, and write nothing.
async fn silent_restart(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.step("g. All operators restart");
    settled(stage).await?;
    let mut before = Vec::new();
    for member in &stage.members {
        before.push(Record::read(&member.client).await);
    }
    for (index, (name, _)) in MEMBERS.iter().enumerate() {
        let mut old = stage.members[index].operator.take().context("the operator runs")?;
        screen.command(&format!("kill -9 {} && hansa operator --member {} …", old.id(), name));
        old.kill();
        stage.start_operator(index)?;
    }
    settled(stage).await?;
    let mut writes = 0;
    for (member, before) in stage.members.iter().zip(&before) {
        for (count, what) in Record::read(&member.client).await.since(before) {
            writes += count;
            screen.say(&format!("{}: {what}, {count} times", member.name));
        }
    }
    screen.claim(writes == 0, &format!("writes = {writes}, by the API servers' own records"));
    Ok(())
}

/// Waits until every operator knows everything and has had nothing to do for two seconds.
async fn settled(stage: &Stage) -> Result<()> {
    let mut quiet_since: Option<Instant> = None;
    eventually("the operators have nothing to do", async || {
        let mut idle = true;
        for member in &stage.members {
            let health = ask(member.port, "/read/health").await.unwrap_or_default();
            idle &= health["ready"] == true && health["idle"] == true;
        }
        let since = quiet_since.filter(|_| idle).unwrap_or_else(Instant::now);
        quiet_since = Some(since);
        Ok(idle && since.elapsed() > Duration::from_secs(2))
    })
    .await
}
