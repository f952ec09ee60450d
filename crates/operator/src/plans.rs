//! Plans: what every member would do, asked before it is done. See [`hansa_ledger::plan`].
//!
//! ```text
//! Request (Plan) ─▶ slot in topo ─▶ each operator: course ─▶ trial, by dry runs ─▶ its word beside ─▶ findings ─▶ Request
//! ```
//!
//! | Module | Holds |
//! |---|---|
//! | [`asking`] | the side of the operator that was asked: slots, whose word is waited for, findings |
//! | [`answering`] | the side of each operator that sees a plan, one plan after another |
//! | [`course`] | what this member would do about an object, from the picture alone |
//! | [`trial`] | the dry runs of one output, and what their answers mean: a pure machine |
//!
//! Nothing of it is kept: an operator that starts anew answers the plans that come after its start, and asks again for
//! the Requests that are still open. Without plans there is no request of it, neither to the API server nor
//! to the topology server. An operator that only observes answers, too: its word is its own status. One
//! that is frozen says so. A release that knows no plans says nothing, and is shown as silent.

mod answering;
mod asking;
mod course;
#[cfg(test)]
mod tests;
mod trial;

use crate::io::{TopoAnswer, TopoRequest};
use crate::machine::Operator;
use crate::topology::TopoCall;
pub(crate) use asking::{Wanted, summary};

/// Plans that were asked for here, and plans that are answered here.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    asking: asking::Asking,
    answering: answering::Answering,
}

/// What a call of the topology server is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum PlanCall {
    /// Is this slot free?
    Look(u32),
    /// A plan is put into it.
    Place(u32),
    /// It is given back.
    Free(u32),
    /// This member's word about the plan in it.
    Say(u32),
}

impl PlanCall {
    /// Whether it may change something.
    pub fn writes(self) -> bool {
        !matches!(self, PlanCall::Look(_))
    }
}

impl Plans {
    /// Whether nothing is left to be done but to hear others.
    pub fn is_idle(&self) -> bool {
        self.asking.is_idle() && self.answering.is_idle()
    }

    /// The calls under way are forgotten, for an era began.
    pub fn begin_anew(&mut self) {
        self.asking.begin_anew();
        self.answering.begin_anew();
    }
}

impl Operator {
    /// Goes on with whatever can go on.
    pub(crate) fn continue_plans(&mut self) {
        if self.plans.is_idle() || !self.topology.is_writable() || self.league.is_none() {
            return;
        }
        self.continue_asking();
        self.continue_answering();
    }

    pub(crate) fn plan_called(&mut self, call: PlanCall, answer: TopoAnswer) {
        match (call, answer) {
            (PlanCall::Look(slot), TopoAnswer::Values(mut values)) => self.slot_read(slot, values.pop().flatten()),
            (PlanCall::Place(slot), TopoAnswer::Swapped(swap)) => self.plan_placed(slot, swap),
            (PlanCall::Free(slot), TopoAnswer::Swapped(swap)) => self.slot_freed(slot, swap),
            (PlanCall::Say(slot), TopoAnswer::Swapped(swap)) => self.words_written(slot, swap),
            // No other answer fits its call.
            (PlanCall::Look(_) | PlanCall::Place(_) | PlanCall::Free(_) | PlanCall::Say(_), _) => {}
        }
    }

    /// A call that failed, as it is made again; `None` when it is not wanted any more.
    pub(crate) fn repeated_plan_call(&mut self, call: PlanCall) -> Option<TopoRequest> {
        match call {
            PlanCall::Look(slot) => Some(asking::look(slot)),
            PlanCall::Place(_) => self.plans.asking.repeated(),
            PlanCall::Free(slot) => self.plans.asking.repeated_freeing(slot),
            PlanCall::Say(slot) => self.plans.answering.repeated(slot),
        }
    }

    fn call_for_plan(&mut self, call: PlanCall, request: TopoRequest) {
        let call = TopoCall::Plan(call);
        // Where another history stands, a version may mean another value: it goes when that is this league's again.
        if call.writes() && !self.topology.is_believed() {
            return self.call_again(call);
        }
        self.topo(call, request);
    }
}
