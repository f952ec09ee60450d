use super::*;
use crate::generated::any_deployment;
use expect_test::expect;
use proptest::prelude::*;
use serde_json::json;

fn stripped(object: &Value) -> (Value, String) {
    let (template, stripped) = strip(object).unwrap();
    let words = stripped.iter().map(|stripped| format!("{}: {}\n", stripped.path, stripped.why));
    (template, words.collect())
}

#[test]
fn an_exported_deployment_becomes_a_template() {
    let (template, told) = stripped(&json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "12", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}], "finalizers": ["x"],
            "ownerReferences": [{"kind": "App", "name": "shop", "uid": "o"}], "selfLink": "",
            "labels": {"app": "web", "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"deployment.kubernetes.io/revision": "4", "meta.helm.sh/release-name": "shop"},
        },
        "spec": {"replicas": 3, "strategy": null, "template": {"metadata": {"creationTimestamp": null, "labels": {"app": "web"}}}},
        "status": {"replicas": 3},
    }));
    assert_eq!(
        template,
        json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"replicas": 3, "template": {"metadata": {"labels": {"app": "web"}}}},
        })
    );
    expect![[r#"
        status: each member writes its own
        metadata.annotations[deployment.kubernetes.io/revision]: the Deployment controller's own record
        metadata.annotations[meta.helm.sh/release-name]: Helm's mark of the release
        metadata.creationTimestamp: it belongs to one object in one cluster
        metadata.finalizers: it belongs to one object in one cluster
        metadata.generation: it belongs to one object in one cluster
        metadata.labels[app.kubernetes.io/managed-by]: Helm's claim to the object
        metadata.managedFields: it belongs to one object in one cluster
        metadata.ownerReferences: it belongs to one object in one cluster
        metadata.resourceVersion: it belongs to one object in one cluster
        metadata.uid: it belongs to one object in one cluster
    "#]]
    .assert_eq(&told);
}

#[test]
fn what_one_cluster_assigned_stays_there() {
    let service = |metadata: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {
            "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ipFamilies": ["IPv4"],
            "ports": [{"port": 80, "nodePort": 30080}, {"port": 443}],
        }})
    };
    let (template, told) = stripped(&service(json!({"name": "web", "uid": "u"})));
    assert_eq!(template, json!({"spec": {"ports": [{"port": 80}, {"port": 443}]}}));
    expect![[r#"
        metadata.uid: it belongs to one object in one cluster
        spec.clusterIP: the cluster it was exported from assigned it; state it by hand where it was chosen
        spec.clusterIPs: the cluster it was exported from assigned it; state it by hand where it was chosen
        spec.ipFamilies: the cluster it was exported from assigned it; state it by hand where it was chosen
        spec.ports[0].nodePort: the cluster it was exported from assigned it; state it by hand where it was chosen
    "#]]
    .assert_eq(&told);

    let by_hand = service(json!({"name": "web"}));
    let (template, told) = stripped(&by_hand);
    assert_eq!((&template["spec"], told.as_str()), (&by_hand["spec"], ""));

    let headless = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "uid": "u"},
                          "spec": {"clusterIP": "None", "clusterIPs": ["None"]}});
    assert_eq!(stripped(&headless).0["spec"], headless["spec"]);

    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "uid": "u"}, "spec": {
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
        "template": {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "u", "job-name": "once", "app": "x"}}},
    }});
    assert_eq!(stripped(&job).0, json!({"spec": {"template": {"metadata": {"labels": {"app": "x"}}}}}));

    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "uid": "u"},
                       "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteOnce"]}});
    assert_eq!(stripped(&claim).0, json!({"spec": {"accessModes": ["ReadWriteOnce"]}}));

    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}},
                           "spec": {"finalizers": ["kubernetes"]}});
    assert_eq!(stripped(&namespace).0, json!({}));
}

#[test]
fn nulls_that_say_nothing_go_and_nulls_that_may_mean_something_stay() {
    let of = |api_version: &str, kind: &str| {
        stripped(&json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "data": {"a": null}, "b": [{"c": null}]})).0
    };
    assert_eq!(of("apps/v1", "Deployment"), json!({"data": {}, "b": [{}]}));
    let kept = json!({"data": {"a": null}, "b": [{"c": null}]});
    assert_eq!(of("v1", "ConfigMap"), kept);
    assert_eq!(of("example.org/v1", "Thing"), kept);
}

#[test]
fn refusals_name_object_field_and_mend() {
    let object = |api_version: &str, kind: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "shop"}});
    let with = |mut object: Value, pointer: &str, value: Value| {
        match pointer.rsplit_once('/').unwrap() {
            ("", field) => object[field] = value,
            (parent, field) => object.pointer_mut(parent).unwrap()[field] = value,
        }
        object
    };
    let config_map = object("v1", "ConfigMap");
    let cases = [
        json!("text"),
        json!({"kind": "Deployment"}),
        json!({"apiVersion": "v1", "metadata": {"name": "x"}}),
        json!({"apiVersion": "v1", "kind": "List", "items": []}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop"}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "once-"}}),
        object("hansa.dev/v1alpha1", "Federation"),
        object("apps.types.hansa.dev/v1alpha1", "FederatedDeployment"),
        object("v1", "Pod"),
        object("events.k8s.io/v1", "Event"),
        object("coordination.k8s.io/v1", "Lease"),
        object("discovery.k8s.io/v1", "EndpointSlice"),
        object("example.org/v1", &"K".repeat(60)),
        with(object("v1", "Service"), "/metadata/name", json!("s".repeat(64))),
        with(object("batch/v1", "CronJob"), "/metadata/name", json!("s".repeat(53))),
        with(
            object("apps/v1", "ReplicaSet"),
            "/metadata/ownerReferences",
            json!([{"kind": "Deployment", "name": "web", "controller": true}]),
        ),
        with(object("v1", "Secret"), "/type", json!("kubernetes.io/service-account-token")),
        with(object("v1", "Secret"), "/type", json!("helm.sh/release.v1")),
        with(config_map.clone(), "/metadata/name", json!("kube-root-ca.crt")),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}}),
        with(config_map.clone(), "/data", json!({"small": "x", "large": "x".repeat(3 << 20)})),
        with(config_map, "/binaryData", json!({"large": "x".repeat(2 << 20)})),
        with(object("example.org/v1", "Thing"), "/spec", json!({"text": "x".repeat(2 << 20)})),
    ];
    let said: String = cases.iter().map(|case| format!("{}\n", strip(case).unwrap_err())).collect();
    expect![[r#"
        manifest: apiVersion: it is missing, and without it this is no Kubernetes object: add it
        Deployment: apiVersion: it is missing, and without it this is no Kubernetes object: add it
        manifest: kind: it is missing, and without it this is no Kubernetes object: add it
        List: kind: this is a list of objects: give its items one by one
        ConfigMap: metadata.name: it is missing: give the object a name
        Job: metadata.generateName: each member would generate another name: give the object a `name`
        Federation shop/x: apiVersion: Hansa's own kinds are not federated again: leave it out
        FederatedDeployment shop/x: apiVersion: Hansa's own kinds are not federated again: leave it out
        Pod shop/x: kind: pods run where a workload of their member puts them: federate the Deployment, StatefulSet, DaemonSet or Job
        Event shop/x: kind: events tell what happened in one cluster: leave them out
        Lease shop/x: kind: a lease is held by a process of one cluster: leave it out
        EndpointSlice shop/x: kind: each member makes the slices of its own Services: federate the Service
        KKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK shop/x: kind: the generated kind `FederatedKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKKK` would have more than 63 characters: federate the objects that this kind is made of
        Service shop/ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss: metadata.name: it has 64 characters, and the name of a Service is a DNS label of at most 63: shorten it
        CronJob shop/sssssssssssssssssssssssssssssssssssssssssssssssssssss: metadata.name: it has 53 characters, and the name of a CronJob is a prefix of its Jobs' names of at most 52: shorten it
        ReplicaSet shop/x: metadata.ownerReferences: Deployment `web` makes and controls this object: federate that, and each member makes its own
        Secret shop/x: type: the token is good in one cluster alone: federate the ServiceAccount, and each member makes its own
        Secret shop/x: type: it is Helm's own record of a release: federate what `helm template` prints
        ConfigMap shop/kube-root-ca.crt: metadata.name: each member makes its own, with the certificate of its own API server: leave it out
        Service default/kubernetes: metadata.name: it is the API server of its own cluster: leave it out
        ConfigMap shop/x: data[large]: it has 3145728 bytes of 3145729, and an API server takes at most 1048576 in a ConfigMap: split the object, or keep large files in an image or a volume
        ConfigMap shop/x: binaryData[large]: it has 1572864 bytes of 1572864, and an API server takes at most 1048576 in a ConfigMap: split the object, or keep large files in an image or a volume
        Thing shop/x: spec: the object has 2097172 bytes, and at most 1400000 fit into an API server's store with what is put around it: split it
    "#]].assert_eq(&said);
}

#[test]
fn what_only_looks_like_it_is_federated() {
    for (api_version, kind) in [("example.org/v1", "Pod"), ("example.org/v1", "Lease"), ("nothansa.dev/v1", "Thing")] {
        strip(&json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}})).unwrap();
    }
}

#[test]
fn types_are_refused_before_any_object() {
    let refusal = |name: &str| {
        let type_name: TypeName = name.parse().unwrap();
        federable(&type_name).map_or_else(|refusal| refusal.to_string(), |()| "federable".to_owned())
    };
    let long = format!("{}.example.org", "p".repeat(54));
    let longer = format!("{}.example.org", "p".repeat(55));
    let group = format!("things.{}.org", [&"g".repeat(60)[..]; 4].join("."));
    let names = ["deployments.apps", "configmaps", "leases.example.org", &long];
    for name in names {
        assert_eq!(refusal(name), "federable");
    }
    let names = [
        "pods",
        "events",
        "events.events.k8s.io",
        "leases.coordination.k8s.io",
        "endpointslices.discovery.k8s.io",
        "federations.hansa.dev",
        "federatedconfigmaps.core.types.hansa.dev",
        &longer,
        &group,
    ];
    let said: String = names.iter().map(|name| format!("{}\n", refusal(name))).collect();
    expect![[r#"
        type pods: resource: pods run where a workload of their member puts them: federate the Deployment, StatefulSet, DaemonSet or Job
        type events: resource: events tell what happened in one cluster: leave them out
        type events.events.k8s.io: resource: events tell what happened in one cluster: leave them out
        type leases.coordination.k8s.io: resource: a lease is held by a process of one cluster: leave it out
        type endpointslices.discovery.k8s.io: resource: each member makes the slices of its own Services: federate the Service
        type federations.hansa.dev: resource: Hansa's own kinds are not federated again: leave it out
        type federatedconfigmaps.core.types.hansa.dev: resource: Hansa's own kinds are not federated again: leave it out
        type ppppppppppppppppppppppppppppppppppppppppppppppppppppppp.example.org: resource: the generated plural `federatedppppppppppppppppppppppppppppppppppppppppppppppppppppppp` has 64 characters, and an API server takes at most 63: federate the objects that this kind is made of, or give the kind a shorter plural
        type things.gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg.gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg.gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg.gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg.org: resource: the generated CRD's name `federatedthings.gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg.gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg.gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg.gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg.org.types.hansa.dev` has 279 characters, and an API server takes at most 253: federate the objects that this kind is made of, or give the group a shorter name
    "#]].assert_eq(&said);
}

proptest! {
    /// A template that is given its identity back and stripped again is the same template.
    #[test]
    fn stripping_twice_is_stripping_once(deployment in any_deployment()) {
        let object = |template: &Value| {
            let mut object = template.clone();
            object["apiVersion"] = json!("apps/v1");
            object["kind"] = json!("Deployment");
            object["metadata"]["name"] = json!("web");
            object
        };
        let (once, _) = strip(&object(&deployment)).unwrap();
        let (twice, told) = strip(&object(&once)).unwrap();
        prop_assert_eq!(once, twice);
        prop_assert_eq!(told, vec![]);
    }
}
