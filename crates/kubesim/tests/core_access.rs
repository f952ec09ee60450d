//! Who may do what, what is recorded of it, what is refused by name, and what a snapshot keeps.

mod core_support;

use core_support::{Cluster, START, names};
use hansa_kubesim::core::access::Rule;
use hansa_kubesim::core::http::{Request, User};
use hansa_kubesim::core::{Config, Core};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], namespaces: &[&str]) -> Rule {
    let of = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
    Rule { verbs: of(verbs), groups: of(groups), resources: of(resources), namespaces: of(namespaces) }
}

/// A cluster in which `bob` may read and create ConfigMaps of `default`, and nothing else.
fn with_bob() -> (Cluster, User) {
    let mut config = Config::default();
    config.access.set("bob", vec![rule(&["get", "list", "watch", "create"], &[""], &["configmaps"], &["default"])]);
    (Cluster::with(config), User::named("bob"))
}

#[test]
fn a_user_may_what_the_rules_allow_and_learns_nothing_of_the_rest() {
    let (mut cluster, bob) = with_bob();
    let map = |name: &str| json!({"metadata": {"name": name}});
    cluster.expect(201, &Request::post(MAPS, &map("a")).by(bob.clone()));
    cluster.expect(200, &Request::get(&format!("{MAPS}/a")).by(bob.clone()));
    cluster.expect(200, &Request::get(MAPS).by(bob.clone()));
    let refused = [
        Request::delete(&format!("{MAPS}/a")),
        Request::delete(&format!("{MAPS}/missing")),
        Request::delete(MAPS),
        Request::put(&format!("{MAPS}/a"), &map("a")),
        Request::patch(&format!("{MAPS}/a"), "merge-patch", &json!({})),
        Request::apply(&format!("{MAPS}/a"), "bob", false, &map("a")),
        Request::get("/api/v1/configmaps"),
        Request::get("/api/v1/namespaces/kube-system/configmaps"),
        Request::post("/api/v1/namespaces/kube-system/configmaps", &map("b")),
        Request::get("/api/v1/namespaces/default/secrets/missing"),
        Request::get("/apis/apps/v1/namespaces/default/deployments/web/scale"),
        Request::get("/apis/nowhere.example.org/v1/namespaces/default/things"),
        Request::get("/kubesim/audit"),
    ];
    for request in refused {
        let answer = cluster.expect(403, &request.clone().by(bob.clone()));
        assert_eq!(answer["reason"], "Forbidden");
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains(r#"User "bob" cannot"#), "{} {}: {message}", request.method, request.path);
    }
    cluster.expect(200, &Request::get("/api/v1").by(bob.clone()));
    cluster.expect(200, &Request::get("/version").by(bob));
}

#[test]
fn reviews_tell_what_the_rules_allow() {
    let (mut cluster, bob) = with_bob();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asks = |verb: &str, namespace: &str| {
        let attributes = json!({"verb": verb, "resource": "configmaps", "namespace": namespace});
        Request::post(path, &json!({"spec": {"resourceAttributes": attributes}}))
    };
    for (verb, namespace, allowed) in
        [("create", "default", true), ("delete", "default", false), ("get", "shop", false)]
    {
        let answer = cluster.expect(201, &asks(verb, namespace).by(bob.clone()));
        assert_eq!(answer["status"]["allowed"], allowed, "{verb} in {namespace}");
        let admin = cluster.expect(201, &asks(verb, namespace));
        assert_eq!(admin["status"]["allowed"], true);
    }
}

#[test]
fn the_record_tells_who_asked_for_what_and_what_came_of_it() {
    let (mut cluster, bob) = with_bob();
    cluster.expect(201, &Request::post(MAPS, &json!({"metadata": {"name": "a"}})).by(bob.clone()));
    cluster.expect(409, &Request::post(MAPS, &json!({"metadata": {"name": "a"}})).by(bob.clone()));
    cluster.expect(403, &Request::delete(&format!("{MAPS}/a")).by(bob.clone()));
    cluster.expect(200, &Request::get(&format!("{MAPS}/a")).by(bob));
    let patch = |text: &str, query: &str| {
        Request::patch(&format!("{MAPS}/a{query}"), "merge-patch", &json!({"data": {"k": text}}))
    };
    cluster.expect(200, &patch("1", ""));
    cluster.expect(200, &patch("1", ""));
    cluster.expect(200, &patch("2", "?dryRun=All"));
    cluster.expect(200, &Request::delete(&format!("{MAPS}/a")));
    let audit = cluster.get("/kubesim/audit");
    let bob = &audit["users"]["bob"];
    assert_eq!(
        bob["requests"],
        json!({"create": {"configmaps": 2}, "delete": {"configmaps": 1}, "get": {"configmaps": 1}})
    );
    assert_eq!(bob["changes"], json!({"create": {"configmaps": 1}}));
    let codes: Vec<&Value> = bob["recent"].as_array().into_iter().flatten().map(|write| &write["code"]).collect();
    assert_eq!(codes, [201, 409, 403]);
    let admin = &audit["users"]["admin"];
    assert_eq!(admin["changes"], json!({"patch": {"configmaps": 1}, "delete": {"configmaps": 1}}));
    let recent = admin["recent"].as_array().expect("the writes");
    let told: Vec<(bool, bool)> =
        recent.iter().map(|write| (write["changed"] == true, write["dryRun"] == true)).collect();
    assert_eq!(told, [(true, false), (false, false), (false, true), (true, false)]);
    assert_eq!(recent[0]["uid"], recent[3]["uid"]);
    assert_eq!(recent[1]["versionBefore"], recent[1]["versionAfter"]);
    assert!(recent[3]["versionAfter"].is_null(), "it is gone");
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let mut cluster = Cluster::new();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "c"}]}});
    cluster.create("/api/v1/namespaces/default/pods", &pod);
    cluster.pass(2_000);
    let of_pod = |rest: &str| format!("/api/v1/namespaces/default/pods/p/{rest}");
    let refused = [
        (Request::get(&of_pod("log")), "pods/log"),
        (Request::post(&of_pod("exec?command=true"), &json!({})), "pods/exec"),
        (Request::post(&of_pod("attach"), &json!({})), "pods/attach"),
        (Request::post(&of_pod("portforward"), &json!({})), "pods/portforward"),
        (Request::patch(&of_pod("ephemeralcontainers"), "merge-patch", &json!({})), "pods/ephemeralcontainers"),
        (Request::patch(&of_pod("resize"), "merge-patch", &json!({})), "pods/resize"),
        (
            Request::post("/api/v1/namespaces/default/serviceaccounts/default/token", &json!({})),
            "serviceaccounts/token",
        ),
    ];
    for (request, name) in refused {
        let answer = cluster.expect(501, &request);
        assert_eq!(answer["reason"], "NotImplemented");
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains("kubesim does not implement") && message.contains(name), "{name}: {message}");
    }
}

#[test]
fn what_is_kept_and_does_nothing_is_said_at_every_write() {
    let mut cluster = Cluster::new();
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c"}]}}});
    let kept = [
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}}),
            "does not run them",
        ),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", json!({"rules": []}), "does not evaluate them"),
        ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", json!({"rules": []}), "does not evaluate them"),
        (
            "/api/v1/namespaces/default/resourcequotas",
            json!({"spec": {"hard": {"pods": "0"}}}),
            "does not enforce them",
        ),
        ("/api/v1/namespaces/default/limitranges", json!({"spec": {"limits": []}}), "does not enforce them"),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            json!({"webhooks": []}),
            "does not evaluate them",
        ),
    ];
    for (path, mut object, why) in kept {
        object["metadata"] = json!({"name": "kept"});
        let made = cluster.send(&Request::post(path, &object));
        assert_eq!(made.status, 201, "{path}: {}", made.value());
        assert!(made.warnings.iter().any(|text| text.contains(why)), "{path}: {:?}", made.warnings);
        let note = json!({"metadata": {"labels": {"a": "b"}}});
        let changed = cluster.send(&Request::patch(&format!("{path}/kept"), "merge-patch", &note));
        assert!(changed.warnings.iter().any(|text| text.contains(why)), "{path}: {:?}", changed.warnings);
    }
    cluster.pass(180_000);
    assert!(names(&cluster.get("/apis/batch/v1/namespaces/default/jobs")).is_empty(), "it said so");
}

#[test]
fn a_snapshot_restores_everything_and_the_same_seed_makes_other_uids_then() {
    let mut cluster = Cluster::new();
    let made = cluster.config_map("a", &json!({"k": "v"}));
    let before = cluster.get(MAPS);
    let snapshot = cluster.core.snapshot();
    let version = cluster.core.version();
    let mut later =
        Cluster { core: Core::restore(Config::default(), START, snapshot).expect("whole"), now: cluster.now };
    later.settle();
    assert_eq!(later.get(MAPS)["items"], before["items"]);
    assert!(later.core.version() >= version);
    let watch = later.watch(&format!("{MAPS}?watch=1&resourceVersion=1"));
    assert_eq!(later.brief(watch), ["ERROR Expired"], "history is not in a snapshot");
    let mut taken: Vec<Value> = Vec::new();
    for kind in ["namespaces", "configmaps", "serviceaccounts", "nodes", "services"] {
        let list = later.get(&format!("/api/v1/{kind}"));
        taken.extend(list["items"].as_array().into_iter().flatten().map(|item| item["metadata"]["uid"].clone()));
    }
    assert!(taken.contains(&made["metadata"]["uid"]));
    for number in 0..50 {
        let uid = later.config_map(&format!("m{number}"), &json!({}))["metadata"]["uid"].clone();
        assert!(!taken.contains(&uid), "{uid} is given twice");
        taken.push(uid);
    }
}

#[test]
fn the_same_calls_with_the_same_seed_give_the_same_answers() {
    let run = |seed: u64| {
        let mut cluster = Cluster::with(Config { seed, ..Config::default() });
        let web = json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}},
            },
        });
        cluster.create("/apis/apps/v1/namespaces/default/deployments", &web);
        cluster.pass(10_000);
        cluster.get("/api/v1/namespaces/default/pods").to_string()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
