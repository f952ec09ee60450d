//! Workloads that live: rollouts, order, nodes with room, scripted pods, without sockets.

mod core_support;

use core_support::{Cluster, names};
use hansa_kubesim::controllers::NodeConfig;
use hansa_kubesim::core::Config;
use hansa_kubesim::core::http::Request;
use serde_json::{Value, json};

const APPS: &str = "/apis/apps/v1/namespaces/default";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A pod template whose pods behave as the annotations say.
fn template(app: &str, image: &str, behaviour: &Value) -> Value {
    json!({
        "metadata": {"labels": {"app": app}, "annotations": behaviour},
        "spec": {"containers": [{"name": "main", "image": image}]},
    })
}

fn deployment(replicas: u32, strategy: Value, behaviour: &Value) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
            "template": template("web", "web:1", behaviour),
        },
    })
}

fn pods(cluster: &mut Cluster, app: &str) -> Vec<Value> {
    cluster.get(&format!("{PODS}?labelSelector=app%3D{app}"))["items"].as_array().cloned().unwrap_or_default()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn images(pods: &[Value]) -> Vec<&str> {
    let mut images: Vec<&str> = pods.iter().filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str()).collect();
    images.sort_unstable();
    images
}

fn set_image(cluster: &mut Cluster, kind: &str, name: &str, image: &str) {
    let body = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}});
    cluster.expect(200, &Request::patch(&format!("{APPS}/{kind}/{name}"), "strategic-merge-patch", &body));
}

#[test]
fn a_rolling_update_keeps_to_its_surge_and_its_unavailable() {
    for (surge, unavailable) in [(json!(1), json!(0)), (json!(0), json!(1)), (json!("50%"), json!("25%"))] {
        let bound = |value: &Value, up: bool| match value.as_i64() {
            Some(number) => number as usize,
            None if up => 2,
            None => 1,
        };
        let (most, least) = (4 + bound(&surge, true), 4 - bound(&unavailable, false));
        let mut cluster = Cluster::new();
        let strategy =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let slow = json!({"kubesim.hansa.dev/start-after": "1s", "kubesim.hansa.dev/ready-after": "500ms"});
        cluster.create(&format!("{APPS}/deployments"), &deployment(4, strategy, &slow));
        cluster.pass(10_000);
        assert_eq!(pods(&mut cluster, "web").iter().filter(|pod| is_ready(pod)).count(), 4);
        set_image(&mut cluster, "deployments", "web", "web:2");
        let mut moved = false;
        for _ in 0..400 {
            cluster.pass(100);
            let all = pods(&mut cluster, "web");
            let living: Vec<&Value> = all.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
            let ready = living.iter().filter(|pod| is_ready(pod)).count();
            assert!(living.len() <= most, "{} pods, surge {surge}", living.len());
            assert!(ready >= least, "{ready} ready, unavailable {unavailable}");
            let mixed = images(&all);
            moved |= mixed.contains(&"web:1") && mixed.contains(&"web:2");
        }
        assert!(moved, "the pods were replaced step by step");
        assert_eq!(images(&pods(&mut cluster, "web")), ["web:2"; 4]);
        let live = cluster.get(&format!("{APPS}/deployments/web"));
        assert_eq!((&live["status"]["updatedReplicas"], &live["status"]["availableReplicas"]), (&json!(4), &json!(4)));
    }
}

#[test]
fn an_update_that_never_gets_ready_stops_and_says_so() {
    let mut cluster = Cluster::new();
    let mut web = deployment(3, json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}), &json!({}));
    web["spec"]["progressDeadlineSeconds"] = json!(30);
    cluster.create(&format!("{APPS}/deployments"), &web);
    cluster.pass(5_000);
    let rule = "- image: web:2\n  set: {fail: ImagePullBackOff}\n";
    cluster.create(
        "/api/v1/namespaces/kube-system/configmaps",
        &json!({"metadata": {"name": "kubesim-script"}, "data": {"rules": rule}}),
    );
    set_image(&mut cluster, "deployments", "web", "web:2");
    cluster.pass(60_000);
    let all = pods(&mut cluster, "web");
    assert_eq!(images(&all), ["web:1", "web:1", "web:1", "web:2"]);
    let failing = all.iter().find(|pod| !is_ready(pod)).expect("the new one");
    assert_eq!(failing["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ImagePullBackOff");
    let live = cluster.get(&format!("{APPS}/deployments/web"));
    let progressing = live["status"]["conditions"].as_array().into_iter().flatten();
    let progressing = progressing.into_iter().find(|one| one["type"] == "Progressing").expect("it tells");
    assert_eq!(progressing["reason"], "ProgressDeadlineExceeded");
    // The script changes, and the pods with it.
    let mended = json!({"data": {"rules": ""}});
    cluster.expect(
        200,
        &Request::patch("/api/v1/namespaces/kube-system/configmaps/kubesim-script", "merge-patch", &mended),
    );
    cluster.pass(30_000);
    assert_eq!(images(&pods(&mut cluster, "web")), ["web:2"; 3]);
}

#[test]
fn a_crashing_pod_starts_again_and_again() {
    let mut cluster = Cluster::new();
    let crashes = json!({"kubesim.hansa.dev/fail": "CrashLoopBackOff"});
    cluster.create(&format!("{APPS}/deployments"), &deployment(1, json!({}), &crashes));
    cluster.pass(120_000);
    let all = pods(&mut cluster, "web");
    let status = &all[0]["status"]["containerStatuses"][0];
    assert!(status["restartCount"].as_u64().is_some_and(|count| count >= 2), "{status:#}");
    assert!(!is_ready(&all[0]));
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
}

#[test]
fn a_stateful_set_makes_replaces_and_ends_its_pods_in_order() {
    let mut cluster = Cluster::new();
    let slow = json!({"kubesim.hansa.dev/start-after": "1s"});
    cluster.create(
        &format!("{APPS}/statefulsets"),
        &json!({
            "metadata": {"name": "store"},
            "spec": {
                "serviceName": "store", "replicas": 3, "selector": {"matchLabels": {"app": "store"}},
                "template": template("store", "store:1", &slow),
            },
        }),
    );
    let mut order: Vec<Vec<String>> = Vec::new();
    let look = |cluster: &mut Cluster, order: &mut Vec<Vec<String>>| {
        cluster.pass(100);
        let all = pods(cluster, "store");
        let now: Vec<String> = all
            .iter()
            .map(|pod| {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                format!("{name}{}", if is_ready(pod) { "+" } else { "-" })
            })
            .collect();
        if order.last() != Some(&now) {
            order.push(now);
        }
    };
    for _ in 0..60 {
        look(&mut cluster, &mut order);
    }
    let text = |order: &[Vec<String>]| order.iter().map(|now| now.join(" ")).collect::<Vec<_>>();
    assert_eq!(
        text(&order),
        ["store-0-", "store-0+ store-1-", "store-0+ store-1+ store-2-", "store-0+ store-1+ store-2+"],
        "each waits for the one before it"
    );
    set_image(&mut cluster, "statefulsets", "store", "store:2");
    order.clear();
    for _ in 0..100 {
        look(&mut cluster, &mut order);
    }
    let unready: Vec<&str> = order
        .iter()
        .filter_map(|now| now.iter().find(|pod| pod.ends_with('-')).map(|pod| pod.trim_end_matches('-')))
        .collect();
    let mut replaced = unready.clone();
    replaced.dedup();
    assert_eq!(replaced, ["store-2", "store-1", "store-0"], "from the last to the first: {order:?}");
    assert_eq!(images(&pods(&mut cluster, "store")), ["store:2"; 3]);
    cluster.expect(
        200,
        &Request::patch(&format!("{APPS}/statefulsets/store"), "merge-patch", &json!({"spec": {"replicas": 1}})),
    );
    cluster.pass(10_000);
    assert_eq!(names(&cluster.get(&format!("{PODS}?labelSelector=app%3Dstore"))), ["store-0"]);
}

#[test]
fn slices_name_the_pods_that_a_service_selects_and_whether_they_are_ready() {
    let mut cluster = Cluster::new();
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    cluster.create("/api/v1/namespaces/default/services", &service);
    cluster.create(
        &format!("{APPS}/deployments"),
        &deployment(2, json!({}), &json!({"kubesim.hansa.dev/ready-after": "5s"})),
    );
    let slices =
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb";
    let told = |cluster: &mut Cluster| -> Vec<(String, bool)> {
        let list = cluster.get(slices);
        let endpoints = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let mut told: Vec<(String, bool)> = endpoints
            .map(|one| {
                (one["addresses"][0].as_str().unwrap_or_default().to_owned(), one["conditions"]["ready"] == true)
            })
            .collect();
        told.sort();
        told
    };
    cluster.pass(2_000);
    let mut addresses: Vec<String> =
        pods(&mut cluster, "web").iter().filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned)).collect();
    addresses.sort();
    assert_eq!(addresses.len(), 2);
    let as_told = |ready: bool| addresses.iter().map(|one| (one.clone(), ready)).collect::<Vec<_>>();
    assert_eq!(told(&mut cluster), as_told(false));
    cluster.pass(10_000);
    assert_eq!(told(&mut cluster), as_told(true));
    let list = cluster.get(slices);
    assert_eq!(list["items"][0]["ports"][0]["port"], 8080);
    cluster.expect(
        200,
        &Request::patch(&format!("{APPS}/deployments/web"), "merge-patch", &json!({"spec": {"replicas": 0}})),
    );
    cluster.pass(5_000);
    assert_eq!(told(&mut cluster), []);
}

#[test]
fn jobs_run_to_their_completions_or_to_their_limit() {
    let mut cluster = Cluster::new();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = |name: &str, spec: Value, behaviour: Value| {
        let mut template = template(name, "batch:1", &behaviour);
        template["spec"]["restartPolicy"] = json!("Never");
        let mut job = json!({"metadata": {"name": name}, "spec": spec});
        job["spec"]["template"] = template;
        job
    };
    cluster.create(
        jobs,
        &job("good", json!({"completions": 5, "parallelism": 2}), json!({"kubesim.hansa.dev/run-for": "1s"})),
    );
    cluster.create(jobs, &job("bad", json!({"backoffLimit": 2}), json!({"kubesim.hansa.dev/exit-code": "3"})));
    let mut most = 0;
    for _ in 0..200 {
        cluster.pass(100);
        let running = pods(&mut cluster, "good").iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        most = most.max(running);
    }
    assert_eq!(most, 2, "as many at a time as asked for");
    let ended = |cluster: &mut Cluster, name: &str| -> (Value, Vec<String>) {
        let live = cluster.get(&format!("{jobs}/{name}"));
        let conditions =
            live["status"]["conditions"].as_array().into_iter().flatten().filter(|one| one["status"] == "True");
        let conditions = conditions.filter_map(|one| one["type"].as_str().map(str::to_owned)).collect();
        (live["status"].clone(), conditions)
    };
    let (status, conditions) = ended(&mut cluster, "good");
    assert_eq!(status["succeeded"], 5);
    assert!(conditions.contains(&"Complete".to_owned()), "{conditions:?}");
    cluster.pass(600_000);
    let (status, conditions) = ended(&mut cluster, "bad");
    assert_eq!(status["failed"], 3, "the first and two more");
    assert!(conditions.contains(&"Failed".to_owned()), "{conditions:?}");
}

#[test]
fn a_work_queue_begins_nothing_more_after_the_first_success_and_a_suspended_job_waits() {
    let mut cluster = Cluster::new();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let mut worker = template("queue", "batch:1", &json!({"kubesim.hansa.dev/run-for": "1s"}));
    worker["spec"]["restartPolicy"] = json!("Never");
    let spec = json!({"parallelism": 3, "suspend": true, "template": worker});
    cluster.create(jobs, &json!({"metadata": {"name": "queue"}, "spec": spec}));
    cluster.pass(5_000);
    assert!(pods(&mut cluster, "queue").is_empty());
    let suspended = |cluster: &mut Cluster| {
        let live = cluster.get(&format!("{jobs}/queue"));
        let conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().find(|one| one["type"] == "Suspended").map(|one| one["status"].clone())
    };
    assert_eq!(suspended(&mut cluster), Some(json!("True")));
    let resume = json!({"spec": {"suspend": false}});
    cluster.expect(200, &Request::patch(&format!("{jobs}/queue"), "merge-patch", &resume));
    cluster.pass(10_000);
    assert_eq!(suspended(&mut cluster), Some(json!("False")));
    assert_eq!(pods(&mut cluster, "queue").len(), 3);
    let live = cluster.get(&format!("{jobs}/queue"));
    assert_eq!(live["status"]["succeeded"], 3);
    assert!(live["status"]["completionTime"].is_string());
}

#[test]
fn fields_that_nothing_acts_on_are_said() {
    let mut cluster = Cluster::new();
    let mut web = deployment(1, json!({}), &json!({}));
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    web["spec"]["template"]["spec"]["affinity"] =
        json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let answer = cluster.send(&Request::post(&format!("{APPS}/deployments"), &web));
    let path = "spec.template.spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    assert_eq!(answer.warnings, [format!("kubesim keeps {path} and does not act on it")]);
    let mut job = json!({"metadata": {"name": "indexed"}, "spec": {"completionMode": "Indexed", "completions": 2}});
    job["spec"]["template"] = template("indexed", "batch:1", &json!({}));
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    let answer = cluster.send(&Request::post("/apis/batch/v1/namespaces/default/jobs", &job));
    assert_eq!(answer.warnings, ["kubesim keeps spec.completionMode and does not act on it"]);
    let plain = cluster.send(&Request::post(&format!("{APPS}/deployments"), &{
        let mut plain = deployment(1, json!({}), &json!({}));
        plain["metadata"]["name"] = json!("plain");
        plain
    }));
    assert_eq!(plain.warnings, Vec::<String>::new());
}

#[test]
fn a_daemon_set_has_a_pod_on_each_node_that_fits() {
    let mut cluster = Cluster::new();
    let set = json!({
        "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "agent:1", &json!({}))},
    });
    cluster.create(&format!("{APPS}/daemonsets"), &set);
    cluster.pass(5_000);
    let nodes = |cluster: &mut Cluster| {
        let mut nodes: Vec<String> = pods(cluster, "agent")
            .iter()
            .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned))
            .collect();
        nodes.sort();
        nodes
    };
    assert_eq!(nodes(&mut cluster), ["node-1", "node-2", "node-3"]);
    let narrower = json!({"spec": {"template": {"spec": {"nodeSelector": {"topology.kubernetes.io/zone": "zone-2"}}}}});
    cluster.expect(200, &Request::patch(&format!("{APPS}/daemonsets/agent"), "merge-patch", &narrower));
    cluster.pass(10_000);
    assert_eq!(nodes(&mut cluster), ["node-2"]);
}

#[test]
fn pods_wait_for_room_and_take_it_when_there_is_some() {
    let small = |name: &str| NodeConfig {
        name: name.to_owned(),
        cpu: "2".to_owned(),
        memory: "4Gi".to_owned(),
        pods: 3,
        labels: std::collections::BTreeMap::new(),
    };
    let mut cluster = Cluster::with(Config { nodes: vec![small("one"), small("two")], ..Config::default() });
    let mut web = deployment(5, json!({}), &json!({}));
    web["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "900m"}});
    cluster.create(&format!("{APPS}/deployments"), &web);
    cluster.pass(5_000);
    let placed = |cluster: &mut Cluster| {
        let all = pods(cluster, "web");
        let (bound, waiting): (Vec<Value>, Vec<Value>) =
            all.into_iter().partition(|pod| pod["spec"]["nodeName"].is_string());
        (bound.len(), waiting)
    };
    let (bound, waiting) = placed(&mut cluster);
    assert_eq!((bound, waiting.len()), (4, 1), "two of 900m on a node of 2");
    let condition = &waiting[0]["status"]["conditions"][0];
    assert_eq!((&condition["reason"], &waiting[0]["status"]["phase"]), (&json!("Unschedulable"), &json!("Pending")));
    assert_eq!(condition["message"], "0/2 nodes are available: 2 Insufficient cpu.");
    let live = cluster.get(&format!("{APPS}/deployments/web"));
    assert_eq!((&live["status"]["readyReplicas"], &live["status"]["unavailableReplicas"]), (&json!(4), &json!(1)));
    // A Deployment that shrinks gives up what waits first, and a larger node takes the rest.
    cluster.expect(
        200,
        &Request::patch("/api/v1/nodes/one/status", "merge-patch", &json!({"status": {"allocatable": {"cpu": "4"}}})),
    );
    cluster.pass(5_000);
    assert_eq!(placed(&mut cluster).0, 5);
    for node in ["one", "two"] {
        cluster.expect(
            200,
            &Request::patch(&format!("/api/v1/nodes/{node}"), "merge-patch", &json!({"spec": {"unschedulable": true}})),
        );
    }
    let first = pods(&mut cluster, "web")[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    cluster.expect(200, &Request::delete(&format!("{PODS}/{first}")));
    cluster.pass(5_000);
    let (bound, waiting) = placed(&mut cluster);
    assert_eq!((bound, waiting.len()), (4, 1));
    assert_eq!(
        waiting[0]["status"]["conditions"][0]["message"],
        "0/2 nodes are available: 2 node(s) were unschedulable."
    );
}

#[test]
fn without_workloads_nothing_comes_of_a_deployment() {
    let mut cluster = Cluster::with(Config { workloads: false, ..Config::default() });
    cluster.create(&format!("{APPS}/deployments"), &deployment(2, json!({}), &json!({})));
    cluster.pass(60_000);
    assert!(pods(&mut cluster, "web").is_empty());
    assert_eq!(cluster.get("/api/v1/nodes")["items"], json!([]));
}
