//! Which parts of an object's metadata may leave the cluster that wrote them, and Hansa's own marks.
//!
//! Labels and annotations travel; everything else in `metadata` belongs to one object in one
//! cluster. Among labels and annotations, the tracking marks of other tools do not travel: a GitOps
//! tool in another member would take the output for one of its own and prune it.

/// Label on every output: the league that it belongs to.
pub const LEAGUE_LABEL: &str = "hansa.dev/league";
/// Annotation on every output: the life of the federated object that it belongs to.
pub const INCARNATION_ANNOTATION: &str = "hansa.dev/incarnation";
/// Annotation on every output: the record's revision when the output was last written.
pub const REVISION_ANNOTATION: &str = "hansa.dev/revision";

/// Where a label or an annotation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// In `metadata.labels`.
    Label,
    /// In `metadata.annotations`.
    Annotation,
}

impl Mark {
    /// The field of `metadata` that holds such marks.
    pub fn field(self) -> &'static str {
        match self {
            Mark::Label => "labels",
            Mark::Annotation => "annotations",
        }
    }
}

/// The fields of `metadata` that say which object it is.
pub(crate) const IDENTITY: &[&str] = &["name", "namespace", "generateName"];

/// Every key of these domains (the part before the slash, or a parent of it) is somebody's mark.
const DOMAINS: &[(&str, &str)] = &[
    ("hansa.dev", "Hansa sets its marks itself"),
    ("meta.helm.sh", "Helm's mark of the release"),
    ("kustomize.toolkit.fluxcd.io", "Flux's mark of the Kustomization"),
    ("helm.toolkit.fluxcd.io", "Flux's mark of the HelmRelease"),
    ("kapp.k14s.io", "kapp's mark of the application"),
    ("objectset.rio.cattle.io", "Rancher's mark of the object set"),
    ("fleet.cattle.io", "Fleet's mark of the bundle"),
    ("karmada.io", "Karmada's mark of the policy or binding"),
    ("kubefed.io", "KubeFed's mark of what it manages"),
    ("deployment.kubernetes.io", "the Deployment controller's own record"),
];

/// Single keys that are marks, or that one cluster writes for itself.
const KEYS: &[(&str, &str)] = &[
    ("kubectl.kubernetes.io/last-applied-configuration", "kubectl's record of its last apply"),
    ("argocd.argoproj.io/tracking-id", "Argo CD's mark of the Application"),
    ("argocd.argoproj.io/installation-id", "Argo CD's mark of the installation"),
    ("argocd.argoproj.io/instance", "Argo CD's mark of the Application"),
    ("config.k8s.io/owning-inventory", "cli-utils' mark of the inventory"),
    ("kubernetes.io/metadata.name", "the API server sets it on every namespace"),
    ("kubernetes.io/service-account.uid", "the uid of a ServiceAccount in one cluster"),
    ("pv.kubernetes.io/bind-completed", "the volume controller's own record"),
    ("pv.kubernetes.io/bound-by-controller", "the volume controller's own record"),
    ("pv.kubernetes.io/provisioned-by", "the volume controller's own record"),
    ("volume.kubernetes.io/storage-provisioner", "the volume controller's own record"),
    ("volume.beta.kubernetes.io/storage-provisioner", "the volume controller's own record"),
    ("volume.kubernetes.io/selected-node", "the scheduler's own record"),
    ("control-plane.alpha.kubernetes.io/leader", "a leader's lock in one cluster"),
    ("endpoints.kubernetes.io/last-change-trigger-time", "the endpoints controller's own record"),
    ("autoscaling.alpha.kubernetes.io/conditions", "the autoscaler's own record"),
    ("autoscaling.alpha.kubernetes.io/current-metrics", "the autoscaler's own record"),
    ("batch.kubernetes.io/job-tracking", "the Job controller's own record"),
    ("deprecated.daemonset.template.generation", "the DaemonSet controller's own record"),
];

/// Why a label or an annotation does not travel; `None` when it does.
///
/// `value` matters for one key alone: `app.kubernetes.io/managed-by` is a mark when it says `Helm`.
/// `app.kubernetes.io/instance` travels, though Argo CD may be set to track by it: it is a
/// recommended label and stands in selectors.
pub fn stays(mark: Mark, key: &str, value: Option<&str>) -> Option<&'static str> {
    if mark == Mark::Label && key == "app.kubernetes.io/managed-by" && value == Some("Helm") {
        return Some("Helm's claim to the object");
    }
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let by_domain = DOMAINS.iter().find(|(parent, _)| within(parent));
    by_domain.or_else(|| KEYS.iter().find(|(known, _)| *known == key)).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_and_words_of_users_travel() {
        for (mark, key, value) in [
            (Mark::Annotation, "kubectl.kubernetes.io/last-applied-configuration", "{}"),
            (Mark::Annotation, "argocd.argoproj.io/tracking-id", "x"),
            (Mark::Label, "argocd.argoproj.io/instance", "shop"),
            (Mark::Label, "kustomize.toolkit.fluxcd.io/name", "shop"),
            (Mark::Annotation, "meta.helm.sh/release-name", "shop"),
            (Mark::Label, "app.kubernetes.io/managed-by", "Helm"),
            (Mark::Annotation, "deployment.kubernetes.io/revision", "3"),
            (Mark::Label, "propagationpolicy.karmada.io/name", "p"),
            (Mark::Label, LEAGUE_LABEL, "0"),
            (Mark::Annotation, "apps.types.hansa.dev/x", "0"),
        ] {
            assert!(stays(mark, key, Some(value)).is_some(), "{key}");
        }
        for (mark, key, value) in [
            (Mark::Label, "app", "web"),
            (Mark::Label, "app.kubernetes.io/managed-by", "kustomize"),
            (Mark::Label, "app.kubernetes.io/instance", "shop"),
            (Mark::Annotation, "argocd.argoproj.io/sync-wave", "2"),
            (Mark::Annotation, "prometheus.deployment.kubernetes.example/x", "1"),
            (Mark::Annotation, "nothansa.dev/x", "1"),
            (Mark::Annotation, "kubernetes.io/change-cause", "why"),
        ] {
            assert_eq!(stays(mark, key, Some(value)), None, "{key}");
        }
    }
}
