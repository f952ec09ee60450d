//! The stable built-in kinds that are kept as objects, checked against those that a real
//! kube-apiserver serves (see the test).

use super::Kind;
use hansa_model::TypeName;

/// Group, versions (the preferred one first), and the kinds: plural, kind, short names, namespaced.
type Group =
    (&'static str, &'static [&'static str], &'static [(&'static str, &'static str, &'static [&'static str], bool)]);

const GROUPS: &[Group] = &[
    (
        "",
        &["v1"],
        &[
            ("configmaps", "ConfigMap", &["cm"], true),
            ("endpoints", "Endpoints", &["ep"], true),
            ("events", "Event", &["ev"], true),
            ("limitranges", "LimitRange", &["limits"], true),
            ("namespaces", "Namespace", &["ns"], false),
            ("nodes", "Node", &["no"], false),
            ("persistentvolumeclaims", "PersistentVolumeClaim", &["pvc"], true),
            ("persistentvolumes", "PersistentVolume", &["pv"], false),
            ("pods", "Pod", &["po"], true),
            ("podtemplates", "PodTemplate", &[], true),
            ("replicationcontrollers", "ReplicationController", &["rc"], true),
            ("resourcequotas", "ResourceQuota", &["quota"], true),
            ("secrets", "Secret", &[], true),
            ("serviceaccounts", "ServiceAccount", &["sa"], true),
            ("services", "Service", &["svc"], true),
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &["v1"],
        &[
            ("mutatingadmissionpolicies", "MutatingAdmissionPolicy", &[], false),
            ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", &[], false),
            ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", &[], false),
            ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", &[], false),
            ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", &[], false),
            ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", &[], false),
        ],
    ),
    (
        "apiextensions.k8s.io",
        &["v1"],
        &[("customresourcedefinitions", "CustomResourceDefinition", &["crd", "crds"], false)],
    ),
    ("apiregistration.k8s.io", &["v1"], &[("apiservices", "APIService", &[], false)]),
    (
        "apps",
        &["v1"],
        &[
            ("controllerrevisions", "ControllerRevision", &[], true),
            ("daemonsets", "DaemonSet", &["ds"], true),
            ("deployments", "Deployment", &["deploy"], true),
            ("replicasets", "ReplicaSet", &["rs"], true),
            ("statefulsets", "StatefulSet", &["sts"], true),
        ],
    ),
    ("autoscaling", &["v2", "v1"], &[("horizontalpodautoscalers", "HorizontalPodAutoscaler", &["hpa"], true)]),
    ("batch", &["v1"], &[("cronjobs", "CronJob", &["cj"], true), ("jobs", "Job", &[], true)]),
    (
        "certificates.k8s.io",
        &["v1"],
        &[
            ("certificatesigningrequests", "CertificateSigningRequest", &["csr"], false),
            ("clustertrustbundles", "ClusterTrustBundle", &[], false),
            ("podcertificaterequests", "PodCertificateRequest", &[], true),
        ],
    ),
    ("coordination.k8s.io", &["v1"], &[("leases", "Lease", &[], true)]),
    ("discovery.k8s.io", &["v1"], &[("endpointslices", "EndpointSlice", &[], true)]),
    (
        "flowcontrol.apiserver.k8s.io",
        &["v1"],
        &[
            ("flowschemas", "FlowSchema", &[], false),
            ("prioritylevelconfigurations", "PriorityLevelConfiguration", &[], false),
        ],
    ),
    (
        "networking.k8s.io",
        &["v1"],
        &[
            ("ingressclasses", "IngressClass", &[], false),
            ("ingresses", "Ingress", &["ing"], true),
            ("ipaddresses", "IPAddress", &["ip"], false),
            ("networkpolicies", "NetworkPolicy", &["netpol"], true),
            ("servicecidrs", "ServiceCIDR", &[], false),
        ],
    ),
    ("node.k8s.io", &["v1"], &[("runtimeclasses", "RuntimeClass", &[], false)]),
    ("policy", &["v1"], &[("poddisruptionbudgets", "PodDisruptionBudget", &["pdb"], true)]),
    (
        "rbac.authorization.k8s.io",
        &["v1"],
        &[
            ("clusterrolebindings", "ClusterRoleBinding", &[], false),
            ("clusterroles", "ClusterRole", &[], false),
            ("rolebindings", "RoleBinding", &[], true),
            ("roles", "Role", &[], true),
        ],
    ),
    (
        "resource.k8s.io",
        &["v1"],
        &[
            ("deviceclasses", "DeviceClass", &[], false),
            ("devicetaintrules", "DeviceTaintRule", &[], false),
            ("resourceclaims", "ResourceClaim", &[], true),
            ("resourceclaimtemplates", "ResourceClaimTemplate", &[], true),
            ("resourceslices", "ResourceSlice", &[], false),
        ],
    ),
    ("scheduling.k8s.io", &["v1"], &[("priorityclasses", "PriorityClass", &["pc"], false)]),
    (
        "storage.k8s.io",
        &["v1"],
        &[
            ("csidrivers", "CSIDriver", &[], false),
            ("csinodes", "CSINode", &[], false),
            ("csistoragecapacities", "CSIStorageCapacity", &[], true),
            ("storageclasses", "StorageClass", &["sc"], false),
            ("volumeattachments", "VolumeAttachment", &[], false),
            ("volumeattributesclasses", "VolumeAttributesClass", &["vac"], false),
        ],
    ),
    ("storagemigration.k8s.io", &["v1"], &[("storageversionmigrations", "StorageVersionMigration", &[], false)]),
];

/// The stable built-in kinds.
pub fn builtin() -> Vec<Kind> {
    let kinds = GROUPS.iter().flat_map(|(group, versions, kinds)| {
        kinds.iter().map(move |(plural, kind, short_names, namespaced)| Kind {
            type_name: TypeName::new(plural, group).expect("the names of built-in kinds are valid"),
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
            kind: (*kind).to_owned(),
            singular: kind.to_ascii_lowercase(),
            short_names: short_names.iter().map(|name| (*name).to_owned()).collect(),
            namespaced: *namespaced,
        })
    });
    kinds.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hansa_kubesim` has these facts from a real kube-apiserver.
    #[test]
    fn the_table_says_what_a_real_api_server_says() {
        let real = hansa_kubesim::schema::builtin();
        for kind in builtin() {
            let name = &kind.type_name;
            let found = real
                .resource(name.group(), &kind.versions[0], name.resource())
                .unwrap_or_else(|| panic!("{name} is not served in {}", kind.versions[0]));
            assert_eq!(
                (&found.kind, found.namespaced, &found.singular),
                (&kind.kind, kind.namespaced, &kind.singular),
                "{name}"
            );
            assert_eq!(found.short_names, kind.short_names, "{name}");
        }
    }

    #[test]
    fn no_stable_kind_is_forgotten() {
        let known = builtin();
        let stable = |version: &str| !version.contains("alpha") && !version.contains("beta");
        let mut forgotten = Vec::new();
        for kind in hansa_kubesim::schema::builtin().kinds() {
            let kept = ["create", "get", "list"].iter().all(|verb| kind.verbs.iter().any(|has| has == verb));
            // Events have two groups; the core one is the one that people mean.
            if !kept || !stable(&kind.version) || kind.group == "events.k8s.io" {
                continue;
            }
            let name = TypeName::new(&kind.plural, &kind.group).unwrap();
            let found = known.iter().find(|known| known.type_name == name);
            if !found.is_some_and(|found| found.versions.contains(&kind.version)) {
                forgotten
                    .push(format!("{name} {} {} {:?} {}", kind.version, kind.kind, kind.short_names, kind.namespaced));
            }
        }
        assert!(forgotten.is_empty(), "{forgotten:#?}");
    }
}
