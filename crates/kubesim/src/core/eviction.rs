//! Subresources of pods that act: eviction within a disruption budget, and binding to a node.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Core;
use super::body;
use super::delete::DeleteOptions;
use super::encode::Output;
use super::error::{ApiError, Cause};
use super::http::{Request, Response};
use super::options::WriteOptions;
use super::route::Target;
use super::selector::LabelSelector;
use super::store::Object;
use super::strategy;
use crate::value;

impl Core {
    /// `POST pods/<name>/eviction`.
    pub(super) fn evict(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let eviction = body::decode(request, "Eviction")?.value;
        let live = self.find(target)?;
        let pod = live.value();
        let mut covering = Vec::new();
        for budget in self.store.list("poddisruptionbudgets.policy", target.namespace.as_deref()) {
            let value = budget.value();
            if LabelSelector::from_object(value::get(&value, &["spec", "selector"])).matches(&live.labels) {
                covering.push((budget.clone(), value));
            }
        }
        if covering.len() > 1 {
            return Err(ApiError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        let counts = !strategy::is_finished(&pod) && strategy::is_ready(&pod) && !live.deleting;
        if let Some((budget, mut value)) = covering.pop()
            && counts
        {
            self.disrupt(&budget, &mut value, options.dry_run, &live.name)?;
        }
        let how = DeleteOptions {
            grace: value::integer(&eviction, &["deleteOptions", "gracePeriodSeconds"]),
            uid: value::string(&eviction, &["deleteOptions", "preconditions", "uid"]).map(String::from),
            ..DeleteOptions::default()
        };
        let dry_run = options.dry_run || !value::list(&eviction, &["deleteOptions", "dryRun"]).is_empty();
        self.delete_object(&target.resource, &live, &how, dry_run)?;
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        Ok(output.respond(201, Bytes::from(status.to_string())))
    }

    /// Takes one disruption out of a budget, or refuses.
    fn disrupt(&mut self, budget: &Object, value: &mut Value, dry_run: bool, pod: &str) -> Result<(), ApiError> {
        let refuse = |message: String| {
            let cause = Cause::new("DisruptionBudget", "", message);
            ApiError::too_many_requests(
                "Cannot evict pod as it would violate the pod's disruption budget.",
                Some(cause),
            )
        };
        let generation = value::integer(value, &["metadata", "generation"]).unwrap_or(0);
        if value::integer(value, &["status", "observedGeneration"]).unwrap_or(0) < generation {
            return Err(refuse(format!(
                "The disruption budget {} is still being processed by the server.",
                budget.name
            )));
        }
        let allowed = value::integer(value, &["status", "disruptionsAllowed"]).unwrap_or(0);
        if allowed < 1 {
            let need = value::integer(value, &["status", "desiredHealthy"]).unwrap_or(0);
            let have = value::integer(value, &["status", "currentHealthy"]).unwrap_or(0);
            return Err(refuse(format!(
                "The disruption budget {} needs {need} healthy pods and has {have} currently",
                budget.name
            )));
        }
        if !dry_run {
            value::set(value, &["status", "disruptionsAllowed"], json!(allowed - 1));
            let now = super::time::seconds(self.now);
            value::set(value, &["status", "disruptedPods", pod], json!(now));
            self.store.put(&"poddisruptionbudgets.policy".into(), value.clone(), 0);
        }
        Ok(())
    }

    /// `POST pods/<name>/binding`.
    pub(super) fn bind(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let binding = body::decode(request, "Binding")?.value;
        let node = value::string(&binding, &["target", "name"]).unwrap_or_default().to_string();
        let live = self.find(target)?;
        let mut pod = live.value();
        if let Some(current) = value::string(&pod, &["spec", "nodeName"]).filter(|name| !name.is_empty()) {
            let why = format!("pod {} is already assigned to node {current:?}", live.name);
            return Err(ApiError::conflict("", "pods/binding", &live.name, &why));
        }
        if !options.dry_run {
            value::set(&mut pod, &["spec", "nodeName"], json!(node));
            strategy::set_condition(&mut pod, "PodScheduled", true, "", "", self.now);
            self.overwrite(&target.resource.id, pod, live.revision);
        }
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        Ok(output.respond(201, Bytes::from(status.to_string())))
    }
}
