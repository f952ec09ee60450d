//! Where the service proxy goes for a Service.

use std::net::SocketAddr;

use serde_json::Value;

use super::Core;
use super::access::Attributes;
use super::error::ApiError;
use super::http::User;
use super::store;
use crate::value;

/// The annotation by which a Service names the local address that stands for it.
pub const ADDRESS: &str = "kubesim.hansa.dev/address";

impl Core {
    /// The local address of a Service's port, for a user who may use the proxy.
    ///
    /// # Errors
    ///
    /// 403 for a user who may not, 404 for a Service that is not there, 503 for one that nothing
    /// local stands behind.
    pub fn proxied_service(
        &mut self,
        user: &User,
        verb: &str,
        namespace: &str,
        name: &str,
        port: &str,
    ) -> Result<SocketAddr, ApiError> {
        let wish = Attributes { verb, group: "", resource: "services", subresource: "proxy", namespace, name };
        self.config.access.check(user, &wish)?;
        self.audit.count(&user.name, verb, "services/proxy");
        let live = self
            .store
            .get("services", &store::key(Some(namespace), name))
            .ok_or_else(|| ApiError::not_found("", "services", name))?;
        let service = live.value();
        if let Some(address) = value::string(&service, &["metadata", "annotations", ADDRESS]) {
            return address.parse().map_err(|_| {
                ApiError::bad_request(format!("the annotation {ADDRESS} of Service {name:?} is {address:?}; it must be an address such as 127.0.0.1:8080"))
            });
        }
        let ports = value::list(&service, &["spec", "ports"]);
        let wished = ports.iter().find(|entry| match port {
            "" => ports.len() == 1,
            port => entry["name"] == port || entry["port"].as_u64().is_some_and(|number| number.to_string() == port),
        });
        let Some(wished) = wished else {
            return Err(ApiError::unavailable(format!("no service port {port:?} found for service {name:?}")));
        };
        let port_name = wished["name"].as_str().unwrap_or_default();
        let mut simulated = false;
        for slice in self.store.list("endpointslices.discovery.k8s.io", Some(namespace)) {
            if slice.labels.get("kubernetes.io/service-name").map(String::as_str) != Some(name) {
                continue;
            }
            let slice = slice.value();
            let number = value::list(&slice, &["ports"])
                .iter()
                .find(|entry| entry["name"].as_str().unwrap_or_default() == port_name)
                .and_then(|entry| entry["port"].as_u64());
            for endpoint in value::list(&slice, &["endpoints"]) {
                let ready = value::boolean(endpoint, &["conditions", "ready"]).unwrap_or(true);
                let address = value::list(endpoint, &["addresses"]).first().and_then(Value::as_str);
                let (true, Some(address), Some(number)) = (ready, address, number) else { continue };
                match format!("{address}:{number}").parse::<SocketAddr>() {
                    Ok(address) if address.ip().is_loopback() => return Ok(address),
                    _ => simulated = true,
                }
            }
        }
        Err(ApiError::unavailable(match simulated {
            false => format!("no endpoints available for service {name:?}"),
            true => format!(
                "the endpoints of service {name:?} are simulated pods; set the annotation {ADDRESS} to a local address"
            ),
        }))
    }
}
