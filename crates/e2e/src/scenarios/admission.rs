//! What stands between Hansa and an API server's objects: its policies, its autoscaler, and rights.

use super::scene::{Scene, uid};
use crate::audit::told;
use crate::cluster::{Kind, User};
use crate::objects::{CONFIG_MAPS, DEPLOYMENTS, REQUESTS, config, deployment, everywhere, federated};
use crate::wait::{Seen, eventually};
use crate::world::MEMBERS;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1";

fn image(output: &Value) -> &Value {
    &output["spec"]["template"]["spec"]["containers"][0]["image"]
}

/// A writer of federated objects without rights on the target kind is refused by the API server itself;
/// with them, not.
pub async fn without_rights(scene: &Scene) -> Result<()> {
    scene.make_namespace(0).await?;
    let clerk = scene.world.members[0].cluster.read().await.api(User::Clerk).await?;
    let spec = everywhere(config(&[("greeting", "hello")]));
    let object = federated(CONFIG_MAPS, &scene.namespace, "conf", &spec);
    let path = CONFIG_MAPS.federated(&scene.namespace, "conf");
    let refused = clerk.try_apply(&path, &object).await?;
    ensure!(
        refused.status == 403 && refused.message().contains("verb create on configmaps"),
        "what is missing is named: {} {}",
        refused.status,
        refused.message()
    );
    scene.federate(0, CONFIG_MAPS, "conf", &spec).await?;
    scene.settled(0, CONFIG_MAPS, "conf").await?;
    let edit = federated(CONFIG_MAPS, &scene.namespace, "conf", &everywhere(config(&[("greeting", "mine")])));
    let refused = clerk.try_apply(&path, &edit).await?;
    ensure!(refused.status == 403 && refused.message().contains("update or patch"), "{}", refused.message());
    ensure!(clerk.delete(&path).await.is_err(), "nor may it be deleted");
    let request = json!({
        "apiVersion": REQUESTS.api_version(), "kind": "Request", "metadata": {"generateName": "clerk-"},
        "spec": {"action": "Delete", "object": {"resource": "configmaps", "namespace": scene.namespace, "name": "conf"}},
    });
    let refused = clerk.create(&REQUESTS.collection(&scene.namespace), &request).await?;
    ensure!(refused.status == 403 && refused.message().contains("verb delete on configmaps"), "{}", refused.message());

    // With rights on ConfigMaps in this namespace, the same is accepted.
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let namespaced = format!("{RBAC}/namespaces/{}", scene.namespace);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "clerk"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "update", "patch"]}],
    });
    scene.admin(0).apply(&format!("{namespaced}/roles/clerk"), &role).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "clerk"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "clerk"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": User::Clerk.name()}],
    });
    scene.admin(0).apply(&format!("{namespaced}/rolebindings/clerk"), &binding).await?;
    eventually("the edit is accepted", async || {
        let answer = clerk.try_apply(&path, &edit).await?;
        Ok(if answer.status < 300 { Seen::Yes(()) } else { Seen::No(answer.message().to_owned()) })
    })
    .await?;
    for index in 0..3 {
        scene.output_is(index, CONFIG_MAPS, "conf", "follows", |o| o["data"]["greeting"] == "mine").await?;
    }
    Ok(())
}

/// An autoscaler scales an output: it is left to it, also by later edits, and costs no writes.
pub async fn autoscaler(scene: &Scene) -> Result<()> {
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:1", 1))).await?;
    scene.settled(0, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    match scene.world.kind {
        Kind::Real => {
            // The real controller raises what is below its minimum, whatever the metrics say.
            let scaler = json!({
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
                "spec": {
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                    "minReplicas": 3, "maxReplicas": 5,
                },
            });
            let path = format!("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/web", scene.namespace);
            scene.admin(1).apply(&path, &scaler).await?;
        }
        Kind::Sim => {
            let path = format!("{}/scale", DEPLOYMENTS.path(&scene.namespace, "web"));
            scene.admin(1).patch(&path, "horizontal-pod-autoscaler", &json!({"spec": {"replicas": 3}})).await?;
        }
    }
    let scaled = |o: &Value| o["spec"]["replicas"] == 3 && o["status"]["readyReplicas"] == 3;
    let before = uid(&scene.output_is(1, DEPLOYMENTS, "web", "is scaled", scaled).await?)?;
    scene.settled(0, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    // From here on it is known that the replicas are left to the autoscaler.
    let marks = scene.world.mark().await?;
    let annotation = json!({"metadata": {"annotations": {"team": "shop"}}});
    scene.admin(1).patch(&DEPLOYMENTS.path(&scene.namespace, "web"), "team-tool", &annotation).await?;
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:2", 1))).await?;
    let edited = scene.output_is(1, DEPLOYMENTS, "web", "runs web:2", |o| image(o) == "web:2" && scaled(o)).await?;
    ensure!(uid(&edited)? == before, "an edit recreates nothing");
    scene.settled(0, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    let mut writes = scene.writes(1, &marks).await?;
    writes.retain(|write| write.resource == "deployments.apps");
    ensure!(writes.len() == 1, "one edit is one write: {}", told(&writes));
    for index in [0, 2] {
        scene.output_is(index, DEPLOYMENTS, "web", "is as agreed", |o| o["spec"]["replicas"] == 1).await?;
    }
    Ok(())
}

/// An admission policy that puts a sidecar into every Deployment is not fought: one apply is one write,
/// before and after.
pub async fn sidecar(scene: &Scene) -> Result<()> {
    scene.make_namespace(1).await?;
    let name = format!("e2e-{}", scene.namespace);
    let expression = r#"Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [
        Object.spec.template.spec.containers{name: "sidecar", image: "sidecar:1"}]}}}}"#;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}},
                "resourceRules": [{
                    "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"],
                }],
            },
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name},
    });
    let (policy_path, binding_path) = (
        format!("{POLICIES}/mutatingadmissionpolicies/{name}"),
        format!("{POLICIES}/mutatingadmissionpolicybindings/{name}"),
    );
    scene.admin(1).apply(&policy_path, &policy).await?;
    scene.admin(1).apply(&binding_path, &binding).await?;
    let names = |o: &Value| -> Vec<String> {
        let all = o["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    // The API server takes up its policies after a moment: a probe shows when.
    let probe = crate::objects::plain(DEPLOYMENTS, &scene.namespace, "probe", &deployment("probe", "web:1", 0));
    let collection = format!("{}?dryRun=All", DEPLOYMENTS.collection(&scene.namespace));
    eventually("the policy takes effect", async || {
        let made = scene.admin(1).create(&collection, &probe).await?.ok()?;
        let takes = names(&made).len() == 2;
        Ok(if takes { Seen::Yes(()) } else { Seen::No(made["spec"].to_string()) })
    })
    .await?;

    let marks = scene.world.mark().await?;
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:1", 1))).await?;
    let injected = |o: &Value| names(o).len() == 2 && o["status"]["readyReplicas"] == 1;
    let made = scene.output_is(1, DEPLOYMENTS, "web", "has its sidecar", injected).await?;
    scene.settled(0, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    scene.federate(0, DEPLOYMENTS, "web", &everywhere(deployment("web", "web:2", 1))).await?;
    let edited = scene.output_is(1, DEPLOYMENTS, "web", "runs web:2", |o| image(o) == "web:2" && injected(o)).await?;
    ensure!(uid(&edited)? == uid(&made)?, "an edit recreates nothing");
    // What others change in it brings it before the operator again.
    let annotation = json!({"metadata": {"annotations": {"team": "shop"}}});
    scene.admin(1).patch(&DEPLOYMENTS.path(&scene.namespace, "web"), "team-tool", &annotation).await?;
    scene.settled(0, DEPLOYMENTS, "web").await?;
    scene.quiet().await?;
    let mut writes = scene.writes(1, &marks).await?;
    writes.retain(|write| write.resource == "deployments.apps");
    ensure!(writes.len() == 2, "the apply and the edit, and no others in {}: {}", MEMBERS[1], told(&writes));
    scene.admin(1).delete(&binding_path).await?;
    scene.admin(1).delete(&policy_path).await
}
