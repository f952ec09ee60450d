//! What a scenario works with: the league, and a namespace of its own.

use crate::audit::told;
use crate::client::{Api, Resource};
use crate::cluster::Mark;
use crate::objects::{self, CONFIG_MAPS, DEPLOYMENTS, JOBS, NAMESPACES, REQUESTS, SECRETS, SERVICES, condition};
use crate::wait::{Seen, eventually};
use crate::world::World;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::rc::Rc;

/// The scene of one scenario.
pub struct Scene {
    /// The league.
    pub world: Rc<World>,
    /// The scenario's namespace.
    pub namespace: String,
    logs: Vec<u64>,
}

impl Scene {
    /// A scene for a scenario of this name.
    pub async fn new(world: Rc<World>, name: &str) -> Self {
        let mut logs = Vec::new();
        for member in &world.members {
            logs.push(member.operator.lock().await.end_of_log());
        }
        Scene { world, namespace: name.to_owned(), logs }
    }

    /// The administrator of a member.
    pub fn admin(&self, index: usize) -> &Api {
        &self.world.members[index].admin
    }

    /// Makes the scenario's namespace in a member, unless it stands there.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn make_namespace(&self, index: usize) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        let answer = self.admin(index).create(&NAMESPACES.collection(""), &namespace).await?;
        if answer.status != 409 {
            answer.ok()?;
        }
        Ok(())
    }

    /// Applies a federated object in a member, in the scenario's namespace.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn federate(&self, index: usize, resource: Resource, name: &str, spec: &Value) -> Result<Value> {
        self.make_namespace(index).await?;
        let object = objects::federated(resource, &self.namespace, name, spec);
        self.admin(index).apply(&resource.federated(&self.namespace, name), &object).await
    }

    /// A federated object of a member.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn home(&self, index: usize, resource: Resource, name: &str) -> Result<Option<Value>> {
        self.admin(index).find(&resource.federated(&self.namespace, name)).await
    }

    /// An output in a member.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn output(&self, index: usize, resource: Resource, name: &str) -> Result<Option<Value>> {
        self.admin(index).find(&resource.path(&self.namespace, name)).await
    }

    /// Waits until an output is as wanted.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn output_is(
        &self,
        index: usize,
        resource: Resource,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let member = self.world.members[index].name;
        eventually(&format!("{} {name} in {member} {what}", resource.kind), async || {
            Ok(match self.output(index, resource, name).await? {
                Some(output) if wanted(&output) => Seen::Yes(output),
                Some(output) => Seen::No(told_without_managers(&output)),
                None => Seen::No("it is not there".to_owned()),
            })
        })
        .await
    }

    /// Waits until an output is gone.
    ///
    /// # Errors
    /// When it stays.
    pub async fn output_goes(&self, index: usize, resource: Resource, name: &str) -> Result<()> {
        let member = self.world.members[index].name;
        eventually(&format!("{} {name} goes from {member}", resource.kind), async || {
            Ok(match self.output(index, resource, name).await? {
                None => Seen::Yes(()),
                Some(output) => Seen::No(told_without_managers(&output)),
            })
        })
        .await
    }

    /// Waits until a federated object's status, about its present generation, is as wanted.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn home_is(
        &self,
        index: usize,
        resource: Resource,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let member = self.world.members[index].name;
        eventually(&format!("Federated{} {name} in {member} {what}", resource.kind), async || {
            let Some(home) = self.home(index, resource, name).await? else {
                return Ok(Seen::No("it is not there".to_owned()));
            };
            let current = home["status"]["observedGeneration"] == home["metadata"]["generation"];
            Ok(if current && wanted(&home) { Seen::Yes(home) } else { Seen::No(told_status(&home)) })
        })
        .await
    }

    /// Waits until a federated object is agreed, applied and healthy wherever it is placed.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn settled(&self, index: usize, resource: Resource, name: &str) -> Result<Value> {
        self.home_is(index, resource, name, "is ready", |home| condition(home, "Ready").0 == "True").await
    }

    /// Waits until a condition of a federated object has this status and reason.
    ///
    /// # Errors
    /// When it does not.
    pub async fn condition_is(
        &self,
        index: usize,
        resource: Resource,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Result<Value> {
        let what = format!("says {kind}={status} {reason}");
        self.home_is(index, resource, name, &what, |home| {
            let found = condition(home, kind);
            (found.0, found.1) == (status, reason)
        })
        .await
    }

    /// Waits until the record is as wanted in the picture of a member's operator; `Null`: no record.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn record_is(
        &self,
        index: usize,
        resource: Resource,
        name: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let query = format!("/read/objects?type={}&namespace={}&name={name}", resource.type_name(), self.namespace);
        eventually(&format!("the record of {} {name} {what}", resource.kind), async || {
            let Some(found) = self.world.ask(index, &query).await? else {
                return Ok(Seen::No("the operator does not answer".to_owned()));
            };
            let record = found[0].clone();
            Ok(if wanted(&record) { Seen::Yes(record) } else { Seen::No(found.to_string()) })
        })
        .await
    }

    /// Waits until a Warning event about an object says why, in words that hold all of these; the objects
    /// of no namespace have theirs in `default`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn warned(
        &self,
        index: usize,
        namespace: &str,
        (kind, name): (&str, &str),
        reason: &str,
        words: &[&str],
    ) -> Result<()> {
        eventually(&format!("an event about {kind} {name} says {reason}"), async || {
            let events = self.admin(index).list(&format!("/api/v1/namespaces/{namespace}/events")).await?;
            let about =
                |event: &&Value| event["involvedObject"]["kind"] == kind && event["involvedObject"]["name"] == name;
            let says = |event: &Value| {
                let message = event["message"].as_str().unwrap_or_default();
                event["type"] == "Warning"
                    && event["reason"] == reason
                    && words.iter().all(|word| message.contains(word))
            };
            let mut events = events.iter().filter(about);
            let told: Vec<String> = events.clone().map(|event| event["message"].to_string()).collect();
            Ok(if events.any(says) { Seen::Yes(()) } else { Seen::No(told.join("\n")) })
        })
        .await
    }

    /// Asks a member's operator by a `Request` about a federated object of the scenario, and waits for
    /// the answer: its phase and its message.
    ///
    /// # Errors
    /// When the API server refuses the request, or no answer comes.
    pub async fn ask(
        &self,
        index: usize,
        action: &str,
        resource: Resource,
        name: &str,
        arguments: Value,
    ) -> Result<(String, String)> {
        let object = json!({"resource": resource.type_name(), "namespace": self.namespace, "name": name});
        self.request(index, &json!({"action": action, "object": object, "arguments": arguments})).await
    }

    /// Makes a `Request` about a federated object of the scenario that cannot be carried out yet, and waits
    /// until it says why, in words that hold all of these; gives its path.
    ///
    /// # Errors
    /// When the API server refuses it, or it is answered, or says something else.
    pub async fn asks_and_waits(
        &self,
        index: usize,
        (action, arguments): (&str, Value),
        (resource, name): (Resource, &str),
        words: &[&str],
    ) -> Result<String> {
        let object = json!({"resource": resource.type_name(), "namespace": self.namespace, "name": name});
        let path =
            self.make_request(index, &json!({"action": action, "object": object, "arguments": arguments})).await?;
        eventually(&format!("the request for {action} of {name} says what it waits for"), async || {
            let status = self.admin(index).get(&path).await?["status"].clone();
            let message = status["message"].as_str().unwrap_or_default();
            let says = status["phase"] == "Pending" && words.iter().all(|word| message.contains(word));
            Ok(if says { Seen::Yes(path.clone()) } else { Seen::No(status.to_string()) })
        })
        .await
    }

    async fn make_request(&self, index: usize, spec: &Value) -> Result<String> {
        self.make_namespace(index).await?;
        let collection = REQUESTS.collection(&self.namespace);
        let body = json!({
            "apiVersion": REQUESTS.api_version(), "kind": "Request",
            "metadata": {"generateName": "e2e-", "namespace": self.namespace}, "spec": spec,
        });
        let made = self.admin(index).create(&collection, &body).await?.ok()?;
        Ok(format!("{collection}/{}", made["metadata"]["name"].as_str().unwrap_or_default()))
    }

    /// Makes a `Request` with this spec, and waits for the answer: its phase and its message.
    ///
    /// # Errors
    /// When the API server refuses it, or no answer comes.
    pub async fn request(&self, index: usize, spec: &Value) -> Result<(String, String)> {
        let path = self.make_request(index, spec).await?;
        self.answered(index, &path).await
    }

    /// Waits for the answer to a `Request`: its phase and its message.
    ///
    /// # Errors
    /// When none comes.
    pub async fn answered(&self, index: usize, path: &str) -> Result<(String, String)> {
        eventually("the request is answered", async || {
            let status = self.admin(index).get(path).await?["status"].clone();
            let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
            let answered = matches!(status["phase"].as_str(), Some("Done" | "Refused"));
            Ok(if answered { Seen::Yes((text("phase"), text("message"))) } else { Seen::No(status.to_string()) })
        })
        .await
    }

    /// Deletes a federated object, and waits until its finalizer has let it go.
    ///
    /// # Errors
    /// When it stays.
    pub async fn delete(&self, index: usize, resource: Resource, name: &str) -> Result<()> {
        self.admin(index).delete(&resource.federated(&self.namespace, name)).await?;
        self.home_goes(index, resource, name).await
    }

    /// Waits until a federated object is gone.
    ///
    /// # Errors
    /// When it stays.
    pub async fn home_goes(&self, index: usize, resource: Resource, name: &str) -> Result<()> {
        let member = self.world.members[index].name;
        eventually(&format!("Federated{} {name} goes from {member}", resource.kind), async || {
            let home = self.home(index, resource, name).await?;
            Ok(home.map_or(Seen::Yes(()), |home| Seen::No(told_status(&home))))
        })
        .await
    }

    /// Waits until every operator that runs has nothing left to do.
    ///
    /// # Errors
    /// When one goes on.
    pub async fn quiet(&self) -> Result<()> {
        self.world.ready(crate::wait::PATIENCE).await
    }

    /// What the operator of a member wrote in the scenario's namespace since.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn writes(&self, index: usize, marks: &[Mark]) -> Result<Vec<crate::audit::Write>> {
        let mut writes = self.world.writes(index, marks).await?;
        writes.retain(|write| write.namespace == self.namespace);
        Ok(writes)
    }

    /// Proves that no operator deleted anything in the scenario's namespace since.
    ///
    /// # Errors
    /// When one did, with what.
    pub async fn no_deletes(&self, marks: &[Mark]) -> Result<()> {
        for index in 0..self.world.members.len() {
            let mut writes = self.writes(index, marks).await?;
            writes.retain(crate::audit::Write::is_delete);
            anyhow::ensure!(writes.is_empty(), "nothing was to be deleted, and these were:\n{}", told(&writes));
        }
        Ok(())
    }

    /// The lines of a member's operator since the scenario began.
    pub async fn log(&self, index: usize) -> Vec<String> {
        self.world.members[index].operator.lock().await.log_since(self.logs[index])
    }

    /// What stands in the scenario's namespace, and what the operators said, for a failure.
    pub async fn describe(&self) -> String {
        let mut text = String::new();
        for (index, member) in self.world.members.iter().enumerate() {
            for resource in [CONFIG_MAPS, DEPLOYMENTS, JOBS, SECRETS, SERVICES] {
                let homes = member.admin.list(&resource.federated_collection(&self.namespace)).await;
                for home in homes.unwrap_or_default().iter().take(5) {
                    text.push_str(&format!("{}: {}\n", member.name, told_status(home)));
                }
                let outputs = member.admin.list(&resource.collection(&self.namespace)).await;
                for output in outputs.unwrap_or_default().iter().take(5) {
                    let told: String = told_without_managers(output).chars().take(600).collect();
                    text.push_str(&format!("{}: {told}\n", member.name));
                }
            }
            let lines = self.log(index).await;
            for line in &lines[lines.len().saturating_sub(25)..] {
                text.push_str(&format!("{}: {line}\n", member.name));
            }
        }
        text
    }
}

/// An object without what fills pages.
pub fn told_without_managers(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object.to_string()
}

fn told_status(home: &Value) -> String {
    let metadata = &home["metadata"];
    json!({
        "kind": home["kind"], "name": metadata["name"], "generation": metadata["generation"],
        "finalizers": metadata["finalizers"], "deletionTimestamp": metadata["deletionTimestamp"],
        "status": home["status"],
    })
    .to_string()
}

/// The uid of an object.
///
/// # Errors
/// When it has none.
pub fn uid(object: &Value) -> Result<String> {
    object["metadata"]["uid"].as_str().map(str::to_owned).context("an object has a uid")
}
