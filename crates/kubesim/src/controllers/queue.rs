//! Tasks that are ready, and tasks that wait for their time.

use std::collections::BTreeSet;

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
}

/// The queue of all controllers.
#[derive(Debug, Default)]
pub(crate) struct Controllers {
    ready: BTreeSet<Task>,
    timers: BTreeSet<(Millis, Task)>,
}

impl Controllers {
    /// Adds a task to do now.
    pub fn add(&mut self, task: Task) {
        self.ready.insert(task);
    }

    /// The next task that is ready or due.
    pub fn next(&mut self, now: Millis) -> Option<Task> {
        while let Some(due) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.timers.remove(&due);
            self.ready.insert(due.1);
        }
        self.ready.pop_first()
    }

    /// When there is something to do.
    pub fn wake(&self, now: Millis) -> Option<Millis> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.timers.first().map(|(at, _)| *at)
    }
}
