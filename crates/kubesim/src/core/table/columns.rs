//! The columns of built-in kinds.

use super::super::registry::Resource;
use super::Column;

const NAME: Column = ("Name", "string", "name", 0);
const AGE: Column = ("Age", "string", "", 0);

const fn text_column(name: &'static str) -> Column {
    (name, "string", "", 0)
}

const fn wide(name: &'static str) -> Column {
    (name, "string", "", 1)
}

const fn count(name: &'static str) -> Column {
    (name, "integer", "", 0)
}

const fn flag(name: &'static str) -> Column {
    (name, "boolean", "", 0)
}

const CONTAINERS: Column = wide("Containers");
const IMAGES: Column = wide("Images");
const SELECTOR: Column = wide("Selector");

/// The columns of a built-in kind.
pub fn columns(resource: &Resource) -> Vec<Column> {
    let t = text_column;
    match resource.name().as_str() {
        "pods" => vec![
            NAME,
            t("Ready"),
            t("Status"),
            t("Restarts"),
            AGE,
            wide("IP"),
            wide("Node"),
            wide("Nominated Node"),
            wide("Readiness Gates"),
        ],
        "deployments.apps" => {
            vec![NAME, t("Ready"), t("Up-to-date"), t("Available"), AGE, CONTAINERS, IMAGES, SELECTOR]
        }
        "replicasets.apps" | "replicationcontrollers" => {
            vec![NAME, count("Desired"), count("Current"), count("Ready"), AGE, CONTAINERS, IMAGES, SELECTOR]
        }
        "statefulsets.apps" => vec![NAME, t("Ready"), AGE, CONTAINERS, IMAGES],
        "daemonsets.apps" => vec![
            NAME,
            count("Desired"),
            count("Current"),
            count("Ready"),
            count("Up-to-date"),
            count("Available"),
            t("Node Selector"),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        "jobs.batch" => vec![NAME, t("Status"), t("Completions"), t("Duration"), AGE, CONTAINERS, IMAGES, SELECTOR],
        "cronjobs.batch" => vec![
            NAME,
            t("Schedule"),
            t("Timezone"),
            flag("Suspend"),
            count("Active"),
            t("Last Schedule"),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        "services" => vec![NAME, t("Type"), t("Cluster-IP"), t("External-IP"), t("Port(s)"), AGE, SELECTOR],
        "ingresses.networking.k8s.io" => vec![NAME, t("Class"), t("Hosts"), t("Address"), t("Ports"), AGE],
        "ingressclasses.networking.k8s.io" => vec![NAME, t("Controller"), t("Parameters"), AGE],
        "networkpolicies.networking.k8s.io" => vec![NAME, t("Pod-Selector"), AGE],
        "endpoints" => vec![NAME, t("Endpoints"), AGE],
        "endpointslices.discovery.k8s.io" => vec![NAME, t("AddressType"), t("Ports"), t("Endpoints"), AGE],
        "nodes" => vec![
            NAME,
            t("Status"),
            t("Roles"),
            AGE,
            t("Version"),
            wide("Internal-IP"),
            wide("External-IP"),
            wide("OS-Image"),
            wide("Kernel-Version"),
            wide("Container-Runtime"),
        ],
        "events" | "events.events.k8s.io" => vec![
            t("Last Seen"),
            t("Type"),
            t("Reason"),
            t("Object"),
            wide("Subobject"),
            wide("Source"),
            t("Message"),
            wide("First Seen"),
            wide("Count"),
            ("Name", "string", "name", 1),
        ],
        "namespaces" => vec![NAME, t("Status"), AGE],
        "secrets" => vec![NAME, t("Type"), t("Data"), AGE],
        "configmaps" => vec![NAME, t("Data"), AGE],
        "persistentvolumes" => vec![
            NAME,
            t("Capacity"),
            t("Access Modes"),
            t("Reclaim Policy"),
            t("Status"),
            t("Claim"),
            t("StorageClass"),
            t("VolumeAttributesClass"),
            t("Reason"),
            AGE,
            wide("VolumeMode"),
        ],
        "persistentvolumeclaims" => vec![
            NAME,
            t("Status"),
            t("Volume"),
            t("Capacity"),
            t("Access Modes"),
            t("StorageClass"),
            t("VolumeAttributesClass"),
            AGE,
            wide("VolumeMode"),
        ],
        "horizontalpodautoscalers.autoscaling" => {
            vec![NAME, t("Reference"), t("Targets"), t("MinPods"), t("MaxPods"), t("Replicas"), AGE]
        }
        "poddisruptionbudgets.policy" => {
            vec![NAME, t("Min Available"), t("Max Unavailable"), count("Allowed Disruptions"), AGE]
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            vec![NAME, t("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")]
        }
        "leases.coordination.k8s.io" => vec![NAME, t("Holder"), AGE],
        "storageclasses.storage.k8s.io" => {
            vec![NAME, t("Provisioner"), t("ReclaimPolicy"), t("VolumeBindingMode"), t("AllowVolumeExpansion"), AGE]
        }
        "controllerrevisions.apps" => vec![NAME, t("Controller"), t("Revision"), AGE],
        "priorityclasses.scheduling.k8s.io" => {
            vec![NAME, count("Value"), flag("Global-Default"), AGE, t("PreemptionPolicy")]
        }
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => {
            vec![NAME, count("Webhooks"), AGE]
        }
        "validatingadmissionpolicies.admissionregistration.k8s.io" => {
            vec![NAME, count("Validations"), t("ParamKind"), AGE]
        }
        "validatingadmissionpolicybindings.admissionregistration.k8s.io" => {
            vec![NAME, t("PolicyName"), t("ParamRef"), AGE]
        }
        "customresourcedefinitions.apiextensions.k8s.io" => vec![
            NAME,
            t("Scope"),
            t("Versions"),
            ("Created At", "date", "", 0),
            wide("Group"),
            wide("Kind"),
            wide("ShortNames"),
            ("Established", "boolean", "", 1),
        ],
        "podtemplates" => vec![NAME, t("Containers"), t("Images"), t("Pod Labels")],
        "resourcequotas" => vec![NAME, t("Request"), t("Limit"), AGE],
        "serviceaccounts" => vec![NAME, AGE],
        // What has no columns of its own tells its creation as it is written.
        _ => vec![NAME, ("Created At", "date", "", 0)],
    }
}
