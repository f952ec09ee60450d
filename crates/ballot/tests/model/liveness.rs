//! That every script can still end: from each state that was reached, without further faults.

use crate::pages::PageWorld;
use crate::world::{Faults, League, State, Step, Stored};
use hansa_ballot::Document as _;
use hansa_ledger::{Envelope, Version};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// States from which all scripts are known to end. Runs without faults soon meet, so each is walked once.
#[derive(Default)]
pub struct Ended(Mutex<BTreeSet<u64>>);

/// After so many rounds without an end, nothing more is to come by itself.
const ROUNDS: usize = 60;

impl League {
    /// Whether all scripts end when everybody goes on in turn, without further faults. Whoever waits is told
    /// of the key once more, as after each connection that was lost: a read that was answered from before
    /// may have answered the last change that it was told of. Who has frozen because the store went back waits for
    /// a person, who says that what stands there counts; then all go on.
    pub fn ends(&self, state: &State) -> bool {
        let mut run = state.clone();
        run.faults = Faults::default();
        // Nobody waits for decisions in the page.
        run.page = PageWorld::default();
        for operator in &mut run.operators {
            std::sync::Arc::make_mut(operator).heard = None;
        }
        let mut passed = Vec::new();
        let mut raised = false;
        for round in 0.. {
            run.ghost = Default::default();
            run = run.seal();
            let known = self.ended.0.lock().expect("no check panics").contains(&run.digest);
            if known || self.has_ended(&run) {
                self.ended.0.lock().expect("no check panics").extend(passed);
                return true;
            }
            passed.push(run.digest);
            let goes_on = round < ROUNDS && self.round(&mut run);
            if goes_on {
                continue;
            }
            let frozen = |operator: &crate::world::Operator| {
                operator.proposer.as_ref().is_some_and(|one| one.frozen().is_some())
            };
            if raised || !run.rolled_back || !run.operators.iter().any(|operator| frozen(operator)) {
                return false;
            }
            raise_era(&mut run);
            raised = true;
            for _ in 0..ROUNDS {
                self.round(&mut run);
            }
        }
        unreachable!("rounds are bounded")
    }

    fn has_ended(&self, state: &State) -> bool {
        let mut scripts = state.operators.iter().zip(&self.scenario.scripts);
        scripts.all(|(operator, script)| operator.reached >= script.len())
    }

    /// Lets everything that can happen happen once. Returns whether there was anything.
    fn round(&self, state: &mut State) -> bool {
        let mut steps = Vec::new();
        self.all_steps(state, &mut steps);
        let any = !steps.is_empty();
        for step in steps {
            let still = match step {
                Step::Done(number) => state.operators[number].pending.is_some(),
                Step::Arrives(index) => index < state.late.len(),
                _ => true,
            };
            if still {
                self.take(state, step);
            }
        }
        any
    }
}

/// A person begins an era with what stands in the store.
fn raise_era(state: &mut State) {
    let Some(stored) = &state.stored else { return };
    let (envelope, ballots) = &*stored.opened;
    let era = envelope.era.next();
    let raised = Envelope { era, revision: envelope.revision.next(), nonce: !envelope.nonce, ..envelope.clone() };
    state.versions += 1;
    let value = raised.seal(&ballots.in_era(era).write());
    state.stored = Some(Stored::new(Version::new(state.versions.to_string()), value));
}
