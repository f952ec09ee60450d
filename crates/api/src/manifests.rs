//! Everything that one member needs, as objects to apply in this order.
//!
//! The generated kinds are not among them: an operator makes those from what its own API server
//! serves. The policies come before, as they must.

use crate::finalizing::finalizing;
use crate::{OPERATOR, SYSTEM_NAMESPACE, federation, member, policy, rbac, request};
use hansa_model::{FederatedType, MemberName};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The port on which an operator answers reads, health, readiness and metrics.
///
/// Managed control planes reach few ports of a pod; that of the kubelets is open everywhere.
pub const PORT: u16 = 10250;

/// The Secret that holds the URL of the topology server, at the key `url`.
pub const TOPO_SECRET: &str = "hansa-topo";

/// The environment variable through which an operator gets that URL. A URL may carry a password,
/// which a command line would show to everyone who may see the pod.
pub const TOPO_VARIABLE: &str = "HANSA_TOPO";

/// The Secret, if there is one, with the files that the URL names: certificates and keys.
pub const TOPO_FILES_SECRET: &str = "hansa-topo-files";

/// Where those files are found.
pub const TOPO_FILES: &str = "/etc/hansa/topo";

/// Where a token of the pod's service account is found, when one is asked for; Kubernetes renews it.
pub const IDENTITY_TOKEN: &str = "/var/run/secrets/hansa/identity/token";

/// How the pods show a cloud who they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Annotations of the ServiceAccount, such as `eks.amazonaws.com/role-arn`.
    pub annotations: BTreeMap<String, String>,
    /// Labels of the pods, such as `azure.workload.identity/use`.
    pub pod_labels: BTreeMap<String, String>,
    /// A Secret whose entries are the pods' environment, such as `AWS_ACCESS_KEY_ID`; made by who knows them.
    pub environment_secret: Option<String>,
    /// For whom a token of the ServiceAccount is put to [`IDENTITY_TOKEN`], such as the provider of a workload identity
    /// pool of Google's.
    pub token_audience: Option<String>,
}

/// What differs between installations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The name of the member that this is for.
    pub member: MemberName,
    /// The URL of the topology server.
    pub topo: String,
    /// The image of the operator.
    pub image: String,
    /// The namespace to run in.
    pub namespace: String,
    /// How many operators stand: one leads, the others wait for its Lease.
    pub replicas: u32,
    /// The types that are federated; roles and policies are made from them.
    pub types: Vec<FederatedType>,
    /// Whether the API server is to put the finalizer on federated objects: from Kubernetes 1.36 on.
    pub finalizing: bool,
    /// How the pods show a cloud who they are.
    pub identity: Identity,
    /// Further arguments of the operator.
    pub arguments: Vec<String>,
}

impl Options {
    /// What most installations want: two replicas in the usual namespace, no types yet.
    pub fn new(member: MemberName, topo: &str, image: &str) -> Self {
        Options {
            member,
            topo: topo.to_owned(),
            image: image.to_owned(),
            namespace: SYSTEM_NAMESPACE.to_owned(),
            replicas: 2,
            types: Vec::new(),
            finalizing: false,
            identity: Identity::default(),
            arguments: Vec::new(),
        }
    }
}

/// The CustomResourceDefinitions of Hansa's own kinds.
pub fn own_crds() -> Vec<Value> {
    [federation::definition(), member::definition(), request::definition()]
        .iter()
        .map(|definition| definition.to_json())
        .collect()
}

/// Everything that one member needs, in the order in which it is to be applied.
pub fn manifests(options: &Options) -> Vec<Value> {
    let namespace = options.namespace.as_str();
    let mut objects = vec![json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": {
                "app.kubernetes.io/part-of": "hansa",
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    })];
    objects.extend(own_crds());
    objects.extend(policy::policies(&options.types, &[policy::operator_user(namespace)]));
    if options.finalizing {
        objects.extend(finalizing(&options.types));
    }
    objects.extend(rbac::user_roles(&options.types));
    objects.push(rbac::operator_cluster_role(&options.types));
    objects.push(rbac::operator_role(namespace));
    objects.extend(rbac::operator_bindings(namespace));
    objects.push(service_account(options));
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(namespace, TOPO_SECRET),
        "type": "Opaque",
        "stringData": {"url": options.topo},
    }));
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(namespace, OPERATOR),
        "spec": {
            "selector": selector(),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }));
    objects.push(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(namespace, OPERATOR),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector()}},
    }));
    objects.push(deployment(options));
    objects
}

fn service_account(options: &Options) -> Value {
    let mut metadata = metadata(&options.namespace, OPERATOR);
    if !options.identity.annotations.is_empty() {
        metadata["annotations"] = json!(options.identity.annotations);
    }
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut labels = selector();
    labels["app.kubernetes.io/part-of"] = "hansa".into();
    json!({"name": name, "namespace": namespace, "labels": labels})
}

/// What the pods of the operator are known by.
fn selector() -> Value {
    json!({"app.kubernetes.io/name": OPERATOR})
}

fn deployment(options: &Options) -> Value {
    let mut arguments =
        vec!["operator".to_owned(), format!("--member={}", options.member), format!("--listen=0.0.0.0:{PORT}")];
    arguments.extend(options.arguments.iter().cloned());
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(&options.namespace, OPERATOR),
        "spec": {
            "replicas": options.replicas,
            "selector": {"matchLabels": selector()},
            "template": {
                "metadata": {"labels": selector()},
                "spec": {
                    "serviceAccountName": OPERATOR,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        // Who may read the files of the Secret below.
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "topologySpreadConstraints": [{
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": selector()},
                    }],
                    "containers": [{
                        "name": "operator",
                        "image": options.image,
                        "args": arguments,
                        "env": [
                            {"name": TOPO_VARIABLE, "valueFrom": {"secretKeyRef": {"name": TOPO_SECRET, "key": "url"}}},
                            field("POD_NAME", "metadata.name"),
                            field("POD_NAMESPACE", "metadata.namespace"),
                        ],
                        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
                        "livenessProbe": {
                            "httpGet": {"path": "/healthz", "port": "http"},
                            "initialDelaySeconds": 10,
                            "periodSeconds": 10,
                            "failureThreshold": 6,
                        },
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5},
                        "resources": {
                            "requests": {"cpu": "50m", "memory": "64Mi"},
                            "limits": {"memory": "512Mi"},
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [{"name": "topo", "mountPath": TOPO_FILES, "readOnly": true}],
                    }],
                    // A key that everybody in the pod's node may read is refused.
                    "volumes": [{
                        "name": "topo",
                        "secret": {"secretName": TOPO_FILES_SECRET, "optional": true, "defaultMode": 0o440},
                    }],
                },
            },
        },
    });
    identify(&mut deployment["spec"]["template"], &options.identity);
    deployment
}

fn identify(template: &mut Value, identity: &Identity) {
    for (name, value) in &identity.pod_labels {
        template["metadata"]["labels"][name] = json!(value);
    }
    let pod = &mut template["spec"];
    if let Some(name) = &identity.environment_secret {
        pod["containers"][0]["envFrom"] = json!([{"secretRef": {"name": name}}]);
    }
    if let Some(audience) = &identity.token_audience {
        let token = json!({"serviceAccountToken": {"audience": audience, "expirationSeconds": 3600, "path": "token"}});
        push(&mut pod["volumes"], json!({"name": "identity", "projected": {"sources": [token]}}));
        let folder = IDENTITY_TOKEN.trim_end_matches("/token");
        let mount = json!({"name": "identity", "mountPath": folder, "readOnly": true});
        push(&mut pod["containers"][0]["volumeMounts"], mount);
    }
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("a list stands here").push(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::new("aws-use1".parse().unwrap(), "etcd://user:secret@topo:2379", "registry.example.org/hansa:1")
    }

    #[test]
    fn what_others_need_comes_first() {
        let objects = manifests(&options());
        let position = |kind: &str| objects.iter().position(|object| object["kind"] == kind).unwrap();
        let order = ["Namespace", "CustomResourceDefinition", "ClusterRole", "ServiceAccount", "Secret", "Deployment"];
        let positions: Vec<usize> = order.iter().map(|kind| position(kind)).collect();
        assert!(positions.is_sorted(), "{positions:?}");
        assert_eq!(positions[5], objects.len() - 1);
    }

    #[test]
    fn the_password_of_the_topology_server_stands_in_the_secret_alone() {
        let holders: Vec<Value> = manifests(&options())
            .into_iter()
            .filter(|object| object.to_string().contains("secret@"))
            .map(|object| object["kind"].clone())
            .collect();
        assert_eq!(holders, ["Secret"]);
    }

    #[test]
    fn an_identity_is_an_annotation_a_label_an_environment_and_a_token() {
        let plain = manifests(&options());
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut options = options();
        options.identity = Identity {
            annotations: pairs(&[("azure.workload.identity/client-id", "7"), ("eks.amazonaws.com/role-arn", "arn:a")]),
            pod_labels: pairs(&[("azure.workload.identity/use", "true")]),
            environment_secret: Some("hansa-topo-credentials".into()),
            token_audience: Some("//iam.googleapis.com/p".into()),
        };
        let mut differing = String::new();
        for (before, after) in plain.iter().zip(manifests(&options)) {
            if *before != after {
                let lines: Vec<String> =
                    [before, &after].map(|object| serde_json::to_string_pretty(object).unwrap()).into();
                let known: Vec<&str> = lines[0].lines().map(|line| line.trim_end_matches(',')).collect();
                differing += &format!("{}\n", after["kind"].as_str().unwrap());
                let added = lines[1].lines().filter(|line| !known.contains(&line.trim_end_matches(',')));
                added.for_each(|line| differing += &format!("{}\n", line.trim()));
            }
        }
        expect_test::expect![[r#"
            ServiceAccount
            "annotations": {
            "azure.workload.identity/client-id": "7",
            "eks.amazonaws.com/role-arn": "arn:a"
            Deployment
            "azure.workload.identity/use": "true"
            "envFrom": [
            "secretRef": {
            "name": "hansa-topo-credentials"
            "mountPath": "/var/run/secrets/hansa/identity",
            "name": "identity",
            "name": "identity",
            "projected": {
            "sources": [
            {
            "serviceAccountToken": {
            "audience": "//iam.googleapis.com/p",
            "expirationSeconds": 3600,
            "path": "token"
            ]
        "#]]
        .assert_eq(&differing);
    }

    #[test]
    fn names_and_namespaces_agree() {
        let mut options = options();
        options.namespace = "elsewhere".into();
        options.arguments = vec!["--observe".into()];
        let objects = manifests(&options);
        assert!(objects.iter().all(|object| !object.to_string().contains(SYSTEM_NAMESPACE)));
        let deployment = objects.last().unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["operator", "--member=aws-use1", "--listen=0.0.0.0:10250", "--observe"]));
        assert_eq!(deployment["spec"]["replicas"], 2);
        assert!(
            objects[1..]
                .iter()
                .any(|object| object.to_string().contains("system:serviceaccount:elsewhere:hansa-operator"))
        );
    }
}
