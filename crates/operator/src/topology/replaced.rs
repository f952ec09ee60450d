//! Another store where the league's stood: one of another league, an emptied one, or one that the
//! backend itself does not take for the same.
//!
//! Nothing is written to it and nothing is believed of it. What was last agreed is kept up, as when
//! the topology server is away, and every place where people look says since when and why. It is asked
//! again and again; when the league's own store is back, everything is read anew.
//!
//! The league's own store may be of another history, too: see [`super::rolled_back`].

use super::{TopoCall, Topology};
use crate::io::{Level, TopoRequest};
use crate::machine::{Operator, Timer};
use hansa_ledger::{Envelope, Page, Versioned, keys};
use hansa_model::Era;

impl Operator {
    /// Something was not as this league left it: looks whether its control document still stands.
    /// Nothing is written until that is known.
    pub(crate) fn check_store(&mut self) {
        if !self.topology.checking && self.league.is_some() {
            self.topology.checking = true;
            self.ask_for_control();
        }
    }

    pub(super) fn ask_for_control(&mut self) {
        let mut keys = vec![keys::CONTROL.to_owned()];
        keys.extend(self.watched());
        self.topo(TopoCall::Check, TopoRequest::Read { keys });
    }

    /// The control document as it stands, and the keys that went back, read for nothing but this.
    pub(super) fn store_checked(&mut self, values: &[Option<Versioned>]) {
        let Some((league, era)) = self.league.as_ref().map(|league| (league.id, league.era)) else { return };
        let control = values.first().and_then(Option::as_ref);
        let found = control.map(|value| Envelope::open_header(&value.value).map(|(envelope, _)| envelope));
        let why = match found {
            None => format!(
                "the topology server holds no league, it was emptied or made anew: bring back the one of league {}, or restore it from a backup",
                league.label()
            ),
            Some(Ok(found)) if found.league != league => format!(
                "the topology server holds league {}, and this is league {}: bring back this league's own topology server, or start the operators with its URL",
                found.league.label(),
                league.label()
            ),
            Some(Ok(found)) if found.era > era => return self.later_era_stands(found.era, control),
            Some(Ok(found)) => match self.why_not_ours(&found, &values[1..]) {
                Some(why) => why,
                None if self.is_doubted_by_the_proposer(&found, control) || self.is_doubtful(keys::CONTROL, &found) => {
                    return self.check_later();
                }
                None => return self.store_is_ours(),
            },
            // What does not read is told where it is read.
            Some(_) => return self.store_is_ours(),
        };
        self.store_is_not_ours(why);
        self.check_later();
    }

    /// The control document is of a later era. Where the league votes, the proposer judges whether it is followed.
    fn later_era_stands(&mut self, era: Era, control: Option<&Versioned>) {
        match control.filter(|_| self.is_seated()) {
            None if self.ballots.recalls() => self.check_later(),
            None => self.era_raised(era, ""),
            Some(control) => {
                self.control_changed(&control.version);
                self.check_later();
            }
        }
    }

    pub(super) fn check_later(&mut self) {
        self.topology.failures += 1;
        let at = self.pause(self.topology.failures.max(4), 50, 5_000);
        self.at(at, Timer::Topo(TopoCall::Check));
    }

    pub(super) fn store_is_not_ours(&mut self, why: String) {
        // What was seen there is another league's, and when this one's is back, everything is read anew.
        self.forget_unreadable();
        self.freeze(|topology| &mut topology.replaced, why);
    }

    /// What stands there is not believed, for this reason: what was last agreed is kept up.
    pub(crate) fn freeze(&mut self, reason: fn(&mut Topology) -> &mut Option<String>, why: String) {
        self.topology.down_since_ms.get_or_insert(self.now.wall_ms);
        if reason(&mut self.topology).as_ref() == Some(&why) {
            return;
        }
        self.log(
            Level::Error,
            None,
            format!("frozen: {why}; what was last agreed is kept up, nothing is written there or taken away"),
        );
        *reason(&mut self.topology) = Some(why);
        self.touch_all();
        self.refresh_members();
        self.continue_all_requests();
    }

    /// This reason is no more: everything is read anew.
    pub(crate) fn thaw(&mut self, reason: fn(&mut Topology) -> &mut Option<String>, since: &str) {
        if reason(&mut self.topology).take().is_none() {
            return;
        }
        // For another reason it may still not be believed.
        if self.topology.is_believed() {
            self.topology.down_since_ms = None;
        }
        self.topology.failures = 0;
        self.log(Level::Info, None, format!("{since}: everything is read anew"));
        self.read_all_anew();
        self.touch_all();
        self.refresh_members();
    }

    fn store_is_ours(&mut self) {
        self.topology.checking = false;
        // Their store is this league's, and they have not been seen in it again.
        for number in std::mem::take(&mut self.topology.vanished) {
            let state = self.page_state(number);
            if state.writer.is_busy() {
                // The answer to its write tells.
                continue;
            }
            // What is read there from now on is taken, and nothing is written over it unread.
            state.writer.begin_anew();
            self.turn_page(number, Page::empty());
        }
        self.thaw(|topology| &mut topology.replaced, "this league's topology server is back");
        self.flush_cell();
    }
}
