"""Objects of every kind that applications use, with little said, for the real server to complete."""

SELECTOR = {"matchLabels": {"app": "a"}}

SMALL_POD = {"containers": [{"name": "a", "image": "nginx:1"}]}

LARGE_POD = {
    "containers": [
        {
            "name": "a", "image": "nginx", "ports": [{"containerPort": 80}], "tty": False, "args": [],
            "env": [
                {"name": "X", "value": ""},
                {"name": "Y", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "Z", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "livenessProbe": {"httpGet": {"port": 80}},
            "readinessProbe": {"tcpSocket": {"port": "http"}},
            "startupProbe": {"exec": {"command": ["x"]}},
            "lifecycle": {"preStop": {"exec": {"command": ["a"]}}, "postStart": {"httpGet": {"port": 80}}},
            "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 0.5}},
            "securityContext": {"runAsNonRoot": False},
            "volumeMounts": [{"name": "c", "mountPath": "/c", "readOnly": False}],
        },
        {"name": "b", "image": "x/nginx:1.2@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"name": "c", "image": "reg:5000/a"},
        {"name": "d", "image": "a:latest"},
    ],
    "initContainers": [{"name": "i", "image": "busybox:1", "restartPolicy": "Always"}],
    "volumes": [
        {"name": "c", "configMap": {"name": "c"}},
        {"name": "s", "secret": {"secretName": "s", "items": [{"key": "a", "path": "b"}]}},
        {"name": "e"},
        {"name": "h", "hostPath": {"path": "/x"}},
        {"name": "p", "projected": {"sources": [
            {"serviceAccountToken": {"path": "t"}},
            {"configMap": {"name": "c"}},
            {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ]}},
        {"name": "d", "downwardAPI": {"items": [{"path": "l", "resourceFieldRef": {"containerName": "a", "resource": "limits.cpu"}}]}},
        {"name": "pvc", "persistentVolumeClaim": {"claimName": "x"}},
        {"name": "eph", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
        {"name": "csi", "csi": {"driver": "d.x"}},
        {"name": "nfs", "nfs": {"server": "s", "path": "/p"}},
        {"name": "ed", "emptyDir": {"sizeLimit": "1024Mi"}},
    ],
    "serviceAccountName": "sa",
    "hostNetwork": False,
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": SELECTOR}],
    "affinity": {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "z", "labelSelector": SELECTOR}}]},
    },
    "imagePullSecrets": [{"name": "x"}],
    "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}],
    "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]},
}

HOST_POD = {
    "hostNetwork": True,
    "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}}],
}

SCHEMA = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "string", "default": "x"},
        "l": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}, "required": ["k"]},
        },
    }}},
}


def template(spec, restart=None):
    spec = {**spec, "restartPolicy": restart} if restart else spec
    return {"metadata": {"labels": {"app": "a"}, "creationTimestamp": None}, "spec": spec}


def seed(api_version, kind, spec=None, **fields):
    made = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "seed"}}
    if spec is not None:
        made["spec"] = spec
    return {**made, **fields}


def workload(**spec):
    return {"selector": SELECTOR, "template": template(SMALL_POD), **spec}


def autoscaler(**spec):
    return {"scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}, "maxReplicas": 3, **spec}


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}

SEEDS = [
    seed("v1", "Pod", LARGE_POD),
    seed("v1", "Pod", HOST_POD),
    seed("apps/v1", "Deployment", workload(template=template(LARGE_POD))),
    seed("apps/v1", "Deployment", workload(strategy={"type": "Recreate"})),
    seed("apps/v1", "Deployment", workload(replicas=0, paused=False, strategy={"rollingUpdate": {"maxSurge": 1}})),
    seed("apps/v1", "ReplicaSet", workload()),
    seed("apps/v1", "StatefulSet", workload(serviceName="x", volumeClaimTemplates=[{"metadata": {"name": "d"}, "spec": CLAIM}])),
    seed("apps/v1", "StatefulSet", workload(updateStrategy={"type": "RollingUpdate"})),
    seed("apps/v1", "StatefulSet", workload(updateStrategy={"type": "OnDelete"}, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"})),
    seed("apps/v1", "DaemonSet", workload()),
    seed("apps/v1", "DaemonSet", workload(updateStrategy={"type": "OnDelete"})),
    seed("batch/v1", "Job", {"template": template(LARGE_POD, "Never")}),
    seed("batch/v1", "Job", {"parallelism": 2, "template": template(SMALL_POD, "OnFailure"), "backoffLimitPerIndex": 1, "completionMode": "Indexed", "completions": 2}),
    seed("batch/v1", "Job", {"template": template(SMALL_POD, "OnFailure"), "parallelism": 3}),
    seed("batch/v1", "CronJob", {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template(SMALL_POD, "OnFailure")}}}),
    seed("v1", "Service", {"ports": [{"port": 80}], "selector": {"a": "b"}}),
    seed("v1", "Service", {"type": "NodePort", "ports": [{"port": 80, "name": "a", "targetPort": "x"}, {"port": 81, "name": "b"}]}),
    seed("v1", "Service", {"type": "LoadBalancer", "ports": [{"port": 80}]}),
    seed("v1", "Service", {"clusterIP": "None", "ports": [{"port": 80}], "sessionAffinity": "ClientIP"}),
    seed("v1", "Service", {"type": "ExternalName", "externalName": "a.b"}),
    seed("v1", "ConfigMap", data={"a": "b"}),
    seed("v1", "ConfigMap", data={}, binaryData={"x": "AAA="}, immutable=False),
    seed("v1", "Secret", data={"a": "YQ=="}, stringData={"b": "c"}),
    seed("v1", "Secret", type="kubernetes.io/basic-auth", stringData={"username": "c"}),
    seed("v1", "ServiceAccount"),
    seed("v1", "ServiceAccount", automountServiceAccountToken=False, imagePullSecrets=[{"name": "a"}]),
    seed("v1", "PersistentVolumeClaim", CLAIM),
    seed("v1", "PersistentVolume", {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}),
    seed("v1", "Namespace"),
    seed("v1", "Node", {"unschedulable": False}, status={"capacity": {"cpu": "2000m"}}),
    seed("v1", "LimitRange", {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "100m"}}]}),
    seed("v1", "ResourceQuota", {"hard": {"pods": "10"}}),
    seed("v1", "Endpoints", subsets=[{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80}]}]),
    seed("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": ["1.2.3.4"], "conditions": {"ready": True}}], ports=[{"port": 80}]),
    seed("v1", "ReplicationController", {"template": template(SMALL_POD)}),
    seed("v1", "PodTemplate", template=template(SMALL_POD)),
    seed("v1", "Event", involvedObject={"kind": "Pod", "name": "x", "namespace": "default"}, reason="R", message="m", type="Normal", firstTimestamp="2026-01-01T00:00:00+01:00"),
    seed("events.k8s.io/v1", "Event", regarding={"kind": "Pod", "name": "x", "namespace": "default"}, reason="R", note="m", type="Normal",
         eventTime="2026-01-01T00:00:00.000000Z", action="a", reportingController="x/y", reportingInstance="i"),
    seed("networking.k8s.io/v1", "Ingress", {"rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "x", "port": {"number": 80}}}}]}}]}),
    seed("networking.k8s.io/v1", "Ingress", {"defaultBackend": {"service": {"name": "x", "port": {"name": "a"}}}, "tls": [{"hosts": ["a"]}]}),
    seed("networking.k8s.io/v1", "IngressClass", {"controller": "a.b/c", "parameters": {"kind": "X", "name": "y"}}),
    seed("networking.k8s.io/v1", "NetworkPolicy", {"podSelector": {}}),
    seed("networking.k8s.io/v1", "NetworkPolicy", {"podSelector": SELECTOR, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}], "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}),
    seed("policy/v1", "PodDisruptionBudget", {"minAvailable": 1, "selector": SELECTOR}),
    seed("autoscaling/v2", "HorizontalPodAutoscaler", autoscaler()),
    seed("autoscaling/v2", "HorizontalPodAutoscaler", autoscaler(
        minReplicas=2, behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 10}]}},
        metrics=[{"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1024Mi"}}}])),
    seed("autoscaling/v2", "HorizontalPodAutoscaler", autoscaler(behavior={"scaleUp": {"stabilizationWindowSeconds": 3}, "scaleDown": {"selectPolicy": "Disabled"}})),
    seed("autoscaling/v1", "HorizontalPodAutoscaler", autoscaler(targetCPUUtilizationPercentage=50)),
    seed("rbac.authorization.k8s.io/v1", "Role", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
    seed("rbac.authorization.k8s.io/v1", "Role"),
    seed("rbac.authorization.k8s.io/v1", "ClusterRole", rules=[{"nonResourceURLs": ["/x"], "verbs": ["get"]}]),
    seed("rbac.authorization.k8s.io/v1", "ClusterRole", aggregationRule={"clusterRoleSelectors": [SELECTOR]}),
    seed("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef={"kind": "Role", "name": "x"},
         subjects=[{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "default"}, {"kind": "Group", "name": "g"}]),
    seed("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", roleRef={"kind": "ClusterRole", "name": "x", "apiGroup": "rbac.authorization.k8s.io"}),
    seed("storage.k8s.io/v1", "StorageClass", provisioner="a.b/c"),
    seed("storage.k8s.io/v1", "CSIDriver", {}),
    seed("coordination.k8s.io/v1", "Lease", {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T01:00:00.123456+01:00"}),
    seed("scheduling.k8s.io/v1", "PriorityClass", value=5),
    seed("node.k8s.io/v1", "RuntimeClass", handler="x", overhead={"podFixed": {"cpu": "0.25"}}),
    seed("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", webhooks=[{
        "name": "a.b.c", "clientConfig": {"service": {"name": "s", "namespace": "n"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}]),
    seed("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", webhooks=[{
        "name": "a.b.c", "clientConfig": {"url": "https://x/y"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]}]),
    seed("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", {
        "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]},
        "validations": [{"expression": "true"}]}),
    seed("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", {
        "policyName": "x", "validationActions": ["Deny"], "matchResources": {"namespaceSelector": SELECTOR}}),
    {**seed("apiextensions.k8s.io/v1", "CustomResourceDefinition", {
        "group": "x.io", "names": {"plural": "foos", "kind": "Foo"}, "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}, "subresources": {"status": {}},
                      "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".spec.a"}]}]}), "metadata": {"name": "foos.x.io"}},
    seed("apps/v1", "ControllerRevision", revision=1, data={"a": {"b": []}}),
    seed("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", {
        "priorityLevelConfiguration": {"name": "global-default"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "x"}}], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}]}),
    seed("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}),
]
