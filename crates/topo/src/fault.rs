//! A topology server that fails as real ones do, on purpose: seeded, scripted, or by a switch.
//!
//! [`wrap`] puts the decorator around any handle and gives a [`Faults`] to steer it with. Every
//! answer keeps to the contract of [`Topo`]: errors are determinate, a mismatch is a real one, and a
//! write of unknown fate says so. What happens to a given call follows from the seed, the script and
//! the order of the calls alone.

mod decorator;
mod plan;
mod switch;

pub use plan::{Chances, Fault, Rule};

use crate::contract::Topo;
use crate::usage::Operation;
use plan::{Plan, Verdict};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use switch::Switch;

/// Puts the decorator around `inner`. Without further words it changes nothing.
pub fn wrap(inner: Arc<dyn Topo>, seed: u64) -> (Arc<dyn Topo>, Faults) {
    let faults = Faults(Arc::new(Inner { plan: Mutex::new(Plan::new(seed)), switch: Switch::default() }));
    (Arc::new(decorator::Faulty::new(inner, faults.clone())), faults)
}

/// Steers one decorator; clones steer the same one.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: Mutex<Plan>,
    switch: Switch,
}

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the server away (`false`) or gives it back. While it is away every call ends at once,
    /// and what was under way ends as it does when a connection is cut.
    pub fn set_available(&self, available: bool) {
        self.0.switch.set(available);
    }

    /// Takes the server away as long as a file exists at `path`: a switch for other processes.
    pub fn away_while_exists(&self, path: PathBuf) {
        self.0.switch.follow(path);
    }

    /// Whether the server is there now.
    pub fn is_available(&self) -> bool {
        self.0.switch.is_on()
    }

    /// How likely each fault is from now on, for calls that no rule meets.
    pub fn set_chances(&self, chances: Chances) {
        self.plan().chances = chances;
    }

    /// How long each call takes before it is sent; an empty range means no time.
    pub fn set_latency(&self, latency: Range<Duration>) {
        self.plan().latency = latency;
    }

    /// Adds a rule behind those that are there; each call meets the first that fits.
    pub fn add_rule(&self, rule: Rule) {
        self.plan().rules.push(rule);
    }

    /// Drops rules, chances and latency. Late writes still land.
    pub fn calm(&self) {
        let mut plan = self.plan();
        plan.rules.clear();
        plan.chances = Chances::default();
        plan.latency = Duration::ZERO..Duration::ZERO;
    }

    /// Lets all late writes land with the next call, whatever it is.
    pub fn land_late_writes(&self) {
        self.plan().hurry();
    }

    /// How often each fault has been met, by [`Fault::label`].
    pub fn met(&self) -> BTreeMap<&'static str, u64> {
        self.plan().met.clone()
    }

    fn judge(&self, operation: Operation, key: &str) -> Verdict {
        self.plan().judge(operation, key)
    }
}
