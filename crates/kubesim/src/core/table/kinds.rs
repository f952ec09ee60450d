//! The cells of built-in kinds; `columns` names them.

use serde_json::{Value, json};

use super::super::registry::Resource;
use super::super::time;
use super::{Subject, events, pods, since, text};
use crate::value;

/// The cells of a built-in kind's object.
pub fn cells(resource: &Resource, it: &Subject) -> Value {
    let name = it.text(&["metadata", "name"]);
    let age = it.age();
    let length = |path: &[&str]| value::list(it.object, path).len();
    match resource.name().as_str() {
        "pods" => pods::cells(it),
        "deployments.apps" => {
            let (names, images) = text::containers(&it.object["spec"]["template"]);
            let ready = format!("{}/{}", it.number(&["status", "readyReplicas"]), it.number(&["spec", "replicas"]));
            let selector = text::selector(value::get(it.object, &["spec", "selector"]));
            json!([
                name,
                ready,
                it.number(&["status", "updatedReplicas"]),
                it.number(&["status", "availableReplicas"]),
                age,
                names,
                images,
                selector
            ])
        }
        "replicasets.apps" | "replicationcontrollers" => {
            let (names, images) = text::containers(&it.object["spec"]["template"]);
            let selector = value::get(it.object, &["spec", "selector"]);
            let selector =
                if resource.plural == "replicasets" { text::selector(selector) } else { text::labels(selector) };
            let status = |field: &str| it.number(&["status", field]);
            json!([
                name,
                it.number(&["spec", "replicas"]),
                status("replicas"),
                status("readyReplicas"),
                age,
                names,
                images,
                selector
            ])
        }
        "statefulsets.apps" => {
            let (names, images) = text::containers(&it.object["spec"]["template"]);
            let ready = format!("{}/{}", it.number(&["status", "readyReplicas"]), it.number(&["spec", "replicas"]));
            json!([name, ready, age, names, images])
        }
        "daemonsets.apps" => {
            let (names, images) = text::containers(&it.object["spec"]["template"]);
            let status = |field: &str| it.number(&["status", field]);
            json!([
                name,
                status("desiredNumberScheduled"),
                status("currentNumberScheduled"),
                status("numberReady"),
                status("updatedNumberScheduled"),
                status("numberAvailable"),
                text::labels(value::get(it.object, &["spec", "template", "spec", "nodeSelector"])),
                age,
                names,
                images,
                text::selector(value::get(it.object, &["spec", "selector"])),
            ])
        }
        "jobs.batch" => job(it, name, &age),
        "cronjobs.batch" => {
            let (names, images) = text::containers(&it.object["spec"]["jobTemplate"]["spec"]["template"]);
            let last = match it.text(&["status", "lastScheduleTime"]) {
                "" => "<none>".to_string(),
                at => since(at, it.now),
            };
            json!([
                name,
                it.text(&["spec", "schedule"]),
                it.or_none(&["spec", "timeZone"]),
                if value::boolean(it.object, &["spec", "suspend"]) == Some(true) { "True" } else { "False" },
                length(&["status", "active"]),
                last,
                age,
                names,
                images,
                text::selector(value::get(it.object, &["spec", "jobTemplate", "spec", "selector"])),
            ])
        }
        "services" => service(it, name, &age),
        "ingresses.networking.k8s.io" => {
            let mut hosts: Vec<String> = value::list(it.object, &["spec", "rules"])
                .iter()
                .filter_map(|rule| rule["host"].as_str())
                .map(String::from)
                .collect();
            if hosts.is_empty() {
                hosts.push("*".to_string());
            }
            let ports = if length(&["spec", "tls"]) > 0 { "80, 443" } else { "80" };
            json!([
                name,
                it.or_none(&["spec", "ingressClassName"]),
                text::few(&hosts, 3),
                text::load_balancer(it.object),
                ports,
                age
            ])
        }
        "ingressclasses.networking.k8s.io" => {
            json!([name, it.text(&["spec", "controller"]), it.or_none(&["spec", "parameters", "name"]), age])
        }
        "networkpolicies.networking.k8s.io" => {
            json!([name, text::selector(value::get(it.object, &["spec", "podSelector"])), age])
        }
        "endpoints" => json!([name, endpoints(it.object), age]),
        "endpointslices.discovery.k8s.io" => {
            let ports: Vec<String> =
                value::list(it.object, &["ports"]).iter().map(|port| text::plain(port.get("port"))).collect();
            let addresses: Vec<String> = value::list(it.object, &["endpoints"])
                .iter()
                .flat_map(|endpoint| value::list(endpoint, &["addresses"]))
                .filter_map(Value::as_str)
                .map(String::from)
                .collect();
            let unset = |list: &[String]| if list.is_empty() { "<unset>".to_string() } else { text::few(list, 3) };
            json!([name, it.text(&["addressType"]), unset(&ports), unset(&addresses), age])
        }
        "nodes" => node(it, name, &age),
        "events" | "events.events.k8s.io" => events::cells(it, name),
        "namespaces" => json!([name, it.text(&["status", "phase"]), age]),
        "secrets" => json!([name, it.text(&["type"]), entries(it.object, &["data"]), age]),
        "configmaps" => json!([name, entries(it.object, &["data"]) + entries(it.object, &["binaryData"]), age]),
        "persistentvolumes" => json!([
            name,
            text::plain(value::get(it.object, &["spec", "capacity", "storage"])),
            text::access_modes(value::list(it.object, &["spec", "accessModes"])),
            it.text(&["spec", "persistentVolumeReclaimPolicy"]),
            phase(it),
            match it.text(&["spec", "claimRef", "name"]) {
                "" => String::new(),
                claim => format!("{}/{claim}", it.text(&["spec", "claimRef", "namespace"])),
            },
            it.text(&["spec", "storageClassName"]),
            text::or(it.text(&["spec", "volumeAttributesClassName"]), "<unset>"),
            it.text(&["status", "reason"]),
            age,
            it.text(&["spec", "volumeMode"]),
        ]),
        "persistentvolumeclaims" => json!([
            name,
            phase(it),
            it.text(&["spec", "volumeName"]),
            text::plain(value::get(it.object, &["status", "capacity", "storage"])),
            text::access_modes(value::list(it.object, &["status", "accessModes"])),
            it.text(&["spec", "storageClassName"]),
            text::or(it.text(&["spec", "volumeAttributesClassName"]), "<unset>"),
            age,
            it.text(&["spec", "volumeMode"]),
        ]),
        "horizontalpodautoscalers.autoscaling" => {
            let reference = format!(
                "{}/{}",
                it.text(&["spec", "scaleTargetRef", "kind"]),
                it.text(&["spec", "scaleTargetRef", "name"])
            );
            let least = match it.number(&["spec", "minReplicas"]) {
                0 => "<unset>".to_string(),
                least => least.to_string(),
            };
            let status = it.number(&["status", "currentReplicas"]);
            json!([name, reference, metrics(it.object), least, it.number(&["spec", "maxReplicas"]), status, age])
        }
        "poddisruptionbudgets.policy" => {
            let amount = |field: &str| text::or(&text::plain(value::get(it.object, &["spec", field])), "N/A");
            json!([
                name,
                amount("minAvailable"),
                amount("maxUnavailable"),
                it.number(&["status", "disruptionsAllowed"]),
                age
            ])
        }
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            let subjects = |kind: &str| {
                let of_kind = value::list(it.object, &["subjects"]).iter().filter(|subject| subject["kind"] == kind);
                let texts: Vec<String> = of_kind
                    .map(|subject| match kind {
                        "ServiceAccount" => {
                            let namespace = subject["namespace"].as_str().unwrap_or_default();
                            format!("{namespace}/{}", text::plain(subject.get("name")))
                        }
                        _ => text::plain(subject.get("name")),
                    })
                    .collect();
                texts.join(", ")
            };
            let role = format!("{}/{}", it.text(&["roleRef", "kind"]), it.text(&["roleRef", "name"]));
            json!([name, role, age, subjects("User"), subjects("Group"), subjects("ServiceAccount")])
        }
        "leases.coordination.k8s.io" => json!([name, it.text(&["spec", "holderIdentity"]), age]),
        "storageclasses.storage.k8s.io" => {
            let default =
                value::string(it.object, &["metadata", "annotations", "storageclass.kubernetes.io/is-default-class"])
                    == Some("true");
            let name = if default { format!("{name} (default)") } else { name.to_string() };
            let expands = value::boolean(it.object, &["allowVolumeExpansion"]).unwrap_or(false);
            json!([
                name,
                it.text(&["provisioner"]),
                it.text(&["reclaimPolicy"]),
                it.text(&["volumeBindingMode"]),
                expands,
                age
            ])
        }
        "controllerrevisions.apps" => {
            let owners = value::list(it.object, &["metadata", "ownerReferences"]);
            let owner = owners.iter().find(|owner| owner["controller"] == json!(true)).map(|owner| {
                let group = owner["apiVersion"]
                    .as_str()
                    .and_then(|version| version.split_once('/'))
                    .map_or("", |(group, _)| group);
                let kind = text::plain(owner.get("kind")).to_lowercase();
                format!("{}/{}", super::super::error::qualified(group, &kind), text::plain(owner.get("name")))
            });
            json!([name, owner.unwrap_or_else(|| "<none>".to_string()), it.number(&["revision"]), age])
        }
        "priorityclasses.scheduling.k8s.io" => json!([
            name,
            it.number(&["value"]),
            value::boolean(it.object, &["globalDefault"]).unwrap_or(false),
            age,
            it.text(&["preemptionPolicy"]),
        ]),
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => {
            json!([name, length(&["webhooks"]), age])
        }
        "validatingadmissionpolicies.admissionregistration.k8s.io" => {
            let parameter = match it.text(&["spec", "paramKind", "kind"]) {
                "" => "<unset>".to_string(),
                kind => format!("{}/{kind}", it.text(&["spec", "paramKind", "apiVersion"])),
            };
            json!([name, length(&["spec", "validations"]), parameter, age])
        }
        "validatingadmissionpolicybindings.admissionregistration.k8s.io" => {
            json!([
                name,
                it.text(&["spec", "policyName"]),
                text::or(it.text(&["spec", "paramRef", "name"]), "<unset>"),
                age
            ])
        }
        "customresourcedefinitions.apiextensions.k8s.io" => definition(it, name),
        "podtemplates" => {
            let (names, images) = text::containers(&it.object["template"]);
            json!([name, names, images, text::labels(value::get(it.object, &["template", "metadata", "labels"]))])
        }
        "resourcequotas" => {
            let (limits, requests): (Vec<_>, Vec<_>) = value::get(it.object, &["status", "hard"])
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .partition(|(resource, _)| resource.starts_with("limits."));
            let text = |of: Vec<(&String, &Value)>| -> String {
                let used = |resource: &str| it.text(&["status", "used", resource]);
                let shown = of.iter().map(|(resource, hard)| {
                    format!("{resource}: {}/{}", text::or(used(resource), "0"), hard.as_str().unwrap_or_default())
                });
                shown.collect::<Vec<_>>().join(", ")
            };
            json!([name, text(requests), text(limits), age])
        }
        "serviceaccounts" => json!([name, age]),
        _ => json!([name, it.text(&["metadata", "creationTimestamp"])]),
    }
}

fn definition(it: &Subject, name: &str) -> Value {
    let versions: Vec<String> = value::list(it.object, &["spec", "versions"])
        .iter()
        .filter(|version| version["served"] == json!(true))
        .map(|version| {
            let storage = if version["storage"] == json!(true) { "(storage)" } else { "" };
            format!("{}{storage}", version["name"].as_str().unwrap_or_default())
        })
        .collect();
    let short: Vec<&str> =
        value::list(it.object, &["spec", "names", "shortNames"]).iter().filter_map(Value::as_str).collect();
    let established = value::list(it.object, &["status", "conditions"])
        .iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
    json!([
        name,
        it.text(&["spec", "scope"]),
        versions.join(","),
        it.text(&["metadata", "creationTimestamp"]),
        it.text(&["spec", "group"]),
        it.text(&["spec", "names", "kind"]),
        short.join(","),
        established,
    ])
}

fn entries(object: &Value, path: &[&str]) -> usize {
    value::get(object, path).and_then(Value::as_object).map_or(0, |map| map.len())
}

fn phase(it: &Subject) -> String {
    match value::get(it.object, &["metadata", "deletionTimestamp"]) {
        Some(_) => "Terminating".to_string(),
        None => it.text(&["status", "phase"]).to_string(),
    }
}

fn job(it: &Subject, name: &str, age: &str) -> Value {
    let done = it.number(&["status", "succeeded"]);
    let parallel = it.number(&["spec", "parallelism"]);
    let completions = match value::integer(it.object, &["spec", "completions"]) {
        Some(wanted) => format!("{done}/{wanted}"),
        None if parallel > 1 => format!("{done}/1 of {parallel}"),
        None => format!("{done}/1"),
    };
    let (start, end) =
        (time::parse(it.text(&["status", "startTime"])), time::parse(it.text(&["status", "completionTime"])));
    let duration = start.map(|start| time::human(end.unwrap_or(it.now).saturating_sub(start))).unwrap_or_default();
    let holds = |kind: &str| {
        let conditions = value::list(it.object, &["status", "conditions"]);
        conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let status = match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if value::get(it.object, &["metadata", "deletionTimestamp"]).is_some() => "Terminating",
        () if holds("Suspended") => "Suspended",
        () if holds("FailureTarget") => "FailureTarget",
        () if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    let (names, images) = text::containers(&it.object["spec"]["template"]);
    let selector = text::selector(value::get(it.object, &["spec", "selector"]));
    json!([name, status, completions, duration, age, names, images, selector])
}

fn service(it: &Subject, name: &str, age: &str) -> Value {
    let kind = it.text(&["spec", "type"]);
    let address = value::list(it.object, &["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or("<none>");
    let given: Vec<&str> = value::list(it.object, &["spec", "externalIPs"]).iter().filter_map(Value::as_str).collect();
    let balanced = text::load_balancer(it.object);
    let external = match kind {
        "ExternalName" => it.text(&["spec", "externalName"]).to_string(),
        "LoadBalancer" if balanced.is_empty() && given.is_empty() => "<pending>".to_string(),
        "LoadBalancer" => {
            let all: Vec<&str> = balanced.split(',').filter(|address| !address.is_empty()).chain(given).collect();
            all.join(",")
        }
        "ClusterIP" | "NodePort" => text::or(&given.join(","), "<none>"),
        _ => "<unknown>".to_string(),
    };
    let ports: Vec<String> = value::list(it.object, &["spec", "ports"])
        .iter()
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or_default();
            match port["nodePort"].as_i64() {
                Some(node) if node > 0 => format!("{}:{node}/{protocol}", port["port"]),
                _ => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    let selector = text::labels(value::get(it.object, &["spec", "selector"]));
    json!([name, kind, address, external, text::or(&ports.join(","), "<none>"), age, selector])
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in value::list(object, &["subsets"]) {
        let addresses = value::list(subset, &["addresses"]).iter().filter_map(|address| address["ip"].as_str());
        let ports = value::list(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(addresses.map(String::from));
        } else {
            for port in ports {
                all.extend(
                    value::list(subset, &["addresses"])
                        .iter()
                        .filter_map(|address| Some(format!("{}:{}", address["ip"].as_str()?, port["port"]))),
                );
            }
        }
    }
    if all.is_empty() { "<none>".to_string() } else { text::few(&all, 3) }
}

fn node(it: &Subject, name: &str, age: &str) -> Value {
    let ready = value::list(it.object, &["status", "conditions"]).iter().find(|condition| condition["type"] == "Ready");
    let mut status = match ready {
        Some(condition) if condition["status"] == "True" => "Ready".to_string(),
        Some(_) => "NotReady".to_string(),
        None => "Unknown".to_string(),
    };
    if value::boolean(it.object, &["spec", "unschedulable"]) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let labels = value::get(it.object, &["metadata", "labels"]).and_then(Value::as_object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|role| !role.is_empty())
        .collect();
    let address = |kind: &str| {
        let addresses = value::list(it.object, &["status", "addresses"]);
        let found =
            addresses.iter().find(|address| address["type"] == kind).and_then(|address| address["address"].as_str());
        found.unwrap_or("<none>").to_string()
    };
    let info = |field: &str| it.text(&["status", "nodeInfo", field]);
    let mut kernel = text::or(info("kernelVersion"), "<unknown>");
    if !info("architecture").is_empty() {
        kernel.push_str(&format!(" ({})", info("architecture")));
    }
    json!([
        name,
        status,
        text::or(&roles.join(","), "<none>"),
        age,
        info("kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        text::or(info("osImage"), "<unknown>"),
        kernel,
        text::or(info("containerRuntimeVersion"), "<unknown>"),
    ])
}

fn metrics(object: &Value) -> String {
    let specs = value::list(object, &["spec", "metrics"]);
    let statuses = value::list(object, &["status", "currentMetrics"]);
    let mut list = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let kind = spec["type"].as_str().unwrap_or_default();
        let field = match kind {
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            "Pods" => "pods",
            "Object" => "object",
            "External" => "external",
            _ => {
                list.push("<unknown type>".to_string());
                continue;
            }
        };
        let current = |name: &str| statuses.get(index).and_then(|status| value::get(status, &[field, "current", name]));
        let target = &spec[field]["target"];
        let unknown = |text: String| text::or(&text, "<unknown>");
        let shown = if let Some(percent) = target["averageUtilization"].as_i64() {
            let now = current("averageUtilization").and_then(Value::as_i64).map(|percent| format!("{percent}%"));
            format!("{}/{percent}%", now.unwrap_or_else(|| "<unknown>".to_string()))
        } else if target.get("averageValue").is_some() {
            let average = if matches!(kind, "Object" | "External") { " (avg)" } else { "" };
            format!(
                "{}/{}{average}",
                unknown(text::plain(current("averageValue"))),
                text::plain(target.get("averageValue"))
            )
        } else {
            format!("{}/{}", unknown(text::plain(current("value"))), text::plain(target.get("value")))
        };
        list.push(match kind {
            "Resource" | "ContainerResource" => format!("{}: {shown}", text::plain(spec[field].get("name"))),
            _ => shown,
        });
    }
    match list.len() {
        0 => "<none>".to_string(),
        1 | 2 => list.join(", "),
        many => format!("{} + {} more...", list[..2].join(", "), many - 2),
    }
}
