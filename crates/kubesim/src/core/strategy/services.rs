//! What is special about Services: addresses and node ports are given out, kept and given back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::Context;
use crate::schema::FieldError;
use crate::value;

/// The ports that `NodePort` Services get.
const NODE_PORTS: RangeInclusive<i64> = 30_000..=32_767;

/// The network of Services, 10.96.0.0/16.
const NETWORK: &str = "10.96.";

/// What Services have been given.
#[derive(Debug, Default)]
pub struct Allocated {
    addresses: BTreeSet<String>,
    ports: BTreeSet<i64>,
}

impl Allocated {
    /// Takes note of what a Service holds, or gave back.
    pub fn follow(&mut self, before: Option<&Value>, after: Option<&Value>) {
        if let Some(service) = before {
            self.addresses.retain(|address| !addresses(service).contains(address));
            self.ports.retain(|port| !ports(service).contains(port));
        }
        if let Some(service) = after {
            self.addresses.extend(addresses(service));
            self.ports.extend(ports(service));
        }
    }
}

fn addresses(service: &Value) -> Vec<String> {
    let all = value::list(service, &["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
    all.filter(|address| *address != "None").map(String::from).collect()
}

fn ports(service: &Value) -> Vec<i64> {
    value::list(service, &["spec", "ports"])
        .iter()
        .filter_map(|port| port["nodePort"].as_i64())
        .filter(|port| *port > 0)
        .collect()
}

/// Gives a Service what its type needs, and takes away what it does not.
pub fn allocate(context: &mut Context, old: Option<&Value>, object: &mut Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = value::string(object, &["spec", "type"]).unwrap_or("ClusterIP").to_string();
    if kind == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            value::remove(object, &["spec", field]);
        }
    } else {
        allocate_address(context, old, object, &mut errors);
        let spec = value::object_at(object, &["spec"]);
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
        spec.entry("ipFamilyPolicy").or_insert_with(|| json!("SingleStack"));
    }
    let wants_ports = kind == "NodePort"
        || kind == "LoadBalancer" && value::boolean(object, &["spec", "allocateLoadBalancerNodePorts"]).unwrap_or(true);
    allocate_ports(context, old, object, wants_ports, &mut errors);
    let local = value::string(object, &["spec", "externalTrafficPolicy"]) == Some("Local");
    if kind == "LoadBalancer" && local {
        let checked = value::integer(object, &["spec", "healthCheckNodePort"]).unwrap_or(0);
        let before = old.and_then(|old| value::integer(old, &["spec", "healthCheckNodePort"]));
        if checked == 0 {
            let port = before.unwrap_or_else(|| free_port(context, &BTreeMap::new()));
            value::set(object, &["spec", "healthCheckNodePort"], json!(port));
        }
    } else {
        value::remove(object, &["spec", "healthCheckNodePort"]);
    }
    if kind == "ClusterIP" {
        for field in ["externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort"] {
            value::remove(object, &["spec", field]);
        }
    }
    errors
}

fn allocate_address(context: &mut Context, old: Option<&Value>, object: &mut Value, errors: &mut Vec<FieldError>) {
    let given = value::string(object, &["spec", "clusterIP"]).unwrap_or_default().to_string();
    let before = old.and_then(|old| value::string(old, &["spec", "clusterIP"])).unwrap_or_default().to_string();
    let address = match (given.as_str(), before.as_str()) {
        ("", "") => free_address(context),
        ("", before) => before.to_string(),
        ("None", _) => given.clone(),
        (given, before) => {
            if given.parse::<IpAddr>().is_err() {
                let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                errors.push(FieldError::invalid("spec.clusterIPs[0]", &json!(given), detail));
            } else if given != before && !given.starts_with(NETWORK) {
                let why = "the provided network does not match the current range";
                let detail = format!("failed to allocate IP {given}: {why}");
                errors.push(FieldError::invalid("spec.clusterIPs", &json!([given]), &detail));
            } else if given != before && context.core.services.addresses.contains(given) {
                let detail = "failed to allocate IP ".to_string() + given + ": provided IP is already allocated";
                errors.push(FieldError::invalid("spec.clusterIPs", &json!([given]), &detail));
            }
            given.to_string()
        }
    };
    value::set(object, &["spec", "clusterIP"], json!(address));
    let listed = value::list(object, &["spec", "clusterIPs"]);
    if listed.is_empty() || given.is_empty() {
        value::set(object, &["spec", "clusterIPs"], json!([address]));
    }
}

fn free_address(context: &mut Context) -> String {
    loop {
        let number = context.core.random.below(65_000) + 10;
        let address = format!("10.96.{}.{}", number / 256, number % 256);
        if !context.core.services.addresses.contains(&address) {
            return address;
        }
    }
}

fn allocate_ports(
    context: &mut Context,
    old: Option<&Value>,
    object: &mut Value,
    wanted: bool,
    errors: &mut Vec<FieldError>,
) {
    let before = old.map(|old| value::list(old, &["spec", "ports"]).to_vec()).unwrap_or_default();
    let held: Vec<i64> = old.map(ports).unwrap_or_default();
    // Ports of one number with several protocols share a node port.
    let mut taken: BTreeMap<i64, i64> = BTreeMap::new();
    let Some(list) = value::get_mut(object, &["spec", "ports"]).and_then(Value::as_array_mut) else { return };
    for (index, port) in list.iter_mut().enumerate() {
        let given = port["nodePort"].as_i64().unwrap_or(0);
        if !wanted {
            // A port that the client repeats from before is dropped with the type that needed it.
            if given == 0 || held.contains(&given) {
                value::remove(port, &["nodePort"]);
            }
            continue;
        }
        let number = if given > 0 {
            if !NODE_PORTS.contains(&given) {
                let detail = format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    NODE_PORTS.start(),
                    NODE_PORTS.end()
                );
                errors.push(FieldError::invalid(format!("spec.ports[{index}].nodePort"), &json!(given), &detail));
            } else if context.core.services.ports.contains(&given) && !held.contains(&given) {
                errors.push(FieldError::invalid(
                    format!("spec.ports[{index}].nodePort"),
                    &json!(given),
                    "provided port is already allocated",
                ));
            }
            given
        } else {
            let same = |was: &&Value| was["port"] == port["port"] && was["protocol"] == port["protocol"];
            match before.iter().find(same).and_then(|was| was["nodePort"].as_i64()) {
                Some(kept) => kept,
                None => match taken.get(&port["port"].as_i64().unwrap_or(0)) {
                    Some(shared) => *shared,
                    None => free_port(context, &taken),
                },
            }
        };
        taken.insert(port["port"].as_i64().unwrap_or(0), number);
        port["nodePort"] = json!(number);
    }
}

fn free_port(context: &mut Context, taken: &BTreeMap<i64, i64>) -> i64 {
    loop {
        let span = NODE_PORTS.end() - NODE_PORTS.start() + 1;
        let port = NODE_PORTS.start() + context.core.random.below(span as u64) as i64;
        if !context.core.services.ports.contains(&port) && !taken.values().any(|number| *number == port) {
            return port;
        }
    }
}

/// Whether a Service has a name outside of the cluster that its type does not use.
pub fn has_idle_name(object: &Value) -> bool {
    let text = |field: &str| value::string(object, &["spec", field]).unwrap_or_default();
    text("type") != "ExternalName" && !text("externalName").is_empty()
}

/// The rules for Services.
pub fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = value::string(object, &["spec", "type"]).unwrap_or("ClusterIP");
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported("spec.type", &json!(kind), &kinds));
    }
    let headless = value::string(object, &["spec", "clusterIP"]) == Some("None");
    let ports = value::list(object, &["spec", "ports"]);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if kind == "ExternalName" && value::string(object, &["spec", "externalName"]).unwrap_or_default().is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    }
    if headless && kind != "ClusterIP" {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", &json!("None"), &detail));
    }
    let mut names = BTreeSet::new();
    let mut pairs = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else if !name.is_empty() && !names.insert(name.to_string()) {
            errors.push(FieldError::duplicate(format!("{field}.name"), &json!(name)));
        }
        let number = port["port"].as_i64().unwrap_or(0);
        if !(1..=65_535).contains(&number) {
            errors.push(FieldError::invalid(
                format!("{field}.port"),
                &json!(number),
                "must be between 1 and 65535, inclusive",
            ));
        }
        if let Some(target) = port["targetPort"].as_i64().filter(|target| !(1..=65_535).contains(target)) {
            let field = format!("{field}.targetPort");
            errors.push(FieldError::invalid(field, &json!(target), "must be between 1 and 65535, inclusive"));
        }
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
            errors.push(FieldError::not_supported(
                format!("{field}.protocol"),
                &json!(protocol),
                &["SCTP", "TCP", "UDP"],
            ));
        }
        if !pairs.insert((number, protocol.to_string())) {
            errors.push(FieldError::duplicate(field, &json!({ "port": number, "protocol": protocol })));
        }
    }
    errors
}

/// What an update of a Service may not do.
pub fn changes(old: &Value, new: &Value) -> Vec<FieldError> {
    let external = |object: &Value| value::string(object, &["spec", "type"]) == Some("ExternalName");
    if external(old) || external(new) {
        return Vec::new();
    }
    let (was, is) = (&old["spec"]["clusterIPs"], &new["spec"]["clusterIPs"]);
    if was.is_null() || was == is && old["spec"]["clusterIP"] == new["spec"]["clusterIP"] {
        return Vec::new();
    }
    vec![FieldError::invalid("spec.clusterIPs[0]", &json!([new["spec"]["clusterIP"]]), "may not change once set")]
}
