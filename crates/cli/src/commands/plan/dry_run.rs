//! Strict dry runs in the member at hand: of the federated object, and of its output.

use crate::cluster::{Body, CallError, Cluster, MANAGER, Verb};
use crate::plan::{Asked, Effect, ObjectPlan, Standing};
use crate::rendering::Rendering;
use crate::resource::Resource;
use hansa_model::MemberName;
use hansa_operator::observed::MANAGER as OPERATOR;
use hansa_render::LEAGUE_LABEL;
use serde_json::Value;

/// Asks the API server of one member.
pub struct DryRuns {
    cluster: Cluster,
    member: Option<MemberName>,
}

impl DryRuns {
    /// In the cluster of this member; `None` when it is not known which one it is.
    pub fn new(cluster: Cluster, member: Option<MemberName>) -> Self {
        DryRuns { cluster, member }
    }

    /// The member at hand.
    pub fn member(&self) -> Option<&MemberName> {
        self.member.as_ref()
    }

    /// Tries the federated object. `namespace_is_made`: the input makes the namespace, so that it need
    /// not be there.
    pub async fn try_federated(&self, plan: &mut ObjectPlan, object: &Value, namespace_is_made: bool) {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in ["managedFields", "resourceVersion", "uid", "generation", "creationTimestamp"] {
                metadata.remove(field);
            }
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        let query = format!("dryRun=All&fieldManager={MANAGER}&fieldValidation=Strict&force=true");
        let tried =
            self.cluster.request(Verb::Patch, &Resource::federated(&plan.key), &query, Body::Apply(&object)).await;
        match tried {
            Ok(answer) => plan.notes.extend(answer.warnings),
            Err(error) if is_namespace(&error) => {
                if !namespace_is_made {
                    plan.refuse(format!("metadata.namespace: {}: make the namespace first", error.message()));
                }
            }
            Err(error) => plan.refuse(error.to_string()),
        }
    }

    /// Tries the output for the member at hand, with the user's own rights.
    pub async fn try_output(&self, plan: &mut ObjectPlan, rendering: &Rendering, output: Option<&Value>) {
        // What is refused as a whole gives no outputs.
        if plan.members.is_empty() {
            return;
        }
        let Some(member) = self.member.clone() else {
            return plan.notes.push("it is not known which member this cluster is: no output was tried".to_owned());
        };
        let Some(output) = output else { return };
        let resource = Resource::target(&plan.key, &rendering.version);
        if plan.members.get(&member).is_some_and(|member| member.effect == Effect::Add)
            && let Ok(Some(standing)) = self.cluster.find(&resource).await
            && standing["metadata"]["labels"][LEAGUE_LABEL].is_null()
        {
            plan.notes.push(format!(
                "in {member}, an object of this name stands already: spec.adoption says what becomes of it"
            ));
        }
        let query = format!("dryRun=All&fieldManager={OPERATOR}&fieldValidation=Strict");
        let tried = self.cluster.request(Verb::Patch, &resource, &query, Body::Apply(output)).await;
        let (standing, message) = match tried {
            Ok(answer) => (Standing::Accepted, answer.warnings.join("; ")),
            Err(error) if is_namespace(&error) => {
                (Standing::NotTried, "its namespace is made with the first output".to_owned())
            }
            Err(error) if error.is_forbidden() => (Standing::NotTried, error.to_string()),
            // The operator takes back what drifted, and yields what others keep.
            Err(error) if error.is_stale() => (Standing::Accepted, error.message().to_owned()),
            Err(error) => {
                plan.refuse_in(&member, error.message());
                return;
            }
        };
        plan.asked.insert(member, Asked::plain(standing, &message));
    }
}

/// The namespace is not there (yet), or is going.
fn is_namespace(error: &CallError) -> bool {
    error.is_missing() && error.message().starts_with("namespaces ")
}
