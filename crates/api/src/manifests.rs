//! Everything that one member needs, as objects to apply in this order.
//!
//! The generated kinds are not among them: an operator makes those from what its own API server
//! serves. The policies come before, as they must.

use crate::finalizing::finalizing;
use crate::{OPERATOR, SYSTEM_NAMESPACE, federation, member, policy, rbac, request};
use hansa_model::{FederatedType, MemberName};
use serde_json::{Value, json};

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
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(namespace, OPERATOR),
    }));
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
    json!({
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
                    "volumes": [{"name": "topo", "secret": {"secretName": TOPO_FILES_SECRET, "optional": true}}],
                },
            },
        },
    })
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
