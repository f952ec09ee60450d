//! Jobs: pods that end, until enough have ended well.

use serde_json::{Value, json};

use super::queue::Task;
use super::workload::{Pod, controller_reference, pod_of, set_counts};
use crate::core::Core;
use crate::core::delete::{DeleteOptions, Propagation};
use crate::core::store::{Key, Object};
use crate::core::strategy::{condition, set_condition};
use crate::core::time;
use crate::value;

const ID: &str = "jobs.batch";
const COMPONENT: &str = "job-controller";

impl Core {
    pub(super) fn tend_job(&mut self, key: &Key) {
        let Some(live) = self.store.get(ID, key).cloned().filter(|live| !live.deleting) else { return };
        let job = live.value();
        let ended = |name: &str| condition(&job, name).is_some_and(|condition| condition["status"] == "True");
        if ended("Complete") || ended("Failed") {
            return self.expire_job(&live, &job);
        }
        let number = |field: &str| value::integer(&job, &["spec", field]);
        let pods = self.pods_of(&live);
        let active: Vec<&Pod> = pods.iter().filter(|pod| pod.is_active()).collect();
        let phase = |pod: &&Pod, phase: &str| value::string(&pod.body, &["status", "phase"]) == Some(phase);
        let succeeded = pods.iter().filter(|pod| phase(pod, "Succeeded")).count() as i64;
        let failed = pods.iter().filter(|pod| phase(pod, "Failed")).count() as i64;
        let parallelism = number("parallelism").unwrap_or(1);
        let suspended = value::boolean(&job, &["spec", "suspend"]) == Some(true);
        let exceeded = failed > number("backoffLimit").unwrap_or(6);
        let running = active.len() as i64;
        let (complete, wanted) = match number("completions") {
            Some(completions) => (succeeded >= completions, parallelism.min(completions - succeeded)),
            // A work queue: once a worker has succeeded there is nothing more to begin, and the
            // others end by themselves.
            None => (succeeded > 0 && running == 0, if succeeded > 0 { running } else { parallelism }),
        };
        let wanted = if suspended || exceeded || complete { 0 } else { wanted };
        let missing = wanted - running;
        for _ in 0..missing.max(0) {
            if !self.create_worker(&live, &job) {
                break;
            }
        }
        for pod in active.iter().take(usize::try_from(-missing).unwrap_or(0)) {
            self.delete_pod(&pod.object, ID, &live, COMPONENT);
        }
        self.job_status(key, &job, &Tally { succeeded, failed, complete, exceeded, suspended });
    }

    fn create_worker(&mut self, live: &Object, job: &Value) -> bool {
        let reference = controller_reference("batch/v1", "Job", live);
        let mut pod = pod_of(&job["spec"]["template"], live.namespace.as_deref().unwrap_or_default(), &reference);
        value::set(&mut pod, &["metadata", "generateName"], json!(format!("{}-", live.name)));
        let made = self.create_pod(pod, ID, live, COMPONENT).is_ok();
        if !made {
            self.controllers.add_at(self.now + 5000, Task::Job(live.key()));
        }
        made
    }

    fn job_status(&mut self, key: &Key, job: &Value, tally: &Tally) {
        let Some(live) = self.store.get(ID, key).cloned() else { return };
        let pods = self.pods_of(&live);
        let active = pods.iter().filter(|pod| pod.is_active()).count() as i64;
        let ready = pods.iter().filter(|pod| pod.is_active() && pod.is_ready()).count() as i64;
        let terminating = pods.iter().filter(|pod| pod.object.deleting).count() as i64;
        let now = self.now;
        let started = value::string(job, &["status", "startTime"]).is_some();
        self.set_status(ID, key, |job| {
            set_counts(
                job,
                &[("ready", ready), ("terminating", terminating)],
                &[("active", active), ("succeeded", tally.succeeded), ("failed", tally.failed)],
            );
            value::set(job, &["status", "uncountedTerminatedPods"], json!({}));
            if !started && !tally.suspended {
                value::set(job, &["status", "startTime"], json!(time::seconds(now)));
            }
            if tally.suspended {
                set_condition(job, "Suspended", true, "JobSuspended", "Job suspended", now);
                value::remove(job, &["status", "startTime"]);
            } else if condition(job, "Suspended").is_some_and(|suspended| suspended["status"] == "True") {
                set_condition(job, "Suspended", false, "JobResumed", "Job resumed", now);
            }
            if tally.complete {
                let message = "Reached expected number of succeeded pods";
                set_condition(job, "SuccessCriteriaMet", true, "CompletionsReached", message, now);
                set_condition(job, "Complete", true, "CompletionsReached", message, now);
                value::set(job, &["status", "completionTime"], json!(time::seconds(now)));
            } else if tally.exceeded {
                let message = "Job has reached the specified backoff limit";
                set_condition(job, "FailureTarget", true, "BackoffLimitExceeded", message, now);
                set_condition(job, "Failed", true, "BackoffLimitExceeded", message, now);
            }
        });
        if tally.complete {
            self.event(ID, key, "Normal", "Completed", "Job completed", COMPONENT);
        } else if tally.exceeded {
            self.event(
                ID,
                key,
                "Warning",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
                COMPONENT,
            );
        }
    }

    /// Deletes a finished Job when its time is over.
    fn expire_job(&mut self, live: &std::sync::Arc<Object>, job: &Value) {
        let Some(kept) = value::integer(job, &["spec", "ttlSecondsAfterFinished"]).and_then(|n| u64::try_from(n).ok())
        else {
            return;
        };
        let ended = ["Complete", "Failed"]
            .iter()
            .find_map(|name| condition(job, name)?["lastTransitionTime"].as_str().and_then(time::parse));
        let at = ended.unwrap_or(self.now) + kept * 1000;
        if at > self.now {
            return self.controllers.add_at(at, Task::Job(live.key()));
        }
        let Some(resource) = self.registry.by_id(ID).cloned() else { return };
        let how = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        if let Err(error) = self.delete_object(&resource, live, &how, false) {
            tracing::debug!(%error, "a finished Job stays");
        }
    }
}

struct Tally {
    succeeded: i64,
    failed: i64,
    complete: bool,
    exceeded: bool,
    suspended: bool,
}
