//! A page beside the ballots: who is appointed to it by the document that it knows decides in it, with the
//! production fence. Processes that have crashed still may: nobody knows whether an earlier start has ended.

use crate::sabotage::Sabotage;
use crate::scenarios::Scenario;
use crate::world::{League, State, Step};
use hansa_ledger::cell::Made;
use hansa_ledger::mutation::{Change, Mutation, apply};
use hansa_ledger::page::Page;
use hansa_model::{Incarnation, RecordKey, Revision, Term};
use std::fmt;

/// The page, and decisions on their way to it.
#[derive(Clone, Default)]
pub struct PageWorld {
    pub page: Option<Page>,
    revision: u64,
    pub writers: Vec<Writer>,
    /// How many decisions may still be begun.
    left: u8,
    /// Somebody's decision was refused by the fence.
    pub refused: bool,
}

/// A process with a decision.
#[derive(Clone, Debug)]
pub struct Writer {
    number: usize,
    start: u64,
    term: Term,
    /// The page that it is made on, and its revision.
    on: u64,
    next: Page,
}

impl PageWorld {
    pub fn new(scenario: &Scenario) -> Self {
        if scenario.decisions == 0 {
            return PageWorld::default();
        }
        let hash = "0".repeat(64);
        let record = format!(
            r#"{{"format":1,"incarnation":1,"revision":1,"intent":{{"hash":"{hash}","author":"a","body":{{"inline":{{}}}}}}}}"#
        );
        // A record for each start of each: no decision is unneeded because another one was made.
        let keys = (0..scenario.signers.len()).flat_map(|number| (1..=MAX_STARTS).map(move |start| key(number, start)));
        let records: Vec<String> = keys.map(|key| format!(r#""{key}":{record}"#)).collect();
        let text = format!(r#"{{"format":1,"header":{{"term":0}},"records":{{{}}}}}"#, records.join(","));
        let page = Page::from_slice(text.as_bytes()).expect("a page");
        PageWorld { page: Some(page), left: scenario.decisions, ..PageWorld::default() }
    }
}

impl fmt::Debug for PageWorld {
    /// What tells two of them apart: the records differ in their waves only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |page: &Page| {
            let waves: Vec<u32> = page.records.values().filter_map(|slot| Some(slot.record()?.open_wave())).collect();
            format!("{:?}{waves:?}", page.header)
        };
        write!(f, "{:?}{}{}{}", self.page.as_ref().map(show), self.revision, self.left, self.refused)?;
        for Writer { number, start, term, on, next } in &self.writers {
            write!(f, "{number}/{start}/{term}/{on}/{}", show(next))?;
        }
        Ok(())
    }
}

/// No operator starts more often than this.
const MAX_STARTS: u64 = 4;

fn key(number: usize, start: u64) -> RecordKey {
    format!("configmaps/shop/of-{number}-{start}").parse().expect("a key")
}

impl League {
    pub fn page_steps(&self, state: &State, steps: &mut Vec<Step>) {
        steps.extend((0..state.page.writers.len()).map(Step::Lands));
        if state.page.left == 0 {
            return;
        }
        for (number, operator) in state.operators.iter().enumerate() {
            let writes = |writer: &Writer| writer.number == number && writer.start == operator.incarnation;
            if self.term(state, number).is_some() && !state.page.writers.iter().any(writes) {
                steps.push(Step::Decides(number));
            }
        }
    }

    /// The term under which an operator takes itself to be appointed to the page.
    fn term(&self, state: &State, number: usize) -> Option<Term> {
        let known = state.operators[number].proposer.as_ref()?.document()?;
        let seat = known.appointments.page(0)?;
        (seat.member.as_ref() == Some(self.scenario.signers[number].member())).then_some(seat.term)
    }

    /// An appointee looks at the page, and makes a decision on it.
    pub fn decides_in_page(&self, state: &mut State, number: usize) {
        let Some(term) = self.term(state, number) else { return };
        let start = state.operators[number].incarnation;
        state.page.left -= 1;
        self.decide(state, number, start, term);
    }

    /// A decision comes to the page; on another page than it was made on, it is judged again.
    pub fn lands_in_page(&self, state: &mut State, writer: usize) {
        let Writer { number, start, term, on, next } = state.page.writers.remove(writer);
        if on != state.page.revision {
            return self.decide(state, number, start, term);
        }
        state.page.revision += 1;
        state.page.page = Some(next);
        state.ghost.decides(term, number, start);
    }

    fn decide(&self, state: &mut State, number: usize, start: u64, term: Term) {
        let world = &mut state.page;
        let Some(mut next) = world.page.clone() else { return };
        let key = key(number, start);
        let wave = next.record(&key).map_or(0, |record| record.open_wave()) + 1;
        let under = match self.sabotage {
            Some(Sabotage::SeesNoFence) if next.header.member.is_some() => {
                (next.header.term, next.header.start.unwrap_or_default())
            }
            // It takes a later start's mark for a clock that was set back, and goes on from there.
            Some(Sabotage::OutbidsItsLaterStart) => {
                let own = Incarnation(start);
                (term, next.header.start.filter(|later| *later > own).map_or(own, |later| later.next()))
            }
            _ => (term, Incarnation(start)),
        };
        let member = match (self.sabotage, &next.header.member) {
            (Some(Sabotage::SeesNoFence), Some(member)) => member.clone(),
            _ => self.scenario.signers[number].member().clone(),
        };
        let change = Change::Open {
            of: Made { incarnation: Incarnation(1), revision: Revision(1) },
            wave,
            among: Default::default(),
            under,
        };
        match apply(&mut next, Revision(world.revision + 1), &Mutation { key, member, change }) {
            Ok(()) => world.writers.push(Writer { number, start, term, on: world.revision, next }),
            Err(_) => world.refused = true,
        }
    }
}
