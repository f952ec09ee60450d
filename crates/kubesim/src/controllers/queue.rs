//! Tasks that are ready, and tasks that wait for their time.

use std::collections::{BTreeMap, BTreeSet};

use super::nodes::Usage;
use crate::core::selector::LabelSelector;
use crate::core::store::{Key, ResourceId};
use crate::core::time::Millis;

/// Something to do. What is told twice is done once; the order is that of the variants, so that
/// equal runs do equal things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Establish a CustomResourceDefinition, or see its objects off.
    Definition(Key),
    /// Furnish a namespace, or empty it.
    Namespace(Key),
    /// Do for an object that is being deleted what its garbage collection finalizers want.
    Finalize(ResourceId, Key),
    /// Delete an object whose owners are gone.
    Collect(ResourceId, Key),
    /// Roll a Deployment out.
    Deployment(Key),
    /// Keep a ReplicaSet's number of pods.
    ReplicaSet(Key),
    /// Keep a StatefulSet's pods in order.
    StatefulSet(Key),
    /// Keep a DaemonSet's pod on every node.
    DaemonSet(Key),
    /// Run a Job.
    Job(Key),
    /// Bind a claim, or let it go.
    Claim(Key),
    /// Find a node for a pod.
    Schedule(Key),
    /// Take a pod one step on.
    Pod(Key),
    /// Bring a Service's endpoints up to date.
    Service(Key),
    /// Count a disruption budget.
    Budget(Key),
    /// Bring an autoscaler's status up to date.
    Autoscaler(Key),
    /// Drop an event that is an hour old.
    Event(Key),
}

/// The queue of all controllers, and what they keep in mind between tasks.
#[derive(Debug, Default)]
pub(crate) struct Controllers {
    ready: BTreeSet<Task>,
    timers: BTreeSet<(Millis, Task)>,
    /// What the pods on each node ask for.
    pub usage: Usage,
    /// Pods that no node has room for.
    pub pending: BTreeSet<Key>,
    /// What each Service selects.
    pub services: BTreeMap<Key, LabelSelector>,
    /// What each disruption budget selects.
    pub budgets: BTreeMap<Key, LabelSelector>,
    /// The kind and name that each autoscaler looks at.
    pub autoscalers: BTreeMap<Key, (String, String)>,
    /// When pods began to start; objects tell whole seconds only.
    pub starting: BTreeMap<Key, Millis>,
    /// When pods started that may still become ready, or end.
    pub started: BTreeMap<Key, Millis>,
    /// When pods were seen to be deleted.
    pub stopping: BTreeMap<Key, Millis>,
    /// When pods failed last.
    pub crashed: BTreeMap<Key, Millis>,
}

impl Controllers {
    /// Adds a task to do now.
    pub fn add(&mut self, task: Task) {
        self.ready.insert(task);
    }

    /// Adds a task to do now, if there is one.
    pub fn add_some(&mut self, task: Option<Task>) {
        self.ready.extend(task);
    }

    /// Adds a task to do later.
    pub fn add_at(&mut self, at: Millis, task: Task) {
        self.timers.insert((at, task));
    }

    /// The next task that is ready or due.
    pub fn next(&mut self, now: Millis) -> Option<Task> {
        while let Some(due) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.timers.remove(&due);
            self.ready.insert(due.1);
        }
        self.ready.pop_first()
    }

    /// Forgets a pod that is gone.
    pub fn forget_pod(&mut self, key: &Key) {
        for times in [&mut self.starting, &mut self.started, &mut self.stopping, &mut self.crashed] {
            times.remove(key);
        }
    }

    /// When there is something to do.
    pub fn wake(&self, now: Millis) -> Option<Millis> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.timers.first().map(|(at, _)| *at)
    }
}

/// The entries of a map whose keys are in a namespace.
pub(crate) fn in_namespace<'a, V>(
    map: &'a BTreeMap<Key, V>,
    namespace: Option<&str>,
) -> impl Iterator<Item = (&'a Key, &'a V)> + use<'a, V> {
    let prefix = format!("{}/", namespace.unwrap_or_default());
    map.range::<str, _>((std::ops::Bound::Included(prefix.as_str()), std::ops::Bound::Unbounded)).take_while({
        let prefix = prefix.clone();
        move |(key, _)| key.starts_with(&prefix)
    })
}
