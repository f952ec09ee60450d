use super::*;
use expect_test::expect;
use serde_json::json;

fn told(group: &str, kind: &str, objects: &[Value]) -> String {
    objects.iter().map(|object| format!("{}\n", health(group, kind, object))).collect()
}

fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
    json!([{"type": name, "status": status, "reason": reason, "message": message}])
}

#[test]
fn a_deployment_is_judged_as_rollout_status_does() {
    let of = |spec: Value, status: Value| json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
    let full = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
    let but = |field: &str, value: Value| {
        let mut status = full.clone();
        status[field] = value;
        of(json!({"replicas": 3}), status)
    };
    let objects = [
        of(json!({"replicas": 3}), full.clone()),
        of(json!({"replicas": 3}), json!({})),
        but("observedGeneration", json!(1)),
        but("updatedReplicas", json!(1)),
        but("replicas", json!(4)),
        but("availableReplicas", json!(2)),
        but("conditions", condition("Progressing", "False", "ProgressDeadlineExceeded", "too slow")),
        but("conditions", condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: pods")),
        of(json!({"replicas": 0}), json!({"observedGeneration": 2})),
        of(json!({}), json!({"observedGeneration": 2})),
        of(
            json!({"replicas": 3, "paused": true}),
            json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 3}),
        ),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": full}),
    ];
    expect![[r#"
        Healthy
        Progressing: its controller has not looked at it yet
        Progressing: its controller has seen generation 1 of 2
        Progressing: 1 of 3 replicas are updated
        Progressing: old replicas that are still to go: 1
        Progressing: 2 of 3 replicas are available
        Degraded: ProgressDeadlineExceeded: too slow
        Degraded: FailedCreate: exceeded quota: pods
        Healthy
        Progressing: 0 of 1 replicas are updated
        Progressing: its rollout is paused at 1 of 3 replicas
        Progressing: it is being deleted
    "#]]
    .assert_eq(&told("apps", "Deployment", &objects));
}

#[test]
fn other_workloads() {
    let set = |spec: Value, status: Value| {
        let mut status = status;
        status["observedGeneration"] = json!(1);
        json!({"metadata": {"generation": 1}, "spec": spec, "status": status})
    };
    let rolling = |partition: u64| json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
    let half =
        json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"});
    let objects = [
        set(
            json!({"replicas": 3}),
            json!({"replicas": 3, "readyReplicas": 3, "currentRevision": "a", "updateRevision": "a"}),
        ),
        set(json!({"replicas": 3}), json!({"replicas": 3, "readyReplicas": 2})),
        set(rolling(0), half.clone()),
        set(rolling(2), half.clone()),
        set(json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}), half),
        set(json!({"replicas": 1}), json!({"replicas": 2, "readyReplicas": 2})),
        json!({"spec": {"replicas": 1}}),
    ];
    expect![[r#"
        Healthy
        Progressing: 2 of 3 replicas are ready
        Progressing: 1 of 3 replicas are updated
        Healthy
        Healthy
        Progressing: old replicas that are still to go: 1
        Progressing: its controller has not looked at it yet
    "#]]
    .assert_eq(&told("apps", "StatefulSet", &objects));

    let daemon = |updated: u64, available: u64| json!({"desiredNumberScheduled": 4, "updatedNumberScheduled": updated, "numberAvailable": available});
    let objects = [
        set(json!({}), daemon(4, 4)),
        set(json!({}), daemon(1, 4)),
        set(json!({}), daemon(4, 3)),
        set(json!({"updateStrategy": {"type": "OnDelete"}}), daemon(0, 4)),
    ];
    expect![[r#"
        Healthy
        Progressing: 1 of 4 nodes have the updated pod
        Progressing: 3 of 4 nodes have an available pod
        Healthy
    "#]]
    .assert_eq(&told("apps", "DaemonSet", &objects));

    let objects = [
        set(json!({"replicas": 2}), json!({"replicas": 2, "availableReplicas": 2})),
        set(json!({"replicas": 2}), json!({"replicas": 2, "availableReplicas": 1})),
        set(json!({"replicas": 2}), json!({"conditions": condition("ReplicaFailure", "True", "FailedCreate", "")})),
    ];
    expect![[r#"
        Healthy
        Progressing: 1 of 2 replicas are available
        Degraded: FailedCreate
    "#]]
    .assert_eq(&told("apps", "ReplicaSet", &objects));

    let objects = [
        json!({"status": {"conditions": condition("Complete", "True", "", "")}}),
        json!({"status": {"conditions": condition("Failed", "True", "BackoffLimitExceeded", "Job has reached the limit")}}),
        json!({"spec": {"completions": 3}, "status": {"succeeded": 1}}),
        json!({"spec": {"suspend": true}}),
        json!({}),
    ];
    expect![[r#"
        Healthy
        Degraded: BackoffLimitExceeded: Job has reached the limit
        Progressing: 1 of 3 completions
        Progressing: it is suspended
        Progressing: it is running
    "#]]
    .assert_eq(&told("batch", "Job", &objects));
}

#[test]
fn pods() {
    let waiting = |reason: &str| json!([{"name": "web", "state": {"waiting": {"reason": reason}}}]);
    let objects = [
        json!({"status": {"phase": "Running", "conditions": condition("Ready", "True", "", "")}}),
        json!({"status": {"phase": "Succeeded"}}),
        json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}}),
        json!({"status": {"phase": "Failed"}}),
        json!({"status": {"phase": "Pending", "conditions": condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available")}}),
        json!({"status": {"phase": "Pending", "containerStatuses": waiting("ImagePullBackOff")}}),
        json!({"status": {"phase": "Pending", "containerStatuses": waiting("ContainerCreating")}}),
        json!({"status": {"phase": "Running", "initContainerStatuses": waiting("CrashLoopBackOff")}}),
        json!({"status": {"phase": "Running", "conditions": condition("Ready", "False", "ContainersNotReady", "")}}),
    ];
    expect![[r#"
        Healthy
        Healthy
        Degraded: Evicted: low on memory
        Degraded: it failed
        Progressing: Unschedulable: 0/3 nodes are available
        Degraded: container web: ImagePullBackOff
        Progressing: it is not ready
        Degraded: container web: CrashLoopBackOff
        Progressing: it is not ready (ContainersNotReady)
    "#]]
    .assert_eq(&told("", "Pod", &objects));
}

#[test]
fn services_and_what_stands_around_them() {
    let address = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    let objects = [
        json!({"spec": {"type": "ClusterIP"}}),
        json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}}),
        json!({"spec": {"type": "LoadBalancer"}, "status": address}),
    ];
    expect![[r#"
        Healthy
        Progressing: its load balancer has no address yet
        Healthy
    "#]]
    .assert_eq(&told("", "Service", &objects));
    let objects = [json!({}), json!({"status": address})];
    expect![[r#"
        Progressing: no ingress controller has given it an address yet
        Healthy
    "#]]
    .assert_eq(&told("networking.k8s.io", "Ingress", &objects));
    let phases = |phases: &[&str]| phases.iter().map(|phase| json!({"status": {"phase": phase}})).collect::<Vec<_>>();
    expect![[r#"
        Healthy
        Progressing: it is not bound to a volume yet
        Degraded: its volume is lost
    "#]]
    .assert_eq(&told("", "PersistentVolumeClaim", &phases(&["Bound", "Pending", "Lost"])));
    expect![[r#"
        Healthy
        Progressing: it is not available yet
        Degraded: its claim is gone, and it is not reclaimed
        Degraded: it could not be reclaimed
    "#]]
    .assert_eq(&told("", "PersistentVolume", &phases(&["Bound", "Pending", "Released", "Failed"])));
    expect![[r#"
        Healthy
        Progressing: it is being deleted
    "#]]
    .assert_eq(&told("", "Namespace", &phases(&["Active", "Terminating"])));
    let objects = [
        json!({"status": {"currentHealthy": 2, "desiredHealthy": 2}}),
        json!({"status": {"currentHealthy": 1, "desiredHealthy": 2}}),
        json!({"status": {"conditions": condition("DisruptionAllowed", "False", "SyncFailed", "no controller")}}),
    ];
    expect![[r#"
        Healthy
        Progressing: 1 of 2 pods are healthy
        Degraded: SyncFailed: no controller
    "#]]
    .assert_eq(&told("policy", "PodDisruptionBudget", &objects));
    let objects = [
        json!({"status": {}}),
        json!({"status": {"conditions": condition("AbleToScale", "True", "", "")}}),
        json!({"status": {"conditions": condition("ScalingActive", "False", "ScalingDisabled", "")}}),
        json!({"status": {"conditions": condition("ScalingActive", "False", "FailedGetResourceMetric", "no metrics")}}),
    ];
    expect![[r#"
        Progressing: its controller has not looked at it yet
        Healthy
        Healthy
        Degraded: FailedGetResourceMetric: no metrics
    "#]]
    .assert_eq(&told("autoscaling", "HorizontalPodAutoscaler", &objects));
}

#[test]
fn definitions_and_custom_resources() {
    let objects = [
        json!({"status": {"conditions": condition("Established", "True", "", "")}}),
        json!({"status": {"conditions": condition("Established", "False", "", "")}}),
        json!({"status": {"conditions": condition("NamesAccepted", "False", "PluralConflict", "taken")}}),
    ];
    expect![[r#"
        Healthy
        Progressing: the API server does not serve it yet
        Degraded: PluralConflict: taken
    "#]]
    .assert_eq(&told("apiextensions.k8s.io", "CustomResourceDefinition", &objects));

    let with = |conditions: Value| json!({"metadata": {"generation": 1}, "status": {"conditions": conditions}});
    let objects = [
        json!({}),
        with(json!([])),
        with(condition("Ready", "True", "", "")),
        with(condition("Ready", "False", "Issuing", "waiting for the issuer")),
        with(condition("Available", "Unknown", "", "")),
        with(condition("Stalled", "True", "NoSuchKey", "key is missing")),
        with(condition("Reconciling", "True", "", "")),
        json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2, "conditions": condition("Ready", "True", "", "")}}),
    ];
    expect![[r#"
        Unknown
        Unknown
        Healthy
        Progressing: it is not Ready (Issuing: waiting for the issuer)
        Progressing: it is not Available (no reason is given)
        Degraded: NoSuchKey: key is missing
        Progressing: it is reconciling (no reason is given)
        Progressing: its controller has seen generation 2 of 3
    "#]]
    .assert_eq(&told("example.org", "Thing", &objects));
    assert!(health("example.org", "Thing", &json!({})).is_ready());
    assert_eq!(health("", "ConfigMap", &json!({})), Health::Healthy);
    assert_eq!(health("rbac.authorization.k8s.io", "Role", &json!({})), Health::Healthy);
}

#[test]
fn it_reads_back_as_data() {
    let health = Health::Degraded("why".into());
    let text = serde_json::to_value(&health).unwrap();
    assert_eq!(text, json!({"state": "Degraded", "message": "why"}));
    assert_eq!(serde_json::from_value::<Health>(text).unwrap(), health);
    assert_eq!(serde_json::to_value(Health::Healthy).unwrap(), json!({"state": "Healthy"}));
}
